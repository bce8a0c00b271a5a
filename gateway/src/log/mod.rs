//! The ingest log: what is acknowledged lies here, until a checkpoint no longer needs it.
//!
//! Segmented, CRC-framed, written by one thread in group commits: one write and one fsync for all the
//! requests that came in meanwhile, then their acknowledgements. Each event has a *position*: 0 for the
//! first ever taken. A producer's sequence numbers are kept with the events, in the record and at the
//! head of each segment, so they survive restarts and trimming.

mod disk;
mod frame;
mod producers;
mod reader;
mod segment;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use disk::sync_dir;
pub(crate) use reader::LogReader;
pub(crate) use shared::LogStats;
pub(crate) use writer::{Appended, Request};

use crate::error::{Error, Result};
use disk::{Disk, LocalDisk};
use shared::Shared;
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};
use tokio::sync::{mpsc, oneshot, watch};
use writer::LogWriter;

/// How the log behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub(crate) struct LogOptions {
    /// A segment is closed when it is this long; the unit of trimming.
    pub(crate) segment_bytes: u64,
    /// Producers whose sequence numbers are remembered; beyond it the longest idle are forgotten.
    pub(crate) max_producers: usize,
    /// Requests waiting for the writer: beyond it [`IngestLog::append`] waits.
    pub(crate) queue: usize,
    /// Bytes, about, written and synced together.
    pub(crate) group_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            max_producers: 65_536,
            queue: 256,
            group_bytes: 8 << 20,
        }
    }
}

impl LogOptions {
    /// Sets the length of a segment.
    #[must_use]
    pub(crate) fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Sets how many producers are remembered.
    #[must_use]
    pub(crate) fn with_max_producers(mut self, producers: usize) -> Self {
        self.max_producers = producers;
        self
    }
}

/// What the writer thread is asked to do.
enum Command {
    Append(Request, oneshot::Sender<Result<Appended>>),
    LastSequence(String, oneshot::Sender<Result<u64>>),
    Trim(u64),
    Stop,
}

/// The log of one gateway. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub(crate) struct IngestLog {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl IngestLog {
    /// Opens the log of a directory, repairs what a crash left behind and starts its thread.
    ///
    /// # Errors
    /// [`Error::LogCorrupted`] for damage that no crash explains, [`Error::Io`].
    pub(crate) fn open(dir: &Path, options: LogOptions) -> Result<Self> {
        let disk = LocalDisk::open(dir).map_err(Error::io("create", dir))?;
        Self::start(Arc::new(disk), options)
    }

    fn start(disk: Arc<dyn Disk>, options: LogOptions) -> Result<Self> {
        let (queue, group_bytes) = (options.queue.max(1), options.group_bytes);
        let (writer, torn) = LogWriter::open(Arc::clone(&disk), options)?;
        if torn > 0 {
            tracing::warn!(
                bytes = torn,
                "cut off the torn tail of the ingest log; none of it had been acknowledged"
            );
        }
        let shared = Arc::clone(writer.shared());
        let (commands, inbox) = mpsc::channel(queue);
        let thread = std::thread::Builder::new()
            .name("weir-log".to_owned())
            .spawn(move || write_loop(writer, inbox, group_bytes))
            .map_err(Error::io("start the thread of", "ingest log"))?;
        Ok(Self {
            disk,
            shared,
            commands,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Takes a request in; returns when it is durable.
    ///
    /// Waits while the queue is full. Dropping the future does not take the request back.
    ///
    /// # Errors
    /// [`Error::SequenceGap`], [`Error::LogFull`], [`Error::LogStopped`], [`Error::ShuttingDown`].
    pub(crate) async fn append(&self, request: Request) -> Result<Appended> {
        self.submit(request).await?.await
    }

    /// Queues a request; the future it returns is ready when the request is durable. Requests
    /// submitted one after the other are made durable in that order.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub(crate) async fn submit(
        &self,
        request: Request,
    ) -> Result<impl Future<Output = Result<Appended>> + Send + 'static + use<>> {
        let (reply, done) = oneshot::channel();
        self.command(Command::Append(request, reply)).await?;
        Ok(async move { done.await.unwrap_or(Err(Error::ShuttingDown)) })
    }

    /// The last number durably taken from a producer, after everything queued so far.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`], [`Error::LogStopped`].
    pub(crate) async fn last_sequence(&self, producer: &str) -> Result<u64> {
        let (reply, done) = oneshot::channel();
        self.command(Command::LastSequence(producer.to_owned(), reply))
            .await?;
        done.await.unwrap_or(Err(Error::ShuttingDown))
    }

    async fn command(&self, command: Command) -> Result<()> {
        self.commands
            .send(command)
            .await
            .map_err(|_| Error::ShuttingDown)
    }

    /// A reader from a position on.
    ///
    /// # Errors
    /// [`Error::LogPosition`] when the log does not hold it.
    pub(crate) fn reader(&self, position: u64) -> Result<LogReader> {
        LogReader::new(Arc::clone(&self.disk), Arc::clone(&self.shared), position)
    }

    /// Lets go of the segments before a position. Only asks: when the queue is full nothing happens,
    /// and the next checkpoint asks again.
    pub(crate) fn trim(&self, position: u64) {
        // The only failures are a full queue and a stopped writer, and neither needs an answer.
        let _asked = self.commands.try_send(Command::Trim(position));
    }

    /// Figures for the status.
    pub(crate) fn stats(&self) -> LogStats {
        self.shared.stats()
    }

    /// Holds the reason once the log takes nothing any more.
    pub(crate) fn watch_stopped(&self) -> watch::Receiver<Option<String>> {
        self.shared.watch_stopped()
    }

    /// Calls `notify` whenever the log has grown, in place of whom it called before. It must be quick.
    pub(crate) fn notify_growth(&self, notify: Box<dyn Fn() + Send + Sync>) {
        self.shared.notify_growth(notify);
    }

    /// Makes durable what is queued and ends the thread. Later requests get [`Error::ShuttingDown`].
    pub(crate) async fn close(&self) {
        // An error means that it has ended already.
        let _ended = self.commands.send(Command::Stop).await;
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the thread of the ingest log panicked");
            }
        }
    }
}

/// Requests that came in while the last group was synced make up the next group.
fn write_loop(mut writer: LogWriter, mut inbox: mpsc::Receiver<Command>, group_bytes: usize) {
    let mut stopping = false;
    while !stopping {
        let Some(mut command) = inbox.blocking_recv() else {
            return;
        };
        let (mut requests, mut replies, mut after) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        loop {
            match command {
                Command::Append(request, reply) => {
                    bytes += approximate_bytes(&request);
                    requests.push(request);
                    replies.push(reply);
                }
                other => after.push(other),
            }
            if bytes >= group_bytes {
                break;
            }
            match inbox.try_recv() {
                Ok(next) => command = next,
                Err(_) => break,
            }
        }
        if !requests.is_empty() {
            let (events, started) = (bytes, requests.len());
            tracing::trace!(bytes = events, requests = started, "group commit");
            for (reply, result) in replies.into_iter().zip(writer.commit(requests)) {
                // Whoever asked may have gone; the request is durable all the same.
                let _gone = reply.send(result);
            }
        }
        for command in after {
            match command {
                Command::LastSequence(producer, reply) => {
                    let answer = match writer.stopped() {
                        Some(why) => Err(Error::LogStopped(why.to_owned())),
                        None => Ok(writer.last_sequence(&producer)),
                    };
                    let _gone = reply.send(answer);
                }
                Command::Trim(position) => match writer.trim(position) {
                    Ok(0) => {}
                    Ok(segments) => tracing::debug!(position, segments, "trimmed the ingest log"),
                    Err(error) => {
                        tracing::warn!(error = %crate::error::chain(&error), "cannot trim the ingest log");
                    }
                },
                Command::Stop => stopping = true,
                Command::Append(..) => {}
            }
        }
    }
}

fn approximate_bytes(request: &Request) -> usize {
    use prost::Message;
    request
        .slots
        .iter()
        .flatten()
        .map(|entry| entry.encoded_len() + 4)
        .sum()
}

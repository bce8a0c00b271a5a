//! The ingest log as a source: one split, whose position is the log's.

use super::{input::Input, reached::Reached, shards::Shards};
use crate::log::{IngestLog, LogReader};
use operators::{
    Error, Result, Source, SourceContext, SourceOutput, SourceReader, SourceStatus, Split,
};
use std::sync::Arc;

/// The source's uid in checkpoints.
pub(super) const SOURCE: &str = "ingest";
const SPLIT: &str = "log";

/// Reads the log.
#[derive(Debug)]
pub(super) struct LogSource {
    log: IngestLog,
    reached: Arc<Reached>,
    shards: Arc<Shards>,
}

impl LogSource {
    /// `reached` is set to where reading begins: everything before is in restored state.
    /// `shards` is told what is handed to each.
    pub(super) fn new(log: IngestLog, reached: Arc<Reached>, shards: Arc<Shards>) -> Self {
        Self {
            log,
            reached,
            shards,
        }
    }
}

impl Source for LogSource {
    type Item = Input;
    type Reader = Reader;

    fn splits(&self, _parallelism: usize) -> Result<Vec<Split>> {
        Ok(vec![Split::new(SPLIT)])
    }

    fn open(&self, splits: Vec<Split>, cx: SourceContext) -> Result<Reader> {
        let Some(split) = splits.into_iter().find(|split| split.id == SPLIT) else {
            return Ok(Reader {
                log: None,
                entries: Vec::new(),
                shards: Arc::clone(&self.shards),
            });
        };
        let offset = split.offset().ok_or_else(|| Error::Incompatible {
            what: "the checkpoint's position in the ingest log is not understood".to_owned(),
        })?;
        let reader = self.log.reader(offset).map_err(user)?;
        let waker = cx.waker;
        self.log.notify_growth(Box::new(move || waker.wake()));
        self.reached.set(offset);
        self.shards.starts_at(offset);
        Ok(Reader {
            log: Some(reader),
            entries: Vec::new(),
            shards: Arc::clone(&self.shards),
        })
    }
}

fn user(error: crate::Error) -> Error {
    Error::User(Box::new(error))
}

/// Reads the log from a position on.
#[derive(Debug)]
pub(super) struct Reader {
    log: Option<LogReader>,
    entries: Vec<(u64, crate::proto::log::Entry)>,
    shards: Arc<Shards>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The next one is made when all threads of this attempt have ended.
        if self.log.is_some() {
            self.shards.stops();
        }
    }
}

impl SourceReader for Reader {
    type Item = Input;

    fn poll_batch(&mut self, max: usize, out: &mut SourceOutput<Input>) -> Result<SourceStatus> {
        let Some(log) = &mut self.log else {
            return Ok(SourceStatus::End);
        };
        let read = log.read(max, &mut self.entries).map_err(user)?;
        for (position, entry) in self.entries.drain(..) {
            let input = Input::new(position, entry).map_err(user)?;
            if input.event().is_some() {
                let shard = self.shards.shard_of(input.user());
                self.shards.hands(shard, input.after());
            }
            out.push(input);
        }
        self.shards.has_read(log.position());
        Ok(if read == 0 {
            SourceStatus::Idle
        } else {
            SourceStatus::Ready
        })
    }

    fn positions(&self) -> Result<Vec<Split>> {
        Ok(self
            .log
            .iter()
            .map(|log| Split::new(SPLIT).at_offset(log.position()))
            .collect())
    }
}

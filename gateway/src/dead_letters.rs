//! Events that were set aside, in a file of bounded size, for people to look at.

use crate::{
    error::{Error, Result},
    proto::v1::{FieldViolation, UserEvent},
};
use serde_json::json;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    thread::JoinHandle,
};
use tokio::sync::mpsc;

/// Text kept of each field: enough to recognise the event.
const KEPT: usize = 512;
/// Letters waiting to be written; the counts do not depend on them.
const QUEUE: usize = 1_024;

/// One event that was set aside.
#[derive(Debug)]
pub(crate) struct DeadLetter {
    pub(crate) producer: String,
    pub(crate) sequence: u64,
    pub(crate) event: UserEvent,
    pub(crate) violations: Vec<FieldViolation>,
}

/// The way to the file. When it is slower than letters come in, some are left out of the file; all are
/// counted (in the log).
#[derive(Debug, Clone)]
pub(crate) struct DeadLetters {
    letters: mpsc::Sender<DeadLetter>,
}

impl DeadLetters {
    /// Opens the file and starts its thread, which ends when the last sender is gone.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn open(path: PathBuf, max_bytes: u64) -> Result<(Self, JoinHandle<()>)> {
        let mut file =
            LetterFile::open(path.clone(), max_bytes).map_err(Error::io("open", path))?;
        let (letters, mut inbox) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("weir-letters".to_owned())
            .spawn(move || {
                while let Some(letter) = inbox.blocking_recv() {
                    if let Err(error) = file.write(&letter) {
                        // They are counted all the same; a full disk must not stop ingest twice.
                        tracing::warn!(%error, "cannot write a dead letter");
                    }
                }
            })
            .map_err(Error::io("start the thread of", "dead letters"))?;
        Ok((Self { letters }, thread))
    }

    pub(crate) fn put(&self, letter: DeadLetter) {
        metrics::counter!("weir_dead_letters_total").increment(1);
        let _full = self.letters.try_send(letter);
    }
}

/// Two files, each of half the size: when the newer is full it takes the place of the older.
#[derive(Debug)]
struct LetterFile {
    path: PathBuf,
    file: fs::File,
    length: u64,
    limit: u64,
}

impl LetterFile {
    fn open(path: PathBuf, max_bytes: u64) -> io::Result<Self> {
        let file = append(&path)?;
        let length = file.metadata()?.len();
        Ok(Self {
            path,
            file,
            length,
            limit: max_bytes / 2,
        })
    }

    fn write(&mut self, letter: &DeadLetter) -> io::Result<()> {
        let event = &letter.event;
        let mut line = json!({
            "producer_id": letter.producer,
            "sequence": letter.sequence,
            "problems": letter.violations.iter()
                .map(|v| format!("{}: {}", v.field, v.description))
                .collect::<Vec<_>>(),
            "user_id": cut(&event.user_id),
            "item_id": cut(&event.item_id),
            "event_type": event.event_type,
            "timestamp_ms": event.timestamp_ms,
            "session_id": cut(&event.session_id),
            "metadata_keys": event.metadata.keys().take(16).map(|key| cut(key)).collect::<Vec<_>>(),
        })
        .to_string();
        line.push('\n');
        if self.length > 0 && self.length + line.len() as u64 > self.limit {
            fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
            self.file = append(&self.path)?;
            self.length = 0;
        }
        self.file.write_all(line.as_bytes())?;
        self.length += line.len() as u64;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().create(true).append(true).open(path)
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(KEPT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_stays_within_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead-letters.jsonl");
        let (letters, thread) = DeadLetters::open(path.clone(), 20_000).unwrap();
        for sequence in 0..200 {
            let event = UserEvent {
                user_id: "ü".repeat(100_000),
                ..UserEvent::default()
            };
            let violations = vec![FieldViolation {
                field: "user_id".into(),
                description: "too long".into(),
            }];
            letters.put(DeadLetter {
                producer: "p".into(),
                sequence,
                event,
                violations,
            });
        }
        drop(letters);
        thread.join().unwrap();
        let sizes: Vec<u64> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().sum::<u64>() <= 20_000, "{sizes:?}");
        let text = fs::read_to_string(&path).unwrap();
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["problems"][0], "user_id: too long");
    }
}

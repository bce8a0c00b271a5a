//! Sources: splits, positions, replay.

use crate::element::Element;
use crate::error::{Error, Result};
use crate::runtime::signal::Signal;
use checkpoint_store::{Manifest, SplitPosition};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use time_engine::Timestamp;

/// A part of a source that is read in order, and how far: a partition and its offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Which part; stable over restarts.
    pub id: String,
    /// How far it has been read, in the source's own encoding. Empty: from its start.
    pub position: Vec<u8>,
}

impl Split {
    /// A split that has not been read yet.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            position: Vec::new(),
        }
    }

    /// The same at a numeric position (8 bytes, big endian).
    #[must_use]
    pub fn at_offset(mut self, offset: u64) -> Self {
        self.position = offset.to_be_bytes().to_vec();
        self
    }

    /// The position as [`at_offset`](Self::at_offset) wrote it; 0 for a fresh split.
    pub fn offset(&self) -> Option<u64> {
        if self.position.is_empty() {
            return Some(0);
        }
        self.position
            .as_slice()
            .try_into()
            .ok()
            .map(u64::from_be_bytes)
    }
}

/// Describes a replayable input. One value makes the readers of all subtasks, again after each restart.
///
/// Replayable means: a reader opened at a position yields the same elements, in the same order, as the
/// reader that reported that position went on to yield. Exactly-once state rests on it.
pub trait Source: Send + Sync + 'static {
    /// What it yields.
    type Item: Send + 'static;
    /// What reads it.
    type Reader: SourceReader<Item = Self::Item>;

    /// The splits there are at a start with `parallelism` readers. A split that a checkpoint knows keeps
    /// its position from there; split `i` goes to reader `i % parallelism`.
    ///
    /// # Errors
    /// The source cannot be reached.
    fn splits(&self, parallelism: usize) -> Result<Vec<Split>>;

    /// Opens some splits at their positions, on the thread that will read them.
    ///
    /// # Errors
    /// A position that is not there any more, or cannot be understood.
    fn open(&self, splits: Vec<Split>, cx: SourceContext) -> Result<Self::Reader>;
}

/// What a reader knows of its place.
#[derive(Debug, Clone)]
pub struct SourceContext {
    /// Which reader, from 0.
    pub subtask: usize,
    /// How many there are.
    pub parallelism: usize,
    /// Wakes the reader's thread.
    pub waker: SourceWaker,
}

/// Makes the runtime poll a reader that was [`SourceStatus::Idle`].
#[derive(Debug, Clone)]
pub struct SourceWaker(pub(crate) Arc<Signal>);

impl SourceWaker {
    /// There is something to read. Cheap, and safe to call at any time from any thread.
    pub fn wake(&self) {
        self.0.raise();
    }

    /// Wakes nobody: for tests that poll a reader by hand.
    pub fn noop() -> Self {
        Self(Arc::default())
    }
}

/// What a poll found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceStatus {
    /// More may be there at once.
    Ready,
    /// Nothing for now: poll when the waker was used.
    Idle,
    /// Nothing for now: poll when the clock shows this, or when the waker was used.
    IdleUntil(Timestamp),
    /// Nothing for now: poll after this time, or when the waker was used.
    IdleFor(Duration),
    /// Nothing will ever follow.
    End,
}

/// Reads the splits of one subtask, on its own thread.
pub trait SourceReader: Send {
    /// What it yields.
    type Item: Send + 'static;

    /// Appends up to `max` elements and never waits for them.
    ///
    /// # Errors
    /// The source failed: the job restarts from its last checkpoint. Count a bad record and go on instead.
    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceOutput<Self::Item>,
    ) -> Result<SourceStatus>;

    /// The splits with their positions after everything polled so far.
    ///
    /// # Errors
    /// The position cannot be determined.
    fn positions(&self) -> Result<Vec<Split>>;

    /// The checkpoint with these positions is complete: nothing before them will be read again.
    ///
    /// # Errors
    /// As for [`poll_batch`](Self::poll_batch).
    fn checkpoint_complete(&mut self, checkpoint: u64, positions: &[Split]) -> Result<()> {
        let _ = (checkpoint, positions);
        Ok(())
    }
}

/// What a poll has yielded.
#[derive(Debug)]
pub struct SourceOutput<T> {
    pub(crate) elements: Vec<Element<T>>,
}

impl<T> Default for SourceOutput<T> {
    fn default() -> Self {
        Self {
            elements: Vec::new(),
        }
    }
}

impl<T> SourceOutput<T> {
    /// Yields an element without event time.
    pub fn push(&mut self, value: T) {
        self.elements.push(Element::new(value));
    }

    /// Yields an element with the event time the source knows.
    pub fn push_at(&mut self, value: T, timestamp: Timestamp) {
        self.elements.push(Element::at(value, timestamp));
    }

    /// How many elements it holds.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Takes the elements out: for tests that poll a reader by hand.
    pub fn take(&mut self) -> Vec<Element<T>> {
        std::mem::take(&mut self.elements)
    }
}

/// The splits of one reader, at the positions a checkpoint has.
pub(crate) fn assigned(
    splits: Vec<Split>,
    restore: Option<&Manifest>,
    uid: &str,
    subtask: usize,
    parallelism: usize,
) -> Result<Vec<Split>> {
    let mut all = splits;
    for saved in restore
        .and_then(|manifest| manifest.sources.get(uid))
        .into_iter()
        .flatten()
    {
        let split = from_position(saved)?;
        match all.iter_mut().find(|fresh| fresh.id == split.id) {
            Some(fresh) => *fresh = split,
            None => {
                let what = format!("source {uid:?} no longer has split {:?}", split.id);
                return Err(Error::Incompatible { what });
            }
        }
    }
    let mine = all
        .into_iter()
        .enumerate()
        .filter(|(i, _)| i % parallelism == subtask);
    Ok(mine.map(|(_, split)| split).collect())
}

/// Positions are JSON in the manifest: a number when they are offsets, else hexadecimal digits.
pub(crate) fn to_position(split: &Split) -> SplitPosition {
    let position = match split.offset() {
        Some(offset) => serde_json::Value::from(offset),
        None => split
            .position
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
            .into(),
    };
    SplitPosition {
        split: split.id.clone(),
        position,
    }
}

fn from_position(saved: &SplitPosition) -> Result<Split> {
    let split = Split::new(saved.split.clone());
    if let Some(offset) = saved.position.as_u64() {
        return Ok(split.at_offset(offset));
    }
    let digits = saved
        .position
        .as_str()
        .map(str::as_bytes)
        .unwrap_or_default();
    let position = digits
        .chunks(2)
        .map(|pair| {
            let text = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(text, 16).ok()
        })
        .collect::<Option<Vec<u8>>>();
    match position {
        Some(position) if !digits.is_empty() => Ok(Split { position, ..split }),
        _ => Err(Error::Incompatible {
            what: format!("the position of split {:?}", saved.split),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_the_manifest() {
        for position in [
            vec![],
            vec![0; 8],
            vec![255; 8],
            vec![1, 2, 255],
            vec![7; 40],
        ] {
            let split = Split {
                id: "p".into(),
                position,
            };
            let back = from_position(&to_position(&split)).unwrap();
            assert_eq!(back.id, split.id);
            // a fresh split is one at offset 0
            assert!(back.position == split.position || split.position.is_empty());
        }
    }
}

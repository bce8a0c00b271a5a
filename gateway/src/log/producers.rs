//! The last sequence number taken from each producer: what makes sending again harmless.

use crate::{
    error::{Error, Result},
    proto::log,
};
use std::collections::HashMap;

/// What a producer has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The last number taken.
    pub(crate) last_sequence: u64,
    /// Where the log ended then.
    pub(crate) last_position: u64,
}

/// All producers; the longest idle are forgotten when there are too many.
#[derive(Debug)]
pub(crate) struct Producers {
    known: HashMap<String, Progress>,
    limit: usize,
}

impl Producers {
    /// None yet.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            known: HashMap::new(),
            limit: limit.max(1),
        }
    }

    /// The last number taken, 0 for one not known.
    pub(crate) fn last_sequence(&self, id: &str) -> u64 {
        self.known.get(id).map_or(0, |known| known.last_sequence)
    }

    /// How many events at the head of a request were taken before.
    ///
    /// # Errors
    /// [`Error::SequenceGap`] when numbers before `first` are missing.
    pub(crate) fn duplicates(&self, id: &str, first: u64, count: u64) -> Result<u64> {
        let last = self.last_sequence(id);
        if first == 0 || first > last + 1 {
            return Err(Error::SequenceGap {
                producer: id.to_owned(),
                expected: last + 1,
                got: first,
            });
        }
        Ok((last + 1 - first).min(count))
    }

    /// Notes progress and returns what was known before, to be given to [`Producers::undo`] if the
    /// write fails.
    pub(crate) fn advance(&mut self, id: &str, progress: Progress) -> Option<Progress> {
        if let Some(known) = self.known.get_mut(id) {
            return Some(std::mem::replace(known, progress));
        }
        self.known.insert(id.to_owned(), progress);
        None
    }

    /// Takes an [`Producers::advance`] back.
    pub(crate) fn undo(&mut self, id: &str, before: Option<Progress>) {
        match before {
            Some(before) => {
                self.known.insert(id.to_owned(), before);
            }
            None => {
                self.known.remove(id);
            }
        }
    }

    /// Forgets the longest idle eighth when there are too many. In bulk, so that a flood of new ids
    /// costs a constant each.
    pub(crate) fn forget_idle(&mut self) {
        if self.known.len() <= self.limit {
            return;
        }
        let mut heard: Vec<u64> = self
            .known
            .values()
            .map(|known| known.last_position)
            .collect();
        let excess = (self.known.len() - self.limit + self.limit / 8).min(heard.len() - 1);
        let (_, oldest_kept, _) = heard.select_nth_unstable(excess);
        let oldest_kept = *oldest_kept;
        self.known
            .retain(|_, known| known.last_position >= oldest_kept);
    }

    /// How many are known.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// For the head of a segment, in order of their ids.
    pub(crate) fn to_proto(&self) -> Vec<log::Producer> {
        let mut all: Vec<_> = self
            .known
            .iter()
            .map(|(id, known)| log::Producer {
                id: id.clone(),
                last_sequence: known.last_sequence,
                last_position: known.last_position,
            })
            .collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// From the head of a segment.
    pub(crate) fn load(&mut self, producers: Vec<log::Producer>) {
        self.known = producers
            .into_iter()
            .map(|p| {
                let progress = Progress {
                    last_sequence: p.last_sequence,
                    last_position: p.last_position,
                };
                (p.id, progress)
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_and_gaps_refused() {
        let mut producers = Producers::new(10);
        assert_eq!(producers.duplicates("p", 1, 5).unwrap(), 0);
        producers.advance(
            "p",
            Progress {
                last_sequence: 5,
                last_position: 5,
            },
        );
        assert_eq!(producers.duplicates("p", 1, 5).unwrap(), 5);
        assert_eq!(producers.duplicates("p", 4, 5).unwrap(), 2);
        assert_eq!(producers.duplicates("p", 6, 5).unwrap(), 0);
        assert!(matches!(
            producers.duplicates("p", 7, 1),
            Err(Error::SequenceGap {
                expected: 6,
                got: 7,
                ..
            })
        ));
        assert!(producers.duplicates("p", 0, 1).is_err());
    }

    #[test]
    fn the_longest_idle_are_forgotten() {
        let mut producers = Producers::new(16);
        for n in 0..100 {
            producers.advance(
                &format!("p{n}"),
                Progress {
                    last_sequence: 1,
                    last_position: n,
                },
            );
            producers.forget_idle();
        }
        assert!(producers.len() <= 16);
        assert_eq!(producers.last_sequence("p99"), 1);
        assert_eq!(producers.last_sequence("p0"), 0);
    }
}

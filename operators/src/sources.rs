//! Sources that need nothing outside: a vector, and a function of a number.

use crate::error::{Error, Result};
use crate::source::{Source, SourceContext, SourceOutput, SourceReader, SourceStatus, Split};
use std::sync::Arc;

/// Computes element `n` from `n`: for tests, benchmarks and demonstrations.
///
/// With parallelism `p` reader `i` yields `n = i, i + p, i + 2p, ...`, so a restart with another
/// parallelism needs the same number of splits: [`Generator::with_splits`].
pub struct Generator<F> {
    count: u64,
    splits: Option<usize>,
    make: Arc<F>,
}

impl<T, F: Fn(u64) -> T + Send + Sync + 'static> Generator<F> {
    /// Yields `make(0)` to `make(count - 1)`.
    pub fn new(count: u64, make: F) -> Self {
        Self {
            count,
            splits: None,
            make: Arc::new(make),
        }
    }

    /// Yields without end.
    pub fn unbounded(make: F) -> Self {
        Self::new(u64::MAX, make)
    }

    /// A number of splits that does not follow the parallelism.
    #[must_use]
    pub fn with_splits(mut self, splits: usize) -> Self {
        self.splits = Some(splits.max(1));
        self
    }
}

impl<F> std::fmt::Debug for Generator<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl<T, F> Source for Generator<F>
where
    T: Send + 'static,
    F: Fn(u64) -> T + Send + Sync + 'static,
{
    type Item = T;
    type Reader = GeneratorReader<F>;

    fn splits(&self, parallelism: usize) -> Result<Vec<Split>> {
        let splits = self.splits.unwrap_or(parallelism);
        // the stride is part of the id: a restart with another number of splits is refused, not wrong
        Ok((0..splits)
            .map(|i| Split::new(format!("{i}/{splits}")))
            .collect())
    }

    fn open(&self, splits: Vec<Split>, _: SourceContext) -> Result<GeneratorReader<F>> {
        let splits = splits
            .into_iter()
            .map(|split| {
                let bad = || Error::Incompatible {
                    what: format!("generator split {split:?}"),
                };
                let (start, stride) = split.id.split_once('/').ok_or_else(bad)?;
                let start: u64 = start.parse().map_err(|_| bad())?;
                let stride: u64 = stride.parse().map_err(|_| bad())?;
                let next = match split.offset().ok_or_else(bad)? {
                    0 => start,
                    next => next,
                };
                Ok(Progression {
                    id: split.id.clone(),
                    next,
                    stride: stride.max(1),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(GeneratorReader {
            splits,
            turn: 0,
            count: self.count,
            make: Arc::clone(&self.make),
        })
    }
}

#[derive(Debug)]
struct Progression {
    id: String,
    next: u64,
    stride: u64,
}

/// Reads a [`Generator`].
pub struct GeneratorReader<F> {
    splits: Vec<Progression>,
    turn: usize,
    count: u64,
    make: Arc<F>,
}

impl<F> std::fmt::Debug for GeneratorReader<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GeneratorReader")
            .field("splits", &self.splits)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static, F: Fn(u64) -> T + Send + Sync + 'static> SourceReader
    for GeneratorReader<F>
{
    type Item = T;

    fn poll_batch(&mut self, max: usize, out: &mut SourceOutput<T>) -> Result<SourceStatus> {
        let splits = self.splits.len();
        for _ in 0..splits {
            let split = &mut self.splits[self.turn];
            self.turn = (self.turn + 1) % splits;
            let mut left = max;
            while left > 0 && split.next < self.count {
                out.push((self.make)(split.next));
                split.next = split.next.saturating_add(split.stride);
                left -= 1;
            }
            if left < max {
                return Ok(SourceStatus::Ready);
            }
        }
        Ok(SourceStatus::End)
    }

    fn positions(&self) -> Result<Vec<Split>> {
        Ok(self
            .splits
            .iter()
            .map(|s| Split::new(s.id.clone()).at_offset(s.next))
            .collect())
    }
}

/// The elements of a vector, as one split.
#[derive(Debug)]
pub struct VecSource<T> {
    elements: Arc<Vec<T>>,
}

impl<T> VecSource<T> {
    /// Yields these, in order.
    pub fn new(elements: impl IntoIterator<Item = T>) -> Self {
        Self {
            elements: Arc::new(elements.into_iter().collect()),
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Source for VecSource<T> {
    type Item = T;
    type Reader = VecReader<T>;

    fn splits(&self, _: usize) -> Result<Vec<Split>> {
        Ok(vec![Split::new("0")])
    }

    fn open(&self, splits: Vec<Split>, _: SourceContext) -> Result<VecReader<T>> {
        let split = splits.into_iter().next();
        let next = match &split {
            None => self.elements.len(),
            Some(split) => split
                .offset()
                .and_then(|offset| usize::try_from(offset).ok())
                .ok_or_else(|| Error::Incompatible {
                    what: format!("vector split {split:?}"),
                })?,
        };
        Ok(VecReader {
            elements: Arc::clone(&self.elements),
            next,
            owns: split.is_some(),
        })
    }
}

/// Reads a [`VecSource`].
#[derive(Debug)]
pub struct VecReader<T> {
    elements: Arc<Vec<T>>,
    next: usize,
    owns: bool,
}

impl<T: Clone + Send + Sync + 'static> SourceReader for VecReader<T> {
    type Item = T;

    fn poll_batch(&mut self, max: usize, out: &mut SourceOutput<T>) -> Result<SourceStatus> {
        let rest = self.elements.get(self.next..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(SourceStatus::End);
        }
        let take = rest.len().min(max);
        rest[..take]
            .iter()
            .cloned()
            .for_each(|value| out.push(value));
        self.next += take;
        Ok(SourceStatus::Ready)
    }

    fn positions(&self) -> Result<Vec<Split>> {
        if !self.owns {
            return Ok(Vec::new());
        }
        Ok(vec![Split::new("0").at_offset(self.next as u64)])
    }
}

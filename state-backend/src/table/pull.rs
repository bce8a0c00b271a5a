//! Taking in a state's rows from where a checkpoint has them, in a store that keeps all state in its tables.

use super::{
    Table,
    group::Group,
    intake::{Intake, Refusal, on_threads, threads_for},
    rows::RowFormat,
};
use crate::{KeyGroup, KeyGroupRange, Result, engine::Engine, source::RestoreSource};
use std::{
    ops::ControlFlow,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Parts of the key groups for each thread: one that is done early takes over from the others.
const PARTS_A_THREAD: usize = 4;

enum Failure {
    Refused(Refusal),
    Source(crate::Error),
}

impl<P: Send + 'static> Table<P> {
    /// Takes in all rows that the source has of the state. Each thread reads key groups and fills them, so
    /// that rows are not copied from thread to thread.
    pub(super) fn pull(
        &mut self,
        engine: &mut Engine,
        source: &dyn RestoreSource,
        format: RowFormat,
    ) -> Result<()> {
        let name = self.name.clone();
        let (intake, groups) = self.intake(engine, format);
        let used = AtomicU64::new(engine.used);
        let outcome = intake.pull(source, &name, (engine.range, groups), &used);
        match outcome {
            Ok(()) => {
                engine.used = used.into_inner();
                Ok(())
            }
            Err(Failure::Source(error)) => Err(error),
            Err(Failure::Refused(refusal)) => Err(self.refused(engine, refusal)),
        }
    }
}

impl<P: Send> Intake<'_, P> {
    fn pull(
        &self,
        source: &dyn RestoreSource,
        state: &str,
        (range, groups): (KeyGroupRange, &mut [Group<P>]),
        all_used: &AtomicU64,
    ) -> Result<(), Failure> {
        let rows = usize::try_from(source.rows(state, range)).unwrap_or(usize::MAX);
        let threads = threads_for(rows);
        let parts = if threads == 1 {
            1
        } else {
            threads * PARTS_A_THREAD
        };
        let part_groups = groups.len().div_ceil(parts).max(1);
        let (first, last) = (range.start().get(), range.end().get());
        let parts = groups.chunks_mut(part_groups).zip(0_u16..);
        let parts = parts.filter_map(|(groups, part)| {
            let start = first.checked_add(part.checked_mul(part_groups as u16)?)?;
            let end = start.saturating_add(part_groups as u16 - 1).min(last);
            let part = KeyGroupRange::new(KeyGroup::new(start), KeyGroup::new(end)).ok()?;
            Some((part, groups))
        });
        let work: Mutex<Vec<_>> = Mutex::new(parts.collect());
        let next = || work.lock().unwrap_or_else(PoisonError::into_inner).pop();
        on_threads(threads, || {
            while let Some((part, groups)) = next() {
                let outcome = self.pull_part(source, state, (part, groups), all_used);
                if outcome.is_err() {
                    work.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    return outcome;
                }
            }
            Ok(())
        })
    }

    fn pull_part(
        &self,
        source: &dyn RestoreSource,
        state: &str,
        (part, groups): (KeyGroupRange, &mut [Group<P>]),
        all_used: &AtomicU64,
    ) -> Result<(), Failure> {
        let mut refused = None;
        let read = source.read(state, part, &mut |rows| {
            let group = part
                .offset_of(rows.group())
                .and_then(|at| groups.get_mut(at));
            let Some(group) = group else {
                return ControlFlow::Continue(());
            };
            let before = all_used.load(Ordering::Relaxed);
            let mut used = before;
            self.reserve(group, rows.group_rows(), &mut used);
            let live = rows.iter().map(|(key, value)| (key, Some(value)));
            let taken = self.take_in(group, live, &mut used);
            all_used.fetch_add(used.wrapping_sub(before), Ordering::Relaxed);
            match taken {
                Ok(()) => ControlFlow::Continue(()),
                Err(refusal) => {
                    refused = Some(refusal);
                    ControlFlow::Break(())
                }
            }
        });
        match refused {
            Some(refusal) => Err(Failure::Refused(refusal)),
            None => read.map_err(Failure::Source),
        }
    }
}

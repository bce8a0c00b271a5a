//! Giving dead space back: one segment at a time, in slices, the last of which removes the file.

use std::thread::JoinHandle;

use super::FsBackend;
use super::files::SyncWork;
use super::index::Location;
use super::log::{Frame, HEADER_LEN, Kind, Position};
use crate::disk::Work;
use crate::{Error, Maintenance, Result, StateId};

/// What a look-up in the index costs, in bytes copied.
const LOOK_UP: u64 = 128;

/// A segment being emptied.
#[derive(Debug)]
pub(super) struct Compaction {
    victim: u32,
    /// Deletions need not be carried on: no older segment can hold what they deleted.
    oldest: bool,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Copied up to this byte.
    Copying(u64),
    /// Everything live is copied; syncing, then removing the file.
    Removing(Removal),
}

#[derive(Debug)]
enum Removal {
    Running(JoinHandle<Result<Position>>),
    Done(Result<Position>),
}

impl FsBackend {
    /// Does up to `budget` bytes of compaction, if there is any to do.
    pub(super) fn compact(&mut self, budget: u64) -> Result<Maintenance> {
        let Some(compaction) = self.compaction.take().or_else(|| self.choose_victim()) else {
            return Ok(Maintenance::Idle);
        };
        let Compaction {
            victim,
            oldest,
            phase,
        } = compaction;
        let phase = match phase {
            Phase::Copying(from) => match self.copy_live(victim, oldest, from, budget) {
                Ok(Some(to)) => Phase::Copying(to),
                Ok(None) => match self.begin_removal(victim) {
                    Ok(removal) => Phase::Removing(removal),
                    Err(error) => {
                        self.compaction = Some(Compaction {
                            victim,
                            oldest,
                            phase: Phase::Copying(self.segments.len_of(victim)),
                        });
                        return Err(error);
                    }
                },
                Err(error) => {
                    // What was copied is dead where it came from: starting over copies the rest.
                    self.compaction = Some(Compaction {
                        victim,
                        oldest,
                        phase: Phase::Copying(HEADER_LEN as u64),
                    });
                    return Err(error);
                }
            },
            Phase::Removing(Removal::Running(thread))
                if !thread.is_finished() && !self.far_behind() =>
            {
                Phase::Removing(Removal::Running(thread))
            }
            Phase::Removing(removal) => {
                let upto = self.poisoning(removal.wait())?;
                self.segments.synced(upto);
                crate::disk::retire(self.work, self.segments.forget(victim));
                return Ok(if self.compaction_due() {
                    Maintenance::Pending
                } else {
                    Maintenance::Idle
                });
            }
        };
        self.compaction = Some(Compaction {
            victim,
            oldest,
            phase,
        });
        Ok(Maintenance::Pending)
    }

    fn compaction_due(&self) -> bool {
        self.dead_share() > self.threshold
    }

    /// Whether writers have to wait for the removal under way, so that the disk does not fill up
    /// with dead segments while one is being synced.
    fn far_behind(&self) -> bool {
        self.segments.all().len() > 4 && self.dead_share() > self.threshold.midpoint(1.0)
    }

    fn dead_share(&self) -> f64 {
        let (len, live) = (self.segments.len(), self.segments.live());
        (len - live) as f64 / len.max(1) as f64
    }

    /// The closed segment with the least to copy. When none gives much back, the oldest: it can
    /// drop its deletions, and going round the log from there drops them all.
    fn choose_victim(&self) -> Option<Compaction> {
        if !self.compaction_due() {
            return None;
        }
        let all = self.segments.all();
        let (active, _) = all.last_key_value()?;
        let (first, _) = all.first_key_value()?;
        let sealed = all.range(..active);
        let kept_share = |number: u32, kept: u64, len: u64| {
            let kept = kept as f64 / len.max(1) as f64;
            (kept, number)
        };
        let best = sealed
            .map(|(number, s)| {
                let carried = if number == first { 0 } else { s.deletions };
                kept_share(*number, s.live + carried, s.len)
            })
            .min_by(|a, b| a.0.total_cmp(&b.0))?;
        let victim = if best.0 > 1.0 - self.threshold / 2.0 {
            *first
        } else {
            best.1
        };
        Some(Compaction {
            victim,
            oldest: victim == *first,
            phase: Phase::Copying(HEADER_LEN as u64),
        })
    }

    /// Copies what is live from `from` on, as far as the budget goes; returns where to go on, or `None` at the end.
    fn copy_live(
        &mut self,
        victim: u32,
        oldest: bool,
        from: u64,
        budget: u64,
    ) -> Result<Option<u64>> {
        let end = self.segments.len_of(victim);
        if from >= end {
            return Ok(None);
        }
        let mut window = self.scratch.take();
        let budget = budget.max(4096);
        let mut take = budget.min(end - from);
        let (mut at, mut cost) = (0, 0);
        loop {
            window.resize(take as usize, 0);
            self.segments.read_bytes(victim, from, &mut window)?;
            while cost < budget
                && let Some(len) = Frame::len_at(&window[at..])
                && let Some(bytes) = window.get(at..at + len)
            {
                let Some(frame) = Frame::decode(bytes) else {
                    return Err(self.segments.damaged(victim, from + at as u64));
                };
                self.copy_frame(victim, oldest, from + at as u64, &frame)?;
                at += len;
                cost += cost_of(len as u64);
            }
            if at > 0 {
                break;
            }
            // One frame longer than the budget: it has to be taken whole.
            let whole = Frame::len_at(&window).map_or(take + 4096, |len| len as u64);
            if take == end - from || whole > end - from {
                return Err(self.segments.damaged(victim, from));
            }
            take = whole;
        }
        self.scratch.set(window);
        let to = from + at as u64;
        Ok((to < end).then_some(to))
    }

    fn copy_frame(
        &mut self,
        victim: u32,
        oldest: bool,
        offset: u64,
        frame: &Frame<'_>,
    ) -> Result<()> {
        let state = StateId::new(frame.state);
        let from = Location {
            segment: victim,
            offset: offset as u32,
            len: frame.len() as u32,
        };
        let segments = &mut self.segments;
        let mut append = || {
            segments.make_room(frame.len() as u64)?;
            Ok(segments.append(&Frame {
                ends_batch: true,
                ..*frame
            }))
        };
        match frame.kind {
            Kind::Put => {
                if self.index.relocate(state, frame.key, from, append)? {
                    self.segments.kill(from);
                }
            }
            Kind::Delete if !oldest && self.index.get(state, frame.key).is_none() => {
                append()?;
            }
            Kind::Delete | Kind::Clear => {}
        }
        Ok(())
    }

    /// The copies and whatever made the rest dead must be durable before the segment goes.
    fn begin_removal(&mut self, victim: u32) -> Result<Removal> {
        self.segments.write_out()?;
        let work = self.segments.sync_work();
        let run = move || remove(&work, victim);
        Ok(match self.work {
            Work::Inline => Removal::Done(run()),
            Work::Background => {
                let thread = std::thread::Builder::new().name("weir-fs-compaction".into());
                match thread.spawn(run) {
                    Ok(thread) => Removal::Running(thread),
                    Err(error) => {
                        return Err(Error::io(
                            "start a thread for",
                            self.segments.path(victim),
                            error,
                        ));
                    }
                }
            }
        })
    }

    /// Waits for the thread, if one runs.
    pub(super) fn end_compaction(&mut self) {
        if let Some(Compaction {
            phase: Phase::Removing(removal),
            victim,
            ..
        }) = self.compaction.take()
            && let Ok(upto) = removal.wait()
        {
            self.segments.synced(upto);
            self.segments.forget(victim);
        }
    }
}

/// What a record counts for, in bytes: a small one costs a look-up of its key.
pub(super) fn cost_of(frame: u64) -> u64 {
    frame.max(LOOK_UP)
}

fn remove(work: &SyncWork, victim: u32) -> Result<Position> {
    work.run_and_remove(victim)
}

impl Removal {
    fn wait(self) -> Result<Position> {
        match self {
            Self::Done(result) => result,
            Self::Running(thread) => thread.join().unwrap_or_else(|_| {
                Err(Error::Poisoned {
                    reason: "the compaction thread panicked".into(),
                })
            }),
        }
    }
}

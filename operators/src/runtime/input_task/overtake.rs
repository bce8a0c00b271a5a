//! Barriers that overtake what waits before them (Flink's unaligned checkpoints).
//!
//! A task takes its snapshot as soon as one such barrier is in any of its queues. To the snapshot belongs, of
//! each input, what is before its barrier and has not been worked off: the rest of the packet at hand,
//! what the queue holds, and what still comes until the barrier does. It is written down where it is, and then
//! worked off as ever. So of each element that a task has emitted before its own snapshot, the next
//! task's state holds the effect, or its checkpoint the element.

use super::{Alignment, Barrier, Event, InputTask, Owed, Packet, Passing};
use crate::error::Result;

impl<T: Send + 'static> InputTask<T> {
    /// Looks for barriers that do not wait for what is before them.
    pub(super) fn urgent(&mut self) -> Result<()> {
        if self.recorder.is_none() || !self.inputs.iter().any(|i| i.channel.is_urgent()) {
            return Ok(());
        }
        // the word that the checkpoint before is complete was sent before such a barrier, but may have come
        // since this step began
        self.commands()?;
        for input in 0..self.inputs.len() {
            if let Some(id) = self.inputs[input].channel.take_urgent() {
                self.on_overtaking(id)?;
            }
        }
        Ok(())
    }

    /// The coordinator finds that aligning takes too long.
    pub(super) fn on_timeout(&mut self, id: u64) -> Result<()> {
        self.aligner.on_timeout(id);
        // what has been handed on already may still wait in the outputs
        let _ = self
            .shell
            .deliver(&mut *self.chain, &mut Event::Overtake(id))?;
        if let Some(at) = self.owed.iter().position(|owed| owed.is_barrier(id)) {
            // aligned, but the outputs were too full to hand on what comes before it
            if let Some(Owed::Barrier(barrier)) = self.owed.remove(at) {
                self.pass_barrier(&overtaking(barrier))?;
                if let Some(recorder) = &self.recorder {
                    recorder.nothing(id, &self.shell.cx);
                }
            }
            return Ok(());
        }
        self.on_overtaking(id)
    }

    fn on_overtaking(&mut self, id: u64) -> Result<()> {
        let in_hand = self.current.iter().find_map(|current| current.barrier(id));
        let mut queues = self.inputs.iter().filter_map(|i| i.channel.find(id));
        let Some(barrier) = in_hand.or_else(|| queues.next()) else {
            // all have been taken in order meanwhile; or none has come, then its flag is still to come
            return self.align();
        };
        self.aligner.on_overtaking(id);
        self.follow(barrier);
        self.take_from_queues(id);
        self.align()
    }

    /// Remembers a barrier when it is the first of the current checkpoint.
    pub(super) fn follow(&mut self, barrier: Barrier) {
        if self.aligner.current() == Some(barrier.id)
            && self.barrier.is_none_or(|(known, _)| known.id != barrier.id)
        {
            self.barrier = Some((barrier, self.shell.clock.elapsed()));
        }
    }

    /// Does what follows from the barriers that are there.
    pub(super) fn align(&mut self) -> Result<()> {
        loop {
            self.forget();
            match self.aligner.poll() {
                Alignment::Wait => return Ok(()),
                Alignment::Snapshot { id, passing } => {
                    let Some((barrier, _)) = self.barrier.filter(|(barrier, _)| barrier.id == id)
                    else {
                        continue;
                    };
                    match passing {
                        Passing::InOrder => self.owed.push_back(Owed::Barrier(barrier)),
                        Passing::Overtaking => self.overtake(&overtaking(barrier))?,
                    }
                }
                Alignment::Complete(id) => {
                    let now = self.shell.clock.elapsed();
                    if let Some(recorder) = &mut self.recorder {
                        recorder.complete(id, now);
                    }
                }
            }
        }
    }

    /// Takes the snapshot in the middle of what is being worked off.
    fn overtake(&mut self, barrier: &Barrier) -> Result<()> {
        self.pass_barrier(barrier)?;
        let (now, times) = (self.shell.clock.elapsed(), self.shell.cx.barrier_times);
        if let Some(recorder) = &mut self.recorder {
            recorder.begin(barrier.id, now, times);
            for current in self.current.iter().chain(&self.recovered) {
                recorder.record(current.edge, current.elements.as_slice());
            }
        }
        self.take_from_queues(barrier.id);
        Ok(())
    }

    /// Takes the barriers of a snapshot that has been taken out of the queues, and writes down what is
    /// before them.
    fn take_from_queues(&mut self, id: u64) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        for (at, input) in self.inputs.iter().enumerate() {
            if self.aligner.recording(at) != Some(id) {
                continue;
            }
            let current = self.current.as_mut().filter(|current| current.input == at);
            let delivered = match current {
                // the rest of its packet is written down already
                Some(current) if current.barrier(id).is_some() => {
                    current.tail = None;
                    true
                }
                _ => input
                    .channel
                    .overtake(id, |elements| recorder.record(input.edge, elements)),
            };
            if delivered {
                self.aligner.on_barrier(at, id, Passing::Overtaking);
            }
        }
    }

    /// Writes down what is taken from an input before its barrier; says whether that has come with it.
    pub(super) fn record(&mut self, at: usize, packet: &mut Packet<T>) -> bool {
        let (Some(id), Some(recorder)) = (self.aligner.recording(at), &mut self.recorder) else {
            return false;
        };
        recorder.record(self.inputs[at].edge, &packet.elements);
        let delivered = packet.barrier(id).is_some();
        if delivered {
            packet.tail = None;
            self.aligner.on_barrier(at, id, Passing::Overtaking);
        }
        delivered
    }

    /// Drops what was written down for a checkpoint that is over.
    pub(super) fn forget(&mut self) {
        let current = self.aligner.current();
        if let Some(recorder) = &mut self.recorder {
            recorder.keep(current);
        }
    }
}

fn overtaking(barrier: Barrier) -> Barrier {
    Barrier {
        passing: Passing::Overtaking,
        ..barrier
    }
}

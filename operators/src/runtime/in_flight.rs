//! Elements that a barrier has overtaken: into a checkpoint, and back.

use super::deployment::BuildContext;
use super::event::TaskContext;
use super::exchange::{Route, Target};
use super::report::Report;
use super::snapshot::{Reporter, micros};
use crate::checkpoint::{Ack, FailureReason, PhaseTimes, ShardKey};
use crate::codec::Codec;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::graph::EdgeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use time_engine::Timestamp;

/// What one subtask may hold for a checkpoint at most. It is some batches for each input, unless an input
/// that must not be overtaken keeps the barrier of another back for long.
const MAX_BYTES: usize = 256 << 20;

/// Makes the routing of a connection.
pub(crate) type RouteFactory<T> =
    Arc<dyn Fn(&BuildContext<'_>, usize) -> Result<Box<dyn Route<T>>> + Send + Sync>;

/// A connection as the task that it feeds knows it.
pub(crate) struct InputEdge<T> {
    pub(crate) edge: EdgeId,
    pub(crate) codec: Option<Codec<T>>,
    pub(crate) route: RouteFactory<T>,
}

/// Elements under way over one connection when the checkpoint was taken, in order. The connection is
/// counted among those of its task.
#[derive(Debug)]
pub(crate) struct Recovered<T> {
    pub(crate) edge: usize,
    pub(crate) elements: Vec<Element<T>>,
}

/// What one snapshot has collected so far.
struct Capture {
    id: u64,
    began: Duration,
    times: PhaseTimes,
    /// By connection.
    items: BTreeMap<usize, Vec<u8>>,
    failure: Option<Error>,
}

/// Writes down what a task has taken from its queues, or not taken yet, that a snapshot needs.
pub(crate) struct Recorder<T> {
    pub(crate) part: ShardKey,
    pub(crate) reporter: Reporter,
    /// By connection.
    codecs: Vec<Option<Codec<T>>>,
    capture: Option<Capture>,
}

impl<T> Recorder<T> {
    pub(crate) fn new(part: ShardKey, reporter: Reporter, edges: &[InputEdge<T>]) -> Self {
        Self {
            part,
            reporter,
            codecs: edges.iter().map(|edge| edge.codec.clone()).collect(),
            capture: None,
        }
    }

    pub(crate) fn begin(&mut self, id: u64, now: Duration, times: PhaseTimes) {
        self.capture = Some(Capture {
            id,
            began: now,
            times,
            items: BTreeMap::new(),
            failure: None,
        });
    }

    pub(crate) fn record(&mut self, edge: usize, elements: &[Element<T>]) {
        let Some(capture) = &mut self.capture else {
            return;
        };
        if capture.failure.is_some() || elements.is_empty() {
            return;
        }
        let item = capture.items.entry(edge).or_insert_with(|| header(edge));
        let codec = self.codecs.get(edge).and_then(Option::as_ref);
        let written = match codec {
            Some(codec) => write(elements, codec, item),
            None => Err(Error::invalid(
                "a barrier has overtaken a stream without codec",
            )),
        };
        let bytes: usize = capture.items.values().map(Vec::len).sum();
        if let Err(error) = written {
            capture.failure = Some(error);
        } else if bytes > MAX_BYTES {
            let what = format!("more than {MAX_BYTES} bytes are under way");
            capture.failure = Some(Error::user(what));
        }
        if capture.failure.is_some() {
            capture.items.clear();
        }
    }

    /// Forgets a snapshot that is not the current one any more.
    pub(crate) fn keep(&mut self, current: Option<u64>) {
        self.capture.take_if(|capture| Some(capture.id) != current);
    }

    /// Everything is there.
    pub(crate) fn complete(&mut self, id: u64, now: Duration) {
        let Some(capture) = self.capture.take_if(|capture| capture.id == id) else {
            return;
        };
        let part = self.part.clone();
        if let Some(error) = capture.failure {
            self.reporter.send(Report::Declined {
                checkpoint: id,
                part,
                reason: FailureReason::CheckpointAsyncException,
                error,
            });
            return;
        }
        let in_flight: Vec<Vec<u8>> = capture.items.into_values().collect();
        let ack = Ack {
            bytes: in_flight.iter().map(|item| item.len() as u64).sum(),
            in_flight,
            times: PhaseTimes {
                async_us: micros(now.saturating_sub(capture.began)),
                ..capture.times
            },
            ..Ack::default()
        };
        self.reporter.ack(id, part, ack);
    }

    /// The barriers came in order: nothing was under way.
    pub(crate) fn nothing(&self, id: u64, cx: &TaskContext) {
        let times = cx.barrier_times;
        let ack = Ack {
            times,
            ..Ack::default()
        };
        self.reporter.ack(id, self.part.clone(), ack);
    }
}

fn header(edge: usize) -> Vec<u8> {
    u16::try_from(edge)
        .unwrap_or(u16::MAX)
        .to_le_bytes()
        .to_vec()
}

fn write<T>(elements: &[Element<T>], codec: &Codec<T>, out: &mut Vec<u8>) -> Result<()> {
    for element in elements {
        out.extend_from_slice(&element.timestamp.as_millis().to_le_bytes());
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        codec.encode(&element.value, out)?;
        let length = u32::try_from(out.len() - length_at - 4)
            .map_err(|_| Error::user("an element of more than 4 GiB"))?;
        out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
    Ok(())
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// The number of the connection, and the elements.
fn read<T>(mut bytes: &[u8], edges: &[InputEdge<T>]) -> Result<Recovered<T>> {
    let torn = || Error::Incompatible {
        what: "elements under way are torn".to_owned(),
    };
    let edge = usize::from(u16::from_le_bytes(take(&mut bytes).ok_or_else(torn)?));
    let codec = edges
        .get(edge)
        .and_then(|edge| edge.codec.as_ref())
        .ok_or_else(|| Error::Incompatible {
            what: "elements were under way on a connection that is gone or has no codec".to_owned(),
        })?;
    let mut elements = Vec::new();
    while !bytes.is_empty() {
        let timestamp = i64::from_le_bytes(take(&mut bytes).ok_or_else(torn)?);
        let length = u32::from_le_bytes(take(&mut bytes).ok_or_else(torn)?);
        let (value, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| bytes.split_at_checked(length))
            .ok_or_else(torn)?;
        bytes = rest;
        let timestamp = Timestamp::from_millis(timestamp);
        elements.push(Element::at(codec.decode(value)?, timestamp));
    }
    Ok(Recovered { edge, elements })
}

/// Deals what was under way to the old subtasks out over the new ones. With as many as before each gets its
/// own; else elements go where they would go now.
pub(crate) fn redistributed<T>(
    old: &[Vec<&[u8]>],
    edges: &[InputEdge<T>],
    parallelism: usize,
    mut route: impl FnMut(usize) -> Result<Box<dyn Route<T>>>,
) -> Result<Vec<Vec<Recovered<T>>>> {
    let mut new: Vec<Vec<Recovered<T>>> = (0..parallelism).map(|_| Vec::new()).collect();
    for (subtask, items) in old.iter().enumerate() {
        for item in items {
            let recovered = read(item, edges)?;
            if old.len() == parallelism {
                new[subtask].push(recovered);
                continue;
            }
            let edge = recovered.edge;
            let mut route = route(edge)?;
            let mut parts: Vec<Vec<Element<T>>> = (0..parallelism).map(|_| Vec::new()).collect();
            for element in recovered.elements {
                let Target::One(to) = route.reroute(&element.value, subtask)? else {
                    let what = "elements of a broadcast were under way".to_owned();
                    return Err(Error::Incompatible { what });
                };
                match parts.get_mut(to) {
                    Some(part) => part.push(element),
                    None => return Err(Error::invalid("a route leads to no subtask")),
                }
            }
            for (to, elements) in parts.into_iter().enumerate() {
                if !elements.is_empty() {
                    new[to].push(Recovered { edge, elements });
                }
            }
        }
    }
    Ok(new)
}

#[cfg(test)]
mod tests;

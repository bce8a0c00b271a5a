//! The operators of the workloads, written as a user would write them.

use crate::events::{Event, GAMMA, Id, fnv1a64, mix64};
use operators::{Collector, Element, Operator, OperatorContext, Result, Sink, WindowResult};
use serde::{Deserialize, Serialize};
use state_backend::{StateStore, ValueDef, ValueState};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use time_engine::window::StatsAcc;

/// A user's profile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Score by category; which are there says `present`.
    scores: [f64; 5],
    present: u8,
    counters: [u64; 4],
    total: u64,
    last: i64,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            scores: [0.0; 5],
            present: 0,
            counters: [0; 4],
            total: 0,
            last: i64::MIN,
        }
    }
}

impl Profile {
    fn on_event(&mut self, event: &Event) {
        let category = event.category();
        let score = &mut self.scores[usize::from(category)];
        *score = 0.9 * *score + 0.1 * event.kind.weight();
        self.present |= 1 << category;
        self.counters[event.kind as usize] += 1;
        self.total += 1;
        self.last = event.timestamp;
    }

    fn checksum(&self, user: Id) -> u64 {
        let scores = self.scores.iter().enumerate();
        let present = scores.filter(|(category, _)| self.present >> category & 1 == 1);
        let sum = present.fold(self.total, |sum, (_, score)| {
            sum.wrapping_add(score.to_bits())
        });
        mix64(fnv1a64(user.as_bytes()).wrapping_add(sum))
    }
}

const PROFILE: ValueDef<Profile> = ValueDef::new("profile");

/// Profiles users; emits the updated profile for each event.
#[derive(Debug, Default)]
pub struct Profiler {
    profile: ValueState<Profile>,
}

impl Operator for Profiler {
    type In = Event;
    type Out = (Id, Profile);

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.profile = store.value(&PROFILE)?;
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<Event>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<(Id, Profile)>,
    ) -> Result<()> {
        let event = element.value;
        let profile =
            self.profile
                .update_or_insert_with(&mut cx.state, Profile::default, |profile| {
                    profile.on_event(&event);
                    *profile
                })?;
        out.collect((event.user, profile));
        Ok(())
    }
}

/// [`Profiler`] for the latency workload: hands the scheduled time of an event on.
#[derive(Debug, Default)]
pub struct TimedProfiler {
    profile: ValueState<Profile>,
}

impl Operator for TimedProfiler {
    type In = (Event, u64);
    type Out = (Id, Profile, u64);

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.profile = store.value(&PROFILE)?;
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<(Event, u64)>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<(Id, Profile, u64)>,
    ) -> Result<()> {
        let (event, scheduled) = element.value;
        let profile =
            self.profile
                .update_or_insert_with(&mut cx.state, Profile::default, |profile| {
                    profile.on_event(&event);
                    *profile
                })?;
        out.collect((event.user, profile, scheduled));
        Ok(())
    }
}

/// Counts each key's events.
#[derive(Debug, Default)]
pub struct Counter {
    count: ValueState<u64>,
}

const COUNT: ValueDef<u64> = ValueDef::new("count");

impl Operator for Counter {
    type In = u64;
    type Out = (u64, u64);

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.count = store.value(&COUNT)?;
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<u64>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<(u64, u64)>,
    ) -> Result<()> {
        let n = self.count.update_or_insert_with(
            &mut cx.state,
            || 0,
            |count| {
                *count += 1;
                *count
            },
        )?;
        out.collect((element.value, n));
        Ok(())
    }
}

/// From the users to the items.
#[derive(Debug, Clone)]
pub enum CoMessage {
    /// A user's event on `item`, with the other items of the history.
    Seen {
        /// The item.
        item: Id,
        /// The others, in the order in which they were first seen.
        others: Vec<Id>,
        /// The item is new to the history: each pair counts.
        new: bool,
    },
    /// `other` was seen together with `item`.
    With {
        /// The item whose count it is.
        item: Id,
        /// The one that is new to a history.
        other: Id,
    },
}

impl CoMessage {
    /// The item it is for.
    pub fn item(&self) -> &Id {
        match self {
            Self::Seen { item, .. } | Self::With { item, .. } => item,
        }
    }
}

/// The last 50 distinct items of each user.
#[derive(Debug, Default)]
pub struct Histories {
    history: ValueState<Vec<(Id, i64)>>,
    messages: Arc<AtomicU64>,
}

impl Histories {
    /// Counts what it sends into `messages`.
    pub fn new(messages: Arc<AtomicU64>) -> Self {
        Self {
            history: ValueState::default(),
            messages,
        }
    }
}

const HISTORY: ValueDef<Vec<(Id, i64)>> = ValueDef::new("history");
const HISTORY_ITEMS: usize = 50;

impl Operator for Histories {
    type In = Event;
    type Out = CoMessage;

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.history = store.value(&HISTORY)?;
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<Event>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<CoMessage>,
    ) -> Result<()> {
        let Event {
            item, timestamp, ..
        } = element.value;
        let (others, new) =
            self.history
                .update_or_insert_with(&mut cx.state, Vec::new, |history| {
                    let others: Vec<Id> = history
                        .iter()
                        .map(|(id, _)| *id)
                        .filter(|id| *id != item)
                        .collect();
                    let known = history.iter_mut().find(|(id, _)| *id == item);
                    let new = known.is_none();
                    match known {
                        Some((_, last)) => *last = timestamp,
                        None => {
                            // of the items that were there: the new one stays, however late its event is
                            let full = history.len() >= HISTORY_ITEMS;
                            let oldest =
                                (0..history.len()).min_by_key(|i| (history[*i].1, history[*i].0));
                            if let Some(oldest) = oldest.filter(|_| full) {
                                history.swap_remove(oldest);
                            }
                            history.push((item, timestamp));
                        }
                    }
                    (others, new)
                })?;
        if new {
            for other in &others {
                out.collect(CoMessage::With {
                    item: *other,
                    other: item,
                });
            }
            self.messages
                .fetch_add(others.len() as u64, Ordering::Relaxed);
        }
        self.messages.fetch_add(1, Ordering::Relaxed);
        out.collect(CoMessage::Seen { item, others, new });
        Ok(())
    }
}

/// By other item. One value an item, as Flink's heap backend keeps the map of one key: an event counts forty of its
/// entries, which lie together.
type Counts = HashMap<Id, u32, foldhash::fast::RandomState>;

/// How often items occur together, and the best of each.
#[derive(Debug, Default)]
pub struct CoCounts {
    counts: ValueState<Counts>,
    top: ValueState<Vec<(Id, u32)>>,
    updates: Arc<AtomicU64>,
}

const COUNTS: ValueDef<Counts> = ValueDef::new("co_counts");
const TOP: ValueDef<Vec<(Id, u32)>> = ValueDef::new("top");
const TOP_ITEMS: usize = 20;
const RECOMMENDED: usize = 10;

impl CoCounts {
    /// Counts its updates into `updates`.
    pub fn new(updates: Arc<AtomicU64>) -> Self {
        Self {
            updates,
            ..Self::default()
        }
    }

    /// Counts each of the others once more.
    fn count(&self, others: &[Id], cx: &mut OperatorContext<'_>) -> Result<()> {
        // most others are not among the best and cannot get there: look before writing
        let top = self.top.get(&mut cx.state)?;
        let least = top
            .filter(|top| top.len() >= TOP_ITEMS)
            .and_then(|top| top.last())
            .map_or(0, |last| last.1);
        let mut better: Vec<(Id, u32)> = Vec::new();
        self.counts
            .update_or_insert_with(&mut cx.state, Counts::default, |counts| {
                for other in others {
                    let n = counts.entry(*other).or_insert(0);
                    *n += 1;
                    if *n >= least {
                        better.push((*other, *n));
                    }
                }
            })?;
        if better.is_empty() {
            return Ok(());
        }
        self.top
            .update_or_insert_with(&mut cx.state, Vec::new, |top| {
                for (other, n) in better {
                    rank(top, other, n);
                }
            })?;
        Ok(())
    }
}

/// Keeps the best by count, then by id. A count only grows, so who drops out was beaten.
fn rank(top: &mut Vec<(Id, u32)>, other: Id, n: u32) {
    if let Some(at) = top.iter().position(|(id, _)| *id == other) {
        top.remove(at);
    }
    let at = top.partition_point(|(id, count)| (*count, other) > (n, *id));
    if at < TOP_ITEMS {
        top.insert(at, (other, n));
        top.truncate(TOP_ITEMS);
    }
}

impl Operator for CoCounts {
    type In = CoMessage;
    type Out = Vec<Id>;

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.counts = store.value(&COUNTS)?;
        self.top = store.value(&TOP)?;
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<CoMessage>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<Vec<Id>>,
    ) -> Result<()> {
        match element.value {
            CoMessage::With { other, .. } => {
                self.updates.fetch_add(1, Ordering::Relaxed);
                self.count(&[other], cx)
            }
            CoMessage::Seen { others, new, .. } => {
                if new {
                    self.updates
                        .fetch_add(others.len() as u64, Ordering::Relaxed);
                    self.count(&others, cx)?;
                }
                let top = self.top.get(&mut cx.state)?.map_or(&[][..], Vec::as_slice);
                let unseen = top
                    .iter()
                    .map(|(id, _)| *id)
                    .filter(|id| !others.contains(id));
                out.collect(unseen.take(RECOMMENDED).collect());
                Ok(())
            }
        }
    }
}

/// Something whose checksum does not depend on the order of its coming.
pub trait Checksum {
    /// To be added up.
    fn checksum(&self) -> u64;
}

impl Checksum for (Id, Profile) {
    fn checksum(&self) -> u64 {
        self.1.checksum(self.0)
    }
}

impl Checksum for (u64, u64) {
    fn checksum(&self) -> u64 {
        mix64(self.0.wrapping_add(self.1))
    }
}

impl Checksum for Vec<Id> {
    fn checksum(&self) -> u64 {
        self.iter().fold(0, |sum, id| sum ^ fnv1a64(id.as_bytes()))
    }
}

impl Checksum for WindowResult<Id, StatsAcc> {
    fn checksum(&self) -> u64 {
        let (start, end) = (
            self.window.start().as_millis(),
            self.window.end().as_millis(),
        );
        let value = &self.value;
        let times = |n: i64, by: u64| (n as u64).wrapping_mul(by);
        let sum = fnv1a64(self.key.as_bytes())
            .wrapping_add(times(start, GAMMA))
            .wrapping_add(times(end.wrapping_sub(start), 31))
            .wrapping_add(value.count.wrapping_mul(1_000_003))
            .wrapping_add(times(value.sum, 10_007))
            .wrapping_add(times(value.min, 101))
            .wrapping_add(times(value.max, 7));
        mix64(sum)
    }
}

/// What all sinks of a run have seen.
#[derive(Debug, Default)]
pub struct Totals {
    /// Results.
    pub outputs: AtomicU64,
    /// The wrapping sum of their checksums, when wanted.
    pub checksum: AtomicU64,
    /// Latencies in microseconds: how many of each; the last also counts all above.
    pub latencies: std::sync::Mutex<Vec<u64>>,
}

/// Counts results, and adds up their checksums when wanted.
#[derive(Debug)]
pub struct CountingSink {
    totals: Arc<Totals>,
    with_checksum: bool,
    outputs: u64,
    checksum: u64,
}

impl CountingSink {
    /// Adds to `totals` now and then, at barriers and at the end.
    pub fn new(totals: &Arc<Totals>, with_checksum: bool) -> Self {
        Self {
            totals: Arc::clone(totals),
            with_checksum,
            outputs: 0,
            checksum: 0,
        }
    }
}

/// Results between two additions to the totals: a run that is broken off has told of nearly all.
const TOLD_EVERY: u64 = 1_024;

impl CountingSink {
    fn tell(&mut self) {
        self.totals
            .outputs
            .fetch_add(std::mem::take(&mut self.outputs), Ordering::Relaxed);
        self.totals
            .checksum
            .fetch_add(std::mem::take(&mut self.checksum), Ordering::Relaxed);
    }
}

impl<T: Checksum> Sink<T> for CountingSink {
    fn write(&mut self, element: Element<T>) -> Result<()> {
        self.outputs += 1;
        if self.with_checksum {
            self.checksum = self.checksum.wrapping_add(element.value.checksum());
        }
        if self.outputs >= TOLD_EVERY {
            self.tell();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.tell();
        Ok(())
    }
}

//! Windows of many keys in one loop, without the rest of Weir.

use super::{Aggregate, Fired, KeyedWindows, Window, WindowContext, context::AccOf};
use crate::{Result, TimeDomain, Timer, TimerService, Timestamp, Watermark};
use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    fmt::Debug,
    hash::Hash,
};

/// What a [`WindowEngine`] gives.
pub enum Output<'a, K, W: KeyedWindows> {
    /// A window fired.
    Result {
        /// The key.
        key: &'a K,
        /// Which of the specifications, counted from 0.
        spec: usize,
        /// The window. The result's own timestamp is [`Window::max_timestamp`].
        window: Window,
        /// What it holds; [`Aggregate::result`] makes the result of it.
        contents: &'a AccOf<W>,
    },
    /// An element came too late for every window of a specification.
    Late {
        /// The key.
        key: &'a K,
        /// Which of the specifications.
        spec: usize,
        /// The element's timestamp.
        at: Timestamp,
        /// The element.
        value: &'a <W::Aggregate as Aggregate>::In,
    },
}

impl<K: Debug, W: KeyedWindows> Debug for Output<'_, K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Result {
                key, spec, window, ..
            } => write!(f, "result of {key:?}, window {window} of spec {spec}"),
            Self::Late { key, spec, at, .. } => {
                write!(f, "late element of {key:?} at {at}, spec {spec}")
            }
        }
    }
}

/// Keyed windows in anyone's loop: elements, watermarks and clock readings go in, results come out
/// of a callback, in Flink's order.
///
/// ```
/// use std::time::Duration;
/// use time_engine::{Timestamp, Watermark};
/// use time_engine::window::{Output, PlainWindows, Sum, WindowEngine, WindowSpec};
///
/// let spec = WindowSpec::tumbling(Duration::from_millis(10));
/// let mut engine = WindowEngine::new(PlainWindows::new(Sum, spec)?);
/// let at = Timestamp::from_millis;
/// for (ts, value) in [(1, 3), (9, 4), (10, 100)] {
///     engine.on_element(&"ann", at(ts), &value, |_| unreachable!("nothing is due"))?;
/// }
/// let mut sums = Vec::new();
/// engine.on_watermark(Watermark::new(at(9)), |output| {
///     if let Output::Result { window, contents, .. } = output {
///         sums.push((window.to_string(), *contents));
///     }
/// });
/// assert_eq!(sums, [("[0, 10)".to_owned(), 7)]);
/// # Ok::<(), time_engine::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct WindowEngine<K, W: KeyedWindows> {
    windows: W,
    states: HashMap<K, W::State>,
    timers: TimerService<K>,
    watermark: Timestamp,
    now: Timestamp,
}

impl<K: Ord + Hash + Clone, W: KeyedWindows> WindowEngine<K, W> {
    /// No state, the watermark at [`Watermark::MIN`], the clock at the epoch.
    pub fn new(windows: W) -> Self {
        Self {
            windows,
            states: HashMap::new(),
            timers: TimerService::new(),
            watermark: Timestamp::MIN,
            now: Timestamp::EPOCH,
        }
    }

    /// Takes an element in.
    ///
    /// # Errors
    /// An element that cannot be placed.
    pub fn on_element(
        &mut self,
        key: &K,
        at: Timestamp,
        value: &<W::Aggregate as Aggregate>::In,
        mut out: impl FnMut(Output<'_, K, W>),
    ) -> Result<()> {
        let state = match self.states.get_mut(key) {
            Some(state) => state,
            None => self.states.entry(key.clone()).or_default(),
        };
        let mut cx = Context {
            key,
            element: Some((at, value)),
            timers: &mut self.timers,
            watermark: self.watermark,
            now: self.now,
            out: &mut out,
        };
        let done = self.windows.on_element(state, at, value, &mut cx);
        if self.windows.is_empty(state) {
            self.states.remove(key);
        }
        done
    }

    /// Moves event time on; afterwards the watermark may be forwarded. One that goes back is taken as
    /// it is: it reopens the past, as in Flink.
    pub fn on_watermark(&mut self, watermark: Watermark, out: impl FnMut(Output<'_, K, W>)) {
        self.watermark = watermark.timestamp();
        self.fire(TimeDomain::Event, self.watermark, out);
    }

    /// Moves the clock.
    pub fn on_processing_time(&mut self, now: Timestamp, out: impl FnMut(Output<'_, K, W>)) {
        self.now = now;
        self.fire(TimeDomain::Processing, now, out);
    }

    fn fire(
        &mut self,
        domain: TimeDomain,
        reached: Timestamp,
        mut out: impl FnMut(Output<'_, K, W>),
    ) {
        while let Some(timer) = self.timers.pop_due(domain, reached) {
            let Entry::Occupied(mut entry) = self.states.entry(timer.key.clone()) else {
                continue;
            };
            let mut cx = Context::<K, W, _> {
                key: &timer.key,
                element: None,
                timers: &mut self.timers,
                watermark: self.watermark,
                now: self.now,
                out: &mut out,
            };
            self.windows
                .on_timer(entry.get_mut(), domain, timer.at, &mut cx);
            if self.windows.is_empty(entry.get()) {
                entry.remove();
            }
        }
    }

    /// The windows it runs.
    pub const fn windows(&self) -> &W {
        &self.windows
    }

    /// The current watermark.
    pub const fn watermark(&self) -> Watermark {
        Watermark::new(self.watermark)
    }

    /// How many keys have state.
    pub fn keys(&self) -> usize {
        self.states.len()
    }

    /// How many calls are pending in a domain.
    pub fn timers(&self, domain: TimeDomain) -> usize {
        self.timers.len(domain)
    }

    /// When the clock is next of interest: what a loop sleeps until.
    pub fn next_timer(&self, domain: TimeDomain) -> Option<Timestamp> {
        self.timers.next(domain)
    }

    /// The state of every key, in no order: what a checkpoint writes down. Timers follow from it, and
    /// the watermark is not part of it, as in Flink.
    pub fn states(&self) -> impl Iterator<Item = (&K, &W::State)> {
        self.states.iter()
    }

    /// Puts the state of a key back, replacing what it has.
    pub fn restore(&mut self, key: K, state: W::State) {
        for domain in [TimeDomain::Event, TimeDomain::Processing] {
            let old = self.states.get(&key);
            if let Some(at) = old.and_then(|old| self.windows.next_call(old, domain)) {
                self.timers.delete(domain, &Timer::new(at, key.clone()));
            }
            if let Some(at) = self.windows.next_call(&state, domain) {
                self.timers.register(domain, Timer::new(at, key.clone()));
            }
        }
        self.states.insert(key, state);
    }
}

struct Context<'a, K, W: KeyedWindows, F> {
    key: &'a K,
    element: Option<(Timestamp, &'a <W::Aggregate as Aggregate>::In)>,
    timers: &'a mut TimerService<K>,
    watermark: Timestamp,
    now: Timestamp,
    out: &'a mut F,
}

impl<K, W, F> WindowContext<AccOf<W>> for Context<'_, K, W, F>
where
    K: Ord + Clone,
    W: KeyedWindows,
    F: FnMut(Output<'_, K, W>),
{
    fn watermark(&self) -> Timestamp {
        self.watermark
    }

    fn processing_time(&self) -> Timestamp {
        self.now
    }

    fn schedule(&mut self, domain: TimeDomain, at: Timestamp) {
        self.timers
            .register(domain, Timer::new(at, self.key.clone()));
    }

    fn cancel(&mut self, domain: TimeDomain, at: Timestamp) {
        self.timers
            .delete(domain, &Timer::new(at, self.key.clone()));
    }

    fn emit(&mut self, fired: Fired<'_, AccOf<W>>) {
        (self.out)(Output::Result {
            key: self.key,
            spec: fired.spec,
            window: fired.window,
            contents: fired.contents,
        });
    }

    fn late(&mut self, spec: usize) {
        if let Some((at, value)) = self.element {
            (self.out)(Output::Late {
                key: self.key,
                spec,
                at,
                value,
            });
        }
    }
}

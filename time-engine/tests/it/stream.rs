//! Random streams, and what comes out of an engine for them.

use proptest::prelude::*;
use std::time::Duration;
use time_engine::{
    TimeDomain, Timestamp, Watermark,
    window::{Aggregate, KeyedWindows, Output, WindowEngine, WindowSpec},
};

/// Collects the numbers of the elements: what is in a window, exactly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers {
    pub(crate) invertible: bool,
}

impl Aggregate for Numbers {
    type In = u64;
    type Acc = Vec<u64>;
    type Out = Vec<u64>;

    fn create(&self) -> Vec<u64> {
        Vec::new()
    }

    fn add(&self, acc: &mut Vec<u64>, value: &u64, _at: Timestamp) {
        acc.push(*value);
    }

    fn merge(&self, acc: &mut Vec<u64>, later: &Vec<u64>) {
        acc.extend(later);
    }

    fn result(&self, acc: &Vec<u64>) -> Vec<u64> {
        acc.clone()
    }

    fn retract(&self, acc: &mut Vec<u64>, part: &Vec<u64>) -> bool {
        if self.invertible {
            acc.retain(|number| !part.contains(number));
        }
        self.invertible
    }
}

/// A specification that can be written down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) kind: Kind,
    pub(crate) lateness: i64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Sliding { size: i64, slide: i64, offset: i64 },
    Session { gap: i64 },
    ProcessingTime { size: i64 },
    Count { n: u64 },
}

pub(crate) fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

impl Spec {
    pub(crate) fn build(self) -> WindowSpec<Numbers> {
        match self.kind {
            Kind::Sliding {
                size,
                slide,
                offset,
            } => WindowSpec::sliding(millis(size), millis(slide)).with_offset_ms(offset),
            Kind::Session { gap } => WindowSpec::session(millis(gap)),
            Kind::ProcessingTime { size } => {
                WindowSpec::tumbling(millis(size)).in_processing_time()
            }
            Kind::Count { n } => WindowSpec::count(n),
        }
        .with_allowed_lateness(millis(self.lateness))
    }
}

fn lateness() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0_i64), 1_i64..40]
}

pub(crate) fn sliding() -> impl Strategy<Value = Spec> {
    (1_i64..40, 1_i64..12, any::<bool>(), -11_i64..12, lateness()).prop_map(
        |(size, slide, tumbling, offset, lateness)| {
            let slide = if tumbling { size } else { slide };
            Spec {
                kind: Kind::Sliding {
                    size,
                    slide,
                    offset: offset % slide,
                },
                lateness,
            }
        },
    )
}

pub(crate) fn session() -> impl Strategy<Value = Spec> {
    (1_i64..20, lateness()).prop_map(|(gap, lateness)| Spec {
        kind: Kind::Session { gap },
        lateness,
    })
}

pub(crate) fn other() -> impl Strategy<Value = Spec> {
    prop_oneof![
        (1_i64..20).prop_map(|size| Kind::ProcessingTime { size }),
        (1_u64..4).prop_map(|n| Kind::Count { n }),
    ]
    .prop_map(|kind| Spec { kind, lateness: 0 })
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Element { key: u8, at: i64 },
    Watermark(i64),
    Clock(i64),
    Restore,
}

/// Event time that mostly advances, elements mostly around it, with a watermark that trails.
pub(crate) fn steady(len: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0_u8..3, -25_i64..15, 0_i64..8, 0_u8..10), 1..len).prop_map(|draws| {
        let (mut now, mut watermark) = (0, i64::MIN);
        let mut steps = Vec::new();
        for (key, jitter, forward, what) in draws {
            now += forward;
            if what < 3 {
                watermark = watermark.max(now - 10 + jitter / 3);
                steps.push(Step::Watermark(watermark));
            } else {
                let at = now + jitter;
                steps.push(Step::Element { key, at });
            }
        }
        steps.push(Step::Watermark(i64::MAX));
        steps
    })
}

/// The same with restores, watermarks that go back, jumps and a clock.
pub(crate) fn rough(len: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0_u8..3, -25_i64..15, 0_i64..8, 0_u8..40), 1..len).prop_map(|draws| {
        let mut now = 0;
        let mut steps = Vec::new();
        for (key, jitter, forward, what) in draws {
            now += forward;
            steps.push(match what {
                0 => Step::Restore,
                1 => Step::Watermark(now - 40 + jitter),
                2 => {
                    now += 500;
                    Step::Watermark(now - 10)
                }
                3..=5 => Step::Clock(now),
                6..=12 => Step::Watermark(now - 10 + jitter / 3),
                _ => Step::Element {
                    key,
                    at: now + jitter,
                },
            });
        }
        steps.push(Step::Watermark(i64::MAX));
        steps.push(Step::Clock(i64::MAX));
        steps
    })
}

/// One thing that came out. Contents are sorted: shared windows have them in the order of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Out {
    Result {
        step: usize,
        key: u8,
        window: (i64, i64),
        numbers: Vec<u64>,
    },
    Late {
        step: usize,
        key: u8,
        number: u64,
    },
}

impl Out {
    pub(crate) fn key(&self) -> (usize, u8) {
        match self {
            Self::Result { step, key, .. } | Self::Late { step, key, .. } => (*step, *key),
        }
    }
}

/// Runs a stream through an engine: what came out, by specification. `shift` moves all of event time.
pub(crate) fn run<W>(
    windows: impl Fn() -> W,
    specs: usize,
    shift: i64,
    steps: &[Step],
) -> Vec<Vec<Out>>
where
    W: KeyedWindows<Aggregate = Numbers>,
    W::State: Clone,
{
    let mut engine: WindowEngine<u8, W> = WindowEngine::new(windows());
    let mut outs = vec![Vec::new(); specs];
    let mut clock = Timestamp::EPOCH;
    // The extremes of a stream stay what they are.
    let shifted = |at: i64| match at {
        i64::MIN | i64::MAX => at,
        _ => at.saturating_add(shift).max(i64::MIN + 1),
    };
    for (step, input) in steps.iter().enumerate() {
        let take = |out: Output<'_, u8, W>| match out {
            Output::Result {
                key,
                spec,
                window,
                contents,
            } => {
                let mut numbers = contents.clone();
                numbers.sort_unstable();
                outs[spec].push(Out::Result {
                    step,
                    key: *key,
                    window: (window.start().as_millis(), window.end().as_millis()),
                    numbers,
                });
            }
            Output::Late {
                key, spec, value, ..
            } => outs[spec].push(Out::Late {
                step,
                key: *key,
                number: *value,
            }),
        };
        match *input {
            Step::Element { key, at } => {
                let at = Timestamp::from_millis(shifted(at));
                engine
                    .on_element(&key, at, &(step as u64), take)
                    .expect("every element can be placed");
            }
            Step::Watermark(at) => engine.on_watermark(Watermark::from_millis(shifted(at)), take),
            Step::Clock(at) => {
                clock = Timestamp::from_millis(at);
                engine.on_processing_time(clock, take);
            }
            Step::Restore => {
                let mut restored = WindowEngine::new(windows());
                restored.on_processing_time(clock, |_| {});
                for (key, state) in engine.states() {
                    restored.restore(*key, state.clone());
                }
                for domain in [TimeDomain::Event, TimeDomain::Processing] {
                    assert_eq!(restored.timers(domain), engine.timers(domain));
                }
                engine = restored;
            }
        }
    }
    outs
}

/// The output by key within each step: the order between keys is open.
pub(crate) fn by_key(mut outs: Vec<Out>) -> Vec<Out> {
    outs.sort_by_key(Out::key);
    outs
}

//! Holds: with a watermark that does not go back, windows contain exactly the elements that their
//! definition says, fire exactly when it says, and what is late is what it says.
//!
//! The oracle keeps every element for ever and recomputes everything at every step.

use crate::stream::{Kind, Numbers, Out, Spec, Step, by_key, run, session, sliding, steady};
use proptest::prelude::*;
use time_engine::window::{Firing, PlainWindows, SharedWindows};

/// An element the oracle has accepted, and into what.
#[derive(Debug, Clone, Copy)]
struct Seen {
    key: u8,
    at: i64,
    number: u64,
    /// Windows whose last instant plus lateness was not after this were closed to it.
    watermark: i64,
}

fn naive(spec: Spec, steps: &[Step]) -> Vec<Out> {
    let mut outs = Vec::new();
    let mut seen: Vec<Seen> = Vec::new();
    let mut watermark = i64::MIN;
    for (step, input) in steps.iter().enumerate() {
        match *input {
            Step::Element { key, at } => {
                let number = step as u64;
                let me = Seen {
                    key,
                    at,
                    number,
                    watermark,
                };
                let (taken, fires) = place(spec, &seen, me, watermark);
                if taken {
                    seen.push(me);
                } else if at + spec.lateness <= watermark {
                    outs.push(Out::Late { step, key, number });
                }
                for (window, numbers) in fires {
                    outs.push(Out::Result {
                        step,
                        key,
                        window,
                        numbers,
                    });
                }
            }
            Step::Watermark(to) => {
                let before = watermark;
                watermark = to;
                for key in 0..3 {
                    let mut due = all_windows(spec, &seen, key, before);
                    due.retain(|((_, end), _)| end - 1 > before && end - 1 <= watermark);
                    due.sort_by_key(|((_, end), _)| *end);
                    for (window, numbers) in due {
                        outs.push(Out::Result {
                            step,
                            key,
                            window,
                            numbers,
                        });
                    }
                }
            }
            Step::Clock(_) | Step::Restore => {}
        }
        if let Kind::Session { gap } = spec.kind {
            // A closed session is forgotten: what comes later does not connect with it.
            let open: Vec<u64> = (0..3)
                .flat_map(|key| sessions(&seen, key, gap, spec.lateness, watermark))
                .flat_map(|(_, numbers)| numbers)
                .collect();
            seen.retain(|e| open.contains(&e.number));
        }
    }
    outs
}

type Filled = ((i64, i64), Vec<u64>);

/// Every window around an instant, newest first, straight from the definition.
fn windows_of(size: i64, slide: i64, offset: i64, at: i64) -> Vec<(i64, i64)> {
    let nearest = (at - offset) / slide;
    (nearest - 60..nearest + 60)
        .rev()
        .map(|k| (offset + k * slide, offset + k * slide + size))
        .filter(|(start, end)| *start <= at && at < *end)
        .collect()
}

fn contents(seen: &[Seen], key: u8, (start, end): (i64, i64), lateness: i64) -> Vec<u64> {
    seen.iter()
        .filter(|e| e.key == key && start <= e.at && e.at < end)
        .filter(|e| end - 1 + lateness > e.watermark)
        .map(|e| e.number)
        .collect()
}

/// The sessions of a key that are still open at a watermark: chains of elements.
fn sessions(seen: &[Seen], key: u8, gap: i64, lateness: i64, watermark: i64) -> Vec<Filled> {
    let mut mine: Vec<&Seen> = seen.iter().filter(|e| e.key == key).collect();
    mine.sort_by_key(|e| e.at);
    let mut chains: Vec<Filled> = Vec::new();
    for e in mine {
        match chains.last_mut() {
            Some(((_, end), numbers)) if e.at <= *end => {
                *end = (*end).max(e.at + gap);
                numbers.push(e.number);
            }
            _ => chains.push(((e.at, e.at + gap), vec![e.number])),
        }
    }
    chains.retain(|((_, end), _)| end - 1 + lateness > watermark);
    for (_, numbers) in &mut chains {
        numbers.sort_unstable();
    }
    chains
}

fn all_windows(spec: Spec, seen: &[Seen], key: u8, watermark: i64) -> Vec<Filled> {
    match spec.kind {
        Kind::Sliding {
            size,
            slide,
            offset,
        } => {
            let mut all: Vec<(i64, i64)> = seen
                .iter()
                .flat_map(|e| windows_of(size, slide, offset, e.at))
                .collect();
            all.sort_unstable();
            all.dedup();
            all.into_iter()
                .map(|window| (window, contents(seen, key, window, spec.lateness)))
                .filter(|(_, numbers)| !numbers.is_empty())
                .collect()
        }
        Kind::Session { gap } => sessions(seen, key, gap, spec.lateness, watermark),
        _ => unreachable!("not for the oracle"),
    }
}

/// Whether an element is taken, and which windows fire for it at once.
fn place(spec: Spec, seen: &[Seen], me: Seen, watermark: i64) -> (bool, Vec<Filled>) {
    let mut with_me = seen.to_vec();
    match spec.kind {
        Kind::Sliding {
            size,
            slide,
            offset,
        } => {
            with_me.push(me);
            let open: Vec<(i64, i64)> = windows_of(size, slide, offset, me.at)
                .into_iter()
                .filter(|(_, end)| end - 1 + spec.lateness > watermark)
                .collect();
            let fires = open
                .iter()
                .filter(|(_, end)| end - 1 <= watermark)
                .map(|window| (*window, contents(&with_me, me.key, *window, spec.lateness)))
                .collect();
            (!open.is_empty(), fires)
        }
        Kind::Session { gap } => {
            // Only what is in an open session can be merged with.
            let open: Vec<u64> = sessions(seen, me.key, gap, spec.lateness, watermark)
                .into_iter()
                .flat_map(|(_, numbers)| numbers)
                .collect();
            with_me.retain(|e| open.contains(&e.number));
            with_me.push(me);
            let mine = sessions(&with_me, me.key, gap, spec.lateness, watermark)
                .into_iter()
                .find(|(_, numbers)| numbers.contains(&me.number));
            match mine {
                Some(session) if session.0.1 - 1 <= watermark => (true, vec![session]),
                Some(_) => (true, Vec::new()),
                None => (false, Vec::new()),
            }
        }
        _ => unreachable!("not for the oracle"),
    }
}

fn check(specs: &[Spec], invertible: bool, steps: &[Step]) -> Result<(), TestCaseError> {
    let numbers = Numbers { invertible };
    for firing in [Firing::InTimeOrder, Firing::KeyByKey] {
        let shared = || {
            SharedWindows::new(numbers, specs.iter().map(|spec| spec.build()).collect())
                .expect("a specification that can be")
                .with_firing(firing)
        };
        let got = run(shared, specs.len(), 0, steps);
        for (spec, got) in specs.iter().zip(got) {
            prop_assert_eq!(
                by_key(got),
                by_key(naive(*spec, steps)),
                "shared, {:?}",
                spec
            );
        }
    }
    for spec in specs {
        let plain =
            || PlainWindows::new(numbers, spec.build()).expect("a specification that can be");
        let got = run(plain, 1, 0, steps).remove(0);
        prop_assert_eq!(
            by_key(got),
            by_key(naive(*spec, steps)),
            "plain, {:?}",
            spec
        );
    }
    Ok(())
}

/// The oracle is slow on purpose.
fn fewer() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: (usual.cases / 4).max(1),
        ..usual
    }
}

proptest! {
    #![proptest_config(fewer())]

    #[test]
    fn windows_hold_what_their_definition_says(
        sliding in prop::collection::vec(sliding(), 0..4),
        session in prop::collection::vec(session(), 0..2),
        invertible: bool,
        steps in steady(90),
    ) {
        let specs: Vec<Spec> = sliding.into_iter().chain(session).collect();
        check(&specs, invertible, &steps)?;
    }
}

//! The recommender as a whole: fallbacks, reasons, determinism, hostile input.

use super::*;
use crate::catalogue::CatalogueItem;
use crate::event::{EventType, UserEvent};
use crate::ids::{ItemId, UserId};
use crate::model::{MemoryRecords, Options, Records};
use crate::recommendation::{Recommendation, Source};

fn learn(recommender: &mut Recommender<MemoryRecords>, user: &str, item: &str, at_ms: i64) {
    let event = UserEvent::new(user, item, EventType::View, at_ms).unwrap();
    recommender.observe(&event).unwrap();
}

fn ids(list: &[Recommendation]) -> Vec<&str> {
    list.iter().map(|r| r.item_id.as_str()).collect()
}

#[test]
fn an_empty_system_and_a_new_user_get_an_answer() {
    let mut r = Recommender::in_memory().unwrap();
    let nobody = UserId::new("nobody").unwrap();
    assert!(r.recommend(&nobody, 10).unwrap().is_empty());
    learn(&mut r, "a", "x", 1000);
    let list = r.recommend(&nobody, 10).unwrap();
    assert_eq!(ids(&list), ["x"]);
    assert!(list[0].because.is_none());
    assert_eq!(list[0].timestamp_ms, 1000);
}

#[test]
fn items_already_seen_are_left_out() {
    let mut r = Recommender::in_memory().unwrap();
    for user in ["a", "b", "c"] {
        for (n, item) in ["x", "y", "z"].into_iter().enumerate() {
            learn(&mut r, user, item, 1000 + n as i64);
        }
    }
    learn(&mut r, "d", "x", 2000);
    let list = r.recommend(&UserId::new("d").unwrap(), 10).unwrap();
    let mut found = ids(&list);
    found.sort_unstable();
    assert_eq!(found, ["y", "z"]);
    let list = r.recommend(&UserId::new("a").unwrap(), 10).unwrap();
    assert!(list.is_empty(), "{list:?}");
}

#[test]
fn a_reason_names_the_item_by_its_name() {
    let mut r = Recommender::in_memory().unwrap();
    r.upsert_item(CatalogueItem::new(
        ItemId::new("x").unwrap(),
        "home",
        "Lamp",
    ))
    .unwrap();
    for user in ["a", "b", "c"] {
        learn(&mut r, user, "x", 1000);
        learn(&mut r, user, "y", 2000);
    }
    let event = UserEvent::new("d", "x", EventType::Purchase, 3000).unwrap();
    r.observe(&event).unwrap();
    let list = r.recommend(&UserId::new("d").unwrap(), 1).unwrap();
    assert_eq!(list[0].reason, "because you bought Lamp");
    assert_eq!(list[0].because, Some(ItemId::new("x").unwrap()));
    let sum: f32 = list[0].contributions.iter().map(|c| c.score).sum();
    assert!((f64::from(sum) - list[0].score).abs() < 1e-4);
}

/// A stream with some structure, from a seed.
fn stream(seed: u64, events: usize) -> Vec<UserEvent> {
    let mut x = seed;
    let mut next = |below: u64| {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (x >> 33) % below
    };
    (0..events)
        .map(|n| {
            let (user, kind) = (next(80), EventType::ALL[next(4) as usize]);
            let item = (user % 8) * 10 + next(15);
            let at = n as i64 * 60_000 - next(120_000) as i64;
            UserEvent::new(&format!("u{user}"), &format!("i{item}"), kind, at).unwrap()
        })
        .collect()
}

fn lists(r: &mut Recommender<MemoryRecords>) -> Vec<Vec<Recommendation>> {
    (0..80)
        .map(|n| {
            r.recommend(&UserId::new(format!("u{n}")).unwrap(), 10)
                .unwrap()
        })
        .collect()
}

#[test]
fn the_state_is_a_function_of_the_log_whatever_is_asked_between() {
    let (mut quiet, mut asked) = (
        Recommender::in_memory().unwrap(),
        Recommender::in_memory().unwrap(),
    );
    for (n, event) in stream(7, 3000).iter().enumerate() {
        quiet.observe(event).unwrap();
        if n % 3 == 0 {
            asked.recommend(&event.user_id, 5).unwrap();
            let (engine, records) = asked.parts();
            let history = [("i1", 1.0), ("i2", 2.0)];
            engine.model().recommend_for(records, &history, 5).unwrap();
        }
        asked.observe(event).unwrap();
    }
    assert_eq!(lists(&mut quiet), lists(&mut asked));
}

#[test]
fn a_copy_of_the_records_answers_alike() {
    let mut r = Recommender::in_memory().unwrap();
    let events = stream(11, 3000);
    for event in &events[..1500] {
        r.observe(event).unwrap();
    }
    let records = r.parts().1.clone();
    let mut restored = Recommender::open(records, Options::default()).unwrap();
    for event in &events[1500..] {
        r.observe(event).unwrap();
        restored.observe(event).unwrap();
    }
    assert_eq!(lists(&mut r), lists(&mut restored));
}

#[test]
fn hostile_streams_stay_bounded() {
    let options = Options::default()
        .with_capacity(200, 100)
        .with_history(20, 50);
    let mut r = Recommender::open(MemoryRecords::default(), options).unwrap();
    // One user with everything, one item for everybody, a flood of ids, time standing still.
    for n in 0..6000_i64 {
        let (user, item, at) = match n % 4 {
            0 => ("u".into(), format!("i{n}"), 5),
            1 => (format!("u{n}"), "i".into(), 5),
            2 => (format!("u{n}"), format!("i{n}"), -n),
            _ => ("u".into(), "i".into(), i64::MAX / 1_000_000),
        };
        let at = if n % 1000 == 999 {
            253_402_300_799_999
        } else {
            at
        };
        learn(&mut r, &user, &item, at);
    }
    let bytes = r.parts().1.bytes();
    assert!(bytes < 3_000_000, "{bytes}");
    let list = r.recommend(&UserId::new("u").unwrap(), 10).unwrap();
    assert!(list.iter().all(|x| x.score.is_finite()));
    // And row by row.
    let records = r.parts().1;
    for slot in 0..200 {
        if let Some(user) = records.user(slot).unwrap() {
            assert!(user.history.items().len() <= 20 && user.seen.len() <= 50);
        }
        if let Some(item) = records.item(slot).unwrap() {
            assert!(item.touched_by.len() <= 300);
        }
        if let Some(row) = records.row(slot).unwrap() {
            assert!(row.iter().count() <= 800);
        }
    }
    let global = records.global().unwrap().unwrap();
    assert!(global.users.live <= 200 && global.users.slots <= 200);
    assert!(global.items.live <= 100 && global.items.slots <= 100);
    assert!(global.boards.iter().all(|b| b.entries().len() <= 150));
}

fn shop() -> Recommender<MemoryRecords> {
    let mut r = Recommender::in_memory().unwrap();
    for (n, item) in ["a1", "a2", "a3", "b1", "b2", "c1"].into_iter().enumerate() {
        let category = &item[..1];
        let entry = CatalogueItem::new(ItemId::new(item).unwrap(), category, "")
            .with_attribute("stock", n.to_string());
        r.upsert_item(entry).unwrap();
        for user in 0..(10 - n) {
            learn(&mut r, &format!("u{user}"), item, 1000 * n as i64);
        }
    }
    r
}

fn list(r: &mut Recommender<MemoryRecords>, rules: Rules) -> Vec<String> {
    r.apply(&Command::Rules(rules)).unwrap();
    let request = Request::new(UserId::new("guest").unwrap(), 4);
    let list = r.request(&request).unwrap();
    list.iter().map(|x| x.item_id.to_string()).collect()
}

#[test]
fn rules_hold_from_the_next_list_on() {
    let mut r = shop();
    let id = |id: &str| ItemId::new(id).unwrap();
    let all = list(&mut r, Rules::default());
    assert_eq!(all.len(), 4);
    let denied = list(
        &mut r,
        Rules {
            deny: [id(&all[0])].into(),
            ..Rules::default()
        },
    );
    assert!(!denied.contains(&all[0]) && denied.len() == 4);
    let allowed = Rules {
        allow: [id("c1"), id("b2")].into(),
        ..Rules::default()
    };
    let mut allowed = list(&mut r, allowed);
    allowed.sort();
    assert_eq!(allowed, ["b2", "c1"]);
    let only = Rules {
        categories: ["a".into()].into(),
        ..Rules::default()
    };
    assert!(list(&mut r, only).iter().all(|i| i.starts_with('a')));
    let capped = list(
        &mut r,
        Rules {
            per_category: 1,
            ..Rules::default()
        },
    );
    assert_eq!(capped.len(), 3, "{capped:?}");
    let boost = Boost {
        on: Matches::Category("c".into()),
        by: 100.0,
    };
    assert_eq!(
        list(
            &mut r,
            Rules {
                boosts: vec![boost],
                ..Rules::default()
            }
        )[0],
        "c1"
    );
    let in_stock = Requirement {
        attribute: "stock".into(),
        is: Condition::AtLeast(4.0),
    };
    let mut in_stock = list(
        &mut r,
        Rules {
            require: vec![in_stock],
            ..Rules::default()
        },
    );
    in_stock.sort();
    assert_eq!(in_stock, ["b2", "c1"]);
    let diverse = list(
        &mut r,
        Rules {
            diversity: 0.9,
            ..Rules::default()
        },
    );
    let first_two: Vec<_> = diverse.iter().take(2).map(|i| &i[..1]).collect();
    assert_ne!(first_two[0], first_two[1], "{diverse:?}");
    let bad = Rules {
        diversity: f32::NAN,
        ..Rules::default()
    };
    assert!(r.apply(&Command::Rules(bad)).is_err());
}

#[test]
fn hidden_items_and_wishes_of_a_request() {
    let mut r = shop();
    let first = list(&mut r, Rules::default()).remove(0);
    let entry = CatalogueItem::new(ItemId::new(first.as_str()).unwrap(), "a", "")
        .with_attribute("hidden", "true");
    r.upsert_item(entry).unwrap();
    assert!(!list(&mut r, Rules::default()).contains(&first));
    let mut request = Request::new(UserId::new("guest").unwrap(), 10);
    request.categories = ["b".into()].into();
    request.exclude = [ItemId::new("b1").unwrap()].into();
    let found = r.request(&request).unwrap();
    assert_eq!(ids(&found), ["b2"]);
    request.k = 100_000;
    assert!(r.request(&request).is_err());
}

#[test]
fn why_and_why_not() {
    let mut r = shop();
    let denied = Rules {
        deny: [ItemId::new("a2").unwrap()].into(),
        ..Rules::default()
    };
    r.apply(&Command::Rules(denied)).unwrap();
    learn(&mut r, "me", "a1", 9000);
    let mut outcome = |item: &str, k| {
        let request = Request::new(UserId::new("me").unwrap(), k);
        let (engine, records) = r.parts();
        engine
            .explain(records, &request, &ItemId::new(item).unwrap())
            .unwrap()
    };
    assert_eq!(outcome("a1", 3).outcome, Outcome::Seen);
    assert_eq!(outcome("a2", 3).outcome, Outcome::Filtered(Verdict::Denied));
    assert_eq!(outcome("zz", 3).outcome, Outcome::Unknown);
    let a3 = outcome("a3", 3);
    assert!(matches!(a3.outcome, Outcome::Recommended { .. }), "{a3:?}");
    assert_eq!(a3.because.as_ref().map(ItemId::as_str), Some("a1"));
    assert!(!a3.contributions.is_empty());
    let last = ["a3", "b1", "b2", "c1"].map(|i| outcome(i, 1).outcome);
    let outranked = last
        .iter()
        .filter(|o| matches!(o, Outcome::Outranked { .. }))
        .count();
    assert_eq!(outranked, 3, "{last:?}");
}

#[test]
fn experiments_count_what_was_shown_and_taken() {
    let mut r = shop();
    let variant = |name: &str, channel: Option<&str>| Variant {
        name: name.into(),
        weight: 1,
        rules: None,
        channel: channel.map(Into::into),
    };
    let experiment = Experiment {
        name: "popular".into(),
        variants: vec![variant("auto", None), variant("popular", Some("popular"))],
    };
    r.apply(&Command::Experiments(vec![experiment.clone()]))
        .unwrap();
    for n in 0..10 {
        let user_id = UserId::new(format!("u{n}")).unwrap();
        let items = vec![ItemId::new("a1").unwrap(), ItemId::new("c1").unwrap()];
        let at_ms = 20_000;
        r.apply(&Command::Shown(Shown {
            user_id,
            items,
            at_ms,
        }))
        .unwrap();
        // One outcome, though acted upon twice.
        learn(&mut r, &format!("u{n}"), "c1", 21_000);
        learn(&mut r, &format!("u{n}"), "c1", 22_000);
    }
    learn(&mut r, "u0", "a1", 21_000 + 48 * 3_600_000); // too late
    let (engine, records) = r.parts();
    let report = engine.report(records).unwrap();
    let ones = (0..10)
        .filter(|n| experiment.bucket(&format!("u{n}")) == 1)
        .count() as u64;
    assert_eq!(
        report[1].counts,
        Counts {
            impressions: 2 * ones,
            outcomes: ones
        }
    );
    assert_eq!(report[0].counts.impressions, 20 - 2 * ones);
    let (low, high) = report[0].interval;
    assert!(low < report[0].rate && report[0].rate < high);
    // Running on, counts are kept; each user gets a list from their variant.
    r.apply(&Command::Experiments(vec![experiment])).unwrap();
    let (engine, records) = r.parts();
    assert_eq!(engine.report(records).unwrap(), report);
    for n in 0..10 {
        let user = UserId::new(format!("x{n}")).unwrap();
        assert!(!r.recommend(&user, 3).unwrap().is_empty());
    }
}

#[test]
fn exploration_shows_new_items_and_is_seeded() {
    for exploration in [Exploration::Epsilon(1.0), Exploration::Thompson(2)] {
        let mut r = Recommender::in_memory().unwrap();
        for n in 0..60 {
            for user in 0..(60 - n) {
                learn(&mut r, &format!("u{user}"), &format!("i{n}"), n * 1000);
            }
        }
        r.apply(&Command::Rules(Rules {
            exploration,
            ..Rules::default()
        }))
        .unwrap();
        let me = UserId::new("me").unwrap();
        let found = r.recommend(&me, 10).unwrap();
        let explored = found
            .iter()
            .filter(|x| x.source == Source::Exploration)
            .count();
        let expected = if exploration == Exploration::Thompson(2) {
            2
        } else {
            9
        };
        assert_eq!(explored, expected);
        let mut unique = ids(&found);
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), 10);
        assert_eq!(r.recommend(&me, 10).unwrap(), found);
    }
}

#[test]
fn the_documents_of_the_guide_are_valid() {
    let guide = include_str!("../../../docs/recommendation.md");
    let mut documents = guide.split("```json\n").skip(1);
    let mut next = || documents.next().unwrap().split("```").next().unwrap();
    let rules: Rules = serde_json::from_str(next()).unwrap();
    rules.validate().unwrap();
    assert!(!rules.change_nothing());
    let experiments: Vec<Experiment> = serde_json::from_str(next()).unwrap();
    experiments.iter().for_each(|e| e.validate().unwrap());
}

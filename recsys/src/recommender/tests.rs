//! The recommender as a whole: fallbacks, reasons, determinism, hostile input.

use super::*;

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
            asked
                .model()
                .recommend_for(&[("i1", 1.0), ("i2", 2.0)], 5)
                .unwrap();
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
    let records = r.model().records().clone();
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
    let bytes = r.model().records().bytes();
    assert!(bytes < 3_000_000, "{bytes}");
    let list = r.recommend(&UserId::new("u").unwrap(), 10).unwrap();
    assert!(list.iter().all(|x| x.score.is_finite()));
}

//! Each kind of state does what it says, alone and through a snapshot.

use state_backend::{
    AggregateFunction, AggregatingDef, DeltaChunk, Error, KeyGroupRange, ListDef, MapDef,
    MaxParallelism, PreparedKey, PumpBudget, PumpStatus, ReducingDef, SnapshotKind, StateKind,
    StateStore, StoreOptions, ValueDef, split_row_key,
};

#[derive(Clone, Copy)]
struct Mean;

impl AggregateFunction for Mean {
    type In = f64;
    type Acc = (f64, u32);
    type Out = f64;

    fn create(&self) -> (f64, u32) {
        (0.0, 0)
    }

    fn add(&self, acc: &mut (f64, u32), value: f64) {
        acc.0 += value;
        acc.1 += 1;
    }

    fn result(&self, acc: &(f64, u32)) -> f64 {
        acc.0 / f64::from(acc.1)
    }
}

const NAME: ValueDef<String> = ValueDef::new("name");
const SEEN: ListDef<u32> = ListDef::new("seen");
const RATINGS: MapDef<String, u8> = MapDef::new("ratings");
const TOTAL: ReducingDef<u64> = ReducingDef::new("total", |sum, value| *sum += value);
const MEAN: AggregatingDef<Mean> = AggregatingDef::new("mean", Mean);

pub(crate) fn store() -> StateStore {
    StateStore::open(StoreOptions::new()).unwrap()
}

/// Everything one snapshot holds.
pub(crate) fn take(store: &mut StateStore, id: u64, kind: SnapshotKind) -> Vec<DeltaChunk> {
    let mut chunks = Vec::new();
    store.begin_snapshot(id, kind).unwrap();
    while store.pump(PumpBudget::default(), &mut chunks).unwrap() != PumpStatus::SnapshotDone(id) {}
    chunks
}

pub(crate) fn restore(into: &mut StateStore, from: &StateStore, chunks: &[DeltaChunk]) {
    let catalog = from.catalog();
    into.restore_catalog(&catalog).unwrap();
    for chunk in chunks {
        into.restore_rows(catalog.name_of(chunk.state).unwrap(), chunk)
            .unwrap();
    }
}

#[test]
fn every_kind_reads_what_was_written_and_survives_a_restore() {
    let mut old = store();
    fill(&mut old);
    check(&mut old);
    let chunks = take(&mut old, 1, SnapshotKind::Full);
    check(&mut old);

    let mut before = store();
    restore(&mut before, &old, &chunks);
    check(&mut before);

    let mut after = store();
    check_registers(&mut after);
    restore(&mut after, &old, &chunks);
    check(&mut after);
}

fn fill(store: &mut StateStore) {
    let name = store.value(&NAME).unwrap();
    let seen = store.list(&SEEN).unwrap();
    let ratings = store.map(&RATINGS).unwrap();
    let total = store.reducing(&TOTAL).unwrap();
    let mean = store.aggregating(&MEAN).unwrap();
    for user in 0..1000_u64 {
        let mut scope = store.scope(&user);
        name.set(&mut scope, format!("user {user}")).unwrap();
        seen.add(&mut scope, 1).unwrap();
        seen.add_all(&mut scope, [2, 3]).unwrap();
        ratings.put(&mut scope, "b", 2).unwrap();
        ratings.put(&mut scope, "a", 1).unwrap();
        total.add(&mut scope, user).unwrap();
        total.add(&mut scope, 1).unwrap();
        mean.add(&mut scope, 1.0).unwrap();
        mean.add(&mut scope, 2.0).unwrap();
        let mut window = scope.in_namespace(&(10_i64, 20_i64));
        name.set(&mut window, "in a window".to_owned()).unwrap();
        ratings.put(&mut window, "c", 3).unwrap();
        total.add(&mut scope, 1).unwrap();
    }
}

fn check_registers(store: &mut StateStore) {
    store.value(&NAME).unwrap();
    store.list(&SEEN).unwrap();
    store.map(&RATINGS).unwrap();
    store.reducing(&TOTAL).unwrap();
    store.aggregating(&MEAN).unwrap();
}

fn check(store: &mut StateStore) {
    let name = store.value(&NAME).unwrap();
    let seen = store.list(&SEEN).unwrap();
    let ratings = store.map(&RATINGS).unwrap();
    let total = store.reducing(&TOTAL).unwrap();
    let mean = store.aggregating(&MEAN).unwrap();
    for user in 0..1000_u64 {
        let mut scope = store.scope(&user);
        let expected = format!("user {user}");
        assert_eq!(name.get(&mut scope).unwrap(), Some(&expected));
        assert_eq!(seen.get(&mut scope).unwrap().to_vec(), [1, 2, 3]);
        assert_eq!(ratings.keys(&mut scope).unwrap(), ["a", "b"]);
        assert_eq!(ratings.get(&mut scope, "b").unwrap(), Some(&2));
        assert_eq!(total.get(&mut scope).unwrap(), Some(&(user + 2)));
        assert_eq!(mean.get(&mut scope).unwrap(), Some(1.5));
        let mut window = scope.in_namespace(&(10_i64, 20_i64));
        assert_eq!(name.get(&mut window).unwrap().unwrap(), "in a window");
        assert_eq!(ratings.entries(&mut window).unwrap(), [("c".to_owned(), 3)]);
        assert_eq!(total.get(&mut window).unwrap(), None);
    }
    let mut rows = 0;
    store
        .for_each(&name, |row, value| {
            let (user, window, rest) = split_row_key::<u64, (i64, i64)>(row).unwrap();
            assert!(rest.is_empty());
            match window {
                None => assert_eq!(*value, format!("user {user}")),
                Some(window) => assert_eq!(window, (10, 20)),
            }
            rows += 1;
        })
        .unwrap();
    assert_eq!(rows, 2000);
}

#[test]
fn a_prepared_key_is_the_same_key() {
    let mut store = store();
    let name = store.value(&NAME).unwrap();
    for user in ["", "a", "a user with a name of some length"] {
        name.set(&mut store.scope(user), user.to_owned()).unwrap();
        let key = PreparedKey::new(user, store.max_parallelism());
        assert_eq!(name.get(&mut store.scope_of(&key)).unwrap().unwrap(), user);
        name.clear(&mut store.scope_of(&key)).unwrap();
        assert_eq!(name.get(&mut store.scope(user)).unwrap(), None);
    }
}

#[test]
fn other_uses_of_a_name_are_refused() {
    let mut store = store();
    store.value(&NAME).unwrap();
    let kind = store.list(&ListDef::<String>::new("name")).unwrap_err();
    assert!(
        matches!(
            kind,
            Error::KindMismatch {
                existing: StateKind::Value,
                ..
            }
        ),
        "{kind}"
    );
    let kind = store.value(&ValueDef::<u64>::new("name")).unwrap_err();
    assert_eq!(
        kind.to_string(),
        "state \"name\" holds String and cannot be used as u64"
    );
    let newer = NAME.with_version(2, |_, _| Err(String::new()));
    assert!(matches!(
        store.value(&newer),
        Err(Error::VersionMismatch {
            stored: 1,
            current: 2,
            ..
        })
    ));
}

#[test]
fn handles_of_another_store_and_foreign_keys_are_errors() {
    let mut one = store();
    let mut two = store();
    let name = one.value(&NAME).unwrap();
    assert!(matches!(
        name.get(&mut two.scope("a")),
        Err(Error::ForeignHandle)
    ));

    let max = MaxParallelism::DEFAULT;
    let half = KeyGroupRange::for_subtask(max, 2, 0).unwrap();
    let mut half = StateStore::open(StoreOptions::new().with_key_groups(max, half)).unwrap();
    let name = half.value(&NAME).unwrap();
    // Flink puts "a" into group 81.
    let error = name.get(&mut half.scope("a")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "key group 81 is not in key groups 0..=63, the key groups of this store"
    );
    assert!(name.set(&mut half.scope("a"), String::new()).is_err());
    assert!(name.clear(&mut half.scope("a")).is_err());
}

#[test]
fn values_migrate_and_are_rewritten_by_the_next_delta() {
    const OLD: ValueDef<u32> = ValueDef::new("count");
    const NEW: ValueDef<u64> = ValueDef::new("count").with_version(2, |version, bytes| {
        assert_eq!(version, 1);
        <u32 as state_backend::StateValue>::decode(bytes).map(u64::from)
    });
    let mut old = store();
    let count = old.value(&OLD).unwrap();
    for key in 0..500_u32 {
        count.set(&mut old.scope(&key), key).unwrap();
    }
    let chunks = take(&mut old, 1, SnapshotKind::Delta);

    let mut wrong = store();
    restore(&mut wrong, &old, &chunks);
    assert!(wrong.value(&ValueDef::<u64>::new("count")).is_err());

    for register_first in [false, true] {
        let mut new = store();
        if register_first {
            new.value(&NEW).unwrap();
        }
        restore(&mut new, &old, &chunks);
        let count = new.value(&NEW).unwrap();
        assert_eq!(count.get(&mut new.scope(&7_u32)).unwrap(), Some(&7_u64));
        let rewritten = take(&mut new, 1, SnapshotKind::Delta);
        assert_eq!(rewritten.iter().map(DeltaChunk::len).sum::<usize>(), 500);
        assert_eq!(new.catalog().get("count").unwrap().version, 2);
    }
}

#[test]
fn budgets_hold_and_say_what_broke_them() {
    let options = StoreOptions::new()
        .with_memory_budget_bytes(64 << 10)
        .with_max_value_bytes(1000);
    let mut store = StateStore::open(options).unwrap();
    let name = store.value(&NAME).unwrap();
    let error = name
        .set(&mut store.scope("key"), "x".repeat(2000))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "a value of state \"name\" under a key of 6 bytes takes 2016 bytes, more than the 1000 \
         allowed for one value"
    );
    let mut stored = 0_u64;
    let error = loop {
        match name.set(&mut store.scope(&stored), "x".repeat(500)) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::BudgetExceeded { .. }), "{error}");
    assert!(stored > 50, "{stored}");
    assert!(store.stats().memory_bytes <= 64 << 10);
    // What is there can be read, changed and deleted, and then there is room again.
    assert_eq!(
        name.get(&mut store.scope(&0_u64)).unwrap().unwrap().len(),
        500
    );
    for key in 0..stored {
        name.clear(&mut store.scope(&key)).unwrap();
    }
    name.set(&mut store.scope(&0_u64), "x".repeat(500)).unwrap();

    let list = store.list(&ListDef::<u64>::new("list")).unwrap();
    for item in 0..10_000 {
        if let Err(error) = list.add(&mut store.scope("key"), item) {
            assert!(matches!(error, Error::ValueTooLarge { .. }), "{error}");
            assert_eq!(
                list.get(&mut store.scope("key")).unwrap().len() as u64,
                item
            );
            return;
        }
    }
    panic!("a list may not grow without limit");
}

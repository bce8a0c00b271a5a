//! Restored, or on another backend, the recommender gives the same lists.

use state_backend::{
    BackendConfig, DeltaChunk, PumpBudget, PumpStatus, SnapshotKind, StateCatalog, StoreOptions,
};

use super::*;
use crate::event::{EventType, UserEvent};
use crate::ids::{ItemId, UserId};
use crate::model::{MemoryRecords, Options};
use crate::recommendation::Recommendation;
use crate::serve::{Command, Engine, Recommender, Request};

const KEY: &str = "shop";

fn commands(count: usize) -> Vec<Command> {
    let mut x = 3_u64;
    let mut next = |below: u64| {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (x >> 33) % below
    };
    (0..count)
        .map(|n| {
            let (user, kind) = (next(30), EventType::ALL[next(4) as usize]);
            let item = (user % 5) * 10 + next(15);
            let at = n as i64 * 60_000;
            if n % 7 == 3 {
                // Categories come, change and go with their items.
                let item = ItemId::new(format!("i{item}")).unwrap();
                let category = format!("c{}", next(6));
                return Command::Upsert(CatalogueItem::new(item, category, ""));
            }
            let event = UserEvent::new(&format!("u{user}"), &format!("i{item}"), kind, at);
            Command::Event(event.unwrap())
        })
        .collect()
}

struct Shop {
    store: StateStore,
    states: RecordStates,
    engine: Engine,
}

impl Shop {
    fn open(mut store: StateStore) -> Self {
        let states = RecordStates::open(&mut store).unwrap();
        // Small enough that users and items are evicted on the way.
        let options = Options::default().with_capacity(25, 40);
        let mut scope = store.scope(KEY);
        let engine = Engine::open(&mut states.of(&mut scope), options).unwrap();
        Self {
            store,
            states,
            engine,
        }
    }

    fn apply(&mut self, command: &Command) {
        let mut scope = self.store.scope(KEY);
        self.engine
            .apply(&mut self.states.of(&mut scope), command)
            .unwrap();
    }

    fn lists(&mut self) -> Vec<Vec<Recommendation>> {
        let mut scope = self.store.scope(KEY);
        let mut records = self.states.of(&mut scope);
        (0..30)
            .map(|n| {
                let user = UserId::new(format!("u{n}")).unwrap();
                self.engine
                    .recommend(&mut records, &Request::new(user, 10))
                    .unwrap()
            })
            .collect()
    }

    fn snapshot(&mut self) -> (StateCatalog, Vec<DeltaChunk>) {
        let mut chunks = Vec::new();
        self.store.begin_snapshot(1, SnapshotKind::Full).unwrap();
        for _ in 0..1_000_000 {
            let status = self.store.pump(PumpBudget::default(), &mut chunks).unwrap();
            if matches!(status, PumpStatus::SnapshotDone(_)) {
                return (self.store.catalog(), chunks);
            }
        }
        panic!("the snapshot never ended");
    }
}

fn memory() -> StateStore {
    StateStore::open(StoreOptions::new()).unwrap()
}

#[test]
fn restored_it_gives_the_same_lists() {
    let log = commands(1200);
    let (before, after) = log.split_at(700);
    let mut shop = Shop::open(memory());
    before.iter().for_each(|c| shop.apply(c));
    let (catalog, chunks) = shop.snapshot();
    let mut store = memory();
    store.restore_catalog(&catalog).unwrap();
    for chunk in &chunks {
        let name = catalog
            .states
            .iter()
            .find(|s| s.id == chunk.state)
            .map(|s| s.name.clone())
            .unwrap();
        store.restore_rows(&name, chunk).unwrap();
    }
    let mut restored = Shop::open(store);
    assert_eq!(shop.lists(), restored.lists());
    after.iter().for_each(|c| shop.apply(c));
    after.iter().for_each(|c| restored.apply(c));
    assert_eq!(shop.lists(), restored.lists());
    // And in plain memory.
    let options = Options::default().with_capacity(25, 40);
    let mut plain = Recommender::open(MemoryRecords::default(), options).unwrap();
    log.iter().for_each(|c| plain.apply(c).unwrap());
    let lists: Vec<_> = (0..30)
        .map(|n| {
            let user = UserId::new(format!("u{n}")).unwrap();
            plain.recommend(&user, 10).unwrap()
        })
        .collect();
    assert_eq!(shop.lists(), lists);
}

#[test]
fn beyond_the_budget_of_a_disk_backend_it_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::new()
        .with_backend(BackendConfig::redb(dir.path()))
        .with_memory_budget_bytes(200_000);
    let mut small = Shop::open(StateStore::open(options).unwrap());
    let mut large = Shop::open(memory());
    for command in &commands(500) {
        small.apply(command);
        large.apply(command);
    }
    assert_eq!(small.lists(), large.lists());
}

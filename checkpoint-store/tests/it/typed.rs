//! Values of a state store can be read without their type: as JSON, and as Parquet columns.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use checkpoint_store::{
    BlobPath, CheckpointStore, KeyDecoder, ManifestDraft, MemoryBlobs, OperatorUid, OperatorUpdate,
    SavepointWriter, StateDecoder, ValueColumn, WriteKind,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};
use serde_json::json;
use state_backend::{
    ListDef, MapDef, PumpBudget, SnapshotKind, StateStore, StoreOptions, Ttl, ValueDef,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
struct Profile {
    name: String,
    events: u64,
    interests: HashMap<String, f64>,
    last: Option<Event>,
    parts: Vec<(i8, bool)>,
    bits: u128,
    nothing: (),
}

#[derive(Serialize, Deserialize)]
enum Event {
    Click,
    Rated(f32),
    Bought { item: String, price: i64 },
}

#[derive(Serialize, Deserialize)]
enum Tier {
    Silver,
    Gold,
}

const PROFILE: ValueDef<Profile> = ValueDef::new("profile");
const TIER: ValueDef<Tier> =
    ValueDef::new("tier").with_ttl(Ttl::after_write(Duration::from_secs(60)));
const RECENT: ListDef<i64> = ListDef::new("recent");
const RATINGS: MapDef<String, f64> = MapDef::new("ratings");

fn profile(n: u64) -> Profile {
    Profile {
        name: format!("user {n}"),
        events: n,
        interests: HashMap::from([("books".to_owned(), n as f64 / 2.0)]),
        last: match n % 4 {
            0 => None,
            1 => Some(Event::Click),
            2 => Some(Event::Rated(1.5)),
            _ => Some(Event::Bought {
                item: "lamp".into(),
                price: -7,
            }),
        },
        parts: vec![(-1, true), (n as i8, false)],
        bits: u128::MAX,
        nothing: (),
    }
}

fn checkpointed() -> (CheckpointStore, OperatorUid) {
    let blobs = Arc::new(MemoryBlobs::new());
    let store = CheckpointStore::open(blobs, checkpoint_store::StoreOptions::default()).unwrap();
    let uid = OperatorUid::new("users").unwrap();
    let mut state = StateStore::open(StoreOptions::new()).unwrap();
    let profiles = state.value(&PROFILE).unwrap();
    let tiers = state.value(&TIER).unwrap();
    let recent = state.list(&RECENT).unwrap();
    let ratings = state.map(&RATINGS).unwrap();
    state.set_time(5000);
    for n in 0..8 {
        let mut scope = state.scope(&format!("u{n}"));
        profiles.set(&mut scope, profile(n)).unwrap();
        tiers
            .set(&mut scope, if n < 2 { Tier::Gold } else { Tier::Silver })
            .unwrap();
        recent.add(&mut scope, n as i64).unwrap();
        recent.add(&mut scope, -1).unwrap();
        ratings.put(&mut scope, "lamp", n as f64).unwrap();
    }
    let id = store.latest().unwrap().next_id;
    state.begin_snapshot(1, SnapshotKind::Full).unwrap();
    let mut chunks = Vec::new();
    let _ = state.pump(PumpBudget::UNLIMITED, &mut chunks).unwrap();
    let writer = store
        .shard_writer(id, &uid, 0, state.range(), WriteKind::Full)
        .unwrap();
    let mut writer = writer.with_catalog(&state.catalog());
    chunks.iter().for_each(|chunk| writer.write(chunk).unwrap());
    let update = OperatorUpdate::new(uid.clone(), 1, 128)
        .with_catalog(state.catalog())
        .with_shard(writer.finish().unwrap());
    store
        .commit(
            ManifestDraft::new(id, 0, None)
                .with_operator(update)
                .build(),
        )
        .unwrap();
    (store, uid)
}

/// Writes a typed Parquet file for each state.
pub(crate) fn export_all(dir: &std::path::Path) {
    let (store, uid) = checkpointed();
    let manifest = store.latest().unwrap().manifest.unwrap();
    for state in ["profile", "tier", "recent", "ratings"] {
        let file = std::fs::File::create(dir.join(format!("{state}.parquet"))).unwrap();
        store
            .export_state(&manifest, &uid, state, ValueColumn::Typed, file)
            .unwrap();
    }
}

#[test]
fn rows_are_json_by_their_shape_alone() {
    let (store, uid) = checkpointed();
    // The manifest as read back: nothing of the types is left but what it says.
    let manifest = store.latest().unwrap().manifest.unwrap();
    let catalog = &manifest.operator(&uid).unwrap().catalog;
    let json = |state: &str| {
        let decoder = StateDecoder::of(catalog.get(state).unwrap()).expect("a shape");
        let mut rows = BTreeMap::new();
        let groups = crate::job::all_groups_of(128);
        store
            .for_each_row(&manifest, &uid, state, groups, |_, key, value| {
                rows.insert(
                    KeyDecoder::default().parts(key).to_string(),
                    decoder.to_json(value).unwrap(),
                );
                // Damaged bytes are an error or another value, never a panic.
                for at in 0..value.len() {
                    let mut bytes = value.to_vec();
                    bytes[at] ^= 0xff;
                    let _ = decoder.to_json(&bytes);
                    let _ = decoder.to_json(&value[..at]);
                }
                Ok::<_, checkpoint_store::Error>(())
            })
            .unwrap();
        rows
    };
    for (n, last) in [
        (0, json!(null)),
        (1, json!("Click")),
        (2, json!({ "Rated": 1.5 })),
        (3, json!({ "Bought": { "item": "lamp", "price": -7 } })),
    ] {
        let expected = json!({
            "name": format!("user {n}"),
            "events": n,
            "interests": { "books": n as f64 / 2.0 },
            "last": last,
            "parts": [[-1, true], [n, false]],
            "bits": u128::MAX.to_string(),
            "nothing": null,
        });
        assert_eq!(json("profile")[&format!("u{n}")], expected);
    }
    assert_eq!(
        json("tier")["u1"],
        json!({ "written_ms": 5000, "value": "Gold" })
    );
    assert_eq!(json("recent")["u3"], json!([3, -1]));
    assert_eq!(json("ratings")["u3 / lamp"], json!(3.0));
}

fn check_profiles(column: &arrow_array::ArrayRef, rows: usize) {
    let profiles = column.as_struct();
    let events = profiles
        .column_by_name("events")
        .unwrap()
        .as_primitive::<UInt64Type>();
    let interests = profiles.column_by_name("interests").unwrap().as_map();
    let last = profiles.column_by_name("last").unwrap().as_struct();
    let variants = last.column_by_name("variant").unwrap().as_string::<i32>();
    for row in 0..rows {
        let n = events.value(row);
        let weights = interests.value(row);
        let weights = weights.column(1).as_primitive::<Float64Type>();
        assert_eq!(weights.value(0), n as f64 / 2.0);
        use arrow_array::Array;
        assert_eq!(last.is_null(row), n % 4 == 0);
        if n % 4 == 3 {
            assert_eq!(variants.value(row), "Bought");
            let bought = last.column_by_name("Bought").unwrap().as_struct();
            let price = bought
                .column_by_name("price")
                .unwrap()
                .as_primitive::<Int64Type>();
            assert_eq!(price.value(row), -7);
        }
    }
}

#[test]
fn states_are_exported_as_columns() {
    let (store, uid) = checkpointed();
    let manifest = store.latest().unwrap().manifest.unwrap();
    for state in ["profile", "tier", "recent", "ratings"] {
        let mut file = Vec::new();
        let exported = store
            .export_state(&manifest, &uid, state, ValueColumn::Typed, &mut file)
            .unwrap();
        assert_eq!((exported.rows, exported.unreadable), (8, 0), "{state}");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file)).unwrap();
        let batch = reader.build().unwrap().next().unwrap().unwrap();
        let keys = batch.column_by_name("key_text").unwrap().as_string::<i32>();
        assert!(
            keys.iter().any(|key| key.unwrap().starts_with("u3")),
            "{keys:?}"
        );
        let values = batch.column_by_name("value").unwrap();
        match state {
            "profile" => check_profiles(values, 8),
            "tier" => {
                let gold = values
                    .as_string::<i32>()
                    .iter()
                    .filter(|tier| *tier == Some("Gold"));
                assert_eq!(gold.count(), 2);
                let written = batch.column_by_name("written_ms").unwrap();
                assert_eq!(written.as_primitive::<Int64Type>().value(0), 5000);
            }
            "recent" => assert_eq!(values.as_list::<i32>().value(0).len(), 2),
            _ => assert!(
                values
                    .as_primitive::<Float64Type>()
                    .iter()
                    .all(|v| v.is_some())
            ),
        }
    }
}

#[test]
fn a_typed_savepoint_restores_like_any_other() {
    let (store, uid) = checkpointed();
    let manifest = store.latest().unwrap().manifest.unwrap();
    let dir = BlobPath::new("savepoints/typed").unwrap();
    let options = checkpoint_store::StoreOptions::default();
    let writer = SavepointWriter::create(Arc::clone(store.blobs()), dir, options).unwrap();
    let saved = store
        .save_as(&manifest, &writer.with_typed_columns())
        .unwrap();
    let (_, file) = saved
        .files()
        .find(|(_, file)| file.state == "profile")
        .unwrap();
    let bytes = store.blobs().get(&saved.locate(file)).unwrap().unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let batch = reader.build().unwrap().next().unwrap().unwrap();
    check_profiles(batch.column_by_name("typed").unwrap(), 8);
    let mut state = StateStore::open(StoreOptions::new()).unwrap();
    let restored = store
        .restore(&saved, &uid, &mut state, &mut |_| {})
        .unwrap();
    assert_eq!(restored.rows, 4 * 8);
    let profiles = state.value(&PROFILE).unwrap();
    let mut scope = state.scope("u3");
    assert_eq!(profiles.get(&mut scope).unwrap().unwrap().name, "user 3");
}

#[test]
fn keys_are_text_where_they_are_text() {
    for (key, text) in [
        (&b"ada\0\x01\0"[..], "ada"),
        (b"ada\0\x01\0lamp\0\x01", "ada / lamp"),
        (b"ada\0\x01\0\x00\x07", "ada / 0x0007"),
        (b"ada\0\x01\x01w1\0\x01", "ada @ w1"),
        // A zero within a text is a control character.
        (b"a\0\xffb\0\x01\0", "0x6100ff62000100"),
        (b"\x00\x00\x00\x05\0", "0x0000000500"),
        (b"", "0x"),
    ] {
        assert_eq!(KeyDecoder::default().parts(key).to_string(), text);
    }
}

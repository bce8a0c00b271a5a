//! Any history of changes, checkpoints, failures, compactions, collections, damage, restores and
//! changes of parallelism comes out as a plain map would.

use crate::job::{Job, Model, key, options, read};
use checkpoint_store::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Clone)]
enum Op {
    Set {
        state: usize,
        number: u16,
        size: usize,
    },
    Delete {
        state: usize,
        number: u16,
    },
    Checkpoint,
    FullCheckpoint,
    /// Written, and never committed; perhaps not even cleaned up.
    FailCheckpoint {
        abandon: bool,
    },
    Compact {
        everything: bool,
    },
    Collect {
        keep: usize,
    },
    Savepoint {
        parallelism: u16,
    },
    /// The newest checkpoint loses a file, or its manifest a byte.
    Damage {
        manifest: bool,
    },
    Restart {
        parallelism: u16,
    },
}

const STATES: [&str; 3] = ["a", "b/with a slash", "timers"];

fn op() -> impl Strategy<Value = Op> {
    let state = 0..STATES.len();
    let number = 0..60_u16;
    let size = prop_oneof![8 => 0..20_usize, 1 => 5_000..30_000_usize];
    prop_oneof![
        20 => (state.clone(), number.clone(), size)
            .prop_map(|(state, number, size)| Op::Set { state, number, size }),
        6 => (state, number).prop_map(|(state, number)| Op::Delete { state, number }),
        8 => Just(Op::Checkpoint),
        1 => Just(Op::FullCheckpoint),
        2 => any::<bool>().prop_map(|abandon| Op::FailCheckpoint { abandon }),
        2 => any::<bool>().prop_map(|everything| Op::Compact { everything }),
        2 => (1..4_usize).prop_map(|keep| Op::Collect { keep }),
        1 => (1..6_u16).prop_map(|parallelism| Op::Savepoint { parallelism }),
        1 => any::<bool>().prop_map(|manifest| Op::Damage { manifest }),
        3 => (1..6_u16).prop_map(|parallelism| Op::Restart { parallelism }),
    ]
}

fn damage_newest(blobs: &Arc<dyn BlobStore>, job: &Job, manifest: bool) -> bool {
    let Some(newest) = &job.previous else {
        return false;
    };
    let path = if manifest {
        protocol::manifest_path(CheckpointRef::of(newest))
    } else {
        let own = newest.files().find(|(_, file)| {
            file.path
                .is_below(&protocol::checkpoint_dir(CheckpointRef::of(newest)))
        });
        match own {
            Some((_, file)) => newest.locate(file),
            None => return false,
        }
    };
    let Some(bytes) = blobs.get(&path).unwrap() else {
        return false;
    };
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    let _ = blobs.put(&path, bytes.into(), PutMode::Overwrite).unwrap();
    true
}

fn run(ops: Vec<Op>, fan_in: usize) {
    let blobs: Arc<dyn BlobStore> = Arc::new(MemoryBlobs::new());
    let mut job = Job::start_with(Arc::clone(&blobs), 2, options(fan_in)).unwrap();
    // What each committed checkpoint holds, and which of them are damaged.
    let mut committed: BTreeMap<CheckpointId, Model> = BTreeMap::new();
    let mut step = 0_u32;
    for op in ops {
        step += 1;
        match op {
            Op::Set {
                state,
                number,
                size,
            } => {
                let value = step.to_be_bytes().into_iter().cycle().take(size).collect();
                job.set(key(STATES[state], number), value);
            }
            Op::Delete { state, number } => job.delete(key(STATES[state], number)),
            Op::Checkpoint => {
                let id = job.checkpoint().unwrap();
                committed.insert(id, job.model.clone());
            }
            Op::FullCheckpoint => {
                let id = job.checkpoint_of(WriteKind::Full).unwrap();
                committed.insert(id, job.model.clone());
            }
            Op::FailCheckpoint { abandon } => {
                let (id, _) = job.write(WriteKind::Full).unwrap();
                if abandon {
                    job.store.abandon(id).unwrap();
                }
            }
            Op::Compact { everything } => {
                let policy = if everything {
                    CompactionPolicy::EVERYTHING
                } else {
                    CompactionPolicy::default()
                        .with_max_layers(3)
                        .with_max_inputs(fan_in)
                };
                job.compact(&policy).unwrap();
            }
            Op::Collect { keep } => {
                let report = job
                    .store
                    .collect_garbage(&Retention::newest(keep), GcMode::Delete)
                    .unwrap();
                assert_eq!(report.failures.len(), 0);
                committed.retain(|id, _| report.plan.kept.iter().any(|kept| kept.id == *id));
            }
            Op::Savepoint { parallelism } => {
                let Some(manifest) = &job.previous else {
                    continue;
                };
                let target: Arc<dyn BlobStore> = Arc::new(MemoryBlobs::new());
                let options = options(fan_in);
                let writer =
                    SavepointWriter::create(Arc::clone(&target), BlobPath::root(), options.clone());
                let saved = job.store.save_as(manifest, &writer.unwrap());
                let saved = match saved {
                    Ok(saved) => saved,
                    Err(error) => {
                        assert!(error.is_corruption(), "{error}");
                        continue;
                    }
                };
                let store = CheckpointStore::open_read_only(target, options);
                let expected = &committed[&manifest.id];
                assert_eq!(read(&store, &saved, parallelism).unwrap(), *expected);
            }
            Op::Damage { manifest } => {
                // A running job would go on adding to the damaged file; what must hold is that
                // the next start does not believe it.
                if let Some(newest) = job.previous.as_ref().map(|newest| newest.id)
                    && damage_newest(&blobs, &job, manifest)
                {
                    committed.remove(&newest);
                    restart(&blobs, &mut job, &mut committed, 2, fan_in);
                }
            }
            Op::Restart { parallelism } => {
                restart(&blobs, &mut job, &mut committed, parallelism, fan_in);
            }
        }
    }
    restart(&blobs, &mut job, &mut committed, 1, fan_in);
}

fn restart(
    blobs: &Arc<dyn BlobStore>,
    job: &mut Job,
    committed: &mut BTreeMap<CheckpointId, Model>,
    parallelism: u16,
    fan_in: usize,
) {
    *job = Job::start_with(Arc::clone(blobs), parallelism, options(fan_in)).unwrap();
    match &job.previous {
        None => assert!(committed.is_empty(), "a committed checkpoint was lost"),
        Some(found) => {
            // A checkpoint that builds on the damaged one is gone with it.
            committed.retain(|id, _| *id <= found.id);
            let (newest, model) = committed.last_key_value().expect("nothing was committed");
            assert_eq!(found.id, *newest);
            assert_eq!(job.model, *model);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_history_equals_a_map(
        ops in prop::collection::vec(op(), 1..80),
        fan_in in prop_oneof![2 => 2..6_usize, 1 => Just(64)],
    ) {
        run(ops, fan_in);
    }
}

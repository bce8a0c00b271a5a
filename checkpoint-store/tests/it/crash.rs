//! A crash at any write, sync, link, rename, removal or put loses at most what was not committed.

use crate::job::{Job, Model, key};
use checkpoint_store::blob::{CrashPlan, SimulatedDisk};
use checkpoint_store::fault::{Call, Fault, FaultyBlobs};
use checkpoint_store::*;
use std::sync::Arc;

/// What a workload knows when it ends, by a crash or not.
#[derive(Default)]
struct Known {
    /// Acknowledged last.
    committed: Model,
    /// Attempted and not acknowledged: may have happened.
    in_flight: Option<Model>,
}

/// Checkpoints, a failed one, a compaction, garbage collection and a restart, until an error.
fn workload(blobs: &Arc<dyn BlobStore>, known: &mut Known) -> Result<()> {
    for restart in 0..2_u16 {
        let mut job = Job::start(Arc::clone(blobs), 1 + restart)?;
        assert_eq!(
            job.model, known.committed,
            "a restart lost or invented something"
        );
        for round in 0..3_u16 {
            for number in 0..4 {
                job.set(key("s", number * 5), vec![restart as u8, round as u8]);
            }
            job.delete(key("s", round * 5));
            if round == 1 {
                // Fails half way: its changes ride in the next.
                let (id, _) = job.write(WriteKind::Delta)?;
                job.store.abandon(id)?;
                job.compact(&CompactionPolicy::EVERYTHING)?;
            }
            known.in_flight = Some(job.model.clone());
            job.checkpoint()?;
            known.committed = job.model.clone();
            known.in_flight = None;
        }
        job.store
            .collect_garbage(&Retention::newest(1), GcMode::Delete)?;
    }
    Ok(())
}

fn check_recovery(blobs: Arc<dyn BlobStore>, known: &Known, when: &str) {
    let mut job = Job::start(Arc::clone(&blobs), 3).expect(when);
    let as_acknowledged = job.model == known.committed;
    let as_in_flight = known.in_flight.as_ref() == Some(&job.model);
    assert!(
        as_acknowledged || as_in_flight,
        "{when}: neither state came back"
    );
    let latest = job.store.latest().expect(when);
    assert_eq!(
        latest.passed_over,
        [],
        "{when}: a crash left a damaged checkpoint"
    );
    // And it goes on from there, and cleans up.
    job.set(key("s", 77), b"after".to_vec());
    job.checkpoint().expect(when);
    job.checkpoint_of(WriteKind::Full).expect(when);
    let report = job
        .store
        .collect_garbage(&Retention::newest(1), GcMode::Delete)
        .expect(when);
    assert_eq!(
        report.plan.in_progress,
        [],
        "{when}: something stays for ever"
    );
    let left = blobs.list(&BlobPath::root()).expect(when);
    let claims = left
        .iter()
        .filter(|blob| blob.path.as_str().starts_with("writers/"));
    assert_eq!(claims.count(), 1, "{when}");
    assert_eq!(Job::start(blobs, 1).expect(when).model, job.model, "{when}");
}

#[test]
fn power_failure_at_every_step_of_the_disk() {
    let disk = SimulatedDisk::new();
    disk.plan(CrashPlan::Never);
    let blobs: Arc<dyn BlobStore> = Arc::new(disk.open().unwrap());
    workload(&blobs, &mut Known::default()).unwrap();
    let steps = disk.steps();
    assert!(steps > 100, "{steps}");
    for step in 0..steps {
        for plan in [CrashPlan::Before(step), CrashPlan::Within(step)] {
            for survives_unsynced in [false, true] {
                let disk = SimulatedDisk::new();
                disk.plan(plan);
                let mut known = Known::default();
                let run = disk.open().and_then(|blobs| {
                    let blobs: Arc<dyn BlobStore> = Arc::new(blobs);
                    workload(&blobs, &mut known)
                });
                // A failure to clean up is not always an error.
                assert!(run.is_err() || disk.has_crashed());
                if survives_unsynced {
                    disk.restart_with_all();
                } else {
                    disk.restart_with_synced();
                }
                let when = format!("{plan:?}, unsynced survives: {survives_unsynced}");
                check_recovery(Arc::new(disk.open().unwrap()), &known, &when);
            }
        }
    }
}

fn memory() -> Arc<dyn BlobStore> {
    Arc::new(MemoryBlobs::new())
}

fn object_store() -> Arc<dyn BlobStore> {
    let store = Arc::new(object_store::memory::InMemory::new());
    Arc::new(ObjectBlobs::new(store, &BlobPath::new("jobs/1").unwrap()).unwrap())
}

/// How many calls the workload makes.
fn calls(open: fn() -> Arc<dyn BlobStore>) -> u64 {
    let count = Arc::new(FaultyBlobs::new(open(), |_, _, _| Fault::None));
    let counted: Arc<dyn BlobStore> = Arc::clone(&count) as Arc<dyn BlobStore>;
    workload(&counted, &mut Known::default()).unwrap();
    count.calls()
}

#[test]
fn the_process_dies_at_every_call_of_the_store() {
    die_at_every_call(memory, &[Fault::Before, Fault::After]);
}

#[test]
fn the_process_dies_at_every_call_of_an_object_store() {
    // `Before` of a call is `After` of the one before it.
    die_at_every_call(object_store, &[Fault::After]);
}

fn die_at_every_call(open: fn() -> Arc<dyn BlobStore>, faults: &[Fault]) {
    for call in 0..calls(open) {
        for &fault in faults {
            let beneath = open();
            // The call fails, and so does every later one: the process is gone.
            let dying: Arc<dyn BlobStore> = Arc::new(FaultyBlobs::new(
                Arc::clone(&beneath),
                move |number, _, _| match number.cmp(&call) {
                    std::cmp::Ordering::Less => Fault::None,
                    std::cmp::Ordering::Equal => fault,
                    std::cmp::Ordering::Greater => Fault::Before,
                },
            ));
            let mut known = Known::default();
            let _ = workload(&dying, &mut known);
            check_recovery(beneath, &known, &format!("{fault:?} of call {call}"));
        }
    }
}

#[test]
fn one_failed_call_is_survived_and_an_unknown_outcome_settled() {
    fail_each_call(
        memory,
        &[Fault::Before, Fault::After, Fault::Repeated, Fault::Short],
    );
}

#[test]
fn one_failed_call_of_an_object_store_is_survived() {
    fail_each_call(object_store, &[Fault::After, Fault::Repeated]);
}

fn fail_each_call(open: fn() -> Arc<dyn BlobStore>, faults: &[Fault]) {
    let mut settled = 0;
    for call in 0..calls(open) {
        for &fault in faults {
            let beneath = open();
            let was_put = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let seen = Arc::clone(&was_put);
            let blobs: Arc<dyn BlobStore> = Arc::new(FaultyBlobs::new(
                Arc::clone(&beneath),
                move |number, kind, _| {
                    if number != call {
                        return Fault::None;
                    }
                    seen.store(kind == Call::Put, std::sync::atomic::Ordering::Relaxed);
                    fault
                },
            ));
            let mut known = Known::default();
            let run = workload(&blobs, &mut known);
            let was_put = was_put.load(std::sync::atomic::Ordering::Relaxed);
            if (was_put && fault == Fault::After) || fault == Fault::Repeated {
                // A put that happened is found to have happened.
                run.unwrap();
                settled += 1;
            }
            check_recovery(beneath, &known, &format!("{fault:?} of call {call}"));
        }
    }
    assert!(settled > 10);
}

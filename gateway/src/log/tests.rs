//! Holds the promises of the log: what is acknowledged survives, nothing is counted twice, damage is
//! named.

mod sim;

use super::{disk::Disk, writer::LogWriter, *};
use crate::proto::{
    log::{Entry, entry::Kind},
    v1::UserEvent,
};
use sim::{SimDisk, Tear};
use std::{collections::BTreeMap, io::ErrorKind};

fn event(user: &str, number: u64) -> Entry {
    Entry {
        kind: Some(Kind::Event(UserEvent {
            user_id: user.to_owned(),
            item_id: format!("i{number}"),
            event_type: 1,
            timestamp_ms: i64::try_from(number).unwrap(),
            ..UserEvent::default()
        })),
        category: String::new(),
    }
}

/// Numbers `first..first + count` of a producer.
fn request(producer: &str, first: u64, count: u64) -> Request {
    Request {
        producer: producer.to_owned(),
        first_sequence: first,
        slots: (first..first + count)
            .map(|n| Some(event(producer, n)))
            .collect(),
    }
}

fn small() -> LogOptions {
    LogOptions::default().with_segment_bytes(600)
}

/// Every entry held, by producer, in order.
fn contents(disk: &Arc<dyn Disk>, shared: &Arc<Shared>) -> BTreeMap<String, Vec<i64>> {
    let stats = shared.stats();
    let mut reader = LogReader::new(Arc::clone(disk), Arc::clone(shared), stats.first).unwrap();
    let mut out = Vec::new();
    while reader.read(7, &mut out).unwrap() > 0 {}
    assert_eq!(out.len() as u64, stats.end - stats.first);
    let mut by_producer: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (n, (position, entry)) in out.into_iter().enumerate() {
        assert_eq!(position, stats.first + n as u64);
        let Some(Kind::Event(event)) = entry.kind else {
            panic!("an event was written")
        };
        by_producer
            .entry(event.user_id)
            .or_default()
            .push(event.timestamp_ms);
    }
    by_producer
}

fn numbers(upto: u64) -> Vec<i64> {
    (1..=upto).map(|n| i64::try_from(n).unwrap()).collect()
}

/// Two producers, groups of one to three requests, repeats in between, then trimming. Returns the last
/// number acknowledged to each; ends early when the disk is gone.
fn workload(disk: &Arc<dyn Disk>) -> BTreeMap<&'static str, u64> {
    let mut acknowledged = BTreeMap::from([("a", 0), ("b", 0)]);
    let Ok((mut writer, _)) = LogWriter::open(Arc::clone(disk), small()) else {
        return acknowledged;
    };
    for round in 0..12_u64 {
        let first = round * 3 + 1;
        let mut group = vec![request("a", first, 3)];
        if round % 2 == 0 {
            group.push(request("b", round * 2 + 1, 4));
            // The client lost the connection and sends the end of its last batch again.
            group.push(request("a", first + 1, 2));
        }
        let names: Vec<_> = group.iter().map(|r| r.producer.clone()).collect();
        for (name, result) in names.iter().zip(writer.commit(group)) {
            if let Ok(appended) = result {
                let last = acknowledged.get_mut(name.as_str()).unwrap();
                *last = appended.last_sequence.max(*last);
            }
        }
        if round == 8 && writer.stopped().is_none() {
            // No checkpoint needs the first segment any more.
            let _ended = writer.trim(10);
        }
    }
    acknowledged
}

#[test]
fn a_crash_at_every_operation_loses_nothing_acknowledged() {
    let count = {
        let sim = SimDisk::default();
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        workload(&disk);
        sim.operations()
    };
    assert!(count > 30, "{count} operations");
    for stop_at in 0..count {
        for tear in [Tear::Nothing, Tear::Half, Tear::Everything, Tear::Zeros] {
            let sim = SimDisk::stopping_at(stop_at);
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            let acknowledged = workload(&disk);
            let disk: Arc<dyn Disk> = Arc::new(sim.after_crash(tear));
            let (mut writer, _) = LogWriter::open(Arc::clone(&disk), small())
                .unwrap_or_else(|error| panic!("stop at {stop_at}, {tear:?}: {error}"));
            for (name, last) in acknowledged {
                let known = writer.last_sequence(name);
                assert!(
                    known >= last,
                    "stop at {stop_at}, {tear:?}: {name} {known} < {last}"
                );
                // The client goes on from what the log says it has.
                let all = if name == "a" { 36 } else { 24 };
                for result in writer.commit(vec![request(name, known + 1, all - known)]) {
                    result.unwrap();
                }
            }
            let shared = Arc::clone(writer.shared());
            let first = shared.stats().first;
            assert_eq!(shared.stats().end, 60, "stop at {stop_at}, {tear:?}");
            let held = contents(&disk, &shared);
            for (name, all) in [("a", 36), ("b", 24)] {
                let all = numbers(all);
                let held = held.get(name).map_or(&[][..], |v| v);
                assert!(
                    all.ends_with(held),
                    "stop at {stop_at}, {tear:?}: {name} {held:?}"
                );
                assert!(first > 0 || held.len() == all.len());
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_later() {
    let sim = SimDisk::default();
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let (mut writer, _) = LogWriter::open(Arc::clone(&disk), small()).unwrap();
    assert!(writer.commit(vec![request("a", 1, 3)])[0].is_ok());
    sim.set_room(Some(10));
    let results = writer.commit(vec![request("a", 4, 3), request("b", 1, 1)]);
    assert!(
        results
            .iter()
            .all(|r| matches!(r, Err(Error::LogFull { .. }))),
        "{results:?}"
    );
    assert!(
        results
            .iter()
            .flat_map(|r| r.as_ref().err())
            .all(Error::is_retryable)
    );
    assert_eq!(
        (writer.last_sequence("a"), writer.last_sequence("b")),
        (3, 0)
    );
    sim.set_room(None);
    assert_eq!(
        writer.commit(vec![request("a", 4, 3)])[0]
            .as_ref()
            .unwrap()
            .position,
        6
    );
    assert_eq!(contents(&disk, writer.shared())["a"], numbers(6));
    let (writer, torn) = LogWriter::open(Arc::clone(&disk), small()).unwrap();
    assert_eq!((torn, writer.shared().stats().end), (0, 6));
}

#[test]
fn a_failed_fsync_stops_the_log() {
    let sim = SimDisk::default();
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let (mut writer, _) = LogWriter::open(disk, small()).unwrap();
    let stopped = writer.shared().watch_stopped();
    sim.fail_sync(ErrorKind::Other);
    assert!(matches!(
        writer.commit(vec![request("a", 1, 1)])[0],
        Err(Error::LogStopped(_))
    ));
    // Even though the next fsync would succeed.
    assert!(matches!(
        writer.commit(vec![request("a", 1, 1)])[0],
        Err(Error::LogStopped(_))
    ));
    assert!(stopped.borrow().as_ref().unwrap().contains("fsync"));
}

#[test]
fn every_flipped_bit_in_what_was_synced_is_named_or_harmless() {
    let sim = SimDisk::default();
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let (mut writer, _) = LogWriter::open(disk, LogOptions::default()).unwrap();
    for n in 0..4 {
        writer.commit(vec![request("a", n * 2 + 1, 2)])[0]
            .as_ref()
            .unwrap();
    }
    let name = segment::name(0);
    let bytes = sim.bytes(&name);
    let (mut named, mut cut) = (0, 0);
    for byte in 0..bytes.len() {
        let damaged = SimDisk::default();
        let mut copy = bytes.clone();
        copy[byte] ^= 0x10;
        damaged.put(&name, copy);
        let disk: Arc<dyn Disk> = Arc::new(damaged);
        match LogWriter::open(Arc::clone(&disk), LogOptions::default()) {
            Err(error) => {
                assert!(error.is_corruption(), "byte {byte}: {error}");
                named += 1;
            }
            Ok((writer, torn)) => {
                // Only the group written last can pass for a torn one, and it goes as a whole.
                assert!(torn > 0, "byte {byte}");
                assert_eq!(
                    contents(&disk, writer.shared())["a"],
                    numbers(6),
                    "byte {byte}"
                );
                cut += 1;
            }
        }
    }
    assert!(named > 2 * cut, "{named} named, {cut} cut");
}

#[test]
fn damage_in_an_older_segment_is_named_when_read() {
    let sim = SimDisk::default();
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    workload(&disk);
    let name = sim.names().into_iter().min().unwrap();
    let mut bytes = sim.bytes(&name);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    sim.put(&name, bytes);
    let (writer, _) = LogWriter::open(Arc::clone(&disk), small()).unwrap();
    let shared = writer.shared();
    let mut reader =
        LogReader::new(Arc::clone(&disk), Arc::clone(shared), shared.stats().first).unwrap();
    let error = loop {
        match reader.read(100, &mut Vec::new()) {
            Ok(0) => panic!("the damage was not noticed"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains(&name), "{error}");
}

#[test]
fn deduplication_survives_trimming() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
    let (mut writer, _) = LogWriter::open(Arc::clone(&disk), small()).unwrap();
    writer.commit(vec![request("old", 1, 5)])[0]
        .as_ref()
        .unwrap();
    for n in 0..30 {
        writer.commit(vec![request("a", n * 3 + 1, 3)])[0]
            .as_ref()
            .unwrap();
    }
    let end = writer.shared().stats().end;
    assert!(writer.trim(end).unwrap() > 2);
    assert!(writer.shared().stats().first > 5);
    let (mut writer, _) = LogWriter::open(disk, small()).unwrap();
    let again = writer.commit(vec![request("old", 3, 4)])[0]
        .as_ref()
        .copied()
        .unwrap();
    assert_eq!(
        (again.duplicates, again.last_sequence, again.position),
        (3, 6, end + 1)
    );
}

#[test]
fn events_set_aside_take_a_number_but_no_position() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
    let (mut writer, _) = LogWriter::open(Arc::clone(&disk), small()).unwrap();
    let mut mixed = request("a", 1, 3);
    mixed.slots[1] = None;
    let appended = writer.commit(vec![mixed.clone()])[0]
        .as_ref()
        .copied()
        .unwrap();
    assert_eq!((appended.last_sequence, appended.position), (3, 2));
    let (mut writer, _) = LogWriter::open(disk, small()).unwrap();
    assert_eq!(writer.shared().stats().rejected, 1);
    assert_eq!(
        writer.commit(vec![mixed])[0].as_ref().unwrap().duplicates,
        3
    );
    assert_eq!(writer.shared().stats().rejected, 1);
}

#[tokio::test]
async fn a_reader_follows_and_sees_only_what_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let log = IngestLog::open(dir.path(), small()).unwrap();
    let mut reader = log.reader(0).unwrap();
    let (notify, grown) = std::sync::mpsc::sync_channel(1);
    log.notify_growth(Box::new(move || {
        let _already = notify.try_send(());
    }));
    let following = std::thread::spawn(move || {
        let mut out = Vec::new();
        while out.len() < 300 {
            grown.recv().unwrap();
            while reader.read(50, &mut out).unwrap() > 0 {}
        }
        out.into_iter()
            .map(|(position, _)| position)
            .collect::<Vec<_>>()
    });
    for n in 0..100 {
        let appended = log.append(request("a", n * 3 + 1, 3)).await.unwrap();
        assert_eq!(appended.position, n * 3 + 3);
    }
    assert_eq!(following.join().unwrap(), (0..300).collect::<Vec<_>>());
    log.close().await;
    assert!(matches!(
        log.append(request("a", 301, 1)).await,
        Err(Error::ShuttingDown)
    ));
    assert!(matches!(
        log.reader(301),
        Err(Error::LogPosition { end: 300, .. })
    ));
}

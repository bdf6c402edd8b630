//! The writer, with its threads and without.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;

use super::{ID, SECTOR, SMALL, SimDisk, Wal};
use crate::log::{Done, Log, LogError, LogWriter, WriterOptions, sim_disk::Operation};

/// Far longer than anything here takes: an answer that never comes fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

fn wal(disk: &SimDisk) -> Wal<SimDisk> {
    Wal::open(disk.reopened(), SMALL, ID).expect("the disk works").0
}

fn started(disk: &SimDisk) -> Log {
    LogWriter::start(wal(disk), WriterOptions::default())
}

fn entry(index: u64, body: &str) -> Vec<(u64, Bytes)> {
    vec![(index, Bytes::copy_from_slice(body.as_bytes()))]
}

/// A call, and where its answer arrives.
fn answer() -> (Done, mpsc::Receiver<io::Result<()>>) {
    let (tell, told) = mpsc::channel();
    // Whoever does not listen does not care.
    (Box::new(move |result| drop(tell.send(result))), told)
}

fn wait<T>(told: &mpsc::Receiver<T>) -> T {
    told.recv_timeout(PATIENCE).expect("each request is answered")
}

#[test]
fn many_groups_write_at_once() {
    const GROUPS: u32 = 6;
    const ENTRIES: u64 = 60;
    let disk = SimDisk::new(1).with_sector(SECTOR);
    let log = started(&disk);
    std::thread::scope(|scope| {
        for id in 0..GROUPS {
            let group = log.group(id);
            scope.spawn(move || {
                let mut answers = Vec::new();
                for index in 0..ENTRIES {
                    let (done, told) = answer();
                    group.append(entry(index, &format!("{id}/{index}")), done);
                    assert_eq!(group.read(index..index + 1, 1).expect("at once").len(), 1);
                    group.save_committed(Bytes::from(index.to_string()));
                    answers.push(told);
                    if index % 16 == 7 {
                        let (done, told) = answer();
                        group.save_vote(Bytes::from(format!("vote {index}")), done);
                        wait(&told).expect("the disk works");
                        assert_eq!(group.vote(), Some(Bytes::from(format!("vote {index}"))));
                        let (done, told) = answer();
                        group.purge(index - 5, Bytes::from_static(b"point"), done);
                        answers.push(told);
                    }
                }
                answers.iter().for_each(|told| wait(told).expect("the disk works"));
            });
        }
    });
    assert!(log.synced_frames() > 0 && log.bytes_total() > 0);
    assert_eq!(log.queued_bytes(), 0);
    drop(log);

    let log = started(&disk.power_on(crate::log::sim_disk::Keep::Nothing));
    assert_eq!(log.groups(), (0..GROUPS).collect::<Vec<_>>());
    for id in 0..GROUPS {
        let group = log.group(id);
        assert_eq!((group.first_index(), group.last_index()), (Some(51), Some(59)));
        assert_eq!(group.purge_point(), Some((50, Bytes::from_static(b"point"))));
        assert_eq!(group.vote(), Some(Bytes::from_static(b"vote 55")));
        assert_eq!(group.committed(), Some(Bytes::from_static(b"59")));
        for (index, body) in group.read(0..99, u64::MAX).expect("the disk works") {
            assert_eq!(body, format!("{id}/{index}"));
        }
    }
}

#[test]
fn entries_are_read_before_they_are_synced_and_told_after() {
    let disk = SimDisk::new(1);
    let (log, mut writer) = LogWriter::inline(wal(&disk), WriterOptions::default());
    let group = log.group(1);
    let before = disk.operations();
    let (done, told) = answer();
    group.append(entry(0, "body"), done);
    assert_eq!(group.cached(0..9, 99), Some(entry(0, "body")));
    assert!(writer.has_work() && told.try_recv().is_err());
    assert_eq!(disk.operations(), before, "nothing is written on the caller's thread");
    writer.drain();
    assert!(told.try_recv().expect("told").is_ok() && !writer.has_work());
    assert_eq!(log.synced_frames(), 1);

    let (done, told) = answer();
    group.save_vote(Bytes::from_static(b"vote"), done);
    assert_eq!(group.vote(), None, "not durable yet");
    writer.drain();
    assert!(told.try_recv().expect("told").is_ok());
    assert_eq!((group.vote(), log.synced_frames()), (Some(Bytes::from_static(b"vote")), 3));
}

#[test]
fn what_is_committed_rides_with_the_next_request() {
    let disk = SimDisk::new(1);
    let (log, mut writer) = LogWriter::inline(wal(&disk), WriterOptions::default());
    log.group(1).save_committed(Bytes::from_static(b"one"));
    log.group(1).save_committed(Bytes::from_static(b"two"));
    assert_eq!(log.group(1).committed(), Some(Bytes::from_static(b"two")), "shown at once");
    let before = disk.operations();
    writer.drain();
    assert!(!writer.has_work() && disk.operations() == before, "no sync of its own");
    log.group(2).append(entry(0, "body"), Box::new(drop));
    writer.drain();
    let log = started(&disk.power_on(crate::log::sim_disk::Keep::Nothing));
    assert_eq!(log.group(1).committed(), Some(Bytes::from_static(b"two")));
    log.group(1).save_committed(Bytes::from_static(b"last"));
    drop(log);
    let log = started(&disk.power_on(crate::log::sim_disk::Keep::Nothing));
    assert_eq!(log.group(1).committed(), Some(Bytes::from_static(b"last")), "closing writes it");
}

#[test]
fn a_failure_is_told_to_everybody_and_for_ever() {
    let disk = SimDisk::new(1);
    let log = started(&disk);
    let (tell, told) = mpsc::channel();
    log.on_failure(Box::new(move |error| tell.send(error.to_string()).expect("heard")));
    let ask = |index| {
        let (done, told) = answer();
        log.group(1).append(entry(index, "body"), done);
        wait(&told)
    };
    ask(0).expect("the disk works");
    assert!(log.failed().is_none());
    disk.fail_next(Operation::Sync);
    let first = ask(1).expect_err("it failed").to_string();
    let before = disk.operations();
    assert_eq!(ask(2).expect_err("for ever").to_string(), first);
    assert_eq!(disk.operations(), before);
    assert_eq!(wait(&told), first);
    assert!(matches!(log.failed(), Some(LogError::Disk { .. })));
    let (tell, told) = mpsc::channel();
    log.on_failure(Box::new(move |_| tell.send(()).expect("heard")));
    told.try_recv().expect("who asks late is told at once");
}

/// The helper fails while nobody writes; the node must learn of it.
#[test]
fn a_failure_of_the_helper_is_told() {
    let disk = SimDisk::new(1);
    let log = started(&disk);
    let (tell, told) = mpsc::channel();
    log.on_failure(Box::new(move |error| tell.send(error.to_string()).expect("heard")));
    disk.fail_next(Operation::Remove);
    for index in 0..12 {
        let (done, told) = answer();
        log.group(1).append(entry(index, &"body".repeat(40)), done);
        wait(&told).expect("the writer itself does not fail");
    }
    log.group(1).purge(11, Bytes::new(), Box::new(drop));
    let error = wait(&told);
    assert!(error.contains("0000000001.log") && error.contains("remove"), "{error}");
}

#[test]
fn a_misuse_is_refused_and_harms_nobody() {
    let disk = SimDisk::new(1);
    let log = started(&disk);
    let (done, told) = answer();
    log.group(1).append(entry(0, "body"), done);
    let (done, refused) = answer();
    log.group(1).append(entry(7, "body"), done);
    let error = wait(&refused).expect_err("there is a hole");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    wait(&told).expect("the other is fine");
    assert!(log.failed().is_none());
    log.close();
    let (done, told) = answer();
    log.group(1).append(entry(1, "body"), done);
    assert!(wait(&told).expect_err("closed").to_string().contains("closed"));
}

/// A purge that is known already waits for the one that is on its way.
#[test]
fn a_purge_that_changes_nothing_is_told_in_its_turn() {
    let disk = SimDisk::new(1);
    let (log, mut writer) = LogWriter::inline(wal(&disk), WriterOptions::default());
    let group = log.group(1);
    let (done, _) = answer();
    group.purge(5, Bytes::from_static(b"five"), done);
    let (done, told) = answer();
    group.purge(4, Bytes::from_static(b"four"), done);
    assert!(told.try_recv().is_err());
    assert_eq!(group.purge_point(), Some((5, Bytes::from_static(b"five"))));
    assert_eq!((group.first_index(), group.last_index()), (None, None));
    writer.drain();
    told.try_recv().expect("told").expect("the disk works");
}

#[test]
fn a_full_queue_says_so_and_calls_when_there_is_room() {
    let disk = SimDisk::new(1);
    let calls = Arc::new(AtomicU64::new(0));
    let count = |calls: &Arc<AtomicU64>| {
        let calls = Arc::clone(calls);
        move || {
            calls.fetch_add(1, Ordering::Relaxed);
        }
    };
    let woken = Arc::new(AtomicU64::new(0));
    let options = WriterOptions {
        queue_bytes_max: 1000,
        on_work: Some(Box::new(count(&woken))),
        ..WriterOptions::default()
    };
    let (log, mut writer) = LogWriter::inline(wal(&disk), options);
    log.when_room(Box::new(count(&calls)));
    assert_eq!(calls.load(Ordering::Relaxed), 1, "there is room");
    log.group(1).append(entry(0, &"x".repeat(2000)), Box::new(drop));
    assert!(log.queued_bytes() > 2000);
    log.when_room(Box::new(count(&calls)));
    assert_eq!(calls.load(Ordering::Relaxed), 1, "there is none");
    log.group(1).append(entry(1, "taken all the same"), Box::new(drop));
    writer.drain();
    assert_eq!((calls.load(Ordering::Relaxed), log.queued_bytes()), (2, 0));
    assert_eq!(woken.load(Ordering::Relaxed), 2, "once a request");
}

#[test]
fn each_commit_is_timed_if_somebody_asks() {
    let (tell, told) = mpsc::channel();
    let on_commit = move |took| tell.send(took).expect("heard");
    let options = WriterOptions { on_commit: Some(Box::new(on_commit)), ..Default::default() };
    let log = LogWriter::start(wal(&SimDisk::new(1)), options);
    let (done, answer) = answer();
    log.group(1).append(entry(0, "body"), done);
    wait(&answer).expect("the disk works");
    wait(&told);
}

/// The last handle may go in a callback, on the writer's own thread.
#[test]
fn a_handle_dropped_by_its_own_callback_is_no_deadlock() {
    let disk = SimDisk::new(1);
    let log = started(&disk);
    let kept = Arc::new(Mutex::new(None));
    let (tell, told) = mpsc::channel();
    let callback = {
        let kept = Arc::clone(&kept);
        move |_| {
            drop(kept.lock().expect("not poisoned").take());
            tell.send(()).expect("heard");
        }
    };
    let group = log.group(1);
    *kept.lock().expect("not poisoned") = Some(log);
    let held = kept.lock().expect("not poisoned");
    group.append(entry(0, "body"), Box::new(callback));
    drop(group);
    drop(held);
    wait(&told);
}

/// A panic in a callback is a bug, but nobody may wait for ever because of it.
#[test]
fn a_panic_on_the_writers_thread_stops_the_log() {
    let disk = SimDisk::new(1);
    let log = started(&disk);
    let (tell, told) = mpsc::channel();
    log.on_failure(Box::new(move |error| tell.send(error.clone()).expect("heard")));
    log.group(1).append(entry(0, "body"), Box::new(|_| panic!("on purpose, in a test")));
    assert!(matches!(wait(&told), LogError::Died { .. }));
    let (done, told) = answer();
    log.group(1).append(entry(1, "body"), done);
    let is_right = match told.recv_timeout(PATIENCE) {
        Ok(result) => result.is_err(),
        Err(error) => error == mpsc::RecvTimeoutError::Disconnected,
    };
    assert!(is_right, "answered with an error, or dropped");
}

/// The same calls on the same disk give the same bytes, operation by operation.
#[test]
fn without_threads_a_run_repeats_exactly() {
    let run = || {
        let disk = SimDisk::new(9);
        let (log, mut writer) = LogWriter::inline(wal(&disk), WriterOptions::default());
        for index in 0..30 {
            for id in [1, 2] {
                log.group(id).append(entry(index, &"body".repeat(5)), Box::new(drop));
            }
            if index % 7 == 6 {
                log.group(1).purge(index - 3, Bytes::from_static(b"point"), Box::new(drop));
            }
            writer.drain();
        }
        (disk.operations(), disk.files())
    };
    assert_eq!(run(), run());
}

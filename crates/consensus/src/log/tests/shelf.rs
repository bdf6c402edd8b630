//! What may be asked of one group, and what its readers see.

use bytes::Bytes;

use super::{ID, SMALL, SimDisk, Wal};
use crate::log::{LogWriter, Misuse, WriterOptions};

fn entries(range: std::ops::Range<u64>, body: &'static str) -> Vec<(u64, Bytes)> {
    range.map(|index| (index, Bytes::from_static(body.as_bytes()))).collect()
}

fn wal() -> Wal<SimDisk> {
    Wal::open(SimDisk::new(1), SMALL, ID).expect("an empty disk").0
}

fn read(wal: &Wal<SimDisk>, range: std::ops::Range<u64>, bytes_max: u64) -> Vec<u64> {
    let shelf = wal.index().shelf(1);
    let read = wal.index().read(1, &shelf, range, bytes_max).expect("the disk works");
    read.into_iter().map(|(index, _)| index).collect()
}

#[test]
fn holes_are_refused() {
    let mut wal = wal();
    wal.append(1, entries(0..3, "a")).expect("the first");
    assert_eq!(wal.append(1, entries(4..5, "a")), Err(Misuse::Gap { expected: 3, found: 4 }));
    assert_eq!(wal.append(1, entries(2..5, "a")), Err(Misuse::Gap { expected: 3, found: 2 }));
    let torn = [entries(3..4, "a"), entries(5..6, "a")].concat();
    assert_eq!(wal.append(1, torn), Err(Misuse::Gap { expected: 4, found: 5 }));
    wal.append(1, entries(3..5, "a")).expect("a refusal changes nothing");
    wal.purge(1, 9, Bytes::new());
    assert_eq!(wal.append(1, entries(11..12, "a")), Err(Misuse::Gap { expected: 10, found: 11 }));
    wal.append(1, entries(10..12, "a")).expect("the entry after the purge point");
    let below = Misuse::BelowPurge { from: 8, first: 10 };
    assert_eq!(wal.truncate_after(1, Some(7)), Err(below));
    wal.truncate_after(1, Some(9)).expect("all that is left");
    assert_eq!(read(&wal, 0..99, u64::MAX), [] as [u64; 0]);
}

/// A log that was never purged may begin anywhere: it is recorded, and survives.
#[test]
fn an_empty_log_may_begin_anywhere() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = Wal::open(disk.clone(), SMALL, ID).expect("an empty disk");
    wal.append(1, entries(5..9, "a")).expect("an empty log");
    wal.truncate_after(1, None).expect("all of it");
    wal.append(1, entries(2..6, "b")).expect("empty again");
    wal.append(2, entries(7..40, "long enough for some segments")).expect("an empty log");
    wal.commit().expect("the disk works");
    wal.append(2, entries(40..80, "long enough for some segments")).expect("the next");
    wal.commit().expect("the disk works");
    wal.purge(1, 1, Bytes::from_static(b"below the first"));
    wal.commit().expect("the disk works");
    let (wal, _) = Wal::open(disk, SMALL, ID).expect("nothing is missing");
    assert_eq!(read(&wal, 0..99, u64::MAX), [2, 3, 4, 5]);
}

#[test]
fn a_read_returns_what_there_is_within_its_bytes() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = Wal::open(disk.clone(), SMALL, ID).expect("an empty disk");
    wal.append(1, entries(0..10, "ten bytes!")).expect("the first");
    wal.commit().expect("the disk works");
    wal.purge(1, 2, Bytes::new());
    let check = |wal: &Wal<SimDisk>| {
        assert_eq!(read(wal, 0..5, u64::MAX), [3, 4], "from the first there is");
        assert_eq!(read(wal, 8..99, u64::MAX), [8, 9]);
        assert_eq!(read(wal, 3..9, 25), [3, 4], "within the bytes");
        assert_eq!(read(wal, 3..9, 0), [3], "but at least one");
        assert_eq!(read(wal, 10..20, 99), [] as [u64; 0]);
    };
    check(&wal);
    wal.commit().expect("the disk works");
    check(&wal);
    let (wal, _) = Wal::open(disk, SMALL, ID).expect("the disk works");
    check(&wal);
}

/// Only what is synced is ever forgotten, and the oldest first.
#[test]
fn the_cache_is_bounded_and_holds_the_latest() {
    let mut wal = wal();
    let shelf = wal.index().shelf(1);
    let is_cached =
        |wal: &Wal<SimDisk>, from| wal.index().cached(&shelf, from..from + 1, 1).is_some();
    for index in 0..20 {
        wal.append(1, entries(index..index + 1, "ten bytes!")).expect("the next");
    }
    assert!((0..20).all(|index| is_cached(&wal, index)), "nothing of it is synced");
    wal.commit().expect("the disk works");
    let first = (0..20).find(|index| is_cached(&wal, *index)).expect("some of them");
    assert_eq!(first, 15, "400 bytes are five entries of 10 and 64 bytes");
    assert!((first..20).all(|index| is_cached(&wal, index)));
    assert_eq!(read(&wal, 0..20, u64::MAX).len(), 20, "the others come from disk");
}

/// The place of an entry that was truncated while it waited must not become that of its successor.
#[test]
fn an_entry_replaced_before_it_was_written_is_read_right() {
    let disk = SimDisk::new(1);
    let options = crate::log::Options { cache_bytes: 0, ..SMALL };
    let (wal, _) = Wal::open(disk, options, ID).expect("an empty disk");
    let (log, mut writer) = LogWriter::inline(wal, WriterOptions::default());
    let group = log.group(1);
    group.append(entries(0..5, "old"), Box::new(|_| {}));
    writer.drain();
    group.append(entries(5..8, "old"), Box::new(|_| {}));
    group.truncate_after(Some(3), Box::new(|_| {}));
    group.append(entries(4..7, "newer"), Box::new(|_| {}));
    let expected: Vec<_> = [entries(0..4, "old"), entries(4..7, "newer")].concat();
    assert_eq!(group.read(0..99, u64::MAX).expect("the disk works"), expected);
    writer.drain();
    assert!(group.cached(4..5, 1).is_none(), "nothing stays in memory here");
    assert_eq!(group.read(0..99, u64::MAX).expect("the disk works"), expected);
}

/// What a reader got hold of it can read, even if its segment loses its name meanwhile; and rot is
/// noticed by each read, and stops the log.
#[test]
fn a_rotten_entry_is_noticed_when_it_is_read() {
    let disk = SimDisk::new(1);
    let options = crate::log::Options { cache_bytes: 0, ..SMALL };
    let (wal, _) = Wal::open(disk.clone(), options, ID).expect("an empty disk");
    let (log, mut writer) = LogWriter::inline(wal, WriterOptions::default());
    let group = log.group(1);
    group.append(entries(0..3, "body"), Box::new(|_| {}));
    writer.drain();
    assert_eq!(group.read(0..3, 99).expect("sound").len(), 3);
    let bytes = &disk.files()["0000000001.log"];
    let at = bytes.windows(4).position(|bytes| bytes == b"body").expect("it is there");
    disk.flip("0000000001.log", at, 1);
    let error = group.read(0..3, 99).expect_err("it is rotten");
    assert!(error.to_string().contains("0000000001.log"), "{error}");
    assert!(log.failed().is_some());
    group.append(entries(3..4, "body"), Box::new(|result| assert!(result.is_err())));
    writer.drain();
}

//! The log on a real disk.

use std::path::Path;

use bytes::Bytes;

use super::{ID, SMALL, Wal};
use crate::log::{Finding, LogWriter, Options, RealDisk, Recovered, WriterOptions, inspect};

fn open(path: &Path) -> (Wal<RealDisk>, Recovered) {
    Wal::open(RealDisk::new(path).expect("a directory"), SMALL, ID).expect("a log")
}

#[test]
fn a_log_on_a_real_disk_comes_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("node/log");
    for life in 0..5_u64 {
        let (wal, recovered) = open(&path);
        assert_eq!((recovered.is_new, recovered.cut, recovered.disk_id), (life == 0, None, ID));
        let log = LogWriter::start(wal, WriterOptions::default());
        let group = log.group(1);
        assert_eq!(group.last_index(), (life * 40).checked_sub(1));
        let (tell, told) = std::sync::mpsc::channel();
        for at in 0..40 {
            let body = Bytes::from(vec![u8::try_from(life).expect("small"); 30]);
            let tell = tell.clone();
            group.append(
                vec![(life * 40 + at, body)],
                Box::new(move |result| {
                    tell.send(result.is_ok()).expect("somebody listens");
                }),
            );
        }
        if life == 3 {
            group.purge(100, Bytes::from_static(b"point"), Box::new(drop));
        }
        assert!(told.iter().take(40).all(|done| done), "each is told");
        let first = if life < 3 { 0 } else { 101 };
        let entries = group.read(0..u64::MAX, u64::MAX).expect("the disk works");
        let indexes: Vec<u64> = entries.iter().map(|(index, _)| *index).collect();
        assert_eq!(indexes, (first..(life + 1) * 40).collect::<Vec<_>>());
        assert!(entries.iter().all(|(index, body)| u64::from(body[0]) == index / 40));
    }
    assert!(!path.join("0000000001.log").exists(), "it was purged");

    let mut findings = Vec::new();
    let disk = RealDisk::look(&path).expect("it exists");
    inspect(&disk, &mut |finding| findings.push(finding)).expect("the disk works");
    let is_bad = |finding: &Finding| {
        matches!(finding, Finding::Damaged { .. } | Finding::Torn { .. } | Finding::NoIdentity)
    };
    assert!(!findings.iter().any(is_bad), "{findings:#?}");
}

#[test]
fn a_directory_has_one_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let (wal, _) = open(dir.path());
    let second = RealDisk::new(dir.path()).map(|_| ()).expect_err("the first holds it");
    assert_eq!(second.kind(), std::io::ErrorKind::ResourceBusy);
    drop(wal);
    open(dir.path());
}

/// Segments of the size a node uses, so that steps of zeros and large frames are run too.
#[test]
fn large_segments_and_frames() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { segment_bytes: 5 << 20, cache_bytes: 1 << 20 };
    let disk = RealDisk::new(dir.path()).expect("a directory");
    let (mut wal, _) = Wal::open(disk, options, ID).expect("a log");
    let body = |index: u64| Bytes::from(vec![u8::try_from(index).expect("small"); 2_500_000]);
    wal.append(1, (0..3).map(|index| (index, body(index))).collect()).expect("the first");
    wal.commit().expect("the disk works");
    wal.append(1, vec![(3, body(3))]).expect("the next");
    wal.commit().expect("the disk works");
    drop(wal);
    let disk = RealDisk::new(dir.path()).expect("a directory");
    let (wal, recovered) = Wal::open(disk, options, ID).expect("a log");
    assert_eq!((recovered.frames, recovered.cut), (2, None));
    let shelf = wal.index().shelf(1);
    let entries = wal.index().read(1, &shelf, 0..9, u64::MAX).expect("the disk works");
    assert!(entries.into_iter().eq((0..4).map(|index| (index, body(index)))));
}

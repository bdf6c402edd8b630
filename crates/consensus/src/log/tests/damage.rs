//! Rotten bytes, missing files, files from elsewhere: refused by name, and left alone.

use std::collections::BTreeMap;

use super::{ID, Model, Run, SECTOR, SMALL, SimDisk, Step, Wal, open};
use crate::log::{
    Damage, LogError, LogWriter, WriterOptions,
    format::{FRAME_LEN, FrameHead, Front, Head, IDENTITY, Kind, Records, salt},
    segment::{self, Walk, written},
};

type Files = BTreeMap<String, Vec<u8>>;

/// A log of three segments and a spare, and what it held before and after its last commit.
fn small_log(last: &[Step]) -> (Files, Model, Model) {
    let mut run = Run::new(SimDisk::new(3).with_sector(SECTOR));
    let mut steps = vec![Step::Vote { group: 1 }, Step::Commit];
    for _ in 0..5 {
        steps.push(Step::Append { group: 1, count: 2, size: 40 });
        steps.push(Step::Append { group: 2, count: 1, size: 10 });
        steps.push(Step::Commit);
    }
    steps.push(Step::Committed { group: 2 });
    steps.push(Step::Commit);
    run.steps(&steps).expect("the disk works");
    let before = run.acknowledged.trimmed();
    run.steps(last).expect("the disk works");
    let files = run.disk.files();
    assert_eq!(files.len(), 5, "identity, three segments, spare: {:?}", files.keys());
    (files, before, run.acknowledged.trimmed())
}

const ONE_MORE: [Step; 2] = [Step::Append { group: 2, count: 1, size: 20 }, Step::Commit];

fn disk_of(files: &Files) -> SimDisk {
    SimDisk::new(1).with_files(files)
}

fn refusal(disk: &SimDisk) -> LogError {
    let before = disk.files();
    let error = open(disk).map(|(_, recovered)| recovered).expect_err("it should be refused");
    assert_eq!(disk.files(), before, "a log that is refused is left as it is");
    error
}

/// The newest segment in use, and where its last frame begins.
fn last_frame(files: &Files) -> (String, usize) {
    let used = |bytes: &&Vec<u8>| matches!(Head::decode(bytes, salt(ID)), Front::Sound(_));
    let (name, bytes) = files.iter().rfind(|(_, bytes)| used(bytes)).expect("a segment is in use");
    let Front::Sound(head) = Head::decode(bytes, salt(ID)) else { panic!("it was sound") };
    let mut walk = Walk { bytes, at: head.end(), salt: salt(ID) };
    let mut last = 0;
    while let segment::Step::Frame { at, .. } = walk.step() {
        last = at;
    }
    (name.clone(), last)
}

fn file_of(error: &LogError) -> (&str, u64) {
    match error {
        LogError::Disk { file, offset, .. }
        | LogError::Corrupt { file, offset, .. }
        | LogError::MissingSegment { file, offset }
        | LogError::MissingEntries { file, offset, .. }
        | LogError::MissingLog { file, offset }
        | LogError::MissingIdentity { file, offset }
        | LogError::Foreign { file, offset }
        | LogError::Version { file, offset, .. }
        | LogError::Died { file, offset } => (file, *offset),
    }
}

/// Flips each byte that is in use, each alone. Only in the very last frame may a flip pass for a
/// torn write, and then the cut is reported.
fn check_flips(last: &[Step], has_spare: bool, expect_cut: &dyn Fn(&Model, &Model) -> Model) {
    let (mut files, before, after) = small_log(last);
    if !has_spare {
        files.remove("0000000004.log");
    }
    let (newest, last) = last_frame(&files);
    let cut_holds = expect_cut(&before, &after);
    let mut cuts = 0;
    for (name, bytes) in &files {
        for offset in 0..written(bytes) {
            for mask in [0x01, 0x80, 0xFF] {
                let disk = disk_of(&files);
                assert!(disk.flip(name, offset, mask));
                let story = format!("{name}, offset {offset}, mask {mask:#x}");
                if *name == newest && offset >= last {
                    let (wal, recovered) =
                        open(&disk).unwrap_or_else(|error| panic!("{story}: {error}"));
                    let cut = recovered.cut.unwrap_or_else(|| panic!("{story}: not reported"));
                    assert_eq!((cut.file, cut.offset), (newest.clone(), last as u64), "{story}");
                    assert_eq!(Model::of(&wal), cut_holds, "{story}");
                    cuts += 1;
                } else {
                    let error = refusal(&disk);
                    let (file, at) = file_of(&error);
                    assert_eq!(file, name, "{story}: {error}");
                    assert!(at <= offset as u64, "{story}: {error}");
                }
            }
        }
    }
    assert!(cuts >= FRAME_LEN * 3, "the last frame was flipped {cuts} times");
}

#[test]
fn a_flip_is_refused_anywhere_but_in_the_last_frame() {
    check_flips(&ONE_MORE, true, &|before, _| before.clone());
}

/// The last frame is the vote's seal: so no flip at all can make the log forget the vote.
#[test]
fn a_rotten_vote_never_passes_for_a_torn_one() {
    check_flips(&[Step::Vote { group: 2 }, Step::Commit], false, &|_, after| after.clone());
}

#[test]
fn what_rots_behind_an_open_log_is_found_by_reading_it_again() {
    let (files, _, _) = small_log(&ONE_MORE);
    let mut found = 0;
    for (name, bytes) in files.iter().filter(|(name, _)| *name != IDENTITY) {
        for offset in (0..written(bytes)).step_by(3) {
            let story = format!("{name}, offset {offset}");
            let disk = disk_of(&files);
            let (wal, _) = open(&disk).unwrap_or_else(|error| panic!("{story}: {error}"));
            let (log, _writer) = LogWriter::inline(wal, WriterOptions::default());
            let mut bytes = 0;
            let read = log.scrub(&mut |read| {
                bytes += read;
                true
            });
            read.unwrap_or_else(|error| panic!("{story}: {error}"));
            assert!(bytes > 200, "{story}: all frames are read, and not {bytes} bytes");
            assert!(disk.flip(name, offset, 0x40));
            let error = log.scrub(&mut |_| true).expect_err(&story);
            let (file, at) = file_of(&error);
            assert!(file == name && at <= offset as u64, "{story}: {error}");
            assert!(log.failed().is_some(), "{story}: the log has stopped");
            found += 1;
        }
    }
    assert!(found > 300, "{found} flips");
}

/// A byte in the zeros: nothing is lost by cutting it off at the end of the log, and nothing but a
/// fault can have put it anywhere else.
#[test]
fn a_flip_in_the_zeros_is_cut_at_the_end_and_refused_before() {
    let (files, _, after) = small_log(&ONE_MORE);
    let (newest, _) = last_frame(&files);
    for (name, bytes) in files.iter().filter(|(name, _)| *name != IDENTITY) {
        for offset in (written(bytes)..bytes.len()).step_by(7) {
            let disk = disk_of(&files);
            disk.flip(name, offset, 0x10);
            if *name < newest {
                assert_eq!(file_of(&refusal(&disk)).0, name);
            } else {
                let (wal, recovered) = open(&disk).expect("nothing follows it");
                assert_eq!(recovered.cut.expect("it is reported").file, *name);
                assert_eq!(Model::of(&wal), after);
                let (_, recovered) = open(&disk).expect("it was zeroed");
                assert_eq!(recovered.cut, None);
            }
        }
    }
}

#[test]
fn a_segment_that_is_missing_is_noticed() {
    let (files, _, after) = small_log(&ONE_MORE);
    let without = |names: &[&str]| {
        let disk = disk_of(&files);
        names.iter().for_each(|name| disk.lose_file(name));
        disk
    };
    let [one, two, three, spare] =
        ["0000000001.log", "0000000002.log", "0000000003.log", "0000000004.log"];
    let missing = |name: &str| LogError::MissingSegment { file: name.to_owned(), offset: 0 };
    let same = |disk: &SimDisk, error: &LogError| {
        assert_eq!(refusal(disk).to_string(), error.to_string());
    };
    same(&without(&[two]), &missing(two));
    same(&without(&[three]), &missing(three));
    same(&without(&[two, three]), &missing(two));
    for gone in [&[one][..], &[one, two], &[one, two, three]] {
        let error = refusal(&without(gone));
        let is_right = match gone.len() {
            1 | 2 => matches!(error, LogError::MissingEntries { group: 1, first: 0, .. }),
            _ => matches!(error, LogError::Corrupt { damage: Damage::Head, .. }),
        };
        assert!(is_right, "{gone:?}: {error}");
    }
    same(
        &without(&[one, two, three, spare]),
        &LogError::MissingLog { file: IDENTITY.to_owned(), offset: 0 },
    );
    same(&without(&[IDENTITY]), &LogError::MissingIdentity { file: one.to_owned(), offset: 0 });

    let (wal, recovered) = open(&without(&[spare])).expect("a spare holds nothing");
    assert_eq!((Model::of(&wal), recovered.cut), (after, None));
}

/// What this log cannot know alone, written down: its newest segments gone without a trace.
#[test]
fn a_lost_tail_is_for_the_peers_to_notice() {
    let (files, _, after) = small_log(&ONE_MORE);
    let disk = disk_of(&files);
    disk.lose_file("0000000003.log");
    disk.lose_file("0000000004.log");
    let (wal, recovered) = open(&disk).expect("nothing shows that there was more");
    assert_eq!(recovered.cut, None);
    assert_ne!(Model::of(&wal), after);
}

#[test]
fn a_stale_segment_is_noticed_when_there_is_a_later_one() {
    let (files, ..) = small_log(&ONE_MORE);
    let mut bytes = files["0000000002.log"].clone();
    let end = written(&bytes);
    let Front::Sound(head) = Head::decode(&bytes, salt(ID)) else { panic!("in use") };
    let start = head.end();
    bytes[start..end].fill(0);
    let disk = disk_of(&files);
    disk.put_file("0000000002.log", &bytes);
    let error = refusal(&disk);
    assert!(matches!(error, LogError::Corrupt { damage: Damage::FramesMissing, .. }), "{error}");
    assert_eq!(file_of(&error), ("0000000002.log", start as u64));
}

#[test]
fn a_segment_of_another_log_or_under_another_name_is_refused() {
    let (files, ..) = small_log(&ONE_MORE);
    let other = SimDisk::new(3).with_sector(SECTOR);
    let (mut wal, _) = Wal::open(other.clone(), SMALL, *b"another sixteen!").expect("empty");
    wal.vote(1, bytes::Bytes::from_static(b"vote"));
    wal.commit().expect("the disk works");
    let disk = disk_of(&files);
    disk.put_file("0000000001.log", &other.files()["0000000001.log"]);
    assert!(matches!(refusal(&disk), LogError::Foreign { .. }));

    let disk = disk_of(&files);
    disk.put_file("0000000001.log", &files["0000000002.log"]);
    assert!(matches!(refusal(&disk), LogError::Corrupt { damage: Damage::HeadState, .. }));
}

/// A segment is begun only after the one before it is synced to its end: then no end is torn.
#[test]
fn a_bad_end_before_a_segment_that_was_begun_is_refused() {
    let (files, ..) = small_log(&ONE_MORE);
    let (newest, last) = last_frame(&files);
    let disk = disk_of(&files);
    disk.flip(&newest, last + 40, 1);
    disk.flip("0000000004.log", 3, 1);
    let error = refusal(&disk);
    assert!(matches!(error, LogError::Corrupt { damage: Damage::Frame, .. }), "{error}");
    assert_eq!(file_of(&error), (newest.as_str(), last as u64));
}

/// Elders are unlinked only after a frame in a later segment is synced: so the first frame of a
/// segment that is left alone is never torn, even if it is the last.
#[test]
fn the_first_frame_of_a_segment_left_alone_is_never_torn() {
    let mut run = Run::new(SimDisk::new(3).with_sector(SECTOR));
    let mut is_alone = false;
    for _ in 0..40 {
        let round = [
            Step::Append { group: 1, count: 1, size: 60 },
            Step::Commit,
            Step::Purge { group: 1, count: 1 },
            Step::Commit,
        ];
        for step in &round {
            run.steps(std::slice::from_ref(step)).expect("the disk works");
            let files = run.disk.files();
            let (newest, last) = last_frame(&files);
            let Front::Sound(head) = Head::decode(&files[&newest], salt(ID)) else { panic!() };
            if files.len() > 3 || last != head.end() || newest == "0000000001.log" {
                continue;
            }
            is_alone = true;
            for wipe in [false, true] {
                let disk = disk_of(&files);
                let mut bytes = files[&newest].clone();
                let end = if wipe { bytes.len() } else { last + 1 };
                bytes[last..end].fill(0);
                disk.put_file(&newest, &bytes);
                let error = refusal(&disk);
                assert_eq!(file_of(&error), (newest.as_str(), last as u64), "{error}");
            }
        }
    }
    assert!(is_alone, "it never came to that");
}

/// Sound bytes of this very log, but not in their place.
#[test]
fn a_frame_that_stands_there_twice_is_refused() {
    let (files, ..) = small_log(&ONE_MORE);
    let (newest, last) = last_frame(&files);
    let mut bytes = files[&newest].clone();
    let frame = FrameHead::decode(&bytes[last..], salt(ID)).expect("sound");
    let end = last + FRAME_LEN + frame.len as usize;
    bytes.copy_within(last..end, end);
    let disk = disk_of(&files);
    disk.put_file(&newest, &bytes);
    let error = refusal(&disk);
    assert!(matches!(error, LogError::Corrupt { damage: Damage::FrameOrder, .. }), "{error}");
    assert_eq!(file_of(&error), (newest.as_str(), end as u64));
}

/// Sound, but not what the segments before it add up to: a bug, or a file put together by hand.
#[test]
fn a_head_that_contradicts_the_segments_before_it_is_refused() {
    let (files, ..) = small_log(&ONE_MORE);
    let mut bytes = files["0000000002.log"].clone();
    let Front::Sound(head) = Head::decode(&bytes, salt(ID)) else { panic!("in use") };
    let mut records: Vec<_> = Records(head.state).map(|record| record.expect("sound")).collect();
    assert_eq!(records[0].kind, Kind::Vote);
    records[0].body = b"not that";
    let mut state = Vec::new();
    records.iter().for_each(|record| record.encode(&mut state));
    let other = Head { state: &state, ..head }.encode(salt(ID));
    bytes[..other.len()].copy_from_slice(&other);
    let disk = disk_of(&files);
    disk.put_file("0000000002.log", &bytes);
    let error = refusal(&disk);
    assert!(matches!(error, LogError::Corrupt { damage: Damage::HeadState, .. }), "{error}");
}

#[test]
fn a_first_segment_that_is_wiped_is_no_new_node() {
    let disk = SimDisk::new(1);
    let mut run = Run::new(disk.clone());
    run.steps(&[Step::Vote { group: 1 }, Step::Commit]).expect("the disk works");
    disk.lose_file("0000000002.log");
    disk.put_file("0000000001.log", &vec![0; 640]);
    assert!(matches!(refusal(&disk), LogError::Corrupt { damage: Damage::Head, .. }));
}

/// An old segment goes when its last needed entry is purged, not before, and one group that lags
/// keeps it for all.
#[test]
fn purged_segments_are_unlinked_from_the_oldest_on() {
    let mut run = Run::new(SimDisk::new(3));
    run.steps(&[Step::Append { group: 9, count: 1, size: 8 }, Step::Commit]).expect("works");
    for _ in 0..30 {
        let round = [
            Step::Append { group: 1, count: 2, size: 60 },
            Step::Commit,
            Step::Purge { group: 1, count: 2 },
            Step::Commit,
        ];
        run.steps(&round).expect("the disk works");
    }
    assert!(run.disk.files().contains_key("0000000001.log"), "group 9 needs it");
    assert!(run.disk.files().len() > 8);
    let held = |run: &Run| {
        let index = run.wal().index();
        (index.bytes_held(&index.shelf(9)), index.bytes_held(&index.shelf(1)))
    };
    let (lagging, purged) = held(&run);
    assert!(lagging > 4000 && purged == 0, "group 9 holds {lagging}, group 1 {purged}");
    run.steps(&[Step::Purge { group: 9, count: 1 }, Step::Commit]).expect("works");
    assert!(run.disk.files().len() <= 3, "{:?}", run.disk.files().keys());
    assert_eq!(held(&run), (0, 0));
    run.steps(&[Step::Reopen]).expect("the gap is covered by the purge points");
    assert_eq!(Model::of(run.wal()), run.acknowledged.trimmed());
}

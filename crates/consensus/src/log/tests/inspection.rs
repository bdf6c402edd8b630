//! The account of a directory that an operator reads.

use super::{Run, SimDisk, Step};
use crate::log::{Finding, inspect};

fn account(disk: &SimDisk) -> Vec<Finding> {
    let before = disk.operations();
    let mut findings = Vec::new();
    inspect(disk, &mut |finding| findings.push(finding)).expect("the disk works");
    assert_eq!(disk.operations(), before, "an inspection changes nothing");
    findings
}

fn lines(disk: &SimDisk) -> String {
    account(disk).iter().map(|finding| format!("{finding}\n")).collect()
}

#[test]
fn an_account_of_a_small_log() {
    let disk = SimDisk::new(1);
    let mut run = Run::new(disk.clone());
    let steps = [
        Step::Append { group: 2, count: 2, size: 10 },
        Step::Vote { group: 1 },
        Step::Commit,
        Step::Truncate { group: 2, count: 1 },
        Step::Purge { group: 2, count: 1 },
        Step::Committed { group: 1 },
        Step::Commit,
    ];
    run.steps(&steps).expect("the disk works");
    assert_eq!(lines(&disk), EXPECTED);

    let steps = [Step::Append { group: 2, count: 1, size: 300 }, Step::Commit];
    run.steps(&steps).expect("the disk works");
    assert_eq!(lines(&disk), EXPECTED_ONE_SEGMENT_ON);
}

const EXPECTED: &str = "\
identity 7369787465656e206279746573206964
segment 0000000001.log: 640 bytes, begins with frame 1
  frame 1: 0000000001.log, offset 40, 132 bytes
    append group 2 index 0: offset 72, 10 bytes
    append group 2 index 1: offset 106, 10 bytes
    vote group 1 index 0: offset 140, 8 bytes
  frame 2: 0000000001.log, offset 172, 32 bytes
  frame 3: 0000000001.log, offset 204, 120 bytes
    truncate from group 2 index 1: offset 236, 0 bytes
    purge up to group 2 index 0: offset 260, 8 bytes
    committed group 1 index 0: offset 292, 8 bytes
  end: 0000000001.log, offset 324, 316 bytes free
";

const EXPECTED_ONE_SEGMENT_ON: &str = "\
identity 7369787465656e206279746573206964
segment 0000000002.log: 640 bytes, begins with frame 4
    vote group 1 index 0: offset 40, 8 bytes
    committed group 1 index 0: offset 72, 8 bytes
    begin at group 1 index 0: offset 104, 0 bytes
    next is group 1 index 0: offset 128, 0 bytes
    purge up to group 2 index 0: offset 152, 8 bytes
    begin at group 2 index 1: offset 184, 0 bytes
    next is group 2 index 1: offset 208, 0 bytes
  frame 4: 0000000002.log, offset 232, 356 bytes
    append group 2 index 1: offset 264, 300 bytes
  end: 0000000002.log, offset 588, 52 bytes free
segment 0000000003.log: 640 bytes, not used yet
";

#[test]
fn an_account_goes_on_behind_damage() {
    let disk = SimDisk::new(1);
    let mut run = Run::new(disk.clone());
    for _ in 0..6 {
        let steps = [Step::Append { group: 2, count: 1, size: 60 }, Step::Commit];
        run.steps(&steps).expect("the disk works");
    }
    let is_frame = |finding: &Finding| matches!(finding, Finding::Frame { .. });
    let sound = account(&disk);
    let frames = sound.iter().filter(|finding| is_frame(finding)).count();
    disk.flip("0000000001.log", 50, 1);
    let damaged = account(&disk);
    assert_eq!(damaged.iter().filter(|finding| is_frame(finding)).count(), frames - 1);
    let found = Finding::Damaged { file: "0000000001.log".into(), offset: 40, what: "frame" };
    assert!(damaged.contains(&found), "{damaged:#?}");

    disk.lose_file("identity");
    assert_eq!(account(&disk)[0], Finding::NoIdentity);
    assert_eq!(account(&disk)[1..], damaged[1..], "each segment says what its salt is");
}

//! Every operation on the disk as a moment for the power to go, the process to die, or the disk to
//! fail.

use super::{ID, Model, Run, SECTOR, SMALL, SimDisk, Step, Wal, open, script};
use crate::log::{
    LogError,
    format::IDENTITY,
    segment::written,
    sim_disk::{Keep, Operation},
};

/// Other chances for the ways to lose power that have any.
const SEEDS: u64 = 3;

fn disk() -> SimDisk {
    SimDisk::new(7).with_sector(SECTOR)
}

/// Runs the script until the disk is gone; the run's log is dropped with it.
fn run_until_failure(disk: &SimDisk, steps: &[Step]) -> Run {
    let mut run = Run::new(disk.clone());
    let _ = run.steps(steps);
    run.wal = None;
    run
}

fn operations_of(steps: &[Step]) -> u64 {
    let disk = disk();
    Run::new(disk.clone()).steps(steps).expect("the disk works");
    disk.operations()
}

/// Each way to lose power, with its seeds.
fn losses() -> impl Iterator<Item = (Keep, u64)> {
    Keep::ALL.into_iter().flat_map(|keep| {
        let seeds = if matches!(keep, Keep::Nothing | Keep::All) { 1 } else { SEEDS };
        (0..seeds).map(move |seed| (keep, seed))
    })
}

/// The log must be what was acknowledged, or that with the commit under way.
fn check_holds(run: &Run, wal: &Wal<SimDisk>, story: &str) -> Model {
    let holds = Model::of(wal);
    let allowed = [run.acknowledged.trimmed(), run.attempted.trimmed()];
    assert!(allowed.contains(&holds), "{story}: holds {holds:#?}\nallowed {allowed:#?}");
    holds
}

/// A log that came back must go on like any other, and come back again.
fn check_goes_on(disk: SimDisk, wal: Wal<SimDisk>, holds: &Model, story: &str) {
    let mut run = Run::resume(disk, wal, holds);
    let more = [
        Step::Append { group: 1, count: 2, size: 40 },
        Step::Vote { group: 2 },
        Step::Commit,
        Step::Append { group: 3, count: 1, size: 200 },
        Step::Append { group: 2, count: 1, size: 500 },
        Step::Purge { group: 1, count: 3 },
        Step::Commit,
    ];
    run.steps(&more).unwrap_or_else(|error| panic!("{story}, then on: {error}"));
    run.wal = None;
    let disk = run.disk.power_on(Keep::Nothing);
    let (wal, _) = open(&disk).unwrap_or_else(|error| panic!("{story}, then on: {error}"));
    assert_eq!(Model::of(&wal), run.acknowledged.trimmed(), "{story}, then on");
    let is_filled = |(name, bytes): (&String, &Vec<u8>)| name == IDENTITY || bytes.len() >= 640;
    assert!(disk.files().iter().all(is_filled), "{story}: a segment is not filled to its end");
}

#[test]
fn power_may_go_at_any_operation() {
    let script = script();
    let operations = operations_of(&script);
    assert!(operations > 250, "the script does little: {operations}");
    for at in 0..operations {
        let disk = disk();
        disk.power_off_at(at);
        let run = run_until_failure(&disk, &script);
        for (keep, seed) in losses() {
            let story = format!("operation {at}, {keep:?}, seed {seed}");
            let disk = disk.fork(seed).power_on(keep);
            let (wal, recovered) = open(&disk).unwrap_or_else(|error| panic!("{story}: {error}"));
            let is_whole = matches!(keep, Keep::Nothing | Keep::All);
            assert!(recovered.cut.is_none() || !is_whole, "{story}: cut {recovered:?}");
            let holds = check_holds(&run, &wal, &story);
            check_goes_on(disk, wal, &holds, &story);
        }
    }
}

/// Two hundred transfers, each in a frame of its own, over dozens of segments, with a purge now and then.
fn transfers() -> Vec<Step> {
    let mut steps = vec![Step::Vote { group: 1 }, Step::Commit];
    for transfer in 1..=200_u64 {
        steps.push(Step::Append { group: 1, count: 1, size: 87 });
        if transfer % 40 == 0 {
            steps.push(Step::Purge { group: 1, count: 30 });
        }
        steps.push(Step::Commit);
    }
    steps
}

/// Every write, sync, making, unlinking and syncing of the directory, each with everything kept that was not synced,
/// nothing, halves, and some of it in another order.
#[test]
fn power_may_go_at_any_operation_of_two_hundred_transfers() {
    let script = transfers();
    let (operations, mut points) = (operations_of(&script), 0);
    for at in 0..operations {
        let disk = disk();
        disk.power_off_at(at);
        let run = run_until_failure(&disk, &script);
        for (keep, seed) in losses() {
            let story = format!("operation {at}, {keep:?}, seed {seed}");
            let disk = disk.fork(seed).power_on(keep);
            let (wal, _) = open(&disk).unwrap_or_else(|error| panic!("{story}: {error}"));
            check_holds(&run, &wal, &story);
            points += 1;
        }
    }
    eprintln!("log: {operations} operations of 200 transfers, {points} crashes");
    assert!(operations > 600, "the script does little: {operations}");
}

#[test]
fn power_may_go_again_at_any_operation_of_a_recovery() {
    let script = script();
    // A recovery has few operations, and they depend on what the crash left: so few crashes do.
    for at in (0..operations_of(&script)).step_by(7) {
        let disk = disk();
        disk.power_off_at(at);
        let run = run_until_failure(&disk, &script);
        for keep in [Keep::All, Keep::Torn, Keep::Reordered] {
            let disk = disk.fork(at).power_on(keep);
            let whole = disk.fork(at);
            let before = whole.operations();
            drop(open(&whole).expect("the first test has shown it"));
            for again in before..whole.operations() {
                let disk = disk.fork(again);
                disk.power_off_at(again);
                assert!(open(&disk).is_err(), "operation {again} is one of a recovery");
                for (keep, seed) in losses() {
                    let story = format!("operation {at}, then {again}, {keep:?}, seed {seed}");
                    let disk = disk.fork(seed).power_on(keep);
                    let (wal, _) = open(&disk).unwrap_or_else(|error| panic!("{story}: {error}"));
                    check_holds(&run, &wal, &story);
                }
            }
        }
    }
}

/// After the process alone has died the next one sees what was never synced. What it believes must
/// be durable by then: it may answer for it.
#[test]
fn what_a_recovery_returns_is_durable() {
    let script = script();
    for at in 0..operations_of(&script) {
        for fails in [false, true] {
            let disk = disk();
            if fails {
                disk.fail_at(at);
            } else {
                disk.power_off_at(at);
            }
            let run = run_until_failure(&disk, &script);
            let story = format!("operation {at}, failed: {fails}");
            let disk = disk.kill();
            let (wal, _) = open(&disk).unwrap_or_else(|error| panic!("{story}: {error}"));
            let holds = check_holds(&run, &wal, &story);
            for (keep, seed) in losses() {
                let story = format!("{story}, then {keep:?}, seed {seed}");
                let disk = disk.fork(seed).power_on(keep);
                let (wal, _) = open(&disk).unwrap_or_else(|error| panic!("{story}: {error}"));
                assert_eq!(Model::of(&wal), holds, "{story}");
            }
            check_goes_on(disk, wal, &holds, &story);
        }
    }
}

#[test]
fn nothing_is_written_after_the_first_failure() {
    for operation in [Operation::Write, Operation::Sync] {
        let mut run = Run::new(disk());
        let mut commits = Vec::new();
        for at in 0..5 {
            if at == 2 {
                run.disk.fail_next(operation);
            }
            let commit = [Step::Append { group: 1, count: 1, size: 10 }, Step::Commit];
            let before = run.disk.operations();
            commits.push(run.steps(&commit).is_ok());
            assert!(at <= 2 || run.disk.operations() == before, "{operation:?}: tried again");
        }
        assert_eq!(commits, [true, true, false, false, false], "{operation:?}");
    }
}

#[test]
fn a_failed_helper_operation_stops_the_log_too() {
    for operation in [Operation::Create, Operation::SyncDir, Operation::Remove] {
        let mut run = Run::new(disk());
        run.steps(&[]).expect("the disk works");
        run.disk.fail_next(operation);
        let round = [
            Step::Append { group: 1, count: 3, size: 60 },
            Step::Purge { group: 1, count: 3 },
            Step::Commit,
        ];
        let failed_at = (0..20).position(|_| run.steps(&round).is_err());
        assert!(failed_at.is_some(), "{operation:?}: nobody noticed");
        let before = run.disk.operations();
        assert!(run.steps(&round).is_err());
        assert_eq!(run.disk.operations(), before, "{operation:?}: went on");
    }
}

/// A vote whose seal the crash prevented is relied on after the restart: so the restart seals it.
#[test]
fn a_recovered_vote_is_sealed() {
    let disk = disk();
    let mut run = Run::new(disk.clone());
    run.steps(&[Step::Append { group: 1, count: 1, size: 8 }, Step::Commit]).expect("works");
    let whole = disk.files()["0000000001.log"].clone();
    disk.power_off_at(disk.operations() + 1);
    run.steps(&[Step::Vote { group: 1 }, Step::Commit]).expect_err("the power goes");
    let disk = disk.power_on(Keep::All);
    let (wal, recovered) = open(&disk).expect("the vote is whole");
    assert_eq!((recovered.cut, Model::of(&wal)), (None, run.attempted.trimmed()));
    let vote = written(&whole);
    let disk = disk.power_on(Keep::Nothing);
    assert!(disk.flip("0000000001.log", vote + 60, 1));
    let error = open(&disk).map(|(_, recovered)| recovered).expect_err("the vote is rotten");
    assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
}

/// One write and one sync carry the requests of all groups.
#[test]
fn a_commit_is_one_write_and_one_sync() {
    let disk = SimDisk::new(1);
    let options = super::Options { segment_bytes: 1 << 20, ..SMALL };
    let (mut wal, _) = Wal::open(disk.clone(), options, ID).expect("an empty disk");
    let before = disk.operations();
    for group in 0..50 {
        wal.append(group, vec![(0, bytes::Bytes::from_static(b"body"))]).expect("the first entry");
    }
    wal.commit().expect("the disk works");
    assert_eq!(disk.operations() - before, 2);
    wal.commit().expect("nothing to do");
    assert_eq!(disk.operations() - before, 2, "an empty commit touches nothing");
    wal.vote(3, bytes::Bytes::from_static(b"vote"));
    wal.commit().expect("the disk works");
    assert_eq!(disk.operations() - before, 6, "a vote, and its seal");
}

//! Seeds that must hold: some of them new to nobody, and every one that ever failed.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use sim::{Draw, Report, Summary, run};

/// Seeds of each run of the tests; `make sim` runs more.
const SEEDS: u64 = 24;

/// How many of them have to count: a seed may draw little harm, or harm that leaves little time for work.
const COUNTED_MIN: u64 = 18;

/// Every seed that ever failed, one a line: the seed, what it was drawn to be, and after a `#` what was wrong.
const FAILED_ONCE: &str = include_str!("failed-once.txt");

/// Runs seeds on all processors: a run is one thread's.
fn run_all(runs: &[(u64, Draw)]) -> Vec<Report> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || {
        let mine = std::iter::from_fn(|| {
            let at = next.fetch_add(1, Ordering::Relaxed);
            runs.get(at).map(|(seed, draw)| run(*seed, draw, false))
        });
        mine.collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|worker| worker.join().expect("a run panics nowhere"));
        ended.flatten().collect()
    })
}

#[test]
fn seeds_hold() {
    let runs: Vec<_> = (1..=SEEDS).map(|seed| (seed, Draw::of(seed))).collect();
    let mut summary = Summary::default();
    for report in run_all(&runs) {
        assert!(report.broken.is_empty(), "{report}");
        summary.add(&report);
    }
    assert!(summary.counted >= COUNTED_MIN, "hardly anything was proven: {summary}");
}

#[test]
fn seeds_that_ever_failed_hold() {
    let lines = FAILED_ONCE.lines().filter(|line| !line.starts_with('#'));
    let runs: Vec<_> = lines
        .map(|line| {
            let run = line.split('#').next().expect("a line has a beginning");
            let (seed, draw) = run.trim().split_once(' ').expect("a seed, and its draw");
            (seed.parse().expect("a seed"), draw.parse().expect("a draw"))
        })
        .collect();
    for report in run_all(&runs) {
        assert!(report.broken.is_empty(), "{report}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_in_every_process() {
    let of_process = || {
        let ran = Command::new(env!("CARGO_BIN_EXE_sim")).args(["--seed", "5"]).output().unwrap();
        String::from_utf8(ran.stdout).unwrap()
    };
    let first = of_process();
    assert_eq!(first, of_process());
    // In a process that has run another seed before, it is the same still.
    let _other = run(6, &Draw::of(6), false);
    let draw = Draw::of(5);
    assert_eq!(first.trim_end(), format!("{draw}\n{}", run(5, &draw, false)));
}

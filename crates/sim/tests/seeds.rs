//! Seeds that must hold: some of them new to nobody, and every one that ever failed.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use sim::{Report, run};

/// Seeds of each run of the tests; `make sim` runs more.
const SEEDS: u64 = 24;

/// Every seed that ever failed, one a line, and after it what was wrong.
const FAILED_ONCE: &str = include_str!("failed-once.txt");

/// A run counts only when enough was asked and enough went wrong.
fn check(report: &Report) {
    assert!(report.broken.is_empty(), "{report}");
    let (acknowledged, _) = report.acknowledged;
    assert!(acknowledged >= 300, "hardly anything was done: {report}");
    assert!(report.faults.kinds() >= 3, "hardly anything went wrong: {report}");
}

#[test]
fn seeds_hold() {
    // A run is one thread's; several at a time keep all processors busy.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(1);
    let work = || {
        let seeds = std::iter::from_fn(|| {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            (seed <= SEEDS).then(|| run(seed, false))
        });
        seeds.inspect(check).any(|report| report.faults.bytes_lost > 0)
    };
    let has_lost = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).fold(false, |any, one| any | one)
    });
    assert!(has_lost, "no power cut took anything");
}

#[test]
fn seeds_that_ever_failed_hold() {
    for line in FAILED_ONCE.lines().filter(|line| !line.starts_with('#')) {
        let seed = line.split_whitespace().next().expect("a seed begins the line");
        check(&run(seed.parse().expect("a seed is a number"), false));
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
    let _other = run(6, false);
    assert_eq!(first.trim_end(), run(5, false).to_string());
}

//! Runs seeds: `sim --seed 7 --print`, or `sim --seeds 200`, or `sim --for 8m --at-least 200 --out runs/sim`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use sim::{Draw, Report, Summary};

/// Runs whole clusters from seeds, as many at a time as there are processors, and says what does not hold.
#[derive(Parser)]
struct Flags {
    /// Only this one.
    #[arg(long)]
    seed: Option<u64>,
    /// Print what happens in it.
    #[arg(long, requires = "seed")]
    print: bool,
    /// Not what the seed draws, but this: as a run prints it.
    #[arg(long, requires = "seed")]
    draw: Option<Draw>,
    /// How many.
    #[arg(long, default_value_t = 50, conflicts_with = "within")]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// As many as fit into this time: `90s`, `8m`, `2h`.
    #[arg(long = "for", value_parser = duration)]
    within: Option<Duration>,
    /// And on after that time, until so many count.
    #[arg(long, default_value_t = 0, requires = "within")]
    at_least: u64,
    /// Write `runs.jsonl`, one line for each seed, and `summary.txt` into this directory. Lines are added to those there.
    #[arg(long)]
    out: Option<PathBuf>,
    /// How many at a time; one for each processor, when it is not said.
    #[arg(long)]
    threads: Option<usize>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err("a number and s, m or h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a number and s, m or h".to_owned())?;
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

#[expect(clippy::print_stdout, reason = "it is a program that tells")]
fn main() -> ExitCode {
    #[cfg(planted)]
    ledger::Plant::choose();
    let flags = Flags::parse();
    if let Some(seed) = flags.seed {
        let draw = flags.draw.clone().unwrap_or_else(|| Draw::of(seed));
        let report = sim::run(seed, &draw, flags.print);
        println!("{draw}\n{report}");
        return if report.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let began = Instant::now();
    let summary = match run_all(&flags, began) {
        Ok(summary) => summary,
        Err(error) => {
            println!("cannot write what was run: {error}");
            return ExitCode::FAILURE;
        }
    };
    let seconds = began.elapsed().as_secs().max(1);
    let per_minute = summary.seeds.saturating_mul(60).checked_div(seconds).unwrap_or(0);
    let text = format!("{summary}\n{seconds} s, {per_minute} seeds a minute");
    println!("{text}");
    if let Some(out) = &flags.out
        && let Err(error) = fs::write(out.join("summary.txt"), format!("{text}\n"))
    {
        println!("cannot write the summary: {error}");
        return ExitCode::FAILURE;
    }
    if summary.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Everything that the threads share.
struct Shared<'a> {
    flags: &'a Flags,
    began: Instant,
    next: AtomicU64,
    summary: Mutex<Summary>,
    lines: Mutex<Option<fs::File>>,
}

fn run_all(flags: &Flags, began: Instant) -> std::io::Result<Summary> {
    let lines = flags.out.as_deref().map(open_lines).transpose()?;
    let (next, summary, lines) = (AtomicU64::new(flags.from), Mutex::default(), Mutex::new(lines));
    let shared = Shared { flags, began, next, summary, lines };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = flags.threads.unwrap_or(processors).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| shared.work())).collect();
        let ended = workers.into_iter().map(|worker| worker.join().expect("it panics nowhere"));
        ended.collect::<std::io::Result<Vec<()>>>()
    })?;
    Ok(shared.summary.into_inner().expect("nobody panicked while it was held"))
}

fn open_lines(dir: &Path) -> std::io::Result<fs::File> {
    fs::create_dir_all(dir)?;
    fs::OpenOptions::new().create(true).append(true).open(dir.join("runs.jsonl"))
}

impl Shared<'_> {
    fn work(&self) -> std::io::Result<()> {
        while let Some(seed) = self.next() {
            // Where a run itself panics, its seed has to be known.
            let ran = std::panic::catch_unwind(|| sim::run(seed, &Draw::of(seed), false));
            match ran {
                Ok(report) => self.tell(&report)?,
                Err(panic) => {
                    eprintln!("seed {seed} panicked; again: make sim SEED={seed}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
        Ok(())
    }

    fn next(&self) -> Option<u64> {
        let seed = self.next.fetch_add(1, Ordering::Relaxed);
        let is_wanted = match self.flags.within {
            Some(within) => {
                self.began.elapsed() < within
                    || self.summary.lock().expect("nobody panics here").counted
                        < self.flags.at_least
            }
            None => seed.saturating_sub(self.flags.from) < self.flags.seeds,
        };
        is_wanted.then_some(seed)
    }

    #[expect(clippy::print_stdout, reason = "it is a program that tells")]
    fn tell(&self, report: &Report) -> std::io::Result<()> {
        println!("{report}");
        self.summary.lock().expect("nobody panics here").add(report);
        match self.lines.lock().expect("nobody panics here").as_mut() {
            Some(lines) => writeln!(lines, "{}", report.to_json()),
            None => Ok(()),
        }
    }
}

//! The command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::checkers::self_test;
use crate::history::Event;
use crate::hosts::net::{self, Net};
use crate::hosts::shell::works;
use crate::kills;
use crate::nemesis::{Family, families};
use crate::report::{self, Ending, Results};
use crate::run::{Wanted, run};
use crate::workload::{WORKLOADS, Workload};

/// How much more is asked in a mix of all workloads than in one of two.
const RATES_MAX: u64 = 2;

/// Callers that all speak of one account: with more of them cut off at once, no order of theirs can be searched for.
const HOT_CALLERS_MAX: u64 = 16;

/// Nothing can be said: the run was vacuous, or could not be carried out.
const NOTHING: u8 = 2;

/// Tests a cluster of real processes from outside.
///
/// Exit codes: 0 nothing was found, 1 something that must never happen was found, 2 the run says nothing.
#[derive(Debug, Parser)]
#[command(name = "jepsen")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One run
    Run(Run),
    /// W1 and W2 under four faults, half a minute each
    Short(Around),
    /// Every workload under every family of faults, for hours
    Matrix {
        /// How often everything is run, each time from another seed
        #[arg(long, default_value_t = 1)]
        rounds: u64,
        /// How long each run lasts
        #[arg(long, value_parser = duration, default_value = "60s")]
        duration: Duration,
        #[command(flatten)]
        around: Around,
    },
    /// Kill leaders under load, and measure how long until the next success
    LeaderKill {
        /// How often
        #[arg(long, default_value_t = 50)]
        times: u64,
        #[command(flatten)]
        around: Around,
    },
    /// Judge a run that was kept once more
    Check {
        /// The run's folder
        dir: PathBuf,
    },
    /// Show the checkers histories with planted mistakes
    SelfTest,
}

#[derive(Debug, Args)]
struct Run {
    /// What callers do: w1 bank, w2 retry storm, w4 holds, w5 reads, w6 statements, w8 hot account, w9 administration
    #[arg(long, value_delimiter = ',', default_value = "w1,w5")]
    workload: Vec<Workload>,
    /// What goes wrong: families n1 to n18, or single faults such as kill-leader
    #[arg(long, value_delimiter = ',', default_value = "n2")]
    fault: Vec<Family>,
    /// For how long
    #[arg(long, value_parser = duration, default_value = "30s")]
    duration: Duration,
    #[command(flatten)]
    around: Around,
}

#[derive(Clone, Debug, Args)]
struct Around {
    /// What is drawn, is drawn from this
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Calls a second, of all callers together
    #[arg(long, default_value_t = 160)]
    rate: u64,
    /// Callers
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=256))]
    callers: u64,
    /// Nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=9))]
    nodes: u64,
    /// Where runs are kept
    #[arg(long, value_name = "DIR", default_value = "runs/jepsen")]
    out: PathBuf,
    /// The binary under test
    #[arg(long, value_name = "FILE", default_value = "target/release/paycore")]
    binary: PathBuf,
    /// A planted build of it, for faults of clocks: an ordinary build's cannot be set wrong
    #[arg(long, value_name = "FILE")]
    planted: Option<PathBuf>,
    /// Run on this machine's loopback, even if network namespaces can be had
    #[arg(long)]
    loopback: bool,
    /// Keep the nodes' data after a run without a finding too
    #[arg(long)]
    keep_data: bool,
}

/// Does what the command line says, and gives the exit code.
pub(crate) fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) => {
            // A terminal that is gone needs no words.
            let _ = wrong.print();
            return if wrong.use_stderr() { 64 } else { 0 };
        }
    };
    match dispatch(&cli.command) {
        Ok(exit) => exit,
        Err(why) => {
            say(&format!("jepsen: {why:#}"));
            NOTHING
        }
    }
}

fn dispatch(command: &Command) -> anyhow::Result<u8> {
    match command {
        Command::SelfTest => {
            say(&format!("{} histories, all judged as they should be", self_test()?));
            Ok(0)
        }
        Command::Check { dir } => check(dir),
        Command::Run(run) => in_hub(&run.around, |around, net| one(run, around, net)),
        Command::Short(around) => in_hub(around, short),
        Command::Matrix { rounds, duration, around } => {
            in_hub(around, |around, net| matrix(*rounds, *duration, around, net))
        }
        Command::LeaderKill { times, around } => in_hub(around, |around, net| {
            let wanted = wanted(around, net, "leader-kill")?;
            block_on(kills::run(&wanted, *times, &say))
        }),
    }
}

/// Goes on in a hub of network namespaces, when they can be had; otherwise on loopback. It says which.
fn in_hub(
    around: &Around,
    go: impl FnOnce(&Around, Option<&Net>) -> anyhow::Result<u8>,
) -> anyhow::Result<u8> {
    if let Some(net) = net::inherited()? {
        return go(around, net.as_ref());
    }
    let why = if around.loopback { Some("it was asked".to_owned()) } else { net::obstacle() };
    let made = match why {
        Some(why) => Err(why),
        None => Net::make().map_err(|why| format!("{why:#}")),
    };
    match made {
        Ok(net) => {
            say("hosts: each process in a network namespace of its own, with TLS");
            let exit = block_on(net::again_in(Some(&net)));
            net.remove();
            exit
        }
        Err(why) => {
            say(&format!(
                "hosts: processes on loopback, because {why}, with proxies between them; packets are neither lost nor late"
            ));
            // Who may not mount anything needs no place for it.
            let may_mount = works(&["unshare", "--mount", "true"]);
            if may_mount { block_on(net::again_in(None)) } else { go(around, None) }
        }
    }
}

fn one(run: &Run, around: &Around, net: Option<&Net>) -> anyhow::Result<u8> {
    let mut wanted = wanted(around, net, "run")?;
    wanted.workloads.clone_from(&run.workload);
    wanted.families.clone_from(&run.fault);
    wanted.duration = run.duration;
    Ok(one_of(&wanted, around)?.exit())
}

fn short(around: &Around, net: Option<&Net>) -> anyhow::Result<u8> {
    let faults = if net.is_some() { ["n2", "n3", "n4", "n6"] } else { ["n2", "n3", "n4", "n5"] };
    let mut exits = Vec::new();
    for (number, fault) in (0_u64..).zip(faults) {
        let mut wanted = wanted(around, net, fault)?;
        wanted.workloads = vec![Workload::Bank, Workload::Storm, Workload::Reads];
        wanted.families = vec![fault.parse().map_err(anyhow::Error::msg)?];
        wanted.seed = around.seed.saturating_add(number);
        exits.push(one_of(&wanted, around));
        if let Some(net) = net {
            net.empty();
        }
        if is_interrupted(&exits) {
            break;
        }
    }
    worst(exits)
}

fn matrix(
    rounds: u64,
    duration: Duration,
    around: &Around,
    net: Option<&Net>,
) -> anyhow::Result<u8> {
    let sets: Vec<Vec<Workload>> = vec![
        vec![Workload::Bank, Workload::Reads],
        vec![Workload::Storm, Workload::Bank],
        vec![Workload::Holds, Workload::Reads],
        vec![Workload::Statements, Workload::Hot],
        vec![Workload::Admin, Workload::Bank],
        WORKLOADS.iter().map(|(_, workload)| *workload).collect(),
    ];
    let mut exits = Vec::new();
    for round in 0..rounds {
        for family in families() {
            for (number, set) in (0_u64..).zip(&sets) {
                let mut wanted = wanted(around, net, &format!("{family}-{number}"))?;
                wanted.workloads.clone_from(set);
                wanted.families = vec![family.parse().map_err(anyhow::Error::msg)?];
                wanted.seed = around.seed.saturating_add(round);
                wanted.duration = duration;
                // A mix of many kinds of calls needs more of them, so that there are enough of each.
                let kinds = u64::try_from(set.len())?.div_ceil(2);
                wanted.rate = around.rate.saturating_mul(kinds.min(RATES_MAX));
                // Whoever searches one account's orders must not meet too many calls that are open at once.
                if kinds == 1 && set.contains(&Workload::Hot) {
                    wanted.callers = around.callers.min(HOT_CALLERS_MAX);
                }
                exits.push(one_of(&wanted, around));
                if let Some(net) = net {
                    net.empty();
                }
                if is_interrupted(&exits) {
                    return worst(exits);
                }
            }
        }
    }
    worst(exits)
}

/// A finding is worse than nothing said, and that is worse than nothing found.
fn worst(exits: Vec<anyhow::Result<Ending>>) -> anyhow::Result<u8> {
    let mut worst = Ending::Ok;
    let mut wrong = Ok(());
    for exit in exits {
        match exit {
            Ok(Ending::Finding) => worst = Ending::Finding,
            Ok(Ending::Vacuous) if worst == Ending::Ok => worst = Ending::Vacuous,
            Ok(Ending::Ok | Ending::Vacuous) => {}
            Err(why) => wrong = Err(why),
        }
    }
    if worst != Ending::Finding {
        wrong?;
    }
    Ok(worst.exit())
}

/// A run with what all runs share; in a folder of its own, so that none is written over.
fn wanted(around: &Around, net: Option<&Net>, name: &str) -> anyhow::Result<Wanted> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let out = around.out.join(format!("{now}-{name}-{}", around.seed));
    std::fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
    let there = |file: &PathBuf| {
        std::fs::canonicalize(file).with_context(|| format!("there is no {}", file.display()))
    };
    Ok(Wanted {
        workloads: vec![Workload::Bank],
        families: Vec::new(),
        duration: Duration::from_secs(30),
        seed: around.seed,
        rate: around.rate,
        callers: around.callers,
        nodes: around.nodes,
        out: std::fs::canonicalize(&out)?,
        binary: there(&around.binary)?,
        planted: around.planted.as_ref().map(there).transpose()?,
        net: net.cloned(),
    })
}

/// Somebody asked the tester to end.
#[derive(Debug)]
struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it was interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Whether no other run is to follow.
fn is_interrupted(exits: &[anyhow::Result<Ending>]) -> bool {
    exits.last().is_some_and(|exit| exit.as_ref().is_err_and(|why| why.is::<Interrupted>()))
}

/// One run, judged and written down.
fn one_of(wanted: &Wanted, around: &Around) -> anyhow::Result<Ending> {
    let shown = self_test()?;
    let interrupted = async {
        net::interrupted().await;
        Err(Interrupted.into())
    };
    let ran = async {
        tokio::select! {
            events = run(wanted) => events,
            events = interrupted => events,
        }
    };
    let mut events = match block_on(ran) {
        Ok(events) => events,
        Err(why) => {
            let why = why.context(format!("the run in {}", wanted.out.display()));
            say(&format!("could not run: {why:#}"));
            return Err(why);
        }
    };
    let last = report::books(&events)?;
    append(&wanted.out, &last)?;
    events.push(last);
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let binary = wanted.binary();
    let version = std::process::Command::new(binary).arg("--version").output()?;
    let version = String::from_utf8_lossy(&version.stdout);
    let version = format!("{}, {}", version.trim(), binary.display());
    let results = report::results(&events, shown, (command, version))?;
    report::write(&wanted.out, &events, &results)?;
    report::write_index(&around.out)?;
    say(&format!("{}  {}", report::verdict(&results), wanted.out.display()));
    if results.ending != Ending::Finding && !around.keep_data {
        std::fs::remove_dir_all(wanted.out.join("data")).context("removing the nodes' data")?;
    }
    Ok(results.ending)
}

fn append(dir: &Path, event: &Event) -> anyhow::Result<()> {
    let mut file = std::fs::File::options().append(true).open(dir.join("history.jsonl"))?;
    let line = serde_json::to_string(event)?;
    writeln!(file, "{line}").context("writing the books")
}

/// Judges a history that was kept.
fn check(dir: &Path) -> anyhow::Result<u8> {
    let shown = self_test()?;
    let events = report::events(dir)?;
    let about = std::fs::read_to_string(dir.join("results.json"))
        .ok()
        .and_then(|text| serde_json::from_str::<Results>(&text).ok())
        .map(|results| (results.command, results.version))
        .unwrap_or_default();
    let results = report::results(&events, shown, about)?;
    report::write(dir, &events, &results)?;
    say(&report::verdict(&results));
    Ok(results.ending.exit())
}

fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(future)
}

/// Words for whoever watches.
fn say(words: &str) {
    // Nobody may be watching.
    let _ = writeln!(std::io::stderr(), "{words}");
}

/// Reads `30s`, `2m`, `500ms` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("`{text}` is no time: write 30s, 2m"))?;
    let unit = text.get(digits.len()..).unwrap_or_default();
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        other => return Err(format!("`{other}` is no unit: there are ms, s, m, h")),
    };
    Ok(Duration::from_millis(number.saturating_mul(ms)))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let line =
            ["jepsen", "run", "--workload", "w1,w2", "--fault", "n2,n4", "--duration", "30s"];
        let Command::Run(run) = Cli::try_parse_from(line).unwrap().command else { panic!() };
        assert_eq!((run.workload.len(), run.fault.len()), (2, 2));
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1_500)));
        for wrong in ["", "s", "1", "1y"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}

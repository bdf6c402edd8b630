//! The run's folder: the history in two forms, the verdict, a timeline, two plots, and the logs.
//!
//! ```text
//! history.jsonl · history.edn · results.json · verdict.txt · timeline.html · latency.svg · rate.svg · cluster.toml · logs/
//! ```

mod edn;
mod index;
mod plot;
mod timeline;
mod verdict;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::checkers::{Verdict, judge};
use crate::history::{Event, FaultWindow, History, JournalLine, LineKind, Meta, read};
use crate::vacuity::{self, Count};

pub(crate) use index::write as write_index;
pub(crate) use verdict::verdict;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ending {
    /// Nothing was found, and enough was looked at.
    Ok,
    /// What must never happen did.
    Finding,
    /// The run says nothing.
    Vacuous,
}

impl Ending {
    /// The exit code.
    pub(crate) const fn exit(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Finding => 1,
            Self::Vacuous => 2,
        }
    }
}

/// `results.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// How it ended.
    pub(crate) ending: Ending,
    /// What was run.
    pub(crate) meta: MetaShown,
    /// Histories that were shown to the checkers first.
    pub(crate) self_tested: usize,
    /// What each checker says.
    pub(crate) verdicts: Vec<Verdict>,
    /// Why the run says nothing.
    pub(crate) vacuous: Vec<String>,
    /// Every fault, with its proof.
    pub(crate) faults: Vec<FaultWindow>,
    /// Calls by kind.
    pub(crate) counts: BTreeMap<String, Count>,
    /// How long everything took to finish when all was quiet, in milliseconds.
    pub(crate) healed_ms: Option<u64>,
    /// How the run was started.
    pub(crate) command: String,
    /// What the binary says of itself, and where it is.
    pub(crate) version: String,
}

/// What was run, without the accounts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MetaShown {
    /// The seed.
    pub(crate) seed: u64,
    /// Calls.
    pub(crate) workloads: Vec<String>,
    /// Faults.
    pub(crate) faults: Vec<String>,
    /// What was to go wrong and could not, and why.
    #[serde(default)]
    pub(crate) refused: Vec<String>,
    /// How the processes were hosted.
    pub(crate) hosts: String,
    /// For how long, in milliseconds.
    pub(crate) duration_ms: u64,
}

impl MetaShown {
    fn of(meta: &Meta) -> Self {
        Self {
            seed: meta.seed,
            workloads: meta.workloads.clone(),
            faults: meta.faults.clone(),
            refused: meta.refused.clone(),
            hosts: meta.hosts.clone(),
            duration_ms: meta.duration_ms,
        }
    }
}

/// Reads a run's history.
///
/// # Errors
/// When there is none.
pub(crate) fn events(dir: &Path) -> anyhow::Result<Vec<Event>> {
    let path = dir.join("history.jsonl");
    let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    read(BufReader::new(file))
}

/// Judges a history. The checkers have just been shown `self_tested` histories whose verdict is known.
///
/// # Errors
/// When the history makes no sense.
pub(crate) fn results(
    events: &[Event],
    self_tested: usize,
    about: (String, String),
) -> anyhow::Result<Results> {
    let history = History::of(events)?;
    let verdicts = judge(&history);
    let mut vacuous = vacuity::reasons(&history);
    for verdict in &verdicts {
        for what in &verdict.undecided {
            vacuous.push(format!("{} could not decide: {what}", verdict.checker));
        }
    }
    let found = verdicts.iter().any(|verdict| verdict.found > 0);
    let ending = match (found, vacuous.is_empty()) {
        (true, _) => Ending::Finding,
        (false, false) => Ending::Vacuous,
        (false, true) => Ending::Ok,
    };
    let healed = history.phase("liveness").zip(history.phase("end"));
    let (command, version) = about;
    Ok(Results {
        ending,
        meta: MetaShown::of(&history.meta),
        self_tested,
        verdicts,
        vacuous,
        counts: vacuity::counts(&history),
        healed_ms: healed.map(|(quiet, end)| end.saturating_sub(quiet) / 1_000_000),
        faults: history.faults,
        command,
        version,
    })
}

/// Writes everything that is made from a history.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(dir: &Path, events: &[Event], results: &Results) -> anyhow::Result<()> {
    let history = History::of(events)?;
    let put = |name: &str, text: String| {
        std::fs::write(dir.join(name), text).with_context(|| format!("writing {name}"))
    };
    put("results.json", serde_json::to_string_pretty(results)?)?;
    put("verdict.txt", verdict(results))?;
    put("history.edn", edn::history(events)?)?;
    put("timeline.html", timeline::page(&history, results))?;
    put("latency.svg", plot::latency(&history))?;
    put("rate.svg", plot::rate(&history))
}

/// The books at the end of a history, as its last line.
///
/// # Errors
/// When the history makes no sense.
pub(crate) fn books(events: &[Event]) -> anyhow::Result<Event> {
    let history = History::of(events)?;
    let mut ids: BTreeMap<&str, &str> = BTreeMap::new();
    for op in &history.ops {
        if let (Some(id), Some(done)) = (op.call.id(), op.done()) {
            ids.insert(&done.transfer, id);
        }
    }
    let mut balances = BTreeMap::new();
    let mut journal = Vec::new();
    for (account, lines) in history.last_statements() {
        balances.insert(account.to_owned(), lines.last().map_or(0, |line| line.balance));
        let paid = lines.iter().filter(|line| line.amount < 0 || line.kind == LineKind::Return);
        for line in paid {
            let known = ids.get(line.transfer.as_str()).map(|id| (*id).to_owned());
            let mut id = known.unwrap_or_else(|| line.transfer.clone());
            let (mut from, mut to) = (account.to_owned(), line.counter.clone());
            if line.kind == LineKind::Return {
                id.push_str("/return");
                std::mem::swap(&mut from, &mut to);
            }
            let amount = line.amount.saturating_abs();
            journal.push((line.at_ms, JournalLine { id, from, to, amount }));
        }
    }
    journal.sort_by_key(|(at_ms, _)| *at_ms);
    let journal = journal.into_iter().map(|(_, line)| line).collect();
    Ok(Event::Final { balances, journal })
}

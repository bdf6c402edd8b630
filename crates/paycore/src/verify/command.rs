//! The command: finds the run, reads what it kept, checks it.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use super::balances::Balances;
use super::facts::{Line, Requests, TransferNumber};
use super::history::History;
use super::kept::{Kept, read_statements};
use super::once::Once;
use super::transfer_index::TransferIndex;
use super::verdict::{Check, Verdict};
use crate::bench::{Files, RunRecord};
use crate::cli::Invocation;
use crate::exit;
use crate::output::{Paint, Show};

/// Checks again, offline, what a run of `bench` kept: nothing lost, nothing doubled, the books balanced.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore verify last")]
pub(crate) struct Args {
    /// The run's folder, or `last` for the newest run of this directory.
    dir: PathBuf,
}

/// Checks a run.
///
/// # Errors
/// When the run breaks a claim, or nothing can be said about it.
pub(crate) fn run(args: &Args, around: &Invocation) -> Result<(), exit::Failure> {
    let files = Files::open(&args.dir)?;
    let crashed =
        |why: anyhow::Error| exit::Failure::verdict(exit::Verdict::Crashed, format!("{why:#}"));
    let verdict = check(&files).map_err(crashed)?;
    around.screen.show(&Report { run: files.dir(), verdict: &verdict })?;
    conclude(&verdict)
}

/// A verdict as the command's success or failure.
pub(crate) fn conclude(verdict: &Verdict) -> Result<(), exit::Failure> {
    if verdict.is_violated() {
        let why = "the run breaks what a ledger must keep";
        return Err(exit::Failure::verdict(exit::Verdict::Violated, why));
    }
    if !verdict.ok {
        let why = "not everything could be decided";
        return Err(exit::Failure::verdict(exit::Verdict::Undecided, why));
    }
    Ok(())
}

/// What `verify` shows.
#[derive(Serialize)]
struct Report<'a> {
    run: &'a Path,
    verdict: &'a Verdict,
}

impl Show for Report<'_> {
    fn text(&self, paint: Paint) -> String {
        let _ = paint;
        self.verdict.lines().join("\n")
    }
}

/// Checks the folder of a run.
pub(crate) fn check(files: &Files) -> anyhow::Result<Verdict> {
    if files.history().exists() {
        let file = File::open(files.history()).context("opening the history")?;
        return Ok(check_history(History::read(BufReader::new(file))?));
    }
    check_kept(&files.record()?, files)
}

/// Checks a history.
fn check_history(history: History) -> Verdict {
    let mut verdict = Verdict::default();
    let total = history.openings.iter().copied().map(i128::from).sum();
    history.reads.report(&history.transfers, total, history.overdraft, &mut verdict);
    for (kind, count) in &history.unchecked {
        let mut check = Check::of("calls of other kinds are not checked");
        check.looked_at(*count);
        check.examples.push(format!("{count} × {kind}"));
        verdict.checks.push(check);
    }
    verdict.add(history.well_formed.clone(), |verdict| &mut verdict.undecided);
    verdict.add(history.answers_agree.clone(), |verdict| &mut verdict.wrong);
    let mut ended = Check::of("the history ends with the books");
    ended.looked_at(1);
    if history.end.is_none() {
        ended.broken(|| "no `final` line".to_owned());
    }
    verdict.add(ended, |verdict| &mut verdict.undecided);
    check_end(history, &mut verdict);
    verdict.closed()
}

/// Compares what callers were told with the books at the end.
fn check_end(history: History, verdict: &mut Verdict) {
    let Some(end) = history.end else { return };
    let mut once = Once::new(&history.transfers);
    let mut balances = Balances::new(history.openings, history.overdraft);
    let mut known = Check::of("the books name only accounts of the run");
    let number = |name: &String| history.accounts.get(name).copied();
    for (place, entry) in (0_u64..).zip(&end.journal) {
        known.looked_at(1);
        let (Some(from), Some(to)) = (number(&entry.from), number(&entry.to)) else {
            known.broken(|| format!("{entry:?}"));
            continue;
        };
        for (account, counter, is_debit) in [(from, to, true), (to, from, false)] {
            let line = Line { account, counter, amount: entry.amount, is_debit };
            balances.moved(&line);
            match history.transfers.number(&entry.id) {
                Some(n) => once.known(n, &line),
                None => once.stranger(place, &line),
            }
        }
    }
    for (name, balance) in &end.balances {
        match number(name) {
            Some(account) => balances.stands(account, i128::from(*balance)),
            None => known.broken(|| name.clone()),
        }
    }
    verdict.add(known, |verdict| &mut verdict.unexplained);
    once.finish().report(balances.unread() == 0, verdict);
    balances.report(verdict);
}

/// Checks the binary files of a long run.
fn check_kept(record: &RunRecord, files: &Files) -> anyhow::Result<Verdict> {
    let kept = Kept::read(record.intents(), &files.told())?;
    let index = TransferIndex::of(&kept);
    let mut once = Once::new(&kept);
    let mut balances = Balances::new(record.openings(), false);
    let mut stands = Vec::new();
    let take = |transfer: TransferNumber, line: &Line| {
        balances.moved(line);
        match index.owner(transfer) {
            Some(n) => once.known(n, line),
            None => once.stranger(transfer.to_u64(), line),
        }
    };
    read_statements(&files.statements(), take, |account, balance| stands.push((account, balance)))?;
    for (account, balance) in stands {
        balances.stands(account, i128::from(balance));
    }
    let mut verdict = Verdict::default();
    report_shared(&index, kept.count(), &mut verdict);
    once.finish().report(balances.unread() == 0, &mut verdict);
    balances.report(&mut verdict);
    Ok(verdict.closed())
}

/// Adds to a verdict whether two callers were told the same transfer.
pub(crate) fn report_shared(index: &TransferIndex, requests: u64, verdict: &mut Verdict) {
    let mut check = Check::of("no two requests were answered with the same transfer");
    check.looked_at(requests);
    for n in &index.shared {
        check.broken(|| format!("request {n} shares its transfer with an earlier one"));
    }
    verdict.add(check, |verdict| &mut verdict.lost);
}

#[cfg(test)]
mod tests;

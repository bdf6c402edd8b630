//! Linearizability of each account: there is one order of everything that was done to it, in which everybody was told
//! what they should have been, and which nobody who could compare clocks would contradict.
//!
//! A balance is a counter: credits add to it, debits take from it when it suffices, reads tell it, and a refusal for want
//! of money tells that it was too small. Calls with the same key are one: its effect comes after the first of them began
//! and before the first acknowledgement. What nobody ever answered may have happened, or not.

mod search;

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::history::{Answer, Call, End, History, Holds, Op};
use search::{Act, Step, Told};

pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("linear", "each account has one order that everybody saw");
    let mut accounts: BTreeMap<&str, Vec<Step>> =
        history.meta.accounts.keys().map(|account| (account.as_str(), Vec::new())).collect();
    let loose = loose(history);
    for (from, step) in steps(history) {
        let refusal = matches!(step.act, Act::Refuse(_));
        if !(refusal && loose.contains(from)) {
            accounts.entry(from).or_default().push(step);
        }
    }
    for (account, steps) in &mut accounts {
        let opening = history.meta.accounts.get(*account).copied().unwrap_or(0);
        let bounded = !loose.contains(account);
        steps.sort_by_key(|step| (step.began, step.index));
        verdict.checked = verdict.checked.saturating_add(u64::try_from(steps.len()).unwrap_or(0));
        match search::search(opening, bounded, steps) {
            Told::Yes => {}
            Told::No { index } => verdict.found(format!(
                "{account}: no order explains what was told up to line {index}: {}",
                line(history, index)
            )),
            Told::Undecided { index } => {
                verdict.undecided.push(format!("{account}: too many orders at line {index}"));
            }
        }
    }
    verdict
}

/// Accounts of which money may be set aside, or that may be frozen: their balance alone does not say what they may pay.
fn loose(history: &History) -> BTreeSet<&str> {
    let mut loose = BTreeSet::new();
    for op in &history.ops {
        match &op.call {
            Call::Hold { from: account, .. }
            | Call::Freeze { account, .. }
            | Call::Unfreeze { account, .. } => {
                loose.insert(account.as_str());
            }
            Call::Transfer { .. }
            | Call::Post { .. }
            | Call::Void { .. }
            | Call::Lookup { .. }
            | Call::Read { .. }
            | Call::ReadStale { .. }
            | Call::ReadHold { .. }
            | Call::Statement { .. }
            | Call::ReadAll => {}
        }
    }
    loose
}

fn line(history: &History, index: u64) -> String {
    let op = history.ops.iter().find(|op| op.index == index);
    op.map_or_else(String::new, |op| {
        format!("{:?} by process {}: {:?}", op.call, op.process, op.end)
    })
}

/// Everything that was done to an account or told of it.
fn steps(history: &History) -> Vec<(&str, Step)> {
    let mut steps = Vec::new();
    for op in &history.ops {
        if let End::Ok(Answer::Read(seen)) = &op.end {
            let act = Act::Read(seen.posted);
            let step = Step { began: op.began, ended: op.ended, act, index: op.index };
            steps.push((seen.account.as_str(), step));
        }
    }
    let holds = history.holds();
    for ops in history.keys().values() {
        for body in bodies(ops) {
            steps.extend(moved(&body, &holds));
        }
    }
    steps
}

/// A key's calls, by what they ask.
fn bodies<'a>(ops: &[&'a Op]) -> Vec<Vec<&'a Op>> {
    let mut bodies: Vec<Vec<&Op>> = Vec::new();
    for op in ops {
        match bodies.iter_mut().find(|body| body.iter().all(|other| other.call == op.call)) {
            Some(body) => body.push(op),
            None => bodies.push(vec![op]),
        }
    }
    bodies
}

/// What one body of a key did to accounts, as far as its callers know.
fn moved<'a>(body: &[&'a Op], holds: &Holds<'a>) -> Vec<(&'a str, Step)> {
    let Some(first) = body.first() else { return Vec::new() };
    let Some((from, to, amount)) = first.call.movement(holds) else { return Vec::new() };
    let began = body.iter().map(|op| op.began).min().unwrap_or(0);
    let index = first.index;
    let ended =
        |told: &dyn Fn(&Op) -> bool| body.iter().filter(|op| told(op)).map(|op| op.ended).min();
    let (debit, credit) = (Act::Add(amount.saturating_neg()), Act::Add(amount));
    if let Some(ended) = ended(&|op| op.done().is_some()) {
        let step = |act| Step { began, ended, act, index };
        return vec![(from, step(debit)), (to, step(credit))];
    }
    if let Some(ended) = ended(&|op| op.rejection() == Some("insufficient")) {
        return vec![(from, Step { began, ended, act: Act::Refuse(amount), index })];
    }
    if let Some(ended) = ended(&|op| op.rejection() == Some("returned")) {
        let step = |act| Step { began, ended, act, index };
        return vec![(from, step(debit)), (from, step(credit))];
    }
    let settled = body.iter().any(|op| op.rejection().is_some());
    let open = body.iter().any(|op| matches!(op.end, End::Info));
    if settled || !open {
        return Vec::new();
    }
    // Nobody ever heard: it may happen at any time, or never.
    let step = |act| Step { began, ended: u64::MAX, act, index };
    vec![(from, step(debit)), (to, step(credit))]
}

//! Exactly once: a key has one outcome, and the books show its effect once, or not at all.
//!
//! Callers of one key may be many, at several gateways, some of them with another amount or payee. Whatever they were
//! told must fit one story: one of the bodies won, everybody who sent that one heard the same, everybody else heard that
//! the key was used. Then the story is compared with every account's statement at the end.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::history::{Call, End, History, LineKind, Movement, Op, Refusal};

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome<'a> {
    Posted(&'a str),
    Rejected(&'a str),
}

/// A key's final outcome, and the call that won it.
struct Settled<'a> {
    call: &'a Call,
    outcome: Outcome<'a>,
}

pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("once", "a key has one outcome and one effect");
    let keys = history.keys();
    let mut settled = BTreeMap::new();
    let mut transfers: BTreeMap<&str, &str> = BTreeMap::new();
    for (id, ops) in &keys {
        let Some(found) = settle(id, ops, &mut verdict) else { continue };
        if let Outcome::Posted(transfer) = found.outcome {
            let other = transfers.insert(transfer, id);
            verdict.expect(other.is_none(), || {
                format!("{id} and {} were both told that they are {transfer}", other.unwrap_or("?"))
            });
        }
        settled.insert(*id, found);
    }
    look_up(history, &keys, &mut verdict);
    if history.phase("final").is_some() {
        effects(history, &settled, &mut verdict);
    }
    verdict
}

/// The one story that all callers of a key were told.
fn settle<'a>(id: &str, ops: &[&'a Op], verdict: &mut Verdict) -> Option<Settled<'a>> {
    let mut settled: Option<Settled<'a>> = None;
    let mut fresh = 0_u64;
    for op in ops {
        let outcome = match (op.done(), op.rejection()) {
            (Some(done), _) => {
                fresh = fresh.saturating_add(u64::from(!done.replayed));
                Outcome::Posted(&done.transfer)
            }
            (None, Some("key_reused")) => {
                let other = ops.iter().any(|other| other.call != op.call && other.began < op.ended);
                verdict.expect(other, || format!("{id}: used, says the ledger, but by nobody"));
                continue;
            }
            (None, Some(code)) => Outcome::Rejected(code),
            (None, None) => continue,
        };
        match &settled {
            Some(first) => {
                verdict.expect(first.outcome == outcome && first.call == &op.call, || {
                    let first = (&first.outcome, first.call);
                    format!("{id} has two outcomes: {first:?}, and {outcome:?} of {:?}", op.call)
                });
            }
            None => settled = Some(Settled { call: &op.call, outcome }),
        }
    }
    verdict.expect(fresh <= 1, || format!("{id} was done anew {fresh} times"));
    settled
}

/// Under a key of which all callers heard that nothing was done, nothing was.
fn look_up(history: &History, keys: &BTreeMap<&str, Vec<&Op>>, verdict: &mut Verdict) {
    for op in &history.ops {
        let Call::Lookup { id } = &op.call else { continue };
        let mut callers = keys.get(id.as_str()).into_iter().flatten();
        let nothing =
            callers.all(|op| matches!(op.end, End::Fail(Refusal { rejected: false, .. }, _)));
        let (done, rejected) = (op.done().is_some(), op.rejection().is_some());
        verdict.expect(!(nothing && (done || rejected)), || {
            format!(
                "{id}: its callers heard that nothing was done, and something was: {:?}",
                op.end
            )
        });
    }
}

/// A line of a statement: transfer, whose statement, how much, and who is on the other side.
type Line<'a> = (&'a str, &'a str, i64, &'a str);

/// Compares what callers were told with the statements.
fn effects<'a>(history: &'a History, settled: &BTreeMap<&str, Settled<'a>>, verdict: &mut Verdict) {
    let holds = history.holds();
    let mut wanted: BTreeMap<Line<'_>, &str> = BTreeMap::new();
    let mut returned: BTreeMap<Movement<'_>, u64> = BTreeMap::new();
    for (id, Settled { call, outcome }) in settled {
        let Some((from, to, amount)) = call.movement(&holds) else { continue };
        match outcome {
            Outcome::Posted(transfer) => {
                wanted.insert((transfer, from, amount.saturating_neg(), to), id);
                wanted.insert((transfer, to, amount, from), id);
            }
            Outcome::Rejected("returned") => {
                let count = returned.entry((from, to, amount)).or_default();
                *count = count.saturating_add(1);
            }
            Outcome::Rejected(_) => {}
        }
    }
    compare(history, wanted, returned, verdict);
}

fn compare<'a>(
    history: &'a History,
    mut wanted: BTreeMap<Line<'a>, &str>,
    mut returned: BTreeMap<Movement<'a>, u64>,
    verdict: &mut Verdict,
) {
    let statements = history.last_statements();
    let mut came_back = BTreeSet::new();
    for (account, lines) in &statements {
        for line in lines.iter().filter(|line| line.kind == LineKind::Return) {
            came_back.insert((line.transfer.as_str(), *account));
        }
    }
    for (account, lines) in &statements {
        for line in *lines {
            let transfer = line.transfer.as_str();
            let is_back = came_back.contains(&(transfer, *account));
            match line.kind {
                LineKind::Transfer | LineKind::Post if is_back => {
                    let of = (*account, line.counter.as_str(), line.amount.saturating_neg());
                    let left = returned.get_mut(&of).filter(|left| **left > 0);
                    verdict.expect(left.is_some(), || {
                        format!("{transfer} left {account} and came back, and nobody heard so")
                    });
                    if let Some(left) = left {
                        *left = left.saturating_sub(1);
                    }
                }
                // A return is judged with the line that left.
                LineKind::Opening | LineKind::Return => {}
                LineKind::Transfer | LineKind::Post | LineKind::Reversal => {
                    let of = (transfer, *account, line.amount, line.counter.as_str());
                    verdict.expect(wanted.remove(&of).is_some(), || {
                        format!(
                            "{account} has a movement that nobody was told of, or twice: {line:?}"
                        )
                    });
                }
            }
        }
    }
    for ((transfer, account, amount, _), id) in wanted {
        let known = statements.contains_key(account);
        verdict.expect(!known, || {
            format!("{id}: {transfer} was acknowledged, but {account} has no line of {amount}")
        });
    }
}

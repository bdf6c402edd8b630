//! When all faults are over, everything finishes within a minute: every request has its outcome, every gateway reads the
//! same, and no process had ended by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::history::{Answer, End, History};

/// How long it may take, in nanoseconds.
const HEALED_MAX: u64 = 60_000_000_000;

/// A phase whose name begins so tells of a process that ended by itself, or went on when it had to end.
pub(crate) const DIED: &str = "died: ";

pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("alive", "without faults everything finishes within 60 s");
    for (name, _) in &history.phases {
        if let Some(how) = name.strip_prefix(DIED) {
            verdict.found(how.to_owned());
        }
    }
    let quiet = history.phase("liveness");
    let Some(quiet) = quiet else {
        verdict.undecided.push("the run did not get so far".to_owned());
        return verdict;
    };
    let end = history.phase("end");
    verdict.expect(end.is_some_and(|end| end.saturating_sub(quiet) <= HEALED_MAX), || {
        format!("not everything was finished 60 s after the last fault: {:?}", history.phases)
    });
    settled(history, &mut verdict);
    agree(history, &mut verdict);
    verdict
}

/// Every request has an outcome in the end, or nothing was done.
fn settled(history: &History, verdict: &mut Verdict) {
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let mut asked: BTreeSet<&str> = BTreeSet::new();
    for op in &history.ops {
        let Some(id) = op.call.id() else { continue };
        if op.done().is_some() || op.rejection().is_some_and(|code| code != "key_reused") {
            told.insert(id);
        } else if op.end == End::Info {
            asked.insert(id);
        }
    }
    for id in &asked {
        verdict.expect(told.contains(id), || format!("{id}: nobody ever heard what became of it"));
    }
}

/// At the end everybody who reads an account reads the same.
fn agree(history: &History, verdict: &mut Verdict) {
    let from = history.phase("final").unwrap_or(u64::MAX);
    // A hold may expire at any time, and gives its account another version.
    let holding: BTreeSet<&str> = history.ops.iter().filter_map(|op| op.call.holder()).collect();
    let mut seen: BTreeMap<&str, (i64, u64)> = BTreeMap::new();
    for op in history.ops.iter().filter(|op| op.began >= from) {
        if let End::Ok(Answer::Read(account)) = &op.end {
            let counts = !holding.contains(account.account.as_str());
            let now = (account.posted, if counts { account.version } else { 0 });
            let first = *seen.entry(&account.account).or_insert(now);
            verdict.expect(first == now, || {
                let name = &account.account;
                format!("{name}: at the end one gateway reads {first:?}, another {now:?}")
            });
        }
    }
    for account in history.meta.accounts.keys() {
        verdict.expect(seen.contains_key(account.as_str()), || {
            format!("{account}: was not read at the end")
        });
    }
}

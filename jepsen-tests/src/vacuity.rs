//! Whether a run says anything: enough was done, and every fault was there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::history::{End, History};
use crate::workload::{Workload, kinds};

/// Of a hundred writes, so many must have been acknowledged.
const ACKNOWLEDGED_PERCENT: u64 = 30;

/// Of each kind of call, so many must have been acknowledged in half a minute; in less time, fewer.
const EACH_MIN: u64 = 100;

/// Of whole pictures, so many: each is a cut of all shards, needs a leader of every one, and takes a second or two; and
/// gateways take one after the other.
const PICTURES_MIN: u64 = 3;

/// Half a minute, in milliseconds.
const FULL_MS: u64 = 30_000;

/// Calls of one kind, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    /// Done.
    pub(crate) ok: u64,
    /// The ledger said no.
    pub(crate) rejected: u64,
    /// Nothing was done.
    pub(crate) fail: u64,
    /// Nobody knows.
    pub(crate) info: u64,
}

/// How many calls of each kind ended how, before everything was quiet.
pub(crate) fn counts(history: &History) -> BTreeMap<String, Count> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let quiet = history.phase("liveness").unwrap_or(u64::MAX);
    for op in history.ops.iter().filter(|op| op.began < quiet) {
        let count = counts.entry(op.call.f().to_owned()).or_default();
        let of = match &op.end {
            End::Ok(_) => &mut count.ok,
            End::Fail(refusal, _) if refusal.rejected => &mut count.rejected,
            End::Fail(..) => &mut count.fail,
            End::Info => &mut count.info,
        };
        *of = of.saturating_add(1);
    }
    counts
}

/// Why a run says nothing; empty when it does.
pub(crate) fn reasons(history: &History) -> Vec<String> {
    let mut reasons = Vec::new();
    let counts = counts(history);
    let quiet = history.phase("liveness").unwrap_or(u64::MAX);
    let writes = history.ops.iter().filter(|op| op.call.id().is_some() && op.began < quiet);
    let (mut all, mut done) = (0_u64, 0_u64);
    for op in writes {
        all = all.saturating_add(1);
        done = done.saturating_add(u64::from(op.done().is_some()));
    }
    if done.saturating_mul(100) < all.saturating_mul(ACKNOWLEDGED_PERCENT) || all == 0 {
        reasons.push(format!("of {all} writes only {done} were acknowledged"));
    }
    let part = history.meta.duration_ms.min(FULL_MS);
    let workloads: Vec<Workload> =
        history.meta.workloads.iter().filter_map(|name| name.parse().ok()).collect();
    for kind in kinds(&workloads) {
        let ok = counts.get(kind).map_or(0, |count| count.ok);
        let full = if kind == "read-all" { PICTURES_MIN } else { EACH_MIN };
        let least = full.saturating_mul(part).checked_div(FULL_MS).unwrap_or(full).max(1);
        if ok < least {
            reasons.push(format!("{ok} of {kind} were acknowledged; a run needs {least}"));
        }
    }
    reasons.extend(never_bit(history));
    if history.faults.is_empty() && !history.meta.faults.is_empty() {
        reasons.push("no fault struck".to_owned());
    }
    reasons
}

/// The kinds of fault that struck, none of which ever bit. One that found nothing to bite now and then (a cut between the
/// leaders, while one node led all shards) does not count, and takes nothing from the others.
fn never_bit(history: &History) -> impl Iterator<Item = String> {
    let mut kinds: BTreeMap<&str, (bool, String)> = BTreeMap::new();
    for fault in &history.faults {
        let why =
            || (false, format!("at {} ms: {}", fault.began / 1_000_000, fault.evidence.join("; ")));
        let (has_bitten, _) = kinds.entry(&fault.name).or_insert_with(why);
        *has_bitten |= fault.bit;
    }
    let never = kinds.into_iter().filter(|(_, (has_bitten, _))| !has_bitten);
    never.map(|(name, (_, why))| format!("{name} did not bite {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Call, FaultWindow, Meta, Op, Refusal};

    #[test]
    fn a_run_in_which_little_happened_says_nothing() {
        let meta = Meta { workloads: vec!["w1".into()], duration_ms: 30_000, ..Meta::default() };
        let mut history = History { meta, ..History::default() };
        assert_eq!(reasons(&history).len(), 3, "no writes, no transfers, no pictures");
        let call = Call::Transfer { id: "t".into(), from: "a".into(), to: "b".into(), amount: 1 };
        let end = End::Fail(Refusal::default(), "no_leader".into());
        let op = Op { process: 0, call, began: 0, ended: 1, end, index: 0 };
        history.ops = vec![op; 200];
        assert!(reasons(&history)[0].contains("only 0"));
        let fault = FaultWindow {
            name: "loss".into(),
            began: 0,
            ended: 1,
            targets: Vec::new(),
            bit: false,
            evidence: vec!["0 packets".into()],
        };
        history.faults.push(fault.clone());
        assert!(reasons(&history).iter().any(|why| why == "loss did not bite at 0 ms: 0 packets"));
        history.faults.push(FaultWindow { bit: true, ..fault });
        assert!(!reasons(&history).iter().any(|why| why.contains("loss")), "the other one did");
    }
}

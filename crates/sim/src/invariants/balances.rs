//! Exactly once: each account has what it was opened with and what the posted transfers moved, no more and no less. Looked at when
//! every request has an outcome.

use std::collections::BTreeMap;

use ledger::{AccountId, Command};

use super::View;
use crate::accounts::OPENING;

pub(super) fn check(view: &View<'_>) -> Vec<String> {
    let opening = |account: &AccountId| (*account, i128::from(OPENING));
    let mut expected: BTreeMap<AccountId, i128> = view.accounts.iter().map(opening).collect();
    let promises = view.oracle.promises();
    if promises.iter().any(|promise| promise.outcome.is_none()) {
        // Nobody knows what they moved; that they have no outcome is bad enough.
        return Vec::new();
    }
    for promise in promises {
        let is_posted = matches!(promise.outcome, Some(Ok(_)));
        if let Command::Transfer { debit, credit, amount, .. } = promise.request.command
            && is_posted
        {
            let minor = i128::from(amount.minor());
            let mut moves = |account, by| {
                let balance = expected.entry(account).or_default();
                *balance = balance.saturating_add(by);
            };
            moves(debit, minor.saturating_neg());
            moves(credit, minor);
        }
    }
    expected.iter().flat_map(|(account, minor)| compare(view, *account, *minor)).collect()
}

fn compare(view: &View<'_>, account: AccountId, expected: i128) -> Vec<String> {
    let shard = view.cluster.plan.shards.shard(account.slot());
    let replicas = view.cluster.replicas(shard);
    let differs = replicas.into_iter().filter_map(|(node, replica)| {
        let found = replica.with_ledger(|ledger| ledger.account(&account)).map(|one| one.posted);
        (found != Some(expected)).then(|| {
            format!("exactly once: {account:?} on node {node} has {found:?}, not {expected}")
        })
    });
    differs.collect()
}

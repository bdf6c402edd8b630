//! I6, exactly once: each account has what it was opened with and what the outcomes say was moved, no more and no less. Looked
//! at when every request has an outcome; that some have none is bad enough.

use ledger::AccountId;

use super::View;

pub(super) fn check(view: &View<'_>) -> Vec<String> {
    let balances = view.effects.iter().flat_map(|effects| &effects.balances);
    balances.flat_map(|(account, minor)| compare(view, *account, *minor)).collect()
}

fn compare(view: &View<'_>, account: AccountId, expected: i128) -> Vec<String> {
    let shard = view.cluster.plan.shards.shard(account.slot());
    let replicas = view.cluster.replicas(shard);
    let differs = replicas.into_iter().filter_map(|(node, replica)| {
        let found = replica.with_ledger(|ledger| ledger.account(&account)).map(|one| one.posted);
        (found != Some(expected))
            .then(|| format!("I6: {account:?} on node {node} has {found:?}, not {expected}"))
    });
    differs.collect()
}

//! A5, I1, I2, I4: money is neither made nor lost, and each ledger agrees with itself.

use super::View;
use crate::accounts::OPENING;

pub(super) fn check(view: &View<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    let mut found = 0_i128;
    for shard in view.cluster.plan.shards.groups() {
        for (node, replica) in view.cluster.replicas(shard) {
            if let Err(violation) = replica.with_ledger(|ledger| ledger.audit()) {
                broken.push(format!("shard {shard} on node {node}: {violation}"));
            }
        }
        let Some((_, replica)) = view.cluster.replicas(shard).into_iter().next() else { continue };
        let here = view.accounts.iter().filter_map(|account| {
            replica.with_ledger(|ledger| ledger.account(account)).map(|account| account.posted)
        });
        found = here.fold(found, i128::saturating_add);
    }
    let opened = u64::try_from(view.accounts.len()).unwrap_or(u64::MAX);
    let expected = i128::from(OPENING).saturating_mul(i128::from(opened));
    if found != expected {
        broken.push(format!("A5: all accounts together have {found}, not {expected}"));
    }
    broken
}

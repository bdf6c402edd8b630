//! I3, at rest: what a shard wrote to another was applied there, and every payment is settled.
//!
//! The writer itself learns that its last messages were applied only from the next letter that comes back, so the two
//! ledgers are compared.

use super::View;
use crate::cluster::Cluster;

pub(super) fn are_empty(cluster: &Cluster) -> bool {
    left(cluster).is_empty()
}

pub(super) fn check(view: &View<'_>) -> Vec<String> {
    left(view.cluster)
}

fn left(cluster: &Cluster) -> Vec<String> {
    let shards = cluster.plan.shards;
    let mut left = Vec::new();
    for peer in shards.groups() {
        let Some((_, there)) = cluster.replicas(peer).into_iter().next() else {
            left.push(format!("nobody keeps shard {peer}"));
            continue;
        };
        for shard in shards.groups().filter(|shard| *shard != peer) {
            let applied = there.with_ledger(|ledger| ledger.inbox(shard));
            for (node, replica) in cluster.replicas(shard) {
                let (messages, unsettled) = replica.with_ledger(|ledger| {
                    (ledger.outbox(peer, applied).count(), ledger.unsettled(peer))
                });
                if messages > 0 || unsettled > 0 {
                    left.push(format!(
                        "I3: from shard {shard} to {peer}, on node {node}: {messages} messages not applied, {unsettled} payments not settled"
                    ));
                }
            }
        }
    }
    left
}

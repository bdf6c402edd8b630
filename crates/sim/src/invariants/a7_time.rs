//! A7: log time never runs backwards, and no clock that is wrong becomes log time while most clocks are right.

use ledger::Time;

use super::View;
use crate::cluster::Cluster;

/// What is read of another machine's clock may be so far off: a message is late, and a mean of two clocks lies between them.
const SLACK_MS: u64 = 1_500;

/// Whether a log time that somebody was told is one that no clock shows yet, had none ever jumped.
pub(crate) fn is_ahead(cluster: &Cluster, at: Time) -> bool {
    at > Time(cluster.watchmaker.latest_ms()).plus_ms(SLACK_MS)
}

pub(super) fn check(view: &View<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    for shard in view.cluster.plan.shards.groups() {
        let told = view.oracle.floor(shard).time;
        for (node, replica) in view.cluster.replicas(shard) {
            let now = replica.with_ledger(ledger::Ledger::now);
            if is_ahead(view.cluster, now) || now < told {
                broken.push(format!(
                    "A7: shard {shard} on node {node} is at {now:?}; clients were told {told:?}"
                ));
            }
        }
    }
    broken
}

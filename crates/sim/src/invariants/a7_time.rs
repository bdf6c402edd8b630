//! A7: log time never runs backwards, and no clock that is wrong becomes log time while most clocks are right.

use ledger::Time;

use super::View;

/// What is read of another machine's clock may be so far off, and a mean of two clocks lies between them.
const SLACK_MS: u64 = 2_000;

pub(super) fn check(view: &View<'_>) -> Vec<String> {
    let latest = Time(view.cluster.watchmaker.latest_ms()).plus_ms(SLACK_MS);
    let mut broken = Vec::new();
    for shard in view.cluster.plan.shards.groups() {
        let told = view.oracle.floor(shard).time;
        for (node, replica) in view.cluster.replicas(shard) {
            let now = replica.with_ledger(ledger::Ledger::now);
            if now > latest || now < told {
                broken.push(format!(
                    "A7: shard {shard} on node {node} is at {now:?}; clients were told {told:?}, and no clock shows {latest:?}"
                ));
            }
        }
    }
    broken
}

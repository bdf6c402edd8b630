//! I15: replicas' digests are equal at equal index; and at rest, their indexes are.

use super::View;
use crate::cluster::Cluster;

/// Where the replicas of a shard stand: node, index, digest.
fn standing(cluster: &Cluster, shard: u16) -> Vec<(u64, u64, u128)> {
    let replicas = cluster.replicas(shard).into_iter();
    let stands = replicas.map(|(node, replica)| {
        let (index, digest) = replica.with_ledger(|ledger| (ledger.index(), ledger.digest()));
        (node, index, digest)
    });
    stands.collect()
}

pub(super) fn are_level(cluster: &Cluster) -> bool {
    cluster.plan.shards.groups().all(|shard| {
        let stand = standing(cluster, shard);
        let first = stand.first().map(|(_, index, _)| *index);
        stand.len() == cluster.ids().len()
            && stand.iter().all(|(_, index, _)| Some(*index) == first)
    })
}

pub(super) fn check(view: &View<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    for shard in view.cluster.plan.shards.groups() {
        let stand = standing(view.cluster, shard);
        if stand.len() != view.cluster.ids().len() {
            broken.push(format!("shard {shard} has {} replicas", stand.len()));
        }
        for pair in stand.windows(2) {
            if let [(one, index, digest), (other, its_index, its_digest)] = pair
                && (index != its_index || digest != its_digest)
            {
                broken.push(format!(
                    "I15: shard {shard}: node {one} has {digest:032x} at {index}, node {other} {its_digest:032x} at {its_index}"
                ));
            }
        }
    }
    broken
}

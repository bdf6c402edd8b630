//! I15: replicas' digests are equal at equal index; and at rest, their indexes are, and they are where they belong.

use std::collections::BTreeSet;

use super::{Keepers, View};
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

pub(super) fn are_level(cluster: &Cluster, keepers: &Keepers) -> bool {
    keepers.iter().all(|(shard, keepers)| {
        let replicas = cluster.replicas(*shard);
        let mut indexes =
            replicas.iter().map(|(_, replica)| replica.with_ledger(ledger::Ledger::index));
        let first = indexes.next();
        let keep: BTreeSet<u64> = replicas.iter().map(|(node, _)| *node).collect();
        keep == *keepers && indexes.all(|index| Some(index) == first)
    })
}

pub(super) fn check(view: &View<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    for (shard, keepers) in view.keepers {
        let stand = standing(view.cluster, *shard);
        let keep: BTreeSet<u64> = stand.iter().map(|(node, _, _)| *node).collect();
        if keep != *keepers {
            broken.push(format!("shard {shard} is kept by {keep:?}, not by {keepers:?}"));
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

//! Which nodes vote in which shard of a new cluster.
//!
//! Shard after shard is dealt to the nodes in turn, so that replicas and first leaders spread evenly. All nodes compute
//! the same from the same topology. Once a group exists, its membership says who votes, and this does not.

use crate::config::NodeConfig;

/// The voters of a shard in a new cluster. The first of them makes the group.
pub(crate) fn voters(shard: u16, config: &NodeConfig) -> Vec<u64> {
    let nodes: Vec<u64> = config.peers.keys().copied().collect();
    let first = usize::from(shard).checked_rem(nodes.len()).unwrap_or(0);
    let count = config.replicas.clamp(1, nodes.len().max(1));
    nodes.iter().cycle().skip(first).take(count).copied().collect()
}

#[cfg(test)]
mod tests {
    use ledger::Shards;

    use super::*;

    fn config(nodes: u64, replicas: usize) -> NodeConfig {
        let peers = (1..=nodes).map(|node| (node, String::new())).collect();
        let shards = Shards::new(16).unwrap();
        NodeConfig { replicas, ..NodeConfig::new(1, "".into(), peers, shards) }
    }

    #[test]
    fn shards_are_dealt_in_turn() {
        assert_eq!(voters(0, &config(3, 3)), [1, 2, 3]);
        assert_eq!(voters(1, &config(3, 3)), [2, 3, 1]);
        assert_eq!(voters(4, &config(5, 3)), [5, 1, 2]);
        assert_eq!(voters(7, &config(1, 3)), [1]);
        for node in 1..=5 {
            let of = (0..15).filter(|shard| voters(*shard, &config(5, 3)).contains(&node)).count();
            assert_eq!(of, 9, "15 shards of three replicas on five nodes");
        }
    }
}

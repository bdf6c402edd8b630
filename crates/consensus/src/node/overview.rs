//! How a node does, for those who operate it.

use super::Node;
use crate::clock::ClockAlarm;
use crate::raft::DiskId;
use crate::space;
use crate::transport::Lane;

/// How a node does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    /// The node.
    pub node: u64,
    /// Where it listens, as it was told.
    pub address: Option<String>,
    /// What its data directory was born with.
    pub disk: DiskId,
    /// Nothing is led from here, by an operator's wish or for a restart.
    pub is_drained: bool,
    /// It is for a restart.
    pub is_restarting: bool,
    /// The cluster's clock, in milliseconds since 1970.
    pub clock_ms: u64,
    /// What is wrong with the clocks, if anything.
    pub clock_alarm: Option<ClockAlarm>,
    /// Bytes free on its disk; nothing when the disk does not say.
    pub free_bytes: Option<u64>,
    /// Bytes of its disk.
    pub total_bytes: Option<u64>,
    /// The other nodes that it speaks with.
    pub peers: Vec<PeerOverview>,
}

/// How another node looks from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerOverview {
    /// The node.
    pub node: u64,
    /// Where it listens.
    pub address: Option<String>,
    /// Whether it can be asked.
    pub is_up: bool,
}

impl Node {
    /// How the node does.
    pub async fn overview(&self) -> Overview {
        let site = &self.0;
        let dir = site.config.data_dir.clone();
        let space = site.offload.run(move || space::ask(&dir)).await.ok();
        let roster = &site.peers.roster;
        let peers = roster.peers().into_iter().map(|node| PeerOverview {
            node,
            address: roster.address(node),
            is_up: site.peers.link(node).is_up(Lane::Control),
        });
        Overview {
            node: roster.node,
            address: roster.address(roster.node),
            disk: roster.disk,
            is_drained: self.is_drained(),
            is_restarting: self.is_restarting(),
            clock_ms: site.clock.now().0,
            clock_alarm: site.clock.alarm(),
            free_bytes: space.map(|space| space.free_bytes),
            total_bytes: space.map(|space| space.total_bytes),
            peers: peers.collect(),
        }
    }
}

//! What can go wrong on purpose, and how often it has bitten.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A kind of harm. A run draws some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process is killed.
    Kill,
    /// The power of one machine goes in the middle of something, and takes what was not synced.
    Power,
    /// The power of all machines goes at once.
    Blackout,
    /// A process stands still, past every lease, and then goes on as if nothing had been.
    Pause,
    /// A node is cut off from all others.
    CutOff,
    /// The nodes fall apart in two halves, or into a ring in which each hears only its neighbours.
    Split,
    /// Nothing arrives in one direction, and nobody is told.
    OneWay,
    /// Messages are late, lost, doubled, overtaken.
    Storm,
    /// Lanes break for no reason.
    Break,
    /// A disk takes its time.
    SlowDisk,
    /// A write to the log fails, in part.
    FailedWrite,
    /// A sync of the log fails.
    FailedSync,
    /// The disk fails under a checkpoint.
    FailedCheckpoint,
    /// Disks are full, and have room again.
    FullDisk,
    /// Bits of a log flip while its node is down.
    Flip,
    /// A bit of a checkpoint flips while its node is down.
    RottenCheckpoint,
    /// A disk comes back as it was some time ago.
    StaleDisk,
    /// A disk is lost, and the node comes back empty.
    LostDisk,
    /// A leader dies, the end of its log is lost with it, and it is back before anybody else was elected.
    LostEnd,
    /// The clocks of a minority jump by an hour.
    Jump,
    /// The clock of one machine runs fast or slow.
    Drift,
    /// A node joins, and keeps some of the shards.
    Join,
    /// A replica moves to another node.
    Move,
    /// A node leaves the cluster.
    Leave,
    /// A shard is handed over to another of its nodes.
    Lead,
    /// A gateway is cut off from some of the nodes, or from all.
    GatewayCut,
    /// A gateway is killed while requests wait in it.
    GatewayKill,
    /// A gateway stands still while requests wait in it, past their deadlines, and then goes on.
    GatewayPause,
}

impl Fault {
    /// All of them, those of the network first.
    pub const ALL: [Self; 28] = [
        Self::CutOff,
        Self::Split,
        Self::OneWay,
        Self::Storm,
        Self::Break,
        Self::SlowDisk,
        Self::GatewayCut,
        Self::Kill,
        Self::Power,
        Self::Blackout,
        Self::Pause,
        Self::FailedWrite,
        Self::FailedSync,
        Self::FailedCheckpoint,
        Self::FullDisk,
        Self::Flip,
        Self::RottenCheckpoint,
        Self::StaleDisk,
        Self::LostDisk,
        Self::LostEnd,
        Self::Jump,
        Self::Drift,
        Self::Join,
        Self::Move,
        Self::Leave,
        Self::Lead,
        Self::GatewayKill,
        Self::GatewayPause,
    ];

    /// Whether it comes over the network, at the same time as harm to a node.
    pub(crate) const fn is_of_the_network(self) -> bool {
        matches!(
            self,
            Self::CutOff
                | Self::Split
                | Self::OneWay
                | Self::Storm
                | Self::Break
                | Self::SlowDisk
                | Self::GatewayCut
        )
    }

    /// Whether it is a gateway's: whether it comes is drawn apart, so that what else a seed draws stays as it was.
    pub(crate) const fn is_of_a_gateway(self) -> bool {
        matches!(self, Self::GatewayCut | Self::GatewayKill | Self::GatewayPause)
    }

    /// Whether a seed draws it by itself.
    pub(crate) const fn is_drawn_apart(self) -> bool {
        self.is_of_a_gateway() || matches!(self, Self::LostEnd)
    }

    /// Its name, as it is written and read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Power => "power",
            Self::Blackout => "blackout",
            Self::Pause => "pause",
            Self::CutOff => "cut-off",
            Self::Split => "split",
            Self::OneWay => "one-way",
            Self::Storm => "storm",
            Self::Break => "break",
            Self::SlowDisk => "slow-disk",
            Self::FailedWrite => "failed-write",
            Self::FailedSync => "failed-sync",
            Self::FailedCheckpoint => "failed-checkpoint",
            Self::FullDisk => "full-disk",
            Self::Flip => "flip",
            Self::RottenCheckpoint => "rotten-checkpoint",
            Self::StaleDisk => "stale-disk",
            Self::LostDisk => "lost-disk",
            Self::LostEnd => "lost-end",
            Self::Jump => "jump",
            Self::Drift => "drift",
            Self::Join => "join",
            Self::Move => "move",
            Self::Leave => "leave",
            Self::Lead => "lead",
            Self::GatewayCut => "gateway-cut",
            Self::GatewayKill => "gateway-kill",
            Self::GatewayPause => "gateway-pause",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each kind has bitten: not how often it was tried. Clones share their counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bites(Arc<Mutex<BTreeMap<Fault, u64>>>);

impl Bites {
    /// A fault has bitten.
    pub(crate) fn bit(&self, fault: Fault) {
        let mut bites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = bites.entry(fault).or_default();
        *count = count.saturating_add(1);
    }

    /// All counts, of those that have bitten.
    pub(crate) fn counts(&self) -> BTreeMap<Fault, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

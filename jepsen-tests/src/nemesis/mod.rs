//! What goes wrong on purpose. Each fault strikes, stays for a while, and is healed; and it proves by what the operating
//! system says that it bit. One that did not bite makes a run worth nothing.

mod amnesia;
mod cut;
mod disk;
mod full;
mod kill;
pub(crate) mod members;
mod pause;
mod power;
mod skew;

use std::str::FromStr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use crate::history::{Event, FaultWindow};
use crate::hosts::Role;
use crate::hosts::cluster::Cluster;
use crate::hosts::process::Process;
use crate::recorder::Recorder;

/// How long a fault stays, and how long it is quiet after it; a third of what the fault took, at least, so that it is
/// quiet for a quarter of the time.
const STAYS_MS: std::ops::Range<u64> = 3_000..5_000;
const QUIET_MS: std::ops::Range<u64> = 1_500..3_000;

/// How often it is looked whether a fault has bitten.
const LOOK: Duration = Duration::from_millis(100);

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Some node is killed.
    KillNode,
    /// The node that leads a shard is killed.
    KillLeader,
    /// As many nodes as may be gone are killed.
    KillMinority,
    /// Every process is killed.
    KillAll,
    /// A leader is stopped for longer than its lease, and goes on under another.
    PauseLeader,
    /// Somebody does not hear somebody.
    Net(Trouble),
    /// One node's clock is an hour off.
    ClockJump,
    /// One node's clock jumps to and fro.
    ClockStrobe,
    /// A node joins, and is removed.
    Members,
    /// Leaders are handed over.
    Handover,
    /// A gateway is killed.
    KillGateway,
    /// A leader's disk is slow.
    SlowDisk,
    /// A node's log rots while it is down.
    FlipBits,
    /// A node comes back with what it had some time ago.
    StaleDisk,
    /// A node comes back with nothing, and another takes its place.
    LoseDisk,
    /// A disk that can be made to fail does.
    Disk(Ailment),
}

/// Who does not hear whom, or not at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// A leader is cut off, with a gateway that still reaches it.
    CutLeader,
    /// Some node is cut off, the first gateway with it.
    CutNode,
    /// Two nodes do not hear each other; the others hear both.
    Bridge,
    /// Every node hears only its neighbours in a ring.
    Ring,
    /// Leaders of different shards do not hear each other.
    CutLeaders,
    /// Nobody hears a leader, and it hears everybody.
    Mute,
    /// A leader hears nobody, and everybody hears it.
    Deaf,
    /// Packets between nodes are lost.
    Loss,
    /// Packets come late.
    Delay,
    /// A node is cut off, and is back, again and again.
    Flap,
}

/// What only disks of the nodes' own can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ailment {
    /// The power of one node is cut: what was not synced is gone.
    PowerCut,
    /// The power of all nodes is cut at once.
    PowerCutAll,
    /// Every sync fails, and every write, while the node goes on.
    FailSync,
    /// A leader's disk is nearly full.
    Full,
    /// All disks are nearly full.
    FullAll,
    /// A disk has no byte left.
    NoSpace,
}

/// Every fault, and what it is called.
const FAULTS: &[(&str, Fault)] = &[
    ("kill-node", Fault::KillNode),
    ("kill-leader", Fault::KillLeader),
    ("kill-minority", Fault::KillMinority),
    ("kill-all", Fault::KillAll),
    ("pause-leader", Fault::PauseLeader),
    ("cut-leader", Fault::Net(Trouble::CutLeader)),
    ("cut-node", Fault::Net(Trouble::CutNode)),
    ("bridge", Fault::Net(Trouble::Bridge)),
    ("ring", Fault::Net(Trouble::Ring)),
    ("cut-leaders", Fault::Net(Trouble::CutLeaders)),
    ("mute", Fault::Net(Trouble::Mute)),
    ("deaf", Fault::Net(Trouble::Deaf)),
    ("loss", Fault::Net(Trouble::Loss)),
    ("delay", Fault::Net(Trouble::Delay)),
    ("flap", Fault::Net(Trouble::Flap)),
    ("clock-jump", Fault::ClockJump),
    ("clock-strobe", Fault::ClockStrobe),
    ("members", Fault::Members),
    ("handover", Fault::Handover),
    ("kill-gateway", Fault::KillGateway),
    ("slow-disk", Fault::SlowDisk),
    ("flip-bits", Fault::FlipBits),
    ("stale-disk", Fault::StaleDisk),
    ("lose-disk", Fault::LoseDisk),
    ("power-cut", Fault::Disk(Ailment::PowerCut)),
    ("power-cut-all", Fault::Disk(Ailment::PowerCutAll)),
    ("fail-sync", Fault::Disk(Ailment::FailSync)),
    ("full-disk", Fault::Disk(Ailment::Full)),
    ("full-disks", Fault::Disk(Ailment::FullAll)),
    ("no-space", Fault::Disk(Ailment::NoSpace)),
];

/// Families of faults, as they are numbered in the plan of what is tested.
const FAMILIES: &[(&str, &[Fault])] = &[
    ("n1", &[]),
    ("n2", &[Fault::KillLeader, Fault::KillNode, Fault::KillMinority, Fault::KillAll]),
    ("n3", &[Fault::PauseLeader]),
    (
        "n4",
        &[
            Fault::Net(Trouble::CutLeader),
            Fault::Net(Trouble::Bridge),
            Fault::Net(Trouble::CutNode),
            Fault::Net(Trouble::CutLeaders),
            Fault::Net(Trouble::Ring),
        ],
    ),
    ("n5", &[Fault::Net(Trouble::Mute), Fault::Net(Trouble::Deaf)]),
    ("n6", &[Fault::Net(Trouble::Loss), Fault::Net(Trouble::Flap), Fault::Net(Trouble::Delay)]),
    ("n7", &[Fault::ClockJump, Fault::ClockStrobe]),
    ("n8", &[Fault::Disk(Ailment::PowerCutAll), Fault::Disk(Ailment::PowerCut)]),
    ("n9", &[Fault::Disk(Ailment::FailSync)]),
    ("n10", &[Fault::SlowDisk]),
    (
        "n11",
        &[Fault::Disk(Ailment::Full), Fault::Disk(Ailment::FullAll), Fault::Disk(Ailment::NoSpace)],
    ),
    ("n12", &[Fault::FlipBits, Fault::StaleDisk]),
    ("n13", &[Fault::LoseDisk]),
    ("n14", &[Fault::Members]),
    ("n16", &[Fault::KillGateway]),
    (
        "n18",
        &[
            Fault::KillLeader,
            Fault::Net(Trouble::CutLeader),
            Fault::PauseLeader,
            Fault::Net(Trouble::Loss),
            Fault::KillGateway,
            Fault::Net(Trouble::Mute),
            Fault::KillAll,
            Fault::Net(Trouble::Bridge),
            Fault::Net(Trouble::Flap),
            Fault::KillNode,
            Fault::Net(Trouble::Deaf),
            Fault::Net(Trouble::CutLeaders),
            Fault::Handover,
            Fault::Net(Trouble::Delay),
            Fault::SlowDisk,
            Fault::KillMinority,
            Fault::FlipBits,
            Fault::Disk(Ailment::PowerCutAll),
            Fault::Disk(Ailment::FailSync),
            Fault::Disk(Ailment::Full),
            Fault::Disk(Ailment::PowerCut),
            Fault::LoseDisk,
            Fault::Disk(Ailment::FullAll),
            Fault::Disk(Ailment::NoSpace),
            Fault::Members,
            Fault::ClockJump,
            Fault::StaleDisk,
        ],
    ),
];

impl Fault {
    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        FAULTS.iter().find(|(_, fault)| *fault == self).map_or("?", |(name, _)| name)
    }

    /// What it needs.
    pub(crate) const fn needs(self) -> Needs {
        match self {
            Self::Net(Trouble::Loss | Trouble::Delay) => Needs::Net,
            Self::Disk(_) => Needs::Disks,
            Self::ClockJump | Self::ClockStrobe => Needs::Planted,
            Self::Net(
                Trouble::CutLeader
                | Trouble::CutNode
                | Trouble::Bridge
                | Trouble::Ring
                | Trouble::CutLeaders
                | Trouble::Mute
                | Trouble::Deaf
                | Trouble::Flap,
            )
            | Self::KillNode
            | Self::KillLeader
            | Self::KillMinority
            | Self::KillAll
            | Self::PauseLeader
            | Self::Members
            | Self::Handover
            | Self::KillGateway
            | Self::SlowDisk
            | Self::FlipBits
            | Self::StaleDisk
            | Self::LoseDisk => Needs::Nothing,
        }
    }

    /// Whether nodes join for it.
    pub(crate) fn adds_nodes(self) -> bool {
        [Self::Members, Self::LoseDisk].contains(&self)
    }
}

/// What a fault needs that is not everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing.
    Nothing,
    /// Processes in network namespaces of their own.
    Net,
    /// Nodes with disks of their own.
    Disks,
    /// A planted build.
    Planted,
}

/// Faults that go together: a family, or one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    /// As it was written.
    pub(crate) name: String,
    /// What it has.
    pub(crate) faults: Vec<Fault>,
}

impl FromStr for Family {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.to_owned();
        if let Some((_, faults)) = FAMILIES.iter().find(|(known, _)| *known == text) {
            return Ok(Self { name, faults: faults.to_vec() });
        }
        if let Some((_, fault)) = FAULTS.iter().find(|(known, _)| *known == text) {
            return Ok(Self { name, faults: vec![*fault] });
        }
        let families = FAMILIES.iter().map(|(name, _)| *name);
        let all: Vec<&str> = families.chain(FAULTS.iter().map(|(name, _)| *name)).collect();
        Err(format!("there are {}", all.join(", ")))
    }
}

/// Every family of faults that there is, by name.
pub(crate) fn families() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, _)| *name)
}

/// Whom a fault struck, and how the operating system says so.
#[derive(Clone, Debug, Default)]
struct Bite {
    targets: Vec<String>,
    bit: bool,
    evidence: Vec<String>,
}

/// What strikes.
pub(crate) struct Nemesis<'a> {
    cluster: &'a Cluster,
    recorder: &'a Recorder,
    rng: StdRng,
    /// Nodes that have joined so far.
    joined: u64,
}

impl<'a> Nemesis<'a> {
    /// Draws from the seed whom it strikes, and when.
    pub(crate) fn new(cluster: &'a Cluster, recorder: &'a Recorder, seed: u64) -> Self {
        Self { cluster, recorder, rng: StdRng::seed_from_u64(seed), joined: 0 }
    }

    /// Strikes one fault after the other, with quiet between, until the time is up; each is healed before that.
    pub(crate) async fn torment(&mut self, faults: &[Fault], until: u64) -> anyhow::Result<()> {
        let mut took_ms = 0_u64;
        for fault in faults.iter().cycle() {
            let quiet = self.rng.random_range(QUIET_MS).max(took_ms / 3);
            tokio::time::sleep(Duration::from_millis(quiet)).await;
            let left = until.saturating_sub(self.recorder.now()) / 1_000_000;
            if left < STAYS_MS.start {
                break;
            }
            let stays = Duration::from_millis(self.rng.random_range(STAYS_MS).min(left));
            let began = self.recorder.now();
            self.strike(*fault, stays).await?;
            took_ms = self.recorder.now().saturating_sub(began) / 1_000_000;
        }
        Ok(())
    }

    async fn strike(&mut self, fault: Fault, stays: Duration) -> anyhow::Result<()> {
        let began = self.recorder.now();
        let bite = match fault {
            Fault::KillNode => self.kill_nodes(1, stays).await,
            Fault::KillMinority => {
                let nodes = self.cluster.nodes().len();
                self.kill_nodes(nodes.saturating_sub(1) / 2, stays).await
            }
            Fault::KillLeader => self.kill_leader(stays).await,
            Fault::KillAll => self.kill(self.cluster.roles(), stays).await,
            Fault::KillGateway => self.kill_gateway(stays).await,
            Fault::PauseLeader => self.pause_leader(stays).await,
            Fault::Net(trouble) => self.trouble_the_net(trouble, stays).await,
            Fault::ClockJump => self.skew(None, stays).await,
            Fault::ClockStrobe => self.skew(Some(Duration::from_millis(200)), stays).await,
            Fault::Members => self.change_members().await,
            Fault::Handover => self.hand_over(stays).await,
            Fault::SlowDisk => self.slow_disk(stays).await,
            Fault::FlipBits => self.flip_bits(stays).await,
            Fault::StaleDisk => self.stale_disk(stays).await,
            Fault::LoseDisk => self.lose_disk().await,
            Fault::Disk(ailment) => self.ail(ailment, stays).await,
        };
        let Bite { targets, bit, evidence } = match bite {
            Ok(bite) => bite,
            // A fault that could not strike has not bitten; the run says so.
            Err(why) => Bite { evidence: vec![format!("{why:#}")], ..Bite::default() },
        };
        let (name, ended) = (fault.name().to_owned(), self.recorder.now());
        let fault = FaultWindow { name, began, ended, targets, bit, evidence };
        self.recorder.put(Event::Fault { fault })
    }

    /// Some shard.
    fn any_shard(&mut self) -> u16 {
        self.rng.random_range(0..self.cluster.plan().shards)
    }

    /// Some node.
    fn any_node(&mut self) -> u64 {
        let nodes = self.cluster.nodes();
        let place = self.rng.random_range(0..nodes.len().max(1));
        nodes.get(place).copied().unwrap_or(1)
    }

    /// Waits until a process has stopped by itself, and forgives it: it was made to. Says how it ended; nothing, when it
    /// went on as long as that.
    async fn until_stopped(&self, role: Role, within: Duration) -> anyhow::Result<Option<String>> {
        let began = Instant::now();
        while began.elapsed() < within {
            let how = self.cluster.process(role, Process::forgive)?;
            if !how.is_empty() {
                return Ok(Some(how.join("; ")));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(None)
    }

    /// Every node but these.
    fn others(&self, but: &[u64]) -> Vec<Role> {
        let nodes = self.cluster.nodes().into_iter().filter(|node| !but.contains(node));
        nodes.map(Role::Node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_one_name_and_a_family() {
        for (name, fault) in FAULTS {
            assert_eq!(
                (fault.name(), name.parse::<Family>().unwrap().faults),
                (*name, vec![*fault])
            );
            let families = FAMILIES.iter().filter(|(_, faults)| faults.contains(fault));
            assert!(families.count() > 0, "{name}");
        }
        assert!("n99".parse::<Family>().is_err());
    }
}

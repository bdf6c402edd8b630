//! `paycore cluster`: see how a cluster does, and change who keeps and leads its shards, while it works.
//!
//! Every command looks at the whole cluster, plans from what it sees, and takes one step after the other, each a change
//! that the cluster may be left at: who is killed in between is started again, and plans the rest. Nothing is kept here.

mod backup;
mod confirm;
mod door;
mod drive;
mod hook;
mod level;
mod offline;
mod plan;
mod replace;
mod roll;
mod show;
mod turn;
mod view;

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use jiff::Timestamp;

use super::invocation::{Invocation, block_on};
use crate::config::Topology;
use crate::exit::Failure;
use crate::output::duration;
use consensus::backup::Birth;
use door::Doors;
use drive::Operator;
use hook::Hook;
use roll::{Due, Roll};

/// How a cluster does, and who keeps and leads its shards
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command of this family.
#[derive(Clone, Debug, clap::Args)]
struct Around {
    /// The cluster's topology file; one node of it that answers is enough
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// How long the whole command may take
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10m")]
    timeout: Duration,
    /// With TLS: as which process of the topology it comes; nodes let nodes and gateways in
    #[arg(long = "as", value_name = "PROCESS", default_value = "gateway-1")]
    process: String,
}

/// Flags of commands that change something.
#[derive(Clone, Debug, clap::Args)]
struct Change {
    #[command(flatten)]
    around: Around,
    /// Do not ask before anything is changed
    #[arg(long)]
    yes: bool,
}

/// Flags of commands that restart nodes.
#[derive(Clone, Debug, clap::Args)]
struct Rolling {
    /// What restarts a node, run by this machine's shell, as `ssh {host} systemctl restart paycore-node@{node}`; {address} is
    /// known too. Without it the node is asked to end, and whoever watches over it (systemd, Kubernetes) starts it again
    #[arg(long, value_name = "COMMAND")]
    hook: Option<String>,
    /// How long a node may take to come back
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2m")]
    wait: Duration,
    #[command(flatten)]
    change: Change,
}

impl Rolling {
    fn roll(&self, nodes: &[u64], due: Due) -> Roll {
        let hook = self.hook.clone().map(Hook::new);
        Roll { nodes: nodes.to_vec(), hook, wait: self.wait, due }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show every node and every shard
    #[command(
        after_help = "Example:\n  paycore cluster status --topology cluster-config/dev-3.toml"
    )]
    Status {
        #[command(flatten)]
        around: Around,
    },
    /// Give a new node its share of the replicas; it runs already, with `paycore node --join`
    #[command(after_help = "Example:\n  paycore cluster add-node 4 127.0.0.1:7104 --yes")]
    AddNode {
        /// Its id, never used before
        #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
        /// Where it listens
        #[arg(value_name = "HOST:PORT")]
        address: String,
        #[command(flatten)]
        change: Change,
    },
    /// Move one shard's replica to another node
    #[command(after_help = "Example:\n  paycore cluster move-replica 0 1 4 --yes")]
    MoveReplica {
        /// The shard
        #[arg(value_name = "SHARD")]
        shard: u16,
        /// Who has it
        #[arg(value_name = "FROM", value_parser = clap::value_parser!(u64).range(1..))]
        from: u64,
        /// Who is to have it
        #[arg(value_name = "TO", value_parser = clap::value_parser!(u64).range(1..))]
        to: u64,
        #[command(flatten)]
        change: Change,
    },
    /// Let another node lead a shard
    #[command(after_help = "Example:\n  paycore cluster transfer-leader 0 2 --yes")]
    TransferLeader {
        /// The shard
        #[arg(value_name = "SHARD")]
        shard: u16,
        /// Who is to lead
        #[arg(value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
        #[command(flatten)]
        change: Change,
    },
    /// Spread the leaders, and on request the replicas, evenly over the nodes
    #[command(after_help = "Example:\n  paycore cluster rebalance --replicas --yes")]
    Rebalance {
        /// Move replicas too
        #[arg(long)]
        replicas: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Let nothing be led from a node, from now on and over restarts
    #[command(after_help = "Example:\n  paycore cluster drain 2 --yes")]
    Drain {
        /// The node
        #[arg(value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
        #[command(flatten)]
        change: Change,
    },
    /// Let a drained node lead again
    #[command(after_help = "Example:\n  paycore cluster undrain 2 --yes")]
    Undrain {
        /// The node
        #[arg(value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
        #[command(flatten)]
        change: Change,
    },
    /// Give everything that a dead node kept to a new one, which runs already with `paycore node --join`
    ///
    /// The dead node's id is retired for good: should it come back, it is not taken again.
    #[command(after_help = "Example:\n  paycore cluster replace-node 2 4 127.0.0.1:7104 --yes")]
    ReplaceNode {
        /// The node that died
        #[arg(value_name = "DEAD", value_parser = clap::value_parser!(u64).range(1..))]
        dead: u64,
        /// The id of the new one, never used before
        #[arg(value_name = "NEW", value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
        /// Where the new one listens
        #[arg(value_name = "HOST:PORT")]
        address: String,
        #[command(flatten)]
        change: Change,
    },
    /// Restart all nodes, one after the other, each when the others can do without it
    ///
    /// Each is drained, restarted, and drained no more when it is back and has caught up. A node that does not come back stops
    /// everything.
    #[command(after_help = "Example:\n  paycore cluster restart --hook ./restart-{node}.sh --yes")]
    Restart {
        /// These nodes alone
        #[arg(value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
        nodes: Vec<u64>,
        /// Leave alone who has started after this time: what an earlier command that was cut short has done
        #[arg(long, value_name = "TIME")]
        since: Option<Timestamp>,
        #[command(flatten)]
        rolling: Rolling,
    },
    /// Restart all nodes whose release does not know a feature level, one after the other, and raise the cluster to it
    ///
    /// Until the level is raised, `paycore cluster restart` with the old release in place is the way back.
    #[command(after_help = "Example:\n  paycore cluster upgrade 2 --stay --yes")]
    Upgrade {
        /// The level, which the new release knows
        #[arg(value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(1..))]
        level: u32,
        /// Do not raise the level yet
        #[arg(long)]
        stay: bool,
        #[command(flatten)]
        rolling: Rolling,
    },
    /// Raise the feature level, once every node's release knows it; there is no way back
    #[command(after_help = "Example:\n  paycore cluster raise-level 2 --yes")]
    RaiseLevel {
        /// The level
        #[arg(value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(1..))]
        level: u32,
        #[command(flatten)]
        change: Change,
    },
    /// Give a hold another deadline, counted from now
    #[cfg(next_level)]
    #[command(
        after_help = "Example:\n  paycore cluster extend-hold hold_019200000000700080000000deadb123 15m"
    )]
    ExtendHold {
        /// The hold
        #[arg(value_name = "HOLD")]
        hold: ledger::HoldId,
        /// How long it lasts from now on
        #[arg(value_name = "TIME", value_parser = duration)]
        time: Duration,
        /// Whose it is
        #[arg(long, value_name = "N", default_value_t = 0)]
        tenant: u32,
        #[command(flatten)]
        around: Around,
    },
    /// Move everything away from a node, so that it can be stopped for ever
    #[command(after_help = "Example:\n  paycore cluster remove-node 4 --yes")]
    RemoveNode {
        /// The node
        #[arg(value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
        #[command(flatten)]
        change: Change,
    },
    /// Write everything that the cluster knows into a folder, as of one moment, while money moves
    ///
    /// The folder must be empty, not there, or hold a backup that was never finished. What was written is read back and
    /// proven before it counts as a backup. Nobody is stopped; followers are read where there are any.
    #[command(
        after_help = "Example:\n  paycore cluster backup /backup/monday --topology cluster-config/dev-3.toml"
    )]
    Backup {
        /// The folder
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        #[command(flatten)]
        around: Around,
    },
    /// Check a backup without restoring it: every byte, every record, and whether the books add up; no cluster is needed
    #[command(after_help = "Example:\n  paycore cluster check-backup /backup/monday")]
    CheckBackup {
        /// The folder
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Make a node's data directory from a backup, before the first start of a new cluster of any size
    ///
    /// Once for each node of the topology, on its machine. The first time, without --birth, draws what the nodes of the new
    /// cluster have in common, and shows it; all others are given it. Nodes that were restored without it, or belong to
    /// the old cluster, are turned away.
    #[command(
        after_help = "Example:\n  paycore cluster restore /backup/monday --topology cluster-config/dev-1.toml --node 1 --data data/n1"
    )]
    Restore {
        /// The folder
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// The new cluster's topology file: as many shards as the backup has, any nodes
        #[arg(long, value_name = "FILE")]
        topology: Option<PathBuf>,
        /// Which of its nodes
        #[arg(long, value_name = "N")]
        node: u64,
        /// The node's data directory: empty, or not there
        #[arg(long, value_name = "DATA")]
        data: PathBuf,
        /// What the first node's restoration showed
        #[arg(long, value_name = "HEX", value_parser = offline::birth)]
        birth: Option<Birth>,
    },
}

impl Command {
    /// How it reaches the cluster; nothing, when it does without.
    fn around(&self) -> Option<&Around> {
        let around = match self {
            Self::CheckBackup { .. } | Self::Restore { .. } => return None,
            Self::Status { around } | Self::Backup { around, .. } => around,
            #[cfg(next_level)]
            Self::ExtendHold { around, .. } => around,
            Self::Restart { rolling, .. } | Self::Upgrade { rolling, .. } => &rolling.change.around,
            Self::AddNode { change, .. }
            | Self::MoveReplica { change, .. }
            | Self::TransferLeader { change, .. }
            | Self::Rebalance { change, .. }
            | Self::Drain { change, .. }
            | Self::Undrain { change, .. }
            | Self::ReplaceNode { change, .. }
            | Self::RaiseLevel { change, .. }
            | Self::RemoveNode { change, .. } => &change.around,
        };
        Some(around)
    }
}

/// Does what was asked for.
pub(super) fn run(args: &Args, invocation: &Invocation) -> Result<(), Failure> {
    let Some(around) = args.command.around() else { return offline(&args.command, invocation) };
    let Around { topology, timeout, process } = around;
    let topology = load(topology.as_ref(), invocation)?;
    let files = crate::config::tls::files(&topology, process, false)?;
    let identity = files.map(|files| files.read()).transpose()?;
    let doors = Doors::new(identity.map(|identity| identity.dialler()));
    let operator = Operator::new(topology.peers(), doors, invocation.screen, *timeout);
    block_on(dispatch(&args.command, operator, &topology.name))
}

fn load(topology: Option<&PathBuf>, invocation: &Invocation) -> Result<Topology, Failure> {
    let topology = topology.unwrap_or(&invocation.settings.cluster.topology);
    Topology::load(topology).map_err(|wrong| Failure::of_problems(&wrong))
}

/// What needs no cluster.
fn offline(command: &Command, invocation: &Invocation) -> Result<(), Failure> {
    match command {
        Command::CheckBackup { dir } => offline::check(dir, invocation),
        Command::Restore { dir, topology, node, data, birth } => {
            let topology = load(topology.as_ref(), invocation)?;
            let order = offline::Order { dir, node: *node, data, birth: *birth };
            offline::restore(&order, &topology, invocation)
        }
        Command::Status { .. }
        | Command::Backup { .. }
        | Command::AddNode { .. }
        | Command::MoveReplica { .. }
        | Command::TransferLeader { .. }
        | Command::Rebalance { .. }
        | Command::Drain { .. }
        | Command::Undrain { .. }
        | Command::ReplaceNode { .. }
        | Command::Restart { .. }
        | Command::Upgrade { .. }
        | Command::RaiseLevel { .. }
        | Command::RemoveNode { .. } => Err(Failure::internal("it needs a cluster")),
        #[cfg(next_level)]
        Command::ExtendHold { .. } => Err(Failure::internal("it needs a cluster")),
    }
}

async fn dispatch(command: &Command, mut operator: Operator, cluster: &str) -> Result<(), Failure> {
    match command {
        Command::Status { .. } => operator.status().await,
        Command::Backup { dir, .. } => operator.backup(dir, cluster).await,
        Command::CheckBackup { .. } | Command::Restore { .. } => {
            Err(Failure::internal("it needs no cluster"))
        }
        Command::AddNode { node, address, change } => {
            operator.add_node(*node, address, change.yes).await
        }
        Command::MoveReplica { shard, from, to, change } => {
            operator.move_replica(*shard, (*from, *to), change.yes).await
        }
        Command::TransferLeader { shard, node, change } => {
            operator.transfer_leader(*shard, *node, change.yes).await
        }
        Command::Rebalance { replicas, change } => operator.rebalance(*replicas, change.yes).await,
        Command::Drain { node, change } => operator.set_drained(*node, true, change.yes).await,
        Command::Undrain { node, change } => operator.set_drained(*node, false, change.yes).await,
        Command::ReplaceNode { dead, node, address, change } => {
            operator.replace_node(*dead, (*node, address), change.yes).await
        }
        Command::Restart { nodes, since, rolling } => {
            let due = Due::Since(since.unwrap_or_else(Timestamp::now));
            operator.restart(&rolling.roll(nodes, due), rolling.change.yes).await
        }
        Command::Upgrade { level, stay, rolling } => {
            let roll = rolling.roll(&[], Due::Below(*level));
            operator.upgrade((*level, *stay), &roll, rolling.change.yes).await
        }
        Command::RaiseLevel { level, change } => operator.raise_level(*level, change.yes).await,
        #[cfg(next_level)]
        Command::ExtendHold { hold, time, tenant, .. } => {
            operator.extend_hold(*hold, (*time, *tenant)).await
        }
        Command::RemoveNode { node, change } => operator.remove_node(*node, change.yes).await,
    }
}

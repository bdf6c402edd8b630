//! What a run will do: the flags, with what they leave open filled in.

use std::time::Duration;

use super::args::{Args, Door, KeyOrder, Store, Workload};
use super::chaos::Blow;
use super::gate::Gate;
use super::history::CALLS_MAX;
use crate::config::settings::Client;
use crate::exit;

/// How long a run makes requests when nothing is said.
const DURATION_DEFAULT: Duration = Duration::from_secs(30);

/// Bits that a seed of our own making leaves out: the rest is exact in every language that reads the summary.
const SEED_SPARE_BITS: u32 = 16;

/// A run's plan.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// What is done.
    pub(super) workload: Workload,
    /// Where.
    pub(super) target: Target,
    /// How many shards there are.
    pub(super) shards: u16,
    /// When requests end.
    pub(super) until: Until,
    /// How many accounts.
    pub(super) accounts: u32,
    /// Requests in one frame at the most.
    pub(super) batch: usize,
    /// How many connections.
    pub(super) connections: usize,
    /// How many frames or calls each keeps open.
    pub(super) inflight: usize,
    /// Requests a second; `None` for a closed loop.
    pub(super) rate: Option<u64>,
    /// How many of a hundred transfers pay the merchant.
    pub(super) hot: u8,
    /// How many of a hundred transfers pay another shard; `None` for as many as chance has it.
    pub(super) cross: Option<u8>,
    /// How requests are carried.
    pub(super) door: Door,
    /// What keys look like.
    pub(super) keys: KeyOrder,
    /// What goes wrong, in the order of time.
    pub(super) chaos: Vec<Blow>,
    /// What requests are made from.
    pub(super) seed: u64,
    /// How many calls may become a history; of more, only what the verdict needs is kept.
    pub(super) calls_max: u64,
}

/// Where the load goes.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// A cluster of the run's own.
    Spawn {
        /// How many nodes.
        nodes: u8,
        /// What they keep their checkpoints in.
        store: Store,
    },
    /// A cluster that is there.
    Cluster {
        /// One of its gateways.
        gate: Gate,
        /// Whether nobody else moves money there while the run goes on.
        is_alone: bool,
    },
}

/// When requests end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// After this long.
    Time(Duration),
    /// After so many.
    Count(u64),
}

impl Plan {
    /// Fills in what the flags leave open; the settings say how a cluster is reached that is there.
    ///
    /// # Errors
    /// When flags do not go together, or certificates cannot be read.
    pub(super) fn of(args: &Args, settings: &Client) -> Result<Self, exit::Failure> {
        let single = args.workload == Workload::TransferSingle;
        let door = args.door.unwrap_or(if single { Door::Unary } else { Door::Session });
        let one_each = single || door == Door::Unary;
        if one_each && args.batch.is_some_and(|batch| batch != 1) {
            return Err(exit::Failure::usage(
                "single requests are not sent in batches: leave --batch out",
            ));
        }
        let batch = args.batch.unwrap_or(if one_each { 1 } else { 8_192 });
        let connections = args.connections.unwrap_or(if single { 256 } else { 4 });
        let mut chaos = args.chaos.clone();
        chaos.sort_by_key(|blow| blow.at);
        let until =
            args.count.map_or(Until::Time(args.duration.unwrap_or(DURATION_DEFAULT)), Until::Count);
        let late = |length| chaos.iter().any(|blow| blow.at >= length);
        if matches!(until, Until::Time(length) if late(length)) {
            return Err(exit::Failure::usage("a fault after the end of the run would not happen"));
        }
        check_cross(args)?;
        Ok(Self {
            workload: args.workload,
            target: target(args, settings)?,
            shards: args.shards,
            until,
            accounts: args.accounts,
            batch: usize::from(batch),
            connections: usize::from(connections),
            inflight: usize::from(args.inflight),
            rate: args.rate,
            hot: if args.workload == Workload::TransferHot { args.hot } else { 0 },
            cross: args.cross,
            door,
            keys: args.keys,
            chaos,
            seed: args.seed.unwrap_or_else(|| rand::random::<u64>() >> SEED_SPARE_BITS),
            calls_max: CALLS_MAX,
        })
    }

    /// Whether requests begin on time, whatever became of earlier ones.
    pub(super) const fn is_open_loop(&self) -> bool {
        self.rate.is_some()
    }
}

/// There must be accounts to pay: in every shard two, or in two shards one each.
fn check_cross(args: &Args) -> Result<(), exit::Failure> {
    let Some(cross) = args.cross else { return Ok(()) };
    if cross > 0 && args.shards < 2 {
        return Err(exit::Failure::usage("with one shard, nobody pays another: say --shards"));
    }
    if args.accounts < u32::from(args.shards).saturating_mul(2) {
        return Err(exit::Failure::usage("--cross needs two accounts for each shard"));
    }
    Ok(())
}

fn target(args: &Args, settings: &Client) -> Result<Target, exit::Failure> {
    if args.cluster.is_none() {
        return Ok(Target::Spawn { nodes: args.spawn.unwrap_or(3), store: args.store });
    }
    let gate = Gate::of(settings).map_err(|why| exit::Failure::config(format!("{why:#}")))?;
    Ok(Target::Cluster { gate, is_alone: args.alone })
}

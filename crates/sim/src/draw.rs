//! What a seed draws: how large the cluster is, what is done in it, and what goes wrong.
//!
//! Written down, it is one line, and the line with its seed is the run: a test that keeps both means the same cluster, the
//! same work and the same kinds of harm, even after the draw has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::chance::Chance;
use crate::faults::Fault;
use crate::work::Work;

/// One seed in so many has all kinds of harm and all kinds of work.
const ALL_EVERY: u64 = 8;

/// The parameters of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Machines to begin with, 3 to 7.
    pub nodes: u64,
    /// Shards beside the meta group, 2 to 8.
    pub shards: u16,
    /// Replicas of each group, 3 or 5, and never more than there are nodes.
    pub replicas: u64,
    /// Clients that work at the same time.
    pub clients: u64,
    /// Gateways, 1 to 3, through which most clients go; with none, all clients go to the nodes themselves.
    pub gateways: u64,
    /// How long harm is done, in milliseconds of simulated time.
    pub harm_ms: u64,
    /// What the clients do, and how much of each for each other.
    pub work: BTreeMap<Work, u64>,
    /// What goes wrong.
    pub faults: BTreeSet<Fault>,
}

/// Why a line is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine(String);

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not the parameters of a run: {}", self.0)
    }
}

impl std::error::Error for BadLine {}

impl Draw {
    /// What a seed draws.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::of(seed, "draw");
        let mut apart = Chance::of(seed, "gateways");
        // Small clusters are drawn oftener: they cost less, and a fault is a larger part of them.
        let nodes = chance.pick(&[3, 3, 3, 4, 4, 5, 5, 6, 7]).unwrap_or(3);
        let shards = chance.pick(&[2, 2, 2, 3, 3, 4, 5, 8]).unwrap_or(2);
        let replicas = if nodes >= 5 && chance.happens(250) { 5 } else { 3 };
        let has_all = chance.below(ALL_EVERY) == 0;
        let share = chance.between(250, 750);
        // What was thought of later is drawn apart, so that seeds stay what they were.
        let (later, first): (Vec<Fault>, Vec<Fault>) =
            Fault::ALL.into_iter().partition(|fault| fault.is_drawn_apart());
        let drawn = first.iter().copied().filter(|_| has_all || chance.happens(share));
        let mut faults: BTreeSet<Fault> = drawn.collect();
        while faults.len() < FAULTS_MIN {
            faults.extend(chance.pick(&first));
        }
        faults.extend(later.into_iter().filter(|_| has_all || apart.happens(share)));
        let mut work: BTreeMap<Work, u64> = BTreeMap::new();
        for kind in Work::ALL {
            let is_on = has_all || kind == Work::Transfer || chance.happens(600);
            work.insert(kind, if is_on { chance.between(1, 6) } else { 0 });
        }
        let clients = chance.between(20, 40);
        // A group costs as much as it has replicas: large clusters are looked at for a shorter time.
        let cost =
            u64::from(shards).saturating_add(1).saturating_mul(replicas).saturating_add(nodes);
        let harm_ms = HARM_COST_MS.checked_div(cost).unwrap_or(0).clamp(HARM_MS_MIN, HARM_MS_MAX);
        let gateways = apart.between(1, GATEWAYS_MAX);
        Self { nodes, shards, replicas, clients, gateways, harm_ms, work, faults }
    }

    pub(crate) fn harm(&self) -> Duration {
        Duration::from_millis(self.harm_ms)
    }
}

/// Gateways of a run at the most.
const GATEWAYS_MAX: u64 = 3;

/// Kinds of harm that a run has at the least: it counts when three of them have bitten.
const FAULTS_MIN: usize = 6;

/// How long harm is done, times what a cluster costs; and the shortest and longest that it may be.
const HARM_COST_MS: u64 = 240_000;
const HARM_MS_MIN: u64 = 9_000;
const HARM_MS_MAX: u64 = 15_000;

impl fmt::Display for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, shards, replicas, clients, gateways, harm_ms, work, faults } = self;
        let work: Vec<_> = work.iter().map(|(kind, weight)| format!("{kind}:{weight}")).collect();
        let faults: Vec<_> = faults.iter().map(|fault| fault.name()).collect();
        write!(f, "nodes={nodes} shards={shards} replicas={replicas} clients={clients} ")?;
        if *gateways > 0 {
            write!(f, "gateways={gateways} ")?;
        }
        write!(f, "harm={harm_ms} work={} faults={}", work.join(","), faults.join(","))
    }
}

impl FromStr for Draw {
    type Err = BadLine;

    fn from_str(line: &str) -> Result<Self, BadLine> {
        let bad = || BadLine(line.to_owned());
        let fields: BTreeMap<&str, &str> =
            line.split_whitespace().filter_map(|field| field.split_once('=')).collect();
        let field = |name: &str| fields.get(name).copied().ok_or_else(bad);
        let number = |name: &str| field(name)?.parse::<u64>().map_err(|_| bad());
        let shards = u16::try_from(number("shards")?).map_err(|_| bad())?;
        let mut work = BTreeMap::new();
        for part in field("work")?.split(',').filter(|part| !part.is_empty()) {
            let (name, weight) = part.split_once(':').ok_or_else(bad)?;
            let kind = Work::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(bad)?;
            work.insert(kind, weight.parse().map_err(|_| bad())?);
        }
        let mut faults = BTreeSet::new();
        for name in field("faults")?.split(',').filter(|name| !name.is_empty()) {
            faults.insert(Fault::ALL.into_iter().find(|one| one.name() == name).ok_or_else(bad)?);
        }
        let (nodes, replicas) = (number("nodes")?, number("replicas")?);
        let is_sound = (3..=7).contains(&nodes) && (1..=nodes).contains(&replicas);
        if !is_sound || ledger::Shards::new(shards).is_none() {
            return Err(bad());
        }
        let (clients, harm_ms) = (number("clients")?, number("harm")?);
        // A line of before there were gateways means none.
        let gateways = if fields.contains_key("gateways") { number("gateways")? } else { 0 };
        if gateways > GATEWAYS_MAX {
            return Err(bad());
        }
        Ok(Self { nodes, shards, replicas, clients, gateways, harm_ms, work, faults })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_all_of_a_draw() {
        for seed in 1..=200 {
            let draw = Draw::of(seed);
            assert_eq!(draw.to_string().parse(), Ok(draw.clone()), "{draw}");
            assert!((3..=7).contains(&draw.nodes) && (2..=8).contains(&draw.shards), "{draw}");
            assert!(draw.replicas <= draw.nodes && draw.faults.len() >= FAULTS_MIN, "{draw}");
        }
        let line = "nodes=3 shards=2 replicas=3 clients=9 harm=9000 work= faults=kill";
        assert_eq!(line.parse::<Draw>().unwrap().gateways, 0);
        assert!(format!("{line} gateways=4").parse::<Draw>().is_err());
        for bad in ["", "nodes=3", "nodes=9 shards=2 replicas=3 clients=1 harm=1 work= faults="] {
            assert!(bad.parse::<Draw>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_kind_is_drawn() {
        let drawn: Vec<Draw> = (1..=200).map(Draw::of).collect();
        for fault in Fault::ALL {
            let with = drawn.iter().filter(|draw| draw.faults.contains(&fault)).count();
            assert!((40..=180).contains(&with), "{fault} in {with} of 200");
        }
        for nodes in 3..=7 {
            assert!(drawn.iter().any(|draw| draw.nodes == nodes), "{nodes} nodes");
        }
    }
}

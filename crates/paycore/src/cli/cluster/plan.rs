//! What is to be done, from what is seen: plain functions of a view, so that a plan that was cut short is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::door::Ask;
use super::view::{ShardView, View};

/// Entries that a learner may lack when it is made a voter. A leader sends as many in a moment.
const LAG_MAX: u64 = 256;

/// One thing to be brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A shard gets one replica more.
    Add { shard: u16, to: u64 },
    /// A replica moves.
    Move { shard: u16, from: u64, to: u64 },
    /// A replica is let go.
    Drop { shard: u16, from: u64 },
    /// Another node leads.
    Lead { shard: u16, node: u64 },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { shard, to } => write!(f, "shard {shard}: a replica on node {to}"),
            Self::Move { shard, from, to } => {
                write!(f, "shard {shard}: the replica of node {from} to node {to}")
            }
            Self::Drop { shard, from } => {
                write!(f, "shard {shard}: the replica of node {from} goes")
            }
            Self::Lead { shard, node } => write!(f, "shard {shard}: led by node {node}"),
        }
    }
}

impl Step {
    /// The shard that it is about.
    pub(super) const fn shard(self) -> u16 {
        match self {
            Self::Add { shard, .. }
            | Self::Move { shard, .. }
            | Self::Drop { shard, .. }
            | Self::Lead { shard, .. } => shard,
        }
    }
}

/// What to do next on the way to a step's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask this of the leader.
    Ask(Ask),
    /// Look again soon: a replica catches up, or a leader is elected.
    Wait,
    /// It is so.
    Done,
    /// Nobody may take the lead that has to be handed over.
    NoHeir,
}

/// What brings a step nearer to its end. Every state between is one that the shard may be left in.
pub(super) fn next(view: &View, step: Step) -> Next {
    let Some(shard) = view.shards.get(&step.shard()) else { return Next::Wait };
    if shard.leader.is_none() {
        return Next::Wait;
    }
    match step {
        Step::Lead { node, .. } if shard.leader == Some(node) => Next::Done,
        Step::Lead { node, .. } => Next::Ask(Ask::Lead(node)),
        Step::Add { to, .. } => towards(view, shard, Some(to), None),
        Step::Drop { from, .. } => towards(view, shard, None, Some(from)),
        Step::Move { from, to, .. } => towards(view, shard, Some(to), Some(from)),
    }
}

fn towards(view: &View, shard: &ShardView, add: Option<u64>, remove: Option<u64>) -> Next {
    if let Some(to) = add.filter(|to| !shard.has(*to)) {
        let address = view.nodes.get(&to).map(|seen| seen.address.clone()).unwrap_or_default();
        return Next::Ask(Ask::AddLearner(to, address));
    }
    let promoted = add.filter(|to| shard.learners.contains(to));
    let lags = |node: u64| shard.lag.get(&node).is_none_or(|lag| *lag > LAG_MAX);
    if promoted.is_some_and(lags) {
        return Next::Wait;
    }
    let demoted = remove.filter(|from| shard.voters.contains(from));
    if demoted.is_some() && demoted == shard.leader {
        let heirs = shard.voters.iter().filter(|node| Some(**node) != demoted);
        let heirs = heirs.filter(|node| view.may_lead(**node) && !lags(**node));
        return match (heirs.min_by_key(|node| view.leads(**node)), promoted) {
            (Some(heir), _) => Next::Ask(Ask::Lead(*heir)),
            // Only the newcomer can take over: it has to vote first.
            (None, Some(_)) => Next::Ask(Ask::Voters { add: promoted, remove: None }),
            (None, None) => Next::NoHeir,
        };
    }
    // What an earlier leader left half done is completed by any change.
    if promoted.is_some() || demoted.is_some() || (shard.is_changing && add.is_some()) {
        return Next::Ask(Ask::Voters { add: promoted.or(add), remove: demoted });
    }
    match remove.filter(|from| shard.learners.contains(from)) {
        Some(from) => Next::Ask(Ask::RemoveLearner(from)),
        None => Next::Done,
    }
}

/// Replicas spread evenly over these nodes, each shard having as many as it should: what changes.
pub(super) fn spread(view: &View, nodes: &BTreeSet<u64>) -> Vec<Step> {
    let mut voters: BTreeMap<u16, BTreeSet<u64>> =
        view.shards.iter().map(|(shard, at)| (*shard, at.voters.clone())).collect();
    let mut steps = Vec::new();
    let wanted = view.replication.min(nodes.len());
    for (shard, at) in &view.shards {
        while let Some(replicas) = voters.get(shard).filter(|now| now.len() < wanted) {
            let lacks = nodes.iter().filter(|node| !replicas.contains(node));
            // A learner that an earlier command left behind has most of it already.
            let best =
                lacks.min_by_key(|node| (!at.learners.contains(node), load(&voters, **node)));
            let Some(to) = best.copied() else { break };
            steps.push(Step::Add { shard: *shard, to });
            voters.entry(*shard).or_default().insert(to);
        }
    }
    while let Some(step) = evened(view, nodes, &voters) {
        if let Step::Move { shard, from, to } = step {
            let replicas = voters.entry(shard).or_default();
            replicas.remove(&from);
            replicas.insert(to);
        }
        steps.push(step);
    }
    for (shard, at) in &view.shards {
        let stays = |node: &u64| voters.get(shard).is_some_and(|now| now.contains(node));
        let left = at.learners.iter().filter(|node| !stays(node));
        steps.extend(left.map(|from| Step::Drop { shard: *shard, from: *from }));
    }
    steps
}

fn load(voters: &BTreeMap<u16, BTreeSet<u64>>, node: u64) -> usize {
    voters.values().filter(|voters| voters.contains(&node)).count()
}

/// One move from a node that has most to one that has least, if that makes them more even.
fn evened(
    view: &View,
    nodes: &BTreeSet<u64>,
    voters: &BTreeMap<u16, BTreeSet<u64>>,
) -> Option<Step> {
    let from = *nodes.iter().max_by_key(|node| load(voters, **node))?;
    let to = *nodes.iter().min_by_key(|node| load(voters, **node))?;
    if load(voters, from) <= load(voters, to).saturating_add(1) {
        return None;
    }
    let movable =
        voters.iter().filter(|(_, voters)| voters.contains(&from) && !voters.contains(&to));
    // First what is half done, and rather a follower than a leader.
    let (shard, _) = movable.min_by_key(|(shard, _)| {
        let at = view.shards.get(*shard);
        let is_begun = at.is_some_and(|at| at.learners.contains(&to));
        (!is_begun, at.is_some_and(|at| at.leader == Some(from)))
    })?;
    Some(Step::Move { shard: *shard, from, to })
}

/// Leaders spread evenly over the nodes that may lead: what changes.
pub(super) fn spread_leaders(view: &View) -> Vec<Step> {
    let nodes: Vec<u64> = view.members().into_iter().filter(|node| view.may_lead(*node)).collect();
    let mut leaders: BTreeMap<u16, u64> =
        view.shards.iter().filter_map(|(shard, at)| Some((*shard, at.leader?))).collect();
    let mut steps = Vec::new();
    loop {
        let count = |node: u64| leaders.values().filter(|leader| **leader == node).count();
        let gain = |shard: u16, to: u64| {
            let from = leaders.get(&shard).copied()?;
            let votes = view.shards.get(&shard).is_some_and(|at| at.voters.contains(&to));
            let gain = count(from).checked_sub(count(to).saturating_add(1))?;
            (votes && gain > 0).then_some(gain)
        };
        let moves = leaders.keys().flat_map(|shard| nodes.iter().map(|node| (*shard, *node)));
        let best = moves.filter_map(|(shard, to)| Some((gain(shard, to)?, shard, to))).max();
        let Some((_, shard, node)) = best else { return steps };
        leaders.insert(shard, node);
        steps.push(Step::Lead { shard, node });
    }
}

/// Everything away from a node, to an heir where there is one and he has no replica of the shard yet; or a shard that would
/// be left with too few replicas.
pub(super) fn without(view: &View, node: u64, heir: Option<u64>) -> Result<Vec<Step>, u16> {
    let others = view.members().into_iter().chain(heir);
    let others: BTreeSet<u64> =
        others.filter(|other| *other != node && view.is_up(*other)).collect();
    let mut voters: BTreeMap<u16, BTreeSet<u64>> =
        view.shards.iter().map(|(shard, at)| (*shard, at.voters.clone())).collect();
    let mut steps = Vec::new();
    for (shard, at) in view.shards.iter().filter(|(_, at)| at.has(node)) {
        let Some(replicas) = voters.get(shard).filter(|now| now.contains(&node)) else {
            steps.push(Step::Drop { shard: *shard, from: node });
            continue;
        };
        let enough = replicas.len() > view.replication;
        let lacks = others.iter().filter(|other| !replicas.contains(other));
        let best = lacks.min_by_key(|other| {
            (heir != Some(**other), !at.learners.contains(other), load(&voters, **other))
        });
        match best.copied() {
            _ if enough => steps.push(Step::Drop { shard: *shard, from: node }),
            Some(to) => {
                steps.push(Step::Move { shard: *shard, from: node, to });
                voters.entry(*shard).or_default().insert(to);
            }
            None => return Err(*shard),
        }
        voters.entry(*shard).or_default().remove(&node);
    }
    Ok(steps)
}

#[cfg(test)]
mod tests;

//! What a node whose turn it is to restart needs next: a plain function of what is seen.
//!
//! Invariant: a node is ended only while every shard of it has a majority of voters beside it that have caught up, and while
//! every other member of the cluster is up; so never two at once.

use wire::proto::cluster::NodeStatus;

use super::view::View;

/// Entries that a replica may lack and yet count as caught up: what a busy shard commits in a few round trips.
const LAG_MAX: u64 = 1_000;

/// What brings a node's restart nearer to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Let nothing be led from it.
    Drain,
    /// End its process.
    End,
    /// It is back: let it lead again.
    Undrain,
    /// Look again soon; for what.
    Wait(String),
    /// It is so.
    Done,
}

/// What comes next for a node that answers; `is_due` says that it has not been restarted yet.
pub(super) fn next(view: &View, status: &NodeStatus, is_due: bool) -> Turn {
    let node = status.node_id;
    if !is_due {
        return match lags(view, node) {
            Some(shard) => Turn::Wait(format!("node {node} catches up with shard {shard}")),
            None if status.is_restarting => Turn::Undrain,
            None => Turn::Done,
        };
    }
    if let Some(why) = needs(view, node) {
        return Turn::Wait(why);
    }
    if !status.is_restarting {
        return Turn::Drain;
    }
    if view.leads(node) > 0 {
        return Turn::Wait(format!("node {node} still leads"));
    }
    Turn::End
}

/// Why the cluster cannot do without a node now; nothing, when it can.
fn needs(view: &View, node: u64) -> Option<String> {
    if let Some(down) =
        view.members().into_iter().find(|other| *other != node && !view.is_up(*other))
    {
        return Some(format!("node {down} is down"));
    }
    for (shard, at) in &view.shards {
        if at.leader.is_none() {
            return Some(format!("shard {shard} has no leader"));
        }
        if at.is_changing {
            return Some(format!("the voters of shard {shard} are changing"));
        }
        let others = at.voters.iter().filter(|voter| **voter != node);
        let ready = others.filter(|voter| has_caught_up(view, *shard, **voter)).count();
        if at.voters.contains(&node) && ready <= at.voters.len() / 2 {
            return Some(format!("shard {shard} has no majority that has caught up without it"));
        }
    }
    None
}

/// A shard that could not do without one of its voters even if all others were well: its restart would be an outage.
pub(super) fn alone(view: &View, node: u64) -> Option<u16> {
    let is_alone = |voters: usize| voters.saturating_sub(1) <= voters / 2;
    let mut shards = view.shards.iter().filter(|(_, at)| at.voters.contains(&node));
    shards.find(|(_, at)| is_alone(at.voters.len())).map(|(shard, _)| *shard)
}

/// A shard of a node's with which it has not caught up.
fn lags(view: &View, node: u64) -> Option<u16> {
    if !view.is_up(node) {
        // What it keeps shows when it takes part.
        return view.shards.iter().find(|(_, at)| at.has(node)).map(|(shard, _)| *shard);
    }
    let mut shards = view.shards.iter().filter(|(_, at)| at.has(node));
    shards.find(|(shard, _)| !has_caught_up(view, **shard, node)).map(|(shard, _)| *shard)
}

/// Whether a replica follows its shard's present leader closely, as it says itself; the leader's own memory of it may be of
/// an earlier run.
fn has_caught_up(view: &View, shard: u16, node: u64) -> bool {
    let leader = view.shards.get(&shard).and_then(|at| at.leader);
    let Some(leader) = leader.filter(|_| view.is_up(node)) else { return false };
    let (Some(ahead), Some(own)) = (view.replica(shard, leader), view.replica(shard, node)) else {
        return false;
    };
    own.leader == leader
        && own.last_log_index.saturating_add(LAG_MAX) >= ahead.last_log_index
        && own.applied_index.saturating_add(LAG_MAX) >= ahead.committed_index
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wire::proto::cluster::{MemberState, ReplicaState, Role};

    use super::*;
    use crate::cli::cluster::view::Seen;

    /// Three nodes that keep one shard, which node 1 leads.
    fn cluster() -> BTreeMap<u64, Seen> {
        let member = |node_id| MemberState { node_id, is_voter: true, ..MemberState::default() };
        let replica = |node| ReplicaState {
            role: if node == 1 { Role::Leader } else { Role::Voter }.into(),
            term: 3,
            leader: 1,
            members: (1..=3).map(member).collect(),
            last_log_index: 5_000,
            committed_index: 5_000,
            applied_index: 5_000,
            ..ReplicaState::default()
        };
        let seen = |node| {
            let status = NodeStatus {
                node_id: node,
                is_started: true,
                replicas: vec![replica(node)],
                ..NodeStatus::default()
            };
            (node, Seen { address: format!("host-{node}:7100"), status: Some(status) })
        };
        (1..=3).map(seen).collect()
    }

    fn status(nodes: &mut BTreeMap<u64, Seen>, node: u64) -> &mut NodeStatus {
        nodes.get_mut(&node).unwrap().status.as_mut().unwrap()
    }

    fn turn(nodes: &BTreeMap<u64, Seen>, node: u64, is_due: bool) -> Turn {
        let view = View::of(nodes.clone());
        next(&view, view.status(node).unwrap(), is_due)
    }

    #[test]
    fn a_node_is_drained_ends_and_is_undrained_when_it_has_caught_up() {
        let mut nodes = cluster();
        assert_eq!(turn(&nodes, 2, true), Turn::Drain);
        status(&mut nodes, 2).is_restarting = true;
        assert_eq!(turn(&nodes, 2, true), Turn::End);
        let behind = status(&mut nodes, 2);
        behind.replicas[0].last_log_index = 3_000;
        assert!(matches!(turn(&nodes, 2, false), Turn::Wait(_)));
        let here = &mut status(&mut nodes, 2).replicas[0];
        (here.last_log_index, here.leader) = (4_900, 0);
        assert!(matches!(turn(&nodes, 2, false), Turn::Wait(_)), "it hears no leader yet");
        status(&mut nodes, 2).replicas[0].leader = 1;
        assert_eq!(turn(&nodes, 2, false), Turn::Undrain);
        status(&mut nodes, 2).is_restarting = false;
        assert_eq!(turn(&nodes, 2, false), Turn::Done);
        status(&mut nodes, 2).is_started = false;
        assert!(matches!(turn(&nodes, 2, false), Turn::Wait(_)), "it does not take part yet");
    }

    #[test]
    fn nobody_is_ended_whom_a_shard_needs() {
        let mut nodes = cluster();
        status(&mut nodes, 1).is_restarting = true;
        assert!(matches!(turn(&nodes, 1, true), Turn::Wait(_)), "it still leads");
        let mut nodes = cluster();
        status(&mut nodes, 2).is_restarting = true;
        status(&mut nodes, 3).replicas[0].applied_index = 0;
        assert!(matches!(turn(&nodes, 2, true), Turn::Wait(_)), "another one is behind");
        let mut nodes = cluster();
        status(&mut nodes, 2).is_restarting = true;
        nodes.get_mut(&3).unwrap().status = None;
        assert!(matches!(turn(&nodes, 2, true), Turn::Wait(_)), "another one is down");
        let mut nodes = cluster();
        status(&mut nodes, 1).replicas[0].role = Role::Voter.into();
        assert!(matches!(turn(&nodes, 2, true), Turn::Wait(_)), "nobody leads");
    }

    #[test]
    fn who_has_at_most_one_companion_is_alone() {
        let mut nodes = cluster();
        assert_eq!(alone(&View::of(nodes.clone()), 1), None);
        for node in 1..=3 {
            status(&mut nodes, node).replicas[0].members.truncate(2);
        }
        assert_eq!(alone(&View::of(nodes.clone()), 1), Some(0));
        assert_eq!(alone(&View::of(nodes), 3), None, "it has no vote");
    }
}

//! A cluster for a person, and for a program.

use std::fmt::Write as _;

use serde::Serialize;
use wire::proto::cluster::{NodeStatus, ReplicaState, Role};

use super::view::{Seen, View};
use crate::output::{Paint, Show};

/// Everything that the nodes said.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    nodes: Vec<NodeLine>,
    shards: Vec<ShardLine>,
}

#[derive(Debug, Serialize)]
struct NodeLine {
    node: u64,
    address: String,
    up: bool,
    drained: bool,
    restarting: bool,
    release: Option<String>,
    level: Option<u32>,
    level_max: Option<u32>,
    up_ms: Option<u64>,
    replicas: usize,
    leads: usize,
    clock_ms: Option<u64>,
    clock_alarm: Option<String>,
    disk: Option<String>,
    free_bytes: Option<u64>,
    total_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct ShardLine {
    shard: u16,
    /// It is the meta group.
    meta: bool,
    leader: Option<u64>,
    term: u64,
    changing: bool,
    replicas: Vec<ReplicaLine>,
}

#[derive(Debug, Serialize)]
struct ReplicaLine {
    node: u64,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    last_log_index: Option<u64>,
    committed_index: Option<u64>,
    applied_index: Option<u64>,
    checkpoint_index: Option<u64>,
    purged_index: Option<u64>,
    log_bytes: Option<u64>,
}

impl Status {
    pub(super) fn of(view: &View) -> Self {
        let nodes = view.nodes.iter().map(|(node, seen)| NodeLine::of(view, *node, seen));
        let shards = view.shards.keys().map(|shard| ShardLine::of(view, *shard));
        Self { nodes: nodes.collect(), shards: shards.collect() }
    }
}

impl NodeLine {
    fn of(view: &View, node: u64, seen: &Seen) -> Self {
        let status: Option<&NodeStatus> = seen.status.as_ref();
        let bytes = |bytes: fn(&NodeStatus) -> u64| status.map(bytes).filter(|bytes| *bytes > 0);
        let alarm = status.map(|status| status.clock_alarm.clone());
        let disk = status.map(|status| {
            status.disk.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
        });
        Self {
            node,
            address: seen.address.clone(),
            up: view.is_up(node),
            drained: status.is_some_and(|status| status.is_drained),
            restarting: status.is_some_and(|status| status.is_restarting),
            release: status.map(|status| status.release.clone()),
            level: status.map(|status| status.level),
            level_max: status.map(|status| status.level_max),
            up_ms: status.map(|status| status.up_ms),
            replicas: view.load(node),
            leads: view.leads(node),
            clock_ms: status.map(|status| status.clock_ms),
            clock_alarm: alarm.filter(|alarm| !alarm.is_empty()),
            disk,
            free_bytes: bytes(|status| status.free_bytes),
            total_bytes: bytes(|status| status.total_bytes),
        }
    }
}

impl ShardLine {
    fn of(view: &View, shard: u16) -> Self {
        let at = view.shards.get(&shard).cloned().unwrap_or_default();
        let members = at.voters.iter().chain(&at.learners);
        let replicas = members.map(|node| {
            let state = view.replica(shard, *node);
            let role = match state.map(ReplicaState::role) {
                _ if at.leader == Some(*node) => "leader",
                _ if at.voters.contains(node) => "voter",
                Some(Role::Leader | Role::Voter | Role::Learner | Role::Unspecified) | None => {
                    "learner"
                }
            };
            ReplicaLine {
                node: *node,
                role,
                lag: at.lag.get(node).copied(),
                last_log_index: state.map(|state| state.last_log_index),
                committed_index: state.map(|state| state.committed_index),
                applied_index: state.map(|state| state.applied_index),
                checkpoint_index: state.map(|state| state.checkpoint_index),
                purged_index: state.map(|state| state.purged_index),
                log_bytes: state.map(|state| state.log_bytes),
            }
        });
        Self {
            shard,
            meta: view.meta == Some(shard),
            leader: at.leader,
            term: at.term,
            changing: at.is_changing,
            replicas: replicas.collect(),
        }
    }
}

impl Show for Status {
    fn text(&self, paint: Paint) -> String {
        let heads = ["NODE", "ADDRESS", "STATE", "RELEASE", "LEVEL", "REPLICAS", "LEADS", "FREE"];
        let mut nodes = vec![row(heads)];
        for node in &self.nodes {
            nodes.push(vec![
                node.node.to_string(),
                node.address.clone(),
                state(node).to_owned(),
                node.release.clone().unwrap_or_else(|| "-".to_owned()),
                level(node),
                node.replicas.to_string(),
                node.leads.to_string(),
                free(node),
            ]);
        }
        let mut shards =
            vec![row(["SHARD", "NODE", "ROLE", "TERM", "LAG", "APPLIED", "LOG", "CHECKPOINT"])];
        for shard in &self.shards {
            shards.extend(shard.replicas.iter().map(|replica| {
                vec![
                    if shard.meta { "meta".to_owned() } else { shard.shard.to_string() },
                    replica.node.to_string(),
                    replica.role.to_owned(),
                    shard.term.to_string(),
                    number(replica.lag),
                    number(replica.applied_index),
                    number(replica.last_log_index),
                    number(replica.checkpoint_index),
                ]
            }));
        }
        let mut text = format!("{}\n\n{}", aligned(&nodes, paint), aligned(&shards, paint));
        if let Some(meta) = self.shards.iter().find(|shard| shard.meta) {
            let _ = write!(text, "\n\nmeta is shard {} to the other commands", meta.shard);
        }
        for shard in self.shards.iter().filter(|shard| shard.changing) {
            let _ = write!(text, "\nshard {}: a change of voters is not complete", shard.shard);
        }
        for node in &self.nodes {
            if let Some(alarm) = &node.clock_alarm {
                let _ = write!(text, "\n{} node {}: {alarm}", paint.warn("clock:"), node.node);
            }
        }
        text
    }
}

const fn state(node: &NodeLine) -> &'static str {
    match (node.up, node.drained, node.restarting) {
        (false, _, _) => "down",
        (true, _, true) => "restarting",
        (true, true, false) => "drained",
        (true, false, false) => "up",
    }
}

/// The level that is in force there, and the greatest that its release knows.
fn level(node: &NodeLine) -> String {
    match (node.level, node.level_max) {
        (Some(level), Some(level_max)) => format!("{level} of {level_max}"),
        (Some(_) | None, None) | (None, Some(_)) => "-".to_owned(),
    }
}

/// What is free, in gigabytes and as a part of all.
fn free(node: &NodeLine) -> String {
    let (Some(free), Some(total)) = (node.free_bytes, node.total_bytes) else {
        return "-".to_owned();
    };
    let percent = free.saturating_mul(100).checked_div(total).unwrap_or(0);
    format!("{} GiB ({percent} %)", free >> 30)
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(ToOwned::to_owned).to_vec()
}

/// Rows under their heads, two spaces between columns.
fn aligned(rows: &[Vec<String>], paint: Paint) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    let lines: Vec<String> = lines.collect();
    match lines.split_first() {
        Some((head, rest)) => {
            let rest = rest.iter().fold(String::new(), |text, line| text + "\n" + line);
            paint.bold(head) + &rest
        }
        None => String::new(),
    }
}

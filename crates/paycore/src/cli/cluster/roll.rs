//! Restarts nodes one after the other, while the others go on.
//!
//! A node is drained, ends, comes back, catches up, and may lead again before the next one's turn. All of that is seen on
//! the nodes themselves: when each began to run, and whether it is drained for a restart. So whoever is killed in between is
//! started again with the time at which he began, finds who is still to be restarted, and ends what was begun.

use std::time::{Duration, Instant, SystemTime};

use consensus::failpoint::Operation;
use jiff::Timestamp;
use wire::proto::cluster::NodeStatus;

use super::drive::{Operator, after};
use super::hook::Hook;
use super::plan;
use super::turn::{self, Turn};
use super::view::View;
use crate::exit::Failure;

/// Who is restarted, and how.
#[derive(Clone, Debug)]
pub(super) struct Roll {
    /// These nodes; all, when there are none.
    pub(super) nodes: Vec<u64>,
    /// What restarts a node; without it the node is asked to end.
    pub(super) hook: Option<Hook>,
    /// How long a node may take to come back.
    pub(super) wait: Duration,
    /// Why a node is due.
    pub(super) due: Due,
}

/// Why a node is due to be restarted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// It has run since before this.
    Since(Timestamp),
    /// Its release does not know this feature level.
    Below(u32),
}

/// A node's turn: what this command itself has done about it.
#[derive(Clone, Copy, Debug, Default)]
struct Begun {
    /// The run that was ended.
    ended: Option<u64>,
    /// When a node that is away must be back.
    back_by: Option<Instant>,
    /// When what may be wrong for good must have passed.
    perhaps_until: Option<Instant>,
}

impl Roll {
    fn is_due(&self, status: &NodeStatus, asked_at: SystemTime) -> bool {
        let is_meant = self.nodes.is_empty() || self.nodes.contains(&status.node_id);
        is_meant
            && match self.due {
                Due::Below(level) => status.level_max < level,
                Due::Since(since) => {
                    let up = Duration::from_millis(status.up_ms);
                    asked_at.checked_sub(up).is_none_or(|began| began < SystemTime::from(since))
                }
            }
    }
}

impl Operator {
    /// Restarts every node that is due.
    pub(super) async fn restart(&mut self, roll: &Roll, yes: bool) -> Result<(), Failure> {
        let steps = self.roll(roll, "restart these nodes, one after the other", yes).await?;
        self.finish(&steps)
    }

    /// The same, and gives what was done.
    pub(super) async fn roll(
        &mut self,
        roll: &Roll,
        what: &str,
        yes: bool,
    ) -> Result<Vec<String>, Failure> {
        let nodes = self.all_due(roll).await?;
        let mut done: Vec<String> =
            nodes.iter().map(|node| format!("restart node {node}")).collect();
        self.agree(&done, what, yes)?;
        if let (Due::Since(since), false) = (roll.due, nodes.is_empty()) {
            self.screen.say(format_args!("  should this be cut short, go on with --since {since}"));
        }
        Operation::CommandPlanned.reached();
        for (node, step) in nodes.iter().zip(&done) {
            let turn = self.take_turn(*node, roll).await;
            turn.map_err(|failure| resumable(failure, roll.due))?;
            Operation::CommandDone.reached();
            self.screen.say(format_args!("  done: {step}"));
        }
        if !nodes.is_empty() {
            // Whoever came last leads nothing.
            let leads = plan::spread_leaders(&self.led().await?);
            self.take_all(&leads).await?;
            done.extend(leads.iter().map(ToString::to_string));
        }
        Ok(done)
    }

    /// The nodes that are due or whose restart was not brought to its end, the latter first. Waits for those that are away.
    async fn all_due(&mut self, roll: &Roll) -> Result<Vec<u64>, Failure> {
        let back_by = after(roll.wait);
        let (view, asked_at) = loop {
            let asked_at = SystemTime::now();
            let view = self.look_around().await?;
            // Who answers and does not take part yet does not know yet what it was drained for.
            let away = view.members().into_iter().find(|node| !view.is_up(*node));
            match away {
                None => break (view, asked_at),
                Some(node) if Instant::now() >= back_by => return Err(not_back(node)),
                Some(node) => self.pause(&format!("node {node} is down")).await?,
            }
        };
        if let Some(stranger) = roll.nodes.iter().find(|node| view.status(**node).is_none()) {
            let what = format!("node {stranger} does not answer");
            return Err(Failure::coded("NODE_UNREACHABLE", what));
        }
        let answer =
            view.nodes.iter().filter_map(|(node, seen)| Some((*node, seen.status.as_ref()?)));
        let due = answer.filter(|(_, status)| {
            // A restart that was begun is ended, whoever is meant.
            status.is_restarting || roll.is_due(status, asked_at)
        });
        let mut due: Vec<(bool, u64)> =
            due.map(|(node, status)| (!status.is_restarting, node)).collect();
        due.sort_unstable();
        let nodes: Vec<u64> = due.into_iter().map(|(_, node)| node).collect();
        can_do_without(&view, &nodes)?;
        Ok(nodes)
    }

    /// Brings one node's restart to its end.
    async fn take_turn(&mut self, node: u64, roll: &Roll) -> Result<(), Failure> {
        let mut begun = Begun::default();
        loop {
            self.in_time(&format!("restart node {node}"))?;
            let asked_at = SystemTime::now();
            let view = self.look_around().await?;
            let status = view.status(node).filter(|status| begun.ended != Some(status.run));
            let Some(status) = status else {
                self.await_back(node, roll, &mut begun).await?;
                continue;
            };
            begun.back_by = None;
            let is_due = roll.is_due(status, asked_at);
            if let (Due::Below(level), true, Some(_)) = (roll.due, is_due, begun.ended) {
                let what = format!("node {node} is back, and knows no feature level {level}");
                return Err(Failure::coded("LEVEL_NOT_READY", what)
                    .with_hint("see that its next start is of the next release"));
            }
            match turn::next(&view, status, is_due && begun.ended.is_none()) {
                Turn::Done => return Ok(()),
                Turn::Wait(why) => self.pause(&why).await?,
                turn @ (Turn::Drain | Turn::End | Turn::Undrain) => {
                    self.do_turn(&view, (node, turn), roll, &mut begun).await?;
                }
            }
        }
    }

    /// Waits for a node that is away, as long as it may be.
    async fn await_back(&self, node: u64, roll: &Roll, begun: &mut Begun) -> Result<(), Failure> {
        if Instant::now() >= *begun.back_by.get_or_insert_with(|| after(roll.wait)) {
            return Err(not_back(node));
        }
        self.pause(&format!("node {node} comes back")).await
    }

    async fn do_turn(
        &self,
        view: &View,
        (node, turn): (u64, Turn),
        roll: &Roll,
        begun: &mut Begun,
    ) -> Result<(), Failure> {
        let Some(seen) = view.nodes.get(&node) else { return Ok(()) };
        let run = seen.status.as_ref().map_or(0, |status| status.run);
        let address = &seen.address;
        let (what, done) = match turn {
            Turn::Drain => ("drain", self.doors.set_restarting(address, true).await.map(drop)),
            Turn::Undrain => ("undrain", self.doors.set_restarting(address, false).await.map(drop)),
            Turn::End => {
                begun.back_by = Some(after(roll.wait));
                let ended = match &roll.hook {
                    Some(hook) => hook.run(node, address, after(roll.wait)).await,
                    None => self.doors.restart(address, run).await.map(drop),
                };
                if ended.is_ok() {
                    begun.ended = Some(run);
                }
                ("restart", ended)
            }
            Turn::Wait(_) | Turn::Done => return Ok(()),
        };
        Operation::CommandAnswered.reached();
        match done {
            Ok(()) => {
                begun.perhaps_until = None;
                Ok(())
            }
            Err(failure) => {
                let step = format!("{what} node {node}");
                self.later(&step, failure, &mut begun.perhaps_until).await
            }
        }
    }
}

/// Says how to go on after a failure.
fn resumable(failure: Failure, due: Due) -> Failure {
    match due {
        Due::Since(since) => {
            let hint = failure.hint().map(|hint| format!("{hint} ")).unwrap_or_default();
            failure.with_hint(format!("{hint}Go on with --since {since}"))
        }
        Due::Below(_) => failure,
    }
}

/// Whether the cluster is large enough for these restarts.
fn can_do_without(view: &View, nodes: &[u64]) -> Result<(), Failure> {
    let alone = nodes.iter().find_map(|node| Some((*node, turn::alone(view, *node)?)));
    let Some((node, shard)) = alone else { return Ok(()) };
    let what = format!("shard {shard} cannot do without node {node}: it has fewer than 3 replicas");
    Err(Failure::coded("QUORUM_AT_RISK", what).with_hint(
        "add nodes first, or stop and start the node yourself: the shard is away meanwhile",
    ))
}

fn not_back(node: u64) -> Failure {
    Failure::coded("NODE_NOT_BACK", format!("node {node} has not come back"))
}

//! Takes the steps of a plan, one after the other, each until it is seen to be done.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, Instant};

use consensus::failpoint::Operation;
use serde::Serialize;

use super::confirm::confirm;
use super::door::{Ask, Doors};
use super::plan::{self, Next, Step};
use super::show::Status;
use super::view::View;
use crate::exit::Failure;
use crate::output::{Paint, Screen, Show};

/// Between two looks at the cluster while something is under way.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Codes that say "not now": the next look may find what is in the way gone.
const NOT_NOW: [&str; 5] =
    ["NO_LEADER", "CHANGE_UNDER_WAY", "REPLICA_BEHIND", "OUTCOME_UNKNOWN", "NODE_MUST_NOT_LEAD"];

/// Codes that say "not now" of what may also be wrong for good: connections between busy nodes break and come back.
const PERHAPS_LATER: [&str; 4] =
    ["NODE_UNREACHABLE", "QUORUM_AT_RISK", "NO_HEIR", "LEVEL_NOT_READY"];

/// How long such a thing is waited for within one step.
pub(super) const PERHAPS_MAX: Duration = Duration::from_secs(20);

/// How long no node at all may answer: one that has just been started, or a network that breaks and comes back.
const NOBODY_MAX: Duration = Duration::from_secs(5);

/// Who carries plans out.
pub(super) struct Operator {
    known: BTreeMap<u64, String>,
    pub(super) doors: Doors,
    pub(super) screen: Screen,
    until: Instant,
}

/// What a command came to.
#[derive(Debug, Serialize)]
struct Done {
    steps: Vec<String>,
}

impl Show for Done {
    fn text(&self, paint: Paint) -> String {
        match self.steps.len() {
            0 => paint.good("it is so already"),
            1 => format!("{} 1 step", paint.good("done:")),
            steps => format!("{} {steps} steps", paint.good("done:")),
        }
    }
}

impl Operator {
    /// An operator who knows these nodes, and has so much time.
    pub(super) fn new(
        known: BTreeMap<u64, String>,
        doors: Doors,
        screen: Screen,
        timeout: Duration,
    ) -> Self {
        Self { known, doors, screen, until: after(timeout) }
    }

    /// Shows the cluster.
    pub(super) async fn status(&self) -> Result<(), Failure> {
        self.screen.show(&Status::of(&somebody(self.gather().await)?))
    }

    /// Gives a node its share.
    pub(super) async fn add_node(
        &mut self,
        node: u64,
        address: &str,
        yes: bool,
    ) -> Result<(), Failure> {
        self.meet(node, address).await?;
        let view = self.look().await?;
        let mut nodes = view.members();
        nodes.retain(|member| view.is_up(*member));
        nodes.insert(node);
        let steps = plan::spread(&view, &nodes);
        self.agree(&steps, &format!("add node {node}"), yes)?;
        self.take(steps).await
    }

    /// Makes the acquaintance of a node that is to get something. Its process may have been started just now.
    pub(super) async fn meet(&mut self, node: u64, address: &str) -> Result<(), Failure> {
        self.known.insert(node, address.to_owned());
        let until = after(PERHAPS_MAX.min(self.left()));
        loop {
            match self.doors.look(address).await {
                None if Instant::now() < until => tokio::time::sleep(LOOK_EVERY).await,
                None => {
                    let what = format!("node {node} does not answer at {address}");
                    return Err(Failure::coded("NODE_UNREACHABLE", what)
                        .with_hint("start it with `paycore node --join` first"));
                }
                Some(status) if status.node_id != node => {
                    let what = format!("at {address} is node {}", status.node_id);
                    return Err(Failure::coded("NODE_MISMATCH", what));
                }
                Some(_) => return Ok(()),
            }
        }
    }

    /// Moves one replica.
    pub(super) async fn move_replica(
        &mut self,
        shard: u16,
        (from, to): (u64, u64),
        yes: bool,
    ) -> Result<(), Failure> {
        let view = self.look().await?;
        let Some(at) = view.shards.get(&shard) else {
            return Err(Failure::usage(format!("there is no shard {shard}")));
        };
        if from == to || !view.is_up(to) {
            let what = format!("node {to} does not answer, or has the replica itself");
            return Err(Failure::coded("NODE_UNREACHABLE", what));
        }
        // What is left of a move that was cut short: the old replica has gone, the new one votes.
        let is_moved = !at.has(from) && at.voters.contains(&to);
        if !at.has(from) && !is_moved {
            let what = format!("node {from} has no replica of shard {shard}");
            return Err(Failure::coded("REPLICA_ROLE", what));
        }
        let steps = if is_moved { Vec::new() } else { vec![Step::Move { shard, from, to }] };
        self.agree(&steps, "move a replica", yes)?;
        self.take(steps).await
    }

    /// Lets a node lead.
    pub(super) async fn transfer_leader(
        &mut self,
        shard: u16,
        node: u64,
        yes: bool,
    ) -> Result<(), Failure> {
        let view = self.look().await?;
        let Some(at) = view.shards.get(&shard) else {
            return Err(Failure::usage(format!("there is no shard {shard}")));
        };
        if !at.voters.contains(&node) {
            let what = format!("node {node} does not vote in shard {shard}");
            return Err(Failure::coded("REPLICA_ROLE", what));
        }
        if !view.may_lead(node) {
            let what = format!("node {node} does not answer, or is drained");
            return Err(Failure::coded("NODE_MUST_NOT_LEAD", what));
        }
        let is_so = at.leader == Some(node);
        let steps = if is_so { Vec::new() } else { vec![Step::Lead { shard, node }] };
        self.agree(&steps, "let another node lead", yes)?;
        self.take(steps).await
    }

    /// Spreads leaders, and perhaps replicas.
    pub(super) async fn rebalance(&mut self, replicas: bool, yes: bool) -> Result<(), Failure> {
        let view = self.look().await?;
        let mut done = Vec::new();
        if replicas {
            let mut nodes = view.members();
            nodes.retain(|member| view.is_up(*member));
            done = plan::spread(&view, &nodes);
            self.agree(&done, "move replicas and leaders", yes)?;
            self.take_all(&done).await?;
        }
        // Where the leaders are after that is seen, not guessed.
        let leads = plan::spread_leaders(&self.led().await?);
        self.agree(&leads, "move leaders", yes || replicas)?;
        self.take_all(&leads).await?;
        done.extend(leads);
        self.finish(&done)
    }

    /// Drains a node, or ends that.
    pub(super) async fn set_drained(
        &mut self,
        node: u64,
        is_drained: bool,
        yes: bool,
    ) -> Result<(), Failure> {
        let view = self.look().await?;
        let address = view.nodes.get(&node).map(|seen| seen.address.clone());
        let address = address.filter(|_| view.is_up(node)).ok_or_else(|| {
            Failure::coded("NODE_UNREACHABLE", format!("node {node} does not answer"))
        })?;
        let what = if is_drained { "drain" } else { "undrain" };
        confirm(&self.screen, &format!("{what} node {node}"), &node.to_string(), yes)?;
        Operation::CommandPlanned.reached();
        let is_new = self.doors.set_drained(&address, is_drained).await?;
        Operation::CommandAnswered.reached();
        while is_drained && self.look().await?.leads(node) > 0 {
            self.pause("the node still leads").await?;
        }
        let steps = if is_new { vec![format!("{what} node {node}")] } else { Vec::new() };
        self.screen.show(&Done { steps })
    }

    /// Moves everything away from a node.
    pub(super) async fn remove_node(&mut self, node: u64, yes: bool) -> Result<(), Failure> {
        let view = self.look().await?;
        let steps = plan::without(&view, node, None);
        let steps = steps.map_err(|shard| too_few(&view, shard, node))?;
        self.agree(&steps, &format!("remove node {node}"), yes)?;
        self.take_all(&steps).await?;
        self.retire(node).await?;
        self.finish(&steps)
    }

    /// Has the directory say that a node has left, so that nobody looks for it any more. The shards' leaders report first
    /// that it keeps nothing.
    pub(super) async fn retire(&self, node: u64) -> Result<(), Failure> {
        loop {
            let view = self.look().await?;
            let others = view.nodes.iter().filter(|(other, _)| **other != node);
            let up = others.filter(|(other, _)| view.is_up(**other)).map(|(_, seen)| &seen.address);
            for address in up {
                if self.doors.retire(address, node).await.is_ok() {
                    return Ok(());
                }
            }
            self.pause("the directory still says that the node keeps something").await?;
        }
    }

    /// The cluster as it is now, learning of nodes that others name.
    pub(super) async fn look(&self) -> Result<View, Failure> {
        let until = after(NOBODY_MAX.min(self.left()));
        loop {
            match somebody(self.gather().await) {
                Err(_) if Instant::now() < until => tokio::time::sleep(LOOK_EVERY).await,
                looked => return looked,
            }
        }
    }

    async fn gather(&self) -> View {
        View::gather(&self.known, &self.doors).await
    }

    /// The same, and remembers whom the nodes name now: they may be all that is left when the others have gone.
    pub(super) async fn look_around(&mut self) -> Result<View, Failure> {
        let view = self.look().await?;
        for (node, seen) in &view.nodes {
            self.known.entry(*node).or_insert_with(|| seen.address.clone());
        }
        Ok(view)
    }

    /// The same, once every shard has a leader.
    pub(super) async fn led(&self) -> Result<View, Failure> {
        loop {
            let view = self.look().await?;
            if view.shards.values().all(|shard| shard.leader.is_some()) {
                return Ok(view);
            }
            self.pause("a shard has no leader").await?;
        }
    }

    /// Shows a plan, and asks whether to go on.
    pub(super) fn agree(
        &self,
        steps: &[impl Display],
        what: &str,
        yes: bool,
    ) -> Result<(), Failure> {
        if steps.is_empty() {
            return Ok(());
        }
        for (number, step) in (1_usize..).zip(steps) {
            self.screen.say(format_args!("{number:>3}. {step}"));
        }
        confirm(&self.screen, what, "yes", yes)
    }

    async fn take(&mut self, steps: Vec<Step>) -> Result<(), Failure> {
        self.take_all(&steps).await?;
        self.finish(&steps)
    }

    pub(super) fn finish(&self, steps: &[impl Display]) -> Result<(), Failure> {
        self.screen.show(&Done { steps: steps.iter().map(ToString::to_string).collect() })
    }

    pub(super) async fn take_all(&mut self, steps: &[Step]) -> Result<(), Failure> {
        Operation::CommandPlanned.reached();
        for step in steps {
            self.complete(*step).await?;
            Operation::CommandDone.reached();
            self.screen.say(format_args!("  done: {step}"));
        }
        Ok(())
    }

    /// Brings a step to its end: looks, does the next thing, and looks again.
    async fn complete(&mut self, step: Step) -> Result<(), Failure> {
        let mut perhaps_until = None;
        loop {
            // Whatever the nodes answer: this ends.
            self.in_time(&step.to_string())?;
            let view = self.look_around().await?;
            match plan::next(&view, step) {
                Next::Done => return Ok(()),
                Next::Wait => self.pause(&step.to_string()).await?,
                Next::NoHeir => {
                    let what = format!("{step}: nobody else may lead");
                    return Err(Failure::coded("NO_HEIR", what));
                }
                Next::Ask(ask) => self.ask(&view, step, &ask, &mut perhaps_until).await?,
            }
        }
    }

    async fn ask(
        &self,
        view: &View,
        step: Step,
        ask: &Ask,
        perhaps_until: &mut Option<Instant>,
    ) -> Result<(), Failure> {
        let leader = view.shards.get(&step.shard()).and_then(|shard| shard.leader);
        let seen = leader.and_then(|leader| view.nodes.get(&leader));
        let Some(seen) = seen else { return self.pause("a shard has no leader").await };
        let answered = self.doors.change(&seen.address, step.shard(), ask).await;
        Operation::CommandAnswered.reached();
        let Err(failure) = answered else {
            *perhaps_until = None;
            return Ok(());
        };
        self.later(&step, failure, perhaps_until).await
    }

    /// Waits a little after a "not now", and after what may be wrong for good only for a while.
    pub(super) async fn later(
        &self,
        step: &impl Display,
        failure: Failure,
        perhaps_until: &mut Option<Instant>,
    ) -> Result<(), Failure> {
        let is_one_of = |codes: &[&str]| failure.code().is_some_and(|code| codes.contains(&code));
        let is_later = is_one_of(&PERHAPS_LATER)
            && *perhaps_until.get_or_insert(after(PERHAPS_MAX)) > Instant::now();
        let what = format!("{step}: {}", failure.message());
        if is_later || is_one_of(&NOT_NOW) {
            return self.pause(&what).await;
        }
        Err(failure.saying(what))
    }

    /// Waits a little; when there is no time left, what for is said.
    pub(super) async fn pause(&self, what: &str) -> Result<(), Failure> {
        self.in_time(what)?;
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }

    /// How much time there is left.
    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Whether there is time left; when there is none, what for is said.
    pub(super) fn in_time(&self, what: &str) -> Result<(), Failure> {
        if Instant::now() < self.until {
            return Ok(());
        }
        let what = format!("not done in time: {what}");
        Err(Failure::coded("OUTCOME_UNKNOWN", what)
            .with_hint("give the command again: it goes on where it stopped"))
    }
}

/// What somebody has said; nobody may have.
fn somebody(view: View) -> Result<View, Failure> {
    if view.shards.is_empty() {
        return Err(Failure::coded("NODE_UNREACHABLE", "no node of the topology answers")
            .with_hint("is it running? --topology names another cluster"));
    }
    Ok(view)
}

/// The moment after so long.
pub(super) fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

/// A shard would have too few replicas without a node.
pub(super) fn too_few(view: &View, shard: u16, node: u64) -> Failure {
    let what = format!(
        "shard {shard} would have fewer than {} replicas without node {node}",
        view.replication
    );
    Failure::coded("REPLICATION_AT_RISK", what)
}

//! Every operation of a cluster, with a process that dies at every step of it while money moves.
//!
//! Needs a build of the binary that has failpoints: `make failpoints` makes it and runs this.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod support;

#[path = "failpoints/bank.rs"]
#[allow(dead_code, reason = "this test uses a part of it")]
mod bank;
#[path = "cluster_failpoints/cases.rs"]
mod cases;
#[path = "cluster_failpoints/load.rs"]
mod load;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Instant;

use consensus::failpoint::Operation as Step;
use rustix::process::Signal;
use serde_json::Value;

use bank::Bank;
use cases::{Case, Deed, Victim};
use load::Load;
use support::{Cluster, PATIENCE, until};

/// Two, so that money crosses from one to the other.
/// The meta group's number comes after theirs.
const SHARDS: u16 = 2;

/// Replicas of each.
const REPLICAS: usize = 3;

/// The nodes that stay: one more than a shard has replicas.
const RESIDENTS: u64 = 4;

/// Elections in half of the usual time, because the test waits for many; and checkpoints as soon as there is anything to
/// keep, so that whoever is new gets a snapshot.
const QUICK: &str = "\n[consensus]\nheartbeat_ms = 100\nelection_min_ms = 800\nelection_max_ms = 1000\n\
     [store]\ncheckpoint_log_bytes = 131072\n";

#[test]
fn whoever_dies_between_two_steps_of_an_operation_it_can_be_finished_and_nothing_is_lost() {
    let Some(program) = std::env::var_os("PAYCORE_PLANTED") else {
        eprintln!("skipped: set PAYCORE_PLANTED to a binary built with --cfg planted");
        return;
    };
    let only = std::env::var("PAYCORE_PLANTED_CASE").unwrap_or_default();
    let began = Instant::now();
    let mut scene = Scene::open(&std::fs::canonicalize(program).unwrap());
    for (number, case) in cases::all().into_iter().enumerate() {
        let name = case.to_string();
        if name.contains(&only) {
            let at = began.elapsed().as_secs();
            eprintln!("{at:>3} s case {number}: PAYCORE_PLANTED_CASE='{name}' repeats it alone");
            scene.play(number, case);
        }
    }
    scene.close();
}

#[test]
fn no_step_is_left_out() {
    let played: BTreeSet<Step> = cases::all().into_iter().map(|case| case.step).collect();
    assert_eq!(played, Step::ALL.iter().copied().collect());
}

/// What a case is about.
struct Plot {
    /// What the operator says.
    words: String,
    /// The file that says who is to die.
    order: PathBuf,
    /// The shard, where there is one.
    shard: u16,
    /// Who is to have, or to lead, or to be drained.
    node: u64,
    /// Who is to have it no more.
    from: Option<u64>,
    /// How many shards the node has a replica of.
    kept: usize,
}

/// One cluster for all cases.
struct Scene {
    cluster: Cluster,
    bank: Bank,
    load: Load,
    /// The node that was added last and not removed.
    guest: Option<u64>,
    /// How many were.
    guests: u64,
}

impl Scene {
    fn open(program: &Path) -> Self {
        let mut cluster = Cluster::start_program(program, "dev-3.toml", SHARDS, QUICK);
        // Whoever makes a shard's group must have read its topology before that names one more.
        for shard in 0..=SHARDS {
            cluster.leader_of(shard.into());
        }
        cluster.join_node(RESIDENTS);
        let mut bank = Bank::open(&cluster.endpoint, SHARDS);
        let load = Load::begin(&mut bank, &cluster.endpoint, SHARDS);
        Self { cluster, bank, load, guest: None, guests: 0 }
    }

    fn play(&mut self, number: usize, case: Case) {
        let mut plot = self.plot(number, case);
        std::fs::write(&plot.order, "").unwrap();
        if case.deed == Deed::Start {
            self.cluster.start_node(plot.node);
            self.somebody_dies(number, &plot);
        } else {
            let mut command = self.spawn(&plot.words);
            while case.needs_snapshot() && self.is_passed_by(&plot, &mut command) {
                std::fs::remove_file(&plot.order).unwrap();
                self.let_another_lead();
                plot = self.plot(number, case);
                std::fs::write(&plot.order, "").unwrap();
                command = self.spawn(&plot.words);
            }
            if !case.is_commands() {
                self.somebody_dies(number, &plot);
            }
            // Whatever it says when a node has died under its hands, it is given again.
            self.cluster.supervise(|| command.try_wait().unwrap().is_none());
            let status = command.wait_with_output().unwrap().status;
            if case.is_commands() {
                assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
                assert!(!plot.order.exists(), "the command died of something else");
            }
        }
        if case.deed != Deed::Lead {
            self.finish(&plot.words);
        }
        self.check(case, &plot);
    }

    /// Whether a node was added and nobody died: it got a replica of the meta group, whose log is still whole, and no
    /// snapshot. So it is when whoever has most to give leads every shard, and gives rather what it does not lead.
    fn is_passed_by(&self, plot: &Plot, command: &mut Child) -> bool {
        until("somebody dies, or the node is added", || {
            let ended = command.try_wait().unwrap();
            // Whoever dies takes the order with it; in this order, who has died before the command ended is seen now.
            if !plot.order.exists() {
                return Some(false);
            }
            match ended {
                Some(status) if status.success() => Some(true),
                Some(_) => {
                    *command = self.spawn(&plot.words);
                    None
                }
                None => None,
            }
        })
    }

    /// Another node leads a shard than now.
    fn let_another_lead(&mut self) {
        let leader = self.cluster.leader_of(0);
        let placement = self.placement();
        let heir = placement[&0].iter().find(|node| **node != leader).unwrap();
        self.say(&format!("transfer-leader 0 {heir}"));
    }

    /// Waits for a node's death at the step, and starts it again: in every other case, before anybody has taken over.
    fn somebody_dies(&mut self, number: usize, plot: &Plot) {
        let (dead, status) = until("the step is reached", || self.cluster.ended());
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "node {dead}: {status}");
        assert!(!plot.order.exists(), "node {dead} died of something else");
        if number.is_multiple_of(2) {
            for shard in 0..=SHARDS {
                self.cluster.leader_of(shard.into());
            }
        }
        self.cluster.start_node(dead);
    }

    /// Prepares what a case needs.
    fn plot(&mut self, number: usize, case: Case) -> Plot {
        self.welcome(case.deed);
        let shard = u16::try_from(number).unwrap() % SHARDS;
        let placement = self.placement();
        let (leader, on) = (self.cluster.leader_of(shard.into()), &placement[&shard]);
        let followers: Vec<u64> = on.iter().copied().filter(|node| *node != leader).collect();
        let follower = followers[number / 2 % followers.len()];
        let (words, node, from) = match case.deed {
            Deed::Move => {
                let to = (1..=RESIDENTS).find(|node| !on.contains(node)).unwrap();
                // In every fourth case the lead has to be handed over first; not where the leader itself is to die.
                let is_leaders = number % 4 == 3 && case.victim == Victim::Anybody;
                let from = if is_leaders { leader } else { follower };
                (format!("move-replica {shard} {from} {to}"), to, Some(from))
            }
            Deed::Add | Deed::Start => {
                self.guests += 1;
                let guest = RESIDENTS + self.guests;
                let is_to_start = case.deed == Deed::Start;
                let address = if is_to_start {
                    self.cluster.name_node(guest)
                } else {
                    self.cluster.join_node(guest)
                };
                self.guest = Some(guest);
                (format!("add-node {guest} {address}"), guest, None)
            }
            Deed::Remove => {
                let guest = self.guest.take().unwrap();
                (format!("remove-node {guest}"), guest, Some(guest))
            }
            Deed::Lead => (format!("transfer-leader {shard} {follower}"), follower, None),
            Deed::Drain => (format!("drain {leader}"), leader, None),
            Deed::Undrain => {
                let drained = self.drained()[0];
                (format!("undrain {drained}"), drained, None)
            }
            Deed::Restart => {
                (format!("restart {leader} --since {}", jiff::Timestamp::now()), leader, None)
            }
            Deed::Replace => {
                let dead = self.guest.take().unwrap();
                self.cluster.kill_node(dead);
                self.guests += 1;
                let heir = RESIDENTS + self.guests;
                let address = self.cluster.join_node(heir);
                self.guest = Some(heir);
                (format!("replace-node {dead} {heir} {address}"), heir, Some(dead))
            }
        };
        let who = match case.victim {
            Victim::Leader => format!("@n{leader}"),
            Victim::Follower => {
                let stays = followers.iter().find(|node| Some(**node) != from).unwrap();
                format!("@n{stays}")
            }
            Victim::Heir => format!("@n{node}"),
            Victim::Anybody => String::new(),
        };
        let order = self.cluster.failpoints().join(format!("{}{who}", case.step));
        let kept = placement.values().filter(|on| on.contains(&node)).count();
        Plot { words, order, shard, node, from, kept }
    }

    /// Has as many guests, and as many drained nodes, as a case begins with.
    fn welcome(&mut self, deed: Deed) {
        if deed == Deed::Add {
            self.purged();
        }
        match (deed, self.guest) {
            (Deed::Add | Deed::Start, Some(guest)) => {
                self.finish(&format!("remove-node {guest}"));
                self.see_off(guest);
            }
            (Deed::Remove | Deed::Replace, None) => {
                self.guests += 1;
                let guest = RESIDENTS + self.guests;
                let address = self.cluster.join_node(guest);
                self.finish(&format!("add-node {guest} {address}"));
                self.guest = Some(guest);
            }
            (Deed::Undrain, _) if self.drained().is_empty() => self.finish("drain 1"),
            _ => {}
        }
    }

    /// Waits until the logs no longer begin at their first entries, so that whoever is new gets a snapshot.
    fn purged(&self) {
        until("the logs are purged", || {
            let is_purged = |shard: u16| {
                let leader = self.cluster.leader_of(shard.into());
                let leader = self.cluster.status_of(leader, shard.into());
                leader.is_some_and(|leader| leader.purged_index > 0)
            };
            (0..SHARDS).all(is_purged).then_some(())
        });
    }

    /// Waits until a node that is removed keeps nothing any more, and stops it for ever.
    fn see_off(&mut self, guest: u64) {
        self.keeps(guest, &[]);
        let status = self.cluster.retire_node(guest);
        assert!(status.success(), "{status}: {}", self.cluster.log_of(&format!("n{guest}")));
        self.guest = None;
    }

    /// Starts a command of the operator's.
    fn spawn(&self, words: &str) -> Child {
        let topology = self.cluster.topology().display();
        let words = format!("cluster {words} --topology {topology} --yes --timeout 40s -o json");
        let mut command = self.cluster.command(&words);
        command.env("PAYCORE_FAIL_DIR", self.cluster.failpoints());
        command.env("PAYCORE_FAIL_AS", "operator");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Says a command until it says that it is done; said once more, it finds nothing to do.
    fn finish(&mut self, words: &str) {
        self.say(words);
        assert_eq!(self.say(words), 0, "{words}: it is so already");
    }

    /// Says a command until it says that it is done. Gives how many steps the last one took.
    fn say(&mut self, words: &str) -> usize {
        let began = Instant::now();
        loop {
            let mut command = self.spawn(words);
            self.cluster.supervise(|| command.try_wait().unwrap().is_none());
            let output = command.wait_with_output().unwrap();
            if output.status.success() {
                let done: Value = serde_json::from_slice(&output.stdout).unwrap();
                return done["steps"].as_array().unwrap().len();
            }
            let err = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(began.elapsed() < PATIENCE, "{words}: {err}");
        }
    }

    /// Once its roster's file says that a node has left a shard, no restart has it run the shard again, and vote.
    fn left_once(&self, case: Case, plot: &Plot) {
        let log = self.cluster.log_of(&format!("n{}", plot.node));
        let left = log.lines().filter(|line| line.contains("leaves a group")).count();
        let again = matches!(case.step, Step::LeaveTold | Step::LeaveCovered);
        assert_eq!(left, plot.kept + usize::from(again), "{}", case.step);
    }

    /// The cluster is as the operator wanted it, and everything adds up.
    fn check(&mut self, case: Case, plot: &Plot) {
        self.load.goes_on();
        let placement = self.placement();
        match case.deed {
            Deed::Move => {
                let on = &placement[&plot.shard];
                assert!(on.contains(&plot.node) && !on.contains(&plot.from.unwrap()), "{on:?}");
            }
            Deed::Add | Deed::Start => {
                assert!(placement.values().any(|on| on.contains(&plot.node)), "{placement:?}");
            }
            Deed::Remove => {
                assert!(placement.values().all(|on| !on.contains(&plot.node)), "{placement:?}");
                self.keeps(plot.node, &[]);
                self.left_once(case, plot);
                self.see_off(plot.node);
            }
            // On a busy machine somebody else may be elected at any moment: then it is asked for once more.
            Deed::Lead => until("the node leads, and there is nothing to do", || {
                let is_so = self.say(&plot.words) == 0;
                (is_so && self.cluster.leader_of(plot.shard.into()) == plot.node).then_some(())
            }),
            Deed::Restart => assert_eq!(self.drained(), [0; 0], "whoever was drained for it"),
            Deed::Replace => {
                assert!(placement.values().any(|on| on.contains(&plot.node)), "{placement:?}");
                assert!(!placement.values().any(|on| on.contains(&plot.from.unwrap())));
                self.cluster.forget_node(plot.from.unwrap());
            }
            Deed::Drain => {
                assert_eq!(self.drained(), [plot.node]);
                self.cluster.kill_node(plot.node);
                self.cluster.start_node(plot.node);
                until("it is drained when it comes back", || {
                    (self.drained() == [plot.node]).then_some(())
                });
            }
            Deed::Undrain => assert_eq!(self.drained(), [0; 0]),
        }
        let quiet = self.load.rest();
        self.agree(&placement);
        self.load.check(&self.bank);
        let audit = self.bank.audit();
        assert_eq!(audit.discrepancies, [""; 0]);
        assert_eq!(audit.sums.iter().map(|sum| sum.under_way).sum::<i64>(), 0, "{audit:?}");
        drop(quiet);
        assert_eq!(self.cluster.ended(), None, "one file is one death");
    }

    /// Replicas of each shard have the same entries and add up to the same, and nobody else keeps anything of it.
    fn agree(&self, placement: &BTreeMap<u16, BTreeSet<u64>>) {
        for (shard, on) in placement {
            until("replicas at the same index have the same digest", || {
                let all = on.iter().map(|node| self.cluster.status_of(*node, (*shard).into()));
                let all = all.collect::<Option<Vec<_>>>()?;
                let index = all[0].applied_index;
                let is_settled =
                    all.iter().all(|at| at.applied_index == index && at.last_log_index == index);
                if !is_settled {
                    return None;
                }
                assert!(all.iter().all(|at| at.digest == all[0].digest), "they differ: {all:?}");
                Some(())
            });
        }
        for node in (1..=RESIDENTS).chain(self.guest) {
            let kept = placement.iter().filter(|(_, on)| on.contains(&node));
            let kept: Vec<u16> = kept.map(|(shard, _)| *shard).collect();
            self.keeps(node, &kept);
        }
    }

    /// Waits until a node has these shards' replicas and no others: of what it does not run, it gives no votes.
    fn keeps(&self, node: u64, shards: &[u16]) {
        until("a node ends what it has left", || {
            let has = |shard: &u16| self.cluster.status_of(node, (*shard).into()).is_some();
            (0..=SHARDS).filter(has).eq(shards.iter().copied()).then_some(())
        });
    }

    /// The nodes that have a replica of each shard. Each has as many as it should, and no change is under way.
    fn placement(&self) -> BTreeMap<u16, BTreeSet<u64>> {
        let status = self.status();
        let shards = status["shards"].as_array().unwrap().iter().map(|shard| {
            assert_eq!(shard["changing"], false, "{shard}");
            let replicas = shard["replicas"].as_array().unwrap().iter();
            let on: BTreeSet<u64> = replicas
                .map(|replica| {
                    assert_ne!(replica["role"], "learner", "{shard}");
                    replica["node"].as_u64().unwrap()
                })
                .collect();
            assert_eq!(on.len(), REPLICAS, "{shard}");
            (u16::try_from(shard["shard"].as_u64().unwrap()).unwrap(), on)
        });
        shards.collect()
    }

    fn drained(&self) -> Vec<u64> {
        let status = self.status();
        let nodes = status["nodes"].as_array().unwrap().iter();
        let drained = nodes.filter(|node| node["drained"] == true);
        drained.map(|node| node["node"].as_u64().unwrap()).collect()
    }

    fn status(&self) -> Value {
        let topology = self.cluster.topology().display();
        self.cluster.json(&format!("cluster status --topology {topology}"))
    }

    fn close(self) {
        let Self { cluster, bank, load, .. } = self;
        let quiet = load.rest();
        load.check(&bank);
        drop(quiet);
        let payments = load.end();
        let (code, out, err) = cluster.run("audit");
        assert_eq!(code, 0, "{out}{err}");
        eprintln!("{payments} payments, and none lost or doubled");
    }
}

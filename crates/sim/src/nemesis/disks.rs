//! Disks that fail, fill up, rot, go backwards or are lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use consensus::log::Options;
use consensus::log::sim_disk::Operation;
use consensus::{OpenError, StopReason};
use runtime::simulated;
use tokio::sync::OwnedMutexGuard;

use super::Nemesis;
use crate::faults::Fault;
use crate::host::SEGMENT_BYTES;
use crate::machine::Machine;

/// How a node's log is opened.
pub(super) const LOG: Options =
    Options { segment_bytes: SEGMENT_BYTES, cache_bytes: SEGMENT_BYTES };

/// How long a node may take to meet a fault that waits for its next write.
const MEET_MAX: Duration = Duration::from_secs(3);

/// How long everything may take to be well before a disk is harmed, and how long it has to be so: what was promised is then
/// known to others, by the rhythm of beats.
const PEACE_MAX: Duration = Duration::from_secs(4);
const PEACE_MIN: Duration = Duration::from_millis(900);

/// How long a node whose disk was harmed may take to be found out, or to take part.
const FOUND_MAX: Duration = Duration::from_secs(15);

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Entries that a follower may lack in peace.
const LAG_MAX: u64 = 32;

/// What became of a node that was started on a harmed disk.
pub(super) enum Fate {
    /// It refused to open its disk.
    Refused(OpenError),
    /// It stopped.
    Stopped(StopReason),
    /// It takes part.
    TakesPart,
    /// Neither, in all that time.
    Hangs,
}

impl Nemesis {
    /// The log's disk fails once: its node stops, and does not touch it again.
    pub(super) async fn fail_log(&mut self, fault: Fault) {
        let id = self.victim();
        let Some(host) = self.cluster.host(id) else { return };
        let is_sync = fault == Fault::FailedSync;
        let operation = if is_sync { Operation::Sync } else { Operation::Write };
        self.cluster.with_machine(id, |machine| machine.fail_log(operation));
        host.stops_within(MEET_MAX).await;
        let operations = |nemesis: &Self| {
            nemesis.cluster.with_machine(id, |machine: &mut Machine| machine.log_operations())
        };
        let awaits = self.cluster.with_machine(id, |machine| machine.awaits_failure());
        let stopped = host.stopped();
        // Its operator may have taken it away meanwhile, and the fault with it.
        let is_there = self.cluster.host(id).is_some_and(|now| Arc::ptr_eq(&now, &host));
        if stopped.is_none() && is_there && awaits == Some(false) {
            self.oracle.accuses(format!("node {id} goes on although its disk has failed"));
        }
        if let Some(reason) = &stopped {
            self.note(format_args!("node {id} stops: {reason}"));
            if !matches!(reason, StopReason::Log(_)) {
                self.oracle
                    .accuses(format!("node {id} stopped otherwise than by its log: {reason}"));
            }
            let before = operations(self);
            simulated::sleep(Duration::from_millis(300)).await;
            if operations(self) != before {
                self.oracle.accuses(format!("node {id} went on writing to a log that had failed"));
            }
            self.bites.bit(fault);
        }
        if host.life.has_panicked() {
            self.oracle.accuses(format!("node {id} panicked"));
        }
        self.cluster.crash(id, false);
        self.come_back(&[id]).await;
    }

    /// The disk fails once under a checkpoint: its node stops.
    pub(super) async fn fail_checkpoint(&mut self) {
        let id = self.victim();
        let Some(host) = self.cluster.host(id) else { return };
        self.cluster.with_machine(id, Machine::fail_files);
        let replicas = host.node.replicas();
        let places: Vec<usize> = (0..replicas.len()).collect();
        let replica = self.chance.pick(&places).and_then(|at| replicas.get(at)).map(Arc::clone);
        if let Some(replica) = replica {
            let made = host.life.live(async move { replica.checkpoint().await });
            let made = simulated::timeout(MEET_MAX, made).await;
            self.note(format_args!("a checkpoint on node {id}: {made:?}"));
        }
        host.stops_within(Duration::from_millis(200)).await;
        match host.stopped() {
            Some(StopReason::Store { .. } | StopReason::Roster { .. }) => {
                self.bites.bit(Fault::FailedCheckpoint);
            }
            Some(reason) => {
                let what = format!("node {id} stopped otherwise than by its checkpoints: {reason}");
                self.oracle.accuses(what);
            }
            // What failed did not matter, or was not reached: the fault is taken away with the process.
            None => {}
        }
        self.cluster.crash(id, false);
        self.come_back(&[id]).await;
    }

    /// Some disks, or all, have no room for a while.
    pub(super) async fn fill_disks(&mut self) {
        let ids = self.cluster.ids();
        let share = self.chance.between(300, 1_000);
        let full: Vec<u64> = ids.into_iter().filter(|_| self.chance.happens(share)).collect();
        self.note(format_args!("the disks of {full:?} are full"));
        let before = self.oracle.full();
        for id in &full {
            self.cluster.with_machine(*id, |machine| machine.has_room.send_replace(false));
        }
        let long = self.chance.time(300, 2_000);
        simulated::sleep(long).await;
        for id in &full {
            self.cluster.with_machine(*id, |machine| machine.has_room.send_replace(true));
        }
        if self.oracle.full() > before {
            self.bites.bit(Fault::FullDisk);
        }
    }

    /// A bit of the log flips. The node refuses its log and names the file; or, when what is damaged looks like the end of a
    /// torn write, the others know what it promised.
    pub(super) async fn flip(&mut self) {
        let Some((id, _peace)) = self.peaceful_victim().await else { return };
        self.crash(id, false);
        let kept = self.cluster.with_machine(id, |machine| machine.frames_kept(LOG)).flatten();
        let flipped = self.cluster.with_machine(id, Machine::flip_log).flatten();
        let Some(file) = flipped else { return self.start(id).await };
        self.note(format_args!("a bit flips in {file} of node {id}"));
        match self.try_start(id, false).await {
            Fate::Refused(OpenError::Log(error)) => {
                self.note(format_args!("node {id} refuses its log: {error}"));
                if !error.to_string().contains(&file) {
                    self.oracle.accuses(format!("node {id} does not name {file}: {error}"));
                }
            }
            Fate::Stopped(reason @ StopReason::Forgot { .. }) => {
                self.note(format_args!("node {id} is found out: {reason}"));
                self.check_cut(id, kept);
            }
            Fate::TakesPart => {
                self.check_cut(id, kept);
                let was_cut = self.cluster.with_machine(id, |machine| machine.was_cut);
                if was_cut != Some(true) {
                    self.oracle.accuses(format!("node {id} has not noticed a bit in {file}"));
                }
                // What was cut off, or what the node was born with before it kept anything, had promised nothing.
                return;
            }
            fate @ (Fate::Refused(_) | Fate::Stopped(_) | Fate::Hangs) => self.wonder(id, &fate),
        }
        self.bites.bit(Fault::Flip);
        self.replace_dead(id);
    }

    /// Only the last frame may have looked like a torn write: nothing sound came after it.
    fn check_cut(&self, id: u64, kept: Option<u64>) {
        let frames = self.cluster.with_machine(id, |machine| machine.frames).unwrap_or_default();
        let lost = kept.unwrap_or_default().saturating_sub(frames);
        if lost > 1 {
            self.oracle.accuses(format!("node {id} has cut {lost} frames for one bad bit"));
        }
    }

    /// A bit of a checkpoint flips. The node goes back to the checkpoint before, or refuses; its operator replaces it in any
    /// case.
    pub(super) async fn rot_checkpoint(&mut self) {
        let Some((id, peace)) = self.peaceful_victim().await else { return };
        drop(peace);
        self.crash(id, false);
        let Some(file) = self.cluster.with_machine(id, Machine::flip_checkpoint).flatten() else {
            return self.start(id).await;
        };
        self.note(format_args!("a bit flips in {} of node {id}", file.display()));
        match self.try_start(id, false).await {
            Fate::Refused(OpenError::Store { error, .. }) => {
                self.note(format_args!("node {id} refuses its checkpoints: {error}"));
            }
            Fate::Stopped(StopReason::Store { .. } | StopReason::Record { .. }) => {}
            Fate::TakesPart => {
                let long = self.chance.time(200, 1_500);
                simulated::sleep(long).await;
            }
            fate @ (Fate::Refused(_) | Fate::Stopped(_) | Fate::Hangs) => self.wonder(id, &fate),
        }
        self.bites.bit(Fault::RottenCheckpoint);
        self.replace_dead(id);
    }

    /// A disk comes back as it was some time ago: its node has forgotten what it promised, and is told so.
    pub(super) async fn take_back_disk(&mut self) {
        let Some((id, _peace)) = self.peaceful_victim().await else { return };
        let Some(copy) = self.cluster.with_machine(id, Machine::copy) else { return };
        let before = match copy.last_entries(LOG) {
            Ok(before) => before,
            Err(error) => {
                let what = format!("a copy of the log of node {id} does not open: {error}");
                return self.oracle.accuses(what);
            }
        };
        let long = self.chance.time(300, 1_200);
        simulated::sleep(long).await;
        simulated::sleep(PEACE_MIN).await;
        // What a leader has counted then, others know by now. Of a group whose log is empty, all is in a checkpoint.
        let after = self.counted(id);
        simulated::sleep(PEACE_MIN).await;
        if !after.iter().any(|(group, last)| before.get(group).is_some_and(|was| was < last)) {
            return;
        }
        self.crash(id, false);
        self.note(format_args!("the disk of node {id} is as it was: {before:?}, not {after:?}"));
        self.cluster.with_machine(id, |machine| machine.restore(&copy));
        match self.try_start(id, false).await {
            Fate::Stopped(reason @ StopReason::Forgot { .. }) => {
                self.note(format_args!("node {id} is found out: {reason}"));
            }
            fate @ (Fate::Refused(_) | Fate::Stopped(_) | Fate::TakesPart | Fate::Hangs) => {
                self.wonder(id, &fate);
            }
        }
        self.bites.bit(Fault::StaleDisk);
        self.replace_dead(id);
    }

    /// A disk is lost: the node that comes back empty is nobody, under the id that it had.
    pub(super) async fn lose_disk(&mut self) {
        let Some((id, _peace)) = self.peaceful_victim().await else { return };
        self.crash(id, false);
        self.cluster.with_machine(id, Machine::lose_disks);
        self.note(format_args!("the disk of node {id} is lost"));
        match self.try_start(id, true).await {
            Fate::Stopped(StopReason::DiskReplaced) => {}
            fate @ (Fate::Refused(_) | Fate::Stopped(_) | Fate::TakesPart | Fate::Hangs) => {
                self.wonder(id, &fate);
            }
        }
        self.bites.bit(Fault::LostDisk);
        self.replace_dead(id);
    }

    pub(super) fn wonder(&self, id: u64, fate: &Fate) {
        let what = match fate {
            Fate::Refused(error) => format!("does not open: {error}"),
            Fate::Stopped(reason) => format!("stopped: {reason}"),
            Fate::TakesPart => "takes part".to_owned(),
            Fate::Hangs => "neither takes part nor stops".to_owned(),
        };
        self.oracle.accuses(format!("node {id}, whose disk was harmed, {what}"));
    }

    /// Some node, when everything is well and has been for a moment, and peace that lasts until the guard is dropped.
    async fn peaceful_victim(&mut self) -> Option<(u64, OwnedMutexGuard<()>)> {
        let peace = self.peace_comes().await?;
        // Who keeps nothing has promised nothing, and nobody knows its disk.
        let keepers: BTreeSet<u64> = self.operator.keepers().into_values().flatten().collect();
        let keepers: Vec<u64> = keepers.into_iter().collect();
        let victim = self.chance.pick(&keepers)?;
        self.is_well().then_some((victim, peace))
    }

    /// Waits until everything is well and has been for a moment; it stays so until the guard is dropped.
    pub(super) async fn peace_comes(&mut self) -> Option<OwnedMutexGuard<()>> {
        if !self.operator.is_done() {
            return None;
        }
        let peace = Arc::clone(&self.peace).lock_owned().await;
        let well = async {
            while !self.is_well() {
                simulated::sleep(LOOK_EVERY).await;
            }
        };
        simulated::timeout(PEACE_MAX, well).await?;
        simulated::sleep(PEACE_MIN).await;
        self.is_well().then_some(peace)
    }

    /// Every node takes part, every group has a leader, and everybody has nearly all of it.
    pub(super) fn is_well(&self) -> bool {
        let takes_part = |id: u64| {
            let host = self.cluster.host(id);
            host.is_some_and(|host| host.node.has_started() && host.stopped().is_none())
        };
        let is_led = |shard: u16| {
            self.cluster.leader(shard).is_some_and(|(_, replica)| {
                let status = replica.status();
                let least = status.last_log.unwrap_or(0).saturating_sub(LAG_MAX);
                let matched = |(_, matched): &(u64, Option<u64>)| matched.unwrap_or(0) >= least;
                status.is_leader && status.matched.iter().all(matched)
            })
        };
        self.cluster.ids().into_iter().all(takes_part)
            && self.cluster.plan.shards.groups().all(is_led)
    }

    /// The last entry of each group that its leader counts a node for: until it hears so, nobody relies on more.
    fn counted(&self, id: u64) -> BTreeMap<u32, u64> {
        let of = |shard: u16| {
            let (_, leader) = self.cluster.leader(shard)?;
            let matched = leader.status().matched;
            let (_, counted) = *matched.iter().find(|(node, _)| *node == id)?;
            Some((shard.into(), counted?))
        };
        self.cluster.plan.shards.groups().filter_map(of).collect()
    }

    /// Starts a node on a harmed disk, once every group that it kept has a leader again, and sees what becomes of it.
    async fn try_start(&mut self, id: u64, has_to_stop: bool) -> Fate {
        let led = async {
            while !self
                .cluster
                .plan
                .shards
                .groups()
                .all(|shard| self.cluster.leader(shard).is_some())
            {
                simulated::sleep(LOOK_EVERY).await;
            }
        };
        let _late = simulated::timeout(FOUND_MAX, led).await;
        simulated::sleep(PEACE_MIN).await;
        self.start_harmed(id, has_to_stop).await
    }

    /// Starts a node on a harmed disk at once, and sees what becomes of it.
    pub(super) async fn start_harmed(&mut self, id: u64, has_to_stop: bool) -> Fate {
        if let Err(error) = self.cluster.start(id).await {
            return Fate::Refused(error);
        }
        let Some(host) = self.cluster.host(id) else { return Fate::Hangs };
        let until = simulated::elapsed().saturating_add(FOUND_MAX);
        while simulated::elapsed() < until {
            if host.life.has_panicked() {
                self.oracle.accuses(format!("node {id}, whose disk was harmed, panicked"));
            }
            if let Some(reason) = host.stopped() {
                return Fate::Stopped(reason);
            }
            if host.node.has_started() && !has_to_stop {
                return Fate::TakesPart;
            }
            simulated::sleep(LOOK_EVERY).await;
        }
        Fate::Hangs
    }
}

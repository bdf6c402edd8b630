//! Taking part: recollect what was promised, start the groups, make a new cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use ledger::Time;
use openraft::error::{InitializeError, RaftError};
use openraft::{Config, SnapshotPolicy};
use tokio::sync::watch;

use super::{Node, Site, links, tenancy};
use crate::beat::{self, NO_GROUP};
use crate::checkpoint::Keeper;
use crate::codec;
use crate::config::NodeConfig;
use crate::desk::Host;
use crate::failpoint::Operation;
use crate::leadership::{self, Leadership};
use crate::log_store::LogStore;
use crate::machine::{Machine, Shard};
use crate::messages::Recalled;
use crate::offload::Offload;
use crate::placement::voters;
use crate::raft::{Member, Raft};
use crate::reads::Reads;
use crate::rebuild::Rebuild;
use crate::replica::Replica;
use crate::runtime;
use crate::space;
use crate::stop::StopReason;
use crate::transport::{GroupPeers, Kind, Lane, Message};
use crate::witness::Kept;

/// Between two rounds of asking the peers.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// How long those who have not answered yet are waited for, when a majority has: any of them may be the one who remembers.
/// Everybody who is there is dialled, and answers, within this; who is away must not hold up a start for long.
const OTHERS_MAX: Duration = Duration::from_secs(1);

/// How long one peer may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Entries in one message at the most; its bytes are bounded before that.
const MESSAGE_ENTRIES_MAX: u64 = 1_024;

/// Entries in one request to the log at the most: several messages of a busy follower.
const APPEND_ENTRIES_MAX: u64 = 1_024;

impl Node {
    /// Asks the peers what this node promised them, and starts its groups when its disk has kept it all. Waits until a
    /// majority of the cluster, this node included, has answered; a node that joins and has nothing has promised nothing.
    ///
    /// # Errors
    /// When the node must not take part. [`Node::stopped`] says the same.
    pub async fn start(&self) -> Result<(), StopReason> {
        let site = &self.0;
        let follow = links::follow(Arc::clone(site), site.going_down.subscribe());
        runtime::spawn(follow);
        site.watch_space();
        site.recall_drain().await?;
        Operation::StartRecalled.reached();
        let is_new = site.log.groups().is_empty() && site.peers.roster.is_settled();
        if !is_new {
            site.recollect().await?;
        }
        let mut groups = Vec::new();
        for (log, shard) in site.take_found().into_values() {
            let group = shard.number;
            let rebuild = Rebuild::of(&log, &shard);
            let rebuild = rebuild.map_err(|error| site.refuse(raft_error(group, &error)))?;
            if let Some(rebuild) = rebuild {
                site.begin_rebuild(rebuild);
                continue;
            }
            let raft = Box::pin(site.build_group(log.clone(), shard.clone())).await?;
            groups.push((raft, log, shard));
        }
        let log_time = groups.iter().map(|(_, _, shard)| shard.state.ledger().now()).max();
        if let Some(log_time) = log_time.filter(|time| *time > Time(0)) {
            site.clock.start_from(log_time);
        }
        for (raft, log, shard) in groups {
            site.run_group(raft, log, shard);
        }
        let (desk, peers) = (Arc::clone(&site.desk), Arc::clone(&site.peers));
        runtime::spawn(beat::tend(desk, peers, site.going_down.subscribe()));
        site.begin_scrub();
        let calls = site.calls.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(calls) = calls {
            runtime::spawn(tenancy::run(Arc::clone(site), calls));
        }
        Operation::StartRunning.reached();
        Ok(())
    }

    /// Makes a new cluster: for each shard whose first voter this node is, once all nodes of the configuration have
    /// answered that they have nothing of it. Returns when there is nothing left to make, at once in a cluster that exists.
    ///
    /// All nodes must answer, not just a majority: the voters' data directories become part of the group, and a majority
    /// of empty ones beside a full one is no new cluster but a lost one.
    ///
    /// # Errors
    /// When the node stops meanwhile.
    pub async fn initialize(&self) -> Result<(), StopReason> {
        self.0.initialize().await
    }
}

impl Site {
    fn watch_space(&self) {
        if self.offload == Offload::Inline {
            // Whoever simulates the disk says when it is full.
            return;
        }
        let dir = self.config.data_dir.clone();
        runtime::spawn(space::watch(
            (dir, self.config.space),
            self.offload,
            (self.has_room.clone(), self.config.meter.clone()),
            self.going_down.subscribe(),
        ));
    }

    /// Asks every peer once.
    async fn ask_all(&self) -> BTreeMap<u64, Recalled> {
        let ask = |peer: u64| async move {
            let question = Message::question(NO_GROUP, Kind::Recall, bytes::Bytes::new());
            let answer =
                self.peers.link(peer).call(Lane::Control, question, ANSWER_TIMEOUT).await.ok()?;
            let recalled = codec::decode::<Recalled>(&answer);
            recalled
                .inspect_err(|error| tracing::error!(peer, %error, "an answer that cannot be read"))
                .ok()
                .map(|recalled| (peer, recalled))
        };
        join_all(self.peers.roster.peers().into_iter().map(ask))
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    /// Waits for a majority's memory, and compares it with the disk.
    async fn recollect(&self) -> Result<(), StopReason> {
        let others = self.peers.roster.peers();
        let members = self.peers.roster.members();
        let own = usize::from(members.contains(&self.config.node_id));
        let mut answers = BTreeMap::new();
        let mut others_until = None;
        loop {
            answers.extend(self.ask_all().await);
            if others.iter().any(|peer| self.peers.link(*peer).is_turned_away()) {
                return Err(self.refuse(StopReason::DiskReplaced));
            }
            let heard = answers.keys().filter(|node| members.contains(*node)).count();
            if heard.saturating_add(own) > members.len() / 2 {
                let until = *others_until.get_or_insert_with(|| runtime::instant_in(OTHERS_MAX));
                let is_complete = others.iter().all(|peer| answers.contains_key(peer));
                if is_complete || runtime::is_past(until) {
                    break;
                }
            }
            tracing::debug!(
                node = self.config.node_id,
                answered = answers.len(),
                "waiting for a majority's memory"
            );
            runtime::sleep(ASK_EVERY).await;
        }
        for recalled in answers.values() {
            for (group, promise) in &recalled.promises {
                // A group that this node has left counts too: it may come back.
                let log = LogStore::new(self.log.group((*group).into()), self.offload);
                let kept = self.kept(&log).await.map_err(|error| raft_error(*group, &error))?;
                if let Err(forgotten) = kept.judge(promise) {
                    return Err(self.refuse(StopReason::Forgot { shard: *group, forgotten }));
                }
            }
        }
        Ok(())
    }

    async fn kept(&self, log: &LogStore) -> std::io::Result<Kept> {
        let vote_term = log.vote()?.map_or(0, |vote| vote.leader_id.term);
        Ok(Kept { vote_term, last_log: log.last_log_id().await? })
    }

    pub(super) fn refuse(&self, reason: StopReason) -> StopReason {
        self.stop.stop(reason.clone());
        reason
    }

    /// Brings a group to where its disk says it was: what was committed is applied again.
    pub(super) async fn build_group(
        &self,
        log: LogStore,
        shard: Shard,
    ) -> Result<Raft, StopReason> {
        let group = shard.number;
        let refused = |error: &dyn std::error::Error| self.refuse(raft_error(group, error));
        let config = raft_config(group, &self.config).map_err(|error| refused(&error))?;
        let (peers, flushed) = (Arc::clone(&self.peers), log.flushed());
        let network = GroupPeers { group, peers, flushed };
        let machine = Machine::new(shard, Arc::clone(&self.peers.roster));
        let raft = Raft::build(self.config.node_id, Arc::new(config), network, log, machine).await;
        raft.map_err(|fatal| refused(&fatal))
    }

    pub(super) fn run_group(&self, raft: Raft, log: LogStore, shard: Shard) {
        // Nobody stands for election before the time is settled; the beats' rhythm allows it.
        raft.runtime_config().elect(false);
        raft.run();

        let group = shard.number;
        let host = Arc::new(Host::new(raft.clone(), shard.clone(), log.clone()));
        self.desk.open(Arc::clone(&host));
        let (shown, leadership) = watch::channel(Leadership::default());
        runtime::spawn(leadership::follow(Arc::clone(&host), shown, host.ends.subscribe()));
        let keeper = Arc::new(Keeper {
            shard,
            raft: raft.clone(),
            log,
            options: self.config.checkpoint,
            turns: Arc::clone(&self.checkpoint_turns),
        });
        runtime::spawn(Arc::clone(&keeper).run(host.ends.subscribe()));
        let replica = Replica {
            host,
            keeper,
            leadership,
            has_room: self.has_room.subscribe(),
            clock: Arc::clone(&self.clock),
            reads: Reads::new(raft),
        };
        self.change_replicas(|replicas| {
            replicas.insert(group, Arc::new(replica));
        });
    }

    async fn initialize(&self) -> Result<(), StopReason> {
        if self.peers.roster.is_settled() {
            return Ok(());
        }
        let traces = self.desk.traces();
        let is_ours = |group: &u16| {
            let first = voters(*group, &self.config).first().copied();
            first == Some(self.config.node_id) && !traces.contains(group)
        };
        let mut to_make: BTreeSet<u16> = self.config.shards.groups().filter(is_ours).collect();
        while !to_make.is_empty() {
            if let Some(reason) = self.stop.watch().borrow().clone() {
                return Err(reason);
            }
            let answers = self.ask_all().await;
            for group in to_make.clone() {
                match self.readiness(group, &answers) {
                    Readiness::Waiting => {}
                    Readiness::Exists => {
                        to_make.remove(&group);
                    }
                    Readiness::Ready(members) => {
                        self.make(group, members).await?;
                        to_make.remove(&group);
                    }
                }
            }
            if !to_make.is_empty() {
                runtime::sleep(ASK_EVERY).await;
            }
        }
        self.peers.roster.settle();
        Ok(())
    }

    pub(super) fn readiness(&self, group: u16, answers: &BTreeMap<u64, Recalled>) -> Readiness {
        if answers.values().any(|recalled| recalled.traces.contains(&group)) {
            return Readiness::Exists;
        }
        let own = self.config.node_id;
        let has_answered = |node: u64| node == own || answers.contains_key(&node);
        if !self.peers.roster.configured().all(has_answered) {
            return Readiness::Waiting;
        }
        let members = voters(group, &self.config).into_iter().map(|node| {
            let disk = answers.get(&node).map_or(self.peers.roster.disk, |answer| answer.disk);
            let address = self.peers.roster.address(node).unwrap_or_default();
            (node, Member { address, disk })
        });
        Readiness::Ready(members.collect())
    }

    async fn make(&self, group: u16, members: BTreeMap<u64, Member>) -> Result<(), StopReason> {
        let Some(host) = self.desk.host(group) else { return Ok(()) };
        tracing::info!(group, nodes = ?members.keys().collect::<Vec<_>>(), "making a new group");
        match host.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(self.refuse(raft_error(group, &error))),
        }
    }
}

/// Whether a group can be made.
pub(super) enum Readiness {
    /// Not all nodes have answered.
    Waiting,
    /// One of them has something of it.
    Exists,
    /// None has: these are its voters.
    Ready(BTreeMap<u64, Member>),
}

fn raft_error(shard: u16, error: &dyn std::error::Error) -> StopReason {
    StopReason::Raft { shard, error: error.to_string().into() }
}

fn raft_config(group: u16, config: &NodeConfig) -> Result<Config, openraft::ConfigError> {
    let timing = config.timing;
    // Its lease is as long as its longest time-out, and only when the lease is over does a time-out begin.
    let lease_ms = timing.election_max_ms / 2;
    let config = Config {
        cluster_name: format!("shard-{group}"),
        heartbeat_interval: timing.heartbeat_ms,
        // Entries that a follower acknowledged tell it as much as a heartbeat would.
        heartbeat_min_interval: Some(timing.heartbeat_ms),
        election_timeout_min: timing.election_min_ms.saturating_sub(lease_ms),
        election_timeout_max: lease_ms,
        install_snapshot_timeout: timing.install_snapshot_ms,
        max_payload_entries: MESSAGE_ENTRIES_MAX,
        max_append_entries: Some(APPEND_ENTRIES_MAX),
        // A follower gets a snapshot when the log no longer reaches back to it, and not before.
        replication_lag_threshold: u64::MAX,
        // Checkpoints and purges are ours to time.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        // A leader that was away asks for votes again: its ledger may lag what it committed.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    config.validate()
}

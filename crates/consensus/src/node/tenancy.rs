//! Groups that come and go while the node runs.
//!
//! A node runs a group when a leader sends it something of it, and ends it when the group's leader says that the node is
//! no member. Both are a leader's word, said again until it has an effect, and both are done here, one after the other.
//!
//! - **Invariant:** who has left a group gives no vote in it, not even after a restart: the register says that it has left
//!   before the group ends. Only a leader that sends entries has it back. Its log and vote stay, so whatever it promised
//!   is still promised then.
//! - A node that was away when it was removed, and comes back, stands for election in vain (its pre-votes are refused by
//!   everybody who hears a leader), and hears in the leader's first beat that it may go, or in the leader's answer to its
//!   own: a leader that shares no other group with it does not call it any more, but it goes on calling those that it knew.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use openraft::storage::RaftLogStorage;
use tokio::sync::mpsc;

use super::Site;
use super::open::{OpenError, open_shard};
use crate::desk::Call;
use crate::failpoint::Operation;
use crate::log_store::LogStore;
use crate::machine::Shard;
use crate::messages::Foreign;
use crate::rebuild::Rebuild;
use crate::replica::Replica;
use crate::runtime;
use crate::stop::StopReason;

/// How long a last checkpoint may take. Without it the node's log keeps what the group had.
const CHECKPOINT_MAX: Duration = Duration::from_secs(30);

/// Does what leaders want until the node goes down.
pub(super) async fn run(site: Arc<Site>, mut calls: mpsc::Receiver<Call>) {
    let mut going_down = site.going_down.subscribe();
    loop {
        let call = tokio::select! {
            biased;
            _ = going_down.changed() => return,
            call = calls.recv() => call,
        };
        let Some(call) = call else { return };
        let done = match call {
            Call::Join(group) => site.join(group).await,
            Call::Leave(said) => site.leave(&said).await,
            Call::Send { group, to } => {
                site.send_once(group, to);
                Ok(())
            }
            Call::Checkpoint(group) => {
                site.checkpoint_for_others(group);
                Ok(())
            }
        };
        if done.is_err() {
            // The node stops, and has said why.
            return;
        }
    }
}

impl Site {
    /// Runs a group that a leader has sent something of.
    async fn join(self: &Arc<Self>, group: u16) -> Result<(), StopReason> {
        if self.desk.host(group).is_some() || self.desk.rebuilds.get(group).is_some() {
            return Ok(());
        }
        Operation::JoinCalled.reached();
        let (config, log, parts) = (self.config.clone(), self.log.clone(), self.parts.clone());
        let around = (self.offload, self.stop.clone());
        let opening = move || open_shard(&config, &log, &parts, (group, &around));
        let (log, shard) = match self.offload.run(opening).await {
            Ok(opened) => opened,
            Err(error) => return Err(self.refuse(opened_badly(group, error))),
        };
        tracing::info!(node = self.config.node_id, group, "joins a group");
        Operation::JoinOpened.reached();
        let rebuild = Rebuild::of(&log, &shard);
        let rebuild = rebuild.map_err(|error| {
            self.refuse(StopReason::Raft { shard: group, error: error.to_string().into() })
        })?;
        if let Some(rebuild) = rebuild {
            self.begin_rebuild(rebuild);
            return Ok(());
        }
        self.enter(log, shard).await
    }

    /// Runs a group that is opened.
    pub(super) async fn enter(&self, log: LogStore, shard: Shard) -> Result<(), StopReason> {
        let group = shard.number;
        let raft = Box::pin(self.build_group(log.clone(), shard.clone())).await?;
        Operation::JoinBuilt.reached();
        if let Some(mark) = shard.state.mark() {
            self.peers.roster.record(group, &mark.meta.last_membership);
        }
        self.peers.roster.set_left(group, false);
        self.keep_roster().await?;
        Operation::JoinKept.reached();
        self.run_group(raft, log, shard);
        Operation::JoinRunning.reached();
        Ok(())
    }

    /// Sends a peer a checkpoint, unless one is on its way to it already.
    fn send_once(self: &Arc<Self>, group: u16, to: u64) {
        if !self.sending.lock().unwrap_or_else(PoisonError::into_inner).insert((group, to)) {
            return;
        }
        let site = Arc::clone(self);
        runtime::spawn(async move {
            site.send_state(group, to).await;
            site.sending.lock().unwrap_or_else(PoisonError::into_inner).remove(&(group, to));
        });
    }

    /// Makes a checkpoint that a peer waits for.
    fn checkpoint_for_others(self: &Arc<Self>, group: u16) {
        let Some(replica) = self.replicas.borrow().get(&group).cloned() else { return };
        runtime::spawn(async move {
            if let Err(error) = replica.checkpoint().await {
                tracing::warn!(shard = group, %error, "no checkpoint for a peer");
            }
        });
    }

    /// Ends a group of which this node is no member any more, and lets its memory go.
    async fn leave(&self, said: &Foreign) -> Result<(), StopReason> {
        let group = said.group;
        let Some(replica) = self.replicas.borrow().get(&group).cloned() else { return Ok(()) };
        if !replica.host.is_foreign(self.config.node_id, said) {
            // It was had back meanwhile.
            return Ok(());
        }
        tracing::info!(node = self.config.node_id, group, "leaves a group");
        Operation::LeaveTold.reached();
        cover(&replica).await;
        Operation::LeaveCovered.reached();
        self.desk.trace(group);
        self.peers.roster.set_left(group, true);
        self.keep_roster().await?;
        Operation::LeaveKept.reached();

        self.desk.close(group);
        self.change_replicas(|replicas| {
            replicas.remove(&group);
        });
        replica.host.ends.send_replace(true);
        if let Err(error) = replica.host.raft.shutdown().await {
            tracing::error!(group, %error, "a group did not end well");
        }
        replica.host.shard.close().await;
        Operation::LeaveEnded.reached();
        let (log, shard) = (replica.keeper.log.clone(), replica.host.shard.clone());
        self.let_log_go(log, &shard).await?;
        Operation::LeavePurged.reached();
        Ok(())
    }

    /// Purges what the newest checkpoint covers: nobody else will, and it would keep the node's log from shrinking.
    async fn let_log_go(&self, mut log: LogStore, shard: &Shard) -> Result<(), StopReason> {
        let covered = shard.state.mark().and_then(|mark| mark.meta.last_log_id);
        let Some(covered) = covered else { return Ok(()) };
        let purged = log.purge(covered).await;
        purged.map_err(|error| {
            self.refuse(StopReason::Raft { shard: shard.number, error: error.to_string().into() })
        })
    }
}

/// Makes a last checkpoint, unless the newest one covers everything.
async fn cover(replica: &Replica) {
    let state = &replica.host.shard.state;
    let covered = state.mark().map_or(0, |mark| mark.index);
    if covered >= state.applied_index() {
        return;
    }
    let made = runtime::timeout(CHECKPOINT_MAX, replica.checkpoint()).await;
    if !matches!(made, Ok(Ok(_))) {
        tracing::warn!(shard = replica.shard(), ?made, "no last checkpoint");
    }
}

/// Why a node stops that cannot open a group: what its disk said keeps its name, so that the operator hears of the file.
fn opened_badly(shard: u16, error: OpenError) -> StopReason {
    match error {
        OpenError::Store { shard, error } => StopReason::Store { shard, error: Arc::new(error) },
        OpenError::Roster { error } => StopReason::Roster { error: Arc::new(error) },
        OpenError::Log(error) => StopReason::Log(error),
        other @ (OpenError::NotAPeer(_)
        | OpenError::HalfRestored
        | OpenError::Disk(_)
        | OpenError::LogMissing { .. }
        | OpenError::LogGone) => StopReason::Raft { shard, error: other.to_string().into() },
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::store::StoreError;

    #[test]
    fn a_disk_that_fails_a_group_which_joins_is_named_with_its_file() {
        let error = StoreError::Io {
            doing: "sync",
            path: "shard-00/CURRENT.new".into(),
            source: io::Error::other("no"),
        };
        let advice = error.advice();
        let reason = opened_badly(3, OpenError::Store { shard: 3, error });
        assert!(matches!(reason, StopReason::Store { shard: 3, .. }), "{reason}");
        assert!(reason.to_string().contains("CURRENT.new"), "{reason}");
        assert_eq!(reason.advice(), advice);
    }
}

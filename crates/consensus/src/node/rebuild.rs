//! Having a replica's state from a peer, and then running its group.

use std::sync::Arc;
use std::time::Duration;

use super::Site;
use crate::codec;
use crate::messages::Wanting;
use crate::rebuild::{Progress, Rebuild};
use crate::runtime;
use crate::snapshot::Transfer;
use crate::stop::StopReason;
use crate::transport::{Kind, Lane, Message};

/// Between two rounds of asking the peers.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Rounds after which it is said again what is waited for.
const SAID_EVERY: u64 = 20;

/// How long one peer may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long nothing may come from a peer that has said that something would: it opens its checkpoint first, reading all
/// of it.
const QUIET_MAX: Duration = Duration::from_secs(30);

/// What a peer has of what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Has {
    /// It has sent it.
    All,
    /// It has none, and asks for it itself.
    Lost,
    /// It does not answer, or has none yet.
    NotYet,
}

impl Site {
    /// Has the state of a replica from a peer, in a task of its own; its group runs when it is there.
    pub(super) fn begin_rebuild(self: &Arc<Self>, rebuild: Rebuild) {
        let (site, rebuild) = (Arc::clone(self), Arc::new(rebuild));
        let (shard, from) = (rebuild.shard.number, rebuild.from);
        tracing::error!(shard, from, "the state is lost: a peer is asked for it");
        self.desk.rebuilds.begin(Arc::clone(&rebuild));
        runtime::spawn(async move {
            // When it fails the node stops, and has said why.
            let _stopped = site.rebuild(&rebuild).await;
        });
    }

    async fn rebuild(&self, rebuild: &Rebuild) -> Result<(), StopReason> {
        let group = rebuild.shard.number;
        let mut going_down = self.going_down.subscribe();
        tokio::select! {
            biased;
            _ = going_down.changed() => return Ok(()),
            done = self.fetch(rebuild) => done?,
        }
        let refused = |error: &std::io::Error| {
            self.refuse(StopReason::Raft { shard: group, error: error.to_string().into() })
        };
        rebuild.reconcile().await.map_err(|error| refused(&error))?;
        let (log, shard) = (rebuild.log.clone(), rebuild.shard.clone());
        if let Some(mark) = shard.state.mark() {
            tracing::info!(shard = group, index = mark.index, "the state is here again");
        }
        self.enter(log, shard).await?;
        self.desk.rebuilds.end(group);
        Ok(())
    }

    /// Asks one peer after the other, until one has sent what is wanted.
    async fn fetch(&self, rebuild: &Rebuild) -> Result<(), StopReason> {
        let group = rebuild.shard.number;
        let mut rounds = 0_u64;
        loop {
            let keepers = self.peers.roster.others_of(group);
            if keepers.is_empty() {
                return Err(self.refuse(StopReason::StateLost { shard: group, from: rebuild.from }));
            }
            let mut is_lost = true;
            for peer in keepers {
                match self.has_from(peer, rebuild).await {
                    Has::All => return Ok(()),
                    Has::Lost => {}
                    Has::NotYet => is_lost = false,
                }
            }
            rebuild.set_lost_everywhere(is_lost);
            match (rounds.is_multiple_of(SAID_EVERY), is_lost) {
                (false, _) => {}
                (true, false) => {
                    tracing::warn!(shard = group, "no peer has a checkpoint for this replica yet");
                }
                (true, true) => tracing::error!(
                    shard = group,
                    "every replica of this shard has lost its state, and no log reaches back to its beginning: restore the \
                     cluster from a backup, and keep every data directory until that is done"
                ),
            }
            rounds = rounds.wrapping_add(1);
            runtime::sleep(ASK_EVERY).await;
        }
    }

    /// Asks a peer, and waits as long as something comes from it.
    async fn has_from(&self, peer: u64, rebuild: &Rebuild) -> Has {
        let head = codec::encode(&rebuild.from);
        let question = Message::question(rebuild.shard.number, Kind::Want, head);
        let answer = self.peers.link(peer).call(Lane::Control, question, ANSWER_TIMEOUT).await;
        let wanting = answer.ok().and_then(|answer| codec::decode::<Wanting>(&answer).ok());
        match wanting {
            Some(Wanting::Coming) => {}
            // What another one sent may have come meanwhile.
            Some(Wanting::Later | Wanting::Lost) | None if rebuild.progress.borrow().is_done => {
                return Has::All;
            }
            Some(Wanting::Lost) => return Has::Lost,
            Some(Wanting::Later) | None => return Has::NotYet,
        }
        let mut progress = rebuild.progress.subscribe();
        loop {
            let Progress { installs, is_done, .. } = *progress.borrow_and_update();
            if is_done {
                return Has::All;
            }
            if installs {
                let _here = progress.changed().await;
            } else if runtime::timeout(QUIET_MAX, progress.changed()).await.is_err() {
                tracing::warn!(
                    peer,
                    shard = rebuild.shard.number,
                    "a peer sends its checkpoint no more"
                );
                return Has::NotYet;
            }
        }
    }

    /// Sends a peer that has lost its state the newest checkpoint of a group.
    pub(super) async fn send_state(&self, group: u16, to: u64) {
        let Some(host) = self.desk.host(group) else { return };
        let Some(mark) = host.shard.state.mark() else { return };
        let Some(vote) = host.log.vote().ok().flatten() else { return };
        let link = self.peers.link(to);
        let transfer = Transfer {
            link: &link,
            group,
            offload: self.offload,
            install_timeout: Duration::from_millis(self.config.timing.install_snapshot_ms),
        };
        tracing::info!(
            shard = group,
            to,
            index = mark.index,
            "sends its checkpoint to a peer without one"
        );
        if let Err(error) = transfer.send(vote, mark.into_snapshot(&host.shard)).await {
            tracing::warn!(shard = group, to, %error, "the checkpoint did not arrive");
        }
    }
}

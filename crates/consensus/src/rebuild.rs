//! A replica that has its log and its vote, and has lost its state.
//!
//! Its log begins behind the entry up to which it was purged, and no checkpoint of its own reaches there any more. What it
//! promised is all in the log, so it stays who it is; what it lacks is what its peers have too, for a checkpoint holds
//! nothing but the effect of committed entries. So it asks one of them for its newest checkpoint, which comes the way of
//! any snapshot, and only then does its group run.
//!
//! - **Invariant:** a group that is being rebuilt gives no vote and takes no entries.
//! - **Invariant:** the log is not touched before the state is there. Where the received state contradicts entries of the
//!   log, those were never committed, and go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use openraft::storage::RaftLogStorage;
use tokio::sync::watch;

use crate::codec;
use crate::desk::received;
use crate::log_store::LogStore;
use crate::machine::Shard;
use crate::snapshot::Receiver;
use crate::transport::{Kind, Refusal};

/// The rebuilds that are under way, by group.
#[derive(Debug, Default)]
pub(crate) struct Rebuilds(RwLock<BTreeMap<u16, Arc<Rebuild>>>);

impl Rebuilds {
    pub(crate) fn get(&self, group: u16) -> Option<Arc<Rebuild>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }

    /// One of them, and whether nobody has what it wants; such a one before others.
    pub(crate) fn first(&self) -> Option<(u16, bool)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let all = all.iter().map(|(group, rebuild)| (*group, rebuild.is_lost_everywhere()));
        all.max_by_key(|(group, is_lost)| (*is_lost, std::cmp::Reverse(*group)))
    }

    pub(crate) fn begin(&self, rebuild: Arc<Rebuild>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(rebuild.shard.number, rebuild);
    }

    pub(crate) fn end(&self, group: u16) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&group);
    }
}

/// How far a rebuild has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Messages that have come.
    pub(crate) messages: u64,
    /// All is here, and is being checked.
    pub(crate) installs: bool,
    /// The state is there.
    pub(crate) is_done: bool,
}

/// One replica's way back.
pub(crate) struct Rebuild {
    pub(crate) shard: Shard,
    pub(crate) log: LogStore,
    /// The entry to which the state must reach at the least: the log goes on behind it.
    pub(crate) from: u64,
    receiver: tokio::sync::Mutex<Receiver>,
    pub(crate) progress: watch::Sender<Progress>,
    /// Every other replica has said that its state is lost too.
    is_lost_everywhere: AtomicBool,
}

impl std::fmt::Debug for Rebuild {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Rebuild");
        shown.field("shard", &self.shard.number).field("from", &self.from).finish_non_exhaustive()
    }
}

impl Rebuild {
    /// A rebuild of a replica whose state ends before its log begins; nothing, when it does not.
    pub(crate) fn of(log: &LogStore, shard: &Shard) -> std::io::Result<Option<Self>> {
        let Some(purged) = log.purge_point()? else { return Ok(None) };
        if shard.state.mark().is_some_and(|mark| mark.index >= purged.index) {
            return Ok(None);
        }
        Ok(Some(Self {
            shard: shard.clone(),
            log: log.clone(),
            from: purged.index,
            receiver: tokio::sync::Mutex::default(),
            progress: watch::Sender::default(),
            is_lost_everywhere: AtomicBool::new(false),
        }))
    }

    pub(crate) fn is_lost_everywhere(&self) -> bool {
        self.is_lost_everywhere.load(Ordering::Relaxed)
    }

    /// Notes what a round of asking has come to.
    pub(crate) fn set_lost_everywhere(&self, is_lost: bool) {
        self.is_lost_everywhere.store(is_lost, Ordering::Relaxed);
    }

    /// Takes a part of the checkpoint, or all of it.
    pub(crate) async fn answer(
        &self,
        kind: Kind,
        head: &[u8],
        body: Option<&Bytes>,
    ) -> Result<Bytes, Refusal> {
        let mut receiver = self.receiver.lock().await;
        let is_last = kind == Kind::Install;
        self.progress.send_modify(|progress| {
            progress.messages = progress.messages.wrapping_add(1);
            progress.installs = is_last;
        });
        if is_last {
            let installed = self.install(&mut receiver).await;
            self.progress.send_modify(|progress| {
                progress.installs = false;
                progress.is_done |= installed.is_ok();
            });
            return installed;
        }
        let taken = match body {
            Some(body) if kind == Kind::Piece => receiver.piece(&self.shard, head, body).await,
            Some(_) | None => receiver.offered(&self.shard, head).await,
        };
        received(&self.shard, taken)
    }

    async fn install(&self, receiver: &mut Receiver) -> Result<Bytes, Refusal> {
        if self.progress.borrow().is_done {
            return Err(Refusal::OutOfStep);
        }
        let (meta, source) = receiver.finish().ok_or(Refusal::OutOfStep)?;
        let vote = self.log.vote().ok().flatten().ok_or(Refusal::OutOfStep)?;
        if meta.last_log_id.is_none_or(|last| last.index < self.from) {
            return Err(Refusal::OutOfStep);
        }
        // An error has stopped the node.
        let installed = source.install(&self.shard).await;
        let (mark, ledger) = installed.map_err(|_stopped| Refusal::NotRunning)?;
        self.shard.state.replace(ledger);
        self.shard.state.set_mark(mark);
        Ok(codec::encode(&vote))
    }

    /// Drops the entries that the received state contradicts. They were acknowledged to a leader that never committed
    /// them, so nobody misses them; what follows the state comes again from whoever leads.
    pub(crate) async fn reconcile(&self) -> std::io::Result<()> {
        let mark = self.shard.state.mark();
        let Some(last) = mark.and_then(|mark| mark.meta.last_log_id) else { return Ok(()) };
        let mut log = self.log.clone();
        let Some(own) = log.log_id_at(last.index).await? else { return Ok(()) };
        if own == last {
            return Ok(());
        }
        tracing::warn!(shard = self.shard.number, %own, %last, "drops entries that were never committed");
        let before =
            last.index.checked_sub(1).map(|index| crate::raft::log_id(codec::term(own), index));
        log.truncate_after(before).await
    }
}

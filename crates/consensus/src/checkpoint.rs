//! Checkpoints: the ledger written to disk while it goes on, and the log let go behind it.
//!
//! A checkpoint is what openraft calls a snapshot: one mechanism, not two. Its image is taken by the state machine's
//! task, in the order of the log; pages and volume are written elsewhere; when `CURRENT` names them, the records of the
//! volume leave memory and the log may go up to the older of the two checkpoints that are kept.
//!
//! [`Keeper`] decides when: the shards of a node take turns, each when enough log has gathered since its last one.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::{AccountId, Books, ColdName, LEVEL_MAX, Ledger, Restore, posting_filter};
use openraft::async_runtime::WatchReceiver;
use openraft::storage::RaftSnapshotBuilder;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use xxhash_rust::xxh3::xxh3_64;

use crate::codec;
use crate::log_store::LogStore;
use crate::machine::{Machine, Shard};
use crate::raft::{Group, LogId, Raft, Snapshot, SnapshotMeta, StoredMembership};
use crate::runtime;
use crate::snapshot::Source;
use crate::state::Frozen;
use crate::store::{
    Checkpoint, Checkpoints, FilterItem, Interval, LogIndex, LogTimeMs, Opened, Page, Parts,
    Published, StoreError, Summary,
};

/// When a shard's next checkpoint is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointOptions {
    /// Bytes of batches since the last one, at the least. 256 MiB: half a second of writing for some seconds of replay.
    pub log_bytes_min: u64,
    /// And at the least so many times the last image: a large shard is not rewritten for every few transfers.
    pub image_factor: u64,
    /// In any case when the shard's oldest entry keeps so many bytes of the node's log from being removed.
    pub log_held_bytes_max: u64,
    /// How often this is looked at.
    pub look_every: Duration,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self {
            log_bytes_min: 256 << 20,
            image_factor: 2,
            log_held_bytes_max: 1 << 30,
            look_every: Duration::from_millis(250),
        }
    }
}

/// What is kept beside a checkpoint: where its ledger stands in Raft's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) last_log_id: Option<LogId>,
    pub(crate) last_membership: StoredMembership,
}

impl Meta {
    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Self> {
        Ok(codec::decode(bytes)?)
    }
}

/// The newest checkpoint, as far as anybody asks who must not wait for the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The last entry that it covers.
    pub(crate) index: u64,
    /// Bytes of its image.
    pub(crate) image_bytes: u64,
    /// The log may go up to here, this entry included.
    pub(crate) purge_upto: Option<u64>,
    pub(crate) meta: Meta,
}

impl Mark {
    pub(crate) fn of(checkpoint: &Checkpoint, purge_upto: Option<LogIndex>) -> io::Result<Self> {
        Ok(Self {
            index: checkpoint.log_index.0,
            image_bytes: checkpoint.pages.stream_len,
            purge_upto: purge_upto.map(|upto| upto.0),
            meta: Meta::decode(&checkpoint.meta)?,
        })
    }

    /// As openraft sees it.
    pub(crate) fn into_snapshot(self, shard: &Shard) -> Snapshot {
        let snapshot = Source::Here(Arc::clone(&shard.checkpoints));
        Snapshot { meta: self.meta.into(), snapshot }
    }
}

impl From<Meta> for SnapshotMeta {
    fn from(meta: Meta) -> Self {
        Self { last_log_id: meta.last_log_id, last_membership: meta.last_membership }
    }
}

/// The bytes of a request that stand for one item of the volume's filter, at the least: a transfer of 87 bytes leaves an
/// outcome and two postings, each leg of 40 bytes two postings.
const REQUEST_BYTES_PER_ITEM: u64 = 20;

/// Items beside the requests': holds that expired by themselves.
const ITEMS_MIN: u64 = 4_096;

/// What a filter knows a record by. All postings of an account share an item, so that a statement skips volumes.
pub(crate) fn filter_of(key: &[u8], _value: &[u8]) -> Option<FilterItem> {
    let account = key.strip_prefix(b"p").and_then(|rest| rest.first_chunk::<16>());
    Some(match account {
        Some(account) => of_account(AccountId::from_u128(u128::from_be_bytes(*account))),
        None => FilterItem(xxh3_64(key)),
    })
}

/// What a filter knows all postings of an account by.
pub(crate) fn of_account(account: AccountId) -> FilterItem {
    FilterItem(posting_filter(account))
}

/// The same, by a record's name.
pub(crate) fn filter_of_name(name: &ColdName) -> FilterItem {
    match name {
        ColdName::Posting(posting) => of_account(posting.account),
        ColdName::Outcome(_)
        | ColdName::Hold(_)
        | ColdName::Reversal(_)
        | ColdName::Legs(_)
        | ColdName::Incoming(_) => FilterItem(xxh3_64(&name.key())),
    }
}

/// Opens a shard's directory, and makes a ledger of the newest checkpoint that is whole.
pub(crate) fn open(
    dir: &Path,
    parts: Parts,
    books: Books,
) -> Result<(Checkpoints, Opened<Ledger>), StoreError> {
    Checkpoints::open(dir, parts, |checkpoint, pages| read(books, checkpoint, pages))
}

/// Makes a ledger of a checkpoint's pages, and checks that it is the one that was written.
///
/// What a newer release wrote is not looked at: read wrongly, it would pass for damaged.
pub(crate) fn read(
    books: Books,
    checkpoint: &Checkpoint,
    pages: impl IntoIterator<Item = Result<Page, StoreError>>,
) -> Result<Ledger, StoreError> {
    if checkpoint.level > LEVEL_MAX {
        return Err(StoreError::Newer { level: checkpoint.level, level_max: LEVEL_MAX });
    }
    let mut restore = Restore::new(books);
    for page in pages {
        let (name, value) = page?;
        restore.page(&name, &value).map_err(|error| refused(&error))?;
    }
    let ledger = restore.finish().map_err(|error| refused(&error))?;
    if ledger.digest() != checkpoint.digest {
        return Err(StoreError::Refused { what: "the ledger's digest is not the checkpoint's" });
    }
    Ok(ledger)
}

fn refused(error: &ledger::Corrupt) -> StoreError {
    tracing::error!(%error, "a checkpoint's image");
    StoreError::Refused { what: "a page of the image is corrupt" }
}

/// Writes one image; what openraft calls a snapshot builder.
#[derive(Debug)]
pub(crate) struct Builder {
    shard: Shard,
    meta: Meta,
    frozen: Option<Frozen>,
}

impl Builder {
    /// Takes the image. Called by the state machine's task, between two batches.
    pub(crate) fn new(shard: Shard, meta: Meta) -> Self {
        let frozen = Some(shard.state.freeze());
        Self { shard, meta, frozen }
    }
}

impl RaftSnapshotBuilder<Group> for Builder {
    type SnapshotData = Source;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let Some(frozen) = self.frozen.take() else {
            return Err(io::Error::other("an image is written once"));
        };
        let (shard, meta) = (self.shard.clone(), self.meta.clone());
        let (life, number) = (frozen.life, frozen.image.number());
        let checkpoints = Arc::clone(&shard.checkpoints);
        let begun = Instant::now();
        let written = shard.offload.run(move || write(&checkpoints, &frozen, &meta)).await;
        let made = written.map(|published| {
            shard.state.is_durable(life, number);
            Mark::of(&published.checkpoint, published.purge_upto)
        });
        let mark = match made {
            Ok(mark) => {
                let mark = mark?;
                shard.meter.checkpoint(shard.number, begun.elapsed());
                tracing::info!(shard = shard.number, index = mark.index, "checkpoint");
                shard.state.set_mark(mark.clone());
                Some(mark)
            }
            // A snapshot came in between: it is the newer checkpoint.
            Err(StoreError::Superseded) => shard.state.mark(),
            Err(error) => return Err(shard.store_failed(error)),
        };
        shard.state.images_written.send_modify(|count| *count = count.saturating_add(1));
        let mark = mark.ok_or_else(|| io::Error::other("no checkpoint is named"))?;
        Ok(mark.into_snapshot(&shard))
    }
}

/// Writes pages and volume, and names them. Blocks.
pub(crate) fn write(
    checkpoints: &Checkpoints,
    frozen: &Frozen,
    meta: &Meta,
) -> Result<Published, StoreError> {
    let image = &frozen.image;
    let log_index = LogIndex(meta.last_log_id.map_or(0, |last| last.index));
    let before = checkpoints.newest().map_or(0, |newest| newest.log_index.0.saturating_add(1));
    let (first_at, last_at) = image.times().unwrap_or_default();
    let interval = Interval {
        first: LogIndex(before),
        last: log_index,
        first_ms: LogTimeMs(first_at.0),
        last_ms: LogTimeMs(last_at.0),
    };
    let items_max = (frozen.bytes / REQUEST_BYTES_PER_ITEM).saturating_add(ITEMS_MIN);
    let mut writer = checkpoints.begin(interval, items_max)?;
    for (name, value) in image.pages() {
        writer.page(name, value)?;
    }
    for record in image.cold_records() {
        writer.record(&record.key, &record.value)?;
    }
    writer.finish(Summary {
        log_index,
        meta: codec::encode(meta).into(),
        records: image.records(),
        digest: image.digest(),
        volume_digest: image.cold_digest(),
        level: image.level(),
    })
}

/// Decides when a shard's checkpoint is due, and tidies up after it.
pub(crate) struct Keeper {
    pub(crate) shard: Shard,
    pub(crate) raft: Raft,
    pub(crate) log: LogStore,
    pub(crate) options: CheckpointOptions,
    /// One permit a node: its shards take turns.
    pub(crate) turns: Arc<Semaphore>,
}

impl Keeper {
    /// Looks every now and then whether a checkpoint is due, until the node stops.
    pub(crate) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                biased;
                _ = stop.changed() => return,
                () = runtime::sleep(self.options.look_every) => {}
            }
            if *stop.borrow() || self.shard.stop.is_stopped() {
                return;
            }
            if self.is_due()
                && let Err(error) = self.checkpoint().await
            {
                tracing::warn!(shard = self.shard.number, %error, "no checkpoint");
            }
        }
    }

    fn is_due(&self) -> bool {
        let state = &self.shard.state;
        let mark = state.mark();
        let image_bytes = mark.as_ref().map_or(0, |mark| mark.image_bytes);
        let factor = self.options.image_factor;
        let enough = self.options.log_bytes_min.max(image_bytes.saturating_mul(factor));
        // A shard that rests still holds the segments that others have filled since.
        let holds_too_much = self.log.bytes_held() >= self.options.log_held_bytes_max;
        let purge_upto = mark.and_then(|mark| mark.purge_upto);
        let could_let_go = purge_upto < Some(state.applied_index());
        state.bytes_since_image() >= enough || (holds_too_much && could_let_go)
    }

    /// Makes a checkpoint now, and returns the log index that it covers.
    pub(crate) async fn checkpoint(&self) -> io::Result<u64> {
        let turn = self.turns.acquire().await.map_err(io::Error::other)?;
        let mut written = self.shard.state.images_written.subscribe();
        let mut running = self.raft.server_metrics();
        self.raft.trigger().snapshot().await.map_err(io::Error::other)?;
        loop {
            tokio::select! {
                biased;
                _ = written.changed() => break,
                // What else the group does is of no interest, but it must not end meanwhile.
                changed = running.changed() => changed.map_err(io::Error::other)?,
            }
        }
        drop(turn);
        let evicted = self.raft.with_state_machine(|machine: &mut Machine| {
            machine.evict();
            Box::pin(std::future::ready(()))
        });
        evicted.await.map_err(io::Error::other)?;
        let mark = self.shard.state.mark().ok_or_else(|| io::Error::other("no checkpoint"))?;
        if let Some(up_to) = mark.purge_upto {
            self.raft.trigger().purge_log(up_to).await.map_err(io::Error::other)?;
        }
        self.merge().await?;
        Ok(mark.index)
    }

    /// Merges small volumes into larger ones, as far as that is due.
    async fn merge(&self) -> io::Result<()> {
        loop {
            let checkpoints = Arc::clone(&self.shard.checkpoints);
            let merged = self.shard.offload.run(move || checkpoints.merge_once()).await;
            match merged {
                Ok(Some(_volume)) => {}
                Ok(None) | Err(StoreError::Busy { .. }) => return Ok(()),
                Err(error) => return Err(self.shard.store_failed(error)),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests count small things")]
mod tests;

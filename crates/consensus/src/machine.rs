//! openraft's state machine: committed entries become changes of the ledger.
//!
//! One task applies, entry by entry: decode once, fetch what the batch names and memory lacks, apply, answer. Between
//! two batches it lets records leave memory that a checkpoint has; so what a batch names stays where its fetch saw it.
//!
//! Whatever goes wrong here stops the node: an error of a disk must never become an outcome, or replicas part.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use futures::{Stream, StreamExt};
use ledger::{Batch, ColdName, Decided, Fetched, LevelUnknown};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};

use crate::backup::StateImage;
use crate::checkpoint::{self, Builder};
use crate::codec;
use crate::failpoint::{Crew, Moment, Traffic};
use crate::meter::Meter;
use crate::offload::Offload;
use crate::raft::{Answers, Entry, Group, LogId, Snapshot, SnapshotMeta, StoredMembership};
use crate::roster::Roster;
use crate::snapshot::Source;
use crate::state::State;
use crate::stop::{StopReason, StopSwitch};
use crate::store::{Checkpoints, Cold, LogTimeMs, StoreError};

/// Requests after which others get their turn on the runtime's only thread: a long run of entries, half a millisecond of
/// it, must not keep heartbeats and other shards waiting.
const TURN_REQUESTS: usize = 2_048;

/// What a shard's parts share.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub(crate) number: u16,
    pub(crate) books: ledger::Books,
    pub(crate) state: Arc<State>,
    pub(crate) checkpoints: Arc<Checkpoints>,
    pub(crate) offload: Offload,
    pub(crate) stop: StopSwitch,
    pub(crate) meter: Meter,
}

impl Shard {
    /// Stops the node, and gives openraft something to stop its group with.
    pub(crate) fn fail(&self, reason: StopReason) -> io::Error {
        let error = io::Error::other(reason.to_string());
        self.stop.stop(reason);
        error
    }

    /// Waits until nobody writes in its directory any more. Another replica of the group may be opened in it then.
    pub(crate) async fn close(&self) {
        let checkpoints = Arc::clone(&self.checkpoints);
        self.offload.run(move || checkpoints.close()).await;
    }

    /// A checkpoint or a volume that is bad is set aside, so that the next start has its content from the log or a peer.
    pub(crate) fn store_failed(&self, error: StoreError) -> io::Error {
        if matches!(error, StoreError::Stopped) {
            // Whoever failed before this has said so; and where a shard ends, nothing has failed.
            return io::Error::other(error);
        }
        self.checkpoints.disown(&error);
        self.fail(StopReason::Store { shard: self.number, error: Arc::new(error) })
    }
}

/// The state machine of one shard's group.
#[derive(Debug)]
pub(crate) struct Machine {
    shard: Shard,
    cold: Arc<Cold>,
    roster: Arc<Roster>,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// Who is in the group, for failpoints.
    crew: Crew,
}

impl Machine {
    /// A machine whose ledger stands where a checkpoint left it, or at nothing.
    pub(crate) fn new(shard: Shard, roster: Arc<Roster>) -> Self {
        let at = shard.state.mark().map(|mark| mark.meta).unwrap_or_default();
        let cold = shard.checkpoints.cold();
        let membership = StoredMembership::default();
        let mut machine =
            Self { shard, cold, roster, applied: None, membership, crew: Crew::default() };
        machine.stand_at(at);
        machine
    }

    /// Lets go of what a checkpoint has, when no batch comes to do it in passing.
    pub(crate) fn evict(&self) {
        self.shard.state.evict();
    }

    fn stand_at(&mut self, at: checkpoint::Meta) {
        self.applied = at.last_log_id;
        let _shift = self.crew.next(at.last_membership.membership());
        self.take_membership(at.last_membership);
        if let Some(applied) = self.applied {
            self.shard.state.stands_at(codec::term(applied), applied.index);
        }
    }

    fn take_membership(&mut self, membership: StoredMembership) {
        self.roster.record(self.shard.number, &membership);
        self.shard.state.set_voters(membership.voter_ids().collect());
        self.membership = membership;
    }

    fn meta(&self) -> checkpoint::Meta {
        checkpoint::Meta { last_log_id: self.applied, last_membership: self.membership.clone() }
    }

    async fn apply_entry(&mut self, entry: Entry) -> io::Result<Decided> {
        let Entry { log_id, payload } = entry;
        let mut bytes = 0;
        let decided = match payload {
            EntryPayload::Blank => Decided::default(),
            EntryPayload::Membership(membership) => {
                self.crew.next(&membership).committed();
                self.take_membership(StoredMembership::new(Some(log_id), membership));
                Decided::default()
            }
            EntryPayload::Normal(batch) => {
                bytes = batch.0.len();
                self.apply_batch(log_id.index, &batch.0).await?
            }
        };
        self.applied = Some(log_id);
        self.shard.state.applied(codec::term(log_id), log_id.index, bytes);
        Ok(decided)
    }

    async fn apply_batch(&self, index: u64, bytes: &[u8]) -> io::Result<Decided> {
        let shard = self.shard.number;
        let batch = Batch::decode(bytes)
            .map_err(|error| self.shard.fail(StopReason::Entry { shard, index, error }))?;
        Traffic::of_batch(bytes).reaches(Moment::Committed);
        self.evict();
        let fetched = self.fetch(&batch).await?;
        // Nothing else changes the ledger, and this one is not used again after a panic.
        let applied = catch_unwind(AssertUnwindSafe(|| {
            self.shard.state.ledger().apply(index, &batch, &fetched)
        }));
        let decided = applied.map_err(|panic| {
            let newer =
                |unknown: &LevelUnknown| StopReason::Newer { shard, index, unknown: *unknown };
            let bug = || StopReason::Ledger { shard, index, why: words(panic.as_ref()).into() };
            self.shard.fail(panic.downcast_ref().map_or_else(bug, newer))
        })?;
        self.look_for_state_cut();
        Ok(decided)
    }

    /// Keeps what a state cut found in the batch that was applied just now, with the volumes that belong to it: another
    /// checkpoint may seal others before anybody asks.
    fn look_for_state_cut(&self) {
        let state = &self.shard.state;
        let (now, taken) = {
            let mut ledger = state.ledger();
            (ledger.now(), ledger.take_state_image())
        };
        state.pass_state_image(now);
        let Some((cut, image)) = taken else { return };
        match StateImage::new((self.shard.number, cut), image, &self.cold.volumes()) {
            Some(image) => state.keep_state_image(image),
            None => {
                let shard = self.shard.number;
                tracing::warn!(shard, cut, "no state for a backup here: its volumes are not known");
            }
        }
    }

    /// Reads what a batch names and memory lacks. Most batches name nothing of the kind, and do not wait.
    async fn fetch(&self, batch: &Batch) -> io::Result<Fetched> {
        let mut names = Vec::new();
        let mut fetched = {
            let ledger = self.shard.state.ledger();
            ledger.missing(batch, |name| {
                if self.cold.maybe(checkpoint::filter_of_name(&name), not_before(&name)) {
                    names.push(name);
                }
            });
            ledger.begin_fetch()
        };
        if names.is_empty() {
            return Ok(fetched);
        }
        let cold = Arc::clone(&self.cold);
        let found = self.shard.offload.run(move || look_up(&cold, names)).await;
        for (name, value) in found.map_err(|error| self.shard.store_failed(error))? {
            let shard = self.shard.number;
            fetched
                .put(name, &value)
                .map_err(|error| self.shard.fail(StopReason::Record { shard, error }))?;
        }
        Ok(fetched)
    }
}

/// Volumes that ended before this cannot hold the record.
fn not_before(name: &ColdName) -> Option<LogTimeMs> {
    name.not_before().map(|time| LogTimeMs(time.0))
}

/// Reads records; those that do not exist are left out.
pub(crate) fn look_up(
    cold: &Cold,
    names: Vec<ColdName>,
) -> Result<Vec<(ColdName, Vec<u8>)>, StoreError> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let key = name.key();
        let item = checkpoint::filter_of_name(&name);
        if let Some(value) = cold.get(&key, item, not_before(&name))? {
            found.push((name, value));
        }
    }
    Ok(found)
}

impl RaftStateMachine<Group> for Machine {
    type SnapshotData = Source;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Group>>> + Unpin + OptionalSend,
    {
        let mut in_this_turn = 0_usize;
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let begun = Instant::now();
            let decided = self.apply_entry(entry).await?;
            in_this_turn = in_this_turn.saturating_add(decided.answers.len()).saturating_add(1);
            if let Some(responder) = responder {
                let applied = Some((begun, Instant::now()));
                responder.send(Answers { decided, applied });
            }
            if in_this_turn >= TURN_REQUESTS {
                in_this_turn = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder::new(self.shard.clone(), self.meta())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Source) -> io::Result<()> {
        let (mark, ledger) = snapshot.install(&self.shard).await?;
        if mark.meta.last_log_id != meta.last_log_id {
            return Err(io::Error::other("the snapshot is not the one that was announced"));
        }
        self.shard.state.replace(ledger);
        self.shard.state.set_mark(mark.clone());
        self.stand_at(mark.meta);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.shard.state.mark().map(|mark| mark.into_snapshot(&self.shard)))
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let owned = || panic.downcast_ref::<String>().map(String::as_str);
    panic.downcast_ref::<&str>().copied().or_else(owned).unwrap_or("nothing")
}

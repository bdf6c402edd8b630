//! A checkpoint on its way to a replica that has fallen behind the log.
//!
//! The sender offers; the receiver answers each message with what it wants next, and in the end installs. So a transfer
//! goes on where it stopped, volumes that the receiver has are never sent, and what is damaged on its way is asked for
//! again. Nothing of the receiver's changes before all is there and checked; then ledger and checkpoint change at once,
//! within the state machine's task.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ledger::Ledger;
use openraft::error::{NetworkError, StreamingError, Unreachable};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, Mark, Meta};
use crate::codec;
use crate::machine::Shard;
use crate::offload::Offload;
use crate::raft::{Group, Snapshot, Vote};
use crate::runtime;
use crate::store::{CHUNK_LEN_MAX, Checkpoints, Chunk, FileNumber, Offer, StoreError, Wanted};
use crate::transport::{CallError, Kind, Lane, Link, Message};

/// How long one piece may take: the receiver writes at most a megabyte, and syncs at the end of a file.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the answer to the last message is waited for before it is asked for again. An answer that is lost must not hold
/// up the replica as long as a whole installation may take.
const INSTALL_ASK: Duration = Duration::from_secs(5);

/// Where the state machine finds a snapshot.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The newest checkpoint of these.
    Here(Arc<Checkpoints>),
    /// Received whole, not yet installed.
    Received(Offer),
}

/// What the receiver wants next; nothing, when all is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Next(Option<(u32, u64, u64)>);

impl From<Option<Wanted>> for Next {
    fn from(wanted: Option<Wanted>) -> Self {
        Self(wanted.map(|wanted| (wanted.file.0, wanted.offset, wanted.len)))
    }
}

/// The last message of a transfer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InstallRequest {
    pub(crate) vote: Vote,
}

/// A snapshot opened for sending. Opening blocks, as reading it does.
fn open(checkpoints: &Checkpoints) -> Result<crate::store::Snapshot, StoreError> {
    checkpoints.snapshot()?.ok_or(StoreError::Refused { what: "there is no checkpoint to send" })
}

impl Source {
    /// Makes the snapshot the shard's only checkpoint, and returns its ledger.
    pub(crate) async fn install(self, shard: &Shard) -> io::Result<(Mark, Ledger)> {
        let (books, checkpoints) = (shard.books, Arc::clone(&shard.checkpoints));
        let installed = shard.offload.run(move || {
            let offer = match self {
                Self::Received(offer) => offer,
                Self::Here(source) => copy(&source, &checkpoints)?,
            };
            let install = checkpoints.install(offer)?;
            install.finish(|checkpoint, pages| checkpoint::read(books, checkpoint, pages))
        });
        let (published, ledger) = installed.await.map_err(|error| shard.store_failed(error))?;
        Ok((Mark::of(&published.checkpoint, published.purge_upto)?, ledger))
    }
}

/// Brings everything that one directory's newest checkpoint has into another directory of this process.
fn copy(from: &Checkpoints, to: &Checkpoints) -> Result<Offer, StoreError> {
    let snapshot = open(from)?;
    let mut install = to.install(snapshot.offer().clone())?;
    while let Some(wanted) = install.wanted() {
        install.write(&snapshot.chunk(wanted.file, wanted.offset, chunk_len(wanted.len))?)?;
    }
    Ok(snapshot.offer().clone())
}

fn chunk_len(left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_LEN_MAX)
}

/// One transfer, from the sender's side.
pub(crate) struct Transfer<'a> {
    pub(crate) link: &'a Link,
    pub(crate) group: u16,
    pub(crate) offload: Offload,
    /// How long the receiver may take to check and install what it has.
    pub(crate) install_timeout: Duration,
}

impl Transfer<'_> {
    /// Sends a snapshot, until the receiver has installed it. The vote it then has.
    pub(crate) async fn send(
        self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<Vote, StreamingError<Group>> {
        let Source::Here(checkpoints) = snapshot.snapshot else {
            return Err(StreamingError::Network(NetworkError::from_string(
                "not a snapshot of ours",
            )));
        };
        let opened = self.offload.run(move || open(&checkpoints).map(Arc::new)).await;
        let opened = opened.map_err(|error| streaming_error(&error))?;
        let offer = Bytes::from(opened.offer().encode());
        let mut next: Next = self.ask(Kind::Offer, (offer, Vec::new()), PIECE_TIMEOUT).await?;
        while let Next(Some((file, offset, len))) = next {
            let source = Arc::clone(&opened);
            let read = move || source.chunk(FileNumber(file), offset, chunk_len(len));
            let chunk = self.offload.run(read).await.map_err(|error| streaming_error(&error))?;
            let Chunk { file, offset, bytes, crc } = chunk;
            let head = codec::encode(&(file, offset, crc));
            next = self.ask(Kind::Piece, (head, vec![bytes.into()]), PIECE_TIMEOUT).await?;
        }
        self.install(vote).await
    }

    /// Has the receiver install what it has, and asks again until it has said so: question and answer may both be lost, and
    /// a receiver that has installed it already says the same again.
    pub(crate) async fn install(&self, vote: Vote) -> Result<Vote, StreamingError<Group>> {
        let head = codec::encode(&InstallRequest { vote });
        let asking = async {
            loop {
                let question = (head.clone(), Vec::new());
                match self.call(Kind::Install, question, INSTALL_ASK).await {
                    Err(CallError::TimedOut) => {}
                    answer @ (Ok(_)
                    | Err(
                        CallError::Unreachable
                        | CallError::Broken
                        | CallError::Refused(_)
                        | CallError::Unreadable,
                    )) => return answer,
                }
            }
        };
        let answer = runtime::timeout(self.install_timeout, asking).await;
        read_answer(answer.unwrap_or(Err(CallError::TimedOut)))
    }

    async fn ask<A: DeserializeOwned>(
        &self,
        kind: Kind,
        (head, bodies): (Bytes, Vec<Bytes>),
        within: Duration,
    ) -> Result<A, StreamingError<Group>> {
        read_answer(self.call(kind, (head, bodies), within).await)
    }

    async fn call(
        &self,
        kind: Kind,
        (head, bodies): (Bytes, Vec<Bytes>),
        within: Duration,
    ) -> Result<Bytes, CallError> {
        let mut question = Message::question(self.group, kind, head);
        question.bodies = bodies;
        self.link.call(Lane::Snapshot, question, within).await
    }
}

fn read_answer<A: DeserializeOwned>(
    answer: Result<Bytes, CallError>,
) -> Result<A, StreamingError<Group>> {
    let answer = answer.map_err(|error| match error {
        CallError::Unreachable | CallError::Refused(_) => {
            StreamingError::Unreachable(Unreachable::new(&error))
        }
        CallError::Broken | CallError::TimedOut | CallError::Unreadable => streaming_error(&error),
    })?;
    codec::decode(&answer).map_err(|error| streaming_error(&error))
}

fn streaming_error<E: std::error::Error + 'static>(error: &E) -> StreamingError<Group> {
    StreamingError::Network(NetworkError::new(error))
}

/// The receiving end of a transfer, one at a time for a shard.
///
/// Invariant: what belongs to one transfer never counts for another. Two leaders may send at the same time, of which one
/// does not know yet that it is none any more; the last who offered something is listened to.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    coming: Option<Coming>,
    /// The vote that the last installation was asked with, and the one that it was answered with; until the next offer.
    answered: Option<(Vote, Vote)>,
}

/// What is on its way.
#[derive(Debug)]
struct Coming {
    /// The node that offered it.
    from: u64,
    offer: Offer,
    /// All of it is here.
    is_complete: bool,
}

impl Receiver {
    /// Takes a node's offer, and says what is wanted of it first.
    pub(crate) async fn offered(
        &mut self,
        shard: &Shard,
        (from, offer): (u64, &[u8]),
    ) -> Result<Next, StoreError> {
        let offer = Offer::decode(offer, Path::new("a peer's offer"))?;
        let next = take(shard, offer.clone(), None).await?;
        let is_complete = next.0.is_none();
        (self.coming, self.answered) = (Some(Coming { from, offer, is_complete }), None);
        Ok(next)
    }

    /// Takes a piece from a node, and says what is wanted next.
    pub(crate) async fn piece(
        &mut self,
        shard: &Shard,
        from: u64,
        (head, body): (&[u8], &[u8]),
    ) -> Result<Next, StoreError> {
        let out_of_step = StoreError::Refused { what: "a piece of no offer" };
        let coming = self.coming.as_mut().filter(|coming| coming.from == from);
        let coming = coming.ok_or(out_of_step)?;
        let (file, offset, crc) = codec::decode::<(FileNumber, u64, u32)>(head)
            .map_err(|_| StoreError::Refused { what: "a piece that cannot be read" })?;
        let chunk = Chunk { file, offset, bytes: body.to_vec(), crc };
        let next = take(shard, coming.offer.clone(), Some(chunk)).await?;
        coming.is_complete = next.0.is_none();
        Ok(next)
    }

    /// The snapshot that a node has sent, all of it received.
    pub(crate) fn finish(&mut self, from: u64) -> Option<(Meta, Source)> {
        let Coming { offer, .. } =
            self.coming.take_if(|coming| coming.from == from && coming.is_complete)?;
        let meta = Meta::decode(&offer.checkpoint.meta).ok()?;
        Some((meta, Source::Received(offer)))
    }

    /// Notes what a sender with this vote was answered when all was installed.
    pub(crate) fn set_answered(&mut self, asked: Vote, answer: Vote) {
        self.answered = Some((asked, answer));
    }

    /// What a sender with this vote was answered, and has perhaps not heard.
    pub(crate) fn answered(&self, asked: Vote) -> Option<Vote> {
        self.answered.filter(|(vote, _)| *vote == asked).map(|(_, answer)| answer)
    }
}

/// Keeps a piece, if there is one, and asks what is missing.
async fn take(shard: &Shard, offer: Offer, chunk: Option<Chunk>) -> Result<Next, StoreError> {
    let checkpoints = Arc::clone(&shard.checkpoints);
    let work = move || {
        let mut install = checkpoints.install(offer)?;
        if let Some(chunk) = chunk {
            match install.write(&chunk) {
                // Damaged on its way: it is still wanted.
                Ok(()) | Err(StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(install.wanted().into())
    };
    shard.offload.run(work).await
}

#[cfg(test)]
mod tests;

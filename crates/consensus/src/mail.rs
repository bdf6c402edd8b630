//! Mail: what a shard on this node writes to a shard on another one, or on this one.
//!
//! Consensus carries letters and does not read them. A letter may arrive and its answer be lost; whoever writes it must
//! be able to write it again.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::desk::Desk;
use crate::runtime;
use crate::transport::{CallError, Kind, Lane, Message, Peers};

/// Takes in the letters to a node's shards: which shard, and the letter; gives the answer.
pub type Mailbox = Arc<dyn Fn(u16, Bytes) -> BoxFuture<'static, Bytes> + Send + Sync>;

/// Where letters go out.
#[derive(Clone)]
pub struct Mail {
    desk: Arc<Desk>,
    peers: Arc<Peers>,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail").field("node", &self.node()).finish_non_exhaustive()
    }
}

/// Why a letter brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// It was not delivered.
    #[error("the letter was not delivered")]
    NotDelivered,
    /// It may have been.
    #[error("the letter may have arrived, but no answer came")]
    NoAnswer,
}

impl Mail {
    pub(crate) const fn new(desk: Arc<Desk>, peers: Arc<Peers>) -> Self {
        Self { desk, peers }
    }

    /// The node that this is.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.peers.roster.node
    }

    /// Every other node that is known, in the order of their ids.
    #[must_use]
    pub fn nodes(&self) -> Vec<u64> {
        self.peers.roster.peers()
    }

    /// Sends a letter to a shard on a node, this one included, and waits for the answer.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn send(
        &self,
        to: u64,
        shard: u16,
        letter: Bytes,
        within: Duration,
    ) -> Result<Bytes, MailError> {
        if to == self.node() {
            let mailbox = self.desk.mailbox.get().ok_or(MailError::NotDelivered)?;
            let answered = runtime::timeout(within, mailbox(shard, letter)).await;
            return answered.map_err(|_late| MailError::NoAnswer);
        }
        // It may share no group with this node, which has had nothing to say to it so far.
        self.peers.roster.want(to);
        let mut question = Message::question(shard, Kind::Mail, Bytes::new());
        question.bodies.push(letter);
        let answer = self.peers.link(to).call(Lane::Mail, question, within).await;
        answer.map_err(|error| match error {
            CallError::Unreachable | CallError::Refused(_) => MailError::NotDelivered,
            CallError::Broken | CallError::TimedOut | CallError::Unreadable => MailError::NoAnswer,
        })
    }
}

/// Where letters come in: set once, when the node's shards are there to read them.
pub(crate) type Slot = OnceLock<Mailbox>;

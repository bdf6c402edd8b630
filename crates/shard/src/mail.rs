//! How letters find their way: to the node that leads a peer's shard, and from the node's door to the shard's actor.
//!
//! Nobody has to know for certain who leads: a node that does not says whom it believes to, and a letter that went wrong
//! is written again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use consensus::{Mail, Mailbox};
use futures::FutureExt;

use crate::actor::Deliver;
use crate::letter::LetterAnswer;
use crate::service::Shards;

/// How long a letter may take: some entries and their syncs, on a busy node. A leader that stalls longer has lost its
/// lease, and another one is asked.
const LETTER_MAX: Duration = Duration::from_secs(3);

/// Whom a node's own replica of a shard follows, if it has one.
type Belief = Arc<dyn Fn(u16) -> Option<u64> + Send + Sync>;

/// One node's way to the leaders of all shards.
#[derive(Clone)]
pub struct Carrier {
    mail: Mail,
    believes: Belief,
    /// Who led each shard when it last said so, and how often nobody did since.
    hints: Arc<Mutex<BTreeMap<u16, Hint>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Hint {
    leader: Option<u64>,
    misses: usize,
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carrier").field("mail", &self.mail).finish_non_exhaustive()
    }
}

impl Carrier {
    /// A way for a node that believes this of who leads a shard.
    #[must_use]
    pub fn new(mail: Mail, believes: impl Fn(u16) -> Option<u64> + Send + Sync + 'static) -> Self {
        Self { mail, believes: Arc::new(believes), hints: Arc::default() }
    }

    /// A way for a node that keeps these shards.
    pub(crate) fn of_node(mail: Mail, shards: Shards) -> Self {
        Self::new(mail, move |shard| {
            let shards = shards.borrow();
            shards.get(&u32::from(shard))?.replica.leadership().borrow().leader
        })
    }

    /// Sends a letter once. Gives the last message that the peer has applied, if it says so.
    pub(crate) async fn carry(&self, peer: u16, letter: Bytes) -> Option<u64> {
        let node = self.guess(peer)?;
        let answer = self.mail.send(node, peer, letter, LETTER_MAX).await;
        let answer = answer.map_or(LetterAnswer::Again, |bytes| LetterAnswer::read(&bytes));
        let (hint, applied) = match answer {
            LetterAnswer::Read(applied) => (Some(node), Some(applied)),
            LetterAnswer::NotLeader(leader) => (leader.filter(|leader| *leader != node), None),
            LetterAnswer::Again => (None, None),
        };
        self.learn(peer, hint, applied.is_some());
        applied
    }

    /// Who probably leads a shard: whoever was named last; else whom this node's own replica follows; else, in turn,
    /// every node.
    fn guess(&self, peer: u16) -> Option<u64> {
        let hint = self.hints().get(&peer).copied().unwrap_or_default();
        let own = || (self.believes)(peer);
        // What this node believes is wrong as often as it is asked in vain.
        let believed = hint.leader.or_else(|| own().filter(|_| hint.misses.is_multiple_of(2)));
        believed.or_else(|| {
            let mut nodes = self.mail.nodes();
            nodes.push(self.mail.node());
            nodes.get(hint.misses.checked_rem(nodes.len())?).copied()
        })
    }

    fn learn(&self, peer: u16, leader: Option<u64>, answered: bool) {
        let mut hints = self.hints();
        let hint = hints.entry(peer).or_default();
        hint.leader = leader;
        hint.misses = if answered { 0 } else { hint.misses.wrapping_add(1) };
    }

    fn hints(&self) -> std::sync::MutexGuard<'_, BTreeMap<u16, Hint>> {
        // A hint is replaced whole: a panic elsewhere leaves nothing half done.
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node says to a letter for a shard that it does not keep.
#[must_use]
pub fn nobody_leads() -> Bytes {
    LetterAnswer::NotLeader(None).write()
}

/// Reads a node's mail: hands each letter to its shard.
#[must_use]
pub fn mailbox(shards: Shards) -> Mailbox {
    Arc::new(move |shard, letter| {
        let actor = shards.borrow().get(&u32::from(shard)).map(|doors| doors.actor.clone());
        let Some(actor) = actor else {
            return std::future::ready(nobody_leads()).boxed();
        };
        async move {
            let answer = actor.send(Deliver(letter)).await;
            answer.unwrap_or_else(|_ended| LetterAnswer::Again.write())
        }
        .boxed()
    })
}

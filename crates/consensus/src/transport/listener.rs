//! Who listens on a lane: takes its questions, and answers each when the desk has.
//!
//! Questions on the control, mail and snapshot lanes are answered concurrently, entries in order within their session
//! ([`super::lanes`]). A lane whose node turns out to have another data directory than its group records is cut.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};

use super::lanes::Sessions;
use super::{Kind, Lane, Message, Refusal};
use crate::desk::{Asker, Desk};
use crate::runtime;

/// Questions of one lane that are worked on at a time. Past it the lane is read no further, and its sender's queue
/// fills: 64 groups with a vote, a heartbeat and a read each, with room to spare.
const CONCURRENT_MAX: usize = 512;

/// The listening end of one lane.
pub(super) struct Listener {
    desk: Arc<Desk>,
    asker: Asker,
    lane: Lane,
    sessions: Sessions,
    room: Arc<Semaphore>,
    answers: mpsc::Sender<Message>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("node", &self.asker.node)
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

impl Listener {
    /// Somebody who was greeted, on one of his lanes. Answers go to `answers`, which ends when the listener is dropped and
    /// nothing is worked on any more.
    pub(super) fn new(
        desk: Arc<Desk>,
        (asker, lane): (Asker, Lane),
        answers: mpsc::Sender<Message>,
    ) -> Self {
        let (sessions, room) = (Sessions::default(), Arc::new(Semaphore::new(CONCURRENT_MAX)));
        Self { desk, asker, lane, sessions, room, answers }
    }

    /// Turns true when the node goes down: the lane ends then.
    pub(super) fn going_down(&self) -> watch::Receiver<bool> {
        self.desk.going_down.clone()
    }

    /// Waits until nobody wants to hear the answers any more.
    pub(super) async fn deserted(&self) {
        self.answers.closed().await;
    }

    /// Takes questions in, waiting only for room to work on them. `false`: the lane is to be cut.
    pub(super) async fn hear(&mut self, questions: Vec<Message>) -> bool {
        let Asker { node, disk } = self.asker;
        if !self.desk.roster.is_welcome(node, disk) {
            tracing::error!(node, "a node's data directory is not the one recorded");
            return false;
        }
        for question in questions {
            // Before anything is answered: what the answer makes the leader do, its peers have to know of.
            if !question.acked.is_empty() {
                self.desk.hear_acked(self.asker, question.group, &question.acked);
            }
            if Kind::from_number(question.kind) == Some(Kind::Append) {
                self.sessions.take(&self.desk, question, &self.answers).await;
                continue;
            }
            let Ok(turn) = Arc::clone(&self.room).acquire_owned().await else { return false };
            let (desk, answers) = (Arc::clone(&self.desk), self.answers.clone());
            let asker = self.asker;
            runtime::spawn(async move {
                answer(&desk, asker, question, &answers).await;
                drop(turn);
            });
        }
        true
    }
}

async fn answer(desk: &Desk, asker: Asker, question: Message, answers: &mpsc::Sender<Message>) {
    let (group, request) = (question.group, question.request);
    let answer = match (Kind::from_number(question.kind), u16::try_from(group)) {
        (Some(kind), Ok(group)) => {
            desk.answer(asker, group, kind, (question.head, question.bodies)).await
        }
        (None, _) | (_, Err(_)) => Err(Refusal::Unreadable),
    };
    // Nobody is left to hear it when the lane has ended.
    let _gone = answers.send(Message::answer(group, request, answer)).await;
}

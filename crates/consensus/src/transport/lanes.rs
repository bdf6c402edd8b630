//! Entries as they arrive: one session per group, answered in order.
//!
//! A session is one attempt of a leader to stream its log: it ends with the first request that does not fit, and what
//! was sent behind that is void. The leader then begins another, under another number. openraft appends the requests
//! of a session in the order of the lane; several are under way at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Message, Refusal};
use crate::codec;
use crate::desk::{Desk, Host};
use crate::messages::{AppendAnswer, AppendRequest};
use crate::runtime;

/// Requests of one session that may be under way; the sender keeps to the same number.
pub(super) const SESSION_REQUESTS_MAX: usize = 32;

/// The sessions of one lane, by group.
#[derive(Default)]
pub(super) struct Sessions(BTreeMap<u32, Session>);

struct Session {
    number: u64,
    requests: mpsc::Sender<(u64, crate::raft::AppendEntriesRequest)>,
}

impl Sessions {
    /// Hands a request to its session, beginning one if its number is new.
    pub(super) async fn take(
        &mut self,
        desk: &Arc<Desk>,
        question: Message,
        answers: &mpsc::Sender<Message>,
    ) {
        let (group, request) = (question.group, question.request);
        let refuse = |refusal| Message::answer(group, request, Err(refusal));
        let decoded = AppendRequest::decode(&question.head, question.bodies);
        let host = u16::try_from(group).ok().and_then(|group| desk.host(group));
        let (decoded, host) = match (decoded, host) {
            (Ok(decoded), Some(host)) => (decoded, host),
            (Err(error), _) => {
                tracing::error!(group, %error, "entries that cannot be read");
                let _gone = answers.send(refuse(Refusal::Unreadable)).await;
                return;
            }
            (_, None) => {
                desk.wanted_by_leader(group);
                let _gone = answers.send(refuse(Refusal::NotRunning)).await;
                return;
            }
        };
        let is_new = self.0.get(&group).is_none_or(|session| session.number != decoded.session);
        if is_new {
            let requests = begin(&host, group, answers.clone());
            self.0.insert(group, Session { number: decoded.session, requests });
        }
        if let Some(session) = self.0.get(&group) {
            // A session that has ended drops what comes after its end; the leader knows that it ended.
            let _ended = session.requests.send((request, decoded.request)).await;
        }
    }
}

fn begin(
    host: &Arc<Host>,
    group: u32,
    answers: mpsc::Sender<Message>,
) -> mpsc::Sender<(u64, crate::raft::AppendEntriesRequest)> {
    let (sender, receiver) = mpsc::channel(SESSION_REQUESTS_MAX);
    // The numbers of the requests, in the order in which openraft takes them.
    let (numbers_in, mut numbers) = mpsc::channel(SESSION_REQUESTS_MAX.saturating_mul(4));
    let requests = ReceiverStream::new(receiver).then(move |(number, request)| {
        let numbers_in = numbers_in.clone();
        async move {
            let _ended = numbers_in.send(number).await;
            request
        }
    });
    let results = host.raft.stream_append(requests);
    runtime::spawn(async move {
        let mut results = std::pin::pin!(results);
        while let Some(result) = results.next().await {
            let Some(request) = numbers.recv().await else { break };
            let answer = match result {
                Ok(result) => Ok(codec::encode(&AppendAnswer::from(result))),
                Err(_fatal) => Err(Refusal::NotRunning),
            };
            if answers.send(Message::answer(group, request, answer)).await.is_err() {
                break;
            }
        }
    });
    sender
}

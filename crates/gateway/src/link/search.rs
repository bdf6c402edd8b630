//! Looking for a shard's leader.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use runtime::{random_between, sleep, timeout};
use wire::proto::cluster::read_reply::Answer;
use wire::proto::cluster::read_request::Question;
use wire::proto::cluster::{Leader, ReadRequest, StatusQuestion};
use wire::status;

use crate::dial::{Dial, Wire};

/// How long a node may take to say how it does.
const STATUS_MAX: Duration = Duration::from_millis(500);

/// How long a node may take to open a stream.
const OPEN_MAX: Duration = Duration::from_secs(1);

/// The first pause and the longest, in milliseconds: short, because a caller waits; longer each time, because an
/// election takes a second.
const PAUSE_MS_FIRST: u64 = 10;
const PAUSE_MS_MAX: u64 = 200;

/// The pause before the next attempt after so many that did not help; none after none. Half of it is chance, so that
/// gateways do not knock in step.
pub(crate) fn pause(failed: u32) -> Duration {
    let Some(doublings) = failed.checked_sub(1) else { return Duration::ZERO };
    let most = PAUSE_MS_FIRST.checked_shl(doublings.min(16)).unwrap_or(PAUSE_MS_MAX);
    let most = most.min(PAUSE_MS_MAX);
    random_between(Duration::from_millis(most / 2)..=Duration::from_millis(most))
}

/// How a link finds its leader.
#[derive(Debug)]
pub(crate) struct Search {
    dial: Arc<dyn Dial>,
    shard: u32,
    frames_in_flight: usize,
}

impl Search {
    pub(crate) fn new(dial: Arc<dyn Dial>, shard: u16, frames_in_flight: usize) -> Self {
        Self { dial, shard: shard.into(), frames_in_flight }
    }

    /// After a pause, follows a hint, or asks every replica at once who leads. `None` when nobody does, for now.
    pub(super) async fn leader(&self, hint: Option<Leader>, pause: Duration) -> Option<Wire> {
        if !pause.is_zero() {
            sleep(pause).await;
        }
        if let Some(named) = hint {
            self.dial.learn(&named);
            return self.open(named.node_id).await;
        }
        let leader = self.ask_all().await?;
        self.open(leader).await
    }

    /// The first node that says it leads; or whom a node names that is none of those we knew. Replicas move between nodes,
    /// so everybody who was ever named is asked: who keeps nothing of the shard says so at once.
    async fn ask_all(&self) -> Option<u64> {
        let known = self.dial.ids();
        let mut asked: FuturesUnordered<_> = known.iter().map(|node| self.ask(*node)).collect();
        let mut stranger = None;
        while let Some(said) = asked.next().await {
            match said {
                Some(Said::Leads(node)) => return Some(node),
                Some(Said::Names(leader)) if !known.contains(&leader.node_id) => {
                    stranger = Some(leader);
                }
                Some(Said::Names(_)) | None => {}
            }
        }
        let stranger = stranger?;
        self.dial.learn(&stranger);
        Some(stranger.node_id)
    }

    async fn ask(&self, node: u64) -> Option<Said> {
        let question = ReadRequest {
            shard: self.shard,
            stale_ok: true,
            timeout_ms: u32::try_from(STATUS_MAX.as_millis()).expect("half a second"),
            question: Some(Question::Status(StatusQuestion {})),
        };
        let reply = match timeout(STATUS_MAX, self.dial.ask(node, question)).await.ok()? {
            Ok(reply) => reply,
            // It keeps nothing of the shard, and may know who does.
            Err(status) => return status::Said::read(&status).leader().map(Said::Names),
        };
        match reply.answer? {
            Answer::Status(status) if status.leads => Some(Said::Leads(node)),
            Answer::Status(status) => status.leader.map(Said::Names),
            Answer::Account(_)
            | Answer::Hold(_)
            | Answer::Outcome(_)
            | Answer::Statement(_)
            | Answer::Cut(_)
            | Answer::Directory(_)
            | Answer::CutPage(_) => None,
        }
    }

    async fn open(&self, node: u64) -> Option<Wire> {
        timeout(OPEN_MAX, self.dial.open(node, self.frames_in_flight)).await.ok()?
    }
}

enum Said {
    Leads(u64),
    Names(Leader),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!(pause(0), Duration::ZERO);
        for (failed, most) in
            [(1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 200), (u32::MAX, 200)]
        {
            for _ in 0..50 {
                let bounds = Duration::from_millis(most / 2)..=Duration::from_millis(most);
                assert!(bounds.contains(&pause(failed)), "{failed} failed");
            }
        }
    }
}

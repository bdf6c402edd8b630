//! Who leads a group, as its own node sees it.
//!
//! A new leader *leads*, in the sense that its shard may stamp and propose, only once it has applied the first entry of
//! its own term: before that its ledger may lack entries that an earlier leader committed, and its log time with them.

use std::sync::Arc;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;

use crate::desk::Host;
use crate::failpoint::Operation;
use crate::stop::StopReason;

/// Who leads a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The term this is about.
    pub term: u64,
    /// The leader, if this node knows one.
    pub leader: Option<u64>,
    /// This node leads, and has applied its own term's first entry.
    pub leads: bool,
}

impl Leadership {
    fn of(term: u64, leader: Option<u64>, is_leader: bool, applied_term: u64) -> Self {
        // Terms only grow along a log: who has applied an entry of the current one has applied all before it.
        Self { term, leader, leads: is_leader && applied_term == term }
    }
}

/// Keeps `shown` up to date until the group ends. Unless the node is going down, its end stops the node.
pub(crate) async fn follow(
    host: Arc<Host>,
    shown: watch::Sender<Leadership>,
    stop: watch::Receiver<bool>,
) {
    let mut server = host.raft.server_metrics();
    let mut applied_term = host.shard.state.applied_term.subscribe();
    loop {
        let now = {
            let server = server.borrow_watched();
            let applied_term = *applied_term.borrow_and_update();
            let is_leader = server.state == ServerState::Leader;
            Leadership::of(
                server.vote.leader_id.term,
                server.current_leader,
                is_leader,
                applied_term,
            )
        };
        shown.send_if_modified(|shown| {
            let before = std::mem::replace(shown, now);
            if now.leads && !before.leads {
                Operation::LeadWon.reached();
            }
            before != now
        });
        tokio::select! {
            biased;
            changed = server.changed() => if changed.is_err() { break },
            _ = applied_term.changed() => {}
        }
    }
    shown.send_modify(|shown| (shown.leads, shown.leader) = (false, None));
    if !*stop.borrow() {
        let state = host.raft.metrics().borrow_watched().running_state.clone();
        let error = state.err().map_or_else(|| "it ended".into(), |fatal| fatal.to_string().into());
        host.shard.stop.stop(StopReason::Raft { shard: host.shard.number, error });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_leads_once_it_has_applied_an_entry_of_its_own_term() {
        let leads =
            |is_leader, applied_term| Leadership::of(7, Some(1), is_leader, applied_term).leads;
        assert!(!leads(true, 6), "what an earlier leader committed may not be here yet");
        assert!(leads(true, 7));
        assert!(!leads(false, 7), "a follower has applied the same entry");
        assert!(!leads(true, 0), "nothing applied since the start");
    }
}

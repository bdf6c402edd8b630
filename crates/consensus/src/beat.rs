//! Beats: what every node tells every other one several times a second.
//!
//! A beat carries what this node has seen others promise, its newest digests, and which nodes there are; its answer carries
//! a wall clock. The
//! same rhythm acts on what the clocks say: a node whose own clock is wrong does not stand for election, and hands over
//! what it leads; so does one whose disk is nearly full, to somebody who has room.

use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;

use crate::clock::ClockAlarm;
use crate::codec;
use crate::desk::{Desk, Host};
use crate::messages::{Beat, BeatAnswer};
use crate::runtime;
use crate::transport::{Kind, Lane, Link, Message, Peers};
use crate::witness::Promise;

/// Between two beats to the same peer.
pub(crate) const BEAT_EVERY: Duration = Duration::from_millis(200);

/// An answer that comes later than this says nothing about a clock.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The group number under which nodes speak for themselves. No shard has it.
pub(crate) const NO_GROUP: u16 = u16::MAX;

/// Beats to one peer until the node stops.
pub(crate) async fn beat(desk: Arc<Desk>, link: Arc<Link>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let sent = desk.clock.reading();
        let beat = Beat {
            wall_ms: sent.wall_ms,
            promises: desk.witness.all(),
            digests: desk
                .hosts()
                .iter()
                .map(|host| (host.shard.number, host.shard.state.digests().newest()))
                .collect(),
            foreign: desk.foreign_to(link.peer),
            nodes: desk.roster.nodes(),
        };
        let question = Message::question(NO_GROUP, Kind::Beat, codec::encode(&beat));
        let answer = link.call(Lane::Control, question, ANSWER_TIMEOUT).await;
        match answer.map(|answer| codec::decode::<BeatAnswer>(&answer)) {
            Ok(Ok(answer)) => {
                desk.clock.heard(link.peer, answer.wall_ms, sent);
                link.set_may_lead(answer.may_lead);
                desk.heed(&answer.foreign);
            }
            Ok(Err(error)) => {
                tracing::error!(peer = link.peer, %error, "an answer that cannot be read");
            }
            Err(error) => tracing::trace!(peer = link.peer, %error, "no answer to a beat"),
        }
        pause(&mut stop).await;
    }
}

/// Looks after this node's own groups in the same rhythm, until the node stops.
pub(crate) async fn tend(desk: Arc<Desk>, peers: Arc<Peers>, mut stop: watch::Receiver<bool>) {
    let mut alarm_before = None;
    while !*stop.borrow() {
        // Reading the clock is what settles it.
        let _now = desk.clock.now();
        let is_drained = *desk.is_drained.borrow();
        let may_lead = desk.clock.may_lead() && !is_drained;
        let alarm = desk.clock.alarm();
        if alarm.is_some() && alarm_before.is_none() {
            tracing::error!(?alarm, "clocks");
        }
        alarm_before = alarm;
        let is_off = matches!(alarm, Some(ClockAlarm::Off { .. }));
        for host in desk.hosts() {
            note_acknowledgements(&desk, &host);
            // A group in which nothing was ever committed is known to the node that makes it alone: if that one never
            // stood for election, nobody would. It hands over as soon as it leads.
            let is_unmade = host.raft.metrics().borrow_watched().last_applied.is_none();
            host.raft.runtime_config().elect(may_lead || (is_off && is_unmade));
            // Who has heard no other clock does not stand for election; only a clock that is known to be wrong is a
            // reason to give up a lead.
            // Where nobody has room, whoever leads goes on, and refuses: then there are reads at least.
            if is_drained || is_off || !*desk.has_room.borrow() {
                hand_over(&peers, &host).await;
            }
        }
        pause(&mut stop).await;
    }
}

async fn pause(stop: &mut watch::Receiver<bool>) {
    tokio::select! {
        biased;
        _ = stop.changed() => {}
        () = runtime::sleep(BEAT_EVERY) => {}
    }
}

/// A leader notes what its followers, and it itself, have acknowledged.
fn note_acknowledgements(desk: &Desk, host: &Host) {
    let metrics = host.raft.metrics();
    // One value, so that the term is the one in which they acknowledged.
    let metrics = metrics.borrow_watched();
    let Some(replication) =
        metrics.replication.as_ref().filter(|_| metrics.state == ServerState::Leader)
    else {
        return;
    };
    let term = metrics.vote.leader_id.term;
    for (node, matched) in replication {
        if let (Some(matched), Some(disk)) = (matched, desk.roster.disk_of(*node)) {
            let promise = Promise { disk, term, acked: Some((term, *matched)) };
            desk.witness.note(host.shard.number, *node, &promise);
        }
    }
}

/// A leader that should not lead asks the best follower to that may.
async fn hand_over(peers: &Peers, host: &Host) {
    let best = {
        let metrics = host.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state != ServerState::Leader {
            return;
        }
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let matched = metrics.replication.iter().flatten();
        matched
            .filter(|(node, matched)| {
                **node != peers.roster.node
                    && voters.contains(node)
                    && matched.is_some()
                    && peers.link(**node).may_lead()
                    && peers.link(**node).is_up(Lane::Control)
            })
            .max_by_key(|(_, matched)| **matched)
            .map(|(node, _)| *node)
    };
    if let Some(best) = best {
        tracing::warn!(
            shard = host.shard.number,
            to = best,
            "this node should not lead: handing over"
        );
        let _stopped = host.raft.trigger().transfer_leader(best).await;
    }
}

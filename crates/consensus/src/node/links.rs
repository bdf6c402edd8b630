//! Links follow the roster: whoever becomes a member is dialled, whoever no longer is one is let go.
//!
//! The same task writes the roster down when it has changed, tells the clock how many nodes there are, and stops the node
//! when a peer knows it with another data directory.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::Site;
use crate::beat;
use crate::runtime;
use crate::stop::StopReason;
use crate::transport::Lane;

/// Keeps links and register up to date until the node goes down.
pub(super) async fn follow(site: Arc<Site>, mut going_down: watch::Receiver<bool>) {
    let mut changes = site.peers.roster.watch();
    let mut running: BTreeMap<u64, watch::Sender<bool>> = BTreeMap::new();
    while !*going_down.borrow() {
        changes.mark_unchanged();
        let peers = site.peers.roster.peers();
        running.retain(|peer, stop| {
            let stays = peers.contains(peer);
            if !stays {
                tracing::info!(peer, "a node has left");
                stop.send_replace(true);
            }
            stays
        });
        if peers.iter().any(|peer| site.peers.link(*peer).is_turned_away()) {
            let _stopped = site.refuse(StopReason::DiskReplaced);
            break;
        }
        for peer in peers {
            running.entry(peer).or_insert_with(|| begin(&site, peer));
        }
        site.clock.set_nodes(site.peers.roster.members().len());
        if site.keep_roster().await.is_err() {
            break;
        }
        tokio::select! {
            biased;
            _ = going_down.changed() => {}
            _ = changes.changed() => {}
        }
    }
    for stop in running.into_values() {
        stop.send_replace(true);
    }
}

/// Dials a peer, and beats to it.
fn begin(site: &Site, peer: u64) -> watch::Sender<bool> {
    let stop = watch::Sender::new(false);
    let link = site.peers.link(peer);
    for lane in Lane::ALL {
        let roster = Arc::clone(&site.peers.roster);
        runtime::spawn(site.roads.keep_up((Arc::clone(&link), lane), roster, stop.subscribe()));
    }
    runtime::spawn(beat::beat(Arc::clone(&site.desk), link, stop.subscribe()));
    stop
}

impl Site {
    /// Writes the roster down. A disk that does not take it stops the node.
    pub(super) async fn keep_roster(&self) -> Result<(), StopReason> {
        let (register, roster) = (Arc::clone(&self.register), Arc::clone(&self.peers.roster));
        let kept = self.offload.run(move || register.keep(&roster)).await;
        kept.map_err(|error| self.refuse(StopReason::Roster { error: Arc::new(error) }))
    }
}

//! The scrubber: everything on the disk is read again and again, slowly, so that what has rotted is found while the other
//! nodes still have it.
//!
//! A pass reads the checkpoints and volumes of every shard and then the log up to its last synced frame. What is bad stops
//! the node, with file and offset: a bad file of a shard is set aside first, and the next start has its content from the
//! log or from a peer; a bad log is for an operator.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Site;
use crate::config::ScrubOptions;
use crate::meter::Meter;
use crate::offload::Offload;
use crate::runtime;

/// The longest sleep of a pass: a node that goes down waits for it.
const NAP_MAX: Duration = Duration::from_millis(200);

/// Sleeps as long as a rate wants.
struct Throttle {
    bytes_per_second: u64,
    begun: Instant,
    bytes: u64,
    meter: Meter,
    going_down: tokio::sync::watch::Receiver<bool>,
}

impl Throttle {
    /// Some bytes were read. Sleeps until as many may have been; `false` when the node goes down.
    fn pace(&mut self, bytes: u64) -> bool {
        self.meter.scrubbed(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        let due_ms =
            self.bytes.saturating_mul(1_000).checked_div(self.bytes_per_second).unwrap_or(0);
        let due = Duration::from_millis(due_ms);
        loop {
            if *self.going_down.borrow() {
                return false;
            }
            let early = due.saturating_sub(self.begun.elapsed());
            if early.is_zero() {
                return true;
            }
            std::thread::sleep(early.min(NAP_MAX));
        }
    }
}

impl Site {
    /// Scrubs until the node goes down.
    pub(super) fn begin_scrub(self: &Arc<Self>) {
        let ScrubOptions { every, bytes_per_second } = self.config.scrub;
        if self.offload == Offload::Inline || bytes_per_second == 0 {
            return;
        }
        let site = Arc::clone(self);
        self.config.meter.scrub_passed();
        runtime::spawn(async move {
            let mut going_down = site.going_down.subscribe();
            while !*going_down.borrow() {
                let begun = Instant::now();
                if site.scrub(bytes_per_second).await {
                    site.config.meter.scrub_passed();
                    tracing::debug!(took = ?begun.elapsed(), "everything on the disk is as it was written");
                }
                let rest = every.saturating_sub(begun.elapsed()).max(NAP_MAX);
                tokio::select! {
                    biased;
                    _ = going_down.changed() => {}
                    () = runtime::sleep(rest) => {}
                }
            }
        });
    }

    /// One pass. Whether it read everything, and nothing was bad.
    async fn scrub(&self, bytes_per_second: u64) -> bool {
        let throttle = || Throttle {
            bytes_per_second,
            begun: Instant::now(),
            bytes: 0,
            meter: self.config.meter.clone(),
            going_down: self.going_down.subscribe(),
        };
        let kept = Arc::clone(&self.replicas.borrow());
        for replica in kept.values() {
            let (shard, mut throttle) = (replica.host.shard.clone(), throttle());
            let checkpoints = Arc::clone(&shard.checkpoints);
            let scrubbing = move || checkpoints.scrub(&mut |bytes| throttle.pace(bytes));
            if let Err(error) = self.offload.run(scrubbing).await {
                self.config.meter.scrub_found();
                let _stopped = shard.store_failed(error);
                return false;
            }
        }
        let (log, mut throttle) = (self.log.clone(), throttle());
        let scrubbing = move || log.scrub(&mut |bytes| throttle.pace(bytes));
        // A bad log has stopped itself, and the node with it.
        let is_sound = self.offload.run(scrubbing).await.is_ok();
        if !is_sound {
            self.config.meter.scrub_found();
        }
        is_sound && !*self.going_down.borrow()
    }
}

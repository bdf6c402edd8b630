//! One shard's link: what waits to go to its leader, and the task that takes it there.
//!
//! Doors push, one task drives. Everything on the way is in exactly one of three places: the [`Queue`] (not sent, or to
//! be sent again), the driver's frames in flight, or settled at its call.

mod driver;
mod frame;
mod queue;
mod search;

use std::sync::{Arc, Mutex, MutexGuard};

use ledger::{BatchError, Request};
use tokio::sync::{Notify, watch};
use wire::proto::cluster::Leader;

use crate::call::Call;
use crate::dial::Dial;
use crate::meter::Meter;
use driver::Driver;
use queue::Queue;
use search::Search;

pub(crate) use search::pause;

/// A shard's link.
#[derive(Debug)]
pub(crate) struct Link {
    shard: u16,
    queue: Mutex<Queue>,
    wake: Notify,
    leader: watch::Sender<Option<u64>>,
}

/// Somebody heard a node say that it does not lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suspicion {
    /// The node that said so.
    pub(crate) node: u64,
    /// Whom it named instead.
    pub(crate) instead: Option<Leader>,
}

/// A group's link, and the task that drives it until it is dropped: over this network, with so many frames in flight.
pub(crate) fn begin(
    group: u16,
    dial: &Arc<dyn Dial>,
    frames_in_flight: usize,
    meter: &Arc<Meter>,
) -> (Arc<Link>, impl Future<Output = ()> + Send + use<>) {
    let link = Arc::new(Link::new(group));
    let search = Search::new(Arc::clone(dial), group, frames_in_flight);
    let driver = Driver::new(Arc::clone(&link), Arc::new(search), frames_in_flight);
    (link, driver.with_meter(Arc::clone(meter)).run())
}

impl Link {
    pub(crate) fn new(shard: u16) -> Self {
        Self {
            shard,
            queue: Mutex::new(Queue::default()),
            wake: Notify::new(),
            leader: watch::Sender::new(None),
        }
    }

    pub(crate) const fn shard(&self) -> u16 {
        self.shard
    }

    /// Puts a request on its way; what becomes of it is written at its place of the call.
    ///
    /// # Errors
    /// When it is too long to be a record; nothing was put on its way.
    pub(crate) fn push(
        &self,
        request: &Request,
        call: &Arc<Call>,
        place: usize,
    ) -> Result<(), BatchError> {
        self.lock().push(request, call, place)?;
        self.wake.notify_one();
        Ok(())
    }

    /// The node that leads the shard, as far as the link knows.
    pub(crate) fn leader(&self) -> watch::Receiver<Option<u64>> {
        self.leader.subscribe()
    }

    /// Tells the driver that its leader may not lead any more, so that it looks before the next request does.
    pub(crate) fn suspect(&self, suspicion: Suspicion) {
        self.lock().suspicion = Some(suspicion);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nothing panics while it holds the queue")
    }
}

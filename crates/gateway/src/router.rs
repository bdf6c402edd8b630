//! The one way from a door to a shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ledger::{Command, Shards, Slot};
use runtime::Instant;
use tokio::sync::oneshot;
use wire::convert::{Intent, Refusal};
use wire::{Failure, Reply};

use crate::budget::{Budget, Permit};
use crate::call::{Caller, Finished, Opening, Way};
use crate::link::Link;
use crate::meter::Meter;
use crate::trace::Sampling;

/// Bytes that a request without legs counts for: its record and what remembers it.
const REQUEST_BYTES: usize = 128;

/// Bytes that each leg adds.
const LEG_BYTES: usize = 40;

/// Why a request goes no further than its door.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It will be refused again.
    Refused(Refusal),
    /// It may be sent again.
    Failed(Failure),
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Checks requests against the gateway's bounds and hands them to their shards' links.
#[derive(Debug)]
pub(crate) struct Router {
    shards: Shards,
    links: Vec<Arc<Link>>,
    meta: Arc<Link>,
    budget: Arc<Budget>,
    draining: AtomicBool,
    meter: Arc<Meter>,
    sampling: Sampling,
}

impl Router {
    /// A router to the shards' links, in their order, and the meta group's.
    pub(crate) fn new(
        shards: Shards,
        (links, meta): (Vec<Arc<Link>>, Arc<Link>),
        budget: Arc<Budget>,
    ) -> Self {
        let (draining, meter) = (AtomicBool::new(false), Arc::default());
        Self { shards, links, meta, budget, draining, meter, sampling: Sampling::default() }
    }

    /// The same, counting what it does, and tracing some of it.
    pub(crate) fn watched(self, meter: Arc<Meter>, sampling: Sampling) -> Self {
        Self { meter, sampling, ..self }
    }

    /// Which calls are traced.
    pub(crate) const fn sampling(&self) -> Sampling {
        self.sampling
    }

    /// From now on nothing new is taken.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Opens a call of so many requests.
    pub(crate) fn open(&self, caller: impl Into<Caller>, requests: usize, way: Way) -> Opening {
        let permit = Permit::empty(Arc::clone(&self.budget));
        Opening::new(caller, requests, (permit, Arc::clone(&self.meter)), way)
    }

    /// Sends the requests of a call on their way; gives what will hear what became of them.
    pub(crate) fn send(
        &self,
        caller: impl Into<Caller>,
        requests: impl ExactSizeIterator<Item = Result<Intent, impl Into<Halt>>>,
    ) -> oneshot::Receiver<Finished> {
        let (to, finished) = oneshot::channel();
        let mut opening = self.open(caller, requests.len(), Way::Once(to));
        for (place, read) in requests.enumerate() {
            self.route(&mut opening, place, read);
        }
        opening.close();
        finished
    }

    /// Sends one request of a call on its way, or writes at its place why not.
    pub(crate) fn route(
        &self,
        call: &mut Opening,
        place: usize,
        read: Result<Intent, impl Into<Halt>>,
    ) {
        let Intent { request, made } = match read.map_err(Into::into) {
            Ok(intent) => intent,
            Err(Halt::Refused(refusal)) => return call.refuse(place, refusal),
            Err(Halt::Failed(failure)) => {
                return call.call().reply([(place, Reply::Failure(failure))]);
            }
        };
        if let Err(failure) = self.admit(call, &request.command) {
            return call.call().reply([(place, Reply::Failure(failure))]);
        }
        call.makes(place, made);
        let link = if request.command.is_for_meta() {
            &self.meta
        } else {
            self.link(Slot::of(request.command.subject()))
        };
        if link.push(&request, call.call(), place).is_err() {
            call.refuse(place, Refusal::field("legs", "fewer legs: the request is too long"));
        }
    }

    /// How accounts are dealt out to shards.
    pub(crate) const fn shards(&self) -> Shards {
        self.shards
    }

    /// The link of a slot's shard.
    pub(crate) fn link(&self, slot: Slot) -> &Arc<Link> {
        let shard = usize::from(self.shards.shard(slot));
        self.links.get(shard).expect("the configuration places every shard")
    }

    /// The meta group's link.
    pub(crate) const fn meta(&self) -> &Arc<Link> {
        &self.meta
    }

    fn admit(&self, call: &mut Opening, command: &Command) -> Result<(), Failure> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Failure::Draining);
        }
        if call.call().deadline <= Instant::now() {
            return Err(Failure::DeadlinePassed);
        }
        if !call.grow(weight(command)) {
            return Err(Failure::Overloaded);
        }
        Ok(())
    }
}

fn weight(command: &Command) -> usize {
    let legs = if let Command::MultiTransfer { legs, .. } = command { legs.len() } else { 0 };
    legs.saturating_mul(LEG_BYTES).saturating_add(REQUEST_BYTES)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ledger::{AccountId, Key, Request, TenantId};

    use super::*;

    /// What becomes of two requests at once, one of which the edge refuses.
    async fn check(router: &Router, left: Duration, code: &str) {
        let command = Command::Close { account: AccountId::from_u128(1) };
        let request = Request { key: Key::from_u128(1), tenant: TenantId(0), command };
        let reads = [Ok(Intent { request, made: None }), Err(Refusal::MissingKey)];
        let deadline = Instant::now().checked_add(left).expect("soon");
        let finished = router.send(deadline, reads.into_iter()).await.expect("it finishes");
        let codes = finished.outcomes().into_iter().map(|outcome| match outcome.result {
            Some(wire::proto::v1::outcome::Result::Failed(failed)) => failed.code,
            other => panic!("{other:?}"),
        });
        assert_eq!(codes.collect::<Vec<_>>(), [code, "MISSING_KEY"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_taken_is_refused_at_once() {
        let shards = Shards::new(1).expect("one");
        let link = || (vec![Arc::new(Link::new(0))], Arc::new(Link::new(1)));
        let router = Router::new(shards, link(), Budget::new(0, 1_000));
        check(&router, Duration::from_secs(1), "OVERLOADED").await;
        let router = Router::new(shards, link(), Budget::new(10, 100));
        check(&router, Duration::from_secs(1), "OVERLOADED").await;
        let router = Router::new(shards, link(), Budget::new(10, 1_000));
        check(&router, Duration::ZERO, "DEADLINE_PASSED").await;
        router.drain();
        check(&router, Duration::from_secs(1), "DRAINING").await;
    }
}

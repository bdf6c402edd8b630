//! A gateway without doors, for simulations: router, budget and links as they are, over whatever network its dial reaches.

use std::future::Future;
use std::sync::Arc;

use futures::FutureExt;
use ledger::{Request, Shards};
use runtime::Instant;
use wire::Reply;
use wire::convert::{Intent, Refusal};

use crate::budget::Budget;
use crate::call::Finished;
use crate::config::Limits;
use crate::dial::Dial;
use crate::link;
use crate::router::Router;

/// A gateway without doors.
#[derive(Debug)]
pub struct Edge {
    router: Router,
    budget: Arc<Budget>,
}

impl Edge {
    /// Begins one within the life that is running now.
    ///
    /// # Panics
    /// Outside a run.
    #[must_use]
    pub fn begin(shards: Shards, dial: &Arc<dyn Dial>, limits: Limits) -> Self {
        let budget = Budget::new(limits.requests_in_flight, limits.bytes_in_flight);
        let meter = Arc::default();
        let begin = |group: u16| {
            let (link, driving) = link::begin(group, dial, limits.frames_in_flight, &meter);
            runtime::spawn(driving);
            link
        };
        let links: Vec<_> = (0..shards.count()).map(begin).collect();
        let router = Router::new(shards, (links, begin(shards.meta())), Arc::clone(&budget));
        Self { router, budget }
    }

    /// Sends the requests of one call on their way, for a caller who waits that long. A reply to each, in order; `None`
    /// when the gateway ends before.
    pub fn send(
        &self,
        deadline: Instant,
        requests: Vec<Request>,
    ) -> impl Future<Output = Option<Vec<Reply>>> + Send + use<> {
        let intent = |request| Ok::<_, Refusal>(Intent { request, made: None });
        let finished = self.router.send(deadline, requests.into_iter().map(intent));
        finished.map(|finished| finished.ok().as_ref().map(Finished::replies))
    }

    /// Requests that wait for their replies.
    #[must_use]
    pub fn requests_in_flight(&self) -> usize {
        self.budget.requests_taken()
    }
}

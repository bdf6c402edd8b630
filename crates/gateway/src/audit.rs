//! The operator's door: the live audit, and the reading of everything.
//!
//! The gateway begins a cut on one shard and then only reads: each shard's part, as it is finished. It decides nothing
//! and keeps nothing; an audit that nobody waits for any more is let go by the shards themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ledger::{AccountId, CUT_MS_MAX, Command, Cut, Key, Request as Asked, TenantId};
use runtime::{Instant, sleep};
use tonic::{Request, Response, Status};
use wire::convert::{Intent, Refusal, audit, wanted_currency};
use wire::proto::v1;
use wire::proto::v1::admin_server::Admin;
use wire::{Failure, status};

use crate::auth::Access;
use crate::deadline;
use crate::read_all::{Pieces, Walk};
use crate::reads::{Reads, refused};
use crate::router::Router;
use crate::turn::Turns;

/// How often unfinished parts are asked for: a cut takes some entries and letters.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The door.
#[derive(Debug)]
pub(crate) struct AdminDoors {
    pub(crate) access: Access,
    pub(crate) router: Arc<Router>,
    pub(crate) reads: Arc<Reads>,
    /// Whose turn it is to read everything: a shard keeps one whole cut, so two readers would take it from one another.
    pub(crate) turns: Turns,
}

#[tonic::async_trait]
impl Admin for AdminDoors {
    type ReadAllStream = Pieces;

    async fn audit(
        &self,
        call: Request<v1::AuditRequest>,
    ) -> Result<Response<v1::AuditResponse>, Status> {
        self.check(&call)?;
        let deadline = cut_deadline(deadline::of_call(call.metadata()));
        let cut = self.begin(deadline, |books, cut| Command::Cut { books, cut }).await?;
        let parts = self.gather(cut, deadline).await?;
        let found = audit(cut, &parts);
        if !found.discrepancies.is_empty() {
            tracing::error!(cut, found = found.discrepancies.len(), "the books do not add up");
        }
        Ok(Response::new(found))
    }

    async fn read_all(
        &self,
        call: Request<v1::ReadAllRequest>,
    ) -> Result<Response<Pieces>, Status> {
        self.check(&call)?;
        let wanted = wanted_currency(call.get_ref()).map_err(refused)?;
        let deadline = deadline::of_call(call.metadata());
        let turn = self.turns.take(deadline).await;
        let turn = turn.ok_or_else(|| status::failure(Failure::DeadlinePassed, None))?;
        let until_cut = cut_deadline(deadline);
        let cut = self.begin(until_cut, |books, cut| Command::WholeCut { books, cut }).await?;
        let parts = self.gather(cut, until_cut).await?;
        let (reads, shards) = (Arc::clone(&self.reads), self.router.shards());
        let walk = Walk::new((reads, shards), (cut, parts), wanted, deadline);
        Ok(Response::new(walk.pieces(turn)))
    }
}

/// A cut is let go after a while, however long its caller waits.
fn cut_deadline(asked: Instant) -> Instant {
    let longest = Instant::now().checked_add(Duration::from_millis(CUT_MS_MAX));
    longest.map_or(asked, |longest| asked.min(longest))
}

impl AdminDoors {
    /// Whether an operator asks.
    fn check<T>(&self, call: &Request<T>) -> Result<(), Status> {
        let grant = self.access.grant_call(call.metadata());
        grant.and_then(|grant| grant.check_operates()).map_err(refused)
    }

    /// Begins a cut on the first shard. Its number is the time: greater than that of any cut before it.
    async fn begin(
        &self,
        deadline: Instant,
        command: fn(AccountId, u64) -> Command,
    ) -> Result<u64, Status> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let cut = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let books = AccountId::in_slot(0, self.router.shards().first_slot(0));
        let key = Key::from_uuid_v7(uuid::Uuid::now_v7().as_u128());
        let request = Asked {
            key: key.expect("a UUIDv7 is a key"),
            tenant: TenantId(0),
            command: command(books, cut),
        };
        let intent = Intent { request, made: None };
        let one = std::iter::once(Ok::<_, Refusal>(intent));
        let finished = self.router.send(deadline, one).await;
        let finished = finished.map_err(|_| status::failure(Failure::OutcomeUnknown, None))?;
        finished.posted().map(|_| cut)
    }

    /// Reads every shard's part, once it is finished.
    async fn gather(&self, cut: u64, deadline: Instant) -> Result<BTreeMap<u16, Cut>, Status> {
        let shards = self.router.shards();
        let mut parts = BTreeMap::new();
        while parts.len() < usize::from(shards.count()) {
            if Instant::now() >= deadline {
                return Err(status::failure(Failure::DeadlinePassed, None));
            }
            for shard in
                (0..shards.count()).filter(|shard| !parts.contains_key(shard)).collect::<Vec<_>>()
            {
                let part = self.reads.cut(shards.first_slot(shard), cut, deadline).await?;
                if let Some(part) = part.filter(Cut::is_finished) {
                    parts.insert(shard, part);
                }
            }
            if parts.len() < usize::from(shards.count()) {
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(parts)
    }
}

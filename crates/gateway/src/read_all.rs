//! The reading of everything: page after page of what every shard keeps of one whole cut, as fast as the caller takes them.
//!
//! One page is asked for when the one before it has been taken, so a slow caller holds one page and no more, and one who
//! goes away ends the walk. Records do not change under the walk, whoever leads meanwhile; a shard that does not keep them
//! any more ends it. What was sent of a shard is counted on the way and compared with the sums of the cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use ledger::codec::get_hot;
use ledger::{Account, AccountId, Currency, Cut, Discrepancy, Hold, HoldId, Recount, Shards};
use runtime::Instant;
use tonic::Status;
use wire::convert::{all_accounts, all_channels, all_holds, all_summary};
use wire::limits::CUT_PAGE_MAX;
use wire::proto::cluster::{CutPageQuestion, CutRows};
use wire::proto::v1::ReadAllResponse;
use wire::proto::v1::read_all_response::Piece;
use wire::{Failure, Obstacle, status};

use crate::reads::{Reads, read, refused, sixteen};
use crate::turn::Turn;

/// What the caller gets.
pub(crate) type Pieces = BoxStream<'static, Result<ReadAllResponse, Status>>;

/// Where a walk is; the order in which everything is sent.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// At the accounts of a shard after this one.
    Accounts(u16, Option<AccountId>),
    /// At the holds of a shard after this one.
    Holds(u16, Option<HoldId>),
    Channels,
    Summary,
    End,
}

/// A walk through what a whole cut found.
pub(crate) struct Walk {
    reads: Arc<Reads>,
    shards: Shards,
    cut: u64,
    parts: BTreeMap<u16, Cut>,
    recounts: BTreeMap<u16, Recount>,
    wanted: Option<Currency>,
    deadline: Instant,
    place: Place,
    /// Accounts and holds that were sent.
    sent: (u64, u64),
}

impl Walk {
    /// A walk that has not begun, through a cut whose parts are all finished.
    pub(crate) fn new(
        (reads, shards): (Arc<Reads>, Shards),
        (cut, parts): (u64, BTreeMap<u16, Cut>),
        wanted: Option<Currency>,
        deadline: Instant,
    ) -> Self {
        let recounts = parts.keys().map(|shard| (*shard, Recount::default())).collect();
        let (place, sent) = (Place::Accounts(0, None), (0, 0));
        Self { reads, shards, cut, parts, recounts, wanted, deadline, place, sent }
    }

    /// Everything, piece by piece. The caller's turn is over with the stream.
    pub(crate) fn pieces(self, turn: Turn) -> Pieces {
        let next = |(walk, turn): (Self, Turn)| async move {
            let next = walk.next().await?;
            Ok(next.map(|(piece, walk)| (piece, (walk, turn))))
        };
        stream::try_unfold((self, turn), next).boxed()
    }

    /// The next piece, and the walk behind it.
    async fn next(mut self) -> Result<Option<(ReadAllResponse, Self)>, Status> {
        loop {
            let piece = match self.place {
                Place::Accounts(shard, after) => self.accounts(shard, after).await?,
                Place::Holds(shard, after) => self.holds(shard, after).await?,
                Place::Channels => {
                    self.place = Place::Summary;
                    Some(all_channels(&self.parts, self.wanted))
                }
                Place::Summary => {
                    self.place = Place::End;
                    Some(self.summary())
                }
                Place::End => return Ok(None),
            };
            if piece.is_some() {
                return Ok(Some((ReadAllResponse { piece }, self)));
            }
        }
    }

    /// A page of accounts; `None` when nothing on it is wanted.
    async fn accounts(
        &mut self,
        shard: u16,
        after: Option<AccountId>,
    ) -> Result<Option<Piece>, Status> {
        let after = after.map(AccountId::to_u128);
        let (rows, more) = self.page(shard, CutRows::Accounts, after).await?;
        let rows: Vec<Account> = read(rows.iter().map(|row| get_hot(row).ok()).collect())?;
        let recount = self.recounts.entry(shard).or_default();
        rows.iter().for_each(|account| recount.account(account));
        self.place = match (more, rows.last(), self.next_shard(shard)) {
            (true, Some(last), _) => Place::Accounts(shard, Some(last.id)),
            (_, _, Some(next)) => Place::Accounts(next, None),
            (_, _, None) => Place::Holds(0, None),
        };
        let rows: Vec<Account> =
            rows.into_iter().filter(|account| self.wants(account.currency)).collect();
        self.sent.0 = self.sent.0.saturating_add(count(rows.len()));
        let Some(part) = self.parts.get(&shard).filter(|_| !rows.is_empty()) else {
            return Ok(None);
        };
        all_accounts(shard, part, &rows).map(Some).map_err(refused)
    }

    /// A page of holds; `None` when nothing on it is wanted.
    async fn holds(&mut self, shard: u16, after: Option<HoldId>) -> Result<Option<Piece>, Status> {
        let after = after.map(HoldId::to_u128);
        let (rows, more) = self.page(shard, CutRows::Holds, after).await?;
        let rows: Vec<Hold> = read(rows.iter().map(|row| get_hot(row).ok()).collect())?;
        let recount = self.recounts.entry(shard).or_default();
        rows.iter().for_each(|hold| recount.hold(hold));
        self.place = match (more, rows.last(), self.next_shard(shard)) {
            (true, Some(last), _) => Place::Holds(shard, Some(last.id)),
            (_, _, Some(next)) => Place::Holds(next, None),
            (_, _, None) => Place::Channels,
        };
        let rows: Vec<Hold> = rows.into_iter().filter(|hold| self.wants(hold.currency)).collect();
        self.sent.1 = self.sent.1.saturating_add(count(rows.len()));
        let Some(part) = self.parts.get(&shard).filter(|_| !rows.is_empty()) else {
            return Ok(None);
        };
        all_holds(shard, part, &rows).map(Some).map_err(refused)
    }

    /// Records of a shard's part after an id, and whether there are more behind them.
    async fn page(
        &self,
        shard: u16,
        rows: CutRows,
        after: Option<u128>,
    ) -> Result<(Vec<bytes::Bytes>, bool), Status> {
        if Instant::now() >= self.deadline {
            return Err(status::failure(Failure::DeadlinePassed, None));
        }
        let question = CutPageQuestion {
            cut: self.cut,
            rows: rows.into(),
            after: after.map(sixteen).unwrap_or_default(),
            limit: CUT_PAGE_MAX,
        };
        let slot = self.shards.first_slot(shard);
        let page = self.reads.cut_page(slot, question, self.deadline).await?;
        let gone = || status::obstacle(Obstacle::CutGone { shard: shard.into() });
        page.map(|page| (page.rows, page.more)).ok_or_else(gone)
    }

    fn summary(&self) -> Piece {
        let compared = self.recounts.iter().filter_map(|(shard, recount)| {
            let part = self.parts.get(shard)?;
            Some(recount.compare(*shard, part))
        });
        let found: Vec<Discrepancy> = compared.flatten().collect();
        let summary = all_summary(self.cut, &self.parts, self.sent, &found);
        let found = summary.audit.as_ref().map_or(0, |audit| audit.discrepancies.len());
        if found > 0 {
            tracing::error!(cut = self.cut, found, "the books do not add up");
        }
        Piece::Summary(summary)
    }

    fn wants(&self, currency: Currency) -> bool {
        self.wanted.is_none_or(|wanted| wanted == currency)
    }

    fn next_shard(&self, shard: u16) -> Option<u16> {
        shard.checked_add(1).filter(|next| *next < self.shards.count())
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

//! The operator's reading of everything: one consistent cut of all shards, record by record, while money moves.

use futures::{Stream, StreamExt, stream};
use ledger::{Currency, TenantId};
use tonic::Streaming;
use wire::proto::v1;

use crate::audit::Audit;
use crate::client::Client;
use crate::error::Error;
use crate::views::{Account, Hold};

/// A record of one shard, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The shard.
    pub shard: u16,
    /// The tenant.
    pub tenant: TenantId,
    /// The record as of the cut; its position is the cut's.
    pub record: T,
}

/// What was on its way from one shard to another, in one currency, in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelMoney {
    /// The payers' shard.
    pub from: u16,
    /// The payees' shard.
    pub to: u16,
    /// The currency.
    pub currency: Currency,
    /// What had not arrived.
    pub arriving: i64,
    /// What had been refused there, and was not back.
    pub returning: i64,
}

/// The end of a reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many accounts there were.
    pub accounts: u64,
    /// How many active holds there were.
    pub holds: u64,
    /// The audit of the same cut, in all currencies.
    pub audit: Audit,
}

/// A piece of what a whole cut found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Accounts of one shard in the order of their ids, the shard's own among them; all shards' come before any hold.
    Accounts(Vec<Found<Account>>),
    /// Active holds of one shard in the order of their ids.
    Holds(Vec<Found<Hold>>),
    /// Every channel that had money.
    Channels(Vec<ChannelMoney>),
    /// The end: what was read without it was not everything.
    Summary(Summary),
}

impl Client {
    /// Reads all accounts, holds and money under way, in one currency or all, as one consistent cut found them. An
    /// operator's question. The client's time-out is for the whole stream, a minute at the most.
    ///
    /// The stream ends with [`Piece::Summary`] or with an error; after `CUT_GONE` and whatever else is retryable, begin
    /// again.
    ///
    /// # Errors
    /// Why the reading has not begun. A cluster whose books do not add up is read, and the summary says what is wrong.
    pub async fn read_all(
        &self,
        currency: Option<Currency>,
    ) -> Result<impl Stream<Item = Result<Piece, Error>> + Send + use<>, Error> {
        let currency_code =
            currency.map_or_else(String::new, |currency| currency.code().to_owned());
        let ask = |client: Self, request| async move { client.admin().read_all(request).await };
        let pieces = self.read(v1::ReadAllRequest { currency_code }, ask).await?;
        Ok(stream::unfold(Some(pieces), next))
    }
}

/// The next piece, and the rest of the stream; nothing comes after the summary or an error.
async fn next(
    pieces: Option<Streaming<v1::ReadAllResponse>>,
) -> Option<(Result<Piece, Error>, Option<Streaming<v1::ReadAllResponse>>)> {
    let mut pieces = pieces?;
    let piece = match pieces.next().await {
        Some(Ok(piece)) => Piece::read(&piece).ok_or(Error::Unreadable("piece")),
        Some(Err(status)) => Err(Error::of_status(&status)),
        None => Err(Error::Unreadable("end")),
    };
    let rest = match &piece {
        Ok(Piece::Summary(_)) | Err(_) => None,
        Ok(Piece::Accounts(_) | Piece::Holds(_) | Piece::Channels(_)) => Some(pieces),
    };
    Some((piece, rest))
}

impl Piece {
    /// Reads a message; `None` when it makes no sense.
    fn read(message: &v1::ReadAllResponse) -> Option<Self> {
        use v1::read_all_response::Piece as Said;
        match message.piece.as_ref()? {
            Said::Accounts(v1::ReadAllAccounts { shard, accounts }) => {
                let read = |found: &v1::TenantAccount| {
                    Found::of(*shard, found.tenant, Account::read(found.account.as_ref()?)?)
                };
                accounts.iter().map(read).collect::<Option<_>>().map(Self::Accounts)
            }
            Said::Holds(v1::ReadAllHolds { shard, holds }) => {
                let read = |found: &v1::TenantHold| {
                    Found::of(*shard, found.tenant, Hold::read(found.hold.as_ref()?)?)
                };
                holds.iter().map(read).collect::<Option<_>>().map(Self::Holds)
            }
            Said::Channels(v1::ReadAllChannels { channels }) => {
                channels.iter().map(ChannelMoney::read).collect::<Option<_>>().map(Self::Channels)
            }
            Said::Summary(v1::ReadAllSummary { accounts, holds, audit }) => {
                let audit = Audit::read(audit.as_ref()?)?;
                Some(Self::Summary(Summary { accounts: *accounts, holds: *holds, audit }))
            }
        }
    }
}

impl<T> Found<T> {
    fn of(shard: u32, tenant: u32, record: T) -> Option<Self> {
        Some(Self { shard: u16::try_from(shard).ok()?, tenant: TenantId(tenant), record })
    }
}

impl ChannelMoney {
    fn read(channel: &v1::ChannelMoney) -> Option<Self> {
        Some(Self {
            from: u16::try_from(channel.from_shard).ok()?,
            to: u16::try_from(channel.to_shard).ok()?,
            currency: Currency::from_code(&channel.currency_code).ok()?,
            arriving: channel.arriving_minor,
            returning: channel.returning_minor,
        })
    }
}

//! Statements inside the cluster: how a node writes a page of one, and how a gateway reads it.

use ledger::{AccountId, Currency, JournalKind, Posting, PostingKey, Time, TransferId};

use crate::proto::cluster;

/// A page of an account's statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Newest first.
    pub postings: Vec<Posting>,
    /// Whether older ones may follow: the next page begins below the last posting.
    pub more: bool,
    /// The shard in whose log they stand.
    pub shard: u16,
    /// The account's currency.
    pub currency: Currency,
}

impl From<&Page> for cluster::StatementPage {
    fn from(page: &Page) -> Self {
        let last = page.postings.last().filter(|_| page.more);
        Self {
            postings: page.postings.iter().map(cluster::Posting::from).collect(),
            next: last.map(|last| put_cursor(&last.key).into()).unwrap_or_default(),
            shard: page.shard.into(),
            currency: page.currency.number().into(),
        }
    }
}

impl Page {
    /// Reads a shard's page; `None` when it is none.
    #[must_use]
    pub fn read(page: &cluster::StatementPage, account: AccountId) -> Option<Self> {
        let postings = page.postings.iter().map(|posting| get_posting(posting, account));
        Some(Self {
            postings: postings.collect::<Option<_>>()?,
            more: !page.next.is_empty(),
            shard: u16::try_from(page.shard).ok()?,
            currency: Currency::from_number(u16::try_from(page.currency).ok()?).ok()?,
        })
    }
}

impl From<&Posting> for cluster::Posting {
    fn from(posting: &Posting) -> Self {
        let kind = match posting.kind {
            JournalKind::Opening => cluster::JournalKind::Opening,
            JournalKind::Transfer => cluster::JournalKind::Transfer,
            JournalKind::Post => cluster::JournalKind::Post,
            JournalKind::Reversal => cluster::JournalKind::Reversal,
            JournalKind::Return => cluster::JournalKind::Return,
        };
        Self {
            index: posting.key.index,
            position: posting.key.position.into(),
            line: posting.key.line.into(),
            time_ms: posting.at.0,
            amount: posting.amount,
            balance: posting.balance.to_be_bytes().to_vec().into(),
            counter: posting.counter.to_u128().to_be_bytes().to_vec().into(),
            kind: kind.into(),
            reverses: posting.reverses.map(put_transfer),
            part_of: posting.part_of.map(put_transfer),
        }
    }
}

fn get_posting(posting: &cluster::Posting, account: AccountId) -> Option<Posting> {
    let kind = match cluster::JournalKind::try_from(posting.kind).ok()? {
        cluster::JournalKind::Unspecified => return None,
        cluster::JournalKind::Opening => JournalKind::Opening,
        cluster::JournalKind::Transfer => JournalKind::Transfer,
        cluster::JournalKind::Post => JournalKind::Post,
        cluster::JournalKind::Reversal => JournalKind::Reversal,
        cluster::JournalKind::Return => JournalKind::Return,
    };
    Some(Posting {
        key: PostingKey {
            account,
            index: posting.index,
            position: u16::try_from(posting.position).ok()?,
            line: u8::try_from(posting.line).ok()?,
        },
        counter: AccountId::from_u128(sixteen(&posting.counter)?),
        amount: posting.amount,
        balance: i128::from_be_bytes(posting.balance.as_ref().try_into().ok()?),
        at: Time(posting.time_ms),
        kind,
        reverses: get_transfer(posting.reverses)?,
        part_of: get_transfer(posting.part_of)?,
    })
}

fn put_transfer(transfer: TransferId) -> cluster::TransferRef {
    let TransferId { shard, index, position } = transfer;
    cluster::TransferRef { shard: shard.into(), index, position: position.into() }
}

/// Reads a transfer's name, if there is one; `None` when it is none.
fn get_transfer(name: Option<cluster::TransferRef>) -> Option<Option<TransferId>> {
    let Some(cluster::TransferRef { shard, index, position }) = name else { return Some(None) };
    let (shard, position) = (u16::try_from(shard).ok()?, u16::try_from(position).ok()?);
    Some(Some(TransferId { shard, index, position }))
}

/// Reads 16 big-endian bytes, as ids travel inside the cluster; `None` when there are not 16.
#[must_use]
pub fn sixteen(bytes: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(bytes.try_into().ok()?))
}

/// A posting's place as a cursor.
fn put_cursor(key: &PostingKey) -> Vec<u8> {
    let mut cursor = key.index.to_be_bytes().to_vec();
    cursor.extend_from_slice(&key.position.to_be_bytes());
    cursor.push(key.line);
    cursor
}

/// Reads a cursor; `None` when it is none. An empty one means the newest page, and is the caller's to notice.
#[must_use]
pub fn get_cursor(account: AccountId, cursor: &[u8]) -> Option<PostingKey> {
    let (index, rest) = cursor.split_first_chunk::<8>()?;
    let [high, low, line] = *rest else { return None };
    let (index, position) = (u64::from_be_bytes(*index), u16::from_be_bytes([high, low]));
    Some(PostingKey { account, index, position, line })
}

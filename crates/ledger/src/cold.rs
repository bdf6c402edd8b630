//! Records that may leave memory: what each is called, and how it is written into a volume.
//!
//! Outcomes, ended holds, marks of reversals and the lines of journals never change again. After a checkpoint has them
//! durably they leave memory; a batch that names one of them is given it back ([`crate::Fetched`]). Names are ordered
//! so that an account's postings lie together, oldest first.
//!
//! ```text
//! o tenant subject operation key     an outcome
//! h hold                             an ended hold
//! r shard index position             the mark of a reversed transfer
//! j shard index position             the legs of a transfer that has several
//! p account index position line      a posting: one line of a journal on its account
//! i shard index position             a transfer that came from another shard, by its name there
//! ```

use bincode::{Decode, Encode};

use crate::amount::Amount;
use crate::batch::Leg;
use crate::codec;
use crate::hash;
use crate::hold::Hold;
use crate::id::{AccountId, HoldId, TenantId, Time, TransferId};
use crate::journal::{JournalKind, Posting, PostingKey};
use crate::key::{Key, ScopedKey};
use crate::outcome::Outcome;

/// Stored bytes that are not what they should be. The node that reads them stops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored {what} cannot be read: {why}")]
pub struct Corrupt {
    /// What was being read.
    pub what: &'static str,
    /// What is wrong with it.
    pub why: String,
}

impl Corrupt {
    pub(crate) fn new(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, why: why.into() }
    }
}

/// The name of a record that may lie in a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColdName {
    /// The outcome of a key.
    Outcome(ScopedKey),
    /// An ended hold.
    Hold(HoldId),
    /// The mark that a transfer was reversed.
    Reversal(TransferId),
    /// The legs of a transfer that has several.
    Legs(TransferId),
    /// A posting.
    Posting(PostingKey),
    /// A transfer that came from another shard, by its name there.
    Incoming(TransferId),
}

impl ColdName {
    /// Its bytes: the key in a volume.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(40);
        match self {
            Self::Outcome(scoped) => {
                key.push(b'o');
                key.extend_from_slice(&scoped.tenant.0.to_be_bytes());
                key.extend_from_slice(&scoped.subject.to_be_bytes());
                codec::put_cold(&scoped.operation, &mut key);
                key.extend_from_slice(&scoped.key.to_u128().to_be_bytes());
            }
            Self::Hold(hold) => {
                key.push(b'h');
                key.extend_from_slice(&hold.to_u128().to_be_bytes());
            }
            Self::Reversal(transfer) => put_transfer(b'r', *transfer, &mut key),
            Self::Legs(transfer) => put_transfer(b'j', *transfer, &mut key),
            Self::Incoming(transfer) => put_transfer(b'i', *transfer, &mut key),
            Self::Posting(posting) => {
                key.push(b'p');
                key.extend_from_slice(&posting.account.to_u128().to_be_bytes());
                key.extend_from_slice(&posting.index.to_be_bytes());
                key.extend_from_slice(&posting.position.to_be_bytes());
                key.push(posting.line);
            }
        }
        key
    }

    /// The earliest log time at which the record can have been written: volumes that ended before need not be asked.
    #[must_use]
    pub fn not_before(&self) -> Option<Time> {
        match self {
            Self::Outcome(scoped) => scoped.key.not_before(),
            Self::Hold(_)
            | Self::Reversal(_)
            | Self::Legs(_)
            | Self::Posting(_)
            | Self::Incoming(_) => None,
        }
    }
}

impl ColdName {
    /// Reads a name back from its bytes.
    ///
    /// # Errors
    /// When the bytes are no name.
    pub fn parse(key: &[u8]) -> Result<Self, Corrupt> {
        let corrupt = || Corrupt::new("name", "it has another shape");
        let (kind, rest) = key.split_first().ok_or_else(corrupt)?;
        let mut fields = Fields(rest);
        let name = match kind {
            b'o' => Self::Outcome(ScopedKey {
                tenant: TenantId(u32::from_be_bytes(fields.take().ok_or_else(corrupt)?)),
                subject: u128::from_be_bytes(fields.take().ok_or_else(corrupt)?),
                operation: get("operation", &fields.take::<1>().ok_or_else(corrupt)?)?,
                key: Key::from_u128(u128::from_be_bytes(fields.take().ok_or_else(corrupt)?)),
            }),
            b'h' => Self::Hold(HoldId::from_u128(u128::from_be_bytes(
                fields.take().ok_or_else(corrupt)?,
            ))),
            b'r' => Self::Reversal(fields.transfer().ok_or_else(corrupt)?),
            b'j' => Self::Legs(fields.transfer().ok_or_else(corrupt)?),
            b'i' => Self::Incoming(fields.transfer().ok_or_else(corrupt)?),
            b'p' => Self::Posting(PostingKey {
                account: AccountId::from_u128(u128::from_be_bytes(
                    fields.take().ok_or_else(corrupt)?,
                )),
                index: u64::from_be_bytes(fields.take().ok_or_else(corrupt)?),
                position: u16::from_be_bytes(fields.take().ok_or_else(corrupt)?),
                line: u8::from_be_bytes(fields.take().ok_or_else(corrupt)?),
            }),
            _ => return Err(corrupt()),
        };
        if fields.0.is_empty() { Ok(name) } else { Err(corrupt()) }
    }
}

/// The bytes of a name that are still to be read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn transfer(&mut self) -> Option<TransferId> {
        Some(TransferId {
            shard: u16::from_be_bytes(self.take()?),
            index: u64::from_be_bytes(self.take()?),
            position: u16::from_be_bytes(self.take()?),
        })
    }
}

fn put_transfer(kind: u8, transfer: TransferId, key: &mut Vec<u8>) {
    key.push(kind);
    key.extend_from_slice(&transfer.shard.to_be_bytes());
    key.extend_from_slice(&transfer.index.to_be_bytes());
    key.extend_from_slice(&transfer.position.to_be_bytes());
}

/// What a filter knows an account's postings by: all of them share one item, so that a statement can skip volumes.
#[must_use]
pub fn posting_filter(account: AccountId) -> u64 {
    hash::filter_item(&account.to_u128().to_be_bytes())
}

/// The first name of an account's postings, and the first name after them.
#[must_use]
pub fn posting_range(account: AccountId) -> (Vec<u8>, Vec<u8>) {
    let first = PostingKey { account, index: 0, position: 0, line: 0 };
    let last = PostingKey { account, index: u64::MAX, position: u16::MAX, line: u8::MAX };
    let mut upper = ColdName::Posting(last).key();
    upper.push(0);
    (ColdName::Posting(first).key(), upper)
}

/// A record on its way into a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColdRecord {
    /// Its name.
    pub key: Vec<u8>,
    /// Its content.
    pub value: Vec<u8>,
}

impl ColdRecord {
    /// Writes a record. Its value carries no version byte of its own: a volume has one.
    pub(crate) fn new(name: &ColdName, content: &impl Encode) -> Self {
        let mut value = Vec::with_capacity(48);
        codec::put_cold(content, &mut value);
        Self { key: name.key(), value }
    }

    /// Writes a posting. The name of a transfer that has it from elsewhere follows the rest, where there is one.
    pub(crate) fn posting(posting: &Posting) -> Self {
        let mut record = Self::new(&ColdName::Posting(posting.key), &PostingBody::of(posting));
        if let Some(part_of) = posting.part_of {
            codec::put_cold(&part_of, &mut record.value);
        }
        record
    }
}

/// A cold record's part in the digest, from its bytes.
///
/// # Errors
/// When the bytes are no cold record.
pub fn cold_digest(key: &[u8], value: &[u8]) -> Result<u128, Corrupt> {
    let name = ColdName::parse(key)?;
    Ok(match ColdValue::read(&name, value)? {
        ColdValue::Posting(posting) => posting_part(&posting),
        other @ (ColdValue::Outcome(_)
        | ColdValue::Hold(_)
        | ColdValue::Reversal(_)
        | ColdValue::Legs(..)
        | ColdValue::Incoming(_)) => hash::part(&(name, other)),
    })
}

/// A posting's part in the digest. Its name is in it, so it is hashed once only: there are two for every transfer.
pub(crate) fn posting_part(posting: &Posting) -> u128 {
    hash::part(&(b'p', posting))
}

/// What is kept of an executed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Hash)]
pub struct KeptOutcome {
    /// What the request's business fields hashed to.
    pub fingerprint: u128,
    /// What became of it.
    pub outcome: Outcome,
    /// When, in log time.
    pub at: Time,
}

/// What is kept of a transfer of one leg that came from another shard: what undoing it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Hash)]
pub struct Incoming {
    /// Who paid, on the other shard.
    pub debit: AccountId,
    /// Who was paid.
    pub credit: AccountId,
    /// How much.
    pub amount: Amount,
    /// Why.
    pub kind: JournalKind,
    /// When, in this shard's log time.
    pub at: Time,
}

/// The content of a posting, beside its name.
#[derive(Clone, Copy, Debug, Encode, Decode)]
pub(crate) struct PostingBody {
    counter: AccountId,
    amount: u64,
    balance: i128,
    at: Time,
    kind: JournalKind,
    reverses: Option<TransferId>,
}

impl PostingBody {
    pub(crate) const fn of(posting: &Posting) -> Self {
        Self {
            counter: posting.counter,
            amount: posting.amount,
            balance: posting.balance,
            at: posting.at,
            kind: posting.kind,
            reverses: posting.reverses,
        }
    }
}

impl Posting {
    /// Reads a posting out of a volume.
    ///
    /// # Errors
    /// When the bytes are no posting.
    pub fn from_cold(key: &[u8], value: &[u8]) -> Result<Self, Corrupt> {
        let ColdName::Posting(key) = ColdName::parse(key)? else {
            return Err(Corrupt::new("posting", "its name is of another kind"));
        };
        let corrupt =
            |error: bincode::error::DecodeError| Corrupt::new("posting", error.to_string());
        let (body, length): (PostingBody, _) = codec::take_cold(value).map_err(corrupt)?;
        let part_of = match value.get(length..) {
            None | Some([]) => None,
            Some(name) => Some(codec::get_cold(name).map_err(corrupt)?),
        };
        Ok(Self {
            key,
            counter: body.counter,
            amount: body.amount,
            balance: body.balance,
            at: body.at,
            kind: body.kind,
            reverses: body.reverses,
            part_of,
        })
    }
}

/// What a cold record says, once read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ColdValue {
    /// An outcome.
    Outcome(KeptOutcome),
    /// An ended hold.
    Hold(Hold),
    /// The transfer that reversed this one.
    Reversal(TransferId),
    /// The legs of a transfer, when, and of which kind.
    Legs(Vec<Leg>, Time, JournalKind),
    /// A posting.
    Posting(Posting),
    /// A transfer that came from another shard.
    Incoming(Incoming),
}

impl ColdValue {
    /// Reads the content of a record by its name.
    ///
    /// # Errors
    /// When the bytes are no such record.
    pub fn read(name: &ColdName, value: &[u8]) -> Result<Self, Corrupt> {
        Ok(match name {
            ColdName::Outcome(_) => Self::Outcome(get("outcome", value)?),
            ColdName::Hold(_) => Self::Hold(get("hold", value)?),
            ColdName::Reversal(_) => Self::Reversal(get("reversal", value)?),
            ColdName::Legs(_) => {
                let (legs, at, kind) = get("legs", value)?;
                Self::Legs(legs, at, kind)
            }
            ColdName::Posting(_) => Self::Posting(Posting::from_cold(&name.key(), value)?),
            ColdName::Incoming(_) => Self::Incoming(get("incoming", value)?),
        })
    }
}

fn get<T: Decode<()>>(what: &'static str, value: &[u8]) -> Result<T, Corrupt> {
    codec::get_cold(value).map_err(|error| Corrupt::new(what, error.to_string()))
}

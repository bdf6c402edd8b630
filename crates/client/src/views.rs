//! Accounts, holds and postings as a reader sees them.
//!
//! Balances are `i64` minor units: a bank's own account may be below zero.

use ledger::{
    AccountId, AccountKind, Amount, Authority, Currency, FreezeScope, HoldId, HoldState,
    JournalKind, Side, Time, TransferId,
};
use wire::convert::{account_id, hold_id};
use wire::proto::v1;

use crate::posted::{time, transfer_id};

/// Up to which point of the log an answer is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The log index of the shard that answered.
    pub index: u64,
    /// Log time at that index.
    pub time: Time,
}

/// One freeze of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// On whose authority.
    pub authority: Authority,
    /// What the account may no longer do.
    pub scope: FreezeScope,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// What kind.
    pub kind: AccountKind,
    /// Its currency.
    pub currency: Currency,
    /// What its journals add up to.
    pub posted: i64,
    /// What its active holds set aside.
    pub held: i64,
    /// What it can pay now.
    pub available: i64,
    /// How often it has changed.
    pub version: u64,
    /// When it was opened.
    pub opened_at: Time,
    /// Who has frozen it.
    pub freezes: Vec<Freeze>,
    /// How many active holds it has.
    pub active_holds: u32,
    /// Whether it is closed, for ever.
    pub closed: bool,
    /// Up to where this is true.
    pub position: Position,
}

/// Money set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// Who pays.
    pub debit: AccountId,
    /// Who is paid.
    pub credit: AccountId,
    /// In what.
    pub currency: Currency,
    /// What it began with.
    pub amount: i64,
    /// What was moved.
    pub posted: i64,
    /// What is still held.
    pub remaining: i64,
    /// Where it is in its life.
    pub state: HoldState,
    /// When it expires.
    pub expires_at: Time,
    /// Up to where this is true.
    pub position: Position,
}

/// One line of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The transfer that wrote it.
    pub transfer: TransferId,
    /// Its leg of the transfer.
    pub leg: u32,
    /// Which side of the account it stands on.
    pub side: Side,
    /// In what.
    pub currency: Currency,
    /// How much.
    pub amount: Amount,
    /// The account's balance after it.
    pub balance: i64,
    /// The account on the other side.
    pub counter: AccountId,
    /// When.
    pub at: Time,
    /// Why money moved.
    pub kind: JournalKind,
    /// The transfer that it undoes.
    pub reverses: Option<TransferId>,
}

impl Position {
    pub(crate) fn read(position: Option<&v1::Position>) -> Option<Self> {
        let position = position?;
        Some(Self { index: position.index, time: time(position.log_time.as_ref())? })
    }
}

impl Account {
    /// Reads an answer; `None` when it makes no sense.
    pub(crate) fn read(account: &v1::Account) -> Option<Self> {
        let (posted, currency) = money(account.posted.as_ref())?;
        let id = account_id("name", &account.name).ok()?;
        let kind = match account.kind() {
            v1::AccountKind::Unspecified => return None,
            v1::AccountKind::Wallet => AccountKind::Wallet,
            v1::AccountKind::Opening => AccountKind::Opening,
            v1::AccountKind::DueTo => AccountKind::DueTo(AccountKind::peer_of(id)),
            v1::AccountKind::DueFrom => AccountKind::DueFrom(AccountKind::peer_of(id)),
            v1::AccountKind::Suspense => AccountKind::Suspense,
        };
        let closed = match account.state() {
            v1::AccountState::Unspecified => return None,
            v1::AccountState::Open => false,
            v1::AccountState::Closed => true,
        };
        Some(Self {
            id,
            kind,
            currency,
            posted,
            held: money(account.held.as_ref())?.0,
            available: money(account.available.as_ref())?.0,
            version: account.version,
            opened_at: time(account.create_time.as_ref())?,
            freezes: account.freezes.iter().map(freeze).collect::<Option<_>>()?,
            active_holds: account.active_holds,
            closed,
            position: Position::read(account.position.as_ref())?,
        })
    }
}

impl Hold {
    /// Reads an answer; `None` when it makes no sense.
    pub(crate) fn read(hold: &v1::Hold) -> Option<Self> {
        let (amount, currency) = money(hold.amount.as_ref())?;
        let state = match hold.state() {
            v1::HoldState::Unspecified => return None,
            v1::HoldState::Active => HoldState::Active,
            v1::HoldState::Posted => HoldState::Posted,
            v1::HoldState::Voided => HoldState::Voided,
            v1::HoldState::Expired => HoldState::Expired,
        };
        Some(Self {
            id: hold_id("name", &hold.name).ok()?,
            debit: account_id("debit_account", &hold.debit_account).ok()?,
            credit: account_id("credit_account", &hold.credit_account).ok()?,
            currency,
            amount,
            posted: money(hold.posted.as_ref())?.0,
            remaining: money(hold.remaining.as_ref())?.0,
            state,
            expires_at: time(hold.expire_time.as_ref())?,
            position: Position::read(hold.position.as_ref())?,
        })
    }
}

impl Posting {
    /// Reads a line; `None` when it makes no sense.
    pub(crate) fn read(posting: &v1::Posting) -> Option<Self> {
        let (amount, currency) = money(posting.amount.as_ref())?;
        let side = match posting.side() {
            v1::Side::Unspecified => return None,
            v1::Side::Debit => Side::Debit,
            v1::Side::Credit => Side::Credit,
        };
        let kind = match posting.kind() {
            v1::JournalKind::Unspecified => return None,
            v1::JournalKind::Opening => JournalKind::Opening,
            v1::JournalKind::Transfer => JournalKind::Transfer,
            v1::JournalKind::Post => JournalKind::Post,
            v1::JournalKind::Reversal => JournalKind::Reversal,
            v1::JournalKind::Return => JournalKind::Return,
        };
        let reverses = match posting.reverses.as_str() {
            "" => None,
            name => Some(transfer_id(name)?),
        };
        Some(Self {
            transfer: transfer_id(&posting.transfer)?,
            leg: posting.leg,
            side,
            currency,
            amount: Amount::from_minor(u64::try_from(amount).ok()?).ok()?,
            balance: money(posting.balance.as_ref())?.0,
            counter: account_id("counter_account", &posting.counter_account).ok()?,
            at: time(posting.post_time.as_ref())?,
            kind,
            reverses,
        })
    }
}

fn money(money: Option<&v1::Money>) -> Option<(i64, Currency)> {
    let money = money?;
    Some((money.units_minor, Currency::from_code(&money.currency_code).ok()?))
}

fn freeze(freeze: &v1::Freeze) -> Option<Freeze> {
    let authority = match freeze.authority() {
        v1::Authority::Unspecified => return None,
        v1::Authority::User => Authority::User,
        v1::Authority::Risk => Authority::Risk,
        v1::Authority::Judicial => Authority::Judicial,
    };
    let scope = match freeze.scope() {
        v1::FreezeScope::Unspecified => return None,
        v1::FreezeScope::Debit => FreezeScope::Debit,
        v1::FreezeScope::All => FreezeScope::All,
    };
    Some(Freeze { authority, scope })
}

//! Reads: what is asked for, and what a shard answers → what the caller sees.

use ledger::{
    Account, AccountId, AccountKind, Authority, Currency, FreezeScope, Hold, HoldId, HoldState,
    JournalKind, Operation, Posting, ScopedKey, TenantId, Time,
};

use super::answers::timestamp;
use super::behalf::Behalf;
use super::fields::Fields;
use super::names::{account_name, hold_name, key, transfer_name};
use super::refusal::Refusal;
use crate::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use crate::proto::v1;

/// Reads the name of an account that is asked for.
///
/// # Errors
/// [`Refusal::InvalidField`].
pub fn account_id(field: &'static str, name: &str) -> Result<AccountId, Refusal> {
    named_account(field, name, TenantId(0))
}

/// Reads the name of an account that is asked for, its id or one of its tenant's aliases.
///
/// # Errors
/// [`Refusal::InvalidField`], [`Refusal::AliasNotFound`].
pub fn named_account<'a>(
    field: &'static str,
    name: &str,
    behalf: impl Into<Behalf<'a>>,
) -> Result<AccountId, Refusal> {
    let mut fields = Fields::of(behalf);
    let id = fields.account(field, name);
    fields.done(id)
}

/// Reads the name of a hold that is asked for.
///
/// # Errors
/// [`Refusal::InvalidField`].
pub fn hold_id(field: &'static str, name: &str) -> Result<HoldId, Refusal> {
    let mut fields = Fields::of(TenantId(0));
    let id = fields.hold(field, name);
    fields.done(id)
}

/// How many postings a page shall have.
///
/// # Errors
/// [`Refusal::InvalidField`] when negative; too many are read as the most.
pub fn page_size(asked: i32) -> Result<u32, Refusal> {
    match u32::try_from(asked) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(asked) => Ok(asked.min(PAGE_SIZE_MAX)),
        Err(_) => Err(Refusal::field("page_size", "1 to 1000, or 0 for 100")),
    }
}

/// Reads a key within its scope, as `LookupOutcome` asks for it.
///
/// # Errors
/// [`Refusal::InvalidField`], [`Refusal::MissingKey`].
pub fn scoped_key<'a>(
    asked: &v1::LookupOutcomeRequest,
    behalf: impl Into<Behalf<'a>>,
) -> Result<ScopedKey, Refusal> {
    let behalf = behalf.into();
    let tenant = behalf.tenant;
    let key = key(&asked.idempotency_key)?;
    let mut fields = Fields::of(behalf);
    let operation = read_operation(asked.operation);
    if operation.is_none() {
        fields.wrong("operation", "what kind of request the key was used for");
    }
    let subject = match operation {
        Some(Operation::Post | Operation::Void) => {
            fields.hold("subject", &asked.subject).map(HoldId::to_u128)
        }
        #[cfg(next_level)]
        Some(Operation::Extend) => fields.hold("subject", &asked.subject).map(HoldId::to_u128),
        Some(
            Operation::Open
            | Operation::Freeze
            | Operation::Unfreeze
            | Operation::Close
            | Operation::Transfer
            | Operation::Hold
            | Operation::Reverse
            | Operation::ForgetKeys
            | Operation::Deliver
            | Operation::Cut
            | Operation::Direct
            | Operation::Report,
        ) => fields.account("subject", &asked.subject).map(AccountId::to_u128),
        None => None,
    };
    let (operation, subject) = fields.done(operation.zip(subject))?;
    Ok(ScopedKey { key, subject, tenant, operation })
}

fn read_operation(operation: i32) -> Option<Operation> {
    match v1::Operation::try_from(operation).ok()? {
        v1::Operation::Unspecified => None,
        v1::Operation::OpenAccount => Some(Operation::Open),
        v1::Operation::FreezeAccount => Some(Operation::Freeze),
        v1::Operation::UnfreezeAccount => Some(Operation::Unfreeze),
        v1::Operation::CloseAccount => Some(Operation::Close),
        v1::Operation::Transfer => Some(Operation::Transfer),
        v1::Operation::PlaceHold => Some(Operation::Hold),
        v1::Operation::PostHold => Some(Operation::Post),
        v1::Operation::VoidHold => Some(Operation::Void),
        v1::Operation::ReverseTransfer => Some(Operation::Reverse),
    }
}

/// Up to where an answer is true.
#[must_use]
pub fn position(index: u64, time: Time) -> v1::Position {
    v1::Position { index, log_time: Some(timestamp(time)) }
}

/// An account as its reader sees it.
///
/// # Errors
/// [`Refusal::BalanceUnrepresentable`].
pub fn account(account: &Account, position: v1::Position) -> Result<v1::Account, Refusal> {
    let currency = account.currency;
    let freezes = [
        (Authority::User, v1::Authority::User),
        (Authority::Risk, v1::Authority::Risk),
        (Authority::Judicial, v1::Authority::Judicial),
    ];
    let freezes = freezes.into_iter().filter_map(|(authority, shown)| {
        let scope = match account.freezes.of(authority)? {
            FreezeScope::Debit => v1::FreezeScope::Debit,
            FreezeScope::All => v1::FreezeScope::All,
        };
        Some(v1::Freeze { authority: shown.into(), scope: scope.into() })
    });
    let kind = match account.kind {
        AccountKind::Wallet => v1::AccountKind::Wallet,
        AccountKind::Opening => v1::AccountKind::Opening,
        AccountKind::DueTo(_) => v1::AccountKind::DueTo,
        AccountKind::DueFrom(_) => v1::AccountKind::DueFrom,
        AccountKind::Suspense => v1::AccountKind::Suspense,
    };
    let state = if account.closed { v1::AccountState::Closed } else { v1::AccountState::Open };
    Ok(v1::Account {
        name: account_name(account.id),
        kind: kind.into(),
        state: state.into(),
        posted: Some(money(currency, account.posted)?),
        held: Some(money(currency, account.held.into())?),
        available: Some(money(currency, account.available().into())?),
        version: account.version,
        create_time: Some(timestamp(account.opened_at)),
        freezes: freezes.collect(),
        active_holds: account.holds,
        position: Some(position),
    })
}

/// A hold as its reader sees it.
///
/// # Errors
/// Never in practice: a hold's amounts are within a request's bounds.
pub fn hold(hold: &Hold, position: v1::Position) -> Result<v1::Hold, Refusal> {
    let state = match hold.state {
        HoldState::Active => v1::HoldState::Active,
        HoldState::Posted => v1::HoldState::Posted,
        HoldState::Voided => v1::HoldState::Voided,
        HoldState::Expired => v1::HoldState::Expired,
    };
    Ok(v1::Hold {
        name: hold_name(hold.id),
        debit_account: account_name(hold.debit),
        credit_account: account_name(hold.credit),
        amount: Some(money(hold.currency, hold.amount.minor().into())?),
        posted: Some(money(hold.currency, hold.posted.into())?),
        remaining: Some(money(hold.currency, hold.remaining.into())?),
        state: state.into(),
        expire_time: Some(timestamp(hold.expires_at)),
        position: Some(position),
    })
}

/// A line of a statement as its reader sees it.
///
/// # Errors
/// [`Refusal::BalanceUnrepresentable`].
pub fn posting(posting: &Posting, shard: u16, currency: Currency) -> Result<v1::Posting, Refusal> {
    let key = posting.key;
    let side = if key.is_credit() { v1::Side::Credit } else { v1::Side::Debit };
    let kind = match posting.kind {
        JournalKind::Opening => v1::JournalKind::Opening,
        JournalKind::Transfer => v1::JournalKind::Transfer,
        JournalKind::Post => v1::JournalKind::Post,
        JournalKind::Reversal => v1::JournalKind::Reversal,
        JournalKind::Return => v1::JournalKind::Return,
    };
    Ok(v1::Posting {
        transfer: transfer_name(posting.transfer(shard)),
        leg: u32::from(key.line >> 1),
        side: side.into(),
        amount: Some(money(currency, posting.amount.into())?),
        balance: Some(money(currency, posting.balance)?),
        counter_account: account_name(posting.counter),
        post_time: Some(timestamp(posting.at)),
        kind: kind.into(),
        reverses: posting.reverses.map(transfer_name).unwrap_or_default(),
    })
}

fn money(currency: Currency, minor: i128) -> Result<v1::Money, Refusal> {
    let units_minor = i64::try_from(minor).map_err(|_| Refusal::BalanceUnrepresentable)?;
    Ok(v1::Money { currency_code: currency.code().to_owned(), units_minor })
}

//! Requests: what a caller wrote → what the ledger is asked.

use ledger::batch::{HOLD_MS_MAX, LEGS_MAX};
use ledger::{AccountId, AccountKind, Command, HoldId, Key, Leg, Request, TenantId};
use prost_types::Duration;

use super::answers::Made;
use super::behalf::Behalf;
use super::derive::{derived_account, derived_hold};
use super::fields::Fields;
use super::names::key;
use super::refusal::Refusal;
use crate::limits::TEXT_BYTES_MAX;
use crate::proto::v1;
use crate::proto::v1::request::Command as Wanted;

/// A request as the ledger will see it, and what it makes: the caller may have left the name to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// What goes into the log.
    pub request: Request,
    /// The account or hold that it makes, if it makes one.
    pub made: Option<Made>,
}

/// A message that asks the ledger to do something.
pub trait ToIntent {
    /// Reads the message on somebody's behalf.
    ///
    /// # Errors
    /// When a field is wrong or the key is missing. Nothing is rounded.
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal>;
}

/// Reads one request of a batch or a frame.
///
/// # Errors
/// As [`ToIntent::to_intent`]; also when it wants nothing.
pub fn request<'a>(
    request: &v1::Request,
    behalf: impl Into<Behalf<'a>>,
) -> Result<Intent, Refusal> {
    let behalf = behalf.into();
    match &request.command {
        Some(Wanted::Transfer(wanted)) => wanted.to_intent(behalf),
        Some(Wanted::MultiTransfer(wanted)) => wanted.to_intent(behalf),
        Some(Wanted::ReverseTransfer(wanted)) => wanted.to_intent(behalf),
        Some(Wanted::PlaceHold(wanted)) => wanted.to_intent(behalf),
        Some(Wanted::PostHold(wanted)) => wanted.to_intent(behalf),
        Some(Wanted::VoidHold(wanted)) => wanted.to_intent(behalf),
        Some(Wanted::OpenAccount(wanted)) => wanted.to_intent(behalf),
        Some(Wanted::FreezeAccount(wanted)) => wanted.to_intent(behalf),
        Some(Wanted::UnfreezeAccount(wanted)) => wanted.to_intent(behalf),
        Some(Wanted::CloseAccount(wanted)) => wanted.to_intent(behalf),
        None => Err(Refusal::field("command", "one of the requests that this message can carry")),
    }
}

fn intent(key: Key, tenant: TenantId, command: Command) -> Intent {
    Intent { request: Request { key, tenant, command }, made: None }
}

impl ToIntent for v1::TransferRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let behalf = behalf.into();
        let tenant = behalf.tenant;
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        let debit = fields.account("debit_account", &self.debit_account);
        let credit = fields.account("credit_account", &self.credit_account);
        let money = fields.money(self.amount.as_ref());
        let read = debit.zip(credit).zip(money);
        let ((debit, credit), (amount, currency)) = fields.done(read)?;
        Ok(intent(key, tenant, Command::Transfer { debit, credit, amount, currency }))
    }
}

impl ToIntent for v1::MultiTransferRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let behalf = behalf.into();
        let tenant = behalf.tenant;
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        let initiator = fields.account("initiator_account", &self.initiator_account);
        let currency = fields.currency("currency_code", &self.currency_code);
        if !(1..=LEGS_MAX).contains(&self.legs.len()) {
            fields.wrong("legs", "1 to 64 legs");
        }
        // Past the bound nothing more is read: a long list of bad legs would make a longer list of complaints.
        let mut legs = Vec::with_capacity(self.legs.len().min(LEGS_MAX));
        for (place, leg) in self.legs.iter().take(LEGS_MAX).enumerate() {
            legs.extend(read_leg(&mut fields, place, leg));
        }
        let (initiator, currency) = fields.done(initiator.zip(currency))?;
        Ok(intent(key, tenant, Command::MultiTransfer { initiator, currency, legs }))
    }
}

fn read_leg(fields: &mut Fields<'_>, place: usize, leg: &v1::TransferLeg) -> Option<Leg> {
    let path = |field| format!("legs[{place}].{field}");
    let debit = fields.account(path("debit_account"), &leg.debit_account);
    let credit = fields.account(path("credit_account"), &leg.credit_account);
    let amount = fields.amount(path("units_minor"), leg.units_minor);
    let ((debit, credit), amount) = debit.zip(credit).zip(amount)?;
    Some(Leg { debit, credit, amount })
}

impl ToIntent for v1::ReverseTransferRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let behalf = behalf.into();
        let tenant = behalf.tenant;
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        let transfer = fields.transfer("name", &self.name);
        let credit = fields.account("credit_account", &self.credit_account);
        let (transfer, credit) = fields.done(transfer.zip(credit))?;
        Ok(intent(key, tenant, Command::Reverse { credit, transfer }))
    }
}

impl ToIntent for v1::PlaceHoldRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let behalf = behalf.into();
        let tenant = behalf.tenant;
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        let debit = fields.account("debit_account", &self.debit_account);
        let credit = fields.account("credit_account", &self.credit_account);
        let money = fields.money(self.amount.as_ref());
        let timeout_ms = read_ttl(&mut fields, self.ttl.as_ref());
        let hold = match (self.hold.as_str(), debit) {
            ("", debit) => debit.map(|debit| derived_hold(tenant, key, debit)),
            (name, debit) => named_hold(&mut fields, name, debit),
        };
        let read = debit.zip(credit).zip(money).zip(timeout_ms.zip(hold));
        let (((debit, credit), (amount, currency)), (timeout_ms, hold)) = fields.done(read)?;
        let command = Command::Hold { debit, hold, credit, amount, currency, timeout_ms };
        Ok(Intent { made: Some(Made::Hold(hold)), ..intent(key, tenant, command) })
    }
}

/// A hold's own name must lead to its debit account's shard: later requests name the hold alone.
fn named_hold(fields: &mut Fields<'_>, name: &str, debit: Option<AccountId>) -> Option<HoldId> {
    let hold = fields.hold("hold", name)?;
    if debit.is_some_and(|debit| debit.slot() != hold.slot()) {
        fields.wrong("hold", "its last three digits must be those of the debit account");
        return None;
    }
    Some(hold)
}

fn read_ttl(fields: &mut Fields<'_>, ttl: Option<&Duration>) -> Option<u64> {
    let read = ttl.and_then(|Duration { seconds, nanos }| {
        let nanos = u64::try_from(*nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
        let whole = u64::try_from(*seconds).ok()?.checked_mul(1_000)?;
        nanos.is_multiple_of(1_000_000).then_some(())?;
        whole.checked_add(nanos.checked_div(1_000_000)?)
    });
    read.filter(|ms| (1..=HOLD_MS_MAX).contains(ms)).or_else(|| {
        fields.wrong("ttl", "1 ms to 400 days, whole milliseconds");
        None
    })
}

impl ToIntent for v1::PostHoldRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let behalf = behalf.into();
        let tenant = behalf.tenant;
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        let hold = fields.hold("name", &self.name);
        let amount = self.units_minor.and_then(|minor| fields.amount("units_minor", minor));
        let hold = fields.done(hold)?;
        let release_rest = self.release_rest;
        Ok(intent(key, tenant, Command::Post { hold, amount, release_rest }))
    }
}

impl ToIntent for v1::VoidHoldRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let behalf = behalf.into();
        let tenant = behalf.tenant;
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        let hold = fields.hold("name", &self.name);
        Ok(intent(key, tenant, Command::Void { hold: fields.done(hold)? }))
    }
}

impl ToIntent for v1::OpenAccountRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let behalf = behalf.into();
        let tenant = behalf.tenant;
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        if self.owner.len() > TEXT_BYTES_MAX {
            fields.wrong("owner", "at most 255 bytes");
        }
        let account = if self.account.is_empty() {
            Some(derived_account(tenant, key, &self.owner))
        } else {
            if !self.owner.is_empty() {
                fields.wrong("owner", "not together with an account: its id says where it lives");
            }
            fields.account("account", &self.account)
        };
        let currency = fields.currency("currency_code", &self.currency_code);
        let kind = read_kind(&mut fields, self.kind);
        let opening = self.opening_balance.as_ref().and_then(|money| {
            if money.currency_code != self.currency_code {
                fields.wrong("opening_balance.currency_code", "the account's own currency");
            }
            fields.amount("opening_balance.units_minor", money.units_minor)
        });
        let ((account, currency), kind) = fields.done(account.zip(currency).zip(kind))?;
        let command = Command::Open { account, currency, kind, opening };
        Ok(Intent { made: Some(Made::Account(account)), ..intent(key, tenant, command) })
    }
}

fn read_kind(fields: &mut Fields<'_>, kind: i32) -> Option<AccountKind> {
    match v1::AccountKind::try_from(kind) {
        Ok(v1::AccountKind::Unspecified | v1::AccountKind::Wallet) => Some(AccountKind::Wallet),
        Ok(
            v1::AccountKind::Opening
            | v1::AccountKind::DueTo
            | v1::AccountKind::DueFrom
            | v1::AccountKind::Suspense,
        )
        | Err(_) => {
            fields.wrong("kind", "ACCOUNT_KIND_WALLET: the others are the shard's own");
            None
        }
    }
}

impl ToIntent for v1::FreezeAccountRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let behalf = behalf.into();
        let tenant = behalf.tenant;
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        let account = fields.account("name", &self.name);
        let scope = fields.scope(self.scope);
        let authority = fields.authority(self.authority);
        let ((account, scope), authority) = fields.done(account.zip(scope).zip(authority))?;
        Ok(intent(key, tenant, Command::Freeze { account, scope, authority }))
    }
}

impl ToIntent for v1::UnfreezeAccountRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let behalf = behalf.into();
        let tenant = behalf.tenant;
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        let account = fields.account("name", &self.name);
        let authority = fields.authority(self.authority);
        let (account, authority) = fields.done(account.zip(authority))?;
        Ok(intent(key, tenant, Command::Unfreeze { account, authority }))
    }
}

impl ToIntent for v1::CloseAccountRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let behalf = behalf.into();
        let tenant = behalf.tenant;
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        let account = fields.account("name", &self.name);
        Ok(intent(key, tenant, Command::Close { account: fields.done(account)? }))
    }
}

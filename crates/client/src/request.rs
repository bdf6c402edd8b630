//! Requests: what a caller wants, once.

use std::time::Duration;

use ledger::{AccountId, Amount, Authority, Currency, FreezeScope, HoldId, Leg, TransferId};
use uuid::Uuid;
use wire::convert::{account_name, hold_name, transfer_name};
use wire::proto::v1;
use wire::proto::v1::request::Command;

use crate::money::{Money, units};

/// One intent, and its idempotency key: a fresh UUIDv7 unless [`Request::with_key`] says otherwise.
///
/// Keep it until its outcome is known: sending the same request again is safe, making it anew is not.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    command: Command,
}

impl Request {
    /// Opens a wallet.
    #[must_use]
    pub fn open_account(currency: Currency) -> Self {
        Self::fresh(Command::OpenAccount(v1::OpenAccountRequest {
            currency_code: currency.code().to_owned(),
            kind: v1::AccountKind::Wallet.into(),
            ..Default::default()
        }))
    }

    /// Moves money from one account to another.
    #[must_use]
    pub fn transfer(debit: AccountId, credit: AccountId, money: Money) -> Self {
        Self::fresh(Command::Transfer(v1::TransferRequest {
            debit_account: account_name(debit),
            credit_account: account_name(credit),
            amount: Some(money.into()),
            ..Default::default()
        }))
    }

    /// Moves money by 1 to 64 legs, all or nothing, on behalf of one of the accounts that are debited.
    #[must_use]
    pub fn multi_transfer(initiator: AccountId, currency: Currency, legs: &[Leg]) -> Self {
        let legs = legs.iter().map(|leg| v1::TransferLeg {
            debit_account: account_name(leg.debit),
            credit_account: account_name(leg.credit),
            units_minor: units(leg.amount),
        });
        Self::fresh(Command::MultiTransfer(v1::MultiTransferRequest {
            initiator_account: account_name(initiator),
            currency_code: currency.code().to_owned(),
            legs: legs.collect(),
            ..Default::default()
        }))
    }

    /// Undoes a transfer, whole, once. `credit` is an account that it credited.
    #[must_use]
    pub fn reverse_transfer(transfer: TransferId, credit: AccountId) -> Self {
        Self::fresh(Command::ReverseTransfer(v1::ReverseTransferRequest {
            name: transfer_name(transfer),
            credit_account: account_name(credit),
            ..Default::default()
        }))
    }

    /// Sets money aside for so long: 1 ms to 400 days, whole milliseconds.
    #[must_use]
    pub fn place_hold(debit: AccountId, credit: AccountId, money: Money, ttl: Duration) -> Self {
        let ttl = prost_types::Duration {
            seconds: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(ttl.subsec_nanos()).expect("below 10^9"),
        };
        Self::fresh(Command::PlaceHold(v1::PlaceHoldRequest {
            debit_account: account_name(debit),
            credit_account: account_name(credit),
            amount: Some(money.into()),
            ttl: Some(ttl),
            ..Default::default()
        }))
    }

    /// Moves held money: so much of it, or all that is left. What is then left stays held, unless it is released.
    #[must_use]
    pub fn post_hold(hold: HoldId, amount: Option<Amount>, release_rest: bool) -> Self {
        Self::fresh(Command::PostHold(v1::PostHoldRequest {
            name: hold_name(hold),
            units_minor: amount.map(units),
            release_rest,
            ..Default::default()
        }))
    }

    /// Releases what is left of a hold.
    #[must_use]
    pub fn void_hold(hold: HoldId) -> Self {
        let name = hold_name(hold);
        Self::fresh(Command::VoidHold(v1::VoidHoldRequest { name, ..Default::default() }))
    }

    /// Freezes an account on somebody's authority.
    #[must_use]
    pub fn freeze_account(account: AccountId, scope: FreezeScope, authority: Authority) -> Self {
        let scope = match scope {
            FreezeScope::Debit => v1::FreezeScope::Debit,
            FreezeScope::All => v1::FreezeScope::All,
        };
        Self::fresh(Command::FreezeAccount(v1::FreezeAccountRequest {
            name: account_name(account),
            scope: scope.into(),
            authority: by(authority).into(),
            ..Default::default()
        }))
    }

    /// Lifts the freeze of one authority.
    #[must_use]
    pub fn unfreeze_account(account: AccountId, authority: Authority) -> Self {
        Self::fresh(Command::UnfreezeAccount(v1::UnfreezeAccountRequest {
            name: account_name(account),
            authority: by(authority).into(),
            ..Default::default()
        }))
    }

    /// Closes an account that has neither balance nor holds, for ever.
    #[must_use]
    pub fn close_account(account: AccountId) -> Self {
        let name = account_name(account);
        Self::fresh(Command::CloseAccount(v1::CloseAccountRequest { name, ..Default::default() }))
    }

    /// The same request under a key of the caller's own: 1 to 255 bytes, best a UUIDv7.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        *self.key_mut() = key.into();
        self
    }

    /// For an opening: the account begins with so much, in its currency. Other requests stay as they are.
    #[must_use]
    pub fn with_opening(mut self, amount: Amount) -> Self {
        if let Command::OpenAccount(open) = &mut self.command {
            let currency_code = open.currency_code.clone();
            open.opening_balance = Some(v1::Money { currency_code, units_minor: units(amount) });
        }
        self
    }

    /// For an opening: the account lives together with this owner's other accounts. Other requests stay as they are.
    #[must_use]
    pub fn with_owner(mut self, owner: impl Into<String>) -> Self {
        if let Command::OpenAccount(open) = &mut self.command {
            open.owner = owner.into();
        }
        self
    }

    /// For an opening: the account gets this id instead of one made from the key. Other requests stay as they are.
    #[must_use]
    pub fn with_account(mut self, account: AccountId) -> Self {
        if let Command::OpenAccount(open) = &mut self.command {
            open.account = account_name(account);
        }
        self
    }

    /// For a hold: it gets this id, in its debit account's slot, instead of one made from the key. Other requests stay
    /// as they are.
    #[must_use]
    pub fn with_hold(mut self, hold: HoldId) -> Self {
        if let Command::PlaceHold(place) = &mut self.command {
            place.hold = hold_name(hold);
        }
        self
    }

    /// Its idempotency key.
    #[must_use]
    pub fn key(&self) -> &str {
        match &self.command {
            Command::Transfer(message) => &message.idempotency_key,
            Command::MultiTransfer(message) => &message.idempotency_key,
            Command::ReverseTransfer(message) => &message.idempotency_key,
            Command::PlaceHold(message) => &message.idempotency_key,
            Command::PostHold(message) => &message.idempotency_key,
            Command::VoidHold(message) => &message.idempotency_key,
            Command::OpenAccount(message) => &message.idempotency_key,
            Command::FreezeAccount(message) => &message.idempotency_key,
            Command::UnfreezeAccount(message) => &message.idempotency_key,
            Command::CloseAccount(message) => &message.idempotency_key,
        }
    }

    fn key_mut(&mut self) -> &mut String {
        match &mut self.command {
            Command::Transfer(message) => &mut message.idempotency_key,
            Command::MultiTransfer(message) => &mut message.idempotency_key,
            Command::ReverseTransfer(message) => &mut message.idempotency_key,
            Command::PlaceHold(message) => &mut message.idempotency_key,
            Command::PostHold(message) => &mut message.idempotency_key,
            Command::VoidHold(message) => &mut message.idempotency_key,
            Command::OpenAccount(message) => &mut message.idempotency_key,
            Command::FreezeAccount(message) => &mut message.idempotency_key,
            Command::UnfreezeAccount(message) => &mut message.idempotency_key,
            Command::CloseAccount(message) => &mut message.idempotency_key,
        }
    }

    fn fresh(command: Command) -> Self {
        Self { command }.with_key(Uuid::now_v7().to_string())
    }

    /// What is sent by itself.
    pub(crate) fn command(&self) -> Command {
        self.command.clone()
    }

    /// What is sent among others.
    pub(crate) fn message(&self) -> v1::Request {
        v1::Request { command: Some(self.command.clone()) }
    }
}

const fn by(authority: Authority) -> v1::Authority {
    match authority {
        Authority::User => v1::Authority::User,
        Authority::Risk => v1::Authority::Risk,
        Authority::Judicial => v1::Authority::Judicial,
    }
}

#[cfg(test)]
mod tests {
    use ledger::{Command as Asked, TenantId};

    use super::*;

    fn read(request: &Request) -> ledger::Request {
        wire::convert::request(&request.message(), TenantId(0)).unwrap().request
    }

    #[test]
    fn a_key_is_made_once() {
        let money = Money::minor(1, Currency::CNY).unwrap();
        let (lin, wang) = (AccountId::from_u128(1), AccountId::from_u128(2));
        let request = Request::transfer(lin, wang, money);
        assert_eq!(request.key(), request.clone().key());
        assert!(read(&request).key.time().is_some(), "a UUIDv7 has a time");
        assert_ne!(Request::transfer(lin, wang, money).key(), request.key());
        assert_eq!(request.with_key("order 17").key(), "order 17");
    }

    /// Whatever this makes, the gateway understands; and it says what was asked for.
    #[test]
    fn every_request_is_read_as_it_was_meant() {
        let (lin, wang) = (AccountId::from_u128(0x1000), AccountId::from_u128(0x2000));
        let hold = HoldId::from_u128(0x3000);
        let money = Money::minor(7, Currency::CNY).unwrap();
        let Money { amount, currency } = money;
        let (debit, credit) = (lin, wang);
        let leg = Leg { debit, credit, amount };
        let transfer = TransferId { shard: 1, index: 2, position: 3 };
        let (scope, authority) = (FreezeScope::All, Authority::Judicial);
        let ttl = Duration::from_millis(1_001);
        let kind = ledger::AccountKind::Wallet;
        let opening = Some(amount);
        let open = Request::open_account(currency).with_account(lin).with_opening(amount);
        let cases = [
            (open, Asked::Open { account: lin, currency, kind, opening }),
            (
                Request::transfer(lin, wang, money),
                Asked::Transfer { debit, credit, amount, currency },
            ),
            (
                Request::multi_transfer(lin, currency, &[leg]),
                Asked::MultiTransfer { initiator: lin, currency, legs: vec![leg] },
            ),
            (Request::reverse_transfer(transfer, wang), Asked::Reverse { credit, transfer }),
            (
                Request::place_hold(lin, wang, money, ttl).with_hold(hold),
                Asked::Hold { debit, hold, credit, amount, currency, timeout_ms: 1_001 },
            ),
            (
                Request::post_hold(hold, Some(amount), true),
                Asked::Post { hold, amount: Some(amount), release_rest: true },
            ),
            (Request::void_hold(hold), Asked::Void { hold }),
            (
                Request::freeze_account(lin, scope, authority),
                Asked::Freeze { account: lin, scope, authority },
            ),
            (
                Request::unfreeze_account(lin, authority),
                Asked::Unfreeze { account: lin, authority },
            ),
            (Request::close_account(lin), Asked::Close { account: lin }),
        ];
        for (request, asked) in cases {
            let key = request.key().to_owned();
            let read = read(&request);
            assert_eq!(read.command, asked);
            assert_eq!(Ok(read.key), wire::convert::key(&key));
        }
    }
}

//! What a caller writes: each body, and the protobuf message that it becomes together with its key and its path.
//!
//! Fields that the message may leave empty may be absent here, and what must not be empty is for the shared conversion
//! to refuse, so that both doors say the same.

use serde::Deserialize;
use utoipa::ToSchema;
use wire::convert::ToIntent;
use wire::proto::v1;
use wire::proto::v1::request::Command;

use super::extract::Document;
use super::json::{Bounded, minor, object, optional_minor};

/// Legs of one transfer at the most, as the ledger has it.
const LEGS_MAX: usize = ledger::batch::LEGS_MAX;

/// A body that asks for something to be done.
pub(super) trait Wanted: Sized {
    /// What it becomes.
    type Message: ToIntent;

    /// The message, with the caller's key and the name of what it is about: an account, a hold or a transfer, or nothing
    /// where the body says it all.
    fn message(self, key: String, name: String) -> Self::Message;
}

/// An amount with its currency.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an amount with its currency")]
pub(super) struct Money {
    /// 1 to 10^15 whole minor units of the currency: fen, cents, yen. A fraction is refused, also `1.0`.
    #[serde(default, deserialize_with = "minor")]
    #[schema(required = true, minimum = 1, maximum = 1_000_000_000_000_000_i64, example = 888)]
    amount: i64,
    /// ISO 4217, three capitals.
    #[serde(default)]
    #[schema(required = true, pattern = "^[A-Z]{3}$", example = "CNY")]
    currency: String,
}

impl From<Money> for v1::Money {
    fn from(Money { amount, currency }: Money) -> Self {
        Self { currency_code: currency, units_minor: amount }
    }
}

/// What kind of account a request may open.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OpenKind {
    /// A customer's money: grows by credits, never below zero.
    Wallet,
}

/// What a frozen account shall no longer do.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scope {
    /// Pay.
    Debit,
    /// Pay and be paid.
    All,
}

/// Who freezes, or lifts a freeze. Each lifts only its own.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Power {
    /// The owner.
    User,
    /// The risk department.
    Risk,
    /// A court; it stops the posting of holds too.
    Judicial,
}

impl Power {
    const fn authority(self) -> v1::Authority {
        match self {
            Self::User => v1::Authority::User,
            Self::Risk => v1::Authority::Risk,
            Self::Judicial => v1::Authority::Judicial,
        }
    }
}

/// Opens an account.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct OpenAccount {
    /// The new account's name, `accounts/acc_…` or `acc_…`. When absent, an id is derived from the key, so that a retry
    /// names the same account; the answer's `resource` says which.
    #[serde(default)]
    #[schema(pattern = "^((accounts/)?acc_[0-9A-Za-z_.-]{1,64})?$")]
    account: String,
    /// Whose account it will be, as the caller knows them, at most 255 bytes; it is not stored. Accounts of one owner live
    /// together. Not allowed together with `account`.
    #[serde(default)]
    owner: String,
    /// ISO 4217, three capitals. For ever.
    #[serde(default)]
    #[schema(required = true, pattern = "^[A-Z]{3}$", example = "CNY")]
    currency_code: String,
    /// A wallet when absent.
    #[serde(default)]
    kind: Option<OpenKind>,
    /// What the account begins with, in its currency; nothing when absent.
    #[serde(default, deserialize_with = "object")]
    opening_balance: Option<Money>,
}

impl Wanted for OpenAccount {
    type Message = v1::OpenAccountRequest;

    fn message(self, key: String, _: String) -> Self::Message {
        let kind = match self.kind {
            Some(OpenKind::Wallet) => v1::AccountKind::Wallet,
            None => v1::AccountKind::Unspecified,
        };
        v1::OpenAccountRequest {
            idempotency_key: key,
            account: self.account,
            owner: self.owner,
            currency_code: self.currency_code,
            kind: kind.into(),
            opening_balance: self.opening_balance.map(v1::Money::from),
        }
    }
}

/// Freezes an account on somebody's authority. Freezing again replaces that authority's freeze.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct FreezeAccount {
    /// What it shall no longer do.
    scope: Scope,
    /// Who says so.
    authority: Power,
}

impl Wanted for FreezeAccount {
    type Message = v1::FreezeAccountRequest;

    fn message(self, key: String, name: String) -> Self::Message {
        let scope = match self.scope {
            Scope::Debit => v1::FreezeScope::Debit,
            Scope::All => v1::FreezeScope::All,
        };
        let authority = self.authority.authority();
        v1::FreezeAccountRequest {
            idempotency_key: key,
            name,
            scope: scope.into(),
            authority: authority.into(),
        }
    }
}

/// Lifts the freeze of one authority.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct UnfreezeAccount {
    /// Whose freeze.
    authority: Power,
}

impl Wanted for UnfreezeAccount {
    type Message = v1::UnfreezeAccountRequest;

    fn message(self, key: String, name: String) -> Self::Message {
        let authority = self.authority.authority().into();
        v1::UnfreezeAccountRequest { idempotency_key: key, name, authority }
    }
}

/// Closes an account that has neither balance nor holds, for ever. There is nothing to say.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct CloseAccount {}

impl Wanted for CloseAccount {
    type Message = v1::CloseAccountRequest;

    fn message(self, key: String, name: String) -> Self::Message {
        v1::CloseAccountRequest { idempotency_key: key, name }
    }
}

/// Moves money from one account to another.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Transfer {
    /// Who pays: `accounts/acc_…` or `acc_…`.
    #[serde(default)]
    #[schema(required = true, pattern = "^(accounts/)?acc_[0-9A-Za-z_.-]{1,64}$")]
    debit_account: String,
    /// Who is paid.
    #[serde(default)]
    #[schema(required = true, pattern = "^(accounts/)?acc_[0-9A-Za-z_.-]{1,64}$")]
    credit_account: String,
    /// How much; both accounts must have the currency.
    #[serde(default, deserialize_with = "object")]
    #[schema(required = true, nullable = false)]
    amount: Option<Money>,
}

impl Wanted for Transfer {
    type Message = v1::TransferRequest;

    fn message(self, key: String, _: String) -> Self::Message {
        v1::TransferRequest {
            idempotency_key: key,
            debit_account: self.debit_account,
            credit_account: self.credit_account,
            amount: self.amount.map(v1::Money::from),
        }
    }
}

/// One debit and one credit.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a leg")]
pub(super) struct TransferLeg {
    /// Who pays.
    #[serde(default)]
    #[schema(required = true, pattern = "^(accounts/)?acc_[0-9A-Za-z_.-]{1,64}$")]
    debit_account: String,
    /// Who is paid.
    #[serde(default)]
    #[schema(required = true, pattern = "^(accounts/)?acc_[0-9A-Za-z_.-]{1,64}$")]
    credit_account: String,
    /// 1 to 10^15 whole minor units of the request's currency.
    #[serde(default, deserialize_with = "minor")]
    #[schema(required = true, minimum = 1, maximum = 1_000_000_000_000_000_i64)]
    units_minor: i64,
}

/// Moves money by several legs, all or nothing.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct MultiTransfer {
    /// On whose behalf: one of the accounts that are debited.
    #[serde(default)]
    #[schema(required = true, pattern = "^(accounts/)?acc_[0-9A-Za-z_.-]{1,64}$")]
    initiator_account: String,
    /// ISO 4217; all accounts must have it.
    #[serde(default)]
    #[schema(required = true, pattern = "^[A-Z]{3}$", example = "CNY")]
    currency_code: String,
    /// 1 to 64 legs. All debits must be of accounts that live together.
    #[serde(default)]
    #[schema(required = true, value_type = Vec<TransferLeg>, min_items = 1, max_items = 64)]
    legs: Bounded<TransferLeg, LEGS_MAX>,
}

impl Wanted for MultiTransfer {
    type Message = v1::MultiTransferRequest;

    fn message(self, key: String, _: String) -> Self::Message {
        let legs = self.legs.kept.into_iter().map(|leg| v1::TransferLeg {
            debit_account: leg.debit_account,
            credit_account: leg.credit_account,
            units_minor: leg.units_minor,
        });
        v1::MultiTransferRequest {
            idempotency_key: key,
            initiator_account: self.initiator_account,
            currency_code: self.currency_code,
            legs: legs.collect(),
        }
    }
}

/// Undoes a transfer, whole, once, whatever the key.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct ReverseTransfer {
    /// An account that the transfer credited.
    #[serde(default)]
    #[schema(required = true, pattern = "^(accounts/)?acc_[0-9A-Za-z_.-]{1,64}$")]
    credit_account: String,
}

impl Wanted for ReverseTransfer {
    type Message = v1::ReverseTransferRequest;

    fn message(self, key: String, name: String) -> Self::Message {
        let credit_account = self.credit_account;
        v1::ReverseTransferRequest { idempotency_key: key, name, credit_account }
    }
}

/// Sets money aside until it is posted, voided, or the hold expires.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct PlaceHold {
    /// The new hold's name, `holds/hold_…` or `hold_…`, whose last three digits must be those of the debit account. When
    /// absent, an id is derived from the debit account and the key; the answer's `resource` says which.
    #[serde(default)]
    #[schema(pattern = "^((holds/)?hold_[0-9a-fA-F]{32})?$")]
    hold: String,
    /// Who will pay.
    #[serde(default)]
    #[schema(required = true, pattern = "^(accounts/)?acc_[0-9A-Za-z_.-]{1,64}$")]
    debit_account: String,
    /// Who will be paid.
    #[serde(default)]
    #[schema(required = true, pattern = "^(accounts/)?acc_[0-9A-Za-z_.-]{1,64}$")]
    credit_account: String,
    /// How much at the most; both accounts must have the currency.
    #[serde(default, deserialize_with = "object")]
    #[schema(required = true, nullable = false)]
    amount: Option<Money>,
    /// How long it lasts in log time: 1 ms to 400 days, in milliseconds.
    #[serde(default)]
    #[schema(
        required = true,
        nullable = false,
        minimum = 1,
        maximum = 34_560_000_000_i64,
        example = 3_600_000
    )]
    ttl_ms: Option<u64>,
}

impl Wanted for PlaceHold {
    type Message = v1::PlaceHoldRequest;

    fn message(self, key: String, _: String) -> Self::Message {
        let ttl = self.ttl_ms.map(|ms| std::time::Duration::from_millis(ms).try_into());
        v1::PlaceHoldRequest {
            idempotency_key: key,
            hold: self.hold,
            debit_account: self.debit_account,
            credit_account: self.credit_account,
            amount: self.amount.map(v1::Money::from),
            // Every number of milliseconds fits; the shared conversion has the bounds.
            ttl: ttl.and_then(Result::ok),
        }
    }
}

/// Moves held money. May be done several times while something is left.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct PostHold {
    /// How much, 1 to 10^15 whole minor units of the hold's currency; all that is left when absent.
    #[serde(default, deserialize_with = "optional_minor")]
    #[schema(minimum = 1, maximum = 1_000_000_000_000_000_i64)]
    units_minor: Option<i64>,
    /// Whether what is then left is released at once. Otherwise it stays held.
    #[serde(default)]
    release_rest: bool,
}

impl Wanted for PostHold {
    type Message = v1::PostHoldRequest;

    fn message(self, key: String, name: String) -> Self::Message {
        let Self { units_minor, release_rest } = self;
        v1::PostHoldRequest { idempotency_key: key, name, units_minor, release_rest }
    }
}

/// Releases what is left of a hold. There is nothing to say.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct VoidHold {}

impl Wanted for VoidHold {
    type Message = v1::VoidHoldRequest;

    fn message(self, key: String, name: String) -> Self::Message {
        v1::VoidHoldRequest { idempotency_key: key, name }
    }
}

/// A body that may be one of a batch.
pub(super) trait Member {
    /// The message that a batch carries.
    fn command(self, key: String, name: String) -> Command;
}

macro_rules! bodies {
    ($($name:ident)*) => {$(
        impl Document for $name {}

        impl Member for $name {
            fn command(self, key: String, name: String) -> Command {
                Command::$name(self.message(key, name))
            }
        }
    )*};
}

bodies! {
    OpenAccount FreezeAccount UnfreezeAccount CloseAccount Transfer MultiTransfer ReverseTransfer PlaceHold PostHold
    VoidHold
}

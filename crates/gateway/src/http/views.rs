//! What a reader sees: the protobuf's answers as JSON, field by field.

use serde::Serialize;
use utoipa::ToSchema;
use wire::proto::v1;

/// An amount or a balance. A balance may be 0 and, of the bank's own accounts, negative.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Balance {
    /// Minor units of the currency: fen, cents, yen.
    amount: i64,
    /// ISO 4217.
    currency: String,
}

impl From<Option<v1::Money>> for Balance {
    fn from(money: Option<v1::Money>) -> Self {
        let v1::Money { currency_code, units_minor } = money.unwrap_or_default();
        Self { amount: units_minor, currency: currency_code }
    }
}

/// The ledger did it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Posted {
    /// Where it stands in the log, and the transfer's name if it moved money: `transfers/tr_…`.
    transfer: String,
    /// When, in log time.
    #[schema(format = DateTime)]
    post_time: String,
    /// Whether this repeats an earlier answer: the ledger changed nothing now.
    pub(super) replayed: bool,
    /// The account or hold that the request made: `accounts/acc_…` or `holds/hold_…`; else absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) resource: Option<String>,
}

impl From<v1::Posted> for Posted {
    fn from(v1::Posted { transfer, post_time, replayed, resource }: v1::Posted) -> Self {
        let resource = Some(resource).filter(|resource| !resource.is_empty());
        Self { transfer, post_time: time(post_time), replayed, resource }
    }
}

/// Log time as RFC 3339 writes it.
fn time(time: Option<impl ToString>) -> String {
    time.map(|time| time.to_string()).unwrap_or_default()
}

/// Up to which point of the log an answer is true.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Position {
    /// The log index of the shard that answered.
    index: u64,
    /// Log time at that index.
    #[schema(format = DateTime)]
    log_time: String,
}

impl From<Option<v1::Position>> for Position {
    fn from(position: Option<v1::Position>) -> Self {
        let v1::Position { index, log_time } = position.unwrap_or_default();
        Self { index, log_time: time(log_time) }
    }
}

/// Writes an enum of the protobuf as JSON does, in small letters; `unspecified` is never sent.
macro_rules! shown {
    ($(#[$doc:meta] $name:ident { $($(#[$what:meta])* $variant:ident,)* })*) => {$(
        #[$doc]
        #[derive(Clone, Copy, Debug, Serialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub(super) enum $name {
            /// Never sent.
            Unspecified,
            $($(#[$what])* $variant,)*
        }

        impl From<i32> for $name {
            fn from(number: i32) -> Self {
                match v1::$name::try_from(number) {
                    Ok(v1::$name::Unspecified) | Err(_) => Self::Unspecified,
                    $(Ok(v1::$name::$variant) => Self::$variant,)*
                }
            }
        }
    )*};
}

shown! {
    /// What kind of account.
    AccountKind {
        /// A customer's money.
        Wallet,
        /// The other side of opening balances.
        Opening,
        /// What the shard owes another shard.
        DueTo,
        /// What another shard owes the shard.
        DueFrom,
        /// Money that came back to a payer who is gone.
        Suspense,
    }
    /// Where an account is in its life.
    AccountState {
        /// In use, frozen or not.
        Open,
        /// Closed, for ever.
        Closed,
    }
    /// What a frozen account may no longer do.
    FreezeScope {
        /// Pay.
        Debit,
        /// Pay and be paid.
        All,
    }
    /// On whose authority an account is frozen.
    Authority {
        /// The owner.
        User,
        /// The risk department.
        Risk,
        /// A court.
        Judicial,
    }
    /// Where a hold is in its life.
    HoldState {
        /// Something is held.
        Active,
        /// Posted to the end.
        Posted,
        /// Released by request.
        Voided,
        /// Released by time.
        Expired,
    }
    /// Which side of an account a posting stands on.
    Side {
        /// The account paid.
        Debit,
        /// The account was paid.
        Credit,
    }
    /// Why money moved.
    JournalKind {
        /// An opening balance.
        Opening,
        /// A transfer, of one leg or many.
        Transfer,
        /// Held money that was posted.
        Post,
        /// The undoing of a transfer.
        Reversal,
        /// Money that the payee's shard refused, back with its payer.
        Return,
    }
}

/// One freeze of an account.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Freeze {
    /// On whose authority.
    authority: Authority,
    /// What the account may no longer do.
    scope: FreezeScope,
}

/// An account.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Account {
    /// `accounts/acc_…`.
    name: String,
    /// What kind.
    kind: AccountKind,
    /// Where it is in its life.
    state: AccountState,
    /// What its journals add up to, on its normal side.
    posted: Balance,
    /// What its active holds set aside.
    held: Balance,
    /// What it can pay now: posted less held.
    available: Balance,
    /// How often it has changed, from 1 on.
    version: u64,
    /// When it was opened, in log time.
    #[schema(format = DateTime)]
    create_time: String,
    /// Who has frozen it.
    freezes: Vec<Freeze>,
    /// How many active holds it has.
    active_holds: u32,
    /// Up to where this answer is true.
    position: Position,
}

impl From<v1::Account> for Account {
    fn from(account: v1::Account) -> Self {
        let freezes = account.freezes.iter().map(|freeze| Freeze {
            authority: freeze.authority.into(),
            scope: freeze.scope.into(),
        });
        Self {
            freezes: freezes.collect(),
            name: account.name,
            kind: account.kind.into(),
            state: account.state.into(),
            posted: account.posted.into(),
            held: account.held.into(),
            available: account.available.into(),
            version: account.version,
            create_time: time(account.create_time),
            active_holds: account.active_holds,
            position: account.position.into(),
        }
    }
}

/// Money set aside.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Hold {
    /// `holds/hold_…`.
    name: String,
    /// Who pays.
    debit_account: String,
    /// Who is paid.
    credit_account: String,
    /// What it began with.
    amount: Balance,
    /// What was moved to the credit account.
    posted: Balance,
    /// What is still held.
    remaining: Balance,
    /// Where it is in its life.
    state: HoldState,
    /// When it expires, in log time: at this very millisecond it has.
    #[schema(format = DateTime)]
    expire_time: String,
    /// Up to where this answer is true.
    position: Position,
}

impl From<v1::Hold> for Hold {
    fn from(hold: v1::Hold) -> Self {
        Self {
            name: hold.name,
            debit_account: hold.debit_account,
            credit_account: hold.credit_account,
            amount: hold.amount.into(),
            posted: hold.posted.into(),
            remaining: hold.remaining.into(),
            state: hold.state.into(),
            expire_time: time(hold.expire_time),
            position: hold.position.into(),
        }
    }
}

/// One line of a statement.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Posting {
    /// The transfer that wrote it: `transfers/tr_…`.
    transfer: String,
    /// Its leg of the transfer, from 0 on.
    leg: u32,
    /// Which side of the account it stands on.
    side: Side,
    /// How much.
    amount: Balance,
    /// The account's balance after it.
    balance: Balance,
    /// The account on the other side: `accounts/acc_…`.
    counter_account: String,
    /// When, in log time.
    #[schema(format = DateTime)]
    post_time: String,
    /// Why money moved.
    kind: JournalKind,
    /// The transfer that it undoes, if it does: `transfers/tr_…`; else absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reverses: Option<String>,
}

impl From<v1::Posting> for Posting {
    fn from(posting: v1::Posting) -> Self {
        Self {
            transfer: posting.transfer,
            leg: posting.leg,
            side: posting.side.into(),
            amount: posting.amount.into(),
            balance: posting.balance.into(),
            counter_account: posting.counter_account,
            post_time: time(posting.post_time),
            kind: posting.kind.into(),
            reverses: Some(posting.reverses).filter(|reverses| !reverses.is_empty()),
        }
    }
}

/// A page of a statement.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Statement {
    /// Newest first.
    data: Vec<Posting>,
    /// Asks for the next page; null on the last one.
    #[schema(required = true)]
    pub(super) next_cursor: Option<String>,
    /// Whether there is a next page.
    has_more: bool,
    /// Up to where this answer is true.
    position: Position,
}

impl From<v1::ListPostingsResponse> for Statement {
    fn from(page: v1::ListPostingsResponse) -> Self {
        let next = Some(page.next_page_token).filter(|token| !token.is_empty());
        Self {
            data: page.postings.into_iter().map(Posting::from).collect(),
            has_more: next.is_some(),
            next_cursor: next,
            position: page.position.into(),
        }
    }
}

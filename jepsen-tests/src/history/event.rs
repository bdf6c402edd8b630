//! What stands on the lines of a history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a process asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "f", content = "value", rename_all = "kebab-case")]
pub(crate) enum Call {
    /// Move money.
    Transfer {
        /// The key's short name.
        id: String,
        /// Who pays.
        from: String,
        /// Who is paid.
        to: String,
        /// Minor units.
        amount: i64,
    },
    /// Set money aside.
    Hold {
        /// The key's short name; also the hold's.
        id: String,
        /// Who will pay.
        from: String,
        /// Who will be paid.
        to: String,
        /// Minor units.
        amount: i64,
        /// How long it lasts.
        ttl_ms: u64,
    },
    /// Move held money.
    Post {
        /// The key's short name.
        id: String,
        /// Which hold.
        hold: String,
        /// Minor units.
        amount: i64,
        /// Whether the rest is released.
        release: bool,
    },
    /// Release held money.
    Void {
        /// The key's short name.
        id: String,
        /// Which hold.
        hold: String,
    },
    /// Freeze an account.
    Freeze {
        /// The key's short name.
        id: String,
        /// Which account.
        account: String,
    },
    /// Lift the freeze.
    Unfreeze {
        /// The key's short name.
        id: String,
        /// Which account.
        account: String,
    },
    /// Ask what became of a key that nothing was done under, as far as its callers were told.
    Lookup {
        /// The key's short name.
        id: String,
    },
    /// Read an account as of now.
    Read {
        /// Which.
        account: String,
    },
    /// Read an account as of some time.
    ReadStale {
        /// Which.
        account: String,
    },
    /// Read a hold as of now.
    ReadHold {
        /// Which.
        hold: String,
    },
    /// Read a whole statement.
    Statement {
        /// Whose.
        account: String,
    },
    /// Read everything as one consistent cut.
    ReadAll,
}

impl Call {
    /// The name of what is asked.
    pub(crate) const fn f(&self) -> &'static str {
        match self {
            Self::Transfer { .. } => "transfer",
            Self::Hold { .. } => "hold",
            Self::Post { .. } => "post",
            Self::Void { .. } => "void",
            Self::Freeze { .. } => "freeze",
            Self::Unfreeze { .. } => "unfreeze",
            Self::Lookup { .. } => "lookup",
            Self::Read { .. } => "read",
            Self::ReadStale { .. } => "read-stale",
            Self::ReadHold { .. } => "read-hold",
            Self::Statement { .. } => "statement",
            Self::ReadAll => "read-all",
        }
    }

    /// Whose money a call sets aside.
    pub(crate) fn holder(&self) -> Option<&str> {
        match self {
            Self::Hold { from, .. } => Some(from),
            Self::Transfer { .. }
            | Self::Post { .. }
            | Self::Void { .. }
            | Self::Freeze { .. }
            | Self::Unfreeze { .. }
            | Self::Lookup { .. }
            | Self::Read { .. }
            | Self::ReadStale { .. }
            | Self::ReadHold { .. }
            | Self::Statement { .. }
            | Self::ReadAll => None,
        }
    }

    /// The key of a call that may change something.
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Transfer { id, .. }
            | Self::Hold { id, .. }
            | Self::Post { id, .. }
            | Self::Void { id, .. }
            | Self::Freeze { id, .. }
            | Self::Unfreeze { id, .. } => Some(id),
            Self::Lookup { .. }
            | Self::Read { .. }
            | Self::ReadStale { .. }
            | Self::ReadHold { .. }
            | Self::Statement { .. }
            | Self::ReadAll => None,
        }
    }
}

/// What a process was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "f", content = "value", rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// Money moved.
    Transfer(Done),
    /// Money is set aside.
    Hold(Done),
    /// Held money moved.
    Post(Done),
    /// Held money is free.
    Void(Done),
    /// The account is frozen.
    Freeze(Done),
    /// It is not any more.
    Unfreeze(Done),
    /// Something was done under the key after all.
    Lookup(Done),
    /// An account.
    Read(AccountSeen),
    /// An account, perhaps of long ago.
    ReadStale(AccountSeen),
    /// A hold.
    ReadHold(HoldSeen),
    /// A statement, oldest first.
    Statement(Vec<StatementLine>),
    /// Everything.
    ReadAll(Picture),
}

/// The ledger did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// The transfer's name, or where it stands in the log.
    pub(crate) transfer: String,
    /// Whether it had been done before.
    pub(crate) replayed: bool,
}

/// An account as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountSeen {
    /// Which.
    pub(crate) account: String,
    /// Its balance.
    pub(crate) posted: i64,
    /// What is set aside of it.
    pub(crate) held: i64,
    /// What it can pay.
    pub(crate) available: i64,
    /// How often it has changed.
    pub(crate) version: u64,
    /// The log index of the shard that answered.
    pub(crate) at: u64,
}

/// Where a hold is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HoldStage {
    /// Something is held.
    Active,
    /// Posted to the end.
    Posted,
    /// Released by request.
    Voided,
    /// Released by time.
    Expired,
}

/// A hold as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HoldSeen {
    /// Which.
    pub(crate) hold: String,
    /// Who pays.
    pub(crate) from: String,
    /// Where it is.
    pub(crate) stage: HoldStage,
    /// What it began with.
    pub(crate) amount: i64,
    /// What has moved.
    pub(crate) posted: i64,
    /// What is held.
    pub(crate) remaining: i64,
}

/// Why money moved, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LineKind {
    /// An opening balance.
    Opening,
    /// A transfer.
    Transfer,
    /// Held money.
    Post,
    /// An undone transfer.
    Reversal,
    /// Money that came back.
    Return,
}

/// One line of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatementLine {
    /// The transfer.
    pub(crate) transfer: String,
    /// Its leg.
    pub(crate) leg: u32,
    /// What the account gained; negative when it paid.
    pub(crate) amount: i64,
    /// The balance after it.
    pub(crate) balance: i64,
    /// The account on the other side.
    pub(crate) counter: String,
    /// Why.
    pub(crate) kind: LineKind,
    /// Log time, in milliseconds.
    pub(crate) at_ms: u64,
}

/// Everything, as one cut found it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Picture {
    /// The customers' accounts.
    pub(crate) accounts: Vec<AccountSeen>,
    /// Active holds.
    pub(crate) holds: Vec<HoldSeen>,
    /// Money on its way between shards, in either direction.
    pub(crate) under_way: i64,
    /// Money that came back to nobody.
    pub(crate) suspense: i64,
    /// What the cluster itself says is wrong.
    pub(crate) discrepancies: Vec<String>,
}

/// The beginning of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Opening balances.
    pub(crate) accounts: BTreeMap<String, i64>,
    /// Whether balances may be below zero.
    pub(crate) overdraft: bool,
    /// The seed.
    #[serde(default)]
    pub(crate) seed: u64,
    /// What was run.
    #[serde(default)]
    pub(crate) workloads: Vec<String>,
    /// What went wrong on purpose.
    #[serde(default)]
    pub(crate) faults: Vec<String>,
    /// What was to go wrong and could not, and why.
    #[serde(default)]
    pub(crate) refused: Vec<String>,
    /// How the processes were hosted.
    #[serde(default)]
    pub(crate) hosts: String,
    /// How long calls were made, in milliseconds.
    #[serde(default)]
    pub(crate) duration_ms: u64,
}

/// A fault that was there for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FaultWindow {
    /// What.
    pub(crate) name: String,
    /// When it began, in nanoseconds.
    pub(crate) began: u64,
    /// When all was well again.
    pub(crate) ended: u64,
    /// Whom it struck.
    pub(crate) targets: Vec<String>,
    /// Whether the operating system says that it bit.
    pub(crate) bit: bool,
    /// How it says so.
    pub(crate) evidence: Vec<String>,
}

/// A line of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JournalLine {
    /// The key's short name, or the transfer's when no key is known.
    pub(crate) id: String,
    /// Who paid.
    pub(crate) from: String,
    /// Who was paid.
    pub(crate) to: String,
    /// Minor units.
    pub(crate) amount: i64,
}

/// Nothing was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// Whether the ledger said no, for ever.
    pub(crate) rejected: bool,
    /// Whether it had said so before.
    pub(crate) replayed: bool,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Event {
    /// The beginning.
    Meta(Meta),
    /// A call begins.
    Invoke {
        /// Who calls.
        process: u64,
        /// When.
        time: u64,
        /// Which line.
        index: u64,
        /// What.
        #[serde(flatten)]
        call: Call,
    },
    /// It was done.
    Ok {
        /// Who called.
        process: u64,
        /// When.
        time: u64,
        /// Which line.
        index: u64,
        /// What came of it.
        #[serde(flatten)]
        answer: Answer,
    },
    /// It was not done.
    Fail {
        /// Who called.
        process: u64,
        /// When.
        time: u64,
        /// Which line.
        index: u64,
        /// What was asked.
        f: String,
        /// In what way.
        value: Refusal,
        /// The code, in lower case.
        error: String,
    },
    /// Nobody knows.
    Info {
        /// Who called.
        process: u64,
        /// When.
        time: u64,
        /// Which line.
        index: u64,
        /// What was asked.
        f: String,
        /// In words.
        error: String,
    },
    /// A fault that is over.
    Fault {
        /// Which.
        fault: FaultWindow,
    },
    /// Something of the run itself.
    Phase {
        /// What begins: `liveness`, `final`, `end`.
        name: String,
        /// When.
        time: u64,
    },
    /// The books when all was quiet.
    Final {
        /// Balances.
        balances: BTreeMap<String, i64>,
        /// Every transfer.
        journal: Vec<JournalLine>,
    },
}

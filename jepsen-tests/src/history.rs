//! The history of a run: what every process called, what it was told, and which faults there were meanwhile.
//!
//! `history.jsonl` has one object a line:
//!
//! ```text
//! {"type":"meta","accounts":{"a0":100},"overdraft":false}
//! {"type":"invoke","process":3,"time":1,"index":0,"f":"transfer","value":{"id":"t1","from":"a0","to":"a1","amount":5}}
//! {"type":"ok","process":3,"time":9,"index":1,"f":"transfer","value":{"transfer":"tr_0-7-0","replayed":false}}
//! {"type":"fail","process":3,"time":9,"index":1,"f":"transfer","value":{"rejected":true,"replayed":false},"error":"insufficient"}
//! {"type":"info","process":3,"time":9,"index":1,"f":"transfer","error":"no answer came"}
//! {"type":"fault","fault":{"name":"kill-leader","began":2,"ended":7,"bit":true}}
//! {"type":"phase","name":"liveness","time":9}
//! {"type":"final","balances":{},"journal":[]}
//! ```
//!
//! Times are nanoseconds since the run began and never go back. A process has one call open at a time, and is not heard
//! of again after an `info`. A `fail` is either the ledger's no, `rejected` and final, or nothing was done. The same id
//! sent again is the same idempotency key.

use std::collections::BTreeMap;
use std::io::BufRead;

use anyhow::Context;
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

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With an answer.
    Ok(Answer),
    /// Nothing was done.
    Fail(Refusal, String),
    /// Nobody knows.
    Info,
}

/// A call with its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    /// Who.
    pub(crate) process: u64,
    /// What.
    pub(crate) call: Call,
    /// When it began, in nanoseconds.
    pub(crate) began: u64,
    /// When it ended; the end of time when nobody was told.
    pub(crate) ended: u64,
    /// How.
    pub(crate) end: End,
    /// The line on which it began.
    pub(crate) index: u64,
}

impl Op {
    /// What was done, if it is known to have been.
    pub(crate) const fn done(&self) -> Option<&Done> {
        match &self.end {
            End::Ok(
                Answer::Transfer(done)
                | Answer::Hold(done)
                | Answer::Post(done)
                | Answer::Void(done)
                | Answer::Freeze(done)
                | Answer::Unfreeze(done)
                | Answer::Lookup(done),
            ) => Some(done),
            End::Ok(
                Answer::Read(_)
                | Answer::ReadStale(_)
                | Answer::ReadHold(_)
                | Answer::Statement(_)
                | Answer::ReadAll(_),
            )
            | End::Fail(..)
            | End::Info => None,
        }
    }

    /// The code of the ledger's no, in lower case.
    pub(crate) fn rejection(&self) -> Option<&str> {
        match &self.end {
            End::Fail(Refusal { rejected: true, .. }, code) => Some(code),
            End::Fail(..) | End::Ok(_) | End::Info => None,
        }
    }
}

/// A whole history, ready to be judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// The beginning.
    pub(crate) meta: Meta,
    /// Every call, in the order in which they began.
    pub(crate) ops: Vec<Op>,
    /// Every fault.
    pub(crate) faults: Vec<FaultWindow>,
    /// Phases, and when they began.
    pub(crate) phases: Vec<(String, u64)>,
}

impl History {
    /// Puts calls and their ends together.
    ///
    /// # Errors
    /// When lines are missing, or out of order.
    pub(crate) fn of(events: &[Event]) -> anyhow::Result<Self> {
        let mut history = Self::default();
        let mut open: BTreeMap<u64, usize> = BTreeMap::new();
        let mut latest = 0;
        for event in events {
            match event {
                Event::Meta(meta) => history.meta = meta.clone(),
                Event::Invoke { process, time, index, call } => {
                    anyhow::ensure!(*time >= latest, "line {index}: time runs back");
                    latest = *time;
                    let earlier = open.insert(*process, history.ops.len());
                    anyhow::ensure!(earlier.is_none(), "line {index}: two calls of one process");
                    history.ops.push(Op {
                        process: *process,
                        call: call.clone(),
                        began: *time,
                        ended: u64::MAX,
                        end: End::Info,
                        index: *index,
                    });
                }
                Event::Ok { process, time, index, answer } => {
                    let place = open.remove(process);
                    history.end(place, *time, End::Ok(answer.clone())).context(*index)?;
                }
                Event::Fail { process, time, index, value, error, .. } => {
                    let place = open.remove(process);
                    history.end(place, *time, End::Fail(*value, error.clone())).context(*index)?;
                }
                // Its process is never free again, and its call never ends.
                Event::Info { .. } | Event::Final { .. } => {}
                Event::Fault { fault } => history.faults.push(fault.clone()),
                Event::Phase { name, time } => history.phases.push((name.clone(), *time)),
            }
        }
        Ok(history)
    }

    fn end(&mut self, place: Option<usize>, time: u64, end: End) -> anyhow::Result<()> {
        let op = place.and_then(|place| self.ops.get_mut(place));
        let op = op.context("an end without a call, on the line with this index")?;
        op.ended = time;
        op.end = end;
        Ok(())
    }

    /// When a phase began.
    pub(crate) fn phase(&self, name: &str) -> Option<u64> {
        self.phases.iter().find(|(known, _)| known == name).map(|(_, time)| *time)
    }

    /// Every account's statement as it was read at the very end, oldest first.
    pub(crate) fn last_statements(&self) -> BTreeMap<&str, &[StatementLine]> {
        let from = self.phase("final").unwrap_or(u64::MAX);
        let mut last = BTreeMap::new();
        for op in self.ops.iter().filter(|op| op.began >= from) {
            if let (Call::Statement { account }, End::Ok(Answer::Statement(lines))) =
                (&op.call, &op.end)
            {
                last.insert(account.as_str(), lines.as_slice());
            }
        }
        last
    }
}

/// Reads `history.jsonl`.
///
/// # Errors
/// When a line is none of these.
pub(crate) fn read(from: impl BufRead) -> anyhow::Result<Vec<Event>> {
    let mut events = Vec::new();
    for (number, line) in (1_u64..).zip(from.lines()) {
        let line = line?;
        events.push(serde_json::from_str(&line).with_context(|| format!("line {number}"))?);
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_as_they_are_read() {
        let call = Call::Transfer { id: "t1".into(), from: "a".into(), to: "b".into(), amount: 5 };
        let done = Done { transfer: "tr_0-1-0".into(), replayed: false };
        let events = [
            Event::Meta(Meta::default()),
            Event::Invoke { process: 3, time: 1, index: 0, call },
            Event::Ok { process: 3, time: 9, index: 1, answer: Answer::Transfer(done) },
            Event::Invoke { process: 3, time: 9, index: 2, call: Call::ReadAll },
            Event::Info { process: 3, time: 9, index: 3, f: "read-all".into(), error: "-".into() },
        ];
        let text: String =
            events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect();
        assert!(text.contains(r#""f":"transfer","value":{"id":"t1""#), "{text}");
        assert_eq!(read(text.as_bytes()).unwrap(), events);
        let history = History::of(&events).unwrap();
        assert_eq!((history.ops.len(), history.ops[1].ended), (2, u64::MAX));
        assert!(History::of(&events[2..]).is_err(), "an end without a call");
    }
}

//! `history.jsonl`: what callers did and were told, line by line, and what the books said at the end.
//!
//! ```text
//! {"type":"meta","accounts":{"A":100},"overdraft":false}
//! {"type":"invoke","process":3,"f":"transfer","value":{"id":"t1","from":"A","to":"B","amount":5},"time":1}
//! {"type":"ok|fail|info","process":3,"f":"transfer","value":null,"error":"insufficient","time":9}
//! {"type":"final","balances":{},"journal":[{"id":"t1","from":"A","to":"B","amount":5}]}
//! ```
//!
//! Times are nanoseconds and never go back; a process has one call open at a time, and is not heard of again after an
//! `info`, which says that nobody knows. `fail` says that nothing was done; the same id may be tried again.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::facts::{Ending, Requests, TransferNumber, Wanted};
use super::read::Reads;
use super::verdict::Check;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Event {
    /// The accounts, with what they began with.
    Meta {
        /// Opening balances.
        accounts: BTreeMap<String, i64>,
        /// Whether balances may be below zero.
        overdraft: bool,
    },
    /// A call begins.
    Invoke(Call),
    /// It was done.
    Ok(Call),
    /// It was not done.
    Fail(Call),
    /// Nobody knows.
    Info(Call),
    /// The books, when all was quiet.
    Final {
        /// What each account has.
        balances: BTreeMap<String, i64>,
        /// Every transfer, in the order of the log.
        journal: Vec<JournalLine>,
    },
}

/// One end of a call.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Call {
    /// Who calls.
    pub(crate) process: u64,
    /// What.
    pub(crate) f: String,
    /// With what, or what came of it.
    #[serde(default)]
    pub(crate) value: Value,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// When, in nanoseconds.
    pub(crate) time: u64,
}

/// A transfer, as a caller asks for it, and as the journal shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct JournalLine {
    /// The caller's name for it.
    pub(crate) id: String,
    /// Who pays.
    pub(crate) from: String,
    /// Who is paid.
    pub(crate) to: String,
    /// How much, in minor units.
    pub(crate) amount: u64,
}

/// What a transfer's `invoke` carries.
pub(crate) type TransferValue = JournalLine;

/// A history, read.
#[derive(Debug)]
pub(super) struct History {
    pub(super) accounts: HashMap<String, u32>,
    pub(super) openings: Vec<i64>,
    pub(super) overdraft: bool,
    pub(super) transfers: Transfers,
    pub(super) reads: Reads,
    pub(super) well_formed: Check,
    pub(super) answers_agree: Check,
    /// Calls of kinds that nothing here checks, by kind.
    pub(super) unchecked: BTreeMap<String, u64>,
    pub(super) end: Option<End>,
    open: HashMap<u64, Open>,
    time: u64,
}

/// The books at the end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) balances: BTreeMap<String, i64>,
    pub(super) journal: Vec<JournalLine>,
}

/// The transfers that were asked for, by number in the order of their first call.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    by_id: HashMap<String, u64>,
    asked: Vec<(Wanted, Ending)>,
    codes: Vec<String>,
}

/// A call that has begun. A process that nobody knows the end of stays here for ever.
#[derive(Debug)]
struct Open {
    f: String,
    transfer: Option<u64>,
    value: Value,
    unknown: bool,
}

impl History {
    /// Reads a history to its end.
    ///
    /// # Errors
    /// When a line cannot be read, or is no event.
    pub(super) fn read(lines: impl BufRead) -> anyhow::Result<Self> {
        let mut history = Self {
            accounts: HashMap::new(),
            openings: Vec::new(),
            overdraft: false,
            transfers: Transfers::default(),
            reads: Reads::new(),
            well_formed: Check::of("the history is well formed"),
            answers_agree: Check::of("a request asked again is answered as before"),
            unchecked: BTreeMap::new(),
            end: None,
            open: HashMap::new(),
            time: 0,
        };
        for (number, line) in (1_u64..).zip(lines.lines()) {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let event = serde_json::from_str(&line)
                .map_err(|error| anyhow::anyhow!("line {number} is no event: {error}"))?;
            history.take(event, number);
        }
        Ok(history)
    }

    fn take(&mut self, event: Event, line: u64) {
        self.well_formed.looked_at(1);
        match event {
            Event::Meta { accounts, overdraft } => {
                self.overdraft = overdraft;
                for (number, (name, opening)) in (0..).zip(accounts) {
                    self.accounts.insert(name, number);
                    self.openings.push(opening);
                }
            }
            Event::Invoke(call) => self.begin(call, line),
            Event::Ok(call) => self.ended(call, line, How::Ok),
            Event::Fail(call) => self.ended(call, line, How::Fail),
            Event::Info(call) => self.ended(call, line, How::Info),
            Event::Final { balances, journal } => self.end = Some(End { balances, journal }),
        }
    }

    fn begin(&mut self, call: Call, line: u64) {
        self.passes(call.time, line);
        let transfer = if call.f == "transfer" { self.asked(&call.value, line) } else { None };
        let open = Open { f: call.f, transfer, value: call.value, unknown: false };
        if self.open.insert(call.process, open).is_some() {
            let process = call.process;
            self.well_formed
                .broken(|| format!("line {line}: process {process} has a call open already"));
        }
    }

    fn asked(&mut self, value: &Value, line: u64) -> Option<u64> {
        let wanted = TransferValue::deserialize(value).ok().and_then(|value| {
            let debit = *self.accounts.get(&value.from)?;
            let credit = *self.accounts.get(&value.to)?;
            Some((value.id, Wanted { debit, credit, amount: value.amount }))
        });
        let Some((id, wanted)) = wanted else {
            self.well_formed.broken(|| format!("line {line}: no transfer between known accounts"));
            return None;
        };
        let (n, same) = self.transfers.ask(id, wanted);
        if !same {
            self.well_formed.broken(|| format!("line {line}: the same id with other fields"));
        }
        Some(n)
    }

    fn ended(&mut self, call: Call, line: u64, how: How) {
        self.passes(call.time, line);
        let process = call.process;
        let open = match self.open.remove(&process) {
            Some(open) if open.f == call.f && !open.unknown => open,
            Some(_) | None => {
                self.well_formed
                    .broken(|| format!("line {line}: process {process} has no such call open"));
                return;
            }
        };
        if how == How::Info {
            self.open.insert(process, Open { unknown: true, value: Value::Null, ..open });
            return;
        }
        match (open.transfer, open.f.as_str()) {
            (Some(n), _) => self.transfer_ended(n, how, call.error.as_deref()),
            (None, "transfer") => {}
            (None, "read" | "read-all" | "statement") if how == How::Ok => {
                self.reads.take(&open.f, &open.value, call.value);
            }
            (None, _) => {
                let count = self.unchecked.entry(open.f).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    fn transfer_ended(&mut self, n: u64, how: How, error: Option<&str>) {
        self.answers_agree.looked_at(1);
        let ending = match how {
            How::Ok => Ending::Posted(TransferNumber::from_u64(n)),
            How::Fail | How::Info => self.transfers.refusal(error.unwrap_or_default()),
        };
        if !self.transfers.told(n, ending) {
            self.answers_agree.broken(|| format!("transfer {n} was answered in two ways"));
        }
    }

    fn passes(&mut self, time: u64, line: u64) {
        if time < self.time {
            self.well_formed.broken(|| format!("line {line}: time goes back"));
        }
        self.time = time;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Ok,
    Fail,
    Info,
}

impl Transfers {
    /// The number of a transfer by the caller's name for it.
    pub(super) fn number(&self, id: &str) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    fn ask(&mut self, id: String, wanted: Wanted) -> (u64, bool) {
        let next = u64::try_from(self.asked.len()).expect("a count fits 64 bits");
        let n = *self.by_id.entry(id).or_insert(next);
        if n == next {
            self.asked.push((wanted, Ending::Unknown));
        }
        (n, self.wanted(n) == wanted)
    }

    /// A refusal by the ledger is final; one by anybody else is not.
    fn refusal(&mut self, error: &str) -> Ending {
        let code = error.to_uppercase().replace('-', "_");
        let entry = wire::catalogue::find(&code);
        let known = self.codes.iter().position(|known| *known == code);
        let number = known.unwrap_or_else(|| {
            self.codes.push(code);
            self.codes.len().saturating_sub(1)
        });
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        match entry.map(|entry| entry.kind) {
            Some(wire::catalogue::Kind::Rejection) | None => Ending::Rejected(number),
            Some(_) => Ending::NotDone(number),
        }
    }

    /// Notes an answer. `false` when it contradicts an earlier final one.
    fn told(&mut self, n: u64, ending: Ending) -> bool {
        let Some((_, before)) = usize::try_from(n).ok().and_then(|n| self.asked.get_mut(n)) else {
            return false;
        };
        match (*before, ending) {
            (Ending::Unknown | Ending::NotDone(_), _) => *before = ending,
            (_, Ending::Unknown | Ending::NotDone(_)) => {}
            (Ending::Posted(_) | Ending::Rejected(_), Ending::Posted(_) | Ending::Rejected(_)) => {
                return *before == ending;
            }
        }
        true
    }
}

impl Requests for Transfers {
    fn count(&self) -> u64 {
        u64::try_from(self.asked.len()).expect("a count fits 64 bits")
    }

    fn wanted(&self, n: u64) -> Wanted {
        let asked = usize::try_from(n).ok().and_then(|n| self.asked.get(n));
        asked.map_or(Wanted { debit: 0, credit: 0, amount: 0 }, |(wanted, _)| *wanted)
    }

    fn ending(&self, n: u64) -> Ending {
        let asked = usize::try_from(n).ok().and_then(|n| self.asked.get(n));
        asked.map_or(Ending::Unknown, |(_, ending)| *ending)
    }
}

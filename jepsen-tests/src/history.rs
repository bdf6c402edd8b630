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

mod event;

use std::collections::BTreeMap;
use std::io::BufRead;

use anyhow::Context;

pub(crate) use event::{
    AccountSeen, Answer, Call, Done, Event, FaultWindow, HoldSeen, HoldStage, JournalLine,
    LineKind, Meta, Picture, Refusal, StatementLine,
};

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

/// Who pays whom, by a hold's short name.
pub(crate) type Holds<'a> = BTreeMap<&'a str, (&'a str, &'a str)>;

/// Who pays, who is paid, and how much.
pub(crate) type Movement<'a> = (&'a str, &'a str, i64);

impl Call {
    /// What money moves when it is carried out; nothing, when it moves none, or posts a hold that nobody asked for.
    pub(crate) fn movement<'a>(&'a self, holds: &Holds<'a>) -> Option<Movement<'a>> {
        match self {
            Self::Transfer { from, to, amount, .. } => Some((from, to, *amount)),
            Self::Post { hold, amount, .. } => {
                let (from, to) = holds.get(hold.as_str())?;
                Some((from, to, *amount))
            }
            Self::Hold { .. }
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

    /// The calls of each key, in the order in which they began.
    pub(crate) fn keys(&self) -> BTreeMap<&str, Vec<&Op>> {
        let mut keys: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
        for op in &self.ops {
            if let Some(id) = op.call.id() {
                keys.entry(id).or_default().push(op);
            }
        }
        keys
    }

    /// Every hold that anybody asked for.
    pub(crate) fn holds(&self) -> Holds<'_> {
        let mut holds = Holds::new();
        for op in &self.ops {
            if let Call::Hold { id, from, to, .. } = &op.call {
                holds.insert(id, (from, to));
            }
        }
        holds
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

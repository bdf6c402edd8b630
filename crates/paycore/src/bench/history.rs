//! The run as a history: who called when, and what became of it. Kept only while there are few enough calls to read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use serde_json::json;

use super::codes::Codes;
use super::intents::{Intents, OPENING};
use crate::verify::{Call, Ending, Event, JournalLine, TransferNumber, Wanted};

/// Calls that are kept at the most: a history of a million is 200 MB, and nobody reads a longer one.
pub(super) const CALLS_MAX: u64 = 1_000_000;

/// One call, from its first attempt to its outcome.
#[derive(Clone, Copy, Debug)]
struct Span {
    began: u64,
    ended: u64,
    process: u32,
}

/// The calls of a run, by request.
#[derive(Debug)]
pub(super) struct Calls {
    /// How many are kept at the most.
    max: u64,
    spans: Vec<Span>,
    /// Processes without an open call, and since when.
    idle: Vec<(u32, u64)>,
    processes: u32,
    too_many: bool,
}

impl Calls {
    /// None yet; of more than `max` none will be kept.
    pub(super) const fn up_to(max: u64) -> Self {
        Self { max, spans: Vec::new(), idle: Vec::new(), processes: 0, too_many: false }
    }

    /// Request `n` is made. Requests come in their order.
    pub(super) fn begin(&mut self, n: u64, now: u64) {
        if n >= self.max {
            *self = Self { too_many: true, ..Self::up_to(0) };
            return;
        }
        let (process, since) = self.idle.pop().unwrap_or_else(|| {
            self.processes = self.processes.saturating_add(1);
            (self.processes, 0)
        });
        self.spans.push(Span { began: now.max(since), ended: u64::MAX, process });
    }

    /// Request `n` has its outcome. A process that nobody answers is never heard of again.
    pub(super) fn end(&mut self, n: u64, ending: Ending, now: u64) {
        let Some(span) = usize::try_from(n).ok().and_then(|n| self.spans.get_mut(n)) else {
            return;
        };
        span.ended = now.max(span.began.saturating_add(1));
        if ending != Ending::Unknown {
            self.idle.push((span.process, span.ended));
        }
    }

    /// Whether every call of the run is here.
    pub(super) const fn are_whole(&self) -> bool {
        !self.too_many
    }
}

/// The books at the end of a run.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Each account's balance.
    pub(super) balances: Vec<(u32, i128)>,
    /// Every transfer, by its debit.
    pub(super) journal: Vec<(TransferNumber, Wanted)>,
}

/// What was told to the callers of a run, and in what words.
pub(super) struct Told<'a> {
    /// What requests asked for.
    pub(super) intents: Intents,
    /// Each request's ending.
    pub(super) endings: &'a [u64],
    /// The codes in them.
    pub(super) codes: &'a Codes,
}

/// Writes `history.jsonl`.
pub(super) fn write(
    path: &Path,
    calls: &Calls,
    told: &Told<'_>,
    books: Books,
) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    let mut out = BufWriter::new(file);
    let opening = i64::try_from(OPENING)?;
    let accounts = (0..told.intents.accounts).map(|account| (name(account), opening)).collect();
    put(&mut out, &Event::Meta { accounts, overdraft: false })?;
    for (n, is_end) in in_time(calls) {
        put(&mut out, &event(n, is_end, calls, told)?)?;
    }
    put(&mut out, &last(told, books)?)?;
    out.flush().with_context(|| format!("writing {}", path.display()))
}

/// The ends of all calls in the order of time; of two at the same time, an end comes before a beginning.
fn in_time(calls: &Calls) -> Vec<(usize, bool)> {
    let mut ends: Vec<(u64, bool, usize)> = Vec::with_capacity(calls.spans.len().saturating_mul(2));
    for (n, span) in calls.spans.iter().enumerate() {
        ends.push((span.began, true, n));
        ends.push((span.ended, false, n));
    }
    ends.sort_unstable();
    ends.into_iter().map(|(_, begins, n)| (n, !begins)).collect()
}

fn event(n: usize, is_end: bool, calls: &Calls, told: &Told<'_>) -> anyhow::Result<Event> {
    let span = calls.spans.get(n).context("every call has a span")?;
    let call = |time| Call {
        process: u64::from(span.process),
        f: "transfer".to_owned(),
        time,
        ..Call::default()
    };
    let number = u64::try_from(n)?;
    if !is_end {
        let value = serde_json::to_value(line(id(number), told.intents.wanted(number)))?;
        return Ok(Event::Invoke(Call { value, ..call(span.began) }));
    }
    let ending = told.endings.get(n).map_or(Ending::Unknown, |bits| Ending::from_u64(*bits));
    Ok(match ending {
        Ending::Posted(transfer) => {
            let value = json!({ "transfer": transfer.unpack().to_string() });
            Event::Ok(Call { value, ..call(span.ended) })
        }
        Ending::Rejected(code) | Ending::NotDone(code) => {
            let error = Some(told.codes.text(code).to_lowercase());
            Event::Fail(Call { error, ..call(span.ended) })
        }
        Ending::Unknown => {
            let error = Some("outcome_unknown".to_owned());
            Event::Info(Call { error, ..call(span.ended) })
        }
    })
}

fn last(told: &Told<'_>, books: Books) -> anyhow::Result<Event> {
    let mut ids: BTreeMap<TransferNumber, u64> = BTreeMap::new();
    for (n, bits) in (0_u64..).zip(told.endings) {
        if let Ending::Posted(transfer) = Ending::from_u64(*bits) {
            // Two callers told the same transfer: the later one's is then missing from the journal, as it should be.
            ids.entry(transfer).or_insert(n);
        }
    }
    let Books { balances, mut journal } = books;
    journal.sort_unstable_by_key(|(transfer, _)| *transfer);
    let journal = journal.into_iter().map(|(transfer, wanted)| {
        let known = ids.get(&transfer).map(|n| id(*n));
        line(known.unwrap_or_else(|| transfer.unpack().to_string()), wanted)
    });
    let balances =
        balances.into_iter().map(|(account, balance)| Ok((name(account), i64::try_from(balance)?)));
    Ok(Event::Final {
        balances: balances.collect::<anyhow::Result<_>>()?,
        journal: journal.collect(),
    })
}

fn put(out: &mut impl Write, event: &Event) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, event)?;
    Ok(out.write_all(b"\n")?)
}

fn line(id: String, wanted: Wanted) -> JournalLine {
    JournalLine { id, from: name(wanted.debit), to: name(wanted.credit), amount: wanted.amount }
}

fn id(n: u64) -> String {
    format!("t{n}")
}

fn name(account: u32) -> String {
    format!("a{account}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_one_call_open_and_ends_with_an_unknown_one() {
        let mut calls = Calls::up_to(9);
        calls.begin(0, 10);
        calls.begin(1, 10);
        calls.end(0, Ending::Rejected(0), 20);
        calls.end(1, Ending::Unknown, 20);
        calls.begin(2, 20);
        calls.begin(3, 20);
        let processes: Vec<_> = calls.spans.iter().map(|span| span.process).collect();
        assert_eq!(processes, [1, 2, 1, 3], "1 is free again, 2 is never heard of again");
        let order = in_time(&calls);
        let place = |end| order.iter().position(|known| *known == end).unwrap();
        assert!(place((0, true)) < place((2, false)), "it ends before it begins anew");
    }

    #[test]
    fn a_run_that_grows_too_long_is_no_history() {
        let mut calls = Calls::up_to(1);
        calls.begin(0, 0);
        assert!(calls.are_whole());
        calls.begin(1, 1);
        assert!(!calls.are_whole());
        calls.end(0, Ending::Unknown, 2);
        assert!(calls.spans.is_empty());
    }
}

//! Statements are lists that only grow: whoever reads one later sees what was there, and more.
//!
//! Of two readings of one account, one is the beginning of the other; a reading that began after another had ended is
//! not the shorter one; and a transfer that was acknowledged before a reading began is in it.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::history::{Answer, Call, End, History, Op, StatementLine};

/// A reading of a statement.
struct Reading<'a> {
    op: &'a Op,
    lines: &'a [StatementLine],
}

pub(super) fn check(history: &History) -> Verdict {
    let mut verdict =
        Verdict::new("statements", "statements only grow, and hold what was acknowledged");
    let mut readings: BTreeMap<&str, Vec<Reading<'_>>> = BTreeMap::new();
    for op in &history.ops {
        if let (Call::Statement { account }, End::Ok(Answer::Statement(lines))) =
            (&op.call, &op.end)
        {
            readings.entry(account).or_default().push(Reading { op, lines });
        }
    }
    for (account, all) in &readings {
        for reading in all {
            one(account, reading, &mut verdict);
        }
        grows(account, all, &mut verdict);
        acknowledged(history, account, all, &mut verdict);
    }
    verdict
}

/// A single reading: balances run, nothing is there twice, log time does not run back.
fn one(account: &str, Reading { op, lines }: &Reading<'_>, verdict: &mut Verdict) {
    let index = op.index;
    let mut seen = BTreeSet::new();
    let (mut balance, mut at_ms) = (0_i64, 0);
    for line in *lines {
        balance = balance.saturating_add(line.amount);
        verdict.expect(line.balance == balance && balance >= 0, || {
            format!("line {index}: {account} should have {balance} after {line:?}")
        });
        verdict.expect(
            seen.insert((&line.transfer, line.leg, line.amount > 0, line.kind as u8)),
            || format!("line {index}: {account} has {} twice", line.transfer),
        );
        verdict.expect(line.at_ms >= at_ms, || {
            format!("line {index}: log time of {account} runs back at {}", line.transfer)
        });
        (balance, at_ms) = (line.balance, line.at_ms);
    }
}

/// Readings from the shortest to the longest: each is the beginning of the next, and none ended before a shorter one
/// began.
fn grows(account: &str, readings: &[Reading<'_>], verdict: &mut Verdict) {
    let mut by_length: Vec<&Reading<'_>> = readings.iter().collect();
    by_length.sort_by_key(|reading| (reading.lines.len(), reading.op.began));
    for pair in by_length.windows(2) {
        let [shorter, longer] = pair else { continue };
        verdict.expect(longer.lines.starts_with(shorter.lines), || {
            let (one, other) = (shorter.op.index, longer.op.index);
            format!("{account}: lines {one} and {other} read two different pasts")
        });
    }
    // How much was there for sure, at each time: the longest reading that had ended.
    let mut by_end: Vec<&Reading<'_>> = readings.iter().collect();
    by_end.sort_by_key(|reading| reading.op.ended);
    for reading in readings {
        let before = by_end.iter().take_while(|before| before.op.ended < reading.op.began);
        let longest = before.map(|before| before.lines.len()).max().unwrap_or(0);
        verdict.expect(reading.lines.len() >= longest, || {
            let (index, now) = (reading.op.index, reading.lines.len());
            format!("{account}: line {index} read {now} lines where {longest} had been read before")
        });
    }
}

/// What was acknowledged before a reading began is in it.
fn acknowledged(history: &History, account: &str, readings: &[Reading<'_>], verdict: &mut Verdict) {
    let mut acknowledged: Vec<(u64, &str)> = Vec::new();
    for op in &history.ops {
        let Call::Transfer { from, to, .. } = &op.call else { continue };
        if let Some(done) = op.done().filter(|_| from == account || to == account) {
            acknowledged.push((op.ended, &done.transfer));
        }
    }
    for Reading { op, lines } in readings {
        let there: BTreeSet<&str> = lines.iter().map(|line| line.transfer.as_str()).collect();
        let due = acknowledged.iter().filter(|(ended, _)| *ended < op.began);
        for (_, transfer) in due {
            verdict.expect(there.contains(transfer), || {
                let index = op.index;
                format!("{account}: line {index} reads a statement without {transfer}, acknowledged before")
            });
        }
    }
}

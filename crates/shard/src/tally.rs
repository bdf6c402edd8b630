//! What became of requests, counted as a plain value: the desk writes it, the actor hands it on once a message.
//!
//! One more request costs a look at the cell that was counted last, which almost always is the one: batches hold many
//! requests of one kind with one outcome.

use ledger::{Operation, Rejection};
use wire::{Failure, Reply};

/// What a request was posted as, among the codes of those that were not.
const POSTED: &str = "posted";

/// What requests came to since the tally was last taken.
#[derive(Debug, Default)]
pub struct Tally {
    cells: Vec<Cell>,
    hits: u64,
    conflicts: u64,
}

/// Requests of one kind with one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// What they asked for; `None` for those of which it was not known, or not looked up, when they were answered.
    pub(crate) kind: Option<Operation>,
    /// `posted`, or the code.
    pub(crate) outcome: &'static str,
    /// How many.
    pub(crate) requests: u64,
}

impl Tally {
    /// Counts one answered request.
    pub(crate) fn count(&mut self, kind: Option<Operation>, reply: &Reply) {
        let outcome = match reply {
            Reply::Answer(answer) => {
                self.hits = self.hits.saturating_add(answer.replayed.into());
                match &answer.outcome {
                    Ok(_) => POSTED,
                    Err(no) => {
                        let reused = matches!(no, Rejection::KeyReused);
                        self.conflicts = self.conflicts.saturating_add(reused.into());
                        no.code()
                    }
                }
            }
            Reply::Failure(failure) => failure.code(),
        };
        self.add(kind, outcome, 1);
    }

    /// Counts requests that nobody looked at one by one.
    pub(crate) fn count_failed(&mut self, failure: Failure, requests: usize) {
        let requests = u64::try_from(requests).unwrap_or(u64::MAX);
        if requests > 0 {
            self.add(None, failure.code(), requests);
        }
    }

    fn add(&mut self, kind: Option<Operation>, outcome: &'static str, requests: u64) {
        // Newest last, so that a run of equals is found at once. By place: a code that lies in memory twice would only
        // get two cells, which the meter adds up.
        let same = |cell: &&mut Cell| std::ptr::eq(cell.outcome, outcome) && cell.kind == kind;
        match self.cells.iter_mut().rev().find(same) {
            Some(cell) => cell.requests = cell.requests.saturating_add(requests),
            None => self.cells.push(Cell { kind, outcome, requests }),
        }
    }

    /// Takes what was counted, and begins anew.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub(crate) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Requests that were answered with the outcome of an earlier one under the same key.
    pub(crate) const fn hits(&self) -> u64 {
        self.hits
    }

    /// Requests whose key had been used for something else.
    pub(crate) const fn conflicts(&self) -> u64 {
        self.conflicts
    }
}

#[cfg(test)]
mod tests {
    use ledger::{Answer, Posted, Time, TransferId};

    use super::*;

    #[test]
    fn requests_are_counted_by_kind_and_outcome() {
        let transfer = TransferId { shard: 0, index: 1, position: 0 };
        let posted = Ok(Posted { transfer, at: Time(1) });
        let answer = |outcome, replayed| Reply::Answer(Answer { outcome, replayed });
        let mut tally = Tally::default();
        for _ in 0..3 {
            tally.count(Some(Operation::Transfer), &answer(posted, false));
        }
        tally.count(Some(Operation::Hold), &answer(Err(Rejection::KeyReused), false));
        tally.count(Some(Operation::Transfer), &answer(posted, true));
        tally.count(Some(Operation::Transfer), &answer(Err(Rejection::AccountFrozen), true));
        tally.count_failed(Failure::NoLeader, 7);
        tally.count_failed(Failure::Draining, 0);

        let taken = tally.take();
        let cells: Vec<_> =
            taken.cells().iter().map(|cell| (cell.kind, cell.outcome, cell.requests)).collect();
        assert_eq!(
            cells,
            [
                (Some(Operation::Transfer), "posted", 4),
                (Some(Operation::Hold), "KEY_REUSED", 1),
                (Some(Operation::Transfer), "ACCOUNT_FROZEN", 1),
                (None, "NO_LEADER", 7),
            ]
        );
        assert_eq!((taken.hits(), taken.conflicts()), (2, 1));
        assert_eq!((tally.cells(), tally.hits()), (&[][..], 0), "it begins anew");
    }
}

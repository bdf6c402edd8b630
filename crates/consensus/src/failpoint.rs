//! Failpoints: where a test makes a process die as by `kill -9`, between any two steps of money between shards, or of an
//! operation of the cluster.
//!
//! Only a build with `--cfg planted` has them. In every other one a [`Traffic`] is empty, and looking at it and passing
//! with it is no instruction at all; nor is reaching a step of an [`Operation`].
//!
//! A planted process looks, at each step that it reaches, whether the folder that `PAYCORE_FAIL_DIR` names holds a file
//! of the step's name, as `payment.applied`, or one that names the process beside it, as `payment.applied@n2`; the
//! process has its name from `PAYCORE_FAIL_AS`. It removes the file and dies. Only one can remove a file, so one file is
//! one death.
//!
//! ```text
//!            at home                                    away
//! request    taken proposed logged committed applied
//! payment    written ─────────────────────────────────▶ taken proposed logged committed applied told
//!            heard ◀────────────────────────────────────┘
//! answer     taken proposed logged committed applied told ◀─────────────────────────────── written
//!                                                    └──────────────────────────────────▶ heard
//! ```
//!
//! `logged` and `committed` are reached by followers too, each for itself. An [`Operation`] lists its steps itself; those
//! of one that changes a group's members are:
//!
//! ```text
//! learner    introduced reached logged committed made
//! joint                         logged committed
//! uniform                       logged committed made (as `voters.made`)
//! removal                       logged committed made
//! ```
//!
//! Beside deaths there is one planted bug, for the audit to find: a file `lose-payment` makes a relay write something
//! else in the place of the next payment, so that its number arrives and its money does not.

#[cfg(not(planted))]
mod absent;
mod operation;
#[cfg(planted)]
mod planted;

use std::fmt;

#[cfg(not(planted))]
pub(crate) use absent::{Crew, Shift};
#[cfg(not(planted))]
pub use absent::{Traffic, loses_payment};
pub use ledger::Plant;
pub use operation::Operation;
#[cfg(planted)]
pub(crate) use planted::{Crew, Shift};
#[cfg(planted)]
pub use planted::{Traffic, loses_payment};

/// What is on its way: a part of one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A client's request, at home.
    Request,
    /// What is paid to another shard.
    Payment,
    /// What became of it there.
    Answer,
}

/// Where it is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Its letter is written, and not sent.
    Written,
    /// It came in at a shard's leader, and nothing was done with it.
    Taken,
    /// Consensus has its entry, and has done nothing with it.
    Proposed,
    /// This node's log has synced its entry, and consensus has not heard so.
    Logged,
    /// A majority has its entry, and it is this node's turn to apply it.
    Committed,
    /// The leader's ledger has applied it, and the desk has not heard so.
    Applied,
    /// The desk has done what follows from it, and the letter's writer is not told.
    Told,
    /// The letter's writer is told, and his desk has not heard so.
    Heard,
}

/// A step: a part of a transfer at a moment of its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// What is on its way.
    pub part: Part,
    /// Where it is.
    pub moment: Moment,
}

impl Part {
    const ALL: [Self; 3] = [Self::Request, Self::Payment, Self::Answer];

    /// Clients do not write letters.
    const fn passes(self, moment: Moment) -> bool {
        match moment {
            Moment::Written | Moment::Told | Moment::Heard => !matches!(self, Self::Request),
            Moment::Taken
            | Moment::Proposed
            | Moment::Logged
            | Moment::Committed
            | Moment::Applied => true,
        }
    }
}

impl Moment {
    const ALL: [Self; 8] = [
        Self::Written,
        Self::Taken,
        Self::Proposed,
        Self::Logged,
        Self::Committed,
        Self::Applied,
        Self::Told,
        Self::Heard,
    ];
}

impl Step {
    /// Every step, in the order in which a transfer passes them.
    pub fn all() -> impl Iterator<Item = Self> {
        let of = |part: Part| {
            let moments = Moment::ALL.into_iter().filter(move |moment| part.passes(*moment));
            moments.map(move |moment| Self { part, moment })
        };
        Part::ALL.into_iter().flat_map(of)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::Request => "request",
            Part::Payment => "payment",
            Part::Answer => "answer",
        };
        let moment = match self.moment {
            Moment::Written => "written",
            Moment::Taken => "taken",
            Moment::Proposed => "proposed",
            Moment::Logged => "logged",
            Moment::Committed => "committed",
            Moment::Applied => "applied",
            Moment::Told => "told",
            Moment::Heard => "heard",
        };
        write!(f, "{part}.{moment}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_step_has_a_name_of_its_own() {
        let names: BTreeSet<String> = Step::all().map(|step| step.to_string()).collect();
        assert_eq!(names.len(), Step::all().count());
        assert_eq!(names.len(), 21);
        assert!(names.contains("payment.heard") && !names.contains("request.heard"));
        let operations = Operation::ALL.iter().map(ToString::to_string);
        let all: BTreeSet<String> = names.into_iter().chain(operations).collect();
        assert_eq!(all.len(), 21 + Operation::ALL.len());
    }
}

//! Failpoints that are there.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::LazyLock;

use ledger::batch::{BATCH_HEAD_BYTES, get_record, records};
use ledger::{Command, Message};
use rustix::process::{Signal, getpid, kill_process};

use super::{Moment, Operation, Part, Step};
use crate::raft::Membership;

/// Where files say who is to die, and what this process is called there.
static ORDERS: LazyLock<Option<(PathBuf, String)>> = LazyLock::new(|| {
    let dir = std::env::var_os("PAYCORE_FAIL_DIR")?;
    let name = std::env::var("PAYCORE_FAIL_AS").unwrap_or_default();
    Some((dir.into(), name))
});

/// What some records carry past the steps: of several parts, the one that comes last in a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    part: Option<Part>,
}

impl Traffic {
    /// What a run of records carries.
    #[must_use]
    pub fn of(run: &[u8]) -> Self {
        let requests = records(run).map_while(Result::ok);
        let requests = requests.filter_map(|record| get_record(record, 0).ok());
        Self { part: requests.filter_map(|request| part(&request.command)).max() }
    }

    /// What a batch carries.
    #[must_use]
    pub fn of_batch(batch: &[u8]) -> Self {
        Self::of(batch.get(BATCH_HEAD_BYTES..).unwrap_or_default())
    }

    /// What both carry.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { part: self.part.max(other.part) }
    }

    /// It has come to a step: who is to die there does.
    pub fn reaches(self, moment: Moment) {
        if let Some(part) = self.part {
            strike(&Step { part, moment });
        }
    }
}

impl Operation {
    /// The step is reached: who is to die there does.
    pub fn reached(self) {
        strike(&self);
    }
}

/// Who is in a group, by its newest entry that says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crew {
    learners: BTreeSet<u64>,
    is_joint: bool,
}

impl Crew {
    /// Takes in an entry's membership, and says what it changes.
    pub(crate) fn next(&mut self, membership: &Membership) -> Shift {
        let after = Self {
            learners: membership.learner_ids().collect(),
            is_joint: membership.get_joint_config().len() > 1,
        };
        let before = std::mem::replace(self, after);
        let kind = if self.is_joint {
            Kind::Joint
        } else if before.is_joint {
            Kind::Uniform
        } else if self.learners.is_superset(&before.learners) && !self.learners.is_empty() {
            Kind::Learner
        } else {
            Kind::Removal
        };
        Shift { kind: Some(kind) }
    }
}

/// What an entry changes about who is in a group; of several, the one that comes last in a change of its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shift {
    kind: Option<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Learner,
    Joint,
    Uniform,
    Removal,
}

impl Shift {
    /// What two runs of entries change.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { kind: self.kind.max(other.kind) }
    }

    /// This node's log has it.
    pub(crate) fn logged(self) {
        let step = self.kind.map(|kind| match kind {
            Kind::Learner => Operation::LearnerLogged,
            Kind::Joint => Operation::JointLogged,
            Kind::Uniform => Operation::UniformLogged,
            Kind::Removal => Operation::RemovalLogged,
        });
        step.into_iter().for_each(Operation::reached);
    }

    /// A majority has it.
    pub(crate) fn committed(self) {
        let step = self.kind.map(|kind| match kind {
            Kind::Learner => Operation::LearnerCommitted,
            Kind::Joint => Operation::JointCommitted,
            Kind::Uniform => Operation::UniformCommitted,
            Kind::Removal => Operation::RemovalCommitted,
        });
        step.into_iter().for_each(Operation::reached);
    }
}

/// Dies, if a file says that this process is to die at this step.
fn strike(step: &impl Display) {
    let Some((dir, name)) = &*ORDERS else { return };
    let is_meant = |file: String| std::fs::remove_file(dir.join(file)).is_ok();
    if is_meant(step.to_string()) || is_meant(format!("{step}@{name}")) {
        die();
    }
}

/// Which part of a transfer a command is; an audit's marker is none, and neither is what concerns the directory.
fn part(command: &Command) -> Option<Part> {
    let Command::Deliver { message: Some((_, message)), .. } = command else {
        return (!command.is_for_meta()).then_some(Part::Request);
    };
    match message {
        Message::Pay(_) => Some(Part::Payment),
        Message::Settled { .. } => Some(Part::Answer),
        Message::Marker(_)
        | Message::WholeMarker(_)
        | Message::StateMarker { .. }
        | Message::Record { .. }
        | Message::Told(_)
        | Message::Heard { .. } => None,
    }
}

/// Whether the payment that is being written to another shard is to be lost: a file `lose-payment` says so, once.
#[must_use]
pub fn loses_payment() -> bool {
    let dir = ORDERS.as_ref().map(|(dir, _)| dir.join("lose-payment"));
    dir.is_some_and(|file| std::fs::remove_file(file).is_ok())
}

/// Nothing is dropped, flushed or said.
fn die() -> ! {
    let _killed = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

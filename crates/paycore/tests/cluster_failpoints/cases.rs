//! Which process dies at which step of which operation.

use std::fmt;

use consensus::failpoint::Operation as Step;

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Moves a shard's replica to the one node that had it before, or never had it.
    Move,
    /// Adds a node that is new.
    Add,
    /// Starts a node that is new, and adds it when it has started.
    Start,
    /// Removes it again.
    Remove,
    /// Lets another node lead a shard.
    Lead,
    /// Drains a node.
    Drain,
    /// Ends that.
    Undrain,
    /// Restarts the node that leads a shard.
    Restart,
    /// Replaces the newest node, which is dead, by one that is new.
    Replace,
}

/// Whom it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    /// The shard's leader: others come to the same step.
    Leader,
    /// A voter of the shard that does not lead it.
    Follower,
    /// The node that is to lead.
    Heir,
    /// Whoever comes there; for most steps there is only one.
    Anybody,
}

/// One death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) deed: Deed,
    pub(crate) step: Step,
    pub(crate) victim: Victim,
}

impl Case {
    /// Whether it is the operator's command that dies, and no node.
    pub(crate) fn is_commands(self) -> bool {
        COMMAND.contains(&self.step)
    }

    /// Whether it comes only where a log no longer begins at its first entry.
    pub(crate) fn needs_snapshot(self) -> bool {
        SNAPSHOT.contains(&self.step)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?}", self.step, self.deed, self.victim)
    }
}

/// What the leader of a change does; some of it its followers do too.
const CHANGE: [Step; 13] = [
    Step::LearnerIntroduced,
    Step::LearnerReached,
    Step::LearnerLogged,
    Step::LearnerCommitted,
    Step::LearnerMade,
    Step::JointLogged,
    Step::JointCommitted,
    Step::UniformLogged,
    Step::UniformCommitted,
    Step::VotersMade,
    Step::RemovalLogged,
    Step::RemovalCommitted,
    Step::RemovalMade,
];

/// What followers do of it.
const FOLLOWED: [Step; 3] = [Step::JointLogged, Step::JointCommitted, Step::UniformCommitted];

/// What a node does that gets a replica.
const JOIN: [Step; 7] = [
    Step::JoinCalled,
    Step::JoinOpened,
    Step::JoinBuilt,
    Step::RosterWritten,
    Step::RosterNamed,
    Step::JoinKept,
    Step::JoinRunning,
];

/// What it does when the leader's log no longer reaches back to where it is.
const SNAPSHOT: [Step; 5] = [
    Step::SnapshotOffered,
    Step::SnapshotReceived,
    Step::SnapshotInstalled,
    Step::SnapshotNamed,
    Step::SnapshotTaken,
];

/// What a node does that loses a replica.
const LEAVE: [Step; 5] =
    [Step::LeaveTold, Step::LeaveCovered, Step::LeaveKept, Step::LeaveEnded, Step::LeavePurged];

/// What a node does that is asked to end, to be started again; it has been drained for that.
const RESTART: [Step; 3] = [Step::DrainWritten, Step::RestartAsked, Step::RestartReady];

/// What a node does that is to say that another one has left.
const RETIRE: [Step; 2] = [Step::RetireAsked, Step::RetireHeard];

const START: [Step; 2] = [Step::StartRecalled, Step::StartRunning];

const COMMAND: [Step; 3] = [Step::CommandPlanned, Step::CommandAnswered, Step::CommandDone];

/// Every step of every operation.
pub(crate) fn all() -> Vec<Case> {
    let of = |deed, victim| move |step: &Step| Case { deed, step: *step, victim };
    let mut cases: Vec<Case> = CHANGE.iter().map(of(Deed::Move, Victim::Leader)).collect();
    cases.extend(FOLLOWED.iter().map(of(Deed::Move, Victim::Follower)));
    // By now every node has left each shard once: these come back to what they left.
    cases.extend(JOIN.iter().map(of(Deed::Move, Victim::Anybody)));
    cases.extend([
        Case { deed: Deed::Lead, step: Step::LeadAsked, victim: Victim::Leader },
        Case { deed: Deed::Lead, step: Step::LeadTold, victim: Victim::Heir },
        Case { deed: Deed::Lead, step: Step::LeadWon, victim: Victim::Heir },
        Case { deed: Deed::Lead, step: Step::LeadSeen, victim: Victim::Leader },
        Case { deed: Deed::Drain, step: Step::DrainAsked, victim: Victim::Anybody },
        Case { deed: Deed::Undrain, step: Step::UndrainAsked, victim: Victim::Anybody },
        Case { deed: Deed::Drain, step: Step::DrainWritten, victim: Victim::Anybody },
        Case { deed: Deed::Undrain, step: Step::UndrainWritten, victim: Victim::Anybody },
        Case { deed: Deed::Drain, step: Step::CommandAnswered, victim: Victim::Anybody },
        Case { deed: Deed::Undrain, step: Step::CommandPlanned, victim: Victim::Anybody },
    ]);
    cases.extend(RESTART.iter().chain(&COMMAND).map(of(Deed::Restart, Victim::Anybody)));
    // Who is new comes and goes in turn.
    let added = JOIN.iter().chain(&SNAPSHOT).map(of(Deed::Add, Victim::Anybody));
    let added = added.chain(START.iter().map(of(Deed::Start, Victim::Anybody)));
    let removed = LEAVE.iter().chain(&COMMAND).chain(&RETIRE);
    let mut removed = removed.map(of(Deed::Remove, Victim::Anybody));
    for case in added {
        cases.push(case);
        cases.extend(removed.next());
    }
    cases.extend(removed);
    cases.extend(RETIRE.iter().chain(&COMMAND).map(of(Deed::Replace, Victim::Anybody)));
    cases
}

//! The steps of the cluster's operations.

use std::fmt;

/// Lists the steps once: each with what has happened when it is reached, and its name.
macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident = $name:literal,)*) => {
        /// A step of an operation of the cluster: what an operator asks for, or what follows from it on a node.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Operation {
            $($(#[$doc])* $step,)*
        }

        impl Operation {
            /// Every step, in the order in which operations pass them.
            pub const ALL: &[Self] = &[$(Self::$step,)*];

            /// What it is called.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$step => $name,)*
                }
            }
        }
    };
}

steps! {
    /// The leader knows where a node listens that is to get a replica, and has not reached it.
    LearnerIntroduced = "learner.introduced",
    /// It knows the node's data directory, and has proposed nothing.
    LearnerReached = "learner.reached",
    /// This node's log has synced the entry that adds a learner, and consensus has not heard so.
    LearnerLogged = "learner.logged",
    /// A majority has it, and it is this node's turn to apply it.
    LearnerCommitted = "learner.committed",
    /// The leader has added the learner, and its asker is not told.
    LearnerMade = "learner.made",
    /// This node's log has synced the entry with both sets of voters, and consensus has not heard so.
    JointLogged = "joint.logged",
    /// A majority of both sets has it, and nobody has proposed the second half.
    JointCommitted = "joint.committed",
    /// This node's log has synced the entry with the new voters alone, and consensus has not heard so.
    UniformLogged = "uniform.logged",
    /// A majority has it, and it is this node's turn to apply it.
    UniformCommitted = "uniform.committed",
    /// The leader has changed the voters, and its asker is not told.
    VotersMade = "voters.made",
    /// This node's log has synced the entry that lets a learner go, and consensus has not heard so.
    RemovalLogged = "removal.logged",
    /// A majority has it, and it is this node's turn to apply it.
    RemovalCommitted = "removal.committed",
    /// The leader has let the learner go, and its asker is not told.
    RemovalMade = "removal.made",
    /// The leader is asked to hand over, and has told nobody.
    LeadAsked = "lead.asked",
    /// The heir is told that it may lead, and has not stood for election.
    LeadTold = "lead.told",
    /// The heir is elected, and has told nobody.
    LeadWon = "lead.won",
    /// The old leader knows the new one, and its asker is not told.
    LeadSeen = "lead.seen",
    /// A node that starts knows whether it is drained, and not yet what it promised.
    StartRecalled = "start.recalled",
    /// It takes part, and has done nothing of what leaders want of it.
    StartRunning = "start.running",
    /// A leader has sent something of a shard that does not run here, and nothing of it is opened.
    JoinCalled = "join.called",
    /// The shard's part of the disk is opened, and its group is not built.
    JoinOpened = "join.opened",
    /// The group is built, and the roster's file does not say that the node is in it.
    JoinBuilt = "join.built",
    /// The roster's file says so, and the group does not run.
    JoinKept = "join.kept",
    /// The group runs.
    JoinRunning = "join.running",
    /// The roster's new file is synced, and does not have its name.
    RosterWritten = "roster.written",
    /// It has its name, and the directory is not synced.
    RosterNamed = "roster.named",
    /// A snapshot is offered, and its first piece has not come.
    SnapshotOffered = "snapshot.offered",
    /// All of it is here, and none of it installed.
    SnapshotReceived = "snapshot.received",
    /// It lies where it belongs, and nothing names it.
    SnapshotInstalled = "snapshot.installed",
    /// It is named, and the state machine does not have it.
    SnapshotNamed = "snapshot.named",
    /// The state machine has it, and its sender is not told.
    SnapshotTaken = "snapshot.taken",
    /// A leader has said that this node is no member, and nothing is done about it.
    LeaveTold = "leave.told",
    /// The last checkpoint is made, and the roster's file does not say that the node has left.
    LeaveCovered = "leave.covered",
    /// The roster's file says so, and the group still runs.
    LeaveKept = "leave.kept",
    /// The group has ended, and its log is all there.
    LeaveEnded = "leave.ended",
    /// The log is let go.
    LeavePurged = "leave.purged",
    /// A node is asked to be drained, and has not written it down.
    DrainAsked = "drain.asked",
    /// It has written it down, and goes on as before.
    DrainWritten = "drain.written",
    /// A drained node is asked to be drained no more, and has not written it down.
    UndrainAsked = "undrain.asked",
    /// It has written it down, and goes on as before.
    UndrainWritten = "undrain.written",
    /// A node is asked to end for a restart, and goes on as before.
    RestartAsked = "restart.asked",
    /// It has handed over what it led, and has not ended.
    RestartReady = "restart.ready",
    /// A node is asked to say that another has left for good, and has told nobody.
    RetireAsked = "retire.asked",
    /// The directory says so, and the asker is not told.
    RetireHeard = "retire.heard",
    /// The operator's command has its plan, and has asked for nothing.
    CommandPlanned = "command.planned",
    /// It has the answer to something that it asked for, and has not looked what came of it.
    CommandAnswered = "command.answered",
    /// It has brought one thing about, and not begun the next.
    CommandDone = "command.done",
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

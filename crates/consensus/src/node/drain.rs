//! A node that is drained leads nothing: it hands over what it leads, does not stand for election, and takes no lead.
//!
//! It goes on voting and keeping its replicas. That it is drained stands in a file of its data directory, so that a
//! restart changes nothing about it. There are two reasons, each with a file of its own: an operator's wish, and a restart
//! that is under way. Who restarts nodes ends only what it began, and finds what it has not ended.

use std::path::Path;
use std::sync::Arc;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;

use super::{Node, Site};
use crate::failpoint::Operation;
use crate::stop::StopReason;
use crate::store::{Files, StoreError};
use crate::transport::Lane;

/// The marks of the two reasons.
const BY_WISH: &str = "DRAINED";
const FOR_RESTART: &str = "RESTARTING";

/// Why a node is not drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrainError {
    /// Give the shard another replica, or start or undrain the others first.
    #[error("nobody else may lead shard {0}")]
    NoHeir(u16),
    /// The disk did not take it. Look at the node's output.
    #[error("it could not be written down")]
    NotKept,
}

/// Why a node is drained, if it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks {
    by_wish: bool,
    for_restart: bool,
}

impl Node {
    /// Whether nothing may be led from here, for whatever reason.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        *self.0.desk.is_drained.borrow()
    }

    /// Whether the node is drained for a restart.
    #[must_use]
    pub fn is_restarting(&self) -> bool {
        *self.0.desk.is_restarting.borrow()
    }

    /// Drains the node by an operator's wish; or ends that, and whatever else it is drained for. Says whether anything was
    /// different before.
    ///
    /// # Errors
    /// When somebody would lose its only possible leader, or the disk fails.
    pub async fn set_drained(&self, is_drained: bool) -> Result<bool, DrainError> {
        let change = move |marks: Marks| Marks {
            by_wish: is_drained,
            for_restart: marks.for_restart && is_drained,
        };
        self.0.remark(is_drained, change).await
    }

    /// Drains the node for a restart, or ends that alone. Says whether anything was different before.
    ///
    /// # Errors
    /// As [`Node::set_drained`].
    pub async fn set_restarting(&self, is_restarting: bool) -> Result<bool, DrainError> {
        let change = move |marks: Marks| Marks { for_restart: is_restarting, ..marks };
        self.0.remark(is_restarting, change).await
    }
}

impl Site {
    /// Finds out whether the node was drained when it last ran.
    pub(super) async fn recall_drain(&self) -> Result<(), StopReason> {
        let (files, dir) = (Arc::clone(&self.parts.files), self.config.data_dir.clone());
        let marks = self.offload.run(move || Marks::read(&*files, &dir)).await;
        let marks =
            marks.map_err(|error| self.refuse(StopReason::Roster { error: Arc::new(error) }))?;
        self.obey(marks);
        Ok(())
    }

    async fn remark(
        &self,
        drains: bool,
        change: impl FnOnce(Marks) -> Marks + Send + 'static,
    ) -> Result<bool, DrainError> {
        if drains && let Some(shard) = self.without_heir() {
            return Err(DrainError::NoHeir(shard));
        }
        let (asked, kept) = if drains {
            (Operation::DrainAsked, Operation::DrainWritten)
        } else {
            (Operation::UndrainAsked, Operation::UndrainWritten)
        };
        asked.reached();
        let (files, dir) = (Arc::clone(&self.parts.files), self.config.data_dir.clone());
        let written = self.offload.run(move || {
            let before = Marks::read(&*files, &dir)?;
            let after = change(before);
            after.write(&*files, &dir, before)?;
            Ok((before, after))
        });
        let (before, after) = written.await.map_err(|error: StoreError| {
            tracing::error!(%error, "the mark of a drained node");
            DrainError::NotKept
        })?;
        kept.reached();
        self.obey(after);
        Ok(before != after)
    }

    fn obey(&self, marks: Marks) {
        self.desk.is_restarting.send_replace(marks.for_restart);
        self.desk.is_drained.send_replace(marks.by_wish || marks.for_restart);
    }

    /// A shard that this node leads and that nobody else may lead.
    fn without_heir(&self) -> Option<u16> {
        let hosts = self.desk.hosts();
        let alone = hosts.iter().find(|host| {
            let metrics = host.raft.metrics();
            let metrics = metrics.borrow_watched();
            let mut others = metrics
                .membership_config
                .voter_ids()
                .filter(|voter| *voter != self.config.node_id)
                .map(|voter| self.peers.link(voter));
            metrics.state == ServerState::Leader
                && !others.any(|link| link.is_up(Lane::Control) && link.may_lead())
        });
        alone.map(|host| host.shard.number)
    }
}

impl Marks {
    fn read(files: &dyn Files, dir: &Path) -> Result<Self, StoreError> {
        let listed = files.list(dir)?;
        let has = |name| listed.iter().any(|entry| entry.name == name);
        Ok(Self { by_wish: has(BY_WISH), for_restart: has(FOR_RESTART) })
    }

    fn write(self, files: &dyn Files, dir: &Path, before: Self) -> Result<(), StoreError> {
        let marks = [
            (BY_WISH, before.by_wish, self.by_wish),
            (FOR_RESTART, before.for_restart, self.for_restart),
        ];
        for (name, was, is) in marks {
            match (was, is) {
                (false, true) => files.create(&dir.join(name))?.sync()?,
                (true, false) => files.remove(&dir.join(name))?,
                (true, true) | (false, false) => {}
            }
        }
        if self == before { Ok(()) } else { files.sync_dir(dir) }
    }
}

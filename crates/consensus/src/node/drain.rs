//! A node that is drained leads nothing: it hands over what it leads, does not stand for election, and takes no lead.
//!
//! It goes on voting and keeping its replicas. That it is drained stands in a file of its data directory, so that a
//! restart changes nothing about it.

use std::path::PathBuf;
use std::sync::Arc;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;

use super::{Node, Site};
use crate::failpoint::Operation;
use crate::stop::StopReason;
use crate::store::{Files, StoreError};
use crate::transport::Lane;

const NAME: &str = "DRAINED";

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

impl Node {
    /// Whether nothing may be led from here.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        *self.0.desk.is_drained.borrow()
    }

    /// Drains the node, or ends that. Says whether anything was different before.
    ///
    /// # Errors
    /// When somebody would lose its only possible leader, or the disk fails.
    pub async fn set_drained(&self, is_drained: bool) -> Result<bool, DrainError> {
        let site = &self.0;
        if is_drained && let Some(shard) = site.without_heir() {
            return Err(DrainError::NoHeir(shard));
        }
        let (asked, kept) = if is_drained {
            (Operation::DrainAsked, Operation::DrainWritten)
        } else {
            (Operation::UndrainAsked, Operation::UndrainWritten)
        };
        asked.reached();
        let (files, path) = (Arc::clone(&site.parts.files), site.drain_file());
        let dir = site.config.data_dir.clone();
        let written = site.offload.run(move || mark(&*files, (&dir, &path), is_drained)).await;
        written.map_err(|error| {
            tracing::error!(%error, "the mark of a drained node");
            DrainError::NotKept
        })?;
        kept.reached();
        Ok(site.desk.is_drained.send_replace(is_drained) != is_drained)
    }
}

impl Site {
    /// Finds out whether the node was drained when it last ran.
    pub(super) async fn recall_drain(&self) -> Result<(), StopReason> {
        let (files, dir) = (Arc::clone(&self.parts.files), self.config.data_dir.clone());
        let listed = self.offload.run(move || files.list(&dir)).await;
        let listed =
            listed.map_err(|error| self.refuse(StopReason::Roster { error: Arc::new(error) }))?;
        self.desk.is_drained.send_replace(listed.iter().any(|entry| entry.name == NAME));
        Ok(())
    }

    fn drain_file(&self) -> PathBuf {
        self.config.data_dir.join(NAME)
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

fn mark(
    files: &dyn Files,
    (dir, path): (&std::path::Path, &std::path::Path),
    is_drained: bool,
) -> Result<(), StoreError> {
    let is_marked = files.list(dir)?.iter().any(|entry| entry.name == NAME);
    if is_marked == is_drained {
        return Ok(());
    }
    if is_drained {
        files.create(path)?.sync()?;
    } else {
        files.remove(path)?;
    }
    files.sync_dir(dir)
}

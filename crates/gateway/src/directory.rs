//! The directory as a gateway follows it: tenants, API keys, aliases, tables, and where everything is.
//!
//! The meta group keeps it. A gateway asks its leader every second for what has changed, with a read that shows everything
//! decided before; and at once after a change that it was itself asked for, so that whoever changed something sees it here.
//! While the meta group cannot be asked, what is known goes on being true: money does not wait for it.
//!
//! Invariant: nothing here is kept (A9). A gateway that starts again reads it all again.

mod doors;

use std::sync::Arc;
use std::time::Duration;

use ledger::directory::{Heard, Name, Record};
use ledger::{Directory, Time};
use runtime::Instant;
use tokio::sync::{Mutex, watch};
use tokio::time::{MissedTickBehavior, interval};
use tonic::Status;
use wire::proto::cluster::{DirectoryPage, Leader};
use wire::{Failure, status};

use crate::nodes::Nodes;
use crate::reads::Reads;

pub(crate) use doors::DirectoryDoors;

/// How often the meta group is asked for what has changed: a key that was revoked elsewhere is void this much later.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long one look may take.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Follows the directory.
#[derive(Debug)]
pub(crate) struct Follower {
    reads: Arc<Reads>,
    nodes: Arc<Nodes>,
    known: watch::Sender<Arc<Directory>>,
    /// One look at a time, each beginning where the last one ended.
    looking: Mutex<()>,
}

impl Follower {
    pub(crate) fn new(
        reads: Arc<Reads>,
        nodes: Arc<Nodes>,
        known: watch::Sender<Arc<Directory>>,
    ) -> Self {
        Self { reads, nodes, known, looking: Mutex::new(()) }
    }

    /// What is known now.
    pub(crate) fn known(&self) -> Arc<Directory> {
        Arc::clone(&self.known.borrow())
    }

    /// Looks again and again, until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let now = Instant::now();
            let deadline = now.checked_add(LOOK_MAX).unwrap_or(now);
            if let Err(why) = self.look(deadline).await {
                tracing::debug!(%why, "the directory could not be read; what is known stays");
            }
        }
    }

    /// Reads what has changed: everything that was decided before this was called.
    pub(crate) async fn look(&self, deadline: Instant) -> Result<(), Status> {
        let _turn = self.looking.lock().await;
        let mut known = self.known();
        let mut after = known.version();
        loop {
            let page = self.reads.directory(after, deadline).await?;
            if is_known(&known, &page) {
                break;
            }
            let directory = Arc::make_mut(&mut known);
            for change in &page.changes {
                let read = ledger::codec::get_cold::<(Name, u64, Record)>(change).ok();
                // A change that this release cannot read is one of a newer one: better stay with what is known.
                let (name, version, record) =
                    read.ok_or_else(|| status::failure(Failure::InvalidRecord, None))?;
                after = after.max(version);
                directory.take(name, version, record);
            }
            if page.changes.is_empty() || after >= page.version {
                directory.follow(Time(page.told_ms), heard(&page));
                break;
            }
        }
        // Nothing was copied where nothing is new: then it is the same one.
        if !Arc::ptr_eq(&known, &self.known.borrow()) {
            self.learn_nodes(&known);
            self.known.send_replace(known);
        }
        Ok(())
    }

    fn learn_nodes(&self, directory: &Directory) {
        for (node_id, node) in directory.nodes() {
            if node.is_retired {
                self.nodes.forget(node_id);
            } else {
                self.nodes.learn(&Leader { node_id, address: node.address.clone() });
            }
        }
    }
}

/// Whether a page says nothing new: a directory of a hundred thousand names is not copied every second for that.
fn is_known(known: &Directory, page: &DirectoryPage) -> bool {
    page.changes.is_empty()
        && Time(page.told_ms) == known.told()
        && heard(page).eq(known.heard().iter().map(|(shard, heard)| (*shard, *heard)))
}

/// What each shard has said that it heard, in the order of the shards.
fn heard(page: &DirectoryPage) -> impl Iterator<Item = (u16, Heard)> {
    page.heard.iter().filter_map(|heard| {
        let (at, version) = (Time(heard.time_ms), heard.version);
        Some((u16::try_from(heard.shard).ok()?, Heard { at, version }))
    })
}

#[cfg(test)]
mod tests {
    use wire::proto::cluster::DirectoryHeard;

    use super::*;

    #[test]
    fn what_is_known_is_not_taken_for_news_nor_news_for_what_is_known() {
        let mut known = Directory::default();
        known.take(Name::Level, 3, Record::Level(1));
        known.follow(Time(9), [(0, Heard { at: Time(8), version: 3 })]);
        let said = DirectoryHeard { shard: 0, time_ms: 8, version: 3 };
        let page = DirectoryPage { version: 3, changes: vec![], told_ms: 9, heard: vec![said] };
        assert!(is_known(&known, &page));
        let told = DirectoryPage { told_ms: 10, ..page.clone() };
        let changed = DirectoryPage { changes: vec![vec![].into()], ..page.clone() };
        let later = DirectoryHeard { version: 4, ..said };
        let heard = DirectoryPage { heard: vec![later], ..page.clone() };
        let silent = DirectoryPage { heard: vec![], ..page };
        for news in [told, changed, heard, silent] {
            assert!(!is_known(&known, &news), "{news:?}");
        }
    }
}

//! The registrar: what a node tells the meta group.
//!
//! A node that keeps something reports itself, and who keeps the shards that it leads. Each fact is said until a letter with
//! it was read, and again when it has changed; the meta group knows what it was told before, so saying it twice does nothing.
//! What the directory says of all nodes comes back to every shard over its channel, so a node can say of a shard that it does
//! not keep who does.
//!
//! Invariant: nothing here is kept. A node that starts again says everything again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use consensus::{Node, Replica};
use ledger::directory::{MEMBERS_MAX, Name, NodeRecord, Placement, Record};
use ledger::{LEVEL_MAX, Shards as Count};
use tokio::time::{MissedTickBehavior, interval};

use crate::letter;
use crate::mail::Carrier;
use crate::service::Shards;

/// How often facts are looked at: gateways that looked for a shard in vain ask everybody meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a change that was reported may take to come back over a shard's channel.
const RETURN_MAX: Duration = Duration::from_secs(5);
const RETURN_LOOK: Duration = Duration::from_millis(100);

/// What tells the meta group of a node.
#[derive(Clone)]
pub struct Registrar {
    node: Arc<Node>,
    meta: u16,
    carrier: Carrier,
    shards: Shards,
}

impl Registrar {
    /// A registrar for a node that keeps these shards, of so many.
    #[must_use]
    pub fn new(node: Arc<Node>, count: Count, shards: Shards) -> Self {
        let carrier = Carrier::of_node(node.mail(), shards.clone());
        Self { node, meta: count.meta(), carrier, shards }
    }

    /// Says what is so, as long as the node lives.
    pub async fn run(self) {
        let mut told: BTreeMap<Name, Record> = BTreeMap::new();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopped = self.node.stopped();
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                _ = stopped.changed() => return,
            }
            let mut news = self.facts();
            news.retain(|name, record| told.get(name) != Some(record));
            if !news.is_empty() && self.say(&news).await {
                told.extend(news);
            }
        }
    }

    /// Says that a node which keeps nothing any more has left for good. Whether it is so, after a while; `None` when nobody
    /// knows such a node.
    pub(crate) async fn retire(&self, node: u64) -> Option<bool> {
        let record = self.known(node).or_else(|| self.seen(node))?;
        if record.is_retired {
            return Some(true);
        }
        let retired = Record::Node(NodeRecord { is_retired: true, ..record });
        let report = BTreeMap::from([(Name::Node(node), retired)]);
        // Refused as long as a shard's leader has not reported that the node keeps nothing of it.
        let comes_back = async {
            while self.known(node).is_none_or(|record| !record.is_retired) {
                let _read = self.say(&report).await;
                tokio::time::sleep(RETURN_LOOK).await;
            }
        };
        Some(tokio::time::timeout(RETURN_MAX, comes_back).await.is_ok())
    }

    /// Whether a node has left for good, as far as was heard here.
    pub(crate) fn is_retired(&self, node: u64) -> bool {
        self.known(node).is_some_and(|record| record.is_retired)
    }

    /// What a shard here has heard of a node.
    fn known(&self, node: u64) -> Option<NodeRecord> {
        self.newest()?.with_ledger(|ledger| {
            let mut nodes = ledger.directory().nodes();
            nodes.find(|(known, _)| *known == node).map(|(_, record)| record.clone())
        })
    }

    /// What memberships say of a node that has not reported itself.
    fn seen(&self, node: u64) -> Option<NodeRecord> {
        let (address, disk) = (self.node.addresses().get(node)?, self.node.disk_of(node)?);
        Some(NodeRecord { disk, address, level_max: LEVEL_MAX, is_retired: false })
    }

    /// The cluster's feature level, as far as it was heard here.
    pub(crate) fn level(&self) -> u32 {
        let heard =
            |replica: Arc<Replica>| replica.with_ledger(|ledger| ledger.directory().level());
        self.newest().map_or(0, heard)
    }

    /// The replica here whose directory is the newest.
    fn newest(&self) -> Option<Arc<Replica>> {
        let version =
            |replica: &Arc<Replica>| replica.with_ledger(|ledger| ledger.directory().version());
        let doors = self.shards.borrow();
        doors.values().map(|doors| Arc::clone(&doors.replica)).max_by_key(version)
    }

    async fn say(&self, reports: &BTreeMap<Name, Record>) -> bool {
        self.carrier.carry(self.meta, letter::report(reports)).await.is_some()
    }

    /// What this node says now.
    fn facts(&self) -> BTreeMap<Name, Record> {
        let id = self.node.id();
        let doors = self.shards.borrow();
        // Who keeps nothing has not joined yet, or has been removed: it is not for it to say which.
        let own = self.node.addresses().get(id).filter(|_| !doors.is_empty()).map(|address| {
            let disk = self.node.disk();
            let record = NodeRecord { disk, address, level_max: LEVEL_MAX, is_retired: false };
            (Name::Node(id), Record::Node(record))
        });
        let led = doors.values().filter_map(|doors| placement(&doors.replica));
        own.into_iter().chain(led).collect()
    }
}

/// Who keeps a shard that this node leads, once no change of it is under way.
fn placement(replica: &Replica) -> Option<(Name, Record)> {
    let status = replica.status();
    if !replica.leadership().borrow().leads || status.is_changing {
        return None;
    }
    let mut voters = status.voters;
    voters.sort_unstable();
    let learners = status.members.keys().filter(|node| !voters.contains(node)).copied();
    let learners: Vec<u64> = learners.take(MEMBERS_MAX.saturating_sub(voters.len())).collect();
    let placement = Placement { index: status.membership?, voters, learners };
    Some((Name::Shard(replica.shard()), Record::Placement(placement)))
}

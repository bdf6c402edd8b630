//! The operator: knows who is to keep each group, and changes memberships until it is so, one step at a time.
//!
//! It keeps no other state: each step is computed from what the leaders say, as the tool for clusters does it, and is asked
//! again when nobody answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use consensus::{Change, ReplicaStatus};
use futures::future::join_all;
use runtime::simulated;

use crate::cluster::Cluster;
use crate::faults::{Bites, Fault};
use crate::host::address;
use crate::invariants::Keepers;

/// How long one step may take before it is asked again.
const STEP_MAX: Duration = Duration::from_secs(4);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// An operator. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Operator {
    cluster: Cluster,
    bites: Bites,
    plan: Arc<Mutex<Plan>>,
}

struct Plan {
    keepers: Keepers,
    /// Nodes that are switched off when they keep nothing any more.
    leaving: BTreeSet<u64>,
    /// What will have bitten when the plan is carried out.
    under_way: Vec<Fault>,
    is_done: bool,
}

impl Operator {
    /// One who has nothing to do.
    pub(crate) fn new(cluster: Cluster, bites: Bites) -> Self {
        let keepers = cluster.first_keepers();
        let (leaving, under_way) = (BTreeSet::new(), Vec::new());
        let plan = Plan { keepers, leaving, under_way, is_done: true };
        Self { cluster, bites, plan: Arc::new(Mutex::new(plan)) }
    }

    /// Who is to keep each group.
    pub(crate) fn keepers(&self) -> Keepers {
        self.plan().keepers.clone()
    }

    /// Whether everything is as it is to be.
    pub(crate) fn is_done(&self) -> bool {
        self.plan().is_done
    }

    /// From now on a node keeps in a group what another kept. When it is so, the fault that it is has bitten.
    pub(crate) fn replace(&self, shard: u16, old: u64, new: u64, why: Option<Fault>) {
        let mut plan = self.plan();
        if let Some(keepers) = plan.keepers.get_mut(&shard)
            && keepers.remove(&old)
        {
            keepers.insert(new);
            plan.under_way.extend(why);
            plan.is_done = false;
        }
    }

    /// A node is to be switched off when it keeps nothing any more.
    pub(crate) fn retire(&self, node: u64) {
        self.plan().leaving.insert(node);
    }

    /// Works until the run ends.
    pub(crate) async fn work(self) {
        loop {
            if !self.is_done() {
                let keepers = self.keepers();
                let steps = keepers.iter().map(|(shard, keepers)| self.step(*shard, keepers));
                let done = join_all(steps).await;
                if done.into_iter().all(|is_done| is_done) && self.keepers() == keepers {
                    self.carried_out();
                }
            }
            simulated::sleep(LOOK_EVERY).await;
        }
    }

    fn carried_out(&self) {
        let leaving = {
            let mut plan = self.plan();
            plan.is_done = true;
            std::mem::take(&mut plan.under_way).into_iter().for_each(|fault| self.bites.bit(fault));
            std::mem::take(&mut plan.leaving)
        };
        for node in leaving {
            self.cluster.bury(node);
        }
        self.cluster.plan.trace.note(format_args!("the operator is done"));
    }

    /// Does the next thing for one group, and says whether there was nothing to do.
    async fn step(&self, shard: u16, keepers: &BTreeSet<u64>) -> bool {
        let Some((host, replica)) = self.cluster.leader(shard) else { return false };
        let status = replica.status();
        if !status.is_leader {
            return false;
        }
        let Some(change) = next(&status, keepers, host.node.id()) else {
            return !status.is_changing;
        };
        let asking = host.life.live({
            let (node, change) = (Arc::clone(&host.node), change.clone());
            async move { node.change(shard, change).await }
        });
        let changed = simulated::timeout(STEP_MAX, asking).await;
        self.cluster.plan.trace.note(format_args!("shard {shard}: {change:?}: {changed:?}"));
        false
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What brings a group nearer to being kept by these nodes; nothing, when it is.
fn next(status: &ReplicaStatus, keepers: &BTreeSet<u64>, leader: u64) -> Option<Change> {
    let voters: BTreeSet<u64> = status.voters.iter().copied().collect();
    let members: BTreeSet<u64> = status.members.keys().copied().collect();
    if let Some(node) = keepers.difference(&members).next() {
        return Some(Change::AddLearner { node: *node, address: address(*node) });
    }
    let add = keepers.difference(&voters).next().copied();
    let remove = voters.difference(keepers).next().copied();
    if remove == Some(leader) {
        let matched: BTreeMap<u64, Option<u64>> = status.matched.iter().copied().collect();
        let heirs = voters.intersection(keepers);
        let heir = heirs.max_by_key(|node| matched.get(*node).copied().flatten());
        return heir.map(|node| Change::Lead { node: *node });
    }
    if add.is_some() || remove.is_some() {
        return Some(Change::Voters { add, remove });
    }
    let left = members.difference(keepers).next();
    left.map(|node| Change::Remove { node: *node })
}

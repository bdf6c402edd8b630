//! Who led which shard in which term.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A shard and a term, and who leads it there.
type ByTerm = BTreeMap<(u16, u64), u64>;

/// All reigns of a run. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reigns(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    leaders: ByTerm,
    broken: Vec<String>,
}

impl Reigns {
    /// A node begins to lead. Within a term there is one leader, and no other.
    pub(crate) fn begin(&self, shard: u16, term: u64, node: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let leader = *state.leaders.entry((shard, term)).or_insert(node);
        if leader != node {
            let what = format!("shard {shard}: nodes {leader} and {node} lead in term {term}");
            state.broken.push(what);
        }
    }

    /// Terms with two leaders.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).broken.clone()
    }

    /// How often another reign followed one.
    pub(crate) fn changes(&self) -> u64 {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_shard: BTreeMap<u16, u64> = BTreeMap::new();
        for (shard, _) in state.leaders.keys() {
            let count = by_shard.entry(*shard).or_default();
            *count = count.saturating_add(1);
        }
        by_shard.values().map(|count| count.saturating_sub(1)).sum()
    }
}

//! What must hold when everything has come to rest, each in a file of its own, under the number that it has in
//! ARCHITECTURE.md.

mod a4_outcomes;
mod a5_money;
mod a7_time;
mod i12_ends;
mod i15_replicas;
mod i3_channels;
mod i4_holds;
mod i6_once;
mod reads;
mod statements;

use std::collections::{BTreeMap, BTreeSet};

use ledger::{AccountId, Posting};

use crate::cluster::Cluster;
use crate::effects::Effects;
use crate::oracle::Oracle;

pub(crate) use a7_time::is_ahead;

/// Who is to keep each group.
pub(crate) type Keepers = BTreeMap<u16, BTreeSet<u64>>;

/// What there is to look at.
pub(crate) struct View<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) oracle: &'a Oracle,
    pub(crate) keepers: &'a Keepers,
    pub(crate) accounts: &'a [AccountId],
    /// What clients heard, added up; nothing while something has no outcome.
    pub(crate) effects: Option<&'a Effects>,
    /// Each account's postings, oldest first; without those whose shard could not say.
    pub(crate) statements: &'a BTreeMap<AccountId, Vec<Posting>>,
}

/// Everything that does not hold.
pub(crate) fn broken(view: &View<'_>) -> Vec<String> {
    let checks = [
        a4_outcomes::check,
        a5_money::check,
        a7_time::check,
        i3_channels::check,
        i4_holds::check,
        i6_once::check,
        i12_ends::check,
        i15_replicas::check,
        reads::check,
        statements::check,
    ];
    checks.into_iter().flat_map(|check| check(view)).collect()
}

/// Nothing is on its way any more: every replica is where it belongs, and has applied what the others have; every message
/// was read.
pub(crate) fn is_at_rest(cluster: &Cluster, keepers: &Keepers) -> bool {
    i15_replicas::are_level(cluster, keepers) && i3_channels::are_empty(cluster)
}

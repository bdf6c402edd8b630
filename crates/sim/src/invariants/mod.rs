//! What must hold when everything has come to rest, each in a file of its own.

mod balances;
mod channels;
mod money;
mod outcomes;
mod replicas;

use ledger::AccountId;

use crate::cluster::Cluster;
use crate::oracle::Oracle;

/// What there is to look at.
pub(crate) struct View<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) oracle: &'a Oracle,
    pub(crate) accounts: &'a [AccountId],
}

/// Everything that does not hold.
pub(crate) fn broken(view: &View<'_>) -> Vec<String> {
    let checks = [outcomes::check, balances::check, money::check, channels::check, replicas::check];
    checks.into_iter().flat_map(|check| check(view)).collect()
}

/// Nothing is on its way any more: every replica is there, and has applied what the others have; every message was read.
pub(crate) fn is_at_rest(cluster: &Cluster) -> bool {
    replicas::are_level(cluster) && channels::are_empty(cluster)
}

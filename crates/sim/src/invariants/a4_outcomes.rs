//! A4: whoever was told an outcome is told the same for ever. The clients compare; here is what they found. Of several
//! requests under one key one has an outcome of its own, and all others are told that the key was used.

use super::View;
use crate::oracle::Promise;

pub(super) fn check(view: &View<'_>) -> Vec<String> {
    let mut broken = view.oracle.broken();
    broken.extend(view.cluster.plan.reigns.broken());
    for promises in view.oracle.promises() {
        let open = promises.iter().filter(|promise| promise.is_open());
        broken.extend(open.map(|promise| format!("A4: {:?} has no outcome", promise.request.key)));
        let has_own = |promise: &&Promise| !promise.is_refused_its_key() && !promise.is_given_up;
        let owners = promises.iter().filter(has_own).count();
        if owners != 1 && promises.iter().any(|promise| !promise.is_given_up) {
            let key = promises.first().map(|promise| promise.request.key);
            broken.push(format!("A4: {owners} of {} have the key {key:?}", promises.len()));
        }
    }
    broken
}

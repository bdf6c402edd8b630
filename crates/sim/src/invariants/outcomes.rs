//! A4: whoever was told an outcome is told the same for ever. The clients compare; here is what they found.

use super::View;

pub(super) fn check(view: &View<'_>) -> Vec<String> {
    let mut broken = view.oracle.broken();
    let promises = view.oracle.promises();
    let open = promises.iter().filter(|promise| promise.outcome.is_none());
    broken.extend(open.map(|promise| format!("A4: {:?} has no outcome", promise.request.key)));
    broken
}

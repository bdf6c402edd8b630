//! I4, seen from outside: a hold that nobody ended is active until its time, with what the posts left of it; and one that
//! was ended holds nothing. (That an account holds what its holds say, each ledger's own audit looks at.)

use ledger::HoldState;

use super::View;

pub(super) fn check(view: &View<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    for (id, told) in view.effects.iter().flat_map(|effects| &effects.holds) {
        let shard = view.cluster.plan.shards.shard(told.debit.slot());
        for (node, replica) in view.cluster.replicas(shard) {
            let (found, now) = replica.with_ledger(|ledger| (ledger.hold(id), ledger.now()));
            let active = found.filter(|hold| hold.state == HoldState::Active);
            let is_right = match active {
                Some(hold) => !told.has_ended() && Some(hold.remaining) == told.remaining(),
                None => told.has_ended() || told.expires_at <= now,
            };
            if !is_right {
                broken.push(format!("I4: {id} on node {node} is {found:?}, and was {told:?}"));
            }
        }
    }
    broken
}

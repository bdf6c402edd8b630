//! Linearizable reads. Clients see to it that none shows less than what somebody was told before it began; here it is seen
//! that what it showed is what the account had at the entry that it named.

use super::View;

pub(super) fn check(view: &View<'_>) -> Vec<String> {
    let sights = view.oracle.sights().into_iter();
    let wrong = sights.filter_map(|sight| {
        let statement = view.statements.get(&sight.account)?;
        let before = statement.iter().rev().find(|posting| posting.key.index <= sight.index);
        let had = before.map_or(0, |posting| posting.balance);
        (had != sight.posted).then(|| format!("read: {sight:?}, and the account had {had}"))
    });
    wrong.collect()
}

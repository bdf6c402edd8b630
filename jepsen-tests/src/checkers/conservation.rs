//! Money is neither made nor lost: every whole picture adds up to the opening balances, and so do the books at the end.

use super::Verdict;
use crate::history::{Answer, End, History};

pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("conservation", "all money adds up to the opening balances");
    let sum = |amounts: &mut dyn Iterator<Item = i64>| {
        amounts.map(i128::from).fold(0_i128, i128::saturating_add)
    };
    let opening = sum(&mut history.meta.accounts.values().copied());
    for op in &history.ops {
        let End::Ok(Answer::ReadAll(picture)) = &op.end else { continue };
        let index = op.index;
        let customers = sum(&mut picture.accounts.iter().map(|account| account.posted));
        let elsewhere = i128::from(picture.under_way).saturating_add(i128::from(picture.suspense));
        let all = customers.saturating_add(elsewhere);
        verdict.expect(all == opening, || {
            format!(
                "read-all at line {index}: {customers} on accounts, {} under way, {} in suspense, of {opening}",
                picture.under_way, picture.suspense
            )
        });
        let known = picture.accounts.len() == history.meta.accounts.len();
        let count = picture.accounts.len();
        verdict.expect(known, || format!("read-all at line {index} has {count} accounts"));
        for account in &picture.accounts {
            let fits = account.posted.saturating_sub(account.held) == account.available;
            verdict.expect(fits && account.available >= 0, || {
                format!("read-all at line {index}: {account:?} does not add up")
            });
        }
        for wrong in &picture.discrepancies {
            verdict.found(format!("read-all at line {index}: the cluster says: {wrong}"));
        }
    }
    if history.phase("final").is_some() {
        let last = history.last_statements();
        let balance = |account: &String| {
            Some(last.get(account.as_str())?.last().map_or(0, |line| line.balance))
        };
        let all: Option<Vec<i64>> = history.meta.accounts.keys().map(balance).collect();
        match all {
            Some(all) => {
                let all = sum(&mut all.into_iter());
                verdict.expect(all == opening, || format!("at the end {all} of {opening} is left"));
            }
            None => verdict.undecided.push("not every statement was read at the end".to_owned()),
        }
    }
    verdict
}

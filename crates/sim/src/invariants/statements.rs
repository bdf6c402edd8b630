//! A statement tells how an account came to have what it has: each line goes on from the one before.

use super::View;

pub(super) fn check(view: &View<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    for (account, statement) in view.statements {
        let mut balance = 0_i128;
        for posting in statement {
            let amount = i128::from(posting.amount);
            let signed = if posting.key.is_credit() { amount } else { amount.saturating_neg() };
            balance = balance.saturating_add(signed);
            if balance != posting.balance {
                broken.push(format!("statement of {account:?}: {posting:?} is not {balance}"));
                break;
            }
        }
        let expected = view.effects.and_then(|effects| effects.balances.get(account).copied());
        if expected.is_some_and(|expected| expected != balance) {
            broken.push(format!("statement of {account:?}: {balance}, not {expected:?}"));
        }
    }
    broken
}

//! Answers as they are shown: one record for people and programs alike.

use std::time::Duration;

use client::{Account, AccountId, Freeze, Hold, Leg};
use ledger::{AccountKind, Authority, Currency, FreezeScope, HoldState, Side};
use serde::Serialize;

use super::teller::{Sent, Teller};
use crate::output::{Paint, Show, money, time};

/// An amount in whole minor units.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Amount {
    amount: i64,
    currency: &'static str,
    #[serde(skip)]
    of: Currency,
}

impl Amount {
    pub(super) fn new(minor: i64, currency: Currency) -> Self {
        Self { amount: minor, currency: currency.code(), of: currency }
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&money(i128::from(self.amount), self.of))
    }
}

/// What a request did.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Done {
    /// The transfer, if it moved money; else where the request stands in the log.
    transfer: String,
    post_time: String,
    replayed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    postings: Vec<Line>,
    idempotency_key: String,
    elapsed_us: u64,
    #[serde(skip)]
    what: &'static str,
    #[serde(skip)]
    index: u64,
}

/// One line on one account.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    side: &'static str,
    account: String,
    amount: Amount,
    /// What the account has after it, as read back; absent when it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<Amount>,
    #[serde(skip)]
    name: String,
    #[serde(skip)]
    is_debit: bool,
}

impl Done {
    /// What a request did, in one word, such as `frozen`.
    pub(super) fn new(what: &'static str, sent: &Sent) -> Self {
        let posted = &sent.posted;
        Self {
            transfer: posted.transfer.to_string(),
            post_time: time(posted.at),
            replayed: posted.replayed,
            amount: None,
            account: posted.account.map(|id| id.to_string()),
            alias: None,
            hold: posted.hold.map(|id| id.to_string()),
            postings: Vec::new(),
            idempotency_key: sent.key.clone(),
            elapsed_us: u64::try_from(sent.elapsed.as_micros()).unwrap_or(u64::MAX),
            what,
            index: posted.transfer.index,
        }
    }

    pub(super) fn with_amount(self, minor: i64, currency: Currency) -> Self {
        Self { amount: Some(Amount::new(minor, currency)), ..self }
    }

    pub(super) fn with_alias(self, alias: Option<&str>) -> Self {
        Self { alias: alias.map(str::to_owned), ..self }
    }

    pub(super) fn with_postings(self, postings: Vec<Line>) -> Self {
        Self { postings, ..self }
    }
}

impl Line {
    /// The lines of these legs, each with what its account has now.
    pub(super) async fn read_back(
        teller: &Teller<'_>,
        sent: &Sent,
        currency: Currency,
        legs: &[Leg],
    ) -> Vec<Self> {
        let accounts = legs.iter().flat_map(|leg| [leg.debit, leg.credit]).collect();
        let after = Teller::read_back(&sent.client, accounts).await;
        let amount = |minor: i64| Amount::new(minor, currency);
        let line = |side: Side, account: AccountId, moved: ledger::Amount| Self {
            side: word_of_side(side),
            account: account.to_string(),
            amount: amount(units(moved)),
            balance: after.get(&account).map(|after| amount(after.posted)),
            available: after.get(&account).map(|after| amount(after.available)),
            name: teller.name(account),
            is_debit: side == Side::Debit,
        };
        legs.iter()
            .flat_map(|Leg { debit, credit, amount }| {
                [line(Side::Debit, *debit, *amount), line(Side::Credit, *credit, *amount)]
            })
            .collect()
    }

    fn text(&self, width: usize) -> String {
        let sign = if self.is_debit { "-" } else { "+" };
        let moved = format!("{sign}{}", self.amount);
        let after = match (self.balance, self.available) {
            (Some(balance), Some(available)) if balance.amount != available.amount => {
                format!("balance {balance}, available {available}")
            }
            (Some(balance), _) => format!("balance {balance}"),
            (None, _) => "balance not readable".to_owned(),
        };
        format!("  {:<7} {:width$}  {moved:>14}  {after}", self.side, self.name)
    }
}

impl Show for Done {
    fn text(&self, paint: Paint) -> String {
        let ok = if self.replayed { "OK (replayed)" } else { "OK" };
        let mut head = vec![format!("{} {}", paint.good(ok), self.transfer)];
        head.push(self.amount.map_or_else(|| self.what.to_owned(), |amount| amount.to_string()));
        head.push(if self.replayed {
            format!("committed at {}, {}", self.index, self.post_time)
        } else {
            format!("committed at {} in {}", self.index, milliseconds(self.elapsed_us))
        });
        let mut lines = vec![head.join(" · ")];
        let named = [("account", &self.account), ("alias", &self.alias), ("hold", &self.hold)];
        for (what, id) in named {
            lines.extend(id.as_ref().map(|id| format!("  {what:<7} {id}")));
        }
        let width = self.postings.iter().map(|line| line.name.chars().count()).max().unwrap_or(0);
        lines.extend(self.postings.iter().map(|line| line.text(width)));
        lines.push(paint.dim(&format!("  again   --idempotency-key {}", self.idempotency_key)));
        lines.join("\n")
    }
}

/// An account as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AccountView {
    account: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    kind: &'static str,
    state: &'static str,
    currency: &'static str,
    balance: Amount,
    held: Amount,
    available: Amount,
    active_holds: u32,
    freezes: Vec<FreezeView>,
    version: u64,
    open_time: String,
    position: u64,
    log_time: String,
}

#[derive(Clone, Debug, Serialize)]
struct FreezeView {
    authority: &'static str,
    scope: &'static str,
}

impl AccountView {
    pub(super) fn new(account: &Account, alias: Option<&str>) -> Self {
        let amount = |minor: i64| Amount::new(minor, account.currency);
        let kind = match account.kind {
            AccountKind::Wallet => "wallet",
            AccountKind::Opening => "opening",
            AccountKind::DueTo(_) => "due to a shard",
            AccountKind::DueFrom(_) => "due from a shard",
            AccountKind::Suspense => "suspense",
        };
        Self {
            account: account.id.to_string(),
            alias: alias.map(str::to_owned),
            kind,
            state: if account.closed { "closed" } else { "open" },
            currency: account.currency.code(),
            balance: amount(account.posted),
            held: amount(account.held),
            available: amount(account.available),
            active_holds: account.active_holds,
            freezes: account.freezes.iter().map(FreezeView::new).collect(),
            version: account.version,
            open_time: time(account.opened_at),
            position: account.position.index,
            log_time: time(account.position.time),
        }
    }

    pub(super) const fn kind(&self) -> &'static str {
        self.kind
    }
}

impl FreezeView {
    fn new(freeze: &Freeze) -> Self {
        let authority = match freeze.authority {
            Authority::User => "user",
            Authority::Risk => "risk",
            Authority::Judicial => "judicial",
        };
        let scope = match freeze.scope {
            FreezeScope::Debit => "debit",
            FreezeScope::All => "all",
        };
        Self { authority, scope }
    }
}

impl Show for AccountView {
    fn text(&self, paint: Paint) -> String {
        let mut lines = vec![format!("account    {}", paint.bold(&self.account))];
        lines.extend(self.alias.as_ref().map(|alias| format!("alias      {alias}")));
        lines.push(format!("kind       {}, {}", self.kind, self.state));
        lines.push(format!("balance    {}", self.balance));
        lines.push(format!("held       {} by {} holds", self.held, self.active_holds));
        lines.push(format!("available  {}", paint.bold(&self.available.to_string())));
        let frozen = |freeze: &FreezeView| {
            paint.warn(&format!("frozen     {} by {}", freeze.scope, freeze.authority))
        };
        lines.extend(self.freezes.iter().map(frozen));
        lines.push(format!("opened     {}", self.open_time));
        lines.push(format!(
            "version    {} at position {}, {}",
            self.version, self.position, self.log_time
        ));
        lines.join("\n")
    }
}

/// A hold as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HoldView {
    hold: String,
    debit_account: String,
    credit_account: String,
    amount: Amount,
    posted: Amount,
    remaining: Amount,
    state: &'static str,
    expire_time: String,
    position: u64,
    #[serde(skip)]
    names: (String, String),
}

impl HoldView {
    pub(super) fn new(hold: &Hold, teller: &Teller<'_>) -> Self {
        let amount = |minor: i64| Amount::new(minor, hold.currency);
        let state = match hold.state {
            HoldState::Active => "active",
            HoldState::Posted => "posted",
            HoldState::Voided => "voided",
            HoldState::Expired => "expired",
        };
        Self {
            hold: hold.id.to_string(),
            debit_account: hold.debit.to_string(),
            credit_account: hold.credit.to_string(),
            amount: amount(hold.amount),
            posted: amount(hold.posted),
            remaining: amount(hold.remaining),
            state,
            expire_time: time(hold.expires_at),
            position: hold.position.index,
            names: (teller.name(hold.debit), teller.name(hold.credit)),
        }
    }
}

impl Show for HoldView {
    fn text(&self, paint: Paint) -> String {
        let (debit, credit) = &self.names;
        [
            format!("hold       {}", paint.bold(&self.hold)),
            format!("from       {debit} to {credit}"),
            format!("amount     {}", self.amount),
            format!("posted     {}", self.posted),
            format!("remaining  {}", self.remaining),
            format!("state      {}, until {}", self.state, self.expire_time),
        ]
        .join("\n")
    }
}

const fn word_of_side(side: Side) -> &'static str {
    match side {
        Side::Debit => "debit",
        Side::Credit => "credit",
    }
}

/// An amount in the form that balances have.
pub(super) fn units(amount: ledger::Amount) -> i64 {
    i64::try_from(amount.minor()).expect("an amount is at most 10^15")
}

/// A duration in milliseconds, to the tenth.
fn milliseconds(elapsed_us: u64) -> String {
    let elapsed = Duration::from_micros(elapsed_us);
    format!("{}.{} ms", elapsed.as_millis(), elapsed.subsec_micros() % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(replayed: bool) -> Done {
        let amount = |minor| Amount::new(minor, Currency::CNY);
        let line = |side, name: &str, balance: Option<i64>| Line {
            side: word_of_side(side),
            account: format!("acc_{name}"),
            amount: amount(888),
            balance: balance.map(amount),
            available: balance.map(|minor| amount(minor.min(9_000))),
            name: name.to_owned(),
            is_debit: side == Side::Debit,
        };
        Done {
            transfer: "tr_0-1042-3".to_owned(),
            post_time: "2026-02-16T16:00:00.123Z".to_owned(),
            replayed,
            amount: Some(amount(888)),
            account: None,
            alias: None,
            hold: None,
            postings: vec![
                line(Side::Debit, "acc_lin", Some(9_112)),
                line(Side::Credit, "acc_wang", None),
            ],
            idempotency_key: "k1".to_owned(),
            elapsed_us: 3_149,
            what: "transferred",
            index: 1_042,
        }
    }

    #[test]
    fn a_transfer_is_told_with_its_postings_its_balances_and_its_key() {
        assert_eq!(
            done(false).text(Paint::new(false)),
            "OK tr_0-1042-3 · ¥8.88 · committed at 1042 in 3.1 ms\n\
             \x20 debit   acc_lin           -¥8.88  balance ¥91.12, available ¥90.00\n\
             \x20 credit  acc_wang          +¥8.88  balance not readable\n\
             \x20 again   --idempotency-key k1"
        );
        let replayed = done(true).text(Paint::new(false));
        assert!(
            replayed.starts_with(
                "OK (replayed) tr_0-1042-3 · ¥8.88 · committed at 1042, 2026-02-16T16:00:00.123Z\n"
            ),
            "{replayed}"
        );
    }

    #[test]
    fn programs_read_whole_minor_units() {
        let json: serde_json::Value =
            serde_json::from_str(&done(true).lines().unwrap()[0]).unwrap();
        assert_eq!(json["amount"], serde_json::json!({"amount": 888, "currency": "CNY"}));
        assert_eq!(json["postings"][0]["balance"]["amount"], 9_112);
        assert_eq!(json["idempotency_key"], "k1");
        assert_eq!(json["replayed"], true);
    }
}

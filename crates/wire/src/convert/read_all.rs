//! What a whole cut found, as its reader sees it; and what of it a caller asks for.

use std::collections::BTreeMap;

use ledger::{Account, Currency, Cut, Discrepancy, Hold};

use super::audit::{audited, minor};
use super::reads::{account, hold, position};
use super::refusal::Refusal;
use crate::proto::v1;
use crate::proto::v1::read_all_response::Piece;

/// Reads the currency that is asked for; none means all.
///
/// # Errors
/// [`Refusal::InvalidField`].
pub fn wanted_currency(asked: &v1::ReadAllRequest) -> Result<Option<Currency>, Refusal> {
    match asked.currency_code.as_str() {
        "" => Ok(None),
        code => Currency::from_code(code)
            .map(Some)
            .map_err(|_| Refusal::field("currency_code", "a code of ISO 4217, or nothing")),
    }
}

/// Shows accounts of one shard's part of a cut.
///
/// # Errors
/// [`Refusal::BalanceUnrepresentable`].
pub fn all_accounts(shard: u16, part: &Cut, accounts: &[Account]) -> Result<Piece, Refusal> {
    let show = |of: &Account| {
        let shown = account(of, position(part.index, part.at))?;
        Ok(v1::TenantAccount { tenant: of.tenant.0, account: Some(shown) })
    };
    let accounts = accounts.iter().map(show).collect::<Result<_, Refusal>>()?;
    Ok(Piece::Accounts(v1::ReadAllAccounts { shard: shard.into(), accounts }))
}

/// Shows holds of one shard's part of a cut.
///
/// # Errors
/// Never in practice: a hold's amounts are within a request's bounds.
pub fn all_holds(shard: u16, part: &Cut, holds: &[Hold]) -> Result<Piece, Refusal> {
    let show = |of: &Hold| {
        let shown = hold(of, position(part.index, part.at))?;
        Ok(v1::TenantHold { tenant: of.tenant.0, hold: Some(shown) })
    };
    let holds = holds.iter().map(show).collect::<Result<_, Refusal>>()?;
    Ok(Piece::Holds(v1::ReadAllHolds { shard: shard.into(), holds }))
}

/// Shows the money that was on its way, in the currency that is wanted.
#[must_use]
pub fn all_channels(parts: &BTreeMap<u16, Cut>, wanted: Option<Currency>) -> Piece {
    // From whom, to whom, in what: what had not arrived, and what was on its way back.
    let mut channels: BTreeMap<(u16, u16, Currency), [i128; 2]> = BTreeMap::new();
    for (shard, part) in parts {
        for ((from, currency), sum) in &part.arriving {
            let [arriving, _] = channels.entry((*from, *shard, *currency)).or_default();
            *arriving = arriving.saturating_add(*sum);
        }
        for ((to, currency), sum) in &part.returning {
            let [_, returning] = channels.entry((*shard, *to, *currency)).or_default();
            *returning = returning.saturating_add(*sum);
        }
    }
    let is_wanted = |currency: &Currency| wanted.is_none_or(|wanted| wanted == *currency);
    let channels = channels.iter().filter(|((_, _, currency), _)| is_wanted(currency));
    let channels = channels.map(|((from, to, currency), [arriving, returning])| v1::ChannelMoney {
        from_shard: (*from).into(),
        to_shard: (*to).into(),
        currency_code: currency.code().to_owned(),
        arriving_minor: minor([*arriving].into_iter()),
        returning_minor: minor([*returning].into_iter()),
    });
    Piece::Channels(v1::ReadAllChannels { channels: channels.collect() })
}

/// Shows the end: how much was sent, and the audit of the cut, with what a recount of its records found.
#[must_use]
pub fn all_summary(
    cut: u64,
    parts: &BTreeMap<u16, Cut>,
    (accounts, holds): (u64, u64),
    found: &[Discrepancy],
) -> v1::ReadAllSummary {
    v1::ReadAllSummary { accounts, holds, audit: Some(audited(cut, parts, found)) }
}

//! An audit as its reader sees it.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{AccountKind, Currency, Cut, Discrepancy};

use super::answers::timestamp;
use crate::proto::v1;

/// Shows what the parts of a cut come to, and what of them does not add up.
#[must_use]
pub fn audit(cut: u64, parts: &BTreeMap<u16, Cut>) -> v1::AuditResponse {
    audited(cut, parts, &[])
}

/// The same, with what else was found.
pub(super) fn audited(
    cut: u64,
    parts: &BTreeMap<u16, Cut>,
    found: &[Discrepancy],
) -> v1::AuditResponse {
    let part = |(shard, part): (&u16, &Cut)| v1::AuditPart {
        shard: (*shard).into(),
        log_index: part.index,
        cut_time: Some(timestamp(part.at)),
    };
    let currencies: BTreeSet<Currency> =
        parts.values().flat_map(|part| part.totals.keys()).map(|(currency, _)| *currency).collect();
    v1::AuditResponse {
        cut,
        parts: parts.iter().map(part).collect(),
        sums: currencies.into_iter().map(|currency| sum(currency, parts)).collect(),
        discrepancies: ledger::compare(parts).iter().chain(found).map(discrepancy).collect(),
    }
}

fn sum(currency: Currency, parts: &BTreeMap<u16, Cut>) -> v1::AuditSum {
    let of = |wanted: fn(AccountKind) -> bool| {
        let totals = parts.values().flat_map(|part| &part.totals);
        let totals = totals.filter(|((of, kind), _)| *of == currency && wanted(*kind));
        minor(totals.map(|(_, total)| *total))
    };
    let under_way = parts.values().flat_map(|part| part.arriving.iter().chain(&part.returning));
    let under_way = under_way.filter(|((_, of), _)| *of == currency).map(|(_, sum)| *sum);
    v1::AuditSum {
        currency_code: currency.code().to_owned(),
        customers_minor: of(|kind| !kind.is_system()),
        under_way_minor: minor(under_way),
        suspense_minor: of(|kind| kind == AccountKind::Suspense),
        opening_minor: of(|kind| kind == AccountKind::Opening),
    }
}

/// A sum for a reader; one beyond 64 bits shows as the greatest there is.
pub(super) fn minor(sums: impl Iterator<Item = i128>) -> i64 {
    i64::try_from(sums.fold(0_i128, i128::saturating_add)).unwrap_or(i64::MAX)
}

fn discrepancy(found: &Discrepancy) -> v1::AuditDiscrepancy {
    let (shard, peer, currency) = match found {
        Discrepancy::TrialBalance { shard, currency, .. }
        | Discrepancy::Total { shard, currency, .. }
        | Discrepancy::Held { shard, currency, .. } => (*shard, None, *currency),
        Discrepancy::Channel { from, to, currency, .. } => (*from, Some(u32::from(*to)), *currency),
    };
    v1::AuditDiscrepancy {
        shard: shard.into(),
        peer,
        currency_code: currency.code().to_owned(),
        detail: found.to_string(),
    }
}

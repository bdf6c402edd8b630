//! The operator's audit: a consistent cut of all shards, and what of it does not add up.

use ledger::Currency;
use wire::proto::v1;

use crate::client::Client;
use crate::error::Error;

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The cut's number.
    pub cut: u64,
    /// How many shards were cut.
    pub shards: usize,
    /// What there was, by currency.
    pub sums: Vec<AuditSum>,
    /// What does not add up, in words: nothing, in a sound cluster.
    pub discrepancies: Vec<String>,
}

/// What there was in one currency, over all shards, in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditSum {
    /// The currency.
    pub currency: Currency,
    /// What all customers had.
    pub customers: i64,
    /// What was on its way between shards.
    pub under_way: i64,
    /// What waited in suspense.
    pub suspense: i64,
    /// The sum of the opening balances.
    pub opening: i64,
}

impl Client {
    /// Audits the cluster while money moves. An operator's question.
    ///
    /// # Errors
    /// Why there is no answer. A cluster whose books do not add up answers, with what is wrong.
    pub async fn audit(&self) -> Result<Audit, Error> {
        let ask = |client: Self, request| async move { client.admin().audit(request).await };
        let answer = self.read(v1::AuditRequest {}, ask).await?;
        Audit::read(&answer).ok_or(Error::Unreadable("audit"))
    }
}

impl Audit {
    /// Reads an answer; `None` when it makes no sense.
    pub(crate) fn read(answer: &v1::AuditResponse) -> Option<Self> {
        let sum = |sum: &v1::AuditSum| {
            Some(AuditSum {
                currency: Currency::from_code(&sum.currency_code).ok()?,
                customers: sum.customers_minor,
                under_way: sum.under_way_minor,
                suspense: sum.suspense_minor,
                opening: sum.opening_minor,
            })
        };
        Some(Self {
            cut: answer.cut,
            shards: answer.parts.len(),
            sums: answer.sums.iter().map(sum).collect::<Option<_>>()?,
            discrepancies: answer.discrepancies.iter().map(|found| found.detail.clone()).collect(),
        })
    }
}

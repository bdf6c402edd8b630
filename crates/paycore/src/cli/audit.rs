//! `paycore audit`: whether the books of the whole cluster add up, now, while money moves.

use std::time::{Duration, Instant};

use client::{Audit, AuditSum, Client};
use serde::Serialize;

use super::invocation::Invocation;
use super::options::Reach;
use super::teller::Teller;
use super::views::Amount;
use crate::exit::{Failure, Verdict};
use crate::output::{Paint, Show, duration};

/// The shortest time between two audits.
const EVERY_MIN: Duration = Duration::from_millis(100);

/// Check that the books of all shards add up, while money moves
///
/// Takes a consistent cut of the whole cluster and compares: each shard's books, and for each pair of shards what one owes
/// the other with what was on its way between them. Ends with 1 when something does not add up.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore audit --every 1s --for 1m")]
pub(crate) struct Args {
    /// Audit again and again, so often
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "length")]
    every: Option<Duration>,
    /// For so long
    #[arg(long = "for", value_name = "TIME", value_parser = duration, requires = "every", id = "length")]
    length: Option<Duration>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let teller = Teller::new(around)?;
    super::block_on(async {
        let client = teller.connect().await?;
        let (Some(every), Some(length)) = (args.every, args.length) else {
            return audit(&client, &teller).await;
        };
        let began = Instant::now();
        let mut turns = tokio::time::interval(every.max(EVERY_MIN));
        while began.elapsed() < length {
            turns.tick().await;
            audit(&client, &teller).await?;
        }
        Ok(())
    })
}

async fn audit(client: &Client, teller: &Teller<'_>) -> Result<(), Failure> {
    let began = Instant::now();
    let audit = client.audit().await?;
    teller.screen().show(&Found::new(&audit, began.elapsed()))?;
    match audit.discrepancies.len() {
        0 => Ok(()),
        found => Err(Failure::verdict(Verdict::Violated, format!("{found} sums do not add up"))),
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Found {
    cut: u64,
    shards: usize,
    ms: u64,
    sums: Vec<Sum>,
    discrepancies: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Sum {
    customers: Amount,
    under_way: Amount,
    suspense: Amount,
    opening: Amount,
}

impl Found {
    pub(super) fn new(audit: &Audit, took: Duration) -> Self {
        Self {
            cut: audit.cut,
            shards: audit.shards,
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            sums: audit.sums.iter().map(Sum::new).collect(),
            discrepancies: audit.discrepancies.clone(),
        }
    }
}

impl Sum {
    fn new(sum: &AuditSum) -> Self {
        let amount = |minor| Amount::new(minor, sum.currency);
        Self {
            customers: amount(sum.customers),
            under_way: amount(sum.under_way),
            suspense: amount(sum.suspense),
            opening: amount(sum.opening),
        }
    }
}

impl Show for Found {
    fn text(&self, paint: Paint) -> String {
        let Self { cut, shards, ms, sums, discrepancies } = self;
        let sound = discrepancies.is_empty();
        let word = if sound { paint.good("BALANCED") } else { paint.bad("OFF") };
        let mut text = format!("{word} cut {cut} over {shards} shards in {ms} ms");
        for Sum { customers, under_way, suspense, opening } in sums {
            text.push_str(&format!(
                "\n  customers {customers} · under way {under_way} · suspense {suspense} · opening {opening}"
            ));
        }
        for found in discrepancies {
            text.push_str(&format!("\n  {found}"));
        }
        text
    }
}

//! `paycore read-all`: every account, every hold and the money between shards, as one cut found them.
//!
//! Pieces are written as they come, so that a reader of ten million accounts keeps none of them. As one JSON document the
//! lists follow one another; it is complete, and valid, only when the command succeeds.

use std::time::{Duration, Instant};

use client::{Account, ChannelMoney, Client, Found, Hold, Piece, Summary};
use futures::StreamExt;
use ledger::Currency;
use serde::Serialize;

use super::audit;
use super::invocation::Invocation;
use super::options::Reach;
use super::teller::{Teller, read_currency};
use super::views::{AccountView, Amount, HoldView};
use crate::exit::{Failure, Verdict};
use crate::output::{Format, Show};

/// Read every account, every hold, and the money between shards, as of one moment, while money moves
///
/// Takes a consistent cut of the whole cluster and writes what it found as it comes: accounts, active holds, channels with
/// money, and a summary with the audit of the cut. Ends with 1 when something does not add up. Operators only; it may take
/// a minute at the most: give it as long with --timeout when there are many accounts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore read-all --currency CNY --timeout 60s -o jsonl")]
pub(crate) struct Args {
    /// Only what is in this currency
    #[arg(long, value_name = "CODE")]
    currency: Option<String>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let teller = Teller::new(around)?;
    let currency = args.currency.as_deref().map(read_currency).transpose()?;
    super::block_on(async {
        let client = teller.connect().await?;
        read_all(&client, &teller, currency).await
    })
}

async fn read_all(
    client: &Client,
    teller: &Teller<'_>,
    currency: Option<Currency>,
) -> Result<(), Failure> {
    let began = Instant::now();
    let pieces = client.read_all(currency).await?;
    let mut pieces = std::pin::pin!(pieces);
    let mut page = Writer { teller, list: None };
    while let Some(piece) = pieces.next().await {
        match piece? {
            Piece::Accounts(accounts) => {
                page.write(List::Accounts, accounts.iter().map(|found| account(found, teller)))?;
            }
            Piece::Holds(holds) => {
                page.write(List::Holds, holds.iter().map(|found| hold(found, teller)))?;
            }
            Piece::Channels(channels) => {
                page.write(List::Channels, channels.iter().map(ChannelView::new))?;
            }
            Piece::Summary(summary) => {
                page.finish(&SummaryView::new(&summary, began.elapsed()))?;
                return match summary.audit.discrepancies.len() {
                    0 => Ok(()),
                    found => {
                        let message = format!("{found} sums do not add up");
                        Err(Failure::verdict(Verdict::Violated, message))
                    }
                };
            }
        }
    }
    Err(Failure::internal("the stream ended without an end"))
}

/// The lists of a reading, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum List {
    Accounts,
    Holds,
    Channels,
}

impl List {
    const ALL: [Self; 3] = [Self::Accounts, Self::Holds, Self::Channels];

    const fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Holds => "holds",
            Self::Channels => "channels",
        }
    }
}

/// A line of a list, for a person and for a program.
trait Row: Serialize {
    fn text(&self) -> String;
}

/// Writes lists as they come, in the format that was asked for.
struct Writer<'a> {
    teller: &'a Teller<'a>,
    /// The list that is open in a JSON document, and whether it has a row.
    list: Option<(List, bool)>,
}

impl Writer<'_> {
    fn write(&mut self, list: List, rows: impl Iterator<Item = impl Row>) -> Result<(), Failure> {
        let screen = self.teller.screen();
        let rows: Vec<String> = match screen.format() {
            Format::Table => rows.map(|row| row.text()).collect(),
            Format::Jsonl | Format::Json => {
                rows.map(|row| json(&row)).collect::<Result<_, Failure>>()?
            }
        };
        if screen.format() == Format::Json {
            self.open(list)?;
        }
        if rows.is_empty() {
            return Ok(());
        }
        match (screen.format(), &mut self.list) {
            (Format::Json, Some((_, has_rows))) => {
                let comma = if std::mem::replace(has_rows, true) { "," } else { "" };
                screen.line(&format!("{comma}{}", rows.join(",\n")))
            }
            (Format::Table | Format::Jsonl | Format::Json, _) => screen.line(&rows.join("\n")),
        }
    }

    /// Closes what is open and opens the lists up to this one.
    fn open(&mut self, list: List) -> Result<(), Failure> {
        if self.list.is_some_and(|(open, _)| open == list) {
            return Ok(());
        }
        let is_done = |known: &List| self.list.is_some_and(|(open, _)| *known <= open);
        let mut text = String::from(if self.list.is_some() { "]" } else { "{" });
        let missing = List::ALL.into_iter().filter(|known| !is_done(known));
        let missing: Vec<List> = missing.filter(|known| *known <= list).collect();
        for (place, known) in missing.iter().enumerate() {
            if self.list.is_some() || place > 0 {
                text.push(',');
            }
            text.push_str(&format!("\"{}\":[", known.name()));
            if *known != list {
                text.push(']');
            }
        }
        self.list = Some((list, false));
        self.teller.screen().line(&text)
    }

    fn finish(&mut self, summary: &SummaryView) -> Result<(), Failure> {
        let screen = self.teller.screen();
        match screen.format() {
            Format::Table => screen.line(&summary.text(screen.paint())),
            Format::Jsonl => screen.line(&json(summary)?),
            Format::Json => {
                self.open(List::Channels)?;
                screen.line(&format!("],\"summary\":{}}}", json(summary)?))
            }
        }
    }
}

fn json(record: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(record)
        .map_err(|why| Failure::internal(format!("the record is no JSON: {why}")))
}

/// A record with where it was found; `type` tells the lines of one stream apart.
#[derive(Debug, Serialize)]
struct RecordView<T> {
    r#type: &'static str,
    shard: u16,
    tenant: u32,
    #[serde(flatten)]
    record: T,
    #[serde(skip)]
    text: String,
}

impl<T: Serialize> Row for RecordView<T> {
    fn text(&self) -> String {
        self.text.clone()
    }
}

fn account(found: &Found<Account>, teller: &Teller<'_>) -> RecordView<AccountView> {
    let Found { shard, tenant, record } = found;
    let amount = |minor| Amount::new(minor, record.currency);
    let frozen = if record.freezes.is_empty() { "" } else { " · frozen" };
    let closed = if record.closed { " · closed" } else { "" };
    let view = AccountView::new(record, teller.aliases().alias_of(record.id));
    let text = format!(
        "{} · shard {shard} · tenant {} · {} · balance {} · held {} · available {} · version {}{frozen}{closed}",
        teller.name(record.id),
        tenant.0,
        view.kind(),
        amount(record.posted),
        amount(record.held),
        amount(record.available),
        record.version,
    );
    RecordView { r#type: "account", shard: *shard, tenant: tenant.0, record: view, text }
}

fn hold(found: &Found<Hold>, teller: &Teller<'_>) -> RecordView<HoldView> {
    let Found { shard, tenant, record } = found;
    let text = format!(
        "{} · shard {shard} · tenant {} · from {} to {} · remaining {}",
        record.id,
        tenant.0,
        teller.name(record.debit),
        teller.name(record.credit),
        Amount::new(record.remaining, record.currency),
    );
    let record = HoldView::new(record, teller);
    RecordView { r#type: "hold", shard: *shard, tenant: tenant.0, record, text }
}

#[derive(Debug, Serialize)]
struct ChannelView {
    r#type: &'static str,
    from: u16,
    to: u16,
    arriving: Amount,
    returning: Amount,
}

impl ChannelView {
    fn new(channel: &ChannelMoney) -> Self {
        let amount = |minor| Amount::new(minor, channel.currency);
        Self {
            r#type: "channel",
            from: channel.from,
            to: channel.to,
            arriving: amount(channel.arriving),
            returning: amount(channel.returning),
        }
    }
}

impl Row for ChannelView {
    fn text(&self) -> String {
        let Self { from, to, arriving, returning, .. } = self;
        format!("channel {from}>{to} · arriving {arriving} · returning {returning}")
    }
}

#[derive(Debug, Serialize)]
struct SummaryView {
    r#type: &'static str,
    accounts: u64,
    holds: u64,
    #[serde(flatten)]
    audit: audit::Found,
}

impl SummaryView {
    fn new(summary: &Summary, took: Duration) -> Self {
        let Summary { accounts, holds, audit } = summary;
        let audit = audit::Found::new(audit, took);
        Self { r#type: "summary", accounts: *accounts, holds: *holds, audit }
    }
}

impl Show for SummaryView {
    fn text(&self, paint: crate::output::Paint) -> String {
        let Self { accounts, holds, audit, .. } = self;
        format!("{accounts} accounts and {holds} holds\n{}", audit.text(paint))
    }
}

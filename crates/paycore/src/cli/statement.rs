//! `paycore statement`: an account's postings, newest first, page by page.

use clap::value_parser;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use ledger::{AccountId, Currency, Time};
use serde::Serialize;
use wire::convert::account_name;
use wire::limits::PAGE_SIZE_MAX;
use wire::proto::v1;

use super::invocation::Invocation;
use super::options::Reach;
use super::teller::Teller;
use super::views::Amount;
use crate::exit::{Failure, UNKNOWN};
use crate::output::{Format, Paint, Show, time};

/// Show an account's statement, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore statement acc_lin --limit 50")]
pub(crate) struct Args {
    /// The account: an alias, or an id
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// How many postings at the most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = value_parser!(u32).range(1..=i64::from(PAGE_SIZE_MAX)))]
    limit: u32,
    /// Where to go on, as the page before said
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Take an answer that may lag behind
    #[arg(long)]
    stale_ok: bool,
    #[command(flatten)]
    pub(super) reach: Reach,
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let teller = Teller::new(around)?;
    let account = teller.account(&args.account)?;
    let page = super::block_on(page(args, account, &teller))?;
    let screen = teller.screen();
    let statement = Statement::read(account, &page, &teller)
        .ok_or_else(|| Failure::new(UNKNOWN, "the server's postings cannot be read"))?;
    screen.show(&statement)?;
    // Where JSON has it as a field, nobody needs it as words.
    if let (Some(cursor), Format::Table | Format::Jsonl) = (&statement.next_cursor, screen.format())
    {
        screen.say(format_args!("more: paycore statement {} --cursor {cursor}", args.account));
    }
    Ok(())
}

/// One page, as the wire has it: the SDK walks whole statements; a command line wants the cursor itself.
async fn page(
    args: &Args,
    account: AccountId,
    teller: &Teller<'_>,
) -> Result<v1::ListPostingsResponse, Failure> {
    let client = teller.connect().await?;
    let request = v1::ListPostingsRequest {
        parent: account_name(account),
        page_size: i32::try_from(args.limit).unwrap_or(i32::MAX),
        page_token: args.cursor.clone().unwrap_or_default(),
        stale_ok: args.stale_ok,
    };
    Ok(client.page(request).await?)
}

/// A page of a statement.
#[derive(Debug, Serialize)]
struct Statement {
    account: String,
    data: Vec<Line>,
    next_cursor: Option<String>,
    has_more: bool,
}

/// One line of it.
#[derive(Debug, Serialize)]
struct Line {
    post_time: String,
    transfer: String,
    leg: u32,
    side: &'static str,
    kind: &'static str,
    amount: Amount,
    balance: Amount,
    counter_account: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reverses: Option<String>,
    #[serde(skip)]
    counter: String,
}

impl Statement {
    /// Reads a page; `None` when it makes no sense.
    fn read(
        account: AccountId,
        page: &v1::ListPostingsResponse,
        teller: &Teller<'_>,
    ) -> Option<Self> {
        let data = page.postings.iter().map(|posting| Line::read(posting, teller));
        let next_cursor = Some(page.next_page_token.clone()).filter(|token| !token.is_empty());
        Some(Self {
            account: account.to_string(),
            data: data.collect::<Option<_>>()?,
            has_more: next_cursor.is_some(),
            next_cursor,
        })
    }
}

impl Line {
    fn read(posting: &v1::Posting, teller: &Teller<'_>) -> Option<Self> {
        let id = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
        let amount = |money: Option<&v1::Money>| {
            let money = money?;
            Some(Amount::new(money.units_minor, Currency::from_code(&money.currency_code).ok()?))
        };
        let side = match posting.side() {
            v1::Side::Unspecified => return None,
            v1::Side::Debit => "debit",
            v1::Side::Credit => "credit",
        };
        let kind = match posting.kind() {
            v1::JournalKind::Unspecified => return None,
            v1::JournalKind::Opening => "opening",
            v1::JournalKind::Transfer => "transfer",
            v1::JournalKind::Post => "post",
            v1::JournalKind::Reversal => "reversal",
            v1::JournalKind::Return => "return",
        };
        let counter_account = id(&posting.counter_account);
        let named = counter_account.parse::<AccountId>().ok().map(|account| teller.name(account));
        Some(Self {
            post_time: time(read_time(posting.post_time.as_ref()?)?),
            transfer: id(&posting.transfer),
            leg: posting.leg,
            side,
            kind,
            amount: amount(posting.amount.as_ref())?,
            balance: amount(posting.balance.as_ref())?,
            reverses: Some(id(&posting.reverses)).filter(|transfer| !transfer.is_empty()),
            counter: named.unwrap_or_else(|| counter_account.clone()),
            counter_account,
        })
    }
}

impl Show for Statement {
    fn text(&self, paint: Paint) -> String {
        if self.data.is_empty() {
            return paint.dim("no postings");
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header([
            "time",
            "transfer",
            "kind",
            "debit",
            "credit",
            "balance",
            "other account",
        ]);
        for line in &self.data {
            let amount = line.amount.to_string();
            let (debit, credit) = if line.side == "debit" {
                (amount, String::new())
            } else {
                (String::new(), amount)
            };
            let kind = match &line.reverses {
                Some(transfer) => format!("{} of {transfer}", line.kind),
                None => line.kind.to_owned(),
            };
            table.add_row([
                line.post_time.clone(),
                line.transfer.clone(),
                kind,
                debit,
                credit,
                line.balance.to_string(),
                line.counter.clone(),
            ]);
        }
        for column in [3, 4, 5] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.trim_fmt()
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.data.iter().map(serde_json::to_string).collect()
    }
}

/// A time of the wire in milliseconds.
fn read_time(stamp: &prost_types::Timestamp) -> Option<Time> {
    let whole = u64::try_from(stamp.seconds).ok()?.checked_mul(1_000)?;
    let part = u64::try_from(stamp.nanos).ok()?.checked_div(1_000_000)?;
    whole.checked_add(part).map(Time)
}

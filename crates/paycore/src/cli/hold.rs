//! `paycore hold`: money set aside, then moved, released, or timed out.

use std::time::Duration;

use clap::Subcommand;
use client::{HoldId, Money, Request};
use ledger::IdError;

use super::balance::freshness;
use super::invocation::Invocation;
use super::options::{KeyArg, Reach};
use super::teller::{Teller, read_money};
use super::views::{Done, HoldView, units};
use crate::exit::Failure;
use crate::output::duration;

/// Set money aside, and move or release it later
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Place(Place),
    Post(Post),
    Void(Void),
    Show(Show),
}

/// Set money aside
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  paycore hold place acc_lin acc_shop 30.00 --currency CNY --for 15m"
)]
struct Place {
    /// Who will pay: an alias, or an id
    #[arg(value_name = "DEBIT")]
    debit: String,
    /// Who will be paid: an alias, or an id
    #[arg(value_name = "CREDIT")]
    credit: String,
    /// How much at the most, such as 30.00
    #[arg(value_name = "AMOUNT")]
    amount: String,
    /// In what, by ISO 4217
    #[arg(long, value_name = "CODE")]
    currency: String,
    /// How long it lasts, such as 15m or 7d, up to 400d
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lasts: Duration,
    /// Its id, instead of one made from the key
    #[arg(long, value_name = "ID", value_parser = read_hold)]
    id: Option<HoldId>,
    #[command(flatten)]
    key: KeyArg,
    #[command(flatten)]
    reach: Reach,
}

/// Move held money, once or several times
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  paycore hold post hold_019200000000700080000000deadb123 --amount 21.50 --release-rest"
)]
struct Post {
    /// The hold
    #[arg(value_name = "HOLD", value_parser = read_hold)]
    hold: HoldId,
    /// How much, in the hold's currency [default: all that is left]
    #[arg(long, value_name = "AMOUNT")]
    amount: Option<String>,
    /// Release at once what is then left
    #[arg(long)]
    release_rest: bool,
    #[command(flatten)]
    key: KeyArg,
    #[command(flatten)]
    reach: Reach,
}

/// Release what is left of a hold
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore hold void hold_019200000000700080000000deadb123")]
struct Void {
    /// The hold
    #[arg(value_name = "HOLD", value_parser = read_hold)]
    hold: HoldId,
    #[command(flatten)]
    key: KeyArg,
    #[command(flatten)]
    reach: Reach,
}

/// Show a hold
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore hold show hold_019200000000700080000000deadb123")]
struct Show {
    /// The hold
    #[arg(value_name = "HOLD", value_parser = read_hold)]
    hold: HoldId,
    /// Take an answer that may lag behind; its position says how far it goes
    #[arg(long)]
    stale_ok: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Args {
    pub(super) const fn reach(&self) -> &Reach {
        match &self.command {
            Command::Place(args) => &args.reach,
            Command::Post(args) => &args.reach,
            Command::Void(args) => &args.reach,
            Command::Show(args) => &args.reach,
        }
    }
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let teller = Teller::new(around)?;
    match &args.command {
        Command::Place(args) => place(args, &teller),
        Command::Post(args) => post(args, &teller),
        Command::Void(Void { hold, key, .. }) => super::block_on(async {
            let sent = teller.send(Request::void_hold(*hold), None, key).await?;
            teller.screen().show(&Done::new("voided", &sent))
        }),
        Command::Show(Show { hold, stale_ok, .. }) => super::block_on(async {
            let hold = teller.connect().await?.hold(*hold, freshness(*stale_ok)).await?;
            teller.screen().show(&HoldView::new(&hold, &teller))
        }),
    }
}

fn place(args: &Place, teller: &Teller<'_>) -> Result<(), Failure> {
    let (debit, credit) = (teller.account(&args.debit)?, teller.account(&args.credit)?);
    let money = read_money(&args.amount, &args.currency)?;
    let mut request = Request::place_hold(debit, credit, money, args.lasts);
    if let Some(id) = args.id {
        request = request.with_hold(id);
    }
    let Money { amount, currency } = money;
    super::block_on(async {
        let sent = teller.send(request, Some(currency), &args.key).await?;
        teller.screen().show(&Done::new("held", &sent).with_amount(units(amount), currency))
    })
}

fn post(args: &Post, teller: &Teller<'_>) -> Result<(), Failure> {
    super::block_on(async {
        let money = match &args.amount {
            None => None,
            Some(written) => {
                // What a decimal means depends on the currency, and only the hold knows that.
                let hold = teller.connect().await?.hold(args.hold, freshness(false)).await?;
                Some(read_money(written, hold.currency.code())?)
            }
        };
        let amount = money.map(|money| money.amount);
        let request = Request::post_hold(args.hold, amount, args.release_rest);
        let sent = teller.send(request, money.map(|money| money.currency), &args.key).await?;
        let mut done = Done::new("posted", &sent);
        if let Some(Money { amount, currency }) = money {
            done = done.with_amount(units(amount), currency);
        }
        teller.screen().show(&done)
    })
}

pub(super) fn read_hold(text: &str) -> Result<HoldId, String> {
    text.strip_prefix("holds/").unwrap_or(text).parse().map_err(|why: IdError| why.to_string())
}

//! `paycore transfer`: money from one account to another.

use client::Request;
use ledger::Side;

use super::invocation::Invocation;
use super::options::{KeyArg, Reach};
use super::teller::{Teller, read_money};
use super::views::{Done, Line};
use crate::exit::Failure;

/// Move money from one account to another
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore transfer acc_lin acc_wang 8.88 --currency CNY")]
pub(crate) struct Args {
    /// Who pays: an alias, or an id
    #[arg(value_name = "DEBIT")]
    debit: String,
    /// Who is paid: an alias, or an id
    #[arg(value_name = "CREDIT")]
    credit: String,
    /// How much, such as 8.88
    #[arg(value_name = "AMOUNT")]
    amount: String,
    /// In what, by ISO 4217
    #[arg(long, value_name = "CODE")]
    currency: String,
    #[command(flatten)]
    key: KeyArg,
    #[command(flatten)]
    pub(super) reach: Reach,
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let teller = Teller::new(around)?;
    let (debit, credit) = (teller.account(&args.debit)?, teller.account(&args.credit)?);
    let money = read_money(&args.amount, &args.currency)?;
    super::block_on(async {
        let sent = teller.send(Request::transfer(debit, credit, money), &args.key).await?;
        let minor = i64::try_from(money.amount.minor()).unwrap_or(i64::MAX);
        let moved = (minor, money.currency);
        let postings = vec![
            Line::read_back(&teller, &sent, (Side::Debit, debit), moved).await,
            Line::read_back(&teller, &sent, (Side::Credit, credit), moved).await,
        ];
        let done = Done::new("transferred", &sent).with_amount(minor, money.currency);
        teller.screen().show(&done.with_postings(postings))
    })
}

//! `paycore transfer`: money from one account to another.

use client::{Leg, Money, Request};

use super::invocation::Invocation;
use super::options::{KeyArg, Reach};
use super::teller::{Teller, read_money};
use super::views::{Done, Line, units};
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
    let Money { amount, currency } = read_money(&args.amount, &args.currency)?;
    super::block_on(async {
        let request = Request::transfer(debit, credit, Money { amount, currency });
        let sent = teller.send(request, Some(currency), &args.key).await?;
        let legs = [Leg { debit, credit, amount }];
        let postings = Line::read_back(&teller, &sent, currency, &legs).await;
        let done = Done::new("transferred", &sent).with_amount(units(amount), currency);
        teller.screen().show(&done.with_postings(postings))
    })
}

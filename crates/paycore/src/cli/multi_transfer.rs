//! `paycore multi-transfer`: several legs, all or nothing.

use std::path::{Path, PathBuf};

use client::{Leg, Request};
use ledger::batch::LEGS_MAX;
use serde::Deserialize;

use super::invocation::Invocation;
use super::options::{KeyArg, Reach};
use super::teller::{Teller, read_currency, read_money};
use super::views::{Done, Line, units};
use crate::exit::Failure;

/// Move money by several legs, all or nothing
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  paycore multi-transfer --currency CNY --leg acc_lin:acc_wang:8.88 --leg acc_lin:acc_shop:0.12"
)]
pub(crate) struct Args {
    /// A leg, as DEBIT:CREDIT:AMOUNT; once for each leg
    #[arg(
        long = "leg",
        value_name = "LEG",
        required_unless_present = "legs",
        conflicts_with = "legs"
    )]
    leg: Vec<String>,
    /// A CSV file of legs, with the titles debit, credit, amount
    #[arg(long, value_name = "FILE")]
    legs: Option<PathBuf>,
    /// In what, by ISO 4217
    #[arg(long, value_name = "CODE")]
    currency: String,
    /// On whose behalf, one of those who pay [default: who pays the first leg]
    #[arg(long, value_name = "ACCOUNT")]
    initiator: Option<String>,
    #[command(flatten)]
    key: KeyArg,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// A leg as it is written.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    debit: String,
    credit: String,
    amount: String,
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let teller = Teller::new(around)?;
    let currency = read_currency(&args.currency)?;
    let written = match &args.legs {
        Some(file) => from_file(file)?,
        None => args.leg.iter().map(|leg| from_flag(leg)).collect::<Result<Vec<_>, _>>()?,
    };
    let legs = written
        .iter()
        .map(|Written { debit, credit, amount }| {
            let amount = read_money(amount, currency.code())?.amount;
            Ok(Leg { debit: teller.account(debit)?, credit: teller.account(credit)?, amount })
        })
        .collect::<Result<Vec<Leg>, Failure>>()?;
    let initiator = match (&args.initiator, legs.first()) {
        (Some(initiator), Some(_)) => teller.account(initiator)?,
        (None, Some(first)) => first.debit,
        (_, None) => return Err(Failure::usage("there are no legs")),
    };
    super::block_on(async {
        let request = Request::multi_transfer(initiator, currency, &legs);
        let sent = teller.send(request, Some(currency), &args.key).await?;
        let postings = Line::read_back(&teller, &sent, currency, &legs).await;
        let sum = legs.iter().fold(0, |sum: i64, leg| sum.saturating_add(units(leg.amount)));
        let done = Done::new("transferred", &sent).with_amount(sum, currency);
        teller.screen().show(&done.with_postings(postings))
    })
}

fn from_flag(leg: &str) -> Result<Written, Failure> {
    let parts: Vec<&str> = leg.split(':').collect();
    let [debit, credit, amount] = parts[..] else {
        return Err(Failure::usage(format!("`{leg}` is no leg; one reads DEBIT:CREDIT:AMOUNT")));
    };
    Ok(Written { debit: debit.into(), credit: credit.into(), amount: amount.into() })
}

fn from_file(path: &Path) -> Result<Vec<Written>, Failure> {
    let wrong =
        |why: csv::Error| Failure::coded("INVALID_FIELD", format!("{}: {why}", path.display()));
    let bytes = std::fs::read(path).map_err(|why| Failure::io(path.display(), &why))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes.as_slice());
    // One more than there may be: the ledger, not this file, says how many that is.
    let most = LEGS_MAX.saturating_add(1);
    reader.deserialize().take(most).map(|leg| leg.map_err(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leg_has_three_parts() {
        let leg = from_flag("acc_lin:acc_wang:8.88").unwrap();
        assert_eq!(
            (leg.debit.as_str(), leg.credit.as_str(), leg.amount.as_str()),
            ("acc_lin", "acc_wang", "8.88")
        );
        for bad in ["", "a:b", "a:b:1:2", "a b 1"] {
            assert_eq!(from_flag(bad).unwrap_err().exit(), 64, "{bad}");
        }
    }

    #[test]
    fn legs_are_read_from_a_file_by_their_titles() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("legs.csv");
        std::fs::write(
            &file,
            "credit, debit, amount\nacc_wang, acc_lin, 8.88\nacc_shop,acc_lin,0.12\n",
        )
        .unwrap();
        let legs = from_file(&file).unwrap();
        assert_eq!(
            legs[1],
            Written { debit: "acc_lin".into(), credit: "acc_shop".into(), amount: "0.12".into() }
        );
        for bad in [
            "debit,credit\na,b\n",
            "debit,credit,amount,note\na,b,1,x\n",
            "debit,credit,amount\na,b\n",
        ] {
            std::fs::write(&file, bad).unwrap();
            assert_eq!(from_file(&file).unwrap_err().exit(), 2, "{bad}");
        }
        assert_eq!(from_file(home.path()).unwrap_err().exit(), 74, "a directory");
        assert_eq!(from_file(&home.path().join("none")).unwrap_err().exit(), 74);
    }
}

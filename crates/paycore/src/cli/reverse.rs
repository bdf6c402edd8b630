//! `paycore reverse`: a transfer undone, whole, once.

use client::{Request, TransferId};

use super::invocation::Invocation;
use super::options::{KeyArg, Reach};
use super::teller::Teller;
use super::views::Done;
use crate::exit::Failure;

/// Undo a transfer, whole, once
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore reverse tr_0-1042-3 acc_wang")]
pub(crate) struct Args {
    /// The transfer, as it was shown when it was made
    #[arg(value_name = "TRANSFER", value_parser = read_transfer)]
    transfer: TransferId,
    /// An account that it paid: an alias, or an id
    #[arg(value_name = "CREDITED")]
    credited: String,
    #[command(flatten)]
    key: KeyArg,
    #[command(flatten)]
    pub(super) reach: Reach,
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let teller = Teller::new(around)?;
    let credited = teller.account(&args.credited)?;
    super::block_on(async {
        let request = Request::reverse_transfer(args.transfer, credited);
        let sent = teller.send(request, None, &args.key).await?;
        teller.screen().show(&Done::new("reversed", &sent))
    })
}

fn read_transfer(text: &str) -> Result<TransferId, String> {
    text.strip_prefix("transfers/")
        .unwrap_or(text)
        .parse()
        .map_err(|why: ledger::IdError| why.to_string())
}

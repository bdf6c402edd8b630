//! `paycore balance`: what an account has.

use client::Freshness;
use serde::Serialize;

use super::invocation::Invocation;
use super::options::Reach;
use super::teller::Teller;
use super::views::Amount;
use crate::exit::Failure;
use crate::output::{Paint, Show, time};

/// Show what an account has, what is held, and what is available
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore balance acc_lin")]
pub(crate) struct Args {
    /// The account: an alias, or an id
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// Take an answer that may lag behind; its position says how far it goes
    #[arg(long)]
    stale_ok: bool,
    #[command(flatten)]
    pub(super) reach: Reach,
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let teller = Teller::new(around)?;
    let account = teller.account(&args.account)?;
    super::block_on(async {
        let read = teller.connect().await?.account(account, freshness(args.stale_ok)).await?;
        let amount = |minor: i64| Amount::new(minor, read.currency);
        teller.screen().show(&Balance {
            account: account.to_string(),
            balance: amount(read.posted),
            held: amount(read.held),
            available: amount(read.available),
            version: read.version,
            position: read.position.index,
            log_time: time(read.position.time),
        })
    })
}

/// How fresh an answer must be that may be stale or not.
pub(super) const fn freshness(stale_ok: bool) -> Freshness {
    if stale_ok { Freshness::StaleOk } else { Freshness::Linearizable }
}

#[derive(Debug, Serialize)]
struct Balance {
    account: String,
    balance: Amount,
    held: Amount,
    available: Amount,
    version: u64,
    position: u64,
    log_time: String,
}

impl Show for Balance {
    fn text(&self, paint: Paint) -> String {
        let available = paint.bold(&self.available.to_string());
        format!("available {available} · balance {} · held {}", self.balance, self.held)
    }
}

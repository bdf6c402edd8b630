//! `paycore lookup`: what became of a request, without sending it again.

use clap::ValueEnum;
use client::{Operation, Posted, Subject};
use serde::Serialize;

use super::hold::read_hold;
use super::invocation::Invocation;
use super::options::Reach;
use super::teller::Teller;
use crate::exit::Failure;
use crate::output::{Paint, Show, time};

/// Ask what became of a request, without sending it again
///
/// Ends as the request itself ended: 0 when it was done, the rejection's own exit code when the ledger said no, and 4
/// when nothing was done under this key so far.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  paycore lookup acc_lin transfer 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
)]
pub(crate) struct Args {
    /// What it was about: the account that paid (was opened, frozen, closed, credited), or the hold
    #[arg(value_name = "SUBJECT")]
    subject: String,
    /// What it was to do
    #[arg(value_name = "OPERATION", value_enum)]
    operation: Asked,
    /// Its idempotency key
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    pub(super) reach: Reach,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Asked {
    /// Open an account, by the account
    Open,
    /// Freeze an account, by the account
    Freeze,
    /// Lift a freeze, by the account
    Unfreeze,
    /// Close an account, by the account
    Close,
    /// Transfer or multi-transfer, by who paid
    Transfer,
    /// Place a hold, by who was to pay
    Hold,
    /// Post a hold, by the hold
    Post,
    /// Void a hold, by the hold
    Void,
    /// Reverse a transfer, by who had been paid
    Reverse,
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let teller = Teller::new(around)?;
    let (operation, is_about_hold) = match args.operation {
        Asked::Open => (Operation::Open, false),
        Asked::Freeze => (Operation::Freeze, false),
        Asked::Unfreeze => (Operation::Unfreeze, false),
        Asked::Close => (Operation::Close, false),
        Asked::Transfer => (Operation::Transfer, false),
        Asked::Hold => (Operation::Hold, false),
        Asked::Post => (Operation::Post, true),
        Asked::Void => (Operation::Void, true),
        Asked::Reverse => (Operation::Reverse, false),
    };
    let subject =
        if is_about_hold {
            let hold = read_hold(&args.subject);
            Subject::Hold(hold.map_err(|why| {
                Failure::coded("INVALID_FIELD", format!("`{}`: {why}", args.subject))
            })?)
        } else {
            Subject::Account(teller.account(&args.subject)?)
        };
    super::block_on(async {
        let found = teller.connect().await?.outcome(subject, operation, &args.key).await?;
        teller.screen().show(&Found::new(&found))
    })
}

#[derive(Debug, Serialize)]
struct Found {
    transfer: String,
    post_time: String,
}

impl Found {
    fn new(posted: &Posted) -> Self {
        Self { transfer: posted.transfer.to_string(), post_time: time(posted.at) }
    }
}

impl Show for Found {
    fn text(&self, paint: Paint) -> String {
        format!("{} {} · {}", paint.good("DONE"), self.transfer, self.post_time)
    }
}

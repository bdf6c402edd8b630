//! `paycore import`: a file of payments, each paid exactly once.

use std::path::PathBuf;
use std::time::Duration;

use super::invocation::Invocation;
use super::options::{Credentials, Reach};
use super::teller::{Teller, interrupted};
use crate::config::Flag;
use crate::exit::Failure;
use crate::import::{Job, OnError, PERIODS_MAX, SessionSink};
use crate::output::duration;

/// Pay what a CSV file says, every row exactly once
///
/// A map says what the file's columns mean. Giving the same command again pays nothing twice: whatever an earlier run
/// paid is answered from memory, and whatever it did not get to is paid now.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  paycore import orders.tsv --map examples/berka.toml --report refused.csv"
)]
pub(crate) struct Args {
    /// The file of payments
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What its columns mean
    #[arg(long, value_name = "FILE")]
    map: PathBuf,
    /// What to do when a row is no payment, or a payment is refused
    #[arg(long, value_enum, default_value = "stop")]
    on_error: OnError,
    /// Where to write down rows and payments that went wrong, as CSV
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// How often every row is paid [default: as the map says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(PERIODS_MAX)))]
    periods: Option<u32>,
    /// Read file and map, say what would be done, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// A gateway's gRPC door [default: client.endpoint of the settings]
    #[arg(short, long, value_name = "URL")]
    endpoint: Option<String>,
    #[command(flatten)]
    credentials: Credentials,
    /// How long the whole import may take; what has no outcome by then is told
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1h")]
    timeout: Duration,
}

impl Args {
    /// The flags that are settings too. The time-out is not: it is of the whole import, not of a call.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let Self { endpoint, credentials, .. } = self;
        Reach { endpoint: endpoint.clone(), timeout: None, credentials: credentials.clone() }
            .flags()
    }
}

pub(crate) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let job = Job {
        file: args.file.clone(),
        map: args.map.clone(),
        periods: args.periods,
        on_error: args.on_error,
        report: args.report.clone(),
    };
    let import = job.prepare(around.screen)?;
    let summary = if args.dry_run {
        import.rehearse()?
    } else {
        super::block_on(async {
            let client = Teller::new(around)?.connect().await?;
            import.carry_out(&SessionSink::new(&client), args.timeout, interrupted()).await
        })?
    };
    around.screen.show(&summary)?;
    summary.verdict()
}

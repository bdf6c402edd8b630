//! `paycore tenants`: whose accounts there are, and how often each may ask.

use clap::Subcommand;
use client::Client;
use wire::proto::v1;

use super::invocation::Invocation;
use super::options::{KeyArg, Reach};
use super::teller::Teller;
use crate::exit::Failure;

/// Say what tenants are called, and how often they may ask
///
/// An operator's command. `paycore directory show` lists them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what a tenant is called and how often it may ask; again, to change that
    #[command(
        after_help = "Example:\n  paycore tenants put 7 --label shop --requests-per-second 1000 --burst 2000"
    )]
    Put {
        /// The tenant's number
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        number: u32,
        /// What it is called
        #[arg(long, value_name = "LABEL", default_value = "")]
        label: String,
        /// How many requests a second it may send; as many as it likes when absent
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        requests_per_second: Option<u32>,
        /// How many at once, after a pause [default: as many as a second]
        #[arg(long, value_name = "N", requires = "requests_per_second", value_parser = clap::value_parser!(u32).range(1..))]
        burst: Option<u32>,
        #[command(flatten)]
        key: KeyArg,
        #[command(flatten)]
        reach: Reach,
    },
}

impl Args {
    pub(super) const fn reach(&self) -> &Reach {
        let Command::Put { reach, .. } = &self.command;
        reach
    }
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let Command::Put { number, label, requests_per_second, burst, key, .. } = &args.command;
    let rate = requests_per_second.map(|requests_per_second| v1::RequestRate {
        requests_per_second,
        burst: burst.unwrap_or(requests_per_second),
    });
    let tenant = v1::Tenant { tenant: *number, label: label.clone(), rate };
    let ask = |client: Client, idempotency_key| async move {
        let tenant = Some(tenant);
        client.put_tenant(v1::PutTenantRequest { idempotency_key, tenant }).await
    };
    Teller::new(around)?.change(key, ask)
}

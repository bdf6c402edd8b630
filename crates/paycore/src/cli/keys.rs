//! `paycore keys`: API keys for the callers of a gateway.

use std::path::PathBuf;

use clap::Subcommand;
use gateway::keyring::Scope;
use jiff::Timestamp;
use serde::Serialize;

use super::invocation::Invocation;
use crate::exit::Failure;
use crate::keys::{NewKey, add};
use crate::output::{Paint, Show};

/// Make API keys for the callers of a gateway
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key, add its entry to a key file, and show the key, once
    ///
    /// What the file keeps is a keyed hash: a key that is lost cannot be found again, only replaced. A gateway that
    /// was started with `--keys FILE` takes the new key within seconds.
    #[command(
        after_help = "Example:\n  paycore keys new --tenant 7 --scope tenant --name shop --file keys.toml"
    )]
    New(New),
}

#[derive(Debug, clap::Args)]
struct New {
    /// Whose key: a tenant's number; 0 is the operator
    #[arg(long, value_name = "N")]
    tenant: u32,
    /// What it may do
    #[arg(long, value_name = "SCOPE", value_parser = ["read", "tenant", "admin"])]
    scope: String,
    /// What the operator calls it
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The key file; made when it is not there
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// When the key ends, such as 2027-01-01T00:00:00Z; never when absent
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
    /// How many requests a second all keys of the tenant may send together; as many as they like when never said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_second: Option<u32>,
    /// How many at once, after a pause [default: as many as a second]
    #[arg(long, value_name = "N", requires = "requests_per_second", value_parser = clap::value_parser!(u32).range(1..))]
    burst: Option<u32>,
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let Command::New(args) = &args.command;
    let scope = args.scope.parse::<Scope>().map_err(|wrong| Failure::usage(wrong.to_string()))?;
    let rate = args.requests_per_second.map(|rate| (rate, args.burst.unwrap_or(rate)));
    let (name, expires) = (args.name.clone(), args.expires);
    let key = add(&args.file, NewKey { name, tenant: args.tenant, scope, expires, rate })?;
    around.screen.show(&Made {
        name: &args.name,
        tenant: args.tenant,
        scope: scope.name(),
        expires: args.expires.map(|at| at.to_string()),
        key: key.reveal(),
    })?;
    around.screen.say(format_args!("keep it now: it is shown this once"));
    Ok(())
}

#[derive(Serialize)]
struct Made<'a> {
    name: &'a str,
    tenant: u32,
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    key: String,
}

impl Show for Made<'_> {
    /// The key alone, so that `KEY=$(paycore keys new …)` works.
    fn text(&self, _paint: Paint) -> String {
        self.key.clone()
    }
}

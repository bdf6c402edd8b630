//! `paycore keys`: API keys for the callers of a gateway.

use std::path::PathBuf;

use clap::Subcommand;
use client::Client;
use gateway::keyring::Scope;
use jiff::Timestamp;
use serde::Serialize;
use wire::proto::v1;

use super::invocation::Invocation;
use super::options::{KeyArg, Reach};
use super::teller::Teller;
use crate::exit::Failure;
use crate::keys::{NewKey, add};
use crate::output::{Paint, Show};

/// Make API keys for the callers of gateways, and take them away
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key for --tenant, and show it, once
    ///
    /// What is kept is a keyed hash: a key that is lost cannot be found again, only replaced. The cluster's directory keeps
    /// it; every gateway takes the key within two seconds. With --file it goes into a key file instead, as a gateway's
    /// `--keys FILE`: so the operator's first key is made, whose tenant is 0.
    #[command(
        after_help = "Example:\n  paycore keys new --tenant 0 --scope admin --name root --file keys.toml"
    )]
    New(New),
    /// Take a key of the cluster's directory away; every gateway refuses it within two seconds
    #[command(after_help = "Example:\n  paycore keys revoke shop")]
    Revoke {
        /// What the operator calls it
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        key: KeyArg,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, clap::Args)]
struct New {
    /// What it may do
    #[arg(long, value_name = "SCOPE", value_parser = ["read", "tenant", "admin"])]
    scope: String,
    /// What the operator calls it
    #[arg(long, value_name = "NAME")]
    name: String,
    /// A key file that is to keep it; made when it is not there
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// When the key ends, such as 2027-01-01T00:00:00Z; never when absent
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
    /// In a key file: how many requests a second all keys of the tenant may send together; `paycore tenants put` says it to
    /// the cluster
    #[arg(long, value_name = "N", requires = "file", value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_second: Option<u32>,
    /// How many at once, after a pause [default: as many as a second]
    #[arg(long, value_name = "N", requires = "requests_per_second", value_parser = clap::value_parser!(u32).range(1..))]
    burst: Option<u32>,
    #[command(flatten)]
    reach: Reach,
}

impl Args {
    pub(super) const fn reach(&self) -> &Reach {
        match &self.command {
            Command::New(args) => &args.reach,
            Command::Revoke { reach, .. } => reach,
        }
    }
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    match &args.command {
        Command::New(args) => new(args, around),
        Command::Revoke { name, key, .. } => {
            let name = name.clone();
            let ask = |client: Client, idempotency_key| async move {
                client.revoke_api_key(v1::RevokeApiKeyRequest { idempotency_key, name }).await
            };
            Teller::new(around)?.change(key, ask)
        }
    }
}

fn new(args: &New, around: &Invocation) -> Result<(), Failure> {
    let whose = || Failure::usage("whose key is it? Say --tenant N; 0 is the operator");
    let tenant = args.reach.credentials.tenant.ok_or_else(whose)?;
    let scope = args.scope.parse::<Scope>().map_err(|wrong| Failure::usage(wrong.to_string()))?;
    let key = match &args.file {
        Some(file) => {
            let rate = args.requests_per_second.map(|rate| (rate, args.burst.unwrap_or(rate)));
            let (name, expires) = (args.name.clone(), args.expires);
            add(file, NewKey { name, tenant, scope, expires, rate })?.reveal()
        }
        None => ask_cluster(args, (tenant, scope), around)?,
    };
    around.screen.show(&Made {
        name: &args.name,
        tenant,
        scope: scope.name(),
        expires: args.expires.map(|at| at.to_string()),
        key,
    })?;
    around.screen.say(format_args!("keep it now: it is shown this once"));
    Ok(())
}

fn ask_cluster(
    args: &New,
    (tenant, scope): (u32, Scope),
    around: &Invocation,
) -> Result<String, Failure> {
    let scope = match scope {
        Scope::Read => v1::ApiKeyScope::Read,
        Scope::Tenant => v1::ApiKeyScope::Tenant,
        Scope::Admin => v1::ApiKeyScope::Admin,
    };
    // Tokens are matched against whole milliseconds of log time.
    let expire_time = args.expires.map(|at| {
        let nanos = at.subsec_nanosecond();
        let whole = nanos.saturating_sub(nanos % 1_000_000);
        prost_types::Timestamp { seconds: at.as_second(), nanos: whole }
    });
    let wanted = v1::ApiKey { name: args.name.clone(), tenant, scope: scope.into(), expire_time };
    let teller = Teller::new(around)?;
    super::block_on(async { Ok(teller.connect().await?.create_api_key(wanted).await?) })
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

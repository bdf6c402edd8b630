//! `paycore alias`: readable names of accounts, kept by the cluster.

use clap::Subcommand;
use client::Client;
use serde::Serialize;
use wire::convert::account_name;
use wire::proto::v1;

use super::invocation::Invocation;
use super::options::{KeyArg, Reach};
use super::teller::{Asked, Teller};
use crate::exit::Failure;
use crate::output::{Paint, Show};

/// Give accounts readable names that everybody of the tenant can use
///
/// A name reads `acc_` and up to 64 letters, digits, `_`, `-`, `.`, and can be used wherever an account is named. It stands
/// for one account until it is taken away. Names that only this machine knows are made by `paycore account open --alias`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Name an account
    #[command(
        after_help = "Example:\n  paycore alias put acc_shop acc_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b"
    )]
    Put {
        /// The name, such as acc_lin
        #[arg(value_name = "NAME")]
        alias: String,
        /// The account
        #[arg(value_name = "ACCOUNT")]
        account: String,
        #[command(flatten)]
        key: KeyArg,
        #[command(flatten)]
        reach: Reach,
    },
    /// Take a name away
    #[command(after_help = "Example:\n  paycore alias drop acc_shop")]
    Drop {
        /// The name
        #[arg(value_name = "NAME")]
        alias: String,
        #[command(flatten)]
        key: KeyArg,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show which account a name stands for
    #[command(after_help = "Example:\n  paycore alias show acc_shop")]
    Show {
        /// The name
        #[arg(value_name = "NAME")]
        alias: String,
        #[command(flatten)]
        reach: Reach,
    },
}

impl Args {
    pub(super) const fn reach(&self) -> &Reach {
        match &self.command {
            Command::Put { reach, .. }
            | Command::Drop { reach, .. }
            | Command::Show { reach, .. } => reach,
        }
    }
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let teller = Teller::new(around)?;
    match &args.command {
        Command::Put { alias, account, key, .. } => {
            let account = account_name(teller.account(account)?);
            let named = v1::Alias { alias: alias.clone(), account };
            let ask = |client: Client, idempotency_key| async move {
                let alias = Some(named);
                client.put_alias(v1::PutAliasRequest { idempotency_key, alias }).await
            };
            teller.change(key, ask)
        }
        Command::Drop { alias, key, .. } => {
            let alias = alias.clone();
            let ask = |client: Client, idempotency_key| async move {
                client.delete_alias(v1::DeleteAliasRequest { idempotency_key, alias }).await
            };
            teller.change(key, ask)
        }
        Command::Show { alias, .. } => super::block_on(async {
            let account = teller.connect().await?.alias(alias).await?;
            teller.screen().show(&Named { alias, account: account.to_string() })
        }),
    }
}

#[derive(Serialize)]
struct Named<'a> {
    alias: &'a str,
    account: String,
}

impl Show for Named<'_> {
    /// The account alone, so that `ACCOUNT=$(paycore alias show …)` works.
    fn text(&self, _paint: Paint) -> String {
        self.account.clone()
    }
}

impl Show for Asked {
    fn text(&self, paint: Paint) -> String {
        let word = if self.replayed { "OK (replayed)" } else { "OK" };
        format!("{} decided at {}", paint.good(word), self.transfer)
    }
}

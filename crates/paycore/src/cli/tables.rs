//! `paycore tables`: fees, limits, calendars and the like, each in force from a time of its own.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Subcommand;
use client::Client;
use jiff::Timestamp;
use serde::Serialize;
use wire::proto::v1;

use super::invocation::Invocation;
use super::options::{KeyArg, Reach};
use super::teller::Teller;
use crate::exit::Failure;
use crate::output::{Paint, Show};

/// Publish tables (fees, limits, calendars), and see what was in force when
///
/// An operator's command. A table is published an hour before it takes effect at the least, and is never changed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish a table
    #[command(
        after_help = "Example:\n  paycore tables publish fees --effective 2027-01-01T00:00:00+08:00 --file fees.json"
    )]
    Publish {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// From when on it is in force
        #[arg(long, value_name = "TIME")]
        effective: Timestamp,
        /// A file with its content: a JSON document of at most 3,072 bytes
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        key: KeyArg,
        #[command(flatten)]
        reach: Reach,
    },
    /// Withdraw a table that takes effect an hour from now at the earliest
    #[command(
        after_help = "Example:\n  paycore tables withdraw fees --effective 2027-01-01T00:00:00+08:00"
    )]
    Withdraw {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// From when on it would be in force
        #[arg(long, value_name = "TIME")]
        effective: Timestamp,
        #[command(flatten)]
        key: KeyArg,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show the table that is in force now, or was or will be at a time
    #[command(after_help = "Example:\n  paycore tables show fees --at 2026-12-31T23:59:59+08:00")]
    Show {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// When
        #[arg(long, value_name = "TIME")]
        at: Option<Timestamp>,
        #[command(flatten)]
        reach: Reach,
    },
}

impl Args {
    pub(super) const fn reach(&self) -> &Reach {
        match &self.command {
            Command::Publish { reach, .. }
            | Command::Withdraw { reach, .. }
            | Command::Show { reach, .. } => reach,
        }
    }
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let teller = Teller::new(around)?;
    match &args.command {
        Command::Publish { name, effective, file, key, .. } => {
            let content = fs::read_to_string(file);
            let content = content.map_err(|why| Failure::io(file.display(), &why))?;
            let table = v1::Table {
                name: name.clone(),
                effective_time: Some(SystemTime::from(*effective).into()),
                content,
                version: 0,
            };
            let ask = |client: Client, idempotency_key| async move {
                let table = Some(table);
                client.publish_table(v1::PublishTableRequest { idempotency_key, table }).await
            };
            teller.change(key, ask)
        }
        Command::Withdraw { name, effective, key, .. } => {
            let (name, at) = (name.clone(), SystemTime::from(*effective).into());
            let ask = |client: Client, idempotency_key| async move {
                let effective_time = Some(at);
                let request = v1::WithdrawTableRequest { idempotency_key, name, effective_time };
                client.withdraw_table(request).await
            };
            teller.change(key, ask)
        }
        Command::Show { name, at, .. } => super::block_on(async {
            let at_time = at.map(|at| SystemTime::from(at).into());
            let request = v1::GetTableRequest { name: name.clone(), at_time };
            let table = teller.connect().await?.table(request).await?;
            teller.screen().show(&Found::new(table))
        }),
    }
}

#[derive(Serialize)]
struct Found {
    name: String,
    effective_time: String,
    version: u64,
    content: String,
}

impl Found {
    fn new(table: v1::Table) -> Self {
        let v1::Table { name, effective_time, version, content } = table;
        Self { name, effective_time: when(effective_time.as_ref()), version, content }
    }
}

impl Show for Found {
    fn text(&self, _paint: Paint) -> String {
        self.content.trim_end().to_owned()
    }
}

/// A time of the wire, for people; `-` for none.
pub(super) fn when(at: Option<&prost_types::Timestamp>) -> String {
    let read = at.and_then(wire::convert::read_time);
    read.map_or_else(|| "-".to_owned(), crate::output::time)
}

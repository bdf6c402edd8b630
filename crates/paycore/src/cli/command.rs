//! Every command, and what it is handed to.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::invocation::{Invocation, bare_screen};
use super::options::Global;
use super::{
    account, alias, audit, balance, cluster, config, directory, hold, import, keys, log, lookup,
    multi_transfer, read_all, reverse, statement, tables, tenants, transfer,
};
use crate::config::Flag;
use crate::exit::{Failure, USAGE};

/// A payment core: accounts, and money between them, exactly once.
#[derive(Debug, Parser)]
#[command(name = "paycore", version)]
#[command(
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "Example:\n  paycore transfer acc_lin acc_wang 8.88 --currency CNY")]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Account(account::Args),
    Alias(alias::Args),
    Audit(audit::Args),
    Balance(balance::Args),
    Bench(Box<crate::bench::Args>),
    Cluster(cluster::Args),
    Config(config::Args),
    Demo(crate::demo::Args),
    Directory(directory::Args),
    Gateway(crate::server::gateway::Args),
    Hold(hold::Args),
    Import(import::Args),
    Keys(keys::Args),
    Log(log::Args),
    Lookup(lookup::Args),
    MultiTransfer(multi_transfer::Args),
    Node(crate::server::node::Args),
    ReadAll(read_all::Args),
    Reverse(reverse::Args),
    Statement(statement::Args),
    Tables(tables::Args),
    Tenants(tenants::Args),
    Transfer(transfer::Args),
    Verify(crate::verify::Args),
}

impl Command {
    /// The command's own flags that are settings too; `None` for a command that has nothing to do with a person's
    /// context: a node must start whatever its operator called his accounts.
    fn flags(&self) -> Option<Vec<Flag>> {
        match self {
            Self::Account(args) => Some(args.reach().flags()),
            Self::Alias(args) => Some(args.reach().flags()),
            Self::Audit(args) => Some(args.reach.flags()),
            Self::Balance(args) => Some(args.reach.flags()),
            Self::Config(_) => Some(Vec::new()),
            Self::Directory(args) => Some(args.reach().flags()),
            Self::Hold(args) => Some(args.reach().flags()),
            Self::Bench(args) => args.flags(),
            Self::Import(args) => Some(args.flags()),
            Self::Keys(args) => Some(args.reach().flags()),
            Self::Lookup(args) => Some(args.reach.flags()),
            Self::MultiTransfer(args) => Some(args.reach.flags()),
            Self::ReadAll(args) => Some(args.reach.flags()),
            Self::Reverse(args) => Some(args.reach.flags()),
            Self::Statement(args) => Some(args.reach.flags()),
            Self::Tables(args) => Some(args.reach().flags()),
            Self::Tenants(args) => Some(args.reach().flags()),
            Self::Transfer(args) => Some(args.reach.flags()),
            Self::Cluster(_)
            | Self::Log(_)
            | Self::Demo(_)
            | Self::Gateway(_)
            | Self::Node(_)
            | Self::Verify(_) => None,
        }
    }
}

/// Reads the command line, does what it says, and gives the exit code.
pub(crate) fn main() -> ExitCode {
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return shown(&error),
    };
    let around = match Invocation::gather(&cli.global, cli.command.flags()) {
        Ok(around) => around,
        Err(failure) => {
            bare_screen(&cli.global).fail(&failure);
            return ExitCode::from(failure.exit());
        }
    };
    match dispatch(&cli.command, &around) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message().is_empty() {
                around.screen.fail(&failure);
            }
            ExitCode::from(failure.exit())
        }
    }
}

fn dispatch(command: &Command, around: &Invocation) -> Result<(), Failure> {
    match command {
        Command::Account(args) => account::run(args, around),
        Command::Alias(args) => alias::run(args, around),
        Command::Audit(args) => audit::run(args, around),
        Command::Balance(args) => balance::run(args, around),
        Command::Bench(args) => crate::bench::run(args, around),
        Command::Cluster(args) => cluster::run(args, around),
        Command::Config(args) => config::run(args, around),
        Command::Demo(args) => crate::demo::run(args, around),
        Command::Directory(args) => directory::run(args, around),
        Command::Gateway(args) => crate::server::gateway::run(args, around),
        Command::Hold(args) => hold::run(args, around),
        Command::Import(args) => import::run(args, around),
        Command::Keys(args) => keys::run(args, around),
        Command::Log(args) => log::run(args, around),
        Command::Lookup(args) => lookup::run(args, around),
        Command::MultiTransfer(args) => multi_transfer::run(args, around),
        Command::Node(args) => crate::server::node::run(args, around),
        Command::ReadAll(args) => read_all::run(args, around),
        Command::Reverse(args) => reverse::run(args, around),
        Command::Statement(args) => statement::run(args, around),
        Command::Tables(args) => tables::run(args, around),
        Command::Tenants(args) => tenants::run(args, around),
        Command::Transfer(args) => transfer::run(args, around),
        Command::Verify(args) => crate::verify::run(args, around),
    }
}

fn parse(args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Cli, clap::Error> {
    let args: Vec<_> = args.into_iter().collect();
    // What clap writes itself, help and errors, is coloured before the flag has been read.
    let color = if args.iter().any(|arg| arg == "--no-color") {
        ColorChoice::Never
    } else {
        ColorChoice::Auto
    };
    let matches = Cli::command().color(color).try_get_matches_from(args)?;
    Cli::from_arg_matches(&matches)
}

/// Help and version are what was asked for; anything else is bad usage.
fn shown(error: &clap::Error) -> ExitCode {
    // A closed pipe is nobody to complain to.
    drop(error.print());
    let was_asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if was_asked_for { ExitCode::SUCCESS } else { ExitCode::from(USAGE) }
}

#[cfg(test)]
mod tests;

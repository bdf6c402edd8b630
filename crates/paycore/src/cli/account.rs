//! `paycore account`: open, show, freeze, unfreeze, close.

use clap::{Subcommand, ValueEnum};
use client::{AccountId, Authority, FreezeScope, Request};
use ledger::IdError;

use super::balance::freshness;
use super::invocation::Invocation;
use super::options::{KeyArg, Reach};
use super::teller::{Teller, read_currency, read_money};
use super::views::{AccountView, Done};
use crate::exit::Failure;

/// Open, show, freeze, unfreeze and close accounts
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Open(Open),
    Show(Show),
    Freeze(Freeze),
    Unfreeze(Unfreeze),
    Close(Close),
}

/// Open a wallet
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  paycore account open --currency CNY --opening 100.00 --alias acc_lin"
)]
struct Open {
    /// Its currency, by ISO 4217, for ever
    #[arg(long, value_name = "CODE")]
    currency: String,
    /// What it begins with
    #[arg(long, value_name = "AMOUNT")]
    opening: Option<String>,
    /// A name for it, kept in the context file
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,
    /// Whose it is: accounts of one owner live together, and pay one another at the least cost
    #[arg(long, value_name = "TEXT", conflicts_with = "id")]
    owner: Option<String>,
    /// Its id, instead of one made from the key
    #[arg(long, value_name = "ID", value_parser = read_id)]
    id: Option<AccountId>,
    #[command(flatten)]
    key: KeyArg,
    #[command(flatten)]
    reach: Reach,
}

/// Show an account
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore account show acc_lin")]
struct Show {
    /// The account: an alias, or an id
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// Take an answer that may lag behind; its position says how far it goes
    #[arg(long)]
    stale_ok: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Freeze an account on somebody's authority
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore account freeze acc_lin --scope debit --authority risk")]
struct Freeze {
    /// The account: an alias, or an id
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// What it may no longer do
    #[arg(long, value_enum)]
    scope: Scope,
    /// Who says so
    #[arg(long, value_enum)]
    authority: By,
    #[command(flatten)]
    key: KeyArg,
    #[command(flatten)]
    reach: Reach,
}

/// Lift the freeze of one authority
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore account unfreeze acc_lin --authority risk")]
struct Unfreeze {
    /// The account: an alias, or an id
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// Whose freeze
    #[arg(long, value_enum)]
    authority: By,
    #[command(flatten)]
    key: KeyArg,
    #[command(flatten)]
    reach: Reach,
}

/// Close an account that has neither balance nor holds, for ever
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore account close acc_lin")]
struct Close {
    /// The account: an alias, or an id
    #[arg(value_name = "ACCOUNT")]
    account: String,
    #[command(flatten)]
    key: KeyArg,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scope {
    /// Pay
    Debit,
    /// Pay and be paid
    All,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// The owner
    User,
    /// The risk department
    Risk,
    /// A court; it stops the posting of holds too
    Judicial,
}

impl Args {
    pub(super) const fn reach(&self) -> &Reach {
        match &self.command {
            Command::Open(args) => &args.reach,
            Command::Show(args) => &args.reach,
            Command::Freeze(args) => &args.reach,
            Command::Unfreeze(args) => &args.reach,
            Command::Close(args) => &args.reach,
        }
    }
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let teller = Teller::new(around)?;
    match &args.command {
        Command::Open(args) => open(args, &teller),
        Command::Show(args) => show(args, &teller),
        Command::Freeze(Freeze { account, scope, authority, key, .. }) => {
            let request = Request::freeze_account(
                teller.account(account)?,
                (*scope).into(),
                (*authority).into(),
            );
            change("frozen", request, key, &teller)
        }
        Command::Unfreeze(Unfreeze { account, authority, key, .. }) => {
            let request = Request::unfreeze_account(teller.account(account)?, (*authority).into());
            change("unfrozen", request, key, &teller)
        }
        Command::Close(Close { account, key, .. }) => {
            change("closed", Request::close_account(teller.account(account)?), key, &teller)
        }
    }
}

fn open(args: &Open, teller: &Teller<'_>) -> Result<(), Failure> {
    let currency = read_currency(&args.currency)?;
    let mut request = Request::open_account(currency);
    if let Some(opening) = &args.opening {
        request = request.with_opening(read_money(opening, currency.code())?.amount);
    }
    if let Some(owner) = &args.owner {
        request = request.with_owner(owner);
    }
    if let Some(id) = args.id {
        request = request.with_account(id);
    }
    let mut aliases = teller.aliases().clone();
    // A repeated command finds the alias there, naming the account that it opened before; then `add` decides.
    if let (Some(alias), None) = (&args.alias, &args.key.idempotency_key) {
        aliases.check_new(alias)?;
    }
    super::block_on(async {
        let sent = teller.send(request, None, &args.key).await?;
        let named = match (&args.alias, sent.posted.account.or(args.id)) {
            (Some(alias), Some(account)) => aliases.add(alias, account),
            (Some(_), None) => {
                Err(Failure::internal("the answer does not say which account was opened"))
            }
            (None, _) => Ok(()),
        };
        let alias = args.alias.as_deref().filter(|_| named.is_ok());
        teller.screen().show(&Done::new("opened", &sent).with_alias(alias))?;
        named
    })
}

fn show(args: &Show, teller: &Teller<'_>) -> Result<(), Failure> {
    let id = teller.account(&args.account)?;
    super::block_on(async {
        let account = teller.connect().await?.account(id, freshness(args.stale_ok)).await?;
        teller.screen().show(&AccountView::new(&account, teller.aliases().alias_of(id)))
    })
}

/// Sends a request that changes an account and makes nothing.
fn change(
    what: &'static str,
    request: Request,
    key: &KeyArg,
    teller: &Teller<'_>,
) -> Result<(), Failure> {
    super::block_on(async {
        let sent = teller.send(request, None, key).await?;
        teller.screen().show(&Done::new(what, &sent))
    })
}

fn read_id(text: &str) -> Result<AccountId, String> {
    text.strip_prefix("accounts/").unwrap_or(text).parse().map_err(|why: IdError| why.to_string())
}

impl From<Scope> for FreezeScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Debit => Self::Debit,
            Scope::All => Self::All,
        }
    }
}

impl From<By> for Authority {
    fn from(by: By) -> Self {
        match by {
            By::User => Self::User,
            By::Risk => Self::Risk,
            By::Judicial => Self::Judicial,
        }
    }
}

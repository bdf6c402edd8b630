//! Golden scripts: one behaviour a file. `UPDATE_GOLDENFILES=1 cargo test -p ledger` writes what the ledger says; a
//! person reads it.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it had to say")]

mod world;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;

use goldenscript::{ArgumentConsumer, Command as Line};
use ledger::{
    AccountId, AccountKind, Amount, Answer, Authority, Books, Command, Currency, FreezeScope,
    HoldId, Key, Leg, Slot, TenantId, TransferId,
};
use world::{BOOKS, START, World, account, request};

/// Runs the lines of a script against the ledgers of two shards. Almost all happens on the first.
struct Script {
    world: World,
    away: World,
    transfers: BTreeMap<String, TransferId>,
    tenant: TenantId,
}

type Said = Result<String, Box<dyn Error>>;

#[test]
fn scripts_say_what_they_said() {
    let mut paths: Vec<_> =
        std::fs::read_dir("tests/scripts").unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let mut script = Script {
            world: World::new(),
            away: away(),
            transfers: BTreeMap::new(),
            tenant: TenantId(0),
        };
        goldenscript::run(&mut script, &path)
            .unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    }
}

impl goldenscript::Runner for Script {
    type Command = Line;

    fn run(&mut self, line: &Line, _: &goldenscript::Context) -> Said {
        let mut args = line.consume_args();
        let said = match line.name.as_str() {
            "wait" => {
                let ms = read_ms(args.next_pos().ok_or("wait for how many ms?")?)?;
                self.world.at = self.world.at.plus_ms(ms);
                String::new()
            }
            "tick" => {
                self.world.apply(Vec::new());
                String::new()
            }
            "back" => {
                // A new leader's clock may lag behind entries that it has not applied yet.
                let ms: u64 = args.next_pos().ok_or("back by how many ms?")?.parse()?;
                self.world.at = self.world.at.minus_ms(ms);
                String::new()
            }
            "tenant" => {
                self.tenant = TenantId(args.next_pos().ok_or("which tenant?")?.parse()?);
                String::new()
            }
            "checkpoint" => {
                self.world.checkpoint();
                String::new()
            }
            "carry" => self.carry(),
            "show" => self.show(&mut args)?,
            "statement" => self.statement(&mut args)?,
            "show-hold" => self.show_hold(&mut args)?,
            _ => self.request(line, &mut args)?,
        };
        args.reject_next()?;
        Ok(said)
    }
}

impl Script {
    fn request(&mut self, line: &Line, args: &mut ArgumentConsumer<'_>) -> Said {
        let key: u64 = args.take_key("key").ok_or("every request has a key")?.parse()?;
        let made = args.take_key("made").map(read_ms).transpose()?;
        let named = args.take_key("as").map(str::to_owned);
        let command = self.command(&line.name, args)?;
        let mut request = request(key, command);
        request.tenant = self.tenant;
        if let Some(made) = made {
            let bits =
                u128::from(START.plus_ms(made).0) << 80 | 7 << 76 | 0b10 << 62 | u128::from(key);
            request.key = Key::from_uuid_v7(bits).ok_or("no UUIDv7")?;
        }
        let scoped = request.scoped_key();
        let world = self.world_of(AccountId::from_u128(scoped.subject));
        let decided = world.decide(vec![request]);
        let [answer] = decided.answers.as_slice() else {
            return Err("one answer for one request".into());
        };
        let Some(answer) = answer.now() else {
            let transfer = world.ledger.pending(&scoped).ok_or("what waits is pending")?;
            self.transfers.extend(named.map(|name| (name, transfer)));
            return Ok(format!("pending {transfer}"));
        };
        if let (Some(name), Ok(posted)) = (named, answer.outcome) {
            self.transfers.insert(name, posted.transfer);
        }
        Ok(say(&answer))
    }

    fn world_of(&mut self, id: AccountId) -> &mut World {
        if BOOKS().shards.shard(id.slot()) == 1 { &mut self.away } else { &mut self.world }
    }

    /// Carries every message both ways until there is none, and says what became final.
    fn carry(&mut self) -> String {
        let mut said = String::new();
        loop {
            let there = deliver(&mut self.world, &mut self.away, &mut said);
            let back = deliver(&mut self.away, &mut self.world, &mut said);
            if !there && !back {
                return said;
            }
        }
    }

    fn command(
        &self,
        name: &str,
        args: &mut ArgumentConsumer<'_>,
    ) -> Result<Command, Box<dyn Error>> {
        let currency = match args.take_key("currency") {
            Some(code) => Currency::from_code(code)?,
            None => Currency::CNY,
        };
        Ok(match name {
            "open" => Command::Open {
                account: read_account(args.next_pos().ok_or("open which account?")?)?,
                currency,
                kind: AccountKind::Wallet,
                opening: args.take_key("with").map(|text| amount(text, currency)).transpose()?,
            },
            "freeze" => Command::Freeze {
                account: read_account(args.next_pos().ok_or("freeze which account?")?)?,
                scope: match args.take_key("scope") {
                    Some("all") => FreezeScope::All,
                    Some("debit") | None => FreezeScope::Debit,
                    Some(other) => return Err(format!("no such scope: {other}").into()),
                },
                authority: authority(args)?,
            },
            "unfreeze" => Command::Unfreeze {
                account: read_account(args.next_pos().ok_or("unfreeze which account?")?)?,
                authority: authority(args)?,
            },
            "close" => Command::Close {
                account: read_account(args.next_pos().ok_or("close which account?")?)?,
            },
            "transfer" => {
                let leg = leg(args.next_pos().ok_or("which leg?")?, currency)?;
                Command::Transfer {
                    debit: leg.debit,
                    credit: leg.credit,
                    amount: leg.amount,
                    currency,
                }
            }
            "multi" => multi(args, currency)?,
            "hold" => {
                let hold = read_hold(args.next_pos().ok_or("which hold?")?)?;
                let leg = leg(args.next_pos().ok_or("which leg?")?, currency)?;
                let timeout_ms = args.take_key("for").ok_or("for how many ms?")?.parse()?;
                let Leg { debit, credit, amount } = leg;
                Command::Hold { debit, hold, credit, amount, currency, timeout_ms }
            }
            "post" => Command::Post {
                hold: read_hold(args.next_pos().ok_or("which hold?")?)?,
                amount: args.take_key("amount").map(|text| amount(text, currency)).transpose()?,
                release_rest: args.take_key("rest") == Some("released"),
            },
            "void" => Command::Void { hold: read_hold(args.next_pos().ok_or("which hold?")?)? },
            "reverse" => {
                let name = args.next_pos().ok_or("which transfer?")?;
                let transfer = self.transfers.get(name).ok_or("no transfer of that name")?;
                let credit = read_account(args.take_key("of").ok_or("of which account?")?)?;
                Command::Reverse { credit, transfer: *transfer }
            }
            "forget" => Command::ForgetKeys {
                books: account(0),
                before: START.plus_ms(read_ms(args.next_pos().ok_or("forget what before?")?)?),
            },
            other => return Err(format!("no such command: {other}").into()),
        })
    }

    fn show(&mut self, args: &mut ArgumentConsumer<'_>) -> Said {
        let mut said = String::new();
        while let Some(text) = args.next_pos() {
            let id = read_account(text)?;
            let Some(account) = self.world_of(id).ledger.account(&id) else {
                writeln!(said, "{text}: none")?;
                continue;
            };
            write!(said, "{text}: {} posted", account.currency.display(account.posted))?;
            if account.held > 0 {
                write!(said, ", {} held", account.currency.display(account.held.into()))?;
            }
            if account.freezes.stops_debit() {
                write!(said, ", frozen")?;
            }
            if account.closed {
                write!(said, ", closed")?;
            }
            writeln!(said)?;
        }
        Ok(said)
    }

    fn show_hold(&self, args: &mut ArgumentConsumer<'_>) -> Said {
        let text = args.next_pos().ok_or("which hold?")?;
        let Some(hold) = self.world.ledger.hold(&read_hold(text)?) else {
            return Ok(format!("{text}: not in memory"));
        };
        let (posted, left) = (hold.posted, hold.remaining);
        Ok(format!("{text}: {:?}, {posted} posted, {left} left", hold.state))
    }

    fn statement(&mut self, args: &mut ArgumentConsumer<'_>) -> Said {
        let id = read_account(args.next_pos().ok_or("whose statement?")?)?;
        let mut said = String::new();
        for posting in self.world_of(id).statement(id) {
            let sign = if posting.key.is_credit() { '+' } else { '-' };
            write!(said, "{:?} {sign}{} = {}", posting.kind, posting.amount, posting.balance)?;
            match posting.reverses {
                Some(transfer) => writeln!(said, ", reverses {transfer}")?,
                None => writeln!(said)?,
            }
        }
        Ok(said)
    }
}

fn away() -> World {
    World::of(Books { shard: 1, ..BOOKS() })
}

/// Carries the messages of one shard to the other, and says whether there were any.
fn deliver(from: &mut World, to: &mut World, said: &mut String) -> bool {
    let (sender, receiver) = (from.ledger.books().shard, to.ledger.books().shard);
    let known = to.ledger.inbox(sender);
    let acked = from.ledger.inbox(receiver);
    let books = AccountId::in_slot(0, BOOKS().shards.first_slot(receiver));
    let requests: Vec<_> = from
        .ledger
        .outbox(receiver, known)
        .map(|numbered| Some((numbered.number, numbered.message)))
        .map(|message| request(0, Command::Deliver { books, from: sender, acked, message }))
        .collect();
    if requests.is_empty() {
        return false;
    }
    to.at = to.at.max(from.at);
    for (scoped, outcome) in to.decide(requests).finals {
        let answer = say(&Answer { outcome, replayed: false });
        let key = u64::try_from(scoped.key.to_u128() >> 64).map(|bits| bits & 0xff);
        writeln!(said, "key {}: {answer}", key.unwrap_or_default()).unwrap();
    }
    true
}

fn say(answer: &Answer) -> String {
    let replayed = if answer.replayed { " (replayed)" } else { "" };
    match &answer.outcome {
        Ok(posted) => format!("posted {}{replayed}", posted.transfer),
        Err(rejection) => format!("rejected {}: {rejection}{replayed}", rejection.code()),
    }
}

fn multi(args: &mut ArgumentConsumer<'_>, currency: Currency) -> Result<Command, Box<dyn Error>> {
    let mut legs = Vec::new();
    while let Some(text) = args.next_pos() {
        legs.push(leg(text, currency)?);
    }
    let initiator = match args.take_key("by") {
        Some(text) => read_account(text)?,
        None => legs.first().map_or(account(0), |leg| leg.debit),
    };
    Ok(Command::MultiTransfer { initiator, currency, legs })
}

/// `a1` … `a99` share a slot; `b1` … live in another one, `c1` … on another shard; `opening`, `due-to`, `due-from` and
/// `suspense` are the shard's own, those of the other shard have a `c-` in front.
fn read_account(text: &str) -> Result<AccountId, Box<dyn Error>> {
    let (name, shard) = text.strip_prefix("c-").map_or((text, 0), |name| (name, 1));
    let peer = 1_u16.wrapping_sub(shard);
    let own = match name {
        "opening" => Some(AccountKind::Opening),
        "due-to" => Some(AccountKind::DueTo(peer)),
        "due-from" => Some(AccountKind::DueFrom(peer)),
        "suspense" => Some(AccountKind::Suspense),
        _ => None,
    };
    if let Some(kind) = own {
        return Ok(kind.system_id(Currency::CNY, BOOKS().shards.first_slot(shard)));
    }
    let (kind, number) = text.split_at_checked(1).ok_or("accounts are called a1, b1, …")?;
    let id = account(number.parse()?);
    Ok(match kind {
        "a" => id,
        "c" => AccountId::in_slot(id.to_u128(), Slot::new(3_000).unwrap()),
        _ => AccountId::in_slot(id.to_u128(), Slot::new(7).unwrap()),
    })
}

/// `250`, or `400d`. When it is a time, it counts from the start of the script.
fn read_ms(text: &str) -> Result<u64, Box<dyn Error>> {
    match text.strip_suffix('d') {
        Some(days) => Ok(days.parse::<u64>()?.saturating_mul(24 * 60 * 60 * 1_000)),
        None => Ok(text.parse()?),
    }
}

fn read_hold(text: &str) -> Result<HoldId, Box<dyn Error>> {
    let number: u128 = text.strip_prefix('h').ok_or("holds are called h1, …")?.parse()?;
    Ok(HoldId::in_slot(number << 12, Slot::of(0)))
}

/// `a1>a2:7.50`.
fn leg(text: &str, currency: Currency) -> Result<Leg, Box<dyn Error>> {
    let (accounts, written) = text.split_once(':').ok_or("a leg reads a1>a2:7.50")?;
    let (debit, credit) = accounts.split_once('>').ok_or("a leg reads a1>a2:7.50")?;
    Ok(Leg {
        debit: read_account(debit)?,
        credit: read_account(credit)?,
        amount: amount(written, currency)?,
    })
}

fn amount(text: &str, currency: Currency) -> Result<Amount, Box<dyn Error>> {
    Ok(Amount::from_decimal(text.parse()?, currency)?)
}

fn authority(args: &mut ArgumentConsumer<'_>) -> Result<Authority, Box<dyn Error>> {
    match args.take_key("by") {
        Some("user") | None => Ok(Authority::User),
        Some("risk") => Ok(Authority::Risk),
        Some("judicial") => Ok(Authority::Judicial),
        Some(other) => Err(format!("no such authority: {other}").into()),
    }
}

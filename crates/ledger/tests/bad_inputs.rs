//! Whatever bytes come, a decoder says no, or says what it read; and what clients can ask never breaks a ledger.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that panics has said what it had to say"
)]

#[path = "encoding/hex.rs"]
#[allow(dead_code, reason = "the samples ask for it")]
mod hex;
mod mutants;
#[path = "encoding/samples.rs"]
#[allow(dead_code, reason = "not all of them are wanted here")]
mod samples;
mod world;

use ledger::batch::{get_record, put_record, records};
use ledger::{
    AccountKind, Amount, Batch, ColdName, ColdValue, Command, Currency, Request, Restore, TenantId,
};
use mutants::Mutants;
use world::{BOOKS, World, account};

/// Inputs for each decoder.
const INPUTS: usize = 20_000;

fn requests() -> impl Iterator<Item = Request> {
    samples::commands().into_iter().map(|(_, command)| samples::request(command))
}

#[test]
fn records_of_requests() {
    let bytes = |request: &Request| {
        let mut bytes = Vec::new();
        put_record(request, &mut bytes).unwrap();
        bytes
    };
    let mut mutants = Mutants::of(requests().map(|request| bytes(&request)));
    let mut read = 0_usize;
    for _ in 0..INPUTS {
        let run = mutants.next();
        for record in records(&run).map_while(Result::ok) {
            let Ok(request) = get_record(record, 0) else { continue };
            read += 1;
            // Whatever is read would be written as it was.
            let again = bytes(&request);
            assert_eq!(again.get(2..), Some(record), "{request:?}");
        }
    }
    assert!(read > INPUTS / 20, "hardly anything is read: {read}");
}

#[test]
fn batches_and_what_clients_ask_in_them() {
    let whole = Batch::new(world::START, requests().collect()).unwrap().encode().unwrap();
    let single = |request| Batch::new(world::START, vec![request]).unwrap().encode().unwrap();
    let mut mutants = Mutants::of(requests().map(single).chain([whole]));
    let mut world = lived_in();
    let mut applied = 0_usize;
    for _ in 0..INPUTS {
        let Ok(batch) = Batch::decode(&mutants.next()) else { continue };
        // What the cluster asks of itself comes from peers that were checked, and not from clients.
        let asked: Vec<Request> = batch
            .requests()
            .iter()
            .filter(|request| !request.command.is_internal())
            .cloned()
            .collect();
        if !asked.is_empty() {
            applied += asked.len();
            let _answers = world.decide(asked);
        }
    }
    assert!(applied > INPUTS / 20, "hardly anything is asked: {applied}");
}

#[test]
fn pages_of_checkpoints() {
    let mut world = lived_in();
    let image = world.ledger.freeze();
    let pages: Vec<_> = image.pages().collect();
    let mut mutants = Mutants::of(pages.iter().map(|(_, value)| value.clone()));
    let mut names = Mutants::of(pages.iter().map(|(name, _)| name.clone()));
    for _ in 0..INPUTS {
        let mut restore = Restore::new(BOOKS());
        let which = mutants.below(pages.len());
        let name = if mutants.below(8) == 0 { names.next() } else { pages[which].0.clone() };
        let _said = restore.page(&name, &mutants.next());
        for (name, value) in pages.iter().filter(|(other, _)| *other != name) {
            if restore.page(name, value).is_err() {
                break;
            }
        }
        // Either it is refused, or what was changed means nothing: never another ledger.
        if let Ok(ledger) = restore.finish() {
            assert_eq!(ledger.digest(), world.ledger.digest());
        }
    }
}

#[test]
fn names_and_values_of_volumes() {
    let mut world = lived_in();
    let image = world.ledger.freeze();
    let filed: Vec<_> = image.cold_records().collect();
    let mut keys = Mutants::of(filed.iter().map(|record| record.key.clone()));
    let mut values = Mutants::of(filed.iter().map(|record| record.value.clone()));
    let mut read = 0_usize;
    for _ in 0..INPUTS {
        let Ok(name) = ColdName::parse(&keys.next()) else { continue };
        read += usize::from(ColdValue::read(&name, &values.next()).is_ok());
    }
    assert!(read > 0, "nothing is read");
}

/// A ledger in which something of everything has happened.
fn lived_in() -> World {
    let mut world = World::new();
    let open = |number| Command::Open {
        account: account(number),
        currency: Currency::CNY,
        kind: AccountKind::Wallet,
        opening: Some(Amount::from_minor(1_000_000).unwrap()),
    };
    let tenant = samples::request(open(1)).tenant;
    let ask = |world: &mut World, key: u64, tenant: TenantId, command: Command| {
        let request = Request { tenant, ..world::request(key, command) };
        let _answers = world.decide(vec![request]);
    };
    for number in 1..=4 {
        ask(&mut world, u64::try_from(number).unwrap(), TenantId(0), open(number));
    }
    for (key, (_, command)) in (10..).zip(samples::commands()) {
        if !command.is_internal() {
            ask(&mut world, key, tenant, command);
        }
    }
    world
}

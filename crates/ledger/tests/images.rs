//! Images: what they share with the ledger that goes on, and what is refused when one comes back damaged.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that panics has said what it had to say"
)]

mod world;

use ledger::codec::{get_cold, put_cold};
use ledger::{
    Account, AccountKind, Amount, Books, Command, Currency, Image, Ledger, Request, Restore, Shards,
};
use world::{BOOKS, World, account, request};

fn open(number: u64) -> Request {
    let (currency, kind) = (Currency::CNY, AccountKind::Wallet);
    let opening = Some(Amount::from_minor(100).unwrap());
    request(number, Command::Open { account: account(number.into()), currency, kind, opening })
}

fn is_remembered(ledger: &Ledger, request: &Request) -> bool {
    ledger.outcome(&request.scoped_key()).is_some()
}

#[test]
fn an_image_lets_go_of_what_it_has_and_of_nothing_else() {
    let mut world = World::new();
    world.apply(vec![open(1)]);
    let older = world.ledger.freeze();
    world.apply(vec![open(2)]);
    let newer = world.ledger.freeze();
    world.apply(vec![open(3)]);
    let remembered = |ledger: &Ledger| [1, 2, 3].map(|number| is_remembered(ledger, &open(number)));
    assert_eq!(remembered(&world.ledger), [true, true, true]);
    let digest = world.ledger.digest();
    world.ledger.evict(older.number());
    assert_eq!(remembered(&world.ledger), [false, true, true]);
    world.ledger.evict(newer.number());
    assert_eq!(remembered(&world.ledger), [false, false, true]);
    assert_eq!(world.ledger.digest(), digest);

    // A ledger that begins with an image counts on from its number: no image before it can take anything from it.
    let mut restored = restore(&newer, BOOKS()).unwrap();
    assert!(restored.freeze().number() > newer.number());
}

/// More accounts than the digest counts lazily.
#[test]
fn many_accounts_are_counted_as_they_change() {
    let mut world = World::new();
    for first in [0, 2_000, 4_000] {
        world.apply((first..first + 2_000).map(open).collect());
    }
    let digest = world.ledger.digest();
    world.checkpoint();
    assert_eq!(world.ledger.digest(), digest);
    assert_eq!(world.ledger.accounts_len(), 6_001);
}

#[test]
fn a_damaged_generation_is_refused() {
    let mut world = World::new();
    world.apply((0..300).map(open).collect());
    let image = world.ledger.freeze();
    assert_eq!(restore(&image, BOOKS()).unwrap().digest(), image.digest());

    let elsewhere = Books { shard: 1, shards: Shards::new(2).unwrap() };
    assert!(restore(&image, elsewhere).is_err(), "another shard's");
    let pages: Vec<_> = image.pages().collect();
    for left_out in 0..pages.len() {
        let kept = pages.iter().enumerate().filter(|(number, _)| *number != left_out);
        assert!(restore_pages(kept.map(|(_, page)| page)).is_err(), "page {left_out} is missing");
    }

    // A page that reads well, and differs in what no sum of money shows.
    let (name, value) = &pages[0];
    let mut accounts: Vec<Account> = get_cold(&value[1..]).unwrap();
    accounts[1].version += 1;
    let mut changed = value[..1].to_vec();
    put_cold(&accounts, &mut changed);
    let changed = (name.clone(), changed);
    let others = pages.iter().skip(1);
    assert!(restore_pages(std::iter::once(&changed).chain(others)).is_err(), "another version");
}

fn restore(image: &Image, books: Books) -> Result<Ledger, ledger::Corrupt> {
    let mut restore = Restore::new(books);
    for (name, value) in image.pages() {
        restore.page(&name, &value)?;
    }
    restore.finish()
}

fn restore_pages<'a>(
    pages: impl Iterator<Item = &'a (Vec<u8>, Vec<u8>)>,
) -> Result<Ledger, ledger::Corrupt> {
    let mut restore = Restore::new(BOOKS());
    for (name, value) in pages {
        restore.page(name, value)?;
    }
    restore.finish()
}

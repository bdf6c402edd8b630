//! Small payments all the time, of which each is counted when it is acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockWriteGuard};
use std::thread::JoinHandle;

use client::{AccountId, Currency, Money, Request};

use crate::bank::Bank;
use crate::support::until;

/// What each payer begins with: more than the test can spend.
const RICH: u64 = 1_000_000_000;

/// Payments that show that the load is alive.
const ALIVE: u64 = 20;

/// An account that is paid, and the payments to it that were acknowledged.
#[derive(Debug)]
struct Payee {
    account: AccountId,
    paid: AtomicU64,
}

/// A payer on each shard, who pays an account at home and one on the next shard in turn.
pub(crate) struct Load {
    shared: Arc<Shared>,
    payers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// By the payer's shard: who is paid.
    payees: Vec<[Payee; 2]>,
    /// Held by whoever pays; whoever looks at the books waits until nobody does.
    till: RwLock<()>,
    ends: AtomicBool,
}

impl Load {
    pub(crate) fn begin(bank: &mut Bank, endpoint: &str, shards: u16) -> Self {
        let payers: Vec<_> = (0..shards).map(|shard| bank.opened(shard, RICH)).collect();
        let mut payee =
            |shard: u16| Payee { account: bank.opened(shard, 0), paid: AtomicU64::new(0) };
        let payees = (0..shards).map(|home| [payee(home), payee((home + 1) % shards)]);
        let payees = payees.collect();
        let shared = Shared { payees, till: RwLock::default(), ends: AtomicBool::new(false) };
        let shared = Arc::new(shared);
        let payers = payers.into_iter().enumerate().map(|(place, payer)| {
            let (shared, endpoint) = (Arc::clone(&shared), endpoint.to_owned());
            std::thread::spawn(move || shared.pay(place, payer, &Bank::open(&endpoint, shards)))
        });
        Self { payers: payers.collect(), shared }
    }

    /// Waits until every payee has been paid again.
    pub(crate) fn goes_on(&self) {
        let before = self.paid();
        until("the load goes on", || {
            let now = self.paid();
            now.iter().zip(&before).all(|(now, before)| *now > before + ALIVE).then_some(())
        });
    }

    /// Stops paying for as long as the guard is held: every payment has its final outcome.
    pub(crate) fn rest(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.till.write().unwrap()
    }

    /// Compares what was acknowledged with what everybody has. Nobody may be paying.
    pub(crate) fn check(&self, bank: &Bank) {
        for payee in self.shared.payees.iter().flatten() {
            let has = bank.account(payee.account).unwrap().posted;
            let paid = payee.paid.load(Ordering::Relaxed);
            assert_eq!(u64::try_from(has).unwrap(), paid, "{}: lost or doubled", payee.account);
        }
    }

    pub(crate) fn end(self) -> u64 {
        self.shared.ends.store(true, Ordering::Relaxed);
        for payer in self.payers {
            payer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        self.shared.paid().iter().sum()
    }

    fn paid(&self) -> Vec<u64> {
        assert!(self.payers.iter().all(|payer| !payer.is_finished()), "a payer has given up");
        self.shared.paid()
    }
}

impl Shared {
    fn paid(&self) -> Vec<u64> {
        self.payees.iter().flatten().map(|payee| payee.paid.load(Ordering::Relaxed)).collect()
    }

    fn pay(&self, place: usize, payer: AccountId, bank: &Bank) {
        let one = Money::minor(1, Currency::CNY).unwrap();
        for payee in self.payees[place].iter().cycle() {
            if self.ends.load(Ordering::Relaxed) {
                return;
            }
            let _paying = self.till.read().unwrap();
            bank.done(&Request::transfer(payer, payee.account, one));
            payee.paid.fetch_add(1, Ordering::Relaxed);
        }
    }
}

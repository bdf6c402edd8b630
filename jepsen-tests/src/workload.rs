//! What callers ask for: a mix of calls, drawn from the seed.
//!
//! Wallets have their parts: `a…` move money among themselves, `hot` is what everybody pays, `h…` set money aside, and
//! `f…` are frozen now and then. So what a checker needs to know of an account is in its name.

use std::collections::{BTreeMap, VecDeque};
use std::str::FromStr;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::history::{Call, End};

/// Wallets that move money.
const BANK: u64 = 12;
/// Wallets that set money aside.
const HOLDING: u64 = 4;
/// Wallets that are frozen.
const FREEZING: u64 = 2;
/// What each begins with.
pub(crate) const OPENING: i64 = 10_000;
/// The most that a transfer moves: now and then more than there is.
const AMOUNT_MAX: i64 = 3_000;
/// Keys that are sent again and again.
const STORM_KEYS: usize = 24;
/// Of so many copies one is changed.
const CHANGED_ONE_IN: u32 = 10;
/// Holds that may still be posted or voided.
const HOLDS_OPEN: usize = 64;

/// A mix of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Workload {
    /// W1: transfers among wallets of all shards, and whole pictures.
    Bank,
    /// W2: the same keys again and again, over all gateways, some of them changed.
    Storm,
    /// W4: holds that are posted, voided, and expire.
    Holds,
    /// W5: reads of single accounts.
    Reads,
    /// W6: statements.
    Statements,
    /// W8: everybody pays one account.
    Hot,
    /// W9: freezes, and leaders that are handed over.
    Admin,
}

/// All of them, with the names they have on the command line.
pub(crate) const WORKLOADS: &[(&str, Workload)] = &[
    ("w1", Workload::Bank),
    ("w2", Workload::Storm),
    ("w4", Workload::Holds),
    ("w5", Workload::Reads),
    ("w6", Workload::Statements),
    ("w8", Workload::Hot),
    ("w9", Workload::Admin),
];

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = WORKLOADS.iter().find(|(name, _)| *name == text);
        let known = || WORKLOADS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        found.map(|(_, workload)| *workload).ok_or_else(|| format!("there are {}", known()))
    }
}

/// One kind of call of a mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Transfer,
    Copy,
    Hot,
    Hold,
    Post,
    Void,
    Freeze,
    Unfreeze,
    Read,
    ReadHot,
    ReadStale,
    ReadHold,
    Statement,
}

impl Workload {
    const fn mix(self) -> &'static [(Kind, u32)] {
        match self {
            Self::Bank => &[(Kind::Transfer, 10)],
            Self::Storm => &[(Kind::Copy, 12)],
            Self::Holds => {
                &[(Kind::Hold, 10), (Kind::Post, 10), (Kind::Void, 9), (Kind::ReadHold, 5)]
            }
            Self::Reads => &[(Kind::Read, 12), (Kind::ReadStale, 8), (Kind::Transfer, 6)],
            Self::Statements => &[(Kind::Statement, 4), (Kind::Transfer, 6)],
            Self::Hot => &[(Kind::Hot, 10), (Kind::ReadHot, 4)],
            Self::Admin => &[(Kind::Freeze, 5), (Kind::Unfreeze, 5), (Kind::Transfer, 6)],
        }
    }
}

/// A hold that was placed.
#[derive(Clone, Debug)]
struct Placed {
    id: String,
    left: i64,
}

/// Draws calls.
pub(crate) struct Generator {
    rng: StdRng,
    mix: Vec<(Kind, u32)>,
    storm: VecDeque<Call>,
    placed: VecDeque<Placed>,
    drawn: u64,
}

impl Generator {
    /// What these workloads ask for, from a seed.
    pub(crate) fn new(workloads: &[Workload], seed: u64) -> Self {
        let mix = workloads.iter().flat_map(|workload| workload.mix().iter().copied()).collect();
        let rng = StdRng::seed_from_u64(seed);
        Self { rng, mix, storm: VecDeque::new(), placed: VecDeque::new(), drawn: 0 }
    }

    /// The next call.
    pub(crate) fn next(&mut self) -> Call {
        let all = self.mix.iter().map(|(_, weight)| *weight).fold(0, u32::saturating_add);
        let mut at = self.rng.random_range(0..all.max(1));
        let mut kind = Kind::Transfer;
        for (known, weight) in &self.mix {
            kind = *known;
            if at < *weight {
                break;
            }
            at = at.saturating_sub(*weight);
        }
        match kind {
            Kind::Transfer => self.transfer(),
            Kind::Copy => self.copy(),
            Kind::Hot => self.hot(),
            Kind::Hold => self.hold(),
            Kind::Post => self.post(),
            Kind::Void => self.void(),
            Kind::Freeze => Call::Freeze { id: self.id("k"), account: self.one_of("f", FREEZING) },
            Kind::Unfreeze => {
                Call::Unfreeze { id: self.id("k"), account: self.one_of("f", FREEZING) }
            }
            Kind::Read => Call::Read { account: self.wallet() },
            Kind::ReadHot => Call::Read { account: "hot".to_owned() },
            Kind::ReadStale => Call::ReadStale { account: self.wallet() },
            Kind::ReadHold => match self.any_hold() {
                Some(Placed { id: hold, .. }) => Call::ReadHold { hold },
                None => self.hold(),
            },
            Kind::Statement => Call::Statement { account: self.wallet() },
        }
    }

    /// A pause between two calls of one caller, so that all callers together make so many a second.
    pub(crate) fn pause_ms(&mut self, callers: u64, rate: u64) -> u64 {
        let mean = callers.saturating_mul(1_000).checked_div(rate).unwrap_or(0);
        self.rng.random_range(0..=mean.saturating_mul(2))
    }

    /// A call has ended: later ones may build on it.
    pub(crate) fn learn(&mut self, call: &Call, end: &End) {
        if let (Call::Hold { id, amount, .. }, End::Ok(_)) = (call, end)
            && !self.placed.iter().any(|placed| &placed.id == id)
        {
            self.placed.push_back(Placed { id: id.clone(), left: *amount });
            if self.placed.len() > HOLDS_OPEN {
                self.placed.pop_front();
            }
        }
    }

    fn transfer(&mut self) -> Call {
        let from = self.wallet();
        let mut to = self.wallet();
        while to == from {
            to = self.wallet();
        }
        let amount = self.rng.random_range(1..=AMOUNT_MAX);
        Call::Transfer { id: self.id("t"), from, to, amount }
    }

    /// A key that has been sent before, now and then with something changed; or a new one.
    fn copy(&mut self) -> Call {
        let is_full = self.storm.len() >= STORM_KEYS;
        if !is_full || self.rng.random_ratio(1, 8) {
            let call = self.transfer();
            self.storm.push_back(call.clone());
            if is_full {
                self.storm.pop_front();
            }
            return call;
        }
        let last = self.storm.len().saturating_sub(1);
        let place = self.rng.random_range(0..=last);
        let Some(call) = self.storm.get(place).cloned() else { return self.transfer() };
        if !self.rng.random_ratio(1, CHANGED_ONE_IN) {
            return call;
        }
        match call {
            Call::Transfer { id, from, to, amount } if self.rng.random() => {
                Call::Transfer { id, from, to, amount: amount.saturating_add(1) }
            }
            Call::Transfer { id, from, amount, .. } => {
                Call::Transfer { id, from, to: "hot".to_owned(), amount }
            }
            Call::Hold { .. }
            | Call::Post { .. }
            | Call::Void { .. }
            | Call::Freeze { .. }
            | Call::Unfreeze { .. }
            | Call::Lookup { .. }
            | Call::Read { .. }
            | Call::ReadStale { .. }
            | Call::ReadHold { .. }
            | Call::Statement { .. }
            | Call::ReadAll => call,
        }
    }

    /// Mostly to one account; one time in five from it, four times as much: in hours it does not swallow everything.
    fn hot(&mut self) -> Call {
        let (wallet, hot) = (self.one_of("a", BANK), "hot".to_owned());
        let is_to = self.rng.random_ratio(4, 5);
        let (from, to) = if is_to { (wallet, hot) } else { (hot, wallet) };
        let most = if is_to { AMOUNT_MAX / 4 } else { AMOUNT_MAX };
        let amount = self.rng.random_range(1..=most);
        Call::Transfer { id: self.id("t"), from, to, amount }
    }

    /// Some of what the payers of holds have lost comes back to them: else they had nothing left after minutes.
    fn hold(&mut self) -> Call {
        let (from, to) = (self.one_of("h", HOLDING), self.one_of("a", BANK));
        let amount = self.rng.random_range(1..=AMOUNT_MAX / 8);
        if self.rng.random_ratio(1, 4) {
            return Call::Transfer { id: self.id("t"), from: to, to: from, amount };
        }
        let ttl_ms = self.rng.random_range(500..20_000);
        Call::Hold { id: self.id("h"), from, to, amount, ttl_ms }
    }

    /// Part of a hold, all of it, or now and then more than there is.
    fn post(&mut self) -> Call {
        let last = self.placed.len().saturating_sub(1);
        let place = self.rng.random_range(0..=last);
        let Some(Placed { id: hold, left }) = self.placed.get(place).cloned() else {
            return self.hold();
        };
        let most = left.saturating_add(left / 10).max(1);
        let amount = self.rng.random_range(1..=most);
        let release = self.rng.random_ratio(1, 3);
        if release || amount >= left {
            self.placed.remove(place);
        } else if let Some(placed) = self.placed.get_mut(place) {
            placed.left = left.saturating_sub(amount);
        }
        Call::Post { id: self.id("p"), hold, amount, release }
    }

    fn void(&mut self) -> Call {
        match self.any_hold() {
            Some(Placed { id: hold, .. }) => Call::Void { id: self.id("v"), hold },
            None => self.hold(),
        }
    }

    fn any_hold(&mut self) -> Option<Placed> {
        let last = self.placed.len().saturating_sub(1);
        let place = self.rng.random_range(0..=last);
        self.placed.get(place).cloned()
    }

    /// A wallet that moves money; now and then one that may be frozen.
    fn wallet(&mut self) -> String {
        if self.rng.random_ratio(1, 12) && self.mix.iter().any(|(kind, _)| *kind == Kind::Freeze) {
            return self.one_of("f", FREEZING);
        }
        self.one_of("a", BANK)
    }

    fn one_of(&mut self, part: &str, many: u64) -> String {
        format!("{part}{}", self.rng.random_range(0..many))
    }

    fn id(&mut self, kind: &str) -> String {
        self.drawn = self.drawn.saturating_add(1);
        format!("{kind}{}", self.drawn)
    }
}

/// Every wallet, with what it begins with.
pub(crate) fn wallets() -> BTreeMap<String, i64> {
    let parts = [("a", BANK), ("h", HOLDING), ("f", FREEZING)];
    let many =
        parts.into_iter().flat_map(|(part, many)| (0..many).map(move |n| format!("{part}{n}")));
    many.chain(["hot".to_owned()]).map(|name| (name, OPENING)).collect()
}

/// The kinds of calls that these workloads make, by the names that histories have for them.
pub(crate) fn kinds(workloads: &[Workload]) -> Vec<&'static str> {
    let mut kinds: Vec<&str> = workloads
        .iter()
        .flat_map(|workload| workload.mix())
        .map(|(kind, _)| match kind {
            Kind::Transfer | Kind::Copy | Kind::Hot => "transfer",
            Kind::Hold => "hold",
            Kind::Post => "post",
            Kind::Void => "void",
            Kind::Freeze => "freeze",
            Kind::Unfreeze => "unfreeze",
            Kind::Read | Kind::ReadHot => "read",
            Kind::ReadStale => "read-stale",
            Kind::ReadHold => "read-hold",
            Kind::Statement => "statement",
        })
        .collect();
    if workloads.contains(&Workload::Bank) {
        kinds.push("read-all");
    }
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Done};

    #[test]
    fn the_same_seed_asks_the_same() {
        let all: Vec<Workload> = WORKLOADS.iter().map(|(_, workload)| *workload).collect();
        let drawn = |seed| {
            let mut generator = Generator::new(&all, seed);
            let mut calls = Vec::new();
            for _ in 0..2_000 {
                let call = generator.next();
                let done = Done { transfer: "tr_0-0-0".into(), replayed: false };
                generator.learn(&call, &End::Ok(Answer::Hold(done)));
                calls.push(call);
            }
            calls
        };
        let calls = drawn(1);
        assert_eq!(calls, drawn(1));
        assert_ne!(calls, drawn(2));
        for kind in kinds(&all).into_iter().filter(|kind| *kind != "read-all") {
            assert!(calls.iter().any(|call| call.f() == kind), "{kind}");
        }
    }

    #[test]
    fn some_copies_are_changed_and_only_in_amount_or_payee() {
        let mut generator = Generator::new(&[Workload::Storm], 3);
        let mut first: BTreeMap<String, Call> = BTreeMap::new();
        let (mut copies, mut changed) = (0, 0);
        for _ in 0..2_000 {
            let call = generator.next();
            let Some(before) = first.get(call.id().unwrap()) else {
                first.insert(call.id().unwrap().to_owned(), call);
                continue;
            };
            copies += 1;
            changed += u32::from(*before != call);
            let payer = |call: &Call| {
                let Call::Transfer { from, .. } = call else { panic!("{call:?}") };
                from.clone()
            };
            assert_eq!(payer(before), payer(&call));
        }
        assert!((1_500..1_900).contains(&copies) && (100..250).contains(&changed), "{changed}");
    }
}

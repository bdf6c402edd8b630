//! What happens to a ledger, as proptest draws and shrinks it: small numbers, which a run makes requests of.
//!
//! Few accounts, few holds, few keys: so that requests meet each other.

use ledger::{
    AccountId, AccountKind, Amount, Authority, Command, Currency, FreezeScope, HoldId, Key, Leg,
    RETENTION_MS, Request, Slot, TenantId, Time, TransferId,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A batch, stamped so many milliseconds after (or before) the last stamp.
    Batch(i64, Vec<Draft>),
    /// Takes an image, if none is being written.
    Freeze,
    /// Finishes the image that is being written.
    Seal,
    /// The image that is being written comes to nothing.
    Abandon,
    /// Takes an image and finishes it.
    Checkpoint,
    /// Begins anew from the last checkpoint, or the one before, and the log.
    Restart(bool),
    /// Drops some of what is forgotten from the volumes.
    Drop(u64),
}

/// A request in small numbers.
#[derive(Clone, Debug)]
pub(crate) enum Draft {
    /// A new request under a key.
    New { key: DraftKey, what: What, strange_tenant: bool },
    /// An earlier request once more, whole or with another amount or payee.
    Again { which: usize, changed: bool },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum DraftKey {
    Free(u8),
    /// A UUIDv7, made so many milliseconds after log time.
    Uuid(i64, u8),
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Open(u8, Option<u64>),
    /// An account whose id is one of the shard's own, or another shard's.
    OpenStrange(u8),
    Freeze(u8, FreezeScope, Authority),
    Unfreeze(u8, Authority),
    Close(u8),
    Transfer(u8, u8, u64),
    TransferAll(u8, u8),
    Multi(u8, Vec<(u8, u8, u64)>),
    Hold {
        debit: u8,
        credit: u8,
        hold: u8,
        amount: u64,
        timeout_ms: u64,
    },
    Post(u8, Option<u64>, bool),
    Void(u8),
    /// The credit of the transfer, or another account; and which of all transfers so far.
    Reverse {
        credit: Option<u8>,
        which: usize,
        strange: bool,
    },
    Forget(i64),
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    // A world in which something can happen, less what shrinking takes away.
    let all: Vec<u8> = (0..ACCOUNTS).collect();
    let opened = subsequence(all, usize::from(ACCOUNTS - 2)..=usize::from(ACCOUNTS))
        .prop_map(|numbers| Step::Batch(0, numbers.into_iter().map(opened).collect()));
    (opened, vec(step(), 1..24)).prop_map(|(opened, mut steps)| {
        steps.insert(0, opened);
        steps
    })
}

fn opened(number: u8) -> Draft {
    let what = What::Open(number, Some(60));
    Draft::New { key: DraftKey::Free(number), what, strange_tenant: false }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (advance(), vec(draft(), 0..8)).prop_map(|(ms, drafts)| Step::Batch(ms, drafts)),
        1 => Just(Step::Freeze),
        1 => Just(Step::Seal),
        1 => Just(Step::Abandon),
        2 => Just(Step::Checkpoint),
        1 => any::<bool>().prop_map(Step::Restart),
        1 => any::<u64>().prop_map(Step::Drop),
    ]
}

fn advance() -> impl Strategy<Value = i64> {
    prop_oneof![
        12 => 0_i64..1_000,
        4 => -3_000_i64..0,
        1 => 0..2 * DAY_MS,
        2 => 399 * DAY_MS..402 * DAY_MS,
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    prop_oneof![
        8 => (key(), what(), prop::bool::weighted(0.05))
            .prop_map(|(key, what, strange_tenant)| Draft::New { key, what, strange_tenant }),
        2 => (any::<usize>(), prop::bool::weighted(0.3))
            .prop_map(|(which, changed)| Draft::Again { which, changed }),
    ]
}

fn key() -> impl Strategy<Value = DraftKey> {
    prop_oneof![
        2 => any::<u8>().prop_map(DraftKey::Free),
        2 => (-1_200_000_i64..=600_000, any::<u8>()).prop_map(|(ms, n)| DraftKey::Uuid(ms, n)),
        1 => (-500 * DAY_MS..0, 0_u8..4).prop_map(|(ms, n)| DraftKey::Uuid(ms, n)),
    ]
}

fn what() -> impl Strategy<Value = What> {
    // Mostly those that can pay each other.
    let account = || prop_oneof![4 => 0..4_u8, 1 => 0..ACCOUNTS];
    let hold = || 0_u8..6;
    let amount = || 1_u64..40;
    prop_oneof![
        1 => (account(), prop::option::of(amount())).prop_map(|(a, with)| What::Open(a, with)),
        1 => any::<u8>().prop_map(What::OpenStrange),
        2 => (account(), scope(), authority()).prop_map(|(a, s, by)| What::Freeze(a, s, by)),
        3 => (account(), authority()).prop_map(|(a, by)| What::Unfreeze(a, by)),
        1 => account().prop_map(What::Close),
        6 => (account(), account(), amount()).prop_map(|(d, c, m)| What::Transfer(d, c, m)),
        1 => (account(), account()).prop_map(|(d, c)| What::TransferAll(d, c)),
        4 => (account(), vec((account(), account(), amount()), 0..4)).prop_map(multi),
        5 => (account(), account(), hold(), amount(), timeout()).prop_map(
            |(debit, credit, hold, amount, timeout_ms)| What::Hold { debit, credit, hold, amount, timeout_ms }
        ),
        4 => (hold(), prop::option::of(amount()), any::<bool>()).prop_map(|(h, m, rest)| What::Post(h, m, rest)),
        1 => hold().prop_map(What::Void),
        5 => (prop::option::weighted(0.2, account()), any::<usize>(), prop::bool::weighted(0.1))
            .prop_map(|(credit, which, strange)| What::Reverse { credit, which, strange }),
        3 => (-3 * DAY_MS..DAY_MS / 2).prop_map(What::Forget),
    ]
}

/// Mostly with a leg by which the initiator pays.
fn multi((initiator, mut legs): (u8, Vec<(u8, u8, u64)>)) -> What {
    if let Some((debit, _, _)) = legs.first_mut().filter(|(_, _, amount)| *amount > 2) {
        *debit = initiator;
    }
    What::Multi(initiator, legs)
}

fn timeout() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 1_u64..3_000,
        1 => Just(0),
        1 => RETENTION_MS - 1..RETENTION_MS + 2,
    ]
}

fn scope() -> impl Strategy<Value = FreezeScope> {
    prop_oneof![Just(FreezeScope::Debit), Just(FreezeScope::All)]
}

fn authority() -> impl Strategy<Value = Authority> {
    prop_oneof![Just(Authority::User), Just(Authority::Risk), Just(Authority::Judicial)]
}

/// Accounts 0 … 4 are the operator's and share a slot, 5 lives elsewhere on the shard, 6 and 7 are another tenant's;
/// 4 is in yen.
pub(crate) const ACCOUNTS: u8 = 8;

fn tenant_of(account: u8) -> u32 {
    u32::from(account >= 6)
}

pub(crate) fn account(number: u8) -> AccountId {
    let slot = Slot::new(if number == 5 { 7 } else { 0 }).unwrap();
    AccountId::in_slot(0x0192_0000_0000_7000_8000_0000_0000_0000 | u128::from(number) << 12, slot)
}

fn currency(account: u8) -> Currency {
    if account == 4 { Currency::from_code("JPY").unwrap() } else { Currency::CNY }
}

/// Hold 5 is in the slot of account 5.
pub(crate) fn hold(number: u8) -> HoldId {
    let slot = Slot::new(if number == 5 { 7 } else { 0 }).unwrap();
    HoldId::in_slot(u128::from(number) << 12 | 1 << 80, slot)
}

/// What a draft is made a request with.
pub(crate) struct Context<'a> {
    pub(crate) now: Time,
    pub(crate) asked: &'a [Request],
    pub(crate) transfers: &'a [(TransferId, AccountId)],
    pub(crate) available: &'a dyn Fn(&AccountId) -> u64,
    pub(crate) owner: &'a dyn Fn(&Command) -> Option<TenantId>,
}

impl Context<'_> {
    pub(crate) fn request(&self, draft: &Draft) -> Option<Request> {
        match draft {
            Draft::New { key, what, strange_tenant } => {
                let command = self.command(what)?;
                let owner = match what {
                    What::Open(number, _) => tenant_of(*number),
                    What::OpenStrange(number) => u32::from(number % 2),
                    What::Freeze(..)
                    | What::Unfreeze(..)
                    | What::Close(_)
                    | What::Transfer(..)
                    | What::TransferAll(..)
                    | What::Multi(..)
                    | What::Hold { .. }
                    | What::Post(..)
                    | What::Void(_)
                    | What::Reverse { .. }
                    | What::Forget(_) => (self.owner)(&command).map_or(0, |tenant| tenant.0),
                };
                let tenant = TenantId(owner ^ u32::from(*strange_tenant));
                Some(Request { key: self.key(*key), tenant, command })
            }
            Draft::Again { which, changed } => {
                let mut again = self.asked.get(which % self.asked.len().max(1))?.clone();
                if *changed {
                    change(&mut again.command);
                }
                Some(again)
            }
        }
    }

    fn key(&self, key: DraftKey) -> Key {
        match key {
            DraftKey::Free(number) => Key::from_digest([number; 16]),
            DraftKey::Uuid(ms, number) => {
                let made = u128::from(self.now.0.saturating_add_signed(ms));
                let bits = made << 80 | 7 << 76 | 0b10 << 62 | u128::from(number);
                Key::from_uuid_v7(bits).unwrap()
            }
        }
    }

    fn command(&self, what: &What) -> Option<Command> {
        Some(match *what {
            What::Open(number, opening) => Command::Open {
                account: account(number),
                currency: currency(number),
                kind: AccountKind::Wallet,
                opening: opening.map(minor),
            },
            What::OpenStrange(number) => Command::Open {
                account: strange(number),
                currency: Currency::CNY,
                kind: if number % 5 == 0 { AccountKind::Opening } else { AccountKind::Wallet },
                opening: Some(minor(u64::from(number) + 1)),
            },
            What::Freeze(number, scope, authority) => {
                Command::Freeze { account: account(number), scope, authority }
            }
            What::Unfreeze(number, authority) => {
                Command::Unfreeze { account: account(number), authority }
            }
            What::Close(number) => Command::Close { account: account(number) },
            What::Transfer(debit, credit, amount) => transfer(debit, credit, amount),
            What::TransferAll(debit, credit) => {
                transfer(debit, credit, (self.available)(&account(debit)).max(1))
            }
            What::Multi(initiator, ref legs) => Command::MultiTransfer {
                initiator: account(initiator),
                currency: currency(initiator),
                legs: legs
                    .iter()
                    .map(|(debit, credit, amount)| Leg {
                        debit: account(*debit),
                        credit: account(*credit),
                        amount: minor(*amount),
                    })
                    .collect(),
            },
            What::Hold { debit, credit, hold: number, amount, timeout_ms } => Command::Hold {
                debit: account(debit),
                hold: hold(number),
                credit: account(credit),
                amount: minor(amount),
                currency: currency(debit),
                timeout_ms,
            },
            What::Post(number, amount, release_rest) => {
                Command::Post { hold: hold(number), amount: amount.map(minor), release_rest }
            }
            What::Void(number) => Command::Void { hold: hold(number) },
            What::Reverse { credit, which, strange } => {
                let (mut transfer, credited) =
                    *self.transfers.get(which % self.transfers.len().max(1))?;
                if strange {
                    transfer.shard ^= u16::from(which % 3 == 0);
                    transfer.position ^= u16::from(which % 3 == 1);
                    transfer.index += u64::from(which % 3 == 2);
                }
                Command::Reverse { credit: credit.map_or(credited, account), transfer }
            }
            What::Forget(ms) => Command::ForgetKeys {
                books: account(0),
                before: Time(self.now.minus_ms(RETENTION_MS).0.saturating_add_signed(ms)),
            },
        })
    }
}

fn transfer(debit: u8, credit: u8, amount: u64) -> Command {
    Command::Transfer {
        debit: account(debit),
        credit: account(credit),
        amount: minor(amount),
        currency: currency(debit),
    }
}

fn strange(number: u8) -> AccountId {
    let first = Slot::new(0).unwrap();
    match number % 3 {
        0 => AccountKind::Opening.system_id(Currency::CNY, first),
        1 => AccountKind::Wallet.system_id(Currency::CNY, first),
        _ => AccountId::in_slot(u128::from(number) << 12, Slot::new(4_000).unwrap()),
    }
}

/// Another business field under the same key.
fn change(command: &mut Command) {
    match command {
        Command::Open { opening, .. } => *opening = Some(minor(41)),
        Command::Freeze { scope, .. } => {
            *scope = if *scope == FreezeScope::All { FreezeScope::Debit } else { FreezeScope::All };
        }
        Command::Unfreeze { authority, .. } => {
            *authority =
                if *authority == Authority::User { Authority::Risk } else { Authority::User };
        }
        Command::Transfer { amount, .. } | Command::Hold { amount, .. } => *amount = minor(41),
        Command::MultiTransfer { legs, .. } => legs.extend_from_within(..legs.len().min(1)),
        Command::Post { release_rest, .. } => *release_rest = !*release_rest,
        Command::Reverse { transfer, .. } => transfer.position ^= 1,
        Command::ForgetKeys { before, .. } => *before = before.minus_ms(1),
        // Nothing but the subject, which is part of the key's scope.
        Command::Close { .. }
        | Command::Void { .. }
        | Command::Deliver { .. }
        | Command::Cut { .. }
        | Command::Direct { .. }
        | Command::Report { .. }
        | Command::WholeCut { .. }
        | Command::StateCut { .. } => {}
    }
}

fn minor(amount: u64) -> Amount {
    Amount::from_minor(amount).unwrap()
}

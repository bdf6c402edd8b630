//! Long random walks through every operation, each step foretold by a naive model of the queue.
#![cfg(not(loom))]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "small numbers, and an index out of bounds is a failed test"
)]

use std::collections::VecDeque;

use group_commit::{Batch, Driver, Flight, GroupCommit, Limits, Refused, Ticket, Weight};

const WALKS: u64 = 400;
const STEPS_PER_WALK: usize = 500;

const LIMITS: Limits = Limits {
    waiting_max: Weight { items: 12, bytes: 60 },
    batch_max: Weight { items: 5, bytes: 20 },
    batches_in_flight_max: 3,
};

/// Splitmix64: the same seed takes the same walk.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % end).expect("the dice are small")
    }
}

fn sum(weights: impl Iterator<Item = Weight>) -> Weight {
    weights.fold(Weight::default(), |sum, weight| Weight {
        items: sum.items + weight.items,
        bytes: sum.bytes + weight.bytes,
    })
}

fn fits(weight: Weight, max: Weight) -> bool {
    weight.items <= max.items && weight.bytes <= max.bytes
}

/// The queue, and beside it all that it should hold and should have handed out.
struct Walk {
    group: GroupCommit<u64>,
    waiting: VecDeque<(u64, Weight)>,
    driver: Option<Driver<u64>>,
    /// A driver that has ended its turn, and is asked again now and then.
    spent: Option<Driver<u64>>,
    flights: Vec<Flight<u64>>,
    tickets: Vec<Ticket>,
    is_closed: bool,
}

impl Walk {
    fn new() -> Self {
        Self {
            group: GroupCommit::new(LIMITS),
            waiting: VecDeque::new(),
            driver: None,
            spent: None,
            flights: Vec::new(),
            tickets: Vec::new(),
            is_closed: false,
        }
    }

    /// Whether a turn should begin now.
    fn should_drive(&self) -> bool {
        let has_place = self.flights.len() < LIMITS.batches_in_flight_max;
        self.driver.is_none() && has_place && !self.waiting.is_empty()
    }

    fn take_driver(&mut self, driver: Option<Driver<u64>>) {
        assert_eq!(driver.is_some(), self.should_drive(), "G3, G5");
        self.driver = driver.or(self.driver.take());
    }

    /// An item is named by the number of those that joined before it.
    fn join(&mut self, dice: &mut Dice) {
        let item = u64::try_from(self.tickets.len()).expect("walks are short");
        let weight = Weight { items: dice.below(7), bytes: dice.below(24) };
        let counted = Weight { items: weight.items.max(1), ..weight };
        let weights = self.waiting.iter().map(|(_, weight)| *weight).chain([counted]);
        let expected = if !fits(counted, LIMITS.batch_max) {
            Some(Refused::TooLarge(item))
        } else if self.is_closed {
            Some(Refused::Closed(item))
        } else if !fits(sum(weights), LIMITS.waiting_max) {
            Some(Refused::Full(item))
        } else {
            None
        };
        match self.group.join(item, weight) {
            Err(refused) => assert_eq!(Some(refused), expected),
            Ok(joined) => {
                assert_eq!(expected, None);
                assert!(self.tickets.last() < Some(&joined.ticket), "tickets are ordered");
                self.tickets.push(joined.ticket);
                self.waiting.push_back((item, counted));
                self.take_driver(joined.driver);
            }
        }
    }

    fn seal(&mut self) {
        let Some(driver) = &mut self.driver else {
            return;
        };
        let mut expected = Vec::new();
        let mut weight = Weight::default();
        let has_place = self.flights.len() < LIMITS.batches_in_flight_max;
        for (item, next) in self.waiting.iter().filter(|_| has_place) {
            weight = sum([weight, *next].into_iter());
            if !fits(weight, LIMITS.batch_max) {
                break;
            }
            expected.push(*item);
        }
        if let Some(Batch { items, flight }) = driver.seal() {
            assert_eq!(items, expected, "G1, G2, G4");
            self.waiting.drain(..items.len());
            self.flights.push(flight);
        } else {
            assert!(expected.is_empty(), "the turn ended too soon");
            self.spent = self.driver.take();
        }
    }

    fn cancel(&mut self, dice: &mut Dice) {
        // One of the last few to join: long ago is surely gone.
        let ago = dice.below(16);
        let Some(number) = self.tickets.len().checked_sub(ago + 1) else {
            return;
        };
        let item = u64::try_from(number).expect("walks are short");
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == item);
        let expected = at.and_then(|at| self.waiting.remove(at)).map(|(item, _)| item);
        assert_eq!(self.group.cancel(self.tickets[number]), expected, "G1");
    }

    fn close(&mut self) {
        let expected: Vec<u64> = self.waiting.drain(..).map(|(item, _)| item).collect();
        assert_eq!(self.group.close(), expected, "G1");
        self.is_closed = true;
    }

    fn end_flight(&mut self, dice: &mut Dice, lands: bool) {
        let Some(flights) = u64::try_from(self.flights.len()).ok().filter(|len| *len > 0) else {
            return;
        };
        let flight = self.flights.swap_remove(dice.below(flights));
        if lands {
            let driver = flight.land();
            self.take_driver(driver);
        }
    }

    fn step(&mut self, dice: &mut Dice) {
        match dice.below(1_000) {
            0..400 => self.join(dice),
            400..650 => self.seal(),
            650..800 => self.end_flight(dice, true),
            800..830 => self.end_flight(dice, false),
            830..860 => self.driver = None,
            860..950 => self.cancel(dice),
            950..970 => {
                let driver = self.group.drive();
                self.take_driver(driver);
            }
            970..998 => {
                let sealed = self.spent.as_mut().and_then(Driver::seal);
                assert!(sealed.is_none(), "G3: a turn that ended stays ended");
            }
            _ => self.close(),
        }
        assert_eq!(self.group.waiting(), sum(self.waiting.iter().map(|(_, weight)| *weight)));
        assert_eq!(self.group.in_flight(), self.flights.len());
    }
}

#[test]
fn every_step_of_a_random_walk_is_foretold() {
    for seed in 0..WALKS {
        let mut dice = Dice(seed);
        let mut walk = Walk::new();
        for _ in 0..STEPS_PER_WALK {
            walk.step(&mut dice);
        }
    }
}

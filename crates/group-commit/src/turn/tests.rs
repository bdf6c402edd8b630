//! One behaviour a test, in one thread; then many threads at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use super::{Batch, Driver, Flight, GroupCommit, Joined};
use crate::queue::{Limits, Refused, Ticket, Weight};

const ONE: Weight = Weight { items: 1, bytes: 1 };

/// Room for eight in the queue and three in a batch; bytes are tight only for the heavy.
fn group(batches_in_flight_max: usize) -> GroupCommit<u32> {
    GroupCommit::new(Limits {
        waiting_max: Weight { items: 8, bytes: 100 },
        batch_max: Weight { items: 3, bytes: 50 },
        batches_in_flight_max,
    })
}

/// Joins as a caller who finds somebody driving, or no place in flight.
fn follow(group: &GroupCommit<u32>, item: u32) -> Ticket {
    let Joined { ticket, driver } = group.join(item, ONE).expect("the queue has room");
    assert!(driver.is_none(), "{item} should not drive");
    ticket
}

/// Joins as the caller who must drive.
fn lead(group: &GroupCommit<u32>, item: u32) -> Driver<u32> {
    let joined = group.join(item, ONE).expect("the queue has room");
    joined.driver.expect("nobody else drives")
}

/// Seals a batch that must hold exactly these.
fn seal(driver: &mut Driver<u32>, expected: &[u32]) -> Flight<u32> {
    let Batch { items, flight } = driver.seal().expect("something waits, and a place is free");
    assert_eq!(items, expected);
    flight
}

fn ends(mut driver: Driver<u32>) {
    assert!(driver.seal().is_none(), "the turn should end");
}

#[test]
fn the_first_caller_drives_and_a_batch_goes_at_once_however_small() {
    let group = group(2);
    let mut driver = lead(&group, 1);
    let flight = seal(&mut driver, &[1]);
    follow(&group, 2);
    let other = seal(&mut driver, &[2]);
    ends(driver);
    assert_eq!(group.in_flight(), 2);
    assert!(flight.land().is_none(), "nothing waits");
    assert!(other.land().is_none(), "nothing waits");
    assert_eq!((group.in_flight(), group.waiting()), (0, Weight::default()));
}

#[test]
fn items_gather_while_no_place_is_free_and_the_lander_drives() {
    let group = group(1);
    let mut driver = lead(&group, 1);
    let flight = seal(&mut driver, &[1]);
    follow(&group, 2);
    ends(driver);
    follow(&group, 3);
    assert_eq!(group.waiting(), Weight { items: 2, bytes: 2 });
    assert!(group.drive().is_none(), "no place is free");

    let mut driver = flight.land().expect("the lander drives");
    follow(&group, 4);
    let flight = seal(&mut driver, &[2, 3, 4]);
    ends(driver);
    assert!(flight.land().is_none(), "nothing waits");
}

#[test]
fn a_landing_during_a_turn_leaves_the_driving_to_the_driver() {
    let group = group(1);
    let mut driver = lead(&group, 1);
    let flight = seal(&mut driver, &[1]);
    follow(&group, 2);
    assert!(flight.land().is_none(), "somebody drives");
    let flight = seal(&mut driver, &[2]);
    ends(driver);
    drop(flight);
}

#[test]
fn a_batch_is_bounded_in_items_and_bytes_and_nothing_overtakes() {
    let group = group(3);
    let mut driver = lead(&group, 1);
    for item in 2..=4 {
        follow(&group, item);
    }
    let _ = group.join(5, Weight { items: 1, bytes: 50 }).expect("it fits a batch of its own");
    follow(&group, 6);
    let flights = [
        seal(&mut driver, &[1, 2, 3]), // Three are a full batch,
        seal(&mut driver, &[4]),       // the heavy one does not fit beside 4,
        seal(&mut driver, &[5]),       // and 6 neither went before it nor fits beside it.
    ];
    ends(driver);
    let mut drivers = flights.into_iter().filter_map(Flight::land);
    let mut driver = drivers.next().expect("6 waits");
    drop(seal(&mut driver, &[6]));
}

#[test]
fn a_frame_of_many_requests_weighs_as_many_and_an_empty_one_weighs_one() {
    let group = group(1);
    let mut driver = lead(&group, 1);
    let _ = group.join(2, Weight { items: 3, bytes: 3 }).expect("the queue has room");
    let _ = group.join(3, Weight { items: 0, bytes: 0 }).expect("the queue has room");
    assert_eq!(group.waiting(), Weight { items: 5, bytes: 4 });
    drop(seal(&mut driver, &[1]));
    drop(seal(&mut driver, &[2]));
    drop(seal(&mut driver, &[3]));
}

#[test]
fn a_full_queue_gives_the_item_back() {
    let group = group(1);
    let mut driver = lead(&group, 0);
    for item in 1..8 {
        follow(&group, item);
    }
    assert_eq!(group.join(8, ONE).expect_err("eight wait"), Refused::Full(8));
    let flight = seal(&mut driver, &[0, 1, 2]);
    let heavy = Weight { items: 1, bytes: 50 };
    let _ = group.join(9, heavy).expect("bytes are left");
    assert_eq!(group.join(10, heavy).expect_err("bytes ran out").into_item(), 10);
    follow(&group, 11);
    drop((driver, flight));
}

#[test]
fn what_no_batch_could_carry_is_refused_for_ever() {
    let group = group(1);
    for weight in [
        Weight { items: 4, bytes: 1 },
        Weight { items: 1, bytes: 51 },
        Weight { items: usize::MAX, bytes: usize::MAX },
    ] {
        assert_eq!(group.join(1, weight).expect_err("too large"), Refused::TooLarge(1));
    }
    drop(lead(&group, 2));
}

#[test]
fn sums_near_the_end_of_the_numbers_are_full_not_wrapped() {
    let all = Weight { items: usize::MAX, bytes: usize::MAX };
    let limits = Limits { waiting_max: all, batch_max: all, batches_in_flight_max: 1 };
    let group = GroupCommit::new(limits);
    let mut driver = group.join(1, all).expect("it just fits").driver.expect("nobody else drives");
    assert_eq!(group.join(2, ONE).expect_err("not one more"), Refused::Full(2));
    drop(seal(&mut driver, &[1]));
}

#[test]
fn cancel_withdraws_only_what_still_waits() {
    let group = group(1);
    let mut driver = lead(&group, 1);
    let flight = seal(&mut driver, &[1]);
    let [two, three, four] = [2, 3, 4].map(|item| follow(&group, item));
    assert!(two < three && three < four);
    assert_eq!(group.cancel(three), Some(3));
    assert_eq!(group.cancel(three), None, "only once");
    assert_eq!(group.waiting(), Weight { items: 2, bytes: 2 });

    assert!(flight.land().is_none(), "somebody drives");
    let flight = seal(&mut driver, &[2, 4]);
    assert_eq!(group.cancel(four), None, "it is on its way");
    follow(&group, 5);
    drop((driver, flight));
}

#[test]
fn cancel_makes_room_and_may_leave_the_driver_nothing() {
    let group = group(1);
    let Joined { ticket, driver } = group.join(1, ONE).expect("the queue has room");
    let rest: Vec<Ticket> = (2..=8).map(|item| follow(&group, item)).collect();
    assert_eq!(group.join(9, ONE).expect_err("eight wait"), Refused::Full(9));
    assert_eq!(group.cancel(ticket), Some(1));
    let nine = follow(&group, 9);
    let cancelled = rest.into_iter().chain([nine]).filter_map(|ticket| group.cancel(ticket));
    assert!(cancelled.eq(2..=9));
    ends(driver.expect("nobody else drives"));
    drop(lead(&group, 10));
}

#[test]
fn a_ticket_of_one_queue_withdraws_nothing_from_another() {
    let (old, new) = (group(1), group(1));
    let stale = old.join(1, ONE).expect("the queue has room").ticket;
    let mut driver = lead(&new, 2);
    assert_eq!(new.cancel(stale), None);
    drop(seal(&mut driver, &[2]));
    assert_eq!(old.cancel(stale), Some(1));
}

#[test]
fn close_hands_out_what_waits_and_lets_the_rest_land() {
    let group = group(2);
    let mut driver = lead(&group, 1);
    let flight = seal(&mut driver, &[1]);
    let two = follow(&group, 2);
    follow(&group, 3);
    assert_eq!(group.close(), [2, 3]);
    assert_eq!(group.close(), [], "only once");
    assert_eq!(group.cancel(two), None, "handed out by close");
    assert_eq!(group.join(4, ONE).expect_err("closed"), Refused::Closed(4));
    assert_eq!((group.waiting(), group.in_flight()), (Weight::default(), 1));
    ends(driver);
    assert!(flight.land().is_none(), "nothing waits");
    assert!(group.drive().is_none(), "nothing waits");
    assert_eq!(group.in_flight(), 0);
}

#[test]
fn after_a_dropped_driver_the_next_join_drives() {
    let group = group(1);
    drop(lead(&group, 1));
    assert_eq!(group.waiting(), ONE);
    let mut driver = lead(&group, 2);
    let flight = seal(&mut driver, &[1, 2]);
    drop(driver);
    follow(&group, 3);
    assert!(flight.land().is_some(), "3 waits");
}

#[test]
fn after_a_dropped_driver_the_next_landing_drives() {
    let group = group(2);
    let mut driver = lead(&group, 1);
    let flight = seal(&mut driver, &[1]);
    follow(&group, 2);
    drop(driver);
    let mut driver = flight.land().expect("2 waits");
    drop(seal(&mut driver, &[2]));
}

#[test]
fn after_a_dropped_driver_anybody_may_ask_to_drive_even_when_the_queue_is_full() {
    let group = group(1);
    let driver = lead(&group, 0);
    for item in 1..8 {
        follow(&group, item);
    }
    assert!(group.drive().is_none(), "somebody drives");
    drop(driver);
    assert_eq!(group.join(8, ONE).expect_err("eight wait"), Refused::Full(8));
    let mut driver = group.drive().expect("nobody drives");
    assert!(group.drive().is_none(), "somebody drives");
    drop(seal(&mut driver, &[0, 1, 2]));
}

#[test]
fn a_dropped_flight_frees_its_place_and_the_next_caller_drives() {
    let group = group(1);
    let mut driver = lead(&group, 1);
    let flight = seal(&mut driver, &[1]);
    follow(&group, 2);
    ends(driver);
    drop(flight);
    assert_eq!(group.in_flight(), 0);
    let mut driver = lead(&group, 3);
    let flight = seal(&mut driver, &[2, 3]);

    follow(&group, 4);
    ends(driver);
    drop(flight);
    let mut driver = group.drive().expect("nobody drives");
    let flight = seal(&mut driver, &[4]);

    follow(&group, 5);
    drop(flight);
    drop(seal(&mut driver, &[5]));
    ends(driver);
}

#[test]
fn a_driver_whose_turn_has_ended_is_nobody() {
    let group = group(1);
    let mut spent = lead(&group, 1);
    let flight = seal(&mut spent, &[1]);
    assert!(spent.seal().is_none(), "no place is free");
    assert!(flight.land().is_none(), "nothing waits");
    let mut driver = lead(&group, 2);
    assert!(spent.seal().is_none(), "it is another's turn");
    drop(spent);
    follow(&group, 3);
    drop(seal(&mut driver, &[2, 3]));
    ends(driver);
}

#[test]
fn a_panic_in_the_driver_loses_its_turn_and_nothing_else() {
    let group = group(2);
    let mut driver = lead(&group, 1);
    let died = catch_unwind(AssertUnwindSafe(move || {
        let _batch = driver.seal();
        panic!("on purpose");
    }));
    assert!(died.is_err());
    assert_eq!((group.waiting(), group.in_flight()), (Weight::default(), 0));
    drop(seal(&mut lead(&group, 2), &[2]));
}

#[test]
#[should_panic(expected = "no batch could ever go")]
fn a_queue_without_flights_is_refused() {
    drop(group(0));
}

#[test]
#[should_panic(expected = "no item could ever join")]
fn a_queue_without_items_is_refused() {
    let batch_max = Weight { items: 0, bytes: 1 };
    let limits = Limits { waiting_max: ONE, batch_max, batches_in_flight_max: 1 };
    drop(GroupCommit::<u32>::new(limits));
}

#[test]
#[should_panic(expected = "never the queue")]
fn a_batch_larger_than_the_queue_is_refused() {
    let batch_max = Weight { items: 1, bytes: 2 };
    let limits = Limits { waiting_max: ONE, batch_max, batches_in_flight_max: 1 };
    drop(GroupCommit::<u32>::new(limits));
}

const CALLERS: usize = 4;
const ITEMS_PER_CALLER: usize = 2_000;
const ITEMS_ALL: usize = CALLERS * ITEMS_PER_CALLER;
/// Far above what the test takes: past it, a wake-up was lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Many callers join at once, as a shard's do; one thread plays the log, and lands what it gets.
#[test]
fn many_callers_lose_nothing_double_nothing_and_keep_their_order() {
    let group = group(3);
    let (to_log, log) = channel();
    let callers: Vec<_> = (0..)
        .take(CALLERS)
        .map(|caller| {
            let (group, to_log) = (group.clone(), to_log.clone());
            thread::spawn(move || call(&group, &to_log, caller))
        })
        .collect();
    let logged = replicate(&to_log, &log);

    let mut joined: Vec<(Ticket, u32)> =
        callers.into_iter().flat_map(|caller| caller.join().expect("it ran to its end")).collect();
    joined.sort_unstable();
    assert!(logged.iter().eq(joined.iter().map(|(_, item)| item)), "G1, G2");
    assert_eq!((group.waiting(), group.in_flight()), (Weight::default(), 0));
}

/// Joins item after item, drives when it must, and comes back when the queue is full.
fn call(group: &GroupCommit<u32>, to_log: &Sender<Batch<u32>>, caller: u32) -> Vec<(Ticket, u32)> {
    let mut joined = Vec::new();
    for item in (caller..).step_by(CALLERS).take(ITEMS_PER_CALLER) {
        let ticket = loop {
            match group.join(item, ONE) {
                Ok(Joined { ticket, driver }) => {
                    drive(driver, to_log);
                    break ticket;
                }
                Err(Refused::Full(_)) => thread::yield_now(),
                Err(Refused::Closed(_) | Refused::TooLarge(_)) => panic!("neither can be"),
            }
        };
        joined.push((ticket, item));
    }
    joined
}

fn drive(driver: Option<Driver<u32>>, to_log: &Sender<Batch<u32>>) {
    if let Some(mut driver) = driver {
        while let Some(batch) = driver.seal() {
            to_log.send(batch).expect("the log outlives its callers");
        }
    }
}

fn replicate(to_log: &Sender<Batch<u32>>, log: &Receiver<Batch<u32>>) -> Vec<u32> {
    let mut logged = Vec::new();
    while logged.len() < ITEMS_ALL {
        let Batch { items, flight } = log.recv_timeout(PATIENCE).expect("G5: a wake-up was lost");
        assert!((1..=3).contains(&items.len()), "G4");
        logged.extend(items);
        drive(flight.land(), to_log);
    }
    logged
}

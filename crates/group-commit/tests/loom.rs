//! Every interleaving of two or three threads, by loom:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p group-commit --release
//! ```
//!
//! In each model a few items join while others are sealed, cancelled, landed or dropped. Whatever
//! happened in between, each end must answer the same questions: was every item handed out once
//! (G1), in the order of joining (G2, which two drivers at once would break, G3), within bounds (G4),
//! and is nothing left waiting though nobody lost a turn (G5)?
#![cfg(loom)]

use std::sync::Arc;

use group_commit::{Batch, Driver, Flight, GroupCommit, Joined, Limits, Refused, Ticket, Weight};
use loom::sync::Mutex;
use loom::thread::{JoinHandle, spawn};

const ONE: Weight = Weight { items: 1, bytes: 1 };

/// An item that joined, and its place in the order of joining.
type Place = (Ticket, char);

/// A queue, and the log to which its drivers write what they seal.
#[derive(Clone)]
struct Scene {
    group: GroupCommit<char>,
    log: Arc<Mutex<Vec<char>>>,
}

impl Scene {
    fn new(waiting_max: usize, batch_max: usize, batches_in_flight_max: usize) -> Self {
        let weigh = |items| Weight { items, bytes: items };
        let (waiting_max, batch_max) = (weigh(waiting_max), weigh(batch_max));
        let limits = Limits { waiting_max, batch_max, batches_in_flight_max };
        Self { group: GroupCommit::new(limits), log: Arc::default() }
    }

    fn spawn<R: 'static>(&self, act: impl FnOnce(&Self) -> R + 'static) -> JoinHandle<R> {
        let scene = self.clone();
        spawn(move || act(&scene))
    }

    /// Joins an item that finds room.
    fn join(&self, item: char) -> (Place, Option<Driver<char>>) {
        let Joined { ticket, driver } = self.group.join(item, ONE).expect("the queue has room");
        ((ticket, item), driver)
    }

    /// Joins as a caller does, who drives if nobody else drives.
    fn call(&self, item: char) -> Result<Place, Refused<char>> {
        let Joined { ticket, driver } = self.group.join(item, ONE)?;
        self.drive(driver);
        Ok((ticket, item))
    }

    /// Drives to the end of the turn, then lands all it sealed, and drives again if that falls to it.
    fn drive(&self, mut next: Option<Driver<char>>) {
        while let Some(mut driver) = next.take() {
            let flights: Vec<_> = std::iter::from_fn(|| self.seal(&mut driver)).collect();
            for flight in flights {
                let landed = flight.land();
                assert!(next.is_none() || landed.is_none(), "G3: two drivers");
                next = next.or(landed);
            }
        }
    }

    fn seal(&self, driver: &mut Driver<char>) -> Option<Flight<char>> {
        let Batch { items, flight } = driver.seal()?;
        self.log.lock().expect("no panic in a model").extend(items);
        Some(flight)
    }

    /// The end: all threads have finished. Of what joined, the log has all but what was withdrawn.
    fn settle(&self, joined: &[Place], withdrawn: &[char]) {
        assert!(self.group.drive().is_none(), "G5: something waits, and nobody drives");
        assert_eq!(self.group.waiting(), Weight::default(), "G5: something waits");
        assert_eq!(self.group.in_flight(), 0, "G4: a place was not freed");
        if let Ok(last) = self.group.join('z', ONE) {
            assert!(last.driver.is_some(), "G5: the turn never ended");
        }

        let mut joined = joined.to_vec();
        joined.sort_unstable();
        let expected = joined.iter().map(|(_, item)| item).filter(|item| !withdrawn.contains(item));
        let log = self.log.lock().expect("no panic in a model");
        assert!(log.iter().eq(expected), "G1, G2: {joined:?} joined, {log:?} went");
    }
}

fn end<R>(thread: JoinHandle<R>) -> R {
    thread.join().expect("no panic in a model")
}

#[test]
fn two_callers() {
    for (batch_max, batches_in_flight_max) in [(1, 1), (2, 1), (1, 2), (2, 2)] {
        loom::model(move || {
            let scene = Scene::new(4, batch_max, batches_in_flight_max);
            let other = scene.spawn(|scene| ['a', 'b'].map(|item| scene.call(item).expect("room")));
            let here = ['c', 'd'].map(|item| scene.call(item).expect("room"));
            scene.settle(&[here, end(other)].concat(), &[]);
        });
    }
}

#[test]
fn three_callers() {
    for (batch_max, batches_in_flight_max) in [(1, 1), (2, 2)] {
        loom::model(move || {
            let scene = Scene::new(4, batch_max, batches_in_flight_max);
            let others = ['a', 'b'].map(|item| scene.spawn(move |scene| scene.call(item)));
            let here = scene.call('c');
            let [a, b] = others.map(end);
            scene.settle(&[a, b, here].map(|place| place.expect("room")), &[]);
        });
    }
}

#[test]
fn two_callers_and_room_for_one() {
    loom::model(|| {
        let scene = Scene::new(1, 1, 1);
        let other = scene.spawn(|scene| scene.call('a'));
        let joined = [scene.call('b'), end(other)];
        let joined: Vec<Place> = joined.into_iter().flatten().collect();
        assert!(!joined.is_empty(), "the first found an empty queue");
        scene.settle(&joined, &[]);
    });
}

#[test]
fn cancel_against_seal() {
    for batch_max in [1, 2] {
        loom::model(move || {
            let scene = Scene::new(4, batch_max, 1);
            let (first, driver) = scene.join('a');
            let (second, none) = scene.join('b');
            assert!(none.is_none(), "G3: two drivers");
            let (third, _) = scene.join('c');
            let driving = scene.spawn(move |scene| scene.drive(driver));
            let mut withdrawn = Vec::new();
            for (ticket, item) in [second, first] {
                let cancelled = scene.group.cancel(ticket);
                assert!(cancelled.is_none_or(|cancelled| cancelled == item), "G1: a stranger's");
                withdrawn.extend(cancelled);
            }
            end(driving);
            scene.settle(&[first, second, third], &withdrawn);
        });
    }
}

#[test]
fn two_cancels_of_one_item_against_its_caller() {
    loom::model(|| {
        let scene = Scene::new(4, 2, 1);
        let (first, driver) = scene.join('a');
        let cancels = [(); 2].map(|()| scene.spawn(move |scene| scene.group.cancel(first.0)));
        scene.drive(driver);
        let withdrawn: Vec<char> = cancels.into_iter().filter_map(end).collect();
        assert!(withdrawn.len() < 2, "G1: handed out twice");
        scene.settle(&[first], &withdrawn);
    });
}

#[test]
fn close_against_join_and_seal() {
    loom::model(|| {
        let scene = Scene::new(4, 1, 1);
        let other = scene.spawn(|scene| ['a', 'b'].map(|item| scene.call(item)));
        let third = scene.spawn(|scene| scene.call('c'));
        let withdrawn = scene.group.close();
        let [a, b] = end(other);
        let joined: Vec<Place> = [a, b, end(third)].into_iter().flatten().collect();
        scene.settle(&joined, &withdrawn);
        assert_eq!(scene.group.join('d', ONE).expect_err("closed"), Refused::Closed('d'));
    });
}

#[test]
fn close_against_join_when_no_place_is_free() {
    loom::model(|| {
        let scene = Scene::new(4, 1, 1);
        let (first, driver) = scene.join('a');
        let mut driver = driver.expect("nobody else drives");
        let flight = scene.seal(&mut driver).expect("'a' waits");
        assert!(driver.seal().is_none(), "no place is free");
        let other = scene.spawn(|scene| scene.call('b'));
        let withdrawn = scene.group.close();
        assert!(flight.land().is_none(), "nothing is sealed after a close");
        let joined: Vec<Place> = [Ok(first), end(other)].into_iter().flatten().collect();
        scene.settle(&joined, &withdrawn);
    });
}

#[test]
fn close_against_cancel() {
    loom::model(|| {
        let scene = Scene::new(4, 2, 1);
        let (first, driver) = scene.join('a');
        let (second, _) = scene.join('b');
        let cancel = scene.spawn(move |scene| scene.group.cancel(second.0));
        let mut withdrawn = scene.group.close();
        withdrawn.extend(end(cancel));
        withdrawn.sort_unstable();
        assert_eq!(withdrawn, ['a', 'b'], "G1");
        scene.drive(driver);
        scene.settle(&[first, second], &withdrawn);
    });
}

#[test]
fn a_dropped_driver_against_join() {
    loom::model(|| {
        let scene = Scene::new(4, 2, 1);
        let (first, driver) = scene.join('a');
        let dying = scene.spawn(move |_| drop(driver));
        let second = scene.call('b').expect("room");
        end(dying);
        // The turn was lost after the join, or the join took it up. Nobody else was there to.
        scene.drive(scene.group.drive());
        scene.settle(&[first, second], &[]);
    });
}

#[test]
fn a_driver_dropped_half_way_against_join_and_land() {
    loom::model(|| {
        let scene = Scene::new(4, 1, 2);
        let (first, driver) = scene.join('a');
        let mut driver = driver.expect("nobody else drives");
        let flight = scene.seal(&mut driver).expect("'a' waits");
        let (second, _) = scene.join('b');
        let landing = scene.spawn(move |scene| scene.drive(flight.land()));
        let dying = scene.spawn(move |_| drop(driver));
        let third = scene.call('c').expect("room");
        end(landing);
        end(dying);
        scene.drive(scene.group.drive());
        scene.settle(&[first, second, third], &[]);
    });
}

#[test]
fn two_who_take_up_a_lost_turn() {
    loom::model(|| {
        let scene = Scene::new(4, 1, 1);
        let (first, driver) = scene.join('a');
        drop(driver);
        let other = scene.spawn(|scene| scene.drive(scene.group.drive()));
        let second = scene.call('b').expect("room");
        end(other);
        scene.settle(&[first, second], &[]);
    });
}

#[test]
fn land_against_join_when_no_place_is_free() {
    loom::model(|| {
        let scene = Scene::new(4, 2, 1);
        let (first, driver) = scene.join('a');
        let mut driver = driver.expect("nobody else drives");
        let flight = scene.seal(&mut driver).expect("'a' waits");
        assert!(driver.seal().is_none(), "no place is free");
        let landing = scene.spawn(move |scene| scene.drive(flight.land()));
        let other = scene.spawn(|scene| scene.call('b'));
        let third = scene.call('c').expect("room");
        end(landing);
        scene.settle(&[first, end(other).expect("room"), third], &[]);
    });
}

#[test]
fn join_against_the_end_of_a_turn() {
    loom::model(|| {
        let scene = Scene::new(4, 1, 1);
        let (first, driver) = scene.join('a');
        let mut driver = driver.expect("nobody else drives");
        let flight = scene.seal(&mut driver).expect("'a' waits");
        // With this landing over, no later one can make up for a wake-up lost at the turn's end.
        assert!(flight.land().is_none(), "somebody drives");
        let other = scene.spawn(|scene| scene.call('b'));
        scene.drive(Some(driver));
        scene.settle(&[first, end(other).expect("room")], &[]);
    });
}

#[test]
fn land_against_the_end_of_a_turn() {
    loom::model(|| {
        let scene = Scene::new(4, 1, 1);
        let (first, driver) = scene.join('a');
        let mut driver = driver.expect("nobody else drives");
        let (second, _) = scene.join('b');
        let flight = scene.seal(&mut driver).expect("'a' waits");
        let landing = scene.spawn(move |scene| scene.drive(flight.land()));
        scene.drive(Some(driver));
        end(landing);
        scene.settle(&[first, second], &[]);
    });
}

#[test]
fn two_landings_and_one_driver() {
    loom::model(|| {
        let scene = Scene::new(4, 1, 2);
        let (first, driver) = scene.join('a');
        let mut driver = driver.expect("nobody else drives");
        let (second, _) = scene.join('b');
        let flights = [(); 2].map(|()| scene.seal(&mut driver).expect("something waits"));
        assert!(driver.seal().is_none(), "nothing waits");
        let (third, none) = scene.join('c');
        assert!(none.is_none(), "no place is free");
        let landings = flights.map(|flight| scene.spawn(move |scene| scene.drive(flight.land())));
        landings.into_iter().for_each(end);
        scene.settle(&[first, second, third], &[]);
    });
}

#[test]
fn a_dropped_flight_against_join() {
    loom::model(|| {
        let scene = Scene::new(4, 2, 1);
        let (first, driver) = scene.join('a');
        let mut driver = driver.expect("nobody else drives");
        let flight = scene.seal(&mut driver).expect("'a' waits");
        let dying = scene.spawn(move |_| drop(flight));
        scene.drive(Some(driver));
        let second = scene.call('b').expect("room");
        end(dying);
        // The place was freed before the join, which then drove, or after it, and nobody saw.
        scene.drive(scene.group.drive());
        scene.settle(&[first, second], &[]);
    });
}

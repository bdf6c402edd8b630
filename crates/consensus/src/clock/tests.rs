#![allow(clippy::arithmetic_side_effects, reason = "tests with small numbers")]

use super::*;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const NOON: u64 = 1_800_000_000_000;

/// A node whose machine has been up for `uptime_ms` and whose wall clock is right but for `wrong_ms`.
fn reading(uptime_ms: u64, wrong_ms: i64) -> Reading {
    Reading { wall_ms: (NOON + uptime_ms).saturating_add_signed(wrong_ms), uptime_ms }
}

/// Three nodes: this one wrong by `own`, the others by `others`, all just heard.
fn three(own: i64, others: [i64; 2]) -> (Clock, Reading) {
    let now = reading(10_000, own);
    let mut clock = Clock::new(3);
    for (peer, wrong) in (2..).zip(others) {
        clock.heard(peer, reading(10_000, wrong).wall_ms, 0, now);
    }
    (clock, now)
}

#[test]
fn the_median_outvotes_one_wrong_clock_wherever_it_is() {
    for (own, others) in [(DAY_MS as i64, [0, 3]), (0, [-(DAY_MS as i64), 3]), (3, [0, 5_000])] {
        let (mut clock, now) = three(own, others);
        let off = clock.now(now).0.abs_diff(NOON + 10_000);
        assert!(off <= 3, "off by {off}");
        assert_eq!(clock.may_lead(now), own.unsigned_abs() <= 1_000);
    }
    let (clock, now) = three(1_500, [0, 0]);
    assert_eq!(clock.alarm(now), Some(ClockAlarm::Off { by_ms: 1_500 }));
}

#[test]
fn the_travel_time_of_an_answer_is_split_in_half() {
    let now = reading(10_000, 0);
    let mut clock = Clock::new(3);
    clock.heard(2, now.wall_ms - 200, 400, now);
    clock.heard(3, now.wall_ms - 200, 400, now);
    assert_eq!(clock.now(now).0, now.wall_ms);
    // An answer that took too long is no answer.
    clock.heard(2, now.wall_ms + 50_000, 1_001, now);
    assert_eq!(clock.now(now).0, now.wall_ms);
}

#[test]
fn it_runs_at_most_twice_as_fast_and_never_back() {
    let (mut clock, now) = three(0, [0, 0]);
    let first = clock.now(now).0;
    // Two clocks move ahead by 30 s; within 100 ms of real time the cluster clock moves by 200.
    let later = reading(10_100, 0);
    for peer in [2, 3] {
        clock.heard(peer, reading(10_100, 30_000).wall_ms, 0, later);
    }
    assert_eq!(clock.now(later).0, first + 200);
    // They go back to 30 s behind: it stands still.
    let later = reading(10_200, 0);
    for peer in [2, 3] {
        clock.heard(peer, reading(10_200, -30_000).wall_ms, 0, later);
    }
    assert_eq!(clock.now(later).0, first + 200);
    assert_eq!(clock.now(reading(10_300, 0)).0, first + 200);
}

#[test]
fn of_two_clocks_apart_neither_is_believed() {
    let mut clock = Clock::new(3);
    let now = reading(10_000, 0);
    clock.heard(2, now.wall_ms + 800, 0, now);
    assert_eq!(clock.now(now).0, now.wall_ms + 400, "800 ms apart: the middle");
    let later = reading(11_000, 0);
    clock.heard(2, later.wall_ms + 5_000, 0, later);
    assert_eq!(clock.now(later).0, later.wall_ms + 400, "carried on by the monotonic clock");
    assert_eq!(clock.alarm(later), Some(ClockAlarm::Disagree { by_ms: 5_000 }));
    assert!(clock.may_lead(later), "nobody can say whose clock is wrong");
}

#[test]
fn a_jump_waits_for_the_operator() {
    let (mut clock, now) = three(0, [0, 0]);
    let first = clock.now(now).0;
    let jumped = |uptime| reading(uptime, 90_000);
    for peer in [2, 3] {
        clock.heard(peer, jumped(11_000).wall_ms, 0, jumped(11_000));
    }
    assert_eq!(clock.now(jumped(11_000)).0, first + 1_000);
    assert_eq!(clock.alarm(jumped(11_000)), Some(ClockAlarm::Jump { by_ms: 90_000 }));
    clock.accept_jump();
    assert_eq!(clock.now(jumped(11_500)).0, jumped(11_500).wall_ms);
    assert_eq!(clock.alarm(jumped(11_500)), None);
}

#[test]
fn a_start_far_from_the_log_waits_too() {
    for (slept_ms, follows) in [(6 * DAY_MS, true), (8 * DAY_MS, false)] {
        let now = reading(1_000, 0);
        let mut clock = Clock::new(1);
        clock.start_from(Time(now.wall_ms - slept_ms));
        let shown = clock.now(now).0;
        assert_eq!(shown, if follows { now.wall_ms } else { now.wall_ms - slept_ms });
        assert_eq!(clock.alarm(now).is_some(), !follows);
        clock.accept_jump();
        assert_eq!(clock.now(now).0, now.wall_ms);
    }
}

#[test]
fn alone_it_binds_nobody_and_may_not_lead() {
    let wrong = reading(1_000, 90_000);
    let mut clock = Clock::new(3);
    assert_eq!(clock.now(wrong).0, wrong.wall_ms);
    assert!(!clock.may_lead(wrong));
    for peer in [2, 3] {
        clock.heard(peer, reading(1_000, 0).wall_ms, 0, wrong);
    }
    assert_eq!(clock.now(wrong).0, NOON + 1_000, "the first settled value is the median, no jump");
    assert!(!clock.may_lead(wrong), "its own clock is the wrong one");
    // Cut off from the others, it goes on by the monotonic clock.
    let later = reading(1_000 + FRESH_MS + 1, 90_000);
    assert_eq!(clock.now(later).0, NOON + later.uptime_ms);
    // Two clocks that never agreed settle nothing, until an operator says that they are good enough.
    let now = reading(10_000, 0);
    let mut clock = Clock::new(3);
    clock.heard(2, now.wall_ms + 5_000, 0, now);
    assert_eq!((clock.now(now).0, clock.may_lead(now)), (now.wall_ms, false));
    clock.accept_jump();
    assert_eq!((clock.now(now).0, clock.may_lead(now)), (now.wall_ms, true));
    // A cluster of one has nobody to ask.
    assert!(Clock::new(1).may_lead(wrong));
}

#[test]
fn of_two_halves_nobody_can_say_which_is_wrong() {
    let now = reading(10_000, 0);
    let hour = 3_600_000;
    let mut clock = Clock::new(7);
    for (peer, wrong) in [(2, 5), (3, hour), (4, hour)] {
        clock.heard(peer, reading(10_000, wrong).wall_ms, 0, now);
    }
    // Nothing is settled by a time that lies between the two and that no clock shows.
    assert_eq!(clock.now(now).0, now.wall_ms);
    assert!(!clock.may_lead(now));
    assert!(matches!(clock.alarm(now), Some(ClockAlarm::Disagree { .. })));
    clock.heard(5, reading(10_000, 3).wall_ms, 0, now);
    assert!(clock.now(now).0.abs_diff(now.wall_ms) <= 5 && clock.may_lead(now));
}

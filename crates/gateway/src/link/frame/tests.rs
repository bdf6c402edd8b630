use std::time::Duration;

use ledger::batch::{get_record, records};
use ledger::{AccountId, Answer, Command, Key, Posted, TenantId, Time, TransferId};
use tokio::sync::oneshot;

use super::*;
use crate::budget::{Budget, Permit};
use crate::call::{Finished, Opening, Way};

fn request(key: u128) -> Request {
    let command = Command::Close { account: AccountId::from_u128(1) };
    Request { key: Key::from_u128(key), tenant: TenantId(0), command }
}

/// A call of so many requests, and what will hear its replies.
fn call(requests: usize, deadline: Instant) -> (Arc<Call>, oneshot::Receiver<Finished>) {
    let (to, finished) = oneshot::channel();
    let permit = Permit::empty(Budget::new(100, 100));
    let opening = Opening::new(deadline, requests, (permit, Arc::default()), Way::Once(to));
    let call = Arc::clone(opening.call());
    opening.close();
    (call, finished)
}

/// A frame of so many requests of one call.
fn frame(requests: usize, deadline: Instant) -> (Frame, oneshot::Receiver<Finished>) {
    let (call, finished) = call(requests, deadline);
    let mut draft = Draft::default();
    for place in 0..requests {
        draft.push(&request(u128::try_from(place).unwrap()), &call, place).unwrap();
    }
    let mut frame = draft.seal().unwrap();
    frame.sends = 1;
    assert!(draft.seal().is_none());
    (frame, finished)
}

fn in_ms(ms: u64) -> Instant {
    Instant::now().checked_add(Duration::from_millis(ms)).expect("soon")
}

fn posted() -> Reply {
    let transfer = TransferId { shard: 0, index: 1, position: 0 };
    Reply::Answer(Answer { outcome: Ok(Posted { transfer, at: Time(1) }), replayed: false })
}

fn keys(frame: &Frame) -> Vec<u128> {
    let read = records(&frame.records).map(|record| get_record(record.unwrap(), 0).unwrap());
    read.map(|request| request.key.to_u128()).collect()
}

/// What stands at each place of a finished call.
fn codes(mut finished: oneshot::Receiver<Finished>) -> Vec<String> {
    let outcomes = finished.try_recv().expect("finished").outcomes();
    let said = outcomes.into_iter().map(|outcome| match outcome.result.unwrap() {
        wire::proto::v1::outcome::Result::Posted(_) => "posted".to_owned(),
        wire::proto::v1::outcome::Result::Rejected(no) => no.code,
        wire::proto::v1::outcome::Result::Failed(no) => no.code,
    });
    said.collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_final_is_settled_and_the_rest_goes_again() {
    let (mut frame, finished) = frame(4, in_ms(100));
    let again = Reply::Failure(Failure::Overloaded);
    let heard = frame.hear(&[posted(), again, posted(), again], Instant::now());
    assert_eq!(heard, Heard { answered: true, not_leader: false });
    let mut rest = frame.rest().unwrap();
    assert_eq!(keys(&rest), [1, 3], "the records are as they were");
    let heard = rest.hear(&[Reply::Failure(Failure::NoLeader), posted()], Instant::now());
    assert_eq!(heard, Heard { answered: true, not_leader: true });
    let mut rest = rest.rest().unwrap();
    assert_eq!(keys(&rest), [1]);
    tokio::time::advance(Duration::from_millis(100)).await;
    rest.expire(Instant::now(), Failure::DeadlinePassed);
    assert!(rest.rest().is_none());
    assert_eq!(codes(finished), ["posted", "NO_LEADER", "posted", "posted"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_stream_only_the_ledger_may_say_no() {
    for failure in Failure::ALL {
        let (mut frame, finished) = frame(1, in_ms(100));
        frame.lose();
        frame.hear(&[Reply::Failure(failure)], Instant::now());
        tokio::time::advance(Duration::from_millis(100)).await;
        frame.expire(Instant::now(), Failure::DeadlinePassed);
        assert_eq!(codes(finished), ["OUTCOME_UNKNOWN"], "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_not_sent_for_ever() {
    let (mut frame, finished) = frame(1, in_ms(1_000_000));
    let busy = Reply::Failure(Failure::Overloaded);
    for sends in 1..SENDS_MAX {
        frame.sends = sends;
        frame.hear(&[busy], Instant::now());
        assert!(!frame.entries[0].settled, "after {sends}");
    }
    frame.sends = SENDS_MAX;
    frame.hear(&[busy], Instant::now());
    assert!(frame.rest().is_none());
    assert_eq!(codes(finished), ["OVERLOADED"]);
}

#[tokio::test(start_paused = true)]
async fn each_call_has_its_own_deadline() {
    let (soon, soon_finished) = call(2, in_ms(10));
    let (late, late_finished) = call(1, in_ms(50));
    let mut draft = Draft::default();
    draft.push(&request(1), &soon, 0).unwrap();
    draft.push(&request(2), &late, 0).unwrap();
    draft.push(&request(3), &soon, 1).unwrap();
    let (first, last) = (soon.deadline, late.deadline);
    let mut frame = draft.seal().unwrap();
    assert_eq!((frame.earliest, frame.latest), (Some(first), last));
    frame.expire(Instant::now(), Failure::DeadlinePassed);
    assert_eq!(frame.earliest, Some(first), "nothing is due");

    tokio::time::advance(Duration::from_millis(10)).await;
    frame.expire(Instant::now(), Failure::DeadlinePassed);
    assert_eq!(codes(soon_finished), ["DEADLINE_PASSED"; 2]);
    assert_eq!(frame.earliest, Some(last));
    let mut rest = frame.rest().unwrap();
    assert_eq!(keys(&rest), [2]);

    tokio::time::advance(Duration::from_millis(40)).await;
    rest.expire(Instant::now(), Failure::OutcomeUnknown);
    assert_eq!(rest.earliest, None, "all have heard");
    assert_eq!(codes(late_finished), ["OUTCOME_UNKNOWN"], "it was in flight");
}

#[tokio::test(start_paused = true)]
async fn the_first_word_stands() {
    let (mut frame, finished) = frame(1, in_ms(10));
    tokio::time::advance(Duration::from_millis(10)).await;
    frame.expire(Instant::now(), Failure::OutcomeUnknown);
    frame.hear(&[posted()], Instant::now());
    assert_eq!(codes(finished), ["OUTCOME_UNKNOWN"]);
    assert!(frame.rest().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_draft_is_full_at_its_bounds() {
    let (call, _finished) = call(1, in_ms(10));
    let mut draft = Draft::default();
    for place in 0..FRAME_REQUESTS_MAX {
        assert!(!draft.is_full(), "{place}");
        draft.push(&request(1), &call, place).unwrap();
    }
    assert!(draft.is_full());
}

#[tokio::test(start_paused = true)]
async fn two_frames_may_become_one() {
    let (mut first, first_finished) = frame(2, in_ms(100));
    let (mut second, second_finished) = frame(3, in_ms(10));
    first.hear(&[posted(), Reply::Failure(Failure::Overloaded)], Instant::now());
    second.lose();
    let mut both = first.rest().unwrap();
    both.absorb(second).unwrap();
    assert_eq!(keys(&both), [1, 0, 1, 2]);
    tokio::time::advance(Duration::from_millis(10)).await;
    both.expire(Instant::now(), Failure::NoLeader);
    assert_eq!(codes(second_finished), ["OUTCOME_UNKNOWN"; 3]);
    let mut rest = both.rest().unwrap();
    assert_eq!(keys(&rest), [1]);
    rest.hear(&[posted()], Instant::now());
    assert_eq!(codes(first_finished), ["posted"; 2]);

    let (mut full, _finished) = frame(FRAME_REQUESTS_MAX, in_ms(100));
    let (more, _finished) = frame(1, in_ms(100));
    assert!(full.absorb(more).is_err());
}

#![allow(clippy::arithmetic_side_effects, reason = "tests with small numbers")]

use futures::StreamExt;

use super::*;

fn message(bytes: usize) -> Message {
    let mut message = Message::question(3, Kind::Append, Bytes::from_static(b"head"));
    message.bodies.push(vec![0; bytes].into());
    message
}

#[tokio::test]
async fn what_waits_shares_a_parcel_up_to_its_bound() {
    let (queue, outbound) = mpsc::channel(QUEUE_MESSAGES_MAX);
    for _ in 0..600 {
        queue.send(message(10)).await.unwrap();
    }
    for _ in 0..3 {
        queue.send(message(PARCEL_BYTES_MAX / 2)).await.unwrap();
    }
    queue.send(message(PARCEL_BYTES_MAX * 4)).await.unwrap();
    drop(queue);
    let sizes: Vec<usize> = parcels(outbound).map(|parcel| parcel.messages.len()).collect().await;
    // 512 small ones; the other 88 and one half; a half each; and one that is longer than a parcel, alone.
    assert_eq!(sizes, [512, 89, 1, 1, 1]);
}

#[test]
fn numbers_are_stable_and_unique() {
    for (kind, number) in Kind::ALL.into_iter().zip(1..) {
        assert_eq!((kind.number(), Kind::from_number(number)), (number, Some(kind)));
    }
    assert_eq!(Kind::from_number(0), None);
    for lane in Lane::ALL {
        assert_eq!(Lane::from_number(lane.number()), Some(lane));
    }
    for refusal in Refusal::ALL {
        assert_eq!(Refusal::from_number(refusal.number()), Some(refusal));
    }
}

#[tokio::test]
async fn a_lane_that_is_down_refuses_and_one_that_breaks_tells_everybody() {
    let link = Link::new(2);
    let question = || Message::question(0, Kind::Vote, Bytes::new());
    assert_eq!(link.ask(Lane::Control, question()).await.err(), Some(CallError::Unreachable));

    let (mut outbound, waiting) = link.connect(Lane::Control);
    let mut first = link.ask(Lane::Control, question()).await.unwrap();
    let mut second = link.ask(Lane::Control, question()).await.unwrap();
    let mut third = link.ask(Lane::Control, question()).await.unwrap();
    let requests: Vec<u64> = [outbound.recv().await, outbound.recv().await, outbound.recv().await]
        .map(|sent| sent.unwrap().request)
        .to_vec();
    // Answers may come in any order, and twice.
    for _ in 0..2 {
        waiting.resolve(Message::answer(0, requests[1], Ok(Bytes::from_static(b"yes"))));
    }
    waiting.resolve(Message::answer(0, requests[0], Err(Refusal::NotRunning)));
    assert_eq!(second.answer().await, Ok(Bytes::from_static(b"yes")));
    assert_eq!(first.answer().await, Err(CallError::Refused(Refusal::NotRunning)));
    link.disconnect(Lane::Control);
    assert_eq!(third.answer().await, Err(CallError::Broken));
    assert_eq!(link.ask(Lane::Control, question()).await.err(), Some(CallError::Unreachable));
    assert!(link.ask(Lane::Bulk, question()).await.is_err(), "another lane is another connection");
}

#[tokio::test]
async fn a_question_nobody_waits_for_is_forgotten() {
    let link = Link::new(2);
    let (_outbound, waiting) = link.connect(Lane::Control);
    let within = Duration::from_millis(1);
    let late =
        link.call(Lane::Control, Message::question(0, Kind::Vote, Bytes::new()), within).await;
    assert_eq!(late, Err(CallError::TimedOut));
    assert_eq!(waiting.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_installation_is_asked_for_until_its_answer_is_heard() {
    let link = Link::new(2);
    let (mut outbound, waiting) = link.connect(Lane::Snapshot);
    let install_timeout = std::time::Duration::from_secs(120);
    let offload = crate::offload::Offload::Inline;
    let transfer = || crate::snapshot::Transfer { link: &link, group: 3, offload, install_timeout };
    let vote = crate::raft::Vote::new_committed(2, 1);
    let begun = tokio::time::Instant::now();
    let receiver = async {
        let _lost = outbound.recv().await.unwrap();
        let _its_answer_is_lost = outbound.recv().await.unwrap();
        let third = outbound.recv().await.unwrap();
        assert_eq!(Kind::from_number(third.kind), Some(Kind::Install));
        waiting.resolve(Message::answer(3, third.request, Ok(crate::codec::encode(&vote))));
    };
    let first = transfer();
    let (installed, ()) = tokio::join!(first.install(vote), receiver);
    assert_eq!(installed.unwrap(), vote);
    assert!(begun.elapsed() < install_timeout / 4, "{:?}", begun.elapsed());

    // Never answered, it ends when its time is over; refused, at once.
    let begun = tokio::time::Instant::now();
    assert!(transfer().install(vote).await.is_err());
    assert_eq!(begun.elapsed().as_secs(), install_timeout.as_secs());
    link.disconnect(Lane::Snapshot);
    assert!(transfer().install(vote).await.is_err());
}

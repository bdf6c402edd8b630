//! What the client does with what a gateway says.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod support;

use std::time::{Duration, Instant};

use client::{AccountId, Client, Currency, Error, Freshness, Money, Rejection, Request};
use futures::TryStreamExt;
use support::{Say, Script};
use wire::Failure;

fn request() -> Request {
    let money = Money::minor(1, Currency::CNY).unwrap();
    Request::transfer(AccountId::from_u128(1), AccountId::from_u128(2), money)
}

fn requests(count: usize) -> Vec<Request> {
    (0..count).map(|n| request().with_key(format!("k{n}"))).collect()
}

async fn play(says: impl IntoIterator<Item = Say>, timeout: Duration) -> (Script, Client) {
    let (script, endpoint) = Script::play(says).await;
    (script, Client::connect(endpoint).await.unwrap().with_timeout(timeout))
}

const PATIENT: Duration = Duration::from_secs(10);
const HASTY: Duration = Duration::from_millis(400);

#[tokio::test]
async fn what_was_not_proposed_is_sent_again_with_the_same_key() {
    let says = [Failure::Overloaded, Failure::NoLeader, Failure::OutcomeUnknown].map(Say::Failed);
    let (script, client) = play(says, PATIENT).await;
    let request = request();
    let posted = client.send(&request).await.unwrap();
    assert_eq!(posted.transfer, support::posted().transfer);
    assert_eq!(*script.keys.lock().unwrap(), vec![request.key().to_owned(); 4]);
}

#[tokio::test]
async fn a_no_is_final() {
    let no = Rejection::Insufficient { available: 1, requested: 2 };
    let (script, client) = play([Say::Rejected(no)], PATIENT).await;
    let error = client.send(&request()).await.unwrap_err();
    assert_eq!((error.rejection(), error.exit_code()), (Some(no), 3));
    assert_eq!(script.keys.lock().unwrap().len(), 1);

    let (script, client) = play([Say::Failed(Failure::InvalidRecord)], PATIENT).await;
    assert!(matches!(client.send(&request()).await, Err(Error::Refused { .. })));
    assert_eq!(script.keys.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_wait_longer_than_the_time_left_is_not_begun() {
    let begun = Instant::now();
    let (script, client) = play([Say::Failed(Failure::DiskFull)], HASTY).await;
    let error = client.send(&request()).await.unwrap_err();
    assert!(matches!(&error, Error::NotProposed { code, .. } if code == "DISK_FULL"), "{error}");
    assert_eq!((error.exit_code(), script.keys.lock().unwrap().len()), (75, 1));
    assert!(begun.elapsed() < PATIENT / 2);
}

/// An attempt that may have worked is not forgotten because the next one certainly did not.
#[tokio::test]
async fn an_unknown_attempt_makes_the_whole_call_unknown() {
    for first in [Say::Foreign, Say::Failed(Failure::OutcomeUnknown)] {
        let mut says = vec![Say::Failed(Failure::Overloaded); 50];
        says.insert(0, first.clone());
        let (script, client) = play(says, HASTY).await;
        let error = client.send(&request()).await.unwrap_err();
        assert!(error.is_unknown(), "{first:?}: {error}");
        assert!(script.keys.lock().unwrap().len() > 1, "it was tried again");
        assert_eq!(error.exit_code(), 76);
    }
    let (_, client) = play(vec![Say::Failed(Failure::Overloaded); 50], HASTY).await;
    assert!(matches!(client.send(&request()).await, Err(Error::NotProposed { .. })));
    let (_, client) = play([Say::Nothing], HASTY).await;
    assert!(client.send(&request()).await.unwrap_err().is_unknown());
}

#[tokio::test]
async fn without_a_server_nothing_happened() {
    let nobody = "http://127.0.0.1:1";
    let error = Client::connect(nobody).await.unwrap_err();
    assert!(matches!(error, Error::NotConnected { .. }), "{error}");
    let client = Client::connect_lazy(nobody).unwrap().with_timeout(HASTY);
    let error = client.send(&request()).await.unwrap_err();
    assert!(matches!(error, Error::NotConnected { .. }), "{error}");
    assert_eq!(error.exit_code(), 75);
    assert!(Client::connect_lazy("no address at all").is_err());
}

#[tokio::test]
async fn of_a_batch_only_what_failed_is_sent_again() {
    let no = Rejection::SameAccount;
    let says = [
        Say::Posted,
        Say::Failed(Failure::Overloaded),
        Say::Rejected(no),
        Say::Failed(Failure::OutcomeUnknown),
        // The second attempt carries two.
        Say::Posted,
        Say::Failed(Failure::NoLeader),
        // The third carries one.
        Say::Posted,
    ];
    let (script, client) = play(says, PATIENT).await;
    let results = client.send_batch(&requests(4)).await;
    let posted: Vec<_> = results.iter().map(Result::is_ok).collect();
    assert_eq!(posted, [true, true, false, true]);
    assert_eq!(results[2].as_ref().unwrap_err().rejection(), Some(no));
    assert_eq!(*script.keys.lock().unwrap(), ["k0", "k1", "k2", "k3", "k1", "k3", "k3"]);
}

#[tokio::test]
async fn a_batch_that_was_lost_once_is_not_said_to_be_undone() {
    let mut says = vec![Say::Foreign];
    says.extend(vec![Say::Failed(Failure::Overloaded); 100]);
    let (_, client) = play(says, HASTY).await;
    let results = client.send_batch(&requests(1)).await;
    assert!(results[0].as_ref().unwrap_err().is_unknown());
    let many = client.send_batch(&requests(8_193)).await;
    assert!(matches!(&many[8_192], Err(Error::Refused { code, .. }) if code == "BATCH_TOO_LARGE"));
    assert!(client.send_batch(&[]).await.is_empty());
}

#[tokio::test]
async fn a_session_carries_many_frames_at_once() {
    let (script, client) = play([], PATIENT).await;
    let session = client.session();
    let mut pending = Vec::new();
    for n in 0..200 {
        let requests: Vec<_> = (0..3).map(|m| request().with_key(format!("{n}-{m}"))).collect();
        pending.push(session.send(&requests).await.unwrap());
    }
    for frame in pending {
        let results = frame.await;
        assert!(results.len() == 3 && results.iter().all(Result::is_ok));
    }
    assert_eq!(*script.sessions.lock().unwrap(), 1);
    assert_eq!(script.keys.lock().unwrap().len(), 600);
    assert!(matches!(session.send(&[]).await, Err(Error::Refused { .. })));
    assert!(matches!(session.send(&requests(8_193)).await, Err(Error::Refused { .. })));
}

#[tokio::test]
async fn a_broken_session_goes_on_with_the_same_keys() {
    let (script, client) = play([Say::Posted, Say::Cut, Say::Cut], PATIENT).await;
    let session = client.session();
    let first = session.send(&requests(1)).await.unwrap();
    assert!(first.await[0].is_ok());
    let second = session.send(&requests(2)).await.unwrap();
    let third = session.send(&requests(1)).await.unwrap();
    assert!(second.await.iter().all(Result::is_ok) && third.await[0].is_ok());
    assert_eq!(*script.sessions.lock().unwrap(), 3);
    // Dropping the handle ends the stream, and nothing is left behind.
    drop(session);
}

/// What was on its way when a stream broke is not forgotten because its next sending certainly did nothing.
#[tokio::test]
async fn a_frame_that_was_lost_once_is_not_said_to_be_undone() {
    for failure in Failure::ALL {
        let says = [Say::Cut, Say::Failed(failure)];
        let (script, client) = play(says, PATIENT).await;
        let results = client.session().send(&requests(1)).await.unwrap().await;
        assert!(results[0].as_ref().unwrap_err().is_unknown(), "{failure:?}: {results:?}");
        assert_eq!(*script.keys.lock().unwrap(), ["k0", "k0"]);

        let (_, client) = play([Say::Failed(failure)], PATIENT).await;
        let results = client.session().send(&requests(1)).await.unwrap().await;
        assert_eq!(results[0].as_ref().unwrap_err().is_unknown(), failure.is_unknown());
    }
    let no = Rejection::SameAccount;
    let (_, client) = play([Say::Cut, Say::Rejected(no)], PATIENT).await;
    let results = client.session().send(&requests(1)).await.unwrap().await;
    assert_eq!(results[0].as_ref().unwrap_err().rejection(), Some(no));
}

#[tokio::test]
async fn a_sessions_frame_is_unknown_when_its_time_is_up() {
    let (_, client) = play(vec![Say::Cut; 1_000], HASTY).await;
    let begun = Instant::now();
    let results = client.session().send(&requests(2)).await.unwrap().await;
    assert!(results.iter().all(|result| result.as_ref().unwrap_err().is_unknown()));
    assert_eq!(results.len(), 2);
    assert!(begun.elapsed() < PATIENT / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_statement_is_read_to_its_end() {
    let (_, client) = play([], PATIENT).await;
    let account = AccountId::from_u128(0xabc);
    for page_size in [1, 2, 3, 7, 100] {
        let postings = client.postings(account, page_size, Freshness::StaleOk);
        let postings: Vec<_> = postings.try_collect().await.unwrap();
        let amounts: Vec<_> = postings.iter().map(|posting| posting.amount.minor()).collect();
        assert_eq!(amounts, [7, 6, 5, 4, 3, 2, 1], "pages of {page_size}");
        assert_eq!((postings[0].balance, postings[0].counter), (-7, account));
    }
}

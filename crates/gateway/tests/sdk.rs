//! The Rust SDK through a real gateway, in fair weather and foul.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod support;

use std::time::Duration;

use client::{
    AccountId, Authority, Client, Currency, Error, FreezeScope, Freshness, HoldState, Leg, Money,
    Operation, Request, Subject,
};
use futures::TryStreamExt;
use support::{Cluster, Fault};
use wire::Failure;

fn yuan(minor: u64) -> Money {
    Money::minor(minor, Currency::CNY).unwrap()
}

async fn begin() -> (Cluster, Client, AccountId, AccountId) {
    let cluster = Cluster::start().await;
    let client = Client::connect(format!("http://{}", cluster.address)).await.unwrap();
    let open = Request::open_account(Currency::CNY);
    let rich = open.clone().with_key("open lin").with_owner("lin").with_opening(yuan(1_000).amount);
    let lin = client.send(&rich).await.unwrap().account.unwrap();
    let wang = client.send(&open.with_owner("lin")).await.unwrap().account.unwrap();
    assert_eq!(lin.slot(), wang.slot(), "one owner's accounts live together");
    (cluster, client, lin, wang)
}

#[tokio::test]
async fn an_audit_says_what_there_is_and_that_it_adds_up() {
    let (_cluster, client, lin, wang) = begin().await;
    client.send(&Request::transfer(lin, wang, yuan(100))).await.unwrap();
    let (first, second) = (client.audit().await.unwrap(), client.audit().await.unwrap());
    assert!(first.cut < second.cut, "cuts have numbers that grow");
    let sum = client::AuditSum {
        currency: Currency::CNY,
        customers: 1_000,
        under_way: 0,
        suspense: 0,
        opening: 1_000,
    };
    assert_eq!((first.shards, first.sums, first.discrepancies), (1, vec![sum], Vec::new()));
}

#[tokio::test]
async fn everything_there_is_to_do() {
    let (_cluster, client, lin, wang) = begin().await;
    let transfer = Request::transfer(lin, wang, yuan(100));
    let posted = client.send(&transfer).await.unwrap();
    let replayed = client.send(&transfer).await.unwrap();
    assert!(replayed.replayed && replayed.transfer == posted.transfer);
    client.send(&Request::reverse_transfer(posted.transfer, wang)).await.unwrap();
    let leg = Leg { debit: lin, credit: wang, amount: yuan(10).amount };
    client.send(&Request::multi_transfer(lin, Currency::CNY, &[leg, leg])).await.unwrap();

    let place = Request::place_hold(lin, wang, yuan(50), Duration::from_secs(60));
    let hold = client.send(&place).await.unwrap().hold.unwrap();
    let post = Request::post_hold(hold, Some(yuan(20).amount), false);
    client.send(&post).await.unwrap();
    let shown = client.hold(hold, Freshness::Linearizable).await.unwrap();
    assert_eq!((shown.posted, shown.remaining, shown.state), (20, 30, HoldState::Active));
    client.send(&Request::void_hold(hold)).await.unwrap();
    let ended = client.send(&post.clone().with_key("again")).await.unwrap_err();
    assert_eq!(ended.code(), Some("HOLD_ENDED"));

    let freeze = Request::freeze_account(lin, FreezeScope::Debit, Authority::User);
    client.send(&freeze).await.unwrap();
    let shown = client.account(lin, Freshness::Linearizable).await.unwrap();
    assert_eq!((shown.posted, shown.held, shown.available), (960, 0, 960));
    assert_eq!((shown.freezes.len(), shown.closed, shown.currency), (1, false, Currency::CNY));
    client.send(&Request::unfreeze_account(lin, Authority::User)).await.unwrap();
    let blocked = client.send(&Request::close_account(lin)).await.unwrap_err();
    assert_eq!(blocked.code(), Some("CLOSE_BLOCKED"));

    let statement: Vec<_> =
        client.postings(wang, 2, Freshness::Linearizable).try_collect().await.unwrap();
    let balances: Vec<_> = statement.iter().map(|posting| posting.balance).collect();
    assert_eq!(balances, [40, 20, 10, 0, 100]);
    assert_eq!(statement[3].reverses, Some(posted.transfer));

    let subject = Subject::Account(lin);
    let found = client.outcome(subject, Operation::Transfer, transfer.key()).await.unwrap();
    assert_eq!(found.transfer, posted.transfer);
    let unknown = client.outcome(subject, Operation::Transfer, "never sent").await.unwrap_err();
    assert!(matches!(&unknown, Error::Refused { code, .. } if code == "OUTCOME_NOT_FOUND"));
    let nobody = AccountId::from_u128(1);
    let missing = client.account(nobody, Freshness::Linearizable).await.unwrap_err();
    assert_eq!((missing.code(), missing.exit_code()), (Some("ACCOUNT_NOT_FOUND"), 4));
}

#[tokio::test]
async fn a_batch_and_a_session_in_foul_weather() {
    let (cluster, client, lin, wang) = begin().await;
    let faults = [
        Fault::CutAfter,
        Fault::FailHalf(Failure::Overloaded),
        Fault::ApplyAndFail(Failure::OutcomeUnknown),
        Fault::CutBefore,
    ];
    cluster.inject(faults.into_iter().cycle().take(40));
    let requests: Vec<_> = (0..50).map(|_| Request::transfer(lin, wang, yuan(1))).collect();
    let session = client.session();
    let frames = requests.chunks(5).map(|frame| session.send(frame));
    let frames = futures::future::try_join_all(frames).await.unwrap();
    let batch = client.send_batch(&requests).await;
    for (n, results) in futures::future::join_all(frames).await.into_iter().enumerate() {
        assert!(results.iter().all(Result::is_ok), "frame {n}: {results:?}");
    }
    assert!(batch.iter().all(Result::is_ok), "{batch:?}");
    let shown = client.account(wang, Freshness::Linearizable).await.unwrap();
    assert_eq!(shown.available, 50, "each once, though each was sent twice and more");
}

#[tokio::test]
async fn a_stopped_gateway_did_nothing() {
    let (mut cluster, client, lin, wang) = begin().await;
    cluster.stop_gateway().await;
    let client = client.with_timeout(Duration::from_millis(300));
    let error = client.send(&Request::transfer(lin, wang, yuan(1))).await.unwrap_err();
    assert!(matches!(error, Error::NotConnected { .. }), "{error}");
}

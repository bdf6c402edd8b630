//! The Rust SDK through a real gateway, in fair weather and foul.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use client::{
    AccountId, Authority, Client, Currency, Error, FreezeScope, Freshness, HoldState, Leg, Money,
    Operation, Piece, Request, Subject, TenantId,
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

async fn read_all(client: &Client, currency: Option<Currency>) -> Result<Vec<Piece>, Error> {
    client.read_all(currency).await?.try_collect().await
}

#[tokio::test]
async fn everything_is_read_piece_by_piece_and_adds_up() {
    let (_cluster, client, lin, wang) = begin().await;
    let hold = Request::place_hold(lin, wang, yuan(50), Duration::from_secs(60));
    let hold = client.send(&hold).await.unwrap().hold.unwrap();
    let freeze = Request::freeze_account(wang, FreezeScope::All, Authority::Risk);
    client.send(&freeze).await.unwrap();
    let yen = Money::minor(7, Currency::from_code("JPY").unwrap()).unwrap();
    let open = Request::open_account(yen.currency).with_opening(yen.amount);
    let other = client.clone().for_tenant(TenantId(7)).send(&open).await.unwrap().account.unwrap();

    let pieces = read_all(&client, None).await.unwrap();
    let kinds: Vec<_> = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Accounts(found) => format!("accounts {}", found.len()),
            Piece::Holds(found) => format!("holds {}", found.len()),
            Piece::Channels(found) => format!("channels {}", found.len()),
            Piece::Summary(_) => "summary".to_owned(),
        })
        .collect();
    assert_eq!(
        kinds,
        ["accounts 2", "accounts 2", "accounts 1", "holds 1", "channels 0", "summary"]
    );
    let accounts: Vec<_> = pieces
        .iter()
        .flat_map(|piece| match piece {
            Piece::Accounts(found) => found.clone(),
            Piece::Holds(_) | Piece::Channels(_) | Piece::Summary(_) => Vec::new(),
        })
        .collect();
    let find = |id| accounts.iter().find(|found| found.record.id == id).unwrap();
    assert_eq!((find(lin).tenant, find(other).tenant), (TenantId(0), TenantId(7)));
    for id in [lin, wang] {
        let shown = client.account(id, Freshness::Linearizable).await.unwrap();
        let position = find(id).record.position;
        assert!(position.index < shown.position.index || position == shown.position);
        assert_eq!(find(id).record, client::Account { position, ..shown });
    }
    assert_eq!((find(lin).record.held, find(lin).record.available), (50, 950));
    let Piece::Holds(holds) = &pieces[3] else { unreachable!() };
    assert_eq!((holds[0].record.id, holds[0].record.remaining), (hold, 50));
    let Some(Piece::Summary(summary)) = pieces.last() else { unreachable!() };
    assert_eq!((summary.accounts, summary.holds), (5, 1));
    assert_eq!(summary.audit.discrepancies, [""; 0]);
    let audit = client.audit().await.unwrap();
    assert_eq!(summary.audit.sums, audit.sums, "it says what the audit says");
    assert!(summary.audit.cut < audit.cut);

    let yens = read_all(&client, Some(yen.currency)).await.unwrap();
    let Piece::Accounts(found) = &yens[0] else { panic!("{yens:?}") };
    assert!(found.iter().all(|found| found.record.currency == yen.currency));
    let Some(Piece::Summary(summary)) = yens.last() else { panic!("{yens:?}") };
    assert_eq!((summary.accounts, summary.holds), (2, 0), "and nothing of another currency");
    assert_eq!(summary.audit.discrepancies, [""; 0], "all of them were counted");
}

#[tokio::test]
async fn a_reading_that_loses_its_cut_says_so_and_is_begun_again() {
    let (cluster, client, ..) = begin().await;
    for left in 0..3 {
        cluster.shared.pages_left.store(left, Ordering::SeqCst);
        let lost = read_all(&client, None).await.unwrap_err();
        assert_eq!((lost.code(), lost.is_retryable()), (Some("CUT_GONE"), true), "{lost}");
        cluster.shared.pages_left.store(u64::MAX, Ordering::SeqCst);
        assert!(matches!(read_all(&client, None).await.unwrap().last(), Some(Piece::Summary(_))));
    }
    // Those who read at the same time do not take it from one another.
    let many = (0..8).map(|_| read_all(&client, None));
    for read in futures::future::join_all(many).await {
        assert!(matches!(read.unwrap().last(), Some(Piece::Summary(_))));
    }
    // Its pages go on at whoever leads.
    let mut pieces = std::pin::pin!(client.read_all(None).await.unwrap());
    cluster.elect(2);
    let mut last = None;
    while let Some(piece) = pieces.try_next().await.unwrap() {
        last = Some(piece);
    }
    assert!(matches!(last, Some(Piece::Summary(_))));
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

//! Every door of a gateway, in good weather.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod support;

use std::time::Duration;

use futures::StreamExt;
use support::{Cluster, code, said, transfer, wanted, within, yuan};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_reflection::pb::{v1 as reflected, v1alpha};
use wire::proto::v1;

#[tokio::test]
async fn a_transfer_is_posted_once_and_repeated_for_ever() {
    let mut cluster = Cluster::start().await;
    let lin = cluster.wallet("open lin", 1_000).await;
    let wang = cluster.wallet("open wang", 0).await;
    assert_eq!(cluster.wallet("open lin", 1_000).await, lin, "a retry names the same account");

    let request = transfer("t1", &lin, &wang, 300);
    let first = cluster.client.transfer(request.clone()).await.unwrap().into_inner();
    let second = cluster.client.transfer(request.clone()).await.unwrap().into_inner();
    assert!(!first.replayed && second.replayed);
    assert_eq!(first.transfer, second.transfer);
    assert_eq!((cluster.balance(&lin), cluster.balance(&wang)), (700, 300));

    let other = v1::TransferRequest { amount: Some(yuan(1)), ..request };
    assert_eq!(code(&cluster.client.transfer(other).await.unwrap_err()), "KEY_REUSED");
    let poor = cluster.client.transfer(transfer("t2", &lin, &wang, 701)).await.unwrap_err();
    assert_eq!((code(&poor), poor.code()), ("INSUFFICIENT", tonic::Code::FailedPrecondition));
}

#[tokio::test]
async fn every_kind_of_request_reaches_the_ledger() {
    let mut cluster = Cluster::start().await;
    let lin = cluster.wallet("open lin", 1_000).await;
    let wang = cluster.wallet("open wang", 0).await;
    let client = &mut cluster.client;

    let place = v1::PlaceHoldRequest {
        idempotency_key: "h1".into(),
        debit_account: lin.clone(),
        credit_account: wang.clone(),
        amount: Some(yuan(400)),
        ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    };
    let hold = client.place_hold(place).await.unwrap().into_inner().resource;
    let post = v1::PostHoldRequest {
        idempotency_key: "p1".into(),
        name: hold.clone(),
        units_minor: Some(150),
        release_rest: false,
    };
    client.post_hold(post).await.unwrap();
    let read = v1::GetHoldRequest { name: hold.clone(), stale_ok: false };
    let shown = client.get_hold(read).await.unwrap().into_inner();
    assert_eq!(shown.remaining, Some(yuan(250)));
    assert_eq!((&shown.debit_account, &shown.credit_account), (&lin, &wang));
    let void = v1::VoidHoldRequest { idempotency_key: "v1".into(), name: hold };
    client.void_hold(void).await.unwrap();

    let leg = v1::TransferLeg {
        debit_account: lin.clone(),
        credit_account: wang.clone(),
        units_minor: 10,
    };
    let multi = v1::MultiTransferRequest {
        idempotency_key: "m1".into(),
        initiator_account: lin.clone(),
        currency_code: "CNY".into(),
        legs: vec![leg.clone(), leg],
    };
    client.multi_transfer(multi).await.unwrap();
    let moved = client.transfer(transfer("t1", &lin, &wang, 30)).await.unwrap().into_inner();
    let reverse = v1::ReverseTransferRequest {
        idempotency_key: "r1".into(),
        name: moved.transfer,
        credit_account: wang.clone(),
    };
    client.reverse_transfer(reverse).await.unwrap();

    let freeze = v1::FreezeAccountRequest {
        idempotency_key: "f1".into(),
        name: lin.clone(),
        scope: v1::FreezeScope::Debit.into(),
        authority: v1::Authority::Risk.into(),
    };
    client.freeze_account(freeze).await.unwrap();
    let frozen = client.transfer(transfer("t2", &lin, &wang, 1)).await.unwrap_err();
    assert_eq!(code(&frozen), "ACCOUNT_FROZEN");
    let unfreeze = v1::UnfreezeAccountRequest {
        idempotency_key: "u1".into(),
        name: lin.clone(),
        authority: v1::Authority::Risk.into(),
    };
    client.unfreeze_account(unfreeze).await.unwrap();
    let close = v1::CloseAccountRequest { idempotency_key: "c1".into(), name: lin.clone() };
    assert_eq!(code(&client.close_account(close).await.unwrap_err()), "CLOSE_BLOCKED");
    assert_eq!((cluster.balance(&lin), cluster.balance(&wang)), (830, 170));
}

#[tokio::test]
async fn a_bad_request_is_refused_at_the_edge() {
    let mut cluster = Cluster::start().await;
    let keyless = cluster.client.transfer(v1::TransferRequest::default()).await.unwrap_err();
    assert_eq!((code(&keyless), keyless.code()), ("MISSING_KEY", tonic::Code::InvalidArgument));
    let vague = v1::TransferRequest { idempotency_key: "k".into(), ..Default::default() };
    let vague = cluster.client.transfer(vague).await.unwrap_err();
    assert_eq!(code(&vague), "INVALID_FIELD");
    let wire::status::Said::Coded { violations, .. } = wire::status::Said::read(&vague) else {
        panic!("{vague:?}");
    };
    assert_eq!(violations.len(), 3, "all that is wrong is named at once");
    assert_eq!(cluster.seen("k"), 0);
}

#[tokio::test]
async fn a_batch_is_answered_in_order() {
    let mut cluster = Cluster::start().await;
    let lin = cluster.wallet("open lin", 10).await;
    let wang = cluster.wallet("open wang", 0).await;
    let open = v1::OpenAccountRequest {
        idempotency_key: "open zhao".into(),
        currency_code: "CNY".into(),
        ..Default::default()
    };
    let requests = vec![
        wanted(transfer("b1", &lin, &wang, 8)),
        v1::Request::default(),
        wanted(transfer("b2", &lin, &wang, 8)),
        v1::Request { command: Some(v1::request::Command::OpenAccount(open)) },
        wanted(transfer("b1", &lin, &wang, 8)),
        wanted(transfer("b3", &lin, &wang, 2)),
    ];
    let request = v1::SubmitBatchRequest { requests };
    let outcomes = cluster.client.submit_batch(request).await.unwrap().into_inner().outcomes;
    let codes: Vec<_> = outcomes.iter().map(said).collect();
    assert_eq!(codes, ["posted", "INVALID_FIELD", "INSUFFICIENT", "posted", "posted", "posted"]);
    let resources: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome.result.as_ref().unwrap() {
            v1::outcome::Result::Posted(posted) => !posted.resource.is_empty(),
            v1::outcome::Result::Rejected(_) | v1::outcome::Result::Failed(_) => false,
        })
        .collect();
    assert_eq!(resources, [false, false, false, true, false, false], "only an opening makes one");
    assert_eq!(cluster.balance(&wang), 10);
}

#[tokio::test]
async fn a_full_batch_is_taken_and_a_fuller_one_refused() {
    let mut cluster = Cluster::start().await;
    let lin = cluster.wallet("open lin", 8_192).await;
    let wang = cluster.wallet("open wang", 0).await;
    let batch = |count: usize| v1::SubmitBatchRequest {
        requests: (0..count).map(|n| wanted(transfer(&format!("n{n}"), &lin, &wang, 1))).collect(),
    };
    let full = cluster.client.submit_batch(batch(8_192)).await.unwrap().into_inner();
    assert!(full.outcomes.iter().all(|outcome| said(outcome) == "posted"));
    assert_eq!((full.outcomes.len(), cluster.balance(&wang)), (8_192, 8_192));
    for count in [0, 8_193] {
        let refused = cluster.client.submit_batch(batch(count)).await.unwrap_err();
        assert_eq!(code(&refused), "BATCH_TOO_LARGE", "{count}");
    }
}

#[tokio::test]
async fn a_session_answers_each_frame_by_its_number() {
    let mut cluster = Cluster::start().await;
    let lin = cluster.wallet("open lin", 1_000).await;
    let wang = cluster.wallet("open wang", 0).await;
    let frames: Vec<_> = (0..300)
        .map(|id| v1::SessionRequest {
            id,
            requests: vec![wanted(transfer(&format!("s{id}"), &lin, &wang, 1)); 3],
            timeout_ms: 0,
            traceparent: None,
        })
        .collect();
    let (sender, stream) = mpsc::channel(300);
    for frame in frames {
        sender.send(frame).await.unwrap();
    }
    let session = cluster.client.session(ReceiverStream::new(stream)).await.unwrap();
    let mut answers = session.into_inner();
    let mut answered = Vec::new();
    while answered.len() < 300 {
        let answer = answers.message().await.unwrap().unwrap();
        assert!(answer.outcomes.iter().all(|outcome| said(outcome) == "posted"));
        assert_eq!(answer.outcomes.len(), 3);
        answered.push(answer.id);
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..300).collect::<Vec<_>>());
    assert_eq!(cluster.balance(&wang), 300);

    // The stream goes on; ending it ends the answers.
    drop(sender);
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn a_session_refuses_a_frame_that_is_none_after_answering_the_others() {
    let mut cluster = Cluster::start().await;
    let lin = cluster.wallet("open lin", 1).await;
    let wang = cluster.wallet("open wang", 0).await;
    let good = v1::SessionRequest {
        id: 1,
        requests: vec![wanted(transfer("s", &lin, &wang, 1))],
        timeout_ms: 0,
        traceparent: None,
    };
    let bad = v1::SessionRequest { id: 2, ..Default::default() };
    let session = cluster.client.session(futures::stream::iter([good, bad])).await.unwrap();
    let answers: Vec<_> = session.into_inner().collect().await;
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0].as_ref().unwrap().id, 1);
    assert_eq!(code(answers[1].as_ref().unwrap_err()), "BATCH_TOO_LARGE");
}

#[tokio::test]
async fn reads_show_what_was_acknowledged() {
    let mut cluster = Cluster::start().await;
    let lin = cluster.wallet("open lin", 1_000).await;
    let wang = cluster.wallet("open wang", 0).await;
    for n in 0..5 {
        let request = transfer(&format!("t{n}"), &lin, &wang, 10 + n);
        cluster.client.transfer(request).await.unwrap();
    }
    let client = &mut cluster.client;
    for stale_ok in [false, true] {
        let request = v1::GetAccountRequest { name: wang.clone(), stale_ok };
        let account = client.get_account(request).await.unwrap().into_inner();
        assert_eq!((account.available, account.held), (Some(yuan(60)), Some(yuan(0))));
        assert!(account.position.unwrap().index > 0 && account.version > 0);
    }

    let mut amounts = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListPostingsRequest {
            parent: wang.clone(),
            page_size: 2,
            page_token,
            stale_ok: false,
        };
        let page = client.list_postings(request).await.unwrap().into_inner();
        assert!(page.postings.len() <= 2);
        for posting in page.postings {
            assert_eq!((posting.side(), &posting.counter_account), (v1::Side::Credit, &lin));
            amounts.push(posting.amount.unwrap().units_minor);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(amounts, [14, 13, 12, 11, 10], "newest first, each once");

    let lookup = |key: &str| v1::LookupOutcomeRequest {
        subject: lin.clone(),
        operation: v1::Operation::Transfer.into(),
        idempotency_key: key.to_owned(),
    };
    let found = client.lookup_outcome(lookup("t3")).await.unwrap().into_inner();
    assert_eq!(said(&found), "posted");
    let unknown = client.lookup_outcome(lookup("t9")).await.unwrap_err();
    assert_eq!((code(&unknown), unknown.code()), ("OUTCOME_NOT_FOUND", tonic::Code::NotFound));

    let nobody = wang.replace(|c: char| c.is_ascii_digit(), "0");
    let request = v1::GetAccountRequest { name: nobody, stale_ok: false };
    assert_eq!(code(&client.get_account(request).await.unwrap_err()), "ACCOUNT_NOT_FOUND");
    let bad =
        v1::ListPostingsRequest { parent: wang, page_token: "01zz".into(), ..Default::default() };
    assert_eq!(code(&client.list_postings(bad).await.unwrap_err()), "PAGE_TOKEN_INVALID");
}

#[tokio::test]
async fn health_follows_the_leader() {
    let cluster = Cluster::start_leaderless(|_| ()).await;
    cluster.wait_for(ServingStatus::NotServing).await;
    cluster.elect(2);
    cluster.wait_for(ServingStatus::Serving).await;
}

#[tokio::test]
async fn a_stranger_can_ask_what_there_is() {
    let cluster = Cluster::start().await;
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{}", cluster.address)).unwrap();
    let channel = endpoint.connect().await.unwrap();

    let list = reflected::server_reflection_request::MessageRequest::ListServices(String::new());
    let ask =
        reflected::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut client =
        reflected::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let asked = futures::stream::iter([ask]);
    let mut told = client.server_reflection_info(asked).await.unwrap().into_inner();
    let told = format!("{:?}", told.message().await.unwrap().unwrap());
    assert!(
        told.contains("paycore.v1.Payments") && told.contains("grpc.health.v1.Health"),
        "{told}"
    );
    assert!(!told.contains("paycore.cluster"), "what is inside stays inside: {told}");

    let symbol = "paycore.v1.Payments.Transfer".to_owned();
    let find = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(symbol);
    let ask = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(find) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let asked = futures::stream::iter([ask]);
    let mut told = client.server_reflection_info(asked).await.unwrap().into_inner();
    let told = told.message().await.unwrap().unwrap();
    let Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(found)) =
        told.message_response
    else {
        panic!("{told:?}");
    };
    assert!(!found.file_descriptor_proto.is_empty());
}

#[tokio::test]
async fn a_gateway_that_stops_answers_what_is_under_way() {
    let mut cluster = Cluster::start().await;
    let lin = cluster.wallet("open lin", 100).await;
    let wang = cluster.wallet("open wang", 0).await;
    let (sender, stream) = mpsc::channel(8);
    let mut client = cluster.client.clone();
    let mut answers = client.session(ReceiverStream::new(stream)).await.unwrap().into_inner();
    let frame = |id| v1::SessionRequest {
        id,
        requests: vec![wanted(transfer(&format!("s{id}"), &lin, &wang, 1))],
        timeout_ms: 0,
        traceparent: None,
    };
    sender.send(frame(1)).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().id, 1);

    // Two requests wait for a leader; then the gateway is told to stop, and only then there is a leader.
    cluster.elect(0);
    let mut client = cluster.client.clone();
    let request = within(Duration::from_secs(8), transfer("last", &lin, &wang, 1));
    let last = tokio::spawn(async move { client.transfer(request).await });
    cluster.wait_for(ServingStatus::NotServing).await;
    sender.send(frame(2)).await.unwrap();
    cluster.tell_to_stop();
    cluster.elect(3);
    assert!(last.await.unwrap().is_ok(), "what was taken is carried through");
    cluster.stop_gateway().await;
    assert!(cluster.balance(&wang) >= 2);
}

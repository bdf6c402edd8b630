//! Tenants: with its key a tenant reads and moves what is its own, and nothing else, at every door and by every request.
//!
//! The cluster is one real node behind a real gateway with a key file. Lin and Wang are tenants 1 and 2. Whatever Wang
//! asks about what is Lin's is answered as if it were not there; and at the end Lin has what he had.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::too_many_lines,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::path::Path;
use std::process::Command as Process;

use support::{BINARY, Cluster};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use wire::proto::v1;
use wire::proto::v1::payments_client::PaymentsClient;
use wire::proto::v1::request::Command;
use wire::status::Said;

/// Makes a key and gives it.
fn key(home: &Path, words: &str) -> String {
    let mut made = Process::new(BINARY);
    made.env_clear().env("HOME", home).current_dir(home);
    made.args(["keys", "new", "--file", "keys.toml"]).args(words.split_whitespace());
    let made = made.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// What was said: `done`, or a code.
fn code<T>(said: Result<T, Status>) -> String {
    let Err(status) = said else { return "done".to_owned() };
    let Said::Coded { entry, .. } = Said::read(&status) else { panic!("{status:?}") };
    entry.code.to_owned()
}

/// The codes of a batch's or a frame's outcomes.
fn codes(outcomes: &[v1::Outcome]) -> Vec<String> {
    let said = outcomes.iter().map(|outcome| match outcome.result.as_ref().unwrap() {
        v1::outcome::Result::Posted(_) => "done".to_owned(),
        v1::outcome::Result::Rejected(no) => no.code.clone(),
        v1::outcome::Result::Failed(no) => no.code.clone(),
    });
    said.collect()
}

/// A caller with a key.
#[derive(Clone)]
struct Caller {
    client: PaymentsClient<Channel>,
    key: Option<String>,
    tenant: Option<u32>,
}

impl Caller {
    fn new(cluster: &Cluster, key: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{}", cluster.endpoint)).unwrap();
        let client = PaymentsClient::new(endpoint.connect_lazy());
        Self { client, key: Some(key.to_owned()), tenant: None }
    }

    fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(key) = &self.key {
            let bearer = MetadataValue::try_from(format!("Bearer {key}")).unwrap();
            request.metadata_mut().insert("authorization", bearer);
        }
        if let Some(tenant) = self.tenant {
            request.metadata_mut().insert("paycore-tenant", MetadataValue::from(tenant));
        }
        request
    }

    /// One request by its own door.
    async fn one(&self, command: Command) -> Result<v1::Posted, Status> {
        let mut client = self.client.clone();
        let answer = match command {
            Command::Transfer(wanted) => client.transfer(self.call(wanted)).await,
            Command::MultiTransfer(wanted) => client.multi_transfer(self.call(wanted)).await,
            Command::ReverseTransfer(wanted) => client.reverse_transfer(self.call(wanted)).await,
            Command::PlaceHold(wanted) => client.place_hold(self.call(wanted)).await,
            Command::PostHold(wanted) => client.post_hold(self.call(wanted)).await,
            Command::VoidHold(wanted) => client.void_hold(self.call(wanted)).await,
            Command::OpenAccount(wanted) => client.open_account(self.call(wanted)).await,
            Command::FreezeAccount(wanted) => client.freeze_account(self.call(wanted)).await,
            Command::UnfreezeAccount(wanted) => client.unfreeze_account(self.call(wanted)).await,
            Command::CloseAccount(wanted) => client.close_account(self.call(wanted)).await,
        };
        answer.map(tonic::Response::into_inner)
    }

    async fn batch(&self, commands: Vec<Command>) -> Result<Vec<v1::Outcome>, Status> {
        let requests = commands.into_iter().map(|wanted| v1::Request { command: Some(wanted) });
        let batch = v1::SubmitBatchRequest { requests: requests.collect() };
        let answer = self.client.clone().submit_batch(self.call(batch)).await?;
        Ok(answer.into_inner().outcomes)
    }

    async fn frame(&self, commands: Vec<Command>) -> Result<Vec<v1::Outcome>, Status> {
        let requests = commands.into_iter().map(|wanted| v1::Request { command: Some(wanted) });
        let frame = v1::SessionRequest {
            id: 1,
            requests: requests.collect(),
            timeout_ms: 10_000,
            traceparent: None,
        };
        let frames = tokio_stream::once(frame);
        let mut answers = self.client.clone().session(self.call(frames)).await?.into_inner();
        answers.message().await.map(|answer| answer.unwrap().outcomes)
    }

    async fn account(&self, name: &str, stale_ok: bool) -> Result<v1::Account, Status> {
        let asked = v1::GetAccountRequest { name: name.to_owned(), stale_ok };
        self.client.clone().get_account(self.call(asked)).await.map(tonic::Response::into_inner)
    }

    async fn hold(&self, name: &str, stale_ok: bool) -> Result<v1::Hold, Status> {
        let asked = v1::GetHoldRequest { name: name.to_owned(), stale_ok };
        self.client.clone().get_hold(self.call(asked)).await.map(tonic::Response::into_inner)
    }

    async fn statement(
        &self,
        parent: &str,
        (page_size, page_token): (i32, &str),
        stale_ok: bool,
    ) -> Result<v1::ListPostingsResponse, Status> {
        let (parent, page_token) = (parent.to_owned(), page_token.to_owned());
        let asked = v1::ListPostingsRequest { parent, page_size, page_token, stale_ok };
        self.client.clone().list_postings(self.call(asked)).await.map(tonic::Response::into_inner)
    }

    async fn outcome(
        &self,
        subject: &str,
        operation: v1::Operation,
        key: &str,
    ) -> Result<v1::Outcome, Status> {
        let asked = v1::LookupOutcomeRequest {
            subject: subject.to_owned(),
            operation: operation.into(),
            idempotency_key: key.to_owned(),
        };
        self.client.clone().lookup_outcome(self.call(asked)).await.map(tonic::Response::into_inner)
    }
}

fn yuan(units_minor: i64) -> Option<v1::Money> {
    Some(v1::Money { currency_code: "CNY".into(), units_minor })
}

fn open(key: &str, account: &str, opening: i64) -> Command {
    Command::OpenAccount(v1::OpenAccountRequest {
        idempotency_key: key.into(),
        account: account.into(),
        currency_code: "CNY".into(),
        opening_balance: yuan(opening).filter(|_| opening > 0),
        ..Default::default()
    })
}

fn transfer(key: &str, debit: &str, credit: &str, units_minor: i64) -> Command {
    Command::Transfer(v1::TransferRequest {
        idempotency_key: key.into(),
        debit_account: debit.into(),
        credit_account: credit.into(),
        amount: yuan(units_minor),
    })
}

fn multi(key: &str, initiator: &str, legs: &[(&str, &str, i64)]) -> Command {
    let legs = legs.iter().map(|(debit, credit, units_minor)| v1::TransferLeg {
        debit_account: (*debit).into(),
        credit_account: (*credit).into(),
        units_minor: *units_minor,
    });
    Command::MultiTransfer(v1::MultiTransferRequest {
        idempotency_key: key.into(),
        initiator_account: initiator.into(),
        currency_code: "CNY".into(),
        legs: legs.collect(),
    })
}

fn reverse(key: &str, transfer: &str, credit: &str) -> Command {
    Command::ReverseTransfer(v1::ReverseTransferRequest {
        idempotency_key: key.into(),
        name: transfer.into(),
        credit_account: credit.into(),
    })
}

fn place(key: &str, hold: &str, debit: &str, credit: &str) -> Command {
    Command::PlaceHold(v1::PlaceHoldRequest {
        idempotency_key: key.into(),
        hold: hold.into(),
        debit_account: debit.into(),
        credit_account: credit.into(),
        amount: yuan(10),
        ttl: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
    })
}

fn post(key: &str, hold: &str) -> Command {
    Command::PostHold(v1::PostHoldRequest {
        idempotency_key: key.into(),
        name: hold.into(),
        units_minor: None,
        release_rest: true,
    })
}

fn void(key: &str, hold: &str) -> Command {
    Command::VoidHold(v1::VoidHoldRequest { idempotency_key: key.into(), name: hold.into() })
}

fn freeze(key: &str, account: &str) -> Command {
    Command::FreezeAccount(v1::FreezeAccountRequest {
        idempotency_key: key.into(),
        name: account.into(),
        scope: v1::FreezeScope::All.into(),
        authority: v1::Authority::Judicial.into(),
    })
}

fn unfreeze(key: &str, account: &str) -> Command {
    Command::UnfreezeAccount(v1::UnfreezeAccountRequest {
        idempotency_key: key.into(),
        name: account.into(),
        authority: v1::Authority::User.into(),
    })
}

fn close(key: &str, account: &str) -> Command {
    Command::CloseAccount(v1::CloseAccountRequest {
        idempotency_key: key.into(),
        name: account.into(),
    })
}

/// The last twelve bits of an id are where it lives: all of these live together, as one owner's would.
fn id(number: u32) -> String {
    format!("accounts/acc_019200000000700080000000{number:05x}123")
}

/// What is Lin's, and what Wang has.
struct Scene {
    lin: String,
    lin_empty: String,
    lin_frozen: String,
    hold: String,
    wang: String,
    /// From one account of Lin's to another.
    inner: String,
    /// From Lin's account to another of his and one of Wang's.
    shared: String,
    /// From Wang to Lin.
    gift: String,
}

/// Every request that could move or change what is Lin's, under a key that begins with `door`, and what Wang hears.
fn trespasses(door: &str, scene: &Scene) -> Vec<(Command, &'static str)> {
    let Scene { lin, lin_empty, lin_frozen, hold, wang, inner, shared, gift } = scene;
    let key = |what: &str| format!("{door} {what}");
    let not_found = "ACCOUNT_NOT_FOUND";
    vec![
        (transfer(&key("take"), lin, wang, 1), not_found),
        (transfer(&key("shift"), lin, lin_empty, 1), not_found),
        (multi(&key("m1"), lin, &[(lin, wang, 1)]), not_found),
        (multi(&key("m2"), wang, &[(wang, lin, 1), (lin, wang, 2)]), not_found),
        (multi(&key("m3"), lin, &[(wang, lin, 1), (lin, wang, 2)]), not_found),
        (reverse(&key("r1"), inner, lin_empty), not_found),
        (reverse(&key("r2"), inner, wang), "TRANSFER_NOT_FOUND"),
        (reverse(&key("r3"), shared, wang), not_found),
        (reverse(&key("r4"), shared, lin_empty), not_found),
        (reverse(&key("r5"), gift, lin), not_found),
        (reverse(&key("r6"), gift, wang), "TRANSFER_NOT_FOUND"),
        (place(&key("h1"), "", lin, wang), not_found),
        (place(&key("h2"), hold, wang, lin), "HOLD_EXISTS"),
        (post(&key("p1"), hold), "HOLD_NOT_FOUND"),
        (void(&key("v1"), hold), "HOLD_NOT_FOUND"),
        (open(&key("o1"), lin, 0), "ACCOUNT_EXISTS"),
        (open(&key("o2"), "", 100), "PERMISSION_DENIED"),
        (freeze(&key("f1"), lin), not_found),
        (unfreeze(&key("u1"), lin_frozen), not_found),
        (close(&key("c1"), lin_empty), not_found),
    ]
}

async fn set_the_scene(lin: &Caller, wang: &Caller, boss: &Caller) -> Scene {
    let [lin_main, lin_other, lin_empty, lin_frozen, wang_main] = [1, 2, 3, 4, 5].map(id);
    let for_tenant = |tenant| Caller { tenant: Some(tenant), ..boss.clone() };
    for (tenant, account, opening) in
        [(1, &lin_main, 1_000), (1, &lin_other, 1_000), (2, &wang_main, 1_000)]
    {
        let key = format!("open {account}");
        for_tenant(tenant).one(open(&key, account, opening)).await.unwrap();
    }
    for account in [&lin_empty, &lin_frozen] {
        lin.one(open("open", account, 0)).await.unwrap();
    }
    let frozen = v1::FreezeAccountRequest {
        idempotency_key: "frozen".into(),
        name: lin_frozen.clone(),
        scope: v1::FreezeScope::Debit.into(),
        authority: v1::Authority::User.into(),
    };
    lin.one(Command::FreezeAccount(frozen)).await.unwrap();
    let hold = lin.one(place("hold", "", &lin_main, &lin_other)).await.unwrap().resource;
    let inner = lin.one(transfer("inner", &lin_main, &lin_other, 5)).await.unwrap().transfer;
    let legs = [(&*lin_main, &*lin_other, 5), (&*lin_main, &*wang_main, 5)];
    let shared = lin.one(multi("shared", &lin_main, &legs)).await.unwrap().transfer;
    let gift = wang.one(transfer("gift", &wang_main, &lin_main, 7)).await.unwrap().transfer;
    Scene {
        lin: lin_main,
        lin_empty: lin_other,
        lin_frozen,
        hold,
        wang: wang_main,
        inner,
        shared,
        gift,
    }
}

/// What Lin has: balances, holds, freezes and statements of all his accounts.
async fn estate(lin: &Caller, scene: &Scene) -> String {
    let mut seen = Vec::new();
    for account in [&scene.lin, &scene.lin_empty, &scene.lin_frozen] {
        let shown = v1::Account { position: None, ..lin.account(account, false).await.unwrap() };
        let page = lin.statement(account, (0, ""), false).await.unwrap();
        seen.push(format!("{shown:?} {:?}", page.postings));
    }
    let hold = v1::Hold { position: None, ..lin.hold(&scene.hold, false).await.unwrap() };
    seen.push(format!("{hold:?}"));
    seen.join("\n")
}

#[test]
fn a_tenant_neither_reads_nor_moves_what_is_anothers() {
    let mut keys = Vec::new();
    let cluster = Cluster::start_with("dev-1.toml", "", |home| {
        keys.push(key(home, "--tenant 0 --scope admin --name boss"));
        keys.push(key(home, "--tenant 1 --scope tenant --name lin"));
        keys.push(key(home, "--tenant 2 --scope tenant --name wang"));
        keys.push(key(home, "--tenant 1 --scope read --name clerk"));
        vec!["--keys".to_owned(), home.join("keys.toml").display().to_string()]
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let caller = |number: usize| Caller::new(&cluster, &keys[number]);
        let (boss, lin, wang, clerk) = (caller(0), caller(1), caller(2), caller(3));
        let scene = set_the_scene(&lin, &wang, &boss).await;
        let before = estate(&lin, &scene).await;
        assert_eq!(estate(&clerk, &scene).await, before, "a reader reads what is its tenant's");

        nobody_moves(&wang, &scene).await;
        nobody_reads(&wang, &lin, &scene).await;
        assert_eq!(estate(&lin, &scene).await, before);

        strangers_and_readers(&cluster, &clerk, &scene).await;
        assert_eq!(estate(&lin, &scene).await, before);
    });
}

/// Every request, by every door.
async fn nobody_moves(wang: &Caller, scene: &Scene) {
    for (command, said) in trespasses("one", scene) {
        assert_eq!(code(wang.one(command.clone()).await), said, "{command:?}");
    }
    let expected: Vec<_> = trespasses("x", scene).into_iter().map(|(_, said)| said).collect();
    let commands = |door| trespasses(door, scene).into_iter().map(|(command, _)| command).collect();
    assert_eq!(codes(&wang.batch(commands("batch")).await.unwrap()), expected);
    assert_eq!(codes(&wang.frame(commands("frame")).await.unwrap()), expected);
    // And the requests of Lin's, word for word under his keys.
    let again = wang.one(transfer("inner", &scene.lin, &scene.lin_empty, 5)).await;
    assert_eq!(code(again), "ACCOUNT_NOT_FOUND");
    let other = Caller { tenant: Some(1), ..wang.clone() };
    for (command, _) in trespasses("as lin", scene) {
        assert_eq!(code(other.one(command).await), "PERMISSION_DENIED");
    }
    assert_eq!(
        code(other.batch(vec![transfer("b", &scene.lin, &scene.wang, 1)]).await),
        "PERMISSION_DENIED"
    );
    assert_eq!(
        code(other.frame(vec![transfer("f", &scene.lin, &scene.wang, 1)]).await),
        "PERMISSION_DENIED"
    );
    // Paying in is what payments are for.
    let paid = Caller { tenant: Some(2), ..wang.clone() };
    assert_eq!(code(paid.one(close("own", &scene.wang)).await), "CLOSE_BLOCKED");
}

/// Every question, fresh and stale.
async fn nobody_reads(wang: &Caller, lin: &Caller, scene: &Scene) {
    let page = lin.statement(&scene.lin, (1, ""), false).await.unwrap();
    assert!(!page.next_page_token.is_empty());
    for stale_ok in [false, true] {
        let not_found = "ACCOUNT_NOT_FOUND";
        for account in [&scene.lin, &scene.lin_frozen] {
            assert_eq!(code(wang.account(account, stale_ok).await), not_found);
            assert_eq!(code(wang.statement(account, (0, ""), stale_ok).await), not_found);
        }
        let token = (1, page.next_page_token.as_str());
        assert_eq!(code(wang.statement(&scene.lin, token, stale_ok).await), not_found);
        let other = wang.statement(&scene.wang, token, stale_ok).await;
        assert_eq!(code(other), "PAGE_TOKEN_INVALID");
        assert_eq!(code(wang.hold(&scene.hold, stale_ok).await), "HOLD_NOT_FOUND");
    }
    for (subject, operation, key) in [
        (&scene.lin, v1::Operation::Transfer, "shared"),
        (&scene.lin, v1::Operation::PlaceHold, "hold"),
        (&scene.lin_frozen, v1::Operation::OpenAccount, "open"),
        (&scene.lin_frozen, v1::Operation::FreezeAccount, "frozen"),
    ] {
        assert_eq!(code(lin.outcome(subject, operation, key).await), "done");
        assert_eq!(code(wang.outcome(subject, operation, key).await), "OUTCOME_NOT_FOUND");
    }
    // What a statement says about the other side is its name, and no more.
    let statement = wang.statement(&scene.wang, (0, ""), false).await.unwrap().postings;
    let sides: Vec<_> = statement.iter().map(|posting| posting.counter_account.as_str()).collect();
    assert_eq!(&sides[..2], [scene.lin.as_str(), scene.lin.as_str()]);
}

/// Who has no key, or one that only reads.
async fn strangers_and_readers(cluster: &Cluster, clerk: &Caller, scene: &Scene) {
    let stranger = Caller { key: None, ..clerk.clone() };
    let forger = Caller::new(cluster, &format!("pk_{}", "0".repeat(64)));
    for (caller, said, reads) in [
        (&stranger, "UNAUTHENTICATED", "UNAUTHENTICATED"),
        (&forger, "UNAUTHENTICATED", "UNAUTHENTICATED"),
        (clerk, "PERMISSION_DENIED", "done"),
    ] {
        for (command, _) in trespasses("stranger", scene) {
            assert_eq!(code(caller.one(command).await), said);
        }
        let commands = || vec![transfer("s", &scene.lin, &scene.lin_empty, 1)];
        assert_eq!(code(caller.batch(commands()).await), said);
        assert_eq!(code(caller.frame(commands()).await), said);
        assert_eq!(code(caller.account(&scene.lin, true).await), reads);
        assert_eq!(code(caller.hold(&scene.hold, true).await), reads);
        assert_eq!(code(caller.statement(&scene.lin, (0, ""), true).await), reads);
        let outcome = caller.outcome(&scene.lin, v1::Operation::Transfer, "inner").await;
        assert_eq!(code(outcome), reads);
    }
    let refused = stranger.account(&scene.lin, true).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = clerk.one(close("k", &scene.lin_empty)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[test]
fn the_command_line_shows_its_key_and_tells_nobody() {
    let mut lin = String::new();
    let cluster = Cluster::start_with("dev-1.toml", "", |home| {
        lin = key(home, "--tenant 1 --scope tenant --name lin");
        vec!["--keys".to_owned(), home.join("keys.toml").display().to_string()]
    });
    let opened = |command: &mut Process| {
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!text.contains(&lin), "{text}");
        output.status.code().unwrap()
    };
    let words = "account open --currency CNY";
    assert_eq!(opened(&mut cluster.command(words)), 77, "no key");
    assert_eq!(opened(cluster.command(words).args(["--api-key", "pk_1"])), 77, "no good key");
    assert_eq!(opened(cluster.command(words).args(["--api-key", &lin])), 0);
    assert_eq!(opened(cluster.command(words).env("PAYCORE_API_KEY", &lin)), 0);
    assert_eq!(opened(cluster.command(words).env("PAYCORE__CLIENT__API_KEY", &lin)), 0);
    let other = format!("{words} --tenant 2");
    assert_eq!(opened(cluster.command(&other).env("PAYCORE_API_KEY", &lin)), 77);
    let rich = format!("{words} --opening 1.00");
    assert_eq!(opened(cluster.command(&rich).env("PAYCORE_API_KEY", &lin)), 77);
    let shown = cluster.command("config show --origin").env("PAYCORE_API_KEY", &lin).output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    assert!(shown.contains("(hidden)") && shown.contains("PAYCORE_API_KEY"), "{shown}");
    assert!(!shown.contains(&lin) && !cluster.log_of("gateway").contains(&lin));

    // A key that is taken out of the file is void soon.
    std::fs::remove_file(cluster.home.path().join("keys.toml")).unwrap();
    key(cluster.home.path(), "--tenant 1 --scope tenant --name other");
    support::until("the old key is void", || {
        (opened(cluster.command(words).env("PAYCORE_API_KEY", &lin)) == 77).then_some(())
    });
}

#[test]
fn without_keys_a_gateway_serves_its_own_machine_alone() {
    let home = tempfile::tempdir().unwrap();
    let topology = home.path().join("cluster.toml");
    let text = "name = \"x\"\nshards = 1\n[[nodes]]\nid = 1\ngrpc = \"127.0.0.1:1\"\n\
                [[gateways]]\ngrpc = \"127.0.0.1:2\"\n[tls]\nplaintext = true\n";
    std::fs::write(&topology, text).unwrap();
    let mut gateway = Process::new(BINARY);
    gateway.env_clear().env("HOME", home.path()).current_dir(home.path());
    gateway.args(["gateway", "--topology", "cluster.toml", "--listen", "0.0.0.0:0"]);
    let refused = gateway.output().unwrap();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(78), "{told}");
    assert!(told.contains("--keys") && told.contains("--open"), "{told}");
}

//! Everything is read again and again over real processes, while money crosses between the shards: each reading has the
//! money that there was from the beginning, whoever dies meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use client::{
    Account, AccountId, AccountKind, Client, Currency, Error, Hold, Money, Piece, Request, Side,
    Summary,
};
use futures::TryStreamExt as _;
use ledger::Shards;
use serde_json::Value;
use support::{Cluster, until};

const SHARDS: u16 = 4;

/// Accounts of each shard: more than a page has, so that a reading takes many questions.
const ACCOUNTS: u16 = 2_500;
const OPENING: u64 = 1_000;
const OPENED_IN_ALL: i64 = SHARDS as i64 * ACCOUNTS as i64 * OPENING as i64;

/// Elections in half of the usual time.
const QUICK: &str =
    "\n[consensus]\nheartbeat_ms = 100\nelection_min_ms = 800\nelection_max_ms = 1000\n";

#[test]
fn every_reading_has_all_the_money_while_it_crosses_between_shards() {
    let cluster = Cluster::start_of("dev-3.toml", SHARDS, "");
    let bank = Bank::open(&cluster.endpoint);
    bank.open_accounts();
    let (mut caught_money_under_way, mut caught_a_hold) = (false, false);
    bank.under_load(|| {
        for _ in 0..20 {
            let all = bank.read_all().unwrap();
            all.check();
            caught_money_under_way |= all.under_way() > 0;
            caught_a_hold |= !all.holds.is_empty();
        }
        check_command_line(&cluster);
    });
    assert!(caught_money_under_way, "money was on its way when a cut was made");
    assert!(caught_a_hold, "money was held when a cut was made");
    let all = bank.read_all().unwrap();
    let audit = bank.block_on(|client| async move { client.audit().await }).unwrap();
    assert_eq!(all.summary.audit.sums, audit.sums, "nothing moves any more");
    for shard in 0..SHARDS {
        cluster.settled_of(shard.into());
    }
}

#[test]
fn a_reading_whose_leader_dies_fails_or_has_all_the_money() {
    let mut cluster = Cluster::start_of("dev-3.toml", SHARDS, QUICK);
    let bank = Bank::open(&cluster.endpoint);
    bank.open_accounts();
    let over = AtomicBool::new(false);
    bank.under_load(|| {
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut failed = Vec::new();
                let mut whole = 0;
                while !over.load(Ordering::SeqCst) {
                    match bank.read_all() {
                        Ok(all) => {
                            all.check();
                            whole += 1;
                        }
                        Err(error) => failed.push(error),
                    }
                }
                (whole, failed)
            });
            let ends = Ends(&over);
            for shard in [3, 1, 2] {
                // The next one begins, and is somewhere on its way.
                bank.read_all_somehow().check();
                let leader = cluster.leader_of(shard);
                cluster.kill_node(leader);
                bank.read_all_somehow().check();
                cluster.start_node(leader);
                cluster.leader_of(shard);
            }
            drop(ends);
            let (whole, failed) = reading.join().unwrap();
            assert!(whole > 0);
            for error in failed {
                assert!(error.is_retryable(), "{error:?}");
                let code = error.code().map(wire::catalogue::find);
                assert!(code.is_some_and(|entry| entry.is_some()), "{error:?}");
            }
        });
    });
    bank.read_all().unwrap().check();
    for shard in 0..SHARDS {
        cluster.settled_of(shard.into());
    }
}

/// Tells the reader to stop, also when the test cannot go on.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What the command writes is whole, line by line and as one document.
fn check_command_line(cluster: &Cluster) {
    let (code, lines, err) = cluster.run("read-all --timeout 60s -o jsonl");
    assert_eq!(code, 0, "{err}");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &'static str| lines.iter().filter(move |line| line["type"] == kind);
    let wallets = of("account").filter(|line| line["kind"] == "wallet");
    let wallets: i64 = wallets.map(|line| line["balance"]["amount"].as_i64().unwrap()).sum();
    let under_way = of("channel").map(|line| {
        assert_ne!(line["from"], line["to"]);
        let money = |name: &str| line[name]["amount"].as_i64().unwrap();
        money("arriving") + money("returning")
    });
    assert_eq!(wallets + under_way.sum::<i64>(), OPENED_IN_ALL);
    let summary = lines.last().unwrap();
    assert_eq!(summary["type"], "summary");
    assert_eq!(summary["accounts"], of("account").count());
    assert_eq!(summary["holds"], of("hold").count());

    let all = cluster.json("read-all --timeout 60s --currency cny");
    assert_eq!(all["accounts"].as_array().unwrap().len(), all["summary"]["accounts"]);
    assert_eq!(all["holds"].as_array().unwrap().len(), all["summary"]["holds"]);
    assert!(all["channels"].is_array());
    let none = cluster.json("read-all --timeout 60s --currency USD");
    for list in ["accounts", "holds", "channels"] {
        assert_eq!(none[list].as_array().unwrap().len(), 0, "{list}");
    }
    let (code, table, err) = cluster.run("read-all --timeout 60s");
    assert_eq!(code, 0, "{err}");
    assert!(table.contains(" · balance ¥") && table.contains("\nBALANCED cut "), "{table}");

    // Whoever stops reading ends the command, and nobody is the worse for it.
    let mut command = cluster.command("read-all --timeout 60s -o jsonl");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let head = Command::new("head").arg("-c1").stdin(child.stdout.take().unwrap()).output();
    assert_eq!(head.unwrap().stdout, b"{");
    assert!(child.wait().unwrap().success());
}

/// The test's side of the counter.
struct Bank {
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Bank {
    fn open(endpoint: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
        let client = {
            let _inside = runtime.enter();
            Client::connect_lazy(format!("http://{endpoint}")).unwrap()
        };
        Self { client: client.with_timeout(Duration::from_secs(20)), runtime }
    }

    fn block_on<A, F: Future<Output = A>>(&self, ask: impl FnOnce(Client) -> F) -> A {
        self.runtime.block_on(ask(self.client.clone()))
    }

    fn open_accounts(&self) {
        let opening = yuan(OPENING).amount;
        let open = |id| Request::open_account(Currency::CNY).with_account(id).with_opening(opening);
        let all = (0..SHARDS).flat_map(|shard| (0..ACCOUNTS).map(move |n| open(account(shard, n))));
        let all: Vec<_> = all.collect();
        for batch in all.chunks(2_000) {
            let done = self.block_on(|client| async move { client.send_batch(batch).await });
            assert!(done.iter().all(Result::is_ok), "{done:?}");
        }
    }

    /// Has money cross between all shards, some of it held first and some of it for nobody, while something is done.
    fn under_load<T>(&self, work: impl FnOnce() -> T) -> T {
        let loads: Vec<_> = (0..4)
            .map(|_| {
                let client = self.client.clone();
                self.runtime.spawn(async move {
                    loop {
                        let batch: Vec<_> = (0..40).map(|_| random_request()).collect();
                        // Whatever becomes of them: a leader may be dead.
                        drop(client.send_batch(&batch).await);
                    }
                })
            })
            .collect();
        let done = work();
        loads.iter().for_each(tokio::task::JoinHandle::abort);
        // What is under way arrives.
        until("nothing is under way", || {
            let audit = self.block_on(|client| async move { client.audit().await }).ok()?;
            audit.sums.iter().all(|sum| sum.under_way == 0).then_some(())
        });
        done
    }

    fn read_all(&self) -> Result<All, Error> {
        self.block_on(|client| async move {
            let pieces = client.read_all(None).await?;
            let mut pieces = std::pin::pin!(pieces);
            let mut all = (Vec::new(), Vec::new(), Vec::new());
            while let Some(piece) = pieces.try_next().await? {
                match piece {
                    Piece::Accounts(found) => all.0.extend(found.into_iter().map(|it| it.record)),
                    Piece::Holds(found) => all.1.extend(found.into_iter().map(|it| it.record)),
                    Piece::Channels(found) => all.2 = found,
                    Piece::Summary(summary) => {
                        let (accounts, holds, channels) = all;
                        return Ok(All { accounts, holds, channels, summary });
                    }
                }
            }
            panic!("the SDK makes an error of that")
        })
    }

    /// Reads as often as it takes.
    fn read_all_somehow(&self) -> All {
        until("everything is read", || match self.read_all() {
            Ok(all) => Some(all),
            Err(error) if error.is_retryable() => None,
            Err(error) => panic!("{error:?}"),
        })
    }
}

/// A transfer to another shard; or a hold for one; or a transfer to nobody there, which comes back.
fn random_request() -> Request {
    let below = |bound: u16| rand::random_range(0..bound);
    let (from, away) = (below(SHARDS), 1 + below(SHARDS - 1));
    let to = (from + away) % SHARDS;
    let debit = account(from, below(ACCOUNTS));
    let money = yuan(u64::from(1 + below(20)));
    match below(10) {
        0 => Request::place_hold(debit, account(to, 0), money, Duration::from_millis(200)),
        1 => Request::transfer(debit, account(to, ACCOUNTS + 1), money),
        _ => Request::transfer(debit, account(to, below(ACCOUNTS)), money),
    }
}

fn account(shard: u16, number: u16) -> AccountId {
    let slot = Shards::new(SHARDS).unwrap().first_slot(shard);
    AccountId::in_slot(0x0192_0000_0000_7000_8000_0000_0000_0000 | u128::from(number) << 12, slot)
}

fn yuan(minor: u64) -> Money {
    Money::minor(minor, Currency::CNY).unwrap()
}

/// One reading.
struct All {
    accounts: Vec<Account>,
    holds: Vec<Hold>,
    channels: Vec<client::ChannelMoney>,
    summary: Summary,
}

impl All {
    fn under_way(&self) -> i64 {
        self.channels.iter().map(|channel| channel.arriving + channel.returning).sum()
    }

    /// Everything is there once, nothing is below zero, and all of it is what there was from the beginning.
    fn check(&self) {
        let Self { accounts, holds, summary, .. } = self;
        assert_eq!(summary.audit.discrepancies, [""; 0]);
        assert_eq!((summary.accounts, summary.holds), (len(accounts), len(holds)));
        let ids: BTreeSet<_> = accounts.iter().map(|account| account.id).collect();
        assert_eq!(ids.len(), accounts.len(), "each once");
        let wallets = accounts.iter().filter(|account| account.kind == AccountKind::Wallet);
        assert_eq!(wallets.clone().count(), usize::from(SHARDS) * usize::from(ACCOUNTS));
        let mut held: BTreeMap<AccountId, i64> = BTreeMap::new();
        for hold in holds {
            *held.entry(hold.debit).or_default() += hold.remaining;
        }
        for account in wallets.clone() {
            let holds = held.remove(&account.id).unwrap_or_default();
            assert_eq!(account.held, holds, "{account:?}");
            assert!(account.posted >= account.held && account.held >= 0, "{account:?}");
            assert_eq!(account.available, account.posted - account.held);
        }
        assert!(held.is_empty(), "{held:?}");
        let customers: i64 = wallets.map(|account| account.posted).sum();
        assert_eq!(customers + self.under_way(), OPENED_IN_ALL);
        let signed = accounts.iter().map(|account| match account.kind.side() {
            Side::Debit => account.posted,
            Side::Credit => -account.posted,
        });
        assert_eq!(signed.sum::<i64>(), 0);
        let [sum] = summary.audit.sums[..] else { panic!("one currency: {summary:?}") };
        assert_eq!((sum.customers, sum.under_way), (customers, self.under_way()));
        assert_eq!((sum.suspense, sum.opening), (0, OPENED_IN_ALL));
    }
}

fn len<T>(all: &[T]) -> u64 {
    u64::try_from(all.len()).unwrap()
}

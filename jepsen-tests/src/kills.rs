//! How long nobody is served when a leader dies: it is killed again and again, under load, and each time the clock runs
//! until the next success on its shard.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use client::Client;
use futures::future::{select_all, try_join_all};
use serde::Serialize;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::caller::{self, Book};
use crate::history::{Call, End};
use crate::hosts::Role;
use crate::hosts::cluster::Cluster;
use crate::hosts::process::Process;
use crate::run::Wanted;
use crate::workload::{OPENING, wallets};

/// The bar, in milliseconds.
const P99_MAX_MS: u64 = 3_000;

/// Callers that ask as soon as the leader is dead, each a little after the one before.
const PROBES: u64 = 6;
const APART: Duration = Duration::from_millis(40);

/// How long one of them tries.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a killed node has to come back before the next dies.
const REST: Duration = Duration::from_secs(3);

/// `leader-kills.json`.
#[derive(Debug, Serialize)]
struct Report {
    times: u64,
    p50_ms: u64,
    p99_ms: u64,
    max_ms: u64,
    bar_p99_ms: u64,
    ok: bool,
    each: Vec<Kill>,
}

/// One kill.
#[derive(Debug, Serialize)]
struct Kill {
    shard: u16,
    node: u64,
    pid: Option<u32>,
    new_pid: u32,
    next_success_ms: u64,
}

/// Kills leaders, and says how long that is felt. The exit code is 1 when it is felt longer than the bar allows.
///
/// # Errors
/// When it could not be measured.
pub(crate) async fn run(wanted: &Wanted, times: u64, say: &impl Fn(&str)) -> anyhow::Result<u8> {
    let cluster = Cluster::lay_out(wanted.plan(), 0)?;
    cluster.start().await?;
    let book = Rc::new(RefCell::new(Book::default()));
    let clients: Vec<Client> = (1..=cluster.plan().gateways)
        .map(|number| cluster.client(number))
        .collect::<anyhow::Result<_>>()?;
    let client = clients.first().context("a cluster has a gateway")?;
    try_join_all(wallets().keys().map(|name| caller::open(client, &book, name, OPENING))).await?;
    let picture = caller::carry_out(client, &book, &Call::ReadAll, &Default::default()).await?;
    anyhow::ensure!(matches!(picture.0, End::Ok(_)), "no first picture: {picture:?}");
    let mut each = Vec::new();
    let numbers = Rc::new(Cell::new(0_u64));
    LocalSet::new()
        .run_until(async {
            let load =
                tokio::task::spawn_local(load(client.clone(), book.clone(), numbers.clone()));
            for time in 0..times {
                let shard = u16::try_from(time.checked_rem(4).unwrap_or(0))?;
                let kill = kill(&cluster, &clients, &book, (shard, &numbers)).await?;
                say(&format!("{}: {kill:?}", time.saturating_add(1)));
                each.push(kill);
                tokio::time::sleep(REST).await;
            }
            load.abort();
            anyhow::Ok(())
        })
        .await?;
    cluster.stop().await?;
    let mut all: Vec<u64> = each.iter().map(|kill| kill.next_success_ms).collect();
    all.sort_unstable();
    let quantile = |percent: usize| {
        let place = all.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
        all.get(place).copied().unwrap_or(u64::MAX)
    };
    let (p50_ms, p99_ms, max_ms) = (quantile(50), quantile(99), quantile(100));
    let ok = p99_ms <= P99_MAX_MS;
    let report = Report { times, p50_ms, p99_ms, max_ms, bar_p99_ms: P99_MAX_MS, ok, each };
    std::fs::write(wanted.out.join("leader-kills.json"), serde_json::to_string_pretty(&report)?)?;
    say(&format!(
        "{times} leaders killed: next success after p50 {p50_ms} ms, p99 {p99_ms} ms, at most {max_ms} ms"
    ));
    Ok(u8::from(!ok))
}

/// Kills the leader of a shard, and waits for the next success there.
async fn kill(
    cluster: &Cluster,
    clients: &[Client],
    book: &RefCell<Book>,
    (shard, numbers): (u16, &Cell<u64>),
) -> anyhow::Result<Kill> {
    let accounts = book.borrow().accounts_of(shard);
    let (from, to) = (accounts.first(), accounts.get(1));
    let (from, to) = from.zip(to).with_context(|| format!("shard {shard} has no two accounts"))?;
    let node = cluster.leader(shard).await?;
    let pid = cluster.process(Role::Node(node), Process::kill)??;
    let dead = Instant::now();
    let probes = (0..PROBES).map(|number| {
        let place = usize::try_from(number).unwrap_or(0).checked_rem(clients.len()).unwrap_or(0);
        Box::pin(async move {
            tokio::time::sleep(APART.saturating_mul(u32::try_from(number)?)).await;
            let client = clients.get(place).context("a cluster has a gateway")?;
            while dead.elapsed() < PATIENCE {
                let id = format!("t{}", numbers.replace(numbers.get().saturating_add(1)));
                let call = Call::Transfer { id, from: from.clone(), to: to.clone(), amount: 1 };
                let (end, _) = caller::carry_out(client, book, &call, &Default::default()).await?;
                if matches!(end, End::Ok(_)) {
                    return Ok(dead.elapsed());
                }
            }
            anyhow::bail!("no success on shard {shard} within {PATIENCE:?}")
        })
    });
    let (took, _, _) = select_all(probes).await;
    let next_success_ms = u64::try_from(took?.as_millis())?;
    let new_pid = cluster.process(Role::Node(node), Process::start)??;
    Ok(Kill { shard, node, pid, new_pid, next_success_ms })
}

/// Transfers among all accounts, all the time.
async fn load(
    client: Client,
    book: Rc<RefCell<Book>>,
    numbers: Rc<Cell<u64>>,
) -> anyhow::Result<()> {
    let mut generator = crate::workload::Generator::new(&[crate::workload::Workload::Bank], 1);
    loop {
        let id = format!("t{}", numbers.replace(numbers.get().saturating_add(1)));
        if let Call::Transfer { from, to, .. } = generator.next() {
            let call = Call::Transfer { id, from, to, amount: 1 };
            caller::carry_out(&client, &book, &call, &Default::default()).await?;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

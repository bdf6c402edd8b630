//! A run from its first account to its verdict.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use futures::future::join_all;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use tokio::sync::Notify;

use super::accounts;
use super::args::{Door, flag};
use super::chaos;
use super::cluster::Cluster;
use super::environment::Environment;
use super::files::Files;
use super::gate::Gate;
use super::grpc::MethodHead;
use super::history::{self, Books, Calls, Told};
use super::intents::Intents;
use super::keys::Keys;
use super::lane::Lane;
use super::load::{Clock, Load, Pace, SharedLoad};
use super::page;
use super::plan::{Plan, Target};
use super::process::Usage;
use super::record::RunRecord;
use super::replays;
use super::session::{self, Manner};
use super::statements::{self, Keep, Reader, Whose};
use super::summary::{Cost, LOADER, Summary};
use super::tally::Tally;
use super::trial::Before;
use super::unary;
use super::watch::{self, Seen};
use crate::exit::Failure;
use crate::output::Screen;
use crate::verify::{Check, Kept, StatementWriter, Verdict};

/// What surrounds a run.
pub(super) struct Stage<'a> {
    /// What is to be done.
    pub(super) plan: &'a Plan,
    /// Where it is written down.
    pub(super) files: &'a Files,
    /// Whom it is told to.
    pub(super) screen: Screen,
    /// `paycore` itself, for nodes and gateway.
    pub(super) program: &'a Path,
}

impl Stage<'_> {
    /// Runs it all, and writes everything down.
    pub(super) async fn run(&self) -> anyhow::Result<Summary> {
        let environment = Environment::gather(self.files.dir());
        self.files.write_json("env.json", &environment)?;
        let (cluster, gate) = self.target().await?;
        let scene = self.scene(&gate).await?;
        let performance = self.perform(cluster.as_ref(), &gate).await?;
        let Performance { load, seen, struck, cost } = performance;
        let summary = Summary::of(self.plan, load.count(), &load.tally, &cost, &seen);

        self.screen.say(format_args!("reading the ledger's record …"));
        let mut verdict = self.judge(&load, &scene).await?;
        if let Some(cluster) = &cluster {
            verdict.add(crashes(cluster), |verdict| &mut verdict.crashed);
            cluster.stop_all().await?;
        }
        let summary = summary.with(struck, verdict.closed());
        if let (Some(cluster), true) = (&cluster, summary.verdict.ok) {
            // What is only evidence of nothing having happened would soon fill the disk.
            cluster.remove_data()?;
        }

        self.files.write_json("summary.json", &summary)?;
        self.files.write("latency.hdr", &latency_log(&load.tally)?)?;
        let page = page::write(&summary, load.tally.seconds(), &environment)?;
        self.files.write("report.html", page.as_bytes())?;
        Ok(summary)
    }

    /// A cluster to run against.
    async fn target(&self) -> anyhow::Result<(Option<Cluster>, Gate)> {
        let (nodes, store) = match &self.plan.target {
            Target::Cluster { gate, .. } => return Ok((None, gate.clone())),
            Target::Spawn { nodes, store } => (*nodes, *store),
        };
        self.screen.say(format_args!("starting {nodes} nodes and a gateway …"));
        let cluster =
            Cluster::lay_out(self.program, self.files.dir(), nodes, self.plan.shards, store)?;
        cluster.start_all()?;
        cluster.ready().await?;
        let gate = Gate::plain(cluster.gateway());
        Ok((Some(cluster), gate))
    }

    /// What has to be known before the run to judge it afterwards.
    async fn scene<'g>(&self, gate: &'g Gate) -> anyhow::Result<Scene<'g>> {
        let (reader, shards) = (Reader::to(gate)?, self.plan.shards);
        let before = match &self.plan.target {
            Target::Spawn { .. } => Some(Before::nothing(shards)?),
            Target::Cluster { is_alone, .. } => {
                let found = reader.audit().await?.parts.len();
                if found != usize::from(shards) {
                    let what = format!("the cluster has {found} shards, and not {shards}");
                    let hint = format!("say --shards {found}");
                    return Err(Failure::usage(what).with_hint(hint).into());
                }
                if *is_alone { Some(Before::read(&reader, shards).await?) } else { None }
            }
        };
        Ok(Scene { gate, reader, before })
    }

    /// Opens the accounts, then makes requests until the plan is fulfilled and everything is answered.
    async fn perform(&self, cluster: Option<&Cluster>, gate: &Gate) -> anyhow::Result<Performance> {
        let intents = Intents {
            seed: self.plan.seed,
            accounts: self.plan.accounts,
            hot: self.plan.hot,
            shards: self.plan.shards,
            cross: self.plan.cross,
            began_ms: unix_ms()?,
        };
        self.screen.say(format_args!("opening {} accounts …", intents.accounts));
        accounts::open(&Lane::to(gate), intents).await.context("opening the accounts")?;

        let before = cost(cluster);
        let clock = Clock::start();
        let keys = Keys::new(self.plan.keys, intents);
        let pace = Pace { until: self.plan.until, rate: self.plan.rate };
        let calls = Calls::up_to(self.plan.calls_max);
        let load = Rc::new(RefCell::new(Load::new(intents, keys, pace, calls, clock)));
        let seen = RefCell::new(Seen::default());
        let over = Notify::new();

        let workers = self.workers(&load, gate)?;
        let working = async {
            join_all(workers).await;
            over.notify_one();
        };
        let strike = async {
            match cluster {
                Some(cluster) => {
                    chaos::strike(&self.plan.chaos, self.plan.seed, cluster, clock, &over).await
                }
                None => Ok(Vec::new()),
            }
        };
        let nodes = async {
            match cluster {
                Some(cluster) => watch::nodes(cluster, self.plan.shards, clock, &seen).await,
                None => std::future::pending().await,
            }
        };
        let seconds = watch::seconds(Rc::clone(&load), &seen, self.screen);
        // A run is over when its requests are; what was killed is started again all the same.
        let requests = async { tokio::join!(working, strike) };
        let ((), struck) = tokio::select! {
            done = requests => done,
            () = nodes => unreachable!("it looks until it is dropped"),
            () = seconds => unreachable!("it counts until it is dropped"),
        };
        let struck = struck.context("the faults")?;

        load.borrow_mut().close();
        load.borrow_mut().tally.tick(clock.now_ms());
        let cost = cost(cluster).since(&before);
        let load = Rc::try_unwrap(load).ok().context("a worker outlived the run")?.into_inner();
        Ok(Performance { load, seen: seen.into_inner(), struck, cost })
    }

    /// Who makes the requests.
    fn workers(&self, load: &SharedLoad, gate: &Gate) -> anyhow::Result<Vec<Worker>> {
        let mut workers: Vec<Worker> = Vec::new();
        let method = Rc::new(MethodHead::new(gate, unary::PATH)?);
        for _ in 0..self.plan.connections {
            match self.plan.door {
                Door::Session => {
                    let manner = Manner {
                        gate: gate.clone(),
                        batch: self.plan.batch,
                        inflight: self.plan.inflight,
                    };
                    workers.push(Box::pin(session::run(Rc::clone(load), manner)));
                }
                Door::Unary => {
                    let lane = Lane::to(gate);
                    for _ in 0..self.plan.inflight {
                        let caller =
                            unary::run(Rc::clone(load), Rc::clone(&lane), Rc::clone(&method));
                        workers.push(Box::pin(caller));
                    }
                }
            }
        }
        Ok(workers)
    }

    /// Compares what callers were told with what the ledger says, and keeps both.
    async fn judge(&self, load: &Load, scene: &Scene<'_>) -> anyhow::Result<Verdict> {
        let mut verdict = Verdict::default();
        let mut answered = Check::of("every request came to a final outcome while the run went on");
        answered.looked_at(load.count());
        answered.violations = load.tally.unknown.saturating_add(load.tally.not_done);
        verdict.add(answered, |verdict| &mut verdict.undecided);
        let replays = replays::ask(&Lane::to(scene.gate), load).await?;
        verdict.add(replays.same, |verdict| &mut verdict.wrong);
        verdict.add(replays.answered, |verdict| &mut verdict.undecided);

        let record =
            RunRecord::new(load.intents, load.keys.clone(), load.codes.clone(), load.count());
        self.files.write_json("run.json", &record)?;
        let kept = Kept::new(load.intents, load.told().to_vec());
        let keep = if load.calls.are_whole() {
            Keep::Books(Books::default())
        } else {
            Keep::File(StatementWriter::create(&self.files.statements())?)
        };
        let whose = Whose { reader: &scene.reader, before: scene.before.as_ref() };
        match statements::check(whose, &kept, load.intents, keep, &mut verdict).await? {
            Keep::Books(books) => {
                let told = Told { intents: load.intents, endings: load.told(), codes: &load.codes };
                history::write(&self.files.history(), &load.calls, &told, books)?;
            }
            Keep::File(writer) => {
                writer.finish()?;
                kept.write(&self.files.told())?;
            }
        }
        audit(&scene.reader, &mut verdict).await;
        Ok(verdict)
    }

    /// What is done, in words.
    pub(super) fn announce(&self) {
        let plan = self.plan;
        let (workload, door) = (flag(&plan.workload), flag(&plan.door));
        let pace =
            plan.rate.map_or("closed loop".to_owned(), |rate| format!("open loop, {rate}/s"));
        self.screen.say(format_args!(
            "{workload} · {pace} · {door}, {} connections × {} in flight × {} a frame · {} accounts · seed {}",
            plan.connections, plan.inflight, plan.batch, plan.accounts, plan.seed
        ));
    }
}

type Worker = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// What a run leaves before it is judged.
struct Performance {
    load: Load,
    seen: Seen,
    struck: Vec<chaos::Struck>,
    cost: Cost,
}

/// A run's cluster as it was found.
struct Scene<'g> {
    gate: &'g Gate,
    reader: Reader,
    /// What the shards' own accounts had, if the run has them for itself.
    before: Option<Before>,
}

/// Has the ledger's own books compared, by the live audit.
async fn audit(reader: &Reader, verdict: &mut Verdict) {
    let mut audited = Check::of("the live audit could be made");
    audited.looked_at(1);
    let mut sums = Check::of("by the live audit, the books of all shards add up");
    match reader.audit().await {
        Ok(found) => {
            sums.looked_at(u64::try_from(found.parts.len()).unwrap_or(u64::MAX));
            for discrepancy in found.discrepancies {
                sums.broken(|| discrepancy.detail);
            }
            verdict.add(sums, |verdict| &mut verdict.broken_books);
        }
        Err(why) => audited.broken(|| format!("{why:#}")),
    }
    verdict.add(audited, |verdict| &mut verdict.undecided);
}

fn crashes(cluster: &Cluster) -> Check {
    let mut check = Check::of("no process ended without being told to");
    check.looked_at(u64::try_from(cluster.nodes().count()).unwrap_or(u64::MAX).saturating_add(1));
    for (role, how) in cluster.died() {
        check.broken(|| format!("{role}: {how}"));
    }
    check
}

fn cost(cluster: Option<&Cluster>) -> Cost {
    let mut cost = Cost::default();
    if let Some(cluster) = cluster {
        cost.usage = cluster.usage();
        cost.disk_bytes = cluster.disk_bytes();
    }
    cost.usage.insert(LOADER.to_owned(), Usage::of_self());
    cost
}

/// All latencies as one interval of the standard log: microseconds, V2.
fn latency_log(tally: &Tally) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let now = SystemTime::now();
    let length = std::time::Duration::from_nanos(tally.ended_at);
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("microseconds from when a request should have been sent to its final outcome")
        .with_start_time(now.checked_sub(length).unwrap_or(now))
        .begin_log_with(&mut bytes, &mut serializer)?;
    log.write_histogram(&tally.latency, std::time::Duration::ZERO, length, None)
        .map_err(|why| anyhow::anyhow!("the latency log: {why:?}"))?;
    Ok(bytes)
}

fn unix_ms() -> anyhow::Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(u64::try_from(since.as_millis())?)
}

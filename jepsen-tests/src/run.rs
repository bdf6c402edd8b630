//! One run: a cluster, callers, a nemesis; then quiet, in which everything must finish; then the end is read.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use client::Client;
use futures::future::try_join_all;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

use crate::caller::{self, Book};
use crate::checkers::DIED;
use crate::history::{Call, End, Event, Meta, Refusal};
use crate::hosts::cluster::{Cluster, Plan};
use crate::hosts::disks;
use crate::hosts::net::Net;
use crate::hosts::shell::{text, works};
use crate::nemesis::members::spare;
use crate::nemesis::{Family, Fault, Needs, Nemesis};
use crate::recorder::Recorder;
use crate::workload::{Generator, WORKLOADS, Workload, wallets};

/// How long everything may take to finish when all is quiet.
const HEALED_MAX: Duration = Duration::from_secs(60);

/// How long it may take to look at everything that a run has made.
const LOOK_BACK_MAX: Duration = Duration::from_secs(900);

/// How long a caller rests whose call could not even be sent.
const REST: Duration = Duration::from_millis(50);

/// What is run.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Calls.
    pub(crate) workloads: Vec<Workload>,
    /// What goes wrong.
    pub(crate) families: Vec<Family>,
    /// For how long.
    pub(crate) duration: Duration,
    /// From which seed.
    pub(crate) seed: u64,
    /// Calls a second, of all callers together.
    pub(crate) rate: u64,
    /// Callers.
    pub(crate) callers: u64,
    /// Nodes.
    pub(crate) nodes: u64,
    /// The run's folder.
    pub(crate) out: PathBuf,
    /// The binary under test.
    pub(crate) binary: PathBuf,
    /// A planted build of it, for a run all of whose faults need one.
    pub(crate) planted: Option<PathBuf>,
    /// Namespaces; loopback without.
    pub(crate) net: Option<Net>,
}

/// Gateways: one may be killed, or be on the wrong side of a cut, and there is another.
const GATEWAYS: u64 = 2;

/// Shards of accounts.
const SHARDS: u16 = 4;

impl Wanted {
    /// The binary that runs.
    pub(crate) fn binary(&self) -> &Path {
        let mut all = self.families.iter().flat_map(|family| &family.faults).peekable();
        let is_for_planted =
            all.peek().is_some() && all.all(|fault| fault.needs() == Needs::Planted);
        self.planted.as_ref().filter(|_| is_for_planted).unwrap_or(&self.binary)
    }

    /// Every fault, one after the other; and of those that cannot be had here, what they are called and why.
    ///
    /// # Errors
    /// When a family is wanted of which none can be had.
    fn faults(&self) -> anyhow::Result<(Vec<Fault>, Vec<String>)> {
        let all: Vec<Fault> =
            self.families.iter().flat_map(|family| family.faults.iter().copied()).collect();
        let needs_disks = all.iter().any(|fault| fault.needs() == Needs::Disks);
        let no_disks = needs_disks.then(|| disks::obstacle(&self.out)).flatten();
        // What reads the clock's error names the variable.
        let binary = self.binary();
        let is_planted = works(&["grep", "-q", "PAYCORE_CLOCK_FILE", &text(binary)]);
        let obstacle = |fault: &Fault| match fault.needs() {
            Needs::Nothing => None,
            Needs::Net => self.net.is_none().then(|| "there are no network namespaces".to_owned()),
            Needs::Disks => no_disks.clone(),
            Needs::Planted => (!is_planted).then(|| "only a planted build has it".to_owned()),
        };
        let refused: Vec<String> = all
            .iter()
            .filter_map(|fault| Some(format!("{}: {}", fault.name(), obstacle(fault)?)))
            .collect();
        let mut can = all.clone();
        can.retain(|fault| obstacle(fault).is_none());
        for family in self.families.iter().filter(|family| !family.faults.is_empty()) {
            let has_any = family.faults.iter().any(|fault| can.contains(fault));
            anyhow::ensure!(
                has_any,
                "none of {} can be had here: {}",
                family.name,
                refused.join("; ")
            );
        }
        let handover = self.workloads.contains(&Workload::Admin) && !can.contains(&Fault::Handover);
        can.extend(handover.then_some(Fault::Handover));
        Ok((can, refused))
    }

    /// A cluster as it is wanted, without disks of its nodes' own.
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            binary: self.binary().to_owned(),
            dir: self.out.clone(),
            shards: SHARDS,
            nodes: self.nodes,
            gateways: GATEWAYS,
            net: self.net.clone(),
            has_disks: false,
        }
    }

    fn meta(&self, faults: &[Fault], refused: Vec<String>) -> Meta {
        let named = |workload: &Workload| {
            let found = WORKLOADS.iter().find(|(_, known)| known == workload);
            found.map_or_else(String::new, |(name, _)| (*name).to_owned())
        };
        Meta {
            accounts: wallets(),
            overdraft: false,
            seed: self.seed,
            workloads: self.workloads.iter().map(named).collect(),
            faults: faults.iter().map(|fault| fault.name().to_owned()).collect(),
            refused,
            hosts: [
                if self.net.is_some() { "network namespaces, TLS" } else { "loopback, plaintext" },
                if has_disks(faults) { ", disks of their own" } else { "" },
            ]
            .concat(),
            duration_ms: u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Whether nodes need disks of their own.
fn has_disks(faults: &[Fault]) -> bool {
    faults.iter().any(|fault| fault.needs() == Needs::Disks)
}

/// What all callers share.
struct Shared {
    clients: Vec<Client>,
    book: RefCell<Book>,
    generator: RefCell<Generator>,
    recorder: Recorder,
    /// The first call of each key.
    sent: RefCell<BTreeMap<String, Call>>,
    /// Keys of which somebody heard that nothing was done.
    undone: RefCell<Vec<String>>,
    /// Whether nothing new is asked any more.
    over: Cell<bool>,
    /// Numbers of processes that have not been given away.
    processes: Cell<u64>,
    callers: u64,
    rate: u64,
}

/// Runs a cluster, and gives its history. Its files are in the run's folder.
///
/// # Errors
/// When the run could not be carried out: nothing can be said of the cluster then.
pub(crate) async fn run(wanted: &Wanted) -> anyhow::Result<Vec<Event>> {
    let (faults, refused) = wanted.faults()?;
    let joins = faults.iter().any(|fault| fault.adds_nodes());
    let spare = if joins { spare(wanted.duration) } else { 0 };
    let plan = Plan { has_disks: has_disks(&faults), ..wanted.plan() };
    let cluster = Cluster::lay_out(plan, spare)?;
    cluster.start().await?;
    let clients: Vec<Client> =
        (1..=GATEWAYS).map(|number| cluster.client(number)).collect::<anyhow::Result<_>>()?;
    let book = RefCell::new(Book::default());
    let first = clients.first().context("a cluster has a gateway")?;
    let accounts = wallets();
    try_join_all(accounts.iter().map(|(name, opening)| caller::open(first, &book, name, *opening)))
        .await?;
    let recorder = Recorder::create(&wanted.out.join("history.jsonl"))?;
    recorder.put(Event::Meta(wanted.meta(&faults, refused)))?;
    let shared = Rc::new(Shared {
        clients,
        book,
        generator: RefCell::new(Generator::new(&wanted.workloads, wanted.seed)),
        recorder,
        sent: RefCell::default(),
        undone: RefCell::default(),
        over: Cell::new(false),
        processes: Cell::new(wanted.callers.saturating_add(1)),
        callers: wanted.callers,
        rate: wanted.rate.max(1),
    });
    LocalSet::new().run_until(shared.clone().go(wanted, &faults, &cluster)).await?;
    cluster.stop().await?;
    for how in cluster.deaths() {
        shared.recorder.phase(&format!("{DIED}{how}"))?;
    }
    shared.recorder.events()
}

impl Shared {
    async fn go(
        self: Rc<Self>,
        wanted: &Wanted,
        faults: &[Fault],
        cluster: &Cluster,
    ) -> anyhow::Result<()> {
        // The first picture tells which shard has which account.
        self.call(0, 0, &Call::ReadAll).await?;
        anyhow::ensure!(self.book.borrow().shards() >= 3, "the accounts are on too few shards");
        let mut callers: Vec<JoinHandle<anyhow::Result<()>>> = Vec::new();
        for number in 1..=self.callers {
            callers.push(tokio::task::spawn_local(self.clone().caller(number)));
        }
        if wanted.workloads.contains(&Workload::Bank) {
            callers.push(tokio::task::spawn_local(self.clone().photographer()));
        }
        let began = Instant::now();
        let mut nemesis = Nemesis::new(cluster, &self.recorder, wanted.seed);
        let until = u64::try_from(wanted.duration.as_nanos())?.saturating_add(self.recorder.now());
        nemesis.torment(faults, until).await?;
        tokio::time::sleep(wanted.duration.saturating_sub(began.elapsed())).await;
        self.over.set(true);
        self.recorder.phase("liveness")?;
        let stop: Vec<_> = callers.iter().map(JoinHandle::abort_handle).collect();
        let quiet = self.clone().finish(callers);
        match tokio::time::timeout(HEALED_MAX, quiet).await {
            Ok(finished) => {
                finished?;
                tokio::time::timeout(LOOK_BACK_MAX, self.look_back())
                    .await
                    .context("the end cannot be read")?
            }
            // The history has no end then, and the checkers say so.
            Err(_) => {
                stop.iter().for_each(tokio::task::AbortHandle::abort);
                Ok(())
            }
        }
    }

    /// Asks for one thing after the other; what nobody answered, again, until somebody does.
    async fn caller(self: Rc<Self>, number: u64) -> anyhow::Result<()> {
        let (mut process, mut gateway) = (number, usize::try_from(number)?);
        // A call that nobody answered at first: it may have been carried out, whatever is said of a later copy.
        let mut unanswered: Option<Call> = None;
        let mut began = Instant::now();
        loop {
            let is_copy = unanswered.is_some();
            let call = match unanswered.take() {
                Some(call) => call,
                None if self.over.get() => return Ok(()),
                None => {
                    let pause = self.generator.borrow_mut().pause_ms(self.callers, self.rate);
                    // What the last call took is part of the pause, so that a slow answer does not make a slow caller.
                    let pause = Duration::from_millis(pause).saturating_sub(began.elapsed());
                    tokio::time::sleep(pause).await;
                    began = Instant::now();
                    self.generator.borrow_mut().next()
                }
            };
            if let Some(id) = call.id() {
                self.sent.borrow_mut().entry(id.to_owned()).or_insert_with(|| call.clone());
            }
            let end = self.call(process, gateway, &call).await?;
            match &end {
                End::Info => {
                    unanswered = Some(call);
                    process = self.fresh_process();
                    gateway = gateway.saturating_add(1);
                }
                End::Fail(Refusal { rejected: false, .. }, code) => {
                    if is_copy {
                        unanswered = Some(call);
                    } else {
                        self.undone.borrow_mut().extend(call.id().map(str::to_owned));
                    }
                    if code == "no_answer" {
                        gateway = gateway.saturating_add(1);
                    }
                    tokio::time::sleep(REST).await;
                }
                End::Fail(..) | End::Ok(_) => self.generator.borrow_mut().learn(&call, &end),
            }
        }
    }

    /// Takes one whole picture after the other.
    async fn photographer(self: Rc<Self>) -> anyhow::Result<()> {
        let mut gateway = 0_usize;
        while !self.over.get() {
            if matches!(self.call(0, gateway, &Call::ReadAll).await?, End::Fail(..)) {
                gateway = gateway.saturating_add(1);
            }
            tokio::time::sleep(REST).await;
        }
        Ok(())
    }

    /// Makes a call, and writes down how it ended.
    async fn call(&self, process: u64, gateway: usize, call: &Call) -> anyhow::Result<End> {
        let place = gateway.checked_rem(self.clients.len()).unwrap_or(0);
        let client = self.clients.get(place).context("a cluster has a gateway")?;
        let of = match call {
            Call::Lookup { id } => {
                let sent = self.sent.borrow();
                sent.get(id).map(|call| (id.clone(), call.clone())).into_iter().collect()
            }
            Call::Transfer { .. }
            | Call::Hold { .. }
            | Call::Post { .. }
            | Call::Void { .. }
            | Call::Freeze { .. }
            | Call::Unfreeze { .. }
            | Call::Read { .. }
            | Call::ReadStale { .. }
            | Call::ReadHold { .. }
            | Call::Statement { .. }
            | Call::ReadAll => BTreeMap::new(),
        };
        self.recorder.begin(process, call)?;
        let (end, words) = caller::carry_out(client, &self.book, call, &of).await?;
        self.recorder.end(process, call, &end, words)?;
        Ok(end)
    }

    fn fresh_process(&self) -> u64 {
        let process = self.processes.get();
        self.processes.set(process.saturating_add(1));
        process
    }

    /// Waits until every caller has its answers, and reads the end, at every gateway.
    async fn finish(
        self: Rc<Self>,
        callers: Vec<JoinHandle<anyhow::Result<()>>>,
    ) -> anyhow::Result<()> {
        for caller in callers {
            caller.await??;
        }
        self.recorder.phase("final")?;
        let reader = self.fresh_process();
        for gateway in 0..self.clients.len() {
            for account in wallets().into_keys() {
                self.until_told(reader, gateway, &Call::Read { account: account.clone() }).await?;
                self.until_told(reader, gateway, &Call::Statement { account }).await?;
            }
            self.until_told(reader, gateway, &Call::ReadAll).await?;
        }
        self.recorder.phase("end")
    }

    /// Looks at everything that there ever was: longer, the longer the run was.
    async fn look_back(&self) -> anyhow::Result<()> {
        let reader = self.fresh_process();
        let holds: Vec<String> =
            self.sent.borrow().keys().filter(|id| id.starts_with('h')).cloned().collect();
        for hold in holds.into_iter().filter(|hold| self.book.borrow().knows_hold(hold)) {
            self.until_told(reader, 0, &Call::ReadHold { hold }).await?;
        }
        for id in self.undone.take() {
            self.call(reader, 0, &Call::Lookup { id }).await?;
        }
        Ok(())
    }

    /// Reads until there is an answer: the run's own clock says when that is too late.
    async fn until_told(&self, process: u64, gateway: usize, call: &Call) -> anyhow::Result<()> {
        while matches!(self.call(process, gateway, call).await?, End::Fail(..)) {
            tokio::time::sleep(REST).await;
        }
        Ok(())
    }
}

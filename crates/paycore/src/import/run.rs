//! The whole of an import, from the map to the summary.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::keys::Keys;
use super::map::Map;
use super::payments::Payments;
use super::plan::Plan;
use super::progress::Progress;
use super::report::Report;
use super::row::Reading;
use super::settle::{Patience, settle};
use super::sink::{Order, PaymentSink, Verdict, What};
use super::source::Source;
use super::tally::{Summary, Tally};
use crate::config::Problem;
use crate::exit::Failure;
use crate::output::Screen;

/// Orders of one batch: enough that a batch's own price is small, few enough that one lost answer costs little. Tests
/// have smaller ones, so that few rows are many batches.
const BATCH_LEN: usize = if cfg!(test) { 32 } else { 256 };

/// Batches in flight: together as many requests as one log entry carries, so that entries are full.
const FLIGHTS_MAX: usize = 8;

/// How long an interrupted import still waits for what is under way.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// What to do about a row that is no payment, or a payment that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    /// A bad row: send nothing at all. A refused payment: begin nothing more.
    Stop,
    /// Report it, and go on with the rest.
    Continue,
}

/// What is to be imported, and how.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The file of payments.
    pub(crate) file: PathBuf,
    /// What its columns mean.
    pub(crate) map: PathBuf,
    /// How often every row is paid, if not as often as the map says.
    pub(crate) periods: Option<u32>,
    /// What to do when something is wrong.
    pub(crate) on_error: OnError,
    /// Where to write down what was wrong.
    pub(crate) report: Option<PathBuf>,
}

/// An import that has read its file once, and sent nothing yet.
pub(crate) struct Import {
    screen: Screen,
    on_error: OnError,
    reading: Reading,
    source: Source,
    plan: Plan,
    keys: Keys,
    report: Report,
    began: Instant,
}

impl Job {
    /// Reads map and file, and everything that can be known from them.
    ///
    /// # Errors
    /// When either cannot be used; with [`OnError::Stop`], also when a row is no payment.
    pub(crate) fn prepare(self, screen: Screen) -> Result<Import, Failure> {
        let began = Instant::now();
        let map = Map::load(&self.map).map_err(|wrong| Failure::of_problems(&wrong))?;
        let mut source = Source::open(&self.file, map.file)?;
        let reading = map.bind(source.pass()?.titles()).map_err(|what| {
            Failure::of_problems(&[Problem::new(self.map.display().to_string(), what)])
        })?;
        let mut report = Report::begin(self.report.as_deref(), &self.file, screen)?;
        let periods = self.periods.unwrap_or(map.periods);
        let plan =
            Plan::make(&mut source, &reading, periods, |line, why| report.bad_row(line, why))?;
        if plan.bad > 0 && self.on_error == OnError::Stop {
            report.end()?;
            let what =
                format!("{} of {} rows are no payments; nothing was sent", plan.bad, plan.rows);
            return Err(Failure::coded("INVALID_FIELD", what)
                .with_hint("correct them, or leave them out with --on-error continue"));
        }
        if plan.too_needy > 0 {
            screen.warn(format_args!(
                "{} payers need more than an account may begin with; they begin with the most there is",
                plan.too_needy
            ));
        }
        let keys = Keys { namespace: reading.namespace.clone(), digest: plan.digest };
        Ok(Import { screen, on_error: self.on_error, reading, source, plan, keys, report, began })
    }
}

impl Import {
    /// What would be done.
    ///
    /// # Errors
    /// When the report cannot be written.
    pub(crate) fn rehearse(mut self) -> Result<Summary, Failure> {
        self.report.end()?;
        let tally = Tally::of(&self.plan);
        Ok(self.summary(tally, true))
    }

    /// Does it: opens the accounts, then pays. `interrupted` comes true when nothing more is to be begun.
    ///
    /// # Errors
    /// When the file cannot be read any more, or the report not be written. What became of payments is no error here,
    /// but in the summary.
    pub(crate) async fn carry_out(
        mut self,
        sink: &impl PaymentSink,
        patience: Duration,
        interrupted: impl Future<Output = ()>,
    ) -> Result<Summary, Failure> {
        let patience = Patience::lasting(patience);
        let watched = async {
            interrupted.await;
            self.screen.warn(format_args!("interrupted: waiting for what is under way"));
            patience.begin_nothing();
            patience.shorten(LAST_WAIT);
            std::future::pending::<()>().await;
        };
        let mut desk = Desk {
            tally: Tally::of(&self.plan),
            report: &mut self.report,
            patience: &patience,
            on_error: self.on_error,
            failed: None,
        };
        let work = async {
            let mut accounts = self.plan.accounts.iter().map(|(account, opening)| Order {
                key: self.keys.open(*account),
                what: What::Open {
                    account: *account,
                    currency: self.reading.currency,
                    opening: *opening,
                },
            });
            let total = u64::try_from(self.plan.accounts.len()).unwrap_or(u64::MAX);
            let progress = Progress::begin(self.screen, "accounts", total);
            let next = || Ok(accounts.by_ref().take(BATCH_LEN).collect());
            desk.drive(sink, next, progress).await;

            let mut payments =
                Payments::of(&mut self.source, &self.reading, &self.keys, self.plan.periods);
            let progress = Progress::begin(self.screen, "payments", self.plan.payments());
            desk.drive(sink, || payments.batch(BATCH_LEN), progress).await;
        };
        tokio::select! {
            () = work => {}
            () = watched => {}
        }
        let Desk { tally, failed, .. } = desk;
        self.report.end()?;
        match failed {
            Some(failure) => Err(failure),
            None => Ok(self.summary(tally, false)),
        }
    }

    fn summary(&self, tally: Tally, dry_run: bool) -> Summary {
        Summary {
            currency: self.reading.currency.code(),
            dry_run,
            tally,
            wanted_minor: self.plan.sum,
            elapsed_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            on_error: self.on_error,
            money: self.reading.currency,
            accounts: self.plan.accounts.len(),
        }
    }
}

/// Who keeps count while batches come and go.
struct Desk<'a> {
    tally: Tally,
    report: &'a mut Report,
    patience: &'a Patience,
    on_error: OnError,
    failed: Option<Failure>,
}

impl Desk<'_> {
    /// Keeps batches in flight until `next` has no more, and all are settled. After a failure of our own, or once
    /// nothing new is to be begun, what is in flight is still waited for.
    async fn drive(
        &mut self,
        sink: &impl PaymentSink,
        mut next: impl FnMut() -> Result<Vec<Order>, Failure>,
        mut progress: Progress,
    ) {
        let mut flights = FuturesUnordered::new();
        let mut done = 0_u64;
        let mut is_out = false;
        loop {
            while !is_out && flights.len() < FLIGHTS_MAX && self.patience.begins() {
                match next() {
                    Ok(batch) if batch.is_empty() => is_out = true,
                    Ok(batch) => flights.push(settle(sink, batch, self.patience)),
                    Err(failure) => self.fail(failure),
                }
            }
            let Some(settled) = flights.next().await else { break };
            for (order, verdict) in &settled {
                self.take(order, verdict);
                done = done.saturating_add(1);
            }
            progress.at(done, &self.tally);
        }
        progress.end();
    }

    fn take(&mut self, order: &Order, verdict: &Verdict) {
        self.tally.count(order, verdict);
        if let Err(failure) = self.report.verdict(order, verdict) {
            self.fail(failure);
        }
        if self.on_error == OnError::Stop && self.tally.is_refused() {
            self.patience.begin_nothing();
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.patience.begin_nothing();
        self.failed.get_or_insert(failure);
    }
}

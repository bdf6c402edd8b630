//! The process's metrics: what its parts count along the way, and what is read off it when somebody asks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use super::process;
use super::pulse::{ANSWER_MAX, Reading, Sample};
use super::series;
use crate::exit::Failure;

/// How often what was recorded is sorted into buckets, whether anybody scrapes or not: until then every batch takes a
/// few bytes.
const KEEP_EVERY: Duration = Duration::from_secs(2);

/// What is told about every series: where it was registered, of which nobody asks.
const METADATA: Metadata<'static> = Metadata::new("paycore", Level::INFO, None);

/// One process's metrics; a demo has several in one.
#[derive(Clone)]
pub(crate) struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    page: PrometheusHandle,
    /// What the serving thread said last.
    said: Arc<Mutex<Vec<Reading>>>,
    started: f64,
    about: Arc<[(&'static str, String)]>,
}

impl Metrics {
    /// Metrics of a process that says so much about itself.
    ///
    /// # Errors
    /// Never, unless a histogram here has no buckets.
    pub(crate) fn new(about: &[(&'static str, String)]) -> Result<Self, Failure> {
        let wrong = |why: &dyn std::fmt::Display| Failure::internal(format!("metrics: {why}"));
        let mut builder = PrometheusBuilder::new();
        for buckets in [consensus::meter::BUCKETS, shard::meter::BUCKETS, gateway::meter::BUCKETS] {
            for (name, buckets) in buckets {
                let name = Matcher::Full((*name).to_owned());
                builder =
                    builder.set_buckets_for_metric(name, buckets).map_err(|why| wrong(&why))?;
            }
        }
        let recorder = builder.build_recorder();
        let counted = [consensus::meter::SERIES, shard::meter::SERIES, gateway::meter::SERIES];
        explain(&recorder, counted.into_iter().flatten());
        let page = recorder.handle();
        Ok(Self {
            recorder: Arc::new(recorder),
            page,
            said: Arc::default(),
            started: process::unix_now(),
            about: about.into(),
        })
    }

    /// What the process is: its cluster, its role, its number.
    pub(super) fn about(&self) -> &[(&'static str, String)] {
        &self.about
    }

    /// Where the process's parts get their handles.
    pub(crate) fn recorder(&self) -> Arc<dyn Recorder + Send + Sync> {
        Arc::clone(&self.recorder) as _
    }

    /// The exposition page, with what the serving thread just said; without that, with what it said before.
    pub(super) fn page(&self, said: Option<(Sample, Duration)>) -> String {
        let took = said.as_ref().map_or(ANSWER_MAX, |(_, took)| *took);
        let mut last = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((Sample { ready, readings }, _)) = said {
            *last = readings;
            last.push(Reading::new(series::READY, process::flag(ready.is_ok())));
        }
        let mut build =
            Reading::new(series::BUILD, 1.0).with("version", &env!("CARGO_PKG_VERSION"));
        build.labels.extend(self.about.iter().cloned());
        // A page of its own each time: of a shard that the node keeps no more, nothing is read off it any more.
        let read = PrometheusBuilder::new().build_recorder();
        explain(&read, series::SERIES);
        set(&read, &build);
        set(&read, &Reading::new(series::PULSE, took.as_secs_f64()));
        last.iter().chain(&process::readings(self.started)).for_each(|reading| set(&read, reading));
        self.page.render() + &read.handle().render()
    }

    /// Sorts what was recorded into buckets, again and again.
    pub(super) async fn keep(&self) {
        loop {
            tokio::time::sleep(KEEP_EVERY).await;
            self.page.run_upkeep();
        }
    }
}

fn explain<'a>(
    recorder: &PrometheusRecorder,
    series: impl IntoIterator<Item = &'a (&'static str, &'static str)>,
) {
    for (name, help) in series {
        recorder.describe_gauge((*name).into(), None, (*help).into());
    }
}

fn set(recorder: &PrometheusRecorder, reading: &Reading) {
    let labels = reading.labels.iter().map(|(name, value)| Label::new(*name, value.clone()));
    let key = Key::from_parts(reading.name, labels.collect::<Vec<_>>());
    if reading.name.ends_with("_total") {
        recorder.register_counter(&key, &METADATA).absolute(whole(reading.value));
    } else {
        recorder.register_gauge(&key, &METADATA).set(reading.value);
    }
}

/// A counter counts whole things.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float below zero becomes 0, one past the end the end"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

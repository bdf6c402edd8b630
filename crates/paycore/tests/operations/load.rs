//! The bench, which goes on while a cluster is operated.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::SHARDS;
use crate::support::{Cluster, until};

/// The longest time for which a shard may answer nobody: an election, and what the machine's other work adds.
const OBJECTIVE: &str = "pause_max<=5s";

/// The bench itself, which knows of the cluster one gateway's address.
pub(crate) struct Load {
    bench: Child,
    said: PathBuf,
    until: Instant,
}

impl Load {
    /// Begins a load of so many seconds; with a `rate` it leaves something of the machine to others.
    pub(crate) fn begin(cluster: &Cluster, seconds: u64, rate: Option<u64>) -> Self {
        let said = cluster.home.path().join("bench.log");
        let words = format!(
            "bench transfer-uniform --cluster {} --shards {SHARDS} --cross 50% --duration {seconds}s --accounts 200 \
             --connections 2 --batch 20 --alone --slo {OBJECTIVE} --out run{}",
            cluster.endpoint,
            rate.map(|rate| format!(" --rate {rate}")).unwrap_or_default()
        );
        let mut command = cluster.command(&words);
        command.stdout(Stdio::null()).stderr(File::create(&said).unwrap());
        let until = Instant::now() + Duration::from_secs(seconds);
        Self { bench: command.spawn().unwrap(), said, until }
    }

    /// How long it will go on at the least.
    pub(crate) fn remains(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Waits until a second has passed in which money was moved: the load is alive.
    pub(crate) fn goes_on(&mut self) {
        let before = self.seconds().len();
        until("the load goes on", || {
            let ended = self.bench.try_wait().unwrap();
            assert_eq!(ended, None, "the bench has ended: {}", self.log());
            self.seconds().iter().skip(before).any(|posted| *posted > 0).then_some(())
        });
    }

    /// What was posted in each second so far.
    fn seconds(&self) -> Vec<u64> {
        let posted = |line: &str| {
            let (_, rest) = line.split_once(" s  posted ")?;
            rest.trim_start().split_once("/s")?.0.parse().ok()
        };
        self.log().lines().filter_map(posted).collect()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    /// Waits for the verdict.
    pub(crate) fn end(mut self, cluster: &Cluster) -> Value {
        assert_eq!(self.bench.try_wait().unwrap(), None, "it is not long enough: {}", self.log());
        std::thread::sleep(self.remains());
        let status = until("the bench has its verdict", || self.bench.try_wait().unwrap());
        assert!(status.success(), "{status}: {}", self.log());
        let summary = cluster.home.path().join("run/summary.json");
        serde_json::from_slice(&std::fs::read(summary).unwrap()).unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.bench.kill());
        drop(self.bench.wait());
    }
}

//! The live audit over real processes: while money moves between shards, the books add up.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_paycore");

/// As long as anything here may take on a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(120);

/// The gateway of the cluster that a bench has started, once it is written down.
fn gateway(dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(dir.join("cluster.toml")).ok()?;
    let topology: toml::Table = text.parse().ok()?;
    Some(topology.get("gateways")?.get(0)?.get("grpc")?.as_str()?.to_owned())
}

fn audit(endpoint: &str) -> (Option<i32>, Option<Value>) {
    let mut command = Command::new(BINARY);
    command.args(["audit", "--cluster", endpoint, "-o", "json"]).stderr(Stdio::null());
    let output = command.output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).ok())
}

#[test]
fn the_books_add_up_while_money_moves_between_shards() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("run");
    let mut bench = Command::new(BINARY);
    bench.args(["bench", "transfer-uniform", "--spawn", "3", "--shards", "4", "--cross", "100%"]);
    bench.args(["--accounts", "500", "--batch", "200", "--duration", "12s", "--out"]).arg(&dir);
    let mut bench = bench.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();

    let began = Instant::now();
    let (mut balanced, mut caught_money_under_way) = (0, false);
    let ended = loop {
        if let Some(status) = bench.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < PATIENCE, "the bench ends by itself");
        let Some(endpoint) = gateway(&dir) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let (code, found) = audit(&endpoint);
        assert_ne!(code, Some(1), "the books are off: {found:?}");
        let (Some(0), Some(found)) = (code, found) else {
            // Before the cluster is ready, and after it was stopped, nobody answers.
            continue;
        };
        assert_eq!(found["shards"], 4);
        assert_eq!(found["discrepancies"].as_array().unwrap().len(), 0);
        balanced += 1;
        caught_money_under_way |= found["sums"][0]["under_way"]["amount"] != 0;
    };
    assert!(ended.success(), "the bench has its own verdict");
    assert!(balanced >= 3, "{balanced} audits were answered");
    assert!(caught_money_under_way, "money was on its way when a cut was made");
}

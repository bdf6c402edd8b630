//! `bench --cluster`: load on a cluster that is there, and the verdict on what the run itself did.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use support::{BINARY, Cluster};

/// A new key in the home's file of keys.
fn key(home: &Path, words: &str) -> String {
    let mut made = Command::new(BINARY);
    made.env_clear().env("HOME", home).current_dir(home);
    made.args(["keys", "new", "--file", "keys.toml", "-o", "json"]).args(words.split(' '));
    let made: Value = serde_json::from_slice(&made.output().unwrap().stdout).unwrap();
    made["key"].as_str().unwrap().to_owned()
}

#[test]
fn a_cluster_with_tls_and_keys_is_judged_by_what_the_run_changed() {
    let mut keys = Vec::new();
    let cluster = Cluster::start_tls_with("dev-1.toml", "required", |home| {
        keys.push(key(home, "--tenant 0 --scope admin --name boss"));
        keys.push(key(home, "--tenant 1 --scope tenant --name lin"));
        vec!["--keys".to_owned(), home.join("keys.toml").display().to_string()]
    });
    cluster.leader();
    let bench = |out: &str, more: &str| {
        let words = format!(
            "bench transfer-uniform --cluster https://{} --accounts 20 --count 300 --batch 50 \
             --connections 2 --out {out} -o json {more}",
            cluster.endpoint
        );
        let output = cluster.command(&words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let boss = format!("--api-key {}", keys[0]);

    // Money that is there before does not count.
    for out in ["first", "second"] {
        let (code, summary, err) = bench(out, &format!("{boss} --alone --slo pause_max<=60s"));
        assert_eq!(code, 0, "{err}");
        let summary: Value = serde_json::from_str(&summary).unwrap();
        assert_eq!((&summary["posted"], &summary["nodes"]), (&300.into(), &Value::Null));
        let pause = summary["pause_max_us"].as_u64().unwrap();
        assert!(pause > 0 && pause <= summary["latency_us"]["max"].as_u64().unwrap(), "{summary}");
        let checks = summary["verdict"]["checks"].as_array().unwrap();
        let has = |claim: &str| checks.iter().any(|check| check["claim"] == claim);
        assert!(has("the trial balance of every shard is zero"), "{checks:?}");
        assert!(has("by the live audit, the books of all shards add up"), "{checks:?}");
    }

    let wrong = [
        (format!("{boss} --shards 2"), 64, "the cluster has 1 shards, and not 2"),
        (String::new(), 77, "UNAUTHENTICATED"),
        (format!("--api-key {}", keys[1]), 77, "PERMISSION_DENIED"),
        (format!("{boss} --slo pause_max<=1us"), 99, "pause_max<=1us was asked for"),
    ];
    for (number, (more, exit, said)) in wrong.into_iter().enumerate() {
        let (code, _, err) = bench(&format!("wrong-{number}"), &more);
        assert!(code == exit && err.contains(said), "{more}: {code}: {err}");
    }
}

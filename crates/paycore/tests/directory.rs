//! The cluster's directory over real processes: what it was told outlives all of them, and who asks finds what has moved.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::path::Path;
use std::process::Command;

use jiff::{Timestamp, ToSpan};
use serde_json::Value;
use support::{BINARY, Cluster, until};

/// A cluster whose gateway asks for keys, and the operator's first one.
struct Guarded {
    cluster: Cluster,
    root: String,
}

impl Guarded {
    fn start(file: &str) -> Self {
        let mut root = String::new();
        let cluster = Cluster::start_with(file, "", |home| {
            root = first_key(home);
            vec!["--keys".to_owned(), home.join("keys.toml").display().to_string()]
        });
        Self { cluster, root }
    }

    fn run(&self, words: &str, key: &str) -> (i32, String, String) {
        self.cluster.run(&format!("{words} --api-key {key}"))
    }

    /// A command that succeeds: what it writes.
    fn done(&self, words: &str, key: &str) -> String {
        let (code, out, err) = self.run(words, key);
        assert_eq!(code, 0, "{words}: {err}");
        out.trim().to_owned()
    }

    fn show(&self) -> Value {
        self.cluster.json(&format!("directory show --api-key {}", self.root))
    }

    /// Until every shard has heard, and every node and shard is there.
    fn settled(&self, nodes: usize, shards: usize) -> Value {
        until("everybody has reported and heard", || {
            let known = self.show();
            let heard = known["shards"].as_array()?.iter().filter(|shard| shard["heard"] != "-");
            let all = known["nodes"].as_array()?.len() == nodes
                && known["shards"].as_array()?.len() == shards + 1
                && heard.count() == shards;
            all.then_some(known)
        })
    }
}

fn first_key(home: &Path) -> String {
    let mut made = Command::new(BINARY);
    made.env_clear().env("HOME", home).current_dir(home);
    made.args("keys new --tenant 0 --scope admin --name root --file keys.toml".split(' '));
    let made = made.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

#[test]
fn what_the_directory_was_told_outlives_every_process() {
    let mut guarded = Guarded::start("dev-3.toml");
    let root = guarded.root.clone();
    let shop = guarded.done("keys new --tenant 7 --scope tenant --name shop", &root);
    guarded.done("tenants put 7 --label shop --requests-per-second 1000 --burst 2000", &root);
    let open = "account open --currency CNY --opening 100.00 --tenant 7 -o json";
    let opened: Value = serde_json::from_str(&guarded.done(open, &root)).unwrap();
    let till = opened["account"].as_str().unwrap().to_owned();
    guarded.done(&format!("alias put acc_till {till}"), &shop);
    guarded.done(&format!("alias put acc_safe {till}"), &shop);
    guarded.done("alias drop acc_safe", &shop);

    let home = guarded.cluster.home.path().to_owned();
    std::fs::write(home.join("fees.json"), "{\"rate\": \"0.001\"}\n").unwrap();
    let effective = Timestamp::now() + 2.hours();
    let publish = format!("tables publish fees --effective {effective} --file fees.json");
    let (code, _, err) = guarded.run(&publish, &root);
    assert_eq!(code, 2, "a time has whole milliseconds: {err}");
    let effective = Timestamp::from_millisecond(effective.as_millisecond()).unwrap();
    let publish = format!("tables publish fees --effective {effective} --file fees.json");
    guarded.done(&publish, &root);
    let before = guarded.settled(3, 1);

    for id in guarded.cluster.ids() {
        guarded.cluster.kill_node(id);
    }
    guarded.cluster.stop_gateway();
    for id in guarded.cluster.ids() {
        guarded.cluster.start_node(id);
    }
    guarded.cluster.start_gateway();

    until("the gateway has read the directory again", || {
        (guarded.run("balance acc_till", &shop).0 == 0).then_some(())
    });
    let after = guarded.settled(3, 1);
    for told in ["tenants", "api_keys", "tables", "aliases", "level", "nodes"] {
        assert_eq!(after[told], before[told], "{told}");
    }
    assert_eq!(guarded.done("alias show acc_till", &shop), till);
    assert_eq!(guarded.run("balance acc_safe", &shop).0, 2, "a name that was taken away");
    let later = effective + 1.hour();
    let shown = guarded.done(&format!("tables show fees --at {later}"), &root);
    assert_eq!(shown, "{\"rate\": \"0.001\"}");
    assert_eq!(guarded.run("tables show fees", &root).0, 4, "not in force yet");
    assert_eq!(guarded.run("directory raise-level 2", &root).0, 3, "no release knows it yet");

    guarded.done("keys revoke shop", &root);
    until("the key is void", || (guarded.run("balance acc_till", &shop).0 == 77).then_some(()));
}

/// `paycore cluster …` with the newest topology.
fn operate(cluster: &Cluster, words: &str) {
    let topology = cluster.topology().display();
    let (code, out, err) = cluster.run(&format!("cluster {words} --topology {topology} --yes"));
    eprintln!("cluster {words}:\n{err}{out}");
    assert_eq!(code, 0, "{words}: {err}");
}

/// The nodes that keep a shard.
fn keepers(cluster: &Cluster, shard: usize) -> Vec<u64> {
    let status =
        cluster.json(&format!("cluster status --topology {}", cluster.topology().display()));
    let replicas = status["shards"][shard]["replicas"].as_array().unwrap().iter();
    replicas.map(|replica| replica["node"].as_u64().unwrap()).collect()
}

#[test]
fn a_gateway_that_knows_one_node_finds_what_is_kept_elsewhere() {
    let mut cluster = Cluster::start_of("dev-1.toml", 2, "");
    // The cluster is made, of one node, before others join.
    for group in 0..3 {
        cluster.leader_of(group);
    }
    let first = std::fs::read_to_string(cluster.topology()).unwrap();
    for id in [2, 3, 4] {
        let address = cluster.join_node(id);
        operate(&cluster, &format!("add-node {id} {address}"));
    }
    // The second shard stays at node 1; the first and the meta group leave it.
    for (shard, stays) in [(0, false), (1, true), (2, false)] {
        let now = keepers(&cluster, shard);
        let elsewhere = [2, 3, 4].into_iter().find(|node| !now.contains(node));
        match (now.contains(&1), stays, elsewhere) {
            (true, false, Some(to)) => operate(&cluster, &format!("move-replica {shard} 1 {to}")),
            (false, true, _) => {
                let from = now[0];
                operate(&cluster, &format!("move-replica {shard} {from} 1"));
            }
            (true, false, None) | (true, true, _) | (false, false, _) => {}
        }
    }
    cluster.stop_gateway();
    // A gateway that was never told of the others.
    let newest = std::fs::read_to_string(cluster.topology()).unwrap();
    std::fs::write(cluster.topology(), first).unwrap();
    cluster.start_gateway();
    for (id, alias) in [
        ("acc_00000000000000000000000000000001", "lin"),
        ("acc_00000000000000000000000000000fff", "wang"),
    ] {
        let words =
            format!("account open --currency CNY --opening 5.00 --id {id} --alias acc_{alias}");
        until("the gateway finds the shard", || (cluster.run(&words).0 == 0).then_some(()));
    }
    let (code, out, err) = cluster.run("transfer acc_lin acc_wang 1.00 --currency CNY");
    assert_eq!(code, 0, "{out}{err}");

    // Who has left for good is written down as such, and nobody asks for it any more.
    std::fs::write(cluster.topology(), newest).unwrap();
    operate(&cluster, "remove-node 4");
    let known = cluster.json("directory show");
    let gone = known["nodes"].as_array().unwrap().iter().find(|node| node["node"] == 4).unwrap();
    assert_eq!(gone["retired"], true, "{known}");
    assert!(cluster.stop_node(4).success());
    let (code, out, err) = cluster.run("audit");
    assert_eq!(code, 0, "{out}{err}");
}

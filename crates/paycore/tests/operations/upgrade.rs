//! A release is rolled out, back, and out again, while the bench runs; then the level is raised.
//!
//! Needs the next release's binary: `make upgrade` makes it and runs this.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{SHARDS, agree, alone, judge, operate_supervised, refused, status, with_hook};
use crate::load::Load;
use crate::rolling::KILL;
use crate::support::{BINARY, Cluster, until};

/// Requests a second: enough that every shard works all the time.
const RATE: u64 = 500;

/// The next release's binary, if there is one.
pub(crate) fn next_release() -> Option<PathBuf> {
    let next = std::env::var_os("PAYCORE_NEXT_LEVEL")?;
    Some(std::fs::canonicalize(next).unwrap())
}

#[test]
fn a_release_is_rolled_out_and_back_and_out_again_while_the_bench_runs_and_nothing_is_lost() {
    let Some(next) = next_release() else {
        eprintln!("skipped: set PAYCORE_NEXT_LEVEL to a binary built with --cfg next_level");
        return;
    };
    let _turn = alone();
    let mut cluster = Cluster::start_of("dev-3.toml", SHARDS, "");
    cluster.introduced();
    let till = Till::open(&cluster);
    let load = Load::begin(&cluster, 150, Some(RATE));
    roll_out_and_back(&mut cluster, load, &till, &next);
    too_old_to_run(&mut cluster, &next);
}

fn roll_out_and_back(cluster: &mut Cluster, mut load: Load, till: &Till, next: &Path) {
    refused(cluster, "raise-level 2", "LEVEL_NOT_READY");

    cluster.set_program(next);
    assert_eq!(operate_supervised(cluster, "upgrade 2 --stay"), [1, 2, 3]);
    assert_eq!(levels(cluster), [(1, 2); 3]);
    load.goes_on();
    // The new release does as the old one did, and says what it does not do yet.
    let hold = till.hold(cluster, "60d").unwrap();
    refused_without_asking(cluster, &format!("extend-hold {hold} 15d"), "LEVEL_TOO_LOW");

    cluster.set_program(BINARY.as_ref());
    assert_eq!(with_hook(cluster, "restart", KILL), [1, 2, 3]);
    assert_eq!(levels(cluster), [(1, 1); 3]);
    refused(cluster, "raise-level 2", "LEVEL_NOT_READY");
    load.goes_on();

    cluster.set_program(next);
    assert_eq!(operate_supervised(cluster, "upgrade 2"), [1, 2, 3]);
    assert_eq!(levels(cluster), [(2, 2); 3]);
    assert_eq!(operate_supervised(cluster, "upgrade 2"), [0; 0], "it is so already");
    load.goes_on();
    in_force(cluster, till, &hold);
    judge(load, cluster);
}

/// What the level brings is there on every replica, whoever leads.
fn in_force(cluster: &Cluster, till: &Till, hold: &str) {
    let before = till.deadline(cluster, hold);
    let (code, _, err) = extend(cluster, &format!("{hold} 15d"));
    assert_eq!(code, 0, "{err}");
    assert!(till.deadline(cluster, hold) < before, "60 days became 15");
    let (code, _, err) = extend(cluster, &format!("{hold} 31d"));
    assert!(code == 2 && err.contains("INVALID_COMMAND"), "{code}: {err}");
    let err = till.hold(cluster, "31d").unwrap_err();
    assert!(err.contains("INVALID_COMMAND"), "a hold lasts 30 days at the most: {err}");
    till.hold(cluster, "30d").unwrap();
}

/// The old release meets the new level, and stops before it can part from the others; the new one goes on.
fn too_old_to_run(cluster: &mut Cluster, next: &Path) {
    assert!(cluster.stop_node(3).success());
    cluster.set_program(BINARY.as_ref());
    cluster.start_node(3);
    let status = cluster.end_of(3);
    assert!(!status.success(), "{status}");
    let log = cluster.log_of("n3");
    // The last line is what to do about it; what it is stands before.
    let last: Vec<&str> = log.lines().rev().take(3).collect();
    eprintln!("the old release says: {last:?}");
    let what = "feature level 2 is not known to this release";
    assert!(last.iter().any(|line| line.contains(what)), "{last:?}");
    cluster.set_program(next);
    cluster.start_node(3);
    agree(cluster);
}

/// The level in force on each node, and the greatest that it knows.
fn levels(cluster: &Cluster) -> Vec<(u64, u64)> {
    let nodes = status(cluster)["nodes"].as_array().unwrap().clone();
    let number = |node: &Value, name: &str| node[name].as_u64().unwrap();
    nodes.iter().map(|node| (number(node, "level"), number(node, "level_max"))).collect()
}

fn extend(cluster: &Cluster, words: &str) -> (i32, String, String) {
    let topology = cluster.topology().display();
    cluster.run(&format!("cluster extend-hold {words} --topology {topology}"))
}

/// Something that is no change of the cluster is refused with this code.
fn refused_without_asking(cluster: &Cluster, words: &str, code: &str) {
    let words = words.strip_prefix("extend-hold ").unwrap();
    let (exit, _, err) = extend(cluster, words);
    assert!(exit == 3 && err.contains(code), "{words}: {exit}: {err}");
}

/// Two accounts, between which money is set aside.
struct Till {
    payer: String,
    payee: String,
}

impl Till {
    fn open(cluster: &Cluster) -> Self {
        let open = |more: &str| {
            let opened = cluster.json(&format!("account open --currency CNY{more}"));
            opened["account"].as_str().unwrap().to_owned()
        };
        Self { payer: open(" --opening 1000.00"), payee: open("") }
    }

    /// Places a hold for so long; or what was said against it.
    fn hold(&self, cluster: &Cluster, time: &str) -> Result<String, String> {
        let Self { payer, payee } = self;
        let words = format!("hold place {payer} {payee} 1.00 --currency CNY --for {time} -o json");
        let (code, out, err) = cluster.run(&words);
        if code != 0 {
            return Err(err);
        }
        let placed: Value = serde_json::from_str(&out).unwrap();
        Ok(placed["hold"].as_str().unwrap().to_owned())
    }

    /// When a hold expires.
    fn deadline(&self, cluster: &Cluster, hold: &str) -> String {
        until("the hold is shown", || {
            let (code, out, _) = cluster.run(&format!("hold show {hold} -o json"));
            let shown: Value = (code == 0).then(|| serde_json::from_str(&out).unwrap())?;
            assert_eq!(shown["state"], "active", "{shown}");
            Some(shown["expire_time"].as_str().unwrap_or_else(|| panic!("{shown}")).to_owned())
        })
    }
}

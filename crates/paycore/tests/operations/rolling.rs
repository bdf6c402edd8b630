//! A node that died is replaced, and all are restarted, while the bench runs.

use std::process::Stdio;
use std::time::SystemTime;

use serde_json::Value;

use super::{
    SHARDS, agree, alone, judge, operate, operate_supervised, placement, refused, status, with_hook,
};
use crate::load::Load;
use crate::support::{Cluster, until};

/// Requests a second: enough that every shard works all the time.
const RATE: u64 = 500;

/// A hook that ends a node as a supervisor does.
pub(crate) const KILL: &str = "kill -TERM $(cat n{node}.pid)";

#[test]
fn a_dead_node_is_replaced_and_all_are_restarted_while_the_bench_runs_and_nothing_is_lost() {
    let _turn = alone();
    let mut cluster = Cluster::start_of("dev-3.toml", SHARDS, "");
    cluster.introduced();
    let mut load = Load::begin(&cluster, 90, Some(RATE));
    load.goes_on();

    let address = cluster.join_node(4);
    refused(&cluster, &format!("replace-node 2 4 {address}"), "NODE_ALIVE");
    cluster.kill_node(2);
    operate(&cluster, &format!("replace-node 2 4 {address}"));
    operate(&cluster, &format!("replace-node 2 4 {address}"));
    assert!(placement(&cluster).values().all(|on| *on == [1, 3, 4]));
    load.goes_on();
    it_never_comes_back(&mut cluster, 2);
    load.goes_on();

    // Whoever restarts them dies when the first is back, and goes on with the time that he began at.
    let restart = format!("restart --since {}", now());
    let first = interrupted(&mut cluster, &restart);
    assert_eq!(first.len(), 1, "one at a time: {first:?}");
    let mut restarted = operate_supervised(&mut cluster, &restart);
    restarted.extend(first);
    restarted.sort_unstable();
    assert_eq!(restarted, [1, 3, 4], "each of them once");
    assert_eq!(operate_supervised(&mut cluster, &restart), [0; 0], "it is so already");
    assert!(nodes(&cluster).iter().all(|node| node["up"] == false || node["drained"] == false));
    load.goes_on();
    judge(load, &cluster);

    not_without_somebody_to_start_it(&mut cluster);
    not_without_a_majority(&mut cluster);
}

/// A retired node that is started again has nothing to say, and cannot be added again.
fn it_never_comes_back(cluster: &mut Cluster, node: u64) {
    let retired = |cluster: &Cluster| {
        let known = cluster.json("directory show");
        let nodes = known["nodes"].as_array().unwrap().clone();
        nodes.into_iter().find(|known| known["node"] == node).unwrap()["retired"] == true
    };
    until("the directory says that it has left", || retired(cluster).then_some(()));
    cluster.start_node(node);
    until("it ends what it kept", || {
        let keeps = (0..=SHARDS).filter(|shard| cluster.status_of(node, (*shard).into()).is_some());
        let log = cluster.log_of(&format!("n{node}"));
        (keeps.count() == 0 && log.contains("leaves a group")).then_some(())
    });
    assert!(retired(cluster), "whatever it said meanwhile");
    refused(cluster, &format!("add-node {node} {}", cluster.address(node)), "NODE_RETIRED");
    assert!(cluster.stop_node(node).success());
}

/// Begins a command, and kills it when a node has come back. Gives who was restarted.
fn interrupted(cluster: &mut Cluster, words: &str) -> Vec<u64> {
    let topology = cluster.topology().display().to_string();
    let words = format!("cluster {words} --topology {topology} --yes");
    let log = cluster.home.path().join("interrupted.log");
    let said = std::fs::File::create(&log).unwrap();
    let mut command = cluster.command(&words).stdout(Stdio::null()).stderr(said).spawn().unwrap();
    let restarted = cluster.supervise(|| {
        assert_eq!(command.try_wait().unwrap(), None, "it was to be killed");
        !std::fs::read_to_string(&log).unwrap().contains("done: restart node")
    });
    command.kill().unwrap();
    command.wait().unwrap();
    restarted
}

/// Without a supervisor a node stays away, which is said; a restart that an operator's drain was there before leaves it.
fn not_without_somebody_to_start_it(cluster: &mut Cluster) {
    operate(cluster, "drain 3");
    refused(cluster, "restart 3 --wait 3s", "NODE_NOT_BACK");
    assert_eq!(cluster.end_of(3).code(), Some(75), "it asks to be started again");
    let since = now();
    cluster.start_node(3);
    let finish = format!("restart 3 --since {since}");
    assert_eq!(operate_supervised(cluster, &finish), [0; 0], "only its drain is to be ended");
    let nodes = nodes(cluster);
    let third = nodes.iter().find(|node| node["node"] == 3).unwrap();
    assert_eq!((&third["drained"], &third["restarting"]), (&true.into(), &false.into()));
    operate(cluster, "undrain 3");
    // A hook is another way, and who is not due is left alone.
    let restarted = with_hook(cluster, &format!("restart 3 4 --since {since}"), KILL);
    assert_eq!(restarted, [4]);
    agree(cluster);
}

/// With two of three dead nobody can say that the third may decide.
fn not_without_a_majority(cluster: &mut Cluster) {
    let address = cluster.join_node(5);
    cluster.kill_node(3);
    cluster.kill_node(4);
    refused(cluster, &format!("replace-node 3 5 {address}"), "QUORUM_AT_RISK");
    cluster.start_node(3);
    cluster.start_node(4);
    agree(cluster);
}

fn nodes(cluster: &Cluster) -> Vec<Value> {
    status(cluster)["nodes"].as_array().unwrap().clone()
}

fn now() -> String {
    jiff::Timestamp::try_from(SystemTime::now()).unwrap().to_string()
}

//! What real processes say about themselves: probes, metrics, signals, systemd, traces.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::float_arithmetic,
    reason = "a test that cannot go on has failed"
)]

#[expect(
    dead_code,
    reason = "the binary uses the names one by one, a test only all of them together"
)]
#[path = "../src/server/admin/series.rs"]
mod series;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use support::{Cluster, PATIENCE, until};

/// Checkpoints so close together that a small test makes one.
const OFTEN: &str = "\n[store]\ncheckpoint_log_bytes = 262144\n";

/// What a supervisor grants, less the time that a busy machine takes to notice.
const STOP_MAX: Duration = Duration::from_secs(30);

const PROCESSES: [&str; 4] = ["n1", "n2", "n3", "gateway"];

/// The lines of an exposition page, or of several: the series with its labels, and the value.
fn samples(page: &str) -> Vec<(String, f64)> {
    let lines = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let read = lines.map(|line| line.rsplit_once(' ').unwrap());
    read.map(|(series, value)| (series.to_owned(), value.parse().unwrap())).collect()
}

/// The sum of a series over all labels that have `part` in them.
fn sum(page: &str, name: &str, part: &str) -> f64 {
    let of = samples(page)
        .into_iter()
        .filter(|(series, _)| series.split('{').next() == Some(name) && series.contains(part));
    of.map(|(_, value)| value).sum()
}

fn page(cluster: &Cluster, name: &str) -> String {
    let (status, page) = cluster.ask(name, "/metrics").unwrap();
    assert_eq!(status, 200, "{page}");
    page
}

fn pages(cluster: &Cluster) -> String {
    PROCESSES.map(|name| page(cluster, name)).concat()
}

fn ready(cluster: &Cluster) {
    for name in PROCESSES {
        until(&format!("{name} is ready"), || {
            cluster.ask(name, "/readyz").filter(|(status, _)| *status == 200)
        });
    }
}

fn open_two(cluster: &Cluster) {
    cluster.json("account open --currency CNY --opening 1000 --alias acc_a --idempotency-key a");
    cluster.json("account open --currency CNY --alias acc_b --idempotency-key b");
}

/// A load that goes on until its requests are through; its exit code says whether every one of them was accounted for.
fn load(cluster: &Cluster, count: u64, name: &str) -> Child {
    let out = cluster.home.path().join(name);
    let words = format!(
        "bench transfer-uniform --cluster {} --count {count} --accounts 100 --batch 50 --out {}",
        cluster.endpoint,
        out.display()
    );
    let mut command = cluster.command(&words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn what_happens_is_counted_and_what_is_counted_is_explained() {
    let cluster = Cluster::start("dev-3.toml", OFTEN);
    ready(&cluster);
    open_two(&cluster);
    let pay = "transfer acc_a acc_b 1.25 --currency CNY --idempotency-key";
    cluster.json(&format!("{pay} one"));
    cluster.json(&format!("{pay} one"));
    assert_eq!(cluster.run("transfer acc_a acc_b 2 --currency CNY --idempotency-key one").0, 5);
    assert_eq!(cluster.run("transfer acc_b acc_a 99 --currency CNY --idempotency-key two").0, 3);
    until("a checkpoint is counted", || {
        cluster.load(
            3_000,
            &format!("load-{}", sum(&pages(&cluster), "paycore_log_frames_total", "")),
        );
        (sum(&pages(&cluster), "paycore_checkpoints_total", "") > 0.0).then_some(())
    });

    let all = pages(&cluster);
    let counted = |kind: &str, outcome: &str| {
        let labels = format!("kind=\"{kind}\",outcome=\"{outcome}\"");
        sum(&all, "paycore_operations_total", &labels)
    };
    assert!(counted("open", "posted") >= 102.0, "{all}");
    assert!(counted("transfer", "posted") >= 3_002.0);
    assert_eq!(counted("transfer", "KEY_REUSED"), 1.0);
    assert!(counted("transfer", "INSUFFICIENT") >= 1.0);
    assert!(sum(&all, "paycore_idempotency_hits_total", "") >= 1.0);
    assert_eq!(sum(&all, "paycore_idempotency_conflicts_total", ""), 1.0);
    assert!(sum(&all, "paycore_gateway_requests_total", "posted") >= 3_104.0);
    assert_eq!(sum(&all, "paycore_raft_leader", "shard=\"0\""), 1.0);
    assert!(sum(&all, "paycore_fsync_duration_seconds_count", "") >= 10.0);
    assert_eq!(sum(&all, "paycore_ledger_imbalance_minor", "currency=\"CNY\""), 0.0);
    assert!(
        all.contains("paycore_ledger_imbalance_minor{shard=\"0\",currency=\"CNY\"} 0"),
        "{all}"
    );
    assert!(sum(&all, "paycore_ledger_accounts", "") >= 3.0 * 102.0, "on every replica");
    for stage in ["queue", "propose", "commit", "apply", "reply"] {
        let labels = format!("kind=\"transfer\",stage=\"{stage}\"");
        let batches = sum(&all, "paycore_operation_duration_seconds_count", &labels);
        assert!(batches >= 4.0, "{stage}: {batches}");
    }
    check_explanations(&all);
}

/// Every series is explained, has the type of its name, and stands in a table of the code; and every series of the
/// tables is there. No label names an account.
fn check_explanations(all: &str) {
    let shared = [consensus::meter::SERIES, shard::meter::SERIES, gateway::meter::SERIES];
    let known: BTreeMap<&str, &str> =
        shared.into_iter().chain([series::SERIES]).flatten().copied().collect();
    let told = |word: &str| -> BTreeMap<&str, &str> {
        let lines = all.lines().filter_map(|line| line.strip_prefix(word)?.split_once(' '));
        lines.collect()
    };
    let (helps, types) = (told("# HELP "), told("# TYPE "));
    assert_eq!(types.keys().collect::<BTreeSet<_>>(), known.keys().collect(), "series and tables");
    assert_eq!(helps, known, "what each says");
    for (name, kind) in types {
        assert!(name.starts_with("paycore_"), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert_ne!(kind, "summary", "{name}: percentiles of several nodes cannot be added up");
    }
    for (series, _) in samples(all) {
        assert!(!series.contains("acc_") && !series.contains("wallet-"), "{series}");
        let longest = series.split('"').skip(1).step_by(2).map(str::len).max().unwrap_or(0);
        assert!(longest <= 20, "a label that long names something there may be many of: {series}");
    }
}

#[test]
fn a_cluster_without_a_majority_lives_and_is_not_ready() {
    let mut cluster = Cluster::start("dev-3.toml", "");
    ready(&cluster);
    // A follower is left: to Raft the leader that died is its leader until there is another.
    let leader = cluster.leader();
    let left = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    for id in cluster.ids().into_iter().filter(|id| *id != left) {
        cluster.kill_node(id);
    }
    let left_name = format!("n{left}");
    for name in [left_name.as_str(), "gateway"] {
        let (_, why) = until(&format!("{name} is not ready"), || {
            cluster.ask(name, "/readyz").filter(|(status, _)| *status == 503)
        });
        assert!(why.contains("shard 0"), "{name}: {why}");
        assert_eq!(cluster.ask(name, "/livez"), Some((200, "alive\n".to_owned())));
        assert_eq!(sum(&page(&cluster, name), "paycore_ready", ""), 0.0, "{name}");
    }
    // Alone, a node that starts again waits for a majority before it does anything.
    cluster.kill_node(left);
    cluster.start_node(left);
    let (_, why) = until("it lives again", || {
        cluster.ask(&left_name, "/readyz").filter(|(_, why)| why.contains("majority"))
    });
    assert_eq!(why, "waiting for a majority of its peers\n");
    cluster.start_node(leader);
    until("two are a majority", || {
        cluster.ask("gateway", "/readyz").filter(|(status, _)| *status == 200)
    });
}

#[test]
fn a_node_tells_of_the_shards_that_it_keeps_and_of_no_others() {
    let mut cluster = Cluster::start("dev-1.toml", "");
    let is_ready = |cluster: &Cluster, name: &str| {
        until(&format!("{name} is ready"), || {
            cluster.ask(name, "/readyz").filter(|(status, _)| *status == 200)
        });
    };
    let keeps = |cluster: &Cluster, name: &str| {
        let page = page(cluster, name);
        let tells =
            |series: &str| page.lines().any(|line| line.starts_with(&format!("{series}{{shard=")));
        let keeps = tells("paycore_raft_applied_index");
        assert_eq!(keeps, tells("paycore_outbox_lag_records"), "{name}: {page}");
        keeps
    };
    is_ready(&cluster, "n1");
    cluster.join_node(2);
    is_ready(&cluster, "n2");
    assert!(keeps(&cluster, "n1") && !keeps(&cluster, "n2"), "who has just joined keeps nothing");

    let topology = cluster.topology().display();
    // The shard, and the meta group.
    for group in [0, 1] {
        let words = format!("cluster move-replica {group} 1 2 --topology {topology} --yes");
        let (code, _, why) = cluster.run(&words);
        assert_eq!(code, 0, "{why}");
    }
    until("n1 tells of it no more", || (!keeps(&cluster, "n1")).then_some(()));
    assert!(keeps(&cluster, "n2"), "n2 tells of it");
    // Its topology named n1 alone, which knows nothing of the shard any more.
    assert!(cluster.stop_gateway().success());
    cluster.start_gateway();
    for name in ["n1", "n2", "gateway"] {
        is_ready(&cluster, name);
    }
    open_two(&cluster);
}

#[test]
fn an_admin_port_is_not_held_up_and_says_what_there_is() {
    let cluster = Cluster::start("dev-1.toml", "");
    until("n1 is ready", || cluster.ask("n1", "/readyz").filter(|(status, _)| *status == 200));
    let (status, body) = cluster.ask("n1", "/").unwrap();
    assert_eq!((status, body.lines().last()), (404, Some("/metrics")));
    let address = cluster.admin_of("n1");
    let say = |words: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Who hears nonsense may hang up before its end.
        let _ = stream.write_all(words);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let refused = say(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 405") && refused.contains("GET, HEAD"), "{refused}");
    assert!(say(&[0; 40]).starts_with("HTTP/1.1 400"));
    let endless = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 100_000]].concat();
    assert!(!say(&endless).contains("200 OK"));

    // More who say nothing than there are places: they are hung up on, and the next one is heard.
    let silent: Vec<_> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    let begun = Instant::now();
    assert_eq!(cluster.ask("n1", "/livez"), Some((200, "alive\n".to_owned())));
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    drop(silent);
}

#[test]
fn a_process_that_is_asked_to_stop_under_load_ends_well() {
    let mut cluster = Cluster::start("dev-3.toml", "");
    ready(&cluster);
    let mut through = load(&cluster, 20_000, "through-a-leader-change");
    let moved = |cluster: &Cluster| {
        let at = |id: u64| cluster.status(id).map(|status| status.applied_index);
        cluster.ids().into_iter().filter_map(at).max().unwrap_or(0)
    };
    until("money moves", || (moved(&cluster) > 150).then_some(()));

    let leader = cluster.leader();
    assert!(through.try_wait().unwrap().is_none(), "the load goes on");
    let begun = Instant::now();
    let ended = cluster.stop_node(leader);
    let took = begun.elapsed();
    assert_eq!(ended.code(), Some(0), "{}", cluster.log_of(&format!("n{leader}")));
    assert!(took < STOP_MAX, "{took:?}");
    assert_ne!(cluster.leader(), leader);
    cluster.start_node(leader);
    let output = through.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cluster.settled();

    let mut cut_off = load(&cluster, 50_000, "cut-off");
    let before = moved(&cluster);
    until("money moves again", || (moved(&cluster) > before + 150).then_some(()));
    let begun = Instant::now();
    let ended = cluster.stop_gateway();
    let took = begun.elapsed();
    assert_eq!(ended.code(), Some(0), "{}", cluster.log_of("gateway"));
    assert!(took < STOP_MAX, "{took:?}");
    cut_off.kill().unwrap();
    cut_off.wait().unwrap();
    cluster.start_gateway();
    ready(&cluster);
    assert_eq!(sum(&pages(&cluster), "paycore_ledger_imbalance_minor", ""), 0.0);
    cluster.settled();
}

#[test]
fn systemd_is_told() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("notify");
    let heard = UnixDatagram::bind(&socket).unwrap();
    let variables = [("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "300000")];
    let mut cluster = Cluster::start_in("dev-1.toml", "", &variables);
    // As systemd does, somebody always reads: the socket keeps a few messages, and the next ones are lost.
    let (to, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 200];
        while let Ok(len) = heard.recv(&mut bytes) {
            let _ = to.send(String::from_utf8(bytes[..len].to_vec()).unwrap());
        }
    });
    let hear = |wanted: &str, times: usize| {
        let mut seen = 0;
        while seen < times {
            let message = said.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {wanted}"));
            seen += usize::from(message.contains(wanted));
        }
    };
    hear("READY=1", 2);
    hear("WATCHDOG=1", 6);
    assert_eq!(cluster.stop_node(1).code(), Some(0));
    hear("STOPPING=1", 1);
    assert_eq!(cluster.stop_gateway().code(), Some(0));
    hear("STOPPING=1", 1);
}

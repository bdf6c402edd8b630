//! Whole clusters of real processes on real disks, killed, damaged, and started again.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use support::{Cluster, PATIENCE, until};

/// Checkpoints so close together that a small test makes several.
const OFTEN: &str = "\n[store]\ncheckpoint_log_bytes = 262144\n";

/// A UUIDv7 of the year 2026, as a client would have made it then.
const DATED_KEY: &str = "019b8f2e-7c00-7a51-9d3e-4b5c6d7e8f90";

#[test]
fn the_topologies_for_one_machine_start() {
    for (file, nodes) in [("dev-1.toml", 1), ("dev-3.toml", 3)] {
        let cluster = Cluster::start(file, "");
        assert_eq!(cluster.ids().len(), nodes);
        open_two(&cluster);
        let paid = cluster.json("transfer acc_a acc_b 1.25 --currency CNY --idempotency-key one");
        let again = cluster.json("transfer acc_a acc_b 1.25 --currency CNY --idempotency-key one");
        assert_eq!((&paid["replayed"], &again["replayed"]), (&false.into(), &true.into()));
        assert_eq!(paid["transfer"], again["transfer"]);
        assert_eq!(available(&cluster, "acc_b"), 125);
        cluster.settled();
    }
}

#[test]
fn a_new_leader_that_came_by_snapshot_knows_what_was_answered_long_ago() {
    let mut cluster = Cluster::start("dev-3.toml", OFTEN);
    open_two(&cluster);
    let pay = |cluster: &Cluster, amount: &str, key: &str| {
        cluster
            .json(&format!("transfer acc_a acc_b {amount} --currency CNY --idempotency-key {key}"))
    };
    let dated = pay(&cluster, "5.00", DATED_KEY);
    let free = pay(&cluster, "3.00", "rent-2026-11");
    let undone = pay(&cluster, "2.00", "a-mistake");
    let refused = "transfer acc_b acc_a 999 --currency CNY --idempotency-key too-much";
    assert_eq!(cluster.run(refused).0, 3);

    // All of it leaves memory: two checkpoints lie between it and the log's beginning.
    let index = cluster.status(cluster.leader()).unwrap().applied_index;
    grow_until(&cluster, "sealed", |cluster| {
        cluster.ids().iter().all(|id| cluster.status(*id).is_some_and(|at| at.purged_index > index))
    });

    // A follower stops, and the log that it would need is purged.
    let leader = cluster.leader();
    let follower = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.kill_node(follower);
    let last = cluster.status(leader).unwrap().last_log_index;
    grow_until(&cluster, "purged", |cluster| {
        cluster.status(cluster.leader()).unwrap().purged_index > last
    });
    cluster.start_node(follower);
    cluster.settled();
    assert!(cluster.status(follower).unwrap().checkpoint_index > last, "only a snapshot helped");

    lead(&mut cluster, follower);
    for (first, amount, key) in [(dated, "5.00", DATED_KEY), (free, "3.00", "rent-2026-11")] {
        let again = pay(&cluster, amount, key);
        assert_eq!((&again["transfer"], &again["replayed"]), (&first["transfer"], &true.into()));
        let other = format!("transfer acc_a acc_b 9.99 --currency CNY --idempotency-key {key}");
        assert_eq!(cluster.run(&other).0, 5, "the key names another transfer");
    }
    let (code, _, err) = cluster.run(refused);
    assert_eq!(code, 3, "a no is remembered like a yes");
    assert!(err.contains("INSUFFICIENT"), "{err}");
    assert_eq!((available(&cluster, "acc_a"), available(&cluster, "acc_b")), (99_000, 1_000));

    let reverse = format!("reverse {} acc_b", undone["transfer"].as_str().unwrap());
    assert_eq!(cluster.json(&format!("{reverse} --idempotency-key undo"))["replayed"], false);
    assert_eq!(cluster.json(&format!("{reverse} --idempotency-key undo"))["replayed"], true);
    let (code, _, err) = cluster.run(&format!("{reverse} --idempotency-key undo-again"));
    assert!(code == 3 && err.contains("ALREADY_REVERSED"), "{err}");
    assert_eq!((available(&cluster, "acc_a"), available(&cluster, "acc_b")), (99_200, 800));
    assert_eq!(cluster.leader(), follower);
    cluster.settled();
}

#[test]
fn a_damaged_log_stops_its_node_and_nobody_else() {
    let mut cluster = Cluster::start("dev-3.toml", "");
    open_two(&cluster);
    cluster.load(2_000, "load");
    let digest = cluster.settled();
    let victim = cluster.ids().into_iter().find(|id| *id != cluster.leader()).unwrap();
    cluster.kill_node(victim);
    let segment = cluster.data(victim).join("log/0000000001.log");
    let whole = std::fs::read(&segment).unwrap();
    flip(&segment, 9_000);

    cluster.start_node(victim);
    let code = cluster.end_of(victim).code();
    let said = cluster.log_of(&format!("n{victim}"));
    assert_eq!(code, Some(70), "{said}");
    assert!(said.contains("0000000001.log") && said.contains("offset"), "{said}");
    assert_eq!(available(&cluster, "acc_a"), 100_000, "the others go on");

    // The disk is not to blame: what was there before is as good as ever.
    std::fs::write(&segment, whole).unwrap();
    cluster.start_node(victim);
    assert_eq!(cluster.settled(), digest);
}

#[test]
fn a_damaged_checkpoint_is_not_believed() {
    let mut cluster = Cluster::start("dev-3.toml", OFTEN);
    open_two(&cluster);
    let victim = cluster.ids().into_iter().find(|id| *id != cluster.leader()).unwrap();
    grow_until(&cluster, "sealed", |cluster| {
        cluster.status(victim).is_some_and(|at| at.purged_index > 0)
    });
    cluster.kill_node(victim);
    let newest = files_under(&cluster.data(victim), "/gen-")
        .into_iter()
        .max_by_key(|(dir, _)| dir.clone())
        .unwrap();
    for (_, file) in files_under(&newest.0, "") {
        let len = std::fs::metadata(&file).unwrap().len();
        for at in (0..len).step_by(512) {
            flip(&file, at);
        }
    }
    cluster.start_node(victim);
    cluster.settled();
    let said = cluster.log_of(&format!("n{victim}"));
    assert!(said.contains("a bad checkpoint"), "{said}");
    cluster.load(1_000, "after");
    cluster.settled();
}

#[test]
fn noise_at_any_port_changes_nothing() {
    let cluster = Cluster::start("dev-3.toml", "");
    open_two(&cluster);
    cluster.introduced();
    let digest = cluster.settled();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let frame = [0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01];
    let mut noises = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        preface.to_vec(),
        [&preface[..], &frame].concat(),
        vec![0; 70_000],
    ];
    // From a fixed seed, so that a failure comes again.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for len in [1, 9, 24, 1_000, 40_000] {
        let mut noise = preface.to_vec();
        for _ in 0..len {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise.push(seed.to_be_bytes()[0]);
        }
        noises.push(noise.split_off(preface.len() * (len % 2)));
    }
    for address in cluster.doors() {
        for noise in &noises {
            let mut stream = TcpStream::connect(&address).unwrap();
            // Who hears nonsense may hang up before its end.
            let _ = stream.write_all(noise);
            let _ = stream.shutdown(Shutdown::Write);
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    assert_eq!(cluster.settled(), digest);
    assert_eq!(available(&cluster, "acc_a"), 100_000);
    for name in ["n1", "n2", "n3", "gateway"] {
        assert!(!cluster.log_of(name).contains("panicked"), "{}", cluster.log_of(name));
    }
}

/// A real bank's standing orders for a year. The data are not ours to ship: the test runs where they are.
#[test]
fn a_year_of_standing_orders_outlives_its_importer_and_its_leader() {
    let Some(data) = std::env::var_os("PAYCORE_TEST_DATA") else {
        eprintln!("skipped: set PAYCORE_TEST_DATA to the folder that has berka/fin_order.tsv");
        return;
    };
    let file = Path::new(&data).join("berka/fin_order.tsv");
    let map = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/berka.toml");
    let mut cluster = Cluster::start("dev-3.toml", "");
    cluster.leader();
    let import = |cluster: &Cluster| {
        let mut command = cluster.command("import --quiet -o json");
        command.arg(&file).arg("--map").arg(&map).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let applied = |cluster: &Cluster| {
        let at = |id: u64| cluster.status(id).map(|status| status.applied_index);
        cluster.ids().into_iter().filter_map(at).max().unwrap_or(0)
    };
    let more = |cluster: &Cluster, entries: u64| {
        let from = applied(cluster);
        until("payments are made", || (applied(cluster) >= from + entries).then_some(()));
    };

    let mut first = import(&cluster);
    more(&cluster, 60);
    assert!(first.try_wait().unwrap().is_none(), "it has not ended yet");
    first.kill().unwrap();
    first.wait().unwrap();

    let mut second = import(&cluster);
    more(&cluster, 60);
    let leader = cluster.leader();
    assert!(second.try_wait().unwrap().is_none(), "it has not ended yet");
    cluster.kill_node(leader);
    assert_ne!(cluster.leader(), leader);
    cluster.start_node(leader);

    let second = summary(second);
    let (posted, replayed) = (&second["posted"], &second["replayed"]);
    assert!(posted.as_u64() > Some(0) && replayed.as_u64() > Some(0), "{second}");
    assert_eq!(posted.as_u64().unwrap() + replayed.as_u64().unwrap(), 77_652);
    assert_eq!(second["paid_minor"], 2_547_479_232_u64, "to the cent");
    let third = summary(import(&cluster));
    assert_eq!((&third["posted"], &third["replayed"]), (&0.into(), &77_652.into()));
    assert_eq!(third["paid_minor"], 2_547_479_232_u64);
    cluster.settled();
}

/// `PAYCORE_TEST_PYTHON` names a Python that has `outside/requirements.txt`.
#[test]
fn a_python_client_made_by_reflection_moves_money() {
    let Some(python) = std::env::var_os("PAYCORE_TEST_PYTHON") else {
        eprintln!("skipped: PAYCORE_TEST_PYTHON is not set");
        return;
    };
    let cluster = Cluster::start("dev-3.toml", "");
    cluster.leader();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outside/reflection.py");
    let output =
        Command::new(python).arg(script).arg(&cluster.endpoint).output().expect("a Python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    assert!(said.ends_with("all of it by reflection alone\n"), "{said}");
}

fn open_two(cluster: &Cluster) {
    for words in ["--opening 1000 --alias acc_a", "--alias acc_b"] {
        cluster.json(&format!(
            "account open --currency CNY {words} --idempotency-key {}",
            words.len()
        ));
    }
}

fn available(cluster: &Cluster, account: &str) -> i64 {
    cluster.json(&format!("balance {account}"))["available"]["amount"].as_i64().unwrap()
}

/// Makes transfers until something holds.
fn grow_until(cluster: &Cluster, name: &str, holds: impl Fn(&Cluster) -> bool) {
    for round in 0..20 {
        cluster.load(5_000, &format!("{name}-{round}"));
        if holds(cluster) {
            return;
        }
    }
    panic!("{name}: not after 100,000 transfers");
}

/// Makes a node the leader: whoever else leads is asked to stop, and hands over.
fn lead(cluster: &mut Cluster, node: u64) {
    for _ in 0..10 {
        let leader = cluster.leader();
        if leader == node {
            return;
        }
        assert!(cluster.stop_node(leader).success(), "{}", cluster.log_of(&format!("n{leader}")));
        cluster.start_node(leader);
        cluster.settled();
    }
    panic!("node {node} never leads");
}

fn flip(file: &Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
    file.sync_all().unwrap();
}

/// Every file below a folder whose path has `part` in it, with the folder it is in.
fn files_under(dir: &Path, part: &str) -> Vec<(std::path::PathBuf, std::path::PathBuf)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_under(&path, part));
        } else if path.to_str().unwrap().contains(part) {
            found.push((dir.to_owned(), path));
        }
    }
    found
}

/// What a command that succeeds prints.
fn summary(command: Child) -> Value {
    let output = command.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

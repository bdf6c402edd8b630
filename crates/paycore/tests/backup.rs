//! Backups over real processes: taken under load, checked without a cluster, and made the beginning of clusters of other
//! sizes, in which all the money is there, old keys are answered as before, and old history is read.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::{BINARY, Cluster, until};

const SHARDS: u16 = 4;

/// Checkpoints come often, so that there are volumes.
const STORE: &str = "\n[store]\ncheckpoint_log_bytes = 150000\n";

/// Requests of the load behind which backups are made.
const LOAD: u64 = 60_000;

/// A cluster whose gateway asks for keys, what was done there before the load, and a backup of it.
struct Old {
    cluster: Cluster,
    root: String,
    shop: String,
    /// Two accounts on two shards, and the key of a transfer from one to the other.
    payer: String,
    payee: String,
    key: String,
    transfer: Value,
    statement: Value,
}

impl Old {
    fn start() -> Self {
        let mut root = String::new();
        let flags = |home: &Path| {
            root = first_key(home);
            key_flags(home)
        };
        let many = format!("shards = {SHARDS}\n");
        let cluster = Cluster::start_edited(
            "dev-3.toml",
            |text| text.replace("shards = 1\n", &many) + STORE,
            flags,
        );
        let run = |words: &str| json(&cluster, words, &root);
        let shop = cluster
            .run(&format!("keys new --tenant 7 --scope tenant --name shop --api-key {root}"));
        assert_eq!(shop.0, 0, "{}", shop.2);
        let open = || {
            let opened = run("account open --currency CNY --opening 1000.00 --tenant 7");
            opened["account"].as_str().unwrap().to_owned()
        };
        let payer = open();
        // Another shard's, most probably after a few.
        let payee = until("an account on another shard", || {
            let other = open();
            (shard(&other) != shard(&payer)).then_some(other)
        });
        let key = "f7e0c5a2-invoice-1".to_owned();
        let pay = pay(&payer, &payee, &key);
        let transfer = run(&pay);
        assert_eq!(transfer["replayed"], false, "{transfer}");
        let hold = format!("hold place {payer} {payee} 5.00 --currency CNY --for 24h --tenant 7");
        run(&hold);
        run(&format!("alias put acc_till {payer} --tenant 7"));
        let statement = run(&format!("statement {payer} --tenant 7"));
        let shop = shop.1.trim().to_owned();
        Self { cluster, root, shop, payer, payee, key, transfer, statement }
    }

    /// Has money cross between all shards, until it is all there and verified.
    fn begin_load(&self, out: &str) -> Child {
        let words = format!(
            "bench transfer-uniform --cluster http://{} --shards {SHARDS} --count {LOAD} --accounts 400 \
             --batch 200 --out {out} --api-key {}",
            self.cluster.endpoint, self.root
        );
        let mut bench = self.cluster.command(&words);
        bench.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn backup(&self, dir: &Path) -> Command {
        self.cluster.command(&format!(
            "cluster backup {} --topology {} -o json",
            dir.display(),
            self.cluster.topology().display()
        ))
    }
}

#[test]
fn a_backup_under_load_is_sound_and_begins_clusters_of_other_sizes() {
    let old = Old::start();
    let home = old.cluster.home.path().to_owned();
    let load = old.begin_load("first");
    until("the load is on its way", || applied(&old.cluster, 500));
    let mut made = Vec::new();
    for number in 0..3 {
        let dir = home.join(format!("backup-{number}"));
        let output = old.backup(&dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        made.push((dir, serde_json::from_slice::<Value>(&output.stdout).unwrap()));
    }
    let load = load.wait_with_output().unwrap();
    assert!(
        load.status.success(),
        "nobody was disturbed: {}",
        String::from_utf8_lossy(&load.stderr)
    );

    let (dir, last) = &made[made.len() - 1];
    for (dir, made) in &made {
        let (code, out, err) = check(&old.cluster, dir);
        assert_eq!(code, 0, "{err}");
        let checked: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(checked["sound"], true);
        assert_eq!(checked["manifest"], made["manifest"]);
        let sums = &checked["manifest"]["sums"][0];
        let sum = |name: &str| sums[name].as_i64().unwrap();
        assert_eq!(sum("customers") + sum("under_way") + sum("suspense"), sum("opening"));
        eprintln!("under way at the cut: {}", sum("under_way"));
    }
    // While the old cluster goes on: nobody of it is reached, and nobody of it reaches anybody.
    for nodes in [1, 5] {
        restored(&old, dir, &last["manifest"], nodes);
    }
}

/// Restores, and looks at everything.
fn restored(old: &Old, dir: &Path, manifest: &Value, nodes: u64) {
    let file = if nodes == 1 { "dev-1.toml" } else { "dev-3.toml" };
    let new = Cluster::prepared(file, (nodes, SHARDS), |new| {
        std::fs::copy(old.cluster.home.path().join("keys.toml"), new.home.path().join("keys.toml"))
            .unwrap();
        let mut birth = String::new();
        for node in new.ids() {
            let said = restore(new, dir, node, &birth);
            birth = said["birth"].as_str().unwrap().to_owned();
            for group in said["groups"].as_array().unwrap() {
                let number = group["group"].as_u64().unwrap();
                let named = &manifest["groups"][usize::try_from(number).unwrap()];
                assert_eq!(group["index"], named["index"]);
                // The meta group's names the new nodes.
                if number < u64::from(SHARDS) {
                    assert_eq!(group["digest"], named["digest"], "shard {number} of node {node}");
                }
            }
        }
        key_flags(new.home.path())
    });
    let root = &old.root;
    until("the books add up, and nothing is under way", || {
        let (code, out, _) = new.run(&format!("audit --api-key {root} -o json"));
        let found: Value = serde_json::from_str(&out).ok().filter(|_| code == 0)?;
        let sums = found["sums"].as_array()?;
        sums.iter().all(|sum| is_zero(&sum["under_way"])).then_some(())
    });
    let all = json(&new, "read-all --timeout 60s", root);
    let wanted = &manifest["sums"][0];
    let money: i64 = all["accounts"].as_array().unwrap().iter().map(customers).sum();
    assert_eq!(money, wanted["opening"].as_i64().unwrap(), "all the money is there");
    assert_eq!(all["holds"].as_array().unwrap().len(), 1, "and what was held of it");

    // What was decided stays decided; who was known is known; what was written is read.
    let again = json(&new, &pay(&old.payer, &old.payee, &old.key), root);
    assert_eq!(
        (&again["replayed"], &again["transfer"]),
        (&Value::Bool(true), &old.transfer["transfer"])
    );
    let statement = json(&new, &format!("statement {} --tenant 7", old.payer), root);
    assert_eq!(statement, old.statement, "nobody else paid from it");
    let (code, _, err) = new.run(&format!("balance acc_till --api-key {}", old.shop));
    assert_eq!(code, 0, "the tenant's key and its alias: {err}");
    let fresh = json(&new, &pay(&old.payer, &old.payee, &format!("after-{nodes}")), root);
    assert_eq!(fresh["replayed"], false);

    let known = until("the directory knows the new nodes", || {
        let known = json(&new, "directory show", root);
        let shards = known["shards"].as_array()?;
        let heard = shards.iter().filter(|shard| shard["heard_version"] == known["version"]);
        (heard.count() == usize::from(SHARDS)).then_some(known)
    });
    let live = known["nodes"].as_array().unwrap().iter().filter(|node| node["retired"] != true);
    assert_eq!(u64::try_from(live.count()).unwrap(), nodes, "{known}");
    for shard in 0..u32::from(SHARDS) {
        let kept = new.ids().into_iter().filter(|id| new.status_of(*id, shard).is_some()).count();
        assert_eq!(u64::try_from(kept).unwrap(), nodes.min(3), "replicas of shard {shard}");
    }
    let name = format!("load-{nodes}");
    let words = format!(
        "bench transfer-uniform --cluster http://{} --shards {SHARDS} --count 3000 --accounts 100 --batch 200 \
         --out {name} --api-key {root}",
        new.endpoint
    );
    let (code, _, err) = new.run(&words);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn whoever_was_restored_otherwise_is_turned_away() {
    let old = Old::start();
    let dir = old.cluster.home.path().join("backup");
    assert!(old.backup(&dir).output().unwrap().status.success());
    let mut birth = String::new();
    let mut new = Cluster::prepared("dev-3.toml", (3, SHARDS), |new| {
        for node in 1..=3 {
            // The third is another cluster's: nobody told it the others' birth.
            let given = if node == 3 { String::new() } else { birth.clone() };
            let said = restore(new, &dir, node, &given);
            if node == 1 {
                said["birth"].as_str().unwrap().clone_into(&mut birth);
            }
        }
        std::fs::copy(old.cluster.home.path().join("keys.toml"), new.home.path().join("keys.toml"))
            .unwrap();
        key_flags(new.home.path())
    });
    turned_away(&mut new);
    // So is a node of the old cluster, which comes with a longer log.
    let mut old = old;
    old.cluster.kill_node(3);
    std::fs::remove_dir_all(new.data(3)).unwrap();
    copy_dir(&old.cluster.data(3), &new.data(3));
    new.start_node(3);
    turned_away(&mut new);

    let occupied = restore_command(&new, &dir, 3, &birth).output().unwrap();
    assert_eq!(occupied.status.code(), Some(3), "there is something in it");
    assert!(String::from_utf8_lossy(&occupied.stderr).contains("DIRECTORY_NOT_EMPTY"));
    std::fs::remove_dir_all(new.data(3)).unwrap();
    restore(&new, &dir, 3, &birth);
    new.start_node(3);
    for shard in 0..=u32::from(SHARDS) {
        new.leader_of(shard);
        new.settled_of(shard);
    }
}

#[test]
fn a_backup_outlives_the_nodes_that_it_reads() {
    let mut old = Old::start();
    let load = old.begin_load("load");
    until("there is something to write", || applied(&old.cluster, 500));
    let home = old.cluster.home.path().to_owned();
    for (number, wanted) in ["manifest.json.new", "shard-01/pages"].into_iter().enumerate() {
        let dir = home.join(format!("backup-{number}"));
        let backup =
            old.backup(&dir).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until("it has begun", || dir.join(wanted).exists().then_some(()));
        let leader = old.cluster.leader_of(1);
        old.cluster.kill_node(leader);
        let output = backup.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        old.cluster.start_node(leader);
        assert_eq!(check(&old.cluster, &dir).0, 0);
    }
    // What becomes of the load is another test's business.
    let mut load = load;
    let _ended = load.kill();
    load.wait().unwrap();
}

/// A backup is read at the doors of nodes, which let nodes and gateways in and nobody else.
#[test]
fn with_tls_a_client_makes_no_backup() {
    let cluster = Cluster::start_tls("dev-1.toml", "required");
    cluster.leader();
    let backup = |name: &str, more: &str| {
        let dir = cluster.home.path().join(name);
        let topology = cluster.topology().display().to_string();
        let words = format!("cluster backup {} --topology {topology} {more}", dir.display());
        (cluster.run(&words), dir)
    };
    let ((code, _, err), dir) = backup("client", "--as admin --timeout 30s");
    assert_ne!(code, 0, "{err}");
    assert_eq!(check(&cluster, &dir).0, 3, "nothing was written: {err}");
    let ((code, out, err), dir) = backup("gateway", "");
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("read back and proven"), "{out}");
    let (code, _, err) = check(&cluster, &dir);
    assert_eq!(code, 0, "{err}");
}

/// The third node is nobody's: it is turned away, turns the others away, and nobody stops for that.
fn turned_away(new: &mut Cluster) {
    let before = ["n1", "n2"].map(|name| new.log_of(name).matches("turned a node away").count());
    until("it is turned away", || {
        let now = ["n1", "n2"].map(|name| new.log_of(name).matches("turned a node away").count());
        now.iter().zip(before).all(|(now, before)| *now > before + 3).then_some(())
    });
    for shard in 0..=u32::from(SHARDS) {
        assert_ne!(new.leader_of(shard), 3, "it takes no part");
        assert!(new.status_of(3, shard).is_none_or(|status| !status.leads));
    }
    assert!(new.ended().is_none(), "nobody else stops because of it");
    new.kill_node(3);
}

#[test]
fn what_is_damaged_or_unfinished_is_found_and_named() {
    let old = Old::start();
    let home = old.cluster.home.path().to_owned();
    let dir = home.join("backup");
    let load = old.begin_load("load");
    until("there is something to write", || applied(&old.cluster, 500));
    // Killed at different moments, it leaves nothing that passes for a backup.
    for wanted in ["manifest.json.new", "shard-00/pages", "shard-02/pages"] {
        let mut killed =
            old.backup(&dir).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("it has begun", || dir.join(wanted).exists().then_some(()));
        killed.kill().unwrap();
        killed.wait().unwrap();
        if !dir.join("manifest.json").exists() {
            let (code, _, err) = check(&old.cluster, &dir);
            assert_eq!(code, 3, "{err}");
            assert!(err.contains("BACKUP_UNFINISHED"), "{err}");
        } else {
            // It was quicker than the look.
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }
    let output = old.backup(&dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(check(&old.cluster, &dir).0, 0);
    let load = load.wait_with_output().unwrap();
    assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));

    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut files: Vec<String> = vec!["manifest.json".to_owned()];
    for group in made["manifest"]["groups"].as_array().unwrap() {
        let named = group["files"].as_array().unwrap().iter();
        files.extend(named.map(|file| file["name"].as_str().unwrap().to_owned()));
    }
    assert!(files.iter().any(|file| file.contains("/vol-")), "there are volumes: {files:?}");
    for file in &files {
        let path = dir.join(file);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 4;
        std::fs::write(&path, &bad).unwrap();
        let (code, _, err) = check(&old.cluster, &dir);
        assert_eq!(code, 3, "{file}: {err}");
        assert!(err.contains("BACKUP_DAMAGED") && err.contains(file.as_str()), "{file}: {err}");
        std::fs::write(&path, &good).unwrap();
    }
    let missing = dir.join(&files[1]);
    let good = std::fs::read(&missing).unwrap();
    std::fs::remove_file(&missing).unwrap();
    assert!(check(&old.cluster, &dir).2.contains(files[1].as_str()), "it is missing");
    std::fs::write(&missing, &good).unwrap();
    std::fs::write(dir.join("meta/note"), "x").unwrap();
    assert!(check(&old.cluster, &dir).2.contains("meta/note"));
    std::fs::remove_file(dir.join("meta/note")).unwrap();
    assert_eq!(check(&old.cluster, &dir).0, 0, "it is as it was");
    // A folder that is a backup is never written into.
    let again = old.backup(&dir).output().unwrap();
    assert_eq!(again.status.code(), Some(3));
}

fn check(cluster: &Cluster, dir: &Path) -> (i32, String, String) {
    cluster.run(&format!("cluster check-backup {} -o json", dir.display()))
}

fn restore_command(new: &Cluster, dir: &Path, node: u64, birth: &str) -> Command {
    let mut words = format!(
        "cluster restore {} --topology {} --node {node} --data {} -o json",
        dir.display(),
        new.topology().display(),
        new.data(node).display()
    );
    if !birth.is_empty() {
        words += &format!(" --birth {birth}");
    }
    new.command(&words)
}

fn restore(new: &Cluster, dir: &Path, node: u64, birth: &str) -> Value {
    let output = restore_command(new, dir, node, birth).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn json(cluster: &Cluster, words: &str, key: &str) -> Value {
    until("the command is answered", || {
        let (code, out, err) = cluster.run(&format!("{words} --api-key {key} -o json"));
        // Nobody leads yet, or the outcome is not known yet.
        if matches!(code, 75 | 76) {
            return None;
        }
        assert_eq!(code, 0, "{words}: {err}");
        Some(serde_json::from_str(&out).unwrap())
    })
}

fn pay(payer: &str, payee: &str, key: &str) -> String {
    format!("transfer {payer} {payee} 12.34 --currency CNY --tenant 7 --idempotency-key {key}")
}

fn is_zero(amount: &Value) -> bool {
    amount.as_i64().or_else(|| amount["amount"].as_i64()) == Some(0)
}

/// What a customer has.
fn customers(account: &Value) -> i64 {
    let is_wallet = account["kind"] == "wallet";
    if is_wallet { account["balance"]["amount"].as_i64().unwrap() } else { 0 }
}

/// Whether so many entries were applied on the first shard.
fn applied(cluster: &Cluster, entries: u64) -> Option<()> {
    let status = cluster.ids().into_iter().find_map(|id| cluster.status_of(id, 0))?;
    (status.applied_index >= entries).then_some(())
}

/// The shard of an account, out of its id's last twelve bits.
fn shard(account: &str) -> u16 {
    let id: ledger::AccountId = account.parse().unwrap();
    ledger::Shards::new(SHARDS).unwrap().shard(id.slot())
}

fn first_key(home: &Path) -> String {
    let mut made = Command::new(BINARY);
    made.env_clear().env("HOME", home).current_dir(home);
    made.args("keys new --tenant 0 --scope admin --name root --file keys.toml".split(' '));
    let made = made.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

fn key_flags(home: &Path) -> Vec<String> {
    vec!["--keys".to_owned(), home.join("keys.toml").display().to_string()]
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

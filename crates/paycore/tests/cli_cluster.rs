//! The command line against a running cluster: three replicas and a gateway, as `paycore demo` starts them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on has failed"
)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_paycore");

/// A demo, and a home for whoever uses it.
struct Demo {
    home: tempfile::TempDir,
    child: Child,
    endpoint: String,
}

impl Demo {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        // What it says about itself goes to a file: a pipe that nobody reads would block it in the end.
        let log = home.path().join("demo.log");
        let mut child = command(&home, "")
            .args(["demo", "--random-ports"])
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        // Its last words before it is ready for ours name the gateway's door.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.find_map(|line| line.ok().filter(|line| line.contains("--endpoint ")));
        let Some(line) = line else {
            panic!("the demo does not start: {}", std::fs::read_to_string(&log).unwrap());
        };
        let endpoint = line.split("--endpoint ").nth(1).unwrap().trim().to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        Self { home, child, endpoint }
    }

    fn paycore(&self, words: &str) -> Command {
        let mut command = command(&self.home, &self.endpoint);
        command.args(words.split_whitespace());
        command
    }

    /// Runs a command: exit code, stdout, stderr.
    fn run(&self, words: &str) -> (i32, String, String) {
        let output = self.paycore(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Runs a command that succeeds, and reads its JSON.
    fn json(&self, words: &str) -> Value {
        let (code, out, err) = self.run(&format!("{words} -o json"));
        assert_eq!(code, 0, "{words}: {err}");
        serde_json::from_str(&out).unwrap()
    }

    fn balance(&self, account: &str) -> i64 {
        self.json(&format!("balance {account}"))["balance"]["amount"].as_i64().unwrap()
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(home: &tempfile::TempDir, endpoint: &str) -> Command {
    let mut command = Command::new(BINARY);
    command
        .env_clear()
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .current_dir(home.path());
    if !endpoint.is_empty() {
        command.env("PAYCORE__CLIENT__ENDPOINT", endpoint);
    }
    command.stderr(Stdio::piped());
    command
}

#[test]
fn a_newcomers_first_minutes() {
    let demo = Demo::start();
    moving_money(&demo);
    refusals(&demo);
    holds(&demo);
    accounts(&demo);
    an_import_that_is_killed(&demo);
}

fn moving_money(demo: &Demo) {
    let (lin, wang) = (demo.balance("acc_lin"), demo.balance("acc_wang"));
    let (code, out, err) = demo.run("transfer acc_lin acc_wang 8.88 --currency CNY");
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("OK tr_0-") && out.contains(" · ¥8.88 · committed at "), "{out}");
    let key = out.split("--idempotency-key ").nth(1).unwrap().trim();
    assert!(err.contains(key), "the key is told before anything is sent: {err}");
    assert_eq!((demo.balance("acc_lin"), demo.balance("acc_wang")), (lin - 888, wang + 888));

    let again = format!("transfer acc_lin acc_wang 8.88 --currency CNY --idempotency-key {key}");
    let (code, replayed, _) = demo.run(&again);
    assert_eq!(
        (code, replayed.split(' ').take(2).collect::<Vec<_>>()),
        (0, vec!["OK", "(replayed)"])
    );
    assert_eq!(replayed.split(' ').nth(2), out.split(' ').nth(1), "the same transfer");
    assert_eq!(demo.balance("acc_lin"), lin - 888, "nothing moved");

    let found = demo.json(&format!("lookup acc_lin transfer {key}"));
    let transfer = found["transfer"].as_str().unwrap();
    assert_eq!(out.split(' ').nth(1), Some(transfer));
    assert_eq!(demo.run("lookup acc_lin transfer never-sent").0, 4);

    let reversed = demo.json(&format!("reverse {transfer} acc_wang"));
    assert_eq!(reversed["replayed"], false);
    assert_eq!((demo.balance("acc_lin"), demo.balance("acc_wang")), (lin, wang));
    assert_eq!(demo.run(&format!("reverse {transfer} acc_wang")).0, 3, "once, whatever the key");

    let legs = demo
        .file("legs.csv", "debit,credit,amount\nacc_lin,acc_wang,1.00\nacc_lin,acc_wang,0.50\n");
    let done = demo.json(&format!("multi-transfer --currency CNY --legs {}", legs.display()));
    assert_eq!(done["amount"]["amount"], 150);
    assert_eq!(done["postings"].as_array().map(Vec::len), Some(4));

    let first = demo.json("statement acc_lin --limit 2");
    assert_eq!(
        (first["data"].as_array().map(Vec::len), first["has_more"].as_bool()),
        (Some(2), Some(true))
    );
    let cursor = first["next_cursor"].as_str().unwrap();
    let next = demo.json(&format!("statement acc_lin --limit 1000 --cursor {cursor}"));
    let lines = next["data"].as_array().unwrap();
    assert_eq!(lines[0]["kind"], "reversal");
    assert_eq!(
        (lines.last().unwrap()["kind"].as_str(), next["has_more"].as_bool()),
        (Some("opening"), Some(false))
    );
    assert_eq!(
        demo.run(&format!("statement acc_wang --cursor {cursor}")).0,
        2,
        "another account's cursor"
    );
}

fn refusals(demo: &Demo) {
    let (code, _, err) = demo.run("transfer acc_lin acc_wang 999999 --currency CNY");
    assert_eq!(code, 3);
    assert!(err.contains("INSUFFICIENT: ¥") && err.contains("¥999999.00 requested"), "{err}");
    assert_eq!(demo.run("transfer acc_lin acc_wang 1 --currency CNY --idempotency-key r1").0, 0);
    assert_eq!(demo.run("transfer acc_lin acc_wang 2 --currency CNY --idempotency-key r1").0, 5);
    assert_eq!(demo.run("transfer acc_lin acc_wang 1 --currency EUR").0, 3);
    assert_eq!(demo.run("transfer acc_lin acc_lin 1 --currency CNY").0, 3);
    assert_eq!(demo.run("balance acc_019200000000700080000000deadb123").0, 4);
    let (code, _, err) = demo.run("transfer acc_lin acc_wnag 1 --currency CNY");
    assert_eq!(code, 2);
    assert!(err.contains("did you mean `acc_wang`?"), "{err}");
}

fn holds(demo: &Demo) {
    let placed = demo.json("hold place acc_lin acc_wang 20 --currency CNY --for 1h");
    let hold = placed["hold"].as_str().unwrap();
    let before = demo.json("balance acc_lin");
    assert_eq!(before["held"]["amount"], 2_000);
    assert_eq!(demo.json(&format!("hold post {hold} --amount 5.50"))["amount"]["amount"], 550);
    let (code, _, err) = demo.run(&format!("hold post {hold} --amount 15"));
    assert_eq!(code, 3);
    assert!(err.contains("¥14.50 left of the hold, ¥15.00 requested"), "{err}");
    let shown = demo.json(&format!("hold show {hold}"));
    assert_eq!(
        (shown["remaining"]["amount"].as_i64(), shown["state"].as_str()),
        (Some(1_450), Some("active"))
    );
    demo.json(&format!("hold void {hold}"));
    assert_eq!(demo.json("balance acc_lin")["held"]["amount"], 0);
    assert_eq!(demo.run(&format!("hold void {hold}")).0, 3);
}

fn accounts(demo: &Demo) {
    let opened =
        demo.json("account open --currency CNY --opening 5 --alias acc_chen --idempotency-key o1");
    assert_eq!(demo.json("account show acc_chen")["account"], opened["account"]);
    let again =
        demo.json("account open --currency CNY --opening 5 --alias acc_chen --idempotency-key o1");
    assert_eq!((again["replayed"].as_bool(), &again["account"]), (Some(true), &opened["account"]));
    assert_eq!(
        demo.run("account open --currency CNY --alias acc_chen").0,
        64,
        "the alias is taken"
    );
    demo.json("account freeze acc_chen --scope all --authority risk");
    assert_eq!(demo.run("transfer acc_lin acc_chen 1 --currency CNY").0, 3);
    assert_eq!(demo.json("account show acc_chen")["freezes"][0]["authority"], "risk");
    demo.json("account unfreeze acc_chen --authority risk");
    assert_eq!(demo.run("account close acc_chen").0, 3, "it has a balance");
    demo.json("transfer acc_chen acc_lin 5 --currency CNY");
    demo.json("account close acc_chen");
    assert_eq!(demo.json("account show acc_chen")["state"], "closed");
}

/// Killed in the middle and started again: every payment once, to the cent.
fn an_import_that_is_killed(demo: &Demo) {
    const ROWS: i64 = 1_000;
    const PERIODS: i64 = 12;
    let map = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/berka.toml");
    let rows: String =
        (1..=ROWS).map(|n| format!("{n}\t{}\tYZ\t{}\t{n}.05\tHH\n", n % 50, n % 7)).collect();
    let file = demo.file("orders.tsv", &rows);
    let import = format!("import {} --map {}", file.display(), map.display());

    let mut first = demo.paycore(&import).stdout(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(first.stderr.take().unwrap()).lines();
    let midway = lines.map_while(Result::ok).find(|line| line.starts_with("payments"));
    first.kill().unwrap();
    first.wait().unwrap();

    let summary = demo.json(&import);
    let count = |name: &str| summary[name].as_i64().unwrap();
    let sum = PERIODS * (100 * ROWS * (ROWS + 1) / 2 + 5 * ROWS);
    assert_eq!(count("posted") + count("replayed"), ROWS * PERIODS);
    assert!(midway.is_none() || count("replayed") > 0, "some were paid before it was killed");
    assert_eq!((count("paid_minor"), count("wanted_minor")), (sum, sum));
    let again = demo.json(&import);
    assert_eq!(
        (again["posted"].as_i64(), again["replayed"].as_i64()),
        (Some(0), Some(ROWS * PERIODS))
    );
}

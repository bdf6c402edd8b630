//! `bench` and `verify` on real processes: nodes and a gateway that are killed while money moves.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// As long as anything here may take on a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(120);

fn paycore(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paycore"));
    // Nobody's settings but the defaults.
    command.env("HOME", home).env_remove("XDG_CONFIG_HOME").env_remove("PAYCORE_CONTEXT");
    command.args(args);
    command
}

fn run(home: &Path, args: &[&str]) -> Output {
    paycore(home, args).output().expect("the binary runs")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_leader_and_a_gateway_killed_under_load_lose_nothing() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("run");
    let dir = out.to_str().unwrap();
    let load = ["bench", "transfer-hot", "--spawn", "3", "--duration", "8s", "--accounts", "100"];
    let rest =
        ["--batch", "50", "--chaos", "leader-kill@1s,gateway-kill@5s", "--seed", "7", "--out", dir];
    let output = run(home.path(), &[&load[..], &rest[..], &["-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));

    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["verdict"]["ok"], true);
    assert!(summary["posted"].as_u64().unwrap() > 100, "{summary}");
    for fault in summary["faults"].as_array().unwrap() {
        let victim = &fault["victims"][0];
        assert!(
            victim["new_pid"].is_u64() && victim["new_pid"] != victim["pid"],
            "it bit: {fault}"
        );
    }
    let leaders = summary["leaders"].as_array().unwrap();
    assert!(leaders.len() > 1, "another node led: {leaders:?}");
    for process in ["n1", "n2", "n3"] {
        assert!(summary["rss_bytes_max"][process].as_u64().unwrap() > 0);
        assert!(summary["disk_bytes"][process].as_u64().unwrap() > 0);
    }
    for process in ["bench", "gateway", "n1", "n2", "n3"] {
        assert!(summary["cpu_s"][process].is_f64());
    }

    let again = run(home.path(), &["verify", dir]);
    assert_eq!(again.status.code(), Some(0), "{}", errors(&again));
    let history = std::fs::read_to_string(out.join("history.jsonl")).unwrap();
    let forged = history.replacen("\"type\":\"ok\"", "\"type\":\"fail\"", 1);
    std::fs::write(out.join("history.jsonl"), forged).unwrap();
    assert_eq!(run(home.path(), &["verify", dir]).status.code(), Some(1), "refused, and done");
    std::fs::write(out.join("history.jsonl"), "no history").unwrap();
    assert_eq!(run(home.path(), &["verify", dir]).status.code(), Some(255));
}

#[test]
fn a_missed_objective_is_not_a_broken_promise() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("run");
    let load = ["bench", "transfer-single", "--spawn", "1", "--count", "50", "--connections", "2"];
    let rest = ["--accounts", "10", "--slo", "p50<1us", "--out", out.to_str().unwrap()];
    let output = run(home.path(), &[&load[..], &rest[..]].concat());
    assert_eq!(output.status.code(), Some(99), "{}", errors(&output));
    assert!(errors(&output).contains("p50<1us was asked for"));
    let used = run(home.path(), &[&load[..], &rest[..]].concat());
    assert_eq!(used.status.code(), Some(64), "a run's folder is used once");
}

#[test]
fn what_the_bench_started_ends_with_it_however_it_ends() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("run");
    let load =
        ["bench", "transfer-uniform", "--spawn", "1", "--duration", "1h", "--accounts", "10"];
    for signal in ["-KILL", "-TERM"] {
        let dir = out.join(signal);
        let mut bench = paycore(home.path(), &load)
            .args(["--out", dir.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let children = wait_for("a node and a gateway", || {
            let children = children_of(bench.id());
            (children.len() == 2).then_some(children)
        });
        let killed = Command::new("kill").args([signal, &bench.id().to_string()]).status().unwrap();
        assert!(killed.success());
        bench.wait().unwrap();
        wait_for("their end", || children.iter().all(|child| !is_alive(*child)).then_some(()));
    }
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Processes whose parent has this id, and which are what they were started as.
fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("there is a /proc").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |id: &u32| {
        let field =
            |name| status(*id)?.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        field("PPid:").is_some_and(|ppid| ppid.trim() == parent.to_string())
            && field("Name:").is_some_and(|name| name.trim() == "paycore")
    };
    ids.filter(is_child).collect()
}

/// A dead process whose new parent has not noticed yet is dead all the same.
fn is_alive(id: u32) -> bool {
    let state = status(id).and_then(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("State:").map(|state| state.trim().to_owned()))
    });
    state.is_some_and(|state| !state.starts_with('Z') && !state.starts_with('X'))
}

fn status(id: u32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{id}/status")).ok()
}

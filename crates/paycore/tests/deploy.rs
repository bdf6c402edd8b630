//! `deploy/` against what the binary really offers: flags, settings, ports, paths and series that drift apart fail here.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

#[expect(
    dead_code,
    reason = "the binary uses the names one by one, a test only all of them together"
)]
#[path = "../src/server/admin/series.rs"]
mod series;
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use support::{BINARY, Cluster, until};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn deploy(file: &str) -> PathBuf {
    root().join("deploy").join(file)
}

fn text(file: &str) -> String {
    std::fs::read_to_string(deploy(file)).unwrap_or_else(|why| panic!("{file}: {why}"))
}

/// Every document of a YAML file.
fn yaml(file: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&text(file)).unwrap_or_else(|why| panic!("{file}: {why}"))
}

/// Every Kubernetes object.
fn objects() -> Vec<Value> {
    let files = ["namespace", "cluster-config", "node", "gateway", "monitoring"];
    files.iter().flat_map(|file| yaml(&format!("kubernetes/{file}.yaml"))).collect()
}

fn object(kind: &str, name: &str) -> Value {
    let all = objects();
    let found = all.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}")).clone()
}

/// Runs the binary with nothing around it but these variables.
fn paycore(args: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command.env_clear().env("HOME", home.path()).current_dir(home.path());
    let output = command.args(args).envs(variables.iter().copied()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// Whether a command line is one that the binary takes: a subcommand, and only flags that it has.
fn check_command_line(file: &str, words: &[String]) {
    let (knows, help) = paycore(&[&words[0], "--help"], &[]);
    assert!(knows, "{file}: {help}");
    let flags: BTreeSet<&str> = help
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| word.starts_with("--"))
        .collect();
    for word in words.iter().filter(|word| word.starts_with("--")) {
        assert!(flags.contains(word.as_str()), "{file}: `{}` has no {word}\n{help}", words[0]);
    }
}

fn words(of: &Value) -> Vec<String> {
    of.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// Whether a variable names a setting that there is.
fn check_variable(file: &str, name: &str, value: &str) {
    if name.starts_with("PAYCORE") {
        let (ok, said) = paycore(&["config", "show", "--origin"], &[(name, value)]);
        assert!(ok && said.contains(&format!("environment {name}")), "{file}: {name}: {said}");
    }
}

fn check_topology(file: &str, text: &str) -> toml::Table {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cluster.toml");
    std::fs::write(&path, text).unwrap();
    let (ok, said) = paycore(&["config", "validate", path.to_str().unwrap()], &[]);
    assert!(ok, "{file}: {said}");
    text.parse().unwrap()
}

/// Whether a process would start there: one that others reach wants certificates and keys, or to be told that it does
/// without.
fn check_doors(file: &str, words: &[String], topology: &toml::Table) {
    let says = |flag: &str| words.iter().any(|word| word == flag);
    let has_tls = ["ca", "cert", "key"].iter().all(|name| topology["tls"].get(*name).is_some());
    assert_eq!(says("--plaintext"), !has_tls, "{file}: TLS, or --plaintext");
    assert_eq!(says("--keys") != says("--open"), words[0] == "gateway", "{file}: --keys or --open");
}

/// Every port of a topology's addresses.
fn ports(topology: &toml::Table) -> BTreeSet<String> {
    let members = ["nodes", "gateways"].into_iter().flat_map(|of| topology[of].as_array().unwrap());
    let addresses = members.flat_map(|member| ["grpc", "admin"].map(|door| member.get(door)));
    let port =
        |address: &toml::Value| address.as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
    addresses.flatten().map(port).collect()
}

/// The series that a text names, with what Prometheus makes of a histogram undone.
fn named(text: &str) -> BTreeSet<String> {
    let buckets = [consensus::meter::BUCKETS, shard::meter::BUCKETS, gateway::meter::BUCKETS];
    let histograms: BTreeSet<&str> = buckets.into_iter().flatten().map(|(name, _)| *name).collect();
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("paycore_"));
    ours.map(|word| {
        let whole = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        whole.filter(|name| histograms.contains(name)).unwrap_or(word).to_owned()
    })
    .collect()
}

fn known() -> BTreeSet<String> {
    let tables =
        [consensus::meter::SERIES, shard::meter::SERIES, gateway::meter::SERIES, series::SERIES];
    tables.into_iter().flatten().map(|(name, _)| (*name).to_owned()).collect()
}

/// A program that may not be on this machine.
fn run(program: &str, args: &[&str]) -> Option<(bool, String)> {
    let Ok(output) = Command::new(program).args(args).output() else {
        eprintln!("skipped: there is no {program}");
        return None;
    };
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn every_file_has_its_line() {
    let readme = text("README.md");
    let mut folders = vec![deploy("")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(deploy("")).unwrap().display().to_string();
            assert!(name == "README.md" || readme.contains(&format!("`{name}`")), "{name}");
        }
    }
}

#[test]
fn the_image_holds_the_binary_and_is_not_root() {
    let file = text("Dockerfile");
    let lines: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
    let after = |word: &str| {
        let found = lines.iter().rev().find_map(|line| line.strip_prefix(word));
        found.unwrap_or_else(|| panic!("no {word}")).trim()
    };
    assert_eq!(lines.iter().filter(|line| line.starts_with("FROM ")).count(), 2, "two stages");
    let entry: Vec<String> = serde_json::from_str(after("ENTRYPOINT ")).unwrap();
    let copied = after("COPY --from=build ").split_whitespace().last().unwrap();
    assert_eq!(entry, [copied], "what is started is what was built");
    assert!(after("USER ").split(':').all(|id| id.parse::<u32>().unwrap() > 0));
    assert_eq!(after("STOPSIGNAL "), "SIGTERM");
    for pair in after("ENV ").split_whitespace() {
        let (name, value) = pair.split_once('=').unwrap();
        check_variable("Dockerfile", name, value);
    }
    let exposed: BTreeSet<String> =
        after("EXPOSE ").split_whitespace().map(str::to_owned).collect();
    let compose = check_topology("compose/cluster.toml", &text("compose/cluster.toml"));
    assert_eq!(exposed, ports(&compose), "the ports of the files here");

    // What the build copies is what it needs: the workspace, and nothing that is not there.
    let ignored = text("Dockerfile.dockerignore");
    let kept: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for path in &kept {
        assert!(root().join(path).exists(), "{path}");
    }
    for needed in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "crates"] {
        assert!(kept.contains(&needed), "{needed}");
    }
    let workspace: toml::Table =
        std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let version = workspace["workspace"]["package"]["rust-version"].as_str().unwrap();
    assert!(lines[0].starts_with(&format!("FROM rust:{version}-")), "{}", lines[0]);
}

#[test]
fn compose_runs_what_there_is() {
    let compose = &yaml("compose.yaml")[0];
    let topology = check_topology("compose/cluster.toml", &text("compose/cluster.toml"));
    let config = compose["configs"]["cluster"]["file"].as_str().unwrap();
    assert!(deploy(config).exists(), "{config}");
    let services = compose["services"].as_object().unwrap();
    let members = topology["nodes"].as_array().unwrap().len() + 1;
    assert_eq!(services.len(), members);
    for (name, service) in services {
        let command = words(&service["command"]);
        check_command_line(name, &command);
        check_doors(name, &command, &topology);
        let value = |flag: &str| {
            let at = command.iter().position(|word| word == flag);
            command[at.unwrap_or_else(|| panic!("{name}: no {flag}")) + 1].clone()
        };
        let target = service["configs"][0]["target"].as_str().unwrap();
        assert_eq!(value("--topology"), target, "{name}");
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["build"]["dockerfile"], "deploy/Dockerfile");
        let admin = if command[0] == "node" {
            let id: i64 = value("--id").parse().unwrap();
            let node = topology["nodes"].as_array().unwrap().iter();
            let node = node.clone().find(|node| node["id"].as_integer() == Some(id)).unwrap();
            let volume = service["volumes"][0].as_str().unwrap().split_once(':').unwrap();
            assert!(compose["volumes"].as_object().unwrap().contains_key(volume.0));
            assert!(value("--data").starts_with(volume.1), "{name} writes into its volume");
            node["admin"].as_str().unwrap().to_owned()
        } else {
            topology["gateways"][0]["admin"].as_str().unwrap().to_owned()
        };
        assert_eq!(admin.split(':').next(), Some(name.as_str()), "its name is its host");
        let probe = service["healthcheck"]["test"][3].as_str().unwrap();
        assert!(probe.contains(&format!("/dev/tcp/{}", admin.replace(':', "/"))), "{probe}");
        assert!(service["stop_grace_period"] == "40s", "longer than the process needs");
        assert_eq!(service["restart"], "unless-stopped", "who ends for a restart is started");
    }
}

#[test]
fn units_start_what_there_is_and_systemd_accepts_them() {
    let dir = tempfile::tempdir().unwrap();
    for unit in ["paycore-node@.service", "paycore-gateway.service"] {
        let file = text(&format!("systemd/{unit}"));
        let value = |key: &str| {
            let found = file.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
            found.unwrap_or_else(|| panic!("{unit}: no {key}"))
        };
        let start: Vec<String> =
            value("ExecStart").split_whitespace().map(|word| word.replace("%i", "1")).collect();
        check_command_line(unit, &start[1..]);
        let production = root().join("cluster-config/prod-5.toml");
        let production = std::fs::read_to_string(production).unwrap().parse().unwrap();
        check_doors(unit, &start[1..], &production);
        assert_eq!((value("Type"), value("WatchdogSec")), ("notify", "30"), "{unit}");
        assert!(value("TimeoutStopSec").parse::<u64>().unwrap() > 30, "{unit}");
        assert!(value("LimitNOFILE").parse::<u64>().unwrap() >= 65_536, "{unit}");
        if unit.starts_with("paycore-node") {
            let state = format!("/var/lib/{}", value("StateDirectory").replace("%i", "1"));
            assert!(start.contains(&state), "{unit}: it writes where it may: {state}");
            // A node that an operator restarts ends with 75.
            let never =
                value("RestartPreventExitStatus").split_whitespace().any(|code| code == "75");
            assert_eq!((value("Restart"), never), ("on-failure", false), "{unit}");
        }
        let here = dir.path().join(unit.replace('@', "@1"));
        std::fs::write(&here, file.replace("/usr/bin/paycore", BINARY)).unwrap();
        if let Some((ok, said)) = run("systemd-analyze", &["verify", here.to_str().unwrap()]) {
            // What it says of other units of this machine is not ours.
            let ours: Vec<&str> = said.lines().filter(|line| line.contains("paycore")).collect();
            assert!(ok && ours.is_empty(), "{unit}: {said}");
        }
    }
}

#[test]
fn kubernetes_runs_what_there_is() {
    let config = object("ConfigMap", "paycore-cluster");
    let file = config["data"]["cluster.toml"].as_str().unwrap();
    let topology = check_topology("kubernetes/cluster-config.yaml", file);
    let set = object("StatefulSet", "paycore-node");
    let service = object("Service", "paycore-node");
    let nodes = topology["nodes"].as_array().unwrap();
    assert_eq!(set["spec"]["replicas"], nodes.len());
    assert_eq!(set["spec"]["podManagementPolicy"], "Parallel");
    assert_eq!(set["spec"]["serviceName"], service["metadata"]["name"]);
    assert_eq!(service["spec"]["clusterIP"], "None");
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
    let first = set["spec"]["ordinals"]["start"].as_u64().unwrap();
    for (node, ordinal) in nodes.iter().zip(first..) {
        let expected =
            format!("paycore-node-{ordinal}.paycore-node.paycore.svc.cluster.local:7100");
        assert_eq!(node["grpc"].as_str(), Some(expected.as_str()));
        assert_eq!(node["id"].as_integer(), i64::try_from(ordinal).ok(), "its ordinal is its id");
    }
    let variables = set["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    let id = variables.iter().find(|variable| variable["name"] == "PAYCORE__NODE__ID").unwrap();
    let label = "metadata.labels['apps.kubernetes.io/pod-index']";
    assert_eq!(id["valueFrom"]["fieldRef"]["fieldPath"], label);
    check_variable("kubernetes/node.yaml", "PAYCORE__NODE__ID", "1");
    for (kind, name) in [("StatefulSet", "paycore-node"), ("Deployment", "paycore-gateway")] {
        check_workload(&object(kind, name), (&object("Service", name), &topology));
        let budget = object("PodDisruptionBudget", name);
        assert_eq!(budget["spec"]["maxUnavailable"], 1, "{name}");
        assert_eq!(budget["spec"]["selector"], object(kind, name)["spec"]["selector"], "{name}");
    }
    let monitor = object("ServiceMonitor", "paycore");
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!((&endpoint["port"], &endpoint["path"]), (&"admin".into(), &"/metrics".into()));
    assert!(objects().iter().all(|object| {
        object["kind"] == "Namespace" || object["metadata"]["namespace"] == "paycore"
    }));
}

/// What is asked of everything that runs: flags, settings and ports that there are, probes, and as few rights as may be.
fn check_workload(workload: &Value, (service, topology): (&Value, &toml::Table)) {
    let name = workload["metadata"]["name"].as_str().unwrap();
    let template = &workload["spec"]["template"];
    let labels = template["metadata"]["labels"].as_object().unwrap();
    let selects = |selector: &Value| {
        selector.as_object().unwrap().iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    assert!(selects(&service["spec"]["selector"]), "{name}: its service");
    assert!(selects(&workload["spec"]["selector"]["matchLabels"]), "{name}: its own selector");

    let pod = &template["spec"];
    let container = &pod["containers"][0];
    let args = words(&container["args"]);
    check_command_line(name, &args);
    check_doors(name, &args, topology);
    let ports = container["ports"].as_array().unwrap();
    for exposed in service["spec"]["ports"].as_array().unwrap() {
        let port = ports.iter().find(|port| port["name"] == exposed["targetPort"]);
        assert_eq!(port.unwrap()["containerPort"], exposed["port"], "{name}");
    }
    let admin = ports.iter().find(|port| port["name"] == "admin").unwrap();
    let at = args.iter().position(|word| word == "--admin").unwrap();
    assert_eq!(args[at + 1], format!("0.0.0.0:{}", admin["containerPort"]), "{name}");
    for (probe, path) in
        [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
    {
        let get = &container[probe]["httpGet"];
        assert_eq!(
            (&get["path"], &get["port"]),
            (&path.into(), &"admin".into()),
            "{name}: {probe}"
        );
        // The serving thread is given two seconds to answer.
        assert!(container[probe]["timeoutSeconds"].as_u64() > Some(2), "{name}: {probe}");
    }
    assert!(pod["terminationGracePeriodSeconds"].as_u64() > Some(30), "{name}");
    assert!(container["lifecycle"]["preStop"].is_object(), "{name}");
    for variable in container["env"].as_array().unwrap() {
        if let Some(value) = variable["value"].as_str() {
            check_variable(name, variable["name"].as_str().unwrap(), value);
        }
    }
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
    let rights = &container["securityContext"];
    assert_eq!(rights["readOnlyRootFilesystem"], true, "{name}");
    assert_eq!(rights["allowPrivilegeEscalation"], false, "{name}");
    assert_eq!(rights["capabilities"]["drop"][0], "ALL", "{name}");
    assert!(pod["affinity"]["podAntiAffinity"].is_object(), "{name}");
    assert!(pod["topologySpreadConstraints"].is_array(), "{name}");
    let mounts = container["volumeMounts"].as_array().unwrap();
    let is_mounted = |path: &str| {
        mounts.iter().any(|mount| path.starts_with(mount["mountPath"].as_str().unwrap()))
    };
    let files = topology["tls"].as_table().unwrap().values().filter_map(toml::Value::as_str);
    let named = args.iter().map(String::as_str).chain(files);
    for path in named.filter(|word| word.starts_with('/')) {
        assert!(is_mounted(path), "{name}: {path} is on no volume");
    }
}

#[test]
fn what_is_probed_and_scraped_is_served() {
    let cluster = Cluster::start("dev-1.toml", "");
    until("n1 is ready", || cluster.ask("n1", "/readyz").filter(|(status, _)| *status == 200));
    let (_, paths) = cluster.ask("n1", "/").unwrap();
    let served: BTreeSet<&str> = paths.lines().skip(1).collect();
    let files = ["compose.yaml", "kubernetes/node.yaml", "kubernetes/gateway.yaml"];
    let all: String = files.iter().map(|file| text(file)).collect();
    let monitor = text("kubernetes/monitoring.yaml");
    for (path, used) in [("/livez", &all), ("/readyz", &all), ("/metrics", &monitor)] {
        assert!(served.contains(path) && used.contains(path), "{path}");
    }
    assert_eq!(served.len(), 3, "{served:?}");
}

#[test]
fn alerts_and_dashboards_name_series_that_there_are() {
    let known = known();
    for file in [
        "prometheus/alerts.yaml",
        "prometheus/alerts_test.yaml",
        "grafana/cluster.json",
        "grafana/ledger.json",
    ] {
        let strange: Vec<_> = named(&text(file)).difference(&known).cloned().collect();
        assert!(strange.is_empty(), "{file}: {strange:?}");
    }
    let rules = &yaml("prometheus/alerts.yaml")[0];
    let groups = rules["groups"].as_array().unwrap();
    assert_eq!(groups[0]["rules"][0]["alert"], "PaycoreLedgerImbalance", "the gravest first");
    let tests = text("prometheus/alerts_test.yaml");
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        let name = rule["alert"].as_str().unwrap();
        assert!(rule["labels"]["severity"].is_string(), "{name}");
        assert!(rule["annotations"]["summary"].is_string(), "{name}");
        assert!(rule["annotations"]["action"].is_string(), "{name}: what is to be done?");
        assert!(
            tests.contains(&format!("\"{name}\"")) || tests.contains(&format!(" {name}\n")),
            "{name}: untested"
        );
    }
}

#[test]
fn prometheus_accepts_the_alerts_and_what_dashboards_ask() {
    let alerts = deploy("prometheus/alerts.yaml");
    let Some((ok, said)) = run("promtool", &["check", "rules", alerts.to_str().unwrap()]) else {
        return;
    };
    assert!(ok, "{said}");
    let tests = deploy("prometheus/alerts_test.yaml");
    let (ok, said) = run("promtool", &["test", "rules", tests.to_str().unwrap()]).unwrap();
    assert!(ok, "{said}");

    // promtool reads no dashboard, but a rule for each of its questions.
    let mut rules = Vec::new();
    for file in ["grafana/cluster.json", "grafana/ledger.json"] {
        let dashboard: Value = serde_json::from_str(&text(file)).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "{file}: ids");
        for target in panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap()) {
            let asked = target["expr"].as_str().unwrap();
            let asked = asked.replace("$__rate_interval", "1m").replace("$job", ".*");
            assert!(!asked.contains('$'), "{file}: {asked}");
            rules.push(serde_json::json!({"record": format!("r:{}", rules.len()), "expr": asked}));
        }
    }
    assert!(rules.len() > 40, "{}", rules.len());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("questions.yaml");
    // JSON is YAML.
    let groups = serde_json::json!({"groups": [{"name": "dashboards", "rules": rules}]});
    std::fs::write(&file, groups.to_string()).unwrap();
    let (ok, said) = run("promtool", &["check", "rules", file.to_str().unwrap()]).unwrap();
    assert!(ok, "{said}");
}

//! The command line as a shell sees it: exit codes, stdout, stderr. Nothing here needs a running cluster.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on has failed"
)]

use std::path::PathBuf;

use assert_cmd::Command;

/// The binary, with nothing of this machine's settings around it.
struct Shell {
    home: tempfile::TempDir,
}

impl Shell {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn paycore(&self, words: &str) -> Command {
        let mut command = Command::cargo_bin("paycore").unwrap();
        command.env_clear().env("HOME", self.home.path()).current_dir(self.home.path());
        command.args(words.split_whitespace());
        command
    }

    /// Runs it: exit code, stdout, stderr.
    fn run(&self, words: &str) -> (i32, String, String) {
        ran(&mut self.paycore(words))
    }
}

fn ran(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

#[test]
fn help_is_data_and_goes_to_stdout() {
    let shell = Shell::new();
    for words in ["--help", "import --help", "config show --help", "--version"] {
        let (code, out, err) = shell.run(words);
        assert_eq!((code, err.as_str()), (0, ""), "{words}");
        assert!(!out.is_empty(), "{words}");
        assert!(!out.contains('\u{1b}'), "{words}: colour in a pipe");
    }
    let (_, out, _) = shell.run("import --help");
    assert!(out.contains("Example:\n  paycore import "), "{out}");
}

#[test]
fn bad_flags_are_64_and_say_what_was_meant() {
    let shell = Shell::new();
    for words in [
        "",
        "nonsense",
        "import",
        "config show --orgin",
        "config show -o yaml",
        "import f --map m --periods 0",
    ] {
        let (code, out, err) = shell.run(words);
        assert_eq!((code, out.as_str()), (64, ""), "{words}");
        assert!(!err.is_empty(), "{words}");
        assert!(!err.contains('\u{1b}'), "{words}: colour in a pipe");
    }
    assert!(shell.run("config show --orgin").2.contains("--origin"));
    assert!(shell.run("cofnig show").2.contains("config"));
}

#[test]
fn settings_come_in_layers_and_say_from_which() {
    let shell = Shell::new();
    let user = shell.file(
        ".config/paycore/config.toml",
        "[client]\nendpoint = \"http://a:1\"\ntimeout_ms = 5\n",
    );
    let origin = |command: &mut Command, key: &str| {
        let (code, out, err) = ran(command);
        assert_eq!(code, 0, "{err}");
        let line =
            out.lines().find(|line| line.contains(&format!("\"{key}\""))).unwrap().to_owned();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        format!("{} from {}", line["value"].as_str().unwrap(), line["origin"].as_str().unwrap())
    };
    let show = || shell.paycore("config show --origin -o jsonl");
    assert_eq!(
        origin(&mut show(), "client.endpoint"),
        format!("http://a:1 from {}", user.display())
    );
    assert_eq!(origin(&mut show(), "log.level"), "info from default");
    assert_eq!(origin(&mut show(), "output.format"), "jsonl from flag --output");

    let context =
        shell.file(".config/paycore/context.toml", "endpoint = \"http://b:1\"\n[aliases]\n");
    assert_eq!(
        origin(&mut show(), "client.endpoint"),
        format!("http://b:1 from {}", context.display())
    );
    assert_eq!(
        origin(show().env("PAYCORE__CLIENT__ENDPOINT", "http://c:1"), "client.endpoint"),
        "http://c:1 from environment PAYCORE__CLIENT__ENDPOINT"
    );
    let other = shell.file("other.toml", "[client]\ntimeout_ms = 7\n");
    assert_eq!(
        origin(show().arg("--config").arg(&other), "client.timeout_ms"),
        format!("7 from {}", other.display())
    );
    assert_eq!(origin(show().arg("--no-color"), "output.color"), "never from flag --no-color");
}

#[test]
fn a_key_that_nobody_knows_is_an_error_that_says_which_was_meant() {
    let shell = Shell::new();
    let file = shell.file("s.toml", "[client]\nendpiont = \"http://a:1\"\n");
    let (code, out, err) = ran(shell.paycore("config show --config").arg(&file));
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(
        err.contains("s.toml:2: unknown key `client.endpiont`; did you mean `endpoint`?"),
        "{err}"
    );

    let (code, _, err) = ran(shell.paycore("config show").env("PAYCORE__CLIENT__ENDPIONT", "x"));
    assert_eq!(code, 78);
    assert!(err.contains("PAYCORE__CLIENT__ENDPIONT: unknown key"), "{err}");
    assert!(err.contains("did you mean `endpoint`?"), "{err}");

    let (code, _, err) =
        ran(shell.paycore("config show").env("PAYCORE__CLIENT__TIMEOUT_MS", "soon"));
    assert_eq!(code, 78);
    assert!(err.contains("environment PAYCORE__CLIENT__TIMEOUT_MS"), "{err}");

    // Not ours, so not our affair.
    assert_eq!(ran(shell.paycore("config show").env("PAYCORE_TEST_DATA", "x")).0, 0);
}

#[test]
fn what_is_no_toml_is_refused_with_its_line() {
    let shell = Shell::new();
    shell.file(".config/paycore/config.toml", "[client]\n\nendpoint = \n");
    let (code, _, err) = shell.run("config show");
    assert_eq!(code, 78);
    assert!(err.contains("config.toml:3: "), "{err}");
    let (code, _, err) = shell.run("config show --config nowhere.toml");
    assert_eq!(code, 78);
    assert!(err.contains("nowhere.toml"), "{err}");
}

#[test]
fn values_that_cannot_work_are_refused() {
    let shell = Shell::new();
    for (name, value) in [
        ("PAYCORE__CLIENT__ENDPOINT", "https://a:1"),
        ("PAYCORE__CLIENT__ENDPOINT", "nonsense"),
        ("PAYCORE__CLIENT__TIMEOUT_MS", "0"),
        ("PAYCORE__CLIENT__TIMEOUT_MS", "60001"),
        ("PAYCORE__NODE__ID", "0"),
        ("PAYCORE__OUTPUT__FORMAT", "yaml"),
    ] {
        let (code, _, err) = ran(shell.paycore("config show").env(name, value));
        assert_eq!(code, 78, "{name}={value}");
        assert!(err.contains(name), "{name}={value}: {err}");
    }
}

#[test]
fn configuration_files_are_checked_all_of_them() {
    let shell = Shell::new();
    let shipped = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../cluster-config");
    let mut validate = shell.paycore("config validate");
    for name in ["dev-1.toml", "dev-3.toml", "prod-5.toml"] {
        validate.arg(shipped.join(name));
    }
    let (code, out, _) = ran(&mut validate);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("topology prod-5 of 5 nodes (2 may die), 3 gateways, 1 shards"), "{out}");

    let settings = shell.file("settings.toml", "[client]\ntimeout_ms = 5\n");
    let spoilt = shell.file("cluster.toml", "name = \"x\"\nshard = 1\nnodes = []\n");
    let (code, out, err) = ran(shell.paycore("config validate").arg(&settings).arg(&spoilt));
    assert_eq!(code, 78);
    assert!(out.contains("cluster.toml:2: unknown key `shard`; did you mean `shards`?"), "{out}");
    assert!(err.contains("1 of 2 files cannot be used"), "{err}");

    for (trace, wrong) in [
        ("otlp = \"collector:4317\"", "`collector:4317` is no collector"),
        ("sample_ratio = 1.5", "1.5; a part lies between 0 and 1"),
        ("sample_ratio = nan", "a part lies between 0 and 1"),
    ] {
        let settings = shell.file("trace.toml", &format!("[trace]\n{trace}\n"));
        let (code, out, _) = ran(shell.paycore("config validate").arg(&settings));
        assert!(code == 78 && out.contains(wrong), "{out}");
    }
}

#[test]
fn colour_goes_where_it_is_wanted_and_errors_are_json_where_output_is() {
    let shell = Shell::new();
    let error = |color: &str, no_color: &str| {
        let mut command = shell.paycore("config validate nowhere.toml");
        command.env("PAYCORE__OUTPUT__COLOR", color).env("NO_COLOR", no_color);
        ran(&mut command).2
    };
    assert!(error("always", "").contains("\u{1b}[1;31merror:"));
    assert!(!error("auto", "").contains('\u{1b}'), "a pipe");
    assert!(!error("never", "").contains('\u{1b}'));
    let mut command = shell.paycore("config validate nowhere.toml --no-color");
    let (_, _, err) = ran(command.env("PAYCORE__OUTPUT__COLOR", "always"));
    assert!(!err.contains('\u{1b}'), "the flag is above the environment");

    let (code, _, err) = shell.run("config validate nowhere.toml -o json");
    let told: serde_json::Value = serde_json::from_str(&err).unwrap();
    assert_eq!((told["error"]["exit"].as_i64(), code), (Some(78), 78));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let shell = Shell::new();
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("paycore"));
    command.env_clear().env("HOME", shell.home.path()).args(["config", "show"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).stderr(std::process::Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &[][..]));
}

#[test]
fn an_import_is_rehearsed_without_a_cluster() {
    let shell = Shell::new();
    let map = std::fs::read_to_string(
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/berka.toml"),
    );
    shell.file("map.toml", &map.unwrap());
    shell.file("orders.tsv", "1\t1\tYZ\t870\t245.20\tHH\n2\t2\tST\t895\t.37\t\n");
    let (code, out, err) = shell.run("import orders.tsv --map map.toml --dry-run -o json");
    assert_eq!((code, err.as_str()), (0, ""));
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(summary["payments"].as_u64(), Some(24));
    assert_eq!(summary["wanted_minor"].as_u64(), Some(12 * 24_557));

    shell.file("orders.tsv", "1\t1\tYZ\t870\t245.205\tHH\n2\t2\tST\t895\t-0.37\t\n");
    let (code, _, err) = shell.run("import orders.tsv --map map.toml --report bad.csv --dry-run");
    assert_eq!(code, 2);
    assert!(err.contains("row 1: TOO_MANY_DECIMALS: column 5 (`amount`) has 3 decimals"), "{err}");
    assert!(err.contains("row 2: NEGATIVE_AMOUNT"), "{err}");
    let report = std::fs::read_to_string(shell.home.path().join("bad.csv")).unwrap();
    assert_eq!(report.lines().count(), 3, "{report}");
}

#[test]
fn a_cluster_that_is_not_there_is_75() {
    let shell = Shell::new();
    // A port that was free a moment ago, and that nobody listens on now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let account = "acc_019200000000700080000000deadb123";
    let other = "acc_019200000000700080000000deadb124";
    let transfer =
        format!("transfer {account} {other} 8.88 --currency CNY -e 127.0.0.1:{port} --timeout 2s");
    let (code, out, err) = shell.run(&transfer);
    assert_eq!((code, out.as_str()), (75, ""), "{err}");
    assert!(err.contains("--idempotency-key"), "the key that repeats it: {err}");
    let (code, _, err) = shell.run(&format!("{transfer} -o json --idempotency-key k1"));
    let told: serde_json::Value = serde_json::from_str(&err).unwrap();
    assert_eq!((code, told["error"]["idempotency_key"].as_str()), (75, Some("k1")));
    assert_eq!(shell.run(&format!("balance {account} -e 127.0.0.1:{port} --timeout 2s")).0, 75);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    let shell = Shell::new();
    let account = "acc_019200000000700080000000deadb123";
    for (words, exit) in [
        (format!("transfer {account} lin 8.88 --currency CNY"), 2),
        (format!("transfer {account} {account} 8.888 --currency CNY"), 2),
        (format!("transfer {account} {account} -1 --currency CNY"), 64),
        (format!("transfer {account} {account} 1 --currency XXX"), 2),
        (format!("transfer {account} {account} 1"), 64),
        (format!("reverse tr_1 {account}"), 64),
        (format!("hold place {account} {account} 1 --currency CNY --for 1"), 64),
        ("hold show hold_1".to_owned(), 64),
        (format!("statement {account} --limit 0"), 64),
        (format!("lookup {account} transfr k"), 64),
    ] {
        // Port 1 answers nobody: whoever gets so far ends with 75.
        let (code, _, err) = shell.run(&format!("{words} -e 127.0.0.1:1"));
        assert_eq!(code, exit, "{words}: {err}");
    }
}

//! The HTTP door of a demo, as somebody meets it who knows nothing but what the demo prints.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_paycore");

/// A demo, and the address of its HTTP door.
struct Demo {
    _home: tempfile::TempDir,
    child: Child,
    http: String,
}

impl Demo {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("demo.log");
        let mut command = Command::new(BINARY);
        command.env_clear().env("HOME", home.path()).env("TMPDIR", home.path());
        command.args(["demo", "--random-ports"]).current_dir(home.path()).stdout(Stdio::piped());
        let mut child = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let docs = lines.find_map(|line| Some(line.strip_prefix("API docs http://")?.to_owned()));
        let Some(docs) = docs else {
            panic!("the demo does not start: {}", std::fs::read_to_string(&log).unwrap());
        };
        let http = docs.strip_suffix("/docs").unwrap().to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        Self { _home: home, child, http }
    }

    /// Sends a request and gives its status and its JSON.
    fn send(&self, method: &str, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(&self.http).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\nIdempotency-Key: {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn money_moves_over_http_once() {
    let demo = Demo::start();
    let open = |key: &str, opening: u64| {
        let opening = (opening > 0).then(|| json!({ "amount": opening, "currency": "CNY" }));
        let body = json!({ "currency_code": "CNY", "opening_balance": opening });
        let (status, opened) = demo.send("POST", "/v1/accounts", key, &body);
        assert_eq!(status, 201, "{opened}");
        opened["resource"].as_str().unwrap().to_owned()
    };
    let (lin, wang) = (open("open-lin", 1_000), open("open-wang", 0));
    let amount = json!({ "amount": 300, "currency": "CNY" });
    let body = json!({ "debit_account": lin, "credit_account": wang, "amount": amount });
    let (status, first) = demo.send("POST", "/v1/transfers", "rent", &body);
    assert_eq!((status, &first["replayed"]), (200, &false.into()), "{first}");
    let (status, again) = demo.send("POST", "/v1/transfers", "\"rent\"", &body);
    assert_eq!((status, &again["replayed"]), (200, &true.into()), "{again}");
    assert_eq!(first["transfer"], again["transfer"]);

    let (status, account) = demo.send("GET", &format!("/v1/{wang}"), "none", &Value::Null);
    assert_eq!((status, &account["available"]), (200, &amount));
    let (status, page) = demo.send("GET", &format!("/v1/{wang}/postings"), "none", &Value::Null);
    assert_eq!((status, &page["data"][0]["transfer"]), (200, &first["transfer"]), "{page}");
    let other = json!({ "debit_account": lin, "credit_account": wang, "amount": { "amount": 1, "currency": "CNY" } });
    let (status, reused) = demo.send("POST", "/v1/transfers", "rent", &other);
    assert_eq!((status, &reused["code"]), (422, &"KEY_REUSED".into()));
}

/// `PAYCORE_TEST_PYTHON` names a Python that has `outside/requirements.txt`.
#[test]
fn schemathesis_finds_no_answer_that_the_description_does_not_have() {
    let Some(python) = std::env::var_os("PAYCORE_TEST_PYTHON") else {
        eprintln!("skipped: PAYCORE_TEST_PYTHON is not set");
        return;
    };
    let demo = Demo::start();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outside/schemathesis.toml");
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    command.args(["-m", "schemathesis.cli", "--config-file"]).arg(config);
    command.args(["run", &format!("http://{}/openapi.json", demo.http)]);
    let output = command.current_dir(home.path()).output().expect("a Python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
}

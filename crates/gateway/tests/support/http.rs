//! A client of the HTTP door that hides nothing: it writes what it is told, and reads what comes.

use std::collections::HashMap;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// One connection.
pub struct Http {
    address: String,
    stream: BufReader<TcpStream>,
    /// Whether the last answer ended the connection.
    is_over: bool,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Http {
    pub async fn connect(address: &str) -> Self {
        let stream = BufReader::new(TcpStream::connect(address).await.unwrap());
        Self { address: address.to_owned(), stream, is_over: false }
    }

    /// Asks for a path without a body.
    pub async fn get(&mut self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", target, headers, None).await
    }

    /// Sends JSON under a key.
    pub async fn post(&mut self, target: &str, key: &str, body: &Value) -> Answer {
        let headers = [("Idempotency-Key", key), ("Content-Type", "application/json")];
        self.send("POST", target, &headers, Some(body.to_string().as_bytes())).await
    }

    pub async fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        if self.is_over {
            *self = Self::connect(&self.address).await;
        }
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        // In one piece: a second one would wait for the first to be acknowledged.
        let mut message = head.into_bytes();
        message.extend_from_slice(body.unwrap_or_default());
        self.write(&message).await;
        self.read(method).await
    }

    /// Writes bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) {
        // Whoever is refused early may hear of it before everything is written.
        let _ = self.stream.get_mut().write_all(bytes).await;
    }

    pub async fn read(&mut self, method: &str) -> Answer {
        let status_line = self.line().await;
        let status = status_line.split(' ').nth(1).unwrap_or_else(|| panic!("{status_line:?}"));
        let status = status.parse().unwrap();
        let mut headers = HashMap::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        self.is_over = headers.get("connection").is_some_and(|said| said == "close");
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; if method == "HEAD" { 0 } else { length }];
        self.stream.read_exact(&mut body).await.unwrap();
        Answer { status, headers, body }
    }

    /// Whether the other side has closed the connection.
    pub async fn is_closed(&mut self) -> bool {
        self.stream.read_u8().await.is_err()
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.text()))
    }

    /// The code of a problem, after looking at what every problem has.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        let entry = wire::catalogue::find(problem["code"].as_str().unwrap()).unwrap();
        assert_eq!((self.status, &problem["status"]), (entry.http, &self.status.into()));
        assert_eq!(problem["type"], format!("/docs/errors/{}", entry.code));
        assert_eq!(problem["retryable"], entry.retryable);
        assert_eq!(problem["request_id"], self.header("x-request-id").unwrap());
        assert_eq!(self.header("retry-after").is_some(), entry.retry_after_ms.is_some());
        let unknown = entry.kind == wire::catalogue::Kind::Unknown;
        assert_eq!(problem.get("outcome"), unknown.then(|| "unknown".into()).as_ref());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        assert!(problem["instance"].as_str().unwrap().starts_with('/'));
        entry.code.to_owned()
    }

    /// The pointers, headers and parameters that a problem names.
    pub fn places(&self) -> Vec<String> {
        let errors = self.json()["errors"].as_array().unwrap().clone();
        let place = |wrong: &Value| {
            let named = ["pointer", "header", "parameter"].map(|kind| wrong[kind].as_str());
            let named: Vec<_> = named.into_iter().flatten().map(str::to_owned).collect();
            assert_eq!(named.len(), 1, "{wrong}: one place");
            named.concat()
        };
        errors.iter().map(place).collect()
    }
}

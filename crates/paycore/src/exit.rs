//! How a command ends: the exit code, and the words that go with it.
//!
//! Codes are part of the interface. What the ledger or the cluster said has the code that the catalogue gives it;
//! what went wrong on this side of the wire has a code of `sysexits.h`, so that a script can tell "the ledger said no"
//! (3) from "try again later" (75), "it may have happened" (76) and "you wrote nonsense" (64).

use std::fmt;
use std::io;

use serde::Serialize;
use wire::catalogue;

use crate::config::Problem;

/// Bad flags, or flags that do not go together.
pub(crate) const USAGE: u8 = 64;
/// Something that cannot be, on this side of the wire.
pub(crate) const INTERNAL: u8 = 70;
/// A file or socket of this machine did not do its part.
pub(crate) const IO: u8 = 74;
/// A configuration file, or a variable of the environment, is wrong.
pub(crate) const CONFIG: u8 = 78;
/// `bench`: the service level that was asked for was missed.
pub(crate) const SLO_MISSED: u8 = 99;
/// The outcome of something is not known: it may have happened.
pub(crate) const UNKNOWN: u8 = 76;
/// Nothing happened; the same command may be given again.
pub(crate) const TEMPORARY: u8 = 75;
/// The ledger said no.
pub(crate) const REJECTED: u8 = 3;
/// A field is wrong.
pub(crate) const BAD_FIELD: u8 = 2;

/// How a check of a history ended, when it did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Something that must never happen was found.
    Violated,
    /// The history does not say enough.
    Undecided,
    /// The check itself broke.
    Crashed,
}

impl Verdict {
    /// As Jepsen's exit codes.
    const fn exit(self) -> u8 {
        match self {
            Self::Violated => 1,
            Self::Undecided => 2,
            Self::Crashed => 255,
        }
    }
}

/// Why a command did not do what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    exit: u8,
    code: Option<String>,
    message: String,
    hint: Option<String>,
    key: Option<String>,
}

impl Failure {
    /// Bad flags, or flags that do not go together.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    /// A configuration file is wrong.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(CONFIG, message)
    }

    /// A configuration file is wrong, each place in a line of its own.
    pub(crate) fn of_problems(problems: &[Problem]) -> Self {
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Self::config(told.join("\n"))
    }

    /// A file or socket of this machine did not do its part.
    pub(crate) fn io(what: impl fmt::Display, why: &io::Error) -> Self {
        Self::new(IO, format!("{what}: {why}"))
    }

    /// Something that cannot be.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(INTERNAL, message)
    }

    /// A code of the catalogue, which also knows the exit code and what to do. A code that this release does not know
    /// came from a newer server; it ends like a rejection, the one thing that is never tried again by itself.
    pub(crate) fn coded(code: impl Into<String>, message: impl Into<String>) -> Self {
        let code = code.into();
        let entry = catalogue::find(&code);
        Self {
            exit: entry.map_or(REJECTED, |entry| entry.exit),
            message: message.into(),
            hint: entry.map(|entry| entry.action.to_owned()),
            key: None,
            code: Some(code),
        }
    }

    /// The service level that was asked for was missed.
    pub(crate) fn slo_missed(message: impl Into<String>) -> Self {
        Self::new(SLO_MISSED, message)
    }

    /// A check did not pass.
    pub(crate) fn verdict(verdict: Verdict, message: impl Into<String>) -> Self {
        Self::new(verdict.exit(), message)
    }

    /// The reader of our output went away, as `head` does. There is nobody to tell, and nothing wrong.
    pub(crate) fn nobody_reads() -> Self {
        Self::new(0, "")
    }

    /// An exit code of its own, for commands whose summary says the rest.
    pub(crate) fn new(exit: u8, message: impl Into<String>) -> Self {
        Self { exit, code: None, message: message.into(), hint: None, key: None }
    }

    /// The same, with what to do about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same in other words.
    pub(crate) fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// The same, of a request that was sent under this key. Where nothing final was said, the hint is to send it again.
    pub(crate) fn with_key(mut self, key: impl Into<String>) -> Self {
        let key = key.into();
        if matches!(self.exit, TEMPORARY | UNKNOWN) {
            self.hint = Some(format!(
                "repeat the command with --idempotency-key {key}: it takes effect once"
            ));
        }
        self.key = Some(key);
        self
    }

    /// The process's exit code.
    pub(crate) const fn exit(&self) -> u8 {
        self.exit
    }

    /// The catalogue's code, where it has one.
    pub(crate) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// What happened.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, if anything is known.
    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Told {
            error: Error {
                code: self.code(),
                message: &self.message,
                hint: self.hint(),
                idempotency_key: self.key.as_deref(),
                exit: self.exit,
            },
        })
    }
}

#[derive(Serialize)]
struct Told<'a> {
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    exit: u8,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{code}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Failure {}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        let exit = error.exit_code();
        match error {
            client::Error::Rejected { code, message, replayed, .. } => {
                let before = if replayed { " (as it said before)" } else { "" };
                Self { exit, ..Self::coded(code, format!("{message}{before}")) }
            }
            client::Error::NotProposed { code, message, .. } => {
                Self { exit, ..Self::coded(code, format!("{message}; nothing was done")) }
            }
            client::Error::Refused { code, message, violations } => {
                let fields = violations
                    .iter()
                    .map(|wrong| format!("; {}: {}", wrong.field, wrong.description));
                let fields: String = fields.collect();
                Self { exit, ..Self::coded(code, format!("{message}{fields}")) }
            }
            client::Error::Unknown { message } => {
                let what = format!("it is not known whether it was done: {message}");
                Self { exit, ..Self::coded("OUTCOME_UNKNOWN", what) }
            }
            client::Error::NotConnected { message } => Self::new(
                exit,
                format!("no connection to the cluster: {message}; nothing was done"),
            )
            .with_hint("is it running? `paycore demo` starts one; --endpoint names another"),
            client::Error::Unreadable(what) => {
                Self::new(exit, format!("the server's {what} cannot be read"))
                    .with_hint("use the paycore of the server's release")
            }
        }
    }
}

impl From<anyhow::Error> for Failure {
    /// One that was a failure of ours all along stays what it is.
    fn from(error: anyhow::Error) -> Self {
        error.downcast().unwrap_or_else(|error| Self::internal(format!("{error:#}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cluster_says_ends_with_the_exit_code_of_the_catalogue() {
        for (code, exit) in [
            ("INVALID_FIELD", BAD_FIELD),
            ("ACCOUNT_NOT_FOUND", 4),
            ("KEY_REUSED", 5),
            ("INSUFFICIENT", REJECTED),
            ("NO_LEADER", TEMPORARY),
            ("OUTCOME_UNKNOWN", UNKNOWN),
            ("A_CODE_OF_A_LATER_RELEASE", REJECTED),
        ] {
            assert_eq!(Failure::coded(code, "").exit(), exit, "{code}");
        }
        assert!(
            Failure::coded("KEY_REUSED", "").hint().is_some_and(|hint| hint.contains("new key"))
        );
    }

    #[test]
    fn what_goes_wrong_here_has_codes_of_its_own() {
        assert_eq!(Failure::usage("").exit(), 64);
        assert_eq!(Failure::verdict(Verdict::Violated, "").exit(), 1);
        assert_eq!(Failure::verdict(Verdict::Undecided, "").exit(), 2);
        assert_eq!(Failure::verdict(Verdict::Crashed, "").exit(), 255);
        assert_eq!(Failure::slo_missed("").exit(), 99);
        assert_eq!(Failure::from(anyhow::anyhow!("a").context("b")).message(), "b: a");
        let usage = anyhow::Error::from(Failure::usage("a")).context("b");
        assert_eq!(Failure::from(usage), Failure::usage("a"));
    }

    #[test]
    fn programs_read_the_same_as_people() {
        let failure = Failure::coded("SAME_ACCOUNT", "they are the same").with_hint("name two");
        assert_eq!(failure.to_string(), "SAME_ACCOUNT: they are the same");
        assert_eq!(
            failure.json().unwrap(),
            r#"{"error":{"code":"SAME_ACCOUNT","message":"they are the same","hint":"name two","exit":3}}"#
        );
    }
}

//! What a command shows: data on stdout, words on stderr.
//!
//! A record is made once and shown as the caller asked: as text for a person (`table`), as JSON, or as one JSON object
//! a line. Whoever pipes a command into another gets data and nothing else; whoever says `--quiet` hears only what
//! went wrong. Colour is for terminals, and never where `NO_COLOR` or `--no-color` says so.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

mod money;
mod paint;

pub(crate) use money::{duration, money, time};
pub(crate) use paint::Paint;

/// How data is written on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Text and tables, for people. May change with any release.
    #[default]
    Table,
    /// One JSON document. Fields are added, never renamed.
    Json,
    /// One JSON object a line; lists become one line an item.
    Jsonl,
}

/// When output is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Something that a command shows.
pub(crate) trait Show: Serialize {
    /// The record for a person. Without a line break at its end.
    fn text(&self, paint: Paint) -> String;

    /// The record as lines of JSON. A list gives a line for each of its items.
    fn lines(&self) -> serde_json::Result<Vec<String>> {
        Ok(vec![serde_json::to_string(self)?])
    }
}

/// What the process's streams are, and what its environment says about colour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    /// Whether a person looks at stdout.
    pub(crate) out_is_tty: bool,
    /// Whether a person looks at stderr.
    pub(crate) err_is_tty: bool,
    /// Whether `NO_COLOR` is set to something.
    pub(crate) no_color: bool,
}

impl Streams {
    /// As they are.
    pub(crate) fn of_process() -> Self {
        Self {
            out_is_tty: io::stdout().is_terminal(),
            err_is_tty: io::stderr().is_terminal(),
            no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
        }
    }
}

/// Where a command writes, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    format: Format,
    quiet: bool,
    out: Paint,
    err: Paint,
    streams: Streams,
}

impl Screen {
    /// A screen for these settings.
    pub(crate) fn new(format: Format, color: Color, quiet: bool, streams: Streams) -> Self {
        let on = |is_tty: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_tty && !streams.no_color,
        };
        let (out, err) = (Paint::new(on(streams.out_is_tty)), Paint::new(on(streams.err_is_tty)));
        Self { format, quiet, out, err, streams }
    }

    /// How data is written.
    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    /// Whether progress may be drawn over and over on stderr.
    pub(crate) const fn progress_is_live(&self) -> bool {
        self.streams.err_is_tty && !self.quiet
    }

    /// Colours for stdout.
    pub(crate) const fn paint(&self) -> Paint {
        self.out
    }

    /// Shows a record.
    ///
    /// # Errors
    /// When stdout does not take it.
    pub(crate) fn show(&self, record: &impl Show) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.line(&record.text(self.out)),
            Format::Json => {
                self.line(&serde_json::to_string_pretty(record).map_err(|why| unwritable(&why))?)
            }
            Format::Jsonl => {
                for line in record.lines().map_err(|why| unwritable(&why))? {
                    self.line(&line)?;
                }
                Ok(())
            }
        }
    }

    /// Writes one line on stdout as it is.
    ///
    /// # Errors
    /// When stdout does not take it.
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|why| {
            let nobody_reads = why.kind() == io::ErrorKind::BrokenPipe;
            if nobody_reads {
                Failure::nobody_reads()
            } else {
                Failure::io("standard output", &why)
            }
        })
    }

    /// Says something to a person.
    pub(crate) fn say(&self, words: fmt::Arguments<'_>) {
        if !self.quiet {
            tell(words);
        }
    }

    /// Says something that must not be missed, `--quiet` or not.
    pub(crate) fn warn(&self, words: fmt::Arguments<'_>) {
        tell(format_args!("{} {words}", self.err.warn("warning:")));
    }

    /// Says how a command failed, in the form that the rest of its output has.
    pub(crate) fn fail(&self, failure: &Failure) {
        match (self.format, failure.json()) {
            (Format::Json | Format::Jsonl, Ok(json)) => tell(format_args!("{json}")),
            (Format::Table, _) | (_, Err(_)) => {
                tell(format_args!("{} {failure}", self.err.bad("error:")));
                if let Some(hint) = failure.hint() {
                    tell(format_args!("  {} {hint}", self.err.dim("→")));
                }
            }
        }
    }
}

/// Words go to stderr. When nobody takes them there is nobody to complain to.
fn tell(words: fmt::Arguments<'_>) {
    if cfg!(test) {
        // Only what goes through the macro is kept back by the test harness.
        eprintln!("{words}");
    } else {
        drop(writeln!(io::stderr().lock(), "{words}"));
    }
}

fn unwritable(why: &serde_json::Error) -> Failure {
    Failure::internal(format!("the record is no JSON: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn colours(color: Color, out_is_tty: bool, no_color: bool) -> bool {
        let streams = Streams { out_is_tty, err_is_tty: false, no_color };
        Screen::new(Format::Table, color, false, streams).paint().is_on()
    }

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        assert!(colours(Color::Auto, true, false));
        assert!(!colours(Color::Auto, false, false), "a pipe");
        assert!(!colours(Color::Auto, true, true), "NO_COLOR");
        assert!(!colours(Color::Never, true, false), "--no-color");
        assert!(colours(Color::Always, false, true), "asked for by name");
    }

    #[test]
    fn progress_is_drawn_only_where_somebody_looks() {
        let screen = |err_is_tty, quiet| {
            let streams = Streams { out_is_tty: false, err_is_tty, no_color: false };
            Screen::new(Format::Table, Color::Auto, quiet, streams)
        };
        assert!(screen(true, false).progress_is_live());
        assert!(!screen(false, false).progress_is_live());
        assert!(!screen(true, true).progress_is_live());
    }
}

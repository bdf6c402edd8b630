//! What went wrong, one line for each row or payment: for whoever has to put it right.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use super::error::BadRow;
use super::sink::{Order, Verdict, What};
use super::tally::is_there;
use crate::exit::Failure;
use crate::output::Screen;

/// Lines that are also said on the terminal; the report has them all.
const SAID_MAX: u64 = 10;

/// Where mishaps are written down.
pub(super) struct Report {
    file: Option<(csv::Writer<BufWriter<File>>, PathBuf)>,
    screen: Screen,
    count: u64,
}

/// One mishap.
struct Mishap<'a> {
    line: Option<u64>,
    period: Option<u32>,
    kind: &'a str,
    code: &'a str,
    column: String,
    message: String,
    key: &'a str,
}

impl Report {
    /// Begins a report; with `path` absent, mishaps are only said.
    ///
    /// # Errors
    /// When the file cannot be written, or is the input itself.
    pub(super) fn begin(
        path: Option<&Path>,
        input: &Path,
        screen: Screen,
    ) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self { file: None, screen, count: 0 });
        };
        let same =
            path.canonicalize().is_ok_and(|report| input.canonicalize().is_ok_and(|i| i == report));
        if same {
            return Err(Failure::usage("the report would overwrite the file that is imported"));
        }
        let file = File::create(path).map_err(|why| Failure::io(path.display(), &why))?;
        let mut report = Self {
            file: Some((csv::Writer::from_writer(BufWriter::new(file)), path.to_path_buf())),
            screen,
            count: 0,
        };
        report.write(&["row", "period", "kind", "code", "column", "message", "key"])?;
        Ok(report)
    }

    /// A row that is no payment.
    ///
    /// # Errors
    /// When the report cannot be written.
    pub(super) fn bad_row(&mut self, line: u64, why: &BadRow) -> Result<(), Failure> {
        self.add(&Mishap {
            line: Some(line),
            period: None,
            kind: "bad",
            code: why.code(),
            column: why.column().map(|column| column.number.to_string()).unwrap_or_default(),
            message: why.to_string(),
            key: "",
        })
    }

    /// A verdict, if it is one to write down.
    ///
    /// # Errors
    /// When the report cannot be written.
    pub(super) fn verdict(&mut self, order: &Order, verdict: &Verdict) -> Result<(), Failure> {
        let (kind, code, message) = match verdict {
            Verdict::Posted { .. } => return Ok(()),
            Verdict::Rejected { code, message } => ("rejected", code, message),
            Verdict::Unheard(unheard) if unheard.maybe_done => {
                ("unknown", &unheard.code, &unheard.message)
            }
            Verdict::Unheard(unheard) => ("not_made", &unheard.code, &unheard.message),
        };
        let (line, period, message) = match order.what {
            What::Open { .. } if is_there(code) => return Ok(()),
            What::Open { account, .. } => (None, None, format!("opening {account}: {message}")),
            What::Pay { line, period, .. } => (Some(line), Some(period), message.clone()),
        };
        self.add(&Mishap {
            line,
            period,
            kind,
            code,
            column: String::new(),
            message,
            key: &order.key,
        })
    }

    /// Writes out what is still in memory.
    ///
    /// # Errors
    /// When that fails.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        let unsaid = self.count.saturating_sub(SAID_MAX);
        if unsaid > 0 {
            match &self.file {
                Some((_, path)) => {
                    self.screen
                        .warn(format_args!("and {unsaid} more; all are in {}", path.display()));
                }
                None => self
                    .screen
                    .warn(format_args!("and {unsaid} more; --report FILE keeps them all")),
            }
        }
        match &mut self.file {
            Some((file, path)) => file.flush().map_err(|why| Failure::io(path.display(), &why)),
            None => Ok(()),
        }
    }

    fn add(&mut self, mishap: &Mishap<'_>) -> Result<(), Failure> {
        let Mishap { line, period, kind, code, column, message, key } = mishap;
        self.count = self.count.saturating_add(1);
        if self.count <= SAID_MAX {
            let place = match (line, period) {
                (Some(line), Some(period)) => format!("row {line}, period {period}: "),
                (Some(line), None) => format!("row {line}: "),
                (None, _) => String::new(),
            };
            self.screen.warn(format_args!("{place}{code}: {message}"));
        }
        let line = line.map(|line| line.to_string()).unwrap_or_default();
        let period = period.map(|period| period.to_string()).unwrap_or_default();
        self.write(&[&line, &period, kind, code, column, message, key])
    }

    fn write(&mut self, fields: &[&str; 7]) -> Result<(), Failure> {
        let Some((file, path)) = &mut self.file else { return Ok(()) };
        file.write_record(fields).map_err(|why| Failure::io(path.display(), &why.into()))
    }
}

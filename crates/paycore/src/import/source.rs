//! The file: lines, one after the other, as often as they are asked for.
//!
//! A row is a line. That keeps whatever is wrong with a line on that line (a missing quote cannot swallow the rest of
//! the file), gives every row the number that an editor shows, and bounds what is read at once.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ReaderBuilder, Terminator};
use sha2::{Digest, Sha256};

use super::error::BadRow;
use super::map::Dialect;
use crate::exit::Failure;

/// Bytes of a row at the most: a payment is some dozen fields, not a document.
pub(super) const ROW_BYTES_MAX: usize = 64 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file that can be read several times.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    path: PathBuf,
    dialect: Dialect,
}

impl Source {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be opened, or is a pipe: it is read more than once.
    pub(super) fn open(path: &Path, dialect: Dialect) -> Result<Self, Failure> {
        let failed = |why: io::Error| Failure::io(path.display(), &why);
        let file = File::open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(Failure::usage(format!("{} is no plain file", path.display())).with_hint(
                "the file is read more than once; save what comes through a pipe first",
            ));
        }
        Ok(Self { file, path: path.to_path_buf(), dialect })
    }

    /// Begins to read it from its first line. One reading ends before the next begins: they share a position.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn pass(&mut self) -> Result<Pass, Failure> {
        let failed = |why: io::Error| Failure::io(self.path.display(), &why);
        // The same open file, so whoever replaces the name meanwhile does not replace what is read.
        let mut file = self.file.try_clone().map_err(failed)?;
        file.rewind().map_err(failed)?;
        let mut pass = Pass {
            lines: BufReader::with_capacity(ROW_BYTES_MAX, Hashed { file, digest: Sha256::new() }),
            path: self.path.clone(),
            dialect: self.dialect,
            line: 0,
            bytes: Vec::new(),
            record: ByteRecord::new(),
            titles: None,
        };
        if self.dialect.header {
            pass.read_titles()?;
        }
        Ok(pass)
    }
}

/// A row taken apart into its fields, or why it cannot be.
pub(super) type Split<'a> = Result<&'a ByteRecord, BadRow>;

/// One reading of a file.
#[derive(Debug)]
pub(super) struct Pass {
    lines: BufReader<Hashed>,
    path: PathBuf,
    dialect: Dialect,
    line: u64,
    bytes: Vec<u8>,
    record: ByteRecord,
    titles: Option<ByteRecord>,
}

impl Pass {
    /// The titles of the columns, if the file has any.
    pub(super) const fn titles(&self) -> Option<&ByteRecord> {
        self.titles.as_ref()
    }

    /// The next row and the line on which it stands; `None` at the end. Empty lines are no rows.
    ///
    /// # Errors
    /// When the file cannot be read. What is wrong with a row is that row's own affair.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Split<'_>)>, Failure> {
        loop {
            let fits = match self.read_line() {
                Ok(Some(fits)) => fits,
                Ok(None) => return Ok(None),
                Err(why) => return Err(Failure::io(self.path.display(), &why)),
            };
            if !fits {
                return Ok(Some((self.line, Err(BadRow::TooLong(ROW_BYTES_MAX)))));
            }
            if self.bytes.is_empty() {
                continue;
            }
            return Ok(Some((self.line, self.split())));
        }
    }

    /// Reads to the end, and says what the whole file hashes to.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn digest(mut self) -> Result<[u8; 32], Failure> {
        io::copy(&mut self.lines, &mut io::sink())
            .map_err(|why| Failure::io(self.path.display(), &why))?;
        Ok(self.lines.into_inner().digest.finalize().into())
    }

    fn read_titles(&mut self) -> Result<(), Failure> {
        let path = self.path.clone();
        match self.next()? {
            Some((_, Ok(titles))) => {
                self.titles = Some(titles.clone());
                Ok(())
            }
            Some((line, Err(why))) => {
                Err(Failure::coded("INVALID_FIELD", format!("{}:{line}: {why}", path.display())))
            }
            None => Err(Failure::coded("INVALID_FIELD", format!("{} is empty", path.display()))
                .with_hint("the map says that its first line has titles")),
        }
    }

    /// Reads a line without its end. `false` when it was too long, and was passed over.
    fn read_line(&mut self) -> io::Result<Option<bool>> {
        self.bytes.clear();
        let most = u64::try_from(ROW_BYTES_MAX).map_err(io::Error::other)?;
        // One byte more than a row may have, for its end.
        if self.lines.by_ref().take(most.saturating_add(1)).read_until(b'\n', &mut self.bytes)? == 0
        {
            return Ok(None);
        }
        self.line = self.line.saturating_add(1);
        if self.bytes.pop_if(|byte| *byte == b'\n').is_none() && self.bytes.len() > ROW_BYTES_MAX {
            self.lines.skip_until(b'\n')?;
            return Ok(Some(false));
        }
        self.bytes.pop_if(|byte| *byte == b'\r');
        if self.line == 1 && self.bytes.starts_with(BYTE_ORDER_MARK) {
            self.bytes.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(Some(true))
    }

    fn split(&mut self) -> Split<'_> {
        let quotes = self.bytes.iter().filter(|byte| **byte == b'"').count();
        if self.dialect.quotes && quotes % 2 == 1 {
            return Err(BadRow::OpenQuote);
        }
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(self.dialect.delimiter.byte())
            .quoting(self.dialect.quotes)
            // A lone carriage return is a byte like any other, not the end of a record.
            .terminator(Terminator::Any(b'\n'))
            .buffer_capacity(self.bytes.len().max(1))
            .from_reader(self.bytes.as_slice());
        let read = reader.read_byte_record(&mut self.record);
        // Neither can be: the bytes are in memory, there is no line break among them, and they are not empty.
        assert!(read.is_ok_and(|one| one), "a line is a record");
        Ok(&self.record)
    }
}

/// Hashes what is read.
#[derive(Debug)]
struct Hashed {
    file: File,
    digest: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.digest.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

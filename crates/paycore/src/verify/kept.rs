//! The two binary files of a run that is too long for a history: what callers were told, and the statements.
//!
//! ```text
//! told.bin        8 bytes a request, little-endian, by number: its ending
//! statements.bin  account · balance · number of lines, then the lines, newest first:
//!                 transfer's number less the line's before it · amount × 2 + 1 for a debit · counter account
//! ```
//!
//! What a request asked for is not kept: it follows from the run's seed and the request's number. Numbers in
//! `statements.bin` are protobuf's varints; those that may be negative are zigzagged.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, ensure};
use prost::encoding::{decode_varint, encode_varint};

use super::facts::{Ending, Line, Requests, TransferNumber, Wanted};
use crate::bench::Intents;

/// What callers were told, by request.
#[derive(Debug)]
pub(crate) struct Kept {
    intents: Intents,
    told: Vec<u64>,
}

impl Kept {
    /// What requests made from these intents were told.
    pub(crate) const fn new(intents: Intents, told: Vec<u64>) -> Self {
        Self { intents, told }
    }

    /// Writes `told.bin`.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for ending in &self.told {
            file.write_all(&ending.to_le_bytes())?;
        }
        file.flush().with_context(|| format!("writing {}", path.display()))
    }

    /// Reads `told.bin`.
    pub(crate) fn read(intents: Intents, path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let (endings, rest) = bytes.as_chunks::<8>();
        ensure!(rest.is_empty(), "{} is cut off", path.display());
        Ok(Self {
            intents,
            told: endings.iter().map(|ending| u64::from_le_bytes(*ending)).collect(),
        })
    }
}

impl Requests for Kept {
    fn count(&self) -> u64 {
        u64::try_from(self.told.len()).expect("a count fits 64 bits")
    }

    fn wanted(&self, n: u64) -> Wanted {
        self.intents.wanted(n)
    }

    fn ending(&self, n: u64) -> Ending {
        let told = usize::try_from(n).ok().and_then(|n| self.told.get(n));
        told.map_or(Ending::Unknown, |bits| Ending::from_u64(*bits))
    }
}

/// Writes `statements.bin`, account by account.
#[derive(Debug)]
pub(crate) struct StatementWriter {
    file: BufWriter<File>,
}

impl StatementWriter {
    /// Begins the file.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { file: BufWriter::new(file) })
    }

    /// Writes one account's statement.
    pub(crate) fn put(
        &mut self,
        account: u32,
        balance: i64,
        lines: &[(TransferNumber, Line)],
    ) -> anyhow::Result<()> {
        let mut bytes = Vec::with_capacity(lines.len().saturating_mul(8));
        encode_varint(u64::from(account), &mut bytes);
        encode_varint(zigzag(balance), &mut bytes);
        encode_varint(u64::try_from(lines.len())?, &mut bytes);
        let mut newer = 0_u64;
        for (transfer, line) in lines {
            let step = newer.wrapping_sub(transfer.to_u64()).cast_signed();
            encode_varint(zigzag(step), &mut bytes);
            encode_varint(line.amount << 1 | u64::from(line.is_debit), &mut bytes);
            encode_varint(u64::from(line.counter), &mut bytes);
            newer = transfer.to_u64();
        }
        Ok(self.file.write_all(&bytes)?)
    }

    /// Ends the file.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        Ok(self.file.flush()?)
    }
}

/// Reads `statements.bin`: `line` gets every line, `stands` every account's balance.
pub(super) fn read_statements(
    path: &Path,
    mut line: impl FnMut(TransferNumber, &Line),
    mut stands: impl FnMut(u32, i64),
) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .with_context(|| format!("reading {}", path.display()))?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let account = u32::try_from(decode_varint(&mut rest)?)?;
        let balance = unzigzag(decode_varint(&mut rest)?);
        let count = decode_varint(&mut rest)?;
        let mut newer = 0_u64;
        for _ in 0..count {
            newer = newer.wrapping_sub(unzigzag(decode_varint(&mut rest)?).cast_unsigned());
            let amount = decode_varint(&mut rest)?;
            let counter = u32::try_from(decode_varint(&mut rest)?)?;
            let is_debit = amount & 1 == 1;
            let read = Line { account, counter, amount: amount >> 1, is_debit };
            line(TransferNumber::from_u64(newer), &read);
        }
        stands(account, balance);
    }
    Ok(())
}

const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

const fn unzigzag(bits: u64) -> i64 {
    (bits >> 1).cast_signed() ^ (bits & 1).cast_signed().wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("statements.bin");
        let line = |account, counter, amount, is_debit| Line { account, counter, amount, is_debit };
        let transfer = TransferNumber::from_u64;
        let first = [
            (transfer(900 << 12 | 7), line(3, 4_000_000_000, 1_000, true)),
            (transfer(2 << 12), line(3, 0, 1, false)),
            // Another shard's log: not in falling order.
            (transfer(1 << 56 | 5 << 12), line(3, 9, 10_u64.pow(15), false)),
        ];
        let mut writer = StatementWriter::create(&path).unwrap();
        writer.put(3, -17, &first).unwrap();
        writer.put(4, i64::MAX, &[]).unwrap();
        writer.finish().unwrap();

        let (mut lines, mut balances) = (Vec::new(), Vec::new());
        read_statements(&path, |at, line| lines.push((at, *line)), |a, b| balances.push((a, b)))
            .unwrap();
        assert_eq!(lines, first);
        assert_eq!(balances, [(3, -17), (4, i64::MAX)]);
    }
}

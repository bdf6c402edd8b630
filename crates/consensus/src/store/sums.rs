//! What every file of a generation held when it was sealed, piece by piece: so that a bad byte has a file and an offset.
//!
//! A seal is one number and tells only that something differs. Beside the files lie the sums of their pieces, and the seal
//! is the digest of these. When it differs, the sums that are found are compared with the sums that were kept.

use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{
    Files, Pace, StoreError,
    encoding::{self, Magic},
    files,
};

/// The file in which they lie; the only one that they are not about.
pub(super) const NAME: &str = "SUMS";
const MAGIC: Magic = *b"PAYSUMS";

/// The grain in which damage is named.
const PIECE_LEN: usize = 64 << 10;

/// The sums of all files and directories of a generation, in a fixed order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums(Vec<FileSums>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileSums {
    name: String,
    len: u64,
    pieces: Vec<u64>,
}

impl Sums {
    /// Reads all files under `root`, the sums' own excepted.
    pub(super) fn of(
        files: &dyn Files,
        root: &Path,
        mut pace: Option<&mut Pace<'_>>,
    ) -> Result<Self, StoreError> {
        let mut all = Vec::new();
        for (path, is_dir) in files::walk(files, root)? {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            if name == NAME {
                continue;
            }
            let mut sums = FileSums { name, len: 0, pieces: Vec::new() };
            if !is_dir {
                let file = files.open(&path)?;
                let add = |bytes: &[u8]| {
                    sums.pieces.extend(bytes.chunks(PIECE_LEN).map(xxh3_64));
                };
                sums.len = files::read_at_pace(&*file, pace.as_deref_mut(), add)?;
            }
            all.push(sums);
        }
        Ok(Self(all))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        encoding::seal(MAGIC, self)
    }

    /// The seal of a generation with these sums.
    pub(super) fn seal(&self) -> u128 {
        xxh3_128(&self.encode())
    }

    /// The sums that lie in a generation; nothing, when it was sealed before there were any.
    pub(super) fn kept(files: &dyn Files, root: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        if !files.list(root)?.iter().any(|entry| entry.name == NAME) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let file = files.open(&root.join(NAME))?;
        files::read_through(&*file, |piece| bytes.extend_from_slice(piece))?;
        Ok(Some(bytes))
    }

    /// Says where what is found differs from what was kept.
    pub(super) fn difference(&self, root: &Path, kept: &[u8]) -> StoreError {
        let kept: Self = match encoding::unseal(MAGIC, kept, &root.join(NAME)) {
            Ok(kept) => kept,
            Err(error) => return error,
        };
        let corrupt = |name: &str, offset, what| {
            let path = if name.is_empty() { root.to_path_buf() } else { root.join(name) };
            StoreError::Corrupt { path, offset, what }
        };
        for was in &kept.0 {
            let Some(is) = self.0.iter().find(|is| is.name == was.name) else {
                return corrupt(&was.name, 0, "the file is missing");
            };
            if is.len != was.len {
                return corrupt(&was.name, is.len.min(was.len), "the length is not what it was");
            }
            let mut pieces = is.pieces.iter().zip(&was.pieces);
            if let Some(piece) = pieces.position(|(is, was)| is != was) {
                let offset = (piece as u64).saturating_mul(PIECE_LEN as u64);
                return corrupt(&was.name, offset, "the bytes are not those that were written");
            }
        }
        let strange = self.0.iter().find(|is| kept.0.iter().all(|was| was.name != is.name));
        match strange {
            Some(is) => corrupt(&is.name, 0, "a file that was not written here"),
            None => corrupt(NAME, 0, "the sums are not those of the checkpoint"),
        }
    }
}

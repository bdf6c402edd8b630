//! Generations in simulated files, for the simulator and for tests.
//!
//! One file holds a generation's pages, and every byte and name of it passes through [`SimFiles`]: so a power cut, a failing
//! disk and a flipped bit reach generations as they reach everything else of a checkpoint.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    FileWriter, Files, GenerationReader, GenerationWriter, Page, StateStore, StoreError, encoding,
    files, sim_files::SimFiles, state_store,
};

/// A state store of simulated files: clones share them.
#[derive(Clone, Debug)]
pub struct FileStore(pub SimFiles);

struct FileStoreWriter {
    files: SimFiles,
    path: PathBuf,
    file: Box<dyn FileWriter>,
    sum: u128,
}

struct FileStoreReader(BTreeMap<Vec<u8>, Vec<u8>>);

impl StateStore for FileStore {
    fn create(&self, path: &Path) -> Result<Box<dyn GenerationWriter>, StoreError> {
        self.remove(path)?;
        self.0.create_dir(path)?;
        let file = self.0.create(&path.join("pages"))?;
        let (files, path) = (self.0.clone(), path.to_path_buf());
        Ok(Box::new(FileStoreWriter { files, path, file, sum: 1 }))
    }

    fn open(&self, path: &Path, seal: u128) -> Result<Box<dyn GenerationReader>, StoreError> {
        let corrupt = || StoreError::Corrupt { path: path.into(), offset: 0, what: "the seal" };
        let mut bytes = Vec::new();
        let file = self.0.open(&path.join("pages")).map_err(|_| corrupt())?;
        files::read_through(&*file, |piece| bytes.extend_from_slice(piece))?;
        let (mut rest, mut pages, mut sum) = (bytes.as_slice(), BTreeMap::new(), 1);
        while !rest.is_empty() {
            let mut part = || {
                let len = encoding::take_varint(&mut rest)?;
                encoding::take(&mut rest, len).map(<[u8]>::to_vec)
            };
            let (Some(key), Some(value)) = (part(), part()) else {
                return Err(corrupt());
            };
            sum = encoding::record_sum(&key, &value).wrapping_add(sum);
            pages.insert(key, value);
        }
        if sum == seal { Ok(Box::new(FileStoreReader(pages))) } else { Err(corrupt()) }
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        files::remove_tree(&self.0, path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, StoreError> {
        let inside = self.0.list(dir)?.into_iter().filter(|entry| entry.is_dir);
        Ok(inside.map(|entry| entry.name).collect())
    }
}

impl GenerationWriter for FileStoreWriter {
    fn put(&mut self, batch: &[Page]) -> Result<(), StoreError> {
        state_store::check_batch(batch)?;
        let mut bytes = Vec::new();
        for (key, value) in batch {
            for part in [key, value] {
                encoding::put_varint(&mut bytes, part.len() as u64);
                bytes.extend_from_slice(part);
            }
            self.sum = self.sum.wrapping_add(encoding::record_sum(key, value));
        }
        self.file.write(&bytes)
    }

    fn finish(mut self: Box<Self>) -> Result<u128, StoreError> {
        self.file.sync()?;
        self.files.sync_dir(&self.path)?;
        Ok(self.sum)
    }
}

impl GenerationReader for FileStoreReader {
    fn scan<'a>(&'a self, from: &[u8]) -> Box<dyn Iterator<Item = Result<Page, StoreError>> + 'a> {
        let pages = self.0.range(from.to_vec()..);
        Box::new(pages.map(|(key, value)| Ok((key.clone(), value.clone()))))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).cloned())
    }
}

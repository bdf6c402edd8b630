//! A shard of tests: what each step's image and history are, how they are written, and the check that
//! an opened directory holds exactly one step's.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    Checkpoint, Checkpoints, Cold, FileReader, FilterItem, GenerationReader, GenerationWriter,
    Interval, LogIndex, LogTimeMs, MemoryStore, Opened, Page, Pages, Parts, Published, StateStore,
    StoreError, Summary, encoding, files, sim_files::SimFiles, state_store,
};

pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Log entries between two checkpoints.
pub(super) const STEP: u64 = 4;

pub(super) const ACCOUNTS: u64 = 2;

/// The whole state after a step.
pub(super) fn image(step: u64) -> Records {
    let page = |n: u64| (format!("page {n}").into_bytes(), format!("{n} at {step}, ").repeat(20));
    (0..3 + step % 3).map(page).map(|(key, value)| (key, value.into_bytes())).collect()
}

/// What left memory in a step: one posting per account and log entry.
pub(super) fn history(step: u64) -> Records {
    let entries = (step - 1) * STEP + 1..=step * STEP;
    let keys = entries.flat_map(|index| (0..ACCOUNTS).map(move |account| key(account, index)));
    keys.map(|key| (key.clone(), [b"posting ", key.as_slice()].concat())).collect()
}

pub(super) fn histories(steps: u64) -> Records {
    (1..=steps).flat_map(history).collect()
}

pub(super) fn key(account: u64, index: u64) -> Vec<u8> {
    [account.to_be_bytes(), index.to_be_bytes()].concat()
}

pub(super) fn interval(step: u64) -> Interval {
    let (first, last) = ((step - 1) * STEP + 1, step * STEP);
    Interval {
        first: LogIndex(first),
        last: LogIndex(last),
        first_ms: LogTimeMs(first * 1000),
        last_ms: LogTimeMs(last * 1000),
    }
}

pub(super) fn digest(records: &Records) -> u128 {
    records.iter().fold(7, |sum, (key, value)| sum.wrapping_add(encoding::record_sum(key, value)))
}

/// Records are looked for by their whole key.
pub(super) fn filter_of(key: &[u8], _: &[u8]) -> Option<FilterItem> {
    Some(item(key))
}

pub(super) fn item(key: &[u8]) -> FilterItem {
    FilterItem(xxh3_64(key))
}

pub(super) fn dir() -> PathBuf {
    PathBuf::from("/node/shard-3")
}

pub(super) fn sim_parts(disk: &SimFiles) -> Parts {
    let files: Arc<SimFiles> = Arc::new(disk.clone());
    Parts { store: Arc::new(FileStore(disk.clone())), files, filter_of }
}

pub(super) fn memory_parts(disk: &SimFiles, store: &MemoryStore) -> Parts {
    Parts { store: Arc::new(store.clone()), ..sim_parts(disk) }
}

/// Reads an image and checks it as the ledger would.
pub(super) fn read(checkpoint: &Checkpoint, pages: &mut Pages<'_>) -> Result<Records, StoreError> {
    let image: Records = pages.collect::<Result<_, _>>()?;
    if (image.len() as u64, digest(&image)) != (checkpoint.records, checkpoint.digest) {
        return Err(StoreError::Refused { what: "count or digest" });
    }
    Ok(image)
}

pub(super) fn open(parts: Parts, dir: &Path) -> Result<(Checkpoints, Opened<Records>), StoreError> {
    Checkpoints::open(dir, parts, read)
}

/// Writes the checkpoint of a step.
pub(super) fn write(checkpoints: &Checkpoints, step: u64) -> Result<Published, StoreError> {
    let mut writer = checkpoints.begin(interval(step), STEP * ACCOUNTS)?;
    // In the order in which copying on write would bring them: none.
    for (key, value) in image(step).into_iter().rev() {
        writer.page(key, value)?;
    }
    for (key, value) in history(step) {
        writer.record(&key, &value)?;
    }
    writer.finish(summary(step))
}

pub(super) fn summary(step: u64) -> Summary {
    Summary {
        log_index: LogIndex(step * STEP),
        meta: format!("members at {step}").into_bytes(),
        records: image(step).len() as u64,
        digest: digest(&image(step)),
        volume_digest: digest(&history(step)),
    }
}

/// Asserts that what was opened is one step, whole and unmixed, and returns which.
pub(super) fn step_of(checkpoints: &Checkpoints, opened: &Opened<Records>) -> u64 {
    let Some((checkpoint, found)) = &opened.image else {
        assert_eq!(all_of(&checkpoints.cold()), Records::new());
        return 0;
    };
    let step = checkpoint.log_index.0 / STEP;
    assert_eq!(*found, image(step));
    assert_eq!(checkpoint.meta, summary(step).meta);
    assert_eq!(all_of(&checkpoints.cold()), histories(step));
    step
}

/// Everything in the volumes.
pub(super) fn all_of(cold: &Cold) -> Records {
    let mut all = Records::new();
    for volume in cold.volumes().iter() {
        for record in volume.range(&[], &[0xff; 20]) {
            let (key, value) = record.expect("volumes are readable");
            assert!(all.insert(key, value).is_none(), "no key lies in two volumes");
        }
    }
    all
}

/// A backend whose every byte passes through [`SimFiles`], so that power cuts reach generations too.
#[derive(Clone, Debug)]
pub(super) struct FileStore(pub(super) SimFiles);

struct FileStoreWriter {
    files: SimFiles,
    path: PathBuf,
    file: Box<dyn super::FileWriter>,
    sum: u128,
}

struct FileStoreReader(Records);

impl StateStore for FileStore {
    fn create(&self, path: &Path) -> Result<Box<dyn GenerationWriter>, StoreError> {
        use super::Files as _;
        self.remove(path)?;
        self.0.create_dir(path)?;
        let file = self.0.create(&path.join("pages"))?;
        let (files, path) = (self.0.clone(), path.to_path_buf());
        Ok(Box::new(FileStoreWriter { files, path, file, sum: 1 }))
    }

    fn open(&self, path: &Path, seal: u128) -> Result<Box<dyn GenerationReader>, StoreError> {
        use super::Files as _;
        let corrupt = || StoreError::Corrupt { path: path.into(), offset: 0, what: "the seal" };
        let mut bytes = Vec::new();
        let file = self.0.open(&path.join("pages")).map_err(|_| corrupt())?;
        files::read_through(&*file as &dyn FileReader, |piece| bytes.extend_from_slice(piece))?;
        let (mut rest, mut pages, mut sum) = (bytes.as_slice(), Records::new(), 1);
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
        use super::Files as _;
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
        use super::Files as _;
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

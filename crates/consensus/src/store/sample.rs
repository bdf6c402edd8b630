//! A shard of tests: what each step's image and history are, how they are written, and the check that
//! an opened directory holds exactly one step's.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    Checkpoint, Checkpoints, Cold, FileStore, FilterItem, Interval, LogIndex, LogTimeMs,
    MemoryStore, Opened, Pages, Parts, Published, StoreError, Summary, encoding,
    sim_files::SimFiles,
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
        level: 1,
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

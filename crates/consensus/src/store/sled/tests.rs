use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tempfile::TempDir;

use super::*;
use crate::store::{
    Entry, FileReader, FileWriter, RealFiles,
    conformance::{sample_pages, scan, write},
};

fn store() -> SledStore {
    SledStore::new(Arc::new(RealFiles))
}

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// Every file under a directory with its bytes, every directory with none.
fn content(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let found = files::walk(&RealFiles, root).expect("a directory");
    let read =
        |path: &Path, is_dir| if is_dir { Vec::new() } else { fs::read(path).expect("a file") };
    found.into_iter().map(|(path, is_dir)| (path.clone(), read(&path, is_dir))).collect()
}

/// Without the visits of `put`, or the opening of `finish`, sled would write here while it reads.
#[test]
fn reading_a_sealed_generation_changes_not_a_byte() {
    for (count, batch, is_sorted) in [
        (0, 1, true),
        (1, 1, true),
        (18, 18, true),
        (700, 60, true),
        (700, 60, false),
        (90, 7, false),
    ] {
        let dir = temporary();
        let path = dir.path().join("gen");
        let mut pages = sample_pages(count);
        if is_sorted {
            pages.sort();
        }
        let mut writer = store().create(&path).expect("a new generation");
        pages.chunks(batch).for_each(|batch| writer.put(batch).expect("writable"));
        let seal = writer.finish().expect("sealable");
        let before = content(&path);
        for _ in 0..2 {
            let reader = store().open(&path, seal).expect("sealed");
            assert_eq!(scan(&*reader, &[]).len(), pages.len());
            for (key, value) in &pages {
                assert_eq!(reader.get(key).expect("readable").as_ref(), Some(value));
            }
            drop(reader);
            wait_until_closed(&path).expect("closable");
            assert!(content(&path) == before, "{count} pages by {batch}, sorted: {is_sorted}");
        }
    }
}

#[test]
fn every_file_and_directory_is_synced_as_it_stays() {
    let dir = temporary();
    let path = dir.path().join("gen");
    let spy = Arc::new(Spy::default());
    write(&SledStore::new(spy.clone()), &path, &sample_pages(300));
    let synced = spy.synced.lock().expect("no panic").clone();
    let stays = content(&path);
    assert!(stays.len() > 5, "blobs, configuration, log and snapshot");
    for (path, bytes) in stays {
        assert!(synced.get(&path) == Some(&bytes), "{} is not synced", path.display());
    }
}

#[test]
fn a_half_written_snapshot_is_removed_before_opening() {
    let dir = temporary();
    let path = dir.path().join("gen");
    let seal = write(&store(), &path, &sample_pages(50));
    let half = path.join("snap.00000000FFFFFFFF.generating");
    fs::write(&half, b"the process was killed here").expect("writable");
    assert!(open(&path).is_err(), "sled itself does not open");
    let reader = store().open(&path, seal).expect("the remains are removed");
    assert_eq!(scan(&*reader, &[]).len(), 50);
    assert!(!half.exists());
}

#[test]
fn opening_waits_until_an_earlier_handle_is_gone() {
    let dir = temporary();
    let path = dir.path().join("gen");
    let seal = write(&store(), &path, &sample_pages(5));
    let lingering = fs::File::open(path.join("db")).expect("a file");
    lingering.lock().expect("free");
    thread::scope(|scope| {
        let opening = scope.spawn(|| store().open(&path, seal).map(drop));
        for _ in 0..10_000 {
            assert!(!opening.is_finished(), "somebody has it open");
            thread::yield_now();
        }
        lingering.unlock().expect("it was locked");
        opening.join().expect("no panic").expect("now it is free");
    });
}

#[test]
fn a_flipped_byte_in_any_file_is_refused_before_sled_sees_it() {
    let dir = temporary();
    let path = dir.path().join("gen");
    let seal = write(&store(), &path, &sample_pages(120));
    for (file, bytes) in content(&path).into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
        for place in 0..6 {
            let mut flipped = bytes.clone();
            flipped[(bytes.len() - 1) * place / 5] ^= 1;
            fs::write(&file, flipped).expect("writable");
            let refused = store().open(&path, seal).map(drop).expect_err("a byte is flipped");
            let StoreError::Corrupt { path: named, offset, .. } = &refused else {
                panic!("{}: {refused}", file.display());
            };
            let at = (bytes.len() - 1) * place / 5;
            let (file, at) = (file.as_path(), at as u64);
            assert!(named == file && (at < 1 << 16 || offset.abs_diff(at) < 1 << 16), "{refused}");
        }
        fs::write(&file, &bytes[..bytes.len() - 1]).expect("writable");
        assert!(store().open(&path, seal).is_err(), "{} cut", file.display());
        fs::remove_file(&file).expect("removable");
        assert!(store().open(&path, seal).is_err(), "{} gone", file.display());
        fs::write(&file, bytes).expect("writable");
    }
    assert!(store().open(&path, seal).is_ok());
}

/// Generations that were sealed before their sums lay beside them open as ever.
#[test]
fn a_generation_without_sums_is_judged_as_it_was_sealed() {
    let dir = temporary();
    let path = dir.path().join("gen");
    write(&store(), &path, &sample_pages(120));
    fs::remove_file(path.join("SUMS")).expect("removable");
    let seal = seal_of(&RealFiles, &path).expect("readable");
    assert_eq!(scan(&*store().open(&path, seal).expect("sealed"), &[]).len(), 120);
    fs::write(path.join("conf"), b"another").expect("writable");
    assert!(matches!(store().open(&path, seal), Err(StoreError::Corrupt { .. })));
}

/// The real disk, and what each file and directory held when it was synced last.
#[derive(Debug, Default)]
struct Spy {
    synced: Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>,
}

struct SpyWriter {
    path: PathBuf,
    inner: Box<dyn FileWriter>,
    synced: Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>,
}

impl Files for Spy {
    fn create(&self, path: &Path) -> Result<Box<dyn FileWriter>, StoreError> {
        RealFiles.create(path)
    }

    fn append(&self, path: &Path) -> Result<Box<dyn FileWriter>, StoreError> {
        let (inner, synced) = (RealFiles.append(path)?, self.synced.clone());
        Ok(Box::new(SpyWriter { path: path.to_path_buf(), inner, synced }))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn FileReader>, StoreError> {
        RealFiles.open(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<Entry>, StoreError> {
        RealFiles.list(dir)
    }

    fn create_dir(&self, path: &Path) -> Result<(), StoreError> {
        RealFiles.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        RealFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        RealFiles.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> Result<(), StoreError> {
        RealFiles.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<(), StoreError> {
        self.synced.lock().expect("no panic").insert(path.to_path_buf(), Vec::new());
        RealFiles.sync_dir(path)
    }
}

impl FileWriter for SpyWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.write(bytes)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let bytes = fs::read(&self.path).expect("a file");
        self.synced.lock().expect("no panic").insert(self.path.clone(), bytes);
        self.inner.sync()
    }
}

/// Writing one generation after the other takes no more memory than writing a few: whatever sled keeps of a closed one
/// would be kept for as long as the node runs.
#[test]
fn a_closed_generation_leaves_nothing_in_memory() {
    // In a process of its own: other tests take memory too.
    let mut alone = std::process::Command::new(std::env::current_exe().expect("this program"));
    alone.args(["--exact", "store::sled::tests::generations_after_generations", "--ignored"]);
    assert!(alone.args(["--nocapture"]).status().expect("it runs").success());
}

#[test]
#[ignore = "it measures its process, and is run by the test above"]
fn generations_after_generations() {
    let resident = || {
        let page = rustix::param::page_size() as u64;
        let statm = fs::read_to_string("/proc/self/statm").expect("Linux");
        statm.split(' ').nth(1).expect("a number").parse::<u64>().expect("a number") * page
    };
    let dir = temporary();
    let mut sizes = Vec::new();
    for round in 0..6 {
        for number in 0..40 {
            let path = dir.path().join(format!("gen-{round}-{number}"));
            let seal = write(&store(), &path, &sample_pages(60));
            drop(store().open(&path, seal).expect("sealed"));
            store().remove(&path).expect("removable");
        }
        sizes.push(resident() >> 10);
    }
    eprintln!("{sizes:?} KiB");
    assert!(sizes[5] < sizes[2] + (8 << 10), "{sizes:?} KiB");
}

//! What every backend must do, asked of each of them.

use std::{path::Path, sync::Arc};

use super::{
    BATCH_LEN_MAX, FileStore, GenerationReader, MemoryStore, PAGE_LEN_MAX, Page, RealFiles,
    SledStore, StateStore, StoreError, sim_files::SimFiles,
};

#[test]
fn sled_conforms() {
    let dir = tempfile::tempdir().expect("a directory");
    conformance(&SledStore::new(Arc::new(RealFiles)), dir.path());
}

#[test]
fn memory_conforms() {
    conformance(&MemoryStore::default(), Path::new("/node/shard"));
}

#[test]
fn the_store_of_the_crash_tests_conforms() {
    conformance(&FileStore(SimFiles::default()), Path::new("/node/shard"));
}

/// The suite. A new backend adds a test above, and nothing below.
pub(super) fn conformance(store: &dyn StateStore, dir: &Path) {
    an_empty_generation_is_a_generation(store, dir);
    pages_come_back_in_key_order(store, dir);
    bounds_are_refused(store, dir);
    another_seal_is_refused(store, dir);
    what_an_attempt_left_is_gone(store, dir);
    a_generation_is_removed(store, dir);
}

fn an_empty_generation_is_a_generation(store: &dyn StateStore, dir: &Path) {
    let path = dir.join("gen-empty");
    let seal = write(store, &path, &[]);
    let reader = store.open(&path, seal).expect("it opens");
    assert_eq!(scan(&*reader, &[]), []);
    assert_eq!(reader.get(b"a").expect("readable"), None);
}

fn pages_come_back_in_key_order(store: &dyn StateStore, dir: &Path) {
    let path = dir.join("gen-order");
    let mut pages = sample_pages(400);
    let seal = write(store, &path, &pages);
    pages.sort();
    for _ in 0..3 {
        let reader = store.open(&path, seal).expect("a sealed generation opens again and again");
        assert_eq!(scan(&*reader, &[]), pages);
        let middle = pages[123].0.clone();
        assert_eq!(scan(&*reader, &middle), pages[123..]);
        assert_eq!(scan(&*reader, &[&middle[..], &[0]].concat()), pages[124..]);
        assert_eq!(scan(&*reader, &[0xff; 9]), []);
        assert_eq!(reader.get(&middle).expect("readable"), Some(pages[123].1.clone()));
        assert_eq!(reader.get(b"absent").expect("readable"), None);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert_eq!(scan(&*reader, &[]).len(), pages.len()));
            }
        });
    }
}

fn bounds_are_refused(store: &dyn StateStore, dir: &Path) {
    let mut writer = store.create(&dir.join("gen-bounds")).expect("a new generation");
    let page = (b"long".to_vec(), vec![0; PAGE_LEN_MAX]);
    let refused = writer.put(&[page]).expect_err("too long a page");
    assert!(matches!(refused, StoreError::TooLong { what: "a page", .. }));
    let batch: Vec<_> =
        (0..BATCH_LEN_MAX / 1000 + 1).map(|n| (vec![0; 8], vec![0; n % 1000 + 1000])).collect();
    let refused = writer.put(&batch).expect_err("too long a batch");
    assert!(matches!(refused, StoreError::TooLong { what: "a batch", .. }));
}

fn another_seal_is_refused(store: &dyn StateStore, dir: &Path) {
    let path = dir.join("gen-seal");
    let seal = write(store, &path, &sample_pages(20));
    assert!(matches!(store.open(&path, seal ^ 1), Err(StoreError::Corrupt { .. })));
    assert!(matches!(store.open(&dir.join("gen-never"), seal), Err(StoreError::Corrupt { .. })));
    assert!(store.open(&path, seal).is_ok());
}

fn what_an_attempt_left_is_gone(store: &dyn StateStore, dir: &Path) {
    let path = dir.join("gen-twice");
    let mut writer = store.create(&path).expect("a new generation");
    writer.put(&sample_pages(30)).expect("writable");
    drop(writer);
    let pages = [(b"only".to_vec(), b"this".to_vec())];
    let seal = write(store, &path, &pages);
    assert_eq!(scan(&*store.open(&path, seal).expect("it opens"), &[]), pages);
}

fn a_generation_is_removed(store: &dyn StateStore, dir: &Path) {
    let path = dir.join("gen-gone");
    let seal = write(store, &path, &sample_pages(30));
    assert!(store.list(dir).expect("a list").contains(&"gen-gone".to_owned()));
    store.remove(&path).expect("removable");
    store.remove(&path).expect("removing nothing is nothing");
    assert!(!store.list(dir).expect("a list").contains(&"gen-gone".to_owned()));
    assert!(store.open(&path, seal).is_err());
}

pub(super) fn write(store: &dyn StateStore, path: &Path, pages: &[Page]) -> u128 {
    let mut writer = store.create(path).expect("a new generation");
    for batch in pages.chunks(40) {
        writer.put(batch).expect("writable");
    }
    writer.finish().expect("sealable")
}

pub(super) fn scan(reader: &dyn GenerationReader, from: &[u8]) -> Vec<Page> {
    reader.scan(from).collect::<Result<_, _>>().expect("readable")
}

/// Pages out of order, of lengths from none to the usual, keys with every kind of byte.
pub(super) fn sample_pages(count: u32) -> Vec<Page> {
    let page = |n: u32| {
        let shuffled = n.wrapping_mul(0x9e37_79b1);
        let len = if n.is_multiple_of(7) { 0 } else { 16 << 10 };
        (shuffled.to_be_bytes().to_vec(), n.to_le_bytes().repeat(len / 4))
    };
    (0..count).map(page).collect()
}

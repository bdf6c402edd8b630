use std::{collections::BTreeMap, path::Path, sync::Arc};

use proptest::{collection, prelude::*, sample::SizeRange};
use xxhash_rust::xxh3::xxh3_64;

use super::{FilterItem, Interval, LogIndex, LogTimeMs, Volume, VolumeFacts, VolumePlan, merge};
use crate::store::{Files, StoreError, VolumeWriter, sim_files::SimFiles};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn whole_key(key: &[u8], _: &[u8]) -> Option<FilterItem> {
    Some(FilterItem(xxh3_64(key)))
}

fn interval(number: u64) -> Interval {
    Interval {
        first: LogIndex(number * 10),
        last: LogIndex(number * 10 + 9),
        first_ms: LogTimeMs(number * 1000),
        last_ms: LogTimeMs(number * 1000 + 999),
    }
}

fn dir() -> &'static Path {
    Path::new("/node")
}

fn plan(number: u64, filter_items_max: u64) -> VolumePlan {
    VolumePlan { number, interval: interval(number), filter_of: whole_key, filter_items_max }
}

fn write(files: &dyn Files, number: u64, records: &Model) -> VolumeFacts {
    let plan = plan(number, records.len() as u64);
    let mut writer = VolumeWriter::create(files, dir(), plan).expect("a new file");
    for (key, value) in records {
        writer.add(key, value).expect("in order");
    }
    writer.finish(u128::from(number)).expect("sealable")
}

fn open(files: &dyn Files, facts: &VolumeFacts) -> Arc<Volume> {
    Arc::new(Volume::open(files, dir(), facts).expect("whole"))
}

fn volume(records: &Model) -> Arc<Volume> {
    let files = SimFiles::default();
    let facts = write(&files, 1, records);
    open(&files, &facts)
}

/// Keys as the ledger makes them: account, then log index; values of the length of an outcome.
fn ledger_like(records: u64) -> Model {
    let key = |n: u64| {
        let account = xxh3_64(&(n / 9).to_le_bytes()).to_be_bytes();
        [&[1], &account[..], &account[..], &(n * 7).to_be_bytes(), &[0, 1, 2, 3]].concat()
    };
    let value = |n: u64| (0..6).flat_map(|w| (xxh3_64(&[w]) ^ n).to_le_bytes()).collect();
    (0..records).map(|n| (key(n), value(n))).collect()
}

fn keys(lens: impl Into<SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    // Few different bytes, so that keys share prefixes, contain one another and collide.
    collection::vec(prop::sample::select(vec![0_u8, 1, 0x7f, 0xff]), lens)
}

fn models() -> impl Strategy<Value = Model> {
    let values = collection::vec(any::<u8>(), 0..600);
    collection::btree_map(keys(0..9), values, 0..300)
}

fn up(volume: &Arc<Volume>, from: &[u8], to: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    volume.range(from, to).collect::<Result<_, _>>().expect("readable")
}

fn down(volume: &Arc<Volume>, upper: &[u8], lower: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    volume.range_rev(upper, lower).collect::<Result<_, _>>().expect("readable")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_volume_answers_as_a_map(
        model in models(), low in keys(0..9), high in keys(0..9), asked in collection::vec(keys(0..9), 30),
    ) {
        let volume = volume(&model);
        for key in asked.iter().chain(model.keys()) {
            prop_assert_eq!(volume.get(key).expect("readable"), model.get(key).cloned());
            let item = whole_key(key, &[]).expect("always some");
            prop_assert!(volume.may_contain(item) || !model.contains_key(key));
        }
        for (low, high) in [(&low, &high), (&vec![], &high), (&low, &vec![0xff; 10])] {
            let inside = |key: &Vec<u8>| low <= key && key < high;
            let mut expected: Vec<_> = model.clone().into_iter().filter(|r| inside(&r.0)).collect();
            prop_assert_eq!(up(&volume, low, high), expected.clone());
            expected.reverse();
            prop_assert_eq!(down(&volume, high, low), expected);
        }
    }

    #[test]
    fn merged_volumes_answer_as_one_map(model in models(), parts in 1..6_usize) {
        let files = SimFiles::default();
        let mut models = vec![Model::new(); parts];
        for (nth, record) in model.clone().into_iter().enumerate() {
            let part = xxh3_64(&nth.to_le_bytes()) % parts as u64;
            models[usize::try_from(part).expect("small")].extend([record]);
        }
        let run: Vec<_> = (1..).zip(&models)
            .map(|(number, model)| open(&files, &write(&files, number, model)))
            .collect();
        let facts = merge(&files, dir(), &run, (99, whole_key)).expect("mergeable");
        let merged = open(&files, &facts);
        prop_assert_eq!(facts.records, model.len() as u64);
        prop_assert_eq!(facts.digest, (1..=parts as u128).sum());
        prop_assert_eq!(facts.interval, interval(1).until(interval(parts as u64)));
        prop_assert_eq!(up(&merged, &[], &[0xff; 10]), model.clone().into_iter().collect::<Vec<_>>());
        for key in model.keys() {
            prop_assert!(merged.may_contain(whole_key(key, &[]).expect("always some")));
        }
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen() {
    let files = SimFiles::default();
    let model = ledger_like(400);
    let facts = write(&files, 1, &model);
    let path = dir().join(facts.file_name());
    let read_all = |files: &SimFiles| {
        let volume = Arc::new(Volume::open(files, dir(), &facts)?);
        volume.range(&[], &[0xff; 40]).collect::<Result<Vec<_>, _>>()
    };
    assert_eq!(read_all(&files).expect("whole").len(), 400);
    assert!(facts.len > 20_000, "more than one block");
    for offset in 0..usize::try_from(facts.len).expect("small") {
        files.flip(&path, offset);
        let refused = read_all(&files).expect_err("a flipped bit");
        let named = matches!(&refused, StoreError::Corrupt { path: named, .. } if *named == path);
        assert!(named, "byte {offset}: {refused}");
        files.flip(&path, offset);
    }
    let short = VolumeFacts { len: facts.len - 1, ..facts };
    assert!(Volume::open(&files, dir(), &short).is_err());
}

#[test]
fn a_corrupt_block_is_named_by_file_and_offset_and_ends_a_walk() {
    let files = SimFiles::default();
    let model = ledger_like(2000);
    let facts = write(&files, 1, &model);
    let volume = open(&files, &facts);
    let at = volume.index().blocks[1].offset;
    files.flip(&dir().join(facts.file_name()), usize::try_from(at).expect("small") + 100);
    let key = volume.index().first_key(1).to_vec();
    let refused = volume.get(&key).expect_err("corrupt");
    assert!(matches!(refused, StoreError::Corrupt { offset, .. } if offset == at));
    let walks: [Box<dyn Iterator<Item = _>>; 2] =
        [Box::new(volume.range(&[], &[0xff])), Box::new(volume.range_rev(&[0xff], &[]))];
    for walk in walks {
        let read: Vec<_> = walk.collect();
        assert!(read.len() < model.len());
        assert_eq!(read.iter().filter(|record| record.is_err()).count(), 1);
        assert!(read.last().expect("an error").is_err(), "nothing follows an error");
    }
}

#[test]
fn a_block_read_from_another_place_is_refused() {
    let block = b"the same bytes";
    assert_ne!(super::format::block_crc(block, 8), super::format::block_crc(block, 9));
}

#[test]
fn another_volume_under_the_same_name_is_refused() {
    let files = SimFiles::default();
    let mut facts = write(&files, 1, &ledger_like(10));
    facts.digest ^= 1;
    assert!(matches!(Volume::open(&files, dir(), &facts), Err(StoreError::Corrupt { .. })));
}

#[test]
fn keys_that_do_not_rise_are_refused() {
    let files = SimFiles::default();
    let mut writer = VolumeWriter::create(&files, dir(), plan(1, 9)).expect("a new file");
    writer.add(b"", b"the empty key comes first").expect("in order");
    writer.add(b"b", b"").expect("in order");
    for key in [b"b".as_slice(), b"a", b""] {
        assert!(matches!(writer.add(key, b""), Err(StoreError::Unsorted { .. })));
    }
    let one = open(&files, &write(&files, 2, &ledger_like(10)));
    let same = open(&files, &write(&files, 3, &ledger_like(10)));
    let refused = merge(&files, dir(), &[one, same], (4, whole_key));
    assert!(matches!(refused, Err(StoreError::Unsorted { .. })), "the same key in two volumes");
}

#[test]
fn a_long_record_has_a_block_of_its_own_and_a_longer_one_is_refused() {
    let mut model = ledger_like(50);
    model.insert(b"\x01long".to_vec(), vec![7; 500_000]);
    let volume = volume(&model);
    assert_eq!(up(&volume, &[], &[0xff; 9]), model.clone().into_iter().collect::<Vec<_>>());
    assert_eq!(volume.get(b"\x01long").expect("readable").map(|value| value.len()), Some(500_000));
    let lens = volume.index().blocks.iter().map(|block| block.len);
    assert_eq!(lens.filter(|len| *len > super::format::BLOCK_LEN_MAX).count(), 1);

    let files = SimFiles::default();
    let mut writer = VolumeWriter::create(&files, dir(), plan(1, 9)).expect("a new file");
    let refused = writer.add(b"longer", &vec![0; super::format::RECORD_LEN_MAX]);
    assert!(matches!(refused, Err(StoreError::TooLong { .. })));
}

#[test]
fn an_absent_key_costs_no_disk_199_times_of_200() {
    // A bound that is four times too high is folded away.
    for (count, items_max) in [(20_000, 20_000), (20_000, 80_000), (333, 333), (1, 1)] {
        let mut filter = super::filter::FilterBuilder::new(items_max);
        (0..count).for_each(|n| filter.add(FilterItem(n)));
        let bytes = filter.finish();
        assert!(bytes.len() as u64 <= (count * 12 / 8).next_multiple_of(2048), "12 bits an item");
        let filter = super::filter::Filter::from_bytes(bytes).expect("well formed");
        assert!((0..count).all(|n| filter.may_contain(FilterItem(n))), "none is missed");
        let asked = 100_000;
        let passed =
            (0..asked).filter(|n| filter.may_contain(FilterItem(n << 32 | 1 << 63))).count();
        assert!(passed as u64 * 200 <= asked, "{passed} of {asked} at {count} items");
    }
    let mut crowded = super::filter::FilterBuilder::new(0);
    (0..5000).for_each(|n| crowded.add(FilterItem(n)));
    let crowded = super::filter::Filter::from_bytes(crowded.finish()).expect("well formed");
    assert!((0..5000).all(|n| crowded.may_contain(FilterItem(n))), "a wrong bound denies nothing");
    let none = super::filter::FilterBuilder::new(1000).finish();
    assert!(!super::filter::Filter::from_bytes(none).expect("empty").may_contain(FilterItem(1)));
}

#[test]
fn an_item_that_repeats_is_counted_once() {
    let files = SimFiles::default();
    let account = |key: &[u8], _: &[u8]| Some(FilterItem(xxh3_64(&key[..9])));
    let plan = VolumePlan { filter_of: account, ..plan(1, 900) };
    let mut writer = VolumeWriter::create(&files, dir(), plan).expect("a new file");
    for (key, value) in ledger_like(900) {
        writer.add(&key, &value).expect("in order");
    }
    assert_eq!(writer.finish(0).expect("sealable").filter_items, 100);
}

#[test]
fn filter_and_index_cost_three_percent_of_the_records() {
    let model = ledger_like(60_000);
    let files = SimFiles::default();
    let facts = write(&files, 1, &model);
    let volume = open(&files, &facts);
    let records: usize = volume.index().blocks.iter().map(|block| block.len).sum();
    let plain: usize = model.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(records < plain * 9 / 10, "prefixes are shared");
    let overhead = usize::try_from(facts.len).expect("small") - records;
    assert!(overhead * 100 <= records * 3, "{overhead} bytes beside {records}");
}

#[test]
fn a_run_is_due_when_it_is_four_times_its_longest() {
    let files = SimFiles::default();
    let facts = write(&files, 1, &Model::new());
    let due = |lens: &[u64]| {
        let volumes: Vec<_> =
            lens.iter().map(|mib| VolumeFacts { len: mib << 20, ..facts }).collect();
        super::due(&volumes)
    };
    assert_eq!(due(&[1; 7]), None);
    assert_eq!(due(&[1; 8]), Some(0..8));
    assert_eq!(
        due(&[0, 1, 0, 1, 0, 1, 0, 1, 0]),
        Some(0..9),
        "small is small, and none stays behind"
    );
    assert_eq!(due(&[1; 40]), Some(8..40));
    assert_eq!(due(&[64, 8, 8, 8, 8, 8, 8, 8]), None, "one outweighs the others");
    assert_eq!(due(&[64, 8, 8, 8, 8, 8, 8, 8, 8]), Some(1..9));
    assert_eq!(due(&[2 << 10; 8]), None, "too long together");
}

/// However long it runs, volumes stay few and records are rewritten few times.
#[test]
fn many_checkpoints_leave_few_volumes_and_little_rewriting() {
    let files = SimFiles::default();
    let facts = write(&files, 1, &Model::new());
    let (mut volumes, mut added, mut rewritten, mut most) = (Vec::new(), 0, 0, 0);
    for step in 0..2000_u64 {
        let len = (xxh3_64(&step.to_le_bytes()) % 64 + 1) << 20;
        volumes.push(VolumeFacts { len, ..facts });
        added += len;
        while let Some(run) = super::due(&volumes) {
            let len = volumes[run.clone()].iter().map(|volume| volume.len).sum();
            rewritten += len;
            volumes.splice(run, [VolumeFacts { len, ..facts }]);
        }
        most = most.max(volumes.len());
    }
    assert!(most <= 30, "{most} volumes for {} GiB", added >> 30);
    assert!(rewritten <= 3 * added, "{} GiB rewritten", rewritten >> 30);
}

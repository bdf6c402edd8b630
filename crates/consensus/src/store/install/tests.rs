use std::path::Path;

use crate::store::{
    Checkpoints, Chunk, FileNumber, Files, Install, LogIndex, MemoryStore, Offer, RealFiles,
    SledStore, Snapshot, StoreError,
    sample::{
        self, Records, STEP, all_of, dir, histories, image, interval, memory_parts, sim_parts,
        step_of, summary, write,
    },
    sim_files::SimFiles,
};

fn shard(disk: &SimFiles, steps: u64) -> Checkpoints {
    let (checkpoints, _) = sample::open(sim_parts(disk), &dir()).expect("a whole disk");
    for step in 1..=steps {
        write(&checkpoints, step).expect("a whole disk");
    }
    checkpoints
}

fn snapshot(sender: &Checkpoints) -> Snapshot {
    sender.snapshot().expect("readable").expect("there is a checkpoint")
}

fn begin<'a>(receiver: &'a Checkpoints, snapshot: &Snapshot) -> Install<'a> {
    let path = Path::new("the wire");
    let offer = Offer::decode(&snapshot.offer().encode(), path).expect("as it was sent");
    receiver.install(offer).expect("free")
}

/// Sends up to `chunks` chunks, and returns how many were wanted.
fn send(install: &mut Install<'_>, snapshot: &Snapshot, chunks: usize) -> usize {
    for sent in 0..chunks {
        let Some(wanted) = install.wanted() else { return sent };
        let chunk = snapshot.chunk(wanted.file, wanted.offset, 100).expect("readable");
        install.write(&chunk).expect("intact");
    }
    chunks
}

#[test]
fn a_snapshot_replaces_what_was_there() {
    let sender = shard(&SimFiles::default(), 5);
    let disk = SimFiles::default();
    let receiver = shard(&disk, 2);
    let snapshot = snapshot(&sender);
    let mut install = begin(&receiver, &snapshot);
    assert!(matches!(receiver.install(snapshot.offer().clone()), Err(StoreError::Busy { .. })));
    send(&mut install, &snapshot, usize::MAX);
    let (published, found) = install.finish(sample::read).expect("whole");
    assert_eq!(found, image(5));
    assert_eq!(published.purge_upto, Some(LogIndex(5 * STEP)));
    assert_eq!(all_of(&receiver.cold()), histories(5));
    write(&receiver, 6).expect("life goes on");
    drop(receiver);
    let (receiver, opened) = sample::open(sim_parts(&disk), &dir()).expect("whole");
    assert_eq!(step_of(&receiver, &opened), 6);
    let names: Vec<_> = disk.list(&dir()).expect("a list").into_iter().map(|e| e.name).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("gen-")).count(), 2);
    assert!(!names.contains(&"incoming".to_owned()));
}

#[test]
fn a_transfer_goes_on_where_it_stopped_even_in_another_process() {
    let sender = shard(&SimFiles::default(), 4);
    let snapshot = snapshot(&sender);
    let whole = shard(&SimFiles::default(), 0);
    let all = send(&mut begin(&whole, &snapshot), &snapshot, usize::MAX);

    let disk = SimFiles::default();
    let (mut sent, mut rounds) = (0, 0);
    loop {
        // Each round is a new process, with the bytes of the one before in its files.
        let receiver = sample::open(sim_parts(&disk), &dir()).expect("whole").0;
        let mut install = begin(&receiver, &snapshot);
        if install.wanted().is_none() {
            install.finish(sample::read).expect("whole");
            break;
        }
        sent += send(&mut install, &snapshot, 5);
        rounds += 1;
    }
    assert!(rounds > 3);
    assert_eq!(sent, all, "nothing was sent twice");
    let (receiver, opened) = sample::open(sim_parts(&disk), &dir()).expect("whole");
    assert_eq!(step_of(&receiver, &opened), 4);
}

#[test]
fn a_volume_that_is_here_is_not_sent_again() {
    let (one, two) = (SimFiles::default(), SimFiles::default());
    let (sender, receiver) = (shard(&one, 3), shard(&two, 2));
    let snapshot = snapshot(&sender);
    let mut install = begin(&receiver, &snapshot);
    let mut wanted = Vec::new();
    while let Some(next) = install.wanted() {
        wanted.push(next.file);
        send(&mut install, &snapshot, 1);
    }
    wanted.dedup();
    assert_eq!(wanted, [FileNumber(0), FileNumber(3)], "the same first two volumes are held");
    install.finish(sample::read).expect("whole");
    assert_eq!(all_of(&receiver.cold()), histories(3));
    drop(receiver);
    let (receiver, opened) = sample::open(sim_parts(&two), &dir()).expect("whole");
    assert_eq!(step_of(&receiver, &opened), 3);
}

#[test]
fn a_held_volume_that_is_merged_away_meanwhile_is_not_named() {
    let sender = shard(&SimFiles::default(), 9);
    let disk = SimFiles::default();
    let receiver = shard(&disk, 8);
    let snapshot = snapshot(&sender);
    let mut install = begin(&receiver, &snapshot);
    send(&mut install, &snapshot, usize::MAX);
    receiver.merge_once().expect("mergeable").expect("eight are a run");
    assert!(matches!(install.finish(sample::read), Err(StoreError::Superseded)));
    assert_eq!(all_of(&receiver.cold()), histories(8), "all as before");
    let mut install = begin(&receiver, &snapshot);
    send(&mut install, &snapshot, usize::MAX);
    install.finish(sample::read).expect("the next attempt sends them all");
    assert_eq!(all_of(&receiver.cold()), histories(9));
}

#[test]
fn a_chunk_damaged_on_the_way_is_refused_and_wanted_again() {
    let sender = shard(&SimFiles::default(), 2);
    let snapshot = snapshot(&sender);
    let receiver = shard(&SimFiles::default(), 0);
    let mut install = begin(&receiver, &snapshot);
    while let Some(wanted) = install.wanted() {
        let good = snapshot.chunk(wanted.file, wanted.offset, 100).expect("readable");
        let mut bytes = good.bytes.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        let elsewhere = Chunk { offset: good.offset + 1, ..good.clone() };
        for bad in [Chunk { bytes, ..good.clone() }, elsewhere] {
            let refused = install.write(&bad);
            assert!(matches!(refused, Err(StoreError::Corrupt { .. })));
            assert_eq!(install.wanted(), Some(wanted));
        }
        install.write(&good).expect("intact");
        install.write(&good).expect("twice is passed over");
    }
    install.finish(sample::read).expect("whole");
    assert_eq!(all_of(&receiver.cold()), histories(2));
}

/// Every byte of every received file, flipped where it lies: only that file is fetched again.
#[test]
fn a_received_file_that_rots_is_dropped_and_fetched_again() {
    let sender = shard(&SimFiles::default(), 2);
    let snapshot = snapshot(&sender);
    let received = SimFiles::default();
    let receiver = shard(&received, 0);
    send(&mut begin(&receiver, &snapshot), &snapshot, usize::MAX);
    drop(receiver);
    let lens: Vec<_> = snapshot.offer().files().collect();
    assert_eq!(lens.len(), 3);
    for offered in lens {
        for offset in (0..offered.len).step_by(13) {
            let disk = received.after_power_cut(crate::store::sim_files::Lost::Nothing);
            let name = super::file_name(offered.file);
            disk.flip(&dir().join("incoming").join(name), usize::try_from(offset).expect("small"));
            let receiver = sample::open(sim_parts(&disk), &dir()).expect("whole").0;
            let refused = begin(&receiver, &snapshot).finish(sample::read);
            assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{offered:?} at {offset}");
            assert_eq!(receiver.newest(), None);
            let mut install = begin(&receiver, &snapshot);
            assert_eq!(install.wanted().map(|wanted| wanted.file), Some(offered.file));
            send(&mut install, &snapshot, usize::MAX);
            install.finish(sample::read).expect("whole");
        }
    }
}

#[test]
fn another_offer_clears_what_was_received() {
    let disk = SimFiles::default();
    let receiver = shard(&disk, 0);
    let sender = shard(&SimFiles::default(), 1);
    let old = snapshot(&sender);
    send(&mut begin(&receiver, &old), &old, usize::MAX);
    write(&sender, 2).expect("a whole disk");
    let new = snapshot(&sender);
    let lens = [&old, &new].map(|snapshot| snapshot.offer().checkpoint.pages.stream_len);
    assert!(lens[0] < lens[1], "what was received could pass for a part");
    let mut install = begin(&receiver, &new);
    let wanted = install.wanted().expect("everything");
    assert_eq!((wanted.file, wanted.offset), (FileNumber(0), 0));
    send(&mut install, &new, usize::MAX);
    assert_eq!(install.finish(sample::read).expect("whole").1, image(2));
}

#[test]
fn an_unfinished_a_refused_and_an_older_snapshot_change_nothing() {
    let sender = shard(&SimFiles::default(), 5);
    let disk = SimFiles::default();
    let receiver = shard(&disk, 3);
    let five = snapshot(&sender);
    let mut install = begin(&receiver, &five);
    send(&mut install, &five, 2);
    assert!(matches!(install.finish(sample::read), Err(StoreError::Refused { .. })));

    let mut install = begin(&receiver, &five);
    send(&mut install, &five, usize::MAX);
    let refused = install.finish(|_, _| Err::<Records, _>(StoreError::Refused { what: "digest" }));
    assert!(matches!(refused, Err(StoreError::Refused { what: "digest" })));
    assert_eq!(receiver.newest().expect("three").log_index, LogIndex(3 * STEP));

    for step in 4..=6 {
        write(&receiver, step).expect("a whole disk");
    }
    let mut install = begin(&receiver, &five);
    send(&mut install, &five, usize::MAX);
    assert!(matches!(install.finish(sample::read), Err(StoreError::Superseded)));
    drop(receiver);
    let (receiver, opened) = sample::open(sim_parts(&disk), &dir()).expect("whole");
    assert_eq!(step_of(&receiver, &opened), 6);
}

#[test]
fn a_checkpoint_begun_before_an_install_is_not_named_after_it() {
    let sender = shard(&SimFiles::default(), 5);
    let receiver = shard(&SimFiles::default(), 2);
    let mut writer = receiver.begin(interval(6), 1).expect("free");
    writer.record(b"of another past", b"").expect("writable");
    let snapshot = snapshot(&sender);
    let mut install = begin(&receiver, &snapshot);
    send(&mut install, &snapshot, usize::MAX);
    install.finish(sample::read).expect("whole");
    assert!(matches!(writer.finish(summary(6)), Err(StoreError::Superseded)));
    assert_eq!(all_of(&receiver.cold()), histories(5));
}

#[test]
fn a_generation_of_sled_arrives_in_another_backend() {
    let root = tempfile::tempdir().expect("a directory");
    let files: std::sync::Arc<dyn Files> = std::sync::Arc::new(RealFiles);
    let store = std::sync::Arc::new(SledStore::new(files.clone()));
    let parts = super::super::Parts { files, store, filter_of: sample::filter_of };
    let sender = sample::open(parts, &root.path().join("shard")).expect("new").0;
    (1..=3).for_each(|step| drop(write(&sender, step).expect("a whole disk")));
    let snapshot = snapshot(&sender);

    let (disk, store) = (SimFiles::default(), MemoryStore::default());
    let receiver = sample::open(memory_parts(&disk, &store), &dir()).expect("new").0;
    let mut install = begin(&receiver, &snapshot);
    send(&mut install, &snapshot, usize::MAX);
    assert_eq!(install.finish(sample::read).expect("whole").1, image(3));
    assert_eq!(all_of(&receiver.cold()), histories(3));
}

#[test]
fn pages_can_be_read_from_anywhere() {
    let sender = shard(&SimFiles::default(), 2);
    let snapshot = snapshot(&sender);
    let len = snapshot.offer().checkpoint.pages.stream_len;
    let whole = snapshot.chunk(FileNumber(0), 0, usize::MAX).expect("readable").bytes;
    assert_eq!(whole.len() as u64, len);
    for (offset, len) in [(0, 1), (50, 200), (7, 3), (len - 1, 9), (len, 9), (len + 5, 9), (90, 0)]
    {
        let chunk = snapshot.chunk(FileNumber(0), offset, usize::try_from(len).expect("small"));
        let from = usize::try_from(offset).expect("small").min(whole.len());
        let to = (from + usize::try_from(len).expect("small")).min(whole.len());
        assert_eq!(chunk.expect("readable").bytes, whole[from..to]);
    }
    assert_eq!(snapshot.chunk(FileNumber(9), 0, 9).expect("of no file").bytes, Vec::<u8>::new());
}

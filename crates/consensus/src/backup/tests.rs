use std::path::Path;
use std::sync::Arc;

use ledger::{
    AccountId, AccountKind, Amount, Batch, Books, Command, Currency, Key, Ledger, Request, Shards,
    Slot, TenantId, Time,
};

use super::*;
use crate::checkpoint::{self, Meta};
use crate::config::NodeConfig;
use crate::node::{Ground, Node, OpenError};
use crate::raft::log_id;
use crate::state::Frozen;
use crate::store::{RealFiles, SledStore, Volume};

/// A group with something of everything: volumes, records that no volume has yet, accounts.
struct Sample {
    _home: tempfile::TempDir,
    books: Books,
    image: StateImage,
    digest: u128,
}

impl Sample {
    fn of(group: u16) -> Self {
        let home = tempfile::tempdir().unwrap();
        let books = Books { shard: group, shards: Shards::new(1).unwrap() };
        let mut ledger = Ledger::new(books);
        let files = Arc::new(RealFiles);
        let parts = Ground::parts(files.clone(), Arc::new(SledStore::new(files)));
        let (checkpoints, _nothing) = checkpoint::open(home.path(), parts, books).unwrap();
        if group == 0 {
            for round in 1..=2 {
                apply(&mut ledger, round * 10);
                let frozen = Frozen { image: ledger.freeze(), bytes: 4_096, life: 0 };
                let last_log_id = Some(log_id(1, ledger.index()));
                let meta = Meta { last_log_id, ..Meta::default() };
                checkpoint::write(&checkpoints, &frozen, &meta).unwrap();
                ledger.evict(frozen.image.number());
            }
            apply(&mut ledger, 30);
        }
        let digest = ledger.digest();
        let volumes = checkpoints.cold().volumes();
        let image = StateImage::new((group, 9), ledger.freeze(), &volumes).unwrap();
        assert_eq!(image.cut(), 9);
        Self { _home: home, books, image, digest }
    }

    fn write(&self, dir: &Path) {
        let mut writer = FolderWriter::create(dir).unwrap();
        let mut taken = Ok(());
        self.image
            .send(|piece| {
                taken = writer.take(&piece);
                taken.is_ok()
            })
            .unwrap();
        taken.unwrap();
        writer.finish().unwrap();
    }
}

/// Opens an account and pays it; what a batch does, its index says.
fn apply(ledger: &mut Ledger, index: u64) {
    let account = |number: u64| AccountId::in_slot(u128::from(number) << 12, Slot::of(0));
    let (amount, currency) = (Amount::from_minor(500).unwrap(), Currency::CNY);
    let kind = AccountKind::Wallet;
    let commands = [
        Command::Open { account: account(index), currency, kind, opening: Some(amount) },
        Command::Open { account: account(index + 1), currency, kind, opening: None },
        Command::Transfer {
            debit: account(index),
            credit: account(index + 1),
            amount: Amount::from_minor(7).unwrap(),
            currency,
        },
    ];
    let requests = commands.into_iter().zip(0_u64..).map(|(command, number)| {
        let key = Key::from_digest((u128::from(index) << 8 | u128::from(number)).to_be_bytes());
        Request { key, tenant: TenantId(0), command }
    });
    let at = Time(1_767_225_600_000 + index);
    let batch = Batch::new(at, requests.collect()).unwrap().encode().unwrap();
    let fetched = ledger.begin_fetch();
    let decided = ledger.apply(index, &Batch::decode(&batch).unwrap(), &fetched);
    assert!(decided.answers.iter().all(|said| said.now().is_some_and(|said| said.outcome.is_ok())));
}

#[test]
fn a_folder_has_the_whole_state_and_every_flipped_byte_is_found_with_its_file() {
    let (sample, home) = (Sample::of(0), tempfile::tempdir().unwrap());
    let dir = home.path().join("shard-00");
    sample.write(&dir);
    let folder = Folder::open(&dir).unwrap();
    let ledger = folder.read(sample.books).unwrap();
    assert_eq!((ledger.digest(), ledger.index()), (sample.digest, 30));
    assert_eq!(folder.files().unwrap().len(), 2 + 3, "two volumes, and what was in memory");
    assert_eq!(folder.cold_records(), 3 * (3 + 4), "outcomes and postings");

    for file in folder.files().unwrap() {
        let path = dir.join(&file.name);
        let good = std::fs::read(&path).unwrap();
        assert_eq!(good.len() as u64, file.len);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            let read = Folder::open(&dir).and_then(|folder| folder.read(sample.books));
            let Err(error) = read else { panic!("{} at {at}", file.name) };
            assert!(error.to_string().contains(&file.name), "{} at {at}: {error}", file.name);
        }
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(Folder::open(&dir).and_then(|folder| folder.read(sample.books)).is_err());
        std::fs::write(&path, &good).unwrap();
    }
    Folder::open(&dir).unwrap().read(sample.books).unwrap();
}

#[test]
fn a_state_that_ends_in_the_middle_makes_no_folder() {
    let (sample, home) = (Sample::of(0), tempfile::tempdir().unwrap());
    let mut pieces = Vec::new();
    sample
        .image
        .send(|piece| {
            pieces.push(piece);
            true
        })
        .unwrap();
    for end in 0..pieces.len() {
        let dir = home.path().join(format!("{end}"));
        let mut writer = FolderWriter::create(&dir).unwrap();
        pieces[..end].iter().for_each(|piece| writer.take(piece).unwrap());
        assert!(writer.finish().is_err(), "{end} of {}", pieces.len());
        assert!(Folder::open(&dir).is_err());
    }
    let mut sent = 0;
    let image = &sample.image;
    image
        .send(|_| {
            sent += 1;
            sent < 2
        })
        .unwrap();
    assert_eq!(sent, 2, "nobody takes more");
}

#[test]
fn the_volumes_of_an_image_are_those_that_it_counts() {
    let sample = Sample::of(0);
    let volumes: &[Arc<Volume>] = &sample.image.volumes;
    let again = |volumes: &[Arc<Volume>]| {
        let frozen = Sample::of(0).image.image;
        StateImage::new((0, 9), frozen, volumes).map(|image| image.volumes.len())
    };
    assert_eq!(again(volumes), Some(2));
    let one_more: Vec<_> = volumes.iter().chain(volumes.first()).cloned().collect();
    assert_eq!(again(&one_more), Some(2), "a checkpoint has sealed one that is still in memory");
    assert_eq!(again(&volumes[..1]), None, "they are another history's");
}

#[tokio::test]
async fn a_node_starts_from_what_was_restored_and_knows_whom_it_belongs_with() {
    let (shard, meta) = (Sample::of(0), Sample::of(1));
    let home = tempfile::tempdir().unwrap();
    let dirs = [home.path().join("shard-00"), home.path().join("meta")];
    shard.write(&dirs[0]);
    meta.write(&dirs[1]);
    let folders = || dirs.each_ref().map(|dir| Folder::open(dir).unwrap());
    let peers = (1..=3).map(|node| (node, format!("127.0.0.1:{node}"))).collect();
    let data = home.path().join("n1");
    let config = NodeConfig::new(1, data.clone(), peers, Shards::new(1).unwrap());
    let birth = Birth([7; 16]);
    let restored = restore_node(&config, birth, &folders()).unwrap();
    let [first, second] = restored[..] else { panic!("both groups: {restored:?}") };
    assert_eq!(first, Restored { group: 0, index: 30, digest: shard.digest });
    assert_ne!(second.digest, meta.digest, "its directory names the new nodes");
    assert!(matches!(
        restore_node(&config, birth, &folders()),
        Err(RestoreError::NotEmpty(dir)) if dir == data
    ));

    // What was begun and not finished says so, and is refused.
    std::fs::write(data.join("RESTORING"), "").unwrap();
    let refused = Node::open(config.clone()).await.err();
    assert!(matches!(refused, Some(OpenError::HalfRestored)), "{refused:?}");
    std::fs::remove_file(data.join("RESTORING")).unwrap();

    let node = Node::open(config).await.unwrap();
    assert_eq!(node.disk(), birth.disk(1));
    for other in 1..=3 {
        assert_eq!(node.disk_of(other), Some(birth.disk(other)), "before anybody has started");
    }
    assert_ne!(Birth([8; 16]).disk(1), birth.disk(1));
    node.shutdown().await;
}

//! A disk of tests and simulations that keeps apart what was written and what was synced, and whose power can be cut
//! before any operation takes effect.
//!
//! Every change of the disk is numbered. At the chosen number the power goes: that operation and all
//! after it fail, and [`SimFiles::after_power_cut`] says what the disk then holds. A name lasts once its
//! directory was synced, bytes once their file was; of the rest, [`Lost`] chooses.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use xxhash_rust::xxh3::xxh3_64;

use super::{Entry, FileReader, FileWriter, Files, StoreError, files};

/// What a power cut takes of what was not synced.
#[derive(Clone, Copy, Debug)]
pub enum Lost {
    /// All of it.
    All,
    /// Nothing.
    Nothing,
    /// The second half of every file's last unsynced write.
    Halves,
    /// Everything but the last change of names, and of each file the last write.
    Older,
    /// Names and writes at random, the later not less than the earlier; lost bytes in the middle read
    /// as zeros.
    Some(u64),
}

/// What happens at the numbered operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It takes place but for a sync, fails, and so does everything after it.
    PowerCut,
    /// It fails, and nothing else does.
    Once,
    /// As `Once`, but it was done all the same.
    OnceLate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

/// Files only grow, so what is synced is a prefix.
#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    synced_len: usize,
    /// Where each write since the last sync ends.
    unsynced: Vec<usize>,
}

/// Names that change together: what each becomes.
type NameChange = Vec<(PathBuf, Option<Node>)>;

#[derive(Clone, Debug, Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, Node>,
    lasting: BTreeMap<PathBuf, Node>,
    pending: Vec<NameChange>,
    ops: usize,
    fault: Option<(usize, Fault)>,
}

/// A simulated disk. Clones are the same one.
#[derive(Clone, Debug)]
pub struct SimFiles(Arc<Mutex<Disk>>);

impl Default for SimFiles {
    /// A disk with one directory, which the node's own start would have made.
    fn default() -> Self {
        let names = BTreeMap::from([(PathBuf::from("/node"), Node::Dir)]);
        Self(Arc::new(Mutex::new(Disk { lasting: names.clone(), names, ..Disk::default() })))
    }
}

struct SimFile {
    disk: SimFiles,
    inode: usize,
    path: PathBuf,
}

impl SimFiles {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().expect("tests do not panic within an operation")
    }

    /// How many operations have changed the disk.
    pub fn ops(&self) -> usize {
        self.disk().ops
    }

    /// Lets the operation with this number, counted from 0, meet a fault.
    pub fn set_fault(&self, op: usize, fault: Fault) {
        self.disk().fault = Some((op, fault));
    }

    /// An independent copy, as it stands.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut disk = self.disk().clone();
        disk.forget_unnamed();
        Self(Arc::new(Mutex::new(disk)))
    }

    /// The disk as the next process finds it, when only the process has died: no fault is set any more.
    #[must_use]
    pub fn kill(&self) -> Self {
        let files = self.fork();
        files.disk().fault = None;
        files
    }

    /// The disk as it is found after the power came back.
    pub fn after_power_cut(&self, lost: Lost) -> Self {
        let disk = self.disk().clone();
        let mut random = Random(match lost {
            Lost::Some(seed) => seed,
            Lost::All | Lost::Nothing | Lost::Halves | Lost::Older => 0,
        });
        let mut names = disk.lasting;
        let last = disk.pending.last().cloned();
        for change in disk.pending {
            let keep = match lost {
                Lost::All => false,
                Lost::Older => Some(&change) == last.as_ref(),
                Lost::Nothing | Lost::Halves => true,
                Lost::Some(_) => random.coin(),
            };
            if keep {
                apply(&mut names, change);
            }
        }
        drop_unreachable(&mut names);
        let inodes = disk.inodes.iter().map(|inode| inode.after_power_cut(lost, &mut random));
        let inodes =
            inodes.map(|bytes| Inode { synced_len: bytes.len(), bytes, unsynced: Vec::new() });
        let inodes = inodes.collect();
        let lasting = names.clone();
        let mut disk = Disk { inodes, names, lasting, ..Disk::default() };
        disk.forget_unnamed();
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Changes one bit of a file's lasting bytes.
    pub fn flip(&self, path: &Path, offset: usize) {
        let mut disk = self.disk();
        let Some(Node::File(inode)) = disk.names.get(path).copied() else {
            panic!("{} is no file", path.display());
        };
        let bytes = &mut disk.inodes[inode].bytes;
        let offset = offset % bytes.len();
        bytes[offset] ^= 0x10;
    }

    /// Everything that is there, for comparison.
    pub fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let disk = self.disk();
        let bytes = |node: &Node| match node {
            Node::Dir => Vec::new(),
            Node::File(inode) => disk.inodes[*inode].bytes.clone(),
        };
        disk.names.iter().map(|(path, node)| (path.clone(), bytes(node))).collect()
    }

    /// Counts an operation. `Err`: it fails, and takes effect all the same if the second is `true`.
    fn begin(&self, doing: &'static str, path: &Path) -> Result<(), (StoreError, bool)> {
        let mut disk = self.disk();
        let op = disk.ops;
        disk.ops += 1;
        let failure = || files::io(doing, path)(io::Error::other("the power was cut"));
        match disk.fault {
            Some((at, Fault::PowerCut)) if op >= at => Err((failure(), op == at)),
            Some((at, Fault::Once)) if op == at => Err((failure(), false)),
            Some((at, Fault::OnceLate)) if op == at => Err((failure(), true)),
            Some(_) | None => Ok(()),
        }
    }

    fn change(
        &self,
        doing: &'static str,
        path: &Path,
        effect: impl FnOnce(&mut Disk) -> NameChange,
    ) -> Result<(), StoreError> {
        let begun = self.begin(doing, path);
        if !matches!(begun, Err((_, false))) {
            let mut disk = self.disk();
            let change = effect(&mut disk);
            apply(&mut disk.names, change.clone());
            disk.pending.push(change);
        }
        begun.map_err(|(error, _)| error)
    }

    fn node(&self, doing: &'static str, path: &Path) -> Result<Node, StoreError> {
        let node = self.disk().names.get(path).copied();
        node.ok_or_else(|| files::io(doing, path)(io::ErrorKind::NotFound.into()))
    }

    fn file(&self, path: &Path) -> Result<Box<SimFile>, StoreError> {
        let Node::File(inode) = self.node("open", path)? else {
            return Err(files::io("open", path)(io::ErrorKind::IsADirectory.into()));
        };
        Ok(Box::new(SimFile { disk: self.clone(), inode, path: path.to_path_buf() }))
    }
}

impl Disk {
    /// Lets go of the bytes of files that no name leads to any more, whatever becomes of the power.
    fn forget_unnamed(&mut self) {
        let changed = self.pending.iter().flatten().filter_map(|(_, node)| node.as_ref());
        let named = self.names.values().chain(self.lasting.values()).chain(changed);
        let named: BTreeSet<usize> = named
            .filter_map(|node| match node {
                Node::File(inode) => Some(*inode),
                Node::Dir => None,
            })
            .collect();
        for (inode, file) in self.inodes.iter_mut().enumerate() {
            if !named.contains(&inode) {
                *file = Inode::default();
            }
        }
    }
}

impl Files for SimFiles {
    fn create(&self, path: &Path) -> Result<Box<dyn FileWriter>, StoreError> {
        if self.node("create", path).is_ok() {
            return Err(files::io("create", path)(io::ErrorKind::AlreadyExists.into()));
        }
        assert_eq!(self.node("create", path.parent().expect("a directory"))?, Node::Dir);
        self.change("create", path, |disk| {
            disk.inodes.push(Inode::default());
            vec![(path.to_path_buf(), Some(Node::File(disk.inodes.len() - 1)))]
        })?;
        Ok(self.file(path)?)
    }

    fn append(&self, path: &Path) -> Result<Box<dyn FileWriter>, StoreError> {
        Ok(self.file(path)?)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn FileReader>, StoreError> {
        Ok(self.file(path)?)
    }

    fn list(&self, dir: &Path) -> Result<Vec<Entry>, StoreError> {
        let disk = self.disk();
        let inside = disk.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entries = inside.map(|(path, node)| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            match node {
                Node::Dir => Entry { name, is_dir: true, len: 0 },
                Node::File(inode) => {
                    Entry { name, is_dir: false, len: disk.inodes[*inode].bytes.len() as u64 }
                }
            }
        });
        Ok(entries.collect())
    }

    fn create_dir(&self, path: &Path) -> Result<(), StoreError> {
        if self.node("create", path).is_ok() {
            return Ok(());
        }
        if let Some(above) = path.parent() {
            self.create_dir(above)?;
        }
        self.change("create", path, |_| vec![(path.to_path_buf(), Some(Node::Dir))])
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        let node = self.node("rename", from)?;
        let change = vec![(from.to_path_buf(), None), (to.to_path_buf(), Some(node))];
        self.change("rename", from, |_| change)
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        self.node("remove", path)?;
        self.change("remove", path, |_| vec![(path.to_path_buf(), None)])
    }

    fn remove_dir(&self, path: &Path) -> Result<(), StoreError> {
        assert!(self.list(path)?.is_empty(), "only an empty directory is removed");
        self.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<(), StoreError> {
        self.node("sync", path)?;
        self.begin("sync", path).map_err(|(error, _)| error)?;
        let mut disk = self.disk();
        let concerns = |change: &NameChange| change.iter().any(|(p, _)| p.parent() == Some(path));
        let (now, later) = disk.pending.drain(..).partition(concerns);
        disk.pending = later;
        now.into_iter().for_each(|change| apply(&mut disk.lasting, change));
        Ok(())
    }
}

impl FileWriter for SimFile {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let begun = self.disk.begin("write", &self.path);
        if !matches!(begun, Err((_, false))) {
            let inode = &mut self.disk.disk().inodes[self.inode];
            inode.bytes.extend_from_slice(bytes);
            inode.unsynced.push(inode.bytes.len());
        }
        begun.map_err(|(error, _)| error)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.disk.begin("sync", &self.path).map_err(|(error, _)| error)?;
        let mut disk = self.disk.disk();
        let inode = &mut disk.inodes[self.inode];
        (inode.synced_len, inode.unsynced) = (inode.bytes.len(), Vec::new());
        Ok(())
    }
}

impl FileReader for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StoreError> {
        let disk = self.disk.disk();
        let bytes = &disk.inodes[self.inode].bytes;
        let from = usize::try_from(offset).expect("small files");
        let read = bytes.get(from..from + buffer.len());
        let read =
            read.ok_or_else(|| files::io("read", &self.path)(io::ErrorKind::UnexpectedEof.into()))?;
        buffer.copy_from_slice(read);
        Ok(())
    }

    fn file_len(&self) -> Result<u64, StoreError> {
        Ok(self.disk.disk().inodes[self.inode].bytes.len() as u64)
    }
}

impl Inode {
    fn after_power_cut(&self, lost: Lost, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.bytes[..self.synced_len].to_vec();
        for end in &self.unsynced {
            let from = bytes.len();
            let write = &self.bytes[from..*end];
            let is_last = Some(end) == self.unsynced.last();
            match lost {
                Lost::All => return bytes,
                Lost::Halves if is_last => bytes.extend(&write[..write.len() / 2]),
                Lost::Nothing | Lost::Halves => bytes.extend(write),
                Lost::Older if is_last => bytes.extend(write),
                Lost::Some(_) if random.coin() => bytes.extend(write),
                Lost::Some(_) if is_last => {}
                Lost::Older | Lost::Some(_) => bytes.resize(from + write.len(), 0),
            }
        }
        bytes
    }
}

/// What lies in a directory that was lost is lost.
fn drop_unreachable(names: &mut BTreeMap<PathBuf, Node>) {
    // A directory sorts before what it holds, so one pass is enough.
    let mut kept = BTreeMap::new();
    for (path, node) in std::mem::take(names) {
        let above = path.parent().expect("only the root has none");
        if above == Path::new("/") || kept.get(above) == Some(&Node::Dir) {
            kept.insert(path, node);
        }
    }
    *names = kept;
}

fn apply(names: &mut BTreeMap<PathBuf, Node>, change: NameChange) {
    for (path, node) in change {
        match node {
            Some(node) => names.insert(path, node),
            None => names.remove(&path),
        };
    }
}

struct Random(u64);

impl Random {
    fn coin(&mut self) -> bool {
        self.0 = xxh3_64(&self.0.to_le_bytes());
        self.0 & 1 == 1
    }
}

//! Cuts on loopback: whoever calls a node reaches a proxy of ours, which passes on what it hears, or holds it back.
//!
//! All processes have one address, so the proxy asks the kernel whose socket is at the other end: the processes are our
//! children, and their sockets stand in `/proc`. What is held back is passed on when the cut is healed, as TCP would send
//! it again. Who is none of them, such as the operator's command line, is never held back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Role;

/// Bytes that are passed on at a time.
const CHUNK_BYTES: usize = 16 << 10;

/// From whom, to whom.
type Way = (Role, Role);

/// The proxies before all nodes of a run. They end with the runtime.
#[derive(Clone, Debug)]
pub(crate) struct Proxies {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cuts: watch::Sender<BTreeSet<Way>>,
    /// Bytes that were held back on their way to a process.
    held: Mutex<BTreeMap<Role, u64>>,
    /// Which process is who.
    pids: Mutex<BTreeMap<u32, Role>>,
}

impl Proxies {
    /// None yet.
    pub(crate) fn new() -> Self {
        let (held, pids) = (Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { cuts: watch::Sender::default(), held, pids }) }
    }

    /// Passes on, from now on, what comes to a node to where it listens.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub(crate) fn stand_before(
        &self,
        node: Role,
        door: std::net::TcpListener,
        behind: SocketAddr,
    ) -> anyhow::Result<()> {
        door.set_nonblocking(true)?;
        let door = TcpListener::from_std(door)?;
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            // A socket that can take nobody now may later.
            loop {
                if let Ok((caller, from)) = door.accept().await {
                    tokio::spawn(Arc::clone(&shared).pass_on(caller, from, (node, behind)));
                }
            }
        });
        Ok(())
    }

    /// A process runs, under this id.
    pub(crate) fn know(&self, role: Role, pid: u32) {
        self.shared.pids().insert(pid, role);
    }

    /// From now on `to` hears nothing of `from`.
    pub(crate) fn cut(&self, from: Role, to: Role) {
        self.shared.cuts.send_modify(|cuts| cuts.extend([(from, to)]));
    }

    /// How many bytes have been held back on their way to a process so far.
    pub(crate) fn held(&self, to: Role) -> u64 {
        self.shared.held().get(&to).copied().unwrap_or(0)
    }

    /// A process hears everybody again; what was held back is not counted any more.
    pub(crate) fn heal(&self, to: Role) {
        self.shared.cuts.send_modify(|cuts| cuts.retain(|(_, other)| *other != to));
        self.shared.held().remove(&to);
    }
}

impl Shared {
    async fn pass_on(
        self: Arc<Self>,
        caller: TcpStream,
        from: SocketAddr,
        (node, behind): (Role, SocketAddr),
    ) {
        let door = caller.local_addr().map_or(0, |door| door.port());
        let who = self.who((from.port(), door));
        if let Some(who) = who {
            // Whoever begins while he is cut off waits like everybody else.
            self.until_whole((who, node), 0).await;
            self.until_whole((node, who), 0).await;
        }
        let Ok(callee) = TcpStream::connect(behind).await else { return };
        let _ = (caller.set_nodelay(true), callee.set_nodelay(true));
        let (mut from_caller, mut to_caller) = caller.into_split();
        let (mut from_callee, mut to_callee) = callee.into_split();
        let there = who.map(|who| (who, node));
        let back = who.map(|who| (node, who));
        // When one direction ends, the other has nobody to talk to.
        tokio::select! {
            () = self.pump(&mut from_caller, &mut to_callee, there) => {}
            () = self.pump(&mut from_callee, &mut to_caller, back) => {}
        }
    }

    async fn pump(
        &self,
        from: &mut tokio::net::tcp::OwnedReadHalf,
        to: &mut tokio::net::tcp::OwnedWriteHalf,
        way: Option<Way>,
    ) {
        let mut chunk = vec![0_u8; CHUNK_BYTES];
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            if let Some(way) = way {
                self.until_whole(way, u64::try_from(read).unwrap_or(0)).await;
            }
            let Some(bytes) = chunk.get(..read) else { return };
            if to.write_all(bytes).await.is_err() {
                return;
            }
        }
    }

    /// Waits as long as a way is cut.
    async fn until_whole(&self, way: Way, bytes: u64) {
        let mut cuts = self.cuts.subscribe();
        if !cuts.borrow().contains(&way) {
            return;
        }
        {
            let mut held = self.held();
            let of = held.entry(way.1).or_default();
            *of = of.saturating_add(bytes.max(1));
        }
        // The sender lives as long as we do.
        let _ = cuts.wait_for(|cuts| !cuts.contains(&way)).await;
    }

    /// Whose socket goes from one of these ports to the other.
    fn who(&self, ports: (u16, u16)) -> Option<Role> {
        let inode = inode(&std::fs::read_to_string("/proc/net/tcp").ok()?, ports)?;
        let socket = format!("socket:[{inode}]");
        let pids = self.pids().clone();
        let has = |pid: &u32| {
            let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
            let mut links = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
            links.any(|link| link.to_string_lossy() == socket)
        };
        pids.into_iter().find(|(pid, _)| has(pid)).map(|(_, role)| role)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeMap<Role, u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pids(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Role>> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The inode of the socket with these ports, its own and the other one's, from what `/proc/net/tcp` says. Another one to
/// somebody else may have the same port of its own, and one that has ended has no inode any more.
fn inode(table: &str, (local, remote): (u16, u16)) -> Option<u64> {
    let (local, remote) = (format!(":{local:04X}"), format!(":{remote:04X}"));
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let ends = words.next()?.ends_with(&local) && words.next()?.ends_with(&remote);
        words.nth(6).filter(|_| ends)?.parse().ok().filter(|inode| *inode != 0)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_socket_is_found_in_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1F90 0100007F:9C41 01 00000000:00000000 00:00000000 00000000     0        0 4710 1 x\n   \
                     1: 0100007F:1F90 0100007F:9C40 06 00000000:00000000 00:00000000 00000000     0        0 0 1 x\n   \
                     2: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 x\n";
        assert_eq!(inode(table, (0x1F90, 0x9C40)), Some(4_711));
        assert_eq!(inode(table, (0x9C40, 0x1F90)), None);
    }

    /// What one says to the other passes, is held back while they are cut, in that direction alone, and arrives after.
    #[tokio::test]
    async fn a_cut_holds_back_one_direction_until_it_is_healed() {
        let behind = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = door.local_addr().unwrap();
        let proxies = Proxies::new();
        let (one, other) = (Role::Gateway(1), Role::Node(1));
        proxies.know(one, std::process::id());
        proxies.stand_before(other, door, behind.local_addr().unwrap()).unwrap();
        let mut caller = TcpStream::connect(address).await.unwrap();
        let (mut callee, _) = behind.accept().await.unwrap();
        let mut byte = [0_u8];
        caller.write_all(b"a").await.unwrap();
        assert_eq!((callee.read(&mut byte).await.unwrap(), byte), (1, *b"a"));
        proxies.cut(one, other);
        caller.write_all(b"b").await.unwrap();
        callee.write_all(b"c").await.unwrap();
        assert_eq!((caller.read(&mut byte).await.unwrap(), byte), (1, *b"c"));
        let held = async {
            while proxies.held(other) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), held).await.unwrap();
        proxies.heal(other);
        assert_eq!((callee.read(&mut byte).await.unwrap(), byte), (1, *b"b"));
    }
}

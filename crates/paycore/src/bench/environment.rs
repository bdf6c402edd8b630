//! `env.json`: on what a run ran. A number without it means nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// What a run ran on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Environment {
    paycore: &'static str,
    profile: &'static str,
    git_commit: Option<String>,
    cpu_model: Option<String>,
    cores: usize,
    memory_bytes: Option<u64>,
    kernel: Option<String>,
    file_system: Option<String>,
    load_average: Option<String>,
    started: String,
    command: Vec<String>,
}

impl Environment {
    /// As it is now. `dir` is where the data goes.
    pub(super) fn gather(dir: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        let first_line = |path: &str| read(path).map(|text| text.trim().to_owned());
        Self {
            paycore: env!("CARGO_PKG_VERSION"),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
            git_commit: git_commit(),
            cpu_model: read("/proc/cpuinfo").and_then(|text| field(&text, "model name")),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            memory_bytes: read("/proc/meminfo").and_then(|text| memory(&text)),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            file_system: read("/proc/mounts").and_then(|mounts| file_system(&mounts, dir)),
            load_average: first_line("/proc/loadavg"),
            started: jiff::Timestamp::now().to_string(),
            command: std::env::args().collect(),
        }
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn memory(meminfo: &str) -> Option<u64> {
    let kib: u64 = field(meminfo, "MemTotal")?.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1_024)
}

/// The type of the file system whose mount point is the longest one above `dir`.
fn file_system(mounts: &str, dir: &Path) -> Option<String> {
    let dir = fs::canonicalize(dir).ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        Some((words.next()?, words.next()?))
    });
    let above = mounts.filter(|(point, _)| dir.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned())
}

/// The commit of the work tree that we are in, if we are in one.
fn git_commit() -> Option<String> {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let is_clean = git(&["status", "--porcelain"]).is_some_and(|changes| changes.is_empty());
    Some(if is_clean { commit } else { format!("{commit} with changes") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "a / ext4 rw 0 0\nb /proc proc rw 0 0\nc /proc/self tmpfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/")).as_deref(), Some("ext4"));
        assert_eq!(file_system(mounts, Path::new("/proc/sys")).as_deref(), Some("proc"));
    }

    #[test]
    fn the_machine_is_described() {
        assert_eq!(
            field("model name\t: Some CPU @ 2 GHz\n", "model name").as_deref(),
            Some("Some CPU @ 2 GHz")
        );
        assert_eq!(memory("MemTotal:       1024 kB\n"), Some(1 << 20));
        assert!(Environment::gather(Path::new(".")).cores > 0);
    }
}

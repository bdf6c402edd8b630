//! A child process: started, killed, started again, and what it used in all its lives.
//!
//! It ends with us: when its owner is dropped it is killed; and because a killed owner drops nothing, it is told whose
//! child it is ([`follow_parent`]) and asks the kernel to be killed with its parent.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

/// Names the parent to a child that is to end with it.
const PARENT: &str = "PAYCORE_PARENT";

/// How often a process that was asked to stop is looked at.
const STOP_LOOK: Duration = Duration::from_millis(20);

/// How long a process may take to stop: as long as SIGTERM grants it anywhere.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Parts of a second in which the kernel counts CPU time towards programs, on every Linux of today.
const TICK_MS: u64 = 10;

/// Ends this process with its parent, if the parent said so when it started us. To be called first of all.
///
/// # Errors
/// When the parent is gone already.
pub(crate) fn follow_parent() -> anyhow::Result<()> {
    let Ok(parent) = std::env::var(PARENT) else { return Ok(()) };
    set_parent_process_death_signal(Some(Signal::KILL)).context("asking to end with the parent")?;
    // It may have died before we asked.
    let now = getppid().map(|pid| pid.as_raw_pid().to_string());
    anyhow::ensure!(
        now.as_deref() == Some(parent.as_str()),
        "the process that started this one is gone"
    );
    Ok(())
}

/// What a process used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// CPU, of all threads, in milliseconds.
    pub(super) cpu_ms: u64,
    /// The most memory it had at a time, in bytes.
    pub(super) rss_max: u64,
}

impl Usage {
    /// What a living process has used so far.
    pub(super) fn of(pid: u32) -> Self {
        let read =
            |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        Self { cpu_ms: cpu_ms(&read("stat")), rss_max: rss_max(&read("status")) }
    }

    /// What this process has used so far.
    pub(super) fn of_self() -> Self {
        Self::of(std::process::id())
    }

    /// Two lives of one process.
    fn and(self, other: Self) -> Self {
        Self {
            cpu_ms: self.cpu_ms.saturating_add(other.cpu_ms),
            rss_max: self.rss_max.max(other.rss_max),
        }
    }
}

/// User and system time, the 14th and 15th field. The second is a name that may contain anything but ends with the
/// last parenthesis.
fn cpu_ms(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok());
    ticks.sum::<u64>().saturating_mul(TICK_MS)
}

fn rss_max(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1_024)
}

/// A program with its arguments, and the process that runs it, if any.
#[derive(Debug)]
pub(super) struct Process {
    program: PathBuf,
    args: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    past: Usage,
    /// How earlier lives ended that nobody had asked to end.
    crashes: Vec<ExitStatus>,
}

impl Process {
    /// A program that does not run yet. What it writes goes to the end of `log`.
    pub(super) const fn new(program: PathBuf, args: Vec<String>, log: PathBuf) -> Self {
        let past = Usage { cpu_ms: 0, rss_max: 0 };
        Self { program, args, log, child: None, past, crashes: Vec::new() }
    }

    /// Starts it, and gives its id.
    pub(super) fn start(&mut self) -> anyhow::Result<u32> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.program)
            .args(&self.args)
            .env(PARENT, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let pid = child.id();
        self.child = Some(child);
        Ok(pid)
    }

    /// Its id while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What it used in all its lives.
    pub(super) fn usage(&self) -> Usage {
        self.past.and(self.pid().map(Usage::of).unwrap_or_default())
    }

    /// How it ended whenever it ended by itself.
    pub(super) fn died(&mut self) -> Vec<ExitStatus> {
        let now = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        self.crashes.iter().copied().chain(now).collect()
    }

    /// Kills it, and waits until it is gone. Gives the id that it had.
    pub(super) fn kill(&mut self) -> anyhow::Result<Option<u32>> {
        self.past = self.usage();
        let Some(mut child) = self.child.take() else { return Ok(None) };
        if let Some(crash) = child.try_wait()? {
            self.crashes.push(crash);
            return Ok(None);
        }
        child.kill()?;
        child.wait()?;
        Ok(Some(child.id()))
    }

    /// Asks it to stop.
    pub(super) fn ask_to_stop(&self) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // One that is gone already has stopped.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits until it has stopped; kills it when that takes too long. Says how it ended.
    pub(super) async fn stopped(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.past = self.usage();
        let Some(mut child) = self.child.take() else { return Ok(None) };
        let waiting = async {
            loop {
                if let Some(status) = child.try_wait()? {
                    return anyhow::Ok(status);
                }
                tokio::time::sleep(STOP_LOOK).await;
            }
        };
        match tokio::time::timeout(STOP_MAX, waiting).await {
            Ok(status) => Ok(Some(status?)),
            Err(_) => {
                child.kill()?;
                Ok(Some(child.wait()?))
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // One that is gone already needs no killing.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 250 31 0 0 20 0 1 0 5000 1 1";
        assert_eq!(cpu_ms(stat), 2_810);
        assert_eq!(rss_max("Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t 1 kB\n"), 2 << 20);
        assert_eq!((cpu_ms(""), rss_max("")), (0, 0));
        assert!(Usage::of_self().rss_max > 0);
    }

    #[test]
    fn a_process_has_several_lives() {
        let dir = tempfile::tempdir().unwrap();
        let args = vec!["1000".to_owned()];
        let mut sleep = Process::new("sleep".into(), args, dir.path().join("log"));
        let first = sleep.start().unwrap();
        assert!(sleep.died().is_empty());
        assert_eq!(sleep.kill().unwrap(), Some(first));
        assert_eq!(sleep.kill().unwrap(), None);
        let second = sleep.start().unwrap();
        assert_ne!(first, second);
        assert!(sleep.died().is_empty(), "it was told to end");
        drop(sleep);
        assert!(!std::path::Path::new(&format!("/proc/{second}")).exists());
    }
}

//! A child process: started, killed, paused, started again; and what the kernel says of it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// Names the parent to a process of `paycore` that is to end with it.
const PARENT: &str = "PAYCORE_PARENT";

/// How long a process may take to stop.
const STOP_MAX: Duration = Duration::from_secs(30);

/// How often it is looked at meanwhile.
const STOP_LOOK: Duration = Duration::from_millis(20);

/// A program with its arguments, and the process that runs it, if any. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Process {
    words: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
    deaths: Vec<String>,
}

impl Process {
    /// A program that does not run yet. What it writes goes to the end of `log`.
    pub(crate) const fn new(
        words: Vec<String>,
        environment: Vec<(String, String)>,
        log: PathBuf,
    ) -> Self {
        Self { words, environment, log, child: None, deaths: Vec::new() }
    }

    /// Starts it, unless it runs. Gives its id.
    pub(crate) fn start(&mut self) -> anyhow::Result<u32> {
        self.look();
        if let Some(pid) = self.pid() {
            return Ok(pid);
        }
        let (program, args) = self.words.split_first().context("a command has a name")?;
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(program)
            .args(args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env(PARENT, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let pid = child.id();
        self.child = Some(child);
        Ok(pid)
    }

    /// Its id while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Its state, one letter: `R`, `S`, `D`, `T` for stopped, `Z` for dead.
    pub(crate) fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?)).ok()?;
        state(&stat)
    }

    /// Kills it, and waits until it is gone. Gives the id that it had.
    pub(crate) fn kill(&mut self) -> anyhow::Result<Option<u32>> {
        self.look();
        let Some(mut child) = self.child.take() else { return Ok(None) };
        child.kill()?;
        child.wait()?;
        Ok(Some(child.id()))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        kill_process(pid.context("it does not run")?, signal).context("sending a signal")
    }

    /// Asks it to stop, and waits; kills it when that takes too long.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.look();
        if self.child.is_none() {
            return Ok(());
        }
        self.signal(Signal::TERM)?;
        let began = Instant::now();
        while let Some(child) = &mut self.child {
            if child.try_wait()?.is_some() {
                self.child = None;
            } else if began.elapsed() > STOP_MAX {
                self.deaths.push("did not stop when it was asked to".to_owned());
                self.kill()?;
            } else {
                tokio::time::sleep(STOP_LOOK).await;
            }
        }
        Ok(())
    }

    /// How it ended whenever it ended by itself.
    pub(crate) fn deaths(&mut self) -> &[String] {
        self.look();
        &self.deaths
    }

    /// The same, and they are forgotten: it was made to.
    pub(crate) fn forgive(&mut self) -> Vec<String> {
        self.look();
        std::mem::take(&mut self.deaths)
    }

    /// How much it has written to its log.
    pub(crate) fn log_len(&self) -> usize {
        std::fs::read(&self.log).map_or(0, |text| text.len())
    }

    /// What it has written to its log since that had this length.
    pub(crate) fn said_since(&self, len: usize) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(text.get(len..).unwrap_or_default()).into_owned()
    }

    /// Its log.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Notices when it has ended by itself.
    fn look(&mut self) {
        let ended: Option<ExitStatus> =
            self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        if let Some(status) = ended {
            self.child = None;
            self.deaths.push(status.to_string());
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

/// The third field; the second is a name in parentheses that may contain anything.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_paused_goes_on_and_dies() {
        let dir = tempfile::tempdir().unwrap();
        let words = vec!["sleep".to_owned(), "1000".to_owned()];
        let mut sleep = Process::new(words, Vec::new(), dir.path().join("log"));
        let first = sleep.start().unwrap();
        assert_eq!(sleep.start().unwrap(), first);
        sleep.signal(Signal::STOP).unwrap();
        while sleep.state() != Some('T') {
            std::thread::yield_now();
        }
        sleep.signal(Signal::CONT).unwrap();
        assert_eq!(sleep.kill().unwrap(), Some(first));
        assert_ne!(sleep.start().unwrap(), first);
        assert!(sleep.deaths().is_empty(), "it was told to end");
        assert_eq!(state("42 (a) b (c) T 1 42"), Some('T'));
    }
}

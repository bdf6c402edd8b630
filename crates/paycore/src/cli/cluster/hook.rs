//! What an operator says is to be run on this machine, so that a node restarts.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::exit::{Failure, IO};

/// How often a command that runs is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A command line for the shell, in which `{node}`, `{host}` and `{address}` stand for the node's.
#[derive(Clone, Debug)]
pub(super) struct Hook(String);

/// The shell while it runs. Dropped, it is killed.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Who has ended by himself cannot be killed any more.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Hook {
    pub(super) const fn new(words: String) -> Self {
        Self(words)
    }

    /// Runs it for a node, and waits until it has ended. What it says goes where words go.
    ///
    /// # Errors
    /// When it fails, or has not ended in time; and when the node's address is not made of what addresses are made of:
    /// it comes from the cluster, and the shell would read it.
    pub(super) async fn run(
        &self,
        node: u64,
        address: &str,
        until: Instant,
    ) -> Result<(), Failure> {
        let words = self.words(node, address)?;
        let failed = |why: String| Failure::new(IO, format!("the hook for node {node} {why}"));
        let mut command = Command::new("sh");
        command.args(["-c", &words]).stdin(Stdio::null()).stdout(std::io::stderr());
        let spawned = command.spawn().map_err(|why| failed(format!("cannot be run: {why}")))?;
        let mut running = Running(spawned);
        loop {
            match running.0.try_wait().map_err(|why| failed(format!("is lost: {why}")))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(failed(format!("failed: {status}"))),
                None if Instant::now() >= until => return Err(failed("does not end".to_owned())),
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    fn words(&self, node: u64, address: &str) -> Result<String, Failure> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        if !address.bytes().all(is_plain) {
            return Err(Failure::usage(format!("node {node} listens on no address: {address:?}")));
        }
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let words = self.0.replace("{node}", &node.to_string()).replace("{host}", host);
        Ok(words.replace("{address}", address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_told_whom_it_is_for() {
        let hook = Hook::new("ssh {host} systemctl restart paycore-node@{node} # {address}".into());
        let words = |address| hook.words(2, address);
        assert_eq!(
            words("n2.example.com:7100").unwrap(),
            "ssh n2.example.com systemctl restart paycore-node@2 # n2.example.com:7100"
        );
        assert!(words("[fd00::2]:7100").unwrap().starts_with("ssh fd00::2 "));
        for address in ["$(reboot):7100", "a;b:7100", "a b:7100", "`x`:1", "a\n:1"] {
            assert!(words(address).is_err(), "{address}");
        }
    }

    #[tokio::test]
    async fn a_hook_that_fails_or_hangs_is_a_failure() {
        let soon = || Instant::now() + Duration::from_secs(60);
        let run = async |words: &str, until| Hook::new(words.into()).run(1, "h:1", until).await;
        assert_eq!(run("test {node} = 1", soon()).await, Ok(()));
        assert!(run("exit 3", soon()).await.unwrap_err().message().contains("failed"));
        let now = Instant::now();
        assert!(run("sleep 600", now).await.unwrap_err().message().contains("does not end"));
        assert!(now.elapsed() < Duration::from_secs(60), "it was killed");
    }
}

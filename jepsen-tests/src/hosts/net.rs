//! Network namespaces: one for each process, joined by a bridge in one more, the *hub*, where the tester itself runs.
//!
//! So no packet of a run touches the machine's own network, and two runs never meet. Names begin with `jp` and the
//! tester's process id: whoever starts later removes what a tester left that is no more. With a network namespace goes one
//! of mounts; on loopback, whoever may has that alone.
//!
//! A cut is a rule that drops packets where they arrive; the kernel counts what it drops.

use std::path::Path;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tokio::signal::unix::SignalKind;

use super::Role;
use super::shell::{run, works};

/// What every namespace of ours is called at the beginning.
const PREFIX: &str = "jp";

/// Tells the tester in the hub what its namespaces are called; on loopback, where it has only a namespace of mounts, nothing.
const HUB: &str = "PAYCORE_JEPSEN_NET";

/// The namespaces of a run.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    prefix: String,
}

impl Net {
    /// Makes a hub, after removing what others left.
    ///
    /// # Errors
    /// When this machine, or this user, may not.
    pub(crate) fn make() -> anyhow::Result<Self> {
        sweep();
        let net = Self { prefix: format!("{PREFIX}{}", std::process::id()) };
        let hub = net.hub();
        run(&["ip", "netns", "add", &hub])?;
        let made = || {
            run(&["ip", "-n", &hub, "link", "set", "lo", "up"])?;
            run(&["ip", "-n", &hub, "link", "add", "br0", "type", "bridge"])?;
            run(&["ip", "-n", &hub, "addr", "add", "10.77.0.254/24", "dev", "br0"])?;
            run(&["ip", "-n", &hub, "link", "set", "br0", "up"])?;
            run(&["ip", "netns", "exec", &hub, "iptables", "-w", "-L", "-n"])
        };
        if let Err(why) = made() {
            net.remove();
            return Err(why);
        }
        Ok(net)
    }

    /// Where the tester runs.
    pub(crate) fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }

    /// Where a process runs.
    pub(crate) fn of(&self, role: Role) -> String {
        format!("{}-{role}", self.prefix)
    }

    /// Makes a namespace for a process, on the bridge.
    ///
    /// # Errors
    /// When a command fails.
    pub(crate) fn join(&self, role: Role) -> anyhow::Result<()> {
        let (hub, own, end) = (self.hub(), self.of(role), format!("to-{role}"));
        run(&["ip", "netns", "add", &own])?;
        // An earlier run's may still be about to go with its namespace.
        let _ = works(&["ip", "-n", &hub, "link", "del", &end]);
        run(&[
            "ip", "-n", &hub, "link", "add", &end, "type", "veth", "peer", "name", "eth0", "netns",
            &own,
        ])?;
        run(&["ip", "-n", &hub, "link", "set", &end, "master", "br0", "up"])?;
        let address = format!("{}/24", ip(role));
        run(&["ip", "-n", &own, "addr", "add", &address, "dev", "eth0"])?;
        run(&["ip", "-n", &own, "link", "set", "eth0", "up"])?;
        run(&["ip", "-n", &own, "link", "set", "lo", "up"])?;
        Ok(())
    }

    /// From now on `to` hears nothing of `from`.
    ///
    /// # Errors
    /// When a command fails.
    pub(crate) fn cut(&self, from: Role, to: Role) -> anyhow::Result<()> {
        self.tables(to, &["-A", "INPUT", "-s", &ip(from), "-j", "DROP"]).map(drop)
    }

    /// From now on `to` loses so many of a hundred packets of `from`.
    ///
    /// # Errors
    /// When a command fails.
    pub(crate) fn lose(&self, from: Role, to: Role, percent: u64) -> anyhow::Result<()> {
        let probability = format!("0.{percent:02}");
        let words = ["-A", "INPUT", "-s", &ip(from), "-m", "statistic", "--mode", "random"];
        let more = ["--probability", probability.as_str(), "-j", "DROP"];
        self.tables(to, &[words.as_slice(), &more].concat()).map(drop)
    }

    /// How many packets a process's rules have dropped so far.
    ///
    /// # Errors
    /// When a command fails.
    pub(crate) fn dropped(&self, at: Role) -> anyhow::Result<u64> {
        Ok(dropped(&self.tables(at, &["-L", "INPUT", "-n", "-v", "-x"])?))
    }

    /// Everybody hears everybody again.
    ///
    /// # Errors
    /// When a command fails.
    pub(crate) fn heal(&self, at: Role) -> anyhow::Result<()> {
        self.tables(at, &["-F", "INPUT"])?;
        let own = self.of(at);
        // Without a discipline of ours there is none to remove.
        let _ = works(&["tc", "-n", &own, "qdisc", "del", "dev", "eth0", "root"]);
        Ok(())
    }

    /// Whatever a process sends comes late, and some of it out of order where the kernel can do that. Says how.
    ///
    /// # Errors
    /// When the kernel can delay nothing.
    pub(crate) fn delay(&self, at: Role) -> anyhow::Result<&'static str> {
        let own = self.of(at);
        let words = ["tc", "-n", &own, "qdisc", "add", "dev", "eth0", "root"];
        let netem = ["netem", "delay", "80ms", "60ms", "reorder", "25%", "50%"];
        if works(&[words.as_slice(), &netem].concat()) {
            return Ok("netem delay 80ms 60ms reorder 25%");
        }
        // A bottleneck makes queues, and queues make packets late, and lost.
        let bucket = ["tbf", "rate", "600kbit", "burst", "8kb", "latency", "400ms"];
        run(&[words.as_slice(), &bucket].concat())?;
        Ok("tbf rate 600kbit latency 400ms (this kernel has no netem: no reordering)")
    }

    /// How often a process's packets had to wait, or were dropped for waiting too long.
    ///
    /// # Errors
    /// When a command fails.
    pub(crate) fn delayed(&self, at: Role) -> anyhow::Result<(u64, String)> {
        let text = run(&["tc", "-n", &self.of(at), "-s", "qdisc", "show", "dev", "eth0"])?;
        Ok((delayed(&text), text.split_whitespace().collect::<Vec<_>>().join(" ")))
    }

    fn tables(&self, at: Role, words: &[&str]) -> anyhow::Result<String> {
        let own = self.of(at);
        run(&[["ip", "netns", "exec", &own, "iptables", "-w"].as_slice(), words].concat())
    }

    /// Removes the processes' namespaces; the hub stays for the next run.
    pub(crate) fn empty(&self) {
        let hub = self.hub();
        remove_all(&|name| name.starts_with(&format!("{}-", self.prefix)) && name != hub);
    }

    /// Removes everything.
    pub(crate) fn remove(&self) {
        remove_all(&|name| name.starts_with(&format!("{}-", self.prefix)));
    }
}

/// A process's address.
pub(crate) fn ip(role: Role) -> String {
    match role {
        Role::Node(id) => format!("10.77.0.{id}"),
        Role::Gateway(number) => format!("10.77.0.{}", number.saturating_add(100)),
    }
}

/// Packets dropped, from what `iptables -L -n -v -x` says: the first column of each rule.
fn dropped(text: &str) -> u64 {
    let rules = text.lines().filter(|line| line.contains("DROP") && !line.contains("policy"));
    let packets = rules.filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    packets.fold(0, u64::saturating_add)
}

/// Packets dropped or held back, from what `tc -s qdisc` says.
fn delayed(text: &str) -> u64 {
    let number = |after: &str| {
        let (_, rest) = text.split_once(after)?;
        let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().ok()
    };
    // A token bucket counts what had to wait; netem delays all that it sends.
    let waited = number("overlimits").unwrap_or(0);
    let sent = if text.contains("netem") { number("bytes").unwrap_or(0) } else { 0 };
    waited.saturating_add(number("dropped").unwrap_or(0)).saturating_add(sent)
}

/// Removes what testers left who are no more.
fn sweep() {
    remove_all(&|name| {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        let pid = pid.filter(|(pid, _)| pid.parse::<u32>().is_ok());
        pid.is_some_and(|(pid, _)| !Path::new("/proc").join(pid).exists())
    });
}

fn remove_all(which: &dyn Fn(&str) -> bool) {
    let all = run(&["ip", "netns", "list"]).unwrap_or_default();
    let names = all.lines().filter_map(|line| line.split_whitespace().next());
    for name in names.filter(|name| which(name)) {
        // One that somebody else removes meanwhile is gone all the same.
        let _ = works(&["ip", "netns", "del", name]);
    }
}

/// Why namespaces cannot be had, in words; `None` when they can.
pub(crate) fn obstacle() -> Option<String> {
    let tools = ["ip", "iptables", "tc"];
    let missing: Vec<&str> = tools.into_iter().filter(|tool| !works(&["which", tool])).collect();
    if !missing.is_empty() {
        return Some(format!("no {} here", missing.join(", ")));
    }
    let is_root = rustix::process::geteuid().is_root();
    (!is_root).then(|| "only root may make network namespaces".to_owned())
}

/// Whether this process was started in namespaces by another of this program, and in which; `None` when it was not. It
/// ends with whoever made them, and so do its children: nobody runs in namespaces that a later tester may remove.
///
/// # Errors
/// When the kernel does not promise that.
pub(crate) fn inherited() -> anyhow::Result<Option<Option<Net>>> {
    let Ok(prefix) = std::env::var(HUB) else { return Ok(None) };
    set_parent_process_death_signal(Some(Signal::KILL)).context("asking to end with the parent")?;
    Ok(Some((!prefix.is_empty()).then_some(Net { prefix })))
}

/// Runs this same program in the hub, or on loopback with mounts of its own, and gives its exit code. Whoever interrupts
/// this one interrupts that one, which ends in good order.
///
/// # Errors
/// When it cannot be started.
pub(crate) async fn again_in(net: Option<&Net>) -> anyhow::Result<u8> {
    let own = std::env::current_exe().context("finding this program")?;
    let hub = net.map(Net::hub);
    let words = match &hub {
        Some(hub) => vec!["ip", "netns", "exec", hub],
        None => vec!["unshare", "--mount", "--propagation", "private"],
    };
    let (program, args) = words.split_first().context("a command has a name")?;
    let mut child = tokio::process::Command::new(program)
        .args(args)
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(HUB, net.map_or("", |net| &net.prefix))
        .spawn()
        .with_context(|| format!("running {program}"))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            // One that has ended meanwhile needs no telling.
            () = interrupted() => drop(pid.map(|pid| kill_process(pid, Signal::TERM))),
        }
    };
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2))
}

/// Waits until somebody asks this process to end.
pub(crate) async fn interrupted() {
    let asked = |kind| tokio::signal::unix::signal(kind).ok();
    let (interrupt, terminate) = (asked(SignalKind::interrupt()), asked(SignalKind::terminate()));
    let (Some(mut interrupt), Some(mut terminate)) = (interrupt, terminate) else {
        // Without handlers the signals end it at once.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_counted_is_read() {
        let text = "Chain INPUT (policy ACCEPT 9 packets, 1 bytes)\n    pkts      bytes target\n      \
                    12      720 DROP       0    --  *      *       10.77.0.1   0.0.0.0/0\n       3  \
                    180 DROP       0    --  *      *       10.77.0.2   0.0.0.0/0\n";
        assert_eq!(dropped(text), 15);
        let text = "qdisc tbf 8001: root rate 600Kbit\n Sent 77 bytes 3 pkt (dropped 2, overlimits 5 requeues 0)";
        assert_eq!(delayed(text), 7);
    }
}

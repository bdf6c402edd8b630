//! What systemd is told (`sd_notify(3)`): ready, stopping, and, again and again, that the serving thread still turns.
//!
//! One datagram a message to the socket that systemd names; without one, nothing. That is the whole protocol.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::pulse::Pulse;

/// Whoever started the process, if it wants to be told how it goes.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants a sign of life, at the least.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Nobody.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// As the environment says.
    pub(crate) fn of_environment() -> Self {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Self::none() };
        let socket = open(path.as_bytes())
            .inspect_err(|why| tracing::warn!(%why, "systemd's socket cannot be used"))
            .ok();
        let for_us =
            std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let watchdog = std::env::var("WATCHDOG_USEC").ok().filter(|_| for_us);
        let watchdog = watchdog.and_then(|written| written.parse().ok()).map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// The doors are open.
    pub(crate) fn ready(&self) {
        self.say("READY=1\nSTATUS=serving");
    }

    /// The process was asked to stop.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=handing over and flushing");
    }

    /// A handle with which the serving thread speaks, while the admin thread keeps the watchdog quiet.
    pub(crate) fn share(&self) -> Self {
        let socket = self.socket.as_ref();
        let socket = socket.and_then(|(socket, to)| Some((socket.try_clone().ok()?, to.clone())));
        Self { socket, watchdog: self.watchdog }
    }

    /// Gives a sign of life three times per period, as long as the serving thread gives one.
    pub(super) async fn watch(&self, pulse: &Pulse) {
        let Some(period) = self.watchdog.filter(|period| !period.is_zero()) else {
            return std::future::pending().await;
        };
        let every = period.checked_div(3).unwrap_or(period);
        loop {
            if pulse.ask().await.is_some() {
                self.say("WATCHDOG=1");
            }
            tokio::time::sleep(every).await;
        }
    }

    fn say(&self, what: &str) {
        if let Some((socket, to)) = &self.socket
            && let Err(why) = socket.send_to_addr(what.as_bytes(), to)
        {
            tracing::warn!(%why, "systemd cannot be told");
        }
    }
}

fn open(path: &[u8]) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::path::Path::new(std::ffi::OsStr::from_bytes(path)))?,
    };
    let socket = UnixDatagram::unbound()?;
    // A supervisor that does not read must not hold up whoever serves.
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_arrives_at_a_path_and_at_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("@paycore-notify-{}", std::process::id());
        let abstracted = SocketAddr::from_abstract_name(name.trim_start_matches('@')).unwrap();
        for (written, heard) in [
            (path.as_os_str().as_bytes(), UnixDatagram::bind(&path).unwrap()),
            (name.as_bytes(), UnixDatagram::bind_addr(&abstracted).unwrap()),
        ] {
            let supervisor = Supervisor { socket: Some(open(written).unwrap()), watchdog: None };
            supervisor.share().ready();
            supervisor.stopping();
            let mut bytes = [0; 100];
            let len = heard.recv(&mut bytes).unwrap();
            assert!(bytes[..len].starts_with(b"READY=1"));
            let len = heard.recv(&mut bytes).unwrap();
            assert!(bytes[..len].starts_with(b"STOPPING=1"));
        }
        Supervisor::none().ready();
    }
}

//! The admin port: is the process alive, may it be sent work, and how does it do.
//!
//! Everything here runs on a thread of its own with a runtime of its own, so that whoever asks, however often, costs
//! the thread that serves nothing but one short answer. What belongs to that thread is not read behind its back: the
//! admin thread asks (`pulse.rs`), and the serving thread answers between two of its turns, in a few microseconds. So
//! an answer is also a proof: `/livez`, and systemd's watchdog, mean that the thread that moves money still turns.
//!
//! - **Invariant:** connections, their time and their bytes have bounds; a scrape can be slow, never in the way.

mod http;
mod metrics;
mod notify;
mod process;
mod pulse;
pub(crate) mod series;
mod trace;

use std::net::TcpListener;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::config::Trace;
use crate::exit::Failure;

pub(crate) use metrics::Metrics;
pub(crate) use notify::Supervisor;
pub(crate) use process::{flag, float};
pub(crate) use pulse::{Pulse, Reading, Sample, answer};

/// The admin thread. Dropped, it ends.
pub(crate) struct Admin {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    traces: trace::Traces,
}

/// What a process says about itself, and where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ports {
    /// Its admin port, if it has one.
    pub(crate) admin: Option<String>,
    /// Where its traces go.
    pub(crate) trace: Trace,
}

impl Admin {
    /// Opens the admin port, if there is to be one, and starts to look after the process.
    ///
    /// # Errors
    /// When an address cannot be had.
    pub(crate) fn open(
        ports: &Ports,
        metrics: Metrics,
        pulse: Pulse,
        supervisor: Supervisor,
    ) -> Result<Self, Failure> {
        let address = ports.admin.as_deref();
        let listener = address.map(listen).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|why| Failure::io("the admin runtime", &why))?;
        let entered = runtime.enter();
        let traces = trace::Traces::begin(&ports.trace, metrics.about())?;
        drop(entered);
        let (stop, stopped) = oneshot::channel::<()>();
        let work = async move {
            let port = http::serve(listener, metrics.clone(), pulse.clone());
            let ended = async {
                let _ = stopped.await;
            };
            tokio::select! {
                () = port => {}
                () = metrics.keep() => {}
                () = supervisor.watch(&pulse) => {}
                () = ended => {}
            }
        };
        let thread = std::thread::Builder::new().name("admin".to_owned());
        let thread = thread
            .spawn(move || runtime.block_on(work))
            .map_err(|why| Failure::io("the admin thread", &why))?;
        if let Some(address) = address {
            tracing::info!(address, "admin port opened");
        }
        Ok(Self { stop: Some(stop), thread: Some(thread), traces })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.traces.end();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin thread panicked");
        }
    }
}

fn listen(address: &str) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|why| Failure::io(format!("the admin port cannot listen on {address}"), &why))
}

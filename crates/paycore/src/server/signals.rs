//! How a process is asked to stop.

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Failure;

/// Returns when the process is asked to stop, by SIGTERM or from the keyboard.
///
/// # Errors
/// When the system does not let us listen.
pub(crate) async fn asked_to_stop() -> Result<(), Failure> {
    let mut term = signal(SignalKind::terminate()).map_err(|why| Failure::io("SIGTERM", &why))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(|why| Failure::io("SIGINT", &why))?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

//! What a process writes about itself: to stderr, as JSON unless a person is watching.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};
use crate::exit::Failure;

/// Begins to write events. Once a process; a second call does nothing.
///
/// # Errors
/// When the filter cannot be read.
pub(crate) fn begin(log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&log.level)
        .map_err(|why| Failure::config(format!("`log.level` is `{}`: {why}", log.level)))?;
    // Whatever was asked for: below this it writes down what travels, credentials among it.
    let quiet = "h2=info".parse().expect("a directive");
    let filter = filter.add_directive(quiet);
    let is_json = match log.format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let events = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error here means that somebody has begun before, which is as good.
    let _ = if is_json { events.json().try_init() } else { events.with_target(false).try_init() };
    Ok(())
}

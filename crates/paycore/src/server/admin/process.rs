//! What the process takes of its machine, as the kernel counts it.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use super::pulse::Reading;
use super::series::{CPU, FILES, FILES_MAX, MEMORY, STARTED, THREADS};

/// When this was first asked for, which is at the process's start.
pub(super) fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Reads the kernel's counts; leaves out what it does not say.
pub(super) fn readings(started: f64) -> Vec<Reading> {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold anything; what is counted stands behind it.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let field = |number: usize| {
        let text = number.checked_sub(3).and_then(|at| fields.get(at))?;
        text.parse::<u64>().ok()
    };
    let cpu = field(14).zip(field(15)).map(|(user, system)| seconds(user.saturating_add(system)));
    let memory = field(24).map(|pages| float(pages.saturating_mul(page_bytes())));
    let files = fs::read_dir("/proc/self/fd").ok().map(|open| float(len(open.count())));
    let files_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let readings = [
        (CPU, cpu),
        (MEMORY, memory),
        (THREADS, field(20).map(float)),
        (FILES, files),
        (FILES_MAX, files_max.map(float)),
        (STARTED, Some(started)),
    ];
    readings.into_iter().filter_map(|(name, value)| Some(Reading::new(name, value?))).collect()
}

fn page_bytes() -> u64 {
    len(rustix::param::page_size())
}

fn len(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[expect(
    clippy::float_arithmetic,
    reason = "seconds of a clock that ticks a hundred times a second"
)]
fn seconds(ticks: u64) -> f64 {
    float(ticks) / float(rustix::param::clock_ticks_per_second().max(1))
}

/// A number as a gauge holds it: exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) const fn float(number: u64) -> f64 {
    number as f64
}

/// A claim as a gauge holds it.
pub(crate) fn flag(claim: bool) -> f64 {
    f64::from(u8::from(claim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_counted() {
        let busy: u64 = (0..20_000_000_u64).fold(0, |sum, n| sum.wrapping_mul(31).wrapping_add(n));
        assert_ne!(busy, 1);
        let readings = readings(unix_now());
        let value = |name| readings.iter().find(|reading| reading.name == name).unwrap().value;
        assert!(value(MEMORY) > 1_000_000.0, "{readings:?}");
        assert!(value(CPU) > 0.0 && value(CPU) < 10_000.0);
        assert!(value(THREADS) >= 1.0 && value(FILES) >= 3.0 && value(FILES_MAX) > value(FILES));
        assert!(value(STARTED) > 1_700_000_000.0);
    }
}

//! When a caller stops waiting.

use std::time::Duration;

use runtime::Instant;
use tonic::metadata::MetadataMap;
use wire::convert::Refusal;
use wire::limits::{DEADLINE_DEFAULT, DEADLINE_MAX};

/// The header that says how long a caller waits, on both doors.
pub(crate) const TIMEOUT: &str = "grpc-timeout";

/// How long before the caller stops waiting its answer goes out at the latest, a tenth of its time or this: an answer
/// that says what is known is worth more than the caller's own time-out, and it takes a moment to arrive.
const MARGIN_MAX: Duration = Duration::from_millis(100);

/// The deadline of a call: what its `grpc-timeout` says, 10 s when it says nothing, never more than a minute.
pub(crate) fn of_call(metadata: &MetadataMap) -> Instant {
    let said = metadata.get(TIMEOUT).and_then(|said| read(said.as_bytes()));
    within(said.unwrap_or(DEADLINE_DEFAULT))
}

/// The deadline of a call over HTTP, by the same header with the same default and bound. No library wrote it: who wrote
/// nonsense is told.
pub(crate) fn of_header(said: Option<&[u8]>) -> Result<Instant, Refusal> {
    let timeout = match said {
        Some(said) => read(said).ok_or_else(|| {
            Refusal::field(TIMEOUT, "one to eight digits and a unit (H, M, S, m, u or n): 500m")
        })?,
        None => DEADLINE_DEFAULT,
    };
    Ok(within(timeout))
}

/// The deadline of a session's frame; 0 says nothing.
pub(crate) fn of_frame(timeout_ms: u32) -> Instant {
    match timeout_ms {
        0 => within(DEADLINE_DEFAULT),
        said => within(Duration::from_millis(said.into())),
    }
}

fn within(timeout: Duration) -> Instant {
    let timeout = timeout.min(DEADLINE_MAX);
    let margin = timeout.checked_div(10).unwrap_or(timeout).min(MARGIN_MAX);
    let now = Instant::now();
    now.checked_add(timeout.saturating_sub(margin)).unwrap_or(now)
}

/// Reads a `grpc-timeout`: one to eight digits and a unit.
fn read(said: &[u8]) -> Option<Duration> {
    let (unit, digits) = said.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(value.checked_mul(3_600)?)),
        b'M' => Some(Duration::from_secs(value.checked_mul(60)?)),
        b'S' => Some(Duration::from_secs(value)),
        b'm' => Some(Duration::from_millis(value)),
        b'u' => Some(Duration::from_micros(value)),
        b'n' => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_timeout_is_digits_and_a_unit() {
        assert_eq!(read(b"2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(read(b"10S"), Some(Duration::from_secs(10)));
        assert_eq!(read(b"99999999n"), Some(Duration::from_nanos(99_999_999)));
        for bad in
            [&b""[..], b"S", b"10", b"10s", b"-1S", b"+1S", b"123456789m", b"1 S", "１S".as_bytes()]
        {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_has_a_margin_and_a_bound() {
        let now = Instant::now();
        let left = |deadline: Instant| deadline.duration_since(now);
        let mut metadata = MetadataMap::new();
        assert_eq!(left(of_call(&metadata)), Duration::from_millis(9_900));
        for (said, ms) in
            [("100m", 90), ("0S", 0), ("1S", 900), ("24H", 59_900), ("nonsense", 9_900)]
        {
            metadata.insert("grpc-timeout", said.parse().unwrap());
            assert_eq!(left(of_call(&metadata)), Duration::from_millis(ms), "{said}");
        }
        assert_eq!(left(of_header(None).unwrap()), Duration::from_millis(9_900));
        assert_eq!(left(of_header(Some(b"24H")).unwrap()), Duration::from_millis(59_900));
        assert!(of_header(Some(b"nonsense")).is_err());
        assert_eq!(left(of_frame(0)), Duration::from_millis(9_900));
        assert_eq!(left(of_frame(10)), Duration::from_millis(9));
        assert_eq!(left(of_frame(u32::MAX)), Duration::from_millis(59_900));
    }
}

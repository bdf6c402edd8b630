//! What a run must reach: `p99<=100ms`, `posted_per_s>=150000`.

use std::fmt;
use std::str::FromStr;

use super::summary::Summary;
use crate::output::duration;

/// One measure and its bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Objective {
    measure: Measure,
    comparison: Comparison,
    /// In microseconds for latencies, else a plain number.
    bound: u64,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    P50,
    P90,
    P99,
    P999,
    Max,
    PauseMax,
    PostedPerS,
    AttemptsPerS,
    Unknown,
    Retries,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtMost,
    AtLeast,
    Below,
    Above,
}

const MEASURES: &str =
    "p50, p90, p99, p999, max, pause_max, posted_per_s, attempts_per_s, unknown, retries";

impl Objective {
    /// Whether a run reached it; if not, what it reached instead.
    pub(super) fn missed(&self, summary: &Summary) -> Option<String> {
        let reached = self.measure.of(summary);
        let met = match self.comparison {
            Comparison::AtMost => reached <= self.bound,
            Comparison::AtLeast => reached >= self.bound,
            Comparison::Below => reached < self.bound,
            Comparison::Above => reached > self.bound,
        };
        let unit = if self.measure.is_latency() { " µs" } else { "" };
        (!met).then(|| format!("{self} was asked for, {reached}{unit} reached"))
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let written =
            || format!("`{text}` is no objective; write it as p99<=100ms or posted_per_s>=150000");
        let at = text.find(['<', '>']).ok_or_else(written)?;
        let (name, rest) = text.split_at_checked(at).ok_or_else(written)?;
        let operators = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("<", Comparison::Below),
            (">", Comparison::Above),
        ];
        let found = operators.iter().find_map(|(sign, comparison)| {
            rest.strip_prefix(sign).map(|bound| (*comparison, bound.trim()))
        });
        let (comparison, bound) = found.ok_or_else(written)?;
        let measure = Measure::named(name.trim()).ok_or_else(|| {
            format!("no measure is called `{}`; there are {MEASURES}", name.trim())
        })?;
        let bound = if measure.is_latency() {
            micros(bound)?
        } else {
            bound.parse().map_err(|_| written())?
        };
        Ok(Self { measure, comparison, bound, text: text.trim().to_owned() })
    }
}

/// Latencies are often below a millisecond, so that unit is known here too.
fn micros(text: &str) -> Result<u64, String> {
    if let Some(micros) = text.strip_suffix("us") {
        return micros.parse().map_err(|_| format!("`{text}` is no duration"));
    }
    Ok(u64::try_from(duration(text)?.as_micros()).unwrap_or(u64::MAX))
}

impl Measure {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "p50" => Self::P50,
            "p90" => Self::P90,
            "p99" => Self::P99,
            "p999" => Self::P999,
            "max" => Self::Max,
            "pause_max" => Self::PauseMax,
            "posted_per_s" => Self::PostedPerS,
            "attempts_per_s" => Self::AttemptsPerS,
            "unknown" => Self::Unknown,
            "retries" => Self::Retries,
            _ => return None,
        })
    }

    const fn is_latency(self) -> bool {
        match self {
            Self::P50 | Self::P90 | Self::P99 | Self::P999 | Self::Max | Self::PauseMax => true,
            Self::PostedPerS | Self::AttemptsPerS | Self::Unknown | Self::Retries => false,
        }
    }

    const fn of(self, summary: &Summary) -> u64 {
        match self {
            Self::P50 => summary.latency_us.p50,
            Self::P90 => summary.latency_us.p90,
            Self::P99 => summary.latency_us.p99,
            Self::P999 => summary.latency_us.p999,
            Self::Max => summary.latency_us.max,
            Self::PauseMax => summary.pause_max_us,
            Self::PostedPerS => summary.posted_per_s,
            Self::AttemptsPerS => summary.attempts_per_s,
            Self::Unknown => summary.unknown,
            Self::Retries => summary.retries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read_and_compared() {
        let mut summary = Summary::default();
        summary.latency_us.p99 = 100_000;
        summary.posted_per_s = 149_999;
        summary.pause_max_us = 5_000_001;
        let missed = |text: &str| text.parse::<Objective>().unwrap().missed(&summary);
        assert_eq!(missed("p99<=100ms"), None);
        assert_eq!(missed("p99 < 100ms").unwrap(), "p99 < 100ms was asked for, 100000 µs reached");
        assert!(missed("posted_per_s>=150000").is_some());
        assert_eq!(missed("p99>=99999us"), None);
        assert!(missed("pause_max<=5s").is_some() && missed("pause_max<=5001ms").is_none());
        for wrong in
            ["p99", "p99=1s", "p98<1s", "p99<100", "posted_per_s>1s", "p99<=", "unknown<=-1"]
        {
            assert!(wrong.parse::<Objective>().is_err(), "{wrong}");
        }
    }
}

//! Amounts, times and durations as a person writes and reads them.

use std::time::Duration;

use ledger::{Currency, Time};

/// Signs that one currency alone owns, or that everybody here takes for one. All others are written by their code.
const SIGNS: [(&str, &str); 4] = [("CNY", "¥"), ("EUR", "€"), ("GBP", "£"), ("USD", "$")];

/// Minor units with their currency: `¥8.88`, `-¥0.05`, `8.88 CZK`.
pub(crate) fn money(minor: i128, currency: Currency) -> String {
    let amount = currency.display(minor);
    match SIGNS.iter().find(|(code, _)| *code == currency.code()) {
        Some((_, sign)) => match amount.strip_prefix('-') {
            Some(amount) => format!("-{sign}{amount}"),
            None => format!("{sign}{amount}"),
        },
        None => format!("{amount} {currency}"),
    }
}

/// Log time in RFC 3339, UTC: `2026-02-16T16:00:00.123Z`. Times beyond the year 9999 are written in milliseconds.
pub(crate) fn time(time: Time) -> String {
    let ms = i64::try_from(time.0).ok();
    let stamp = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| format!("{} ms", time.0), |stamp| format!("{stamp:.3}"))
}

/// Reads a duration: a whole number and its unit, `250ms`, `10s`, `5m`, `1h`, `3d`.
///
/// # Errors
/// When it is none, as a sentence that says what one looks like.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(no_duration()),
    };
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    ms.filter(|ms| *ms > 0).map(Duration::from_millis).ok_or_else(no_duration)
}

fn no_duration() -> String {
    "a duration is a whole number above 0 and a unit: 250ms, 10s, 5m, 1h, 3d".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_written_with_its_sign_or_its_code() {
        let currency = |code| Currency::from_code(code).unwrap();
        assert_eq!(money(888, Currency::CNY), "¥8.88");
        assert_eq!(money(-5, Currency::CNY), "-¥0.05");
        assert_eq!(money(888, currency("CZK")), "8.88 CZK");
        assert_eq!(money(888, currency("JPY")), "888 JPY", "the yen's sign is also the yuan's");
        assert_eq!(money(-1_234, currency("KWD")), "-1.234 KWD");
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(time(Time(1_771_257_600_123)), "2026-02-16T16:00:00.123Z");
        assert_eq!(time(Time(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(Time(u64::MAX)), "18446744073709551615 ms");
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for bad in ["", "5", "s", "1.5s", "-1s", "5 s", "5y", "0s", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}

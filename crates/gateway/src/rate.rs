//! How often a tenant may ask.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Requests that a tenant may send: so many a second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// A second.
    pub per_second: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

/// What a tenant has left. One bucket for all its keys and connections on this gateway.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

impl Bucket {
    pub(crate) fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self { rate, limiter: RateLimiter::direct(quota), clock: DefaultClock::default() }
    }

    pub(crate) const fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one; or says how long to wait for it.
    pub(crate) fn take_one(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Takes as many of so many as there are, and says how many.
    pub(crate) fn take(&self, wanted: usize) -> usize {
        let whole = u32::try_from(wanted).ok().and_then(NonZeroU32::new);
        if whole.is_some_and(|whole| matches!(self.limiter.check_n(whole), Ok(Ok(())))) {
            return wanted;
        }
        (0..wanted).take_while(|_| self.limiter.check().is_ok()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_what_it_has_and_says_how_long_the_next_takes() {
        let number = |number| NonZeroU32::new(number).unwrap();
        // One a second: what comes back while this runs is less than what is asked for.
        let bucket = Bucket::new(Rate { per_second: number(1), burst: number(1_000) });
        assert_eq!(bucket.take(0), 0);
        assert_eq!(bucket.take(400), 400);
        assert_eq!(bucket.take_one(), Ok(()));
        let rest = bucket.take(2_000);
        assert!((599..=700).contains(&rest), "{rest}");
        let bucket = Bucket::new(Rate { per_second: number(1), burst: number(1) });
        while bucket.take_one().is_ok() {}
        let wait = bucket.take_one().map_or_else(|wait| wait, |()| Duration::from_secs(1));
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    }
}

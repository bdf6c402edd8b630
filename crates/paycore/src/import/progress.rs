//! How an import goes: a bar where somebody looks, a line a second elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::tally::{Tally, seconds};
use crate::output::Screen;

/// How often a line is written where no bar can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Frames of a bar in a second at the most: more are not seen, and cost.
const FRAMES_PER_SECOND: u8 = 10;

/// How an import goes.
pub(super) struct Progress {
    screen: Screen,
    bar: Option<ProgressBar>,
    what: &'static str,
    total: u64,
    began: Instant,
    said: Instant,
}

impl Progress {
    /// Begins to count to `total`.
    pub(super) fn begin(screen: Screen, what: &'static str, total: u64) -> Self {
        let now = Instant::now();
        let bar = screen.progress_is_live().then(|| {
            let bar = ProgressBar::with_draw_target(
                Some(total),
                ProgressDrawTarget::stderr_with_hz(FRAMES_PER_SECOND),
            );
            let style = ProgressStyle::with_template(
                "{prefix} {wide_bar} {human_pos}/{human_len} {per_sec} {eta} left",
            );
            bar.set_style(style.expect("a template that a test draws"));
            bar.set_prefix(what);
            bar
        });
        Self { screen, bar, what, total, began: now, said: now }
    }

    /// `done` of the total are done.
    pub(super) fn at(&mut self, done: u64, tally: &Tally) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            return;
        }
        if self.said.elapsed() >= LINE_EVERY {
            self.said = Instant::now();
            self.screen.say(format_args!("{}", self.line(done, tally)));
        }
    }

    /// Takes the bar away: what follows has the numbers.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, done: u64, tally: &Tally) -> String {
        let elapsed = self.began.elapsed();
        let (rate, left) = pace(done, self.total, elapsed);
        let left = left.map_or_else(|| "-".to_owned(), seconds);
        format!(
            "{:<9} {done:>10} of {}  {rate:>7}/s  {left} left  {} rejected  {} unanswered",
            self.what,
            self.total,
            tally.rejected,
            tally.unknown.saturating_add(tally.not_made),
        )
    }
}

/// How many a second so far, and how long the rest takes at that pace.
fn pace(done: u64, total: u64, elapsed: Duration) -> (u64, Option<Duration>) {
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let rate = done.saturating_mul(1_000).checked_div(elapsed_ms).unwrap_or(0);
    let left = total.saturating_sub(done);
    let left_ms = left.saturating_mul(elapsed_ms).checked_div(done);
    (rate, left_ms.map(Duration::from_millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Color, Format, Streams};

    #[test]
    fn the_rest_takes_as_long_as_the_pace_says() {
        let second = Duration::from_secs(1);
        assert_eq!(pace(0, 100, second), (0, None));
        assert_eq!(pace(25, 100, second), (25, Some(Duration::from_secs(3))));
        assert_eq!(pace(100, 100, second), (100, Some(Duration::ZERO)));
        assert_eq!(pace(5, 100, Duration::ZERO).0, 0);
    }

    #[test]
    fn a_bar_is_drawn_where_somebody_looks() {
        let streams = |err_is_tty| Streams { out_is_tty: false, err_is_tty, no_color: true };
        let screen =
            |err_is_tty| Screen::new(Format::Table, Color::Auto, false, streams(err_is_tty));
        assert!(Progress::begin(screen(true), "payments", 10).bar.is_some());
        let progress = Progress::begin(screen(false), "payments", 10);
        assert!(progress.bar.is_none());
        let line = progress.line(5, &Tally { rejected: 2, ..Tally::default() });
        assert!(line.contains("5 of 10") && line.contains("2 rejected"), "{line}");
    }
}

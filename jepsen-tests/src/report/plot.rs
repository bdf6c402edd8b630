//! Two plots of a run, with the faults' windows shaded: how long calls took, and how many there were.

use std::fmt::Write as _;

use crate::history::{End, History, Op};

/// The picture, in points.
const WIDTH: u64 = 960;
const HEIGHT: u64 = 360;
const LEFT: u64 = 60;
const TOP: u64 = 20;
const BOTTOM: u64 = 330;

/// Points in a picture at the most: of more calls, some are left out.
const POINTS_MAX: usize = 20_000;

/// The least and the greatest latency that the axis shows, as powers of two of microseconds: 64 µs to 17 s.
const POWER_MIN: u64 = 6;
const POWER_MAX: u64 = 24;

/// Where things are.
struct Axis {
    /// The run's end, in nanoseconds.
    end: u64,
}

impl Axis {
    fn of(history: &History) -> Self {
        let ops = history.ops.iter().map(|op| op.began);
        let faults = history.faults.iter().map(|fault| fault.ended);
        Self { end: ops.chain(faults).max().unwrap_or(1).max(1) }
    }

    fn x(&self, time: u64) -> u64 {
        let wide =
            u128::from(time.min(self.end)).saturating_mul(u128::from(WIDTH.saturating_sub(LEFT)));
        let x = wide.checked_div(u128::from(self.end)).unwrap_or(0);
        LEFT.saturating_add(u64::try_from(x).unwrap_or(0))
    }

    /// The picture's beginning: paper, windows, seconds.
    fn open(&self, history: &History, title: &str) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"11\"><rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\
             <text x=\"{LEFT}\" y=\"13\">{title}</text>\n"
        );
        for fault in &history.faults {
            let (x, to) = (self.x(fault.began), self.x(fault.ended));
            let (width, tall) = (to.saturating_sub(x).max(1), BOTTOM.saturating_sub(TOP));
            let (name, below) = (&fault.name, BOTTOM.saturating_sub(4));
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{TOP}\" width=\"{width}\" height=\"{tall}\" fill=\"#f4c7c3\" opacity=\"0.6\"/>\
                 <text x=\"{x}\" y=\"{below}\" fill=\"#933\">{name}</text>"
            );
        }
        let seconds = self.end / 1_000_000_000;
        let step = (seconds / 12).max(1);
        for at in (0..=seconds).step_by(usize::try_from(step).unwrap_or(1)) {
            let x = self.x(at.saturating_mul(1_000_000_000));
            let y = BOTTOM.saturating_add(16);
            let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{at} s</text>");
        }
        svg
    }
}

/// How long each call took; and of each second, the median and the 99th of a hundred.
pub(super) fn latency(history: &History) -> String {
    let axis = Axis::of(history);
    let mut svg = axis.open(history, "latency of each call; lines: median and p99 of each second");
    for (power, words) in
        [(7, "128 µs"), (10, "1 ms"), (13, "8 ms"), (16, "66 ms"), (20, "1 s"), (23, "8 s")]
    {
        let y = height(1_u64.checked_shl(power).unwrap_or(1));
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y}H{WIDTH}\" stroke=\"#ddd\"/><text x=\"55\" y=\"{y}\" text-anchor=\"end\">{words}</text>"
        );
    }
    let every = history.ops.len().div_ceil(POINTS_MAX).max(1);
    for op in history.ops.iter().step_by(every).filter(|op| op.ended != u64::MAX) {
        let (x, y, colour) = (axis.x(op.began), height(micros(op)), colour(&op.end));
        let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"{y}\" r=\"1.3\" fill=\"{colour}\"/>");
    }
    for (percent, colour) in [(50, "#125"), (99, "#b60")] {
        let mut path = String::new();
        for (second, mut took) in by_second(history) {
            took.sort_unstable();
            let place = took.len().saturating_sub(1).saturating_mul(percent) / 100;
            let Some(took) = took.get(place) else { continue };
            let x = axis.x(second.saturating_mul(1_000_000_000).saturating_add(500_000_000));
            let _ =
                write!(path, "{}{x} {} ", if path.is_empty() { 'M' } else { 'L' }, height(*took));
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
        );
    }
    svg + "</svg>\n"
}

/// How many calls ended in each second: done, refused, unknown.
pub(super) fn rate(history: &History) -> String {
    let axis = Axis::of(history);
    let mut svg =
        axis.open(history, "calls that ended in each second: done (green), not done (orange)");
    let seconds = usize::try_from(axis.end / 1_000_000_000).unwrap_or(0).saturating_add(1);
    let (mut done, mut not) = (vec![0_u64; seconds], vec![0_u64; seconds]);
    for op in history.ops.iter().filter(|op| op.ended != u64::MAX) {
        let second = usize::try_from(op.ended / 1_000_000_000).unwrap_or(0);
        let of = if matches!(op.end, End::Ok(_)) { &mut done } else { &mut not };
        if let Some(count) = of.get_mut(second) {
            *count = count.saturating_add(1);
        }
    }
    let most = done.iter().chain(&not).copied().max().unwrap_or(1).max(1);
    let tall = BOTTOM.saturating_sub(TOP);
    let y = |count: u64| {
        BOTTOM.saturating_sub(count.saturating_mul(tall).checked_div(most).unwrap_or(0))
    };
    for (counts, colour) in [(&done, "#2a7"), (&not, "#d80")] {
        let mut path = String::new();
        for (second, count) in (0_u64..).zip(counts) {
            let x = axis.x(second.saturating_mul(1_000_000_000));
            let _ = write!(path, "{}{x} {} ", if path.is_empty() { 'M' } else { 'L' }, y(*count));
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
        );
    }
    let _ = writeln!(svg, "<text x=\"55\" y=\"{TOP}\" text-anchor=\"end\">{most}/s</text>");
    svg + "</svg>\n"
}

/// What those took that ended in each second, in microseconds.
fn by_second(history: &History) -> std::collections::BTreeMap<u64, Vec<u64>> {
    let mut seconds: std::collections::BTreeMap<u64, Vec<u64>> = std::collections::BTreeMap::new();
    for op in history.ops.iter().filter(|op| matches!(op.end, End::Ok(_))) {
        seconds.entry(op.ended / 1_000_000_000).or_default().push(micros(op));
    }
    seconds
}

const fn micros(op: &Op) -> u64 {
    op.ended.saturating_sub(op.began) / 1_000
}

/// Where a latency is on an axis on which each doubling is as high as the next.
fn height(micros: u64) -> u64 {
    let power = u64::from(micros.max(1).ilog2());
    let whole = 1_u64.checked_shl(micros.max(1).ilog2()).unwrap_or(1);
    let part = micros.saturating_sub(whole).saturating_mul(100).checked_div(whole).unwrap_or(0);
    let at = power.saturating_mul(100).saturating_add(part);
    let (low, high) = (POWER_MIN.saturating_mul(100), POWER_MAX.saturating_mul(100));
    let above = at.clamp(low, high).saturating_sub(low);
    let tall = above.saturating_mul(BOTTOM.saturating_sub(TOP));
    BOTTOM.saturating_sub(tall.checked_div(high.saturating_sub(low)).unwrap_or(0))
}

/// A call's colour: done, not done, unknown.
pub(super) const fn colour(end: &End) -> &'static str {
    match end {
        End::Ok(_) => "#2a7",
        End::Fail(..) => "#d80",
        End::Info => "#a36",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_as_long_is_always_as_much_higher() {
        let steps: Vec<u64> =
            (7..23).map(|power| height(1 << power) - height(1 << (power + 1))).collect();
        assert!(steps.iter().all(|step| (17..=18).contains(step)), "{steps:?}");
        assert_eq!((height(0), height(u64::MAX)), (BOTTOM, TOP));
    }
}

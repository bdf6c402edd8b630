//! A question from the admin thread to the thread that serves, and its answer.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

/// How long the serving thread may take to answer: its turns last less than a millisecond, so one that takes this long
/// does not turn any more.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Questions that wait at once: one a connection, and the watchdog's.
const QUESTIONS_MAX: usize = 32;

/// How a process does, as its serving thread sees it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Whether it may be sent work, and if not, why.
    pub(crate) ready: Result<(), String>,
    /// What can be read off it.
    pub(crate) readings: Vec<Reading>,
}

/// The value of one series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) name: &'static str,
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: f64,
}

impl Reading {
    pub(crate) fn new(name: &'static str, value: f64) -> Self {
        Self { name, labels: Vec::new(), value }
    }

    pub(crate) fn with(mut self, label: &'static str, value: &impl ToString) -> Self {
        self.labels.push((label, value.to_string()));
        self
    }
}

/// What the serving thread listens to.
pub(crate) type Asked = mpsc::Receiver<oneshot::Sender<Sample>>;

/// Asks the serving thread.
#[derive(Clone, Debug)]
pub(crate) struct Pulse(mpsc::Sender<oneshot::Sender<Sample>>);

impl Pulse {
    /// A pulse, and what the serving thread is to listen to.
    pub(crate) fn new() -> (Self, Asked) {
        let (ask, asked) = mpsc::channel(QUESTIONS_MAX);
        (Self(ask), asked)
    }

    /// What the serving thread says, and how long it took to say it; `None` when it does not in time.
    pub(crate) async fn ask(&self) -> Option<(Sample, Duration)> {
        let begun = Instant::now();
        let (to, answer) = oneshot::channel();
        let asking = async {
            self.0.send(to).await.ok()?;
            answer.await.ok()
        };
        let sample = tokio::time::timeout(ANSWER_MAX, asking).await.ok()??;
        Some((sample, begun.elapsed()))
    }
}

/// Answers, on the serving thread, until nobody can ask any more.
pub(crate) async fn answer(mut asked: Asked, sample: impl Fn() -> Sample) {
    while let Some(to) = asked.recv().await {
        // Whoever asked may have given up.
        let _ = to.send(sample());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_does_not_turn_gives_no_sign_of_life() {
        let (pulse, asked) = Pulse::new();
        assert!(pulse.ask().await.is_none(), "nobody answers");
        let sample = || Sample { ready: Ok(()), readings: vec![Reading::new("x", 1.0)] };
        let answering = tokio::spawn(answer(asked, sample));
        let (said, _) = pulse.ask().await.expect("it answers");
        assert_eq!(said.readings, [Reading::new("x", 1.0)]);
        answering.abort();
        let _ = answering.await;
        assert!(pulse.ask().await.is_none(), "it has ended");
    }
}

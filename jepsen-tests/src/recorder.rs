//! Writes down what happens, in the order in which it does, with one clock for all.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::Context;

use crate::history::{Call, End, Event};

/// The history that is being made.
pub(crate) struct Recorder {
    began: Instant,
    kept: RefCell<Kept>,
}

struct Kept {
    out: BufWriter<File>,
    events: Vec<Event>,
    latest: u64,
    index: u64,
}

impl Recorder {
    /// Writes into a new file. Time begins now.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let out = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        let kept = Kept { out: BufWriter::new(out), events: Vec::new(), latest: 0, index: 0 };
        Ok(Self { began: Instant::now(), kept: RefCell::new(kept) })
    }

    /// Nanoseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A process calls.
    pub(crate) fn begin(&self, process: u64, call: &Call) -> anyhow::Result<()> {
        let call = call.clone();
        self.write(|time, index| Event::Invoke { process, time, index, call })
    }

    /// It is told how that ended.
    pub(crate) fn end(
        &self,
        process: u64,
        call: &Call,
        end: &End,
        words: String,
    ) -> anyhow::Result<()> {
        let f = call.f().to_owned();
        let end = end.clone();
        self.write(|time, index| match end {
            End::Ok(answer) => Event::Ok { process, time, index, answer },
            End::Fail(value, error) => Event::Fail { process, time, index, f, value, error },
            End::Info => Event::Info { process, time, index, f, error: words },
        })
    }

    /// How many calls have been told so, in lower case, since some time.
    pub(crate) fn told(&self, code: &str, since: u64) -> u64 {
        let kept = self.kept.borrow();
        let ends = kept.events.iter().rev().filter_map(|event| match event {
            Event::Fail { time, error, .. } => Some((*time, Some(error))),
            Event::Invoke { time, .. } | Event::Ok { time, .. } | Event::Info { time, .. } => {
                Some((*time, None))
            }
            Event::Meta(_) | Event::Fault { .. } | Event::Phase { .. } | Event::Final { .. } => {
                None
            }
        });
        let since = ends.take_while(|(time, _)| *time >= since);
        let told = since.filter(|(_, error)| error.is_some_and(|error| error == code));
        u64::try_from(told.count()).unwrap_or(u64::MAX)
    }

    /// Something of the run itself begins.
    pub(crate) fn phase(&self, name: &str) -> anyhow::Result<()> {
        self.write(|time, _| Event::Phase { name: name.to_owned(), time })
    }

    /// Anything else.
    pub(crate) fn put(&self, event: Event) -> anyhow::Result<()> {
        self.write(|_, _| event)
    }

    /// Everything so far; the file is whole.
    pub(crate) fn events(&self) -> anyhow::Result<Vec<Event>> {
        let mut kept = self.kept.borrow_mut();
        kept.out.flush()?;
        Ok(kept.events.clone())
    }

    fn write(&self, event: impl FnOnce(u64, u64) -> Event) -> anyhow::Result<()> {
        let now = self.now();
        let mut kept = self.kept.borrow_mut();
        kept.latest = kept.latest.max(now);
        let event = event(kept.latest, kept.index);
        kept.index = kept.index.saturating_add(1);
        serde_json::to_writer(&mut kept.out, &event)?;
        kept.out.write_all(b"\n")?;
        kept.events.push(event);
        Ok(())
    }
}

//! The first thing that went wrong, for ever.
//!
//! After a failed write or sync nobody knows what the disk holds. Trying again would be guessing:
//! the system may have dropped the very pages that failed, and would report the next sync as a
//! success. So the first failure is the last word.

use std::sync::{Mutex, OnceLock};

use super::error::LogError;

/// Called once, with the first failure.
pub type Watcher = Box<dyn FnOnce(&LogError) + Send>;

#[derive(Default)]
pub(crate) struct Failure {
    first: OnceLock<LogError>,
    watchers: Mutex<Vec<Watcher>>,
}

impl Failure {
    pub(crate) fn get(&self) -> Option<&LogError> {
        self.first.get()
    }

    /// Keeps the error if it is the first, and tells everybody who watches.
    pub(crate) fn set(&self, error: LogError) {
        if self.first.set(error).is_ok() {
            self.tell();
        }
    }

    /// Calls back at the first failure, at once when there was one.
    pub(crate) fn watch(&self, watcher: Watcher) {
        self.watchers.lock().expect("nothing panics while it holds the watchers").push(watcher);
        self.tell();
    }

    fn tell(&self) {
        if let Some(error) = self.get() {
            let watchers = std::mem::take(
                &mut *self.watchers.lock().expect("nothing panics while it holds the watchers"),
            );
            watchers.into_iter().for_each(|watcher| watcher(error));
        }
    }
}

//! The keys that hold now: those of a file and those of the cluster's directory, as one keyring.

use std::sync::{Arc, Mutex, PoisonError};

use ledger::Directory;
use tokio::sync::watch;

use crate::keyring::Keyring;

/// Two sources of keys, and the keyring that was made of them last.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    file: watch::Receiver<Arc<Keyring>>,
    directory: watch::Receiver<Arc<Directory>>,
    made: Arc<Mutex<Made>>,
}

#[derive(Debug)]
struct Made {
    file: Arc<Keyring>,
    directory: Arc<Directory>,
    keyring: Arc<Keyring>,
}

impl Keys {
    pub(crate) fn new(
        file: watch::Receiver<Arc<Keyring>>,
        directory: watch::Receiver<Arc<Directory>>,
    ) -> Self {
        let (from, beside) = (Arc::clone(&file.borrow()), Arc::clone(&directory.borrow()));
        let keyring = Arc::new(from.with(&beside));
        let made = Arc::new(Mutex::new(Made { file: from, directory: beside, keyring }));
        Self { file, directory, made }
    }

    /// The keyring of this moment: whoever calls after a change is judged by it.
    pub(crate) fn now(&self) -> Arc<Keyring> {
        let (file, directory) = (self.file.borrow(), self.directory.borrow());
        // Everything in it is replaced at once: a panic elsewhere leaves nothing half done.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&made.file, &file) || !Arc::ptr_eq(&made.directory, &directory) {
            let keyring = Arc::new(file.with(&directory).after(&made.keyring));
            *made = Made { file: Arc::clone(&file), directory: Arc::clone(&directory), keyring };
        }
        Arc::clone(&made.keyring)
    }
}

//! A keyring that follows its file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gateway::Keyring;
use tokio::sync::watch;

use super::file::load;
use crate::exit::Failure;
use crate::stamp::Stamp;

/// How often the file is looked at: a key that was taken out is void this much later at the latest.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads a key file, and again whenever it changes, as long as somebody holds the channel. Needs a runtime around it.
///
/// # Errors
/// When the file cannot be used at first. Later that is said in the log, and the keys stay as they were.
pub(crate) fn follow(path: &Path) -> Result<watch::Receiver<Arc<Keyring>>, Failure> {
    let seen = Stamp::of(path);
    let keyring = load(path).map_err(|wrong| Failure::of_problems(&[wrong]))?;
    tracing::info!(file = %path.display(), keys = keyring.len(), "keys read");
    let (sender, receiver) = watch::channel(Arc::new(keyring));
    tokio::spawn(look(path.to_path_buf(), seen, sender));
    Ok(receiver)
}

async fn look(path: PathBuf, mut seen: Option<Stamp>, keyring: watch::Sender<Arc<Keyring>>) {
    let mut turns = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = turns.tick() => {}
            () = keyring.closed() => return,
        }
        let file = path.clone();
        // The disk may be slow, and the gateway has one thread for everybody.
        let looked = tokio::task::spawn_blocking(move || {
            let stamp = Stamp::of(&file);
            (stamp, (stamp != seen).then(|| load(&file)))
        });
        let Ok((stamp, read)) = looked.await else { continue };
        seen = stamp;
        match read {
            None => {}
            Some(Ok(new)) => {
                tracing::info!(file = %path.display(), keys = new.len(), "keys read again");
                keyring.send_modify(|now| *now = Arc::new(new.after(now)));
            }
            Some(Err(wrong)) => {
                tracing::error!(%wrong, "the key file cannot be used; the keys stay as they were");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gateway::keyring::Scope;

    use super::*;
    use crate::keys::{NewKey, add};

    /// As long as anything here may take on a machine that has other work.
    const PATIENCE: Duration = Duration::from_secs(60);

    async fn until(keys: &mut watch::Receiver<Arc<Keyring>>, len: usize) {
        let seen = tokio::time::timeout(PATIENCE, keys.wait_for(|keys| keys.len() == len));
        seen.await.expect("in time").expect("the file is looked at");
    }

    #[tokio::test]
    async fn a_change_is_noticed_and_a_broken_file_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys.toml");
        let new = |name: &str| {
            let name = name.to_owned();
            NewKey { name, tenant: 7, scope: Scope::Read, expires: None, rate: None }
        };
        assert_eq!(follow(&path).unwrap_err().exit(), 78, "a file that is not there");
        add(&path, new("one")).unwrap();
        let mut keys = follow(&path).unwrap();
        add(&path, new("two")).unwrap();
        until(&mut keys, 2).await;

        let good = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, "broken").unwrap();
        tokio::time::sleep(LOOK_EVERY.saturating_mul(2)).await;
        assert_eq!(keys.borrow().len(), 2);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, good).unwrap();
        add(&path, new("three")).unwrap();
        until(&mut keys, 3).await;
    }
}

//! An identity that follows its files.

use std::sync::Arc;
use std::time::Duration;

use gateway::tls::Identity;
use tokio::sync::watch;

use super::Files;
use crate::exit::Failure;
use crate::stamp::Stamp;

/// How often the files are looked at: certificates are replaced days before they end.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Files {
    /// Reads them, and again whenever one of them changes, as long as somebody holds the channel. Needs a runtime around
    /// it. Certificate and key may be replaced one after the other: while they do not belong together, those that were
    /// read before stand.
    ///
    /// # Errors
    /// When they cannot be used at first. Later that is said in the log, and the identity stays as it was.
    pub(crate) fn follow(self) -> Result<watch::Receiver<Arc<Identity>>, Failure> {
        let seen = self.stamps();
        let (sender, receiver) = watch::channel(Arc::new(self.read()?));
        tokio::spawn(self.look(seen, sender));
        Ok(receiver)
    }

    async fn look(self, mut seen: [Option<Stamp>; 3], identity: watch::Sender<Arc<Identity>>) {
        let mut turns = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = turns.tick() => {}
                () = identity.closed() => return,
            }
            let files = self.clone();
            // The disk may be slow, and a process has one thread for everybody.
            let looked = tokio::task::spawn_blocking(move || {
                let stamps = files.stamps();
                (stamps, (stamps != seen).then(|| files.read()))
            });
            let Ok((stamps, read)) = looked.await else { continue };
            seen = stamps;
            match read {
                None => {}
                Some(Ok(new)) => {
                    tracing::info!(cert = %self.cert.display(), "certificates read again");
                    identity.send_replace(Arc::new(new));
                }
                Some(Err(wrong)) => {
                    let cert = self.cert.display();
                    let why = wrong.message();
                    tracing::error!(
                        %cert,
                        why,
                        "the certificates cannot be used; they stay as they were"
                    );
                }
            }
        }
    }

    fn stamps(&self) -> [Option<Stamp>; 3] {
        [&self.ca, &self.cert, &self.key].map(|path| Stamp::of(path))
    }
}

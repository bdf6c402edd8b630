//! How the processes of a cluster know one another: the topology's `[tls]`.
//!
//! ```toml
//! [tls]
//! ca = "certs/ca.pem"            # relative to the topology's own file
//! cert = "certs/{id}.pem"        # {id} is who the process is: node-1, gateway-1
//! key = "certs/{id}.key"
//! clients = "optional"           # or required: whether a gateway's callers must show a certificate
//! ```
//!
//! Without TLS everybody on the way can read and write what nodes tell one another, votes and money alike. So that is
//! never what happens when nothing is said: `plaintext = true` does for a cluster that lives on one machine's loopback
//! alone, and for any other every process must be told so by `--plaintext` as well.
//!
//! Processes that run follow their files ([`follow`]), so that certificates are replaced without a restart.

mod follow;

use std::path::{Path, PathBuf};

use gateway::tls::{Guests, Identity};
use serde::Deserialize;

use super::topology::Topology;
use crate::exit::Failure;

/// The section as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    /// Whether there is none.
    plaintext: bool,
    /// The certificate of the authority that everybody trusts.
    ca: Option<PathBuf>,
    /// The certificate of a process.
    cert: Option<PathBuf>,
    /// Its key.
    key: Option<PathBuf>,
    /// Whether a gateway's callers must show a certificate too.
    clients: Clients,
    /// Where the topology's file is.
    #[serde(skip)]
    pub(super) directory: PathBuf,
}

/// Whether a gateway's callers must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Clients {
    /// They may; their API key says who they are.
    #[default]
    Optional,
    /// They must.
    Required,
}

impl Tls {
    /// What cannot work.
    pub(super) fn wrong(&self) -> Option<String> {
        let files = [&self.ca, &self.cert, &self.key].into_iter().flatten().count();
        match (self.plaintext, files) {
            (true, 0) | (false, 0 | 3) => None,
            (true, _) => Some("`tls`: either `plaintext`, or `ca`, `cert` and `key`".to_owned()),
            (false, _) => Some("`tls`: `ca`, `cert` and `key` go together".to_owned()),
        }
    }

    /// Who may pass a gateway's public door.
    pub(crate) const fn callers(&self) -> Guests {
        match self.clients {
            Clients::Optional => Guests::Everybody,
            Clients::Required => Guests::Certified,
        }
    }

    fn path(&self, file: &Path, process: &str) -> PathBuf {
        self.directory.join(file.to_string_lossy().replace("{id}", process))
    }
}

/// The files that hold what a process shows, and whom it trusts.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    cluster: String,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    /// What they hold now.
    ///
    /// # Errors
    /// When one of them cannot be read, or they are not what they should be.
    pub(crate) fn read(&self) -> Result<Identity, Failure> {
        let Self { cluster, ca, cert, key } = self;
        let read =
            |path: &Path| std::fs::read(path).map_err(|why| Failure::io(path.display(), &why));
        let identity = Identity::new(cluster.clone(), read(ca)?, read(cert)?, read(key)?);
        identity.check().map_err(|why| Failure::config(why.to_string()))?;
        Ok(identity)
    }
}

/// The files of a process; `None` when the cluster talks in plaintext. `process` is who it is, such as `node-1`;
/// `plaintext` is whether its operator has said that plaintext will do.
///
/// # Errors
/// When neither certificates nor plaintext was said.
pub(crate) fn files(
    topology: &Topology,
    process: &str,
    plaintext: bool,
) -> Result<Option<Files>, Failure> {
    let Tls { ca, cert, key, .. } = &topology.tls;
    let files = ca.as_ref().zip(cert.as_ref()).zip(key.as_ref());
    if let Some(((ca, cert), key)) = files.filter(|_| !plaintext) {
        let path = |file: &Path| topology.tls.path(file, process);
        let (ca, cert, key) = (path(ca), path(cert), path(key));
        return Ok(Some(Files { cluster: topology.name.clone(), ca, cert, key }));
    }
    if plaintext || (topology.tls.plaintext && topology.is_on_loopback()) {
        return Ok(None);
    }
    let what = if topology.tls.plaintext {
        "the topology says plaintext, but not all of its addresses are of this machine alone"
    } else {
        "the topology says neither which certificates to use nor that plaintext will do"
    };
    Err(Failure::config(what).with_hint(
        "`paycore config certs` makes certificates for development; --plaintext does without, where the network \
         itself lets nobody else in",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(host: &str, tls: &str) -> Result<Topology, String> {
        let text = format!(
            "name = \"t\"\nshards = 1\n[[nodes]]\nid = 1\ngrpc = \"{host}:1\"\n[[gateways]]\n\
             grpc = \"127.0.0.1:2\"\n{tls}"
        );
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("t.toml");
        std::fs::write(&file, text).unwrap();
        Topology::load(&file).map_err(|wrong| wrong[0].to_string())
    }

    #[test]
    fn plaintext_has_to_be_said_and_beyond_loopback_twice() {
        let plain = "[tls]\nplaintext = true\n";
        let admin = format!("admin = \"0.0.0.0:3\"\n{plain}");
        for (host, tls, flag, works) in [
            ("127.0.0.1", "", false, false),
            ("127.0.0.1", "", true, true),
            ("127.0.0.1", plain, false, true),
            ("[::1]", plain, false, true),
            ("127.0.0.1", &admin, false, true),
            ("localhost", plain, false, true),
            ("10.0.0.1", plain, false, false),
            ("n1.example.com", plain, false, false),
            ("n1.example.com", plain, true, true),
        ] {
            let files = files(&topology(host, tls).unwrap(), "node-1", flag);
            assert_eq!(files.is_ok_and(|files| files.is_none()), works, "{host} {tls}");
        }
        let missing = topology("127.0.0.1", "[tls]\nca = \"a\"\ncert = \"{id}\"\nkey = \"k\"\n");
        let files = files(&missing.unwrap(), "node-1", false).unwrap().unwrap();
        let failure = files.read().unwrap_err();
        assert_eq!(failure.exit(), 74, "{failure}");
    }

    #[test]
    fn a_section_that_says_two_things_is_refused() {
        for tls in ["plaintext = true\nca = \"a\"", "ca = \"a\"", "cert = \"a\"\nkey = \"b\""] {
            let wrong = topology("127.0.0.1", &format!("[tls]\n{tls}\n")).unwrap_err();
            assert!(wrong.contains("`tls`: "), "{wrong}");
        }
        let wrong = topology("127.0.0.1", "[tls]\nclients = \"requird\"\n").unwrap_err();
        assert!(wrong.contains("did you mean `required`?"), "{wrong}");
    }
}

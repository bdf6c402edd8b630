//! What joins the processes, as far as it can be cut: the kernel's rules between namespaces, or our proxies on loopback.

use super::Role;
use super::net::Net;
use super::proxy::Proxies;

/// What joins the processes.
#[derive(Clone, Debug)]
pub(crate) enum Wires {
    /// Namespaces.
    Net(Net),
    /// Loopback.
    Proxies(Proxies),
}

impl Wires {
    /// From now on `to` hears nothing of `from`.
    ///
    /// # Errors
    /// When a command fails.
    pub(crate) fn cut(&self, from: Role, to: Role) -> anyhow::Result<()> {
        match self {
            Self::Net(net) => net.cut(from, to),
            Self::Proxies(proxies) => {
                proxies.cut(from, to);
                Ok(())
            }
        }
    }

    /// How much a process has not heard so far, and of what that is the number.
    ///
    /// # Errors
    /// When a command fails.
    pub(crate) fn missed(&self, at: Role) -> anyhow::Result<(u64, &'static str)> {
        match self {
            Self::Net(net) => Ok((net.dropped(at)?, "packets")),
            Self::Proxies(proxies) => Ok((proxies.held(at), "bytes")),
        }
    }

    /// A process hears everybody again.
    ///
    /// # Errors
    /// When a command fails.
    pub(crate) fn heal(&self, at: Role) -> anyhow::Result<()> {
        match self {
            Self::Net(net) => net.heal(at),
            Self::Proxies(proxies) => {
                proxies.heal(at);
                Ok(())
            }
        }
    }

    /// Namespaces: what only they can do.
    ///
    /// # Errors
    /// When there are none.
    pub(crate) fn net(&self) -> anyhow::Result<&Net> {
        match self {
            Self::Net(net) => Ok(net),
            Self::Proxies(_) => anyhow::bail!("there are no namespaces"),
        }
    }
}

//! The key file: a gateway's keyring as TOML.
//!
//! ```toml
//! mac_key = "64 hexadecimal digits"      # the secret under which keys are kept; another one makes all keys void
//!
//! [[tenants]]
//! id = 7
//! requests_per_second = 1000
//! burst = 2000
//!
//! [[keys]]
//! name = "shop"
//! tenant = 7
//! scopes = ["tenant"]                    # read, tenant or admin
//! mac = "64 hexadecimal digits"
//! expires = "2027-01-01T00:00:00Z"       # may be absent
//! ```
//!
//! The file is replaced whole, never written in place, so that a gateway that looks at it sees the old one or the new
//! one. One that cannot be read changes nothing: the gateway goes on with the keys that it has, and says so.

mod file;
mod follow;

pub(crate) use file::{NewKey, add};
pub(crate) use follow::follow;

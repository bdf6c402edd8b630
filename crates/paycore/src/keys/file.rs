//! Reading the key file, and adding to it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use gateway::keyring::{self, KeyEntry, Keyring, KeyringError, Rate, Scope};
use gateway::{ApiKey, KeyMac, MacKey};
use jiff::Timestamp;
use ledger::TenantId;
use serde::{Deserialize, Serialize};

use crate::config::Problem;
use crate::exit::Failure;

/// Bytes of a key file at the most: ten thousand keys take half of it.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The file as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    mac_key: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tenants: Vec<KeptTenant>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeptKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptTenant {
    id: u32,
    requests_per_second: u32,
    burst: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptKey {
    name: String,
    tenant: u32,
    scopes: Vec<String>,
    mac: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

/// A key that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewKey {
    /// What it will be called.
    pub(crate) name: String,
    /// Whose it will be.
    pub(crate) tenant: u32,
    /// What it may do.
    pub(crate) scope: Scope,
    /// When it ends, if ever.
    pub(crate) expires: Option<Timestamp>,
    /// Its tenant's rate from now on, if that is said: requests a second, and at once.
    pub(crate) rate: Option<(u32, u32)>,
}

/// Reads a key file.
///
/// # Errors
/// With what is wrong with it.
pub(crate) fn load(path: &Path) -> Result<Keyring, Problem> {
    let wrong = |what: String| Problem::new(path.display().to_string(), what);
    let text = read(path).map_err(wrong)?.ok_or_else(|| wrong("no such file".to_owned()))?;
    keyring(&parse(path, &text)?).map_err(wrong)
}

/// Makes a key and adds its entry to the file, which is made when it is not there.
///
/// # Errors
/// When the file cannot be read or replaced, or would then be no key file.
pub(crate) fn add(path: &Path, new: NewKey) -> Result<ApiKey, Failure> {
    let _lock = lock(path)?;
    let no_randomness = |why| Failure::internal(format!("the system has no randomness: {why}"));
    let text = read(path).map_err(|why| Failure::config(format!("{}: {why}", path.display())))?;
    let mut kept = match text {
        Some(text) => parse(path, &text).map_err(|wrong| Failure::of_problems(&[wrong]))?,
        None => {
            let mac_key = MacKey::random().map_err(no_randomness)?.reveal();
            Kept { mac_key, tenants: Vec::new(), keys: Vec::new() }
        }
    };
    let key = ApiKey::random().map_err(no_randomness)?;
    let mac_key = read_mac_key(&kept).map_err(Failure::config)?;
    if let Some((requests_per_second, burst)) = new.rate {
        kept.tenants.retain(|tenant| tenant.id != new.tenant);
        kept.tenants.push(KeptTenant { id: new.tenant, requests_per_second, burst });
    }
    kept.keys.push(KeptKey {
        name: new.name,
        tenant: new.tenant,
        scopes: vec![new.scope.name().to_owned()],
        mac: key.mac(&mac_key).text(),
        expires: new.expires.map(|at| at.to_string()),
    });
    keyring(&kept).map_err(Failure::usage)?;
    write(path, &kept)?;
    Ok(key)
}

/// The file's text; `None` when there is no such file.
fn read(path: &Path) -> Result<Option<String>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why.to_string()),
    };
    let mut text = String::new();
    let bytes = file.take(FILE_BYTES_MAX.saturating_add(1)).read_to_string(&mut text);
    match u64::try_from(bytes.map_err(|why| why.to_string())?) {
        Ok(bytes) if bytes <= FILE_BYTES_MAX => Ok(Some(text)),
        Ok(_) | Err(_) => Err(format!("a key file has at most {FILE_BYTES_MAX} bytes")),
    }
}

fn parse(path: &Path, text: &str) -> Result<Kept, Problem> {
    crate::config::check_toml(path, text)?;
    // The message alone: the text around the place would show what it holds.
    toml::from_str(text).map_err(|why| Problem::new(path.display().to_string(), why.message()))
}

fn keyring(kept: &Kept) -> Result<Keyring, String> {
    let told = |wrong: KeyringError| wrong.to_string();
    let mut rates: BTreeMap<TenantId, Rate> = BTreeMap::new();
    for KeptTenant { id, requests_per_second, burst } in &kept.tenants {
        let tenant = TenantId(*id);
        let rate = keyring::rate(tenant, *requests_per_second, *burst).map_err(told)?;
        if rates.insert(tenant, rate).is_some() {
            return Err(format!("tenant {id} is there twice"));
        }
    }
    let entries = kept.keys.iter().map(entry).collect::<Result<_, _>>()?;
    Keyring::new(read_mac_key(kept)?, entries, rates).map_err(told)
}

fn entry(kept: &KeptKey) -> Result<KeyEntry, String> {
    let KeptKey { name, tenant, scopes, mac, expires } = kept;
    let scopes = scopes.iter().map(|scope| scope.parse::<Scope>());
    let scopes =
        scopes.collect::<Result<_, _>>().map_err(|wrong| format!("key `{name}`: {wrong}"))?;
    let mac = KeyMac::read(mac)
        .ok_or_else(|| format!("key `{name}`: its `mac` has not 64 hexadecimal digits"))?;
    let expires = expires.as_ref().map(|text| text.parse::<Timestamp>()).transpose();
    let expires = expires.map_err(|_| {
        format!("key `{name}`: `expires` is no time; one reads 2027-01-01T00:00:00Z")
    })?;
    let expires = expires.map(SystemTime::from);
    Ok(KeyEntry { name: name.clone(), tenant: TenantId(*tenant), scopes, mac, expires })
}

fn read_mac_key(kept: &Kept) -> Result<MacKey, String> {
    let wrong = || "`mac_key` has not 64 hexadecimal digits".to_owned();
    MacKey::read(&kept.mac_key).ok_or_else(wrong)
}

/// Held while the file is replaced: two who add at once would lose one of the keys.
fn lock(path: &Path) -> Result<File, Failure> {
    let path = path.with_extension("lock");
    let lock = File::create(&path).map_err(|why| Failure::io(path.display(), &why))?;
    lock.lock().map_err(|why| Failure::io(path.display(), &why))?;
    Ok(lock)
}

fn write(path: &Path, kept: &Kept) -> Result<(), Failure> {
    let text = toml::to_string(kept)
        .map_err(|why| Failure::internal(format!("the keys are no TOML: {why}")))?;
    let new = path.with_extension("new");
    let replace = || {
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(
            b"# Made by `paycore keys new`. A gateway notices a change within seconds.\n",
        )?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    replace().map_err(|why| Failure::io(path.display(), &why))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn new(name: &str, tenant: u32, scope: Scope) -> NewKey {
        NewKey { name: name.to_owned(), tenant, scope, expires: None, rate: None }
    }

    #[test]
    fn keys_are_added_one_by_one_and_never_kept_themselves() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys.toml");
        let shop = add(&path, new("shop", 7, Scope::Tenant)).unwrap();
        let expires = Some("2027-01-01T00:00:00Z".parse().unwrap());
        let clerk = NewKey { expires, rate: Some((10, 20)), ..new("clerk", 7, Scope::Read) };
        let clerk = add(&path, clerk).unwrap();
        assert_eq!(load(&path).unwrap().len(), 2);
        let text = fs::read_to_string(&path).unwrap();
        for key in [shop, clerk] {
            let digits = key.reveal();
            assert!(!text.contains(digits.trim_start_matches("pk_")), "{text}");
        }
        assert!(text.contains("requests_per_second = 10") && text.contains("2027-01-01T00:00:00Z"));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_makes_no_keyring_is_refused_and_the_file_left_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys.toml");
        add(&path, new("shop", 7, Scope::Tenant)).unwrap();
        let before = fs::read_to_string(&path).unwrap();
        for bad in [
            new("shop", 8, Scope::Read),
            new("", 7, Scope::Read),
            new("boss", 7, Scope::Admin),
            NewKey { rate: Some((0, 1)), ..new("x", 7, Scope::Read) },
        ] {
            assert_eq!(add(&path, bad).unwrap_err().exit(), 64);
            assert_eq!(fs::read_to_string(&path).unwrap(), before);
        }
        for broken in ["", "mac_key = 1", "mac_key = \"12\"", "keys = {}", "[[keys]"] {
            fs::write(&path, broken).unwrap();
            assert!(load(&path).is_err(), "{broken}");
            assert_eq!(add(&path, new("x", 7, Scope::Read)).unwrap_err().exit(), 78, "{broken}");
        }
        assert!(load(&home.path().join("none.toml")).is_err());
    }
}

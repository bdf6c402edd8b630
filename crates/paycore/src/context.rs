//! What a person's commands remember between them: the endpoint, the API key, and names for accounts.
//!
//! An alias (`acc_lin`) is a name that somebody wrote for an account's id. It is resolved here, before anything is
//! sent, and never travels. An alias decides who is paid, so it is never moved to another account by accident:
//! [`Aliases::add`] refuses that, and the file is changed under a lock and replaced whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ledger::AccountId;
use serde::{Deserialize, Serialize};

use crate::config::settings::Secret;
use crate::config::{Problem, nearest};
use crate::exit::Failure;

/// Aliases of one file at the most: it is read whole by every command.
const ALIASES_MAX: usize = 10_000;

/// An alias's length at the most.
const ALIAS_BYTES_MAX: usize = 64;

const ACCOUNTS: &str = "accounts/";

/// The file: `$PAYCORE_CONTEXT`, else `context.toml` beside the user's settings.
///
/// # Errors
/// When the environment names neither, nor a home directory.
pub(crate) fn path() -> Result<PathBuf, Failure> {
    let named = std::env::var_os("PAYCORE_CONTEXT").filter(|value| !value.is_empty());
    named
        .map(PathBuf::from)
        .or_else(|| crate::config::config_home().map(|home| home.join("context.toml")))
        .ok_or_else(|| {
            Failure::config("there is no place for the context file")
                .with_hint("set PAYCORE_CONTEXT to a file of yours, or HOME")
        })
}

/// The file as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Kept {
    /// The gateway that commands speak to; below the environment and flags, above all settings files.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    /// The API key that commands show; likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<Secret>,
    /// Names of accounts.
    aliases: BTreeMap<String, String>,
}

/// Names of accounts, and the file they are kept in.
#[derive(Clone, Debug)]
pub(crate) struct Aliases {
    path: PathBuf,
    kept: Kept,
}

impl Aliases {
    /// Reads a file. One that is not there holds no aliases.
    ///
    /// # Errors
    /// When it is there and cannot be read, or holds something else.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Failure> {
        let kept = read(&path)?;
        Ok(Self { path, kept })
    }

    /// The settings that the context names.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let endpoint = self.kept.endpoint.iter().map(|url| ("client.endpoint", url.clone()));
        let secret = self.kept.api_key.iter();
        let api_key = secret.map(|key| ("client.api_key", key.reveal().to_owned()));
        endpoint.chain(api_key).collect()
    }

    /// Where the context is kept.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The account that a person means by a text: an alias, or an id with or without `accounts/` in front.
    ///
    /// # Errors
    /// When it is neither.
    pub(crate) fn resolve(&self, text: &str) -> Result<AccountId, Failure> {
        let name = text.strip_prefix(ACCOUNTS).unwrap_or(text);
        if let Some(id) = self.kept.aliases.get(name) {
            return id.parse().map_err(|_| self.spoilt(name, id));
        }
        name.parse().map_err(|_| {
            let known = self.kept.aliases.keys().map(String::as_str);
            let hint = match nearest(name, known) {
                Some(alias) => format!("did you mean `{alias}`?"),
                None => "an id reads acc_ and 32 hexadecimal digits; aliases are made by \
                         `paycore account open --alias`"
                    .to_owned(),
            };
            Failure::coded("INVALID_FIELD", format!("`{text}` is no account's id, and no alias"))
                .with_hint(hint)
        })
    }

    /// The alias of an account, if it has one: what a person calls it.
    pub(crate) fn alias_of(&self, account: AccountId) -> Option<&str> {
        let id = account.to_string();
        self.kept.aliases.iter().find(|(_, named)| **named == id).map(|(alias, _)| alias.as_str())
    }

    /// Refuses a text that cannot become an alias, or is one already: asked before an account is opened for it.
    ///
    /// # Errors
    /// When [`Self::add`] would refuse it for every account.
    pub(crate) fn check_new(&self, alias: &str) -> Result<(), Failure> {
        check_alias(alias)?;
        match self.kept.aliases.get(alias) {
            Some(id) => Err(taken(alias, id)),
            None => Ok(()),
        }
    }

    /// Names an account. Naming it so again changes nothing.
    ///
    /// # Errors
    /// When the alias names another account, is no alias, or cannot be kept.
    pub(crate) fn add(&mut self, alias: &str, account: AccountId) -> Result<(), Failure> {
        let id = account.to_string();
        self.change(alias, |aliases| match aliases.get(alias) {
            Some(other) if *other != id => Err(taken(alias, other)),
            Some(_) | None => {
                aliases.insert(alias.to_owned(), id);
                Ok(())
            }
        })
    }

    /// Names an account, whatever the alias named before: for whoever makes all accounts anew, as `demo` does.
    ///
    /// # Errors
    /// When it is no alias, or cannot be kept.
    pub(crate) fn set(&mut self, alias: &str, account: AccountId) -> Result<(), Failure> {
        self.change(alias, |aliases| {
            aliases.insert(alias.to_owned(), account.to_string());
            Ok(())
        })
    }

    /// Changes the file as it is by now, not as it was when this value was read.
    fn change(
        &mut self,
        alias: &str,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        check_alias(alias)?;
        let _lock = self.lock()?;
        let mut kept = read(&self.path)?;
        change(&mut kept.aliases)?;
        if kept.aliases.len() > ALIASES_MAX {
            let what = format!("more than {ALIASES_MAX} aliases in {}", self.path.display());
            return Err(Failure::config(what));
        }
        write(&self.path, &kept)?;
        self.kept = kept;
        Ok(())
    }

    /// Held while the file is replaced. The lock is a file of its own, because the other one changes its identity.
    fn lock(&self) -> Result<File, Failure> {
        let path = self.path.with_extension("lock");
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory).map_err(|why| Failure::io(directory.display(), &why))?;
        }
        let lock = File::create(&path).map_err(|why| Failure::io(path.display(), &why))?;
        lock.lock().map_err(|why| Failure::io(path.display(), &why))?;
        Ok(lock)
    }

    fn spoilt(&self, alias: &str, id: &str) -> Failure {
        let what = format!("`{alias}` stands for `{id}`, which is no account's id");
        Failure::config(Problem::new(self.path.display().to_string(), what).to_string())
    }
}

fn check_alias(alias: &str) -> Result<(), Failure> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let well_formed = (1..=ALIAS_BYTES_MAX).contains(&alias.len()) && alias.bytes().all(plain);
    // An alias that reads like an id would hide the account of that id.
    if !well_formed || alias.parse::<AccountId>().is_ok() {
        return Err(Failure::usage(format!("`{alias}` cannot be an alias")).with_hint(format!(
            "1 to {ALIAS_BYTES_MAX} letters, digits, `_`, `-`, `.`, and not an id itself"
        )));
    }
    Ok(())
}

fn taken(alias: &str, id: &str) -> Failure {
    Failure::usage(format!("`{alias}` stands for {id} already"))
        .with_hint("choose another alias, or take that one out of the context file")
}

fn read(path: &Path) -> Result<Kept, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Kept::default()),
        Err(why) => return Err(Failure::io(path.display(), &why)),
    };
    toml::from_str(&text).map_err(|why| {
        Failure::config(Problem::new(path.display().to_string(), why.message()).to_string())
    })
}

/// Writes a file whole: whoever reads it sees the old one or the new one. It may hold a key, so it is its owner's alone.
fn write(path: &Path, kept: &Kept) -> Result<(), Failure> {
    let text = toml::to_string(kept)
        .map_err(|why| Failure::internal(format!("the context is no TOML: {why}")))?;
    let new = path.with_extension("new");
    let replace = || {
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    replace().map_err(|why| Failure::io(path.display(), &why))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIN: AccountId = AccountId::from_u128(0x0192_0000_0000_7000_8000_0000_dead_b123);
    const WANG: AccountId = AccountId::from_u128(0x0192_0000_0000_7000_8000_0000_beef_b456);

    fn aliases() -> (tempfile::TempDir, Aliases) {
        let home = tempfile::tempdir().unwrap();
        let aliases = Aliases::open(home.path().join("deep/context.toml")).unwrap();
        (home, aliases)
    }

    #[test]
    fn an_alias_stands_for_its_account_from_then_on() {
        let (_home, mut aliases) = aliases();
        aliases.add("acc_lin", LIN).unwrap();
        aliases.add("acc_wang", WANG).unwrap();
        let again = Aliases::open(aliases.path().to_path_buf()).unwrap();
        assert_eq!(again.resolve("acc_lin"), Ok(LIN));
        assert_eq!(again.resolve("accounts/acc_lin"), Ok(LIN));
        assert_eq!(again.resolve(&WANG.to_string()), Ok(WANG));
        assert_eq!(again.alias_of(WANG), Some("acc_wang"));
    }

    #[test]
    fn an_alias_is_never_moved_by_accident() {
        let (_home, mut aliases) = aliases();
        // Read before the other one names acc_lin.
        let mut late = aliases.clone();
        aliases.add("acc_lin", LIN).unwrap();
        late.add("acc_lin", LIN).unwrap();
        assert_eq!(late.add("acc_lin", WANG).unwrap_err().exit(), 64);
        assert_eq!(late.check_new("acc_lin").unwrap_err().exit(), 64);
        assert_eq!(Aliases::open(aliases.path().into()).unwrap().resolve("acc_lin"), Ok(LIN));
        late.set("acc_lin", WANG).unwrap();
        assert_eq!(Aliases::open(aliases.path().into()).unwrap().resolve("acc_lin"), Ok(WANG));
    }

    #[test]
    fn what_is_no_account_is_refused_with_what_was_meant() {
        let (_home, mut aliases) = aliases();
        aliases.add("acc_wang", LIN).unwrap();
        let wrong = aliases.resolve("acc_wnag").unwrap_err();
        assert_eq!((wrong.exit(), wrong.hint()), (2, Some("did you mean `acc_wang`?")));
        for bad in ["", "a b", "家", &"a".repeat(65), &LIN.to_string()] {
            assert_eq!(aliases.check_new(bad).unwrap_err().exit(), 64, "{bad}");
        }
    }

    #[test]
    fn a_spoilt_file_is_refused_and_left_as_it_is() {
        let (_home, mut aliases) = aliases();
        aliases.add("acc_lin", LIN).unwrap();
        for spoilt in ["aliases = 1", "alias = {}", "[aliases"] {
            fs::write(aliases.path(), spoilt).unwrap();
            assert_eq!(Aliases::open(aliases.path().into()).unwrap_err().exit(), 78, "{spoilt}");
            assert_eq!(aliases.add("acc_wang", WANG).unwrap_err().exit(), 78, "{spoilt}");
            assert_eq!(fs::read_to_string(aliases.path()).unwrap(), spoilt);
        }
        fs::write(aliases.path(), "[aliases]\nacc_lin = \"acc_1\"\n").unwrap();
        let aliases = Aliases::open(aliases.path().into()).unwrap();
        assert_eq!(aliases.resolve("acc_lin").unwrap_err().exit(), 78);
    }
}

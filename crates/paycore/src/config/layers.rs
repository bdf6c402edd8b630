//! Defaults ← `/etc/paycore/config.toml` ← the user's file ← the context ← `PAYCORE_API_KEY` ← `PAYCORE__SECTION__KEY`
//! ← flags.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::value::Value;
use figment::{Figment, Metadata};

use super::problem::{Problem, check_toml, key_of};
use super::settings::{HIDDEN, SECRETS, Settings};

/// The machine's settings.
const SYSTEM_FILE: &str = "/etc/paycore/config.toml";

/// What every variable of ours begins with. The second underscore keeps `PAYCORE_CONTEXT` and its like out.
const ENV_PREFIX: &str = "PAYCORE__";

/// The API key's own variable, for those who know no sections.
const API_KEY: &str = "PAYCORE_API_KEY";

const DEFAULTS: &str = "default";
const CONTEXT: &str = "context";

/// A setting that was given as a flag.
#[derive(Clone, Debug)]
pub(crate) struct Flag {
    /// The flag, such as `--endpoint`.
    pub(crate) name: &'static str,
    /// The setting, such as `client.endpoint`.
    pub(crate) key: &'static str,
    /// Its value.
    pub(crate) value: Value,
}

impl Flag {
    /// A flag and the setting that it stands for.
    pub(crate) fn new(name: &'static str, key: &'static str, value: impl Into<Value>) -> Self {
        Self { name, key, value: value.into() }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody set it.
    Default,
    /// A settings file.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str(DEFAULTS),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// All layers of settings, one above the other.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    figment: Figment,
}

impl Layers {
    /// Puts the layers together. `file` is the user's file, if one was named; it must then be there. The two usual
    /// files need not be. `context` are the settings that a context file names.
    ///
    /// # Errors
    /// When a file cannot be read or is no TOML.
    pub(crate) fn gather(
        file: Option<&Path>,
        context: Option<(&Path, Vec<(&'static str, String)>)>,
        flags: Vec<Flag>,
    ) -> Result<Self, Problem> {
        let mut figment = Figment::from(named(DEFAULTS, Serialized::defaults(Settings::default())));
        let user_file = file.map(Path::to_path_buf).or_else(user_file);
        for path in [Some(PathBuf::from(SYSTEM_FILE)), user_file].into_iter().flatten() {
            let must_be_there = file == Some(path.as_path());
            if must_be_there || path.exists() {
                figment = figment.merge(file_layer(&path)?);
            }
        }
        let (path, named_there) = context.unzip();
        for (key, value) in named_there.into_iter().flatten() {
            let (file, layer) = (path.map(Path::to_path_buf), Serialized::default(key, value));
            figment = figment.merge(Named { name: CONTEXT, file, layer });
        }
        if let Some(key) = env::var(API_KEY).ok().filter(|key| !key.is_empty()) {
            figment = figment.merge(named(API_KEY, Serialized::default("client.api_key", key)));
        }
        figment = figment.merge(Env::prefixed(ENV_PREFIX).split("__"));
        for Flag { name, key, value } in flags {
            figment = figment.merge(named(name, Serialized::default(key, value)));
        }
        Ok(Self { figment })
    }

    /// The settings that hold.
    ///
    /// # Errors
    /// With everything that is wrong: unknown keys, values of the wrong kind, values that cannot work.
    pub(crate) fn settings(&self) -> Result<Settings, Vec<Problem>> {
        let settings: Settings = self.figment.extract().map_err(|error| {
            error.into_iter().map(|error| self.problem(&error)).collect::<Vec<_>>()
        })?;
        settings.check().map_err(|(key, problem)| {
            vec![Problem::new(self.origin(key).to_string(), problem.to_string())]
        })?;
        Ok(settings)
    }

    /// Every setting, its value, and where that came from, in the order of their names.
    pub(crate) fn origins(&self) -> Vec<(String, String, Origin)> {
        let mut found = Vec::new();
        if let Ok(root) = self.figment.extract::<Value>() {
            leaves(&root, "", &mut |key, value| {
                let is_secret = SECRETS.contains(&key) && !value.is_empty();
                let value = if is_secret { HIDDEN.to_owned() } else { value };
                found.push((key.to_owned(), value, self.origin(key)));
            });
        }
        found
    }

    /// Where a setting's value came from.
    fn origin(&self, key: &str) -> Origin {
        let Some(metadata) = self.figment.find_metadata(key) else {
            return Origin::Default;
        };
        if let Some(path) = metadata.source.as_ref().and_then(figment::Source::file_path) {
            return Origin::File(path.to_path_buf());
        }
        match metadata.name.as_ref() {
            DEFAULTS => Origin::Default,
            API_KEY => Origin::Variable(API_KEY.to_owned()),
            flag if flag.starts_with("--") => Origin::Flag(flag.to_owned()),
            _ => Origin::Variable(format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase())),
        }
    }

    fn problem(&self, error: &figment::Error) -> Problem {
        let origin = key_of(error).map_or(Origin::Default, |key| self.origin(&key));
        match &origin {
            Origin::File(path) => {
                let text = std::fs::read_to_string(path).unwrap_or_default();
                Problem::in_file(path, &text, error)
            }
            Origin::Default | Origin::Variable(_) | Origin::Flag(_) => {
                Problem::in_layer(origin.to_string(), error)
            }
        }
    }
}

/// One settings file by itself, checked as strictly as all layers together.
///
/// # Errors
/// With everything that is wrong with it.
pub(crate) fn check_file(path: &Path) -> Result<(), Vec<Problem>> {
    let defaults = Figment::from(named(DEFAULTS, Serialized::defaults(Settings::default())));
    let layer = file_layer(path).map_err(|problem| vec![problem])?;
    Layers { figment: defaults.merge(layer) }.settings().map(drop)
}

fn file_layer(path: &Path) -> Result<figment::providers::Data<Toml>, Problem> {
    let text = std::fs::read_to_string(path)
        .map_err(|why| Problem::new(path.display().to_string(), why.to_string()))?;
    check_toml(path, &text)?;
    Ok(Toml::file_exact(path))
}

/// The user's own settings: `$XDG_CONFIG_HOME/paycore/config.toml`, else under `~/.config`.
fn user_file() -> Option<PathBuf> {
    config_home().map(|home| home.join("config.toml"))
}

/// Where a user's files of ours lie.
pub(crate) fn config_home() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .map(|config| config.join("paycore"))
}

/// A provider under a name of ours, by which [`Layers::origin`] knows it again.
fn named<T: serde::Serialize>(name: &'static str, layer: Serialized<T>) -> impl figment::Provider {
    Named { name, file: None, layer }
}

struct Named<T> {
    name: &'static str,
    file: Option<PathBuf>,
    layer: Serialized<T>,
}

impl<T: serde::Serialize> figment::Provider for Named<T> {
    fn metadata(&self) -> Metadata {
        let metadata = Metadata::named(self.name);
        match &self.file {
            Some(file) => metadata.source(file.as_path()),
            None => metadata,
        }
    }

    fn data(
        &self,
    ) -> Result<figment::value::Map<figment::Profile, figment::value::Dict>, figment::Error> {
        self.layer.data()
    }
}

/// Calls `see` for every value that is no table.
fn leaves(value: &Value, path: &str, see: &mut impl FnMut(&str, String)) {
    match value {
        Value::Dict(_, dict) => {
            for (name, value) in dict {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(value, &path, see);
            }
        }
        Value::Empty(..) => see(path, String::new()),
        Value::String(_, text) => see(path, text.clone()),
        Value::Char(_, c) => see(path, c.to_string()),
        Value::Bool(_, truth) => see(path, truth.to_string()),
        Value::Num(_, num) => see(path, number(*num)),
        Value::Array(_, items) => see(path, format!("{} items", items.len())),
    }
}

fn number(num: figment::value::Num) -> String {
    num.to_i128()
        .map(|n| n.to_string())
        .or_else(|| num.to_u128().map(|n| n.to_string()))
        .unwrap_or_else(|| format!("{num:?}"))
}

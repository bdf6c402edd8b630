//! What is wrong with a configuration, told so that it can be put right at once.

use std::path::Path;

use figment::error::{Error, Kind};

/// How alike two names must be for one to pass for a misspelling of the other, by Jaro-Winkler: high enough that
/// `port` is not offered for `path`, low enough that a swapped or missing letter is forgiven.
const ALIKE: f64 = 0.75;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub(crate) struct Problem {
    place: String,
    what: String,
}

impl Problem {
    /// Something wrong at a place: a file, a line of it, a key, a variable.
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }

    /// What figment found in a file, whose text says on which line.
    pub(crate) fn in_file(file: &Path, text: &str, error: &Error) -> Self {
        let key = key_of(error);
        let place = match key.as_deref().and_then(|key| line_of(text, key)) {
            Some(line) => format!("{}:{line}", file.display()),
            None => file.display().to_string(),
        };
        Self::new(place, what(error, key.as_deref()))
    }

    /// What figment found in some layer that is called `place`.
    pub(crate) fn in_layer(place: String, error: &Error) -> Self {
        Self::new(place, what(error, key_of(error).as_deref()))
    }
}

/// Refuses a text that is no TOML: the parser that comes after keeps no positions, this one does.
///
/// # Errors
/// With the line on which it stops being TOML.
pub(crate) fn check_toml(file: &Path, text: &str) -> Result<(), Problem> {
    text.parse::<toml::Table>().map(drop).map_err(|why| {
        let end = why.span().map_or(0, |span| span.start);
        let before = text.as_bytes().get(..end).unwrap_or(text.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
        Problem::new(format!("{}:{line}", file.display()), why.message())
    })
}

/// The name among `known` that was probably meant by `written`.
pub(crate) fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(written, name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

/// The key that an error is about, with dots: `consensus.heartbeat_ms`.
pub(crate) fn key_of(error: &Error) -> Option<String> {
    let mut path = error.path.clone();
    if let Kind::UnknownField(field, _) = &error.kind
        && path.last() != Some(field)
    {
        path.push(field.clone());
    }
    if let Kind::MissingField(field) = &error.kind {
        path.push(field.to_string());
    }
    (!path.is_empty()).then(|| path.join("."))
}

/// Which of several errors' kinds it is, in words.
#[expect(clippy::wildcard_enum_match_arm, reason = "figment's own words do for all other kinds")]
fn what(error: &Error, key: Option<&str>) -> String {
    let key = key.unwrap_or("it");
    match &error.kind {
        Kind::UnknownField(field, known) => {
            format!("unknown key `{key}`{}", meant(field, known, "keys here"))
        }
        Kind::UnknownVariant(found, known) => {
            format!("`{key}` is `{found}`{}", meant(found, known, "values"))
        }
        Kind::MissingField(_) => format!("`{key}` is missing"),
        Kind::Message(message) if error.path.is_empty() => message.trim_end().to_owned(),
        other => format!("`{key}`: {other}"),
    }
}

fn meant(written: &str, known: &[&str], what: &str) -> String {
    match nearest(written, known.iter().copied()) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => format!("; {what}: {}", known.join(", ")),
    }
}

/// The line, counted from 1, on which the last part of a key stands. With several, the one after the header of its
/// table; figment keeps no positions, so a key written inline in braces is not found, and its file alone is named.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
    let (table, place) = match table.rsplit_once('.') {
        Some((list, number)) if number.bytes().all(|b| b.is_ascii_digit()) => {
            (list, number.parse().ok()?)
        }
        Some(_) | None => (table, 0_usize),
    };
    let mut here = table.is_empty();
    let mut seen = 0_usize;
    for (line, number) in text.lines().zip(1_usize..) {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_matches(['[', ']']).trim();
            if header == key {
                return Some(number);
            }
            here = header == table && seen == place;
            seen = seen.saturating_add(usize::from(header == table));
        } else if here && line.split('=').next().is_some_and(|left| left.trim() == name) {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_is_the_most_alike_one() {
        let known = ["heartbeat_ms", "election_min_ms", "election_max_ms"];
        assert_eq!(nearest("heartbeet_ms", known), Some("heartbeat_ms"));
        assert_eq!(nearest("election_mx_ms", known), Some("election_max_ms"));
        assert_eq!(nearest("colour", known), None);
    }

    #[test]
    fn a_key_is_found_in_its_own_table() {
        let text = "name = 1\n[a]\nid = 1\n[[nodes]]\nid = 2\n[[nodes]]\nid = 3\n[b]\n";
        assert_eq!(line_of(text, "name"), Some(1));
        assert_eq!(line_of(text, "a.id"), Some(3));
        assert_eq!(line_of(text, "nodes.0.id"), Some(5));
        assert_eq!(line_of(text, "nodes.1.id"), Some(7));
        assert_eq!(line_of(text, "b"), Some(8), "a table that nobody knows");
        assert_eq!(line_of(text, "nodes.2.id"), None);
        assert_eq!(line_of(text, "b.id"), None);
    }
}

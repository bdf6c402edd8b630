//! `Idempotency-Key`, after draft 07 of the IETF's document of that name.
//!
//! The draft wants a string of RFC 8941, in double quotes. A bare token is understood too, because that is what most
//! clients send. What is in it is read as on gRPC: a UUIDv7 keeps its time, any other text of 1 to 255 bytes will do.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use wire::convert::{self, Refusal};

use super::problem::Problem;

const NAME: &str = "idempotency-key";

/// The caller's name for what it wants.
#[derive(Debug)]
pub(super) struct IdempotencyKey(pub(super) String);

impl FromRequest for IdempotencyKey {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let mut said = request.headers().get_all(NAME);
        let read = match (said.next(), said.next()) {
            (None, _) => Err(Refusal::MissingKey),
            (Some(key), None) => read(key.as_bytes()),
            (Some(_), Some(_)) => Err(wrong("one key")),
        };
        // A body is not read for a key that will not do.
        let read = read.and_then(|key| convert::key(&key).map(|_| Self(key)));
        ready(read.map_err(Problem::from))
    }
}

fn wrong(what: &'static str) -> Refusal {
    Refusal::field("idempotency_key", what)
}

fn read(said: &[u8]) -> Result<String, Refusal> {
    let said = std::str::from_utf8(said).map_err(|_| wrong("UTF-8"))?.trim_ascii();
    match said.strip_prefix('"') {
        Some(quoted) => unquote(quoted),
        None if said.bytes().all(is_bare) => Ok(said.to_owned()),
        None => Err(wrong(
            "in double quotes, if it is more than letters, digits and -._~:/+=@!#$%&'*^`|",
        )),
    }
}

/// What a token of RFC 9110 may have, and what keys in the wild have besides.
const fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-'..=b'/' | b':' | b'=' | b'@' | b'^'..=b'`' | b'|' | b'~')
}

/// Reads the rest of a quoted string; after its end nothing may follow.
fn unquote(quoted: &str) -> Result<String, Refusal> {
    let mut key = String::with_capacity(quoted.len());
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if letters.as_str().is_empty() => return Ok(key),
            '"' => return Err(wrong("nothing after the closing quote")),
            '\\' => match letters.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                Some(_) | None => {
                    return Err(wrong("a backslash only before a quote or a backslash"));
                }
            },
            control if control.is_control() => return Err(wrong("no control characters")),
            other => key.push(other),
        }
    }
    Err(wrong("a closing quote"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_quoted_string_or_a_bare_token() {
        for (said, key) in [
            (r#""8e03978e-40d5-43dd-bc93-6894a57f9324""#, "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ("order/2026:17", "order/2026:17"),
            (r#""two words, one \"quoted\" \\""#, r#"two words, one "quoted" \"#),
            ("\"红包 1\"", "红包 1"),
            (r#"  "spaces around"  "#, "spaces around"),
            (r#""""#, ""),
            ("", ""),
        ] {
            assert_eq!(read(said.as_bytes()).unwrap(), key, "{said}");
        }
        for bad in
            ["a, b", "two words", "\"open", "\"a\"b", "\"a\"; p=1", r#""\n""#, "\"\u{7}\"", "a;b"]
        {
            assert_eq!(read(bad.as_bytes()).unwrap_err().code(), "INVALID_FIELD", "{bad}");
        }
        assert!(read(b"\xff").is_err());
    }
}

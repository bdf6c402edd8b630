//! Where in an HTTP request something is wrong.
//!
//! The shared conversion names fields of the protobuf message. Over HTTP the same things stand in other places: a key in
//! a header, a name in the path, a page size in the query, the rest in the body, which errors point into by RFC 6901.

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the body, by its JSON pointer; empty for all of it.
    Body(String),
    /// In a header.
    Header(&'static str),
    /// In the path or the query.
    Parameter(String),
}

impl Place {
    /// Where a field of the message stands. `is_read` says that the call has no body.
    pub(super) fn of(field: &str, is_read: bool) -> Self {
        match field {
            crate::deadline::TIMEOUT => Self::Header("Grpc-Timeout"),
            "idempotency_key" if !is_read => Self::Header("Idempotency-Key"),
            "name" | "parent" => Self::Parameter("id".to_owned()),
            "page_size" => Self::Parameter("limit".to_owned()),
            "page_token" => Self::Parameter("cursor".to_owned()),
            other if is_read => Self::Parameter(other.to_owned()),
            other => Self::Body(pointer(other)),
        }
    }

    /// As a sentence begins with it.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Body(pointer) if pointer.is_empty() => "the body",
            Self::Body(pointer) => pointer,
            Self::Header(name) => name,
            Self::Parameter(name) => name,
        }
    }
}

/// A message's field path, such as `legs[3].units_minor`, as a JSON pointer. What is a pointer already stays one.
pub(super) fn pointer(path: &str) -> String {
    if path.is_empty() || path.starts_with('/') {
        return path.to_owned();
    }
    let mut pointer = String::with_capacity(path.len().saturating_add(1));
    let mut within = "";
    for segment in path.split(['.', '[', ']']).filter(|segment| !segment.is_empty()) {
        let is_money = matches!(within, "amount" | "opening_balance");
        let shown = match segment {
            "units_minor" if is_money => "amount",
            "currency_code" if is_money => "currency",
            "ttl" => "ttl_ms",
            other => other,
        };
        pointer.push('/');
        pointer.push_str(shown);
        within = segment;
    }
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_the_message_is_found_in_the_request() {
        for (path, expected) in [
            ("debit_account", "/debit_account"),
            ("amount.units_minor", "/amount/amount"),
            ("amount.currency_code", "/amount/currency"),
            ("opening_balance.currency_code", "/opening_balance/currency"),
            ("currency_code", "/currency_code"),
            ("units_minor", "/units_minor"),
            ("legs[3].units_minor", "/legs/3/units_minor"),
            ("ttl", "/ttl_ms"),
            ("/already/one", "/already/one"),
            ("", ""),
        ] {
            assert_eq!(Place::of(path, false), Place::Body(expected.to_owned()));
        }
        assert_eq!(Place::of("idempotency_key", false), Place::Header("Idempotency-Key"));
        let parameter = |name: &str| Place::Parameter(name.to_owned());
        assert_eq!(Place::of("idempotency_key", true), parameter("idempotency_key"));
        assert_eq!(Place::of("name", false), parameter("id"));
        assert_eq!(Place::of("page_size", true), parameter("limit"));
        assert_eq!(Place::of("subject", true), parameter("subject"));
    }
}

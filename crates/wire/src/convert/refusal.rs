//! What the edge refuses by itself.

use std::borrow::Cow;

use crate::catalogue;

/// A field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Its path in the request, such as `amount.units_minor`.
    pub field: Cow<'static, str>,
    /// What it should be.
    pub description: Cow<'static, str>,
}

/// Why the edge refuses. Nothing was proposed, and the same request will be refused again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Correct the fields named.
    #[error("{}", describe(.0))]
    InvalidField(Vec<FieldViolation>),
    /// Give the request an idempotency key.
    #[error("a mutating request needs an idempotency key")]
    MissingKey,
    /// Send fewer requests at once, or at least one.
    #[error("{0} requests at once; 1 to 8192 are taken, of at most 4 MiB together")]
    BatchTooLarge(usize),
    /// Use the page token as it came, for the same account.
    #[error("the page token is not one of this account's")]
    PageTokenInvalid,
    /// Nothing was done under this key so far.
    #[error("no outcome is known under this key")]
    OutcomeNotFound,
    /// Use a name that the tenant has given, or the account's id.
    #[error("`{0}` is no account's id, and no name that the tenant has given to one")]
    AliasNotFound(String),
    /// Check the table's name, and from when on it is in force.
    #[error("no table of this name is in force then")]
    TableNotFound,
    /// Operators: read the balance another way.
    #[error("a balance does not fit 64 bits")]
    BalanceUnrepresentable,
    /// Send a valid API key.
    #[error("{0}")]
    Unauthenticated(CredentialFault),
    /// Use an API key that may do this.
    #[error("{0}")]
    PermissionDenied(Forbidden),
    /// Give the gateway a key file: its secret is what keys are kept under.
    #[error("this gateway runs without keys: start it with `--keys FILE`")]
    KeysAbsent,
    /// Look the path up.
    #[error("nothing is served under this path")]
    RouteNotFound,
    /// Use another method.
    #[error("the path does not take this method")]
    MethodNotAllowed,
    /// Send less at once.
    #[error("the body has more than {0} bytes")]
    BodyTooLarge(usize),
    /// Send plain JSON.
    #[error("the body is not sent as plain application/json")]
    MediaTypeUnsupported,
}

/// Why a caller is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFault {
    /// Send one.
    #[error("no API key: send `authorization: Bearer pk_…`")]
    Missing,
    /// Send it as it was shown when it was made.
    #[error("the authorization is no API key: it reads `Bearer pk_` and 64 hexadecimal digits")]
    Malformed,
    /// Ask the operator for one that is known here.
    #[error("the API key is not known here")]
    Unknown,
    /// Ask the operator for a new one.
    #[error("the API key has expired")]
    Expired,
}

/// Why a caller may not do what he asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Use a key of scope `tenant`.
    #[error("the API key may read, and nothing else")]
    ReadOnly,
    /// Name no tenant, or the key's own.
    #[error("the API key acts for its own tenant alone")]
    OtherTenant,
    /// Open the account without an opening balance, and have the operator pay into it.
    #[error("an opening balance is the operator's money: only a key of scope `admin` gives one")]
    OpeningBalance,
    /// Use a key of scope `admin`.
    #[error("only a key of scope `admin` may ask for this")]
    Operators,
}

impl Refusal {
    /// One field is wrong.
    #[must_use]
    pub fn field(
        field: impl Into<Cow<'static, str>>,
        description: impl Into<Cow<'static, str>>,
    ) -> Self {
        let violation = FieldViolation { field: field.into(), description: description.into() };
        Self::InvalidField(vec![violation])
    }

    /// The code by which everybody outside knows it: stable for ever.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidField(_) => "INVALID_FIELD",
            Self::MissingKey => "MISSING_KEY",
            Self::BatchTooLarge(_) => "BATCH_TOO_LARGE",
            Self::PageTokenInvalid => "PAGE_TOKEN_INVALID",
            Self::OutcomeNotFound => "OUTCOME_NOT_FOUND",
            Self::AliasNotFound(_) => "ALIAS_NOT_FOUND",
            Self::TableNotFound => "TABLE_NOT_FOUND",
            Self::BalanceUnrepresentable => "BALANCE_UNREPRESENTABLE",
            Self::Unauthenticated(_) => "UNAUTHENTICATED",
            Self::PermissionDenied(_) => "PERMISSION_DENIED",
            Self::KeysAbsent => "KEYS_ABSENT",
            Self::RouteNotFound => "ROUTE_NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::BodyTooLarge(_) => "BODY_TOO_LARGE",
            Self::MediaTypeUnsupported => "MEDIA_TYPE_UNSUPPORTED",
        }
    }

    /// What the catalogue says about it.
    ///
    /// # Panics
    /// Never: a test compares the two.
    #[must_use]
    pub fn entry(&self) -> &'static catalogue::Entry {
        catalogue::find(self.code()).expect("every refusal is in the catalogue")
    }

    /// Which fields are wrong.
    #[must_use]
    pub fn violations(&self) -> Vec<FieldViolation> {
        match self {
            Self::InvalidField(violations) => violations.clone(),
            Self::MissingKey => vec![FieldViolation {
                field: Cow::Borrowed("idempotency_key"),
                description: Cow::Borrowed("1 to 255 bytes; best is a UUIDv7"),
            }],
            Self::BatchTooLarge(_) => vec![FieldViolation {
                field: Cow::Borrowed("requests"),
                description: Cow::Borrowed("1 to 8192 requests, of at most 4 MiB together"),
            }],
            Self::PageTokenInvalid => vec![FieldViolation {
                field: Cow::Borrowed("page_token"),
                description: Cow::Borrowed("the next_page_token of the page before"),
            }],
            Self::OutcomeNotFound
            | Self::AliasNotFound(_)
            | Self::TableNotFound
            | Self::BalanceUnrepresentable
            | Self::Unauthenticated(_)
            | Self::PermissionDenied(_)
            | Self::KeysAbsent
            | Self::RouteNotFound
            | Self::MethodNotAllowed
            | Self::BodyTooLarge(_)
            | Self::MediaTypeUnsupported => Vec::new(),
        }
    }

    /// One of each, for tests of the catalogue.
    #[must_use]
    pub fn every() -> [Self; 15] {
        [
            Self::field("amount", "wrong"),
            Self::MissingKey,
            Self::BatchTooLarge(0),
            Self::PageTokenInvalid,
            Self::OutcomeNotFound,
            Self::AliasNotFound("acc_lin".to_owned()),
            Self::TableNotFound,
            Self::BalanceUnrepresentable,
            Self::Unauthenticated(CredentialFault::Unknown),
            Self::PermissionDenied(Forbidden::ReadOnly),
            Self::KeysAbsent,
            Self::RouteNotFound,
            Self::MethodNotAllowed,
            Self::BodyTooLarge(0),
            Self::MediaTypeUnsupported,
        ]
    }
}

fn describe(violations: &[FieldViolation]) -> String {
    let said: Vec<_> =
        violations.iter().map(|wrong| format!("{}: {}", wrong.field, wrong.description)).collect();
    said.join("; ")
}

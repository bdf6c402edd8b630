//! What can be wrong with a row: each with a code of its own, and the column where there is one.

/// Why a row is no payment. Nothing was sent for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRow {
    /// Shorten the line, or look for a line break that is missing.
    #[error("the row is longer than {0} bytes")]
    TooLong(usize),
    /// Close the quotes. A field cannot run over several lines.
    #[error("a quote is not closed on its line")]
    OpenQuote,
    /// Write the file in UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(ColumnName),
    /// Give the row all columns that the map uses.
    #[error("{column} is missing: the row has {found}")]
    Missing {
        /// Which one.
        column: ColumnName,
        /// How many columns the row has.
        found: usize,
    },
    /// Fill the column.
    #[error("{0} is empty")]
    Empty(ColumnName),
    /// Write what the map asks for in this column.
    #[error("{column} is `{found}`, not {wanted}")]
    Shape {
        /// Which one.
        column: ColumnName,
        /// What stands there, cut if it is long.
        found: String,
        /// What the map asks for.
        wanted: &'static str,
    },
    /// Write digits, and a point before decimals: `245.20`.
    #[error("{column} is `{found}`, not an amount")]
    NoAmount {
        /// Which one.
        column: ColumnName,
        /// What stands there, cut if it is long.
        found: String,
    },
    /// A payment the other way is another row.
    #[error("{0} is negative")]
    Negative(ColumnName),
    /// Nothing is ever rounded: write as many decimals as the map says.
    #[error("{column} has {found} decimals, the map allows {allowed}")]
    Decimals {
        /// Which one.
        column: ColumnName,
        /// How many there are.
        found: usize,
        /// How many there may be.
        allowed: usize,
    },
    /// Leave out what pays nothing.
    #[error("{0} is zero")]
    Zero(ColumnName),
    /// Split the payment.
    #[error("{0} is more than 10^15 minor units")]
    TooLarge(ColumnName),
    /// Name two different accounts.
    #[error("payer and payee are the same account")]
    SameAccount,
}

impl BadRow {
    /// The code by which the report knows it: stable for ever.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "ROW_TOO_LONG",
            Self::OpenQuote => "OPEN_QUOTE",
            Self::NotUtf8(_) => "NOT_UTF8",
            Self::Missing { .. } => "MISSING_COLUMN",
            Self::Empty(_) => "EMPTY_COLUMN",
            Self::Shape { .. } => "ACCOUNT_SHAPE",
            Self::NoAmount { .. } => "NO_AMOUNT",
            Self::Negative(_) => "NEGATIVE_AMOUNT",
            Self::Decimals { .. } => "TOO_MANY_DECIMALS",
            Self::Zero(_) => "ZERO_AMOUNT",
            Self::TooLarge(_) => "AMOUNT_TOO_LARGE",
            Self::SameAccount => "SAME_ACCOUNT",
        }
    }

    /// The column that is wrong, if it is one.
    pub(super) const fn column(&self) -> Option<&ColumnName> {
        match self {
            Self::NotUtf8(column)
            | Self::Missing { column, .. }
            | Self::Empty(column)
            | Self::Shape { column, .. }
            | Self::NoAmount { column, .. }
            | Self::Negative(column)
            | Self::Decimals { column, .. }
            | Self::Zero(column)
            | Self::TooLarge(column) => Some(column),
            Self::TooLong(_) | Self::OpenQuote | Self::SameAccount => None,
        }
    }
}

/// A column as a person finds it: its number, and its name where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ColumnName {
    pub(super) number: usize,
    pub(super) name: Option<String>,
}

impl std::fmt::Display for ColumnName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "column {} (`{name}`)", self.number),
            None => write!(f, "column {}", self.number),
        }
    }
}

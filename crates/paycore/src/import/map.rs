//! The map: what the columns of a file mean, as a person wrote it down.
//!
//! ```toml
//! namespace = "berka"                 # ids and keys of different namespaces never meet
//! currency = "CZK"
//! periods = 12                        # every row is paid so many times
//!
//! [file]
//! delimiter = "tab"                   # comma, tab, semicolon, pipe
//! header = false                      # whether the first line has titles
//! quotes = false                      # whether "…" may enclose a field
//!
//! [columns]                           # names for columns, and what must stand in them
//! account = { at = 2, shape = "digits" }
//! amount = { at = 5 }
//!
//! [payment]
//! amount = "amount"                   # a column, by name or number
//! decimals = 2
//!
//! [payer]
//! account = "acc:{account}"           # names the account; columns by name or number
//! owner = "acc:{account}"             # accounts of one owner live together; as `account` when absent
//! opening = "covers-all"              # or an amount, or "nothing"
//!
//! [payee]
//! account = "payee:{3}:{4}"
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use figment::Figment;
use figment::providers::{Format as _, Toml};
use ledger::{Amount, Currency};
use serde::Deserialize;

use super::error::ColumnName;
use super::row::Reading;
use super::template::Template;
use crate::config::{Problem, nearest};

/// Columns of a file at the most.
const COLUMNS_MAX: usize = 1_000;

/// Periods at the most: a century of months.
pub(crate) const PERIODS_MAX: u32 = 1_200;

/// A namespace's length at the most.
const NAMESPACE_BYTES_MAX: usize = 64;

/// A map as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Map {
    /// Keeps ids and keys of different imports apart.
    pub(super) namespace: String,
    /// ISO 4217.
    currency: String,
    /// How often every row is paid.
    #[serde(default = "once")]
    pub(super) periods: u32,
    /// How the file is written.
    #[serde(default)]
    pub(super) file: Dialect,
    /// Names and shapes of columns.
    #[serde(default)]
    columns: BTreeMap<String, ColumnSpec>,
    payment: PaymentSpec,
    payer: PayerSpec,
    payee: PartySpec,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Dialect {
    /// What stands between two fields.
    pub(super) delimiter: Delimiter,
    /// Whether the first line has titles.
    pub(super) header: bool,
    /// Whether double quotes may enclose a field. A quoted field may contain the delimiter, but no line break.
    pub(super) quotes: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { delimiter: Delimiter::Comma, header: true, quotes: true }
    }
}

/// What stands between two fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Delimiter {
    /// `,`
    Comma,
    /// A tabulator.
    Tab,
    /// `;`
    Semicolon,
    /// `|`
    Pipe,
}

impl Delimiter {
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Tab => b'\t',
            Self::Semicolon => b';',
            Self::Pipe => b'|',
        }
    }
}

/// What must stand in a column that names an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Shape {
    /// Anything that a person can read.
    #[default]
    Text,
    /// 0 to 9.
    Digits,
    /// A to Z, in either case.
    Letters,
    /// Digits and letters.
    Alphanumeric,
}

impl Shape {
    pub(super) fn fits(self, value: &str) -> bool {
        match self {
            Self::Text => !value.chars().any(char::is_control) && !value.trim().is_empty(),
            Self::Digits => value.bytes().all(|b| b.is_ascii_digit()),
            Self::Letters => value.bytes().all(|b| b.is_ascii_alphabetic()),
            Self::Alphanumeric => value.bytes().all(|b| b.is_ascii_alphanumeric()),
        }
    }

    pub(super) const fn wanted(self) -> &'static str {
        match self {
            Self::Text => "readable text",
            Self::Digits => "digits",
            Self::Letters => "letters",
            Self::Alphanumeric => "letters and digits",
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnSpec {
    at: Option<usize>,
    title: Option<String>,
    #[serde(default)]
    shape: Shape,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PaymentSpec {
    amount: String,
    decimals: Option<usize>,
    identity: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartySpec {
    account: String,
    owner: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PayerSpec {
    account: String,
    owner: Option<String>,
    opening: String,
}

/// What a payer's account begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// What the file's payments take from it in all periods, rounded up to whole units of the currency.
    CoversAll,
    /// The same for everybody.
    Fixed(Amount),
    /// Nothing.
    Nothing,
}

const fn once() -> u32 {
    1
}

impl Map {
    /// Reads a map.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub(crate) fn load(path: &Path) -> Result<Self, Vec<Problem>> {
        let text = std::fs::read_to_string(path)
            .map_err(|why| vec![Problem::new(path.display().to_string(), why.to_string())])?;
        Self::read(path, &text)
    }

    /// Reads a map out of a text that came from `path`.
    pub(super) fn read(path: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        crate::config::check_toml(path, text).map_err(|problem| vec![problem])?;
        let map: Self = Figment::from(Toml::string(text)).extract().map_err(|error| {
            error.into_iter().map(|error| Problem::in_file(path, text, &error)).collect::<Vec<_>>()
        })?;
        map.check().map_err(|what| vec![Problem::new(path.display().to_string(), what)])?;
        Ok(map)
    }

    /// What can be said without having seen the file.
    fn check(&self) -> Result<(), String> {
        let namespace = &self.namespace;
        if namespace.is_empty()
            || namespace.len() > NAMESPACE_BYTES_MAX
            || namespace.chars().any(char::is_control)
        {
            return Err(format!("`namespace` has 1 to {NAMESPACE_BYTES_MAX} bytes of plain text"));
        }
        if !(1..=PERIODS_MAX).contains(&self.periods) {
            return Err(format!("`periods` is {}; it is 1 to {PERIODS_MAX}", self.periods));
        }
        let currency = self.currency()?;
        self.opening(currency)?;
        self.decimals(currency)?;
        for (name, spec) in &self.columns {
            match (spec.at, &spec.title) {
                (Some(at), None) if (1..=COLUMNS_MAX).contains(&at) => {}
                (Some(_), None) => {
                    return Err(format!("`columns.{name}.at` is 1 to {COLUMNS_MAX}"));
                }
                (None, Some(_)) if self.file.header => {}
                (None, Some(_)) => {
                    return Err(format!(
                        "`columns.{name}` has a title, but the file has no header"
                    ));
                }
                (Some(_), Some(_)) | (None, None) => {
                    return Err(format!("`columns.{name}` needs either `at` or `title`"));
                }
            }
        }
        Ok(())
    }

    /// The currency of every payment.
    pub(super) fn currency(&self) -> Result<Currency, String> {
        Currency::from_code(&self.currency)
            .map_err(|_| format!("`currency` is `{}`, which ISO 4217 does not know", self.currency))
    }

    fn decimals(&self, currency: Currency) -> Result<usize, String> {
        let most =
            usize::try_from(currency.exponent()).map_err(|_| "too many digits".to_owned())?;
        match self.payment.decimals {
            Some(decimals) if decimals > most => {
                Err(format!("`payment.decimals` is {decimals}; {currency} has {most}"))
            }
            Some(decimals) => Ok(decimals),
            None => Ok(most),
        }
    }

    fn opening(&self, currency: Currency) -> Result<Opening, String> {
        match self.payer.opening.as_str() {
            "covers-all" => Ok(Opening::CoversAll),
            "nothing" => Ok(Opening::Nothing),
            written => written
                .parse()
                .ok()
                .and_then(|amount| Amount::from_decimal(amount, currency).ok())
                .map(Opening::Fixed)
                .ok_or_else(|| {
                    format!(
                        "`payer.opening` is `{written}`; write covers-all, nothing, or an amount of {currency}"
                    )
                }),
        }
    }

    /// Puts the map and a file's titles together: now every column has a number.
    ///
    /// # Errors
    /// When the map names a column that the file has not.
    pub(super) fn bind(&self, titles: Option<&csv::ByteRecord>) -> Result<Reading, String> {
        let columns = Columns::bind(&self.columns, titles)?;
        let template = |what: &str, text: &str| {
            Template::read(text, &columns).map_err(|why| format!("`{what}`: {why}"))
        };
        let currency = self.currency()?;
        let owner =
            |owner: &Option<String>, account: &str| owner.clone().unwrap_or_else(|| account.into());
        Ok(Reading {
            namespace: self.namespace.clone(),
            currency,
            decimals: self.decimals(currency)?,
            opening: self.opening(currency)?,
            amount: columns
                .find(&self.payment.amount)
                .map_err(|why| format!("`payment.amount`: {why}"))?,
            identity: self
                .payment
                .identity
                .as_deref()
                .map(|text| template("payment.identity", text))
                .transpose()?,
            payer: template("payer.account", &self.payer.account)?,
            payer_owner: template("payer.owner", &owner(&self.payer.owner, &self.payer.account))?,
            payee: template("payee.account", &self.payee.account)?,
            payee_owner: template("payee.owner", &owner(&self.payee.owner, &self.payee.account))?,
        })
    }
}

/// A column: where it is, what a person calls it, and what must stand in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: ColumnName,
    pub(super) shape: Shape,
}

impl Column {
    pub(super) fn at(number: usize, name: &str, shape: Shape) -> Self {
        Self { name: ColumnName { number, name: Some(name.to_owned()) }, shape }
    }

    /// Its place in a record, counted from 0.
    pub(super) const fn index(&self) -> usize {
        self.name.number.saturating_sub(1)
    }
}

/// All columns that have a name.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    named: Vec<(String, Column)>,
}

impl Columns {
    #[cfg(test)]
    pub(super) fn declared<const N: usize>(columns: [(&str, Column); N]) -> Self {
        Self { named: columns.map(|(name, column)| (name.to_owned(), column)).into() }
    }

    fn bind(
        specs: &BTreeMap<String, ColumnSpec>,
        titles: Option<&csv::ByteRecord>,
    ) -> Result<Self, String> {
        let titles: Vec<String> = titles
            .into_iter()
            .flatten()
            .map(|title| String::from_utf8_lossy(title).trim().to_owned())
            .collect();
        let numbered = |wanted: &str| {
            let mut found = titles.iter().zip(1_usize..).filter(|(title, _)| *title == wanted);
            match (found.next(), found.next()) {
                (Some((_, number)), None) => Ok(number),
                (Some(_), Some(_)) => {
                    Err(format!("the file has two columns with the title `{wanted}`"))
                }
                (None, _) => Err(match nearest(wanted, titles.iter().map(String::as_str)) {
                    Some(title) => {
                        format!("no column has the title `{wanted}`; did you mean `{title}`?")
                    }
                    None => format!("no column has the title `{wanted}`"),
                }),
            }
        };
        let mut named = Vec::new();
        for (name, spec) in specs {
            let number = match (spec.at, &spec.title) {
                (Some(at), _) => at,
                (None, Some(title)) => numbered(title)?,
                (None, None) => {
                    return Err(format!("`columns.{name}` needs either `at` or `title`"));
                }
            };
            named.push((name.clone(), Column::at(number, name, spec.shape)));
        }
        for title in &titles {
            // A title that stands there twice is nobody's name; asked for, it is not found.
            if !specs.contains_key(title)
                && let Ok(number) = numbered(title)
            {
                named.push((title.clone(), Column::at(number, title, Shape::Text)));
            }
        }
        Ok(Self { named })
    }

    /// A column by its number or its name.
    pub(super) fn find(&self, text: &str) -> Result<Column, String> {
        if let Some((_, column)) = self.named.iter().find(|(name, _)| name == text) {
            return Ok(column.clone());
        }
        if let Ok(number) = text.parse::<usize>() {
            if !(1..=COLUMNS_MAX).contains(&number) {
                return Err(format!("columns are counted from 1 to {COLUMNS_MAX}, not {number}"));
            }
            let declared = self.named.iter().find(|(_, column)| column.name.number == number);
            return Ok(declared.map_or_else(
                || Column { name: ColumnName { number, name: None }, shape: Shape::Text },
                |(_, column)| column.clone(),
            ));
        }
        Err(match nearest(text, self.named.iter().map(|(name, _)| name.as_str())) {
            Some(name) => format!("there is no column `{text}`; did you mean `{name}`?"),
            None => format!("there is no column `{text}`"),
        })
    }
}

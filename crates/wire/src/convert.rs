//! The public protobuf's words ↔ the ledger's.
//!
//! Inwards, what does not fit is refused with the name of its field: nothing is rounded, cut, or replaced by a default
//! that the documentation does not name. Outwards, nothing can go wrong but one thing: a balance of a bank's own
//! account can outgrow the wire's 64 bits, and is then refused too.

mod answers;
mod audit;
mod behalf;
mod derive;
mod directory;
mod fields;
mod names;
mod page;
mod read_all;
mod reads;
mod refusal;
mod requests;
mod statement;
#[cfg(test)]
mod tests;

pub use answers::{Made, outcome, posted, timestamp};
pub use audit::audit;
pub use behalf::{Behalf, read_alias};
pub use derive::{derived_account, derived_hold, owner_slot};
pub use directory::{api_key_intent, directory, read_time, scope, table};
pub use names::{account_name, hold_name, key, transfer_name};
pub use page::PageToken;
pub use read_all::{all_accounts, all_channels, all_holds, all_summary, wanted_currency};
pub use reads::{
    account, account_id, hold, hold_id, named_account, page_size, position, posting, scoped_key,
};
pub use refusal::{CredentialFault, FieldViolation, Forbidden, Refusal};
pub use requests::{Intent, ToIntent, request};
pub use statement::{Page, get_cursor, sixteen};

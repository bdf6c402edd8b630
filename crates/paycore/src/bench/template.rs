//! One request's protobuf, made ahead: what differs between requests is laid into it.
//!
//! Every request of a run has fields of the same lengths, but for the amount, whose number takes one byte or two. So
//! the protobuf library encodes one request of each length, and the loader only copies: no allocation, no measuring.

use ledger::AccountId;
use prost::Message;
use uuid::Uuid;
use wire::proto::v1;

use super::keys::KEY_BYTES;

/// What every run pays in.
pub(super) const CURRENCY: &str = "CNY";

const ID_DIGITS: usize = 32;

/// From here on an amount takes two bytes.
const SHORT_AMOUNT_END: u64 = 128;

/// An encoded transfer, for one length of amount.
#[derive(Clone, Debug)]
struct Mould {
    before_key: Vec<u8>,
    before_debit: Vec<u8>,
    before_credit: Vec<u8>,
    before_amount: Vec<u8>,
}

/// Encodes transfers.
#[derive(Clone, Debug)]
pub(super) struct Template {
    short: Mould,
    long: Mould,
}

/// One transfer to be encoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    /// Its key.
    pub(super) key: [u8; KEY_BYTES],
    /// Who pays.
    pub(super) debit: AccountId,
    /// Who is paid.
    pub(super) credit: AccountId,
    /// How much: 1 to 1,000.
    pub(super) amount: u64,
}

impl Template {
    /// A transfer as one of a session frame's requests.
    pub(super) fn framed() -> Self {
        Self::of(|transfer| {
            let command = Some(v1::request::Command::Transfer(transfer));
            let requests = vec![v1::Request { command }];
            v1::SessionRequest { id: 0, requests, timeout_ms: 0, traceparent: None }.encode_to_vec()
        })
    }

    /// A transfer as a message of its own.
    pub(super) fn single() -> Self {
        Self::of(|transfer| transfer.encode_to_vec())
    }

    fn of(encode: impl Fn(v1::TransferRequest) -> Vec<u8>) -> Self {
        Self { short: Mould::of(&encode, 1), long: Mould::of(&encode, SHORT_AMOUNT_END) }
    }

    /// Appends a transfer.
    pub(super) fn put(&self, transfer: &Transfer, to: &mut Vec<u8>) {
        let Transfer { key, debit, credit, amount } = transfer;
        let mould = if *amount < SHORT_AMOUNT_END { &self.short } else { &self.long };
        to.extend_from_slice(&mould.before_key);
        to.extend_from_slice(key);
        to.extend_from_slice(&mould.before_debit);
        put_digits(*debit, to);
        to.extend_from_slice(&mould.before_credit);
        put_digits(*credit, to);
        to.extend_from_slice(&mould.before_amount);
        prost::encoding::encode_varint(*amount, to);
    }
}

fn put_digits(id: AccountId, to: &mut Vec<u8>) {
    let mut digits = [0; ID_DIGITS];
    Uuid::from_u128(id.to_u128()).simple().encode_lower(&mut digits);
    to.extend_from_slice(&digits);
}

impl Mould {
    /// Cuts an encoded model at the places where requests differ. The amount is the last of all.
    fn of(encode: impl Fn(v1::TransferRequest) -> Vec<u8>, amount: u64) -> Self {
        let (key, debit, credit) =
            ("K".repeat(KEY_BYTES), "D".repeat(ID_DIGITS), "C".repeat(ID_DIGITS));
        let units_minor = i64::try_from(amount).expect("a small number");
        let model = encode(v1::TransferRequest {
            idempotency_key: key.clone(),
            debit_account: format!("acc_{debit}"),
            credit_account: format!("acc_{credit}"),
            amount: Some(v1::Money { currency_code: CURRENCY.to_owned(), units_minor }),
        });
        let (before_key, rest) = cut(&model, key.as_bytes());
        let (before_debit, rest) = cut(rest, debit.as_bytes());
        let (before_credit, rest) = cut(rest, credit.as_bytes());
        let mut last = Vec::new();
        prost::encoding::encode_varint(amount, &mut last);
        let before_amount =
            rest.strip_suffix(last.as_slice()).expect("the amount is the last field");
        Self { before_key, before_debit, before_credit, before_amount: before_amount.to_vec() }
    }
}

/// What stands before a model's field, and what after it.
fn cut<'a>(model: &'a [u8], field: &[u8]) -> (Vec<u8>, &'a [u8]) {
    let at = model.windows(field.len()).position(|window| window == field);
    let (before, rest) = model.split_at(at.expect("the model has the field"));
    (before.to_vec(), rest.strip_prefix(field).expect("it was found there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_laid_together_reads_as_what_was_meant() {
        for amount in [1, 127, 128, 1_000] {
            let transfer = Transfer {
                key: *b"0199c2f0-0000-7000-8000-00000000002a",
                debit: AccountId::from_u128(0x0199_c2f0_0000_7000_8000_0000_0000_0001),
                credit: AccountId::from_u128(0x0199_c2f0_0000_7000_8000_0000_0000_0fff),
                amount,
            };
            let meant = v1::TransferRequest {
                idempotency_key: "0199c2f0-0000-7000-8000-00000000002a".to_owned(),
                debit_account: transfer.debit.to_string(),
                credit_account: transfer.credit.to_string(),
                amount: Some(v1::Money {
                    currency_code: CURRENCY.to_owned(),
                    units_minor: i64::try_from(amount).unwrap(),
                }),
            };
            let mut bytes = Vec::new();
            Template::single().put(&transfer, &mut bytes);
            assert_eq!(v1::TransferRequest::decode(bytes.as_slice()).unwrap(), meant);

            let mut bytes = Vec::new();
            Template::framed().put(&transfer, &mut bytes);
            Template::framed().put(&transfer, &mut bytes);
            let frame = v1::SessionRequest::decode(bytes.as_slice()).unwrap();
            let request = v1::Request { command: Some(v1::request::Command::Transfer(meant)) };
            assert_eq!(frame.requests, [request.clone(), request]);
        }
    }
}

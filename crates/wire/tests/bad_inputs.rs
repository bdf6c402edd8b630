//! Whatever bytes come, they are refused with a code, or mean what they say.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has said what it had to say"
)]

#[path = "../../ledger/tests/mutants/mod.rs"]
mod mutants;

use ledger::batch::put_record;
use ledger::{Answer, Posted, Rejection, TenantId, Time, TransferId};
use mutants::Mutants;
use prost::Message;
use wire::convert::{self, Refusal};
use wire::proto::v1::{self, request::Command};
use wire::reply::{self, REPLY_BYTES};
use wire::{Failure, Reply};

/// Inputs for each decoder.
const INPUTS: usize = 30_000;

const PAYER: &str = "acc_019b7a3e4c0070008000000000001abc";
const PAYEE: &str = "acc_019b7a3e4c0070008000000000002abc";
const KEY: &str = "0192f0a1-3c5e-7d10-8a2b-5f1e9c7d4b21";

fn money() -> Option<v1::Money> {
    Some(v1::Money { currency_code: "CNY".to_owned(), units_minor: 12_345 })
}

fn asked() -> Vec<Command> {
    let (debit_account, credit_account) = (PAYER.to_owned(), PAYEE.to_owned());
    let idempotency_key = KEY.to_owned();
    vec![
        Command::Transfer(v1::TransferRequest {
            idempotency_key: idempotency_key.clone(),
            debit_account: debit_account.clone(),
            credit_account: credit_account.clone(),
            amount: money(),
        }),
        Command::MultiTransfer(v1::MultiTransferRequest {
            idempotency_key: "rent 2026-11".to_owned(),
            initiator_account: debit_account.clone(),
            currency_code: "CNY".to_owned(),
            legs: vec![
                v1::TransferLeg {
                    debit_account: debit_account.clone(),
                    credit_account: credit_account.clone(),
                    units_minor: 5,
                };
                3
            ],
        }),
        Command::PlaceHold(v1::PlaceHoldRequest {
            idempotency_key: idempotency_key.clone(),
            debit_account: debit_account.clone(),
            credit_account,
            amount: money(),
            ttl: Some(prost_types::Duration { seconds: 60, nanos: 5_000_000 }),
            ..Default::default()
        }),
        Command::OpenAccount(v1::OpenAccountRequest {
            idempotency_key: idempotency_key.clone(),
            currency_code: "CNY".to_owned(),
            kind: v1::AccountKind::Wallet.into(),
            owner: "lin".to_owned(),
            opening_balance: money(),
            ..Default::default()
        }),
        Command::FreezeAccount(v1::FreezeAccountRequest {
            idempotency_key: idempotency_key.clone(),
            name: debit_account.clone(),
            ..Default::default()
        }),
        Command::CloseAccount(v1::CloseAccountRequest { idempotency_key, name: debit_account }),
    ]
}

#[test]
fn requests() {
    let wanted = |command| v1::Request { command: Some(command) }.encode_to_vec();
    let mut mutants = Mutants::of(asked().into_iter().map(wanted));
    let (mut refused, mut read) = (0_usize, 0_usize);
    for _ in 0..INPUTS {
        let Ok(request) = v1::Request::decode(&mutants.next()[..]) else { continue };
        match convert::request(&request, TenantId(7)) {
            // What is read can be written for the cluster.
            Ok(intent) => {
                read += 1;
                put_record(&intent.request, &mut Vec::new()).unwrap();
            }
            Err(refusal) => {
                refused += 1;
                check(&refusal);
            }
        }
    }
    assert!(refused > INPUTS / 20 && read > INPUTS / 20, "{refused} refused, {read} read");
}

/// A refusal has its code, and says something.
fn check(refusal: &Refusal) {
    assert!(!refusal.entry().code.is_empty());
    assert!(!refusal.to_string().is_empty());
}

#[test]
fn texts() {
    let mut texts = Mutants::of([PAYER, KEY, "rent 2026-11", "tr_3-1024-17", "acc_lin", "hold_1"]);
    let account = convert::account_id("name", PAYER).unwrap();
    for _ in 0..INPUTS {
        let bytes = texts.next();
        let text = String::from_utf8_lossy(&bytes);
        let refusals = [
            convert::key(&text).err(),
            convert::account_id("name", &text).err(),
            convert::hold_id("name", &text).err(),
            convert::PageToken::read(&text, account).err(),
        ];
        refusals.iter().flatten().for_each(check);
        let _cursor = convert::get_cursor(account, &bytes);
        let _alias = convert::read_alias(&text);
    }
}

#[test]
fn replies() {
    let posted = Posted { transfer: TransferId { shard: 3, index: 9, position: 7 }, at: Time(5) };
    let answer = |outcome| Reply::Answer(Answer { outcome, replayed: true });
    let insufficient = Rejection::Insufficient { available: 250, requested: 1 << 40 };
    let replies =
        [answer(Ok(posted)), answer(Err(insufficient)), Reply::Failure(Failure::NoLeader)];
    let mut mutants = Mutants::of([reply::encode(replies.iter())]);
    let mut read = 0_usize;
    for _ in 0..INPUTS {
        let bytes = mutants.next();
        let Ok(replies) = reply::decode(&bytes, bytes.len() / REPLY_BYTES) else { continue };
        for (reply, before) in replies.zip(bytes.chunks(REPLY_BYTES)) {
            let Ok(reply) = reply else { continue };
            read += 1;
            assert_eq!(reply::encode([reply].iter()), before, "{reply:?}");
        }
    }
    assert!(read > INPUTS / 20, "hardly anything is read: {read}");
}

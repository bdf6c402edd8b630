//! Transfers, of one leg or many, and their undoing.

use super::extract::{Body, Call, Id};
use super::key::IdempotencyKey;
use super::outcome::Answer;
use super::requests::{MultiTransfer, ReverseTransfer, Transfer};
use super::views::Posted;

/// Move money
///
/// From one account to another.
#[utoipa::path(
    post, path = "/v1/transfers", tag = "Transfers",
    request_body = Transfer,
    responses((status = 200, description = "Posted, final", body = Posted)),
)]
pub(super) async fn transfer(call: Call, key: IdempotencyKey, body: Body<Transfer>) -> Answer {
    call.carry_out(key, String::new(), body.0).await
}

/// Move money by several legs
///
/// All or nothing.
#[utoipa::path(
    post, path = "/v1/multi-transfers", tag = "Transfers",
    request_body = MultiTransfer,
    responses((status = 200, description = "Posted, final", body = Posted)),
)]
pub(super) async fn multi_transfer(
    call: Call,
    key: IdempotencyKey,
    body: Body<MultiTransfer>,
) -> Answer {
    call.carry_out(key, String::new(), body.0).await
}

/// Undo a transfer
///
/// Whole, once, whatever the key.
#[utoipa::path(
    post, path = "/v1/transfers/{id}:reverse", tag = "Transfers",
    params(("id" = String, Path, pattern = "^tr_[0-9]{1,5}-[0-9]{1,18}-[0-9]{1,5}$", description = "The transfer, `tr_…`", example = "tr_0-17-0")),
    request_body = ReverseTransfer,
    responses((status = 200, description = "Posted, final", body = Posted)),
)]
pub(super) async fn reverse(
    call: Call,
    key: IdempotencyKey,
    id: Id,
    body: Body<ReverseTransfer>,
) -> Answer {
    call.carry_out(key, id.0, body.0).await
}

//! Holds: placed, read, posted, voided.

use actix_web::{HttpRequest, HttpResponse};
use wire::proto::v1;

use super::extract::{Body, Call, Id, Parameters};
use super::key::IdempotencyKey;
use super::outcome::Answer;
use super::requests::{PlaceHold, PostHold, VoidHold};
use super::views::{Hold, Posted};

/// Set money aside
///
/// Until it is posted, voided, or the hold expires.
#[utoipa::path(
    post, path = "/v1/holds", tag = "Holds",
    request_body = PlaceHold,
    responses((
        status = 201, description = "Placed, final", body = Posted,
        headers(("Location" = String, description = "Where the hold can be read")),
    )),
)]
pub(super) async fn place(call: Call, key: IdempotencyKey, body: Body<PlaceHold>) -> Answer {
    call.carry_out(key, String::new(), body.0).await
}

/// Read a hold
#[utoipa::path(
    get, path = "/v1/holds/{id}", tag = "Holds",
    params(
        ("id" = String, Path, pattern = "^hold_[0-9a-fA-F]{32}$", description = "The hold, `hold_…`"),
        ("stale_ok" = Option<bool>, Query, description = "Whether an answer that lags behind will do. Otherwise it shows everything acknowledged before the question"),
    ),
    responses((status = 200, description = "The hold", body = Hold)),
)]
pub(super) async fn show(call: Call, id: Id, request: HttpRequest) -> Answer {
    let mut parameters = Parameters::read(&request, &["stale_ok"])?;
    let asked = v1::GetHoldRequest { name: id.0, stale_ok: parameters.flag("stale_ok")? };
    call.charge()?;
    let hold = call.doors.reads.hold(call.grant.behalf(), &asked, call.deadline).await?;
    Ok(HttpResponse::Ok().json(Hold::from(hold)))
}

/// Move held money
///
/// May be done several times while something is left. Without a body, all that is left.
#[utoipa::path(
    post, path = "/v1/holds/{id}:post", tag = "Holds",
    params(("id" = String, Path, pattern = "^hold_[0-9a-fA-F]{32}$", description = "The hold, `hold_…`")),
    request_body = PostHold,
    responses((status = 200, description = "Posted, final", body = Posted)),
)]
pub(super) async fn post(call: Call, key: IdempotencyKey, id: Id, body: Body<PostHold>) -> Answer {
    call.carry_out(key, id.0, body.0).await
}

/// Release a hold
///
/// What is left of it. The body may be absent.
#[utoipa::path(
    post, path = "/v1/holds/{id}:void", tag = "Holds",
    params(("id" = String, Path, pattern = "^hold_[0-9a-fA-F]{32}$", description = "The hold, `hold_…`")),
    request_body = VoidHold,
    responses((status = 200, description = "Released, final", body = Posted)),
)]
pub(super) async fn void(call: Call, key: IdempotencyKey, id: Id, body: Body<VoidHold>) -> Answer {
    call.carry_out(key, id.0, body.0).await
}

//! Accounts: opened, read, frozen, unfrozen, closed.

use actix_web::{HttpRequest, HttpResponse};
use wire::proto::v1;

use super::extract::{Body, Call, Id, Parameters};
use super::key::IdempotencyKey;
use super::outcome::Answer;
use super::requests::{CloseAccount, FreezeAccount, OpenAccount, UnfreezeAccount};
use super::views::{Account, Posted};

/// Open an account
///
/// With or without an opening balance.
#[utoipa::path(
    post, path = "/v1/accounts", tag = "Accounts",
    request_body = OpenAccount,
    responses((
        status = 201, description = "Opened, final", body = Posted,
        headers(("Location" = String, description = "Where the account can be read")),
    )),
)]
pub(super) async fn open(call: Call, key: IdempotencyKey, body: Body<OpenAccount>) -> Answer {
    call.carry_out(key, String::new(), body.0).await
}

/// Read an account
#[utoipa::path(
    get, path = "/v1/accounts/{id}", tag = "Accounts",
    params(
        ("id" = String, Path, pattern = "^acc_[0-9A-Za-z_.-]{1,64}$", description = "The account, `acc_…`"),
        ("stale_ok" = Option<bool>, Query, description = "Whether an answer that lags behind will do. Otherwise it shows everything acknowledged before the question"),
    ),
    responses((status = 200, description = "The account", body = Account)),
)]
pub(super) async fn show(call: Call, id: Id, request: HttpRequest) -> Answer {
    let mut parameters = Parameters::read(&request, &["stale_ok"])?;
    let asked = v1::GetAccountRequest { name: id.0, stale_ok: parameters.flag("stale_ok")? };
    call.charge()?;
    let account = call.doors.reads.account(call.grant.behalf(), &asked, call.deadline).await?;
    Ok(HttpResponse::Ok().json(Account::from(account)))
}

/// Freeze an account
///
/// On somebody's authority. Freezing again replaces that authority's freeze.
#[utoipa::path(
    post, path = "/v1/accounts/{id}:freeze", tag = "Accounts",
    params(("id" = String, Path, pattern = "^acc_[0-9A-Za-z_.-]{1,64}$", description = "The account, `acc_…`")),
    request_body = FreezeAccount,
    responses((status = 200, description = "Frozen, final", body = Posted)),
)]
pub(super) async fn freeze(
    call: Call,
    key: IdempotencyKey,
    id: Id,
    body: Body<FreezeAccount>,
) -> Answer {
    call.carry_out(key, id.0, body.0).await
}

/// Lift a freeze
///
/// The one of this authority.
#[utoipa::path(
    post, path = "/v1/accounts/{id}:unfreeze", tag = "Accounts",
    params(("id" = String, Path, pattern = "^acc_[0-9A-Za-z_.-]{1,64}$", description = "The account, `acc_…`")),
    request_body = UnfreezeAccount,
    responses((status = 200, description = "Lifted, final", body = Posted)),
)]
pub(super) async fn unfreeze(
    call: Call,
    key: IdempotencyKey,
    id: Id,
    body: Body<UnfreezeAccount>,
) -> Answer {
    call.carry_out(key, id.0, body.0).await
}

/// Close an account
///
/// One that has neither balance nor holds, for ever. The body may be absent.
#[utoipa::path(
    post, path = "/v1/accounts/{id}:close", tag = "Accounts",
    params(("id" = String, Path, pattern = "^acc_[0-9A-Za-z_.-]{1,64}$", description = "The account, `acc_…`")),
    request_body = CloseAccount,
    responses((status = 200, description = "Closed, final", body = Posted)),
)]
pub(super) async fn close(
    call: Call,
    key: IdempotencyKey,
    id: Id,
    body: Body<CloseAccount>,
) -> Answer {
    call.carry_out(key, id.0, body.0).await
}

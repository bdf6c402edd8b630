//! Batches: many requests at once, each by itself, one outcome for each, in order.
//!
//! A request of a batch says in its body what a single call says by its header, its path and its body: `idempotency_key`,
//! `name` where the path would have an id, and the single call's body under the name of the method.

use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;
use wire::Failure;
use wire::convert::Refusal;
use wire::limits::{BATCH_REQUESTS_MAX, MESSAGE_BYTES_MAX};
use wire::proto::v1;
use wire::proto::v1::request::Command;

use super::extract::{Body, Call, Document};
use super::json::{Bounded, object};
use super::outcome::{Answer, Outcome};
use super::place::{Place, pointer};
use super::problem::Problem;
use super::requests::{
    CloseAccount, FreezeAccount, Member, MultiTransfer, OpenAccount, PlaceHold, PostHold,
    ReverseTransfer, Transfer, UnfreezeAccount, VoidHold,
};
use crate::grpc::check_batch;
use crate::router::Halt;

/// Batches that may be read, carried out and answered at once: as many as the requests that may be in flight.
const BATCHES_MAX: usize = 16;

/// Many requests.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Batch {
    /// 1 to 8,192 requests, of at most 4 MiB together.
    #[serde(default)]
    #[schema(required = true, value_type = Vec<Item>, min_items = 1, max_items = 8192)]
    requests: Bounded<Item, BATCH_REQUESTS_MAX>,
}

impl Document for Batch {
    const BYTES_MAX: usize = MESSAGE_BYTES_MAX;
}

/// One request of a batch: its key, the name of what it is about if a single call had that in its path, and exactly one
/// of the methods.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(as = Request)]
pub(super) struct Item {
    /// The caller's name for this request.
    #[serde(default)]
    #[schema(required = true, min_length = 1, max_length = 255)]
    idempotency_key: String,
    /// The account, hold or transfer: `accounts/acc_…`, `holds/hold_…`, `transfers/tr_…`, or the bare id.
    #[serde(default)]
    name: String,
    /// As `POST /v1/accounts`.
    #[serde(default, deserialize_with = "object")]
    open_account: Option<OpenAccount>,
    /// As `POST /v1/accounts/{id}:freeze`.
    #[serde(default, deserialize_with = "object")]
    freeze_account: Option<FreezeAccount>,
    /// As `POST /v1/accounts/{id}:unfreeze`.
    #[serde(default, deserialize_with = "object")]
    unfreeze_account: Option<UnfreezeAccount>,
    /// As `POST /v1/accounts/{id}:close`.
    #[serde(default, deserialize_with = "object")]
    close_account: Option<CloseAccount>,
    /// As `POST /v1/transfers`.
    #[serde(default, deserialize_with = "object")]
    transfer: Option<Transfer>,
    /// As `POST /v1/multi-transfers`.
    #[serde(default, deserialize_with = "object")]
    multi_transfer: Option<MultiTransfer>,
    /// As `POST /v1/transfers/{id}:reverse`.
    #[serde(default, deserialize_with = "object")]
    reverse_transfer: Option<ReverseTransfer>,
    /// As `POST /v1/holds`.
    #[serde(default, deserialize_with = "object")]
    place_hold: Option<PlaceHold>,
    /// As `POST /v1/holds/{id}:post`.
    #[serde(default, deserialize_with = "object")]
    post_hold: Option<PostHold>,
    /// As `POST /v1/holds/{id}:void`.
    #[serde(default, deserialize_with = "object")]
    void_hold: Option<VoidHold>,
}

impl Item {
    /// The method that it asks for and the message that it becomes; without exactly one method, neither.
    fn message(self) -> (&'static str, Result<v1::Request, Refusal>) {
        let Self { idempotency_key: key, name, .. } = self;
        let is_named = !name.is_empty();
        let mut found: Vec<(&'static str, Command)> = Vec::new();
        macro_rules! find {
            ($($method:ident)*) => {$(
                if let Some(body) = self.$method {
                    found.push((stringify!($method), body.command(key.clone(), name.clone())));
                }
            )*};
        }
        find! { open_account transfer multi_transfer place_hold }
        if is_named && let Some((method, _)) = found.first() {
            return (method, Err(Refusal::field("name", "absent: the body says what it is about")));
        }
        find! { freeze_account unfreeze_account close_account reverse_transfer post_hold void_hold }
        match (found.pop(), found.is_empty()) {
            (Some((method, command)), true) => (method, Ok(v1::Request { command: Some(command) })),
            (_, _) => ("", Ok(v1::Request { command: None })),
        }
    }
}

/// Where a field of a request stands in the batch.
fn place(at: usize, method: &str, field: &str) -> Place {
    Place::Body(match field {
        "idempotency_key" | "name" => format!("/requests/{at}/{field}"),
        // Not exactly one method.
        "command" => format!("/requests/{at}"),
        other => format!("/requests/{at}/{method}{}", pointer(other)),
    })
}

/// What became of the requests of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Outcomes {
    /// One for each request, in their order.
    outcomes: Vec<Outcome>,
}

/// The batches that may be under way at once.
#[derive(Clone, Debug)]
pub(super) struct Batches(Arc<Semaphore>);

impl Default for Batches {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BATCHES_MAX)))
    }
}

/// Room for one batch, taken before its body is read: a body of 4 MiB takes several times that once it is.
#[derive(Debug)]
pub(super) struct Room(OwnedSemaphorePermit);

impl FromRequest for Room {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let batches = request.app_data::<Data<Batches>>().map(|batches| Arc::clone(&batches.0));
        let room = batches.and_then(|batches| batches.try_acquire_owned().ok());
        ready(room.map(Self).ok_or_else(|| Failure::Overloaded.into()))
    }
}

/// Send many requests
///
/// Each by itself: not all or nothing. They are usually carried out in order, but what must come after something else
/// should wait for its outcome. The answer is 200 whatever became of them; each has its own outcome. JSON that does not
/// fit the schema refuses the whole batch, and none of it is carried out.
#[utoipa::path(
    post, path = "/v1/batches", tag = "Batches",
    request_body = Batch,
    responses((status = 200, description = "One outcome for each request, in order", body = Outcomes)),
)]
pub(super) async fn submit(call: Call, room: Room, body: Body<Batch>) -> Answer {
    let Bounded { kept, count } = body.0.requests;
    check_batch(count).map_err(Problem::from)?;
    call.moves()?;
    let mut methods = Vec::with_capacity(count);
    let admitted = call.grant.charge(count);
    let intents = kept.into_iter().enumerate().map(|(place, item)| {
        let (method, message) = item.message();
        methods.push(method);
        if place >= admitted {
            return Err(Halt::Failed(Failure::RateLimited));
        }
        message.and_then(|message| call.grant.read_one_of(&message)).map_err(Halt::Refused)
    });
    let outcomes = call.doors.carry_out_all(intents, call.caller()).await?;
    let shown =
        outcomes.into_iter().zip(methods).enumerate().map(|(at, (outcome, method))| {
            Outcome::shown(outcome, |field| place(at, method, field))
        });
    let answer = HttpResponse::Ok().json(Outcomes { outcomes: shown.collect() });
    drop(room.0);
    Ok(answer)
}

//! Outcomes: of one call, of each request of a batch, and of a request that is only asked about.

use std::collections::BTreeMap;

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wire::proto::v1;
use wire::proto::v1::outcome::Result as Said;
use wire::{Failure, catalogue};

use super::extract::{Call, Parameters};
use super::key::IdempotencyKey;
use super::place::Place;
use super::problem::{Problem, REPLAYED_HEADER, Wrong, describe};
use super::requests::Wanted;
use super::views::Posted;

/// What a handler gives.
pub(super) type Answer = Result<HttpResponse, Problem>;

impl Call {
    /// Has something done, and says what became of it.
    pub(super) async fn carry_out(
        self,
        key: IdempotencyKey,
        name: String,
        wanted: impl Wanted,
    ) -> Answer {
        self.moves()?;
        self.charge()?;
        let intent = self.grant.read(&wanted.message(key.0, name));
        let posted = Posted::from(self.doors.carry_out(intent, self.caller()).await?);
        // A replay is the same answer again: it has the same status.
        let mut response = match &posted.resource {
            Some(made) => {
                let mut response = HttpResponse::Created();
                response.insert_header((LOCATION, format!("/v1/{made}")));
                response
            }
            None => HttpResponse::Ok(),
        };
        if posted.replayed {
            response.insert_header((REPLAYED_HEADER, "true"));
        }
        Ok(response.json(posted))
    }
}

/// What became of one request: exactly one of three things.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// The ledger did it. Final.
    Posted(Posted),
    /// The ledger said no. Final: the same key will be answered so for ever.
    Rejected(Rejected),
    /// Nobody answered for the ledger. Not final: the same key may be sent again.
    Failed(Failed),
}

/// The ledger said no.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Rejected {
    /// Why: a code of the catalogue, described under `/docs/errors/`.
    code: String,
    /// The same for a person, in English.
    message: String,
    /// What the message says in numbers, by name; amounts are in minor units.
    metadata: BTreeMap<String, String>,
    /// Whether this repeats an earlier answer.
    replayed: bool,
}

/// Nobody answered for the ledger.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Failed {
    /// Why: a code of the catalogue, described under `/docs/errors/`.
    code: String,
    /// The same for a person, in English.
    message: String,
    /// Whether the request may have been carried out. If false, it was not.
    outcome_unknown: bool,
    /// Whether sending it again, with the same key and the same fields, makes sense.
    retryable: bool,
    /// What is wrong where; pointers are into the whole body.
    errors: Vec<Wrong>,
}

impl Outcome {
    /// As JSON shows it. `place` finds a field of the request in the body that it came with.
    pub(super) fn shown(outcome: v1::Outcome, place: impl Fn(&str) -> Place) -> Self {
        match outcome.result {
            Some(Said::Posted(posted)) => Self::Posted(posted.into()),
            Some(Said::Rejected(v1::Rejected { code, message, metadata, replayed })) => {
                let metadata = metadata.into_iter().collect();
                Self::Rejected(Rejected { code, message, metadata, replayed })
            }
            Some(Said::Failed(failed)) => Self::Failed(Failed::shown(failed, place)),
            None => Self::Failed(Failed::unknown()),
        }
    }
}

impl Failed {
    fn shown(failed: v1::Failed, place: impl Fn(&str) -> Place) -> Self {
        let v1::Failed { code, message, outcome_unknown, retryable, field_violations } = failed;
        let wrong = field_violations.iter();
        let wrong: Vec<_> =
            wrong.map(|wrong| (place(&wrong.field), wrong.description.as_str())).collect();
        let message = if code == "INVALID_FIELD" { describe(&wrong) } else { message };
        let errors = wrong.into_iter().map(|(place, detail)| Wrong::new(place, detail)).collect();
        Self { code, message, outcome_unknown, retryable, errors }
    }

    /// An answer that says nothing leaves the outcome unknown.
    fn unknown() -> Self {
        let failure = Failure::OutcomeUnknown;
        let catalogue::Entry { code, retryable, .. } = *failure.entry();
        let message = failure.to_string();
        Self {
            code: code.to_owned(),
            message,
            outcome_unknown: true,
            retryable,
            errors: Vec::new(),
        }
    }
}

/// What kind of request a key was used for.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    /// By the account.
    OpenAccount,
    /// By the account.
    FreezeAccount,
    /// By the account.
    UnfreezeAccount,
    /// By the account.
    CloseAccount,
    /// By the debit account; of several legs, by the initiator.
    Transfer,
    /// By the debit account.
    PlaceHold,
    /// By the hold.
    PostHold,
    /// By the hold.
    VoidHold,
    /// By the credited account.
    ReverseTransfer,
}

impl Operation {
    fn read(name: &str) -> v1::Operation {
        match name {
            "open_account" => v1::Operation::OpenAccount,
            "freeze_account" => v1::Operation::FreezeAccount,
            "unfreeze_account" => v1::Operation::UnfreezeAccount,
            "close_account" => v1::Operation::CloseAccount,
            "transfer" => v1::Operation::Transfer,
            "place_hold" => v1::Operation::PlaceHold,
            "post_hold" => v1::Operation::PostHold,
            "void_hold" => v1::Operation::VoidHold,
            "reverse_transfer" => v1::Operation::ReverseTransfer,
            _ => v1::Operation::Unspecified,
        }
    }
}

/// Look an outcome up
///
/// What became of a request, without sending it again.
#[utoipa::path(
    get, path = "/v1/outcomes", tag = "Outcomes",
    params(
        ("subject" = String, Query, description = "The account or hold that the request was about: `acc_…` or `hold_…`"),
        ("operation" = Operation, Query, description = "What kind of request it was; this says what its subject is"),
        ("idempotency_key" = String, Query, min_length = 1, max_length = 255, description = "Its key"),
    ),
    responses((status = 200, description = "What became of it", body = Outcome)),
)]
pub(super) async fn look_up(call: Call, request: HttpRequest) -> Answer {
    let mut said = Parameters::read(&request, &["subject", "operation", "idempotency_key"])?;
    let asked = v1::LookupOutcomeRequest {
        subject: said.text("subject"),
        operation: Operation::read(&said.text("operation")).into(),
        idempotency_key: said.text("idempotency_key"),
    };
    call.charge()?;
    let outcome = call.doors.reads.outcome(call.grant.behalf(), &asked, call.deadline).await?;
    let shown = Outcome::shown(outcome, |field| Place::of(field, true));
    Ok(HttpResponse::Ok().json(shown))
}

//! The API's description of itself: OpenAPI 3.1, and a page to browse it.
//!
//! Paths and bodies come from the handlers and types that serve them. What is the same for every call (headers, errors
//! with one example for each code) is added from the catalogue, so that none of it can be forgotten.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{
    ContentBuilder, OpenApi as Description, PathItem, Ref, RefOr, Required, Response,
    ResponseBuilder,
};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};
use wire::catalogue::{CATALOGUE, Entry};

use super::problem::{self, PROBLEM_JSON};
use super::{accounts, batch, holds, outcome, statement, transfers};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "paycore",
        description = "A payment core: accounts, and money between them, exactly once.\n\nEvery call that changes something \
            carries an `Idempotency-Key`: made once per intent, and sent again with every retry. The first final outcome under \
            a key is the only one. After 504, or no answer at all, send the same key again. Every error code is described \
            under [/docs/errors](/docs/errors).",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This gateway")),
    paths(
        accounts::open, accounts::show, accounts::freeze, accounts::unfreeze, accounts::close, statement::postings,
        transfers::transfer, transfers::multi_transfer, transfers::reverse,
        holds::place, holds::show, holds::post, holds::void,
        batch::submit, outcome::look_up,
    ),
    components(schemas(problem::Document, outcome::Operation)),
    modifiers(&Conventions),
)]
struct Api;

/// The description as text, made once.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    Api::openapi().to_pretty_json().expect("what is made of strings and numbers can be written")
});

/// The description.
pub(super) async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(DOCUMENT.as_str())
}

/// The page to browse it: Swagger UI, from the binary, without a validator elsewhere.
pub(super) fn browser() -> SwaggerUi {
    let config = Config::from("/openapi.json").validator_url("none").try_it_out_enabled(true);
    SwaggerUi::new("/docs/{_:.*}").config(config)
}

/// What is the same for every call.
struct Conventions;

impl Modify for Conventions {
    fn modify(&self, api: &mut Description) {
        for (path, item) in &mut api.paths.paths {
            let PathItem { get, post, .. } = item;
            for operation in get.iter_mut() {
                complete(operation, &[400, 404, 422, 503, 504]);
            }
            for operation in post.iter_mut() {
                complete(operation, &[400, 404, 413, 415, 422, 503, 504]);
                match &mut operation.request_body {
                    Some(RefOr::T(body)) if may_be_silent(path) => {
                        body.required = Some(Required::False);
                    }
                    Some(_) | None => {}
                }
                if path != "/v1/batches" {
                    parameters(operation).push(idempotency_key().into());
                    replayed(operation);
                }
            }
        }
    }
}

/// Whether a call may say nothing in its body.
fn may_be_silent(path: &str) -> bool {
    [":close", ":post", ":void"].iter().any(|verb| path.ends_with(verb))
}

const TIMEOUT: &str = "How long the caller waits: one to eight digits and a unit, which is H, M, S, m (milliseconds), \
    u or n. 10S when absent; more than a minute is read as a minute";

const REQUEST_ID: &str =
    "The caller's name for this call, which its answer repeats; one is made when absent";

const TRACEPARENT: &str = "The caller's name for the trace that this call is part of, as W3C's Trace Context has it. The \
    answer to a call that is traced carries the call's own";

fn complete(operation: &mut Operation, statuses: &[u16]) {
    let timeout = header("Grpc-Timeout", TIMEOUT)
        .schema(Some(text().pattern(Some("^[0-9]{1,8}[HMSmun]$"))))
        .example(Some("2S".into()));
    let request_id = header("X-Request-Id", REQUEST_ID).schema(Some(text()));
    let traceparent = header("traceparent", TRACEPARENT).schema(Some(text()));
    let headers = [timeout, request_id, traceparent];
    parameters(operation).extend(headers.map(|header| header.build().into()));
    for status in statuses {
        let problem = problem_of(*status).into();
        operation.responses.responses.insert(status.to_string(), problem);
    }
}

fn parameters(operation: &mut Operation) -> &mut Vec<RefOr<Parameter>> {
    operation.parameters.get_or_insert_default()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn header(name: &str, description: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
}

/// A bare token, or a quoted string: what `key.rs` reads, as far as ASCII goes.
const KEY_PATTERN: &str = r#"^([A-Za-z0-9!#$%&'*+./:=@^_`|~-]+|"([ !#-\[\]-~]|\\["\\])+")$"#;

fn idempotency_key() -> Parameter {
    header(
        "Idempotency-Key",
        "The caller's name for what it wants, after draft 07 of the IETF's document: a string in double quotes, or a bare \
         token. Best is a UUIDv7; any text of 1 to 255 bytes will do. Made once, and sent with every retry",
    )
    .required(Required::True)
    .schema(Some(text().min_length(Some(1)).max_length(Some(255)).pattern(Some(KEY_PATTERN))))
    .example(Some("019b8f2e-7c00-7a51-9d3e-4b5c6d7e8f90".into()))
    .build()
}

/// Answers that were given before say so.
fn replayed(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            let header = HeaderBuilder::new()
                .description(Some("`true` when this repeats an earlier answer; else absent"))
                .schema(Some(text()));
            response.headers.insert("Idempotent-Replayed".to_owned(), header.build().into());
        }
    }
}

/// A status, with one example for each code that has it.
fn problem_of(status: u16) -> Response {
    let entries = || CATALOGUE.iter().filter(move |entry| entry.http == status);
    let examples = entries().map(|entry| {
        let example = utoipa::openapi::example::ExampleBuilder::new()
            .summary(entry.action)
            .value(serde_json::to_value(problem::Document::example(entry)).ok());
        (entry.code, example.build())
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples);
    let codes: Vec<_> = entries().map(|entry| entry.code).collect();
    let mut response =
        ResponseBuilder::new().description(codes.join(", ")).content(PROBLEM_JSON, content.build());
    if entries().any(|Entry { retry_after_ms, .. }| retry_after_ms.is_some()) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let header =
            HeaderBuilder::new().description(Some("Seconds to wait first")).schema(Some(seconds));
        response = response.header("Retry-After", header.build());
    }
    response.build()
}

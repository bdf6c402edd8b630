//! Every path there is, and who serves it.

use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, Error, Handler, Resource, Responder, Route};
use actix_web::{FromRequest, HttpResponse};
use wire::convert::Refusal;

use super::around::around;
use super::batch::Batches;
use super::problem::Problem;
use super::trace::Scheme;
use super::{accounts, batch, holds, openapi, outcome, pages, statement, transfers};
use crate::grpc::Doors;

/// The application.
pub(super) fn app(
    doors: Arc<Doors>,
    scheme: Scheme,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    >,
> {
    App::new()
        .app_data(Data::new(doors))
        .app_data(Data::new(Batches::default()))
        .app_data(Data::new(scheme))
        .wrap(from_fn(around))
        .configure(payments)
        .configure(documents)
        .default_service(web::to(not_found))
}

/// The payments API. Paths with a verb come before those that would take the verb for a part of an id.
fn payments(config: &mut ServiceConfig) {
    config
        .service(post("/v1/accounts", accounts::open))
        .service(post("/v1/accounts/{id:[^/:]+}:freeze", accounts::freeze))
        .service(post("/v1/accounts/{id:[^/:]+}:unfreeze", accounts::unfreeze))
        .service(post("/v1/accounts/{id:[^/:]+}:close", accounts::close))
        .service(get("/v1/accounts/{id:[^/:]+}/postings", statement::postings))
        .service(get("/v1/accounts/{id:[^/:]+}", accounts::show))
        .service(post("/v1/transfers", transfers::transfer))
        .service(post("/v1/transfers/{id:[^/:]+}:reverse", transfers::reverse))
        .service(post("/v1/multi-transfers", transfers::multi_transfer))
        .service(post("/v1/holds", holds::place))
        .service(post("/v1/holds/{id:[^/:]+}:post", holds::post))
        .service(post("/v1/holds/{id:[^/:]+}:void", holds::void))
        .service(get("/v1/holds/{id:[^/:]+}", holds::show))
        .service(post("/v1/batches", batch::submit))
        .service(get("/v1/outcomes", outcome::look_up));
}

/// What describes it. Pages of errors come before the browser, which takes everything else below `/docs`.
fn documents(config: &mut ServiceConfig) {
    config
        .service(get("/openapi.json", openapi::document))
        .service(get("/docs/errors", pages::errors))
        .service(get("/docs/errors/{id}", pages::error))
        .service(get("/docs", pages::to_browser))
        .service(openapi::browser());
}

fn get<F, Args>(path: &'static str, handler: F) -> Resource
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    only(path, "GET", web::get().to(handler))
}

fn post<F, Args>(path: &'static str, handler: F) -> Resource
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    only(path, "POST", web::post().to(handler))
}

/// A path that takes one method, and says so to others.
fn only(path: &'static str, method: &'static str, route: Route) -> Resource {
    let refuse = move || async move { Err::<HttpResponse, _>(Problem::method_not_allowed(method)) };
    web::resource(path).route(route).default_service(web::to(refuse))
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Refusal::RouteNotFound.into())
}

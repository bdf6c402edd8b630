//! Statements, page by page.

use actix_web::http::header::LINK;
use actix_web::{HttpRequest, HttpResponse};
use wire::proto::v1;

use super::extract::{Call, Id, Parameters};
use super::outcome::Answer;
use super::views::Statement;

/// Read a statement
///
/// Newest first. The next page has its address in the `Link` header, too.
#[utoipa::path(
    get, path = "/v1/accounts/{id}/postings", tag = "Accounts",
    params(
        ("id" = String, Path, pattern = "^acc_[0-9A-Za-z_.-]{1,64}$", description = "The account, `acc_…`"),
        ("limit" = Option<i32>, Query, minimum = 0, description = "How many at the most: 1 to 1,000; 100 when absent or 0. More is read as 1,000"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before; absent for the newest page"),
        ("stale_ok" = Option<bool>, Query, description = "Whether an answer that lags behind will do. Otherwise it shows everything acknowledged before the question"),
    ),
    responses((
        status = 200, description = "A page", body = Statement,
        headers(("Link" = String, description = "The next page, as `rel=\"next\"`; absent on the last one")),
    )),
)]
pub(super) async fn postings(call: Call, id: Id, request: HttpRequest) -> Answer {
    let mut parameters = Parameters::read(&request, &["limit", "cursor", "stale_ok"])?;
    let asked = v1::ListPostingsRequest {
        parent: id.0,
        page_size: parameters.number("limit")?,
        page_token: parameters.text("cursor"),
        stale_ok: parameters.flag("stale_ok")?,
    };
    call.charge()?;
    let page = call.doors.reads.postings(call.grant.behalf(), &asked, call.deadline).await?;
    let page = Statement::from(page);
    let mut response = HttpResponse::Ok();
    if let Some(cursor) = &page.next_cursor {
        // A cursor is hexadecimal, and the rest are numbers: nothing here needs escaping.
        let v1::ListPostingsRequest { page_size, stale_ok, .. } = asked;
        let (path, stale) = (request.path(), if stale_ok { "&stale_ok=true" } else { "" });
        let next = format!("<{path}?limit={page_size}&cursor={cursor}{stale}>; rel=\"next\"");
        response.insert_header((LINK, next));
    }
    Ok(response.json(page))
}

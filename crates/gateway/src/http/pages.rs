//! Pages for people: what each code means, made from the catalogue. They need nothing from elsewhere.

use actix_web::HttpResponse;
use actix_web::http::header::LOCATION;
use wire::catalogue::{self, CATALOGUE, Entry, Kind};
use wire::convert::Refusal;

use super::extract::Id;
use super::outcome::Answer;
use super::problem::title;

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}\
     code{font-size:.95em}th{text-align:left;padding-right:1rem;vertical-align:top}td{padding-bottom:.3rem}\
     @media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}";

/// To the browsable description of the API.
pub(super) async fn to_browser() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "/docs/")).finish()
}

/// Every code.
pub(super) async fn errors() -> HttpResponse {
    let rows = CATALOGUE.iter().map(|Entry { code, http, action, .. }| {
        format!("<tr><th><a href=\"/docs/errors/{code}\"><code>{code}</code></a></th><td>{http}</td><td>{}</td></tr>", escape(action))
    });
    let rows: String = rows.collect();
    page("Errors", &format!("<table>{rows}</table><p><a href=\"/docs/\">The API</a></p>"))
}

/// One code.
pub(super) async fn error(code: Id) -> Answer {
    let entry = catalogue::find(&code.0).ok_or(Refusal::RouteNotFound)?;
    let Entry { code, kind, grpc, http, retryable, retry_after_ms, action, .. } = entry;
    let again = match (retryable, retry_after_ms) {
        (true, Some(ms)) => format!("Yes, with the same key, after {ms} ms."),
        (true, None) => "Yes, with the same key.".to_owned(),
        (false, _) => "No.".to_owned(),
    };
    let rows = [
        ("Code", format!("<code>{code}</code>")),
        ("What it means", meaning(*kind).to_owned()),
        ("What to do", escape(action)),
        ("Send it again?", again),
        ("HTTP status", http.to_string()),
        ("gRPC status", format!("<code>{grpc}</code>")),
    ];
    let rows = rows.map(|(name, value)| format!("<tr><th>{name}</th><td>{value}</td></tr>"));
    let body = format!(
        "<table>{}</table><p><a href=\"/docs/errors\">All errors</a> · <a href=\"/docs/\">The API</a></p>",
        rows.concat()
    );
    Ok(page(&title(code), &body))
}

const fn meaning(kind: Kind) -> &'static str {
    match kind {
        Kind::Rejection => {
            "The ledger said no. That is final: the same key is answered so for ever."
        }
        Kind::NotProposed => {
            "Nothing was done, and nothing will be unless the request is sent again."
        }
        Kind::Unknown => {
            "It may have been done. Send the same key again, or look its outcome up, to learn which."
        }
        Kind::Refusal => {
            "The request was not understood, or names what is not there. Nothing was done."
        }
    }
}

fn page(title: &str, body: &str) -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · paycore</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\
         <body><h1>{title}</h1>{body}</body></html>"
    ))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

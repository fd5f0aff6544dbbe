//! Asks a person once for a token and keeps it in a cookie, where the node wants tokens.
//!
//! Plain HTML and a form: it works before anything else of the page may be fetched.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use http::{HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};

use super::App;
use super::body::Whole;
use super::guard::COOKIE;
use super::problem::Problem;

/// Where the form goes.
pub(super) const PATH: &str = "/api/v1/session";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:22rem;padding:0 1rem;color-scheme:light dark}\
input,button{font:inherit;width:100%;box-sizing:border-box;padding:.5rem;margin:.25rem 0}\
p.wrong{color:#c62828}code{font-size:.9em}";

/// The page that asks.
pub(super) fn page(status: StatusCode, wrong: &'static str) -> Response {
    let wrong = if wrong.is_empty() {
        String::new()
    } else {
        format!("<p class=\"wrong\" role=\"alert\">{wrong}</p>")
    };
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Gangline</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
         <h1>Gangline</h1>{wrong}<form method=\"post\" action=\"{PATH}\">\
         <label for=\"token\">Token</label>\
         <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required autofocus>\
         <button>Open the board</button></form>\
         <p>On the node's machine, <code>gangline key token NAME</code> makes one.</p></body></html>"
    );
    let hash = BASE64.encode(&Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    let mut response = (status, html).into_response();
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// `POST /api/v1/session`, the form's answer.
pub(super) async fn enter(State(app): State<App>, Whole(body): Whole) -> Result<Response, Problem> {
    let form = String::from_utf8_lossy(&body);
    let token = form.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap_or_default().trim();
    // Tokens have only characters that forms send as they are, so whatever else comes is none.
    if app.tokens.access(token).is_none() {
        return Ok(page(StatusCode::UNAUTHORIZED, "This node does not know that token."));
    }
    // A browser sends a token that came encrypted by no other way.
    let secure = if app.is_encrypted { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000{secure}");
    let cookie = HeaderValue::from_str(&cookie).map_err(|error| Problem::internal(error.to_string()))?;
    let home = HeaderValue::from_static("/");
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, home), (header::SET_COOKIE, cookie)]).into_response())
}

//! The board's page, from the binary: plain HTML, CSS and ES modules, served as they are in `web/`.

use std::future::{Ready, ready};

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::problem::Problem;

#[derive(rust_embed::Embed)]
#[folder = "web/"]
struct Web;

/// What a browser may do with our pages: nothing but what they bring themselves.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /`
pub(super) fn index(headers: HeaderMap) -> Ready<Result<Response, Problem>> {
    ready(file("index.html", &headers))
}

/// `GET /assets/{file}`
pub(super) fn asset(Path(name): Path<String>, headers: HeaderMap) -> Ready<Result<Response, Problem>> {
    ready(file(&name, &headers))
}

fn file(name: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let Some(file) = Web::get(name) else {
        return Err(super::no_such_route(&format!("/assets/{name}")));
    };
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some(_) | None => "application/octet-stream",
    };
    // A new binary has new files under the old names: ask each time, send only what changed.
    let tag = format!("\"{}\"", data_encoding::HEXLOWER.encode(&file.metadata.sha256_hash()));
    let tag = HeaderValue::from_str(&tag).map_err(|error| Problem::internal(error.to_string()))?;
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == tag);
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = HeaderValue::from_static(kind);
        ([(header::CONTENT_TYPE, kind)], file.data.into_owned()).into_response()
    };
    response.headers_mut().insert(header::ETAG, tag);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_page_comes_from_elsewhere() {
        for name in Web::iter() {
            let text = String::from_utf8(Web::get(&name).unwrap().data.into_owned()).unwrap();
            for foreign in ["https://", "//cdn", "@import", "style=\"", "onclick="] {
                assert!(!text.contains(foreign), "{name} has {foreign}");
            }
        }
        assert!(Web::get("index.html").is_some());
    }
}

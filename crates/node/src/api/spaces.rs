//! Logs and leases over HTTP: `/api/v1/spaces` and what is below it.
//!
//! The name of a space may have slashes in it, raw or percent-encoded. What is asked of it is the last segment of
//! the path, if that is one of the words below and stands there raw: `/api/v1/spaces/team/pages/events` are the
//! events of `team/pages`, `/api/v1/spaces/team%2Fpages%2Fevents` is the space `team/pages/events`.

mod access;
mod append;
mod follow;
mod import;
mod intent;
mod lease;
mod list;
mod query;
mod read;
mod refusal;
mod shown;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use gangline_lease::SpaceName;
use http::{HeaderValue, Method, StatusCode, header};

pub(super) use self::list::list;
use super::problem::Problem;
use super::{App, body};
use crate::url::decode;

/// What stands before the name of a space.
const PREFIX: &str = "/api/v1/spaces/";

/// What is asked of a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The space itself.
    Whole,
    /// Its log.
    Events,
    /// Its lease.
    Lease,
    /// Whether it takes appends.
    Access,
    /// A log that comes.
    Import,
    /// A copy to compare with, and to go on from.
    Recover,
}

impl Part {
    const WORDS: [(&'static str, Self); 5] = [
        ("events", Self::Events),
        ("lease", Self::Lease),
        ("access", Self::Access),
        ("import", Self::Import),
        ("recover", Self::Recover),
    ];

    fn allow(self) -> &'static str {
        match self {
            Self::Whole => "GET,HEAD",
            Self::Events => "GET,HEAD,POST",
            Self::Lease => "GET,HEAD,POST,DELETE",
            Self::Access | Self::Import | Self::Recover => "POST",
        }
    }
}

/// What the body of a request to this path may have beyond what others may: a payload stands in an envelope.
pub(super) fn body_extra(path: &str) -> usize {
    if path.starts_with(PREFIX) { intent::ENVELOPE_BYTES_MAX } else { 0 }
}

/// Everything below `/api/v1/spaces/`.
pub(super) async fn enter(State(app): State<App>, request: Request) -> Response {
    let answered = answer(&app, request).await;
    answered.unwrap_or_else(|problem| {
        app.metrics.log_refused();
        problem.into_response()
    })
}

async fn answer(app: &App, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (space, part) = place(parts.uri.path().strip_prefix(PREFIX).unwrap_or_default())?;
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    let query = parts.uri.query().unwrap_or_default();
    match (part, &parts.method) {
        (Part::Whole, _) if is_read => match query::copy(query)? {
            true => list::copy(app, &space).await,
            false => list::one(app, &space).await,
        },
        (Part::Events, _) if is_read => read::events(app, &space, query, &parts.headers).await,
        (Part::Events, &Method::POST) => {
            query::none(query)?;
            append::append(app, &space, &parts.headers, body).await
        }
        (Part::Lease, method) => {
            query::none(query)?;
            match *method {
                Method::POST => lease::acquire(app, &space).await,
                Method::DELETE => lease::release(app, &space).await,
                _ if is_read => lease::show(app, &space).await,
                _ => Ok(not_allowed(&parts.method, parts.uri.path(), part)),
            }
        }
        (Part::Access, &Method::POST) => {
            query::none(query)?;
            refusal::elsewhere(app)?;
            access::set(app, &space, &body::read(&parts.headers, body, app).await?).await
        }
        (Part::Import, &Method::POST) => {
            refusal::elsewhere(app)?;
            import::import(app, &space, query, body).await
        }
        (Part::Recover, &Method::POST) if import::is_from_coordinator(query)? => {
            import::accept(app, &space).await
        }
        (Part::Recover, &Method::POST) => {
            refusal::elsewhere(app)?;
            import::go_on(app, &space, body).await
        }
        (Part::Whole | Part::Events | Part::Access | Part::Import | Part::Recover, _) => {
            Ok(not_allowed(&parts.method, parts.uri.path(), part))
        }
    }
}

fn not_allowed(method: &Method, path: &str, part: Part) -> Response {
    let detail = format!("{method} cannot be asked of {path}");
    let hint = "the header Allow says what can; GET /api/v1/openapi.json lists the routes";
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail, hint);
    let mut response = problem.into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(part.allow()));
    response
}

/// Reads the path behind the prefix, as it came.
fn place(raw: &str) -> Result<(SpaceName, Part), Problem> {
    let found = raw.rsplit_once('/').and_then(|(name, word)| {
        let (_, part) = Part::WORDS.iter().find(|(known, _)| *known == word)?;
        Some((name, *part))
    });
    let (name, part) = found.unwrap_or((raw, Part::Whole));
    let bad = |detail: String| {
        let hint = "a space is called 1 to 128 of A-Z a-z 0-9 . _ - / :, percent-encoded where need be";
        Problem::new(StatusCode::BAD_REQUEST, "bad_space", detail, hint)
    };
    let name = decode(name).ok_or_else(|| bad("the path is not percent-encoded UTF-8".into()))?;
    Ok((SpaceName::new(&name).map_err(|error| bad(error.to_string()))?, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_slashes_raw_or_encoded_and_the_last_word_says_what_is_asked() {
        let read = |raw: &str| {
            place(raw).map(|(space, part)| (space.to_string(), part)).map_err(|problem| problem.code())
        };
        for (raw, name, part) in [
            ("a", "a", Part::Whole),
            ("a/events", "a", Part::Events),
            ("a/lease", "a", Part::Lease),
            ("team/a:1/events", "team/a:1", Part::Events),
            ("team%2Fa%3a1/events", "team/a:1", Part::Events),
            ("team%2Fevents", "team/events", Part::Whole),
            ("team/events/events", "team/events", Part::Events),
            ("events", "events", Part::Whole),
            ("events/events", "events", Part::Events),
            ("a/event", "a/event", Part::Whole),
        ] {
            assert_eq!(read(raw), Ok((name.to_owned(), part)), "{raw}");
        }
        for raw in ["", "/events", "a%20b/events", "a%/events", "%ff", "a\u{e4}"] {
            assert_eq!(read(raw), Err("bad_space"), "{raw}");
        }
        assert_eq!(read(&"x".repeat(129)), Err("bad_space"));
    }
}

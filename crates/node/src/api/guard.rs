//! Who may ask: Host and Origin on loopback, bearer tokens off it.
//!
//! On loopback nobody needs a token, so a page of some other site, opened in a browser on this machine,
//! must not get through: its requests carry a foreign Origin, or a foreign Host after DNS rebinding.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::problem::Problem;
use super::{App, login};
use crate::config::{Settings, is_loopback};
use crate::token::Access;

/// The cookie in which the page keeps a token.
pub(super) const COOKIE: &str = "gangline_token";

/// What a request must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Nothing, but Host and Origin must be this machine's.
    Loopback,
    /// A token, everywhere but where an operator's probe looks.
    Tokens,
    /// Nothing: the operator wrote `insecure = true`.
    Open,
}

impl Policy {
    /// The policy that settings ask for.
    pub(crate) fn of(settings: &Settings) -> Self {
        if settings.is_loopback() {
            Policy::Loopback
        } else if settings.insecure.value {
            Policy::Open
        } else {
            Policy::Tokens
        }
    }
}

/// Routes that answer anyone: they say nothing that a closed port would not.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Lets a request through, or answers it.
pub(super) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if PROBES.contains(&path) {
        return next.run(request).await;
    }
    let headers = request.headers();
    if let Err(problem) = check_origin(headers) {
        return problem.into_response();
    }
    match app.policy {
        Policy::Open => {}
        Policy::Loopback => {
            if let Err(problem) = check_host(headers) {
                return problem.into_response();
            }
        }
        // Nodes prove themselves to the sync route, which has its own rule; the login takes a token itself.
        Policy::Tokens if path == "/crdt-sync" || path == login::PATH => {}
        Policy::Tokens => {
            let is_write = !matches!(*request.method(), Method::GET | Method::HEAD);
            if let Err(problem) = check_token(&app, headers, is_write) {
                let for_a_person = path == "/" && !is_write && accepts_html(headers);
                if for_a_person && problem.code() != "read_only_token" {
                    return login::page(StatusCode::UNAUTHORIZED, "");
                }
                let mut response = problem.into_response();
                if response.status() == StatusCode::UNAUTHORIZED {
                    let bearer = HeaderValue::from_static("Bearer");
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
                }
                return response;
            }
        }
    }
    next.run(request).await
}

/// Refuses requests that a page of another site made a browser send.
fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let own = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let origin = origin.to_str().unwrap_or("null");
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    if authority.is_some_and(|authority| !own.is_empty() && authority.eq_ignore_ascii_case(own)) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "origin_refused",
        format!("a page of {origin} may not use this node"),
        "open the board at the node's own address",
    ))
}

/// Refuses names that are not this machine's, so that no foreign name can be made to point here.
fn check_host(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if names_this_machine(host) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "host_refused",
        format!("`{host}` is not a name of this node"),
        "use 127.0.0.1, [::1] or localhost; to be reached by another name, listen on another address",
    ))
}

fn names_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, "")) => name,
        Some((name, port)) if port.strip_prefix(':').is_some_and(is_port) => name,
        Some(_) => return false,
        None => match host.split_once(':') {
            Some((name, port)) if is_port(port) => name,
            Some(_) => return false,
            None => host,
        },
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

fn check_token(app: &App, headers: &HeaderMap, is_write: bool) -> Result<(), Problem> {
    let Some(token) = token(headers) else {
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "token_missing",
            "this node can be reached from other machines and wants a token",
            "send `Authorization: Bearer TOKEN`; `gangline key token NAME` on the node's machine makes one",
        ));
    };
    match app.tokens.access(&token) {
        Some(Access::Write) => Ok(()),
        Some(Access::Read) if !is_write => Ok(()),
        Some(Access::Read) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "read_only_token",
            "this token may only read",
            "use one made without --read",
        )),
        None => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "token_unknown",
            "this node does not know the token",
            "it may have been revoked; `gangline key token NAME` makes another",
        )),
    }
}

/// The token of a request: in its header, or in the page's cookie.
fn token(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        let (scheme, token) = value.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned());
    }
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, token)| token.to_owned())
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|v| v.contains("text/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_pass() {
        for host in [
            "127.0.0.1:3001",
            "localhost",
            "LOCALHOST:1",
            "[::1]:3001",
            "[::1]",
            "127.9.9.9",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(names_this_machine(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:3001",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "10.0.0.1",
            "[::1].evil",
            "localhost:x",
            "[::1]:x",
            "::1",
        ] {
            assert!(!names_this_machine(host), "{host}");
        }
    }

    #[test]
    fn foreign_origins_are_refused() {
        let check = |host: &str, origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            check_origin(&headers).is_ok()
        };
        assert!(check("127.0.0.1:3001", "http://127.0.0.1:3001"));
        assert!(check("board.example", "https://board.example"));
        for origin in [
            "null",
            "http://evil.example",
            "http://127.0.0.1:8080",
            "http://127.0.0.1",
            "ws://127.0.0.1:3001",
            "127.0.0.1:3001",
        ] {
            assert!(!check("127.0.0.1:3001", origin), "{origin}");
        }
        assert!(check_origin(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn tokens_come_in_a_header_or_a_cookie() {
        let with = |name: header::HeaderName, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            token(&headers)
        };
        assert_eq!(with(header::AUTHORIZATION, "Bearer abc").as_deref(), Some("abc"));
        assert_eq!(with(header::AUTHORIZATION, "bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(with(header::AUTHORIZATION, "Basic abc"), None);
        assert_eq!(with(header::COOKIE, "a=b; gangline_token=abc").as_deref(), Some("abc"));
        assert_eq!(with(header::COOKIE, "xgangline_token=abc"), None);
    }
}

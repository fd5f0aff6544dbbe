//! The node over HTTP: the routes, what every answer carries, and the state that handlers share.
//!
//! A request goes through, from outside in: count it and set the headers that every answer has; catch
//! panics; [`guard`] (who may ask); [`idempotency`] for writes; the handler. The board's rules are
//! `gangline_doc`'s; handlers only translate.

mod asked;
mod board;
mod body;
mod conflicts;
mod documents;
mod durable;
mod guard;
mod idempotency;
mod items;
mod login;
mod openapi;
mod page;
mod peers;
mod problem;
mod retry;
pub(crate) mod server;
mod spaces;
mod status;
mod sync;
#[cfg(test)]
mod tests;
mod watch;

use std::any::Any;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bft_json_crdt::keypair::AuthorId;
use gangline_doc::{LogSeq, PipelineDoc, Replica, Subscription};
use http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use tokio::sync::{Semaphore, watch as tokio_watch};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use self::board::{blocking, durable};
pub(crate) use self::documents::{Desk as DocumentDesk, PAUSED};
pub(crate) use self::guard::Policy;
pub(crate) use self::idempotency::Keys;
pub(crate) use self::problem::Problem;
use self::problem::ProblemCode;
pub(crate) use self::watch::Latest;
use crate::config::Limits;
use crate::documents::Documents;
use crate::links::Links;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::token::Tokens;
use crate::trust::NodeGate;

/// What handlers share.
pub(crate) type App = Arc<AppInner>;

/// See [`App`].
pub(crate) struct AppInner {
    pub(crate) replica: Replica<PipelineDoc>,
    pub(crate) logs: Logs,
    pub(crate) links: Arc<Links>,
    pub(crate) documents: Documents,
    pub(crate) author: AuthorId,
    pub(crate) name: String,
    pub(crate) policy: Policy,
    pub(crate) allow_v1: bool,
    pub(crate) gate: Arc<NodeGate>,
    /// Whether it serves https://.
    pub(crate) is_encrypted: bool,
    pub(crate) agents: Vec<String>,
    /// For whom a claim is that names nobody.
    pub(crate) agent: String,
    pub(crate) limits: Limits,
    pub(crate) tokens: Tokens,
    pub(crate) keys: Keys,
    pub(crate) metrics: Metrics,
    pub(crate) watchers: Arc<Semaphore>,
    pub(crate) latest: Latest,
    /// Wakes watchers; the truth is `replica.durable()`.
    pub(crate) durable: tokio_watch::Receiver<LogSeq>,
    pub(crate) _subscription: Subscription,
    pub(crate) listen: SocketAddr,
    pub(crate) started_at_ms: u64,
    /// Cancelled when the node stops.
    pub(crate) stop: CancellationToken,
}

/// Every route and its methods, for the router's test and the description's.
#[cfg(test)]
const ROUTES: [(&str, &[&str]); 40] = [
    ("/", &["get"]),
    ("/assets/{file}", &["get"]),
    ("/crdt-sync", &["get"]),
    ("/healthz", &["get"]),
    ("/readyz", &["get"]),
    ("/metrics", &["get"]),
    ("/api/v1/session", &["post"]),
    ("/api/v1/status", &["get"]),
    ("/api/v1/items", &["get", "post"]),
    ("/api/v1/items/{story_id}", &["delete", "get", "patch"]),
    ("/api/v1/items/{story_id}/claim", &["post"]),
    ("/api/v1/items/{story_id}/release", &["post"]),
    ("/api/v1/items/{story_id}/history", &["get"]),
    ("/api/v1/items/{story_id}/conflicts", &["get"]),
    ("/api/v1/conflicts", &["get"]),
    ("/api/v1/peers", &["get"]),
    ("/api/v1/peers/ping", &["post"]),
    ("/api/v1/spaces", &["get"]),
    ("/api/v1/spaces/{space}", &["get"]),
    ("/api/v1/spaces/{space}/events", &["get", "post"]),
    ("/api/v1/spaces/{space}/lease", &["delete", "get", "post"]),
    ("/api/v1/spaces/{space}/access", &["post"]),
    ("/api/v1/spaces/{space}/import", &["post"]),
    ("/api/v1/spaces/{space}/recover", &["post"]),
    ("/api/v1/documents", &["get"]),
    ("/api/v1/documents/{id}", &["get", "patch"]),
    ("/api/v1/documents/{id}/plan", &["get"]),
    ("/api/v1/documents/{id}/verify", &["get"]),
    ("/api/v1/documents/{id}/history", &["get"]),
    ("/api/v1/documents/{id}/explain", &["get"]),
    ("/api/v1/documents/{id}/reconcile", &["post"]),
    ("/api/v1/documents/{id}/save", &["post"]),
    ("/api/v1/documents/{id}/resolve", &["post"]),
    ("/api/v1/reconcile", &["get"]),
    ("/api/v1/reconcile/{name}/pause", &["post"]),
    ("/api/v1/reconcile/{name}/resume", &["post"]),
    ("/api/v1/reconcile/{name}/install", &["post"]),
    ("/api/v1/reconcile/{name}/uninstall", &["post"]),
    ("/api/v1/watch", &["get"]),
    ("/api/v1/openapi.json", &["get"]),
];

/// The routes, ready to serve.
pub(crate) fn router(app: &App) -> Router {
    let item = get(items::show).patch(items::patch).delete(items::remove);
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{file}", get(page::asset))
        .route("/crdt-sync", get(sync::enter))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(status::metrics))
        .route(login::PATH, post(login::enter))
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/peers", get(peers::list))
        .route("/api/v1/peers/ping", post(peers::ping))
        .route("/api/v1/items", get(items::list).post(items::add))
        .route("/api/v1/items/{story_id}", item)
        .route("/api/v1/items/{story_id}/claim", post(items::claim))
        .route("/api/v1/items/{story_id}/release", post(items::release))
        .route("/api/v1/items/{story_id}/history", get(items::history))
        .route("/api/v1/items/{story_id}/conflicts", get(items::conflicts_of))
        .route("/api/v1/conflicts", get(items::conflicts_of_all))
        .route("/api/v1/spaces", get(spaces::list))
        .route("/api/v1/spaces/{*space}", get(spaces::enter).post(spaces::enter).delete(spaces::enter))
        .route("/api/v1/documents", get(documents::list))
        .route("/api/v1/documents/{id}", get(documents::show).patch(documents::patch))
        .route("/api/v1/documents/{id}/plan", get(documents::plan))
        .route("/api/v1/documents/{id}/verify", get(documents::verify))
        .route("/api/v1/documents/{id}/history", get(documents::history))
        .route("/api/v1/documents/{id}/explain", get(documents::explain))
        .route("/api/v1/documents/{id}/reconcile", post(documents::reconcile))
        .route("/api/v1/documents/{id}/save", post(documents::save))
        .route("/api/v1/documents/{id}/resolve", post(documents::resolve))
        .route("/api/v1/reconcile", get(documents::list_sources))
        .route("/api/v1/reconcile/{name}/pause", post(documents::pause))
        .route("/api/v1/reconcile/{name}/resume", post(documents::resume))
        .route("/api/v1/reconcile/{name}/install", post(documents::install))
        .route("/api/v1/reconcile/{name}/uninstall", post(documents::uninstall))
        .route("/api/v1/watch", get(watch::open))
        .route("/api/v1/openapi.json", get(openapi::serve))
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing_here)
        .layer(middleware::from_fn_with_state(app.clone(), retry::once))
        .layer(middleware::from_fn_with_state(app.clone(), durable::wait))
        .layer(middleware::from_fn_with_state(app.clone(), guard::check))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(app.clone(), dress))
        .with_state(app.clone())
}

/// Counts a request and puts on the headers that every answer has.
async fn dress(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let code = response.extensions().get::<ProblemCode>().map(|code| code.0);
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    app.metrics.request(&method, route, response.status().as_u16(), code);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::CONTENT_SECURITY_POLICY, page::POLICY),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn nothing_here(uri: Uri) -> Ready<Problem> {
    ready(no_such_route(uri.path()))
}

fn no_such_route(path: &str) -> Problem {
    let detail = format!("there is nothing at {path}");
    Problem::new(StatusCode::NOT_FOUND, "no_such_route", detail, "GET /api/v1/openapi.json lists the routes")
}

fn wrong_method(method: http::Method, uri: Uri) -> Ready<Problem> {
    let detail = format!("{method} cannot be asked of {}", uri.path());
    let hint = "the header Allow says what can; GET /api/v1/openapi.json lists the routes";
    ready(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail, hint))
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let what = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(event = "handler_panicked", what);
    Problem::internal("a request could not be answered").into_response()
}

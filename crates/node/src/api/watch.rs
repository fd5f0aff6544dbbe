//! `GET /api/v1/watch`: what changes, as server-sent events.
//!
//! A watcher is a cursor into the durable log and nothing more: it is read when the client takes what was
//! sent, so a slow one costs no memory, and one that comes back goes on where it was. An event's id is the
//! position of its change in this node's log.

mod changes;
mod start;

pub(crate) use self::changes::Latest;
pub(super) use self::start::bad_position;

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use gangline_doc::{LogSeq, ReadLimit};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};

use self::start::Start;
use super::problem::Problem;
use super::{App, documents};

/// An idle stream says something this often, so that both ends notice a dead connection.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What one read of the log brings to one watcher.
const STEP: ReadLimit = ReadLimit { count: 256, bytes: 1 << 20 };
/// Nearer to the end of the log than this, watchers share what is made of it.
const NEAR: u64 = 64;
/// After the stream breaks, browsers come back this soon.
pub(super) const RETRY_MS: u64 = 1_000;

/// Opens a stream: of the board, or of the document that the query names.
pub(super) async fn open(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    match of_document(query.as_deref())? {
        Some(wish) => documents::watch_document(app, wish, &headers).await,
        None => stream(app, query.as_deref(), &headers),
    }
}

/// What is wanted of a document; none where the query names none.
fn of_document(query: Option<&str>) -> Result<Option<documents::WatchWish>, Problem> {
    let pairs = crate::url::pairs(query.unwrap_or_default());
    let mut wish = documents::WatchWish { document: String::new(), from: None, client: None };
    if !pairs.iter().any(|(name, _)| name == "document") {
        return Ok(None);
    }
    for (name, value) in pairs {
        match &*name {
            "document" => wish.document = value,
            "client" => wish.client = Some(value),
            "from" => wish.from = Some(value.parse().map_err(|_| bad_position("from"))?),
            _ => {
                let detail = format!("`{name}` means nothing here");
                let hint = "the parameters are document=ID, client=NAME and from=SEQ";
                return Err(Problem::new(StatusCode::BAD_REQUEST, "unknown_parameter", detail, hint));
            }
        }
    }
    Ok(Some(wish))
}

fn stream(app: App, query: Option<&str>, headers: &HeaderMap) -> Result<Response, Problem> {
    let last_id = match headers.get("last-event-id") {
        None => None,
        Some(id) => Some(id.to_str().map_err(|_| bad_position("Last-Event-ID"))?),
    };
    let durable = app.durable.clone();
    let end = app.replica.durable();
    let start = start::start(last_id, query, end)?;
    let place = enter(&app)?;
    let hello = hello(&app, &start);
    let watcher = Watcher { app, cursor: start.cursor, durable, hello: Some(hello), _place: place };
    let events = futures_util::stream::unfold(watcher, async |mut watcher| {
        let bytes = watcher.next().await?;
        Some((Ok::<_, Infallible>(bytes), watcher))
    });
    let kind = HeaderValue::from_static("text/event-stream");
    let mut response = ([(header::CONTENT_TYPE, kind)], Body::from_stream(events)).into_response();
    // Proxies that gather answers would hold live changes back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// A place among the streams that this node feeds at a time.
///
/// # Errors
/// When there is none.
pub(super) fn enter(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    app.watchers.clone().try_acquire_owned().map_err(|_| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_watchers",
            format!("this node has all the {} watchers it takes", app.limits.watchers_max.value),
            "close some, or raise limits.watchers_max",
        )
    })
}

struct Watcher {
    app: App,
    cursor: LogSeq,
    durable: watch::Receiver<LogSeq>,
    hello: Option<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// The next piece of the stream; none when the node stops, or cannot read its log.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(hello) = self.hello.take() {
            return Some(hello);
        }
        loop {
            // Before the look at the log: what comes in between wakes the wait below.
            self.durable.borrow_and_update();
            if self.app.stop.is_cancelled() {
                return None;
            }
            let behind = self.app.replica.durable().0.saturating_sub(self.cursor.0);
            if behind > 0 {
                let read = if behind <= NEAR {
                    changes::read_near(&self.app, self.cursor, STEP).await
                } else {
                    changes::read(&self.app, self.cursor, STEP).await.map(|(text, next)| (text.into(), next))
                };
                match read {
                    Ok((text, next)) => {
                        self.cursor = next;
                        return Some(text);
                    }
                    Err(problem) => {
                        // The client comes back and hears why, if it still is so.
                        tracing::error!(event = "watch_ended", code = problem.code(), "cannot read the log");
                        return None;
                    }
                }
            }
            tokio::select! {
                changed = self.durable.changed() => changed.ok()?,
                () = self.app.stop.cancelled() => return None,
                () = crate::clock::pause(KEEP_ALIVE) => return Some(Bytes::from_static(b": still here\n\n")),
            }
        }
    }
}

/// The first event: where the stream begins, and of which node.
fn hello(app: &App, start: &Start) -> Bytes {
    let name = if start.is_reset { "reset" } else { "ready" };
    let data = json!({ "node_id": app.author.to_string(), "name": app.name, "next": start.cursor.0 });
    format!("retry: {RETRY_MS}\n{}", event(name, &id_before(start.cursor), &data.to_string())).into()
}

/// One event as it is sent.
pub(super) fn event(name: &str, id: &str, data: &str) -> String {
    format!("id: {id}\nevent: {name}\ndata: {data}\n\n")
}

/// The id after which a stream begins at `cursor`. Before the first change it is -1.
fn id_before(cursor: LogSeq) -> String {
    cursor.0.checked_sub(1).map_or_else(|| "-1".to_owned(), |seq| seq.to_string())
}

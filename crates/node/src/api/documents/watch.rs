//! `GET /api/v1/watch?document=ID`: what happens to one document, as server-sent events.
//!
//! The id of a change's last event is the position of the change in this node's log of the document, so a stream that
//! breaks goes on where it was. Notices are derived from the changes that brought them; who comes and goes is told as it is.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bft_json_crdt::Digest;
use bytes::Bytes;
use gangline_doc::{Entry, LogSeq, ReadLimit};
use http::{HeaderMap, HeaderValue, header};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::shown::notice as notice_json;
use super::{enter, look};
use crate::api::problem::Problem;
use crate::api::watch::{KEEP_ALIVE, RETRY_MS, bad_position, enter as take_place, event};
use crate::api::{App, blocking};
use crate::clock;
use crate::documents::Guest;
use crate::documents::live::Trouble;
use crate::documents::present::{Client, Place};

/// What one read of the log brings.
const STEP: ReadLimit = ReadLimit { count: 64, bytes: 1 << 20 };

/// What a stream was asked for.
pub(in crate::api) struct Wish {
    /// Which document.
    pub(in crate::api) document: String,
    /// The first position; none for from now on.
    pub(in crate::api) from: Option<u64>,
    /// What the client calls itself.
    pub(in crate::api) client: Option<String>,
}

/// Longest name of a client.
const CLIENT_BYTES_MAX: usize = 64;

/// Opens a stream.
pub(in crate::api) async fn open(app: App, wish: Wish, headers: &HeaderMap) -> Result<Response, Problem> {
    let permit = take_place(&app)?;
    let (guest, found) = enter(&app, &wish.document).await?;
    let end = guest.replica.durable();
    let last = headers.get("last-event-id").map(|id| id.to_str().map_err(|_| bad_position("Last-Event-ID")));
    let seen = match last.transpose()?.filter(|id| !id.is_empty()) {
        None => None,
        Some("-1") => Some(0),
        Some(id) => Some(id.parse::<u64>().map_err(|_| bad_position("Last-Event-ID"))?.saturating_add(1)),
    };
    let from = seen.or(wish.from).unwrap_or(end.0);
    // Of a log that this document never had: the client looks anew.
    let is_reset = from > end.0;
    let cursor = if is_reset { end } else { LogSeq(from) };
    let shown = look(&guest).await?;
    let id = cursor.0.checked_sub(1).map_or_else(|| "-1".to_owned(), |seq| seq.to_string());
    let name = if is_reset { "reset" } else { "ready" };
    let data = json!({
        "id": found.name,
        "next": cursor.0,
        "heads": super::shown::heads(&shown.heads),
        "present": guest.present.clients(),
    });
    let hello = format!("retry: {RETRY_MS}\n{}", event(name, &id, &data.to_string()));
    let client = wish.client.map(|name| name.chars().filter(|c| !c.is_control()).collect::<String>());
    let client = client.filter(|name| !name.is_empty()).unwrap_or_else(|| "browser".to_owned());
    let client = client.get(..CLIENT_BYTES_MAX.min(client.len())).unwrap_or("browser").to_owned();
    let (durable, troubles, skips) = (guest.durable.clone(), guest.troubles(), guest.skips());
    let news = guest.present.news();
    let place = guest.present.enter(Client { client, since: clock::now_ms() });
    let watcher = Watcher {
        app,
        cursor,
        durable,
        troubles,
        skips,
        news,
        hello: Some(hello.into()),
        _place: place,
        _permit: permit,
        guest,
        named_by: shown.layout.source.clone(),
    };
    let events = futures_util::stream::unfold(watcher, async |mut watcher| {
        let bytes = watcher.next().await?;
        Some((Ok::<_, Infallible>(bytes), watcher))
    });
    let kind = HeaderValue::from_static("text/event-stream");
    let mut response = ([(header::CONTENT_TYPE, kind)], Body::from_stream(events)).into_response();
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Watcher {
    app: App,
    cursor: LogSeq,
    durable: watch::Receiver<LogSeq>,
    troubles: watch::Receiver<Option<Trouble>>,
    skips: watch::Receiver<Arc<[String]>>,
    news: watch::Receiver<u64>,
    hello: Option<Bytes>,
    _place: Place,
    _permit: OwnedSemaphorePermit,
    guest: Guest,
    /// What the document calls its source.
    named_by: Option<String>,
}

impl Watcher {
    /// The next piece of the stream; none when the node stops, or cannot read its log.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(hello) = self.hello.take() {
            return Some(hello);
        }
        loop {
            self.durable.borrow_and_update();
            if self.app.stop.is_cancelled() {
                return None;
            }
            if self.guest.replica.durable() > self.cursor {
                let (text, next) = self.read().await.ok()?;
                self.cursor = next;
                return Some(text.into());
            }
            tokio::select! {
                changed = self.durable.changed() => changed.ok()?,
                changed = self.troubles.changed() => {
                    changed.ok()?;
                    let trouble = self.troubles.borrow_and_update().clone();
                    if let Some(Trouble { reason, retry_in }) = trouble {
                        let data = json!({"source": self.source(), "reason": reason, "retry_in": retry_in});
                        return Some(aside("reconcile_failed", &data).into());
                    }
                }
                changed = self.skips.changed() => {
                    changed.ok()?;
                    let rows = self.skips.borrow_and_update().clone();
                    let data = json!({"source": self.source(), "rows": *rows});
                    return Some(aside("rows_skipped", &data).into());
                }
                changed = self.news.changed() => {
                    changed.ok()?;
                    let data = json!({"present": self.guest.present.clients()});
                    return Some(aside("presence", &data).into());
                }
                () = self.app.stop.cancelled() => return None,
                () = clock::pause(KEEP_ALIVE) => return Some(Bytes::from_static(b": still here\n\n")),
            }
        }
    }

    /// The name of the source, also where only another node reconciles it.
    fn source(&self) -> String {
        let name = self.guest.source().map(|source| &source.name).or(self.named_by.as_ref());
        name.map_or_else(|| "database".to_owned(), String::clone)
    }

    async fn read(&self) -> Result<(String, LogSeq), Problem> {
        let (document, source, from) = (self.guest.document(), self.source(), self.cursor);
        blocking(move || {
            let entries = document.replica.entries(from, STEP);
            let entries = entries.map_err(|error| Problem::store_failed(&error.to_string()))?;
            let next = entries.last().map_or(from, |last| LogSeq(last.seq().0.saturating_add(1)));
            let text: String = entries.iter().map(|entry| told(&document, &source, entry)).collect();
            Ok((text, next))
        })
        .await?
    }
}

/// What is told of one change: that it is there, and what it says of the database.
fn told(document: &Arc<crate::documents::live::LiveDocument>, source: &str, entry: &Entry) -> String {
    let change = entry.change();
    let id = entry.seq().0.to_string();
    let (notice, heads, is_source) = document
        .replica
        .read(|base| {
            let heads: Vec<String> = base.heads().iter().map(Digest::to_string).collect();
            (document.views.notice(base, change), heads, base.source() == Some(change.author()))
        })
        .0;
    let by = if is_source { "source".to_owned() } else { crate::identity::node_name(&change.author()) };
    let data = json!({"heads": heads, "change": change.digest().to_string(), "by": by});
    let Some(notice) = notice else { return event("changed", &id, &data.to_string()) };
    // Whoever has the id has been told all of it: a stream that breaks in between says it again.
    let changed = aside("changed", &data);
    if notice.is_save {
        let data = json!({"source": source, "version": notice.to, "unsaved_left": notice.unsaved_left});
        return changed + &event("saved", &id, &data.to_string());
    }
    let actor = document.actor_of(&change.digest()).or_else(|| {
        // Of before this document was opened.
        let audit = document.source()?.audit_of(document.id, &change.digest(), entry.received_at_ms())?;
        audit.actor
    });
    changed + &event("db_changed", &id, &notice_json(&notice, source, actor.as_deref()).to_string())
}

/// An event that is no change, or not all of one: a stream that breaks after it goes on with that change.
fn aside(name: &str, data: &serde_json::Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

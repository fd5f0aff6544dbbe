//! `GET /api/v1/spaces/{space}/events?follow=true`: the log as server-sent events, now and as it grows.
//!
//! A follower is a cursor and nothing more, as a watcher of the board is: a slow one costs no memory, and one that
//! comes back with the id of the last event that it has goes on right behind it.

use std::convert::Infallible;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use gangline_lease::{ReadLimit, Seq, SpaceName, Tail};
use http::{HeaderMap, HeaderValue, header};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::query::Wish;
use super::refusal;
use crate::api::App;
use crate::api::problem::Problem;
use crate::api::watch::{KEEP_ALIVE, RETRY_MS, bad_position, enter, event};
use crate::logs::{chain, lines};

/// What one read brings to one follower.
const STEP: ReadLimit = ReadLimit { count: 256, bytes: 1 << 20 };

/// Opens a stream.
pub(super) async fn open(
    app: &App,
    space: &SpaceName,
    wish: &Wish,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let state = app.logs.store.state(space).await.map_err(|error| refusal::store(&error))?;
    let end = state.as_ref().map(|state| state.head.next).unwrap_or_default();
    let asked = last_id(headers)?.unwrap_or(wish.from);
    // What was never here was of another log: whoever asks for it has to look anew.
    let is_reset = asked > end;
    let from = asked.min(end);
    let place = enter(app)?;
    let hello = {
        let incarnation = state.as_ref().map(|state| state.incarnation.to_string());
        let data = json!({ "space": space.as_str(), "incarnation": incarnation, "next": from.0 });
        let name = if is_reset { "reset" } else { "ready" };
        let id = from.0.checked_sub(1).map_or_else(|| "-1".to_owned(), |seq| seq.to_string());
        format!("retry: {RETRY_MS}\n{}", event(name, &id, &data.to_string())).into()
    };
    let follower = Follower {
        tail: app.logs.authority.tail(space, from),
        app: app.clone(),
        hello: Some(hello),
        left: wish.limit,
        signatures: wish.signatures,
        _place: place,
    };
    let events = futures_util::stream::unfold(follower, async |mut follower| {
        let bytes = follower.next().await?;
        Some((Ok::<_, Infallible>(bytes), follower))
    });
    let kind = HeaderValue::from_static("text/event-stream");
    let mut response = ([(header::CONTENT_TYPE, kind)], Body::from_stream(events)).into_response();
    // Proxies that gather answers would hold live events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Follower {
    app: App,
    tail: Tail,
    hello: Option<Bytes>,
    left: Option<usize>,
    signatures: bool,
    _place: OwnedSemaphorePermit,
}

impl Follower {
    /// The next piece of the stream; none when the node stops, cannot read the log, or all was sent that was asked
    /// for.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(hello) = self.hello.take() {
            return Some(hello);
        }
        if self.left == Some(0) {
            return None;
        }
        let step = ReadLimit { count: self.left.unwrap_or(STEP.count).min(STEP.count), ..STEP };
        let events = tokio::select! {
            events = self.tail.next(step) => events,
            () = self.app.stop.cancelled() => return None,
            () = crate::clock::pause(KEEP_ALIVE) => return Some(Bytes::from_static(b": still here\n\n")),
        };
        match events {
            Ok(events) => {
                self.left = self.left.map(|left| left.saturating_sub(events.len()));
                let mut text = String::new();
                for one in &events {
                    let mut data = String::new();
                    lines::write(one, self.signatures, &mut data);
                    text.push_str(&event("event", &one.seq.to_string(), &data));
                }
                Some(text.into())
            }
            Err(error) => {
                // The client comes back and hears why, if it still is so.
                tracing::error!(event = "log_follow_ended", "{}", chain(&error));
                None
            }
        }
    }
}

/// Where to go on behind the last event that the client has.
fn last_id(headers: &HeaderMap) -> Result<Option<Seq>, Problem> {
    let Some(id) = headers.get("last-event-id").filter(|id| !id.is_empty()) else { return Ok(None) };
    let bad = || bad_position("Last-Event-ID");
    let id = id.to_str().map_err(|_| bad())?;
    if id == "-1" {
        return Ok(Some(Seq::START));
    }
    let seen: u64 = id.parse().map_err(|_| bad())?;
    Ok(Some(Seq(seen).plus(1)))
}

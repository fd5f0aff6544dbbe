//! `GET /api/v1/spaces/{space}/events`: a stretch of the log, or all that comes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use gangline_lease::limits::PAYLOAD_BYTES_MAX;
use gangline_lease::{Event, EventStore, ReadLimit, Seq, SpaceName};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::query::{self, Wish};
use super::{follow, refusal};
use crate::api::App;
use crate::api::problem::Problem;
use crate::logs::{chain, lines};

/// How long a reader waits for the event that it has to see.
const AT_LEAST_WITHIN: Duration = Duration::from_secs(5);
/// What is in memory of one answer at a time.
const STEP: ReadLimit = ReadLimit { count: 1_000, bytes: 2 * PAYLOAD_BYTES_MAX };

/// Answers events, as an array or as a stream.
pub(super) async fn events(
    app: &App,
    space: &SpaceName,
    query: &str,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let wish = query::read(query)?;
    if let Some(seq) = wish.at_least {
        wait(app, space, seq).await?;
    }
    match wish.follow {
        true => follow::open(app, space, &wish, headers).await,
        false => array(app, space, &wish).await,
    }
}

/// Waits until an event can be read here.
async fn wait(app: &App, space: &SpaceName, seq: Seq) -> Result<(), Problem> {
    let mut tail = app.logs.authority.tail(space, seq);
    let one = ReadLimit { count: 1, bytes: 0 };
    match tokio::time::timeout(AT_LEAST_WITHIN, tail.next(one)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(refusal::store(&error)),
        Err(_) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_there_yet",
            format!("event {seq} of `{space}` is not here after {} s", AT_LEAST_WITHIN.as_secs()),
            "try again in a moment, or read at the node that appended it",
        )
        .again_in(1)
        .with("at_least", seq.0)),
    }
}

struct Reading {
    store: Arc<dyn EventStore>,
    space: SpaceName,
    next: Seq,
    left: usize,
    signatures: bool,
    state: State,
}

enum State {
    /// The first events were read before anything was answered.
    Begins(Vec<Event>),
    Goes,
    Ended,
}

/// A JSON array, read and sent in steps.
async fn array(app: &App, space: &SpaceName, wish: &Wish) -> Result<Response, Problem> {
    let left = wish.limit.unwrap_or(usize::MAX);
    let step = ReadLimit { count: left.min(STEP.count), ..STEP };
    let follower = app.logs.follower.as_ref().filter(|_| !wish.copy);
    if let Some(why) = follower.and_then(|follower| follower.why_stopped(space)) {
        return Err(refusal::not_followed(space, &why));
    }
    let store = if wish.copy { app.logs.kept.clone() } else { app.logs.store.clone() };
    let of_store = |error| refusal::store(&error);
    let first = store.read(space, wish.from, step).await.map_err(of_store)?;
    if first.is_empty() && store.state(space).await.map_err(of_store)?.is_none() {
        return Err(refusal::no_such_space(space));
    }
    let stale = app.logs.stale_ms();
    let reading = Reading {
        store,
        space: space.clone(),
        next: wish.from,
        left,
        signatures: wish.signatures,
        state: State::Begins(first),
    };
    let pieces = futures_util::stream::unfold(reading, async |mut reading| {
        let piece = reading.piece().await?;
        Some((piece, reading))
    });
    let kind = HeaderValue::from_static("application/json");
    let mut response = ([(header::CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response();
    if let Some(stale) = stale {
        response.headers_mut().insert("x-gangline-stale", HeaderValue::from(stale));
    }
    Ok(response)
}

impl Reading {
    /// The next piece of the array; an error breaks the answer off, so that nobody takes it for whole.
    async fn piece(&mut self) -> Option<io::Result<Bytes>> {
        let mut text = String::new();
        let events = match std::mem::replace(&mut self.state, State::Goes) {
            State::Ended => {
                self.state = State::Ended;
                return None;
            }
            State::Begins(events) => {
                text.push('[');
                events
            }
            State::Goes => {
                let step = ReadLimit { count: self.left.min(STEP.count), ..STEP };
                match self.store.read(&self.space, self.next, step).await {
                    Ok(events) => {
                        if !events.is_empty() {
                            text.push(',');
                        }
                        events
                    }
                    Err(error) => {
                        tracing::error!(event = "log_read_broke_off", "{}", chain(&error));
                        self.state = State::Ended;
                        return Some(Err(io::Error::other(error)));
                    }
                }
            }
        };
        for (n, event) in events.iter().enumerate() {
            if n > 0 {
                text.push(',');
            }
            lines::write(event, self.signatures, &mut text);
        }
        self.next = self.next.plus(events.len());
        let bytes: usize = events.iter().map(|event| event.payload.bytes().len()).sum();
        // Fewer than were asked for, and room for any other: there are no more.
        let is_all = events.len() < self.left.min(STEP.count) && bytes + PAYLOAD_BYTES_MAX <= STEP.bytes;
        self.left = self.left.saturating_sub(events.len());
        if events.is_empty() || is_all || self.left == 0 {
            text.push(']');
            self.state = State::Ended;
        }
        Some(Ok(text.into()))
    }
}

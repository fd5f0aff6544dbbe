//! `POST /api/v1/spaces/{space}/import` and `…/recover`: logs that come as lines, verified before they are kept.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::BytesMut;
use gangline_lease::copying::{CopyError, Importer, RecoverError, Relation, Shelf, recover};
use gangline_lease::{Access, AdoptError, EventStore, Misfit, SpaceName};
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::json;

use super::{list, query, refusal};
use crate::api::App;
use crate::api::items::answer;
use crate::api::problem::Problem;
use crate::logs::chain;
use crate::logs::lines::{self, Header, LINE_BYTES_MAX};

/// Takes a log. It is open here afterwards, or with `?copy=true` stays a copy.
pub(super) async fn import(
    app: &App,
    space: &SpaceName,
    text: &str,
    body: Body,
) -> Result<Response, Problem> {
    let is_copy = query::copy(text)?;
    let store = app.logs.store.as_ref();
    let access = store.access(space).await.map_err(|error| refusal::store(&error))?;
    if access.as_ref().is_some_and(Access::is_open) {
        return Err(open_here(space));
    }
    take(app, store, space, body).await?;
    if !is_copy {
        // What this node knows of it from before does not count any more.
        app.logs.authority.forget(space);
        let opened = app.logs.authority.set_access(space, Access::Open).await;
        opened.map_err(|error| refusal::lease(space, error))?;
    }
    list::one(app, space).await
}

/// Whether `?from=coordinator` asks for the coordinator's log, instead of one that comes.
pub(super) fn is_from_coordinator(text: &str) -> Result<bool, Problem> {
    let mut is_asked = false;
    for (name, value) in query::pairs(text) {
        match (name, value) {
            ("from", "coordinator") => is_asked = true,
            ("from", other) => return Err(query::bad("from", other, "coordinator")),
            (other, _) => return Err(query::unknown(other, "from")),
        }
    }
    Ok(is_asked)
}

/// Goes by the coordinator's log from here on, whatever this node has seen; what its copy has beside it is set aside.
pub(super) async fn accept(app: &App, space: &SpaceName) -> Result<Response, Problem> {
    let logs = &app.logs;
    if logs.coordinator().is_none() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "no_coordinator",
            "the logs of this node are its own: it has no coordinator",
            "send a copy to recover from",
        ));
    }
    let kept = match &logs.follower {
        Some(follower) => {
            let shelf = logs.shelf().ok_or_else(nowhere)?;
            follower.accept(space, &shelf).await.map_err(|error| recover_problem(space, error))?
        }
        None => {
            logs.authority.forget(space);
            None
        }
    };
    let state = logs.store.state(space).await.map_err(|error| refusal::store(&error))?;
    let state = state.ok_or_else(|| copy_problem(space, CopyError::Absent(space.clone())))?;
    answer(
        StatusCode::OK,
        &json!({
            "space": space.as_str(),
            "relation": "coordinators",
            "forked_at": null,
            "next": state.head.next.0,
            "hash": state.head.hash.to_string(),
            "epoch": state.epoch.0,
            "kept": kept,
        }),
    )
}

fn nowhere() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "nowhere_to_keep",
        "this node keeps nothing on disk",
        "recover on a node that keeps its logs on disk",
    )
}

fn recover_problem(space: &SpaceName, error: RecoverError) -> Problem {
    match error {
        RecoverError::Copy(error) => copy_problem(space, error),
        RecoverError::Lease(error) => refusal::lease(space, error),
        RecoverError::Shelf(error) => refusal::store(&error),
        other => Problem::internal(other.to_string()),
    }
}

/// Goes on from the longer one of the node's log and the one that comes; the other is set aside.
pub(super) async fn go_on(app: &App, space: &SpaceName, body: Body) -> Result<Response, Problem> {
    let (scratch, shelf) = app.logs.scratch().map_err(|failure| {
        Problem::new(
            StatusCode::CONFLICT,
            "nowhere_to_keep",
            failure.message,
            "recover on a node that keeps its logs on disk",
        )
    })?;
    take(app, scratch.store.as_ref(), space, body).await?;
    let logs = &app.logs;
    let shelf: &dyn Shelf = &shelf;
    let recovered = recover(&logs.authority, logs.store.as_ref(), scratch.store.as_ref(), space, shelf).await;
    let recovered = recovered.map_err(|error| recover_problem(space, error))?;
    let (relation, at) = match recovered.relation {
        Relation::Same => ("same", None),
        Relation::OursGoesOn => ("ours_goes_on", None),
        Relation::TheirsGoesOn => ("theirs_goes_on", None),
        Relation::Forked { at } => ("forked", Some(at.0)),
    };
    answer(
        StatusCode::OK,
        &json!({
            "space": space.as_str(),
            "relation": relation,
            "forked_at": at,
            "next": recovered.state.head.next.0,
            "hash": recovered.state.head.hash.to_string(),
            "epoch": recovered.state.epoch.0,
            "kept": recovered.kept,
        }),
    )
}

/// Verifies what comes and has the store adopt what it lacks. What was adopted before something went wrong stays, as
/// a copy, and the same lines go on from there.
async fn take(app: &App, store: &dyn EventStore, space: &SpaceName, body: Body) -> Result<(), Problem> {
    let time = Duration::from_millis(app.limits.body_timeout.value);
    let mut lines = Lines { body, time, buffer: BytesMut::new(), is_whole: false, number: 0 };
    let first = lines.next().await?.unwrap_or_default();
    let not_a_log = |number: u64, detail: String| {
        let hint = "send what `gangline log export` writes";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not_a_log", detail, hint).with("line", number)
    };
    let (named, state) = Header::read(&first).map_err(|error| not_a_log(1, error))?;
    if named != *space {
        return Err(not_a_log(1, format!("that is the log of `{named}`, not of `{space}`")));
    }
    let failed = |error| copy_problem(space, error);
    let kept = store.state(space).await.map_err(|error| refusal::store(&error))?;
    let mut importer = Importer::new(space.clone(), state.incarnation, kept.as_ref()).map_err(failed)?;
    while let Some(line) = lines.next().await? {
        let event = lines::read(&line);
        let event =
            event.ok_or_else(|| not_a_log(lines.number, format!("line {} is no event", lines.number)))?;
        if let Some(part) = importer.push(event).map_err(failed)? {
            store.adopt(&part).await.map_err(|error| failed(error.into()))?;
        }
    }
    if let Some(part) = importer.finish(state.head).map_err(failed)? {
        store.adopt(&part).await.map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

fn open_here(space: &SpaceName) -> Problem {
    let detail = format!("`{space}` is appended to here");
    let hint = "import it elsewhere; or `gangline log recover`, to go on from the longer one of both";
    Problem::new(StatusCode::CONFLICT, "space_open", detail, hint).with("space", space.as_str())
}

fn copy_problem(space: &SpaceName, error: CopyError) -> Problem {
    let says = chain(&error);
    match error {
        CopyError::Absent(_) => refusal::no_such_space(space),
        CopyError::Diverged { divergence, .. } => refusal::diverged(space, &divergence),
        CopyError::Offence(offence) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "log_offends",
            offence.to_string(),
            "nothing from there on was taken; find a good copy of the log",
        )
        .with("space", space.as_str()),
        CopyError::Adopt(AdoptError::Store(error)) | CopyError::Store(error) => refusal::store(&error),
        CopyError::Adopt(AdoptError::Misfit(Misfit::Open)) => open_here(space),
        CopyError::Adopt(_) => {
            let hint = "somebody else writes to the copy; try again";
            Problem::new(StatusCode::CONFLICT, "copy_moved", says, hint)
        }
        other => Problem::internal(chain(&other)),
    }
}

/// Lines of a body, each within a bound.
struct Lines {
    body: Body,
    /// How long the client may be silent.
    time: Duration,
    buffer: BytesMut,
    is_whole: bool,
    /// The number of the last line, from 1 on.
    number: u64,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        let mut looked = 0;
        loop {
            let found = self.buffer.iter().skip(looked).position(|byte| *byte == b'\n').map(|at| at + looked);
            if let Some(at) = found {
                let line = self.buffer.split_to(at + 1);
                self.number += 1;
                return Ok(Some(line.strip_suffix(b"\n").unwrap_or_default().to_vec()));
            }
            looked = self.buffer.len();
            if looked > LINE_BYTES_MAX {
                let detail = format!("line {} is longer than {LINE_BYTES_MAX} bytes", self.number + 1);
                let hint = "send what `gangline log export` writes";
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "line_too_long", detail, hint));
            }
            if self.is_whole {
                self.number += 1;
                let rest = self.buffer.split().to_vec();
                return Ok((!rest.is_empty()).then_some(rest));
            }
            let broken = |what: String| {
                let hint = "send it again; what was taken stays";
                Problem::new(StatusCode::BAD_REQUEST, "body_broken", what, hint)
            };
            match tokio::time::timeout(self.time, self.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Ok(None) => self.is_whole = true,
                Ok(Some(Err(error))) => return Err(broken(format!("the body broke off: {error}"))),
                Err(_) => {
                    let detail = format!("the body stood still for {} ms", self.time.as_millis());
                    let hint = "send it again; what was taken stays; limits.body_timeout is the bound";
                    return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail, hint));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_out_however_the_bytes_are_cut() {
        let text = b"one\n\ntwo\nthree";
        for size in 1..text.len() {
            let pieces: Vec<_> =
                text.chunks(size).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
            let body = Body::from_stream(futures_util::stream::iter(pieces));
            let time = Duration::from_secs(60);
            let mut lines = Lines { body, time, buffer: BytesMut::new(), is_whole: false, number: 0 };
            for expected in ["one", "", "two", "three"] {
                assert_eq!(lines.next().await.unwrap().as_deref(), Some(expected.as_bytes()));
            }
            assert_eq!((lines.next().await.unwrap(), lines.number), (None, 5));
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_refused() {
        let body = Body::from("x".repeat(LINE_BYTES_MAX + 1));
        let mut lines = Lines {
            body,
            time: Duration::from_secs(60),
            buffer: BytesMut::new(),
            is_whole: false,
            number: 0,
        };
        assert_eq!(lines.next().await.unwrap_err().code(), "line_too_long");
    }
}

//! `GET /api/v1/status`, `/healthz`, `/readyz`, `/metrics`: how the node is, for people and machines.

use std::future::{Ready, ready};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use gangline_doc::board;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::App;
use super::board::blocking;
use super::items::answer;
use super::problem::Problem;

/// Why the node cannot do all of its work, as code and sentence; empty when it can.
fn reasons(app: &App) -> Vec<Value> {
    let mut reasons = Vec::new();
    if let Some(failure) = app.replica.failure() {
        reasons.push(json!({
            "code": "store_failed",
            "message": format!("nothing can be written: {failure}; repair the cause and start the node again"),
        }));
    }
    if app.stop.is_cancelled() {
        reasons.push(json!({ "code": "stopping", "message": "the node stops" }));
    }
    reasons
}

/// `GET /healthz`: the process answers.
pub(super) fn healthz() -> Ready<Result<Response, Problem>> {
    ready(answer(StatusCode::OK, &json!({ "status": "ok" })))
}

/// `GET /readyz`: the node can do its work.
pub(super) fn readyz(State(app): State<App>) -> Ready<Result<Response, Problem>> {
    let reasons = reasons(&app);
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    ready(answer(status, &json!({ "ready": reasons.is_empty(), "reasons": reasons })))
}

/// `GET /api/v1/status`. It tells what is, also when that is not durable, and so never waits for the disk.
pub(super) async fn status(State(app): State<App>) -> Result<Response, Problem> {
    let work = {
        let app = app.clone();
        move || {
            let (document, _) = app.replica.read(|base| {
                json!({
                    "id": base.document().to_string(),
                    "heads": base.heads().iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "ops": base.change_count(),
                    "items": board::items(base).len(),
                    "pending": base.causal_queue_len(),
                })
            });
            let stopped = app.replica.stopped();
            let equivocations: Vec<Value> = app
                .replica
                .equivocations()
                .iter()
                .map(|proof| {
                    json!({
                        "author": proof.author.to_string(),
                        "author_name": app.author_name(&proof.author),
                        "seq": proof.seq,
                        "policy": if stopped.contains(&proof.author) { "stopped" } else { "flagged" },
                        "changes": proof.changes.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    })
                })
                .collect();
            (document, equivocations)
        }
    };
    let (mut document, equivocations) = blocking(work).await?;
    if let Some(document) = document.as_object_mut() {
        document.insert("durable".into(), app.replica.durable().0.into());
    }
    let mut reasons = reasons(&app);
    let peers = super::peers::shown(&app);
    let log = log(&app);
    let sources = super::documents::brief_sources(&app);
    reasons.extend(super::documents::source_reasons(&sources));
    answer(
        StatusCode::OK,
        &json!({
            "health": if reasons.is_empty() { "ok" } else { "failing" },
            "reasons": reasons,
            "node_id": app.author.to_string(),
            "name": app.name,
            "version": env!("CARGO_PKG_VERSION"),
            "listen": app.listen.to_string(),
            "started_at_ms": app.started_at_ms,
            "agents": app.agents,
            "documents": [document],
            "peers": peers,
            "equivocations": equivocations,
            "log": log,
            "sources": sources,
        }),
    )
}

/// The logs: where they live, how many spaces this node holds, and which of them it does not serve.
fn log(app: &App) -> Value {
    let diverged = app.logs.authority.diverged();
    let diverged =
        diverged.iter().map(|(space, how)| json!({ "space": space.as_str(), "reason": how.to_string() }));
    let copies = app.logs.follower.as_ref().map(|follower| {
        let (spaces, events) = follower.copied();
        let stopped = follower.stopped().into_iter();
        let stopped =
            stopped.map(|(space, why)| json!({ "space": space.as_str(), "reason": why.to_string() }));
        json!({
            "spaces": spaces,
            "events": events,
            "stale_ms": app.logs.stale_ms(),
            "stopped": stopped.collect::<Vec<_>>(),
        })
    });
    let mut shown = json!({
        "backend": app.logs.backend.name(),
        "registry": app.logs.keeper.name(),
        "spaces_held": app.logs.authority.held().len(),
        "diverged": diverged.collect::<Vec<_>>(),
    });
    if let (Some(copies), Some(shown)) = (copies, shown.as_object_mut()) {
        shown.insert("copies".into(), copies);
    }
    shown
}

/// `GET /metrics`
pub(super) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let text = blocking(move || app.metrics.render(&app)).await?;
    let text = text.map_err(|error| Problem::internal(error.to_string()))?;
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

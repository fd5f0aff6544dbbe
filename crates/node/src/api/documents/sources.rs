//! Databases that documents follow: how it goes with each, and what operators do with them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use gangline_reconcile::FollowInput;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::refusal::follow_problem;
use crate::api::body::{Whole, json as parse};
use crate::api::items::answer;
use crate::api::problem::Problem;
use crate::api::{App, blocking};
use crate::clock;
use crate::documents::source::{FollowFailed, SourceRuntime};
use crate::identity::show_key;

type SourceName = Result<Path<String>, PathRejection>;

/// The note that a source is paused.
pub(crate) const PAUSED: &str = "paused";

fn source_in(app: &App, path: SourceName) -> Result<&Arc<SourceRuntime>, Problem> {
    let name = path.map(|Path(name)| name).unwrap_or_default();
    let known = || app.documents.sources().iter().map(|source| source.name.as_str()).collect::<Vec<_>>();
    app.documents.source(&name).ok_or_else(|| {
        let detail = format!("this node reconciles no source {name:?}");
        let hint = match known().as_slice() {
            [] => "it reconciles none: write [[reconcile]] in its settings".to_owned(),
            names => format!("it reconciles {}", names.join(", ")),
        };
        Problem::new(StatusCode::NOT_FOUND, "no_such_source", detail, hint)
    })
}

/// `GET /api/v1/reconcile`
pub(in crate::api) async fn list(State(app): State<App>) -> Result<Response, Problem> {
    let shown = blocking(move || {
        let names = app.documents.names();
        let of = |source: &SourceRuntime| {
            let is_own = |named: &&crate::documents::Named| named.author == Some(source.author());
            let kept = names.iter().filter(is_own).count();
            status(source, kept)
        };
        let mut shown: Vec<Value> = app.documents.sources().iter().map(|source| of(source)).collect();
        shown.extend(app.sources_without.iter().map(|source| {
            json!({
                "name": source.name, "place": source.place, "mode": source.mode, "state": source.state,
                "reason": source.why, "feed": null,
                "lag_ms": 0, "pending": 0, "failed": 0, "missed": 0, "documents": 0, "public_key": null,
            })
        }));
        shown
    })
    .await?;
    answer(StatusCode::OK, &shown)
}

fn status(source: &SourceRuntime, documents: usize) -> Value {
    let (lag, pending, failing, paused) = source.follower_state(clock::now_ms());
    let failure = source.failure();
    let state = match (&failure, paused, failing) {
        (_, true, _) => "paused",
        (Some(_), ..) => "failing",
        (None, false, 0) => "following",
        (None, false, _) => "failing",
    };
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    json!({
        "name": source.name,
        "place": source.rows.place(),
        "mode": source.mode(),
        "state": state,
        "reason": failure,
        "feed": source.feed_name(),
        "lag_ms": lag,
        "pending": pending,
        "failed": count(&source.counters.failures),
        "missed": count(&source.counters.missed),
        "documents": documents,
        "batches": count(&source.counters.batches),
        "ops": count(&source.counters.ops),
        "saves": count(&source.counters.saves),
        "conflicts": count(&source.counters.conflicts),
        "public_key": show_key(&source.author()),
    })
}

async fn set_paused(app: App, path: SourceName, paused: bool) -> Result<Response, Problem> {
    let source = Arc::clone(source_in(&app, path)?);
    let kept = Arc::clone(&source);
    blocking(move || kept.put(vec![kept.source_note(PAUSED, paused.then_some(&true))]))
        .await?
        .map_err(|failed: FollowFailed| follow_problem(&failed))?;
    source.tell(if paused { FollowInput::Pause } else { FollowInput::Resume });
    answer(StatusCode::OK, &json!({"name": source.name, "paused": paused}))
}

/// `POST /api/v1/reconcile/{name}/pause`
pub(in crate::api) async fn pause(State(app): State<App>, path: SourceName) -> Result<Response, Problem> {
    set_paused(app, path, true).await
}

/// `POST /api/v1/reconcile/{name}/resume`
pub(in crate::api) async fn resume(State(app): State<App>, path: SourceName) -> Result<Response, Problem> {
    set_paused(app, path, false).await
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Install {
    /// Only the statements are wanted.
    #[serde(default)]
    dry_run: bool,
}

fn wish(body: &[u8]) -> Result<Install, Problem> {
    if body.is_empty() {
        return Ok(Install::default());
    }
    serde_json::from_value(parse(body)?).map_err(|error| {
        let hint = "send {\"dry_run\": true} to see the statements alone";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_options", error.to_string(), hint)
    })
}

/// `POST /api/v1/reconcile/{name}/install`
pub(in crate::api) async fn install(
    State(app): State<App>,
    path: SourceName,
    Whole(body): Whole,
) -> Result<Response, Problem> {
    let wish = wish(&body)?;
    let source = Arc::clone(source_in(&app, path)?);
    let name = source.name.clone();
    let sql = blocking(move || {
        let sql = source.rows.install_sql(&source.shape)?;
        if !wish.dry_run {
            source.rows.install(&source.shape)?;
        }
        let is_installed = source.rows.outbox(&source.shape, None, 1)?.is_some();
        Ok::<_, gangline_reconcile::SourceError>((sql, is_installed))
    })
    .await?
    .map_err(|error| follow_problem(&error.into()))?;
    let (sql, installed) = sql;
    answer(StatusCode::OK, &json!({"name": name, "sql": sql, "installed": installed}))
}

/// `POST /api/v1/reconcile/{name}/uninstall`
pub(in crate::api) async fn uninstall(
    State(app): State<App>,
    path: SourceName,
    Whole(body): Whole,
) -> Result<Response, Problem> {
    let wish = wish(&body)?;
    let source = Arc::clone(source_in(&app, path)?);
    let name = source.name.clone();
    if !wish.dry_run {
        blocking(move || source.rows.uninstall(&source.shape))
            .await?
            .map_err(|error| follow_problem(&error.into()))?;
    }
    answer(StatusCode::OK, &json!({"name": name, "sql": [], "installed": wish.dry_run}))
}

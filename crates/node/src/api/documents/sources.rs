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

fn source_in(app: &App, path: SourceName) -> Result<Arc<SourceRuntime>, Problem> {
    let name = path.map(|Path(name)| name).unwrap_or_default();
    let sources = app.documents.sources();
    sources.get(&name).ok_or_else(|| {
        if let Some(source) = sources.without().into_iter().find(|source| source.name == name) {
            let detail = format!("this node cannot reconcile {name} at present: {}", source.why);
            let hint = "`gangline reconcile status` says how it goes";
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_source", detail, hint);
        }
        let detail = format!("this node reconciles no source {name:?}");
        let hint = match sources.held().as_slice() {
            [] => "it reconciles none: write [[reconcile]] in its settings".to_owned(),
            held => {
                let names: Vec<&str> = held.iter().map(|source| source.name.as_str()).collect();
                format!("it reconciles {}", names.join(", "))
            }
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
        let sources = app.documents.sources();
        let mut shown: Vec<Value> = sources.held().iter().map(|source| of(source)).collect();
        shown.extend(sources.without().iter().map(|source| {
            json!({
                "name": source.name, "place": source.place, "mode": source.mode, "state": source.state,
                "reason": source.why, "feed": null,
                "lag_ms": 0, "pending": 0, "failed": 0, "missed": 0, "waiting": 0, "skipped": 0, "documents": 0,
                "public_key": null,
            })
        }));
        shown
    })
    .await?;
    answer(StatusCode::OK, &shown)
}

/// How sources are, in short, and what is wrong with them.
pub(in crate::api) fn brief(app: &App) -> Vec<Value> {
    let sources = app.documents.sources();
    let held = sources.held().into_iter().map(|source| {
        let (state, reason) = state_of(&source);
        json!({"name": source.name, "place": source.rows.place(), "state": state, "reason": reason})
    });
    let without = sources.without().into_iter().map(|source| {
        json!({"name": source.name, "place": source.place, "state": source.state, "reason": source.why})
    });
    held.chain(without).collect()
}

/// Why sources are not followed as they should be, as code and sentence: the node serves all the same.
pub(in crate::api) fn reasons(brief: &[Value]) -> Vec<Value> {
    let text =
        |source: &Value, key: &str| source.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let ill = brief.iter().filter_map(|source| {
        let code = match text(source, "state").as_str() {
            "failing" => "source_failing",
            "needs_plan" => "source_waits",
            "no_key" => "source_without_key",
            "two_keys" => "two_source_keys",
            _ => return None,
        };
        let message =
            format!("{} ({}): {}", text(source, "name"), text(source, "place"), text(source, "reason"));
        Some(json!({"code": code, "message": message}))
    });
    ill.collect()
}

/// A word on how a source is, and what is wrong with it.
fn state_of(source: &SourceRuntime) -> (&'static str, Option<String>) {
    let (_, _, failing, is_paused) = source.follower_state(clock::now_ms());
    let (failure, held, rivals) = (source.failure(), source.holds(), source.rivals());
    let state = match (&failure, is_paused) {
        (_, true) => "paused",
        (Some(_), false) => "failing",
        (None, false) if held > 0 => "needs_plan",
        (None, false) if failing > 0 => "failing",
        (None, false) if !rivals.is_empty() => "two_keys",
        (None, false) => "following",
    };
    let mut reasons: Vec<String> = failure.into_iter().collect();
    if held > 0 {
        let wait = if held == 1 { "1 document waits" } else { &*format!("{held} documents wait") };
        reasons.push(format!(
            "{wait} since the database was put back from a backup; look at `gangline reconcile plan`, and accept it with \
             `gangline reconcile run --accept-restored`"
        ));
    }
    match source.skipped() {
        0 => {}
        1 => reasons.push("1 row is one that a document cannot have: its document names it".to_owned()),
        rows => reasons.push(format!(
            "{rows} rows are such that a document cannot have them: their documents name them"
        )),
    }
    reasons.extend(source.nameless());
    if failing > 0 {
        let wait = if failing == 1 { "1 document is" } else { &*format!("{failing} documents are") };
        reasons
            .push(format!("{wait} tried again since a run failed, the last one of {}", source.run_failure()));
    }
    reasons.extend(rivals.iter().map(|author| source.rivalry(author)));
    (state, (!reasons.is_empty()).then(|| reasons.join("; ")))
}

fn status(source: &SourceRuntime, documents: usize) -> Value {
    let (lag, pending, _, _) = source.follower_state(clock::now_ms());
    let (state, reason) = state_of(source);
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    json!({
        "name": source.name,
        "place": source.rows.place(),
        "mode": source.mode(),
        "state": state,
        "reason": reason,
        "feed": source.feed_name(),
        "lag_ms": lag,
        "pending": pending,
        "failed": count(&source.counters.failures),
        "missed": count(&source.counters.missed),
        "waiting": source.holds(),
        "skipped": source.skipped() + source.nameless_rows(),
        "documents": documents,
        "batches": count(&source.counters.batches),
        "ops": count(&source.counters.ops),
        "saves": count(&source.counters.saves),
        "conflicts": count(&source.counters.conflicts),
        "public_key": show_key(&source.author()),
    })
}

async fn set_paused(app: App, path: SourceName, paused: bool) -> Result<Response, Problem> {
    let source = source_in(&app, path)?;
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
    let source = source_in(&app, path)?;
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
    let source = source_in(&app, path)?;
    let name = source.name.clone();
    let (sql, installed) = blocking(move || {
        let sql = source.rows.uninstall_sql(&source.shape)?;
        if !wish.dry_run {
            source.rows.uninstall(&source.shape)?;
        }
        let is_installed = wish.dry_run && !sql.is_empty();
        Ok::<_, gangline_reconcile::SourceError>((sql, is_installed))
    })
    .await?
    .map_err(|error| follow_problem(&error.into()))?;
    answer(StatusCode::OK, &json!({"name": name, "sql": sql, "installed": installed}))
}

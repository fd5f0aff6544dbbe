//! What is done with a document beside editing it: plan, follow, save, resolve, verify, and its history.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bft_json_crdt::json_crdt::EditKind;
use bft_json_crdt::{Digest, JsonValue};
use gangline_doc::{LogSeq, ReadLimit};
use gangline_reconcile::{
    BadRow, Conflict, Edit, Layout, Path, Plan, Role, RootChange, Rows, Take, edits_of,
    resolve as resolve_with, resolve_as,
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::refusal::{deleted, edit_problem, follow_problem, save_problem};
use super::shown::{by, changes, conflict, heads, plan_entry, with};
use super::{DocumentName, EditRefused, enter, exact, go_in, look, name_in, show_one, source_of, unborn};
use crate::api::asked::Asked;
use crate::api::body::{Whole, json as parse};
use crate::api::items::answer;
use crate::api::problem::Problem;
use crate::api::{App, blocking, durable};
use crate::clock;
use crate::documents::source::{Audit, Hold, SourceRuntime};
use crate::documents::{Documents, Found};

fn skipped(source: &SourceRuntime, bad: &[BadRow]) -> Vec<Value> {
    source.names_of(bad).iter().map(|what| json!({"path": null, "what": what})).collect()
}

/// What following the rows would do to a document, and where it is.
struct Planned {
    found: Found,
    plan: Plan,
    rows: Rows,
    hold: Option<Hold>,
    /// The version that it has followed.
    version: Option<i64>,
    /// Where it last equalled its rows.
    tracked: Vec<Digest>,
}

/// Works it out. A document that nobody has opened stays so.
async fn planned(documents: &Documents, found: Found) -> Result<Planned, Problem> {
    let failed = |failed| follow_problem(&failed);
    let (source, root) = source_of(&found)?;
    if let Some(rows) = unborn(documents, &found).await? {
        let (plan, rows, hold) = source.plan_unborn(root, rows).await.map_err(failed)?;
        return Ok(Planned { found, plan, rows, hold, version: None, tracked: Vec::new() });
    }
    let guest = go_in(documents, &found, Role::System).await?;
    let (plan, rows, hold) = source.plan(&guest, root).await.map_err(failed)?;
    let shown = look(&guest).await?;
    let (version, tracked) = (shown.version, shown.tracked.clone());
    Ok(Planned { found, plan, rows, hold, version, tracked })
}

/// What following would do.
pub(super) async fn plan(documents: &Documents, found: Found) -> Result<Value, Problem> {
    let Planned { found, plan, rows, hold, version, tracked } = planned(documents, found).await?;
    let (source, _) = source_of(&found)?;
    Ok(json!({
        "id": found.name,
        "source": source.name,
        "mode": source.mode(),
        "from": version,
        "to": rows.version,
        "base": heads(&tracked),
        "changes": plan.entries.iter().map(plan_entry).collect::<Vec<_>>(),
        "ops": plan.reconciled.ops,
        "bytes": plan.reconciled.bytes,
        "conflicts": plan.conflicts(),
        "problems": skipped(source, &rows.bad),
        "needs_acceptance": hold.map(Hold::name),
    }))
}

/// What a push may say.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Push {
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actor: Option<String>,
    /// Rows of a restored backup are followed, too.
    #[serde(default)]
    accept_restored: bool,
}

/// Follows the rows.
pub(super) async fn reconcile(documents: &Documents, found: Found, push: &Push) -> Result<Value, Problem> {
    unborn(documents, &found).await?;
    let guest = go_in(documents, &found, Role::System).await?;
    let (source, root) = source_of(&found)?;
    let followed = source.follow(&guest, root, push.actor.as_deref(), push.accept_restored).await;
    let followed = followed.map_err(|failed| follow_problem(&failed))?;
    guest.set_trouble(None);
    let last = followed.reconciled.changes.last().cloned();
    let document = guest.document();
    let told = blocking(move || {
        let notice = |change| document.replica.read(|base| document.views.notice(base, change)).0;
        last.as_ref().and_then(notice)
    });
    let told = told.await?;
    Ok(json!({
        "id": found.name,
        "from": followed.from,
        "to": followed.to,
        "ops": followed.reconciled.ops,
        "bytes": followed.reconciled.bytes,
        "changes": told.as_deref().map(changes).unwrap_or_default(),
        "conflicts": followed.conflicts.len(),
        "version_stood_still": followed.version_stood_still,
        "root": told.as_deref().and_then(|told| told.root).map(RootChange::name),
        "problems": skipped(source, &followed.bad),
    }))
}

/// What a save may say.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Save {
    /// Who saves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actor: Option<String>,
}

/// Makes rows of what people did.
pub(super) async fn save(documents: &Documents, found: Found, wish: &Save) -> Result<Value, Problem> {
    unborn(documents, &found).await?;
    let guest = go_in(documents, &found, Role::Person).await?;
    let (source, root) = source_of(&found)?;
    let saved = source.save(&guest.document(), root, wish.actor.as_deref()).await;
    let saved = match saved {
        Ok(saved) => saved,
        Err(failed) => {
            let problem = save_problem(failed, source, &found.name);
            let shown = look(&guest).await?;
            let open: Vec<Value> = shown.conflicts.iter().map(|open| conflict(open, &shown)).collect();
            return Err(problem.with("conflicts", open));
        }
    };
    let shown = look(&guest).await?;
    let open: Vec<Value> = shown.conflicts.iter().map(|open| conflict(open, &shown)).collect();
    Ok(json!({
        "id": found.name,
        "version": saved.version,
        "saved": saved.paths.iter().map(Path::to_string).collect::<Vec<_>>(),
        "save_id": saved.save_id,
        "conflicts": open,
    }))
}

/// What is to become of a conflict.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolution {
    path: String,
    take: Option<Side>,
    value: Option<Value>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Theirs,
    Mine,
}

/// `POST /api/v1/documents/{id}/resolve`
pub(in crate::api) async fn resolve(
    State(app): State<App>,
    path: DocumentName,
    Whole(body): Whole,
) -> Result<Response, Problem> {
    let bad = |what: String| {
        let hint = "send {path, take: \"theirs\" or \"mine\"} or {path, value}";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_resolution", what, hint)
    };
    let body = parse(&body)?;
    let has_value = body.get("value").is_some();
    let wish: Resolution = serde_json::from_value(body).map_err(|error| bad(error.to_string()))?;
    if wish.take.is_some() == has_value {
        return Err(bad("one of take and value is needed".to_owned()));
    }
    let place: Path = wish.path.parse().map_err(|error| bad(format!("{error}")))?;
    let (guest, found) = enter(&app, &name_in(path)?).await?;
    if look(&guest).await?.is_deleted() {
        return Err(deleted(&found.name));
    }
    let document = guest.document();
    let name = found.name.clone();
    let authored = blocking(move || {
        let (open, layout) = {
            let (shown, _) = document.shown();
            let open = shown.conflicts.iter().find(|open| open.path == place).cloned();
            (open, shown.layout.clone())
        };
        let open = open.ok_or_else(|| no_such_conflict(&place))?;
        let authored = document.replica.transact(clock::now_ms(), None, |doc| match wish.take {
            Some(side) => {
                let take = match side {
                    Side::Theirs => Take::Theirs,
                    Side::Mine => Take::Mine,
                };
                resolve_with(doc, &layout, &open, take).map_err(EditRefused::Edit)
            }
            None => set(doc, &layout, &open, wish.value.clone().unwrap_or(Value::Null)),
        });
        authored.map_err(|failed| edit_problem(failed, &name))
    })
    .await??;
    durable(authored.ticket).await?;
    show_one(&guest, &found).await
}

/// Resolves a conflict by a value that may be none of the sides': of a field, or a row, which null deletes.
fn set(
    doc: &bft_json_crdt::json_crdt::JsonCrdt,
    layout: &Layout,
    open: &Conflict,
    value: Value,
) -> Result<(), EditRefused> {
    let patch = match &open.path {
        Path::Row(..) if value.is_null() => {
            let take = if open.theirs.is_none() { Take::Theirs } else { Take::Mine };
            let deleted = Conflict { mine: None, ..open.clone() };
            let open = if take == Take::Mine { &deleted } else { open };
            return resolve_with(doc, layout, open, take).map_err(EditRefused::Edit);
        }
        Path::Field(field) => json!({ field: value }),
        Path::Row(list, key) => json!({ list: { key: value } }),
        Path::RowField(list, key, field) => json!({ list: { key: { field: value } } }),
    };
    // As if nothing stood there: whoever writes what shows already has seen both sides, too.
    let patch = exact::meant(layout, patch.into());
    let edits = edits_of(layout, &json!({}).into(), &patch).map_err(EditRefused::Patch)?;
    let value = edits.into_iter().find_map(|edit| match edit {
        Edit::Write { new, .. } => new,
        Edit::Insert { row, .. } => row_value(&open.path, row),
        Edit::Remove { .. } | Edit::AddList(_) | Edit::DropList(_) | Edit::Own(..) => None,
    });
    let Some(value) = value else { return Ok(()) };
    resolve_as(doc, layout, open, &value).map_err(EditRefused::Edit)
}

/// What a row that was put together for a conflict has at its place.
fn row_value(place: &Path, mut row: BTreeMap<String, JsonValue>) -> Option<JsonValue> {
    match place.field() {
        Some(field) => row.remove(field),
        None => Some(JsonValue::Object(row)),
    }
}

fn no_such_conflict(place: &Path) -> Problem {
    let detail = format!("there is no conflict at {place}");
    let hint = "GET the document lists its conflicts";
    Problem::new(StatusCode::NOT_FOUND, "no_such_conflict", detail, hint).with("path", place.to_string())
}

/// Holds the document against the rows.
pub(super) async fn verify(documents: &Documents, found: Found) -> Result<Value, Problem> {
    // A plan's edits are what the document lacks where it should equal the rows.
    let Planned { found, plan, rows, tracked, .. } = planned(documents, found).await?;
    let (source, _) = source_of(&found)?;
    let differences: Vec<Value> = plan
        .entries
        .iter()
        .filter(|entry| entry.base != entry.database)
        .map(|entry| {
            let shown = json!({"path": entry.path.to_string()});
            with(shown, &[("document", entry.base.as_ref()), ("database", entry.database.as_ref())])
        })
        .collect();
    Ok(json!({
        "id": found.name,
        "ok": differences.is_empty() && rows.bad.is_empty(),
        "differences": differences,
        "f": heads(&tracked),
        "version": rows.version,
        "problems": skipped(source, &rows.bad),
    }))
}

/// How much of the history is wanted.
#[derive(Deserialize)]
pub(in crate::api) struct Part {
    limit: Option<usize>,
}

/// Most changes that one answer shows.
const HISTORY_MAX: usize = 1_000;

/// `GET /api/v1/documents/{id}/history`: the newest last.
pub(in crate::api) async fn history(
    State(app): State<App>,
    path: DocumentName,
    Asked(part): Asked<Part>,
) -> Result<Response, Problem> {
    let (guest, found) = enter(&app, &name_in(path)?).await?;
    let limit = part.limit.unwrap_or(100).clamp(1, HISTORY_MAX);
    // What is told has its place in the log.
    look(&guest).await?;
    let document = guest.document();
    let source = found.root.as_ref().map(|(source, _)| Arc::clone(source));
    let shown = blocking(move || history_of(&document, source.as_ref(), limit)).await??;
    answer(StatusCode::OK, &shown)
}

/// When this node took changes in, in milliseconds since 1970. A document has its changes in the order of its log.
fn received_from(
    document: &crate::documents::live::LiveDocument,
    from: usize,
    count: usize,
) -> Result<BTreeMap<Digest, u64>, Problem> {
    let mut received = BTreeMap::new();
    let (mut at, end) = (LogSeq(from as u64), LogSeq(from.saturating_add(count) as u64));
    // The newest may not be on disk yet.
    while at < end.min(document.replica.durable()) {
        let entries = document.replica.entries(at, ReadLimit::default());
        let entries = entries.map_err(|error| Problem::store_failed(&error.to_string()))?;
        let Some(last) = entries.last() else { break };
        at = last.seq().plus(1);
        received.extend(entries.iter().map(|entry| (entry.change().digest(), entry.received_at_ms())));
    }
    Ok(received)
}

fn history_of(
    document: &crate::documents::live::LiveDocument,
    source: Option<&Arc<SourceRuntime>>,
    limit: usize,
) -> Result<Vec<Value>, Problem> {
    let audits: Vec<Audit> = match source {
        Some(source) => {
            source.audits(document.id, 10 * HISTORY_MAX).map_err(|failed| follow_problem(&failed))?
        }
        None => Vec::new(),
    };
    let ((from, entries, author), _) = document.replica.read(|base| {
        let from = base.change_count().saturating_sub(limit);
        (from, base.history(from, limit), base.source())
    });
    let received = received_from(document, from, entries.len())?;
    let shown = entries.into_iter().map(|entry| {
        let digest = entry.digest.to_string();
        let edits = entry.edits.iter().map(|edit| {
            let kind = match edit.kind {
                EditKind::Put => "put",
                EditKind::Remove => "delete",
                EditKind::Type | EditKind::Cut => "text",
                EditKind::Set | EditKind::Insert | EditKind::Delete | EditKind::Add | EditKind::Move | _ => {
                    "set"
                }
            };
            let names: Vec<String> = edit
                .path
                .iter()
                .map(|segment| match segment {
                    bft_json_crdt::json_crdt::PathSegment::Field(name)
                    | bft_json_crdt::json_crdt::PathSegment::Key(name) => name.clone(),
                    bft_json_crdt::json_crdt::PathSegment::Element(_) => "?".to_owned(),
                })
                .collect();
            let escaped: Vec<String> =
                names.iter().map(|name| name.replace('~', "~0").replace('.', "~1")).collect();
            json!({"path": escaped.join("."), "kind": kind})
        });
        let audit = audits.iter().find(|audit| audit.digest.as_deref() == Some(&*digest));
        json!({
            "digest": digest,
            "author": entry.author.to_string(),
            "by": by(&entry.author, author),
            "seq": entry.seq,
            "lamport": entry.lamport,
            "received_at_ms": received.get(&entry.digest),
            "changes": edits.collect::<Vec<_>>(),
            "audit": audit,
        })
    });
    Ok(shown.collect())
}

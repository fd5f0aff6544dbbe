//! Documents that follow a database, over HTTP. What may be done with them is `gangline_reconcile`'s to say.

mod actions;
mod desk;
mod elsewhere;
mod exact;
mod explain;
mod list;
mod refusal;
mod shown;
mod sources;
mod watch;
mod work;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bft_json_crdt::Digest;
use bft_json_crdt::json_crdt::JsonValue;
use gangline_reconcile::limits::ROW_BYTES_MAX;
use gangline_reconcile::{Reading, Role, Rows, edit, edits_of, read};
use http::{HeaderMap, StatusCode, header};

pub(super) use self::actions::{history, resolve};
pub(crate) use self::desk::Desk;
pub(super) use self::elsewhere::{plan, reconcile, save, verify};
pub(super) use self::explain::explain;
pub(super) use self::list::list;
use self::refusal::{deleted, edit_problem, no_such_document, patch_problem};
use self::shown::document as document_json;
pub(crate) use self::sources::PAUSED;
pub(super) use self::sources::{
    brief as brief_sources, install, list as list_sources, pause, reasons as source_reasons, resume,
    uninstall,
};
pub(super) use self::watch::{Wish as WatchWish, open as watch_document};
use super::body::{json as parse, limit as body_limit, read_up_to};
use super::items::answer;
use super::problem::Problem;
use super::{App, blocking, durable};
use crate::clock;
use crate::documents::source::SourceRuntime;
use crate::documents::views::Shown;
use crate::documents::{Documents, Found, Guest};

/// How much more than others a body may have: a row with all that a row may have, with each of its bytes escaped.
pub(super) fn body_extra(path: &str) -> usize {
    if path.starts_with("/api/v1/documents/") { 6 * ROW_BYTES_MAX } else { 0 }
}

type DocumentName = Result<Path<String>, PathRejection>;

fn name_in(path: DocumentName) -> Result<String, Problem> {
    path.map(|Path(id)| id).map_err(|error| {
        let hint = "write the document's id as percent-encoded UTF-8";
        Problem::new(StatusCode::BAD_REQUEST, "bad_path", error.to_string(), hint)
    })
}

/// Enters a document, whether it is open or not, or refuses one that is nowhere.
async fn enter(app: &App, wanted: &str) -> Result<(Guest, Found), Problem> {
    enter_as(app, wanted, Role::Person).await
}

/// As [`enter`], for a person or for work that keeps no document open.
async fn enter_as(app: &App, wanted: &str, role: Role) -> Result<(Guest, Found), Problem> {
    match app.documents.find(wanted) {
        Some(found) => {
            unborn(&app.documents, &found).await?;
            let guest = go_in(&app.documents, &found, role).await?;
            Ok((guest, found))
        }
        None => elsewhere::open(app, wanted, role).await?.ok_or_else(|| nowhere(app, wanted)),
    }
}

/// Neither this node knows of such a document nor any that it could ask.
fn nowhere(app: &App, wanted: &str) -> Problem {
    match app.documents.sources().lacking(wanted) {
        Some(source) => refusal::empty(wanted, Some(source.why)),
        None => no_such_document(wanted),
    }
}

/// Where nobody has had a document, its rows; refuses one that has none.
async fn unborn(documents: &Documents, found: &Found) -> Result<Option<Rows>, Problem> {
    if !found.is_stored
        && documents.live_one(&found.id).is_none()
        && let Some((source, root)) = &found.root
    {
        // Its row decides whether there is such a document.
        let rows = source.read(root).await.map_err(|failed| refusal::follow_problem(&failed))?;
        if rows.root.is_none() && rows.bad.is_empty() {
            return Err(no_such_document(&found.name));
        }
        return Ok(Some(rows));
    }
    Ok(None)
}

async fn go_in(documents: &Documents, found: &Found, role: Role) -> Result<Guest, Problem> {
    documents.want(found);
    documents.enter(found.id, role).await.map_err(|error| refusal::door_problem(&error))
}

/// The source and the root of a document, where this node can reconcile it.
fn source_of(found: &Found) -> Result<(&Arc<SourceRuntime>, &str), Problem> {
    let root = found.root.as_ref().map(|(source, root)| (source, &**root));
    root.ok_or_else(|| refusal::no_source(&found.name, 0))
}

/// What a document shows, once that is durable.
async fn look(guest: &Guest) -> Result<Arc<Shown>, Problem> {
    let document = guest.document();
    let (shown, ticket) = blocking(move || document.shown()).await?;
    durable(ticket).await?;
    Ok(shown)
}

/// `GET /api/v1/documents/{id}`
pub(super) async fn show(State(app): State<App>, path: DocumentName) -> Result<Response, Problem> {
    let (guest, found) = enter(&app, &name_in(path)?).await?;
    show_one(&guest, &found).await
}

/// Answers with the document as it is now.
async fn show_one(guest: &Guest, found: &Found) -> Result<Response, Problem> {
    let shown = look(guest).await?;
    if shown.name.is_none() && shown.heads.is_empty() {
        // Nothing has come of it: its rows cannot be read, or no peer has told.
        let why = guest.trouble().map(|trouble| trouble.reason);
        return Err(refusal::empty(&found.name, why));
    }
    answer(StatusCode::OK, &document_json(guest, found, &shown))
}

/// `PATCH /api/v1/documents/{id}`: JSON Merge Patch of the view, at the heads of `If-Match` or those of this moment.
pub(super) async fn patch(
    State(app): State<App>,
    path: DocumentName,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let headers = &head.headers;
    let body = read_up_to(headers, body, &app, body_limit(&app) + body_extra(head.uri.path())).await?;
    let heads = heads_in(headers)?;
    let wanted: JsonValue = parse(&body)?.into();
    let (guest, found) = enter(&app, &name_in(path)?).await?;
    let shown = look(&guest).await?;
    if shown.is_deleted() {
        return Err(deleted(&found.name));
    }
    let document = guest.document();
    let wanted = exact::meant(&shown.layout, wanted);
    let authored = blocking(move || {
        let content = match &heads {
            None => None,
            Some(heads) if *heads == shown.heads => Some(Arc::clone(&shown.content)),
            Some(heads) => {
                let past = document
                    .replica
                    .read(|base| base.with_past(heads, |past| Arc::clone(&Reading::of(past).content)))
                    .0;
                Some(past.map_err(|_| refusal::heads_too_old())?)
            }
        };
        let edit_now = |doc: &bft_json_crdt::json_crdt::JsonCrdt| {
            // Without heads it is held against what is there while nobody else writes.
            let live = || read(&shown.layout, &shown.base, &Arc::new(doc.view()));
            let at = content.as_ref().map_or_else(live, Arc::clone);
            let edits = edits_of(&shown.layout, &at, &wanted).map_err(EditRefused::Patch)?;
            edit(doc, &edits).map_err(EditRefused::Edit)
        };
        document
            .replica
            .transact(clock::now_ms(), heads.as_deref(), edit_now)
            .map_err(|failed| edit_problem(failed, &found_name(&shown)))
    })
    .await??;
    durable(authored.ticket).await?;
    show_one(&guest, &found).await
}

fn found_name(shown: &Shown) -> String {
    shown.name.clone().unwrap_or_default()
}

/// Why a patch was not carried out.
#[derive(Debug, thiserror::Error)]
enum EditRefused {
    /// It does not fit the document.
    #[error(transparent)]
    Patch(gangline_reconcile::PatchError),
    /// The document does not take it.
    #[error(transparent)]
    Edit(bft_json_crdt::json_crdt::EditError),
}

/// The heads in `If-Match`: digests in hex, each in quotes or not, with commas between.
fn heads_in(headers: &HeaderMap) -> Result<Option<Vec<Digest>>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let bad = || {
        let detail = "If-Match is not a list of heads";
        let hint = "send the `heads` of the document as you read it, with commas between";
        Problem::new(StatusCode::BAD_REQUEST, "bad_heads", detail, hint)
    };
    let text = value.to_str().map_err(|_| bad())?.trim();
    if text == "*" {
        return Ok(None);
    }
    let heads = text.split(',').map(|head| head.trim().trim_matches('"').parse().map_err(|_| bad()));
    let mut heads: Vec<Digest> = heads.collect::<Result<_, _>>()?;
    heads.sort_unstable();
    if heads.len() > bft_json_crdt::limits::CHANGE_DEPS_MAX { Err(bad()) } else { Ok(Some(heads)) }
}

fn patch_or_edit(refused: &EditRefused) -> Problem {
    match refused {
        EditRefused::Patch(error) => patch_problem(error),
        EditRefused::Edit(error) => Problem::new(
            StatusCode::CONFLICT,
            "edit_refused",
            error.to_string(),
            "read the document again and send what is to change",
        ),
    }
}

//! What only a node with a document's source can do, at any node: done here if this one has it, else passed on to one that
//! it is linked with.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bft_json_crdt::{AuthorId, Digest};
use bytes::Bytes;
use gangline_reconcile::Role;
use gangline_transport::{CallError, Gate};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;
use tokio::task::JoinSet;

use super::work::{Answered, HEADS_MAX, Head, METHOD, Question, What, Work, arrived};
use super::{DocumentName, go_in, look, name_in, nowhere, refusal};
use crate::api::body::Whole;
use crate::api::items::answer;
use crate::api::problem::{Problem, ProblemCode};
use crate::api::{App, blocking};
use crate::clock;
use crate::documents::{Found, Guest};
use crate::identity::show_key;

/// On an answer that was passed on: the key of the node that gave it.
const HEADER: HeaderName = HeaderName::from_static("gangline-answered-by");
/// How long nodes may take to say whether they have a source. All are asked at once.
const FIND_MS: u64 = 2_000;
/// How long it may take to open a document.
const OPEN_MS: u64 = 10_000;
/// How long anything else may take, however many nodes are asked: a save waits for edits, and for whoever has locked the
/// database.
const WORK_MS: u64 = 20_000;
/// How long what the other node has is let come, before its answer is passed on.
const COME_WITHIN: Duration = Duration::from_secs(2);

/// `GET /api/v1/documents/{id}/plan`
pub(in crate::api) async fn plan(State(app): State<App>, path: DocumentName) -> Result<Response, Problem> {
    ask(&app, path, Work::Plan).await
}

/// `POST /api/v1/documents/{id}/reconcile`
pub(in crate::api) async fn reconcile(
    State(app): State<App>,
    path: DocumentName,
    Whole(body): Whole,
) -> Result<Response, Problem> {
    ask(&app, path, Work::in_body(What::Reconcile, &body)?).await
}

/// `POST /api/v1/documents/{id}/save`
pub(in crate::api) async fn save(
    State(app): State<App>,
    path: DocumentName,
    Whole(body): Whole,
) -> Result<Response, Problem> {
    ask(&app, path, Work::in_body(What::Save, &body)?).await
}

/// `GET /api/v1/documents/{id}/verify`
pub(in crate::api) async fn verify(State(app): State<App>, path: DocumentName) -> Result<Response, Problem> {
    ask(&app, path, Work::Verify).await
}

async fn ask(app: &App, path: DocumentName, work: Work) -> Result<Response, Problem> {
    let wanted = name_in(path)?;
    match app.documents.find(&wanted) {
        Some(found) if found.root.is_some() => {
            answer(StatusCode::OK, &work.carry_out(&app.documents, found).await?)
        }
        Some(found) => {
            let guest = go_in(&app.documents, &found, Role::System).await?;
            let shown = look(&guest).await?;
            let heads = shown.heads.clone();
            let heads = if work.needs_edits() { heads_of(&guest, heads).await? } else { Vec::new() };
            let name = shown.name.clone().unwrap_or(found.name);
            let answered = pass_on(app, Some(&guest), (&name, heads), &work).await?;
            answered.ok_or_else(|| refusal::no_source(&name, app.links.linked().len()))
        }
        // One that nobody has opened stays so here, too.
        None => pass_on(app, None, (&wanted, Vec::new()), &work).await?.ok_or_else(|| nowhere(app, &wanted)),
    }
}

/// Has it done by a linked node that has the source: by the next one where nothing was done.
async fn pass_on(
    app: &App,
    guest: Option<&Guest>,
    (name, heads): (&str, Vec<Head>),
    work: &Work,
) -> Result<Option<Response>, Problem> {
    let (what, options) = work.told();
    let id = guest.map(|guest| guest.id.to_string());
    let asked = Question { what, id, name: name.to_owned(), heads, options };
    let first = Question { what: What::Find, heads: Vec::new(), options: Value::Null, ..asked.clone() };
    let until = clock::now_ms() + WORK_MS;
    let mut refused = None;
    for (peer, says) in ask_all(app, &first).await? {
        let peer = &peer;
        if says.status != StatusCode::OK {
            if says.code() != "no_source" {
                refused = Some(relayed(says, peer));
            }
            continue;
        }
        let left = until.saturating_sub(clock::now_ms());
        if left == 0 {
            break;
        }
        match call(app, *peer, &asked, left).await {
            // It had the source a moment ago.
            Ok(says) if says.code() == "no_source" => {}
            Ok(says) if says.code() == "busy" => refused = Some(relayed(says, peer)),
            Ok(says) => {
                if let Some(guest) = guest {
                    let _ = arrived(guest, told(&says), COME_WITHIN).await;
                }
                return Ok(Some(relayed(says, peer)));
            }
            // Nothing was sent, or nothing was done.
            Err(CallError::NotConnected(_) | CallError::Refused(_)) => {}
            Err(error) if work.is_write() => return Err(unknown(name, peer, &error)),
            Err(_) => {}
        }
    }
    Ok(refused)
}

/// Has a document that this node has never heard of opened by a linked node that has its source, and enters it.
pub(super) async fn open(app: &App, wanted: &str, role: Role) -> Result<Option<(Guest, Found)>, Problem> {
    let asked = Question {
        what: What::Find,
        id: None,
        name: wanted.to_owned(),
        heads: Vec::new(),
        options: Value::Null,
    };
    let until = clock::now_ms() + OPEN_MS;
    for (peer, has) in ask_all(app, &asked).await? {
        let id = has.body.get("id").filter(|_| has.status == StatusCode::OK).and_then(Value::as_str);
        let Some(id) = id.and_then(|id| id.parse().ok()) else { continue };
        let left = until.saturating_sub(clock::now_ms());
        let opened = call(app, peer, &Question { what: What::Open, ..asked.clone() }, left).await;
        let Some(opened) = opened.ok().filter(|opened| opened.status == StatusCode::OK) else { continue };
        let found = Found { id, name: wanted.to_owned(), root: None, is_stored: true };
        // One that cannot be entered may be no more than that node's word.
        let Ok(entered) = go_in(&app.documents, &found, role).await else { continue };
        arrived(&entered, told(&opened), COME_WITHIN).await?;
        // Its first change says how it is called, whatever the peer says.
        if look(&entered).await?.name.as_ref().is_none_or(|name| name == wanted) {
            return Ok(Some((entered, found)));
        }
    }
    Ok(None)
}

/// Asks the linked nodes whose word counts here, and returns what they say, in the order of their keys.
async fn ask_all(app: &App, asked: &Question) -> Result<Vec<(AuthorId, Answered)>, Problem> {
    let mut calls = JoinSet::new();
    for peer in writers(app).await? {
        let (app, asked) = (app.clone(), asked.clone());
        calls.spawn(async move { Some((peer, call(&app, peer, &asked, FIND_MS).await.ok()?)) });
    }
    let mut said: Vec<_> = calls.join_all().await.into_iter().flatten().collect();
    said.sort_by_key(|(peer, _)| *peer);
    Ok(said)
}

/// What a node says it has of a document.
fn told(answered: &Answered) -> Vec<(Digest, Option<AuthorId>)> {
    let heads = answered.heads.iter().take(HEADS_MAX);
    heads.filter_map(|head| Some((head.parse().ok()?, None))).collect()
}

/// The linked nodes whose word counts here.
async fn writers(app: &App) -> Result<Vec<AuthorId>, Problem> {
    let (links, gate) = (app.links.clone(), app.gate.clone());
    let may_write = move |peer: &AuthorId| gate.admit(peer).is_ok_and(|rights| rights.write);
    blocking(move || links.linked().into_iter().filter(may_write).collect()).await
}

async fn call(app: &App, peer: AuthorId, asked: &Question, limit_ms: u64) -> Result<Answered, CallError> {
    let refused = |error: serde_json::Error| CallError::Refused(error.to_string());
    let body = Bytes::from(serde_json::to_vec(asked).map_err(refused)?);
    let reply = app.links.call(peer, METHOD, body, limit_ms).await?;
    // What it means by this it knows alone: it may have done it.
    serde_json::from_slice(&reply).map_err(|_| CallError::Lost)
}

/// What this node has, and whose it is.
async fn heads_of(guest: &Guest, heads: Vec<Digest>) -> Result<Vec<Head>, Problem> {
    let replica = guest.replica.clone();
    blocking(move || {
        let head = |digest: &Digest| {
            let author = replica.read(|base| base.change(digest).map(|change| change.author())).0;
            Head { digest: digest.to_string(), author: author.map(|author| author.to_string()) }
        };
        heads.iter().take(HEADS_MAX).map(head).collect()
    })
    .await
}

/// Another node's answer as this one's.
fn relayed(answered: Answered, peer: &AuthorId) -> Response {
    let status = StatusCode::from_u16(answered.status).ok();
    let is_answer = |status: &StatusCode| *status == StatusCode::OK || status.as_u16() >= 400;
    let status = status.filter(is_answer).unwrap_or(StatusCode::BAD_GATEWAY);
    let is_done = status == StatusCode::OK;
    let kind = if is_done { "application/json" } else { "application/problem+json" };
    let mut response = (status, answered.body.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(key) = HeaderValue::from_str(&show_key(peer)) {
        headers.insert(HEADER, key);
    }
    if let Some(seconds) = answered.again_in {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if !is_done {
        response.extensions_mut().insert(ProblemCode("of_another_node"));
    }
    response
}

/// It was passed on, and nobody knows what became of it.
fn unknown(id: &str, peer: &AuthorId, error: &CallError) -> Problem {
    let detail = format!(
        "this was passed on to {}, which has the source, and its answer did not come ({error}): it may have been done",
        show_key(peer)
    );
    let hint = "look at the document: what was saved is not `unsaved` any more; doing it again does no harm";
    let problem = Problem::new(StatusCode::GATEWAY_TIMEOUT, "outcome_unknown", detail, hint);
    problem.with("id", id).with("node", show_key(peer))
}

//! Answers nodes that lack a document's source: what they ask for is done here, if they may write, and never passed on.

use std::sync::Arc;
use std::time::Duration;

use bft_json_crdt::{AuthorId, Digest};
use bytes::Bytes;
use gangline_reconcile::Role;
use gangline_transport::{CallFuture, CallResult, Gate};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::work::{Answered, Head, METHOD, Question, What, Work, arrived};
use super::{go_in, look, refusal, unborn};
use crate::api::blocking;
use crate::api::problem::Problem;
use crate::documents::{Documents, Found, Guest};
use crate::identity::{node_name, show_key};

/// Calls that are under way at a time.
const CALLS_MAX: usize = 64;
/// How long what the asking node has is let come.
const EDITS_WITHIN: Duration = Duration::from_secs(5);
/// Longest answer: what a reply may have.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// See the module.
#[derive(Clone)]
pub(crate) struct Desk {
    documents: Documents,
    gate: Arc<dyn Gate>,
    room: Arc<Semaphore>,
}

impl Desk {
    /// The method of the calls that are for it.
    pub(crate) const METHOD: u32 = METHOD;

    /// Answers for these documents whoever may write by this gate.
    pub(crate) fn new(documents: Documents, gate: Arc<dyn Gate>) -> Self {
        Self { documents, gate, room: Arc::new(Semaphore::new(CALLS_MAX)) }
    }

    /// Answers a call. Needs a tokio runtime.
    pub(crate) fn serve(&self, peer: AuthorId, body: Bytes) -> CallFuture {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            let why = format!("{CALLS_MAX} calls about documents are under way here");
            return Box::pin(std::future::ready(Err(why)));
        };
        let this = self.clone();
        // In a task of its own: a session that ends breaks off no save.
        let work = tokio::spawn(async move {
            let answer = this.answer(peer, &body).await;
            drop(place);
            answer
        });
        Box::pin(async move { work.await.unwrap_or_else(|error| Err(error.to_string())) })
    }

    async fn answer(&self, peer: AuthorId, body: &[u8]) -> CallResult {
        let asked: Question = serde_json::from_slice(body)
            .map_err(|error| format!("this is no call about a document: {error}"))?;
        let answered = self.done(peer, asked).await;
        let answered = answered.unwrap_or_else(|problem| Answered::refused(&problem));
        let text = serde_json::to_vec(&answered).map_err(|error| error.to_string())?;
        if text.len() <= ANSWER_BYTES_MAX {
            return Ok(Bytes::from(text));
        }
        let short = Answered::refused(&too_long(&answered, text.len()));
        serde_json::to_vec(&short).map(Bytes::from).map_err(|error| error.to_string())
    }

    async fn done(&self, peer: AuthorId, asked: Question) -> Result<Answered, Problem> {
        let gate = Arc::clone(&self.gate);
        let rights = blocking(move || gate.admit(&peer)).await?;
        let Some(rights) = rights.ok().filter(|rights| rights.write) else { return Err(may_not(&peer)) };
        let found = self.find(&asked).ok_or_else(|| refusal::no_source(&asked.name, 0))?;
        let named = json!({"id": found.id.to_string(), "name": found.name});
        if asked.what == What::Find {
            return Ok(Answered::done(named, Vec::new()));
        }
        if asked.what == What::Open {
            unborn(&self.documents, &found).await?;
            let guest = go_in(&self.documents, &found, Role::System).await?;
            return Ok(Answered::done(named, heads_of(&guest).await?));
        }
        let work = Work::of(asked.what, asked.options)?;
        let name = rights.name.unwrap_or_else(|| node_name(&peer));
        let is_new = unborn(&self.documents, &found).await?.is_some();
        if is_new && asked.heads.is_empty() && !work.is_write() {
            // A document that nobody has opened stays so.
            return Ok(Answered::done(work.carry_out(&self.documents, found).await?, Vec::new()));
        }
        let guest = go_in(&self.documents, &found, Role::System).await?;
        if work.needs_edits() {
            all_here(&guest, &found, &asked.heads).await?;
        }
        let done = work.at(&name).carry_out(&self.documents, found).await;
        // A save that is refused has followed the rows before.
        let heads = heads_of(&guest).await?;
        Ok(match done {
            Ok(body) => Answered::done(body, heads),
            Err(problem) => Answered { heads, ..Answered::refused(&problem) },
        })
    }

    /// The document that is meant, if this node reconciles that one: one of this name may be another key's.
    fn find(&self, asked: &Question) -> Option<Found> {
        let is_meant = |found: &Found| {
            found.root.is_some() && asked.id.as_ref().is_none_or(|id| *id == found.id.to_string())
        };
        let by_name = self.documents.find(&asked.name).filter(is_meant);
        by_name.or_else(|| self.documents.find(asked.id.as_ref()?).filter(is_meant))
    }
}

async fn heads_of(guest: &Guest) -> Result<Vec<String>, Problem> {
    Ok(look(guest).await?.heads.iter().map(Digest::to_string).collect())
}

/// Waits for what the asking node has.
async fn all_here(guest: &Guest, found: &Found, heads: &[Head]) -> Result<(), Problem> {
    let head = |head: &Head| {
        let author = head.author.as_ref().and_then(|author| author.parse().ok());
        Some((head.digest.parse().ok()?, author))
    };
    let wanted = heads.iter().filter_map(head).collect();
    let missing: Vec<(Digest, Option<AuthorId>)> = arrived(guest, wanted, EDITS_WITHIN).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let accepts = guest.replica.accepts();
    let is_refused = |author: &AuthorId| accepts.as_ref().is_some_and(|keys| !keys.contains(author));
    let mut authors: Vec<AuthorId> =
        missing.iter().filter_map(|(_, author)| *author).filter(is_refused).collect();
    authors.sort_unstable();
    authors.dedup();
    let keys: Vec<String> = authors.iter().map(show_key).collect();
    let digests: Vec<Value> = missing.iter().map(|(digest, _)| digest.to_string().into()).collect();
    let name = &found.name;
    let problem = if keys.is_empty() {
        let detail = format!(
            "the node with the source has not yet all that was written in document {name:?} at the node that asks it"
        );
        let hint =
            "try again in a moment; if it stays so, `gangline peer list` says what is held back, and where";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "changes_missing", detail, hint).again_in(1)
    } else {
        let by = keys.join(", ");
        let detail = format!(
            "the node with the source does not take what {by} wrote in document {name:?}: nothing was done"
        );
        let hint = "`gangline key trust` there lets them in";
        Problem::new(StatusCode::CONFLICT, "changes_missing", detail, hint)
    };
    Err(problem.with("id", name.clone()).with("missing", digests).with("authors", keys))
}

/// The peer is linked and may not write.
fn may_not(peer: &AuthorId) -> Problem {
    let detail = format!("the node with the source does not let {} write documents", show_key(peer));
    let hint = "`gangline key trust` there lets it in; or ask that node itself";
    Problem::new(StatusCode::FORBIDDEN, "not_trusted", detail, hint)
}

/// It was done, and nobody hears how.
fn too_long(answered: &Answered, bytes: usize) -> Problem {
    let what = if answered.status == StatusCode::OK.as_u16() { "it was done" } else { "it was refused" };
    let detail = format!("{what}, and the answer has {bytes} bytes: more than nodes pass on");
    let hint = "ask the node with the source itself";
    Problem::new(StatusCode::BAD_GATEWAY, "answer_too_long", detail, hint)
}

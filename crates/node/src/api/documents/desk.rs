//! Answers nodes that lack a document's source: what they ask for is done here, if they may write, and never passed on.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bft_json_crdt::{AuthorId, Digest};
use bytes::Bytes;
use gangline_reconcile::Role;
use gangline_transport::{CallFuture, CallResult, Gate};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::work::{Answered, HEADS_MAX, Head, METHOD, Question, What, Work, arrived};
use super::{go_in, look, refusal, unborn};
use crate::api::blocking;
use crate::api::problem::Problem;
use crate::documents::{Documents, Found, Guest};
use crate::identity::{node_name, show_key};

/// Calls that are under way at a time, of all and of one node.
const CALLS_MAX: usize = 64;
const PEER_CALLS_MAX: usize = 8;
/// Longest question: some names, a person's wish and [`HEADS_MAX`] heads.
const QUESTION_BYTES_MAX: usize = 256 << 10;
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
    /// How many calls of each node are under way.
    calls: Arc<Mutex<BTreeMap<AuthorId, usize>>>,
}

/// A call that is under way.
struct Place {
    peer: AuthorId,
    calls: Arc<Mutex<BTreeMap<AuthorId, usize>>>,
    _room: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut calls = lock(&self.calls);
        if let Some(count) = calls.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                calls.remove(&self.peer);
            }
        }
    }
}

impl Desk {
    /// The method of the calls that are for it.
    pub(crate) const METHOD: u32 = METHOD;

    /// Answers for these documents whoever may write by this gate.
    pub(crate) fn new(documents: Documents, gate: Arc<dyn Gate>) -> Self {
        Self { documents, gate, room: Arc::new(Semaphore::new(CALLS_MAX)), calls: Arc::default() }
    }

    /// Room for one more call of a node, if there is any.
    fn place(&self, peer: AuthorId) -> Option<Place> {
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
        let mut calls = lock(&self.calls);
        let count = calls.entry(peer).or_default();
        *count += 1;
        let is_within = *count <= PEER_CALLS_MAX;
        drop(calls);
        let place = Place { peer, calls: Arc::clone(&self.calls), _room: room };
        is_within.then_some(place)
    }

    /// Answers a call. Needs a tokio runtime.
    pub(crate) fn serve(&self, peer: AuthorId, body: Bytes) -> CallFuture {
        let Some(place) = self.place(peer) else {
            return Box::pin(ready(reply(&Answered::refused(&busy()))));
        };
        let this = self.clone();
        // In a task of its own: a session that ends breaks off no save.
        let work = tokio::spawn(async move {
            let answer = this.answer(peer, &body).await;
            drop(place);
            answer
        });
        // A refusal would say that nothing was done.
        Box::pin(async move { work.await.unwrap_or_else(|_| reply(&Answered::refused(&lost()))) })
    }

    async fn answer(&self, peer: AuthorId, body: &[u8]) -> CallResult {
        let gate = Arc::clone(&self.gate);
        let rights = blocking(move || gate.admit(&peer)).await.map(Result::ok);
        // Before anything that they have sent is looked at.
        let rights = match rights {
            Ok(rights) => rights.filter(|rights| rights.read && rights.write),
            Err(problem) => return reply(&Answered::refused(&problem)),
        };
        let Some(rights) = rights else { return reply(&Answered::refused(&may_not(&peer))) };
        if body.len() > QUESTION_BYTES_MAX {
            return Err(format!(
                "a call about a document has {} bytes, the limit is {QUESTION_BYTES_MAX}",
                body.len()
            ));
        }
        let asked: Question = serde_json::from_slice(body)
            .map_err(|error| format!("this is no call about a document: {error}"))?;
        let name = rights.name.unwrap_or_else(|| node_name(&peer));
        let answered = self.done(&name, asked).await;
        reply(&answered.unwrap_or_else(|problem| Answered::refused(&problem)))
    }

    async fn done(&self, name: &str, asked: Question) -> Result<Answered, Problem> {
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
        let is_new = unborn(&self.documents, &found).await?.is_some();
        if is_new && asked.heads.is_empty() && !work.is_write() {
            // A document that nobody has opened stays so.
            return Ok(Answered::done(work.carry_out(&self.documents, found).await?, Vec::new()));
        }
        let guest = go_in(&self.documents, &found, Role::System).await?;
        if work.needs_edits() {
            let heads = asked.heads.get(..HEADS_MAX).unwrap_or(&asked.heads);
            all_here(&guest, &found, heads).await?;
        }
        let done = work.at(name).carry_out(&self.documents, found).await;
        // A save that is refused has followed the rows before; and what was done was done, whether or not these are told.
        let heads = heads_of(&guest).await.unwrap_or_default();
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

/// An answer as it is sent.
fn reply(answered: &Answered) -> CallResult {
    let text = serde_json::to_vec(answered).map_err(|error| error.to_string())?;
    if text.len() <= ANSWER_BYTES_MAX {
        return Ok(Bytes::from(text));
    }
    let short = Answered::refused(&too_long(answered, text.len()));
    serde_json::to_vec(&short).map(Bytes::from).map_err(|error| error.to_string())
}

/// Others are asking, or the same node all the time.
fn busy() -> Problem {
    let detail = format!(
        "the node with the source is at work on {PEER_CALLS_MAX} calls of this node, or on {CALLS_MAX} of all"
    );
    let hint = "nothing was done; try again in a moment";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail, hint).again_in(1)
}

/// Nobody knows how far it came.
fn lost() -> Problem {
    let hint =
        "look at the document: what was saved is not `unsaved` any more; the node's log says what was wrong";
    let detail = "the node with the source has failed in the middle of it";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "outcome_unknown", detail, hint)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// It was done, and nobody hears how.
fn too_long(answered: &Answered, bytes: usize) -> Problem {
    let what = if answered.status == StatusCode::OK.as_u16() { "it was done" } else { "it was refused" };
    let detail = format!("{what}, and the answer has {bytes} bytes: more than nodes pass on");
    let hint = "ask the node with the source itself";
    Problem::new(StatusCode::BAD_GATEWAY, "answer_too_long", detail, hint)
}

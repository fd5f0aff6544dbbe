//! Who changed what of an item, and when, as this node's log has it.

use std::sync::Arc;

use bft_json_crdt::{
    AuthorId, Digest, JsonValue,
    json_crdt::{Edit, EditKind, PathSegment},
};

use super::story::Story;
use crate::{
    entry::Entry,
    field::Field,
    item::shown,
    op_log::{LogSeq, OpLogError},
    pipeline::PipelineDoc,
    replica::Replica,
};

/// One edit of an item.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    /// The position in this node's log.
    pub seq: LogSeq,
    /// When this node took it in, in milliseconds since 1970 by its own clock.
    pub received_at_ms: u64,
    /// The change.
    pub digest: Digest,
    /// Who made it.
    pub author: AuthorId,
    /// Its place in the author's chain, from 1.
    pub author_seq: u64,
    /// Its logical time.
    pub lamport: u64,
    /// Whether its own signature is valid; otherwise a later change of its author vouches for it.
    pub is_vouched: bool,
    /// What it did.
    pub action: Action,
}

/// What an edit did to an item.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Added it, with these fields.
    Add(JsonValue),
    /// Set a field to a value.
    Set(Field, JsonValue),
    /// Removed it.
    Remove,
}

/// Returns what was done to an item, in the order in which this node took it in.
///
/// # Errors
/// See [`HistoryError`].
pub fn history(replica: &Replica<PipelineDoc>, story_id: &str) -> Result<Vec<HistoryEntry>, HistoryError> {
    let (elements, _) =
        replica.read(|base| Story::find(&base.doc, story_id).map(|story| story.ids(&base.doc)));
    let elements = elements.ok_or_else(|| HistoryError::NotFound { story_id: story_id.to_owned() })?;
    let touches = replica.history(&elements)?;
    Ok(touches
        .iter()
        .flat_map(|touch| touch.edits.iter().filter_map(|edit| Some(entry(&touch.entry, action(edit)?))))
        .collect())
}

/// Why there is no history to show.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// No item of that id; it may have been removed.
    #[error("no item {story_id}")]
    NotFound {
        /// The id asked for.
        story_id: String,
    },
    /// The log cannot be read; what to do is in the error.
    #[error(transparent)]
    Log(#[from] OpLogError),
}

fn entry(entry: &Arc<Entry>, action: Action) -> HistoryEntry {
    let change = entry.change();
    HistoryEntry {
        seq: entry.seq(),
        received_at_ms: entry.received_at_ms(),
        digest: change.digest(),
        author: change.author(),
        author_seq: change.seq(),
        lamport: change.lamport(),
        is_vouched: entry.is_vouched(),
        action,
    }
}

fn action(edit: &Edit) -> Option<Action> {
    match edit.kind {
        EditKind::Insert => edit.value.clone().map(Action::Add),
        EditKind::Delete => Some(Action::Remove),
        EditKind::Set => match edit.path.last() {
            Some(PathSegment::Field(name)) => {
                Some(Action::Set(Field::from_name(name)?, shown(edit.value.clone()?)))
            }
            Some(PathSegment::Element(_) | PathSegment::Key(_)) | None => None,
        },
        // Items have no maps; what a later engine knows besides is no edit of an item.
        EditKind::Put | EditKind::Remove | _ => None,
    }
}

//! Databases that were put back from a backup: their documents stay as they are until somebody has seen the plan.
//!
//! An outbox that ends before where it was read to tells. From then on the source is in a new *era*: documents whose rows
//! are still those that they have followed are in it at once, each other one when somebody accepts its rows. Without an
//! outbox only a version that is older than the document's tells, and without versions nothing does.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use gangline_reconcile::{Continuity, NoteKind, OutboxPosition, ReconcileError, RowsDigest};
use serde::{Deserialize, Serialize};

use super::notes::RefNote;
use super::{FollowFailed, SourceRuntime, digest_text};
use crate::api::blocking;

/// Why a document waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Its rows have an older version than it has followed.
    Older,
    /// The database was put back from a backup.
    Restored,
}

impl Hold {
    /// What is to be said of a document that waits.
    pub(crate) fn reason_for(self, document: &str) -> String {
        let what = match self {
            Self::Older => "the database has an older version than the document has followed",
            Self::Restored => "the database was put back from a backup",
        };
        format!("{what}; {}", way_out(document))
    }

    /// As programs read it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Older => "older_version",
            Self::Restored => "restored",
        }
    }
}

/// How far an outbox was read, as it is noted.
#[derive(Serialize, Deserialize)]
struct PositionNote {
    incarnation: u64,
    seq: i64,
}

const POSITION: &str = "outbox";
/// How often the database was put back.
const ERA: &str = "era";
/// Notes that are read at once.
const REFS_STEP: usize = 1_000;

impl FollowFailed {
    /// Whether somebody has to look at the plan first.
    pub(crate) fn hold(&self) -> Option<Hold> {
        match self {
            Self::Restored => Some(Hold::Restored),
            Self::Reconcile(ReconcileError::Older { .. }) => Some(Hold::Older),
            Self::Reconcile(_) | Self::Source(_) | Self::Store(_) => None,
        }
    }

    /// All of it in one line, with what is to be done about a document.
    pub(crate) fn reason_for(&self, document: &str) -> String {
        let reason = self.reason();
        if self.hold().is_none() {
            return reason;
        }
        format!("{reason}; {}", way_out(document))
    }
}

fn way_out(document: &str) -> String {
    format!(
        "look at `gangline reconcile plan {document}`, and accept it with `gangline reconcile run {document} \
         --accept-restored`"
    )
}

impl SourceRuntime {
    /// Why a root's document waits for a person, if it does.
    pub(crate) fn hold_of(&self, root: &str) -> Option<Hold> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(root).copied()
    }

    /// How many documents wait for a person.
    pub(crate) fn holds(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Remembers whether a root's document waits for a person, by what became of following.
    pub(super) fn remember_hold<T>(&self, root: &str, followed: &Result<T, FollowFailed>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match followed.as_ref().map_err(FollowFailed::hold) {
            Err(Some(hold)) => drop(held.insert(root.to_owned(), hold)),
            Ok(_) => drop(held.remove(root)),
            // What failed otherwise is as it was.
            Err(None) => {}
        }
    }

    /// How far the outbox was read. May block.
    pub(crate) fn position(&self) -> Result<Option<OutboxPosition>, FollowFailed> {
        let noted: Option<PositionNote> = self.noted(POSITION)?;
        Ok(noted.map(|at| OutboxPosition { incarnation: at.incarnation, seq: at.seq }))
    }

    /// Marks the roots that an outbox named, and notes how far it was read. May block.
    pub(crate) fn read_to(&self, position: OutboxPosition, roots: &[String]) -> Result<(), FollowFailed> {
        let at = PositionNote { incarnation: position.incarnation, seq: position.seq };
        self.mark(roots, vec![self.source_note(POSITION, Some(&at))])
    }

    /// How often the database was put back from a backup. May block.
    pub(super) fn era(&self) -> Result<u64, FollowFailed> {
        Ok(self.noted(ERA)?.unwrap_or_default())
    }

    /// As [`Self::era`], without blocking.
    pub(super) async fn era_now(self: &Arc<Self>) -> Result<u64, FollowFailed> {
        let this = Arc::clone(self);
        blocking(move || this.era()).await?
    }

    /// Whether rows come from a backup that nobody has accepted for this document. May block.
    pub(super) fn is_restored(&self, root: &str, rows: RowsDigest) -> Result<bool, FollowFailed> {
        let Some(known) = self.ref_of(root)? else { return Ok(false) };
        if known.digest == digest_text(rows) {
            return Ok(false);
        }
        if known.era < self.era()? {
            return Ok(true);
        }
        // The feed may not have looked since.
        let Some(position) = self.position()? else { return Ok(false) };
        let read = self.rows.outbox(&self.shape, Some(position), 1)?;
        Ok(read.is_some_and(|read| read.continuity == Continuity::Restored))
    }

    /// Begins a new era: the database was put back from a backup. May block.
    pub(crate) fn begin_era(&self) -> Result<(), FollowFailed> {
        let era = self.era()?.saturating_add(1);
        let mut rows = BTreeMap::new();
        self.rows.scan(&self.shape, &mut |root, digest| {
            rows.insert(root.to_owned(), digest);
        })?;
        let mut notes = vec![self.source_note(ERA, Some(&era))];
        let mut after = None;
        loop {
            let followed = self.refs(after.as_deref(), REFS_STEP)?;
            let Some((last, _)) = followed.last() else { break };
            after = Some(last.clone());
            for (root, known) in followed {
                if rows.get(&root).is_some_and(|digest| digest_text(*digest) == known.digest) {
                    notes.push(self.note(NoteKind::Ref, &root, Some(&RefNote { era, ..known })));
                }
            }
        }
        self.put(notes)
    }
}

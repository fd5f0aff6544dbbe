//! The port to what a node notes for itself beside the documents: nothing in it is needed to agree with others.

use std::error::Error;
use std::sync::Arc;

/// Keeps small notes durably, by source, kind and key.
///
/// Calls wait for the disk: they are for a thread that may.
pub trait NoteStore: Send + Sync {
    /// Returns a note.
    ///
    /// # Errors
    /// [`NoteError`]
    fn get(&self, source: &str, kind: NoteKind, key: &str) -> Result<Option<Vec<u8>>, NoteError>;

    /// Writes and removes notes: all of them or none. Durable when it returns.
    ///
    /// # Errors
    /// [`NoteError`]; nothing was written.
    fn put(&self, notes: Vec<Note>) -> Result<(), NoteError>;

    /// As [`NoteStore::put`], but durable only with the next one: a loss of power may take back what was written so, the
    /// last of it first, and never what was written by `put`. For what is found out again.
    ///
    /// # Errors
    /// As [`NoteStore::put`].
    fn put_soon(&self, notes: Vec<Note>) -> Result<(), NoteError> {
        self.put(notes)
    }

    /// Returns notes of a kind after a key, ascending by key.
    ///
    /// # Errors
    /// [`NoteError`]
    fn list(
        &self,
        source: &str,
        kind: NoteKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, NoteError>;
}

/// A note to be written; without content it is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The name of the source that it belongs to.
    pub source: String,
    /// What it is about.
    pub kind: NoteKind,
    /// Its name among those of its kind.
    pub key: String,
    /// What it says.
    pub content: Option<Vec<u8>>,
}

/// What a note is about. The numbers are what is stored, and are never used again for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum NoteKind {
    /// What a root's rows were when the document last followed them, by the root's key.
    Ref = 1,
    /// A root that is to be reconciled, by its key.
    Mark = 2,
    /// A save that was begun, by the root's key.
    Intent = 3,
    /// What was done, by a number that rises.
    Audit = 4,
    /// Of the source as a whole: that it is paused, how far its outbox was read.
    Source = 5,
    /// A document that is stored here, by its id.
    Document = 6,
}

/// Why a note could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("notes in {place} cannot be used")]
pub struct NoteError {
    /// Where they live.
    pub place: String,
    /// What the backend said.
    #[source]
    pub source: Arc<dyn Error + Send + Sync>,
}

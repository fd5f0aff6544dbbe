//! Where followed documents are kept: their op logs, and what the node notes for itself.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bft_json_crdt::DocumentId;
use gangline_doc::OpLog;
use gangline_reconcile::{Note, NoteError, NoteKind, NoteStore};
use gangline_store::{DirLock, MemoryOpLog, SqliteNotes, SqliteOpLog, SqliteSettings};

use crate::logs::chain;
use crate::private_file::make_private_dir;

/// Keeps the logs of many documents, and notes.
pub(crate) trait DocumentStore: NoteStore {
    /// Opens the log of a document; an empty one for a document that is not there. While it is in use there is one.
    ///
    /// # Errors
    /// When it cannot be opened: what it says names the file and what to do.
    fn log(&self, document: DocumentId) -> Result<Arc<dyn OpLog>, String>;

    /// The documents that have a log.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn documents(&self) -> Result<Vec<DocumentId>, String>;
}

/// Forgets everything with the process: for nodes that keep nothing.
#[derive(Default)]
pub(crate) struct MemoryDocuments {
    logs: Mutex<BTreeMap<DocumentId, Arc<MemoryOpLog>>>,
    notes: Mutex<BTreeMap<(String, NoteKind, String), Vec<u8>>>,
}

impl DocumentStore for MemoryDocuments {
    fn log(&self, document: DocumentId) -> Result<Arc<dyn OpLog>, String> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let log = logs.entry(document).or_insert_with(|| Arc::new(MemoryOpLog::new()));
        Ok(Arc::clone(log) as Arc<dyn OpLog>)
    }

    fn documents(&self) -> Result<Vec<DocumentId>, String> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(logs.keys().copied().collect())
    }
}

/// Keeps each document in a file of its own, in a folder of the data directory, and the notes in another one.
pub(crate) struct DiskDocuments {
    lock: Arc<DirLock>,
    logs: Mutex<BTreeMap<DocumentId, Weak<SqliteOpLog>>>,
    notes: SqliteNotes,
}

/// The folder.
const DIR: &str = "documents";

impl DiskDocuments {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// What names the file and what to do.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, String> {
        let dir = data_dir.join(DIR);
        make_private_dir(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
        let lock = DirLock::acquire(&dir).map_err(|error| chain(&error))?;
        let notes = SqliteNotes::open(&dir).map_err(|error| chain(&error))?;
        Ok(Self { lock: Arc::new(lock), logs: Mutex::default(), notes })
    }
}

impl DocumentStore for DiskDocuments {
    fn log(&self, document: DocumentId) -> Result<Arc<dyn OpLog>, String> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = logs.get(&document).and_then(Weak::upgrade) {
            return Ok(log);
        }
        // The replica that is opened on it reads, and so checks, all of it.
        let settings = SqliteSettings { document, check_entries: false, ..SqliteSettings::default() };
        let log = SqliteOpLog::open_locked(Arc::clone(&self.lock), &settings);
        let log = Arc::new(log.map_err(|error| chain(&error))?);
        logs.retain(|_, log| log.strong_count() > 0);
        logs.insert(document, Arc::downgrade(&log));
        Ok(log)
    }

    fn documents(&self) -> Result<Vec<DocumentId>, String> {
        let dir = self.lock.dir();
        let entries = fs::read_dir(dir).map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let of_name = |name: String| name.strip_prefix("document-")?.strip_suffix(".db")?.parse().ok();
        Ok(names.filter_map(of_name).collect())
    }
}

impl NoteStore for DiskDocuments {
    fn get(&self, source: &str, kind: NoteKind, key: &str) -> Result<Option<Vec<u8>>, NoteError> {
        self.notes.get(source, kind, key)
    }

    fn put(&self, notes: Vec<Note>) -> Result<(), NoteError> {
        self.notes.put(notes)
    }

    fn put_soon(&self, notes: Vec<Note>) -> Result<(), NoteError> {
        self.notes.put_soon(notes)
    }

    fn list(
        &self,
        source: &str,
        kind: NoteKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, NoteError> {
        self.notes.list(source, kind, after, limit)
    }
}

impl NoteStore for MemoryDocuments {
    fn get(&self, source: &str, kind: NoteKind, key: &str) -> Result<Option<Vec<u8>>, NoteError> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(notes.get(&(source.to_owned(), kind, key.to_owned())).cloned())
    }

    fn put(&self, new: Vec<Note>) -> Result<(), NoteError> {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        for Note { source, kind, key, content } in new {
            match content {
                Some(content) => notes.insert((source, kind, key), content),
                None => notes.remove(&(source, kind, key)),
            };
        }
        Ok(())
    }

    fn list(
        &self,
        source: &str,
        kind: NoteKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, NoteError> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let first = (source.to_owned(), kind, after.unwrap_or_default().to_owned());
        let start = if after.is_some() { Bound::Excluded(first) } else { Bound::Included(first) };
        let of_kind = notes.range((start, Bound::Unbounded));
        let of_kind = of_kind.take_while(|((of, is, _), _)| of == source && *is == kind);
        Ok(of_kind.take(limit).map(|((_, _, key), note)| (key.clone(), note.clone())).collect())
    }
}

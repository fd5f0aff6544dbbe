//! Where followed documents are kept: their op logs, and what the node notes for itself.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use bft_json_crdt::DocumentId;
use gangline_doc::{OpLog, OpLogError};
use gangline_reconcile::{Note, NoteError, NoteKind, NoteStore};
use gangline_store::MemoryOpLog;

/// Keeps the logs of many documents, and notes.
pub(crate) trait DocumentStore: NoteStore {
    /// The log of a document; an empty one for a document that is not there. Cheap.
    fn log(&self, document: DocumentId) -> Arc<dyn OpLog>;

    /// Documents after one, with the lengths of their logs, ascending.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn documents(
        &self,
        after: Option<DocumentId>,
        limit: usize,
    ) -> Result<Vec<(DocumentId, u64)>, OpLogError>;
}

/// Forgets everything with the process: for nodes that keep nothing.
#[derive(Default)]
pub(crate) struct MemoryDocuments {
    logs: Mutex<BTreeMap<DocumentId, Arc<MemoryOpLog>>>,
    notes: Mutex<BTreeMap<(String, NoteKind, String), Vec<u8>>>,
}

impl DocumentStore for MemoryDocuments {
    fn log(&self, document: DocumentId) -> Arc<dyn OpLog> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(logs.entry(document).or_insert_with(|| Arc::new(MemoryOpLog::new()))) as Arc<dyn OpLog>
    }

    fn documents(
        &self,
        after: Option<DocumentId>,
        limit: usize,
    ) -> Result<Vec<(DocumentId, u64)>, OpLogError> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        logs.range((start, Bound::Unbounded)).take(limit).map(|(id, log)| Ok((*id, log.len()?))).collect()
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

//! What a node notes for itself beside its documents, in one SQLite file.
//!
//! Writes are transactions with a full sync: what was noted survives the loss of power. What is only to be durable soon waits
//! in the write-ahead log for the next sync.

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gangline_reconcile::{Note, NoteError, NoteKind, NoteStore};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::sqlite_log::{
    OpenLogError,
    open::{self, Kind},
};

/// Keeps notes in an SQLite file.
pub struct SqliteNotes {
    path: PathBuf,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl SqliteNotes {
    /// Opens the file in `dir`, or makes one.
    ///
    /// # Errors
    /// See [`OpenLogError`]: each names the file and what to do.
    pub fn open(dir: &Path) -> Result<Self, OpenLogError> {
        let open::Opened { path, writer, reader } = open::open(dir, &Kind::NOTES)?;
        Ok(Self { path, writer: Mutex::new(writer), reader: Mutex::new(reader) })
    }

    fn at(&self, source: rusqlite::Error) -> NoteError {
        let source: Arc<dyn Error + Send + Sync> = Arc::new(source);
        NoteError { place: self.path.display().to_string(), source }
    }
}

impl NoteStore for SqliteNotes {
    fn get(&self, source: &str, kind: NoteKind, key: &str) -> Result<Option<Vec<u8>>, NoteError> {
        let reader = lock(&self.reader);
        let query = "SELECT content FROM note WHERE source = ?1 AND kind = ?2 AND key = ?3";
        let found = reader.prepare_cached(query).and_then(|mut query| {
            query.query_row(params![source, kind as u8, key], |row| row.get(0)).optional()
        });
        found.map_err(|error| self.at(error))
    }

    fn put(&self, notes: Vec<Note>) -> Result<(), NoteError> {
        write(&mut lock(&self.writer), &notes).map_err(|error| self.at(error))
    }

    fn put_soon(&self, notes: Vec<Note>) -> Result<(), NoteError> {
        let mut writer = lock(&self.writer);
        let relaxed = writer.pragma_update(None, "synchronous", "NORMAL");
        let written = relaxed.and_then(|()| write(&mut writer, &notes));
        let restored = writer.pragma_update(None, "synchronous", "FULL");
        written.and(restored).map_err(|error| self.at(error))
    }

    fn list(
        &self,
        source: &str,
        kind: NoteKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, NoteError> {
        let reader = lock(&self.reader);
        let read = || {
            let mut query = reader.prepare_cached(
                "SELECT key, content FROM note WHERE source = ?1 AND kind = ?2 AND (?3 IS NULL OR key > ?3)
                 ORDER BY key LIMIT ?4",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = query
                .query_map(params![source, kind as u8, after, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| self.at(error))
    }
}

fn write(writer: &mut Connection, notes: &[Note]) -> rusqlite::Result<()> {
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for Note { source, kind, key, content } in notes {
        let kind = *kind as u8;
        match content {
            Some(content) => transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO note (source, kind, key, content) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![source, kind, key, content])?,
            None => transaction
                .prepare_cached("DELETE FROM note WHERE source = ?1 AND kind = ?2 AND key = ?3")?
                .execute(params![source, kind, key])?,
        };
    }
    transaction.commit()
}

fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for SqliteNotes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteNotes").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    fn note(source: &str, key: &str, content: Option<&str>) -> Note {
        let content = content.map(|content| content.as_bytes().to_vec());
        Note { source: source.to_owned(), kind: NoteKind::Ref, key: key.to_owned(), content }
    }

    #[test]
    fn notes_are_kept_by_source_kind_and_key_and_survive() {
        let dir = tempfile::tempdir().unwrap();
        {
            let notes = SqliteNotes::open(dir.path()).unwrap();
            let some = ["a", "b", "c"].map(|key| note("s", key, Some(key)));
            notes.put(some.to_vec()).unwrap();
            notes
                .put(vec![note("t", "a", Some("other")), note("s", "b", None), note("s", "c", Some("new"))])
                .unwrap();
        }
        let notes = SqliteNotes::open(dir.path()).unwrap();
        let get = |source, key| notes.get(source, NoteKind::Ref, key).unwrap();
        assert_eq!(get("s", "a").as_deref(), Some(&b"a"[..]));
        assert_eq!(get("s", "b"), None);
        assert_eq!(get("t", "a").as_deref(), Some(&b"other"[..]));
        assert_eq!(notes.get("s", NoteKind::Mark, "a").unwrap(), None);
        let list = |after, limit| -> Vec<String> {
            let found = notes.list("s", NoteKind::Ref, after, limit).unwrap();
            found.into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(list(None, 9), ["a", "c"]);
        assert_eq!(list(Some("a"), 9), ["c"]);
        assert_eq!(list(None, 1), ["a"]);
    }

    #[test]
    fn what_is_durable_soon_is_there_at_once_and_what_follows_is_synced_as_ever() {
        let dir = tempfile::tempdir().unwrap();
        let notes = SqliteNotes::open(dir.path()).unwrap();
        let level = || -> i64 {
            lock(&notes.writer).pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap()
        };
        let full = level();
        notes.put_soon(vec![note("s", "a", Some("soon"))]).unwrap();
        assert_eq!(notes.get("s", NoteKind::Ref, "a").unwrap().as_deref(), Some(&b"soon"[..]));
        assert_eq!((full, level()), (2, 2));
        // Also where it cannot be written.
        lock(&notes.writer).execute_batch("PRAGMA query_only = ON").unwrap();
        notes.put_soon(vec![note("s", "a", None)]).unwrap_err();
        assert_eq!(level(), 2);
    }
}

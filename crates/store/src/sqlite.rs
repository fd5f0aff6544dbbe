//! An op log in one SQLite file: what nodes use.
//!
//! Appends go through a queue to one worker thread, which writes everything that has gathered while it was
//! busy as one transaction and then answers: an idle log never waits, a busy one shares each sync of the
//! disk among all who wait (group commit). Reads have a connection of their own and disturb nobody.
//!
//! The file is in WAL mode with `synchronous=FULL`: an answered append survives the loss of power. It is made
//! under another name and renamed when complete, so a file that is empty or half made was damaged, never
//! just young. See `schema.rs` for what is in it and `open.rs` for what is checked before it is trusted.

mod open;
mod queue;
mod row;
mod schema;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use bft_json_crdt::DocumentId;
use gangline_doc::{Done, LogEntry, LogSeq, OpLog, OpLogError, ReadLimit, Record};
use rusqlite::Connection;

pub use self::open::OpenError;
use self::queue::Queue;
use crate::dir_lock::DirLock;

/// How a log is opened; every field has a usable default.
#[derive(Clone, Debug)]
pub struct SqliteSettings {
    /// Whose changes it keeps; the board is the default document.
    pub document: DocumentId,
    /// An append that would make more than this wait for the disk is refused, and the log stops.
    pub queue_bytes_max: u64,
    /// The file may not grow beyond this; `None` leaves it to the disk.
    pub file_bytes_max: Option<u64>,
    /// Whether opening reads and checks every entry (about 5 µs each). Reads check what they read in any
    /// case, so a caller that replays the whole log right away can do without.
    pub check_entries: bool,
}

impl Default for SqliteSettings {
    fn default() -> Self {
        Self {
            document: DocumentId::DEFAULT,
            queue_bytes_max: 512 << 20,
            file_bytes_max: None,
            check_entries: true,
        }
    }
}

/// Counters of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteStats {
    /// Durable entries.
    pub len: u64,
    /// Appends that wait for an answer.
    pub queued_count: usize,
    /// What they take in memory, roughly.
    pub queued_bytes: u64,
    /// Transactions since the log was opened.
    pub commits: u64,
}

/// Keeps entries in an SQLite file. Dropping it finishes and answers what is queued, then closes the file.
pub struct SqliteOpLog {
    path: PathBuf,
    shared: Arc<Shared>,
    reader: Option<Mutex<Connection>>,
    worker: Option<JoinHandle<()>>,
}

/// What handle and worker have in common.
struct Shared {
    queue: Queue,
    len: AtomicU64,
    commits: AtomicU64,
}

impl SqliteOpLog {
    /// Opens the default document's log in `dir`, or makes one; takes the directory's lock.
    ///
    /// Reads and checks the whole file.
    ///
    /// # Errors
    /// See [`OpenError`]: each names the file and what to do.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_locked(Arc::new(DirLock::acquire(dir)?), &SqliteSettings::default())
    }

    /// Returns the file in `dir` that holds the log of a document.
    pub fn path_in(dir: &Path, document: DocumentId) -> PathBuf {
        dir.join(open::file_name(document))
    }

    /// Opens a log in a directory whose lock the caller has, for callers that keep more there.
    ///
    /// # Errors
    /// As [`SqliteOpLog::open`].
    pub fn open_locked(lock: Arc<DirLock>, settings: &SqliteSettings) -> Result<Self, OpenError> {
        let open::Opened { path, writer, reader, len } = open::open(lock.dir(), settings)?;
        let shared = Arc::new(Shared {
            queue: Queue::new(settings.document, settings.queue_bytes_max),
            len: AtomicU64::new(len),
            commits: AtomicU64::new(0),
        });
        let writer = writer::Writer::new(path.clone(), writer, Arc::clone(&shared), lock);
        let worker = thread::Builder::new()
            .name("op-log".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { path: path.clone(), source })?;
        Ok(Self { path, shared, reader: Some(Mutex::new(reader)), worker: Some(worker) })
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns counters for `status` and metrics.
    pub fn stats(&self) -> SqliteStats {
        let (queued_count, queued_bytes) = self.shared.queue.waiting();
        SqliteStats {
            len: self.shared.len.load(Ordering::Acquire),
            queued_count,
            queued_bytes,
            commits: self.shared.commits.load(Ordering::Relaxed),
        }
    }
}

impl OpLog for SqliteOpLog {
    fn append(&self, records: Vec<Record>, done: Done) {
        self.shared.queue.push(records, done);
    }

    fn read(&self, from: LogSeq, limit: ReadLimit) -> Result<Vec<LogEntry>, OpLogError> {
        // A commit shows to readers a moment before it has returned: go by what has.
        let end = self.shared.len.load(Ordering::Acquire);
        let Some(reader) = self.reader.as_ref().filter(|_| from.0 < end) else { return Ok(Vec::new()) };
        let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
        row::read(&reader, from, LogSeq(end), limit).map_err(|error| error.at(&self.path))
    }

    fn len(&self) -> Result<u64, OpLogError> {
        Ok(self.shared.len.load(Ordering::Acquire))
    }
}

impl Drop for SqliteOpLog {
    fn drop(&mut self) {
        // The reader first: the last connection to close tidies up, and this one may not write.
        self.reader = None;
        self.shared.queue.close();
        if let Some(worker) = self.worker.take() {
            // An answer may have held the last handle; then the worker, which is here, ends by itself.
            if worker.thread().id() != thread::current().id() && worker.join().is_err() {
                tracing::error!(path = %self.path.display(), "the op log's worker ended in a panic");
            }
        }
    }
}

impl std::fmt::Debug for SqliteOpLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteOpLog").field("path", &self.path).field("stats", &self.stats()).finish()
    }
}

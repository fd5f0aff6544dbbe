//! The port through which a replica keeps its changes: one append-only log per document.
//!
//! What the log promises (checked for every backend by the `conformance` feature):
//!
//! - **Order.** Appends land in the order of the calls; positions are contiguous from 0; the changes
//!   of one append stand together.
//! - **Answers.** Each append is answered exactly once, in the order of the calls, and `Ok` only when
//!   its changes are durable. An answer may come from another thread or from inside `append`.
//! - **Fail-stop.** After one append has failed, every later one fails too: a hole never appears. Of a
//!   failed append nothing may be told to anybody, though it may turn out to be there at the next open.
//! - **Reads** see durable changes only.

use std::{error::Error, fmt, sync::Arc};

use bft_json_crdt::{Change, DocumentId};

/// Keeps one document's changes in the order in which this node took them in.
pub trait OpLog: Send + Sync {
    /// Queues `records` behind everything appended before, and returns without waiting for IO.
    ///
    /// `done` is called once: `Ok` when the records are durable, an error when they never will be.
    /// It may be called before `append` returns, so a caller holds no lock that `done` takes.
    /// An append of nothing is answered in its turn. A handle that is dropped finishes what it has
    /// queued and answers it first.
    fn append(&self, records: Vec<Record>, done: Done);

    /// Returns durable entries from `from` on, in order, within `limit` but at least one if there is any.
    ///
    /// From behind the end: nothing.
    ///
    /// # Errors
    /// If the log cannot be read, or what it holds is not what was written.
    fn read(&self, from: LogSeq, limit: ReadLimit) -> Result<Vec<LogEntry>, OpLogError>;

    /// Returns the number of durable entries, which is the position of the next one.
    ///
    /// # Errors
    /// If the log cannot be read.
    fn len(&self) -> Result<u64, OpLogError>;

    /// Returns whether nothing is durable.
    ///
    /// # Errors
    /// If the log cannot be read.
    fn is_empty(&self) -> Result<bool, OpLogError> {
        Ok(self.len()? == 0)
    }
}

/// What an append calls when its fate is known.
pub type Done = Box<dyn FnOnce(Result<(), OpLogError>) + Send>;

/// The position of a change in one node's log of a document: 0, 1, 2 …, contiguous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogSeq(pub u64);

impl LogSeq {
    /// The position of the first entry.
    pub const START: Self = Self(0);

    /// Returns the position `count` entries further on.
    #[must_use]
    pub fn plus(self, count: usize) -> Self {
        Self(self.0.saturating_add(count as u64))
    }
}

impl fmt::Display for LogSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A change to be appended, and what this node alone knows of it.
#[derive(Clone, Debug)]
pub struct Record {
    /// The change.
    pub change: Change,
    /// When this node took it in, in milliseconds since 1970 by its own clock; orders nothing.
    pub received_at_ms: u64,
    /// Whether the change's own signature is known to be valid; `false` says nothing against it.
    pub vouched: bool,
}

/// An entry of the log: a record and its position.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// The position.
    pub seq: LogSeq,
    /// The change.
    pub change: Change,
    /// As in [`Record`].
    pub received_at_ms: u64,
    /// As in [`Record`].
    pub vouched: bool,
}

/// How much one read returns at most; one entry is returned even if it alone is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimit {
    /// Number of entries.
    pub count: usize,
    /// Sum of their encoded changes.
    pub bytes: usize,
}

impl Default for ReadLimit {
    fn default() -> Self {
        Self { count: 4096, bytes: 4 << 20 }
    }
}

/// Why a log cannot keep or return changes.
///
/// Where a place (a file) needs attention, it is named.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpLogError {
    /// The disk or quota is full. Make room, then open the log again.
    #[error("no space left for the op log {place}")]
    NoSpace {
        /// Where the log lives.
        place: String,
        /// What the backend said.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// Reading or writing failed. Repair the cause, then open the log again.
    #[error("op log {place} failed")]
    Io {
        /// Where the log lives.
        place: String,
        /// What the backend said.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// What is stored is not what was written. Restore a backup, or start with an empty log and a new key.
    #[error("op log {place} is damaged: {what}")]
    Damaged {
        /// Where the log lives.
        place: String,
        /// What does not fit.
        what: String,
    },
    /// More was queued than the log's bound. The caller has to wait for answers before it appends more.
    #[error("op log has {bytes} bytes waiting, its limit is {bytes_max}")]
    QueueFull {
        /// What would be waiting with this append.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The append holds a change of another document. The caller has mixed up its logs.
    #[error("a change of document {found} was appended to the op log of document {expected}")]
    OtherDocument {
        /// Whose change it is.
        found: DocumentId,
        /// Whose log it is.
        expected: DocumentId,
    },
    /// An earlier append failed, or the log was closed. Open it again.
    #[error("op log has stopped: {reason}")]
    Stopped {
        /// The first failure.
        reason: String,
    },
}

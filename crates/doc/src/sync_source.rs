//! What a sync session needs of a replica, whatever its document's type.

use std::sync::Arc;

use bft_json_crdt::{AuthorId, Batch, Change, CrdtNode, Digest};

use crate::{
    entry::{Entry, OriginId},
    op_log::{LogSeq, OpLogError, ReadLimit},
    progress::{Subscription, Ticket},
    replica::{ApplyError, Replica},
};

/// A replica as its peers' sessions see it. Implemented by [`Replica`] for every document type.
///
/// A session sends what [`SyncSource::entries`] returns from its own cursor on, is woken by
/// [`SyncSource::subscribe`], and so passes on nothing that is not durable, in an order in which every change
/// comes after its past.
pub trait SyncSource: Send + Sync {
    /// Returns the author of this node's edits.
    fn author(&self) -> AuthorId;

    /// Takes in what a peer sent. See [`Replica::apply`].
    ///
    /// # Errors
    /// See [`ApplyError`]; nothing was changed.
    fn apply(
        &self,
        now_ms: u64,
        origin: OriginId,
        changes: Vec<Change>,
    ) -> Result<(Batch, Ticket), ApplyError>;

    /// Returns durable entries from `from` on. See [`Replica::entries`].
    ///
    /// # Errors
    /// If the log cannot be read.
    fn entries(&self, from: LogSeq, limit: ReadLimit) -> Result<Vec<Arc<Entry>>, OpLogError>;

    /// Returns the number of durable entries.
    fn durable(&self) -> LogSeq;

    /// Calls `f` when there are more durable entries. See [`Replica::subscribe`].
    fn subscribe(&self, f: Box<dyn Fn(LogSeq) + Send + Sync>) -> Subscription;

    /// Returns whether a change still waits in the causal queue.
    fn is_pending(&self, digest: &Digest) -> bool;
}

impl<T: CrdtNode> SyncSource for Replica<T> {
    fn author(&self) -> AuthorId {
        Self::author(self)
    }

    fn apply(
        &self,
        now_ms: u64,
        origin: OriginId,
        changes: Vec<Change>,
    ) -> Result<(Batch, Ticket), ApplyError> {
        Self::apply(self, now_ms, origin, changes)
    }

    fn entries(&self, from: LogSeq, limit: ReadLimit) -> Result<Vec<Arc<Entry>>, OpLogError> {
        Self::entries(self, from, limit)
    }

    fn durable(&self) -> LogSeq {
        Self::durable(self)
    }

    fn subscribe(&self, f: Box<dyn Fn(LogSeq) + Send + Sync>) -> Subscription {
        Self::subscribe(self, f)
    }

    fn is_pending(&self, digest: &Digest) -> bool {
        Self::is_pending(self, digest)
    }
}

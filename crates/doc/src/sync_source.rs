//! What a sync session needs of a replica, whatever its document's type.

use std::collections::BTreeSet;
use std::sync::Arc;

use bft_json_crdt::json_crdt::{Holdings, Missing, VersionVector};
use bft_json_crdt::{AuthorId, Batch, Change, CrdtNode, Digest, DocumentId};

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

    /// Returns which document it is.
    fn document(&self) -> DocumentId;

    /// Returns what the replica holds, and the length of the log once that is durable.
    fn survey(&self) -> (VersionVector, LogSeq);

    /// Returns whose changes the replica lets in; `None` for everybody's.
    fn accepts(&self) -> Option<BTreeSet<AuthorId>>;

    /// Returns what a peer holds of what the replica holds, and the length of the log once that is durable. See
    /// [`BaseCrdt::holdings`](bft_json_crdt::BaseCrdt::holdings).
    fn holdings(
        &self,
        theirs: &VersionVector,
        common: &[Digest],
        accepts: Option<&BTreeSet<AuthorId>>,
    ) -> (Holdings, LogSeq);

    /// Notes what else a peer holds. See [`BaseCrdt::learn_holdings`](bft_json_crdt::BaseCrdt::learn_holdings).
    fn learn_holdings(
        &self,
        holdings: &mut Holdings,
        theirs: &VersionVector,
        common: &[Digest],
        settled: &BTreeSet<AuthorId>,
    );

    /// Returns the next changes that a peer lacks. See [`BaseCrdt::missing`](bft_json_crdt::BaseCrdt::missing).
    fn missing(&self, holdings: &mut Holdings, limit: ReadLimit) -> Vec<Missing>;

    /// Returns which of these changes the replica holds.
    fn contains(&self, digests: &[Digest]) -> Vec<bool>;

    /// Returns the changes at some seqs of the chains that end with some tips.
    fn on_chains(&self, points: &[(Digest, u64)]) -> Vec<Option<Digest>>;
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

    fn document(&self) -> DocumentId {
        self.read(|base| base.document()).0
    }

    fn survey(&self) -> (VersionVector, LogSeq) {
        Self::survey(self)
    }

    fn accepts(&self) -> Option<BTreeSet<AuthorId>> {
        Self::accepts(self)
    }

    fn holdings(
        &self,
        theirs: &VersionVector,
        common: &[Digest],
        accepts: Option<&BTreeSet<AuthorId>>,
    ) -> (Holdings, LogSeq) {
        Self::holdings(self, theirs, common, accepts)
    }

    fn learn_holdings(
        &self,
        holdings: &mut Holdings,
        theirs: &VersionVector,
        common: &[Digest],
        settled: &BTreeSet<AuthorId>,
    ) {
        let ((), _) = self.read(|base| base.learn_holdings(holdings, theirs, common, settled));
    }

    fn missing(&self, holdings: &mut Holdings, limit: ReadLimit) -> Vec<Missing> {
        self.read(|base| base.missing(holdings, limit.count, limit.bytes)).0
    }

    fn contains(&self, digests: &[Digest]) -> Vec<bool> {
        self.read(|base| digests.iter().map(|digest| base.contains(digest)).collect()).0
    }

    fn on_chains(&self, points: &[(Digest, u64)]) -> Vec<Option<Digest>> {
        self.read(|base| points.iter().map(|(tip, seq)| base.on_chain(tip, *seq)).collect()).0
    }
}

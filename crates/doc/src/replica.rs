//! A replica: one node's copy of a document, with its history.
//!
//! **How an edit goes.** Under the document's lock: the document takes it in and its place in the log is
//! fixed. Outside the lock: the log gets it, answers, and whoever holds a [`Ticket`] or a [`Subscription`]
//! is told. Reads see an edit at once, and carry a ticket that says when what they saw is durable.
//!
//! **Fail-stop.** After the log has failed once, the replica takes in nothing more ([`Replica::failure`] says
//! why); reads go on. What was acknowledged is on disk, what was not was told to nobody: the node that
//! opens the log again continues its own chain from there and forks nothing.

mod editor;
mod error;
mod outbox;
mod transact;
mod trust;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bft_json_crdt::{
    AuthorId, BaseCrdt, Batch, Change, CrdtNode, Digest, DocumentId, Keypair, OpId,
    json_crdt::{Checker, Equivocation, Holdings, QueueStats, VersionVector},
};

pub use self::{
    editor::Editor,
    error::{ApplyError, EditFailed, OpenError},
    transact::Authored,
};
use self::{editor::Signed, outbox::Outbox};
use crate::{
    entry::{Entry, OriginId},
    history::{HistoryIndex, Touch},
    op_log::{LogSeq, OpLog, OpLogError, ReadLimit, Record},
    progress::{Progress, Subscription, Ticket},
};

/// How a replica is opened; every field has a usable default.
#[derive(Clone, Debug)]
pub struct ReplicaSettings {
    /// Which document; the board is the default one.
    pub document: DocumentId,
    /// Whose changes are let in; `None` lets in every author's.
    pub trust: Option<BTreeSet<AuthorId>>,
    /// Whether changes of a key that signed two after the same one are let in no longer. The evidence stays, and
    /// so does what came before it was known.
    pub stops_equivocators: bool,
    /// Most entries kept in memory for live readers.
    pub recent_max_count: usize,
    /// Most bytes that those entries take, v1 frames included.
    pub recent_max_bytes: usize,
    /// Changes that wait for the disk beyond this many bytes make edits and deliveries fail with "busy".
    pub in_flight_bytes_max: usize,
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self {
            document: DocumentId::DEFAULT,
            trust: None,
            stops_equivocators: false,
            recent_max_count: 8_192,
            recent_max_bytes: 16 << 20,
            in_flight_bytes_max: 128 << 20,
        }
    }
}

/// A shared handle on one node's copy of a document. Cheap to clone.
pub struct Replica<T: CrdtNode> {
    shared: Arc<Shared<T>>,
}

struct Shared<T: CrdtNode> {
    author: AuthorId,
    keypair: Keypair,
    in_flight_bytes_max: usize,
    stops_equivocators: bool,
    checker: Checker,
    log: Arc<dyn OpLog>,
    state: RwLock<State<T>>,
    outbox: Outbox,
    progress: Arc<Progress>,
    history: Mutex<HistoryIndex>,
    trust: Mutex<Option<BTreeSet<AuthorId>>>,
}

struct State<T: CrdtNode> {
    base: BaseCrdt<T>,
    /// Where the next entry goes, durable or not.
    end: LogSeq,
    /// Keys that are let in no longer.
    liars: BTreeSet<AuthorId>,
    /// Who brought what waits in the causal queue.
    waiting: BTreeMap<Digest, OriginId>,
}

/// The keys that signed two changes after the same one.
fn liars<T: CrdtNode>(base: &BaseCrdt<T>) -> BTreeSet<AuthorId> {
    base.equivocations().into_iter().map(|evidence| evidence.author).collect()
}

impl<T: CrdtNode> State<T> {
    /// Lets in no more changes of keys that are known to have lied.
    fn stop_liars(&mut self) {
        let liars = liars(&self.base);
        if liars != self.liars {
            self.liars = liars;
            // A longer list lets nothing in.
            let _ = self.base.set_distrust(self.liars.clone());
        }
    }

    /// A change can leave the queue unnoticed: refused when what it waited for came.
    fn forget_what_no_longer_waits(&mut self) {
        if self.waiting.len() > 64 + 2 * self.base.causal_queue_len() {
            let base = &self.base;
            self.waiting.retain(|digest, _| base.is_pending(digest));
        }
    }
}

impl<T: CrdtNode> Replica<T> {
    /// Opens a replica on what its log holds. O(length of the log).
    ///
    /// # Errors
    /// If the log cannot be read, or holds what this document cannot have taken in.
    pub fn open(keypair: Keypair, log: Arc<dyn OpLog>, settings: ReplicaSettings) -> Result<Self, OpenError> {
        let mut base = BaseCrdt::with_document(&keypair, settings.document);
        let end = replay(&mut base, log.as_ref())?;
        // A list says what is let in; what the log holds was let in, and nothing waits yet.
        let _ = base.set_trust(settings.trust.clone());
        let liars = if settings.stops_equivocators { liars(&base) } else { BTreeSet::new() };
        let _ = base.set_distrust(liars.clone());
        let progress = Progress::new(end, settings.recent_max_count, settings.recent_max_bytes);
        Ok(Self {
            shared: Arc::new(Shared {
                author: keypair.author(),
                keypair,
                in_flight_bytes_max: settings.in_flight_bytes_max,
                checker: Checker::default(),
                log,
                stops_equivocators: settings.stops_equivocators,
                state: RwLock::new(State { base, end, liars, waiting: BTreeMap::new() }),
                outbox: Outbox::default(),
                progress,
                history: Mutex::default(),
                trust: Mutex::new(settings.trust),
            }),
        })
    }

    /// Makes one local edit: all ops that `f` hands to its editor are appended together, as one change each.
    ///
    /// If `f` fails, nothing of it stays. Acknowledge an edit when its ticket is done, not before. `f` runs
    /// under the document's lock: it must not use this replica.
    ///
    /// # Errors
    /// What `f` said, or why nothing could be edited; see [`EditFailed`].
    pub fn edit<R, E>(
        &self,
        now_ms: u64,
        f: impl FnOnce(&mut Editor<'_, T>) -> Result<R, E>,
    ) -> Result<(R, Ticket), EditFailed<E>> {
        self.admit().map_err(|refusal| match refusal {
            ApplyError::Busy { in_flight_bytes } => EditFailed::Busy { in_flight_bytes },
            ApplyError::Failed { reason } => EditFailed::Failed { reason },
        })?;
        let mut state = self.write().map_err(|reason| EditFailed::Failed { reason })?;
        let mut editor = Editor::new(&state.base);
        let result = f(&mut editor).map_err(EditFailed::Refused)?;
        let Signed { ops, error } = editor.sign(&self.shared.keypair);
        let mut records = Vec::with_capacity(ops.len());
        for op in ops {
            let outcome = state.base.apply(op.clone());
            debug_assert!(outcome.is_applied(), "the document refused what it had signed: {outcome:?}");
            let change = op.into_change();
            records.push((None, Record { change, received_at_ms: now_ms, vouched: true }));
        }
        let ticket = self.keep(&mut state, records);
        drop(state);
        self.shared.outbox.pump(self.shared.log.as_ref());
        match error {
            None => Ok((result, ticket)),
            Some(error) => Err(EditFailed::Unsignable(error)),
        }
    }

    /// Takes in changes that a peer sent, judged as a whole; the batch says what became of each. Waits for no
    /// IO, but checks signatures: about 30 µs of CPU for one change, a third of that in a batch.
    ///
    /// The ticket is done when everything in the document up to and including these changes is durable.
    /// A session waits for it before it reads much more: that bounds what waits for the disk.
    ///
    /// # Errors
    /// If the log has failed, or too much waits for it; nothing was changed.
    pub fn apply(
        &self,
        now_ms: u64,
        origin: OriginId,
        changes: Vec<Change>,
    ) -> Result<(Batch, Ticket), ApplyError> {
        self.admit()?;
        let digests: Vec<Digest> = changes.iter().map(Change::digest).collect();
        // Signatures are most of the work, and need no lock: readers and other sessions go on meanwhile.
        let (known, is_board) = {
            let state = self.read_state();
            (state.base.known(&changes), state.base.document() == DocumentId::DEFAULT)
        };
        // The board's peers of version 1 want every change vouched for by itself.
        let checked = match is_board {
            true => self.shared.checker.check_new(changes, &known),
            false => self.shared.checker.check_covered(changes, &known),
        };
        let mut state = self.write().map_err(|reason| ApplyError::Failed { reason })?;
        let batch = state.base.apply_checked(checked);
        for (digest, outcome) in digests.into_iter().zip(&batch.states) {
            if outcome.is_pending() {
                state.waiting.entry(digest).or_insert(origin);
            }
        }
        let records = batch.applied.iter().map(|change| {
            let brought_by = state.waiting.remove(&change.digest()).unwrap_or(origin);
            let vouched = state.base.is_vouched(&change.digest());
            (Some(brought_by), Record { change: change.clone(), received_at_ms: now_ms, vouched })
        });
        let records = records.collect();
        for digest in &batch.evicted {
            state.waiting.remove(digest);
        }
        state.forget_what_no_longer_waits();
        if self.shared.stops_equivocators && !batch.applied.is_empty() {
            state.stop_liars();
        }
        let ticket = self.keep(&mut state, records);
        drop(state);
        self.shared.outbox.pump(self.shared.log.as_ref());
        Ok((batch, ticket))
    }

    /// Reads the document. The ticket is done when everything that was seen is durable.
    ///
    /// `f` runs under the document's read lock: it must not edit this replica.
    pub fn read<R>(&self, f: impl FnOnce(&BaseCrdt<T>) -> R) -> (R, Ticket) {
        let state = self.read_state();
        let result = f(&state.base);
        (result, self.ticket(state.end))
    }

    /// Returns the number of durable entries.
    pub fn durable(&self) -> LogSeq {
        self.shared.progress.durable()
    }

    /// Returns durable entries from `from` on, in order, within `limit` but at least one if there is any.
    ///
    /// Recent ones come from memory; for others this waits for the disk. Either way a reader needs no more
    /// than its cursor.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn entries(&self, from: LogSeq, limit: ReadLimit) -> Result<Vec<Arc<Entry>>, OpLogError> {
        let (recent, durable) = self.shared.progress.recent(from, limit);
        if let Some(entries) = recent {
            return Ok(entries);
        }
        // The log may be ahead of its answer; who brought what is known when the answer has been taken in.
        let ahead = usize::try_from(durable.0 - from.0).unwrap_or(usize::MAX);
        let limit = ReadLimit { count: limit.count.clamp(1, ahead), ..limit };
        let entries = self.shared.log.read(from, limit)?;
        let origins = self.shared.progress.origins(from, entries.len());
        Ok(entries
            .into_iter()
            .zip(origins)
            .map(|(entry, origin)| {
                Arc::new(Entry::new(entry.seq, entry.change, origin, entry.received_at_ms, entry.vouched))
            })
            .collect())
    }

    /// Calls `f`, outside of all locks, when there are more durable entries, and when the replica stops.
    ///
    /// Calls may come from several threads and late; [`Replica::durable`] and [`Replica::failure`] are the
    /// truth. `f` should be short, and may use the replica. Dropping the subscription ends it.
    pub fn subscribe(&self, f: Box<dyn Fn(LogSeq) + Send + Sync>) -> Subscription {
        self.shared.progress.subscribe(f)
    }

    /// Returns the changes that no other names, durable or not.
    pub fn heads(&self) -> Vec<Digest> {
        self.read_state().base.heads()
    }

    /// Returns per author the tips of its chain, durable or not.
    pub fn version_vector(&self) -> VersionVector {
        self.read_state().base.version_vector()
    }

    /// Returns the version vector, and the length of the log once all that it names is durable.
    pub fn survey(&self) -> (VersionVector, LogSeq) {
        let state = self.read_state();
        (state.base.version_vector(), state.end)
    }

    /// Returns what a peer with a version vector holds of what this replica holds, and the length of the log once
    /// that is durable: a reader of the log goes on from there when all that the peer lacks was given.
    pub fn holdings(
        &self,
        theirs: &VersionVector,
        common: &[Digest],
        accepts: Option<&BTreeSet<AuthorId>>,
    ) -> (Holdings, LogSeq) {
        let state = self.read_state();
        (state.base.holdings(theirs, common, &BTreeSet::new(), accepts), state.end)
    }

    /// Returns the proofs that an author signed two changes after the same previous one.
    pub fn equivocations(&self) -> Vec<Equivocation> {
        self.read_state().base.equivocations()
    }

    /// Returns the keys whose changes are let in no longer, since they lied.
    pub fn stopped(&self) -> BTreeSet<AuthorId> {
        self.read_state().liars.clone()
    }

    /// Returns whose changes are let in; `None` for everybody's.
    pub fn accepts(&self) -> Option<BTreeSet<AuthorId>> {
        self.shared.trust.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether a change waits in the causal queue.
    pub fn is_pending(&self, digest: &Digest) -> bool {
        self.read_state().base.is_pending(digest)
    }

    /// Returns the durable changes that touched any of these list elements, in the order of the log.
    ///
    /// The first call reads the whole log and makes an index; later ones read what has come since, and the
    /// entries asked for.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn history(&self, elements: &[OpId]) -> Result<Vec<Touch>, OpLogError> {
        let mut index = self.shared.history.lock().unwrap_or_else(PoisonError::into_inner);
        index.catch_up(self)?;
        index.read(self, elements)
    }

    /// Returns counters for `status` and metrics.
    pub fn stats(&self) -> ReplicaStats {
        let state = self.read_state();
        let progress = self.shared.progress.stats();
        ReplicaStats {
            changes: state.base.change_count(),
            queue: state.base.causal_queue_stats(),
            durable: progress.durable,
            in_flight_count: progress.in_flight_count,
            in_flight_bytes: progress.in_flight_bytes,
            recent_count: progress.recent_count,
            recent_bytes: progress.recent_bytes,
        }
    }

    /// Returns the author of this node's edits.
    pub fn author(&self) -> AuthorId {
        self.shared.author
    }

    /// Returns why the replica takes in nothing more, if so.
    pub fn failure(&self) -> Option<String> {
        self.shared.progress.failure().map(|reason| reason.to_string())
    }

    fn admit(&self) -> Result<(), ApplyError> {
        if let Some(reason) = self.shared.progress.failure() {
            return Err(ApplyError::Failed { reason });
        }
        let in_flight_bytes = self.shared.progress.in_flight_bytes();
        if in_flight_bytes > self.shared.in_flight_bytes_max {
            return Err(ApplyError::Busy { in_flight_bytes });
        }
        Ok(())
    }

    /// Gives what the document has taken in its place in the log. The caller then pumps the outbox, unlocked.
    fn keep(&self, state: &mut State<T>, records: Vec<(Option<OriginId>, Record)>) -> Ticket {
        if !records.is_empty() {
            let entries = records
                .iter()
                .enumerate()
                .map(|(n, (origin, record))| {
                    let seq = state.end.plus(n);
                    let change = record.change.clone();
                    Arc::new(Entry::new(seq, change, *origin, record.received_at_ms, record.vouched))
                })
                .collect();
            state.end = state.end.plus(records.len());
            let in_flight = self.shared.progress.begin(entries);
            let records = records.into_iter().map(|(_, record)| record).collect();
            self.shared.outbox.push(records, in_flight.into_done());
        }
        self.ticket(state.end)
    }

    fn ticket(&self, end: LogSeq) -> Ticket {
        Ticket::new(Arc::clone(&self.shared.progress), end)
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State<T>> {
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic in the middle of an edit may have left the document ahead of the log: nothing may build on it.
    fn write(&self) -> Result<RwLockWriteGuard<'_, State<T>>, Arc<str>> {
        let state = match self.shared.state.write() {
            Ok(state) => state,
            Err(poisoned) => {
                drop(poisoned);
                self.shared.progress.stop("a panic interrupted an edit");
                return Err(self.shared.progress.failure().unwrap_or_default());
            }
        };
        // The log may have failed while this waited for the lock.
        match self.shared.progress.failure() {
            Some(reason) => Err(reason),
            None => Ok(state),
        }
    }
}

fn replay<T: CrdtNode>(base: &mut BaseCrdt<T>, log: &dyn OpLog) -> Result<LogSeq, OpenError> {
    let mut end = LogSeq::START;
    loop {
        let entries = log.read(end, ReadLimit::default())?;
        if entries.is_empty() {
            return Ok(end);
        }
        let mut changes = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.seq != end {
                return Err(OpenError::Gap { expected: end, found: entry.seq });
            }
            end = end.plus(1);
            changes.push((entry.change, entry.vouched));
        }
        base.load_vouched(changes).map_err(|source| OpenError::Load { before: end, source })?;
    }
}

impl<T: CrdtNode> Clone for Replica<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: CrdtNode> std::fmt::Debug for Replica<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("author", &self.author())
            .field("durable", &self.durable())
            .field("failure", &self.failure())
            .finish_non_exhaustive()
    }
}

/// Counters of a replica.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReplicaStats {
    /// Changes in the document, durable or not.
    pub changes: usize,
    /// The causal queue.
    pub queue: QueueStats,
    /// Entries that are durable.
    pub durable: LogSeq,
    /// Entries that wait for the disk.
    pub in_flight_count: usize,
    /// Their encoded bytes.
    pub in_flight_bytes: usize,
    /// Entries kept in memory for live readers.
    pub recent_count: usize,
    /// What those take, roughly.
    pub recent_bytes: usize,
}

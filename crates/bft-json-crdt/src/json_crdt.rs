//! Documents: [`BaseCrdt`] and what a type needs to be part of one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

pub use bft_json_crdt_derive::{CrdtNode, add_crdt_fields};

pub use crate::any_crdt::JsonCrdt;
pub use crate::change::{Change, Digest, DocumentId};
pub use crate::coalescing::Coalescing;
pub use crate::handle::{NodeHandle, UnsignedOp};
pub use crate::limits::CAUSAL_QUEUE_MAX;
pub use crate::op::Rank;
pub use crate::schema::{TypeIx, TypeTable};
pub use crate::signed_op::SignedOp;
pub use crate::state::admit::{Batch, LoadError, OpState};
pub use crate::state::at::{CatchUpError, UnknownHead};
pub use crate::state::disputes::Dispute;
pub use crate::state::history::{Equivocation, Invalidity};
pub use crate::state::integrate::NoEffect;
pub use crate::state::local::EditError;
pub use crate::state::log::HistoryEntry;
pub use crate::state::memory::MemoryUse;
pub use crate::state::missing::{Holdings, Missing};
pub use crate::state::patches::{Patch, PatchAction, PatchStep};
pub use crate::state::queue::QueueStats;
pub use crate::state::signing::SignError;
pub use crate::state::snapshot::{Snapshot, SnapshotError};
pub use crate::state::view::{Conflict, Edit, EditKind, PathSegment};
pub use crate::value::{JsonValue, RegisterValue};
pub use crate::verify::{CheckedChange, Checker};

use crate::handle::Shared;
use crate::keypair::{AuthorId, Keypair};
use crate::state::State;
use crate::state::compare::Comparison;
use crate::state::nodes::ROOT_NODE;

/// Per author the (seq, digest) of every tip: one, unless the author forked.
pub type VersionVector = BTreeMap<AuthorId, Vec<(u64, Digest)>>;

/// A type that can be part of a document.
///
/// Structs derive it, together with [`add_crdt_fields`]. A clone of a node is another handle on the same
/// document; only [`BaseCrdt::clone`] copies.
pub trait CrdtNode: Clone + Send + Sync + 'static {
    /// Describes the type into `types`.
    fn describe(types: &mut TypeTable) -> TypeIx;
    /// Makes the handle's counterpart in this type.
    fn attach(handle: NodeHandle) -> Self;
    /// Returns the handle that the value was attached to.
    fn handle(&self) -> &NodeHandle;
    /// Shows the node as plain JSON. Replicas that hold the same changes give byte-identical text.
    fn view(&self) -> JsonValue {
        self.handle().view()
    }
    /// Returns who edited the node or anything in it, what and when, in causal order. O(history).
    fn history(&self) -> Vec<HistoryEntry> {
        self.handle().history()
    }
}

/// One replica of a document of type `T`, with its history.
///
/// ```
/// use bft_json_crdt::json_crdt::{BaseCrdt, CrdtNode, JsonValue, OpState, add_crdt_fields};
/// use bft_json_crdt::{keypair::make_keypair, list_crdt::ListCrdt, lww_crdt::LwwRegisterCrdt, op::ROOT_ID};
/// use serde_json::json;
///
/// #[add_crdt_fields]
/// #[derive(Clone, CrdtNode, Debug)]
/// struct Task {
///     title: LwwRegisterCrdt<String>,
///     done: LwwRegisterCrdt<bool>,
/// }
///
/// #[add_crdt_fields]
/// #[derive(Clone, CrdtNode, Debug)]
/// struct Tasks {
///     tasks: ListCrdt<Task>,
/// }
///
/// let (alice, bob) = (make_keypair(), make_keypair());
/// let mut a = BaseCrdt::<Tasks>::new(&alice);
/// let mut b = BaseCrdt::<Tasks>::new(&bob);
///
/// let insert = a.doc.tasks.insert(ROOT_ID, json!({"title": "harness the dogs"})).sign(&alice);
/// let done = a.doc.tasks[0].done.set(true).sign(&alice);
///
/// assert_eq!(b.apply(done), OpState::MissingCausalDependencies); // it waits for the insert
/// assert_eq!(b.apply(insert), OpState::Ok);
/// assert_eq!(b.doc.tasks[0].done.view(), JsonValue::Bool(true));
/// ```
pub struct BaseCrdt<T: CrdtNode> {
    /// The document, as the type shows it.
    pub doc: T,
    shared: Arc<Shared>,
    checker: Checker,
}

impl<T: CrdtNode> BaseCrdt<T> {
    /// Opens an empty replica of the default document, edited with `keypair`.
    pub fn new(keypair: &Keypair) -> Self {
        Self::with_document(keypair, DocumentId::DEFAULT)
    }

    /// Opens an empty replica of a document.
    pub fn with_document(keypair: &Keypair, document: DocumentId) -> Self {
        Self::over(State::new(document, keypair.author(), T::describe))
    }

    fn over(state: State) -> Self {
        let shared = Shared::new(state);
        let doc = T::attach(NodeHandle { shared: Arc::clone(&shared), node: ROOT_NODE });
        Self { doc, shared, checker: Checker::default() }
    }

    /// Opens an empty replica of the document that follows a source: `source` signs what comes from there, and
    /// only its ops' ranks count.
    pub fn of_source(keypair: &Keypair, source: &AuthorId, name: &str) -> Self {
        Self::with_document(keypair, DocumentId::of_source(source, name))
    }

    /// Says that this document follows the source that this replica edits for. To be its author's first op:
    /// from there on every replica knows whose ranks count.
    pub fn declare_source(&self, name: &str) -> UnsignedOp {
        self.doc.handle().edit(|state| state.edit_source(name))
    }

    /// Returns whose ranks count in this document; none as long as no source has declared itself.
    pub fn source(&self) -> Option<AuthorId> {
        self.shared.lock().source()
    }

    /// Returns the name by which the source calls this document; none as long as no source has declared itself.
    pub fn source_name(&self) -> Option<String> {
        self.shared.lock().source_name()
    }

    /// Returns where the document holds more than it shows: registers with several values, entries that were removed
    /// and edited at once. Ascending by path. O(document).
    pub fn disputes(&self) -> Vec<Dispute> {
        self.shared.lock().disputes()
    }

    /// Makes edits and signs them as one change: atomic at every replica, and one signature. In the default
    /// document, as one change for each op. What could not be made takes all of it back.
    ///
    /// The changes are recorded: to be stored and passed on. None where nothing was edited.
    ///
    /// # Errors
    ///
    /// [`SignError`] for the first edit that could not be made, or why the change could not be signed; the
    /// document is as it was.
    pub fn transact(
        &mut self,
        keypair: &Keypair,
        edit: impl FnOnce(&T) -> Result<(), EditError>,
    ) -> Result<Vec<Change>, SignError> {
        self.begin();
        match edit(&self.doc) {
            Ok(()) => self.commit(keypair),
            Err(error) => {
                self.roll_back();
                Err(error.into())
            }
        }
    }

    /// Begins a transaction: edits show at once and wait for [`Self::commit`]. One that was open goes on.
    pub fn begin(&mut self) {
        self.begin_as(Rank::Edit);
    }

    /// As [`Self::begin`], for edits of a rank, which counts where this replica edits as the document's source.
    pub fn begin_as(&mut self, rank: Rank) {
        let mut state = self.shared.lock();
        if !state.is_open() {
            state.begin(rank);
        }
    }

    /// Ranks the edits of the open transaction from here on; see [`Self::begin_as`].
    pub fn set_rank(&self, rank: Rank) {
        self.shared.lock().set_rank(rank);
    }

    /// Leaves out op numbers of this replica's author: its next edit has later ones. For a key with which several nodes
    /// sign, each without having heard of the others: where their numbers lie apart, every op has a name of its own.
    pub fn skip_op_numbers(&self, count: u64) {
        self.shared.lock().skip_numbers(count);
    }

    /// Returns how many edits the open transaction has: with [`Coalescing`], to commit small edits together.
    pub fn open_edits(&self) -> usize {
        self.shared.lock().open_edits()
    }

    /// Signs and records the edits of the transaction, as [`Self::transact`] does.
    ///
    /// # Errors
    ///
    /// As [`Self::transact`]; the transaction's edits are taken back.
    pub fn commit(&mut self, keypair: &Keypair) -> Result<Vec<Change>, SignError> {
        self.shared.lock().commit(keypair, false)
    }

    /// Takes back the edits of the transaction.
    pub fn roll_back(&mut self) {
        self.shared.lock().roll_back();
    }

    /// Signs a change without ops: a statement that its author had seen all of its past.
    ///
    /// # Errors
    ///
    /// As [`Self::transact`]. In the default document such a change is invalid, and is not made.
    pub fn save_mark(&mut self, keypair: &Keypair) -> Result<Change, SignError> {
        if self.document() == DocumentId::DEFAULT {
            return Err(SignError::Invalid(Invalidity::OpsInDefaultDocument));
        }
        let mut state = self.shared.lock();
        state.roll_back();
        state.begin(Rank::Edit);
        let mut changes = state.commit(keypair, true)?;
        changes.pop().ok_or(SignError::NoTransaction)
    }

    /// Begins to note what changes, for [`Self::take_patches`].
    pub fn watch(&mut self) {
        self.shared.lock().watch();
    }

    /// Returns what changed in the view since the last call, to be applied one after the other to what the view
    /// was then. None before [`Self::watch`]. Of very many changes, by their number or their bytes, one patch that sets the
    /// whole document.
    pub fn take_patches(&mut self) -> Vec<Patch> {
        self.shared.lock().take_patches()
    }

    /// Returns the view of the whole document, as [`CrdtNode::view`] shows it. The replica keeps it and brings it up to
    /// date when it is asked for again: O(what changed since) as long as nobody else holds what was returned before, and
    /// O(document) the first time and where that is less. It takes up a view's memory beside the document's, and no more
    /// than that again for what has changed.
    pub fn content(&self) -> Arc<JsonValue> {
        self.shared.lock().content()
    }

    /// Applies one op: an own one is recorded, another's is checked and becomes part of the document, waits
    /// for what it stands on, or is refused and changes nothing. What waited for it and comes in with it is not
    /// told: [`Self::apply_changes`] tells it.
    pub fn apply(&mut self, op: SignedOp) -> OpState {
        let mut batch = self.apply_changes(vec![op.into_change()]);
        batch.states.pop().unwrap_or(OpState::NotSigned)
    }

    /// Applies changes that arrived together. They are judged as a whole, in any order.
    ///
    /// Of consecutive changes of one author only the last signature is checked, but in the default document, whose
    /// v1 peers need every change to be vouched for. Many signatures are checked on several threads.
    pub fn apply_changes(&mut self, changes: Vec<Change>) -> Batch {
        let known = self.known(&changes);
        let checked = if self.document() == DocumentId::DEFAULT {
            self.checker.check_new(changes, &known)
        } else {
            self.checker.check_covered(changes, &known)
        };
        self.apply_checked(checked)
    }

    /// Returns which of the changes are part of the document: their signatures need no look.
    pub fn known(&self, changes: &[Change]) -> Vec<bool> {
        let state = self.shared.lock();
        changes.iter().map(|change| state.history().find_change(change).is_some()).collect()
    }

    /// As [`Self::apply_changes`], for changes whose signatures were checked elsewhere: outside of the lock
    /// that guards this replica, on another thread.
    pub fn apply_checked(&mut self, changes: Vec<CheckedChange>) -> Batch {
        self.shared.lock().apply(changes)
    }

    /// Loads a history that this node has checked and stored before. Signatures are not checked again.
    ///
    /// # Errors
    ///
    /// [`LoadError`] at the first change that does not follow from those before it.
    pub fn load(&mut self, changes: Vec<Change>) -> Result<(), LoadError> {
        self.load_vouched(changes.into_iter().map(|change| (change, true)))
    }

    /// As [`Self::load`], with whether each change's own signature is known to be valid. One that is not is passed on
    /// with the later change that covers it.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_vouched(
        &mut self,
        changes: impl IntoIterator<Item = (Change, bool)>,
    ) -> Result<(), LoadError> {
        self.shared.lock().load(changes)
    }

    /// Sets whose changes are let in, `None` for everybody's; this replica's own author always is. Another
    /// author's change waits until a trusted author's change stands on it. What waits and may now come in
    /// does, and is returned.
    pub fn set_trust(&mut self, trust: Option<BTreeSet<AuthorId>>) -> Batch {
        self.shared.lock().set_trust(trust)
    }

    /// Sets whose changes are not let in although [`Self::set_trust`] may say so: of keys that lied, or that were
    /// lost. What of theirs is here stays, and what trusted authors build on comes in all the same: or else the
    /// replica would part from all others. What waits and may now come in does, and is returned.
    pub fn set_distrust(&mut self, distrust: BTreeSet<AuthorId>) -> Batch {
        self.shared.lock().set_distrust(distrust)
    }

    /// Returns who edits here.
    pub fn author(&self) -> AuthorId {
        self.shared.lock().author_id()
    }

    /// Returns which document this is a replica of.
    pub fn document(&self) -> DocumentId {
        self.shared.lock().history().document
    }

    /// Returns the changes that no known change builds on, ascending.
    pub fn heads(&self) -> Vec<Digest> {
        self.shared.lock().history().heads()
    }

    /// Returns the changes by an author that no other change by that author has seen, ascending: one, unless the author
    /// signed on two sides and has not joined them since.
    pub fn last_of(&self, author: &AuthorId) -> Vec<Digest> {
        self.shared.lock().history().last_of(author)
    }

    /// Returns what this replica knows of each author's chain.
    pub fn version_vector(&self) -> VersionVector {
        self.shared.lock().history().version_vector()
    }

    /// Returns the seq and the digest of the change that an author's next one follows.
    pub fn tip_of(&self, author: &AuthorId) -> Option<(u64, Digest)> {
        self.shared.lock().history().tip_of(author)
    }

    /// Returns what a peer with a version vector holds of this document, to tell what it lacks.
    ///
    /// `common` names further changes that it is known to hold. Of authors of whom the peer names a tip that is
    /// not known here nothing will be given, unless they are `settled`: what they share was found already and is
    /// named in `common`. With `accepts` only changes by these authors are given, and all that they stand on.
    /// O(authors).
    pub fn holdings(
        &self,
        theirs: &VersionVector,
        common: &[Digest],
        settled: &BTreeSet<AuthorId>,
        accepts: Option<&BTreeSet<AuthorId>>,
    ) -> Holdings {
        self.shared.lock().history().holdings(theirs, common, settled, accepts)
    }

    /// Notes what else a peer holds, and whose chains are settled; see [`Self::holdings`]. What was given to it
    /// already will not be given again. O(authors).
    pub fn learn_holdings(
        &self,
        holdings: &mut Holdings,
        theirs: &VersionVector,
        common: &[Digest],
        settled: &BTreeSet<AuthorId>,
    ) {
        self.shared.lock().history().learn_holdings(holdings, theirs, common, settled);
    }

    /// Returns the next changes that a peer lacks, each after its past: up to `count` and `bytes`, but at least
    /// one if there is any, and more where only a later one vouches for an earlier one. Changes that came after
    /// `holdings` was made are not among them. O(changes since the first that the peer lacks).
    pub fn missing(&self, holdings: &mut Holdings, count: usize, bytes: usize) -> Vec<Missing> {
        self.shared.lock().history().missing(holdings, count, bytes)
    }

    /// Returns the change at a seq of the chain that ends with `tip`; none if the tip is not known, or the chain
    /// is shorter.
    pub fn on_chain(&self, tip: &Digest, seq: u64) -> Option<Digest> {
        let state = self.shared.lock();
        let history = state.history();
        let at = history.on_chain(history.find(tip)?, seq.try_into().ok()?)?;
        Some(history.digest(at))
    }

    /// Returns whether a change is part of the document.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.shared.lock().history().find(digest).is_some()
    }

    /// Returns a change of the document's history.
    pub fn change(&self, digest: &Digest) -> Option<Change> {
        let state = self.shared.lock();
        Some(state.history().change(state.history().find(digest)?))
    }

    /// Returns whether this replica has checked the change's own signature. One without is authentic by a
    /// later change of its author, and must not be passed on alone.
    pub fn is_vouched(&self, digest: &Digest) -> bool {
        let state = self.shared.lock();
        state.history().find(digest).is_some_and(|change| state.history().row(change).is_vouched)
    }

    /// Returns how many changes the history has.
    pub fn change_count(&self) -> usize {
        self.shared.lock().history().len()
    }

    /// Returns how many changes wait in the causal queue.
    pub fn causal_queue_len(&self) -> usize {
        self.causal_queue_stats().len
    }

    /// Returns how full the causal queue is.
    pub fn causal_queue_stats(&self) -> QueueStats {
        self.shared.lock().queue().stats()
    }

    /// Returns whether a change waits in the causal queue.
    pub fn is_pending(&self, digest: &Digest) -> bool {
        self.shared.lock().queue().contains(digest)
    }

    /// Returns the evidence of authors that signed two changes after the same one. The document's source author
    /// is exempt: two nodes that follow one source may both have written before they met.
    pub fn equivocations(&self) -> Vec<Equivocation> {
        self.shared.lock().equivocations()
    }

    /// Returns up to `limit` changes of the history from the `from`-th on: who did what, in causal order.
    pub fn history(&self, from: usize, limit: usize) -> Vec<HistoryEntry> {
        self.shared.lock().history_entries(from, limit)
    }

    /// Returns the document as it was for somebody who had seen these heads and nothing else: a view, which
    /// signs nothing.
    ///
    /// O(document), and O(changes since the heads that were asked for last) or, where these were not earlier,
    /// O(history). The replica keeps what it built for the next call.
    ///
    /// # Errors
    ///
    /// [`UnknownHead`] for a head that this replica does not know.
    pub fn at(&self, heads: &[Digest]) -> Result<Self, UnknownHead> {
        let state = self.shared.lock().at(heads)?;
        Ok(Self::over(state))
    }

    /// Looks at the document as it was for somebody who had seen these heads and nothing else: as [`Self::at`], but
    /// without a copy of it. O(changes since the heads that were asked for last) or, where these were not earlier,
    /// O(history).
    ///
    /// # Errors
    ///
    /// [`UnknownHead`] for a head that this replica does not know.
    pub fn with_past<R>(&self, heads: &[Digest], look: impl FnOnce(&Self) -> R) -> Result<R, UnknownHead> {
        let past = self.shared.lock().past_at(heads)?;
        let past = Self::over(*past);
        let seen = look(&past);
        let Self { doc, shared, .. } = past;
        drop(doc);
        // Somebody who keeps a handle keeps the past with it.
        if let Some(shared) = Arc::into_inner(shared) {
            self.shared.lock().keep_past(Box::new(shared.into_state()));
        }
        Ok(seen)
    }

    /// Returns the changes that somebody who has seen these heads lacks, each after its past. O(these).
    ///
    /// # Errors
    ///
    /// [`UnknownHead`] for a head that this replica does not know.
    pub fn unseen_by(&self, heads: &[Digest]) -> Result<Vec<Digest>, UnknownHead> {
        self.shared.lock().unseen_by(heads)
    }

    /// Returns whether a change was made by somebody who had seen another one, or is it. False where one is not known.
    pub fn has_seen(&self, later: &Digest, earlier: &Digest) -> bool {
        let state = self.shared.lock();
        let (later, earlier) = (state.history().find(later), state.history().find(earlier));
        later.zip(earlier).is_some_and(|(later, earlier)| state.history().is_in_past(earlier, later))
    }

    /// Takes in from another replica of this document what some of its heads have seen and this one lacks: a replica
    /// of the past that was got by [`Self::at`] or [`Self::author_at`] goes on to later heads. Edits that are not signed
    /// are taken back. Signatures are not checked again, and whom this replica trusts does not matter: the other one has
    /// let them in. O(what is lacking).
    ///
    /// # Errors
    ///
    /// [`CatchUpError`]; nothing has changed.
    pub fn catch_up(&mut self, from: &Self, heads: &[Digest]) -> Result<(), CatchUpError> {
        if Arc::ptr_eq(&self.shared, &from.shared) {
            return Ok(());
        }
        self.shared.lock().catch_up(&from.shared.lock(), heads)
    }

    /// Makes edits as somebody who has seen these heads and nothing else: positions, ids and values are as they
    /// were there, and the change is concurrent to all that came since. It is applied and recorded here.
    ///
    /// The heads must contain this author's last change, so that its chain does not fork.
    ///
    /// # Errors
    ///
    /// As [`Self::transact`], and for heads that are not known or lack the author's last change.
    pub fn transact_at(
        &mut self,
        heads: &[Digest],
        keypair: &Keypair,
        rank: Rank,
        edit: impl FnOnce(&T) -> Result<(), EditError>,
    ) -> Result<Vec<Change>, SignError> {
        let state = self.shared.lock().author_at(heads)?;
        let mut past = Self::over(state);
        past.begin_as(rank);
        let changes = match edit(&past.doc) {
            Ok(()) => past.commit(keypair)?,
            Err(error) => return Err(error.into()),
        };
        drop(past);
        let checked = changes.iter().cloned().map(CheckedChange::own).collect();
        let _ = self.apply_checked(checked);
        Ok(changes)
    }

    /// Returns a replica that has seen these heads and nothing else, to author there with another key than this
    /// replica's: with the key of the source that the document follows. What it commits is to be applied here, as a
    /// peer's changes are. Cost as [`Self::at`].
    ///
    /// # Errors
    ///
    /// [`SignError::UnknownHead`], and [`SignError::WithoutOwn`] where the heads lack that author's last change.
    pub fn author_at(&self, heads: &[Digest], author: AuthorId) -> Result<Self, SignError> {
        let state = self.shared.lock().author_with(heads, author)?;
        Ok(Self::over(state))
    }

    /// Returns the patches that lead from the view at some heads to that at others. Cost as two calls of
    /// [`Self::at`].
    ///
    /// # Errors
    ///
    /// [`UnknownHead`] for a head that this replica does not know.
    pub fn compare(&self, from: &[Digest], to: &[Digest]) -> Result<Vec<Patch>, UnknownHead> {
        let mut state = self.shared.lock();
        let (from, to) = (state.at(from)?, state.at(to)?);
        Ok(Comparison::of(&from, &to))
    }

    /// Writes the document as this node keeps it for itself: opened again without replaying anything. Edits that
    /// are not signed are left out, and so are changes that wait in the causal queue. O(document), and
    /// O(changes since the last time).
    ///
    /// Compacts this replica, as [`Self::compact`] does.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::History`] where a change cannot be compressed.
    pub fn save(&mut self) -> Result<Snapshot, SnapshotError> {
        let mut state = self.shared.lock();
        if state.has_unsigned() {
            let mut settled = state.clone();
            settled.settle_for_copy();
            return settled.save();
        }
        state.save()
    }

    /// Opens what [`Self::save`] wrote, to be edited with `keypair`. Signatures are not checked again: a snapshot
    /// is a node's own, and what comes from others is [`crate::bundle`]s of changes.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] for a damaged snapshot, or one of another type of document. Load the changes instead.
    pub fn open(keypair: &Keypair, snapshot: &Snapshot) -> Result<Self, SnapshotError> {
        Ok(Self::over(State::open(snapshot, keypair.author(), T::describe)?))
    }

    /// Compresses what is seldom asked for: old changes, their signatures and overwritten values. Nothing is lost:
    /// who asks for it finds it, more slowly the first time. Does nothing while edits wait for their signature.
    ///
    /// In all but the default document signatures go that a later one of the same author covers; such changes are
    /// no longer vouched for by themselves.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::History`] where a change cannot be compressed.
    pub fn compact(&mut self) -> Result<(), SnapshotError> {
        self.shared.lock().compact()
    }

    /// Returns what the document takes up in memory. O(containers).
    pub fn memory(&self) -> MemoryUse {
        self.shared.lock().memory()
    }

    /// Returns what a change of the history touched. O(ops); ops without effect in this type are left out.
    pub fn effects(&self, change: &Change) -> Vec<Edit> {
        self.shared.lock().effects(change)
    }
}

/// Copies the whole replica. Edits that are not signed stay with the original.
impl<T: CrdtNode> Clone for BaseCrdt<T> {
    fn clone(&self) -> Self {
        let mut state = self.shared.lock().clone();
        state.settle_for_copy();
        Self::over(state)
    }
}

impl<T: CrdtNode> fmt::Debug for BaseCrdt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseCrdt")
            .field("document", &self.document())
            .field("author", &self.author())
            .field("changes", &self.change_count())
            .field("doc", self.doc.handle())
            .finish()
    }
}

//! Documents: [`BaseCrdt`] and what a type needs to be part of one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

pub use bft_json_crdt_derive::{CrdtNode, add_crdt_fields};

pub use crate::change::{Change, Digest, DocumentId};
pub use crate::handle::{NodeHandle, UnsignedOp};
pub use crate::limits::CAUSAL_QUEUE_MAX;
pub use crate::schema::{TypeIx, TypeTable};
pub use crate::signed_op::SignedOp;
pub use crate::state::admit::{Batch, LoadError, OpState};
pub use crate::state::history::{Equivocation, Invalidity};
pub use crate::state::integrate::NoEffect;
pub use crate::state::local::{EditError, SignError};
pub use crate::state::queue::QueueStats;
pub use crate::state::view::{Conflict, Edit, EditKind, PathSegment};
pub use crate::value::{JsonValue, RegisterValue};
pub use crate::verify::{CheckedChange, Checker};

use crate::handle::Shared;
use crate::keypair::{AuthorId, Keypair};
use crate::state::State;
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

    /// Applies one op: an own one is recorded, another's is checked and becomes part of the document, waits
    /// for what it stands on, or is refused and changes nothing.
    pub fn apply(&mut self, op: SignedOp) -> OpState {
        let mut batch = self.apply_changes(vec![op.into_change()]);
        batch.states.pop().unwrap_or(OpState::NotSigned)
    }

    /// Applies changes that arrived together. They are judged as a whole, in any order.
    pub fn apply_changes(&mut self, changes: Vec<Change>) -> Batch {
        let known = self.known(&changes);
        let checked = self.checker.check_new(changes, &known);
        self.apply_checked(checked)
    }

    /// Returns which of the changes are part of the document: their signatures need no look.
    pub fn known(&self, changes: &[Change]) -> Vec<bool> {
        let state = self.shared.lock();
        changes.iter().map(|change| state.history().find(&change.digest()).is_some()).collect()
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
        self.shared.lock().load(changes)
    }

    /// Sets whose changes are let in, `None` for everybody's; this replica's own author always is. Another
    /// author's change waits until a trusted author's change stands on it. What waits and may now come in
    /// does, and is returned.
    pub fn set_trust(&mut self, trust: Option<BTreeSet<AuthorId>>) -> Batch {
        self.shared.lock().set_trust(trust)
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

    /// Returns what this replica knows of each author's chain.
    pub fn version_vector(&self) -> VersionVector {
        self.shared.lock().history().version_vector()
    }

    /// Returns whether a change is part of the document.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.shared.lock().history().find(digest).is_some()
    }

    /// Returns a change of the document's history.
    pub fn change(&self, digest: &Digest) -> Option<Change> {
        let state = self.shared.lock();
        state.history().change(state.history().find(digest)?).ok()
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

    /// Returns the evidence of authors that signed two changes after the same one.
    pub fn equivocations(&self) -> Vec<Equivocation> {
        self.shared.lock().history().equivocations()
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
        state.give_up_all();
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

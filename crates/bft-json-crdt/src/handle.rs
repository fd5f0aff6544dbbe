//! Handles: what the fields of a user's struct hold.
//!
//! A document has one state behind one lock; every field, element and unsigned edit holds a pointer to it
//! and a number. So the struct can be read and edited through shared references, in safe code.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::change::Digest;
use crate::keypair::Keypair;
use crate::op::{OpId, ROOT_ID};
use crate::signed_op::SignedOp;
use crate::state::State;
use crate::state::history::Made;
use crate::state::local::EditError;
use crate::state::log::HistoryEntry;
use crate::state::nodes::NodeIx;
use crate::state::signing::SignError;
use crate::value::JsonValue;

/// A document's state and its lock.
pub(crate) struct Shared {
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn new(state: State) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(state) })
    }

    pub(crate) fn into_state(self) -> State {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic below the lock is a bug of ours; the state it leaves is still the best there is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names one node of a document. 16 bytes; a clone is another handle on the same node.
#[derive(Clone)]
pub struct NodeHandle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: NodeIx,
}

impl NodeHandle {
    /// Returns the handle of a struct's `index`-th field, in the order of declaration.
    pub fn field(&self, index: u32) -> Self {
        let first = self.shared.lock().nodes().node(self.node).payload;
        Self { shared: Arc::clone(&self.shared), node: first + index }
    }

    /// Shows the node as plain JSON, in one walk of the document.
    pub fn view(&self) -> JsonValue {
        self.shared.lock().view(self.node)
    }

    /// Returns who edited the node or anything in it, what and when, in causal order. O(history).
    pub fn history(&self) -> Vec<HistoryEntry> {
        self.shared.lock().node_history(self.node)
    }

    pub(crate) fn at(&self, node: NodeIx) -> Self {
        Self { shared: Arc::clone(&self.shared), node }
    }

    pub(crate) fn edit(&self, make: impl FnOnce(&mut State) -> Result<Made, EditError>) -> UnsignedOp {
        let mut state = self.shared.lock();
        let made = make(&mut state);
        // An edit of a transaction is signed with it.
        let is_settled = state.is_open() && made.is_ok();
        drop(state);
        UnsignedOp { shared: Arc::clone(&self.shared), made, is_settled }
    }
}

impl fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.view())
    }
}

/// An edit that shows in this replica and waits for its signature.
///
/// Sign edits in the order in which they were made. One that is dropped unsigned is taken back. In a
/// transaction edits are signed together, and this only says what became of one: [`Self::keep`].
#[must_use = "an edit that is dropped unsigned is taken back"]
pub struct UnsignedOp {
    shared: Arc<Shared>,
    made: Result<Made, EditError>,
    /// Signed, taken back, or part of a transaction: nothing is left to do on drop.
    is_settled: bool,
}

impl UnsignedOp {
    /// Returns the edit, or why it was not made.
    pub(crate) fn checked(mut self) -> Result<Self, EditError> {
        match &self.made {
            Ok(_) => Ok(self),
            Err(error) => {
                let error = error.clone();
                self.is_settled = true;
                Err(error)
            }
        }
    }

    /// Leaves the edit to the transaction that it was made in. Outside of one the edit is taken back.
    ///
    /// # Errors
    ///
    /// [`EditError`] where the edit was not made. A transaction in which nobody asks fails as a whole.
    pub fn keep(self) -> Result<(), EditError> {
        self.checked().map(drop)
    }

    /// Returns the id of the op, and of the element that it inserts. [`ROOT_ID`] for an edit that failed.
    pub fn id(&self) -> OpId {
        match &self.made {
            Ok(made) => self.shared.lock().id_of(*made),
            Err(_) => ROOT_ID,
        }
    }

    /// Signs the edit and makes it part of this replica's history; `apply` records it.
    ///
    /// An edit that failed, or that cannot be signed, gives an op that every replica refuses and leaves
    /// nothing behind; [`Self::try_sign`] says why.
    pub fn sign(self, keypair: &Keypair) -> SignedOp {
        self.sign_with_dependencies(keypair, Vec::new())
    }

    /// As [`Self::sign`], for an edit that must not be seen before `dependencies`. Every edit stands on all
    /// that this replica has seen, so naming what it has seen adds nothing.
    pub fn sign_with_dependencies(self, keypair: &Keypair, dependencies: Vec<&SignedOp>) -> SignedOp {
        let (document, author) = {
            let state = self.shared.lock();
            (state.history().document, state.author_id())
        };
        let dependencies: Vec<Digest> = dependencies.into_iter().map(SignedOp::digest).collect();
        self.sign_after(keypair, &dependencies).unwrap_or_else(|_| SignedOp::refused(document, author))
    }

    /// Signs the edit and makes it part of this replica's history.
    ///
    /// # Errors
    ///
    /// [`SignError`] says what to do; the edit has been taken back.
    pub fn try_sign(self, keypair: &Keypair) -> Result<SignedOp, SignError> {
        self.sign_after(keypair, &[])
    }

    /// As [`Self::try_sign`], and checks that this replica knows `dependencies`.
    ///
    /// # Errors
    ///
    /// As [`Self::try_sign`].
    pub fn sign_after(mut self, keypair: &Keypair, dependencies: &[Digest]) -> Result<SignedOp, SignError> {
        let made = self.made.clone()?;
        if std::mem::replace(&mut self.is_settled, true) {
            return Err(SignError::InTransaction);
        }
        let signed = self.shared.lock().sign(made.change, keypair, dependencies);
        Ok(SignedOp::of_one_op(signed?))
    }
}

impl Drop for UnsignedOp {
    fn drop(&mut self) {
        match (&self.made, self.is_settled) {
            (_, true) => {}
            (Ok(made), false) => self.shared.lock().give_up(made.change),
            (Err(error), false) => self.shared.lock().fail_open(error.clone()),
        }
    }
}

impl fmt::Debug for UnsignedOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnsignedOp").field("made", &self.made).finish_non_exhaustive()
    }
}

//! Registers: one value, and the concurrent ones behind it.

use std::fmt;
use std::marker::PhantomData;

use crate::handle::{NodeHandle, UnsignedOp};
use crate::json_crdt::CrdtNode;
use crate::schema::{TypeIx, TypeTable};
use crate::state::local::EditError;
use crate::state::view::Conflict;
use crate::value::{JsonValue, RegisterValue};

/// A register of `T` that keeps every value which no known write has overwritten.
///
/// [`Self::view`] shows one of them, the same on every replica: that of the highest lamport, then author,
/// then digest. [`Self::conflicts`] shows the rest; any new write overwrites them all.
pub struct LwwRegisterCrdt<T> {
    handle: NodeHandle,
    value: PhantomData<fn() -> T>,
}

impl<T: RegisterValue> LwwRegisterCrdt<T> {
    /// Sets the value. A value that is not a `T` gives an op that every replica refuses.
    pub fn set(&self, value: impl Into<JsonValue>) -> UnsignedOp {
        self.handle.edit(|state| state.edit_set(self.handle.node, value.into()))
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// [`EditError`] where the value is not a `T` or cannot be signed; nothing changed.
    pub fn try_set(&self, value: impl Into<JsonValue>) -> Result<UnsignedOp, EditError> {
        self.set(value).checked()
    }

    /// Shows the value, or the type's default where nobody has written.
    pub fn view(&self) -> JsonValue {
        self.handle.view()
    }

    /// Returns the concurrent values besides the one that is shown, the next in order first.
    pub fn conflicts(&self) -> Vec<Conflict> {
        self.handle.shared.lock().register_conflicts(self.handle.node)
    }
}

impl<T: RegisterValue> CrdtNode for LwwRegisterCrdt<T> {
    fn describe(types: &mut TypeTable) -> TypeIx {
        types.register::<T>()
    }
    fn attach(handle: NodeHandle) -> Self {
        Self { handle, value: PhantomData }
    }
    fn handle(&self) -> &NodeHandle {
        &self.handle
    }
}

impl<T> Clone for LwwRegisterCrdt<T> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), value: PhantomData }
    }
}

impl<T> fmt::Debug for LwwRegisterCrdt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

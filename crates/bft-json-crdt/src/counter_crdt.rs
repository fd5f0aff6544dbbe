//! Counters: numbers that many add to at once.

use std::fmt;

use crate::handle::{NodeHandle, UnsignedOp};
use crate::json_crdt::CrdtNode;
use crate::schema::{TypeIx, TypeTable};
use crate::state::local::EditError;
use crate::value::JsonValue;

/// A number that starts at 0, or at the integer of its struct's literal, and to which every `add` counts.
///
/// Sums are kept in 128 bits and show clamped to 64: no order of additions overflows.
pub struct CounterCrdt {
    handle: NodeHandle,
}

impl CounterCrdt {
    /// Adds a number, which may be negative.
    pub fn add(&self, delta: i64) -> UnsignedOp {
        self.handle.edit(|state| state.edit_add(self.handle.node, delta))
    }

    /// Adds a number, which may be negative.
    ///
    /// # Errors
    ///
    /// [`EditError`] where the counter cannot be named; nothing changed.
    pub fn try_add(&self, delta: i64) -> Result<UnsignedOp, EditError> {
        self.add(delta).checked()
    }

    /// Shows the sum.
    pub fn view(&self) -> JsonValue {
        self.handle.view()
    }
}

impl CrdtNode for CounterCrdt {
    fn describe(types: &mut TypeTable) -> TypeIx {
        types.counter::<Self>()
    }
    fn attach(handle: NodeHandle) -> Self {
        Self { handle }
    }
    fn handle(&self) -> &NodeHandle {
        &self.handle
    }
}

impl Clone for CounterCrdt {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone() }
    }
}

impl fmt::Debug for CounterCrdt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

//! Maps: entries by key, where adding wins over a concurrent removal.

use std::fmt;
use std::marker::PhantomData;

use crate::handle::{NodeHandle, UnsignedOp};
use crate::json_crdt::CrdtNode;
use crate::schema::{TypeIx, TypeTable};
use crate::state::local::EditError;
use crate::state::view::Conflict;
use crate::value::JsonValue;

/// A map from strings to `T`.
///
/// Concurrent puts under one key are one entry. A put, or an edit inside an entry, that is concurrent to the
/// entry's removal brings it back whole; a put that has seen the removal begins an empty one.
pub struct MapCrdt<T> {
    handle: NodeHandle,
    value: PhantomData<fn() -> T>,
}

impl<T: CrdtNode> MapCrdt<T> {
    /// Puts a value under a key. Where the key has an entry, its registers are overwritten (to their default
    /// where the content has no field for them), and lists and maps inside are added to.
    ///
    /// Content that is not a `T` gives an op that every replica refuses.
    pub fn put(&self, key: &str, content: impl Into<JsonValue>) -> UnsignedOp {
        self.handle.edit(|state| state.edit_put(self.handle.node, key, content.into()))
    }

    /// Puts a value under a key.
    ///
    /// # Errors
    ///
    /// [`EditError`] where the content is not a `T` or the key is too long; nothing changed.
    pub fn try_put(&self, key: &str, content: impl Into<JsonValue>) -> Result<UnsignedOp, EditError> {
        self.put(key, content).checked()
    }

    /// Removes the entry of a key.
    pub fn remove(&self, key: &str) -> UnsignedOp {
        self.handle.edit(|state| state.edit_remove(self.handle.node, key))
    }

    /// Removes the entry of a key.
    ///
    /// # Errors
    ///
    /// [`EditError::NoSuchKey`] where there is none; nothing changed.
    pub fn try_remove(&self, key: &str) -> Result<UnsignedOp, EditError> {
        self.remove(key).checked()
    }

    /// Returns the entry of a key.
    pub fn get(&self, key: &str) -> Option<T> {
        let node = self.handle.shared.lock().live_entry(self.handle.node, key)?;
        Some(T::attach(self.handle.at(node)))
    }

    /// Returns the keys, ascending by bytes.
    pub fn keys(&self) -> Vec<String> {
        self.handle.shared.lock().keys(self.handle.node)
    }

    /// Returns how many entries there are. O(keys).
    pub fn len(&self) -> usize {
        self.keys().len()
    }

    /// Returns whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what a key holds besides what it shows.
    pub fn conflicts(&self, key: &str) -> Vec<Conflict> {
        self.handle.shared.lock().map_conflicts(self.handle.node, key)
    }
}

impl<T: CrdtNode> CrdtNode for MapCrdt<T> {
    fn describe(types: &mut TypeTable) -> TypeIx {
        types.map::<Self>(T::describe)
    }
    fn attach(handle: NodeHandle) -> Self {
        Self { handle, value: PhantomData }
    }
    fn handle(&self) -> &NodeHandle {
        &self.handle
    }
}

impl<T> Clone for MapCrdt<T> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), value: PhantomData }
    }
}

impl<T> fmt::Debug for MapCrdt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

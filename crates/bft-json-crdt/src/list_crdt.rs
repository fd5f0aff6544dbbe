//! Lists: elements in an order that concurrent inserts do not interleave.

use std::fmt;
use std::ops::Index;
use std::sync::{Arc, OnceLock};

use crate::handle::{NodeHandle, UnsignedOp};
use crate::json_crdt::CrdtNode;
use crate::op::{OpId, ROOT_ID};
use crate::schema::{TypeIx, TypeTable};
use crate::state::local::EditError;
use crate::state::view::Conflict;
use crate::value::JsonValue;

/// A list of `T`, ordered by Fugue.
///
/// Elements are named by the id of the op that inserted them; positions count live elements. A deleted
/// element stays deleted; edits in it that the deletion had not seen show in [`Self::conflicts`].
pub struct ListCrdt<T> {
    handle: NodeHandle,
    cells: Arc<Cells<T>>,
}

impl<T: CrdtNode> ListCrdt<T> {
    /// Inserts right after the element `after`, or at the beginning after [`ROOT_ID`]. O(log n).
    ///
    /// Content that is not a `T`, or an unknown `after`, gives an op that every replica refuses.
    pub fn insert(&self, after: OpId, content: impl Into<JsonValue>) -> UnsignedOp {
        self.handle.edit(|state| {
            let left = match after {
                ROOT_ID => None,
                id => Some(state.find_by_id(self.handle.node, &id).ok_or(EditError::NoSuchElement(id))?),
            };
            state.edit_insert(self.handle.node, left, content.into())
        })
    }

    /// Inserts right after the element `after`.
    ///
    /// # Errors
    ///
    /// [`EditError`] where the content is not a `T` or `after` is unknown; nothing changed.
    pub fn try_insert(&self, after: OpId, content: impl Into<JsonValue>) -> Result<UnsignedOp, EditError> {
        self.insert(after, content).checked()
    }

    /// Inserts at a position; the length means the end.
    pub fn insert_idx(&self, position: usize, content: impl Into<JsonValue>) -> UnsignedOp {
        self.handle.edit(|state| {
            let list = state.nodes().list(self.handle.node);
            let left = match position.checked_sub(1) {
                None => None,
                Some(before) => {
                    Some(list.at(before).ok_or(EditError::OutOfBounds { position, len: list.len() })?)
                }
            };
            state.edit_insert(self.handle.node, left, content.into())
        })
    }

    /// Inserts at the end.
    pub fn push(&self, content: impl Into<JsonValue>) -> UnsignedOp {
        self.handle.edit(|state| {
            let left = state.nodes().list(self.handle.node).last();
            state.edit_insert(self.handle.node, left, content.into())
        })
    }

    /// Inserts at the end.
    ///
    /// # Errors
    ///
    /// [`EditError`] where the content is not a `T`; nothing changed.
    pub fn try_push(&self, content: impl Into<JsonValue>) -> Result<UnsignedOp, EditError> {
        self.push(content).checked()
    }

    /// Deletes an element.
    pub fn delete(&self, id: OpId) -> UnsignedOp {
        self.handle.edit(|state| {
            let element = state.find_by_id(self.handle.node, &id).ok_or(EditError::NoSuchElement(id))?;
            state.edit_delete(self.handle.node, element)
        })
    }

    /// Deletes an element.
    ///
    /// # Errors
    ///
    /// [`EditError::NoSuchElement`] where the list never had it; nothing changed.
    pub fn try_delete(&self, id: OpId) -> Result<UnsignedOp, EditError> {
        self.delete(id).checked()
    }

    /// Deletes the element at a position.
    pub fn delete_idx(&self, position: usize) -> UnsignedOp {
        self.handle.edit(|state| {
            let list = state.nodes().list(self.handle.node);
            let element = list.at(position).ok_or(EditError::OutOfBounds { position, len: list.len() })?;
            state.edit_delete(self.handle.node, element)
        })
    }

    /// Moves an element right behind the element `after`, or to the beginning after [`ROOT_ID`]. It keeps its
    /// id; of concurrent moves the register's order decides. O(log n).
    pub fn move_after(&self, id: OpId, after: OpId) -> UnsignedOp {
        self.handle.edit(|state| {
            let list = self.handle.node;
            let element = state.find_by_id(list, &id).ok_or(EditError::NoSuchElement(id))?;
            let left = match after {
                ROOT_ID => None,
                after => Some(state.find_by_id(list, &after).ok_or(EditError::NoSuchElement(after))?),
            };
            state.edit_move(list, element, left)
        })
    }

    /// Moves the element at position `from` so that it stands at position `to` afterwards.
    pub fn move_idx(&self, from: usize, to: usize) -> UnsignedOp {
        self.handle.edit(|state| {
            let list = state.nodes().list(self.handle.node);
            let at = |position: usize| {
                list.at(position).ok_or(EditError::OutOfBounds { position, len: list.len() })
            };
            let element = at(from)?;
            at(to)?;
            // Taken out, the element leaves the others one position earlier.
            let before = if to > from { Some(to) } else { to.checked_sub(1) };
            let left = before.map(at).transpose()?;
            state.edit_move(self.handle.node, element, left)
        })
    }

    /// Returns how many live elements there are.
    pub fn len(&self) -> usize {
        self.handle.shared.lock().nodes().list(self.handle.node).len()
    }

    /// Returns whether there is no live element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the id of the element at a position. O(log n).
    pub fn id_at(&self, position: usize) -> Option<OpId> {
        let mut state = self.handle.shared.lock();
        let list = state.nodes().list(self.handle.node);
        let made = list.element(list.at(position)?).made;
        Some(state.id_of(made))
    }

    /// Returns the position of an element, if it is live. O(log n).
    pub fn index_of(&self, id: OpId) -> Option<usize> {
        let mut state = self.handle.shared.lock();
        let element = state.find_by_id(self.handle.node, &id)?;
        state.nodes().list(self.handle.node).position(element)
    }

    /// Returns the positions of the live elements whose `field`, a register, shows `value`, ascending.
    ///
    /// O(log n) for each that is found. The first call for a field reads it in every element and makes an
    /// index, which later edits keep up to date. No such field finds nothing.
    pub fn find(&self, field: &str, value: impl Into<JsonValue>) -> Vec<usize> {
        let mut state = self.handle.shared.lock();
        let found = state.find_by_field(self.handle.node, field, &value.into());
        let list = state.nodes().list(self.handle.node);
        found.into_iter().filter_map(|element| list.position(element)).collect()
    }

    /// Returns the element at a position. O(log n).
    pub fn get(&self, position: usize) -> Option<&T> {
        let (element, node) = {
            let state = self.handle.shared.lock();
            let list = state.nodes().list(self.handle.node);
            let element = list.at(position)?;
            (element, list.element(element).node)
        };
        self.cells.get_or_init(element, || T::attach(self.handle.at(node)))
    }

    /// Returns the live elements, in order.
    pub fn view(&self) -> Vec<T> {
        let nodes: Vec<u32> = {
            let state = self.handle.shared.lock();
            let list = state.nodes().list(self.handle.node);
            list.iter().map(|element| list.element(element).node).collect()
        };
        nodes.into_iter().map(|node| T::attach(self.handle.at(node))).collect()
    }

    /// Iterates over the elements that are live now, in order.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<T> {
        self.view().into_iter()
    }

    /// Returns edits inside deleted elements that the deletions had not seen, with the element's id.
    pub fn conflicts(&self) -> Vec<(OpId, Conflict)> {
        self.handle.shared.lock().list_conflicts(self.handle.node)
    }
}

/// # Panics
///
/// If the position is not below [`ListCrdt::len`]; [`ListCrdt::get`] does not.
impl<T: CrdtNode> Index<usize> for ListCrdt<T> {
    type Output = T;
    fn index(&self, position: usize) -> &T {
        match self.get(position) {
            Some(element) => element,
            None => panic!("position {position} is beyond the end of a list of {}", self.len()),
        }
    }
}

impl<T: CrdtNode> CrdtNode for ListCrdt<T> {
    fn describe(types: &mut TypeTable) -> TypeIx {
        types.list::<Self>(T::describe)
    }
    fn attach(handle: NodeHandle) -> Self {
        Self { handle, cells: Arc::default() }
    }
    fn handle(&self) -> &NodeHandle {
        &self.handle
    }
}

impl<T> Clone for ListCrdt<T> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), cells: Arc::clone(&self.cells) }
    }
}

impl<T> fmt::Debug for ListCrdt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

/// Handles of elements, made at first touch and never moved, so that indexing can lend them out: chunks of
/// 32, 64, 128 … cells.
struct Cells<T> {
    chunks: OnceLock<Box<[Chunk<T>; 27]>>,
}

type Chunk<T> = OnceLock<Box<[OnceLock<T>]>>;

impl<T> Default for Cells<T> {
    fn default() -> Self {
        Self { chunks: OnceLock::new() }
    }
}

impl<T> Cells<T> {
    fn get_or_init(&self, index: u32, make: impl FnOnce() -> T) -> Option<&T> {
        let (chunk, offset) = locate(index);
        let chunks = self.chunks.get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        let cells = chunks
            .get(chunk)?
            .get_or_init(|| std::iter::repeat_with(OnceLock::new).take(32 << chunk).collect());
        Some(cells.get(offset)?.get_or_init(make))
    }
}

/// The chunk of a cell and its place there.
fn locate(index: u32) -> (usize, usize) {
    let shifted = u64::from(index) + 32;
    let chunk = shifted.ilog2() - 5;
    (chunk as usize, (shifted - (32 << chunk)) as usize)
}

#[cfg(test)]
mod tests {
    use super::locate;

    #[test]
    fn cells_fill_chunks_without_gaps() {
        let mut next = (0, 0);
        for index in 0..5_000 {
            assert_eq!(locate(index), next);
            next.1 += 1;
            if next.1 == 32 << next.0 {
                next = (next.0 + 1, 0);
            }
        }
    }
}

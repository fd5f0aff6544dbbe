//! Texts: characters that many insert and cut at once.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::handle::{NodeHandle, UnsignedOp};
use crate::json_crdt::CrdtNode;
use crate::op::LongName;
use crate::schema::{TypeIx, TypeTable};
use crate::state::local::EditError;
use crate::value::JsonValue;

/// A text, ordered by Fugue: what one writes in one go is never interleaved with what another writes there.
///
/// Positions and lengths count Unicode scalar values. An edit, local or remote, is O(log n) in the stretches
/// that the text consists of.
///
/// ```
/// use bft_json_crdt::json_crdt::{BaseCrdt, CrdtNode, add_crdt_fields};
/// use bft_json_crdt::{DocumentId, keypair::make_keypair, text_crdt::TextCrdt};
///
/// #[add_crdt_fields]
/// #[derive(Clone, CrdtNode, Debug)]
/// struct Note {
///     body: TextCrdt,
/// }
///
/// let alice = make_keypair();
/// let mut note = BaseCrdt::<Note>::with_document(&alice, DocumentId([1; 32]));
/// note.transact(&alice, |doc| {
///     doc.body.insert(0, "Mush!").keep()?;
///     doc.body.cut(4, 1).keep()?;
///     doc.body.insert(4, ", dogs").keep()
/// })?;
/// assert_eq!(note.doc.body.text(), "Mush, dogs");
/// # Ok::<(), bft_json_crdt::json_crdt::SignError>(())
/// ```
#[derive(Clone)]
pub struct TextCrdt {
    handle: NodeHandle,
}

/// A place in a text that stays where it is while others type: before or after a character, or at one end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    character: Option<LongName>,
    bias: Bias,
}

/// To which side a cursor holds on: what is typed at it comes to stand on its other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bias {
    /// To the character before it, or to the text's beginning.
    Before,
    /// To the character after it, or to the text's end.
    After,
}

impl TextCrdt {
    /// Inserts characters at a position; the length means the end.
    ///
    /// A position beyond the end, or nothing to insert, gives an op that every replica refuses.
    pub fn insert(&self, position: usize, content: &str) -> UnsignedOp {
        self.handle.edit(|state| state.edit_type(self.handle.node, position, content))
    }

    /// Inserts characters at a position.
    ///
    /// # Errors
    ///
    /// [`EditError`] where the position is beyond the end or there is nothing to insert; nothing changed.
    pub fn try_insert(&self, position: usize, content: &str) -> Result<UnsignedOp, EditError> {
        self.insert(position, content).checked()
    }

    /// Cuts `count` characters out from a position on.
    pub fn cut(&self, position: usize, count: usize) -> UnsignedOp {
        self.handle.edit(|state| state.edit_cut(self.handle.node, position, count))
    }

    /// Cuts `count` characters out from a position on.
    ///
    /// # Errors
    ///
    /// [`EditError`] where not so many are there, or `count` is 0; nothing changed.
    pub fn try_cut(&self, position: usize, count: usize) -> Result<UnsignedOp, EditError> {
        self.cut(position, count).checked()
    }

    /// Replaces `count` characters from a position on: a cut and an insert, either only where it has something
    /// to do. Sign them in this order, or make them in a transaction.
    pub fn splice(&self, position: usize, count: usize, content: &str) -> Vec<UnsignedOp> {
        let cut = (count > 0).then(|| self.cut(position, count));
        let insert = (!content.is_empty()).then(|| self.insert(position, content));
        cut.into_iter().chain(insert).collect()
    }

    /// Returns how many characters there are.
    pub fn len(&self) -> usize {
        self.handle.shared.lock().nodes().text(self.handle.node).len()
    }

    /// Returns whether there is no character.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the whole text. O(n).
    pub fn text(&self) -> String {
        self.handle.shared.lock().nodes().text(self.handle.node).content()
    }

    /// Returns `count` characters from a position on, or as many as there are.
    pub fn slice(&self, position: usize, count: usize) -> String {
        self.handle.shared.lock().nodes().text(self.handle.node).slice(position, count)
    }

    /// Shows the text as a string.
    pub fn view(&self) -> JsonValue {
        self.handle.view()
    }

    /// Returns a cursor at a position, which a later [`Self::position_of`] finds again on any replica that has
    /// the same changes. One beyond the end holds on to the end.
    pub fn cursor(&self, position: usize, bias: Bias) -> Cursor {
        let mut state = self.handle.shared.lock();
        let at = match bias {
            Bias::Before => position.checked_sub(1),
            Bias::After => Some(position),
        };
        let character = at.and_then(|at| state.nodes_mut().text_mut(self.handle.node).at(at));
        let character = character.and_then(|at| state.name_character(self.handle.node, at));
        Cursor { character, bias }
    }

    /// Returns where a cursor stands; none where its character is not known here. A cursor whose character was
    /// cut stands where the character stood.
    pub fn position_of(&self, cursor: &Cursor) -> Option<usize> {
        let state = self.handle.shared.lock();
        let text = state.nodes().text(self.handle.node);
        let Some(name) = &cursor.character else {
            return Some(if cursor.bias == Bias::Before { 0 } else { text.len() });
        };
        let (position, is_visible) = text.position(state.named_character(self.handle.node, name)?);
        Some(position + usize::from(is_visible && cursor.bias == Bias::Before))
    }
}

impl CrdtNode for TextCrdt {
    fn describe(types: &mut TypeTable) -> TypeIx {
        types.text()
    }
    fn attach(handle: NodeHandle) -> Self {
        Self { handle }
    }
    fn handle(&self) -> &NodeHandle {
        &self.handle
    }
}

impl fmt::Debug for TextCrdt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

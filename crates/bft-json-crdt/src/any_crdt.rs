//! JSON of any shape: documents that are configured and not compiled.

use std::fmt;

use crate::counter_crdt::CounterCrdt;
use crate::handle::{NodeHandle, UnsignedOp};
use crate::json_crdt::CrdtNode;
use crate::list_crdt::ListCrdt;
use crate::lww_crdt::LwwRegisterCrdt;
use crate::map_crdt::MapCrdt;
use crate::schema::{TypeIx, TypeTable};
use crate::state::integrate::NoEffect;
use crate::state::local::EditError;
use crate::state::nodes::NodeIx;
use crate::state::view::PathSegment;
use crate::text_crdt::TextCrdt;
use crate::value::JsonValue;

/// A JSON value of any kind, nested in any way: objects are maps, arrays are lists, [`JsonValue::Text`]s are
/// texts, and all else are registers. As a document, and as a field of a struct, it is an object.
///
/// The content of an insert or a put says what kind a value has. Two that are put under one key at once are one
/// entry if they are of one kind; else both stay, one is shown, and the map's `conflicts` lists the other.
///
/// ```
/// use bft_json_crdt::json_crdt::{BaseCrdt, JsonCrdt, JsonValue};
/// use bft_json_crdt::{DocumentId, keypair::make_keypair};
/// use serde_json::json;
///
/// let alice = make_keypair();
/// let mut base = BaseCrdt::<JsonCrdt>::with_document(&alice, DocumentId([1; 32]));
/// base.transact(&alice, |doc| {
///     doc.put("job", json!({"name": "deploy", "steps": ["build"]})).keep()?;
///     let job = doc.at("job").expect("just put");
///     job.put("body", JsonValue::Text("fn main() {}".into())).keep()?;
///     job.at("steps").expect("an array").as_list().expect("an array").push("ship").keep()?;
///     job.at("body").expect("a text").as_text().expect("a text").insert(0, "async ").keep()
/// })?;
/// assert_eq!(
///     serde_json::Value::from(base.doc.view()),
///     json!({"job": {"name": "deploy", "steps": ["build", "ship"], "body": "async fn main() {}"}})
/// );
/// # Ok::<(), bft_json_crdt::json_crdt::SignError>(())
/// ```
#[derive(Clone)]
pub struct JsonCrdt {
    handle: NodeHandle,
}

impl JsonCrdt {
    /// Returns the value as an object, if it is one.
    pub fn as_map(&self) -> Option<MapCrdt<JsonCrdt>> {
        self.as_kind("a map")
    }

    /// Returns the value as an array, if it is one.
    pub fn as_list(&self) -> Option<ListCrdt<JsonCrdt>> {
        self.as_kind("a list")
    }

    /// Returns the value as a text, if it is one.
    pub fn as_text(&self) -> Option<TextCrdt> {
        self.as_kind("a text")
    }

    /// Returns the value as a register, if it is one.
    pub fn as_register(&self) -> Option<LwwRegisterCrdt<JsonValue>> {
        self.as_kind("a register")
    }

    /// Returns the value as a counter, if it is one: where a compiled type has it here.
    pub fn as_counter(&self) -> Option<CounterCrdt> {
        self.as_kind("a counter")
    }

    /// Shows the value as plain JSON.
    pub fn view(&self) -> JsonValue {
        self.handle.view()
    }

    fn as_kind<T: CrdtNode>(&self, kind: &'static str) -> Option<T> {
        let is_kind = self.handle.shared.lock().kind_name(self.handle.node) == kind;
        is_kind.then(|| T::attach(self.handle.clone()))
    }

    /// Puts a value under a key of an object. What is no object gives an op that every replica refuses.
    pub fn put(&self, key: &str, content: impl Into<JsonValue>) -> UnsignedOp {
        let content = content.into();
        self.edit_as("a map", |state, node| state.edit_put(node, key, content))
    }

    /// Removes the entry of a key of an object.
    pub fn remove(&self, key: &str) -> UnsignedOp {
        self.edit_as("a map", |state, node| state.edit_remove(node, key))
    }

    /// Sets a register.
    pub fn set(&self, value: impl Into<JsonValue>) -> UnsignedOp {
        let value = value.into();
        self.edit_as("a register", |state, node| state.edit_set(node, value))
    }

    fn edit_as(
        &self,
        needed: &'static str,
        make: impl FnOnce(&mut crate::state::State, NodeIx) -> Result<crate::state::history::Made, EditError>,
    ) -> UnsignedOp {
        self.handle.edit(|state| match state.kind_name(self.handle.node) {
            found if found == needed => make(state, self.handle.node),
            found => Err(NoEffect::WrongKind { needed, found }.into()),
        })
    }

    /// Returns the value under a key of an object.
    pub fn at(&self, key: &str) -> Option<Self> {
        self.as_map()?.get(key)
    }

    /// Returns the value at a path: keys of objects, and elements of arrays by their ids.
    pub fn at_path(&self, path: &[PathSegment]) -> Option<Self> {
        path.iter().try_fold(self.clone(), |value, segment| match segment {
            PathSegment::Field(key) | PathSegment::Key(key) => value.at(key),
            PathSegment::Element(id) => {
                let list = value.as_list()?;
                list.get(list.index_of(*id)?).cloned()
            }
        })
    }
}

impl CrdtNode for JsonCrdt {
    fn describe(types: &mut TypeTable) -> TypeIx {
        types.any()
    }
    fn attach(handle: NodeHandle) -> Self {
        Self { handle }
    }
    fn handle(&self) -> &NodeHandle {
        &self.handle
    }
}

impl fmt::Debug for JsonCrdt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

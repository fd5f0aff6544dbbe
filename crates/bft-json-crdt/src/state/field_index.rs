//! Finding list elements by what a field of theirs shows.
//!
//! An index is made when a field is first asked for, and then learns every value that is written to it. It
//! keeps values that are no longer shown, since they may show again; a lookup looks at the document for the
//! truth. So it needs no word of overwrites, deletions and edits that are taken back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::schema::TypeDef;
use crate::state::State;
use crate::state::list::ElementIx;
use crate::state::nodes::{NodeIx, ROOT_NODE};
use crate::value::JsonValue;

/// For a list and a field of its elements: by value, as JSON text, the elements that ever had it.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldIndexes {
    by_field: BTreeMap<(NodeIx, u32), HashMap<String, BTreeSet<ElementIx>>>,
}

impl State {
    /// The live elements of a list whose field shows a value, in the list's order. O(log n) each, but O(n)
    /// when the field is first asked for.
    pub(crate) fn find_by_field(&mut self, list: NodeIx, field: &str, value: &JsonValue) -> Vec<ElementIx> {
        let Some(slot) = self.field_slot(list, field) else { return Vec::new() };
        if !self.fields.by_field.contains_key(&(list, slot)) {
            self.index_field(list, slot);
        }
        let Some(index) = self.fields.by_field.get(&(list, slot)) else { return Vec::new() };
        let elements = index.get(&value.to_string()).into_iter().flatten().copied();
        let mut found: Vec<(usize, ElementIx)> = elements
            .filter_map(|element| {
                let position = self.nodes.list(list).position(element)?;
                (self.view(self.field_node(list, element, slot)) == *value).then_some((position, element))
            })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, element)| element).collect()
    }

    /// Tells the indexes that a register holds one more value.
    pub(crate) fn note_value(&mut self, register: NodeIx) {
        if self.fields.by_field.is_empty() || register == ROOT_NODE {
            return;
        }
        let field = self.nodes.node(register);
        let (slot, element) = (field.slot, self.nodes.node(field.parent));
        let (list, number) = (element.parent, element.slot);
        if self.fields.by_field.contains_key(&(list, slot)) && self.is_element(field.parent) {
            self.note_values(list, slot, number);
        }
    }

    fn index_field(&mut self, list: NodeIx, slot: u32) {
        self.fields.by_field.insert((list, slot), HashMap::new());
        for element in self.nodes.list(list).numbers() {
            self.note_values(list, slot, element);
        }
    }

    fn note_values(&mut self, list: NodeIx, slot: u32, element: ElementIx) {
        let register = self.field_node(list, element, slot);
        let mut values: Vec<String> =
            self.nodes.writes(register).map(|write| self.value_of(register, write).to_string()).collect();
        if values.is_empty() {
            values.push(self.view(register).to_string());
        }
        if let Some(index) = self.fields.by_field.get_mut(&(list, slot)) {
            for value in values {
                index.entry(value).or_default().insert(element);
            }
        }
    }

    fn field_node(&self, list: NodeIx, element: ElementIx, slot: u32) -> NodeIx {
        self.nodes.node(self.nodes.list(list).element(element).node).payload + slot
    }

    /// The place of a register among the fields of a list's elements.
    fn field_slot(&self, list: NodeIx, field: &str) -> Option<u32> {
        let TypeDef::List(element) = self.types.def(self.nodes.node(list).ty) else { return None };
        let TypeDef::Struct { fields, by_name } = self.types.def(*element) else { return None };
        let slot = *by_name.get(field)?;
        let (_, ty) = fields.get(slot as usize)?;
        matches!(self.types.def(*ty), TypeDef::Register { .. }).then_some(slot)
    }

    fn is_element(&self, node: NodeIx) -> bool {
        node != ROOT_NODE
            && matches!(self.types.def(self.nodes.node(self.nodes.node(node).parent).ty), TypeDef::List(_))
    }
}

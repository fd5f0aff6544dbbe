//! A story: the live list elements that share one `story_id` and show as one item.

use std::collections::{BTreeMap, btree_map};

use bft_json_crdt::{
    JsonValue, OpId,
    json_crdt::{Conflict, CrdtNode as _, EditError},
};

use crate::{
    field::Field,
    item::{Item, from_registers, shown},
    pipeline::{PipelineDoc, PipelineItem},
    replica::Editor,
};

/// Runs `$body` with `$register` as the register of a field; those of different types share no type.
macro_rules! with_register {
    ($item:expr, $field:expr, $register:ident => $body:expr) => {
        match $field {
            Field::StoryId => {
                let $register = &$item.story_id;
                $body
            }
            Field::Stage => {
                let $register = &$item.stage;
                $body
            }
            Field::Name => {
                let $register = &$item.name;
                $body
            }
            Field::Agent => {
                let $register = &$item.agent;
                $body
            }
            Field::RetryCount => {
                let $register = &$item.retry_count;
                $body
            }
            Field::Blocked => {
                let $register = &$item.blocked;
                $body
            }
            Field::DependsOn => {
                let $register = &$item.depends_on;
                $body
            }
            Field::ClaimedBy => {
                let $register = &$item.claimed_by;
                $body
            }
            Field::ClaimedAt => {
                let $register = &$item.claimed_at;
                $body
            }
        }
    };
}

/// The elements of one story, in document order, at least one.
pub(super) struct Story<'a> {
    elements: Vec<Element<'a>>,
}

/// One of them.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    position: usize,
    item: &'a PipelineItem,
}

/// Returns the items of all stories, in the order of their first elements, by one walk of the document.
pub(super) fn all(doc: &PipelineDoc) -> Vec<Item> {
    let view = doc.items.handle().view();
    let elements = if let JsonValue::Array(elements) = view { elements } else { Vec::new() };
    let mut items: Vec<Item> = Vec::with_capacity(elements.len());
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for element in elements {
        let item = from_registers(|field| element.get(field.name()).cloned());
        match places.entry(item.story_id.clone()) {
            btree_map::Entry::Vacant(place) => {
                place.insert(items.len());
                items.push(item);
            }
            btree_map::Entry::Occupied(place) => {
                if let Some(first) = items.get_mut(*place.get()) {
                    merge(first, item);
                }
            }
        }
    }
    items
}

/// The rule by which duplicates show as one: the first in document order, with the first claim of any.
fn merge(first: &mut Item, other: Item) {
    if first.claimed_by.is_empty() && !other.claimed_by.is_empty() {
        first.claimed_by = other.claimed_by;
        first.claimed_at = other.claimed_at;
    }
}

impl<'a> Story<'a> {
    pub(super) fn find(doc: &'a PipelineDoc, story_id: &str) -> Option<Self> {
        let positions = doc.items.find(Field::StoryId.name(), story_id).into_iter();
        let elements: Vec<Element<'a>> = positions
            .filter_map(|position| Some(Element { position, item: doc.items.get(position)? }))
            .collect();
        (!elements.is_empty()).then_some(Self { elements })
    }

    /// Returns the one item that the elements show as.
    pub(super) fn item(&self) -> Item {
        let items = self.elements.iter().map(|element| from_registers(|field| Some(element.value(field))));
        let merged = items.reduce(|mut first, other| {
            merge(&mut first, other);
            first
        });
        merged.unwrap_or_else(|| from_registers(|_| None))
    }

    pub(super) fn elements(&self) -> &[Element<'a>] {
        &self.elements
    }

    /// Returns the names of the elements.
    pub(super) fn ids(&self, doc: &PipelineDoc) -> Vec<OpId> {
        self.elements.iter().filter_map(|element| doc.items.id_at(element.position)).collect()
    }

    /// Sets fields in every element, unless all its register holds is that value.
    pub(super) fn set(
        &self,
        editor: &mut Editor<'_, PipelineDoc>,
        fields: &[(Field, JsonValue)],
    ) -> Result<(), EditError> {
        for element in &self.elements {
            for (field, value) in fields {
                let is_set = element.value(*field) == shown(value.clone());
                if !is_set || !element.conflicts(*field).is_empty() {
                    element.set(editor, *field, value.clone())?;
                }
            }
        }
        Ok(())
    }

    /// Sets who has claimed the item and when, in every element.
    ///
    /// Always both fields, one right after the other, whatever they show: the two changes may arrive apart,
    /// and in this order the same one of two concurrent claims wins both of them.
    pub(super) fn set_claim(
        &self,
        editor: &mut Editor<'_, PipelineDoc>,
        by: &str,
        at_s: u64,
    ) -> Result<(), EditError> {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
        let at = at_s as f64;
        for element in &self.elements {
            element.set(editor, Field::ClaimedBy, JsonValue::String(by.to_owned()))?;
            element.set(editor, Field::ClaimedAt, JsonValue::Number(at))?;
        }
        Ok(())
    }

    /// Deletes every element.
    pub(super) fn delete(&self, editor: &mut Editor<'_, PipelineDoc>) -> Result<(), EditError> {
        for id in self.ids(editor.doc()) {
            let op = editor.doc().items.try_delete(id)?;
            editor.record(op);
        }
        Ok(())
    }
}

impl Element<'_> {
    /// Returns what a register shows.
    pub(super) fn value(&self, field: Field) -> JsonValue {
        shown(with_register!(self.item, field, register => register.view()))
    }

    /// Returns the values that a register keeps and does not show.
    pub(super) fn conflicts(&self, field: Field) -> Vec<Conflict> {
        with_register!(self.item, field, register => register.conflicts())
    }

    fn set(
        &self,
        editor: &mut Editor<'_, PipelineDoc>,
        field: Field,
        value: JsonValue,
    ) -> Result<(), EditError> {
        editor.record(with_register!(self.item, field, register => register.try_set(value))?);
        Ok(())
    }

    pub(super) fn is_claimed(&self) -> bool {
        self.value(Field::ClaimedBy).as_str().is_some_and(|by| !by.is_empty())
    }
}

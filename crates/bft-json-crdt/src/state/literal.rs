//! Literals: the nodes that the content of an insert or a put makes.
//!
//! A value claims one op number for itself and one for each value inside, in the order of its encoding; each
//! node that it makes is named by its number.

use crate::encoding::Reader;
use crate::op::Side;
use crate::schema::{TypeDef, TypeIx};
use crate::state::State;
use crate::state::history::Made;
use crate::state::integrate::{Undo, Work, container, initial_count};
use crate::state::list::ElementIx;
use crate::state::nodes::NodeIx;

impl State {
    pub(crate) fn insert_element(
        &mut self,
        work: &mut Work<'_>,
        list: NodeIx,
        (parent, side): (Option<ElementIx>, Side),
        ty: TypeIx,
        reader: &mut Reader<'_>,
        place: &mut u32,
    ) -> ElementIx {
        let made = Made { change: work.change, place: *place };
        let ty = self.types.concrete(ty, reader.rest().first().copied());
        let node = self.nodes.make(&self.types, ty, list, 0);
        let element = self.nodes.list_mut(list).insert(&self.history, made, node, parent, side);
        self.nodes.node_mut(node).slot = element;
        self.ids.add(node);
        work.note(|| Undo::Element { list, element });
        self.materialize(work, node, reader, place);
        element
    }

    /// Fills a node with a value that fits; `place` counts through the op numbers that the value claims.
    pub(crate) fn materialize(
        &mut self,
        work: &mut Work<'_>,
        node: NodeIx,
        reader: &mut Reader<'_>,
        place: &mut u32,
    ) {
        let made = Made { change: work.change, place: *place };
        self.name(node, made);
        let (ty, payload) = (self.nodes.node(node).ty, self.nodes.node(node).payload);
        let tag = reader.rest().first().copied();
        match self.types.def(ty) {
            TypeDef::Register { .. } => {
                *place += reader.clone().skip_value().map_or(1, |extent| extent.numbers as u32);
                self.write(work, node, made, reader);
            }
            TypeDef::Counter => {
                *place += 1;
                let value = reader.value().ok();
                let delta = value.as_ref().and_then(initial_count).unwrap_or(0);
                self.add(work, node, delta);
            }
            TypeDef::Text => {
                let first = Made { change: work.change, place: *place + 1 };
                *place += reader.clone().skip_value().map_or(1, |extent| extent.numbers as u32);
                let _ = reader.byte("a text");
                let content = reader.text("a text", usize::MAX).unwrap_or_default();
                if !content.is_empty() {
                    // Concurrent puts of one key share a text; each brings its beginning.
                    let _ = self.type_in(work, node, first, content, (None, Side::Right));
                }
            }
            TypeDef::Struct { by_name, .. } => {
                let by_name = std::sync::Arc::clone(by_name);
                *place += 1;
                let count = container(reader, tag, 8).map_or(0, |(_, count)| count);
                for _ in 0..count {
                    let Some(slot) = by_name.get(reader.key_after(None).unwrap_or_default()) else { return };
                    self.materialize(work, payload + slot, reader, place);
                }
            }
            TypeDef::List(element) => {
                let element = *element;
                *place += 1;
                let count = container(reader, tag, 7).map_or(0, |(_, count)| count);
                // By a rule that looks at nothing but the literal: concurrent puts of one key share a list,
                // and each replica has another part of it when it takes in the next.
                let mut parent = None;
                for _ in 0..count {
                    let hook = (parent, Side::Right);
                    parent = Some(self.insert_element(work, node, hook, element, reader, place));
                }
            }
            TypeDef::Map(value) => {
                let value = *value;
                *place += 1;
                let count = container(reader, tag, 8).map_or(0, |(_, count)| count);
                for _ in 0..count {
                    let key = reader.key_after(None).unwrap_or_default().to_owned();
                    self.put_entry(work, node, &key, (&[], &[]), value, reader, place);
                }
            }
            TypeDef::Any { .. } | TypeDef::Place => {}
        }
    }
}

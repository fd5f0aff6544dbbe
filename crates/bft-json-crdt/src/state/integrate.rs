//! What an op does to the nodes.
//!
//! By now the change is valid and every name in it is resolved. The document's type decides the rest: an op
//! that the type cannot take changes nothing here and stays in the history.

use crate::encoding::Reader;
use crate::limits::VALUE_DEPTH_MAX;
use crate::op::{Op, OpKind, Side, Slice, Target};
use crate::schema::{TypeDef, TypeIx};
use crate::state::State;
use crate::state::history::{ChangeIx, History, Made, Status};
use crate::state::list::ElementIx;
use crate::state::nodes::{Entry, NO_NODE, NodeIx, ROOT_NODE, Write};
use crate::value::JsonValue;

/// Why a valid op has no effect in this document's type. It is kept and passed on all the same, so a
/// program with a newer type can show it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoEffect {
    /// The target is nothing that this type has.
    #[error("no such node in this document's type")]
    NoSuchNode,
    /// The op is for another kind of container, or the target is a struct as a whole.
    #[error("the op needs {needed}, its target is {found}")]
    WrongKind {
        /// What the op works on.
        needed: &'static str,
        /// What its target is.
        found: &'static str,
    },
    /// The content has a field that the type lacks.
    #[error("unknown field {0:?}")]
    UnknownField(String),
    /// The content's JSON type does not fit.
    #[error("{place} cannot hold {found}")]
    WrongType {
        /// What would hold it.
        place: &'static str,
        /// The JSON type found.
        found: &'static str,
    },
    /// No element of the list has the name.
    #[error("no such element in the list")]
    NoSuchElement,
    /// The document would nest deeper than the limit.
    #[error("nests deeper than {VALUE_DEPTH_MAX} levels")]
    TooDeep,
}

/// How to take back one step of an edit that is given up before it is signed.
#[derive(Clone, Debug)]
pub(crate) enum Undo {
    Write { node: NodeIx, write: Write },
    Overwritten { node: NodeIx, writes: Vec<Write> },
    Element { list: NodeIx, element: ElementIx },
    Deletion { list: NodeIx, element: ElementIx },
    Put { map: NodeIx, entry: u32, made: Made },
    Touch { map: NodeIx, entry: u32 },
    Addition { node: NodeIx, delta: i64 },
    Removal { map: NodeIx, key: String, dropped: Vec<(u32, Vec<ChangeIx>)>, removals_before: Vec<Made> },
}

/// One op being integrated: the change it belongs to, its bytes, and where undo steps go.
pub(crate) struct Work<'a> {
    pub(crate) change: ChangeIx,
    /// The place of the op's own number among those that the change claims.
    pub(crate) place: u32,
    pub(crate) body: &'a [u8],
    pub(crate) undo: Option<&'a mut Vec<Undo>>,
}

impl Work<'_> {
    fn note(&mut self, step: impl FnOnce() -> Undo) {
        if let Some(undo) = &mut self.undo {
            undo.push(step());
        }
    }

    fn made(&self) -> Made {
        Made { change: self.change, place: self.place }
    }

    fn reader_at(&self, value: Slice) -> Reader<'_> {
        Reader::new(self.body.get(value.start as usize..).unwrap_or_default())
    }
}

impl State {
    /// Carries out one op whose names are resolved, all of it or nothing.
    pub(crate) fn integrate(&mut self, work: &mut Work<'_>, op: &Op<Made, Slice>) -> Result<(), NoEffect> {
        match &op.kind {
            OpKind::Set { target, overwrites, value } => {
                let node = self.find_target(target)?;
                self.expect_kind(node, "a register")?;
                self.check_fit(self.nodes.node(node).ty, &mut work.reader_at(*value))?;
                self.overwrite(work, node, overwrites);
                self.write(work, node, Write { made: work.made(), value: value.start });
                self.touch_above(work, node);
            }
            OpKind::Insert { target, parent, side, value } => {
                let list = self.find_target(target)?;
                let TypeDef::List(ty) = *self.expect_kind(list, "a list")? else { return Ok(()) };
                let parent = match parent {
                    None => None,
                    Some(made) => Some(self.find_element(list, *made)?),
                };
                self.check_fit(ty, &mut work.reader_at(*value))?;
                self.check_depth(list)?;
                let body = work.body;
                let mut reader = Reader::new(body.get(value.start as usize..).unwrap_or_default());
                let mut place = work.place;
                self.insert_element(work, list, parent, *side, ty, &mut reader, &mut place);
                self.touch_above(work, list);
            }
            OpKind::Delete { elements } => {
                let mut any = false;
                for made in elements {
                    let Some((list, element)) = self.element_of(*made) else { continue };
                    any = true;
                    self.nodes.list_mut(list).delete(element, work.change);
                    work.note(|| Undo::Deletion { list, element });
                    self.touch_above(work, list);
                }
                if !any {
                    return Err(NoEffect::NoSuchElement);
                }
            }
            OpKind::Put { target, key, removals, overwrites, value } => {
                let map = self.find_target(target)?;
                let TypeDef::Map(ty) = *self.expect_kind(map, "a map")? else { return Ok(()) };
                self.check_fit(ty, &mut work.reader_at(*value))?;
                self.check_depth(map)?;
                let body = work.body;
                let mut reader = Reader::new(body.get(value.start as usize..).unwrap_or_default());
                let mut place = work.place;
                let mut removals = removals.clone();
                removals.sort_unstable();
                self.put_entry(work, map, key, &removals, overwrites, ty, &mut reader, &mut place);
                self.touch_above(work, map);
            }
            OpKind::Remove { target, key } => {
                let map = self.find_target(target)?;
                self.expect_kind(map, "a map")?;
                self.remove_entry(work, map, key);
                self.touch_above(work, map);
            }
            OpKind::Add { target, delta } => {
                let node = self.find_target(target)?;
                self.expect_kind(node, "a counter")?;
                self.add(work, node, *delta);
                self.touch_above(work, node);
            }
        }
        Ok(())
    }

    fn kind_name(&self, node: NodeIx) -> &'static str {
        match self.types.def(self.nodes.node(node).ty) {
            TypeDef::Register { .. } => "a register",
            TypeDef::Struct { .. } => "a struct",
            TypeDef::List(_) => "a list",
            TypeDef::Map(_) => "a map",
            TypeDef::Counter => "a counter",
        }
    }

    fn expect_kind(&self, node: NodeIx, needed: &'static str) -> Result<&TypeDef, NoEffect> {
        let found = self.kind_name(node);
        if found == needed {
            Ok(self.types.def(self.nodes.node(node).ty))
        } else {
            Err(NoEffect::WrongKind { needed, found })
        }
    }

    /// Finds the node that a target names.
    pub(crate) fn find_target(&self, target: &Target<Made>) -> Result<NodeIx, NoEffect> {
        let mut node = match target.node {
            None => ROOT_NODE,
            Some(made) => self.history.node_of(made).ok_or(NoEffect::NoSuchNode)?,
        };
        for key in &target.path {
            let current = self.nodes.node(node);
            node = match self.types.def(current.ty) {
                TypeDef::Struct { by_name, .. } => match by_name.get(key.as_str()) {
                    Some(slot) => current.payload + slot,
                    None => return Err(NoEffect::UnknownField(key.clone())),
                },
                TypeDef::Register { .. } | TypeDef::List(_) | TypeDef::Map(_) | TypeDef::Counter => {
                    return Err(NoEffect::NoSuchNode);
                }
            };
        }
        Ok(node)
    }

    /// The list and the element that an op number made, if it made one.
    pub(crate) fn element_of(&self, made: Made) -> Option<(NodeIx, ElementIx)> {
        let node = self.nodes.node(self.history.node_of(made)?);
        if node.parent == NO_NODE {
            return None;
        }
        match self.types.def(self.nodes.node(node.parent).ty) {
            TypeDef::List(_) => Some((node.parent, node.slot)),
            TypeDef::Register { .. } | TypeDef::Struct { .. } | TypeDef::Map(_) | TypeDef::Counter => None,
        }
    }

    fn find_element(&self, list: NodeIx, made: Made) -> Result<ElementIx, NoEffect> {
        match self.element_of(made) {
            Some((owner, element)) if owner == list => Ok(element),
            Some(_) | None => Err(NoEffect::NoSuchElement),
        }
    }

    fn check_depth(&self, node: NodeIx) -> Result<(), NoEffect> {
        if self.nodes.depth(node) < VALUE_DEPTH_MAX { Ok(()) } else { Err(NoEffect::TooDeep) }
    }

    /// Checks that a type can take a whole value, before anything is changed.
    pub(crate) fn check_fit(&self, ty: TypeIx, reader: &mut Reader<'_>) -> Result<(), NoEffect> {
        let wrong = |place, reader: &Reader<'_>| NoEffect::WrongType {
            place,
            found: reader.clone().value().map_or("bytes that are no value", |v| v.type_name()),
        };
        let tag = reader.rest().first().copied();
        match self.types.def(ty) {
            TypeDef::Register { normalize, .. } => {
                let at = reader.clone();
                let value = reader.value().map_err(|_| wrong("the register", &at))?;
                normalize(value).map(|_| ()).ok_or_else(|| wrong("the register", &at))
            }
            TypeDef::Counter => {
                let at = reader.clone();
                let value = reader.value().map_err(|_| wrong("the counter", &at))?;
                initial_count(&value).map(|_| ()).ok_or_else(|| wrong("the counter", &at))
            }
            TypeDef::Struct { by_name, fields } => {
                let Some((_, count)) = container(reader, tag, 8) else {
                    return Err(wrong("the struct", reader));
                };
                for _ in 0..count {
                    let key = reader.key_after(None).unwrap_or_default();
                    let field = by_name.get(key).and_then(|slot| fields.get(*slot as usize));
                    let Some((_, ty)) = field else { return Err(NoEffect::UnknownField(key.to_owned())) };
                    self.check_fit(*ty, reader)?;
                }
                Ok(())
            }
            TypeDef::List(element) => {
                let Some((_, count)) = container(reader, tag, 7) else {
                    return Err(wrong("the list", reader));
                };
                (0..count).try_for_each(|_| self.check_fit(*element, reader))
            }
            TypeDef::Map(value) => {
                let Some((_, count)) = container(reader, tag, 8) else {
                    return Err(wrong("the map", reader));
                };
                for _ in 0..count {
                    reader.key_after(None).unwrap_or_default();
                    self.check_fit(*value, reader)?;
                }
                Ok(())
            }
        }
    }

    fn overwrite(&mut self, work: &mut Work<'_>, node: NodeIx, named: &[Made]) {
        if named.is_empty() {
            return;
        }
        // What an unsigned edit would bring back when it is given up must not include these.
        for edit in &mut self.unsigned {
            edit.forget(node, named);
        }
        let writes = self.nodes.remove_writes(node, named);
        work.note(|| Undo::Overwritten { node, writes });
    }

    fn write(&mut self, work: &mut Work<'_>, node: NodeIx, write: Write) {
        self.nodes.add_write(node, write);
        self.note_value(node);
        work.note(|| Undo::Write { node, write });
    }

    fn add(&mut self, work: &mut Work<'_>, node: NodeIx, delta: i64) {
        self.nodes.add(node, delta.into());
        work.note(|| Undo::Addition { node, delta });
    }

    /// Gives a node the op number by which later ops name it.
    fn name(&mut self, node: NodeIx, made: Made) {
        let at = self.nodes.node_mut(node);
        if at.made.is_none() {
            at.made = Some(made);
        }
        let row = self.history.row(made.change);
        let (branch, counter) = (row.branch, row.first_counter + u64::from(made.place));
        self.history.branch_mut(branch).nodes.push((counter, node));
    }

    #[expect(clippy::too_many_arguments, reason = "one step of a recursion")]
    fn insert_element(
        &mut self,
        work: &mut Work<'_>,
        list: NodeIx,
        parent: Option<ElementIx>,
        side: Side,
        ty: TypeIx,
        reader: &mut Reader<'_>,
        place: &mut u32,
    ) -> ElementIx {
        let made = Made { change: work.change, place: *place };
        let node = self.nodes.make(&self.types, ty, list, 0);
        let element = self.nodes.list_mut(list).insert(&self.history, made, node, parent, side);
        self.nodes.node_mut(node).slot = element;
        self.elements.push(node);
        work.note(|| Undo::Element { list, element });
        self.materialize(work, node, reader, place);
        element
    }

    /// Fills a node with a value that fits; `place` counts through the op numbers that the value claims.
    fn materialize(&mut self, work: &mut Work<'_>, node: NodeIx, reader: &mut Reader<'_>, place: &mut u32) {
        let made = Made { change: work.change, place: *place };
        self.name(node, made);
        let (ty, payload) = (self.nodes.node(node).ty, self.nodes.node(node).payload);
        let tag = reader.rest().first().copied();
        match self.types.def(ty) {
            TypeDef::Register { .. } => {
                let start = (work.body.len() - reader.rest().len()) as u32;
                *place += reader.skip_value().unwrap_or(1) as u32;
                self.write(work, node, Write { made, value: start });
            }
            TypeDef::Counter => {
                *place += 1;
                let value = reader.value().ok();
                let delta = value.as_ref().and_then(initial_count).unwrap_or(0);
                self.add(work, node, delta);
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
                    let side = Side::Right;
                    parent = Some(self.insert_element(work, node, parent, side, element, reader, place));
                }
            }
            TypeDef::Map(value) => {
                let value = *value;
                *place += 1;
                let count = container(reader, tag, 8).map_or(0, |(_, count)| count);
                for _ in 0..count {
                    let key = reader.key_after(None).unwrap_or_default().to_owned();
                    self.put_entry(work, node, &key, &[], &[], value, reader, place);
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one step of a recursion")]
    fn put_entry(
        &mut self,
        work: &mut Work<'_>,
        map: NodeIx,
        key: &str,
        removals: &[Made],
        overwrites: &[Made],
        ty: TypeIx,
        reader: &mut Reader<'_>,
        place: &mut u32,
    ) {
        let made = Made { change: work.change, place: *place };
        let known = self.nodes.map(map);
        let same = known.keys.get(key).and_then(|state| {
            let mut entries = state.entries.iter().copied();
            entries.find(|entry| {
                known.entries.get(*entry as usize).is_some_and(|(_, entry)| entry.removals_seen == removals)
            })
        });
        let entry = match same {
            Some(entry) => entry,
            None => {
                let entry = known.entries.len() as u32;
                let node = self.nodes.make(&self.types, ty, map, entry);
                let map = self.nodes.map_mut(map);
                map.keys.entry(key.to_owned()).or_default().entries.push(entry);
                let new =
                    Entry { node, removals_seen: removals.to_vec(), puts: Vec::new(), touches: Vec::new() };
                map.entries.push((key.to_owned(), new));
                entry
            }
        };
        let Some((_, state)) = self.nodes.map_mut(map).entries.get_mut(entry as usize) else { return };
        state.puts.push(made);
        let node = state.node;
        work.note(|| Undo::Put { map, entry, made });
        self.touch(work, map, entry);
        for register in self.own_registers(node) {
            self.overwrite(work, register, overwrites);
        }
        self.materialize(work, node, reader, place);
    }

    fn remove_entry(&mut self, work: &mut Work<'_>, map: NodeIx, key: &str) {
        let removal = work.made();
        let history = &self.history;
        let map_state = self.nodes.map_mut(map);
        let Some(state) = map_state.keys.get_mut(key) else {
            // Nothing to remove; a put that has seen this removal begins a new entry all the same.
            map_state.keys.entry(key.to_owned()).or_default().removals.push(removal);
            work.note(|| Undo::Removal {
                map,
                key: key.to_owned(),
                dropped: Vec::new(),
                removals_before: Vec::new(),
            });
            return;
        };
        let saw = |change: ChangeIx| has_seen(history, work.change, change);
        let removals_before = state.removals.clone();
        state.removals.retain(|other| !saw(other.change));
        state.removals.push(removal);
        let mut dropped = Vec::new();
        for entry in &state.entries {
            if let Some((_, entry_state)) = map_state.entries.get_mut(*entry as usize) {
                let (gone, stay): (Vec<_>, Vec<_>) =
                    entry_state.touches.iter().copied().partition(|touch| saw(*touch));
                entry_state.touches = stay;
                dropped.push((*entry, gone));
            }
        }
        work.note(|| Undo::Removal { map, key: key.to_owned(), dropped, removals_before });
    }

    /// Takes out overwritten values that became known between making and signing an edit: of the register that
    /// it sets, or of the entry that it put (which need not be the one that shows).
    pub(crate) fn settle_overwrites(&mut self, change: ChangeIx, op: &Op<Made, Slice>) {
        let (node, overwrites) = match &op.kind {
            OpKind::Set { target, overwrites, .. } => (self.find_target(target).ok(), overwrites),
            OpKind::Put { overwrites, .. } => (self.history.node_of(Made { change, place: 0 }), overwrites),
            OpKind::Insert { .. } | OpKind::Delete { .. } | OpKind::Remove { .. } | OpKind::Add { .. } => {
                return;
            }
        };
        let mut work = Work { change, place: 0, body: &[], undo: None };
        for register in node.map(|node| self.own_registers(node)).unwrap_or_default() {
            self.overwrite(&mut work, register, overwrites);
        }
    }

    /// Takes back out what a removal covers, once signing has fixed what it had seen.
    pub(crate) fn settle_removal(&mut self, change: ChangeIx, target: &Target<Made>, key: &str) {
        let Ok(map) = self.find_target(target) else { return };
        if self.expect_kind(map, "a map").is_err() {
            return;
        }
        let history = &self.history;
        let map = self.nodes.map_mut(map);
        let Some(state) = map.keys.get_mut(key) else { return };
        state.removals.retain(|other| other.change == change || !history.is_in_past(other.change, change));
        for entry in &state.entries {
            if let Some((_, entry)) = map.entries.get_mut(*entry as usize) {
                entry.touches.retain(|touch| !history.is_in_past(*touch, change));
            }
        }
    }

    /// Notes an edit in every map entry that the node lies in.
    fn touch_above(&mut self, work: &mut Work<'_>, mut node: NodeIx) {
        if !self.nodes.has_maps() {
            return;
        }
        while node != ROOT_NODE {
            let (parent, slot) = (self.nodes.node(node).parent, self.nodes.node(node).slot);
            if matches!(self.types.def(self.nodes.node(parent).ty), TypeDef::Map(_)) {
                self.touch(work, parent, slot);
            }
            node = parent;
        }
    }

    fn touch(&mut self, work: &mut Work<'_>, map: NodeIx, entry: u32) {
        let history = &self.history;
        let row = history.row(work.change);
        let same_branch = |other: ChangeIx| {
            let other = history.row(other);
            row.status == Status::Signed && other.status == Status::Signed && other.branch == row.branch
        };
        if let Some((_, entry)) = self.nodes.map_mut(map).entries.get_mut(entry as usize) {
            entry.touch(work.change, same_branch);
        }
        work.note(|| Undo::Touch { map, entry });
    }
}

/// Whether `later` has `earlier` in its past. An unsigned edit will have everything that is signed, and what
/// was made before it.
fn has_seen(history: &History, later: ChangeIx, earlier: ChangeIx) -> bool {
    match history.row(later).status {
        Status::Signed => history.is_in_past(earlier, later),
        Status::Unsigned | Status::Undone => earlier <= later,
    }
}

/// What a counter in a literal begins with: an integer of 64 bits.
fn initial_count(value: &JsonValue) -> Option<i64> {
    if let JsonValue::Integer(n) = value { i64::try_from(*n).ok() } else { None }
}

/// Enters an array (tag 7) or an object (tag 8) and returns how many members follow.
fn container(reader: &mut Reader<'_>, tag: Option<u8>, wanted: u8) -> Option<(u8, usize)> {
    if tag != Some(wanted) {
        return None;
    }
    let tag = reader.byte("a value").ok()?;
    Some((tag, reader.count("members", usize::MAX, 1).ok()?))
}

//! What an op does to the nodes.
//!
//! By now the change is valid and every name in it is resolved. The document's type decides the rest: an op
//! that the type cannot take changes nothing here and stays in the history.

use std::cmp::Ordering;

use crate::encoding::Reader;
use crate::limits::VALUE_DEPTH_MAX;
use crate::op::{Op, OpKind, Rank, Side, Slice, Target};
use crate::schema::{TypeDef, TypeIx};
use crate::state::State;
use crate::state::history::{ChangeIx, History, Made, Status};
use crate::state::list::{ElementIx, Move};
use crate::state::map::{EntryIx, Touch};
use crate::state::nodes::{NO_NODE, NodeIx, ROOT_NODE, Write, Writes};
use crate::state::text::CharIx;
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
    /// No element of the list, or no character of the text, has the name.
    #[error("no such element")]
    NoSuchElement,
    /// The text has taken in as many characters as it can number.
    #[error("the text is full")]
    TextFull,
    /// The document would nest deeper than the limit.
    #[error("nests deeper than {VALUE_DEPTH_MAX} levels")]
    TooDeep,
}

/// How to take back one step of an edit that is given up before it is signed.
#[derive(Clone, Debug)]
pub(crate) enum Undo {
    Write {
        node: NodeIx,
        write: Write,
    },
    Overwritten {
        node: NodeIx,
        writes: Writes,
    },
    Element {
        list: NodeIx,
        element: ElementIx,
    },
    Deletion {
        list: NodeIx,
        element: ElementIx,
    },
    Place {
        list: NodeIx,
        place: ElementIx,
        before: Vec<Move>,
    },
    Put {
        map: NodeIx,
        entry: EntryIx,
        made: Made,
        /// The puts that it took the place of.
        dropped: Vec<(Made, Rank)>,
    },
    Touch {
        map: NodeIx,
        entry: u32,
    },
    Addition {
        node: NodeIx,
        delta: i64,
    },
    Removal {
        made: Made,
        map: NodeIx,
        key: String,
        dropped: Vec<(u32, Vec<Touch>)>,
        removals_before: Vec<Made>,
    },
    Typed {
        text: NodeIx,
        first: CharIx,
        count: u32,
    },
    Hidden {
        text: NodeIx,
        stretches: Vec<(CharIx, u32)>,
    },
    Source,
}

/// One op being integrated: the change it belongs to, its bytes, and where undo steps go.
pub(crate) struct Work<'a> {
    pub(crate) change: ChangeIx,
    /// The place of the op's own number among those that the change claims.
    pub(crate) place: u32,
    /// The rank that counts for it.
    pub(crate) rank: Rank,
    /// The bytes that its value stands in.
    pub(crate) bytes: &'a [u8],
    pub(crate) undo: Option<&'a mut Vec<Undo>>,
    /// The edit was made before, and now gets its place behind what arrived since.
    is_settling: bool,
}

impl<'a> Work<'a> {
    pub(crate) fn new(
        change: ChangeIx,
        place: u32,
        rank: Rank,
        bytes: &'a [u8],
        undo: Option<&'a mut Vec<Undo>>,
    ) -> Self {
        Self { change, place, rank, bytes, undo, is_settling: false }
    }

    pub(crate) fn note(&mut self, step: impl FnOnce() -> Undo) {
        if let Some(undo) = &mut self.undo {
            undo.push(step());
        }
    }

    pub(crate) fn made(&self) -> Made {
        Made { change: self.change, place: self.place }
    }

    fn reader_at(&self, value: Slice) -> Reader<'a> {
        Reader::new(self.bytes.get(value.start as usize..).unwrap_or_default())
    }
}

impl State {
    /// Carries out one op whose names are resolved, all of it or nothing.
    pub(crate) fn integrate(&mut self, work: &mut Work<'_>, op: &Op<Made, Slice>) -> Result<(), NoEffect> {
        self.patched(op, |state| state.carry_out(work, op))
    }

    fn carry_out(&mut self, work: &mut Work<'_>, op: &Op<Made, Slice>) -> Result<(), NoEffect> {
        match &op.kind {
            OpKind::Set { target, overwrites, value } => {
                let node = self.find_target(target)?;
                self.expect_kind(node, "a register")?;
                self.check_fit(self.nodes.node(node).ty, &mut work.reader_at(*value))?;
                self.overwrite(work, node, overwrites);
                let mut rest = work.reader_at(*value);
                self.write(work, node, work.made(), &mut rest);
                self.touch_above(work, node);
                self.patch_set(node);
            }
            OpKind::Insert { target, parent, side, value } => {
                let list = self.find_target(target)?;
                let TypeDef::List(ty) = *self.expect_kind(list, "a list")? else { return Ok(()) };
                let parent = parent.map(|made| self.find_place(list, made)).transpose()?;
                self.check_fit(ty, &mut work.reader_at(*value))?;
                self.check_depth(list)?;
                let mut place = work.place;
                let mut reader = work.reader_at(*value);
                let mark = self.patch_mark();
                let element = self.insert_element(work, list, (parent, *side), ty, &mut reader, &mut place);
                self.touch_above(work, list);
                self.patch_insert(list, element, mark);
            }
            OpKind::Delete { elements } => {
                let mut any = false;
                for made in elements {
                    let Some((list, element)) = self.element_of(*made) else { continue };
                    any = true;
                    self.patch_delete(list, element);
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
                let mut place = work.place;
                let mut removals = removals.clone();
                removals.sort_unstable();
                let mut reader = work.reader_at(*value);
                let mark = self.patch_mark();
                self.put_entry(work, map, key, (&removals, overwrites), ty, &mut reader, &mut place);
                self.touch_above(work, map);
                if self.live_entry(map, key).is_some() {
                    self.patch_entry(map, key, mark);
                }
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
                self.patch_set(node);
            }
            OpKind::Text { target, parent, side, value } => {
                let text = self.find_target(target)?;
                self.expect_kind(text, "a text")?;
                let parent = parent.map(|made| self.find_character(text, made)).transpose()?;
                let content = work.reader_at(*value).string().unwrap_or_default();
                self.type_in(work, text, work.made(), content, (parent, *side))?;
                self.touch_above(work, text);
            }
            OpKind::Cut { target, ranges } => {
                let text = self.find_target(target)?;
                self.expect_kind(text, "a text")?;
                for range in ranges {
                    self.cut(work, text, range);
                }
                self.touch_above(work, text);
            }
            OpKind::Move { element, parent, side } => {
                let (list, element) = self.element_of(*element).ok_or(NoEffect::NoSuchElement)?;
                let parent = parent.map(|made| self.find_place(list, made)).transpose()?;
                self.move_element(work, list, element, (parent, *side));
                self.touch_above(work, list);
            }
            OpKind::Source { .. } => {
                let history = &self.history;
                if !self.sources.iter().any(|earlier| has_seen(history, work.change, *earlier)) {
                    self.sources.push(work.change);
                    work.note(|| Undo::Source);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn kind_name(&self, node: NodeIx) -> &'static str {
        match self.types.def(self.nodes.node(node).ty) {
            TypeDef::Register { .. } => "a register",
            TypeDef::Struct { .. } => "a struct",
            TypeDef::List(_) => "a list",
            TypeDef::Map(_) => "a map",
            TypeDef::Counter => "a counter",
            TypeDef::Text => "a text",
            TypeDef::Any { .. } | TypeDef::Place => "no node",
        }
    }

    pub(crate) fn expect_kind(&self, node: NodeIx, needed: &'static str) -> Result<&TypeDef, NoEffect> {
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
        if self.nodes.node(node).ty == TypeIx::PLACE {
            return Err(NoEffect::NoSuchNode);
        }
        for key in &target.path {
            let current = self.nodes.node(node);
            node = match self.types.def(current.ty) {
                TypeDef::Struct { by_name, .. } => match by_name.get(key.as_str()) {
                    Some(slot) => current.payload + slot,
                    None => return Err(NoEffect::UnknownField(key.clone())),
                },
                TypeDef::Register { .. }
                | TypeDef::List(_)
                | TypeDef::Map(_)
                | TypeDef::Counter
                | TypeDef::Text
                | TypeDef::Any { .. }
                | TypeDef::Place => return Err(NoEffect::NoSuchNode),
            };
        }
        Ok(node)
    }

    /// The list and the element that an op number made, if it made one.
    pub(crate) fn element_of(&self, made: Made) -> Option<(NodeIx, ElementIx)> {
        let (list, place, is_element) = self.place_of(made)?;
        is_element.then_some((list, place))
    }

    /// The list, and the place in its order that an op number made by an insert or a move; and whether it was
    /// an insert.
    fn place_of(&self, made: Made) -> Option<(NodeIx, ElementIx, bool)> {
        let node = self.nodes.node(self.history.node_of(made)?);
        if node.parent == NO_NODE {
            return None;
        }
        let is_in_list = matches!(self.types.def(self.nodes.node(node.parent).ty), TypeDef::List(_));
        is_in_list.then_some((node.parent, node.slot, node.ty != TypeIx::PLACE))
    }

    fn find_place(&self, list: NodeIx, made: Made) -> Result<ElementIx, NoEffect> {
        match self.place_of(made) {
            Some((owner, place, _)) if owner == list => Ok(place),
            Some(_) | None => Err(NoEffect::NoSuchElement),
        }
    }

    fn move_element(
        &mut self,
        work: &mut Work<'_>,
        list: NodeIx,
        element: ElementIx,
        (parent, side): (Option<ElementIx>, Side),
    ) {
        let from = self.nodes.list(list).position(element);
        let history = &self.history;
        let change = work.change;
        let (place, before) = self.nodes.list_mut(list).move_to(
            history,
            (work.made(), work.rank),
            element,
            parent,
            side,
            |earlier| has_seen(history, change, earlier),
            |a, b| move_order(history, a, b),
        );
        let node = self.nodes.make_place(list, place);
        self.name(node, work.made());
        work.note(|| Undo::Place { list, place, before });
        self.patch_move(list, element, from);
    }

    fn check_depth(&self, node: NodeIx) -> Result<(), NoEffect> {
        if self.nodes.depth(node) < VALUE_DEPTH_MAX { Ok(()) } else { Err(NoEffect::TooDeep) }
    }

    /// Checks that a type can take a whole value, before anything is changed.
    pub(crate) fn check_fit(&self, ty: TypeIx, reader: &mut Reader<'_>) -> Result<(), NoEffect> {
        let ty = self.types.concrete(ty, Some(reader.rest().first().copied().unwrap_or_default()));
        self.check_fit_as(ty, reader)
    }

    fn check_fit_as(&self, ty: TypeIx, reader: &mut Reader<'_>) -> Result<(), NoEffect> {
        let wrong = |place, reader: &Reader<'_>| NoEffect::WrongType {
            place,
            found: reader.clone().value().map_or("bytes that are no value", |v| v.type_name()),
        };
        let tag = reader.rest().first().copied();
        match self.types.def(ty) {
            TypeDef::Register { normalize, takes_strings, .. } => {
                let at = reader.clone();
                // A string is built only for a type that looks into it.
                if tag == Some(6) && *takes_strings {
                    return reader.skip_value().map(|_| ()).map_err(|_| wrong("the register", &at));
                }
                let value = reader.value().map_err(|_| wrong("the register", &at))?;
                normalize(value).map(|_| ()).ok_or_else(|| wrong("the register", &at))
            }
            TypeDef::Text => match (tag, reader.clone()) {
                (Some(9), _) => reader.skip_value().map(|_| ()).map_err(|_| wrong("the text", reader)),
                (_, at) => Err(wrong("the text", &at)),
            },
            TypeDef::Any { .. } | TypeDef::Place => Err(NoEffect::NoSuchNode),
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
                    // A field is there before its content: where any kind would do, it is an object.
                    self.check_fit_as(self.types.concrete(*ty, None), reader)?;
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

    pub(crate) fn overwrite(&mut self, work: &mut Work<'_>, node: NodeIx, named: &[Made]) {
        if named.is_empty() {
            return;
        }
        // What an unsigned edit would bring back when it is given up must not include what others overwrote;
        // another unsigned edit has seen the first, and is given up with it.
        if work.undo.is_none() || work.is_settling {
            for edit in &mut self.unsigned {
                edit.forget(node, named);
            }
        }
        let writes = self.nodes.remove_writes(node, named);
        work.note(|| Undo::Overwritten { node, writes });
    }

    /// Keeps the value that `reader` stands before as one that `made` wrote.
    pub(crate) fn write(&mut self, work: &mut Work<'_>, node: NodeIx, made: Made, reader: &mut Reader<'_>) {
        let start = reader.rest();
        let _ = reader.skip_value();
        let bytes = start.get(..start.len() - reader.rest().len()).unwrap_or_default();
        let value = self.values.len() as u32;
        self.values.extend_from_slice(bytes);
        let write = Write { made, value, rank: work.rank };
        self.nodes.add_write(node, write);
        self.note_value(node);
        work.note(|| Undo::Write { node, write });
    }

    pub(crate) fn add(&mut self, work: &mut Work<'_>, node: NodeIx, delta: i64) {
        self.nodes.add(node, delta.into());
        work.note(|| Undo::Addition { node, delta });
    }

    /// Gives a node the op number by which later ops name it. Of several, made by concurrent puts, that in the change with
    /// the smallest digest: so that replicas with the same changes name it alike.
    pub(crate) fn name(&mut self, node: NodeIx, made: Made) {
        let is_later = |name: Made| match self.history.row(name.change).status {
            Status::Undone => true,
            Status::Unsigned => false,
            Status::Signed => {
                self.history.row(made.change).status == Status::Signed
                    && self.history.digest(made.change) < self.history.digest(name.change)
            }
        };
        if self.nodes.node(node).made.is_none_or(is_later) {
            self.nodes.node_mut(node).made = Some(made);
        }
        let row = self.history.row(made.change);
        let (branch, counter) = (row.branch, row.first_counter + u64::from(made.place));
        self.history.branch_mut(branch).nodes.push(counter, node);
    }

    /// Takes out overwritten values that became known between making and signing an edit: of the register that
    /// it sets, or of the entry that it put (which need not be the one that shows). Returns whether there were
    /// any.
    pub(crate) fn settle_overwrites(&mut self, made: Made, op: &Op<Made, Slice>) -> bool {
        let (node, overwrites) = match &op.kind {
            OpKind::Set { target, overwrites, .. } => (self.find_target(target).ok(), overwrites),
            OpKind::Put { overwrites, .. } => (self.history.node_of(made), overwrites),
            OpKind::Insert { .. }
            | OpKind::Delete { .. }
            | OpKind::Remove { .. }
            | OpKind::Add { .. }
            | OpKind::Text { .. }
            | OpKind::Cut { .. }
            | OpKind::Move { .. }
            | OpKind::Source { .. } => return false,
        };
        let mut undo = Vec::new();
        let mut work =
            Work { is_settling: true, ..Work::new(made.change, made.place, op.rank, &[], Some(&mut undo)) };
        for register in node.map(|node| self.own_registers(node)).unwrap_or_default() {
            self.overwrite(&mut work, register, overwrites);
        }
        undo.iter().any(|step| matches!(step, Undo::Overwritten { writes, .. } if !writes.is_empty()))
    }

    /// Drops the moves that became known between making and signing one. Returns whether the element stands
    /// elsewhere now.
    pub(crate) fn settle_move(&mut self, made: Made) -> bool {
        let Some((list, place, false)) = self.place_of(made) else { return false };
        let history = &self.history;
        // Of moves in one change the later ones have dropped the earlier ones as they were made.
        let saw = |earlier| earlier != made.change && has_seen(history, made.change, earlier);
        self.nodes.list_mut(list).settle_move(place, saw, |a, b| move_order(history, a, b))
    }

    /// Notes an edit in every map entry that the node lies in.
    pub(crate) fn touch_above(&mut self, work: &mut Work<'_>, mut node: NodeIx) {
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

    pub(crate) fn touch(&mut self, work: &mut Work<'_>, map: NodeIx, entry: u32) {
        let is_outranked = self.is_outranked(map, entry, work.rank);
        let history = &self.history;
        let row = history.row(work.change);
        let same_branch = |other: ChangeIx| {
            let other = history.row(other);
            row.status == Status::Signed && other.status == Status::Signed && other.branch == row.branch
        };
        let touch = Touch { change: work.change, rank: work.rank, is_outranked };
        let map_state = self.nodes.map_mut(map);
        if let Some(state) = map_state.entry_mut(entry) {
            state.touch(touch, same_branch);
            map_state.note_touches(history, entry);
        }
        work.note(|| Undo::Touch { map, entry });
    }
}

/// Whether `later` has `earlier` in its past. An unsigned edit will have everything that is signed, and what
/// was made before it.
pub(crate) fn has_seen(history: &History, later: ChangeIx, earlier: ChangeIx) -> bool {
    match history.row(later).status {
        Status::Signed => history.is_in_past(earlier, later),
        Status::Unsigned | Status::Undone => {
            history.row(earlier).status == Status::Signed || earlier <= later
        }
    }
}

/// The register's order, of moves.
pub(crate) fn move_order(history: &History, a: &Move, b: &Move) -> Ordering {
    a.rank.cmp(&b.rank).then_with(|| history.order(a.made, b.made))
}

/// What a counter in a literal begins with: an integer of 64 bits.
pub(crate) fn initial_count(value: &JsonValue) -> Option<i64> {
    if let JsonValue::Integer(n) = value { i64::try_from(*n).ok() } else { None }
}

/// Enters an array (tag 7) or an object (tag 8) and returns how many members follow.
pub(crate) fn container(reader: &mut Reader<'_>, tag: Option<u8>, wanted: u8) -> Option<(u8, usize)> {
    if tag != Some(wanted) {
        return None;
    }
    let tag = reader.byte("a value").ok()?;
    Some((tag, reader.count("members", usize::MAX, 1).ok()?))
}

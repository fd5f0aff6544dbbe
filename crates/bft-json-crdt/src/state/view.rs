//! What a document shows: values, the conflicts behind them, and where ids and paths lead.

use std::cmp::{Ordering, Reverse};

use crate::change::{Change, Digest};
use crate::encoding::DecodeError;
use crate::keypair::AuthorId;
use crate::op::{LongName, Name, Op, OpId, OpKind, ROOT_ID, Rank, Slice, value_at};
use crate::schema::TypeDef;
use crate::state::State;
use crate::state::history::{Cast, ChangeIx, Made, Standing};
use crate::state::ids::KnownIds;
use crate::state::integrate::has_seen;
use crate::state::map::KeyState;
use crate::state::nodes::{NodeIx, ROOT_NODE, Write, Writes};
use crate::value::JsonValue;

/// A value that a register or a map holds besides the one that it shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// The value that lost.
    pub value: JsonValue,
    /// Who wrote it.
    pub author: AuthorId,
    /// The change that wrote it.
    pub digest: Digest,
    /// Its logical time.
    pub lamport: u64,
    /// The rank that counts for it.
    pub rank: Rank,
}

/// One step from the document's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathSegment {
    /// A field of a struct.
    Field(String),
    /// An element of a list.
    Element(OpId),
    /// An entry of a map.
    Key(String),
}

/// What kind of edit an op is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EditKind {
    /// A register got a value.
    Set,
    /// A list got an element.
    Insert,
    /// A list lost an element.
    Delete,
    /// A map got an entry, or an entry a new value.
    Put,
    /// A map lost an entry.
    Remove,
    /// A counter got a number added.
    Add,
    /// A text got characters.
    Type,
    /// A text lost characters.
    Cut,
    /// A list's element got another place.
    Move,
}

/// What one op of a change touched.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Where: the register, the element or the entry, from the root.
    pub path: Vec<PathSegment>,
    /// The innermost list element that the edit lies in, or is.
    pub element: Option<OpId>,
    /// What happened there.
    pub kind: EditKind,
    /// The value as it was signed, or how many characters were cut at most; none for deletions, removals and
    /// moves.
    pub value: Option<JsonValue>,
}

impl State {
    /// Shows a node as plain JSON.
    pub(crate) fn view(&self, node: NodeIx) -> JsonValue {
        match self.types.def(self.nodes.node(node).ty) {
            TypeDef::Register { default, .. } => match self.winner(node) {
                Some(write) => self.value_of(node, write),
                None => default(),
            },
            TypeDef::Struct { fields, .. } => {
                let first = self.nodes.node(node).payload;
                let members =
                    (first..).zip(fields).map(|(node, (name, _))| ((*name).to_owned(), self.view(node)));
                JsonValue::Object(members.collect())
            }
            TypeDef::List(_) => {
                let list = self.nodes.list(node);
                JsonValue::Array(list.iter().map(|element| self.view(list.element(element).node)).collect())
            }
            TypeDef::Text => JsonValue::String(self.nodes.text(node).content()),
            TypeDef::Any { .. } | TypeDef::Place => JsonValue::Null,
            TypeDef::Counter => {
                JsonValue::Integer(self.nodes.counter(node).clamp(i64::MIN.into(), i64::MAX.into()))
            }
            TypeDef::Map(_) => {
                let keys = self.nodes.map(node).keys().into_iter();
                let live = keys.filter_map(|(key, state)| Some((key, self.shown_entry(node, state)?)));
                JsonValue::Object(live.map(|(key, node)| (key.to_owned(), self.view(node))).collect())
            }
        }
    }

    pub(crate) fn value_of(&self, node: NodeIx, write: Write) -> JsonValue {
        let TypeDef::Register { normalize, default, .. } = self.types.def(self.nodes.node(node).ty) else {
            return JsonValue::Null;
        };
        // It was checked to fit before it was integrated.
        let value = value_at(&self.values, write.value).ok();
        value.and_then(normalize).unwrap_or_else(default)
    }

    /// The register's order: rank, lamport, author, digest, place in the change.
    fn compare_writes(&self, a: &Write, b: &Write) -> Ordering {
        a.rank.cmp(&b.rank).then_with(|| self.history.order(a.made, b.made))
    }

    fn winner(&self, node: NodeIx) -> Option<Write> {
        self.nodes.writes(node).max_by(|a, b| self.compare_writes(a, b))
    }

    /// A register's values, the one that it shows first.
    pub(crate) fn ordered_writes(&self, node: NodeIx) -> Writes {
        let mut writes: Writes = self.nodes.writes(node).collect();
        writes.sort_by(|a, b| self.compare_writes(b, a));
        writes
    }

    /// The values that a register holds besides the one that it shows.
    pub(crate) fn register_conflicts(&self, node: NodeIx) -> Vec<Conflict> {
        let hidden = self.ordered_writes(node).into_iter().skip(1);
        hidden.map(|write| self.conflict(write.made, write.rank, self.value_of(node, write))).collect()
    }

    pub(super) fn conflict(&self, made: Made, rank: Rank, value: JsonValue) -> Conflict {
        Conflict {
            value,
            author: self.history.author_of(made.change),
            digest: self.history.digest(made.change),
            lamport: self.history.row(made.change).lamport.into(),
            rank,
        }
    }

    /// Edits inside deleted elements that the deletions had not seen, by the element's id.
    pub(crate) fn list_conflicts(&self, list: NodeIx) -> Vec<(OpId, Conflict)> {
        let (mut found, mut known) = (Vec::new(), KnownIds::default());
        for element in self.nodes.list(list).deleted() {
            let deletions = self.nodes.list(list).deletions(element);
            let is_unseen = |change: ChangeIx| {
                change != element.made.change
                    && !deletions.iter().any(|deletion| self.history.is_in_past(change, *deletion))
            };
            for conflict in self.unseen_edits(element.node, &is_unseen) {
                found.push((self.id_in(element.made, &mut known), conflict));
            }
        }
        found.sort_by_key(|(id, conflict)| (*id, conflict.digest));
        found
    }

    /// The values below a node that an unseen change wrote, and the texts, as a whole, in which one typed what
    /// still shows.
    fn unseen_edits(&self, node: NodeIx, is_unseen: &dyn Fn(ChangeIx) -> bool) -> Vec<Conflict> {
        let mut found = Vec::new();
        self.for_each_leaf(node, &mut |state, leaf| {
            if matches!(state.types.def(state.nodes.node(leaf).ty), TypeDef::Text) {
                let shown = state.nodes.text(leaf).stretches().filter(|(_, _, is_visible)| *is_visible);
                let typed = shown
                    .flat_map(|(first, count, _)| first..first + count)
                    .filter_map(|character| state.made_character(leaf, character));
                let last =
                    typed.filter(|made| is_unseen(made.change)).max_by(|a, b| state.history.order(*a, *b));
                found.extend(last.map(|made| state.conflict(made, Rank::Edit, state.view(leaf))));
            } else {
                let unseen =
                    state.ordered_writes(leaf).into_iter().filter(|write| is_unseen(write.made.change));
                found.extend(
                    unseen.map(|write| state.conflict(write.made, write.rank, state.value_of(leaf, write))),
                );
            }
        });
        found
    }

    /// The entry that a map shows under a key: of several live ones, the one whose put comes last in the
    /// register's order. O(1).
    pub(crate) fn live_entry(&self, map: NodeIx, key: &str) -> Option<NodeIx> {
        self.shown_entry(map, self.nodes.map(map).key(key)?)
    }

    /// As [`Self::live_entry`], of a key that was looked up.
    fn shown_entry(&self, map: NodeIx, key: &KeyState) -> Option<NodeIx> {
        let map = self.nodes.map(map);
        let shown = map.entry(*map.live(key).first()?)?;
        (!shown.puts.is_empty()).then_some(shown.node)
    }

    /// The live entries of a key with the last put of each, in the register's order.
    pub(super) fn live_entries(&self, map: NodeIx, key: &str) -> Vec<(NodeIx, (Made, Rank))> {
        let map = self.nodes.map(map);
        let live = map.live_of(key).iter().filter_map(|entry| map.entry(*entry));
        let mut live: Vec<_> =
            live.filter_map(|entry| Some((entry, entry.last_put(&self.history)?))).collect();
        live.sort_by(|(a, _), (b, _)| b.compare(&self.history, a));
        live.into_iter().map(|(entry, put)| (entry.node, put)).collect()
    }

    /// Edits in removed entries that no removal of the key had seen, nor a put of another entry of it: edits that a removal
    /// outranks. Their values; nulls for the last ones that left none.
    fn outranked_edits(&self, map: NodeIx, key: &str) -> Vec<Conflict> {
        let known = self.nodes.map(map);
        let Some(state) = known.key(key) else { return Vec::new() };
        let removals: Vec<ChangeIx> =
            state.removals().lists().concat().into_iter().map(|made| made.change).collect();
        let mut found = Vec::new();
        for (number, entry) in known.entries_of(key).filter(|(_, entry)| !entry.is_live()) {
            let others = known.entries_of(key).filter(|(other, _)| *other != number);
            let puts = others.flat_map(|(_, other)| other.puts.iter().map(|(put, _)| put.change));
            let seen_by: Vec<ChangeIx> = removals.iter().copied().chain(puts).collect();
            let is_unseen =
                |change: ChangeIx| !seen_by.iter().any(|later| has_seen(&self.history, *later, change));
            let of_entry = self.unseen_edits(entry.node, &is_unseen);
            let unseen =
                || entry.touches.iter().map(|touch| touch.change).filter(|change| is_unseen(*change));
            // Only the last ones: which of those before are still known depends on what came when.
            let is_last = |change: &ChangeIx| {
                !unseen().any(|later| later != *change && has_seen(&self.history, later, *change))
            };
            let last = unseen().filter(is_last).map(|change| Made { change, place: 0 });
            let without_value = last.map(|made| self.conflict(made, Rank::Edit, JsonValue::Null));
            let is_new = |edit: &Conflict| of_entry.iter().all(|known| known.digest != edit.digest);
            found.extend(without_value.filter(is_new));
            found.extend(of_entry);
        }
        found.sort_by_key(|conflict| (Reverse(conflict.lamport), conflict.author, conflict.digest));
        found
    }

    /// What a map holds under a key besides what it shows: other live entries, and other values of the
    /// entry itself where that is a register.
    pub(crate) fn map_conflicts(&self, map: NodeIx, key: &str) -> Vec<Conflict> {
        let entries = self.live_entries(map, key);
        let mut found = Vec::new();
        for (index, (node, put)) in entries.into_iter().enumerate() {
            if matches!(self.types.def(self.nodes.node(node).ty), TypeDef::Register { .. }) {
                let writes = self.ordered_writes(node).into_iter().skip(usize::from(index == 0));
                found.extend(
                    writes.map(|write| self.conflict(write.made, write.rank, self.value_of(node, write))),
                );
            } else if index > 0 {
                found.push(self.conflict(put.0, put.1, self.view(node)));
            }
        }
        found.extend(self.outranked_edits(map, key));
        found
    }

    /// The keys of a map's live entries, ascending.
    pub(crate) fn keys(&self, map: NodeIx) -> Vec<String> {
        let keys = self.nodes.map(map).keys().into_iter();
        let live = keys.filter(|(_, state)| self.shown_entry(map, state).is_some());
        live.map(|(key, _)| key.to_owned()).collect()
    }

    /// Calls `f` with every register and every text below a node, following lists and maps to what is live.
    fn for_each_leaf(&self, node: NodeIx, f: &mut dyn FnMut(&Self, NodeIx)) {
        match self.types.def(self.nodes.node(node).ty) {
            TypeDef::Register { .. } | TypeDef::Text => f(self, node),
            TypeDef::Counter | TypeDef::Any { .. } | TypeDef::Place => {}
            TypeDef::Struct { fields, .. } => {
                let first = self.nodes.node(node).payload;
                (first..).zip(fields).for_each(|(field, _)| self.for_each_leaf(field, f));
            }
            TypeDef::List(_) => {
                let list = self.nodes.list(node);
                list.iter().for_each(|element| self.for_each_leaf(list.element(element).node, f));
            }
            TypeDef::Map(_) => {
                let live = self.keys(node).into_iter().filter_map(|key| self.live_entry(node, &key));
                live.for_each(|entry| self.for_each_leaf(entry, f));
            }
        }
    }

    /// The register that a node is, or the registers of the struct that it is, nested structs included.
    pub(crate) fn own_registers(&self, node: NodeIx) -> Vec<NodeIx> {
        let mut found = Vec::new();
        let mut visit = vec![node];
        while let Some(node) = visit.pop() {
            match self.types.def(self.nodes.node(node).ty) {
                TypeDef::Register { .. } => found.push(node),
                TypeDef::Struct { fields, .. } => {
                    let first = self.nodes.node(node).payload;
                    visit.extend((first..).take(fields.len()));
                }
                TypeDef::List(_)
                | TypeDef::Map(_)
                | TypeDef::Counter
                | TypeDef::Text
                | TypeDef::Any { .. }
                | TypeDef::Place => {}
            }
        }
        found
    }

    /// The name of a struct's field; none for what is no field.
    pub(crate) fn field_name(&self, node: NodeIx) -> Option<&'static str> {
        if node == ROOT_NODE {
            return None;
        }
        let current = self.nodes.node(node);
        match self.types.def(self.nodes.node(current.parent).ty) {
            TypeDef::Struct { fields, .. } => fields.get(current.slot as usize).map(|(name, _)| *name),
            TypeDef::Register { .. }
            | TypeDef::List(_)
            | TypeDef::Map(_)
            | TypeDef::Counter
            | TypeDef::Text
            | TypeDef::Any { .. }
            | TypeDef::Place => None,
        }
    }

    pub(super) fn path_of(&self, mut node: NodeIx, known: &mut KnownIds) -> (Vec<PathSegment>, Option<OpId>) {
        let mut path = Vec::new();
        let mut innermost = None;
        while node != ROOT_NODE {
            let current = self.nodes.node(node);
            let segment = match self.types.def(self.nodes.node(current.parent).ty) {
                TypeDef::List(_) => {
                    let id = current.made.map_or(ROOT_ID, |made| self.id_in(made, known));
                    innermost = innermost.or(Some(id));
                    PathSegment::Element(id)
                }
                TypeDef::Map(_) => {
                    let entry = self.nodes.map(current.parent).entry(current.slot);
                    PathSegment::Key(entry.map(|entry| entry.key.to_string()).unwrap_or_default())
                }
                TypeDef::Struct { .. }
                | TypeDef::Register { .. }
                | TypeDef::Counter
                | TypeDef::Text
                | TypeDef::Any { .. }
                | TypeDef::Place => PathSegment::Field(self.field_name(node).unwrap_or_default().to_owned()),
            };
            path.push(segment);
            node = current.parent;
        }
        path.reverse();
        (path, innermost)
    }

    /// What a change of the history touched; ops without effect in this type are left out.
    pub(crate) fn effects(&self, change: &Change) -> Vec<Edit> {
        self.history
            .find(&change.digest())
            .map(|ix| self.edits_of(ix, None, &mut KnownIds::default()))
            .unwrap_or_default()
    }

    /// Resolves the names of an op of a change in the history.
    pub(crate) fn resolve_op(
        &self,
        op: Op<Name, Slice>,
        change: ChangeIx,
        cast: &Cast,
        standing: &Standing,
    ) -> Option<Op<Made, Slice>> {
        let first = self.history.row(change).first_counter;
        let resolve = |name: Name| {
            if name.author == 0 && name.counter >= first {
                return Ok(Made { change, place: (name.counter - first) as u32 });
            }
            let author = cast.get(name.author as usize).copied().flatten().ok_or(())?;
            self.history.resolve(author, name.counter, standing).ok_or(())
        };
        op.map(resolve, Ok).ok()
    }

    pub(crate) fn describe(
        &self,
        made: Made,
        bytes: &[u8],
        op: &Op<Made, Slice>,
        out: &mut Vec<Edit>,
        known: &mut KnownIds,
    ) {
        let value_of = |slice: &Slice| value_at(bytes, slice.start).ok();
        match &op.kind {
            OpKind::Set { target, value, .. } => {
                if let Ok(node) = self.find_target(target) {
                    let (path, element) = self.path_of(node, known);
                    out.push(Edit { path, element, kind: EditKind::Set, value: value_of(value) });
                }
            }
            OpKind::Insert { value, .. } => {
                if let Some(node) = self.history.node_of(made) {
                    let (path, element) = self.path_of(node, known);
                    out.push(Edit { path, element, kind: EditKind::Insert, value: value_of(value) });
                }
            }
            OpKind::Delete { elements } => {
                for made in elements {
                    if let Some((list, element)) = self.element_of(*made) {
                        let (path, element) =
                            self.path_of(self.nodes.list(list).element(element).node, known);
                        out.push(Edit { path, element, kind: EditKind::Delete, value: None });
                    }
                }
            }
            OpKind::Put { target, key, value, .. } => {
                if let Ok(map) = self.find_target(target) {
                    let (mut path, element) = self.path_of(map, known);
                    path.push(PathSegment::Key(key.clone()));
                    out.push(Edit { path, element, kind: EditKind::Put, value: value_of(value) });
                }
            }
            OpKind::Add { target, delta } => {
                if let Ok(node) = self.find_target(target) {
                    let (path, element) = self.path_of(node, known);
                    let value = Some(JsonValue::from(*delta));
                    out.push(Edit { path, element, kind: EditKind::Add, value });
                }
            }
            OpKind::Text { target, value, .. } => {
                if let Ok(node) = self.find_target(target) {
                    let (path, element) = self.path_of(node, known);
                    out.push(Edit { path, element, kind: EditKind::Type, value: value_of(value) });
                }
            }
            OpKind::Cut { target, ranges } => {
                if let Ok(node) = self.find_target(target) {
                    let (path, element) = self.path_of(node, known);
                    let count = ranges.iter().fold(0u64, |count, range| count.saturating_add(range.count));
                    out.push(Edit { path, element, kind: EditKind::Cut, value: Some(count.into()) });
                }
            }
            OpKind::Move { element, .. } => {
                if let Some((list, element)) = self.element_of(*element) {
                    let (path, element) = self.path_of(self.nodes.list(list).element(element).node, known);
                    out.push(Edit { path, element, kind: EditKind::Move, value: None });
                }
            }
            OpKind::Source { .. } => {}
            OpKind::Remove { target, key } => {
                if let Ok(map) = self.find_target(target) {
                    let (mut path, element) = self.path_of(map, known);
                    path.push(PathSegment::Key(key.clone()));
                    out.push(Edit { path, element, kind: EditKind::Remove, value: None });
                }
            }
        }
    }
}

/// Spells out a name with the public key of its author.
pub(crate) fn long_name(
    name: &Name,
    author: AuthorId,
    authors: &[AuthorId],
) -> Result<LongName, DecodeError> {
    let author = match (name.author as usize).checked_sub(1) {
        None => author,
        Some(index) => {
            *authors.get(index).ok_or(DecodeError::Malformed("a name points beyond the author table"))?
        }
    };
    Ok(LongName { author, counter: name.counter })
}

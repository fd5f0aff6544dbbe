//! What a document shows: values, the conflicts behind them, and where ids and paths lead.

use std::cmp::{Ordering, Reverse};

use crate::change::{Body, Change, Digest, inner_element_id, op_id};
use crate::encoding::DecodeError;
use crate::keypair::AuthorId;
use crate::op::{LongName, Name, Op, OpId, OpKind, ROOT_ID, Rank, Slice, value_at};
use crate::schema::TypeDef;
use crate::state::State;
use crate::state::history::{Cast, ChangeIx, Made, Standing, Status};
use crate::state::integrate::has_seen;
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
                let keys = self.nodes.map(node).keys.iter();
                let live = keys.filter_map(|(key, _)| Some((key, self.live_entry(node, key)?)));
                JsonValue::Object(live.map(|(key, node)| (key.clone(), self.view(node))).collect())
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
        hidden.map(|write| self.conflict(write.made, self.value_of(node, write))).collect()
    }

    fn conflict(&self, made: Made, value: JsonValue) -> Conflict {
        Conflict {
            value,
            author: self.history.author_of(made.change),
            digest: self.history.digest(made.change),
            lamport: self.history.row(made.change).lamport.into(),
        }
    }

    /// Edits inside deleted elements that the deletions had not seen, by the element's id.
    ///
    /// Texts inside show as a whole, where anybody typed in them unseen.
    pub(crate) fn list_conflicts(&self, list: NodeIx) -> Vec<(OpId, Conflict)> {
        let mut found = Vec::new();
        for element in self.nodes.list(list).deleted() {
            let unseen = |change: ChangeIx| {
                change != element.made.change
                    && !element.deletions.iter().any(|deletion| self.history.is_in_past(change, deletion))
            };
            self.for_each_register(element.node, &mut |state, register| {
                for write in state.ordered_writes(register) {
                    if unseen(write.made.change) {
                        let conflict = state.conflict(write.made, state.value_of(register, write));
                        found.push((state.id_of(element.made), conflict));
                    }
                }
            });
        }
        found.sort_by_key(|(id, conflict)| (*id, conflict.digest));
        found
    }

    /// The entry that a map shows under a key: of several live ones, the one whose put comes last in the
    /// register's order.
    pub(crate) fn live_entry(&self, map: NodeIx, key: &str) -> Option<NodeIx> {
        self.live_entries(map, key).first().map(|(node, _)| *node)
    }

    /// The live entries of a key with the last put of each, in the register's order.
    fn live_entries(&self, map: NodeIx, key: &str) -> Vec<(NodeIx, Made)> {
        let map = self.nodes.map(map);
        let Some(state) = map.keys.get(key) else { return Vec::new() };
        let entries = state.entries.iter().filter_map(|entry| map.entries.get(*entry as usize));
        let live = entries.map(|(_, entry)| entry).filter(|entry| !entry.touches.is_empty());
        let order =
            |a: &(Made, Rank), b: &(Made, Rank)| a.1.cmp(&b.1).then_with(|| self.history.order(a.0, b.0));
        let last_put = |puts: &[(Made, Rank)]| puts.iter().copied().max_by(order);
        let mut live: Vec<_> = live.filter_map(|entry| Some((entry.node, last_put(&entry.puts)?))).collect();
        live.sort_by(|(_, a), (_, b)| order(b, a));
        live.into_iter().map(|(node, (made, _))| (node, made)).collect()
    }

    /// Values in removed entries that no removal of the key had seen: edits that a removal outranks.
    fn outranked_edits(&self, map: NodeIx, key: &str) -> Vec<Conflict> {
        let known = self.nodes.map(map);
        let Some(state) = known.keys.get(key) else { return Vec::new() };
        let removals = state.removals.iter().chain(&state.removals_edit).chain(&state.removals_above);
        let removals: Vec<Made> = removals.copied().collect();
        let entries = state.entries.iter().filter_map(|entry| known.entries.get(*entry as usize));
        let mut found = Vec::new();
        for (_, entry) in entries.filter(|(_, entry)| entry.touches.is_empty()) {
            self.for_each_register(entry.node, &mut |state, register| {
                for write in state.ordered_writes(register) {
                    let is_seen =
                        |removal: &Made| has_seen(&state.history, removal.change, write.made.change);
                    if !removals.iter().any(is_seen) {
                        found.push(state.conflict(write.made, state.value_of(register, write)));
                    }
                }
            });
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
                found.extend(writes.map(|write| self.conflict(write.made, self.value_of(node, write))));
            } else if index > 0 {
                found.push(self.conflict(put, self.view(node)));
            }
        }
        found.extend(self.outranked_edits(map, key));
        found
    }

    /// The keys of a map's live entries, ascending.
    pub(crate) fn keys(&self, map: NodeIx) -> Vec<String> {
        let keys = self.nodes.map(map).keys.keys();
        keys.filter(|key| self.live_entry(map, key).is_some()).cloned().collect()
    }

    /// Calls `f` with every register below a node, following lists and maps to what is live.
    pub(crate) fn for_each_register(&self, node: NodeIx, f: &mut dyn FnMut(&Self, NodeIx)) {
        match self.types.def(self.nodes.node(node).ty) {
            TypeDef::Register { .. } => f(self, node),
            TypeDef::Counter | TypeDef::Text | TypeDef::Any { .. } | TypeDef::Place => {}
            TypeDef::Struct { fields, .. } => {
                let first = self.nodes.node(node).payload;
                (first..).zip(fields).for_each(|(field, _)| self.for_each_register(field, f));
            }
            TypeDef::List(_) => {
                let list = self.nodes.list(node);
                list.iter().for_each(|element| self.for_each_register(list.element(element).node, f));
            }
            TypeDef::Map(_) => {
                let live = self.keys(node).into_iter().filter_map(|key| self.live_entry(node, &key));
                live.for_each(|entry| self.for_each_register(entry, f));
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

    /// The id of the op, or of the element, that an op number stands for.
    pub(crate) fn id_of(&self, made: Made) -> OpId {
        let row = self.history.row(made.change);
        let author = self.history.author_of(made.change);
        if row.status != Status::Signed {
            let Some((place, alone)) = self.encode_unsigned_alone(made) else { return ROOT_ID };
            let id = op_id(&self.history.document, &author, row.first_counter + place, &alone);
            return element_id(id, made.place - place as u32);
        }
        let body = self.history.body(made.change);
        let Ok(decoded) = Body::decode(body) else { return ROOT_ID };
        if decoded.ops.len() == 1 {
            return element_id(op_id(&self.history.document, &author, row.first_counter, body), made.place);
        }
        let mut before = 0;
        for op in decoded.ops {
            let span = op.span();
            if u64::from(made.place) < before + span {
                let alone = op.with_value(body).and_then(|op| {
                    let op = op.map(|name| long_name(&name, author, &decoded.authors), Ok)?;
                    Body::encode_alone(&author, op)
                });
                let alone = alone.unwrap_or_default();
                let id = op_id(&self.history.document, &author, row.first_counter + before, &alone);
                return element_id(id, made.place - before as u32);
            }
            before += span;
        }
        ROOT_ID
    }

    /// The list element with an id. Ids are hashed when they are first asked for, O(elements) once.
    pub(crate) fn find_by_id(&mut self, list: NodeIx, id: &OpId) -> Option<u32> {
        while let Some(node) = self.elements.get(self.indexed) {
            if let Some(made) = self.nodes.node(*node).made {
                let node = *node;
                self.by_id.entry(self.id_of(made)).or_default().push(node);
            }
            self.indexed += 1;
        }
        let nodes = self.by_id.get(id)?.iter().copied();
        let in_list = nodes.filter(|node| self.nodes.node(*node).parent == list);
        let change_of =
            |node: NodeIx| self.nodes.node(node).made.map(|made| self.history.digest(made.change));
        in_list.min_by_key(|node| change_of(*node)).map(|node| self.nodes.node(node).slot)
    }

    /// Forgets an element that was never signed.
    pub(crate) fn forget_element(&mut self, node: NodeIx) {
        if let Some(at) = self.elements.iter().rposition(|element| *element == node) {
            self.elements.remove(at);
            if at < self.indexed {
                self.indexed -= 1;
                if let Some(made) = self.nodes.node(node).made
                    && let Some(nodes) = self.by_id.get_mut(&self.id_of(made))
                {
                    nodes.retain(|other| *other != node);
                }
            }
        }
    }

    fn path_of(&self, mut node: NodeIx) -> (Vec<PathSegment>, Option<OpId>) {
        let mut path = Vec::new();
        let mut innermost = None;
        while node != ROOT_NODE {
            let current = self.nodes.node(node);
            let segment = match self.types.def(self.nodes.node(current.parent).ty) {
                TypeDef::List(_) => {
                    let id = current.made.map_or(ROOT_ID, |made| self.id_of(made));
                    innermost = innermost.or(Some(id));
                    PathSegment::Element(id)
                }
                TypeDef::Map(_) => {
                    let entries = &self.nodes.map(current.parent).entries;
                    PathSegment::Key(
                        entries.get(current.slot as usize).map_or_else(String::new, |e| e.0.clone()),
                    )
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
        self.history.find(&change.digest()).map(|ix| self.edits_of(ix, None)).unwrap_or_default()
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
        change: ChangeIx,
        place: u32,
        bytes: &[u8],
        op: &Op<Made, Slice>,
        out: &mut Vec<Edit>,
    ) {
        let value_of = |slice: &Slice| value_at(bytes, slice.start).ok();
        match &op.kind {
            OpKind::Set { target, value, .. } => {
                if let Ok(node) = self.find_target(target) {
                    let (path, element) = self.path_of(node);
                    out.push(Edit { path, element, kind: EditKind::Set, value: value_of(value) });
                }
            }
            OpKind::Insert { value, .. } => {
                if let Some(node) = self.history.node_of(Made { change, place }) {
                    let (path, element) = self.path_of(node);
                    out.push(Edit { path, element, kind: EditKind::Insert, value: value_of(value) });
                }
            }
            OpKind::Delete { elements } => {
                for made in elements {
                    if let Some((list, element)) = self.element_of(*made) {
                        let (path, element) = self.path_of(self.nodes.list(list).element(element).node);
                        out.push(Edit { path, element, kind: EditKind::Delete, value: None });
                    }
                }
            }
            OpKind::Put { target, key, value, .. } => {
                if let Ok(map) = self.find_target(target) {
                    let (mut path, element) = self.path_of(map);
                    path.push(PathSegment::Key(key.clone()));
                    out.push(Edit { path, element, kind: EditKind::Put, value: value_of(value) });
                }
            }
            OpKind::Add { target, delta } => {
                if let Ok(node) = self.find_target(target) {
                    let (path, element) = self.path_of(node);
                    let value = Some(JsonValue::from(*delta));
                    out.push(Edit { path, element, kind: EditKind::Add, value });
                }
            }
            OpKind::Text { target, value, .. } => {
                if let Ok(node) = self.find_target(target) {
                    let (path, element) = self.path_of(node);
                    out.push(Edit { path, element, kind: EditKind::Type, value: value_of(value) });
                }
            }
            OpKind::Cut { target, ranges } => {
                if let Ok(node) = self.find_target(target) {
                    let (path, element) = self.path_of(node);
                    let count = ranges.iter().fold(0u64, |count, range| count.saturating_add(range.count));
                    out.push(Edit { path, element, kind: EditKind::Cut, value: Some(count.into()) });
                }
            }
            OpKind::Move { element, .. } => {
                if let Some((list, element)) = self.element_of(*element) {
                    let (path, element) = self.path_of(self.nodes.list(list).element(element).node);
                    out.push(Edit { path, element, kind: EditKind::Move, value: None });
                }
            }
            OpKind::Source { .. } => {}
            OpKind::Remove { target, key } => {
                if let Ok(map) = self.find_target(target) {
                    let (mut path, element) = self.path_of(map);
                    path.push(PathSegment::Key(key.clone()));
                    out.push(Edit { path, element, kind: EditKind::Remove, value: None });
                }
            }
        }
    }
}

fn element_id(op: OpId, place: u32) -> OpId {
    if place == 0 { op } else { inner_element_id(&op, place.into()) }
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

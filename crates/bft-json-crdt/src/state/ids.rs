//! The ids of ops and elements: hashes, computed when somebody asks.

use std::collections::HashMap;

use crate::change::{Body, inner_element_id, op_id};
use crate::limits::CHANGE_OPS_MAX;
use crate::op::{OpId, OpKind, ROOT_ID};
use crate::state::State;
use crate::state::history::{ChangeIx, Made, Status};
use crate::state::nodes::NodeIx;
use crate::state::view::long_name;

/// Which list elements have which id, as far as anybody asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct ElementIds {
    /// The nodes of all list elements ever made.
    elements: Vec<NodeIx>,
    /// How many of them `by_id` knows.
    indexed: usize,
    by_id: HashMap<OpId, Vec<NodeIx>>,
    /// ElementIds that were computed before: who asks for one asks for its neighbours too.
    known: KnownIds,
}

/// ElementIds of ops, by the changes that the ops are in.
#[derive(Clone, Debug)]
pub(crate) struct KnownIds {
    /// The numbers that each op claims, from and to, by their places in the change.
    by_change: HashMap<ChangeIx, Vec<(u32, u32, OpId)>>,
    ops: usize,
    /// More ops than these are forgotten.
    max: usize,
}

impl Default for KnownIds {
    fn default() -> Self {
        Self { by_change: HashMap::new(), ops: 0, max: 2 * CHANGE_OPS_MAX }
    }
}

impl KnownIds {
    /// For one call that asks for many ids in no order of the changes: no change is hashed twice. It may grow with the
    /// history.
    pub(crate) fn unbounded() -> Self {
        Self { max: usize::MAX, ..Self::default() }
    }

    fn find(&self, made: Made) -> Option<OpId> {
        let ops = self.by_change.get(&made.change)?;
        let at = ops.partition_point(|(_, end, _)| *end <= made.place);
        let (first, _, id) = ops.get(at).filter(|(first, _, _)| *first <= made.place)?;
        Some(element_id(*id, made.place - first))
    }

    /// Adds the ids of ops that follow those that are known of their change, or replaces these.
    fn add(&mut self, change: ChangeIx, ops: Vec<(u32, u32, OpId)>) {
        if self.ops + ops.len() > self.max {
            (self.by_change, self.ops) = (HashMap::new(), 0);
        }
        self.ops += ops.len();
        let known = self.by_change.entry(change).or_default();
        let first = ops.first().map_or(0, |(first, _, _)| *first);
        if known.last().is_some_and(|(_, end, _)| *end > first) {
            self.ops -= known.len();
            known.clear();
        }
        known.extend(ops);
    }
}

/// The id of the `place`-th value of an op.
fn element_id(op: OpId, place: u32) -> OpId {
    if place == 0 { op } else { inner_element_id(&op, place.into()) }
}

impl ElementIds {
    /// Notes a list element that was made.
    pub(crate) fn add(&mut self, element: NodeIx) {
        self.elements.push(element);
    }

    /// All list elements that a snapshot has.
    pub(crate) fn restore(&mut self, elements: Vec<NodeIx>) {
        self.elements = elements;
    }

    /// Forgets an element that was never signed.
    pub(crate) fn forget(&mut self, element: NodeIx) {
        if let Some(at) = self.elements.iter().rposition(|other| *other == element) {
            self.elements.remove(at);
            self.indexed -= usize::from(at < self.indexed);
        }
    }

    /// Heap bytes held, roughly.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.elements.capacity() * size_of::<NodeIx>()
            + self.by_id.capacity() * size_of::<(OpId, Vec<NodeIx>)>()
            + self.by_id.len() * size_of::<NodeIx>()
            + self.known.ops * size_of::<(u32, u32, OpId)>()
    }
}

impl State {
    /// The id of the op, or of the element, that an op number stands for. O(length of the change) for the first
    /// of a change, then O(log n).
    pub(crate) fn id_of(&mut self, made: Made) -> OpId {
        let mut known = std::mem::take(&mut self.ids.known);
        let id = self.id_in(made, &mut known);
        self.ids.known = known;
        id
    }

    /// As [`Self::id_of`], with the ids that were computed before in `known`.
    pub(crate) fn id_in(&self, made: Made, known: &mut KnownIds) -> OpId {
        if let Some(id) = known.find(made) {
            return id;
        }
        if self.history.row(made.change).status == Status::Signed {
            known.add(made.change, self.ids_of_change(made.change).unwrap_or_default());
            return known.find(made).unwrap_or(ROOT_ID);
        }
        let Some((op, is_final)) = self.id_of_unsigned(made) else { return ROOT_ID };
        if is_final {
            known.add(made.change, vec![op]);
        }
        element_id(op.2, made.place - op.0)
    }

    /// The id of an op that is not signed, and whether it will stay: later edits go on in texts.
    fn id_of_unsigned(&self, made: Made) -> Option<((u32, u32, OpId), bool)> {
        let row = self.history.row(made.change);
        let (place, op, alone) = self.encode_unsigned_alone(made)?;
        let author = self.history.author_of(made.change);
        let id = op_id(&self.history.document, &author, row.first_counter + u64::from(place), &alone);
        let is_final = matches!(op.kind, OpKind::Insert { .. } | OpKind::Put { .. });
        Some(((place, place + op.span() as u32, id), is_final))
    }

    fn ids_of_change(&self, change: ChangeIx) -> Option<Vec<(u32, u32, OpId)>> {
        let (row, author) = (self.history.row(change), self.history.author_of(change));
        let body = self.history.body(change);
        let decoded = Body::decode(body).ok()?;
        let is_alone = decoded.ops.len() == 1;
        let (mut ops, mut place) = (Vec::with_capacity(decoded.ops.len()), 0u32);
        for op in decoded.ops {
            let span = op.span() as u32;
            let encoded;
            let alone = if is_alone {
                body
            } else {
                let op = op.with_value(body).ok()?;
                let op = op.map(|name| long_name(&name, author, &decoded.authors), Ok).ok()?;
                encoded = Body::encode_alone(&author, op).ok()?;
                &encoded
            };
            let counter = row.first_counter + u64::from(place);
            ops.push((place, place + span, op_id(&self.history.document, &author, counter, alone)));
            place += span;
        }
        Some(ops)
    }

    /// The list element with an id. ElementIds are hashed when they are first asked for, O(length of the history) once.
    pub(crate) fn find_by_id(&mut self, list: NodeIx, id: &OpId) -> Option<u32> {
        let mut ids = std::mem::take(&mut self.ids);
        while let Some(node) = ids.elements.get(ids.indexed).copied() {
            if let Some(made) = self.nodes.node(node).made {
                ids.by_id.entry(self.id_in(made, &mut ids.known)).or_default().push(node);
            }
            ids.indexed += 1;
        }
        self.ids = ids;
        let change_of = |node: NodeIx| {
            let change = self.nodes.node(node).made?.change;
            let is_given_up = self.history.row(change).status == Status::Undone;
            (self.nodes.node(node).parent == list && !is_given_up)
                .then(|| (self.history.digest(change), node))
        };
        let nodes = self.ids.by_id.get(id)?.iter().copied();
        nodes.filter_map(change_of).min().map(|(_, node)| self.nodes.node(node).slot)
    }
}

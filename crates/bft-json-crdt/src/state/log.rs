//! The history as people read it: who did what to which node, in causal order.

use std::collections::BTreeSet;

use crate::change::{Body, Digest};
use crate::keypair::AuthorId;
use crate::op::{Op, OpKind, Slice};
use crate::state::State;
use crate::state::history::{ChangeIx, Equivocation, Made};
use crate::state::ids::KnownIds;
use crate::state::map::Entry;
use crate::state::nodes::{NO_NODE, NodeIx};
use crate::state::view::Edit;

/// A change of the document's history, and what it did.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// The change.
    pub digest: Digest,
    /// Who made it.
    pub author: AuthorId,
    /// Its place in the author's chain, from 1.
    pub seq: u64,
    /// Its logical time.
    pub lamport: u64,
    /// What its ops touched; those without effect in this document's type are left out.
    pub edits: Vec<Edit>,
    /// Its author signed another change after the same one: see `BaseCrdt::equivocations` for the evidence.
    pub is_contested: bool,
}

impl State {
    /// Up to `limit` entries from the `from`-th change on, each after its past.
    pub(crate) fn history_entries(&self, from: usize, limit: usize) -> Vec<HistoryEntry> {
        let contested = self.contested();
        let changes = self.history.signed().skip(from).take(limit);
        let mut known = KnownIds::default();
        changes.map(|change| self.entry_of(change, &contested, None, &mut known)).collect()
    }

    /// The changes that touched a node or anything in it. O(history).
    pub(crate) fn node_history(&self, node: NodeIx) -> Vec<HistoryEntry> {
        let contested = self.contested();
        let mut known = KnownIds::default();
        let changes = self.history.signed();
        let entries = changes.map(|change| self.entry_of(change, &contested, Some(node), &mut known));
        entries.filter(|entry| !entry.edits.is_empty()).collect()
    }

    /// The evidence of forks, but for those of the source author.
    pub(crate) fn equivocations(&self) -> Vec<Equivocation> {
        let mut evidence = self.history.equivocations();
        evidence.retain(|evidence| Some(evidence.author) != self.source());
        evidence
    }

    fn contested(&self) -> BTreeSet<Digest> {
        self.equivocations().into_iter().flat_map(|evidence| evidence.changes).collect()
    }

    fn entry_of(
        &self,
        ix: ChangeIx,
        contested: &BTreeSet<Digest>,
        below: Option<NodeIx>,
        known: &mut KnownIds,
    ) -> HistoryEntry {
        let row = self.history.row(ix);
        let digest = self.history.digest(ix);
        HistoryEntry {
            digest,
            author: self.history.author_of(ix),
            seq: row.seq.into(),
            lamport: row.lamport.into(),
            edits: self.edits_of(ix, below, known),
            is_contested: contested.contains(&digest),
        }
    }

    /// What a change of the history touched: all of it, or what is below a node.
    pub(crate) fn edits_of(&self, ix: ChangeIx, below: Option<NodeIx>, known: &mut KnownIds) -> Vec<Edit> {
        let bytes = self.history.body(ix);
        let Ok(Body { authors, ops }) = Body::decode(bytes) else { return Vec::new() };
        let standing = self.history.standing(ix);
        let cast = self.history.cast(&self.history.author_of(ix), &authors);
        let mut place = 0;
        let mut edits = Vec::new();
        for op in ops {
            let span = op.span() as u32;
            if let Some(op) = self.resolve_op(op, ix, &cast, &standing)
                && below.is_none_or(|below| self.touches(Made { change: ix, place }, &op, below))
            {
                self.describe(Made { change: ix, place }, bytes, &op, &mut edits, known);
            }
            place += span;
        }
        edits
    }

    /// Whether an op touches a node or anything in it.
    fn touches(&self, made: Made, op: &Op<Made, Slice>, node: NodeIx) -> bool {
        let is_below = |at: NodeIx| self.is_below(at, node);
        // What comes and goes takes with it what is inside.
        let is_related = |at: NodeIx| self.is_below(at, node) || self.is_below(node, at);
        let of_element = |made: Made| {
            let element = self.element_of(made).map(|(list, at)| self.nodes.list(list).element(at).node);
            element.is_some_and(is_related)
        };
        match &op.kind {
            OpKind::Set { target, .. }
            | OpKind::Add { target, .. }
            | OpKind::Text { target, .. }
            | OpKind::Cut { target, .. } => self.find_target(target).is_ok_and(is_below),
            OpKind::Insert { .. } => of_element(made),
            OpKind::Delete { elements } => elements.iter().any(|made| of_element(*made)),
            OpKind::Move { element, .. } => of_element(*element),
            OpKind::Put { target, key, .. } | OpKind::Remove { target, key } => {
                self.find_target(target).is_ok_and(|map| {
                    let entry_of = |entry: &Entry| *entry.key == **key && is_related(entry.node);
                    is_below(map) || self.nodes.map(map).entries().iter().any(entry_of)
                })
            }
            OpKind::Source { .. } => false,
        }
    }

    fn is_below(&self, mut at: NodeIx, node: NodeIx) -> bool {
        while at != node {
            if at == NO_NODE {
                return false;
            }
            at = self.nodes.node(at).parent;
        }
        true
    }
}

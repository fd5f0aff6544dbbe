//! Where a document holds more than it shows.

use std::collections::BTreeSet;

use crate::change::Digest;
use crate::op::Rank;
use crate::schema::TypeDef;
use crate::state::State;
use crate::state::history::Made;
use crate::state::ids::KnownIds;
use crate::state::integrate::has_seen;
use crate::state::map::Entry;
use crate::state::nodes::{NodeIx, ROOT_NODE, Writes};
use crate::state::view::{Conflict, PathSegment};
use crate::value::JsonValue;

/// A place where edits met that had not seen each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispute {
    /// Where: a register, or the entry of a map.
    pub path: Vec<PathSegment>,
    /// What it shows; none for an entry that is removed.
    pub shown: Option<Conflict>,
    /// Values that lost, the next in order first; in a removed entry those that the removal had not seen, and nulls for
    /// edits inside that left no value of their own: somebody cut from a text, or removed something.
    pub hidden: Vec<Conflict>,
    /// Removals that lost against puts and edits inside, none of which has seen them. Their values are null.
    pub removals: Vec<Conflict>,
}

impl State {
    /// All places where edits met, ascending by path. Elements that a list lost are not among them.
    pub(crate) fn disputes(&self) -> Vec<Dispute> {
        let mut keys: BTreeSet<(NodeIx, &str)> = BTreeSet::new();
        let (mut found, mut known) = (Vec::new(), KnownIds::unbounded());
        for (number, node) in self.nodes.iter() {
            match self.types.def(node.ty) {
                TypeDef::Register { .. } if self.nodes.writes(number).nth(1).is_some() => {
                    // Those in maps are looked at together with the other entries of their key.
                    match self.entry_key(number) {
                        Some(key) => keys.extend([(node.parent, key)]),
                        None => {
                            let dispute = self.register_dispute(number, &mut known);
                            found.extend(dispute.map(|dispute| (dispute, number)));
                        }
                    }
                }
                TypeDef::Map(_) => {
                    keys.extend(self.nodes.map(number).contested().map(|key| (number, key)));
                }
                TypeDef::Register { .. }
                | TypeDef::Struct { .. }
                | TypeDef::List(_)
                | TypeDef::Text
                | TypeDef::Counter
                | TypeDef::Any { .. }
                | TypeDef::Place => {}
            }
        }
        for (map, key) in keys {
            found.extend(self.entry_dispute(map, key, &mut known).map(|dispute| (dispute, map)));
        }
        found.sort_by_cached_key(|(dispute, node)| (sorted_by(&dispute.path), self.elements_above(*node)));
        found.into_iter().map(|(dispute, _)| dispute).collect()
    }

    /// The changes that made the list elements which a node lies in: two whose author signed them apart can have one id.
    fn elements_above(&self, mut node: NodeIx) -> Vec<Digest> {
        let mut changes = Vec::new();
        while node != ROOT_NODE {
            let current = self.nodes.node(node);
            if matches!(self.types.def(self.nodes.node(current.parent).ty), TypeDef::List(_)) {
                changes.extend(current.made.map(|made| self.history.digest(made.change)));
            }
            node = current.parent;
        }
        changes.reverse();
        changes
    }

    /// The key of a node that is an entry of a map.
    fn entry_key(&self, node: NodeIx) -> Option<&str> {
        let current = self.nodes.node(node);
        let is_entry = node != ROOT_NODE
            && matches!(self.types.def(self.nodes.node(current.parent).ty), TypeDef::Map(_));
        if !is_entry {
            return None;
        }
        self.nodes.map(current.parent).entry(current.slot).map(|entry| &*entry.key)
    }

    fn register_dispute(&self, node: NodeIx, known: &mut KnownIds) -> Option<Dispute> {
        if !self.is_shown(node) {
            return None;
        }
        let writes = self.ordered_writes(node).into_iter();
        let mut values: Vec<Conflict> =
            writes.map(|write| self.conflict(write.made, write.rank, self.value_of(node, write))).collect();
        let hidden = values.split_off(1);
        let (path, _) = self.path_of(node, known);
        Some(Dispute { path, shown: values.pop(), hidden, removals: Vec::new() })
    }

    fn is_register(&self, node: NodeIx) -> bool {
        matches!(self.types.def(self.nodes.node(node).ty), TypeDef::Register { .. })
    }

    /// What is disputed about the entry of a key itself.
    fn entry_dispute(&self, map: NodeIx, key: &str, known: &mut KnownIds) -> Option<Dispute> {
        if !self.is_shown(map) {
            return None;
        }
        let first = self.live_entries(map, key).first().map(|(node, put)| (*node, *put));
        let hidden = self.map_conflicts(map, key);
        let removals = if first.is_some() { self.lost_removals(map, key) } else { Vec::new() };
        if hidden.is_empty() && removals.is_empty() {
            return None;
        }
        let shown = first.map(|(node, (made, rank))| match self.ordered_writes_of(node).into_iter().next() {
            Some(write) => self.conflict(write.made, write.rank, self.value_of(node, write)),
            None => self.conflict(made, rank, self.view(node)),
        });
        let (mut path, _) = self.path_of(map, known);
        path.push(PathSegment::Key(key.to_owned()));
        Some(Dispute { path, shown, hidden, removals })
    }

    fn ordered_writes_of(&self, node: NodeIx) -> Writes {
        if self.is_register(node) { self.ordered_writes(node) } else { Writes::new() }
    }

    /// Removals of the entries that a key shows which lost, and which nothing that was done to them has seen.
    fn lost_removals(&self, map: NodeIx, key: &str) -> Vec<Conflict> {
        let map = self.nodes.map(map);
        let Some(state) = map.key(key) else { return Vec::new() };
        let mut lost: Vec<Made> = Vec::new();
        let live = || map.live_of(key).iter().filter_map(|entry| map.entry(*entry));
        let is_seen = |removal: &Made| {
            let mut touches = live().flat_map(|entry| &entry.touches);
            touches.any(|touch| has_seen(&self.history, touch.change, removal.change))
        };
        for entry in live() {
            let is_lost = |removal: &Made| {
                !entry.removals_seen().contains(removal)
                    && self.has_seen_put(*removal, entry)
                    && !is_seen(removal)
            };
            lost.extend(state.removals().last.iter().copied().filter(is_lost));
        }
        lost.sort_by(|a, b| self.history.order(*b, *a));
        lost.dedup();
        lost.into_iter().map(|made| self.conflict(made, Rank::Edit, JsonValue::Null)).collect()
    }

    fn has_seen_put(&self, removal: Made, entry: &Entry) -> bool {
        entry.puts.iter().any(|(put, _)| has_seen(&self.history, removal.change, put.change))
    }
}

fn sorted_by(path: &[PathSegment]) -> Vec<String> {
    let names = path.iter().map(|segment| match segment {
        PathSegment::Field(name) | PathSegment::Key(name) => name.clone(),
        PathSegment::Element(id) => format!("{id:?}"),
    });
    names.collect()
}

//! The nodes of a document: what its type and its ops have made, numbered densely.
//!
//! A node knows its type, its parent and its place there; registers, lists and maps keep their contents in
//! tables of their own. A struct's fields are consecutive nodes. Nothing stores a path.

use std::cmp::Ordering;

use smallvec::SmallVec;

use crate::op::Rank;
use crate::schema::{TypeDef, TypeIx, TypeTable};
use crate::state::history::Made;
use crate::state::list::{List, ListSeed, Move};
use crate::state::map::Map;
use crate::state::snapshot::LazyText;
use crate::state::text::Text;

pub(crate) type NodeIx = u32;
pub(crate) const NO_NODE: NodeIx = u32::MAX;
/// The document's root struct.
pub(crate) const ROOT_NODE: NodeIx = 0;

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) ty: TypeIx,
    pub(crate) parent: NodeIx,
    /// Which field, element or entry of its parent it is.
    pub(crate) slot: u32,
    /// A struct's first field, or the place in the table of registers, lists or maps.
    pub(crate) payload: u32,
    /// The op number that names it; without one it is named by its parent and its key.
    pub(crate) made: Option<Made>,
}

/// One value that was written to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) made: Made,
    /// Where the value starts among the document's values.
    pub(crate) value: u32,
    /// The rank that counts: everybody's is an edit's but the source author's.
    pub(crate) rank: Rank,
}

/// Values of one register: mostly one.
pub(crate) type Writes = SmallVec<[Write; 1]>;

/// The values of a register that no known write has overwritten. Mostly one: others go to a side table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Register {
    first: Option<Write>,
    more: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Nodes {
    nodes: Vec<Node>,
    registers: Vec<Register>,
    more_writes: Vec<Vec<Write>>,
    lists: Vec<List>,
    maps: Vec<Map>,
    /// Sums. 2^32 changes of 64-bit numbers cannot overflow them.
    counters: Vec<i128>,
    texts: Vec<LazyText>,
}

#[expect(clippy::indexing_slicing, reason = "the numbers of nodes and of their contents are made here only")]
impl Nodes {
    pub(crate) fn node(&self, node: NodeIx) -> &Node {
        &self.nodes[node as usize]
    }

    /// All nodes, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeIx, &Node)> {
        (0..).zip(&self.nodes)
    }

    pub(crate) fn node_mut(&mut self, node: NodeIx) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    /// Makes a node and, for a struct, its fields.
    pub(crate) fn make(&mut self, types: &TypeTable, ty: TypeIx, parent: NodeIx, slot: u32) -> NodeIx {
        let node = self.nodes.len() as NodeIx;
        self.nodes.push(Node { ty, parent, slot, payload: u32::MAX, made: None });
        self.fill(types, node);
        node
    }

    /// Makes the node that stands for a place which an element of `list` was moved to.
    pub(crate) fn make_place(&mut self, list: NodeIx, slot: u32) -> NodeIx {
        let node = self.nodes.len() as NodeIx;
        self.nodes.push(Node { ty: TypeIx::PLACE, parent: list, slot, payload: u32::MAX, made: None });
        node
    }

    /// Gives a new node its empty contents.
    fn fill(&mut self, types: &TypeTable, node: NodeIx) {
        let ty = types.concrete(self.node(node).ty, None);
        self.node_mut(node).ty = ty;
        let payload = match types.def(ty) {
            TypeDef::Register { .. } => {
                self.registers.push(Register { first: None, more: u32::MAX });
                self.registers.len() - 1
            }
            TypeDef::List(_) => {
                self.lists.push(List::new());
                self.lists.len() - 1
            }
            TypeDef::Counter => {
                self.counters.push(0);
                self.counters.len() - 1
            }
            TypeDef::Text => {
                self.texts.push(LazyText::new());
                self.texts.len() - 1
            }
            TypeDef::Any { .. } | TypeDef::Place => return,
            TypeDef::Map(_) => {
                self.maps.push(Map::default());
                self.maps.len() - 1
            }
            TypeDef::Struct { fields, .. } => {
                let first = self.nodes.len();
                for (slot, (_, ty)) in (0..).zip(fields) {
                    self.nodes.push(Node { ty: *ty, parent: node, slot, payload: u32::MAX, made: None });
                }
                for field in first..first + fields.len() {
                    self.fill(types, field as NodeIx);
                }
                first
            }
        };
        self.node_mut(node).payload = payload as u32;
    }

    pub(crate) fn list(&self, node: NodeIx) -> &List {
        &self.lists[self.node(node).payload as usize]
    }

    pub(crate) fn list_mut(&mut self, node: NodeIx) -> &mut List {
        let payload = self.node(node).payload;
        &mut self.lists[payload as usize]
    }

    pub(crate) fn map(&self, node: NodeIx) -> &Map {
        &self.maps[self.node(node).payload as usize]
    }

    pub(crate) fn map_mut(&mut self, node: NodeIx) -> &mut Map {
        let payload = self.node(node).payload;
        &mut self.maps[payload as usize]
    }

    pub(crate) fn text(&self, node: NodeIx) -> &Text {
        self.texts[self.node(node).payload as usize].get()
    }

    pub(crate) fn text_mut(&mut self, node: NodeIx) -> &mut Text {
        let payload = self.node(node).payload;
        self.texts[payload as usize].get_mut()
    }

    pub(crate) fn counter(&self, node: NodeIx) -> i128 {
        self.counters[self.node(node).payload as usize]
    }

    pub(crate) fn add(&mut self, node: NodeIx, delta: i128) {
        let payload = self.node(node).payload;
        self.counters[payload as usize] += delta;
    }

    pub(crate) fn has_maps(&self) -> bool {
        !self.maps.is_empty()
    }

    /// All values of a register that no known write has overwritten, in no particular order.
    pub(crate) fn writes(&self, node: NodeIx) -> impl Iterator<Item = Write> + '_ {
        self.writes_of(self.node(node).payload as usize)
    }

    pub(crate) fn add_write(&mut self, node: NodeIx, write: Write) {
        self.restore_write(self.node(node).payload as usize, write);
    }

    /// Calls `f` with every value that a register holds.
    pub(crate) fn for_each_write(&mut self, mut f: impl FnMut(&mut Write)) {
        for register in &mut self.registers {
            register.first.iter_mut().for_each(&mut f);
        }
        self.more_writes.iter_mut().flatten().for_each(f);
    }

    /// Gives the `at`-th register one more value.
    pub(crate) fn restore_write(&mut self, at: usize, write: Write) {
        let register = &mut self.registers[at];
        if register.first.is_none() {
            register.first = Some(write);
        } else {
            if register.more == u32::MAX {
                register.more = self.more_writes.len() as u32;
                self.more_writes.push(Vec::new());
            }
            self.more_writes[register.more as usize].push(write);
        }
    }

    /// Takes out those of `named` that the register holds, and returns them.
    pub(crate) fn remove_writes(&mut self, node: NodeIx, named: &[Made]) -> Writes {
        let payload = self.node(node).payload as usize;
        let register = &mut self.registers[payload];
        let mut removed = Writes::new();
        let is_named = |write: &Write| named.contains(&write.made);
        if let Some(more) = self.more_writes.get_mut(register.more as usize) {
            more.retain(|write| {
                let keep = !is_named(write);
                if !keep {
                    removed.push(*write);
                }
                keep
            });
            if register.first.is_none_or(|first| is_named(&first)) {
                removed.extend(register.first.take());
                register.first = more.pop();
            }
        } else if register.first.is_some_and(|first| is_named(&first)) {
            removed.extend(register.first.take());
        }
        removed
    }

    /// Heap bytes held, but for texts.
    pub(crate) fn heap_bytes(&self) -> usize {
        let more = self.more_writes.iter().map(|more| more.capacity() * size_of::<Write>());
        let lists = self.lists.iter().map(List::heap_bytes);
        let maps = self.maps.iter().map(Map::heap_bytes);
        self.nodes.capacity() * size_of::<Node>()
            + self.registers.capacity() * size_of::<Register>()
            + self.counters.capacity() * size_of::<i128>()
            + more.sum::<usize>()
            + lists.sum::<usize>()
            + maps.sum::<usize>()
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> NodeIx {
        self.nodes.len() as NodeIx
    }

    pub(crate) fn texts(&self) -> &[LazyText] {
        &self.texts
    }

    pub(crate) fn text_count(&self) -> usize {
        self.texts.len()
    }

    pub(crate) fn set_text(&mut self, at: usize, text: LazyText) {
        self.texts[at] = text;
    }

    pub(crate) fn lists(&self) -> &[List] {
        &self.lists
    }

    pub(crate) fn maps(&self) -> &[Map] {
        &self.maps
    }

    pub(crate) fn map_at(&mut self, at: usize) -> &mut Map {
        &mut self.maps[at]
    }

    pub(crate) fn counters(&self) -> &[i128] {
        &self.counters
    }

    pub(crate) fn restore_counter(&mut self, at: usize, sum: i128) {
        self.counters[at] = sum;
    }

    pub(crate) fn register_count(&self) -> usize {
        self.registers.len()
    }

    /// The nodes that stand in each list, by their places, with what made each place.
    pub(crate) fn places_by_list(&self, types: &TypeTable) -> Vec<Vec<(NodeIx, Option<Made>)>> {
        self.by_parent(self.lists.len(), |ty| matches!(types.def(ty), TypeDef::List(_)))
    }

    /// The nodes of each map's entries.
    pub(crate) fn entries_by_map(&self, types: &TypeTable) -> Vec<Vec<NodeIx>> {
        let entries = self.by_parent(self.maps.len(), |ty| matches!(types.def(ty), TypeDef::Map(_)));
        entries.into_iter().map(|entries| entries.into_iter().map(|(node, _)| node).collect()).collect()
    }

    /// The nodes below the containers of one kind, each container's in the order of their slots.
    fn by_parent(&self, count: usize, is_kind: impl Fn(TypeIx) -> bool) -> Vec<Vec<(NodeIx, Option<Made>)>> {
        let mut found = vec![Vec::new(); count];
        for (number, node) in (0..).zip(&self.nodes).skip(1) {
            let parent = self.node(node.parent);
            if is_kind(parent.ty) {
                found[parent.payload as usize].push((number, node.made));
            }
        }
        found
    }

    /// Fills an empty list; false where the seed is none.
    pub(crate) fn restore_list(
        &mut self,
        at: usize,
        seed: ListSeed,
        order: impl Fn(&Move, &Move) -> Ordering,
    ) -> bool {
        match List::restore(seed, order) {
            Some(list) => {
                self.lists[at] = list;
                true
            }
            None => false,
        }
    }

    /// The nodes of all list elements that were not taken back.
    pub(crate) fn live_elements(&self, types: &TypeTable) -> Vec<NodeIx> {
        let elements = (0..).zip(&self.nodes).skip(1).filter(|(_, node)| {
            node.made.is_some()
                && node.ty != TypeIx::PLACE
                && matches!(types.def(self.node(node.parent).ty), TypeDef::List(_))
        });
        elements.map(|(number, _)| number).collect()
    }

    /// The values of the `at`-th register.
    pub(crate) fn writes_of(&self, at: usize) -> impl Iterator<Item = Write> + '_ {
        let register = &self.registers[at];
        let more = self.more_writes.get(register.more as usize).map(|more| &more[..]).unwrap_or_default();
        register.first.into_iter().chain(more.iter().copied())
    }

    /// Counts the containers above a node, to bound how deep a document can grow.
    pub(crate) fn depth(&self, mut node: NodeIx) -> usize {
        let mut depth = 0;
        while node != ROOT_NODE && node != NO_NODE {
            depth += 1;
            node = self.node(node).parent;
        }
        depth
    }
}

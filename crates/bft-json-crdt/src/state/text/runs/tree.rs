//! The B+ tree above the runs: leaves of up to 32, linked in order. Each inner node keeps, for each child,
//! how many characters are visible below it and the least depths that its runs open and close.

use super::{NONE, RUNS_MAX, Run};

const CHILDREN_MAX: usize = if cfg!(test) { 5 } else { 32 };

#[derive(Clone, Debug)]
pub(super) struct Tree {
    leaves: Vec<Leaf>,
    inners: Vec<Inner>,
    root: u32,
    first_leaf: u32,
    visible: u32,
}

/// Only a tree's sole leaf may be empty.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) runs: Vec<Run>,
    pub(super) next: u32,
    previous: u32,
    /// The inner node above, `NONE` at the top, and the place among its children.
    parent: u32,
    slot: u32,
}

#[derive(Clone, Debug)]
struct Inner {
    children: Vec<Child>,
    is_above_leaves: bool,
    parent: u32,
    slot: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Child {
    node: u32,
    visible: u32,
    opens: u32,
    closes: u32,
}

/// What splitting a leaf did: the first `kept` runs are in front, the others behind.
pub(super) struct Split {
    pub(super) new: u32,
    pub(super) kept: usize,
    pub(super) new_is_behind: bool,
}

#[expect(clippy::indexing_slicing, reason = "the numbers of leaves and inner nodes are made here only")]
impl Tree {
    pub(super) fn new() -> Self {
        let leaf = Leaf { runs: Vec::new(), next: NONE, previous: NONE, parent: NONE, slot: 0 };
        Self { leaves: vec![leaf], inners: Vec::new(), root: NONE, first_leaf: 0, visible: 0 }
    }

    pub(super) fn visible_len(&self) -> u32 {
        self.visible
    }

    pub(super) fn first_leaf(&self) -> u32 {
        self.first_leaf
    }

    pub(super) fn leaf(&self, leaf: u32) -> &Leaf {
        &self.leaves[leaf as usize]
    }

    /// A leaf, if the number is one.
    pub(super) fn get_leaf(&self, leaf: u32) -> Option<&Leaf> {
        self.leaves.get(leaf as usize)
    }

    pub(super) fn leaf_mut(&mut self, leaf: u32) -> &mut Leaf {
        &mut self.leaves[leaf as usize]
    }

    /// Adds to the count of a leaf's visible characters.
    pub(super) fn count(&mut self, leaf: u32, by: i64) {
        // The sum is in u32 since no text holds more characters; wrapping makes one loop of both directions.
        let by = by as u32;
        self.visible = self.visible.wrapping_add(by);
        let Leaf { mut parent, mut slot, .. } = self.leaves[leaf as usize];
        while parent != NONE {
            let inner = &mut self.inners[parent as usize];
            let visible = &mut inner.children[slot as usize].visible;
            *visible = visible.wrapping_add(by);
            (parent, slot) = (inner.parent, inner.slot);
        }
    }

    /// Brings the depths above a leaf up to date.
    pub(super) fn refresh(&mut self, leaf: u32) {
        let Leaf { mut parent, mut slot, .. } = self.leaves[leaf as usize];
        let mut depths = least(self.leaves[leaf as usize].runs.iter().map(Run::depths));
        while parent != NONE {
            let inner = &mut self.inners[parent as usize];
            let child = &mut inner.children[slot as usize];
            if (child.opens, child.closes) == depths {
                return;
            }
            (child.opens, child.closes) = depths;
            depths = least(inner.children.iter().map(|child| (child.opens, child.closes)));
            (parent, slot) = (inner.parent, inner.slot);
        }
    }

    /// How many visible characters stand before a leaf.
    pub(super) fn visible_before(&self, leaf: u32) -> u32 {
        let Leaf { mut parent, mut slot, .. } = self.leaves[leaf as usize];
        let mut before = 0;
        while parent != NONE {
            let inner = &self.inners[parent as usize];
            before += inner.children[..slot as usize].iter().map(|child| child.visible).sum::<u32>();
            (parent, slot) = (inner.parent, inner.slot);
        }
        before
    }

    /// The leaf that shows the character at a position, which is below the number of visible ones, and how
    /// many visible characters stand before the leaf.
    pub(super) fn leaf_showing(&self, position: u32) -> (u32, u32) {
        let mut start = 0;
        let found = self.descend(self.root, |inner| {
            inner.children.iter().position(|child| {
                let found = position - start < child.visible;
                start += if found { 0 } else { child.visible };
                found
            })
        });
        (found, start)
    }

    /// The first run, from one on, whose last character closes a subtree at most so deep.
    pub(super) fn next_closing(&self, leaf: u32, at: usize, depth: u32) -> (u32, usize) {
        let here = &self.leaves[leaf as usize];
        let closes = |run: &Run| run.depths().1 <= depth;
        if let Some(found) = here.runs[at..].iter().position(closes) {
            return (leaf, at + found);
        }
        let find = |children: &[Child]| children.iter().position(|child| child.closes <= depth);
        let (mut parent, mut slot) = (here.parent, here.slot as usize);
        while parent != NONE {
            let inner = &self.inners[parent as usize];
            if let Some(found) = find(&inner.children[slot + 1..]) {
                let leaf = self.descend_from(inner, slot + 1 + found, |inner| find(&inner.children));
                let found = self.leaves[leaf as usize].runs.iter().position(closes);
                return (leaf, found.unwrap_or_default());
            }
            (parent, slot) = (inner.parent, inner.slot as usize);
        }
        (leaf, at)
    }

    /// The last run, up to one, whose first character opens a subtree at most so deep.
    pub(super) fn previous_opening(&self, leaf: u32, at: usize, depth: u32) -> (u32, usize) {
        let here = &self.leaves[leaf as usize];
        let opens = |run: &Run| run.depths().0 <= depth;
        if let Some(found) = here.runs[..=at].iter().rposition(opens) {
            return (leaf, found);
        }
        let find = |children: &[Child]| children.iter().rposition(|child| child.opens <= depth);
        let (mut parent, mut slot) = (here.parent, here.slot as usize);
        while parent != NONE {
            let inner = &self.inners[parent as usize];
            if let Some(found) = find(&inner.children[..slot]) {
                let leaf = self.descend_from(inner, found, |inner| find(&inner.children));
                let found = self.leaves[leaf as usize].runs.iter().rposition(opens);
                return (leaf, found.unwrap_or_default());
            }
            (parent, slot) = (inner.parent, inner.slot as usize);
        }
        (leaf, at)
    }

    /// The run before a place.
    pub(super) fn run_before(&self, leaf: u32, at: usize) -> Option<(u32, usize)> {
        if let Some(before) = at.checked_sub(1) {
            return Some((leaf, before));
        }
        let previous = self.leaves[leaf as usize].previous;
        let last = self.get_leaf(previous)?.runs.len().checked_sub(1)?;
        Some((previous, last))
    }

    /// The run at a place, or the first one of the next leaf if this one ends before it.
    pub(super) fn run_from(&self, leaf: u32, at: usize) -> Option<(u32, usize)> {
        let here = &self.leaves[leaf as usize];
        if at < here.runs.len() {
            return Some((leaf, at));
        }
        self.get_leaf(here.next).map(|_| (here.next, 0))
    }

    /// Splits a leaf, whose characters then are in this leaf or in a new one: the half with fewer characters
    /// moves. So characters move O(log n) times each, wherever an author makes leaves split.
    pub(super) fn split_leaf(&mut self, leaf: u32) -> Split {
        let new = self.leaves.len() as u32;
        let old = &mut self.leaves[leaf as usize];
        // Texts mostly grow at their end: leave such a leaf nearly full.
        let kept = if old.next == NONE { RUNS_MAX * 3 / 4 } else { old.runs.len() / 2 };
        let mut moved = old.runs.split_off(kept);
        let chars = |runs: &[Run]| runs.iter().map(|run| u64::from(run.len)).sum::<u64>();
        let new_is_behind = chars(&moved) <= chars(&old.runs);
        let (previous, next) = if new_is_behind {
            (leaf, std::mem::replace(&mut old.next, new))
        } else {
            std::mem::swap(&mut moved, &mut old.runs);
            (std::mem::replace(&mut old.previous, new), leaf)
        };
        let (parent, slot) = (old.parent, old.slot);
        if new_is_behind {
            self.link_back(next, new);
        } else {
            self.link_on(previous, new);
        }
        self.leaves.push(Leaf { runs: moved, next, previous, parent: NONE, slot: 0 });
        if parent == NONE {
            let pair = if new_is_behind { [leaf, new] } else { [new, leaf] };
            let children = pair.iter().map(|leaf| self.above_leaf(*leaf)).collect();
            self.add_root(children, true);
        } else {
            self.inners[parent as usize].children[slot as usize] = self.above_leaf(leaf);
            let at = slot as usize + usize::from(new_is_behind);
            let child = self.above_leaf(new);
            self.add_child(parent, at, child);
        }
        Split { new, kept, new_is_behind }
    }

    /// Takes an empty leaf out, unless it is the only one, and returns its neighbour.
    pub(super) fn remove_leaf(&mut self, leaf: u32) -> u32 {
        let Leaf { next, previous, mut parent, mut slot, .. } = self.leaves[leaf as usize];
        if next == NONE && previous == NONE {
            return leaf;
        }
        self.link_on(previous, next);
        self.link_back(next, previous);
        // Numbers of nodes are not used again: this comes up only when unsigned edits are given up.
        while parent != NONE {
            let inner = &mut self.inners[parent as usize];
            inner.children.remove(slot as usize);
            let is_empty = inner.children.is_empty();
            let (above, slot_above) = (inner.parent, inner.slot);
            if !is_empty {
                self.place_children(parent);
                break;
            }
            (parent, slot) = (above, slot_above);
        }
        if next == NONE { previous } else { next }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let runs: usize = self.leaves.iter().map(|leaf| leaf.runs.capacity()).sum();
        let children: usize = self.inners.iter().map(|inner| inner.children.capacity()).sum();
        runs * size_of::<Run>()
            + children * size_of::<Child>()
            + self.leaves.capacity() * size_of::<Leaf>()
            + self.inners.capacity() * size_of::<Inner>()
    }

    #[cfg(test)]
    pub(super) fn assert_sound(&self) {
        let mut below = Vec::new();
        self.assert_below(self.root, &mut below);
        let mut linked = Vec::new();
        let (mut leaf, mut previous) = (self.first_leaf, NONE);
        while let Some(here) = self.get_leaf(leaf) {
            assert_eq!(here.previous, previous);
            linked.push(leaf);
            (leaf, previous) = (here.next, leaf);
        }
        assert!(below == linked || self.root == NONE, "links and tree agree on the order");
        let is_empty = |leaf: &u32| self.leaf(*leaf).runs.is_empty();
        assert!(linked.len() == 1 || !linked.iter().any(is_empty), "only a sole leaf is empty");
    }

    #[cfg(test)]
    fn assert_below(&self, node: u32, leaves: &mut Vec<u32>) {
        let Some(inner) = self.inners.get(node as usize) else { return };
        for (child, slot) in inner.children.iter().zip(0..) {
            if inner.is_above_leaves {
                assert_eq!(*child, self.above_leaf(child.node), "what is above a leaf is up to date");
                let leaf = self.leaf(child.node);
                assert_eq!((leaf.parent, leaf.slot), (node, slot));
                leaves.push(child.node);
            } else {
                assert_eq!(*child, self.above_inner(child.node), "what is above a node is up to date");
                let below = &self.inners[child.node as usize];
                assert_eq!((below.parent, below.slot), (node, slot));
                self.assert_below(child.node, leaves);
            }
        }
    }

    fn link_on(&mut self, leaf: u32, next: u32) {
        match self.leaves.get_mut(leaf as usize) {
            Some(leaf) => leaf.next = next,
            None => self.first_leaf = next,
        }
    }

    fn link_back(&mut self, leaf: u32, previous: u32) {
        if let Some(leaf) = self.leaves.get_mut(leaf as usize) {
            leaf.previous = previous;
        }
    }

    /// Goes down from an inner node (`NONE` for a tree that is one leaf), to the child that `choose` names.
    fn descend(&self, inner: u32, mut choose: impl FnMut(&Inner) -> Option<usize>) -> u32 {
        match self.inners.get(inner as usize) {
            None => self.first_leaf,
            Some(inner) => {
                let child = choose(inner).unwrap_or_default();
                self.descend_from(inner, child, choose)
            }
        }
    }

    fn descend_from<'a>(
        &'a self,
        mut inner: &'a Inner,
        mut child: usize,
        mut choose: impl FnMut(&Inner) -> Option<usize>,
    ) -> u32 {
        while !inner.is_above_leaves {
            inner = &self.inners[inner.children[child].node as usize];
            child = choose(inner).unwrap_or_default();
        }
        inner.children[child].node
    }

    fn above_leaf(&self, node: u32) -> Child {
        let runs = &self.leaves[node as usize].runs;
        let (opens, closes) = least(runs.iter().map(Run::depths));
        Child { node, visible: runs.iter().map(Run::shown).sum(), opens, closes }
    }

    fn above_inner(&self, node: u32) -> Child {
        let children = &self.inners[node as usize].children;
        let (opens, closes) = least(children.iter().map(|child| (child.opens, child.closes)));
        Child { node, visible: children.iter().map(|child| child.visible).sum(), opens, closes }
    }

    fn add_child(&mut self, inner: u32, at: usize, child: Child) {
        self.inners[inner as usize].children.insert(at, child);
        let node = &mut self.inners[inner as usize];
        if node.children.len() <= CHILDREN_MAX {
            self.place_children(inner);
            return;
        }
        let children = node.children.split_off(CHILDREN_MAX / 2);
        let (parent, slot, is_above_leaves) = (node.parent, node.slot as usize, node.is_above_leaves);
        let new = self.inners.len() as u32;
        self.inners.push(Inner { children, is_above_leaves, parent: NONE, slot: 0 });
        self.place_children(inner);
        self.place_children(new);
        let (old_child, new_child) = (self.above_inner(inner), self.above_inner(new));
        if parent == NONE {
            self.add_root(vec![old_child, new_child], false);
        } else {
            self.inners[parent as usize].children[slot] = old_child;
            self.add_child(parent, slot + 1, new_child);
        }
    }

    fn add_root(&mut self, children: Vec<Child>, is_above_leaves: bool) {
        self.root = self.inners.len() as u32;
        self.inners.push(Inner { children, is_above_leaves, parent: NONE, slot: 0 });
        self.place_children(self.root);
    }

    /// Tells the children of an inner node where they are.
    fn place_children(&mut self, inner: u32) {
        let Inner { children, is_above_leaves, .. } = &self.inners[inner as usize];
        let is_above_leaves = *is_above_leaves;
        let nodes: Vec<u32> = children.iter().map(|child| child.node).collect();
        for (node, slot) in nodes.into_iter().zip(0..) {
            let (node_parent, node_slot) = if is_above_leaves {
                let leaf = &mut self.leaves[node as usize];
                (&mut leaf.parent, &mut leaf.slot)
            } else {
                let inner = &mut self.inners[node as usize];
                (&mut inner.parent, &mut inner.slot)
            };
            (*node_parent, *node_slot) = (inner, slot);
        }
    }
}

/// The least depths of some.
fn least(depths: impl Iterator<Item = (u32, u32)>) -> (u32, u32) {
    depths.fold((NONE, NONE), |(opens, closes), (o, c)| (opens.min(o), closes.min(c)))
}

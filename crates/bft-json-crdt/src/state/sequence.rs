//! The order of a list's elements, tombstones included, with positions among the visible ones.
//!
//! A B+ tree over element numbers: leaves of up to 64 elements, linked in order, each inner node counting
//! the visible elements below each child. Every operation is O(log n).

const LEAF_MAX: usize = 64;
const INNER_MAX: usize = 32;
const NONE: u32 = u32::MAX;

/// An ordered set of dense element numbers, some of them visible.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    leaves: Vec<Leaf>,
    inners: Vec<Inner>,
    /// The leaf of each element, `NONE` for one that is not in the sequence.
    leaf_of: Vec<u32>,
    visible: Vec<bool>,
    root: Link,
    len: usize,
}

#[derive(Clone, Debug)]
struct Leaf {
    elements: Vec<u32>,
    visible: u32,
    parent: u32,
    next: u32,
}

#[derive(Clone, Debug)]
struct Inner {
    children: Vec<Link>,
    counts: Vec<u32>,
    parent: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Leaf(u32),
    Inner(u32),
}

/// Where a new element goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    First,
    After(u32),
    Before(u32),
}

#[expect(
    clippy::indexing_slicing,
    reason = "the numbers of leaves, inner nodes and elements are made here only"
)]
impl Sequence {
    pub(crate) fn new() -> Self {
        let leaf = Leaf { elements: Vec::new(), visible: 0, parent: NONE, next: NONE };
        Self {
            leaves: vec![leaf],
            inners: Vec::new(),
            leaf_of: Vec::new(),
            visible: Vec::new(),
            root: Link::Leaf(0),
            len: 0,
        }
    }

    /// A sequence of the numbers below `count` that `order` lists, all visible. O(n).
    pub(crate) fn from_order(order: &[u32], count: u32) -> Self {
        let mut sequence = Self::new();
        sequence.leaf_of.resize(count as usize, NONE);
        sequence.visible.resize(count as usize, false);
        let mut last: Option<u32> = None;
        for element in order {
            sequence.insert(*element, last.map_or(Place::First, Place::After));
            last = Some(*element);
        }
        sequence
    }

    /// Heap bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        let leaves = self.leaves.iter().map(|leaf| size_of::<Leaf>() + leaf.elements.capacity() * 4);
        let inners = self.inners.iter().map(|inner| size_of::<Inner>() + inner.children.capacity() * 12);
        leaves.sum::<usize>() + inners.sum::<usize>() + self.leaf_of.capacity() * 4 + self.visible.capacity()
    }

    /// All elements in order, visible or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = u32> + '_ {
        let mut leaf = self.first_leaf();
        let leaves = std::iter::from_fn(move || {
            let current = self.leaves.get(leaf as usize)?;
            leaf = current.next;
            Some(current)
        });
        leaves.flat_map(|leaf| leaf.elements.iter().copied())
    }

    /// How many elements are visible.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_visible(&self, element: u32) -> bool {
        self.visible[element as usize]
    }

    /// Inserts `element`, whose number is new, as a visible one.
    pub(crate) fn insert(&mut self, element: u32, place: Place) {
        let (leaf, at) = match place {
            Place::First => (self.first_leaf(), 0),
            Place::After(other) => {
                let leaf = self.leaf_of[other as usize];
                (leaf, self.offset(leaf, other) + 1)
            }
            Place::Before(other) => {
                let leaf = self.leaf_of[other as usize];
                (leaf, self.offset(leaf, other))
            }
        };
        let index = element as usize;
        if self.leaf_of.len() <= index {
            self.leaf_of.resize(index + 1, NONE);
            self.visible.resize(index + 1, false);
        }
        self.leaves[leaf as usize].elements.insert(at, element);
        self.leaf_of[index] = leaf;
        self.visible[index] = true;
        self.count(leaf, 1);
        if self.leaves[leaf as usize].elements.len() > LEAF_MAX {
            self.split_leaf(leaf);
        }
    }

    /// Takes `element` out, as if it had never been inserted.
    pub(crate) fn remove(&mut self, element: u32) {
        self.set_visible(element, false);
        let leaf = self.leaf_of[element as usize];
        let at = self.offset(leaf, element);
        self.leaves[leaf as usize].elements.remove(at);
        self.leaf_of[element as usize] = NONE;
    }

    pub(crate) fn set_visible(&mut self, element: u32, visible: bool) {
        if self.visible[element as usize] != visible {
            self.visible[element as usize] = visible;
            self.count(self.leaf_of[element as usize], if visible { 1 } else { -1 });
        }
    }

    /// The visible element at `position`.
    pub(crate) fn at(&self, position: usize) -> Option<u32> {
        if position >= self.len {
            return None;
        }
        let mut left = position as u32;
        let mut link = self.root;
        loop {
            match link {
                Link::Inner(inner) => {
                    let inner = &self.inners[inner as usize];
                    let mut child = 0;
                    while left >= inner.counts[child] {
                        left -= inner.counts[child];
                        child += 1;
                    }
                    link = inner.children[child];
                }
                Link::Leaf(leaf) => {
                    let elements = self.leaves[leaf as usize].elements.iter();
                    return elements.copied().filter(|e| self.is_visible(*e)).nth(left as usize);
                }
            }
        }
    }

    /// How many visible elements stand before `element`.
    pub(crate) fn position(&self, element: u32) -> usize {
        let leaf = self.leaf_of[element as usize];
        let before = self.leaves[leaf as usize].elements.iter().take_while(|e| **e != element);
        let mut position = before.filter(|e| self.is_visible(**e)).count();
        let mut link = Link::Leaf(leaf);
        let mut parent = self.leaves[leaf as usize].parent;
        while parent != NONE {
            let inner = &self.inners[parent as usize];
            let children = inner.children.iter().zip(&inner.counts).take_while(|(child, _)| **child != link);
            position += children.map(|(_, count)| *count as usize).sum::<usize>();
            link = Link::Inner(parent);
            parent = inner.parent;
        }
        position
    }

    /// The first element, visible or not.
    pub(crate) fn first(&self) -> Option<u32> {
        self.first_from(self.first_leaf())
    }

    /// The last visible element.
    pub(crate) fn last_visible(&self) -> Option<u32> {
        self.len.checked_sub(1).and_then(|last| self.at(last))
    }

    /// The element after `element`, visible or not.
    pub(crate) fn next(&self, element: u32) -> Option<u32> {
        let leaf = self.leaf_of[element as usize];
        let at = self.offset(leaf, element) + 1;
        let leaf = &self.leaves[leaf as usize];
        leaf.elements.get(at).copied().or_else(|| self.first_from(leaf.next))
    }

    /// The visible elements in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.all().filter(|e| self.is_visible(*e))
    }

    fn first_from(&self, mut leaf: u32) -> Option<u32> {
        while let Some(current) = self.leaves.get(leaf as usize) {
            if let Some(first) = current.elements.first() {
                return Some(*first);
            }
            leaf = current.next;
        }
        None
    }

    fn first_leaf(&self) -> u32 {
        // The first leaf made stays the leftmost: splits go to the right.
        0
    }

    fn offset(&self, leaf: u32, element: u32) -> usize {
        let elements = &self.leaves[leaf as usize].elements;
        elements.iter().position(|e| *e == element).unwrap_or(elements.len())
    }

    /// Adds `by` to the visible count of a leaf and of all above it.
    fn count(&mut self, leaf: u32, by: i32) {
        let visible = &mut self.leaves[leaf as usize].visible;
        *visible = visible.saturating_add_signed(by);
        self.len = self.len.saturating_add_signed(by as isize);
        let mut link = Link::Leaf(leaf);
        let mut parent = self.leaves[leaf as usize].parent;
        while parent != NONE {
            let inner = &mut self.inners[parent as usize];
            if let Some(at) = inner.children.iter().position(|child| *child == link) {
                inner.counts[at] = inner.counts[at].saturating_add_signed(by);
            }
            link = Link::Inner(parent);
            parent = inner.parent;
        }
    }

    fn split_leaf(&mut self, leaf: u32) {
        let new = self.leaves.len() as u32;
        let old = &mut self.leaves[leaf as usize];
        // Lists mostly grow at their end: leave such a leaf full.
        let keep = if old.next == NONE { LEAF_MAX - 4 } else { LEAF_MAX / 2 };
        let elements = old.elements.split_off(keep);
        let (parent, next) = (old.parent, old.next);
        old.next = new;
        for element in &elements {
            self.leaf_of[*element as usize] = new;
        }
        let visible = elements.iter().filter(|e| self.visible[**e as usize]).count() as u32;
        self.leaves[leaf as usize].visible -= visible;
        self.leaves.push(Leaf { elements, visible, parent, next });
        self.add_sibling(parent, Link::Leaf(leaf), Link::Leaf(new));
    }

    /// Puts `new` behind `old` below `parent`, or below a new root.
    fn add_sibling(&mut self, parent: u32, old: Link, new: Link) {
        let (old_count, new_count) = (self.visible_below(old), self.visible_below(new));
        if parent == NONE {
            let root = self.inners.len() as u32;
            self.inners.push(Inner {
                children: vec![old, new],
                counts: vec![old_count, new_count],
                parent: NONE,
            });
            self.root = Link::Inner(root);
            self.set_parent(old, root);
            self.set_parent(new, root);
            return;
        }
        let inner = &mut self.inners[parent as usize];
        let at = inner.children.iter().position(|child| *child == old).unwrap_or(0);
        inner.counts[at] = old_count;
        inner.children.insert(at + 1, new);
        inner.counts.insert(at + 1, new_count);
        self.set_parent(new, parent);
        if self.inners[parent as usize].children.len() > INNER_MAX {
            self.split_inner(parent);
        }
    }

    fn split_inner(&mut self, inner: u32) {
        let new = self.inners.len() as u32;
        let old = &mut self.inners[inner as usize];
        let children = old.children.split_off(INNER_MAX / 2);
        let counts = old.counts.split_off(INNER_MAX / 2);
        let parent = old.parent;
        for child in &children {
            self.set_parent(*child, new);
        }
        self.inners.push(Inner { children, counts, parent });
        self.add_sibling(parent, Link::Inner(inner), Link::Inner(new));
    }

    fn set_parent(&mut self, link: Link, parent: u32) {
        match link {
            Link::Leaf(leaf) => self.leaves[leaf as usize].parent = parent,
            Link::Inner(inner) => self.inners[inner as usize].parent = parent,
        }
    }

    fn visible_below(&self, link: Link) -> u32 {
        match link {
            Link::Leaf(leaf) => self.leaves[leaf as usize].visible,
            Link::Inner(inner) => self.inners[inner as usize].counts.iter().sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_a_plain_vector(steps in prop::collection::vec((0u8..8, any::<prop::sample::Index>()), 1..900)) {
            let mut sequence = Sequence::new();
            let mut model: Vec<(u32, bool)> = Vec::new();
            let mut made = 0;
            for (kind, at) in steps {
                if kind < 6 || model.is_empty() {
                    let (place, index) = match (kind, model.len()) {
                        (_, 0) | (0, _) => (Place::First, 0),
                        (1, len) => { let i = at.index(len); (Place::Before(model[i].0), i) }
                        (2, len) => (Place::After(model[len - 1].0), len),
                        (_, len) => { let i = at.index(len); (Place::After(model[i].0), i + 1) }
                    };
                    sequence.insert(made, place);
                    model.insert(index, (made, true));
                    made += 1;
                } else {
                    let i = at.index(model.len());
                    if kind == 6 {
                        model[i].1 = !model[i].1;
                        sequence.set_visible(model[i].0, model[i].1);
                    } else {
                        sequence.remove(model[i].0);
                        model.remove(i);
                    }
                }
            }
            let visible: Vec<u32> = model.iter().filter(|(_, v)| *v).map(|(e, _)| *e).collect();
            prop_assert_eq!(sequence.iter().collect::<Vec<_>>(), visible.clone());
            prop_assert_eq!(sequence.len(), visible.len());
            prop_assert_eq!(sequence.first(), model.first().map(|(e, _)| *e));
            prop_assert_eq!(sequence.last_visible(), visible.last().copied());
            for (position, element) in visible.iter().enumerate() {
                prop_assert_eq!(sequence.at(position), Some(*element));
                prop_assert_eq!(sequence.position(*element), position);
            }
            for pair in model.windows(2) {
                prop_assert_eq!(sequence.next(pair[0].0), Some(pair[1].0));
            }
        }
    }
}

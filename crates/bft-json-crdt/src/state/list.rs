//! Lists by Fugue (Weidner and Kleppmann 2023, "The Art of the Fugue", algorithm 1).
//!
//! Elements form a tree in which each hangs on the left or the right side of its parent; the list is the
//! tree read in order. Siblings on one side go by lamport (descending), author, digest and place in the
//! change. The order is kept in a [`Sequence`], so that a position is found in O(log n).

use std::cmp::Ordering;

use crate::op::Side;
use crate::state::history::{History, Made};
use crate::state::nodes::{Deletions, NodeIx};
use crate::state::sequence::{Place, Sequence};

/// An element's place in its list's table.
pub(crate) type ElementIx = u32;

#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) made: Made,
    pub(crate) node: NodeIx,
    parent: Option<ElementIx>,
    side: Side,
    left: Siblings,
    right: Siblings,
    pub(crate) deletions: Deletions,
}

/// The children on one side of an element, in order.
#[derive(Clone, Debug)]
enum Siblings {
    None,
    One(ElementIx),
    Many(Vec<ElementIx>),
}

impl Siblings {
    fn as_slice(&self) -> &[ElementIx] {
        match self {
            Self::None => &[],
            Self::One(only) => std::slice::from_ref(only),
            Self::Many(all) => all,
        }
    }

    fn insert(&mut self, at: usize, element: ElementIx) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(element),
            Self::One(other) => Self::Many(if at == 0 { vec![element, other] } else { vec![other, element] }),
            Self::Many(mut all) => {
                all.insert(at, element);
                Self::Many(all)
            }
        };
    }

    fn remove(&mut self, element: ElementIx) {
        match self {
            Self::None => {}
            Self::One(only) if *only == element => *self = Self::None,
            Self::One(_) => {}
            Self::Many(all) => all.retain(|other| *other != element),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct List {
    elements: Vec<Element>,
    roots: Siblings,
    order: Sequence,
}

#[expect(clippy::indexing_slicing, reason = "the numbers of elements are made here only")]
impl List {
    pub(crate) fn new() -> Self {
        Self { elements: Vec::new(), roots: Siblings::None, order: Sequence::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn at(&self, position: usize) -> Option<ElementIx> {
        self.order.at(position)
    }

    /// The position of an element, if it is not deleted.
    pub(crate) fn position(&self, element: ElementIx) -> Option<usize> {
        self.order.is_visible(element).then(|| self.order.position(element))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = ElementIx> + '_ {
        self.order.iter()
    }

    pub(crate) fn last(&self) -> Option<ElementIx> {
        self.order.last_visible()
    }

    pub(crate) fn element(&self, element: ElementIx) -> &Element {
        &self.elements[element as usize]
    }

    /// The numbers of all elements, deleted ones included.
    pub(crate) fn numbers(&self) -> std::ops::Range<ElementIx> {
        0..self.elements.len() as ElementIx
    }

    /// Deleted elements, in the order in which they were made here.
    pub(crate) fn deleted(&self) -> impl Iterator<Item = &Element> {
        self.elements.iter().filter(|element| !element.deletions.is_empty())
    }

    /// Where a new element goes that shall stand right after `left`: the parent and side that Fugue names.
    pub(crate) fn hook_after(&self, left: Option<ElementIx>) -> (Option<ElementIx>, Side) {
        let (siblings, next) = match left {
            None => (&self.roots, self.order.first()),
            Some(left) => (&self.elements[left as usize].right, self.order.next(left)),
        };
        match (siblings.as_slice(), next) {
            ([], _) | (_, None) => (left, Side::Right),
            (_, Some(next)) => (Some(next), Side::Left),
        }
    }

    /// Adds an element, whose number is the next one, below `parent`.
    pub(crate) fn insert(
        &mut self,
        history: &History,
        made: Made,
        node: NodeIx,
        parent: Option<ElementIx>,
        side: Side,
    ) -> ElementIx {
        let element = self.elements.len() as ElementIx;
        let siblings = self.siblings(parent, side).as_slice();
        let at = siblings.partition_point(|other| {
            compare(history, self.elements[*other as usize].made, made) == Ordering::Less
        });
        let place = match (at.checked_sub(1).map(|before| siblings[before]), siblings.get(at)) {
            (_, Some(after)) => Place::Before(self.leftmost(*after)),
            (Some(before), None) if side == Side::Right => Place::After(self.rightmost(before)),
            (_, None) => match (parent, side) {
                (None, _) => Place::First,
                (Some(parent), Side::Left) => Place::Before(parent),
                (Some(parent), Side::Right) => Place::After(parent),
            },
        };
        self.order.insert(element, place);
        self.elements.push(Element {
            made,
            node,
            parent,
            side,
            left: Siblings::None,
            right: Siblings::None,
            deletions: Deletions::none(),
        });
        self.siblings_mut(parent, side).insert(at, element);
        element
    }

    /// Takes out an element that was never signed and on which nothing hangs.
    pub(crate) fn take_out(&mut self, element: ElementIx) {
        let Element { parent, side, .. } = self.elements[element as usize];
        self.order.remove(element);
        self.siblings_mut(parent, side).remove(element);
    }

    pub(crate) fn delete(&mut self, element: ElementIx, by: u32) {
        self.elements[element as usize].deletions.add(by);
        self.order.set_visible(element, false);
    }

    pub(crate) fn undelete(&mut self, element: ElementIx, by: u32) {
        let deletions = &mut self.elements[element as usize].deletions;
        deletions.remove(by);
        if deletions.is_empty() {
            self.order.set_visible(element, true);
        }
    }

    fn siblings(&self, parent: Option<ElementIx>, side: Side) -> &Siblings {
        match (parent, side) {
            (None, _) => &self.roots,
            (Some(parent), Side::Left) => &self.elements[parent as usize].left,
            (Some(parent), Side::Right) => &self.elements[parent as usize].right,
        }
    }

    fn siblings_mut(&mut self, parent: Option<ElementIx>, side: Side) -> &mut Siblings {
        match (parent, side) {
            (None, _) => &mut self.roots,
            (Some(parent), Side::Left) => &mut self.elements[parent as usize].left,
            (Some(parent), Side::Right) => &mut self.elements[parent as usize].right,
        }
    }

    /// The first element of a subtree.
    fn leftmost(&self, mut element: ElementIx) -> ElementIx {
        while let Some(first) = self.elements[element as usize].left.as_slice().first() {
            element = *first;
        }
        element
    }

    /// The last element of a subtree.
    fn rightmost(&self, mut element: ElementIx) -> ElementIx {
        while let Some(last) = self.elements[element as usize].right.as_slice().last() {
            element = *last;
        }
        element
    }
}

/// The order of siblings: lamport descending, author, digest, place in the change.
fn compare(history: &History, a: Made, b: Made) -> Ordering {
    let (row_a, row_b) = (history.row(a.change), history.row(b.change));
    row_b
        .lamport
        .cmp(&row_a.lamport)
        .then_with(|| history.author_of(a.change).cmp(&history.author_of(b.change)))
        .then_with(|| history.digest(a.change).cmp(&history.digest(b.change)))
        .then_with(|| a.place.cmp(&b.place))
}

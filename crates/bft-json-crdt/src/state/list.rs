//! Lists by Fugue (Weidner and Kleppmann 2023, "The Art of the Fugue", algorithm 1).
//!
//! Elements form a tree in which each hangs on the left or the right side of its parent; the list is the
//! tree read in order. An element that is moved gets a further place in the tree, and stands at the last of its
//! places (Kleppmann 2020, "Moving Elements in List CRDTs"). Siblings on one side go by lamport (descending), author, digest and place in the
//! change. The order is kept in a [`Sequence`], so that a position is found in O(log n).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::op::{Rank, Side};
use crate::state::few::{Few, Many};
use crate::state::history::{ChangeIx, History, Made};
use crate::state::nodes::NodeIx;
use crate::state::sequence::{Place, Sequence};

/// An element's number in its list's table, which is that of its first place.
pub(crate) type ElementIx = u32;

/// A place in the order: of an element when it was inserted, or when it was moved.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) made: Made,
    /// The element's node, at each of its places.
    pub(crate) node: NodeIx,
    /// The element that has this place.
    origin: ElementIx,
    /// Where the element stands; kept at its first place.
    current: ElementIx,
    /// `NO_ELEMENT` at the beginning.
    parent: ElementIx,
    /// The children on each side, in order.
    left: Few,
    right: Few,
    /// The changes that deleted the element.
    deletions: Few,
    side: Side,
}

const NO_ELEMENT: ElementIx = ElementIx::MAX;

#[derive(Clone, Debug)]
pub(crate) struct List {
    elements: Vec<Element>,
    /// What hangs on the beginning.
    roots: Few,
    /// Children and deletions where there are several.
    many: Many,
    order: Sequence,
    /// For each element that was moved: the moves that no other known move had seen.
    moves: BTreeMap<ElementIx, Vec<Move>>,
}

/// A move of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) made: Made,
    pub(crate) rank: Rank,
    pub(crate) place: ElementIx,
}

/// A list as a snapshot has it.
#[derive(Debug, Default)]
pub(crate) struct ListSeed {
    pub(crate) places: Vec<PlaceSeed>,
    /// All places that stand somewhere, in order.
    pub(crate) order: Vec<ElementIx>,
    pub(crate) moves: BTreeMap<ElementIx, Vec<Move>>,
}

/// A place of an element as a snapshot has it.
#[derive(Debug)]
pub(crate) struct PlaceSeed {
    /// None of one that was taken back.
    pub(crate) made: Option<Made>,
    pub(crate) node: NodeIx,
    pub(crate) origin: ElementIx,
    pub(crate) parent: Option<ElementIx>,
    pub(crate) side: Side,
    pub(crate) deletions: Vec<ChangeIx>,
}

#[expect(clippy::indexing_slicing, reason = "the numbers of elements are made here only")]
impl List {
    /// Heap bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.elements.capacity() * size_of::<Element>() + self.order.heap_bytes() + self.many.heap_bytes()
    }

    /// All places, by number.
    pub(crate) fn places(&self) -> Vec<PlaceSeed> {
        let seed = |element: &Element| PlaceSeed {
            made: Some(element.made),
            node: element.node,
            origin: element.origin,
            parent: (element.parent != NO_ELEMENT).then_some(element.parent),
            side: element.side,
            deletions: self.deletions(element).to_vec(),
        };
        self.elements.iter().map(seed).collect()
    }

    /// All places that stand somewhere, in order.
    pub(crate) fn all_in_order(&self) -> impl Iterator<Item = ElementIx> + '_ {
        self.order.all()
    }

    pub(crate) fn moves(&self) -> &BTreeMap<ElementIx, Vec<Move>> {
        &self.moves
    }

    /// Makes a list from what a snapshot says; none where that is no list.
    pub(crate) fn restore(seed: ListSeed, order: impl Fn(&Move, &Move) -> Ordering) -> Option<Self> {
        let mut list = Self::new();
        let count = seed.places.len() as ElementIx;
        let mut stands = vec![false; count as usize];
        for place in &seed.order {
            if std::mem::replace(stands.get_mut(*place as usize)?, true) {
                return None;
            }
        }
        let stands_at = |place: ElementIx| stands.get(place as usize) == Some(&true);
        for (number, place) in (0..).zip(seed.places) {
            // What is named stands somewhere, and so does what it hangs on.
            let is_named = place.made.is_some() == stands_at(number);
            let hangs = place
                .parent
                .is_none_or(|parent| parent < number && (stands_at(parent) || !stands_at(number)));
            let origin = list.elements.get(place.origin as usize);
            let is_origin =
                place.origin == number || origin.is_some_and(|origin| origin.origin == place.origin);
            if !is_named || !hangs || !is_origin {
                return None;
            }
            let mut deletions = Few::new();
            place.deletions.into_iter().for_each(|by| deletions.push(by, &mut list.many));
            let node = list.elements.get(place.origin as usize).map_or(place.node, |origin| origin.node);
            list.elements.push(Element {
                made: place.made.unwrap_or(Made { change: 0, place: 0 }),
                node,
                origin: place.origin,
                current: number,
                parent: place.parent.unwrap_or(NO_ELEMENT),
                left: Few::new(),
                right: Few::new(),
                deletions,
                side: place.side,
            });
        }
        list.order = Sequence::from_order(&seed.order, count);
        // Siblings stand in their order, so that of the list is theirs.
        for place in &seed.order {
            let Element { parent, side, .. } = list.elements[*place as usize];
            let (siblings, many) = list.siblings_mut(parent, side);
            siblings.push(*place, many);
        }
        for place in &seed.order {
            let element = &list.elements[*place as usize];
            if element.origin != *place || !element.deletions.is_empty() {
                list.order.set_visible(*place, false);
            }
        }
        for (element, moves) in seed.moves {
            let is_of_element = |place: ElementIx| {
                stands_at(place) && list.elements.get(place as usize).is_some_and(|it| it.origin == element)
            };
            if !is_of_element(element) || moves.iter().any(|other| !is_of_element(other.place)) {
                return None;
            }
            list.moves.insert(element, moves);
            list.stand_at_last(element, &order);
        }
        Some(list)
    }

    pub(crate) fn new() -> Self {
        Self {
            elements: Vec::new(),
            roots: Few::new(),
            many: Many::default(),
            order: Sequence::new(),
            moves: BTreeMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn at(&self, position: usize) -> Option<ElementIx> {
        self.order.at(position).map(|place| self.elements[place as usize].origin)
    }

    /// Where an element stands.
    pub(crate) fn place_of(&self, element: ElementIx) -> ElementIx {
        self.elements[element as usize].current
    }

    /// The position of an element, if it is not deleted.
    pub(crate) fn position(&self, element: ElementIx) -> Option<usize> {
        let place = self.place_of(element);
        self.order.is_visible(place).then(|| self.order.position(place))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = ElementIx> + '_ {
        self.order.iter().map(|place| self.elements[place as usize].origin)
    }

    pub(crate) fn last(&self) -> Option<ElementIx> {
        self.order.last_visible().map(|place| self.elements[place as usize].origin)
    }

    pub(crate) fn element(&self, element: ElementIx) -> &Element {
        &self.elements[element as usize]
    }

    /// The numbers of all elements, deleted ones included.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = ElementIx> + use<> {
        let origins: Vec<ElementIx> = (0..)
            .zip(&self.elements)
            .filter(|(number, element)| element.origin == *number)
            .map(|(number, _)| number)
            .collect();
        origins.into_iter()
    }

    /// Deleted elements, in the order in which they were made here.
    pub(crate) fn deleted(&self) -> impl Iterator<Item = &Element> {
        self.elements.iter().filter(|element| !element.deletions.is_empty())
    }

    /// Where a new place goes that shall come right after the place `left`: the parent and side that Fugue
    /// names.
    pub(crate) fn hook_after(&self, left: Option<ElementIx>) -> (Option<ElementIx>, Side) {
        let (siblings, next) = match left {
            None => (&self.roots, self.order.first()),
            Some(left) => (&self.elements[left as usize].right, self.order.next(left)),
        };
        match (siblings.as_slice(&self.many), next) {
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
        self.add_place(history, made, node, None, parent, side)
    }

    /// Gives an element a further place. `saw` tells whether this move has seen an earlier one, `order` is that
    /// of registers. Returns the new place's number, and the moves that counted so far.
    #[expect(clippy::too_many_arguments, reason = "an op's fields, and the history's rules")]
    pub(crate) fn move_to(
        &mut self,
        history: &History,
        (made, rank): (Made, Rank),
        element: ElementIx,
        parent: Option<ElementIx>,
        side: Side,
        saw: impl Fn(ChangeIx) -> bool,
        order: impl Fn(&Move, &Move) -> Ordering,
    ) -> (ElementIx, Vec<Move>) {
        let node = self.elements[element as usize].node;
        let place = self.add_place(history, made, node, Some(element), parent, side);
        let moves = self.moves.entry(element).or_default();
        let before = moves.clone();
        moves.retain(|other| !saw(other.made.change));
        moves.push(Move { made, rank, place });
        self.stand_at_last(element, order);
        (place, before)
    }

    /// Takes back a move that was never signed; `before` are the moves that counted before, but for those that
    /// `is_seen` says other moves have overtaken.
    pub(crate) fn take_back_move(
        &mut self,
        place: ElementIx,
        before: &[Move],
        is_seen: impl Fn(&Move, &[Move]) -> bool,
        order: impl Fn(&Move, &Move) -> Ordering,
    ) {
        let element = self.elements[place as usize].origin;
        let moves = self.moves.entry(element).or_default();
        moves.retain(|other| other.place != place);
        let newer = moves.clone();
        let restored = before.iter().filter(|other| !newer.contains(other) && !is_seen(other, &newer));
        moves.extend(restored);
        // The element may be given up next, and nothing is to name it then.
        if moves.is_empty() {
            self.moves.remove(&element);
        }
        self.stand_at_last(element, order);
        self.order.set_visible(place, false);
        self.take_out(place);
    }

    /// Drops the moves that `saw` says the move at `place` has seen, once signing has fixed that. Returns whether
    /// the element stands elsewhere now.
    pub(crate) fn settle_move(
        &mut self,
        place: ElementIx,
        saw: impl Fn(ChangeIx) -> bool,
        order: impl Fn(&Move, &Move) -> Ordering,
    ) -> bool {
        let element = self.elements[place as usize].origin;
        if let Some(moves) = self.moves.get_mut(&element) {
            moves.retain(|other| other.place == place || !saw(other.made.change));
        }
        let before = self.place_of(element);
        self.stand_at_last(element, order);
        self.place_of(element) != before
    }

    /// Puts an element where the last of its moves says.
    fn stand_at_last(&mut self, element: ElementIx, order: impl Fn(&Move, &Move) -> Ordering) {
        let moves = self.moves.get(&element).map(|moves| &moves[..]).unwrap_or_default();
        let place = moves.iter().max_by(|a, b| order(a, b)).map_or(element, |last| last.place);
        let before = std::mem::replace(&mut self.elements[element as usize].current, place);
        if before != place {
            let is_live = self.elements[element as usize].deletions.is_empty();
            self.order.set_visible(before, false);
            self.order.set_visible(place, is_live);
        }
    }

    fn add_place(
        &mut self,
        history: &History,
        made: Made,
        node: NodeIx,
        origin: Option<ElementIx>,
        parent: Option<ElementIx>,
        side: Side,
    ) -> ElementIx {
        let element = self.elements.len() as ElementIx;
        let parent = parent.unwrap_or(NO_ELEMENT);
        let siblings = self.siblings(parent, side);
        let at = siblings.partition_point(|other| {
            history.sibling_order(self.elements[*other as usize].made, made) == Ordering::Less
        });
        let place = match (at.checked_sub(1).map(|before| siblings[before]), siblings.get(at)) {
            (_, Some(after)) => Place::Before(self.leftmost(*after)),
            (Some(before), None) if side == Side::Right => Place::After(self.rightmost(before)),
            (_, None) => match side {
                _ if parent == NO_ELEMENT => Place::First,
                Side::Left => Place::Before(parent),
                Side::Right => Place::After(parent),
            },
        };
        self.order.insert(element, place);
        if origin.is_some() {
            self.order.set_visible(element, false);
        }
        self.elements.push(Element {
            made,
            node,
            origin: origin.unwrap_or(element),
            current: element,
            parent,
            left: Few::new(),
            right: Few::new(),
            deletions: Few::new(),
            side,
        });
        let (siblings, many) = self.siblings_mut(parent, side);
        siblings.insert(at, element, many);
        element
    }

    /// Takes out an element or a place that was never signed and on which nothing hangs.
    pub(crate) fn take_out(&mut self, element: ElementIx) {
        let Element { parent, side, .. } = self.elements[element as usize];
        self.order.remove(element);
        let (siblings, many) = self.siblings_mut(parent, side);
        siblings.remove(element, many);
    }

    pub(crate) fn delete(&mut self, element: ElementIx, by: u32) {
        self.elements[element as usize].deletions.push(by, &mut self.many);
        self.order.set_visible(self.place_of(element), false);
    }

    pub(crate) fn undelete(&mut self, element: ElementIx, by: u32) {
        let deletions = &mut self.elements[element as usize].deletions;
        deletions.remove(by, &mut self.many);
        if deletions.is_empty() {
            self.order.set_visible(self.place_of(element), true);
        }
    }

    fn siblings(&self, parent: ElementIx, side: Side) -> &[ElementIx] {
        let siblings = match (self.elements.get(parent as usize), side) {
            (None, _) => &self.roots,
            (Some(parent), Side::Left) => &parent.left,
            (Some(parent), Side::Right) => &parent.right,
        };
        siblings.as_slice(&self.many)
    }

    fn siblings_mut(&mut self, parent: ElementIx, side: Side) -> (&mut Few, &mut Many) {
        let siblings = match (self.elements.get_mut(parent as usize), side) {
            (None, _) => &mut self.roots,
            (Some(parent), Side::Left) => &mut parent.left,
            (Some(parent), Side::Right) => &mut parent.right,
        };
        (siblings, &mut self.many)
    }

    /// The changes that deleted an element.
    pub(crate) fn deletions<'a>(&'a self, element: &'a Element) -> &'a [ChangeIx] {
        element.deletions.as_slice(&self.many)
    }

    /// The first element of a subtree.
    fn leftmost(&self, mut element: ElementIx) -> ElementIx {
        while let Some(first) = self.elements[element as usize].left.as_slice(&self.many).first() {
            element = *first;
        }
        element
    }

    /// The last element of a subtree.
    fn rightmost(&self, mut element: ElementIx) -> ElementIx {
        while let Some(last) = self.elements[element as usize].right.as_slice(&self.many).last() {
            element = *last;
        }
        element
    }
}

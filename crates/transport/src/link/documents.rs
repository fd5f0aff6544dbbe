//! The documents of a link: found by their place or id, with sums that are kept, so that no input looks at all of them.

use std::collections::{BTreeMap, VecDeque};

use bft_json_crdt::DocumentId;

use super::document::{Counted, Document};
use super::effect::Exchange;

/// The documents that this node serves on a link.
#[derive(Default)]
pub(super) struct Documents {
    by_place: BTreeMap<usize, Document>,
    by_id: BTreeMap<DocumentId, usize>,
    /// Those that may have something to do.
    touched: Vec<usize>,
    /// Those that may count otherwise than they did.
    uncounted: Vec<usize>,
    /// Those with which it may stand otherwise than was reported.
    unreported: Vec<usize>,
    /// Those that have something for the socket, in the order in which it goes there.
    hungry: VecDeque<usize>,
    behind: u64,
    unlevel: usize,
    unready: usize,
}

impl Documents {
    /// Takes a document in. False if it is there already, or something else is in its place.
    pub(super) fn insert(&mut self, place: usize, document: Document) -> bool {
        if self.by_place.contains_key(&place) || self.by_id.contains_key(&document.id) {
            return false;
        }
        self.by_id.insert(document.id, place);
        self.by_place.insert(place, document);
        self.touch(place);
        true
    }

    pub(super) fn remove(&mut self, place: usize) -> Option<Document> {
        let document = self.by_place.remove(&place)?;
        self.by_id.remove(&document.id);
        self.recount(document.counted, Counted::default());
        Some(document)
    }

    pub(super) fn get(&self, place: usize) -> Option<&Document> {
        self.by_place.get(&place)
    }

    /// A document that is about to change.
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Document> {
        self.touch(place);
        self.by_place.get_mut(&place)
    }

    /// Has a document looked at, whether or not something has happened to it.
    pub(super) fn touch(&mut self, place: usize) {
        let Some(document) = self.by_place.get_mut(&place) else { return };
        if !std::mem::replace(&mut document.lists.is_touched, true) {
            self.touched.push(place);
        }
        if !std::mem::replace(&mut document.lists.is_uncounted, true) {
            self.uncounted.push(place);
        }
        if !std::mem::replace(&mut document.lists.is_unreported, true) {
            self.unreported.push(place);
        }
    }

    pub(super) fn place_of(&self, id: &DocumentId) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// All of them, to look at.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Document)> {
        self.by_place.iter().map(|(place, document)| (*place, document))
    }

    /// Those that may have something to do, each of which is then [`Self::settled`].
    pub(super) fn take_touched(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.touched)
    }

    /// A document has done all that it can do at present.
    pub(super) fn settled(&mut self, place: usize) {
        let Some(document) = self.by_place.get_mut(&place) else { return };
        document.lists.is_touched = false;
        document.rest();
    }

    /// Notes that a document has something for the socket.
    pub(super) fn wait_for_room(&mut self, place: usize) {
        let Some(document) = self.by_place.get_mut(&place) else { return };
        if !std::mem::replace(&mut document.lists.is_hungry, true) {
            self.hungry.push_back(place);
        }
    }

    /// The next one that has something for the socket.
    pub(super) fn next_hungry(&mut self) -> Option<usize> {
        let place = self.hungry.pop_front()?;
        if let Some(document) = self.by_place.get_mut(&place) {
            document.lists.is_hungry = false;
            // It is about to be looked at: what it does itself is no reason to do so again.
            document.lists.is_touched = true;
        }
        Some(place)
    }

    /// Whether all stand ready for the hello.
    pub(super) fn are_ready(&mut self) -> bool {
        self.count();
        self.unready == 0
    }

    /// Whether both sides have told each other all that they held when they met.
    pub(super) fn are_level(&mut self) -> bool {
        self.count();
        self.unlevel == 0
    }

    /// Those whose exchange stands otherwise than was reported; `is_there` says which of them the other side serves.
    pub(super) fn report(&mut self, is_there: impl Fn(&DocumentId) -> bool) -> Vec<(usize, Exchange)> {
        let mut reports = Vec::new();
        for place in std::mem::take(&mut self.unreported) {
            let Some(document) = self.by_place.get_mut(&place) else { continue };
            document.lists.is_unreported = false;
            let exchange = match document.is_shared() {
                true if document.is_level() => Exchange::Level,
                false if !is_there(&document.id) => Exchange::Apart,
                true | false => Exchange::Meeting,
            };
            if document.reported.replace(exchange) != Some(exchange) {
                reports.push((place, exchange));
            }
        }
        reports
    }

    /// How many entries of the logs the other side has not been told.
    pub(super) fn behind(&self) -> u64 {
        self.behind
    }

    /// Brings the sums up to date.
    fn count(&mut self) {
        for place in std::mem::take(&mut self.uncounted) {
            let Some(document) = self.by_place.get_mut(&place) else { continue };
            document.lists.is_uncounted = false;
            let (old, new) = (document.counted, document.count());
            document.counted = new;
            self.recount(old, new);
        }
    }

    fn recount(&mut self, old: Counted, new: Counted) {
        let change = |sum: usize, old: bool, new: bool| sum + usize::from(new) - usize::from(old);
        self.behind = self.behind - old.behind + new.behind;
        self.unlevel = change(self.unlevel, old.is_unlevel, new.is_unlevel);
        self.unready = change(self.unready, old.is_unready, new.is_unready);
    }
}

//! Documents that the other side holds and this node does not serve: its host is asked about them, a few at a time.
//!
//! What waits is bounded. What does not fit is forgotten, and found again by comparing the catalogs, when all that
//! waited is done.

use std::collections::{BTreeMap, VecDeque};

use bft_json_crdt::{Digest, DocumentId};

use super::{Link, LinkEffect};
use crate::host::Offer;
use crate::session::Millis;

/// Most documents that the host is asked about at a time.
const BATCH_MAX: usize = 64;

/// What the host is to be asked about.
#[derive(Default)]
pub(super) struct Offers {
    waiting: BTreeMap<DocumentId, Option<Digest>>,
    order: VecDeque<DocumentId>,
    /// What it is being asked about.
    asked: Vec<Offer>,
    /// It has no room before that.
    resumes_at: Option<Millis>,
    /// There was something for which there was no room here.
    has_missed: bool,
}

impl Offers {
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.asked.len()
    }

    /// A document needs no host any more.
    pub(super) fn forget(&mut self, id: &DocumentId) {
        if self.waiting.remove(id).is_some() {
            self.order.retain(|other| other != id);
        }
    }

    /// Whether something was missed, and it is time to look for it.
    fn must_look(&self) -> bool {
        self.has_missed && self.waiting.is_empty() && self.asked.is_empty()
    }

    fn push(&mut self, offer: Offer, max: usize) {
        let Offer { id, root } = offer;
        if let Some(known) = self.waiting.get_mut(&id) {
            *known = root;
        } else if self.len() < max {
            self.waiting.insert(id, root);
            self.order.push_back(id);
        } else {
            self.has_missed = true;
        }
    }
}

impl Link {
    /// When the host is to be asked again, or what was missed looked for.
    pub(super) fn offers_deadline(&self) -> Option<Millis> {
        match self.offers.waiting.is_empty() {
            true => self.compares_at().filter(|_| self.offers.must_look()),
            false => self.offers.resumes_at.filter(|_| self.offers.asked.is_empty()),
        }
    }

    /// Whether offers of the other side count.
    pub(super) fn takes_offers(&self) -> bool {
        self.start.hosts && self.may_open() && self.rights.write
    }

    /// The other side holds a document, and as far as is known more of it than this node.
    pub(super) fn offer(&mut self, id: DocumentId, root: Option<Digest>) {
        if self.takes_offers() && self.documents.place_of(&id).is_none() {
            self.offers.push(Offer { id, root }, self.settings.offers_max);
        }
    }

    /// The host has heard of what it was asked about; for these documents it has no room at present.
    pub(super) fn offered(&mut self, now: Millis, later: &[DocumentId]) {
        let asked = std::mem::take(&mut self.offers.asked);
        for offer in asked.into_iter().filter(|offer| later.contains(&offer.id)) {
            self.offers.resumes_at = Some(now.plus(self.settings.offer_again_ms));
            self.offer(offer.id, offer.root);
        }
    }

    /// Asks the host about what waits; when nothing does, looks for what was missed.
    pub(super) fn ask_host(&mut self, now: Millis) {
        if !self.offers.asked.is_empty() || self.offers.resumes_at.is_some_and(|at| now < at) {
            return;
        }
        self.offers.resumes_at = None;
        while self.offers.asked.len() < BATCH_MAX
            && let Some(id) = self.offers.order.pop_front()
        {
            let Some(root) = self.offers.waiting.remove(&id) else { continue };
            if self.documents.place_of(&id).is_none() {
                self.offers.asked.push(Offer { id, root });
            }
        }
        if !self.offers.asked.is_empty() {
            self.effects.push_back(LinkEffect::Offer(self.offers.asked.clone()));
        } else if self.offers.must_look() && self.compare_again(now) {
            self.offers.has_missed = false;
            let there: Vec<(DocumentId, Digest)> = self.serving.open_there().collect();
            there.into_iter().for_each(|(id, root)| self.offer(id, Some(root)));
        }
    }
}

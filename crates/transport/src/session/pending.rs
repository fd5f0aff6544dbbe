//! Which ops of this session wait for their dependencies, and since when.
//!
//! A v1 peer sends every op after its past, so an op that keeps waiting means that something was lost. Not so
//! one that trust holds back, nor one that stands on such a one: those may wait for ever. The lists are pruned
//! whenever they have grown by [`PRUNE_EVERY`], so they stay near what really waits, which the engine's causal
//! queue bounds.

use std::collections::BTreeMap;

use bft_json_crdt::{Change, Digest};

use super::{CloseReason, Evicted, Millis, SessionSettings};

/// How many newly waiting ops are noted before the list is compared with the causal queue.
const PRUNE_EVERY: usize = 1_024;

#[derive(Default)]
pub(crate) struct Pending {
    /// With the document's place, for a link.
    since: BTreeMap<Digest, (Millis, usize)>,
    held: BTreeMap<Digest, usize>,
    oldest: Option<Millis>,
    noted: usize,
    is_checking: bool,
}

impl Pending {
    /// Tells whether trust holds a change back, or one that it stands on.
    pub(crate) fn is_held(&self, digest: &Digest) -> bool {
        self.held.contains_key(digest)
    }

    /// Notes an op of the document at a place that waits. Tells whether trust is what holds it back.
    pub(crate) fn note(&mut self, now: Millis, at: usize, change: &Change, is_untrusted: bool) -> bool {
        let digest = change.digest();
        let stands_on_held =
            || change.prev().iter().chain(change.deps()).any(|past| self.held.contains_key(past));
        let is_held = is_untrusted || stands_on_held();
        if is_held {
            self.held.insert(digest, at);
        } else {
            self.since.entry(digest).or_insert((now, at));
            self.oldest = Some(self.oldest.map_or(now, |oldest| oldest.min(now)));
        }
        self.noted += 1;
        is_held
    }

    /// Forgets the ops of a document. Tells whether any of them waited for others.
    pub(crate) fn forget(&mut self, at: usize) -> bool {
        let before = self.since.len();
        self.since.retain(|_, (_, place)| *place != at);
        self.held.retain(|_, place| *place != at);
        self.oldest = self.since.values().map(|(since, _)| *since).min();
        self.since.len() < before
    }

    pub(crate) fn len(&self) -> usize {
        self.since.len()
    }

    /// Asks which of the noted ops still wait, when that is due: with the places of their documents.
    pub(crate) fn check(&mut self, now: Millis, settings: &SessionSettings) -> Option<Vec<(usize, Digest)>> {
        let is_due = self.deadline(settings).is_some_and(|due| now >= due);
        if self.is_checking || !(is_due || self.noted >= PRUNE_EVERY) {
            return None;
        }
        self.is_checking = true;
        self.noted = 0;
        let since = self.since.iter().map(|(digest, (_, at))| (*at, *digest));
        Some(since.chain(self.held.iter().map(|(digest, at)| (*at, *digest))).collect())
    }

    /// Takes the answer: which of the noted ops wait no longer.
    pub(crate) fn checked(
        &mut self,
        now: Millis,
        released: &[Digest],
        settings: &SessionSettings,
    ) -> Option<CloseReason> {
        self.is_checking = false;
        for digest in released {
            self.since.remove(digest);
            self.held.remove(digest);
        }
        self.oldest = self.since.values().map(|(since, _)| *since).min();
        let (digest, _) = self.since.iter().find(|(_, (since, _))| now >= since.plus(settings.pending_ms))?;
        Some(CloseReason::DependencyTimeout { digest: *digest, ms: settings.pending_ms })
    }

    /// Tells whether what was evicted may have come by this session.
    pub(crate) fn is_hit_by(&self, evicted: &Evicted) -> bool {
        match evicted {
            Evicted::Changes(digests) => self.has_any(digests),
            Evicted::Unknown => self.len() > 0,
        }
    }

    /// Tells whether one of `evicted` came by this session.
    pub(crate) fn has_any(&self, evicted: &[Digest]) -> bool {
        evicted.iter().any(|digest| self.since.contains_key(digest))
    }

    pub(crate) fn deadline(&self, settings: &SessionSettings) -> Option<Millis> {
        if self.is_checking {
            return None;
        }
        self.oldest.map(|oldest| oldest.plus(settings.pending_ms))
    }
}

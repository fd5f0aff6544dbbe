//! What a node keeps and does not serve, as its host says, with the hashes of its buckets.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bft_json_crdt::DocumentId;
use gangline_wire::v2::{BUCKETS, HeldDocument, bucket_hash, bucket_of};

use crate::host::DocumentHost;
use crate::link::{CatalogAnswer, CatalogQuery, look_up, sorted};
use crate::served::Served;

/// The hashes of the buckets, as far as they are known.
pub(crate) struct Kept {
    slots: Mutex<Box<[Slot; BUCKETS]>>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    hash: Option<[u8; 8]>,
    /// Counts changes, so that a hash is not kept of what has changed while it was made.
    version: u64,
}

impl Default for Kept {
    fn default() -> Self {
        Self { slots: Mutex::new(Box::new([Slot::default(); BUCKETS])) }
    }
}

impl Kept {
    /// Something of a document's bucket has changed.
    pub(crate) fn changed(&self, id: &DocumentId) {
        if let Some(slot) = self.lock().get_mut(usize::from(bucket_of(id))) {
            slot.hash = None;
            slot.version += 1;
        }
    }

    /// Answers a question. May block.
    pub(crate) fn look_up(
        &self,
        host: &dyn DocumentHost,
        served: &Served,
        query: CatalogQuery,
    ) -> CatalogAnswer {
        let stored = |bucket| {
            let mut documents = host.stored(bucket);
            documents.retain(|it| bucket_of(&it.id) == bucket && served.place_of(&it.id).is_none());
            documents
        };
        match query {
            CatalogQuery::Buckets { except } => self.buckets(stored, &except),
            query @ (CatalogQuery::Page { .. } | CatalogQuery::Compare { .. }) => look_up(stored, query),
        }
    }

    fn buckets(
        &self,
        stored: impl Fn(u8) -> Vec<HeldDocument>,
        except: &BTreeSet<DocumentId>,
    ) -> CatalogAnswer {
        let uncommon: BTreeSet<u8> = except.iter().map(bucket_of).collect();
        let mut hashes = Box::new([[0; 8]; BUCKETS]);
        for (bucket, hash) in (0..=u8::MAX).zip(hashes.iter_mut()) {
            *hash = match uncommon.contains(&bucket) {
                true => bucket_hash(&sorted(stored(bucket), except)),
                false => self.hash(bucket, &stored),
            };
        }
        CatalogAnswer::Buckets(hashes)
    }

    fn hash(&self, bucket: u8, stored: impl Fn(u8) -> Vec<HeldDocument>) -> [u8; 8] {
        let at = usize::from(bucket);
        let slot = self.lock().get(at).copied().unwrap_or_default();
        if let Some(hash) = slot.hash {
            return hash;
        }
        let hash = bucket_hash(&sorted(stored(bucket), &BTreeSet::new()));
        if let Some(now) = self.lock().get_mut(at).filter(|now| now.version == slot.version) {
            now.hash = Some(hash);
        }
        hash
    }

    fn lock(&self) -> MutexGuard<'_, Box<[Slot; BUCKETS]>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

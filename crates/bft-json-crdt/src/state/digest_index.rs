//! Changes by digest: a table that keeps numbers alone, since the digests stand in a column of their own.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

use crate::change::Digest;
use crate::state::history::ChangeIx;

/// A map from digest to change that takes some five bytes for each.
#[derive(Clone)]
pub(crate) struct DigestIndex {
    table: HashTable<ChangeIx>,
    /// Digests are hashes already, but whoever signs many changes can choose those whose digests collide in a few
    /// bits. Not with bits that are mixed with a number they do not know.
    seed: u64,
}

impl Default for DigestIndex {
    fn default() -> Self {
        Self { table: HashTable::new(), seed: RandomState::new().hash_one(0u8) | 1 }
    }
}

impl DigestIndex {
    fn hash(seed: u64, digest: &Digest) -> u64 {
        let word = digest.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let product = u128::from(word ^ seed.rotate_left(32)) * u128::from(seed);
        product as u64 ^ (product >> 64) as u64
    }

    /// Finds a change; `digest_of` reads the column of digests.
    pub(crate) fn find(&self, digest: &Digest, digest_of: impl Fn(ChangeIx) -> Digest) -> Option<ChangeIx> {
        self.table.find(Self::hash(self.seed, digest), |ix| digest_of(*ix) == *digest).copied()
    }

    /// Heap bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.table.allocation_size()
    }

    /// Adds a change that is not there.
    pub(crate) fn insert(&mut self, digest: Digest, ix: ChangeIx, digest_of: impl Fn(ChangeIx) -> Digest) {
        let seed = self.seed;
        self.table.insert_unique(Self::hash(seed, &digest), ix, |ix| Self::hash(seed, &digest_of(*ix)));
    }
}

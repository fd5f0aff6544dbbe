//! Cold history: changes whose digests, signatures and ops are kept compressed, and read only when asked for.
//!
//! What edits and merges need of a change stays in its row. The digests of heads and tips stay too, since the
//! next changes name them. All else is decoded from the bundles at the first question, and kept from then on.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::{Branch, ChangeIx, History, Row};
use crate::bundle::{self, BundleError, Signatures};
use crate::change::{Change, Digest, DocumentId};
use crate::keypair::AuthorId;
use crate::state::digest_index::DigestIndex;

/// How many changes are compressed together: as many as are in memory twice meanwhile.
const BUNDLE_CHANGES: usize = bundle::CHUNK_CHANGES_MAX;

#[derive(Clone, Default)]
pub(crate) struct Cold {
    /// How many rows are cold: the first ones.
    rows: ChangeIx,
    bundles: Vec<Arc<[u8]>>,
    /// The digests of heads and tips.
    kept: BTreeMap<ChangeIx, Digest>,
    thawed: OnceLock<Box<Thawed>>,
}

#[derive(Clone, Default)]
struct Thawed {
    digests: Vec<Digest>,
    signatures: Vec<[u8; 64]>,
    bodies: Vec<u8>,
    /// Where each row's body is.
    body_ranges: Vec<Range<usize>>,
    index: DigestIndex,
}

impl Cold {
    pub(crate) fn new(rows: ChangeIx, bundles: Vec<Arc<[u8]>>, kept: BTreeMap<ChangeIx, Digest>) -> Self {
        Self { rows, bundles, kept, thawed: OnceLock::new() }
    }

    pub(crate) fn rows(&self) -> ChangeIx {
        self.rows
    }

    pub(crate) fn bundles(&self) -> &[Arc<[u8]>] {
        &self.bundles
    }

    /// How many changes the bundles say that they hold, and how long these are in all.
    pub(crate) fn claims(&self) -> (u64, u64) {
        let heads = self.bundles.iter().filter_map(|bundle| bundle::decode(bundle).ok());
        heads.fold((0, 0), |(count, bytes), head| {
            (head.change_count().saturating_add(count), head.change_bytes().saturating_add(bytes))
        })
    }

    /// The digest of a head or a tip.
    pub(crate) fn kept(&self, ix: ChangeIx) -> Digest {
        self.kept.get(&ix).copied().unwrap_or(Digest([0; 32]))
    }

    /// The rows and digests of heads and tips.
    pub(crate) fn all_kept(&self) -> impl Iterator<Item = (ChangeIx, Digest)> + '_ {
        self.kept.iter().map(|(ix, digest)| (*ix, *digest))
    }

    fn heap_bytes(&self) -> usize {
        let thawed = self.thawed.get().map_or(0, |thawed| {
            thawed.digests.capacity() * 32
                + thawed.signatures.capacity() * 64
                + thawed.bodies.capacity()
                + thawed.body_ranges.capacity() * size_of::<Range<usize>>()
                + thawed.index.heap_bytes()
        });
        self.bundles.iter().map(|bundle| bundle.len()).sum::<usize>() + thawed
    }
}

#[expect(clippy::indexing_slicing, reason = "the numbers of changes are made by the history only")]
impl History {
    pub(crate) fn digest(&self, change: ChangeIx) -> Digest {
        match change.checked_sub(self.cold.rows) {
            Some(at) => self.digests[at as usize],
            None => match self.cold.kept.get(&change) {
                Some(digest) => *digest,
                None => self.thawed().digests[change as usize],
            },
        }
    }

    /// The signature of a change; zeros where it was left out since a later one covers it.
    pub(crate) fn signature(&self, change: ChangeIx) -> [u8; 64] {
        match change.checked_sub(self.cold.rows) {
            Some(at) => self.signatures[at as usize],
            None => self.thawed().signatures[change as usize],
        }
    }

    pub(crate) fn body(&self, change: ChangeIx) -> &[u8] {
        if change >= self.cold.rows {
            let row = self.row(change);
            let start = row.body_start as usize;
            return &self.bodies[start..start + row.body_len as usize];
        }
        let thawed = self.thawed();
        &thawed.bodies[thawed.body_ranges[change as usize].clone()]
    }

    pub(crate) fn find(&self, digest: &Digest) -> Option<ChangeIx> {
        self.find_hot(digest).or_else(|| self.find_cold(digest))
    }

    /// As [`Self::find`], for a change at hand: one beyond its author's tips needs no look at cold history.
    pub(crate) fn find_change(&self, change: &Change) -> Option<ChangeIx> {
        self.find_named(&change.digest(), &change.author(), change.seq())
    }

    /// Finds the change that another names as its author's previous one.
    pub(crate) fn find_prev(&self, change: &Change) -> Option<ChangeIx> {
        self.find_named(&change.prev()?, &change.author(), change.seq() - 1)
    }

    fn find_named(&self, digest: &Digest, author: &AuthorId, seq: u64) -> Option<ChangeIx> {
        self.find_hot(digest).or_else(|| {
            let mut branches = self.branches_of(author).map(|branch| &self.branches[branch as usize]);
            let may_be_cold = branches.any(|branch| seq <= u64::from(branch.last_seq()));
            may_be_cold.then(|| self.find_cold(digest)).flatten()
        })
    }

    fn find_hot(&self, digest: &Digest) -> Option<ChangeIx> {
        self.by_digest.find(digest, |ix| self.digest(ix))
    }

    fn find_cold(&self, digest: &Digest) -> Option<ChangeIx> {
        if self.cold.rows == 0 {
            return None;
        }
        let thawed = self.thawed();
        thawed.index.find(digest, |ix| thawed.digests[ix as usize])
    }

    /// Reads the cold changes. The bundles were made here, or their checksums were looked at when they were
    /// opened.
    fn thawed(&self) -> &Thawed {
        self.cold.thawed.get_or_init(|| {
            let rows = self.cold.rows as usize;
            let mut thawed = Thawed {
                digests: vec![Digest([0; 32]); rows],
                signatures: vec![[0; 64]; rows],
                bodies: Vec::new(),
                body_ranges: vec![0..0; rows],
                index: DigestIndex::default(),
            };
            let decoders = self.cold.bundles.iter().filter_map(|bundle| bundle::decode(bundle).ok());
            let changes = decoders.flatten().map_while(Result::ok);
            // The bundles have the changes in the order in which they became part of the history.
            let places = self.signed_from(0).take_while(|(place, _)| *place < self.cold.rows);
            for ((_, ix), bundled) in places.zip(changes) {
                let change = bundled.change;
                if !self.is_of_row(&change, ix) {
                    continue;
                }
                let at = ix as usize;
                let body_start = thawed.bodies.len();
                thawed.bodies.extend_from_slice(change.body_bytes());
                thawed.body_ranges[at] = body_start..thawed.bodies.len();
                thawed.digests[at] = change.digest();
                thawed.signatures[at] = *change.signature();
                let digests = &thawed.digests;
                thawed.index.insert(change.digest(), ix, |ix| digests[ix as usize]);
            }
            Box::new(thawed)
        })
    }

    /// Whether a row stands for a change: what a snapshot's state and its history say may differ.
    fn is_of_row(&self, change: &Change, ix: ChangeIx) -> bool {
        let (row, header) = (self.row(ix), change.header());
        let of_row = (self.author_of(ix), u64::from(row.seq), u64::from(row.lamport), row.first_counter);
        of_row == (header.author, header.seq, header.lamport, header.first_counter)
            && change.span() == u64::from(row.span)
    }

    /// Compresses all changes that are not cold yet. No edit may wait for its signature.
    pub(crate) fn freeze(&mut self) -> Result<(), BundleError> {
        let signatures =
            if self.document == DocumentId::DEFAULT { Signatures::All } else { Signatures::Covering };
        let hot: Vec<ChangeIx> = self.signed_from(self.cold.rows).map(|(_, change)| change).collect();
        let mut bundles = Vec::new();
        let mut bare = Vec::new();
        for part in hot.chunks(BUNDLE_CHANGES) {
            let changes: Vec<Change> = part.iter().map(|ix| self.change(*ix)).collect();
            let kept = bundle::kept(&changes, signatures);
            bare.extend(part.iter().zip(kept).filter(|(_, kept)| !kept).map(|(ix, _)| *ix));
            bundles.push(Arc::from(bundle::encode(&changes, signatures)?));
        }
        // A signature that is not kept can no longer be vouched for.
        for ix in bare {
            self.row_mut(ix).is_vouched = false;
        }
        let tips = self.branches.iter().filter_map(|branch| branch.changes.last().copied());
        let kept: BTreeMap<ChangeIx, Digest> =
            tips.chain(self.head_numbers()).map(|ix| (ix, self.digest(ix))).collect();
        let mut index = DigestIndex::default();
        for (ix, digest) in &kept {
            index.insert(*digest, *ix, |ix| kept.get(&ix).copied().unwrap_or(Digest([0; 32])));
        }
        let bundles = self.cold.bundles.drain(..).chain(bundles).collect();
        self.by_digest = index;
        self.cold = Cold::new(self.rows.len() as ChangeIx, bundles, kept);
        self.digests = Vec::new();
        self.signatures = Vec::new();
        self.bodies = Vec::new();
        Ok(())
    }

    /// Heap bytes of rows, of hot and of cold columns.
    pub(crate) fn memory(&self) -> (usize, usize, usize) {
        let branches = self.branches.iter().map(Branch::heap_bytes);
        let rows = self.rows.capacity() * size_of::<Row>() + branches.sum::<usize>();
        let hot = self.digests.capacity() * 32
            + self.signatures.capacity() * 64
            + self.bodies.capacity()
            + self.by_digest.heap_bytes();
        (rows, hot, self.cold.heap_bytes())
    }

    pub(crate) fn cold(&self) -> &Cold {
        &self.cold
    }
}

//! How two nodes find out in which of the documents that they keep they differ: a hash of all, then one for each bucket,
//! then what is in the buckets that differ.

use bft_json_crdt::{Digest, DocumentId};

use super::frame::HeldDocument;

/// How many buckets a catalog has: one for each first byte of an id.
pub const BUCKETS: usize = 256;

/// Separates hashes of buckets from everything else that is hashed.
const BUCKET_DOMAIN: &[u8] = b"gangline sync 2 bucket\0";
/// Separates summaries from everything else that is hashed.
const SUMMARY_DOMAIN: &[u8] = b"gangline sync 2 catalog\0";

/// The hashes of a catalog's buckets. They are short: whoever makes two sets with the same hash keeps what it made itself
/// from being compared, and nothing else.
pub type BucketHashes = [[u8; 8]; BUCKETS];

/// What is said of the documents that a node keeps and does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Catalog {
    /// What stands for all of it: see [`summary_of`]. Where the two differ, the other side says its buckets.
    Summary([u8; 16]),
    /// What stands for each bucket: see [`bucket_hash`]. Whoever hears it asks for those that differ.
    Buckets(Box<BucketHashes>),
    /// Asks for a page of a bucket.
    Ask {
        /// The bucket.
        bucket: u8,
        /// The page begins behind this id, which is of the bucket.
        after: Option<DocumentId>,
    },
    /// Answers an ask.
    Page {
        /// The bucket.
        bucket: u8,
        /// Nothing of the bucket comes behind it.
        is_last: bool,
        /// Documents of the bucket, by their ids.
        documents: Vec<HeldDocument>,
    },
}

/// Returns the bucket of a document.
#[must_use]
pub fn bucket_of(id: &DocumentId) -> u8 {
    let [first, ..] = id.0;
    first
}

/// Returns what stands for the documents of a bucket, which must come by ascending id. O(documents).
#[must_use]
pub fn bucket_hash<'a>(documents: impl IntoIterator<Item = &'a HeldDocument>) -> [u8; 8] {
    let mut bytes = Vec::new();
    for document in documents {
        bytes.extend_from_slice(&document.id.0);
        bytes.extend_from_slice(&document.root.0);
    }
    cut(&Digest::of(&[BUCKET_DOMAIN, &bytes]))
}

/// Returns what stands for all buckets.
#[must_use]
pub fn summary_of(buckets: &BucketHashes) -> [u8; 16] {
    cut(&Digest::of(&[SUMMARY_DOMAIN, buckets.as_flattened()]))
}

fn cut<const N: usize>(digest: &Digest) -> [u8; N] {
    std::array::from_fn(|at| digest.0.get(at).copied().unwrap_or_default())
}

//! Events: what is hashed and signed, drawn byte by byte.
//!
//! ```text
//! hash of an event       SHA-256 over "gangline event 1\n" and these fields, each with its length in front
//!                        (four bytes, little-endian; integers are eight bytes, little-endian):
//!                        space ‖ seq ‖ epoch ‖ intent id ‖ author ‖ holder ‖ type ‖ payload ‖ hash before
//! hash before event 0    SHA-256 over "gangline log 1\n", space and incarnation, with their lengths
//! content of an intent   SHA-256 over "gangline intent 1\n", type and payload, with their lengths
//! signature of a batch   Ed25519 by the holder over "gangline batch 1\n" ‖ hash of its last event
//! ```
//!
//! A signature stands with the last event of its batch. It covers everything before it through the chain, and
//! through event 0 the space and its incarnation.

use std::fmt;

use bft_json_crdt::{AuthorId, Digest};

use crate::{
    name::{EventType, IntentId, SpaceName},
    payload::Payload,
};

const EVENT_DOMAIN: &[u8] = b"gangline event 1\n";
const LOG_DOMAIN: &[u8] = b"gangline log 1\n";
const INTENT_DOMAIN: &[u8] = b"gangline intent 1\n";
const BATCH_DOMAIN: &[u8] = b"gangline batch 1\n";

/// The position of an event in its space's log: 0, 1, 2 …, contiguous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The position of the first event.
    pub const START: Self = Self(0);

    /// Returns the position `count` events further on.
    #[must_use]
    pub fn plus(self, count: usize) -> Self {
        Self(self.0.saturating_add(count as u64))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The fencing token: grows with each new holder of a space, stays through renewals. 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// No holder yet.
    pub const NONE: Self = Self(0);

    /// Returns the next one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One life of a log, from its first seal or a restore: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub [u8; 16]);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

/// Where a log ends: the position of the next event and the hash of the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Head {
    /// The number of events, which is the position of the next one.
    pub next: Seq,
    /// The hash of the last event; of an empty log what its first event will have as `prev`.
    pub hash: Digest,
}

impl Head {
    /// Returns the head of an empty log.
    #[must_use]
    pub fn start(space: &SpaceName, incarnation: Incarnation) -> Self {
        let hash = hash_fields(LOG_DOMAIN, &[space.as_str().as_bytes(), &incarnation.0]);
        Self { next: Seq::START, hash }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events, hash {}", self.next, self.hash)
    }
}

/// An append that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Its id, unique in its space for good.
    pub id: IntentId,
    /// The type of the event.
    pub kind: EventType,
    /// What the event says.
    pub payload: Payload,
}

impl Intent {
    /// Returns the digest by which the same id with other content is told from a repetition.
    #[must_use]
    pub fn content(&self) -> Digest {
        content(&self.kind, &self.payload)
    }
}

/// Where an intent stands: what its user is told, and what is kept of it for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Placed {
    /// The position of its event.
    pub seq: Seq,
    /// Under which epoch it was appended.
    pub epoch: Epoch,
    /// The hash of its event.
    pub hash: Digest,
    /// The digest of its type and payload.
    pub content: Digest,
}

/// What an append has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landed {
    /// Where the intent stands.
    pub placed: Placed,
    /// Whether it was not in the log before.
    pub is_new: bool,
}

impl Landed {
    pub(crate) fn new(placed: Placed) -> Self {
        Self { placed, is_new: true }
    }

    pub(crate) fn known(placed: Placed) -> Self {
        Self { placed, is_new: false }
    }
}

/// The holder's signature over the last hash of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BatchSignature(pub [u8; 64]);

impl fmt::Debug for BatchSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "BatchSignature({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// One record of a log. Plain data: whoever did not make it checks it with [`crate::Verifier`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its position.
    pub seq: Seq,
    /// Under which epoch it was appended.
    pub epoch: Epoch,
    /// The intent's id.
    pub id: IntentId,
    /// The node that submitted the intent.
    pub author: AuthorId,
    /// The node that appended it.
    pub holder: AuthorId,
    /// Its type.
    pub kind: EventType,
    /// What it says.
    pub payload: Payload,
    /// The hash of the event before; of event 0 that of the space and its incarnation.
    pub prev: Digest,
    /// Its own hash.
    pub hash: Digest,
    /// There if it is the last of its batch.
    pub signature: Option<BatchSignature>,
}

impl Event {
    /// Computes the hash that the event must have.
    #[must_use]
    pub fn compute_hash(&self, space: &SpaceName) -> Digest {
        hash_fields(
            EVENT_DOMAIN,
            &[
                space.as_str().as_bytes(),
                &self.seq.0.to_le_bytes(),
                &self.epoch.0.to_le_bytes(),
                self.id.as_str().as_bytes(),
                &self.author.0,
                &self.holder.0,
                self.kind.as_str().as_bytes(),
                self.payload.bytes(),
                &self.prev.0,
            ],
        )
    }

    /// Returns what is kept of its intent.
    #[must_use]
    pub fn placed(&self) -> Placed {
        let content = content(&self.kind, &self.payload);
        Placed { seq: self.seq, epoch: self.epoch, hash: self.hash, content }
    }
}

/// Returns the words that the holder signs for a batch that ends with that hash.
pub(crate) fn signed_words(last: &Digest) -> Vec<u8> {
    [BATCH_DOMAIN, &last.0].concat()
}

fn content(kind: &EventType, payload: &Payload) -> Digest {
    hash_fields(INTENT_DOMAIN, &[kind.as_str().as_bytes(), payload.bytes()])
}

/// Hashes fields with their lengths. No field is longer than a payload, so a length always fits.
fn hash_fields(domain: &[u8], fields: &[&[u8]]) -> Digest {
    let lengths: Vec<[u8; 4]> = fields.iter().map(|field| (field.len() as u32).to_le_bytes()).collect();
    let mut parts: Vec<&[u8]> = vec![domain];
    for (length, field) in lengths.iter().zip(fields) {
        parts.extend([length.as_slice(), field]);
    }
    Digest::of(&parts)
}

//! Version 2: canonical binary frames.
//!
//! ```text
//! frame     1 byte kind, from 80 on; the fields below; nothing may follow
//! 80 hello     varint 2 | 32 bytes key of the node | 32 bytes nonce | 1 byte channel: 00 none, 01 bound
//!              varint count of documents, each: 32 bytes id, 32 bytes root; perhaps the abilities at last
//! 81 proof     64 bytes signature over what both sides said: see `Transcript`
//! 82 vector    varint document | vector | accepts: 00 everybody's, or 01 varint count and keys of 32 bytes
//! 83 changes   varint document | varint count, from 1 on, each: bytes canonical encoding, 64 bytes signature or zeros
//! 84 bundle    varint document | a bundle, to the end
//! 85 end       varint document | 1 byte: 01 nothing is left to be found out | vector
//! 86 ask       varint document | 32 bytes author | varint count, digests of 32 bytes
//! 87 have      varint document | 32 bytes author | bytes, one per digest of the ask: 00 or 01
//! 88 ack       varint document | vector
//! 89 held      varint document | varint count, keys of 32 bytes
//! 8a presence  bytes
//! 8b call      varint id | varint method | bytes
//! 8c reply     varint id | 1 byte: 00 done, 01 refused | bytes
//! 8d records   varint count, each: bytes
//! 8e refuse    1 byte code | bytes UTF-8 sentence
//! 8f open      32 bytes id | 32 bytes root | answers: 00 nothing, or 01 varint document of the other side
//! 90 close     varint document
//! 91 news      32 bytes id | 32 bytes root
//! 92 catalog   00 summary, 16 bytes
//!              01 buckets, 256 of 8 bytes
//!              02 ask, 1 byte bucket | after: 00 its beginning, or 01 32 bytes id
//!              03 page, 1 byte bucket | 1 byte: 01 the bucket ends here | varint count, each: 32 bytes id, 32 bytes root
//! abilities    as if it were a document: 32 bytes "gangline sync 2 abilities" and zeros | 32 bytes, each bit an ability:
//!              01 of the first byte says that the sender knows the frames from 8f to 92
//! vector       varint count of authors, each: 32 bytes key, varint count from 1 on, each: varint seq, 32 bytes digest
//! ```
//!
//! A document goes by its number at the frame's sender: its place in the sender's hello, and from there on one more
//! with each `open`. A number is never used again on the same connection. Keys ascend strictly, and so do the tips of
//! an author, by (seq, digest), and the ids of a page; varints and bytes are those of the engine's encoding. What has a
//! second spelling does not decode.
//!
//! Nodes without abilities, from before there were any, take these for a document that they lack, and so bear a hello
//! that has them. They are never sent a frame from 8f on, and share the documents of the hellos alone. Bits that a node
//! does not know it ignores.
//!
//! A bucket of a catalog holds what begins with the same byte. Its hash, and the summary, are those of `catalog.rs`.

mod catalog;
mod codec;
mod decode;
mod encode;
mod frame;
mod transcript;

pub use catalog::{BUCKETS, BucketHashes, Catalog, bucket_hash, bucket_of, summary_of};
pub use decode::decode;
pub use encode::{bundle_of, changes_of, encode};
pub use frame::{Abilities, Accepts, Frame, FrameError, HeldDocument, Hello, RefuseCode};
pub use transcript::{Transcript, root};

/// The kinds of frames.
mod kind {
    pub(super) const HELLO: u8 = 0x80;
    pub(super) const PROOF: u8 = 0x81;
    pub(super) const VECTOR: u8 = 0x82;
    pub(super) const CHANGES: u8 = 0x83;
    pub(super) const BUNDLE: u8 = 0x84;
    pub(super) const END: u8 = 0x85;
    pub(super) const ASK: u8 = 0x86;
    pub(super) const HAVE: u8 = 0x87;
    pub(super) const ACK: u8 = 0x88;
    pub(super) const HELD: u8 = 0x89;
    pub(super) const PRESENCE: u8 = 0x8a;
    pub(super) const CALL: u8 = 0x8b;
    pub(super) const REPLY: u8 = 0x8c;
    pub(super) const RECORDS: u8 = 0x8d;
    pub(super) const REFUSE: u8 = 0x8e;
    pub(super) const OPEN: u8 = 0x8f;
    pub(super) const CLOSE: u8 = 0x90;
    pub(super) const NEWS: u8 = 0x91;
    pub(super) const CATALOG: u8 = 0x92;
}

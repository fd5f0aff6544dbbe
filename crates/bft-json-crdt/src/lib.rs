//! A JSON document that many replicas edit at once, in which every edit is signed and hash-linked, and which
//! converges although some of the replicas lie.
//!
//! Pure: no IO, no async, no clock, no randomness but where a key is made. After Kleppmann 2022, *Making CRDTs
//! Byzantine Fault Tolerant* (hash-linked, signed changes), and Weidner and Kleppmann 2023, *The Art of the
//! Fugue* (lists that do not interleave).
//!
//! Every [`Change`] names its author's previous change by digest. That one link gives exact version vectors,
//! history that is verified at the speed of a hash, and portable proof when a key signs two histories.
//!
//! Read [`json_crdt`] first: the documents and an example. Then [`change`]: what is signed, drawn byte by
//! byte. [`list_crdt`], [`text_crdt`], [`lww_crdt`], [`map_crdt`], [`counter_crdt`] and
//! [`json_crdt::JsonCrdt`] are what documents are made of.

#![allow(
    clippy::cast_possible_truncation,
    reason = "numbers of changes, nodes and bytes are bounded by 2^32"
)]

mod any_crdt;
mod coalescing;
mod columns;
mod encoding;
mod handle;
mod hash;
mod hex;
mod schema;
mod signed_op;
mod state;
mod value;
mod verify;

pub mod bundle;
pub mod change;
pub mod counter_crdt;
pub mod json_crdt;
pub mod keypair;
pub mod limits;
pub mod list_crdt;
pub mod lww_crdt;
pub mod map_crdt;
pub mod op;
pub mod text_crdt;

pub use change::{Change, Digest, DocumentId};
pub use encoding::DecodeError;
pub use hex::ParseHexError;
pub use json_crdt::{BaseCrdt, Batch, CrdtNode, JsonCrdt, JsonValue, OpState, SignedOp};
pub use keypair::{AuthorId, Keypair};
pub use op::{OpId, ROOT_ID};
pub use signed_op::NotOneOp;

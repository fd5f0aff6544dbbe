//! Bundles: many changes of one document, in columns, compressed and checksummed. What a node keeps of its
//! history on disk, and what a fresh replica gets.
//!
//! A bundle is another spelling of [`Change::bytes`](crate::Change::bytes), not another history: each change comes
//! out of it byte for byte, through [`Change::decode`](crate::Change::decode), and hashed anew. So no digest of a
//! change inside is stored; one change refers to another by its distance. Who trusts a bundle trusts its
//! signatures, as with changes that came one by one.
//!
//! ```text
//! bundle    8 bytes    "glbundle"
//!           1 byte     version, 1
//!           32 bytes   document id; zeros in a bundle of nothing
//!           8 bytes    count of changes, little-endian
//!           8 bytes    length of their canonical encodings in all, little-endian
//!           4 bytes    CRC-32 of the bytes above, little-endian
//!           chunks     until the end
//! chunk     4 bytes    length of the payload, little-endian
//!           4 bytes    CRC-32 of the payload, little-endian
//!           payload
//! payload   1 byte     kind of chunk: 01 changes
//!           varint     count of changes, from 1 to 16,384; canonical encodings of 4 MiB at most in all
//!           varint     count of authors that no chunk before has, and as many keys of 32 bytes
//!           varint     count of digests of changes outside that no chunk before has, and as many of 32 bytes
//!           varint     count of signatures, and as many of 64 bytes, in the order of their changes
//!           columns    see `columns.rs`; their ids and meanings are in `bundle/layout.rs`
//! ```
//!
//! Authors and outside changes are numbered from 0, in the order of all chunks. What the columns say is relative
//! to what a reader knows by then: see `bundle/layout.rs`. A chunk needs those before it and none after it.

mod covering;
mod decoder;
mod encoder;
mod layout;
mod ops;
mod seen;
#[cfg(test)]
mod tests;
mod values;

pub use covering::kept;
pub use decoder::{BundledChange, Decoder, check, decode};
pub use encoder::{Encoder, encode};

use crate::change::DocumentId;
use crate::columns::ColumnError;
use crate::encoding::DecodeError;
use crate::limits::CHANGE_BYTES_MAX;

/// Most changes in one chunk of a bundle.
pub const CHUNK_CHANGES_MAX: usize = 16_384;
/// Most bytes of canonical encoding in one chunk of a bundle: any one change fits.
pub const CHUNK_BYTES_MAX: usize = CHANGE_BYTES_MAX;
/// Most bytes that the columns of one chunk inflate to.
pub const CHUNK_INFLATED_BYTES_MAX: usize = 48 << 20;
/// How far back in a bundle a change is referred to by its distance; one further back counts as outside.
pub const WINDOW_CHANGES: usize = 1 << 20;

const MAGIC: &[u8; 8] = b"glbundle";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 8 + 1 + 32 + 8 + 8;
/// Chunk discriminants, never reused.
const CHUNK_OF_CHANGES: u8 = 1;

/// Which signatures a bundle keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signatures {
    /// All of them: for the default document, whose v1 peers know no other way.
    All,
    /// Those that make every change authentic: of each change that no other in the bundle names as its author's
    /// previous one, and one at least every [`COVERED_CHANGES_MAX`] changes of a chain. What is left out is
    /// covered by a later one.
    Covering,
}

/// Of so many consecutive changes of one chain at least one keeps its signature.
pub const COVERED_CHANGES_MAX: usize = 256;

/// Changes that no bundle can hold, or bytes that are no bundle. A bundle that is wrong somewhere gives no change
/// of the chunk in which it is, and none after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// It begins with something else. Look for another format.
    #[error("not a bundle")]
    NotABundle,
    /// A later version wrote it.
    #[error("bundle of version {found}, not {VERSION}")]
    Version {
        /// The version.
        found: u8,
    },
    /// The head's checksum does not fit it. Get the bundle again.
    #[error("the head of the bundle does not have its checksum")]
    HeadChecksum,
    /// The bytes end in the middle. Get the bundle again.
    #[error("chunk {chunk} of the bundle ends early")]
    Truncated {
        /// The chunk, from 0.
        chunk: u64,
    },
    /// A chunk's checksum does not fit it. Get the bundle again.
    #[error("chunk {chunk} of the bundle does not have its checksum")]
    Checksum {
        /// The chunk, from 0.
        chunk: u64,
    },
    /// A chunk is intact and makes no sense: its writer is at fault.
    #[error("chunk {chunk} of the bundle: {column}: {problem}")]
    Malformed {
        /// The chunk, from 0.
        chunk: u64,
        /// The part of it.
        column: &'static str,
        /// What is wrong there.
        problem: &'static str,
    },
    /// A chunk is intact and holds what is no change: its writer is at fault.
    #[error("chunk {chunk} of the bundle, change {change}")]
    Change {
        /// The chunk, from 0.
        chunk: u64,
        /// The change's place in the bundle, from 0.
        change: u64,
        /// Why it is none.
        source: DecodeError,
    },
    /// More of something than a bundle may have, or than its head says.
    #[error("chunk {chunk} of the bundle: {what}: {found}, at most {limit}")]
    OverLimit {
        /// The chunk, from 0.
        chunk: u64,
        /// Of what.
        what: &'static str,
        /// How much there is, at least.
        found: u64,
        /// How much there may be.
        limit: u64,
    },
    /// The chunks have fewer changes, or shorter ones, than the head says: some are missing.
    #[error("the bundle ends {changes} changes, {bytes} bytes before what its head says")]
    Missing {
        /// How many changes are missing.
        changes: u64,
        /// How many bytes of canonical encoding are missing.
        bytes: u64,
    },
    /// A change of another document than the first was to be encoded.
    #[error("change {change} belongs to document {found}, not {expected}")]
    OtherDocument {
        /// Its place in the input, from 0.
        change: u64,
        /// Its document.
        found: DocumentId,
        /// The bundle's document.
        expected: DocumentId,
    },
}

/// What is wrong in a chunk, before the chunk's number is known.
#[derive(Debug)]
enum Fault {
    Column(ColumnError),
    Change(DecodeError),
    OverLimit { what: &'static str, found: u64, limit: u64 },
}

impl Fault {
    fn in_chunk(self, chunk: u64, change: u64) -> BundleError {
        match self {
            Self::Column(ColumnError::Column { column, problem }) => {
                BundleError::Malformed { chunk, column, problem }
            }
            Self::Column(ColumnError::TooLong { found, limit }) => {
                let what = "inflated bytes of columns";
                BundleError::OverLimit { chunk, what, found, limit: limit as u64 }
            }
            Self::Change(source) => BundleError::Change { chunk, change, source },
            Self::OverLimit { what, found, limit } => BundleError::OverLimit { chunk, what, found, limit },
        }
    }
}

impl From<ColumnError> for Fault {
    fn from(error: ColumnError) -> Self {
        Self::Column(error)
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self::Change(error)
    }
}

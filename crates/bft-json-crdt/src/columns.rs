//! The alphabet of columns: many numbers, or the bytes of many strings, of one kind each, in as few bytes as the
//! best of a few simple codings takes.
//!
//! What the columns of a history are is drawn in [`crate::bundle`]. A reader allocates nothing for a number; what
//! it inflates is bounded before it allocates.
//!
//! ```text
//! columns   column …   ascending by id, until the end; a column of nothing is left out
//! column    1 byte     id
//!           1 byte     coding
//!           blocks     as the coding says
//! coding    01         bytes: one block
//!           02         runs: one block of (varint number, varint times, at least 1) …
//!           03         delta runs: as runs, of differences
//!           04         planes: 1 byte width w, from 1 to 8, then w blocks of one length: the lowest byte of each
//!                      number, then the next byte of each, …
//!           05         delta planes: as planes, of differences
//!           12 … 15    the same, of distances
//! block     varint     length of the data × 2, + 1 when it is deflated
//!           varint     its length as it stands here, when it is deflated
//!           bytes      the data, or the data deflated (RFC 1951)
//!
//! difference  zigzag of this number - the one before it, from 0 on, modulo 2^64
//! distance    zigzag of a number that the reader knows - this one, modulo 2^64
//! ```

mod block;
mod cursor;
mod dictionary;
mod numbers;

pub(crate) use block::Deflater;
pub(crate) use cursor::{Bytes, Columns, Cursor};
pub(crate) use dictionary::{Dictionary, Interner};
pub(crate) use numbers::{Numbers, put_bytes_column};

use crate::encoding::DecodeError;

const BYTES: u8 = 1;
const RUNS: u8 = 2;
const DELTA_RUNS: u8 = 3;
const PLANES: u8 = 4;
const DELTA_PLANES: u8 = 5;
/// Added to a coding of distances.
const DISTANCES: u8 = 0x10;

/// Bytes that are no columns, or a column that does not hold what it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ColumnError {
    /// What is wrong with which column.
    #[error("column {column}: {problem}")]
    Column { column: &'static str, problem: &'static str },
    /// The columns inflate to more than the reader takes.
    #[error("{found} bytes of columns, at most {limit}")]
    TooLong { found: u64, limit: usize },
}

impl ColumnError {
    pub(crate) fn new(column: &'static str, problem: &'static str) -> Self {
        Self::Column { column, problem }
    }

    /// What the bytes of the columns themselves show.
    fn of_bytes(error: &DecodeError) -> Self {
        Self::new(
            "directory",
            if matches!(error, DecodeError::Truncated { .. }) { "ends early" } else { "malformed" },
        )
    }
}

/// Small numbers of either sign become small numbers.
pub(crate) fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

/// Undoes [`zigzag`].
pub(crate) fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

#[cfg(test)]
mod tests;

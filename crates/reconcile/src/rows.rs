//! The rows of one root, as a source read them in one snapshot.

mod builder;
mod cell;
mod encode;
mod keep;

use std::collections::BTreeMap;

use bft_json_crdt::JsonValue;
use blake3::Hasher;

pub use self::builder::{RowsBuilder, TooLarge, check_key};
pub use self::cell::Cell;
pub use self::keep::{Digested, Keep, Read};
use crate::schema::Shape;

/// What is hashed at once: BLAKE3 takes several chunks of 1 KiB side by side.
const PIECE: usize = 16 << 10;

/// The values of a row's fields, in the order of [`crate::TableShape::fields`]: null, a boolean, a number or a string.
pub type Row = Vec<JsonValue>;

/// All rows that belong to one root, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// The root row; none where it is gone.
    pub root: Option<Row>,
    /// Of the root, where the mapping names a version column.
    pub version: Option<i64>,
    /// For each list of the shape its rows, by primary key.
    pub lists: Vec<BTreeMap<String, Row>>,
    /// What could not be read. Rows that are named here are in no list; the document keeps what it has of them. A root whose
    /// version alone is bad is there, without a version.
    pub bad: Vec<BadRow>,
}

/// A row that a document cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The list; none for the root.
    pub list: Option<usize>,
    /// The row's key; none where that is what is wrong.
    pub key: Option<String>,
    /// The column.
    pub column: String,
    /// What is wrong, without the value.
    pub what: String,
}

/// Says whether a root's rows are the ones that were seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowsDigest(pub [u8; 32]);

impl Rows {
    /// Returns no rows of a shape: what a document that was never filled followed.
    #[must_use]
    pub fn none(shape: &Shape) -> Self {
        Self { lists: vec![BTreeMap::new(); shape.lists.len()], ..Self::default() }
    }

    /// Returns whether the row of this key could not be read.
    #[must_use]
    pub fn is_bad(&self, list: Option<usize>, key: &str) -> bool {
        self.bad.iter().any(|bad| bad.list == list && bad.key.as_deref() == Some(key))
    }

    /// Returns a digest of everything in it: BLAKE3, since without instructions of its own a processor takes ten
    /// times as long for SHA-256. Nodes note it of what their documents have followed: with other bytes here they would look at
    /// all of their rows anew.
    #[must_use]
    pub fn digest(&self) -> RowsDigest {
        let mut hasher = Hasher::new();
        let mut bytes = Vec::with_capacity(PIECE + 1_024);
        encode::version(&mut bytes, self.version);
        bytes.push(u8::from(self.root.is_some()));
        if let Some(row) = &self.root {
            encode::row(&mut bytes, row);
        }
        for list in &self.lists {
            encode::number(&mut bytes, list.len());
            for (key, row) in list {
                encode::text(&mut bytes, key);
                encode::row(&mut bytes, row);
                if bytes.len() >= PIECE {
                    hasher.update(&bytes);
                    bytes.clear();
                }
            }
        }
        encode::bad(&mut bytes, &self.bad);
        RowsDigest(hasher.update(&bytes).finalize().into())
    }
}

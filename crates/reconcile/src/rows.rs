//! The rows of one root, as a source read them in one snapshot.

mod builder;

use std::collections::BTreeMap;

use bft_json_crdt::JsonValue;
use sha2::{Digest as _, Sha256};

pub use self::builder::{RowsBuilder, TooLarge, check_key};
use crate::schema::Shape;

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
    /// What could not be read. Rows that are named here are in no list; the document keeps what it has of them.
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

    /// Returns a digest of everything in it. SHA-256 over lengths and values. Signed batches depend on it: nodes
    /// with other bytes here would sign other changes for the same rows.
    #[must_use]
    pub fn digest(&self) -> RowsDigest {
        let mut bytes = Vec::with_capacity(4_096);
        let mut hasher = Sha256::new();
        put_number(&mut bytes, self.version.map_or(0, |_| 1));
        bytes.extend(self.version.unwrap_or_default().to_le_bytes());
        put_number(&mut bytes, usize::from(self.root.is_some()));
        self.root.iter().for_each(|row| put_row(&mut bytes, row));
        for list in &self.lists {
            put_number(&mut bytes, list.len());
            for (key, row) in list {
                put_bytes(&mut bytes, key.as_bytes());
                put_row(&mut bytes, row);
                if bytes.len() >= 4_096 {
                    hasher.update(&bytes);
                    bytes.clear();
                }
            }
        }
        for bad in &self.bad {
            put_number(&mut bytes, bad.list.map_or(0, |list| list + 1));
            put_bytes(&mut bytes, bad.key.as_deref().unwrap_or_default().as_bytes());
            put_bytes(&mut bytes, bad.column.as_bytes());
            put_bytes(&mut bytes, bad.what.as_bytes());
        }
        hasher.update(&bytes);
        RowsDigest(hasher.finalize().into())
    }
}

fn put_row(bytes: &mut Vec<u8>, row: &Row) {
    put_number(bytes, row.len());
    row.iter().for_each(|value| put_value(bytes, value));
}

fn put_value(bytes: &mut Vec<u8>, value: &JsonValue) {
    match value {
        JsonValue::Null => bytes.push(0),
        JsonValue::Bool(value) => bytes.extend([1, u8::from(*value)]),
        JsonValue::Integer(value) => {
            bytes.push(2);
            bytes.extend(value.to_le_bytes());
        }
        JsonValue::Number(value) => {
            bytes.push(3);
            bytes.extend(value.to_bits().to_le_bytes());
        }
        JsonValue::String(value) | JsonValue::Text(value) => {
            bytes.push(4);
            put_bytes(bytes, value.as_bytes());
        }
        // Rows have none.
        JsonValue::Array(_) | JsonValue::Object(_) => bytes.push(5),
    }
}

fn put_bytes(bytes: &mut Vec<u8>, content: &[u8]) {
    put_number(bytes, content.len());
    bytes.extend(content);
}

/// Seven bits in a byte, the lowest first: most lengths take one, and what is hashed is most of what a scan costs.
fn put_number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

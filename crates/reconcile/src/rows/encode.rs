//! The bytes of rows of which a digest is made: each part tells its kind and length, so no two rows have the same.

use bft_json_crdt::JsonValue;

use super::{BadRow, Cell};

pub(super) fn version(bytes: &mut Vec<u8>, version: Option<i64>) {
    bytes.push(u8::from(version.is_some()));
    bytes.extend(version.unwrap_or_default().to_le_bytes());
}

pub(super) fn row(bytes: &mut Vec<u8>, row: &[JsonValue]) {
    number(bytes, row.len());
    for value in row {
        match Cell::of(value) {
            Some(value) => cell(bytes, &value),
            None => bytes.push(5),
        }
    }
}

pub(super) fn cell(bytes: &mut Vec<u8>, cell: &Cell<'_>) {
    match cell {
        Cell::Null => bytes.push(0),
        Cell::Bool(value) => bytes.extend([1, u8::from(*value)]),
        Cell::Integer(value) => {
            bytes.push(2);
            bytes.extend(value.to_le_bytes());
        }
        Cell::Number(value) => {
            bytes.push(3);
            bytes.extend(value.to_bits().to_le_bytes());
        }
        Cell::Text(value) => {
            bytes.push(4);
            text(bytes, value);
        }
    }
}

pub(super) fn bad(bytes: &mut Vec<u8>, all: &[BadRow]) {
    number(bytes, all.len());
    for bad in all {
        number(bytes, bad.list.map_or(0, |list| list + 1));
        bytes.push(u8::from(bad.key.is_some()));
        text(bytes, bad.key.as_deref().unwrap_or_default());
        text(bytes, &bad.column);
        text(bytes, &bad.what);
    }
}

pub(super) fn text(bytes: &mut Vec<u8>, text: &str) {
    number(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

/// Seven bits in a byte, the lowest first: most lengths take one.
pub(super) fn number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

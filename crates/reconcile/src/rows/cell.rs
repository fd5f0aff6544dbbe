//! One value of a row, as a database lends it.

use std::borrow::Cow;

use bft_json_crdt::JsonValue;

/// What a column holds in one row. Whoever only compares digests never makes a value of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer.
    Integer(i128),
    /// A finite number.
    Number(f64),
    /// A text.
    Text(Cow<'a, str>),
}

impl<'a> Cell<'a> {
    /// Returns what a column holds that has this value in a document; none for what rows do not have.
    #[must_use]
    pub fn of(value: &'a JsonValue) -> Option<Self> {
        Some(match value {
            JsonValue::Null => Self::Null,
            JsonValue::Bool(value) => Self::Bool(*value),
            JsonValue::Integer(value) => Self::Integer(*value),
            JsonValue::Number(value) => Self::Number(*value),
            JsonValue::String(text) | JsonValue::Text(text) => Self::Text(text.into()),
            JsonValue::Array(_) | JsonValue::Object(_) => return None,
        })
    }

    /// How much of a document's limits it takes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Null | Self::Bool(_) | Self::Integer(_) | Self::Number(_) => 8,
        }
    }
}

impl From<Cell<'_>> for JsonValue {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Bool(value) => Self::Bool(value),
            Cell::Integer(value) => Self::Integer(value),
            Cell::Number(value) => Self::Number(value),
            Cell::Text(text) => Self::String(text.into_owned()),
        }
    }
}

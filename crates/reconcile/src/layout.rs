//! What a followed document looks like. It stands in the document itself, so that every node reads it alike.
//!
//! ```text
//! { "name": …, "concurrency": …,              fields of the root row
//!   "jobs": { "j1": { "name": …, "body": … } },   a list: rows by primary key
//!   "$layout": "…",                            this, as JSON; the source's alone
//!   "$version": 7, "$gone": true, "$batch": 2, "$owned": "…" }
//! ```
//!
//! Names that begin with `$` are the document's own: the database's version at the last batch, that the root row is gone,
//! how many parts of a batch are still to come, and of a mirror what the rows have in fields that the document owns.

use std::collections::BTreeMap;

use bft_json_crdt::JsonValue;
use serde::{Deserialize, Serialize};

use crate::limits::ROW_BYTES_MAX;
use crate::mapping::{Mode, Policy};
use crate::schema::{ColumnKind, FieldShape, Shape, TableShape};

/// Holds the layout.
pub(crate) const LAYOUT: &str = "$layout";
/// Holds the version that the last batch brought.
pub(crate) const VERSION: &str = "$version";
/// Is true when the root row is gone.
pub(crate) const GONE: &str = "$gone";
/// Holds what the rows of a mirror have in fields that the document owns, where it has something else: JSON, by path. A
/// mirror's batch has seen what people did, so where it was signed does not tell.
pub(crate) const OWNED: &str = "$owned";
/// Holds how many parts of a batch are still to come.
pub(crate) const BATCH: &str = "$batch";
/// Is put into a row and removed again by somebody who says that it is right as it is.
pub(crate) const SEEN: &str = "$seen";
/// Begins the names that a document keeps for itself.
pub(crate) const OWN: char = '$';

/// Which fields a document has, of which types, and who prevails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// What a database change does to edits that are not saved.
    pub mode: Mode,
    /// How the source is called in the mapping; none in documents that were written before they had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// A root field that is not null where the row counts as deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_delete: Option<String>,
    /// The root's fields, by name.
    pub fields: BTreeMap<String, FieldLayout>,
    /// The lists, by name.
    pub lists: BTreeMap<String, ListLayout>,
}

/// A list of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListLayout {
    /// Whether its keys are integers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub has_integer_keys: bool,
    /// The rows' fields, by name.
    pub fields: BTreeMap<String, FieldLayout>,
    /// Fields that name a row of a list.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refs: BTreeMap<String, String>,
}

/// A field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldLayout {
    /// What its values are.
    pub kind: ColumnKind,
    /// Who prevails.
    pub policy: Policy,
    /// Whether it may be null.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_nullable: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Why a value cannot stand in a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Its type is not the column's.
    #[error("needs {needed}, not {found}")]
    Type {
        /// What the column holds.
        needed: &'static str,
        /// What was given.
        found: &'static str,
    },
    /// The column is not nullable.
    #[error("may not be null")]
    Null,
    /// It is more than a document takes.
    #[error("is {bytes} bytes long, and a field may have {max}")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
}

impl Layout {
    /// Returns the layout of the documents that a shape makes.
    #[must_use]
    pub fn of(shape: &Shape) -> Self {
        let lists = shape.lists.iter().zip(&shape.mapping.lists).map(|(table, list)| {
            let layout = ListLayout {
                has_integer_keys: table.key.1 == ColumnKind::Integer,
                fields: fields_of(table),
                refs: list.refs.clone(),
            };
            (table.table.clone(), layout)
        });
        Self {
            mode: shape.mapping.mode,
            source: Some(shape.mapping.name.clone()),
            soft_delete: shape.mapping.root.soft_delete.clone(),
            fields: fields_of(&shape.root),
            lists: lists.collect(),
        }
    }

    /// Reads the layout that stands in a document's content; none where there is none that this program understands.
    #[must_use]
    pub fn in_content(content: &JsonValue) -> Option<Self> {
        serde_json::from_str(content.get(LAYOUT)?.as_str()?).ok()
    }

    /// Returns the layout as it stands in documents: the same bytes on every node.
    #[must_use]
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns a field of the root, or of a list.
    #[must_use]
    pub fn field(&self, list: Option<&str>, field: &str) -> Option<&FieldLayout> {
        match list {
            None => self.fields.get(field),
            Some(list) => self.lists.get(list)?.fields.get(field),
        }
    }

    /// Returns whether the content is of a root row that is gone or counts as deleted.
    #[must_use]
    pub fn is_deleted(&self, content: &JsonValue) -> bool {
        let is_soft = self.soft_delete.as_ref().and_then(|field| content.get(field));
        content.get(GONE) == Some(&JsonValue::Bool(true)) || is_soft.is_some_and(|at| *at != JsonValue::Null)
    }
}

fn fields_of(table: &TableShape) -> BTreeMap<String, FieldLayout> {
    table.fields.iter().map(|field| (field.column.clone(), field.layout())).collect()
}

impl FieldShape {
    /// Returns what documents say of the field.
    pub(crate) fn layout(&self) -> FieldLayout {
        FieldLayout { kind: self.kind, policy: self.policy, is_nullable: self.is_nullable }
    }
}

impl FieldLayout {
    /// Returns a value as the field's type has it: 5 in a column of floats is 5.0.
    ///
    /// # Errors
    /// [`Misfit`] for a value that the column cannot hold.
    pub fn normal(&self, value: JsonValue) -> Result<JsonValue, Misfit> {
        let misfit = |needed, value: &JsonValue| Misfit::Type { needed, found: type_name(value) };
        match (self.kind, value) {
            (_, JsonValue::Null) if self.is_nullable => Ok(JsonValue::Null),
            (_, JsonValue::Null) => Err(Misfit::Null),
            (ColumnKind::Integer, JsonValue::Integer(n)) if i64::try_from(n).is_ok() => {
                Ok(JsonValue::Integer(n))
            }
            (ColumnKind::Integer, value) => {
                Err(Misfit::Type { needed: "an integer of 64 bits", found: what_number(&value) })
            }
            (ColumnKind::Float | ColumnKind::Number, JsonValue::Number(x)) if x.is_finite() => {
                Ok(JsonValue::Number(x))
            }
            #[expect(clippy::cast_precision_loss, reason = "a column of floats holds floats")]
            (ColumnKind::Float, JsonValue::Integer(n)) => Ok(JsonValue::Number(n as f64)),
            (ColumnKind::Number, JsonValue::Integer(n)) if i64::try_from(n).is_ok() => {
                Ok(JsonValue::Integer(n))
            }
            (ColumnKind::Float | ColumnKind::Number, value) => Err(misfit("a number", &value)),
            (ColumnKind::Boolean, JsonValue::Bool(is)) => Ok(JsonValue::Bool(is)),
            (ColumnKind::Boolean, value) => Err(misfit("true or false", &value)),
            (ColumnKind::Text, JsonValue::String(text) | JsonValue::Text(text)) => {
                let (bytes, max) = (text.len(), ROW_BYTES_MAX);
                if bytes > max { Err(Misfit::TooLong { bytes, max }) } else { Ok(JsonValue::String(text)) }
            }
            (ColumnKind::Text, value) => Err(misfit("a string", &value)),
            (ColumnKind::Other, value) => Err(misfit("nothing that a document can have", &value)),
        }
    }

    /// Returns a value as it stands in a document: texts that are merged by character are texts.
    pub(crate) fn content(&self, value: JsonValue) -> JsonValue {
        match (self.policy, value) {
            (Policy::TextMerge, JsonValue::String(text)) => JsonValue::Text(text),
            (_, value) => value,
        }
    }

    /// Returns whether two values are the same in a column of this type.
    #[must_use]
    pub fn is_same(&self, a: &JsonValue, b: &JsonValue) -> bool {
        match (self.kind, a, b) {
            (ColumnKind::Float, JsonValue::Integer(_), JsonValue::Number(_))
            | (ColumnKind::Float, JsonValue::Number(_), JsonValue::Integer(_)) => a.as_f64() == b.as_f64(),
            _ => a == b,
        }
    }
}

/// What is wrong with a number that is no integer of 64 bits.
fn what_number(value: &JsonValue) -> &'static str {
    if let JsonValue::Integer(_) = value {
        return "one with more";
    }
    match value.as_f64() {
        Some(x) if x.fract() != 0.0 => "one with a fraction",
        Some(_) => "one with a point or an exponent",
        None => type_name(value),
    }
}

fn type_name(value: &JsonValue) -> &'static str {
    match value {
        JsonValue::Null => "null",
        JsonValue::Bool(_) => "a boolean",
        JsonValue::Integer(_) => "an integer",
        JsonValue::Number(_) => "a number",
        JsonValue::String(_) | JsonValue::Text(_) => "a string",
        JsonValue::Array(_) => "an array",
        JsonValue::Object(_) => "an object",
    }
}

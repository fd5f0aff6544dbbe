//! Edits that people make to a view: JSON Merge Patch (RFC 7396), held against the document's layout.
//!
//! In a field null is the value null, where the column may have it: a column is always there. For a row null means that it
//! is deleted.

use std::collections::BTreeMap;

use bft_json_crdt::JsonValue;
use bft_json_crdt::json_crdt::{EditError, JsonCrdt};

use crate::apply::{Hand, apply};
use crate::diff::Edit;
use crate::layout::{FieldLayout, Layout, Misfit, OWN};
use crate::limits::KEY_BYTES_MAX;
use crate::mapping::Policy;
use crate::path::Path;

/// Why a patch is not taken. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// It is no JSON object.
    #[error("a patch is an object of fields and lists")]
    NoObject,
    /// The document has no such field or list.
    #[error("{path}: this document has no such field; it has {known}")]
    Unknown {
        /// What was named.
        path: String,
        /// What there is.
        known: String,
    },
    /// A list or a row was given something else than an object.
    #[error("{path} needs an object, or null to delete a row")]
    NoRow {
        /// Where.
        path: String,
    },
    /// A key that the list's key column cannot have.
    #[error("{path}: the keys of this list are {needed}")]
    BadKey {
        /// The row.
        path: String,
        /// What keys are.
        needed: &'static str,
    },
    /// The field is the database's.
    #[error("{path} is written by the database alone")]
    DbOwned {
        /// The field.
        path: String,
    },
    /// The value is none of the column's.
    #[error("{path} {misfit}")]
    Misfit {
        /// The field.
        path: String,
        /// What is wrong.
        misfit: Misfit,
    },
}

/// Returns what a patch changes in a content: nothing where it says what stands there. O(patch).
///
/// # Errors
/// [`PatchError`] for the first thing that does not fit.
pub fn edits_of(layout: &Layout, content: &JsonValue, patch: &JsonValue) -> Result<Vec<Edit>, PatchError> {
    let JsonValue::Object(members) = patch else { return Err(PatchError::NoObject) };
    let mut edits = Vec::new();
    for (name, value) in members {
        if let Some(list) = layout.lists.get(name) {
            let JsonValue::Object(rows) = value else { return Err(PatchError::NoRow { path: name.clone() }) };
            for (key, row) in rows {
                check_key(name, key, list.has_integer_keys)?;
                let old = content.get(name).and_then(|rows| rows.get(key));
                edit_row(&list.fields, (name, key), old, row, &mut edits)?;
            }
        } else if let Some(field) = layout.fields.get(name) {
            edits.extend(write(field, Path::Field(name.clone()), content.get(name), value)?);
        } else {
            let lists = layout.lists.keys();
            let known: Vec<&str> = layout.fields.keys().chain(lists).map(String::as_str).collect();
            return Err(PatchError::Unknown { path: shorten(name), known: known.join(", ") });
        }
    }
    Ok(edits)
}

fn edit_row(
    fields: &BTreeMap<String, FieldLayout>,
    (list, key): (&str, &str),
    old: Option<&JsonValue>,
    new: &JsonValue,
    edits: &mut Vec<Edit>,
) -> Result<(), PatchError> {
    let path = Path::Row(list.to_owned(), key.to_owned());
    let members = match new {
        JsonValue::Object(members) => members,
        JsonValue::Null => {
            edits.extend(old.map(|old| Edit::Remove { path, old: old.clone() }));
            return Ok(());
        }
        _ => return Err(PatchError::NoRow { path: path.to_string() }),
    };
    let mut row = BTreeMap::new();
    for (name, value) in members {
        let path = Path::of_field(Some((list, key)), name);
        let Some(field) = fields.get(name).filter(|_| !name.starts_with(OWN)) else {
            let known: Vec<&str> = fields.keys().map(String::as_str).collect();
            return Err(PatchError::Unknown { path: shorten(&path.to_string()), known: known.join(", ") });
        };
        match old {
            Some(old) => edits.extend(write(field, path, old.get(name), value)?),
            None => {
                if let Some(Edit::Write { new: Some(new), .. }) = write(field, path, None, value)? {
                    row.insert(name.clone(), new);
                }
            }
        }
    }
    if old.is_none() {
        edits.push(Edit::Insert { path, row });
    }
    Ok(())
}

fn write(
    field: &FieldLayout,
    path: Path,
    old: Option<&JsonValue>,
    new: &JsonValue,
) -> Result<Option<Edit>, PatchError> {
    let new = field.normal(new.clone());
    let new = new.map_err(|misfit| PatchError::Misfit { path: path.to_string(), misfit })?;
    if old.is_some_and(|old| field.is_same(old, &new)) {
        return Ok(None);
    }
    if field.policy == Policy::DbOwned {
        return Err(PatchError::DbOwned { path: path.to_string() });
    }
    let new = field.content(new);
    Ok(Some(Edit::Write { path, old: old.cloned(), new: Some(new) }))
}

fn check_key(list: &str, key: &str, is_integer: bool) -> Result<(), PatchError> {
    let bad = |needed| PatchError::BadKey { path: shorten(&format!("{list}.{key}")), needed };
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(bad("1 to 1,024 bytes long"));
    }
    if is_integer && key.parse::<i64>().ok().is_none_or(|number| number.to_string() != key) {
        return Err(bad("integers"));
    }
    Ok(())
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Carries out a person's edits on a document, in the transaction that is open. Where somebody has put something else in the
/// place of a list or a row that is edited, it is put back.
///
/// # Errors
/// [`EditError`] where the document cannot be as the edits want it.
pub fn edit(document: &JsonCrdt, edits: &[Edit]) -> Result<(), EditError> {
    edits.iter().try_for_each(|edit| apply(document, edit, &Hand::Person))
}

//! What a document shows: what people and the database made of it, but what is the source's alone as the source says it.
//!
//! A peer that is trusted may sign whatever it likes, also over what has been the database's word so far: the layout, fields
//! that only the database writes, a value in the place of a list. Such a change is valid everywhere and ranks below when the
//! document is read: on every node alike, whether it has the rows or not, and no op is written for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bft_json_crdt::json_crdt::JsonCrdt;
use bft_json_crdt::{BaseCrdt, Digest, JsonValue};

use crate::batch::version_of;
use crate::layout::{FieldLayout, Layout, ListLayout, OWN};
use crate::mapping::{Mode, Policy};
use crate::tracker::Tracker;
use crate::unsaved::{Unsaved, unsaved};

/// A document as it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// How it is laid out, by the source's last word; of nothing in a document that was never filled.
    pub layout: Layout,
    /// Where it last equalled the rows.
    pub tracked: Vec<Digest>,
    /// What it was there.
    pub base: Arc<JsonValue>,
    /// What it is now.
    pub content: Arc<JsonValue>,
}

impl Reading {
    /// Reads a document as it is now. O(document); whoever reads it again and again asks a [`Tracker`].
    #[must_use]
    pub fn of(document: &BaseCrdt<JsonCrdt>) -> Arc<Self> {
        Tracker::default().reading(document)
    }

    /// Returns the version of the rows that it has followed.
    #[must_use]
    pub fn version(&self) -> Option<i64> {
        version_of(&self.base)
    }

    /// Returns what people have changed since it equalled the rows. O(document).
    #[must_use]
    pub fn unsaved(&self) -> Vec<Unsaved> {
        // In a mirror the base has what people did, too.
        if Arc::ptr_eq(&self.base, &self.content) && self.layout.mode == Mode::Merge {
            return Vec::new();
        }
        unsaved(&self.layout, &self.base, &self.content)
    }
}

/// Returns how a content is read, beside what it was when it last equalled the rows. O(rows); O(document) where it is not
/// read as it is.
#[must_use]
pub fn read(layout: &Layout, base: &JsonValue, content: &Arc<JsonValue>) -> Arc<JsonValue> {
    if is_read_as_it_is(layout, base, content) {
        return Arc::clone(content);
    }
    let (JsonValue::Object(was), JsonValue::Object(mut members)) = (base, JsonValue::clone(content)) else {
        return Arc::new(base.clone());
    };
    members.retain(|name, _| !name.starts_with(OWN));
    members.extend(own(was).map(|(name, value)| (name.clone(), value.clone())));
    owned(&layout.fields, was, &mut members);
    for (name, list) in &layout.lists {
        let Some(JsonValue::Object(rows_before)) = was.get(name) else { continue };
        // A list that was removed has no rows.
        let rows = members.entry(name.clone()).or_insert_with(|| JsonValue::Object(BTreeMap::new()));
        let JsonValue::Object(rows) = rows else {
            *rows = JsonValue::Object(rows_before.clone());
            continue;
        };
        for (key, row) in rows {
            match (rows_before.get(key), row) {
                (Some(JsonValue::Object(before)), JsonValue::Object(row)) => owned(&list.fields, before, row),
                (None, JsonValue::Object(row)) => owned(&list.fields, &BTreeMap::new(), row),
                (Some(before @ JsonValue::Object(_)), row) => *row = before.clone(),
                (_, _) => {}
            }
        }
    }
    Arc::new(JsonValue::Object(members))
}

/// Whether nobody has signed over what is the source's.
fn is_read_as_it_is(layout: &Layout, base: &JsonValue, content: &JsonValue) -> bool {
    let (JsonValue::Object(was), JsonValue::Object(members)) = (base, content) else { return false };
    let none = BTreeMap::new();
    let is_left = |name: &String, list: &ListLayout| {
        let Some(JsonValue::Object(before)) = was.get(name) else { return true };
        let Some(JsonValue::Object(rows)) = members.get(name) else { return false };
        let has_owned = list.fields.values().any(|field| field.policy == Policy::DbOwned);
        rows.iter().all(|(key, row)| match row {
            JsonValue::Object(_) if !has_owned => true,
            JsonValue::Object(row) => match before.get(key) {
                Some(JsonValue::Object(before)) => is_owned(&list.fields, before, row),
                None => is_owned(&list.fields, &none, row),
                Some(_) => true,
            },
            _ => !matches!(before.get(key), Some(JsonValue::Object(_))),
        })
    };
    own(was).eq(own(members))
        && is_owned(&layout.fields, was, members)
        && layout.lists.iter().all(|(name, list)| is_left(name, list))
}

/// What a document keeps for itself.
fn own(members: &BTreeMap<String, JsonValue>) -> impl Iterator<Item = (&String, &JsonValue)> {
    members.iter().filter(|(name, _)| name.starts_with(OWN))
}

/// Whether fields that only the database writes are where it has put them.
fn is_owned(
    fields: &BTreeMap<String, FieldLayout>,
    before: &BTreeMap<String, JsonValue>,
    row: &BTreeMap<String, JsonValue>,
) -> bool {
    let mut owned = fields.iter().filter(|(_, field)| field.policy == Policy::DbOwned);
    owned.all(|(name, _)| before.get(name) == row.get(name))
}

/// Puts fields that only the database writes where it has put them.
fn owned(
    fields: &BTreeMap<String, FieldLayout>,
    before: &BTreeMap<String, JsonValue>,
    row: &mut BTreeMap<String, JsonValue>,
) {
    for (name, _) in fields.iter().filter(|(_, field)| field.policy == Policy::DbOwned) {
        match before.get(name) {
            Some(value) => row.insert(name.clone(), value.clone()),
            None => row.remove(name),
        };
    }
}

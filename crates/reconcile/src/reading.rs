//! What a document shows: what people and the database made of it, but what is the source's alone as the source says it.
//!
//! A peer that is trusted may sign whatever it likes, also over what has been the database's word so far: the layout, fields
//! that only the database writes, a value in the place of a list. Such a change is valid everywhere and ranks below when the
//! document is read: on every node alike, whether it has the rows or not, and no op is written for it.

use std::collections::BTreeMap;

use bft_json_crdt::json_crdt::JsonCrdt;
use bft_json_crdt::{BaseCrdt, Digest, JsonValue};

use crate::batch::version_of;
use crate::layout::{FieldLayout, Layout, OWN};
use crate::mapping::Policy;
use crate::unsaved::{Unsaved, unsaved};

/// A document as it is read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// How it is laid out, by the source's last word; of nothing in a document that was never filled.
    pub layout: Layout,
    /// Where it last equalled the rows.
    pub tracked: Vec<Digest>,
    /// What it was there.
    pub base: JsonValue,
    /// What it is now.
    pub content: JsonValue,
}

impl Reading {
    /// Reads a document as it is now. O(document).
    #[must_use]
    pub fn of(document: &BaseCrdt<JsonCrdt>) -> Self {
        let tracked = document.source().map(|author| document.last_of(&author)).unwrap_or_default();
        let base = document.at(&tracked).map(|past| past.doc.view());
        let base = base.unwrap_or_else(|_| JsonValue::Object(BTreeMap::new()));
        let layout = Layout::in_content(&base).unwrap_or_default();
        let content = read(&layout, &base, document.doc.view());
        Self { layout, tracked, base, content }
    }

    /// Returns the version of the rows that it has followed.
    #[must_use]
    pub fn version(&self) -> Option<i64> {
        version_of(&self.base)
    }

    /// Returns what people have changed since it equalled the rows. O(document).
    #[must_use]
    pub fn unsaved(&self) -> Vec<Unsaved> {
        unsaved(&self.layout, &self.base, &self.content)
    }
}

/// Returns how a content is read, beside what it was when it last equalled the rows. O(document).
#[must_use]
pub fn read(layout: &Layout, base: &JsonValue, content: JsonValue) -> JsonValue {
    let (JsonValue::Object(was), JsonValue::Object(mut members)) = (base, content) else {
        return base.clone();
    };
    members.retain(|name, _| !name.starts_with(OWN));
    let own = was.iter().filter(|(name, _)| name.starts_with(OWN));
    members.extend(own.map(|(name, value)| (name.clone(), value.clone())));
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
    JsonValue::Object(members)
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

//! What people have changed since the document last equalled the rows: what a save would write.

use std::collections::BTreeMap;

use bft_json_crdt::JsonValue;

use crate::diff::next_of;
use crate::layout::{FieldLayout, Layout, OWN};
use crate::mapping::Policy;
use crate::owned::{Owned, owned};
use crate::path::Path;

/// Something that stands in the document and not in the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsaved {
    /// Where.
    pub path: Path,
    /// What was done.
    pub kind: UnsavedKind,
    /// What stood there when the document last equalled the rows; none for what is new.
    pub base: Option<JsonValue>,
    /// What stands there; none for what is gone.
    pub document: Option<JsonValue>,
}

/// What was done to a field or a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsavedKind {
    /// A field got another value.
    Set,
    /// A text that is merged by character has others.
    Text,
    /// A row is new.
    Insert,
    /// A row is gone.
    Delete,
}

impl UnsavedKind {
    /// Returns the kind as it is shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Text => "text",
            Self::Insert => "insert",
            Self::Delete => "delete",
        }
    }
}

/// Returns what differs between a document's content and its content at the tracking ref, ascending by path. What the
/// layout does not know is left out. O(document).
#[must_use]
pub fn unsaved(layout: &Layout, base: &JsonValue, content: &JsonValue) -> Vec<Unsaved> {
    let mut found = Vec::new();
    let owned = owned(layout, base);
    fields(&layout.fields, &owned, None, (base, content), &mut found);
    let empty = BTreeMap::new();
    for (name, list) in &layout.lists {
        let (was, is) = (rows(base, name).unwrap_or(&empty), rows(content, name).unwrap_or(&empty));
        let (mut was, mut is) = (was.iter().peekable(), is.iter().peekable());
        while let Some((old, new)) = next_of(&mut was, &mut is) {
            let Some(key) = old.as_ref().or(new.as_ref()).map(|(key, _)| *key) else { continue };
            match (old.map(|(_, row)| row), new.map(|(_, row)| row)) {
                (Some(old), Some(new)) if old == new && owned.is_empty() => {}
                (Some(old), Some(new)) => {
                    fields(&list.fields, &owned, Some((name, key)), (old, new), &mut found);
                }
                (old, new) => {
                    let path = Path::Row(name.clone(), key.clone());
                    let kind = if old.is_none() { UnsavedKind::Insert } else { UnsavedKind::Delete };
                    found.push(Unsaved { path, kind, base: old.cloned(), document: new.cloned() });
                }
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn rows<'a>(content: &'a JsonValue, list: &str) -> Option<&'a BTreeMap<String, JsonValue>> {
    if let JsonValue::Object(rows) = content.get(list)? { Some(rows) } else { None }
}

fn fields(
    layout: &BTreeMap<String, FieldLayout>,
    owned: &Owned,
    row: Option<(&str, &str)>,
    (base, content): (&JsonValue, &JsonValue),
    found: &mut Vec<Unsaved>,
) {
    for (name, field) in layout {
        let is_noted = field.policy == Policy::DocOwned && !owned.is_empty();
        let noted = if is_noted { owned.get(&Path::of_field(row, name)) } else { None };
        let (old, new) = (noted.or_else(|| base.get(name)), content.get(name));
        let is_same = match (old, new) {
            (Some(old), Some(new)) => field.is_same(old, new),
            (old, new) => old == new,
        };
        if is_same {
            continue;
        }
        let is_text = |value: Option<&JsonValue>| matches!(value, Some(JsonValue::String(_)));
        let merges = field.policy == Policy::TextMerge && is_text(old) && is_text(new);
        let kind = if merges { UnsavedKind::Text } else { UnsavedKind::Set };
        let path = Path::of_field(row, name);
        found.push(Unsaved { path, kind, base: old.cloned(), document: new.cloned() });
    }
}

/// Returns a document's content as people see it: without what the document keeps for itself.
#[must_use]
pub fn view(content: &JsonValue) -> JsonValue {
    let JsonValue::Object(members) = content else { return JsonValue::Object(BTreeMap::new()) };
    let shown = members.iter().filter(|(name, _)| !name.starts_with(OWN));
    JsonValue::Object(shown.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// Returns what stands at a place of a content.
#[must_use]
pub fn at<'a>(content: &'a JsonValue, path: &Path) -> Option<&'a JsonValue> {
    match path {
        Path::Field(field) => content.get(field),
        Path::Row(list, key) => content.get(list)?.get(key),
        Path::RowField(list, key, field) => content.get(list)?.get(key)?.get(field),
    }
}

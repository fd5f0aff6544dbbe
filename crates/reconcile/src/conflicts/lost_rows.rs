//! Rows that were removed while people edited them, as those saw them who did.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::json_crdt::{Conflict as Value, JsonCrdt};
use bft_json_crdt::{AuthorId, BaseCrdt, Digest, JsonValue};

use super::path_of;
use crate::path::Path;

/// A document with edits in rows that are no longer there.
pub(super) struct LostRows<'a> {
    base: &'a BaseCrdt<JsonCrdt>,
    /// Whose values lost against others' in which row, of the past that was looked at last: edits of several rows are often
    /// one change.
    lost: Option<(Vec<Digest>, LostAuthors)>,
}

type LostAuthors = BTreeMap<Path, BTreeSet<AuthorId>>;

/// A row, or whatever else is at its place.
pub(super) fn row_in(document: &JsonCrdt, path: &Path) -> Option<JsonValue> {
    let (list, key) = path.row()?;
    Some(document.at(list)?.at(key)?.view())
}

/// The row as the document had last followed it.
pub(super) fn row_followed(document: &BaseCrdt<JsonCrdt>, path: &Path) -> Option<JsonValue> {
    let followed = document.last_of(&document.source()?);
    document.with_past(&followed, |followed| row_in(&followed.doc, path)).ok()?
}

fn lost_authors(document: &BaseCrdt<JsonCrdt>) -> LostAuthors {
    let mut lost = LostAuthors::new();
    for dispute in document.disputes() {
        let Some(field) = path_of(&dispute.path) else { continue };
        let Some((list, key)) = field.row() else { continue };
        let authors = lost.entry(Path::Row(list.to_owned(), key.to_owned())).or_default();
        authors.extend(dispute.hidden.iter().map(|value| value.author));
    }
    lost
}

impl<'a> LostRows<'a> {
    pub(super) fn new(base: &'a BaseCrdt<JsonCrdt>) -> Self {
        Self { base, lost: None }
    }

    /// The authors whose values lost in a row, after some changes and nothing else.
    fn lost_in(&mut self, heads: &[Digest], path: &Path) -> BTreeSet<AuthorId> {
        if self.lost.as_ref().is_none_or(|(known, _)| known != heads) {
            let lost = self.base.with_past(heads, lost_authors).unwrap_or_default();
            self.lost = Some((heads.to_vec(), lost));
        }
        self.lost.as_ref().and_then(|(_, lost)| lost.get(path)).cloned().unwrap_or_default()
    }

    /// A row in which people had made edits that its removal has not seen: with the edits of all, and, where they had set a
    /// field to different values, also as those saw it whose values lost. None where nobody has said anything that was not
    /// so. O(the changes since), and O(history) where an older past was looked at last.
    pub(super) fn of<'v>(&mut self, path: &Path, edits: &[&'v Value]) -> Vec<(JsonValue, &'v Value)> {
        let Some(first) = edits.first() else { return Vec::new() };
        let has_value = edits.iter().any(|edit| edit.value != JsonValue::Null);
        let base = self.base;
        let heads: BTreeSet<Digest> = edits.iter().map(|edit| edit.digest).collect();
        let heads: Vec<Digest> = heads.into_iter().collect();
        let seen = base.with_past(&heads, |past| {
            let row = row_in(&past.doc, path)?;
            // Perhaps somebody has only said that the row is right as it is.
            let is_news = has_value || row_followed(past, path).as_ref() != Some(&row);
            is_news.then_some(row)
        });
        let Ok(Some(row)) = seen else { return Vec::new() };
        let mut rows = vec![(row, *first)];
        let mut last_of: BTreeMap<AuthorId, &'v Value> = BTreeMap::new();
        for edit in edits {
            let last = last_of.entry(edit.author).or_insert(edit);
            if edit.lamport > last.lamport {
                *last = edit;
            }
        }
        if last_of.len() < 2 {
            return rows;
        }
        for author in self.lost_in(&heads, path) {
            let Some(last) = last_of.get(&author) else { continue };
            let row = base.with_past(&[last.digest], |past| row_in(&past.doc, path)).ok().flatten();
            if let Some(row) = row.filter(|row| rows.iter().all(|(known, _)| known != row)) {
                rows.push((row, *last));
            }
        }
        rows
    }
}

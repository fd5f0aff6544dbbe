//! Rows that were removed while people edited them, as those saw them who did.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::json_crdt::{Conflict as Value, JsonCrdt};
use bft_json_crdt::{AuthorId, BaseCrdt, Digest, JsonValue};

use super::path_of;
use crate::path::Path;
use crate::unsaved::at;

/// A document with edits in rows that are no longer there.
pub(super) struct LostRows<'a> {
    base: &'a BaseCrdt<JsonCrdt>,
    /// The past that was looked at last, and whose: edits of several rows are often one change.
    last: Option<(Vec<Digest>, Past)>,
}

/// A document in the past of some edits.
struct Past {
    seen: BaseCrdt<JsonCrdt>,
    content: JsonValue,
    /// For each row the authors whose values lost against others'.
    lost: OnceCell<BTreeMap<Path, BTreeSet<AuthorId>>>,
}

impl Past {
    fn of(base: &BaseCrdt<JsonCrdt>, heads: &[Digest]) -> Option<Self> {
        let seen = base.at(heads).ok()?;
        let content = seen.doc.view();
        Some(Self { seen, content, lost: OnceCell::new() })
    }

    fn row(&self, path: &Path) -> Option<&JsonValue> {
        at(&self.content, path)
    }

    /// The row as the document had last followed it.
    fn row_followed(&self, path: &Path) -> Option<JsonValue> {
        let source = self.seen.source()?;
        let followed = self.seen.at(&self.seen.last_of(&source)).ok()?;
        at(&followed.doc.view(), path).cloned()
    }

    fn lost_in(&self, path: &Path) -> Option<&BTreeSet<AuthorId>> {
        let lost = self.lost.get_or_init(|| {
            let mut lost: BTreeMap<Path, BTreeSet<AuthorId>> = BTreeMap::new();
            for dispute in self.seen.disputes() {
                let Some(field) = path_of(&dispute.path) else { continue };
                let Some((list, key)) = field.row() else { continue };
                let authors = lost.entry(Path::Row(list.to_owned(), key.to_owned())).or_default();
                authors.extend(dispute.hidden.iter().map(|value| value.author));
            }
            lost
        });
        lost.get(path)
    }
}

impl<'a> LostRows<'a> {
    pub(super) fn new(base: &'a BaseCrdt<JsonCrdt>) -> Self {
        Self { base, last: None }
    }

    /// The document as it was after some changes, and nothing else.
    fn past(&mut self, heads: Vec<Digest>) -> Option<&Past> {
        if self.last.as_ref().is_none_or(|(known, _)| *known != heads) {
            self.last = Past::of(self.base, &heads).map(|past| (heads, past));
        }
        self.last.as_ref().map(|(_, past)| past)
    }

    /// A row in which people had made edits that its removal has not seen: with the edits of all, and, where they had set a
    /// field to different values, also as those saw it whose values lost. None where nobody has said anything that was not
    /// so. O(document), but for edits of the change that was looked at last.
    pub(super) fn of<'v>(&mut self, path: &Path, edits: &[&'v Value]) -> Vec<(JsonValue, &'v Value)> {
        let Some(first) = edits.first() else { return Vec::new() };
        let has_value = edits.iter().any(|edit| edit.value != JsonValue::Null);
        let base = self.base;
        let heads: BTreeSet<Digest> = edits.iter().map(|edit| edit.digest).collect();
        let Some(past) = self.past(heads.into_iter().collect()) else { return Vec::new() };
        let Some(row) = past.row(path) else { return Vec::new() };
        // Perhaps somebody has only said that the row is right as it is.
        if !has_value && past.row_followed(path).as_ref() == Some(row) {
            return Vec::new();
        }
        let mut rows = vec![(row.clone(), *first)];
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
        for author in past.lost_in(path).into_iter().flatten() {
            let Some(last) = last_of.get(author) else { continue };
            let row = base.at(&[last.digest]).ok().and_then(|past| at(&past.doc.view(), path).cloned());
            if let Some(row) = row.filter(|row| rows.iter().all(|(known, _)| known != row)) {
                rows.push((row, *last));
            }
        }
        rows
    }
}

//! Rows that were removed while people edited them, as those saw them who did.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::json_crdt::{Conflict as Value, Dispute, JsonCrdt};
use bft_json_crdt::{AuthorId, BaseCrdt, Digest, JsonValue};

use super::path_of;
use crate::path::Path;
use crate::unsaved::at;

/// A document with edits in rows that are no longer there.
pub(super) struct LostRows<'a> {
    base: &'a BaseCrdt<JsonCrdt>,
    /// In the past of all those edits most rows are there; to go back for each of them alone costs as much as for all.
    of_all: Option<Past>,
}

/// A document in the past of some edits.
struct Past {
    seen: BaseCrdt<JsonCrdt>,
    content: JsonValue,
    /// What it had last followed.
    followed: OnceCell<Option<JsonValue>>,
    /// For each row the authors whose values lost against others'.
    lost: OnceCell<BTreeMap<Path, BTreeSet<AuthorId>>>,
}

impl Past {
    fn of(base: &BaseCrdt<JsonCrdt>, heads: &[Digest]) -> Option<Self> {
        let seen = base.at(heads).ok()?;
        let content = seen.doc.view();
        Some(Self { seen, content, followed: OnceCell::new(), lost: OnceCell::new() })
    }

    fn row(&self, path: &Path) -> Option<&JsonValue> {
        at(&self.content, path)
    }

    fn row_followed(&self, path: &Path) -> Option<&JsonValue> {
        let followed = self.followed.get_or_init(|| {
            let source = self.seen.source()?;
            Some(self.seen.at(&self.seen.last_of(&source)).ok()?.doc.view())
        });
        at(followed.as_ref()?, path)
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
    pub(super) fn new(base: &'a BaseCrdt<JsonCrdt>, disputes: &[Dispute]) -> Self {
        let source = base.source();
        let of_rows = disputes.iter().filter(|dispute| dispute.shown.is_none());
        let of_rows =
            of_rows.filter(|dispute| path_of(&dispute.path).is_some_and(|path| path.field().is_none()));
        let edits = of_rows.flat_map(|dispute| &dispute.hidden).filter(|value| Some(value.author) != source);
        let heads: BTreeSet<Digest> = edits.map(|value| value.digest).collect();
        let heads: Vec<Digest> = heads.into_iter().collect();
        let of_all = if heads.is_empty() { None } else { Past::of(base, &heads) };
        Self { base, of_all }
    }

    /// A row in which people had made edits that its removal has not seen: with the edits of all, and, where they had set a
    /// field to different values, also as those saw it whose values lost. None where nobody has said anything that was not
    /// so. O(document) at worst.
    pub(super) fn of<'v>(&mut self, path: &Path, edits: &[&'v Value]) -> Vec<(JsonValue, &'v Value)> {
        let Some(first) = edits.first() else { return Vec::new() };
        let past_of_row;
        let past = match self.of_all.as_ref().filter(|past| past.row(path).is_some()) {
            Some(past) => past,
            None => {
                let heads: Vec<Digest> = edits.iter().map(|edit| edit.digest).collect();
                past_of_row = Past::of(self.base, &heads);
                let Some(past) = &past_of_row else { return Vec::new() };
                past
            }
        };
        let Some(row) = past.row(path) else { return Vec::new() };
        let has_value = edits.iter().any(|edit| edit.value != JsonValue::Null);
        // Perhaps somebody has only said that the row is right as it is.
        if !has_value && past.row_followed(path) == Some(row) {
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
            let row = self.base.at(&[last.digest]).ok().and_then(|past| at(&past.doc.view(), path).cloned());
            if let Some(row) = row.filter(|row| rows.iter().all(|(known, _)| known != row)) {
                rows.push((row, *last));
            }
        }
        rows
    }
}

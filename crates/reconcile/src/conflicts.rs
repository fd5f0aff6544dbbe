//! Where the database and people have changed the same thing without having seen each other.
//!
//! Conflicts are read from the document: from values that are concurrent to each other. No op is written for them, so every
//! node lists the same. An ordinary edit that has seen both sides resolves them.

use std::collections::BTreeMap;

use bft_json_crdt::json_crdt::{Conflict as Value, Dispute, EditError, JsonCrdt, PathSegment};
use bft_json_crdt::{AuthorId, BaseCrdt, Digest, JsonValue};

use crate::apply::{Hand, apply};
use crate::diff::Edit;
use crate::layout::{Layout, OWN, SEEN};
use crate::mapping::Policy;
use crate::path::Path;

mod lost_rows;

use self::lost_rows::{LostRows, row_followed};

/// Two sides of one field or row.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// Where.
    pub path: Path,
    /// What kind of edits met.
    pub kind: ConflictKind,
    /// The database's side, or what shows where no edit of the database is among them; none where the row is deleted there.
    pub theirs: Option<JsonValue>,
    /// The other side; none where somebody has deleted the row.
    pub mine: Option<JsonValue>,
    /// Whether the document shows the database's side.
    pub shows_theirs: bool,
    /// Who wrote the other side; of a deletion that stands, who met it.
    pub author: AuthorId,
    /// The change that did.
    pub digest: Digest,
}

/// What kind of edits met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// Both sides have set a field.
    Field,
    /// The database has deleted a row that somebody has edited. It may have put it anew since.
    Deleted,
    /// Somebody has deleted a row that the database has changed. They may have put it anew since.
    Revived,
}

impl ConflictKind {
    /// Returns the kind as it is shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Field => "field",
            Self::Deleted => "deleted",
            Self::Revived => "revived",
        }
    }
}

/// Returns the conflicts of a document, ascending by path: where several others have written, one for each value, the one
/// that prevails first. Sides that say the same are none. O(document), and as much again for each change by which somebody
/// edited rows that were deleted.
#[must_use]
pub fn conflicts(base: &BaseCrdt<JsonCrdt>) -> Vec<Conflict> {
    let source = base.source();
    let mut found = Vec::new();
    let disputes = base.disputes();
    let mut lost_rows = LostRows::new(base);
    for dispute in &disputes {
        let Some(path) = path_of(&dispute.path) else { continue };
        match path.field() {
            Some(_) => field_conflicts(source, path, dispute, &mut found),
            None => row_conflicts(base, &mut lost_rows, path, dispute, &mut found),
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn field_conflicts(source: Option<AuthorId>, path: Path, dispute: &Dispute, found: &mut Vec<Conflict>) {
    let is_source = |value: &&Value| Some(value.author) == source;
    let Some(shown) = &dispute.shown else { return };
    let all = || std::iter::once(shown).chain(&dispute.hidden);
    let theirs = all().find(is_source).unwrap_or(shown);
    let first = found.len();
    for mine in all().filter(|value| !is_source(value) && value.digest != theirs.digest) {
        let is_listed = |known: &Conflict| known.mine.as_ref() == Some(&mine.value);
        if theirs.value == mine.value || found.iter().skip(first).any(is_listed) {
            continue;
        }
        found.push(Conflict {
            path: path.clone(),
            kind: ConflictKind::Field,
            theirs: Some(theirs.value.clone()),
            mine: Some(mine.value.clone()),
            shows_theirs: theirs.value == shown.value,
            author: mine.author,
            digest: mine.digest,
        });
    }
}

/// A row that was removed on one side and edited on the other: it shows or not, and may have been put anew.
fn row_conflicts(
    base: &BaseCrdt<JsonCrdt>,
    lost_rows: &mut LostRows<'_>,
    path: Path,
    dispute: &Dispute,
    found: &mut Vec<Conflict>,
) {
    let source = base.source();
    let is_source = |value: &Value| Some(value.author) == source;
    // Rows beside the one that shows; all else that is hidden are edits in rows that were removed.
    let is_row = |value: &&Value| matches!(value.value, JsonValue::Object(_));
    let differs = |value: &&Value| dispute.shown.as_ref().is_some_and(|shown| shown.value != value.value);
    let other = dispute.hidden.iter().filter(is_row).find(differs);
    let lost = || dispute.hidden.iter().filter(|value| !is_row(value) || dispute.shown.is_none());
    let shown = dispute.shown.as_ref().map(|shown| shown.value.clone());
    let mut add = |kind, theirs, mine, shows_theirs, by: &Value| {
        let (path, author, digest) = (path.clone(), by.author, by.digest);
        found.push(Conflict { path, kind, theirs, mine, shows_theirs, author, digest });
    };
    if let (Some(other), Some(first)) = (other, &dispute.shown) {
        let other_value = Some(other.value.clone());
        match is_source(other) && !is_source(first) {
            true => add(ConflictKind::Revived, other_value, shown, false, first),
            false => add(ConflictKind::Revived, shown, other_value, true, other),
        }
        return;
    }
    // Two batches of the source on one base are no conflict.
    if let Some(removal) = dispute.removals.iter().find(|removal| !is_source(removal)) {
        return add(ConflictKind::Revived, shown, None, true, removal);
    }
    let by_people: Vec<&Value> = lost().filter(|value| !is_source(value)).collect();
    if !by_people.is_empty() {
        let rows = lost_rows.of(&path, &by_people);
        for (row, by) in rows.into_iter().filter(|(row, _)| Some(row) != shown.as_ref()) {
            add(ConflictKind::Deleted, shown.clone(), Some(row), true, by);
        }
    } else if let Some(edit) = lost().next() {
        // What the database changed gives way to somebody's deletion.
        let theirs = row_followed(base, &path);
        if theirs.is_some() && theirs != shown {
            add(ConflictKind::Revived, theirs, shown, false, edit);
        }
    }
}

/// The place of a dispute; none for what the document keeps for itself, and for what lies deeper than rows.
pub(crate) fn path_of(segments: &[PathSegment]) -> Option<Path> {
    let names: Option<Vec<&String>> = segments
        .iter()
        .map(|segment| match segment {
            PathSegment::Field(name) | PathSegment::Key(name) => Some(name),
            PathSegment::Element(_) => None,
        })
        .collect();
    match names?.as_slice() {
        [name] if !name.starts_with(OWN) => Some(Path::Field((*name).clone())),
        [list, key] => Some(Path::Row((*list).clone(), (*key).clone())),
        [list, key, field] => Some(Path::RowField((*list).clone(), (*key).clone(), (*field).clone())),
        _ => None,
    }
}

/// Which side is to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The database's.
    Theirs,
    /// The other one.
    Mine,
}

/// Resolves a conflict by edits that have seen both sides, in the transaction that is open.
///
/// # Errors
/// [`EditError`] where the document is not the one that the conflict was read from.
pub fn resolve(
    document: &JsonCrdt,
    layout: &Layout,
    conflict: &Conflict,
    take: Take,
) -> Result<(), EditError> {
    let (side, takes_shown) = match take {
        Take::Theirs => (&conflict.theirs, conflict.shows_theirs),
        Take::Mine => (&conflict.mine, !conflict.shows_theirs),
    };
    let shown = if conflict.shows_theirs { &conflict.theirs } else { &conflict.mine };
    let path = &conflict.path;
    let edits = match (conflict.kind, side, shown) {
        (ConflictKind::Field, Some(value), _) => return resolve_as(document, layout, conflict, value),
        (ConflictKind::Field, None, _) => return Ok(()),
        // It shows, and nothing but a removal was lost: whoever edits the row has seen that.
        (ConflictKind::Revived, Some(_), Some(_)) if takes_shown && conflict.mine.is_none() => {
            return touch(document, path);
        }
        // It shows, and edits in a row that was removed were lost: whoever puts the row has seen them.
        (_, Some(_), Some(_)) if takes_shown && !is_two_rows(document, path) => {
            vec![insert(layout, path, None)]
        }
        (_, Some(row), Some(old)) => vec![remove(path, old), insert(layout, path, Some(row))],
        (_, Some(row), None) => vec![insert(layout, path, Some(row))],
        (_, None, Some(old)) => vec![remove(path, old)],
        // The row comes back without anything in it and goes again, by somebody who has seen all that was done to it.
        (_, None, None) => vec![insert(layout, path, None), remove(path, &JsonValue::Null)],
    };
    edits.iter().try_for_each(|edit| apply(document, edit, &Hand::Person))
}

/// Resolves a conflict by a value of its own: of a field, or a row as an object. It may be what one of the sides has.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_as(
    document: &JsonCrdt,
    layout: &Layout,
    conflict: &Conflict,
    value: &JsonValue,
) -> Result<(), EditError> {
    let path = &conflict.path;
    let edits = match path.field() {
        Some(name) => {
            let list = path.row().map(|(list, _)| list);
            let field = layout.field(list, name);
            let new = field.map_or_else(|| value.clone(), |field| field.content(value.clone()));
            // Between null and a text the sides are of two kinds, and only a removal has seen both.
            let clears = field.is_some_and(|field| field.policy == Policy::TextMerge);
            let clear = clears.then(|| Edit::Write { path: path.clone(), old: None, new: None });
            let write = Edit::Write { path: path.clone(), old: None, new: Some(new) };
            clear.into_iter().chain([write]).collect()
        }
        None => {
            let (list, key) = path.row().unwrap_or_default();
            let old = document.at(list).and_then(|list| list.at(key)).map(|row| row.view());
            let removed = old.map(|old| remove(path, &old));
            removed.into_iter().chain([insert(layout, path, Some(value))]).collect::<Vec<_>>()
        }
    };
    edits.iter().try_for_each(|edit| apply(document, edit, &Hand::Person))
}

/// Whether two rows are there under one key.
fn is_two_rows(document: &JsonCrdt, path: &Path) -> bool {
    let Some((list, key)) = path.row() else { return false };
    let rows = document.at(list).and_then(|list| list.as_map());
    rows.is_some_and(|rows| {
        rows.conflicts(key).iter().any(|other| matches!(other.value, JsonValue::Object(_)))
    })
}

fn remove(path: &Path, old: &JsonValue) -> Edit {
    Edit::Remove { path: path.clone(), old: old.clone() }
}

fn insert(layout: &Layout, path: &Path, row: Option<&JsonValue>) -> Edit {
    let mut fields = BTreeMap::new();
    if let (Some(JsonValue::Object(members)), Some((list, _))) = (row, path.row()) {
        for (name, value) in members {
            let field = layout.field(Some(list), name);
            let value = field.map_or_else(|| value.clone(), |field| field.content(value.clone()));
            fields.insert(name.clone(), value);
        }
    }
    Edit::Insert { path: path.clone(), row: fields }
}

/// Edits a row and leaves it as it is.
fn touch(document: &JsonCrdt, path: &Path) -> Result<(), EditError> {
    let (list, key) = path.row().unwrap_or_default();
    let Some(row) = document.at(list).and_then(|list| list.at(key)) else { return Ok(()) };
    row.put(SEEN, JsonValue::Null).keep()?;
    row.remove(SEEN).keep()
}

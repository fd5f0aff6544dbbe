//! Where the database and people have changed the same thing without having seen each other.
//!
//! Conflicts are read from the document: from values that are concurrent to each other. No op is written for them, so every
//! node lists the same. An ordinary edit that has seen both sides resolves them.

use std::collections::BTreeMap;

use bft_json_crdt::json_crdt::{Conflict as Value, Dispute, EditError, JsonCrdt, PathSegment};
use bft_json_crdt::{AuthorId, BaseCrdt, Digest, JsonValue};

use crate::apply::{Hand, apply};
use crate::diff::Edit;
use crate::layout::{Layout, OWN};
use crate::mapping::Policy;
use crate::path::Path;
use crate::unsaved::at;

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
    /// Who wrote the other side.
    pub author: AuthorId,
    /// The change that did.
    pub digest: Digest,
}

/// What kind of edits met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// Both sides have set a field.
    Field,
    /// The database has deleted a row that somebody has edited.
    Deleted,
    /// Somebody has deleted a row that the database has changed.
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

/// Returns the conflicts of a document, ascending by path. Sides that say the same are none. O(document).
#[must_use]
pub fn conflicts(base: &BaseCrdt<JsonCrdt>) -> Vec<Conflict> {
    let source = base.source();
    let mut found: Vec<Conflict> =
        base.disputes().iter().filter_map(|dispute| conflict(base, source, dispute)).collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn conflict(base: &BaseCrdt<JsonCrdt>, source: Option<AuthorId>, dispute: &Dispute) -> Option<Conflict> {
    let path = path_of(&dispute.path)?;
    let is_source = |value: &&Value| Some(value.author) == source;
    if path.field().is_none() {
        return row_conflict(base, path, dispute);
    }
    let shown = dispute.shown.as_ref()?;
    let all = || std::iter::once(shown).chain(&dispute.hidden);
    let theirs = all().find(is_source).unwrap_or(shown);
    let mine = all().find(|value| !is_source(value) && value.digest != theirs.digest)?;
    let is_same = theirs.value == mine.value;
    (!is_same).then(|| Conflict {
        path,
        kind: ConflictKind::Field,
        theirs: Some(theirs.value.clone()),
        mine: Some(mine.value.clone()),
        shows_theirs: theirs.digest == shown.digest,
        author: mine.author,
        digest: mine.digest,
    })
}

fn row_conflict(base: &BaseCrdt<JsonCrdt>, path: Path, dispute: &Dispute) -> Option<Conflict> {
    if let Some(lost) = dispute.removals.first() {
        let theirs = at(&base.doc.view(), &path)?.clone();
        let (author, digest) = (lost.author, lost.digest);
        let kind = ConflictKind::Revived;
        return Some(Conflict {
            path,
            kind,
            theirs: Some(theirs),
            mine: None,
            shows_theirs: true,
            author,
            digest,
        });
    }
    let edit = dispute.hidden.first().filter(|_| dispute.shown.is_none())?;
    // The row as those saw it who edited it.
    let heads: Vec<Digest> = dispute.hidden.iter().map(|hidden| hidden.digest).collect();
    let seen = base.at(&heads).ok()?;
    let mine = at(&seen.doc.view(), &path)?.clone();
    let (author, digest) = (edit.author, edit.digest);
    let kind = ConflictKind::Deleted;
    Some(Conflict { path, kind, theirs: None, mine: Some(mine), shows_theirs: true, author, digest })
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
    let side = match take {
        Take::Theirs => &conflict.theirs,
        Take::Mine => &conflict.mine,
    };
    let path = conflict.path.clone();
    let edits = match (conflict.kind, side) {
        (ConflictKind::Field, Some(value)) => vec![overwrite(layout, path, value)],
        (ConflictKind::Deleted, Some(row)) => vec![insert(layout, path, row)],
        (ConflictKind::Deleted | ConflictKind::Field, None) => {
            // The row comes back and goes again, by somebody who has seen all that was done to it.
            let row = conflict.mine.clone().unwrap_or(JsonValue::Null);
            vec![insert(layout, path.clone(), &row), Edit::Remove { path, old: row }]
        }
        (ConflictKind::Revived, Some(row)) => confirm(layout, &path, row),
        (ConflictKind::Revived, None) => {
            let old = conflict.theirs.clone().unwrap_or(JsonValue::Null);
            vec![Edit::Remove { path, old }]
        }
    };
    edits.iter().try_for_each(|edit| apply(document, edit, &Hand::Person))
}

fn overwrite(layout: &Layout, path: Path, value: &JsonValue) -> Edit {
    let list = path.row().map(|(list, _)| list);
    let field = path.field().and_then(|field| layout.field(list, field));
    let new = field.map_or_else(|| value.clone(), |field| field.content(value.clone()));
    Edit::Write { path, old: None, new: Some(new) }
}

fn insert(layout: &Layout, path: Path, row: &JsonValue) -> Edit {
    let mut fields = BTreeMap::new();
    if let (JsonValue::Object(members), Some((list, _))) = (row, path.row()) {
        for (name, value) in members {
            let field = layout.field(Some(list), name);
            let value = field.map_or_else(|| value.clone(), |field| field.content(value.clone()));
            fields.insert(name.clone(), value);
        }
    }
    Edit::Insert { path, row: fields }
}

/// Sets one field of a row to what it is, so that somebody who has seen the removal has edited the row.
fn confirm(layout: &Layout, path: &Path, row: &JsonValue) -> Vec<Edit> {
    let (JsonValue::Object(members), Some((list, key))) = (row, path.row()) else { return Vec::new() };
    let is_scalar =
        |name: &str| layout.field(Some(list), name).is_some_and(|field| field.policy != Policy::TextMerge);
    let field = members.iter().find(|(name, _)| is_scalar(name)).or_else(|| members.iter().next());
    let write = field.map(|(name, value)| Edit::Write {
        path: Path::of_field(Some((list, key)), name),
        old: None,
        new: Some(value.clone()),
    });
    write.into_iter().collect()
}

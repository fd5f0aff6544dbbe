//! What everybody is told when a document has followed the database.

use std::collections::BTreeSet;

use bft_json_crdt::json_crdt::{Edit, EditKind, JsonCrdt, PathSegment};
use bft_json_crdt::{BaseCrdt, Change, Digest, JsonValue};

use crate::batch::version_of;
use crate::conflicts::{Conflict, ConflictKind, path_of};
use crate::layout::{BATCH, GONE, LAYOUT, Layout, OWN, OWNED, VERSION};
use crate::mapping::{Mode, Policy};
use crate::path::Path;
use crate::reading::{Reading, read};
use crate::text::splices;
use crate::tracker::Tracker;
use crate::unsaved::{Unsaved, UnsavedKind, at, unsaved};

/// What became of something that the database changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The document shows it.
    Applied,
    /// People had done the same.
    Same,
    /// The characters of both sides are there.
    Merged,
    /// The same, and what people wrote stands where the database has deleted the text around it.
    Stranded,
    /// The database's value shows, and people's is kept as a conflict.
    Prevails,
    /// People's value shows, and the database's is kept as a conflict.
    GivesWay,
    /// One shows; somebody has to choose before it is saved.
    Both,
    /// The row is gone, and people's edits in it are kept as a conflict.
    Deleted,
    /// People had deleted the row, and it is back.
    Revived,
    /// A mirror has dropped what people had there.
    Dropped,
}

impl Outcome {
    /// Returns the outcome as it is shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Same => "same",
            Self::Merged => "merged",
            Self::Stranded => "stranded",
            Self::Prevails => "prevails",
            Self::GivesWay => "gives_way",
            Self::Both => "both",
            Self::Deleted => "deleted",
            Self::Revived => "revived",
            Self::Dropped => "dropped",
        }
    }

    /// Returns whether there are two sides of which somebody may choose one.
    #[must_use]
    pub fn is_conflict(self) -> bool {
        matches!(self, Self::Prevails | Self::GivesWay | Self::Both | Self::Deleted | Self::Revived)
    }
}

/// A document has followed the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The version before, where the database has versions.
    pub from: Option<i64>,
    /// The version now.
    pub to: Option<i64>,
    /// What the database changed.
    pub changes: Vec<NoticeChange>,
    /// Whether it was only said that document and database are equal, as after a save.
    pub is_save: bool,
    /// What became of the root row.
    pub root: Option<RootChange>,
    /// Whether the mapping is another one than before.
    pub is_remapped: bool,
    /// Whether rows changed and their version did not, since a writer does not raise it. What the database does in the
    /// course of a save is not told from the first such batch after it, and counts as the save's.
    pub version_stood_still: bool,
    /// How many places people have changed and not saved.
    pub unsaved_left: usize,
    /// The last change of the batch.
    pub digest: Digest,
}

/// What became of a root row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootChange {
    /// It is gone, or counts as deleted.
    Gone,
    /// It is there again.
    Back,
}

impl RootChange {
    /// Returns what happened as it is shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Back => "back",
        }
    }
}

/// One thing that the database changed.
#[derive(Clone, Debug, PartialEq)]
pub struct NoticeChange {
    /// Where.
    pub path: Path,
    /// What was done there.
    pub kind: UnsavedKind,
    /// What became of it.
    pub outcome: Outcome,
    /// What stood in the document before, where that can be had back by writing it again.
    pub before: Option<JsonValue>,
}

/// Returns what to tell of a change by the document's source: none for a part of a batch that is not its last, and for
/// changes of anybody else. The document has it already. O(document); with a [`Tracker`] of the last batch O(rows).
#[must_use]
pub fn notice(base: &BaseCrdt<JsonCrdt>, change: &Change) -> Option<Notice> {
    Tracker::default().notice(base, change)
}

impl Tracker {
    /// As [`notice`].
    #[must_use]
    pub fn notice(&mut self, base: &BaseCrdt<JsonCrdt>, change: &Change) -> Option<Notice> {
        if Some(change.author()) != base.source() || left(base, change).is_some_and(|left| left != 0) {
            return None;
        }
        let parts = parts(base, change);
        // What the source had seen: the rows before, and in a mirror what people had done since.
        let before_heads = heads_before(parts.last().unwrap_or(change));
        let reading = self.reading(base);
        let is_mirror = reading.layout.mode == Mode::Mirror;
        let before = match self.before(&before_heads, change.digest(), is_mirror) {
            Some(before) => before,
            None => base.with_past(&before_heads, BaseCrdt::content).ok()?,
        };
        if reading.tracked == [change.digest()] {
            let open = self.conflicts(base);
            return told(base, (&parts, change), &before, (&reading, &open));
        }
        // It is not the last word of the source.
        let after = base.with_past(&[change.digest()], BaseCrdt::content).ok()?;
        let layout = Layout::in_content(&after)?;
        let content = read(&layout, &after, &base.content());
        let reading = Reading { layout, tracked: vec![change.digest()], base: after, content };
        let open = self.conflicts(base);
        told(base, (&parts, change), &before, (&reading, &open))
    }
}

/// What to tell of a batch, beside what was before, how the document is read with it and what is open there.
fn told(
    base: &BaseCrdt<JsonCrdt>,
    (parts, change): (&[Change], &Change),
    before: &JsonValue,
    (reading, open): (&Reading, &[Conflict]),
) -> Option<Notice> {
    let (layout, after, live) = (&reading.layout, &*reading.base, &*reading.content);
    Layout::in_content(after)?;
    let first = parts.last().unwrap_or(change);
    let edits_left = reading.unsaved();
    let mut changes: Vec<NoticeChange> = Vec::new();
    let mut seen = BTreeSet::new();
    let (mut root, mut is_remapped) = (None, false);
    for part in parts.iter().rev() {
        for edit in base.effects(part) {
            match (own_name(&edit), &edit.value) {
                (Some(LAYOUT), _) => is_remapped = first.prev().is_some(),
                (Some(GONE), Some(JsonValue::Bool(true))) => root = Some(RootChange::Gone),
                (Some(GONE), _) => root = Some(RootChange::Back),
                (_, _) => {}
            }
            let Some(path) = path_of(&edit.path) else { continue };
            let is_list = layout.lists.contains_key(edit_name(&path));
            if (is_list && path.row().is_none()) || !seen.insert(path.clone()) {
                continue;
            }
            let kind = match (edit.kind, path.field()) {
                (EditKind::Put, None) => UnsavedKind::Insert,
                (EditKind::Remove, None) => UnsavedKind::Delete,
                (EditKind::Type | EditKind::Cut, _) => UnsavedKind::Text,
                _ => UnsavedKind::Set,
            };
            let mut outcome = outcome(layout, &path, open, &edits_left);
            let [before, after, live] = [before, after, live].map(|content| at(content, &path));
            if outcome == Outcome::Merged && is_stranded([before, after, live]) {
                outcome = Outcome::Stranded;
            }
            let before = before.cloned();
            changes.push(NoticeChange { path, kind, outcome, before });
        }
    }
    add_dropped(base, layout, first, (before, after), &mut changes);
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    let (from, to) = (version_of(before), version_of(after));
    root = match root {
        // It is back, and counts as deleted.
        Some(RootChange::Back) if layout.is_deleted(after) => None,
        Some(root) => Some(root),
        None => deleted_softly(layout, &changes, after),
    };
    let is_save = is_save_mark(base, change);
    let is_of_save = || {
        let prev = first.prev().and_then(|prev| base.change(&prev));
        prev.is_some_and(|prev| is_save_mark(base, &prev))
    };
    let has_changed = !changes.is_empty() && root.is_none() && !is_remapped;
    Some(Notice {
        version_stood_still: has_changed && from.is_some() && from == to && !is_of_save(),
        from,
        to,
        changes,
        is_save,
        root,
        is_remapped,
        unsaved_left: edits_left.len(),
        digest: change.digest(),
    })
}

/// What became of a root row that is marked where it counts as deleted.
fn deleted_softly(layout: &Layout, changes: &[NoticeChange], after: &JsonValue) -> Option<RootChange> {
    let place = Path::Field(layout.soft_delete.clone()?);
    let change = changes.iter().find(|change| change.path == place)?;
    let is_set = |value: Option<&JsonValue>| value.is_some_and(|value| *value != JsonValue::Null);
    match (is_set(change.before.as_ref()), is_set(at(after, &place))) {
        (false, true) => Some(RootChange::Gone),
        (true, false) => Some(RootChange::Back),
        (false, false) | (true, true) => None,
    }
}

/// Whether a change of the source says that document and rows are equal, and no more.
fn is_save_mark(base: &BaseCrdt<JsonCrdt>, change: &Change) -> bool {
    base.effects(change).iter().all(|edit| match (own_name(edit), &edit.value) {
        (Some(VERSION), _) | (Some(OWNED), Some(JsonValue::Null)) => true,
        (_, _) => false,
    })
}

/// The name that a document keeps for itself and an edit writes.
fn own_name(edit: &Edit) -> Option<&str> {
    match edit.path.as_slice() {
        [PathSegment::Key(name)] if name.starts_with(OWN) => Some(name),
        _ => None,
    }
}

/// Whether people's characters stand at a place of a text where the database has deleted some.
fn is_stranded(texts: [Option<&JsonValue>; 3]) -> bool {
    let [Some(before), Some(after), Some(live)] = texts.map(|text| text.and_then(JsonValue::as_str)) else {
        return false;
    };
    // Where what is gone has been, in the new text.
    let (mut gained, mut lost) = (0, 0);
    let mut gone = BTreeSet::new();
    for splice in splices(before, after) {
        let begin = splice.position + gained - lost;
        gained += splice.inserted.chars().count();
        lost += splice.removed;
        if splice.removed > 0 {
            gone.extend([begin, splice.position + splice.removed + gained - lost]);
        }
    }
    let inserted = splices(after, live).into_iter().filter(|splice| !splice.inserted.is_empty());
    inserted.into_iter().any(|splice| gone.contains(&splice.position))
}

fn edit_name(path: &Path) -> &str {
    path.row().map_or_else(|| path.field().unwrap_or_default(), |(list, _)| list)
}

/// The changes of a batch, the last one first.
pub(crate) fn parts(base: &BaseCrdt<JsonCrdt>, last: &Change) -> Vec<Change> {
    let mut parts = vec![last.clone()];
    if left(base, last).is_none() {
        return parts;
    }
    let mut expected = 1;
    while let Some(earlier) = parts.last().and_then(Change::prev).and_then(|prev| base.change(&prev)) {
        if left(base, &earlier) != Some(expected) {
            break;
        }
        expected += 1;
        parts.push(earlier);
    }
    parts
}

/// What the author of a change had seen, ascending.
pub(crate) fn heads_before(change: &Change) -> Vec<Digest> {
    let mut heads: Vec<Digest> = change.prev().into_iter().chain(change.deps().iter().copied()).collect();
    heads.sort_unstable();
    heads
}

/// How many changes a part of a batch says are still to come; none in a change that is a batch by itself. It is what the
/// change says, and not what stands in the document: others may write there.
fn left(base: &BaseCrdt<JsonCrdt>, change: &Change) -> Option<i128> {
    let says = |edit: &Edit| match (edit.path.as_slice(), &edit.value) {
        ([PathSegment::Key(name)], Some(JsonValue::Integer(left))) if name == BATCH => Some(*left),
        _ => None,
    };
    base.effects(change).iter().find_map(says)
}

fn outcome(layout: &Layout, path: &Path, open: &[Conflict], edits_left: &[Unsaved]) -> Outcome {
    let list = path.row().map(|(list, _)| list);
    let policy = path.field().and_then(|field| layout.field(list, field)).map(|field| field.policy);
    let is_in_row = |other: &Path| path.row().is_some() && other.row() == path.row();
    let is_row_of = |conflict: &&Conflict| is_in_row(&conflict.path) && conflict.path.field().is_none();
    let met = open
        .iter()
        .find(|conflict| conflict.path == *path)
        .or_else(|| open.iter().filter(is_row_of).find(|conflict| conflict.kind == ConflictKind::Revived));
    match met.map(|conflict| (conflict.kind, conflict.shows_theirs)) {
        Some((ConflictKind::Deleted, _)) => Outcome::Deleted,
        Some((ConflictKind::Revived, true)) => Outcome::Revived,
        Some((ConflictKind::Field, _)) if policy == Some(Policy::KeepBoth) => Outcome::Both,
        Some((ConflictKind::Field, true)) => Outcome::Prevails,
        Some((ConflictKind::Field | ConflictKind::Revived, false)) => Outcome::GivesWay,
        // A row that both sides have inserted.
        None if path.field().is_none() && open.iter().any(|conflict| is_in_row(&conflict.path)) => {
            Outcome::Prevails
        }
        None if edits_left.iter().any(|left| left.path == *path) => match policy {
            Some(Policy::TextMerge) | None => Outcome::Merged,
            Some(_) => Outcome::Applied,
        },
        None if path.field().is_none() && edits_left.iter().any(|left| is_in_row(&left.path)) => {
            Outcome::Merged
        }
        None => Outcome::Applied,
    }
}

/// What a mirror took away from people: it stood in the document that the source had seen, and was not in the database.
fn add_dropped(
    base: &BaseCrdt<JsonCrdt>,
    layout: &Layout,
    first: &Change,
    (before, after): (&JsonValue, &JsonValue),
    changes: &mut Vec<NoticeChange>,
) {
    let Some(tracked) = first.prev().filter(|_| layout.mode == Mode::Mirror) else { return };
    let Ok(rows) = base.with_past(&[tracked], BaseCrdt::content) else { return };
    for edit in unsaved(layout, &rows, before) {
        if at(after, &edit.path) == edit.document.as_ref() {
            continue;
        }
        match changes.iter_mut().find(|change| change.path == edit.path) {
            Some(change) => change.outcome = Outcome::Dropped,
            None => changes.push(NoticeChange {
                path: edit.path,
                kind: edit.kind,
                outcome: Outcome::Dropped,
                before: edit.document,
            }),
        }
    }
}

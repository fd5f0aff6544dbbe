//! What the database changed: from the document's content where it last equalled the rows, to the rows of now.
//!
//! A pure function of the two. Edits that people made since are not looked at, so that every node finds the same.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;

use bft_json_crdt::JsonValue;

use crate::layout::{GONE, LAYOUT, Layout, OWN, OWNED, VERSION};
use crate::mapping::{Mode, Policy};
use crate::owned::{Owned, owned, to_text};
use crate::path::Path;
use crate::rows::{Row, Rows};
use crate::schema::{FieldShape, Shape, TableShape};

/// One thing that is to be changed in a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// A field gets a value, or goes if there is none.
    Write {
        /// Which.
        path: Path,
        /// What it was; none where it was missing.
        old: Option<JsonValue>,
        /// What it is to be. [`JsonValue::Text`] where it is merged by character.
        new: Option<JsonValue>,
    },
    /// A list that the document lacks.
    AddList(String),
    /// A list that the mapping has no longer.
    DropList(String),
    /// A row that is new.
    Insert {
        /// [`Path::Row`].
        path: Path,
        /// Its fields.
        row: BTreeMap<String, JsonValue>,
    },
    /// A row that is gone.
    Remove {
        /// [`Path::Row`].
        path: Path,
        /// What it was.
        old: JsonValue,
    },
    /// A name that the document keeps for itself gets a value.
    Own(&'static str, JsonValue),
}

impl Edit {
    /// The field or row that is changed; none where it is a whole list or a name that the document keeps for itself.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Write { path, .. } | Self::Insert { path, .. } | Self::Remove { path, .. } => Some(path),
            Self::AddList(_) | Self::DropList(_) | Self::Own(..) => None,
        }
    }

    /// Where the change is seen in what the document was before.
    pub(crate) fn place(&self) -> Option<Path> {
        match self {
            Self::DropList(name) => Some(Path::Field(name.clone())),
            edit => edit.path().cloned(),
        }
    }
}

/// Returns what leads from a document's content to rows: nothing where they agree.
///
/// What the rows name as bad stays as it is, and so do fields that the document owns. A root that is gone or counts as
/// deleted is marked, and not otherwise followed. O(rows).
#[must_use]
pub fn diff(shape: &Shape, layout: &Layout, base: &JsonValue, rows: &Rows) -> Vec<Edit> {
    let mut edits = Vec::new();
    let text = JsonValue::String(layout.to_text());
    let has_layout = base.get(LAYOUT) == Some(&text);
    if !has_layout {
        edits.push(Edit::Own(LAYOUT, text));
    }
    let is_bad = rows.bad.iter().any(|bad| bad.list.is_none());
    let was_gone = base.get(GONE) == Some(&JsonValue::Bool(true));
    // A root that cannot be read is there.
    let is_gone = rows.root.is_none() && !is_bad;
    if is_gone != was_gone {
        edits.push(Edit::Own(GONE, JsonValue::Bool(is_gone)));
    }
    if is_gone {
        // A root that was never there leaves no trace.
        return if members(base).is_some_and(|members| !members.is_empty()) { edits } else { Vec::new() };
    }
    let was = if has_layout { None } else { Layout::in_content(base) };
    let mut differ = Differ { layout, was, edits, owned: Owned::new() };
    let deleted_at = layout.soft_delete.as_ref().and_then(|field| shape.root.field(field));
    let deleted = deleted_at.and_then(|at| rows.root.as_ref()?.get(at)).filter(|at| **at != JsonValue::Null);
    if let Some(deleted) = deleted {
        differ.soft_delete(base, deleted);
    } else {
        if let Some(root) = &rows.root {
            differ.root(shape, base, root);
        }
        for ((list, table), rows_of) in (0..).zip(&shape.lists).zip(&rows.lists) {
            differ.list(list, table, base.get(&table.table), rows_of, rows);
        }
        differ.note_owned(shape, base, rows);
    }
    if !differ.edits.is_empty()
        && let Some(version) = rows.version.map(|version| JsonValue::Integer(version.into()))
        && base.get(VERSION) != Some(&version)
    {
        differ.edits.push(Edit::Own(VERSION, version));
    }
    differ.edits
}

struct Differ<'a> {
    layout: &'a Layout,
    /// What the document was so far, where that is something else.
    was: Option<Layout>,
    edits: Vec<Edit>,
    /// What the rows have where the document owns a field and has something else.
    owned: Owned,
}

impl Differ<'_> {
    fn soft_delete(&mut self, base: &JsonValue, deleted: &JsonValue) {
        let Some(name) = self.layout.soft_delete.clone() else { return };
        let old = base.get(&name);
        if old != Some(deleted) {
            let (old, new) = (old.cloned(), Some(deleted.clone()));
            self.edits.push(Edit::Write { path: Path::Field(name), old, new });
        }
    }

    fn root(&mut self, shape: &Shape, base: &JsonValue, row: &Row) {
        let empty = BTreeMap::new();
        let members = members(base).unwrap_or(&empty);
        // Lists that the mapping has no longer, and fields that it never had.
        for (name, value) in members {
            let is_list = shape.lists.iter().any(|list| list.table == *name);
            if name.starts_with(OWN) || is_list || shape.root.field(name).is_some() {
                continue;
            }
            self.edits.push(match value {
                JsonValue::Object(_) => Edit::DropList(name.clone()),
                value => Edit::Write { path: Path::Field(name.clone()), old: Some(value.clone()), new: None },
            });
        }
        let fields = members.iter().filter(|(name, _)| shape.root.field(name).is_some());
        self.row(None, &shape.root, fields, row);
    }

    fn list(
        &mut self,
        number: usize,
        table: &TableShape,
        base: Option<&JsonValue>,
        rows: &BTreeMap<String, Row>,
        all: &Rows,
    ) {
        let empty = BTreeMap::new();
        let base = match base.and_then(members) {
            Some(base) => base,
            None => {
                self.edits.push(Edit::AddList(table.table.clone()));
                &empty
            }
        };
        let (mut was, mut is) = (base.iter().peekable(), rows.iter().peekable());
        loop {
            match next_of(&mut was, &mut is) {
                None => return,
                Some((Some((key, old)), None)) => {
                    if !all.is_bad(Some(number), key) {
                        let path = Path::Row(table.table.clone(), key.clone());
                        self.edits.push(Edit::Remove { path, old: old.clone() });
                    }
                }
                Some((None, Some((key, row)))) => self.insert(table, key, row),
                Some((Some((key, old)), Some((_, row)))) => match members(old) {
                    Some(fields) => self.row(Some((&table.table, key)), table, fields.iter(), row),
                    // Nobody's row: put anew.
                    None => self.insert(table, key, row),
                },
                Some((None, None)) => {}
            }
        }
    }

    fn insert(&mut self, table: &TableShape, key: &str, row: &Row) {
        let path = Path::Row(table.table.clone(), key.to_owned());
        let fields = table.fields.iter().zip(row);
        let row = fields.map(|(field, value)| (field.column.clone(), field.layout().content(value.clone())));
        self.edits.push(Edit::Insert { path, row: row.collect() });
    }

    /// Both ascend by name.
    fn row<'a>(
        &mut self,
        at: Option<(&str, &str)>,
        table: &'a TableShape,
        was: impl Iterator<Item = (&'a String, &'a JsonValue)>,
        row: &Row,
    ) {
        let mut was = was.peekable();
        let mut is =
            table.fields.iter().zip(row).map(|(field, value)| (&field.column, (field, value))).peekable();
        while let Some(pair) = next_of(&mut was, &mut is) {
            let edit = match pair {
                (Some((name, old)), None) => Some((name, Some(old), None)),
                (None, Some((name, (field, new)))) => {
                    Some((name, None, Some(field.layout().content(new.clone()))))
                }
                (Some((name, old)), Some((_, (field, new)))) => {
                    // The document's own are compared when it is saved.
                    let is_other = !field.layout().is_same(old, new);
                    let is_owned = field.policy == Policy::DocOwned;
                    if is_other && is_owned && self.layout.mode == Mode::Mirror {
                        self.owned.insert(Path::of_field(at, name), new.clone());
                    }
                    let differs = is_other && !is_owned;
                    (differs || self.changes_kind(at, field, old)).then(|| {
                        let new = if differs { new } else { old };
                        (name, Some(old), Some(field.layout().content(new.clone())))
                    })
                }
                (None, None) => None,
            };
            if let Some((name, old, new)) = edit {
                let path = Path::of_field(at, name);
                self.edits.push(Edit::Write { path, old: old.cloned(), new });
            }
        }
    }
}

impl Differ<'_> {
    /// Notes what the rows of a mirror have where the document owns a field. Of rows that cannot be read it stays noted.
    fn note_owned(&mut self, shape: &Shape, base: &JsonValue, rows: &Rows) {
        if self.layout.mode != Mode::Mirror {
            return;
        }
        let known = owned(self.layout, base);
        for (place, value) in &known {
            let is_unread = match place.row() {
                None => rows.root.is_none(),
                Some((list, key)) => {
                    let list = shape.lists.iter().position(|table| table.table == list);
                    list.is_some() && rows.is_bad(list, key)
                }
            };
            if is_unread {
                self.owned.insert(place.clone(), value.clone());
            }
        }
        let text = to_text(&self.owned);
        if text != to_text(&known) {
            self.edits.push(Edit::Own(OWNED, JsonValue::String(text)));
        }
    }

    /// Whether a string is to be merged by character from now on, or no longer: that is another kind of value.
    fn changes_kind(&self, at: Option<(&str, &str)>, field: &FieldShape, value: &JsonValue) -> bool {
        let Some(was) = self.was.as_ref().filter(|_| matches!(value, JsonValue::String(_))) else {
            return false;
        };
        let was = was.field(at.map(|(list, _)| list), &field.column);
        was.is_some_and(|was| (was.policy == Policy::TextMerge) != (field.policy == Policy::TextMerge))
    }
}

fn members(value: &JsonValue) -> Option<&BTreeMap<String, JsonValue>> {
    if let JsonValue::Object(members) = value { Some(members) } else { None }
}

/// The next of two ascending sequences, or of both where the names are equal.
pub(crate) type Pair<'a, A, B> = (Option<(&'a String, A)>, Option<(&'a String, B)>);

pub(crate) fn next_of<'a, A, B>(
    was: &mut Peekable<impl Iterator<Item = (&'a String, A)>>,
    is: &mut Peekable<impl Iterator<Item = (&'a String, B)>>,
) -> Option<Pair<'a, A, B>> {
    let order = match (was.peek(), is.peek()) {
        (None, None) => return None,
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some((a, _)), Some((b, _))) => a.cmp(b),
    };
    Some(match order {
        Ordering::Less => (was.next(), None),
        Ordering::Greater => (None, is.next()),
        Ordering::Equal => (was.next(), is.next()),
    })
}

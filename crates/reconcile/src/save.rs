//! From a document to the writes that make the database equal it.

use std::collections::BTreeMap;

use bft_json_crdt::JsonValue;

use crate::conflicts::{Conflict, ConflictKind};
use crate::layout::Layout;
use crate::mapping::Policy;
use crate::path::Path;
use crate::reading::Reading;
use crate::rows::{BadRow, Row, Rows};
use crate::schema::{FieldShape, Shape, TableShape};
use crate::source::{Write, WriteAction};
use crate::unsaved::{Unsaved, unsaved};

/// What a save would do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavePlan {
    /// What is written, parents before children; none where nothing is to be saved.
    pub writes: Vec<Write>,
    /// The places that are written.
    pub paths: Vec<Path>,
    /// What keeps it from being saved; then nothing is written.
    pub problems: Vec<SaveProblem>,
}

/// A place that cannot be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveProblem {
    /// Where.
    pub path: Path,
    /// What is wrong, without the value.
    pub what: String,
}

/// Returns what makes rows equal a document's content: changed columns only. The rows are those that the document
/// has followed: what differs is what people did. O(document).
///
/// Where people have edited a row that cannot be read, nothing is saved: what is not written would count as agreed upon.
#[must_use]
pub fn plan_save(
    shape: &Shape,
    root: &str,
    rows: &Rows,
    reading: &Reading,
    conflicts: &[Conflict],
) -> SavePlan {
    let content = &reading.content;
    let mut planner = Planner { shape, root, rows, content, plan: SavePlan::default() };
    let layout = Layout::of(shape);
    if !rows.bad.is_empty() {
        planner.unreadable(&unsaved(&layout, &reading.base, content));
    }
    for conflict in conflicts.iter().filter(|conflict| conflict.kind == ConflictKind::Field) {
        let list = conflict.path.row().map(|(list, _)| list);
        let field = conflict.path.field().and_then(|field| layout.field(list, field));
        if field.is_some_and(|field| field.policy == Policy::KeepBoth) {
            planner.problem(conflict.path.clone(), "has two values; choose one first");
        }
    }
    planner.root();
    let order = order_of(shape);
    for list in &order {
        planner.inserts(*list);
    }
    for list in &order {
        planner.updates(*list);
    }
    for list in order.iter().rev() {
        planner.deletes(*list);
    }
    let mut plan = planner.plan;
    if !plan.problems.is_empty() {
        plan.writes.clear();
        plan.paths.clear();
    }
    plan
}

struct Planner<'a> {
    shape: &'a Shape,
    root: &'a str,
    rows: &'a Rows,
    content: &'a JsonValue,
    plan: SavePlan,
}

impl<'a> Planner<'a> {
    fn problem(&mut self, path: Path, what: impl Into<String>) {
        self.plan.problems.push(SaveProblem { path, what: what.into() });
    }

    fn unreadable(&mut self, unsaved: &[Unsaved]) {
        for edit in unsaved {
            let list =
                edit.path.row().map(|(list, _)| self.shape.lists.iter().position(|it| it.table == list));
            let is_of = |bad: &&BadRow| match (list, edit.path.row()) {
                (Some(list), Some((_, key))) => bad.list == list && bad.key.as_deref() == Some(key),
                _ => bad.list.is_none(),
            };
            let Some(bad) = self.rows.bad.iter().find(is_of) else { continue };
            let what = format!("cannot be saved: the row cannot be read, {} {}", bad.column, bad.what);
            self.problem(edit.path.clone(), what);
        }
    }

    fn root(&mut self) {
        let Some(row) = &self.rows.root else { return };
        let shape = self.shape;
        let changed = self.changed(&shape.root, None, row, self.content);
        if !changed.is_empty() {
            self.plan.writes.push(Write {
                list: None,
                key: self.root.to_owned(),
                action: WriteAction::Update(changed),
            });
        }
    }

    /// The rows of a list in the document.
    fn document(&self, table: &TableShape) -> Option<&'a BTreeMap<String, JsonValue>> {
        match self.content.get(&table.table) {
            Some(JsonValue::Object(rows)) => Some(rows),
            _ => None,
        }
    }

    fn lists(&self, list: usize) -> Option<(&'a TableShape, &'a BTreeMap<String, Row>)> {
        Some((self.shape.lists.get(list)?, self.rows.lists.get(list)?))
    }

    fn inserts(&mut self, list: usize) {
        let Some((table, rows)) = self.lists(list) else { return };
        for (key, row) in self.document(table).into_iter().flatten() {
            if rows.contains_key(key) || self.rows.is_bad(Some(list), key) {
                continue;
            }
            let path = Path::Row(table.table.clone(), key.clone());
            let JsonValue::Object(members) = row else {
                self.problem(path, "is no row");
                continue;
            };
            // Where the key is the parent column, the two cannot differ.
            if table.parent.as_ref() == Some(&table.key) && key != self.root {
                let what = format!("has the key of another row of {}", self.shape.root.table);
                self.problem(path, what);
                continue;
            }
            let mut values = Vec::new();
            for (at, field) in table.fields.iter().enumerate() {
                if !field.is_saved() {
                    continue;
                }
                match members.get(&field.column) {
                    Some(value) => values.extend(self.value(table, key, at, field, value)),
                    None if field.is_nullable || field.has_default => {}
                    None => {
                        let path = Path::of_field(Some((&table.table, key)), &field.column);
                        self.problem(path, "needs a value");
                    }
                }
            }
            self.plan.paths.push(path);
            self.plan.writes.push(Write {
                list: Some(list),
                key: key.clone(),
                action: WriteAction::Insert(values),
            });
        }
    }

    fn updates(&mut self, list: usize) {
        let Some((table, rows)) = self.lists(list) else { return };
        for (key, content) in self.document(table).into_iter().flatten() {
            let Some(row) = rows.get(key) else { continue };
            let changed = self.changed(table, Some(key), row, content);
            if !changed.is_empty() {
                self.plan.writes.push(Write {
                    list: Some(list),
                    key: key.clone(),
                    action: WriteAction::Update(changed),
                });
            }
        }
    }

    fn deletes(&mut self, list: usize) {
        let Some((table, rows)) = self.lists(list) else { return };
        // A document without the list has not followed it yet.
        let Some(document) = self.document(table) else { return };
        for key in rows.keys().filter(|key| !document.contains_key(*key)) {
            self.plan.paths.push(Path::Row(table.table.clone(), key.clone()));
            self.plan.writes.push(Write { list: Some(list), key: key.clone(), action: WriteAction::Delete });
        }
    }

    /// The fields of a row that the document has otherwise.
    fn changed(
        &mut self,
        table: &'a TableShape,
        key: Option<&str>,
        row: &Row,
        content: &JsonValue,
    ) -> Vec<(usize, JsonValue)> {
        let mut changed = Vec::new();
        for (at, (field, was)) in table.fields.iter().zip(row).enumerate() {
            // A field that is missing was not looked at by anybody here.
            let Some(is) = content.get(&field.column) else { continue };
            if !field.is_saved() || field.layout().is_same(was, is) {
                continue;
            }
            if let Some(value) = self.value(table, key.unwrap_or_default(), at, field, is) {
                let row = key.map(|key| (table.table.as_str(), key));
                self.plan.paths.push(Path::of_field(row, &field.column));
                changed.push(value);
            }
        }
        changed
    }

    /// A value as the column has it, or a problem.
    fn value(
        &mut self,
        table: &TableShape,
        key: &str,
        at: usize,
        field: &FieldShape,
        value: &JsonValue,
    ) -> Option<(usize, JsonValue)> {
        let row = table.parent.as_ref().map(|_| (table.table.as_str(), key));
        let path = || Path::of_field(row, &field.column);
        let value = match field.layout().normal(value.clone()) {
            Ok(value) => value,
            Err(misfit) => {
                self.problem(path(), misfit.to_string());
                return None;
            }
        };
        if let Some(target) = table.refs.get(&at).and_then(|target| self.shape.lists.get(*target))
            && value != JsonValue::Null
        {
            let named = match &value {
                JsonValue::Integer(key) => key.to_string(),
                value => value.as_str().unwrap_or_default().to_owned(),
            };
            if !self.document(target).is_some_and(|rows| rows.contains_key(&named)) {
                self.problem(path(), format!("names a row of {} that is not there", target.table));
                return None;
            }
        }
        Some((at, value))
    }
}

/// Rows whose references name nothing, in rows as the database has them or in a document.
#[must_use]
pub fn dangling(layout: &Layout, content: &JsonValue) -> Vec<Path> {
    let mut found = Vec::new();
    for (name, list) in &layout.lists {
        let Some(JsonValue::Object(rows)) = content.get(name) else { continue };
        for (field, target) in &list.refs {
            for (key, row) in rows {
                let named = match row.get(field) {
                    Some(JsonValue::Integer(key)) => key.to_string(),
                    Some(JsonValue::String(key)) => key.clone(),
                    _ => continue,
                };
                if content.get(target).and_then(|rows| rows.get(&named)).is_none() {
                    found.push(Path::RowField(name.clone(), key.clone(), field.clone()));
                }
            }
        }
    }
    found
}

/// The lists, those that others name before those that name them.
fn order_of(shape: &Shape) -> Vec<usize> {
    let mut order = Vec::new();
    let mut left: Vec<usize> = (0..shape.lists.len()).collect();
    while !left.is_empty() {
        let is_free = |list: &usize| {
            let refs = shape.lists.get(*list).map(|table| table.refs.values()).into_iter().flatten();
            refs.into_iter().all(|target| target == list || order.contains(target))
        };
        // Lists that name each other in a circle go in the mapping's order.
        let next = left.iter().copied().find(is_free).or_else(|| left.first().copied());
        order.extend(next);
        left.retain(|list| Some(*list) != next);
    }
    order
}

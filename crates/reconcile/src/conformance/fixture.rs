//! The tables that checks work on: workflows, with jobs and edges.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::JsonValue;

use super::Ground;
use crate::mapping::{DocumentName, Fields, ListTable, Mapping, Mode, Policy, RootTable};
use crate::rows::{Rows, RowsDigest};
use crate::schema::{ColumnKind, Shape};
use crate::source::{RowSource, SaveRequest, Write, WriteAction};

/// A table in neutral words.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// Its name.
    pub name: String,
    /// Its columns; the first is the primary key.
    pub columns: Vec<ColumnSpec>,
    /// Columns that are unique together.
    pub unique: Vec<Vec<String>>,
    /// Columns that name the primary key of a table, checked by each statement; rows go with the one that they name.
    pub references: Vec<(String, String)>,
}

/// A column in neutral words.
#[derive(Clone, Debug)]
pub struct ColumnSpec {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: ColumnKind,
    /// Whether it may be null.
    pub is_nullable: bool,
    /// A literal.
    pub default: Option<String>,
}

/// Makes a table; a column's name ends with `?` if it may be null, and a default follows after `=`.
pub(super) fn table(name: &str, columns: &[(&str, ColumnKind)]) -> TableSpec {
    let column = |(name, kind): &(&str, ColumnKind)| {
        let (name, default) = name.split_once('=').map_or((*name, None), |(name, value)| (name, Some(value)));
        ColumnSpec {
            name: name.trim_end_matches('?').to_owned(),
            kind: *kind,
            is_nullable: name.ends_with('?'),
            default: default.map(str::to_owned),
        }
    };
    let columns = columns.iter().map(column).collect();
    TableSpec { name: name.to_owned(), columns, unique: Vec::new(), references: Vec::new() }
}

/// The tables that [`mapping`] is about.
#[must_use]
pub fn tables() -> Vec<TableSpec> {
    use ColumnKind::{Boolean, Float, Integer, Number, Text};
    let workflows = table(
        "workflows",
        &[
            ("id", Integer),
            ("lock_version=0", Integer),
            ("name?", Text),
            ("concurrency?", Integer),
            ("ratio?", Float),
            ("amount?", Number),
            ("enabled?", Boolean),
            ("password?", Text),
            ("deleted_at?", Text),
        ],
    );
    let mut jobs = table(
        "jobs",
        &[
            ("id", Text),
            ("workflow_id", Integer),
            ("name", Text),
            ("body?", Text),
            ("weight?", Float),
            ("enabled=true", Boolean),
        ],
    );
    jobs.unique = vec![vec!["workflow_id".to_owned(), "name".to_owned()]];
    jobs.references = vec![("workflow_id".to_owned(), "workflows".to_owned())];
    let mut edges =
        table("edges", &[("id", Integer), ("workflow_id", Integer), ("job_id?", Text), ("condition?", Text)]);
    edges.references =
        vec![("workflow_id".to_owned(), "workflows".to_owned()), ("job_id".to_owned(), "jobs".to_owned())];
    vec![workflows, jobs, edges]
}

/// The mapping that most checks use.
///
/// # Panics
/// Never.
#[must_use]
pub fn mapping() -> Mapping {
    let fields = |names: &[&str]| -> Fields {
        names.iter().map(|name| ((*name).to_owned(), Policy::DbWins)).collect()
    };
    let list = |table: &str, names: &[&str]| ListTable {
        table: table.to_owned(),
        parent: "workflow_id".to_owned(),
        key: "id".to_owned(),
        fields: fields(names),
        refs: BTreeMap::new(),
        secret: BTreeSet::new(),
    };
    Mapping {
        name: "flows".to_owned(),
        mode: Mode::Merge,
        root: RootTable {
            table: "workflows".to_owned(),
            key: "id".to_owned(),
            version: Some("lock_version".to_owned()),
            document: DocumentName::parse("workflow:{id}", "id").expect("the key is in it"),
            soft_delete: Some("deleted_at".to_owned()),
            fields: fields(&["name", "concurrency", "ratio", "amount", "enabled"]),
            secret: BTreeSet::from(["password".to_owned()]),
        },
        lists: vec![
            list("jobs", &["name", "body", "weight", "enabled"]),
            list("edges", &["job_id", "condition"]),
        ],
    }
}

/// Makes the tables, and opens a source whose schema fits [`mapping`].
pub fn workflows(ground: &dyn Ground) -> (std::sync::Arc<dyn RowSource>, Shape) {
    ground.create(&tables());
    let source = ground.open();
    let shape = bind(source.as_ref(), mapping());
    (source, shape)
}

pub(super) fn bind(source: &dyn RowSource, mapping: Mapping) -> Shape {
    Shape::bind(mapping, &source.schema().unwrap()).expect("the mapping fits the tables")
}

/// Two workflows with jobs and edges, and one without.
pub(super) const TWO_WORKFLOWS: &str = "
    INSERT INTO workflows (id, lock_version, name, concurrency, ratio, amount, enabled, password)
      VALUES (1, 7, 'build', 4, 0.5, 10, true, 'hunter2');
    INSERT INTO workflows (id, name) VALUES (2, NULL);
    INSERT INTO workflows (id, name) VALUES (30, 'empty');
    INSERT INTO jobs (id, workflow_id, name, body, weight) VALUES ('a', 1, 'fetch', 'git pull', 1.5);
    INSERT INTO jobs (id, workflow_id, name, enabled) VALUES ('b', 1, 'test', false);
    INSERT INTO jobs (id, workflow_id, name) VALUES ('c', 2, 'fetch');
    INSERT INTO edges (id, workflow_id, job_id, condition) VALUES (1, 1, 'b', 'always');
    INSERT INTO edges (id, workflow_id, condition) VALUES (2, 2, '');
";

/// All digests of a scan, by root.
pub(super) fn scan(source: &dyn RowSource, shape: &Shape) -> BTreeMap<String, RowsDigest> {
    let mut found = BTreeMap::new();
    source
        .scan(shape, &mut |root, digest| {
            assert!(found.insert(root.to_owned(), digest).is_none(), "root {root} was visited twice");
        })
        .unwrap();
    found
}

/// All digests of reads, by root.
pub(super) fn read_all(source: &dyn RowSource, shape: &Shape) -> BTreeMap<String, RowsDigest> {
    let roots = source.roots(shape, None, usize::MAX).unwrap();
    roots.into_iter().map(|root| (root.clone(), source.read(shape, &root).unwrap().digest())).collect()
}

/// What is wrong with rows, in one line each.
pub(super) fn bad(shape: &Shape, rows: &Rows) -> Vec<String> {
    let line = |bad: &crate::BadRow| {
        let table = &shape.at(bad.list).unwrap().table;
        format!("{table} {} {}", bad.key.as_deref().unwrap_or("-"), bad.column)
    };
    rows.bad.iter().map(line).collect()
}

/// The place of a field.
pub(super) fn at(shape: &Shape, list: Option<usize>, column: &str) -> usize {
    shape.at(list).unwrap().field(column).expect("the mapping has the field")
}

/// A request to write, with what is in the database as what is expected.
pub(super) fn request(source: &dyn RowSource, shape: &Shape, root: &str, writes: Vec<Write>) -> SaveRequest {
    let expected = source.read(shape, root).unwrap();
    SaveRequest { root: root.to_owned(), save_id: "save-1".to_owned(), expected, writes }
}

/// Values for fields, by name.
pub(super) type Named<'a> = &'a [(&'a str, JsonValue)];

fn values(shape: &Shape, list: Option<usize>, values: Named<'_>) -> Vec<(usize, JsonValue)> {
    values.iter().map(|(column, value)| (at(shape, list, column), value.clone())).collect()
}

pub(super) fn update(shape: &Shape, list: Option<usize>, key: &str, named: Named<'_>) -> Write {
    Write { list, key: key.to_owned(), action: WriteAction::Update(values(shape, list, named)) }
}

pub(super) fn insert(shape: &Shape, list: Option<usize>, key: &str, named: Named<'_>) -> Write {
    Write { list, key: key.to_owned(), action: WriteAction::Insert(values(shape, list, named)) }
}

pub(super) fn delete(list: Option<usize>, key: &str) -> Write {
    Write { list, key: key.to_owned(), action: WriteAction::Delete }
}

/// A text.
#[must_use]
pub fn text(text: &str) -> JsonValue {
    JsonValue::String(text.to_owned())
}

/// An integer.
#[must_use]
pub fn int(value: i64) -> JsonValue {
    JsonValue::Integer(value.into())
}

/// A float.
#[must_use]
pub fn real(value: f64) -> JsonValue {
    JsonValue::Number(value)
}

/// Null.
#[must_use]
pub fn null() -> JsonValue {
    JsonValue::Null
}

//! Tables that tests write themselves: `docs`, whose rows have `parts`.

use std::collections::BTreeMap;

use bft_json_crdt::JsonValue;
use gangline_reconcile::{
    Mapping, Policy, RowSource, SaveOutcome, SaveRequest, Shape, Write, WriteAction,
    conformance::{Ground as _, mapping},
};
use gangline_store::SqliteSource;

use super::ground::{SqliteGround, WAL};

/// A ground whose application has executed this, and a mapping of `docs` with these fields of `parts`.
pub(super) fn ground(sql: &str, fields: &[&str]) -> (SqliteGround, SqliteSource, Shape) {
    let ground = SqliteGround::new(WAL);
    ground.execute(sql);
    let source = ground.source();
    let shape = Shape::bind(docs(fields), &source.schema().unwrap()).unwrap();
    (ground, source, shape)
}

fn docs(fields: &[&str]) -> Mapping {
    let mut mapping = mapping();
    mapping.name = "docs".to_owned();
    mapping.root.table = "docs".to_owned();
    mapping.root.version = None;
    mapping.root.soft_delete = None;
    mapping.root.secret.clear();
    mapping.root.fields = BTreeMap::new();
    mapping.lists.truncate(1);
    mapping.lists[0].table = "parts".to_owned();
    mapping.lists[0].parent = "doc".to_owned();
    mapping.lists[0].fields = fields.iter().map(|name| ((*name).to_owned(), Policy::DbOwned)).collect();
    mapping
}

pub(super) fn save(source: &dyn RowSource, shape: &Shape, root: &str, writes: Vec<Write>) -> SaveOutcome {
    let expected = source.read(shape, root).unwrap();
    let request = SaveRequest { root: root.to_owned(), save_id: "s".to_owned(), expected, writes };
    source.save(shape, &request).unwrap()
}

fn values(shape: &Shape, named: &[(&str, JsonValue)]) -> Vec<(usize, JsonValue)> {
    named.iter().map(|(name, value)| (shape.lists[0].field(name).unwrap(), value.clone())).collect()
}

pub(super) fn set(shape: &Shape, key: &str, named: &[(&str, JsonValue)]) -> Write {
    let action = WriteAction::Update(values(shape, named));
    Write { list: Some(0), key: key.to_owned(), action }
}

pub(super) fn add(shape: &Shape, key: &str, named: &[(&str, JsonValue)]) -> Write {
    let action = WriteAction::Insert(values(shape, named));
    Write { list: Some(0), key: key.to_owned(), action }
}

pub(super) fn delete(key: &str) -> Write {
    Write { list: Some(0), key: key.to_owned(), action: WriteAction::Delete }
}

#[track_caller]
pub(super) fn refusal(outcome: SaveOutcome) -> (String, String, String) {
    let SaveOutcome::Refused(bad) = outcome else { panic!("{outcome:?}") };
    (bad.key.unwrap_or_default(), bad.column, bad.what)
}

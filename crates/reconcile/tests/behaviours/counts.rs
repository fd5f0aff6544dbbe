//! Ops and bytes, counted exactly.

use std::collections::BTreeMap;

use bft_json_crdt::JsonValue;
use gangline_reconcile::{Mode, Policy, Rows, Shape};
use serde_json::json;

use super::followed;
use super::world::{Database, Node, mapping, merge, schema};

/// Rows of nine columns.
fn table() -> Shape {
    let mut schema = schema();
    let mut mapping = mapping(Mode::Merge);
    let columns: Vec<String> = (0..9).map(|column| format!("column_{column}")).collect();
    let jobs = schema.tables.get_mut("jobs").unwrap();
    for column in &columns {
        let like = jobs.columns["name"].clone();
        jobs.columns.insert(column.clone(), like);
    }
    mapping.lists.truncate(1);
    mapping.lists[0].fields = columns.into_iter().map(|column| (column, Policy::DbWins)).collect();
    Shape::bind(mapping, &schema).unwrap()
}

pub(super) fn rows_of(shape: &Shape, count: usize, cell: impl Fn(usize, usize) -> String) -> Rows {
    let mut rows = Database::new().rows(shape);
    let row = |n| (0..9).map(|column| JsonValue::String(cell(n, column))).collect::<Vec<_>>();
    rows.lists[0] = (0..count).map(|n| (format!("job-{n:05}"), row(n))).collect::<BTreeMap<_, _>>();
    rows
}

#[test]
fn one_cell_of_ten_thousand_rows_is_one_op_and_at_most_400_bytes() {
    let shape = table();
    let mut rows = rows_of(&shape, 10_000, |row, column| format!("value {column} of {row}"));
    let mut alice = Node::new(1);
    alice.reconcile(&shape, &rows);
    alice.patch(&shape, json!({"jobs": {"job-00007": {"column_3": "my draft"}}}));
    for (row, column) in [(0, 0), (5_000, 4), (9_999, 8)] {
        let key = format!("job-{row:05}");
        rows.lists[0].get_mut(&key).unwrap()[column] =
            JsonValue::String("changed in the database".to_owned());
        let reconciled = alice.reconcile(&shape, &rows);
        assert_eq!((reconciled.ops, reconciled.changes.len(), reconciled.edits.len()), (1, 1, 1));
        assert!(reconciled.bytes <= 400, "{} bytes", reconciled.bytes);
        let change = &reconciled.changes[0];
        assert_eq!(reconciled.bytes, change.bytes().len() + change.signature().len());
    }
    // With the version, which is raised too, it is one more.
    rows.version = Some(2);
    rows.lists[0].get_mut("job-00001").unwrap()[0] = JsonValue::String("x".to_owned());
    let reconciled = alice.reconcile(&shape, &rows);
    assert_eq!((reconciled.ops, reconciled.changes.len()), (2, 1));
    assert!(reconciled.bytes <= 400, "{} bytes", reconciled.bytes);
    let nothing = alice.reconcile(&shape, &rows);
    assert_eq!((nothing.ops, nothing.bytes, nothing.changes.len()), (0, 0, 0));
}

#[test]
fn a_text_has_an_op_for_each_stretch_that_goes_or_comes() {
    let body = "alpha\nbeta\ngamma\ndelta\n";
    let counted = [
        (body, 0),
        ("alpha\nbeta\ngamma\ndelta\nepsilon\n", 1),
        ("alpha\ngamma\ndelta\n", 1),
        ("alpha\nBETA\ngamma\ndelta\n", 2),
        ("alpha!\nbeta!\ngamma!\ndelta!\n", 4),
        ("zero\nalpha\nbet\ngamma\ndelta and more\n", 3),
        ("", 1),
    ];
    for (text, ops) in counted {
        let (shape, mut database, mut alice) = followed(Mode::Merge);
        merge(&mut database.content, &json!({"jobs": {"j1": {"body": body}}}));
        alice.reconcile(&shape, &database.rows(&shape));
        merge(&mut database.content, &json!({"jobs": {"j1": {"body": text}}}));
        let reconciled = alice.reconcile(&shape, &database.rows(&shape));
        assert_eq!((reconciled.ops, alice.view()), (ops, database.content.clone()), "{text:?}");
    }
}

#[test]
fn a_row_is_one_op_however_many_fields_it_has() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    let row = json!({"name": "new", "body": "text\n", "adaptor": null, "position": 3});
    merge(&mut database.content, &json!({"jobs": {"j3": row, "j4": row}}));
    assert_eq!(alice.reconcile(&shape, &database.rows(&shape)).ops, 2);
    database.content["jobs"].as_object_mut().unwrap().remove("j1");
    assert_eq!(alice.reconcile(&shape, &database.rows(&shape)).ops, 1);
    assert_eq!(alice.view(), database.content);
}

#[test]
fn what_both_sides_did_alike_is_an_op_and_no_conflict() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    let both = json!({"name": "same", "note": "same", "concurrency": 9});
    alice.patch(&shape, both.clone());
    merge(&mut database.content, &both);
    let reconciled = alice.reconcile(&shape, &database.rows(&shape));
    assert_eq!((reconciled.ops, alice.open(), alice.unsaved(&shape)), (3, vec![], vec![]));
}

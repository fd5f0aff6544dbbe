//! Rows that cannot be read, and rows that name what is not there.

use bft_json_crdt::JsonValue;
use gangline_reconcile::{Cell, Layout, Mode, Row, Rows, RowsBuilder, Shape, dangling};
use serde_json::json;

use super::world::{Database, merge, write_rows};
use super::{MODES, followed};

/// The database's rows, some of which cannot be read: given by list and key, none for the root.
fn with_bad(shape: &Shape, database: &Database, bad: &[(Option<usize>, &str)]) -> Rows {
    let good = database.rows(shape);
    let mut rows = RowsBuilder::new(shape);
    rows.set_version(good.version);
    match bad.contains(&(None, "1")) {
        true => rows.bad(None, Some("1"), "name", "is a blob"),
        false => rows.row(None, "1", cells(&good.root.unwrap())),
    }
    for (list, all) in (0..).zip(good.lists) {
        for (key, row) in all {
            match bad.contains(&(Some(list), &*key)) {
                true => rows.bad(Some(list), Some(&key), "name", "is a blob"),
                false => rows.row(Some(list), &key, cells(&row)),
            }
        }
    }
    // Nobody can say which row it is.
    rows.bad_key(Some(0), "is null");
    rows.finish().unwrap()
}

fn cells(row: &Row) -> impl Iterator<Item = Result<Cell<'_>, &'static str>> {
    row.iter().map(|value| Ok(Cell::of(value).unwrap()))
}

fn row(name: &str) -> serde_json::Value {
    json!({"name": name, "body": "", "adaptor": null, "position": 0})
}

#[test]
fn rows_that_cannot_be_read_are_named_and_stay_while_all_others_go_through() {
    for mode in MODES {
        let (shape, mut database, mut alice) = followed(mode);
        let old = database.content["jobs"]["j1"].clone();
        merge(
            &mut database.content,
            &json!({"name": "imported", "jobs": {
                "j1": {"name": "unreadable"}, "j2": {"name": "readable"}, "j3": row("new"), "j4": row("unreadable"),
            }}),
        );
        let rows = with_bad(&shape, &database, &[(Some(0), "j1"), (Some(0), "j4")]);
        let named: Vec<_> = rows.bad.iter().map(|bad| (bad.key.as_deref(), bad.what.as_str())).collect();
        assert_eq!(named, [(None, "is null"), (Some("j1"), "is a blob"), (Some("j4"), "is a blob")]);
        alice.reconcile(&shape, &rows);
        let mut expected = database.content.clone();
        expected["jobs"]["j1"] = old;
        expected["jobs"].as_object_mut().unwrap().remove("j4");
        assert_eq!(alice.view(), expected);
        assert_eq!(alice.reconcile(&shape, &rows).ops, 0, "they are no news the second time");
        // Once they can be read, they come.
        alice.reconcile(&shape, &database.rows(&shape));
        assert_eq!(alice.view(), database.content);
    }
}

#[test]
fn a_root_that_cannot_be_read_stays_while_its_lists_go_through() {
    for mode in MODES {
        let (shape, mut database, mut alice) = followed(mode);
        merge(&mut database.content, &json!({"name": "unreadable", "jobs": {"j3": row("new")}}));
        let rows = with_bad(&shape, &database, &[(None, "1")]);
        assert!(rows.root.is_none() && rows.is_bad(None, "1"));
        alice.reconcile(&shape, &rows);
        let mut expected = database.content.clone();
        expected["name"] = json!("deploy");
        assert_eq!(alice.view(), expected);
        assert!(!Layout::of(&shape).is_deleted(&alice.base.doc.view()));
    }
}

#[test]
fn a_root_that_is_back_and_cannot_be_read_is_not_gone() {
    let (shape, database, mut alice) = followed(Mode::Merge);
    alice.reconcile(&shape, &Rows::none(&shape));
    assert!(Layout::of(&shape).is_deleted(&alice.base.doc.view()));
    alice.reconcile(&shape, &with_bad(&shape, &database, &[(None, "1")]));
    assert!(!Layout::of(&shape).is_deleted(&alice.base.doc.view()));
}

#[test]
fn edits_in_a_row_that_cannot_be_read_stay_drafts() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    alice.patch(&shape, json!({"jobs": {"j1": {"name": "my draft"}}}));
    database.content["name"] = json!("imported");
    let rows = with_bad(&shape, &database, &[(Some(0), "j1")]);
    alice.reconcile(&shape, &rows);
    assert_eq!(alice.view()["jobs"]["j1"]["name"], "my draft");
    assert_eq!(alice.unsaved_paths(&shape), ["jobs.j1.name"]);
}

#[test]
fn a_document_that_is_filled_from_rows_some_of_which_are_bad_has_the_others() {
    let (shape, database, _) = followed(Mode::Merge);
    let mut bob = super::Node::new(2);
    bob.reconcile(&shape, &with_bad(&shape, &database, &[(None, "1"), (Some(1), "e1")]));
    assert_eq!(bob.view(), json!({"jobs": database.content["jobs"], "edges": {}}));
}

fn at_dangling(node: &super::Node, shape: &Shape) -> Vec<String> {
    let found = dangling(&Layout::of(shape), &node.base.doc.view());
    found.iter().map(|path| path.to_string()).collect()
}

#[test]
fn edges_whose_job_the_database_deletes_are_found() {
    for mode in MODES {
        let (shape, mut database, mut alice) = followed(mode);
        assert_eq!(at_dangling(&alice, &shape), [""; 0]);
        write_rows(&mut database.content, &json!({"jobs": {"j1": null}}));
        alice.reconcile(&shape, &database.rows(&shape));
        assert_eq!(at_dangling(&alice, &shape), ["edges.e1.source_job_id"]);
        // They stay rows like others: what the database has, the document shows.
        assert_eq!(alice.view(), database.content);
    }
}

#[test]
fn an_edge_that_is_drafted_to_a_job_that_the_database_deletes_is_found_and_not_saved() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    let edge = json!({"source_job_id": "j2", "enabled": true, "weight": 1.0});
    alice.patch(&shape, json!({"edges": {"e2": edge}}));
    write_rows(&mut database.content, &json!({"jobs": {"j2": null}}));
    alice.reconcile(&shape, &database.rows(&shape));
    assert_eq!(at_dangling(&alice, &shape), ["edges.e2.source_job_id"]);
    let plan = alice.save(&shape, &mut database);
    let problems: Vec<_> = plan.problems.iter().map(|it| format!("{} {}", it.path, it.what)).collect();
    assert_eq!(problems, ["edges.e2.source_job_id names a row of jobs that is not there"]);
    assert_eq!(plan.writes, []);
}

#[test]
fn null_the_empty_text_and_missing_are_three_things() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    for (value, ops) in [(json!(""), 1), (json!(null), 1), (json!("x"), 1), (json!(""), 1)] {
        database.content["name"] = value.clone();
        assert_eq!(alice.reconcile(&shape, &database.rows(&shape)).ops, ops);
        assert_eq!(alice.view()["name"], value);
    }
    // A draft that says nothing of a column lacks it, and the database fills it in after the save.
    alice.patch(&shape, json!({"jobs": {"j9": {"name": "draft"}}}));
    assert_eq!(alice.view()["jobs"]["j9"], json!({"name": "draft"}));
    alice.save(&shape, &mut database);
    alice.reconcile(&shape, &database.rows(&shape));
    let filled = json!({"name": "draft", "body": null, "adaptor": null, "position": null});
    assert_eq!(alice.view()["jobs"]["j9"], filled);
}

#[test]
fn numbers_follow_their_columns_type_and_integers_are_exact() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    let exact = 9_007_199_254_740_993_i64;
    merge(&mut database.content, &json!({"concurrency": exact, "edges": {"e1": {"weight": 5.0}}}));
    alice.reconcile(&shape, &database.rows(&shape));
    assert_eq!(alice.view()["concurrency"], json!(exact));
    // 5 and 5.0 are the same in a column of floats, on both ways.
    database.content["edges"]["e1"]["weight"] = json!(5);
    assert_eq!(alice.reconcile(&shape, &database.rows(&shape)).ops, 0);
    let before = alice.base.heads();
    alice.patch(&shape, json!({"edges": {"e1": {"weight": 5}}}));
    assert_eq!(alice.base.heads(), before);
    // And next to each other they are two where integers are meant.
    database.content["concurrency"] = json!(exact + 1);
    assert_eq!(alice.reconcile(&shape, &database.rows(&shape)).ops, 1);
    assert_eq!(alice.base.doc.view().get("concurrency"), Some(&JsonValue::Integer((exact + 1).into())));
}

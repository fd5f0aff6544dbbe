//! Tables with many roots: what happens to one of them is nothing to the others.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::{Node, until};
use super::workflows::{Stream, setting, show_one, source, sql};

fn place(root: usize) -> String {
    format!("/api/v1/documents/workflow:r{root}")
}

/// A table of so many roots, and no other.
fn roots(count: usize) -> TempDir {
    let dir = setting("merge");
    sql(
        dir.path(),
        &format!(
            "PRAGMA foreign_keys = off; BEGIN; DELETE FROM edges; DELETE FROM jobs; DELETE FROM workflows;
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count})
             INSERT INTO workflows (id, name) SELECT 'r' || i, 'workflow ' || i FROM n;
             INSERT INTO jobs SELECT 'j' || id, id, 'job', 'text' || char(10), NULL FROM workflows; COMMIT"
        ),
    );
    dir
}

fn deploy(dir: &TempDir, root: usize, name: &str) {
    sql(
        dir.path(),
        &format!(
            "BEGIN; UPDATE workflows SET name = '{name}', lock_version = lock_version + 1 WHERE id = 'r{root}';
             UPDATE jobs SET body = body || 'more' || char(10) WHERE workflow_id = 'r{root}'; COMMIT"
        ),
    );
}

fn an_import_touches_one(with_outbox: bool) {
    const TOUCHED: usize = 17;
    let dir = roots(50);
    let node = Node::start(&dir);
    let before: Vec<Value> = (0..50).map(|root| show_one(&node, &place(root))["heads"].clone()).collect();
    if with_outbox {
        assert_eq!(node.cli(&dir, &["reconcile", "install", "workflows", "--yes"]).code, 0);
        until("the outbox", || source(&node)["feed"] == "outbox");
    }
    let watched = [0, 16, TOUCHED, 18, 49];
    let mut streams: Vec<Stream> = watched
        .iter()
        .map(|root| {
            let mut stream = Stream::of_one(&node, &format!("workflow:r{root}"), "amy");
            stream.until("ready");
            stream
        })
        .collect();
    let batches = source(&node)["batches"].as_u64().unwrap();
    deploy(&dir, TOUCHED, "imported");
    until("it is followed", || show_one(&node, &place(TOUCHED))["view"]["name"] == "imported");
    until("nothing waits", || source(&node)["pending"] == 0);
    assert_eq!(source(&node)["batches"], batches + 1);
    for (root, heads) in before.iter().enumerate() {
        let is_as_it_was = show_one(&node, &place(root))["heads"] == *heads;
        assert_eq!(is_as_it_was, root != TOUCHED, "r{root}");
    }
    // What a stream tells first: the import, or what somebody does here and now.
    for (root, stream) in watched.into_iter().zip(&mut streams) {
        assert_eq!(node.patch(&place(root), r#"{"concurrency": 7}"#).status, 200);
        let first = stream.until("changed");
        let expected = root == TOUCHED;
        assert_eq!(first["by"] == "source", expected, "r{root}: {first}");
    }
    node.stop();
}

#[test]
fn an_import_that_touches_one_of_fifty_is_heard_by_that_one() {
    an_import_touches_one(false);
}

#[test]
fn an_import_that_touches_one_of_fifty_is_heard_by_that_one_through_an_outbox() {
    an_import_touches_one(true);
}

#[test]
fn two_thousand_roots_are_no_two_thousand_documents() {
    let dir = roots(2_000);
    let node = Node::start(&dir);
    let files = || {
        let entries = fs::read_dir(dir.path().join("gangline-data/documents")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("document-") && name.ends_with(".db")).count()
    };
    let states = |wanted: &str| {
        let listed = node.get("/api/v1/documents?limit=5000").json();
        let listed = listed.as_array().unwrap();
        assert_eq!(listed.len(), 2_000);
        let of_state = listed.iter().filter(|one| one["state"] == wanted);
        of_state.map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((states("unborn").len(), files()), (2_000, 0));
    // Somebody opens one, and it follows: from then on the table has been looked through.
    show_one(&node, &place(1));
    deploy(&dir, 1, "opened");
    until("it follows", || show_one(&node, &place(1))["view"]["name"] == "opened");
    assert_eq!((states("unborn").len(), files()), (1_999, 1));
    // A deploy opens what it touches, and that alone.
    deploy(&dir, 777, "deployed");
    until("the deployed one", || states("unborn").len() == 1_998);
    until("it is filled", || source(&node)["batches"] == 3);
    assert_eq!(files(), 2);
    assert!(!states("unborn").contains(&"workflow:r777".to_owned()));
    let shown = show_one(&node, &place(777));
    assert_eq!((&shown["view"]["name"], &shown["version"]), (&json!("deployed"), &json!(2)));
    assert_eq!(shown["view"]["jobs"]["jr777"]["body"], "text\nmore\n");
    node.stop();
    // Nor does a start open any.
    let node = Node::start(&dir);
    let listed = node.get("/api/v1/documents?limit=5000").json();
    let is = |state: &str| listed.as_array().unwrap().iter().filter(|one| one["state"] == state).count();
    assert_eq!((is("unborn"), is("stored"), is("live")), (1_998, 2, 0));
    assert_eq!(files(), 2);
    node.stop();
}

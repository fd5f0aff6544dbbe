//! Rows that no document can have: all others are followed, and whoever looks is told which are not.

use serde_json::{Value, json};

use super::harness::{Node, until};
use super::workflows::{DOCUMENT, Stream, edit, save, setting, show, source, sql, stored, verified};

const BAD: &str = "jobs.j1.adaptor: is a blob";

fn problems(node: &Node) -> Vec<String> {
    let shown = show(node);
    let all = shown["problems"].as_array().unwrap();
    all.iter().map(|problem| problem["what"].as_str().unwrap().to_owned()).collect()
}

fn skipped_metric(node: &Node) -> String {
    let text = node.get("/metrics").body;
    let line = text.lines().find(|line| line.starts_with("gangline_reconcile_skipped{"));
    line.unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn a_row_that_goes_bad_under_an_open_document_is_named_wherever_somebody_looks_until_it_is_mended() {
    let dir = setting("merge");
    let mut node = Node::start(&dir);
    let mut amy = Stream::of(&node, "amy");
    amy.until("ready");
    assert_eq!(skipped_metric(&node), "0");
    sql(
        dir.path(),
        "UPDATE jobs SET adaptor = x'00' WHERE id = 'j1'; UPDATE jobs SET body = 'followed' WHERE id = 'j2'",
    );
    let told = amy.until("rows_skipped");
    assert_eq!(told, json!({"source": "workflows", "rows": [BAD]}));
    until("the other row is followed", || show(&node)["view"]["jobs"]["j2"]["body"] == "followed");
    assert_eq!(show(&node)["view"]["jobs"]["j1"]["adaptor"], "http", "the document keeps what it has of it");
    assert_eq!(problems(&node), [BAD]);
    assert_eq!(skipped_metric(&node), "1");
    let how = source(&node);
    assert_eq!((&how["state"], &how["skipped"]), (&json!("following"), &json!(1)));
    assert!(how["reason"].as_str().unwrap().contains("1 row"), "{how}");

    let shown = node.cli(&dir, &["reconcile", "show", "workflow:42"]);
    assert!(shown.stdout.contains(BAD), "{shown:?}");
    let verified_by = node.cli(&dir, &["reconcile", "verify", "workflow:42"]);
    assert_eq!(verified_by.code, 8, "{verified_by:?}");
    assert!(
        verified_by.stdout.contains(BAD) && verified_by.stdout.contains("0 documents equal"),
        "{verified_by:?}"
    );
    let run = node.cli(&dir, &["reconcile", "run", "workflow:42"]);
    assert!(run.code == 0 && run.stdout.contains(BAD), "{run:?}");

    // Whoever comes after a restart is told as well.
    node.process.signal("TERM");
    node.process.ended();
    let node = Node::start(&dir);
    assert_eq!(problems(&node), [BAD]);
    let mut ben = Stream::of(&node, "ben");
    ben.until("ready");
    sql(dir.path(), "UPDATE jobs SET adaptor = 'mended' WHERE id = 'j1'");
    assert_eq!(ben.until("rows_skipped")["rows"], json!([]));
    until("it is followed", || show(&node)["view"]["jobs"]["j1"]["adaptor"] == "mended");
    assert_eq!((problems(&node), skipped_metric(&node).as_str()), (Vec::new(), "0"));
    assert_eq!(source(&node)["reason"], Value::Null);
    verified(&node);
    node.stop();
}

#[test]
fn a_version_that_is_no_number_is_named_and_stops_neither_the_root_nor_its_rows() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    assert_eq!(show(&node)["version"], 1);
    sql(
        dir.path(),
        "UPDATE workflows SET lock_version = 'abc', name = 'renamed'; UPDATE jobs SET body = 'b' WHERE id = 'j2'",
    );
    until("the root is followed", || show(&node)["view"]["name"] == "renamed");
    assert_eq!(show(&node)["view"]["jobs"]["j2"]["body"], "b");
    until("the version is named", || problems(&node) == ["workflows.42.lock_version: is no integer"]);
    // Nobody may raise it, in the root's name or in that of a row.
    for patch in [json!({"name": "mine"}), json!({"name": "renamed", "jobs": {"j2": {"body": "c"}}})] {
        edit(&node, &patch);
        let refused = node.post(&format!("{DOCUMENT}/save"), "{}");
        assert!(refused.status == 409 || refused.status == 422, "{refused:?}");
        assert!(refused.body.contains("lock_version"), "{refused:?}");
    }
    assert_eq!(stored(dir.path(), "SELECT lock_version || name FROM workflows"), "abcrenamed");
    sql(dir.path(), "UPDATE workflows SET lock_version = 7");
    until("it is mended", || problems(&node).is_empty());
    assert_eq!(save(&node)["version"], 8);
    verified(&node);
    node.stop();
}

#[test]
fn root_rows_whose_key_can_be_none_are_counted_and_named() {
    let dir = setting("merge");
    sql(dir.path(), "INSERT INTO workflows (id, name) VALUES (NULL, 'a'), (NULL, 'b'), ('', 'c')");
    let node = Node::start(&dir);
    until("they are found", || source(&node)["skipped"] == 3);
    let status = node.cli(&dir, &["reconcile", "status"]);
    for line in
        ["no document follows 2 rows of workflows: their id is null", "1 row of workflows: its id is empty"]
    {
        assert!(status.stdout.contains(line), "{status:?}");
    }
    assert_eq!(skipped_metric(&node), "3");
    sql(dir.path(), "DELETE FROM workflows WHERE id IS NULL OR id = ''");
    until("they are gone", || source(&node)["skipped"] == 0);
    assert_eq!(source(&node)["reason"], Value::Null);
    node.stop();
}

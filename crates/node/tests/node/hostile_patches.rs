//! Patches, and what else is sent to documents, from those who send anything.

use serde_json::{Value, json};

use super::harness::Node;
use super::workflows::{DOCUMENT, edit, follows, save, setting, show, show_one, sql, stored, verified};

#[test]
fn a_patch_that_says_one_thing_twice_is_refused_at_any_depth() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    let before = show(&node);
    for patch in [
        r#"{"name": "a", "name": "b"}"#,
        r#"{"jobs": {"j1": {"name": "a", "name": "b"}}}"#,
        r#"{"jobs": {"j1": {"name": "a"}, "j1": {"name": "b"}}}"#,
        r#"{"jobs": {"j1": {"name": "a"}}, "jobs": {"j1": null}}"#,
        r#"{"jobs": {"j1": {"name": "a", "n\u0061me": "b"}}}"#,
    ] {
        let refused = node.patch(DOCUMENT, patch).refused(400, "bad_json");
        assert!(refused["detail"].as_str().unwrap().contains("twice"), "{refused}");
    }
    node.post(&format!("{DOCUMENT}/save"), r#"{"actor": "a", "actor": "b"}"#).refused(400, "bad_json");
    assert_eq!(show(&node), before);
    node.stop();
}

#[test]
fn what_is_no_json_or_no_patch_of_this_document_changes_nothing() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    let before = show(&node);
    let deep = |depth: usize| format!("{}1{}", r#"{"jobs":"#.repeat(depth), "}".repeat(depth));
    let long = json!({"jobs": {"k".repeat(1_025): {"name": "x"}}}).to_string();
    for (patch, status, code) in [
        ("", 400, "bad_json"),
        ("{", 400, "bad_json"),
        (&deep(1_000), 400, "bad_json"),
        (&format!(r#"{{"name": {}}}"#, "[".repeat(100_000)), 400, "bad_json"),
        (r#"{"name": "\ud800"}"#, 400, "bad_json"),
        (r#"{"concurrency": 1e999}"#, 400, "bad_json"),
        (r#"{"concurrency": NaN}"#, 400, "bad_json"),
        (&deep(100), 422, "unknown_field"),
        ("null", 422, "not_an_object"),
        (r#""name""#, 422, "not_an_object"),
        (r#"[{"name": "x"}]"#, 422, "not_an_object"),
        (r#"{"nope": 1}"#, 422, "unknown_field"),
        (r#"{"nope": {"j1": {"name": "x"}}}"#, 422, "unknown_field"),
        (r#"{"jobs": {"j1": {"nope": 1}}}"#, 422, "unknown_field"),
        (r#"{"jobs": {"j1": {"workflow_id": "43"}}}"#, 422, "unknown_field"),
        (r#"{"": 1}"#, 422, "unknown_field"),
        (r#"{"id": "43"}"#, 422, "unknown_field"),
        (r#"{"lock_version": 9}"#, 422, "unknown_field"),
        (r#"{"password": "x"}"#, 422, "unknown_field"),
        (r#"{"deleted_at": "now"}"#, 422, "db_owned"),
        (r#"{"$layout": {}}"#, 422, "unknown_field"),
        (r#"{"$layout": null}"#, 422, "unknown_field"),
        (r#"{"$version": 9}"#, 422, "unknown_field"),
        (r#"{"$deleted": true}"#, 422, "unknown_field"),
        (r#"{"jobs": {"j1": {"$text": "x"}}}"#, 422, "unknown_field"),
        (r#"{"name\u0000": "x"}"#, 422, "unknown_field"),
        (r#"{"jobs": null}"#, 422, "not_a_row"),
        (r#"{"jobs": {"j1": []}}"#, 422, "not_a_row"),
        (r#"{"jobs": {"": {"name": "x"}}}"#, 422, "bad_key"),
        (&long, 422, "bad_key"),
        (r#"{"owner": "me"}"#, 422, "db_owned"),
        (r#"{"name": "x", "owner": null}"#, 422, "db_owned"),
        (r#"{"name": {"x": 1}}"#, 422, "wrong_type"),
        (r#"{"concurrency": 1.5}"#, 422, "wrong_type"),
        (r#"{"concurrency": 9223372036854775808}"#, 422, "wrong_type"),
        (r#"{"concurrency": "05"}"#, 422, "wrong_type"),
        (r#"{"edges": {"e1": {"enabled": 1}}}"#, 422, "wrong_type"),
        // All of a patch or nothing.
        (r#"{"name": "x", "jobs": {"j1": {"name": "y"}, "j2": {"nope": 1}}}"#, 422, "unknown_field"),
    ] {
        let answer = node.patch(DOCUMENT, patch);
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{patch:.80}");
        answer.refused(status, code);
    }
    node.ask("PATCH", DOCUMENT, &[], b"{\"name\": \"\xff\"}").refused(400, "bad_json");
    for heads in ["", "x", "\"\"", "00", &"0".repeat(63)] {
        node.ask("PATCH", DOCUMENT, &[("if-match", heads)], b"{\"name\": \"x\"}").refused(400, "bad_heads");
    }
    for (what, body) in
        [("save", "[]"), ("save", r#"{"actr": 1}"#), ("reconcile", r#"{"accept_restored": 1}"#)]
    {
        node.post(&format!("{DOCUMENT}/{what}"), body).refused(422, "bad_options");
    }
    // A row that is not there is not there already.
    let answer = node.patch(DOCUMENT, r#"{"jobs": {"j404": null}}"#);
    assert_eq!((answer.status, &answer.json()["heads"]), (200, &before["heads"]));
    assert_eq!(show(&node), before);
    for name in ["workflow:404", "workflow:", "workflow:42%00", "workflow%3A..%2F42", "nope:42", "%24layout"]
    {
        node.get(&format!("/api/v1/documents/{name}")).refused(404, "no_such_document");
    }
    let long = format!("/api/v1/documents/workflow:{}", "4".repeat(5_000));
    node.patch(&long, r#"{"name": "x"}"#).refused(404, "no_such_document");
    assert_eq!(node.get("/api/v1/documents").json().as_array().unwrap().len(), 1);
    node.stop();
}

#[test]
fn odd_names_and_texts_go_to_the_database_and_come_back_as_they_are() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    show(&node);
    let odd = [
        "$layout",
        "a.b~c/d",
        "nul\u{0}nul",
        "'; DROP TABLE jobs; --",
        "\u{202e}\u{1f468}\u{200d}\u{1f467}",
        " ",
    ];
    let rows: Value = odd.iter().map(|key| ((*key).to_owned(), json!({"name": key, "body": key}))).collect();
    edit(&node, &json!({"name": "a\u{0}b\u{7f}\r\n", "jobs": rows}));
    let saved = save(&node);
    assert_eq!(saved["saved"].as_array().unwrap().len(), 1 + odd.len(), "{saved}");
    for key in odd {
        let found = show(&node)["view"]["jobs"][key].clone();
        assert_eq!((&found["name"], &found["body"]), (&json!(key), &json!(key)));
    }
    assert_eq!(stored(dir.path(), "SELECT hex(name) FROM workflows"), "6100627F0D0A");
    let count = "SELECT CAST(count(*) AS TEXT) FROM jobs WHERE id = name AND name = body";
    assert_eq!(stored(dir.path(), count), odd.len().to_string());
    assert_eq!(show(&node)["unsaved"], json!([]));
    verified(&node);
    // The same by way of the database.
    sql(
        dir.path(),
        "UPDATE jobs SET name = name || '!' WHERE id = name; UPDATE workflows SET lock_version = 3",
    );
    follows(&node, 3);
    for key in odd {
        assert_eq!(show(&node)["view"]["jobs"][key]["name"], format!("{key}!"));
    }
    verified(&node);
    node.stop();
}

#[test]
fn a_patch_of_a_deleted_root_is_refused_whatever_it_says() {
    let dir = setting("merge");
    sql(dir.path(), "INSERT INTO workflows (id, name) VALUES ('43', 'gone')");
    let node = Node::start(&dir);
    let gone = "/api/v1/documents/workflow:43";
    let before = show_one(&node, gone);
    sql(dir.path(), "DELETE FROM workflows WHERE id = '43'");
    super::harness::until("it is gone", || show_one(&node, gone)["deleted"] == true);
    for patch in [r#"{"name": "x"}"#, "{}", r#"{"nope": 1}"#, r#"{"jobs": {"j1": {"name": "x"}}}"#] {
        node.patch(gone, patch).refused(409, "deleted");
    }
    node.post(&format!("{gone}/save"), "{}").refused(409, "deleted");
    assert_eq!(show_one(&node, gone)["view"]["name"], before["view"]["name"]);
    assert_eq!(stored(dir.path(), "SELECT CAST(count(*) AS TEXT) FROM workflows"), "1");
    node.stop();
}

//! Documents that follow a database, over HTTP, on real files: drafts, deploys, saves, kills, and a second node.

use serde_json::{Value, json};
use tempfile::tempdir;

use super::harness::{Node, until};
use super::workflows::{DOCUMENT, Stream, edit, kill, save, setting, show, sql, stored};

#[test]
fn a_draft_survives_what_a_deploy_writes_and_every_client_is_told_once() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    assert_eq!(node.get("/api/v1/documents").json()[0]["state"], "unborn");
    let (mut amy, mut ben) = (Stream::of(&node, "amy"), Stream::of(&node, "ben"));
    amy.until("ready");
    ben.until("ready");
    until("both are there", || show(&node)["present"].as_array().unwrap().len() == 2);
    let drafted =
        edit(&node, &json!({"jobs": {"j1": {"body": "zero\none\ntwo\n"}, "j9": {"name": "draft"}}}));
    assert_eq!(drafted["unsaved"].as_array().unwrap().len(), 2, "{drafted}");
    sql(
        dir.path(),
        "BEGIN; UPDATE workflows SET name = 'deployed', lock_version = 2;
         UPDATE jobs SET body = 'one' || char(10) || 'two' || char(10) || 'three' || char(10) WHERE id = 'j1';
         INSERT INTO jobs VALUES ('j3', '42', 'new', 'x', NULL); DELETE FROM edges; COMMIT;",
    );
    for stream in [&mut amy, &mut ben] {
        let told = stream.until("db_changed");
        assert_eq!(
            (&told["from"], &told["to"], &told["source"]),
            (&json!(1), &json!(2), &json!("workflows"))
        );
        let met: Vec<(&str, &str)> = told["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|change| (change["path"].as_str().unwrap(), change["outcome"].as_str().unwrap()))
            .collect();
        let expected = [
            ("name", "applied"),
            ("edges.e1", "applied"),
            ("jobs.j3", "applied"),
            ("jobs.j1.body", "merged"),
        ];
        assert_eq!(met, expected);
        assert_eq!(told["unsaved_left"], 2);
    }
    let merged = show(&node);
    assert_eq!(merged["view"]["jobs"]["j1"]["body"], "zero\none\ntwo\nthree\n");
    assert_eq!(merged["view"]["jobs"]["j9"]["name"], "draft");
    assert!(!merged.to_string().contains("hush"), "secrets never leave the database: {merged}");
    let saved = save(&node);
    assert_eq!((&saved["version"], &saved["saved"]), (&json!(3), &json!(["jobs.j9", "jobs.j1.body"])));
    assert_eq!(stored(dir.path(), "SELECT body FROM jobs WHERE id = 'j1'"), "zero\none\ntwo\nthree\n");
    assert_eq!(stored(dir.path(), "SELECT password FROM workflows"), "hush");
    assert_eq!(node.get(&format!("{DOCUMENT}/verify")).json()["ok"], true);
    // Nothing to save writes nothing and makes no version.
    let again = save(&node);
    assert_eq!((&again["version"], &again["saved"]), (&json!(3), &json!([])));
    assert_eq!(show(&node)["unsaved"], json!([]));
    node.stop();
}

#[test]
fn a_mirror_equals_the_database_and_lists_what_it_dropped() {
    let dir = setting("mirror");
    let node = Node::start(&dir);
    let mut amy = Stream::of(&node, "amy");
    amy.until("ready");
    edit(&node, &json!({"name": "mine", "jobs": {"j9": {"name": "draft"}}}));
    sql(dir.path(), "UPDATE workflows SET name = 'deployed', lock_version = 2");
    let told = amy.until("db_changed");
    let dropped: Vec<&str> = told["changes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|change| change["outcome"] == "dropped")
        .map(|change| change["path"].as_str().unwrap())
        .collect();
    assert_eq!(dropped, ["name", "jobs.j9"], "{told}");
    let mirrored = show(&node);
    assert_eq!(mirrored["view"]["name"], "deployed");
    assert_eq!(mirrored["view"]["jobs"]["j9"], Value::Null);
    assert_eq!((&mirrored["unsaved"], &mirrored["conflicts"]), (&json!([]), &json!([])));
    node.stop();
}

#[test]
fn a_conflict_is_shown_with_both_values_resolved_by_an_edit_and_saved() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    edit(&node, &json!({"name": "mine"}));
    sql(dir.path(), "UPDATE workflows SET name = 'theirs', lock_version = 2");
    until("the deploy is followed", || show(&node)["version"] == 2);
    let open = show(&node)["conflicts"][0].clone();
    assert_eq!(
        (&open["path"], &open["theirs"], &open["mine"], &open["shown"]),
        (&json!("name"), &json!("theirs"), &json!("mine"), &json!("theirs"))
    );
    let resolve = |body: Value| node.post(&format!("{DOCUMENT}/resolve"), &body.to_string());
    resolve(json!({"path": "jobs.j1.name", "take": "mine"})).refused(404, "no_such_conflict");
    resolve(json!({"path": "name"})).refused(422, "bad_resolution");
    let resolved = resolve(json!({"path": "name", "take": "mine"})).json();
    assert_eq!((&resolved["conflicts"], &resolved["view"]["name"]), (&json!([]), &json!("mine")));
    save(&node);
    assert_eq!(stored(dir.path(), "SELECT name FROM workflows"), "mine");
    node.stop();
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_the_next_opener_sees_the_import() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    edit(&node, &json!({"jobs": {"j1": {"body": "typed\none\ntwo\n"}}}));
    kill(node);
    sql(
        dir.path(),
        "UPDATE jobs SET name = 'imported' WHERE id = 'j1'; UPDATE workflows SET lock_version = 2",
    );
    let node = Node::start(&dir);
    let opened = show(&node);
    assert_eq!(
        opened["view"]["jobs"]["j1"],
        json!({"adaptor": "http", "body": "typed\none\ntwo\n", "name": "imported"})
    );
    assert_eq!(opened["version"], 2);
    assert_eq!(opened["unsaved"][0]["path"], "jobs.j1.body");
    node.stop();
}

#[test]
fn a_node_without_the_mapping_shows_the_same_and_takes_edits() {
    let (dir, other) = (setting("merge"), tempdir().unwrap());
    let node = Node::start(&dir);
    let peer = Node::start_with(&other, &["--listen", "127.0.0.1:0", "--peer", &node.sync_url()]);
    edit(&node, &json!({"jobs": {"j9": {"name": "draft"}}}));
    until("the copy comes", || {
        peer.get(DOCUMENT).status == 200 && show(&peer)["view"] == show(&node)["view"]
    });
    assert_eq!(show(&peer)["unsaved"], show(&node)["unsaved"]);
    edit(&peer, &json!({"jobs": {"j2": {"body": "typed elsewhere\n"}}}));
    peer.patch(DOCUMENT, r#"{"owner": "me"}"#).refused(422, "db_owned");
    until("the edit comes back", || show(&node)["view"]["jobs"]["j2"]["body"] == "typed elsewhere\n");
    save(&node);
    until("the save comes", || show(&peer)["unsaved"] == json!([]));
    assert_eq!(show(&peer)["heads"], show(&node)["heads"]);
    peer.stop();
    node.stop();
}

#[test]
fn a_deleted_root_stays_readable_and_takes_no_edits_until_it_is_restored() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    edit(&node, &json!({"jobs": {"j9": {"name": "draft"}}}));
    sql(dir.path(), "UPDATE workflows SET deleted_at = '2026-11-21', lock_version = 2");
    until("the deletion comes", || show(&node)["deleted"] == true);
    node.patch(DOCUMENT, r#"{"name": "x"}"#).refused(409, "deleted");
    node.post(&format!("{DOCUMENT}/save"), "{}").refused(409, "deleted");
    assert_eq!(show(&node)["view"]["jobs"]["j9"]["name"], "draft");
    sql(dir.path(), "UPDATE workflows SET deleted_at = NULL, name = 'back', lock_version = 3");
    until("it is restored", || show(&node)["view"]["name"] == "back");
    let saved = save(&node);
    assert_eq!(saved["saved"], json!(["jobs.j9"]));
    node.stop();
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    let before = show(&node);
    node.get("/api/v1/documents/workflow:404").refused(404, "no_such_document");
    node.get("/api/v1/documents/nonsense").refused(404, "no_such_document");
    for (patch, code) in [
        (r#"{"nope": 1}"#, "unknown_field"),
        (r#"{"name": 5}"#, "wrong_type"),
        (r#"{"jobs": {"j1": {"name": null}}}"#, "wrong_type"),
        (r#"{"jobs": 7}"#, "not_a_row"),
        (r#"{"owner": "me"}"#, "db_owned"),
        ("[]", "not_an_object"),
    ] {
        node.patch(DOCUMENT, patch).refused(422, code);
    }
    node.patch(DOCUMENT, r#"{"name": "a", "name": "b"}"#).refused(400, "bad_json");
    let stale = [("if-match", "0000000000000000000000000000000000000000000000000000000000000000")];
    node.ask("PATCH", DOCUMENT, &stale, br#"{"name": "x"}"#).refused(412, "heads_too_old");
    assert_eq!(show(&node), before);
    node.stop();
}

#[test]
fn an_edit_made_at_older_heads_keeps_what_others_wrote_meanwhile() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    let read = show(&node);
    let heads = read["heads"][0].as_str().unwrap().to_owned();
    edit(&node, &json!({"jobs": {"j1": {"body": "first\none\ntwo\n"}}}));
    let late = [("if-match", heads.as_str())];
    let body = json!({"jobs": {"j1": {"body": "one\ntwo\nlast\n"}}}).to_string();
    let answer = node.ask("PATCH", DOCUMENT, &late, body.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["view"]["jobs"]["j1"]["body"], "first\none\ntwo\nlast\n");
    node.stop();
}

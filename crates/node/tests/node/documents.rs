//! Documents that follow a database, over HTTP, on real files: drafts, deploys, saves, kills, and a second node.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::harness::{Node, until};

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE workflows (
        id TEXT PRIMARY KEY, name TEXT, concurrency INTEGER, owner TEXT, password TEXT,
        lock_version INTEGER NOT NULL DEFAULT 1, deleted_at TEXT
    );
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY, workflow_id TEXT REFERENCES workflows (id),
        name TEXT NOT NULL, body TEXT NOT NULL DEFAULT '', adaptor TEXT
    );
    CREATE TABLE edges (
        id TEXT PRIMARY KEY, workflow_id TEXT REFERENCES workflows (id),
        source_job_id TEXT REFERENCES jobs (id), enabled BOOLEAN NOT NULL DEFAULT 1
    );
    INSERT INTO workflows VALUES ('42', 'deploy', 5, 'ops', 'hush', 1, NULL);
    INSERT INTO jobs VALUES ('j1', '42', 'build', 'one' || char(10) || 'two' || char(10), 'http');
    INSERT INTO jobs VALUES ('j2', '42', 'ship', '', NULL);
    INSERT INTO edges VALUES ('e1', '42', 'j1', 1);
";

const SETTINGS: &str = r#"
[[reconcile]]
name = "workflows"
database = "sqlite:app.db"
mode = "MODE"
[reconcile.root]
table = "workflows"
key = "id"
version = "lock_version"
document = "workflow:{id}"
soft_delete = "deleted_at"
fields = { name = "db_wins", concurrency = "doc_wins", owner = "db_owned" }
secret = ["password"]
[[reconcile.list]]
table = "jobs"
parent = "workflow_id"
key = "id"
fields = { name = "db_wins", body = "text_merge", adaptor = "db_wins" }
[[reconcile.list]]
table = "edges"
parent = "workflow_id"
key = "id"
fields = { source_job_id = "db_wins", enabled = "db_wins" }
refs = { source_job_id = "jobs" }
"#;

const DOCUMENT: &str = "/api/v1/documents/workflow:42";

fn setting(mode: &str) -> TempDir {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("gangline.toml"), SETTINGS.replace("MODE", mode)).unwrap();
    sql(dir.path(), SCHEMA);
    dir
}

/// What a deploy does: it writes the tables, and knows nothing of documents.
fn sql(dir: &Path, statements: &str) {
    let database = Connection::open(dir.join("app.db")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    database.execute_batch(statements).unwrap();
}

fn stored(dir: &Path, query: &str) -> String {
    let database = Connection::open(dir.join("app.db")).unwrap();
    database.query_row(query, [], |row| row.get(0)).unwrap()
}

fn show(node: &Node) -> Value {
    let answer = node.get(DOCUMENT);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn edit(node: &Node, patch: &Value) -> Value {
    let answer = node.patch(DOCUMENT, &patch.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn save(node: &Node) -> Value {
    let answer = node.post(&format!("{DOCUMENT}/save"), "{}");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Events of a stream, up to the first one of a kind.
struct Stream(BufReader<std::net::TcpStream>);

impl Stream {
    fn of(node: &Node, client: &str) -> Self {
        let mut stream = node.connect();
        let path = format!("/api/v1/watch?document=workflow:42&client={client}");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", node.addr).unwrap();
        Self(BufReader::new(stream))
    }

    fn until(&mut self, kind: &str) -> Value {
        let wanted = format!("event: {kind}");
        let mut is_it = false;
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ended before {kind}");
            is_it |= line.trim_end() == wanted;
            if let Some(data) = line.strip_prefix("data: ").filter(|_| is_it) {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}

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
    let mut node = Node::start(&dir);
    edit(&node, &json!({"jobs": {"j1": {"body": "typed\none\ntwo\n"}}}));
    node.process.child.kill().unwrap();
    node.process.child.wait().unwrap();
    drop(node);
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
    peer.post(&format!("{DOCUMENT}/save"), "{}").refused(503, "no_source");
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

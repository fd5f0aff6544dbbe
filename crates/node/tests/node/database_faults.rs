//! What may befall a database that documents follow: locks, backups, columns that go, rows that nobody can read, lost files.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::{Node, until};
use super::workflows::{
    DOCUMENT, OTHER, database, edit, follows, install, kill, save, setting, show, show_one, source, sql,
    stored, two_roots, verified,
};

fn reconcile(node: &Node) -> super::harness::Answer {
    node.post(&format!("{DOCUMENT}/reconcile"), "{}")
}

/// What a document says is wrong with it.
fn problems(shown: &Value) -> String {
    let all = shown["problems"].as_array().unwrap();
    all.iter().map(|problem| problem["what"].as_str().unwrap()).collect::<Vec<_>>().join("; ")
}

/// In the mode in which readers and a writer wait for each other.
fn without_wal() -> TempDir {
    let dir = setting("merge");
    sql(dir.path(), "PRAGMA journal_mode = DELETE");
    dir
}

fn copied(dir: &Path, name: &str) {
    sql(dir, "PRAGMA wal_checkpoint(TRUNCATE)");
    fs::copy(dir.join("app.db"), dir.join(name)).unwrap();
}

fn removed(dir: &Path) {
    for name in ["app.db", "app.db-wal", "app.db-shm"] {
        let _ = fs::remove_file(dir.join(name));
    }
}

#[test]
fn while_another_program_holds_the_database_documents_are_as_they_were_and_then_they_follow() {
    let dir = without_wal();
    let node = Node::start(&dir);
    edit(&node, &json!({"jobs": {"j9": {"name": "draft"}}}));
    // Its last guest is gone: whoever comes has it opened anew.
    until("it is closed", || node.get("/api/v1/documents").json()[0]["state"] == "stored");
    let deploy = database(dir.path());
    deploy.execute_batch("BEGIN EXCLUSIVE; UPDATE workflows SET name = 'late', lock_version = 2").unwrap();
    let locked = show(&node);
    assert_eq!((&locked["version"], &locked["view"]["name"]), (&json!(1), &json!("deploy")));
    assert_eq!(locked["view"]["jobs"]["j9"]["name"], "draft");
    assert!(problems(&locked).contains("locked by another program"), "{locked}");
    edit(&node, &json!({"jobs": {"j2": {"body": "typed meanwhile\n"}}}));
    reconcile(&node).refused(503, "database_locked");
    node.post(&format!("{DOCUMENT}/save"), "{}").refused(503, "database_locked");
    until("the source says so", || source(&node)["state"] == "failing");
    assert!(source(&node)["reason"].as_str().unwrap().contains("locked"), "{}", source(&node));
    deploy.execute_batch("COMMIT").unwrap();
    follows(&node, 2);
    until("nothing is wrong", || {
        show(&node)["problems"] == json!([]) && source(&node)["state"] == "following"
    });
    let opened = show(&node);
    assert_eq!(opened["view"]["name"], "late");
    assert_eq!(opened["view"]["jobs"]["j2"]["body"], "typed meanwhile\n");
    save(&node);
    verified(&node);
    node.stop();
}

#[test]
fn a_document_that_is_open_says_that_its_database_does_not_answer() {
    let dir = without_wal();
    let node = Node::start(&dir);
    let before = show(&node);
    let deploy = database(dir.path());
    deploy.execute_batch("BEGIN EXCLUSIVE; UPDATE workflows SET name = 'late', lock_version = 2").unwrap();
    until("it says so", || problems(&show(&node)).contains("locked by another program"));
    assert_eq!((&show(&node)["view"], &show(&node)["version"]), (&before["view"], &json!(1)));
    deploy.execute_batch("COMMIT").unwrap();
    follows(&node, 2);
    until("it says no more", || show(&node)["problems"] == json!([]));
    node.stop();
}

#[test]
fn a_save_that_finds_the_database_held_writes_nothing_and_can_be_made_again() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    edit(&node, &json!({"name": "mine"}));
    let other = database(dir.path());
    other.execute_batch("BEGIN IMMEDIATE; UPDATE workflows SET concurrency = 6, lock_version = 2").unwrap();
    node.post(&format!("{DOCUMENT}/save"), "{}").refused(503, "database_locked");
    assert_eq!(show(&node)["unsaved"][0]["path"], "name");
    other.execute_batch("COMMIT").unwrap();
    let saved = save(&node);
    assert_eq!((&saved["version"], &saved["saved"]), (&json!(3), &json!(["name"])));
    assert_eq!(stored(dir.path(), "SELECT name || concurrency FROM workflows"), "mine6");
    verified(&node);
    node.stop();
}

#[test]
fn a_restored_backup_is_followed_when_a_person_says_so() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    edit(&node, &json!({"jobs": {"j9": {"name": "draft"}}}));
    copied(dir.path(), "backup.db");
    sql(dir.path(), "UPDATE workflows SET name = 'deployed', lock_version = 2; DELETE FROM edges");
    follows(&node, 2);
    let before = show(&node);
    removed(dir.path());
    fs::rename(dir.path().join("backup.db"), dir.path().join("app.db")).unwrap();
    until("it says so", || !problems(&show(&node)).is_empty());
    let refused = show(&node);
    let says = problems(&refused);
    assert!(says.contains("version 1") && says.contains("version 2"), "{says}");
    for part in ["view", "heads", "version", "unsaved"] {
        assert_eq!(refused[part], before[part], "{part}");
    }
    reconcile(&node).refused(409, "older_version");
    node.post(&format!("{DOCUMENT}/save"), "{}").refused(409, "older_version");
    let plan = node.cli(&dir, &["reconcile", "plan", "workflow:42", "--json"]);
    assert_eq!(plan.code, 10, "{plan:?}");
    let planned = plan.stdout.lines().next().unwrap();
    let planned: Value = serde_json::from_str(planned).unwrap();
    let planned = planned.as_array().map_or(&planned, |all| &all[0]);
    assert_eq!((&planned["from"], &planned["to"]), (&json!(2), &json!(1)));
    let paths: Vec<&str> = planned["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["name", "edges.e1"]);
    assert_eq!(show(&node)["heads"], before["heads"], "a plan changes nothing");
    let plain = node.cli(&dir, &["reconcile", "run", "workflow:42"]);
    assert_eq!(plain.code, 4, "{plain:?}");
    assert!(plain.stderr.contains("--accept-restored"), "{plain:?}");
    let accepted = node.cli(&dir, &["reconcile", "run", "workflow:42", "--accept-restored"]);
    assert_eq!(accepted.code, 0, "{accepted:?}");
    let restored = show(&node);
    assert_eq!((&restored["version"], &restored["view"]["name"]), (&json!(1), &json!("deploy")));
    assert_eq!(restored["view"]["edges"]["e1"]["source_job_id"], "j1");
    assert_eq!(restored["view"]["jobs"]["j9"]["name"], "draft", "what nobody saved is no part of a backup");
    assert_eq!(restored["problems"], json!([]));
    save(&node);
    sql(dir.path(), "UPDATE workflows SET name = 'again', lock_version = 3");
    follows(&node, 3);
    verified(&node);
    node.stop();
}

/// The backup has gone on elsewhere, to a later version and beyond where the outbox was read to: the outbox alone tells.
#[test]
fn a_backup_under_an_outbox_is_noticed_by_the_feed_and_waits_over_restarts_for_a_person() {
    let dir = two_roots("");
    let node = Node::start(&dir);
    edit(&node, &json!({"jobs": {"j9": {"name": "draft"}}}));
    show_one(&node, OTHER);
    install(&dir, &node);
    copied(dir.path(), "backup.db");
    sql(
        dir.path(),
        "UPDATE workflows SET name = 'lost', lock_version = 2 WHERE id = '42'; DELETE FROM edges",
    );
    follows(&node, 2);
    until("both are closed", || {
        let listed = node.get("/api/v1/documents").json();
        listed.as_array().unwrap().iter().all(|one| one["state"] == "stored")
    });
    let heads = show(&node)["heads"].clone();
    let backup = rusqlite::Connection::open(dir.path().join("backup.db")).unwrap();
    let elsewhere =
        "UPDATE workflows SET name = 'elsewhere', lock_version = lock_version + 1 WHERE id = '42'";
    backup.execute_batch(&format!("{elsewhere};").repeat(9)).unwrap();
    backup.execute_batch("UPDATE jobs SET body = 'other' WHERE id = 'j2'").unwrap();
    backup.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(backup);
    removed(dir.path());
    fs::rename(dir.path().join("backup.db"), dir.path().join("app.db")).unwrap();

    // Nobody opens a document for that.
    let waits = |node: &Node| {
        until("it waits", || source(node)["state"] == "needs_plan");
        assert_eq!(source(node)["waiting"], 1, "{}", source(node));
        assert!(source(node)["reason"].as_str().unwrap().contains("--accept-restored"), "{}", source(node));
        let held = show(node);
        assert_eq!((&held["version"], &held["heads"]), (&json!(2), &heads));
        assert!(problems(&held).contains("put back from a backup"), "{held}");
        reconcile(node).refused(409, "restored");
        node.post(&format!("{DOCUMENT}/save"), "{}").refused(409, "restored");
    };
    waits(&node);
    kill(node);
    let node = Node::start(&dir);
    waits(&node);
    // The other one's rows are what they were, and go on.
    sql(dir.path(), "UPDATE workflows SET name = 'onwards', lock_version = 2 WHERE id = '43'");
    until("the other root", || show_one(&node, OTHER)["view"]["name"] == "onwards");
    assert_eq!((&source(&node)["waiting"], &source(&node)["feed"]), (&json!(1), &json!("outbox")));

    let plan = node.cli(&dir, &["reconcile", "plan", "workflow:42"]);
    assert_eq!(plan.code, 10, "{plan:?}");
    assert!(
        plan.stdout.contains("gangline reconcile run workflow:42 --accept-restored does this"),
        "{plan:?}"
    );
    let planned = node.get(&format!("{DOCUMENT}/plan")).json();
    assert_eq!((&planned["needs_acceptance"], &planned["to"]), (&json!("restored"), &json!(10)));
    let changes = planned["changes"].as_array().unwrap();
    let paths: Vec<&str> = changes.iter().map(|change| change["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["name", "edges.e1", "jobs.j2.body"]);
    let plain = node.cli(&dir, &["reconcile", "run", "workflow:42"]);
    assert_eq!(plain.code, 4, "{plain:?}");
    assert_eq!(show(&node)["heads"], heads, "nothing was followed yet");
    let accepted = node.cli(&dir, &["reconcile", "run", "workflow:42", "--accept-restored"]);
    assert_eq!(accepted.code, 0, "{accepted:?}");
    let restored = show(&node);
    assert_eq!((&restored["version"], &restored["view"]["name"]), (&json!(10), &json!("elsewhere")));
    assert_eq!(restored["view"]["jobs"]["j2"]["body"], "other");
    assert_eq!(restored["view"]["jobs"]["j9"]["name"], "draft", "what nobody saved is no part of a backup");
    assert_eq!(restored["problems"], json!([]));
    assert_eq!((&source(&node)["state"], &source(&node)["waiting"]), (&json!("following"), &json!(0)));
    assert_eq!(save(&node)["saved"], json!(["jobs.j9"]));
    sql(dir.path(), "UPDATE workflows SET name = 'again', lock_version = 12 WHERE id = '42'");
    follows(&node, 12);
    verified(&node);
    kill(node);
    let node = Node::start(&dir);
    assert_eq!((&show(&node)["version"], &show(&node)["problems"]), (&json!(12), &json!([])));
    until("it follows", || source(&node)["state"] == "following");
    node.stop();
}

/// A second source, of one table, in the same database.
const NOTES: &str = r#"
[[reconcile]]
name = "notes"
database = "sqlite:app.db"
[reconcile.root]
table = "notes"
key = "id"
document = "note:{id}"
fields = { title = "db_wins" }
"#;

#[test]
fn a_column_that_is_dropped_stops_its_documents_alone_until_it_is_back() {
    let dir = setting("merge");
    let settings = dir.path().join("gangline.toml");
    fs::write(&settings, fs::read_to_string(&settings).unwrap() + NOTES).unwrap();
    sql(
        dir.path(),
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT); INSERT INTO notes VALUES (1, 'a')",
    );
    let node = Node::start(&dir);
    let before = show(&node);
    sql(
        dir.path(),
        "BEGIN; ALTER TABLE jobs DROP COLUMN adaptor; UPDATE workflows SET name = 'x', lock_version = 2; COMMIT",
    );
    until("it is noticed", || source(&node)["state"] == "failing");
    let reason = source(&node)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("jobs.adaptor"), "{reason}");
    let refused = reconcile(&node).refused(409, "schema_changed");
    assert!(refused["detail"].as_str().unwrap().contains("jobs.adaptor"), "{refused}");
    node.post(&format!("{DOCUMENT}/save"), "{}").refused(409, "schema_changed");
    let shown = show(&node);
    assert_eq!((&shown["view"], &shown["heads"]), (&before["view"], &before["heads"]));
    // Neither the other source nor the board minds.
    assert_eq!(node.get("/api/v1/documents/note:1").json()["view"]["title"], "a");
    sql(dir.path(), "UPDATE notes SET title = 'b'");
    until("the note", || node.get("/api/v1/documents/note:1").json()["view"]["title"] == "b");
    assert_eq!(node.post("/api/v1/items", r#"{"story_id":"s"}"#).status, 201);
    sql(dir.path(), "ALTER TABLE jobs ADD COLUMN adaptor TEXT");
    follows(&node, 2);
    let back = show(&node);
    assert_eq!((&back["view"]["name"], &back["view"]["jobs"]["j1"]["adaptor"]), (&json!("x"), &Value::Null));
    until("it follows again", || source(&node)["state"] == "following");
    assert_eq!(show(&node)["problems"], json!([]));
    verified(&node);
    node.stop();
}

/// A row that a document cannot have is named, by itself, and stays as it was; all else is followed.
fn bad_row(value: &str, what: &str) {
    let dir = setting("merge");
    let node = Node::start(&dir);
    edit(&node, &json!({"jobs": {"j9": {"name": "draft"}}}));
    sql(
        dir.path(),
        &format!(
            "BEGIN; UPDATE jobs SET body = {value} WHERE id = 'j1'; UPDATE jobs SET name = 'sent' WHERE id = 'j2';
             UPDATE workflows SET name = 'deployed', lock_version = 2; COMMIT"
        ),
    );
    follows(&node, 2);
    let followed = show(&node);
    assert_eq!(
        (&followed["view"]["name"], &followed["view"]["jobs"]["j2"]["name"]),
        (&json!("deployed"), &json!("sent"))
    );
    assert_eq!(followed["view"]["jobs"]["j1"]["body"], "one\ntwo\n");
    let named = json!([{"path": null, "what": format!("jobs.j1.body: {what}")}]);
    let verify = node.get(&format!("{DOCUMENT}/verify")).json();
    assert_eq!((&verify["problems"], &verify["ok"]), (&named, &json!(false)), "the rows differ");
    assert_eq!(node.get(&format!("{DOCUMENT}/plan")).json()["problems"], named);
    let pushed = reconcile(&node).json();
    assert_eq!((&pushed["problems"], &pushed["ops"]), (&named, &json!(0)));
    // The rest can be saved. What is written to the row keeps a document from being saved: else it would count as saved.
    assert_eq!(save(&node)["saved"], json!(["jobs.j9"]));
    edit(&node, &json!({"jobs": {"j1": {"name": "mine"}}}));
    let refused = node.post(&format!("{DOCUMENT}/save"), "{}");
    assert_eq!((refused.status, &refused.json()["fields"][0]["path"]), (409, &json!("jobs.j1.name")));
    assert_eq!(show(&node)["unsaved"][0]["path"], "jobs.j1.name");
    sql(dir.path(), "UPDATE jobs SET body = 'mended' WHERE id = 'j1'");
    until("the row comes", || show(&node)["view"]["jobs"]["j1"]["body"] == "mended");
    assert_eq!(save(&node)["saved"], json!(["jobs.j1.name"]));
    assert_eq!(node.get(&format!("{DOCUMENT}/verify")).json()["problems"], json!([]));
    node.stop();
}

#[test]
fn a_text_of_ten_megabytes_is_named_and_the_other_rows_are_followed() {
    bad_row("CAST(zeroblob(10000000) AS TEXT)", "is too long for a document");
}

#[test]
fn a_text_that_is_no_utf_8_is_named_and_the_other_rows_are_followed() {
    bad_row("CAST(x'ff' AS TEXT)", "is no valid UTF-8");
}

#[test]
fn a_database_that_is_deleted_is_not_made_and_one_that_comes_in_its_place_is_followed() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    let before = edit(&node, &json!({"jobs": {"j9": {"name": "draft"}}}));
    copied(dir.path(), "next.db");
    removed(dir.path());
    until("it is noticed", || source(&node)["state"] == "failing");
    reconcile(&node).refused(503, "database_unavailable");
    node.post(&format!("{DOCUMENT}/save"), "{}").refused(503, "database_unavailable");
    let shown = show(&node);
    assert_eq!((&shown["view"], &shown["heads"]), (&before["view"], &before["heads"]));
    edit(&node, &json!({"jobs": {"j2": {"body": "typed\n"}}}));
    assert!(!dir.path().join("app.db").exists(), "it is not the node's to make");
    // Another program's file, under its name.
    let strange = rusqlite::Connection::open(dir.path().join("strange.db")).unwrap();
    strange.execute_batch("CREATE TABLE unlike (x)").unwrap();
    drop(strange);
    fs::rename(dir.path().join("strange.db"), dir.path().join("app.db")).unwrap();
    until("a table is missed", || {
        source(&node)["reason"].as_str().is_some_and(|reason| reason.contains("no such table"))
    });
    assert_eq!(show(&node)["view"]["jobs"]["j9"]["name"], "draft");
    let next = rusqlite::Connection::open(dir.path().join("next.db")).unwrap();
    next.execute_batch("UPDATE workflows SET name = 'moved', lock_version = 2").unwrap();
    next.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(next);
    fs::rename(dir.path().join("next.db"), dir.path().join("app.db")).unwrap();
    follows(&node, 2);
    let saved = save(&node);
    assert_eq!(saved["saved"], json!(["jobs.j9", "jobs.j2.body"]));
    assert_eq!(stored(dir.path(), "SELECT name FROM workflows"), "moved");
    verified(&node);
    node.stop();
}

//! How it goes with databases that documents follow: what a node measures and says of them, databases that come late or
//! come back from a backup, two keys for one database, and lists that are long.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::harness::{Node, until};

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, body TEXT, owner TEXT, rev INTEGER NOT NULL DEFAULT 1);
    INSERT INTO notes VALUES ('1', 'Dogs', 'Feed them.', 'ops', 1), ('2', 'Cats', 'Let them be.', 'ops', 1);
";

const SETTINGS: &str = r#"
[[reconcile]]
name = "notes"
database = "sqlite:notes.db"
[reconcile.root]
table = "notes"
key = "id"
version = "rev"
document = "note:{id}"
fields = { title = "db_wins", body = "text_merge", owner = "db_owned" }
"#;

const NOTE: &str = "/api/v1/documents/note:1";

fn with(settings: &str) -> TempDir {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("gangline.toml"), settings).unwrap();
    dir
}

fn setting() -> TempDir {
    let dir = with(SETTINGS);
    sql(dir.path(), SCHEMA);
    dir
}

/// Writes the database in a directory, or another file.
fn sql(place: &Path, statements: &str) {
    let file = if place.is_dir() { place.join("notes.db") } else { place.to_owned() };
    let database = Connection::open(file).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    database.execute_batch(statements).unwrap();
}

/// Puts aside what the database has, as `VACUUM INTO` does it.
fn back_up(dir: &Path) {
    sql(dir, "VACUUM INTO 'backup'".replace("backup", dir.join("backup.db").to_str().unwrap()).as_str());
}

/// Puts the backup in the place of the database.
fn restore(dir: &Path) {
    for side in ["notes.db-wal", "notes.db-shm"] {
        let _ = fs::remove_file(dir.join(side));
    }
    fs::rename(dir.join("backup.db"), dir.join("notes.db")).unwrap();
}

fn show(node: &Node) -> Value {
    let answer = node.get(NOTE);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn listed(node: &Node, id: &str) -> Value {
    let listed = node.get("/api/v1/documents").json();
    listed.as_array().unwrap().iter().find(|each| each["id"] == id).cloned().unwrap_or_default()
}

fn source(node: &Node) -> Value {
    node.get("/api/v1/reconcile").json()[0].clone()
}

/// A number of `/metrics`, by its name and labels.
/// How the node is, and the code of why.
fn reason(node: &Node) -> (String, String) {
    let status = node.get("/api/v1/status").json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&status["health"]), text(&status["reasons"][0]["code"]))
}

fn metric(node: &Node, name: &str) -> Option<u64> {
    let text = node.get("/metrics").body;
    let line =
        text.lines().find_map(|line| line.strip_prefix("gangline_")?.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

fn of_notes(node: &Node, name: &str) -> Option<u64> {
    metric(node, &format!("reconcile_{name}{{source=\"notes\"}}"))
}

#[test]
fn the_numbers_are_right_after_a_deploy_a_save_and_a_pause() {
    let dir = setting();
    let node = Node::start(&dir);
    for name in
        ["batches_total", "ops_total", "conflicts_total", "missed_total", "failures_total", "saves_total"]
    {
        assert_eq!(of_notes(&node, name), Some(0), "{name}");
    }
    for name in ["lag_ms", "pending", "failing", "waiting", "paused", "feed_failed"] {
        assert_eq!(of_notes(&node, name), Some(0), "{name}");
    }
    assert_eq!(metric(&node, "documents_open"), Some(0));
    show(&node);
    assert_eq!(of_notes(&node, "batches_total"), Some(1), "the first fill");
    assert_eq!((metric(&node, "documents_open"), metric(&node, "documents_stuck")), (Some(1), Some(0)));
    let ops = of_notes(&node, "ops_total").unwrap();
    node.patch(NOTE, r#"{"title": "Mine", "body": "Feed them twice."}"#);
    sql(dir.path(), "UPDATE notes SET title = 'Theirs', rev = 2 WHERE id = '1'");
    until("the deploy is followed", || show(&node)["version"] == 2);
    until("the run has ended", || of_notes(&node, "pending") == Some(0));
    assert_eq!(of_notes(&node, "batches_total"), Some(2));
    assert!(of_notes(&node, "ops_total").unwrap() > ops);
    assert_eq!(of_notes(&node, "conflicts_total"), Some(1));
    assert_eq!(of_notes(&node, "saves_total"), Some(0));
    assert_eq!(node.post(&format!("{NOTE}/save"), "{}").status, 200);
    assert_eq!(of_notes(&node, "saves_total"), Some(1));
    assert_eq!(of_notes(&node, "failures_total"), Some(0));

    assert_eq!(node.post("/api/v1/reconcile/notes/pause", "{}").status, 200);
    assert_eq!(of_notes(&node, "paused"), Some(1));
    sql(dir.path(), "UPDATE notes SET title = 'Later', rev = rev + 1 WHERE id = '1'");
    until("the change is noticed", || of_notes(&node, "pending") == Some(1));
    until("it waits", || of_notes(&node, "lag_ms") > Some(0));
    assert_eq!(node.post("/api/v1/reconcile/notes/resume", "{}").status, 200);
    until("it is followed", || of_notes(&node, "pending") == Some(0));
    assert_eq!((of_notes(&node, "paused"), of_notes(&node, "lag_ms")), (Some(0), Some(0)));

    sql(dir.path(), "ALTER TABLE notes RENAME TO elsewhere");
    until("the feed fails", || of_notes(&node, "feed_failed") == Some(1));
    let text = node.get("/metrics").body;
    for value in ["Mine", "Theirs", "Feed them", "note:1"] {
        assert!(!text.contains(value), "{value} is in the metrics");
    }
    node.stop();
}

#[test]
fn a_database_that_comes_late_is_followed_from_then_on() {
    let dir = with(SETTINGS);
    let node = Node::start(&dir);
    let line = node.ready.iter().find(|line| line.starts_with("source  notes")).unwrap();
    assert!(
        line.starts_with("source  notes (sqlite:notes.db), not followed before it can be read: "),
        "{line}"
    );
    let waits = source(&node);
    assert_eq!((&waits["state"], &waits["public_key"]), (&json!("failing"), &Value::Null));
    assert!(waits["reason"].as_str().unwrap().contains("sqlite:notes.db"), "{waits}");
    assert_eq!(of_notes(&node, "feed_failed"), Some(1));
    assert_eq!(node.get("/api/v1/documents").json(), json!([]));
    let problem = node.get(NOTE).refused(503, "not_here_yet");
    assert!(problem["detail"].as_str().unwrap().contains("sqlite:notes.db"), "{problem}");
    node.get("/api/v1/documents/page:1").refused(404, "no_such_document");
    node.post("/api/v1/reconcile/notes/pause", "{}").refused(503, "no_source");
    let status = node.cli(&dir, &["status"]);
    assert_eq!(status.code, 8, "{status:?}");
    assert!(status.stdout.contains("SOURCE  notes (sqlite:notes.db) failing: "), "{status:?}");

    // With other columns than the mapping names it is still none: that is said by table and column.
    sql(dir.path(), &SCHEMA.replace("title", "name"));
    until("the mistake is found", || source(&node)["reason"].as_str().unwrap().contains("notes.title"));
    sql(dir.path(), "ALTER TABLE notes RENAME COLUMN name TO title");
    until("it is followed", || source(&node)["state"] == "following");
    assert_eq!(of_notes(&node, "feed_failed"), Some(0));
    assert_eq!(show(&node)["view"]["title"], "Dogs");
    sql(dir.path(), "UPDATE notes SET title = 'All dogs', rev = 2 WHERE id = '1'");
    until("a deploy is followed", || show(&node)["view"]["title"] == "All dogs");
    assert_eq!(show(&node)["source"], "notes");
    node.stop();
    // A mapping that does not fit when the node starts is a mistake, as ever.
    sql(dir.path(), "ALTER TABLE notes RENAME COLUMN title TO name");
    let ended = super::harness::run(dir.path(), &["up", "--listen", "127.0.0.1:0"]);
    assert_eq!(ended.code, 9, "{ended:?}");
    assert!(ended.stderr.contains("notes.title: is no column of the table"), "{ended:?}");
}

#[test]
fn a_document_that_was_open_before_its_database_came_follows_it() {
    let dir = setting();
    let node = Node::start(&dir);
    node.patch(NOTE, r#"{"body": "Feed them now."}"#);
    node.stop();
    fs::rename(dir.path().join("notes.db"), dir.path().join("away.db")).unwrap();
    let node = Node::start(&dir);
    let before = show(&node);
    assert_eq!((&before["source"], &before["reconciled_here"]), (&json!("notes"), &json!(false)));
    assert_eq!(before["view"]["body"], "Feed them now.");
    node.post(&format!("{NOTE}/save"), "{}").refused(503, "no_source");
    fs::rename(dir.path().join("away.db"), dir.path().join("notes.db")).unwrap();
    until("it has its source", || show(&node)["reconciled_here"] == true);
    assert_eq!(node.post(&format!("{NOTE}/save"), "{}").status, 200);
    assert_eq!(show(&node)["unsaved"], json!([]));
    node.stop();
}

/// A stream's next `reconcile_failed`.
fn failure(stream: &mut impl std::io::BufRead) -> Value {
    let mut is_it = false;
    loop {
        let mut line = String::new();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream ended");
        is_it |= line.trim_end() == "event: reconcile_failed";
        if let Some(data) = line.strip_prefix("data: ").filter(|_| is_it) {
            return serde_json::from_str(data).unwrap();
        }
    }
}

/// Looks that a document waits for a person, everywhere that people and programs look; then accepts.
fn waits_until_accepted(node: &Node, dir: &TempDir, why: &str, shown: &str, accepted: &str) {
    until("the restored rows are noticed", || listed(node, "note:1")["state"] == "needs_plan");
    let problem = listed(node, "note:1")["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains("gangline reconcile plan note:1"), "{problem}");
    assert!(problem.contains("gangline reconcile run note:1 --accept-restored"), "{problem}");
    let document = show(node);
    assert_eq!(document["view"]["title"], shown, "{document}");
    let trouble = document["problems"][0]["what"].as_str().unwrap();
    assert!(trouble.contains("gangline reconcile plan note:1"), "{document}");
    let of_source = source(node);
    assert_eq!(
        (&of_source["state"], &of_source["waiting"]),
        (&json!("needs_plan"), &json!(1)),
        "{of_source}"
    );
    assert_eq!(of_notes(node, "waiting"), Some(1));
    let status = node.cli(dir, &["status"]).stdout;
    assert!(status.contains("waits for its plan to be accepted: 1 document waits"), "{status}");

    node.post(&format!("{NOTE}/reconcile"), "{}").refused(409, why);
    node.patch(NOTE, r#"{"body": "typed"}"#);
    node.post(&format!("{NOTE}/save"), "{}").refused(409, why);
    let plan = node.get(&format!("{NOTE}/plan")).json();
    assert_eq!(plan["needs_acceptance"], why, "{plan}");
    assert!(plan["changes"].as_array().unwrap().iter().any(|change| change["path"] == "title"), "{plan}");
    let told = node.cli(dir, &["reconcile", "plan", "note:1"]);
    assert!(told.stdout.contains("gangline reconcile run note:1 --accept-restored does this"), "{told:?}");
    assert_eq!(show(node)["view"]["title"], shown, "a plan changes nothing");

    let run = node.cli(dir, &["reconcile", "run", "note:1", "--accept-restored"]);
    assert_eq!(run.code, 0, "{run:?}");
    let document = show(node);
    assert_eq!((&document["view"]["title"], &document["view"]["body"]), (&json!(accepted), &json!("typed")));
    assert_eq!(document["problems"], json!([]));
    assert_eq!(source(node)["state"], "following");
    assert_eq!(node.get(&format!("{NOTE}/plan")).json()["needs_acceptance"], Value::Null);
    assert_eq!(node.post(&format!("{NOTE}/save"), "{}").status, 200);
}

#[test]
fn an_older_version_is_not_followed_before_somebody_accepts_it() {
    let dir = setting();
    let node = Node::start(&dir);
    show(&node);
    let mut stream = node.connect();
    std::io::Write::write_all(
        &mut stream,
        format!("GET /api/v1/watch?document=note:1 HTTP/1.1\r\nhost: {}\r\n\r\n", node.addr).as_bytes(),
    )
    .unwrap();
    let mut stream = std::io::BufReader::new(stream);
    sql(dir.path(), "UPDATE notes SET title = 'Newer', rev = 7 WHERE id = '1'");
    until("it is followed", || show(&node)["version"] == 7);
    sql(dir.path(), "UPDATE notes SET title = 'Older', rev = 3 WHERE id = '1'");
    let failed = failure(&mut stream);
    assert_eq!(failed["retry_in"], Value::Null, "{failed}");
    assert!(failed["reason"].as_str().unwrap().contains("--accept-restored"), "{failed}");
    waits_until_accepted(&node, &dir, "older_version", "Newer", "Older");
    sql(dir.path(), "UPDATE notes SET title = 'Next', rev = 5 WHERE id = '1'");
    until("what comes then is followed", || show(&node)["view"]["title"] == "Next");
    node.stop();
}

/// The version rises in the backup beyond what the document has followed: only the outbox knows.
#[test]
fn a_restored_backup_is_not_followed_before_somebody_accepts_it() {
    let dir = setting();
    let node = Node::start(&dir);
    assert_eq!(node.post("/api/v1/reconcile/notes/install", "{}").status, 200);
    for id in ["note:1", "note:2"] {
        assert_eq!(node.get(&format!("/api/v1/documents/{id}")).status, 200);
    }
    until("the outbox is read", || source(&node)["feed"] == "outbox");
    sql(dir.path(), "UPDATE notes SET title = 'In the backup', rev = 3 WHERE id = '1'");
    until("it is followed", || show(&node)["version"] == 3);
    back_up(dir.path());
    sql(dir.path(), "UPDATE notes SET title = 'Lost', rev = 4 WHERE id = '1'");
    until("it is followed", || show(&node)["version"] == 4);
    node.stop();
    restore(dir.path());
    sql(dir.path(), "UPDATE notes SET title = 'Another history', rev = 9 WHERE id = '1'");
    let node = Node::start(&dir);
    // Whoever opens it first does not get the other history either, nor after another start.
    assert_eq!(show(&node)["view"]["title"], "Lost");
    until("the restored rows are noticed", || listed(&node, "note:1")["state"] == "needs_plan");
    node.stop();
    let node = Node::start(&dir);
    sql(dir.path(), "UPDATE notes SET title = 'More of it', rev = 10 WHERE id = '1'");
    // What the backup had left as it was goes on as if nothing had been.
    sql(dir.path(), "UPDATE notes SET title = 'Many cats', rev = 2 WHERE id = '2'");
    let other = || node.get("/api/v1/documents/note:2").json();
    until("the other one follows", || other()["view"]["title"] == "Many cats");
    waits_until_accepted(&node, &dir, "restored", "Lost", "More of it");
    sql(dir.path(), "UPDATE notes SET title = 'Onwards', rev = 20 WHERE id = '1'");
    until("what comes then is followed", || show(&node)["view"]["title"] == "Onwards");

    // A node that runs meanwhile does not follow it either.
    back_up(dir.path());
    sql(dir.path(), "UPDATE notes SET title = 'Lost again', rev = 30 WHERE id = '1'");
    until("it is followed", || show(&node)["view"]["title"] == "Lost again");
    sql(&dir.path().join("backup.db"), "UPDATE notes SET title = 'Elsewhere', rev = 40 WHERE id = '1'");
    restore(dir.path());
    until("the restored rows are noticed", || listed(&node, "note:1")["state"] == "needs_plan");
    assert_eq!(show(&node)["view"]["title"], "Lost again");
    node.stop();
}

#[test]
fn status_says_what_a_source_lacks() {
    let dir = with(&SETTINGS.replace("[reconcile.root]", "key = \"import\"\n[reconcile.root]"));
    sql(dir.path(), SCHEMA);
    let node = Node::start(&dir);
    let of_status = || node.get("/api/v1/status").json()["sources"][0].clone();
    assert_eq!((&of_status()["name"], &of_status()["state"]), (&json!("notes"), &json!("no_key")));
    assert!(of_status()["reason"].as_str().unwrap().contains("gangline reconcile key export"));
    let told = node.cli(&dir, &["status"]).stdout;
    assert!(
        told.contains("SOURCE  notes (sqlite:notes.db) only followed: the key of notes is not here"),
        "{told}"
    );
    let status = node.cli(&dir, &["reconcile", "status"]);
    assert_eq!(status.code, 8, "{status:?}");
    assert_eq!(reason(&node), ("failing".into(), "source_without_key".into()));
    node.stop();

    let dir = setting();
    let node = Node::start(&dir);
    show(&node);
    assert_eq!(node.get("/api/v1/status").json()["health"], "ok");
    let of_status = || node.get("/api/v1/status").json()["sources"][0].clone();
    let told = || node.cli(&dir, &["status"]).stdout;
    assert_eq!(
        of_status(),
        json!({"name": "notes", "place": "sqlite:notes.db", "state": "following", "reason": null})
    );
    assert!(told().contains("source  notes (sqlite:notes.db) following\n"), "{}", told());
    node.post("/api/v1/reconcile/notes/pause", "{}");
    assert_eq!(of_status()["state"], "paused");
    assert!(told().contains("SOURCE  notes (sqlite:notes.db) paused\n"), "{}", told());
    node.post("/api/v1/reconcile/notes/resume", "{}");
    sql(dir.path(), "ALTER TABLE notes RENAME TO elsewhere");
    until("the feed fails", || of_status()["state"] == "failing");
    assert_eq!(reason(&node), ("failing".into(), "source_failing".into()));
    let status = node.cli(&dir, &["status"]);
    assert!(
        status.code == 8 && status.stdout.starts_with("health  failing\n        notes (sqlite:"),
        "{status:?}"
    );
    let status = node.cli(&dir, &["reconcile", "status"]);
    assert!(status.code == 8 && !status.stderr.contains("backup"), "{status:?}");
    // It serves all the same, and nobody has to take it out of a pool.
    assert_eq!(node.get("/readyz").json(), json!({"ready": true, "reasons": []}));
    let listed: Vec<Value> = node.get("/api/v1/documents").json().as_array().unwrap().clone();
    let ids: Vec<&str> = listed.iter().map(|each| each["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["note:1"], "what is kept here is listed without its database");
    assert!(told().contains("SOURCE  notes (sqlite:notes.db) failing: "), "{}", told());
    node.stop();
}

#[test]
fn two_keys_for_one_database_are_found_and_what_to_do_is_said() {
    let (dir, other) = (setting(), setting());
    let node = Node::start(&dir);
    show(&node);
    let peer = Node::start_with(&other, &["--listen", "127.0.0.1:0", "--peer", &node.sync_url()]);
    let told = peer.process.stderr.until("another node has made a key of its own for notes");
    assert!(told.contains("gangline reconcile key import"), "{told}");
    until("the status says so", || {
        source(&peer)["reason"].as_str().is_some_and(|reason| reason.contains("two documents of each row"))
    });
    assert_eq!(source(&peer)["state"], "two_keys");
    let status = peer.cli(&other, &["reconcile", "status"]);
    assert_eq!(status.code, 8, "{status:?}");
    assert!(!status.stderr.contains("backup"), "{status:?}");
    assert_eq!(reason(&peer), ("failing".into(), "two_source_keys".into()));
    // The other node's copy has another id: its own document has the name.
    let strangers = || -> Vec<Value> {
        let all = peer.get("/api/v1/documents").json();
        all.as_array().unwrap().iter().filter(|each| !each["problem"].is_null()).cloned().collect()
    };
    until("the copy is listed", || strangers().len() == 1);
    let stranger = strangers().remove(0);
    assert!(stranger["problem"].as_str().unwrap().contains("key export"), "{stranger}");
    assert_eq!(stranger["source"], Value::Null);
    let id = stranger["id"].as_str().unwrap();
    assert_eq!(id.len(), 64, "{stranger}");
    assert_eq!(peer.get(&format!("/api/v1/documents/{id}")).json()["view"], show(&node)["view"]);
    assert_eq!(listed(&peer, "note:1")["problem"], Value::Null);
    peer.stop();
    node.stop();
}

#[test]
fn a_long_list_comes_in_pages_and_misses_none() {
    let dir = setting();
    sql(
        dir.path(),
        "WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
         INSERT INTO notes SELECT i, 'n' || i, '', 'ops', 1 FROM n",
    );
    let node = Node::start(&dir);
    for id in ["note:1", "note:11999", "note:2", "note:5000"] {
        assert_eq!(node.get(&format!("/api/v1/documents/{id}")).status, 200);
    }
    let (mut ids, mut after) = (Vec::<String>::new(), String::new());
    loop {
        let page = node.get(&format!("/api/v1/documents?limit=1700{after}")).json();
        let page = page.as_array().unwrap();
        ids.extend(page.iter().map(|each| each["id"].as_str().unwrap().to_owned()));
        if page.len() < 1700 {
            break;
        }
        after = format!("&after={}", ids.last().unwrap());
    }
    let mut expected: Vec<String> = (1..=12_000).map(|id| format!("note:{id}")).collect();
    expected.sort();
    assert_eq!(ids.len(), expected.len());
    assert_eq!(ids, expected);
    let listed = node.cli(&dir, &["reconcile", "list", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 12_000);
    assert_eq!(node.get("/api/v1/documents?limit=2&after=note:99999").json(), json!([]));
    assert_eq!(node.get("/api/v1/documents?limit=1&after=a").json()[0]["id"], "note:1");
    node.stop();
}

/// Names that end otherwise than with their key are not in the order of their keys.
#[test]
fn pages_are_in_the_order_of_names_and_not_of_keys() {
    let dir = with(&SETTINGS.replace("note:{id}", "note.{id}.v1"));
    sql(dir.path(), SCHEMA);
    sql(dir.path(), "INSERT INTO notes (id) VALUES ('a'), ('a!'), ('a.'), ('a.x'), ('a~'), ('b')");
    let node = Node::start(&dir);
    let whole: Vec<Value> = node.get("/api/v1/documents").json().as_array().unwrap().clone();
    let ids: Vec<&str> = whole.iter().map(|each| each["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted() && ids.len() == 8, "{ids:?}");
    let mut found = Vec::new();
    let mut after = String::new();
    while let Some(next) = node.get(&format!("/api/v1/documents?limit=1{after}")).json().get(0) {
        found.push(next["id"].as_str().unwrap().to_owned());
        after = format!("&after={}", found.last().unwrap());
        assert!(found.len() <= 8, "{found:?}");
    }
    assert_eq!(found, ids);
    node.stop();
}

#[test]
fn a_document_tells_what_its_fields_are_and_who_prevails() {
    let dir = setting();
    sql(
        dir.path(),
        "CREATE TABLE tags (id INTEGER PRIMARY KEY, note_id TEXT, \"a.b\" TEXT, weight REAL, is_on BOOLEAN)",
    );
    let list = "\n[[reconcile.list]]\ntable = \"tags\"\nparent = \"note_id\"\nkey = \"id\"\n\
                fields = { \"a.b\" = \"keep_both\", weight = \"doc_wins\", is_on = \"doc_owned\" }\n";
    fs::write(dir.path().join("gangline.toml"), format!("{SETTINGS}{list}")).unwrap();
    let node = Node::start(&dir);
    let expected = json!({
        "title": {"kind": "text", "policy": "db_wins"},
        "body": {"kind": "text", "policy": "text_merge"},
        "owner": {"kind": "text", "policy": "db_owned"},
        "tags.a~1b": {"kind": "text", "policy": "keep_both"},
        "tags.weight": {"kind": "float", "policy": "doc_wins"},
        "tags.is_on": {"kind": "boolean", "policy": "doc_owned"},
    });
    assert_eq!(show(&node)["fields"], expected);
    node.stop();
}

#[test]
fn history_says_when_this_node_took_a_change_in() {
    let dir = setting();
    let node = Node::start(&dir);
    show(&node);
    node.patch(NOTE, r#"{"body": "Feed them twice."}"#);
    let history = node.get(&format!("{NOTE}/history")).json();
    let times: Vec<u64> =
        history.as_array().unwrap().iter().map(|entry| entry["received_at_ms"].as_u64().unwrap()).collect();
    assert!(times.len() >= 2 && times.is_sorted(), "{history}");
    let started = node.get("/api/v1/status").json()["started_at_ms"].as_u64().unwrap();
    assert!(times[0] >= started, "{history}");
    let told = node.cli(&dir, &["reconcile", "history", "note:1"]).stdout;
    assert!(told.lines().nth(1).unwrap().trim_start().starts_with("20"), "{told}");
    node.stop();
    // The log keeps it, and a part of the history has the same.
    let node = Node::start(&dir);
    assert_eq!(node.get(&format!("{NOTE}/history")).json(), history);
    assert_eq!(node.get(&format!("{NOTE}/history?limit=1")).json()[0], history[times.len() - 1]);
    node.stop();
}

#[test]
fn uninstall_prints_what_it_executes_and_asks() {
    let dir = setting();
    let node = Node::start(&dir);
    let none = node.cli(&dir, &["reconcile", "uninstall", "notes"]);
    assert_eq!((none.code, none.stdout.as_str()), (0, "notes: no outbox is installed\n"));
    let objects = || -> Vec<String> {
        let database = Connection::open(dir.path().join("notes.db")).unwrap();
        let mut statement = database.prepare("SELECT name FROM sqlite_schema ORDER BY name").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let before = objects();
    let install = || assert_eq!(node.cli(&dir, &["reconcile", "install", "notes", "--yes"]).code, 0);
    install();
    let with_outbox = objects();
    assert!(with_outbox.len() > before.len() + 1, "{with_outbox:?}");
    let shown = node.cli(&dir, &["reconcile", "uninstall", "notes", "--dry-run"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains("DROP TRIGGER"), "{shown:?}");
    let unasked = node.cli(&dir, &["reconcile", "uninstall", "notes"]);
    assert_eq!((unasked.code, &unasked.stdout), (2, &shown.stdout), "{unasked:?}");
    assert!(unasked.stderr.contains("gangline reconcile uninstall notes --yes"), "{unasked:?}");
    assert_eq!(objects(), with_outbox, "nobody has said yes");
    // What is printed does it by hand, too.
    sql(dir.path(), &shown.stdout);
    assert_eq!(objects(), before);
    install();
    let done = node.cli(&dir, &["reconcile", "uninstall", "notes", "--yes"]);
    assert_eq!(done.stdout, format!("{}notes: the outbox is removed\n", shown.stdout));
    assert_eq!(objects(), before);
    node.stop();
}

/// Nodes that were invited trust each other's keys. A source's key is none of theirs: somebody says that it is trusted.
#[test]
fn documents_take_what_keys_have_signed_that_are_trusted_while_the_nodes_run() {
    let dir = with(&format!("listen = \"127.0.0.1:0\"\n[tls]\nself_signed = true\n{SETTINGS}"));
    sql(dir.path(), SCHEMA);
    let other = tempdir().unwrap();
    let node = Node::start_with(&dir, &[]);
    let url = format!("wss://{}/crdt-sync", node.addr);
    let invited = super::harness::run(dir.path(), &["invite", "--name", "other", "--url", &url, "--json"]);
    node.process.stderr.until("trust has changed");
    let joined = super::harness::run(other.path(), &["join", invited.json()["ticket"].as_str().unwrap()]);
    assert_eq!(joined.code, 0, "{joined:?}");
    let peer = Node::start_with(&other, &["--listen", "127.0.0.1:0"]);
    let set = |title: &str| {
        let ended = node.cli(&dir, &["reconcile", "set", "note:1", "title", title]);
        assert_eq!(ended.code, 0, "{ended:?}");
    };
    let shown = || peer.get(NOTE);
    let title = |title: &str| shown().status == 200 && shown().json()["view"]["title"] == title;
    assert_eq!(node.cli(&dir, &["reconcile", "show", "note:1"]).code, 0);
    let sources = node.cli(&dir, &["reconcile", "status", "--json"]).json();
    let key = sources[0]["public_key"].as_str().unwrap().to_owned();
    let trusted = super::harness::run(dir.path(), &["key", "trust", &key, "notes"]);
    assert_eq!(trusted.code, 0, "{trusted:?}");
    until("the document comes", || title("Dogs"));
    sql(dir.path(), "UPDATE notes SET title = 'All dogs', rev = 2 WHERE id = '1'");
    until("a deploy comes", || title("All dogs"));
    set("Mine");
    until("an edit comes", || title("Mine"));
    peer.patch(NOTE, r#"{"body": "typed elsewhere"}"#);
    let at_node = || node.cli(&dir, &["reconcile", "show", "note:1"]).stdout;
    until("an edit comes back", || at_node().contains("typed elsewhere"));
    peer.stop();
    node.stop();
}

/// It was found by its name only when it had been closed: never, as long as people go on editing.
#[test]
fn a_document_that_a_peer_has_can_be_asked_for_while_it_is_edited_there() {
    let (dir, other) = (setting(), tempdir().unwrap());
    let node = Node::start(&dir);
    let peer = Node::start_with(&other, &["--listen", "127.0.0.1:0", "--peer", &node.sync_url()]);
    let mut edits = 0;
    until("the copy can be asked for", || {
        edits += 1;
        let body = json!({"body": format!("Feed them {edits} times.")});
        assert_eq!(node.patch(NOTE, &body.to_string()).status, 200);
        peer.get(NOTE).status == 200
    });
    until("both are alike", || peer.get(NOTE).json()["view"] == show(&node)["view"]);
    assert_eq!(listed(&peer, "note:1")["state"], "live");
    peer.stop();
    node.stop();
}

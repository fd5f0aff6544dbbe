//! How changes of a database are noticed: by an outbox, by scans, by sweeps; and what happens while nobody is to follow.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::{Node, until};
use super::workflows::{
    DOCUMENT, OTHER, database, follows, install, kill, setting, show, show_one, source, sql, two_roots,
    verified,
};

/// All that a database's schema has, and all rows of the application's tables.
fn everything(dir: &TempDir) -> Vec<String> {
    let database = database(dir.path());
    let all = |query: &str| -> Vec<String> {
        let mut query = database.prepare(query).unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let mut found =
        all("SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_master ORDER BY type, name");
    found.extend(all("SELECT quote(id) || quote(name) || quote(lock_version) FROM workflows ORDER BY id"));
    found.extend(all("SELECT quote(id) || quote(name) || quote(body) FROM jobs ORDER BY id"));
    found
}

/// A node that follows two roots by an outbox, and has opened the first one.
fn with_outbox(more: &str) -> (TempDir, Node) {
    let dir = two_roots(more);
    let node = Node::start(&dir);
    show(&node);
    install(&dir, &node);
    (dir, node)
}

/// Waits until all that the feed had to say before this was run: the other root is deployed, and then nothing waits.
fn passed(dir: &TempDir, node: &Node, name: &str) {
    sql(
        dir.path(),
        &format!("UPDATE workflows SET name = '{name}', lock_version = lock_version + 1 WHERE id = '43'"),
    );
    until("the other root", || show_one(node, OTHER)["view"]["name"] == name);
    until("nothing waits", || source(node)["pending"] == 0);
}

#[test]
fn an_outbox_is_added_when_asked_for_followed_and_removed_without_a_trace() {
    let dir = two_roots("");
    let node = Node::start(&dir);
    show(&node);
    assert_eq!(source(&node)["feed"], "scan");
    let before = everything(&dir);
    let dry = node.cli(&dir, &["reconcile", "install", "workflows", "--dry-run"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    assert!(dry.stdout.contains("CREATE TABLE") && dry.stdout.contains("CREATE TRIGGER"), "{dry:?}");
    let unasked = node.cli(&dir, &["reconcile", "install", "workflows"]);
    assert_eq!(unasked.code, 2, "{unasked:?}");
    assert_eq!(everything(&dir), before, "nobody has said yes");
    let installed = node.cli(&dir, &["reconcile", "install", "workflows", "--yes"]);
    assert_eq!(installed.code, 0, "{installed:?}");
    assert!(installed.stdout.starts_with(&dry.stdout), "what was done is what was shown: {installed:?}");
    let with_outbox = everything(&dir);
    let is_ours = |line: &&String| line.split(' ').nth(1).is_some_and(|name| name.starts_with("gangline_"));
    let (ours, others): (Vec<&String>, Vec<&String>) = with_outbox.iter().partition(is_ours);
    assert!(ours.len() > 3, "{ours:?}");
    assert_eq!(others, before.iter().collect::<Vec<_>>(), "nothing that was there is touched");
    until("the outbox is read", || source(&node)["feed"] == "outbox");
    sql(
        dir.path(),
        "BEGIN; UPDATE jobs SET name = 'deployed' WHERE id = 'j1'; DELETE FROM edges;
         UPDATE workflows SET lock_version = 2 WHERE id = '42'; COMMIT",
    );
    follows(&node, 2);
    assert_eq!(show(&node)["view"]["jobs"]["j1"]["name"], "deployed");
    let again = node.cli(&dir, &["reconcile", "install", "workflows", "--yes"]);
    assert_eq!((again.code, again.stdout.contains("already")), (0, true), "{again:?}");
    let removed = node.cli(&dir, &["reconcile", "uninstall", "workflows", "--yes"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    sql(
        dir.path(),
        "UPDATE jobs SET name = 'build' WHERE id = 'j1'; UPDATE workflows SET lock_version = 1 WHERE id = '42'",
    );
    assert_eq!(everything(&dir), before);
    sql(dir.path(), "UPDATE workflows SET name = 'by a scan', lock_version = 3 WHERE id = '42'");
    follows(&node, 3);
    assert_eq!((&source(&node)["feed"], &source(&node)["missed"]), (&json!("scan"), &json!(0)));
    verified(&node);
    node.stop();
}

#[test]
fn what_a_feed_missed_is_found_by_a_sweep_and_counted() {
    let (dir, node) = with_outbox("sweep = \"1s\"");
    passed(&dir, &node, "swept once");
    assert_eq!(source(&node)["missed"], 0);
    // A writer for whom the triggers were not there.
    let writer = database(dir.path());
    let triggers = "SELECT group_concat('DROP TRIGGER ' || name || ';', ' '), group_concat(sql || ';', ' ')
                    FROM sqlite_master WHERE type = 'trigger'";
    let (drop, create): (String, String) =
        writer.query_row(triggers, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let write = "UPDATE workflows SET name = 'unsaid', lock_version = 2 WHERE id = '42'";
    writer.execute_batch(&format!("BEGIN; {drop} {write}; {create} COMMIT")).unwrap();
    follows(&node, 2);
    assert_eq!(show(&node)["view"]["name"], "unsaid");
    until("it is counted", || source(&node)["missed"] == 1);
    passed(&dir, &node, "swept again");
    assert_eq!((&source(&node)["missed"], &source(&node)["feed"]), (&json!(1), &json!("outbox")));
    node.stop();
}

#[test]
fn a_trigger_that_somebody_drops_leaves_the_feed_to_scans() {
    let (dir, node) = with_outbox("");
    sql(
        dir.path(),
        "DROP TRIGGER gangline_workflows_jobs_au; UPDATE jobs SET name = 'unsaid' WHERE id = 'j1'",
    );
    until("it is followed", || show(&node)["view"]["jobs"]["j1"]["name"] == "unsaid");
    until("it is known", || source(&node)["feed"] == "scan");
    node.stop();
}

#[test]
fn entries_that_are_gone_before_they_were_read_are_made_up_for() {
    let (dir, node) = with_outbox("");
    // Whoever cleans up the outbox leaves the last one: it names the other root alone.
    sql(
        dir.path(),
        "BEGIN;
         UPDATE jobs SET body = body || 'three' WHERE id = 'j1';
         UPDATE workflows SET name = 'unsaid', lock_version = 2 WHERE id = '42';
         UPDATE workflows SET name = 'said', lock_version = 2 WHERE id = '43';
         DELETE FROM gangline_outbox WHERE kind = 'row' AND seq < (SELECT max(seq) FROM gangline_outbox);
         COMMIT",
    );
    follows(&node, 2);
    assert_eq!(show(&node)["view"]["jobs"]["j1"]["body"], "one\ntwo\nthree");
    passed(&dir, &node, "last");
    assert_eq!(source(&node)["missed"], 0, "a gap is known of");
    verified(&node);
    node.stop();
}

#[test]
fn entries_that_come_twice_or_in_another_order_say_nothing_new() {
    let (dir, node) = with_outbox("");
    sql(
        dir.path(),
        "UPDATE jobs SET name = 'deployed' WHERE id = 'j1'; UPDATE workflows SET lock_version = 2 WHERE id = '42'",
    );
    follows(&node, 2);
    passed(&dir, &node, "first");
    let (before, batches) = (show(&node), source(&node)["batches"].as_u64().unwrap());
    let columns = "source, kind, key, tag, at";
    for order in ["seq", "seq DESC", "key, seq DESC"] {
        sql(
            dir.path(),
            &format!(
                "INSERT INTO gangline_outbox ({columns}) SELECT {columns} FROM gangline_outbox
                 WHERE kind = 'row' ORDER BY {order}"
            ),
        );
    }
    passed(&dir, &node, "second");
    assert_eq!(show(&node), before, "no op");
    assert_eq!(source(&node)["batches"], batches + 1, "that of the other root");
    assert_eq!((&source(&node)["failed"], &source(&node)["missed"]), (&json!(0), &json!(0)));
    node.stop();
}

#[test]
fn entries_that_anybody_made_up_do_no_harm() {
    let (dir, node) = with_outbox("");
    passed(&dir, &node, "first");
    let before = show(&node);
    let files = || fs::read_dir(dir.path().join("gangline-data/documents")).unwrap().count();
    let (count, listed) = (files(), node.get("/api/v1/documents").json().as_array().unwrap().len());
    sql(
        dir.path(),
        "INSERT INTO gangline_outbox (source, kind, key, tag, at) VALUES
           ('workflows', 'row', 'nobody', 1, 0), ('workflows', 'row', '', 1, 0), ('workflows', 'row', NULL, NULL, NULL),
           ('workflows', 'row', x'ff00', 'tag', 'at'), ('workflows', 'row', 42, 1.5, -1),
           ('workflows', 'row', 'nul' || char(0), 1, 0), ('workflows', 'row', CAST(x'ff' AS TEXT), 1, 0),
           ('workflows', 'row', CAST(zeroblob(100000) AS TEXT), 1, 0), ('workflows', 'nonsense', '42', 1, 0),
           ('strangers', 'row', '42', 1, 0), (NULL, NULL, NULL, NULL, NULL), ('workflows', 'save', '42', 1, 0),
           ('workflows', 'row', '42', 1, 9223372036854775807), ('workflows', 'row', '../43', 1, 0)",
    );
    passed(&dir, &node, "second");
    assert_eq!(show(&node), before);
    assert_eq!((files(), node.get("/api/v1/documents").json().as_array().unwrap().len()), (count, listed));
    node.get("/api/v1/documents/workflow:nobody").refused(404, "no_such_document");
    let how = source(&node);
    assert_eq!(
        (&how["failed"], &how["state"], &how["feed"]),
        (&json!(0), &json!("following"), &json!("outbox"))
    );
    // One far ahead is a gap for whoever reads next, and not the end.
    sql(
        dir.path(),
        "INSERT INTO gangline_outbox (seq, source, kind, key) VALUES (1000000, 'workflows', 'row', 'x')",
    );
    sql(dir.path(), "UPDATE workflows SET name = 'on', lock_version = 2 WHERE id = '42'");
    follows(&node, 2);
    passed(&dir, &node, "third");
    assert_eq!(source(&node)["feed"], "outbox");
    verified(&node);
    node.stop();
}

#[test]
fn a_paused_source_follows_nothing_says_so_and_makes_up_for_it() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    show(&node);
    let paused = node.cli(&dir, &["reconcile", "pause", "workflows"]);
    assert_eq!(paused.code, 0, "{paused:?}");
    assert_eq!(source(&node)["state"], "paused");
    sql(dir.path(), "UPDATE workflows SET name = 'later', lock_version = 2");
    until("it is noticed", || source(&node)["pending"] == 1);
    assert_eq!(show(&node)["version"], 1);
    // A kill is no way to go on.
    kill(node);
    let node = Node::start(&dir);
    assert_eq!(source(&node)["state"], "paused");
    until("it is noticed again", || source(&node)["pending"] == 1);
    let still = show(&node);
    assert_eq!((&still["version"], &still["view"]["name"]), (&json!(1), &json!("deploy")));
    let planned: Value = node.get(&format!("{DOCUMENT}/plan")).json();
    assert_eq!((&planned["from"], &planned["to"]), (&json!(1), &json!(2)), "looking is free");
    sql(
        dir.path(),
        "INSERT INTO jobs VALUES ('j3', '42', 'new', 'x', NULL); UPDATE workflows SET lock_version = 3",
    );
    let resumed = node.cli(&dir, &["reconcile", "resume", "workflows"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    follows(&node, 3);
    let shown = show(&node);
    assert_eq!(
        (&shown["view"]["name"], &shown["view"]["jobs"]["j3"]["name"]),
        (&json!("later"), &json!("new"))
    );
    assert_eq!(source(&node)["state"], "following");
    verified(&node);
    node.stop();
}

/// After how many looks at its notes a node is killed that follows a deploy.
const KILLS: [usize; 12] = [0, 3, 6, 10, 15, 20, 30, 45, 60, 80, 100, 150];

fn killed_while_it_follows(with_outbox: bool) {
    let dir = setting("merge");
    let node = Node::start(&dir);
    show(&node);
    if with_outbox {
        install(&dir, &node);
    }
    kill(node);
    for (round, looks) in KILLS.into_iter().enumerate() {
        let node = Node::start(&dir);
        sql(
            dir.path(),
            &format!(
                "BEGIN; UPDATE jobs SET body = body || '{round}' || char(10) WHERE id = 'j1';
                 INSERT INTO jobs VALUES ('r{round}', '42', 'new', 'x', NULL);
                 UPDATE workflows SET name = 'n{round}', lock_version = lock_version + 1; COMMIT"
            ),
        );
        let notes = dir.path().join("gangline-data/documents/notes.db");
        for _ in 0..looks {
            let notes =
                rusqlite::Connection::open_with_flags(&notes, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY);
            notes.unwrap().query_row("SELECT count(*) FROM note", [], |row| row.get::<_, i64>(0)).unwrap();
        }
        kill(node);
    }
    let node = Node::start(&dir);
    // Without anybody who opens it.
    until("it is followed", || {
        let listed = node.get("/api/v1/documents").json();
        listed[0]["version"] == 1 + KILLS.len() || listed[0]["state"] == "stored"
    });
    let last = show(&node);
    assert_eq!(last["version"], 1 + KILLS.len());
    assert_eq!(last["view"]["name"], format!("n{}", KILLS.len() - 1));
    let lines: String = (0..KILLS.len()).map(|round| format!("{round}\n")).collect();
    assert_eq!(last["view"]["jobs"]["j1"]["body"], format!("one\ntwo\n{lines}"));
    assert_eq!(last["view"]["jobs"].as_object().unwrap().len(), 2 + KILLS.len());
    assert_eq!((&last["unsaved"], &last["conflicts"]), (&json!([]), &json!([])));
    let history = node.get(&format!("{DOCUMENT}/history?limit=1000")).json();
    assert!(history.as_array().unwrap().len() <= 1 + KILLS.len(), "no version is said twice");
    verified(&node);
    node.stop();
}

#[test]
fn a_node_that_is_killed_while_it_follows_goes_on_where_it_was() {
    killed_while_it_follows(false);
}

#[test]
fn a_node_that_is_killed_while_it_follows_an_outbox_goes_on_where_it_was() {
    killed_while_it_follows(true);
}

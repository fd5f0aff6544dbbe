//! What is told of a document whose database changes: of what kind it was, by whom, and with which id.

use std::io::{BufRead as _, BufReader, Write as _};

use serde_json::{Value, json};

use super::harness::{Node, until};
use super::workflows::{DOCUMENT, Stream, edit, follows, save, setting, show, sql, verified};

/// Events of a stream with their ids, from the first position up to the first one of a kind.
fn from_the_beginning(node: &Node, last: &str) -> Vec<(String, Option<String>, Value)> {
    let mut stream = node.connect();
    write!(stream, "GET /api/v1/watch?document=workflow:42&from=0 HTTP/1.1\r\nhost: {}\r\n\r\n", node.addr)
        .unwrap();
    let (mut event, mut id, mut events) = (String::new(), None, Vec::new());
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        if let Some(name) = line.strip_prefix("event: ") {
            event = name.to_owned();
        } else if let Some(named) = line.strip_prefix("id: ") {
            id = Some(named.to_owned());
        } else if let Some(data) = line.strip_prefix("data: ") {
            events.push((event.clone(), id.take(), serde_json::from_str(data).unwrap()));
            if event == last {
                return events;
            }
        }
    }
    panic!("the stream ended before {last}: {events:?}");
}

#[test]
fn a_root_that_is_deleted_is_told_as_that_and_not_as_saved_and_so_is_one_that_is_back() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    edit(&node, &json!({"jobs": {"j9": {"name": "draft"}}}));
    let mut amy = Stream::of(&node, "amy");
    amy.until("ready");
    sql(
        dir.path(),
        "PRAGMA foreign_keys = OFF; CREATE TABLE kept AS SELECT * FROM workflows; DELETE FROM workflows",
    );
    let gone = amy.until("db_changed");
    assert_eq!(
        (&gone["root"], &gone["changes"], &gone["unsaved_left"]),
        (&json!("gone"), &json!([]), &json!(1))
    );
    assert_eq!(show(&node)["deleted"], true);
    sql(dir.path(), "INSERT INTO workflows SELECT * FROM kept");
    let back = amy.until("db_changed");
    assert_eq!((&back["root"], &back["mapping_changed"]), (&json!("back"), &json!(false)));
    sql(dir.path(), "UPDATE workflows SET deleted_at = 'today', lock_version = 2");
    assert_eq!(amy.until("db_changed")["root"], "gone", "as one that is marked as deleted is");
    sql(dir.path(), "UPDATE workflows SET deleted_at = NULL, lock_version = 3");
    assert_eq!(amy.until("db_changed")["root"], "back");
    save(&node);
    assert_eq!(amy.until("saved")["version"], 4);
    let kinds: Vec<String> = from_the_beginning(&node, "saved").into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "saved").count(), 1, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| *kind == "db_changed").count(), 5, "{kinds:?}");
    node.stop();
}

#[test]
fn only_the_last_event_of_a_change_has_its_id_so_that_a_broken_stream_loses_no_notice() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    edit(&node, &json!({"jobs": {"j1": {"adaptor": "mine"}}}));
    sql(dir.path(), "UPDATE workflows SET name = 'deployed', lock_version = 2");
    follows(&node, 2);
    save(&node);
    let events = from_the_beginning(&node, "saved");
    let told: Vec<(&str, Option<&str>)> =
        events.iter().map(|(kind, id, _)| (&**kind, id.as_deref())).collect();
    assert_eq!(
        told,
        [
            ("ready", Some("-1")),
            ("changed", None),
            ("db_changed", Some("0")),
            ("changed", Some("1")),
            ("changed", None),
            ("db_changed", Some("2")),
            // The save is announced, and has been done.
            ("changed", Some("3")),
            ("changed", None),
            ("saved", Some("4")),
        ]
    );
    node.stop();
}

#[test]
fn rows_that_change_under_one_version_are_followed_and_told_to_clients_history_and_metrics() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    let mut amy = Stream::of(&node, "amy");
    amy.until("ready");
    sql(dir.path(), "UPDATE workflows SET name = 'by a script'");
    let told = amy.until("db_changed");
    assert_eq!(
        (&told["version_stood_still"], &told["from"], &told["to"]),
        (&json!(true), &json!(1), &json!(1))
    );
    let audit = || {
        node.get(&format!("{DOCUMENT}/history")).json().as_array().unwrap().last().unwrap()["audit"].clone()
    };
    until("it is noted", || audit()["version_stood_still"] == true);
    let counted = |count: u64| {
        let line = format!("gangline_reconcile_stood_still_total{{source=\"workflows\"}} {count}");
        node.get("/metrics").body.lines().any(|it| it == line)
    };
    until("it is counted", || counted(1));
    let history = node.cli(&dir, &["reconcile", "history", "workflow:42"]);
    assert!(history.stdout.contains("the version stood still"), "{history:?}");
    sql(dir.path(), "UPDATE workflows SET name = 'by a deploy', lock_version = 2");
    assert_eq!(amy.until("db_changed")["version_stood_still"], false);
    follows(&node, 2);
    verified(&node);
    assert!(counted(1), "one that raises it is not counted");
    node.stop();
}

#[test]
fn who_wrote_the_database_is_told_after_a_restart_too() {
    let dir = setting("merge");
    let mut node = Node::start(&dir);
    show(&node);
    let pause = node.post("/api/v1/reconcile/workflows/pause", "");
    assert_eq!(pause.status, 200, "{pause:?}");
    sql(dir.path(), "UPDATE workflows SET name = 'deployed', lock_version = 2");
    let run = node.cli(&dir, &["reconcile", "run", "workflow:42", "--actor", "deploy 7"]);
    assert_eq!(run.code, 0, "{run:?}");
    node.process.signal("TERM");
    node.process.ended();
    let node = Node::start(&dir);
    edit(&node, &json!({"name": "mine"}));
    let resume = node.post("/api/v1/reconcile/workflows/resume", "");
    assert_eq!(resume.status, 200, "{resume:?}");
    save(&node);
    let events = from_the_beginning(&node, "saved");
    let actors: Vec<&Value> =
        events.iter().filter(|(kind, ..)| kind == "db_changed").map(|(.., data)| &data["actor"]).collect();
    assert_eq!(actors, [&Value::Null, &json!("deploy 7")]);
    node.stop();
}

#[test]
fn a_peer_without_the_database_calls_the_source_by_its_name() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    show(&node);
    let far = tempfile::tempdir().unwrap();
    let peer = Node::start_with(&far, &["--listen", "127.0.0.1:0", "--peer", &node.sync_url()]);
    until("it comes", || peer.get(DOCUMENT).status == 200);
    assert_eq!(
        (&show(&peer)["source"], &show(&peer)["reconciled_here"]),
        (&json!("workflows"), &json!(false))
    );
    let mut ben = Stream::of(&peer, "ben");
    ben.until("ready");
    assert_eq!(peer.get("/api/v1/documents").json()[0]["source"], "workflows");
    let shown = peer.cli(&far, &["reconcile", "show", "workflow:42"]);
    assert!(shown.stdout.starts_with("workflow:42: workflows, version 1"), "{shown:?}");
    let run = |version: u32| {
        sql(dir.path(), &format!("UPDATE workflows SET name = 'v{version}', lock_version = {version}"));
    };
    run(2);
    assert_eq!(ben.until("db_changed")["source"], "workflows");
    peer.stop();
    node.stop();
}

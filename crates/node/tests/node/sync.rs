//! Nodes in step with each other.

use serde_json::json;
use tempfile::tempdir;

use super::harness::Node;
use super::watch::Stream;

/// Waits on the node's own stream until an item shows `field` as `value`.
fn until(stream: &mut Stream, story_id: &str, field: &str, value: &str) {
    loop {
        let event = stream.next();
        if event.data["story_id"] == story_id && event.data["item"][field] == value {
            return;
        }
    }
}

#[test]
fn two_nodes_show_the_same_board_whoever_writes() {
    let (one, other) = (tempdir().unwrap(), tempdir().unwrap());
    let a = Node::start(&one);
    assert_eq!(a.post("/api/v1/items", r#"{"story_id":"early"}"#).status, 201);
    let b = Node::start_with(&other, &["--listen", "127.0.0.1:0", "--peer", &a.sync_url()]);
    let mut at_a = Stream::open(&a, None);
    let mut at_b = Stream::open(&b, Some("-1"));
    until(&mut at_b, "early", "stage", "1_backlog");
    assert_eq!(b.patch("/api/v1/items/early", r#"{"stage":"2_current"}"#).status, 200);
    until(&mut at_a, "early", "stage", "2_current");
    assert_eq!(a.post("/api/v1/items/early/claim", r#"{"agent":"ada"}"#).status, 200);
    until(&mut at_b, "early", "claimed_by", "ada");
    b.post("/api/v1/items/early/claim", r#"{"agent":"bob"}"#).refused(409, "already_claimed");
    assert_eq!(a.get("/api/v1/items/early").json()["claimed_by"], "ada");
    let status = b.get("/api/v1/status").json();
    assert_eq!(status["peers"][0]["url"], a.sync_url());
    assert_eq!(status["peers"][0]["direction"], "outbound");
    let history = b.get("/api/v1/items/early/history").json();
    let authors: std::collections::BTreeSet<_> =
        history.as_array().unwrap().iter().map(|entry| entry["author"].to_string()).collect();
    assert_eq!(authors.len(), 2);
    assert!(history.as_array().unwrap().iter().all(|entry| entry["signature"] == "verified"), "{history}");
}

#[test]
fn what_was_written_while_apart_is_kept_and_disputes_are_shown() {
    let (one, other) = (tempdir().unwrap(), tempdir().unwrap());
    let a = Node::start(&one);
    let b = Node::start(&other);
    for (node, agent) in [(&a, "ada"), (&b, "bob")] {
        let body = json!({ "story_id": "same", "name": agent }).to_string();
        assert_eq!(node.post("/api/v1/items", &body).status, 201);
        let body = json!({ "agent": agent }).to_string();
        assert_eq!(node.post("/api/v1/items/same/claim", &body).status, 200);
    }
    let addr = b.addr.clone();
    b.stop();
    // Back with a peer: both hold an item of that name, and both had claimed it.
    let b = Node::start_with(&other, &["--listen", &addr, "--peer", &a.sync_url()]);
    let mut at_a = Stream::open(&a, Some("-1"));
    let mut at_b = Stream::open(&b, Some("-1"));
    // Three changes each: the add and the two fields of the claim.
    for stream in [&mut at_a, &mut at_b] {
        while stream.next().id != "5" {}
    }
    let (at_a, at_b) = (a.get("/api/v1/items"), b.get("/api/v1/items"));
    assert_eq!(at_a.body, at_b.body);
    assert_eq!(at_a.json().as_array().unwrap().len(), 1);
    let shown = at_a.json()[0]["claimed_by"].as_str().unwrap().to_owned();
    let loser = if shown == "ada" { "bob" } else { "ada" };
    for node in [&a, &b] {
        let conflicts = node.get("/api/v1/items/same/conflicts").json();
        let lost =
            conflicts.as_array().unwrap().iter().any(|c| c["field"] == "claimed_by" && c["value"] == loser);
        assert!(lost, "{conflicts}");
        assert_eq!(node.get("/api/v1/conflicts").json()["same"], conflicts);
    }
    // Setting the field settles it.
    assert_eq!(
        a.patch("/api/v1/items/same", r#"{"claimed_by":"ada","claimed_at":1,"name":"one"}"#).status,
        200
    );
    assert_eq!(a.get("/api/v1/conflicts").json(), json!({}));
}

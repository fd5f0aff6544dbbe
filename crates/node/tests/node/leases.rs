//! Leases among processes that share one log: who holds a space, how it is handed over, and what a death costs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::harness::{Ended, Node, Process, run, until};

const SPACE: &str = "/api/v1/spaces/s";

/// Two places for nodes that keep their logs in one folder.
fn pair(ttl: &str) -> (TempDir, TempDir, TempDir) {
    pair_on("sqlite", ttl)
}

fn pair_on(backend: &str, ttl: &str) -> (TempDir, TempDir, TempDir) {
    let shared = tempdir().unwrap();
    let place = || {
        let dir = tempdir().unwrap();
        let path = shared.path().join("logs");
        let text =
            format!("[log_store]\nbackend = \"{backend}\"\npath = {path:?}\n[lease]\nttl = \"{ttl}\"\n");
        std::fs::write(dir.path().join("gangline.toml"), text).unwrap();
        dir
    };
    let (a, b) = (place(), place());
    (shared, a, b)
}

fn append(node: &Node, id: &str) -> Value {
    let body = json!({ "type": "T", "id": id, "payload": {} }).to_string();
    let answer = node.post(&format!("{SPACE}/events"), &body);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

fn lease(node: &Node) -> Value {
    node.get(&format!("{SPACE}/lease")).json()
}

fn ids(node: &Node) -> Vec<String> {
    let events = node.get(&format!("{SPACE}/events")).json();
    events.as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn one_node_holds_a_space_and_hands_it_over() {
    let (_shared, at_a, at_b) = pair("10s");
    let (a, b) = (Node::start(&at_a), Node::start(&at_b));
    assert_eq!(
        lease(&a),
        json!({
            "holder": null, "holder_name": null, "holder_url": null, "epoch": null, "expires_in_ms": 0, "here": false,
        })
    );
    assert_eq!(append(&a, "one")["epoch"], 1);
    let key = a.get("/api/v1/status").json()["node_id"].clone();
    let seen = lease(&b);
    assert_eq!((&seen["holder"], &seen["here"], &seen["epoch"]), (&key, &json!(false), &json!(1)));
    assert_eq!(seen["holder_url"], a.url);
    let left = seen["expires_in_ms"].as_u64().unwrap();
    assert!((1..=10_000).contains(&left), "{left}");

    let held = b.ask("POST", &format!("{SPACE}/lease"), &[], b"");
    assert!(!held.head.contains("retry-after"), "{held:?}");
    let held = held.refused(409, "lease_held");
    assert_eq!((&held["holder"], &held["holder_url"]), (&key, &json!(a.url)));
    assert!(held["expires_in_ms"].as_u64().unwrap() <= 10_000);
    b.ask("DELETE", &format!("{SPACE}/lease"), &[], b"").refused(409, "lease_held");
    let refused = b.cli(&at_b, &["lease", "acquire", "s"]);
    assert_eq!(refused.code, 4, "{refused:?}");

    assert_eq!(a.ask("DELETE", &format!("{SPACE}/lease"), &[], b"").status, 204);
    assert_eq!(a.ask("DELETE", &format!("{SPACE}/lease"), &[], b"").status, 204, "twice is once");
    let got = b.ask("POST", &format!("{SPACE}/lease"), &[], b"");
    assert_eq!((got.status, &got.json()["epoch"], &got.json()["here"]), (200, &json!(2), &json!(true)));
    let kept = b.ask("POST", &format!("{SPACE}/lease"), &[], b"").json();
    assert_eq!(kept["epoch"], 2, "a renewal keeps the epoch");
    assert_eq!(append(&b, "two")["epoch"], 2);
    assert_eq!(ids(&a), ["one", "two"]);
}

#[test]
fn a_node_that_stops_lets_go_at_once_and_one_that_is_killed_takes_its_own_back() {
    // Nobody would wait this out.
    let (_shared, at_a, at_b) = pair("10m");
    let (a, b) = (Node::start(&at_a), Node::start(&at_b));
    assert_eq!(append(&a, "one")["epoch"], 1);
    a.stop();
    assert_eq!(lease(&b)["holder"], Value::Null);
    assert_eq!(append(&b, "two")["epoch"], 2);

    let mut b = b;
    b.process.child.kill().unwrap();
    b.process.child.wait().unwrap();
    let b = Node::start(&at_b);
    assert_eq!(lease(&b)["epoch"], 2, "it runs on");
    assert_eq!(append(&b, "three")["epoch"], 3, "its own, under a new epoch");
    let body = json!({ "type": "T", "id": "two", "payload": {} }).to_string();
    assert_eq!(b.post(&format!("{SPACE}/events"), &body).status, 200, "what was acknowledged is there");
    assert_eq!(ids(&b), ["one", "two", "three"]);
}

#[test]
fn another_node_takes_over_when_the_lease_of_a_dead_one_has_run_out() {
    let (_shared, at_a, at_b) = pair("1s");
    let (mut a, b) = (Node::start(&at_a), Node::start(&at_b));
    append(&a, "one");
    a.process.child.kill().unwrap();
    a.process.child.wait().unwrap();
    // It waits for the end of the lease by itself.
    assert_eq!(append(&b, "two")["epoch"], 2);
    assert_eq!(ids(&b), ["one", "two"]);
    let verified = b.cli(&at_b, &["log", "verify", "s"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

#[test]
fn a_lease_in_use_is_renewed() {
    let (_shared, at_a, _b) = pair("2s");
    let a = Node::start(&at_a);
    append(&a, "one");
    #[expect(clippy::disallowed_methods, reason = "longer than a lease lasts")]
    let (start, now) = (Instant::now(), Instant::now);
    while now() - start < Duration::from_millis(4_500) {
        let lease = lease(&a);
        assert_eq!((&lease["here"], &lease["epoch"]), (&json!(true), &json!(1)), "{lease}");
    }
    assert_eq!(append(&a, "two")["epoch"], 1);
}

#[test]
fn leases_by_command() {
    let (_shared, at_a, at_b) = pair("10s");
    let (a, b) = (Node::start(&at_a), Node::start(&at_b));
    let done = |node: &Node, args: &[&str]| -> Ended {
        let ended = node.cli(&at_a, args);
        assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
        ended
    };
    assert_eq!(done(&a, &["lease", "status", "s"]).stdout, "s: nobody holds it\n");
    let watch = Process::spawn(at_a.path(), &["--node", &b.url, "--json", "lease", "watch", "s"]);
    let change = || serde_json::from_str::<Value>(&watch.stdout.next()).unwrap()["epoch"].clone();
    assert_eq!(change(), Value::Null);
    assert_eq!(done(&a, &["--json", "lease", "acquire", "s"]).json()["here"], true);
    assert_eq!(change(), 1);
    let status = done(&b, &["lease", "status", "s"]).stdout;
    assert!(
        status.starts_with("s: ") && status.contains(", epoch 1, ") && status.ends_with(" s left\n"),
        "{status}"
    );
    assert_eq!(done(&a, &["lease", "release", "s"]).stdout, "released s\n");
    assert_eq!(change(), Value::Null);
    until("the release seen everywhere", || lease(&b)["holder"].is_null());
    let nobody = run(at_a.path(), &["--node", "http://127.0.0.1:9", "lease", "status", "s"]);
    assert_eq!(nobody.code, 6, "{nobody:?}");
}

#[test]
fn logs_in_git_are_shared_and_verified_as_a_repository() {
    let (shared, at_a, at_b) = pair_on("git", "10m");
    let (a, b) = (Node::start(&at_a), Node::start(&at_b));
    append(&a, "one");
    b.ask("POST", &format!("{SPACE}/lease"), &[], b"").refused(409, "lease_held");
    a.stop();
    assert_eq!(append(&b, "two")["epoch"], 2);
    assert_eq!(b.get("/api/v1/status").json()["log"]["backend"], "git");
    b.stop();
    let repository = shared.path().join("logs").to_str().unwrap().to_owned();
    let verified = run(at_a.path(), &["--json", "log", "verify", "s", "--git", &repository]);
    assert_eq!((verified.code, &verified.json()["events"]), (0, &json!(2)), "{verified:?}");
}

#[test]
fn logs_in_memory_end_with_their_node() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("gangline.toml"), "[log_store]\nbackend = \"memory\"\n").unwrap();
    let node = Node::start(&dir);
    append(&node, "one");
    assert_eq!(node.get("/api/v1/status").json()["log"]["backend"], "memory");
    assert!(!dir.path().join("gangline-data/log.db").exists());
    node.stop();
    let node = Node::start(&dir);
    node.get(&format!("{SPACE}/events")).refused(404, "no_such_space");
}

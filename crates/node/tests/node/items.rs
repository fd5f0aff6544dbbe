//! The items routes: the life of an item, and every refusal.

use std::io::{Read, Write};

use serde_json::json;
use tempfile::tempdir;

use super::harness::Node;

const ITEMS: &str = "/api/v1/items";

#[test]
fn the_life_of_an_item() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    assert_eq!(node.get(ITEMS).json(), json!([]));
    let added = node.post(ITEMS, r#"{"story_id":"story/1 ä"}"#);
    assert_eq!(added.status, 201);
    assert!(added.head.contains("location: /api/v1/items/story%2f1%20%c3%a4"), "{}", added.head);
    assert_eq!(
        added.body,
        r#"{"story_id":"story/1 ä","stage":"1_backlog","name":"","agent":"","retry_count":0,"blocked":false,"depends_on":"","claimed_by":"","claimed_at":0}"#
    );
    let place = "/api/v1/items/story%2F1%20%C3%A4";
    assert_eq!(node.get(place).json(), added.json());
    let changed = node.patch(place, r#"{"stage":"9_elsewhere","retry_count":2,"blocked":true,"name":"N"}"#);
    assert_eq!(changed.status, 200);
    let item = changed.json();
    assert_eq!(
        (&item["stage"], &item["retry_count"], &item["blocked"]),
        (&json!("9_elsewhere"), &json!(2), &json!(true))
    );
    assert_eq!(node.patch(place, "{}").json(), item, "nothing to change");

    let claimed = node.post(&format!("{place}/claim"), r#"{"agent":"ada"}"#);
    assert_eq!(claimed.status, 200);
    assert_eq!(claimed.json()["claimed_by"], "ada");
    assert!(claimed.json()["claimed_at"].as_f64().unwrap() > 1.7e9);
    let refused = node.post(&format!("{place}/claim"), r#"{"agent":"bob"}"#).refused(409, "already_claimed");
    assert_eq!(refused["claimed_by"], "ada");
    assert_eq!(node.post(&format!("{place}/claim"), r#"{"agent":"ada"}"#).status, 200, "twice is once");
    node.post(&format!("{place}/release"), r#"{"agent":"bob"}"#).refused(409, "already_claimed");
    let released = node.post(&format!("{place}/release"), "");
    assert_eq!((released.status, &released.json()["claimed_by"]), (200, &json!("")));

    let history = node.get(&format!("{place}/history")).json();
    let actions: Vec<_> =
        history.as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions[..5], ["add", "set", "set", "set", "set"]);
    assert!(history.as_array().unwrap().iter().all(|entry| entry["signature"] == "verified"));
    assert_eq!(node.get(&format!("{place}/conflicts")).json(), json!([]));
    assert_eq!(node.get("/api/v1/conflicts").json(), json!({}));

    assert_eq!(node.ask("DELETE", place, &[], b"").status, 204);
    node.ask("DELETE", place, &[], b"").refused(404, "unknown_item");
    assert_eq!(node.get(ITEMS).json(), json!([]));
}

#[test]
fn items_come_in_document_order() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    for id in ["c", "a", "b"] {
        assert_eq!(node.post(ITEMS, &json!({ "story_id": id }).to_string()).status, 201);
    }
    let items = node.get(ITEMS).json();
    let ids: Vec<_> =
        items.as_array().unwrap().iter().map(|item| item["story_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["c", "a", "b"]);
}

#[test]
fn every_refusal_names_what_is_wrong_and_changes_nothing() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    assert_eq!(node.post(ITEMS, r#"{"story_id":"a"}"#).status, 201);
    let before = node.get("/api/v1/status").json()["documents"].clone();
    for (body, status, code, field) in [
        (r#"{"story_id":"a"}"#, 409, "story_id_taken", "story_id"),
        ("{}", 422, "missing_field", "story_id"),
        (r#"{"story_id":""}"#, 422, "empty_field", "story_id"),
        (r#"{"story_id":7}"#, 422, "wrong_type", "story_id"),
        (r#"{"story_id":"b","stagee":"x"}"#, 422, "unknown_field", "stagee"),
        (r#"{"story_id":"b","stage":null}"#, 422, "wrong_type", "stage"),
        (r#"{"story_id":"b","retry_count":"1"}"#, 422, "wrong_type", "retry_count"),
        (r#"{"story_id":"b","blocked":1}"#, 422, "wrong_type", "blocked"),
        (r#"{"story_id":"b","claimed_at":[]}"#, 422, "wrong_type", "claimed_at"),
    ] {
        let problem = node.post(ITEMS, body).refused(status, code);
        assert_eq!(problem["field"], field, "{body}");
    }
    for (body, field) in
        [(r#"{"story_id":"z"}"#, "story_id"), (r#"{"stag":"z"}"#, "stag"), (r#"{"name":1}"#, "name")]
    {
        let answer = node.patch("/api/v1/items/a", body);
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)));
    }
    node.post(ITEMS, "[]").refused(422, "not_an_object");
    for body in ["", "{", "nonsense", "{\"story_id\":\"b\",\"story_id\":\"c\"}", "{\"story_id\":1e999}"] {
        node.post(ITEMS, body).refused(400, "bad_json");
    }
    node.ask("POST", ITEMS, &[], &[b'"', 0xff, b'"']).refused(400, "bad_json");
    node.post(ITEMS, &"[".repeat(200_000)).refused(400, "bad_json");
    node.get("/api/v1/items/nope").refused(404, "unknown_item");
    node.patch("/api/v1/items/nope", "{}").refused(404, "unknown_item");
    node.post("/api/v1/items/nope/claim", "").refused(404, "unknown_item");
    node.post("/api/v1/items/nope/release", "").refused(404, "unknown_item");
    node.get("/api/v1/items/nope/history").refused(404, "unknown_item");
    node.get("/api/v1/items/nope/conflicts").refused(404, "unknown_item");
    node.get("/api/v1/items/%ff").refused(400, "bad_path");
    node.post("/api/v1/items/a/claim", r#"{"agent":""}"#).refused(422, "empty_field");
    node.post("/api/v1/items/a/claim", r#"{"agent":1}"#).refused(422, "wrong_type");
    node.post("/api/v1/items/a/claim", r#"{"who":"x"}"#).refused(422, "unknown_field");
    node.get("/api/v1/nothing").refused(404, "no_such_route");
    let wrong = node.ask("PUT", ITEMS, &[], b"");
    wrong.refused(405, "method_not_allowed");
    assert!(wrong.head.contains("allow: "), "{}", wrong.head);
    assert_eq!(node.get("/api/v1/status").json()["documents"], before);
}

#[test]
fn a_large_body_is_refused_while_the_node_goes_on() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let large = vec![b'x'; 64 << 20];
    node.ask("POST", ITEMS, &[], &large).refused(413, "body_too_large");
    // Told before anything is sent, to a client that asks first.
    let mut stream = node.connect();
    let head = format!(
        "POST {ITEMS} HTTP/1.1\r\nhost: {}\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\nconnection: close\r\n\r\n",
        node.addr
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(node.get(ITEMS).json(), json!([]));
}

#[test]
fn an_idempotency_key_makes_a_write_happen_once() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let key = [("idempotency-key", "k1")];
    let first = node.ask("POST", ITEMS, &key, br#"{"story_id":"a"}"#);
    let again = node.ask("POST", ITEMS, &key, br#"{"story_id":"a"}"#);
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    node.ask("POST", ITEMS, &key, br#"{"story_id":"b"}"#).refused(422, "idempotency_key_reused");
    node.ask("PATCH", "/api/v1/items/a", &key, br#"{"story_id":"a"}"#).refused(422, "idempotency_key_reused");
    node.ask("POST", ITEMS, &[("idempotency-key", "k2")], br#"{"story_id":"a"}"#)
        .refused(409, "story_id_taken");
    node.ask("POST", ITEMS, &[("idempotency-key", "")], br#"{"story_id":"c"}"#)
        .refused(400, "bad_idempotency_key");
    assert_eq!(node.get(ITEMS).json().as_array().unwrap().len(), 1);
    // Many at once are still one.
    std::thread::scope(|scope| {
        let asks: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| node.ask("POST", ITEMS, &[("idempotency-key", "k3")], br#"{"story_id":"d"}"#))
            })
            .collect();
        for ask in asks {
            assert_eq!(ask.join().unwrap().status, 201);
        }
    });
    assert_eq!(node.get(ITEMS).json().as_array().unwrap().len(), 2);
}

#[test]
fn of_two_claims_at_once_one_wins() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    assert_eq!(node.post(ITEMS, r#"{"story_id":"a"}"#).status, 201);
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let claims: Vec<_> = (0..8)
            .map(|n| {
                let (node, body) = (&node, json!({ "agent": format!("agent-{n}") }).to_string());
                scope.spawn(move || node.post("/api/v1/items/a/claim", &body).status)
            })
            .collect();
        claims.into_iter().map(|claim| claim.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
}

#[test]
fn the_description_and_the_metrics_are_served() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    assert_eq!(node.get("/api/v1/openapi.json").json()["openapi"], "3.1.0");
    node.get("/api/v1/items/nope");
    let metrics = node.get("/metrics").body;
    for line in [
        "gangline_http_refusals_total{code=\"unknown_item\"} 1",
        "gangline_ops 0",
        "gangline_watchers 0",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    let status = node.get("/api/v1/status").json();
    assert_eq!(status["health"], "ok");
    assert_eq!(status["documents"][0]["ops"], 0);
    assert_eq!(status["documents"][0]["id"], "0".repeat(64));
    assert_eq!(status["node_id"].as_str().unwrap().len(), 64);
}

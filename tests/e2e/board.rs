//! What scenarios do with a board, in words.

use gangline_tests::node::Node;
use serde_json::{Value, json};

/// Writes, and insists on success. Returns the item, if there is one to return.
#[track_caller]
pub(crate) fn write(node: &Node, method: &str, path: &str, body: &Value) -> Value {
    let answer = node.request(method, path, Some(body)).unwrap();
    assert!(matches!(answer.status, 200 | 201 | 204), "{method} {path}: {}", answer.json());
    if answer.status == 204 { Value::Null } else { answer.json() }
}

/// Adds an item.
#[track_caller]
pub(crate) fn add(node: &Node, story_id: &str) -> Value {
    write(node, "POST", "/api/v1/items", &json!({ "story_id": story_id }))
}

/// Changes fields of an item.
#[track_caller]
pub(crate) fn patch(node: &Node, story_id: &str, fields: &Value) -> Value {
    write(node, "PATCH", &format!("/api/v1/items/{story_id}"), fields)
}

/// Claims an item for `agent`.
#[track_caller]
pub(crate) fn claim(node: &Node, story_id: &str, agent: &str) -> Value {
    write(node, "POST", &format!("/api/v1/items/{story_id}/claim"), &json!({ "agent": agent }))
}

/// Finds an item among those that a node shows.
pub(crate) fn find<'a>(items: &'a Value, story_id: &str) -> Option<&'a Value> {
    items.as_array()?.iter().find(|item| item["story_id"] == story_id)
}

/// Returns the story ids that a node shows, in document order.
pub(crate) fn ids(items: &Value) -> Vec<&str> {
    items.as_array().unwrap().iter().map(|item| item["story_id"].as_str().unwrap()).collect()
}

/// Insists that all `nodes` show the same, byte for byte, and know of no author who lied. Returns the items.
#[track_caller]
pub(crate) fn assert_same_board(nodes: &[&Node]) -> Value {
    let mut shown = nodes.iter().map(|node| {
        let status = gangline_tests::observe::status(node).unwrap();
        assert_eq!(status["equivocations"], json!([]));
        node.request("GET", "/api/v1/items", None).unwrap().body
    });
    let first = shown.next().unwrap();
    for other in shown {
        assert!(first == other, "{}\n{}", String::from_utf8_lossy(&first), String::from_utf8_lossy(&other));
    }
    serde_json::from_slice(&first).unwrap()
}

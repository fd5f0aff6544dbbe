//! Two nodes and one board.

use serde_json::{Value, json};

use crate::Team;
use gangline_tests::node::Node;

fn add(node: &Node, story_id: &str) {
    let answer = node.request("POST", "/api/v1/items", Some(&json!({ "story_id": story_id }))).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.json());
}

fn ids(items: &Value) -> Vec<&str> {
    items.as_array().unwrap().iter().map(|item| item["story_id"].as_str().unwrap()).collect()
}

fn has(items: &Value, story_id: &str) -> bool {
    ids(items).contains(&story_id)
}

#[test]
fn both_boards_end_byte_identical() {
    let team = Team::new();
    let alice = team.plan("alice").start().unwrap();
    add(&alice, "before");
    let bob = team.plan("bob").peer(&alice).start().unwrap();
    bob.wait_for_items(|items| has(items, "before")).unwrap();

    add(&bob, "from-bob");
    add(&alice, "from-alice");
    let path = "/api/v1/items/before";
    assert_eq!(bob.request("PATCH", path, Some(&json!({ "stage": "2_current" }))).unwrap().status, 200);

    let is_done = |items: &Value| {
        has(items, "from-bob") && has(items, "from-alice") && items.to_string().contains("2_current")
    };
    alice.wait_for_items(is_done).unwrap();
    bob.wait_for_items(is_done).unwrap();
    let bytes = |node: &Node| node.request("GET", "/api/v1/items", None).unwrap().body;
    assert_eq!(bytes(&alice), bytes(&bob));
}

#[test]
fn a_killed_node_keeps_what_it_acknowledged_and_goes_on() {
    let team = Team::new();
    let plan = team.plan("alice");
    let mut expected = Vec::new();
    for round in 0..3 {
        let alice = plan.start().unwrap();
        let items = alice.items().unwrap();
        assert!(expected.iter().all(|id: &String| has(&items, id)), "lost in round {round}: {items}");
        for number in 0..5 {
            let id = format!("story-{round}-{number}");
            add(&alice, &id);
            expected.push(id);
        }
        alice.kill().unwrap();
    }
    let bob = team.plan("bob").start().unwrap();
    let alice = plan.peer(&bob).start().unwrap();
    bob.wait_for_items(|items| ids(items).len() == expected.len()).unwrap();
    let status = bob.request("GET", "/api/v1/status", None).unwrap().json();
    assert_eq!(status["equivocations"], json!([]), "a restarted node forked its own chain");
    assert!(alice.stop().unwrap().success());
}

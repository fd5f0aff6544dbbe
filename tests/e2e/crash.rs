//! Nodes are killed in the middle of a storm of writes. What they acknowledged is there when they are back,
//! and they go on with their own chain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use gangline_tests::http;
use gangline_tests::link::Link;
use gangline_tests::node::Node;
use gangline_tests::observe::{op_count, status, wait_for_one_history};
use gangline_tests::v1::{Author, Peer};
use serde_json::{Value, json};

use crate::Team;
use crate::board::{add, assert_same_board, find};

const ROUNDS: usize = 6;
/// Acknowledged writes after which a node is killed, in each round that many more, while others are under way.
const WRITES_UNTIL_KILL: usize = 40;
/// Per node.
const WRITERS: usize = 3;

/// Fields that items must show, as they were acknowledged last.
type Acknowledged = BTreeMap<String, BTreeMap<String, Value>>;

#[test]
fn no_acknowledged_write_is_lost_and_no_chain_forks() {
    let team = Team::new();
    // Alice starts on another port each time; the link finds her.
    let to_alice = Link::new().unwrap();
    let alice_plan = team.plan("alice");
    let bob_plan = team.plan("bob").through(&to_alice);
    let mut alice = alice_plan.start().unwrap();
    let mut bob = bob_plan.start().unwrap();
    to_alice.join(&alice);
    let authors = [author(&alice), author(&bob)];
    let mut expected = [Acknowledged::new(), Acknowledged::new()];
    let mut seq_before = 0;

    for round in 1..=ROUNDS {
        let addresses = [alice.address(), bob.address()];
        // In the end, both at once.
        let is_last = round == ROUNDS;
        let mut bob_who_stays = None;
        let acknowledged = storm(round, addresses, || {
            alice.kill().unwrap();
            if is_last {
                bob.kill().unwrap();
            } else {
                bob_who_stays = Some(bob);
            }
        });
        for (all, of_round) in expected.iter_mut().zip(acknowledged) {
            all.extend(of_round);
        }
        to_alice.cut();
        alice = alice_plan.start().unwrap();
        bob = bob_who_stays.unwrap_or_else(|| bob_plan.start().unwrap());
        // Nothing has come from the other node yet.
        assert_shows(&alice, &expected[0]);
        assert_shows(&bob, &expected[1]);

        assert_eq!([author(&alice), author(&bob)], authors, "a node came back as somebody else");
        let seq = seq_of_new_item(&alice, &format!("after-{round}"));
        assert!(seq > seq_before, "{seq} follows {seq_before}: the chain was cut short");
        seq_before = seq;

        to_alice.join(&alice);
        wait_for_one_history(&[&alice, &bob]).unwrap();
        assert_same_board(&[&alice, &bob]);
    }
    for (node, other) in [(&alice, &bob), (&bob, &alice)] {
        assert!(expected.iter().all(|of_node| of_node.len() > 10), "that was no storm");
        expected.iter().for_each(|of_node| assert_shows(node, of_node));
        assert_eq!(op_count(node).unwrap(), op_count(other).unwrap());
    }
}

#[test]
fn a_node_killed_while_it_catches_up_catches_up_later() {
    const OPS: usize = 3_000;
    let team = Team::new();
    let alice = team.plan("alice").start().unwrap();
    let mut carol = Author::new(3);
    let first = carol.add("moved on and on");
    let moves = (0..OPS).map(|number| carol.set_stage(0, &number.to_string()));
    let ops: Vec<_> = [first].into_iter().chain(moves).collect();
    let carol = Peer::connect(&alice, carol).unwrap();
    carol.send_bulk(&ops).unwrap();
    let is_moved = |items: &Value| {
        find(items, "moved on and on").is_some_and(|item| item["stage"] == json!((OPS - 1).to_string()))
    };
    alice.wait_for_items(is_moved).unwrap();

    let bob_plan = team.plan("bob").peer(&alice);
    let durable = |bob: &Node| status(bob).unwrap()["documents"][0]["durable"].as_u64().unwrap();
    let mut known = 0;
    for round in 0..3 {
        let bob = bob_plan.start().unwrap();
        assert!(durable(&bob) >= known, "{known} were durable, {} are left", durable(&bob));
        add(&bob, &format!("from-bob-{round}"));
        known = durable(&bob);
        bob.kill().unwrap();
    }
    let bob = bob_plan.start().unwrap();
    wait_for_one_history(&[&alice, &bob]).unwrap();
    assert!(is_moved(&assert_same_board(&[&alice, &bob])));
    assert_eq!(op_count(&bob).unwrap(), 3 + 1 + OPS as u64);
}

/// Lets writers loose on both nodes, calls `kill` in the middle of it, and returns what each node has
/// acknowledged.
fn storm(round: usize, nodes: [SocketAddr; 2], kill: impl FnOnce()) -> [Acknowledged; 2] {
    let is_over = AtomicBool::new(false);
    let (tell, acks) = mpsc::channel();
    let mut acknowledged = [Acknowledged::new(), Acknowledged::new()];
    thread::scope(|scope| {
        for (index, node) in nodes.into_iter().enumerate() {
            for writer in 0..WRITERS {
                let (tell, is_over) = (tell.clone(), &is_over);
                let writer = format!("{round}-{index}-{writer}");
                scope.spawn(move || {
                    while_up(node, &writer, is_over, &|id, fields| tell.send((index, id, fields)).unwrap())
                });
            }
        }
        drop(tell);
        let mut kill = Some(kill);
        for (count, (index, id, fields)) in acks.iter().enumerate() {
            if count == round * WRITES_UNTIL_KILL {
                kill.take().unwrap()();
                is_over.store(true, Ordering::Relaxed);
            }
            let Value::Object(fields) = fields else { unreachable!("fields are an object") };
            acknowledged[index].entry(id).or_default().extend(fields);
        }
    });
    acknowledged
}

/// Adds, moves and claims items, and counts in one of them, until the node is gone or the storm is over.
/// Each acknowledged write is told.
fn while_up(node: SocketAddr, writer: &str, is_over: &AtomicBool, tell: &dyn Fn(String, Value)) {
    let ask = |method: &str, path: &str, id: &str, body: &Value, shows: Value| {
        let answer =
            http::request(node, method, path, Some(body)).ok().filter(|_| !is_over.load(Ordering::Relaxed));
        let Some(answer) = answer else { return false };
        assert!(matches!(answer.status, 200 | 201), "{method} {path}: {}", answer.json());
        tell(id.to_owned(), shows);
        true
    };
    let post =
        |id: &str| ask("POST", "/api/v1/items", id, &json!({ "story_id": id }), json!({ "story_id": id }));
    let patch = |id: &str, body: Value| ask("PATCH", &format!("/api/v1/items/{id}"), id, &body, body.clone());
    let claim = |id: &str| {
        let path = format!("/api/v1/items/{id}/claim");
        ask("POST", &path, id, &json!({ "agent": writer }), json!({ "claimed_by": writer }))
    };
    let counter = format!("counter-{writer}");
    let mut is_up = post(&counter);
    let mut count = 0;
    while is_up {
        count += 1;
        let id = format!("{writer}-{count}");
        is_up = post(&id)
            && patch(&id, json!({ "stage": "2_current", "name": format!("the {count}th") }))
            && claim(&id)
            && patch(&counter, json!({ "retry_count": count }));
    }
}

#[track_caller]
fn assert_shows(node: &Node, acknowledged: &Acknowledged) {
    let items = node.items().unwrap();
    for (id, fields) in acknowledged {
        let item = find(&items, id).unwrap_or_else(|| panic!("{id} was acknowledged and is lost"));
        for (field, value) in fields {
            // One more may have been under way.
            let is_kept = match field.as_str() {
                "retry_count" => item[field].as_u64() >= value.as_u64(),
                _ => item[field] == *value,
            };
            assert!(is_kept, "{field} = {value} of {id} was acknowledged and is lost: {item}");
        }
    }
}

fn author(node: &Node) -> Value {
    status(node).unwrap()["node_id"].clone()
}

/// Adds an item, and returns the place in its author's chain that it has got.
fn seq_of_new_item(node: &Node, story_id: &str) -> u64 {
    add(node, story_id);
    let history = node.request("GET", &format!("/api/v1/items/{story_id}/history"), None).unwrap().json();
    assert_eq!(history[0]["author"], author(node));
    history[0]["author_seq"].as_u64().unwrap()
}

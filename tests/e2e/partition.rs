//! Nodes that cannot reach each other go on working, and agree again once they can.

use std::thread;

use gangline_tests::link::Link;
use gangline_tests::node::Node;
use gangline_tests::observe::{heads, wait_for_one_history};
use serde_json::json;

use crate::Team;
use crate::board::{add, assert_same_board, claim, find, ids, patch, write};

const WRITERS: usize = 4;
/// Items per writer.
const MANY: usize = 200;
const FEW: usize = 20;

/// Minutes' worth of work on one side: each writer adds items and moves them.
fn work(node: &Node, side: &str, items_per_writer: usize) {
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for number in 0..items_per_writer {
                    let id = format!("{side}-{writer}-{number}");
                    add(node, &id);
                    patch(node, &id, &json!({ "stage": "3_qa" }));
                }
            });
        }
    });
}

#[test]
fn two_nodes_agree_after_a_partition() {
    let team = Team::new();
    let link = Link::new().unwrap();
    let alice = team.plan("alice").start().unwrap();
    link.join(&alice);
    let bob = team.plan("bob").through(&link).start().unwrap();
    for id in ["wanted", "edited", "doomed"] {
        add(&alice, id);
    }
    bob.wait_for_items(|items| find(items, "doomed").is_some()).unwrap();

    link.cut();
    claim(&alice, "wanted", "of-alice");
    claim(&bob, "wanted", "of-bob");
    write(&alice, "POST", "/api/v1/items", &json!({ "story_id": "twin", "name": "Castor" }));
    write(&bob, "POST", "/api/v1/items", &json!({ "story_id": "twin", "name": "Pollux" }));
    write(&alice, "DELETE", "/api/v1/items/doomed", &json!(null));
    patch(&bob, "doomed", &json!({ "stage": "4_merge" }));
    patch(&alice, "edited", &json!({ "stage": "2_current" }));
    patch(&bob, "edited", &json!({ "name": "the dogs" }));
    thread::scope(|scope| {
        scope.spawn(|| work(&alice, "alice", MANY));
        scope.spawn(|| work(&bob, "bob", MANY));
    });
    assert_ne!(heads(&alice).unwrap(), heads(&bob).unwrap());

    link.join(&alice);
    wait_for_one_history(&[&alice, &bob]).unwrap();
    let items = assert_same_board(&[&alice, &bob]);
    assert_eq!(items.as_array().unwrap().len(), 3 + 2 * WRITERS * MANY);

    let edited = find(&items, "edited").unwrap();
    assert_eq!((&edited["stage"], &edited["name"]), (&json!("2_current"), &json!("the dogs")));
    assert_eq!(find(&items, "doomed"), None, "removed here and edited there: it is gone");

    // One claim shows, the other is kept where everybody can see it.
    let winner = find(&items, "wanted").unwrap()["claimed_by"].as_str().unwrap();
    let loser = if winner == "of-alice" { "of-bob" } else { "of-alice" };
    assert_conflict(&[&alice, &bob], "wanted", "claimed_by", loser);

    // Two items of one name show as one; what the other says is kept as well.
    assert_eq!(ids(&items).iter().filter(|id| **id == "twin").count(), 1);
    let shown = find(&items, "twin").unwrap()["name"].as_str().unwrap();
    let other = if shown == "Castor" { "Pollux" } else { "Castor" };
    assert_conflict(&[&alice, &bob], "twin", "name", other);
}

#[test]
fn a_chain_of_three_heals_link_by_link() {
    let team = Team::new();
    let (to_alice, to_bob) = (Link::new().unwrap(), Link::new().unwrap());
    let alice = team.plan("alice").start().unwrap();
    to_alice.join(&alice);
    let bob = team.plan("bob").through(&to_alice).start().unwrap();
    to_bob.join(&bob);
    let carol = team.plan("carol").through(&to_bob).start().unwrap();
    add(&alice, "wanted");
    carol.wait_for_items(|items| find(items, "wanted").is_some()).unwrap();

    to_alice.cut();
    to_bob.cut();
    let agents = [(&alice, "of-alice"), (&bob, "of-bob"), (&carol, "of-carol")];
    thread::scope(|scope| {
        for (node, agent) in agents {
            scope.spawn(move || {
                claim(node, "wanted", agent);
                work(node, agent, FEW);
            });
        }
    });

    to_alice.join(&alice);
    wait_for_one_history(&[&alice, &bob]).unwrap();
    assert_ne!(heads(&bob).unwrap(), heads(&carol).unwrap());
    to_bob.join(&bob);
    wait_for_one_history(&[&alice, &bob, &carol]).unwrap();
    let items = assert_same_board(&[&alice, &bob, &carol]);
    assert_eq!(items.as_array().unwrap().len(), 1 + 3 * WRITERS * FEW);
    let winner = find(&items, "wanted").unwrap()["claimed_by"].as_str().unwrap();
    for (_, agent) in agents.iter().filter(|(_, agent)| *agent != winner) {
        assert_conflict(&[&alice, &bob, &carol], "wanted", "claimed_by", agent);
    }
}

#[test]
fn a_link_that_loses_everything_for_a_while_brings_it_later() {
    let team = Team::new();
    let link = Link::new().unwrap();
    let alice = team.plan("alice").start().unwrap();
    link.join(&alice);
    let bob = team.plan("bob").through(&link).start().unwrap();
    add(&alice, "before");
    bob.wait_for_items(|items| find(items, "before").is_some()).unwrap();

    link.stall();
    thread::scope(|scope| {
        scope.spawn(|| work(&alice, "alice", FEW));
        scope.spawn(|| work(&bob, "bob", FEW));
    });
    assert_ne!(heads(&alice).unwrap(), heads(&bob).unwrap());
    link.resume();
    wait_for_one_history(&[&alice, &bob]).unwrap();
    assert_eq!(assert_same_board(&[&alice, &bob]).as_array().unwrap().len(), 1 + 2 * WRITERS * FEW);
}

/// Insists that each of `nodes` tells that `field` also has `value`.
#[track_caller]
fn assert_conflict(nodes: &[&Node], story_id: &str, field: &str, value: &str) {
    let asked = nodes.iter().map(|node| {
        node.request("GET", &format!("/api/v1/items/{story_id}/conflicts"), None).unwrap().json()
    });
    let told: Vec<_> = asked.collect();
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
    let conflicts = told[0].as_array().unwrap();
    let is_it = |conflict: &&serde_json::Value| conflict["field"] == field && conflict["value"] == value;
    assert_eq!(conflicts.iter().filter(is_it).count(), 1, "{field} = {value} of {story_id}: {conflicts:?}");
}

//! Nodes form any graph: chains, cycles, a node that dials itself, one that is not there yet.

use gangline_tests::link::Link;
use gangline_tests::observe::{op_count, status, wait_for_one_history, wait_for_status};
use serde_json::{Value, json};

use crate::Team;
use crate::board::{add, assert_same_board, find, ids};

#[test]
fn an_item_travels_from_one_end_of_a_chain_to_the_other() {
    let team = Team::new();
    let alice = team.plan("alice").start().unwrap();
    let bob = team.plan("bob").peer(&alice).start().unwrap();
    let carol = team.plan("carol").peer(&bob).start().unwrap();
    add(&alice, "from-alice");
    carol.wait_for_items(|items| find(items, "from-alice").is_some()).unwrap();
    add(&carol, "from-carol");
    alice.wait_for_items(|items| find(items, "from-carol").is_some()).unwrap();
    wait_for_one_history(&[&alice, &bob, &carol]).unwrap();
    assert_same_board(&[&alice, &bob, &carol]);
}

#[test]
fn in_a_cycle_nothing_goes_round_and_round() {
    const ITEMS: u64 = 30;
    let team = Team::new();
    // Alice dials carol, bob dials alice, carol dials bob.
    let to_carol = Link::new().unwrap();
    let alice = team.plan("alice").through(&to_carol).start().unwrap();
    let bob = team.plan("bob").peer(&alice).start().unwrap();
    let carol = team.plan("carol").peer(&bob).start().unwrap();
    to_carol.join(&carol);
    let nodes = [&alice, &bob, &carol];
    for node in nodes {
        wait_for_status(node, |status| live_peers(status).len() == 2).unwrap();
    }
    for number in 0..ITEMS {
        for (node, name) in nodes.iter().zip(["alice", "bob", "carol"]) {
            add(node, &format!("{name}-{number}"));
        }
    }
    wait_for_one_history(&nodes).unwrap();
    assert_same_board(&nodes);
    for node in nodes {
        assert_eq!(op_count(node).unwrap(), 3 * ITEMS);
        // At most one transmission of each op per edge and direction.
        for peer in live_peers(&status(node).unwrap()) {
            assert!(peer["sent_ops"].as_u64().unwrap() <= 3 * ITEMS, "{peer}");
            assert_eq!(peer["bad_frames"], 0);
        }
    }
}

#[test]
fn a_node_that_dials_itself_is_none_the_worse() {
    let team = Team::new();
    let link = Link::new().unwrap();
    let alice = team.plan("alice").through(&link).start().unwrap();
    add(&alice, "before");
    link.join(&alice);
    wait_for_status(&alice, |status| live_peers(status).len() == 2).unwrap();
    add(&alice, "after");
    assert_eq!(ids(&alice.items().unwrap()), ["before", "after"]);
    let status = status(&alice).unwrap();
    assert_eq!((&status["documents"][0]["ops"], &status["equivocations"]), (&json!(2), &json!([])));
    assert!(alice.stop().unwrap().success());
}

#[test]
fn a_peer_that_was_down_at_first_is_found_once_it_is_up() {
    let team = Team::new();
    let link = Link::new().unwrap();
    let bob = team.plan("bob").through(&link).start().unwrap();
    add(&bob, "alone");
    let status = wait_for_status(&bob, |status| status["peers"][0]["failures"] != json!(0)).unwrap();
    assert_eq!(status["health"], "ok", "a node without its peer works");

    let alice = team.plan("alice").start().unwrap();
    link.join(&alice);
    alice.wait_for_items(|items| find(items, "alone").is_some()).unwrap();
    let status = wait_for_status(&bob, |status| live_peers(status).len() == 1).unwrap();
    assert_eq!(status["peers"][0]["failures"], 0);
    add(&alice, "together");
    bob.wait_for_items(|items| find(items, "together").is_some()).unwrap();
}

fn live_peers(status: &Value) -> Vec<&Value> {
    status["peers"].as_array().unwrap().iter().filter(|peer| peer["state"] == "live").collect()
}

//! A peer that knows nothing but version 1 of the protocol, put together by hand, works with real nodes.

use bft_json_crdt::json_crdt::{CrdtNode, SignedOp};
use gangline_doc::board;
use gangline_tests::node::Node;
use gangline_tests::observe::{heads, op_count, status, wait_for_one_history};
use gangline_tests::v1::{Author, Peer, item};
use serde_json::{Value, json};

use crate::Team;
use crate::board::{add, find, ids, patch};

/// A history by two authors who take turns: each adds items, and moves those of the other.
fn history(carol: &mut Author, dave: &mut Author) -> Vec<SignedOp> {
    let mut ops = Vec::new();
    for turn in 0..60 {
        let (author, other, name) = if turn % 2 == 0 {
            (&mut *carol, &mut *dave, "carol")
        } else {
            (&mut *dave, &mut *carol, "dave")
        };
        let added = author.add(&format!("{name}-{turn}"));
        let moved = author.set_stage(turn / 2, &format!("stage-{turn}"));
        other.learn(&[added.clone(), moved.clone()]);
        ops.extend([added, moved]);
    }
    ops
}

/// The same ops in an order that has nothing to do with the one in which they were made.
fn shuffled(ops: &[SignedOp]) -> Vec<SignedOp> {
    // Prime, so that each op comes once.
    const STRIDE: usize = 47;
    (0..ops.len()).map(|index| ops[index * STRIDE % ops.len()].clone()).collect()
}

#[test]
fn valid_frames_converge_in_any_order_and_any_kind_of_frame() {
    let (mut carol, mut dave) = (Author::new(3), Author::new(4));
    let ops = history(&mut carol, &mut dave);
    let backwards: Vec<SignedOp> = ops.iter().rev().cloned().collect();
    let mixed = shuffled(&ops);
    assert!(mixed.iter().all(|op| ops.contains(op)) && mixed.len() == ops.len() && mixed != ops);
    let (one_half, other_half) = mixed.split_at(mixed.len() / 2);
    type Send<'a> = &'a dyn Fn(&Peer) -> std::io::Result<()>;
    let ways: [(&str, Send<'_>); 6] = [
        ("one bulk", &|peer| peer.send_bulk(&ops)),
        ("one bulk, backwards", &|peer| peer.send_bulk(&backwards)),
        ("binary, backwards, twice each", &|peer| peer.send_binary(backwards.iter().flat_map(|op| [op, op]))),
        ("the older text frames, mixed", &|peer| mixed.iter().try_for_each(|op| peer.send_op_text(op))),
        ("binary and bulk, mixed", &|peer| {
            peer.send_binary(other_half)?;
            peer.send_bulk(one_half)
        }),
        ("bulk upon bulk that overlap", &|peer| {
            mixed.windows(40).step_by(16).try_for_each(|ops| peer.send_bulk(ops))
        }),
    ];
    for (name, send) in ways {
        let team = Team::new();
        let alice = team.plan("alice").start().unwrap();
        let peer = Peer::connect(&alice, Author::new(5)).unwrap();
        // A third party, who gets what alice passes on: bulk or live, in causal order.
        let mut erin = Peer::connect(&alice, Author::new(6)).unwrap();
        send(&peer).unwrap();
        erin.receive_until(|erin| erin.received.len() == ops.len()).unwrap();
        assert_eq!(op_count(&alice).unwrap(), ops.len() as u64, "{name}");
        let view = |author: &Author| serde_json::to_string(&author.replica.doc.view()).unwrap();
        assert_eq!(view(&erin.author), view(&carol), "{name}");
        assert_eq!(json!(board::items(&carol.replica)), alice.items().unwrap(), "{name}");
        assert_eq!((bad_frames(&alice), erin.closed), (0, None), "{name}");
    }
}

#[test]
fn a_peer_gets_the_bulk_then_what_happens_and_nothing_of_its_own() {
    let team = Team::new();
    let alice = team.plan("alice").start().unwrap();
    let bob = team.plan("bob").peer(&alice).start().unwrap();
    for number in 0..20 {
        add(&alice, &format!("before-{number}"));
    }
    let mut carol = Peer::connect(&alice, Author::new(3)).unwrap();
    carol.receive_until(|carol| carol.author.story_ids().len() == 20).unwrap();

    let added = carol.author.add("from-carol");
    let moved = carol.author.set_stage(3, "2_current");
    carol.send_binary([&added, &moved]).unwrap();
    bob.wait_for_items(|items| items[3]["stage"] == "2_current" && find(items, "from-carol").is_some())
        .unwrap();
    patch(&bob, "from-carol", &json!({ "name": "Carol", "blocked": true, "retry_count": 2.5 }));
    add(&alice, "after");
    let is_there = |carol: &Peer| carol.received.len() == 20 + 3 + 1;
    carol.receive_until(is_there).unwrap();

    wait_for_one_history(&[&alice, &bob]).unwrap();
    assert!(
        !carol.received.contains(&added.digest()) && !carol.received.contains(&moved.digest()),
        "an echo"
    );
    let heads_of_carol: Vec<String> = carol.author.replica.heads().iter().map(ToString::to_string).collect();
    assert_eq!(heads(&alice).unwrap(), json!(heads_of_carol));
    assert_eq!(json!(carol.author.story_ids()), json!(ids(&alice.items().unwrap())));
}

#[test]
fn a_bulk_that_does_not_fit_in_a_frame_arrives_all_the_same() {
    const ITEMS: usize = 120;
    let team = Team::new();
    let alice = team.plan("alice").start().unwrap();
    let bob = team.plan("bob").peer(&alice).start().unwrap();
    let carol = Peer::connect(&alice, Author::new(3)).unwrap();
    for number in 0..ITEMS {
        let mut large = item(&format!("large-{number}"));
        large["name"] = json!("🐕".repeat(25_000));
        let op = carol.author.replica.doc.items.push(large).sign(&carol.author.keypair);
        carol.send_binary([&op]).unwrap();
    }
    bob.wait_for_items(|items| ids(items).len() == ITEMS).unwrap();
    // 12 MB in all, where a text frame holds 8 MiB.
    let mut dave = Peer::connect(&bob, Author::new(4)).unwrap();
    dave.receive_until(|dave| dave.received.len() == ITEMS).unwrap();
    assert_eq!(dave.author.story_ids(), carol.author.story_ids());
    wait_for_one_history(&[&alice, &bob]).unwrap();
}

#[test]
fn good_ops_beside_a_bad_one_are_taken() {
    let team = Team::new();
    let alice = team.plan("alice").start().unwrap();
    let mut carol = Peer::connect(&alice, Author::new(3)).unwrap();
    let ops: Vec<SignedOp> = (0..9).map(|number| carol.author.add(&format!("good-{number}"))).collect();
    let mut frame = gangline_tests::v1::bulk(ops.iter().map(gangline_tests::v1::op_json));
    let list = frame["ops"].as_array_mut().unwrap();
    list.insert(4, json!("{\"not\": \"an op\"}"));
    list.insert(7, json!(17));
    carol.sender.text(frame.to_string().as_bytes()).unwrap();
    alice.wait_for_items(|items| ids(items).len() == ops.len()).unwrap();
    assert_eq!((op_count(&alice).unwrap(), bad_frames(&alice)), (9, 1));
}

#[test]
fn an_author_who_signs_two_histories_is_shown_with_the_proof_everywhere() {
    let team = Team::new();
    let alice = team.plan("alice").start().unwrap();
    let bob = team.plan("bob").peer(&alice).start().unwrap();
    let mut mallory = Author::new(13);
    let first = mallory.add("common");
    let mut other_self = Author { keypair: mallory.keypair.clone(), replica: mallory.replica.clone() };
    let (one, other) = (mallory.add("for-alice"), other_self.add("for-bob"));
    let told = [&one, &other].map(|op| op.digest().to_string());

    let to_alice = Peer::connect(&alice, mallory).unwrap();
    to_alice.send_binary([&first, &one]).unwrap();
    let to_bob = Peer::connect(&bob, other_self).unwrap();
    to_bob.send_binary([&first, &other]).unwrap();
    let is_there = |items: &Value| ids(items).len() == 3;
    let shown = [&alice, &bob].map(|node| node.wait_for_items(is_there).unwrap());
    assert_eq!(shown[0], shown[1], "both branches are kept, in one order");
    wait_for_one_history(&[&alice, &bob]).unwrap();
    for node in [&alice, &bob] {
        let proof = status(node).unwrap()["equivocations"].clone();
        assert_eq!(proof.as_array().unwrap().len(), 1, "{proof}");
        assert_eq!((&proof[0]["author"], &proof[0]["seq"]), (&json!(first.author().to_string()), &json!(2)));
        let mut changes: Vec<&str> =
            proof[0]["changes"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
        changes.sort_by_key(|digest| *digest != told[0]);
        assert_eq!(changes, told);
    }
}

/// Returns how many bad frames the peers that are connected have sent.
fn bad_frames(node: &Node) -> u64 {
    let status = status(node).unwrap();
    status["peers"].as_array().unwrap().iter().map(|peer| peer["bad_frames"].as_u64().unwrap()).sum()
}

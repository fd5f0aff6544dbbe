//! What happens step by step, and what it costs.

use bft_json_crdt::{Digest, DocumentId};
use gangline_transport::session::SessionSettings;
use gangline_wire::v2::HeldDocument;

use crate::net::Net;
use crate::node::{Node, document};

/// Kinds of frames.
const HELLO: u8 = 0x80;
const VECTOR: u8 = 0x82;
const CHANGES: u8 = 0x83;
const OPEN: u8 = 0x8f;
const CLOSE: u8 = 0x90;
const NEWS: u8 = 0x91;

/// Two nodes that have met.
fn two() -> Net {
    let mut net = Net::new(1, 2, &[(0, 1)], SessionSettings::default());
    net.run(1_000);
    assert_eq!(net.sent[&HELLO], 2);
    net
}

fn sent(net: &Net, kind: u8) -> u64 {
    net.sent.get(&kind).copied().unwrap_or_default()
}

fn agree(net: &Net, n: usize) -> bool {
    net.nodes[0].vector(&document(n)) == net.nodes[1].vector(&document(n))
}

fn assert_good(net: &Net) {
    assert!(net.bad_frames.is_empty() && net.closes.is_empty(), "{:?} {:?}", net.bad_frames, net.closes);
}

#[test]
fn what_both_open_while_the_link_is_up_is_shared_at_once() {
    let mut net = two();
    let place = net.open(0, document(1), true);
    net.edit(0, place);
    net.run(500);
    let other = net.open(1, document(1), true);
    net.run(500);
    assert!(agree(&net, 1));
    assert_eq!((sent(&net, OPEN), sent(&net, VECTOR), sent(&net, CHANGES)), (2, 2, 1));
    for n in 0..20 {
        match n % 2 {
            0 => net.edit(0, place),
            _ => net.edit(1, other),
        }
        net.run(300);
        assert!(agree(&net, 1), "edit {n}");
    }
    assert_eq!((sent(&net, OPEN), sent(&net, VECTOR)), (2, 2));
    assert_good(&net);
}

#[test]
fn what_both_hold_alike_costs_an_open_each() {
    let mut net = two();
    for node in 0..2 {
        let place = net.open(node, document(1), true);
        net.run(500);
        if node == 0 {
            net.edit(0, place);
        }
    }
    net.run(500);
    for node in 0..2 {
        let place = net.nodes[node].place_of(&document(1)).unwrap();
        net.close(node, place);
    }
    net.run(500);
    let before = (sent(&net, VECTOR), sent(&net, CHANGES), net.sent.values().sum::<u64>());
    net.open(0, document(1), true);
    net.run(500);
    net.open(1, document(1), true);
    net.run(500);
    let after = (sent(&net, VECTOR), sent(&net, CHANGES), net.sent.values().sum::<u64>());
    assert_eq!(after, (before.0, before.1, before.2 + 2));
    assert_good(&net);
}

/// Neither has heard of the other's when it opens: one of them stands, and they share the document once.
#[test]
fn what_both_open_at_the_same_moment_is_shared_once() {
    let mut net = two();
    for node in 0..2 {
        let place = net.open(node, document(1), true);
        net.edit(node, place);
    }
    net.run(1_000);
    assert!(agree(&net, 1));
    assert_eq!((sent(&net, OPEN), sent(&net, CLOSE)), (3, 1));
    assert_good(&net);
}

#[test]
fn a_host_opens_what_a_peer_offers_and_closes_it_when_nothing_happens() {
    let mut net = two();
    net.nodes[1].wants.insert(document(1));
    for round in 0..3 {
        let place = net.open(0, document(1), true);
        net.edit(0, place);
        net.run(500);
        assert!(agree(&net, 1) && net.nodes[1].place_of(&document(1)).is_some());
        net.close(0, place);
        net.run(8_000);
        assert!(net.nodes[1].open.is_empty(), "it is idle");
        assert_eq!(net.hosted, round + 1);
    }
    // One that is closed on this side as well when it grows there.
    let place = net.open(0, document(1), true);
    net.edit(0, place);
    net.close(0, place);
    net.nodes[0].wants.insert(document(1));
    net.run(2_000);
    assert!(agree(&net, 1));
    assert_good(&net);
}

/// Its host wants none of it: it hears of a document that grows all the time about once in a second.
#[test]
fn news_of_a_document_come_about_once_in_a_second() {
    let mut net = two();
    let place = net.open(0, document(1), true);
    for _ in 0..500 {
        net.edit(0, place);
        net.run(20);
    }
    let heard = sent(&net, NEWS) + sent(&net, OPEN);
    assert!((8..=12).contains(&heard), "{heard} in 10 seconds");
    assert_eq!((sent(&net, CHANGES), net.nodes[1].logs.len()), (0, 0));
    assert!(net.nodes[1].asked.len() as u64 <= heard);
    assert_good(&net);
}

/// The host takes one in while it has room, and comes back for the others.
#[test]
fn a_host_without_room_is_asked_again() {
    let mut net = two();
    net.nodes[1].rooms = 2;
    net.nodes[1].wants = (0..12).map(document).collect();
    for n in 0..12 {
        let place = net.open(0, document(n), true);
        net.edit(0, place);
    }
    for _ in 0..60 {
        net.run(1_000);
        assert!(net.nodes[1].open.len() <= 2);
    }
    assert!((0..12).all(|n| agree(&net, n)));
    assert_good(&net);
}

/// Of an empty document there is nothing to tell; that it can be had is news all the same to whoever has written in it and
/// closed it.
#[test]
fn whoever_has_a_document_open_hears_of_what_was_written_in_passing_though_its_own_is_empty() {
    let mut net = two();
    net.open(0, document(1), true);
    net.run(2_000);
    net.nodes[1].wants.insert(document(1));
    let place = net.open(1, document(1), true);
    net.edit(1, place);
    net.close(1, place);
    net.run(3_000);
    assert!(agree(&net, 1) && !net.nodes[0].vector(&document(1)).is_empty());
    assert_good(&net);
}

/// The answer to a document finds it closed, and was to what it held some time ago.
#[test]
fn an_answer_that_comes_too_late_is_a_reason_to_open_the_document_again() {
    let mut net = two();
    net.delay_ms = (50, 50);
    net.nodes[1].wants.insert(document(1));
    let place = net.open(0, document(1), true);
    net.edit(0, place);
    net.run(1_000);
    let other = net.nodes[1].place_of(&document(1)).unwrap();
    assert!(agree(&net, 1));
    net.close(1, other);
    net.run(2_000);
    net.nodes[1].wants.clear();
    // It is opened there again, grows, and is closed at the moment at which it is opened here.
    net.close(0, place);
    net.run(2_000);
    let place = net.open(0, document(1), true);
    net.run(2_000);
    net.edit(0, place);
    net.run(2_000);
    net.nodes[0].wants.insert(document(1));
    net.close(0, place);
    net.open(1, document(1), true);
    net.run(3_000);
    assert!(agree(&net, 1));
    assert_good(&net);
}

/// A document of which there is nothing but an entry in the catalog.
fn paper(n: u64, root: u8) -> HeldDocument {
    HeldDocument { id: DocumentId(Digest::of(&[&n.to_le_bytes()]).0), root: Digest([root; 32]) }
}

fn keep(node: &mut Node, documents: impl Iterator<Item = HeldDocument>) {
    for document in documents {
        node.on_paper.entry(document.id.0[0]).or_default().push(document);
    }
}

/// Two nodes that keep a hundred thousand documents: what each sends until all is said.
fn meet_with(differing: u64) -> (Net, [u64; 2]) {
    let count = 100_000;
    let mut net = Net::new(3, 2, &[(0, 1)], SessionSettings::default());
    keep(&mut net.nodes[0], (0..count).map(|n| paper(n, 1)));
    keep(&mut net.nodes[1], (0..count).map(|n| paper(n, if n < differing { 2 } else { 1 })));
    let place = net.open(0, document(1), true);
    net.edit(0, place);
    net.run(1);
    net.run(3_000);
    let connection = net.edges[0].connection.as_ref().unwrap();
    let bytes = [connection.ends[0].bytes, connection.ends[1].bytes];
    (net, bytes)
}

#[test]
fn a_hundred_thousand_documents_that_are_equal_cost_nothing_to_compare() {
    let (net, bytes) = meet_with(0);
    assert!(bytes.iter().all(|bytes| *bytes <= 300), "{bytes:?} bytes");
    assert!(net.nodes.iter().all(|node| node.asked.iter().all(|id| *id == document(1))));
    assert_good(&net);
}

#[test]
fn one_of_a_hundred_thousand_documents_is_found_at_the_cost_of_a_bucket() {
    let (net, bytes) = meet_with(1);
    assert!(bytes.iter().all(|bytes| *bytes <= 30_000), "{bytes:?} bytes");
    for node in &net.nodes {
        let asked: Vec<_> = node.asked.iter().filter(|id| **id != document(1)).collect();
        assert_eq!(asked, [&paper(0, 1).id]);
    }
    assert_good(&net);
}

#[test]
fn many_that_differ_are_all_found() {
    let (mut net, _) = meet_with(3_000);
    net.run(20_000);
    for node in &net.nodes {
        let asked = node.asked.iter().filter(|id| **id != document(1)).count();
        assert_eq!(asked, 3_000);
    }
    assert_good(&net);
}

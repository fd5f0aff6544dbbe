//! Honest nodes.

use std::sync::Arc;

use bft_json_crdt::keypair::make_keypair;
use gangline_doc::{Replica, ReplicaSettings};
use gangline_store::MemoryOpLog;
use gangline_transport::session::SessionSettings;
use gangline_transport::{Direction, PeerState, TransportSettings};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Node, Peer, until};

const EMPTY_BULK: &str = r#"{"type":"bulk","ops":[]}"#;

#[tokio::test]
async fn two_nodes_agree() {
    let (alice, bob) = (Node::start().await, Node::start().await);
    for n in 0..5 {
        alice.add(&format!("a{n}"));
        bob.add(&format!("b{n}"));
    }
    bob.dial(&alice);
    alice.has(10).await;
    bob.has(10).await;
    for n in 5..20 {
        alice.add(&format!("a{n}"));
        bob.add(&format!("b{n}"));
    }
    alice.has(40).await;
    bob.has(40).await;
    assert_eq!(alice.items(), bob.items());
    assert_eq!(alice.replica.version_vector(), bob.replica.version_vector());

    until("both live", || {
        [&alice, &bob].iter().all(|node| node.peers().peers.iter().all(|peer| peer.state == PeerState::Live))
    })
    .await;
    let (a, b) = (alice.peers(), bob.peers());
    assert_eq!((a.peers[0].direction, b.peers[0].direction), (Direction::Inbound, Direction::Outbound));
    assert_eq!((b.peers[0].url.clone(), a.peers[0].url.clone()), (Some(alice.url()), None));
    assert_eq!((a.totals.applied_ops, b.totals.applied_ops), (20, 20));
    assert_eq!((a.totals.sent_ops, b.totals.sent_ops), (20, 20), "nothing went twice or back");
    assert_eq!((a.totals.bad_frames, b.totals.bad_frames), (0, 0));
    bob.stop().await;
    alice.closed("by_peer", 1).await;
    alice.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_three_agrees() {
    let (alice, bob, carol) = (Node::start().await, Node::start().await, Node::start().await);
    alice.add("before");
    bob.dial(&alice);
    carol.dial(&bob);
    carol.has(1).await;
    for n in 0..50 {
        alice.add(&format!("a{n}"));
        carol.add(&format!("c{n}"));
    }
    for node in [&alice, &bob, &carol] {
        node.has(101).await;
    }
    assert_eq!(alice.items(), carol.items());
    assert_eq!(bob.peers().totals.sent_ops, 101, "each op crosses each edge once");
}

#[tokio::test]
async fn dialling_oneself_and_one_node_twice_is_harmless() {
    let (alice, bob) = (Node::start().await, Node::start().await);
    alice.add("first");
    alice.dial(&alice);
    bob.dial(&alice);
    bob.dial(&alice);
    alice.dial(&bob);
    bob.has(1).await;
    for n in 0..20 {
        alice.add(&format!("a{n}"));
        bob.add(&format!("b{n}"));
    }
    for node in [&alice, &bob] {
        node.has(41).await;
        until("all sent", || node.peers().peers.iter().all(|peer| peer.behind == 0)).await;
        assert!(node.peers().closed.is_empty());
        assert_eq!(node.replica.durable().0, 41, "nothing is stored twice");
    }
}

/// More than one frame's worth, and more than what is applied at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_document_arrives_whole() {
    let session = SessionSettings { bulk_bytes_max: 300_000, ..SessionSettings::default() };
    let settings = TransportSettings { session, ..TransportSettings::default() };
    let alice = Node::with(settings).await;
    for n in 0..600 {
        alice.add_named(&format!("a{n}"), if n % 100 == 7 { 40_000 } else { 20 });
    }
    let mut peer = Peer::connect(&alice).await;
    let Ok(Message::Text(text)) = peer.next().await else { panic!("the bulk comes first") };
    assert!(text.len() <= 300_000);
    let in_bulk = gangline_wire::decode_text(text.as_bytes()).expect("the bulk is good").ops.len();
    assert!(in_bulk > 100 && in_bulk < 600);
    for _ in in_bulk..600 {
        let Ok(Message::Binary(frame)) = peer.next().await else { panic!("the rest follows") };
        gangline_wire::decode(&frame).expect("the frame is good");
    }
    let bob = Node::start().await;
    bob.dial(&alice);
    bob.has(600).await;
    assert_eq!(alice.items(), bob.items());
}

#[tokio::test]
async fn a_peer_written_by_hand_may_send_in_any_order() {
    let (alice, bob) = (Node::start().await, Node::start().await);
    for n in 0..30 {
        bob.add(&format!("b{n}"));
    }
    let mut frames = bob.frames();
    frames.reverse();
    let mut peer = Peer::connect(&alice).await;
    let Ok(Message::Text(bulk)) = peer.next().await else { panic!("the bulk comes first") };
    assert_eq!(bulk.as_str(), EMPTY_BULK);
    for frame in frames.drain(..10) {
        peer.binary(frame).await;
    }
    let op =
        |frame: &[u8]| serde_json::from_slice::<serde_json::Value>(frame).expect("JSON")["op"].to_string();
    let ops: Vec<String> = frames.drain(..10).map(|frame| op(&frame)).collect();
    peer.text(&serde_json::json!({"type": "bulk", "ops": ops}).to_string()).await;
    for frame in frames {
        peer.text(&serde_json::json!({"type": "op", "op": op(&frame)}).to_string()).await;
    }
    alice.has(30).await;
    alice.add("mine");
    let Ok(Message::Binary(frame)) = peer.next().await else { panic!("a live op is binary") };
    let op = gangline_wire::decode(&frame).expect("the frame is good");
    assert_eq!(op.author(), alice.replica.author(), "nothing of the peer comes back");
    assert_eq!(alice.peers().totals.bad_frames, 0);
}

#[tokio::test]
async fn a_node_that_stops_sends_what_is_durable_and_says_goodbye() {
    let alice = Node::start().await;
    let mut peer = Peer::connect(&alice).await;
    assert!(peer.next().await.is_ok());
    for n in 0..200 {
        alice.add_named(&format!("a{n}"), 1_000);
    }
    let transport = alice.transport.clone();
    let stopped = tokio::spawn(alice.stop());
    assert_eq!(peer.end().await, (200, Some(1001)));
    stopped.await.expect("it stops");
    assert!(transport.peers().peers.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_comes_back_gets_what_it_missed() {
    let alice = Node::start().await;
    let log = Arc::new(MemoryOpLog::new());
    let replica = Replica::open(make_keypair(), log, ReplicaSettings::default()).expect("an empty log opens");
    for round in 1..=3 {
        let addr = "127.0.0.1:0".parse().expect("an address");
        let bob = Node::serve(replica.clone(), TransportSettings::default(), addr).await;
        bob.dial(&alice);
        bob.add(&format!("b{round}"));
        alice.has(2 * round - 1).await;
        bob.stop().await;
        alice.add(&format!("a{round}"));
    }
}

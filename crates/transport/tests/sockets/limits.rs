//! What one peer can cost.

use gangline_transport::TransportSettings;
use gangline_transport::session::SessionSettings;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error;

use crate::harness::{Node, Peer, until};

#[tokio::test]
async fn a_peer_that_does_not_read_is_dropped() {
    let session = SessionSettings { lag_ops_max: 5, blocked_ms: 50, ..SessionSettings::default() };
    let settings = TransportSettings { session, ..TransportSettings::default() };
    let alice = Node::with(settings.clone()).await;
    let bob = Node::with(settings).await;
    bob.dial(&alice);
    let slow = Peer::connect(&alice).await;
    until("both connected", || alice.peers().peers.len() == 2).await;
    // Sockets hold some megabytes before they block.
    let mut count = 0;
    while !alice.peers().closed.contains_key("lagging") {
        count += 1;
        assert!(count < 2_000, "the slow peer was never dropped");
        alice.add_named(&format!("a{count}"), 100_000);
        bob.has(count).await;
    }
    drop(slow);
    alice.add("after");
    bob.has(count + 1).await;
    assert!(bob.peers().closed.is_empty(), "the peer that reads is not concerned");
}

#[tokio::test]
async fn a_socket_that_takes_nothing_is_dropped() {
    let session = SessionSettings { progress_ms: 100, ..SessionSettings::default() };
    let alice = Node::with(TransportSettings { session, ..TransportSettings::default() }).await;
    let _stuck = Peer::connect(&alice).await;
    for n in 0..200 {
        alice.add_named(&format!("a{n}"), 100_000);
    }
    alice.closed("no_progress", 1).await;
}

#[tokio::test]
async fn there_are_only_so_many_peers() {
    let alice = Node::with(TransportSettings { peers_max: 2, ..TransportSettings::default() }).await;
    let first = Peer::connect(&alice).await;
    let _second = Peer::connect(&alice).await;
    let Err(Error::Http(response)) = connect_async(alice.url()).await else { panic!("it is refused") };
    assert_eq!(response.status(), 503);
    assert_eq!(alice.peers().over_limit, 1);
    drop(first);
    until("one is gone", || alice.peers().peers.len() == 1).await;
    assert!(connect_async(alice.url()).await.is_ok());
}

#[tokio::test]
async fn idle_peers_are_cheap_to_hold_and_easy_to_count() {
    let alice = Node::start().await;
    let mut peers = Vec::new();
    for _ in 0..300 {
        peers.push(Peer::connect(&alice).await);
    }
    until("300 peers", || alice.peers().peers.len() == 300).await;
    alice.add("for all");
    for peer in &mut peers {
        assert!(peer.next().await.is_ok(), "the bulk");
        assert!(peer.next().await.is_ok(), "the op");
    }
    drop(peers);
    until("none", || alice.peers().peers.is_empty()).await;
    assert_eq!(alice.peers().sessions, 300);
}

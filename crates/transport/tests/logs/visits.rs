//! Sessions that are opened for calls: to whom they go, how many there are, and when they end.

use bft_json_crdt::Keypair;
use bytes::Bytes;
use gangline_transport::{CallError, PING, PeerUrl};

use tokio::time::{Duration, Instant};

use crate::harness::{Kept, Node, Wall, any_port, settings, until, within};

fn url(node: &Node) -> PeerUrl {
    PeerUrl::of_node(&format!("http://{}", node.addr.unwrap())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_called_where_it_says_it_is() {
    let alice = Node::coordinator(&Kept::new(), any_port()).await;
    let bob = Node::member(2, alice.addr.unwrap(), Wall::None).await;
    let carol = Node::member(3, alice.addr.unwrap(), Wall::Behind).await;
    carol.meets(&alice).await;
    let hello = Bytes::from_static(b"hello");
    let reply = carol.transport.call_at(bob.id(), Some(&url(&bob)), PING, hello.clone(), 5_000).await;
    assert_eq!(reply.unwrap(), hello);
    assert_eq!(carol.transport.key_at(&url(&bob)), Some(bob.id()));
    // While it is used it stays; then it goes.
    let before = carol.transport.peers().sessions;
    let three_times_idle = Instant::now() + Duration::from_millis(3 * settings().visit_idle_ms);
    while Instant::now() < three_times_idle {
        let again = carol.transport.call_at(bob.id(), None, PING, hello.clone(), 5_000).await;
        assert_eq!(again.unwrap(), hello);
    }
    assert_eq!(carol.transport.peers().sessions, before, "over the same session");
    until("the session ends", || !carol.knows(&bob)).await;
    assert_eq!(carol.transport.peers().closed.get("stopping"), Some(&1), "in an orderly way");
    let nowhere = carol.transport.call_at(bob.id(), None, PING, hello, 5_000).await;
    assert_eq!(nowhere, Err(CallError::NotConnected(bob.id())));
}

/// Somebody else lives there now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_is_not_called_instead() {
    let alice = Node::coordinator(&Kept::new(), any_port()).await;
    let bob = Node::member(2, alice.addr.unwrap(), Wall::None).await;
    let carol = Node::member(3, alice.addr.unwrap(), Wall::Behind).await;
    carol.meets(&alice).await;
    let gone = Keypair::from_seed(&[77; 32]).author();
    let at = url(&bob);
    let call = || carol.transport.call_at(gone, Some(&at), PING, Bytes::new(), 5_000);
    assert_eq!(within("a reply", call()).await, Err(CallError::NotConnected(gone)));
    until("the session ends", || !carol.knows(&bob)).await;
    let before = carol.transport.peers().sessions;
    assert_eq!(call().await, Err(CallError::NotConnected(gone)));
    assert_eq!(carol.transport.peers().sessions, before, "it is left alone for a while");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_told_in_time() {
    let alice = Node::coordinator(&Kept::new(), any_port()).await;
    let bob = Node::member(2, alice.addr.unwrap(), Wall::None).await;
    let (at, id) = (url(&bob), bob.id());
    bob.stop().await;
    // Also the session is gone that bob had opened.
    until("alice has noticed", || alice.transport.peers().peers.is_empty()).await;
    let call = alice.transport.call_at(id, Some(&at), PING, Bytes::new(), 5_000);
    assert_eq!(within("a reply", call).await, Err(CallError::NotConnected(id)));
    until("it is off the list", || alice.transport.key_at(&at).is_none()).await;
}

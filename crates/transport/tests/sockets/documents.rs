//! Documents that come and go while sessions are up, and copies that nobody has open.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gangline_doc::{Replica, ReplicaSettings};
use gangline_store::MemoryOpLog;
use gangline_transport::{OpenDocumentError, TransportSettings};
use gangline_wire::v2::HeldDocument;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Peer, until, within};
use crate::keeper::{Keeper, Node, Notes, document, root_of_nothing};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_opens_what_is_offered_and_closes_it_when_it_is_idle() {
    let (alice, bob) = (Node::new().await, Node::new().await);
    bob.dial(&alice);
    bob.met(1).await;
    for round in 1..=3 {
        alice.keeper.open(document(1), true);
        alice.keeper.edit(document(1), &format!("round {round}"));
        bob.agrees_with(&alice, document(1)).await;
        alice.keeper.close(document(1));
        bob.closes_all().await;
        bob.agrees_with(&alice, document(1)).await;
        assert_eq!(bob.keeper.stored_root(document(1)), alice.keeper.stored_root(document(1)));
    }
    // Written here, and closed before anybody can have opened it there.
    bob.keeper.open(document(1), true);
    bob.keeper.edit(document(1), "in passing");
    bob.keeper.close(document(1));
    alice.agrees_with(&bob, document(1)).await;
    alice.closes_all().await;
    bob.closes_all().await;
    alice.assert_good();
    bob.assert_good();
}

/// The one in the middle has nobody who works with the document, and passes on what it keeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_get_fresh_through_a_node_where_nobody_has_them_open() {
    let (alice, bob, carol) = (Node::new().await, Node::new().await, Node::new().await);
    alice.dial(&bob);
    carol.dial(&bob);
    bob.met(2).await;
    alice.keeper.open(document(1), true);
    alice.keeper.edit(document(1), "hello");
    carol.agrees_with(&alice, document(1)).await;
    carol.keeper.open(document(1), true);
    carol.keeper.edit(document(1), "and back");
    alice.agrees_with(&carol, document(1)).await;
    alice.keeper.close(document(1));
    carol.keeper.edit(document(1), "once more");
    alice.agrees_with(&carol, document(1)).await;
    carol.keeper.close(document(1));
    for node in [&alice, &bob, &carol] {
        node.closes_all().await;
        node.agrees_with(&alice, document(1)).await;
        node.assert_good();
    }
}

/// More than are told of by name, and more than the host takes at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_documents_written_in_passing_arrive_all() {
    const COUNT: usize = 150;
    let mut settings = TransportSettings::default();
    settings.session.news_max = 20;
    settings.session.catalog_ms = 500;
    settings.session.offer_again_ms = 20;
    let alice = Node::start(Keeper::new(None, usize::MAX), settings.clone()).await;
    let bob = Node::start(Keeper::new(None, 8), settings).await;
    bob.dial(&alice);
    bob.met(1).await;
    let writer = Arc::clone(&alice.keeper);
    let writing = tokio::task::spawn_blocking(move || {
        for n in 0..COUNT {
            writer.open(document(n), true);
            writer.edit(document(n), "in passing");
            writer.close(document(n));
        }
    });
    writing.await.unwrap();
    until("all have arrived", || {
        (0..COUNT).all(|n| {
            let root = alice.keeper.stored_root(document(n));
            root.is_some() && root == bob.keeper.stored_root(document(n))
        })
    })
    .await;
    assert!(bob.keeper.hosted.load(Ordering::Relaxed) >= COUNT);
    alice.assert_good();
    bob.assert_good();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_while_two_were_apart_is_found_when_they_meet() {
    let wanted: BTreeSet<_> = (0..40).map(document).collect();
    let alice = Node::new().await;
    let bob = Node::start(Keeper::new(Some(wanted), 4), TransportSettings::default()).await;
    for n in 0..60 {
        let keepers = if n % 3 == 0 { vec![&alice.keeper] } else { vec![&alice.keeper, &bob.keeper] };
        for keeper in keepers {
            keeper.open(document(n), true);
            keeper.edit(document(n), "apart");
            keeper.close(document(n));
        }
    }
    // One that is open meanwhile, and one that is there before anything is in it.
    bob.keeper.open(document(2), true);
    bob.dial(&alice);
    for n in 0..40 {
        bob.agrees_with(&alice, document(n)).await;
    }
    assert!((40..60).step_by(3).all(|n| !bob.keeper.has(document(n + 2))), "it wants none of these");
    alice.assert_good();
    bob.assert_good();
}

/// A change that was made and kept without any session knowing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_may_say_that_it_keeps_something_new() {
    let (alice, bob) = (Node::new().await, Node::new().await);
    bob.dial(&alice);
    bob.met(1).await;
    alice.met(1).await;
    let transport = bob.keeper.transport.get().unwrap();
    transport.tell_stored(HeldDocument { id: document(1), root: bft_json_crdt::Digest([7; 32]) });
    until("alice asks for it", || alice.keeper.has(document(1))).await;
    until("bob serves it", || bob.keeper.has(document(1))).await;
    alice.closes_all().await;
    bob.closes_all().await;
    assert_eq!(alice.keeper.stored_root(document(1)), Some(root_of_nothing()));
}

#[tokio::test]
async fn a_writer_learns_who_has_a_document_on_disk() {
    let (alice, bob) = (Node::new().await, Node::new().await);
    bob.dial(&alice);
    bob.met(1).await;
    let first = alice.keeper.open(document(1), true);
    let tip = alice.keeper.edit(document(1), "mine");
    let transport = alice.keeper.transport.get().unwrap();
    assert_eq!(transport.held_by(first, tip, 1, 10_000).await, 1);
    alice.keeper.close(document(1));
    assert_eq!(transport.held_by(first, tip, 1, 0).await, 0, "nobody is known to have what was closed");
    let again = alice.keeper.open(document(1), true);
    assert!(again != first, "another opening has another place");
    let tip = alice.keeper.edit(document(1), "mine again");
    assert_eq!(transport.held_by(again, tip, 1, 10_000).await, 1);
    assert_eq!(transport.held_by(first, tip, 1, 0).await, 0);
    // For what nobody exchanges there is nobody to wait.
    assert!(transport.held_by_all(first, tip, 0).await);
    let tip = alice.keeper.edit(document(1), "mine a third time");
    let is_held = transport.held_by_all(again, tip, 10_000).await;
    assert_eq!((is_held, transport.held_by(again, tip, 1, 0).await), (true, 1));
    // What bob never gets.
    assert!(!transport.held_by_all(again, (tip.0 + 1, bft_json_crdt::Digest([7; 32])), 10).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_until_it_has_met_the_others_has_what_they_held() {
    let alice = Node::new().await;
    let there = alice.keeper.open(document(1), true);
    let limit_ms = 60_000;
    for round in 0..10 {
        for n in 0..50 {
            alice.keeper.edit(document(1), &format!("{round}.{n}"));
        }
        // He opens it when the two are linked, or before the first attempt has come to anything.
        let bob = Node::start(Keeper::new(Some(BTreeSet::new()), 0), TransportSettings::default()).await;
        bob.dial(&alice);
        if round % 2 == 0 {
            bob.met(1).await;
        }
        let place = bob.keeper.open(document(1), true);
        let transport = bob.keeper.transport.get().unwrap();
        within("the others", transport.until_met(place, limit_ms)).await;
        assert_eq!(bob.keeper.vector(document(1)), alice.keeper.vector(document(1)), "round {round}");
        assert!(transport.is_shared(place) && !transport.is_meeting(place, limit_ms));
        bob.keeper.close(document(1));
        assert!(!transport.is_shared(place), "nobody exchanges what is closed");
        within("nobody", transport.until_met(place, limit_ms)).await;
    }
    let transport = alice.keeper.transport.get().unwrap();
    until("nobody is left", || !transport.is_shared(there)).await;
}

#[tokio::test]
async fn nobody_waits_long_for_a_node_that_does_not_answer() {
    let node = Node::new().await;
    let place = node.keeper.open(document(1), true);
    let transport = node.keeper.transport.get().unwrap();
    within("nobody", transport.until_met(place, 60_000)).await;
    // It takes the connection, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/crdt-sync", silent.local_addr().unwrap());
    transport.dial(url.parse().unwrap(), Box::new(|| 0.0));
    within("the limit", transport.until_met(place, 20)).await;
    // Once the attempt has failed, there is nobody to wait for, also while the next one is made.
    drop(silent);
    within("the end of the attempt", transport.until_met(place, 60_000)).await;
    assert!(transport.peers().dial_failures > 0);
}

#[tokio::test]
async fn who_was_there_a_moment_ago_may_come_back() {
    let (alice, bob) = (Node::new().await, Node::new().await);
    let transport = alice.keeper.transport.get().unwrap().clone();
    let within = |limit_ms: u64| transport.returns_within(limit_ms).map(|left| left <= limit_ms);
    assert_eq!((within(60_000), within(0)), (Some(true), None), "anybody may come at first");
    bob.dial(&alice);
    alice.met(1).await;
    assert_eq!(within(60_000), None, "nobody is missing");
    drop(bob);
    until("bob is missed", || within(60_000).is_some()).await;
    assert_eq!(within(0), None);
}

#[tokio::test]
async fn a_document_is_open_once_and_so_many_at_a_time() {
    let settings = TransportSettings { documents_max: 2, ..TransportSettings::default() };
    let node = Node::start(Keeper::new(None, usize::MAX), settings).await;
    let transport = node.keeper.transport.get().unwrap();
    let replica = |n: usize| -> Arc<Replica<Notes>> {
        let settings = ReplicaSettings { document: document(n), ..ReplicaSettings::default() };
        let key = bft_json_crdt::keypair::make_keypair();
        Arc::new(Replica::open(key, Arc::new(MemoryOpLog::new()), settings).unwrap())
    };
    let places = [0, 1].map(|n| transport.open_document(replica(n)).unwrap());
    assert_eq!(transport.open_document(replica(1)), Err(OpenDocumentError::AlreadyOpen(document(1))));
    assert_eq!(transport.open_document(replica(2)), Err(OpenDocumentError::TooMany { max: 2 }));
    let mut kept = None;
    assert!(transport.close_document(document(0), |held| kept = Some(held)));
    assert_eq!(kept, Some(HeldDocument { id: document(0), root: root_of_nothing() }));
    assert!(!transport.close_document(document(0), |_| panic!("it is closed")));
    let place = transport.open_document(replica(0)).unwrap();
    assert!(!places.contains(&place));
    assert_eq!(transport.place_of(&document(0)), Some(place));
}

/// It follows the board, which is not here, and hears of nothing else.
#[tokio::test]
async fn peers_of_version_1_see_nothing_of_it() {
    let node = Node::new().await;
    node.keeper.open(document(1), true);
    let (socket, _) = connect_async(format!("ws://{}/crdt-sync", node.addr)).await.unwrap();
    let mut peer = Peer { socket };
    node.keeper.edit(document(1), "not for everybody");
    assert_eq!(peer.end().await.0, 0);
    // With the board it has a session, and that is all it hears of.
    node.keeper.open(bft_json_crdt::DocumentId::DEFAULT, true);
    let (socket, _) = connect_async(format!("ws://{}/crdt-sync", node.addr)).await.unwrap();
    let mut peer = Peer { socket };
    assert!(matches!(peer.next().await, Ok(Message::Text(_))));
    node.keeper.edit(document(1), "not for everybody");
    node.keeper.open(document(2), true);
    node.keeper.edit(bft_json_crdt::DocumentId::DEFAULT, "for everybody");
    let Ok(Message::Binary(frame)) = peer.next().await else { panic!("an op of the board") };
    assert_eq!(
        gangline_wire::decode(&frame).unwrap().change().document(),
        bft_json_crdt::DocumentId::DEFAULT
    );
    // The board goes, and the session with it.
    node.keeper.close(bft_json_crdt::DocumentId::DEFAULT);
    assert_eq!(peer.end().await.0, 0);
}

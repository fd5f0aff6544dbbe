//! Coordinators come late, come back, and come back with less than they had.

use std::sync::Arc;

use gangline_lease::{AppendError, Follower, Follows, LeaseError, ReadLimit, Seq};
use gangline_store::MemoryEventStore;

use crate::harness::{Kept, Node, RealClock, Wall, any_port, named, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_while_its_coordinator_is_away() {
    let kept = Kept::new();
    let first = Node::coordinator(&kept, any_port()).await;
    let at = first.addr.unwrap();
    first.stop().await;
    let alice = Node::member(1, at, Wall::Behind).await;
    let space = named("s");
    assert!(alice.log.state(&space).await.is_err(), "nobody is there to ask");
    let coordinator = Node::coordinator(&kept, at).await;
    alice.meets(&coordinator).await;
    assert_eq!(alice.append(&space, "a").await.unwrap().seq, Seq(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_comes_back_is_gone_on_with() {
    let kept = Kept::new();
    let coordinator = Node::coordinator(&kept, any_port()).await;
    let at = coordinator.addr.unwrap();
    let (alice, bob) = (Node::member(1, at, Wall::Behind).await, Node::member(2, at, Wall::Behind).await);
    alice.meets(&coordinator).await;
    bob.meets(&coordinator).await;
    let space = named("s");
    let first = alice.append(&space, "a").await.unwrap();
    coordinator.stop().await;
    // What is asked for meanwhile waits for it.
    let (space_there, authority) = (space.clone(), alice.authority.clone());
    let waiting = tokio::spawn(async move {
        let intent = gangline_lease::conformance::intent("b");
        authority.submit(&space_there, intent).await
    });
    until("alice has noticed", || alice.transport.peers().dial_failures > 0).await;
    // It has forgotten who held what.
    kept.registry.forget();
    let coordinator = Node::coordinator(&kept, at).await;
    alice.meets(&coordinator).await;
    bob.meets(&coordinator).await;
    assert_eq!(waiting.await.unwrap().unwrap().seq, Seq(1));
    assert_eq!(bob.append(&space, "c").await.unwrap().seq, Seq(2));
    assert_eq!(alice.append(&space, "a").await.unwrap(), first);
    assert_eq!(alice.append(&space, "d").await.unwrap().seq, Seq(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_has_lost_its_logs_is_noticed() {
    let coordinator = Node::coordinator(&Kept::new(), any_port()).await;
    let at = coordinator.addr.unwrap();
    let alice = Node::member(1, at, Wall::Behind).await;
    alice.meets(&coordinator).await;
    let space = named("s");
    alice.append(&space, "a").await.unwrap();
    coordinator.stop().await;
    until("alice has noticed", || !alice.transport.peers().closed.is_empty()).await;
    let coordinator = Node::coordinator(&Kept::new(), at).await;
    alice.meets(&coordinator).await;
    match alice.append(&space, "b").await {
        Err(AppendError::NotAppended { source: LeaseError::Diverged { .. }, .. }) => {}
        other => panic!("events are gone, but: {other:?}"),
    }
    assert!(alice.authority.divergence(&space).is_some());
    assert_eq!(alice.append(&named("t"), "a").await.unwrap().seq, Seq(0), "other spaces are served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_answers_while_the_coordinator_is_away() {
    let kept = Kept::new();
    let coordinator = Node::coordinator(&kept, any_port()).await;
    let at = coordinator.addr.unwrap();
    let alice = Node::member(1, at, Wall::Behind).await;
    alice.meets(&coordinator).await;
    let copies = Arc::new(MemoryEventStore::new());
    let source = Arc::clone(&alice.log);
    let follower = Follower::new(source, copies, Follows::new(["*"]).unwrap(), RealClock::new());
    let (log, space) = (follower.log(), named("s"));
    let following = tokio::spawn({
        let follower = follower.clone();
        async move { follower.run(&|_| ()).await }
    });
    for id in ["a", "b", "c"] {
        alice.append(&space, id).await.unwrap();
    }
    let read = || log.read(&space, Seq::START, ReadLimit::default());
    let fresh = read().await.unwrap();
    assert_eq!((fresh.found.len(), fresh.stale), (3, None));
    // Beside the one that runs: neither minds the other.
    within("the copy", follower.pass()).await.unwrap();
    coordinator.stop().await;
    until("alice has noticed", || alice.transport.peers().dial_failures > 0).await;
    let stale = read().await.unwrap();
    assert_eq!(stale.found, fresh.found);
    assert!(stale.stale.is_some());
    let coordinator = Node::coordinator(&kept, at).await;
    alice.meets(&coordinator).await;
    alice.append(&space, "d").await.unwrap();
    let mut pause = tokio::time::interval(tokio::time::Duration::from_millis(20));
    within("the coordinator's answer", async {
        while read().await.unwrap().stale.is_some() {
            pause.tick().await;
        }
    })
    .await;
    assert_eq!(read().await.unwrap().found.len(), 4);
    assert!(follower.stopped().is_empty());
    following.abort();
}

//! Intents find the holder, however it can be reached.

use gangline_lease::{ReadLimit, Seq};

use crate::harness::{Kept, Node, Wall, any_port, named, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_behind_a_wall_gets_what_others_append() {
    let coordinator = Node::coordinator(&Kept::new(), any_port()).await;
    let at = coordinator.addr.unwrap();
    let (alice, bob) = (Node::member(1, at, Wall::Behind).await, Node::member(2, at, Wall::Behind).await);
    alice.meets(&coordinator).await;
    bob.meets(&coordinator).await;
    let space = named("s");
    assert_eq!(alice.append(&space, "a").await.unwrap().seq, Seq(0));
    assert!(alice.authority.holds(&space));
    assert_eq!(bob.append(&space, "b").await.unwrap().seq, Seq(1), "through the coordinator");
    assert_eq!(coordinator.append(&space, "c").await.unwrap().seq, Seq(2), "through alice's own session");
    assert!(!bob.knows(&alice) && !alice.knows(&bob));
    let events = bob.authority.read(&space, Seq::START, ReadLimit::default()).await.unwrap();
    let whose: Vec<_> = events.iter().map(|event| (event.author, event.holder)).collect();
    assert_eq!(whose, [(alice.id(), alice.id()), (bob.id(), alice.id()), (coordinator.id(), alice.id())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_says_where_it_is_is_dialled_while_it_is_used() {
    let coordinator = Node::coordinator(&Kept::new(), any_port()).await;
    let at = coordinator.addr.unwrap();
    let (alice, bob) = (Node::member(1, at, Wall::None).await, Node::member(2, at, Wall::Behind).await);
    alice.meets(&coordinator).await;
    bob.meets(&coordinator).await;
    let space = named("s");
    alice.append(&space, "a").await.unwrap();
    assert_eq!(bob.append(&space, "b").await.unwrap().seq, Seq(1));
    assert!(bob.knows(&alice), "bob has dialled alice");
    // The other way round over the same session, which is bob's.
    alice.authority.release(&space).await.unwrap();
    assert_eq!(bob.append(&space, "c").await.unwrap().seq, Seq(2));
    assert!(bob.authority.holds(&space));
    assert_eq!(alice.append(&space, "d").await.unwrap().seq, Seq(3));
    until("the session that nobody uses ends", || !bob.knows(&alice)).await;
    assert!(bob.knows(&coordinator));
    assert_eq!(alice.append(&space, "e").await.unwrap().seq, Seq(4), "by way of the coordinator again");
}

/// As callers do that were not answered in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_id_has_one_result_wherever_it_is_asked_for() {
    let coordinator = Node::coordinator(&Kept::new(), any_port()).await;
    let at = coordinator.addr.unwrap();
    let (alice, bob) = (Node::member(1, at, Wall::None).await, Node::member(2, at, Wall::Behind).await);
    alice.meets(&coordinator).await;
    bob.meets(&coordinator).await;
    let space = named("s");
    for n in 0..30 {
        let id = format!("i{n}");
        if n % 10 == 5 {
            alice.authority.release(&space).await.unwrap();
            bob.authority.release(&space).await.unwrap();
        }
        let (one, two, three, four) = tokio::join!(
            alice.append(&space, &id),
            bob.append(&space, &id),
            coordinator.append(&space, &id),
            // One who does not wait for it.
            async {
                let soon = tokio::time::Duration::from_micros(300);
                drop(tokio::time::timeout(soon, bob.append(&space, &id)).await);
                bob.append(&space, &id).await
            }
        );
        let first = one.unwrap();
        assert_eq!(first.seq, Seq(n));
        for other in [two, three, four] {
            assert_eq!(other.unwrap(), first);
        }
    }
}

/// More at a time than a session takes calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_all_appended_once() {
    let coordinator = Node::coordinator(&Kept::new(), any_port()).await;
    let at = coordinator.addr.unwrap();
    let (alice, bob) = (Node::member(1, at, Wall::None).await, Node::member(2, at, Wall::Behind).await);
    alice.meets(&coordinator).await;
    bob.meets(&coordinator).await;
    let space = named("s");
    alice.append(&space, "first").await.unwrap();
    let appends = (0..400).map(|n| {
        let (authority, space) = (bob.authority.clone(), space.clone());
        tokio::spawn(async move {
            let intent = gangline_lease::conformance::intent(&format!("i{n}"));
            authority.submit(&space, intent).await.map(|placed| placed.seq)
        })
    });
    let appends: Vec<_> = appends.collect();
    let mut seqs = Vec::new();
    for append in appends {
        seqs.push(append.await.unwrap().unwrap().0);
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=400).collect::<Vec<_>>());
    assert!(alice.authority.holds(&space));
}

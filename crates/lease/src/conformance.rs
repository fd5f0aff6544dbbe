//! What every backend of [`EventStore`](crate::EventStore) and [`LeaseRegistry`](crate::LeaseRegistry) must do, as
//! checks over the real [`AppendAuthority`](crate::AppendAuthority) (feature `conformance`).
//!
//! First what a holder and its lease do, then every invariant, by its name.
//!
//! ```text
//! #[test]
//! fn memory() {
//!     gangline_lease::conformance::check(|_name, clock| {
//!         let (store, registry) = (MemoryEventStore::new(), MemoryLeaseRegistry::new(clock));
//!         Box::new(move || (Arc::new(store.clone()), Arc::new(registry.clone())))
//!     });
//! }
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "checks fail by panicking"
)]

mod copies;
mod ground;
mod invariants;
mod network;

use std::{sync::Arc, time::Duration};

pub use self::ground::{
    Fault, FaultyStore, ForgetfulRegistry, ManualClock, Member, Open, Team, block_on, intent, writer,
};
pub use self::network::{Network, Outcome, over_calls, parts};
use crate::{AppendError, LeaseError, LeaseSettings, ReadLimit, Seq, SpaceName};

/// Runs every check, each on a backend of its own that `make` makes handles on, by the name of the check. The
/// registry uses the clock that `make` is given.
///
/// # Panics
/// If the backend breaks the contract.
pub fn check(make: impl Fn(&str, Arc<ManualClock>) -> Open) {
    let run = |name: &str, check: fn(&Team)| {
        let clock = ManualClock::new();
        check(&Team::new(Arc::clone(&clock), make(name, clock)));
    };
    run("only_one_node_holds_a_space", only_one_node_holds_a_space);
    run("appends_of_all_nodes_stand_in_one_order", appends_of_all_nodes_stand_in_one_order);
    run("an_expired_lease_is_taken_over_from_the_head", an_expired_lease_is_taken_over_from_the_head);
    run("a_stale_holder_finds_out_and_forwards", a_stale_holder_finds_out_and_forwards);
    run("the_first_append_acquires", the_first_append_acquires);
    run("leases_are_renewed_while_they_are_used", leases_are_renewed_while_they_are_used);
    run("a_released_space_is_free_at_once", a_released_space_is_free_at_once);
    run("a_node_that_restarts_takes_its_own_back", a_node_that_restarts_takes_its_own_back);
    run("spaces_are_listed_and_apart", spaces_are_listed_and_apart);
    run("reads_keep_to_their_limits", reads_keep_to_their_limits);
    run("a_tail_has_no_gaps", a_tail_has_no_gaps);
    invariants::check(&run);
    copies::check(&|name, check| {
        let team = |of: &str| {
            let clock = ManualClock::new();
            Team::new(Arc::clone(&clock), make(&format!("{name}-{of}"), clock))
        };
        check(&team("here"), &team("there"));
    });
}

/// The name of a space.
fn named(name: &str) -> SpaceName {
    SpaceName::new(name).unwrap()
}

fn ttl() -> Duration {
    LeaseSettings::default().ttl
}

fn ids(events: &[crate::Event]) -> Vec<&str> {
    events.iter().map(|event| event.id.as_str()).collect()
}

fn only_one_node_holds_a_space(team: &Team) {
    let (alice, bob) = (team.member(1), team.member(2));
    let space = named("s");
    block_on(alice.authority.acquire(&space)).unwrap();
    assert!(alice.authority.holds(&space) && !bob.authority.holds(&space));
    team.clock.advance(Duration::from_secs(2));
    match block_on(bob.authority.acquire(&space)) {
        Err(LeaseError::Held { holder, left }) => {
            assert_eq!(holder.node, alice.node());
            assert_eq!(left, ttl() - Duration::from_secs(2));
        }
        other => panic!("held by another, but: {other:?}"),
    }
    block_on(bob.authority.acquire(&named("t"))).unwrap();
    block_on(alice.authority.acquire(&space)).unwrap();
    assert!(team.verified(&space).is_empty());
}

fn appends_of_all_nodes_stand_in_one_order(team: &Team) {
    let (alice, bob) = (team.member(1), team.member(2));
    let space = named("s");
    block_on(alice.authority.acquire(&space)).unwrap();
    for n in 0..12_u64 {
        let by = if n % 3 == 0 { &alice } else { &bob };
        assert_eq!(by.append(&space, &format!("i{n}")).unwrap().seq, Seq(n));
        assert!(!bob.authority.holds(&space), "whoever forwards does not write");
    }
    let events = team.verified(&space);
    assert_eq!(events.len(), 12);
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event.id.as_str(), format!("i{n}"));
        assert_eq!(event.holder, alice.node());
        assert_eq!(event.author, if n % 3 == 0 { alice.node() } else { bob.node() });
        assert_eq!(event.payload.as_str(), format!("{{\"alias\":2,\"target\":\"x:i{n}\"}}"));
    }
}

fn an_expired_lease_is_taken_over_from_the_head(team: &Team) {
    let (alice, bob) = (team.member(1), team.member(2));
    let space = named("s");
    let first = alice.append(&space, "a").unwrap();
    team.forwarder.leave(alice.node());
    team.clock.advance(ttl() - Duration::from_millis(1));
    assert!(matches!(block_on(bob.authority.acquire(&space)), Err(LeaseError::Held { .. })));
    team.clock.advance(Duration::from_millis(1));
    block_on(bob.authority.acquire(&space)).unwrap();
    let second = bob.append(&space, "b").unwrap();
    assert_eq!((first.seq, second.seq), (Seq(0), Seq(1)));
    assert!(second.epoch > first.epoch);
    assert_eq!(ids(&team.verified(&space)), ["a", "b"]);
}

fn a_stale_holder_finds_out_and_forwards(team: &Team) {
    let (alice, bob) = (team.member(1), team.member(2));
    let space = named("s");
    alice.append(&space, "a").unwrap();
    team.clock.advance(ttl());
    block_on(bob.authority.acquire(&space)).unwrap();
    bob.append(&space, "b").unwrap();
    let placed = alice.append(&space, "c").unwrap();
    assert_eq!(placed.seq, Seq(2));
    assert!(!alice.authority.holds(&space));
    let events = team.verified(&space);
    assert_eq!(ids(&events), ["a", "b", "c"]);
    assert_eq!((events[2].holder, events[2].author), (bob.node(), alice.node()));
}

fn the_first_append_acquires(team: &Team) {
    let (alice, bob) = (team.member(1), team.member(2));
    let space = named("s");
    assert!(!bob.authority.holds(&space));
    bob.append(&space, "a").unwrap();
    assert!(bob.authority.holds(&space));
    alice.append(&space, "b").unwrap();
    assert!(!alice.authority.holds(&space));
    assert_eq!(ids(&team.verified(&space)), ["a", "b"]);
}

fn leases_are_renewed_while_they_are_used(team: &Team) {
    let (alice, bob) = (team.member(1), team.member(2));
    let space = named("s");
    let epoch = alice.append(&space, "a0").unwrap().epoch;
    for n in 1..=40 {
        team.clock.advance(ttl() / 4);
        block_on(alice.authority.renew_due());
        assert!(alice.authority.holds(&space), "after {n} quarters of a ttl");
        if n % 8 == 0 {
            let placed = alice.append(&space, &format!("a{n}")).unwrap();
            assert_eq!(placed.epoch, epoch, "the epoch stays through renewals");
        }
        assert!(matches!(block_on(bob.authority.acquire(&space)), Err(LeaseError::Held { .. })));
    }
    // Nobody uses the space any more: it costs nothing, and becomes free.
    for _ in 0..60 {
        team.clock.advance(ttl() / 4);
        block_on(alice.authority.renew_due());
    }
    assert_eq!(alice.authority.next_renewal(), None);
    assert_eq!(alice.authority.used_and_at_rest(), (0, 1));
    block_on(bob.authority.acquire(&space)).unwrap();
    assert!(bob.authority.holds(&space) && !alice.authority.holds(&space));
}

fn a_released_space_is_free_at_once(team: &Team) {
    let (alice, bob) = (team.member(1), team.member(2));
    let space = named("s");
    let first = alice.append(&space, "a").unwrap();
    block_on(alice.authority.release_all()).unwrap();
    assert!(!alice.authority.holds(&space));
    let second = bob.append(&space, "b").unwrap();
    assert!(bob.authority.holds(&space), "it did not have to wait");
    assert!(second.epoch > first.epoch, "a release does not take the epoch back");
    assert_eq!(ids(&team.verified(&space)), ["a", "b"]);
}

fn a_node_that_restarts_takes_its_own_back(team: &Team) {
    let alice = team.member(1);
    let space = named("s");
    let first = alice.append(&space, "a").unwrap();
    let again = team.member(1);
    let second = again.append(&space, "b").unwrap();
    assert!(second.epoch > first.epoch);
    let late = alice.append(&space, "c");
    assert!(
        late.is_ok() || matches!(late, Err(AppendError::Unknown { .. } | AppendError::NotAppended { .. }))
    );
    assert_eq!(ids(&team.verified(&space))[..2], ["a", "b"]);
}

fn spaces_are_listed_and_apart(team: &Team) {
    let alice = team.member(1);
    for name in ["b", "a/1", "c:2"] {
        assert_eq!(alice.append(&named(name), "same-id").unwrap().seq, Seq(0));
    }
    let (store, _) = team.backend();
    let list = |after: Option<&SpaceName>, count| block_on(store.spaces(after, count)).unwrap();
    assert_eq!(list(None, 10), [named("a/1"), named("b"), named("c:2")]);
    assert_eq!(list(Some(&named("a/1")), 1), [named("b")]);
    assert_eq!(list(Some(&named("z")), 1), []);
    assert!(block_on(store.read(&named("none"), Seq::START, ReadLimit::default())).unwrap().is_empty());
    assert_eq!(block_on(store.state(&named("none"))).unwrap(), None);
    assert_eq!(block_on(store.find(&named("none"), &intent("x").id)).unwrap(), None);
    assert_eq!(block_on(store.find(&named("b"), &intent("x").id)).unwrap(), None);
}

fn reads_keep_to_their_limits(team: &Team) {
    let alice = team.member(1);
    let space = named("s");
    for n in 0..20 {
        alice.append(&space, &format!("i{n}")).unwrap();
    }
    let read = |from, count, bytes| {
        let events = block_on(alice.authority.read(&space, Seq(from), ReadLimit { count, bytes })).unwrap();
        events.iter().map(|event| event.seq.0).collect::<Vec<_>>()
    };
    let size = intent("i4").payload.bytes().len();
    assert_eq!(read(3, 5, usize::MAX), [3, 4, 5, 6, 7]);
    assert_eq!(read(18, 5, usize::MAX), [18, 19]);
    assert_eq!(read(4, 5, 2 * size), [4, 5]);
    assert_eq!(read(4, 5, 2 * size - 1), [4]);
    assert_eq!(read(4, 0, 0), [4], "one event in any case");
    assert!(read(20, 5, usize::MAX).is_empty());
    assert!(read(u64::MAX, 5, usize::MAX).is_empty());
    assert_eq!(read(0, usize::MAX, usize::MAX).len(), 20);
}

fn a_tail_has_no_gaps(team: &Team) {
    let (alice, bob) = (team.member(1), team.member(2));
    let space = named("s");
    let mut tail = bob.authority.tail(&space, Seq::START);
    let mut seen = 0;
    for n in 0..20 {
        alice.append(&space, &format!("i{n}")).unwrap();
        if n % 3 == 0 {
            let limit = ReadLimit { count: 2, bytes: usize::MAX };
            for event in block_on(tail.next(limit)).unwrap() {
                assert_eq!(event.seq, Seq(seen));
                seen += 1;
            }
            assert_eq!(tail.position(), Seq(seen));
        }
    }
    assert!(seen >= 7);
}

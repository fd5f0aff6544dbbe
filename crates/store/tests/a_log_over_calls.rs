//! A log that lives at another node: it keeps the contract over calls, nobody speaks for others there, and calls that
//! get lost leave nothing wrong behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::{sync::Arc, time::Duration};

use bft_json_crdt::{AuthorId, Keypair};
use gangline_lease::{
    Answer, AppendAuthority, AppendError, Ask, CallFailed, Caller, Epoch, EventStore, Forward, ForwardError,
    Forwarder, Incarnation, LeaseRegistry, LeaseSettings, Reach, ReadLimit, Refused, RemoteForwarder,
    RemoteLog, Reply, SealError, Seq, SpaceName, StoreError,
    conformance::{self, ManualClock, Network, Open, Outcome, block_on, intent, over_calls, parts},
    remote::{Admits, Backend, Desk, METHODS, Right},
};
use gangline_store::{MemoryEventStore, MemoryLeaseRegistry};
use proptest::prelude::*;

#[test]
fn the_contract_is_kept_over_calls() {
    conformance::check(|_name, clock| {
        let (store, registry) = (MemoryEventStore::new(), MemoryLeaseRegistry::new(Arc::clone(&clock) as _));
        let open: Open = Box::new(move || (Arc::new(store.clone()), Arc::new(registry.clone())));
        over_calls(&Network::default(), &clock, open)
    });
}

/// A coordinator and two members, as nodes are put together.
struct Office {
    clock: Arc<ManualClock>,
    network: Network,
    store: MemoryEventStore,
    registry: MemoryLeaseRegistry,
    coordinator: Node,
}

struct Node {
    key: Keypair,
    authority: AppendAuthority,
    desk: Desk,
}

fn everybody() -> Admits {
    Arc::new(|_, _| true)
}

fn settings() -> LeaseSettings {
    LeaseSettings::default()
}

impl Office {
    fn new(admits: Admits) -> Self {
        let clock = ManualClock::new();
        let network = Network::default();
        let store = MemoryEventStore::new();
        let registry = MemoryLeaseRegistry::new(Arc::clone(&clock) as _);
        let key = Keypair::from_seed(&[100; 32]);
        let forwarder = RemoteForwarder::new(network.caller(key.author()), None);
        let (backend, made) = (
            Backend { store: Arc::new(store.clone()), registry: Arc::new(registry.clone()) },
            parts(&key, &clock, Arc::new(store.clone()), Arc::new(registry.clone()), Arc::new(forwarder)),
        );
        let authority = AppendAuthority::new(made, settings()).unwrap();
        let desk = Desk::of_coordinator(authority.clone(), backend, admits);
        network.join(key.author(), &desk);
        Self { clock, network, store, registry, coordinator: Node { key, authority, desk } }
    }

    fn at(&self) -> Reach {
        Reach { node: self.coordinator.key.author(), url: None }
    }

    fn log_as(&self, node: AuthorId) -> RemoteLog {
        let at = self.at();
        RemoteLog::new(self.network.caller(node), Arc::new(move || Some(at.clone())))
    }

    fn member(&self, number: u8) -> Node {
        let key = Keypair::from_seed(&[number; 32]);
        let at = self.at();
        let coordinator: gangline_lease::Coordinator = Arc::new(move || Some(at.clone()));
        let log = Arc::new(self.log_as(key.author()));
        let forwarder =
            RemoteForwarder::new(self.network.caller(key.author()), Some(Arc::clone(&coordinator)));
        let made = parts(&key, &self.clock, Arc::clone(&log) as _, log, Arc::new(forwarder));
        let authority = AppendAuthority::new(made, settings()).unwrap();
        let desk = Desk::of_member(authority.clone(), coordinator, everybody());
        self.network.join(key.author(), &desk);
        Node { key, authority, desk }
    }
}

impl Node {
    fn append(&self, space: &SpaceName, id: &str) -> Result<Seq, AppendError> {
        block_on(self.authority.submit(space, intent(id))).map(|placed| placed.seq)
    }

    fn id(&self) -> AuthorId {
        self.key.author()
    }
}

fn named(name: &str) -> SpaceName {
    SpaceName::new(name).unwrap()
}

#[test]
fn a_team_appends_through_its_holder() {
    let office = Office::new(everybody());
    let (alice, bob) = (office.member(1), office.member(2));
    let space = named("s");
    assert_eq!(alice.append(&space, "a").unwrap(), Seq(0));
    assert_eq!(bob.append(&space, "b").unwrap(), Seq(1));
    assert_eq!(office.coordinator.append(&space, "c").unwrap(), Seq(2), "in both directions");
    assert!(alice.authority.holds(&space) && !bob.authority.holds(&space));
    let events = block_on(alice.authority.read(&space, Seq::START, ReadLimit::default())).unwrap();
    let whose: Vec<_> = events.iter().map(|event| (event.author, event.holder)).collect();
    assert_eq!(
        whose,
        [(alice.id(), alice.id()), (bob.id(), alice.id()), (office.coordinator.id(), alice.id())]
    );
    block_on(alice.authority.release(&space)).unwrap();
    assert_eq!(bob.append(&space, "d").unwrap(), Seq(3));
    assert!(bob.authority.holds(&space), "free at once");
}

/// The holder can be reached by the coordinator alone, to which it has opened a connection.
#[test]
fn a_holder_behind_a_wall_is_reached_through_the_coordinator() {
    let office = Office::new(everybody());
    let (alice, bob) = (office.member(1), office.member(2));
    let space = named("s");
    alice.append(&space, "a").unwrap();
    office.network.cut(bob.id(), alice.id());
    assert_eq!(bob.append(&space, "b").unwrap(), Seq(1));
    let event = block_on(office.store.read(&space, Seq(1), ReadLimit::default())).unwrap().remove(0);
    assert_eq!((event.author, event.holder), (bob.id(), alice.id()), "it stays bob's");
    // Whoever is not its coordinator cannot hand on to it.
    let forward = Forward { space, intent: intent("c"), author: bob.id(), epoch: Epoch(1), hops: 1 };
    let mallory = office.member(3);
    let by_mallory = RemoteForwarder::new(office.network.caller(mallory.id()), None);
    let reach = |node: &Node| Reach { node: node.id(), url: None };
    for to in [reach(&alice), reach(&office.coordinator)] {
        let reply = block_on(by_mallory.forward(&to, forward.clone())).unwrap();
        assert!(matches!(reply, Reply::Refused(Refused::Forbidden(_))), "{reply:?}");
    }
    assert_eq!(block_on(office.store.find(&forward.space, &forward.intent.id)).unwrap(), None);
}

#[test]
fn a_member_that_does_not_hold_says_who_does() {
    let office = Office::new(everybody());
    let (alice, bob) = (office.member(1), office.member(2));
    let space = named("s");
    alice.append(&space, "a").unwrap();
    let carol = office.member(3);
    let forward = Forward { space, intent: intent("b"), author: carol.id(), epoch: Epoch(1), hops: 2 };
    let to = Reach { node: bob.id(), url: None };
    let by_carol = RemoteForwarder::new(office.network.caller(carol.id()), None);
    let reply = block_on(by_carol.forward(&to, forward)).unwrap();
    let Reply::Redirect(Some(lease)) = reply else { panic!("bob does not hold it: {reply:?}") };
    assert_eq!(lease.holder.node, alice.id());
}

/// What alice has said once, word for word, mallory says again as herself.
#[test]
fn nobody_speaks_for_others() {
    let office = Office::new(everybody());
    let alice = office.member(1);
    let mallory = Keypair::from_seed(&[66; 32]).author();
    let space = named("s");
    let _before = office.network.calls();
    alice.append(&space, "a").unwrap();
    block_on(alice.authority.release(&space)).unwrap();
    let said = office.network.calls();
    let state = block_on(office.store.state(&space)).unwrap();
    // Two cannot follow from a name: that the space is free, and what is read, is the same for everybody.
    let mut refused = 0;
    for (method, body) in &said {
        let again = block_on(office.coordinator.desk.serve(mallory, *method, body.clone()));
        refused += usize::from(again.is_err());
    }
    // Acquire, append and release name alice, or are signed by her; a seal is not above any more.
    assert_eq!(refused, 3, "{:?}", said.iter().map(|(method, _)| method).collect::<Vec<_>>());
    assert_eq!(block_on(office.store.state(&space)).unwrap(), state, "nothing has changed");
    assert_eq!(block_on(office.registry.lease(&space)).unwrap(), None);
}

#[test]
fn whoever_does_not_hold_a_space_cannot_fence_its_holder() {
    let office = Office::new(everybody());
    let alice = office.member(1);
    let space = named("s");
    alice.append(&space, "a").unwrap();
    let log = office.log_as(Keypair::from_seed(&[66; 32]).author());
    let sealed = block_on(log.seal(&space, Epoch(9), Incarnation([0; 16])));
    assert!(matches!(sealed, Err(SealError::Store(StoreError::Refused { .. }))), "{sealed:?}");
    assert_eq!(alice.append(&space, "b").unwrap(), Seq(1));
}

#[test]
fn nobody_uses_up_all_epochs() {
    let office = Office::new(everybody());
    let alice = office.member(1);
    let space = named("s");
    let log = office.log_as(alice.id());
    assert!(block_on(log.seal(&space, Epoch(u64::MAX), Incarnation([0; 16]))).is_err());
    let ask = Ask {
        holder: Reach { node: alice.id(), url: None },
        ttl: Duration::from_secs(1),
        above: Epoch(u64::MAX),
    };
    let lease = block_on(log.acquire(&space, &ask)).unwrap();
    assert!(lease.epoch < Epoch(1 << 40), "{}", lease.epoch);
    assert_eq!(alice.append(&space, "a").unwrap(), Seq(0));
}

#[test]
fn rights_are_the_coordinators_to_give() {
    let alice = Keypair::from_seed(&[1; 32]).author();
    let bob = Keypair::from_seed(&[2; 32]).author();
    let office =
        Office::new(Arc::new(move |peer, right| *peer == alice || (*peer == bob && right == Right::Read)));
    let (alice, bob, carol) = (office.member(1), office.member(2), office.member(3));
    let space = named("s");
    alice.append(&space, "a").unwrap();
    let read = |node: &Node| block_on(node.authority.read(&space, Seq::START, ReadLimit::default()));
    assert_eq!(read(&bob).unwrap().len(), 1);
    assert!(matches!(read(&carol), Err(StoreError::Refused { .. })));
    assert!(bob.append(&named("t"), "b").is_err());
    assert_eq!(block_on(office.store.state(&named("t"))).unwrap(), None);
    // Nor by way of a forward.
    let forward =
        Forward { space: named("t"), intent: intent("b"), author: bob.id(), epoch: Epoch(0), hops: 2 };
    let by_bob = RemoteForwarder::new(office.network.caller(bob.id()), None);
    let reply = block_on(by_bob.forward(&office.at(), forward)).unwrap();
    assert!(matches!(reply, Reply::Refused(Refused::Forbidden(_))), "{reply:?}");
}

#[test]
fn a_member_keeps_no_logs_for_others() {
    let office = Office::new(everybody());
    let (alice, bob) = (office.member(1), office.member(2));
    for method in METHODS.skip(1) {
        let reply = block_on(alice.desk.serve(bob.id(), method, Vec::new()));
        assert!(reply.unwrap_err().contains("ask its coordinator"));
    }
}

/// Calls that never end do not pile up.
#[test]
fn a_peer_has_so_many_calls_in_work() {
    struct Never;
    impl Caller for Never {
        fn call<'a>(&'a self, _: &'a Reach, _: u32, _: Vec<u8>) -> Answer<'a, Result<Vec<u8>, CallFailed>> {
            Box::pin(std::future::pending())
        }
    }
    let office = Office::new(everybody());
    let alice = office.member(1);
    let never: Arc<dyn Caller> = Arc::new(Never);
    let at = office.at();
    let log = Arc::new(RemoteLog::new(never, Arc::new(move || Some(at.clone()))));
    let key = Keypair::from_seed(&[50; 32]);
    let forwarder = Arc::new(RemoteForwarder::new(office.network.caller(key.author()), None));
    let stuck =
        AppendAuthority::new(parts(&key, &office.clock, Arc::clone(&log) as _, log, forwarder), settings());
    let desk = Desk::of_member(stuck.unwrap(), Arc::new(|| None), everybody());
    let forward = |id: usize| {
        let forward = Forward {
            space: named("s"),
            intent: intent(&format!("i{id}")),
            author: alice.id(),
            epoch: Epoch(1),
            hops: 0,
        };
        let network = Network::default();
        let to = Reach { node: alice.id(), url: None };
        let sent = block_on(RemoteForwarder::new(network.caller(alice.id()), None).forward(&to, forward));
        assert_eq!(sent, Err(ForwardError::Unreachable));
        network.calls().remove(0)
    };
    let mut waker = std::task::Context::from_waker(std::task::Waker::noop());
    let mut in_work = Vec::new();
    let mut refused = None;
    for id in 0..1_000 {
        let (method, body) = forward(id);
        let mut call = desk.serve(alice.id(), method, body);
        match call.as_mut().poll(&mut waker) {
            std::task::Poll::Pending => in_work.push(call),
            std::task::Poll::Ready(reply) => {
                refused = Some(reply.unwrap_err());
                break;
            }
        }
    }
    assert_eq!(in_work.len(), 64);
    assert!(refused.unwrap().contains("come again later"));
    let (method, body) = forward(2_000);
    in_work.pop();
    let mut call = desk.serve(alice.id(), method, body);
    assert!(call.as_mut().poll(&mut waker).is_pending(), "whoever leaves makes room");
}

/// A reply that is lost is neither success nor failure, and one that never left is no riddle.
#[test]
fn lost_calls_are_told_apart() {
    let office = Office::new(everybody());
    let space = named("s");
    let log = office.log_as(Keypair::from_seed(&[1; 32]).author());
    let seal = |epoch: u64| block_on(log.seal(&space, Epoch(epoch), Incarnation([0; 16])));
    office.network.next([Outcome::Unreachable]);
    assert!(matches!(seal(1), Err(SealError::Store(StoreError::Refused { .. }))));
    assert_eq!(block_on(office.store.state(&space)).unwrap(), None);
    office.network.next([Outcome::LoseAnswer]);
    assert!(matches!(seal(1), Err(SealError::Store(StoreError::Unknown { .. }))));
    assert_eq!(block_on(office.store.state(&space)).unwrap().unwrap().epoch, Epoch(1));
    office.network.next([Outcome::LoseRequest]);
    assert!(matches!(seal(2), Err(SealError::Store(StoreError::Unknown { .. }))));
    office.network.next([Outcome::LoseAnswer]);
    let read = block_on(log.state(&space));
    assert!(
        matches!(read, Err(StoreError::Refused { .. })),
        "a look changes nothing, whatever got lost: {read:?}"
    );
    office.network.next([Outcome::Garble]);
    assert!(matches!(seal(3), Err(SealError::Store(StoreError::Unknown { .. }))));
}

/// More than one message holds, under the limits that a local store has.
#[test]
fn reads_are_as_long_as_they_are_asked_for() {
    let office = Office::new(everybody());
    let alice = office.member(1);
    let space = named("s");
    let big = |n: usize| {
        let mut intent = intent(&format!("i{n}"));
        let json = format!("{{\"x\":\"{}\"}}", "y".repeat(900_000));
        intent.payload = gangline_lease::Payload::parse(json.as_bytes()).unwrap();
        intent
    };
    for n in 0..7 {
        block_on(alice.authority.submit(&space, big(n))).unwrap();
    }
    let log = office.log_as(alice.id());
    let size = big(0).payload.bytes().len();
    for (from, count, bytes) in [
        (0, 100, usize::MAX),
        (0, 100, 5 * size),
        (0, 100, 5 * size - 1),
        (2, 3, usize::MAX),
        (0, 100, 0),
        (6, 9, 1),
    ] {
        let limit = ReadLimit { count, bytes };
        let there = block_on(office.store.read(&space, Seq(from), limit)).unwrap();
        let here = block_on(log.read(&space, Seq(from), limit)).unwrap();
        assert_eq!(here.len(), there.len(), "from {from}, {limit:?}");
        assert!(here == there);
    }
    for n in 0..5 {
        alice.append(&named(&format!("t{n}")), "a").unwrap();
    }
    for (after, count) in [(None, 100), (None, 3), (Some(named("t1")), 2), (None, 0)] {
        let there = block_on(office.store.spaces(after.as_ref(), count)).unwrap();
        assert_eq!(block_on(log.spaces(after.as_ref(), count)).unwrap(), there);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Garbage, and messages that are almost right, change nothing and crash nothing.
    #[test]
    fn a_desk_survives_whatever_comes(
        garbage in proptest::collection::vec(any::<u8>(), 0..300),
        method in 0..40_u32,
        at in any::<prop::sample::Index>(),
        with in 1..=255_u8,
    ) {
        let office = Office::new(everybody());
        let alice = office.member(1);
        let space = named("s");
        let _before = office.network.calls();
        alice.append(&space, "a").unwrap();
        let said = office.network.calls();
        let before = block_on(office.store.state(&space)).unwrap().unwrap();
        let bob = Keypair::from_seed(&[2; 32]).author();
        let _any = block_on(office.coordinator.desk.serve(bob, method, garbage));
        for (method, mut body) in said {
            let at = at.index(body.len());
            body[at] ^= with;
            let _any = block_on(office.coordinator.desk.serve(alice.id(), method, body));
        }
        let after = block_on(office.store.state(&space)).unwrap().unwrap();
        prop_assert_eq!(after.head, before.head, "nothing that alice has not signed is in her log");
    }
}

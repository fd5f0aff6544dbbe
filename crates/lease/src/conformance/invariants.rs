//! The invariants, each by its name.

use std::{sync::Arc, time::Duration};

use bft_json_crdt::{Digest, Keypair};

use super::{Fault, ForgetfulRegistry, Member, Team, block_on, ids, intent, named, ttl};
use crate::{
    AppendError, AppendFailed, Bid, Divergence, Epoch, Grant, Head, Incarnation, LeaseError, Payload, Placed,
    SealError, Seen, Seq, SpaceName, SpaceState, Written,
};

/// A check, and what runs it by its name.
type Check = fn(&Team);

pub(super) fn check(run: &dyn Fn(&str, Check)) {
    run("contiguous_and_one_event_per_seq", contiguous_and_one_event_per_seq);
    run("epochs_never_fall_along_the_log", epochs_never_fall_along_the_log);
    run("sealed_means_sealed", sealed_means_sealed);
    run("a_seal_is_above_what_was_sealed", a_seal_is_above_what_was_sealed);
    run("each_intent_once", each_intent_once);
    run("each_intent_once_within_a_batch", each_intent_once_within_a_batch);
    run("a_repetition_is_told_from_an_append", a_repetition_is_told_from_an_append);
    run("a_refused_batch_changes_nothing", a_refused_batch_changes_nothing);
    run("acknowledged_means_readable", acknowledged_means_readable);
    run("the_holder_stops_in_time", the_holder_stops_in_time);
    run("a_paused_holder_is_fenced", a_paused_holder_is_fenced);
    run("the_head_moves_after_a_claim_check_only", the_head_moves_after_a_claim_check_only);
    run("unknown_stays_unknown", unknown_stays_unknown);
    run("a_lost_answer_is_found_out", a_lost_answer_is_found_out);
    run("a_registry_may_forget", a_registry_may_forget);
    run("a_log_that_diverged_is_not_served", a_log_that_diverged_is_not_served);
    run("a_log_that_has_again_what_was_seen_is_served", a_log_that_has_again_what_was_seen_is_served);
    run("hashes_are_equal_on_all_backends", hashes_are_equal_on_all_backends);
}

/// A writer without an authority: what a holder does at the store, step by step.
struct Hand {
    key: Keypair,
    space: SpaceName,
    grant: Grant,
    head: Head,
}

impl Hand {
    fn seal(team: &Team, number: u8, space: &SpaceName, epoch: u64) -> Self {
        let key = Keypair::from_seed(&[number; 32]);
        let (store, _) = team.backend();
        let state = block_on(store.seal(space, Epoch(epoch), Incarnation([number; 16]))).unwrap();
        assert_eq!(state.epoch, Epoch(epoch));
        let grant = Grant::new(space.clone(), state.incarnation, Epoch(epoch), key.author());
        Self { key, space: space.clone(), grant, head: state.head }
    }

    fn append(&self, team: &Team, intents: &[&str]) -> Result<Written, AppendFailed> {
        let intents: Vec<_> = intents.iter().map(|id| (intent(id), self.key.author())).collect();
        let batch = self.grant.batch(self.head, &intents, &self.key).unwrap();
        assert_eq!(
            batch.bid(),
            Bid { incarnation: self.grant.incarnation(), epoch: self.grant.epoch(), head: self.head }
        );
        block_on(team.backend().0.append(&batch))
    }

    fn done(&mut self, team: &Team, intents: &[&str]) {
        match self.append(team, intents).unwrap() {
            Written::Done(head) => {
                assert_eq!(head.next, self.head.next.plus(intents.len()));
                self.head = head;
            }
            Written::Duplicate(known) => panic!("none of them is known: {known:?}"),
        }
    }
}

fn state(team: &Team, space: &SpaceName) -> SpaceState {
    block_on(team.backend().0.state(space)).unwrap().unwrap()
}

fn contiguous_and_one_event_per_seq(team: &Team) {
    let space = named("s");
    let mut alice = Hand::seal(team, 1, &space, 1);
    let rival =
        Hand { key: alice.key.clone(), space: space.clone(), grant: alice.grant.clone(), head: alice.head };
    alice.done(team, &["a", "b", "c"]);
    match rival.append(team, &["x"]) {
        Err(AppendFailed::Moved { expected, head }) => assert_eq!((expected, head), (rival.head, alice.head)),
        other => panic!("the place is taken, but: {other:?}"),
    }
    // As many events, but others: the hash is compared too.
    let guess = Head { next: alice.head.next, hash: Digest([7; 32]) };
    let rival = Hand { head: guess, ..rival };
    assert!(matches!(rival.append(team, &["x"]), Err(AppendFailed::Moved { .. })));
    let ahead = Hand { head: Head { next: Seq(9), hash: alice.head.hash }, ..rival };
    assert!(matches!(ahead.append(team, &["x"]), Err(AppendFailed::Moved { .. })));
    alice.done(team, &["d"]);
    assert_eq!(ids(&team.verified(&alice.space)), ["a", "b", "c", "d"]);
}

fn epochs_never_fall_along_the_log(team: &Team) {
    let space = named("s");
    let mut alice = Hand::seal(team, 1, &space, 3);
    alice.done(team, &["a"]);
    let mut bob = Hand::seal(team, 2, &space, 7);
    bob.done(team, &["b"]);
    // Even with the true head, and even if the epoch is one that nobody has sealed.
    for epoch in [3, 6, 8] {
        let grant = Grant::new(space.clone(), bob.grant.incarnation(), Epoch(epoch), alice.key.author());
        let late = Hand { key: alice.key.clone(), space: space.clone(), grant, head: bob.head };
        match late.append(team, &["c"]) {
            Err(AppendFailed::Fenced { presented, current }) => {
                assert_eq!((presented, current), (Epoch(epoch), Epoch(7)));
            }
            other => panic!("not its epoch, but: {other:?}"),
        }
    }
    let epochs: Vec<u64> = team.verified(&space).iter().map(|event| event.epoch.0).collect();
    assert_eq!(epochs, [3, 7]);
}

fn sealed_means_sealed(team: &Team) {
    let space = named("s");
    let mut alice = Hand::seal(team, 1, &space, 1);
    alice.done(team, &["a"]);
    // Nothing was appended since the seal, so the head is still the one that alice knows.
    let bob = Hand::seal(team, 2, &space, 2);
    assert_eq!(bob.head, alice.head, "a seal returns the true head");
    assert!(matches!(alice.append(team, &["b"]), Err(AppendFailed::Fenced { .. })));
    assert_eq!(ids(&team.verified(&space)), ["a"]);
    assert_eq!(state(team, &space).epoch, Epoch(2));
}

fn a_seal_is_above_what_was_sealed(team: &Team) {
    let space = named("s");
    let first = Hand::seal(team, 1, &space, 5);
    let (store, _) = team.backend();
    for epoch in [0, 1, 5] {
        match block_on(store.seal(&space, Epoch(epoch), Incarnation([9; 16]))) {
            Err(SealError::NotAbove { presented, current }) => {
                assert_eq!((presented, current), (Epoch(epoch), Epoch(5)));
            }
            other => panic!("not above, but: {other:?}"),
        }
    }
    let next = block_on(store.seal(&space, Epoch(6), Incarnation([9; 16]))).unwrap();
    assert_eq!(next.incarnation, first.grant.incarnation(), "a log is begun once");
    assert_eq!(next.head, Head::start(&space, first.grant.incarnation()));
}

fn each_intent_once(team: &Team) {
    let (alice, bob) = (team.member(1), team.member(2));
    let space = named("s");
    let first = alice.append(&space, "a").unwrap();
    assert_eq!(alice.append(&space, "a").unwrap(), first, "at the same node");
    assert_eq!(bob.append(&space, "a").unwrap(), first, "at another node");
    block_on(alice.authority.release(&space)).unwrap();
    bob.append(&space, "b").unwrap();
    assert_eq!(bob.append(&space, "a").unwrap(), first, "in a later epoch");
    assert_eq!(alice.append(&space, "a").unwrap(), first, "forwarded in a later epoch");

    let refused = |member: &Member| {
        let mut other = intent("a");
        other.payload = Payload::parse(b"{}").unwrap();
        match block_on(member.authority.submit(&space, other)) {
            Err(AppendError::IdReused { id, first: found }) => {
                assert_eq!((id.as_str(), found), ("a", first));
            }
            other => panic!("other content, but: {other:?}"),
        }
    };
    refused(&alice);
    refused(&bob);
    // Whoever cannot reach the holder takes over when its lease has run out.
    team.forwarder.leave(bob.node());
    assert_eq!(alice.append(&space, "a").unwrap(), first, "without the holder");
    refused(&alice);
    assert_eq!(ids(&team.verified(&space)), ["a", "b"]);
}

fn each_intent_once_within_a_batch(team: &Team) {
    let space = named("s");
    let mut alice = Hand::seal(team, 1, &space, 1);
    alice.done(team, &["a", "b"]);
    // What was appended is found by its place in the batch, with the head of then as with the true one.
    for head in [Head::start(&space, alice.grant.incarnation()), alice.head] {
        let again = Hand { head, grant: alice.grant.clone(), key: alice.key.clone(), space: space.clone() };
        let Ok(Written::Duplicate(known)) = again.append(team, &["x", "b", "y", "a"]) else {
            panic!("two of them are known")
        };
        let places: Vec<(usize, Seq)> = known.iter().map(|(at, placed)| (*at, placed.seq)).collect();
        assert_eq!(places, [(1, Seq(1)), (3, Seq(0))]);
    }
    assert_eq!(ids(&team.verified(&space)), ["a", "b"], "nothing of it was written");
}

fn a_repetition_is_told_from_an_append(team: &Team) {
    let (alice, bob) = (team.member(1), team.member(2));
    let space = named("s");
    let is_new =
        |member: &Member, id: &str| block_on(member.authority.land(&space, intent(id))).unwrap().is_new;
    assert!(is_new(&alice, "a"));
    assert!(!is_new(&alice, "a"));
    assert!(!is_new(&bob, "a"), "forwarded");
    assert!(is_new(&bob, "b"), "forwarded");
    assert!(!is_new(&alice, "b"));
    // What it does not know that it has done itself is new to its caller.
    for (n, fault) in [Fault::LoseAnswer, Fault::LoseRequest].into_iter().enumerate() {
        alice.store.fail_next(fault);
        assert!(is_new(&alice, &format!("c{n}")));
    }
}

fn a_refused_batch_changes_nothing(team: &Team) {
    let space = named("s");
    let mut alice = Hand::seal(team, 1, &space, 1);
    alice.done(team, &["a"]);
    let before = state(team, &space);
    let other_life = Grant::new(space.clone(), Incarnation([0xee; 16]), Epoch(1), alice.key.author());
    let stranger = Hand { grant: other_life, key: alice.key.clone(), space: space.clone(), head: alice.head };
    match stranger.append(team, &["x"]) {
        Err(AppendFailed::OtherLife { expected, found }) => {
            assert_eq!((expected, found), (Incarnation([0xee; 16]), Some(before.incarnation)));
        }
        other => panic!("another log, but: {other:?}"),
    }
    let gone = Grant::new(named("t"), Incarnation([0xee; 16]), Epoch(1), alice.key.author());
    let nowhere = Hand { grant: gone, key: alice.key.clone(), space: named("t"), head: alice.head };
    assert!(matches!(nowhere.append(team, &["x"]), Err(AppendFailed::OtherLife { found: None, .. })));
    let stale =
        Hand { head: Head::start(&space, before.incarnation), grant: alice.grant.clone(), ..stranger };
    assert!(matches!(stale.append(team, &["x", "y"]), Err(AppendFailed::Moved { .. })));
    assert_eq!(state(team, &space), before);
    assert_eq!(ids(&team.verified(&space)), ["a"]);
    alice.done(team, &["x", "y"]);
}

fn acknowledged_means_readable(team: &Team) {
    let nodes = [team.member(1), team.member(2), team.member(3)];
    let space = named("s");
    let mut acknowledged: Vec<(String, Placed)> = Vec::new();
    for n in 0..30_usize {
        let id = format!("i{n}");
        let placed = nodes[n % 3].append(&space, &id).unwrap();
        acknowledged.push((id, placed));
        if n % 7 == 3 {
            team.clock.advance(ttl());
        }
        let events = team.verified(&space);
        for (id, placed) in &acknowledged {
            let event = &events[usize::try_from(placed.seq.0).unwrap()];
            assert_eq!((event.id.as_str(), event.placed()), (id.as_str(), *placed));
        }
    }
}

fn the_holder_stops_in_time(team: &Team) {
    let (alice, bob) = (team.member(1), team.member(2));
    let space = named("s");
    let first = alice.append(&space, "a").unwrap();
    team.clock.advance(ttl() - Duration::from_millis(500));
    assert!(!alice.authority.holds(&space), "it stops before the registry lets go");
    assert!(matches!(block_on(bob.authority.acquire(&space)), Err(LeaseError::Held { .. })));
    assert!(alice.append(&space, "b").unwrap().epoch > first.epoch, "it asks again before it writes");
}

fn a_paused_holder_is_fenced(team: &Team) {
    let (alice, bob) = (team.member(1), team.member(2));
    let space = named("s");
    alice.append(&space, "a").unwrap();
    let (clock, sleeper) = (Arc::clone(&team.clock), bob.authority.clone());
    let there = space.clone();
    alice.store.fail_next(Fault::Pause(Box::new(move || {
        clock.advance(ttl() * 2);
        block_on(sleeper.submit(&there, intent("b"))).unwrap();
    })));
    let placed = alice.append(&space, "c").unwrap();
    assert_eq!(placed.seq, Seq(2), "it was appended by the new holder, after what that one had");
    let events = team.verified(&space);
    assert_eq!(ids(&events), ["a", "b", "c"]);
    assert_eq!(events[2].holder, bob.node());
}

fn the_head_moves_after_a_claim_check_only(team: &Team) {
    let (alice, bob) = (team.member(1), team.member(2));
    let space = named("s");
    alice.append(&space, "a").unwrap();
    // Its answer gets lost, so that it does not know where the log ends; then another takes over and appends. With
    // the head alone it could go on from there.
    let (clock, other) = (Arc::clone(&team.clock), bob.authority.clone());
    let there = space.clone();
    alice.store.fail_next(Fault::LoseAnswer);
    alice.store.fail_next(Fault::Pause(Box::new(move || {
        clock.advance(ttl() * 2);
        block_on(other.submit(&there, intent("c"))).unwrap();
    })));
    assert_eq!(alice.append(&space, "b").unwrap().seq, Seq(1));
    let last = alice.append(&space, "d").unwrap();
    let events = team.verified(&space);
    assert_eq!(ids(&events), ["a", "b", "c", "d"]);
    assert_eq!(events[3].holder, bob.node(), "not by the one that was superseded");
    assert_eq!(last.seq, Seq(3));
}

fn unknown_stays_unknown(team: &Team) {
    let alice = team.member(1);
    let space = named("s");
    alice.append(&space, "a").unwrap();
    // Nothing arrives any more, for longer than anybody waits.
    (0..5_000).for_each(|_| alice.store.fail_next(Fault::LoseRequest));
    match alice.append(&space, "b") {
        Err(AppendError::Unknown { id }) => assert_eq!(id.as_str(), "b"),
        other => panic!("nobody can know, but: {other:?}"),
    }
    assert_eq!(ids(&team.verified(&space)), ["a"]);
    let bob = team.member(2);
    team.forwarder.leave(alice.node());
    team.clock.advance(ttl());
    assert_eq!(bob.append(&space, "b").unwrap().seq, Seq(1), "whoever asks with the id gets to know");
}

fn a_lost_answer_is_found_out(team: &Team) {
    let alice = team.member(1);
    let space = named("s");
    for (n, fault) in [Fault::LoseAnswer, Fault::LoseRequest, Fault::LoseAnswer].into_iter().enumerate() {
        alice.store.fail_next(fault);
        assert_eq!(alice.append(&space, &format!("i{n}")).unwrap().seq, Seq(n as u64));
    }
    assert_eq!(ids(&team.verified(&space)), ["i0", "i1", "i2"]);
}

fn a_registry_may_forget(team: &Team) {
    let space = named("s");
    let alice = team.member_with(1, Arc::new(ForgetfulRegistry));
    let bob = team.member_with(2, Arc::new(ForgetfulRegistry));
    let mut epochs = Vec::new();
    for n in 0..10_u64 {
        // Both believe that they hold the space; the store decides.
        let by = if n % 2 == 0 { &alice } else { &bob };
        let placed = by.append(&space, &format!("i{n}")).unwrap();
        assert_eq!(placed.seq, Seq(n));
        epochs.push(placed.epoch);
    }
    assert!(epochs.is_sorted_by(|a, b| a < b), "each take-over is above the one before: {epochs:?}");
    assert_eq!(team.verified(&space).len(), 10);
}

fn a_log_that_diverged_is_not_served(team: &Team) {
    let (alice, bob) = (team.member(1), team.member(2));
    let space = named("s");
    alice.append(&space, "a").unwrap();
    let there = state(team, &space);
    block_on(alice.authority.release(&space)).unwrap();
    // Bob's copy goes further than the store: acknowledged events are gone.
    let longer = Seen { incarnation: there.incarnation, head: Head { next: Seq(2), hash: Digest([1; 32]) } };
    bob.authority.remember(&space, longer).unwrap();
    assert_eq!(bob.authority.used_and_at_rest(), (0, 1), "that costs little");
    let expected = Divergence::Shorter { seen: Seq(2), found: Seq(1) };
    match bob.append(&space, "b") {
        Err(AppendError::NotAppended { source: LeaseError::Diverged { divergence, .. }, .. }) => {
            assert_eq!(divergence, expected);
        }
        other => panic!("the log is shorter, but: {other:?}"),
    }
    assert_eq!(bob.authority.divergence(&space), Some(expected));
    assert!(matches!(block_on(bob.authority.acquire(&space)), Err(LeaseError::Diverged { .. })));
    assert_eq!(ids(&team.verified(&space)), ["a"]);

    let found = |number, seen: Seen| {
        let member = team.member(number);
        team.clock.advance(ttl() * 2);
        member.authority.remember(&space, seen).unwrap();
        let appended = member.append(&space, &format!("by-{number}"));
        (appended.is_ok(), member.authority.divergence(&space))
    };
    let other_life = Seen { incarnation: Incarnation([0xee; 16]), ..longer };
    let (_, divergence) = found(3, other_life);
    assert!(matches!(divergence, Some(Divergence::OtherLife { .. })));
    let other_hash =
        Seen { incarnation: there.incarnation, head: Head { hash: Digest([1; 32]), ..there.head } };
    assert!(matches!(found(4, other_hash).1, Some(Divergence::OtherHash { .. })));
    let honest = Seen { incarnation: there.incarnation, head: there.head };
    assert_eq!(found(5, honest), (true, None), "whoever has seen this log serves it");
    assert!(matches!(found(6, other_hash).1, Some(Divergence::OtherHash { .. })), "also further back");
}

fn a_log_that_has_again_what_was_seen_is_served(team: &Team) {
    let space = named("s");
    let mut alice = Hand::seal(team, 1, &space, 1);
    alice.done(team, &["a"]);
    // What bob has seen will be there once somebody has sealed with this epoch.
    let (incarnation, author) = (alice.grant.incarnation(), alice.key.author());
    let later = Grant::new(space.clone(), incarnation, Epoch(50), author);
    let lost = later.batch(alice.head, &[(intent("b"), author)], &alice.key).unwrap();
    let bob = team.member(2);
    bob.authority.remember(&space, Seen { incarnation, head: lost.end() }).unwrap();
    for _ in 0..2 {
        bob.append(&space, "c").unwrap_err();
        let expected = Divergence::Shorter { seen: Seq(2), found: Seq(1) };
        assert_eq!(bob.authority.divergence(&space), Some(expected));
    }
    Hand::seal(team, 1, &space, 50).done(team, &["b"]);
    assert_eq!(bob.append(&space, "c").unwrap().seq, Seq(2));
    assert_eq!(bob.authority.divergence(&space), None);
    assert_eq!(ids(&team.verified(&space)), ["a", "b", "c"]);
}

fn hashes_are_equal_on_all_backends(team: &Team) {
    let space = named("team/a:1");
    let mut alice = Hand::seal(team, 1, &space, 1);
    alice.done(team, &["a", "b"]);
    let mut bob = Hand::seal(team, 2, &space, 4);
    bob.done(team, &["c"]);
    bob.done(team, &["d", "e", "f"]);
    assert_eq!(team.verified(&space).len(), 6);
    assert_eq!(
        state(team, &space).head.hash.to_string(),
        "96f78aa8a03eae683747215c610640dd81632138cdaa5fe03c52f22b278a9c3c"
    );
}

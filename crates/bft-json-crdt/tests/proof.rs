//! What a replica holds it can prove to others: the change that covers an unsigned one enters with it, and travels
//! with it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use std::collections::BTreeSet;

use bft_json_crdt::json_crdt::{
    BaseCrdt, Change, CrdtNode, DocumentId, OpState, VersionVector, add_crdt_fields,
};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::text_crdt::TextCrdt;
use proptest::prelude::*;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Page {
    text: TextCrdt,
}

fn replica(seed: u8) -> (Keypair, BaseCrdt<Page>) {
    let keypair = Keypair::from_seed(&[seed; 32]);
    let base = BaseCrdt::with_document(&keypair, DocumentId([7; 32]));
    (keypair, base)
}

fn unsigned(change: &Change) -> Change {
    change.with_signature([0; 64])
}

/// Whoever knows nothing takes all that the replica gives, in one batch, and then holds the same.
#[track_caller]
fn assert_provable(base: &BaseCrdt<Page>) {
    let mut holdings = base.holdings(&VersionVector::new(), &[], &BTreeSet::new(), None);
    let given: Vec<Change> = base
        .missing(&mut holdings, 100_000, 1 << 30)
        .into_iter()
        .map(|it| if it.is_vouched { it.change } else { unsigned(&it.change) })
        .collect();
    let (_, mut newcomer) = replica(200);
    let taken = newcomer.apply_changes(given);
    assert!(taken.states.iter().all(OpState::is_applied), "{:?}", taken.states);
    assert_eq!(newcomer.version_vector(), base.version_vector());
}

/// Alice's second change covers her first, and waits for one of bob's. Hostile authors can let it wait for ever.
#[test]
fn a_covered_change_waits_with_what_covers_it() {
    let [(alice, mut a), (bob, mut b), (_, mut c)] = [1, 2, 3].map(replica);
    let first = a.transact(&alice, |page| page.text.try_insert(0, "one")?.keep()).unwrap();
    let of_bob = b.transact(&bob, |page| page.text.try_insert(0, "bob")?.keep()).unwrap();
    let _ = a.apply_changes(of_bob.clone());
    let second = a.transact(&alice, |page| page.text.try_insert(0, "two")?.keep()).unwrap();
    let arrived = c.apply_changes(vec![unsigned(&first[0]), second[0].clone()]);
    assert_eq!(arrived.states, [OpState::MissingCausalDependencies, OpState::MissingCausalDependencies]);
    assert_provable(&c);
    let released = c.apply_changes(of_bob);
    assert_eq!(released.applied.len(), 3);
    assert_provable(&c);
    // With its own signature it needs nobody.
    let (_, mut d) = replica(4);
    let _ = d.apply_changes(vec![unsigned(&first[0]), second[0].clone()]);
    assert_eq!(d.apply_changes(first).applied.len(), 1);
    assert_provable(&d);
}

/// Alice's third change waits with its own signature and proves her second. It comes again, with her fourth, so that
/// nobody looks at its signature; and the fourth waits for one of bob's.
#[test]
fn a_change_that_comes_again_proves_what_it_proved_before() {
    let [(alice, mut a), (bob, mut b), (_, mut c)] = [1, 2, 3].map(replica);
    let mut changes: Vec<Change> = Vec::new();
    for letter in ["a", "b", "c"] {
        changes.extend(a.transact(&alice, |page| page.text.try_insert(0, letter)?.keep()).unwrap());
    }
    let of_bob = b.transact(&bob, |page| page.text.try_insert(0, "bob")?.keep()).unwrap();
    let _ = a.apply_changes(of_bob.clone());
    changes.extend(a.transact(&alice, |page| page.text.try_insert(0, "d")?.keep()).unwrap());
    let early = c.apply_changes(vec![unsigned(&changes[1]), changes[2].clone()]);
    assert_eq!(early.states, [OpState::MissingCausalDependencies, OpState::MissingCausalDependencies]);
    let again = vec![changes[0].clone(), changes[2].clone(), changes[3].clone()];
    assert_eq!(c.apply_changes(again).applied, changes[..3]);
    assert_provable(&c);
    let released: Vec<Change> = of_bob.into_iter().chain([changes[3].clone()]).collect();
    assert_eq!(c.apply_changes(released.clone()).applied, released);
}

/// What a replica knew to be covered it does not take for vouched when it is opened again.
#[test]
fn a_reopened_replica_can_prove_what_it_holds() {
    let [(alice, mut a), (_, mut c), (_, mut again)] = [1, 2, 2].map(replica);
    let mut changes: Vec<Change> = Vec::new();
    for letter in ["a", "b", "c"] {
        changes.extend(a.transact(&alice, |page| page.text.try_insert(0, letter)?.keep()).unwrap());
    }
    let batch = vec![unsigned(&changes[0]), unsigned(&changes[1]), changes[2].clone()];
    let taken = c.apply_changes(batch);
    let records = taken.applied.into_iter().map(|change| {
        let is_vouched = c.is_vouched(&change.digest());
        (change, is_vouched)
    });
    again.load_vouched(records.collect::<Vec<_>>()).unwrap();
    let mut holdings = again.holdings(&VersionVector::new(), &[], &BTreeSet::new(), None);
    // However little is asked for at a time, what covers comes along.
    assert_eq!(again.missing(&mut holdings, 1, 1).len(), 3);
    assert_provable(&again);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Three authors who hear of each other now and then; most of their signatures are lost on the way, and what
    /// is left comes in any order and portions. At no moment does the replica hold what it cannot prove, and in
    /// the end it holds all.
    #[test]
    fn at_every_moment_a_replica_can_prove_what_it_holds(
        turns in prop::collection::vec((0usize..3, any::<bool>()), 1..40),
        kept in prop::collection::vec(0u8..4, 40),
        seed in any::<u64>(),
        portion in 1usize..12,
    ) {
        let mut team = [1, 2, 3].map(replica);
        let mut changes: Vec<Change> = Vec::new();
        for (who, hears) in turns {
            if hears {
                let known = changes.clone();
                let _ = team[who].1.apply_changes(known);
            }
            let (key, base) = &mut team[who];
            let name = changes.len().to_string();
            changes.extend(base.transact(key, |page| page.text.try_insert(0, &name)?.keep()).unwrap());
        }
        let is_tip = |change: &Change| changes.iter().all(|other| other.prev() != Some(change.digest()));
        let mut sent: Vec<Change> = changes
            .iter()
            .zip(&kept)
            .map(|(change, kept)| if *kept == 0 || is_tip(change) { change.clone() } else { unsigned(change) })
            .collect();
        let mut random = seed;
        let mut shuffle = |sent: &mut [Change]| {
            for at in (1..sent.len()).rev() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                sent.swap(at, (random >> 33) as usize % (at + 1));
            }
        };
        let (_, mut carol) = replica(9);
        // What is refused for want of a cover comes again, as from a peer that is asked once more; and so does what
        // waits, among others than before, which cover it or do not.
        for _ in 0..4 {
            shuffle(&mut sent);
            for batch in sent.chunks(portion) {
                let _ = carol.apply_changes(batch.to_vec());
                assert_provable(&carol);
                // What may enter has entered with what let it, and does not need another delivery.
                prop_assert_eq!(carol.apply_changes(Vec::new()).applied, []);
            }
        }
        let arrived = carol.apply_changes(sent);
        prop_assert!(arrived.states.iter().all(|state| matches!(state, OpState::Ok | OpState::AlreadySeen)));
        prop_assert_eq!(carol.change_count(), changes.len());
        prop_assert_eq!(carol.causal_queue_len(), 0);
        assert_provable(&carol);
    }
}

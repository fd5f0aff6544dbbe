//! Edits that waited for their signature while changes came from elsewhere: these lie in their past, and come before
//! them wherever the history is told.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

#[path = "workflow/document.rs"]
mod workflow;

use std::collections::BTreeSet;

use bft_json_crdt::Digest;
use bft_json_crdt::json_crdt::{BaseCrdt, Change, OpState, VersionVector};
use workflow::{Workflow, key, open, replayed, text};

/// Two edits of alice's wait while two changes of bob's come, and are signed after one each; all in that order.
fn signed_late() -> (BaseCrdt<Workflow>, Vec<Change>) {
    let (mut alice, mut bob) = (open(1), open(2));
    let mut log = Vec::new();
    let first = alice.doc.notes.insert(0, "first ");
    let second = alice.doc.notes.insert(6, "second ");
    for edit in [first, second] {
        let of_bob = bob.transact(&key(2), |doc| doc.order.push("bob's").keep()).unwrap();
        log.extend(alice.apply_changes(of_bob).applied);
        let signed = edit.try_sign(&key(1)).unwrap();
        assert_eq!(alice.apply(signed.clone()), OpState::Ok);
        log.push(signed.into_change());
    }
    assert_eq!(log.len(), 4);
    (alice, log)
}

fn digests(log: &[Change]) -> Vec<Digest> {
    log.iter().map(Change::digest).collect()
}

fn told_in_history(base: &BaseCrdt<Workflow>) -> Vec<Digest> {
    base.history(0, 100).iter().map(|entry| entry.digest).collect()
}

#[test]
fn the_history_has_them_after_their_past() {
    let (alice, log) = signed_late();
    assert_eq!(told_in_history(&alice), digests(&log));
    assert_eq!(alice.history(1, 2)[0].digest, log[1].digest());
}

#[test]
fn a_peer_is_told_them_after_their_past() {
    let (alice, log) = signed_late();
    let mut holdings = alice.holdings(&VersionVector::new(), &[], &BTreeSet::new(), None);
    let mut one_by_one = Vec::new();
    while !holdings.is_done() {
        one_by_one.extend(alice.missing(&mut holdings, 1, 1).into_iter().map(|missing| missing.change));
    }
    assert_eq!(one_by_one, log);
    // Who holds the first of alice's lacks what came after it.
    let mut half = replayed(log[..2].to_vec());
    let mut holdings = alice.holdings(&half.version_vector(), &[], &BTreeSet::new(), None);
    let rest = alice.missing(&mut holdings, 100, 1 << 20);
    assert_eq!(rest.iter().map(|missing| missing.change.clone()).collect::<Vec<_>>(), log[2..]);
    let taken = half.apply_changes(rest.into_iter().map(|missing| missing.change).collect());
    assert_eq!(taken.states, [OpState::Ok, OpState::Ok]);
    assert_eq!(text(&half), text(&alice));
}

#[test]
fn the_view_at_heads_shows_them() {
    let (mut alice, log) = signed_late();
    for count in 1..=log.len() {
        let heads = [log[count - 1].digest()];
        let past = workflow::past(&log, &heads);
        assert_eq!(text(&alice.at(&heads).unwrap()), text(&replayed(past)), "the first {count}");
    }
    // Also where a view was asked for while the edit waited.
    let waiting = alice.doc.notes.insert(0, "third ");
    let of_carol = open(3).transact(&key(3), |doc| doc.order.push("carol's").keep()).unwrap();
    let _ = alice.apply_changes(of_carol);
    let before = text(&alice.at(&alice.heads()).unwrap());
    let _ = alice.apply(waiting.try_sign(&key(1)).unwrap());
    assert_eq!(text(&alice.at(&alice.heads()).unwrap()), text(&alice));
    assert_ne!(text(&alice), before);
}

#[test]
fn a_snapshot_opens_with_them() {
    let (mut alice, log) = signed_late();
    let opened: BaseCrdt<Workflow> = BaseCrdt::open(&key(1), &alice.save().unwrap()).unwrap();
    // The replica itself has its history compressed now, as the other has.
    for base in [&alice, &opened] {
        assert_eq!(text(base), text(&replayed(log.clone())));
        assert_eq!(told_in_history(base), digests(&log));
        for change in &log {
            assert_eq!(base.change(&change.digest()).unwrap().bytes(), change.bytes());
        }
    }
    // Both go on from there, also with another edit that is signed late.
    for mut base in [alice, opened] {
        let waiting = base.doc.notes.insert(0, "third ");
        let of_carol = open(3).transact(&key(3), |doc| doc.order.push("carol's").keep()).unwrap();
        let mut log = [log.clone(), base.apply_changes(of_carol).applied].concat();
        let signed = waiting.try_sign(&key(1)).unwrap();
        assert_eq!(base.apply(signed.clone()), OpState::Ok);
        log.push(signed.into_change());
        assert_eq!(text(&base), text(&replayed(log.clone())));
        assert_eq!(told_in_history(&base), digests(&log));
        let opened: BaseCrdt<Workflow> = BaseCrdt::open(&key(1), &base.save().unwrap()).unwrap();
        assert_eq!(text(&opened), text(&base));
    }
}

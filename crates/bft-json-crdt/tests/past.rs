//! The document at past heads: shown, authored at, and compared.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

#[path = "workflow/document.rs"]
mod workflow;

use std::collections::BTreeSet;

use bft_json_crdt::Digest;
use bft_json_crdt::json_crdt::{
    CatchUpError, Change, CrdtNode, HistoryEntry, OpState, Rank, SignError, UnknownHead,
};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use workflow::{Step, edit, history, key, open, past, replayed, steps, text};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn past_heads_show_what_a_replica_with_their_past_shows(
        steps in steps(),
        picks in prop::collection::vec(prop::collection::vec(any::<Index>(), 0..3), 1..5),
    ) {
        let (base, log) = history(&steps);
        prop_assume!(!log.is_empty());
        let mut all: Vec<Vec<Digest>> =
            picks.iter().map(|pick| pick.iter().map(|at| log[at.index(log.len())].digest()).collect()).collect();
        all.push(base.heads());
        for heads in &all {
            let expected = replayed(past(&log, heads));
            let shown = base.at(heads).unwrap();
            prop_assert_eq!(text(&shown), text(&expected));
            prop_assert_eq!(shown.heads(), expected.heads());
        }
        for pair in all.windows(2) {
            let mut view = CrdtNode::view(&base.at(&pair[0]).unwrap().doc);
            for patch in base.compare(&pair[0], &pair[1]).unwrap() {
                prop_assert!(patch.apply(&mut view), "{:?} on {}", patch, view);
            }
            prop_assert_eq!(view, CrdtNode::view(&base.at(&pair[1]).unwrap().doc));
            let seen: BTreeSet<Digest> = past(&log, &pair[1]).iter().map(Change::digest).collect();
            let mut later = base.at(&pair[0]).unwrap();
            let before = (later.heads(), text(&later));
            let ahead = before.0.iter().find(|head| !seen.contains(head));
            prop_assert_eq!(&*later.content(), &CrdtNode::view(&later.doc));
            let unseen: Vec<Digest> = log.iter().map(Change::digest).filter(|it| !seen.contains(it)).collect();
            let told = base.unseen_by(&pair[1]).unwrap();
            prop_assert_eq!(told.iter().collect::<BTreeSet<_>>(), unseen.iter().collect());
            let is_after_its_past = |(at, it): (usize, &Digest)| told[..at].iter().all(|before| !base.has_seen(before, it));
            prop_assert!(told.iter().enumerate().all(is_after_its_past));
            prop_assert_eq!(later.catch_up(&base, &pair[1]), ahead.map_or(Ok(()), |ahead| Err(CatchUpError::Ahead(*ahead))));
            let after = if ahead.is_some() { before } else { base.with_past(&pair[1], |past| (past.heads(), text(past))).unwrap() };
            prop_assert_eq!((later.heads(), text(&later)), after);
            prop_assert_eq!(&*later.content(), &CrdtNode::view(&later.doc));
        }
    }

    #[test]
    fn what_is_authored_at_past_heads_is_concurrent_and_converges(
        steps in steps(),
        pick in prop::collection::vec(any::<Index>(), 0..3),
        late in prop::collection::vec(any::<Index>(), 3),
    ) {
        let (mut base, log) = history(&steps);
        prop_assume!(!log.is_empty());
        let mut heads: Vec<Digest> = pick.iter().map(|at| log[at.index(log.len())].digest()).collect();
        heads.extend(log.iter().rfind(|change| change.author() == key(1).author()).map(Change::digest));
        let known = past(&log, &heads);
        let mut expected = replayed(known.clone());
        let position = late[0].index(expected.doc.notes.len() + 1);
        let steps = [Step::Push(0, late[1], 3), Step::Move(0, late[1], late[2]), Step::Put(0, 1)];
        let authored = base
            .transact_at(&heads, &key(1), Rank::Edit, |doc| {
                doc.notes.insert(position, "past").keep()?;
                steps.iter().try_for_each(|step| edit(doc, step))
            })
            .unwrap();
        // Where its heads are, it says what was edited there; elsewhere it merges as any concurrent change.
        prop_assert!(expected.apply_changes(authored.clone()).states.iter().all(|state| state.is_applied()));
        prop_assert_eq!(expected.doc.notes.slice(position, 4), "past");
        let mut other = replayed(log.clone());
        prop_assert!(other.apply_changes(authored.clone()).states.iter().all(|state| state.is_applied()));
        prop_assert_eq!(text(&other), text(&base));
        let context: BTreeSet<Digest> = past(&log, &heads).iter().map(Change::digest).collect();
        let named = authored.iter().flat_map(|change| change.deps().to_vec());
        prop_assert!(named.into_iter().all(|dep| context.contains(&dep)));
    }
}

#[test]
fn authoring_where_the_own_chain_is_older_is_refused() {
    let mut alice = open(1);
    let first = alice.transact(&key(1), |doc| doc.notes.insert(0, "a").keep()).unwrap()[0].digest();
    let second = alice.transact(&key(1), |doc| doc.notes.insert(1, "b").keep()).unwrap()[0].digest();
    let refused = alice.transact_at(&[first], &key(1), Rank::Edit, |doc| doc.notes.cut(0, 1).keep());
    assert_eq!(refused.unwrap_err(), SignError::WithoutOwn(second));
    let unknown = UnknownHead(Digest([1; 32]));
    assert_eq!(alice.at(&[unknown.0]).unwrap_err(), unknown);
    assert_eq!(open(1).catch_up(&alice, &[unknown.0]), Err(unknown.into()));
    let mut view = alice.at(&[first]).unwrap();
    assert_eq!(view.doc.notes.text(), "a");
    assert_eq!(view.transact(&key(1), |doc| doc.notes.cut(0, 1).keep()).unwrap_err(), SignError::PastView);
    assert_eq!(view.doc.notes.text(), "a");
    assert_eq!(alice.doc.notes.text(), "ab");
}

#[test]
fn a_node_tells_who_edited_it_and_what() {
    let (mut alice, mut bob) = (open(1), open(2));
    let put = alice.transact(&key(1), |doc| doc.jobs.put("deploy", json!({"name": "d", "body": "x"})).keep());
    let _ = bob.apply_changes(put.unwrap());
    let renamed =
        bob.transact(&key(2), |doc| doc.jobs.get("deploy").unwrap().name.set("ship").keep()).unwrap();
    let _ = alice.apply_changes(renamed.clone());
    alice.transact(&key(1), |doc| doc.notes.insert(0, "unrelated").keep()).unwrap();
    alice.transact(&key(1), |doc| doc.jobs.get("deploy").unwrap().body.insert(1, "y").keep()).unwrap();
    let job = alice.doc.jobs.get("deploy").unwrap();
    let who = |history: Vec<HistoryEntry>| -> Vec<_> {
        history.iter().map(|entry| (entry.author, entry.edits.len())).collect()
    };
    let (a, b) = (key(1).author(), key(2).author());
    assert_eq!(who(job.history()), [(a, 1), (b, 1), (a, 1)]);
    assert_eq!(who(job.name.history()), [(a, 1), (b, 1)]);
    assert_eq!(who(alice.doc.notes.history()), [(a, 1)]);
    assert_eq!(alice.history(0, 10).len(), 4);
    assert_eq!(alice.history(1, 1)[0].digest, renamed[0].digest());
    assert_eq!(job.name.history()[1].edits[0].value, Some("ship".into()));
}

#[test]
fn a_replica_where_something_waits_takes_in_nothing_that_nobody_would_hear_of() {
    let mut alice = open(1);
    let changes = ["a", "b"].map(|key_of| {
        alice.transact(&key(1), |doc| doc.jobs.put(key_of, json!({"name": "d"})).keep()).unwrap().remove(0)
    });
    let mut bob = open(2);
    let states = bob.apply_changes(vec![changes[1].clone()]).states;
    assert_eq!(states, [OpState::MissingCausalDependencies]);
    assert_eq!(bob.catch_up(&alice, &[changes[0].digest()]), Err(CatchUpError::Waiting));
    assert_eq!((bob.change_count(), bob.causal_queue_len()), (0, 1));
    // It is told of what comes with what is delivered.
    let batch = bob.apply_changes(vec![changes[0].clone()]);
    assert_eq!((batch.applied.len(), bob.causal_queue_len()), (2, 0));
    let third = alice.transact(&key(1), |doc| doc.jobs.remove("a").keep()).unwrap();
    assert_eq!(bob.catch_up(&alice, &[third[0].digest()]), Ok(()));
    assert_eq!(text(&bob), text(&alice));
}

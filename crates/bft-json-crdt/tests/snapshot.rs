//! Snapshots and compaction: nothing is lost, nothing is replayed, and nothing that is damaged is believed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

#[path = "workflow/document.rs"]
mod workflow;

use bft_json_crdt::Digest;
use bft_json_crdt::json_crdt::{
    BaseCrdt, Change, CrdtNode, OpState, Snapshot, SnapshotError, add_crdt_fields,
};
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use workflow::{DOCUMENT, Workflow, edit, history, key, open, replayed, steps, text};

/// Everything that a replica says of its document and of its history.
fn told(base: &BaseCrdt<Workflow>) -> (String, Vec<Digest>, String) {
    let maps: Vec<_> = (0..3).map(|n| base.doc.jobs.conflicts(&format!("{n}"))).collect();
    let rest = format!("{:?} {:?} {:?}", base.version_vector(), base.equivocations(), maps);
    (text(base), base.heads(), rest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn replicas_agree_however_their_changes_came(
        before in steps(),
        after in steps(),
        cut in any::<Index>(),
    ) {
        // One by one, as one batch, as covered chains, out of a snapshot, after compaction.
        let (_, log) = history(&[before, after].concat());
        let half = cut.index(log.len() + 1);
        let singly = replayed(log.clone());
        let expected = told(&singly);
        let mut batch = open(9);
        prop_assert!(batch.apply_changes(log.clone()).states.iter().all(OpState::is_applied));
        let tips: Vec<Digest> = singly.version_vector().into_values().flatten().map(|(_, tip)| tip).collect();
        let bare = log.iter().map(|change| {
            if tips.contains(&change.digest()) { change.clone() } else { change.with_signature([0; 64]) }
        });
        let mut covered = open(9);
        prop_assert!(covered.apply_changes(bare.collect()).states.iter().all(OpState::is_applied));
        let mut opened = replayed(log[..half].to_vec());
        let snapshot = opened.save().unwrap();
        opened = BaseCrdt::open(&key(9), &snapshot).unwrap();
        prop_assert_eq!(told(&opened), told(&replayed(log[..half].to_vec())));
        let mut compacted = replayed(log[..half].to_vec());
        compacted.compact().unwrap();
        for base in [&mut opened, &mut compacted] {
            for change in &log[half..] {
                prop_assert_eq!(base.apply_changes(vec![change.clone()]).states, [OpState::Ok]);
            }
            base.compact().unwrap();
        }
        for base in [batch, covered, opened, compacted] {
            prop_assert_eq!(&told(&base), &expected);
            for change in &log {
                let rebuilt = base.change(&change.digest()).unwrap();
                prop_assert_eq!(rebuilt.bytes(), change.bytes());
            }
            prop_assert_eq!(base.history(0, usize::MAX), singly.history(0, usize::MAX));
            prop_assert_eq!(base.clone().apply_changes(log.clone()).states, vec![OpState::AlreadySeen; log.len()]);
        }
    }

    #[test]
    fn who_opens_a_snapshot_edits_on(steps in steps(), more in steps()) {
        let (_, log) = history(&steps);
        let mut base = replayed(log.clone());
        let mut opened: BaseCrdt<Workflow> = BaseCrdt::open(&key(9), &base.save().unwrap()).unwrap();
        for step in &more {
            let changes = opened.transact(&key(9), |doc| edit(doc, step)).unwrap();
            prop_assert!(base.apply_changes(changes).states.iter().all(OpState::is_applied));
            prop_assert_eq!(text(&opened), text(&base));
        }
        let again: BaseCrdt<Workflow> = BaseCrdt::open(&key(9), &opened.save().unwrap()).unwrap();
        prop_assert_eq!(told(&again), told(&base));
        prop_assert_eq!(opened.save().unwrap(), BaseCrdt::<Workflow>::open(&key(9), &opened.save().unwrap()).unwrap().save().unwrap());
    }
}

fn sample() -> (BaseCrdt<Workflow>, Vec<Change>) {
    let mut base = open(1);
    let mut log = Vec::new();
    for n in 0..12u8 {
        let changes = base.transact(&key(1), |doc| {
            doc.notes.insert(0, "stretch ").keep()?;
            doc.order.push(format!("{n}")).keep()?;
            doc.extra.put("n", n).keep()?;
            doc.jobs.put(&format!("{n}"), json!({"name": "job", "body": "fn main() {}"})).keep()
        });
        log.extend(changes.unwrap());
    }
    (base, log)
}

#[test]
fn a_damaged_snapshot_is_refused_or_harmless() {
    let (mut base, _) = sample();
    let snapshot = base.save().unwrap();
    let shown = text(&base);
    for at in 0..snapshot.state.len() {
        let mut bad = snapshot.clone();
        bad.state[at] ^= 0x10;
        assert!(BaseCrdt::<Workflow>::open(&key(1), &bad).is_err(), "byte {at} of the state");
        let mut short = snapshot.clone();
        short.state.truncate(at);
        assert!(BaseCrdt::<Workflow>::open(&key(1), &short).is_err(), "cut at {at}");
    }
    for at in 0..snapshot.history.len() {
        let mut bad = snapshot.clone();
        bad.history[at] ^= 0x10;
        assert!(BaseCrdt::<Workflow>::open(&key(1), &bad).is_err(), "byte {at} of the history");
    }
    assert_eq!(text(&BaseCrdt::open(&key(1), &snapshot).unwrap()), shown);
    assert_eq!(
        BaseCrdt::<Workflow>::open(&key(1), &Snapshot::default()).unwrap_err(),
        SnapshotError::NotASnapshot
    );
}

#[test]
fn another_type_of_document_is_told_apart() {
    #[add_crdt_fields]
    #[derive(Clone, CrdtNode, Debug)]
    struct Other {
        title: LwwRegisterCrdt<String>,
    }
    let (mut base, log) = sample();
    let snapshot = base.save().unwrap();
    assert_eq!(BaseCrdt::<Other>::open(&key(1), &snapshot).unwrap_err(), SnapshotError::OtherType);
    // The history serves any type.
    let mut other = BaseCrdt::<Other>::with_document(&key(1), DOCUMENT);
    other.load(log).unwrap();
    assert_eq!(other.doc.title.view(), "".into());
}

#[test]
fn edits_that_wait_for_their_signature_are_left_out() {
    let (mut base, _) = sample();
    let shown = text(&base);
    let waiting = base.doc.notes.insert(0, "unsigned");
    let snapshot = base.save().unwrap();
    assert_eq!(text(&BaseCrdt::open(&key(1), &snapshot).unwrap()), shown);
    assert!(base.doc.notes.text().starts_with("unsigned"));
    drop(waiting);
    assert_eq!(text(&base), shown);
}

#[test]
fn covered_signatures_go_and_are_vouched_for_no_more() {
    let (mut base, log) = sample();
    assert!(log.iter().all(|change| base.is_vouched(&change.digest())));
    base.compact().unwrap();
    let (last, rest) = log.split_last().unwrap();
    assert!(base.is_vouched(&last.digest()));
    assert!(rest.iter().all(|change| !base.is_vouched(&change.digest())));
    assert_eq!(base.change(&last.digest()).unwrap().signature(), last.signature());
}

/// Snapshots that were written once must open for ever.
#[test]
fn the_first_snapshot_still_opens() {
    let state = "tests/golden/snapshot-1.state";
    let history = "tests/golden/snapshot-1.history";
    let (mut base, log) = sample();
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        let snapshot = base.save().unwrap();
        std::fs::write(state, snapshot.state).unwrap();
        std::fs::write(history, snapshot.history).unwrap();
    }
    let golden = Snapshot { state: std::fs::read(state).unwrap(), history: std::fs::read(history).unwrap() };
    let opened: BaseCrdt<Workflow> = BaseCrdt::open(&key(1), &golden).unwrap();
    assert_eq!(told(&opened), told(&base));
    for change in &log {
        assert_eq!(opened.change(&change.digest()).as_ref(), Some(change));
    }
}

//! Snapshots and compaction: nothing is lost, nothing is replayed, and nothing that is damaged is believed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

#[path = "workflow/document.rs"]
mod workflow;

use bft_json_crdt::Digest;
use bft_json_crdt::bundle::BundleError;
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

/// An element that was given up, and had been moved before that.
#[test]
fn a_move_that_was_given_up_leaves_nothing_in_a_snapshot() {
    let mut base = open(1);
    base.begin();
    base.doc.order.push("a").keep().unwrap();
    base.doc.order.push("b").keep().unwrap();
    base.doc.order.move_idx(0, 1).keep().unwrap();
    base.roll_back();
    let opened: BaseCrdt<Workflow> = BaseCrdt::open(&key(1), &base.save().unwrap()).unwrap();
    assert_eq!(told(&opened), told(&base));
}

/// An entry that only those know who saw a removal that was given up. Puts of others must not be part of it.
#[test]
fn an_entry_that_was_given_up_takes_nothing_in_after_a_snapshot() {
    let (mut base, mut other) = (open(1), open(2));
    let put = base.transact(&key(1), |doc| doc.jobs.put("1", json!({"name": "one"})).keep()).unwrap();
    let _ = other.apply_changes(put);
    base.begin();
    base.doc.jobs.remove("1").keep().unwrap();
    base.doc.jobs.put("1", json!({"name": "never"})).keep().unwrap();
    base.roll_back();
    for body in ["more", "and more"] {
        base = BaseCrdt::open(&key(1), &base.save().unwrap()).unwrap();
        let again = other.transact(&key(2), |doc| doc.jobs.put("1", json!({"body": body})).keep()).unwrap();
        assert_eq!(base.apply_changes(again).states, [OpState::Ok]);
        assert_eq!(told(&base), told(&other));
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

/// Where the sections of a state begin, after their lengths and checksums, and how long they are.
fn sections(state: &[u8]) -> Vec<(usize, usize)> {
    const HEAD: usize = 18;
    let (mut at, mut found) = (HEAD, Vec::new());
    while let Some(len) = state.get(at..at + 4) {
        let len = u32::from_le_bytes(len.try_into().unwrap()) as usize;
        if state.len() - at - 4 < len {
            break;
        }
        found.push((at + 8, len));
        at += 8 + len;
    }
    found
}

/// Gives the sections the checksums that they should have, as far as their lengths make sense.
fn fix_checksums(state: &mut [u8]) {
    for (start, len) in sections(state) {
        if let Some(bytes) = state.get(start..start + len) {
            let checksum = crc32fast::hash(bytes).to_le_bytes();
            state[start - 4..start].copy_from_slice(&checksum);
        }
    }
}

/// Whatever opens can be shown, read, edited, told of changes, and saved.
fn check_usable(snapshot: &Snapshot, log: &[Change]) {
    let Ok(mut base) = BaseCrdt::<Workflow>::open(&key(1), snapshot) else { return };
    let before = told(&base);
    let _ = base.history(0, usize::MAX);
    let _ = base.at(&base.heads());
    assert_eq!(told(&BaseCrdt::open(&key(1), &base.clone().save().unwrap()).unwrap()), before);
    let _ = base.apply_changes(log.to_vec());
    let _ = base.transact(&key(1), |doc| {
        doc.notes.insert(doc.notes.len() / 2, "more").keep()?;
        doc.notes.cut(0, 1).keep()?;
        doc.order.move_idx(0, doc.order.len().saturating_sub(1)).keep()?;
        doc.order.push("last").keep()?;
        doc.jobs.put("1", json!({"name": "again"})).keep()?;
        doc.jobs.remove("2").keep()?;
        doc.extra.put("list", json!([1])).keep()
    });
    let _ = text(&base);
    assert!(BaseCrdt::<Workflow>::open(&key(1), &base.save().unwrap()).is_ok());
}

/// A state with everything in it, and its history.
fn varied() -> (Snapshot, Vec<Change>) {
    let (mut base, mut log) = sample();
    let mut other = open(2);
    let _ = other.apply_changes(log.clone());
    for (base, author) in [(&mut base, 1), (&mut other, 2)] {
        let made = base.transact(&key(author), |doc| {
            doc.order.move_idx(0, 2).keep()?;
            doc.order.delete_idx(1).keep()?;
            doc.notes.cut(3, 4).keep()?;
            doc.jobs.get("1").unwrap().runs.add(author.into()).keep()?;
            doc.jobs.remove("0").keep()?;
            doc.jobs.put("0", json!({"name": "new"})).keep()
        });
        log.extend(made.unwrap());
    }
    let _ = base.apply_changes(log.clone());
    (base.save().unwrap(), log)
}

/// Damaged states whose checksums fit used to open and to panic later. Snapshots are a node's own, but a bug of a
/// writer or of a disk may make one.
#[test]
fn a_state_whose_checksums_are_made_to_fit_is_refused_or_usable() {
    let (snapshot, log) = varied();
    check_usable(&snapshot, &log);
    // The fuzz target `snapshot` tries more of them.
    for at in (0..snapshot.state.len()).step_by(9) {
        let mut bad = snapshot.clone();
        bad.state[at] ^= 0x08;
        fix_checksums(&mut bad.state);
        check_usable(&bad, &log);
    }
}

/// A run of a few bytes may stand for any number of numbers. Those used to be taken in until the memory was full, or
/// for ever.
#[test]
fn endless_columns_are_refused() {
    let (snapshot, _) = varied();
    let parts = sections(&snapshot.state);
    for (section, (start, len)) in parts.into_iter().enumerate().skip(1) {
        for number in [0u8, 1] {
            // Columns 1 to 25, each a run of this number, 2^42 times.
            let run = [number, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
            let endless = |id: u8| [&[id, 2, run.len() as u8 * 2][..], &run].concat();
            for columns in [1..=25, 1..=15, 1..=8, 1..=7, 1..=6, 1..=3] {
                let columns: Vec<u8> = columns.flat_map(endless).collect();
                let head = [(columns.len() as u32).to_le_bytes(), crc32fast::hash(&columns).to_le_bytes()];
                let mut bad = snapshot.clone();
                bad.state.splice(start - 8..start + len, [head.concat(), columns].concat());
                let opened = BaseCrdt::<Workflow>::open(&key(1), &bad);
                // Texts are read when they are touched.
                assert!(
                    opened.as_ref().is_ok_and(|base| !text(base).is_empty()) == (section > 5),
                    "{section}"
                );
            }
        }
    }
}

/// The history's head may say more than its chunks can hold, and the state may count on it.
#[test]
fn a_history_that_claims_too_much_is_refused() {
    let (snapshot, _) = varied();
    for field in [41, 49] {
        let mut bad = snapshot.clone();
        bad.history[4 + field + 5] = 1;
        let checksum = crc32fast::hash(&bad.history[4..61]).to_le_bytes();
        bad.history[61..65].copy_from_slice(&checksum);
        let error = BaseCrdt::<Workflow>::open(&key(1), &bad).unwrap_err();
        assert!(matches!(error, SnapshotError::History(BundleError::OverLimit { .. })), "{error}");
    }
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

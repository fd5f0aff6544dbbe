//! Batches that are more than one change may be: cut where a row ends.

use bft_json_crdt::{JsonValue, limits};
use gangline_reconcile::{Mode, Reconciled};
use serde_json::json;

use super::world::{Database, Node};
use super::{MODES, followed, joined};

fn job(body: &str) -> serde_json::Value {
    json!({"name": "job", "body": body, "adaptor": "http", "position": 1})
}

/// What holds of every chain.
fn check(alice: &Node, before: &Node, reconciled: &Reconciled) {
    assert!(reconciled.changes.len() > 1, "more than one change");
    let mut previous = before.tracked();
    for change in &reconciled.changes {
        assert!(change.bytes().len() <= limits::CHANGE_BYTES_MAX);
        assert!(change.op_count() <= limits::CHANGE_OPS_MAX);
        let after: Vec<_> = change.prev().into_iter().chain(change.deps().iter().copied()).collect();
        assert_eq!(after, previous);
        previous = vec![change.digest()];
    }
    assert_eq!(alice.tracked(), previous, "the tracking ref is at the last");
    // One notice, for all of it, at the last one.
    let told = alice.told(&reconciled.changes);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].digest, previous[0]);
    // A row is never cut: after each part it is there whole or not at all.
    for change in &reconciled.changes {
        let view = alice.base.at(&[change.digest()]).unwrap().doc.view();
        let Some(JsonValue::Object(jobs)) = view.get("jobs") else { continue };
        assert!(
            jobs.values().all(|job| ["name", "body", "adaptor", "position"]
                .iter()
                .all(|field| job.get(field).is_some()))
        );
    }
}

#[test]
fn ten_thousand_rows_come_as_a_chain_that_is_the_same_everywhere() {
    for mode in MODES {
        let (shape, mut database, mut alice) = followed(mode);
        let mut bob = joined(2, &alice);
        alice.patch(&shape, json!({"name": "my draft"}));
        for n in 0..10_000 {
            database.content["jobs"][format!("job-{n:05}")] = job(&"a line of text\n".repeat(8));
        }
        database.version = 2;
        let rows = database.rows(&shape);
        let before = joined(4, &alice);
        let reconciled = alice.reconcile(&shape, &rows);
        check_or_mirror(mode, &alice, &before, &reconciled);
        let told = &alice.told(&reconciled.changes)[0];
        assert_eq!(
            (told.from, told.to, told.unsaved_left),
            (Some(1), Some(2), usize::from(mode == Mode::Merge))
        );
        let dropped = usize::from(mode == Mode::Mirror);
        assert_eq!(told.changes.len(), 10_000 + dropped);
        if mode == Mode::Merge {
            assert_eq!(bob.reconcile(&shape, &rows).changes, reconciled.changes);
        }
        assert_eq!(alice.view_at_ref(), database.content);
        assert_eq!(alice.reconcile(&shape, &rows).ops, 0);
    }
}

fn check_or_mirror(mode: Mode, alice: &Node, before: &Node, reconciled: &Reconciled) {
    if mode == Mode::Merge {
        check(alice, before, reconciled);
    } else {
        // A mirror is authored at the live heads.
        assert!(reconciled.changes.len() > 1);
        assert_eq!(alice.told(&reconciled.changes).len(), 1);
        assert_eq!(alice.tracked(), [reconciled.changes.last().unwrap().digest()]);
    }
}

#[test]
fn a_document_is_filled_with_ten_thousand_rows_by_the_same_bytes_on_two_nodes() {
    let shape = super::shape(Mode::Merge);
    let mut database = Database::new();
    for n in 0..10_000 {
        database.content["jobs"][format!("job-{n:05}")] = job(&"a line of text\n".repeat(8));
    }
    let rows = database.rows(&shape);
    let (mut alice, mut bob) = (Node::new(1), Node::new(2));
    let first = alice.reconcile(&shape, &rows);
    assert!(first.changes.len() > 1);
    assert_eq!(bob.reconcile(&shape, &rows).changes, first.changes);
    bob.hear(&alice);
    assert_eq!((bob.view(), bob.base.change_count()), (database.content, first.changes.len()));
    assert_eq!(alice.told(&first.changes).len(), 1);
}

#[test]
fn a_text_of_almost_three_mebibytes_goes_through_beside_other_rows() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    let long = "0123456789abcde\n".repeat(190_000);
    assert!(long.len() > 2_900 << 10);
    for n in 0..4 {
        database.content["jobs"][format!("a{n}")] = job(&"x".repeat(300_000));
        database.content["jobs"][format!("k{n}")] = job("short");
    }
    database.content["jobs"]["j1"]["body"] = json!(long);
    database.content["jobs"]["j2"] = job(&long);
    let before = joined(4, &alice);
    let reconciled = alice.reconcile(&shape, &database.rows(&shape));
    check(&alice, &before, &reconciled);
    assert_eq!(alice.view(), database.content);
    // And from there on small changes of it are small.
    database.content["jobs"]["j2"]["body"] = json!(format!("{long}one more line\n"));
    let reconciled = alice.reconcile(&shape, &database.rows(&shape));
    assert_eq!((reconciled.ops, reconciled.changes.len()), (1, 1));
    assert!(reconciled.bytes <= 400, "{} bytes", reconciled.bytes);
}

/// A change takes 131,072 ops. What counted was only how long the texts are, so that many short ones with many
/// changes each gave a change that nobody can sign, and the document never followed again.
#[test]
fn texts_that_change_in_many_places_are_cut_by_their_ops() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    let body = |n: usize, end: char| -> String { (0..n).flat_map(|_| ['a', 'b', 'c', end]).collect() };
    for n in 0..4_000 {
        database.content["jobs"][format!("job-{n:05}")] = job(&body(30, '1'));
    }
    alice.reconcile(&shape, &database.rows(&shape));
    for n in 0..4_000 {
        database.content["jobs"][format!("job-{n:05}")]["body"] = json!(body(30, '2'));
    }
    let before = joined(4, &alice);
    let reconciled = alice.reconcile(&shape, &database.rows(&shape));
    check(&alice, &before, &reconciled);
    assert_eq!(reconciled.ops, 4_000 * 60 + reconciled.changes.len(), "a cut and an insert for each place");
    assert_eq!(alice.view(), database.content);
}

/// Keys are part of a change too, and were not counted: five thousand of the longest gave more than one change takes.
#[test]
fn rows_with_long_keys_are_cut_by_these_too() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    for n in 0..5_000 {
        database.content["jobs"][format!("{n:->1024}")] = job("");
    }
    let before = joined(4, &alice);
    let reconciled = alice.reconcile(&shape, &database.rows(&shape));
    check(&alice, &before, &reconciled);
    assert_eq!(alice.view(), database.content);
}

/// As above, with one text: every other of its lines is another.
#[test]
fn one_text_that_changes_in_very_many_places_still_fits_a_change() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    let lines = |end: usize| -> String {
        (0..300_000)
            .map(|n| if n % 2 == 0 { "a\n".to_owned() } else { format!("{}\n", n % 7 + end) })
            .collect()
    };
    database.content["jobs"]["j1"]["body"] = json!(lines(0));
    alice.reconcile(&shape, &database.rows(&shape));
    database.content["jobs"]["j1"]["body"] = json!(lines(7));
    let reconciled = alice.reconcile(&shape, &database.rows(&shape));
    assert!(reconciled.changes.iter().all(|change| change.op_count() <= limits::CHANGE_OPS_MAX));
    assert_eq!(alice.view(), database.content);
}

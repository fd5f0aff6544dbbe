//! Somebody is there, or nobody, when an import comes.

use bft_json_crdt::json_crdt::BaseCrdt;
use gangline_reconcile::{Mode, Outcome, edits_of};
use serde_json::json;

use super::world::{Node, merge, person};
use super::{MODES, followed, joined};

/// What the import brings in these tests: a row.
fn import() -> serde_json::Value {
    json!({"jobs": {"j3": {"name": "imported", "body": "", "adaptor": null, "position": 3}}})
}

fn draft() -> serde_json::Value {
    let row = json!({"name": "new", "body": "", "adaptor": null, "position": 9});
    json!({"concurrency": 7, "jobs": {"j1": {"name": "my draft"}, "j9": row}})
}

#[test]
fn the_second_opener_sees_the_import_and_the_first_ones_draft_is_still_there() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    alice.patch(&shape, draft());
    merge(&mut database.content, &import());
    let reconciled = alice.reconcile(&shape, &database.rows(&shape));
    assert_eq!(reconciled.dropped, []);
    let mut expected = database.content.clone();
    merge(&mut expected, &draft());
    let bob = joined(2, &alice);
    assert_eq!((alice.view(), bob.view()), (expected.clone(), expected));
    assert_eq!(bob.unsaved_paths(&shape), ["concurrency", "jobs.j9", "jobs.j1.name"]);
    assert!(bob.conflicts().is_empty());
}

#[test]
fn a_mirror_lists_the_draft_as_dropped_and_it_can_be_had_back() {
    let (shape, mut database, mut alice) = followed(Mode::Mirror);
    alice.patch(&shape, draft());
    let drafted = alice.view();
    merge(&mut database.content, &import());
    let reconciled = alice.reconcile(&shape, &database.rows(&shape));
    let bob = joined(2, &alice);
    assert_eq!((alice.view(), bob.view()), (database.content.clone(), database.content.clone()));
    let dropped: Vec<_> = reconciled.dropped.iter().map(|dropped| dropped.path.to_string()).collect();
    assert_eq!(dropped, ["concurrency", "jobs.j1.name", "jobs.j9"]);
    // The notice lists the same, and what stood there can be written again.
    let told = bob.told(&reconciled.changes);
    let dropped = told[0].changes.iter().filter(|change| change.outcome == Outcome::Dropped);
    for change in dropped {
        let was = change.before.clone().expect("all three had something");
        let patch = match &change.path.to_string().split('.').collect::<Vec<_>>()[..] {
            [field] => json!({*field: serde_json::Value::from(was)}),
            [list, key] => json!({*list: {*key: serde_json::Value::from(was)}}),
            [list, key, field] => json!({*list: {*key: {*field: serde_json::Value::from(was)}}}),
            _ => panic!("no path"),
        };
        alice.patch(&shape, patch);
    }
    let mut expected = drafted;
    merge(&mut expected, &import());
    assert_eq!(alice.view(), expected);
}

#[test]
fn an_import_and_then_a_save_lose_neither_the_import_nor_the_draft() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    alice.patch(&shape, draft());
    merge(&mut database.content, &import());
    alice.reconcile(&shape, &database.rows(&shape));
    alice.save(&shape, &mut database);
    let mut expected = super::Database::new().content;
    merge(&mut expected, &import());
    merge(&mut expected, &draft());
    assert_eq!(database.content, expected);
    assert_eq!(alice.view(), expected);
    assert_eq!(alice.unsaved(&shape), []);
    assert_eq!(alice.reconcile(&shape, &database.rows(&shape)).ops, 0);
}

#[test]
fn a_stored_document_with_a_draft_follows_by_the_same_bytes_as_a_live_one() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    alice.patch(&shape, draft());
    let snapshot = alice.base.save().unwrap();
    // Somebody goes on in the live one, and the stored one is stale.
    alice.patch(&shape, json!({"note": "typed later"}));
    merge(&mut database.content, &import());
    let live = alice.reconcile(&shape, &database.rows(&shape));
    let base = BaseCrdt::open(&person(3), &snapshot).unwrap();
    let mut opener = Node::over(3, base);
    let stored = opener.reconcile(&shape, &database.rows(&shape));
    assert_eq!(stored.changes, live.changes);
    assert_eq!(opener.told(&stored.changes)[0].changes, alice.told(&live.changes)[0].changes);
    // The next opener sees the import and the draft.
    let mut expected = database.content.clone();
    merge(&mut expected, &draft());
    assert_eq!(opener.view(), expected);
    opener.hear(&alice);
    assert_eq!(opener.view(), alice.view());
}

#[test]
fn a_stored_mirror_equals_the_database_for_the_next_opener_and_lists_the_draft() {
    let (shape, mut database, mut alice) = followed(Mode::Mirror);
    alice.patch(&shape, draft());
    let snapshot = alice.base.save().unwrap();
    merge(&mut database.content, &import());
    let base = BaseCrdt::open(&person(3), &snapshot).unwrap();
    let mut opener = Node::over(3, base);
    let stored = opener.reconcile(&shape, &database.rows(&shape));
    assert_eq!(stored.changes, alice.reconcile(&shape, &database.rows(&shape)).changes);
    assert_eq!(opener.view(), database.content);
    assert_eq!(stored.dropped.len(), 3);
}

#[test]
fn an_import_that_changes_nothing_is_no_op_no_byte_no_version_and_no_notice() {
    for mode in MODES {
        let (shape, mut database, mut alice) = followed(mode);
        alice.patch(&shape, draft());
        let before = (alice.base.heads(), alice.view());
        for version in [1, 2, 9] {
            database.version = version;
            let nothing = alice.reconcile(&shape, &database.rows(&shape));
            assert_eq!((nothing.ops, nothing.bytes, nothing.changes.len()), (0, 0, 0));
            assert_eq!((nothing.edits.len(), nothing.dropped.len()), (0, 0));
        }
        assert_eq!((alice.base.heads(), alice.view()), before);
    }
}

#[test]
fn every_node_is_told_once_and_the_same_after_the_ops() {
    for mode in MODES {
        let (shape, mut database, mut alice) = followed(mode);
        alice.patch(&shape, json!({"name": "mine", "jobs": {"j2": {"position": 8}}}));
        let mut bob = joined(2, &alice);
        database.version = 4;
        merge(&mut database.content, &import());
        merge(&mut database.content, &json!({"name": "theirs", "jobs": {"j1": {"position": 5}}}));
        let reconciled = alice.reconcile(&shape, &database.rows(&shape));
        // Before the ops are there, there is nothing to tell.
        assert_eq!(bob.told(&reconciled.changes), []);
        bob.take(&reconciled.changes);
        let told = bob.told(&bob.log);
        assert_eq!(told.len(), 2, "one for the first fill, one for the import");
        assert_eq!(told[1..], alice.told(&reconciled.changes));
        assert_eq!((told[1].from, told[1].to), (Some(1), Some(4)));
        let said: Vec<_> = told[1]
            .changes
            .iter()
            .map(|change| (change.path.to_string(), change.kind.name(), change.outcome.name()))
            .collect();
        let said: Vec<_> =
            said.iter().map(|(path, kind, outcome)| (path.as_str(), *kind, *outcome)).collect();
        let merged = [
            ("name", "set", "prevails"),
            ("jobs.j3", "insert", "applied"),
            ("jobs.j1.position", "set", "applied"),
        ];
        let mirrored = [
            ("name", "set", "dropped"),
            ("jobs.j3", "insert", "applied"),
            ("jobs.j1.position", "set", "applied"),
            ("jobs.j2.position", "set", "dropped"),
        ];
        let (expected, left) = if mode == Mode::Merge { (&merged[..], 1) } else { (&mirrored[..], 0) };
        assert_eq!((said, told[1].unsaved_left), (expected.to_vec(), left));
    }
}

#[test]
fn an_edit_that_says_what_stands_there_is_none() {
    let (shape, database, alice) = followed(Mode::Merge);
    let layout = gangline_reconcile::Layout::of(&shape);
    let view = alice.base.doc.view();
    assert_eq!(edits_of(&layout, &view, &database.content.into()), Ok(vec![]));
}

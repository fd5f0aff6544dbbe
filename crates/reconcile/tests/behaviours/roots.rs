//! A root that counts as deleted, or is gone, and comes back.

use gangline_reconcile::{Layout, RootChange, Rows, Shape};
use serde_json::json;

use super::world::{Node, merge};
use super::{MODES, followed};

fn is_deleted(node: &Node, shape: &Shape) -> bool {
    Layout::of(shape).is_deleted(&node.base.doc.view())
}

#[test]
fn a_root_that_is_deleted_softly_says_so_and_is_not_otherwise_followed_until_it_is_back() {
    for mode in MODES {
        let (shape, mut database, mut alice) = followed(mode);
        alice.patch(&shape, json!({"note": "my draft"}));
        let draft = alice.view();
        merge(
            &mut database.content,
            &json!({"deleted_at": "2026-10-01", "name": "renamed", "jobs": {"j1": {"name": "renamed"}}}),
        );
        let deleted = alice.reconcile(&shape, &database.rows(&shape));
        assert_eq!(deleted.ops, 1);
        let mut expected = draft.clone();
        expected["deleted_at"] = json!("2026-10-01");
        assert_eq!(alice.view(), expected, "readable, with the draft");
        assert!(is_deleted(&alice, &shape));
        let told = alice.told(&deleted.changes);
        let paths: Vec<_> = told[0].changes.iter().map(|change| change.path.to_string()).collect();
        assert_eq!(paths, ["deleted_at"]);
        assert_eq!((told[0].root, told[0].is_save), (Some(RootChange::Gone), false));
        // While it is deleted, nothing else moves it.
        database.content["jobs"]["j2"]["name"] = json!("renamed too");
        assert_eq!(alice.reconcile(&shape, &database.rows(&shape)).ops, 0);

        database.content["deleted_at"] = json!(null);
        let back = alice.reconcile(&shape, &database.rows(&shape));
        assert_eq!(alice.told(&back.changes)[0].root, Some(RootChange::Back));
        assert!(!is_deleted(&alice, &shape));
        let mut expected = database.content.clone();
        if mode == gangline_reconcile::Mode::Merge {
            expected["note"] = json!("my draft");
        }
        assert_eq!(alice.view(), expected);
    }
}

#[test]
fn a_root_that_is_gone_says_so_and_stays_readable_until_it_is_back() {
    for mode in MODES {
        let (shape, mut database, mut alice) = followed(mode);
        alice.patch(&shape, json!({"note": "my draft"}));
        let draft = alice.view();
        let gone = alice.reconcile(&shape, &Rows::none(&shape));
        assert_eq!(gone.ops, 1);
        assert!(is_deleted(&alice, &shape));
        assert_eq!(alice.view(), draft);
        let told = alice.told(&gone.changes).remove(0);
        assert_eq!((told.root, told.is_save), (Some(RootChange::Gone), false), "clients get the notice");
        assert!(told.changes.is_empty() && !told.version_stood_still);
        assert_eq!(alice.reconcile(&shape, &Rows::none(&shape)).ops, 0);

        database.content["jobs"]["j1"]["name"] = json!("renamed");
        database.version = 3;
        alice.reconcile(&shape, &database.rows(&shape));
        assert!(!is_deleted(&alice, &shape));
        let mut expected = database.content.clone();
        if mode == gangline_reconcile::Mode::Merge {
            expected["note"] = json!("my draft");
        }
        assert_eq!(alice.view(), expected);
    }
}

#[test]
fn a_root_that_comes_back_as_it_was_is_one_op() {
    let (shape, database, mut alice) = followed(gangline_reconcile::Mode::Merge);
    alice.reconcile(&shape, &Rows::none(&shape));
    let back = alice.reconcile(&shape, &database.rows(&shape));
    assert_eq!(back.ops, 1);
    let told = alice.told(&back.changes).remove(0);
    assert_eq!((told.root, told.is_save, told.changes.len()), (Some(RootChange::Back), false, 0));
    assert_eq!(alice.view(), database.content);
}

#[test]
fn a_root_that_comes_back_deleted_softly_is_still_deleted() {
    for mode in MODES {
        let (shape, mut database, mut alice) = followed(mode);
        alice.reconcile(&shape, &Rows::none(&shape));
        database.content["deleted_at"] = json!("2026-10-01");
        let still = alice.reconcile(&shape, &database.rows(&shape));
        assert_eq!(alice.told(&still.changes)[0].root, None);
        assert!(is_deleted(&alice, &shape));
        database.content["deleted_at"] = json!(null);
        alice.reconcile(&shape, &database.rows(&shape));
        assert!(!is_deleted(&alice, &shape));
        assert_eq!(alice.view(), database.content);
    }
}

#[test]
fn a_root_that_was_never_there_leaves_no_trace() {
    for mode in MODES {
        let (shape, _, _) = followed(mode);
        let mut bob = Node::new(2);
        let nothing = bob.reconcile(&shape, &Rows::none(&shape));
        assert_eq!((nothing.ops, nothing.changes.len()), (0, 0));
        assert_eq!(bob.base.change_count(), 0);
    }
}

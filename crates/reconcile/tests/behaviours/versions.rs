//! What the version says, and what is followed although it says nothing.

use gangline_reconcile::{ReconcileError, Shape, version_of};
use serde_json::json;

use super::world::{Node, mapping, merge, schema};
use super::{MODES, followed};

fn version(node: &Node) -> Option<i64> {
    version_of(&node.base.doc.view())
}

#[test]
fn an_older_version_is_refused_until_somebody_accepts_it() {
    for mode in MODES {
        let (shape, mut database, mut alice) = followed(mode);
        database.version = 5;
        database.content["name"] = json!("newer");
        alice.reconcile(&shape, &database.rows(&shape));
        assert_eq!(version(&alice), Some(5));
        database.version = 3;
        database.content["name"] = json!("of the backup");
        let before = (alice.base.heads(), alice.view());
        let refused = alice.try_reconcile(&shape, &database.rows(&shape), false).unwrap_err();
        assert!(matches!(refused, ReconcileError::Older { found: 3, known: 5 }), "{refused}");
        assert_eq!((alice.base.heads(), alice.view()), before, "a refusal changes nothing");
        // An older version with the rows that are known is refused as well.
        database.content["name"] = json!("newer");
        assert!(alice.try_reconcile(&shape, &database.rows(&shape), false).is_err());

        database.content["name"] = json!("of the backup");
        alice.try_reconcile(&shape, &database.rows(&shape), true).unwrap();
        assert_eq!((alice.view(), version(&alice)), (database.content.clone(), Some(3)));
        // From there on it goes on as usual.
        database.version = 4;
        database.content["name"] = json!("after the backup");
        alice.reconcile(&shape, &database.rows(&shape));
        assert_eq!(alice.view(), database.content);
    }
}

#[test]
fn rows_that_changed_while_the_version_stood_still_are_followed() {
    for mode in MODES {
        let (shape, mut database, mut alice) = followed(mode);
        for name in ["by a script", "by another script"] {
            database.content["name"] = json!(name);
            let reconciled = alice.reconcile(&shape, &database.rows(&shape));
            assert_eq!((alice.view(), reconciled.ops), (database.content.clone(), 1));
            let told = alice.told(&reconciled.changes);
            assert!(told[0].version_stood_still, "whoever maintains the writer is told");
            assert_eq!((told[0].from, told[0].to, told[0].changes.len()), (Some(1), Some(1), 1));
        }
    }
}

#[test]
fn what_a_save_brings_along_and_a_version_that_rises_are_not_said_to_stand_still() {
    for mode in MODES {
        let (shape, mut database, mut alice) = followed(mode);
        alice.patch(&shape, json!({"note": "mine"}));
        alice.save(&shape, &mut database);
        let version = database.version;
        // A trigger, in the save's own transaction.
        database.content["name"] = json!("by a trigger");
        let told = |alice: &mut Node, database: &super::Database| {
            let reconciled = alice.reconcile(&shape, &database.rows(&shape));
            alice.told(&reconciled.changes).remove(0)
        };
        assert!(!told(&mut alice, &database).version_stood_still);
        database.content["name"] = json!("by a script");
        let by_script = told(&mut alice, &database);
        assert!(by_script.version_stood_still && by_script.to == Some(version), "{by_script:?}");
        database.version += 1;
        database.content["name"] = json!("by a deploy");
        assert!(!told(&mut alice, &database).version_stood_still);
    }
}

#[test]
fn a_mapping_without_a_version_follows_by_content_alone() {
    for mode in MODES {
        let mut mapping = mapping(mode);
        mapping.root.version = None;
        let shape = Shape::bind(mapping, &schema()).unwrap();
        let mut database = super::Database::new();
        let rows = |database: &super::Database| {
            let mut rows = database.rows(&shape);
            rows.version = None;
            rows
        };
        let mut alice = Node::new(1);
        alice.reconcile(&shape, &rows(&database));
        merge(&mut database.content, &json!({"jobs": {"j1": {"name": "renamed"}}}));
        let reconciled = alice.reconcile(&shape, &rows(&database));
        assert_eq!((alice.view(), reconciled.ops), (database.content.clone(), 1));
        assert_eq!(alice.reconcile(&shape, &rows(&database)).ops, 0);
        assert_eq!(version(&alice), None);
        let told = alice.told(&reconciled.changes);
        assert_eq!((told[0].from, told[0].to), (None, None));
    }
}

#[test]
fn two_versions_in_both_orders_end_with_the_newest() {
    for mode in MODES {
        let (shape, mut database, alice) = followed(mode);
        let mut views = Vec::new();
        database.version = 2;
        database.content["name"] = json!("second");
        let second = database.rows(&shape);
        database.version = 3;
        database.content["name"] = json!("third");
        let third = database.rows(&shape);
        for order in [[&second, &third], [&third, &second]] {
            let mut node = joined_twice(&alice);
            for rows in order {
                let is_older = rows.version < version(&node);
                assert_eq!(node.try_reconcile(&shape, rows, false).is_err(), is_older);
            }
            views.push(node.view());
        }
        assert_eq!(views, [database.content.clone(), database.content.clone()]);
    }
}

fn joined_twice(other: &Node) -> Node {
    super::joined(4, other)
}

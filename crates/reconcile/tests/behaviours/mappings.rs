//! A mapping that changes: what is in the document follows at the next batch.

use gangline_reconcile::{ColumnKind, Mapping, Mode, Policy, Schema, Shape};
use serde_json::{Value, json};

use super::world::{Database, Node, mapping, schema};
use super::{MODES, followed};

/// The document follows a mapping, somebody drafts, the mapping changes: what the document shows then.
#[track_caller]
fn check(
    mode: Mode,
    draft: Value,
    change: impl Fn(&mut Mapping, &mut Schema),
    expected: impl Fn(&mut Value),
) {
    let (shape, database, mut alice) = followed(mode);
    if mode == Mode::Merge {
        alice.patch(&shape, draft.clone());
    }
    let (mut mapping, mut schema) = (mapping(mode), schema());
    change(&mut mapping, &mut schema);
    let shape = Shape::bind(mapping, &schema).unwrap();
    let rows = database.rows(&shape);
    let reconciled = alice.reconcile(&shape, &rows);
    assert!(reconciled.ops > 0);
    let mut view = database.content.clone();
    expected(&mut view);
    assert_eq!(alice.view_at_ref(), view);
    if mode == Mode::Merge {
        super::world::merge(&mut view, &draft);
        expected(&mut view);
    }
    assert_eq!(alice.view(), view);
    assert_eq!(alice.reconcile(&shape, &rows).ops, 0, "and that is all");
    // A new node with the new mapping shows the same rows.
    let mut fresh = Node::new(5);
    fresh.reconcile(&shape, &rows);
    assert_eq!(fresh.view(), alice.view_at_ref());
    let told = alice.told(&reconciled.changes);
    assert_eq!(told.len(), 1);
}

fn draft() -> Value {
    json!({"concurrency": 8, "jobs": {"j2": {"name": "mine"}}})
}

#[test]
fn a_field_that_is_added_is_filled_in() {
    for mode in MODES {
        // The first mapping is the one without.
        let mut first = mapping(mode);
        first.root.fields.remove("note");
        first.lists[0].fields.remove("position");
        let shape = Shape::bind(first, &schema()).unwrap();
        let database = Database::new();
        let mut alice = Node::new(1);
        alice.reconcile(&shape, &database.rows(&shape));
        assert_eq!((alice.view().get("note"), alice.view()["jobs"]["j1"].get("position")), (None, None));
        let shape = super::shape(mode);
        let reconciled = alice.reconcile(&shape, &database.rows(&shape));
        assert_eq!(reconciled.ops, 4, "the layout, one field, and one in each of two rows");
        assert_eq!(alice.view(), database.content);
    }
}

#[test]
fn a_field_that_is_removed_is_gone_with_what_was_drafted_in_it() {
    for mode in MODES {
        check(
            mode,
            json!({"note": "mine", "jobs": {"j1": {"position": 9}, "j2": {"name": "mine"}}}),
            |mapping, _| {
                mapping.root.fields.remove("note");
                mapping.lists[0].fields.remove("position");
            },
            |view| {
                view.as_object_mut().unwrap().remove("note");
                for job in view["jobs"].as_object_mut().unwrap().values_mut() {
                    job.as_object_mut().unwrap().remove("position");
                }
            },
        );
    }
}

#[test]
fn a_list_that_is_removed_is_gone() {
    for mode in MODES {
        check(
            mode,
            draft(),
            |mapping, _| mapping.lists.truncate(1),
            |view| {
                view.as_object_mut().unwrap().remove("edges");
            },
        );
    }
}

#[test]
fn a_list_that_is_removed_and_comes_back_is_whole() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    alice.patch(&shape, json!({"edges": {"e1": {"weight": 9.0}}}));
    let mut without = mapping(Mode::Merge);
    without.lists.truncate(1);
    let without = Shape::bind(without, &schema()).unwrap();
    alice.reconcile(&without, &database.rows(&without));
    assert_eq!(alice.view().get("edges"), None);
    database.content["edges"]["e2"] = json!({"source_job_id": "j2", "enabled": false, "weight": 1.0});
    alice.reconcile(&shape, &database.rows(&shape));
    assert_eq!(alice.view_at_ref(), database.content);
    assert_eq!(alice.view(), database.content);
}

#[test]
fn a_policy_that_changes_holds_from_the_next_batch_on() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    alice.patch(&shape, json!({"name": "mine", "concurrency": 8}));
    let mut mapping = mapping(Mode::Merge);
    mapping.root.fields.insert("name".to_owned(), Policy::DocWins);
    mapping.root.fields.insert("concurrency".to_owned(), Policy::DbWins);
    let changed = Shape::bind(mapping, &schema()).unwrap();
    let reconciled = alice.reconcile(&changed, &database.rows(&changed));
    assert_eq!(reconciled.ops, 1, "the layout alone");
    database.content["name"] = json!("theirs");
    database.content["concurrency"] = json!(9);
    alice.reconcile(&changed, &database.rows(&changed));
    assert_eq!(
        (alice.view()["name"].clone(), alice.view()["concurrency"].clone()),
        (json!("mine"), json!(9))
    );
    assert_eq!(alice.open().len(), 2);
}

#[test]
fn a_scalar_becomes_a_text_and_back() {
    for mode in MODES {
        let (_, database, mut alice) = followed(mode);
        let mut as_text = mapping(mode);
        as_text.root.fields.insert("name".to_owned(), Policy::TextMerge);
        as_text.lists[0].fields.insert("body".to_owned(), Policy::DbWins);
        let as_text = Shape::bind(as_text, &schema()).unwrap();
        alice.reconcile(&as_text, &database.rows(&as_text));
        assert_eq!(alice.view(), database.content);
        assert_eq!(alice.reconcile(&as_text, &database.rows(&as_text)).ops, 0);
        // From here on it is merged by character, and the other is not.
        let mut bob = super::joined(2, &alice);
        alice.patch(&as_text, json!({"name": "deploy all", "jobs": {"j1": {"body": "alice"}}}));
        bob.patch(&as_text, json!({"name": "to deploy", "jobs": {"j1": {"body": "bob"}}}));
        alice.hear(&bob);
        assert_eq!(alice.view()["name"], "to deploy all");
        assert!(["alice", "bob"].contains(&alice.view()["jobs"]["j1"]["body"].as_str().unwrap()));
    }
}

#[test]
fn a_column_of_another_type_is_followed() {
    for mode in MODES {
        let (_, mut database, mut alice) = followed(mode);
        let mut changed = schema();
        let column = changed.tables.get_mut("workflows").unwrap().columns.get_mut("concurrency").unwrap();
        column.kind = ColumnKind::Text;
        let shape = Shape::bind(mapping(mode), &changed).unwrap();
        database.content["concurrency"] = json!("five");
        let reconciled = alice.reconcile(&shape, &database.rows(&shape));
        assert_eq!((reconciled.ops, alice.view()), (2, database.content.clone()));
        alice.patch(&shape, json!({"concurrency": "six"}));
        assert_eq!(alice.unsaved_paths(&shape), ["concurrency"]);
    }
}

#[test]
fn a_mapping_whose_mode_changes_is_followed_in_the_new_one() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    alice.patch(&shape, draft());
    let mirror = super::shape(Mode::Mirror);
    database.content["name"] = json!("imported");
    let reconciled = alice.reconcile(&mirror, &database.rows(&mirror));
    assert_eq!(alice.view(), database.content);
    assert_eq!(reconciled.dropped.len(), 2);
    alice.patch(&mirror, draft());
    database.content["name"] = json!("imported again");
    alice.reconcile(&shape, &database.rows(&shape));
    let mut expected = database.content.clone();
    super::world::merge(&mut expected, &draft());
    assert_eq!(alice.view(), expected);
}

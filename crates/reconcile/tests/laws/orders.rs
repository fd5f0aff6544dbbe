//! Whatever comes in whatever order, all nodes end with the same.

use bft_json_crdt::json_crdt::Change;
use gangline_reconcile::{Layout, Mode, ReconcileError, conflicts, version_of};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::generated::{patch, steps, whole};
use super::world::{Database, Node, shape, write_rows};
use super::{play, settle, without_owned};

fn write(database: &mut Database, write: &Value) {
    let patch = whole(write, &database.content);
    write_rows(&mut database.content, &patch);
}

/// The next batch is made at all heads of the source, where there is something to put right, and then the document equals
/// the rows there.
fn is_put_right(team: &mut [Node], database: &Database) -> Result<(), TestCaseError> {
    let shape = shape(Mode::Merge);
    settle(team);
    let made = team[0].reconcile(&shape, &database.rows(&shape));
    settle(team);
    for node in &*team {
        prop_assert!(made.ops == 0 || node.tracked().len() == 1);
        prop_assert_eq!(without_owned(node.view_at_ref()), without_owned(database.content.clone()));
        prop_assert_eq!(node.view(), team[0].view());
        prop_assert_eq!(node.base.heads(), team[0].base.heads());
        prop_assert_eq!(conflicts(&node.base), conflicts(&team[0].base));
        prop_assert_eq!(node.base.equivocations(), vec![]);
    }
    prop_assert_eq!(team[1].reconcile(&shape, &database.rows(&shape)).ops, 0);
    Ok(())
}

proptest! {
    #![proptest_config(super::cases(64))]

    #[test]
    fn of_two_versions_in_both_orders_the_newest_wins(
        steps in steps(2),
        older in patch(true),
        newer in patch(true),
        hears_between in any::<bool>(),
    ) {
        let shape = shape(Mode::Merge);
        let (mut team, mut database) = play(Mode::Merge, &steps, 2);
        database.version += 1;
        write(&mut database, &older);
        let first = database.rows(&shape);
        database.version += 1;
        write(&mut database, &newer);
        database.content["name"] = json!("of the newest");
        let second = database.rows(&shape);
        // One node reads both in order, the other the newest first.
        team[0].reconcile(&shape, &first);
        if hears_between {
            let log = team[0].log.clone();
            team[1].take(&log);
        }
        team[1].reconcile(&shape, &second);
        team[0].reconcile(&shape, &second);
        let known = version_of(&team[1].base.doc.view());
        let refused = team[1].try_reconcile(&shape, &first, false).unwrap_err();
        prop_assert!(matches!(refused, ReconcileError::Older { .. }), "{} is older than {:?}", refused, known);
        for node in &team {
            prop_assert_eq!(without_owned(node.view_at_ref()), without_owned(database.content.clone()));
        }
        is_put_right(&mut team, &database)?;
    }

    #[test]
    fn changes_in_any_order_give_the_same_document(
        (steps, order) in steps(3).prop_flat_map(|steps| (Just(steps), prop::collection::vec(any::<u32>(), 160))),
        at_once in any::<bool>(),
    ) {
        let shape = shape(Mode::Merge);
        let (team, _) = play(Mode::Merge, &steps, 3);
        let mut changes: Vec<(u32, Change)> = order.iter().copied().cycle().zip(team[0].log.clone()).collect();
        changes.sort_by_key(|(at, _)| *at);
        let changes: Vec<Change> = changes.into_iter().map(|(_, change)| change).collect();
        let mut late = Node::new(9);
        if at_once {
            late.take(&changes);
        } else {
            changes.iter().for_each(|change| late.take(std::slice::from_ref(change)));
        }
        prop_assert_eq!(late.base.causal_queue_len(), 0);
        prop_assert_eq!(late.view(), team[0].view());
        prop_assert_eq!(late.base.heads(), team[0].base.heads());
        prop_assert_eq!(late.tracked(), team[0].tracked());
        prop_assert_eq!(conflicts(&late.base), conflicts(&team[0].base));
        prop_assert_eq!(late.unsaved(&shape), team[0].unsaved(&shape));
        let told = |node: &Node| node.told(&team[0].log);
        prop_assert_eq!(told(&late), told(&team[0]));
    }

    #[test]
    fn two_nodes_that_fill_one_document_at_once_make_one(write in patch(true), mirrors in any::<bool>()) {
        let shape = shape(if mirrors { Mode::Mirror } else { Mode::Merge });
        let mut database = Database::new();
        self::write(&mut database, &write);
        let (mut alice, mut bob) = (Node::new(1), Node::new(2));
        let first = alice.reconcile(&shape, &database.rows(&shape));
        let second = bob.reconcile(&shape, &database.rows(&shape));
        prop_assert_eq!(&first.changes, &second.changes);
        alice.patch(&shape, json!({"note": "alice's"}));
        bob.patch(&shape, json!({"jobs": {"j2": {"body": "bob's"}}}));
        alice.hear(&bob);
        bob.hear(&alice);
        let mut expected = database.content.clone();
        expected["note"] = json!("alice's");
        if database.content["jobs"].get("j2").is_some() {
            expected["jobs"]["j2"]["body"] = json!("bob's");
        } else {
            expected["jobs"]["j2"] = json!({"body": "bob's"});
        }
        prop_assert_eq!((alice.view(), bob.view()), (expected.clone(), expected));
        prop_assert!(alice.conflicts().is_empty());
        prop_assert_eq!(alice.base.change_count(), first.changes.len() + 2);
    }

    #[test]
    fn a_document_that_was_filled_from_different_rows_is_put_right(
        one in patch(true),
        other in patch(true),
        last in patch(true),
    ) {
        let shape = shape(Mode::Merge);
        let mut database = Database::new();
        let mut team: Vec<Node> = (1..3).map(Node::new).collect();
        for (node, patch) in team.iter_mut().zip([&one, &other]) {
            write(&mut database, patch);
            node.reconcile(&shape, &database.rows(&shape));
        }
        team[0].patch(&shape, json!({"note": "alice's"}));
        write(&mut database, &last);
        is_put_right(&mut team, &database)?;
        prop_assert!(Layout::in_content(&team[1].base.doc.view()).is_some());
    }

    #[test]
    fn two_batches_on_one_base_are_put_right_by_the_next(
        steps in steps(3),
        one in patch(true),
        other in patch(true),
        last in patch(true),
        draft in patch(false),
    ) {
        let shape = shape(Mode::Merge);
        let (mut team, mut database) = play(Mode::Merge, &steps, 3);
        // Both bring a line to one text: it is there twice until the next batch.
        let text = |line: &str| json!({"about": format!("{line}\nboth\n")});
        write(&mut database, &one);
        write(&mut database, &text("one"));
        team[0].reconcile(&shape, &database.rows(&shape));
        write(&mut database, &other);
        write(&mut database, &text("other"));
        team[1].reconcile(&shape, &database.rows(&shape));
        let draft = whole(&draft, &team[2].view());
        team[2].patch(&shape, draft);
        settle(&mut team);
        prop_assert_eq!(team[2].base.equivocations(), vec![]);
        write(&mut database, &last);
        is_put_right(&mut team, &database)?;
    }

    #[test]
    fn a_save_beside_an_import_on_the_same_base_is_put_right(
        steps in steps(2),
        draft in patch(false),
        import in patch(true),
    ) {
        let shape = shape(Mode::Merge);
        let (mut team, database) = play(Mode::Merge, &steps, 2);
        let draft = whole(&draft, &team[0].view());
        team[0].patch(&shape, draft);
        // What another node has read and not yet said, when the first one saves.
        let mut imported = database.clone();
        write(&mut imported, &import);
        let mut saved = database.clone();
        if team[0].save(&shape, &mut saved).writes.is_empty() {
            return Ok(());
        }
        team[1].reconcile(&shape, &imported.rows(&shape));
        saved.version += 1;
        is_put_right(&mut team, &saved)?;
    }
}

//! Texts that both sides change.

use gangline_reconcile::{Mode, UnsavedKind};
use serde_json::json;

use super::followed;
use super::world::merge;

const BODY: &str = "one\ntwo\nthree\nfour\nfive\n";

fn check(mine: &str, theirs: &str, expected: &str) {
    check_told(mine, theirs, expected, "merged");
}

fn check_told(mine: &str, theirs: &str, expected: &str, outcome: &str) {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    merge(&mut database.content, &json!({"jobs": {"j1": {"body": BODY}}}));
    alice.reconcile(&shape, &database.rows(&shape));
    alice.patch(&shape, json!({"jobs": {"j1": {"body": mine}}}));
    merge(&mut database.content, &json!({"jobs": {"j1": {"body": theirs}}}));
    let reconciled = alice.reconcile(&shape, &database.rows(&shape));
    assert_eq!(alice.view()["jobs"]["j1"]["body"], expected);
    assert_eq!(alice.view_at_ref()["jobs"]["j1"]["body"], theirs);
    assert!(alice.conflicts().is_empty());
    // What people have typed and not saved is listed, and the notice says that both are there.
    let unsaved = alice.unsaved(&shape);
    let is_listed =
        unsaved.iter().any(|it| it.path.to_string() == "jobs.j1.body" && it.kind == UnsavedKind::Text);
    assert_eq!(is_listed, expected != theirs, "{unsaved:?}");
    let told = alice.told(&reconciled.changes);
    let outcomes = told.iter().flat_map(|told| &told.changes).map(|change| change.outcome.name());
    let expected = match (mine == BODY, theirs == BODY, expected != theirs) {
        (_, true, _) => vec![],
        (_, false, true) => vec![outcome],
        (_, false, false) => vec!["applied"],
    };
    assert_eq!(outcomes.collect::<Vec<_>>(), expected);
}

#[test]
fn a_text_that_only_one_side_changed_is_that_sides() {
    let changed = "one\nTWO!\nthree\n\nfive\nsix";
    check(changed, BODY, changed);
    check(BODY, changed, changed);
    check("", BODY, "");
    check(BODY, "", "");
}

#[test]
fn other_lines_of_both_sides_are_there() {
    check("one\n2\nthree\nfour\nfive\n", "one\ntwo\nthree\nIV\nfive\n", "one\n2\nthree\nIV\nfive\n");
}

#[test]
fn other_characters_of_one_line_are_there() {
    check(
        "one\ntwo and more\nthree\nfour\nfive\n",
        "one\nthe two\nthree\nfour\nfive\n",
        "one\nthe two and more\nthree\nfour\nfive\n",
    );
}

#[test]
fn what_is_typed_inside_of_what_the_database_deleted_is_kept_and_listed() {
    check_told("one\ntwo\nthr(mine)ee\nfour\nfive\n", "one\nfive\n", "one\n(mine)five\n", "stranded");
    // What is typed elsewhere is just merged, also where lines before it have gone.
    check("one\ntwo\nthree\nfour!\nfive\n", "three\nfour\nfive\n", "three\nfour!\nfive\n");
}

#[test]
fn what_the_database_typed_inside_of_what_somebody_deleted_is_there() {
    check("one\nfive\n", "one\ntwo\nthr(theirs)ee\nfour\nfive\n", "one\n(theirs)five\n");
}

#[test]
fn the_same_deletion_on_both_sides_is_one() {
    check("one\ntwo\nfive\n", "one\ntwo\nfive\n", "one\ntwo\nfive\n");
}

#[test]
fn a_text_becomes_null_on_one_side_and_is_typed_in_on_the_other() {
    for (mine, theirs) in [(json!(null), json!("about it")), (json!("about me"), json!(null))] {
        let (shape, mut database, mut alice) = followed(Mode::Merge);
        alice.patch(&shape, json!({"about": mine}));
        database.content["about"] = theirs.clone();
        alice.reconcile(&shape, &database.rows(&shape));
        // Which kind a value has is the database's to say, and what somebody typed is not lost.
        assert_eq!(alice.view()["about"], theirs);
        assert_eq!(alice.open(), [("about".to_owned(), Some(theirs), Some(mine), true)]);
    }
}

#[test]
fn a_mirror_has_the_databases_text_and_lists_the_other() {
    let (shape, mut database, mut alice) = followed(Mode::Mirror);
    alice.patch(&shape, json!({"jobs": {"j1": {"body": "mine"}}}));
    database.content["jobs"]["j1"]["body"] = json!("theirs");
    let reconciled = alice.reconcile(&shape, &database.rows(&shape));
    assert_eq!(alice.view(), database.content);
    let dropped = &reconciled.dropped[..];
    assert_eq!((dropped.len(), dropped[0].path.to_string().as_str()), (1, "jobs.j1.body"));
    assert_eq!(dropped[0].value.as_ref().and_then(|value| value.as_str()), Some("mine"));
}

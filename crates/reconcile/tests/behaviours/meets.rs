//! Both sides did something to one row or field: what shows, what is listed, and how it is resolved.

use gangline_reconcile::{ConflictKind, ListTable, Mode, Outcome, Policy, Shape, Take, plan};
use serde_json::{Value, json};

use super::world::{Database, NAME, Node, Open, mapping, schema, source, write_rows};
use super::{followed, joined};

/// Alice does one thing, the database another, and her node follows it.
fn meet(mine: Value, theirs: Value) -> (Shape, Database, Node) {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    alice.patch(&shape, mine);
    follow(&shape, &mut database, &mut alice, theirs);
    (shape, database, alice)
}

/// The database does something, and the node follows it; the plan says before what the conflicts say after.
fn follow(shape: &Shape, database: &mut Database, node: &mut Node, theirs: Value) {
    write_rows(&mut database.content, &theirs);
    let keypair = source();
    let source = gangline_reconcile::Source { keypair: &keypair, shape, document: NAME };
    let planned = plan(&node.base, source, &database.rows(shape), false).unwrap();
    let reconciled = node.reconcile(shape, &database.rows(shape));
    let told = node.told(&reconciled.changes).pop().unwrap();
    let as_told = |outcome| if outcome == Outcome::Same { Outcome::Applied } else { outcome };
    let planned: Vec<_> = planned.entries.iter().map(|it| (&it.path, as_told(it.outcome))).collect();
    let told: Vec<_> = told.changes.iter().map(|it| (&it.path, it.outcome)).collect();
    assert_eq!(planned, told, "the plan and the notice agree");
}

fn job(name: &str, adaptor: &str, position: i64) -> Value {
    json!({"name": name, "body": "fn main() {\n}\n", "adaptor": adaptor, "position": position})
}

fn open(path: &str, theirs: Value, mine: Value, shows_theirs: bool) -> Open {
    let side = |value: Value| (value != "nothing").then_some(value);
    (path.to_owned(), side(theirs), side(mine), shows_theirs)
}

/// Resolves what is open at a path on a node; afterwards it is gone there and elsewhere, also when others edit on, and
/// what shows is as expected.
#[track_caller]
fn resolves(
    made: &dyn Fn() -> (Shape, Database, Node),
    path: &str,
    take: Take,
    pointer: &str,
    expected: &Value,
) {
    let (shape, mut database, mut alice) = made();
    let mut bob = joined(2, &alice);
    alice.resolve(&shape, path, take);
    bob.patch(&shape, json!({"color": "blue"}));
    bob.hear(&alice);
    alice.hear(&bob);
    for node in [&alice, &bob] {
        assert_eq!(node.open(), [], "{take:?}");
        assert_eq!(node.view().pointer(pointer).unwrap_or(&json!("nothing")), expected, "{take:?}");
    }
    // It stays resolved when the database goes on elsewhere.
    write_rows(&mut database.content, &json!({"jobs": {"j2": {"name": "renamed elsewhere"}}}));
    alice.reconcile(&shape, &database.rows(&shape));
    bob.hear(&alice);
    assert_eq!((alice.open(), bob.open()), (vec![], vec![]), "{take:?}");
    assert_eq!(bob.view().pointer(pointer).unwrap_or(&json!("nothing")), expected, "{take:?}");
}

#[test]
fn of_a_field_that_both_set_the_policy_says_which_shows() {
    let both = |name: &str, value: &str| json!({name: value});
    for (field, shows_theirs) in [("name", true), ("concurrency", false)] {
        let (mine, theirs) = if field == "name" {
            (both(field, "mine"), both(field, "theirs"))
        } else {
            (json!({field: 7}), json!({field: 8}))
        };
        let made = || meet(mine.clone(), theirs.clone());
        let (_, _, alice) = made();
        let shown = if shows_theirs { &theirs[field] } else { &mine[field] };
        assert_eq!(&alice.view()[field], shown);
        assert_eq!(alice.open(), [open(field, theirs[field].clone(), mine[field].clone(), shows_theirs)]);
        resolves(&made, field, Take::Theirs, &format!("/{field}"), &theirs[field]);
        resolves(&made, field, Take::Mine, &format!("/{field}"), &mine[field]);
    }
}

#[test]
fn of_a_field_with_two_values_one_shows_and_both_are_listed() {
    let made = || meet(json!({"note": "mine"}), json!({"note": "theirs"}));
    let (_, _, alice) = made();
    let shows_theirs = alice.view()["note"] == "theirs";
    assert_eq!(alice.open(), [open("note", json!("theirs"), json!("mine"), shows_theirs)]);
    resolves(&made, "note", Take::Theirs, "/note", &json!("theirs"));
    resolves(&made, "note", Take::Mine, "/note", &json!("mine"));
}

#[test]
fn a_new_value_resolves_as_well() {
    let (shape, _, mut alice) = meet(json!({"name": "mine"}), json!({"name": "theirs"}));
    alice.patch(&shape, json!({"name": "ours"}));
    assert_eq!((alice.open(), alice.view()["name"].clone()), (vec![], json!("ours")));
}

#[test]
fn values_of_several_people_are_all_listed() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    let (mut bob, mut carol) = (joined(2, &alice), joined(3, &alice));
    alice.patch(&shape, json!({"name": "alice's"}));
    bob.patch(&shape, json!({"name": "bob's"}));
    carol.patch(&shape, json!({"name": "alice's"}));
    alice.hear(&bob);
    alice.hear(&carol);
    follow(&shape, &mut database, &mut alice, json!({"name": "theirs"}));
    let listed: Vec<_> =
        alice.open().into_iter().map(|(path, theirs, mine, _)| (path, theirs, mine)).collect();
    let entry = |mine: &str| ("name".to_owned(), Some(json!("theirs")), Some(json!(mine)));
    let mut sorted = listed.clone();
    sorted.sort_by_key(|(_, _, mine)| mine.as_ref().map(Value::to_string));
    assert_eq!(sorted, [entry("alice's"), entry("bob's")]);
    // One choice settles all of it.
    alice.resolve(&shape, "name", Take::Theirs);
    assert_eq!(alice.open(), []);
}

#[test]
fn a_row_that_is_edited_here_and_deleted_there_is_gone_and_the_edit_is_listed() {
    let mine = json!({"jobs": {"j1": {"name": "mine"}}});
    let made = || meet(mine.clone(), json!({"jobs": {"j1": null}}));
    let (_, _, alice) = made();
    assert_eq!(alice.view()["jobs"].get("j1"), None);
    assert_eq!(alice.open(), [open("jobs.j1", json!("nothing"), job("mine", "http", 1), true)]);
    assert_eq!(alice.conflicts()[0].kind, ConflictKind::Deleted);
    resolves(&made, "jobs.j1", Take::Theirs, "/jobs/j1", &json!("nothing"));
    resolves(&made, "jobs.j1", Take::Mine, "/jobs/j1", &job("mine", "http", 1));
}

#[test]
fn an_edit_in_a_row_that_is_deleted_and_put_anew_there_stays_listed() {
    let made = || {
        let (shape, mut database, mut alice) =
            meet(json!({"jobs": {"j1": {"name": "mine"}}}), json!({"jobs": {"j1": null}}));
        follow(&shape, &mut database, &mut alice, json!({"jobs": {"j1": job("anew", "mail", 5)}}));
        (shape, database, alice)
    };
    let (_, _, alice) = made();
    assert_eq!(alice.view()["jobs"]["j1"], job("anew", "mail", 5));
    assert_eq!(alice.open(), [open("jobs.j1", job("anew", "mail", 5), job("mine", "http", 1), true)]);
    resolves(&made, "jobs.j1", Take::Theirs, "/jobs/j1", &job("anew", "mail", 5));
    resolves(&made, "jobs.j1", Take::Mine, "/jobs/j1", &job("mine", "http", 1));
}

#[test]
fn a_row_that_somebody_puts_back_after_the_database_deleted_it_is_no_conflict() {
    let (shape, mut database, mut alice) =
        meet(json!({"jobs": {"j1": {"name": "mine"}}}), json!({"jobs": {"j1": null}}));
    alice.patch(&shape, json!({"jobs": {"j1": job("put back", "mail", 5)}}));
    assert_eq!(alice.open(), []);
    // Also when the database puts it back too: then its fields are two values each.
    follow(&shape, &mut database, &mut alice, json!({"jobs": {"j1": job("theirs", "mail", 5)}}));
    assert_eq!(alice.open(), [open("jobs.j1.name", json!("theirs"), json!("put back"), true)]);
}

#[test]
fn a_row_that_is_deleted_here_and_changed_there_is_back_and_listed() {
    let made = || meet(json!({"jobs": {"j1": null}}), json!({"jobs": {"j1": {"name": "theirs"}}}));
    let (_, _, alice) = made();
    assert_eq!(alice.view()["jobs"]["j1"], job("theirs", "http", 1));
    assert_eq!(alice.open(), [open("jobs.j1", job("theirs", "http", 1), json!("nothing"), true)]);
    resolves(&made, "jobs.j1", Take::Theirs, "/jobs/j1", &job("theirs", "http", 1));
    resolves(&made, "jobs.j1", Take::Mine, "/jobs/j1", &json!("nothing"));
}

#[test]
fn a_row_that_is_deleted_here_and_changed_there_where_the_document_wins_stays_deleted_and_is_listed() {
    let made = || meet(json!({"jobs": {"j1": null}}), json!({"jobs": {"j1": {"adaptor": "theirs"}}}));
    let (_, _, alice) = made();
    assert_eq!(alice.view()["jobs"].get("j1"), None);
    assert_eq!(alice.open(), [open("jobs.j1", job("build", "theirs", 1), json!("nothing"), false)]);
    assert_eq!(alice.conflicts()[0].kind, ConflictKind::Revived);
    resolves(&made, "jobs.j1", Take::Theirs, "/jobs/j1", &job("build", "theirs", 1));
    resolves(&made, "jobs.j1", Take::Mine, "/jobs/j1", &json!("nothing"));
}

#[test]
fn a_row_that_is_put_anew_here_and_changed_there_is_two_rows_of_which_one_shows() {
    let made = |theirs: Value| {
        let (shape, mut database, mut alice) = followed(Mode::Merge);
        alice.patch(&shape, json!({"jobs": {"j1": null}}));
        alice.patch(&shape, json!({"jobs": {"j1": job("mine", "mail", 5)}}));
        write_rows(&mut database.content, &theirs);
        alice.reconcile(&shape, &database.rows(&shape));
        (shape, database, alice)
    };
    let renamed = || made(json!({"jobs": {"j1": {"name": "theirs"}}}));
    let (_, _, alice) = renamed();
    assert_eq!(alice.open(), [open("jobs.j1", job("theirs", "http", 1), job("mine", "mail", 5), true)]);
    resolves(&renamed, "jobs.j1", Take::Theirs, "/jobs/j1", &job("theirs", "http", 1));
    resolves(&renamed, "jobs.j1", Take::Mine, "/jobs/j1", &job("mine", "mail", 5));
    // Where the document wins it is the other one.
    let moved = || made(json!({"jobs": {"j1": {"adaptor": "theirs"}}}));
    let (_, _, alice) = moved();
    assert_eq!(alice.open(), [open("jobs.j1", job("build", "theirs", 1), job("mine", "mail", 5), false)]);
    resolves(&moved, "jobs.j1", Take::Theirs, "/jobs/j1", &job("build", "theirs", 1));
    resolves(&moved, "jobs.j1", Take::Mine, "/jobs/j1", &job("mine", "mail", 5));
    // And a row that the database deletes is gone with what was put in its place, which is listed.
    let deleted = || made(json!({"jobs": {"j1": null}}));
    let (_, _, alice) = deleted();
    assert_eq!(alice.open(), [open("jobs.j1", json!("nothing"), job("mine", "mail", 5), true)]);
    resolves(&deleted, "jobs.j1", Take::Mine, "/jobs/j1", &job("mine", "mail", 5));
}

#[test]
fn a_row_that_both_deleted_is_gone_and_no_conflict() {
    let (shape, _, alice) = meet(json!({"jobs": {"j1": null}}), json!({"jobs": {"j1": null}}));
    assert_eq!(
        (alice.view()["jobs"].get("j1"), alice.open(), alice.unsaved_paths(&shape)),
        (None, vec![], vec![])
    );
}

#[test]
fn a_row_that_both_inserted_is_one_whose_fields_are_two_values_each() {
    let (_, _, alice) = meet(
        json!({"jobs": {"j9": {"name": "mine", "adaptor": "same", "position": 1}}}),
        json!({"jobs": {"j9": {"name": "theirs", "adaptor": "same", "position": 2, "body": "text"}}}),
    );
    assert_eq!(
        alice.view()["jobs"]["j9"],
        json!({"name": "theirs", "adaptor": "same", "position": 2, "body": "text"})
    );
    let listed = [
        open("jobs.j9.name", json!("theirs"), json!("mine"), true),
        open("jobs.j9.position", json!(2), json!(1), true),
    ];
    assert_eq!(alice.open(), listed);
}

#[test]
fn a_row_that_is_confirmed_follows_the_database_as_before() {
    let (shape, mut database, mut alice) =
        meet(json!({"jobs": {"j1": null}}), json!({"jobs": {"j1": {"name": "theirs"}}}));
    alice.resolve(&shape, "jobs.j1", Take::Theirs);
    assert_eq!(alice.unsaved(&shape), []);
    // Nothing of it is somebody's own now: what the database changes next simply shows.
    let next = json!({"name": "a", "body": "b", "adaptor": "c", "position": 9});
    follow(&shape, &mut database, &mut alice, json!({"jobs": {"j1": next}}));
    assert_eq!((alice.view()["jobs"]["j1"].clone(), alice.open()), (next, vec![]));
}

#[test]
fn a_row_of_texts_alone_is_confirmed_and_they_stay_texts() {
    let mut mapping = mapping(Mode::Merge);
    let notes: &mut ListTable = &mut mapping.lists[0];
    notes.fields = [("body".to_owned(), Policy::TextMerge)].into();
    let shape = Shape::bind(mapping, &schema()).unwrap();
    let mut database = Database::new();
    let mut alice = Node::new(1);
    alice.reconcile(&shape, &database.rows(&shape));
    alice.patch(&shape, json!({"jobs": {"j1": null}}));
    database.content["jobs"]["j1"]["body"] = json!("fn theirs() {\n}\n");
    alice.reconcile(&shape, &database.rows(&shape));
    alice.resolve(&shape, "jobs.j1", Take::Theirs);
    assert_eq!(alice.open(), []);
    let mut bob = joined(2, &alice);
    alice.patch(&shape, json!({"jobs": {"j1": {"body": "fn theirs() {\n}\nalice\n"}}}));
    bob.patch(&shape, json!({"jobs": {"j1": {"body": "bob\nfn theirs() {\n}\n"}}}));
    alice.hear(&bob);
    assert_eq!(alice.view()["jobs"]["j1"]["body"], "bob\nfn theirs() {\n}\nalice\n");
}

#[test]
fn null_against_a_text_is_resolved_both_ways() {
    for (mine, theirs) in [(json!(null), json!("about it")), (json!("about me"), json!(null))] {
        let made = || meet(json!({"about": mine}), json!({"about": theirs}));
        resolves(&made, "about", Take::Theirs, "/about", &theirs);
        resolves(&made, "about", Take::Mine, "/about", &mine);
        let (shape, _, mut alice) = made();
        alice.patch(&shape, json!({"about": "something else"}));
        assert_eq!((alice.open(), alice.view()["about"].clone()), (vec![], json!("something else")));
    }
}

#[test]
fn a_conflict_inside_of_a_row_that_is_back_stays_open_when_the_row_is_confirmed() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    alice.patch(&shape, json!({"jobs": {"j1": {"adaptor": "mine", "position": 7}}}));
    alice.patch(&shape, json!({"jobs": {"j1": null}}));
    follow(&shape, &mut database, &mut alice, json!({"jobs": {"j1": {"adaptor": "theirs", "position": 8}}}));
    assert_eq!(alice.open().len(), 3);
    alice.resolve(&shape, "jobs.j1", Take::Theirs);
    let paths: Vec<_> = alice.open().into_iter().map(|open| open.0).collect();
    assert_eq!(paths, ["jobs.j1.adaptor", "jobs.j1.position"]);
}

#[test]
fn what_is_resolved_by_a_save_is_written_and_what_lost_stays_listed() {
    let (shape, mut database, mut alice) =
        meet(json!({"name": "mine", "concurrency": 7}), json!({"name": "theirs", "concurrency": 8}));
    alice.save(&shape, &mut database);
    assert_eq!((&database.content["name"], &database.content["concurrency"]), (&json!("theirs"), &json!(7)));
    assert_eq!(alice.open().len(), 2);
    assert_eq!(alice.unsaved(&shape), []);
    // The next import has seen both, and settles it.
    follow(&shape, &mut database, &mut alice, json!({"name": "newer", "concurrency": 9}));
    assert_eq!((alice.open(), alice.view()), (vec![], database.content.clone()));
    let outcomes = alice.told(&alice.log[alice.log.len() - 1..]);
    assert!(outcomes[0].changes.iter().all(|change| change.outcome == Outcome::Applied));
}

//! From the document back to the rows.

use bft_json_crdt::JsonValue;
use gangline_reconcile::{Mode, SavePlan, Shape, Take, Write, WriteAction};
use serde_json::json;

use super::world::{Database, Node, mapping, merge, schema};
use super::{MODES, followed};

fn problems(plan: &SavePlan) -> Vec<String> {
    assert!(plan.writes.is_empty() && plan.paths.is_empty(), "where there is a problem nothing is written");
    plan.problems.iter().map(|problem| format!("{} {}", problem.path, problem.what)).collect()
}

/// The order of writes: list, key, and what is done.
fn order(shape: &Shape, plan: &SavePlan) -> Vec<String> {
    assert_eq!(plan.problems, []);
    let name = |write: &Write| {
        let table = write.list.map_or("root", |list| &shape.lists[list].table);
        let action = match write.action {
            WriteAction::Insert(_) => "insert",
            WriteAction::Update(_) => "update",
            WriteAction::Delete => "delete",
        };
        format!("{action} {table} {}", write.key)
    };
    plan.writes.iter().map(name).collect()
}

#[test]
fn one_field_is_one_write_of_one_column() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    alice.patch(&shape, json!({"jobs": {"j2": {"adaptor": "mail"}}}));
    let plan = alice.save(&shape, &mut database);
    let adaptor = shape.lists[0].field("adaptor").unwrap();
    let columns = vec![(adaptor, JsonValue::String("mail".to_owned()))];
    let write = Write { list: Some(0), key: "j2".to_owned(), action: WriteAction::Update(columns) };
    assert_eq!(plan.writes, [write]);
    assert_eq!(plan.paths.iter().map(|path| path.to_string()).collect::<Vec<_>>(), ["jobs.j2.adaptor"]);
    assert_eq!(database.version, 2);
}

#[test]
fn nothing_to_save_is_no_write_and_no_version() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    assert_eq!(alice.save(&shape, &mut database), SavePlan::default());
    alice.patch(&shape, json!({"name": "mine"}));
    alice.patch(&shape, json!({"name": "deploy"}));
    assert_eq!(alice.save(&shape, &mut database), SavePlan::default());
    assert_eq!(database.version, 1);
}

#[test]
fn a_field_with_two_values_is_not_saved_before_somebody_has_chosen() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    alice.patch(&shape, json!({"note": "mine", "name": "mine too", "jobs": {"j1": {"position": 7}}}));
    merge(&mut database.content, &json!({"note": "theirs", "jobs": {"j1": {"position": 8}}}));
    alice.reconcile(&shape, &database.rows(&shape));
    let refused = problems(&alice.save(&shape, &mut database));
    assert_eq!(
        refused,
        ["note has two values; choose one first", "jobs.j1.position has two values; choose one first"]
    );
    alice.resolve(&shape, "note", Take::Mine);
    assert_eq!(problems(&alice.save(&shape, &mut database)).len(), 1);
    alice.resolve(&shape, "jobs.j1.position", Take::Theirs);
    alice.save(&shape, &mut database);
    assert_eq!(database.content["note"], "mine");
    assert_eq!(database.content["name"], "mine too");
    assert_eq!(database.content["jobs"]["j1"]["position"], 8);
}

#[test]
fn a_reference_to_what_is_not_there_is_refused_and_named() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    alice.patch(&shape, json!({"edges": {"e1": {"source_job_id": "j7"}}}));
    let refused = problems(&alice.save(&shape, &mut database));
    assert_eq!(refused, ["edges.e1.source_job_id names a row of jobs that is not there"]);
    // To what is new in the document it may lead.
    alice.patch(&shape, json!({"jobs": {"j7": {"name": "seventh"}}}));
    let plan = alice.save(&shape, &mut database);
    assert_eq!(order(&shape, &plan), ["insert jobs j7", "update edges e1"]);
}

#[test]
fn a_value_that_a_new_row_needs_is_asked_for() {
    let mut schema = schema();
    schema.tables.get_mut("jobs").unwrap().columns.get_mut("name").unwrap().is_nullable = false;
    let shape = Shape::bind(mapping(Mode::Merge), &schema).unwrap();
    let mut database = Database::new();
    let mut alice = Node::new(1);
    alice.reconcile(&shape, &database.rows(&shape));
    alice.patch(&shape, json!({"jobs": {"j9": {"adaptor": "mail"}}}));
    assert_eq!(problems(&alice.save(&shape, &mut database)), ["jobs.j9.name needs a value"]);
    // A default of the schema's would do.
    let column = schema.tables.get_mut("jobs").unwrap().columns.get_mut("name").unwrap();
    column.has_default = true;
    let shape = Shape::bind(mapping(Mode::Merge), &schema).unwrap();
    assert_eq!(order(&shape, &alice.save(&shape, &mut database)), ["insert jobs j9"]);
}

#[test]
fn values_of_other_types_than_the_columns_are_refused_and_named() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    // Somebody signs them who does not go through a node's routes.
    alice.forge(|doc| {
        doc.put("concurrency", "many").keep()?;
        doc.put("name", json!(["a list"])).keep()?;
        let job = doc.at("jobs").unwrap().at("j1").unwrap();
        job.put("body", 5).keep()?;
        job.put("adaptor", 7).keep()?;
        job.put("position", json!({"x": 1})).keep()?;
        doc.at("edges").unwrap().put("e7", "no row").keep()
    });
    let refused = problems(&alice.save(&shape, &mut database));
    // What is of another kind than what the database has put there does not even show.
    assert_eq!(
        alice.view()["jobs"]["j1"],
        json!({"name": "build", "body": "fn main() {\n}\n", "adaptor": 7, "position": 1})
    );
    let expected = [
        "jobs.j1.position has two values; choose one first",
        "concurrency needs an integer of 64 bits, not a string",
        "edges.e7 is no row",
        "jobs.j1.adaptor needs a string, not an integer",
    ];
    assert_eq!(refused, expected);
}

#[test]
fn references_decide_the_order_of_writes() {
    // The list that names rows of the other one comes first in the mapping.
    let mut mapping = mapping(Mode::Merge);
    mapping.lists.reverse();
    let shape = Shape::bind(mapping, &schema()).unwrap();
    let mut database = Database::new();
    let mut alice = Node::new(1);
    alice.reconcile(&shape, &database.rows(&shape));
    let edge = json!({"source_job_id": "j9", "enabled": true, "weight": 1.0});
    alice.patch(
        &shape,
        json!({
            "name": "mine",
            "jobs": {"j9": {"name": "ninth"}, "j2": {"name": "renamed"}, "j1": null},
            "edges": {"e9": edge, "e1": null},
        }),
    );
    let plan = alice.save(&shape, &mut database);
    let expected = [
        "update root 1",
        "insert jobs j9",
        "insert edges e9",
        "update jobs j2",
        "delete edges e1",
        "delete jobs j1",
    ];
    assert_eq!(order(&shape, &plan), expected);
}

#[test]
fn lists_that_name_each_other_in_a_circle_go_in_the_mappings_order() {
    let mut mapping = mapping(Mode::Merge);
    mapping.lists[0].refs = [("adaptor".to_owned(), "edges".to_owned())].into();
    let shape = Shape::bind(mapping, &schema()).unwrap();
    let mut database = Database::new();
    database.content["jobs"]["j1"]["adaptor"] = json!("e1");
    database.content["jobs"]["j2"]["adaptor"] = json!("e1");
    let mut alice = Node::new(1);
    alice.reconcile(&shape, &database.rows(&shape));
    let edge = json!({"source_job_id": "j9", "enabled": true, "weight": 1.0});
    alice.patch(&shape, json!({"jobs": {"j9": {"adaptor": "e9"}}, "edges": {"e9": edge}}));
    let plan = alice.save(&shape, &mut database);
    assert_eq!(order(&shape, &plan), ["insert jobs j9", "insert edges e9"]);
}

#[test]
fn a_list_whose_key_is_its_parent_has_the_roots_own_row_alone() {
    let (mut mapping, mut schema) = (mapping(Mode::Merge), schema());
    mapping.lists[1].key = "workflow_id".to_owned();
    schema.tables.get_mut("edges").unwrap().unique.push("workflow_id".to_owned());
    let shape = Shape::bind(mapping, &schema).unwrap();
    let mut database = Database::new();
    database.content["edges"] = json!({});
    let mut alice = Node::new(1);
    alice.reconcile(&shape, &database.rows(&shape));
    let edge = json!({"source_job_id": null, "enabled": true, "weight": 0.5});
    alice.patch(&shape, json!({"edges": {"1": edge, "2": edge}}));
    assert_eq!(
        problems(&alice.save(&shape, &mut database)),
        ["edges.2 has the key of another row of workflows"]
    );
    alice.patch(&shape, json!({"edges": {"2": null}}));
    assert_eq!(order(&shape, &alice.save(&shape, &mut database)), ["insert edges 1"]);
    alice.patch(&shape, json!({"edges": {"1": {"weight": 2.5}}}));
    assert_eq!(order(&shape, &alice.save(&shape, &mut database)), ["update edges 1"]);
    assert_eq!(alice.reconcile(&shape, &database.rows(&shape)).ops, 0);
    alice.patch(&shape, json!({"edges": {"1": null}}));
    assert_eq!(order(&shape, &alice.save(&shape, &mut database)), ["delete edges 1"]);
    assert_eq!(alice.view(), database.content);
}

#[test]
fn what_only_the_database_writes_is_never_saved() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    alice.forge(|doc| {
        doc.at("owner").unwrap().set("mallory").keep()?;
        doc.at("deleted_at").unwrap().set("2026-10-01").keep()
    });
    alice.patch(&shape, json!({"name": "mine"}));
    let plan = alice.save(&shape, &mut database);
    assert_eq!(order(&shape, &plan), ["update root 1"]);
    assert_eq!(plan.paths.iter().map(|path| path.to_string()).collect::<Vec<_>>(), ["name"]);
    // And the next batch puts it right.
    alice.reconcile(&shape, &database.rows(&shape));
    assert_eq!(alice.view(), database.content);
}

#[test]
fn edits_in_a_row_that_cannot_be_read_keep_a_document_from_being_saved() {
    let (shape, database, mut alice) = followed(Mode::Merge);
    alice.patch(&shape, json!({"name": "mine", "jobs": {"j1": {"name": "mine too"}}}));
    let mut rows = database.rows(&shape);
    rows.lists[0].remove("j1");
    rows.bad.push(gangline_reconcile::BadRow {
        list: Some(0),
        key: Some("j1".to_owned()),
        column: "body".to_owned(),
        what: "is a blob".to_owned(),
    });
    alice.reconcile(&shape, &rows);
    // Else the document would say that the database has what it has not, and the draft would go with the next batch.
    let plan = alice.plan_save(&shape, &rows);
    let refused = "jobs.j1.name cannot be saved: the row cannot be read, body is a blob";
    assert_eq!(problems(&plan), [refused]);
    // Rows that nobody has edited keep nobody from saving.
    alice.patch(&shape, json!({"jobs": {"j1": {"name": "build"}}}));
    assert_eq!(order(&shape, &alice.plan_save(&shape, &rows)), ["update root 1"]);
}

#[test]
fn what_the_document_owns_is_not_saved_until_it_is_whatever_the_database_writes_meanwhile() {
    for mode in MODES {
        let (shape, mut database, mut alice) = followed(mode);
        alice.patch(&shape, json!({"color": "blue"}));
        database.version = 2;
        database.content["name"] = json!("deployed");
        let reconciled = alice.reconcile(&shape, &database.rows(&shape));
        assert_eq!(alice.view()["color"], "blue");
        let left: Vec<_> =
            alice.unsaved(&shape).into_iter().map(|it| (it.path.to_string(), it.base)).collect();
        assert_eq!(left, [("color".to_owned(), Some(JsonValue::String("red".to_owned())))], "{mode:?}");
        let told = alice.told(&reconciled.changes).remove(0);
        assert_eq!((told.unsaved_left, told.is_save), (1, false));
        assert!(told.changes.iter().all(|change| change.path.to_string() != "color"), "nothing is dropped");
        assert_eq!(alice.reconcile(&shape, &database.rows(&shape)).ops, 0);
        // Whoever puts it back has nothing left to save.
        alice.patch(&shape, json!({"color": "red"}));
        assert_eq!(alice.unsaved_paths(&shape), [""; 0]);
        alice.patch(&shape, json!({"color": "green"}));

        assert_eq!(alice.save(&shape, &mut database).writes.len(), 1);
        assert_eq!((&database.content["color"], database.version), (&json!("green"), 3));
        assert_eq!(alice.unsaved_paths(&shape), [""; 0]);
        assert_eq!(alice.reconcile(&shape, &database.rows(&shape)).ops, 0, "a save is no news");
        // From there on it begins anew.
        alice.patch(&shape, json!({"color": "white"}));
        database.version = 4;
        database.content["jobs"]["j1"]["name"] = json!("deployed");
        alice.reconcile(&shape, &database.rows(&shape));
        assert_eq!(alice.unsaved_paths(&shape), ["color"]);
        // Another node reads it alike, from the changes alone.
        let bob = super::joined(2, &alice);
        assert_eq!(bob.unsaved_paths(&shape), ["color"]);
    }
}

//! A peer that is trusted and signs whatever it likes: nothing panics, everybody agrees, and what is the source's is read
//! as the source says it.

use bft_json_crdt::JsonValue;
use bft_json_crdt::json_crdt::{EditError, JsonCrdt, Rank};
use gangline_reconcile::{Layout, Mode, Reading, Shape, Source, dangling, edits_of, notice, save_mark};
use serde_json::json;

use super::world::{Database, NAME, Node, source};
use super::{MODES, followed, joined};

type Forgery = fn(&JsonCrdt) -> Result<(), EditError>;

fn deep() -> JsonValue {
    (0..50)
        .fold(json!("deep"), |inside, n| if n % 2 == 0 { json!([inside]) } else { json!({"in": inside}) })
        .into()
}

/// What Mallory signs over what is the source's.
const FORGERIES: [(&str, Forgery); 13] = [
    ("writes what is the database's", |doc| doc.at("owner").unwrap().set("mallory").keep()),
    ("removes what is the database's", |doc| doc.remove("owner").keep()),
    ("puts an array where a field of the database's is", |doc| {
        doc.remove("owner").keep()?;
        doc.put("owner", json!(["junk", {"deep": []}])).keep()
    }),
    ("says that the root is deleted", |doc| doc.at("deleted_at").unwrap().set("2026-10-01").keep()),
    ("says that the root is gone", |doc| doc.put("$gone", true).keep()),
    ("deletes the layout", |doc| doc.remove("$layout").keep()),
    ("writes another layout", |doc| {
        doc.at("$layout").unwrap().set(r#"{"mode":"mirror","fields":{},"lists":{}}"#).keep()
    }),
    ("puts an object over the layout", |doc| doc.put("$layout", json!({"fields": 5})).keep()),
    ("overwrites the version", |doc| doc.at("$version").unwrap().set(i64::MAX).keep()),
    ("says that a batch is still to come", |doc| doc.put("$batch", 3).keep()),
    ("puts an array over a list", |doc| doc.put("jobs", json!([1, 2])).keep()),
    ("puts a value over a list", |doc| doc.put("jobs", JsonValue::Null).keep()),
    ("puts a value over a row", |doc| doc.at("jobs").unwrap().put("j1", "no row").keep()),
];

/// What is nobody's but Mallory's: it may stay, but must do no harm.
const JUNK: [(&str, Forgery); 8] = [
    ("deletes all rows by removing their list", |doc| doc.remove("jobs").keep()),
    ("adds unknown lists and fields", |doc| {
        doc.put("unknown", json!({"a": {"b": 1}})).keep()?;
        doc.put("$mine", deep()).keep()
    }),
    ("puts deep junk where a field is", |doc| doc.put("name", deep()).keep()),
    ("puts deep junk where a text is", |doc| {
        let job = doc.at("jobs").unwrap().at("j1").unwrap();
        job.remove("body").keep()?;
        job.put("body", deep()).keep()
    }),
    ("puts a text where a scalar is", |doc| {
        doc.put("concurrency", JsonValue::Text("many".to_owned())).keep()
    }),
    ("adds rows that are none", |doc| {
        let jobs = doc.at("jobs").unwrap();
        jobs.put("", json!({})).keep()?;
        jobs.put("j8", json!([1])).keep()?;
        jobs.put("j9", json!({"name": [], "unknown": {"x": 1}})).keep()
    }),
    ("adds fields to a row", |doc| {
        doc.at("jobs").unwrap().at("j1").unwrap().put("unknown", json!({"x": [1]})).keep()
    }),
    ("names rows that cannot be", |doc| {
        doc.at("edges").unwrap().at("e1").unwrap().at("source_job_id").unwrap().set(7).keep()
    }),
];

/// Asks a node for everything that can be asked.
fn ask(node: &Node, shape: &Shape, database: &Database) {
    let layout = Layout::of(shape);
    let view = node.base.doc.view();
    node.conflicts();
    node.unsaved(shape);
    let _ = dangling(&layout, &view);
    let _ = layout.is_deleted(&view);
    let _ = Layout::in_content(&view);
    let _ = edits_of(&layout, &view, &database.content.clone().into());
    for change in &node.log {
        let _ = notice(&node.base, change);
    }
    let _ = node.plan_save(shape, &database.rows(shape));
}

/// What is the source's in a content: the layout and its like, fields that only it writes, that lists and rows are such.
fn owned(node: &Node) -> serde_json::Value {
    let view: serde_json::Value = JsonValue::clone(&Reading::of(&node.base).content).into();
    let rows = |list: &str| -> Vec<String> {
        let rows = view[list].as_object().unwrap_or_else(|| panic!("{list} is {}", view[list]));
        rows.iter()
            .filter(|(key, row)| ["j1", "j2", "e1"].contains(&key.as_str()) && row.is_object())
            .map(|(key, _)| key.clone())
            .collect()
    };
    json!({
        "owner": view["owner"], "deleted_at": view["deleted_at"], "layout": view["$layout"],
        "gone": view["$gone"].as_bool().unwrap_or_default(), "jobs": rows("jobs"), "edges": rows("edges"),
    })
}

#[test]
fn whatever_is_signed_nothing_panics_and_everybody_agrees() {
    for mode in MODES {
        for (what, forge) in FORGERIES.iter().chain(&JUNK) {
            let (shape, mut database, mut alice) = followed(mode);
            let mut mallory = joined(2, &alice);
            mallory.forge(forge);
            alice.patch(&shape, json!({"note": "a draft"}));
            for round in 0..3 {
                alice.hear(&mallory);
                mallory.hear(&alice);
                assert_eq!(alice.base.doc.view(), mallory.base.doc.view(), "{what}");
                assert_eq!(alice.conflicts(), mallory.conflicts(), "{what}");
                ask(&alice, &shape, &database);
                database.version += 1;
                database.content["name"] = json!(format!("import {round}"));
                let rows = database.rows(&shape);
                let reconciled = alice.reconcile(&shape, &rows);
                assert_eq!(alice.told(&reconciled.changes).len(), 1, "{what}");
                assert_eq!(alice.reconcile(&shape, &rows).ops, 0, "{what}");
            }
            assert!(alice.base.equivocations().is_empty());
            assert_eq!(
                alice.view()["name"],
                if mode == Mode::Mirror {
                    database.content["name"].clone()
                } else {
                    alice.view()["name"].clone()
                }
            );
        }
    }
}

#[test]
fn what_is_the_sources_is_read_as_the_source_says_it_on_every_node() {
    for mode in MODES {
        for (what, forge) in &FORGERIES {
            let (shape, mut database, mut alice) = followed(mode);
            alice.patch(&shape, json!({"jobs": {"j2": {"name": "a draft"}}}));
            let right = owned(&alice);
            let mut mallory = joined(2, &alice);
            mallory.forge(forge);
            alice.hear(&mallory);
            for node in [&alice, &mallory] {
                assert_eq!(owned(node), right, "Mallory {what}, in {mode}");
                assert_eq!(Reading::of(&node.base).layout, Layout::of(&shape), "{what}");
            }
            // Whoever edits there next puts back lists and rows.
            alice.patch(&shape, json!({"jobs": {"j1": {"name": "edited"}}}));
            assert_eq!(
                (&alice.view()["jobs"]["j1"]["name"], owned(&alice)),
                (&json!("edited"), right.clone())
            );
            // The document says that it was saved as it stands, forgeries and all, and then follows.
            database.content["jobs"]["j1"]["name"] = json!("edited");
            database.version += 1;
            let (keypair, heads) = (source(), alice.base.heads());
            let of = Source { keypair: &keypair, shape: &shape, document: NAME };
            alice.take(&save_mark(&alice.base, of, &heads, Some(database.version)).unwrap());
            database.content["name"] = json!("imported");
            alice.reconcile(&shape, &database.rows(&shape));
            assert_eq!(owned(&alice), right, "Mallory {what}, in {mode}");
            assert_eq!(alice.view_at_ref(), database.content);
            mallory.hear(&alice);
            assert_eq!(owned(&mallory), right);
            assert_eq!(alice.reconcile(&shape, &database.rows(&shape)).ops, 0);
        }
    }
}

#[test]
fn ranks_in_changes_of_anybody_else_count_for_nothing() {
    let (shape, mut database, mut alice) = followed(Mode::Merge);
    let mut mallory = joined(2, &alice);
    let key = mallory.key.clone();
    mallory.base.begin_as(Rank::Above);
    mallory.base.doc.at("name").unwrap().set("above all").keep().unwrap();
    let forged = mallory.base.commit(&key).unwrap();
    mallory.log.extend(forged);
    database.content["name"] = json!("imported");
    alice.reconcile(&shape, &database.rows(&shape));
    alice.hear(&mallory);
    assert_eq!(alice.view()["name"], "imported");
    let open = [("name".to_owned(), Some(json!("imported")), Some(json!("above all")), true)];
    assert_eq!(alice.open(), open);
}

#[test]
fn a_save_of_a_forged_document_writes_nothing_that_the_columns_cannot_hold() {
    for (what, forge) in FORGERIES.iter().chain(&JUNK) {
        let (shape, mut database, mut alice) = followed(Mode::Merge);
        let before = database.clone();
        alice.forge(forge);
        let plan = alice.save(&shape, &mut database);
        let is_refused = !plan.problems.is_empty();
        assert!(!is_refused || plan.writes.is_empty(), "{what}");
        assert_eq!(database.content["owner"], before.content["owner"], "{what}");
        for (key, row) in database.content["jobs"].as_object().unwrap() {
            assert!(row.is_object() && !key.is_empty(), "{what}: {key} {row}");
        }
        alice.reconcile(&shape, &database.rows(&shape));
        if !is_refused {
            assert_eq!(alice.view_at_ref(), database.content, "{what}");
        }
    }
}

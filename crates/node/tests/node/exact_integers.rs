//! Integers beyond 2^53, which many programs that read JSON have no number for: they go through as they are.

use serde_json::{Value, json};

use super::harness::{Node, until};
use super::workflows::{DOCUMENT, Stream, edit, save, setting, show, sql, stored, verified};

const EXACT: &str = "9007199254740993";

fn set(node: &Node, concurrency: &Value) -> Value {
    edit(node, &json!({ "concurrency": concurrency }))
}

#[test]
fn an_integer_that_no_float_has_is_a_string_of_its_digits_and_back() {
    let dir = setting("merge");
    sql(dir.path(), &format!("UPDATE workflows SET concurrency = {EXACT}"));
    let node = Node::start(&dir);
    let shown = show(&node);
    assert_eq!(shown["view"]["concurrency"], EXACT);
    assert_eq!(shown["fields"]["concurrency"]["kind"], "integer");
    assert_eq!(set(&node, &json!(EXACT))["unsaved"], json!([]), "it is what stands there");
    let edited = set(&node, &json!("9007199254740995"));
    assert_eq!(edited["view"]["concurrency"], "9007199254740995");
    assert_eq!(edited["unsaved"][0]["base"], EXACT, "{edited}");
    assert_eq!(set(&node, &edited["unsaved"][0]["base"])["unsaved"], json!([]), "undone");
    // A program that has such numbers may send them.
    set(&node, &json!(-9_007_199_254_740_995_i64));
    save(&node);
    assert_eq!(stored(dir.path(), "SELECT CAST(concurrency AS TEXT) FROM workflows"), "-9007199254740995");
    let small = set(&node, &json!("7"));
    assert_eq!(small["view"]["concurrency"], 7);
    let explained = node.get(&format!("{DOCUMENT}/explain?path=concurrency")).json();
    assert_eq!((&explained["base"], &explained["shown"]), (&json!("-9007199254740995"), &json!(7)));
    verified(&node);
    for (value, what) in [
        (json!("007"), "not a string"),
        (json!("9223372036854775808"), "not one with more"),
        (json!(9_223_372_036_854_775_808_u64), "not one with more"),
        (json!(5.5), "not one with a fraction"),
        (json!(5.0), "not one with a point or an exponent"),
        (json!("many"), "not a string"),
    ] {
        let patch = json!({ "concurrency": value }).to_string();
        let refused = node.patch(DOCUMENT, &patch).refused(422, "wrong_type");
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.contains("needs an integer of 64 bits") && detail.contains(what), "{detail}");
    }
    // A text of digits is a text.
    let named = edit(&node, &json!({"name": "9007199254740995", "jobs": {"j1": {"name": "7"}}}));
    assert_eq!(
        (&named["view"]["name"], &named["view"]["jobs"]["j1"]["name"]),
        (&json!("9007199254740995"), &json!("7"))
    );
    node.stop();
}

#[test]
fn both_sides_of_a_conflict_and_what_a_notice_tells_are_exact() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    let mut amy = Stream::of(&node, "amy");
    amy.until("ready");
    set(&node, &json!("9007199254740995"));
    sql(dir.path(), &format!("UPDATE workflows SET concurrency = {EXACT}, lock_version = 2"));
    amy.until("db_changed");
    let met = show(&node);
    assert_eq!(
        (&met["conflicts"][0]["theirs"], &met["conflicts"][0]["mine"]),
        (&json!(EXACT), &json!("9007199254740995"))
    );
    let choice = json!({"path": "concurrency", "value": "9007199254740997"}).to_string();
    let chosen = node.post(&format!("{DOCUMENT}/resolve"), &choice).json();
    assert_eq!(
        (&chosen["view"]["concurrency"], &chosen["conflicts"]),
        (&json!("9007199254740997"), &json!([]))
    );
    save(&node);
    sql(dir.path(), "UPDATE workflows SET concurrency = 1, lock_version = 9");
    let told = amy.until("db_changed");
    assert_eq!(told["changes"][0]["before"], "9007199254740997", "{told}");
    node.stop();
}

#[test]
fn a_save_names_the_conflicts_that_it_leaves_open() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    show(&node);
    edit(&node, &json!({"name": "mine", "jobs": {"j1": {"name": "built"}}}));
    sql(dir.path(), "UPDATE workflows SET name = 'theirs', lock_version = 2");
    until("the conflict", || show(&node)["conflicts"].as_array().unwrap().len() == 1);
    let saved = save(&node);
    assert_eq!((&saved["saved"], &saved["conflicts"][0]["path"]), (&json!(["jobs.j1.name"]), &json!("name")));
    assert_eq!(
        (&saved["conflicts"][0]["shown"], &saved["conflicts"][0]["mine"]),
        (&json!("theirs"), &json!("mine"))
    );
    let again = node.cli(&dir, &["reconcile", "save", "workflow:42"]);
    assert_eq!(again.code, 0, "{again:?}");
    for told in [
        "nothing to save",
        "name: a conflict; mine is not saved: theirs theirs, mine mine",
        "reconcile resolve",
    ] {
        assert!(again.stdout.contains(told), "{again:?}");
    }
    let chosen = node.cli(&dir, &["reconcile", "resolve", "workflow:42", "name", "--value", "both of them"]);
    assert_eq!(chosen.code, 0, "{chosen:?}");
    assert_eq!(save(&node)["conflicts"], json!([]));
    assert_eq!(stored(dir.path(), "SELECT name FROM workflows"), "both of them");
    node.stop();
}

#[test]
fn a_query_that_says_nothing_is_refused_like_everything_else() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    show(&node);
    for path in [
        "/api/v1/documents?limit=abc",
        &format!("{DOCUMENT}/history?limit=abc"),
        &format!("{DOCUMENT}/explain"),
    ] {
        let refused = node.get(path).refused(400, "bad_parameter");
        assert!(refused["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{path}: {refused}");
    }
    node.stop();
}

#[test]
fn the_longest_text_that_a_row_may_have_can_be_edited() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    show(&node);
    // Each of these bytes is six in JSON.
    let long = "\u{1}".repeat(2 << 20);
    edit(&node, &json!({"jobs": {"j1": {"name": long}}}));
    save(&node);
    assert_eq!(stored(dir.path(), "SELECT CAST(length(name) AS TEXT) FROM jobs WHERE id = 'j1'"), "2097152");
    let beyond = json!({"jobs": {"j1": {"name": "x".repeat(25 << 20)}}}).to_string();
    node.patch(DOCUMENT, &beyond).refused(413, "body_too_large");
    node.stop();
}

//! Two nodes that reconcile one source: with one key, from one database, linked or apart.

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::{Node, until};
use super::workflows::{
    DOCUMENT, edit, follows, kill, save, second_of, setting, setting_with, show, source, sql, stored,
    verified,
};

/// Two nodes that reconcile one database, and do not know of each other.
fn apart() -> (TempDir, TempDir, Node, Node) {
    let first = setting("merge");
    let a = Node::start(&first);
    let second = second_of(&first);
    let b = Node::start(&second);
    (first, second, a, b)
}

/// Two nodes that reconcile one database, and are linked. With more settings of the source at the first one.
fn linked(more: &str) -> (TempDir, TempDir, Node, Node) {
    let first = setting_with("merge", more);
    let a = Node::start(&first);
    let second = second_of(&first);
    let b = linked_to(&second, &a);
    (first, second, a, b)
}

fn linked_to(dir: &TempDir, other: &Node) -> Node {
    Node::start_with(dir, &["--listen", "127.0.0.1:0", "--peer", &other.sync_url()])
}

fn deploy(dir: &TempDir, version: i64, name: &str, more: &str) {
    let of_root = format!("UPDATE workflows SET name = '{name}', lock_version = {version}");
    sql(dir.path(), &format!("BEGIN; {of_root}; {more}; COMMIT"));
}

/// Waits until both have the same changes, and what they show is as it should be.
#[track_caller]
fn agree_on(a: &Node, b: &Node, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut seen = (Value::Null, Value::Null);
    until("the same at both", || {
        seen = (show(a), show(b));
        seen.0["heads"] == seen.1["heads"] && is_so(&seen.0)
    });
    for part in ["view", "version", "unsaved", "conflicts"] {
        assert_eq!(seen.0[part], seen.1[part], "{part}");
    }
    seen.0
}

/// Waits until both have the same changes.
#[track_caller]
fn agree(a: &Node, b: &Node) -> Value {
    agree_on(a, b, |_| true)
}

/// The changes of a document that its source has signed.
fn batches(node: &Node) -> Vec<Value> {
    let history = node.get(&format!("{DOCUMENT}/history?limit=1000")).json();
    let by_source = history.as_array().unwrap().iter().filter(|change| change["by"] == "source");
    by_source.map(|change| change["digest"].clone()).collect()
}

#[track_caller]
fn honest(node: &Node) {
    assert_eq!(node.get("/api/v1/status").json()["equivocations"], json!([]));
    verified(node);
}

/// Nobody has lied, and what the documents say of the database is so.
fn ended(a: Node, b: Node) {
    honest(&a);
    honest(&b);
    a.stop();
    b.stop();
}

fn paused(node: &Node, is_paused: bool) {
    let verb = if is_paused { "pause" } else { "resume" };
    assert_eq!(node.post(&format!("/api/v1/reconcile/workflows/{verb}"), "{}").status, 200);
}

#[test]
fn nodes_that_reconcile_one_version_sign_one_batch() {
    let (first, _second, a, b) = linked("");
    edit(&a, &json!({"jobs": {"j1": {"body": "typed\none\ntwo\n"}}}));
    agree(&a, &b);
    assert_eq!(batches(&a).len(), 1, "both have filled it");
    deploy(&first, 2, "deployed", "UPDATE jobs SET body = body || 'three' WHERE id = 'j1'");
    follows(&a, 2);
    follows(&b, 2);
    let both = agree(&a, &b);
    assert_eq!(both["view"]["jobs"]["j1"]["body"], "typed\none\ntwo\nthree");
    assert_eq!((batches(&a), batches(&a).len()), (batches(&b), 2));
    let history = |node: &Node| node.get(&format!("{DOCUMENT}/history")).json().as_array().unwrap().len();
    assert_eq!((history(&a), history(&b)), (3, 3), "two batches and one edit");
    ended(a, b);
}

#[test]
fn nodes_that_fill_a_document_apart_make_the_same_bytes() {
    let (_first, second, a, b) = apart();
    std::thread::scope(|scope| {
        for node in [&a, &b] {
            scope.spawn(|| show(node));
        }
    });
    let filled = agree(&a, &b);
    assert_eq!(filled["view"]["jobs"]["j1"]["body"], "one\ntwo\n");
    b.stop();
    let b = linked_to(&second, &a);
    assert_eq!(agree(&a, &b)["heads"], filled["heads"]);
    assert_eq!(batches(&a), batches(&b));
    ended(a, b);
}

/// One node has followed version 2, the other one version 3 without having seen 2; then they meet. `is_newer_first`:
/// the one with version 3 is there when the other one comes.
fn meet_at_two_versions(is_newer_first: bool) {
    let (first, second, a, b) = apart();
    agree(&a, &b);
    // Each brings the same line; both together would have it twice.
    paused(&b, true);
    let line = "UPDATE jobs SET body = body || 'three' || char(10) WHERE id = 'j1'";
    deploy(&first, 2, "second", &format!("{line}; INSERT INTO jobs VALUES ('j3', '42', 'new', 'x', NULL)"));
    follows(&a, 2);
    paused(&a, true);
    deploy(&first, 3, "third", "UPDATE jobs SET name = 'newer' WHERE id = 'j3'");
    paused(&b, false);
    follows(&b, 3);
    let (a, b) = if is_newer_first {
        a.stop();
        let a = linked_to(&first, &b);
        (a, b)
    } else {
        b.stop();
        let b = linked_to(&second, &a);
        (a, b)
    };
    paused(&a, false);
    let both = agree_on(&a, &b, |shown| {
        let jobs = &shown["view"]["jobs"];
        shown["version"] == 3
            && shown["view"]["name"] == "third"
            && jobs["j1"]["body"] == "one\ntwo\nthree\n"
            && jobs["j3"] == json!({"name": "newer", "body": "x", "adaptor": null})
    });
    assert_eq!((&both["unsaved"], &both["conflicts"]), (&json!([]), &json!([])));
    honest(&a);
    honest(&b);
    // From here on it is one line again.
    deploy(&first, 4, "fourth", "DELETE FROM jobs WHERE id = 'j3'");
    follows(&a, 4);
    follows(&b, 4);
    let both = agree(&a, &b);
    assert_eq!((&both["view"]["name"], both["heads"].as_array().unwrap().len()), (&json!("fourth"), 1));
    ended(a, b);
}

#[test]
fn nodes_that_read_two_versions_apart_show_the_newest_when_the_older_one_comes() {
    meet_at_two_versions(true);
}

#[test]
fn nodes_that_read_two_versions_apart_show_the_newest_when_the_newer_one_comes() {
    meet_at_two_versions(false);
}

#[test]
fn a_batch_of_an_older_version_that_comes_late_is_put_right_by_whoever_reads_the_database() {
    let (first, _second, a, b) = apart();
    agree(&a, &b);
    paused(&b, true);
    let line = "UPDATE jobs SET body = body || 'three' || char(10) WHERE id = 'j1'";
    deploy(&first, 2, "second", line);
    follows(&a, 2);
    paused(&a, true);
    deploy(&first, 3, "third", "SELECT 1");
    paused(&b, false);
    follows(&b, 3);
    // The node with the older one stays paused: it brings its batch, and does nothing more.
    a.stop();
    let a = linked_to(&first, &b);
    until("the older batch", || batches(&b).len() > 2);
    agree_on(&a, &b, |shown| {
        shown["version"] == 3
            && shown["view"]["name"] == "third"
            && shown["view"]["jobs"]["j1"]["body"] == "one\ntwo\nthree\n"
    });
    honest(&b);
    a.stop();
    b.stop();
}

#[test]
fn nodes_whose_databases_differ_do_not_answer_each_other_for_ever() {
    let (first, other) = (setting("merge"), setting("merge"));
    let a = Node::start(&first);
    let second = second_of(&first);
    std::fs::copy(other.path().join("app.db"), second.path().join("app.db")).unwrap();
    let settings = second.path().join("gangline.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text.replace(first.path().to_str().unwrap(), ".")).unwrap();
    let b = linked_to(&second, &a);
    agree(&a, &b);
    deploy(&first, 2, "here", "SELECT 1");
    deploy(&second, 2, "there", "SELECT 1");
    until("both batches", || batches(&a).len() > 2 && batches(&b).len() > 2);
    let (mut count, mut same) = (0, 0);
    until("an end", || {
        let now = batches(&a).len() + batches(&b).len();
        same = if now == count { same + 1 } else { 0 };
        count = now;
        same == 100
    });
    agree(&a, &b);
    a.stop();
    b.stop();
}

#[test]
fn when_one_of_two_nodes_is_gone_for_good_the_other_one_goes_on() {
    let (first, _second, a, b) = linked("");
    edit(&a, &json!({"jobs": {"j9": {"name": "draft"}}}));
    until("the draft", || show(&b)["view"]["jobs"]["j9"]["name"] == "draft");
    kill(a);
    deploy(&first, 2, "deployed", "UPDATE jobs SET body = 'x' WHERE id = 'j2'");
    follows(&b, 2);
    let saved = save(&b);
    assert_eq!((&saved["version"], &saved["saved"]), (&json!(3), &json!(["jobs.j9"])));
    assert_eq!(stored(first.path(), "SELECT name FROM jobs WHERE id = 'j9'"), "draft");
    honest(&b);
    assert_eq!(source(&b)["state"], "following");
    b.stop();
}

#[test]
fn two_nodes_save_what_people_wrote_at_each_once() {
    let (first, _second, a, b) = linked("poll = \"5ms\"");
    agree(&a, &b);
    for round in 0..5 {
        let (ours, theirs) = (format!("a{round}"), format!("b{round}"));
        edit(&a, &json!({"jobs": {&ours: {"name": &ours}}}));
        edit(&b, &json!({"jobs": {&theirs: {"name": &theirs}}}));
        std::thread::scope(|scope| {
            for node in [&a, &b] {
                scope.spawn(|| save(node));
            }
        });
        agree_on(&a, &b, |shown| shown["unsaved"] == json!([]));
    }
    let both = agree(&a, &b);
    assert_eq!(both["view"]["jobs"].as_object().unwrap().len(), 12);
    assert_eq!(both["conflicts"], json!([]));
    let rows = Connection::open(first.path().join("app.db")).unwrap();
    let count: i64 = rows.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 12);
    ended(a, b);
}

/// The other node reads the rows as soon as they are there, and hears a moment later that it was a save.
#[test]
fn a_text_that_one_node_saves_is_no_news_at_the_other() {
    let (first, _second, a, b) = linked("poll = \"1ms\"");
    agree(&a, &b);
    let mut body = "one\ntwo\n".to_owned();
    for round in 0..8 {
        body = format!("line {round}\n{body}");
        let saver = if round % 2 == 0 { &a } else { &b };
        edit(saver, &json!({"jobs": {"j1": {"body": &body}}}));
        agree(&a, &b);
        save(saver);
        agree_on(&a, &b, |shown| {
            shown["unsaved"] == json!([]) && shown["view"]["jobs"]["j1"]["body"] == body
        });
        assert_eq!(stored(first.path(), "SELECT body FROM jobs WHERE id = 'j1'"), body);
    }
    assert_eq!(agree(&a, &b)["conflicts"], json!([]));
    ended(a, b);
}

#[test]
fn a_text_that_two_nodes_save_at_once_is_written_once() {
    let (first, _second, a, b) = linked("poll = \"1ms\"");
    agree(&a, &b);
    let mut body = "one\ntwo\n".to_owned();
    for round in 0..8 {
        body = format!("line {round}\n{body}");
        edit(&a, &json!({"jobs": {"j1": {"body": &body}}}));
        agree(&a, &b);
        std::thread::scope(|scope| {
            for node in [&a, &b] {
                scope.spawn(|| save(node));
            }
        });
        agree_on(&a, &b, |shown| shown["unsaved"] == json!([]));
        assert_eq!(stored(first.path(), "SELECT body FROM jobs WHERE id = 'j1'"), body, "round {round}");
    }
    assert_eq!(agree(&a, &b)["view"]["jobs"]["j1"]["body"], body);
    ended(a, b);
}

/// It reads rows that another node has saved meanwhile, of what was typed there and of what it knows itself.
#[test]
fn a_node_that_comes_back_hears_the_others_before_it_follows() {
    let (first, _second, mut a, b) = linked("");
    agree(&a, &b);
    let mut body = "one\ntwo\n".to_owned();
    for round in 0..4 {
        body = format!("typed {round}\n{body}");
        edit(&a, &json!({"jobs": {"j1": {"body": &body}}}));
        agree(&a, &b);
        kill(a);
        body = format!("{body}and saved {round}\n");
        edit(&b, &json!({"jobs": {"j1": {"body": &body}}}));
        save(&b);
        a = linked_to(&first, &b);
        let opened = show(&a);
        assert_eq!(opened["view"]["jobs"]["j1"]["body"], body, "round {round}");
        assert_eq!((&opened["unsaved"], &opened["conflicts"]), (&json!([]), &json!([])));
        let again = save(&a);
        assert_eq!(again["saved"], json!([]));
        assert_eq!(agree(&a, &b)["heads"], opened["heads"], "nothing was to be signed");
    }
    assert_eq!(stored(first.path(), "SELECT body FROM jobs WHERE id = 'j1'"), body);
    ended(a, b);
}

/// Nobody is there whom it could dial: the others come by themselves, a moment later.
#[test]
fn a_node_that_comes_back_waits_a_moment_for_those_who_dial_it() {
    let (first, _second, mut a, b) = linked("");
    let mut body = "written there\none\ntwo\n".to_owned();
    edit(&b, &json!({"jobs": {"j1": {"body": &body}}}));
    agree(&a, &b);
    for round in 0..2 {
        body = format!("typed {round}\n{body}");
        edit(&a, &json!({"jobs": {"j1": {"body": &body}}}));
        agree(&a, &b);
        let addr = a.addr.clone();
        kill(a);
        body = format!("{body}and saved {round}\n");
        edit(&b, &json!({"jobs": {"j1": {"body": &body}}}));
        save(&b);
        a = Node::start_with(&first, &["--listen", &addr]);
        let opened = show(&a);
        assert_eq!(opened["view"]["jobs"]["j1"]["body"], body, "round {round}");
        assert_eq!(agree(&a, &b)["heads"], opened["heads"], "nothing was to be signed");
    }
    ended(a, b);
}

/// Both know what was typed at first; one saves it with more, and the other one cannot hear that.
#[test]
fn what_another_node_saves_that_cannot_be_reached_is_there_once() {
    let (first, second, a, b) = linked("");
    edit(&a, &json!({"jobs": {"j1": {"body": "typed\none\ntwo\n"}}}));
    edit(&b, &json!({"jobs": {"j2": {"body": "written there\n"}}}));
    agree(&a, &b);
    a.stop();
    b.stop();
    let (a, b) = (Node::start(&first), Node::start(&second));
    let saved = "typed\nand more\none\ntwo\nlast\n";
    edit(&b, &json!({"jobs": {"j1": {"body": saved}}}));
    save(&b);
    follows(&a, 2);
    let shown = show(&a);
    assert_eq!((&shown["view"]["jobs"]["j1"]["body"], &shown["unsaved"]), (&json!(saved), &json!([])));
    assert_eq!(save(&a)["saved"], json!([]));
    let ours = format!("ours\n{saved}");
    edit(&a, &json!({"jobs": {"j1": {"body": ours}}}));
    save(&a);
    b.stop();
    let b = linked_to(&second, &a);
    let both = agree_on(&a, &b, |shown| shown["unsaved"] == json!([]));
    assert_eq!(both["view"]["jobs"]["j1"]["body"], ours);
    assert_eq!(stored(first.path(), "SELECT body FROM jobs WHERE id = 'j1'"), ours);
    ended(a, b);
}

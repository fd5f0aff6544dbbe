//! What only a node with a document's source can do, asked of nodes that lack it.

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::harness::{Node, run, until};
use super::workflows::{DOCUMENT, database, edit, kill, setting, show, source, sql, stored};

/// A node without any source, linked with these.
fn beside(dir: &TempDir, others: &[&Node]) -> Node {
    let urls: Vec<String> = others.iter().map(|other| other.sync_url()).collect();
    let peers = urls.iter().flat_map(|url| ["--peer", url]);
    let args: Vec<&str> = ["--listen", "127.0.0.1:0"].into_iter().chain(peers).collect();
    Node::start_with(dir, &args)
}

/// The node with the source.
fn with_source() -> (TempDir, Node) {
    let dir = setting("merge");
    let node = Node::start(&dir);
    (dir, node)
}

fn key_of(dir: &TempDir) -> String {
    run(dir.path(), &["key", "show", "--json"]).json()["key"].as_str().unwrap().to_owned()
}

/// Lets a key in, and from then on only whom somebody has named.
fn trust(dir: &TempDir, node: &Node, (key, name): (&str, &str), more: &[&str]) {
    let args: Vec<&str> = ["key", "trust", key, name].iter().chain(more).copied().collect();
    let trusted = run(dir.path(), &args);
    assert_eq!(trusted.code, 0, "{trusted:?}");
    node.process.stderr.until("trust has changed");
}

/// Waits until a node shows the document.
#[track_caller]
fn comes(node: &Node) {
    until("the document", || node.get(DOCUMENT).status == 200);
}

/// Asks for something to be done with the document.
fn act(node: &Node, verb: &str, body: &Value) -> super::harness::Answer {
    node.post(&format!("{DOCUMENT}/{verb}"), &body.to_string())
}

#[test]
fn a_node_without_the_source_plans_follows_saves_and_verifies_by_way_of_one_that_has_it() {
    let (dir, a) = with_source();
    let (third, second) = (tempdir().unwrap(), tempdir().unwrap());
    let c = Node::start(&third);
    let b = beside(&second, &[&a, &c]);
    // Nobody has opened it yet, at any node.
    let is_unborn = || a.get("/api/v1/documents").json()[0]["state"] == "unborn";
    until("a plan", || b.get(&format!("{DOCUMENT}/plan")).status == 200);
    assert_eq!(b.get(&format!("{DOCUMENT}/plan")).json(), a.get(&format!("{DOCUMENT}/plan")).json());
    assert!(is_unborn() && b.get("/api/v1/documents").json() == json!([]), "a plan opens nothing");
    comes(&b);
    assert!(!is_unborn());
    assert_eq!(show(&b)["view"]["name"], "deploy");
    b.get("/api/v1/documents/workflow:404").refused(404, "no_such_document");

    assert_eq!(a.post("/api/v1/reconcile/workflows/pause", "{}").status, 200);
    sql(dir.path(), "UPDATE workflows SET name = 'deployed', lock_version = 2");
    edit(&b, &json!({"name": "mine", "jobs": {"j9": {"name": "draft"}}}));
    let planned = b.get(&format!("{DOCUMENT}/plan"));
    assert_eq!(planned.status, 200, "{planned:?}");
    assert!(planned.head.contains("gangline-answered-by: ed25519:"), "{planned:?}");
    let change = planned.json()["changes"][0].clone();
    assert_eq!((&change["document"], &change["database"]), (&json!("mine"), &json!("deployed")), "{change}");
    assert_eq!(planned.json(), a.get(&format!("{DOCUMENT}/plan")).json());
    act(&b, "reconcile", &json!({"nonsense": 1})).refused(422, "bad_options");
    assert_eq!(b.get(&format!("{DOCUMENT}/verify")).json()["ok"], false);

    let followed = act(&b, "reconcile", &json!({"actor": "amy"}));
    assert_eq!((followed.status, &followed.json()["to"]), (200, &json!(2)), "{followed:?}");
    let history = a.get(&format!("{DOCUMENT}/history")).json();
    let actors: Vec<&str> =
        history.as_array().unwrap().iter().filter_map(|change| change["audit"]["actor"].as_str()).collect();
    assert!(actors.len() == 1 && actors[0].starts_with("amy at "), "{history}");
    until("the batch", || show(&b)["version"] == 2);

    assert_eq!(act(&b, "resolve", &json!({"path": "name", "take": "mine"})).status, 200);
    // What was written a moment ago is saved, too.
    edit(&b, &json!({"jobs": {"j2": {"body": "typed\n"}}}));
    let saved = b.cli(&second, &["reconcile", "save", "workflow:42", "--json"]);
    assert_eq!(saved.code, 0, "{saved:?}");
    let saved = saved.json();
    assert_eq!((&saved["id"], &saved["version"]), (&json!("workflow:42"), &json!(3)));
    let mut places: Vec<&str> =
        saved["saved"].as_array().unwrap().iter().map(|place| place.as_str().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, ["jobs.j2.body", "jobs.j9", "name"]);
    assert_eq!(stored(dir.path(), "SELECT name FROM workflows"), "mine");
    assert_eq!(stored(dir.path(), "SELECT name FROM jobs WHERE id = 'j9'"), "draft");
    assert_eq!(stored(dir.path(), "SELECT body FROM jobs WHERE id = 'j2'"), "typed\n");
    until("nothing unsaved", || show(&b)["unsaved"] == json!([]));
    assert_eq!(b.get(&format!("{DOCUMENT}/verify")).json()["ok"], true);

    // The third one knows nobody with the source: what is passed on is not passed on again.
    comes(&c);
    let alone = act(&c, "save", &json!({})).refused(503, "no_source");
    assert!(alone["detail"].as_str().unwrap().contains("the node that it is linked with"), "{alone}");

    kill(a);
    until("nobody with the source", || act(&b, "save", &json!({})).status == 503);
    act(&b, "save", &json!({})).refused(503, "no_source");
    b.get(&format!("{DOCUMENT}/plan")).refused(503, "no_source");
    b.get(&format!("{DOCUMENT}/verify")).refused(503, "no_source");
    edit(&b, &json!({"jobs": {"j9": {"body": "goes on"}}}));
    b.stop();
    c.stop();
}

#[test]
fn what_the_node_with_the_source_refuses_is_passed_on_as_it_is() {
    let (dir, a) = with_source();
    let second = tempdir().unwrap();
    let b = beside(&second, &[&a]);
    comes(&b);
    edit(&b, &json!({"jobs": {"j9": {"name": "draft"}}}));
    let writer = database(dir.path());
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let locked = act(&b, "save", &json!({}));
    locked.refused(503, "database_locked");
    assert!(locked.head.contains("gangline-answered-by: ed25519:"), "{locked:?}");
    writer.execute_batch("ROLLBACK").unwrap();
    assert_eq!(act(&b, "save", &json!({})).json()["saved"], json!(["jobs.j9"]));
    sql(dir.path(), "UPDATE workflows SET deleted_at = '2026-11-22', lock_version = 9");
    until("it is deleted", || show(&b)["deleted"] == true);
    act(&b, "save", &json!({})).refused(409, "deleted");
    b.stop();
    a.stop();
}

#[test]
fn a_peer_that_may_only_read_has_nothing_done() {
    let (dir, a) = with_source();
    let second = tempdir().unwrap();
    show(&a);
    let b = beside(&second, &[&a]);
    comes(&b);
    trust(&dir, &a, (&key_of(&second), "second"), &["--read-only"]);
    edit(&b, &json!({"jobs": {"j9": {"name": "draft"}}}));
    for verb in ["save", "reconcile"] {
        let refused = act(&b, verb, &json!({})).refused(403, "not_trusted");
        assert!(refused["detail"].as_str().unwrap().contains(&key_of(&second)), "{refused}");
    }
    for path in ["plan", "verify"] {
        b.get(&format!("{DOCUMENT}/{path}")).refused(403, "not_trusted");
    }
    assert_eq!(source(&a)["saves"], 0);
    assert_eq!(stored(dir.path(), "SELECT CAST(count(*) AS TEXT) FROM jobs"), "2");
    b.stop();
    a.stop();
}

#[test]
fn a_save_whose_edits_the_node_with_the_source_does_not_take_says_whose_they_are() {
    let (dir, a) = with_source();
    let (second, third) = (tempdir().unwrap(), tempdir().unwrap());
    show(&a);
    let b = beside(&second, &[&a]);
    comes(&b);
    trust(&dir, &a, (&key_of(&second), "second"), &[]);
    let c = beside(&third, &[&b]);
    comes(&c);
    edit(&b, &json!({"jobs": {"j8": {"name": "ours"}}}));
    assert_eq!(act(&b, "save", &json!({})).json()["saved"], json!(["jobs.j8"]));
    edit(&c, &json!({"jobs": {"j9": {"name": "draft"}}}));
    until("the edit", || show(&b)["view"]["jobs"]["j9"]["name"] == "draft");
    let refused = act(&b, "save", &json!({})).refused(409, "changes_missing");
    assert_eq!(refused["authors"], json!([key_of(&third)]), "{refused}");
    assert_eq!(stored(dir.path(), "SELECT CAST(count(*) AS TEXT) FROM jobs"), "3");
    // What does not need them is done.
    assert_eq!(b.get(&format!("{DOCUMENT}/verify")).json()["ok"], true);
    trust(&dir, &a, (&key_of(&third), "third"), &[]);
    until("the edit is taken", || act(&b, "save", &json!({})).status == 200);
    assert_eq!(stored(dir.path(), "SELECT name FROM jobs WHERE id = 'j9'"), "draft");
    for node in [c, b, a] {
        node.stop();
    }
}

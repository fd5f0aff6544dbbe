//! Tables with many roots: what happens to one of them is nothing to the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::{Node, until};
use super::workflows::{Stream, install, kill, setting, show_one, source, sql};

fn place(root: usize) -> String {
    format!("/api/v1/documents/workflow:r{root}")
}

/// A table of so many roots, and no other.
fn roots(count: usize) -> TempDir {
    let dir = setting("merge");
    sql(
        dir.path(),
        &format!(
            "PRAGMA foreign_keys = off; BEGIN; DELETE FROM edges; DELETE FROM jobs; DELETE FROM workflows;
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count})
             INSERT INTO workflows (id, name) SELECT 'r' || i, 'workflow ' || i FROM n;
             INSERT INTO jobs SELECT 'j' || id, id, 'job', 'text' || char(10), NULL FROM workflows; COMMIT"
        ),
    );
    dir
}

fn deploy(dir: &TempDir, root: usize, name: &str) {
    sql(
        dir.path(),
        &format!(
            "BEGIN; UPDATE workflows SET name = '{name}', lock_version = lock_version + 1 WHERE id = 'r{root}';
             UPDATE jobs SET body = body || 'more' || char(10) WHERE workflow_id = 'r{root}'; COMMIT"
        ),
    );
}

fn an_import_touches_one(with_outbox: bool) {
    const TOUCHED: usize = 17;
    let dir = roots(50);
    let node = Node::start(&dir);
    let before: Vec<Value> = (0..50).map(|root| show_one(&node, &place(root))["heads"].clone()).collect();
    if with_outbox {
        install(&dir, &node);
    }
    let watched = [0, 16, TOUCHED, 18, 49];
    let mut streams: Vec<Stream> = watched
        .iter()
        .map(|root| {
            let mut stream = Stream::of_one(&node, &format!("workflow:r{root}"), "amy");
            stream.until("ready");
            stream
        })
        .collect();
    let batches = source(&node)["batches"].as_u64().unwrap();
    deploy(&dir, TOUCHED, "imported");
    until("it is followed", || show_one(&node, &place(TOUCHED))["view"]["name"] == "imported");
    until("nothing waits", || source(&node)["pending"] == 0);
    assert_eq!(source(&node)["batches"], batches + 1);
    for (root, heads) in before.iter().enumerate() {
        let is_as_it_was = show_one(&node, &place(root))["heads"] == *heads;
        assert_eq!(is_as_it_was, root != TOUCHED, "r{root}");
    }
    // What a stream tells first: the import, or what somebody does here and now.
    for (root, stream) in watched.into_iter().zip(&mut streams) {
        assert_eq!(node.patch(&place(root), r#"{"concurrency": 7}"#).status, 200);
        let first = stream.until("changed");
        let expected = root == TOUCHED;
        assert_eq!(first["by"] == "source", expected, "r{root}: {first}");
    }
    node.stop();
}

#[test]
fn an_import_that_touches_one_of_fifty_is_heard_by_that_one() {
    an_import_touches_one(false);
}

#[test]
fn an_import_that_touches_one_of_fifty_is_heard_by_that_one_through_an_outbox() {
    an_import_touches_one(true);
}

#[test]
fn a_source_says_how_many_documents_it_has_from_the_first_opening() {
    let dir = roots(5);
    let node = Node::start(&dir);
    assert_eq!(source(&node)["documents"], 0);
    // Somebody stays in one, and others come and go.
    let mut stream = Stream::of_one(&node, "workflow:r0", "amy");
    stream.until("ready");
    assert_eq!(source(&node)["documents"], 1);
    for (root, count) in [(1, 2), (0, 2), (1, 2), (2, 3)] {
        show_one(&node, &place(root));
        assert_eq!(source(&node)["documents"], count, "r{root}");
    }
    node.get(&place(77)).refused(404, "no_such_document");
    assert_eq!(source(&node)["documents"], 3);
    kill(node);
    let node = Node::start(&dir);
    until("they are known again", || source(&node)["documents"] == 3);
    node.stop();
    let node = Node::start(&dir);
    assert_eq!(source(&node)["documents"], 3);
    node.stop();
}

/// Roots of a table of which nearly none is ever opened. With 100,000 it takes a minute, and a node some 90 MB.
const ROOTS: usize = 2_000;

/// All documents, by their state.
fn states(node: &Node) -> BTreeMap<String, BTreeSet<String>> {
    let mut states: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut after = String::new();
    loop {
        let listed = node.get(&format!("/api/v1/documents?limit=1500{after}")).json();
        let Some(last) = listed.as_array().unwrap().last() else { return states };
        after = format!("&after={}", last["id"].as_str().unwrap());
        for one in listed.as_array().unwrap() {
            let of_state = states.entry(one["state"].as_str().unwrap().to_owned()).or_default();
            assert!(of_state.insert(one["id"].as_str().unwrap().to_owned()), "{one} is listed twice");
        }
    }
}

/// How many documents have a file.
fn files(dir: &TempDir) -> usize {
    let entries = fs::read_dir(dir.path().join("gangline-data/documents")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("document-") && name.ends_with(".db")).count()
}

#[test]
fn thousands_of_roots_are_no_thousands_of_documents() {
    let dir = roots(ROOTS);
    let node = Node::start(&dir);
    let files = || files(&dir);
    let born = |node: &Node| {
        let mut states = states(node);
        let unborn = states.remove("unborn").unwrap_or_default();
        let born: BTreeSet<String> = states.into_values().flatten().collect();
        assert_eq!((unborn.len() + born.len(), unborn.intersection(&born).count()), (ROOTS, 0));
        born.into_iter().collect::<Vec<_>>()
    };
    assert_eq!((born(&node), files()), (Vec::new(), 0));
    // Somebody opens one, and it follows: from then on the table has been looked through.
    show_one(&node, &place(1));
    deploy(&dir, 1, "opened");
    until("it follows", || show_one(&node, &place(1))["view"]["name"] == "opened");
    assert_eq!((born(&node), files()), (vec!["workflow:r1".to_owned()], 1));
    // A deploy opens what it touches, and that alone.
    deploy(&dir, 777, "deployed");
    until("it is filled", || source(&node)["batches"] == 3);
    until("nothing waits", || source(&node)["pending"] == 0);
    let both = ["workflow:r1", "workflow:r777"];
    assert_eq!((born(&node), files()), (both.map(str::to_owned).to_vec(), 2));
    let shown = show_one(&node, &place(777));
    assert_eq!((&shown["view"]["name"], &shown["version"]), (&json!("deployed"), &json!(2)));
    assert_eq!(shown["view"]["jobs"]["jr777"]["body"], "text\nmore\n");
    assert_eq!(source(&node)["documents"], 2);
    node.stop();
    // Nor does a start open any.
    let node = Node::start(&dir);
    let states = states(&node);
    assert_eq!(states["stored"].iter().collect::<Vec<_>>(), both);
    assert_eq!((states["unborn"].len(), states.len(), files()), (ROOTS - 2, 2, 2));
    node.stop();
}

const BULK: &str = "UPDATE workflows SET name = 'bulk', lock_version = lock_version + 1";

/// When a document followed its rows last, by its audit.
fn followed_at(node: &Node, root: usize) -> u64 {
    let history = node.get(&format!("{}/history", place(root))).json();
    let audits = history.as_array().unwrap().iter().filter_map(|change| change["audit"]["at_ms"].as_u64());
    audits.max().unwrap()
}

/// A bulk update used to make a document of each row, and what somebody had open waited behind all of them.
#[test]
fn a_bulk_is_heard_by_who_watches_before_the_others_and_opens_no_thousands() {
    const STORED: u64 = 40;
    let dir = roots(ROOTS);
    let node = Node::start(&dir);
    let watched = ROOTS - 1;
    let mut stream = Stream::of_one(&node, &format!("workflow:r{watched}"), "amy");
    stream.until("ready");
    for root in 0..STORED as usize {
        assert_eq!(node.post(&format!("{}/reconcile", place(root)), "").status, 200);
    }
    until("nobody is in the others", || {
        states(&node).get("stored").is_some_and(|of| of.len() as u64 == STORED)
    });
    assert_eq!(source(&node)["batches"], STORED + 1);
    sql(dir.path(), BULK);
    let told = stream.until("db_changed");
    assert_eq!(told["changes"][0]["path"], "name", "{told}");
    until("what is stored follows", || source(&node)["batches"].as_u64().unwrap() > 2 * (STORED + 1));
    node.process.stderr.until("nobody has opened the documents");
    let now = source(&node);
    let all = now["documents"].as_u64().unwrap() + now["pending"].as_u64().unwrap();
    // A few that run are both.
    assert!(all <= STORED + 1 + 1_000 + 8, "{now}");
    let heard = followed_at(&node, watched);
    let before = (0..STORED as usize).filter(|root| followed_at(&node, *root) < heard).count();
    assert!(before < STORED as usize / 2, "{before} of {STORED} followed before the one that is open");
    node.stop();
}

#[test]
fn a_plan_of_what_nobody_has_opened_opens_and_writes_nothing() {
    let dir = roots(12);
    let node = Node::start(&dir);
    let cli = |args: &[&str]| node.cli(&dir, &[&["reconcile"], args].concat());
    let without = "12 more documents that nobody has opened yet: --unborn takes them in";
    for args in [&["plan"] as &[&str], &["verify"], &["run"], &["run", "--source", "workflows"]] {
        let done = cli(args);
        assert_eq!((done.code, done.stdout.contains(without)), (0, true), "{args:?}: {done:?}");
    }
    let plan = node.get(&format!("{}/plan", place(3))).json();
    assert_eq!((&plan["from"], &plan["to"], &plan["mode"]), (&Value::Null, &json!(1), &json!("merge")));
    let name = plan["changes"].as_array().unwrap().iter().find(|change| change["path"] == "name");
    assert_eq!(name.map(|name| &name["database"]), Some(&json!("workflow 3")), "{plan}");
    assert_eq!(node.get(&format!("{}/verify", place(3))).json()["ok"], false);
    node.get(&format!("{}/plan", place(77))).refused(404, "no_such_document");
    let plans = cli(&["plan", "--unborn", "--json"]);
    assert_eq!((plans.code, plans.stdout.lines().count()), (10, 12), "{plans:?}");
    assert_eq!(
        (files(&dir), &source(&node)["documents"], &source(&node)["batches"]),
        (0, &json!(0), &json!(0))
    );
    assert_eq!(states(&node)["unborn"].len(), 12);
    // It is what is done when somebody opens it.
    show_one(&node, &place(3));
    assert_eq!(source(&node)["ops"], plan["ops"]);
    let done = cli(&["run", "--source", "workflows", "--unborn"]);
    assert_eq!((done.code, files(&dir)), (0, 12), "{done:?}");
    let done = cli(&["plan"]);
    assert_eq!((done.code, done.stdout.contains("nobody")), (0, false), "{done:?}");
    node.stop();
}

/// Two hundred documents that were open together used to take all of the 1,024 files that a process may usually have open.
#[cfg(unix)]
#[test]
fn a_node_that_may_have_few_files_open_follows_and_verifies_many_documents() {
    const COUNT: usize = 60;
    let dir = roots(COUNT);
    let node = Node::start_under(&dir, "ulimit -n 128");
    let cli = |args: &[&str]| node.cli(&dir, &[&["reconcile"], args].concat());
    let done = cli(&["run", "--unborn"]);
    assert_eq!((done.code, files(&dir)), (0, COUNT), "{done:?}");
    assert_eq!(cli(&["verify"]).code, 0);
    sql(dir.path(), BULK);
    until("all follow", || source(&node)["batches"] == 2 * COUNT);
    until("nothing waits", || source(&node)["pending"] == 0);
    assert_eq!((&source(&node)["failed"], &source(&node)["state"]), (&json!(0), &json!("following")));
    // Those that people have just looked at stay open for a while, and make room for others.
    for root in 0..COUNT {
        assert_eq!(show_one(&node, &place(root))["view"]["name"], "bulk");
    }
    node.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn a_node_has_as_many_files_open_as_the_system_lets_it() {
    let dir = roots(1);
    let node = Node::start_under(&dir, "ulimit -Sn 200");
    let limits = fs::read_to_string(format!("/proc/{}/limits", node.process.child.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = [3, 4].map(|at| line.split_whitespace().nth(at).unwrap().parse::<u64>().unwrap());
    assert_eq!(soft, hard.min(65_536));
    node.stop();
}

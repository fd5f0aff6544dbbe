//! Nodes whose logs are at another node: they append through each other, read copies while it is away, and notice
//! when it has lost something.

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::harness::{Answer, Node, until};

const SPACE: &str = "/api/v1/spaces/s";

/// A place for a node whose logs are at `url`, and which keeps a copy of all.
fn member_of(url: &str) -> TempDir {
    let dir = tempdir().unwrap();
    let text =
        format!("[lease]\nregistry = \"node\"\ncoordinator = \"{url}\"\nfollow = [\"*\"]\nttl = \"10m\"\n");
    std::fs::write(dir.path().join("gangline.toml"), text).unwrap();
    dir
}

fn post(node: &Node, id: &str) -> Answer {
    let body = json!({ "type": "T", "id": id, "payload": {} }).to_string();
    node.post(&format!("{SPACE}/events"), &body)
}

fn append(node: &Node, id: &str) -> Value {
    let answer = post(node, id);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

fn events(node: &Node) -> Answer {
    node.get(&format!("{SPACE}/events"))
}

fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json().as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until a node has reached its coordinator.
fn meets(node: &Node) {
    until("the coordinator", || node.get(&format!("{SPACE}/lease")).status == 200);
}

/// Waits until a node has a copy of so many events.
fn has_copied(node: &Node, count: u64) {
    until("the copy", || node.get("/api/v1/status").json()["log"]["copies"]["events"] == count);
}

fn key(node: &Node) -> String {
    node.get("/api/v1/status").json()["node_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_team_appends_through_whoever_holds() {
    let at_c = tempdir().unwrap();
    let coordinator = Node::start(&at_c);
    let (at_a, at_b) = (member_of(&coordinator.url), member_of(&coordinator.url));
    let (a, b) = (Node::start(&at_a), Node::start(&at_b));
    meets(&a);
    meets(&b);
    assert_eq!(append(&a, "one")["epoch"], 1);
    assert_eq!(append(&b, "two")["seq"], 1);
    assert_eq!(append(&coordinator, "three")["seq"], 2);
    assert_eq!(post(&b, "one").status, 200, "the same id again");
    let all = events(&b).json();
    let whose = |field: &str| -> Vec<String> {
        let all = all.as_array().unwrap().iter();
        all.map(|event| event[field].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(whose("holder"), vec![key(&a); 3]);
    assert_eq!(whose("author"), [key(&a), key(&b), key(&coordinator)]);
    for node in [&a, &coordinator] {
        assert_eq!(events(node).json(), all);
    }
    let verified = b.cli(&at_b, &["log", "verify", "s"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    // Whoever stops gives its lease back, though that is kept elsewhere: nobody waits ten minutes.
    a.stop();
    assert_eq!(append(&b, "four")["epoch"], 2);
    assert_eq!(ids(&events(&coordinator)), ["one", "two", "three", "four"]);
}

#[test]
fn copies_are_read_while_the_coordinator_is_away() {
    let at_c = tempdir().unwrap();
    let mut coordinator = Node::start(&at_c);
    let url = coordinator.url.clone();
    let address = url.strip_prefix("http://").unwrap().to_owned();
    let at_b = member_of(&url);
    let b = Node::start(&at_b);
    meets(&b);
    append(&b, "one");
    append(&b, "two");
    let fresh = events(&b);
    assert!(!fresh.head.contains("x-gangline-stale"), "{fresh:?}");
    has_copied(&b, 2);
    coordinator.process.child.kill().unwrap();
    coordinator.process.child.wait().unwrap();
    until("a stale answer", || events(&b).head.contains("x-gangline-stale: "));
    assert_eq!(events(&b).json(), fresh.json());
    assert_eq!(b.get("/api/v1/spaces").json()[0]["space"], "s");
    // It starts without its coordinator, too.
    b.stop();
    let b = Node::start(&at_b);
    until("a stale answer", || events(&b).head.contains("x-gangline-stale: "));
    assert_eq!(ids(&events(&b)), ["one", "two"]);

    let _coordinator = Node::start_with(&at_c, &["--listen", &address]);
    until("a fresh answer", || !events(&b).head.contains("x-gangline-stale"));
    assert_eq!(append(&b, "three")["seq"], 2);
}

#[test]
fn a_coordinator_that_has_lost_its_logs_is_not_gone_on_with() {
    let at_c = tempdir().unwrap();
    let coordinator = Node::start(&at_c);
    let url = coordinator.url.clone();
    let address = url.strip_prefix("http://").unwrap().to_owned();
    let at_b = member_of(&url);
    let b = Node::start(&at_b);
    meets(&b);
    append(&b, "one");
    has_copied(&b, 1);
    b.stop();
    coordinator.stop();
    for file in ["log.db", "log.db-wal", "log.db-shm"] {
        std::fs::remove_file(at_c.path().join("gangline-data").join(file)).ok();
    }
    let coordinator = Node::start_with(&at_c, &["--listen", &address]);
    append(&coordinator, "another");
    let b = Node::start(&at_b);
    until("the divergence", || {
        let status = b.get("/api/v1/status").json();
        status["log"]["copies"]["stopped"][0]["space"] == "s"
    });
    events(&b).refused(503, "log_diverged");
    post(&b, "two").refused(503, "log_diverged");
    assert_eq!(ids(&events(&coordinator)), ["another"], "nothing of b's is in the other log");
}

/// Who has the longer log tells the others, and then all go on; who had what is set aside finds it by name.
#[test]
fn a_log_is_recovered_from_the_copy_of_a_member() {
    let at_c = tempdir().unwrap();
    let coordinator = Node::start(&at_c);
    let url = coordinator.url.clone();
    let address = url.strip_prefix("http://").unwrap().to_owned();
    let (at_a, at_b) = (member_of(&url), member_of(&url));
    let (a, b) = (Node::start(&at_a), Node::start(&at_b));
    meets(&a);
    meets(&b);
    append(&a, "one");
    append(&a, "two");
    append(&b, "three");
    has_copied(&a, 3);
    has_copied(&b, 3);
    a.stop();
    coordinator.stop();
    for file in ["log.db", "log.db-wal", "log.db-shm"] {
        std::fs::remove_file(at_c.path().join("gangline-data").join(file)).ok();
    }
    let coordinator = Node::start_with(&at_c, &["--listen", &address]);
    append(&coordinator, "x");
    until("the divergence", || events(&b).status == 503);
    let copy = at_b.path().join("copy.jsonl");
    let (file, cli) = (copy.to_str().unwrap(), |node: &Node, at: &TempDir, args: &[&str]| {
        let said = node.cli(at, args);
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
        said.stdout
    });
    cli(&b, &at_b, &["log", "export", "s", file, "--copy"]);
    let said = cli(&coordinator, &at_c, &["log", "recover", "s", "--from", file]);
    assert!(said.contains("part at event 0") && said.contains("kept as"), "{said}");
    assert_eq!(ids(&events(&coordinator)), ["one", "two", "three"]);
    // Nobody has to tell those who had seen all of it.
    until("the space to be served again", || events(&b).status == 200);
    assert_eq!(append(&b, "four")["seq"], 3);

    // Now what the members have does not count any more.
    b.stop();
    coordinator.stop();
    for file in ["log.db", "log.db-wal", "log.db-shm"] {
        std::fs::remove_file(at_c.path().join("gangline-data").join(file)).ok();
    }
    let coordinator = Node::start_with(&at_c, &["--listen", &address]);
    append(&coordinator, "y");
    let a = Node::start(&at_a);
    until("the divergence", || events(&a).status == 503);
    let said = cli(&a, &at_a, &["log", "recover", "s", "--from", "coordinator"]);
    assert!(said.contains("kept as"), "{said}");
    assert_eq!(append(&a, "z")["seq"], 1);
    assert_eq!(ids(&events(&a)), ["y", "z"]);
    coordinator.get(&format!("{SPACE}/events?copy=true&follow=true")).refused(400, "bad_parameter");
    // What changes where a log is appended to is for the coordinator.
    for args in [&["log", "recover", "s", "--from", file][..], &["log", "import", file]] {
        let refused = a.cli(&at_a, args);
        assert!(refused.code == 4 && refused.stderr.contains("are at its coordinator"), "{refused:?}");
    }
    let refused = coordinator.cli(&at_c, &["log", "recover", "s", "--from", "coordinator"]);
    assert_eq!(refused.code, 4, "{refused:?}");
}

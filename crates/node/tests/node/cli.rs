//! The command line: what it prints and how it ends.

use serde_json::json;
use tempfile::tempdir;

use super::harness::{Node, command, run};

#[test]
fn the_life_of_an_item_by_command() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let done = |args: &[&str]| {
        let ended = node.cli(&dir, args);
        assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
        ended
    };
    let added = done(&["--json", "item", "add", "s 1", "--name", "First", "--depends-on", "s 0"]);
    assert_eq!(added.json()["name"], "First");
    assert_eq!(done(&["item", "list"]).stdout, "s 1\t1_backlog\tFirst\t\t\n", "no table without a terminal");
    assert_eq!(done(&["item", "move", "s 1", "2_current", "--json"]).json()["stage"], "2_current");
    let set = done(&["item", "set", "s 1", "blocked=true", "retry_count=3", "name=a=b", "--json"]).json();
    assert_eq!(
        (&set["blocked"], &set["retry_count"], &set["name"]),
        (&json!(true), &json!(3), &json!("a=b"))
    );
    assert_eq!(done(&["item", "claim", "s 1", "--agent", "ada", "--json"]).json()["claimed_by"], "ada");
    assert!(done(&["item", "show", "s 1"]).stdout.contains("claimed_by  ada\n"));
    assert_eq!(done(&["item", "release", "s 1", "--json"]).json()["claimed_by"], "");
    assert!(done(&["item", "history", "s 1"]).stdout.contains("\tstage = 2_current\tverified\n"));
    assert_eq!(done(&["item", "rm", "s 1", "--json"]).json(), json!({ "removed": "s 1" }));
    assert_eq!(done(&["item", "list", "--json"]).stdout, "[]\n");
    assert_eq!(done(&["status", "--json"]).json()["health"], "ok");
    assert!(done(&["status"]).stdout.starts_with("health  ok\n"));
}

#[test]
fn every_failure_has_its_exit_code_and_says_what_to_do() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    assert_eq!(node.cli(&dir, &["item", "add", "a"]).code, 0);
    assert_eq!(node.cli(&dir, &["item", "claim", "a", "--agent", "ada"]).code, 0);
    for (args, code, part) in [
        (vec!["item", "show", "nope"], 3, "no item `nope`"),
        (vec!["item", "add", "a"], 4, "already an item a"),
        (vec!["item", "claim", "a", "--agent", "bob"], 4, "claimed by ada"),
        (vec!["item", "add", ""], 2, "must not be empty"),
        (vec!["item", "set", "a", "stagee=x"], 2, "did you mean `stage`?"),
        (vec!["item", "set", "a"], 2, "FIELD=VALUE"),
        (vec!["itme", "list"], 2, "similar subcommand"),
        (vec![], 2, "Usage"),
        (vec!["watch", "--from", "x"], 2, "--from"),
    ] {
        let ended = node.cli(&dir, &args);
        assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(part), "{args:?}: {ended:?}");
    }
    let refused = node.cli(&dir, &["--json", "item", "show", "nope"]);
    let error: serde_json::Value = serde_json::from_str(&refused.stderr).unwrap();
    assert_eq!(
        (&error["code"], &error["exit"], &error["status"]),
        (&json!("unknown_item"), &json!(3), &json!(404))
    );
    let usage = run(dir.path(), &["--json", "nonsense"]);
    assert_eq!(usage.code, 2);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&usage.stderr).unwrap()["code"], "usage");
}

#[test]
fn nobody_there_is_told_with_how_to_start_one() {
    let dir = tempdir().unwrap();
    // A port that was free a moment ago.
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = run(dir.path(), &["--node", &format!("http://{addr}"), "item", "list"]);
    assert_eq!(ended.code, 6);
    assert!(ended.stderr.contains("no node runs at http://127.0.0.1:"), "{}", ended.stderr);
    assert!(ended.stderr.contains("gangline up"), "{}", ended.stderr);
    assert!(!ended.stderr.to_lowercase().contains("connection refused"), "{}", ended.stderr);
    let by_environment =
        command(dir.path(), &["status"]).env("GANGLINE_NODE", format!("http://{addr}")).output().unwrap();
    assert_eq!(by_environment.status.code(), Some(6));
    assert_eq!(run(dir.path(), &["--node", "ftp://x", "status"]).code, 2);
}

#[test]
fn a_node_that_does_not_answer_is_a_timeout() {
    let dir = tempdir().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let ended = run(dir.path(), &["--node", &url, "--timeout", "200ms", "status"]);
    assert_eq!(ended.code, 7, "{ended:?}");
}

#[test]
fn what_is_no_node_is_told() {
    let dir = tempdir().unwrap();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", other.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = other.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nhello").unwrap();
    });
    let ended = run(dir.path(), &["--node", &url, "item", "list"]);
    serving.join().unwrap();
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("does not speak as a gangline node"), "{}", ended.stderr);
}

#[test]
fn version_completions_and_help_need_no_node() {
    let dir = tempdir().unwrap();
    assert_eq!(run(dir.path(), &["version"]).stdout, format!("gangline {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(run(dir.path(), &["--version"]).code, 0);
    assert_eq!(run(dir.path(), &["version", "--json"]).json()["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish"] {
        let script = run(dir.path(), &["completions", shell]);
        assert_eq!(script.code, 0);
        assert!(script.stdout.contains("gangline"), "{shell}");
    }
    assert!(run(dir.path(), &["--help"]).stdout.contains("gangline up"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "and leave nothing behind");
}

#[test]
fn the_claim_of_a_single_agent_needs_no_name() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("gangline.toml"), "[[agent]]\nname = \"coder-1\"\n").unwrap();
    let node = Node::start(&dir);
    assert_eq!(node.cli(&dir, &["item", "add", "a"]).code, 0);
    assert_eq!(node.cli(&dir, &["item", "claim", "a", "--json"]).json()["claimed_by"], "coder-1");
    let name = run(dir.path(), &["key", "show", "--json"]).json()["name"].clone();
    assert_eq!(node.get("/api/v1/status").json()["name"], name);
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let mut child = command(dir.path(), &["--node", &node.url, "completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
}

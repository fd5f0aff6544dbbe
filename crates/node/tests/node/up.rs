//! Starting, serving and stopping.

use tempfile::tempdir;

use super::harness::{Node, Process, run};

#[test]
fn ready_lines_come_when_the_node_serves() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let port = node.addr.rsplit_once(':').unwrap().1;
    assert_ne!(port, "0");
    let [first, board, sync, data, last] = node.ready.as_slice() else { panic!("{:?}", node.ready) };
    assert!(first.starts_with(&format!("gangline {} · node ", env!("CARGO_PKG_VERSION"))), "{first}");
    assert!(first.contains("(ed25519:") && first.ends_with(')'), "{first}");
    assert_eq!(board, &format!("board   http://127.0.0.1:{port}"));
    assert_eq!(sync, &format!("sync    ws://127.0.0.1:{port}/crdt-sync"));
    assert_eq!(data, "data    ./gangline-data (SQLite)");
    assert_eq!(last, "Ctrl-C stops; nothing is lost.");
    assert_eq!(node.get("/healthz").status, 200);
    assert_eq!(node.get("/readyz").json()["ready"], true);
    node.stop();
}

#[test]
fn ready_as_json_is_one_line_and_logs_stay_on_stderr() {
    let dir = tempdir().unwrap();
    let args = ["up", "--listen", "127.0.0.1:0", "--data-dir", "./b", "--json", "--log-format", "json"];
    let mut process = Process::spawn(dir.path(), &args);
    let ready: serde_json::Value = serde_json::from_str(&process.stdout.next()).unwrap();
    assert_eq!(ready["event"], "ready");
    assert!(ready["board"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    assert!(ready["key"].as_str().unwrap().starts_with("ed25519:"));
    let log: serde_json::Value = serde_json::from_str(&process.stderr.until("ready")).unwrap();
    assert_eq!(log["event"], "ready");
    process.signal("INT");
    assert_eq!(process.ended(), 0, "Ctrl-C ends it well");
}

#[test]
fn what_was_acknowledged_is_there_after_a_stop_and_after_a_kill() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let key = run(dir.path(), &["key", "show"]).stdout;
    assert_eq!(node.post("/api/v1/items", r#"{"story_id":"a"}"#).status, 201);
    node.stop();
    let mut node = Node::start(&dir);
    assert_eq!(node.post("/api/v1/items", r#"{"story_id":"b"}"#).status, 201);
    node.process.child.kill().unwrap();
    node.process.child.wait().unwrap();
    let node = Node::start(&dir);
    let items = node.get("/api/v1/items").json();
    let ids: Vec<_> =
        items.as_array().unwrap().iter().map(|item| item["story_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(run(dir.path(), &["key", "show"]).stdout, key, "the same key, so the same author");
    assert_eq!(node.get("/api/v1/status").json()["equivocations"], serde_json::json!([]));
}

#[test]
fn a_second_process_on_one_data_directory_is_refused() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let second = run(dir.path(), &["up", "--listen", "127.0.0.1:0"]);
    assert_eq!((second.code, second.stdout.as_str()), (4, ""));
    assert!(second.stderr.contains("in use") && second.stderr.contains("--data-dir"), "{}", second.stderr);
    assert!(second.stderr.contains(&node.process.child.id().to_string()), "{}", second.stderr);
    assert_eq!(node.get("/api/v1/items").status, 200);
}

#[test]
fn a_port_in_use_is_told_with_a_way_out() {
    let (dir, other) = (tempdir().unwrap(), tempdir().unwrap());
    let node = Node::start(&dir);
    let second = run(other.path(), &["up", "--listen", &node.addr]);
    assert_eq!(second.code, 1);
    assert!(
        second.stderr.contains("--listen") && second.stderr.contains("another node"),
        "{}",
        second.stderr
    );
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_refused_with_a_remedy() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempdir().unwrap();
    Node::start(&dir).stop();
    let key = dir.path().join("gangline-data/node.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = run(dir.path(), &["up", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("chmod 600"), "{}", refused.stderr);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&key, "nonsense").unwrap();
    let refused = run(dir.path(), &["up", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("not a key file"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(&key).unwrap(), "nonsense");
}

/// A key whose log is gone would begin its chain a second time: that is the lie that peers keep evidence of.
#[test]
fn a_key_without_its_log_is_refused_with_a_remedy() {
    let dir = tempdir().unwrap();
    Node::start(&dir).stop();
    let data = dir.path().join("gangline-data");
    std::fs::remove_file(data.join("board.db")).unwrap();
    for beside in ["board.db-wal", "board.db-shm"] {
        let _ = std::fs::remove_file(data.join(beside));
    }
    let refused = run(dir.path(), &["up", "--listen", "127.0.0.1:0"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
    assert!(refused.stderr.contains("board.db") && refused.stderr.contains("node.key"), "{}", refused.stderr);
    assert!(!data.join("board.db").exists(), "a refused start makes no log");
    std::fs::remove_file(data.join("node.key")).unwrap();
    Node::start(&dir).stop();
}

#[test]
fn the_page_is_served_from_the_binary_with_its_guards() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let page = node.get("/");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("/assets/board.js"));
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'",
        "x-content-type-options: nosniff",
        "content-type: text/html",
    ] {
        assert!(page.head.contains(header), "{header} in {}", page.head);
    }
    for (file, kind) in [
        ("board.js", "text/javascript"),
        ("node.js", "text/javascript"),
        ("card.js", "text/javascript"),
        ("board.css", "text/css"),
        ("icon.svg", "image/svg+xml"),
    ] {
        let asset = node.get(&format!("/assets/{file}"));
        assert_eq!(asset.status, 200, "{file}");
        assert!(asset.head.contains(kind), "{file}");
        let tag = asset.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
        assert_eq!(node.ask("GET", &format!("/assets/{file}"), &[("if-none-match", tag)], b"").status, 304);
    }
    node.get("/assets/../Cargo.toml").refused(404, "no_such_route");
    node.get("/assets/%2e%2e%2fCargo.toml").refused(404, "no_such_route");
}

#[test]
fn connections_are_bounded_and_slow_heads_cut_off() {
    let dir = tempdir().unwrap();
    std::fs::write(
        dir.path().join("gangline.toml"),
        "[limits]\nconnections_max = 8\nheader_timeout = \"2s\"\n",
    )
    .unwrap();
    let node = Node::start(&dir);
    let mut idle: Vec<_> = (0..8).map(|_| node.connect()).collect();
    node.get("/healthz").refused(503, "too_many_connections");
    // Idle ones are closed after the head's time-out, and there is room again.
    for stream in &mut idle {
        let mut rest = Vec::new();
        std::io::Read::read_to_end(stream, &mut rest).unwrap();
    }
    assert_eq!(node.get("/healthz").status, 200);
}

#[test]
fn watchers_and_idle_connections_do_not_hold_up_a_stop() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let idle: Vec<_> = (0..50).map(|_| node.connect()).collect();
    let mut watcher = super::watch::Stream::open(&node, None);
    assert_eq!(watcher.next().event, "ready");
    node.stop();
    drop(idle);
}

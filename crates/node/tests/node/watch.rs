//! Watching: over HTTP and by command, live and resumed.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use tempfile::tempdir;

use super::harness::{Node, Process};

const ITEMS: &str = "/api/v1/items";

/// An event as it came.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: Value,
}

/// A stream of server-sent events, read line by line; what belongs to chunked encoding is passed over.
pub(crate) struct Stream(BufReader<TcpStream>);

impl Stream {
    pub(crate) fn open(node: &Node, last_id: Option<&str>) -> Self {
        Self::open_at(node, "/api/v1/watch", last_id)
    }

    pub(crate) fn open_at(node: &Node, path: &str, last_id: Option<&str>) -> Self {
        let mut stream = node.connect();
        let resume = last_id.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\n{resume}\r\n", node.addr).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        Self(reader)
    }

    pub(crate) fn next(&mut self) -> Event {
        let mut event = Event { id: String::new(), event: String::new(), data: Value::Null };
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ended");
            match line.trim_end().split_once(": ") {
                Some(("id", id)) => event.id = id.to_owned(),
                Some(("event", name)) => event.event = name.to_owned(),
                Some(("data", data)) => {
                    event.data = serde_json::from_str(data).unwrap();
                    return event;
                }
                _ => {}
            }
        }
    }
}

fn add(node: &Node, id: &str) {
    assert_eq!(node.post(ITEMS, &json!({ "story_id": id }).to_string()).status, 201);
}

#[test]
fn a_stream_is_live_and_resumes_without_gaps_also_after_a_restart() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let mut stream = Stream::open(&node, None);
    let ready = stream.next();
    assert_eq!((ready.event.as_str(), ready.id.as_str()), ("ready", "-1"));
    add(&node, "a");
    let added = stream.next();
    assert_eq!((added.event.as_str(), added.id.as_str()), ("change", "0"));
    assert_eq!((&added.data["seq"], &added.data["action"]), (&json!(0), &json!("add")));
    assert_eq!(added.data["item"], node.get("/api/v1/items/a").json());
    drop(stream);

    assert_eq!(node.patch("/api/v1/items/a", r#"{"stage":"2_current","name":"A"}"#).status, 200);
    add(&node, "b");
    let mut stream = Stream::open(&node, Some("0"));
    assert_eq!(stream.next().event, "ready");
    let missed: Vec<Event> = (0..3).map(|_| stream.next()).collect();
    let ids: Vec<&str> = missed.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["1", "2", "3"]);
    let mut fields: Vec<&str> =
        missed[..2].iter().map(|event| event.data["field"].as_str().unwrap()).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["name", "stage"]);
    assert_eq!(missed[0].data["item"]["stage"], "2_current", "the item as it is by now");
    drop(stream);

    node.stop();
    let node = Node::start(&dir);
    assert_eq!(node.ask("DELETE", "/api/v1/items/a", &[], b"").status, 204);
    let mut stream = Stream::open(&node, Some("2"));
    stream.next();
    assert_eq!(stream.next().data["story_id"], "b");
    let removed = stream.next();
    assert_eq!((&removed.data["action"], &removed.data["story_id"]), (&json!("remove"), &json!("a")));
    assert_eq!(removed.data["item"], Value::Null);
    let mut all = Stream::open_at(&node, "/api/v1/watch?from=0", None);
    all.next();
    let ids: Vec<String> = (0..5).map(|_| all.next().id).collect();
    assert_eq!(ids, ["0", "1", "2", "3", "4"]);
}

#[test]
fn positions_that_make_no_sense_are_refused_and_strange_ones_reset() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    add(&node, "a");
    node.ask("GET", "/api/v1/watch", &[("last-event-id", "x")], b"").refused(400, "bad_position");
    node.get("/api/v1/watch?from=x").refused(400, "bad_position");
    node.get("/api/v1/watch?form=1").refused(400, "unknown_parameter");
    let mut stream = Stream::open(&node, Some("77"));
    let reset = stream.next();
    assert_eq!((reset.event.as_str(), reset.id.as_str()), ("reset", "0"));
}

#[test]
fn many_changes_reach_a_watcher_that_reads_late() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let mut stream = Stream::open(&node, None);
    add(&node, "a");
    for n in 0..300 {
        assert_eq!(node.patch("/api/v1/items/a", &json!({ "retry_count": n + 1 }).to_string()).status, 200);
    }
    stream.next();
    for n in 0..301 {
        assert_eq!(stream.next().id, n.to_string());
    }
}

#[test]
fn there_is_a_bound_on_watchers() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("gangline.toml"), "[limits]\nwatchers_max = 2\n").unwrap();
    let node = Node::start(&dir);
    let mut open: Vec<Stream> = (0..2).map(|_| Stream::open(&node, None)).collect();
    for stream in &mut open {
        stream.next();
    }
    node.get("/api/v1/watch").refused(503, "too_many_watchers");
}

#[test]
fn the_command_prints_changes_comes_back_and_misses_nothing() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let addr = node.addr.clone();
    let watch = Process::spawn(dir.path(), &["--node", &node.url, "watch", "--json"]);
    watch.stderr.until("watching");
    add(&node, "a");
    let change: Value = serde_json::from_str(&watch.stdout.next()).unwrap();
    assert_eq!((&change["seq"], &change["story_id"]), (&json!(0), &json!("a")));
    node.stop();
    watch.stderr.until("trying to come back");
    let node = Node::start_with(&dir, &["--listen", &addr]);
    add(&node, "b");
    let change: Value = serde_json::from_str(&watch.stdout.next()).unwrap();
    assert_eq!((&change["seq"], &change["story_id"]), (&json!(1), &json!("b")));

    let from_start = Process::spawn(dir.path(), &["--node", &node.url, "watch", "--from", "0"]);
    assert!(from_start.stdout.next().ends_with("add a"));
    assert!(from_start.stdout.next().ends_with("add b"));
}

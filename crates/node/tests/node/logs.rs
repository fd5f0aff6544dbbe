//! Logs: appending, reading, following, verifying, over HTTP and by command.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::harness::{Node, Process, command, run};
use super::watch::Stream;

const EVENTS: &str = "/api/v1/spaces/team/pages:1/events";

fn append(node: &Node, n: u64) -> Value {
    let answer = node.post(EVENTS, &json!({ "type": "T", "payload": { "n": n } }).to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

fn events(node: &Node, query: &str) -> Vec<Value> {
    let answer = node.get(&format!("{EVENTS}{query}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json().as_array().unwrap().clone()
}

#[test]
fn events_are_appended_in_order_and_read_as_they_were_sent() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    // A log begins with its first event.
    node.get(EVENTS).refused(404, "no_such_space");
    node.get("/api/v1/spaces/team/pages:1").refused(404, "no_such_space");
    let body = r#"{"type":"ALIAS_SET","id":"one","payload":{"b":18446744073709551615,"a":[1.0,"ä"]}}"#;
    let first = node.post(EVENTS, body);
    assert_eq!(first.status, 201);
    assert!(first.body.starts_with(r#"{"seq":0,"epoch":1,"id":"one","hash":""#), "{first:?}");
    let second = append(&node, 1);
    assert_eq!((&second["seq"], second["id"].as_str().unwrap().len()), (&json!(1), 36));

    let read = node.get(EVENTS);
    assert!(read.body.contains(r#""payload":{"a":[1,"ä"],"b":18446744073709551615},"#), "{read:?}");
    let all = read.json();
    let keys: Vec<&str> = all[0].as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = ["seq", "epoch", "id", "type", "payload", "prev", "hash", "author", "holder"];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(all[0]["hash"], first.json()["hash"]);
    assert_eq!(all[1]["prev"], all[0]["hash"]);
    let key = node.get("/api/v1/status").json()["node_id"].clone();
    assert_eq!((&all[0]["author"], &all[0]["holder"]), (&key, &key));

    assert_eq!(events(&node, "?from=1")[0]["seq"], 1);
    assert_eq!(events(&node, "?limit=1").len(), 1);
    assert_eq!(events(&node, "?from=9"), Vec::<Value>::new());
    assert_eq!(events(&node, "?at_least=1").len(), 2);
    assert_eq!(events(&node, "?signatures=true")[1]["signature"].as_str().unwrap().len(), 128);
    let encoded = node.get("/api/v1/spaces/team%2Fpages%3A1/events");
    assert_eq!(encoded.body, read.body, "raw and encoded slashes name the same space");

    let space = node.get("/api/v1/spaces/team/pages:1").json();
    assert_eq!((&space["next"], &space["hash"]), (&json!(2), &all[1]["hash"]));
    assert_eq!((&space["holder"], &space["access"]), (&key, &json!("open")));
    assert_eq!(node.get("/api/v1/spaces").json(), json!([space]));
    assert_eq!(node.get("/api/v1/spaces?after=team/pages:1").json(), json!([]));
    let log = node.get("/api/v1/status").json()["log"].clone();
    assert_eq!(log, json!({ "backend": "sqlite", "registry": "store", "spaces_held": 1, "diverged": [] }));
    let metrics = node.get("/metrics").body;
    assert!(metrics.contains("gangline_log_appends_total 2\n"), "{metrics}");
    assert!(metrics.contains("gangline_log_leases_held 1\n"), "{metrics}");
}

#[test]
fn many_events_come_in_one_answer_and_more_than_the_limit_are_cut() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let large = "x".repeat(1 << 19);
    for n in 0..7 {
        let body = json!({ "type": "T", "payload": { "n": n, "x": large } }).to_string();
        assert_eq!(node.post(EVENTS, &body).status, 201);
    }
    for n in 7..1_005 {
        append(&node, n);
    }
    let seqs = |query: &str| -> Vec<u64> {
        events(&node, query).iter().map(|event| event["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!(seqs(""), (0..1_000).collect::<Vec<_>>(), "1,000 unless said otherwise");
    assert_eq!(seqs("?limit=99999"), (0..1_005).collect::<Vec<_>>());
    assert_eq!(seqs("?from=2&limit=3"), [2, 3, 4]);
    let verified = node.cli(&dir, &["log", "verify", "team/pages:1", "--json"]);
    assert_eq!((verified.code, &verified.json()["events"]), (0, &json!(1_005)), "{verified:?}");
}

#[test]
fn the_same_id_again_is_answered_with_the_first_result() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let body = r#"{"type":"T","id":"once","payload":{"a":1}}"#;
    let first = node.post(EVENTS, body);
    append(&node, 1);
    let again = node.post(EVENTS, r#"{"payload":{"a":1.0},"id":"once","type":"T"}"#);
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.body, again.body);
    for other in
        [r#"{"type":"T","id":"once","payload":{"a":2}}"#, r#"{"type":"U","id":"once","payload":{"a":1}}"#]
    {
        let refused = node.post(EVENTS, other).refused(409, "id_reused");
        assert_eq!((&refused["id"], &refused["seq"]), (&json!("once"), &json!(0)));
    }
    let elsewhere = node.post("/api/v1/spaces/other/events", r#"{"type":"T","id":"once","payload":{"a":2}}"#);
    assert_eq!(elsewhere.status, 201, "ids are a space's own");
    let nameless = br#"{"type":"T","payload":{"a":3}}"#;
    let keyed = |node: &Node| node.ask("POST", EVENTS, &[("idempotency-key", "k")], nameless);
    let (kept, asked) = (keyed(&node), keyed(&node));
    assert_eq!((kept.status, asked.status, &kept.body), (201, 201, &asked.body));
    node.stop();
    let node = Node::start(&dir);
    let after = keyed(&node);
    assert_eq!((after.status, after.body), (200, kept.body), "also when the node has forgotten the key");
    assert_eq!(node.post(EVENTS, body).status, 200, "and for good");
    assert_eq!(events(&node, "").len(), 3);
}

#[test]
fn whatever_makes_no_sense_is_refused_with_its_place() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let deep = format!("{}1{}", "{\"a\":".repeat(65), "}".repeat(65));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    let with = |payload: &str| format!(r#"{{"type":"T","payload":{payload}}}"#);
    for (body, status, code, field) in [
        (String::new(), 400, "bad_json", None),
        ("{".into(), 400, "bad_json", None),
        ("[]".into(), 422, "not_an_object", None),
        (r#"{"payload":{}}"#.into(), 422, "missing_field", Some("type")),
        (r#"{"type":"a b","payload":{}}"#.into(), 422, "bad_name", Some("type")),
        (r#"{"type":7,"payload":{}}"#.into(), 422, "wrong_type", Some("type")),
        (r#"{"type":"T","payload":{},"id":"a/b"}"#.into(), 422, "bad_name", Some("id")),
        (r#"{"type":"T","payload":{},"ids":1}"#.into(), 422, "unknown_field", Some("ids")),
        (with("7"), 422, "wrong_type", Some("payload")),
        (with(&deep), 422, "payload_refused", Some("payload")),
        (with(r#"{"a":1,"a":1}"#), 422, "payload_refused", Some("payload")),
        (with(r#"{"a":36893488147419103232}"#), 422, "payload_refused", Some("payload")),
        (with(&large), 413, "payload_too_large", Some("payload")),
        (with(&format!("{large}{}", " ".repeat(8 << 10))), 413, "body_too_large", None),
    ] {
        let refused = node.post(EVENTS, &body).refused(status, code);
        assert_eq!(refused.get("field").and_then(Value::as_str), field, "{refused}");
    }
    let fits = format!("{{\"a\":\"{}\"}}", "x".repeat((1 << 20) - 8));
    assert_eq!(node.post("/api/v1/spaces/large/events", &with(&fits)).status, 201, "1 MiB fits");
    for path in ["a%20b/events", "a%/events", "%ff", "/events"] {
        node.get(&format!("/api/v1/spaces/{path}")).refused(400, "bad_space");
    }
    for query in ["?from=x", "?limit=0", "?follow=maybe", "?at_least=-1"] {
        node.get(&format!("{EVENTS}{query}")).refused(400, "bad_parameter");
    }
    node.get(&format!("{EVENTS}?form=1")).refused(400, "unknown_parameter");
    node.post(&format!("{EVENTS}?durable=2"), &with("{}")).refused(400, "unknown_parameter");
    node.get(&format!("{EVENTS}?at_least=0")).refused(503, "not_there_yet");
    node.ask("PUT", EVENTS, &[], b"").refused(405, "method_not_allowed");
    let refused = node.ask("DELETE", EVENTS, &[], b"");
    refused.refused(405, "method_not_allowed");
    assert!(refused.head.contains("allow: get,head,post"), "{refused:?}");
    // Nothing was written.
    node.get(EVENTS).refused(404, "no_such_space");
}

#[test]
fn a_follower_is_live_and_resumes_without_gaps_also_after_a_restart() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let follow = format!("{EVENTS}?follow=true");
    let mut stream = Stream::open_at(&node, &follow, None);
    let ready = stream.next();
    assert_eq!((ready.event.as_str(), ready.id.as_str()), ("ready", "-1"));
    assert_eq!(ready.data["incarnation"], Value::Null);
    append(&node, 0);
    let event = stream.next();
    assert_eq!((event.event.as_str(), event.id.as_str()), ("event", "0"));
    assert_eq!(event.data, events(&node, "")[0]);
    drop(stream);
    append(&node, 1);
    append(&node, 2);
    node.stop();

    let node = Node::start(&dir);
    let mut stream = Stream::open_at(&node, &follow, Some("0"));
    let ready = stream.next();
    assert_eq!((ready.event.as_str(), ready.id.as_str()), ("ready", "0"));
    append(&node, 3);
    let ids: Vec<String> = (0..3).map(|_| stream.next().id).collect();
    assert_eq!(ids, ["1", "2", "3"]);
    let mut reset = Stream::open_at(&node, &follow, Some("9"));
    assert_eq!(reset.next().event, "reset", "that is of another log");
    node.ask("GET", &follow, &[("last-event-id", "x")], b"").refused(400, "bad_position");
    node.stop();
}

#[test]
fn followers_are_bounded_as_watchers_are() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("gangline.toml"), "[limits]\nwatchers_max = 1\n").unwrap();
    let node = Node::start(&dir);
    let mut stream = Stream::open_at(&node, &format!("{EVENTS}?follow"), None);
    stream.next();
    node.get(&format!("{EVENTS}?follow")).refused(503, "too_many_watchers");
}

#[test]
fn the_life_of_a_log_by_command() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let done = |args: &[&str]| {
        let ended = node.cli(&dir, args);
        assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
        ended
    };
    let appended = done(&["log", "append", "s", "ALIAS_SET", r#"{"target":"x:2","alias":"2"}"#, "--id", "a"]);
    assert!(appended.stdout.starts_with("seq     0\nepoch   1\nid      a\nhash    "), "{appended:?}");
    let again = done(&["log", "append", "s", "ALIAS_SET", r#"{"alias":"2","target":"x:2"}"#, "--id", "a"]);
    assert_eq!(again.stdout, appended.stdout);
    let mut child = command(dir.path(), &["--node", &node.url, "--json", "log", "append", "s", "T", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(br#"{"big":18446744073709551615}"#).unwrap();
    let piped = child.wait_with_output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&piped.stdout).unwrap()["seq"], 1);
    assert_eq!(
        done(&["log", "read", "s"]).stdout,
        "     0  ALIAS_SET  {\"alias\":\"2\",\"target\":\"x:2\"}\n     1  T  {\"big\":18446744073709551615}\n"
    );
    let lines = done(&["log", "read", "s", "--from", "1", "--limit", "5", "--json"]).stdout;
    assert_eq!(serde_json::from_str::<Value>(&lines).unwrap()["seq"], 1, "one event per line");
    let name = node.get("/api/v1/status").json()["name"].as_str().unwrap().to_owned();
    assert_eq!(done(&["log", "spaces"]).stdout, format!("s\t2\t1\t{name}\t\n"));
    assert!(done(&["log", "verify", "s"]).stdout.starts_with("s: 2 events, in order, signed, and as they"));
    assert!(done(&["status"]).stdout.contains("logs    sqlite, 1 space held\n"));
    for (args, code, part) in [
        (
            vec!["log", "append", "s", "ALIAS_SET", "{}", "--id", "a"],
            4,
            "was used for other content, at event 0",
        ),
        (vec!["log", "append", "s", "T", "[]"], 2, "has to be an object"),
        (vec!["log", "append", "s", "T", "{"], 2, "not JSON"),
        (vec!["log", "append", "a b", "T", "{}"], 2, "the name of a space"),
        (vec!["log", "append", "s", "T", "{}", "--id", "a b"], 2, "the id of an intent"),
        (vec!["log", "verify", "nope"], 3, "no space `nope`"),
        (vec!["log", "verify", "s", "--data-dir", "nowhere"], 3, "there is no nowhere/log.db"),
    ] {
        let ended = node.cli(&dir, &args);
        assert_eq!(ended.code, code, "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(part), "{args:?}: {ended:?}");
    }
}

#[test]
fn a_followed_log_comes_back_and_misses_nothing() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let addr = node.addr.clone();
    append(&node, 0);
    let follow = ["--node", &node.url, "--json", "log", "read", "team/pages:1", "--follow", "--limit", "3"];
    let mut follower = Process::spawn(dir.path(), &follow);
    let seq =
        |follower: &Process| serde_json::from_str::<Value>(&follower.stdout.next()).unwrap()["seq"].clone();
    assert_eq!(seq(&follower), 0);
    node.stop();
    follower.stderr.until("trying to come back");
    let node = Node::start_with(&dir, &["--listen", &addr]);
    append(&node, 1);
    append(&node, 2);
    assert_eq!((seq(&follower), seq(&follower)), (json!(1), json!(2)));
    assert_eq!(follower.ended(), 0, "it was asked for three");
}

#[test]
fn an_append_asks_again_until_the_node_is_back() {
    let dir = tempdir().unwrap();
    // Takes the request and says nothing: whether the event landed is open.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    let url = format!("http://{addr}");
    let args = ["--node", &url, "--json", "log", "append", "team/pages:1", "T", "{}", "--id", "once"];
    let mut asking = Process::spawn(dir.path(), &args);
    let (stream, _) = silent.accept().unwrap();
    drop(silent);
    let node = Node::start_with(&dir, &["--listen", &addr]);
    drop(stream);
    assert_eq!(serde_json::from_str::<Value>(&asking.stdout.next()).unwrap()["id"], "once");
    assert_eq!(asking.ended(), 0);
    assert_eq!(events(&node, "").len(), 1);
    node.stop();
    let silent = std::net::TcpListener::bind(&addr).unwrap();
    let ended = run(dir.path(), &[&args[..], &["--timeout", "400ms"]].concat());
    drop(silent);
    assert_eq!(ended.code, 7, "{ended:?}");
    assert!(ended.stderr.contains("--id once"), "{ended:?}");
}

#[test]
fn a_log_is_verified_on_a_stopped_node_and_a_flipped_byte_is_found() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    for n in 0..5 {
        append(&node, 1_000 + n);
    }
    node.stop();
    let verify =
        |dir: &TempDir| run(dir.path(), &["log", "verify", "team/pages:1", "--data-dir", "gangline-data"]);
    let good = verify(&dir);
    assert_eq!(good.code, 0, "{good:?}");
    assert!(good.stdout.starts_with("team/pages:1: 5 events, in order"), "{good:?}");

    let file = dir.path().join("gangline-data/log.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let needle = br#"{"n":1003}"#;
    let at = bytes.windows(needle.len()).position(|window| window == needle).expect("the event's payload");
    bytes[at + 8] = b'9';
    std::fs::write(&file, &bytes).unwrap();
    let bad = verify(&dir);
    assert_eq!((bad.code, bad.stdout.as_str()), (5, ""), "{bad:?}");
    assert!(bad.stderr.contains("event 3 of space team/pages:1"), "{bad:?}");

    let node = Node::start(&dir);
    assert_eq!(events(&node, "?limit=3").len(), 3, "what is before it can be read");
    node.get(&format!("{EVENTS}?from=3")).refused(500, "log_damaged");
    let bad = node.cli(&dir, &["log", "verify", "team/pages:1"]);
    assert_eq!(bad.code, 5, "{bad:?}");
    assert!(bad.stderr.contains("event 3"), "{bad:?}");
}

//! Many connections, idle, slow or too many, and requests that are too large.

use std::io::{Read, Write};
use std::net::TcpStream;

use gangline_tests::feed::Feed;
use gangline_tests::http::PATIENCE;
use gangline_tests::node::{Node, Plan};
use gangline_tests::observe::{memory_bytes, status, wait_for_one_history};
use gangline_tests::websocket;
use serde_json::json;

use crate::Team;
use crate::board::{add, find, ids};

const CONNECTIONS: usize = 300;
/// What an idle connection may cost at most. What it does cost is printed.
const BYTES_PER_CONNECTION_MAX: u64 = 64 << 10;

/// What each request by hand says.
const HEAD: &str = "host: localhost\r\nconnection: close\r\n";

#[test]
fn a_node_works_among_300_idle_connections() {
    let team = Team::new();
    let alice = team.plan("alice").start().unwrap();
    add(&alice, "before");
    // What a node needs for its first connections is not theirs.
    let first: Vec<_> = (0..8).map(|_| websocket::connect(alice.address()).unwrap()).collect();
    let memory = memory_bytes(&alice).unwrap();
    let mut idle: Vec<_> = (0..CONNECTIONS).map(|_| websocket::connect(alice.address()).unwrap()).collect();
    for (_, receiver) in &mut idle {
        // Each gets its bulk, so each session has begun.
        receiver.next_message().unwrap();
    }
    let each = memory_bytes(&alice).unwrap().saturating_sub(memory) / CONNECTIONS as u64;
    eprintln!("an idle connection costs {each} bytes");
    assert!(each < BYTES_PER_CONNECTION_MAX, "{each} bytes");

    let bob = team.plan("bob").peer(&alice).start().unwrap();
    add(&bob, "from-bob");
    alice.wait_for_items(|items| find(items, "from-bob").is_some()).unwrap();
    add(&alice, "from-alice");
    bob.wait_for_items(|items| find(items, "from-alice").is_some()).unwrap();
    wait_for_one_history(&[&alice, &bob]).unwrap();
    // The idle ones have heard of it as well.
    for (_, receiver) in &mut idle {
        receiver.next_message().unwrap();
        receiver.next_message().unwrap();
    }
    assert_eq!(status(&alice).unwrap()["peers"].as_array().unwrap().len(), 8 + CONNECTIONS + 1);
    drop((first, idle));
    add(&bob, "afterwards");
    alice.wait_for_items(|items| find(items, "afterwards").is_some()).unwrap();
}

#[test]
fn bodies_that_are_too_large_or_too_deep_are_refused() {
    let team = Team::new();
    let alice = team.plan("alice").start().unwrap();
    add(&alice, "before");
    let memory = memory_bytes(&alice).unwrap();

    let send = |method: &str, path: &str, body: &str| {
        let length = body.len();
        talk(
            &alice,
            &format!("{method} /api/v1/{path} HTTP/1.1\r\n{HEAD}content-length: {length}\r\n\r\n{body}"),
        )
    };
    let answer = send("POST", "items", &format!("{{\"story_id\":\"{}\"}}", "x".repeat(64 << 20)));
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("body_too_large"), "{answer}");
    let chunks = format!("100000\r\n{}\r\n", "x".repeat(1 << 20)).repeat(64);
    let chunked =
        format!("POST /api/v1/items HTTP/1.1\r\n{HEAD}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    let answer = talk(&alice, &chunked);
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("body_too_large"), "{answer}");

    let closed = "[".repeat(200_000) + &"]".repeat(200_000);
    for deep in ["[".repeat(200_000), r#"{"a":"#.repeat(200_000), closed] {
        for (method, path) in [("POST", "items"), ("PATCH", "items/before"), ("POST", "items/before/claim")] {
            let answer = send(method, path, &deep);
            assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("bad_json"), "{answer}");
        }
    }
    assert_eq!(ids(&alice.items().unwrap()), ["before"]);
    let growth = memory_bytes(&alice).unwrap().saturating_sub(memory);
    assert!(growth < 64 << 20, "{growth} bytes more");
}

#[test]
fn slow_clients_are_hung_up_on() {
    let team = Team::new();
    let plan = limited(&team, "header_timeout = \"1s\"\nbody_timeout = \"1s\"");
    let alice = plan.start().unwrap();
    let slow: Vec<TcpStream> = (0..50).map(|_| connect(&alice)).collect();
    for mut stream in &slow {
        stream.write_all(b"GET /api/v1/items HTTP/1.1\r\nhost: loc").unwrap();
    }
    for mut stream in slow {
        let mut said = String::new();
        // However it ends, it ends, and nothing was answered but a refusal.
        let _ = stream.read_to_string(&mut said);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{said}");
    }
    let head = "POST /api/v1/items HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{\"story_id\":";
    let answer = talk(&alice, head);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    add(&alice, "after");
}

#[test]
fn too_many_connections_are_told_so() {
    let team = Team::new();
    let alice = limited(&team, "connections_max = 8\nsessions_max = 3\nwatchers_max = 2").start().unwrap();
    let sessions: Vec<_> = (0..3).map(|_| websocket::connect(alice.address()).unwrap()).collect();
    let refused = websocket::connect(alice.address()).unwrap_err().to_string();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let feeds: Vec<_> = (0..2).map(|_| Feed::open(alice.address(), "/api/v1/watch").unwrap()).collect();
    let answer = alice.request("GET", "/api/v1/watch", None).unwrap();
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("too_many_watchers")));

    // Sessions have left HTTP and the watchers hold two connections, so six more fit, once those that were
    // refused are gone.
    let mut held: Vec<TcpStream> = Vec::new();
    let mut refusals = 0;
    while held.len() < 6 || refusals == 0 {
        let mut stream = connect(&alice);
        // The node may have answered and hung up before it is asked.
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        if start.starts_with(b"HTTP/1.1 503") {
            refusals += 1;
            assert!(refusals < 10_000, "only {} connections fit", held.len());
        } else {
            held.push(stream);
        }
    }
    assert_eq!(held.len(), 6);

    // Who was let in can work, and whoever goes makes room.
    let mut one = held.pop().unwrap();
    one.write_all(format!("GET /api/v1/items HTTP/1.1\r\n{HEAD}\r\n").as_bytes()).unwrap();
    let mut said = String::new();
    one.read_to_string(&mut said).unwrap();
    assert!(said.contains("200 OK") && said.ends_with("[]"), "{said}");
    drop((one, held, feeds, sessions));
    let answers = || alice.request("GET", "/healthz", None).is_ok_and(|answer| answer.status == 200);
    assert!((0..10_000).any(|_| answers()));
}

/// A node with these `[limits]`.
fn limited(team: &Team, limits: &str) -> Plan {
    let path = team.folder.path().join("limits.toml");
    std::fs::write(&path, format!("[limits]\n{limits}\n")).unwrap();
    team.plan("alice").args(&["--config", path.to_str().unwrap()])
}

fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes as they are, and returns all that comes back.
fn talk(node: &Node, bytes: &str) -> String {
    let mut stream = connect(node);
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

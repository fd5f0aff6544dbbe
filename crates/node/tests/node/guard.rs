//! Who may use the node's HTTP: Host and Origin on loopback, tokens elsewhere.

use std::fs;

use tempfile::tempdir;

use super::harness::{Node, run};

const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const ITEMS: &str = "/api/v1/items";

#[test]
fn on_loopback_foreign_hosts_and_origins_are_refused() {
    let dir = tempdir().unwrap();
    let node = Node::start(&dir);
    let own = node.url.clone();
    let port = node.addr.rsplit_once(':').unwrap().1.to_owned();
    for host in [node.addr.clone(), "localhost".into(), format!("localhost:{port}"), format!("[::1]:{port}")]
    {
        assert_eq!(node.ask("GET", ITEMS, &[("host", &host)], b"").status, 200, "{host}");
    }
    for host in ["evil.example", "evil.example:3001", "10.0.0.1", ""] {
        node.ask("GET", ITEMS, &[("host", host)], b"").refused(403, "host_refused");
        node.ask("GET", "/crdt-sync", &[("host", host)], b"").refused(403, "host_refused");
        node.ask("GET", "/", &[("host", host)], b"").refused(403, "host_refused");
    }
    assert_eq!(node.ask("POST", ITEMS, &[("origin", &own)], br#"{"story_id":"a"}"#).status, 201);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        node.ask("POST", ITEMS, &[("origin", origin)], br#"{"story_id":"b"}"#).refused(403, "origin_refused");
        node.ask("GET", "/crdt-sync", &[("origin", origin)], b"").refused(403, "origin_refused");
        node.ask("GET", "/api/v1/watch", &[("origin", origin)], b"").refused(403, "origin_refused");
    }
    assert_eq!(node.get(ITEMS).json().as_array().unwrap().len(), 1);
    node.get("/crdt-sync").refused(426, "upgrade_required");
}

#[test]
fn off_loopback_every_route_but_the_probes_wants_a_token() {
    let dir = tempdir().unwrap();
    let text = format!("listen = \"0.0.0.0:0\"\n[trust]\nalice = \"ed25519:{KEY}\"\n");
    fs::write(dir.path().join("gangline.toml"), text).unwrap();
    let node = Node::start_with(&dir, &[]);
    assert_eq!(node.get("/healthz").status, 200);
    assert_eq!(node.get("/readyz").status, 200);
    for path in ["/", ITEMS, "/api/v1/status", "/api/v1/watch", "/metrics", "/assets/board.js", "/nothing"] {
        let refused = node.get(path);
        refused.refused(401, "token_missing");
        assert!(refused.head.contains("www-authenticate: bearer"), "{}", refused.head);
    }
    let bearer = |token: &str| format!("Bearer {token}");
    node.ask("GET", ITEMS, &[("authorization", &bearer("nonsense"))], b"").refused(401, "token_unknown");

    let made = run(dir.path(), &["key", "token", "ci"]);
    assert_eq!(made.code, 0, "{made:?}");
    let token = made.stdout.trim().to_owned();
    let read = run(dir.path(), &["key", "token", "wall", "--read", "--json"]).json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(run(dir.path(), &["key", "token", "ci"]).code, 4, "names are taken once");
    let stored = fs::read_to_string(dir.path().join("gangline-data/tokens.json")).unwrap();
    assert!(!stored.contains(&token) && !stored.contains(&read), "only hashes are kept");

    let body = br#"{"story_id":"a"}"#;
    assert_eq!(node.ask("POST", ITEMS, &[("authorization", &bearer(&token))], body).status, 201);
    assert_eq!(node.ask("GET", ITEMS, &[("authorization", &bearer(&read))], b"").status, 200);
    node.ask("POST", ITEMS, &[("authorization", &bearer(&read))], body).refused(403, "read_only_token");
    let foreign = [("authorization", bearer(&token)), ("origin", "http://evil.example".into())];
    let foreign: Vec<(&str, &str)> = foreign.iter().map(|(name, value)| (*name, value.as_str())).collect();
    node.ask("GET", ITEMS, &foreign, b"").refused(403, "origin_refused");

    assert_eq!(node.cli(&dir, &["item", "list"]).code, 5, "refused");
    assert_eq!(node.cli(&dir, &["--token", &token, "item", "list"]).code, 0);
    assert_eq!(run(dir.path(), &["key", "revoke", "ci"]).code, 0);
    node.ask("GET", ITEMS, &[("authorization", &bearer(&token))], b"").refused(401, "token_unknown");
    assert_eq!(run(dir.path(), &["key", "revoke", "ci"]).code, 3);
}

#[test]
fn a_person_is_asked_for_a_token_once() {
    let dir = tempdir().unwrap();
    let text = format!("listen = \"0.0.0.0:0\"\n[trust]\nalice = \"ed25519:{KEY}\"\n");
    fs::write(dir.path().join("gangline.toml"), text).unwrap();
    let node = Node::start_with(&dir, &[]);
    let form = node.ask("GET", "/", &[("accept", "text/html")], b"");
    assert_eq!(form.status, 401);
    assert!(form.body.contains("<form") && form.head.contains("style-src 'sha256-"), "{form:?}");
    let wrong = node.post("/api/v1/session", "token=nonsense");
    assert_eq!(wrong.status, 401);
    assert!(wrong.body.contains("does not know"));
    let token = run(dir.path(), &["key", "token", "me"]).stdout.trim().to_owned();
    let entered = node.post("/api/v1/session", &format!("token={token}"));
    assert_eq!(entered.status, 303);
    let cookie = entered.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("httponly") && cookie.contains("samesite=strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(node.ask("GET", "/", &[("cookie", cookie)], b"").status, 200);
}

#[test]
fn off_loopback_sessions_that_cannot_prove_a_key_are_refused_unless_allowed() {
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (allow, status) in [("", 403), ("allow_v1 = true\n", 101)] {
        let dir = tempdir().unwrap();
        let text = format!("listen = \"0.0.0.0:0\"\n[trust]\nalice = \"ed25519:{KEY}\"\n{allow}");
        fs::write(dir.path().join("gangline.toml"), text).unwrap();
        let node = Node::start_with(&dir, &[]);
        let mut head = format!("GET /crdt-sync HTTP/1.1\r\nhost: {}\r\n", node.addr);
        for (name, value) in upgrade {
            head += &format!("{name}: {value}\r\n");
        }
        let mut stream = node.connect();
        std::io::Write::write_all(&mut stream, format!("{head}\r\n").as_bytes()).unwrap();
        let mut start = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut start).unwrap();
        assert_eq!(start, *format!("HTTP/1.1 {status}").as_bytes(), "allow: {allow:?}");
    }
}

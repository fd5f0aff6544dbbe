//! Invitations, keys that are trusted and revoked, and certificates.

use std::fs;

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use super::harness::{Ended, Node, command, run, until};
use super::watch::Stream;

const PREFIX: &str = "gangline-ticket:";
const LOOPBACK: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// A directory with these settings.
fn with(text: &str) -> TempDir {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("gangline.toml"), text).unwrap();
    dir
}

fn ok(dir: &TempDir, args: &[&str]) -> Ended {
    let ended = run(dir.path(), args);
    assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
    ended
}

/// A ticket of the node in `dir`.
fn invite(dir: &TempDir, args: &[&str]) -> String {
    let args: Vec<&str> = ["invite"].iter().chain(args).copied().collect();
    let ticket = ok(dir, &args).stdout.trim().to_owned();
    assert!(ticket.starts_with(PREFIX) && !ticket.contains('\n'), "{ticket}");
    ticket
}

#[track_caller]
fn refused(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{ended:?}");
    for part in parts {
        assert!(ended.stderr.contains(part), "{part:?} in {}", ended.stderr);
    }
}

fn key_of(dir: &TempDir) -> String {
    ok(dir, &["key", "show", "--json"]).json()["key"].as_str().unwrap().to_owned()
}

#[test]
fn an_invited_node_joins_over_tls_and_what_it_may_changes_while_both_run() {
    let (alice_dir, bob_dir) =
        (with("listen = \"127.0.0.1:0\"\n[tls]\nself_signed = true\n"), tempdir().unwrap());
    let alice = Node::start_with(&alice_dir, &[]);
    let port = alice.addr.rsplit_once(':').unwrap().1;
    assert_eq!(alice.ready[1], format!("board   https://127.0.0.1:{port}"));
    assert_eq!(alice.ready[2], format!("sync    wss://127.0.0.1:{port}/crdt-sync"));
    let pin = alice.ready[3].strip_prefix("pin     sha256=").unwrap();
    assert_eq!(pin.len(), 64);
    assert_eq!(alice.cli(&alice_dir, &["item", "add", "early"]).code, 0, "the command line speaks https too");

    let url = format!("wss://{}/crdt-sync", alice.addr);
    let told = ok(&alice_dir, &["invite", "--name", "bob", "--url", &url, "--json"]).json();
    alice.process.stderr.until("trust has changed");
    assert_eq!(told["pin"], format!("sha256={pin}"));
    assert_eq!(told["may"], serde_json::json!(["connect", "read", "write"]));
    let joined = ok(&bob_dir, &["join", told["ticket"].as_str().unwrap(), "--json"]).json();
    assert_eq!(joined["joined"], key_of(&alice_dir));
    assert_eq!(joined["urls"][0], format!("{url}#sha256={pin}"));
    assert_eq!(joined["key"], key_of(&bob_dir));

    let bob = Node::start_with(&bob_dir, &LOOPBACK);
    let mut at_bob = Stream::open(&bob, Some("-1"));
    while at_bob.next().data["story_id"] != "early" {}
    let status = bob.get("/api/v1/status").json();
    assert_eq!(status["peers"][0]["url"], alice.sync_url());

    // Bob has shown by which ticket he came, so alice knows him, and the ticket is used up.
    assert_eq!(bob.post("/api/v1/items", r#"{"story_id":"bobs"}"#).status, 201);
    let items = || alice.cli(&alice_dir, &["item", "list", "--json"]).stdout;
    until("bob's item", || items().contains("bobs"));
    let shown = ok(&alice_dir, &["key", "show", "--json"]).json();
    assert_eq!(shown["trusted"][0]["key"], key_of(&bob_dir));
    assert_eq!(shown["trusted"][0]["name"], "bob");
    assert_eq!(shown["revoked"], serde_json::json!([told["key"]]));
    let listed = alice.cli(&alice_dir, &["status", "--json"]).json();
    assert_eq!(listed["peers"][0]["name"], "bob");
    let carol_dir = tempdir().unwrap();
    ok(&carol_dir, &["join", told["ticket"].as_str().unwrap()]);
    let carol = Node::start_with(&carol_dir, &LOOPBACK);
    let reason = || carol.get("/api/v1/status").json()["peers"][0]["reason"].to_string();
    until("the refusal", || reason().contains("is not trusted here"));
    carol.stop();

    alice.process.stderr.until("trust has changed");
    ok(&alice_dir, &["key", "revoke", "bob"]);
    alice.process.stderr.until("trust has changed");
    assert_eq!(bob.post("/api/v1/items", r#"{"story_id":"late"}"#).status, 201);
    bob.stop();
    let bob = Node::start_with(&bob_dir, &LOOPBACK);
    let reason = || bob.get("/api/v1/status").json()["peers"][0]["reason"].to_string();
    until("the refusal", || reason().contains("was revoked, for good"));
    assert!(!items().contains("late") && items().contains("bobs"), "what was let in stays");
    refused(&run(alice_dir.path(), &["key", "trust", &key_of(&bob_dir), "bob"]), 4, &["revoked, for good"]);
    #[cfg(unix)]
    for file in ["grants", "tls.pem", "node.key"] {
        use std::os::unix::fs::PermissionsExt;
        let metadata = fs::metadata(alice_dir.path().join("gangline-data").join(file)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }
    bob.stop();
    alice.stop();
}

#[test]
fn a_certificate_that_is_not_the_pinned_one_is_refused_and_says_why() {
    let (alice_dir, bob_dir) =
        (with("listen = \"127.0.0.1:0\"\n[tls]\nself_signed = true\n"), tempdir().unwrap());
    let alice = Node::start_with(&alice_dir, &[]);
    let wrong = "5e".repeat(32);
    let ticket = invite(&alice_dir, &["--url", &format!("wss://{}/crdt-sync#sha256={wrong}", alice.addr)]);
    ok(&bob_dir, &["join", &ticket]);
    let bob = Node::start_with(&bob_dir, &LOOPBACK);
    let reason = || bob.get("/api/v1/status").json()["peers"][0]["reason"].to_string();
    until("the refusal", || reason().contains("another machine answers"));
    assert!(reason().contains(&wrong) && reason().contains("gangline invite"), "{}", reason());

    let at =
        |pin: &str| run(alice_dir.path(), &["--node", &format!("https://{}{pin}", alice.addr), "status"]);
    refused(&at(&format!("#sha256={wrong}")), 5, &["another machine answers"]);
    assert_eq!(at("").code, if at("").stderr.contains("no certificate authorities") { 6 } else { 5 });
    let plain = run(alice_dir.path(), &["--node", &format!("http://{}", alice.addr), "status"]);
    assert_eq!(plain.code, 6, "{plain:?}");
}

#[test]
fn tickets_that_are_mistyped_forged_or_too_old_are_told_apart() {
    let (alice, bob) = (tempdir().unwrap(), tempdir().unwrap());
    let ticket = invite(&alice, &["--url", "ws://127.0.0.1:9/crdt-sync", "--name", "bob"]);
    let join = |ticket: &str| run(bob.path(), &["join", ticket]);
    refused(&join(&ticket[..ticket.len() - 1]), 2, &["was not copied whole"]);
    refused(&join("ws://127.0.0.1:9/crdt-sync"), 2, &["a ticket begins with gangline-ticket:"]);

    let bytes = BASE64URL_NOPAD.decode(&ticket.as_bytes()[PREFIX.len()..]).unwrap();
    let mut body = bytes[..bytes.len() - 4].to_vec();
    // The last byte before the signature belongs to what alice has signed.
    let at = body.len() - 65;
    body[at] ^= 1;
    let checksum = crc32fast::hash(&body).to_le_bytes();
    body.extend(checksum);
    let forged = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&body));
    refused(&join(&forged), 5, &["forged", "do not use it"]);

    let short = invite(&alice, &["--url", "ws://127.0.0.1:9/crdt-sync", "--expires", "1ms"]);
    refused(&join(&short), 5, &["the ticket expired at", "gangline invite"]);
    let as_json = run(bob.path(), &["join", &short, "--json"]);
    let error: Value = serde_json::from_str(&as_json.stderr).unwrap();
    assert_eq!((error["code"].as_str(), error["exit"].as_u64()), (Some("ticket_expired"), Some(5)));
    assert!(!bob.path().join("gangline-data").exists(), "a refusal leaves nothing behind");
    refused(&run(alice.path(), &["join", &ticket]), 4, &["this node gave the ticket itself"]);
    refused(&run(alice.path(), &["invite", "--expires", "soon", "--url", "ws://a"]), 2, &["--expires"]);
}

#[test]
fn joining_waits_for_no_running_node_and_inviting_needs_an_address() {
    let (alice, bob) = (tempdir().unwrap(), tempdir().unwrap());
    let node = Node::start(&bob);
    let ticket = invite(&alice, &[]);
    refused(&run(bob.path(), &["join", &ticket]), 4, &["in use", "stop the node"]);
    node.stop();
    ok(&bob, &["join", &ticket]);
    ok(&bob, &["join", &ticket]);
    let everywhere = with("listen = \"0.0.0.0:3001\"\n");
    refused(&run(everywhere.path(), &["invite"]), 2, &["0.0.0.0:3001", "--url wss://"]);
    assert!(!everywhere.path().join("gangline-data").exists());
}

/// Nothing is open off loopback, but an invitation is as good as a list.
#[test]
fn who_was_invited_is_a_trust_list() {
    let dir = with("listen = \"0.0.0.0:0\"\n");
    refused(&run(dir.path(), &["up"]), 9, &["gangline invite", "[trust]"]);
    refused(&run(dir.path(), &["config", "check"]), 9, &["gangline invite"]);
    invite(&dir, &["--url", "ws://127.0.0.1:9/crdt-sync"]);
    ok(&dir, &["config", "check"]);
    let node = Node::start_with(&dir, &[]);
    node.get("/api/v1/items").refused(401, "token_missing");
    assert_eq!(ok(&dir, &["key", "show", "--json"]).json()["open"], false);
    node.stop();
    let grants = dir.path().join("gangline-data/grants");
    let text = fs::read_to_string(&grants).unwrap();
    fs::write(&grants, &text[..text.len() - 2]).unwrap();
    refused(&run(dir.path(), &["up"]), 1, &["grants", "is damaged", "move it away"]);
    refused(&run(dir.path(), &["key", "show"]), 1, &["is damaged"]);
    assert_eq!(fs::read_to_string(&grants).unwrap().len(), text.len() - 2);
}

#[test]
fn keys_and_tokens_are_revoked_by_name() {
    let (alice, bob) = (tempdir().unwrap(), tempdir().unwrap());
    Node::start(&alice).stop();
    Node::start(&bob).stop();
    let key = key_of(&bob);
    let own = key_of(&alice);
    ok(&alice, &["key", "trust", &key, "bob", "--read-only"]);
    ok(&alice, &["key", "token", "ci"]);
    let shown = ok(&alice, &["key", "show"]).stdout;
    assert!(shown.contains(&format!("trusted bob {key} may connect, read\n")), "{shown}");
    assert!(shown.contains("token ci"), "{shown}");
    ok(&alice, &["key", "token", "bob"]);
    refused(&run(alice.path(), &["key", "revoke", "bob"]), 4, &["and a token", &key]);
    refused(&run(alice.path(), &["key", "revoke", &own]), 2, &["its own key"]);
    refused(&run(alice.path(), &["key", "trust", &own, "me"]), 2, &["own key"]);
    refused(&run(alice.path(), &["key", "trust", "12", "me"]), 2, &["not a public key"]);
    refused(&run(alice.path(), &["key", "trust", &key, &"x".repeat(65)]), 2, &["64"]);
    refused(&run(alice.path(), &["key", "revoke", "nobody"]), 3, &["nobody"]);
    ok(&alice, &["key", "revoke", &key]);
    ok(&alice, &["key", "revoke", "bob"]);
    ok(&alice, &["key", "revoke", "ci"]);
    let shown = ok(&alice, &["key", "show"]).stdout;
    assert!(shown.contains(&format!("revoked {key}\n")) && !shown.contains("token"), "{shown}");
    let output = command(alice.path(), &["key", "revoke", "bob"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
}

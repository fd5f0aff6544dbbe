//! Settings: files, flags and the environment, and what is refused.

use std::fs;

use serde_json::json;
use tempfile::{TempDir, tempdir};

use super::harness::{Node, command, run};

fn with(text: &str) -> TempDir {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("gangline.toml"), text).unwrap();
    dir
}

#[test]
fn mistakes_have_a_place_a_suggestion_and_exit_code_9() {
    for (text, parts) in [
        (
            "\nlistne = \"127.0.0.1:1\"\n",
            vec!["gangline.toml:2", "unknown key `listne`", "did you mean `listen`?"],
        ),
        ("[limits]\nbody_bytes = 1\n", vec!["gangline.toml:2", "limits.body_bytes_max"]),
        ("listen = 3001\n", vec!["gangline.toml:1", "a string"]),
        ("listen = \n", vec!["gangline.toml:1"]),
        (
            "[lease]\nttl = \"500ms\"\n",
            vec!["gangline.toml:2", "`lease.ttl` = \"500ms\" is not safe", "ttl = \"10s\""],
        ),
        (
            "[[reconcile]]\nname = \"x\"\ndatabase = \"postgres://app:hunter2@db/x\"\n",
            vec!["gangline.toml:3", "postgres://app:***@db/x", "no PostgreSQL", "\"x\": root: is missing"],
        ),
        ("[tls]\n", vec!["gangline.toml:1", "`tls` names no certificate", "self_signed = true"]),
        ("[log_store]\nbackend = \"sqlit\"\n", vec!["gangline.toml:2", "did you mean \"sqlite\"?"]),
        ("rendezvous = \"http://a/crdt-sync\"\n", vec!["gangline.toml:1", "did you mean ws://a/crdt-sync?"]),
    ] {
        let dir = with(text);
        for args in [&["config", "check"][..], &["up"][..], &["config", "show"][..]] {
            let ended = run(dir.path(), args);
            assert_eq!((ended.code, ended.stdout.as_str()), (9, ""), "{args:?} {text:?}: {ended:?}");
            for part in &parts {
                assert!(ended.stderr.contains(part), "{part:?} in {}", ended.stderr);
            }
        }
        assert!(!dir.path().join("gangline-data").exists(), "a refusal leaves nothing behind");
    }
    let dir = with("a = 1\nb = 2\n");
    let ended = run(dir.path(), &["config", "check", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&ended.stderr).unwrap();
    assert_eq!(error["mistakes"].as_array().unwrap().len(), 2);
    assert_eq!(error["mistakes"][1]["place"], "gangline.toml:2");
}

#[test]
fn the_origin_of_every_value_is_told() {
    let dir = with("rendezvous = \"ws://remote:3001/crdt-sync\"\n\n[[agent]]\nname = \"coder-1\"\n");
    let output = command(dir.path(), &["config", "show", "--origin", "--json"])
        .env("GANGLINE_LISTEN", "127.0.0.1:4000")
        .output()
        .unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        shown["rendezvous"],
        json!({ "value": ["ws://remote:3001/crdt-sync"], "origin": "gangline.toml:1" })
    );
    assert_eq!(shown["agent"]["value"], json!([{ "name": "coder-1" }]));
    assert_eq!(shown["listen"], json!({ "value": "127.0.0.1:4000", "origin": "GANGLINE_LISTEN" }));
    assert_eq!(shown["limits"]["body_bytes_max"], json!({ "value": "1MiB", "origin": "default" }));
    let text = run(dir.path(), &["config", "show", "--origin"]).stdout;
    assert!(
        text.lines().any(|line| line.starts_with("data_dir = ") && line.ends_with("# default")),
        "{text}"
    );
    assert_eq!(run(dir.path(), &["config", "check"]).stdout, "gangline.toml: ok\n");
}

#[test]
fn named_files_and_the_users_own_are_found() {
    let dir = tempdir().unwrap();
    let own = dir.path().join("home/gangline");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("gangline.toml"), "listen = \"127.0.0.1:5\"\n").unwrap();
    fs::write(dir.path().join("other.toml"), "listen = \"127.0.0.1:6\"\n").unwrap();
    let listen = |args: &[&str], env: &[(&str, &str)]| {
        let args: Vec<&str> = ["config", "show", "--json"].iter().chain(args).copied().collect();
        let output = command(dir.path(), &args)
            .env("XDG_CONFIG_HOME", dir.path().join("home"))
            .envs(env.iter().copied())
            .output()
            .unwrap();
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        shown["listen"].as_str().unwrap().to_owned()
    };
    assert_eq!(listen(&[], &[]), "127.0.0.1:5");
    assert_eq!(listen(&[], &[("GANGLINE_CONFIG", "other.toml")]), "127.0.0.1:6");
    assert_eq!(listen(&["--config", "other.toml"], &[("GANGLINE_CONFIG", "no.toml")]), "127.0.0.1:6");
    fs::write(dir.path().join("gangline.toml"), "listen = \"127.0.0.1:7\"\n").unwrap();
    assert_eq!(listen(&[], &[]), "127.0.0.1:7");
    let missing = run(dir.path(), &["config", "check", "--config", "no.toml"]);
    assert_eq!(missing.code, 9);
    assert!(missing.stderr.contains("no.toml"), "{}", missing.stderr);
}

#[test]
fn off_loopback_a_node_wants_a_trust_list_or_an_explicit_word() {
    let dir = tempdir().unwrap();
    let refused = run(dir.path(), &["up", "--listen", "0.0.0.0:0"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (9, ""));
    for part in ["[trust]", "insecure = true", "gangline key show"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    assert!(!dir.path().join("gangline-data").exists());
    let checked = with("listen = \"0.0.0.0:0\"\n");
    assert_eq!(run(checked.path(), &["config", "check"]).code, 9);
    let open = with("listen = \"0.0.0.0:0\"\ninsecure = true\n");
    let node = Node::start_with(&open, &[]);
    assert_eq!(node.get("/api/v1/items").status, 200);
}

#[test]
fn init_writes_a_file_that_works_and_never_over_another() {
    let dir = tempdir().unwrap();
    let made = run(dir.path(), &["init", "--agent", "coder-1", "--listen", "127.0.0.1:0"]);
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(run(dir.path(), &["config", "check"]).code, 0);
    let node = Node::start_with(&dir, &[]);
    assert_eq!(node.get("/api/v1/status").json()["agents"], json!(["coder-1"]));
    let again = run(dir.path(), &["init"]);
    assert_eq!(again.code, 4);
    assert!(again.stderr.contains("is there already"), "{}", again.stderr);
    assert_eq!(run(dir.path(), &["init", "--config", "x.toml", "--peer", "nonsense"]).code, 9);
    assert!(!dir.path().join("x.toml").exists());
}

//! Databases that documents follow: settings, and the keys of sources, by command.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::harness::{Node, command, run, until};

const SETTINGS: &str = r#"
[[reconcile]]
name = "workflows"
database = "sqlite:${APP_DB}"
[reconcile.root]
table = "workflows"
key = "id"
document = "workflow:{id}"
fields = { name = "db_wins" }
"#;

fn with(text: &str) -> TempDir {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("gangline.toml"), text.replace("${APP_DB}", "app.db")).unwrap();
    dir
}

fn key_file(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join("gangline-data/sources/workflows.key")
}

fn shown(dir: &TempDir) -> Value {
    run(dir.path(), &["reconcile", "key", "show", "--json"]).json()[0].clone()
}

#[test]
fn a_source_stands_in_the_settings_and_the_environment_stays_out_of_what_is_shown() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("gangline.toml"), SETTINGS).unwrap();
    let unset = run(dir.path(), &["config", "check"]);
    assert_eq!(unset.code, 9);
    assert!(unset.stderr.contains("wants APP_DB"), "{}", unset.stderr);
    let show = |args: &[&str], url: &str| {
        let args: Vec<&str> = ["config", "show"].iter().chain(args).copied().collect();
        let output = command(dir.path(), &args).env("APP_DB", url).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, json) = show(&["--json", "--origin"], "/srv/secret.db");
    assert_eq!(code, Some(0));
    let json: Value = serde_json::from_str(&json).unwrap();
    let source = &json["reconcile"][0];
    assert_eq!(source["database"], json!({ "value": "sqlite:${APP_DB}", "origin": "gangline.toml:4" }));
    assert_eq!(source["root"]["fields"]["value"], json!({ "name": "db_wins" }));
    assert_eq!(source["poll"], json!({ "value": "20ms", "origin": "default" }));
    assert_eq!(source["list"], json!([]));
    let (_, text) = show(&[], "/srv/secret.db");
    assert!(text.contains("\n[[reconcile]]\nname = \"workflows\"\n"), "{text}");
    assert!(text.contains("\n[reconcile.root]\ntable = \"workflows\"\n"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    let schema: Value = run(dir.path(), &["config", "schema"]).json();
    assert!(schema["properties"]["reconcile"]["items"]["properties"]["root"].is_object());
}

#[test]
fn the_first_node_makes_the_key_and_says_what_it_follows() {
    let dir = with(SETTINGS);
    assert_eq!(shown(&dir)["state"], "missing");
    let database = rusqlite::Connection::open(dir.path().join("app.db")).unwrap();
    database.execute_batch("CREATE TABLE workflows (id INTEGER PRIMARY KEY, name TEXT)").unwrap();
    let node = Node::start(&dir);
    assert!(node.ready.contains(&"source  workflows (sqlite:app.db)".to_owned()), "{:?}", node.ready);
    node.stop();
    let key = shown(&dir);
    assert_eq!((&key["state"], &key["key"]), (&json!("held"), &json!("create")));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(key_file(&dir)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let node = Node::start(&dir);
    node.stop();
    assert_eq!(shown(&dir), key, "a key is made once");

    // A key that is gone is not made anew.
    fs::remove_file(key_file(&dir)).unwrap();
    let node = Node::start(&dir);
    let line = "source  workflows (sqlite:app.db), only followed: its key is not here".to_owned();
    assert!(node.ready.contains(&line), "{:?}", node.ready);
    node.process.stderr.until("the key of workflows, ed25519:");
    node.stop();
    assert!(!key_file(&dir).exists());
    assert_eq!((&shown(&dir)["state"], &shown(&dir)["public_key"]), (&json!("lost"), &key["public_key"]));
}

#[test]
fn another_node_gets_the_key_from_the_operator() {
    let (first, second) = (with(SETTINGS), with(&SETTINGS.replace("database", "key = \"import\"\ndatabase")));
    assert_eq!(run(first.path(), &["reconcile", "key", "new", "workflows"]).code, 0);
    let node = Node::start(&second);
    assert!(node.ready.iter().any(|line| line.contains("only followed")), "{:?}", node.ready);
    node.stop();
    assert!(!key_file(&second).exists());

    let file = second.path().join("workflows.key");
    let exported = run(first.path(), &["reconcile", "key", "export", file.to_str().unwrap()]);
    assert_eq!(exported.code, 0, "{exported:?}");
    assert_eq!(fs::read(&file).unwrap(), fs::read(key_file(&first)).unwrap());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(
        run(first.path(), &["reconcile", "key", "export", file.to_str().unwrap()]).code,
        4,
        "never over one"
    );
    let imported = run(second.path(), &["reconcile", "key", "import", "workflows.key", "--json"]);
    assert_eq!(imported.json()["public_key"], shown(&first)["public_key"]);
    assert_eq!(shown(&second)["public_key"], shown(&first)["public_key"]);
    let node = Node::start(&second);
    assert!(!node.ready.iter().any(|line| line.contains("only followed")), "{:?}", node.ready);
}

#[test]
fn a_key_goes_through_a_pipe_and_never_over_another_unasked() {
    let (first, second) = (with(SETTINGS), with(SETTINGS));
    for dir in [&first, &second] {
        assert_eq!(run(dir.path(), &["reconcile", "key", "new", "workflows"]).code, 0);
    }
    let line = run(first.path(), &["reconcile", "key", "export", "-"]).stdout;
    let import = |dir: &Path, args: &[&str]| {
        let args: Vec<&str> = ["reconcile", "key", "import", "-"].iter().chain(args).copied().collect();
        let mut child = command(dir, &args)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let before = shown(&second);
    let (code, stderr) = import(second.path(), &[]);
    assert_eq!(code, 4);
    assert!(
        stderr.contains("this node has another key for workflows") && stderr.contains("--replace"),
        "{stderr}"
    );
    assert_eq!(shown(&second), before);
    let (code, stderr) = import(second.path(), &["--replace"]);
    assert_eq!((code, stderr.contains(".old")), (0, true), "{stderr}");
    assert_eq!(shown(&second)["public_key"], shown(&first)["public_key"]);
    assert_eq!(import(second.path(), &[]).0, 0, "the same key again is no trouble");

    let bad = run(second.path(), &["reconcile", "key", "import", "gangline.toml"]);
    assert_eq!((bad.code, bad.stderr.contains("is not a key file")), (2, true), "{bad:?}");
    assert_eq!(run(second.path(), &["reconcile", "key", "import", "no.key"]).code, 3);
    let other = run(second.path(), &["reconcile", "key", "new", "workflow"]);
    assert_eq!(other.code, 3);
    assert!(other.stderr.contains("they name workflows"), "{}", other.stderr);
    let none = tempdir().unwrap();
    assert_eq!(run(none.path(), &["reconcile", "key", "export", "-"]).code, 3);
}

#[test]
fn a_mapping_is_compared_with_its_database_where_that_can_be_read() {
    let dir = with(SETTINGS);
    let unread = run(dir.path(), &["config", "check"]);
    assert_eq!((unread.code, unread.stdout.as_str()), (0, "gangline.toml: ok\n"));
    assert!(unread.stderr.contains("not compared with its database: workflows: sqlite:app.db"), "{unread:?}");
    assert!(!dir.path().join("app.db").exists());

    let database = rusqlite::Connection::open(dir.path().join("app.db")).unwrap();
    database.execute_batch("CREATE TABLE workflows (id INTEGER PRIMARY KEY, title TEXT)").unwrap();
    let checked = run(dir.path(), &["config", "check"]);
    assert_eq!((checked.code, checked.stdout.as_str()), (9, ""));
    let mistake = "gangline.toml:9: reconcile \"workflows\": workflows.name: is no column of the table; workflows has id, title";
    assert!(checked.stderr.contains(mistake), "{checked:?}");
    let doctor = run(dir.path(), &["doctor"]);
    assert_eq!(doctor.code, 8);
    assert!(doctor.stdout.contains("BAD   database  gangline.toml:9: reconcile"), "{doctor:?}");
    database.execute_batch("ALTER TABLE workflows RENAME COLUMN title TO name").unwrap();
    let checked = run(dir.path(), &["config", "check"]);
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""));
    let doctor = run(dir.path(), &["doctor", "--json"]).json();
    let found: Vec<&str> = doctor["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["found"].as_str().unwrap())
        .collect();
    assert!(found.contains(&"sqlite:app.db has what workflows names"), "{found:?}");
    assert!(found.contains(&"that of workflows will be made on the first start"), "{found:?}");
}

#[test]
fn what_can_never_be_a_database_is_a_mistake_and_what_is_not_there_yet_is_none() {
    let dir = with(SETTINGS);
    let missing = run(dir.path(), &["config", "check"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (0, "gangline.toml: ok\n"), "{}", missing.stderr);
    assert_eq!(missing.stderr.matches("unable to open database file").count(), 1, "{}", missing.stderr);
    let app = dir.path().join("app.db");
    fs::write(&app, "not a database, but a text of some length").unwrap();
    let text = run(dir.path(), &["config", "check"]);
    assert_eq!(text.code, 9, "{text:?}");
    assert!(text.stderr.contains("file is not a database"), "{}", text.stderr);
    fs::remove_file(&app).unwrap();
    fs::create_dir(&app).unwrap();
    let folder = run(dir.path(), &["config", "check"]);
    assert_eq!(folder.code, 9, "{folder:?}");
    fs::remove_dir(&app).unwrap();
    fs::write(&app, "").unwrap();
    let empty = run(dir.path(), &["config", "check"]);
    assert!(empty.stderr.contains("workflows"), "an empty file is a database without tables: {empty:?}");
}

#[test]
fn a_node_whose_mapping_is_refused_has_made_no_key() {
    let dir = with(SETTINGS);
    let database = rusqlite::Connection::open(dir.path().join("app.db")).unwrap();
    database.execute_batch("CREATE TABLE workflows (id INTEGER PRIMARY KEY, title TEXT)").unwrap();
    let refused = run(dir.path(), &["up", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, 9, "{refused:?}");
    assert!(!key_file(&dir).exists());
    assert_eq!(shown(&dir)["state"], "missing");
}

#[test]
fn a_source_under_another_name_is_known_by_the_key_that_this_node_has() {
    let dir = with(SETTINGS);
    let database = rusqlite::Connection::open(dir.path().join("app.db")).unwrap();
    database
        .execute_batch(
            "CREATE TABLE workflows (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO workflows VALUES (1, 'a')",
        )
        .unwrap();
    let node = Node::start(&dir);
    assert_eq!(node.get("/api/v1/documents/workflow:1").status, 200);
    node.stop();
    fs::write(
        dir.path().join("gangline.toml"),
        SETTINGS.replace("${APP_DB}", "app.db").replace("\"workflows\"\ndatabase", "\"flows\"\ndatabase"),
    )
    .unwrap();
    let node = Node::start(&dir);
    let listed = || node.get("/api/v1/documents").json().to_string();
    until("the other document is met", || {
        listed().contains("this node has followed these rows as workflows")
    });
    assert!(!listed().contains("another node has made a key"), "{}", listed());
    node.stop();
}

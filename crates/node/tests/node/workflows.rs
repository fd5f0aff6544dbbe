//! A workflow with its jobs and edges, as an application keeps it in its database, and nodes whose documents follow it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use super::harness::{Node, run, until};

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE workflows (
        id TEXT PRIMARY KEY, name TEXT, concurrency INTEGER, owner TEXT, password TEXT,
        lock_version INTEGER NOT NULL DEFAULT 1, deleted_at TEXT
    );
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY, workflow_id TEXT REFERENCES workflows (id),
        name TEXT NOT NULL, body TEXT NOT NULL DEFAULT '', adaptor TEXT
    );
    CREATE TABLE edges (
        id TEXT PRIMARY KEY, workflow_id TEXT REFERENCES workflows (id),
        source_job_id TEXT REFERENCES jobs (id), enabled BOOLEAN NOT NULL DEFAULT 1
    );
    INSERT INTO workflows VALUES ('42', 'deploy', 5, 'ops', 'hush', 1, NULL);
    INSERT INTO jobs VALUES ('j1', '42', 'build', 'one' || char(10) || 'two' || char(10), 'http');
    INSERT INTO jobs VALUES ('j2', '42', 'ship', '', NULL);
    INSERT INTO edges VALUES ('e1', '42', 'j1', 1);
";

const SETTINGS: &str = r#"
[[reconcile]]
name = "workflows"
database = "sqlite:DATABASE"
mode = "MODE"
MORE
[reconcile.root]
table = "workflows"
key = "id"
version = "lock_version"
document = "workflow:{id}"
soft_delete = "deleted_at"
fields = { name = "db_wins", concurrency = "doc_wins", owner = "db_owned" }
secret = ["password"]
[[reconcile.list]]
table = "jobs"
parent = "workflow_id"
key = "id"
fields = { name = "db_wins", body = "text_merge", adaptor = "db_wins" }
[[reconcile.list]]
table = "edges"
parent = "workflow_id"
key = "id"
fields = { source_job_id = "db_wins", enabled = "db_wins" }
refs = { source_job_id = "jobs" }
"#;

/// The document of the one workflow that is there from the beginning.
pub(crate) const DOCUMENT: &str = "/api/v1/documents/workflow:42";

/// The document of the other one, where there are [`two_roots`].
pub(crate) const OTHER: &str = "/api/v1/documents/workflow:43";

/// A folder with the database and the settings of a node that follows it.
pub(crate) fn setting(mode: &str) -> TempDir {
    setting_with(mode, "")
}

/// As [`setting`], with more settings of the source.
pub(crate) fn setting_with(mode: &str, more: &str) -> TempDir {
    let dir = tempdir().unwrap();
    write_settings(dir.path(), "app.db", mode, more);
    sql(dir.path(), SCHEMA);
    dir
}

/// A second workflow beside the first one.
pub(crate) fn two_roots(more: &str) -> TempDir {
    let dir = setting_with("merge", more);
    sql(dir.path(), "INSERT INTO workflows (id, name) VALUES ('43', 'other')");
    dir
}

/// Adds the outbox, and waits until it is read.
pub(crate) fn install(dir: &TempDir, node: &Node) {
    let installed = node.cli(dir, &["reconcile", "install", "workflows", "--yes"]);
    assert_eq!(installed.code, 0, "{installed:?}");
    until("the outbox is read", || source(node)["feed"] == "outbox");
}

/// A folder for another node that has the source's key and follows the database of the first one's.
pub(crate) fn second_of(first: &TempDir) -> TempDir {
    let second = tempdir().unwrap();
    let database = first.path().join("app.db");
    write_settings(second.path(), database.to_str().unwrap(), "merge", "key = \"import\"");
    let file = second.path().join("workflows.key");
    for (dir, verb) in [(first, "export"), (&second, "import")] {
        let done = run(dir.path(), &["reconcile", "key", verb, file.to_str().unwrap()]);
        assert_eq!(done.code, 0, "{done:?}");
    }
    second
}

fn write_settings(dir: &Path, database: &str, mode: &str, more: &str) {
    let settings = SETTINGS.replace("DATABASE", database).replace("MODE", mode).replace("MORE", more);
    std::fs::write(dir.join("gangline.toml"), settings).unwrap();
}

/// The database, as another program opens it.
pub(crate) fn database(dir: &Path) -> Connection {
    let database = Connection::open(dir.join("app.db")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    database
}

/// What a deploy does: it writes the tables, and knows nothing of documents.
pub(crate) fn sql(dir: &Path, statements: &str) {
    database(dir).execute_batch(statements).unwrap();
}

pub(crate) fn stored(dir: &Path, query: &str) -> String {
    database(dir).query_row(query, [], |row| row.get(0)).unwrap()
}

pub(crate) fn show(node: &Node) -> Value {
    show_one(node, DOCUMENT)
}

pub(crate) fn show_one(node: &Node, document: &str) -> Value {
    let answer = node.get(document);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

pub(crate) fn edit(node: &Node, patch: &Value) -> Value {
    let answer = node.patch(DOCUMENT, &patch.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

pub(crate) fn save(node: &Node) -> Value {
    let answer = node.post(&format!("{DOCUMENT}/save"), "{}");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Waits until the document has followed a version.
#[track_caller]
pub(crate) fn follows(node: &Node, version: i64) {
    until(&format!("version {version}"), || show(node)["version"] == version);
}

/// Checks that the document, at the heads where it last equalled the rows, still does.
#[track_caller]
pub(crate) fn verified(node: &Node) {
    let verified = node.get(&format!("{DOCUMENT}/verify")).json();
    assert_eq!(verified["ok"], true, "{verified}");
}

/// How the source does.
pub(crate) fn source(node: &Node) -> Value {
    node.get("/api/v1/reconcile").json()[0].clone()
}

/// Kills a node as the machine does when it loses power: nothing is finished.
pub(crate) fn kill(mut node: Node) {
    node.process.child.kill().unwrap();
    node.process.child.wait().unwrap();
}

/// Events of a stream, up to the first one of a kind.
pub(crate) struct Stream(BufReader<std::net::TcpStream>);

impl Stream {
    pub(crate) fn of(node: &Node, client: &str) -> Self {
        Self::of_one(node, "workflow:42", client)
    }

    pub(crate) fn of_one(node: &Node, document: &str, client: &str) -> Self {
        let mut stream = node.connect();
        let path = format!("/api/v1/watch?document={document}&client={client}");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", node.addr).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn until(&mut self, kind: &str) -> Value {
        let wanted = format!("event: {kind}");
        let mut is_it = false;
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ended before {kind}");
            is_it |= line.trim_end() == wanted;
            if let Some(data) = line.strip_prefix("data: ").filter(|_| is_it) {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}

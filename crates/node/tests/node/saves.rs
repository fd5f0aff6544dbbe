//! Saves whose node is killed on the way: it finds out what became of them, and nothing that was acknowledged is lost.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::{Node, until};
use super::workflows::{
    DOCUMENT, database, edit, follows, kill, save, second_of, setting, show, source, sql, stored, verified,
};

/// The id of the save that a node has noted before it began.
fn begun(dir: &TempDir) -> Option<String> {
    let notes = dir.path().join("gangline-data/documents/notes.db");
    let notes = Connection::open_with_flags(notes, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let found =
        notes.query_row("SELECT content FROM note WHERE kind = 3", [], |row| row.get::<_, Vec<u8>>(0));
    let intent: Value = serde_json::from_slice(&found.ok()?).unwrap();
    Some(intent["save_id"].as_str().unwrap().to_owned())
}

/// Kills a node in a save that waits for another writer. Returns that one, which holds the database, and the save's id.
fn killed_in_a_save(dir: &TempDir, mut node: Node) -> (Connection, String) {
    loop {
        let writer = database(dir.path());
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut asked = node.connect();
        let head = format!("POST {DOCUMENT}/save HTTP/1.1\r\nhost: {}\r\ncontent-length: 2", node.addr);
        write!(asked, "{head}\r\n\r\n{{}}").unwrap();
        until("the save", || begun(dir).is_some());
        kill(node);
        // A save that has waited too long gives up, and takes its note back.
        if let Some(id) = begun(dir) {
            return (writer, id);
        }
        drop(writer);
        node = Node::start(dir);
    }
}

fn outbox(dir: &TempDir, node: &Node) {
    let installed = node.cli(dir, &["reconcile", "install", "workflows", "--yes"]);
    assert_eq!(installed.code, 0, "{installed:?}");
}

/// What the save of [`edited`] would have written.
const WRITTEN: &str = "
    UPDATE workflows SET name = 'mine', concurrency = 6, lock_version = 2;
    UPDATE jobs SET body = 'typed' || char(10) || 'one' || char(10) || 'two' || char(10) WHERE id = 'j1';
    INSERT INTO jobs VALUES ('j9', '42', 'draft', 'x', NULL);
    DELETE FROM edges;
";

fn edited(node: &Node) -> Value {
    let jobs = json!({
        "j1": {"body": "typed\none\ntwo\n"},
        "j9": {"name": "draft", "body": "x", "adaptor": null},
    });
    edit(node, &json!({"name": "mine", "concurrency": 6, "jobs": jobs, "edges": {"e1": null}}))
}

fn note_save(writer: &Connection, id: &str) {
    let note = "INSERT INTO gangline_outbox (source, kind, key, tag, at)
                VALUES ('workflows', 'save', ?1, random(), CAST(strftime('%s', 'now') AS INTEGER))";
    writer.execute(note, [id]).unwrap();
}

#[test]
fn a_save_killed_before_it_begins_has_written_nothing_and_is_made_again() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    let before = edited(&node);
    let (writer, _) = killed_in_a_save(&dir, node);
    writer.execute_batch("ROLLBACK").unwrap();
    assert_eq!(stored(dir.path(), "SELECT name || lock_version FROM workflows"), "deploy1");
    let node = Node::start(&dir);
    let opened = show(&node);
    for part in ["view", "unsaved", "conflicts", "version"] {
        assert_eq!(opened[part], before[part], "{part}");
    }
    assert_eq!(begun(&dir), None, "what became of it is known");
    let saved = save(&node);
    assert_eq!((&saved["version"], saved["saved"].as_array().unwrap().len()), (&json!(2), 5), "{saved}");
    assert_eq!(stored(dir.path(), "SELECT name || concurrency FROM workflows"), "mine6");
    assert_eq!(show(&node)["unsaved"], json!([]));
    verified(&node);
    node.stop();
}

fn committed_and_not_acknowledged(with_outbox: bool) {
    let dir = setting("merge");
    let node = Node::start(&dir);
    if with_outbox {
        outbox(&dir, &node);
    }
    let before = edited(&node);
    let (writer, id) = killed_in_a_save(&dir, node);
    writer.execute_batch(WRITTEN).unwrap();
    if with_outbox {
        note_save(&writer, &id);
    }
    writer.execute_batch("COMMIT").unwrap();
    let node = Node::start(&dir);
    let opened = show(&node);
    assert_eq!(opened["view"], before["view"]);
    assert_eq!(
        (&opened["unsaved"], &opened["conflicts"], &opened["version"]),
        (&json!([]), &json!([]), &json!(2))
    );
    let how = source(&node);
    assert_eq!((&how["batches"], &how["ops"]), (&json!(0), &json!(0)), "it said that once: {how}");
    let again = save(&node);
    assert_eq!((&again["version"], &again["saved"]), (&json!(2), &json!([])));
    verified(&node);
    node.stop();
}

#[test]
fn a_save_killed_before_it_heard_of_its_commit_counts_by_what_the_columns_hold() {
    committed_and_not_acknowledged(false);
}

#[test]
fn a_save_killed_before_it_heard_of_its_commit_counts_by_the_outbox() {
    committed_and_not_acknowledged(true);
}

/// The other node reads rows that say what it shows, of a save of which nobody is there to tell.
#[test]
fn a_save_whose_node_is_gone_is_no_second_edit_at_another_one() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    let second = second_of(&dir);
    let other = Node::start_with(&second, &["--listen", "127.0.0.1:0", "--peer", &node.sync_url()]);
    let before = edited(&node);
    until("the edits", || show(&other)["view"] == before["view"]);
    let (writer, _) = killed_in_a_save(&dir, node);
    writer.execute_batch(WRITTEN).unwrap();
    writer.execute_batch("COMMIT").unwrap();
    follows(&other, 2);
    let as_saved = |node: &Node| {
        let shown = show(node);
        assert_eq!(shown["view"], before["view"]);
        assert_eq!((&shown["unsaved"], &shown["conflicts"]), (&json!([]), &json!([])));
    };
    as_saved(&other);
    let again = save(&other);
    assert_eq!((&again["version"], &again["saved"]), (&json!(2), &json!([])));
    let node = Node::start_with(&dir, &["--listen", "127.0.0.1:0", "--peer", &other.sync_url()]);
    until("both agree", || {
        let (here, there) = (show(&node), show(&other));
        here["heads"] == there["heads"] && here["unsaved"] == json!([])
    });
    as_saved(&node);
    as_saved(&other);
    verified(&node);
    verified(&other);
    node.stop();
    other.stop();
}

#[test]
fn others_who_write_just_what_people_have_typed_have_saved_it() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    let before = edited(&node);
    sql(dir.path(), &format!("BEGIN; {WRITTEN} COMMIT"));
    follows(&node, 2);
    let shown = show(&node);
    assert_eq!(shown["view"], before["view"], "no line is there twice");
    assert_eq!((&shown["unsaved"], &shown["conflicts"]), (&json!([]), &json!([])));
    verified(&node);
    node.stop();
}

/// What others wrote over a save that was committed is news; the rest of it counts as saved.
fn overwritten(with_outbox: bool, by_others: &str, then: &Value) {
    let dir = setting("merge");
    let node = Node::start(&dir);
    if with_outbox {
        outbox(&dir, &node);
    }
    edited(&node);
    let (writer, id) = killed_in_a_save(&dir, node);
    writer.execute_batch(WRITTEN).unwrap();
    if with_outbox {
        note_save(&writer, &id);
    }
    writer.execute_batch(by_others).unwrap();
    writer.execute_batch("UPDATE workflows SET lock_version = 3; COMMIT").unwrap();
    let node = Node::start(&dir);
    let opened = show(&node);
    for (field, value) in then.as_object().unwrap() {
        assert_eq!(&opened["view"][field], value, "{opened}");
    }
    assert_eq!(opened["view"]["jobs"]["j9"]["name"], "draft");
    assert_eq!(opened["view"]["edges"], json!({}));
    assert_eq!(
        (&opened["unsaved"], &opened["conflicts"], &opened["version"]),
        (&json!([]), &json!([]), &json!(3))
    );
    assert_eq!(source(&node)["batches"], 1);
    verified(&node);
    node.stop();
}

#[test]
fn a_column_that_somebody_overwrote_comes_back_and_the_rest_of_a_killed_save_counts() {
    let by_others = "UPDATE workflows SET name = 'theirs', concurrency = 9";
    overwritten(false, by_others, &json!({"name": "theirs", "concurrency": 9}));
}

#[test]
fn a_killed_save_of_which_nothing_is_left_to_be_seen_counts_by_the_outbox() {
    let by_others = "UPDATE workflows SET name = 'theirs', concurrency = 9;
                     UPDATE jobs SET body = 'theirs' WHERE id = 'j1'";
    overwritten(true, by_others, &json!({"name": "theirs", "concurrency": 9}));
}

#[test]
fn a_save_that_was_not_committed_is_told_from_others_who_wrote_the_same() {
    let dir = setting("merge");
    let node = Node::start(&dir);
    outbox(&dir, &node);
    edited(&node);
    let (writer, _) = killed_in_a_save(&dir, node);
    writer.execute_batch("UPDATE workflows SET name = 'mine', lock_version = 2; COMMIT").unwrap();
    let node = Node::start(&dir);
    let opened = show(&node);
    let unsaved: Vec<&str> =
        opened["unsaved"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert_eq!(unsaved, ["concurrency", "edges.e1", "jobs.j9", "jobs.j1.body"]);
    assert_eq!((&opened["conflicts"], &opened["version"]), (&json!([]), &json!(2)));
    save(&node);
    assert_eq!(stored(dir.path(), "SELECT name || concurrency || lock_version FROM workflows"), "mine63");
    verified(&node);
    node.stop();
}

/// What clients were told that it is done.
#[derive(Default)]
struct Told {
    /// Rows that were drafted.
    drafted: Vec<String>,
    /// How many of them, from the first, some save has written.
    saved: usize,
}

/// Drafts a row and saves, again and again, until nobody answers. Counts what it begins.
fn work(addr: &str, round: usize, begun: &AtomicUsize) -> Told {
    let mut told = Told::default();
    let ask = |method: &str, path: &str, body: &str| {
        begun.fetch_add(1, Ordering::SeqCst);
        ask(addr, method, path, body)
    };
    for number in 0.. {
        let key = format!("r{round}-{number}");
        let draft = json!({"jobs": {&key: {"name": &key, "body": "x"}}}).to_string();
        match ask("PATCH", DOCUMENT, &draft) {
            Some(200) => told.drafted.push(key),
            _ => break,
        }
        match ask("POST", &format!("{DOCUMENT}/save"), "{}") {
            Some(200) => told.saved = told.drafted.len(),
            _ => break,
        }
    }
    told
}

/// The status of an answer that came whole; none where the node went away.
fn ask(addr: &str, method: &str, path: &str, body: &str) -> Option<u16> {
    use std::io::Read as _;
    let mut stream = std::net::TcpStream::connect(addr).ok()?;
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close");
    write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// After how many requests of a round the node is killed, and how many looks at its state later.
const KILLS: [(usize, usize); 10] =
    [(1, 0), (2, 0), (2, 40), (3, 9), (4, 3), (4, 90), (5, 1), (6, 20), (6, 400), (9, 5)];

fn killed_again_and_again(with_outbox: bool) {
    let dir = setting("merge");
    let node = Node::start(&dir);
    if with_outbox {
        outbox(&dir, &node);
    }
    node.stop();
    let mut drafted: BTreeMap<String, bool> = BTreeMap::new();
    for (round, (requests, looks)) in KILLS.into_iter().enumerate() {
        let node = Node::start(&dir);
        let (addr, count) = (node.addr.clone(), AtomicUsize::new(0));
        let told = std::thread::scope(|scope| {
            let worker = scope.spawn(|| work(&addr, round, &count));
            until("the request", || count.load(Ordering::SeqCst) >= requests);
            // However far the node gets meanwhile: each look takes about as long as a step of its work.
            (0..looks).for_each(|_| drop(begun(&dir)));
            kill(node);
            worker.join().unwrap()
        });
        let saved = told.saved;
        drafted.extend(told.drafted.into_iter().enumerate().map(|(at, key)| (key, at < saved)));
        let rows = database(dir.path());
        for key in drafted.iter().filter(|(_, is_saved)| **is_saved).map(|(key, _)| key) {
            let found =
                rows.query_row("SELECT name FROM jobs WHERE id = ?1", [key], |row| row.get::<_, String>(0));
            assert_eq!(found.as_ref(), Ok(key), "round {round}: saved");
        }
    }
    let node = Node::start(&dir);
    let opened = show(&node);
    for key in drafted.keys() {
        assert_eq!(opened["view"]["jobs"][key]["name"], json!(key), "acknowledged");
    }
    assert_eq!(opened["conflicts"], json!([]), "nobody else has written");
    verified(&node);
    save(&node);
    verified(&node);
    let count = stored(dir.path(), "SELECT CAST(count(*) AS TEXT) FROM jobs");
    let last = show(&node);
    assert_eq!(last["view"]["jobs"].as_object().unwrap().len().to_string(), count);
    assert_eq!(last["unsaved"], json!([]));
    node.stop();
}

#[test]
fn whatever_was_acknowledged_is_there_however_often_the_node_is_killed() {
    killed_again_and_again(false);
}

#[test]
fn whatever_was_acknowledged_is_there_however_often_the_node_is_killed_beside_an_outbox() {
    killed_again_and_again(true);
}

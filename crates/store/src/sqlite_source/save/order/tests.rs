//! What order costs, and what it leaves behind.

use gangline_reconcile::{Mapping, Policy, SaveRequest, Shape, conformance::mapping};
use rusqlite::{Connection, StatementStatus};

use super::*;
use crate::sqlite_source::{read, schema};

/// Documents with `parts`, as an application has left them.
fn parts(sql: &str) -> (Connection, Shape) {
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch(
            "PRAGMA foreign_keys = ON;
             CREATE TABLE docs (id INTEGER PRIMARY KEY);
             CREATE TABLE parts (id TEXT PRIMARY KEY, doc INTEGER, pos INTEGER,
                                 next TEXT REFERENCES parts (id) ON DELETE CASCADE,
                                 prev TEXT REFERENCES parts (id), UNIQUE (doc, pos));
             CREATE TABLE notes (part TEXT REFERENCES parts (id) ON DELETE CASCADE);
             INSERT INTO docs VALUES (1)",
        )
        .unwrap();
    connection.execute_batch(sql).unwrap();
    let mut docs: Mapping = mapping();
    docs.root.table = "docs".to_owned();
    docs.root.version = None;
    docs.root.soft_delete = None;
    docs.root.secret.clear();
    docs.root.fields.clear();
    docs.lists.truncate(1);
    docs.lists[0].table = "parts".to_owned();
    docs.lists[0].parent = "doc".to_owned();
    docs.lists[0].fields = ["next", "pos", "prev"].map(|column| (column.to_owned(), Policy::DbOwned)).into();
    let shape = Shape::bind(docs, &schema::read(&connection).unwrap()).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    (connection, shape)
}

fn write(key: &str, action: WriteAction) -> Write {
    Write { list: Some(0), key: key.to_owned(), action }
}

#[track_caller]
fn carry_out(connection: &Connection, shape: &Shape, writes: Vec<Write>) {
    with(connection, shape, writes, |saving| assert!(saving.all().is_ok()));
}

fn with(connection: &Connection, shape: &Shape, writes: Vec<Write>, what: impl FnOnce(&Saving<'_>)) {
    let before = read::rows(connection, shape, "1").unwrap();
    let request =
        SaveRequest { root: "1".to_owned(), save_id: "s".to_owned(), expected: before.clone(), writes };
    let saving = Saving { connection, shape, request: &request, before: &before, is_noted: &|_| Ok(false) };
    what(&saving);
}

/// Used to look, after each delete, for each of the rows that were still to be changed.
#[test]
fn deletes_among_many_updates_look_for_none_of_them() {
    let (connection, shape) = parts(
        "WITH RECURSIVE n (n) AS (SELECT 100 UNION ALL SELECT n + 1 FROM n WHERE n < 179)
         INSERT INTO parts (id, doc, pos) SELECT n, 1, n FROM n;
         INSERT INTO notes SELECT id FROM parts",
    );
    // Each takes the place of one that goes, and that goes just before.
    let pos = |pos: i64| WriteAction::Update(vec![(1, JsonValue::Integer(pos.into()))]);
    let mut writes: Vec<Write> = (100..140).map(|n| write(&(n + 40).to_string(), pos(n))).collect();
    writes.extend((100..140).map(|n| write(&n.to_string(), WriteAction::Delete)));
    carry_out(&connection, &shape, writes);
    let left: (i64, i64) = connection
        .query_row("SELECT count(*), max(pos) FROM parts", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(left, (40, 139));
    let found = format!("{} AND {}", condition("id", 1), condition("doc", 2));
    let is_there = format!("SELECT EXISTS (SELECT 1 FROM main.\"parts\" WHERE {found})");
    let statement = connection.prepare_cached(&is_there).unwrap();
    assert_eq!(statement.get_status(StatementStatus::Run), 0);
}

/// Used to leave one open for each delete that was refused.
#[test]
fn a_refused_delete_leaves_no_savepoint_open() {
    let (connection, shape) = parts(
        "INSERT INTO parts VALUES ('a', 1, 1, NULL, NULL), ('b', 1, 2, 'a', NULL),
                                  ('y', 1, 8, NULL, NULL), ('z', 1, 9, NULL, 'y')",
    );
    // b is to stay although it goes with a, whose place it takes; y goes after z, which names it.
    let stay = WriteAction::Update(vec![(0, JsonValue::Null), (1, JsonValue::Integer(1))]);
    let mut writes = vec![write("b", stay)];
    writes.extend(["a", "y", "z"].map(|key| write(key, WriteAction::Delete)));
    with(&connection, &shape, writes.clone(), |saving| {
        let mut round = Round::new(saving, BTreeSet::from([0]));
        assert!(round.go().is_ok());
        assert_eq!(round.put_off.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "z alone is done");
        assert!(connection.execute_batch("RELEASE gangline_delete").is_err());
    });
    connection.execute_batch("ROLLBACK; BEGIN IMMEDIATE").unwrap();
    carry_out(&connection, &shape, writes);
    let left: String =
        connection.query_row("SELECT group_concat(id || pos) FROM parts", [], |row| row.get(0)).unwrap();
    assert_eq!(left, "b1");
}

/// Then there is no savepoint to go back to either.
#[test]
fn a_trigger_that_ends_the_transaction_is_told_as_what_it_is() {
    let (connection, shape) = parts(
        "INSERT INTO parts (id, doc, pos) VALUES ('a', 1, 1), ('b', 1, 2);
         CREATE TRIGGER no BEFORE DELETE ON parts BEGIN SELECT RAISE(ROLLBACK, 'not that'); END",
    );
    let writes = vec![
        write("a", WriteAction::Delete),
        write("b", WriteAction::Update(vec![(1, JsonValue::Integer(3))])),
    ];
    with(&connection, &shape, writes, |saving| {
        let mut round = Round::new(saving, BTreeSet::from([1]));
        let Err(Stop::Refused(bad)) = round.attempt(0) else { panic!("not refused") };
        assert_eq!((bad.key.as_deref(), &*bad.what), (Some("a"), "is refused by a trigger: not that"));
    });
}

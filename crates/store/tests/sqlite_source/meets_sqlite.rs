//! What is SQLite's own: types that are only names, REPLACE, journals of killed writers, files that are swapped, and an
//! application that must notice nothing.

use std::{collections::BTreeMap, fs, time::Duration};

use gangline_reconcile::{
    BadRow, Continuity, RowSource, Rows, SaveOutcome, SaveRequest, Shape, SourceError, Write, WriteAction,
    conformance::{Ground as _, int, mapping, null, text, workflows},
};
use gangline_store::SqliteSource;
use rusqlite::Connection;

use super::ground::{Make, SqliteGround, WAL};
use super::parts::{ground, refusal, save, set};

/// A ground with the tables of the conformance checks.
fn flows(ground: &SqliteGround) -> (SqliteSource, Shape) {
    let (_, shape) = workflows(ground);
    (ground.source(), shape)
}

fn bad(rows: &Rows) -> Vec<String> {
    let key = |bad: &BadRow| bad.key.clone().unwrap_or("-".to_owned());
    rows.bad.iter().map(|bad| format!("{} {} {}", key(bad), bad.column, bad.what)).collect()
}

/// Scans, and holds the digests against those of reads.
fn scanned(source: &dyn RowSource, shape: &Shape) -> Vec<String> {
    let mut found = BTreeMap::new();
    source
        .scan(shape, &mut |root, digest| {
            found.insert(root.to_owned(), digest);
        })
        .unwrap();
    for (root, digest) in &found {
        assert_eq!(*digest, source.read(shape, root).unwrap().digest(), "{root}");
    }
    let roots: Vec<String> = found.into_keys().collect();
    assert_eq!(roots, source.roots(shape, None, 1_000).unwrap());
    roots
}

/// Which roots a statement of the application touches, by the outbox.
fn touched(ground: &SqliteGround, source: &dyn RowSource, shape: &Shape, sql: &str) -> Vec<String> {
    let at = source.outbox(shape, None, 1).unwrap().unwrap().position;
    ground.execute(sql);
    let read = source.outbox(shape, Some(at), 1_000).unwrap().unwrap();
    assert_eq!(read.continuity, Continuity::Whole);
    let mut roots = read.roots;
    roots.sort();
    roots
}

#[test]
fn types_that_sqlite_does_not_know_hold_texts() {
    let (ground, source, shape) = ground(
        "CREATE TABLE docs (id TEXT PRIMARY KEY);
         CREATE TABLE parts (id STRING PRIMARY KEY, doc UUID REFERENCES docs, made DATETIME, data JSON);
         INSERT INTO docs VALUES ('1'), ('2'), ('12');
         INSERT INTO parts VALUES ('007', 1, '2030-01-01', '{\"a\":1}'), ('x', '1', 1893456000, '4.50'),
                                  ('y', 12, NULL, 'null')",
        &["made", "data"],
    );
    let rows = source.read(&shape, "1").unwrap();
    assert_eq!(bad(&rows), [""; 0]);
    let [data, made] = ["data", "made"].map(|column| shape.lists[0].field(column).unwrap());
    let value = |key: &str, field: usize| rows.lists[0][key][field].clone();
    // SQLite has made 7 of '007' as it was stored; what is read is what is there.
    assert_eq!(rows.lists[0].keys().collect::<Vec<_>>(), ["7", "x"], "1 names the root '1'");
    assert_eq!((value("7", made), value("7", data)), (text("2030-01-01"), text("{\"a\":1}")));
    assert_eq!((value("x", made), value("x", data)), (text("1893456000"), text("4.5")));
    assert_eq!(scanned(&source, &shape), ["1", "12", "2"]);
    let outcome = save(
        &source,
        &shape,
        "1",
        vec![set(&shape, "x", &[("made", text("1893456001"))]), set(&shape, "7", &[("data", text("[]"))])],
    );
    let SaveOutcome::Saved(rows) = outcome else { panic!("{outcome:?}") };
    assert_eq!(rows.lists[0]["x"][made], text("1893456001"));
    assert_eq!(ground.ask("SELECT typeof(made) FROM parts WHERE id = 'x'").as_deref(), Some("integer"));
}

/// A column that makes 7 of `007` would give the new row to another root.
#[test]
fn a_row_that_would_be_another_roots_is_refused() {
    let (ground, source, shape) = ground(
        "CREATE TABLE docs (id TEXT PRIMARY KEY);
         CREATE TABLE parts (id TEXT PRIMARY KEY, doc STRING, name TEXT);
         INSERT INTO docs VALUES ('7'), ('007')",
        &["name"],
    );
    let insert =
        || vec![Write { list: Some(0), key: "p".to_owned(), action: WriteAction::Insert(Vec::new()) }];
    let (key, column, what) = refusal(save(&source, &shape, "007", insert()));
    assert_eq!((key.as_str(), column.as_str()), ("p", "id"));
    assert_eq!(what, "is not kept under this name, or not for this root");
    assert_eq!(ground.ask("SELECT group_concat(id) FROM parts"), None);
    assert!(matches!(save(&source, &shape, "7", insert()), SaveOutcome::Saved(_)));
}

#[test]
fn keys_that_differ_in_case_alone_are_two() {
    let (ground, source, shape) = ground(
        "CREATE TABLE docs (id TEXT PRIMARY KEY);
         CREATE TABLE parts (id TEXT COLLATE NOCASE PRIMARY KEY, doc TEXT COLLATE NOCASE, name TEXT);
         CREATE INDEX parts_of ON parts (doc);
         INSERT INTO docs VALUES ('Ab'), ('aB'), ('ac'), ('AA');
         INSERT INTO parts VALUES ('p', 'Ab', 'p'), ('q', 'aB', 'q'), ('r', 'ab', 'r'), ('S', 'AA', 's')",
        &["name"],
    );
    assert_eq!(scanned(&source, &shape), ["AA", "Ab", "aB", "ac"]);
    let keys = |root: &str| source.read(&shape, root).unwrap().lists[0].keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        (keys("Ab"), keys("aB"), keys("AA")),
        (vec!["p".to_owned()], vec!["q".to_owned()], vec!["S".to_owned()])
    );
    let wrong = Write { list: Some(0), key: "s".to_owned(), action: WriteAction::Delete };
    assert!(matches!(save(&source, &shape, "AA", vec![wrong]), SaveOutcome::Moved(_)));
    assert_eq!(ground.ask("SELECT name FROM parts WHERE id = 'S'").as_deref(), Some("s"));
}

#[test]
fn keys_that_cannot_be_names_are_bad() {
    let long = "k".repeat(1_025);
    let (_ground, source, shape) = ground(
        &format!(
            "CREATE TABLE docs (id TEXT PRIMARY KEY);
             CREATE TABLE parts (id TEXT PRIMARY KEY, doc TEXT, name TEXT);
             INSERT INTO docs VALUES ('d'), (NULL), (''), ('{long}'), (x'00'), (CAST(x'ff' AS TEXT));
             INSERT INTO parts VALUES (NULL, 'd', 'n'), ('', 'd', 'e'), ('{long}', 'd', 'l'), (x'00', 'd', 'b'),
                                      (CAST(x'ff' AS TEXT), 'd', 'u'), ('good', 'd', 'g'), ('lost', NULL, 'o')"
        ),
        &["name"],
    );
    let rows = source.read(&shape, "d").unwrap();
    assert_eq!(
        bad(&rows),
        [
            "- id is a blob",
            "- id is empty",
            "- id is longer than 1024 bytes",
            "- id is no valid UTF-8",
            "- id is null"
        ]
    );
    assert_eq!(rows.lists[0].keys().collect::<Vec<_>>(), ["good"]);
    assert_eq!(scanned(&source, &shape), ["d"]);
}

#[test]
fn a_view_is_read_and_not_written() {
    let (ground, source, shape) = ground(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY);
         CREATE TABLE real_parts (id INTEGER PRIMARY KEY, doc INTEGER, name TEXT);
         CREATE VIEW parts AS SELECT id, doc, name FROM real_parts UNION ALL SELECT id, doc, 'again' FROM real_parts WHERE id = 2;
         INSERT INTO docs VALUES (1), (2);
         INSERT INTO real_parts VALUES (1, 1, 'one'), (2, 1, 'two'), (3, 2, 'three')",
        &["name"],
    );
    assert!(source.schema().unwrap().tables["parts"].is_view);
    let rows = source.read(&shape, "1").unwrap();
    assert_eq!(bad(&rows), ["2 id is there twice"]);
    assert_eq!(rows.lists[0].keys().collect::<Vec<_>>(), ["1"]);
    assert_eq!(scanned(&source, &shape), ["1", "2"]);
    let (key, _, what) = refusal(save(&source, &shape, "1", vec![set(&shape, "1", &[("name", text("x"))])]));
    assert_eq!((key.as_str(), what.as_str()), ("1", "is in a view, which cannot be written"));
    let error = source.install(&shape).unwrap_err().to_string();
    assert!(error.contains("parts is a view, which triggers cannot watch"), "{error}");
    assert_eq!(source.outbox(&shape, None, 1).unwrap(), None);
    assert_eq!(ground.ask("SELECT group_concat(name, ' ') FROM sqlite_schema WHERE type = 'trigger'"), None);
}

#[test]
fn rows_that_replace_removes_are_noted() {
    let (ground, source, shape) = ground(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY, slug TEXT);
         CREATE UNIQUE INDEX slugs ON docs (slug COLLATE NOCASE);
         CREATE TABLE parts (id INTEGER PRIMARY KEY, doc INTEGER, name TEXT, rank INTEGER, is_old INTEGER,
                             UNIQUE (name, rank));
         CREATE UNIQUE INDEX only_new ON parts (rank) WHERE NOT is_old;
         INSERT INTO docs VALUES (1, 'one'), (2, 'two'), (3, 'three');
         INSERT INTO parts VALUES (1, 1, 'a', 1, 0), (2, 2, 'b', 2, 0), (3, 3, 'c', 3, 0)",
        &["name"],
    );
    source.install(&shape).unwrap();
    let steps: [(&str, &[&str]); 9] = [
        ("REPLACE INTO parts VALUES (1, 2, 'a', 10, 0)", &["1", "2"]),
        ("INSERT OR REPLACE INTO parts VALUES (20, 1, 'b', 2, 1)", &["1", "2"]),
        ("REPLACE INTO parts VALUES (21, 1, 'new', 3, 0)", &["1", "3"]),
        ("INSERT INTO parts VALUES (21, 2, 'x', 9, 1) ON CONFLICT (id) DO UPDATE SET doc = 3", &["1", "3"]),
        ("INSERT INTO parts (doc, name) VALUES (3, 'plain')", &["3"]),
        ("UPDATE OR REPLACE parts SET id = 21 WHERE id = 20", &["1", "3"]),
        ("REPLACE INTO docs VALUES (4, 'TWO')", &["2", "4"]),
        ("REPLACE INTO docs VALUES (4, 'four')", &["4"]),
        ("UPDATE OR REPLACE docs SET slug = 'ONE' WHERE id = 4", &["1"]),
    ];
    let mut before: BTreeMap<String, Rows> = BTreeMap::new();
    for (sql, expected) in steps {
        let noted = touched(&ground, &source, &shape, sql);
        assert_eq!(noted, expected, "{sql}");
        let after: BTreeMap<String, Rows> =
            (1..6).map(|root| (root.to_string(), source.read(&shape, &root.to_string()).unwrap())).collect();
        for (root, rows) in &after {
            let was = before.get(root);
            assert!(was.is_none_or(|was| was == rows) || noted.contains(root), "{sql}: {root}");
        }
        before = after;
    }
}

/// A trigger that wrote with its own conflict clause, or touched what the writer counts, would show here.
#[test]
fn a_writer_notices_nothing_of_the_triggers() {
    let (ground, source, shape) = ground(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY);
         CREATE TABLE parts (id INTEGER PRIMARY KEY, doc INTEGER NOT NULL, name TEXT UNIQUE);
         INSERT INTO docs VALUES (1); INSERT INTO parts VALUES (1, 1, 'taken')",
        &["name"],
    );
    let run = |app: &Connection| {
        let mut seen = Vec::new();
        for sql in [
            "INSERT INTO parts (doc, name) VALUES (1, 'x'), (1, 'y')",
            "INSERT OR IGNORE INTO parts (doc, name) VALUES (1, 'taken')",
            "REPLACE INTO parts (doc, name) VALUES (1, 'x')",
            "UPDATE parts SET doc = 1",
            "INSERT INTO parts (doc, name) VALUES (1, 'taken')",
            "INSERT INTO parts (doc) VALUES (NULL)",
            "DELETE FROM parts WHERE id > 1",
            "DELETE FROM parts",
        ] {
            let outcome = app.execute(sql, []).map_err(|error| error.to_string());
            seen.push((outcome, app.changes(), app.last_insert_rowid()));
        }
        seen
    };
    let mut app = ground.other();
    let transaction = app.transaction().unwrap();
    let without = run(&transaction);
    transaction.rollback().unwrap();
    source.install(&shape).unwrap();
    let mut app = ground.other();
    let transaction = app.transaction().unwrap();
    assert_eq!(run(&transaction), without);
}

#[test]
fn reading_changes_nothing_in_the_file() {
    let ground = SqliteGround::new(WAL);
    let (source, shape) = flows(&ground);
    ground.execute("INSERT INTO workflows (id) VALUES (1)");
    let settings = || -> Vec<i64> {
        ["application_id", "user_version", "page_size", "auto_vacuum", "schema_version"]
            .map(|name| ground.other().pragma_query_value(None, name, |row| row.get(0)).unwrap())
            .into()
    };
    ground.other().execute_batch("PRAGMA user_version = 33; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let (before, bytes) = (settings(), fs::read(ground.path()).unwrap());
    source.schema().unwrap();
    source.read(&shape, "1").unwrap();
    source.scan(&shape, &mut |_, _| {}).unwrap();
    source.roots(&shape, None, 10).unwrap();
    source.pulse().unwrap();
    source.outbox(&shape, None, 10).unwrap();
    source.install_sql(&shape).unwrap();
    source.prune(&shape).unwrap();
    assert_eq!(fs::read(ground.path()).unwrap(), bytes);
    source.install(&shape).unwrap();
    source.uninstall(&shape).unwrap();
    let after = settings();
    assert_eq!(after[..4], before[..4], "all but the schema's own version");
    let mode = "SELECT group_concat(name) FROM sqlite_schema WHERE name LIKE '%gangline%'";
    assert_eq!(ground.ask(mode), None);
    let mode: String = ground.other().pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_file_that_is_not_there_is_not_made() {
    let ground = SqliteGround::new(WAL);
    let (_source, shape) = flows(&ground);
    let path = ground.path().with_file_name("other.db");
    let source = SqliteSource::new(&path);
    assert_eq!(source.place(), format!("sqlite:{}", path.display()));
    let request = SaveRequest {
        root: "1".to_owned(),
        save_id: "s".to_owned(),
        expected: Rows::none(&shape),
        writes: vec![],
    };
    for error in [
        source.schema().map(drop).unwrap_err(),
        source.read(&shape, "1").map(drop).unwrap_err(),
        source.pulse().map(drop).unwrap_err(),
        source.install(&shape).unwrap_err(),
        source.save(&shape, &request).map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, SourceError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("other.db"), "{error}");
    }
    assert!(!path.exists());
    fs::write(&path, "a letter to a friend, and not a database at all ".repeat(40)).unwrap();
    assert!(matches!(source.read(&shape, "1"), Err(SourceError::Unavailable { .. })));
    ground
        .other()
        .execute("VACUUM INTO ?1", [ground.path().with_file_name("good.db").to_str().unwrap()])
        .unwrap();
    fs::rename(ground.path().with_file_name("good.db"), &path).unwrap();
    assert_eq!(source.read(&shape, "1").unwrap(), Rows::none(&shape));
}

#[test]
fn another_file_under_the_same_name_is_read() {
    let ground = SqliteGround::new(WAL);
    let (source, shape) = flows(&ground);
    ground.execute("INSERT INTO workflows (id) VALUES (1)");
    ground.backup();
    let mut pulses = vec![source.pulse().unwrap()];
    ground.execute("INSERT INTO workflows (id) VALUES (2)");
    assert_eq!(scanned(&source, &shape), ["1", "2"]);
    pulses.push(source.pulse().unwrap());
    ground.restore();
    pulses.push(source.pulse().unwrap());
    assert_eq!(scanned(&source, &shape), ["1"]);
    ground.execute("INSERT INTO workflows (id) VALUES (3)");
    pulses.push(source.pulse().unwrap());
    assert_eq!(scanned(&source, &shape), ["1", "3"]);
    pulses.dedup();
    assert_eq!(pulses.len(), 4, "{pulses:?}");
}

/// In rollback mode a killed writer leaves its journal, which a connection that only reads may not roll back.
#[test]
fn a_journal_of_a_killed_writer_is_rolled_back() {
    let ground = SqliteGround::new(Make { journal: "delete", ..WAL });
    let (_source, shape) = flows(&ground);
    ground.execute("INSERT INTO workflows (id, name) VALUES (1, 'committed')");
    let copy = tempfile::tempdir().unwrap();
    {
        let mut app = ground.other();
        app.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = 1").unwrap();
        let transaction = app.transaction().unwrap();
        transaction.execute("UPDATE workflows SET name = 'half done'", []).unwrap();
        for id in 2..2_000 {
            transaction.execute("INSERT INTO workflows (id, name) VALUES (?1, 'half done')", [id]).unwrap();
        }
        for name in ["app.db", "app.db-journal"] {
            fs::copy(ground.path().with_file_name(name), copy.path().join(name)).unwrap();
        }
    }
    for first in ["read", "pulse"] {
        let dir = tempfile::tempdir().unwrap();
        for name in ["app.db", "app.db-journal"] {
            fs::copy(copy.path().join(name), dir.path().join(name)).unwrap();
        }
        let source = SqliteSource::new(&dir.path().join("app.db"));
        if first == "pulse" {
            source.pulse().unwrap();
        }
        let rows = source.read(&shape, "1").unwrap();
        assert_eq!(rows.root.unwrap()[shape.root.field("name").unwrap()], text("committed"));
        assert_eq!(source.roots(&shape, None, 10).unwrap(), ["1"]);
        assert!(!dir.path().join("app.db-journal").exists());
    }
}

/// What SQLite counts is of one connection: that of the next one is no lower, and says nothing of what it has not seen.
#[test]
fn a_commit_of_somebody_who_kept_the_pulse_out_shows_in_it() {
    let ground = SqliteGround::new(Make { journal: "delete", ..WAL });
    flows(&ground);
    let source = SqliteSource::with_busy_timeout(&ground.path(), Duration::ZERO);
    let before = source.pulse().unwrap();
    let app = ground.other();
    app.execute_batch("BEGIN EXCLUSIVE; INSERT INTO workflows (id) VALUES (1)").unwrap();
    assert!(matches!(source.pulse(), Err(SourceError::Busy { .. })));
    app.execute_batch("COMMIT").unwrap();
    let after = source.pulse().unwrap();
    assert_ne!(after, before);
    assert_eq!(source.pulse().unwrap(), after, "nobody has written since");
}

#[test]
fn a_database_that_somebody_has_to_himself_is_busy() {
    let ground = SqliteGround::new(Make { journal: "delete", ..WAL });
    let (source, shape) = flows(&ground);
    ground.execute("INSERT INTO workflows (id) VALUES (1)");
    let app = ground.other();
    app.execute_batch("BEGIN EXCLUSIVE").unwrap();
    for error in [
        source.read(&shape, "1").map(drop).unwrap_err(),
        source.schema().map(drop).unwrap_err(),
        source.scan(&shape, &mut |_, _| {}).unwrap_err(),
        source.install(&shape).unwrap_err(),
    ] {
        assert!(matches!(error, SourceError::Busy { .. }), "{error:?}");
    }
    app.execute_batch("COMMIT").unwrap();
    assert!(source.read(&shape, "1").unwrap().root.is_some());
}

/// What holds without snapshots: a writer waits for those who read, no longer, and then commits.
#[test]
fn in_rollback_mode_a_writer_waits_for_a_scan() {
    let ground = SqliteGround::new(Make { journal: "delete", ..WAL });
    let (source, shape) = flows(&ground);
    ground.execute("INSERT INTO workflows (id) VALUES (1), (2)");
    let app = ground.other();
    let write = || app.execute("UPDATE workflows SET name = 'x'", []);
    app.busy_timeout(Duration::ZERO).unwrap();
    let mut refused = 0;
    source.scan(&shape, &mut |_, _| refused += usize::from(write().is_err())).unwrap();
    assert_eq!(refused, 2, "a program without a busy timeout is refused, as beside any reader");
    write().unwrap();
    assert_eq!(ground.ask("SELECT name FROM workflows WHERE id = 2").as_deref(), Some("x"));
}

#[test]
fn what_a_trigger_of_the_schema_says_is_told_unless_it_has_values() {
    let (_ground, source, shape) = ground(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY);
         CREATE TABLE parts (id INTEGER PRIMARY KEY, doc INTEGER, name TEXT, price INTEGER CHECK (price > 0),
                             kind TEXT, CONSTRAINT small_price CHECK (price < 100 OR kind = 'dear'));
         CREATE TABLE audit (note TEXT NOT NULL);
         CREATE TRIGGER no_shouting BEFORE UPDATE OF name ON parts WHEN NEW.name = upper(NEW.name)
           BEGIN SELECT RAISE(ABORT, 'it''s too loud'); END;
         CREATE TRIGGER no_secrets BEFORE UPDATE OF name ON parts WHEN NEW.name LIKE 'secret%'
           BEGIN SELECT RAISE(ABORT, 'not ' || NEW.name); END;
         CREATE TRIGGER audited AFTER UPDATE OF kind ON parts BEGIN INSERT INTO audit VALUES (NEW.kind); END;
         INSERT INTO docs VALUES (1); INSERT INTO parts VALUES (1, 1, 'one', 1, 'cheap')",
        &["name", "price", "kind"],
    );
    let one = |column: &str, value| {
        refusal(save(&source, &shape, "1", vec![set(&shape, "1", &[(column, value)])])).2
    };
    assert_eq!(one("name", text("LOUD")), "is refused by a trigger: it's too loud");
    assert_eq!(one("name", text("secret sauce")), "is refused by a trigger");
    assert_eq!(one("price", int(-1)), "breaks the check price > 0");
    assert_eq!(one("price", int(1_000)), "breaks the check small_price");
    assert_eq!(one("kind", null()), "is refused: NOT NULL constraint failed: audit.note");
    assert!(matches!(
        save(&source, &shape, "1", vec![set(&shape, "1", &[("kind", text("dear"))])]),
        SaveOutcome::Saved(_)
    ));
}

#[test]
fn a_reference_that_is_checked_at_the_end_is_named_too() {
    let (ground, source, shape) = ground(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY);
         CREATE TABLE parts (id TEXT PRIMARY KEY, doc INTEGER, name TEXT,
                             next TEXT REFERENCES parts (id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE notes (part TEXT REFERENCES parts (id) DEFERRABLE INITIALLY DEFERRED);
         INSERT INTO docs VALUES (1); INSERT INTO parts VALUES ('a', 1, 'a', NULL), ('b', 1, 'b', NULL);
         INSERT INTO notes VALUES ('b')",
        &["name", "next"],
    );
    let rename = set(&shape, "a", &[("name", text("good"))]);
    let dangling = set(&shape, "a", &[("next", text("nobody"))]);
    let (key, column, what) = refusal(save(&source, &shape, "1", vec![rename.clone(), dangling]));
    assert_eq!(
        (key.as_str(), column.as_str(), what.as_str()),
        ("a", "next", "names a row that is not there")
    );
    let delete = Write { list: Some(0), key: "b".to_owned(), action: WriteAction::Delete };
    let (key, _, what) = refusal(save(&source, &shape, "1", vec![rename, delete]));
    assert_eq!((key.as_str(), what.as_str()), ("b", "is named by other rows"));
    assert_eq!(ground.ask("SELECT name FROM parts WHERE id = 'a'").as_deref(), Some("a"), "rolled back");
    // A ring is no mistake by the end of the transaction.
    let next = shape.lists[0].field("next").unwrap();
    let name = shape.lists[0].field("name").unwrap();
    let insert = WriteAction::Insert(vec![(name, text("c")), (next, text("a"))]);
    let ring = vec![
        set(&shape, "a", &[("next", text("c"))]),
        Write { list: Some(0), key: "c".to_owned(), action: insert },
    ];
    assert!(matches!(save(&source, &shape, "1", ring), SaveOutcome::Saved(_)));
}

#[test]
fn what_the_database_computes_is_read_and_not_written() {
    let (ground, source, shape) = ground(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY);
         CREATE TABLE parts (id INTEGER PRIMARY KEY, doc INTEGER, raw TEXT, loud TEXT AS (upper(raw)) STORED);
         INSERT INTO docs VALUES (1); INSERT INTO parts (id, doc, raw) VALUES (1, 1, 'x')",
        &["loud"],
    );
    source.install(&shape).unwrap();
    assert!(source.schema().unwrap().tables["parts"].columns["loud"].is_generated);
    assert_eq!(
        touched(&ground, &source, &shape, "UPDATE parts SET raw = 'y'"),
        ["1"],
        "it may change with any column"
    );
    assert_eq!(source.read(&shape, "1").unwrap().lists[0]["1"], [text("Y")]);
    let (_, column, what) =
        refusal(save(&source, &shape, "1", vec![set(&shape, "1", &[("loud", text("Z"))])]));
    assert_eq!((column.as_str(), what.as_str()), ("loud", "is computed by the database"));
}

#[test]
fn what_is_old_or_too_much_is_pruned_and_a_gap() {
    let ground = SqliteGround::new(WAL);
    let (source, shape) = flows(&ground);
    source.install(&shape).unwrap();
    let position = || source.outbox(&shape, None, 1).unwrap().unwrap().position;
    let continuity = |at| source.outbox(&shape, Some(at), 1).unwrap().unwrap().continuity;
    let count = || ground.ask("SELECT CAST(count(*) AS TEXT) FROM gangline_outbox").unwrap();
    let first = position();
    ground.execute("INSERT INTO workflows (id) VALUES (1), (2), (3)");
    let saved = save(
        &source,
        &shape,
        "1",
        vec![Write {
            list: None,
            key: "1".to_owned(),
            action: WriteAction::Update(vec![(shape.root.field("name").unwrap(), text("n"))]),
        }],
    );
    assert!(matches!(saved, SaveOutcome::Saved(_)));
    ground.execute("UPDATE gangline_outbox SET at = at - 7 * 86400 - 5 WHERE seq <= 3");
    source.prune(&shape).unwrap();
    assert_eq!(continuity(first), Continuity::Gap);
    assert_eq!(count(), "5", "the start, what is young");

    let some = position();
    ground.execute(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 100500)
         UPDATE workflows SET name = n.n FROM n WHERE id = 2 AND n.n <= 1;
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 100500)
         INSERT INTO gangline_outbox (source, kind, key, tag, at)
           SELECT 'flows', 'row', '2', random(), CAST(strftime('%s', 'now') AS INTEGER) FROM n",
    );
    let before = position();
    source.prune(&shape).unwrap();
    assert_eq!(count(), "100002", "the last 100,000, the start and the save");
    assert_eq!((continuity(some), continuity(before)), (Continuity::Gap, Continuity::Whole));
    assert_eq!(source.was_saved(&shape, "s").unwrap(), Some(true), "a save may be asked for");
    // The newest stays even if it is old: its number is not given again.
    ground.execute("UPDATE gangline_outbox SET at = 0");
    source.prune(&shape).unwrap();
    assert_eq!(count(), "2");
    assert_eq!(continuity(before), Continuity::Whole);
    assert_eq!(source.was_saved(&shape, "s").unwrap(), Some(false));
}

#[test]
fn names_that_others_have_are_left_alone() {
    let ground = SqliteGround::new(WAL);
    let (source, shape) = flows(&ground);
    ground.execute("CREATE TABLE gangline_outbox (theirs TEXT)");
    let error = source.install(&shape).unwrap_err().to_string();
    assert!(error.contains("gangline_outbox is a table of another program"), "{error}");
    source.uninstall(&shape).unwrap();
    source.prune(&shape).unwrap();
    ground
        .execute("INSERT INTO gangline_outbox VALUES ('kept'); ALTER TABLE gangline_outbox RENAME TO theirs");
    ground.execute("CREATE TRIGGER gangline_flows_jobs_ai AFTER INSERT ON jobs BEGIN SELECT 1; END");
    let error = source.install(&shape).unwrap_err().to_string();
    assert!(error.contains("gangline_flows_jobs_ai belongs to another program"), "{error}");
    ground.execute("DROP TRIGGER gangline_flows_jobs_ai");
    source.install(&shape).unwrap();
    // `flows` and `s_jobs` are spelt like `flows_s` and `jobs`, were it not for what stands in the trigger.
    let mut other = mapping();
    other.name = "flows_s".to_owned();
    ground.execute("CREATE TABLE s_jobs (id INTEGER PRIMARY KEY, workflow_id INTEGER, name TEXT)");
    let mut first = mapping();
    first.lists.truncate(1);
    first.lists[0].table = "s_jobs".to_owned();
    first.lists[0].fields.retain(|name, _| name == "name");
    let [first, other] =
        [first, other].map(|mapping| Shape::bind(mapping, &source.schema().unwrap()).unwrap());
    source.install(&first).unwrap();
    let error = source.install(&other).unwrap_err().to_string();
    assert!(error.contains("belongs to source flows: name this source otherwise"), "{error}");
    assert!(source.uninstall_sql(&other).unwrap().is_empty(), "nothing of it is there");
    source.uninstall(&other).unwrap();
    assert!(source.outbox(&first, None, 1).unwrap().is_some());
    // What one source leaves behind where another one stays is nothing of its own.
    let statements = source.uninstall_sql(&first).unwrap();
    source.uninstall(&first).unwrap();
    assert!(statements.iter().all(|statement| statement.contains("DROP")), "{statements:?}");
    assert!(source.uninstall_sql(&first).unwrap().is_empty());
}

#[test]
fn a_migration_goes_through_with_triggers_installed() {
    let ground = SqliteGround::new(WAL);
    let (source, shape) = flows(&ground);
    source.install(&shape).unwrap();
    ground.execute("ALTER TABLE jobs ADD COLUMN extra TEXT; ALTER TABLE jobs DROP COLUMN extra");
    ground.execute("ALTER TABLE workflows DROP COLUMN password; ALTER TABLE workflows RENAME TO flows");
    ground.execute("ALTER TABLE flows RENAME TO workflows; CREATE INDEX jobs_of ON jobs (workflow_id)");
    ground.execute("INSERT INTO workflows (id) VALUES (1)");
    assert!(source.outbox(&shape, None, 1).unwrap().is_some());
    // Tables that are made anew, as many migrations do, lose their triggers: the outbox no longer says that it is whole.
    ground.execute(
        "CREATE TABLE new (id INTEGER PRIMARY KEY, workflow_id INTEGER, job_id TEXT, condition TEXT);
                    DROP TABLE edges; ALTER TABLE new RENAME TO edges",
    );
    assert_eq!(source.outbox(&shape, None, 1).unwrap(), None);
    source.install(&shape).unwrap();
    assert_eq!(touched(&ground, &source, &shape, "INSERT INTO edges (id, workflow_id) VALUES (1, 1)"), ["1"]);
}

#[test]
fn a_root_that_is_too_large_is_told_and_holds_nobody_up() {
    let ground = SqliteGround::new(WAL);
    let (source, shape) = flows(&ground);
    ground.execute(
        "INSERT INTO workflows (id) VALUES (1), (2), (3);
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 100001)
         INSERT INTO edges (id, workflow_id) SELECT n, 2 FROM n",
    );
    let error = source.read(&shape, "2").unwrap_err();
    assert!(matches!(error, SourceError::TooLarge { limit: 100_000, what: "rows", .. }), "{error:?}");
    let mut seen = BTreeMap::new();
    source
        .scan(&shape, &mut |root, digest| {
            seen.insert(root.to_owned(), digest);
        })
        .unwrap();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen["1"], source.read(&shape, "1").unwrap().digest());
    assert_eq!(seen["2"].0, [0; 32]);
    ground.execute("DELETE FROM edges WHERE id <= 2");
    assert_eq!(source.read(&shape, "2").unwrap().lists[1].len(), 99_999);
}

//! What SQLite's own schemas make of a save: triggers that say nothing, clauses that undo everything, columns that take
//! only some values.

use bft_json_crdt::JsonValue;
use gangline_reconcile::{
    SaveOutcome, Shape, Write,
    conformance::{Ground as _, int, text},
};

use super::parts::{add, delete, ground, refusal, save, set};

#[test]
fn a_row_that_the_database_keeps_without_a_word_is_named() {
    let (ground, source, shape) = ground(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY);
         CREATE TABLE parts (id TEXT PRIMARY KEY, doc INTEGER, name TEXT, pos INTEGER);
         CREATE TRIGGER kept BEFORE UPDATE OF pos ON parts WHEN NEW.pos = 14 BEGIN SELECT RAISE(IGNORE); END;
         CREATE TRIGGER stays BEFORE DELETE ON parts WHEN OLD.id = 'b' BEGIN SELECT RAISE(IGNORE); END;
         CREATE TRIGGER out BEFORE INSERT ON parts WHEN NEW.id = 'n' BEGIN SELECT RAISE(IGNORE); END;
         INSERT INTO docs VALUES (1); INSERT INTO parts VALUES ('a', 1, 'A', 1), ('b', 1, 'B', 2)",
        &["name", "pos"],
    );
    let good = || set(&shape, "b", &[("name", text("good"))]);
    let (key, column, what) =
        refusal(save(&source, &shape, "1", vec![good(), set(&shape, "a", &[("pos", int(14))])]));
    assert_eq!((&*key, &*column), ("a", "pos"));
    assert!(what.contains("is kept as it is by the database"), "{what}");
    let (key, column, what) = refusal(save(&source, &shape, "1", vec![good(), delete("b")]));
    assert_eq!((&*key, &*column), ("b", "id"));
    assert!(what.contains("is kept as it is by the database"), "{what}");
    let (key, column, what) = refusal(save(&source, &shape, "1", vec![good(), add(&shape, "n", &[])]));
    assert_eq!((&*key, &*column), ("n", "id"));
    assert!(what.contains("not taken by the database"), "{what}");
    assert_eq!(ground.ask("SELECT name FROM parts WHERE id = 'b'").as_deref(), Some("B"), "rolled back");
}

#[test]
fn an_order_without_detours_is_preferred() {
    let (ground, source, shape) = ground(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY);
         CREATE TABLE parts (id TEXT PRIMARY KEY, doc INTEGER, pos INTEGER NOT NULL, UNIQUE (doc, pos));
         CREATE TABLE audit (id INTEGER PRIMARY KEY, what TEXT);
         CREATE TRIGGER seen AFTER UPDATE OF pos ON parts
           BEGIN INSERT INTO audit (what) VALUES (NEW.id || NEW.pos); END;
         INSERT INTO docs VALUES (1);
         INSERT INTO parts VALUES ('a', 1, 1), ('b', 1, 2), ('c', 1, 3), ('d', 1, 4)",
        &["pos"],
    );
    let pos = |key: &str, pos: i64| set(&shape, key, &[("pos", int(pos))]);
    let down = vec![pos("a", 2), pos("b", 3), pos("c", 4), pos("d", 5)];
    assert!(matches!(save(&source, &shape, "1", down), SaveOutcome::Saved(_)));
    let seen = || ground.ask("SELECT group_concat(what) FROM (SELECT what FROM audit ORDER BY id)");
    assert_eq!(seen().as_deref(), Some("d5,c4,b3,a2"));
    ground.execute("DELETE FROM audit");
    // A circle has to be opened at one place, beyond what is wanted.
    let round = vec![pos("a", 3), pos("b", 4), pos("c", 5), pos("d", 2)];
    assert!(matches!(save(&source, &shape, "1", round), SaveOutcome::Saved(_)));
    assert_eq!(ground.ask("SELECT count(*) || '' FROM audit").as_deref(), Some("5"), "{:?}", seen());
}

#[test]
fn a_circle_that_cannot_be_opened_is_refused_and_leaves_no_trace() {
    let (ground, source, shape) = ground(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY);
         CREATE TABLE parts (id TEXT PRIMARY KEY, doc INTEGER, name TEXT,
                             pos INTEGER NOT NULL CHECK (pos IN (1, 2)), UNIQUE (doc, pos));
         INSERT INTO docs VALUES (1); INSERT INTO parts VALUES ('a', 1, 'A', 1), ('b', 1, 'B', 2)",
        &["name", "pos"],
    );
    let writes = vec![
        set(&shape, "a", &[("name", text("X")), ("pos", int(2))]),
        set(&shape, "b", &[("name", text("Y")), ("pos", int(1))]),
    ];
    let (key, column, what) = refusal(save(&source, &shape, "1", writes));
    assert_eq!((&*key, &*column, &*what), ("b", "pos", "is there in another row"));
    assert_eq!(ground.ask("SELECT group_concat(name || pos) FROM parts").as_deref(), Some("A1,B2"));
}

#[test]
fn a_clause_that_undoes_everything_is_not_gone_round() {
    let (ground, source, shape) = ground(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY);
         CREATE TABLE parts (id TEXT PRIMARY KEY, doc INTEGER, name TEXT UNIQUE ON CONFLICT ROLLBACK, pos INTEGER);
         INSERT INTO docs VALUES (1); INSERT INTO parts VALUES ('a', 1, 'A', 1), ('b', 1, 'B', 2)",
        &["name", "pos"],
    );
    let writes = vec![
        set(&shape, "a", &[("name", text("B"))]),
        set(&shape, "b", &[("name", text("C")), ("pos", int(9))]),
    ];
    let (key, column, _) = refusal(save(&source, &shape, "1", writes));
    assert_eq!((&*key, &*column), ("a", "name"));
    let all = "SELECT group_concat(name || pos) FROM parts";
    assert_eq!(ground.ask(all).as_deref(), Some("A1,B2"), "what came after did not go through alone");
}

#[test]
fn what_others_name_moves_without_being_taken_along() {
    let (ground, source, shape) = ground(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY);
         CREATE TABLE parts (id TEXT PRIMARY KEY, doc INTEGER, name TEXT COLLATE NOCASE UNIQUE,
                             next TEXT REFERENCES parts (id) ON DELETE RESTRICT);
         CREATE TABLE notes (part TEXT REFERENCES parts (id) ON DELETE CASCADE);
         INSERT INTO docs VALUES (1);
         INSERT INTO parts VALUES ('a', 1, 'one', 'b'), ('b', 1, 'two', NULL), ('c', 1, 'three', 'a');
         INSERT INTO notes VALUES ('a'), ('b'), ('c')",
        &["name", "next"],
    );
    // Alike to the column's collation alone.
    let swap = vec![set(&shape, "a", &[("name", text("TWO"))]), set(&shape, "b", &[("name", text("ONE"))])];
    assert!(matches!(save(&source, &shape, "1", swap), SaveOutcome::Saved(_)));
    assert_eq!(ground.ask("SELECT count(*) || '' FROM notes").as_deref(), Some("3"));
    // b may go when nothing names it any more, and what stands for it has its name.
    let instead = vec![
        add(&shape, "n", &[("name", text("one"))]),
        set(&shape, "a", &[("next", text("n"))]),
        delete("b"),
    ];
    assert!(matches!(save(&source, &shape, "1", instead), SaveOutcome::Saved(_)));
    let all = "SELECT group_concat(id || name || coalesce(next, '-')) FROM (SELECT * FROM parts ORDER BY id)";
    assert_eq!(ground.ask(all).as_deref(), Some("aTWOn,cthreea,none-"));
    assert_eq!(ground.ask("SELECT count(*) || '' FROM notes").as_deref(), Some("2"));
}

/// Two parts whose names notes carry along as they change, if they are what `name` says.
fn named_by_notes(name: &str, key: &str) -> String {
    format!(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY);
         CREATE TABLE parts (id TEXT PRIMARY KEY, doc INTEGER, name {name} UNIQUE,
                             next TEXT REFERENCES parts (id) ON DELETE CASCADE);
         CREATE TABLE notes (id TEXT, part {name} REFERENCES parts (name) {key});
         INSERT INTO docs VALUES (1)"
    )
}

const NOTES: &str = "SELECT group_concat(id || coalesce(part, '-')) FROM (SELECT * FROM notes ORDER BY id)";

/// Used to park by NULL, which detached the notes of one part for good.
#[test]
fn rows_that_are_carried_along_are_not_lost_in_a_circle() {
    let schema = named_by_notes("TEXT", "ON UPDATE CASCADE");
    let (ground, source, shape) = ground(&schema, &["name", "next"]);
    ground.execute(
        "INSERT INTO parts VALUES ('a', 1, 'one', NULL), ('b', 1, 'two', NULL);
         INSERT INTO notes VALUES ('a', 'one'), ('b', 'two')",
    );
    let swap = vec![set(&shape, "a", &[("name", text("two"))]), set(&shape, "b", &[("name", text("one"))])];
    assert!(matches!(save(&source, &shape, "1", swap), SaveOutcome::Saved(_)));
    assert_eq!(ground.ask(NOTES).as_deref(), Some("atwo,bone"));
}

#[test]
fn a_circle_that_null_alone_opens_is_refused_if_that_detaches_rows() {
    let schema = named_by_notes("TEXT CHECK (name IN ('one', 'two'))", "ON UPDATE CASCADE");
    let schema = schema.replace("part TEXT CHECK (name IN ('one', 'two'))", "part TEXT");
    let (ground, source, shape) = ground(&schema, &["name", "next"]);
    ground.execute(
        "INSERT INTO parts VALUES ('a', 1, 'one', NULL), ('b', 1, 'two', NULL);
         INSERT INTO notes VALUES ('a', 'one'), ('b', 'two')",
    );
    let swap =
        || vec![set(&shape, "a", &[("name", text("two"))]), set(&shape, "b", &[("name", text("one"))])];
    let (_, column, what) = refusal(save(&source, &shape, "1", swap()));
    assert_eq!((&*column, &*what), ("name", "is there in another row"));
    assert_eq!(ground.ask(NOTES).as_deref(), Some("aone,btwo"));
    ground.execute("DELETE FROM notes");
    assert!(matches!(save(&source, &shape, "1", swap()), SaveOutcome::Saved(_)), "nothing to detach");
}

#[test]
fn a_row_that_is_deleted_out_of_a_circle_takes_along_what_it_would_have_taken() {
    for (key, expected) in [
        ("ON UPDATE CASCADE ON DELETE CASCADE", Some("bone")),
        ("ON UPDATE CASCADE ON DELETE SET NULL", Some("a-,bone")),
        ("ON UPDATE SET NULL ON DELETE SET NULL", Some("a-,b-")),
        // They would live on without a part, or as b's.
        ("ON UPDATE SET NULL ON DELETE CASCADE", None),
        ("ON DELETE CASCADE", None),
        ("ON UPDATE RESTRICT ON DELETE CASCADE", None),
        // b has the name that they say, whichever way it goes.
        ("", Some("aone")),
        ("ON DELETE RESTRICT", Some("aone")),
    ] {
        let (ground, source, shape) = ground(&named_by_notes("TEXT", key), &["name", "next"]);
        ground.execute(
            "INSERT INTO parts VALUES ('a', 1, 'one', NULL), ('b', 1, 'two', 'a');
             INSERT INTO notes VALUES ('a', 'one'), ('b', 'two')",
        );
        if expected == Some("aone") {
            ground.execute("DELETE FROM notes WHERE part = 'two'");
        }
        let writes = vec![set(&shape, "b", &[("name", text("one")), ("next", JsonValue::Null)]), delete("a")];
        let outcome = save(&source, &shape, "1", writes);
        let is_saved = matches!(outcome, SaveOutcome::Saved(_));
        assert_eq!(is_saved, expected.is_some(), "{key}: {outcome:?}, {:?}", ground.ask(NOTES));
        assert_eq!(ground.ask(NOTES).as_deref(), expected.or(Some("aone,btwo")), "{key}");
    }
}

/// Programs that do not hold foreign keys leave such rows. The number beyond the last is what they name most often.
#[test]
fn a_row_in_a_circle_is_not_taken_for_one_that_others_name_in_vain() {
    let schema = named_by_notes("INTEGER", "ON UPDATE CASCADE");
    let (ground, source, shape) = ground(&schema, &["name", "next"]);
    ground.execute(
        "INSERT INTO parts VALUES ('a', 1, 1, NULL), ('b', 1, 2, NULL);
         PRAGMA foreign_keys = OFF; INSERT INTO notes VALUES ('a', 1), ('b', 2), ('x', 3)",
    );
    // Numbers alone may be parked.
    ground.execute(
        "CREATE TRIGGER no BEFORE UPDATE ON parts WHEN NEW.name IS NULL BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    let swap = vec![set(&shape, "a", &[("name", int(2))]), set(&shape, "b", &[("name", int(1))])];
    assert!(matches!(save(&source, &shape, "1", swap), SaveOutcome::Saved(_)));
    assert_eq!(ground.ask(NOTES).as_deref(), Some("a2,b1,x3"));
}

/// Parts that each name the next, which all come after them: what has to wait is settled from the end.
fn chain(shape: &Shape, keys: &[String]) -> Vec<Write> {
    let next = |at: usize| keys.get(at + 1).map_or(JsonValue::Null, |next| text(next));
    keys.iter().enumerate().map(|(at, key)| add(shape, key, &[("next", next(at))])).collect()
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("p{n:03}")).collect()
}

/// Used to settle one row in each round, and to refuse what was left after a hundred of them.
#[test]
fn long_chains_of_rows_that_name_each_other_are_saved_and_deleted() {
    for then in ["", "ON DELETE RESTRICT", "ON DELETE CASCADE"] {
        let (ground, source, shape) = ground(
            &format!(
                "CREATE TABLE docs (id INTEGER PRIMARY KEY);
                 CREATE TABLE parts (id TEXT PRIMARY KEY, doc INTEGER, next TEXT REFERENCES parts (id) {then});
                 INSERT INTO docs VALUES (1)"
            ),
            &["next"],
        );
        let keys = keys(150);
        let outcome = save(&source, &shape, "1", chain(&shape, &keys));
        assert!(matches!(outcome, SaveOutcome::Saved(_)), "{then}: {outcome:?}");
        assert_eq!(ground.ask("SELECT count(next) || '' FROM parts").as_deref(), Some("149"));
        // From the end that is named on.
        let outcome = save(&source, &shape, "1", keys.iter().rev().map(|key| delete(key)).collect());
        assert!(matches!(outcome, SaveOutcome::Saved(_)), "{then}: {outcome:?}");
        assert_eq!(ground.ask("SELECT count(*) || '' FROM parts").as_deref(), Some("0"));
    }
}

#[test]
fn the_row_that_foreign_keys_refuse_is_named_whatever_waits_besides() {
    let (ground, source, shape) = ground(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY);
         CREATE TABLE parts (id TEXT PRIMARY KEY, doc INTEGER, next TEXT REFERENCES parts);
         CREATE TABLE notes (part TEXT REFERENCES parts);
         INSERT INTO docs VALUES (1); INSERT INTO parts VALUES ('y', 1, NULL), ('z', 1, NULL);
         INSERT INTO notes VALUES ('z')",
        &["next"],
    );
    let keys = keys(9);
    let mut writes = chain(&shape, &keys);
    writes.extend([delete("y"), delete("z")]);
    let refused = refusal(save(&source, &shape, "1", writes));
    assert_eq!(refused, ("z".to_owned(), "id".to_owned(), "is named by other rows".to_owned()));
    let mut writes = chain(&shape, &keys);
    writes[8] = add(&shape, &keys[8], &[("next", text("nobody"))]);
    writes.push(delete("y"));
    let refused = refusal(save(&source, &shape, "1", writes));
    assert_eq!(refused, ("p008".to_owned(), "next".to_owned(), "names a row that is not there".to_owned()));
    assert_eq!(ground.ask("SELECT group_concat(id) FROM parts").as_deref(), Some("y,z"));
}

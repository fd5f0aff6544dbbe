//! Saving: one transaction that compares, writes and names what is refused.

use bft_json_crdt::JsonValue;

use super::fixture::{
    TWO_WORKFLOWS, at, bind, delete, insert, int, mapping, null, read_all, real, request, scan, tables, text,
    update, workflows,
};
use super::{Check, Ground};
use crate::rows::{BadRow, Rows};
use crate::schema::Shape;
use crate::source::{RowSource, SaveOutcome, SaveRequest, SourceError, Write};

pub(super) const CHECKS: &[Check] = &[
    ("a_save_writes_what_it_says_and_nothing_else", a_save_writes_what_it_says_and_nothing_else),
    ("a_save_raises_the_version_once", a_save_raises_the_version_once),
    ("a_save_of_nothing_writes_nothing", a_save_of_nothing_writes_nothing),
    ("a_save_over_rows_that_moved_writes_nothing", a_save_over_rows_that_moved_writes_nothing),
    ("a_save_does_not_compare_versions", a_save_does_not_compare_versions),
    ("a_row_that_is_refused_is_named", a_row_that_is_refused_is_named),
    ("a_refused_save_leaves_no_trace", a_refused_save_leaves_no_trace),
    ("a_bad_row_is_neither_compared_nor_written", a_bad_row_is_neither_compared_nor_written),
    ("values_go_by_the_type_of_their_column", values_go_by_the_type_of_their_column),
    ("a_row_of_another_root_is_out_of_reach", a_row_of_another_root_is_out_of_reach),
    ("what_a_delete_takes_along_may_be_deleted_too", what_a_delete_takes_along_may_be_deleted_too),
    ("a_locked_database_is_busy", a_locked_database_is_busy),
    ("values_are_in_no_message", values_are_in_no_message),
];

#[track_caller]
fn saved(source: &dyn RowSource, shape: &Shape, request: &SaveRequest) -> Rows {
    let outcome = source.save(shape, request).unwrap();
    let SaveOutcome::Saved(rows) = outcome else { panic!("{outcome:?}") };
    assert_eq!(rows, source.read(shape, &request.root).unwrap(), "what is saved is what is there");
    rows
}

#[track_caller]
fn refused(source: &dyn RowSource, shape: &Shape, root: &str, writes: Vec<Write>) -> BadRow {
    let before = read_all(source, shape);
    let outcome = source.save(shape, &request(source, shape, root, writes)).unwrap();
    assert_eq!(read_all(source, shape), before, "nothing was written");
    let SaveOutcome::Refused(bad) = outcome else { panic!("{outcome:?}") };
    bad
}

fn a_save_writes_what_it_says_and_nothing_else(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    let before = read_all(source.as_ref(), &shape);
    let writes = vec![
        update(
            &shape,
            None,
            "1",
            &[("name", text("it's")), ("enabled", JsonValue::Bool(false)), ("ratio", real(0.25))],
        ),
        insert(&shape, Some(0), "new", &[("name", text("deploy")), ("weight", real(2.0))]),
        update(&shape, Some(0), "a", &[("body", null())]),
        insert(&shape, Some(1), "12", &[("job_id", text("new"))]),
        delete(Some(1), "1"),
        delete(Some(0), "b"),
    ];
    let rows = saved(source.as_ref(), &shape, &request(source.as_ref(), &shape, "1", writes));
    assert_eq!(rows.bad, []);
    let root = rows.root.unwrap();
    assert_eq!(root[at(&shape, None, "name")], text("it's"));
    assert_eq!(root[at(&shape, None, "enabled")], JsonValue::Bool(false));
    assert_eq!(root[at(&shape, None, "ratio")], real(0.25));
    assert_eq!(root[at(&shape, None, "concurrency")], int(4), "left as it was");
    assert_eq!(rows.lists[0].keys().collect::<Vec<_>>(), ["a", "new"]);
    let new = &rows.lists[0]["new"];
    assert_eq!(new[at(&shape, Some(0), "weight")], real(2.0));
    assert_eq!(new[at(&shape, Some(0), "enabled")], JsonValue::Bool(true), "the schema's default");
    assert_eq!(rows.lists[0]["a"][at(&shape, Some(0), "body")], null());
    assert_eq!(rows.lists[0]["a"][at(&shape, Some(0), "weight")], real(1.5), "left as it was");
    assert_eq!(rows.lists[1].keys().collect::<Vec<_>>(), ["12"]);
    let password = "SELECT password FROM workflows WHERE id = 1";
    assert_eq!(ground.ask(password).as_deref(), Some("hunter2"), "secrets are left alone");
    let after = read_all(source.as_ref(), &shape);
    assert_eq!((&after["2"], &after["30"]), (&before["2"], &before["30"]), "others are left alone");
    assert_eq!(scan(source.as_ref(), &shape), after);
}

fn a_save_raises_the_version_once(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    let writes = vec![
        update(&shape, Some(0), "a", &[("body", text("one"))]),
        update(&shape, Some(0), "b", &[("body", text("two"))]),
    ];
    assert_eq!(
        saved(source.as_ref(), &shape, &request(source.as_ref(), &shape, "1", writes)).version,
        Some(8)
    );
    let writes = vec![update(&shape, None, "1", &[("name", text("three"))])];
    assert_eq!(
        saved(source.as_ref(), &shape, &request(source.as_ref(), &shape, "1", writes)).version,
        Some(9)
    );

    let mut without = mapping();
    without.root.version = None;
    let without = bind(source.as_ref(), without);
    let writes = vec![update(&without, None, "1", &[("name", text("four"))])];
    assert_eq!(
        saved(source.as_ref(), &without, &request(source.as_ref(), &without, "1", writes)).version,
        None
    );
    assert_eq!(source.read(&shape, "1").unwrap().version, Some(9), "it is not in the mapping");
}

fn a_save_of_nothing_writes_nothing(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    source.install(&shape).unwrap();
    let pulse = source.pulse().unwrap();
    let rows = saved(source.as_ref(), &shape, &request(source.as_ref(), &shape, "1", Vec::new()));
    assert_eq!(rows.version, Some(7));
    assert_eq!(source.pulse().unwrap(), pulse);
    assert_eq!(source.was_saved(&shape, "save-1").unwrap(), Some(false));
}

fn a_save_over_rows_that_moved_writes_nothing(ground: &dyn Ground) {
    let steps = [
        "UPDATE workflows SET name = 'moved' WHERE id = 1",
        "UPDATE workflows SET enabled = NULL WHERE id = 1",
        "UPDATE workflows SET deleted_at = 'today' WHERE id = 1",
        "UPDATE jobs SET weight = 1.25 WHERE id = 'a'",
        "UPDATE jobs SET body = '' WHERE id = 'b'",
        "INSERT INTO jobs (id, workflow_id, name) VALUES ('z', 1, 'z')",
        "UPDATE jobs SET workflow_id = 2 WHERE id = 'b'",
        "DELETE FROM edges WHERE id = 1",
    ];
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    source.install(&shape).unwrap();
    for step in steps {
        let writes = vec![update(&shape, Some(0), "a", &[("body", text("mine"))])];
        let request = request(source.as_ref(), &shape, "1", writes);
        ground.execute(step);
        let there = source.read(&shape, "1").unwrap();
        assert_eq!(source.save(&shape, &request).unwrap(), SaveOutcome::Moved(there), "{step}");
        assert_ne!(ground.ask("SELECT body FROM jobs WHERE id = 'a'").as_deref(), Some("mine"));
        assert_eq!(source.was_saved(&shape, "save-1").unwrap(), Some(false));
    }
    let lost =
        request(source.as_ref(), &shape, "1", vec![update(&shape, None, "1", &[("name", text("mine"))])]);
    ground.execute("DELETE FROM workflows WHERE id = 1");
    assert_eq!(source.save(&shape, &lost).unwrap(), SaveOutcome::Moved(Rows::none(&shape)));
}

fn a_save_does_not_compare_versions(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    let writes = vec![update(&shape, None, "1", &[("name", text("mine"))])];
    let request = request(source.as_ref(), &shape, "1", writes);
    ground.execute("UPDATE workflows SET lock_version = 40 WHERE id = 1");
    assert_eq!(saved(source.as_ref(), &shape, &request).version, Some(41));
}

fn a_row_that_is_refused_is_named(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    let jobs = Some(0);
    let check = |writes: Vec<Write>, list: Option<usize>, key: &str, column: &str| {
        let bad = refused(source.as_ref(), &shape, "1", writes);
        let found = (bad.list, bad.key.as_deref(), bad.column.as_str());
        assert_eq!(found, (list, Some(key), column), "{}", bad.what);
        assert!(!bad.what.is_empty());
        bad.what
    };
    check(vec![update(&shape, jobs, "a", &[("name", null())])], jobs, "a", "name");
    check(vec![insert(&shape, jobs, "n", &[("body", text("no name"))])], jobs, "n", "name");
    check(vec![insert(&shape, jobs, "c", &[("name", text("taken"))])], jobs, "c", "id");
    let good = update(&shape, jobs, "a", &[("body", text("good"))]);
    let what = check(
        vec![good, update(&shape, Some(1), "1", &[("job_id", text("no such job"))])],
        Some(1),
        "1",
        "job_id",
    );
    assert!(what.contains("not there"), "{what}");
    let twice = insert(&shape, jobs, "n", &[("name", text("fetch"))]);
    let bad = refused(source.as_ref(), &shape, "1", vec![twice]);
    assert_eq!((bad.list, bad.key.as_deref()), (jobs, Some("n")));
    assert!(["workflow_id", "name"].contains(&bad.column.as_str()), "{bad:?}");
    // A key that its column cannot hold.
    check(vec![insert(&shape, Some(1), "seven", &[])], Some(1), "seven", "id");
    check(vec![update(&shape, None, "1", &[("concurrency", text("four"))])], None, "1", "concurrency");
    check(vec![update(&shape, None, "1", &[("ratio", text("half"))])], None, "1", "ratio");
    check(vec![update(&shape, None, "1", &[("enabled", int(1))])], None, "1", "enabled");
    check(vec![update(&shape, None, "1", &[("name", int(1))])], None, "1", "name");
    check(vec![update(&shape, None, "1", &[("ratio", real(f64::NAN))])], None, "1", "ratio");
}

fn a_refused_save_leaves_no_trace(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    source.install(&shape).unwrap();
    let at = source.outbox(&shape, None, 1).unwrap().unwrap().position;
    let writes = vec![
        update(&shape, Some(0), "a", &[("body", text("good"))]),
        insert(&shape, Some(0), "n", &[("name", text("good"))]),
        update(&shape, Some(0), "b", &[("name", null())]),
    ];
    refused(source.as_ref(), &shape, "1", writes);
    let read = source.outbox(&shape, Some(at), 10).unwrap().unwrap();
    assert_eq!((read.roots.len(), read.position), (0, at));
    assert_eq!(source.was_saved(&shape, "save-1").unwrap(), Some(false));
    let writes = vec![update(&shape, Some(0), "a", &[("body", text("good"))])];
    saved(source.as_ref(), &shape, &request(source.as_ref(), &shape, "1", writes));
}

fn a_bad_row_is_neither_compared_nor_written(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    let long = "x".repeat(4_000_000);
    let writes = vec![
        update(&shape, Some(0), "b", &[("body", text("mine"))]),
        update(&shape, None, "1", &[("name", text("mine"))]),
    ];
    let before_bad = request(source.as_ref(), &shape, "1", writes);
    ground.execute(&format!("UPDATE jobs SET body = '{long}' WHERE id = 'a'"));
    let writes = vec![update(&shape, Some(0), "a", &[("weight", real(3.0))])];
    let bad = refused(source.as_ref(), &shape, "1", writes);
    assert_eq!((bad.key.as_deref(), bad.column.as_str()), (Some("a"), "body"));
    let rows = saved(source.as_ref(), &shape, &before_bad);
    assert_eq!(rows.root.unwrap()[at(&shape, None, "name")], text("mine"));
    assert_eq!(rows.lists[0]["b"][at(&shape, Some(0), "body")], text("mine"));
    // What was bad when it was expected is left out as well.
    let mut request =
        request(source.as_ref(), &shape, "1", vec![update(&shape, None, "1", &[("name", text("again"))])]);
    ground.execute("UPDATE jobs SET body = 'short' WHERE id = 'a'");
    saved(source.as_ref(), &shape, &request);
    request.writes = vec![delete(Some(0), "a")];
    request.expected.root = source.read(&shape, "1").unwrap().root;
    let outcome = source.save(&shape, &request).unwrap();
    assert!(matches!(outcome, SaveOutcome::Refused(_)), "{outcome:?}");
}

fn values_go_by_the_type_of_their_column(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    let save = |named: &[(&str, JsonValue)]| {
        let request = request(source.as_ref(), &shape, "1", vec![update(&shape, None, "1", named)]);
        saved(source.as_ref(), &shape, &request).root.unwrap()
    };
    let column = |column: &str| at(&shape, None, column);
    assert_eq!(save(&[("ratio", int(5))])[column("ratio")], real(5.0), "5 is 5.0 in a column of floats");
    assert_eq!(save(&[("concurrency", real(5.0))])[column("concurrency")], int(5));
    for exact in [i64::MAX, i64::MIN, 9_007_199_254_740_993] {
        assert_eq!(save(&[("concurrency", int(exact))])[column("concurrency")], int(exact));
    }
    for exact in [0.1, -1e300, f64::MIN_POSITIVE, 1.0 / 3.0] {
        assert_eq!(save(&[("ratio", real(exact))])[column("ratio")], real(exact));
    }
    for exact in ["", "null", "5", "x'y\"z", "a\nb\t\u{1f600}\u{feff}", " 7 "] {
        assert_eq!(save(&[("name", text(exact))])[column("name")], text(exact));
        let begun = JsonValue::Text(exact.to_owned());
        assert_eq!(save(&[("name", begun)])[column("name")], text(exact));
    }
    assert_eq!(save(&[("enabled", null()), ("name", null())])[column("enabled")], null());
}

fn a_row_of_another_root_is_out_of_reach(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    let before = read_all(source.as_ref(), &shape);
    for write in [update(&shape, Some(0), "c", &[("name", text("mine"))]), delete(Some(0), "c")] {
        let outcome = source.save(&shape, &request(source.as_ref(), &shape, "1", vec![write])).unwrap();
        assert!(matches!(outcome, SaveOutcome::Moved(_)), "{outcome:?}");
    }
    let other = update(&shape, None, "2", &[("name", text("mine"))]);
    refused(source.as_ref(), &shape, "1", vec![other]);
    let orphan = insert(&shape, Some(0), "o", &[("name", text("orphan"))]);
    refused(source.as_ref(), &shape, "77", vec![orphan]);
    assert_eq!(read_all(source.as_ref(), &shape), before);
}

fn what_a_delete_takes_along_may_be_deleted_too(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    // The edge names the job and goes with it.
    let writes = vec![delete(Some(0), "b"), delete(Some(1), "1")];
    let rows = saved(source.as_ref(), &shape, &request(source.as_ref(), &shape, "1", writes));
    assert!(rows.lists[1].is_empty());
    let writes = vec![delete(None, "1")];
    let rows = saved(source.as_ref(), &shape, &request(source.as_ref(), &shape, "1", writes));
    assert_eq!(rows, Rows::none(&shape));
    let writes = vec![insert(&shape, None, "1", &[("name", text("anew"))])];
    let rows = saved(source.as_ref(), &shape, &request(source.as_ref(), &shape, "1", writes));
    assert!(rows.root.is_some() && rows.version.is_some());
}

fn a_locked_database_is_busy(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    let writes = vec![update(&shape, None, "2", &[("name", text("mine"))])];
    let request = request(source.as_ref(), &shape, "2", writes);
    // The other program has written the very row, and not committed yet.
    ground.execute_while("UPDATE workflows SET concurrency = 9 WHERE id = 1", &mut || {
        if !ground.writers_wait_for_readers() {
            source.read(&shape, "2").unwrap();
        }
    });
    ground.execute_while("UPDATE workflows SET concurrency = 9 WHERE id = 2", &mut || {
        let error = source.save(&shape, &request).unwrap_err();
        assert!(matches!(error, SourceError::Busy { .. }), "{error:?}");
        assert!(error.to_string().contains(source.place()), "{error}");
    });
    assert!(matches!(source.save(&shape, &request).unwrap(), SaveOutcome::Moved(_)));
}

fn values_are_in_no_message(ground: &dyn Ground) {
    let mut tables = tables();
    // A value that the schema refuses is a value still.
    tables[0].unique.push(vec!["name".to_owned()]);
    ground.create(&tables);
    let source = ground.open();
    let shape = bind(source.as_ref(), mapping());
    ground.execute(TWO_WORKFLOWS);
    ground.execute("UPDATE workflows SET name = 'swordfish' WHERE id = 2");
    let writes = vec![update(&shape, None, "1", &[("name", text("swordfish"))])];
    let bad = refused(source.as_ref(), &shape, "1", writes);
    assert_eq!((bad.list, bad.key.as_deref(), bad.column.as_str()), (None, Some("1"), "name"));
    assert!(!format!("{bad:?}").contains("swordfish"), "{bad:?}");
}

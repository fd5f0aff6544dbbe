//! Lists whose key is the parent column: one row for each root, or none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fixture::{
    TWO_WORKFLOWS, at, bad, bind, delete, insert, int, mapping, read_all, request, scan, table, tables, text,
    update,
};
use super::{Check, Ground};
use crate::mapping::{Fields, ListTable, Policy};
use crate::schema::{ColumnKind, Shape};
use crate::source::{Continuity, RowSource, SaveOutcome};

pub(super) const CHECKS: &[Check] = &[
    ("a_row_that_is_its_roots_own_is_read", a_row_that_is_its_roots_own_is_read),
    ("a_row_that_is_its_roots_own_is_followed", a_row_that_is_its_roots_own_is_followed),
    ("a_row_that_is_its_roots_own_is_saved", a_row_that_is_its_roots_own_is_saved),
    ("a_row_of_another_root_is_not_made", a_row_of_another_root_is_not_made),
];

/// Its place among the lists.
const LIMITS: Option<usize> = Some(2);

/// Workflows with a row of limits each, but for one that has none.
fn limits(ground: &dyn Ground) -> (Arc<dyn RowSource>, Shape) {
    let mut limits = table(
        "limits",
        &[
            ("workflow_id", ColumnKind::Integer),
            ("minutes=60", ColumnKind::Integer),
            ("note?", ColumnKind::Text),
        ],
    );
    limits.references = vec![("workflow_id".to_owned(), "workflows".to_owned())];
    let mut tables = tables();
    tables.push(limits);
    ground.create(&tables);
    ground.execute(TWO_WORKFLOWS);
    ground.execute(
        "INSERT INTO limits (workflow_id, minutes, note) VALUES (1, 5, 'short');
         INSERT INTO limits (workflow_id, note) VALUES (2, 'usual')",
    );
    let mut mapping = mapping();
    let field = |name: &str| (name.to_owned(), Policy::DbWins);
    mapping.lists.push(ListTable {
        table: "limits".to_owned(),
        parent: "workflow_id".to_owned(),
        key: "workflow_id".to_owned(),
        fields: Fields::from([field("minutes"), field("note")]),
        refs: BTreeMap::new(),
        secret: BTreeSet::new(),
    });
    let source = ground.open();
    let shape = bind(source.as_ref(), mapping);
    (source, shape)
}

fn a_row_that_is_its_roots_own_is_read(ground: &dyn Ground) {
    let (source, shape) = limits(ground);
    for (root, minutes, note) in [("1", 5, "short"), ("2", 60, "usual")] {
        let rows = source.read(&shape, root).unwrap();
        assert_eq!(rows.lists[2].keys().collect::<Vec<_>>(), [root]);
        let row = &rows.lists[2][root];
        assert_eq!(row[at(&shape, LIMITS, "minutes")], int(minutes));
        assert_eq!(row[at(&shape, LIMITS, "note")], text(note));
        assert_eq!(bad(&shape, &rows), [""; 0]);
    }
    assert!(source.read(&shape, "30").unwrap().lists[2].is_empty());
    assert_eq!(scan(source.as_ref(), &shape), read_all(source.as_ref(), &shape));
}

fn a_row_that_is_its_roots_own_is_followed(ground: &dyn Ground) {
    let (source, shape) = limits(ground);
    source.install(&shape).unwrap();
    let mut at = source.outbox(&shape, None, 1).unwrap().unwrap().position;
    let mut digests = scan(source.as_ref(), &shape);
    let steps: [(&str, &[&str]); 5] = [
        ("UPDATE limits SET minutes = 6 WHERE workflow_id = 1", &["1"]),
        ("INSERT INTO limits (workflow_id) VALUES (30)", &["30"]),
        ("DELETE FROM limits WHERE workflow_id = 30", &["30"]),
        ("UPDATE limits SET workflow_id = 30 WHERE workflow_id = 2", &["2", "30"]),
        ("DELETE FROM limits", &["1", "30"]),
    ];
    for (sql, expected) in steps {
        ground.execute(sql);
        let read = source.outbox(&shape, Some(at), 100).unwrap().unwrap();
        assert_eq!(read.continuity, Continuity::Whole, "{sql}");
        assert_eq!(
            read.roots.iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>(),
            expected,
            "{sql}"
        );
        at = read.position;
        let now = scan(source.as_ref(), &shape);
        assert_eq!(now, read_all(source.as_ref(), &shape), "{sql}");
        let changed = now.iter().filter(|(root, digest)| digests.get(*root) != Some(digest));
        assert_eq!(changed.map(|(root, _)| root).collect::<Vec<_>>(), expected, "{sql}");
        digests = now;
    }
}

fn a_row_that_is_its_roots_own_is_saved(ground: &dyn Ground) {
    let (source, shape) = limits(ground);
    let before = read_all(source.as_ref(), &shape);
    let save = |root: &str, write| {
        let outcome = source.save(&shape, &request(source.as_ref(), &shape, root, vec![write])).unwrap();
        let SaveOutcome::Saved(rows) = outcome else { panic!("{outcome:?}") };
        assert_eq!(rows, source.read(&shape, root).unwrap());
        rows
    };
    let rows = save("1", update(&shape, LIMITS, "1", &[("minutes", int(7))]));
    assert_eq!(rows.lists[2]["1"][at(&shape, LIMITS, "minutes")], int(7));
    assert_eq!(rows.lists[2]["1"][at(&shape, LIMITS, "note")], text("short"), "left as it was");
    assert_eq!(rows.version, Some(8));

    let rows = save("30", insert(&shape, LIMITS, "30", &[("note", text("new"))]));
    assert_eq!(rows.lists[2]["30"][at(&shape, LIMITS, "minutes")], int(60), "the schema's default");
    assert_eq!(rows.lists[2]["30"][at(&shape, LIMITS, "note")], text("new"));
    assert!(save("30", delete(LIMITS, "30")).lists[2].is_empty());
    assert_eq!(read_all(source.as_ref(), &shape)["2"], before["2"], "others are left alone");
}

fn a_row_of_another_root_is_not_made(ground: &dyn Ground) {
    let (source, shape) = limits(ground);
    let before = read_all(source.as_ref(), &shape);
    for (root, key) in [("30", "1"), ("30", "31"), ("1", "30")] {
        let write = insert(&shape, LIMITS, key, &[("note", text("astray"))]);
        let outcome = source.save(&shape, &request(source.as_ref(), &shape, root, vec![write])).unwrap();
        let SaveOutcome::Refused(bad) = outcome else { panic!("{key} in {root}: {outcome:?}") };
        assert_eq!((bad.list, bad.key.as_deref(), &*bad.column), (LIMITS, Some(key), "workflow_id"));
        assert_eq!(read_all(source.as_ref(), &shape), before, "{key} in {root}");
    }
    for write in [update(&shape, LIMITS, "2", &[("note", text("astray"))]), delete(LIMITS, "2")] {
        let outcome = source.save(&shape, &request(source.as_ref(), &shape, "1", vec![write])).unwrap();
        assert!(matches!(outcome, SaveOutcome::Moved(_)), "{outcome:?}");
        assert_eq!(read_all(source.as_ref(), &shape), before);
    }
}

//! What is read: schemas, rows, digests, roots, pulses.

use std::collections::BTreeMap;

use bft_json_crdt::JsonValue;

use super::fixture::{
    TWO_WORKFLOWS, at, bad, bind, int, mapping, null, read_all, real, scan, table, tables, text, workflows,
};
use super::{Check, Ground};
use crate::rows::Rows;
use crate::schema::ColumnKind;
use crate::source::SourceError;

pub(super) const CHECKS: &[Check] = &[
    ("the_schema_says_what_a_mapping_needs", the_schema_says_what_a_mapping_needs),
    ("rows_come_back_as_they_were_written", rows_come_back_as_they_were_written),
    ("a_root_that_is_gone_has_no_rows", a_root_that_is_gone_has_no_rows),
    ("a_root_is_named_by_its_digits", a_root_is_named_by_its_digits),
    ("a_bad_row_is_its_own", a_bad_row_is_its_own),
    ("a_text_that_is_too_long_is_bad_by_itself", a_text_that_is_too_long_is_bad_by_itself),
    ("a_secret_column_is_never_read", a_secret_column_is_never_read),
    ("a_scan_has_the_digests_of_reads", a_scan_has_the_digests_of_reads),
    ("a_scan_tells_what_has_changed", a_scan_tells_what_has_changed),
    ("a_scan_is_of_one_moment", a_scan_is_of_one_moment),
    ("texts_can_be_names_of_roots", texts_can_be_names_of_roots),
    ("roots_come_in_the_order_of_their_bytes", roots_come_in_the_order_of_their_bytes),
    ("the_pulse_rises_with_commits_of_others", the_pulse_rises_with_commits_of_others),
    ("a_column_that_is_gone_is_named", a_column_that_is_gone_is_named),
    ("odd_names_are_names", odd_names_are_names),
];

fn the_schema_says_what_a_mapping_needs(ground: &dyn Ground) {
    ground.create(&tables());
    let schema = ground.open().schema().unwrap();
    assert_eq!(schema.tables.keys().collect::<Vec<_>>(), ["edges", "jobs", "workflows"]);
    for spec in tables() {
        let found = &schema.tables[&spec.name];
        assert!(!found.is_view);
        assert_eq!(found.unique, [spec.columns[0].name.clone()], "{}", spec.name);
        assert_eq!(found.columns.len(), spec.columns.len());
        for column in &spec.columns {
            let place = format!("{}.{}", spec.name, column.name);
            let seen = &found.columns[&column.name];
            assert_eq!(seen.kind, column.kind, "{place}");
            assert_eq!(seen.is_nullable, column.is_nullable, "{place}");
            if column.is_nullable || column.default.is_some() {
                assert!(seen.has_default, "{place} may be left out");
            }
            assert!(!seen.is_generated && !seen.declared.is_empty(), "{place}");
        }
    }
    let name = &schema.tables["jobs"].columns["name"];
    assert!(!name.has_default && !name.is_nullable, "a job has a name");
}

fn rows_come_back_as_they_were_written(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    ground.execute(
        "UPDATE workflows SET concurrency = -9223372036854775807, name = 'it''s \"ü\" 漢字 😀' WHERE id = 2;
         UPDATE jobs SET body = '' WHERE id = 'b'",
    );
    let rows = source.read(&shape, "1").unwrap();
    assert_eq!(rows.bad, []);
    assert_eq!(rows.version, Some(7));
    let fields = shape.root.fields.iter().map(|field| field.column.as_str());
    let root: BTreeMap<&str, JsonValue> = fields.zip(rows.root.unwrap()).collect();
    let amount = &root["amount"];
    assert!(*amount == int(10) || *amount == real(10.0), "{amount:?}");
    assert_eq!(
        (&root["name"], &root["concurrency"], &root["ratio"], &root["enabled"], &root["deleted_at"]),
        (&text("build"), &int(4), &real(0.5), &JsonValue::Bool(true), &null())
    );
    assert_eq!(rows.lists[0].keys().collect::<Vec<_>>(), ["a", "b"]);
    let job = |key: &str, column: &str| rows.lists[0][key][at(&shape, Some(0), column)].clone();
    assert_eq!((job("a", "body"), job("a", "weight")), (text("git pull"), real(1.5)));
    assert_eq!((job("b", "body"), job("b", "weight")), (text(""), null()), "an empty text is not null");
    assert_eq!((job("a", "enabled"), job("b", "enabled")), (JsonValue::Bool(true), JsonValue::Bool(false)));
    assert_eq!(rows.lists[1]["1"][at(&shape, Some(1), "job_id")], text("b"));
    let rows = source.read(&shape, "2").unwrap();
    let root = rows.root.unwrap();
    assert_eq!(root[at(&shape, None, "name")], text("it's \"ü\" 漢字 😀"));
    assert_eq!(root[at(&shape, None, "concurrency")], int(-9_223_372_036_854_775_807), "integers are exact");
}

fn a_root_that_is_gone_has_no_rows(ground: &dyn Ground) {
    // Without a reference that the database checks, rows outlive their root.
    let mut tables = tables();
    tables.iter_mut().for_each(|table| table.references.clear());
    ground.create(&tables);
    let source = ground.open();
    let shape = bind(source.as_ref(), mapping());
    ground.execute(TWO_WORKFLOWS);
    ground.execute("DELETE FROM workflows WHERE id = 1");
    assert_eq!(source.read(&shape, "1").unwrap(), Rows::none(&shape));
    assert_eq!(source.read(&shape, "nobody").unwrap(), Rows::none(&shape));
    assert_eq!(scan(source.as_ref(), &shape).keys().collect::<Vec<_>>(), ["2", "30"]);
    assert_eq!(scan(source.as_ref(), &shape), read_all(source.as_ref(), &shape));
}

fn a_root_is_named_by_its_digits(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    assert!(source.read(&shape, "30").unwrap().root.is_some());
    for no in ["030", "+30", "30 ", "30.0", "3e1", "", "'30'", "30; DROP TABLE jobs"] {
        assert_eq!(source.read(&shape, no).unwrap(), Rows::none(&shape), "{no:?} names no row");
    }
}

fn a_bad_row_is_its_own(ground: &dyn Ground) {
    let column = |kind: ColumnKind| match kind {
        ColumnKind::Integer => Some("i?"),
        ColumnKind::Float => Some("f?"),
        ColumnKind::Number => Some("n?"),
        ColumnKind::Boolean => Some("b?"),
        ColumnKind::Text => Some("t?"),
        ColumnKind::Other => None,
    };
    let kinds =
        [ColumnKind::Integer, ColumnKind::Float, ColumnKind::Number, ColumnKind::Boolean, ColumnKind::Text];
    let mut columns = vec![("id", ColumnKind::Integer), ("workflow_id", ColumnKind::Integer)];
    columns.extend(kinds.into_iter().filter_map(|kind| Some((column(kind)?, kind))));
    let mut all = tables();
    all.push(table("things", &columns));
    ground.create(&all);
    let source = ground.open();
    let mut mapping = mapping();
    let mut list = mapping.lists.remove(0);
    list.table = "things".to_owned();
    list.fields = ["i", "f", "n", "b", "t"].map(|name| (name.to_owned(), crate::Policy::DbWins)).into();
    mapping.lists = vec![list];
    let shape = bind(source.as_ref(), mapping);
    ground.execute("INSERT INTO workflows (id, name) VALUES (1, 'one')");
    ground.execute("INSERT INTO things (id, workflow_id, i, t) VALUES (0, 1, 5, 'good')");
    let mut expected = Vec::new();
    for (n, (kind, literal)) in (1_usize..).zip(ground.bad_values()) {
        let column = column(kind).unwrap().trim_end_matches('?');
        ground.execute(&format!("INSERT INTO things (id, workflow_id, {column}) VALUES ({n}, 1, {literal})"));
        expected.push((n.to_string(), format!("things {n} {column}")));
    }
    expected.sort();
    let rows = source.read(&shape, "1").unwrap();
    assert_eq!(bad(&shape, &rows), expected.into_iter().map(|(_, line)| line).collect::<Vec<_>>());
    assert_eq!(rows.lists[0].keys().collect::<Vec<_>>(), ["0"], "the good one is there");
    assert!(rows.root.is_some());
    assert_eq!(scan(source.as_ref(), &shape), read_all(source.as_ref(), &shape));
}

fn a_text_that_is_too_long_is_bad_by_itself(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    let long = "a very long story ".repeat(600_000);
    ground.execute(&format!("UPDATE jobs SET body = '{long}' WHERE id = 'a'"));
    let rows = source.read(&shape, "1").unwrap();
    assert_eq!(bad(&shape, &rows), ["jobs a body"]);
    assert!(!format!("{:?}", rows.bad).contains("very long story"), "values are in no message");
    assert_eq!(rows.lists[0].keys().collect::<Vec<_>>(), ["b"]);
    let fits = "x".repeat(3_000_000);
    ground.execute(&format!("UPDATE jobs SET body = '{fits}' WHERE id = 'a'"));
    assert_eq!(source.read(&shape, "1").unwrap().bad, []);
}

fn a_secret_column_is_never_read(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    let before = scan(source.as_ref(), &shape);
    let rows = source.read(&shape, "1").unwrap();
    assert!(!format!("{rows:?}").contains("hunter2"));
    ground.execute("UPDATE workflows SET password = 'correct horse'");
    assert_eq!(scan(source.as_ref(), &shape), before, "what is never read makes no difference");
}

fn a_scan_has_the_digests_of_reads(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    assert!(scan(source.as_ref(), &shape).is_empty());
    ground.execute(TWO_WORKFLOWS);
    for id in [3, 9, 10, 11, 100, 101] {
        ground.execute(&format!("INSERT INTO workflows (id, name) VALUES ({id}, 'no. {id}')"));
        for n in 0..id % 7 {
            let insert = "INSERT INTO jobs (id, workflow_id, name) VALUES";
            ground.execute(&format!("{insert} ('{n}-of-{id}', {id}, 'job {n}')"));
            ground.execute(&format!(
                "INSERT INTO edges (id, workflow_id, job_id) VALUES ({n}{id:03}, {id}, '{n}-of-{id}')"
            ));
        }
    }
    let found = scan(source.as_ref(), &shape);
    assert_eq!(found.len(), 9);
    assert_eq!(found, read_all(source.as_ref(), &shape));
}

fn a_scan_tells_what_has_changed(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    let mut before = scan(source.as_ref(), &shape);
    let steps = [
        ("UPDATE jobs SET body = 'git fetch' WHERE id = 'a'", vec!["1"]),
        ("UPDATE jobs SET body = NULL WHERE id = 'a'", vec!["1"]),
        ("UPDATE jobs SET body = '' WHERE id = 'a'", vec!["1"]),
        ("UPDATE workflows SET lock_version = lock_version + 1 WHERE id = 30", vec!["30"]),
        ("UPDATE jobs SET workflow_id = 30 WHERE id = 'a'", vec!["1", "30"]),
        ("UPDATE workflows SET deleted_at = '2030-01-01' WHERE id = 2", vec!["2"]),
        ("DELETE FROM edges WHERE id = 2", vec!["2"]),
        ("UPDATE workflows SET name = name", vec![]),
    ];
    for (sql, changed) in steps {
        ground.execute(sql);
        let after = scan(source.as_ref(), &shape);
        let differs = |root: &&String| before.get(*root) != after.get(*root);
        assert_eq!(after.keys().filter(differs).collect::<Vec<_>>(), changed, "{sql}");
        before = after;
    }
}

fn a_scan_is_of_one_moment(ground: &dyn Ground) {
    if ground.writers_wait_for_readers() {
        return;
    }
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    let before = read_all(source.as_ref(), &shape);
    let mut seen = BTreeMap::new();
    source
        .scan(&shape, &mut |root, digest| {
            // The writer is not held up, and the scan does not see it.
            let n = seen.len();
            ground.execute(&format!("UPDATE workflows SET name = 'renamed {n}'; DELETE FROM edges"));
            seen.insert(root.to_owned(), digest);
        })
        .unwrap();
    assert_eq!(seen, before);
    assert_ne!(scan(source.as_ref(), &shape), before);
}

fn texts_can_be_names_of_roots(ground: &dyn Ground) {
    let mut tables = tables();
    for table in &mut tables {
        let is_name = |column: &str| column == "workflow_id" || (column == "id" && table.name == "workflows");
        table.columns.iter_mut().filter(|column| is_name(&column.name)).for_each(|column| {
            column.kind = ColumnKind::Text;
        });
    }
    ground.create(&tables);
    let source = ground.open();
    let shape = bind(source.as_ref(), mapping());
    // Bytes, code units of 16 bits and what people call alphabetical give four orders of these.
    let names = ["10", "2", "B", "a", "ab", "a b", "Ä", "ä", "\u{e000}", "\u{10000}", "ﬀ", "z'z", "007", "%"];
    for (n, name) in names.iter().enumerate() {
        let name = name.replace('\'', "''");
        ground.execute(&format!("INSERT INTO workflows (id, name) VALUES ('{name}', 'n')"));
        for job in 0..n % 3 {
            let insert = "INSERT INTO jobs (id, workflow_id, name) VALUES";
            ground.execute(&format!("{insert} ('{n}/{job}', '{name}', 'job {job}')"));
        }
    }
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    assert_eq!(source.roots(&shape, None, 100).unwrap(), sorted);
    let found = scan(source.as_ref(), &shape);
    assert_eq!(found.keys().collect::<Vec<_>>(), sorted);
    assert_eq!(found, read_all(source.as_ref(), &shape));
    for (n, name) in names.iter().enumerate() {
        let rows = source.read(&shape, name).unwrap();
        assert_eq!((rows.root.is_some(), rows.lists[0].len()), (true, n % 3), "{name}");
    }
    assert_eq!(source.read(&shape, "b").unwrap(), Rows::none(&shape), "B is another name");
    assert_eq!(source.read(&shape, "7").unwrap(), Rows::none(&shape), "007 is another name");
}

fn roots_come_in_the_order_of_their_bytes(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    for id in [1, 2, 3, 10, 11, 20, 100, 1000, 99] {
        ground.execute(&format!("INSERT INTO workflows (id) VALUES ({id})"));
    }
    let all = ["1", "10", "100", "1000", "11", "2", "20", "3", "99"];
    assert_eq!(source.roots(&shape, None, usize::MAX).unwrap(), all);
    let mut paged = Vec::new();
    loop {
        let page = source.roots(&shape, paged.last().map(String::as_str), 4).unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 4);
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert_eq!(source.roots(&shape, Some("1000"), 2).unwrap(), ["11", "2"]);
    assert_eq!(source.roots(&shape, Some("105"), 1).unwrap(), ["11"], "after a root that is gone");
    assert_eq!(source.roots(&shape, None, 0).unwrap(), [""; 0]);
}

fn the_pulse_rises_with_commits_of_others(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    let first = source.pulse().unwrap();
    assert_eq!(source.pulse().unwrap(), first, "nobody has written");
    source.read(&shape, "1").unwrap();
    scan(source.as_ref(), &shape);
    assert_eq!(source.pulse().unwrap(), first, "reading is no commit");
    ground.execute(TWO_WORKFLOWS);
    let second = source.pulse().unwrap();
    assert_ne!(second, first);
    assert_eq!(source.pulse().unwrap(), second);
    ground.execute("UPDATE jobs SET name = 'other' WHERE id = 'a'");
    assert_ne!(source.pulse().unwrap(), second);
}

fn a_column_that_is_gone_is_named(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    source.read(&shape, "1").unwrap();
    ground.execute("ALTER TABLE jobs DROP COLUMN body");
    let named = |error: SourceError| {
        let SourceError::Schema { what, place } = &error else { panic!("{error:?}") };
        assert!(what.contains("jobs") && what.contains("body"), "{what}");
        assert_eq!(place, source.place());
    };
    named(source.read(&shape, "1").unwrap_err());
    named(source.scan(&shape, &mut |_, _| {}).unwrap_err());
    ground.execute("DROP TABLE edges");
    assert!(!source.schema().unwrap().tables.contains_key("edges"));
}

fn odd_names_are_names(ground: &dyn Ground) {
    let (root, list, field, parent) =
        ("select", "it's a \"table\" of 漢字; --", "drop table \"x\"", "order by");
    let mut all = vec![table(root, &[("group", ColumnKind::Text), (field, ColumnKind::Text)])];
    all.push(table(
        list,
        &[("from", ColumnKind::Text), (parent, ColumnKind::Text), (field, ColumnKind::Text)],
    ));
    ground.create(&all);
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let source = ground.open();
    let mut mapping = mapping();
    let fields: crate::Fields = [(field.to_owned(), crate::Policy::DbWins)].into();
    mapping.root.table = root.to_owned();
    mapping.root.key = "group".to_owned();
    mapping.root.version = None;
    mapping.root.soft_delete = None;
    mapping.root.secret.clear();
    mapping.root.fields = fields.clone();
    mapping.lists.truncate(1);
    mapping.lists[0].table = list.to_owned();
    mapping.lists[0].key = "from".to_owned();
    mapping.lists[0].parent = parent.to_owned();
    mapping.lists[0].fields = fields;
    let shape = bind(source.as_ref(), mapping);
    source.install(&shape).unwrap();
    let position = source.outbox(&shape, None, 10).unwrap().unwrap().position;
    ground.execute(&format!("INSERT INTO {} VALUES ('r', 'of the root')", quote(root)));
    ground.execute(&format!("INSERT INTO {} VALUES ('l', 'r', 'of the list')", quote(list)));
    let rows = source.read(&shape, "r").unwrap();
    assert_eq!(rows.root, Some(vec![text("of the root")]));
    assert_eq!(rows.lists[0]["l"], [text("of the list")]);
    assert_eq!(scan(source.as_ref(), &shape), read_all(source.as_ref(), &shape));
    assert_eq!(source.outbox(&shape, Some(position), 10).unwrap().unwrap().roots, ["r"]);
    let writes = vec![
        super::fixture::update(&shape, None, "r", &[(field, text("changed"))]),
        super::fixture::insert(&shape, Some(0), "m", &[(field, text("new"))]),
        super::fixture::delete(Some(0), "l"),
    ];
    let request = super::fixture::request(source.as_ref(), &shape, "r", writes);
    let outcome = source.save(&shape, &request).unwrap();
    assert!(matches!(outcome, crate::SaveOutcome::Saved(_)), "{outcome:?}");
    let rows = source.read(&shape, "r").unwrap();
    assert_eq!(rows.root, Some(vec![text("changed")]));
    assert_eq!(rows.lists[0].keys().collect::<Vec<_>>(), ["m"]);
    source.uninstall(&shape).unwrap();
}

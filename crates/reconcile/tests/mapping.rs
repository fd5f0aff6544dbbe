//! Every mistake in a mapping is found before anything is read, and is named by its table and column.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails shall say so loudly")]

use std::collections::BTreeMap;

use gangline_reconcile::{
    BadDocumentName, Column, ColumnKind, DocumentName, Fields, ListTable, Mapping, Mode, Policy, RootTable,
    Schema, Shape, TableSchema,
};

fn fields(of: &[(&str, Policy)]) -> Fields {
    of.iter().map(|(name, policy)| ((*name).to_owned(), *policy)).collect()
}

fn mapping() -> Mapping {
    let list = |table: &str, of: &[(&str, Policy)]| ListTable {
        table: table.into(),
        parent: "workflow_id".into(),
        key: "id".into(),
        fields: fields(of),
        refs: BTreeMap::new(),
        secret: ["password".to_owned()].into(),
    };
    let mut edges = list("edges", &[("source_job_id", Policy::DbWins), ("label", Policy::KeepBoth)]);
    edges.secret.clear();
    edges.refs = [("source_job_id".to_owned(), "jobs".to_owned())].into();
    Mapping {
        name: "workflows".into(),
        mode: Mode::Merge,
        root: RootTable {
            table: "workflows".into(),
            key: "id".into(),
            version: Some("lock_version".into()),
            document: DocumentName::parse("workflow:{id}", "id").unwrap(),
            soft_delete: Some("deleted_at".into()),
            fields: fields(&[("name", Policy::DbWins), ("concurrency", Policy::DocWins)]),
            secret: ["password".to_owned()].into(),
        },
        lists: vec![list("jobs", &[("body", Policy::TextMerge), ("size", Policy::DbOwned)]), edges],
    }
}

fn schema() -> Schema {
    let column = |declared: &str| Column {
        kind: match declared {
            "INTEGER" => ColumnKind::Integer,
            "REAL" => ColumnKind::Float,
            "BOOLEAN" => ColumnKind::Boolean,
            "NUMERIC" => ColumnKind::Number,
            "TEXT" => ColumnKind::Text,
            _ => ColumnKind::Other,
        },
        declared: declared.to_owned(),
        is_nullable: true,
        has_default: false,
        is_generated: false,
    };
    let table = |columns: &[(&str, &str)]| TableSchema {
        columns: columns.iter().map(|(name, declared)| ((*name).to_owned(), column(declared))).collect(),
        unique: vec!["id".to_owned()],
        is_view: false,
    };
    let mut jobs = table(&[
        ("id", "TEXT"),
        ("workflow_id", "INTEGER"),
        ("name", "TEXT"),
        ("body", "TEXT"),
        ("size", "INTEGER"),
        ("picture", "BLOB"),
        ("loose", ""),
        ("password", "TEXT"),
    ]);
    jobs.columns.get_mut("size").unwrap().is_generated = true;
    let edges = table(&[
        ("id", "INTEGER"),
        ("workflow_id", "INTEGER"),
        ("source_job_id", "TEXT"),
        ("target", "INTEGER"),
        ("label", "TEXT"),
    ]);
    let workflows = table(&[
        ("id", "INTEGER"),
        ("name", "TEXT"),
        ("concurrency", "INTEGER"),
        ("lock_version", "INTEGER"),
        ("deleted_at", "TEXT"),
        ("score", "REAL"),
        ("password", "TEXT"),
    ]);
    let tables = [("workflows", workflows), ("jobs", jobs), ("edges", edges)];
    Schema { tables: tables.map(|(name, table)| (name.to_owned(), table)).into() }
}

/// Changes the mapping that fits, and expects exactly these mistakes: each is `place: what`, or the beginning of it.
#[track_caller]
fn check(change: impl FnOnce(&mut Mapping, &mut Schema), expected: &[&str]) {
    let (mut mapping, mut schema) = (mapping(), schema());
    change(&mut mapping, &mut schema);
    let name = mapping.name.clone();
    let found: Vec<String> = match Shape::bind(mapping, &schema) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(&format!("reconcile {name:?}: {expected}")), "{expected:?} in {found:?}");
        let hint = found.split_once("; ").map(|(_, hint)| hint).unwrap_or_default();
        assert!(!hint.is_empty(), "no way out in {found:?}");
    }
}

/// As [`check`], for what the mapping alone tells: it is found without a schema too.
#[track_caller]
fn check_alone(change: impl Fn(&mut Mapping), expected: &[&str]) {
    let mut alone = mapping();
    change(&mut alone);
    let found: Vec<String> =
        alone.mistakes().iter().map(|mistake| format!("{}: {}", mistake.place, mistake.what)).collect();
    assert_eq!(found, expected);
    // With a schema nothing is said twice. Columns that are in no table are not what is looked at here.
    let mistakes = Shape::bind(alone, &schema()).unwrap_err();
    let again = mistakes.iter().map(|mistake| format!("{}: {}", mistake.place, mistake.what));
    let again: Vec<String> =
        again.filter(|line| !line.contains("is no table") && !line.contains("is no column")).collect();
    assert_eq!(again, expected);
}

#[test]
fn a_mapping_that_fits_knows_all_that_is_needed_to_read_and_write() {
    assert_eq!(mapping().mistakes(), []);
    let shape = Shape::bind(mapping(), &schema()).unwrap();
    assert_eq!(shape.mapping, mapping());
    assert_eq!(shape.root.key, ("id".to_owned(), ColumnKind::Integer));
    assert_eq!(shape.root.parent, None);
    let columns: Vec<_> = shape.root.fields.iter().map(|field| (&*field.column, field.policy)).collect();
    assert_eq!(
        columns,
        [("concurrency", Policy::DocWins), ("deleted_at", Policy::DbOwned), ("name", Policy::DbWins)],
        "ascending by name, soft_delete among them"
    );
    let [jobs, edges] = &shape.lists[..] else { panic!("{:?}", shape.lists) };
    assert_eq!(jobs.key, ("id".to_owned(), ColumnKind::Text));
    assert_eq!(jobs.parent, Some(("workflow_id".to_owned(), ColumnKind::Integer)));
    assert_eq!((jobs.field("body"), jobs.field("size"), jobs.field("name")), (Some(0), Some(1), None));
    assert!(jobs.fields[1].is_generated && !jobs.fields[0].is_generated);
    assert_eq!(edges.refs, BTreeMap::from([(edges.field("source_job_id").unwrap(), 0)]));
    assert_eq!(shape.table(None), Some(&shape.root));
    assert_eq!(shape.table(Some("edges")), Some(edges));
    assert_eq!(shape.table(Some("workflows")), None);
}

#[test]
fn a_source_has_a_plain_name() {
    for name in ["", "Workflows", "a b", "../a", "a/b", "ä", &"x".repeat(65)] {
        check_alone(|mapping| mapping.name = name.into(), &["name: is not a name"]);
    }
    check(|mapping, _| mapping.name = "a-b_1".into(), &[]);
    check(|mapping, _| mapping.name = "x".repeat(64), &[]);
}

#[test]
fn a_table_that_is_not_there_is_named_with_those_that_are() {
    let tables = "is no table of the database; it has edges, jobs, workflows";
    check(|mapping, _| mapping.root.table = "workflow".into(), &[&format!("workflow: {tables}")]);
    check(|mapping, _| mapping.lists[1].table = "edge".into(), &[&format!("edge: {tables}")]);
    check(
        |_, schema| schema.tables.clear(),
        &[
            "workflows: is no table of the database",
            "jobs: is no table of the database",
            "edges: is no table of the database",
        ],
    );
}

#[test]
fn a_column_that_is_not_there_is_named_with_those_that_are() {
    let hint = "is no column of the table; edges has id, label, source_job_id, target, workflow_id";
    check(|mapping, _| mapping.lists[1].key = "edge_id".into(), &[&format!("edges.edge_id: {hint}")]);
    check(|mapping, _| mapping.lists[1].parent = "parent".into(), &[&format!("edges.parent: {hint}")]);
    check(
        |mapping, _| mapping.lists[1].fields.extend(fields(&[("lable", Policy::DbWins)])),
        &[&format!("edges.lable: {hint}")],
    );
    check(
        |mapping, _| mapping.lists[1].secret = ["passwd".to_owned()].into(),
        &[&format!("edges.passwd: {hint}")],
    );
    check(|mapping, _| mapping.root.key = "uuid".into(), &["workflows.uuid: is no column"]);
    check(|mapping, _| mapping.root.version = Some("rev".into()), &["workflows.rev: is no column"]);
    check(|mapping, _| mapping.root.soft_delete = Some("gone".into()), &["workflows.gone: is no column"]);
}

#[test]
fn a_key_is_unique_and_an_integer_or_a_text() {
    check(
        |mapping, schema| {
            mapping.root.key = "score".into();
            schema.tables.get_mut("workflows").unwrap().unique.push("score".into());
            // They hold what the key is, so that nothing else is wrong.
            for list in ["jobs", "edges"] {
                let score = schema.tables["workflows"].columns["score"].clone();
                schema.tables.get_mut(list).unwrap().columns.insert("workflow_id".into(), score);
            }
        },
        &["workflows.score: is REAL, and a key is an integer or a text"],
    );
    check(
        |mapping, schema| {
            mapping.lists[0].key = "loose".into();
            schema.tables.get_mut("jobs").unwrap().unique.push("loose".into());
            mapping.lists[1].refs.clear();
        },
        &["jobs.loose: is of no type, and a key is an integer or a text"],
    );
    check(|mapping, _| mapping.lists[0].key = "name".into(), &["jobs.name: is not unique"]);
    check(|_, schema| schema.tables.get_mut("edges").unwrap().unique.clear(), &["edges.id: is not unique"]);
    check(
        |_, schema| {
            let edges = schema.tables.get_mut("edges").unwrap();
            (edges.unique, edges.is_view) = (Vec::new(), true);
        },
        &[],
    );
}

#[test]
fn a_version_is_an_integer_and_may_be_left_out() {
    check(
        |mapping, _| mapping.root.version = Some("score".into()),
        &["workflows.score: is REAL, and a version is an integer"],
    );
    check(|mapping, _| mapping.root.version = None, &[]);
    check(|mapping, _| mapping.root.soft_delete = None, &[]);
}

#[test]
fn rows_of_a_list_hold_the_key_of_their_root() {
    check(
        |mapping, _| mapping.lists[1].parent = "source_job_id".into(),
        &[
            "edges.source_job_id: is the parent already",
            "edges.source_job_id: is TEXT, and holds no keys of workflows; name the column that refers to workflows.id",
        ],
    );
    check(
        |mapping, _| mapping.lists[0].parent = "loose".into(),
        &["jobs.loose: is of no type, and holds no keys of workflows"],
    );
}

#[test]
fn references_lead_from_a_field_to_the_keys_of_a_list() {
    let refer = |column: &str, target: &str| {
        let refs = BTreeMap::from([(column.to_owned(), target.to_owned())]);
        move |mapping: &mut Mapping| mapping.lists[1].refs.clone_from(&refs)
    };
    check_alone(refer("target", "jobs"), &["edges.target: is a reference and no field"]);
    check_alone(
        refer("source_job_id", "job"),
        &["edges.source_job_id: names job, which is no list of this source"],
    );
    check_alone(
        refer("source_job_id", "workflows"),
        &["edges.source_job_id: names workflows, which is no list of this source"],
    );
    check(
        |mapping, _| refer("label", "edges")(mapping),
        &["edges.label: is TEXT, and holds no keys of edges; edges.id is INTEGER"],
    );
    check(
        |mapping, _| {
            mapping.lists[1].fields.extend(fields(&[("target", Policy::DbWins)]));
            refer("target", "edges")(mapping);
        },
        &[],
    );
}

#[test]
fn what_a_document_cannot_have_is_refused() {
    check(
        |mapping, _| mapping.lists[0].fields.extend(fields(&[("picture", Policy::DbWins)])),
        &["jobs.picture: is BLOB, which a document cannot have; take it out of fields"],
    );
    check(
        |mapping, _| mapping.root.fields.extend(fields(&[("score", Policy::TextMerge)])),
        &["workflows.score: is REAL, and text_merge is for texts; write \"db_wins\""],
    );
    check(
        |mapping, _| mapping.lists[0].fields.extend(fields(&[("size", Policy::DocWins)])),
        &["jobs.size: is computed by the database; write \"db_owned\""],
    );
    check(
        |mapping, schema| {
            let deleted = schema.tables.get_mut("workflows").unwrap().columns.get_mut("deleted_at").unwrap();
            (deleted.kind, deleted.is_generated) = (ColumnKind::Boolean, true);
            mapping.root.fields.extend(fields(&[("deleted_at", Policy::DbOwned)]));
        },
        &[],
    );
}

#[test]
fn a_column_is_one_thing_only() {
    let field = |name: &'static str| {
        move |mapping: &mut Mapping| {
            mapping.root.fields.extend(fields(&[(name, Policy::DbWins)]));
        }
    };
    check_alone(field("id"), &["workflows.id: is the key already"]);
    check_alone(field("lock_version"), &["workflows.lock_version: is the version already"]);
    check_alone(
        field("deleted_at"),
        &["workflows.deleted_at: is soft_delete, which only the database changes"],
    );
    check_alone(
        |mapping| mapping.lists[0].fields.extend(fields(&[("workflow_id", Policy::DbWins)])),
        &["jobs.workflow_id: is the parent already"],
    );
    check_alone(|mapping| mapping.root.version = Some("id".into()), &["workflows.id: is key and version"]);
    check_alone(
        |mapping| mapping.root.soft_delete = Some("lock_version".into()),
        &["workflows.lock_version: is version and soft_delete"],
    );
}

#[test]
fn a_secret_is_never_mapped() {
    let secret = |list: Option<usize>, name: &'static str| {
        move |mapping: &mut Mapping| {
            match list {
                None => mapping.root.secret.insert(name.into()),
                Some(at) => mapping.lists[at].secret.insert(name.into()),
            };
        }
    };
    check_alone(secret(None, "name"), &["workflows.name: is secret, and a field too"]);
    check_alone(secret(None, "id"), &["workflows.id: is secret, and key too"]);
    check_alone(secret(None, "lock_version"), &["workflows.lock_version: is secret, and version too"]);
    check_alone(secret(None, "deleted_at"), &["workflows.deleted_at: is secret, and soft_delete too"]);
    check_alone(secret(Some(0), "body"), &["jobs.body: is secret, and a field too"]);
    check_alone(secret(Some(0), "workflow_id"), &["jobs.workflow_id: is secret, and parent too"]);
}

#[test]
fn every_list_is_one_table_with_a_name_of_its_own() {
    check_alone(|mapping| mapping.lists.push(mapping.lists[0].clone()), &["jobs: is listed twice"]);
    check_alone(
        |mapping| {
            let mut list = mapping.lists[0].clone();
            (list.table, list.fields, list.parent) =
                ("workflows".into(), Fields::new(), "concurrency".into());
            mapping.lists.push(list);
        },
        &["workflows: is the root's table"],
    );
    check_alone(
        |mapping| mapping.root.fields.extend(fields(&[("jobs", Policy::DbWins)])),
        &["jobs: has the name of a field of workflows"],
    );
}

#[test]
fn names_that_documents_keep_for_themselves_are_refused() {
    check_alone(|mapping| mapping.root.table = "$w".into(), &["$w: begins with $"]);
    check_alone(|mapping| mapping.lists[1].table = "$gone".into(), &["$gone: begins with $"]);
    check_alone(
        |mapping| mapping.lists[1].fields.extend(fields(&[("$x", Policy::DbWins)])),
        &["edges.$x: begins with $"],
    );
}

#[test]
fn nothing_is_left_empty() {
    check_alone(|mapping| mapping.root.key = String::new(), &["workflows: has no key"]);
    check_alone(|mapping| mapping.lists[1].parent = String::new(), &["edges: has no parent"]);
    check_alone(|mapping| mapping.lists[1].table = String::new(), &["list: names no table"]);
    check_alone(
        |mapping| mapping.root.fields.extend(fields(&[("", Policy::DbWins)])),
        &["workflows: has a field without a name"],
    );
    check_alone(
        |mapping| {
            mapping.root.fields.clear();
            mapping.lists.clear();
        },
        &["workflows: has no fields and no lists"],
    );
    check(|mapping, _| mapping.root.fields.clear(), &[]);
    check(|mapping, _| mapping.lists.clear(), &[]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    check(
        |mapping, _| {
            mapping.name = "W".into();
            mapping.root.key = "uuid".into();
            mapping.lists[0].fields.extend(fields(&[("id", Policy::DbWins), ("pic", Policy::DbWins)]));
            mapping.lists[1].table = "edge".into();
        },
        &[
            "name: is not a name",
            "jobs.id: is the key already",
            "workflows.uuid: is no column",
            "jobs.pic: is no column",
            "edge: is no table",
        ],
    );
}

#[test]
fn a_document_is_named_by_its_key() {
    let name = DocumentName::parse("workflow:{id}", "id").unwrap();
    assert_eq!((name.of("42"), name.template("id")), ("workflow:42".into(), "workflow:{id}".into()));
    let both = DocumentName::parse("a.{key}-b", "key").unwrap();
    for key in ["1", "ä/b c", "{id}", "..", "-b", "a."] {
        for name in [&name, &both] {
            assert_eq!(name.root_of(&name.of(key)), Some(key));
        }
    }
    for other in ["", "workflow:", "workflows:1", "a.-b", "a.1"] {
        assert_eq!((name.root_of(other), both.root_of(other)), (None, None), "{other}");
    }
}

#[test]
fn a_template_is_refused_where_a_url_would_not_carry_it_or_it_names_nothing() {
    let parse = |template: &str| DocumentName::parse(template, "id");
    for template in ["", "workflow", "{uuid}", "w{id}{id}", "w{id", "{w}{id}", "{{id}}"] {
        assert!(matches!(parse(template), Err(BadDocumentName::NoKey { .. })), "{template}");
    }
    for (template, bad) in
        [("a/{id}", '/'), ("a b{id}", ' '), ("{id}?x", '?'), ("ä{id}", 'ä'), ("%41{id}", '%')]
    {
        let refused = parse(template).unwrap_err();
        assert!(matches!(refused, BadDocumentName::Character { found, .. } if found == bad), "{refused}");
    }
    for template in ["{id}", ".{id}", "{id}.", "-{id}:"] {
        assert!(matches!(parse(template), Err(BadDocumentName::Bare { .. })), "{template}");
    }
    assert!(parse(&format!("{}{{id}}", "x".repeat(128))).is_ok());
    let refused = parse(&format!("{}{{id}}b", "x".repeat(128))).unwrap_err();
    assert!(refused.to_string().contains("129 characters beside the key, and 128 is the most"), "{refused}");
}

#[test]
fn templates_that_could_give_one_name_overlap() {
    let overlaps = |a: &str, b: &str| {
        let [a, b] = [a, b].map(|template| DocumentName::parse(template, "id").unwrap());
        assert_eq!(a.overlaps(&b), b.overlaps(&a));
        a.overlaps(&b)
    };
    assert!(overlaps("workflow:{id}", "workflow:{id}"));
    assert!(overlaps("workflow:{id}", "workflow:x{id}"), "workflow:x1 is x1's and 1's");
    assert!(overlaps("w:{id}", "{id}-w"), "w:1-w");
    assert!(!overlaps("workflow:{id}", "workflow-run:{id}"));
    assert!(!overlaps("w:{id}:a", "w:{id}:b"));
}

//! `[[reconcile]]`: what is read, and that every mistake is told, with its line, its source, its table and column.

use gangline_reconcile::{Column, ColumnKind, Mode, Policy, Schema, TableSchema};

use super::{check_mistakes, resolve};
use crate::config::{Database, Flags, KeyFrom, Origin, ReconcileSettings, check_shape};

const GOOD: &str = r#"[[reconcile]]
name = "workflows"
database = "sqlite:app.db"
mode = "mirror"
key = "import"
poll = "50ms"
sweep = "10m"
[reconcile.root]
table = "workflows"
key = "id"
version = "lock_version"
document = "workflow:{id}"
soft_delete = "deleted_at"
secret = ["token"]
fields = { name = "db_wins", concurrency = "doc_wins" }
[[reconcile.list]]
table = "jobs"
parent = "workflow_id"
key = "id"
fields = { name = "keep_both", body = "text_merge" }
[[reconcile.list]]
table = "edges"
parent = "workflow_id"
key = "id"
fields = { source_job_id = "db_owned" }
refs = { source_job_id = "jobs" }
"#;

/// [`GOOD`] with one line replaced by others.
fn with(line: &str, others: &str) -> String {
    assert!(GOOD.contains(line), "{line}");
    GOOD.replacen(line, others, 1)
}

fn sources(text: &str) -> Vec<ReconcileSettings> {
    resolve(&Flags::default(), &[], text).unwrap().reconcile
}

#[test]
fn a_source_is_read_as_it_was_written() {
    let [source] = &sources(GOOD)[..] else { panic!("one source") };
    assert_eq!(source.database.database, Database::Sqlite("app.db".into()));
    assert_eq!(source.database.shown, "sqlite:app.db");
    assert_eq!((source.key, source.poll_ms, source.sweep_ms), (KeyFrom::Import, 50, 600_000));
    let mapping = &source.mapping;
    assert_eq!((&*mapping.name, mapping.mode), ("workflows", Mode::Mirror));
    let root = &mapping.root;
    assert_eq!((&*root.table, &*root.key, root.document.of("42")), ("workflows", "id", "workflow:42".into()));
    assert_eq!(root.version.as_deref(), Some("lock_version"));
    assert_eq!(root.soft_delete.as_deref(), Some("deleted_at"));
    assert!(root.secret.contains("token"));
    assert_eq!(root.fields["concurrency"], Policy::DocWins);
    let [jobs, edges] = &mapping.lists[..] else { panic!("{:?}", mapping.lists) };
    assert_eq!((&*jobs.table, &*jobs.parent, &*jobs.key), ("jobs", "workflow_id", "id"));
    assert_eq!((jobs.fields["name"], jobs.fields["body"]), (Policy::KeepBoth, Policy::TextMerge));
    assert_eq!(edges.refs["source_job_id"], "jobs");
    let line = |line| Origin::File { path: "gangline.toml".into(), line };
    assert_eq!(source.origins.setting("database"), line(3));
    assert_eq!(source.origins.setting("list.1.refs"), line(26));
}

#[test]
fn what_may_be_left_out_has_a_usable_default() {
    let text = r#"
        [[reconcile]]
        name = "a"
        database = "sqlite:${HOME}/a.db"
        [reconcile.root]
        table = "notes"
        key = "id"
        document = "note:{id}"
        [reconcile.root.fields]
        text = "text_merge"
        "#;
    let settings = resolve(&Flags::default(), &[("HOME", "/root")], text).unwrap();
    let [source] = &settings.reconcile[..] else { panic!("one source") };
    assert_eq!(source.mapping.mode, Mode::Merge);
    assert_eq!((source.key, source.poll_ms, source.sweep_ms), (KeyFrom::Create, 20, 60_000));
    assert_eq!(source.origins.setting("poll"), Origin::Default);
    assert_eq!(source.database.database, Database::Sqlite("/root/a.db".into()));
    assert!(source.mapping.lists.is_empty() && source.mapping.root.version.is_none());
    assert!(sources("").is_empty());
}

#[test]
fn every_mistake_has_a_line_a_source_and_a_column() {
    let w = |line: usize, rest: &str| format!("gangline.toml:{line}: reconcile \"workflows\": {rest}");
    for (line, others, expected) in [
        (
            "name = \"workflows\"",
            "name = \"Work flows\"",
            "gangline.toml:2: reconcile \"Work flows\": name: is not a name".to_owned(),
        ),
        (
            "mode = \"mirror\"",
            "mode = \"miror\"",
            "gangline.toml:4: `reconcile.mode` = \"miror\" is not known; did you mean \"mirror\"?".to_owned(),
        ),
        (
            "key = \"import\"",
            "key = \"make\"",
            "`reconcile.key` = \"make\" is not known; known here: \"create\", \"import\"".to_owned(),
        ),
        ("poll = \"50ms\"", "poll = 20", "gangline.toml:6: `reconcile.poll` is a time such as".to_owned()),
        ("poll = \"50ms\"", "poll = \"2m\"", "`reconcile.poll` is not between \"1ms\" and \"1m\"".to_owned()),
        (
            "sweep = \"10m\"",
            "sweep = \"10ms\"",
            "`reconcile.sweep` is not between \"1s\" and \"24h\"".to_owned(),
        ),
        (
            "sweep = \"10m\"",
            "sweep_s = 60",
            "gangline.toml:7: unknown key `reconcile.sweep_s`; did you mean `reconcile.sweep`?".to_owned(),
        ),
        ("table = \"workflows\"", "tabel = \"workflows\"", "x".to_owned()),
        ("key = \"id\"", "", w(9, "workflows: has no key; write key = \"…\"")),
        (
            "document = \"workflow:{id}\"",
            "",
            w(9, "workflows: has no document; write for example document = \"workflow:{id}\""),
        ),
        (
            "document = \"workflow:{id}\"",
            "document = \"workflow\"",
            w(12, "workflows: document \"workflow\" does not contain {id} exactly once"),
        ),
        (
            "document = \"workflow:{id}\"",
            "document = \"w/{id}\"",
            w(12, "workflows: document \"w/{id}\" has '/' beside the key; take"),
        ),
        (
            "document = \"workflow:{id}\"",
            "document = 1",
            "gangline.toml:12: `reconcile.root.document` is a string".to_owned(),
        ),
        ("secret = [\"token\"]", "secret = [\"name\"]", w(14, "workflows.name: is secret, and a field too")),
        (
            "secret = [\"token\"]",
            "secret = 1",
            "gangline.toml:14: `reconcile.root.secret` is a string or an array".to_owned(),
        ),
        (
            "fields = { name = \"db_wins\", concurrency",
            "fields = { id = \"db_wins\", concurrency",
            w(15, "workflows.id: is the key already"),
        ),
        (
            "concurrency = \"doc_wins\"",
            "concurrency = \"doc_winz\"",
            w(15, "workflows.concurrency: \"doc_winz\" is no rule; did you mean \"doc_wins\"?"),
        ),
        (
            "concurrency = \"doc_wins\"",
            "concurrency = \"newest\"",
            w(15, "workflows.concurrency: \"newest\" is no rule; known here: db_wins, doc_wins"),
        ),
        ("concurrency = \"doc_wins\"", "concurrency = true", w(15, "workflows.concurrency: has no rule")),
        (
            "fields = { name = \"keep_both\", body = \"text_merge\" }",
            "fields = [\"name\"]",
            "gangline.toml:20: `reconcile.list.fields` is a table; write fields = {".to_owned(),
        ),
        ("parent = \"workflow_id\"", "", w(17, "jobs: has no parent")),
        ("parent = \"workflow_id\"", "parnet = \"workflow_id\"", "x".to_owned()),
        ("table = \"jobs\"", "table = \"name\"", "x".to_owned()),
        ("table = \"edges\"", "table = \"jobs\"", w(22, "jobs: is listed twice")),
        ("table = \"jobs\"", "", "x".to_owned()),
        (
            "refs = { source_job_id = \"jobs\" }",
            "refs = { source_job_id = \"job\" }",
            w(26, "edges.source_job_id: names job, which is no list"),
        ),
        (
            "refs = { source_job_id = \"jobs\" }",
            "refs = { target = \"jobs\" }",
            w(26, "edges.target: is a reference and no field"),
        ),
        (
            "refs = { source_job_id = \"jobs\" }",
            "refs = { source_job_id = 1 }",
            w(26, "edges.source_job_id: names no table"),
        ),
        ("[reconcile.root]", "[[reconcile.root]]", "x".to_owned()),
        (
            "database = \"sqlite:app.db\"",
            "database = \"postgres://app:hunter2@db/x\"",
            w(
                3,
                "database \"postgres://app:***@db/x\" cannot be followed: this build has no PostgreSQL; write for example \"sqlite:app.db\"",
            ),
        ),
        (
            "database = \"sqlite:app.db\"",
            "database = \"sqlite:${NOWHERE}\"",
            w(3, "database \"sqlite:${NOWHERE}\" wants NOWHERE, which is not in the environment"),
        ),
        (
            "database = \"sqlite:app.db\"",
            "database = 1",
            "gangline.toml:3: `reconcile.database` is a string".to_owned(),
        ),
    ] {
        // Those with more than one mistake are below.
        if expected != "x" {
            check_mistakes(&with(line, others), &[&expected]);
        }
    }
    check_mistakes(
        &with("parent = \"workflow_id\"", "parnet = \"workflow_id\""),
        &[
            &w(17, "jobs: has no parent"),
            "gangline.toml:18: unknown key `reconcile.list.parnet`; did you mean `reconcile.list.parent`?",
        ],
    );
    check_mistakes(
        &with("table = \"workflows\"", "tabel = \"workflows\""),
        &[
            "gangline.toml:9: unknown key `reconcile.root.tabel`; did you mean `reconcile.root.table`?",
            &w(9, "root: names no table"),
        ],
    );
    check_mistakes(
        &with("table = \"jobs\"", "table = \"name\""),
        &[&w(17, "name: has the name of a field of workflows"), &w(26, "edges.source_job_id: names jobs")],
    );
    check_mistakes(
        &with("table = \"jobs\"", ""),
        &[&w(18, "list: names no table"), &w(26, "edges.source_job_id: names jobs")],
    );
    check_mistakes(
        &with("[reconcile.root]", "[[reconcile.root]]"),
        &["`reconcile.root` is one table; write it with one bracket"],
    );
}

#[test]
fn a_source_that_says_nothing_is_told_what_it_needs() {
    check_mistakes("reconcile = 1", &["`reconcile` is a list of tables; write it with two brackets"]);
    check_mistakes("[reconcile]\nname = \"a\"", &["write it with two brackets: [[reconcile]]"]);
    check_mistakes(
        "[[reconcile]]\n",
        &[
            "a source needs a `name`",
            "a source needs a `database`",
            "a source needs a `root`; write [reconcile.root]",
        ],
    );
    check_mistakes(
        "[[reconcile]]\nname = \"a\"\n",
        &["reconcile \"a\": database: is missing", "reconcile \"a\": root: is missing"],
    );
    check_mistakes(
        "[[reconcile]]\nname = \"a\"\ndatabase = \"sqlite:a\"\nroot = {}\n",
        &[
            "reconcile \"a\": root: has no document; write for example document = \"workflow:{id}\"",
            "reconcile \"a\": root: names no table",
            "reconcile \"a\": root: has no key",
            "reconcile \"a\": root: has no fields and no lists",
        ],
    );
}

#[test]
fn all_mistakes_are_told_at_once_and_no_password_is() {
    let text = with("database = \"sqlite:app.db\"", "database = \"postgres://app:hunter2@db/x\"")
        .replacen("body = \"text_merge\"", "body = \"txt_merge\"", 1)
        .replacen("key = \"import\"", "kee = \"import\"", 1)
        .replacen("refs = { source_job_id = \"jobs\" }", "refs = { source_job_id = \"job\" }", 1);
    let text = format!("listne = 1\n{text}");
    check_mistakes(
        &text,
        &[
            "listne",
            "no PostgreSQL",
            "`reconcile.kee`",
            "jobs.body: \"txt_merge\"",
            "edges.source_job_id: names job",
        ],
    );
    let mistakes = resolve(&Flags::default(), &[], &text).unwrap_err();
    assert!(!mistakes.concat().contains("hunter2"), "{mistakes:?}");
}

#[test]
fn sources_do_not_get_in_each_others_way() {
    let other = GOOD.replace("name = \"workflows\"", "name = \"others\"");
    let apart = other.replace("workflow:{id}", "other:{id}");
    assert_eq!(sources(&format!("{GOOD}{apart}")).len(), 2);
    check_mistakes(
        &format!("{GOOD}{other}"),
        &[
            "gangline.toml:38: reconcile \"others\": workflows: document \"workflow:{id}\" could be one of \"workflows\", \"workflow:{id}\"; begin the two",
        ],
    );
    let near = other.replace("workflow:{id}", "workflow:x{id}");
    check_mistakes(&format!("{GOOD}{near}"), &["document \"workflow:x{id}\" could be one of \"workflows\""]);
    let same = apart.replace("name = \"others\"", "name = \"workflows\"");
    check_mistakes(
        &format!("{GOOD}{same}"),
        &["gangline.toml:28: reconcile \"workflows\": name: two sources have it"],
    );
}

#[test]
fn what_only_the_schema_tells_has_its_line_too() {
    let column = |kind| Column {
        kind,
        declared: format!("{kind:?}").to_uppercase(),
        is_nullable: true,
        has_default: false,
        is_generated: false,
    };
    let table = |columns: &[(&str, ColumnKind)]| TableSchema {
        columns: columns.iter().map(|(name, kind)| ((*name).to_owned(), column(*kind))).collect(),
        unique: vec!["id".into()],
        is_view: false,
    };
    use ColumnKind::{Float, Integer, Text};
    let mut schema = Schema::default();
    for (name, columns) in [
        (
            "workflows",
            &[
                ("id", Integer),
                ("lock_version", Integer),
                ("deleted_at", Text),
                ("name", Text),
                ("concurrency", Integer),
                ("token", Text),
            ][..],
        ),
        ("jobs", &[("id", Text), ("workflow_id", Integer), ("name", Text), ("body", Text)]),
        ("edges", &[("id", Text), ("workflow_id", Integer), ("source_job_id", Text)]),
    ] {
        schema.tables.insert(name.into(), table(columns));
    }
    let [source] = &sources(GOOD)[..] else { panic!("one source") };
    let shape = check_shape(source, &schema).unwrap();
    assert_eq!(shape.lists.len(), 2);

    let jobs = schema.tables.get_mut("jobs").unwrap();
    jobs.columns.insert("body".into(), column(Float));
    jobs.columns.remove("workflow_id");
    schema.tables.remove("edges");
    let root = schema.tables.get_mut("workflows").unwrap();
    root.columns.remove("token");
    root.columns.insert("lock_version".into(), column(Text));
    let mistakes: Vec<String> =
        check_shape(source, &schema).unwrap_err().iter().map(ToString::to_string).collect();
    let expected = [
        "gangline.toml:11: reconcile \"workflows\": workflows.lock_version: is TEXT, and a version is an integer",
        "gangline.toml:14: reconcile \"workflows\": workflows.token: is no column of the table; workflows has",
        "gangline.toml:18: reconcile \"workflows\": jobs.workflow_id: is no column of the table; jobs has body, id, name",
        "gangline.toml:20: reconcile \"workflows\": jobs.body: is FLOAT, and text_merge is for texts",
        "gangline.toml:22: reconcile \"workflows\": edges: is no table of the database; it has jobs, workflows",
    ];
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    for (mistake, expected) in mistakes.iter().zip(expected) {
        assert!(mistake.starts_with(expected), "{expected:?} in {mistake:?}");
    }
}

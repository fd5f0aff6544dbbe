//! Any tables with anything in them: a scan says of each root what a read says, and a save writes its values and
//! nothing else.

use std::collections::BTreeMap;

use bft_json_crdt::JsonValue;
use gangline_reconcile::{
    ColumnKind, Policy, Row, RowSource as _, RowsDigest, SaveOutcome, SaveRequest, Shape, Write, WriteAction,
    conformance::mapping,
};
use gangline_store::SqliteSource;
use proptest::{collection::vec, prelude::*, sample::select};
use rusqlite::{params_from_iter, types::Value};

use super::ground::{Make, SqliteGround, WAL};

/// Types as people declare them; the last two have kinds that depend on what is stored.
const TYPES: [&str; 8] = [
    "INTEGER",
    "REAL",
    "DECIMAL(10, 2)",
    "BOOLEAN",
    "TEXT",
    "VARCHAR(20) COLLATE NOCASE",
    "DATETIME",
    "JSON",
];
const TEXTS: [&str; 5] = ["TEXT", "TEXT COLLATE NOCASE", "STRING", "DATETIME", "VARCHAR(9)"];
const INTEGERS: [&str; 2] = ["INTEGER", "BIGINT"];

#[derive(Clone, Debug)]
struct Tables {
    encoding: &'static str,
    root_key: &'static str,
    key: &'static str,
    parent: &'static str,
    is_indexed: bool,
    columns: Vec<&'static str>,
    roots: Vec<Value>,
    /// Key, parent and values.
    rows: Vec<(Value, Value, Vec<Value>)>,
}

fn name() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => (0_i64..12).prop_map(Value::Integer),
        4 => (0_i64..12).prop_map(|n| Value::Text(n.to_string())),
        8 => select(&["a", "A", "b", "ä", "z", "10", "007", "1.5", "\u{e000}", "\u{10000}", "", " 1"][..])
            .prop_map(|name| Value::Text(name.to_owned())),
        1 => select(vec![Value::Null, Value::Real(1.5), Value::Real(3.0), Value::Blob(vec![49])]),
    ]
}

fn cell() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        3 => prop_oneof![Just(0), Just(1), any::<i64>()].prop_map(Value::Integer),
        2 => any::<f64>().prop_map(Value::Real),
        4 => "[a-zäß0-9.\u{10000}]{0,6}".prop_map(Value::Text),
        1 => vec(any::<u8>(), 0..3).prop_map(Value::Blob),
    ]
}

/// The types of a root's key and of the column that names it: both integers or both texts.
fn names() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop_oneof![(select(&INTEGERS[..]), select(&INTEGERS[..])), (select(&TEXTS[..]), select(&TEXTS[..]))]
}

fn anything() -> impl Strategy<Value = Tables> {
    (select(&["UTF-8", "UTF-16le", "UTF-16be"][..]), names(), names(), any::<bool>()).prop_flat_map(
        |(encoding, (root_key, parent), (key, _), is_indexed)| {
            let columns = vec(select(&TYPES[..]), 1..5);
            (columns, vec(name(), 0..10)).prop_flat_map(move |(columns, roots)| {
                let cells = vec(cell(), columns.len());
                vec((name(), name(), cells), 0..30).prop_map(move |rows| Tables {
                    encoding,
                    root_key,
                    key,
                    parent,
                    is_indexed,
                    columns: columns.clone(),
                    roots: roots.clone(),
                    rows,
                })
            })
        },
    )
}

fn fill(tables: &Tables) -> (SqliteGround, SqliteSource, Shape) {
    let ground = SqliteGround::new(Make { encoding: tables.encoding, ..WAL });
    let app = ground.other();
    let columns: Vec<String> =
        tables.columns.iter().enumerate().map(|(n, kind)| format!(", c{n} {kind}")).collect();
    app.execute_batch(&format!(
        "CREATE TABLE docs (id {} PRIMARY KEY, version INTEGER);
         CREATE TABLE parts (id {} PRIMARY KEY, doc {}, unseen{});",
        tables.root_key,
        tables.key,
        tables.parent,
        columns.concat()
    ))
    .unwrap();
    if tables.is_indexed {
        app.execute_batch("CREATE INDEX parts_of ON parts (doc)").unwrap();
    }
    // What the keys refuse stays out.
    for root in &tables.roots {
        let _ = app.execute("INSERT OR IGNORE INTO docs (id) VALUES (?1)", [root]);
    }
    let places: Vec<String> = (1..=tables.columns.len() + 2).map(|place| format!(", ?{place}")).collect();
    let sql = format!("INSERT OR IGNORE INTO parts SELECT {}", places.concat().trim_start_matches(", "));
    let sql = sql.replacen(", ?3", ", 'unseen', ?3", 1);
    for (key, parent, cells) in &tables.rows {
        let values = [key, parent].into_iter().chain(cells);
        let _ = app.execute(&sql, params_from_iter(values));
    }
    let mut mapping = mapping();
    mapping.root.table = "docs".to_owned();
    mapping.root.version = Some("version".to_owned());
    mapping.root.soft_delete = None;
    mapping.root.secret.clear();
    mapping.root.fields.clear();
    mapping.lists.truncate(1);
    mapping.lists[0].table = "parts".to_owned();
    mapping.lists[0].parent = "doc".to_owned();
    mapping.lists[0].fields = (0..tables.columns.len()).map(|n| (format!("c{n}"), Policy::DbWins)).collect();
    let source = ground.source();
    let shape = Shape::bind(mapping, &source.schema().unwrap()).unwrap();
    (ground, source, shape)
}

fn scan(source: &SqliteSource, shape: &Shape) -> BTreeMap<String, RowsDigest> {
    let mut found = BTreeMap::new();
    source
        .scan(shape, &mut |root, digest| {
            assert!(found.insert(root.to_owned(), digest).is_none(), "{root} twice")
        })
        .unwrap();
    found
}

fn read_all(source: &SqliteSource, shape: &Shape) -> BTreeMap<String, RowsDigest> {
    let roots = source.roots(shape, None, usize::MAX).unwrap();
    roots.into_iter().map(|root| (root.clone(), source.read(shape, &root).unwrap().digest())).collect()
}

/// A value that a column of this kind takes, and gives back as it is.
fn value(kind: ColumnKind) -> BoxedStrategy<JsonValue> {
    let null = Just(JsonValue::Null);
    let integer = any::<i64>().prop_map(|value| JsonValue::Integer(value.into()));
    let float =
        any::<f64>().prop_filter("-0.0 comes back as 0.0", |value| value.is_finite() && *value != 0.0);
    match kind {
        ColumnKind::Integer => prop_oneof![null, integer].boxed(),
        ColumnKind::Float => prop_oneof![null, float.prop_map(JsonValue::Number)].boxed(),
        // 5.0 becomes 5 there.
        ColumnKind::Number => {
            let fraction = (-1_000_000..1_000_000_i32).prop_map(|n| JsonValue::Number(f64::from(n) + 0.5));
            prop_oneof![null, integer, fraction].boxed()
        }
        ColumnKind::Boolean => prop_oneof![null, any::<bool>().prop_map(JsonValue::Bool)].boxed(),
        // What looks like a number becomes one in some columns of texts.
        ColumnKind::Text => {
            prop_oneof![null, "[a-zäß\u{1f600}'\"\n\0]{0,8}".prop_map(JsonValue::String)].boxed()
        }
        ColumnKind::Other => null.boxed(),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(String, Vec<JsonValue>),
    Update(usize, Vec<Option<JsonValue>>),
    Delete(usize),
}

fn kinds(columns: &[&'static str]) -> Vec<ColumnKind> {
    let (_ground, _source, shape) = fill(&Tables {
        encoding: "UTF-8",
        root_key: "TEXT",
        key: "TEXT",
        parent: "TEXT",
        is_indexed: false,
        columns: columns.to_vec(),
        roots: Vec::new(),
        rows: Vec::new(),
    });
    shape.lists[0].fields.iter().map(|field| field.kind).collect()
}

fn steps(columns: &[&'static str]) -> impl Strategy<Value = Vec<Step>> + use<> {
    let kinds = kinds(columns);
    let values: Vec<BoxedStrategy<JsonValue>> = kinds.iter().copied().map(value).collect();
    let some: Vec<_> = values.iter().map(|value| proptest::option::of(value.clone())).collect();
    vec(
        prop_oneof![
            ("[0-9]{3}", values).prop_map(|(key, values)| Step::Insert(format!("1{key}"), values)),
            (any::<usize>(), some).prop_map(|(at, values)| Step::Update(at, values)),
            any::<usize>().prop_map(Step::Delete),
        ],
        1..8,
    )
}

/// Rows whose unmapped column is still what the application has written.
fn unseen(ground: &SqliteGround) -> usize {
    let count = "SELECT count(*) FROM parts WHERE unseen = 'unseen'";
    ground.other().query_row(count, [], |row| row.get::<_, i64>(0)).unwrap() as usize
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_scan_says_what_reads_say(tables in anything()) {
        let (_ground, source, shape) = fill(&tables);
        prop_assert_eq!(scan(&source, &shape), read_all(&source, &shape));
    }

    #[test]
    fn a_save_writes_its_values_and_nothing_else(
        (tables, steps) in anything().prop_flat_map(|tables| {
            let steps = steps(&tables.columns);
            (Just(tables), steps)
        }),
        is_installed: bool,
    ) {
        let (ground, source, shape) = fill(&tables);
        let Some(root) = source.roots(&shape, None, 1).unwrap().pop() else { return Ok(()) };
        if is_installed {
            source.install(&shape).unwrap();
        }
        let (before, digests) = (source.read(&shape, &root).unwrap(), scan(&source, &shape));
        let mut model: BTreeMap<String, Row> = before.lists[0].clone();
        let mut writes = Vec::new();
        let mut deleted = 0;
        for step in steps {
            let nth = |at: usize| model.keys().nth(at % model.len().max(1)).cloned();
            let (key, action) = match step {
                Step::Insert(key, _) if model.contains_key(&key) || before.lists[0].contains_key(&key) => continue,
                Step::Insert(key, values) => {
                    model.insert(key.clone(), values.clone());
                    (key, WriteAction::Insert(values.into_iter().enumerate().collect()))
                }
                Step::Update(at, values) => {
                    let Some(key) = nth(at) else { continue };
                    let values: Vec<(usize, JsonValue)> =
                        values.into_iter().enumerate().filter_map(|(at, value)| Some((at, value?))).collect();
                    for (at, value) in &values {
                        model.get_mut(&key).unwrap()[*at] = value.clone();
                    }
                    (key, WriteAction::Update(values))
                }
                Step::Delete(at) => {
                    let Some(key) = nth(at) else { continue };
                    model.remove(&key);
                    deleted += usize::from(before.lists[0].contains_key(&key));
                    (key, WriteAction::Delete)
                }
            };
            writes.push(Write { list: Some(0), key, action });
        }
        let seen = unseen(&ground);
        let wrote = !writes.is_empty();
        let request = SaveRequest { root: root.clone(), save_id: "s".to_owned(), expected: before.clone(), writes };
        match source.save(&shape, &request).unwrap() {
            SaveOutcome::Saved(rows) => {
                let version = if wrote { Some(before.version.unwrap_or(0) + 1) } else { before.version };
                prop_assert_eq!(rows.version, version);
                prop_assert_eq!(&rows.lists[0], &model);
                prop_assert_eq!(&rows.bad, &before.bad);
                prop_assert_eq!(&rows, &source.read(&shape, &root).unwrap());
                let others = |all: BTreeMap<String, RowsDigest>| {
                    all.into_iter().filter(|(name, _)| *name != root).collect::<Vec<_>>()
                };
                prop_assert_eq!(others(scan(&source, &shape)), others(digests));
                // Unmapped columns stay; those of deleted rows are gone with them.
                prop_assert_eq!(unseen(&ground) + deleted, seen);
                prop_assert_eq!(source.was_saved(&shape, "s").unwrap(), is_installed.then_some(wrote));
            }
            // A key that another root's row has, or one that its column makes something else of.
            SaveOutcome::Refused(bad) => {
                let reasons = ["is there in another row", "is no integer", "is not kept under this name, or not for this root"];
                prop_assert!(reasons.contains(&bad.what.as_str()), "{:?}", bad);
                prop_assert_eq!(scan(&source, &shape), digests);
            }
            SaveOutcome::Moved(rows) => prop_assert!(false, "nobody else has written: {:?}", rows),
        }
    }
}

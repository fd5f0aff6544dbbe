//! Reading and writing somebody else's SQLite file: 10,000 rows of nine columns that belong to 50 roots.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::JsonValue;
use divan::{Bencher, black_box, counter::ItemsCount};
use gangline_reconcile::{
    DocumentName, ListTable, Mapping, Mode, Policy, RootTable, RowSource as _, SaveOutcome, SaveRequest,
    Shape, Write, WriteAction,
};
use gangline_store::SqliteSource;
use rusqlite::{Connection, Statement};

const ROWS: usize = 10_000;
const ROOTS: usize = 50;

fn main() {
    divan::main();
}

struct Ground {
    dir: tempfile::TempDir,
    source: SqliteSource,
    shape: Shape,
}

impl Ground {
    /// With or without an index on the column that names the root.
    fn new(is_indexed: bool, is_installed: bool) -> Self {
        Self::of(ROOTS, is_indexed, is_installed)
    }

    fn of(roots: usize, is_indexed: bool, is_installed: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let app = Connection::open(&path).unwrap();
        app.execute_batch(
            "PRAGMA journal_mode = WAL; BEGIN;
             CREATE TABLE workflows (id INTEGER PRIMARY KEY, version INTEGER NOT NULL DEFAULT 0, name TEXT);
             CREATE TABLE jobs (id TEXT PRIMARY KEY, workflow_id INTEGER NOT NULL, name TEXT, body TEXT,
                adaptor TEXT, position INTEGER, weight REAL, enabled BOOLEAN, updated_at DATETIME);",
        )
        .unwrap();
        if is_indexed {
            app.execute_batch("CREATE INDEX jobs_of ON jobs (workflow_id)").unwrap();
        }
        for root in 0..roots {
            app.execute("INSERT INTO workflows (id, name) VALUES (?1, 'a workflow')", [root as i64]).unwrap();
        }
        let mut insert = app
            .prepare("INSERT INTO jobs VALUES (?1, ?2, ?3, ?4, 'http', ?5, ?6, true, '2030-01-01 12:00:00')")
            .unwrap();
        for n in 0..ROWS {
            let id = format!("{n:08x}-0000-4000-8000-{:012x}", n * 7_919);
            let body = format!("fetch('https://example.org/{n}').then(response => response.json())");
            insert
                .execute((id, (n % roots) as i64, format!("job number {n}"), body, n as i64, n as f64 / 3.0))
                .unwrap();
        }
        drop(insert);
        app.execute_batch("COMMIT").unwrap();
        let source = SqliteSource::new(&path);
        let shape = Shape::bind(mapping(), &source.schema().unwrap()).unwrap();
        if is_installed {
            source.install(&shape).unwrap();
        }
        Self { dir, source, shape }
    }

    fn app(&self) -> Connection {
        Connection::open(self.dir.path().join("app.db")).unwrap()
    }
}

fn mapping() -> Mapping {
    let fields = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Policy::DbWins)).collect();
    Mapping {
        name: "bench".to_owned(),
        mode: Mode::Merge,
        root: RootTable {
            table: "workflows".to_owned(),
            key: "id".to_owned(),
            version: Some("version".to_owned()),
            document: DocumentName::parse("workflow:{id}", "id").unwrap(),
            soft_delete: None,
            fields: fields(&["name"]),
            secret: BTreeSet::new(),
        },
        lists: vec![ListTable {
            table: "jobs".to_owned(),
            parent: "workflow_id".to_owned(),
            key: "id".to_owned(),
            fields: fields(&["name", "body", "adaptor", "position", "weight", "enabled", "updated_at"]),
            refs: BTreeMap::new(),
            secret: BTreeSet::new(),
        }],
    }
}

/// The floor: SQLite steps over all rows and hands out their columns.
#[divan::bench]
fn floor_step_over_all_rows(bencher: Bencher<'_, '_>) {
    let ground = Ground::new(true, false);
    let app = ground.app();
    let mut statement = app.prepare("SELECT * FROM jobs").unwrap();
    step(bencher, &mut statement);
}

/// The same in the order of a scan: rows of a root together, by the index.
#[divan::bench]
fn floor_step_over_all_rows_root_by_root(bencher: Bencher<'_, '_>) {
    let ground = Ground::new(true, false);
    let app = ground.app();
    let mut statement = app.prepare("SELECT * FROM jobs ORDER BY workflow_id").unwrap();
    step(bencher, &mut statement);
}

fn step(bencher: Bencher<'_, '_>, statement: &mut Statement<'_>) {
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            (0..9).for_each(|column| {
                black_box(row.get_ref(column).unwrap());
            });
        }
    });
}

#[divan::bench]
fn scan_all(bencher: Bencher<'_, '_>) {
    let ground = Ground::new(true, false);
    scan(bencher, &ground);
}

#[divan::bench]
fn scan_all_without_an_index(bencher: Bencher<'_, '_>) {
    let ground = Ground::new(false, false);
    scan(bencher, &ground);
}

fn scan(bencher: Bencher<'_, '_>, ground: &Ground) {
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let mut roots = 0;
        ground.source.scan(&ground.shape, &mut |_, _| roots += 1).unwrap();
        assert_eq!(roots, ROOTS);
    });
}

#[divan::bench]
fn read_a_root_of_200_rows(bencher: Bencher<'_, '_>) {
    let ground = Ground::new(true, false);
    bencher.bench_local(|| ground.source.read(&ground.shape, "7").unwrap());
}

#[divan::bench]
fn read_a_root_of_10_000_rows(bencher: Bencher<'_, '_>) {
    let ground = Ground::of(1, true, false);
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| ground.source.read(&ground.shape, "0").unwrap());
}

#[divan::bench]
fn pulse(bencher: Bencher<'_, '_>) {
    let ground = Ground::new(true, false);
    bencher.bench_local(|| ground.source.pulse().unwrap());
}

/// One cell of the application's, beside the same without an outbox.
#[divan::bench(args = [false, true], sample_count = 200)]
fn write_a_cell(bencher: Bencher<'_, '_>, is_installed: bool) {
    let ground = Ground::new(true, is_installed);
    let app = ground.app();
    app.pragma_update(None, "synchronous", "OFF").unwrap();
    let mut n = 0;
    bencher.bench_local(|| {
        n += 1;
        app.execute("UPDATE jobs SET position = ?1 WHERE id = (SELECT min(id) FROM jobs)", [n]).unwrap();
    });
}

/// From the application's commit to the rows of the root: pulse, outbox, read.
#[divan::bench(sample_count = 200)]
fn follow_a_cell_by_the_outbox(bencher: Bencher<'_, '_>) {
    let ground = Ground::new(true, true);
    let Ground { source, shape, .. } = &ground;
    let app = ground.app();
    let mut at = source.outbox(shape, None, 1).unwrap().unwrap().position;
    let mut n = 0;
    bencher
        .with_inputs(|| {
            n += 1;
            app.execute("UPDATE jobs SET position = ?1 WHERE id = (SELECT min(id) FROM jobs)", [n]).unwrap();
        })
        .bench_local_values(|()| {
            source.pulse().unwrap();
            let read = source.outbox(shape, Some(at), 1_000).unwrap().unwrap();
            at = read.position;
            assert_eq!(read.roots, ["0"]);
            source.read(shape, &read.roots[0]).unwrap().digest()
        });
}

#[divan::bench(sample_count = 100)]
fn save_a_cell_of_200_rows(bencher: Bencher<'_, '_>) {
    let ground = Ground::new(true, true);
    let Ground { source, shape, .. } = &ground;
    let mut expected = source.read(shape, "7").unwrap();
    let key = expected.lists[0].keys().next().unwrap().clone();
    let field = shape.lists[0].field("position").unwrap();
    let mut n = 0_i128;
    bencher.bench_local(|| {
        n += 1;
        let values = vec![(field, JsonValue::Integer(n))];
        let write = Write { list: Some(0), key: key.clone(), action: WriteAction::Update(values) };
        let request = SaveRequest {
            root: "7".to_owned(),
            save_id: n.to_string(),
            expected: expected.clone(),
            writes: vec![write],
        };
        let SaveOutcome::Saved(rows) = source.save(shape, &request).unwrap() else {
            panic!("it was not saved")
        };
        expected = rows;
    });
}

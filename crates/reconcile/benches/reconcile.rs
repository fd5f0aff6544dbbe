//! Following rows without a database: what a node spends between reading rows and telling people.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::json_crdt::{BaseCrdt, Change, JsonCrdt};
use bft_json_crdt::{JsonValue, Keypair};
use divan::{Bencher, black_box};
use gangline_reconcile::{
    Column, ColumnKind, DocumentName, FollowOptions, Layout, ListTable, Mapping, Mode, Policy, Reading,
    Reconciled, RootTable, Rows, Schema, Shape, Source, TableSchema, Tracker, conflicts, diff, edit,
    edits_of, notice, plan, plan_save, reconcile, splices, tracking_ref,
};

const ROWS: usize = 10_000;
const COLUMNS: usize = 9;
const NAME: &str = "workflow:1";

fn main() {
    divan::main();
}

/// A workflow of jobs with nine columns, one of them a text.
fn shape() -> Shape {
    let column = || Column {
        kind: ColumnKind::Text,
        declared: "TEXT".to_owned(),
        is_nullable: true,
        has_default: false,
        is_generated: false,
    };
    let columns: Vec<String> = (0..COLUMNS).map(|n| format!("column_{n}")).collect();
    let table = |names: &[String]| {
        let own = ["id", "workflow_id", "name"].map(str::to_owned);
        let columns = own.iter().chain(names).map(|name| (name.clone(), column())).collect();
        TableSchema { columns, unique: vec!["id".to_owned()], is_view: false }
    };
    let tables = BTreeMap::from([("workflows".to_owned(), table(&[])), ("jobs".to_owned(), table(&columns))]);
    let policy = |n| if n == COLUMNS - 1 { Policy::TextMerge } else { Policy::DbWins };
    let mapping = Mapping {
        name: "workflows".to_owned(),
        mode: Mode::Merge,
        root: RootTable {
            table: "workflows".to_owned(),
            key: "id".to_owned(),
            version: None,
            document: DocumentName::parse("workflow:{id}", "id").unwrap(),
            soft_delete: None,
            fields: [("name".to_owned(), Policy::DbWins)].into(),
            secret: BTreeSet::new(),
        },
        lists: vec![ListTable {
            table: "jobs".to_owned(),
            parent: "workflow_id".to_owned(),
            key: "id".to_owned(),
            fields: columns.iter().cloned().zip((0..).map(policy)).collect(),
            refs: BTreeMap::new(),
            secret: BTreeSet::new(),
        }],
    };
    Shape::bind(mapping, &Schema { tables }).unwrap()
}

fn key(n: usize) -> String {
    format!("job-{n:05}")
}

fn text(text: impl Into<String>) -> JsonValue {
    JsonValue::String(text.into())
}

fn rows(shape: &Shape, count: usize) -> Rows {
    let row = |n| (0..COLUMNS).map(|column| text(format!("value {column} of {n}"))).collect();
    let jobs = (0..count).map(|n| (key(n), row(n))).collect();
    Rows { root: Some(vec![text("deploy")]), lists: vec![jobs], ..Rows::none(shape) }
}

struct Followed {
    keypair: Keypair,
    shape: Shape,
    rows: Rows,
    base: BaseCrdt<JsonCrdt>,
    tracker: Tracker,
}

impl Followed {
    fn empty(count: usize) -> Self {
        let keypair = Keypair::from_seed(&[100; 32]);
        let shape = shape();
        let base = BaseCrdt::of_source(&person(), &keypair.author(), NAME);
        Self { rows: rows(&shape, count), keypair, shape, base, tracker: Tracker::default() }
    }

    fn filled(count: usize) -> Self {
        let mut followed = Self::empty(count);
        let changes = followed.reconcile().changes;
        let _ = followed.base.apply_changes(changes);
        followed
    }

    fn source(&self) -> Source<'_> {
        Source { keypair: &self.keypair, shape: &self.shape, document: NAME }
    }

    fn reconcile(&self) -> Reconciled {
        reconcile(&self.base, self.source(), &self.rows, false).unwrap()
    }

    /// Takes over the rows, as a node does whose document is open.
    fn follow(&mut self) -> Reconciled {
        let source = Source { keypair: &self.keypair, shape: &self.shape, document: NAME };
        let followed = self.tracker.follow(&self.base, source, &self.rows, FollowOptions::default()).unwrap();
        let _ = self.base.apply_changes(followed.changes.clone());
        followed
    }

    fn cell(&mut self, row: usize, column: usize, value: &str) {
        self.rows.lists[0].get_mut(&key(row)).unwrap()[column] = text(value);
    }

    /// Somebody edits a cell of each of some rows.
    fn edit(&mut self, edited: impl Iterator<Item = usize>) {
        let jobs = edited.map(|n| (key(n), serde_json::json!({"column_0": "mine"}))).collect();
        let patch = serde_json::json!({ "jobs": serde_json::Value::Object(jobs) });
        let edits = edits_of(&Layout::of(&self.shape), &self.base.doc.view(), &patch.into()).unwrap();
        self.base.transact(&person(), |doc| edit(doc, &edits)).unwrap();
    }

    /// A document in which a hundred cells are conflicts, and a hundred edited rows were deleted.
    fn with_conflicts() -> (Self, Vec<Change>) {
        let mut followed = Self::filled(ROWS);
        followed.edit((0..200).map(|n| n * 50));
        for n in 0..100 {
            followed.cell(n * 50, 0, "theirs");
        }
        for n in 100..200 {
            followed.rows.lists[0].remove(&key(n * 50));
        }
        let changes = followed.reconcile().changes;
        let _ = followed.base.apply_changes(changes.clone());
        (followed, changes)
    }
}

fn person() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

#[divan::bench(sample_count = 20)]
fn diff_of_10_000_rows_with_one_cell(bencher: Bencher<'_, '_>) {
    let mut followed = Followed::filled(ROWS);
    let layout = Layout::of(&followed.shape);
    let content = followed.base.doc.view();
    followed.cell(5_000, 3, "changed");
    bencher.bench_local(|| diff(&followed.shape, &layout, black_box(&content), &followed.rows));
}

#[divan::bench(sample_count = 20)]
fn diff_of_10_000_rows_with_nothing(bencher: Bencher<'_, '_>) {
    let followed = Followed::filled(ROWS);
    let layout = Layout::of(&followed.shape);
    let content = followed.base.doc.view();
    bencher.bench_local(|| diff(&followed.shape, &layout, black_box(&content), &followed.rows));
}

#[divan::bench(sample_count = 20)]
fn digest_of_10_000_rows(bencher: Bencher<'_, '_>) {
    let followed = Followed::empty(ROWS);
    bencher.bench_local(|| black_box(&followed.rows).digest());
}

/// Rows to signed change: the document is asked for at its tracking ref, shown, compared, and authored there.
#[divan::bench(sample_count = 20)]
fn reconcile_10_000_rows_with_one_cell(bencher: Bencher<'_, '_>) {
    let mut followed = Followed::filled(ROWS);
    followed.cell(5_000, 3, "changed");
    assert_eq!(followed.reconcile().ops, 1);
    bencher.bench_local(|| followed.reconcile());
}

/// The same where somebody has a draft.
#[divan::bench(sample_count = 20)]
fn reconcile_10_000_rows_with_one_cell_and_a_draft(bencher: Bencher<'_, '_>) {
    let mut followed = Followed::filled(ROWS);
    followed.edit([7].into_iter());
    followed.cell(5_000, 3, "changed");
    bencher.bench_local(|| followed.reconcile());
}

/// In a document that is open, one import after the other; taking it in is part of it.
#[divan::bench(args = ["no draft", "a draft", "told of"])]
fn follow_10_000_rows_with_one_cell(bencher: Bencher<'_, '_>, beside: &str) {
    let mut followed = Followed::filled(ROWS);
    if beside != "no draft" {
        followed.edit([7].into_iter());
    }
    followed.follow();
    let mut n = 0;
    bencher.bench_local(|| {
        n += 1;
        followed.cell(n % ROWS, 3, &format!("changed {n}"));
        let changes = followed.follow().changes;
        assert_eq!(changes.len(), 1);
        (beside == "told of").then(|| followed.tracker.notice(&followed.base, &changes[0]).unwrap())
    });
}

#[divan::bench]
fn follow_10_000_rows_with_nothing(bencher: Bencher<'_, '_>) {
    let mut followed = Followed::filled(ROWS);
    followed.follow();
    bencher.bench_local(|| assert!(followed.follow().changes.is_empty()));
}

/// What a node reads of an open document after somebody's edit.
#[divan::bench]
fn read_10_000_rows_after_an_edit(bencher: Bencher<'_, '_>) {
    let mut followed = Followed::filled(ROWS);
    followed.follow();
    let mut n = 0;
    bencher.bench_local(|| {
        n += 1;
        let value = serde_json::json!({"jobs": {key(n % ROWS): {"column_0": format!("mine {n}")}}});
        let edits = edits_of(&Layout::of(&followed.shape), &followed.base.content(), &value.into()).unwrap();
        followed.base.transact(&person(), |doc| edit(doc, &edits)).unwrap();
        followed.tracker.reading(&followed.base)
    });
}

#[divan::bench(sample_count = 20)]
fn plan_in_10_000_open_rows(bencher: Bencher<'_, '_>) {
    let mut followed = Followed::filled(ROWS);
    followed.follow();
    followed.cell(5_000, 3, "changed");
    let source = Source { keypair: &followed.keypair, shape: &followed.shape, document: NAME };
    bencher.bench_local(|| followed.tracker.plan(&followed.base, source, &followed.rows, false).unwrap());
}

#[divan::bench(sample_count = 20)]
fn reconcile_10_000_rows_with_nothing(bencher: Bencher<'_, '_>) {
    let followed = Followed::filled(ROWS);
    assert_eq!(followed.reconcile().ops, 0);
    bencher.bench_local(|| followed.reconcile());
}

#[divan::bench(sample_count = 20)]
fn fill_10_000_rows(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(|| Followed::empty(ROWS))
        .bench_local_values(|followed| (followed.reconcile(), followed));
}

#[divan::bench(sample_count = 20)]
fn fill_and_apply_10_000_rows(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(|| Followed::empty(ROWS)).bench_local_values(|mut followed| {
        let changes = followed.reconcile().changes;
        let _ = followed.base.apply_changes(changes);
        followed
    });
}

#[divan::bench(sample_count = 20)]
fn fill_2_000_rows(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(|| Followed::empty(2_000))
        .bench_local_values(|followed| (followed.reconcile(), followed));
}

/// A megabyte of lines; every so many of them is another.
fn long(every: usize, word: &str) -> String {
    let line = |n: usize| {
        let word = if n.is_multiple_of(every) { word } else { "of a text" };
        format!("line {n} {word} that is long\n")
    };
    (0..32_000).map(line).collect()
}

#[divan::bench(sample_count = 20)]
fn splices_of_1_mb_with_20_edits(bencher: Bencher<'_, '_>) {
    let (old, new) = (long(1_600, "one"), long(1_600, "another one"));
    assert_eq!(splices(&old, &new).len(), 20);
    bencher.bench_local(|| splices(black_box(&old), &new));
}

/// Texts of a megabyte on which a comparison spends most.
#[divan::bench(args = ["no line alike", "every other line", "one line", "few lines repeated", "lines out of order"])]
fn splices_of_1_mb_in_the_worst_case(bencher: Bencher<'_, '_>, what: &str) {
    let (old, new) = match what {
        "no line alike" => (long(1, "one"), long(1, "another one")),
        "every other line" => (long(2, "one"), long(2, "another one")),
        "one line" => ("abx".repeat(350_000), "aby".repeat(350_000)),
        "few lines repeated" => ("a\nb\nc\n".repeat(170_000), "a\nc\nd\n".repeat(170_000)),
        _ => {
            let lines = |step: usize| -> String {
                (0..100_003).map(|n| format!("{:07}\n", n * step % 100_003)).collect()
            };
            (lines(1), lines(7_919))
        }
    };
    bencher.bench_local(|| splices(black_box(&old), &new));
}

#[divan::bench(args = ["3 edits", "nothing alike"])]
fn splices_of_8_kb(bencher: Bencher<'_, '_>, what: &str) {
    let old = "words that stand in one long line ".repeat(240);
    let new = match what {
        "3 edits" => {
            old.replacen("words", "Words", 1).replacen("stand", "stood", 40).replacen("stood", "stand", 38)
        }
        _ => "ABCDEFGHIJ".repeat(816),
    };
    bencher.bench_local(|| splices(black_box(&old), &new));
}

#[divan::bench(sample_count = 20)]
fn reconcile_a_text_of_1_mb_with_20_edits(bencher: Bencher<'_, '_>) {
    let mut followed = Followed::filled(10);
    followed.cell(3, COLUMNS - 1, &long(1_600, "one"));
    let changes = followed.reconcile().changes;
    let _ = followed.base.apply_changes(changes);
    followed.cell(3, COLUMNS - 1, &long(1_600, "another one"));
    assert_eq!(followed.reconcile().ops, 20);
    bencher.bench_local(|| followed.reconcile());
}

#[divan::bench(sample_count = 20)]
fn view_of_10_000_rows(bencher: Bencher<'_, '_>) {
    let followed = Followed::filled(ROWS);
    bencher.bench_local(|| followed.base.doc.view());
}

#[divan::bench(sample_count = 20)]
fn author_at_the_tracking_ref_of_10_000_rows(bencher: Bencher<'_, '_>) {
    let followed = Followed::filled(ROWS);
    let heads = tracking_ref(&followed.base, &followed.keypair);
    bencher.bench_local(|| followed.base.author_at(&heads, followed.keypair.author()).unwrap());
}

#[divan::bench(sample_count = 20)]
fn disputes_of_10_000_rows(bencher: Bencher<'_, '_>) {
    let (followed, _) = Followed::with_conflicts();
    bencher.bench_local(|| followed.base.disputes());
}

#[divan::bench(sample_count = 20)]
fn conflicts_of_10_000_rows(bencher: Bencher<'_, '_>) {
    let (followed, _) = Followed::with_conflicts();
    assert_eq!(conflicts(&followed.base).len(), 200);
    bencher.bench_local(|| conflicts(&followed.base));
}

#[divan::bench(sample_count = 20)]
fn conflicts_of_10_000_rows_without_any(bencher: Bencher<'_, '_>) {
    let followed = Followed::filled(ROWS);
    bencher.bench_local(|| conflicts(&followed.base));
}

#[divan::bench(sample_count = 20)]
fn notice_in_10_000_rows(bencher: Bencher<'_, '_>) {
    let mut followed = Followed::filled(ROWS);
    followed.edit([7].into_iter());
    followed.cell(5_000, 3, "changed");
    let changes = followed.reconcile().changes;
    let _ = followed.base.apply_changes(changes.clone());
    bencher.bench_local(|| notice(&followed.base, &changes[0]).unwrap());
}

#[divan::bench(sample_count = 20)]
fn notice_of_200_conflicts_in_10_000_rows(bencher: Bencher<'_, '_>) {
    let (followed, changes) = Followed::with_conflicts();
    bencher.bench_local(|| notice(&followed.base, &changes[0]).unwrap());
}

#[divan::bench(sample_count = 20)]
fn unsaved_of_10_000_rows(bencher: Bencher<'_, '_>) {
    let mut followed = Followed::filled(ROWS);
    followed.edit([7].into_iter());
    let reading = Reading::of(&followed.base);
    bencher.bench_local(|| black_box(&reading).unsaved());
}

#[divan::bench(sample_count = 20)]
fn reading_of_10_000_rows(bencher: Bencher<'_, '_>) {
    let mut followed = Followed::filled(ROWS);
    followed.edit([7].into_iter());
    bencher.bench_local(|| Reading::of(&followed.base));
}

#[divan::bench(sample_count = 20)]
fn plan_of_one_cell_in_10_000_rows(bencher: Bencher<'_, '_>) {
    let mut followed = Followed::filled(ROWS);
    followed.cell(5_000, 3, "changed");
    bencher.bench_local(|| plan(&followed.base, followed.source(), &followed.rows, false).unwrap());
}

#[divan::bench(sample_count = 20)]
fn plan_a_save_of_one_cell_in_10_000_rows(bencher: Bencher<'_, '_>) {
    let mut followed = Followed::filled(ROWS);
    followed.edit([7].into_iter());
    let reading = Reading::of(&followed.base);
    bencher.bench_local(|| plan_save(&followed.shape, "1", &followed.rows, black_box(&reading), &[]));
}

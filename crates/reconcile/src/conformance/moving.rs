//! Values that are unique and move from row to row within one save: whatever state the schema takes, a save reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bft_json_crdt::JsonValue;

use super::fixture::{
    TWO_WORKFLOWS, at, bind, delete, insert, int, mapping, null, read_all, request, table, tables, text,
    update,
};
use super::{Check, Ground};
use crate::mapping::{Fields, ListTable, Policy};
use crate::schema::{ColumnKind, Shape};
use crate::source::{RowSource, SaveOutcome, Write};

pub(super) const CHECKS: &[Check] = &[
    ("rows_swap_what_is_unique", rows_swap_what_is_unique),
    ("a_row_takes_what_another_one_leaves", a_row_takes_what_another_one_leaves),
    ("what_names_a_row_that_goes_is_there_when_it_names_another", what_names_a_row_that_goes_stays),
    ("the_row_that_keeps_others_waiting_is_named", the_row_that_keeps_others_waiting_is_named),
    ("every_state_that_the_schema_takes_is_reached", every_state_that_the_schema_takes_is_reached),
];

/// The place of `steps` among the lists.
const STEPS: Option<usize> = Some(2);

/// Steps have a position and a title, unique in their workflow, and a code that is unique in all; they may come after
/// another one, and go with it.
fn steps(ground: &dyn Ground) -> (Arc<dyn RowSource>, Shape) {
    let mut steps = table(
        "steps",
        &[
            ("id", ColumnKind::Text),
            ("workflow_id", ColumnKind::Integer),
            ("pos", ColumnKind::Integer),
            ("title", ColumnKind::Text),
            ("code?", ColumnKind::Text),
            ("after?", ColumnKind::Text),
            ("note?", ColumnKind::Text),
        ],
    );
    let columns = |columns: &[&str]| columns.iter().map(|column| (*column).to_owned()).collect();
    steps.unique =
        vec![columns(&["workflow_id", "pos"]), columns(&["workflow_id", "title"]), columns(&["code"])];
    steps.references =
        vec![("workflow_id".to_owned(), "workflows".to_owned()), ("after".to_owned(), "steps".to_owned())];
    let mut tables = tables();
    tables.push(steps);
    ground.create(&tables);
    ground.execute(TWO_WORKFLOWS);
    ground.execute(
        "INSERT INTO steps (id, workflow_id, pos, title, code, note) VALUES ('a', 1, 1, 'A', 'x1', 'kept');
         INSERT INTO steps (id, workflow_id, pos, title, code) VALUES ('b', 1, 2, 'B', 'x2');
         INSERT INTO steps (id, workflow_id, pos, title) VALUES ('c', 1, 3, 'C');
         INSERT INTO steps (id, workflow_id, pos, title, code) VALUES ('z', 2, 1, 'A', 'x9')",
    );
    let mut mapping = mapping();
    let field = |name: &str| (name.to_owned(), Policy::DbWins);
    mapping.lists.push(ListTable {
        table: "steps".to_owned(),
        parent: "workflow_id".to_owned(),
        key: "id".to_owned(),
        fields: Fields::from(["pos", "title", "code", "after"].map(field)),
        refs: BTreeMap::new(),
        secret: BTreeSet::new(),
    });
    let source = ground.open();
    let shape = bind(source.as_ref(), mapping);
    (source, shape)
}

/// Saves, and returns the rows as text: position, title, code and what they come after.
#[track_caller]
fn saved(source: &dyn RowSource, shape: &Shape, writes: Vec<Write>) -> Vec<String> {
    let request = request(source, shape, "1", writes);
    let outcome = source.save(shape, &request).unwrap();
    let SaveOutcome::Saved(rows) = outcome else { panic!("{outcome:?} of {:?}", request.writes) };
    assert_eq!(rows, source.read(shape, "1").unwrap(), "what is saved is what is there");
    let shown = |value: &JsonValue| match value {
        JsonValue::Integer(value) => value.to_string(),
        value => value.as_str().unwrap_or("-").to_owned(),
    };
    let line = |(key, row): (&String, &Vec<JsonValue>)| {
        let cells = ["pos", "title", "code", "after"].map(|column| shown(&row[at(shape, STEPS, column)]));
        format!("{key} {}", cells.join(" "))
    };
    rows.lists[2].iter().map(line).collect()
}

fn rows_swap_what_is_unique(ground: &dyn Ground) {
    let (source, shape) = steps(ground);
    let set =
        |key: &str, column: &'static str, value: JsonValue| update(&shape, STEPS, key, &[(column, value)]);
    let swapped = saved(source.as_ref(), &shape, vec![set("a", "pos", int(2)), set("b", "pos", int(1))]);
    assert_eq!(swapped, ["a 2 A x1 -", "b 1 B x2 -", "c 3 C - -"]);
    assert_eq!(source.read(&shape, "1").unwrap().version, Some(8), "raised once");
    // Round in a circle, and several values at once.
    let round = vec![
        update(&shape, STEPS, "a", &[("pos", int(1)), ("title", text("B")), ("code", text("x2"))]),
        update(&shape, STEPS, "b", &[("pos", int(3)), ("title", text("C")), ("code", text("x1"))]),
        update(&shape, STEPS, "c", &[("pos", int(2)), ("title", text("A"))]),
    ];
    assert_eq!(saved(source.as_ref(), &shape, round), ["a 1 B x2 -", "b 3 C x1 -", "c 2 A - -"]);
    assert_eq!(ground.ask("SELECT note FROM steps WHERE id = 'a'").as_deref(), Some("kept"));
}

fn a_row_takes_what_another_one_leaves(ground: &dyn Ground) {
    let (source, shape) = steps(ground);
    let set =
        |key: &str, column: &'static str, value: JsonValue| update(&shape, STEPS, key, &[(column, value)]);
    let chain =
        vec![set("a", "title", text("B")), set("b", "title", text("C")), set("c", "title", text("D"))];
    assert_eq!(saved(source.as_ref(), &shape, chain), ["a 1 B x1 -", "b 2 C x2 -", "c 3 D - -"]);
    let back = vec![set("a", "title", text("A")), set("b", "title", text("B")), set("c", "title", text("C"))];
    saved(source.as_ref(), &shape, back);
    // One more at the beginning.
    let first = vec![
        insert(&shape, STEPS, "d", &[("pos", int(1)), ("title", text("D"))]),
        set("a", "pos", int(2)),
        set("b", "pos", int(3)),
        set("c", "pos", int(4)),
    ];
    assert_eq!(saved(source.as_ref(), &shape, first), ["a 2 A x1 -", "b 3 B x2 -", "c 4 C - -", "d 1 D - -"]);
    let instead = vec![
        insert(&shape, STEPS, "e", &[("pos", int(2)), ("title", text("A")), ("code", text("x1"))]),
        set("d", "title", text("B")),
        delete(STEPS, "a"),
        delete(STEPS, "b"),
    ];
    assert_eq!(saved(source.as_ref(), &shape, instead), ["c 4 C - -", "d 1 B - -", "e 2 A x1 -"]);
}

fn what_names_a_row_that_goes_stays(ground: &dyn Ground) {
    let (source, shape) = steps(ground);
    saved(source.as_ref(), &shape, vec![update(&shape, STEPS, "b", &[("after", text("c"))])]);
    let note = "UPDATE steps SET note = 'kept' WHERE id = 'b'";
    ground.execute(note);
    // d has what c had, and b comes after d: c may only go when nothing names it any more.
    let writes = vec![
        insert(&shape, STEPS, "d", &[("pos", int(3)), ("title", text("C"))]),
        update(&shape, STEPS, "b", &[("after", text("d"))]),
        delete(STEPS, "c"),
    ];
    assert_eq!(saved(source.as_ref(), &shape, writes), ["a 1 A x1 -", "b 2 B x2 d", "d 3 C - -"]);
    // b has itself what d had.
    let writes = vec![
        update(&shape, STEPS, "b", &[("after", null()), ("title", text("C")), ("pos", int(3))]),
        delete(STEPS, "d"),
    ];
    assert_eq!(saved(source.as_ref(), &shape, writes), ["a 1 A x1 -", "b 3 C x2 -"]);
    assert_eq!(ground.ask("SELECT note FROM steps WHERE id = 'b'").as_deref(), Some("kept"));
}

fn the_row_that_keeps_others_waiting_is_named(ground: &dyn Ground) {
    let (source, shape) = steps(ground);
    source.install(&shape).unwrap();
    let end = source.outbox(&shape, None, 1).unwrap().unwrap().position;
    let before = read_all(source.as_ref(), &shape);
    // b cannot have the code of another workflow's step; the swap would have gone through.
    let writes = vec![
        update(&shape, STEPS, "a", &[("pos", int(2)), ("code", text("x2"))]),
        update(&shape, STEPS, "b", &[("pos", int(1)), ("code", text("x9"))]),
    ];
    let outcome = source.save(&shape, &request(source.as_ref(), &shape, "1", writes)).unwrap();
    let SaveOutcome::Refused(bad) = outcome else { panic!("{outcome:?}") };
    assert_eq!((bad.list, bad.key.as_deref(), &*bad.column), (STEPS, Some("b"), "code"));
    assert!(bad.what.contains("in another row"), "{}", bad.what);
    // Of an index with the parent column, the one that people can change is named.
    let writes = vec![update(&shape, STEPS, "a", &[("pos", int(3))])];
    let outcome = source.save(&shape, &request(source.as_ref(), &shape, "1", writes)).unwrap();
    let SaveOutcome::Refused(bad) = outcome else { panic!("{outcome:?}") };
    assert_eq!((bad.key.as_deref(), &*bad.column), (Some("a"), "pos"));
    assert!(!bad.what.contains("workflow_id"), "{}", bad.what);
    assert_eq!(read_all(source.as_ref(), &shape), before, "nothing was written");
    let read = source.outbox(&shape, Some(end), 10).unwrap().unwrap();
    assert_eq!((read.roots.len(), read.position), (0, end));
    assert_eq!(source.was_saved(&shape, "save-1").unwrap(), Some(false));
}

/// A step of a state: position, title, code and what it comes after.
type Step = (usize, usize, Option<usize>, Option<&'static str>);

/// Numbers that look drawn and are the same each time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end
    }

    fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for at in 1..count {
            order.swap(at, self.below(at + 1));
        }
        order
    }
}

const KEYS: [&str; 6] = ["k", "l", "m", "n", "o", "p"];

fn state(draw: &mut Draw) -> BTreeMap<&'static str, Step> {
    let [positions, titles, codes] = [6, 6, 6].map(|count| draw.order(count));
    let keys: Vec<&'static str> = KEYS.into_iter().filter(|_| draw.below(4) > 0).collect();
    let mut step = |at: usize| {
        let code = (draw.below(3) > 0).then(|| codes[at]);
        let after = (at > 0 && draw.below(2) > 0).then(|| keys[draw.below(at)]);
        (positions[at], titles[at], code, after)
    };
    keys.iter().enumerate().map(|(at, key)| (*key, step(at))).collect()
}

fn every_state_that_the_schema_takes_is_reached(ground: &dyn Ground) {
    let (source, shape) = steps(ground);
    let gone = ["a", "b", "c"].map(|key| delete(STEPS, key));
    saved(source.as_ref(), &shape, gone.to_vec());
    let code = |code: Option<usize>| code.map_or(null(), |code| text(&format!("y{code}")));
    let values = |(pos, title, own, after): Step| {
        let title = text(&format!("t{title}"));
        [
            ("pos", int(pos as i64)),
            ("title", title),
            ("code", code(own)),
            ("after", after.map_or(null(), text)),
        ]
    };
    let mut draw = Draw(7);
    let mut now: BTreeMap<&'static str, Step> = BTreeMap::new();
    for _ in 0..60 {
        let next = state(&mut draw);
        let fresh = next.iter().filter(|(key, _)| !now.contains_key(*key));
        let mut writes: Vec<Write> =
            fresh.map(|(key, step)| insert(&shape, STEPS, key, &values(*step))).collect();
        for (key, step) in &next {
            let Some(was) = now.get(key) else { continue };
            let changed = values(*step).into_iter().zip(values(*was)).filter(|(is, was)| is != was);
            let changed: Vec<_> = changed.map(|(is, _)| is).collect();
            if !changed.is_empty() {
                writes.push(update(&shape, STEPS, key, &changed));
            }
        }
        writes.extend(now.keys().filter(|key| !next.contains_key(*key)).map(|key| delete(STEPS, key)));
        let line = |(key, (pos, title, code, after)): (&&str, &Step)| {
            let code = code.map_or("-".to_owned(), |code| format!("y{code}"));
            format!("{key} {pos} t{title} {code} {}", after.unwrap_or("-"))
        };
        let expected: Vec<String> = next.iter().map(line).collect();
        assert_eq!(saved(source.as_ref(), &shape, writes), expected);
        now = next;
    }
}

//! A team: a database of one workflow, nodes that follow it and people who edit on them.

#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bft_json_crdt::json_crdt::{BaseCrdt, Change, EditError, JsonCrdt, OpState};
use bft_json_crdt::{Digest, JsonValue, Keypair};
use gangline_reconcile::{
    Column, ColumnKind, Conflict, DocumentName, Layout, ListTable, Mapping, Mode, Notice, Policy, Reading,
    ReconcileError, Reconciled, RootTable, Rows, SavePlan, Schema, Shape, Source, TableSchema, Take, Tracker,
    Unsaved, Write, WriteAction, conflicts, edit, edits_of, notice, plan_save, reconcile, resolve, save_mark,
    tracking_ref, view,
};
use serde_json::json;

pub(crate) type Base = BaseCrdt<JsonCrdt>;

/// Path, theirs, mine, and whether theirs shows.
pub(crate) type Open = (String, Option<serde_json::Value>, Option<serde_json::Value>, bool);

pub(crate) const NAME: &str = "workflow:1";

fn column(kind: ColumnKind, is_nullable: bool) -> Column {
    Column { kind, declared: format!("{kind:?}"), is_nullable, has_default: false, is_generated: false }
}

fn table(columns: &[(&str, ColumnKind)]) -> TableSchema {
    TableSchema {
        columns: columns
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), column(*kind, *name != "id")))
            .collect(),
        unique: vec!["id".to_owned()],
        is_view: false,
    }
}

fn fields(policies: &[(&str, Policy)]) -> BTreeMap<String, Policy> {
    policies.iter().map(|(name, policy)| ((*name).to_owned(), *policy)).collect()
}

/// Every policy in the root and in a list, and a list that names rows of the other.
pub(crate) fn shape(mode: Mode) -> Shape {
    Shape::bind(mapping(mode), &schema()).unwrap()
}

pub(crate) fn schema() -> Schema {
    use ColumnKind::{Boolean, Float, Integer, Text};
    Schema {
        tables: BTreeMap::from([
            (
                "workflows".to_owned(),
                table(&[
                    ("id", Text),
                    ("lock_version", Integer),
                    ("deleted_at", Text),
                    ("name", Text),
                    ("concurrency", Integer),
                    ("note", Text),
                    ("owner", Text),
                    ("color", Text),
                    ("about", Text),
                ]),
            ),
            (
                "jobs".to_owned(),
                table(&[
                    ("id", Text),
                    ("workflow_id", Text),
                    ("name", Text),
                    ("body", Text),
                    ("adaptor", Text),
                    ("position", Integer),
                ]),
            ),
            (
                "edges".to_owned(),
                table(&[
                    ("id", Text),
                    ("workflow_id", Text),
                    ("source_job_id", Text),
                    ("enabled", Boolean),
                    ("weight", Float),
                ]),
            ),
        ]),
    }
}

pub(crate) fn mapping(mode: Mode) -> Mapping {
    use Policy::{DbOwned, DbWins, DocOwned, DocWins, KeepBoth, TextMerge};
    let list = |name: &str, policies: &[(&str, Policy)], refs: &[(&str, &str)]| ListTable {
        table: name.to_owned(),
        parent: "workflow_id".to_owned(),
        key: "id".to_owned(),
        fields: fields(policies),
        refs: refs.iter().map(|(field, target)| ((*field).to_owned(), (*target).to_owned())).collect(),
        secret: BTreeSet::new(),
    };
    Mapping {
        name: "workflows".to_owned(),
        mode,
        root: RootTable {
            table: "workflows".to_owned(),
            key: "id".to_owned(),
            version: Some("lock_version".to_owned()),
            document: DocumentName::parse("workflow:{id}", "id").unwrap(),
            soft_delete: Some("deleted_at".to_owned()),
            fields: fields(&[
                ("name", DbWins),
                ("concurrency", DocWins),
                ("note", KeepBoth),
                ("owner", DbOwned),
                ("color", DocOwned),
                ("about", TextMerge),
            ]),
            secret: BTreeSet::new(),
        },
        lists: vec![
            list(
                "jobs",
                &[("name", DbWins), ("body", TextMerge), ("adaptor", DocWins), ("position", KeepBoth)],
                &[],
            ),
            list(
                "edges",
                &[("source_job_id", DbWins), ("enabled", DbWins), ("weight", DocWins)],
                &[("source_job_id", "jobs")],
            ),
        ],
    }
}

/// What the database has: the view that a document without edits shows, and the version.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) content: serde_json::Value,
    pub(crate) version: i64,
}

impl Database {
    pub(crate) fn new() -> Self {
        let job = |name: &str, at: i64| json!({"name": name, "body": "fn main() {\n}\n", "adaptor": "http", "position": at});
        Self {
            content: json!({
                "name": "deploy", "concurrency": 5, "note": null, "owner": "ops", "color": "red", "about": "",
                "deleted_at": null,
                "jobs": {"j1": job("build", 1), "j2": job("ship", 2)},
                "edges": {"e1": {"source_job_id": "j1", "enabled": true, "weight": 0.5}},
            }),
            version: 1,
        }
    }

    pub(crate) fn rows(&self, shape: &Shape) -> Rows {
        let row = |table: &gangline_reconcile::TableShape, content: &serde_json::Value| {
            table
                .fields
                .iter()
                .map(|field| JsonValue::from(content[&field.column].clone()))
                .collect::<Vec<_>>()
        };
        let list = |table: &gangline_reconcile::TableShape| {
            let rows = self.content[&table.table].as_object().into_iter().flatten();
            rows.map(|(key, content)| (key.clone(), row(table, content))).collect()
        };
        Rows {
            root: Some(row(&shape.root, &self.content)),
            version: Some(self.version),
            lists: shape.lists.iter().map(list).collect(),
            bad: Vec::new(),
        }
    }

    /// Carries out writes as a database does that changes nothing on the way.
    pub(crate) fn carry_out(&mut self, shape: &Shape, writes: &[Write]) {
        for write in writes {
            let table = write.list.map_or(&shape.root, |list| &shape.lists[list]);
            let set = |row: &mut serde_json::Value, values: &[(usize, JsonValue)]| {
                for (at, value) in values {
                    row[&table.fields[*at].column] = value.clone().into();
                }
            };
            let Some(list) = write.list else {
                let WriteAction::Update(values) = &write.action else { panic!("a root is only updated") };
                set(&mut self.content, values);
                continue;
            };
            let rows = &mut self.content[&shape.lists[list].table];
            match &write.action {
                WriteAction::Insert(values) => {
                    assert!(rows.get(&write.key).is_none(), "{} is there", write.key);
                    let columns = table.fields.iter().map(|field| (field.column.clone(), json!(null)));
                    let mut row = serde_json::Value::Object(columns.collect());
                    set(&mut row, values);
                    rows[&write.key] = row;
                }
                WriteAction::Update(values) => set(rows.get_mut(&write.key).expect("a row"), values),
                WriteAction::Delete => {
                    rows.as_object_mut().unwrap().remove(&write.key).expect("a row");
                }
            }
        }
    }
}

pub(crate) fn source() -> Keypair {
    Keypair::from_seed(&[100; 32])
}

pub(crate) fn person(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

/// A node's replica, on which somebody edits.
pub(crate) struct Node {
    pub(crate) key: Keypair,
    pub(crate) base: Base,
    pub(crate) log: Vec<Change>,
    /// What is kept at hand while a document is open. Whatever it says must be what is found out anew.
    tracker: RefCell<Tracker>,
}

impl Node {
    pub(crate) fn new(n: u8) -> Self {
        Self::over(n, BaseCrdt::of_source(&person(n), &source().author(), NAME))
    }

    /// With a replica that has some changes.
    pub(crate) fn over(n: u8, base: Base) -> Self {
        let key = person(n);
        Self { base, key, log: Vec::new(), tracker: RefCell::default() }
    }

    pub(crate) fn reconcile(&mut self, shape: &Shape, rows: &Rows) -> Reconciled {
        self.try_reconcile(shape, rows, false).unwrap()
    }

    pub(crate) fn try_reconcile(
        &mut self,
        shape: &Shape,
        rows: &Rows,
        accepts_older: bool,
    ) -> Result<Reconciled, ReconcileError> {
        let keypair = source();
        let source = Source { keypair: &keypair, shape, document: NAME };
        let tracked = self.tracker.get_mut().reconcile(&self.base, source, rows, accepts_older);
        let reconciled = reconcile(&self.base, source, rows, accepts_older);
        assert_eq!(format!("{tracked:?}"), format!("{reconciled:?}"));
        let reconciled = reconciled?;
        self.take(&reconciled.changes);
        assert_eq!(tracking_ref(&self.base, &keypair), reconciled.heads);
        Ok(reconciled)
    }

    /// What is told of changes, one by one.
    pub(crate) fn told(&self, changes: &[Change]) -> Vec<Notice> {
        let tracked: Vec<Notice> = changes
            .iter()
            .filter_map(|change| self.tracker.borrow_mut().notice(&self.base, change))
            .collect();
        let told: Vec<Notice> = changes.iter().filter_map(|change| notice(&self.base, change)).collect();
        assert_eq!(tracked, told);
        told
    }

    /// How the document is read.
    pub(crate) fn reading(&self) -> Arc<Reading> {
        let (tracked, read) = (self.tracker.borrow_mut().reading(&self.base), Reading::of(&self.base));
        assert_eq!(tracked, read);
        assert_eq!(self.tracker.borrow_mut().version(&self.base).is_some(), read.version().is_some());
        read
    }

    pub(crate) fn conflicts(&self) -> Vec<Conflict> {
        conflicts(&self.base)
    }

    /// Path, the two sides, and which of them shows.
    pub(crate) fn open(&self) -> Vec<Open> {
        let json = |value: Option<JsonValue>| value.map(serde_json::Value::from);
        let open = self.conflicts().into_iter();
        open.map(|it| (it.path.to_string(), json(it.theirs), json(it.mine), it.shows_theirs)).collect()
    }

    pub(crate) fn unsaved(&self, shape: &Shape) -> Vec<Unsaved> {
        assert_eq!(self.reading().layout, Layout::of(shape));
        self.reading().unsaved()
    }

    /// The places that people have changed and not saved.
    pub(crate) fn unsaved_paths(&self, shape: &Shape) -> Vec<String> {
        self.unsaved(shape).iter().map(|unsaved| unsaved.path.to_string()).collect()
    }

    /// Resolves the first conflict at a path.
    pub(crate) fn resolve(&mut self, shape: &Shape, path: &str, take: Take) {
        let layout = Layout::of(shape);
        let open = self.conflicts();
        let conflict = open.iter().find(|open| open.path.to_string() == path);
        let conflict = conflict.unwrap_or_else(|| panic!("{path} is not among {open:?}"));
        let changes = self.base.transact(&self.key, |doc| resolve(doc, &layout, conflict, take)).unwrap();
        self.log.extend(changes);
    }

    pub(crate) fn plan_save(&self, shape: &Shape, rows: &Rows) -> SavePlan {
        plan_save(shape, "1", rows, &self.reading(), &self.conflicts())
    }

    /// Writes the document into the rows that it has followed, and says so in the document.
    pub(crate) fn save(&mut self, shape: &Shape, database: &mut Database) -> SavePlan {
        let plan = self.plan_save(shape, &database.rows(shape));
        if !plan.writes.is_empty() {
            database.version += 1;
            database.carry_out(shape, &plan.writes);
            let keypair = source();
            let source = Source { keypair: &keypair, shape, document: NAME };
            let (heads, version) = (self.base.heads(), Some(database.version));
            let mark = save_mark(&self.base, source, &heads, version).unwrap();
            let tracked = self.tracker.get_mut().save_mark(&self.base, source, &heads, version);
            assert_eq!(tracked.unwrap(), mark);
            self.take(&mark);
        }
        plan
    }

    /// What somebody signs who does not go through the node's routes.
    pub(crate) fn forge(&mut self, forge: impl FnOnce(&JsonCrdt) -> Result<(), EditError>) {
        let changes = self.base.transact(&self.key, forge).unwrap();
        self.log.extend(changes);
    }

    /// Takes in changes that are new here.
    pub(crate) fn take(&mut self, changes: &[Change]) {
        let new: Vec<Change> =
            changes.iter().filter(|change| !self.base.contains(&change.digest())).cloned().collect();
        let batch = self.base.apply_changes(new);
        assert!(
            batch.states.iter().all(|state| matches!(state, OpState::Ok) || state.is_pending()),
            "{:?}",
            batch.states
        );
        // Most are told of when nothing else has come since.
        if let [only] = &*batch.applied {
            self.told(std::slice::from_ref(only));
        }
        self.log.extend(batch.applied);
    }

    /// Hears all of another node.
    pub(crate) fn hear(&mut self, other: &Self) {
        let log = other.log.clone();
        self.take(&log);
    }

    /// What somebody writes into a form: a merge patch of the view.
    pub(crate) fn patch(&mut self, shape: &Shape, patch: serde_json::Value) {
        let layout = Layout::of(shape);
        let edits = edits_of(&layout, &self.reading().content, &patch.into()).unwrap();
        let changes = self.base.transact(&self.key, |doc| edit(doc, &edits)).unwrap();
        self.log.extend(changes);
    }

    pub(crate) fn view(&self) -> serde_json::Value {
        view(&self.reading().content).into()
    }

    pub(crate) fn tracked(&self) -> Vec<Digest> {
        tracking_ref(&self.base, &source())
    }

    /// The document where it last equalled the rows.
    pub(crate) fn view_at_ref(&self) -> serde_json::Value {
        view(&self.base.at(&self.tracked()).unwrap().doc.view()).into()
    }
}

/// A merge patch carried out on plain JSON.
pub(crate) fn merge(target: &mut serde_json::Value, patch: &serde_json::Value) {
    let serde_json::Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        merge(&mut target[name], value);
    }
}

/// The same, with a null that deletes a row.
pub(crate) fn write_rows(target: &mut serde_json::Value, patch: &serde_json::Value) {
    merge(target, patch);
    for list in ["jobs", "edges"] {
        target[list].as_object_mut().unwrap().retain(|_, row| !row.is_null());
    }
}

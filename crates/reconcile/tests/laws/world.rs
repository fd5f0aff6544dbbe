//! A team: a database of one workflow, nodes that follow it and people who edit on them.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::json_crdt::{BaseCrdt, Change, JsonCrdt, OpState};
use bft_json_crdt::{Digest, JsonValue, Keypair};
use gangline_reconcile::{
    Column, ColumnKind, DocumentName, ListTable, Mapping, Mode, Policy, Reconciled, RootTable, Rows, Schema,
    Shape, Source, TableSchema, edit, edits_of, reconcile, tracking_ref, view,
};
use serde_json::json;

pub(crate) type Base = BaseCrdt<JsonCrdt>;

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
    use ColumnKind::{Boolean, Float, Integer, Text};
    use Policy::{DbOwned, DbWins, DocOwned, DocWins, KeepBoth, TextMerge};
    let schema = Schema {
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
    };
    let list = |name: &str, policies: &[(&str, Policy)], refs: &[(&str, &str)]| ListTable {
        table: name.to_owned(),
        parent: "workflow_id".to_owned(),
        key: "id".to_owned(),
        fields: fields(policies),
        refs: refs.iter().map(|(field, target)| ((*field).to_owned(), (*target).to_owned())).collect(),
        secret: BTreeSet::new(),
    };
    let mapping = Mapping {
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
    };
    Shape::bind(mapping, &schema).unwrap()
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
            let rows = self.content[&table.table].as_object().unwrap();
            rows.iter().map(|(key, content)| (key.clone(), row(table, content))).collect()
        };
        Rows {
            root: Some(row(&shape.root, &self.content)),
            version: Some(self.version),
            lists: shape.lists.iter().map(list).collect(),
            bad: Vec::new(),
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
}

impl Node {
    pub(crate) fn new(n: u8) -> Self {
        let key = person(n);
        Self { base: BaseCrdt::of_source(&key, &source().author(), NAME), key, log: Vec::new() }
    }

    pub(crate) fn reconcile(&mut self, shape: &Shape, rows: &Rows) -> Reconciled {
        let keypair = source();
        let source = Source { keypair: &keypair, shape, document: NAME };
        let reconciled = reconcile(&self.base, source, rows, false).unwrap();
        self.take(&reconciled.changes);
        assert_eq!(tracking_ref(&self.base, &keypair), reconciled.heads);
        reconciled
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
        self.log.extend(batch.applied);
    }

    /// Hears all of another node.
    pub(crate) fn hear(&mut self, other: &Self) {
        let log = other.log.clone();
        self.take(&log);
    }

    /// What somebody writes into a form: a merge patch of the view.
    pub(crate) fn patch(&mut self, shape: &Shape, patch: serde_json::Value) {
        let layout = gangline_reconcile::Layout::of(shape);
        let edits = edits_of(&layout, &self.base.doc.view(), &patch.into()).unwrap();
        let changes = self.base.transact(&self.key, |doc| edit(doc, &edits)).unwrap();
        self.log.extend(changes);
    }

    pub(crate) fn view(&self) -> serde_json::Value {
        view(&self.base.doc.view()).into()
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

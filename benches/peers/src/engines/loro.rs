//! loro: a commit per change, updates as its subscription to local updates hands them out.

use std::path::Path;
use std::sync::{Arc, Mutex};

use loro::{
    ExportMode, LoroDoc, LoroList, LoroMap, LoroText, LoroValue, Subscription, ToJson, VersionVector,
};
use serde_json::Value;

use super::check_board;
use crate::job::Scale;
use crate::measure::Report;
use crate::workload::{self, Edit, EditKind, Field, Step, Trace};

pub fn text(trace: &Trace, is_per_edit: bool, report: &mut Report) {
    let local = document(1);
    let text = local.get_text("text");
    let outbox = Outbox::of(&local);
    report.time("local", || {
        for edit in &trace.edits {
            edit_text(&text, edit);
            if is_per_edit {
                local.commit();
            }
        }
        local.commit();
    });
    let updates = outbox.take();
    report.updates(&updates);

    let remote = document(2);
    if report.each("remote", &updates, |update| apply(&remote, update)) {
        report.check("remote text", remote.get_text("text").to_string() == trace.end);
    }

    let snapshot = report.time("snapshot", || snapshot(&local));
    report.bytes("snapshot", snapshot.len());
    let loaded = report.time("load", || load(&snapshot).get_text("text").to_string());
    report.time("load (lazy)", || load(&snapshot));
    report.check("text", loaded == trace.end);
}

fn edit_text(text: &LoroText, edit: &Edit) {
    match edit.kind {
        EditKind::Insert(char) => text.insert(edit.at, char.encode_utf8(&mut [0; 4])),
        EditKind::Delete(_) => text.delete(edit.at, 1),
    }
    .expect("an edit within the text");
}

pub fn board(scale: &Scale, report: &mut Report) -> Vec<Vec<u8>> {
    let local = document(1);
    let items = local.get_list("items");
    let mut handles = Vec::new();
    let outbox = Outbox::of(&local);
    report.time("local", || {
        for step in workload::fill(scale.items).chain(workload::sets(scale.items, scale.sets)) {
            edit_board(&items, &mut handles, step);
            local.commit();
        }
    });
    let updates = outbox.take();
    report.updates(&updates);

    let single = document(2);
    if report.each("remote", &updates, |update| apply(&single, update)) {
        check_board(scale, "remote view", &single.get_deep_value().to_json_value(), report);
    }
    drop(single);

    let batched = document(3);
    let imported = report.time("batch", || batched.import_batch(&updates));
    imported.expect("our own updates");
    check_board(scale, "batch view", &batched.get_deep_value().to_json_value(), report);
    drop(batched);

    let snapshot = report.time("snapshot", || snapshot(&local));
    report.bytes("snapshot", snapshot.len());
    let loaded = report.time("load", || load(&snapshot).get_deep_value());
    report.time("load (lazy)", || load(&snapshot));
    check_board(scale, "view", &loaded.to_json_value(), report);
    updates
}

pub fn board_memory(updates: &Path, report: &mut Report) -> Value {
    let doc = document(2);
    report.time("remote", || workload::each_update(updates, |update| apply(&doc, update)));
    report.note_peak();
    doc.get_deep_value().to_json_value()
}

pub fn exchange(scale: &Scale, is_batched: bool, report: &mut Report) -> Vec<Value> {
    let base = document(1_000);
    let items = base.get_list("items");
    let mut base_handles = Vec::new();
    workload::fill(scale.base_items).for_each(|step| edit_board(&items, &mut base_handles, step));
    let (base, base_version) = (snapshot(&base), base.oplog_vv());
    let replicas: Vec<LoroDoc> = (0..scale.replicas)
        .map(|replica| {
            let replica = document(replica as u64);
            apply(&replica, &base);
            replica
        })
        .collect();

    let mut updates: Vec<Vec<Vec<u8>>> = Vec::new();
    report.time("local", || {
        for (n, replica) in replicas.iter().enumerate() {
            let items = replica.get_list("items");
            let mut handles = handles(&items);
            let outbox = Outbox::of(replica);
            for step in workload::concurrent(n, scale.base_items, scale.replica_sets, scale.replica_inserts) {
                edit_board(&items, &mut handles, step);
                replica.commit();
            }
            updates.push(outbox.take());
        }
    });
    report.time("exchange", || {
        if is_batched {
            // One export for each sender: half the cost of handing its commits to `import_batch`.
            let exports = replicas.iter().map(|replica| vec![export_since(replica, &base_version)]);
            updates = exports.collect();
        }
        for (n, replica) in replicas.iter().enumerate() {
            for (_, updates) in updates.iter().enumerate().filter(|(sender, _)| *sender != n) {
                updates.iter().for_each(|update| apply(replica, update));
            }
        }
    });
    replicas.iter().map(|replica| replica.get_deep_value().to_json_value()).collect()
}

fn document(peer: u64) -> LoroDoc {
    let doc = LoroDoc::new();
    doc.set_peer_id(peer).expect("a fresh document takes any peer");
    doc
}

/// Collects what a document says to send, one update per commit.
struct Outbox {
    updates: Arc<Mutex<Vec<Vec<u8>>>>,
    _subscription: Subscription,
}

impl Outbox {
    fn of(doc: &LoroDoc) -> Self {
        let updates: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let sink = Arc::clone(&updates);
        let subscription = doc.subscribe_local_update(Box::new(move |update| {
            sink.lock().expect("no panic while it was held").push(update.clone());
            true
        }));
        Self { updates, _subscription: subscription }
    }

    fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.updates.lock().expect("no panic while it was held"))
    }
}

/// The maps of a board, in order, as its user keeps them.
fn handles(items: &LoroList) -> Vec<LoroMap> {
    let item = |n| items.get(n)?.into_container().ok()?.into_map().ok();
    (0..items.len()).map(|n| item(n).expect("items are maps")).collect()
}

/// Makes one edit. To set a value that the field has already writes nothing, so there is nothing to commit.
fn edit_board(items: &LoroList, handles: &mut Vec<LoroMap>, step: Step) {
    match step {
        Step::Set { item, field, value: new } => {
            handles[item].insert(field, value(new)).expect("a field of the map");
        }
        Step::Insert { at, n } => {
            let item = items.insert_container(at, LoroMap::new()).expect("a position within the list");
            for (name, new) in workload::item(n) {
                item.insert(name, value(new)).expect("a field of the map");
            }
            handles.insert(at, item);
        }
    }
}

fn value(field: Field) -> LoroValue {
    match field {
        Field::Text(text) => text.into(),
        Field::Number(number) => number.into(),
        Field::Flag(flag) => flag.into(),
    }
}

fn apply(doc: &LoroDoc, update: &[u8]) {
    doc.import(update).expect("our own update");
}

fn export_since(doc: &LoroDoc, version: &VersionVector) -> Vec<u8> {
    doc.export(ExportMode::updates(version)).expect("a document that can be exported")
}

fn snapshot(doc: &LoroDoc) -> Vec<u8> {
    doc.export(ExportMode::Snapshot).expect("a document that can be exported")
}

fn load(snapshot: &[u8]) -> LoroDoc {
    LoroDoc::from_snapshot(snapshot).expect("our own snapshot")
}

//! automerge: a transaction per change, each change's own bytes as the update.

use std::collections::HashMap;
use std::path::Path;

use automerge::hydrate;
use automerge::transaction::Transactable;
use automerge::{ActorId, AutoSerde, Automerge, Change, ObjId, ObjType, ROOT, ReadDoc, ScalarValue};
use serde_json::Value;

use super::check_board;
use crate::job::Scale;
use crate::measure::Report;
use crate::workload::{self, Edit, EditKind, Field, Step, Trace};

pub fn text(trace: &Trace, is_per_edit: bool, report: &mut Report) {
    let mut local = document(1);
    let mut updates = Vec::new();
    report.time("local", || {
        let mut txn = local.transaction();
        let text = txn.put_object(ROOT, "text", ObjType::Text).expect("a new text");
        if is_per_edit {
            txn.commit();
            updates.push(last_change(&local));
            for edit in &trace.edits {
                let mut txn = local.transaction();
                edit_text(&mut txn, &text, edit);
                txn.commit();
                updates.push(last_change(&local));
            }
        } else {
            trace.edits.iter().for_each(|edit| edit_text(&mut txn, &text, edit));
            txn.commit();
            updates.push(last_change(&local));
        }
    });
    report.updates(&updates);

    let mut remote = document(2);
    if report.each("remote", &updates, |update| apply(&mut remote, update)) {
        report.check("remote text", text_of(&remote) == trace.end);
    }

    let snapshot = report.time("snapshot", || local.save());
    report.bytes("snapshot", snapshot.len());
    let loaded = report.time("load", || text_of(&load(&snapshot)));
    report.check("text", loaded == trace.end);
}

fn edit_text(txn: &mut impl Transactable, text: &ObjId, edit: &Edit) {
    match edit.kind {
        EditKind::Insert(char) => txn.splice_text(text, edit.at, 0, char.encode_utf8(&mut [0; 4])),
        EditKind::Delete(_) => txn.splice_text(text, edit.at, 1, ""),
    }
    .expect("an edit within the text");
}

fn text_of(doc: &Automerge) -> String {
    let (_, text) = doc.get(ROOT, "text").expect("a map").expect("a text");
    doc.text(&text).expect("a text")
}

pub fn board(scale: &Scale, report: &mut Report) -> Vec<Vec<u8>> {
    let mut local = document(1);
    let mut updates = Vec::with_capacity(scale.items + scale.sets + 1);
    report.time("local", || {
        let (items, mut handles) = (create_board(&mut local), Vec::new());
        updates.push(last_change(&local));
        for step in workload::fill(scale.items).chain(workload::sets(scale.items, scale.sets)) {
            updates.extend(edit_board(&mut local, &items, &mut handles, step));
        }
    });
    report.updates(&updates);

    let mut single = document(2);
    if report.each("remote", &updates, |update| apply(&mut single, update)) {
        check_board(scale, "remote view", &json(&single), report);
    }
    drop(single);

    let mut batched = document(3);
    report.time("batch", || apply_batch(&mut batched, &updates));
    check_board(scale, "batch view", &json(&batched), report);
    drop(batched);

    let snapshot = report.time("snapshot", || local.save());
    report.bytes("snapshot", snapshot.len());
    let loaded = report.time("load", || {
        let loaded = load(&snapshot);
        let view = loaded.hydrate(None);
        (loaded, view)
    });
    check_board(scale, "view", &json(&loaded.0), report);
    updates
}

pub fn board_memory(updates: &Path, report: &mut Report) -> Value {
    let mut doc = document(2);
    report.time("remote", || workload::each_update(updates, |update| apply(&mut doc, update)));
    report.note_peak();
    json(&doc)
}

pub fn exchange(scale: &Scale, is_batched: bool, report: &mut Report) -> Vec<Value> {
    let mut base = document(1_000);
    let items = create_board(&mut base);
    let mut base_handles = Vec::new();
    for step in workload::fill(scale.base_items) {
        edit_board(&mut base, &items, &mut base_handles, step);
    }
    let base = base.save();
    let mut replicas: Vec<Automerge> =
        (0..scale.replicas).map(|replica| load(&base).with_actor(actor(replica as u64))).collect();

    let mut updates: Vec<Vec<Vec<u8>>> = Vec::new();
    report.time("local", || {
        for (n, replica) in replicas.iter_mut().enumerate() {
            let steps = workload::concurrent(n, scale.base_items, scale.replica_sets, scale.replica_inserts);
            let mut handles = handles(replica, &items);
            let edits = steps.into_iter().filter_map(|step| edit_board(replica, &items, &mut handles, step));
            updates.push(edits.collect());
        }
    });
    report.time("exchange", || {
        for (n, replica) in replicas.iter_mut().enumerate() {
            for (_, updates) in updates.iter().enumerate().filter(|(sender, _)| *sender != n) {
                match is_batched {
                    true => apply_batch(replica, updates),
                    false => updates.iter().for_each(|update| apply(replica, update)),
                }
            }
        }
    });
    replicas.iter().map(json).collect()
}

fn document(peer: u64) -> Automerge {
    Automerge::new().with_actor(actor(peer))
}

/// Sixteen bytes, as long as a random one.
fn actor(peer: u64) -> ActorId {
    let spread = peer.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ActorId::from([spread.to_be_bytes(), peer.to_be_bytes()].concat())
}

fn create_board(doc: &mut Automerge) -> ObjId {
    let mut txn = doc.transaction();
    let items = txn.put_object(ROOT, "items", ObjType::List).expect("a new list");
    txn.commit();
    items
}

/// The maps of a board, in order, as its user keeps them.
fn handles(doc: &Automerge, items: &ObjId) -> Vec<ObjId> {
    doc.list_range(items, ..).map(|item| item.id()).collect()
}

/// Makes one edit in a transaction of its own and returns its update: none where the field had that value
/// already, which this engine does not write again.
fn edit_board(doc: &mut Automerge, items: &ObjId, handles: &mut Vec<ObjId>, step: Step) -> Option<Vec<u8>> {
    let mut txn = doc.transaction();
    match step {
        Step::Set { item, field, value } => {
            txn.put(&handles[item], field, scalar(value)).expect("a field of the map");
        }
        Step::Insert { at, n } => {
            let fields = workload::item(n).map(|(name, value)| (name, hydrate::Value::Scalar(scalar(value))));
            let item = hydrate::Value::from(HashMap::from(fields));
            let item = txn.batch_create_object(items, at, &item, true).expect("a position within the list");
            handles.insert(at, item);
        }
    }
    let (hash, _) = txn.commit();
    hash.map(|_| last_change(doc))
}

fn scalar(field: Field) -> ScalarValue {
    match field {
        Field::Text(text) => text.into(),
        Field::Number(number) => number.into(),
        Field::Flag(flag) => flag.into(),
    }
}

fn last_change(doc: &Automerge) -> Vec<u8> {
    let change = doc.get_last_local_change().expect("a change was committed");
    change.raw_bytes().to_vec()
}

fn apply(doc: &mut Automerge, update: &[u8]) {
    let change = Change::from_bytes(update.to_vec()).expect("our own change");
    doc.apply_changes([change]).expect("a change that fits");
}

fn apply_batch(doc: &mut Automerge, updates: &[Vec<u8>]) {
    let changes = updates.iter().map(|update| Change::from_bytes(update.clone()).expect("our own change"));
    doc.apply_changes(changes.collect::<Vec<_>>()).expect("changes that fit");
}

fn load(snapshot: &[u8]) -> Automerge {
    Automerge::load(snapshot).expect("our own snapshot")
}

fn json(doc: &Automerge) -> Value {
    serde_json::to_value(AutoSerde::from(doc)).expect("plain JSON")
}

//! yrs: a transaction per change, updates in its v1 encoding.

use std::path::Path;

use serde_json::{Value, json};
use yrs::types::ToJson;
use yrs::updates::decoder::Decode;
use yrs::{
    Any, Array, ArrayRef, ClientID, Doc, GetString, In, Map, MapPrelim, MapRef, OffsetKind, Options, ReadTxn,
    StateVector, Text, TextRef, Transact, TransactionMut, Update,
};

use super::check_board;
use crate::job::Scale;
use crate::measure::{Report, within_budget};
use crate::workload::{self, Edit, EditKind, Field, Step, Trace};

pub fn text(trace: &Trace, is_per_edit: bool, report: &mut Report) {
    let local = document(1);
    let text = local.get_or_insert_text("text");
    let mut updates = Vec::new();
    let done = report.time("local", || {
        if is_per_edit {
            within_budget(&trace.edits, |edit| {
                let mut txn = local.transact_mut();
                edit_text(&text, &mut txn, edit);
                updates.push(txn.encode_update_v1());
            })
        } else {
            let mut txn = local.transact_mut();
            let done = within_budget(&trace.edits, |edit| edit_text(&text, &mut txn, edit));
            updates.push(txn.encode_update_v1());
            done
        }
    });
    report.note_done("local", done, trace.edits.len());
    report.updates(&updates);
    let end = trace.text_after(done);

    let remote = document(2);
    if report.each("remote", &updates, |update| apply(&remote, update)) {
        report.check("remote text", text_of(&remote) == end);
    }

    let snapshot = report.time("snapshot", || snapshot(&local));
    report.bytes("snapshot", snapshot.len());
    report.bytes("snapshot v2", local.transact().encode_state_as_update_v2(&StateVector::default()).len());
    let loaded = report.time("load", || {
        let loaded = document(3);
        apply(&loaded, &snapshot);
        text_of(&loaded)
    });
    report.check("text", loaded == end);
}

fn edit_text(text: &TextRef, txn: &mut TransactionMut, edit: &Edit) {
    let at = edit.at_utf8 as u32;
    match edit.kind {
        EditKind::Insert(char) => text.insert(txn, at, char.encode_utf8(&mut [0; 4])),
        EditKind::Delete(char) => text.remove_range(txn, at, char.len_utf8() as u32),
    }
}

fn text_of(doc: &Doc) -> String {
    let text = doc.get_or_insert_text("text");
    text.get_string(&doc.transact())
}

pub fn board(scale: &Scale, report: &mut Report) -> Vec<Vec<u8>> {
    let local = document(1);
    let items = local.get_or_insert_array("items");
    let mut handles = Vec::new();
    let mut updates = Vec::with_capacity(scale.items + scale.sets);
    report.time("local", || {
        for step in workload::fill(scale.items).chain(workload::sets(scale.items, scale.sets)) {
            updates.push(edit_board(&local, &items, &mut handles, step));
        }
    });
    report.updates(&updates);

    let single = document(2);
    if report.each("remote", &updates, |update| apply(&single, update)) {
        check_board(scale, "remote view", &json(&view(&single)), report);
    }
    drop(single);

    let batched = document(3);
    report.time("batch", || apply_batch(&batched, &updates));
    check_board(scale, "batch view", &json(&view(&batched)), report);
    drop(batched);

    let snapshot = report.time("snapshot", || snapshot(&local));
    report.bytes("snapshot", snapshot.len());
    report.bytes("snapshot v2", local.transact().encode_state_as_update_v2(&StateVector::default()).len());
    let loaded = report.time("load", || {
        let loaded = document(4);
        apply(&loaded, &snapshot);
        view(&loaded)
    });
    check_board(scale, "view", &json(&loaded), report);
    updates
}

pub fn board_memory(updates: &Path, report: &mut Report) -> Value {
    let doc = document(2);
    report.time("remote", || workload::each_update(updates, |update| apply(&doc, update)));
    report.note_peak();
    json(&view(&doc))
}

pub fn exchange(scale: &Scale, is_batched: bool, report: &mut Report) -> Vec<Value> {
    let base = document(1_000);
    let items = base.get_or_insert_array("items");
    let mut base_handles = Vec::new();
    for step in workload::fill(scale.base_items) {
        edit_board(&base, &items, &mut base_handles, step);
    }
    let base = snapshot(&base);
    let replicas: Vec<Doc> = (0..scale.replicas).map(|replica| document(replica as u64)).collect();
    replicas.iter().for_each(|replica| apply(replica, &base));

    let mut updates: Vec<Vec<Vec<u8>>> = Vec::new();
    report.time("local", || {
        for (n, replica) in replicas.iter().enumerate() {
            let items = replica.get_or_insert_array("items");
            let mut handles = handles(replica, &items);
            let steps = workload::concurrent(n, scale.base_items, scale.replica_sets, scale.replica_inserts);
            updates.push(
                steps.into_iter().map(|step| edit_board(replica, &items, &mut handles, step)).collect(),
            );
        }
    });
    report.time("exchange", || {
        for (n, replica) in replicas.iter().enumerate() {
            for (_, updates) in updates.iter().enumerate().filter(|(sender, _)| *sender != n) {
                match is_batched {
                    true => apply_batch(replica, updates),
                    false => updates.iter().for_each(|update| apply(replica, update)),
                }
            }
        }
    });
    replicas.iter().map(|replica| json(&view(replica))).collect()
}

fn document(client: u64) -> Doc {
    // With positions in UTF-16 each edit of a text would count every block before it again.
    let options =
        Options { offset_kind: OffsetKind::Bytes, ..Options::with_client_id(ClientID::new(client)) };
    Doc::with_options(options)
}

/// The maps of a board, in order. Its user keeps them: to find one by position, the engine walks the list.
fn handles(doc: &Doc, items: &ArrayRef) -> Vec<MapRef> {
    let txn = doc.transact();
    items.iter(&txn).map(|item| item.cast().expect("items are maps")).collect()
}

/// Makes one edit in a transaction of its own and returns its update.
fn edit_board(doc: &Doc, items: &ArrayRef, handles: &mut Vec<MapRef>, step: Step) -> Vec<u8> {
    let mut txn = doc.transact_mut();
    match step {
        Step::Set { item, field, value } => {
            handles[item].insert(&mut txn, field, any(value));
        }
        Step::Insert { at, n } => {
            let fields = workload::item(n).map(|(name, value)| (name, In::Any(any(value))));
            handles.insert(at, items.insert(&mut txn, at as u32, MapPrelim::from(fields)));
        }
    }
    txn.encode_update_v1()
}

fn any(field: Field) -> Any {
    match field {
        Field::Text(text) => text.into(),
        Field::Number(number) => number.into(),
        Field::Flag(flag) => flag.into(),
    }
}

fn apply(doc: &Doc, update: &[u8]) {
    let update = Update::decode_v1(update).expect("our own update");
    doc.transact_mut().apply_update(update).expect("an update that fits");
}

/// One transaction for all: far cheaper than to merge the updates first.
fn apply_batch(doc: &Doc, updates: &[Vec<u8>]) {
    let mut txn = doc.transact_mut();
    for update in updates {
        let update = Update::decode_v1(update).expect("our own update");
        txn.apply_update(update).expect("an update that fits");
    }
}

fn snapshot(doc: &Doc) -> Vec<u8> {
    doc.transact().encode_state_as_update_v1(&StateVector::default())
}

/// The whole board as the engine's own value.
fn view(doc: &Doc) -> Any {
    let items = doc.get_or_insert_array("items");
    items.to_json(&doc.transact())
}

fn json(items: &Any) -> Value {
    json!({ "items": serde_json::to_value(items).expect("plain JSON") })
}

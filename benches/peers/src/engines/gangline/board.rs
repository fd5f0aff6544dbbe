//! Workloads B and C: a list of items of nine fields.

use std::path::Path;

use bft_json_crdt::bundle::COVERED_CHANGES_MAX;
use bft_json_crdt::json_crdt::{BaseCrdt, Checker, CrdtNode, JsonValue, UnsignedOp, add_crdt_fields};
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use serde_json::Value;

use super::receiving::{Shown, receive};
use super::{Author, apply, apply_as, apply_covered, replica, without_covered};
use crate::job::{Delivery, Grouping, Scale};
use crate::measure::Report;
use crate::workload::{self, Field, Step};

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Item {
    story_id: LwwRegisterCrdt<String>,
    stage: LwwRegisterCrdt<String>,
    name: LwwRegisterCrdt<String>,
    agent: LwwRegisterCrdt<String>,
    retry_count: LwwRegisterCrdt<f64>,
    blocked: LwwRegisterCrdt<bool>,
    depends_on: LwwRegisterCrdt<String>,
    claimed_by: LwwRegisterCrdt<String>,
    claimed_at: LwwRegisterCrdt<f64>,
}

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Board {
    items: ListCrdt<Item>,
}

impl Shown for Board {
    type Whole = JsonValue;

    fn first(&self) -> String {
        self.items[0].view().to_string()
    }

    fn whole(&self) -> JsonValue {
        CrdtNode::view(self)
    }
}

/// Returns the updates, for [`board_memory`].
pub fn board(scale: &Scale, grouping: Grouping, report: &mut Report) -> Vec<Vec<u8>> {
    let mut local: Author<Board> = Author::new(1, grouping);
    report.time("local", || {
        let mut handles = Vec::new();
        for step in workload::fill(scale.items).chain(workload::sets(scale.items, scale.sets)) {
            edit_board(&mut local, &mut handles, step);
        }
        local.commit();
    });
    let steps = workload::fill(scale.items).chain(workload::sets(scale.items, scale.sets));
    let expected = workload::board_json(steps);
    receive(local, |view| workload::is_same(&json(view.clone()), &expected), report)
}

/// Applies what a file has, a frame of it in memory at a time at most.
pub fn board_memory(updates: &Path, delivery: Delivery, report: &mut Report) -> Value {
    let mut replica: BaseCrdt<Board> = replica(2);
    report.note_floor();
    report.time("remote", || match delivery {
        Delivery::Singly | Delivery::Batched => {
            workload::each_update(updates, |update| apply(&mut replica, update));
        }
        Delivery::Covered => {
            let mut frame: Vec<Vec<u8>> = Vec::with_capacity(COVERED_CHANGES_MAX);
            workload::each_update(updates, |update| {
                frame.push(update.to_owned());
                if frame.len() == COVERED_CHANGES_MAX {
                    apply_covered(&mut replica, &without_covered(&frame));
                    frame.clear();
                }
            });
            apply_covered(&mut replica, &without_covered(&frame));
        }
    });
    report.note_peak();
    let view = json(CrdtNode::view(&replica.doc));
    report.bytes("memory", replica.memory().total());
    report.time("compact", || replica.compact()).expect("our own history");
    report.bytes("memory compacted", replica.memory().total());
    view
}

pub fn exchange(scale: &Scale, grouping: Grouping, delivery: Delivery, report: &mut Report) -> Vec<Value> {
    let (mut base, mut handles) = (Author::<Board>::new(0, Grouping::Coalesced), Vec::new());
    workload::fill(scale.base_items).for_each(|step| edit_board(&mut base, &mut handles, step));
    base.commit();
    let mut authors: Vec<Author<Board>> =
        (0..scale.replicas).map(|n| Author::new(n as u8 + 1, grouping)).collect();
    authors.iter_mut().for_each(|author| apply_covered(&mut author.replica, &base.updates));

    report.time("local", || {
        for (n, author) in authors.iter_mut().enumerate() {
            let mut handles = author.replica.doc.items.view();
            let steps = workload::concurrent(n, scale.base_items, scale.replica_sets, scale.replica_inserts);
            steps.into_iter().for_each(|step| edit_board(author, &mut handles, step));
            author.commit();
        }
    });
    let updates = authors.iter_mut().map(|author| {
        let updates = std::mem::take(&mut author.updates);
        if delivery == Delivery::Covered { without_covered(&updates) } else { updates }
    });
    let updates: Vec<Vec<Vec<u8>>> = updates.collect();
    let checker = Checker::default();
    report.time("exchange", || {
        for (n, author) in authors.iter_mut().enumerate() {
            for (_, updates) in updates.iter().enumerate().filter(|(sender, _)| *sender != n) {
                apply_as(&mut author.replica, &checker, updates, delivery);
            }
        }
    });
    authors.iter().map(|author| json(CrdtNode::view(&author.replica.doc))).collect()
}

fn edit_board(author: &mut Author<Board>, handles: &mut Vec<Item>, step: Step) {
    author.edit(|board| match step {
        Step::Set { item, field, value } => set(&handles[item], field, value),
        Step::Insert { at, n } => {
            let fields = workload::item(n).map(|(name, value)| (name.to_owned(), value.into()));
            let edit = board.items.insert_idx(at, JsonValue::Object(fields.into()));
            handles.insert(at, board.items[at].clone());
            edit
        }
    });
}

fn set(item: &Item, field: &str, value: Field) -> UnsignedOp {
    match (field, value) {
        ("stage", Field::Text(text)) => item.stage.set(text),
        ("agent", Field::Text(text)) => item.agent.set(text),
        ("retry_count", Field::Number(number)) => item.retry_count.set(number),
        ("blocked", Field::Flag(flag)) => item.blocked.set(flag),
        (field, value) => unreachable!("the workload does not set {field} to {value:?}"),
    }
}

impl From<Field> for JsonValue {
    fn from(field: Field) -> Self {
        match field {
            Field::Text(text) => text.into(),
            Field::Number(number) => number.into(),
            Field::Flag(flag) => flag.into(),
        }
    }
}

fn json(view: JsonValue) -> Value {
    view.into()
}

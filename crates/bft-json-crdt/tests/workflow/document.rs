//! A document with every type in it, and histories of three replicas that edit it at once.

#![allow(dead_code, clippy::wildcard_enum_match_arm, reason = "each test takes what it needs")]

use std::collections::BTreeSet;

use bft_json_crdt::counter_crdt::CounterCrdt;
use bft_json_crdt::json_crdt::{BaseCrdt, Change, CrdtNode, EditError, JsonCrdt, JsonValue, add_crdt_fields};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::text_crdt::TextCrdt;
use bft_json_crdt::{Digest, DocumentId};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
pub(crate) struct Job {
    pub(crate) name: LwwRegisterCrdt<String>,
    pub(crate) body: TextCrdt,
    pub(crate) runs: CounterCrdt,
}

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
pub(crate) struct Workflow {
    pub(crate) jobs: MapCrdt<Job>,
    pub(crate) order: ListCrdt<LwwRegisterCrdt<String>>,
    pub(crate) notes: TextCrdt,
    pub(crate) extra: JsonCrdt,
}

pub(crate) const DOCUMENT: DocumentId = DocumentId([7; 32]);

pub(crate) fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

pub(crate) fn open(n: u8) -> BaseCrdt<Workflow> {
    BaseCrdt::with_document(&key(n), DOCUMENT)
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Type(usize, Index, u8),
    Cut(usize, Index, u8),
    Push(usize, Index, u8),
    Move(usize, Index, Index),
    Drop(usize, Index),
    Put(usize, u8),
    Body(usize, u8, Index),
    Remove(usize, u8),
    Extra(usize, u8),
    Tell(usize, usize),
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0usize..3;
    let at = any::<Index>;
    let step = prop_oneof![
        3 => (who.clone(), at(), any::<u8>()).prop_map(|(w, i, n)| Step::Type(w, i, n)),
        2 => (who.clone(), at(), 1u8..4).prop_map(|(w, i, n)| Step::Cut(w, i, n)),
        3 => (who.clone(), at(), any::<u8>()).prop_map(|(w, i, n)| Step::Push(w, i, n)),
        2 => (who.clone(), at(), at()).prop_map(|(w, i, j)| Step::Move(w, i, j)),
        1 => (who.clone(), at()).prop_map(|(w, i)| Step::Drop(w, i)),
        2 => (who.clone(), 0u8..3).prop_map(|(w, k)| Step::Put(w, k)),
        3 => (who.clone(), 0u8..3, at()).prop_map(|(w, k, i)| Step::Body(w, k, i)),
        1 => (who.clone(), 0u8..3).prop_map(|(w, k)| Step::Remove(w, k)),
        2 => (who.clone(), 0u8..6).prop_map(|(w, k)| Step::Extra(w, k)),
        4 => (who.clone(), who).prop_map(|(a, b)| Step::Tell(a, b)),
    ];
    prop::collection::vec(step, 1..40)
}

pub(crate) fn edit(doc: &Workflow, step: &Step) -> Result<(), EditError> {
    match step {
        Step::Type(_, at, n) => doc.notes.insert(at.index(doc.notes.len() + 1), &format!("<{n}>")).keep(),
        Step::Cut(_, at, n) if doc.notes.len() > *n as usize => {
            doc.notes.cut(at.index(doc.notes.len() - *n as usize), *n as usize).keep()
        }
        Step::Push(_, at, n) => doc.order.insert_idx(at.index(doc.order.len() + 1), format!("{n}")).keep(),
        Step::Move(_, from, to) if !doc.order.is_empty() => {
            doc.order.move_idx(from.index(doc.order.len()), to.index(doc.order.len())).keep()
        }
        Step::Drop(_, at) if !doc.order.is_empty() => doc.order.delete_idx(at.index(doc.order.len())).keep(),
        Step::Put(_, k) => doc.jobs.put(&format!("{k}"), json!({"name": "new", "body": "fn"})).keep(),
        Step::Body(_, k, at) => match doc.jobs.get(&format!("{k}")) {
            Some(job) => {
                job.runs.add(1).keep()?;
                job.body.insert(at.index(job.body.len() + 1), "xy").keep()
            }
            None => Ok(()),
        },
        Step::Remove(_, k) if doc.jobs.get(&format!("{k}")).is_some() => {
            doc.jobs.remove(&format!("{k}")).keep()
        }
        Step::Extra(_, k) => match (k % 3, doc.extra.at("list").and_then(|list| list.as_list())) {
            (0, Some(list)) => list.push(json!({"n": k})).keep(),
            (1, _) => doc.extra.put("list", json!([1])).keep(),
            (_, _) => doc.extra.put("list", JsonValue::Text("text".into())).keep(),
        },
        _ => Ok(()),
    }
}

/// Three replicas' changes, all of which the first one knows in the end.
pub(crate) fn history(steps: &[Step]) -> (BaseCrdt<Workflow>, Vec<Change>) {
    let mut team: Vec<BaseCrdt<Workflow>> = (1..4).map(open).collect();
    let mut log: Vec<Change> = Vec::new();
    for step in steps {
        match step {
            Step::Tell(from, to) => {
                let known: Vec<Change> =
                    log.iter().filter(|change| team[*from].contains(&change.digest())).cloned().collect();
                let _ = team[*to].apply_changes(known);
            }
            Step::Type(who, ..)
            | Step::Cut(who, ..)
            | Step::Push(who, ..)
            | Step::Move(who, ..)
            | Step::Drop(who, ..)
            | Step::Put(who, ..)
            | Step::Body(who, ..)
            | Step::Remove(who, ..)
            | Step::Extra(who, ..) => {
                log.extend(team[*who].transact(&key(*who as u8 + 1), |doc| edit(doc, step)).unwrap());
            }
        }
    }
    let _ = team[0].apply_changes(log.clone());
    (team.swap_remove(0), log)
}

/// What the heads and their pasts contain, in causal order.
pub(crate) fn past(log: &[Change], heads: &[Digest]) -> Vec<Change> {
    let mut within: BTreeSet<Digest> = heads.iter().copied().collect();
    let mut kept = Vec::new();
    for change in log.iter().rev() {
        if within.contains(&change.digest()) {
            within.extend(change.deps().iter().copied().chain(change.prev()));
            kept.push(change.clone());
        }
    }
    kept.reverse();
    kept
}

pub(crate) fn replayed(changes: Vec<Change>) -> BaseCrdt<Workflow> {
    let mut base = open(9);
    base.load(changes).unwrap();
    base
}

pub(crate) fn text(base: &BaseCrdt<Workflow>) -> String {
    CrdtNode::view(&base.doc).to_string()
}

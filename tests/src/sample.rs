//! A short history by two authors, the same on every machine: what seeds the corpora stands on it.

use bft_json_crdt::json_crdt::{BaseCrdt, Change, SignedOp};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::op::ROOT_ID;
use gangline_doc::PipelineDoc;
use serde_json::{Value, json};

/// Returns the first author's keys.
#[must_use]
pub fn alice() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

/// Returns the second author's keys.
#[must_use]
pub fn bob() -> Keypair {
    Keypair::from_seed(&[2; 32])
}

/// Returns the history: alice adds two items, bob moves the first one and adds a third.
#[must_use]
pub fn history() -> Vec<Change> {
    let mut ops = Vec::new();
    let mut of_alice = BaseCrdt::<PipelineDoc>::new(&alice());
    for name in ["tie the lines", "check the brakes"] {
        ops.push(record(&mut of_alice, |doc| doc.doc.items.insert(ROOT_ID, item(name)).sign(&alice())));
    }
    let mut of_bob = replica(&bob(), &ops);
    ops.push(record(&mut of_bob, |doc| first(doc).stage.set("2_current".to_owned()).sign(&bob())));
    ops.push(record(&mut of_bob, |doc| doc.doc.items.insert(ROOT_ID, item("feed the dogs")).sign(&bob())));
    ops.into_iter().map(SignedOp::into_change).collect()
}

/// Returns ops that alice may sign on top of the history, each a first step of its own.
#[must_use]
pub fn next_ops() -> Vec<(&'static str, SignedOp)> {
    type Edit = fn(&mut BaseCrdt<PipelineDoc>) -> SignedOp;
    let edits: [(&'static str, Edit); 4] = [
        ("insert", |doc| doc.doc.items.insert(ROOT_ID, item("harness")).sign(&alice())),
        ("set-text", |doc| first(doc).agent.set("coder-1 \"é\" \u{1f415}".to_owned()).sign(&alice())),
        ("set-number", |doc| first(doc).retry_count.set(2.5).sign(&alice())),
        ("delete", |doc| {
            let id = doc.doc.items.id_at(0).expect("the history has items");
            doc.doc.items.delete(id).sign(&alice())
        }),
    ];
    let history: Vec<SignedOp> = history().into_iter().filter_map(|change| change.try_into().ok()).collect();
    edits.into_iter().map(|(name, edit)| (name, record(&mut replica(&alice(), &history), edit))).collect()
}

fn replica(keypair: &Keypair, ops: &[SignedOp]) -> BaseCrdt<PipelineDoc> {
    let mut replica = BaseCrdt::new(keypair);
    let changes = ops.iter().cloned().map(SignedOp::into_change).collect();
    assert!(replica.apply_changes(changes).states.iter().all(|state| state.is_applied()));
    replica
}

fn record(
    replica: &mut BaseCrdt<PipelineDoc>,
    edit: impl FnOnce(&mut BaseCrdt<PipelineDoc>) -> SignedOp,
) -> SignedOp {
    let op = edit(replica);
    assert!(replica.apply(op.clone()).is_applied());
    op
}

fn first(replica: &BaseCrdt<PipelineDoc>) -> &gangline_doc::PipelineItem {
    replica.doc.items.get(0).expect("the history has items")
}

fn item(name: &str) -> Value {
    json!({
        "story_id": name, "stage": "1_backlog", "name": name, "agent": "", "retry_count": 0,
        "blocked": false, "depends_on": "", "claimed_by": "", "claimed_at": 0,
    })
}

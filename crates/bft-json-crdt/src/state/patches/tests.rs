//! What following a view costs, whatever a peer does: sizes at which a cost per op or per patch that grows with
//! the document would not come to an end.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use smallvec::{SmallVec, smallvec};

use super::*;
use crate::any_crdt::JsonCrdt;
use crate::change::{Change, DocumentId};
use crate::encoding::{Extent, put_value};
use crate::json_crdt::CrdtNode as _;
use crate::keypair::Keypair;
use crate::op::{Names, Rank, Target};
use crate::state::history::Made;

fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

/// A replica of a document of any shape.
fn open(n: u8) -> State {
    State::new(DocumentId([1; 32]), key(n).author(), JsonCrdt::describe)
}

fn json(value: serde_json::Value) -> JsonValue {
    value.into()
}

/// Makes an op that says what no edit here would.
fn make(state: &mut State, kind: OpKind<Made, Slice>, content: &JsonValue) -> Made {
    let mut value = Vec::new();
    put_value(&mut value, content).unwrap();
    let mut op = Op { rank: Rank::Edit, kind };
    let slice = Slice { start: 0, span: Extent::of(content).numbers };
    op.kind.each_value(|value| *value = slice);
    let span = op.span();
    state.make(op, span, &value, |state, work, op| state.integrate(work, op)).unwrap()
}

/// Puts under a key of the root, having seen some removals.
fn put(state: &mut State, at: &str, removals: Names<Made>, content: &JsonValue) -> Made {
    let (target, key) = (Target { node: None, path: Vec::new() }, at.to_owned());
    let value = Slice { start: 0, span: 0 };
    make(state, OpKind::Put { target, key, removals, overwrites: SmallVec::new(), value }, content)
}

fn commit(state: &mut State, n: u8) -> Change {
    let mut changes = state.commit(&key(n), false).unwrap();
    assert_eq!(changes.len(), 1);
    changes.remove(0)
}

fn take(state: &mut State, change: Change) {
    state.load([(change, true)]).unwrap();
}

/// The node under a key in an entry.
fn inside(state: &State, entry: NodeIx, key: &str) -> NodeIx {
    state.live_entry(entry, key).unwrap()
}

#[test]
fn an_edit_inside_one_of_many_entries_of_a_key_is_as_cheap_as_any() {
    let (mut alice, mut bob) = (open(1), open(2));
    alice.begin(Rank::Edit);
    let content = json(serde_json::json!({"n": 0}));
    let mut seen = smallvec![];
    let first = put(&mut alice, "k", seen, &content);
    let mut last = first;
    for _ in 0..20_000 {
        seen = smallvec![last];
        last = put(&mut alice, "k", seen, &content);
    }
    let many = commit(&mut alice, 1);
    take(&mut bob, many);
    assert_eq!(bob.nodes.map(ROOT_NODE).live_of("k").len(), 20_001);
    let _ = (alice.content(), bob.content());
    // The entry that was put first shows last.
    let loser = alice.history.node_of(first).unwrap();
    assert!(!alice.is_shown(loser));
    let register = inside(&alice, loser, "n");
    alice.begin(Rank::Edit);
    for n in 0..40_000i64 {
        alice.edit_set(register, n.into()).unwrap();
    }
    let edits = commit(&mut alice, 1);
    take(&mut bob, edits);
    for replica in [&mut alice, &mut bob] {
        assert!(replica.patches.as_ref().unwrap().pending.is_empty(), "nothing that shows changed");
        assert_eq!(*replica.content(), replica.view(ROOT_NODE));
    }
}

/// What waits to be applied to the content that is kept.
fn waiting(state: &State) -> (usize, usize) {
    let patches = state.patches.as_ref().unwrap();
    let real: usize = patches.pending.iter().map(|pending| pending.patch.bytes()).sum();
    assert_eq!(patches.bytes, real);
    (patches.bytes, patches.work)
}

#[test]
fn patches_that_wait_take_up_no_more_than_what_is_followed() {
    let (mut alice, mut bob) = (open(1), open(2));
    alice.begin(Rank::Edit);
    let rows: serde_json::Map<_, _> = (0..20_000).map(|n| (n.to_string(), "a row's value".into())).collect();
    let first = put(&mut alice, "rows", smallvec![], &json(serde_json::json!(rows)));
    put(&mut alice, "title", smallvec![], &json(serde_json::json!("t".repeat(3 << 20))));
    take(&mut bob, commit(&mut alice, 1));
    let whole = bytes_of(&bob.content());
    for n in 0..400 {
        // Each joins the entry that is there.
        alice.begin(Rank::Edit);
        assert_eq!(alice.history.node_of(first), alice.live_entry(ROOT_NODE, "rows"));
        put(&mut alice, "rows", smallvec![], &json(serde_json::json!({})));
        take(&mut bob, commit(&mut alice, 1));
        let (bytes, work) = waiting(&bob);
        assert!(bytes <= whole && work <= whole, "{bytes} bytes, {work} of work after {n} puts");
    }
    assert_eq!(*bob.content(), bob.view(ROOT_NODE));
    assert_eq!(bob.content().to_string(), alice.content().to_string());
    // A program that takes patches, and does not come to take them.
    bob.watch();
    for n in 0..400 {
        alice.begin(Rank::Edit);
        put(&mut alice, "rows", smallvec![], &json(serde_json::json!({})));
        take(&mut bob, commit(&mut alice, 1));
        let patches = bob.patches.as_ref().unwrap();
        let bytes = patches.watched.as_ref().unwrap().bytes + waiting(&bob).0;
        assert!(bytes <= PATCHES_BYTES_MAX, "{bytes} bytes after {n} puts");
    }
    let patches = bob.take_patches();
    assert!(matches!(&patches[..], [Patch { path, action: PatchAction::Set(_) }] if path.is_empty()));
}

#[test]
fn patches_that_cost_more_than_a_view_are_not_applied() {
    let (mut alice, mut bob) = (open(1), open(2));
    alice.begin(Rank::Edit);
    let text = put(&mut alice, "text", smallvec![], &JsonValue::Text("x".repeat(3 << 20)));
    put(&mut alice, "list", smallvec![], &json(serde_json::json!(vec![0; 50_000])));
    take(&mut bob, commit(&mut alice, 1));
    let whole = bytes_of(&bob.content());
    let text = alice.history.node_of(text).unwrap();
    // The characters go one here, one there.
    alice.begin(Rank::Edit);
    for n in 0..1_000 {
        alice.edit_cut(text, n * 1_000, 1).unwrap();
    }
    take(&mut bob, commit(&mut alice, 1));
    assert!(waiting(&bob).1 <= whole);
    assert_eq!(*bob.content(), bob.view(ROOT_NODE));
    // A few of them are: nothing is read again for a stroke of a key.
    alice.begin(Rank::Edit);
    alice.edit_cut(text, 7, 1).unwrap();
    take(&mut bob, commit(&mut alice, 1));
    assert!(bob.patches.as_ref().unwrap().content.is_some());
    assert_eq!(*bob.content(), bob.view(ROOT_NODE));
    let list = alice.live_entry(ROOT_NODE, "list").unwrap();
    alice.begin(Rank::Edit);
    for _ in 0..1_000 {
        let first = alice.nodes.list(list).at(0).unwrap();
        alice.edit_delete(list, first).unwrap();
    }
    take(&mut bob, commit(&mut alice, 1));
    assert!(waiting(&bob).1 <= whole);
    assert_eq!(*bob.content(), bob.view(ROOT_NODE));
}

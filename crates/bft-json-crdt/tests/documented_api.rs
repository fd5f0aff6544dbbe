//! The public API as its users know it: local edits, signing, applying, queueing, views.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use bft_json_crdt::DocumentId;
use bft_json_crdt::counter_crdt::CounterCrdt;
use bft_json_crdt::json_crdt::{
    BaseCrdt, CAUSAL_QUEUE_MAX, CrdtNode, EditError, JsonValue, NoEffect, OpState, SignError, SignedOp,
    add_crdt_fields,
};
use bft_json_crdt::keypair::{Keypair, make_keypair};
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::op::ROOT_ID;
use bft_json_crdt::text_crdt::TextCrdt;
use serde_json::json;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct PipelineItem {
    story_id: LwwRegisterCrdt<String>,
    stage: LwwRegisterCrdt<String>,
    retry_count: LwwRegisterCrdt<f64>,
    blocked: LwwRegisterCrdt<bool>,
}

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct PipelineDoc {
    items: ListCrdt<PipelineItem>,
}

fn item(id: &str) -> serde_json::Value {
    json!({"story_id": id, "stage": "1_backlog", "retry_count": 0.0, "blocked": false})
}

fn pair() -> (Keypair, BaseCrdt<PipelineDoc>, BaseCrdt<PipelineDoc>) {
    let alice = make_keypair();
    let (a, b) = (BaseCrdt::new(&alice), BaseCrdt::new(&make_keypair()));
    (alice, a, b)
}

fn text<T: CrdtNode>(base: &BaseCrdt<T>) -> String {
    CrdtNode::view(&base.doc).to_string()
}

#[test]
fn edits_show_at_once_and_out_of_order_ops_wait() {
    let (alice, mut a, mut b) = pair();
    let op = a.doc.items.insert(ROOT_ID, item("7")).sign(&alice);
    assert_eq!(a.apply(op.clone()), OpState::Ok);
    assert_eq!(a.apply(op.clone()), OpState::AlreadySeen);
    let set = a.doc.items[0].stage.set("2_current".to_string()).sign_with_dependencies(&alice, vec![&op]);
    assert_eq!(a.doc.items[0].stage.view(), JsonValue::String("2_current".into()));
    assert_eq!(b.apply(set.clone()), OpState::MissingCausalDependencies);
    assert_eq!(b.causal_queue_len(), 1);
    assert_eq!(b.apply(op), OpState::Ok);
    assert_eq!(b.causal_queue_len(), 0);
    assert_eq!(b.doc.items[0].stage.view(), JsonValue::String("2_current".into()));
    assert_eq!(b.apply(set), OpState::AlreadySeen);
    assert_eq!(text(&a), text(&b));
    assert_eq!(a.heads(), b.heads());
}

#[test]
fn ops_survive_json_and_name_elements() {
    let (alice, mut a, mut b) = pair();
    let first = a.doc.items.insert(ROOT_ID, item("1")).sign(&alice);
    let second = a.doc.items.insert(first.id(), item("2")).sign(&alice);
    let between = a.doc.items.insert(first.id(), item("1.5")).sign(&alice);
    for op in [&first, &second, &between] {
        let json = serde_json::to_string(op).unwrap();
        let back: SignedOp = serde_json::from_str(&json).unwrap();
        assert_eq!(&back, op);
        assert_eq!(back.change().bytes(), op.change().bytes());
        assert_eq!(b.apply(back), OpState::Ok);
    }
    assert_eq!(a.doc.items.index_of(between.id()), Some(1));
    assert_eq!(b.doc.items.id_at(2), Some(second.id()));
    let delete = b.doc.items.try_delete(first.id()).unwrap();
    drop(delete);
    assert_eq!(b.doc.items.len(), 3, "an edit that is not signed is taken back");
    for op in [first, second, between] {
        assert_eq!(a.apply(op), OpState::Ok, "signed ops are recorded once");
    }
    assert_eq!(text(&a), text(&b));
}

#[test]
fn what_does_not_fit_is_a_typed_error_or_an_op_that_nobody_takes() {
    let (alice, mut a, mut b) = pair();
    let before = text(&a);
    for bad in [json!({"story_id": 7}), json!([]), json!("x"), json!({"nope": ""}), json!({"blocked": null})]
    {
        let error = a.doc.items.try_insert(ROOT_ID, bad.clone()).unwrap_err();
        assert!(matches!(error, EditError::DoesNotFit(_)), "{error}");
        let op = a.doc.items.insert(ROOT_ID, bad).sign(&alice);
        assert!(!op.is_signed());
        assert!(a.apply(op.clone()).is_refused());
        assert!(b.apply(op).is_refused());
    }
    assert!(a.doc.items.try_insert([9; 32], item("1")).is_err());
    let good = a.doc.items.insert(ROOT_ID, item("1")).sign(&alice);
    assert!(a.doc.items[0].retry_count.try_set(f64::NAN).is_err());
    assert!(matches!(
        a.doc.items[0].blocked.try_set("yes").unwrap_err(),
        EditError::DoesNotFit(NoEffect::WrongType { .. })
    ));
    assert_eq!(before, r#"{"items":[]}"#);
    assert_eq!(good.change().seq(), 1, "failed edits take no place in the chain");
    assert_eq!(b.apply(good), OpState::Ok);
}

#[test]
fn edits_are_signed_in_order_by_the_right_key_over_known_dependencies() {
    let (alice, a, mut b) = pair();
    let early = a.doc.items.insert(ROOT_ID, item("early"));
    let late = a.doc.items.insert(ROOT_ID, item("late"));
    assert_eq!(a.doc.items.len(), 2);
    assert!(
        matches!(late.try_sign(&alice).unwrap_err(), SignError::BuildsOnUnsigned),
        "it hangs left of early"
    );
    let free = a.doc.items.push(item("free"));
    drop(free);
    let early = early.try_sign(&alice).unwrap();
    let one = a.doc.items[0].stage.set("x");
    let two = a.doc.items[0].blocked.set(true);
    let two = two.try_sign(&alice).unwrap();
    assert_eq!(one.try_sign(&alice).unwrap_err(), SignError::ChainMoved);
    assert_eq!(a.doc.items[0].stage.view(), JsonValue::from("1_backlog"), "taken back");
    let wrong = a.doc.items[0].stage.set("x").try_sign(&make_keypair()).unwrap_err();
    assert!(matches!(wrong, SignError::WrongKey { .. }));
    let stranger = {
        let bob = make_keypair();
        let c = BaseCrdt::<PipelineDoc>::new(&bob);
        c.doc.items.insert(ROOT_ID, item("c")).sign(&bob)
    };
    let op = a.doc.items[0].stage.set("x").sign_with_dependencies(&alice, vec![&stranger]);
    assert!(!op.is_signed());
    for op in [early, two] {
        assert_eq!(b.apply(op), OpState::Ok);
    }
    assert_eq!(text(&a), text(&b));
}

#[test]
fn a_type_that_grew_shares_history_with_one_that_did_not() {
    #[add_crdt_fields]
    #[derive(Clone, CrdtNode, Debug)]
    struct NewItem {
        story_id: LwwRegisterCrdt<String>,
        stage: LwwRegisterCrdt<String>,
        retry_count: LwwRegisterCrdt<f64>,
        blocked: LwwRegisterCrdt<bool>,
        owner: LwwRegisterCrdt<String>,
    }
    #[add_crdt_fields]
    #[derive(Clone, CrdtNode, Debug)]
    struct NewDoc {
        items: ListCrdt<NewItem>,
        notes: MapCrdt<LwwRegisterCrdt<String>>,
    }
    let (alice, a, mut old) = pair();
    let bob = make_keypair();
    let mut new = BaseCrdt::<NewDoc>::new(&bob);
    let insert = a.doc.items.insert(ROOT_ID, item("1")).sign(&alice);
    assert_eq!(new.apply(insert.clone()), OpState::Ok);
    assert_eq!(new.doc.items[0].owner.view(), JsonValue::from(""), "a missing field reads as its default");
    let owner = new.doc.items[0].owner.set("bob").sign(&bob);
    let note = new.doc.notes.put("k", "v").sign(&bob);
    let stage = new.doc.items[0].stage.set("9").sign(&bob);
    assert_eq!(old.apply(insert), OpState::Ok);
    assert!(matches!(old.apply(owner), OpState::NoEffect(_)));
    assert!(matches!(old.apply(note), OpState::NoEffect(_)));
    assert_eq!(old.apply(stage), OpState::Ok, "the author's chain stays usable");
    assert_eq!(old.change_count(), 4);
    assert_eq!(old.version_vector(), new.version_vector());
}

#[test]
fn integers_and_floats_follow_the_registers_type() {
    let alice = make_keypair();
    #[add_crdt_fields]
    #[derive(Clone, CrdtNode, Debug)]
    struct Numbers {
        float: LwwRegisterCrdt<f64>,
        int: LwwRegisterCrdt<i64>,
        big: LwwRegisterCrdt<u64>,
        any: LwwRegisterCrdt<JsonValue>,
    }
    let mut a = BaseCrdt::<Numbers>::new(&alice);
    let ops = [
        a.doc.float.set(5).sign(&alice),
        a.doc.int.set(i64::MIN).sign(&alice),
        a.doc.big.set(u64::MAX).sign(&alice),
        a.doc.any.set(JsonValue::from(json!({"deep": [1, 1.5, null, {"x": -0.0}]}))).sign(&alice),
    ];
    let mut b = BaseCrdt::<Numbers>::new(&make_keypair());
    for op in ops {
        let json = serde_json::to_string(&op).unwrap();
        assert_eq!(b.apply(serde_json::from_str(&json).unwrap()), OpState::Ok);
        assert_eq!(a.apply(op), OpState::Ok);
    }
    assert_eq!(
        text(&b),
        r#"{"any":{"deep":[1,1.5,null,{"x":-0.0}]},"big":18446744073709551615,"float":5.0,"int":-9223372036854775808}"#
    );
    assert_eq!(text(&a), text(&b));
    assert!(a.doc.int.try_set(1.5).is_err());
}

#[test]
fn registers_and_maps_know_their_conflicts() {
    #[add_crdt_fields]
    #[derive(Clone, CrdtNode, Debug)]
    struct Doc {
        title: LwwRegisterCrdt<String>,
        people: MapCrdt<LwwRegisterCrdt<String>>,
    }
    let (alice, bob) = (make_keypair(), make_keypair());
    let mut a = BaseCrdt::<Doc>::new(&alice);
    let mut b = BaseCrdt::<Doc>::new(&bob);
    let from_a = [a.doc.title.set("A").sign(&alice), a.doc.people.put("x", "A").sign(&alice)];
    let from_b = [b.doc.title.set("B").sign(&bob), b.doc.people.put("x", "B").sign(&bob)];
    for op in from_a.iter().chain(&from_b) {
        let _ = a.apply(op.clone());
        let _ = b.apply(op.clone());
    }
    assert_eq!(text(&a), text(&b));
    let shown = a.doc.title.view();
    let hidden = a.doc.title.conflicts();
    assert_eq!(hidden.len(), 1);
    assert_ne!(hidden[0].value, shown);
    assert_eq!(a.doc.people.conflicts("x").len(), 1);
    let settle = a.doc.title.set("both").sign(&alice);
    let remove = a.doc.people.remove("x").sign(&alice);
    let revive = b.doc.people.get("x").unwrap();
    let edit = revive.set("B again").sign(&bob);
    for op in [settle, remove, edit] {
        let _ = a.apply(op.clone());
        let _ = b.apply(op);
    }
    assert!(a.doc.title.conflicts().is_empty());
    assert_eq!(a.doc.people.keys(), ["x"], "an edit concurrent to the removal brings the entry back");
    assert_eq!(text(&a), text(&b));
    let remove = b.doc.people.remove("x").sign(&bob);
    let put = b.doc.people.put("x", "anew").sign(&bob);
    assert!(a.apply(remove).is_applied() && a.apply(put).is_applied());
    assert_eq!(a.doc.people.get("x").unwrap().view(), JsonValue::from("anew"));
    assert!(a.doc.people.conflicts("x").is_empty());
}

#[test]
fn a_clone_of_the_document_is_a_copy_and_of_a_node_a_handle() {
    let (alice, a, _) = pair();
    let _insert = a.doc.items.insert(ROOT_ID, item("1")).sign(&alice);
    let copy = a.clone();
    let handle = a.doc.items[0].clone();
    let _set = handle.stage.set("moved").sign(&alice);
    assert_eq!(a.doc.items[0].stage.view(), JsonValue::from("moved"));
    assert_eq!(copy.doc.items[0].stage.view(), JsonValue::from("1_backlog"));
}

#[test]
fn the_causal_queue_is_bounded_and_releases_without_recursion() {
    let (alice, a, mut b) = pair();
    let insert = a.doc.items.insert(ROOT_ID, item("1")).sign(&alice);
    let sets: Vec<SignedOp> =
        (0..CAUSAL_QUEUE_MAX + 10).map(|n| a.doc.items[0].stage.set(format!("{n}")).sign(&alice)).collect();
    for set in sets.iter().rev() {
        assert_eq!(b.apply(set.clone()), OpState::MissingCausalDependencies);
    }
    let stats = b.causal_queue_stats();
    assert_eq!((stats.len, stats.evicted_total), (CAUSAL_QUEUE_MAX, 10));
    assert_eq!(b.apply(insert), OpState::Ok);
    assert_eq!(b.causal_queue_len(), 0);
    assert_eq!(b.change_count(), CAUSAL_QUEUE_MAX + 1);
    for set in sets {
        let _ = b.apply(set);
    }
    assert_eq!(text(&a), text(&b));
}

#[test]
fn counters_add_up_whatever_the_order_and_show_within_64_bits() {
    #[add_crdt_fields]
    #[derive(Clone, CrdtNode, Debug)]
    struct Doc {
        count: CounterCrdt,
        tallies: MapCrdt<CounterCrdt>,
    }
    let (alice, bob) = (make_keypair(), make_keypair());
    let mut a = BaseCrdt::<Doc>::new(&alice);
    let mut b = BaseCrdt::<Doc>::new(&bob);
    let mut ops: Vec<SignedOp> = [i64::MAX, i64::MAX, -5].map(|n| a.doc.count.add(n).sign(&alice)).to_vec();
    ops.extend([i64::MIN, i64::MIN, 1].map(|n| b.doc.count.add(n).sign(&bob)));
    ops.push(b.doc.tallies.put("x", 7).sign(&bob));
    ops.push(b.doc.tallies.get("x").unwrap().add(-2).sign(&bob));
    assert_eq!(a.doc.count.view(), JsonValue::from(i64::MAX));
    assert!(b.doc.tallies.try_put("x", 1.5).is_err());
    for op in ops.iter().rev() {
        let _ = a.apply(op.clone());
        let _ = b.apply(op.clone());
    }
    assert_eq!(text(&a), r#"{"count":-6,"tallies":{"x":5}}"#);
    assert_eq!(text(&a), text(&b));
}

#[test]
fn what_was_typed_in_a_deleted_element_is_listed_as_a_conflict() {
    #[add_crdt_fields]
    #[derive(Clone, CrdtNode, Debug)]
    struct Note {
        body: TextCrdt,
    }
    #[add_crdt_fields]
    #[derive(Clone, CrdtNode, Debug)]
    struct Notes {
        notes: ListCrdt<Note>,
    }
    let (alice, bob) = (make_keypair(), make_keypair());
    let (mut a, mut b) = (BaseCrdt::<Notes>::new(&alice), BaseCrdt::<Notes>::new(&bob));
    for (id, body) in [("seen", "old"), ("unseen", "old")] {
        let op = a.doc.notes.push(json!({ "body": body })).sign(&alice);
        assert_eq!(b.apply(op.clone()), OpState::Ok, "{id}");
    }
    let mut sent = vec![b.doc.notes[0].body.insert(3, "er").sign(&bob)];
    assert!(a.apply(sent[0].clone()).is_applied());
    sent.push(a.doc.notes.delete(a.doc.notes.id_at(1).unwrap()).sign(&alice));
    sent.push(a.doc.notes.delete(a.doc.notes.id_at(0).unwrap()).sign(&alice));
    let late = b.doc.notes[1].body.insert(0, "c").sign(&bob);
    for op in sent.iter().chain([&late]) {
        let _ = (a.apply(op.clone()), b.apply(op.clone()));
    }
    assert_eq!(a.doc.notes.conflicts(), b.doc.notes.conflicts());
    let found: Vec<_> =
        a.doc.notes.conflicts().into_iter().map(|(_, lost)| (lost.value, lost.author)).collect();
    assert_eq!(found, [(JsonValue::from("cold"), bob.author())], "not the one that the deletion had seen");
}

#[test]
fn a_key_that_comes_and_goes_stays_one_entry() {
    #[add_crdt_fields]
    #[derive(Clone, CrdtNode, Debug)]
    struct Locks {
        held: MapCrdt<LwwRegisterCrdt<String>>,
    }
    let (alice, bob) = (make_keypair(), make_keypair());
    let (mut a, mut b) = (BaseCrdt::<Locks>::new(&alice), BaseCrdt::<Locks>::new(&bob));
    let mut sent = Vec::new();
    for n in 0..40 {
        sent.push(a.doc.held.put("door", format!("{n}")).sign(&alice));
        sent.push(a.doc.held.put("door", format!("{n} again")).sign(&alice));
        if n % 4 == 3 {
            // Given up: what it took the place of is back.
            drop(a.doc.held.put("door", "never"));
            drop(a.doc.held.remove("door"));
        }
        assert_eq!(a.doc.held.get("door").unwrap().view(), JsonValue::from(format!("{n} again")));
        sent.push(a.doc.held.remove("door").sign(&alice));
        assert!(a.doc.held.get("door").is_none());
    }
    let last = sent.pop().unwrap();
    for op in sent {
        assert_eq!(b.apply(op), OpState::Ok);
    }
    let unseen = b.doc.held.get("door").unwrap().set("mine".to_owned()).sign(&bob);
    let _ = (a.apply(unseen), b.apply(last));
    assert_eq!(text(&a), r#"{"held":{"door":"mine"}}"#, "an edit that a removal had not seen brings it back");
    assert_eq!((text(&a), a.doc.held.conflicts("door")), (text(&b), b.doc.held.conflicts("door")));
}

#[test]
fn ids_of_a_large_change_are_found_and_name_the_same_everywhere() {
    #[add_crdt_fields]
    #[derive(Clone, CrdtNode, Debug)]
    struct Lists {
        rows: ListCrdt<ListCrdt<LwwRegisterCrdt<u64>>>,
    }
    const COUNT: u64 = 20_000;
    let (alice, document) = (make_keypair(), DocumentId([3; 32]));
    let mut a = BaseCrdt::<Lists>::with_document(&alice, document);
    let mut b = BaseCrdt::<Lists>::with_document(&make_keypair(), document);
    // Many elements in one op, and many ops in one change.
    a.begin();
    a.doc.rows.push(json!((0..COUNT).collect::<Vec<u64>>())).keep().unwrap();
    let mut after = ROOT_ID;
    for n in 0..COUNT {
        let row = a.doc.rows.insert(after, json!([n]));
        after = row.id();
        row.keep().unwrap();
    }
    let changes = a.commit(&alice).unwrap();
    assert!(b.apply_changes(changes).states.iter().all(OpState::is_applied));
    let count = COUNT as usize;
    assert_eq!((a.doc.rows.index_of(after), b.doc.rows.index_of(after)), (Some(count - 1), Some(count - 1)));
    let ids = |base: &BaseCrdt<Lists>| {
        let (outer, inner) = (&base.doc.rows, &base.doc.rows[count]);
        let inner = (0..count).map(|at| inner.id_at(at).unwrap());
        (0..=count).map(|at| outer.id_at(at).unwrap()).chain(inner).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(ids(&a).len(), 2 * count + 1, "no two are the same");
    assert_eq!(ids(&a), ids(&b));
    let inner = &b.doc.rows[count];
    assert_eq!(inner.index_of(inner.id_at(count / 2).unwrap()), Some(count / 2));
}

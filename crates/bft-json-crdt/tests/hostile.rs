//! The table of attacks: what an enemy sends, and that it changes nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use std::collections::BTreeSet;

use bft_json_crdt::json_crdt::{
    BaseCrdt, Change, CrdtNode, DocumentId, EditError, Invalidity, JsonValue, OpState, SignedOp,
    add_crdt_fields,
};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::limits::CAUSAL_QUEUE_MAX;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::op::ROOT_ID;
use proptest::prelude::*;
use serde_json::json;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Item {
    name: LwwRegisterCrdt<String>,
}

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Doc {
    items: ListCrdt<Item>,
    title: LwwRegisterCrdt<String>,
}

fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

fn doc(n: u8) -> BaseCrdt<Doc> {
    BaseCrdt::new(&key(n))
}

/// A change that alice signed, over one that bob did.
fn sample() -> (Vec<SignedOp>, BaseCrdt<Doc>) {
    let mut bob = doc(2);
    let insert = bob.doc.items.insert(ROOT_ID, json!({"name": "n"})).sign(&key(2));
    let mut alice = doc(1);
    assert_eq!(alice.apply(insert.clone()), OpState::Ok);
    let set = alice.doc.items[0].name.set("m").sign(&key(1));
    let title = alice.doc.title.set("t").sign(&key(1));
    assert_eq!(bob.apply(set.clone()), OpState::Ok);
    (vec![insert, set, title], bob)
}

/// The bytes of a change, to be forged.
fn resign(op: &SignedOp, signer: &Keypair, edit: impl FnOnce(&mut serde_json::Value)) -> SignedOp {
    let mut json = serde_json::to_value(op).unwrap();
    edit(&mut json);
    // The digest in the JSON is stale: learn the right one from the refusal, then sign it.
    let error = serde_json::from_value::<SignedOp>(json.clone()).unwrap_err().to_string();
    if let Some(at) = error.find("hashes to ") {
        let digest = &error[at + 10..at + 74];
        json["digest"] = json!(digest);
        let digest: bft_json_crdt::Digest = digest.parse().unwrap();
        json["signature"] = json!(data_encoding::HEXLOWER.encode(&signer.sign(&digest.0)));
    }
    serde_json::from_value(json).unwrap()
}

#[test]
fn every_flipped_bit_of_a_signed_change_is_refused() {
    let (ops, mut bob) = sample();
    let title = ops[2].change();
    let before = CrdtNode::view(&bob.doc).to_string();
    for bit in 0..title.bytes().len() * 8 {
        let mut bytes = title.bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(forged) = Change::decode(&bytes, *title.signature()) else { continue };
        assert_ne!(forged.digest(), title.digest(), "bit {bit} is not covered by the digest");
        let state = bob.apply_changes(vec![forged]).states.remove(0);
        assert!(matches!(state, OpState::BadSignature | OpState::WrongDocument), "bit {bit}: {state:?}");
    }
    for bit in 0..512 {
        let mut signature = *title.signature();
        signature[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(bob.apply_changes(vec![title.with_signature(signature)]).states, [OpState::BadSignature]);
    }
    assert_eq!(CrdtNode::view(&bob.doc).to_string(), before);
    assert_eq!((bob.change_count(), bob.causal_queue_len()), (2, 0));
    assert_eq!(bob.apply(ops[2].clone()), OpState::Ok, "a refused delivery leaves no trace of the digest");
}

#[test]
fn signing_in_anothers_name_or_for_another_document_is_refused() {
    let (ops, mut bob) = sample();
    let forged = resign(&ops[2], &key(3), |json| json["op"]["set"]["value"] = json!("forged"));
    assert_eq!(bob.apply(forged), OpState::BadSignature);
    let mut elsewhere = BaseCrdt::<Doc>::with_document(&key(4), DocumentId([5; 32]));
    assert_eq!(elsewhere.apply(ops[0].clone()), OpState::WrongDocument);
    let moved = resign(&ops[2], &key(3), |json| json["document"] = json!("05".repeat(32)));
    assert_eq!(elsewhere.apply(moved), OpState::BadSignature);
}

#[test]
fn what_does_not_follow_from_the_past_is_invalid() {
    let (ops, _) = sample();
    let alice = key(1);
    let check = |edit: &dyn Fn(&mut serde_json::Value), expect: Invalidity| {
        let (_, mut bob) = sample();
        let forged = resign(&ops[2], &alice, |json| edit(json));
        assert_eq!(bob.apply(forged), OpState::Invalid(expect));
        assert_eq!((bob.change_count(), bob.causal_queue_len()), (2, 0));
        assert_eq!(bob.apply(ops[2].clone()), OpState::Ok, "the honest change still has its place");
    };
    check(&|json| json["lamport"] = json!(4), Invalidity::Lamport);
    check(&|json| json["lamport"] = json!(u64::MAX), Invalidity::Lamport);
    check(&|json| json["seq"] = json!(3), Invalidity::Seq);
    check(&|json| json["counter"] = json!(1), Invalidity::OpNumber);
    check(&|json| json["prev"] = serde_json::to_value(ops[0].digest()).unwrap(), Invalidity::ForeignPrev);
    let name = |author: &Keypair, counter: u64| json!({"author": author.author(), "counter": counter});
    for outside in [name(&alice, 900), name(&key(9), 1), name(&key(2), 3), name(&alice, 2)] {
        check(
            &|json| json["op"]["set"]["overwrites"] = json!([outside.clone()]),
            Invalidity::NameOutsidePast,
        );
    }
}

/// The second copy of an invalid change in one batch used to read as `QueueFull`, which made nodes believe
/// that the causal queue had evicted it, and end the session.
#[test]
fn a_lie_told_twice_in_one_batch_is_refused_twice() {
    let (ops, mut bob) = sample();
    let forged = resign(&ops[2], &key(1), |json| json["lamport"] = json!(4)).into_change();
    let honest = ops[2].clone().into_change();
    let batch = bob.apply_changes(vec![forged.clone(), honest.clone(), forged, honest]);
    let invalid = OpState::Invalid(Invalidity::Lamport);
    assert_eq!(batch.states, [invalid.clone(), OpState::Ok, invalid, OpState::AlreadySeen]);
    assert!(batch.evicted.is_empty());
}

#[test]
fn wrong_paths_and_types_have_no_effect_and_the_chain_goes_on() {
    let (ops, mut bob) = sample();
    let alice = key(1);
    let before = CrdtNode::view(&bob.doc).to_string();
    let mut forged = Vec::new();
    for path in [json!([]), json!(["nope"]), json!(["items"]), json!(["title", "deeper"])] {
        forged.push(resign(&ops[2], &alice, |json| json["op"]["set"]["target"]["path"] = path));
    }
    forged.push(resign(&ops[2], &alice, |json| json["op"]["set"]["value"] = json!({"a": 1})));
    forged.push(resign(&ops[2], &alice, |json| {
        json["op"] = json!({"delete": {"elements": [{"author": key(2).author(), "counter": 2}]}});
    }));
    for op in forged {
        let mut bob = bob.clone();
        assert!(matches!(bob.apply(op.clone()), OpState::NoEffect(_)), "{op:?}");
        assert_eq!(CrdtNode::view(&bob.doc).to_string(), before);
        assert_eq!(bob.change_count(), 3, "it is kept");
        assert_eq!(bob.apply(op), OpState::AlreadySeen);
        let after = bob.doc.title.set("bob goes on").sign(&key(2));
        assert_eq!(bob.apply(after), OpState::Ok);
    }
    assert_eq!(bob.apply(ops[2].clone()), OpState::Ok);
}

/// A key that signed elsewhere with the highest op numbers used to make its next edit here overflow.
#[test]
fn a_key_whose_op_numbers_are_used_up_edits_no_more() {
    let alice = key(1);
    for counter in [u64::MAX - 1, u64::MAX - 2] {
        let mut here = doc(1);
        let op = doc(1).doc.title.set("elsewhere").sign(&alice);
        let last = resign(&op, &alice, |json| json["counter"] = json!(counter));
        assert_eq!(here.apply(last), OpState::Ok);
        let room = u64::MAX - 1 - counter;
        for n in 0..4 {
            let edit = here.doc.title.try_set(format!("{n}"));
            assert_eq!(edit.as_ref().err(), (n >= room).then_some(&EditError::NoNumbersLeft));
            if let Ok(edit) = edit {
                assert_eq!(here.apply(edit.sign(&alice)), OpState::Ok);
            }
            let longer = here.doc.items.try_insert(ROOT_ID, json!({"name": "two numbers"}));
            assert_eq!(longer.err(), Some(EditError::NoNumbersLeft));
        }
        let mark = CrdtNode::view(&here.doc).to_string();
        assert_eq!(mark, format!(r#"{{"items":[],"title":"{}"}}"#, if room > 0 { "0" } else { "elsewhere" }));
    }
}

#[test]
fn an_equivocator_is_ordered_alike_everywhere_and_leaves_evidence() {
    let mallory = key(6);
    let one = doc(6);
    let other = one.clone();
    let a = one.doc.title.set("yes").sign(&mallory);
    let b = other.doc.title.set("no").sign(&mallory);
    let a2 = one.doc.title.set("yes, still").sign(&mallory);
    let (mut left, mut right) = (doc(1), doc(2));
    for op in [&a, &a2, &b] {
        assert_eq!(left.apply(op.clone()), OpState::Ok);
    }
    for op in [&b, &a, &a2] {
        assert_eq!(right.apply(op.clone()), OpState::Ok);
    }
    assert_eq!(CrdtNode::view(&left.doc), CrdtNode::view(&right.doc));
    assert_eq!(left.doc.title.conflicts(), right.doc.title.conflicts());
    let evidence = left.equivocations();
    assert_eq!(evidence, right.equivocations());
    assert_eq!((evidence.len(), evidence[0].author, evidence[0].seq), (1, mallory.author(), 1));
    let mut both = [a.digest(), b.digest()];
    both.sort_unstable();
    assert_eq!(evidence[0].changes, both);
    assert_eq!(left.version_vector()[&mallory.author()].len(), 2);
    // A key whose chain forked goes on from the highest tip and joins the other.
    let mut back = BaseCrdt::<Doc>::new(&mallory);
    let _ = back.apply_changes([&a, &b, &a2].map(|op| op.change().clone()).to_vec());
    let join = back.doc.title.set("sorry").sign(&mallory);
    assert_eq!((join.change().prev(), join.change().deps()), (Some(a2.digest()), &[b.digest()][..]));
    assert_eq!(left.apply(join), OpState::Ok);
    assert!(left.doc.title.conflicts().is_empty());
}

/// An author who signs two elements with one name used to be able to keep others from adding beside them.
#[test]
fn an_equivocator_cannot_block_a_place_in_a_list() {
    let (mallory, alice) = (key(6), key(1));
    let one = doc(6);
    let other = one.clone();
    let first = one.doc.items.insert(ROOT_ID, json!({"name": "one"})).sign(&mallory);
    let second = other.doc.items.insert(ROOT_ID, json!({"name": "other"})).sign(&mallory);
    let (mut a, mut b) = (doc(1), doc(2));
    for op in [&first, &second] {
        assert_eq!((a.apply(op.clone()), b.apply(op.clone())), (OpState::Ok, OpState::Ok));
    }
    for position in 0..3 {
        let op = a.doc.items.insert_idx(position, json!({"name": format!("at {position}")}));
        let op = op.try_sign(&alice).unwrap();
        assert_eq!(b.apply(op), OpState::Ok);
    }
    let pushed = a.doc.items.try_push(json!({"name": "last"})).unwrap().try_sign(&alice).unwrap();
    assert_eq!(b.apply(pushed), OpState::Ok);
    assert_eq!(a.doc.items.len(), 6);
    assert_eq!(a.doc.items[0].name.view(), JsonValue::from("at 0"));
    assert_eq!(CrdtNode::view(&a.doc), CrdtNode::view(&b.doc));
}

#[test]
fn a_flood_evicts_itself_and_not_the_honest() {
    let (honest, mallory) = (key(1), key(6));
    let mut victim = doc(9);
    let flooder = doc(6);
    let missing = flooder.doc.title.set("0").sign(&mallory);
    let alice = doc(1);
    let first = alice.doc.title.set("1").sign(&honest);
    let waiting = alice.doc.title.set("2").sign(&honest);
    assert_eq!(victim.apply(waiting.clone()), OpState::MissingCausalDependencies);
    for n in 0..CAUSAL_QUEUE_MAX + 100 {
        let flood = flooder.doc.title.set(format!("{n}")).sign(&mallory);
        let _ = victim.apply(flood);
    }
    assert_eq!(victim.causal_queue_len(), CAUSAL_QUEUE_MAX);
    assert!(victim.is_pending(&waiting.digest()), "the oldest of the flooder went, not the honest one");
    assert_eq!(victim.apply(first), OpState::Ok);
    assert_eq!(victim.doc.title.view(), JsonValue::from("2"));
    let unsigned_garbage = missing.change().with_signature([1; 64]);
    assert_eq!(victim.apply_changes(vec![unsigned_garbage]).states.len(), 1);
}

#[test]
fn bytes_wait_within_bounds_too() {
    let mallory = key(6);
    let mut victim = doc(9);
    let flooder = doc(6);
    let _missing = flooder.doc.title.set("0").sign(&mallory);
    for _ in 0..12 {
        let big = flooder.doc.title.set("x".repeat(4_000_000)).sign(&mallory);
        assert_eq!(victim.apply(big), OpState::MissingCausalDependencies);
    }
    let stats = victim.causal_queue_stats();
    assert!(stats.bytes <= 32 << 20 && stats.evicted_total == 4, "{stats:?}");
}

#[test]
fn untrusted_changes_wait_until_a_trusted_author_builds_on_them() {
    let (alice, mallory) = (key(1), key(6));
    let mut node = doc(9);
    let _ = node.set_trust(Some(BTreeSet::from([alice.author()])));
    let stranger = doc(6);
    let first = stranger.doc.items.insert(ROOT_ID, json!({"name": "spam?"})).sign(&mallory);
    let second = stranger.doc.items[0].name.set("no, help").sign(&mallory);
    let third = stranger.doc.title.set("alone").sign(&mallory);
    for op in [&second, &first, &third] {
        assert!(node.apply(op.clone()).is_pending());
    }
    assert_eq!(node.apply(first.clone()), OpState::Untrusted);
    assert_eq!(CrdtNode::view(&node.doc).to_string(), r#"{"items":[],"title":""}"#);
    let mut trusted = BaseCrdt::<Doc>::new(&alice);
    let _ = trusted.apply_changes([&first, &second].map(|op| op.change().clone()).to_vec());
    let vouch = trusted.doc.items[0].name.set("welcome").sign(&alice);
    let batch = node.apply_changes(vec![vouch.change().clone()]);
    assert_eq!(batch.states, [OpState::Ok]);
    assert_eq!(batch.applied.len(), 3, "what she built on comes in, in causal order");
    assert_eq!(batch.applied[0].digest(), first.digest());
    assert_eq!(node.doc.items[0].name.view(), JsonValue::from("welcome"));
    assert_eq!(node.causal_queue_stats().held, 1);
    let own = node.doc.title.set("mine").sign(&key(9));
    assert_eq!(node.apply(own), OpState::Ok, "a node always lets its own author in");
    let released = node.set_trust(None);
    assert_eq!(released.applied.len(), 1);
    assert_eq!(node.causal_queue_len(), 0);
}

#[test]
fn authenticity_follows_the_chain_on_every_path() {
    let alice = key(1);
    let writer = doc(1);
    let ops: Vec<Change> =
        (0..4).map(|n| writer.doc.title.set(format!("{n}")).sign(&alice).into_change()).collect();
    let bare = |n: usize| ops[n].with_signature([0; 64]);
    // Alone: refused. With a waiting successor that names it: taken.
    let mut one = doc(2);
    assert_eq!(one.apply_changes(vec![bare(0)]).states, [OpState::BadSignature]);
    assert!(one.apply_changes(vec![ops[1].clone()]).states[0].is_pending());
    assert_eq!(one.apply_changes(vec![bare(0)]).states, [OpState::Ok]);
    assert!(!one.is_vouched(&ops[0].digest()) && one.is_vouched(&ops[1].digest()));
    // A chain that ends unsigned is refused from its last valid signature on.
    let mut two = doc(2);
    let states = two.apply_changes(vec![bare(3), bare(0), ops[1].clone(), bare(2)]).states;
    assert_eq!(states, [OpState::BadSignature, OpState::Ok, OpState::Ok, OpState::BadSignature]);
    // Another author's change that names it covers nothing.
    let mut bob = doc(3);
    let _ = bob.apply_changes(ops.clone());
    let by_bob = bob.doc.title.set("bob").sign(&key(3)).into_change();
    let mut three = doc(2);
    let states = three.apply_changes(vec![bare(3), by_bob]).states;
    assert_eq!(states, [OpState::BadSignature, OpState::MissingCausalDependencies]);
}

#[test]
fn a_wide_crowd_of_heads_is_joined_without_ever_making_an_invalid_change() {
    let mut crowd = doc(9);
    for n in 10..110 {
        let op = doc(n).doc.title.set(format!("{n}")).sign(&key(n));
        assert_eq!(crowd.apply(op), OpState::Ok);
    }
    let mut witness = doc(8);
    let changes: Vec<Change> = crowd.heads().iter().map(|head| crowd.change(head).unwrap()).collect();
    let _ = witness.apply_changes(changes);
    let own = key(9);
    for n in 0..4 {
        let op = crowd.doc.title.try_set(format!("joined {n}")).unwrap().try_sign(&own).unwrap();
        assert!(op.change().deps().len() <= 64);
        assert_eq!(witness.apply(op), OpState::Ok);
    }
    assert_eq!(crowd.heads().len(), 1);
    assert!(crowd.doc.title.conflicts().is_empty());
    assert_eq!(CrdtNode::view(&crowd.doc), CrdtNode::view(&witness.doc));
}

#[test]
fn json_that_lies_about_its_digest_or_adds_fields_is_refused() {
    let (ops, _) = sample();
    let good = serde_json::to_value(&ops[1]).unwrap();
    let mut bad = good.clone();
    bad["op"]["set"]["value"] = json!("other");
    assert!(serde_json::from_value::<SignedOp>(bad).unwrap_err().to_string().contains("does not match"));
    for edit in ["extra", "seq", "signature", "op"] {
        let mut bad = good.clone();
        bad[edit] = json!("x");
        assert!(serde_json::from_value::<SignedOp>(bad).is_err(), "{edit}");
    }
    let text = serde_json::to_string(&good).unwrap();
    let doubled = text.replacen("\"seq\":", "\"seq\":1,\"seq\":", 1);
    assert!(serde_json::from_str::<SignedOp>(&doubled).is_err());
    let deep = text.replace("\"m\"", &format!("{}{}", "[".repeat(200_000), "]".repeat(200_000)));
    assert!(serde_json::from_str::<SignedOp>(&deep).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Change::decode(&bytes, [0; 64]);
    }

    #[test]
    fn mutated_changes_decode_to_themselves_or_not_at_all(
        which in 0usize..3,
        at in any::<prop::sample::Index>(),
        replacement in prop::collection::vec(any::<u8>(), 0..6),
        cut in 0usize..6,
    ) {
        let (ops, mut bob) = sample();
        let mut bytes = ops[which].change().bytes().to_vec();
        let at = at.index(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, replacement);
        if let Ok(change) = Change::decode(&bytes, *ops[which].change().signature()) {
            prop_assert_eq!(change.bytes(), &bytes[..]);
            let again = SignedOp::try_from(change.clone());
            if let Ok(op) = again {
                let json = serde_json::to_string(&op).unwrap();
                let back: SignedOp = serde_json::from_str(&json).unwrap();
                prop_assert_eq!(back.change().bytes(), &bytes[..]);
            }
            if change != *ops[which].change() {
                prop_assert!(bob.apply_changes(vec![change]).states[0].is_refused());
            }
        }
    }
}

//! Transactions: many edits, one change, one signature; all of it or nothing, here and at every replica.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use bft_json_crdt::counter_crdt::CounterCrdt;
use bft_json_crdt::json_crdt::{
    BaseCrdt, Change, Coalescing, CrdtNode, DocumentId, EditError, Invalidity, JsonCrdt, JsonValue, NoEffect,
    OpState, SignError, add_crdt_fields,
};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::limits::CHANGE_OPS_MAX;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::text_crdt::TextCrdt;
use bft_json_crdt::{DecodeError, OpId, ROOT_ID};
use serde_json::json;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Card {
    title: LwwRegisterCrdt<String>,
    notes: TextCrdt,
    tags: ListCrdt<LwwRegisterCrdt<String>>,
}

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Board {
    cards: ListCrdt<Card>,
    people: MapCrdt<Card>,
    votes: CounterCrdt,
    body: TextCrdt,
    any: JsonCrdt,
    title: LwwRegisterCrdt<String>,
}

type Replica = BaseCrdt<Board>;

fn alice() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

fn bob() -> Keypair {
    Keypair::from_seed(&[2; 32])
}

/// Replicas of alice and of bob, of a document in which a change may have many ops.
fn pair() -> (Replica, Replica) {
    let document = DocumentId([7; 32]);
    (BaseCrdt::with_document(&alice(), document), BaseCrdt::with_document(&bob(), document))
}

fn default_pair() -> (Replica, Replica) {
    (BaseCrdt::new(&alice()), BaseCrdt::new(&bob()))
}

fn text(base: &Replica) -> String {
    CrdtNode::view(&base.doc).to_string()
}

#[track_caller]
fn deliver(changes: &[Change], to: &mut Replica) {
    let batch = to.apply_changes(changes.to_vec());
    assert!(batch.states.iter().all(OpState::is_applied), "{:?}", batch.states);
}

/// What the replica's changes make of a new one.
fn replayed(changes: &[Change]) -> String {
    let mut base = Replica::with_document(&Keypair::from_seed(&[9; 32]), changes[0].document());
    base.load(changes.to_vec()).unwrap();
    text(&base)
}

fn ids(base: &Replica) -> Vec<OpId> {
    let cards = (0..base.doc.cards.len()).map(|at| base.doc.cards.id_at(at).unwrap());
    let tags = base
        .doc
        .cards
        .iter()
        .flat_map(|card| (0..card.tags.len()).map(|at| card.tags.id_at(at).unwrap()).collect::<Vec<_>>());
    cards.chain(tags).collect()
}

/// Edits that build on each other: elements and what is in them, characters that go again.
fn build(doc: &Board) -> Result<(), EditError> {
    doc.cards.push(json!({"title": "one", "tags": ["a", "b"]})).keep()?;
    let second = doc.cards.insert_idx(0, json!({"title": "two"}));
    let id = second.id();
    second.keep()?;
    doc.cards[0].title.set("zwei").keep()?;
    doc.cards[0].notes.insert(0, "typed").keep()?;
    doc.cards[0].notes.cut(1, 3).keep()?;
    doc.cards[1].tags.delete_idx(0).keep()?;
    doc.cards.move_after(id, doc.cards.id_at(1).unwrap()).keep()?;
    doc.people.put("p", json!({"title": "first"})).keep()?;
    doc.people.get("p").unwrap().notes.insert(0, "gone with p").keep()?;
    doc.people.remove("p").keep()?;
    doc.people.put("p", json!({"title": "anew"})).keep()?;
    doc.any.put("list", JsonValue::from(json!([{}, 1]))).keep()?;
    let list = doc.any.at("list").unwrap().as_list().unwrap();
    list[0].put("inner", JsonValue::Text("x".into())).keep()?;
    list.move_idx(1, 0).keep()?;
    doc.votes.add(3).keep()?;
    doc.votes.add(-1).keep()
}

const BUILT: &str = r#"{"any":{"list":[1,{"inner":"x"}]},"body":"","cards":[{"notes":"","tags":["b"],"title":"one"},{"notes":"td","tags":[],"title":"zwei"}],"people":{"p":{"notes":"","tags":[],"title":"anew"}},"title":"","votes":2}"#;

#[test]
fn edits_that_build_on_each_other_are_one_change_that_shows_whole() {
    let (mut a, mut b) = pair();
    b.watch();
    let changes = a.transact(&alice(), build).unwrap();
    assert_eq!((changes.len(), changes[0].op_count() > 10, changes[0].verify()), (1, true, true));
    assert_eq!(text(&a), BUILT);
    // No part of its bytes is a change that anybody takes.
    let bytes = changes[0].bytes();
    for end in 0..bytes.len() {
        assert!(Change::decode(&bytes[..end], *changes[0].signature()).is_err());
    }
    assert_eq!(text(&b), text(&pair().1));
    deliver(&changes, &mut b);
    assert_eq!(text(&b), BUILT);
    assert_eq!(ids(&a), ids(&b));
    assert_eq!(replayed(&changes), BUILT);
    assert_eq!(a.apply_changes(changes).states, [OpState::AlreadySeen], "it was recorded as it was signed");
}

#[test]
fn rolling_back_restores_the_exact_view() {
    for document in [DocumentId::DEFAULT, DocumentId([7; 32])] {
        let mut a = Replica::with_document(&alice(), document);
        let first = a.transact(&alice(), build).unwrap();
        let (before, heads, known) = (text(&a), a.heads(), ids(&a));
        a.watch();
        a.begin();
        build(&a.doc).unwrap();
        a.doc.cards.delete_idx(0).keep().unwrap();
        a.doc.body.insert(0, "never").keep().unwrap();
        assert_ne!(text(&a), before);
        a.roll_back();
        assert_eq!((text(&a), a.heads(), ids(&a)), (before, heads, known));
        assert_eq!(a.commit(&alice()).unwrap_err(), SignError::NoTransaction);
        // The chain goes on as if nothing had been.
        let next = a.transact(&alice(), build).unwrap();
        assert_eq!(next[0].seq(), first.last().unwrap().seq() + 1);
        assert_eq!(replayed(&[first, next].concat()), text(&a));
    }
}

#[test]
fn a_failure_in_the_middle_takes_everything_back() {
    let (mut a, _) = pair();
    let before = text(&a);
    let failed = a.transact(&alice(), |doc| {
        doc.title.set("half").keep()?;
        doc.cards.push(json!({"title": 7})).keep()?;
        doc.body.insert(0, "never").keep()
    });
    assert!(matches!(
        failed.unwrap_err(),
        SignError::Edit(EditError::DoesNotFit(NoEffect::WrongType { .. }))
    ));
    assert_eq!((text(&a), a.change_count()), (before.clone(), 0));
    // The same, where nobody looks at what became of the edit.
    let failed = a.transact(&alice(), |doc| {
        doc.title.set("half").keep()?;
        drop(doc.body.cut(0, 1));
        doc.body.insert(0, "never").keep()
    });
    assert!(matches!(failed.unwrap_err(), SignError::Edit(EditError::OutOfBounds { .. })));
    assert_eq!((text(&a), a.change_count()), (before.clone(), 0));
    // An edit whose failure was seen is no reason to fail.
    let made = a.transact(&alice(), |doc| {
        assert!(doc.people.try_remove("nobody").is_err());
        doc.title.set("whole").keep()
    });
    assert_eq!(made.unwrap()[0].op_count(), 1);
    // The wrong key signs nothing and keeps nothing.
    let before = text(&a);
    let wrong = a.transact(&bob(), build).unwrap_err();
    assert!(matches!(wrong, SignError::WrongKey { .. }));
    assert_eq!((text(&a), a.change_count()), (before, 1));
}

#[test]
fn an_edit_of_a_transaction_is_signed_with_it_and_not_alone() {
    let (mut a, _) = pair();
    a.begin();
    assert_eq!(a.doc.title.set("t").try_sign(&alice()).unwrap_err(), SignError::InTransaction);
    a.begin();
    assert_eq!(a.open_edits(), 1, "one that is open goes on");
    assert!(a.transact(&alice(), |doc| doc.votes.add(1).keep()).unwrap()[0].op_count() == 2);
    assert_eq!(a.open_edits(), 0);
    assert!(a.transact(&alice(), |_| Ok(())).unwrap().is_empty(), "nothing to sign");
    // A copy has what is signed, and not what waits.
    a.begin();
    a.doc.title.set("waits").keep().unwrap();
    let mut copy = a.clone();
    assert_eq!((copy.doc.title.view(), a.doc.title.view()), (JsonValue::from("t"), JsonValue::from("waits")));
    assert_eq!(copy.commit(&alice()).unwrap_err(), SignError::NoTransaction);
    assert_eq!(a.commit(&alice()).unwrap().len(), 1);
}

#[test]
fn what_is_typed_letter_by_letter_is_one_op() {
    let (mut a, mut b) = pair();
    a.begin();
    for at in 0..1_000 {
        a.doc.body.insert(at, "x").keep().unwrap();
    }
    assert_eq!(a.open_edits(), 1_000);
    let typed = a.commit(&alice()).unwrap();
    assert_eq!((typed.len(), typed[0].op_count()), (1, 1));
    assert!(typed[0].bytes().len() < 1_000 + 150, "{} bytes", typed[0].bytes().len());
    // Backwards, as backspace cuts, and forwards, as the delete key does, then a word in the gap.
    a.begin();
    for at in (500..800).rev() {
        a.doc.body.cut(at, 1).keep().unwrap();
    }
    for _ in 0..100 {
        a.doc.body.cut(500, 1).keep().unwrap();
    }
    for (at, letter) in ["w", "o", "r", "d"].into_iter().enumerate() {
        a.doc.body.insert(500 + at, letter).keep().unwrap();
    }
    let edited = a.commit(&alice()).unwrap();
    assert_eq!(edited[0].op_count(), 2);
    assert!(edited[0].bytes().len() < 250, "{} bytes", edited[0].bytes().len());
    deliver(&[typed, edited].concat(), &mut b);
    assert_eq!(a.doc.body.text(), format!("{}word{}", "x".repeat(500), "x".repeat(100)));
    assert_eq!(text(&a), text(&b));
    // Typing elsewhere, or in another text, begins another op.
    a.begin();
    a.doc.cards.push(json!({})).keep().unwrap();
    for n in 0..4 {
        a.doc.body.insert(0, "y").keep().unwrap();
        a.doc.cards[0].notes.insert(n, "z").keep().unwrap();
    }
    let mixed = a.commit(&alice()).unwrap();
    assert_eq!(mixed[0].op_count(), 1 + 8);
    deliver(&mixed, &mut b);
    assert_eq!(text(&a), text(&b));
}

#[test]
fn in_the_default_document_each_op_is_a_change_of_its_own() {
    let (mut a, mut b) = default_pair();
    let changes = a.transact(&alice(), build).unwrap();
    assert!(changes.len() > 10 && changes.iter().all(|change| change.op_count() == 1 && change.verify()));
    deliver(&changes, &mut b);
    assert_eq!((text(&a), text(&b)), (BUILT.to_owned(), BUILT.to_owned()));
    assert_eq!(ids(&a), ids(&b));
}

#[test]
fn ids_are_the_same_before_and_after_the_signature() {
    for document in [DocumentId::DEFAULT, DocumentId([7; 32])] {
        let mut a = Replica::with_document(&alice(), document);
        let mut b = Replica::with_document(&bob(), document);
        a.begin();
        build(&a.doc).unwrap();
        let push = a.doc.cards.push(json!({"title": "last", "tags": ["c"]}));
        let id = push.id();
        push.keep().unwrap();
        let open = ids(&a);
        assert_eq!(a.doc.cards.index_of(id), Some(2));
        let changes = a.commit(&alice()).unwrap();
        deliver(&changes, &mut b);
        assert_eq!((ids(&a), ids(&b)), (open.clone(), open.clone()));
        for base in [&a, &b] {
            assert_eq!(base.doc.cards.index_of(id), Some(2));
            assert_eq!(base.doc.cards.id_at(2), Some(id));
        }
        // What was taken back is not found, and the same again is.
        a.begin();
        let never = a.doc.cards.insert(ROOT_ID, json!({"title": "never"}));
        let never_id = never.id();
        never.keep().unwrap();
        assert_eq!(a.doc.cards.index_of(never_id), Some(0));
        a.roll_back();
        assert_eq!(a.doc.cards.index_of(never_id), None);
        let behind = a.doc.cards.try_insert(never_id, json!({})).unwrap_err();
        assert_eq!(behind, EditError::NoSuchElement(never_id));
        a.begin();
        let again = a.doc.cards.insert(ROOT_ID, json!({"title": "never"}));
        let again_id = again.id();
        again.keep().unwrap();
        assert_eq!(a.doc.cards.index_of(again_id), Some(0));
        deliver(&a.commit(&alice()).unwrap(), &mut b);
        assert_eq!((a.doc.cards.index_of(again_id), b.doc.cards.index_of(again_id)), (Some(0), Some(0)));
    }
}

#[test]
fn an_edit_beyond_a_changes_limits_is_refused_and_the_transaction_goes_on() {
    let (mut a, mut b) = pair();
    a.begin();
    for n in 0..CHANGE_OPS_MAX {
        let counter = if n % 2 == 0 { 1 } else { 2 };
        a.doc.votes.add(counter).keep().unwrap();
    }
    let refused = a.doc.votes.try_add(1).unwrap_err();
    let EditError::Content(DecodeError::OverLimit { .. }) = refused else { panic!("{refused}") };
    assert!(refused.to_string().contains("131072"), "{refused}");
    assert!(a.doc.title.try_set("one more").is_err());
    assert_eq!(a.doc.title.view(), JsonValue::from(""));
    let changes = a.commit(&alice()).unwrap();
    assert_eq!((changes.len(), changes[0].op_count()), (1, CHANGE_OPS_MAX));
    deliver(&changes, &mut b);
    assert_eq!(text(&a), text(&b));
    // The same for bytes.
    a.begin();
    a.doc.body.insert(0, &"m".repeat(3 << 20)).keep().unwrap();
    let refused = a.doc.body.try_insert(0, &"m".repeat(1 << 20)).unwrap_err();
    assert!(refused.to_string().contains("4194304"), "{refused}");
    let refused = a.doc.body.try_insert(3 << 20, &"m".repeat(1 << 20)).unwrap_err();
    assert!(refused.to_string().contains("4194304"), "{refused}");
    a.doc.title.set("fits").keep().unwrap();
    let changes = a.commit(&alice()).unwrap();
    deliver(&changes, &mut b);
    assert_eq!((a.doc.body.len(), b.doc.body.len()), (3 << 20, 3 << 20));
    assert_eq!(a.doc.title.view(), b.doc.title.view());
}

#[test]
fn changes_that_arrive_while_a_transaction_is_open_lie_in_its_past() {
    let (mut a, mut b) = pair();
    let begin = a.transact(&alice(), build).unwrap();
    deliver(&begin, &mut b);
    a.watch();
    a.begin();
    a.doc.cards[0].title.set("mine").keep().unwrap();
    a.doc.body.insert(0, "mine").keep().unwrap();
    a.doc.people.remove("p").keep().unwrap();
    let theirs = b
        .transact(&bob(), |doc| {
            doc.cards[0].title.set("theirs").keep()?;
            doc.body.insert(0, "theirs").keep()?;
            doc.people.get("p").unwrap().title.set("theirs").keep()?;
            doc.cards.move_idx(0, 1).keep()
        })
        .unwrap();
    let mut view = CrdtNode::view(&a.doc);
    a.take_patches();
    deliver(&theirs, &mut a);
    assert!(a.doc.cards[1].title.conflicts().len() == 1, "both show until the signature says who saw whom");
    a.doc.body.insert(a.doc.body.len(), "!").keep().unwrap();
    let mine = a.commit(&alice()).unwrap();
    assert!(mine[0].lamport() > theirs[0].lamport());
    assert_eq!(mine[0].deps(), [theirs[0].digest()]);
    assert!(a.take_patches().iter().all(|patch| patch.apply(&mut view)));
    assert_eq!(view, CrdtNode::view(&a.doc));
    deliver(&mine, &mut b);
    assert_eq!(text(&a), text(&b));
    assert_eq!(a.heads(), b.heads());
    assert_eq!(replayed(&[begin, theirs, mine].concat()), text(&a));
}

#[test]
fn a_transaction_that_the_authors_chain_overtakes_is_taken_back_as_a_whole() {
    for document in [DocumentId::DEFAULT, DocumentId([7; 32])] {
        let mut a = Replica::with_document(&alice(), document);
        let begin = a.transact(&alice(), build).unwrap();
        let mut phone = Replica::with_document(&alice(), document);
        deliver(&begin, &mut phone);
        a.begin();
        a.doc.title.set("desk").keep().unwrap();
        a.doc.body.insert(0, "desk").keep().unwrap();
        let moved = phone.transact(&alice(), |doc| doc.title.set("phone").keep()).unwrap();
        deliver(&moved, &mut a);
        assert_eq!(text(&a), text(&phone));
        // Half of what was to be atomic is not signed.
        a.doc.votes.add(40).keep().unwrap();
        assert_eq!(a.commit(&alice()).unwrap_err(), SignError::ChainMoved);
        assert_eq!((text(&a), a.heads()), (text(&phone), phone.heads()));
        let again = a.transact(&alice(), |doc| doc.votes.add(40).keep()).unwrap();
        deliver(&again, &mut phone);
        assert_eq!(text(&a), text(&phone));
    }
}

#[test]
fn single_edits_that_wait_do_not_mix_with_a_transaction() {
    for document in [DocumentId::DEFAULT, DocumentId([7; 32])] {
        for ends in ["sign", "drop", "later"] {
            let mut a = Replica::with_document(&alice(), document);
            let begin = a.transact(&alice(), build).unwrap();
            let before = text(&a);
            let waits = a.doc.title.set("waits");
            a.begin();
            a.doc.votes.add(1).keep().unwrap();
            let mut log = begin.clone();
            let mut late = None;
            match ends {
                "sign" => log.push(waits.try_sign(&alice()).unwrap().into_change()),
                "drop" => drop(waits),
                _ => late = Some(waits),
            }
            a.doc.body.insert(0, "typed").keep().unwrap();
            let mut rolled_back = a.clone();
            log.extend(a.commit(&alice()).unwrap());
            assert_eq!(replayed(&log), text(&a), "{ends}");
            if let Some(late) = late {
                assert_eq!(late.try_sign(&alice()).unwrap_err(), SignError::ChainMoved);
                assert_eq!(replayed(&log), text(&a));
            }
            // Rolled back, only what was signed is left.
            let waits = rolled_back.doc.title.set("waits");
            rolled_back.begin();
            rolled_back.doc.votes.add(1).keep().unwrap();
            drop(waits);
            let signed = rolled_back.change_count();
            rolled_back.roll_back();
            assert_eq!(rolled_back.change_count(), signed);
            if ends != "sign" {
                assert_eq!(text(&rolled_back), before);
            }
        }
    }
}

#[test]
fn a_transaction_that_cannot_be_signed_to_its_end_signs_nothing() {
    let (mut a, _) = default_pair();
    let waits = a.doc.cards.push(json!({"title": "waits"}));
    a.begin();
    a.doc.title.set("first").keep().unwrap();
    a.doc.cards[0].title.set("stands on what waits").keep().unwrap();
    assert_eq!(a.commit(&alice()).unwrap_err(), SignError::BuildsOnUnsigned);
    assert_eq!((a.change_count(), a.doc.title.view()), (0, JsonValue::from("")));
    let op = waits.try_sign(&alice()).unwrap();
    assert_eq!(op.change().seq(), 1);
    assert_eq!(replayed(&[op.into_change()]), text(&a));
}

#[test]
fn a_save_mark_is_a_change_without_ops() {
    let (mut a, mut b) = pair();
    deliver(&a.transact(&alice(), build).unwrap(), &mut b);
    let mark = b.save_mark(&bob()).unwrap();
    assert_eq!((mark.op_count(), mark.deps(), mark.verify()), (0, &a.heads()[..], true));
    let before = text(&a);
    deliver(std::slice::from_ref(&mark), &mut a);
    assert_eq!((text(&a), a.heads()), (before, vec![mark.digest()]));
    assert_eq!(b.apply_changes(vec![mark]).states, [OpState::AlreadySeen]);
    let (mut default, _) = default_pair();
    let refused = default.save_mark(&alice()).unwrap_err();
    assert_eq!(refused, SignError::Invalid(Invalidity::OpsInDefaultDocument));
}

#[test]
fn coalescing_says_when_to_commit() {
    let (mut a, mut b) = pair();
    let mut coalescing = Coalescing::new(10, 500);
    let mut changes = Vec::new();
    for now_ms in (0..2_000).step_by(30) {
        a.begin();
        a.doc.body.insert(a.doc.body.len(), "k").keep().unwrap();
        if coalescing.note_edit(now_ms) {
            changes.extend(a.commit(&alice()).unwrap());
            coalescing.reset();
        }
    }
    assert_eq!(changes.len(), 6, "by count");
    assert_eq!(a.open_edits(), 7);
    assert!(!coalescing.is_due(2_000) && coalescing.is_due(coalescing.deadline_ms().unwrap()), "by time");
    changes.extend(a.commit(&alice()).unwrap());
    deliver(&changes, &mut b);
    assert_eq!(b.doc.body.text(), "k".repeat(67));
}

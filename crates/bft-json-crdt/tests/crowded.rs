//! More heads than a change can name: what somebody edits shows there as it does to everybody else who hears of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use bft_json_crdt::json_crdt::{
    BaseCrdt, Change, CrdtNode, DocumentId, EditError, JsonCrdt, JsonValue, OpState, SignError,
    add_crdt_fields,
};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::limits::CHANGE_DEPS_MAX;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::text_crdt::TextCrdt;
use proptest::prelude::*;
use serde_json::json;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Part {
    name: LwwRegisterCrdt<String>,
}

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Doc {
    title: LwwRegisterCrdt<String>,
    parts: MapCrdt<Part>,
    rows: ListCrdt<LwwRegisterCrdt<String>>,
    text: TextCrdt,
}

type Replica = BaseCrdt<Doc>;

/// What an edit does; numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
enum Act {
    Title(u8),
    Put(u8),
    Name(u8),
    Remove(u8),
    Push(u8),
    Move(u8, u8),
    Delete(u8),
    Type(u8),
    Cut(u8, u8),
}

fn acts() -> impl Strategy<Value = Act> {
    let n = any::<u8>;
    prop_oneof![
        1 => n().prop_map(Act::Title),
        3 => n().prop_map(Act::Put),
        2 => n().prop_map(Act::Name),
        3 => n().prop_map(Act::Remove),
        1 => n().prop_map(Act::Push),
        4 => (n(), n()).prop_map(|(a, b)| Act::Move(a, b)),
        1 => n().prop_map(Act::Delete),
        2 => n().prop_map(Act::Type),
        3 => (n(), n()).prop_map(|(a, b)| Act::Cut(a, b)),
    ]
}

const KEYS: [&str; 2] = ["a", "b"];

fn edit(doc: &Doc, act: Act) -> Result<(), EditError> {
    let key = |n: u8| KEYS[usize::from(n) % 2];
    let at = |n: u8, len: usize| usize::from(n) % len.max(1);
    let rows = doc.rows.len();
    match act {
        Act::Title(n) => doc.title.set(n.to_string()).keep(),
        Act::Put(n) => doc.parts.put(key(n), json!({"name": n.to_string()})).keep(),
        Act::Name(n) => doc.parts.get(key(n)).map_or(Ok(()), |part| part.name.set(n.to_string()).keep()),
        Act::Remove(n) if doc.parts.get(key(n)).is_some() => doc.parts.remove(key(n)).keep(),
        Act::Remove(_) => Ok(()),
        Act::Push(n) => doc.rows.push(n.to_string()).keep(),
        Act::Move(_, _) | Act::Delete(_) if rows == 0 => Ok(()),
        Act::Move(from, to) => doc.rows.move_idx(at(from, rows), at(to, rows)).keep(),
        Act::Delete(n) => doc.rows.delete_idx(at(n, rows)).keep(),
        Act::Type(n) => doc.text.insert(at(n, doc.text.text().chars().count() + 1), "typed").keep(),
        Act::Cut(from, count) => {
            let len = doc.text.text().chars().count();
            let from = at(from, len);
            if len == 0 { Ok(()) } else { doc.text.cut(from, (1 + at(count, 8)).min(len - from)).keep() }
        }
    }
}

fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

fn open(key: &Keypair) -> Replica {
    BaseCrdt::with_document(key, DocumentId([7; 32]))
}

fn apply(base: &mut Replica, changes: &[Change]) {
    let batch = base.apply_changes(changes.to_vec());
    assert!(batch.states.iter().all(OpState::is_applied), "{:?}", batch.states);
}

fn view(base: &Replica) -> JsonValue {
    CrdtNode::view(&base.doc)
}

fn begun(alice: &mut Replica) -> Vec<Change> {
    let begin = |doc: &Doc| {
        doc.parts.put("a", json!({"name": "begun"})).keep()?;
        (0..4).try_for_each(|n| doc.rows.push(n.to_string()).keep())?;
        doc.text.insert(0, "what was typed first").keep()
    };
    alice.transact(&key(1), begin).unwrap()
}

/// Edits on as many sides as there are, all after the beginning, each side one change for each of its edits. The sides
/// are those of one key that signs on all of them, or of one key each.
fn sides(beginning: &[Change], acts: &[Vec<Act>], is_one: bool, apart: bool) -> Vec<Change> {
    let mut all: Vec<Change> = Vec::new();
    for (n, acts) in (0u8..).zip(acts) {
        let keypair = key(if is_one { 200 } else { 100 + n });
        let mut side = open(&keypair);
        apply(&mut side, beginning);
        if apart {
            side.skip_op_numbers(1_000 * u64::from(n));
        }
        for act in acts {
            for change in side.transact(&keypair, |doc| edit(doc, *act)).unwrap() {
                if !all.iter().any(|other| other.digest() == change.digest()) {
                    all.push(change);
                }
            }
        }
    }
    all
}

/// What Alice sees is what others see, and what she sees who opens her document again.
fn check(alice: &Replica, bob: &Replica) {
    let content = alice.content();
    assert_eq!(*content, view(alice));
    assert_eq!(view(&alice.at(&alice.heads()).unwrap()), view(alice));
    assert_eq!((view(bob), bob.disputes()), (view(alice), alice.disputes()));
}

#[test]
fn a_removal_has_seen_what_it_removes_however_many_heads_there_are() {
    let mut alice = open(&key(1));
    let beginning = begun(&mut alice);
    // The side with the lowest lamport puts the row; the others have one change more.
    let mut acts = vec![vec![Act::Title(0), Act::Title(1)]; 66];
    for (n, acts) in (0u8..).zip(&mut acts) {
        acts[1] = Act::Title(n);
    }
    acts[0] = vec![Act::Put(1)];
    for is_one in [true, false] {
        let (mut alice, mut bob) = (open(&key(1)), open(&key(2)));
        for base in [&mut alice, &mut bob] {
            apply(base, &beginning);
            apply(base, &sides(&beginning, &acts, is_one, true));
        }
        assert!(alice.heads().len() > CHANGE_DEPS_MAX + 1);
        let _ = alice.content();
        let removed = alice.transact(&key(1), |doc| doc.parts.remove("b").keep()).unwrap();
        assert!(alice.doc.parts.get("b").is_none());
        apply(&mut bob, &removed);
        check(&alice, &bob);
    }
}

#[test]
fn what_takes_away_more_than_it_can_have_seen_is_refused_until_its_author_has_joined_some() {
    let mut alice = open(&key(1));
    let beginning = begun(&mut alice);
    let acts: Vec<_> = (0..150).map(|_| vec![Act::Put(1)]).collect();
    apply(&mut alice, &sides(&beginning, &acts, false, true));
    let before = view(&alice);
    let remove = |alice: &mut Replica| alice.transact(&key(1), |doc| doc.parts.remove("b").keep());
    assert_eq!(remove(&mut alice).unwrap_err(), SignError::TooManyHeads);
    assert_eq!(view(&alice), before);
    alice.save_mark(&key(1)).unwrap();
    assert_eq!(remove(&mut alice).unwrap_err(), SignError::TooManyHeads);
    alice.save_mark(&key(1)).unwrap();
    remove(&mut alice).unwrap();
    assert!(alice.doc.parts.get("b").is_none());
    assert_eq!(view(&alice.at(&alice.heads()).unwrap()), view(&alice));
}

#[test]
fn an_edit_that_shows_when_it_is_made_shows_when_it_is_signed() {
    let document = |key: &Keypair| BaseCrdt::<JsonCrdt>::with_document(key, DocumentId([7; 32]));
    let mut alice = document(&key(1));
    for n in 0..64 {
        let mut side = document(&key(100 + n));
        let put = side.transact(&key(100 + n), |doc| doc.put("many", n.to_string()).keep()).unwrap();
        assert!(alice.apply_changes(put).states.iter().all(OpState::is_applied));
    }
    // One more, who has signed more than the others.
    let mut side = document(&key(2));
    for content in [json!(1), json!(2), json!({})] {
        let put = side.transact(&key(2), |doc| doc.put("one", content).keep()).unwrap();
        assert!(alice.apply_changes(put).states.iter().all(OpState::is_applied));
    }
    // It takes away from 64, and puts what names nothing and shows as the newest.
    let edit = |doc: &JsonCrdt| {
        doc.as_map().unwrap().remove("many").keep()?;
        doc.put("one", json!([])).keep()
    };
    assert_eq!(alice.transact(&key(1), edit).unwrap_err(), SignError::TooManyHeads);
    alice.save_mark(&key(1)).unwrap();
    alice.transact(&key(1), edit).unwrap();
    assert_eq!(alice.doc.view().to_string(), r#"{"one":[]}"#);
    assert_eq!(alice.at(&alice.heads()).unwrap().doc.view(), alice.doc.view());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_edit_shows_the_same_everywhere_however_many_heads_there_are(
        sides_of in prop::collection::vec(prop::collection::vec(acts(), 1..4), 66..100),
        is_one in any::<bool>(),
        apart in any::<bool>(),
        edits in prop::collection::vec(prop::collection::vec(acts(), 1..3), 1..6),
        late in any::<bool>(),
    ) {
        let (mut alice, mut bob) = (open(&key(1)), open(&key(2)));
        let beginning = begun(&mut alice);
        apply(&mut bob, &beginning);
        let sides = sides(&beginning, &sides_of, is_one, apart);
        let (first, rest) = sides.split_at(if late { sides.len() - sides.len() / 8 } else { sides.len() });
        apply(&mut bob, &sides);
        apply(&mut alice, first);
        let mut rest = Some(rest);
        let _ = alice.content();
        for acts in &edits {
            for _ in 0..8 {
                alice.begin();
                let made = acts.iter().try_for_each(|act| edit(&alice.doc, *act));
                if let Some(rest) = rest.take() {
                    apply(&mut alice, rest);
                }
                let signed = if made.is_ok() { alice.commit(&key(1)) } else { alice.roll_back(); Ok(Vec::new()) };
                let is_refused = signed == Err(SignError::TooManyHeads);
                let more = if is_refused { vec![alice.save_mark(&key(1)).unwrap()] } else { signed.unwrap_or_default() };
                apply(&mut bob, &more);
                check(&alice, &bob);
                if !is_refused {
                    break;
                }
            }
        }
    }
}

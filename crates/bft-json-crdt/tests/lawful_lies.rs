//! Changes that are signed and linked as they should be, but whose ops say anything at all: no replica
//! panics, all reach the same verdict on each, and all show the same document.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use std::str::FromStr as _;

use bft_json_crdt::Digest;
use bft_json_crdt::counter_crdt::CounterCrdt;
use bft_json_crdt::json_crdt::{
    BaseCrdt, Change, CrdtNode, DocumentId, JsonCrdt, JsonValue, OpState, SignedOp, add_crdt_fields,
};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::text_crdt::TextCrdt;
use proptest::prelude::*;
use serde_json::{Value, json};

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Leaf {
    name: LwwRegisterCrdt<String>,
    count: CounterCrdt,
    /// A type may contain itself.
    more: ListCrdt<Leaf>,
    body: TextCrdt,
}

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Doc {
    list: ListCrdt<Leaf>,
    map: MapCrdt<Leaf>,
    plain: MapCrdt<LwwRegisterCrdt<i64>>,
    title: LwwRegisterCrdt<String>,
    text: TextCrdt,
    any: JsonCrdt,
}

/// The document follows a source: the first author.
const SOURCE: &str = "s";

fn document() -> DocumentId {
    DocumentId::of_source(&key(1).author(), SOURCE)
}

fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

fn any_name() -> impl Strategy<Value = Value> {
    // Mostly numbers that exist: what the honest beginning claimed, and some later ones.
    (1u8..4, prop_oneof![20 => 1u64..40, 2 => 40u64..90, 1 => any::<u64>()])
        .prop_map(|(author, counter)| json!({"author": key(author).author(), "counter": counter}))
}

fn any_names() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(any_name(), 0..3).prop_map(|mut names| {
        names.sort_by_key(ToString::to_string);
        names.dedup();
        names
    })
}

fn any_target() -> impl Strategy<Value = Value> {
    let field = prop::sample::select(vec![
        "list", "map", "plain", "title", "text", "any", "name", "count", "more", "body", "nope", "",
    ]);
    let path = prop::collection::vec(field, 0..3);
    prop_oneof![
        3 => path.clone().prop_map(|path| json!({"path": path})),
        6 => any_name().prop_map(|node| json!({"node": node})),
        3 => (any_name(), path).prop_map(|(node, path)| {
            let path: Vec<_> = path.into_iter().take(1).collect();
            json!({"node": node, "path": path})
        }),
    ]
}

fn any_content() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("text")),
        Just(json!(7)),
        Just(json!(-0.5)),
        Just(json!(null)),
        Just(json!({"name": "n", "count": 3, "more": [{"name": "inner", "more": [{}]}, {}]})),
        Just(json!({"name": "n"})),
        Just(json!({"name": 1})),
        Just(json!({"nope": 1})),
        Just(json!([{"count": 1}, {"name": "x"}])),
        Just(json!({"k": {"name": "k"}})),
        Just(json!([])),
        Just(json!({"$text": "typed"})),
        Just(json!({"$text": ""})),
        Just(json!({"body": {"$text": "b"}, "more": [{"body": {"$text": "c"}}]})),
        Just(json!({"a": {"$text": "in"}, "b": [[], {"c": null}]})),
    ]
}

/// A name with one of these numbers, by any author.
fn one_of(counters: &'static [u64]) -> impl Strategy<Value = Value> {
    (1u8..4, prop::sample::select(counters))
        .prop_map(|(author, counter)| json!({"author": key(author).author(), "counter": counter}))
}

/// Ops that mostly fit, on what the honest beginning made: its leaves have the numbers 1 (in the list) and 9
/// (in the map); then, in the order of their keys, come their fields and inner leaves. The characters of the
/// text have 19 to 23, a second leaf 24, the place that it was moved to 25; then come the characters of the first
/// leaf's text, and what `any` holds: a text (28), its characters, and an array with two elements (31).
fn fitting_op() -> impl Strategy<Value = Value> {
    const REGISTERS: &[u64] = &[6, 8, 14, 16];
    const COUNTERS: &[u64] = &[2, 5, 10, 13];
    const LISTS: &[u64] = &[3, 11];
    const ELEMENTS: &[u64] = &[1, 4, 7, 12, 15, 24, 25, 32];
    const CHARACTERS: &[u64] = &[19, 20, 21, 22, 23, 26, 27, 29, 30];
    let text = prop::sample::select(vec!["a", "b", "c"]);
    let leaf = prop::sample::select(vec![
        json!({"name": "new", "count": 3, "more": [{"name": "inner", "more": [{}]}, {}]}),
        json!({"count": -1}),
        json!({"more": [{}, {}]}),
    ]);
    let list = prop_oneof![
        Just(json!({"path": ["list"]})),
        one_of(LISTS).prop_map(|node| json!({"node": node})),
        one_of(ELEMENTS).prop_map(|node| json!({"node": node, "path": ["more"]})),
    ];
    let numbers = |counters| {
        prop::collection::vec(one_of(counters), 0..3).prop_map(|mut names| {
            names.sort_by_key(ToString::to_string);
            names.dedup();
            names
        })
    };
    let entry = prop::sample::select(vec!["k", "l"]);
    let text_node = prop_oneof![
        4 => Just(json!({"path": ["text"]})),
        1 => one_of(ELEMENTS).prop_map(|node| json!({"node": node, "path": ["body"]})),
        1 => one_of(&[28]).prop_map(|node| json!({"node": node})),
    ];
    let range = (one_of(CHARACTERS), 1u64..6);
    let ranges = prop::collection::vec(range, 1..4).prop_map(|ranges| {
        let mut ranges: Vec<_> =
            ranges.into_iter().map(|(first, count)| json!({"first": first, "count": count})).collect();
        ranges.sort_by_key(|range| (range["first"].to_string(), range["count"].to_string()));
        ranges
    });
    prop_oneof![
        (text_node.clone(), prop::option::of(one_of(CHARACTERS)), any::<bool>(), text.clone()).prop_map(
            |(target, parent, left, value)| {
                let side = if left && parent.is_some() { "left" } else { "right" };
                json!({"text": {"target": target, "parent": parent, "side": side, "value": value}})
            }
        ),
        (text_node, ranges).prop_map(|(target, ranges)| json!({"cut": {"target": target, "ranges": ranges}})),
        (one_of(ELEMENTS), prop::option::of(one_of(ELEMENTS)), any::<bool>()).prop_map(
            |(element, parent, left)| {
                let side = if left && parent.is_some() { "left" } else { "right" };
                json!({"move": {"element": element, "parent": parent, "side": side}})
            }
        ),
        (entry.clone(), numbers(&[40, 41, 42]), any_content()).prop_map(|(key, removals, value)| {
            json!({"put": {"target": {"path": ["any"]}, "key": key, "removals": removals,
                "overwrites": [], "value": value}})
        }),
        (one_of(REGISTERS), numbers(REGISTERS), text).prop_map(|(node, overwrites, value)| {
            json!({"set": {"target": {"node": node}, "overwrites": overwrites, "value": value}})
        }),
        (list, prop::option::of(one_of(ELEMENTS)), any::<bool>(), leaf.clone()).prop_map(
            |(target, parent, left, value)| {
                let side = if left && parent.is_some() { "left" } else { "right" };
                json!({"insert": {"target": target, "parent": parent, "side": side, "value": value}})
            }
        ),
        one_of(ELEMENTS).prop_map(|element| json!({"delete": {"elements": [element]}})),
        (entry.clone(), numbers(&[40, 41, 42]), numbers(REGISTERS), leaf).prop_map(
            |(key, removals, overwrites, value)| {
                json!({"put": {"target": {"path": ["map"]}, "key": key, "removals": removals,
                    "overwrites": overwrites, "value": value}})
            }
        ),
        entry.prop_map(|key| json!({"remove": {"target": {"path": ["map"]}, "key": key}})),
        (one_of(COUNTERS), -3i64..4)
            .prop_map(|(node, delta)| json!({"add": {"target": {"node": node}, "delta": delta}})),
    ]
}

fn any_op() -> impl Strategy<Value = Value> {
    prop_oneof![3 => fitting_op(), 2 => wild_op()]
}

fn wild_op() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec!["k", "l", ""]);
    prop_oneof![
        (any_target(), any_names(), any_content())
            .prop_map(|(target, overwrites, value)| json!({"set": {"target": target, "overwrites": overwrites, "value": value}})),
        (any_target(), prop::option::of(any_name()), any::<bool>(), any_content()).prop_map(|(target, parent, left, value)| {
            let side = if left && parent.is_some() { "left" } else { "right" };
            json!({"insert": {"target": target, "parent": parent, "side": side, "value": value}})
        }),
        prop::collection::vec(any_name(), 1..3).prop_map(|mut names| {
            names.sort_by_key(ToString::to_string);
            names.dedup();
            json!({"delete": {"elements": names}})
        }),
        (any_target(), key.clone(), any_names(), any_names(), any_content()).prop_map(
            |(target, key, removals, overwrites, value)| {
                json!({"put": {"target": target, "key": key, "removals": removals, "overwrites": overwrites, "value": value}})
            }
        ),
        (any_target(), key).prop_map(|(target, key)| json!({"remove": {"target": target, "key": key}})),
        (any_target(), any::<i64>()).prop_map(|(target, delta)| json!({"add": {"target": target, "delta": delta}})),
        (any_target(), prop::option::of(any_name()), any::<bool>(), any_content()).prop_map(|(target, parent, left, value)| {
            let side = if left && parent.is_some() { "left" } else { "right" };
            json!({"text": {"target": target, "parent": parent, "side": side, "value": value}})
        }),
        (any_target(), any_name(), prop_oneof![5 => 0u64..9, 1 => any::<u64>()]).prop_map(|(target, first, count)| {
            json!({"cut": {"target": target, "ranges": [{"first": first, "count": count}]}})
        }),
        (any_name(), prop::option::of(any_name()), any::<bool>()).prop_map(|(element, parent, left)| {
            let side = if left && parent.is_some() { "left" } else { "right" };
            json!({"move": {"element": element, "parent": parent, "side": side}})
        }),
        prop::sample::select(vec![SOURCE, "", "other"]).prop_map(|name| json!({"source": {"name": name}})),
    ]
}

/// Mostly that of a person's edit.
fn any_rank() -> impl Strategy<Value = u8> {
    prop_oneof![1 => Just(0u8), 4 => Just(1), 1 => Just(2)]
}

/// Signs any op as the next change of an author, rightly placed.
fn sign(author: u8, base: &BaseCrdt<Doc>, counter: u64, rank: u8, op: &Value) -> Option<SignedOp> {
    let key = key(author);
    let own = base.version_vector().get(&key.author()).and_then(|tips| tips.last().copied());
    let heads = base.heads();
    let deps: Vec<&Digest> = heads.iter().filter(|head| own.is_none_or(|(_, tip)| tip != **head)).collect();
    let seen = heads.iter().copied().chain(own.map(|(_, tip)| tip));
    let lamport =
        seen.filter_map(|head| base.change(&head)).map(|head| head.lamport()).max().unwrap_or(0) + 1;
    let mut json = json!({
        "document": document(), "author": key.author(), "rank": rank, "seq": own.map_or(0, |(seq, _)| seq) + 1,
        "prev": own.map(|(_, tip)| tip), "deps": deps, "lamport": lamport, "counter": counter, "op": op,
        "digest": "00".repeat(32), "signature": "00".repeat(64),
    });
    // The refusal of a wrong digest names the right one; what is malformed gets another refusal.
    let error = serde_json::from_value::<SignedOp>(json.clone()).unwrap_err().to_string();
    let digest = &error[error.find("hashes to ")? + 10..][..64];
    json["digest"] = json!(digest);
    let signature = key.sign(&Digest::from_str(digest).unwrap().0);
    json["signature"] = json!(data_encoding::HEXLOWER.encode(&signature));
    Some(serde_json::from_value(json).unwrap())
}

fn text(base: &BaseCrdt<Doc>) -> String {
    CrdtNode::view(&base.doc).to_string()
}

/// Each author adds a leaf with inner leaves, an entry to each map, a title, texts: 33 numbers.
fn honest_beginning(team: &mut [BaseCrdt<Doc>]) -> Vec<Change> {
    let mut all = Vec::new();
    for (base, author) in team.iter_mut().zip(1..) {
        let key = key(author);
        let leaf = json!({"name": "n", "count": 1, "more": [{"name": "inner", "count": 2}, {}]});
        let doc = &base.doc;
        all.push(doc.list.push(leaf.clone()).sign(&key));
        all.push(doc.map.put("k", leaf).sign(&key));
        all.push(doc.plain.put("k", author).sign(&key));
        all.push(doc.title.set(format!("{author}")).sign(&key));
        all.push(doc.text.insert(0, "abc").sign(&key));
        all.push(doc.text.insert(1, "de").sign(&key));
        all.push(doc.list.push(json!({})).sign(&key));
        all.push(doc.list.move_idx(1, 0).sign(&key));
        all.push(doc.list[1].body.insert(0, "xy").sign(&key));
        all.push(doc.any.put("k", JsonValue::Text("tt".into())).sign(&key));
        all.push(doc.any.put("l", JsonValue::from(json!([1, {}]))).sign(&key));
    }
    let all: Vec<Change> = all.into_iter().map(SignedOp::into_change).collect();
    for base in team {
        assert!(base.apply_changes(all.clone()).states.iter().all(OpState::is_applied));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn lawful_lies_are_taken_alike(
        steps in prop::collection::vec((1u8..4, any_op(), 0u64..4, any::<bool>(), any_rank()), 1..30),
        seed in any::<u64>(),
    ) {
        // Three authors; one replica each, which tells the others now and then.
        let mut team: Vec<BaseCrdt<Doc>> = (1..4).map(|n| BaseCrdt::with_document(&key(n), document())).collect();
        team[0].watch();
        let mut mirror = CrdtNode::view(&team[0].doc);
        let mut counters = [40u64; 3];
        let mut all: Vec<Change> = honest_beginning(&mut team);
        let mut invalid: Vec<Change> = Vec::new();
        for (author, op, gap, shares, rank) in steps {
            let at = author as usize - 1;
            let Some(op) = sign(author, &team[at], counters[at] + gap, rank, &op) else { continue };
            let change = op.into_change();
            let batch = team[at].apply_changes(vec![change.clone()]);
            #[allow(clippy::wildcard_enum_match_arm, reason = "whatever else it is, it is wrong")]
            match &batch.states[0] {
                OpState::Ok | OpState::NoEffect(_) => {
                    // Sixteen numbers are more than any of these contents claims.
                    counters[at] += gap + 16;
                    all.push(change);
                }
                OpState::Invalid(_) => invalid.push(change),
                state => prop_assert!(false, "{:?}", state),
            }
            if shares {
                for base in &mut team {
                    let outcome = base.apply_changes(all.clone());
                    prop_assert!(outcome.states.iter().all(|state| !state.is_refused()));
                }
            }
            let patches = team[0].take_patches();
            prop_assert!(patches.iter().all(|patch| patch.apply(&mut mirror)), "{:?}", patches);
            prop_assert_eq!(mirror.to_string(), text(&team[0]), "{:?}", patches);
        }
        for base in &mut team {
            let outcome = base.apply_changes(all.clone());
            prop_assert!(outcome.states.iter().all(|state| !state.is_refused()));
        }
        // A newcomer gets them in any order, among what is invalid.
        let mut newcomer = BaseCrdt::<Doc>::with_document(&key(9), document());
        let mut mixed: Vec<Change> = all.iter().chain(&invalid).cloned().collect();
        let mut random = seed | 1;
        for i in (1..mixed.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            mixed.swap(i, (random >> 33) as usize % (i + 1));
        }
        for change in mixed {
            let _ = newcomer.apply_changes(vec![change]);
        }
        for change in &invalid {
            prop_assert!(!newcomer.contains(&change.digest()));
        }
        for base in &team {
            prop_assert_eq!(base.change_count(), all.len());
            prop_assert_eq!(text(base), text(&newcomer));
            prop_assert_eq!(base.heads(), newcomer.heads());
            prop_assert_eq!(base.doc.list.conflicts(), newcomer.doc.list.conflicts());
            prop_assert_eq!(base.doc.map.conflicts("k"), newcomer.doc.map.conflicts("k"));
            prop_assert_eq!(base.doc.plain.conflicts("k"), newcomer.doc.plain.conflicts("k"));
            prop_assert_eq!(base.source(), newcomer.source());
            for change in &all {
                prop_assert_eq!(base.effects(change), newcomer.effects(change));
            }
        }
        // And honest edits still work on whatever came of it.
        let (bob, mut base) = (key(2), team.swap_remove(1));
        let title = base.doc.title.try_set("still here").unwrap().try_sign(&bob).unwrap();
        let push = base.doc.list.try_push(json!({"name": "new"})).unwrap().try_sign(&bob).unwrap();
        for op in [title, push] {
            prop_assert_eq!(base.apply(op.clone()), OpState::Ok);
            prop_assert_eq!(newcomer.apply(op), OpState::Ok);
        }
        prop_assert_eq!(text(&base), text(&newcomer));
    }
}

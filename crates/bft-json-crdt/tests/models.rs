//! Documents against slow, obvious models: one replica's view against plain vectors and maps after every step,
//! and a team's against a reading of the set of ops alone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use std::collections::BTreeMap;

use bft_json_crdt::counter_crdt::CounterCrdt;
use bft_json_crdt::json_crdt::{
    BaseCrdt, Change, CrdtNode, DocumentId, JsonCrdt, JsonValue, OpState, SignedOp, UnsignedOp,
    add_crdt_fields,
};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::text_crdt::{Bias, TextCrdt};
use bft_json_crdt::{OpId, ROOT_ID};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

#[path = "support/naive.rs"]
mod naive;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Doc {
    text: TextCrdt,
    list: ListCrdt<LwwRegisterCrdt<String>>,
    map: MapCrdt<LwwRegisterCrdt<i64>>,
    count: CounterCrdt,
    title: LwwRegisterCrdt<String>,
}

#[derive(Clone, Debug)]
enum Act {
    Insert(Index, String),
    Cut(Index, Index),
    Splice(Index, Index, String),
    Push(u8),
    Add(Index, u8),
    AddAfter(Index, u8),
    Set(Index, u8),
    Delete(Index),
    Move(Index, Index),
    MoveAfter(Index, Index),
    Put(u8, i64),
    Edit(u8, i64),
    Remove(u8),
    Count(i64),
    Title(u8),
}

fn acts() -> impl Strategy<Value = Act> {
    let at = any::<Index>;
    let n = any::<u8>;
    let content = prop_oneof![4 => "[a-c]", 2 => "[a-cß🐕]{1,4}", 1 => Just(String::new())];
    let key = || 0u8..3;
    prop_oneof![
        8 => (at(), content.clone()).prop_map(|(a, s)| Act::Insert(a, s)),
        5 => (at(), at()).prop_map(|(a, b)| Act::Cut(a, b)),
        2 => (at(), at(), content).prop_map(|(a, b, s)| Act::Splice(a, b, s)),
        2 => n().prop_map(Act::Push),
        4 => (at(), n()).prop_map(|(a, b)| Act::Add(a, b)),
        3 => (at(), n()).prop_map(|(a, b)| Act::AddAfter(a, b)),
        2 => (at(), n()).prop_map(|(a, b)| Act::Set(a, b)),
        3 => at().prop_map(Act::Delete),
        4 => (at(), at()).prop_map(|(a, b)| Act::Move(a, b)),
        4 => (at(), at()).prop_map(|(a, b)| Act::MoveAfter(a, b)),
        3 => (key(), any::<i64>()).prop_map(|(k, v)| Act::Put(k, v)),
        2 => (key(), any::<i64>()).prop_map(|(k, v)| Act::Edit(k, v)),
        3 => key().prop_map(Act::Remove),
        2 => any::<i64>().prop_map(Act::Count),
        1 => n().prop_map(Act::Title),
    ]
}

/// What one replica shows while it is alone, in plain containers.
#[derive(Clone, Debug, Default)]
struct Model {
    text: Vec<char>,
    list: Vec<(OpId, String)>,
    map: BTreeMap<String, i64>,
    count: i128,
    title: String,
}

impl Model {
    fn view(&self) -> serde_json::Value {
        json!({
            "text": self.text.iter().collect::<String>(),
            "list": self.list.iter().map(|(_, value)| value).collect::<Vec<_>>(),
            "map": self.map,
            "count": i64::try_from(self.count.clamp(i64::MIN.into(), i64::MAX.into())).unwrap(),
            "title": self.title,
        })
    }

    /// Does to the model what it makes of the document.
    fn act(&mut self, doc: &Doc, act: &Act) -> Vec<UnsignedOp> {
        let (text, list) = (&mut self.text, &mut self.list);
        match act {
            Act::Insert(at, content) => {
                let at = at.index(text.len() + 1);
                text.splice(at..at, content.chars());
                doc.text.try_insert(at, content).into_iter().collect()
            }
            Act::Cut(at, count) => {
                let (at, len) = (at.index(text.len() + 1), text.len());
                let count = count.index(len - at + 1);
                text.drain(at..at + count);
                doc.text.try_cut(at, count).into_iter().collect()
            }
            Act::Splice(at, count, content) => {
                let (at, len) = (at.index(text.len() + 1), text.len());
                let count = count.index(len - at + 1);
                text.splice(at..at + count, content.chars());
                doc.text.splice(at, count, content)
            }
            Act::Push(n) => {
                let op = doc.list.push(format!("{n}"));
                list.push((op.id(), format!("{n}")));
                vec![op]
            }
            Act::Add(at, n) => {
                let at = at.index(list.len() + 1);
                let op = doc.list.insert_idx(at, format!("{n}"));
                list.insert(at, (op.id(), format!("{n}")));
                vec![op]
            }
            Act::AddAfter(at, n) => {
                let at = at.index(list.len() + 1);
                let after = at.checked_sub(1).map_or(ROOT_ID, |before| list[before].0);
                let op = doc.list.insert(after, format!("{n}"));
                list.insert(at, (op.id(), format!("{n}")));
                vec![op]
            }
            Act::Set(at, n) if !list.is_empty() => {
                let at = at.index(list.len());
                list[at].1 = format!("{n}");
                vec![doc.list[at].set(format!("{n}"))]
            }
            Act::Delete(at) if !list.is_empty() => {
                let (id, _) = list.remove(at.index(list.len()));
                vec![doc.list.delete(id)]
            }
            Act::Move(from, to) if !list.is_empty() => {
                let (from, to) = (from.index(list.len()), to.index(list.len()));
                let element = list.remove(from);
                list.insert(to, element);
                vec![doc.list.move_idx(from, to)]
            }
            Act::MoveAfter(which, after) if !list.is_empty() => {
                let (which, after) = (which.index(list.len()), after.index(list.len() + 1));
                let after = after.checked_sub(1).map_or(ROOT_ID, |after| list[after].0);
                let op = doc.list.move_after(list[which].0, after);
                if after != list[which].0 {
                    let element = list.remove(which);
                    let at = list.iter().position(|(id, _)| *id == after).map_or(0, |before| before + 1);
                    list.insert(at, element);
                }
                vec![op]
            }
            Act::Put(key, value) => {
                self.map.insert(format!("{key}"), *value);
                vec![doc.map.put(&format!("{key}"), *value)]
            }
            Act::Edit(key, value) => match doc.map.get(&format!("{key}")) {
                Some(entry) => {
                    self.map.insert(format!("{key}"), *value);
                    vec![entry.set(*value)]
                }
                None => Vec::new(),
            },
            Act::Remove(key) => {
                let removed = doc.map.try_remove(&format!("{key}"));
                assert_eq!(removed.is_ok(), self.map.remove(&format!("{key}")).is_some());
                removed.into_iter().collect()
            }
            Act::Count(n) => {
                self.count += i128::from(*n);
                vec![doc.count.add(*n)]
            }
            Act::Title(n) => {
                self.title = format!("{n}");
                vec![doc.title.set(format!("{n}"))]
            }
            Act::Set(..) | Act::Delete(_) | Act::Move(..) | Act::MoveAfter(..) => Vec::new(),
        }
    }

    fn check(&self, base: &BaseCrdt<Doc>) {
        assert_eq!(serde_json::Value::from(CrdtNode::view(&base.doc)), self.view());
        let doc = &base.doc;
        assert_eq!(
            (doc.text.len(), doc.list.len(), doc.map.len()),
            (self.text.len(), self.list.len(), self.map.len())
        );
        for (at, (id, _)) in self.list.iter().enumerate() {
            assert_eq!((doc.list.id_at(at), doc.list.index_of(*id)), (Some(*id), Some(at)));
        }
        let middle = self.text.len() / 2;
        assert_eq!(doc.text.slice(middle, 3), self.text[middle..].iter().take(3).collect::<String>());
        for bias in [Bias::Before, Bias::After] {
            for at in 0..=self.text.len() {
                assert_eq!(doc.text.position_of(&doc.text.cursor(at, bias)), Some(at));
            }
        }
    }
}

/// A step of one replica alone: an edit, or the beginning or the end of a transaction.
#[derive(Clone, Debug)]
enum Alone {
    Act(Act),
    Begin,
    Commit,
    RollBack,
    GiveUp(Act),
    Reload,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_replica_alone_shows_what_plain_containers_do(
        steps in prop::collection::vec(prop_oneof![
            16 => acts().prop_map(Alone::Act),
            2 => Just(Alone::Begin),
            2 => Just(Alone::Commit),
            1 => Just(Alone::RollBack),
            1 => acts().prop_map(Alone::GiveUp),
            1 => Just(Alone::Reload),
        ], 1..60),
        default in prop::bool::weighted(0.2),
    ) {
        let alice = Keypair::from_seed(&[1; 32]);
        let document = if default { DocumentId::DEFAULT } else { DocumentId([7; 32]) };
        let mut base = BaseCrdt::<Doc>::with_document(&alice, document);
        let mut log: Vec<Change> = Vec::new();
        let mut model = Model::default();
        let mut begun: Option<Model> = None;
        for step in steps {
            match step {
                Alone::Act(act) => {
                    for op in model.act(&base.doc, &act) {
                        if begun.is_some() {
                            op.keep().unwrap();
                        } else {
                            let op = op.try_sign(&alice).unwrap();
                            prop_assert_eq!(base.apply(op.clone()), OpState::Ok);
                            log.push(op.into_change());
                        }
                    }
                }
                Alone::Begin => {
                    base.begin();
                    begun.get_or_insert_with(|| model.clone());
                }
                Alone::Commit if begun.take().is_some() => {
                    let changes = base.commit(&alice).unwrap();
                    prop_assert!(default || changes.len() <= 1);
                    log.extend(changes);
                }
                Alone::RollBack => {
                    base.roll_back();
                    model = begun.take().unwrap_or(model);
                }
                Alone::GiveUp(act) if begun.is_none() => drop(model.clone().act(&base.doc, &act)),
                Alone::Reload if begun.is_none() => {
                    base = BaseCrdt::with_document(&alice, document);
                    base.load(log.clone()).unwrap();
                }
                Alone::Commit | Alone::GiveUp(_) | Alone::Reload => {}
            }
            model.check(&base);
        }
    }
}

/// A step of a team.
#[derive(Clone, Debug)]
enum Step {
    Act(usize, Act),
    Begin(usize),
    Commit(usize),
    RollBack(usize),
    Deliver(usize, usize, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 0usize..3;
    prop::collection::vec(
        prop_oneof![
            14 => (who(), acts()).prop_map(|(r, act)| Step::Act(r, act)),
            1 => who().prop_map(Step::Begin),
            2 => who().prop_map(Step::Commit),
            1 => who().prop_map(Step::RollBack),
            5 => (who(), who(), any::<u64>()).prop_map(|(a, b, seed)| Step::Deliver(a, b, seed)),
        ],
        1..70,
    )
}

struct Replica {
    key: Keypair,
    base: BaseCrdt<Doc>,
    log: Vec<SignedOp>,
    is_open: bool,
}

impl Replica {
    fn take(&mut self, changes: Vec<Change>) {
        self.log.extend(changes.into_iter().map(|change| SignedOp::try_from(change).unwrap()));
    }

    fn receive(&mut self, ops: Vec<SignedOp>) {
        let batch = self.base.apply_changes(ops.into_iter().map(SignedOp::into_change).collect());
        self.take(batch.applied);
    }

    fn check(&self) {
        if !self.is_open {
            assert_eq!(serde_json::Value::from(CrdtNode::view(&self.base.doc)), naive::view(&self.log));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// In the default document, where each op is a change of its own, whose JSON form says all of it.
    #[test]
    fn a_team_shows_what_the_set_of_its_ops_says(steps in steps()) {
        let mut team: Vec<Replica> = (1..4)
            .map(|n| Keypair::from_seed(&[n; 32]))
            .map(|key| Replica { base: BaseCrdt::new(&key), key, log: Vec::new(), is_open: false })
            .collect();
        for step in steps {
            let who = match step {
                Step::Act(who, act) => {
                    let at = &mut team[who];
                    // The model that edits are made with is of no further use.
                    for op in on_the_spot(&at.base.doc, &act) {
                        if at.is_open {
                            op.keep().unwrap();
                        } else {
                            let op = op.try_sign(&at.key).unwrap();
                            prop_assert_eq!(at.base.apply(op.clone()), OpState::Ok);
                            at.log.push(op);
                        }
                    }
                    who
                }
                Step::Begin(who) => {
                    team[who].base.begin();
                    team[who].is_open = true;
                    who
                }
                Step::Commit(who) => {
                    if std::mem::take(&mut team[who].is_open) {
                        let key = team[who].key.clone();
                        let changes = team[who].base.commit(&key).unwrap();
                        team[who].take(changes);
                    }
                    who
                }
                Step::RollBack(who) => {
                    team[who].base.roll_back();
                    team[who].is_open = false;
                    who
                }
                Step::Deliver(from, to, seed) => {
                    let ops = team[from].log.clone();
                    let count = usize::try_from(seed % 97).unwrap() * ops.len() / 96;
                    team[to].receive(ops.into_iter().take(count).collect());
                    to
                }
            };
            team[who].check();
        }
        for at in 0..3 {
            team[at].base.roll_back();
            team[at].is_open = false;
            for from in 0..3 {
                let ops = team[from].log.clone();
                team[at].receive(ops);
            }
            team[at].check();
        }
    }
}

/// Makes an edit of what a document shows, whoever made that.
fn on_the_spot(doc: &Doc, act: &Act) -> Vec<UnsignedOp> {
    let list = (0..doc.list.len()).map(|at| (doc.list.id_at(at).unwrap(), String::new())).collect();
    let keys = doc.map.keys().into_iter().map(|key| (key, 0)).collect();
    let mut model = Model { text: doc.text.text().chars().collect(), list, map: keys, ..Model::default() };
    model.act(doc, act)
}

/// An edit somewhere inside JSON of any kind: the way there, and what happens.
#[derive(Clone, Debug)]
struct Inside {
    way: Vec<Index>,
    kind: u8,
    at: Index,
    n: u8,
}

/// A value with texts still told apart from strings.
type Tree = JsonValue;

fn content(n: u8) -> Tree {
    match n % 7 {
        0 => Tree::Text("text".into()),
        1 => Tree::from(vec![Tree::Null, Tree::Text("t".into()), Tree::from(vec![1])]),
        2 => {
            Tree::Object(BTreeMap::from([("b".into(), Tree::Text(String::new())), ("c".into(), Tree::Null)]))
        }
        3 => Tree::Array(Vec::new()),
        4 => Tree::Object(BTreeMap::new()),
        5 => Tree::from("scalar"),
        _ => Tree::from(n),
    }
}

/// Finds the same node in the model and in the document, and edits both.
fn edit_inside(model: &mut Tree, node: &JsonCrdt, edit: &Inside, way: &[Index]) -> Option<UnsignedOp> {
    let (kind, at, n) = (edit.kind, edit.at, edit.n);
    match model {
        Tree::Object(members) => {
            if let (Some((step, rest)), false) = (way.split_first(), members.is_empty()) {
                let key = members.keys().nth(step.index(members.len())).unwrap().clone();
                return edit_inside(members.get_mut(&key).unwrap(), &node.at(&key).unwrap(), edit, rest);
            }
            let key = ["a", "b", "c"][at.index(3)];
            if kind % 3 == 0 && members.remove(key).is_some() {
                return Some(node.remove(key));
            }
            // A put over a value of the same kind joins it, unless it is a scalar.
            if !members.contains_key(key)
                || matches!((&members[key], content(n)), (old, new) if is_scalar(old) && is_scalar(&new))
            {
                members.insert(key.to_owned(), content(n));
                return Some(node.put(key, content(n)));
            }
            None
        }
        Tree::Array(items) => {
            let list = node.as_list().unwrap();
            if let (Some((step, rest)), false) = (way.split_first(), items.is_empty()) {
                let step = step.index(items.len());
                return edit_inside(&mut items[step], &list[step], edit, rest);
            }
            match (kind % 3, items.len()) {
                (0, 1..) => {
                    let at = at.index(items.len());
                    items.remove(at);
                    Some(list.delete_idx(at))
                }
                (1, 1..) => {
                    let (from, to) = (at.index(items.len()), usize::from(n) % items.len());
                    let item = items.remove(from);
                    items.insert(to, item);
                    Some(list.move_idx(from, to))
                }
                _ => {
                    let at = at.index(items.len() + 1);
                    items.insert(at, content(n));
                    Some(list.insert_idx(at, content(n)))
                }
            }
        }
        Tree::Text(text) => {
            let mut characters: Vec<char> = text.chars().collect();
            let at = at.index(characters.len() + 1);
            let op = if kind % 3 == 0 && at < characters.len() {
                characters.remove(at);
                node.as_text().unwrap().cut(at, 1)
            } else {
                characters.splice(at..at, "ü!".chars());
                node.as_text().unwrap().insert(at, "ü!")
            };
            *text = characters.into_iter().collect();
            Some(op)
        }
        Tree::Null | Tree::Bool(_) | Tree::Integer(_) | Tree::Number(_) | Tree::String(_) => {
            *model = Tree::from(n);
            Some(node.set(n))
        }
    }
}

fn is_scalar(tree: &Tree) -> bool {
    !matches!(tree, Tree::Object(_) | Tree::Array(_) | Tree::Text(_))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn json_of_any_kind_shows_what_a_plain_value_does(
        edits in prop::collection::vec(
            (prop::collection::vec(any::<Index>(), 0..4), any::<u8>(), any::<Index>(), any::<u8>(), 0u8..12)
                .prop_map(|(way, kind, at, n, when)| (Inside { way, kind, at, n }, when)),
            1..60,
        ),
    ) {
        let alice = Keypair::from_seed(&[1; 32]);
        let mut base = BaseCrdt::<JsonCrdt>::with_document(&alice, DocumentId([7; 32]));
        let mut bob = BaseCrdt::<JsonCrdt>::with_document(&Keypair::from_seed(&[2; 32]), DocumentId([7; 32]));
        let mut model = Tree::Object(BTreeMap::new());
        let mut committed = model.clone();
        for (edit, when) in edits {
            base.begin();
            if let Some(op) = edit_inside(&mut model, &base.doc, &edit, &edit.way) {
                op.keep().unwrap();
            }
            if when < 4 {
                for change in base.commit(&alice).unwrap() {
                    prop_assert!(bob.apply_changes(vec![change]).states[0].is_applied());
                }
                committed = model.clone();
                prop_assert_eq!(bob.doc.view().to_string(), model.to_string());
            } else if when == 4 {
                base.roll_back();
                model = committed.clone();
            }
            prop_assert_eq!(base.doc.view().to_string(), model.to_string());
        }
    }
}

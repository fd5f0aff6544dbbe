//! A slow, obvious reading of a set of ops, after the design's page on semantics: no replica, no order of arrival,
//! just the ops, each with all that lies in its past.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::json_crdt::SignedOp;
use serde_json::{Value, json};

/// An op number with its author.
type Name = (String, u64);
/// How concurrent writes, puts and moves are ordered; without ranks.
type Order = (u64, String, String);

struct Op {
    author: String,
    counter: u64,
    lamport: u64,
    digest: String,
    /// The digests of all changes that its change had seen, its own too.
    past: BTreeSet<String>,
    kind: String,
    fields: Value,
}

impl Op {
    fn name(&self) -> Name {
        (self.author.clone(), self.counter)
    }

    fn order(&self) -> Order {
        (self.lamport, self.author.clone(), self.digest.clone())
    }

    fn target_field(&self) -> &str {
        self.fields["target"]["path"][0].as_str().unwrap_or_default()
    }

    fn names(&self, field: &str) -> BTreeSet<Name> {
        self.fields[field].as_array().into_iter().flatten().filter_map(name_of).collect()
    }
}

fn name_of(json: &Value) -> Option<Name> {
    Some((json["author"].as_str()?.to_owned(), json["counter"].as_u64()?))
}

/// What a document of these ops shows: its fields are `text`, `list` of registers, `map` of registers, `count`
/// and `title`.
pub(crate) fn view(ops: &[SignedOp]) -> Value {
    let ops = read(ops);
    json!({
        "text": text(&ops), "list": list(&ops), "map": map(&ops), "count": count(&ops),
        "title": register(&ops, |op| op.target_field() == "title", &json!("")),
    })
}

/// Reads the ops, and sums up what each one had seen.
fn read(ops: &[SignedOp]) -> Vec<Op> {
    let mut pasts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut read = Vec::new();
    let mut waiting: Vec<Value> = ops.iter().map(|op| serde_json::to_value(op).unwrap()).collect();
    while !waiting.is_empty() {
        waiting.retain(|json| {
            let named: Vec<&str> = json["deps"]
                .as_array()
                .unwrap()
                .iter()
                .chain([&json["prev"]])
                .filter_map(Value::as_str)
                .collect();
            if !named.iter().all(|digest| pasts.contains_key(*digest)) {
                return true;
            }
            let digest = json["digest"].as_str().unwrap().to_owned();
            let mut past: BTreeSet<String> = named.iter().flat_map(|digest| pasts[*digest].clone()).collect();
            past.insert(digest.clone());
            pasts.insert(digest.clone(), past.clone());
            let (kind, fields) = json["op"].as_object().unwrap().iter().next().unwrap();
            read.push(Op {
                author: json["author"].as_str().unwrap().to_owned(),
                counter: json["counter"].as_u64().unwrap(),
                lamport: json["lamport"].as_u64().unwrap(),
                digest,
                past,
                kind: kind.clone(),
                fields: fields.clone(),
            });
            false
        });
    }
    read
}

/// Lamport descending, author, digest, place in the change; and which side of what.
type Siblings = (Reverse<u64>, String, String, u64);
type Place = (Option<Name>, bool);

/// The tree of Fugue: what hangs on which side of what.
#[derive(Default)]
struct Tree {
    children: BTreeMap<Place, Vec<(Siblings, Name)>>,
}

impl Tree {
    /// `place` is that in the change; of a run's characters each but the first hangs right of the one before.
    fn hang(&mut self, op: &Op, name: Name, parent: Option<Name>, is_left: bool, place: u64) {
        let key = (Reverse(op.lamport), op.author.clone(), op.digest.clone(), place);
        self.children.entry((parent, is_left)).or_default().push((key, name));
    }

    fn walk(&self) -> Vec<Name> {
        let mut out = Vec::new();
        self.below(None, false, &mut out);
        out
    }

    fn below(&self, parent: Option<&Name>, is_left: bool, out: &mut Vec<Name>) {
        let mut children = self.children.get(&(parent.cloned(), is_left)).cloned().unwrap_or_default();
        children.sort();
        for (_, name) in children {
            self.below(Some(&name), true, out);
            out.push(name.clone());
            self.below(Some(&name), false, out);
        }
    }
}

fn text(ops: &[Op]) -> String {
    let mut tree = Tree::default();
    let mut characters = BTreeMap::new();
    for op in ops.iter().filter(|op| op.kind == "text") {
        let (mut parent, mut is_left) = (name_of(&op.fields["parent"]), op.fields["side"] == "left");
        for (character, place) in op.fields["value"].as_str().unwrap().chars().zip(0..) {
            let name = (op.author.clone(), op.counter + place);
            tree.hang(op, name.clone(), parent.take(), is_left, place);
            characters.insert(name.clone(), character);
            (parent, is_left) = (Some(name), false);
        }
    }
    for op in ops.iter().filter(|op| op.kind == "cut") {
        for range in op.fields["ranges"].as_array().unwrap() {
            let (author, first) = name_of(&range["first"]).unwrap();
            let end = first + range["count"].as_u64().unwrap();
            characters.retain(|(by, counter), _| *by != author || !(first..end).contains(counter));
        }
    }
    tree.walk().iter().filter_map(|name| characters.get(name)).collect()
}

fn list(ops: &[Op]) -> Vec<Value> {
    let mut tree = Tree::default();
    // The place at which each element stands: that of its insert, or of its last move.
    let mut stands: BTreeMap<Name, (Option<Order>, Name)> = BTreeMap::new();
    let mut elements: BTreeMap<Name, Name> = BTreeMap::new();
    for op in ops.iter().filter(|op| op.kind == "insert" || op.kind == "move") {
        tree.hang(op, op.name(), name_of(&op.fields["parent"]), op.fields["side"] == "left", 0);
        let (element, order) = match name_of(&op.fields["element"]) {
            Some(element) => (element, Some(op.order())),
            None => (op.name(), None),
        };
        elements.insert(op.name(), element.clone());
        let last = stands.entry(element).or_insert_with(|| (order.clone(), op.name()));
        if order >= last.0 {
            *last = (order, op.name());
        }
    }
    let deleted: BTreeSet<Name> =
        ops.iter().filter(|op| op.kind == "delete").flat_map(|op| op.names("elements")).collect();
    let places = tree.walk().into_iter().map(|place| (elements[&place].clone(), place));
    let live = places.filter(|(element, place)| stands[element].1 == *place && !deleted.contains(element));
    live.map(|(element, _)| {
        register(
            ops,
            |op| op.name() == element || name_of(&op.fields["target"]["node"]).as_ref() == Some(&element),
            &json!(""),
        )
    })
    .collect()
}

fn map(ops: &[Op]) -> BTreeMap<String, Value> {
    let puts: Vec<&Op> = ops.iter().filter(|op| op.kind == "put").collect();
    let keys: BTreeSet<&str> = puts.iter().map(|op| op.fields["key"].as_str().unwrap()).collect();
    let mut shown = BTreeMap::new();
    for key in keys {
        let of_key = |op: &&&Op| op.fields["key"] == *key;
        let removals: Vec<&Op> =
            ops.iter().filter(|op| op.kind == "remove" && op.fields["key"] == *key).collect();
        // An entry is all puts that had seen the same removals.
        let mut entries: BTreeMap<BTreeSet<Name>, Vec<&Op>> = BTreeMap::new();
        for put in puts.iter().filter(of_key) {
            entries.entry(put.names("removals")).or_default().push(put);
        }
        let mut live = Vec::new();
        for puts in entries.into_values() {
            let names: BTreeSet<Name> = puts.iter().map(|put| put.name()).collect();
            let is_inside = |op: &Op| {
                names.contains(&op.name())
                    || name_of(&op.fields["target"]["node"]).is_some_and(|node| names.contains(&node))
            };
            let is_live = ops
                .iter()
                .filter(|op| is_inside(op))
                .any(|touch| !removals.iter().any(|removal| removal.past.contains(&touch.digest)));
            if is_live {
                let last = puts.iter().map(|put| put.order()).max().unwrap();
                live.push((last, register(ops, is_inside, &Value::Null)));
            }
        }
        live.sort_by(|a, b| a.0.cmp(&b.0));
        shown.extend(live.pop().map(|(_, value)| (key.to_owned(), value)));
    }
    shown
}

fn count(ops: &[Op]) -> i64 {
    let sum: i128 = ops
        .iter()
        .filter(|op| op.kind == "add")
        .map(|op| i128::from(op.fields["delta"].as_i64().unwrap()))
        .sum();
    i64::try_from(sum.clamp(i64::MIN.into(), i64::MAX.into())).unwrap()
}

/// Of the values that some ops write and that none overwrites, the last in the register's order.
fn register(ops: &[Op], writes: impl Fn(&Op) -> bool, default: &Value) -> Value {
    let overwritten: BTreeSet<Name> = ops.iter().flat_map(|op| op.names("overwrites")).collect();
    let left = ops.iter().filter(|op| writes(op) && !overwritten.contains(&op.name()));
    left.max_by_key(|op| op.order()).map_or_else(|| default.clone(), |op| op.fields["value"].clone())
}

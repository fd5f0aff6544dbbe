//! A team of replicas of a document that holds every kind of node inside every other, and what they do to it:
//! edits one by one, in transactions, late, given up, inside what others remove, in any order of delivery.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeSet;

use bft_json_crdt::counter_crdt::CounterCrdt;
use bft_json_crdt::json_crdt::{
    BaseCrdt, Change, Conflict, CrdtNode, DocumentId, EditError, JsonCrdt, JsonValue, NoEffect, OpState,
    SignError, UnsignedOp, VersionVector, add_crdt_fields,
};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::text_crdt::TextCrdt;
use proptest::prelude::*;
use serde_json::json;

/// A document, and each of its parts.
#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
pub(crate) struct Item {
    pub(crate) name: LwwRegisterCrdt<String>,
    pub(crate) body: TextCrdt,
    pub(crate) votes: CounterCrdt,
    pub(crate) tags: ListCrdt<LwwRegisterCrdt<String>>,
    pub(crate) kids: ListCrdt<Item>,
    pub(crate) parts: MapCrdt<Item>,
    pub(crate) any: JsonCrdt,
}

pub(crate) const DOCUMENT: DocumentId = DocumentId([7; 32]);
pub(crate) const KEYS: [&str; 2] = ["a", "b"];

/// What an edit does to the item that it is made in. Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Name(u8),
    Type(u8, u8),
    Cut(u8, u8),
    Splice(u8, u8, u8),
    Vote(i8),
    TagAdd(u8),
    TagSet(u8, u8),
    TagDelete(u8),
    TagMove(u8, u8),
    KidAdd(u8, u8),
    KidDelete(u8),
    KidMove(u8, u8),
    KidMoveAfter(u8, u8),
    Put(u8, u8),
    Remove(u8),
    JsonPut(u8, u8),
    JsonRemove(u8),
    JsonEdit(u8, u8, u8),
}

/// One step of one replica. Numbers lead to items as in [`Act`].
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// An edit, signed at once; or part of the transaction, if one is open.
    Edit {
        who: usize,
        walk: Vec<u8>,
        act: Act,
    },
    /// An edit that is signed or given up by a later step.
    Make {
        who: usize,
        walk: Vec<u8>,
        act: Act,
    },
    /// Signs the edit that has waited longest, or gives it up.
    Settle {
        who: usize,
        sign: bool,
    },
    /// Remembers an item, to be edited also when it is gone: a walk of 255 leads there.
    Keep {
        who: usize,
        walk: Vec<u8>,
    },
    Begin(usize),
    Commit(usize),
    RollBack(usize),
    /// One replica gets some of what another knows, shuffled and with repeats, singly or as a batch.
    Deliver {
        from: usize,
        to: usize,
        seed: u64,
        batch: bool,
    },
    /// The author edits on another device, and hears of it here.
    Elsewhere {
        who: usize,
        act: Act,
    },
}

/// Which kinds of nodes a history is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Focus {
    Register,
    Text,
    Counter,
    List,
    Map,
    Json,
    All,
}

pub(crate) fn acts(focus: Focus) -> impl Strategy<Value = Act> {
    let n = any::<u8>;
    let on = move |focuses: &[Focus]| u32::from(focus == Focus::All || focuses.contains(&focus));
    let rare = |weight: u32| weight.max(1);
    prop_oneof![
        rare(8 * on(&[Focus::Register])) => (0u8..4).prop_map(Act::Name),
        rare(10 * on(&[Focus::Text])) => (n(), n()).prop_map(|(a, b)| Act::Type(a, b)),
        rare(6 * on(&[Focus::Text])) => (n(), n()).prop_map(|(a, b)| Act::Cut(a, b)),
        rare(2 * on(&[Focus::Text])) => (n(), n(), n()).prop_map(|(a, b, c)| Act::Splice(a, b, c)),
        rare(6 * on(&[Focus::Counter])) => any::<i8>().prop_map(Act::Vote),
        rare(4 * on(&[Focus::List])) => n().prop_map(Act::TagAdd),
        rare(2 * on(&[Focus::List])) => (n(), n()).prop_map(|(a, b)| Act::TagSet(a, b)),
        rare(2 * on(&[Focus::List])) => n().prop_map(Act::TagDelete),
        rare(4 * on(&[Focus::List])) => (n(), n()).prop_map(|(a, b)| Act::TagMove(a, b)),
        rare(8 * on(&[Focus::List])) => (n(), n()).prop_map(|(a, b)| Act::KidAdd(a, b)),
        rare(4 * on(&[Focus::List])) => n().prop_map(Act::KidDelete),
        rare(5 * on(&[Focus::List])) => (n(), n()).prop_map(|(a, b)| Act::KidMove(a, b)),
        rare(5 * on(&[Focus::List])) => (n(), n()).prop_map(|(a, b)| Act::KidMoveAfter(a, b)),
        rare(8 * on(&[Focus::Map])) => (n(), n()).prop_map(|(a, b)| Act::Put(a, b)),
        rare(5 * on(&[Focus::Map])) => n().prop_map(Act::Remove),
        rare(7 * on(&[Focus::Json])) => (n(), n()).prop_map(|(a, b)| Act::JsonPut(a, b)),
        rare(3 * on(&[Focus::Json])) => n().prop_map(Act::JsonRemove),
        rare(8 * on(&[Focus::Json])) => (n(), n(), n()).prop_map(|(a, b, c)| Act::JsonEdit(a, b, c)),
    ]
}

pub(crate) fn steps(replicas: usize, focus: Focus, most: usize) -> impl Strategy<Value = Vec<Step>> {
    let who = 0..replicas;
    let walk = prop::collection::vec(prop_oneof![5 => 0u8..8, 2 => Just(255)], 0..3);
    let edit = || (who.clone(), walk.clone(), acts(focus));
    let step = prop_oneof![
        14 => edit().prop_map(|(who, walk, act)| Step::Edit { who, walk, act }),
        2 => edit().prop_map(|(who, walk, act)| Step::Make { who, walk, act }),
        2 => (who.clone(), any::<bool>()).prop_map(|(who, sign)| Step::Settle { who, sign }),
        2 => (who.clone(), walk.clone()).prop_map(|(who, walk)| Step::Keep { who, walk }),
        3 => who.clone().prop_map(Step::Begin),
        2 => who.clone().prop_map(Step::Commit),
        1 => who.clone().prop_map(Step::RollBack),
        6 => (who.clone(), who.clone(), any::<u64>(), any::<bool>())
            .prop_map(|(from, to, seed, batch)| Step::Deliver { from, to, seed, batch }),
        1 => (who.clone(), acts(focus)).prop_map(|(who, act)| Step::Elsewhere { who, act }),
    ];
    prop::collection::vec(step, 1..most)
}

pub(crate) struct Replica {
    pub(crate) key: Keypair,
    pub(crate) base: BaseCrdt<Item>,
    /// All that it knows, in the order in which it learned it.
    pub(crate) log: Vec<Change>,
    waiting: Vec<UnsignedOp>,
    kept: Option<Item>,
    is_open: bool,
    /// The transaction's edits were taken back when the author's chain moved on.
    is_overtaken: bool,
    /// Edits that had waited since before the transaction were signed or given up in it.
    is_mixed: bool,
    /// The view, as the patches make it.
    mirror: Option<JsonValue>,
}

impl Replica {
    pub(crate) fn new(index: usize, document: DocumentId, watches: bool) -> Self {
        let key = Keypair::from_seed(&[index as u8 + 1; 32]);
        let mut base = BaseCrdt::with_document(&key, document);
        let mirror = watches.then(|| {
            base.watch();
            CrdtNode::view(&base.doc)
        });
        let (log, waiting) = (Vec::new(), Vec::new());
        Self {
            key,
            base,
            log,
            waiting,
            kept: None,
            is_open: false,
            is_overtaken: false,
            is_mixed: false,
            mirror,
        }
    }

    /// The patches since the last call make the view out of what it was then.
    pub(crate) fn check_patches(&mut self, what: &dyn std::fmt::Debug) {
        let Some(mirror) = &mut self.mirror else { return };
        let before = mirror.clone();
        let patches = self.base.take_patches();
        for patch in &patches {
            assert!(
                patch.apply(mirror),
                "{patch:?} does not fit {mirror}: {patches:?} on {before}, {what:?}"
            );
        }
        let view = CrdtNode::view(&self.base.doc);
        assert_eq!(mirror.to_string(), view.to_string(), "{patches:?} on {before}, {what:?}");
    }

    fn item(&self, walk: &[u8]) -> Item {
        let mut item = self.base.doc.clone();
        for step in walk {
            if *step == 255 {
                item = self.kept.clone().unwrap_or(item);
                continue;
            }
            let below = if step % 2 == 0 {
                let kids = &item.kids;
                kids.get(usize::from(*step) / 2 % kids.len().max(1)).cloned()
            } else {
                item.parts.get(KEYS[usize::from(*step) / 2 % 2])
            };
            item = below.unwrap_or(item);
        }
        item
    }

    fn make(&self, walk: &[u8], act: Act) -> Vec<UnsignedOp> {
        edit(&self.item(walk), act)
    }

    fn record(&mut self, changes: Vec<Change>) {
        for change in changes {
            assert!(change.verify());
            self.log.push(change);
        }
    }

    fn sign(&mut self, op: UnsignedOp, may_wait: bool) {
        match op.try_sign(&self.key) {
            Ok(op) => {
                assert_eq!(self.base.apply(op.clone()), OpState::Ok);
                self.record(vec![op.into_change()]);
            }
            // The edit was taken back, and a later one, or one of a copy, went before it.
            Err(SignError::ChainMoved) => assert!(may_wait || !self.waiting.is_empty()),
            // What it builds on waits still, or was given up.
            Err(SignError::BuildsOnUnsigned) => assert!(!self.waiting.is_empty() || self.kept.is_some()),
            // A remembered item may be gone for good.
            Err(SignError::Edit(EditError::DoesNotFit(NoEffect::NoSuchNode))) => assert!(self.kept.is_some()),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Edit { walk, act, .. } => {
                for op in self.make(walk, *act) {
                    if self.is_open { op.keep().unwrap_or(()) } else { self.sign(op, false) }
                }
            }
            Step::Make { walk, act, .. } => {
                let made = self.make(walk, *act);
                if self.is_open {
                    made.into_iter().for_each(|op| op.keep().unwrap_or(()));
                } else {
                    self.waiting.extend(made);
                }
            }
            Step::Settle { sign, .. } => {
                if !self.waiting.is_empty() {
                    let op = self.waiting.remove(0);
                    self.is_mixed |= self.is_open;
                    if *sign { self.sign(op, true) } else { drop(op) }
                }
            }
            Step::Keep { walk, .. } => self.kept = Some(self.item(walk)),
            Step::Begin(_) => {
                if !self.is_open {
                    self.base.begin();
                    (self.is_open, self.is_overtaken, self.is_mixed) = (true, false, false);
                }
            }
            Step::Commit(_) => self.commit(),
            Step::RollBack(_) => {
                self.base.roll_back();
                self.is_open = false;
            }
            Step::Elsewhere { act, .. } => self.edit_elsewhere(*act),
            Step::Deliver { .. } => {}
        }
    }

    fn commit(&mut self) {
        let edits = self.base.open_edits();
        let waits = !self.waiting.is_empty();
        let outcome = self.base.commit(&self.key);
        match outcome {
            Ok(changes) => {
                assert!(self.is_open);
                assert!(!self.is_overtaken, "edits were taken back, and the rest was signed: {changes:?}");
                assert_eq!(changes.is_empty(), edits == 0);
                assert!(changes.len() <= 1 || self.base.document() == DocumentId::DEFAULT);
                for change in &changes {
                    assert_eq!(self.base.apply_changes(vec![change.clone()]).states, [OpState::AlreadySeen]);
                }
                self.record(changes);
            }
            Err(SignError::NoTransaction) => assert!(!self.is_open),
            Err(SignError::ChainMoved) => assert!(self.is_overtaken || self.is_mixed),
            Err(SignError::BuildsOnUnsigned) => assert!(waits || self.kept.is_some()),
            Err(error) => panic!("{error}"),
        }
        self.is_open = false;
    }

    /// The same key edits a copy of this replica, which hears of it.
    fn edit_elsewhere(&mut self, act: Act) {
        let other = self.base.clone();
        let Some(op) = edit(&other.doc, act).into_iter().next() else { return };
        let Ok(op) = op.try_sign(&self.key) else { return };
        self.is_overtaken |= self.base.open_edits() > 0;
        self.receive(vec![op.into_change()], 0, false);
    }

    pub(crate) fn receive(&mut self, mut changes: Vec<Change>, seed: u64, batch: bool) {
        shuffle(&mut changes, seed);
        let repeat = changes.len() / 3;
        changes.extend(changes.clone().into_iter().take(repeat));
        let batches: Vec<Vec<Change>> =
            if batch { vec![changes] } else { changes.into_iter().map(|c| vec![c]).collect() };
        for batch in batches {
            let outcome = self.base.apply_changes(batch);
            assert!(outcome.states.iter().all(|state| !state.is_refused()), "{:?}", outcome.states);
            self.log.extend(outcome.applied);
        }
    }

    /// Gives up all that is not signed.
    pub(crate) fn settle(&mut self) {
        self.base.roll_back();
        self.is_open = false;
        self.waiting.clear();
    }

    /// A replica that loads what this one knows shows the same, and so does one that loads what this one tells a
    /// peer, its snapshot, and its view at the heads; given that nothing here is unsigned.
    pub(crate) fn check_reload(&self, what: &dyn std::fmt::Debug) {
        if self.is_open || !self.waiting.is_empty() {
            return;
        }
        let expected = portrait(&self.base);
        for log in [self.log.clone(), told(&self.base)] {
            let mut reloaded = BaseCrdt::<Item>::with_document(&self.key, self.base.document());
            reloaded.load(log).unwrap();
            assert_eq!(portrait(&reloaded), expected, "after {what:?}");
        }
        let past = self.base.at(&self.base.heads()).unwrap();
        assert_eq!(portrait(&past), expected, "at the heads, after {what:?}");
        let mut compact = self.base.clone();
        let opened = BaseCrdt::<Item>::open(&self.key, &compact.save().unwrap()).unwrap();
        for base in [&compact, &opened] {
            assert_eq!(portrait(base), expected, "saved, after {what:?}");
            for change in &self.log {
                assert_eq!(base.change(&change.digest()).unwrap().bytes(), change.bytes());
            }
        }
    }
}

/// Runs the steps and tells everybody everything. `check` looks at the replica after each step that it made.
pub(crate) fn run(
    replicas: usize,
    document: DocumentId,
    watches: bool,
    steps: &[Step],
    check: impl Fn(&mut Replica, &Step),
) -> Vec<Replica> {
    let mut team: Vec<Replica> = (0..replicas).map(|index| Replica::new(index, document, watches)).collect();
    for step in steps {
        let who = match step {
            Step::Deliver { from, to, seed, batch } => {
                let mut changes = team[*from].log.clone();
                shuffle(&mut changes, *seed);
                changes.truncate(changes.len() * 2 / 3 + 1);
                team[*to].receive(changes, *seed, *batch);
                *to
            }
            Step::Edit { who, .. }
            | Step::Make { who, .. }
            | Step::Settle { who, .. }
            | Step::Keep { who, .. }
            | Step::Elsewhere { who, .. }
            | Step::Begin(who)
            | Step::Commit(who)
            | Step::RollBack(who) => {
                team[*who].step(step);
                *who
            }
        };
        team[who].check_patches(step);
        check(&mut team[who], step);
    }
    for replica in &mut team {
        replica.settle();
        replica.check_patches(&"giving up");
    }
    for from in 0..replicas {
        for to in 0..replicas {
            let changes = team[from].log.clone();
            team[to].receive(changes, (from * 31 + to) as u64, from % 2 == 0);
            team[to].check_patches(&"all is told");
        }
    }
    team
}

pub(crate) fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for i in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(i, (seed >> 33) as usize % (i + 1));
    }
}

/// What a replica tells a peer that knows nothing.
fn told(base: &BaseCrdt<Item>) -> Vec<Change> {
    let mut holdings = base.holdings(&VersionVector::new(), &[], &BTreeSet::new(), None);
    base.missing(&mut holdings, usize::MAX, usize::MAX).into_iter().map(|missing| missing.change).collect()
}

/// All that a replica shows of a document: the view, the conflicts at every node, the heads.
pub(crate) fn portrait(base: &BaseCrdt<Item>) -> String {
    let mut out = CrdtNode::view(&base.doc).to_string();
    out += &format!("\nheads {:?}", base.heads());
    paint(&base.doc, "", &mut out);
    out
}

fn paint(item: &Item, path: &str, out: &mut String) {
    let mut note = |what: String, conflicts: Vec<Conflict>| {
        if !conflicts.is_empty() {
            *out += &format!("\n{path}{what}: {conflicts:?}");
        }
    };
    note("name".into(), item.name.conflicts());
    for (at, tag) in item.tags.iter().enumerate() {
        note(format!("tags.{at}"), tag.conflicts());
    }
    let gone = [item.kids.conflicts(), item.tags.conflicts()].concat();
    note("gone".into(), gone.into_iter().map(|(_, conflict)| conflict).collect());
    for key in KEYS {
        note(format!("parts.{key}"), item.parts.conflicts(key));
    }
    paint_json(&item.any, &format!("{path}any."), out);
    for key in item.parts.keys() {
        paint(&item.parts.get(&key).unwrap(), &format!("{path}parts.{key}."), out);
    }
    for (at, kid) in item.kids.iter().enumerate() {
        *out += &format!("\n{path}kids.{at}: {:?}", item.kids.id_at(at).unwrap());
        paint(&kid, &format!("{path}kids.{at}."), out);
    }
}

fn paint_json(value: &JsonCrdt, path: &str, out: &mut String) {
    if let Some(map) = value.as_map() {
        for key in map.keys().iter().map(String::as_str).chain(KEYS) {
            let conflicts = map.conflicts(key);
            if !conflicts.is_empty() {
                *out += &format!("\n{path}{key}: {conflicts:?}");
            }
        }
        map.keys().iter().for_each(|key| paint_json(&map.get(key).unwrap(), &format!("{path}{key}."), out));
    } else if let Some(list) = value.as_list() {
        *out += &format!("\n{path}gone: {:?}", list.conflicts());
        list.iter().for_each(|value| paint_json(&value, path, out));
    } else if let Some(register) = value.as_register() {
        *out += &format!("\n{path}: {:?}", register.conflicts());
    }
}

/// What an item may begin with.
fn item_content(n: u8) -> serde_json::Value {
    match n % 4 {
        0 => json!({"name": "plain"}),
        1 => json!({"name": "full", "body": "text", "votes": n, "tags": ["x", "y"], "any": {"a": [1, "s"]}}),
        2 => {
            json!({"parts": {"a": {"name": "inner", "tags": ["z"]}}, "kids": [{"name": "kid"}, {"body": "b"}]})
        }
        _ => json!({}),
    }
}

/// A JSON value of each kind.
fn json_content(n: u8) -> JsonValue {
    match n % 6 {
        0 => JsonValue::Text("text".into()),
        1 => JsonValue::from(json!([1, {"a": "x"}])),
        2 => JsonValue::from(json!({"a": 1, "b": {"a": []}})),
        3 => JsonValue::from(json!({})),
        4 => JsonValue::from("scalar"),
        _ => JsonValue::from(i64::from(n)),
    }
}

fn characters(n: u8) -> &'static str {
    ["a", "b", "cd", "ß", "🐕", "xyz"][usize::from(n) % 6]
}

fn at(n: u8, len: usize) -> usize {
    usize::from(n) % len.max(1)
}

fn key(n: u8) -> &'static str {
    KEYS[usize::from(n) % 2]
}

/// Makes an edit, if there is what it is about; a splice makes two.
pub(crate) fn edit(item: &Item, act: Act) -> Vec<UnsignedOp> {
    let one = |op: Result<UnsignedOp, EditError>| op.into_iter().collect::<Vec<_>>();
    let (tags, kids, body) = (&item.tags, &item.kids, &item.body);
    match act {
        Act::Name(n) => one(item.name.try_set(format!("{n}"))),
        Act::Type(position, n) => one(body.try_insert(at(position, body.len() + 1), characters(n))),
        Act::Cut(position, count) => cut(body, position, count),
        Act::Splice(position, count, n) => {
            let from = at(position, body.len() + 1);
            body.splice(from, at(count, body.len() - from + 1), characters(n))
        }
        Act::Vote(n) => one(item.votes.try_add(n.into())),
        Act::TagAdd(n) => one(Ok(tags.insert_idx(at(n, tags.len() + 1), format!("t{n}")))),
        Act::TagSet(n, value) => match tags.get(at(n, tags.len())) {
            Some(tag) => one(tag.try_set(format!("{value}"))),
            None => Vec::new(),
        },
        Act::TagDelete(n) if !tags.is_empty() => one(Ok(tags.delete_idx(at(n, tags.len())))),
        Act::TagMove(from, to) if !tags.is_empty() => {
            one(Ok(tags.move_idx(at(from, tags.len()), at(to, tags.len()))))
        }
        Act::KidAdd(n, content) => one(Ok(kids.insert_idx(at(n, kids.len() + 1), item_content(content)))),
        Act::KidDelete(n) if !kids.is_empty() => one(Ok(kids.delete_idx(at(n, kids.len())))),
        Act::KidMove(from, to) if !kids.is_empty() => {
            one(Ok(kids.move_idx(at(from, kids.len()), at(to, kids.len()))))
        }
        Act::KidMoveAfter(which, after) if !kids.is_empty() => {
            let after = match at(after, kids.len() + 1) {
                0 => bft_json_crdt::ROOT_ID,
                n => kids.id_at(n - 1).unwrap(),
            };
            one(Ok(kids.move_after(kids.id_at(at(which, kids.len())).unwrap(), after)))
        }
        Act::Put(n, content) => one(item.parts.try_put(key(n), item_content(content))),
        Act::Remove(n) => one(item.parts.try_remove(key(n))),
        Act::JsonPut(n, content) => one(Ok(item.any.put(key(n), json_content(content)))),
        Act::JsonRemove(n) if item.any.at(key(n)).is_some() => one(Ok(item.any.remove(key(n)))),
        Act::JsonEdit(n, a, b) => item.any.at(key(n)).map_or(Vec::new(), |value| edit_json(&value, a, b)),
        Act::TagDelete(_)
        | Act::TagMove(..)
        | Act::KidDelete(_)
        | Act::KidMove(..)
        | Act::KidMoveAfter(..)
        | Act::JsonRemove(_) => Vec::new(),
    }
}

fn cut(text: &TextCrdt, position: u8, count: u8) -> Vec<UnsignedOp> {
    if text.is_empty() {
        return Vec::new();
    }
    let from = at(position, text.len());
    vec![text.cut(from, 1 + at(count, text.len() - from))]
}

fn edit_json(value: &JsonCrdt, a: u8, b: u8) -> Vec<UnsignedOp> {
    if let Some(text) = value.as_text() {
        return if a.is_multiple_of(3) {
            cut(&text, a, b)
        } else {
            vec![text.insert(at(a, text.len() + 1), characters(b))]
        };
    }
    if let Some(list) = value.as_list() {
        let len = list.len();
        return match (a % 4, len) {
            (0, 1..) => vec![list.delete_idx(at(b, len))],
            (1, 1..) => vec![list.move_idx(at(b, len), at(b / 8, len))],
            (2, 1..) => edit_json(&list[at(b, len)], a / 4, b),
            _ => vec![list.insert_idx(at(b, len + 1), json_content(a / 4))],
        };
    }
    if value.as_register().is_some() {
        return vec![value.set(i64::from(b))];
    }
    match (value.at(key(a)), a % 4) {
        (Some(_), 0) => vec![value.remove(key(a))],
        (Some(inner), 1) => edit_json(&inner, a / 4, b),
        _ => vec![value.put(key(a), json_content(b))],
    }
}

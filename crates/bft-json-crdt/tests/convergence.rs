//! Replicas that hold the same authentic, valid changes show byte-identical documents, whatever the order,
//! the duplication and the batching in which they arrived, and although some authors lie.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use std::collections::BTreeSet;

use bft_json_crdt::counter_crdt::CounterCrdt;
use bft_json_crdt::json_crdt::{
    BaseCrdt, Change, CrdtNode, DocumentId, JsonValue, OpState, SignedOp, UnsignedOp, VersionVector,
    add_crdt_fields,
};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::text_crdt::TextCrdt;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Card {
    title: LwwRegisterCrdt<String>,
    points: LwwRegisterCrdt<i64>,
    tags: ListCrdt<LwwRegisterCrdt<String>>,
    votes: CounterCrdt,
    notes: TextCrdt,
}

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Board {
    cards: ListCrdt<Card>,
    people: MapCrdt<Card>,
    names: MapCrdt<LwwRegisterCrdt<JsonValue>>,
    title: LwwRegisterCrdt<String>,
    body: TextCrdt,
}

/// What a replica does next.
#[derive(Clone, Debug)]
enum Step {
    Insert(usize, Index, u8),
    Delete(usize, Index),
    Points(usize, Index, i64),
    Rename(usize, Index, u8),
    Tag(usize, Index, Index),
    Vote(usize, Index, i64),
    Title(usize, u8),
    Put(usize, u8, i64),
    Remove(usize, u8),
    Inside(usize, u8, i64),
    /// Types into the board's text, or into that of a card or of an entry.
    Type(usize, Index, u8),
    Cut(usize, Index, u8),
    Move(usize, Index, Index),
    /// Some edits in one transaction, between which a delivery may come, committed or rolled back.
    Transact(usize, usize, u64, [u8; 3], bool),
    /// One replica gets some of another's changes, shuffled and with repeats, singly or as a batch.
    Deliver(usize, usize, u64, bool),
    /// Edits that are made before a delivery and signed after it.
    Late(usize, usize, u64, u8),
    /// An edit that is made and given up.
    GiveUp(usize, u8),
    /// The author forgets its last changes and goes on from an older copy: equivocation.
    Equivocate(usize, u8),
}

fn steps(replicas: usize, liars: bool) -> impl Strategy<Value = Vec<Step>> {
    let who = 0..replicas;
    let key = 0u8..3;
    let any_index = any::<Index>;
    let honest = prop_oneof![
        4 => (who.clone(), any_index(), any::<u8>()).prop_map(|(r, i, n)| Step::Insert(r, i, n)),
        2 => (who.clone(), any_index()).prop_map(|(r, i)| Step::Delete(r, i)),
        4 => (who.clone(), any_index(), any::<i64>()).prop_map(|(r, i, n)| Step::Points(r, i, n)),
        2 => (who.clone(), any_index(), 0u8..4).prop_map(|(r, i, n)| Step::Rename(r, i, n)),
        3 => (who.clone(), any_index(), any_index()).prop_map(|(r, i, j)| Step::Tag(r, i, j)),
        2 => (who.clone(), any_index(), -3i64..4).prop_map(|(r, i, n)| Step::Vote(r, i, n)),
        1 => (who.clone(), any::<u8>()).prop_map(|(r, n)| Step::Title(r, n)),
        3 => (who.clone(), key.clone(), any::<i64>()).prop_map(|(r, k, n)| Step::Put(r, k, n)),
        2 => (who.clone(), key.clone()).prop_map(|(r, k)| Step::Remove(r, k)),
        2 => (who.clone(), key.clone(), any::<i64>()).prop_map(|(r, k, n)| Step::Inside(r, k, n)),
        4 => (who.clone(), any_index(), any::<u8>()).prop_map(|(r, i, n)| Step::Type(r, i, n)),
        3 => (who.clone(), any_index(), any::<u8>()).prop_map(|(r, i, n)| Step::Cut(r, i, n)),
        4 => (who.clone(), any_index(), any_index()).prop_map(|(r, i, j)| Step::Move(r, i, j)),
        4 => (who.clone(), who.clone(), any::<u64>(), any::<[u8; 3]>(), prop::bool::weighted(0.8))
            .prop_map(|(a, b, seed, kinds, ends)| Step::Transact(a, b, seed, kinds, ends)),
        1 => (who.clone(), any::<u8>()).prop_map(|(r, n)| Step::GiveUp(r, n)),
        4 => (who.clone(), who.clone(), any::<u64>(), any::<u8>())
            .prop_map(|(a, b, seed, kind)| Step::Late(a, b, seed, kind)),
        6 => (who.clone(), who.clone(), any::<u64>(), any::<bool>())
            .prop_map(|(a, b, seed, batch)| Step::Deliver(a, b, seed, batch)),
    ];
    let step = prop_oneof![
        12 => honest,
        if liars { 1 } else { 0 } => (who, 1u8..4).prop_map(|(r, n)| Step::Equivocate(r, n)),
    ];
    prop::collection::vec(step, 1..60)
}

struct Replica {
    key: Keypair,
    base: BaseCrdt<Board>,
    /// All that it knows, in the order in which it learned it.
    log: Vec<Change>,
    /// Copies of the document from before each own change.
    copies: Vec<(BaseCrdt<Board>, usize)>,
    lies: bool,
    /// The view of a replica that is watched, as the patches make it.
    mirror: Option<JsonValue>,
    /// Whether it is asked for its content again and again.
    keeps_content: bool,
}

impl Replica {
    fn new(index: usize, document: DocumentId, lies: bool) -> Self {
        let key = Keypair::from_seed(&[index as u8 + 1; 32]);
        let mut base = BaseCrdt::with_document(&key, document);
        let mirror = (index == 0).then(|| {
            base.watch();
            CrdtNode::view(&base.doc)
        });
        Self { base, key, log: Vec::new(), copies: Vec::new(), lies, mirror, keeps_content: index < 2 }
    }

    /// The patches since the last call make the view out of what it was then.
    fn check_patches(&mut self) {
        if self.keeps_content {
            assert_eq!(self.base.content().to_string(), CrdtNode::view(&self.base.doc).to_string());
        }
        let Some(mirror) = &mut self.mirror else { return };
        let patches = self.base.take_patches();
        assert!(patches.iter().all(|patch| patch.apply(mirror)), "{patches:?}");
        assert_eq!(mirror.to_string(), CrdtNode::view(&self.base.doc).to_string(), "{patches:?}");
    }

    fn sign(&mut self, edit: impl FnOnce(&Board) -> Option<UnsignedOp>) {
        if self.lies {
            self.copies.push((self.base.clone(), self.log.len()));
        }
        let Some(edit) = edit(&self.base.doc) else { return };
        let Ok(op) = edit.try_sign(&self.key) else { return };
        assert_eq!(self.base.apply(op.clone()), OpState::Ok);
        let op: SignedOp = serde_json::from_str(&serde_json::to_string(&op).unwrap()).unwrap();
        self.log.push(op.into_change());
    }

    /// The text that a step is about.
    fn text(&self, at: Index, n: u8) -> TextCrdt {
        let board = &self.base.doc;
        let card = match n % 3 {
            0 => None,
            1 => board.cards.get(at.index(board.cards.len().max(1))).cloned(),
            _ => board.people.get("0"),
        };
        card.map_or(board.body.clone(), |card| card.notes)
    }

    fn step(&mut self, step: &Step) {
        check_index(&self.base.doc);
        match step.clone() {
            Step::Insert(_, at, n) => self.sign(|board| {
                let card = json!({"title": format!("{n}"), "points": n, "tags": ["a"], "votes": n});
                Some(board.cards.insert_idx(at.index(board.cards.len() + 1), card))
            }),
            Step::Delete(_, at) => self.sign(|board| {
                let len = board.cards.len();
                (len > 0).then(|| board.cards.delete_idx(at.index(len)))
            }),
            Step::Points(_, at, n) => self.sign(|board| {
                let len = board.cards.len();
                (len > 0).then(|| board.cards[at.index(len)].points.set(n))
            }),
            Step::Rename(_, at, n) => self.sign(|board| {
                let len = board.cards.len();
                (len > 0).then(|| board.cards[at.index(len)].title.set(format!("{n}")))
            }),
            Step::Tag(_, at, inner) => self.sign(|board| {
                let len = board.cards.len();
                let tags = &board.cards.get(at.index(len.max(1)))?.tags;
                let tag = inner.index(tags.len() + 2);
                Some(if tag >= tags.len() { tags.push(format!("t{tag}")) } else { tags[tag].set("changed") })
            }),
            Step::Vote(_, at, n) => self.sign(|board| {
                let in_map = board.people.get("0").filter(|_| n % 2 == 0);
                Some(in_map.as_ref().or(board.cards.get(at.index(board.cards.len().max(1))))?.votes.add(n))
            }),
            Step::Title(_, n) => self.sign(|board| Some(board.title.set(format!("{n}")))),
            Step::Put(_, key, n) => self.sign(|board| {
                Some(if n % 2 == 0 {
                    board
                        .people
                        .put(&format!("{key}"), json!({"title": "p", "points": n, "tags": ["x", "y"]}))
                } else {
                    board.names.put(&format!("{key}"), n)
                })
            }),
            Step::Remove(_, key) => self.sign(|board| board.people.try_remove(&format!("{key}")).ok()),
            Step::Inside(_, key, n) => {
                self.sign(|board| Some(board.people.get(&format!("{key}"))?.points.set(n)));
            }
            Step::Type(_, at, n) => {
                let text = self.text(at, n);
                let words = ["a", "bc", "d", "ef🐕", "ß"];
                self.sign(|_| Some(text.insert(at.index(text.len() + 1), words[usize::from(n) % 5])));
            }
            Step::Cut(_, at, n) => {
                let text = self.text(at, n);
                let from = at.index(text.len().max(1));
                let most = text.len() - from;
                self.sign(|_| (most > 0).then(|| text.cut(from, 1 + usize::from(n) % most)));
            }
            Step::Move(_, from, to) => self.sign(|board| {
                let len = board.cards.len();
                (len > 0).then(|| board.cards.move_idx(from.index(len), to.index(len)))
            }),
            Step::GiveUp(_, n) => {
                let before = CrdtNode::view(&self.base.doc);
                let first = self.base.doc.cards.insert_idx(0, json!({"title": "never", "points": n}));
                let second = self.base.doc.cards[0].tags.push("never");
                let third = self.base.doc.names.put("0", "never");
                let fourth = self.base.doc.people.remove("1");
                let fifth = self.base.doc.cards[0].votes.add(7);
                let sixth = self.base.doc.cards.move_idx(0, self.base.doc.cards.len() - 1);
                let seventh = self.base.doc.body.insert(0, "never");
                let eighth = self.base.doc.body.cut(2, self.base.doc.body.len() - 2);
                let ninth = self.base.doc.people.put("2", json!({"title": "never", "tags": ["never"]}));
                drop((first, second, fourth, third, fifth, eighth, seventh, sixth, ninth));
                assert_eq!(CrdtNode::view(&self.base.doc), before);
            }
            Step::Equivocate(_, back) => {
                let at = self.copies.len().checked_sub(back as usize);
                if let Some((base, known)) = at.map(|at| self.copies.swap_remove(at)) {
                    // The fork goes on from a copy that has forgotten what this author signed since; what it
                    // signed is known to all who got it.
                    let forgotten = self.log.split_off(known);
                    self.base = base;
                    if let Some(mirror) = &mut self.mirror {
                        // Its patches lead from another view to another one.
                        self.base.watch();
                        self.base.take_patches();
                        *mirror = CrdtNode::view(&self.base.doc);
                    }
                    self.copies.clear();
                    self.sign(|board| Some(board.title.set("the other story")));
                    self.sign(|board| {
                        Some(board.cards.insert_idx(0, json!({"title": "forked", "tags": ["x"]})))
                    });
                    self.sign(|board| Some(board.cards.get(0)?.points.set(-1)));
                    self.sign(|board| Some(board.people.put("1", json!({"title": "forked"}))));
                    self.sign(|board| Some(board.body.insert(board.body.len() / 2, "forked")));
                    self.sign(|board| Some(board.body.cut(0, 1)));
                    self.sign(|board| Some(board.cards.move_idx(board.cards.len() - 1, 0)));
                    for change in forgotten {
                        self.log.extend(self.base.apply_changes(vec![change]).applied);
                    }
                }
            }
            Step::Deliver(..) | Step::Late(..) | Step::Transact(..) => {}
        }
    }

    /// Two edits that are not signed yet.
    fn make(&self, kind: u8) -> Vec<UnsignedOp> {
        let board = &self.base.doc;
        let len = board.body.len();
        let one = |kind: u8| match kind % 14 {
            0 => Some(board.cards.insert_idx(0, json!({"title": "late", "tags": ["z"]}))),
            1 => Some(board.cards.push(json!({"title": "late"}))),
            2 => board.cards.get(0).map(|card| card.title.set("late")),
            3 => (!board.cards.is_empty()).then(|| board.cards.delete_idx(0)),
            4 => Some(board.people.put("0", json!({"title": "late", "tags": ["z"]}))),
            5 => board.people.try_remove("0").ok(),
            6 => board.people.get("0").map(|person| person.points.set(1)),
            7 => Some(board.body.insert(len / 2, "late")),
            8 => (len > 0).then(|| board.body.cut(len / 3, 1 + len / 4)),
            9 => board.cards.get(0).map(|card| card.notes.insert(0, "late")),
            10 => board.people.get("0").map(|person| person.notes.insert(person.notes.len(), "late")),
            11 => (!board.cards.is_empty()).then(|| board.cards.move_idx(0, board.cards.len() - 1)),
            12 => (!board.cards.is_empty()).then(|| board.cards.move_idx(board.cards.len() - 1, 0)),
            _ => Some(board.title.set("late")),
        };
        [one(kind), one(kind / 14)].into_iter().flatten().collect()
    }

    fn sign_late(&mut self, edits: Vec<UnsignedOp>) {
        for edit in edits {
            // The author's chain may have gone on elsewhere: then the edit is taken back.
            if let Ok(op) = edit.try_sign(&self.key) {
                assert_eq!(self.base.apply(op.clone()), OpState::Ok);
                self.log.push(op.into_change());
            }
        }
    }

    fn commit(&mut self) {
        if self.lies {
            self.copies.push((self.base.clone(), self.log.len()));
        }
        // What is committed is recorded; else all of it was taken back, and what arrives meanwhile may do so.
        self.log.extend(self.base.commit(&self.key).unwrap_or_default());
    }

    fn receive(&mut self, mut changes: Vec<Change>, seed: u64, batch: bool) {
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
}

fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for i in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(i, (seed >> 33) as usize % (i + 1));
    }
}

fn run(replicas: usize, document: DocumentId, steps: &[Step], liars: bool) -> Vec<Replica> {
    let mut team: Vec<Replica> = (0..replicas).map(|index| Replica::new(index, document, liars)).collect();
    for step in steps {
        match step {
            Step::Deliver(from, to, seed, batch) => {
                let mut changes = team[*from].log.clone();
                shuffle(&mut changes, *seed);
                changes.truncate(changes.len() * 2 / 3 + 1);
                team[*to].receive(changes, *seed, *batch);
            }
            Step::Late(from, to, seed, kind) => {
                let mut changes = team[*from].log.clone();
                shuffle(&mut changes, *seed);
                changes.truncate(changes.len() * 2 / 3 + 1);
                let edits = team[*to].make(*kind);
                team[*to].receive(changes, *seed, kind % 2 == 0);
                team[*to].sign_late(edits);
            }
            Step::Transact(from, to, seed, kinds, commits) => {
                team[*to].base.begin();
                for (kind, at) in kinds.iter().zip(0..) {
                    if at == 2 {
                        let mut changes = team[*from].log.clone();
                        shuffle(&mut changes, *seed);
                        changes.truncate(changes.len() * 2 / 3 + 1);
                        team[*to].receive(changes, *seed, true);
                    }
                    let edits = team[*to].make(*kind);
                    edits.into_iter().for_each(|edit| edit.keep().unwrap_or(()));
                }
                if *commits { team[*to].commit() } else { team[*to].base.roll_back() }
            }
            Step::Insert(who, ..)
            | Step::Delete(who, ..)
            | Step::Points(who, ..)
            | Step::Rename(who, ..)
            | Step::Tag(who, ..)
            | Step::Vote(who, ..)
            | Step::Title(who, ..)
            | Step::Put(who, ..)
            | Step::Remove(who, ..)
            | Step::Inside(who, ..)
            | Step::Type(who, ..)
            | Step::Cut(who, ..)
            | Step::Move(who, ..)
            | Step::GiveUp(who, ..)
            | Step::Equivocate(who, ..) => team[*who].step(step),
        }
        team[0].check_patches();
    }
    // Everybody tells everybody everything.
    for from in 0..replicas {
        for to in 0..replicas {
            let changes = team[from].log.clone();
            team[to].receive(changes, (from * 31 + to) as u64, from % 2 == 0);
            team[0].check_patches();
        }
    }
    team
}

/// What the index of a field finds is what a look at every element finds.
fn check_index(board: &Board) {
    let titles: Vec<JsonValue> = board.cards.iter().map(|card| card.title.view()).collect();
    for title in titles.iter().chain([&JsonValue::from("never"), &JsonValue::from("forked")]) {
        let found: Vec<usize> = (0..titles.len()).filter(|at| titles[*at] == *title).collect();
        assert_eq!(board.cards.find("title", title.clone()), found);
    }
    assert!(board.cards.find("tags", "a").is_empty() && board.cards.find("nope", "a").is_empty());
}

fn check_agreement(team: &[Replica]) {
    let first = &team[0];
    let mut everything: Vec<Change> = team.iter().flat_map(|replica| replica.log.clone()).collect();
    everything.sort_by_key(Change::digest);
    everything.dedup();
    let views: Vec<String> = team.iter().map(|r| CrdtNode::view(&r.base.doc).to_string()).collect();
    for (replica, view) in team.iter().zip(&views) {
        check_index(&replica.base.doc);
        assert_eq!(replica.base.causal_queue_len(), 0);
        assert_eq!(replica.base.change_count(), everything.len());
        assert_eq!(view, &views[0]);
        assert_eq!(replica.base.heads(), first.base.heads());
        assert_eq!(replica.base.version_vector(), first.base.version_vector());
        assert_eq!(replica.base.equivocations(), first.base.equivocations());
        assert_eq!(replica.base.doc.cards.conflicts(), first.base.doc.cards.conflicts());
        assert_eq!(replica.base.doc.title.conflicts(), first.base.doc.title.conflicts());
        for key in ["0", "1", "2"] {
            assert_eq!(replica.base.doc.people.conflicts(key), first.base.doc.people.conflicts(key));
            assert_eq!(replica.base.doc.names.conflicts(key), first.base.doc.names.conflicts(key));
        }
    }
    for change in &everything {
        let rebuilt = first.base.change(&change.digest()).unwrap();
        assert_eq!(rebuilt.bytes(), change.bytes(), "a change is rebuilt from its columns exactly");
        let effects = first.base.effects(change);
        assert!(team.iter().all(|replica| replica.base.effects(change) == effects));
    }
    // A restart replays a replica's own log, and a newcomer gets everything backwards.
    let document = first.base.document();
    let stranger = Keypair::from_seed(&[99; 32]);
    let mut reloaded = BaseCrdt::<Board>::with_document(&first.key, document);
    reloaded.load(first.log.clone()).unwrap();
    let mut backwards = BaseCrdt::<Board>::with_document(&stranger, document);
    for change in first.log.iter().rev() {
        assert!(!backwards.apply_changes(vec![change.clone()]).states[0].is_refused());
    }
    let mut whole = BaseCrdt::<Board>::with_document(&stranger, document);
    let _ = whole.apply_changes(first.log.iter().rev().cloned().collect());
    // Only the last change of each author carries a valid signature.
    let tips: Vec<_> = first.base.version_vector().into_values().flatten().map(|(_, tip)| tip).collect();
    let mut covered = BaseCrdt::<Board>::with_document(&stranger, document);
    let bare = first.log.iter().map(|change| {
        if tips.contains(&change.digest()) { change.clone() } else { change.with_signature([7; 64]) }
    });
    let outcome = covered.apply_changes(bare.collect());
    assert!(outcome.states.iter().all(|state| !state.is_refused()), "{:?}", outcome.states);
    // A peer loads what it is told as it comes, and a snapshot and the view at the heads hold the same.
    let mut told = BaseCrdt::<Board>::with_document(&stranger, document);
    let mut holdings = first.base.holdings(&VersionVector::new(), &[], &BTreeSet::new(), None);
    let missing = first.base.missing(&mut holdings, usize::MAX, usize::MAX);
    told.load(missing.into_iter().map(|missing| missing.change).collect()).unwrap();
    let past = first.base.at(&first.base.heads()).unwrap();
    let mut compact = first.base.clone();
    let opened = BaseCrdt::<Board>::open(&stranger, &compact.save().unwrap()).unwrap();
    for change in &everything {
        assert_eq!(compact.change(&change.digest()).unwrap().bytes(), change.bytes());
        assert_eq!(opened.change(&change.digest()).unwrap().bytes(), change.bytes());
    }
    for base in [reloaded, backwards, whole, covered, told, past, compact, opened] {
        assert_eq!(CrdtNode::view(&base.doc).to_string(), views[0]);
        assert_eq!(base.heads(), first.base.heads());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn honest_replicas_converge(steps in steps(3, false)) {
        let team = run(3, DocumentId::DEFAULT, &steps, false);
        check_agreement(&team);
        prop_assert!(team[0].base.equivocations().is_empty());
    }

    #[test]
    fn replicas_converge_although_authors_equivocate(steps in steps(3, true)) {
        check_agreement(&run(3, DocumentId::DEFAULT, &steps, true));
    }

    #[test]
    fn replicas_converge_although_authors_equivocate_in_changes_of_many_ops(steps in steps(3, true)) {
        check_agreement(&run(3, DocumentId([7; 32]), &steps, true));
    }
}

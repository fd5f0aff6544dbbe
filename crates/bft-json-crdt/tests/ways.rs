//! However a replica comes by the changes that it knows, it says the same: one by one, in a batch, as chains that one
//! signature covers, out of a bundle, out of a snapshot, after compaction; with damaged copies among them, and
//! although authors fork. For documents with every kind of node inside every other, edited in transactions, at every
//! rank, late and given up.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

#[path = "support/team.rs"]
mod team;

use bft_json_crdt::bundle::{Signatures, decode, encode, kept};
use bft_json_crdt::json_crdt::{BaseCrdt, Change, DocumentId, OpState, Rank};
use bft_json_crdt::keypair::Keypair;
use proptest::prelude::*;
use proptest::sample::Index;
use team::{Act, Focus, Item, Step, acts, edit, portrait, run, shuffle, steps};

fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

/// The first of the team is the source of this document.
fn source() -> DocumentId {
    DocumentId::of_source(&key(1).author(), "items")
}

fn fresh(document: DocumentId) -> BaseCrdt<Item> {
    BaseCrdt::with_document(&key(99), document)
}

/// All that a replica says.
fn told(base: &BaseCrdt<Item>) -> String {
    let evidence = (base.version_vector(), base.equivocations(), base.source());
    format!("{}\n{evidence:?}\n{:?}", portrait(base), base.change_count())
}

/// What the source says: at a rank, and how much it knew by then.
type Saying = (Act, u8, Index);

/// Steps of the team and what the source says meanwhile, about the same kinds of nodes.
fn with_sayings() -> impl Strategy<Value = (Vec<Step>, Vec<Saying>)> {
    let focus = prop_oneof![3 => Just(Focus::List), 3 => Just(Focus::Map), 1 => Just(Focus::Text), 1 => Just(Focus::All)];
    focus.prop_flat_map(|focus| {
        let said = prop::collection::vec((acts(focus), 0u8..3, any::<Index>()), 0..12);
        (steps(3, focus, 40), said)
    })
}

/// A history in some causal order. With `forks`, two authors have gone on from an earlier state as well; with a
/// source, it has said something at several points.
fn history(document: DocumentId, steps: &[Step], forks: bool, sayings: &[Saying], seed: u64) -> Vec<Change> {
    let team = run(3, document, false, steps, |_, _| {});
    let mut log = team[0].log.clone();
    if document == source() {
        // The source speaks on another device: concurrent to what the first of the team did there.
        let mut database = BaseCrdt::<Item>::with_document(&key(1), document);
        let mut said = Vec::new();
        database.begin();
        database.declare_source("items").keep().unwrap();
        said.extend(database.commit(&key(1)).unwrap());
        for (act, rank, until) in sayings {
            let known = until.index(log.len() + 1);
            let _ = database.apply_changes(log[..known].to_vec());
            database.begin_as([Rank::Below, Rank::Edit, Rank::Above][usize::from(*rank)]);
            edit(&database.doc, *act).into_iter().for_each(|op| op.keep().unwrap_or(()));
            said.extend(database.commit(&key(1)).unwrap());
        }
        log.extend(said);
    }
    if forks {
        for author in [2, 3] {
            let mut other = BaseCrdt::<Item>::with_document(&key(author), document);
            let _ = other.apply_changes(log[..log.len() / usize::from(author)].to_vec());
            for act in [Act::Name(9), Act::Type(3, 1), Act::KidAdd(1, 1), Act::Put(0, 1), Act::KidMove(1, 0)]
            {
                let made = other
                    .transact(&key(author), |doc| edit(doc, act).into_iter().try_for_each(|op| op.keep()));
                log.extend(made.unwrap_or_default());
            }
        }
    }
    shuffle(&mut log, seed);
    let mut ordered = fresh(document);
    let mut applied = Vec::new();
    for change in log {
        let outcome = ordered.apply_changes(vec![change]);
        assert!(!outcome.states[0].is_refused(), "{:?}", outcome.states);
        applied.extend(outcome.applied);
    }
    assert_eq!(ordered.causal_queue_len(), 0);
    applied
}

/// Takes changes in, all of them, whatever is among them that is damaged.
fn take(base: &mut BaseCrdt<Item>, changes: Vec<Change>) {
    let states = base.apply_changes(changes).states;
    assert!(states.iter().all(|state| !state.is_refused()), "{states:?}");
}

fn through_a_bundle(changes: &[Change], signatures: Signatures) -> Vec<Change> {
    let bundle = encode(changes, signatures).unwrap();
    decode(&bundle).unwrap().map(|change| change.unwrap().change).collect()
}

/// The log with the signatures that a bundle keeps; `damage` says what stands in place of the rest.
fn covered(log: &[Change], damage: impl Fn(usize) -> [u8; 64]) -> Vec<Change> {
    let kept = kept(log, Signatures::Covering);
    let pairs = log.iter().zip(kept).enumerate();
    pairs
        .map(|(n, (change, keep))| if keep { change.clone() } else { change.with_signature(damage(n)) })
        .collect()
}

fn check_all_ways(document: DocumentId, log: &[Change], half: usize, seed: u64) {
    let mut singly = fresh(document);
    for change in log {
        assert_eq!(singly.apply_changes(vec![change.clone()]).states.len(), 1);
        assert!(singly.contains(&change.digest()));
    }
    let (expected, entries) = (told(&singly), singly.history(0, usize::MAX));
    let (before, after) = log.split_at(half);
    let mut shuffled = log.to_vec();
    shuffle(&mut shuffled, seed);
    let mut ways: Vec<(&str, BaseCrdt<Item>)> = Vec::new();
    let mut way = |name, make: &dyn Fn(&mut BaseCrdt<Item>)| {
        let mut base = fresh(document);
        make(&mut base);
        ways.push((name, base));
    };
    way("a batch", &|base| take(base, log.to_vec()));
    way("a shuffled batch", &|base| take(base, shuffled.clone()));
    way("batches of three", &|base| log.chunks(3).for_each(|part| take(base, part.to_vec())));
    way("backwards", &|base| log.iter().rev().for_each(|change| take(base, vec![change.clone()])));
    way("loaded", &|base| base.load(log.to_vec()).unwrap());
    way("covered, the rest missing", &|base| take(base, covered(log, |_| [0; 64])));
    way("covered, the rest bad", &|base| {
        // Another change's signature, or any bytes.
        take(base, covered(log, |n| if n % 2 == 0 { *log[0].signature() } else { [n as u8; 64] }));
    });
    way("bad copies first", &|base| {
        for change in log {
            let _ = base.apply_changes(vec![change.with_signature([7; 64])]);
            assert!(!base.contains(&change.digest()));
        }
        assert_eq!((base.change_count(), base.causal_queue_len()), (0, 0));
        let copies = log.iter().flat_map(|change| [change.with_signature([7; 64]), change.clone()]);
        let states = base.apply_changes(copies.collect()).states;
        assert!(states.iter().step_by(2).all(|state| *state != OpState::MissingCausalDependencies));
    });
    way("a bundle of all", &|base| take(base, through_a_bundle(log, Signatures::All)));
    way("a covering bundle", &|base| take(base, through_a_bundle(log, Signatures::Covering)));
    way("two bundles", &|base| {
        take(base, through_a_bundle(before, Signatures::Covering));
        take(base, through_a_bundle(after, Signatures::Covering));
    });
    way("a snapshot", &|base| {
        take(base, before.to_vec());
        let snapshot = base.save().unwrap();
        let opened: BaseCrdt<Item> = BaseCrdt::open(&key(99), &snapshot).unwrap();
        assert_eq!(told(&opened), told(base));
        *base = opened;
        after.iter().for_each(|change| take(base, vec![change.clone()]));
        *base = BaseCrdt::open(&key(99), &base.save().unwrap()).unwrap();
    });
    way("a snapshot of covered chains", &|base| {
        take(base, covered(before, |_| [0; 64]));
        *base = BaseCrdt::open(&key(99), &base.save().unwrap()).unwrap();
        take(base, covered(after, |_| [1; 64]));
    });
    way("compacted", &|base| {
        for part in log.chunks(half.max(1)) {
            take(base, part.to_vec());
            base.compact().unwrap();
        }
    });
    for (name, mut base) in ways {
        assert_eq!(told(&base), expected, "{name}");
        assert_eq!(base.causal_queue_len(), 0, "{name}");
        for change in log {
            assert_eq!(base.change(&change.digest()).unwrap().bytes(), change.bytes(), "{name}");
            // What it vouches for has its own signature, which others can check.
            let digest = change.digest();
            assert!(!base.is_vouched(&digest) || base.change(&digest).unwrap().verify(), "{name}");
        }
        let again = base.apply_changes(log.to_vec()).states;
        assert!(again.iter().all(|state| *state == OpState::AlreadySeen), "{name}: {again:?}");
        assert_eq!(told(&base), expected, "{name}, told again");
        let mut listed = base.history(0, usize::MAX);
        let mut expected = entries.clone();
        listed.sort_by_key(|entry| entry.digest);
        expected.sort_by_key(|entry| entry.digest);
        assert_eq!(listed, expected, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_document_of_many_ops(steps in steps(3, Focus::All, 60), forks: bool, half: Index, seed: u64) {
        let document = team::DOCUMENT;
        let log = history(document, &steps, forks, &[], seed);
        check_all_ways(document, &log, half.index(log.len() + 1), seed);
    }

    #[test]
    fn a_document_that_follows_a_source(
        (steps, sayings) in with_sayings(), forks: bool, half: Index, seed: u64,
    ) {
        let log = history(source(), &steps, forks, &sayings, seed);
        check_all_ways(source(), &log, half.index(log.len() + 1), seed);
    }

    #[test]
    fn the_default_document(steps in steps(3, Focus::All, 40), forks: bool, half: Index, seed: u64) {
        let log = history(DocumentId::DEFAULT, &steps, forks, &[], seed);
        check_all_ways(DocumentId::DEFAULT, &log, half.index(log.len() + 1), seed);
    }
}

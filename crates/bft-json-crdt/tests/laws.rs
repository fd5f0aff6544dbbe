//! The laws of every type: whatever the order, the batches and the repeats in which the same changes arrive, the
//! same document comes of them, with the same conflicts and heads.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use bft_json_crdt::json_crdt::{BaseCrdt, Change};
use bft_json_crdt::keypair::Keypair;
use proptest::prelude::*;

#[path = "support/team.rs"]
mod team;
use team::{DOCUMENT, Focus, Item, Replica, Step, portrait, run, shuffle, steps};

/// Commutative, associative and idempotent.
fn assert_laws(steps: &[Step], seed: u64) {
    let team = run(3, DOCUMENT, false, steps, |replica, step| {
        if matches!(step, Step::Commit(_) | Step::RollBack(_) | Step::Settle { .. } | Step::Elsewhere { .. })
        {
            replica.check_reload(step);
        }
    });
    let expected = portrait(&team[0].base);
    for replica in &team {
        assert_eq!(portrait(&replica.base), expected);
        assert_eq!(replica.base.causal_queue_len(), 0);
    }
    let all = &team[0].log;
    assert_eq!(team[0].base.change_count(), all.len());
    for round in 0..3 {
        let seed = seed.wrapping_add(round);
        // Any causal order.
        let mut changes = all.clone();
        shuffle(&mut changes, seed);
        let mut newcomer = newcomer();
        let ordered = causal_order(changes.clone());
        newcomer.load(ordered.clone()).unwrap();
        assert_eq!(portrait(&newcomer), expected, "a causal order");
        // Any batches of any order at all, with repeats.
        let mut newcomer = Replica::new(8, DOCUMENT, false);
        let mut rest = &changes[..];
        let mut size = seed;
        while !rest.is_empty() {
            size = size.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (batch, behind) = rest.split_at((1 + (size >> 33) as usize % 9).min(rest.len()));
            newcomer.receive(batch.to_vec(), seed, true);
            rest = behind;
        }
        newcomer.receive(changes, seed, false);
        assert_eq!(portrait(&newcomer.base), expected, "any batches");
    }
}

fn newcomer() -> BaseCrdt<Item> {
    BaseCrdt::with_document(&Keypair::from_seed(&[9; 32]), DOCUMENT)
}

/// Puts each change behind those that it stands on, and else leaves the order as it is.
fn causal_order(changes: Vec<Change>) -> Vec<Change> {
    let (mut known, mut ordered, mut rest) = (std::collections::BTreeSet::new(), Vec::new(), changes);
    while !rest.is_empty() {
        let before = rest.len();
        rest.retain(|change| {
            let is_ready = change.prev().iter().chain(change.deps()).all(|named| known.contains(named));
            if is_ready {
                known.insert(change.digest());
                ordered.push(change.clone());
            }
            !is_ready
        });
        assert!(rest.len() < before);
    }
    ordered
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn registers_obey_the_laws(steps in steps(3, Focus::Register, 40), seed in any::<u64>()) {
        assert_laws(&steps, seed);
    }

    #[test]
    fn texts_obey_the_laws(steps in steps(3, Focus::Text, 60), seed in any::<u64>()) {
        assert_laws(&steps, seed);
    }

    #[test]
    fn counters_obey_the_laws(steps in steps(3, Focus::Counter, 40), seed in any::<u64>()) {
        assert_laws(&steps, seed);
    }

    #[test]
    fn lists_obey_the_laws(steps in steps(3, Focus::List, 60), seed in any::<u64>()) {
        assert_laws(&steps, seed);
    }

    #[test]
    fn maps_obey_the_laws(steps in steps(3, Focus::Map, 60), seed in any::<u64>()) {
        assert_laws(&steps, seed);
    }

    #[test]
    fn json_of_any_kind_obeys_the_laws(steps in steps(3, Focus::Json, 60), seed in any::<u64>()) {
        assert_laws(&steps, seed);
    }

    #[test]
    fn all_types_inside_each_other_obey_the_laws(steps in steps(3, Focus::All, 60), seed in any::<u64>()) {
        assert_laws(&steps, seed);
    }
}

/// One author's run at a place of a text and of a list: letter by letter, each behind the one before or before it.
fn write_run(replica: &mut Replica, at: usize, run: &[char], is_backwards: bool, is_one_change: bool) {
    let mut changes = Vec::new();
    replica.base.begin();
    for (n, letter) in run.iter().enumerate() {
        let to = if is_backwards { at } else { at + n };
        let letter = letter.to_string();
        replica.base.doc.body.insert(to, &letter).keep().unwrap();
        replica.base.doc.tags.insert_idx(to, letter).keep().unwrap();
        if !is_one_change {
            changes.extend(replica.base.commit(&replica.key).unwrap());
            replica.base.begin();
        }
    }
    changes.extend(replica.base.commit(&replica.key).unwrap());
    replica.log.extend(changes);
}

fn shown(replica: &Replica) -> (String, String) {
    let tags = replica.base.doc.tags.iter().map(|tag| tag.view().as_str().unwrap_or_default().to_owned());
    (replica.base.doc.body.text(), tags.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Although each letter is an insert of its own, and some of what stood there is gone.
    #[test]
    fn what_two_write_at_one_place_never_interleaves(
        before in 0usize..6,
        at in any::<prop::sample::Index>(),
        gone in any::<[bool; 6]>(),
        lens in (1usize..6, 1usize..6),
        backwards in any::<(bool, bool)>(),
        whole in any::<(bool, bool)>(),
    ) {
        let mut team: Vec<Replica> = (0..2).map(|n| Replica::new(n, DOCUMENT, false)).collect();
        write_run(&mut team[0], 0, &['-'; 6][..before], false, true);
        team[0].base.begin();
        for at in (0..before).rev().filter(|at| gone[*at]) {
            team[0].base.doc.body.cut(at, 1).keep().unwrap();
            team[0].base.doc.tags.delete_idx(at).keep().unwrap();
        }
        let key = team[0].key.clone();
        let cut = team[0].base.commit(&key).unwrap();
        team[0].log.extend(cut);
        let beginning = team[0].log.clone();
        team[1].receive(beginning, 0, false);
        let at = at.index(team[0].base.doc.body.len() + 1);
        let (ours, theirs) = (&['a', 'b', 'c', 'd', 'e'][..lens.0], &['v', 'w', 'x', 'y', 'z'][..lens.1]);
        write_run(&mut team[0], at, ours, backwards.0, whole.0);
        write_run(&mut team[1], at, theirs, backwards.1, whole.1);
        let (left, right) = (team[0].log.clone(), team[1].log.clone());
        team[0].receive(right, 1, false);
        team[1].receive(left, 2, true);
        prop_assert_eq!(shown(&team[0]), shown(&team[1]));
        let word = |run: &[char], is_backwards: bool| -> String {
            if is_backwards { run.iter().rev().collect() } else { run.iter().collect() }
        };
        let (text, tags) = shown(&team[0]);
        for run in [word(ours, backwards.0), word(theirs, backwards.1)] {
            prop_assert!(text.contains(&run) && tags.contains(&run), "{} {} {}", run, text, tags);
        }
        prop_assert_eq!(text, tags);
    }
}

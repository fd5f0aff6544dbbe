//! Which signatures need no look: a signature commits to its author's whole chain below it.
//!
//! What an authentic change names as its author's previous one is authentic too, so among changes that came
//! together those on top of the chains stand for the others. This leaves out what a document adds: what its
//! history and its causal queue hold.

use std::collections::HashMap;

use crate::change::{Change, Digest};

/// The author chains among changes that came together, in any order, forked or broken.
pub(super) struct Chains {
    links: Vec<Link>,
}

/// One change's place in its chain.
struct Link {
    standing: Standing,
    /// Where the change is that it names as its author's previous one.
    prev: Option<usize>,
    is_covered: bool,
}

#[derive(PartialEq, Eq)]
enum Standing {
    /// Nobody asks for its signature, and it says nothing about others.
    Aside,
    /// No other names it, or it came more than once, maybe with different signatures.
    Top,
    /// Another names it as its previous one.
    Below,
}

impl Chains {
    /// Links the changes for which `is_new` holds. O(n).
    pub(super) fn new(changes: &[Change], is_new: impl Fn(usize) -> bool) -> Self {
        let mut links: Vec<Link> = Vec::with_capacity(changes.len());
        let mut places: HashMap<Digest, (usize, bool)> = HashMap::with_capacity(changes.len());
        for (at, change) in changes.iter().enumerate() {
            let mut standing = Standing::Aside;
            if is_new(at) && change.seq() > 0 {
                standing = Standing::Top;
                places
                    .entry(change.digest())
                    .and_modify(|(_, is_copied)| *is_copied = true)
                    .or_insert((at, false));
            }
            links.push(Link { standing, prev: None, is_covered: false });
        }
        let mut chains = Self { links };
        for (at, change) in changes.iter().enumerate() {
            let Some((place, is_copied)) = change.prev().and_then(|prev| places.get(&prev).copied()) else {
                continue;
            };
            // A document refuses another document's changes, whatever they are signed with.
            let is_of_chain = changes
                .get(place)
                .is_some_and(|prev| prev.author() == change.author() && prev.document() == change.document());
            if !is_of_chain || chains.links.get(at).is_none_or(|link| link.standing == Standing::Aside) {
                continue;
            }
            if let Some(link) = chains.links.get_mut(at) {
                link.prev = Some(place);
            }
            if let Some(prev) = chains.links.get_mut(place)
                && !is_copied
            {
                prev.standing = Standing::Below;
            }
        }
        chains
    }

    /// Where the changes are whose signatures stand for those below them.
    pub(super) fn tops(&self) -> Vec<usize> {
        self.places(|link| link.standing == Standing::Top)
    }

    /// Where the changes are that no valid top covers.
    pub(super) fn rest(&self) -> Vec<usize> {
        self.places(|link| link.standing == Standing::Below && !link.is_covered)
    }

    /// Covers all that lies below the tops that `signed` says are valid. O(n): no change is visited twice.
    pub(super) fn cover(&mut self, signed: &[bool]) {
        for at in self.tops() {
            if !signed.get(at).copied().unwrap_or(false) {
                continue;
            }
            let mut below = self.links.get(at).and_then(|link| link.prev);
            while let Some(link) = below.and_then(|at| self.links.get_mut(at))
                && !link.is_covered
            {
                link.is_covered = true;
                below = link.prev;
            }
        }
    }

    fn places(&self, of: impl Fn(&Link) -> bool) -> Vec<usize> {
        self.links.iter().enumerate().filter(|(_, link)| of(link)).map(|(at, _)| at).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::change::{DocumentId, Header};
    use crate::json_crdt::{CheckedChange, Checker, CrdtNode as _};
    use crate::keypair::Keypair;
    use crate::lww_crdt::LwwRegisterCrdt;
    use crate::state::State;

    const DOCUMENT: DocumentId = DocumentId([1; 32]);

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    /// A change without ops; `number` tells it from others at its place.
    fn change(author: &Keypair, prev: Option<&Change>, number: u64, document: DocumentId) -> Change {
        let header = Header {
            document,
            author: author.author(),
            seq: prev.map_or(1, |prev| prev.seq() + 1),
            prev: prev.map(Change::digest),
            lamport: prev.map_or(1, |prev| prev.lamport() + 1),
            first_counter: number + 1,
            deps: Vec::new(),
        };
        let body = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(&[0, 0]);
            Ok(())
        };
        Change::sign(header, body, 0, 0, author).unwrap()
    }

    fn unsigned(change: &Change) -> Change {
        change.with_signature([0; 64])
    }

    fn forged(change: &Change) -> Change {
        let mut signature = *change.signature();
        signature[40] ^= 1;
        change.with_signature(signature)
    }

    /// A chain of which only the changes at the places `signed` carry a signature.
    fn chain(len: u64, signed: &[usize]) -> Vec<Change> {
        let mut chain: Vec<Change> = Vec::new();
        for number in 0..len {
            chain.push(change(&key(1), chain.last(), number, DOCUMENT));
        }
        let sign = |(at, change)| if signed.contains(&at) { Change::clone(change) } else { unsigned(change) };
        chain.iter().enumerate().map(sign).collect()
    }

    /// Where the valid signatures are that were looked at.
    fn looked_at(changes: &[Change], known: &[bool]) -> Vec<usize> {
        let checked = Checker::default().check_covered(changes.to_vec(), known);
        checked.iter().enumerate().filter(|(_, checked)| checked.is_signed).map(|(at, _)| at).collect()
    }

    #[test]
    fn a_chain_costs_one_look() {
        assert_eq!(looked_at(&chain(300, &[299]), &[]), [299]);
        let all: Vec<usize> = (0..300).collect();
        let mut changes = chain(300, &all);
        assert_eq!(looked_at(&changes, &[]), [299]);
        changes.reverse();
        assert_eq!(looked_at(&changes, &[]), [0]);
        // What is known covers nothing here: the document has done so.
        assert_eq!(looked_at(&chain(4, &all), &[false, true, true, false]), [0, 3]);
    }

    #[test]
    fn below_a_bad_top_all_are_looked_at_together() {
        let mut changes = chain(300, &(0..300).collect::<Vec<_>>());
        changes[299] = forged(&changes[299]);
        assert_eq!(looked_at(&changes, &[]), (0..299).collect::<Vec<_>>());
        let mut chains = Chains::new(&changes, |_| true);
        assert_eq!(chains.tops(), [299]);
        chains.cover(&[false; 300]);
        assert_eq!(chains.rest().len(), 299);
    }

    #[test]
    fn every_copy_is_looked_at_since_signatures_may_differ() {
        let mut changes = chain(3, &[0, 1, 2]);
        changes.push(forged(&changes[2]));
        changes.push(forged(&changes[1]));
        assert_eq!(looked_at(&changes, &[]), [1, 2]);
    }

    #[test]
    fn nothing_is_covered_across_authors_or_documents() {
        let alice = change(&key(1), None, 0, DOCUMENT);
        let mallory = change(&key(2), Some(&alice), 1, DOCUMENT);
        let elsewhere = change(&key(1), Some(&alice), 2, DocumentId::DEFAULT);
        assert_eq!(looked_at(&[alice.clone(), mallory, elsewhere.clone()], &[]), [0, 1, 2]);
        assert_eq!(looked_at(&[unsigned(&alice), elsewhere], &[]), [1]);
    }

    #[test]
    fn what_was_refused_with_what_it_waited_for_does_not_wait_again() {
        let first = change(&key(2), None, 0, DOCUMENT);
        // It names another author's change as its own author's previous one, and is covered by what comes next.
        let foreign = change(&key(1), Some(&first), 1, DOCUMENT);
        let next = change(&key(1), Some(&foreign), 2, DOCUMENT);
        let checker = Checker::default();
        let mut state = State::new(DOCUMENT, key(9).author(), LwwRegisterCrdt::<bool>::describe);
        let _ = state.apply(checker.check_new(vec![foreign.clone()], &[]));
        assert_eq!(state.queue().stats().len, 1);
        let batch = state.apply(checker.check_covered(vec![first, foreign, next.clone()], &[false; 3]));
        assert!(batch.states[1].is_refused(), "{:?}", batch.states);
        let waiting: Vec<Digest> = state.queue().digests();
        assert_eq!(waiting, [next.digest()]);
    }

    /// The rule, word by word: an own valid signature, or an authentic change of the same author that names it.
    fn authentic(checked: &[CheckedChange], known: &[bool]) -> BTreeSet<Digest> {
        let new =
            || checked.iter().zip(known).filter(|(_, is_known)| !**is_known).map(|(checked, _)| checked);
        let mut authentic: BTreeSet<Digest> =
            new().filter(|checked| checked.is_signed).map(|checked| checked.change.digest()).collect();
        loop {
            let before = authentic.len();
            for by in new().map(|checked| &checked.change) {
                let names = |prev: &&Change| {
                    by.prev() == Some(prev.digest())
                        && by.author() == prev.author()
                        && by.document() == prev.document()
                };
                if authentic.contains(&by.digest()) {
                    authentic.extend(new().map(|checked| &checked.change).filter(names).map(Change::digest));
                }
            }
            if authentic.len() == before {
                return authentic;
            }
        }
    }

    #[derive(Clone, Debug)]
    struct Made {
        author: u8,
        /// How many of the author's latest changes to pass over for its previous one.
        back: usize,
        is_first: bool,
        is_prev_foreign: bool,
        is_elsewhere: bool,
        signature: u8,
        is_known: bool,
        is_copied: bool,
        /// Places of the change and its copy in the delivery.
        order: (u32, u32),
    }

    fn made() -> impl Strategy<Value = Made> {
        let rarely = prop::bool::weighted(0.08);
        let flags = (rarely, rarely, rarely, rarely, rarely);
        let back = prop_oneof![4 => Just(0usize), 1 => 0..6usize];
        (0..3u8, back, flags, 0..8u8, any::<(u32, u32)>()).prop_map(
            |(author, back, flags, signature, order)| Made {
                author,
                back,
                is_first: flags.0,
                is_prev_foreign: flags.1,
                is_elsewhere: flags.2,
                is_known: flags.3,
                is_copied: flags.4,
                signature,
                order,
            },
        )
    }

    /// Chains of several authors, with forks, gaps, copies and bad signatures, in any order.
    fn delivery(made: &[Made]) -> (Vec<Change>, Vec<bool>) {
        let mut chains: Vec<Change> = Vec::new();
        let mut all = Vec::new();
        for (number, made) in (0u64..).zip(made) {
            let author = key(made.author);
            let mut before =
                chains.iter().rev().filter(|c| made.is_prev_foreign || c.author() == author.author());
            let prev = if made.is_first { None } else { before.nth(made.back) };
            let document = if made.is_elsewhere { DocumentId::DEFAULT } else { DOCUMENT };
            let honest = change(&author, prev, number, document);
            let sign = |how: u8| match how {
                0..3 => honest.clone(),
                3..5 => forged(&honest),
                5 => honest.with_signature(key(7).sign(&honest.digest().0)),
                _ => unsigned(&honest),
            };
            all.push((made.order.0, sign(made.signature), made.is_known));
            if made.is_copied {
                all.push((made.order.1, sign(made.signature.wrapping_mul(3) % 8), made.is_known));
            }
            chains.push(honest);
        }
        all.sort_by_key(|(order, ..)| *order);
        all.into_iter().map(|(_, change, is_known)| (change, is_known)).unzip()
    }

    proptest! {
        #[test]
        fn what_is_authentic_does_not_depend_on_what_was_looked_at(
            made in prop::collection::vec(made(), 0..60),
        ) {
            let (changes, known) = delivery(&made);
            let checker = Checker::default();
            let all = checker.check_new(changes.clone(), &known);
            let covered = checker.check_covered(changes, &known);
            prop_assert_eq!(authentic(&all, &known), authentic(&covered, &known));
            for (all, covered) in all.iter().zip(&covered) {
                prop_assert_eq!(&all.change, &covered.change);
                prop_assert!(all.is_signed || !covered.is_signed);
            }
        }

        #[test]
        fn a_document_takes_in_the_same_whatever_was_looked_at(
            made in prop::collection::vec(made(), 1..60),
            before in any::<prop::sample::Index>(),
        ) {
            let (changes, _) = delivery(&made);
            let checker = Checker::default();
            let mut one = State::new(DOCUMENT, key(9).author(), LwwRegisterCrdt::<bool>::describe);
            let first = changes[..before.index(changes.len())].to_vec();
            let _ = one.apply(checker.check_new(first, &[]));
            let mut other = one.clone();
            let known: Vec<bool> =
                changes.iter().map(|change| one.history().find(&change.digest()).is_some()).collect();
            let of_one = one.apply(checker.check_new(changes.clone(), &known));
            let of_other = other.apply(checker.check_covered(changes, &known));
            prop_assert_eq!(of_one.states, of_other.states);
            prop_assert_eq!(of_one.applied, of_other.applied);
            prop_assert_eq!(of_one.evicted, of_other.evicted);
            prop_assert_eq!(one.queue().stats(), other.queue().stats());
            prop_assert_eq!(one.history().version_vector(), other.history().version_vector());
        }
    }
}

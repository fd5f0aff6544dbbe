//! What a peer lacks, told from its version vector: exact where the chains fit, and honest where they do not.
//!
//! A peer that names a tip holds all of that tip's past, since changes come into a document after their past
//! only. So the tips that are known here say what the peer holds, and the rest is what it lacks. A tip that is
//! not known here says nothing: its author forked, or the peer is ahead. Such an author is *unsure*, and left out
//! until it is clear where the peer's chain leaves this one.

use std::collections::{BTreeMap, BTreeSet};

use crate::change::{Change, Digest};
use crate::keypair::AuthorId;
use crate::state::history::{ChangeIx, History};
use crate::state::past::Past;

/// What a peer holds of a document, and how far it has been given the rest.
#[derive(Clone, Debug)]
pub struct Holdings {
    /// What it has, or was given.
    past: Past,
    /// What it is to have at most, where it does not take everybody's changes.
    wanted: Option<Past>,
    unsure: BTreeSet<AuthorId>,
    next: ChangeIx,
    end: ChangeIx,
}

impl Holdings {
    /// Returns the authors of whom the peer names a tip that is not known here. Nothing of theirs is given.
    #[must_use]
    pub fn unsure(&self) -> &BTreeSet<AuthorId> {
        &self.unsure
    }

    /// Returns whether all that it lacks was given.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.next >= self.end
    }
}

/// A change for a peer.
#[derive(Clone, Debug)]
pub struct Missing {
    /// The change.
    pub change: Change,
    /// Its own signature was checked. One without is covered by a later one of the same batch.
    pub is_vouched: bool,
}

impl History {
    /// What a peer with a version vector holds. `common` names further changes that the peer is known to hold; of
    /// authors in `accepts`, or of everybody, it wants changes, and those of others that they stand on. Authors
    /// in `settled` are given although a tip of theirs is unknown. O(authors).
    pub(crate) fn holdings(
        &self,
        theirs: &BTreeMap<AuthorId, Vec<(u64, Digest)>>,
        common: &[Digest],
        settled: &BTreeSet<AuthorId>,
        accepts: Option<&BTreeSet<AuthorId>>,
    ) -> Holdings {
        let wanted = accepts.map(|accepts| {
            let tips =
                self.branches().iter().filter(|branch| accepts.contains(&self.author_id(branch.author)));
            let tips: Vec<ChangeIx> = tips.filter_map(|branch| branch.changes.last().copied()).collect();
            self.past_of(&tips)
        });
        let (past, unsure, end) = (Past::default(), BTreeSet::new(), self.row_count());
        let mut holdings = Holdings { past, wanted, unsure, next: end, end };
        self.learn_holdings(&mut holdings, theirs, common, settled);
        holdings
    }

    /// Notes what else the peer holds, and of whom its chain is not in doubt any more. O(authors).
    pub(crate) fn learn_holdings(
        &self,
        holdings: &mut Holdings,
        theirs: &BTreeMap<AuthorId, Vec<(u64, Digest)>>,
        common: &[Digest],
        settled: &BTreeSet<AuthorId>,
    ) {
        let mut known: Vec<ChangeIx> = common.iter().filter_map(|digest| self.find(digest)).collect();
        let mut unsure = BTreeSet::new();
        for (author, tips) in theirs {
            for (_, tip) in tips {
                match self.find(tip) {
                    Some(tip) => known.push(tip),
                    None if settled.contains(author) => {}
                    None => {
                        unsure.insert(*author);
                    }
                }
            }
        }
        holdings.past.merge(&self.past_of(&known));
        holdings.unsure = unsure;
        let first_missing = (0..).zip(self.branches()).filter_map(|(number, branch)| {
            let held = holdings.past.seq_of(number).max(branch.first_seq - 1);
            branch.changes.get((held + 1 - branch.first_seq) as usize).copied()
        });
        holdings.next = first_missing.min().unwrap_or(holdings.end);
    }

    /// The next changes that a peer lacks, each after its past, up to so many and so many bytes, but at least one
    /// if there is any. They end where every change among them is vouched for, by itself or by a later one.
    pub(crate) fn missing(&self, holdings: &mut Holdings, count: usize, bytes: usize) -> Vec<Missing> {
        let mut missing: Vec<Missing> = Vec::new();
        let (mut size, mut next) = (0, holdings.next);
        // Branches whose last change so far is not vouched for.
        let mut open = BTreeSet::new();
        for (place, ix) in self.signed_from(holdings.next).take_while(|(place, _)| *place < holdings.end) {
            let is_full = !missing.is_empty() && (missing.len() >= count || size >= bytes);
            if is_full && open.is_empty() {
                break;
            }
            next = place + 1;
            let row = self.row(ix);
            let is_held = self.is_within(&holdings.past, ix);
            if is_held || holdings.wanted.as_ref().is_some_and(|wanted| !self.is_within(wanted, ix)) {
                continue;
            }
            if !holdings.unsure.is_empty() && holdings.unsure.contains(&self.author_of(ix)) {
                continue;
            }
            if row.is_vouched {
                open.remove(&row.branch);
            } else {
                open.insert(row.branch);
            }
            holdings.past.raise(row.branch, row.seq);
            let change = self.change(ix);
            size += change.bytes().len();
            missing.push(Missing { change, is_vouched: row.is_vouched });
        }
        holdings.next = if missing.is_empty() { holdings.end } else { next };
        missing
    }

    /// The seq and the digest of the change that an author's next one follows.
    pub(crate) fn tip_of(&self, author: &AuthorId) -> Option<(u64, Digest)> {
        let branches = self.branches_of(author).filter_map(|branch| self.branches().get(branch as usize));
        let tips = branches.filter_map(|branch| branch.changes.last());
        tips.map(|tip| (self.row(*tip).seq.into(), self.digest(*tip))).max()
    }

    /// The tips of an author that no other tip of the same author has seen, ascending by digest.
    pub(crate) fn last_of(&self, author: &AuthorId) -> Vec<Digest> {
        let branches = self.branches_of(author).filter_map(|branch| self.branches().get(branch as usize));
        let tips: Vec<ChangeIx> = branches.filter_map(|branch| branch.changes.last().copied()).collect();
        let is_last =
            |tip: &&ChangeIx| !tips.iter().any(|other| other != *tip && self.is_in_past(**tip, *other));
        let mut last: Vec<Digest> = tips.iter().filter(is_last).map(|tip| self.digest(*tip)).collect();
        last.sort_unstable();
        last
    }

    /// The change at a seq of the chain that ends with a change. O(forks of the chain).
    pub(crate) fn on_chain(&self, tip: ChangeIx, seq: u32) -> Option<ChangeIx> {
        if seq > self.row(tip).seq {
            return None;
        }
        let mut branch = self.row(tip).branch;
        loop {
            let line = self.branches().get(branch as usize)?;
            match seq.checked_sub(line.first_seq) {
                Some(at) => return line.changes.get(at as usize).copied(),
                None => branch = line.parent?.0,
            }
        }
    }
}

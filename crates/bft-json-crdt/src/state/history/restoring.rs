//! A history out of a snapshot: rows without the changes that they stand for.

use std::collections::{BTreeMap, BTreeSet};

use super::{ChangeIx, Cold, History, Row, Standing, Status};
use crate::change::Digest;
use crate::keypair::AuthorId;
use crate::state::branch::Branch;

/// A row as a snapshot has it.
pub(crate) struct RowSeed {
    pub(crate) branch: u32,
    pub(crate) lamport: u64,
    pub(crate) span: u32,
    pub(crate) first_counter: u64,
    pub(crate) is_recorded: bool,
    pub(crate) is_vouched: bool,
    pub(crate) deps: Vec<ChangeIx>,
}

#[expect(clippy::indexing_slicing, reason = "what a snapshot names is checked where it is read")]
impl History {
    /// Takes over what a snapshot's head says; rows follow.
    pub(crate) fn restore(
        &mut self,
        authors: Vec<AuthorId>,
        branches: Vec<Branch>,
        forks: BTreeMap<(AuthorId, u64, Option<Digest>), BTreeSet<Digest>>,
        counter_floor: u64,
        cold: Cold,
    ) {
        self.authors.clear();
        self.by_author.clear();
        for author in authors {
            self.author(author);
        }
        for (number, branch) in (0..).zip(&branches) {
            if let Some(author) = self.authors.get_mut(branch.author as usize) {
                author.branches.push(number);
            }
        }
        self.branches = branches;
        self.forks = forks;
        self.counter_floor = counter_floor;
        for (ix, digest) in cold.all_kept() {
            self.by_digest.insert(digest, ix, |ix| cold.kept(ix));
        }
        self.cold = cold;
    }

    /// Takes over a row of a snapshot, of a branch's changes in their order; or says why no change stands so.
    pub(crate) fn restore_row(&mut self, seed: RowSeed) -> Result<(), &'static str> {
        let ix = self.rows.len() as ChangeIx;
        let branch = &self.branches[seed.branch as usize];
        let prev = match (branch.changes.last(), branch.parent) {
            (Some(last), _) => Some(*last),
            (None, Some((parent, seq))) => {
                Some(self.at_seq(parent, seq).ok_or("a branch that begins nowhere")?)
            }
            (None, None) => None,
        };
        let Standing { seq, lamport, mut past, .. } = self.standing_after(branch.author, prev, &seed.deps);
        if let (Some((parent, seq)), true) = (branch.parent, branch.changes.is_empty()) {
            past.raise(parent, seq);
        }
        if seed.lamport != u64::from(lamport) {
            return Err("a lamport that does not follow from the past");
        }
        let first_free = prev.map_or(1, |prev| self.row(prev).first_counter + u64::from(self.row(prev).span));
        if seed.first_counter < first_free || seed.first_counter.checked_add(seed.span.into()).is_none() {
            return Err("op numbers that do not rise");
        }
        for seen in seed.deps.iter().chain(&prev) {
            self.heads.remove(seen);
        }
        let deps = if seed.deps.is_empty() { u32::MAX } else { self.deps.len() as u32 };
        if !seed.deps.is_empty() {
            self.deps.push(seed.deps.into());
        }
        self.rows.push(Row {
            status: Status::Signed,
            is_recorded: seed.is_recorded,
            is_vouched: seed.is_vouched,
            branch: seed.branch,
            seq,
            lamport,
            span: seed.span,
            first_counter: seed.first_counter,
            body_start: 0,
            body_len: 0,
            deps,
            past,
        });
        self.branches[seed.branch as usize].push(ix, seed.first_counter);
        self.heads.insert(ix);
        self.signed += 1;
        self.enter(ix);
        Ok(())
    }

    /// Whether the heads and tips are those whose digests the snapshot kept, and every fork has a change.
    pub(crate) fn is_whole(&self) -> bool {
        let tips = self.branches.iter().filter_map(|branch| branch.changes.last().copied());
        let kept: BTreeSet<ChangeIx> = self.cold.all_kept().map(|(ix, _)| ix).collect();
        let are_begun =
            self.branches.iter().all(|branch| branch.parent.is_none() || !branch.changes.is_empty());
        are_begun && tips.chain(self.head_numbers()).collect::<BTreeSet<_>>() == kept
    }
}

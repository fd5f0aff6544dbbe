//! From edits to signed changes: transactions, and what signing fixes.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::change::{Body, Change, Digest, Header};
use crate::encoding::{DecodeError, put_bytes};
use crate::keypair::{AuthorId, Keypair};
use crate::limits::CHANGE_DEPS_MAX;
use crate::op::{Name, Op, OpKind, Rank, Slice};
use crate::state::State;
use crate::state::at::UnknownHead;
use crate::state::history::{ChangeIx, History, Invalidity, Made, Status};
use crate::state::integrate::Undo;
use crate::state::local::{EditError, LocalOp, Unsigned};
use crate::state::typing::made_at;

/// Why an edit was not signed. It has been taken back out of the document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The edit was never made.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The key is not the one that the document edits with.
    #[error("the document edits as {document}, not as {key}")]
    WrongKey {
        /// Whose edits the document makes.
        document: AuthorId,
        /// Whose key was given.
        key: AuthorId,
    },
    /// This replica neither made nor applied the change. Apply it first.
    #[error("dependency {0} is not known here")]
    UnknownDependency(Digest),
    /// The edit builds on one that was never signed. Sign edits in the order in which they were made.
    #[error("the edit builds on an earlier one that is not signed")]
    BuildsOnUnsigned,
    /// A later edit was signed first, or the author's chain went on elsewhere. Make the edit again.
    #[error("the author's chain has moved past this edit; make it again")]
    ChainMoved,
    /// The edit stands on more concurrent heads than a change can name. Make any other edit first: it joins
    /// them.
    #[error("the edit stands on more than {CHANGE_DEPS_MAX} concurrent heads; make another edit first")]
    TooManyHeads,
    /// The edit was made in a transaction, which signs it with the others.
    #[error("the edit is part of a transaction and is signed with it")]
    InTransaction,
    /// The document shows past heads. Author at them with `BaseCrdt::transact_at`, which knows how far the
    /// author's chain has gone.
    #[error("a view of past heads signs nothing; use transact_at")]
    PastView,
    /// A head to author at is not known.
    #[error(transparent)]
    UnknownHead(#[from] UnknownHead),
    /// Authoring there would fork the author's chain.
    #[error("the heads lack the author's last change {0}; add it to them")]
    WithoutOwn(Digest),
    /// Every replica would refuse the change.
    #[error("the change would be invalid: {0}")]
    Invalid(#[from] Invalidity),
    /// No transaction was begun, or its edits were taken back by one that failed.
    #[error("no transaction is open")]
    NoTransaction,
    /// The change would be over a limit.
    #[error("the change cannot be signed: {0}")]
    Content(#[from] DecodeError),
}

/// A transaction that has begun: the edits that wait since, and how they are ranked.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(super) edits: usize,
    pub(super) rank: Rank,
    failed: Option<EditError>,
    /// Some of its edits were taken back: the author's chain moved on, or what they build on was given up.
    pub(super) is_overtaken: bool,
}

impl State {
    /// Begins a transaction: edits from here on are signed together.
    pub(crate) fn begin(&mut self, rank: Rank) {
        self.open = Some(Open { edits: 0, rank, failed: None, is_overtaken: false });
    }

    /// Ranks the edits of the transaction from here on.
    pub(crate) fn set_rank(&mut self, rank: Rank) {
        if let Some(open) = &mut self.open {
            open.rank = rank;
        }
    }

    /// Leaves out op numbers of the author that edits here.
    pub(crate) fn skip_numbers(&mut self, count: u64) {
        self.history.skip_numbers(self.author, count);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// How many edits the transaction has.
    pub(crate) fn open_edits(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.edits)
    }

    /// An edit of the transaction could not be made, and nobody looked at it.
    pub(crate) fn fail_open(&mut self, error: EditError) {
        if let Some(open) = &mut self.open {
            open.failed.get_or_insert(error);
        }
    }

    /// Takes back the edits of the transaction.
    pub(crate) fn roll_back(&mut self) {
        self.open = None;
        while let Some(edit) = self.unsigned.iter().rfind(|edit| edit.is_open) {
            self.give_up(edit.change);
        }
    }

    /// Signs and records what was edited since the transaction began; `mark` signs a change without ops where
    /// nothing was.
    pub(crate) fn commit(&mut self, keypair: &Keypair, mark: bool) -> Result<Vec<Change>, SignError> {
        let Some(open) = &self.open else { return Err(SignError::NoTransaction) };
        let failed = match &open.failed {
            Some(error) => Some(error.clone().into()),
            None => open.is_overtaken.then_some(SignError::ChainMoved),
        };
        if let Some(failed) = failed {
            self.roll_back();
            return Err(failed);
        }
        let open = self.unsigned.iter().filter(|edit| edit.is_open);
        let mut changes: Vec<ChangeIx> = open.map(Unsigned::change).collect();
        if changes.len() > 1
            && let Err(error) = self.check_all(&changes)
        {
            self.roll_back();
            return Err(error);
        }
        if changes.len() > 1 && self.history.head_numbers().count() > CHANGE_DEPS_MAX {
            self.roll_back();
            return Err(SignError::TooManyHeads);
        }
        if changes.is_empty() && mark {
            changes.push(self.claim(0, 0)?.0);
        }
        self.open = None;
        let mut signed = Vec::with_capacity(changes.len());
        for change in changes {
            signed.push(self.sign(change, keypair, &[])?);
            self.history.row_mut(change).is_recorded = true;
        }
        Ok(signed)
    }

    /// Checks that nothing but the key can keep the changes of a transaction from being signed one by one: none
    /// is signed where a later one could not be.
    fn check_all(&self, changes: &[ChangeIx]) -> Result<(), SignError> {
        for edit in self.unsigned.iter().filter(|edit| changes.contains(&edit.change)) {
            let is_there = |named: &ChangeIx| {
                self.history.row(*named).status == Status::Signed || changes.contains(named)
            };
            if !self.stands_on(edit).iter().all(is_there) {
                return Err(SignError::BuildsOnUnsigned);
            }
            let mut is_clear = true;
            for LocalOp { op, .. } in &edit.ops {
                op.binding_names(|made| is_clear &= self.means(*made, None));
            }
            if !is_clear {
                return Err(EditError::Ambiguous.into());
            }
        }
        Ok(())
    }

    /// Signs an edit: fixes its place in the author's chain and makes it part of the history.
    ///
    /// An edit that cannot be signed is taken back.
    pub(crate) fn sign(
        &mut self,
        change: ChangeIx,
        keypair: &Keypair,
        named: &[Digest],
    ) -> Result<Change, SignError> {
        let signed = self.try_sign(change, keypair, named);
        if signed.is_err() {
            self.give_up(change);
        }
        signed
    }

    fn try_sign(&mut self, ix: ChangeIx, keypair: &Keypair, named: &[Digest]) -> Result<Change, SignError> {
        if self.is_past {
            return Err(SignError::PastView);
        }
        if keypair.author() != self.author_id {
            return Err(SignError::WrongKey { document: self.author_id, key: keypair.author() });
        }
        if let Some(unknown) = named.iter().find(|digest| self.history.find(digest).is_none()) {
            return Err(SignError::UnknownDependency(*unknown));
        }
        let Some(at) = self.unsigned.iter().position(|edit| edit.change == ix) else {
            return Err(SignError::ChainMoved);
        };
        let Some(edit) = self.unsigned.get(at) else { return Err(SignError::ChainMoved) };
        let mut stands_on = self.stands_on(edit);
        if stands_on.iter().any(|named| self.history.row(*named).status != Status::Signed) {
            return Err(SignError::BuildsOnUnsigned);
        }
        let prev = self.history.tip(self.author);
        if let Some(prev) = prev {
            let (tip, row) = (self.history.row(prev), self.history.row(ix));
            if tip.branch != row.branch || tip.first_counter + u64::from(tip.span) > row.first_counter {
                return Err(SignError::ChainMoved);
            }
        }
        let heads: Vec<ChangeIx> = self.history.head_numbers().filter(|head| Some(*head) != prev).collect();
        if heads.len() > CHANGE_DEPS_MAX {
            stands_on.extend(self.taken_away_by(at));
        }
        let deps = choose_deps(&self.history, prev, heads, &stands_on);
        let standing = self.history.standing_after(self.author, prev, &deps);
        if stands_on.iter().any(|named| !self.history.reaches(&standing, *named)) {
            return Err(SignError::TooManyHeads);
        }
        if !self.history.is_without_forks() {
            let mut is_clear = true;
            for LocalOp { op, .. } in &edit.ops {
                op.binding_names(|made| is_clear &= made.change == ix || self.means(*made, Some(&standing)));
            }
            if !is_clear {
                return Err(EditError::Ambiguous.into());
            }
        }
        let mut dep_digests: Vec<Digest> = deps.iter().map(|dep| self.history.digest(*dep)).collect();
        dep_digests.sort_unstable();
        let row = self.history.row(ix);
        let header = Header {
            document: self.history.document,
            author: self.author_id,
            seq: standing.seq.into(),
            prev: prev.map(|prev| self.history.digest(prev)),
            lamport: standing.lamport.into(),
            first_counter: row.first_counter,
            deps: dep_digests,
        };
        let span = row.span;
        let change = Change::sign(
            header,
            |out| self.encode_ops(&edit.ops, &edit.values, out),
            edit.ops.len(),
            span,
            keypair,
        )?;
        // Edits made before this one can no longer be signed, and must not stand behind it.
        let overtaken: Vec<ChangeIx> = self.unsigned.iter().take(at).map(Unsigned::change).collect();
        overtaken.into_iter().rev().for_each(|earlier| self.give_up(earlier));
        let Some(at) = self.unsigned.iter().position(|edit| edit.change == ix) else {
            return Err(SignError::ChainMoved);
        };
        let edit = self.unsigned.remove(at);
        let mut changed = false;
        let mut ops = edit.ops;
        // What arrived between making and signing lies in its past too.
        let is_late = edit.arrivals != self.arrivals;
        for LocalOp { place, op, .. } in ops.iter_mut().filter(|_| is_late) {
            // Overwritten values that share a number with a newly known one take it with them.
            self.widen(op, Some(&standing));
            changed |= self.settle_overwrites(Made { change: ix, place: *place }, op);
        }
        self.history.settle(ix, &change, standing);
        for LocalOp { place, op, .. } in ops.iter().filter(|_| is_late) {
            let made = Made { change: ix, place: *place };
            match &op.kind {
                OpKind::Remove { target, key } => changed |= self.settle_removal(made, target, key),
                OpKind::Move { .. } => changed |= self.settle_move(made),
                OpKind::Cut { target, ranges } if !self.history.is_without_forks() => {
                    self.settle_cut(made, target, ranges);
                }
                OpKind::Cut { .. }
                | OpKind::Set { .. }
                | OpKind::Insert { .. }
                | OpKind::Delete { .. }
                | OpKind::Put { .. }
                | OpKind::Add { .. }
                | OpKind::Text { .. }
                | OpKind::Source { .. } => {}
            }
        }
        if changed {
            self.patch_whole();
        }
        Ok(change)
    }

    /// The changes that an edit's ops name things of.
    pub(super) fn stands_on(&self, edit: &Unsigned) -> Vec<ChangeIx> {
        let mut changes = Vec::new();
        for LocalOp { op, .. } in &edit.ops {
            op.names(|made| {
                if changes.last() != Some(&made.change) {
                    changes.push(made.change);
                }
            });
            if op.rank != Rank::Edit {
                changes.extend(&self.sources);
            }
            if let OpKind::Cut { ranges, .. } = &op.kind {
                for range in ranges {
                    let (branch, counter) = self.history.number_of(range.first);
                    let last = counter + range.count - 1;
                    changes.extend(made_at(&self.history, &self.unsigned, branch, last).map(|m| m.change));
                }
            }
        }
        changes.sort_unstable();
        changes.dedup();
        changes.retain(|change| *change != edit.change);
        changes
    }

    /// The signed changes of which an unsigned edit, or one before it, has taken something away without naming it: as it
    /// was made it was taken to have seen all that there is.
    fn taken_away_by(&self, at: usize) -> Vec<ChangeIx> {
        let mut changes = Vec::new();
        for step in self.unsigned.iter().take(at + 1).flat_map(|edit| &edit.undo) {
            match step {
                Undo::Removal { dropped, removals_before, .. } => {
                    let touches = dropped.iter().flat_map(|(_, touches)| touches);
                    changes.extend(touches.map(|touch| touch.change));
                    changes.extend(removals_before.iter().map(|removal| removal.change));
                }
                Undo::Place { before, .. } => changes.extend(before.iter().map(|other| other.made.change)),
                Undo::Put { dropped, .. } => changes.extend(dropped.iter().map(|(put, _)| put.change)),
                Undo::Hidden { text, stretches } => {
                    let text = self.nodes.text(*text);
                    let ends = stretches.iter().flat_map(|(first, count)| [*first, first + count - 1]);
                    let made = ends.filter_map(|character| {
                        let (branch, counter) = text.id(character);
                        self.history.made_at(branch, counter)
                    });
                    changes.extend(made.map(|made| made.change));
                }
                // Others are named, and changes that touch or add something take nothing away.
                Undo::Write { .. }
                | Undo::Overwritten { .. }
                | Undo::Element { .. }
                | Undo::Deletion { .. }
                | Undo::Touch { .. }
                | Undo::Addition { .. }
                | Undo::Typed { .. }
                | Undo::Source => {}
            }
        }
        changes.retain(|change| self.history.row(*change).status == Status::Signed);
        changes
    }

    /// Appends the body of an edit.
    fn encode_ops(&self, ops: &[LocalOp], values: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let author_of = |made: &Made| self.history.branch_author(made.change);
        // By number, what stands for it: 0 for the own author, and the places in the table.
        let mut cast = BTreeMap::new();
        for LocalOp { op, .. } in ops {
            op.names(|made| {
                let author = author_of(made);
                if author != self.author {
                    cast.insert(author, 0);
                }
            });
        }
        let mut table: Vec<(AuthorId, u32)> =
            cast.keys().map(|author| (self.history.author_id(*author), *author)).collect();
        table.sort_unstable();
        cast.extend(table.iter().zip(1..).map(|((_, author), place)| (*author, place)));
        let short = |made: Made| {
            let author = cast.get(&author_of(&made)).copied().unwrap_or_default();
            Ok::<_, DecodeError>(Name { author, counter: self.history.number_of(made).1 })
        };
        let ops = ops.iter().map(|LocalOp { op, value_end, .. }| {
            let is_text = matches!(op.kind, OpKind::Text { .. });
            let mut op = op.clone().map(short, |slice| {
                let bytes = values.get(slice.start as usize..*value_end as usize);
                Ok((is_text, bytes.unwrap_or_default()))
            })?;
            op.sort_names();
            Ok(op)
        });
        let table: Vec<AuthorId> = table.iter().map(|(id, _)| *id).collect();
        Body::encode_with(out, &table, ops, |out, (is_text, bytes)| {
            if *is_text {
                out.push(6);
                put_bytes(out, bytes);
            } else {
                out.extend_from_slice(bytes);
            }
            Ok(())
        })
    }

    /// The op of an edit that is not signed that claims a number, with its place and its body alone.
    pub(crate) fn encode_unsigned_alone(&self, made: Made) -> Option<(u32, &Op<Made, Slice>, Vec<u8>)> {
        let edit = self.unsigned.iter().find(|edit| edit.change == made.change)?;
        let after = edit.ops.partition_point(|op| op.place <= made.place);
        let op = edit.ops.get(after.checked_sub(1)?)?;
        let mut body = Vec::new();
        self.encode_ops(std::slice::from_ref(op), &edit.values, &mut body).ok()?;
        Some((op.place, &op.op, body))
    }
}

/// The heads that a change names besides `prev`: all others, or as many as fit. First that of the highest lamport, for
/// an edit stays the newest that there is when it is signed; then those that the edit stands on, then those of
/// the highest lamport.
fn choose_deps(
    history: &History,
    prev: Option<ChangeIx>,
    mut heads: Vec<ChangeIx>,
    stands_on: &[ChangeIx],
) -> Vec<ChangeIx> {
    if heads.len() > CHANGE_DEPS_MAX {
        let mut missing: Vec<ChangeIx> = stands_on.to_vec();
        missing.sort_unstable();
        missing.dedup();
        missing.retain(|named| prev.is_none_or(|prev| !history.is_in_past(*named, prev)));
        let is_needed = |head: ChangeIx| missing.iter().any(|named| history.is_in_past(*named, head));
        let newest = |head: ChangeIx| (Reverse(history.row(head).lamport), history.digest(head));
        let last = heads.iter().copied().min_by_key(|head| newest(*head));
        heads.sort_by_cached_key(|head| (Some(*head) != last, !is_needed(*head), newest(*head)));
        heads.truncate(CHANGE_DEPS_MAX);
    }
    heads
}

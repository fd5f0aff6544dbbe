//! Edits made here: shown at once, signed later, taken back if they never are.
//!
//! An edit reserves a row of the history and claims op numbers when it is made; its seq, prev, deps and
//! lamport are fixed when it is signed. Until then it stands after everything that is signed.

use crate::change::{Body, Change, Digest, Header};
use crate::encoding::DecodeError;
use crate::keypair::{AuthorId, Keypair};
use crate::limits::{CHANGE_DEPS_MAX, OP_NAMES_MAX};
use crate::op::{LongName, Op, OpId, OpKind, RANK_EDIT, Side, Slice, Target};
use crate::state::State;
use crate::state::history::{ChangeIx, History, Made, Standing, Status};
use crate::state::integrate::{NoEffect, Undo, Work};
use crate::state::nodes::NodeIx;
use crate::state::view::long_name;
use crate::value::JsonValue;

/// Why an edit was not made. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The content or the target does not fit the document's type.
    #[error("the edit does not fit the document: {0}")]
    DoesNotFit(#[from] NoEffect),
    /// The content has no encoding: over a limit, or a number that JSON lacks.
    #[error("the content cannot be signed: {0}")]
    Content(#[from] DecodeError),
    /// No element of this list has the id.
    #[error("no element {} in this list", data_encoding::HEXLOWER.encode(.0))]
    NoSuchElement(OpId),
    /// The position is beyond the end.
    #[error("position {position} is beyond the end of a list of {len}")]
    OutOfBounds {
        /// What was asked for.
        position: usize,
        /// How many live elements there are.
        len: usize,
    },
    /// The author of what the edit names signed two histories, and there the name means something else.
    #[error("the edit names an op whose author signed two with that number, and the other one is meant")]
    Ambiguous,
    /// The map has no live entry of the key.
    #[error("no entry {0:?} in this map")]
    NoSuchKey(String),
}

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
    /// The change would be over a limit.
    #[error("the change cannot be signed: {0}")]
    Content(#[from] DecodeError),
}

/// An edit that waits for its signature.
#[derive(Clone, Debug)]
pub(crate) struct Unsigned {
    change: ChangeIx,
    op: Op<Made, Slice>,
    undo: Vec<Undo>,
}

impl Unsigned {
    /// Other writes have overwritten these since: giving up the edit must not bring them back.
    pub(crate) fn forget(&mut self, at: NodeIx, overwritten: &[Made]) {
        for step in &mut self.undo {
            if let Undo::Overwritten { node, writes } = step
                && *node == at
            {
                writes.retain(|write| !overwritten.contains(&write.made));
            }
        }
    }
}

impl State {
    /// Sets a register, overwriting all that it shows and hides.
    pub(crate) fn edit_set(&mut self, node: NodeIx, value: JsonValue) -> Result<ChangeIx, EditError> {
        let overwrites = self.top_writes(node);
        let target = self.target_of(node);
        self.edit(OpKind::Set { target, overwrites, value })
    }

    /// Inserts an element right after `left`, or at the beginning.
    pub(crate) fn edit_insert(
        &mut self,
        list: NodeIx,
        left: Option<u32>,
        value: JsonValue,
    ) -> Result<ChangeIx, EditError> {
        let (parent, side) = self.hook(list, left);
        let target = self.target_of(list);
        self.edit(OpKind::Insert { target, parent, side, value })
    }

    /// What an element right after `left` hangs on: where Fugue says, unless that name means another element
    /// whose author signed two with it. Then right of `left`, which as the newest of the siblings there comes
    /// directly after it; or else of the nearest element before it whose name can be trusted.
    fn hook(&self, list: NodeIx, left: Option<u32>) -> (Option<Made>, Side) {
        let elements = self.nodes.list(list);
        let made = |element: u32| elements.element(element).made;
        let (parent, side) = elements.hook_after(left);
        let parent = parent.map(made);
        if parent.is_none_or(|parent| self.means(parent, None)) {
            return (parent, side);
        }
        let mut before = left;
        while let Some(element) = before {
            if self.means(made(element), None) {
                return (Some(made(element)), Side::Right);
            }
            let position = elements.position(element).and_then(|position| position.checked_sub(1));
            before = position.and_then(|position| elements.at(position));
        }
        (None, Side::Right)
    }

    /// Deletes an element.
    pub(crate) fn edit_delete(&mut self, list: NodeIx, element: u32) -> Result<ChangeIx, EditError> {
        let made = self.nodes.list(list).element(element).made;
        self.edit(OpKind::Delete { elements: vec![made] })
    }

    /// Puts a value under a key, overwriting the registers of its entry; lists and maps inside are added to.
    pub(crate) fn edit_put(
        &mut self,
        map: NodeIx,
        key: &str,
        value: JsonValue,
    ) -> Result<ChangeIx, EditError> {
        let known = self.nodes.map(map);
        let state = known.keys.get(key).cloned().unwrap_or_default();
        let mut removals = state.removals;
        removals.sort_unstable();
        // The entry that the put will be part of, if it is there already.
        let mut entries = state.entries.iter().filter_map(|entry| known.entries.get(*entry as usize));
        let entry = entries.find(|(_, entry)| entry.removals_seen == removals).map(|(_, entry)| entry.node);
        let mut overwrites = Vec::new();
        for register in entry.map(|node| self.own_registers(node)).unwrap_or_default() {
            overwrites.extend(self.top_writes(register));
        }
        overwrites.truncate(OP_NAMES_MAX);
        let target = self.target_of(map);
        self.edit(OpKind::Put { target, key: key.to_owned(), removals, overwrites, value })
    }

    /// Adds to a counter.
    pub(crate) fn edit_add(&mut self, node: NodeIx, delta: i64) -> Result<ChangeIx, EditError> {
        let target = self.target_of(node);
        self.edit(OpKind::Add { target, delta })
    }

    /// Removes the entry of a key.
    pub(crate) fn edit_remove(&mut self, map: NodeIx, key: &str) -> Result<ChangeIx, EditError> {
        if self.live_entry(map, key).is_none() {
            return Err(EditError::NoSuchKey(key.to_owned()));
        }
        let target = self.target_of(map);
        self.edit(OpKind::Remove { target, key: key.to_owned() })
    }

    /// The names of what a register holds, at most as many as an op can name, in the register's order.
    fn top_writes(&self, node: NodeIx) -> Vec<Made> {
        let mut writes: Vec<Made> = self.ordered_writes(node).into_iter().map(|write| write.made).collect();
        // What an op names must lie below the heads that its change can name.
        let crowded = self.history.head_numbers().count() > CHANGE_DEPS_MAX;
        writes.truncate(if crowded { CHANGE_DEPS_MAX / 2 } else { OP_NAMES_MAX });
        writes
    }

    fn target_of(&self, mut node: NodeIx) -> Target<Made> {
        let mut path = Vec::new();
        loop {
            let current = self.nodes.node(node);
            if let Some(made) = current.made {
                path.reverse();
                return Target { node: Some(made), path };
            }
            match self.field_name(node) {
                Some(name) => path.push(name.to_owned()),
                None => {
                    path.reverse();
                    return Target { node: None, path };
                }
            }
            node = current.parent;
        }
    }

    /// Makes an edit: encodes it, claims its op numbers, and shows it.
    fn edit(&mut self, kind: OpKind<Made, JsonValue>) -> Result<ChangeIx, EditError> {
        let op = Op { rank: RANK_EDIT, kind };
        let mut known: Vec<(LongName, Made)> = Vec::new();
        op.names(|made| known.push((self.history.long_name(*made), *made)));
        let mut binding = Vec::new();
        op.binding_names(|made| binding.push(*made));
        if !binding.iter().all(|made| self.means(*made, None)) {
            return Err(EditError::Ambiguous);
        }
        let op = op.map(|made| Ok::<_, DecodeError>(self.history.long_name(made)), Ok)?;
        let bytes = Body::encode_alone(&self.author_id, op)?;
        let Body { authors, ops } = Body::decode(&bytes)?;
        let Some(op) = ops.into_iter().next() else {
            return Err(DecodeError::Malformed("a change without an op").into());
        };
        let span = op.span() as u32;
        let op = op.map(
            |name| {
                let long = long_name(&name, self.author_id, &authors)?;
                let known = known.iter().find(|(name, _)| *name == long);
                known.map(|(_, made)| *made).ok_or(DecodeError::Malformed("a name that was not given"))
            },
            Ok,
        )?;
        let mut op = op;
        self.widen(&mut op, None);
        let change = self.history.reserve(self.author, &bytes, span);
        let mut undo = Vec::new();
        let mut work = Work { change, place: 0, body: &bytes, undo: Some(&mut undo) };
        if let Err(misfit) = self.integrate(&mut work, &op) {
            self.history.row_mut(change).status = Status::Undone;
            return Err(misfit.into());
        }
        self.unsigned.push(Unsigned { change, op, undo });
        Ok(change)
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
        if keypair.author() != self.author_id {
            return Err(SignError::WrongKey { document: self.author_id, key: keypair.author() });
        }
        if let Some(unknown) = named.iter().find(|digest| self.history.find(digest).is_none()) {
            return Err(SignError::UnknownDependency(*unknown));
        }
        let Some(at) = self.unsigned.iter().position(|edit| edit.change == ix) else {
            return Err(SignError::ChainMoved);
        };
        let Some(Unsigned { op, .. }) = self.unsigned.get(at).cloned() else {
            return Err(SignError::ChainMoved);
        };
        let mut stands_on = Vec::new();
        op.names(|made| stands_on.push(made.change));
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
        let deps = choose_deps(&self.history, prev, &stands_on);
        let standing = self.history.standing_after(self.author, prev, &deps);
        if stands_on.iter().any(|named| !self.history.reaches(&standing, *named)) {
            return Err(SignError::TooManyHeads);
        }
        let mut op = op;
        let mut binding = Vec::new();
        op.binding_names(|made| binding.push(*made));
        if !binding.iter().all(|made| self.means(*made, Some(&standing))) {
            return Err(EditError::Ambiguous.into());
        }
        let mut dep_digests: Vec<Digest> = deps.iter().map(|dep| self.history.digest(*dep)).collect();
        dep_digests.sort_unstable();
        let header = Header {
            document: self.history.document,
            author: self.author_id,
            seq: standing.seq.into(),
            prev: prev.map(|prev| self.history.digest(prev)),
            lamport: standing.lamport.into(),
            first_counter: self.history.row(ix).first_counter,
            deps: dep_digests,
        };
        let change = Change::sign(header, self.history.body(ix), keypair)?;
        // Overwritten values that share a number with a newly known one take it with them.
        self.widen(&mut op, Some(&standing));
        self.settle_overwrites(ix, &op);
        self.history.settle(ix, &change, standing);
        self.unsigned.remove(at);
        if let OpKind::Remove { target, key } = &op.kind {
            // What arrived between making and signing lies in its past too.
            self.settle_removal(ix, target, key);
        }
        Ok(change)
    }

    /// Whether the op number of `made` means it, and not a namesake that its author signed as well.
    fn means(&self, made: Made, standing: Option<&Standing>) -> bool {
        if self.history.row(made.change).status != Status::Signed {
            return true;
        }
        let namesakes = self.history.namesakes(made, standing).into_iter();
        namesakes.min_by_key(|other| self.history.digest(other.change)) == Some(made)
    }

    /// An overwritten value is named by its op number: where its author signed two with that number, both
    /// are overwritten, as far as the edit has seen them.
    pub(crate) fn widen(&self, op: &mut Op<Made, Slice>, standing: Option<&Standing>) {
        if let OpKind::Set { overwrites, .. } | OpKind::Put { overwrites, .. } = &mut op.kind {
            for at in 0..overwrites.len() {
                let Some(made) = overwrites.get(at).copied() else { continue };
                if self.history.row(made.change).status == Status::Signed {
                    let more = self.history.namesakes(made, standing);
                    overwrites.extend(more.into_iter().filter(|other| *other != made));
                }
            }
        }
    }

    /// Takes back an edit that was not signed, and the later ones that build on it.
    pub(crate) fn give_up(&mut self, change: ChangeIx) {
        let Some(at) = self.unsigned.iter().position(|edit| edit.change == change) else { return };
        let builds_on: Vec<ChangeIx> = self
            .unsigned
            .iter()
            .skip(at + 1)
            .filter(|edit| {
                let mut builds = false;
                edit.op.names(|made| builds |= made.change == change);
                builds
            })
            .map(|edit| edit.change)
            .collect();
        for later in builds_on.into_iter().rev() {
            self.give_up(later);
        }
        let edit = self.unsigned.remove(at);
        for step in edit.undo.into_iter().rev() {
            self.undo(change, step);
        }
        let row = self.history.row_mut(change);
        row.status = Status::Undone;
        let (branch, from, to) = (row.branch, row.first_counter, row.first_counter + u64::from(row.span));
        self.history.branch_mut(branch).nodes.retain(|(counter, _)| *counter < from || *counter >= to);
    }

    /// Takes back all edits that are not signed: the author's chain went on without them.
    pub(crate) fn give_up_all(&mut self) {
        while let Some(edit) = self.unsigned.last() {
            self.give_up(edit.change);
        }
    }

    fn undo(&mut self, change: ChangeIx, step: Undo) {
        match step {
            Undo::Write { node, write } => {
                self.nodes.remove_writes(node, &[write.made]);
            }
            Undo::Overwritten { node, writes } => {
                writes.into_iter().for_each(|write| self.nodes.add_write(node, write));
            }
            Undo::Element { list, element } => {
                let node = self.nodes.list(list).element(element).node;
                self.nodes.list_mut(list).take_out(element);
                self.forget_element(node);
            }
            Undo::Addition { node, delta } => self.nodes.add(node, -i128::from(delta)),
            Undo::Deletion { list, element } => self.nodes.list_mut(list).undelete(element, change),
            Undo::Put { map, entry, made } => {
                if let Some((_, entry)) = self.nodes.map_mut(map).entries.get_mut(entry as usize) {
                    entry.puts.retain(|put| *put != made);
                }
            }
            Undo::Touch { map, entry } => {
                if let Some((_, entry)) = self.nodes.map_mut(map).entries.get_mut(entry as usize) {
                    entry.touches.retain(|touch| *touch != change);
                }
            }
            Undo::Removal { map, key, dropped, removals_before } => {
                let history = &self.history;
                let map = self.nodes.map_mut(map);
                let Some(state) = map.keys.get_mut(&key) else { return };
                state.removals.retain(|removal| removal.change != change);
                let newer = state.removals.clone();
                let covered =
                    |earlier: ChangeIx| newer.iter().any(|later| history.is_in_past(earlier, later.change));
                state.removals.extend(removals_before.into_iter().filter(|removal| !covered(removal.change)));
                state.removals.sort_unstable();
                state.removals.dedup();
                for (entry, touches) in dropped {
                    if let Some((_, entry)) = map.entries.get_mut(entry as usize) {
                        entry.touches.extend(touches.into_iter().filter(|touch| !covered(*touch)));
                    }
                }
            }
        }
    }
}

/// The heads that a change names besides `prev`: all, or as many as fit, first those that the op stands on,
/// then those of the highest lamport.
fn choose_deps(history: &History, prev: Option<ChangeIx>, stands_on: &[ChangeIx]) -> Vec<ChangeIx> {
    let mut heads: Vec<ChangeIx> = history.head_numbers().filter(|head| Some(*head) != prev).collect();
    if heads.len() > CHANGE_DEPS_MAX {
        let mut missing: Vec<ChangeIx> = stands_on.to_vec();
        missing.retain(|named| prev.is_none_or(|prev| !history.is_in_past(*named, prev)));
        let is_needed = |head: ChangeIx| missing.iter().any(|named| history.is_in_past(*named, head));
        heads.sort_by_key(|head| {
            (!is_needed(*head), std::cmp::Reverse(history.row(*head).lamport), history.digest(*head))
        });
        heads.truncate(CHANGE_DEPS_MAX);
    }
    heads
}

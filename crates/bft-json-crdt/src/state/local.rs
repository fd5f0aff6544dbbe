//! Edits made here: shown at once, signed later, taken back if they never are.
//!
//! An edit reserves a row of the history and claims op numbers when it is made; its seq, prev, deps and
//! lamport are fixed when it is signed. Until then it stands after everything that is signed. In a transaction
//! edits share one row, whose numbers go on as they come.

use smallvec::smallvec;

use crate::change::DocumentId;
use crate::encoding::{DecodeError, Extent, check_limit, put_value};
use crate::limits::{
    CHANGE_BYTES_MAX, CHANGE_DEPS_MAX, CHANGE_OPS_MAX, KEY_BYTES_MAX, OP_NAMES_MAX, VALUE_COUNT_MAX,
    VALUE_DEPTH_MAX,
};
use crate::op::{Names, Op, OpId, OpKind, Rank, Side, Slice, Target};
use crate::schema::TypeDef;
use crate::state::State;
use crate::state::history::{ChangeIx, Made, Standing, Status};
use crate::state::integrate::{NoEffect, Undo, Work, has_seen};
use crate::state::nodes::NodeIx;
use crate::state::text::{CharIx, Text};
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
    /// The document's id is not that of a source with this author's key and this name.
    #[error("the document is not that of this author's source {0:?}")]
    NotTheSource(String),
    /// The author's key has signed the highest op numbers that there are. Edit with another key.
    #[error("the author has no op numbers left in this document")]
    NoNumbersLeft,
    /// There is no character to insert or to cut.
    #[error("the edit inserts and cuts no character")]
    Nothing,
}

/// Edits that wait for one signature: one, or those of a transaction.
#[derive(Clone, Debug)]
pub(crate) struct Unsigned {
    pub(super) change: ChangeIx,
    pub(super) ops: Vec<LocalOp>,
    /// The values of the ops, encoded; of text ops, the bare characters.
    pub(super) values: Vec<u8>,
    pub(super) undo: Vec<Undo>,
    /// At least as many bytes as the ops will take up.
    pub(super) size: usize,
    /// Part of the open transaction.
    pub(super) is_open: bool,
    /// How many changes had come from elsewhere when it was begun.
    pub(super) arrivals: u64,
}

/// An op of an edit, with its place among the numbers that the edit claims.
#[derive(Clone, Debug)]
pub(crate) struct LocalOp {
    pub(super) place: u32,
    pub(super) op: Op<Made, Slice>,
    /// Where its value ends.
    pub(super) value_end: u32,
}

/// Authors whose keys in the author table are counted once, and not with each name.
const FEW_AUTHORS: usize = 64;
/// Bytes of a change that are not its ops': the header with its deps, a table of a few authors, and some room.
const CHANGE_BYTES_BESIDE_OPS: usize = 4_096 + 32 * FEW_AUTHORS;
/// An encoding buffer that is larger is not kept.
const SCRATCH_BYTES_MAX: usize = 1 << 16;
/// The most that an op takes up beside its names, keys and value.
const OP_BYTES: usize = 16;
/// The most that a name takes up with a count behind it.
const NAME_BYTES: usize = 24;

impl Unsigned {
    pub(crate) fn change(&self) -> ChangeIx {
        self.change
    }

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

    /// Others have cut these characters since: giving up the edit must not show them again.
    pub(crate) fn forget_hidden(&mut self, at: NodeIx, text: &Text, cut: (u32, u64, u64)) {
        let (branch, counter, count) = cut;
        let is_cut = |character: CharIx| {
            let (of_branch, number) = text.id(character);
            of_branch == branch && (counter..counter.saturating_add(count)).contains(&number)
        };
        for step in &mut self.undo {
            if let Undo::Hidden { text: node, stretches } = step
                && *node == at
            {
                let each = stretches.iter().flat_map(|(first, count)| *first..*first + *count);
                *stretches = each.filter(|character| !is_cut(*character)).map(|c| (c, 1)).collect();
            }
        }
    }
}

impl State {
    /// Sets a register, overwriting all that it shows and hides.
    pub(crate) fn edit_set(&mut self, node: NodeIx, value: JsonValue) -> Result<Made, EditError> {
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
    ) -> Result<Made, EditError> {
        let (parent, side) = self.hook(list, left);
        let target = self.target_of(list);
        let TypeDef::List(ty) = *self.types.def(self.nodes.node(list).ty) else {
            return Err(NoEffect::NoSuchNode.into());
        };
        let value = self.types.with_texts(ty, value);
        self.edit(OpKind::Insert { target, parent, side, value })
    }

    /// Moves an element right behind `left`, or to the beginning.
    pub(crate) fn edit_move(
        &mut self,
        list: NodeIx,
        element: u32,
        left: Option<u32>,
    ) -> Result<Made, EditError> {
        let (parent, side) = self.hook(list, left);
        let made = self.nodes.list(list).element(element).made;
        self.edit(OpKind::Move { element: made, parent, side })
    }

    /// What an element right after `left` hangs on: where Fugue says, unless that name means another element
    /// whose author signed two with it. Then right of `left`, which as the newest of the siblings there comes
    /// directly after it; or else of the nearest element before it whose name can be trusted.
    fn hook(&self, list: NodeIx, left: Option<u32>) -> (Option<Made>, Side) {
        let elements = self.nodes.list(list);
        let made = |place: u32| elements.element(place).made;
        let left_place = left.map(|left| elements.place_of(left));
        let (parent, side) = elements.hook_after(left_place);
        let parent = parent.map(made);
        if parent.is_none_or(|parent| self.means(parent, None)) {
            return (parent, side);
        }
        let mut before = left;
        while let Some(element) = before {
            let at = made(elements.place_of(element));
            if self.means(at, None) {
                return (Some(at), Side::Right);
            }
            let position = elements.position(element).and_then(|position| position.checked_sub(1));
            before = position.and_then(|position| elements.at(position));
        }
        (None, Side::Right)
    }

    /// Deletes an element.
    pub(crate) fn edit_delete(&mut self, list: NodeIx, element: u32) -> Result<Made, EditError> {
        let made = self.nodes.list(list).element(element).made;
        self.edit(OpKind::Delete { elements: smallvec![made] })
    }

    /// Puts a value under a key, overwriting the registers of its entry; lists and maps inside are added to.
    pub(crate) fn edit_put(&mut self, map: NodeIx, key: &str, value: JsonValue) -> Result<Made, EditError> {
        let TypeDef::Map(ty) = *self.types.def(self.nodes.node(map).ty) else {
            return Err(NoEffect::NoSuchNode.into());
        };
        let value = self.types.with_texts(ty, value);
        let state = self.nodes.map(map).key(key);
        let mut removals = Names::from_slice(state.map_or(&[], |state| &state.removals().last));
        removals.sort_unstable();
        // The entry that the put will be part of, if it is there already.
        let mut tag = Vec::new();
        put_value(&mut tag, &value)?;
        let kind = self.types.concrete(ty, tag.first().copied());
        let entry = self.find_entry(map, key, &removals, kind);
        let entry = entry.and_then(|entry| self.nodes.map(map).entry(entry));
        let entry = entry.map(|entry| entry.node);
        let mut overwrites = Names::new();
        for register in entry.map(|node| self.own_registers(node)).unwrap_or_default() {
            overwrites.extend(self.top_writes(register));
        }
        overwrites.truncate(OP_NAMES_MAX);
        let target = self.target_of(map);
        self.edit(OpKind::Put { target, key: key.to_owned(), removals, overwrites, value })
    }

    /// Adds to a counter.
    pub(crate) fn edit_add(&mut self, node: NodeIx, delta: i64) -> Result<Made, EditError> {
        let target = self.target_of(node);
        self.edit(OpKind::Add { target, delta })
    }

    /// Removes the entry of a key.
    pub(crate) fn edit_remove(&mut self, map: NodeIx, key: &str) -> Result<Made, EditError> {
        if self.live_entry(map, key).is_none() {
            return Err(EditError::NoSuchKey(key.to_owned()));
        }
        let target = self.target_of(map);
        self.edit(OpKind::Remove { target, key: key.to_owned() })
    }

    /// Says that the document follows a source of this author's.
    pub(crate) fn edit_source(&mut self, name: &str) -> Result<Made, EditError> {
        if DocumentId::of_source(&self.author_id, name) != self.history.document {
            return Err(EditError::NotTheSource(name.to_owned()));
        }
        self.edit(OpKind::Source { name: name.to_owned() })
    }

    /// The names of what a register holds, at most as many as an op can name, in the register's order.
    fn top_writes(&self, node: NodeIx) -> Names<Made> {
        let mut writes: Names<Made> = self.ordered_writes(node).into_iter().map(|write| write.made).collect();
        if writes.len() <= 1 {
            return writes;
        }
        // What an op names must lie below the heads that its change can name.
        let crowded = self.history.head_numbers().count() > CHANGE_DEPS_MAX;
        writes.truncate(if crowded { CHANGE_DEPS_MAX / 2 } else { OP_NAMES_MAX });
        writes
    }

    pub(super) fn target_of(&self, mut node: NodeIx) -> Target<Made> {
        let mut path = Vec::new();
        loop {
            let current = self.nodes.node(node);
            // A field that was named by an edit which was given up is found from its struct.
            let is_undone = |made: Made| self.history.row(made.change).status == Status::Undone;
            let name = current.made.filter(|made| !is_undone(*made) || self.field_name(node).is_none());
            if let Some(made) = name {
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

    /// Makes an edit: claims its op numbers and shows it. All of it or nothing.
    fn edit(&mut self, kind: OpKind<Made, JsonValue>) -> Result<Made, EditError> {
        let op = Op { rank: self.rank(), kind };
        let mut value = std::mem::take(&mut self.scratch);
        value.clear();
        let mut extent = Extent::default();
        let op = op.map(Ok, |content| {
            put_value(&mut value, &content)?;
            extent = Extent::of(&content);
            check_limit("the values in an op", extent.values as usize, VALUE_COUNT_MAX)?;
            Ok::<_, DecodeError>(Slice { start: 0, span: extent.numbers })
        })?;
        let span = op.span();
        let made = self.make(op, span, &value, |state, work, op| state.integrate(work, op));
        if value.capacity() <= SCRATCH_BYTES_MAX {
            self.scratch = value;
        }
        made
    }

    /// Enters an op, whose value is `value`, into the edit that goes on or a new one, and carries it out.
    pub(super) fn make(
        &mut self,
        mut op: Op<Made, Slice>,
        span: u64,
        value: &[u8],
        carry_out: impl FnOnce(&mut Self, &mut Work<'_>, &Op<Made, Slice>) -> Result<(), NoEffect>,
    ) -> Result<Made, EditError> {
        let size = self.check_names(&op)?;
        if !self.history.is_without_forks() {
            self.widen(&mut op, None);
        }
        let size = size + value.len();
        let (change, place) = self.claim(span, size)?;
        let mut undo =
            self.unsigned.last_mut().map(|edit| std::mem::take(&mut edit.undo)).unwrap_or_default();
        let before = undo.len();
        let rank = self.rank_in(change, op.rank);
        let mut work = Work::new(change, place, rank, value, Some(&mut undo));
        let done = carry_out(self, &mut work, &op);
        let misfit = done.err().map(|misfit| (misfit, undo.split_off(before)));
        let Some(edit) = self.unsigned.last_mut() else { return Err(EditError::Nothing) };
        edit.undo = undo;
        if let Some((misfit, steps)) = misfit {
            edit.size -= size;
            self.undo_all(change, steps);
            self.unclaim(change, place);
            return Err(misfit.into());
        }
        let start = edit.values.len() as u32;
        edit.values.extend_from_slice(value);
        op.kind.each_value(|slice| slice.start = start);
        edit.ops.push(LocalOp { place, op, value_end: edit.values.len() as u32 });
        self.count_edit();
        Ok(Made { change, place })
    }

    pub(super) fn count_edit(&mut self) {
        if let Some(open) = &mut self.open {
            open.edits += 1;
        }
    }

    /// The most that a name takes up, with a key for it in the author table where that is not counted already.
    pub(super) fn name_bytes(&self) -> usize {
        NAME_BYTES + if self.history.author_count() > FEW_AUTHORS { 32 } else { 0 }
    }

    /// Claims op numbers in the edit that goes on, or for a new one.
    pub(super) fn claim(&mut self, span: u64, size: usize) -> Result<(ChangeIx, u32), EditError> {
        let goes_on = self.goes_on();
        let (before, ops) = match self.unsigned.last() {
            Some(edit) if goes_on => (edit.size, edit.ops.len()),
            Some(_) | None => (CHANGE_BYTES_BESIDE_OPS, 0),
        };
        check_limit("a change in bytes", before + size, CHANGE_BYTES_MAX)?;
        check_limit("the ops of a change", ops + 1, CHANGE_OPS_MAX)?;
        if !self.history.has_numbers(self.author, span) {
            return Err(EditError::NoNumbersLeft);
        }
        if let (true, Some(edit)) = (goes_on, self.unsigned.last_mut()) {
            edit.size += size;
            let place = self.history.row(edit.change).span;
            self.history.extend(edit.change, span as u32);
            return Ok((edit.change, place));
        }
        let change = self.history.reserve(self.author, span as u32);
        self.unsigned.push(Unsigned {
            change,
            ops: Vec::new(),
            values: Vec::new(),
            undo: Vec::new(),
            size: CHANGE_BYTES_BESIDE_OPS + size,
            is_open: self.open.is_some(),
            arrivals: self.arrivals,
        });
        Ok((change, 0))
    }

    /// Gives back what an op claimed that was not made; gaps between op numbers do no harm.
    fn unclaim(&mut self, change: ChangeIx, place: u32) {
        let row = self.history.row(change);
        let (branch, from) = (row.branch, row.first_counter + u64::from(place));
        self.history.branch_mut(branch).nodes.forget(from, u64::MAX);
        if place == 0 {
            self.unsigned.pop();
            self.history.row_mut(change).status = Status::Undone;
        } else {
            self.history.unclaim(change, place);
        }
    }

    /// Whether the next op joins the edit before it.
    pub(super) fn goes_on(&self) -> bool {
        self.history.document != DocumentId::DEFAULT
            && self.open.is_some()
            && self
                .unsigned
                .last()
                .is_some_and(|edit| edit.is_open && self.history.is_last_claimed(edit.change))
    }

    pub(super) fn rank(&self) -> Rank {
        self.open.as_ref().map_or(Rank::Edit, |open| open.rank)
    }

    /// The rank that counts for an op of a change: its own, where the author has declared itself the source in
    /// the past of the change or earlier in it; else that of an edit.
    pub(super) fn rank_in(&self, change: ChangeIx, rank: Rank) -> Rank {
        if rank == Rank::Edit {
            return rank;
        }
        let history = &self.history;
        let is_declared = self.sources.iter().any(|declared| {
            has_seen(history, change, *declared) && history.author_of(*declared) == history.author_of(change)
        });
        if is_declared { rank } else { Rank::Edit }
    }

    /// Checks that an op's names and keys can be signed, and says how many bytes it takes up at most beside its
    /// value.
    fn check_names<V>(&self, op: &Op<Made, V>) -> Result<usize, EditError> {
        let mut size = OP_BYTES;
        op.names(|_| size += self.name_bytes());
        let (path, key, names) = match &op.kind {
            OpKind::Set { target, overwrites, .. } => (&target.path[..], None, overwrites.len()),
            OpKind::Insert { target, .. }
            | OpKind::Add { target, .. }
            | OpKind::Text { target, .. }
            | OpKind::Cut { target, .. } => (&target.path[..], None, 0),
            OpKind::Put { target, key, overwrites, removals, .. } => {
                (&target.path[..], Some(key), overwrites.len().max(removals.len()))
            }
            OpKind::Remove { target, key } => (&target.path[..], Some(key), 0),
            OpKind::Delete { elements } => (&[][..], None, elements.len()),
            OpKind::Move { .. } => (&[][..], None, 0),
            OpKind::Source { name } => (&[][..], Some(name), 0),
        };
        check_limit("the names of an op", names, OP_NAMES_MAX)?;
        check_limit("a path", path.len(), VALUE_DEPTH_MAX)?;
        for key in path.iter().chain(key) {
            check_limit("a key", key.len(), KEY_BYTES_MAX)?;
            size += key.len() + 2;
        }
        if self.history.is_without_forks() {
            return Ok(size);
        }
        let mut is_clear = true;
        op.binding_names(|made| is_clear &= self.means(*made, None));
        if is_clear { Ok(size) } else { Err(EditError::Ambiguous) }
    }

    /// Whether the op number of `made` means it, and not a namesake that its author signed as well.
    pub(super) fn means(&self, made: Made, standing: Option<&Standing>) -> bool {
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
}

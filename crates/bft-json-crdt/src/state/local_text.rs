//! Texts edited here. In a transaction, typing that goes on where it stopped extends the op before it, and so
//! does cutting: a word that was typed letter by letter is one op.

use crate::encoding::check_limit;
use crate::limits::OP_RANGES_MAX;
use crate::op::{LongName, Op, OpKind, Range, Side, Slice};
use crate::state::State;
use crate::state::history::Made;
use crate::state::integrate::{NoEffect, Work};
use crate::state::local::{EditError, LocalOp};
use crate::state::nodes::NodeIx;
use crate::state::text::CharIx;
use crate::state::typing::made_at;

impl State {
    /// Inserts characters at a position.
    pub(crate) fn edit_type(
        &mut self,
        text: NodeIx,
        position: usize,
        content: &str,
    ) -> Result<Made, EditError> {
        if content.is_empty() {
            return Err(EditError::Nothing);
        }
        let len = self.nodes.text(text).len();
        let hook = self.nodes.text_mut(text).hook_at(position);
        let (parent, side) = hook.ok_or(EditError::OutOfBounds { position, len })?;
        let count = content.chars().count();
        let parent = parent.map(|parent| (parent, self.made_character(text, parent)));
        if let (Some((character, Some(made))), Side::Right) = (parent, side)
            && let Some(made) = self.type_on(text, character, made, content, count)?
        {
            return Ok(made);
        }
        let (parent, side) = self.trusted_hook(text, position, parent, side);
        let op = OpKind::Text {
            target: self.target_of(text),
            parent: parent.map(|(_, made)| made),
            side,
            value: Slice { start: 0, span: count as u64 },
        };
        let op = Op { rank: self.rank(), kind: op };
        let hook = (parent.map(|(character, _)| character), side);
        self.make(op, count as u64, content.as_bytes(), |state, work, op| {
            state.patched(op, |state| {
                state.type_in(work, text, work.made(), content, hook)?;
                state.touch_above(work, text);
                Ok(())
            })
        })
    }

    /// Extends the text op before this one, if its last character is the one to go on from.
    fn type_on(
        &mut self,
        text: NodeIx,
        character: CharIx,
        made: Made,
        content: &str,
        count: usize,
    ) -> Result<Option<Made>, EditError> {
        let goes_on = self.goes_on()
            && self.unsigned.last().is_some_and(|edit| {
                edit.ops.last().is_some_and(|last| {
                    matches!(last.op.kind, OpKind::Text { value, .. }
                        if made.change == edit.change && made.place + 1 == last.place + value.span as u32)
                })
            });
        if !goes_on {
            return Ok(None);
        }
        let (change, place) = self.claim(count as u64, content.len())?;
        let rank = self.rank_in(change, self.rank());
        let Some(mut undo) = self.unsigned.last_mut().map(|edit| std::mem::take(&mut edit.undo)) else {
            return Ok(None);
        };
        let mut work = Work::new(change, place, rank, &[], Some(&mut undo));
        let first = work.made();
        let done = self.type_in(&mut work, text, first, content, (Some(character), Side::Right));
        let Some(edit) = self.unsigned.last_mut() else { return Ok(None) };
        edit.undo = undo;
        if let Err(misfit) = done {
            self.history.unclaim(change, place);
            return Err(misfit.into());
        }
        edit.values.extend_from_slice(content.as_bytes());
        let end = edit.values.len() as u32;
        let Some(LocalOp { op, value_end, place: first, .. }) = edit.ops.last_mut() else { return Ok(None) };
        *value_end = end;
        if let OpKind::Text { value, .. } = &mut op.kind {
            value.span += count as u64;
        }
        let first = *first;
        self.count_edit();
        Ok(Some(Made { change, place: first }))
    }

    /// What new characters at a position hang on: where Fugue says, unless that name means another character
    /// whose author signed two with it. Then right of the nearest visible character before it that can be
    /// named.
    fn trusted_hook(
        &mut self,
        text: NodeIx,
        position: usize,
        parent: Option<(CharIx, Option<Made>)>,
        side: Side,
    ) -> (Option<(CharIx, Made)>, Side) {
        match parent {
            None => return (None, Side::Right),
            Some((character, Some(made))) if self.is_clear(made) => return (Some((character, made)), side),
            Some(_) => {}
        }
        for before in (0..position).rev() {
            let Some(character) = self.nodes.text_mut(text).at(before) else { continue };
            match self.made_character(text, character) {
                Some(made) if self.is_clear(made) => return (Some((character, made)), Side::Right),
                Some(_) | None => {}
            }
        }
        (None, Side::Right)
    }

    fn is_clear(&self, made: Made) -> bool {
        self.history.is_without_forks() || self.means(made, None)
    }

    /// Hides the characters at a position.
    pub(crate) fn edit_cut(
        &mut self,
        text: NodeIx,
        position: usize,
        count: usize,
    ) -> Result<Made, EditError> {
        let len = self.nodes.text(text).len();
        let end = position.checked_add(count).filter(|end| *end <= len);
        if end.is_none() {
            return Err(EditError::OutOfBounds { position: position.saturating_add(count), len });
        }
        let names = self.nodes.text_mut(text).names_in(position, count);
        let mut ranges = Vec::with_capacity(names.len());
        for (branch, counter, count) in names {
            let first = made_at(&self.history, &self.unsigned, branch, counter);
            ranges.push(Range { first: first.ok_or(NoEffect::NoSuchElement)?, count });
        }
        if ranges.is_empty() {
            return Err(EditError::Nothing);
        }
        check_limit("the ranges of an op", ranges.len(), OP_RANGES_MAX)?;
        if let Some(made) = self.cut_on(text, &ranges)? {
            return Ok(made);
        }
        let op = Op { rank: self.rank(), kind: OpKind::Cut { target: self.target_of(text), ranges } };
        self.make(op, 1, &[], |state, work, op| {
            state.patched(op, |state| {
                if let OpKind::Cut { ranges, .. } = &op.kind {
                    ranges.iter().for_each(|range| state.cut(work, text, range));
                }
                state.touch_above(work, text);
                Ok(())
            })
        })
    }

    /// Extends the cut before this one, if it was in the same text.
    fn cut_on(&mut self, text: NodeIx, ranges: &[Range<Made>]) -> Result<Option<Made>, EditError> {
        let goes_on = self.goes_on()
            && self.unsigned.last().and_then(|edit| edit.ops.last()).is_some_and(|last| {
                matches!(&last.op.kind, OpKind::Cut { target, ranges: before }
                    if before.len() + ranges.len() <= OP_RANGES_MAX && self.find_target(target) == Ok(text))
            });
        if !goes_on {
            return Ok(None);
        }
        let (change, place) = self.claim(0, self.name_bytes() * ranges.len())?;
        let rank = self.rank_in(change, self.rank());
        let Some(mut undo) = self.unsigned.last_mut().map(|edit| std::mem::take(&mut edit.undo)) else {
            return Ok(None);
        };
        let mut work = Work::new(change, place, rank, &[], Some(&mut undo));
        ranges.iter().for_each(|range| self.cut(&mut work, text, range));
        let Some(edit) = self.unsigned.last_mut() else { return Ok(None) };
        edit.undo = undo;
        let Some(LocalOp { op, place, .. }) = edit.ops.last_mut() else { return Ok(None) };
        if let OpKind::Cut { ranges: before, .. } = &mut op.kind {
            for range in ranges {
                match before.last_mut() {
                    // Backspaces go backwards, the delete key forwards.
                    Some(last) if is_right_before(range, last) => {
                        last.first = range.first;
                        last.count += range.count;
                    }
                    Some(last) if is_right_before(last, range) => last.count += range.count,
                    Some(_) | None => before.push(*range),
                }
            }
        }
        let place = *place;
        self.count_edit();
        Ok(Some(Made { change, place }))
    }

    /// The outside name of a character, for a cursor.
    pub(crate) fn name_character(&self, text: NodeIx, character: CharIx) -> Option<LongName> {
        let made = self.made_character(text, character)?;
        Some(self.history.long_name(made))
    }

    /// The character that an outside name stands for.
    pub(crate) fn named_character(&self, text: NodeIx, name: &LongName) -> Option<CharIx> {
        let mut branches = self.history.branches_of(&name.author);
        branches.find_map(|branch| self.nodes.text(text).find(branch, name.counter))
    }
}

/// Whether a range ends where another of the same change begins.
fn is_right_before(range: &Range<Made>, next: &Range<Made>) -> bool {
    range.first.change == next.first.change
        && u64::from(range.first.place) + range.count == u64::from(next.first.place)
}

//! Texts: what is typed into them, and what is cut.
//!
//! A character is named by an op number, so a stretch of typing is a stretch of numbers on one branch of its
//! author. Inside its text a character has a number of its own ([`CharIx`]).

use std::cmp::Ordering;

use crate::op::{Range, Rank, Side, Target};
use crate::state::State;
use crate::state::history::{History, Made};
use crate::state::integrate::{NoEffect, Undo, Work};
use crate::state::local::Unsigned;
use crate::state::nodes::NodeIx;
use crate::state::text::CharIx;

impl State {
    /// The character of a text that an op number made.
    pub(crate) fn find_character(&self, text: NodeIx, made: Made) -> Result<CharIx, NoEffect> {
        let (branch, counter) = self.history.number_of(made);
        self.nodes.text(text).find(branch, counter).ok_or(NoEffect::NoSuchElement)
    }

    /// The op number that made a character.
    pub(crate) fn made_character(&self, text: NodeIx, character: CharIx) -> Option<Made> {
        let (branch, counter) = self.nodes.text(text).id(character);
        made_at(&self.history, &self.unsigned, branch, counter)
    }

    /// Adds characters to a text; `first` is the number of the first.
    pub(crate) fn type_in(
        &mut self,
        work: &mut Work<'_>,
        text: NodeIx,
        first: Made,
        content: &str,
        (parent, side): (Option<CharIx>, Side),
    ) -> Result<(), NoEffect> {
        let count = content.chars().count();
        if !self.nodes.text(text).room(count) {
            return Err(NoEffect::TextFull);
        }
        let (branch, counter) = self.history.number_of(first);
        let (history, unsigned) = (&self.history, &self.unsigned);
        let order = |a: (u32, u64), b: (u32, u64)| sibling_order(history, unsigned, first, a, b);
        let at = self.nodes.text_mut(text).insert(branch, counter, content, parent, side, &order);
        // What was typed before goes on here: one step takes both back.
        let is_joined = work.undo.as_mut().is_some_and(|undo| match undo.last_mut() {
            Some(Undo::Typed { text: other, first, count: typed })
                if *other == text
                    && *first + *typed == at
                    && parent == at.checked_sub(1)
                    && side == Side::Right =>
            {
                *typed += count as u32;
                true
            }
            Some(_) | None => false,
        });
        if !is_joined {
            work.note(|| Undo::Typed { text, first: at, count: count as u32 });
        }
        self.patch_typed(text, at, content);
        Ok(())
    }

    /// Hides the characters of a text that a range of op numbers made: in each branch of their author, as far
    /// as the change has seen it.
    pub(crate) fn cut(&mut self, work: &mut Work<'_>, text: NodeIx, range: &Range<Made>) {
        for (branch, counter, count) in self.history.spread(range, work.change) {
            // What an unsigned cut would show again when it is given up must not include these.
            if work.undo.is_none() {
                for edit in &mut self.unsigned {
                    edit.forget_hidden(text, self.nodes.text(text), (branch, counter, count));
                }
            }
            let mut stretches = Vec::new();
            let mut hidden = Vec::new();
            self.nodes.text_mut(text).delete(branch, counter, count, &mut |first, count, position| {
                stretches.push((first, count));
                hidden.push((position, count));
            });
            for (position, count) in hidden {
                self.patch_cut(text, position, count as usize);
            }
            if !stretches.is_empty() {
                work.note(|| Undo::Hidden { text, stretches });
            }
        }
    }

    /// Hides the characters that share their numbers with those that were cut, and became known between cutting and
    /// signing.
    pub(crate) fn settle_cut(&mut self, made: Made, target: &Target<Made>, ranges: &[Range<Made>]) {
        let Ok(text) = self.find_target(target) else { return };
        if self.expect_kind(text, "a text").is_ok() {
            let mut work = Work::new(made.change, made.place, Rank::Edit, &[], None);
            ranges.iter().for_each(|range| self.cut(&mut work, text, range));
        }
    }
}

/// What an op number on a branch made: in the history, or in an edit that is not signed yet.
pub(crate) fn made_at(history: &History, unsigned: &[Unsigned], branch: u32, counter: u64) -> Option<Made> {
    history.made_at(branch, counter).or_else(|| {
        unsigned.iter().map(Unsigned::change).find_map(|change| {
            let row = history.row(change);
            let place = counter.checked_sub(row.first_counter)?;
            (row.branch == branch && place < u64::from(row.span))
                .then_some(Made { change, place: place as u32 })
        })
    })
}

/// The order of siblings, by their op numbers. Those of the change that is being taken in are `newest`'s.
fn sibling_order(
    history: &History,
    unsigned: &[Unsigned],
    newest: Made,
    a: (u32, u64),
    b: (u32, u64),
) -> Ordering {
    let made = |(branch, counter): (u32, u64)| {
        made_at(history, unsigned, branch, counter).unwrap_or(Made { change: newest.change, place: u32::MAX })
    };
    history.sibling_order(made(a), made(b))
}

//! A text by Fugue (Weidner and Kleppmann 2023, "The Art of the Fugue", algorithm 1), its characters stored
//! as runs.
//!
//! Characters form a tree in which each hangs on the left or the right side of its parent; the text is the
//! tree read in order. A character that hangs right of the one taken in just before it, as nearly all do,
//! costs nothing but its byte, the number of its leaf and its bit. Read [`runs`] first (their order, in
//! which positions and the ends of subtrees are found), then [`ids`] (their names), then this file (where a
//! new character goes). Who may name what, and what is signed, is decided elsewhere.

mod bits;
mod chars;
mod ids;
mod runs;
mod siblings;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::op::Side;
use chars::Chars;
use ids::Ids;
use runs::{Gap, NONE, Run, Runs};
use siblings::{Neighbours, Siblings};

/// A character of a text by the order in which this replica took it in: dense from 0.
pub(crate) type CharIx = u32;

/// What a character hangs on; `None` is the text's beginning.
type Hook = (Option<CharIx>, Side);

#[derive(Clone, Debug)]
pub(crate) struct Text {
    chars: Chars,
    ids: Ids,
    runs: Runs,
    /// Where characters hang, by their numbers; those between two of these each hang right of the one before.
    strands: Vec<Strand>,
    /// What hangs on each hook. A hook is missing where nothing hangs, or only the character numbered next.
    siblings: HashMap<Hook, Siblings>,
}

#[derive(Clone, Copy, Debug)]
struct Strand {
    first: CharIx,
    parent: Option<CharIx>,
    side: Side,
}

impl Text {
    pub(crate) fn new() -> Self {
        Self {
            chars: Chars::new(),
            ids: Ids::default(),
            runs: Runs::new(),
            strands: Vec::new(),
            siblings: HashMap::new(),
        }
    }

    /// How many characters (Unicode scalar values) are visible.
    pub(crate) fn len(&self) -> usize {
        self.runs.visible_len() as usize
    }

    /// Whether a text can take in so many more characters: all in all it numbers `u32::MAX - 1`.
    pub(crate) fn room(&self, more: usize) -> bool {
        more <= (NONE - 1 - self.runs.next_number()) as usize
    }

    /// Adds characters with the op numbers from `counter` on, of which the first hangs on `side` of `parent`
    /// and each further one right of the one before. Siblings stand as `order` says of their names. Returns
    /// the first one's number. Op numbers rise along a branch.
    pub(crate) fn insert(
        &mut self,
        branch: u32,
        counter: u64,
        content: &str,
        parent: Option<CharIx>,
        side: Side,
        order: &dyn Fn((u32, u64), (u32, u64)) -> Ordering,
    ) -> CharIx {
        let first = self.runs.next_number();
        let len = self.chars.push(content);
        if len == 0 {
            return first;
        }
        self.ids.push(first, len, branch, counter);
        let continues = side == Side::Right && parent.is_some_and(|parent| parent + 1 == first);
        match parent {
            Some(parent) if continues && self.runs.extend(parent, len) => {}
            _ => {
                self.hang(first, len, (parent, side), !continues, order);
            }
        }
        first
    }

    /// What Fugue hangs a new character on that shall stand right behind the visible one before a position,
    /// and before the hidden ones there. `None` beyond the end.
    pub(crate) fn hook_at(&mut self, position: usize) -> Option<Hook> {
        let position = u32::try_from(position).ok().filter(|at| *at <= self.runs.visible_len())?;
        let Some(before) = position.checked_sub(1) else {
            return Some(match self.runs.first() {
                Some(first) => (Some(first), Side::Left),
                None => (None, Side::Right),
            });
        };
        let (character, run) = self.runs.at(before)?;
        // If something hangs right of the character, the next one begins it.
        let next = if character != run.last() {
            Some(character + 1)
        } else if run.closes == NONE {
            self.runs.behind_cursor()
        } else {
            None
        };
        Some(match next {
            Some(next) => (Some(next), Side::Left),
            None => (Some(character), Side::Right),
        })
    }

    /// The branch and op number of a character.
    pub(crate) fn id(&self, character: CharIx) -> (u32, u64) {
        self.ids.name(character)
    }

    /// The character with a name, visible or not.
    pub(crate) fn find(&self, branch: u32, counter: u64) -> Option<CharIx> {
        self.ids.find(branch, counter).filter(|character| self.runs.contains(*character))
    }

    /// The visible character at a position.
    pub(crate) fn at(&mut self, position: usize) -> Option<CharIx> {
        self.runs.at(u32::try_from(position).ok()?).map(|(character, _)| character)
    }

    /// How many visible characters stand before one, and whether it is visible itself.
    pub(crate) fn position(&self, character: CharIx) -> (usize, bool) {
        let (position, is_visible) = self.runs.position(character);
        (position as usize, is_visible)
    }

    /// What a character hangs on.
    pub(crate) fn parent(&self, character: CharIx) -> Hook {
        let behind = self.strands.partition_point(|strand| strand.first <= character);
        match behind.checked_sub(1).and_then(|at| self.strands.get(at)) {
            Some(strand) if strand.first == character => (strand.parent, strand.side),
            _ => (character.checked_sub(1), Side::Right),
        }
    }

    /// Hides what is visible of `len` op numbers from `counter` on; those that are no characters of this
    /// text are passed over. Calls `hidden` for each stretch with its first character, its length and the
    /// position at which it stood. Costs nothing for what is hidden already.
    pub(crate) fn delete(
        &mut self,
        branch: u32,
        counter: u64,
        len: u64,
        hidden: &mut dyn FnMut(CharIx, u32, usize),
    ) {
        let Some(branch) = self.ids.branch_mut(branch) else { return };
        let mut places = branch.places(counter, len);
        while let Some((place, first, count)) = branch.next_visible(&places) {
            let (count, position) = self.runs.set_visible(first, count, false);
            places.start = place + count;
            branch.set_hidden(place..places.start, true);
            hidden(first, count, position as usize);
        }
    }

    /// Shows hidden characters again, as if they had not been deleted.
    pub(crate) fn show(&mut self, first: CharIx, len: u32) {
        let end = first + len;
        let mut at = first;
        while at < end {
            at += self.runs.set_visible(at, end - at, true).0;
        }
        self.ids.set_hidden(first, len, false);
    }

    /// Takes out characters that were never signed and on which nothing else hangs, as if they had not been
    /// inserted. Their numbers and op numbers are not used again. Walks their siblings.
    pub(crate) fn take_out(&mut self, first: CharIx, len: u32) {
        self.ids.set_hidden(first, len, true);
        let mut end = first + len;
        // From the back, so that nothing hangs on what is taken out.
        while end > first {
            let top = self.runs.run_of(end - 1).first.max(first);
            let hook = self.parent(top);
            let Neighbours { before, after } = match self.siblings.entry(hook) {
                Entry::Vacant(_) => Neighbours::default(),
                Entry::Occupied(entry) => {
                    let (left, neighbours) = entry.remove().remove(top);
                    if let Some(left) = left {
                        self.siblings.insert(hook, left);
                    }
                    neighbours
                }
            };
            let ends = hook.1 == Side::Right && after.is_none();
            let begins = hook.1 == Side::Left && before.is_none();
            self.runs.take_out(top, ends, begins);
            end = top;
        }
    }

    /// The names of `len` visible characters from a position on, in the text's order.
    pub(crate) fn names_in(&mut self, position: usize, len: usize) -> Vec<(u32, u64, u64)> {
        let (Ok(position), Ok(len)) = (u32::try_from(position), u32::try_from(len.min(self.len()))) else {
            return Vec::new();
        };
        let mut names: Vec<(u32, u64, u64)> = Vec::new();
        // The cursor goes along, since what is named is mostly deleted next.
        self.runs.at(position);
        for (mut first, mut left) in self.runs.visible(position, len) {
            while left > 0 {
                let (branch, counter, count) = self.ids.names(first, left);
                match names.last_mut() {
                    Some(last) if last.0 == branch && last.1 + last.2 == counter => {
                        last.2 += u64::from(count)
                    }
                    _ => names.push((branch, counter, count.into())),
                }
                first += count;
                left -= count;
            }
        }
        names
    }

    pub(crate) fn content(&self) -> String {
        self.slice(0, self.len())
    }

    /// `len` visible characters from a position on, or as many as there are.
    pub(crate) fn slice(&self, position: usize, len: usize) -> String {
        let len = len.min(self.len().saturating_sub(position));
        let mut content = String::with_capacity(len);
        if let (Ok(position), Ok(len)) = (u32::try_from(position), u32::try_from(len)) {
            for (first, len) in self.runs.visible(position, len) {
                self.chars.read(first, len, &mut content);
            }
        }
        content
    }

    /// All characters in order, hidden ones included, as stretches of consecutive numbers: the first number,
    /// how many, and whether they are visible.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = (CharIx, u32, bool)> + '_ {
        self.runs.iter().map(|run| (run.first, run.len, run.visible))
    }

    /// How much is held on the heap, roughly.
    pub(crate) fn heap_bytes(&self) -> usize {
        // A hash map keeps an eighth of its places free, and a byte for each.
        let places = self.siblings.capacity() * 8 / 7;
        // A sum does not depend on the order in which a hash map goes.
        #[expect(clippy::disallowed_methods, reason = "a sum is the same in any order")]
        let siblings: usize = self.siblings.values().map(Siblings::heap_bytes).sum();
        self.chars.heap_bytes()
            + self.ids.heap_bytes()
            + self.runs.heap_bytes()
            + self.strands.capacity() * size_of::<Strand>()
            + places * (size_of::<(Hook, Siblings)>() + 1)
            + siblings
    }

    /// Puts new characters into the order, where their first one's siblings say.
    fn hang(
        &mut self,
        first: CharIx,
        len: u32,
        hook: Hook,
        is_head: bool,
        order: &dyn Fn((u32, u64), (u32, u64)) -> Ordering,
    ) {
        if is_head {
            self.strands.push(Strand { first, parent: hook.0, side: hook.1 });
        }
        let (above, has_children) = self.look_below(hook);
        let depth = above + 1;
        let Neighbours { before, after } = if has_children {
            // The one child that is not written down is the parent's next.
            let next = || Siblings::One(hook.0.map_or(0, |parent| parent + 1));
            let name = self.ids.name(first);
            let stands_before = |other| order(self.ids.name(other), name) == Ordering::Less;
            self.siblings.entry(hook).or_insert_with(next).insert(first, stands_before)
        } else {
            if is_head {
                self.siblings.insert(hook, Siblings::One(first));
            }
            Neighbours::default()
        };
        // Next to its parent a new child takes over all that the parent begins or ends; next to a sibling's
        // subtree it leaves that the sibling's own.
        let (parent, side) = hook;
        let (gap, keeps) = match (side, before, after) {
            (Side::Right, None, after) => {
                let gap = parent.map_or(Gap::First, Gap::After);
                (gap, after.is_none().then_some(NONE))
            }
            (Side::Right, Some(before), after) => {
                let end = self.runs.subtree_end(before);
                (Gap::After(end), after.is_none().then_some(depth))
            }
            (Side::Left, None, None) => (parent.map_or(Gap::First, Gap::Before), Some(NONE)),
            (Side::Left, None, Some(after)) => (Gap::Before(self.runs.subtree_start(after)), Some(depth)),
            (Side::Left, Some(before), _) => (Gap::After(self.runs.subtree_end(before)), None),
        };
        self.runs.insert(Run::new(first, len, depth, is_head), gap, keeps);
    }

    /// How deep a hook's character hangs, and whether anything hangs on the hook.
    fn look_below(&self, hook: Hook) -> (u32, bool) {
        let (Some(parent), side) = hook else { return (0, self.siblings.contains_key(&hook)) };
        let run = self.runs.run_of(parent);
        let has_children = match side {
            Side::Left => parent == run.first && run.opens == NONE,
            Side::Right => parent != run.last() || run.closes == NONE,
        };
        (run.depth + (parent - run.first), has_children)
    }
}

//! The order of a text's characters, hidden ones included: runs in a B+ tree that counts what is visible.
//!
//! A run is a stretch of characters with consecutive numbers of which each hangs right of the one before
//! and nothing stands between them. Each run also knows which subtrees of Fugue's tree begin with its first
//! character and end with its last, and the B+ tree keeps the least depths of these. So the ends of any
//! subtree are found in O(log n), however deep it is, and no author can make a walk long.

mod tree;

use std::ops::Range;

use super::CharIx;
use tree::{Leaf, Tree};

/// Tests see deep trees early.
const RUNS_MAX: usize = if cfg!(test) { 6 } else { 32 };
/// No leaf, no depth, no character.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) first: CharIx,
    pub(super) len: u32,
    /// How deep the first character hangs (what hangs on nothing: 1); each further one hangs one deeper.
    pub(super) depth: u32,
    /// The depth of the highest character whose subtree begins with the run's first character; `NONE` if
    /// that one has left children.
    pub(super) opens: u32,
    /// The depth of the highest character whose subtree ends with the run's last character; `NONE` if that
    /// one has right children.
    pub(super) closes: u32,
    pub(super) visible: bool,
    /// Whether the first character hangs elsewhere than right of the one numbered before it.
    pub(super) is_head: bool,
}

impl Run {
    /// A new visible run, below which nothing hangs yet.
    pub(super) fn new(first: CharIx, len: u32, depth: u32, is_head: bool) -> Self {
        Self { first, len, depth, opens: depth, closes: depth, visible: true, is_head }
    }

    pub(super) fn end(&self) -> CharIx {
        self.first + self.len
    }

    pub(super) fn last(&self) -> CharIx {
        self.end() - 1
    }

    fn contains(&self, character: CharIx) -> bool {
        character.wrapping_sub(self.first) < self.len
    }

    /// What searches for the beginnings and the ends of subtrees look at. Only the beginnings of heads are
    /// ever looked for, so where a chain is cut into runs makes no difference.
    fn depths(&self) -> (u32, u32) {
        (if self.is_head { self.opens } else { NONE }, self.closes)
    }

    fn shown(&self) -> u32 {
        if self.visible { self.len } else { 0 }
    }

    /// Whether the first character of `next`, which stands right behind, hangs right of the last one.
    fn leads_to(&self, next: &Run) -> bool {
        !next.is_head && next.first == self.end()
    }

    /// Cuts off and returns what stands behind the first `len` characters.
    fn split_off(&mut self, len: u32) -> Self {
        let depth = self.depth + len;
        let tail = Self {
            first: self.first + len,
            len: self.len - len,
            depth,
            opens: depth,
            is_head: false,
            ..*self
        };
        self.len = len;
        self.closes = NONE;
        tail
    }

    /// Takes in the run behind, to which this one leads: their common edge closes and opens nothing.
    fn join(&mut self, next: &Run) {
        self.len += next.len;
        self.closes = next.closes;
    }

    /// Moves where a run to which another one leads begins; the other one's length is the caller's.
    fn begin_at(&mut self, first: CharIx) {
        let end = self.end();
        self.depth = self.depth.wrapping_add(first.wrapping_sub(self.first));
        self.opens = self.depth;
        self.first = first;
        self.len = end - first;
    }
}

/// A run's place, and how many visible characters stand before it.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    leaf: u32,
    run: usize,
    start: u32,
}

/// Where new characters go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gap {
    First,
    After(CharIx),
    Before(CharIx),
}

#[derive(Clone, Debug)]
pub(super) struct Runs {
    tree: Tree,
    /// The leaf of each character, `NONE` for one that was taken out.
    leaf_of: Vec<u32>,
    /// Where the last edit was or the last question led: mostly near the next one.
    cursor: Cursor,
    /// How many characters moved from leaf to leaf.
    #[cfg(test)]
    pub(super) moved: u64,
}

#[expect(clippy::indexing_slicing, reason = "the numbers of leaves, runs and characters are made here only")]
impl Runs {
    pub(super) fn new() -> Self {
        Self {
            tree: Tree::new(),
            leaf_of: Vec::new(),
            cursor: Cursor { leaf: 0, run: 0, start: 0 },
            #[cfg(test)]
            moved: 0,
        }
    }

    /// How many characters are visible.
    pub(super) fn visible_len(&self) -> u32 {
        self.tree.visible_len()
    }

    /// The number that the next new character gets.
    pub(super) fn next_number(&self) -> CharIx {
        self.leaf_of.len() as CharIx
    }

    /// Whether a number is a character that was not taken out.
    pub(super) fn contains(&self, character: CharIx) -> bool {
        self.leaf_of.get(character as usize).is_some_and(|leaf| *leaf != NONE)
    }

    /// The first character, visible or not.
    pub(super) fn first(&self) -> Option<CharIx> {
        self.tree.leaf(self.tree.first_leaf()).runs.first().map(|run| run.first)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.from(Cursor { leaf: self.tree.first_leaf(), run: 0, start: 0 })
    }

    /// The run of a character.
    pub(super) fn run_of(&self, character: CharIx) -> Run {
        let (leaf, run) = self.locate(character);
        self.run_at(leaf, run)
    }

    /// How many visible characters stand before one, and whether it is visible itself.
    pub(super) fn position(&self, character: CharIx) -> (u32, bool) {
        let (leaf, at) = self.locate(character);
        let run = self.run_at(leaf, at);
        let start = self.cursor_at(leaf, at).start;
        (if run.visible { start + (character - run.first) } else { start }, run.visible)
    }

    /// The visible character at a position, and its run. The cursor goes there.
    pub(super) fn at(&mut self, position: u32) -> Option<(CharIx, Run)> {
        self.cursor = self.seek(position)?;
        let run = self.run_at(self.cursor.leaf, self.cursor.run);
        Some((run.first + (position - self.cursor.start), run))
    }

    /// The first character behind the run at the cursor, visible or not.
    pub(super) fn behind_cursor(&self) -> Option<CharIx> {
        self.from(self.cursor).nth(1).map(|run| run.first)
    }

    /// The visible stretches of `len` characters from a position on.
    pub(super) fn visible(&self, position: u32, len: u32) -> impl Iterator<Item = (CharIx, u32)> + '_ {
        let cursor = self.seek(position);
        let mut left = if cursor.is_some() { len } else { 0 };
        let cursor = cursor.unwrap_or(self.cursor);
        let mut skip = position.saturating_sub(cursor.start);
        let mut runs = self.from(cursor);
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let run = runs.find(|run| run.visible)?;
            let count = left.min(run.len - skip);
            let first = run.first + skip;
            left -= count;
            skip = 0;
            Some((first, count))
        })
    }

    /// Appends new visible characters to the run that ends with the newest character, if that is visible.
    /// Nothing hangs on the newest character.
    pub(super) fn extend(&mut self, newest: CharIx, len: u32) -> bool {
        let (leaf, at) = self.locate(newest);
        self.cursor = self.cursor_at(leaf, at);
        let run = &mut self.tree.leaf_mut(leaf).runs[at];
        if !run.visible {
            return false;
        }
        // What the last character closed, the new last one closes.
        run.len += len;
        self.add_numbers(leaf, len);
        true
    }

    /// Inserts a new visible run, whose numbers are the next ones. If its first character is now the last one
    /// on its side and so ends the subtrees that the character before the gap ended (or begins those that
    /// the one behind it began), `keeps` is what that one keeps.
    pub(super) fn insert(&mut self, mut new: Run, gap: Gap, keeps: Option<u32>) {
        let (leaf, at) = match gap {
            Gap::First => (self.tree.first_leaf(), 0),
            Gap::After(character) | Gap::Before(character) => self.locate(character),
        };
        self.edit_at(leaf, at);
        let Cursor { leaf, run: at, .. } = self.cursor;
        let runs = &mut self.tree.leaf_mut(leaf).runs;
        match gap {
            Gap::First => {
                if keeps.is_some() {
                    new.closes = 0;
                }
                runs.insert(0, new);
            }
            Gap::After(character) => {
                let front = &mut runs[at];
                let len = character - front.first + 1;
                let tail = (len < front.len).then(|| front.split_off(len));
                if let Some(keeps) = keeps {
                    new.closes = std::mem::replace(&mut front.closes, keeps);
                }
                self.cursor.start += front.shown();
                self.cursor.run += 1;
                runs.insert(at + 1, new);
                if let Some(tail) = tail {
                    runs.insert(at + 2, tail);
                }
            }
            Gap::Before(character) => {
                let front = &mut runs[at];
                let len = character - front.first;
                let at = if len > 0 {
                    let tail = front.split_off(len);
                    self.cursor.start += front.shown();
                    self.cursor.run += 1;
                    runs.insert(at + 1, tail);
                    at + 1
                } else {
                    at
                };
                if let Some(keeps) = keeps {
                    new.opens = std::mem::replace(&mut runs[at].opens, keeps);
                }
                runs.insert(at, new);
            }
        }
        self.tree.refresh(leaf);
        self.add_numbers(leaf, new.len);
    }

    /// The character that ends the subtree of another.
    pub(super) fn subtree_end(&self, character: CharIx) -> CharIx {
        let (leaf, at) = self.locate(character);
        let run = self.run_at(leaf, at);
        let depth = run.depth + (character - run.first);
        let (leaf, at) = self.tree.next_closing(leaf, at, depth);
        self.run_at(leaf, at).last()
    }

    /// The character that begins the subtree of another, which is the first of its run.
    pub(super) fn subtree_start(&self, character: CharIx) -> CharIx {
        let (leaf, at) = self.locate(character);
        let depth = self.run_at(leaf, at).depth;
        let (leaf, at) = self.tree.previous_opening(leaf, at, depth);
        self.run_at(leaf, at).first
    }

    /// Hides or shows the first of `len` characters from `first` on, those of one run. Returns how many they
    /// are and how many visible ones stand before them.
    pub(super) fn set_visible(&mut self, first: CharIx, len: u32, visible: bool) -> (u32, u32) {
        let (leaf, at) = self.locate(first);
        let run = self.run_at(leaf, at);
        let len = len.min(run.end() - first);
        if run.visible == visible {
            return (len, self.position(first).0);
        }
        self.edit_at(leaf, at);
        let Cursor { leaf, run: at, start } = self.cursor;
        let position = start + if visible { 0 } else { first - run.first };
        let end = first + len;
        let runs = &mut self.tree.leaf_mut(leaf).runs;
        let (is_start, is_end) = (first == run.first, end == run.end());
        if !is_start && is_end && runs.get(at + 1).is_some_and(|next| run.leads_to(next)) {
            // Backspacing, character by character: the edge between two runs moves, and nothing else. Of two
            // runs that could be one, one is hidden.
            runs[at].len -= len;
            runs[at + 1].begin_at(first);
        } else if is_start && !is_end && at > 0 && runs[at - 1].leads_to(&run) {
            runs[at - 1].len += len;
            runs[at].begin_at(end);
            self.cursor.start += if visible { len } else { 0 };
        } else {
            let mut at = at;
            if !is_end {
                let tail = runs[at].split_off(end - run.first);
                runs.insert(at + 1, tail);
            }
            if !is_start {
                let tail = runs[at].split_off(first - run.first);
                self.cursor.start += runs[at].shown();
                self.cursor.run += 1;
                at += 1;
                runs.insert(at, tail);
            }
            runs[at].visible = visible;
            self.join_around();
        }
        self.tree.count(leaf, if visible { i64::from(len) } else { -i64::from(len) });
        (len, position)
    }

    /// Takes out the characters from `first` to the end of its run, below which nothing hangs. If `ends`,
    /// the first of them was its parent's last right child: what ended with it ends with the character
    /// before. If `begins`, it was its parent's first left child.
    pub(super) fn take_out(&mut self, first: CharIx, ends: bool, begins: bool) {
        let (leaf, at) = self.locate(first);
        self.cursor = self.cursor_at(leaf, at);
        let runs = &mut self.tree.leaf_mut(leaf).runs;
        let whole = runs[at];
        let gone = if first == whole.first {
            let before = at.checked_sub(1).map(|before| runs[before].shown());
            runs.remove(at);
            if let Some(shown) = before {
                self.cursor.run -= 1;
                self.cursor.start -= shown;
            }
            whole
        } else {
            runs[at].split_off(first - whole.first)
        };
        for leaf in &mut self.leaf_of[gone.first as usize..gone.end() as usize] {
            *leaf = NONE;
        }
        self.tree.count(leaf, -i64::from(gone.shown()));
        self.tree.refresh(leaf);
        let is_whole = gone.len == whole.len;
        if ends {
            let before = if is_whole { self.tree.run_before(leaf, at) } else { Some((leaf, at)) };
            if let Some((leaf, at)) = before {
                self.tree.leaf_mut(leaf).runs[at].closes = gone.closes;
                self.tree.refresh(leaf);
            }
        }
        if begins {
            let behind = if is_whole { at } else { at + 1 };
            if let Some((leaf, at)) = self.tree.run_from(leaf, behind) {
                self.tree.leaf_mut(leaf).runs[at].opens = gone.opens;
                self.tree.refresh(leaf);
            }
        }
        if self.tree.leaf(leaf).runs.is_empty() {
            let next = self.tree.remove_leaf(leaf);
            self.cursor = Cursor { leaf: next, run: 0, start: self.tree.visible_before(next) };
        } else {
            self.join_around();
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.leaf_of.capacity() * size_of::<u32>() + self.tree.heap_bytes()
    }

    #[cfg(test)]
    pub(super) fn assert_sound(&self) {
        self.tree.assert_sound();
        let here = self.cursor;
        let start: u32 = self.tree.leaf(here.leaf).runs[..here.run].iter().map(Run::shown).sum();
        assert_eq!(here.start, self.tree.visible_before(here.leaf) + start, "the cursor knows its position");
        let mut alive = 0;
        let mut before: Option<&Run> = None;
        for run in self.iter() {
            let could_be_one = before.is_some_and(|b| b.visible == run.visible && b.leads_to(run));
            let apart =
                before.is_some_and(|b| self.leaf_of[b.first as usize] != self.leaf_of[run.first as usize]);
            assert!(!could_be_one || apart, "in a leaf, runs that could be one are one");
            before = Some(run);
            alive += run.len;
            let leaves = &self.leaf_of[run.first as usize..run.end() as usize];
            let holds = |leaf: u32| self.tree.leaf(leaf).runs.iter().any(|other| other.first == run.first);
            assert!(run.len > 0 && leaves.iter().all(|leaf| *leaf == leaves[0]) && holds(leaves[0]));
        }
        let counted = self.leaf_of.iter().filter(|leaf| **leaf != NONE).count();
        assert_eq!(alive as usize, counted, "each character stands somewhere, once");
    }

    /// Makes one run of the one at the cursor and of its neighbours in the leaf that are alike.
    fn join_around(&mut self) {
        let at = self.cursor.run;
        let runs = &mut self.tree.leaf_mut(self.cursor.leaf).runs;
        let joins = |a: &Run, b: &Run| a.visible == b.visible && a.leads_to(b);
        if let Some(next) = runs.get(at + 1).copied().filter(|next| joins(&runs[at], next)) {
            runs[at].join(&next);
            runs.remove(at + 1);
        }
        let run = runs[at];
        if let Some(before) = at.checked_sub(1).filter(|before| joins(&runs[*before], &run)) {
            self.cursor.start -= runs[before].shown();
            self.cursor.run = before;
            runs[before].join(&run);
            runs.remove(at);
        }
    }

    /// Puts the cursor on a run and makes room in its leaf for two more.
    fn edit_at(&mut self, leaf: u32, at: usize) {
        self.cursor = self.cursor_at(leaf, at);
        if self.tree.leaf(leaf).runs.len() + 2 <= RUNS_MAX {
            return;
        }
        let split = self.tree.split_leaf(leaf);
        for run in &self.tree.leaf(split.new).runs {
            self.leaf_of[run.first as usize..run.end() as usize].fill(split.new);
            #[cfg(test)]
            {
                self.moved += u64::from(run.len);
            }
        }
        let is_behind = at >= split.kept;
        self.cursor.leaf = if is_behind == split.new_is_behind { split.new } else { leaf };
        self.cursor.run -= if is_behind { split.kept } else { 0 };
    }

    /// Gives the next numbers to visible characters of a leaf.
    fn add_numbers(&mut self, leaf: u32, len: u32) {
        if len == 1 {
            self.leaf_of.push(leaf);
        } else {
            self.leaf_of.resize(self.leaf_of.len() + len as usize, leaf);
        }
        self.tree.count(leaf, i64::from(len));
    }

    fn run_at(&self, leaf: u32, at: usize) -> Run {
        self.tree.leaf(leaf).runs[at]
    }

    fn locate(&self, character: CharIx) -> (u32, usize) {
        let Cursor { leaf, run, .. } = self.cursor;
        let runs = &self.tree.leaf(leaf).runs;
        if runs.get(run).is_some_and(|run| run.contains(character)) {
            return (leaf, run);
        }
        if runs.get(run + 1).is_some_and(|run| run.contains(character)) {
            return (leaf, run + 1);
        }
        let leaf = self.leaf_of[character as usize];
        let runs = &self.tree.leaf(leaf).runs;
        (leaf, runs.iter().position(|run| run.contains(character)).unwrap_or(runs.len()))
    }

    fn cursor_at(&self, leaf: u32, run: usize) -> Cursor {
        if (leaf, run) == (self.cursor.leaf, self.cursor.run) {
            return self.cursor;
        }
        let runs = &self.tree.leaf(leaf).runs;
        let shown = |range: Range<usize>| runs[range].iter().map(Run::shown).sum::<u32>();
        let start = if leaf != self.cursor.leaf {
            self.tree.visible_before(leaf) + shown(0..run)
        } else if run >= self.cursor.run {
            self.cursor.start + shown(self.cursor.run..run)
        } else {
            self.cursor.start - shown(run..self.cursor.run)
        };
        Cursor { leaf, run, start }
    }

    /// The run that shows the character at a position.
    fn seek(&self, position: u32) -> Option<Cursor> {
        if position >= self.visible_len() {
            return None;
        }
        let Cursor { leaf, run: mut at, mut start } = self.cursor;
        let runs = &self.tree.leaf(leaf).runs;
        if position >= start && position - start < runs[at].shown() {
            return Some(self.cursor);
        }
        while position < start && at > 0 {
            at -= 1;
            start -= runs[at].shown();
        }
        if position >= start {
            for (run, at) in runs.iter().skip(at).zip(at..) {
                if position - start < run.shown() {
                    return Some(Cursor { leaf, run: at, start });
                }
                start += run.shown();
            }
        }
        let (leaf, mut start) = self.tree.leaf_showing(position);
        for (run, at) in self.tree.leaf(leaf).runs.iter().zip(0..) {
            if position - start < run.shown() {
                return Some(Cursor { leaf, run: at, start });
            }
            start += run.shown();
        }
        None
    }

    /// The runs from a place on.
    fn from(&self, cursor: Cursor) -> Walk<'_> {
        let Leaf { runs, next, .. } = self.tree.leaf(cursor.leaf);
        Walk { tree: &self.tree, runs: runs[cursor.run..].iter(), next: *next }
    }
}

struct Walk<'a> {
    tree: &'a Tree,
    runs: std::slice::Iter<'a, Run>,
    next: u32,
}

impl<'a> Iterator for Walk<'a> {
    type Item = &'a Run;

    fn next(&mut self) -> Option<&'a Run> {
        loop {
            if let Some(run) = self.runs.next() {
                return Some(run);
            }
            let leaf = self.tree.get_leaf(self.next)?;
            self.runs = leaf.runs.iter();
            self.next = leaf.next;
        }
    }
}

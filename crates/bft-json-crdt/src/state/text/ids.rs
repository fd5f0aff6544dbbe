//! The names of a text's characters: from a character to its branch and op number and back, and which op
//! numbers are hidden.

use std::collections::BTreeMap;
use std::ops::Range;

use super::CharIx;
use super::bits::Bits;

#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    /// By character; each reaches to the next one's first.
    spans: Vec<Span>,
    /// The span that was found last.
    hint: usize,
    branches: BTreeMap<u32, Branch>,
}

/// Characters that were taken in one after the other and whose op numbers follow each other too.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: CharIx,
    branch: u32,
    counter: u64,
}

/// The characters of one branch, counted by their places: the order of their op numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Branch {
    /// By op number; each reaches to the next one's place.
    spans: Vec<BranchSpan>,
    /// The span that was found last.
    hint: usize,
    len: u32,
    hidden: Bits,
}

#[derive(Clone, Copy, Debug)]
struct BranchSpan {
    counter: u64,
    first: CharIx,
    place: u32,
}

#[expect(clippy::indexing_slicing, reason = "the indexes of spans are found here only")]
impl Ids {
    /// Names the characters from `first` on, which is the next number; op numbers rise along a branch.
    pub(super) fn push(&mut self, first: CharIx, len: u32, branch: u32, counter: u64) {
        let follows = |span: &Span| {
            span.branch == branch && counter.wrapping_sub(span.counter) == u64::from(first - span.first)
        };
        if !self.spans.last().is_some_and(follows) {
            self.spans.push(Span { first, branch, counter });
        }
        self.branches.entry(branch).or_default().push(first, len, counter);
    }

    pub(super) fn name(&self, character: CharIx) -> (u32, u64) {
        let span = self.spans[self.span_of(character)];
        (span.branch, span.counter + u64::from(character - span.first))
    }

    /// The name of the first of `len` characters, and how many of them have the op numbers that follow.
    pub(super) fn names(&mut self, first: CharIx, len: u32) -> (u32, u64, u32) {
        self.hint = self.span_of(first);
        let span = self.spans[self.hint];
        let behind = first - span.first;
        let rest = self.spans.get(self.hint + 1).map_or(len, |next| next.first - first);
        (span.branch, span.counter + u64::from(behind), len.min(rest))
    }

    pub(super) fn find(&self, branch: u32, counter: u64) -> Option<CharIx> {
        self.branches.get(&branch)?.find(counter)
    }

    pub(super) fn branch_mut(&mut self, branch: u32) -> Option<&mut Branch> {
        self.branches.get_mut(&branch)
    }

    /// Notes that characters are hidden, or not.
    pub(super) fn set_hidden(&mut self, first: CharIx, len: u32, is_hidden: bool) {
        let mut done = 0;
        while done < len {
            let (branch, counter, count) = self.names(first + done, len - done);
            if let Some(branch) = self.branches.get_mut(&branch) {
                let places = branch.places(counter, u64::from(count));
                branch.set_hidden(places, is_hidden);
            }
            done += count;
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let branches = self.branches.values().map(Branch::heap_bytes);
        // A B-tree's nodes are about three quarters full.
        let entries = self.branches.len() * size_of::<(u32, Branch)>() * 4 / 3;
        self.spans.capacity() * size_of::<Span>() + branches.sum::<usize>() + entries
    }

    fn span_of(&self, character: CharIx) -> usize {
        last_of(&self.spans, self.hint, |span| span.first <= character).unwrap_or_default()
    }
}

#[expect(clippy::indexing_slicing, reason = "the indexes of spans are found here only")]
impl Branch {
    fn push(&mut self, first: CharIx, len: u32, counter: u64) {
        self.drop_from(counter);
        let place = self.len;
        self.len += len;
        if let Some(last) = self.spans.last() {
            let behind = place - last.place;
            if counter == last.counter + u64::from(behind) && first == last.first + behind {
                return;
            }
        }
        self.spans.push(BranchSpan { counter, first, place });
    }

    /// Forgets characters with op numbers from `counter` on. Numbers rise along a branch, so these were taken out:
    /// the author gave them up, and went on elsewhere with lower ones.
    fn drop_from(&mut self, counter: u64) {
        let end = self.len;
        while let Some(last) = self.spans.pop_if(|last| last.counter >= counter) {
            self.len = last.place;
        }
        if let Some(last) = self.spans.last() {
            let behind = u32::try_from(counter - last.counter).unwrap_or(u32::MAX);
            self.len = self.len.min(last.place.saturating_add(behind));
        }
        if self.len < end {
            self.hidden.remove(self.len, end);
            self.hint = 0;
        }
    }

    fn find(&self, counter: u64) -> Option<CharIx> {
        let at = self.span_of(counter)?;
        let behind = counter - self.spans[at].counter;
        (behind < u64::from(self.span_len(at))).then(|| self.spans[at].first + behind as u32)
    }

    /// The places of those of the op numbers from `counter` on that are characters.
    pub(super) fn places(&mut self, counter: u64, len: u64) -> Range<u32> {
        self.first_place(counter)..self.first_place(counter.saturating_add(len))
    }

    /// The first visible character in some places: its place, its number, and how many of the places from
    /// there on hold the characters numbered next.
    pub(super) fn next_visible(&mut self, places: &Range<u32>) -> Option<(u32, CharIx, u32)> {
        let place = self.hidden.next_absent(places.start);
        if place >= places.end {
            return None;
        }
        self.hint = last_of(&self.spans, self.hint, |span| span.place <= place)?;
        let span = self.spans[self.hint];
        let end = (span.place + self.span_len(self.hint)).min(places.end);
        Some((place, span.first + (place - span.place), end - place))
    }

    pub(super) fn set_hidden(&mut self, places: Range<u32>, is_hidden: bool) {
        if is_hidden {
            self.hidden.add(places.start, places.end);
        } else {
            self.hidden.remove(places.start, places.end);
        }
    }

    /// How many characters have lower op numbers.
    fn first_place(&mut self, counter: u64) -> u32 {
        let Some(at) = self.span_of(counter) else { return 0 };
        self.hint = at;
        let behind = u32::try_from(counter - self.spans[at].counter).unwrap_or(u32::MAX);
        self.spans[at].place + behind.min(self.span_len(at))
    }

    /// The last span that does not begin behind an op number.
    fn span_of(&self, counter: u64) -> Option<usize> {
        last_of(&self.spans, self.hint, |span| span.counter <= counter)
    }

    fn span_len(&self, at: usize) -> u32 {
        self.spans.get(at + 1).map_or(self.len, |next| next.place) - self.spans[at].place
    }

    fn heap_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<BranchSpan>() + self.hidden.heap_bytes()
    }
}

/// The last of the spans that begin where they should, which are the first ones. It is mostly where the last
/// one was found, or beside it, or the last of all.
#[inline]
fn last_of<T>(spans: &[T], hint: usize, begins: impl Fn(&T) -> bool) -> Option<usize> {
    let begins_at = |at: usize| spans.get(at).is_some_and(&begins);
    if begins_at(hint) {
        if !begins_at(hint + 1) {
            return Some(hint);
        }
        if !begins_at(hint + 2) {
            return Some(hint + 1);
        }
        let last = spans.len() - 1;
        if begins_at(last) {
            return Some(last);
        }
    } else if hint > 0 && begins_at(hint - 1) {
        return Some(hint - 1);
    }
    spans.partition_point(begins).checked_sub(1)
}

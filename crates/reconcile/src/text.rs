//! What changed in a text, as few splices as is cheap to find.
//!
//! Lines first, as `git` compares them, then characters within the lines that differ: what people typed in other lines,
//! and in other parts of the same line, stays. The work is bounded, and so is the number of splices: where a hunk has
//! little in common with what it was, it is replaced as a whole.

use std::collections::HashMap;
use std::ops::Range;

/// Characters on one side that are gone, and what stands in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    /// Where, in the old text, counted in Unicode scalar values.
    pub position: usize,
    /// How many characters are gone there.
    pub removed: usize,
    /// What stands in their place.
    pub inserted: String,
}

/// Hunks of lines; where there are more, neighbours become one. Once so many splices were found, what is left is replaced
/// by whole hunks.
const HUNKS_MAX: usize = 1_024;
/// Lines of both sides together that are compared one by one.
const LINES_MAX: usize = 262_144;
/// Lines or characters by which a stretch differs; with more it is replaced as a whole.
const DISTANCE_MAX: usize = 1_024;
/// Comparisons between lines of one text, and again between characters.
const STEPS_MAX: usize = 1 << 20;
/// Stretches that both sides have in common between two splices are replaced too if they are shorter.
const COMMON_MIN: usize = 2;

/// A stretch of the old sequence, and what the new one has instead.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hunk {
    before: Range<usize>,
    after: Range<usize>,
}

/// Returns what leads from one text to another: splices in ascending order, positions in the old one. None where they are
/// equal. O(n log n), with a bounded part that is not.
#[must_use]
pub fn splices(old: &str, new: &str) -> Vec<Splice> {
    splices_by(Grain::Character, old, new)
}

/// As [`splices`], and lines that differ are replaced as a whole.
pub(crate) fn line_splices(old: &str, new: &str) -> Vec<Splice> {
    splices_by(Grain::Line, old, new)
}

/// What is replaced at least.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grain {
    Character,
    Line,
}

fn splices_by(grain: Grain, old: &str, new: &str) -> Vec<Splice> {
    if old == new {
        return Vec::new();
    }
    let (prefix, suffix) = common_lines(old, new);
    let middle = |text: &'_ str| -> Range<usize> { prefix..text.len() - suffix };
    let old_lines = lines(old.get(middle(old)).unwrap_or_default());
    let new_lines = lines(new.get(middle(new)).unwrap_or_default());
    let mut found = Vec::new();
    let mut steps = STEPS_MAX;
    let (mut line, mut position) = (0, old.get(..prefix).unwrap_or_default().chars().count());
    for hunk in joined(line_hunks(&old_lines, &new_lines)) {
        position += count(old_lines.get(line..hunk.before.start).unwrap_or_default());
        line = hunk.before.end;
        let removed = old_lines.get(hunk.before).unwrap_or_default();
        let inserted = new_lines.get(hunk.after).unwrap_or_default();
        position += match grain {
            Grain::Character => {
                within(position, &removed.concat(), &inserted.concat(), &mut steps, &mut found)
            }
            Grain::Line => {
                found.push(Splice { position, removed: count(removed), inserted: inserted.concat() });
                count(removed)
            }
        };
    }
    found
}

/// How many bytes two texts have in common at their ends, in whole lines.
fn common_lines(old: &str, new: &str) -> (usize, usize) {
    let (old, new) = (old.as_bytes(), new.as_bytes());
    let whole = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let prefix = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let prefix = whole(old.get(..prefix).unwrap_or_default());
    let most = old.len().min(new.len()) - prefix;
    let suffix = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    // The line in which they begin to differ is no whole one.
    let tail = old.get(old.len() - suffix..).unwrap_or_default();
    let is_whole =
        |text: &[u8]| text.len() - suffix == prefix || text.get(text.len() - suffix - 1) == Some(&b'\n');
    if is_whole(old) && is_whole(new) {
        return (prefix, suffix);
    }
    let cut = tail.iter().position(|byte| *byte == b'\n').map_or(suffix, |at| at + 1);
    (prefix, suffix - cut)
}

/// Returns splices that were made for one text as they are for another one, which others have made of it meanwhile:
/// what they inserted stays, and what they removed is removed once. O(n), as [`splices`].
#[must_use]
pub fn rebase(old: &str, now: &str, edits: &[Splice]) -> Vec<Splice> {
    let theirs = splices(old, now);
    let count = old.chars().count();
    // For each character of the old text, and its end: where that is now, and whether it is still there.
    let mut places = Vec::with_capacity(count + 1);
    let (mut at, mut next) = (0, theirs.iter().peekable());
    let mut gone = 0;
    for position in 0..=count {
        if gone == 0
            && let Some(splice) = next.next_if(|splice| splice.position == position)
        {
            at += splice.inserted.chars().count();
            gone = splice.removed;
        }
        let is_there = gone == 0;
        places.push((at, is_there));
        at += usize::from(is_there);
        gone = gone.saturating_sub(1);
    }
    let mut found = Vec::new();
    for edit in edits {
        let end = count.min(edit.position + edit.removed);
        let cut = places.get(edit.position.min(count)..end).unwrap_or_default();
        let place = places.get(edit.position.min(count)).map_or(at, |(at, _)| *at);
        let mut pieces = vec![Splice { position: place, removed: 0, inserted: edit.inserted.clone() }];
        for (at, _) in cut.iter().filter(|(_, is_there)| *is_there) {
            match pieces.last_mut() {
                Some(last) if last.position + last.removed == *at => last.removed += 1,
                _ => pieces.push(Splice { position: *at, removed: 1, inserted: String::new() }),
            }
        }
        found.extend(pieces.into_iter().filter(|piece| piece.removed > 0 || !piece.inserted.is_empty()));
    }
    found
}

/// Lines with their ends, so that they are the text again when put together.
fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn count(lines: &[&str]) -> usize {
    lines.iter().map(|line| line.chars().count()).sum()
}

/// Hunks of lines, ascending: between lines that are there once on both sides, and in the same order.
fn line_hunks(old: &[&str], new: &[&str]) -> Vec<Hunk> {
    let whole = stripped(old, new, Hunk { before: 0..old.len(), after: 0..new.len() });
    let (before, after) = (old.get(whole.before.clone()), new.get(whole.after.clone()));
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    if before.is_empty() || after.is_empty() || before.len() + after.len() > LINES_MAX {
        return vec![whole];
    }
    let Numbered { before, after, places } = &Numbered::of(before, after);
    let anchors = anchors(after, places);
    let end = (before.len(), after.len());
    let mut found = Vec::new();
    let mut steps = STEPS_MAX;
    let (mut from_before, mut from_after) = (0, 0);
    for (to_before, to_after) in anchors.into_iter().chain([end]) {
        let gap = Hunk { before: from_before..to_before, after: from_after..to_after };
        between(before, after, gap, &mut steps, &mut found);
        (from_before, from_after) = (to_before + 1, to_after + 1);
    }
    for hunk in &mut found {
        shift(hunk, whole.before.start, whole.after.start);
    }
    found
}

fn shift(hunk: &mut Hunk, before: usize, after: usize) {
    hunk.before = hunk.before.start + before..hunk.before.end + before;
    hunk.after = hunk.after.start + after..hunk.after.end + after;
}

/// Lines as numbers: equal ones have the same.
struct Numbered {
    before: Vec<u32>,
    after: Vec<u32>,
    /// For each number, where it stands.
    places: Vec<Places>,
}

/// How often a line is there, and where it was seen first on the old side.
#[derive(Clone, Copy, Default)]
struct Places {
    first_before: usize,
    count_before: u32,
    count_after: u32,
}

impl Numbered {
    fn of<'a>(before: &[&'a str], after: &[&'a str]) -> Self {
        let mut numbers: HashMap<&'a str, u32> = HashMap::with_capacity(before.len());
        let mut places: Vec<Places> = Vec::with_capacity(before.len());
        let mut number = |at: usize, line: &'a str, is_before: bool| {
            let next = places.len() as u32;
            let number = *numbers.entry(line).or_insert(next);
            if number == next {
                places.push(Places { first_before: at, ..Places::default() });
            }
            if let Some(places) = places.get_mut(number as usize) {
                let count = if is_before { &mut places.count_before } else { &mut places.count_after };
                *count += 1;
            }
            number
        };
        let before = (0..).zip(before).map(|(at, line)| number(at, line, true)).collect();
        let after = (0..).zip(after).map(|(at, line)| number(at, line, false)).collect();
        Self { before, after, places }
    }
}

/// Places of lines that both sides have exactly once: as many as ascend on both sides (Bram Cohen's patience diff).
fn anchors(after: &[u32], places: &[Places]) -> Vec<(usize, usize)> {
    let pairs = (0..).zip(after).filter_map(|(at, line)| {
        let places = places.get(*line as usize)?;
        let is_once = (places.count_before, places.count_after) == (1, 1);
        is_once.then_some((places.first_before, at))
    });
    ascending(&pairs.collect::<Vec<_>>())
}

/// Of pairs whose second numbers ascend, a longest selection in which the first ones do too. O(n log n).
fn ascending(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // For each length the pair with the smallest first number that ends such a selection, and for each pair the one before.
    let mut ends: Vec<usize> = Vec::new();
    let mut previous: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    let first = |at: usize| pairs.get(at).map(|pair| pair.0);
    for (at, pair) in pairs.iter().enumerate() {
        let length = ends.partition_point(|end| first(*end) < Some(pair.0));
        previous.push(length.checked_sub(1).and_then(|before| ends.get(before).copied()));
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut selected = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(at) = next {
        selected.extend(pairs.get(at));
        next = previous.get(at).copied().flatten();
    }
    selected.reverse();
    selected
}

/// What is left of a hunk without what its two sides have in common at their ends.
fn stripped<T: PartialEq>(before: &[T], after: &[T], hunk: Hunk) -> Hunk {
    let (old, new) = (before.get(hunk.before.clone()), after.get(hunk.after.clone()));
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    let prefix = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - prefix;
    let suffix = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    Hunk {
        before: hunk.before.start + prefix..hunk.before.end - suffix,
        after: hunk.after.start + prefix..hunk.after.end - suffix,
    }
}

/// Adds the hunks of a gap, or the gap as one where that would take too long.
fn between<T: PartialEq>(before: &[T], after: &[T], gap: Hunk, steps: &mut usize, found: &mut Vec<Hunk>) {
    let gap = stripped(before, after, gap);
    let (old, new) = (before.get(gap.before.clone()), after.get(gap.after.clone()));
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    match (old.is_empty(), new.is_empty()) {
        (true, true) => {}
        (true, false) | (false, true) => found.push(gap),
        (false, false) => match shortest(old, new, steps) {
            Some(hunks) => found.extend(hunks.into_iter().map(|mut hunk| {
                shift(&mut hunk, gap.before.start, gap.after.start);
                hunk
            })),
            None => found.push(gap),
        },
    }
}

/// The fewest elements that go and come (E. Myers, "An O(ND) Difference Algorithm and Its Variations", 1986). None where
/// they are more than [`DISTANCE_MAX`], or `steps` are used up.
fn shortest<T: PartialEq>(old: &[T], new: &[T], steps: &mut usize) -> Option<Vec<Hunk>> {
    let (n, m) = (old.len() as isize, new.len() as isize);
    let most = (old.len() + new.len()).min(DISTANCE_MAX) as isize;
    // How far each diagonal has come in the old sequence; and the same after each round, to find the way back.
    let mut far = vec![0_isize; 2 * most as usize + 3];
    let at = |k: isize| (k + most + 1) as usize;
    let mut rounds: Vec<Vec<isize>> = Vec::new();
    for d in 0..=most {
        rounds.push(far.get(at(-d)..=at(d)).unwrap_or_default().to_vec());
        for k in (-d..=d).step_by(2) {
            let mut x = step(d, k, |k| far.get(at(k)).copied().unwrap_or_default()).1;
            let begin = x;
            while x < n && x - k < m && old.get(x as usize) == new.get((x - k) as usize) {
                x += 1;
            }
            *steps = steps.checked_sub(1 + (x - begin) as usize)?;
            if let Some(far) = far.get_mut(at(k)) {
                *far = x;
            }
            if x >= n && x - k >= m {
                return Some(way(&rounds, n, m));
            }
        }
    }
    None
}

/// From which diagonal the d-th edit leads to one, and how far that comes in the old sequence.
fn step(d: isize, k: isize, far: impl Fn(isize) -> isize) -> (isize, isize) {
    if d == 0 {
        return (0, 0);
    }
    let is_insert = k == -d || (k != d && far(k - 1) < far(k + 1));
    if is_insert { (k + 1, far(k + 1)) } else { (k - 1, far(k - 1) + 1) }
}

/// The hunks of a way that was found.
fn way(rounds: &[Vec<isize>], n: isize, m: isize) -> Vec<Hunk> {
    let mut hunks: Vec<Hunk> = Vec::new();
    let (mut x, mut y) = (n, m);
    for (d, round) in (0_isize..).zip(rounds).skip(1).collect::<Vec<_>>().into_iter().rev() {
        let k = x - y;
        let far = |k: isize| round.get((k + d) as usize).copied().unwrap_or_default();
        let (from, end) = step(d, k, far);
        let begin = far(from);
        let edit =
            Hunk { before: begin as usize..end as usize, after: (begin - from) as usize..(end - k) as usize };
        (x, y) = (begin, begin - from);
        match hunks.last_mut() {
            // They are found from the end.
            Some(last) if last.before.start == edit.before.end && last.after.start == edit.after.end => {
                *last = Hunk {
                    before: edit.before.start..last.before.end,
                    after: edit.after.start..last.after.end,
                };
            }
            _ => hunks.push(edit),
        }
    }
    hunks.reverse();
    hunks
}

/// At most [`HUNKS_MAX`] hunks: of more than that, as many neighbours become one as it takes.
fn joined(hunks: Vec<Hunk>) -> Vec<Hunk> {
    if hunks.len() <= HUNKS_MAX {
        return hunks;
    }
    let group = hunks.len().div_ceil(HUNKS_MAX);
    let groups = hunks.chunks(group).filter_map(|group| Some((group.first()?, group.last()?)));
    groups.map(|(first, last)| join(first, last)).collect()
}

fn join(first: &Hunk, last: &Hunk) -> Hunk {
    Hunk { before: first.before.start..last.before.end, after: first.after.start..last.after.end }
}

/// Adds the splices of one hunk of lines, and returns how many characters it had.
fn within(at: usize, old: &str, new: &str, steps: &mut usize, found: &mut Vec<Splice>) -> usize {
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    let whole = Hunk { before: 0..old.len(), after: 0..new.len() };
    let mut hunks = Vec::new();
    if found.len() < HUNKS_MAX {
        between(&old, &new, whole, steps, &mut hunks);
    } else {
        hunks.push(stripped(&old, &new, whole));
    }
    let mut hunks = hunks.into_iter().peekable();
    while let Some(mut hunk) = hunks.next() {
        while let Some(next) = hunks.next_if(|next| next.before.start - hunk.before.end < COMMON_MIN) {
            hunk = join(&hunk, &next);
        }
        found.push(Splice {
            position: at + hunk.before.start,
            removed: hunk.before.len(),
            inserted: new.get(hunk.after).unwrap_or_default().iter().collect(),
        });
    }
    old.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Splices carried out, from the last one on.
    fn apply(text: &str, splices: &[Splice]) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        for splice in splices.iter().rev() {
            let range = splice.position..splice.position + splice.removed;
            chars.splice(range, splice.inserted.chars());
        }
        chars.into_iter().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn whole_lines_at_the_ends_are_left_out(a in "[ab\nä]{0,24}", b in "[ab\nä]{0,24}", c in "[ab\nä]{0,9}", d in "[ab\n]{0,9}") {
            prop_assume!(a != b);
            let (old, new) = (format!("{c}{a}{d}"), format!("{c}{b}{d}"));
            let (prefix, suffix) = common_lines(&old, &new);
            let ends = stripped(&lines(&old), &lines(&new), Hunk { before: 0..lines(&old).len(), after: 0..lines(&new).len() });
            let bytes = |lines: &[&str]| lines.iter().map(|line| line.len()).sum::<usize>();
            prop_assert_eq!(prefix, bytes(&lines(&old)[..ends.before.start]));
            prop_assert_eq!(suffix, bytes(&lines(&old)[ends.before.end..]));
        }

        #[test]
        fn what_others_did_meanwhile_stays(old in "[ab\nä]{0,24}", mine in "[abx\n]{0,24}", theirs in "[aby\n]{0,24}") {
            let edits = splices(&old, &mine);
            prop_assert_eq!(apply(&old, &edits), mine.clone());
            prop_assert_eq!(apply(&old, &line_splices(&old, &mine)), mine.clone());
            prop_assert_eq!(rebase(&old, &old, &edits), edits.clone());
            // One who wrote nothing sees what the other wrote, and both see both sides' new characters.
            prop_assert_eq!(apply(&theirs, &rebase(&old, &theirs, &[])), theirs.clone());
            let both = apply(&theirs, &rebase(&old, &theirs, &edits));
            let count = |text: &str, of: char| text.matches(of).count();
            prop_assert_eq!(count(&both, 'x'), count(&mine, 'x'));
            prop_assert_eq!(count(&both, 'y'), count(&theirs, 'y'));
        }
    }

    #[test]
    fn lines_are_replaced_as_a_whole_or_not_at_all() {
        let whole = Splice { position: 4, removed: 6, inserted: "three\n".to_owned() };
        assert_eq!(
            line_splices("one\nthree and\n", "one\nthree\n"),
            [Splice { removed: 10, ..whole.clone() }]
        );
        assert_eq!(line_splices("one\ntwos\n\n", "one\nthree\n"), [whole]);
    }

    #[test]
    fn edits_of_other_lines_are_merged() {
        let (old, mine, theirs) = ("one\ntwo\n", "one\ntwo\nlast\n", "first\none\ntwo\n");
        assert_eq!(apply(theirs, &rebase(old, theirs, &splices(old, mine))), "first\none\ntwo\nlast\n");
    }
}

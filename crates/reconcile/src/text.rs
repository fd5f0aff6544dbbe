//! What changed in a text, as few splices as is cheap to find.
//!
//! Lines first, as `git` compares them, then characters within the lines that differ: what people typed in other lines,
//! and in other parts of the same line, stays. The work is bounded: where a hunk is long and its characters have little in
//! common, it is replaced as a whole.

use imara_diff::{Algorithm, Diff, Hunk, InternedInput};

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

/// Hunks with more characters than this, on both sides together, are replaced whole.
const HUNK_CHARS_MAX: usize = 32_768;
/// Characters that may be compared one by one in all hunks of a text.
const CHARS_MAX: usize = 262_144;
/// Stretches that both sides have in common between two splices are replaced too if they are shorter.
const COMMON_MIN: u32 = 2;

/// Returns what leads from one text to another: splices in ascending order, positions in the old one. None where they are
/// equal. O(n), with a bounded part that is not linear.
#[must_use]
pub fn splices(old: &str, new: &str) -> Vec<Splice> {
    if old == new {
        return Vec::new();
    }
    let old_lines: Vec<&str> = lines(old);
    let new_lines: Vec<&str> = lines(new);
    let mut input = InternedInput::default();
    input.update_before(old_lines.iter().copied());
    input.update_after(new_lines.iter().copied());
    let diff = Diff::compute(Algorithm::Histogram, &input);
    let mut found = Vec::new();
    let mut budget = CHARS_MAX;
    let (mut line, mut position) = (0, 0);
    for hunk in diff.hunks() {
        let before = hunk.before.start as usize;
        position += count(old_lines.get(line..before).unwrap_or_default());
        let removed = old_lines.get(before..hunk.before.end as usize).unwrap_or_default();
        let after = hunk.after.start as usize..hunk.after.end as usize;
        let inserted = new_lines.get(after).unwrap_or_default();
        position += within(position, &removed.concat(), &inserted.concat(), &mut budget, &mut found);
        line = hunk.before.end as usize;
    }
    found
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
        pieces.into_iter().for_each(|piece| push(&mut found, piece.position, piece.removed, piece.inserted));
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

/// Adds the splices of one hunk, and returns how many characters it had.
fn within(at: usize, old: &str, new: &str, budget: &mut usize, found: &mut Vec<Splice>) -> usize {
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    let prefix = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - prefix;
    let suffix = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let (before, after) = (
        old.get(prefix..old.len() - suffix).unwrap_or_default(),
        new.get(prefix..new.len() - suffix).unwrap_or_default(),
    );
    let at = at + prefix;
    let cost = before.len() + after.len();
    if before.is_empty() || after.is_empty() || cost > HUNK_CHARS_MAX || cost > *budget {
        push(found, at, before.len(), after.iter().collect());
        return old.len();
    }
    *budget -= cost;
    let mut input = InternedInput::default();
    input.update_before(before.iter().copied());
    input.update_after(after.iter().copied());
    let diff = Diff::compute(Algorithm::Myers, &input);
    let mut pending: Option<Hunk> = None;
    let mut add = |hunk: Hunk| {
        let inserted = after.get(hunk.after.start as usize..hunk.after.end as usize).unwrap_or_default();
        push(found, at + hunk.before.start as usize, hunk.before.len(), inserted.iter().collect());
    };
    for hunk in diff.hunks() {
        pending = Some(match pending {
            Some(last) if hunk.before.start - last.before.end < COMMON_MIN => {
                Hunk { before: last.before.start..hunk.before.end, after: last.after.start..hunk.after.end }
            }
            Some(last) => {
                add(last);
                hunk
            }
            None => hunk,
        });
    }
    pending.into_iter().for_each(add);
    old.len()
}

fn push(found: &mut Vec<Splice>, position: usize, removed: usize, inserted: String) {
    if removed > 0 || !inserted.is_empty() {
        found.push(Splice { position, removed, inserted });
    }
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
        fn what_others_did_meanwhile_stays(old in "[ab\nä]{0,24}", mine in "[abx\n]{0,24}", theirs in "[aby\n]{0,24}") {
            let edits = splices(&old, &mine);
            prop_assert_eq!(apply(&old, &edits), mine.clone());
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
    fn edits_of_other_lines_are_merged() {
        let (old, mine, theirs) = ("one\ntwo\n", "one\ntwo\nlast\n", "first\none\ntwo\n");
        assert_eq!(apply(theirs, &rebase(old, theirs, &splices(old, mine))), "first\none\ntwo\nlast\n");
    }
}

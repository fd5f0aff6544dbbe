//! Texts: one section each, read when first touched.
//!
//! Columns: 1 branch, 2 op number, 3 count, 4 parent + 1 (how far back), 5 side of each stretch of characters that
//! hang on each other, in the order in which they came; 6 first, 7 count, 8 visible of each stretch in the order of
//! the text; 9 what is visible, in the order in which it came. What is hidden is not kept: nobody sees it again.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::{INFLATED_BYTES_MAX, Table};
use crate::columns::{ColumnError, Columns, Deflater, put_bytes_column};
use crate::op::Side;
use crate::state::history::{ChangeIx, History};
use crate::state::text::{CharIx, Text};

/// Stands for a character that is hidden and not kept.
const HIDDEN: char = '\u{fffd}';

/// A text that may not have been read yet.
#[derive(Clone, Debug)]
pub(crate) struct LazyText {
    frozen: Option<(Arc<[u8]>, Arc<Claimed>)>,
    text: OnceLock<Box<Text>>,
}

/// What changes have claimed: of each branch the end of its op numbers, and how many there can be in all.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    ends: Vec<u64>,
    max: usize,
}

impl Claimed {
    pub(super) fn by(history: &History, max: usize) -> Self {
        let end = |last: &ChangeIx| history.row(*last).first_counter + u64::from(history.row(*last).span);
        Self { ends: history.branches().iter().map(|of| of.changes.last().map_or(0, end)).collect(), max }
    }
}

impl LazyText {
    pub(crate) fn new() -> Self {
        Self { frozen: None, text: OnceLock::from(Box::new(Text::new())) }
    }

    /// A text as [`save`] wrote it, whose checksum was looked at.
    pub(crate) fn frozen(bytes: Arc<[u8]>, claimed: Arc<Claimed>) -> Self {
        Self { frozen: Some((bytes, claimed)), text: OnceLock::new() }
    }

    /// Heap bytes held; of a text that was not touched yet, its compressed ones.
    pub(crate) fn heap_bytes(&self) -> usize {
        let frozen = self.frozen.as_ref().map_or(0, |(bytes, _)| bytes.len());
        frozen + self.text.get().map_or(0, |text| text.heap_bytes())
    }

    pub(crate) fn get(&self) -> &Text {
        self.text.get_or_init(|| {
            let text = self.frozen.as_ref().map(|(bytes, claimed)| open(bytes, claimed));
            Box::new(text.and_then(Result::ok).unwrap_or_else(Text::new))
        })
    }

    pub(crate) fn get_mut(&mut self) -> &mut Text {
        self.get();
        self.frozen = None;
        match self.text.get_mut() {
            Some(text) => text,
            None => unreachable!("it was read just now"),
        }
    }
}

/// Writes a text; one that was not touched since it was opened, as it was.
pub(super) fn save(text: &LazyText, deflater: &mut Deflater) -> Vec<u8> {
    if let Some((frozen, _)) = &text.frozen {
        return frozen.to_vec();
    }
    let text = text.get();
    let stretches: Vec<(CharIx, u32, bool)> = text.stretches().collect();
    let mut characters: Vec<(CharIx, bool)> = stretches
        .iter()
        .flat_map(|(first, count, is_visible)| (*first..first + count).map(|it| (it, *is_visible)))
        .collect();
    characters.sort_unstable();
    let number = |character: CharIx| -> u64 {
        characters.binary_search_by_key(&character, |(it, _)| *it).map_or(0, |at| at as u64)
    };
    let mut table = Table::default();
    let mut open: Option<(u32, u64, u64, CharIx)> = None;
    let close = |table: &mut Table, stretch: Option<(u32, u64, u64, CharIx)>| {
        let Some((branch, counter, count, first)) = stretch else { return };
        let (parent, side) = text.parent(first);
        table.push(1, branch);
        table.push(2, counter);
        table.push(3, count);
        table.push(4, parent.map_or(0, |parent| number(first) - number(parent)));
        table.push(5, side as u8);
    };
    for (character, _) in &characters {
        let (branch, counter) = text.id(*character);
        match &mut open {
            Some((of, first_counter, count, first))
                if *of == branch
                    && *first_counter + *count == counter
                    && u64::from(*first) + *count == u64::from(*character)
                    && text.parent(*character) == (Some(character - 1), Side::Right) =>
            {
                *count += 1;
            }
            _ => close(&mut table, open.replace((branch, counter, 1, *character))),
        }
    }
    close(&mut table, open);
    for (first, count, is_visible) in &stretches {
        table.push(6, number(*first));
        table.push(7, *count);
        table.push(8, u8::from(*is_visible));
    }
    // The text's own order is that of reading; the order of coming is found by number.
    let shown: Vec<char> = text.content().chars().collect();
    let in_text = stretches.iter().filter(|(_, _, is_visible)| *is_visible);
    let in_text = in_text.flat_map(|(first, count, _)| *first..first + count);
    let by_number: BTreeMap<CharIx, char> = in_text.zip(shown).collect();
    let content: String = by_number.values().collect();
    let mut out = Vec::new();
    table.put(&mut out, deflater);
    put_bytes_column(&mut out, 9, content.as_bytes(), deflater);
    out
}

fn open(bytes: &[u8], claimed: &Claimed) -> Result<Text, ColumnError> {
    let columns = Columns::read(bytes, INFLATED_BYTES_MAX)?;
    let order = read_order(&columns, claimed.max)?;
    let number = |id| columns.numbers(id, "text");
    let (mut branch, mut counter, mut count, mut parent, mut side) =
        (number(1)?, number(2)?, number(3)?, number(4)?, number(5)?);
    let content = columns.bytes(9, "text")?;
    let content = std::str::from_utf8(content.rest()).map_err(|_| ColumnError::new("text", "not UTF-8"))?;
    let mut text = Text::new();
    let mut shown = content.chars();
    let mut ids: BTreeMap<(u32, u64), (u32, u32)> = BTreeMap::new();
    let mut hidden: Vec<(u32, u64, u64)> = Vec::new();
    let mut at: u32 = 0;
    while branch.end().is_err() {
        let of = branch.next_up_to(claimed.ends.len().saturating_sub(1))?;
        let end = claimed.ends.get(of).copied().unwrap_or(0);
        let branch = of as u32;
        let first = counter.next()?;
        let count = count.next_up_to(order.len() - at as usize)? as u32;
        let before = ids.range((branch, 0)..=(branch, u64::MAX)).next_back();
        let free = before.map_or(1, |((_, first), (_, count))| first + u64::from(*count));
        if count == 0 || first < free || first.checked_add(count.into()).is_none_or(|behind| behind > end) {
            return Err(counter.bad("what no change has claimed"));
        }
        let counter = first;
        let parent = match parent.next_up_to(at as usize)? as u32 {
            0 => None,
            back => Some(at - back),
        };
        let side = match (side.next_up_to(1)?, parent) {
            (0, None) => return Err(side.bad("nothing hangs left of the beginning")),
            (0, Some(_)) => Side::Left,
            _ => Side::Right,
        };
        let mut stretch = String::with_capacity(count as usize);
        for (offset, (_, is_visible)) in (0u64..).zip(order.iter().skip(at as usize).take(count as usize)) {
            let mut seen = || shown.next().ok_or(ColumnError::new("text", "ends early"));
            stretch.push(if *is_visible { seen()? } else { HIDDEN });
            if !is_visible {
                match hidden.last_mut() {
                    Some((of, from, len)) if *of == branch && *from + *len == counter + offset => *len += 1,
                    _ => hidden.push((branch, counter + offset, 1)),
                }
            }
        }
        ids.insert((branch, counter), (at, count));
        let rank = |(branch, counter): (u32, u64)| -> u32 {
            let stretch = ids.range(..=(branch, counter)).next_back();
            let character = stretch.map_or(0, |((_, from), (at, _))| at + (counter - from) as u32);
            order.get(character as usize).map_or(0, |(rank, _)| *rank)
        };
        let compare = |a, b| -> Ordering { rank(a).cmp(&rank(b)) };
        text.insert(branch, counter, &stretch, parent, side, &compare);
        at += count;
    }
    for (branch, counter, count) in hidden {
        text.delete(branch, counter, count, &mut |_, _, _| {});
    }
    columns.end()?;
    if at as usize != order.len() || shown.next().is_some() {
        return Err(ColumnError::new("text", "not as many characters as it has places"));
    }
    Ok(text)
}

/// Where each character stands, which decides among siblings, and whether it is seen. There are at most `max`.
fn read_order(columns: &Columns<'_>, max: usize) -> Result<Vec<(u32, bool)>, ColumnError> {
    const NOWHERE: u32 = u32::MAX;
    let number = |id| columns.numbers(id, "text");
    let (mut first, mut len, mut visible) = (number(6)?, number(7)?, number(8)?);
    let mut left = max.min(NOWHERE as usize);
    let mut stretches = Vec::new();
    while first.end().is_err() {
        let stretch = (first.next_up_to(max)?, len.next_count(&mut left)?, visible.next_up_to(1)? == 1);
        if stretch.1 == 0 {
            return Err(len.bad("a stretch of nothing"));
        }
        stretches.push(stretch);
    }
    let count = stretches.iter().map(|(_, len, _)| len).sum();
    let mut order = vec![(NOWHERE, false); count];
    let mut rank = 0;
    for (first, len, is_visible) in stretches {
        let places =
            order.get_mut(first..first + len).ok_or_else(|| ColumnError::new("text", "beyond the end"))?;
        for place in places {
            if place.0 != NOWHERE {
                return Err(ColumnError::new("text", "a character that stands twice"));
            }
            *place = (rank, is_visible);
            rank += 1;
        }
    }
    Ok(order)
}

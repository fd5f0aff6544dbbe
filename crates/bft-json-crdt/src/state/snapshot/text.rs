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
use crate::state::text::{CharIx, Text};

/// Stands for a character that is hidden and not kept.
const HIDDEN: char = '\u{fffd}';

/// A text that may not have been read yet.
#[derive(Clone, Debug)]
pub(crate) struct LazyText {
    frozen: Option<Arc<[u8]>>,
    text: OnceLock<Box<Text>>,
}

impl LazyText {
    pub(crate) fn new() -> Self {
        Self { frozen: None, text: OnceLock::from(Box::new(Text::new())) }
    }

    /// A text as [`save`] wrote it, whose checksum was looked at.
    pub(crate) fn frozen(bytes: Arc<[u8]>) -> Self {
        Self { frozen: Some(bytes), text: OnceLock::new() }
    }

    /// Heap bytes held; of a text that was not touched yet, its compressed ones.
    pub(crate) fn heap_bytes(&self) -> usize {
        let frozen = self.frozen.as_ref().map_or(0, |bytes| bytes.len());
        frozen + self.text.get().map_or(0, |text| text.heap_bytes())
    }

    pub(crate) fn get(&self) -> &Text {
        self.text.get_or_init(|| {
            let bytes = self.frozen.as_deref().unwrap_or_default();
            Box::new(open(bytes).unwrap_or_else(|_| Text::new()))
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
    if let Some(frozen) = &text.frozen {
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

fn open(bytes: &[u8]) -> Result<Text, ColumnError> {
    let columns = Columns::read(bytes, INFLATED_BYTES_MAX)?;
    let number = |id| columns.numbers(id, "text");
    let (mut branch, mut counter, mut count, mut parent, mut side) =
        (number(1)?, number(2)?, number(3)?, number(4)?, number(5)?);
    let (mut first, mut len, mut visible) = (number(6)?, number(7)?, number(8)?);
    let content = columns.bytes(9, "text")?;
    let content = std::str::from_utf8(content.rest()).map_err(|_| ColumnError::new("text", "not UTF-8"))?;
    // Where each character stands, which decides among siblings, and whether it is seen.
    let mut order: Vec<(u32, bool)> = Vec::new();
    let mut rank = 0;
    while first.end().is_err() {
        let first = first.next_up_to(u32::MAX as usize)?;
        let count = len.next_up_to(INFLATED_BYTES_MAX)?;
        let is_visible = visible.next()? != 0;
        if order.len() < first + count {
            if first + count > INFLATED_BYTES_MAX {
                return Err(len.bad("too long"));
            }
            order.resize(first + count, (0, false));
        }
        for place in order.iter_mut().skip(first).take(count) {
            *place = (rank, is_visible);
            rank += 1;
        }
    }
    let mut text = Text::new();
    let mut shown = content.chars();
    let mut ids: BTreeMap<(u32, u64), u32> = BTreeMap::new();
    let mut hidden: Vec<(u32, u64, u64)> = Vec::new();
    let mut at: u32 = 0;
    while branch.end().is_err() {
        let branch = branch.next()? as u32;
        let counter = counter.next()?;
        let count = count.next_up_to(order.len() - at as usize)? as u32;
        let parent = match parent.next_up_to(at as usize)? as u32 {
            0 => None,
            back => Some(at - back),
        };
        let side = if side.next_up_to(1)? == 0 { Side::Left } else { Side::Right };
        let mut stretch = String::with_capacity(count as usize);
        for (offset, (_, is_visible)) in (0u64..).zip(order.iter().skip(at as usize).take(count as usize)) {
            stretch.push(if *is_visible { shown.next().unwrap_or(HIDDEN) } else { HIDDEN });
            if !is_visible {
                match hidden.last_mut() {
                    Some((of, from, len)) if *of == branch && *from + *len == counter + offset => *len += 1,
                    _ => hidden.push((branch, counter + offset, 1)),
                }
            }
        }
        ids.insert((branch, counter), at);
        let rank = |(branch, counter): (u32, u64)| -> u32 {
            let stretch = ids.range(..=(branch, counter)).next_back();
            let character = stretch.map_or(0, |((_, from), at)| at + (counter - from) as u32);
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
    Ok(text)
}

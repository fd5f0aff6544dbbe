//! Values, between their canonical bytes and their columns. No value is built on the way.

use std::cmp::Reverse;

use super::Fault;
use super::layout::{ValueColumns, WHOLE};
use crate::columns::{Bytes, ColumnError, Cursor, Dictionary, Interner, Numbers, unzigzag, zigzag};
use crate::encoding::{DecodeError, Extent, Reader, check_limit, put_bytes, put_varint};
use crate::limits::{CHANGE_BYTES_MAX, KEY_BYTES_MAX, VALUE_DEPTH_MAX};

/// Dictionaries that are being made, for all values of a chunk.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) keys: Interner,
    pub(super) shapes: Interner,
    pub(super) strings: Interner,
}

/// The dictionaries of a chunk.
pub(super) struct Dictionaries<'a> {
    pub(super) keys: Dictionary<'a>,
    pub(super) paths: Dictionary<'a>,
    pub(super) shapes: Dictionary<'a>,
    pub(super) strings: Dictionary<'a>,
}

/// Moves a value from the front of `reader` to the columns. In the column of strings stands for the time being
/// the number in `words`.
pub(super) fn write_value(
    columns: &mut ValueColumns<Numbers>,
    words: &mut Words,
    reader: &mut Reader<'_>,
) -> Result<(), DecodeError> {
    let tag = reader.byte("a value")?;
    if tag == 5 {
        let bits = u64::from_le_bytes(reader.array("a number")?);
        match whole(f64::from_bits(bits)) {
            Some(n) => {
                columns.tag.push(WHOLE.into());
                columns.whole.push(zigzag(n));
            }
            None => {
                columns.tag.push(5);
                columns.float.push(bits);
            }
        }
        return Ok(());
    }
    columns.tag.push(tag.into());
    match tag {
        0..=2 => {}
        3 | 4 => columns.integer.push(reader.varint("an integer")?),
        6 | 9 => {
            let string = reader.text("a string", usize::MAX)?;
            columns.string.push(words.strings.number(string.as_bytes()).into());
        }
        7 => {
            let count = reader.count("an array", usize::MAX, 1)?;
            columns.count.push(count as u64);
            for _ in 0..count {
                write_value(columns, words, reader)?;
            }
        }
        8 => {
            let count = reader.count("an object", usize::MAX, 2)?;
            let mut shape = Vec::with_capacity(count + 1);
            put_varint(&mut shape, count as u64);
            // The shape comes first, so that its keys need not be kept.
            let mut ahead = reader.clone();
            for _ in 0..count {
                let key = ahead.text("a key", KEY_BYTES_MAX)?;
                put_varint(&mut shape, words.keys.number(key.as_bytes()).into());
                ahead.skip_value()?;
            }
            columns.shape.push(words.shapes.number(&shape).into());
            for _ in 0..count {
                reader.text("a key", KEY_BYTES_MAX)?;
                write_value(columns, words, reader)?;
            }
        }
        found => return Err(DecodeError::Unknown { what: "value tag", found: found.into() }),
    }
    Ok(())
}

/// The integer that a float is, if it is one that its zigzag gives back bit by bit.
fn whole(n: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    let is_whole = n.abs() < EXACT && n.trunc() == n && n.to_bits() != (-0.0f64).to_bits();
    is_whole.then_some(n as i64)
}

/// Where the strings of a chunk go: those that come more than once to the dictionary, the most frequent first.
pub(super) struct Strings<'a> {
    entries: Vec<(&'a [u8], u32)>,
    /// Per number in the interner: 0 not in the dictionary, 1 + its number there.
    places: Vec<u64>,
    pub(super) dictionary: Vec<u8>,
}

impl<'a> Strings<'a> {
    pub(super) fn new(interner: &'a Interner) -> Self {
        let entries = interner.entries();
        let mut frequent: Vec<usize> = Vec::new();
        frequent.extend(entries.iter().enumerate().filter(|(_, (_, uses))| *uses > 1).map(|(at, _)| at));
        frequent.sort_by_key(|at| entries.get(*at).map(|(_, uses)| Reverse(*uses)));
        let (mut places, mut dictionary) = (vec![0; entries.len()], Vec::new());
        for (number, at) in frequent.into_iter().enumerate() {
            if let (Some(place), Some((entry, _))) = (places.get_mut(at), entries.get(at)) {
                *place = 1 + number as u64;
                put_bytes(&mut dictionary, entry);
            }
        }
        Self { entries, places, dictionary }
    }

    /// Puts the final numbers into a column of strings. Returns those that are not in the dictionary.
    pub(super) fn settle(&self, columns: &mut ValueColumns<Numbers>) -> Vec<u8> {
        let mut literals = Vec::new();
        let interned = std::mem::take(&mut columns.string);
        for number in interned.iter() {
            let place = self.places.get(number as usize).copied().unwrap_or_default();
            columns.string.push(place);
            if let (0, Some((entry, _))) = (place, self.entries.get(number as usize)) {
                columns.length.push(entry.len() as u64);
                literals.extend_from_slice(entry);
            }
        }
        literals
    }
}

/// The values of one kind of op, as they are read.
pub(super) struct ValueReader<'r, 'a> {
    pub(super) columns: &'r mut ValueColumns<Cursor<'a>>,
    pub(super) strings: &'r mut Bytes<'a>,
    pub(super) words: &'r Dictionaries<'a>,
}

impl<'a> ValueReader<'_, 'a> {
    /// Appends the next value's canonical bytes to `out`, and says what it spans.
    pub(super) fn read(mut self, out: &mut Vec<u8>) -> Result<Extent, Fault> {
        let mut extent = Extent::default();
        self.read_at(0, out, &mut extent)?;
        Ok(extent)
    }

    /// Stops soon after the length of a change.
    fn read_at(&mut self, depth: usize, out: &mut Vec<u8>, extent: &mut Extent) -> Result<(), Fault> {
        check_limit("the depth of a value", depth, VALUE_DEPTH_MAX)?;
        check_limit("a change in bytes", out.len(), CHANGE_BYTES_MAX)?;
        extent.values += 1;
        extent.numbers += 1;
        let tag = self.columns.tag.next_up_to(WHOLE.into())? as u8;
        match tag {
            0..=2 => out.push(tag),
            3 | 4 => {
                out.push(tag);
                put_varint(out, self.columns.integer.next()?);
            }
            5 => {
                out.push(tag);
                out.extend_from_slice(&self.columns.float.next()?.to_le_bytes());
            }
            6 | 9 => {
                out.push(tag);
                let string = self.string()?;
                put_bytes(out, string);
                if tag == 9 {
                    extent.numbers += characters(string);
                }
            }
            7 => {
                let count = self.columns.count.next_up_to(CHANGE_BYTES_MAX)?;
                out.push(tag);
                put_varint(out, count as u64);
                for _ in 0..count {
                    self.read_at(depth + 1, out, extent)?;
                }
            }
            8 => {
                let mut shape = Reader::new(self.words.shapes.entry(self.columns.shape.next()?)?);
                out.push(tag);
                let count = number_in(&mut shape, "shapes")?;
                put_varint(out, count);
                for _ in 0..count {
                    put_bytes(out, self.words.keys.entry(number_in(&mut shape, "shapes")?)?);
                    self.read_at(depth + 1, out, extent)?;
                }
            }
            _ => {
                out.push(5);
                #[expect(clippy::cast_precision_loss, reason = "written for integers below 2^53 only")]
                let n = unzigzag(self.columns.whole.next()?) as f64;
                out.extend_from_slice(&n.to_le_bytes());
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Result<&'a [u8], ColumnError> {
        match self.columns.string.next()?.checked_sub(1) {
            None => {
                let len = self.columns.length.next()?;
                self.strings.take(len)
            }
            Some(number) => self.words.strings.entry(number),
        }
    }
}

/// The next number in an entry of a dictionary of lists.
pub(super) fn number_in(entry: &mut Reader<'_>, dictionary: &'static str) -> Result<u64, ColumnError> {
    entry.varint(dictionary).map_err(|_| ColumnError::new(dictionary, "an entry ends early"))
}

/// How many characters UTF-8 bytes have.
pub(super) fn characters(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| (**byte as i8) >= -0x40).count() as u64
}

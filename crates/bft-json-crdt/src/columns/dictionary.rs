//! Dictionaries: byte strings that are written once and named by their number.
//!
//! A dictionary is a column of bytes: for each entry a varint length and the bytes, in the order of the numbers.

use std::collections::HashMap;

use super::{Bytes, ColumnError};
use crate::encoding::{Reader, put_bytes};

/// Numbers byte strings in the order of their first appearance.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    numbers: HashMap<Box<[u8]>, u32>,
    /// How often each was asked for.
    uses: Vec<u32>,
}

impl Interner {
    /// The number of `entry`.
    pub(crate) fn number(&mut self, entry: &[u8]) -> u32 {
        let number = match self.numbers.get(entry) {
            Some(number) => *number,
            None => {
                let number = self.uses.len() as u32;
                self.numbers.insert(entry.into(), number);
                self.uses.push(0);
                number
            }
        };
        if let Some(uses) = self.uses.get_mut(number as usize) {
            *uses += 1;
        }
        number
    }

    /// The entries in the order of their numbers, each with how often it was asked for.
    pub(crate) fn entries(&self) -> Vec<(&[u8], u32)> {
        let mut entries = vec![(&[][..], 0); self.uses.len()];
        // The place of each entry is its number, whatever the order of the map.
        for (entry, number) in &self.numbers {
            if let (Some(place), Some(uses)) =
                (entries.get_mut(*number as usize), self.uses.get(*number as usize))
            {
                *place = (&entry[..], *uses);
            }
        }
        entries
    }

    /// The dictionary's column.
    pub(crate) fn column(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.entries().into_iter().for_each(|(entry, _)| put_bytes(&mut out, entry));
        out
    }
}

/// A dictionary as it is read.
pub(crate) struct Dictionary<'a> {
    name: &'static str,
    bytes: &'a [u8],
    /// Where each entry starts and ends.
    entries: Vec<(u32, u32)>,
}

impl<'a> Dictionary<'a> {
    /// Reads a dictionary of at most `len_max` bytes, its lengths included.
    pub(crate) fn read(column: &Bytes<'a>, len_max: usize) -> Result<Self, ColumnError> {
        let (name, bytes) = (column.name(), column.rest());
        if bytes.len() > len_max {
            return Err(ColumnError::new(name, "longer than all that may name it"));
        }
        let mut reader = Reader::new(bytes);
        let mut entries = Vec::new();
        while !reader.rest().is_empty() {
            let entry = reader.count(name, usize::MAX, 1).and_then(|len| reader.take(name, len));
            let entry = entry.map_err(|_| ColumnError::new(name, "an entry ends early"))?;
            let end = bytes.len() - reader.rest().len();
            entries.push(((end - entry.len()) as u32, end as u32));
        }
        Ok(Self { name, bytes, entries })
    }

    /// The entry of a number.
    #[inline]
    pub(crate) fn entry(&self, number: u64) -> Result<&'a [u8], ColumnError> {
        let place = usize::try_from(number).ok().and_then(|number| self.entries.get(number));
        place
            .and_then(|(start, end)| self.bytes.get(*start as usize..*end as usize))
            .ok_or(ColumnError::new(self.name, "no such entry"))
    }
}

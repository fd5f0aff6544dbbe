//! Reading columns, one number or string after the other.

use std::borrow::Cow;
use std::cell::Cell;

use super::block::Block;
use super::{BYTES, ColumnError, DELTA_PLANES, DELTA_RUNS, DISTANCES, PLANES, RUNS, unzigzag};
use crate::encoding::Reader;

/// The columns of a piece of history, inflated.
pub(crate) struct Columns<'a> {
    /// Ascending by id.
    columns: Vec<Column<'a>>,
}

struct Column<'a> {
    id: u8,
    coding: u8,
    width: usize,
    data: Cow<'a, [u8]>,
    is_opened: Cell<bool>,
}

impl<'a> Columns<'a> {
    /// Reads all columns of `bytes`, of which `inflated_max` bytes may come out of compression.
    pub(crate) fn read(bytes: &'a [u8], inflated_max: usize) -> Result<Self, ColumnError> {
        let malformed = |error| ColumnError::of_bytes(&error);
        let mut budget = inflated_max;
        let mut reader = Reader::new(bytes);
        let mut columns: Vec<Column<'a>> = Vec::new();
        while !reader.rest().is_empty() {
            let id = reader.byte("a column").map_err(malformed)?;
            if columns.last().is_some_and(|before| before.id >= id) {
                return Err(ColumnError::new("directory", "ids out of order"));
            }
            let coding = reader.byte("a coding").map_err(malformed)?;
            let width = match coding & !DISTANCES {
                PLANES | DELTA_PLANES => reader.byte("a width").map_err(malformed)?.into(),
                _ => 1,
            };
            if width == 0 || width > 8 {
                return Err(ColumnError::new("directory", "a width that no number has"));
            }
            let data = read_blocks(&mut reader, width, &mut budget)?;
            columns.push(Column { id, coding, width, data, is_opened: Cell::new(false) });
        }
        Ok(Self { columns })
    }

    fn open(&self, id: u8) -> Option<&Column<'a>> {
        let at = self.columns.binary_search_by_key(&id, |column| column.id).ok()?;
        let column = self.columns.get(at)?;
        column.is_opened.set(true);
        Some(column)
    }

    /// The numbers of column `id`.
    pub(crate) fn numbers(&self, id: u8, name: &'static str) -> Result<Cursor<'_>, ColumnError> {
        let Some(column) = self.open(id) else {
            return Ok(Cursor::new(name, Coding::Runs { rest: Reader::new(&[]), number: 0, times: 0 }, 0));
        };
        let data = &column.data[..];
        let coding = match column.coding & !DISTANCES {
            RUNS | DELTA_RUNS => Coding::Runs { rest: Reader::new(data), number: 0, times: 0 },
            PLANES | DELTA_PLANES => {
                Coding::Planes { data, len: data.len() / column.width, width: column.width, at: 0 }
            }
            _ => return Err(ColumnError::new(name, "not a coding of numbers")),
        };
        Ok(Cursor::new(name, coding, column.coding))
    }

    /// The bytes of column `id`.
    pub(crate) fn bytes(&self, id: u8, name: &'static str) -> Result<Bytes<'_>, ColumnError> {
        match self.open(id) {
            None => Ok(Bytes { name, rest: &[] }),
            Some(column) if column.coding == BYTES => Ok(Bytes { name, rest: &column.data }),
            Some(_) => Err(ColumnError::new(name, "not a coding of bytes")),
        }
    }

    /// Checks that every column was opened.
    pub(crate) fn end(&self) -> Result<(), ColumnError> {
        if self.columns.iter().all(|column| column.is_opened.get()) {
            Ok(())
        } else {
            Err(ColumnError::new("directory", "a column that this version does not know"))
        }
    }
}

/// Reads `count` blocks of one length and joins them.
fn read_blocks<'a>(
    reader: &mut Reader<'a>,
    count: usize,
    budget: &mut usize,
) -> Result<Cow<'a, [u8]>, ColumnError> {
    let first = Block::read(reader, budget)?;
    if let (1, Block::Plain(bytes)) = (count, &first) {
        return Ok(Cow::Borrowed(bytes));
    }
    let len = first.len();
    let mut data = Vec::with_capacity(len);
    first.inflate(&mut data)?;
    for _ in 1..count {
        let block = Block::read(reader, budget)?;
        if block.len() != len {
            return Err(ColumnError::new("directory", "planes of different lengths"));
        }
        block.inflate(&mut data)?;
    }
    Ok(Cow::Owned(data))
}

/// Where a reader stands in a column of numbers.
pub(crate) struct Cursor<'a> {
    name: &'static str,
    coding: Coding<'a>,
    is_delta: bool,
    is_distance: bool,
    before: u64,
}

enum Coding<'a> {
    Runs { rest: Reader<'a>, number: u64, times: u64 },
    Planes { data: &'a [u8], len: usize, width: usize, at: usize },
}

impl<'a> Cursor<'a> {
    fn new(name: &'static str, coding: Coding<'a>, byte: u8) -> Self {
        Self {
            name,
            coding,
            is_delta: matches!(byte & !DISTANCES, DELTA_RUNS | DELTA_PLANES),
            is_distance: byte & DISTANCES != 0,
            before: 0,
        }
    }

    /// Says that a number of this column makes no sense.
    pub(crate) fn bad(&self, problem: &'static str) -> ColumnError {
        ColumnError::new(self.name, problem)
    }

    /// The next number.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<u64, ColumnError> {
        let n = match &mut self.coding {
            Coding::Runs { rest, number, times } => {
                if *times == 0 {
                    let mut varint = || rest.varint("a run").ok();
                    (*number, *times) = varint()
                        .and_then(|number| Some((number, varint()?)))
                        .filter(|(_, times)| *times > 0)
                        .ok_or(ColumnError::Column { column: self.name, problem: "ends early" })?;
                }
                *times -= 1;
                *number
            }
            Coding::Planes { data, len, width, at } => {
                if *at == *len {
                    return Err(ColumnError::new(self.name, "ends early"));
                }
                let mut n = 0;
                for plane in (0..*width).rev() {
                    n = n << 8 | u64::from(data.get(*at + plane * *len).copied().unwrap_or_default());
                }
                *at += 1;
                n
            }
        };
        if self.is_delta {
            self.before = self.before.wrapping_add(unzigzag(n) as u64);
            return Ok(self.before);
        }
        Ok(n)
    }

    /// The next number, which may be near `base`: as it was written with [`super::Numbers::push_near`].
    #[inline]
    pub(crate) fn next_near(&mut self, base: u64) -> Result<u64, ColumnError> {
        let n = self.next()?;
        Ok(if self.is_distance { base.wrapping_sub(unzigzag(n) as u64) } else { n })
    }

    /// The next number, which is at most `limit`.
    #[inline]
    pub(crate) fn next_up_to(&mut self, limit: usize) -> Result<usize, ColumnError> {
        let n = usize::try_from(self.next()?).unwrap_or(usize::MAX);
        if n > limit { Err(self.bad("a number over its limit")) } else { Ok(n) }
    }

    /// The next number, a count: what it counts takes its place off `left`.
    pub(crate) fn next_count(&mut self, left: &mut usize) -> Result<usize, ColumnError> {
        let n = self.next_up_to(*left)?;
        *left -= n;
        Ok(n)
    }

    /// Checks that no number is left.
    pub(crate) fn end(&self) -> Result<(), ColumnError> {
        let is_done = match &self.coding {
            Coding::Runs { rest, times, .. } => *times == 0 && rest.rest().is_empty(),
            Coding::Planes { len, at, .. } => at == len,
        };
        if is_done { Ok(()) } else { Err(self.bad("more numbers than are used")) }
    }
}

/// Where a reader stands in a column of bytes.
pub(crate) struct Bytes<'a> {
    name: &'static str,
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: u64) -> Result<&'a [u8], ColumnError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let split = self.rest.split_at_checked(len);
        let (taken, rest) = split.ok_or(ColumnError::new(self.name, "ends early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The rest of the column.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Checks that nothing is left.
    pub(crate) fn end(&self) -> Result<(), ColumnError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(ColumnError::new(self.name, "more bytes than are used"))
        }
    }
}

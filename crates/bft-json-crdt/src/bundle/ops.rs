//! Ops, between their form in `op.rs` and their columns: the way there, and below it the way back.

use std::convert::Infallible;

use smallvec::smallvec;

use super::Fault;
use super::layout::{ByteColumns, KindColumns, OpColumns, ValueColumns};
use super::seen::{Cast, Expected};
use super::values::{Dictionaries, Strings, ValueReader, Words, characters, number_in, write_value};
use crate::columns::{
    Bytes, ColumnError, Columns, Cursor, Deflater, Dictionary, Interner, Numbers, put_bytes_column, unzigzag,
    zigzag,
};
use crate::encoding::{DecodeError, Reader, put_bytes, put_varint};
use crate::limits::{OP_NAMES_MAX, OP_RANGES_MAX, VALUE_DEPTH_MAX};
use crate::op::{Name, Names, Op, OpKind, Range, Rank, Side, Slice, Target};

/// The tag of a string in `encoding.rs`.
const STRING_TAG: u8 = 6;
const BEYOND_TABLE: &str = "beyond the author table";

/// The ops of a chunk on their way into columns.
pub(super) struct OpWriter {
    columns: KindColumns<Numbers>,
    words: Words,
    paths: Interner,
    texts: Vec<u8>,
}

impl OpWriter {
    pub(super) fn new() -> Self {
        let Ok(columns) = KindColumns::make(|_, _| Ok::<_, Infallible>(Numbers::default()));
        Self { columns, words: Words::default(), paths: Interner::default(), texts: Vec::new() }
    }

    /// Adds an op of a change whose body is `body`. The op's number is `own`. Returns its kind.
    pub(super) fn write(
        &mut self,
        op: &Op<Name, Slice>,
        body: &[u8],
        own: u64,
        cast: &Cast,
        expected: &mut Expected,
    ) -> Result<u64, DecodeError> {
        let Self { columns, words, paths, texts } = self;
        let value = |columns: &mut ValueColumns<Numbers>, words: &mut Words, slice: &Slice| {
            let mut reader = Reader::new(body.get(slice.start as usize..).unwrap_or_default());
            write_value(columns, words, &mut reader)
        };
        let kind = match &op.kind {
            OpKind::Set { target, overwrites, value: slice } => {
                let c = &mut columns.set;
                put_target(c, target, own, paths, &mut words.keys);
                let node = target.node.filter(|_| target.path.is_empty());
                let expected = node.and_then(|node| expected.exchange(cast, node, own));
                if expected.is_some_and(|expected| overwrites[..] == [expected]) {
                    c.names.push(0);
                } else {
                    c.names.push(1 + overwrites.len() as u64);
                    overwrites.iter().for_each(|name| put_name(c, name, own));
                }
                value(&mut columns.in_sets, words, slice)?;
                1
            }
            OpKind::Insert { target, parent, side, value: slice } => {
                let c = &mut columns.insert;
                put_target(c, target, own, paths, &mut words.keys);
                put_parent(c, parent.as_ref(), *side, own);
                value(&mut columns.in_inserts, words, slice)?;
                2
            }
            OpKind::Delete { elements } => {
                let c = &mut columns.delete;
                c.names.push(elements.len() as u64);
                elements.iter().for_each(|name| put_name(c, name, own));
                3
            }
            OpKind::Put { target, key, removals, overwrites, value: slice } => {
                let c = &mut columns.put;
                put_target(c, target, own, paths, &mut words.keys);
                c.key.push(words.keys.number(key.as_bytes()).into());
                c.removals.push(removals.len() as u64);
                for name in removals {
                    c.removal_author.push(name.author.into());
                    c.removal_number.push_near(name.counter, own);
                }
                c.names.push(1 + overwrites.len() as u64);
                overwrites.iter().for_each(|name| put_name(c, name, own));
                value(&mut columns.in_puts, words, slice)?;
                4
            }
            OpKind::Remove { target, key } => {
                put_target(&mut columns.remove, target, own, paths, &mut words.keys);
                columns.remove.key.push(words.keys.number(key.as_bytes()).into());
                5
            }
            OpKind::Add { target, delta } => {
                put_target(&mut columns.add, target, own, paths, &mut words.keys);
                columns.add.amount.push(zigzag(*delta));
                6
            }
            OpKind::Text { target, parent, side, value: slice } => {
                let c = &mut columns.text;
                put_target(c, target, own, paths, &mut words.keys);
                put_parent(c, parent.as_ref(), *side, own);
                let text = Reader::new(body.get(slice.start as usize..).unwrap_or_default()).string()?;
                c.amount.push(text.len() as u64);
                texts.extend_from_slice(text.as_bytes());
                7
            }
            OpKind::Cut { target, ranges } => {
                let c = &mut columns.cut;
                put_target(c, target, own, paths, &mut words.keys);
                c.names.push(ranges.len() as u64);
                for range in ranges {
                    put_name(c, &range.first, own);
                    c.amount.push(range.count);
                }
                8
            }
            OpKind::Move { element, parent, side } => {
                let c = &mut columns.moves;
                c.node.push(1 + u64::from(element.author));
                c.node_number.push_near(element.counter, own);
                put_parent(c, parent.as_ref(), *side, own);
                9
            }
            OpKind::Source { name } => {
                columns.source.key.push(words.keys.number(name.as_bytes()).into());
                10
            }
        };
        Ok(kind)
    }
}

impl OpWriter {
    /// Appends all columns.
    pub(super) fn put_columns(mut self, out: &mut Vec<u8>, deflater: &mut Deflater) {
        let words = Strings::new(&self.words.strings);
        let bytes = ByteColumns {
            keys: self.words.keys.column(),
            paths: self.paths.column(),
            shapes: self.words.shapes.column(),
            in_sets: words.settle(&mut self.columns.in_sets),
            in_inserts: words.settle(&mut self.columns.in_inserts),
            in_puts: words.settle(&mut self.columns.in_puts),
            strings: words.dictionary,
            texts: self.texts,
        };
        bytes.each(0, |id, bytes| put_bytes_column(out, id, bytes, deflater));
        self.columns.each(|id, column| column.put_column(out, id, deflater));
    }
}

fn put_target(
    columns: &mut OpColumns<Numbers>,
    target: &Target<Name>,
    own: u64,
    paths: &mut Interner,
    keys: &mut Interner,
) {
    columns.node.push(target.node.map_or(0, |node| 1 + u64::from(node.author)));
    if let Some(node) = target.node {
        columns.node_number.push_near(node.counter, own);
    }
    let number = if target.path.is_empty() {
        0
    } else {
        let mut path = Vec::new();
        put_varint(&mut path, target.path.len() as u64);
        target.path.iter().for_each(|key| put_varint(&mut path, keys.number(key.as_bytes()).into()));
        1 + u64::from(paths.number(&path))
    };
    columns.path.push(number);
}

fn put_parent(columns: &mut OpColumns<Numbers>, parent: Option<&Name>, side: Side, own: u64) {
    columns.parent.push(parent.map_or(0, |parent| 1 + 2 * u64::from(parent.author) + side as u64));
    if let Some(parent) = parent {
        columns.parent_number.push_near(parent.counter, own);
    }
}

fn put_name(columns: &mut OpColumns<Numbers>, name: &Name, own: u64) {
    columns.name_author.push(name.author.into());
    columns.name_number.push_near(name.counter, own);
}

/// The ops of a chunk on their way out of columns.
pub(super) struct OpReader<'a> {
    columns: KindColumns<Cursor<'a>>,
    bytes: ByteColumns<Bytes<'a>>,
    words: Dictionaries<'a>,
    /// The value of the op that was read last, in canonical bytes.
    value: Vec<u8>,
}

impl<'a> OpReader<'a> {
    /// Opens the columns of ops in a chunk, whose dictionaries may have `dictionary_max` bytes each.
    pub(super) fn open(columns: &'a Columns<'_>, dictionary_max: usize) -> Result<Self, ColumnError> {
        let bytes = ByteColumns::make(0, |id, name| columns.bytes(id, name))?;
        let dictionary = |bytes: &Bytes<'a>| Dictionary::read(bytes, dictionary_max);
        Ok(Self {
            words: Dictionaries {
                keys: dictionary(&bytes.keys)?,
                paths: dictionary(&bytes.paths)?,
                shapes: dictionary(&bytes.shapes)?,
                strings: dictionary(&bytes.strings)?,
            },
            columns: KindColumns::make(|id, name| columns.numbers(id, name))?,
            bytes,
            value: Vec::new(),
        })
    }

    /// Reads an op of a kind, which has the number `own`, and appends its canonical bytes to `out`. Returns how
    /// many op numbers it claims.
    pub(super) fn read(
        &mut self,
        kind: u64,
        rank: Rank,
        own: u64,
        cast: &Cast,
        expected: &mut Expected,
        out: &mut Vec<u8>,
    ) -> Result<u64, Fault> {
        let Self { columns, bytes, words, value } = self;
        value.clear();
        let mut span = 1;
        let kind = match kind {
            1 => {
                let c = &mut columns.set;
                let target = target(c, own, words)?;
                let node = target.node.filter(|_| target.path.is_empty());
                let expected = node.and_then(|node| expected.exchange(cast, node, own));
                let overwrites = match c.names.next_up_to(1 + OP_NAMES_MAX)?.checked_sub(1) {
                    Some(count) => names(c, count, own)?,
                    None => smallvec![expected.ok_or_else(|| c.names.bad("nothing is expected here"))?],
                };
                let (columns, strings) = (&mut columns.in_sets, &mut bytes.in_sets);
                ValueReader { columns, strings, words }.read(value)?;
                OpKind::Set { target, overwrites, value: () }
            }
            2 => {
                let c = &mut columns.insert;
                let target = target(c, own, words)?;
                let (parent, side) = parent(c, own)?;
                let (columns, strings) = (&mut columns.in_inserts, &mut bytes.in_inserts);
                span = ValueReader { columns, strings, words }.read(value)?.numbers;
                OpKind::Insert { target, parent, side, value: () }
            }
            3 => {
                let c = &mut columns.delete;
                let count = c.names.next_up_to(OP_NAMES_MAX)?;
                OpKind::Delete { elements: names(c, count, own)? }
            }
            4 => {
                let c = &mut columns.put;
                let target = target(c, own, words)?;
                let key = key(c, words)?;
                let mut removals = Names::new();
                for _ in 0..c.removals.next_up_to(OP_NAMES_MAX)? {
                    let author = name_author(&mut c.removal_author)?;
                    removals.push(Name { author, counter: c.removal_number.next_near(own)? });
                }
                let count = c.names.next_up_to(1 + OP_NAMES_MAX)?;
                let count = count.checked_sub(1).ok_or_else(|| c.names.bad("nothing is expected here"))?;
                let overwrites = names(c, count, own)?;
                let (columns, strings) = (&mut columns.in_puts, &mut bytes.in_puts);
                span = ValueReader { columns, strings, words }.read(value)?.numbers;
                OpKind::Put { target, key, removals, overwrites, value: () }
            }
            5 => {
                let c = &mut columns.remove;
                OpKind::Remove { target: target(c, own, words)?, key: key(c, words)? }
            }
            6 => {
                let c = &mut columns.add;
                OpKind::Add { target: target(c, own, words)?, delta: unzigzag(c.amount.next()?) }
            }
            7 => {
                let c = &mut columns.text;
                let target = target(c, own, words)?;
                let (parent, side) = parent(c, own)?;
                let text = bytes.texts.take(c.amount.next()?)?;
                value.push(STRING_TAG);
                put_bytes(value, text);
                span = characters(text);
                OpKind::Text { target, parent, side, value: () }
            }
            8 => {
                let c = &mut columns.cut;
                let target = target(c, own, words)?;
                let mut ranges = Vec::new();
                for _ in 0..c.names.next_up_to(OP_RANGES_MAX)? {
                    ranges.push(Range { first: name(c, own)?, count: c.amount.next()? });
                }
                OpKind::Cut { target, ranges }
            }
            9 => {
                let c = &mut columns.moves;
                let element = node(c, own)?.ok_or_else(|| c.node.bad("no element"))?;
                let (parent, side) = parent(c, own)?;
                OpKind::Move { element, parent, side }
            }
            10 => OpKind::Source { name: key(&mut columns.source, words)? },
            found => return Err(DecodeError::Unknown { what: "op kind", found }.into()),
        };
        Op { rank, kind }.encode(out, |out, ()| {
            out.extend_from_slice(value);
            Ok(())
        })?;
        Ok(span)
    }

    /// Checks that nothing is left.
    pub(super) fn end(&self) -> Result<(), ColumnError> {
        let mut all = Ok(());
        self.columns.each(|_, column| all = all.clone().and_then(|()| column.end()));
        all?;
        let ByteColumns { in_sets, in_inserts, in_puts, texts, .. } = &self.bytes;
        [in_sets, in_inserts, in_puts, texts].into_iter().try_for_each(Bytes::end)
    }
}

fn target(
    columns: &mut OpColumns<Cursor<'_>>,
    own: u64,
    words: &Dictionaries<'_>,
) -> Result<Target<Name>, ColumnError> {
    let node = node(columns, own)?;
    let mut path = Vec::new();
    if let Some(number) = columns.path.next()?.checked_sub(1) {
        let mut entry = Reader::new(words.paths.entry(number)?);
        let count = number_in(&mut entry, "paths")?;
        if count > VALUE_DEPTH_MAX as u64 {
            return Err(columns.path.bad("a path over its limit"));
        }
        for _ in 0..count {
            path.push(text(words.keys.entry(number_in(&mut entry, "paths")?)?)?);
        }
    }
    Ok(Target { node, path })
}

fn node(columns: &mut OpColumns<Cursor<'_>>, own: u64) -> Result<Option<Name>, ColumnError> {
    let Some(author) = columns.node.next()?.checked_sub(1) else { return Ok(None) };
    let author = u32::try_from(author).map_err(|_| columns.node.bad(BEYOND_TABLE))?;
    Ok(Some(Name { author, counter: columns.node_number.next_near(own)? }))
}

fn parent(columns: &mut OpColumns<Cursor<'_>>, own: u64) -> Result<(Option<Name>, Side), ColumnError> {
    let Some(n) = columns.parent.next()?.checked_sub(1) else { return Ok((None, Side::Right)) };
    let author = u32::try_from(n / 2).map_err(|_| columns.parent.bad(BEYOND_TABLE))?;
    let parent = Name { author, counter: columns.parent_number.next_near(own)? };
    Ok((Some(parent), if n % 2 == 0 { Side::Left } else { Side::Right }))
}

fn names(columns: &mut OpColumns<Cursor<'_>>, count: usize, own: u64) -> Result<Names<Name>, ColumnError> {
    (0..count).map(|_| name(columns, own)).collect()
}

fn name(columns: &mut OpColumns<Cursor<'_>>, own: u64) -> Result<Name, ColumnError> {
    let author = name_author(&mut columns.name_author)?;
    Ok(Name { author, counter: columns.name_number.next_near(own)? })
}

fn name_author(column: &mut Cursor<'_>) -> Result<u32, ColumnError> {
    u32::try_from(column.next()?).map_err(|_| column.bad(BEYOND_TABLE))
}

fn key(columns: &mut OpColumns<Cursor<'_>>, words: &Dictionaries<'_>) -> Result<String, ColumnError> {
    text(words.keys.entry(columns.key.next()?)?)
}

fn text(bytes: &[u8]) -> Result<String, ColumnError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ColumnError::new("keys", "not UTF-8"))?;
    Ok(text.to_owned())
}

//! Ops: the smallest edits, what they name, and their bytes.
//!
//! ```text
//! op        kind byte, rank byte (0, 1 or 2), then by kind:
//!   01 set     target, names overwritten, value
//!   02 insert  target, parent, side byte (0 left, 1 right), value
//!   03 delete  names of elements (at least one)
//!   04 put     target, bytes key, names of removals seen, names overwritten, value
//!   05 remove  target, bytes key
//!   06 add     target, varint zigzag of a signed 64-bit number
//!   07 text    target, parent, side byte, value (a string of at least one character)
//!   08 cut     target, ranges of characters (at least one)
//!   09 move    name of an element, parent, side byte
//!   0a source  bytes name: the document is derived from this author and this name
//! target    00 | 01 + name, then varint count and bytes key …      the root, or a named node, and a path
//! parent    00 | 01 + name              the beginning; or an element, a character, a place moved to
//! ranges    varint count, (name of the first, varint count)…       ascending, with gaps between them
//! names     varint count, names, strictly ascending
//! name      varint author (0 the change's own, n the n-th of its author table), varint op number
//! ```
//!
//! The characters of a text are numbered one by one: each hangs right of the one before it. A range of
//! characters stands for those of the target whose op numbers lie in it. A move gives its element a new place,
//! which has the op's number. A change without ops is a save mark. Discriminants are never reused.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::encoding::{DecodeError, Reader, check_limit, put_bytes, put_varint};
use crate::keypair::AuthorId;
use crate::limits::{KEY_BYTES_MAX, OP_NAMES_MAX, OP_RANGES_MAX, VALUE_COUNT_MAX, VALUE_DEPTH_MAX};
use crate::value::JsonValue;

/// Names an op and, where it inserts, the element: a hash of the document, the author, the author's op
/// number and the op's content, known as soon as the op is made.
pub type OpId = [u8; 32];

/// Stands before the first element of every list.
pub const ROOT_ID: OpId = [0; 32];

/// Where an op stands in a register's order before its lamport counts. Ops say it, but only those of the
/// document's source author are believed; everybody else's are plain edits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rank {
    /// Gives way to any edit.
    Below = 0,
    /// A person's edit.
    #[default]
    Edit = 1,
    /// Prevails over any edit.
    Above = 2,
}

impl Rank {
    pub(crate) fn from_byte(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            0 => Ok(Self::Below),
            1 => Ok(Self::Edit),
            2 => Ok(Self::Above),
            found => Err(DecodeError::Unknown { what: "rank", found: found.into() }),
        }
    }
}

/// An op number as a change refers to it: by an index into its author table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    /// 0 is the change's own author, n the n-th of its table.
    pub(crate) author: u32,
    pub(crate) counter: u64,
}

/// An op number with its author's public key: how an op is named outside the change that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LongName {
    pub(crate) author: AuthorId,
    pub(crate) counter: u64,
}

/// Where a value stands in a change's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) start: u32,
    pub(crate) span: u64,
}

/// Which node of the document an op edits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target<N> {
    /// The op number that made the node, or the root.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<N>,
    /// Fields below it that no op has made by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) path: Vec<String>,
}

/// On which side of its parent an element hangs (Fugue, Weidner and Kleppmann 2023).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Left = 0,
    Right = 1,
}

/// Op numbers that follow each other, from that of `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range<N> {
    pub(crate) first: N,
    pub(crate) count: u64,
}

/// Names in an op: mostly one.
pub(crate) type Names<N> = SmallVec<[N; 1]>;

/// One op, over the kind of its names (an index into the change's table, or a public key) and of its values
/// (a place in the change's bytes, or the value itself).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum OpKind<N, V> {
    Set { target: Target<N>, overwrites: Names<N>, value: V },
    Insert { target: Target<N>, parent: Option<N>, side: Side, value: V },
    Delete { elements: Names<N> },
    Put { target: Target<N>, key: String, removals: Names<N>, overwrites: Names<N>, value: V },
    Remove { target: Target<N>, key: String },
    Add { target: Target<N>, delta: i64 },
    Text { target: Target<N>, parent: Option<N>, side: Side, value: V },
    Cut { target: Target<N>, ranges: Vec<Range<N>> },
    Move { element: N, parent: Option<N>, side: Side },
    Source { name: String },
}

/// An op with its policy rank.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Op<N, V> {
    pub(crate) rank: Rank,
    pub(crate) kind: OpKind<N, V>,
}

impl<N, V> Op<N, V> {
    /// Calls `f` with every name in the op.
    pub(crate) fn names<'a>(&'a self, mut f: impl FnMut(&'a N)) {
        match &self.kind {
            OpKind::Set { target, overwrites, .. } => {
                target.node.iter().for_each(&mut f);
                overwrites.iter().for_each(f);
            }
            OpKind::Insert { target, parent, .. } | OpKind::Text { target, parent, .. } => {
                target.node.iter().for_each(&mut f);
                parent.iter().for_each(f);
            }
            OpKind::Cut { target, ranges } => {
                target.node.iter().for_each(&mut f);
                ranges.iter().for_each(|range| f(&range.first));
            }
            OpKind::Move { element, parent, .. } => {
                f(element);
                parent.iter().for_each(f);
            }
            OpKind::Source { .. } => {}
            OpKind::Delete { elements } => elements.iter().for_each(f),
            OpKind::Put { target, removals, overwrites, .. } => {
                target.node.iter().for_each(&mut f);
                removals.iter().for_each(&mut f);
                overwrites.iter().for_each(f);
            }
            OpKind::Remove { target, .. } | OpKind::Add { target, .. } => target.node.iter().for_each(f),
        }
    }

    /// Calls `f` with the names that must mean exactly one thing: all but those of overwritten values and of
    /// characters that are cut, which mean every namesake.
    pub(crate) fn binding_names<'a>(&'a self, mut f: impl FnMut(&'a N)) {
        match &self.kind {
            OpKind::Set { target, .. } => target.node.iter().for_each(f),
            OpKind::Put { target, removals, .. } => {
                target.node.iter().for_each(&mut f);
                removals.iter().for_each(f);
            }
            OpKind::Cut { target, .. } => target.node.iter().for_each(f),
            OpKind::Insert { .. }
            | OpKind::Delete { .. }
            | OpKind::Remove { .. }
            | OpKind::Add { .. }
            | OpKind::Text { .. }
            | OpKind::Move { .. }
            | OpKind::Source { .. } => self.names(f),
        }
    }

    /// Maps names and values; stops at the first that has no image.
    pub(crate) fn map<M, W, E>(
        self,
        mut name: impl FnMut(N) -> Result<M, E>,
        mut value: impl FnMut(V) -> Result<W, E>,
    ) -> Result<Op<M, W>, E> {
        fn target<N, M, E>(t: Target<N>, f: impl FnMut(N) -> Result<M, E>) -> Result<Target<M>, E> {
            Ok(Target { node: t.node.map(f).transpose()?, path: t.path })
        }
        fn all<N, M, E>(names: Names<N>, f: impl FnMut(N) -> Result<M, E>) -> Result<Names<M>, E> {
            names.into_iter().map(f).collect()
        }
        let kind = match self.kind {
            OpKind::Set { target: t, overwrites, value: v } => OpKind::Set {
                target: target(t, &mut name)?,
                overwrites: all(overwrites, &mut name)?,
                value: value(v)?,
            },
            OpKind::Insert { target: t, parent, side, value: v } => OpKind::Insert {
                target: target(t, &mut name)?,
                parent: parent.map(&mut name).transpose()?,
                side,
                value: value(v)?,
            },
            OpKind::Delete { elements } => OpKind::Delete { elements: all(elements, &mut name)? },
            OpKind::Put { target: t, key, removals, overwrites, value: v } => OpKind::Put {
                target: target(t, &mut name)?,
                key,
                removals: all(removals, &mut name)?,
                overwrites: all(overwrites, &mut name)?,
                value: value(v)?,
            },
            OpKind::Remove { target: t, key } => OpKind::Remove { target: target(t, &mut name)?, key },
            OpKind::Add { target: t, delta } => OpKind::Add { target: target(t, &mut name)?, delta },
            OpKind::Text { target: t, parent, side, value: v } => OpKind::Text {
                target: target(t, &mut name)?,
                parent: parent.map(&mut name).transpose()?,
                side,
                value: value(v)?,
            },
            OpKind::Cut { target: t, ranges } => {
                let target = target(t, &mut name)?;
                let ranges = ranges.into_iter();
                let ranges = ranges.map(|range| Ok(Range { first: name(range.first)?, count: range.count }));
                OpKind::Cut { target, ranges: ranges.collect::<Result<_, E>>()? }
            }
            OpKind::Move { element, parent, side } => {
                OpKind::Move { element: name(element)?, parent: parent.map(name).transpose()?, side }
            }
            OpKind::Source { name } => OpKind::Source { name },
        };
        Ok(Op { rank: self.rank, kind })
    }

    /// The value that the op carries, if its kind has one.
    pub(crate) fn value(&self) -> Option<&V> {
        match &self.kind {
            OpKind::Set { value, .. }
            | OpKind::Insert { value, .. }
            | OpKind::Put { value, .. }
            | OpKind::Text { value, .. } => Some(value),
            OpKind::Delete { .. }
            | OpKind::Remove { .. }
            | OpKind::Add { .. }
            | OpKind::Cut { .. }
            | OpKind::Move { .. }
            | OpKind::Source { .. } => None,
        }
    }
}

impl<N, V> OpKind<N, V> {
    /// Calls `f` with the value that the op carries, if its kind has one.
    pub(crate) fn each_value(&mut self, f: impl FnOnce(&mut V)) {
        match self {
            Self::Set { value, .. }
            | Self::Insert { value, .. }
            | Self::Put { value, .. }
            | Self::Text { value, .. } => f(value),
            Self::Delete { .. }
            | Self::Remove { .. }
            | Self::Add { .. }
            | Self::Cut { .. }
            | Self::Move { .. }
            | Self::Source { .. } => {}
        }
    }
}

impl<N> Op<N, Slice> {
    /// How many op numbers the op claims: its own, those of the values that it inserts, one per character.
    pub(crate) fn span(&self) -> u64 {
        match &self.kind {
            OpKind::Insert { value, .. } | OpKind::Put { value, .. } | OpKind::Text { value, .. } => {
                value.span
            }
            OpKind::Set { .. }
            | OpKind::Delete { .. }
            | OpKind::Remove { .. }
            | OpKind::Add { .. }
            | OpKind::Cut { .. }
            | OpKind::Move { .. }
            | OpKind::Source { .. } => 1,
        }
    }
}

impl Op<Name, Slice> {
    /// The same op with its value read from the change's `body`.
    pub(crate) fn with_value(self, body: &[u8]) -> Result<Op<Name, JsonValue>, DecodeError> {
        self.map(Ok, |slice| value_at(body, slice.start))
    }

    /// Reads an op from the front of `reader`, whose end is the end of `body`. Builds no values.
    pub(crate) fn decode(reader: &mut Reader<'_>, body_len: usize) -> Result<Self, DecodeError> {
        let kind = reader.byte("an op")?;
        let rank = Rank::from_byte(reader.byte("a rank")?)?;
        let slice = |reader: &mut Reader<'_>| -> Result<Slice, DecodeError> {
            let start = (body_len - reader.rest().len()) as u32;
            let extent = reader.skip_value()?;
            check_limit("the values in an op", extent.values as usize, VALUE_COUNT_MAX)?;
            Ok(Slice { start, span: extent.numbers })
        };
        let kind = match kind {
            1 => OpKind::Set {
                target: decode_target(reader)?,
                overwrites: decode_names(reader)?,
                value: slice(reader)?,
            },
            2 => {
                let target = decode_target(reader)?;
                let (parent, side) = decode_parent(reader)?;
                OpKind::Insert { target, parent, side, value: slice(reader)? }
            }
            3 => {
                let elements = decode_names(reader)?;
                if elements.is_empty() {
                    return Err(DecodeError::Malformed("a delete names no element"));
                }
                OpKind::Delete { elements }
            }
            4 => OpKind::Put {
                target: decode_target(reader)?,
                key: reader.text("a key", KEY_BYTES_MAX)?.to_owned(),
                removals: decode_names(reader)?,
                overwrites: decode_names(reader)?,
                value: slice(reader)?,
            },
            5 => OpKind::Remove {
                target: decode_target(reader)?,
                key: reader.text("a key", KEY_BYTES_MAX)?.to_owned(),
            },
            6 => OpKind::Add { target: decode_target(reader)?, delta: unzigzag(reader.varint("a delta")?) },
            7 => {
                let target = decode_target(reader)?;
                let (parent, side) = decode_parent(reader)?;
                let start = (body_len - reader.rest().len()) as u32;
                let span = reader.string()?.chars().count() as u64;
                if span == 0 {
                    return Err(DecodeError::Malformed("a text op without a character"));
                }
                OpKind::Text { target, parent, side, value: Slice { start, span } }
            }
            8 => OpKind::Cut { target: decode_target(reader)?, ranges: decode_ranges(reader)? },
            9 => {
                let element = decode_name(reader)?;
                let (parent, side) = decode_parent(reader)?;
                OpKind::Move { element, parent, side }
            }
            10 => OpKind::Source { name: reader.text("a name", KEY_BYTES_MAX)?.to_owned() },
            found => return Err(DecodeError::Unknown { what: "op kind", found: found.into() }),
        };
        Ok(Self { rank, kind })
    }
}

impl<V> Op<Name, V> {
    /// Brings the lists of names into the order of the encoding, each name once.
    pub(crate) fn sort_names(&mut self) {
        let sort = |names: &mut Names<Name>| {
            names.sort_unstable();
            names.dedup();
        };
        match &mut self.kind {
            OpKind::Set { overwrites, .. } => sort(overwrites),
            OpKind::Delete { elements } => sort(elements),
            OpKind::Put { removals, overwrites, .. } => {
                sort(removals);
                sort(overwrites);
            }
            OpKind::Cut { ranges, .. } => join_ranges(ranges),
            OpKind::Insert { .. }
            | OpKind::Remove { .. }
            | OpKind::Add { .. }
            | OpKind::Text { .. }
            | OpKind::Move { .. }
            | OpKind::Source { .. } => {}
        }
    }

    /// Appends the op's bytes, its value by `put`, or says what about it no change can hold.
    pub(crate) fn encode(
        &self,
        out: &mut Vec<u8>,
        put: impl FnOnce(&mut Vec<u8>, &V) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let kind = match &self.kind {
            OpKind::Set { .. } => 1,
            OpKind::Insert { .. } => 2,
            OpKind::Delete { .. } => 3,
            OpKind::Put { .. } => 4,
            OpKind::Remove { .. } => 5,
            OpKind::Add { .. } => 6,
            OpKind::Text { .. } => 7,
            OpKind::Cut { .. } => 8,
            OpKind::Move { .. } => 9,
            OpKind::Source { .. } => 10,
        };
        out.extend_from_slice(&[kind, self.rank as u8]);
        match &self.kind {
            OpKind::Set { target, overwrites, .. } => {
                put_target(out, target)?;
                put_names(out, overwrites)?;
            }
            OpKind::Insert { target, parent, side, .. } | OpKind::Text { target, parent, side, .. } => {
                put_target(out, target)?;
                put_optional_name(out, parent.as_ref());
                out.push(*side as u8);
            }
            OpKind::Delete { elements } => put_names(out, elements)?,
            OpKind::Put { target, key, removals, overwrites, .. } => {
                put_target(out, target)?;
                put_key(out, key)?;
                put_names(out, removals)?;
                put_names(out, overwrites)?;
            }
            OpKind::Remove { target, key } => {
                put_target(out, target)?;
                put_key(out, key)?;
            }
            OpKind::Add { target, delta } => {
                put_target(out, target)?;
                put_varint(out, zigzag(*delta));
            }
            OpKind::Cut { target, ranges } => {
                put_target(out, target)?;
                check_limit("the ranges of an op", ranges.len(), OP_RANGES_MAX)?;
                put_varint(out, ranges.len() as u64);
                for range in ranges {
                    put_name(out, &range.first);
                    put_varint(out, range.count);
                }
            }
            OpKind::Move { element, parent, side } => {
                put_name(out, element);
                put_optional_name(out, parent.as_ref());
                out.push(*side as u8);
            }
            OpKind::Source { name } => put_key(out, name)?,
        }
        self.value().map_or(Ok(()), |value| put(out, value))
    }
}

/// Brings ranges into the order of the encoding; those that touch or overlap become one.
fn join_ranges(ranges: &mut Vec<Range<Name>>) {
    ranges.sort_unstable_by_key(|range| range.first);
    ranges.dedup_by(|next, before| {
        let end = before.first.counter.saturating_add(before.count);
        let touches = before.first.author == next.first.author && next.first.counter <= end;
        if touches {
            let next_end = next.first.counter.saturating_add(next.count);
            before.count = next_end.max(end) - before.first.counter;
        }
        touches
    });
}

/// Reads the value that starts at `start` of a change's body.
pub(crate) fn value_at(body: &[u8], start: u32) -> Result<JsonValue, DecodeError> {
    Reader::new(body.get(start as usize..).unwrap_or_default()).value()
}

/// Small numbers of either sign become small numbers.
fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

fn put_key(out: &mut Vec<u8>, key: &str) -> Result<(), DecodeError> {
    check_limit("a key", key.len(), KEY_BYTES_MAX)?;
    put_bytes(out, key.as_bytes());
    Ok(())
}

fn put_name(out: &mut Vec<u8>, name: &Name) {
    put_varint(out, name.author.into());
    put_varint(out, name.counter);
}

fn put_optional_name(out: &mut Vec<u8>, name: Option<&Name>) {
    out.push(name.is_some().into());
    if let Some(name) = name {
        put_name(out, name);
    }
}

fn put_target(out: &mut Vec<u8>, target: &Target<Name>) -> Result<(), DecodeError> {
    put_optional_name(out, target.node.as_ref());
    check_limit("a path", target.path.len(), VALUE_DEPTH_MAX)?;
    put_varint(out, target.path.len() as u64);
    target.path.iter().try_for_each(|key| put_key(out, key))
}

fn put_names(out: &mut Vec<u8>, names: &[Name]) -> Result<(), DecodeError> {
    check_limit("the names of an op", names.len(), OP_NAMES_MAX)?;
    put_varint(out, names.len() as u64);
    names.iter().for_each(|name| put_name(out, name));
    Ok(())
}

fn decode_name(reader: &mut Reader<'_>) -> Result<Name, DecodeError> {
    let author = u32::try_from(reader.varint("a name")?)
        .map_err(|_| DecodeError::Malformed("a name points beyond the author table"))?;
    Ok(Name { author, counter: reader.varint("a name")? })
}

fn decode_optional_name(reader: &mut Reader<'_>) -> Result<Option<Name>, DecodeError> {
    match reader.byte("a name")? {
        0 => Ok(None),
        1 => decode_name(reader).map(Some),
        found => Err(DecodeError::Unknown { what: "name tag", found: found.into() }),
    }
}

fn decode_target(reader: &mut Reader<'_>) -> Result<Target<Name>, DecodeError> {
    let node = decode_optional_name(reader)?;
    let mut path = Vec::new();
    for _ in 0..reader.count("a path", VALUE_DEPTH_MAX, 1)? {
        path.push(reader.text("a key", KEY_BYTES_MAX)?.to_owned());
    }
    Ok(Target { node, path })
}

fn decode_parent(reader: &mut Reader<'_>) -> Result<(Option<Name>, Side), DecodeError> {
    let parent = decode_optional_name(reader)?;
    match (reader.byte("a side")?, &parent) {
        (0, Some(_)) => Ok((parent, Side::Left)),
        (0, None) => Err(DecodeError::Malformed("nothing hangs left of the beginning")),
        (1, _) => Ok((parent, Side::Right)),
        (found, _) => Err(DecodeError::Unknown { what: "side", found: found.into() }),
    }
}

fn decode_ranges(reader: &mut Reader<'_>) -> Result<Vec<Range<Name>>, DecodeError> {
    let mut ranges: Vec<Range<Name>> = Vec::new();
    for _ in 0..reader.count("the ranges of an op", OP_RANGES_MAX, 3)? {
        let range = Range { first: decode_name(reader)?, count: reader.varint("a range")? };
        if range.count == 0 || range.first.counter.checked_add(range.count).is_none() {
            return Err(DecodeError::Malformed("a range without a number, or beyond 2^64"));
        }
        if let Some(before) = ranges.last() {
            // Compared without a sum, since the one before was checked not to overflow.
            let is_behind = range.first.author > before.first.author
                || range.first.author == before.first.author
                    && range.first.counter > before.first.counter + before.count;
            if !is_behind {
                return Err(DecodeError::NotCanonical("ranges: out of order or not joined"));
            }
        }
        ranges.push(range);
    }
    if ranges.is_empty() {
        return Err(DecodeError::Malformed("a cut names no character"));
    }
    Ok(ranges)
}

fn decode_names(reader: &mut Reader<'_>) -> Result<Names<Name>, DecodeError> {
    let mut names: Names<Name> = Names::new();
    for _ in 0..reader.count("the names of an op", OP_NAMES_MAX, 2)? {
        let name = decode_name(reader)?;
        if names.last().is_some_and(|before| *before >= name) {
            return Err(DecodeError::NotCanonical("names: out of order"));
        }
        names.push(name);
    }
    Ok(names)
}

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
//! target    00 | 01 + name, then varint count and bytes key …      the root, or a named node, and a path
//! parent    00 | 01 + name                                         the list's beginning, or an element
//! names     varint count, names, strictly ascending
//! name      varint author (0 the change's own, n the n-th of its author table), varint op number
//! ```
//!
//! Discriminants are never reused; 07 to 0f are kept for moves, text and save marks.

use serde::{Deserialize, Serialize};

use crate::encoding::{DecodeError, Reader, check_limit, put_bytes, put_value, put_varint};
use crate::keypair::AuthorId;
use crate::limits::{KEY_BYTES_MAX, OP_NAMES_MAX, VALUE_COUNT_MAX, VALUE_DEPTH_MAX};
use crate::value::JsonValue;

/// Names an op and, where it inserts, the element: a hash of the document, the author, the author's op
/// number and the op's content, known as soon as the op is made.
pub type OpId = [u8; 32];

/// Stands before the first element of every list.
pub const ROOT_ID: OpId = [0; 32];

/// The rank that everybody's edits have.
pub(crate) const RANK_EDIT: u8 = 1;
const RANK_MAX: u8 = 2;

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

/// One op, over the kind of its names (an index into the change's table, or a public key) and of its values
/// (a place in the change's bytes, or the value itself).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum OpKind<N, V> {
    Set { target: Target<N>, overwrites: Vec<N>, value: V },
    Insert { target: Target<N>, parent: Option<N>, side: Side, value: V },
    Delete { elements: Vec<N> },
    Put { target: Target<N>, key: String, removals: Vec<N>, overwrites: Vec<N>, value: V },
    Remove { target: Target<N>, key: String },
    Add { target: Target<N>, delta: i64 },
}

/// An op with its policy rank.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Op<N, V> {
    pub(crate) rank: u8,
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
            OpKind::Insert { target, parent, .. } => {
                target.node.iter().for_each(&mut f);
                parent.iter().for_each(f);
            }
            OpKind::Delete { elements } => elements.iter().for_each(f),
            OpKind::Put { target, removals, overwrites, .. } => {
                target.node.iter().for_each(&mut f);
                removals.iter().for_each(&mut f);
                overwrites.iter().for_each(f);
            }
            OpKind::Remove { target, .. } | OpKind::Add { target, .. } => target.node.iter().for_each(f),
        }
    }

    /// Calls `f` with the names that must mean exactly one thing: all but those of overwritten values.
    pub(crate) fn binding_names<'a>(&'a self, mut f: impl FnMut(&'a N)) {
        match &self.kind {
            OpKind::Set { target, .. } => target.node.iter().for_each(f),
            OpKind::Put { target, removals, .. } => {
                target.node.iter().for_each(&mut f);
                removals.iter().for_each(f);
            }
            OpKind::Insert { .. } | OpKind::Delete { .. } | OpKind::Remove { .. } | OpKind::Add { .. } => {
                self.names(f)
            }
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
        fn all<N, M, E>(names: Vec<N>, f: impl FnMut(N) -> Result<M, E>) -> Result<Vec<M>, E> {
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
        };
        Ok(Op { rank: self.rank, kind })
    }

    fn value(&self) -> Option<&V> {
        match &self.kind {
            OpKind::Set { value, .. } | OpKind::Insert { value, .. } | OpKind::Put { value, .. } => {
                Some(value)
            }
            OpKind::Delete { .. } | OpKind::Remove { .. } | OpKind::Add { .. } => None,
        }
    }
}

impl Op<Name, Slice> {
    /// How many op numbers the op claims: its own, and those of the values that it inserts.
    pub(crate) fn span(&self) -> u64 {
        match &self.kind {
            OpKind::Insert { value, .. } | OpKind::Put { value, .. } => value.span,
            OpKind::Set { .. } | OpKind::Delete { .. } | OpKind::Remove { .. } | OpKind::Add { .. } => 1,
        }
    }

    /// The same op with its value read from the change's `body`.
    pub(crate) fn with_value(self, body: &[u8]) -> Result<Op<Name, JsonValue>, DecodeError> {
        self.map(Ok, |slice| value_at(body, slice.start))
    }

    /// Reads an op from the front of `reader`, whose end is the end of `body`. Builds no values.
    pub(crate) fn decode(reader: &mut Reader<'_>, body_len: usize) -> Result<Self, DecodeError> {
        let kind = reader.byte("an op")?;
        let rank = reader.byte("a rank")?;
        if rank > RANK_MAX {
            return Err(DecodeError::Unknown { what: "rank", found: rank.into() });
        }
        let slice = |reader: &mut Reader<'_>| -> Result<Slice, DecodeError> {
            let start = (body_len - reader.rest().len()) as u32;
            let span = reader.skip_value()?;
            check_limit("the values in an op", span as usize, VALUE_COUNT_MAX)?;
            Ok(Slice { start, span })
        };
        let kind = match kind {
            1 => OpKind::Set {
                target: decode_target(reader)?,
                overwrites: decode_names(reader)?,
                value: slice(reader)?,
            },
            2 => {
                let target = decode_target(reader)?;
                let parent = decode_optional_name(reader)?;
                let side = match (reader.byte("a side")?, &parent) {
                    (0, Some(_)) => Side::Left,
                    (0, None) => {
                        return Err(DecodeError::Malformed("nothing hangs left of a list's beginning"));
                    }
                    (1, _) => Side::Right,
                    (found, _) => return Err(DecodeError::Unknown { what: "side", found: found.into() }),
                };
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
            found => return Err(DecodeError::Unknown { what: "op kind", found: found.into() }),
        };
        Ok(Self { rank, kind })
    }
}

impl<V> Op<Name, V> {
    /// Brings the lists of names into the order of the encoding.
    pub(crate) fn sort_names(&mut self) {
        let sort = |names: &mut Vec<Name>| names.sort_unstable();
        match &mut self.kind {
            OpKind::Set { overwrites, .. } => sort(overwrites),
            OpKind::Delete { elements } => sort(elements),
            OpKind::Put { removals, overwrites, .. } => {
                sort(removals);
                sort(overwrites);
            }
            OpKind::Insert { .. } | OpKind::Remove { .. } | OpKind::Add { .. } => {}
        }
    }
}

impl Op<Name, JsonValue> {
    /// Appends the op's bytes, or says what about it no change can hold.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let kind = match &self.kind {
            OpKind::Set { .. } => 1,
            OpKind::Insert { .. } => 2,
            OpKind::Delete { .. } => 3,
            OpKind::Put { .. } => 4,
            OpKind::Remove { .. } => 5,
            OpKind::Add { .. } => 6,
        };
        if self.rank > RANK_MAX {
            return Err(DecodeError::Unknown { what: "rank", found: self.rank.into() });
        }
        out.extend_from_slice(&[kind, self.rank]);
        match &self.kind {
            OpKind::Set { target, overwrites, .. } => {
                put_target(out, target)?;
                put_names(out, overwrites)?;
            }
            OpKind::Insert { target, parent, side, .. } => {
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
        }
        self.value().map_or(Ok(()), |value| put_value(out, value))
    }
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

fn decode_names(reader: &mut Reader<'_>) -> Result<Vec<Name>, DecodeError> {
    let mut names: Vec<Name> = Vec::new();
    for _ in 0..reader.count("the names of an op", OP_NAMES_MAX, 2)? {
        let name = decode_name(reader)?;
        if names.last().is_some_and(|before| *before >= name) {
            return Err(DecodeError::NotCanonical("names: out of order"));
        }
        names.push(name);
    }
    Ok(names)
}

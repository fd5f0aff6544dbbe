//! The alphabet of the canonical encoding: variable-length integers, byte strings and JSON values.
//!
//! Every value has exactly one encoding, and [`Reader`] refuses all others (longer integers, unsorted or
//! repeated keys, NaN), so that bytes which decode always encode back to themselves. What a change looks
//! like in this alphabet is drawn in [`crate::change`].
//!
//! ```text
//! varint    unsigned LEB128, at most 10 bytes, no needless zero groups
//! bytes     varint length, then as many bytes
//! value     00 null | 01 false | 02 true
//!           03 varint n            the integer  n
//!           04 varint n            the integer -1 - n     (n < 2^63)
//!           05 8 bytes             a finite IEEE 754 double, little-endian
//!           06 bytes               a string, UTF-8
//!           07 varint count, values
//!           08 varint count, (bytes key, value)…           keys strictly ascending by bytes
//!           09 bytes               a string that begins a text, UTF-8
//! ```

use std::collections::BTreeMap;

use crate::limits::{KEY_BYTES_MAX, VALUE_DEPTH_MAX};
use crate::value::JsonValue;

/// Bytes that are no change, or a change over a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end in the middle of a field.
    #[error("ends early: {what} needs {needed} more bytes")]
    Truncated {
        /// The field.
        what: &'static str,
        /// How many bytes it lacks at least.
        needed: usize,
    },
    /// Bytes follow where the encoding should end.
    #[error("{0} bytes follow the end of the change")]
    TrailingBytes(usize),
    /// A tag, version or discriminant that this version does not know.
    #[error("unknown {what} {found}")]
    Unknown {
        /// What kind of tag.
        what: &'static str,
        /// Its value.
        found: u64,
    },
    /// The same thing has a shorter or sorted encoding, the only one that is accepted.
    #[error("not the canonical encoding of {0}")]
    NotCanonical(&'static str),
    /// Larger than the limit.
    #[error("{what} is {found}, the limit is {limit}")]
    OverLimit {
        /// What is limited.
        what: &'static str,
        /// Its size.
        found: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// A string is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    /// A number that JSON does not have.
    #[error("{0} is not a JSON number")]
    NotANumber(String),
    /// A field has a value that no change can have.
    #[error("{0}")]
    Malformed(&'static str),
}

pub(crate) fn check_limit(what: &'static str, found: usize, limit: usize) -> Result<(), DecodeError> {
    if found > limit {
        return Err(DecodeError::OverLimit { what, found: found as u64, limit: limit as u64 });
    }
    Ok(())
}

/// Appends `n` as a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a value, or says why it has no encoding.
pub(crate) fn put_value(out: &mut Vec<u8>, value: &JsonValue) -> Result<(), DecodeError> {
    put_value_at(out, value, 0)
}

fn put_value_at(out: &mut Vec<u8>, value: &JsonValue, depth: usize) -> Result<(), DecodeError> {
    check_limit("the depth of a value", depth, VALUE_DEPTH_MAX)?;
    match value {
        JsonValue::Null => out.push(0),
        JsonValue::Bool(false) => out.push(1),
        JsonValue::Bool(true) => out.push(2),
        JsonValue::Integer(i) => {
            let outside = || DecodeError::NotANumber(format!("{i}, which needs more than 64 bits,"));
            if *i >= 0 {
                out.push(3);
                put_varint(out, u64::try_from(*i).map_err(|_| outside())?);
            } else {
                let small = i64::try_from(*i).map_err(|_| outside())?;
                out.push(4);
                put_varint(out, !small as u64);
            }
        }
        JsonValue::Number(n) if n.is_finite() => {
            out.push(5);
            out.extend_from_slice(&n.to_le_bytes());
        }
        JsonValue::Number(n) => return Err(DecodeError::NotANumber(n.to_string())),
        JsonValue::String(s) => {
            out.push(6);
            put_bytes(out, s.as_bytes());
        }
        JsonValue::Text(s) => {
            out.push(9);
            put_bytes(out, s.as_bytes());
        }
        JsonValue::Array(items) => {
            out.push(7);
            put_varint(out, items.len() as u64);
            for item in items {
                put_value_at(out, item, depth + 1)?;
            }
        }
        JsonValue::Object(members) => {
            out.push(8);
            put_varint(out, members.len() as u64);
            for (key, member) in members {
                check_limit("a key", key.len(), KEY_BYTES_MAX)?;
                put_bytes(out, key.as_bytes());
                put_value_at(out, member, depth + 1)?;
            }
        }
    }
    Ok(())
}

/// What a value takes up besides bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The value itself and all inside.
    pub(crate) values: u64,
    /// The op numbers that it claims: one for each value, and one for each character of a text.
    pub(crate) numbers: u64,
}

impl Extent {
    /// The extent of a value that has an encoding.
    pub(crate) fn of(value: &JsonValue) -> Self {
        let mut extent = Self::default();
        extent.add(value);
        extent
    }

    fn add(&mut self, value: &JsonValue) {
        self.values += 1;
        self.numbers += 1;
        match value {
            JsonValue::Array(items) => items.iter().for_each(|item| self.add(item)),
            JsonValue::Object(members) => members.values().for_each(|member| self.add(member)),
            JsonValue::Text(text) => self.numbers += text.chars().count() as u64,
            JsonValue::Null
            | JsonValue::Bool(_)
            | JsonValue::Integer(_)
            | JsonValue::Number(_)
            | JsonValue::String(_) => {}
        }
    }
}

/// Reads canonical bytes from the front. Never panics, never allocates more than what is left to read.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, what: &'static str, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(DecodeError::Truncated { what, needed: count.saturating_sub(self.rest.len()) })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(what, N)?);
        Ok(array)
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(what).map(|[b]| b)
    }

    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut n = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte(what)?;
            let group = u64::from(byte & 0x7f);
            if shift == 63 && group > 1 {
                return Err(DecodeError::NotCanonical(what));
            }
            n |= group << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(DecodeError::NotCanonical(what));
                }
                return Ok(n);
            }
        }
        Err(DecodeError::NotCanonical(what))
    }

    /// Reads a count of things that take at least `least` bytes each, so that it never promises more than
    /// the bytes can hold.
    pub(crate) fn count(
        &mut self,
        what: &'static str,
        limit: usize,
        least: usize,
    ) -> Result<usize, DecodeError> {
        let n = self.varint(what)?;
        let count = usize::try_from(n).unwrap_or(usize::MAX);
        check_limit(what, count, limit)?;
        let needed = count.saturating_mul(least);
        if needed > self.rest.len() {
            return Err(DecodeError::Truncated { what, needed: needed - self.rest.len() });
        }
        Ok(count)
    }

    pub(crate) fn text(&mut self, what: &'static str, limit: usize) -> Result<&'a str, DecodeError> {
        let count = self.count(what, limit, 1)?;
        std::str::from_utf8(self.take(what, count)?).map_err(|_| DecodeError::NotUtf8(what))
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes(self.rest.len())) }
    }

    /// Reads a value.
    pub(crate) fn value(&mut self) -> Result<JsonValue, DecodeError> {
        self.value_at(0)
    }

    /// Checks a value without building it, and returns what it spans. So an insert of an object names each of
    /// its fields by one number.
    pub(crate) fn skip_value(&mut self) -> Result<Extent, DecodeError> {
        let mut extent = Extent::default();
        self.skip_value_at(0, &mut extent)?;
        Ok(extent)
    }

    fn skip_value_at(&mut self, depth: usize, extent: &mut Extent) -> Result<(), DecodeError> {
        check_limit("the depth of a value", depth, VALUE_DEPTH_MAX)?;
        extent.values += 1;
        extent.numbers += 1;
        match self.byte("a value")? {
            0..=2 => {}
            3 => _ = self.varint("an integer")?,
            4 => _ = self.negative()?,
            5 => _ = self.float()?,
            6 => _ = self.text("a string", usize::MAX)?,
            7 => {
                for _ in 0..self.count("an array", usize::MAX, 1)? {
                    self.skip_value_at(depth + 1, extent)?;
                }
            }
            8 => {
                let mut before: Option<&str> = None;
                for _ in 0..self.count("an object", usize::MAX, 2)? {
                    let key = self.key_after(before)?;
                    before = Some(key);
                    self.skip_value_at(depth + 1, extent)?;
                }
            }
            9 => extent.numbers += self.text("a text", usize::MAX)?.chars().count() as u64,
            found => return Err(DecodeError::Unknown { what: "value tag", found: found.into() }),
        }
        Ok(())
    }

    fn negative(&mut self) -> Result<i64, DecodeError> {
        let n = i64::try_from(self.varint("an integer")?)
            .map_err(|_| DecodeError::NotANumber("an integer below -2^63".to_owned()))?;
        Ok(!n)
    }

    fn float(&mut self) -> Result<f64, DecodeError> {
        let n = f64::from_le_bytes(self.array("a number")?);
        if n.is_finite() { Ok(n) } else { Err(DecodeError::NotANumber(n.to_string())) }
    }

    /// Reads a value that must be a string.
    pub(crate) fn string(&mut self) -> Result<&'a str, DecodeError> {
        match self.byte("a string")? {
            6 => self.text("a string", usize::MAX),
            found => Err(DecodeError::Unknown { what: "value tag of a string", found: found.into() }),
        }
    }

    /// Reads the next key of an object, which must follow `before`.
    pub(crate) fn key_after(&mut self, before: Option<&str>) -> Result<&'a str, DecodeError> {
        let key = self.text("a key", KEY_BYTES_MAX)?;
        if before.is_some_and(|before| before >= key) {
            return Err(DecodeError::NotCanonical("an object: keys out of order"));
        }
        Ok(key)
    }

    fn value_at(&mut self, depth: usize) -> Result<JsonValue, DecodeError> {
        check_limit("the depth of a value", depth, VALUE_DEPTH_MAX)?;
        let value = match self.byte("a value")? {
            0 => JsonValue::Null,
            1 => JsonValue::Bool(false),
            2 => JsonValue::Bool(true),
            3 => JsonValue::Integer(self.varint("an integer")?.into()),
            4 => JsonValue::Integer(self.negative()?.into()),
            5 => JsonValue::Number(self.float()?),
            6 => JsonValue::String(self.text("a string", usize::MAX)?.to_owned()),
            7 => {
                let count = self.count("an array", usize::MAX, 1)?;
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.value_at(depth + 1)?);
                }
                JsonValue::Array(items)
            }
            8 => {
                let count = self.count("an object", usize::MAX, 2)?;
                let mut members = BTreeMap::new();
                let mut before: Option<&str> = None;
                for _ in 0..count {
                    let key = self.key_after(before)?;
                    before = Some(key);
                    members.insert(key.to_owned(), self.value_at(depth + 1)?);
                }
                JsonValue::Object(members)
            }
            9 => JsonValue::Text(self.text("a text", usize::MAX)?.to_owned()),
            found => return Err(DecodeError::Unknown { what: "value tag", found: found.into() }),
        };
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_value() -> impl Strategy<Value = JsonValue> {
        let leaf = prop_oneof![
            Just(JsonValue::Null),
            any::<bool>().prop_map(JsonValue::Bool),
            any::<i64>().prop_map(|i| JsonValue::Integer(i.into())),
            any::<u64>().prop_map(|u| JsonValue::Integer(u.into())),
            any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(JsonValue::Number),
            ".{0,8}".prop_map(JsonValue::String),
            ".{0,8}".prop_map(JsonValue::Text),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(JsonValue::Array),
                prop::collection::btree_map(".{0,4}", inner, 0..6).prop_map(JsonValue::Object),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_round_trip(value in any_value()) {
            let mut bytes = Vec::new();
            put_value(&mut bytes, &value).unwrap();
            let mut reader = Reader::new(&bytes);
            prop_assert!(reader.clone().skip_value().unwrap().numbers >= 1);
            prop_assert_eq!(reader.value().unwrap(), value);
            prop_assert!(reader.end().is_ok());
        }

        #[test]
        fn what_decodes_encodes_back_to_itself(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.clone().skip_value().is_ok(), reader.clone().value().is_ok());
            if let Ok(value) = reader.value() {
                let mut again = Vec::new();
                put_value(&mut again, &value).unwrap();
                prop_assert_eq!(&bytes[..bytes.len() - reader.rest().len()], &again[..]);
            }
        }

        #[test]
        fn varints_round_trip(n in any::<u64>()) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, n);
            prop_assert_eq!(Reader::new(&bytes).varint("n").unwrap(), n);
        }
    }

    #[test]
    fn only_the_shortest_integer_is_canonical() {
        for bytes in
            [&[0x80, 0x00][..], &[0xff; 10], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2]]
        {
            assert!(Reader::new(bytes).varint("n").is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn nesting_is_bounded_both_ways() {
        let mut value = JsonValue::Null;
        let mut bytes = vec![0];
        for _ in 0..=VALUE_DEPTH_MAX {
            value = JsonValue::Array(vec![value]);
            bytes.splice(0..0, [7, 1]);
        }
        assert!(matches!(put_value(&mut Vec::new(), &value), Err(DecodeError::OverLimit { .. })));
        assert!(matches!(Reader::new(&bytes).value(), Err(DecodeError::OverLimit { .. })));
        assert!(Reader::new(&[7; 200_000]).value().is_err());
    }

    #[test]
    fn numbers_that_json_lacks_have_no_encoding() {
        for value in [
            JsonValue::Number(f64::NAN),
            JsonValue::Number(f64::INFINITY),
            JsonValue::Integer(i128::from(u64::MAX) + 1),
            JsonValue::Integer(i128::from(i64::MIN) - 1),
        ] {
            assert!(put_value(&mut Vec::new(), &value).is_err(), "{value:?}");
        }
    }
}

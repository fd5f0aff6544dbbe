//! The alphabet of records and tickets: variable-length integers and byte strings, each with one encoding.
//!
//! ```text
//! varint    unsigned LEB128, at most 10 bytes, no needless zero groups
//! bytes     varint length, then as many bytes
//! ```

/// Bytes that are no record or ticket.
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
    #[error("{0} bytes follow the end")]
    TrailingBytes(usize),
    /// A kind or bit that this version does not know.
    #[error("unknown {what} {found}")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// Its value.
        found: u64,
    },
    /// The same thing has a shorter encoding, the only one that is accepted.
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
    /// A text is not UTF-8, or has control characters in it.
    #[error("{0} is not plain text")]
    NotText(&'static str),
    /// A field has a value that nothing can have.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Appends `n` as a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(u8::try_from(n & 0x7f).unwrap_or_default() | 0x80);
        n >>= 7;
    }
    out.push(u8::try_from(n).unwrap_or_default());
}

/// Appends a length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads canonical bytes from the front. Never panics and allocates nothing.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
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
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut n = 0_u64;
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

    /// Reads a number that may be at most `limit`.
    pub(crate) fn count(&mut self, what: &'static str, limit: usize) -> Result<usize, DecodeError> {
        let found = self.varint(what)?;
        match usize::try_from(found) {
            Ok(count) if count <= limit => Ok(count),
            Ok(_) | Err(_) => Err(DecodeError::OverLimit { what, found, limit: limit as u64 }),
        }
    }

    pub(crate) fn bytes(&mut self, what: &'static str, limit: usize) -> Result<&'a [u8], DecodeError> {
        let count = self.count(what, limit)?;
        self.take(what, count)
    }

    /// Reads text of at most `limit` bytes that a terminal or a log can show as it is.
    pub(crate) fn text(&mut self, what: &'static str, limit: usize) -> Result<&'a str, DecodeError> {
        let text = std::str::from_utf8(self.bytes(what, limit)?).map_err(|_| DecodeError::NotText(what))?;
        if text.chars().any(char::is_control) { Err(DecodeError::NotText(what)) } else { Ok(text) }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes(self.rest.len())) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_round_trip(n in any::<u64>()) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, n);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint("n").unwrap(), n);
            prop_assert!(reader.end().is_ok());
        }
    }

    #[test]
    fn only_the_shortest_integer_is_canonical() {
        for bytes in [&[0x80, 0x00][..], &[0xff; 10], &[0xff, 0x80, 0x00]] {
            assert!(Reader::new(bytes).varint("n").is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn lengths_are_checked_before_anything_is_taken() {
        assert!(matches!(Reader::new(&[65, 1]).bytes("x", 64), Err(DecodeError::OverLimit { .. })));
        assert!(matches!(Reader::new(&[3, 1]).bytes("x", 64), Err(DecodeError::Truncated { needed: 2, .. })));
        assert!(matches!(Reader::new(&[2, b'a', 7]).text("x", 64), Err(DecodeError::NotText("x"))));
    }
}

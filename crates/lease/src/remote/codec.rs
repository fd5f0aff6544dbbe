//! Writing and reading of fields. The reader allocates nothing that the message's own bytes do not pay for, and
//! refuses every spelling but the one that is written.

use crate::{name::NameError, payload::PayloadError};

/// Bytes that are no message between nodes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It ends in the middle of a field.
    #[error("the message ends in the middle of {0}")]
    Truncated(&'static str),
    /// Bytes follow where it should end.
    #[error("{0} bytes follow the end of the message")]
    TrailingBytes(usize),
    /// A method, or a kind of something, that this version does not know.
    #[error("unknown {what} {found}")]
    Unknown {
        /// Of what.
        what: &'static str,
        /// Its number.
        found: u64,
    },
    /// The same thing has another spelling, the only one that is accepted.
    #[error("not the canonical encoding of {0}")]
    NotCanonical(&'static str),
    /// Larger than the limit.
    #[error("{what}: {found}, the limit is {max}")]
    OverLimit {
        /// What is limited.
        what: &'static str,
        /// Its size.
        found: u64,
        /// The most that is accepted.
        max: u64,
    },
    /// A name that nobody may use.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No payload.
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

/// What has one spelling in a message.
pub(super) trait Wire: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError>;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Reader { rest: bytes };
        let value = Self::read(&mut reader)?;
        reader.end()?;
        Ok(value)
    }
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes the longest start of a text that takes at most `bytes_max` bytes.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str, bytes_max: usize) {
    put_bytes(out, text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default().as_bytes());
}

/// Writes a list. Whoever calls keeps to the limit of its reader.
pub(super) fn put_list<T: Wire>(out: &mut Vec<u8>, list: &[T]) {
    put_varint(out, list.len() as u64);
    list.iter().for_each(|item| item.put(out));
}

pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn end(&self) -> Result<(), MessageError> {
        if self.rest.is_empty() { Ok(()) } else { Err(MessageError::TrailingBytes(self.rest.len())) }
    }

    pub(super) fn take(&mut self, what: &'static str, count: usize) -> Result<&'a [u8], MessageError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(MessageError::Truncated(what))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], MessageError> {
        self.take(what, N)?.try_into().map_err(|_| MessageError::Truncated(what))
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, MessageError> {
        self.array(what).map(|[byte]| byte)
    }

    pub(super) fn varint(&mut self, what: &'static str) -> Result<u64, MessageError> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let group = u64::from(byte & 0x7f);
            if shift == 63 && group > 1 {
                return Err(MessageError::NotCanonical(what));
            }
            n |= group << shift;
            if byte < 0x80 {
                return if byte == 0 && shift > 0 { Err(MessageError::NotCanonical(what)) } else { Ok(n) };
            }
        }
        Err(MessageError::NotCanonical(what))
    }

    /// A count of things of so many bytes at least: what is left has to hold them.
    pub(super) fn count(
        &mut self,
        what: &'static str,
        max: usize,
        bytes: usize,
    ) -> Result<usize, MessageError> {
        let found = self.varint(what)?;
        let count = usize::try_from(found).unwrap_or(usize::MAX);
        if count > max {
            return Err(MessageError::OverLimit { what, found, max: max as u64 });
        }
        if count.saturating_mul(bytes) > self.rest.len() {
            return Err(MessageError::Truncated(what));
        }
        Ok(count)
    }

    pub(super) fn bytes(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], MessageError> {
        let len = self.count(what, max, 1)?;
        self.take(what, len)
    }

    pub(super) fn text(&mut self, what: &'static str, max: usize) -> Result<&'a str, MessageError> {
        std::str::from_utf8(self.bytes(what, max)?).map_err(|_| MessageError::NotCanonical(what))
    }

    /// A list of things of so many bytes at least.
    pub(super) fn list<T: Wire>(
        &mut self,
        what: &'static str,
        max: usize,
        bytes: usize,
    ) -> Result<Vec<T>, MessageError> {
        let count = self.count(what, max, bytes)?;
        // One by one: an item takes more in memory than in the message.
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(T::read(self)?);
        }
        Ok(list)
    }
}

/// For a byte that names a kind.
pub(super) fn unknown<T>(what: &'static str, found: u8) -> Result<T, MessageError> {
    Err(MessageError::Unknown { what, found: found.into() })
}

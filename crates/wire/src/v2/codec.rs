//! Reading and writing of fields. The reader allocates nothing that the frame's own bytes do not pay for.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::json_crdt::VersionVector;
use bft_json_crdt::{AuthorId, Digest};

use super::frame::FrameError;
use crate::limits::{VECTOR_AUTHORS_MAX, VECTOR_TIPS_MAX};

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

pub(super) fn put_authors(out: &mut Vec<u8>, authors: &BTreeSet<AuthorId>) {
    put_varint(out, authors.len() as u64);
    authors.iter().for_each(|author| out.extend_from_slice(&author.0));
}

/// Writes a vector, cut to what a frame may say: the first authors, and of each the highest tips.
pub(super) fn put_vector(out: &mut Vec<u8>, vector: &VersionVector) {
    put_varint(out, vector.len().min(VECTOR_AUTHORS_MAX) as u64);
    for (author, tips) in vector.iter().take(VECTOR_AUTHORS_MAX) {
        out.extend_from_slice(&author.0);
        let tips = tips.get(tips.len().saturating_sub(VECTOR_TIPS_MAX)..).unwrap_or_default();
        put_varint(out, tips.len() as u64);
        for (seq, digest) in tips {
            put_varint(out, *seq);
            out.extend_from_slice(&digest.0);
        }
    }
}

pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn end(&self) -> Result<(), FrameError> {
        if self.rest.is_empty() { Ok(()) } else { Err(FrameError::TrailingBytes(self.rest.len())) }
    }

    pub(super) fn take(&mut self, what: &'static str, count: usize) -> Result<&'a [u8], FrameError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(FrameError::Truncated(what))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FrameError> {
        self.take(what, N)?.try_into().map_err(|_| FrameError::Truncated(what))
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, FrameError> {
        self.array(what).map(|[byte]| byte)
    }

    pub(super) fn flag(&mut self, what: &'static str) -> Result<bool, FrameError> {
        match self.byte(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FrameError::NotCanonical(what)),
        }
    }

    pub(super) fn varint(&mut self, what: &'static str) -> Result<u64, FrameError> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let group = u64::from(byte & 0x7f);
            if shift == 63 && group > 1 {
                return Err(FrameError::NotCanonical(what));
            }
            n |= group << shift;
            if byte < 0x80 {
                return if byte == 0 && shift > 0 { Err(FrameError::NotCanonical(what)) } else { Ok(n) };
            }
        }
        Err(FrameError::NotCanonical(what))
    }

    /// A count of things of so many bytes at least: what is left has to hold them.
    pub(super) fn count(
        &mut self,
        what: &'static str,
        max: usize,
        bytes: usize,
    ) -> Result<usize, FrameError> {
        let found = self.varint(what)?;
        if found > max as u64 {
            return Err(FrameError::OverLimit { what, found, max: max as u64 });
        }
        let count = found as usize;
        if count * bytes > self.rest.len() {
            return Err(FrameError::Truncated(what));
        }
        Ok(count)
    }

    pub(super) fn bytes(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], FrameError> {
        let len = self.count(what, max, 1)?;
        self.take(what, len)
    }

    pub(super) fn authors(&mut self) -> Result<BTreeSet<AuthorId>, FrameError> {
        let count = self.count("authors", VECTOR_AUTHORS_MAX, 32)?;
        let mut authors = BTreeSet::new();
        for _ in 0..count {
            let author = AuthorId(self.array("an author")?);
            if authors.last().is_some_and(|last| *last >= author) {
                return Err(FrameError::NotCanonical("the order of authors"));
            }
            authors.insert(author);
        }
        Ok(authors)
    }

    pub(super) fn vector(&mut self) -> Result<VersionVector, FrameError> {
        let count = self.count("authors", VECTOR_AUTHORS_MAX, 32 + 1 + 33)?;
        let mut vector: VersionVector = BTreeMap::new();
        for _ in 0..count {
            let author = AuthorId(self.array("an author")?);
            if vector.last_key_value().is_some_and(|(last, _)| *last >= author) {
                return Err(FrameError::NotCanonical("the order of authors"));
            }
            let count = self.count("tips", VECTOR_TIPS_MAX, 33)?;
            if count == 0 {
                return Err(FrameError::NotCanonical("an author without a tip"));
            }
            let mut tips: Vec<(u64, Digest)> = Vec::with_capacity(count);
            for _ in 0..count {
                let tip = (self.varint("a seq")?, Digest(self.array("a digest")?));
                if tips.last().is_some_and(|last| *last >= tip) {
                    return Err(FrameError::NotCanonical("the order of tips"));
                }
                tips.push(tip);
            }
            vector.insert(author, tips);
        }
        Ok(vector)
    }
}

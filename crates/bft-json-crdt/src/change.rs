//! Changes: what one author signs at a time, and the one encoding that is hashed, stored and sent.
//!
//! ```text
//! change    32 bytes   document id
//!           32 bytes   author, an Ed25519 public key
//!           varint     seq, from 1
//!           32 bytes   prev: digest of the author's previous change; absent when seq is 1
//!           varint     lamport, 1 + the highest in the causal past
//!           varint     first op number
//!           varint     count of deps, at most 64
//!           32 bytes … deps: digests of the other heads seen, strictly ascending
//! body      varint     count of other authors that the ops name
//!           32 bytes … the author table, strictly ascending, each one used
//!           varint     count of ops, at most 131,072
//!           ops        see `op.rs`
//!
//! digest    = SHA-256("gangline change 1\n" ‖ change ‖ body)
//! signature = Ed25519 by the author over the 32 bytes of the digest
//! op id     = SHA-256("gangline op 1\n" ‖ document ‖ author ‖ op number, 8 bytes little-endian ‖
//!             body with this op alone)
//! ```
//!
//! The ops of a change are numbered from its first op number without gaps; an insert and
//! a put claim one for each value of their content and for each character of the texts in it, a text op one for
//! each character, any other op one. A change's identity is its digest, never its signature.

use std::sync::Arc;

use crate::encoding::{DecodeError, Reader, check_limit, put_value, put_varint};
use crate::hash::sha256;
use crate::hex::hex_id;
use crate::keypair::{AuthorId, Keypair};
use crate::limits::{CHANGE_BYTES_MAX, CHANGE_DEPS_MAX, CHANGE_OPS_MAX};
use crate::op::{LongName, Name, Op, OpId, Slice};
use crate::value::JsonValue;
use crate::verify;

hex_id! {
    /// Identifies a change: the hash of its canonical encoding.
    Digest
}

hex_id! {
    /// Identifies a document. Signed with every change, so that none can be replayed into another document.
    DocumentId
}

impl Digest {
    /// The SHA-256 of some parts, one after the other. What is hashed for another purpose than a change begins with
    /// words that say for which.
    pub fn of(parts: &[&[u8]]) -> Self {
        Self(sha256(parts))
    }
}

impl DocumentId {
    /// The default document: the board.
    pub const DEFAULT: Self = Self([0; 32]);

    /// The document that follows a source of data: a hash of the key that the source's changes are signed with
    /// and the document's name. So whoever has its changes can tell whose ranks count in it.
    pub fn of_source(source: &AuthorId, name: &str) -> Self {
        Self(sha256(&[b"gangline source 1\n", &source.0, name.as_bytes()]))
    }
}

/// The fields of a change before its ops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) document: DocumentId,
    pub(crate) author: AuthorId,
    pub(crate) seq: u64,
    pub(crate) prev: Option<Digest>,
    pub(crate) lamport: u64,
    pub(crate) first_counter: u64,
    pub(crate) deps: Vec<Digest>,
}

impl Header {
    /// Appends the header's bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.document.0);
        out.extend_from_slice(&self.author.0);
        put_varint(out, self.seq);
        if let Some(prev) = &self.prev {
            out.extend_from_slice(&prev.0);
        }
        put_varint(out, self.lamport);
        put_varint(out, self.first_counter);
        put_varint(out, self.deps.len() as u64);
        for dep in &self.deps {
            out.extend_from_slice(&dep.0);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let document = DocumentId(reader.array("the document id")?);
        let author = AuthorId(reader.array("the author")?);
        let seq = reader.varint("the seq")?;
        let prev = match seq {
            0 => return Err(DecodeError::Malformed("seq is 0: this change was never signed")),
            1 => None,
            _ => Some(Digest(reader.array("the previous change")?)),
        };
        let lamport = reader.varint("the lamport")?;
        let first_counter = reader.varint("the first op number")?;
        if first_counter == 0 {
            return Err(DecodeError::Malformed("op numbers start at 1"));
        }
        let mut deps: Vec<Digest> = Vec::new();
        for _ in 0..reader.count("the deps of a change", CHANGE_DEPS_MAX, 32)? {
            let dep = Digest(reader.array("a dep")?);
            if deps.last().is_some_and(|before| *before >= dep) {
                return Err(DecodeError::NotCanonical("deps: out of order"));
            }
            if prev == Some(dep) {
                return Err(DecodeError::NotCanonical("deps: names the author's previous change"));
            }
            deps.push(dep);
        }
        Ok(Self { document, author, seq, prev, lamport, first_counter, deps })
    }
}

/// A decoded body: the author table and the ops, whose values stay where they are.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) authors: Vec<AuthorId>,
    pub(crate) ops: Vec<Op<Name, Slice>>,
}

impl Body {
    /// How many ops a well-formed body has.
    fn op_count(bytes: &[u8]) -> usize {
        let mut reader = Reader::new(bytes);
        let authors = reader.varint("the author table").unwrap_or_default();
        let _ = reader.take("the author table", (authors as usize).saturating_mul(32));
        reader.varint("the ops of a change").unwrap_or_default() as usize
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut authors: Vec<AuthorId> = Vec::new();
        for _ in 0..reader.count("the author table", CHANGE_OPS_MAX, 32)? {
            let author = AuthorId(reader.array("an author")?);
            if authors.last().is_some_and(|before| *before >= author) {
                return Err(DecodeError::NotCanonical("the author table: out of order"));
            }
            authors.push(author);
        }
        let mut used = vec![false; authors.len()];
        let mut in_table = true;
        let mut ops = Vec::new();
        for _ in 0..reader.count("the ops of a change", CHANGE_OPS_MAX, 3)? {
            let op = Op::decode(&mut reader, bytes.len())?;
            op.names(|name| {
                if let Some(index) = (name.author as usize).checked_sub(1) {
                    match used.get_mut(index) {
                        Some(used) => *used = true,
                        None => in_table = false,
                    }
                }
            });
            ops.push(op);
        }
        reader.end()?;
        if !in_table {
            return Err(DecodeError::Malformed("a name points beyond the author table"));
        }
        if used.contains(&false) {
            return Err(DecodeError::NotCanonical("the author table: an author that no op names"));
        }
        Ok(Self { authors, ops })
    }

    /// Encodes one op whose names carry public keys, as the body of a change by `author`.
    pub(crate) fn encode_alone(
        author: &AuthorId,
        op: Op<LongName, JsonValue>,
    ) -> Result<Vec<u8>, DecodeError> {
        let mut authors = Vec::new();
        op.names(|name| {
            if name.author != *author {
                authors.push(name.author);
            }
        });
        authors.sort_unstable();
        authors.dedup();
        let short = |name: LongName| -> Result<Name, DecodeError> {
            let index = if name.author == *author {
                0
            } else {
                authors.binary_search(&name.author).map_or(0, |index| index as u32 + 1)
            };
            Ok(Name { author: index, counter: name.counter })
        };
        let mut op = op.map(short, Ok)?;
        op.sort_names();
        Self::encode(&authors, &[op])
    }

    /// Encodes ops with their author table, or says what no change can hold.
    pub(crate) fn encode(authors: &[AuthorId], ops: &[Op<Name, JsonValue>]) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::with_capacity(64);
        Self::encode_with(&mut out, authors, ops.iter().map(Ok), put_value)?;
        Ok(out)
    }

    /// As [`Self::encode`], into `out` and with values put down by `put`.
    pub(crate) fn encode_with<V, O: std::borrow::Borrow<Op<Name, V>>>(
        out: &mut Vec<u8>,
        authors: &[AuthorId],
        ops: impl ExactSizeIterator<Item = Result<O, DecodeError>>,
        put: impl Fn(&mut Vec<u8>, &V) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        check_limit("the ops of a change", ops.len(), CHANGE_OPS_MAX)?;
        put_varint(out, authors.len() as u64);
        for author in authors {
            out.extend_from_slice(&author.0);
        }
        put_varint(out, ops.len() as u64);
        for op in ops {
            op?.borrow().encode(out, &put)?;
            check_limit("a change in bytes", out.len(), CHANGE_BYTES_MAX)?;
        }
        Ok(())
    }
}

/// One author's signed change. Cheap to clone; two are equal when their digests are.
///
/// A `Change` is well formed and within the limits of [`crate::limits`], but not more: its signature and its
/// place among other changes are judged when a document takes it in.
#[derive(Clone)]
pub struct Change {
    inner: Arc<Inner>,
}

struct Inner {
    bytes: Box<[u8]>,
    header: Header,
    body_start: usize,
    op_count: usize,
    span: u64,
    digest: Digest,
    signature: [u8; 64],
}

impl Change {
    /// Decodes the canonical encoding and hashes it. Does not check the signature. O(length).
    ///
    /// # Errors
    ///
    /// [`DecodeError`] for bytes that are not exactly one canonical change within the limits.
    pub fn decode(bytes: &[u8], signature: [u8; 64]) -> Result<Self, DecodeError> {
        check_limit("a change in bytes", bytes.len(), CHANGE_BYTES_MAX)?;
        let mut reader = Reader::new(bytes);
        let header = Header::decode(&mut reader)?;
        let body = Body::decode(reader.rest())?;
        let span = body.ops.iter().map(Op::span).sum::<u64>();
        if header.first_counter.checked_add(span).is_none() {
            return Err(DecodeError::Malformed("op numbers beyond 2^64"));
        }
        let body_start = bytes.len() - reader.rest().len();
        Ok(Self::assemble(bytes.into(), header, body_start, body.ops.len(), span, signature))
    }

    fn assemble(
        bytes: Box<[u8]>,
        header: Header,
        body_start: usize,
        op_count: usize,
        span: u64,
        signature: [u8; 64],
    ) -> Self {
        let digest = digest_of(&bytes);
        Self { inner: Arc::new(Inner { bytes, header, body_start, op_count, span, digest, signature }) }
    }

    /// Encodes a header and, by `body`, the ops behind it, and signs them.
    pub(crate) fn sign(
        header: Header,
        body: impl FnOnce(&mut Vec<u8>) -> Result<(), DecodeError>,
        op_count: usize,
        span: u32,
        keypair: &Keypair,
    ) -> Result<Self, DecodeError> {
        let mut bytes = Vec::with_capacity(320 + 32 * header.deps.len());
        header.encode(&mut bytes);
        let body_start = bytes.len();
        let mut ops = Vec::with_capacity(128);
        body(&mut ops)?;
        bytes.extend_from_slice(&ops);
        check_limit("a change in bytes", bytes.len(), CHANGE_BYTES_MAX)?;
        let digest = digest_of(&bytes);
        let signature = keypair.sign(&digest.0);
        let bytes = bytes.into();
        let span = span.into();
        Ok(Self { inner: Arc::new(Inner { bytes, header, body_start, op_count, span, digest, signature }) })
    }

    /// Puts a change of the history together again, whose digest is known.
    pub(crate) fn rebuild(
        header: Header,
        body: &[u8],
        span: u64,
        digest: Digest,
        signature: [u8; 64],
    ) -> Self {
        let mut bytes = Vec::with_capacity(160 + 32 * header.deps.len() + body.len());
        header.encode(&mut bytes);
        let body_start = bytes.len();
        bytes.extend_from_slice(body);
        let op_count = Body::op_count(body);
        let bytes = bytes.into();
        Self { inner: Arc::new(Inner { bytes, header, body_start, op_count, span, digest, signature }) }
    }

    /// Makes what stands for an edit that got no place in its author's chain: a change that no replica takes.
    pub(crate) fn refused(document: DocumentId, author: AuthorId) -> Self {
        let header =
            Header { document, author, seq: 0, prev: None, lamport: 0, first_counter: 0, deps: Vec::new() };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        let body_start = bytes.len();
        bytes.extend_from_slice(&[0, 0]);
        Self::assemble(bytes.into(), header, body_start, 0, 0, [0; 64])
    }

    /// The same change with another signature: equal, since a signature is no part of the identity.
    #[must_use]
    pub fn with_signature(&self, signature: [u8; 64]) -> Self {
        let inner = &self.inner;
        Self {
            inner: Arc::new(Inner {
                bytes: inner.bytes.clone(),
                header: inner.header.clone(),
                signature,
                ..**inner
            }),
        }
    }

    /// Returns the canonical encoding.
    pub fn bytes(&self) -> &[u8] {
        &self.inner.bytes
    }

    /// Returns the signature, checked or not.
    pub fn signature(&self) -> &[u8; 64] {
        &self.inner.signature
    }

    /// Returns the identity of the change.
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    /// Returns the document that the change belongs to.
    pub fn document(&self) -> DocumentId {
        self.inner.header.document
    }

    /// Returns who authored the change.
    pub fn author(&self) -> AuthorId {
        self.inner.header.author
    }

    /// Returns the position in the author's chain, from 1.
    pub fn seq(&self) -> u64 {
        self.inner.header.seq
    }

    /// Returns the author's previous change; none for the first.
    pub fn prev(&self) -> Option<Digest> {
        self.inner.header.prev
    }

    /// Returns the other heads that the author had seen, ascending.
    pub fn deps(&self) -> &[Digest] {
        &self.inner.header.deps
    }

    /// Returns the logical time: one more than the highest in the causal past.
    pub fn lamport(&self) -> u64 {
        self.inner.header.lamport
    }

    /// Returns how many ops the change holds.
    pub fn op_count(&self) -> usize {
        self.inner.op_count
    }

    /// Checks the change's own signature (about 30 µs). An author's later change can make this one
    /// authentic too, since it names it by digest; documents take that into account.
    pub fn verify(&self) -> bool {
        self.inner.header.seq > 0
            && verify::verify(&self.inner.header.author, &self.inner.digest.0, &self.inner.signature)
    }

    pub(crate) fn header(&self) -> &Header {
        &self.inner.header
    }

    /// How many op numbers the ops claim in all.
    pub(crate) fn span(&self) -> u64 {
        self.inner.span
    }

    pub(crate) fn body_bytes(&self) -> &[u8] {
        self.inner.bytes.get(self.inner.body_start..).unwrap_or_default()
    }
}

impl PartialEq for Change {
    fn eq(&self, other: &Self) -> bool {
        self.inner.digest == other.inner.digest
    }
}

impl Eq for Change {}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change")
            .field("digest", &self.digest())
            .field("author", &self.author())
            .field("seq", &self.seq())
            .field("lamport", &self.lamport())
            .field("ops", &self.op_count())
            .finish_non_exhaustive()
    }
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest(sha256(&[b"gangline change 1\n", bytes]))
}

/// Hashes what an op's id stands for; `alone` is a body with this op alone.
pub(crate) fn op_id(document: &DocumentId, author: &AuthorId, counter: u64, alone: &[u8]) -> OpId {
    sha256(&[b"gangline op 1\n", &document.0, &author.0, &counter.to_le_bytes(), alone])
}

/// Names an element that an op inserted inside its content: the `place`-th value of it.
pub(crate) fn inner_element_id(op: &OpId, place: u64) -> OpId {
    sha256(&[b"gangline element 1\n", op, &place.to_le_bytes()])
}

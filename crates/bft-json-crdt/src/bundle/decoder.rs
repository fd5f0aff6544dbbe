//! From a bundle to changes, chunk by chunk.

use super::layout::ChangeColumns;
use super::ops::OpReader;
use super::seen::{Cast, Seen, SeenAuthor};
use super::{
    BundleError, CHUNK_BYTES_MAX, CHUNK_CHANGES_MAX, CHUNK_INFLATED_BYTES_MAX, CHUNK_OF_CHANGES, Fault,
    HEAD_BYTES, MAGIC, VERSION,
};
use crate::change::{Change, Digest, DocumentId, Header};
use crate::columns::{ColumnError, Columns, Cursor, unzigzag};
use crate::encoding::{DecodeError, Reader, check_limit, put_varint};
use crate::keypair::AuthorId;
use crate::limits::{CHANGE_BYTES_MAX, CHANGE_DEPS_MAX, CHANGE_OPS_MAX};
use crate::op::Rank;

/// Opens a bundle. The changes come from the [`Decoder`], which reads them chunk by chunk.
///
/// A few bytes may stand for many: what the bundle says in its head is the most that the decoder gives and works
/// for, so a caller that does not trust the bundle looks at [`Decoder::change_count`] and
/// [`Decoder::change_bytes`] first. Memory besides what it gave: one chunk (up to [`CHUNK_INFLATED_BYTES_MAX`] and
/// [`CHUNK_BYTES_MAX`]), 40 bytes for each of the last [`super::WINDOW_CHANGES`] changes, up to 36 MB of
/// what sets are expected to overwrite.
///
/// # Errors
///
/// [`BundleError`] for a head that is none. Errors further on come from the iterator.
pub fn decode(bytes: &[u8]) -> Result<Decoder<'_>, BundleError> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES).unwrap_or((bytes, &[]));
    let mut reader = Reader::new(head);
    let head_error = |_| BundleError::HeadChecksum;
    if reader.array("the magic") != Ok(*MAGIC) {
        return Err(BundleError::NotABundle);
    }
    let found = reader.byte("the version").map_err(head_error)?;
    if found != VERSION {
        return Err(BundleError::Version { found });
    }
    let document = DocumentId(reader.array("the document").map_err(head_error)?);
    let changes = u64::from_le_bytes(reader.array("the count").map_err(head_error)?);
    let bytes = u64::from_le_bytes(reader.array("the length").map_err(head_error)?);
    let mut rest = Reader::new(rest);
    let checksum = u32::from_le_bytes(rest.array("the checksum").map_err(head_error)?);
    if checksum != crc32fast::hash(head) {
        return Err(BundleError::HeadChecksum);
    }
    Ok(Decoder {
        document,
        change_count: changes,
        change_bytes: bytes,
        rest: rest.rest(),
        changes_left: changes,
        bytes_left: bytes,
        chunk: 0,
        seen: Seen::default(),
        ready: Vec::new().into_iter(),
        is_over: false,
    })
}

/// Looks at the checksums of a bundle and decodes nothing: whether it is as it was written. O(bytes).
///
/// # Errors
///
/// [`BundleError`] for a head that is none or that says more than the chunks can hold, and for the first chunk that
/// is cut off or does not have its checksum.
pub fn check(bytes: &[u8]) -> Result<(), BundleError> {
    let decoder = decode(bytes)?;
    let mut reader = Reader::new(decoder.rest);
    let mut chunk = 0;
    while !reader.rest().is_empty() {
        read_payload(&mut reader, chunk)?;
        chunk += 1;
    }
    let claims = [
        ("changes", decoder.change_count, CHUNK_CHANGES_MAX),
        ("bytes of changes", decoder.change_bytes, CHUNK_BYTES_MAX),
    ];
    for (what, found, in_chunk) in claims {
        let limit = chunk * in_chunk as u64;
        if found > limit {
            return Err(BundleError::OverLimit { chunk, what, found, limit });
        }
    }
    Ok(())
}

/// Reads a chunk whose payload has its checksum.
fn read_payload<'a>(reader: &mut Reader<'a>, chunk: u64) -> Result<&'a [u8], BundleError> {
    let truncated = |_| BundleError::Truncated { chunk };
    let len = u32::from_le_bytes(reader.array("a length").map_err(truncated)?);
    let checksum = u32::from_le_bytes(reader.array("a checksum").map_err(truncated)?);
    let payload = reader.take("a payload", len as usize).map_err(truncated)?;
    if checksum == crc32fast::hash(payload) { Ok(payload) } else { Err(BundleError::Checksum { chunk }) }
}

/// A change that came out of a bundle.
#[derive(Clone, Debug)]
pub struct BundledChange {
    /// The change. Its digest is a hash of its bytes; its signature is not checked, and zeros when it was left out.
    pub change: Change,
    /// Whether the bundle has its signature.
    pub is_signed: bool,
}

/// Gives the changes of a bundle in their order: about 1 µs and a hash for a small one. It ends after an error.
pub struct Decoder<'a> {
    document: DocumentId,
    change_count: u64,
    change_bytes: u64,
    rest: &'a [u8],
    changes_left: u64,
    bytes_left: u64,
    chunk: u64,
    seen: Seen,
    /// The changes of the chunk that was read last.
    ready: std::vec::IntoIter<BundledChange>,
    is_over: bool,
}

impl Decoder<'_> {
    /// Returns the document that the changes belong to; zeros for a bundle of nothing.
    pub fn document(&self) -> DocumentId {
        self.document
    }

    /// Returns how many changes the bundle has, as it says. There come no more.
    pub fn change_count(&self) -> u64 {
        self.change_count
    }

    /// Returns the length of the changes' canonical encodings in all, as the bundle says. There come no more.
    pub fn change_bytes(&self) -> u64 {
        self.change_bytes
    }

    /// Reads the next chunk; false at the end.
    fn advance(&mut self) -> Result<bool, BundleError> {
        if self.rest.is_empty() {
            let (changes, bytes) = (self.changes_left, self.bytes_left);
            let is_whole = changes == 0 && bytes == 0;
            return if is_whole { Ok(false) } else { Err(BundleError::Missing { changes, bytes }) };
        }
        let chunk = self.chunk;
        let mut reader = Reader::new(self.rest);
        let payload = read_payload(&mut reader, chunk)?;
        self.rest = reader.rest();
        let before = self.seen.window.count();
        let changes = self.read_chunk(payload);
        self.ready = changes.map_err(|fault| fault.in_chunk(chunk, self.seen.window.count()))?.into_iter();
        self.changes_left -= self.seen.window.count() - before;
        self.chunk += 1;
        Ok(true)
    }

    fn read_chunk(&mut self, payload: &[u8]) -> Result<Vec<BundledChange>, Fault> {
        let mut reader = Reader::new(payload);
        let part = |_: DecodeError| ColumnError::new("the parts before the columns", "end early");
        if reader.byte("a kind").map_err(part)? != CHUNK_OF_CHANGES {
            return Err(ColumnError::new("the kind", "unknown to this version").into());
        }
        let count = reader.varint("changes").map_err(part)?;
        let limit = self.changes_left.min(CHUNK_CHANGES_MAX as u64);
        if count > limit {
            return Err(Fault::OverLimit { what: "changes", found: count, limit });
        }
        if count == 0 {
            return Err(ColumnError::new("the count of changes", "0").into());
        }
        for _ in 0..reader.count("authors", usize::MAX, 32).map_err(part)? {
            self.seen.authors.push(SeenAuthor::new(AuthorId(reader.array("an author").map_err(part)?)));
        }
        for _ in 0..reader.count("outside", usize::MAX, 32).map_err(part)? {
            self.seen.outside.push(Digest(reader.array("a digest").map_err(part)?));
        }
        let signatures = reader.count("signatures", CHUNK_CHANGES_MAX, 64).map_err(part)?;
        let mut signatures = Reader::new(reader.take("signatures", signatures * 64).map_err(part)?);
        let bytes_max = self.bytes_left.min(CHUNK_BYTES_MAX as u64);
        let columns = Columns::read(reader.rest(), CHUNK_INFLATED_BYTES_MAX)?;
        let mut chunk = Chunk {
            document: self.document,
            seen: &mut self.seen,
            columns: ChangeColumns::make(0, |id, name| columns.numbers(id, name))?,
            ops: OpReader::open(&columns, CHUNK_BYTES_MAX)?,
            cast: Cast::default(),
            bytes: Vec::new(),
        };
        let mut left = bytes_max;
        let mut changes = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let (change, author) = chunk.read(&mut signatures)?;
            left = left.checked_sub(change.change.bytes().len() as u64).ok_or(Fault::OverLimit {
                what: "bytes of changes",
                found: bytes_max + 1,
                limit: bytes_max,
            })?;
            chunk.seen.note(&change.change, author);
            changes.push(change);
        }
        chunk.end(&columns)?;
        signatures.end().map_err(|_| ColumnError::new("signatures", "more than are used"))?;
        self.bytes_left -= bytes_max - left;
        Ok(changes)
    }
}

impl Iterator for Decoder<'_> {
    type Item = Result<BundledChange, BundleError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(change) = self.ready.next() {
                return Some(Ok(change));
            }
            if self.is_over {
                return None;
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => self.is_over = true,
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// A chunk that is being read.
struct Chunk<'s, 'a> {
    document: DocumentId,
    seen: &'s mut Seen,
    columns: ChangeColumns<Cursor<'a>>,
    ops: OpReader<'a>,
    cast: Cast,
    /// The canonical bytes of a change.
    bytes: Vec<u8>,
}

impl Chunk<'_, '_> {
    /// Reads a change, and says which number its author has.
    fn read(&mut self, signatures: &mut Reader<'_>) -> Result<(BundledChange, usize), Fault> {
        self.bytes.clear();
        let author = self.columns.author.next_up_to(self.seen.authors.len().saturating_sub(1))?;
        let header = self.header(author)?;
        header.encode(&mut self.bytes);
        self.author_table(author as u32)?;
        self.put_ops(header.first_counter)?;
        let is_signed = self.columns.is_signed.next_up_to(1)? == 1;
        let signature = if is_signed {
            let ends_early = |_| ColumnError::new("signatures", "end early");
            signatures.array("a signature").map_err(ends_early)?
        } else {
            [0; 64]
        };
        let change = Change::decode(&self.bytes, signature)?;
        Ok((BundledChange { change, is_signed }, author))
    }

    fn header(&mut self, number: usize) -> Result<Header, Fault> {
        let Self { seen, columns, .. } = self;
        let author = seen.authors.get(number).ok_or_else(|| columns.author.bad("no such author"))?;
        let step = |column: &mut Cursor<'_>, from: u64| {
            column.next().map(|step| from.wrapping_add(unzigzag(step) as u64))
        };
        let seq = step(&mut columns.seq, author.seq.wrapping_add(1))?;
        let first_counter = step(&mut columns.first_number, author.next_number)?;
        let mut highest = 0;
        let mut inside = |change: Option<(Digest, u64)>, column: &Cursor<'_>| {
            let (digest, lamport) = change.ok_or_else(|| column.bad("no such change"))?;
            highest = highest.max(lamport);
            Ok::<_, ColumnError>(digest)
        };
        let outside = |column: &mut Cursor<'_>| {
            let number = usize::try_from(column.next()?).unwrap_or(usize::MAX);
            seen.outside.get(number).copied().ok_or_else(|| column.bad("no such digest"))
        };
        let prev = if seq == 1 {
            None
        } else {
            Some(match columns.prev.next()? {
                0 => inside(author.last, &columns.prev)?,
                1 => outside(&mut columns.outside)?,
                distance => inside(seen.window.back(distance - 1), &columns.prev)?,
            })
        };
        let mut deps = Vec::new();
        for _ in 0..columns.deps.next_up_to(CHANGE_DEPS_MAX)? {
            deps.push(match columns.dep.next()? {
                0 => outside(&mut columns.outside)?,
                distance => inside(seen.window.back(distance), &columns.dep)?,
            });
        }
        deps.sort_unstable();
        let lamport = step(&mut columns.lamport, highest.wrapping_add(1))?;
        Ok(Header { document: self.document, author: author.id, seq, prev, lamport, first_counter, deps })
    }

    /// Reads the author table and appends it.
    fn author_table(&mut self, author: u32) -> Result<(), Fault> {
        let Self { seen, columns, cast, bytes, .. } = self;
        cast.author = author;
        cast.table.clear();
        let count = columns.named.next_up_to(CHANGE_OPS_MAX)?;
        put_varint(bytes, count as u64);
        for _ in 0..count {
            let number = columns.named_author.next_up_to(seen.authors.len().saturating_sub(1))?;
            let author =
                seen.authors.get(number).ok_or_else(|| columns.named_author.bad("no such author"))?;
            cast.table.push(number as u32);
            bytes.extend_from_slice(&author.id.0);
        }
        Ok(())
    }

    fn put_ops(&mut self, first_number: u64) -> Result<(), Fault> {
        let Self { seen, columns, ops, cast, bytes, .. } = self;
        let count = columns.ops.next_up_to(CHANGE_OPS_MAX)?;
        put_varint(bytes, count as u64);
        let mut own = first_number;
        for _ in 0..count {
            let kind = columns.kind.next()?;
            let rank = Rank::from_byte(columns.rank.next_up_to(u8::MAX.into())? as u8)?;
            let span = ops.read(kind, rank, own, cast, &mut seen.expected, bytes)?;
            own = own.wrapping_add(span);
            check_limit("a change in bytes", bytes.len(), CHANGE_BYTES_MAX)?;
        }
        Ok(())
    }

    /// Checks that every column was used up, and that there were no others.
    fn end(&self, columns: &Columns<'_>) -> Result<(), Fault> {
        let mut all = Ok(());
        self.columns.each(0, |_, column| all = all.clone().and_then(|()| column.end()));
        all?;
        self.ops.end()?;
        Ok(columns.end()?)
    }
}

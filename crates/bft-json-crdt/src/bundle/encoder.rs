//! From changes to a bundle, chunk by chunk.

use std::collections::HashMap;
use std::convert::Infallible;

use super::layout::ChangeColumns;
use super::ops::OpWriter;
use super::seen::{Cast, Seen, SeenAuthor};
use super::{
    BundleError, CHUNK_BYTES_MAX, CHUNK_CHANGES_MAX, CHUNK_OF_CHANGES, Fault, HEAD_BYTES, MAGIC, Signatures,
    VERSION, WINDOW_CHANGES, covering,
};
use crate::change::{Body, Change, Digest, DocumentId};
use crate::columns::{Deflater, Numbers, zigzag};
use crate::encoding::{DecodeError, put_varint};
use crate::keypair::AuthorId;

/// Encodes changes of one document, which come in causal order: each after those of its prev and deps that are
/// among them. A change that comes before one that it refers to is refused by no one and takes 32 bytes more.
///
/// The same changes in the same order give the same bytes. Holds the output, and up to a few times
/// [`CHUNK_BYTES_MAX`] besides. O(bytes), about 5 µs for a small change.
///
/// # Errors
///
/// [`BundleError::OtherDocument`]; [`BundleError::Change`] for a stand-in of a change that was never signed.
pub fn encode(changes: &[Change], signatures: Signatures) -> Result<Vec<u8>, BundleError> {
    let mut encoder = Encoder::new();
    for (change, keep_signature) in changes.iter().zip(covering::kept(changes, signatures)) {
        encoder.push(change, keep_signature)?;
    }
    Ok(encoder.finish())
}

/// Encodes changes that come one after the other, as [`encode`] does. It is for its caller to know which
/// signatures cover the others.
pub struct Encoder {
    document: Option<DocumentId>,
    /// The head, to be filled in, and the chunks.
    out: Vec<u8>,
    bytes: u64,
    seen: Seen,
    index: Index,
    chunk: Chunk,
    chunks: u64,
    deflater: Deflater,
}

/// Where in the bundle things are.
#[derive(Default)]
struct Index {
    authors: HashMap<AuthorId, u32>,
    changes: HashMap<Digest, u64>,
    outside: HashMap<Digest, u64>,
}

/// A chunk that is being filled.
struct Chunk {
    count: usize,
    bytes: usize,
    new_authors: Vec<AuthorId>,
    new_outside: Vec<Digest>,
    signatures: Vec<[u8; 64]>,
    changes: ChangeColumns<Numbers>,
    ops: OpWriter,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// Begins a bundle.
    pub fn new() -> Self {
        Self {
            document: None,
            out: vec![0; HEAD_BYTES + 4],
            bytes: 0,
            seen: Seen::default(),
            index: Index::default(),
            chunk: Chunk::new(),
            chunks: 0,
            deflater: Deflater::new(),
        }
    }

    /// Adds a change, with its signature or without.
    ///
    /// # Errors
    ///
    /// As [`encode`]; the bundle is then as it was.
    pub fn push(&mut self, change: &Change, keep_signature: bool) -> Result<(), BundleError> {
        let place = self.seen.window.count();
        let (found, expected) = (change.document(), self.document.unwrap_or(change.document()));
        if found != expected {
            return Err(BundleError::OtherDocument { change: place, found, expected });
        }
        let fault = |error: DecodeError| Fault::from(error).in_chunk(self.chunks, place);
        if change.seq() == 0 {
            return Err(fault(DecodeError::Malformed("seq is 0: this change was never signed")));
        }
        let body = Body::decode(change.body_bytes()).map_err(fault)?;
        let len = change.bytes().len();
        if self.chunk.count == CHUNK_CHANGES_MAX || self.chunk.bytes + len > CHUNK_BYTES_MAX {
            self.flush();
        }
        let author = self.author(change.author());
        self.put_header(change, author);
        self.put_ops(change, &body, author).map_err(|error| error.in_chunk(self.chunks, place))?;
        self.chunk.changes.is_signed.push(keep_signature.into());
        if keep_signature {
            self.chunk.signatures.push(*change.signature());
        }
        self.chunk.count += 1;
        self.chunk.bytes += len;
        self.document = Some(found);
        self.bytes += len as u64;
        self.seen.note(change, author as usize);
        self.index.changes.insert(change.digest(), place);
        Ok(())
    }

    /// Ends the bundle and returns it.
    pub fn finish(mut self) -> Vec<u8> {
        self.flush();
        let mut head = Vec::with_capacity(HEAD_BYTES + 4);
        head.extend_from_slice(MAGIC);
        head.push(VERSION);
        head.extend_from_slice(&self.document.unwrap_or(DocumentId([0; 32])).0);
        head.extend_from_slice(&self.seen.window.count().to_le_bytes());
        head.extend_from_slice(&self.bytes.to_le_bytes());
        head.extend_from_slice(&crc32fast::hash(&head).to_le_bytes());
        if let Some(place) = self.out.get_mut(..head.len()) {
            place.copy_from_slice(&head);
        }
        self.out
    }

    /// The number of an author.
    fn author(&mut self, id: AuthorId) -> u32 {
        let Self { seen, index, chunk, .. } = self;
        *index.authors.entry(id).or_insert_with(|| {
            seen.authors.push(SeenAuthor::new(id));
            chunk.new_authors.push(id);
            seen.authors.len() as u32 - 1
        })
    }

    /// How far back in the bundle a change is; none for one that is outside, whose number is put down.
    fn distance(&mut self, digest: &Digest) -> Option<u64> {
        let Self { seen, index, .. } = self;
        let distance = index.changes.get(digest).map(|place| seen.window.count() - place);
        distance.filter(|distance| *distance <= WINDOW_CHANGES as u64)
    }

    fn put_outside(&mut self, digest: &Digest) {
        let Self { seen, index, chunk, .. } = self;
        let number = *index.outside.entry(*digest).or_insert_with(|| {
            seen.outside.push(*digest);
            chunk.new_outside.push(*digest);
            seen.outside.len() as u64 - 1
        });
        chunk.changes.outside.push(number);
    }

    fn put_header(&mut self, change: &Change, author: u32) {
        let header = change.header();
        let (last, last_seq, next_number) = match self.seen.authors.get(author as usize) {
            Some(author) => (author.last, author.seq, author.next_number),
            None => (None, 0, 1),
        };
        let step = |n: u64, from: u64| zigzag(n.wrapping_sub(from) as i64);
        let columns = &mut self.chunk.changes;
        columns.author.push(author.into());
        columns.seq.push(step(header.seq, last_seq.wrapping_add(1)));
        columns.first_number.push(step(header.first_counter, next_number));
        columns.deps.push(header.deps.len() as u64);
        let mut highest = 0;
        if let Some(prev) = &header.prev {
            let code = match (last, self.distance(prev)) {
                (Some((digest, lamport)), _) if digest == *prev => {
                    highest = lamport;
                    0
                }
                (_, Some(distance)) => 1 + distance,
                (_, None) => 1,
            };
            self.chunk.changes.prev.push(code);
            match code {
                0 => {}
                1 => self.put_outside(prev),
                distance => highest = self.lamport_back(distance - 1),
            }
        }
        let mut distances: Vec<u64> = header.deps.iter().filter_map(|dep| self.distance(dep)).collect();
        distances.sort_unstable();
        for distance in distances {
            highest = highest.max(self.lamport_back(distance));
            self.chunk.changes.dep.push(distance);
        }
        for dep in &header.deps {
            if self.distance(dep).is_none() {
                self.chunk.changes.dep.push(0);
                self.put_outside(dep);
            }
        }
        self.chunk.changes.lamport.push(step(header.lamport, highest.wrapping_add(1)));
    }

    fn lamport_back(&self, distance: u64) -> u64 {
        self.seen.window.back(distance).map_or(0, |(_, lamport)| lamport)
    }

    fn put_ops(&mut self, change: &Change, body: &Body, author: u32) -> Result<(), Fault> {
        let mut cast = Cast { author, table: Vec::with_capacity(body.authors.len()) };
        self.chunk.changes.named.push(body.authors.len() as u64);
        for id in &body.authors {
            let number = self.author(*id);
            self.chunk.changes.named_author.push(number.into());
            cast.table.push(number);
        }
        let Chunk { changes, ops, .. } = &mut self.chunk;
        changes.ops.push(body.ops.len() as u64);
        let mut own = change.header().first_counter;
        for op in &body.ops {
            changes.rank.push(op.rank as u64);
            changes.kind.push(ops.write(op, change.body_bytes(), own, &cast, &mut self.seen.expected)?);
            own = own.wrapping_add(op.span());
        }
        Ok(())
    }

    /// Writes the chunk and begins the next.
    fn flush(&mut self) {
        let chunk = std::mem::replace(&mut self.chunk, Chunk::new());
        if chunk.count == 0 {
            return;
        }
        let payload = chunk.into_payload(&mut self.deflater);
        let len = u32::try_from(payload.len()).expect("a chunk is bounded far below 4 GiB");
        self.out.extend_from_slice(&len.to_le_bytes());
        self.out.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
        self.out.extend_from_slice(&payload);
        self.chunks += 1;
    }
}

impl Chunk {
    fn new() -> Self {
        let Ok(changes) = ChangeColumns::make(0, |_, _| Ok::<_, Infallible>(Numbers::default()));
        Self {
            count: 0,
            bytes: 0,
            new_authors: Vec::new(),
            new_outside: Vec::new(),
            signatures: Vec::new(),
            changes,
            ops: OpWriter::new(),
        }
    }

    fn into_payload(self, deflater: &mut Deflater) -> Vec<u8> {
        let mut out = vec![CHUNK_OF_CHANGES];
        put_varint(&mut out, self.count as u64);
        put_varint(&mut out, self.new_authors.len() as u64);
        self.new_authors.iter().for_each(|author| out.extend_from_slice(&author.0));
        put_varint(&mut out, self.new_outside.len() as u64);
        self.new_outside.iter().for_each(|digest| out.extend_from_slice(&digest.0));
        put_varint(&mut out, self.signatures.len() as u64);
        self.signatures.iter().for_each(|signature| out.extend_from_slice(signature));
        self.changes.each(0, |id, column| column.put_column(&mut out, id, deflater));
        self.ops.put_columns(&mut out, deflater);
        out
    }
}

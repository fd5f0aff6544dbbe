//! From bytes to messages. Every limit is checked before anything is allocated or worked for.

use bft_json_crdt::{AuthorId, Change, Digest, DocumentId, bundle};
use bytes::Bytes;

use super::catalog::{BUCKETS, Catalog, bucket_of};
use super::codec::Reader;
use super::frame::{Abilities, Accepts, Frame, FrameError, HeldDocument, Hello, RefuseCode};
use super::kind;
use crate::limits::{
    ASK_DIGESTS_MAX, CALL_BYTES_MAX, DOCUMENT_NUMBERS_MAX, DOCUMENTS_MAX, FRAME_BYTES_MAX,
    FRAME_CHANGE_BYTES_MAX, FRAME_CHANGES_MAX, PAGE_DOCUMENTS_MAX, PRESENCE_BYTES_MAX, REASON_BYTES_MAX,
    RECORD_BYTES_MAX, RECORDS_MAX,
};

/// Most bytes of a refusal's sentence.
const REFUSAL_BYTES_MAX: usize = 4 * REASON_BYTES_MAX;

/// Reads a frame. Signatures are not checked here.
///
/// Takes time in proportion to the frame's bytes; for a bundle, to those of its changes, of which there are
/// [`FRAME_CHANGE_BYTES_MAX`] at most.
///
/// # Errors
/// [`FrameError`] for everything that [`encode`](super::encode) or [`bundle_of`](super::bundle_of) does not write.
pub fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
    if bytes.len() > FRAME_BYTES_MAX {
        let found = bytes.len() as u64;
        return Err(FrameError::OverLimit { what: "frame bytes", found, max: FRAME_BYTES_MAX as u64 });
    }
    let mut reader = Reader::new(bytes);
    let frame = body(&mut reader)?;
    reader.end()?;
    Ok(frame)
}

fn body(reader: &mut Reader<'_>) -> Result<Frame, FrameError> {
    Ok(match reader.byte("the kind")? {
        kind::HELLO => Frame::Hello(hello(reader)?),
        kind::PROOF => Frame::Proof(reader.array("a signature")?),
        kind::VECTOR => Frame::Vector {
            document: document(reader)?,
            vector: reader.vector()?,
            accepts: if reader.flag("accepts")? { Accepts::Only(reader.authors()?) } else { Accepts::All },
        },
        kind::CHANGES => Frame::Changes { document: document(reader)?, changes: changes(reader)? },
        kind::BUNDLE => Frame::Changes { document: document(reader)?, changes: bundled(reader.rest())? },
        kind::END => Frame::End {
            document: document(reader)?,
            is_final: reader.flag("the end's flag")?,
            vector: reader.vector()?,
        },
        kind::ASK => {
            let (document, author) = (document(reader)?, AuthorId(reader.array("an author")?));
            let count = reader.count("digests of an ask", ASK_DIGESTS_MAX, 32)?;
            let digests = (0..count).map(|_| reader.array("a digest").map(Digest));
            Frame::Ask { document, author, digests: digests.collect::<Result<_, _>>()? }
        }
        kind::HAVE => {
            let (document, author) = (document(reader)?, AuthorId(reader.array("an author")?));
            let count = reader.count("answers to an ask", ASK_DIGESTS_MAX, 1)?;
            let held = (0..count).map(|_| reader.flag("an answer"));
            Frame::Have { document, author, held: held.collect::<Result<_, _>>()? }
        }
        kind::ACK => Frame::Ack { document: document(reader)?, vector: reader.vector()? },
        kind::HELD => Frame::Held { document: document(reader)?, authors: reader.authors()? },
        kind::PRESENCE => {
            Frame::Presence(Bytes::copy_from_slice(reader.bytes("a presence", PRESENCE_BYTES_MAX)?))
        }
        kind::CALL => Frame::Call {
            id: reader.varint("a call's id")?,
            method: u32::try_from(reader.varint("a method")?)
                .map_err(|_| FrameError::NotCanonical("a method"))?,
            body: Bytes::copy_from_slice(reader.bytes("a call", CALL_BYTES_MAX)?),
        },
        kind::REPLY => Frame::Reply {
            id: reader.varint("a call's id")?,
            is_done: !reader.flag("a reply's flag")?,
            body: Bytes::copy_from_slice(reader.bytes("a reply", CALL_BYTES_MAX)?),
        },
        kind::RECORDS => {
            let count = reader.count("records", RECORDS_MAX, 1)?;
            let records = (0..count).map(|_| reader.bytes("a record", RECORD_BYTES_MAX));
            Frame::Records(
                records.map(|record| record.map(Bytes::copy_from_slice)).collect::<Result<_, _>>()?,
            )
        }
        kind::REFUSE => {
            let code = RefuseCode::of(reader.byte("a code")?);
            let reason = str::from_utf8(reader.bytes("a refusal", REFUSAL_BYTES_MAX)?);
            let reason = reason.map_err(|_| FrameError::NotCanonical("a refusal's text"))?;
            Frame::Refuse { code, reason: reason.to_owned() }
        }
        kind::OPEN => Frame::Open {
            document: held(reader)?,
            answers: if reader.flag("the answer's flag")? { Some(document(reader)?) } else { None },
        },
        kind::CLOSE => Frame::Close { document: document(reader)? },
        kind::NEWS => Frame::News(held(reader)?),
        kind::CATALOG => Frame::Catalog(catalog(reader)?),
        other => return Err(FrameError::UnknownKind(other)),
    })
}

fn document(reader: &mut Reader<'_>) -> Result<u32, FrameError> {
    let found = reader.varint("a document")?;
    let max = DOCUMENT_NUMBERS_MAX;
    let over = || FrameError::OverLimit { what: "a document's number", found, max: max.into() };
    u32::try_from(found).ok().filter(|number| *number < max).ok_or_else(over)
}

fn held(reader: &mut Reader<'_>) -> Result<HeldDocument, FrameError> {
    let id = DocumentId(reader.array("a document's id")?);
    let root = Digest(reader.array("a root")?);
    if id == Abilities::ID {
        Err(FrameError::NotCanonical("the abilities"))
    } else {
        Ok(HeldDocument { id, root })
    }
}

fn catalog(reader: &mut Reader<'_>) -> Result<Catalog, FrameError> {
    Ok(match reader.byte("what of a catalog")? {
        0 => Catalog::Summary(reader.array("a summary")?),
        1 => {
            let mut hashes = Box::new([[0; 8]; BUCKETS]);
            for hash in hashes.iter_mut() {
                *hash = reader.array("a bucket's hash")?;
            }
            Catalog::Buckets(hashes)
        }
        2 => {
            let bucket = reader.byte("a bucket")?;
            let after = match reader.flag("after")? {
                true => Some(DocumentId(reader.array("a document's id")?)),
                false => None,
            };
            if after.is_some_and(|id| bucket_of(&id) != bucket) {
                return Err(FrameError::NotCanonical("an id of another bucket"));
            }
            Catalog::Ask { bucket, after }
        }
        3 => {
            let bucket = reader.byte("a bucket")?;
            let is_last = reader.flag("the page's flag")?;
            let count = reader.count("documents of a page", PAGE_DOCUMENTS_MAX, 64)?;
            let mut documents: Vec<HeldDocument> = Vec::with_capacity(count);
            for _ in 0..count {
                let document = held(reader)?;
                if bucket_of(&document.id) != bucket {
                    return Err(FrameError::NotCanonical("an id of another bucket"));
                }
                if documents.last().is_some_and(|last| last.id.0 >= document.id.0) {
                    return Err(FrameError::NotCanonical("the order of ids"));
                }
                documents.push(document);
            }
            if documents.is_empty() && !is_last {
                return Err(FrameError::NotCanonical("an empty page with more behind it"));
            }
            Catalog::Page { bucket, is_last, documents }
        }
        _ => return Err(FrameError::NotCanonical("what of a catalog")),
    })
}

fn hello(reader: &mut Reader<'_>) -> Result<Hello, FrameError> {
    let version = reader.varint("the version")?;
    if version != 2 {
        return Err(FrameError::Version(version));
    }
    let key = AuthorId(reader.array("a key")?);
    let nonce = reader.array("a nonce")?;
    let is_bound = reader.flag("the channel")?;
    let count = reader.count("documents", DOCUMENTS_MAX, 64)?;
    let (mut documents, mut abilities) = (Vec::with_capacity(count), None);
    for at in 1..=count {
        let id = DocumentId(reader.array("a document's id")?);
        let root = Digest(reader.array("a root")?);
        if id != Abilities::ID {
            documents.push(HeldDocument { id, root });
        } else if at == count {
            abilities = Some(Abilities(root.0));
        } else {
            return Err(FrameError::NotCanonical("the place of the abilities"));
        }
    }
    Ok(Hello { key, nonce, is_bound, documents, abilities })
}

fn changes(reader: &mut Reader<'_>) -> Result<Vec<Change>, FrameError> {
    let count = reader.count("changes", FRAME_CHANGES_MAX, 65)?;
    if count == 0 {
        return Err(FrameError::NotCanonical("a frame without changes"));
    }
    let mut changes = Vec::with_capacity(count);
    for at in 0..count {
        let bytes = reader.bytes("a change", FRAME_BYTES_MAX)?;
        let signature = reader.array("a signature")?;
        changes.push(Change::decode(bytes, signature).map_err(|error| FrameError::Change { at, error })?);
    }
    Ok(changes)
}

fn bundled(bytes: &[u8]) -> Result<Vec<Change>, FrameError> {
    let decoder = bundle::decode(bytes)?;
    let limits = [
        ("changes", decoder.change_count(), FRAME_CHANGES_MAX),
        ("bytes of changes", decoder.change_bytes(), FRAME_CHANGE_BYTES_MAX),
    ];
    for (what, found, max) in limits {
        if found > max as u64 {
            return Err(FrameError::OverLimit { what, found, max: max as u64 });
        }
    }
    let changes: Vec<Change> =
        decoder.map(|change| change.map(|bundled| bundled.change)).collect::<Result<_, _>>()?;
    if changes.is_empty() { Err(FrameError::NotCanonical("a bundle without changes")) } else { Ok(changes) }
}

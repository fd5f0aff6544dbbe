//! From messages to bytes.

use bft_json_crdt::bundle::{self, BundleError, Signatures};
use bft_json_crdt::{Change, Digest};

use super::catalog::Catalog;
use super::codec::{put_authors, put_bytes, put_varint, put_vector};
use super::frame::{Abilities, Accepts, Frame, HeldDocument};
use super::kind;

/// Returns the bytes of a frame. The changes of a frame that was a bundle are written one by one.
#[must_use]
pub fn encode(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    match frame {
        Frame::Hello(hello) => {
            out.push(kind::HELLO);
            put_varint(&mut out, 2);
            out.extend_from_slice(&hello.key.0);
            out.extend_from_slice(&hello.nonce);
            out.push(hello.is_bound.into());
            put_varint(&mut out, (hello.documents.len() + usize::from(hello.abilities.is_some())) as u64);
            hello.documents.iter().for_each(|document| put_held(&mut out, document));
            if let Some(Abilities(bits)) = &hello.abilities {
                put_held(&mut out, &HeldDocument { id: Abilities::ID, root: Digest(*bits) });
            }
        }
        Frame::Proof(signature) => {
            out.push(kind::PROOF);
            out.extend_from_slice(signature);
        }
        Frame::Vector { document, vector, accepts } => {
            begin(&mut out, kind::VECTOR, *document);
            put_vector(&mut out, vector);
            match accepts {
                Accepts::All => out.push(0),
                Accepts::Only(authors) => {
                    out.push(1);
                    put_authors(&mut out, authors);
                }
            }
        }
        Frame::Changes { document, changes } => put_changes(&mut out, *document, changes.iter()),
        Frame::End { document, is_final, vector } => {
            begin(&mut out, kind::END, *document);
            out.push((*is_final).into());
            put_vector(&mut out, vector);
        }
        Frame::Ask { document, author, digests } => {
            begin(&mut out, kind::ASK, *document);
            out.extend_from_slice(&author.0);
            put_varint(&mut out, digests.len() as u64);
            digests.iter().for_each(|digest| out.extend_from_slice(&digest.0));
        }
        Frame::Have { document, author, held } => {
            begin(&mut out, kind::HAVE, *document);
            out.extend_from_slice(&author.0);
            put_varint(&mut out, held.len() as u64);
            out.extend(held.iter().map(|held| u8::from(*held)));
        }
        Frame::Ack { document, vector } => {
            begin(&mut out, kind::ACK, *document);
            put_vector(&mut out, vector);
        }
        Frame::Held { document, authors } => {
            begin(&mut out, kind::HELD, *document);
            put_authors(&mut out, authors);
        }
        Frame::Presence(bytes) => {
            out.push(kind::PRESENCE);
            put_bytes(&mut out, bytes);
        }
        Frame::Call { id, method, body } => {
            out.push(kind::CALL);
            put_varint(&mut out, *id);
            put_varint(&mut out, (*method).into());
            put_bytes(&mut out, body);
        }
        Frame::Reply { id, is_done, body } => {
            out.push(kind::REPLY);
            put_varint(&mut out, *id);
            out.push((!*is_done).into());
            put_bytes(&mut out, body);
        }
        Frame::Records(records) => {
            out.push(kind::RECORDS);
            put_varint(&mut out, records.len() as u64);
            records.iter().for_each(|record| put_bytes(&mut out, record));
        }
        Frame::Refuse { code, reason } => {
            out.push(kind::REFUSE);
            out.push(code.byte());
            put_bytes(&mut out, reason.as_bytes());
        }
        Frame::Open { document, answers } => {
            out.push(kind::OPEN);
            put_held(&mut out, document);
            match answers {
                None => out.push(0),
                Some(number) => {
                    out.push(1);
                    put_varint(&mut out, (*number).into());
                }
            }
        }
        Frame::Close { document } => begin(&mut out, kind::CLOSE, *document),
        Frame::News(document) => {
            out.push(kind::NEWS);
            put_held(&mut out, document);
        }
        Frame::Catalog(catalog) => {
            out.push(kind::CATALOG);
            put_catalog(&mut out, catalog);
        }
    }
    out
}

fn put_held(out: &mut Vec<u8>, document: &HeldDocument) {
    out.extend_from_slice(&document.id.0);
    out.extend_from_slice(&document.root.0);
}

fn put_catalog(out: &mut Vec<u8>, catalog: &Catalog) {
    match catalog {
        Catalog::Summary(summary) => {
            out.push(0);
            out.extend_from_slice(summary);
        }
        Catalog::Buckets(hashes) => {
            out.push(1);
            out.extend_from_slice(hashes.as_flattened());
        }
        Catalog::Ask { bucket, after } => {
            out.extend_from_slice(&[2, *bucket, after.is_some().into()]);
            out.extend(after.iter().flat_map(|id| id.0));
        }
        Catalog::Page { bucket, is_last, documents } => {
            out.extend_from_slice(&[3, *bucket, (*is_last).into()]);
            put_varint(out, documents.len() as u64);
            documents.iter().for_each(|document| put_held(out, document));
        }
    }
}

/// Returns the bytes of a frame with these changes, one by one: cheapest for a few.
#[must_use]
pub fn changes_of<'a>(document: u32, changes: impl ExactSizeIterator<Item = &'a Change>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + changes.len() * 320);
    put_changes(&mut out, document, changes);
    out
}

/// Returns the bytes of a frame with these changes as a bundle: compressed, and a fraction of the size.
///
/// # Errors
/// If the changes are not all of one document.
pub fn bundle_of(document: u32, changes: &[Change], signatures: Signatures) -> Result<Vec<u8>, BundleError> {
    let mut out = Vec::new();
    begin(&mut out, kind::BUNDLE, document);
    out.extend_from_slice(&bundle::encode(changes, signatures)?);
    Ok(out)
}

fn begin(out: &mut Vec<u8>, kind: u8, document: u32) {
    out.push(kind);
    put_varint(out, document.into());
}

fn put_changes<'a>(out: &mut Vec<u8>, document: u32, changes: impl ExactSizeIterator<Item = &'a Change>) {
    begin(out, kind::CHANGES, document);
    put_varint(out, changes.len() as u64);
    for change in changes {
        put_bytes(out, change.bytes());
        out.extend_from_slice(change.signature());
    }
}

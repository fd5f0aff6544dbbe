//! From messages to bytes.

use bft_json_crdt::Change;
use bft_json_crdt::bundle::{self, BundleError, Signatures};

use super::codec::{put_authors, put_bytes, put_varint, put_vector};
use super::frame::{Accepts, Frame};
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
            put_varint(&mut out, hello.documents.len() as u64);
            for document in &hello.documents {
                out.extend_from_slice(&document.id.0);
                out.extend_from_slice(&document.root.0);
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
    }
    out
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

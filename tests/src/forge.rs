//! Changes that no honest node makes: well formed, with a signature over their digest, and lies all the same.

use bft_json_crdt::DecodeError;
use bft_json_crdt::json_crdt::{Change, Digest, DocumentId, SignedOp};
use bft_json_crdt::keypair::{AuthorId, Keypair};

/// All of a change but its ops.
#[derive(Clone, Debug)]
pub struct Header {
    /// Which document it belongs to.
    pub document: DocumentId,
    /// In whose name it is.
    pub author: AuthorId,
    /// The position in the author's chain.
    pub seq: u64,
    /// The author's previous change; there is one exactly if `seq` is more than 1.
    pub prev: Option<Digest>,
    /// The logical time.
    pub lamport: u64,
    /// The first op number.
    pub counter: u64,
    /// The other heads.
    pub deps: Vec<Digest>,
}

/// Returns `op` with another header, signed anew with `keypair`.
///
/// # Panics
///
/// If what comes out is not well formed.
#[must_use]
pub fn with_header(op: &SignedOp, keypair: &Keypair, edit: impl FnOnce(&mut Header)) -> SignedOp {
    let (mut header, body) = taken_apart(op.change());
    edit(&mut header);
    let change = put_together(&header, body).expect("a header that is well formed");
    let change = change.with_signature(keypair.sign(&change.digest().0));
    assert_eq!(change.verify(), change.author() == keypair.author());
    SignedOp::try_from(change).expect("one op, as before")
}

/// Returns the header of a change, and the bytes of its body.
#[must_use]
pub fn taken_apart(change: &Change) -> (Header, &[u8]) {
    // As the drawing in `bft_json_crdt::change` has it.
    let mut reader = Reader(change.bytes());
    let (document, author) = (DocumentId(reader.id()), AuthorId(reader.id()));
    let seq = reader.varint();
    let prev = (seq > 1).then(|| Digest(reader.id()));
    let (lamport, counter) = (reader.varint(), reader.varint());
    let deps = (0..reader.varint()).map(|_| Digest(reader.id())).collect();
    (Header { document, author, seq, prev, lamport, counter, deps }, reader.0)
}

/// Returns a body from its author table on, and how many authors that has.
#[must_use]
pub fn table_of(body: &[u8]) -> (&[u8], usize) {
    let mut reader = Reader(body);
    let authors = reader.varint();
    (reader.0, usize::try_from(authors).unwrap_or(usize::MAX))
}

/// Makes an unsigned change of a header and a body.
///
/// # Errors
///
/// [`DecodeError`] for what is no change.
pub fn put_together(header: &Header, body: &[u8]) -> Result<Change, DecodeError> {
    let mut forged = Vec::new();
    forged.extend(header.document.0);
    forged.extend(header.author.0);
    put_varint(&mut forged, header.seq);
    forged.extend(header.prev.iter().flat_map(|prev| prev.0));
    put_varint(&mut forged, header.lamport);
    put_varint(&mut forged, header.counter);
    put_varint(&mut forged, header.deps.len() as u64);
    forged.extend(header.deps.iter().flat_map(|dep| dep.0));
    forged.extend_from_slice(body);
    Change::decode(&forged, [0; 64])
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn varint(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (byte, rest) = self.0.split_first().expect("bytes of a change");
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return number;
            }
        }
    }

    fn id(&mut self) -> [u8; 32] {
        let (id, rest) = self.0.split_first_chunk().expect("bytes of a change");
        self.0 = rest;
        *id
    }
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn an_untouched_header_gives_the_same_change() {
        for change in sample::history() {
            let mut keypairs = [sample::alice(), sample::bob()].into_iter();
            let keypair = keypairs.find(|keypair| keypair.author() == change.author()).unwrap();
            let op = SignedOp::try_from(change).unwrap();
            assert_eq!(with_header(&op, &keypair, |_| {}), op);
        }
    }
}

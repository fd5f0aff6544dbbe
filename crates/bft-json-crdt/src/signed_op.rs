//! [`SignedOp`]: a change that holds exactly one op, and its JSON form.
//!
//! The JSON form spells out what the canonical encoding holds, with byte strings as hex:
//!
//! ```json
//! {"document": "00…", "author": "8a…", "seq": 2, "prev": "1f…", "deps": [], "lamport": 7, "counter": 12,
//!  "rank": 1,
//!  "op": {"set": {"target": {"node": {"author": "8a…", "counter": 3}}, "overwrites": [], "value": "2_current"}},
//!  "digest": "90…", "signature": "5c…"}
//! ```
//!
//! Decoding encodes the fields canonically and compares the digest, so that nothing which JSON text leaves
//! open (order, white space, escapes) can change what was signed.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::change::{Body, Change, Digest, DocumentId, Header, op_id};
use crate::encoding::DecodeError;
use crate::hex;
use crate::keypair::AuthorId;
use crate::op::{LongName, Name, Op, OpId, OpKind, Rank};
use crate::value::JsonValue;

/// A change with exactly one op: what the short API signs and v1 of the wire carries.
///
/// Two are equal when their digests are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedOp {
    change: Change,
}

/// The change does not hold exactly one op.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a signed op is a change with one op, this one has {0}")]
pub struct NotOneOp(pub usize);

impl TryFrom<Change> for SignedOp {
    type Error = NotOneOp;
    fn try_from(change: Change) -> Result<Self, NotOneOp> {
        match change.op_count() {
            1 => Ok(Self { change }),
            n => Err(NotOneOp(n)),
        }
    }
}

impl From<SignedOp> for Change {
    fn from(op: SignedOp) -> Self {
        op.change
    }
}

impl SignedOp {
    /// What the short API returns for an edit that got no signature: every replica refuses it.
    pub(crate) fn refused(document: DocumentId, author: AuthorId) -> Self {
        Self { change: Change::refused(document, author) }
    }

    /// Wraps a change that was made of one op.
    pub(crate) fn of_one_op(change: Change) -> Self {
        Self { change }
    }

    /// Returns whether the edit got a signature and a place in its author's chain.
    pub fn is_signed(&self) -> bool {
        self.change.seq() > 0
    }

    /// Returns the op as a change.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// Turns the op into a change.
    pub fn into_change(self) -> Change {
        self.change
    }

    /// Returns the op's id, which is also the id of the element that it inserts. O(length).
    pub fn id(&self) -> OpId {
        let header = self.change.header();
        op_id(&header.document, &header.author, header.first_counter, self.change.body_bytes())
    }

    /// Returns who authored the op.
    pub fn author(&self) -> AuthorId {
        self.change.author()
    }

    /// Returns the digest that the signature covers.
    pub fn digest(&self) -> Digest {
        self.change.digest()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    document: DocumentId,
    author: AuthorId,
    seq: u64,
    prev: Option<Digest>,
    deps: Vec<Digest>,
    lamport: u64,
    counter: u64,
    #[serde(default = "rank_edit", skip_serializing_if = "is_rank_edit")]
    rank: u8,
    op: OpKind<LongName, JsonValue>,
    digest: Digest,
    #[serde(with = "hex::bytes")]
    signature: [u8; 64],
}

fn rank_edit() -> u8 {
    Rank::Edit as u8
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_rank_edit(rank: &u8) -> bool {
    *rank == rank_edit()
}

impl Serialize for SignedOp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let change = &self.change;
        let header = change.header();
        let bytes = change.body_bytes();
        let body = Body::decode(bytes).map_err(ser::Error::custom)?;
        let Some(op) = body.ops.into_iter().next() else {
            return Err(ser::Error::custom("an op that was refused when it was made cannot be sent"));
        };
        let authors = body.authors;
        let long = |name: Name| -> Result<LongName, DecodeError> {
            let author = match (name.author as usize).checked_sub(1) {
                None => header.author,
                Some(index) => {
                    *authors.get(index).ok_or(DecodeError::Malformed("a name beyond the table"))?
                }
            };
            Ok(LongName { author, counter: name.counter })
        };
        let op = op.with_value(bytes).and_then(|op| op.map(long, |value| Ok(value.spelled())));
        let op = op.map_err(ser::Error::custom)?;
        Fields {
            document: header.document,
            author: header.author,
            seq: header.seq,
            prev: header.prev,
            deps: header.deps.clone(),
            lamport: header.lamport,
            counter: header.first_counter,
            rank: op.rank as u8,
            op: op.kind,
            digest: change.digest(),
            signature: *change.signature(),
        }
        .serialize(s)
    }
}

impl<'de> Deserialize<'de> for SignedOp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let fields = Fields::deserialize(d)?;
        let claimed = fields.digest;
        let change = build(fields).map_err(de::Error::custom)?;
        if change.digest() != claimed {
            return Err(de::Error::custom(format_args!(
                "digest {claimed} does not match the op, which hashes to {}",
                change.digest()
            )));
        }
        Ok(Self { change })
    }
}

fn build(fields: Fields) -> Result<Change, DecodeError> {
    let op = Op { rank: Rank::from_byte(fields.rank)?, kind: fields.op };
    let plain = |value: JsonValue| value.unspelled().ok_or(DecodeError::Malformed("$text needs a string"));
    let op = op.map(Ok, plain)?;
    let body = Body::encode_alone(&fields.author, op)?;
    let header = Header {
        document: fields.document,
        author: fields.author,
        seq: fields.seq,
        prev: fields.prev,
        lamport: fields.lamport,
        first_counter: fields.counter,
        deps: fields.deps,
    };
    let mut bytes = Vec::new();
    header.encode(&mut bytes);
    bytes.extend_from_slice(&body);
    // Through the decoder, so that one place alone judges what is well formed.
    Change::decode(&bytes, fields.signature)
}

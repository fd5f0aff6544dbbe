//! What nodes say to each other in version 2.

use std::collections::BTreeSet;

use bft_json_crdt::bundle::BundleError;
use bft_json_crdt::json_crdt::VersionVector;
use bft_json_crdt::{AuthorId, Change, Digest, DocumentId};
use bytes::Bytes;

use super::catalog::Catalog;

/// A frame of version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first that each side says.
    Hello(Hello),
    /// That the sender has the key that its hello names, on this very connection.
    Proof([u8; 64]),
    /// What the sender holds of a document, and whose changes it takes. Asks for what it lacks.
    Vector {
        /// The document.
        document: u32,
        /// What it holds, on disk.
        vector: VersionVector,
        /// Whose changes it takes.
        accepts: Accepts,
    },
    /// Some changes, each after its past. One without a signature, which is zeros then, has a later one of its
    /// author in the same frame that vouches for it.
    Changes {
        /// The document.
        document: u32,
        /// The changes.
        changes: Vec<Change>,
    },
    /// The sender has given all that it knows the other side to lack.
    End {
        /// The document.
        document: u32,
        /// It has no author whose chain it is unsure of: nothing more will come but what is new.
        is_final: bool,
        /// What the other side must hold by now, unless it holds some of it back.
        vector: VersionVector,
    },
    /// Asks which of these changes, all of one author, the other side holds.
    Ask {
        /// The document.
        document: u32,
        /// The author.
        author: AuthorId,
        /// The changes.
        digests: Vec<Digest>,
    },
    /// Answers an ask, digest by digest.
    Have {
        /// The document.
        document: u32,
        /// The author.
        author: AuthorId,
        /// Whether it holds each.
        held: Vec<bool>,
    },
    /// The sender holds these on disk, among what the other side sent it; only authors of whom that is news.
    Ack {
        /// The document.
        document: u32,
        /// The highest of each author.
        vector: VersionVector,
    },
    /// The sender's trust holds back changes by these authors: they need not be offered again.
    Held {
        /// The document.
        document: u32,
        /// The authors.
        authors: BTreeSet<AuthorId>,
    },
    /// What somebody does at this moment; replaces what was said before, and is never stored.
    Presence(Bytes),
    /// A request.
    Call {
        /// Names it, to its caller.
        id: u64,
        /// What is wanted.
        method: u32,
        /// The request.
        body: Bytes,
    },
    /// Answers a call.
    Reply {
        /// Of the call.
        id: u64,
        /// It was carried out; else the body is a sentence that says why not.
        is_done: bool,
        /// The answer.
        body: Bytes,
    },
    /// Grants and revocations that the sender goes by.
    Records(Vec<Bytes>),
    /// The sender ends the session, and says why.
    Refuse {
        /// For programs.
        code: RefuseCode,
        /// For people: what is wrong, and what to do.
        reason: String,
    },
    /// The sender serves another document from here on, under the next of its numbers.
    Open {
        /// What it holds of the document, on disk.
        document: HeldDocument,
        /// The number under which the other side serves it. The two share the document from here on, until one of them
        /// closes its number; none where the other side, as far as the sender knows, does not serve it.
        answers: Option<u32>,
    },
    /// The sender serves a document no longer: this number is over.
    Close {
        /// The document.
        document: u32,
    },
    /// The sender holds more of a document than it has said before, whether it serves it at this moment or not.
    News(HeldDocument),
    /// What the sender keeps beside the documents that one of the two serves.
    Catalog(Catalog),
}

/// The first frame of a side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who it is.
    pub key: AuthorId,
    /// Fresh, so that no proof serves twice.
    pub nonce: [u8; 32],
    /// The sender sees the encrypted channel's own name, and signs it.
    pub is_bound: bool,
    /// Its documents. From here on they go by their place in this list.
    pub documents: Vec<HeldDocument>,
    /// What it can beside version 2 as that began; none from nodes of that time.
    pub abilities: Option<Abilities>,
}

impl Hello {
    /// Tells whether the sender knows that documents come and go: frames from `open` on.
    #[must_use]
    pub fn opens_documents(&self) -> bool {
        self.abilities.is_some_and(|Abilities([first, ..])| first & 1 != 0)
    }
}

/// What a node can, bit by bit. Those that are not known are ignored, and signed with the rest of the hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities(pub [u8; 32]);

impl Abilities {
    /// Stands where a document's id would: 32 bytes, which no document has.
    pub(super) const ID: DocumentId = DocumentId(*b"gangline sync 2 abilities\0\0\0\0\0\0\0");

    /// All that this program can.
    #[must_use]
    pub fn all() -> Self {
        let mut bits = [0; 32];
        let [first, ..] = &mut bits;
        *first = 1;
        Self(bits)
    }
}

/// A document that a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldDocument {
    /// Its id.
    pub id: DocumentId,
    /// What the node holds of it: see [`root`](super::root).
    pub root: Digest,
}

/// Whose changes a node takes, unless one of theirs builds on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// Everybody's.
    All,
    /// These authors'.
    Only(BTreeSet<AuthorId>),
}

/// Why a node ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefuseCode {
    /// The key may not connect.
    NotTrusted,
    /// The proof is not that of the key in the hello.
    BadProof,
    /// A frame at the wrong time, or one that answers nothing.
    Protocol,
    /// What the other side said it gave did not come.
    Incomplete,
    /// One that this version does not know.
    Other(u8),
}

impl RefuseCode {
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::NotTrusted => 1,
            Self::BadProof => 2,
            Self::Protocol => 3,
            Self::Incomplete => 4,
            Self::Other(byte) => byte,
        }
    }

    pub(super) fn of(byte: u8) -> Self {
        match byte {
            1 => Self::NotTrusted,
            2 => Self::BadProof,
            3 => Self::Protocol,
            4 => Self::Incomplete,
            other => Self::Other(other),
        }
    }
}

/// Bytes that are no frame of version 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame ends in the middle of a field.
    #[error("the frame ends in the middle of {0}")]
    Truncated(&'static str),
    /// Bytes follow where it should end.
    #[error("{0} bytes follow the end of the frame")]
    TrailingBytes(usize),
    /// A kind of frame that this version does not know.
    #[error("unknown kind of frame {0:#04x}")]
    UnknownKind(u8),
    /// A version that this node does not speak.
    #[error("version {0} of the protocol, not 2")]
    Version(u64),
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
    /// One of the changes is none.
    #[error("change {at} of the frame: {error}")]
    Change {
        /// Its place, from 0.
        at: usize,
        /// Why.
        error: bft_json_crdt::DecodeError,
    },
    /// The bundle is none.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

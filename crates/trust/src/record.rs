//! Grants and revocations: what is signed, drawn byte by byte.
//!
//! ```text
//! statement   byte       kind: 1 grant, 2 revocation, 3 grant of a ticket
//!             32 bytes   document id
//!             32 bytes   issuer: the key that signs
//!             32 bytes   subject: the key that may, or may no more
//!             and in a grant:
//!             byte       rights: 1 connect, 2 read, 4 write, 8 invite, added up; at least one
//!             varint     expires at, milliseconds since 1970; 0 is never
//!             bytes      name of the subject, UTF-8 without control characters, at most 64 bytes
//!             16 bytes   random, so that the same can be granted twice
//!
//! signature   64 bytes   Ed25519 by the issuer over "gangline trust 1\n" ‖ statement
//! record      statement ‖ signature
//! ```
//!
//! The identity of a record is its statement: the same words under another valid signature are the same record.
//! Varints and byte strings are as in the engine's encoding; every statement has exactly one encoding.

use std::fmt;

use bft_json_crdt::DocumentId;
use bft_json_crdt::keypair::{AuthorId, Keypair};

use crate::encoding::{DecodeError, Reader, put_bytes, put_varint};
use crate::rights::Rights;

/// Longest name in a grant, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest record, in bytes.
pub(crate) const RECORD_BYTES_MAX: usize = 1 + 3 * 32 + 1 + 10 + 1 + NAME_BYTES_MAX + 16 + SIGNATURE_BYTES;

const SIGNATURE_BYTES: usize = 64;
/// What every signature of a statement begins with, so that none is worth anything elsewhere.
const DOMAIN: &[u8] = b"gangline trust 1\n";

const GRANT: u8 = 1;
const REVOCATION: u8 = 2;
const TICKET: u8 = 3;

/// Says that a key may do something with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// With which document.
    pub document: DocumentId,
    /// Who says so.
    pub issuer: AuthorId,
    /// Who may.
    pub subject: AuthorId,
    /// What it may, as far as the issuer may itself.
    pub rights: Rights,
    /// The subject is the one-time key of a ticket: it may pass these rights on, and no others.
    pub is_ticket: bool,
    /// What people call the subject; may be empty. At most [`NAME_BYTES_MAX`] bytes, no control characters.
    pub name: String,
    /// Milliseconds since 1970 from which on it counts for nothing; 0 is never.
    pub expires_at_ms: u64,
    /// Random.
    pub id: [u8; 16],
}

impl Grant {
    /// Returns whether it counts for nothing any more.
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms != 0 && self.expires_at_ms <= now_ms
    }
}

/// Says that a key may do nothing with a document any more, whatever was or will be granted to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// With which document.
    pub document: DocumentId,
    /// Who says so.
    pub issuer: AuthorId,
    /// Who may no more.
    pub subject: AuthorId,
}

/// What can be said about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// It may do something.
    Grant(Grant),
    /// It may do nothing any more.
    Revocation(Revocation),
}

/// Why a statement cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// Sign with the issuer's key, or name the key's owner as the issuer.
    #[error("ed25519:{signer} cannot sign for the issuer ed25519:{issuer}")]
    NotTheIssuer {
        /// Who was to sign.
        signer: AuthorId,
        /// Who is named.
        issuer: AuthorId,
    },
    /// Nobody could read it. Correct the field.
    #[error(transparent)]
    Invalid(#[from] DecodeError),
}

/// Why bytes are no record. Ignore them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// They do not follow the encoding.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The issuer did not sign this.
    #[error("the signature is not that of ed25519:{issuer}")]
    Forged {
        /// Who is said to have signed.
        issuer: AuthorId,
    },
}

impl Statement {
    /// Which document it is about.
    #[must_use]
    pub fn document(&self) -> DocumentId {
        match self {
            Self::Grant(grant) => grant.document,
            Self::Revocation(revocation) => revocation.document,
        }
    }

    /// Who says so.
    #[must_use]
    pub fn issuer(&self) -> AuthorId {
        match self {
            Self::Grant(grant) => grant.issuer,
            Self::Revocation(revocation) => revocation.issuer,
        }
    }

    /// Whom it is about.
    #[must_use]
    pub fn subject(&self) -> AuthorId {
        match self {
            Self::Grant(grant) => grant.subject,
            Self::Revocation(revocation) => revocation.subject,
        }
    }

    /// Returns the bytes that are signed, without the domain.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECORD_BYTES_MAX);
        out.push(match self {
            Self::Grant(Grant { is_ticket: false, .. }) => GRANT,
            Self::Grant(Grant { is_ticket: true, .. }) => TICKET,
            Self::Revocation(_) => REVOCATION,
        });
        out.extend_from_slice(&self.document().0);
        out.extend_from_slice(&self.issuer().0);
        out.extend_from_slice(&self.subject().0);
        if let Self::Grant(grant) = self {
            out.push(grant.rights.bits());
            put_varint(&mut out, grant.expires_at_ms);
            put_bytes(&mut out, grant.name.as_bytes());
            out.extend_from_slice(&grant.id);
        }
        out
    }

    /// Reads what [`Statement::encode`] wrote, and nothing else.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.byte("the kind of a statement")?;
        if ![GRANT, REVOCATION, TICKET].contains(&kind) {
            return Err(DecodeError::Unknown { what: "kind of statement", found: kind.into() });
        }
        let document = DocumentId(reader.array("the document id")?);
        let issuer = AuthorId(reader.array("the issuer")?);
        let subject = AuthorId(reader.array("the subject")?);
        if kind == REVOCATION {
            reader.end()?;
            return Ok(Self::Revocation(Revocation { document, issuer, subject }));
        }
        let bits = reader.byte("the rights")?;
        let rights =
            Rights::from_bits(bits).ok_or(DecodeError::Unknown { what: "rights", found: bits.into() })?;
        if rights.is_none() {
            return Err(DecodeError::Malformed("a grant of nothing"));
        }
        let grant = Grant {
            document,
            issuer,
            subject,
            rights,
            is_ticket: kind == TICKET,
            expires_at_ms: reader.varint("the expiry")?,
            name: reader.text("the name", NAME_BYTES_MAX)?.to_owned(),
            id: reader.array("the id of a grant")?,
        };
        reader.end()?;
        Ok(Self::Grant(grant))
    }

    /// Makes a record of it.
    ///
    /// # Errors
    /// If the key is not the issuer's, or a field has a value that nobody would accept.
    pub fn sign(self, key: &Keypair) -> Result<Record, SignError> {
        let (signer, issuer) = (key.author(), self.issuer());
        if signer != issuer {
            return Err(SignError::NotTheIssuer { signer, issuer });
        }
        let mut bytes = self.encode();
        let statement = Self::decode(&bytes)?;
        let signature = key.sign(&signed(&bytes));
        bytes.extend_from_slice(&signature);
        Ok(Record { statement, bytes })
    }
}

/// A statement whose issuer signed it. Nothing but [`Statement::sign`] and [`Record::decode`] makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    statement: Statement,
    bytes: Vec<u8>,
}

impl Record {
    /// Reads a record and checks its signature (about 50 µs).
    ///
    /// # Errors
    /// If the bytes are no record, or the issuer did not sign it.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > RECORD_BYTES_MAX {
            let (found, limit) = (bytes.len() as u64, RECORD_BYTES_MAX as u64);
            return Err(DecodeError::OverLimit { what: "a record", found, limit }.into());
        }
        let Some((words, signature)) = bytes.split_last_chunk::<SIGNATURE_BYTES>() else {
            let needed = SIGNATURE_BYTES.saturating_sub(bytes.len());
            return Err(DecodeError::Truncated { what: "a record", needed }.into());
        };
        let statement = Statement::decode(words)?;
        let issuer = statement.issuer();
        if !issuer.verify(&signed(words), signature) {
            return Err(RecordError::Forged { issuer });
        }
        Ok(Self { statement, bytes: bytes.to_vec() })
    }

    /// Returns the bytes that [`Record::decode`] reads.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns what it says.
    #[must_use]
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Returns the grant, if it is one.
    #[must_use]
    pub fn grant(&self) -> Option<&Grant> {
        match &self.statement {
            Statement::Grant(grant) => Some(grant),
            Statement::Revocation(_) => None,
        }
    }

    /// Returns the revocation, if it is one.
    #[must_use]
    pub fn revocation(&self) -> Option<&Revocation> {
        match &self.statement {
            Statement::Grant(_) => None,
            Statement::Revocation(revocation) => Some(revocation),
        }
    }

    /// What tells it from others: its statement, without the signature.
    pub(crate) fn words(&self) -> &[u8] {
        words(&self.bytes)
    }
}

/// The statement's part of a record's bytes.
pub(crate) fn words(record: &[u8]) -> &[u8] {
    record.split_last_chunk::<SIGNATURE_BYTES>().map_or(record, |(words, _)| words)
}

fn signed(words: &[u8]) -> Vec<u8> {
    [DOMAIN, words].concat()
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.statement.fmt(f)
    }
}

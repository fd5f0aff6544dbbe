//! Tickets: an invitation in one line of text, drawn character by character.
//!
//! ```text
//! ticket    "gangline-ticket:" ‖ base64url without padding of (body ‖ checksum)
//! body      byte       version, 1
//!           varint     count of URLs, 1 to 4
//!           bytes …    URLs of the node, each at most 512 bytes
//!           byte       0, or 1 and
//!           32 bytes   SHA-256 of the node's certificate
//!           32 bytes   seed of the ticket's one-time key
//!           rest       the record that grants rights to that key, see `record.rs`
//! checksum  4 bytes    CRC-32 of the body, little-endian: typing mistakes, not forgeries
//! ```
//!
//! Whoever has the text has the invitation, until it expires or somebody has joined by it: it is a secret.

use std::fmt;
use std::str::FromStr;

use bft_json_crdt::keypair::{AuthorId, Keypair};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use crate::encoding::{DecodeError, Reader, put_bytes, put_varint};
use crate::record::{Grant, Record, RecordError, SignError, Statement};

/// What every ticket begins with.
pub const TICKET_PREFIX: &str = "gangline-ticket:";
/// Most URLs in a ticket.
pub const TICKET_URLS_MAX: usize = 4;
/// Longest URL in a ticket, in bytes.
const URL_BYTES_MAX: usize = 512;
/// Longest ticket, in characters.
const TICKET_CHARS_MAX: usize = 4_096;
const VERSION: u8 = 1;

/// An invitation: where to go, how to know that one has arrived, and what one may do there.
#[derive(Clone)]
pub struct Ticket {
    urls: Vec<String>,
    pin: Option<[u8; 32]>,
    key: Keypair,
    record: Record,
    grant: Grant,
}

/// Why a text is no ticket that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// Give what `gangline invite` printed.
    #[error("a ticket begins with {TICKET_PREFIX}")]
    NoTicket,
    /// Characters are missing or wrong: copy it again, whole.
    #[error("the ticket was not copied whole: its checksum does not fit")]
    Mistyped,
    /// It is of a newer version: update.
    #[error("the ticket is of version {0}, this program knows version {VERSION}")]
    Version(u8),
    /// Nobody should take it: ask for a new one, by a way that you trust.
    #[error("the ticket is forged: {0}")]
    Forged(#[source] RecordError),
    /// Nobody should take it: its parts do not belong together.
    #[error("the ticket is forged: {0}")]
    Contradicts(&'static str),
    /// A part of it is outside of what a ticket can hold.
    #[error("no ticket can be like this: {0}")]
    Malformed(#[from] DecodeError),
}

/// Why nobody can join by a ticket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Ask for a new one.
    #[error("the ticket expired {ago_ms} ms ago")]
    Expired {
        /// For how long.
        ago_ms: u64,
    },
    /// The name is too long or has control characters.
    #[error(transparent)]
    Name(#[from] SignError),
}

impl Ticket {
    /// Makes a ticket. `key` is its one-time key, `grant` what it may pass on: a grant of a ticket to that key,
    /// issued by `issuer`.
    ///
    /// # Errors
    /// If the parts do not belong together or are over a limit.
    pub fn issue(
        urls: Vec<String>,
        pin: Option<[u8; 32]>,
        key: Keypair,
        grant: Grant,
        issuer: &Keypair,
    ) -> Result<Self, TicketError> {
        let record = Statement::Grant(grant).sign(issuer).map_err(|error| match error {
            SignError::Invalid(error) => TicketError::Malformed(error),
            SignError::NotTheIssuer { .. } => TicketError::Contradicts("another key issued its grant"),
        })?;
        let ticket = Self::checked(urls, pin, key, record)?;
        // What nobody could read is not handed out.
        Self::read(&ticket.body())
    }

    fn checked(
        urls: Vec<String>,
        pin: Option<[u8; 32]>,
        key: Keypair,
        record: Record,
    ) -> Result<Self, TicketError> {
        let Some(grant) = record.grant().filter(|grant| grant.is_ticket).cloned() else {
            return Err(TicketError::Contradicts("it holds no grant of a ticket"));
        };
        if grant.subject != key.author() {
            return Err(TicketError::Contradicts("its grant is for another key"));
        }
        Ok(Self { urls, pin, key, record, grant })
    }

    /// Where the node is, best first; at least one.
    #[must_use]
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The SHA-256 of the node's certificate, if it is not one that every machine knows.
    #[must_use]
    pub fn pin(&self) -> Option<[u8; 32]> {
        self.pin
    }

    /// What the ticket's key may pass on.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The record of that grant: whoever issued the ticket knows it, others are told.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Makes the records by which `joiner` has what the ticket says: the ticket's own grant, and one by its
    /// one-time key. `name` is what the joiner wants to be called, unless the ticket says.
    ///
    /// # Errors
    /// If the ticket has expired, or the name is none.
    pub fn join(
        &self,
        joiner: AuthorId,
        name: &str,
        id: [u8; 16],
        now_ms: u64,
    ) -> Result<[Record; 2], JoinError> {
        if self.grant.is_expired(now_ms) {
            return Err(JoinError::Expired { ago_ms: now_ms.saturating_sub(self.grant.expires_at_ms) });
        }
        let name = if self.grant.name.is_empty() { name } else { &self.grant.name };
        let grant = Grant {
            issuer: self.key.author(),
            subject: joiner,
            is_ticket: false,
            name: name.to_owned(),
            id,
            ..self.grant.clone()
        };
        Ok([self.record.clone(), Statement::Grant(grant).sign(&self.key)?])
    }

    fn body(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(vec![VERSION]);
        put_varint(&mut out, self.urls.len() as u64);
        for url in &self.urls {
            put_bytes(&mut out, url.as_bytes());
        }
        match &self.pin {
            None => out.push(0),
            Some(pin) => {
                out.push(1);
                out.extend_from_slice(pin);
            }
        }
        out.extend_from_slice(&*self.key.seed());
        out.extend_from_slice(self.record.bytes());
        out
    }

    fn read(body: &[u8]) -> Result<Self, TicketError> {
        let mut reader = Reader::new(body);
        let version = reader.byte("the version")?;
        if version != VERSION {
            return Err(TicketError::Version(version));
        }
        let count = reader.count("the number of URLs", TICKET_URLS_MAX)?;
        if count == 0 {
            return Err(DecodeError::Malformed("a ticket names a URL").into());
        }
        let mut urls = Vec::new();
        for _ in 0..count {
            urls.push(reader.text("a URL", URL_BYTES_MAX)?.to_owned());
        }
        let pin = match reader.byte("whether there is a pin")? {
            0 => None,
            1 => Some(reader.array("the pin")?),
            found => return Err(DecodeError::Unknown { what: "kind of pin", found: found.into() }.into()),
        };
        let seed = Zeroizing::new(reader.array("the seed")?);
        let record = Record::decode(reader.rest()).map_err(|error| match error {
            RecordError::Malformed(error) => TicketError::Malformed(error),
            forged @ RecordError::Forged { .. } => TicketError::Forged(forged),
        })?;
        Self::checked(urls, pin, Keypair::from_seed(&seed), record)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.body();
        let checksum = crc32fast::hash(&bytes).to_le_bytes();
        bytes.extend_from_slice(&checksum);
        write!(f, "{TICKET_PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let text = text.trim().strip_prefix(TICKET_PREFIX).ok_or(TicketError::NoTicket)?;
        if text.len() > TICKET_CHARS_MAX {
            return Err(TicketError::Mistyped);
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| TicketError::Mistyped)?;
        let bytes = Zeroizing::new(bytes);
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(TicketError::Mistyped)?;
        if crc32fast::hash(body).to_le_bytes() != *checksum {
            return Err(TicketError::Mistyped);
        }
        Self::read(body)
    }
}

/// Without the seed.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("urls", &self.urls).field("grant", &self.grant).finish_non_exhaustive()
    }
}

//! Payloads: JSON objects in the one form in which they are stored, hashed and compared.
//!
//! ```text
//! object    keys in the order of their UTF-8 bytes, none twice; no spaces anywhere
//! integer   as it is, if it fits 64 bits (i64 or u64); a larger one is refused, nobody could read it back
//! number    with a fraction or an exponent: the double nearest to it, in the fewest digits that give it back.
//!           A whole one below 2^53 is an integer (1.0 is 1), others of 0.000001 up to 2^53 are decimals
//!           (0.25), all the rest have an exponent (1e20, 1.5e-7)
//! string    only `"`, `\` and control characters are escaped: \" \\ \b \f \n \r \t, else \u00xx
//! ```
//!
//! The form of a form is itself, so the same payload has the same bytes at every node.

mod number;
mod parse;

use std::{fmt, sync::Arc};

use crate::limits::PAYLOAD_BYTES_MAX;

/// A JSON object in its one form.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Arc<[u8]>);

/// Why bytes are no payload. Correct the place that is named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// Split it, or keep it elsewhere and log where.
    #[error("the payload has {bytes} bytes or more, its limit is {bytes_max}")]
    TooLarge {
        /// What it has, as far as was counted.
        bytes: usize,
        /// What it may have.
        bytes_max: usize,
    },
    /// Objects and arrays stand too deep within each other.
    #[error("the payload is nested deeper than {depth_max} at byte {at}")]
    TooDeep {
        /// Where the first too deep one begins.
        at: usize,
        /// How deep they may stand.
        depth_max: usize,
    },
    /// A key stands twice in one object; parsers differ on which one counts.
    #[error("key {key:?} stands twice in one object of the payload, at byte {at}")]
    DuplicateKey {
        /// Where it stands again.
        at: usize,
        /// The key, cut to 80 characters.
        key: String,
    },
    /// Readers would round it. Send it as text.
    #[error("the integer {text} at byte {at} of the payload does not fit 64 bits; send it as a string")]
    IntegerTooLarge {
        /// Where it stands.
        at: usize,
        /// Its digits, cut to 80 characters.
        text: String,
    },
    /// It is beyond what a double can say. Send it as text.
    #[error("the number {text} at byte {at} of the payload is out of range; send it as a string")]
    NumberOutOfRange {
        /// Where it stands.
        at: usize,
        /// Its digits, cut to 80 characters.
        text: String,
    },
    /// It is JSON, but no object.
    #[error("the payload is {found}, it has to be an object")]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// It is not JSON.
    #[error("the payload is not JSON: expected {expected} at byte {at}")]
    Malformed {
        /// Where it goes wrong.
        at: usize,
        /// What had to stand there.
        expected: &'static str,
    },
}

impl Payload {
    /// Brings a JSON text into its one form. O(n log n) in its keys.
    ///
    /// # Errors
    /// See [`PayloadError`]; each names the place.
    pub fn parse(json: &[u8]) -> Result<Self, PayloadError> {
        check_size(json.len())?;
        let form = parse::canonical(json)?;
        check_size(form.len())?;
        Ok(Self(form.into()))
    }

    /// Takes bytes that claim to be in the one form, as a store or a peer gives them.
    ///
    /// # Errors
    /// As [`Payload::parse`]; `None` if they are a payload in another form.
    pub fn stored(bytes: &[u8]) -> Result<Option<Self>, PayloadError> {
        let form = Self::parse(bytes)?;
        Ok((form.bytes() == bytes).then_some(form))
    }

    /// Returns the bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn check_size(bytes: usize) -> Result<(), PayloadError> {
    if bytes > PAYLOAD_BYTES_MAX {
        return Err(PayloadError::TooLarge { bytes, bytes_max: PAYLOAD_BYTES_MAX });
    }
    Ok(())
}

#[cfg(test)]
mod tests;

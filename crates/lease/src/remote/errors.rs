//! Errors and replies in messages. What a backend said becomes text; everything else stays what it was.

use std::sync::Arc;

use super::codec::{MessageError, Reader, Wire, put_text, unknown};
use crate::{
    access::Access,
    event::{Epoch, Head, Incarnation, Placed},
    event_store::{AppendFailed, SealError, StoreError},
    forward::{Refused, Reply},
    lease::Lease,
    limits::{ERROR_BYTES_MAX, PLACE_BYTES_MAX},
    registry::{AcquireError, RegistryError, RenewError},
};

/// What another node has said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Said(pub(super) String);

pub(super) type Source = Arc<dyn std::error::Error + Send + Sync>;

/// An error and what caused it, in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn put_source(out: &mut Vec<u8>, source: &Source) {
    put_text(out, &chain(source.as_ref()), ERROR_BYTES_MAX);
}

fn put_words(out: &mut Vec<u8>, text: &str) {
    put_text(out, text, ERROR_BYTES_MAX);
}

fn words(reader: &mut Reader<'_>) -> Result<String, MessageError> {
    reader.text("an error", ERROR_BYTES_MAX).map(str::to_owned)
}

fn source(reader: &mut Reader<'_>) -> Result<Source, MessageError> {
    Ok(Arc::new(Said(words(reader)?)))
}

impl Wire for Access {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(out, &self.to_string(), usize::MAX);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        const WHAT: &str = "the access of a space";
        let text = reader.text(WHAT, "moved ".len() + PLACE_BYTES_MAX)?;
        text.parse().map_err(|_| MessageError::NotCanonical(WHAT))
    }
}

impl Wire for StoreError {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Refused { place, source } => {
                out.push(0);
                put_words(out, place);
                put_source(out, source);
            }
            Self::Unknown { place, source } => {
                out.push(1);
                put_words(out, place);
                put_source(out, source);
            }
            Self::Damaged { place, what } => {
                out.push(2);
                put_words(out, place);
                put_words(out, what);
            }
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        let kind = reader.byte("an error")?;
        let place = words(reader)?;
        match kind {
            0 => Ok(Self::Refused { place, source: source(reader)? }),
            1 => Ok(Self::Unknown { place, source: source(reader)? }),
            2 => Ok(Self::Damaged { place, what: words(reader)? }),
            other => unknown("error of a store", other),
        }
    }
}

impl Wire for SealError {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::NotAbove { presented, current } => {
                out.push(0);
                presented.put(out);
                current.put(out);
            }
            Self::Closed { access } => {
                out.push(1);
                access.put(out);
            }
            Self::Absent => out.push(2),
            Self::Store(error) => {
                out.push(3);
                error.put(out);
            }
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        match reader.byte("an error")? {
            0 => Ok(Self::NotAbove { presented: Epoch::read(reader)?, current: Epoch::read(reader)? }),
            1 => Ok(Self::Closed { access: Access::read(reader)? }),
            2 => Ok(Self::Absent),
            3 => StoreError::read(reader).map(Self::Store),
            other => unknown("refusal of a seal", other),
        }
    }
}

impl Wire for AppendFailed {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Fenced { presented, current } => {
                out.push(0);
                presented.put(out);
                current.put(out);
            }
            Self::Moved { expected, head } => {
                out.push(1);
                expected.put(out);
                head.put(out);
            }
            Self::OtherLife { expected, found } => {
                out.push(2);
                expected.put(out);
                found.put(out);
            }
            Self::Store(error) => {
                out.push(3);
                error.put(out);
            }
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        match reader.byte("an error")? {
            0 => Ok(Self::Fenced { presented: Epoch::read(reader)?, current: Epoch::read(reader)? }),
            1 => Ok(Self::Moved { expected: Head::read(reader)?, head: Head::read(reader)? }),
            2 => Ok(Self::OtherLife { expected: Incarnation::read(reader)?, found: Option::read(reader)? }),
            3 => StoreError::read(reader).map(Self::Store),
            other => unknown("refusal of an append", other),
        }
    }
}

impl Wire for RegistryError {
    fn put(&self, out: &mut Vec<u8>) {
        put_words(out, &self.place);
        put_source(out, &self.source);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        Ok(Self { place: words(reader)?, source: source(reader)? })
    }
}

impl Wire for AcquireError {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Held(lease) => {
                out.push(0);
                lease.put(out);
            }
            Self::Registry(error) => {
                out.push(1);
                error.put(out);
            }
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        match reader.byte("an error")? {
            0 => Lease::read(reader).map(Self::Held),
            1 => RegistryError::read(reader).map(Self::Registry),
            other => unknown("refusal of a lease", other),
        }
    }
}

impl Wire for RenewError {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Lost { epoch } => {
                out.push(0);
                epoch.put(out);
            }
            Self::Registry(error) => {
                out.push(1);
                error.put(out);
            }
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        match reader.byte("an error")? {
            0 => Ok(Self::Lost { epoch: Epoch::read(reader)? }),
            1 => RegistryError::read(reader).map(Self::Registry),
            other => unknown("refusal of a renewal", other),
        }
    }
}

impl Wire for Refused {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::IdReused(first) => {
                out.push(0);
                first.put(out);
            }
            Self::Diverged(how) => {
                out.push(1);
                put_words(out, how);
            }
            Self::Closed(access) => {
                out.push(2);
                access.put(out);
            }
            Self::Busy => out.push(3),
            Self::Forbidden(why) => {
                out.push(4);
                put_words(out, why);
            }
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        match reader.byte("a refusal")? {
            0 => Placed::read(reader).map(Self::IdReused),
            1 => words(reader).map(Self::Diverged),
            2 => Access::read(reader).map(Self::Closed),
            3 => Ok(Self::Busy),
            4 => words(reader).map(Self::Forbidden),
            other => unknown("refusal of a forward", other),
        }
    }
}

impl Wire for Reply {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Done(placed) => {
                out.push(0);
                placed.put(out);
            }
            Self::Redirect(lease) => {
                out.push(1);
                lease.put(out);
            }
            Self::Refused(refused) => {
                out.push(2);
                refused.put(out);
            }
            Self::Unknown => out.push(3),
            Self::Known(placed) => {
                out.push(4);
                placed.put(out);
            }
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        match reader.byte("a reply")? {
            0 => Placed::read(reader).map(Self::Done),
            1 => Option::read(reader).map(Self::Redirect),
            2 => Refused::read(reader).map(Self::Refused),
            3 => Ok(Self::Unknown),
            4 => Placed::read(reader).map(Self::Known),
            other => unknown("reply to a forward", other),
        }
    }
}

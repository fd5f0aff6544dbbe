//! What messages are made of. Drawn at the head of `remote.rs`.

use std::time::Duration;

use bft_json_crdt::{AuthorId, Digest};

use super::codec::{MessageError, Reader, Wire, put_bytes, put_list, put_text, put_varint, unknown};
use crate::{
    event::{BatchSignature, Epoch, Event, Head, Incarnation, Intent, Placed, Seq},
    event_store::Written,
    lease::{Lease, Reach},
    limits::{BATCH_EVENTS_MAX, PAYLOAD_BYTES_MAX, REMOTE_EVENTS_MAX, REMOTE_SPACES_MAX, URL_BYTES_MAX},
    name::{EventType, IntentId, SpaceName},
    payload::Payload,
    rules::SpaceState,
};

/// An event takes at least as many bytes.
const EVENT_BYTES_MIN: usize = 2 + 2 + 32 + 32 + 2 + 3 + 32 + 32 + 1;

impl Wire for () {
    fn put(&self, _: &mut Vec<u8>) {}
    fn read(_: &mut Reader<'_>) -> Result<Self, MessageError> {
        Ok(())
    }
}

impl Wire for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, *self);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        reader.varint("a number")
    }
}

impl Wire for Seq {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        reader.varint("a seq").map(Self)
    }
}

impl Wire for Epoch {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        reader.varint("an epoch").map(Self)
    }
}

/// Whole milliseconds.
impl Wire for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::try_from(self.as_millis()).unwrap_or(u64::MAX));
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        reader.varint("a time").map(Self::from_millis)
    }
}

impl Wire for AuthorId {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        reader.array("a key").map(Self)
    }
}

impl Wire for Digest {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        reader.array("a hash").map(Self)
    }
}

impl Wire for Incarnation {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        reader.array("an incarnation").map(Self)
    }
}

impl Wire for BatchSignature {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        reader.array("a signature").map(Self)
    }
}

macro_rules! name {
    ($name:ident, $what:literal, $max:expr) => {
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                put_bytes(out, self.as_str().as_bytes());
            }
            fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
                Ok(Self::new(reader.text($what, $max)?)?)
            }
        }
    };
}

name!(SpaceName, "the name of a space", crate::limits::SPACE_BYTES_MAX);
name!(EventType, "the type of an event", crate::limits::WORD_BYTES_MAX);
name!(IntentId, "the id of an intent", crate::limits::WORD_BYTES_MAX);

impl Wire for Payload {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.bytes());
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        let bytes = reader.bytes("a payload", PAYLOAD_BYTES_MAX)?;
        Self::stored(bytes)?.ok_or(MessageError::NotCanonical("a payload"))
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.put(out);
            }
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        match reader.byte("an option")? {
            0 => Ok(None),
            1 => T::read(reader).map(Some),
            other => unknown("option", other),
        }
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Ok(value) => {
                out.push(0);
                value.put(out);
            }
            Err(error) => {
                out.push(1);
                error.put(out);
            }
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        match reader.byte("a result")? {
            0 => T::read(reader).map(Ok),
            1 => E::read(reader).map(Err),
            other => unknown("result", other),
        }
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        Ok((A::read(reader)?, B::read(reader)?))
    }
}

/// A URL that is too long for anybody to take is not told.
impl Wire for Reach {
    fn put(&self, out: &mut Vec<u8>) {
        self.node.put(out);
        match self.url.as_deref().filter(|url| url.len() <= URL_BYTES_MAX) {
            None => out.push(0),
            Some(url) => {
                out.push(1);
                put_text(out, url, URL_BYTES_MAX);
            }
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        let node = AuthorId::read(reader)?;
        let url = match reader.byte("an option")? {
            0 => None,
            1 => Some(reader.text("a URL", URL_BYTES_MAX)?.to_owned()),
            other => return unknown("option", other),
        };
        Ok(Self { node, url })
    }
}

impl Wire for Head {
    fn put(&self, out: &mut Vec<u8>) {
        self.next.put(out);
        self.hash.put(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        Ok(Self { next: Seq::read(reader)?, hash: Digest::read(reader)? })
    }
}

impl Wire for SpaceState {
    fn put(&self, out: &mut Vec<u8>) {
        self.incarnation.put(out);
        self.epoch.put(out);
        self.head.put(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        let incarnation = Incarnation::read(reader)?;
        Ok(Self { incarnation, epoch: Epoch::read(reader)?, head: Head::read(reader)? })
    }
}

impl Wire for Placed {
    fn put(&self, out: &mut Vec<u8>) {
        self.seq.put(out);
        self.epoch.put(out);
        self.hash.put(out);
        self.content.put(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        let (seq, epoch) = (Seq::read(reader)?, Epoch::read(reader)?);
        Ok(Self { seq, epoch, hash: Digest::read(reader)?, content: Digest::read(reader)? })
    }
}

impl Wire for Lease {
    fn put(&self, out: &mut Vec<u8>) {
        self.holder.put(out);
        self.epoch.put(out);
        self.left.put(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        let holder = Reach::read(reader)?;
        Ok(Self { holder, epoch: Epoch::read(reader)?, left: Duration::read(reader)? })
    }
}

impl Wire for Intent {
    fn put(&self, out: &mut Vec<u8>) {
        self.id.put(out);
        self.kind.put(out);
        self.payload.put(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        let (id, kind) = (IntentId::read(reader)?, EventType::read(reader)?);
        Ok(Self { id, kind, payload: Payload::read(reader)? })
    }
}

impl Wire for Event {
    fn put(&self, out: &mut Vec<u8>) {
        self.seq.put(out);
        self.epoch.put(out);
        self.id.put(out);
        self.author.put(out);
        self.holder.put(out);
        self.kind.put(out);
        self.payload.put(out);
        self.prev.put(out);
        self.hash.put(out);
        self.signature.put(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        Ok(Self {
            seq: Seq::read(reader)?,
            epoch: Epoch::read(reader)?,
            id: IntentId::read(reader)?,
            author: AuthorId::read(reader)?,
            holder: AuthorId::read(reader)?,
            kind: EventType::read(reader)?,
            payload: Payload::read(reader)?,
            prev: Digest::read(reader)?,
            hash: Digest::read(reader)?,
            signature: Option::read(reader)?,
        })
    }
}

impl Wire for Vec<Event> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(out, self);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        reader.list("events", REMOTE_EVENTS_MAX, EVENT_BYTES_MIN)
    }
}

impl Wire for Vec<SpaceName> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(out, self);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        reader.list("spaces", REMOTE_SPACES_MAX, 2)
    }
}

impl Wire for Vec<(SpaceName, SpaceState)> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(out, self);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        reader.list("spaces", REMOTE_SPACES_MAX, 2 + 16 + 1 + 33)
    }
}

impl Wire for Written {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Done(head) => {
                out.push(0);
                head.put(out);
            }
            Self::Duplicate(known) => {
                out.push(1);
                let known: Vec<(u64, Placed)> =
                    known.iter().map(|(at, placed)| (*at as u64, *placed)).collect();
                put_list(out, &known);
            }
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        match reader.byte("what became of a batch")? {
            0 => Head::read(reader).map(Self::Done),
            1 => {
                let known: Vec<(u64, Placed)> = reader.list("known intents", BATCH_EVENTS_MAX, 67)?;
                let known = known.into_iter().map(|(at, placed)| {
                    let max = BATCH_EVENTS_MAX as u64;
                    let over = MessageError::OverLimit { what: "a place in a batch", found: at, max };
                    let at = usize::try_from(at).ok().filter(|at| *at < BATCH_EVENTS_MAX).ok_or(over)?;
                    Ok((at, placed))
                });
                known.collect::<Result<_, MessageError>>().map(Self::Duplicate)
            }
            other => unknown("fate of a batch", other),
        }
    }
}

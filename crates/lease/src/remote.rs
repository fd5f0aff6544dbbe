//! The log between nodes: what they ask each other for, and both sides of it.
//!
//! [`RemoteLog`] is a store and a registry that live at another node, the *coordinator*; [`RemoteForwarder`] brings
//! intents to holders; [`Desk`] is what answers them. Whoever connects nodes brings the port [`Caller`], and hands
//! calls that come in to the desk with the key that the peer has proved. Nothing here knows a socket.
//!
//! Each call has a method (a number of [`METHODS`]), a request and a reply:
//!
//! ```text
//! varint     unsigned LEB128, at most 10 bytes, no needless zero groups; counts, seqs, epochs, milliseconds
//! text       varint length, then UTF-8. Names, ids, types, payloads are texts in their one form
//! key, hash  32 bytes; an incarnation has 16, a signature 64
//! x?         00, or 01 and x
//! x…         varint count, then as many
//! x | error  00 and x, or 01 and the error
//!
//! reach      key ‖ URL?
//! head       next ‖ hash
//! state      incarnation ‖ epoch ‖ head
//! placed     seq ‖ epoch ‖ hash ‖ hash of content
//! lease      reach ‖ epoch ‖ time left
//! intent     id ‖ type ‖ payload
//! event      seq ‖ epoch ‖ id ‖ author ‖ holder ‖ type ‖ payload ‖ hash before ‖ hash ‖ signature?
//!
//!      call     request                                              reply
//! 16   forward  space ‖ intent ‖ author ‖ epoch ‖ hops, a byte       00 placed | 01 lease? | 02 refusal | 03 unknown
//! 17   acquire  space ‖ reach ‖ ttl ‖ above                          lease | 00 lease | 01 registry
//! 18   renew    space ‖ key ‖ epoch ‖ ttl                            nothing | 00 epoch | 01 registry
//! 19   release  space ‖ key ‖ epoch                                  nothing | registry
//! 20   lease    space                                                lease? | registry
//! 21   seal     space ‖ epoch ‖ incarnation                          state | 00 presented ‖ current | 01 access
//!                                                                      | 02 absent | 03 store
//! 22   append   space ‖ incarnation ‖ epoch ‖ head                   00 head or 01 (place ‖ placed)… | 00 presented
//!                 ‖ (intent ‖ author)… ‖ signature                     ‖ current | 01 expected ‖ head
//!                                                                      | 02 incarnation ‖ incarnation? | 03 store
//! 23   state    space                                                state? | store
//! 24   access   space                                                access? | store
//! 25   read     space ‖ from ‖ count ‖ bytes                         event… | store
//! 26   find     space ‖ id                                           placed? | store
//! 27   spaces   space? ‖ count                                       space… | store
//! 28   states   space? ‖ count                                       (space ‖ state)… | store
//!
//! refusal    00 placed (id reused) | 01 text (diverged) | 02 access (closed) | 03 (busy) | 04 text (forbidden)
//! access     a text: open, copy, or moved and a place
//! store      00 place ‖ text (refused) | 01 place ‖ text (unknown) | 02 place ‖ text (damaged); places are texts
//! registry   place ‖ text
//! ```
//!
//! A batch is sent without what follows from the rest (seqs, hashes, its holder): the coordinator computes that, and
//! the holder's signature tells that both mean the same. A reply that is none of these is a refusal in words: then
//! nothing was done.

mod codec;
mod desk;
mod errors;
mod forwarder;
mod log;
#[cfg(feature = "conformance")]
mod recode;
mod request;
mod values;

use std::{ops::RangeInclusive, sync::Arc};

#[cfg(feature = "conformance")]
pub use self::recode::{recode_reply, recode_request};
pub(crate) use self::request::Draft;
pub use self::{
    codec::MessageError,
    desk::{Admits, Backend, Desk, Right},
    forwarder::RemoteForwarder,
    log::RemoteLog,
};
use crate::{clock::Answer, lease::Reach};

/// The methods of the calls that are about logs.
pub const METHODS: RangeInclusive<u32> = 16..=28;

/// Calls other nodes.
pub trait Caller: Send + Sync {
    /// Calls a node, and waits for its reply, in time in any case. Connections that exist are used first. The request
    /// has at most [`crate::limits::MESSAGE_BYTES_MAX`] bytes.
    fn call<'a>(
        &'a self,
        to: &'a Reach,
        method: u32,
        body: Vec<u8>,
    ) -> Answer<'a, Result<Vec<u8>, CallFailed>>;
}

/// Why a call brought no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallFailed {
    /// Nothing was sent. Try again, or another way.
    #[error("the node cannot be reached")]
    Unreachable,
    /// It was sent, and may have been carried out.
    #[error("the node did not answer")]
    Silent,
    /// The node says no, and has done nothing.
    #[error("the node refused: {0}")]
    Refused(String),
}

/// Says who coordinates, as far as that is known: the key of a node is proved when it is first reached.
pub type Coordinator = Arc<dyn Fn() -> Option<Reach> + Send + Sync>;

#[cfg(test)]
mod tests;

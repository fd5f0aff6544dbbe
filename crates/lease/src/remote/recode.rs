//! Messages between nodes, decoded and encoded again: what a fuzzer tries (feature `conformance`).

use bft_json_crdt::AuthorId;

use super::{
    codec::Wire,
    request::{
        ACCESS, ACQUIRE, APPEND, FIND, FORWARD, LEASE, READ, RELEASE, RENEW, Request, SEAL, SPACES, STATE,
        STATES,
    },
};
use crate::{
    access::Access,
    event::{Event, Placed},
    event_store::{AppendFailed, SealError, StoreError, Written},
    forward::Reply,
    grant::Batch,
    lease::Lease,
    name::SpaceName,
    registry::{AcquireError, RegistryError, RenewError},
    rules::SpaceState,
};

/// Decodes a request of that method and encodes it again; none if it is no such request. A batch is received, too, as
/// a coordinator does, from a peer that it is of or not.
#[must_use]
pub fn recode_request(method: u32, body: &[u8]) -> Option<Vec<u8>> {
    let request = Request::decode(method, body).ok()?;
    let again = request.body();
    if let Request::Append(draft) = request {
        let peer = draft.intents.first().map_or(AuthorId([0; 32]), |(_, author)| *author);
        let _forged_or_not = Batch::receive(draft, peer);
    }
    Some(again)
}

/// Decodes a reply to a call of that method and encodes it again; none if it is no such reply.
#[must_use]
pub fn recode_reply(method: u32, body: &[u8]) -> Option<Vec<u8>> {
    match method {
        FORWARD => again::<Reply>(body),
        ACQUIRE => again::<Result<Lease, AcquireError>>(body),
        RENEW => again::<Result<(), RenewError>>(body),
        RELEASE => again::<Result<(), RegistryError>>(body),
        LEASE => again::<Result<Option<Lease>, RegistryError>>(body),
        SEAL => again::<Result<SpaceState, SealError>>(body),
        APPEND => again::<Result<Written, AppendFailed>>(body),
        STATE => again::<Result<Option<SpaceState>, StoreError>>(body),
        ACCESS => again::<Result<Option<Access>, StoreError>>(body),
        READ => again::<Result<Vec<Event>, StoreError>>(body),
        FIND => again::<Result<Option<Placed>, StoreError>>(body),
        SPACES => again::<Result<Vec<SpaceName>, StoreError>>(body),
        STATES => again::<Result<Vec<(SpaceName, SpaceState)>, StoreError>>(body),
        _ => None,
    }
}

fn again<T: Wire>(body: &[u8]) -> Option<Vec<u8>> {
    T::decode(body).ok().map(|value| value.encode())
}

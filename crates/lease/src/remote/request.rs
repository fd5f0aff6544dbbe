//! What nodes ask each other for. Drawn at the head of `remote.rs`.

use std::time::Duration;

use bft_json_crdt::AuthorId;

use super::{
    METHODS,
    codec::{MessageError, Reader, Wire, put_list, put_varint},
};
use crate::{
    event::{BatchSignature, Epoch, Head, Incarnation, Intent, Seq},
    event_store::ReadLimit,
    forward::Forward,
    grant::Batch,
    lease::Reach,
    limits::BATCH_EVENTS_MAX,
    name::{IntentId, SpaceName},
    registry::Ask,
};

pub(super) const FORWARD: u32 = *METHODS.start();
pub(super) const ACQUIRE: u32 = FORWARD + 1;
pub(super) const RENEW: u32 = FORWARD + 2;
pub(super) const RELEASE: u32 = FORWARD + 3;
pub(super) const LEASE: u32 = FORWARD + 4;
pub(super) const SEAL: u32 = FORWARD + 5;
pub(super) const APPEND: u32 = FORWARD + 6;
pub(super) const STATE: u32 = FORWARD + 7;
pub(super) const ACCESS: u32 = FORWARD + 8;
pub(super) const READ: u32 = FORWARD + 9;
pub(super) const FIND: u32 = FORWARD + 10;
pub(super) const SPACES: u32 = FORWARD + 11;
pub(super) const STATES: u32 = FORWARD + 12;

/// An intent takes at least as many bytes, with its author.
const INTENT_BYTES_MIN: usize = 2 + 2 + 3 + 32;

/// A call, with all that it brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Forward(Forward),
    Acquire { space: SpaceName, ask: Ask },
    Renew { space: SpaceName, node: AuthorId, epoch: Epoch, ttl: Duration },
    Release { space: SpaceName, node: AuthorId, epoch: Epoch },
    Lease { space: SpaceName },
    Seal { space: SpaceName, epoch: Epoch, first: Incarnation },
    Append(Draft),
    State { space: SpaceName },
    Access { space: SpaceName },
    Read { space: SpaceName, from: Seq, limit: ReadLimit },
    Find { space: SpaceName, id: IntentId },
    Spaces { after: Option<SpaceName>, count: usize },
    States { after: Option<SpaceName>, count: usize },
}

/// A batch without what follows from the rest: seqs, hashes, and the holder, which is whoever calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) space: SpaceName,
    pub(crate) incarnation: Incarnation,
    pub(crate) epoch: Epoch,
    pub(crate) head: Head,
    pub(crate) intents: Vec<(Intent, AuthorId)>,
    pub(crate) signature: BatchSignature,
}

impl Draft {
    pub(super) fn of(batch: &Batch) -> Self {
        let (grant, bid) = (batch.grant(), batch.bid());
        let intents = batch.events().iter().map(|event| {
            let (id, kind, payload) = (event.id.clone(), event.kind.clone(), event.payload.clone());
            (Intent { id, kind, payload }, event.author)
        });
        let signature = batch.events().last().and_then(|event| event.signature);
        Self {
            space: grant.space().clone(),
            incarnation: bid.incarnation,
            epoch: bid.epoch,
            head: bid.head,
            intents: intents.collect(),
            signature: signature.expect("a batch ends with a signature"),
        }
    }
}

impl Request {
    pub(super) fn method(&self) -> u32 {
        match self {
            Self::Forward(_) => FORWARD,
            Self::Acquire { .. } => ACQUIRE,
            Self::Renew { .. } => RENEW,
            Self::Release { .. } => RELEASE,
            Self::Lease { .. } => LEASE,
            Self::Seal { .. } => SEAL,
            Self::Append(_) => APPEND,
            Self::State { .. } => STATE,
            Self::Access { .. } => ACCESS,
            Self::Read { .. } => READ,
            Self::Find { .. } => FIND,
            Self::Spaces { .. } => SPACES,
            Self::States { .. } => STATES,
        }
    }

    pub(super) fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Forward(forward) => {
                forward.space.put(&mut out);
                forward.intent.put(&mut out);
                forward.author.put(&mut out);
                forward.epoch.put(&mut out);
                out.push(forward.hops);
            }
            Self::Acquire { space, ask } => {
                space.put(&mut out);
                ask.holder.put(&mut out);
                ask.ttl.put(&mut out);
                ask.above.put(&mut out);
            }
            Self::Renew { space, node, epoch, ttl } => {
                space.put(&mut out);
                node.put(&mut out);
                epoch.put(&mut out);
                ttl.put(&mut out);
            }
            Self::Release { space, node, epoch } => {
                space.put(&mut out);
                node.put(&mut out);
                epoch.put(&mut out);
            }
            Self::Seal { space, epoch, first } => {
                space.put(&mut out);
                epoch.put(&mut out);
                first.put(&mut out);
            }
            Self::Append(draft) => {
                draft.space.put(&mut out);
                draft.incarnation.put(&mut out);
                draft.epoch.put(&mut out);
                draft.head.put(&mut out);
                put_list(&mut out, &draft.intents);
                draft.signature.put(&mut out);
            }
            Self::Lease { space } | Self::State { space } | Self::Access { space } => space.put(&mut out),
            Self::Read { space, from, limit } => {
                space.put(&mut out);
                from.put(&mut out);
                put_varint(&mut out, limit.count as u64);
                put_varint(&mut out, limit.bytes as u64);
            }
            Self::Find { space, id } => {
                space.put(&mut out);
                id.put(&mut out);
            }
            Self::Spaces { after, count } | Self::States { after, count } => {
                after.put(&mut out);
                put_varint(&mut out, *count as u64);
            }
        }
        out
    }

    pub(super) fn decode(method: u32, body: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        let request = Self::read(method, &mut reader)?;
        reader.end()?;
        Ok(request)
    }

    fn read(method: u32, reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        Ok(match method {
            FORWARD => Self::Forward(Forward {
                space: SpaceName::read(reader)?,
                intent: Intent::read(reader)?,
                author: AuthorId::read(reader)?,
                epoch: Epoch::read(reader)?,
                hops: reader.byte("hops")?,
            }),
            ACQUIRE => Self::Acquire {
                space: SpaceName::read(reader)?,
                ask: Ask {
                    holder: Reach::read(reader)?,
                    ttl: Duration::read(reader)?,
                    above: Epoch::read(reader)?,
                },
            },
            RENEW => Self::Renew {
                space: SpaceName::read(reader)?,
                node: AuthorId::read(reader)?,
                epoch: Epoch::read(reader)?,
                ttl: Duration::read(reader)?,
            },
            RELEASE => Self::Release {
                space: SpaceName::read(reader)?,
                node: AuthorId::read(reader)?,
                epoch: Epoch::read(reader)?,
            },
            LEASE => Self::Lease { space: SpaceName::read(reader)? },
            SEAL => Self::Seal {
                space: SpaceName::read(reader)?,
                epoch: Epoch::read(reader)?,
                first: Incarnation::read(reader)?,
            },
            APPEND => Self::Append(Draft {
                space: SpaceName::read(reader)?,
                incarnation: Incarnation::read(reader)?,
                epoch: Epoch::read(reader)?,
                head: Head::read(reader)?,
                intents: reader.list("intents", BATCH_EVENTS_MAX, INTENT_BYTES_MIN)?,
                signature: BatchSignature::read(reader)?,
            }),
            STATE => Self::State { space: SpaceName::read(reader)? },
            ACCESS => Self::Access { space: SpaceName::read(reader)? },
            READ => Self::Read {
                space: SpaceName::read(reader)?,
                from: Seq::read(reader)?,
                limit: ReadLimit { count: size(reader)?, bytes: size(reader)? },
            },
            FIND => Self::Find { space: SpaceName::read(reader)?, id: IntentId::read(reader)? },
            SPACES => Self::Spaces { after: Option::read(reader)?, count: size(reader)? },
            STATES => Self::States { after: Option::read(reader)?, count: size(reader)? },
            other => return Err(MessageError::Unknown { what: "method", found: other.into() }),
        })
    }
}

/// A limit. Larger ones than a machine can count are the largest that it can.
fn size(reader: &mut Reader<'_>) -> Result<usize, MessageError> {
    Ok(usize::try_from(reader.varint("a limit")?).unwrap_or(usize::MAX))
}

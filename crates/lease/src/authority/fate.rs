//! What becomes of an intent in its space's lane, and what callers are told.

use std::time::Duration;

use crate::{
    access::Access,
    event::{Epoch, Landed, Placed},
    event_store::StoreError,
    forward::Refused,
    lease::{Lease, Reach},
    name::{IntentId, SpaceName},
    registry::RegistryError,
    rules::Divergence,
};

/// What an intent in a lane is answered.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// It is in the log.
    Landed(Landed),
    /// Its id is in the log with other content.
    IdReused(Placed),
    /// Another node holds the space. It was not appended here.
    Elsewhere(Lease),
    /// It is to be tried again, also elsewhere; `may_have_landed` says whether it may be in the log.
    Again { may_have_landed: bool },
    /// The space is not served.
    Diverged(Divergence),
    /// The space takes no appends.
    Closed(Access),
    /// Something is out of order; it may get better.
    Failed { error: LeaseError, may_have_landed: bool },
}

/// Why a space is not acquired.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Another node has it. Append all the same (it is forwarded), or come again when `left` has passed.
    #[error("ed25519:{} holds the space for another {left:?}", .holder.node)]
    Held {
        /// Who has it.
        holder: Reach,
        /// For how long at most, unless it is renewed.
        left: Duration,
    },
    /// The log is not the one that this node has seen. Look at it, then recover the space from a copy.
    #[error("space {space} is not served: its log has diverged, {divergence}")]
    Diverged {
        /// Which space.
        space: SpaceName,
        /// How it differs.
        divergence: Divergence,
    },
    /// The space takes no appends: it has moved (append there), or is a copy of another's.
    #[error("space {space} takes no appends: {access}")]
    Closed {
        /// Which space.
        space: SpaceName,
        /// What it is.
        access: Access,
    },
    /// There is no such space. Look at the names that there are.
    #[error("there is no space {space}")]
    Absent {
        /// Which.
        space: SpaceName,
    },
    /// Registry and store disagree about the epoch again and again. Make sure that all nodes use the same ones.
    #[error("epoch {current} of the store cannot be surpassed: the registry keeps granting lower ones")]
    NotSealed {
        /// The store's.
        current: Epoch,
    },
    /// The lease changed hands again and again, or ended before anything could be written. Try again.
    #[error("the lease was lost in the middle of the append, each time that it was tried")]
    Contended,
    /// More spaces than one node keeps track of. Use another node for some.
    #[error("this node has {count} spaces, which is its limit")]
    TooManySpaces {
        /// The limit.
        count: usize,
    },
    /// More waits for the space than fits. Come again later.
    #[error("{waiting} appends wait for the space, which is the limit")]
    Busy {
        /// The limit.
        waiting: usize,
    },
    /// See there; ask again later.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// See there.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an append is not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The id was used for something else. Take another.
    #[error("intent {id} was used for other content, at event {}", .first.seq)]
    IdReused {
        /// The id.
        id: IntentId,
        /// What it was used for.
        first: Placed,
    },
    /// It may be in the log or not. Append it again with the same id: that returns the first result, or does it.
    #[error("whether intent {id} was appended is not known; append it again with the same id")]
    Unknown {
        /// The id to ask with.
        id: IntentId,
    },
    /// This call did not append it, and it was not in the log just now. The source says what is out of order; try
    /// again later.
    #[error("intent {id} was not appended")]
    NotAppended {
        /// The id.
        id: IntentId,
        /// Why.
        #[source]
        source: LeaseError,
    },
    /// The holder has refused it for good: see there.
    #[error("intent {id} was refused by the holder: {refused}")]
    Refused {
        /// The id.
        id: IntentId,
        /// Why.
        refused: Refused,
    },
}

//! The port to whoever keeps events, and fences.
//!
//! What a store promises (checked for every backend by the `conformance` feature):
//!
//! - **Compare and insert.** [`EventStore::append`] judges the batch ([`crate::rules::judge`]) and inserts it in one
//!   transaction. A refused batch changes nothing.
//! - **Sealed means sealed.** Once [`EventStore::seal`] has returned, nothing lands under another epoch.
//! - **Each intent once.** Ids are unique per space, for good.
//! - **Durable.** What was acknowledged is readable from every later head.
//! - **Unknown stays unknown.** Only what certainly did not happen is answered with [`StoreError::Refused`].

use std::sync::Arc;

use crate::{
    access::Access,
    clock::Answer,
    event::{Epoch, Event, Head, Incarnation, Placed, Seq},
    grant::Batch,
    name::{IntentId, SpaceName},
    part::Part,
    rules::{Misfit, SealRefusal, SpaceState, Verdict},
};

/// Keeps logs.
pub trait EventStore: Send + Sync {
    /// Raises a space's epoch and returns its state. A space that was never sealed begins, with `first`; one that is
    /// closed is refused.
    fn seal<'a>(
        &'a self,
        space: &'a SpaceName,
        epoch: Epoch,
        first: Incarnation,
    ) -> Answer<'a, Result<SpaceState, SealError>>;

    /// Appends a batch, if the space is exactly as [`Batch::bid`] says and has none of its intents. Only a
    /// [`crate::Grant`] makes batches.
    fn append<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Result<Written, AppendFailed>>;

    /// Opens or closes a space, and raises its epoch as a seal does: whoever wrote under the one before is fenced.
    fn set_access<'a>(
        &'a self,
        space: &'a SpaceName,
        epoch: Epoch,
        access: Access,
    ) -> Answer<'a, Result<SpaceState, SealError>>;

    /// Returns whether a space takes appends; `None` if it was never sealed.
    fn access<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Access>, StoreError>>;

    /// Appends events that were verified elsewhere, if the space is closed and ends exactly where they begin
    /// ([`crate::rules::adopt`]). A space that is not there begins with them, as a copy.
    fn adopt<'a>(&'a self, part: &'a Part) -> Answer<'a, Result<SpaceState, AdoptError>>;

    /// Returns a space's state; `None` if it was never sealed.
    fn state<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<SpaceState>, StoreError>>;

    /// Returns events from `from` on, in order, within `limit` but at least one if there is any.
    fn read<'a>(
        &'a self,
        space: &'a SpaceName,
        from: Seq,
        limit: ReadLimit,
    ) -> Answer<'a, Result<Vec<Event>, StoreError>>;

    /// Returns where an intent is.
    fn find<'a>(
        &'a self,
        space: &'a SpaceName,
        id: &'a IntentId,
    ) -> Answer<'a, Result<Option<Placed>, StoreError>>;

    /// Returns names of spaces in their order, at most `count`, those behind `after`.
    fn spaces<'a>(
        &'a self,
        after: Option<&'a SpaceName>,
        count: usize,
    ) -> Answer<'a, Result<Vec<SpaceName>, StoreError>>;

    /// Returns spaces with their states, as [`EventStore::spaces`] returns their names.
    fn states<'a>(
        &'a self,
        after: Option<&'a SpaceName>,
        count: usize,
    ) -> Answer<'a, Result<Vec<(SpaceName, SpaceState)>, StoreError>> {
        Box::pin(async move {
            let mut states = Vec::new();
            for name in self.spaces(after, count).await? {
                let state = self.state(&name).await?.ok_or_else(|| StoreError::Damaged {
                    place: name.to_string(),
                    what: "it is listed, and not there".to_owned(),
                })?;
                states.push((name, state));
            }
            Ok(states)
        })
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// All of it is durable, and the log ends here.
    Done(Head),
    /// Nothing was written, because these of its intents, by their place in the batch, are in the log.
    Duplicate(Vec<(usize, Placed)>),
}

/// Why a batch did not land, or may not have.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendFailed {
    /// Another epoch was sealed. Stop serving the space; the intents are for the new holder.
    #[error("append under epoch {presented} refused: epoch {current} was sealed")]
    Fenced {
        /// The batch's.
        presented: Epoch,
        /// The store's.
        current: Epoch,
    },
    /// The log ends elsewhere. Check the last claim, then make the batch anew.
    #[error("append expected the log to end after {expected}, it ends after {head}")]
    Moved {
        /// The batch's.
        expected: Head,
        /// The store's.
        head: Head,
    },
    /// It is another log. Stop serving the space.
    #[error("append to incarnation {expected} refused: the store has another")]
    OtherLife {
        /// The batch's.
        expected: Incarnation,
        /// The store's.
        found: Option<Incarnation>,
    },
    /// See there.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AppendFailed {
    /// Returns what a verdict means for a batch; `None` if it is to be taken, or has duplicates.
    #[must_use]
    pub fn of(verdict: Verdict, batch: &Batch) -> Option<Self> {
        let bid = batch.bid();
        match verdict {
            Verdict::Take | Verdict::Duplicate => None,
            Verdict::Fenced { current } => Some(Self::Fenced { presented: bid.epoch, current }),
            Verdict::Moved { head } => Some(Self::Moved { expected: bid.head, head }),
            Verdict::OtherLife { found } => Some(Self::OtherLife { expected: bid.incarnation, found }),
        }
    }
}

/// Why a space is not sealed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The registry has forgotten what it granted. Have an epoch above this one granted.
    #[error("epoch {presented} cannot be sealed: the store has epoch {current}")]
    NotAbove {
        /// The new one.
        presented: Epoch,
        /// The store's.
        current: Epoch,
    },
    /// The space takes no appends.
    #[error("the space is closed: {access}")]
    Closed {
        /// What it is.
        access: Access,
    },
    /// There is no such space to open or close.
    #[error("there is no such space")]
    Absent,
    /// See there. The seal may have happened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SealError {
    /// Returns what a refusal means for an epoch.
    #[must_use]
    pub fn of(refusal: SealRefusal, presented: Epoch) -> Self {
        match refusal {
            SealRefusal::NotAbove(current) => Self::NotAbove { presented, current },
            SealRefusal::Closed(access) => Self::Closed { access },
            SealRefusal::Absent => Self::Absent,
        }
    }
}

/// Why verified events are not taken.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// They do not fit what is there. Nothing was changed.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// See there.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A store that cannot do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It did not happen, and nothing was changed. Repair the cause (`source`), then try again.
    #[error("the event store {place} refused")]
    Refused {
        /// Where it lives.
        place: String,
        /// What the backend said.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// It may have happened or not. Ask by intent id.
    #[error("the event store {place} did not answer")]
    Unknown {
        /// Where it lives.
        place: String,
        /// What the backend said.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// What is stored is not what was written. Restore a backup; nothing more is written.
    #[error("the event store {place} is damaged: {what}")]
    Damaged {
        /// Where it lives.
        place: String,
        /// What does not fit.
        what: String,
    },
}

/// How much one read returns at most; one event is returned even if it alone is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimit {
    /// Number of events.
    pub count: usize,
    /// Sum of their payloads.
    pub bytes: usize,
}

impl Default for ReadLimit {
    fn default() -> Self {
        Self { count: 1_000, bytes: 4 << 20 }
    }
}

impl ReadLimit {
    /// Returns the limit with whatever is beyond [`crate::limits`] cut.
    #[must_use]
    pub fn cut(self) -> Self {
        Self {
            count: self.count.clamp(1, crate::limits::READ_EVENTS_MAX),
            bytes: self.bytes.min(crate::limits::READ_BYTES_MAX),
        }
    }
}

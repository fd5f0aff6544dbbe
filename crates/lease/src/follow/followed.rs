//! Reading from the source while it answers, else from the copy.

use std::{fmt, sync::Arc, time::Duration};

use super::Contact;
use crate::{
    access::Access,
    clock::Answer,
    event::{Epoch, Event, Incarnation, Placed, Seq},
    event_store::{AdoptError, AppendFailed, EventStore, ReadLimit, SealError, StoreError, Written},
    grant::Batch,
    name::{IntentId, SpaceName},
    part::Part,
    rules::SpaceState,
};

/// After a call in vain the copy answers for that long, before the source is asked again.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// A log to read from, and to read from alone: what answers may be a copy that is behind, so nobody who writes goes by
/// it. Clones are handles on the same.
#[derive(Clone)]
pub struct FollowedLog {
    source: Arc<dyn EventStore>,
    copies: Arc<dyn EventStore>,
    contact: Contact,
}

/// What was read, and how old it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// What was read.
    pub found: T,
    /// None if the source has answered; else since when it has not, and this is what the copy has.
    pub stale: Option<Duration>,
}

impl FollowedLog {
    pub(super) fn new(source: Arc<dyn EventStore>, copies: Arc<dyn EventStore>, contact: Contact) -> Self {
        Self { source, copies, contact }
    }

    /// Returns for how long the source has been away, if it was when it was asked last.
    #[must_use]
    pub fn stale(&self) -> Option<Duration> {
        self.contact.away()
    }

    /// As [`EventStore::state`].
    ///
    /// # Errors
    /// If neither can be read.
    pub async fn state(&self, space: &SpaceName) -> Result<Read<Option<SpaceState>>, StoreError> {
        self.ask(space, |store| store.state(space)).await
    }

    /// As [`EventStore::access`].
    ///
    /// # Errors
    /// If neither can be read.
    pub async fn access(&self, space: &SpaceName) -> Result<Read<Option<Access>>, StoreError> {
        self.ask(space, |store| store.access(space)).await
    }

    /// As [`EventStore::read`].
    ///
    /// # Errors
    /// If neither can be read.
    pub async fn read(
        &self,
        space: &SpaceName,
        from: Seq,
        limit: ReadLimit,
    ) -> Result<Read<Vec<Event>>, StoreError> {
        self.ask(space, |store| store.read(space, from, limit)).await
    }

    /// As [`EventStore::find`].
    ///
    /// # Errors
    /// If neither can be read.
    pub async fn find(&self, space: &SpaceName, id: &IntentId) -> Result<Read<Option<Placed>>, StoreError> {
        self.ask(space, |store| store.find(space, id)).await
    }

    /// As [`EventStore::states`]; while the source is away, only those that are copied.
    ///
    /// # Errors
    /// If neither can be read.
    pub async fn states(
        &self,
        after: Option<&SpaceName>,
        count: usize,
    ) -> Result<Read<Vec<(SpaceName, SpaceState)>>, StoreError> {
        self.list(|store| store.states(after, count)).await
    }

    async fn ask<'a, T>(
        &'a self,
        space: &SpaceName,
        what: impl Fn(&'a dyn EventStore) -> Answer<'a, Result<T, StoreError>>,
    ) -> Result<Read<T>, StoreError> {
        let is_copied = self.copies.state(space).await?.is_some();
        if !(is_copied && self.is_left_alone()) {
            match self.ask_source(&what).await {
                Ok(found) => return Ok(Read { found, stale: None }),
                Err(error) if !is_copied => return Err(error),
                Err(_) => {}
            }
        }
        Ok(Read { found: what(self.copies.as_ref()).await?, stale: self.stale() })
    }

    /// Lists what there is, or what is copied.
    async fn list<'a, T>(
        &'a self,
        what: impl Fn(&'a dyn EventStore) -> Answer<'a, Result<T, StoreError>>,
    ) -> Result<Read<T>, StoreError> {
        if !self.is_left_alone()
            && let Ok(found) = self.ask_source(&what).await
        {
            return Ok(Read { found, stale: None });
        }
        Ok(Read { found: what(self.copies.as_ref()).await?, stale: self.stale() })
    }

    fn is_left_alone(&self) -> bool {
        self.contact.failed_within(LEFT_ALONE)
    }

    async fn ask_source<'a, T>(
        &'a self,
        what: impl Fn(&'a dyn EventStore) -> Answer<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let answer = what(self.source.as_ref()).await;
        self.contact.note(answer.is_ok());
        answer
    }
}

/// To read from. Whatever writes goes to the source, and nowhere else.
impl EventStore for FollowedLog {
    fn seal<'a>(
        &'a self,
        space: &'a SpaceName,
        epoch: Epoch,
        first: Incarnation,
    ) -> Answer<'a, Result<SpaceState, SealError>> {
        self.source.seal(space, epoch, first)
    }

    fn append<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Result<Written, AppendFailed>> {
        self.source.append(batch)
    }

    fn set_access<'a>(
        &'a self,
        space: &'a SpaceName,
        epoch: Epoch,
        access: Access,
    ) -> Answer<'a, Result<SpaceState, SealError>> {
        self.source.set_access(space, epoch, access)
    }

    fn adopt<'a>(&'a self, part: &'a Part) -> Answer<'a, Result<SpaceState, AdoptError>> {
        self.source.adopt(part)
    }

    fn access<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Access>, StoreError>> {
        Box::pin(async move { Ok(Self::access(self, space).await?.found) })
    }

    fn state<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<SpaceState>, StoreError>> {
        Box::pin(async move { Ok(Self::state(self, space).await?.found) })
    }

    fn read<'a>(
        &'a self,
        space: &'a SpaceName,
        from: Seq,
        limit: ReadLimit,
    ) -> Answer<'a, Result<Vec<Event>, StoreError>> {
        Box::pin(async move { Ok(Self::read(self, space, from, limit).await?.found) })
    }

    fn find<'a>(
        &'a self,
        space: &'a SpaceName,
        id: &'a IntentId,
    ) -> Answer<'a, Result<Option<Placed>, StoreError>> {
        Box::pin(async move { Ok(Self::find(self, space, id).await?.found) })
    }

    fn spaces<'a>(
        &'a self,
        after: Option<&'a SpaceName>,
        count: usize,
    ) -> Answer<'a, Result<Vec<SpaceName>, StoreError>> {
        Box::pin(async move { Ok(self.list(|store| store.spaces(after, count)).await?.found) })
    }

    fn states<'a>(
        &'a self,
        after: Option<&'a SpaceName>,
        count: usize,
    ) -> Answer<'a, Result<Vec<(SpaceName, SpaceState)>, StoreError>> {
        Box::pin(async move { Ok(Self::states(self, after, count).await?.found) })
    }
}

impl fmt::Debug for FollowedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowedLog").field("stale", &self.stale()).finish_non_exhaustive()
    }
}

//! Reading from the source while it answers, else from the copy.

use std::{fmt, sync::Arc, time::Duration};

use super::Contact;
use crate::{
    access::Access,
    clock::Answer,
    event::{Event, Placed, Seq},
    event_store::{EventStore, ReadLimit, StoreError},
    name::{IntentId, SpaceName},
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
        match self.ask_source(|store| store.states(after, count)).await {
            Ok(found) => Ok(Read { found, stale: None }),
            Err(_) => Ok(Read { found: self.copies.states(after, count).await?, stale: self.stale() }),
        }
    }

    async fn ask<'a, T>(
        &'a self,
        space: &SpaceName,
        what: impl Fn(&'a dyn EventStore) -> Answer<'a, Result<T, StoreError>>,
    ) -> Result<Read<T>, StoreError> {
        let error = match self.ask_source(&what).await {
            Ok(found) => return Ok(Read { found, stale: None }),
            Err(error) => error,
        };
        if self.copies.state(space).await?.is_none() {
            return Err(error);
        }
        Ok(Read { found: what(self.copies.as_ref()).await?, stale: self.stale() })
    }

    async fn ask_source<'a, T>(
        &'a self,
        what: impl Fn(&'a dyn EventStore) -> Answer<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.contact.failed_within(LEFT_ALONE) {
            let source = Arc::new(Away);
            return Err(StoreError::Refused { place: "that is followed".to_owned(), source });
        }
        let answer = what(self.source.as_ref()).await;
        self.contact.note(answer.is_ok());
        answer
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it did not answer just now")]
struct Away;

impl fmt::Debug for FollowedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowedLog").field("stale", &self.stale()).finish_non_exhaustive()
    }
}

//! A store and a registry at another node.

use std::{fmt, sync::Arc, time::Duration};

use bft_json_crdt::AuthorId;

use super::{
    CallFailed, Caller, Coordinator,
    codec::{MessageError, Wire},
    request::{Draft, Request},
};
use crate::{
    access::Access,
    clock::Answer,
    event::{Epoch, Event, Incarnation, Placed, Seq},
    event_store::{AdoptError, AppendFailed, EventStore, ReadLimit, SealError, StoreError, Written},
    grant::Batch,
    lease::Lease,
    limits::{REMOTE_BYTES_MAX, REMOTE_EVENTS_MAX, REMOTE_SPACES_MAX},
    name::{IntentId, SpaceName},
    part::Part,
    registry::{AcquireError, Ask, LeaseRegistry, RegistryError, RenewError},
    rules::SpaceState,
};

/// The store and the registry of another node, which coordinates. It fences there; what is lost on the way is
/// [`StoreError::Unknown`], never success or failure. Clones are handles on the same.
#[derive(Clone)]
pub struct RemoteLog {
    caller: Arc<dyn Caller>,
    coordinator: Coordinator,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
enum Failed {
    #[error("the coordinator has not been reached yet")]
    NotKnown,
    #[error(transparent)]
    Call(#[from] CallFailed),
    #[error("nobody understands what the coordinator answered")]
    Garbled(#[from] MessageError),
    #[error("only at the coordinator itself a space is opened, closed or copied to")]
    OnlyThere,
}

impl Failed {
    /// Whether the coordinator may have done it.
    fn may_have_happened(&self) -> bool {
        match self {
            Self::Call(CallFailed::Silent) | Self::Garbled(_) => true,
            Self::Call(_) | Self::NotKnown | Self::OnlyThere => false,
        }
    }
}

impl RemoteLog {
    /// Makes a log that lives at the coordinator. Nothing is sent yet.
    #[must_use]
    pub fn new(caller: Arc<dyn Caller>, coordinator: Coordinator) -> Self {
        Self { caller, coordinator }
    }

    async fn ask<T: Wire>(&self, request: Request) -> Result<T, Failed> {
        let to = (self.coordinator)().ok_or(Failed::NotKnown)?;
        let reply = self.caller.call(&to, request.method(), request.body()).await?;
        Ok(T::decode(&reply)?)
    }

    /// For what changes nothing: that it did not happen is certain in any case.
    async fn look<T: Wire>(&self, request: Request) -> Result<T, StoreError> {
        match self.ask::<Result<T, StoreError>>(request).await {
            Ok(answer) => answer,
            Err(failed) => Err(StoreError::Refused { place: self.place(), source: Arc::new(failed) }),
        }
    }

    fn failed(&self, failed: Failed) -> StoreError {
        let (place, may_have_happened) = (self.place(), failed.may_have_happened());
        let source = Arc::new(failed);
        match may_have_happened {
            true => StoreError::Unknown { place, source },
            false => StoreError::Refused { place, source },
        }
    }

    fn registry_failed(&self, failed: Failed) -> RegistryError {
        RegistryError { place: self.place(), source: Arc::new(failed) }
    }

    fn place(&self) -> String {
        match (self.coordinator)() {
            Some(at) => match at.url {
                Some(url) => format!("at {url}"),
                None => format!("at ed25519:{}", at.node),
            },
            None => "at the coordinator".to_owned(),
        }
    }

    /// Reads as much as was asked for, in as many messages as that takes.
    async fn read_all(
        &self,
        space: &SpaceName,
        from: Seq,
        limit: ReadLimit,
    ) -> Result<Vec<Event>, StoreError> {
        let limit = limit.cut();
        let mut found: Vec<Event> = Vec::new();
        let mut left = limit;
        loop {
            let part = ReadLimit {
                count: left.count.min(REMOTE_EVENTS_MAX),
                bytes: left.bytes.min(REMOTE_BYTES_MAX),
            };
            let from = from.plus(found.len());
            let more: Vec<Event> =
                self.look(Request::Read { space: space.clone(), from, limit: part }).await?;
            let is_last = more.is_empty() || part == left;
            for event in more {
                let bytes = event.payload.bytes().len();
                if left.count == 0 || (bytes > left.bytes && !found.is_empty()) {
                    return Ok(found);
                }
                left = ReadLimit { count: left.count - 1, bytes: left.bytes.saturating_sub(bytes) };
                found.push(event);
            }
            if is_last || left.count == 0 {
                return Ok(found);
            }
        }
    }

    /// Lists as many as were asked for, in as many messages as that takes.
    async fn list<T>(
        &self,
        after: Option<&SpaceName>,
        count: usize,
        request: impl Fn(Option<SpaceName>, usize) -> Request,
        name: impl Fn(&T) -> &SpaceName,
    ) -> Result<Vec<T>, StoreError>
    where
        Vec<T>: Wire,
    {
        let mut found: Vec<T> = Vec::new();
        loop {
            let after = found.last().map(&name).or(after).cloned();
            let want = count.saturating_sub(found.len()).min(REMOTE_SPACES_MAX);
            if want == 0 {
                return Ok(found);
            }
            let more: Vec<T> = self.look(request(after, want)).await?;
            let is_last = more.len() < want;
            found.extend(more);
            if is_last {
                return Ok(found);
            }
        }
    }
}

impl EventStore for RemoteLog {
    fn seal<'a>(
        &'a self,
        space: &'a SpaceName,
        epoch: Epoch,
        first: Incarnation,
    ) -> Answer<'a, Result<SpaceState, SealError>> {
        let request = Request::Seal { space: space.clone(), epoch, first };
        Box::pin(async move {
            self.ask(request).await.unwrap_or_else(|failed| Err(SealError::Store(self.failed(failed))))
        })
    }

    fn append<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Result<Written, AppendFailed>> {
        let request = Request::Append(Draft::of(batch));
        Box::pin(async move {
            self.ask(request).await.unwrap_or_else(|failed| Err(AppendFailed::Store(self.failed(failed))))
        })
    }

    fn set_access<'a>(
        &'a self,
        _: &'a SpaceName,
        _: Epoch,
        _: Access,
    ) -> Answer<'a, Result<SpaceState, SealError>> {
        Box::pin(std::future::ready(Err(SealError::Store(self.failed(Failed::OnlyThere)))))
    }

    fn access<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Access>, StoreError>> {
        Box::pin(self.look(Request::Access { space: space.clone() }))
    }

    fn adopt<'a>(&'a self, _: &'a Part) -> Answer<'a, Result<SpaceState, AdoptError>> {
        Box::pin(std::future::ready(Err(AdoptError::Store(self.failed(Failed::OnlyThere)))))
    }

    fn state<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<SpaceState>, StoreError>> {
        Box::pin(self.look(Request::State { space: space.clone() }))
    }

    fn read<'a>(
        &'a self,
        space: &'a SpaceName,
        from: Seq,
        limit: ReadLimit,
    ) -> Answer<'a, Result<Vec<Event>, StoreError>> {
        Box::pin(self.read_all(space, from, limit))
    }

    fn find<'a>(
        &'a self,
        space: &'a SpaceName,
        id: &'a IntentId,
    ) -> Answer<'a, Result<Option<Placed>, StoreError>> {
        Box::pin(self.look(Request::Find { space: space.clone(), id: id.clone() }))
    }

    fn spaces<'a>(
        &'a self,
        after: Option<&'a SpaceName>,
        count: usize,
    ) -> Answer<'a, Result<Vec<SpaceName>, StoreError>> {
        Box::pin(self.list(after, count, |after, count| Request::Spaces { after, count }, |name| name))
    }

    fn states<'a>(
        &'a self,
        after: Option<&'a SpaceName>,
        count: usize,
    ) -> Answer<'a, Result<Vec<(SpaceName, SpaceState)>, StoreError>> {
        Box::pin(self.list(after, count, |after, count| Request::States { after, count }, |(name, _)| name))
    }
}

impl LeaseRegistry for RemoteLog {
    fn acquire<'a>(&'a self, space: &'a SpaceName, ask: &'a Ask) -> Answer<'a, Result<Lease, AcquireError>> {
        let request = Request::Acquire { space: space.clone(), ask: ask.clone() };
        Box::pin(async move {
            self.ask(request).await.unwrap_or_else(|failed| Err(self.registry_failed(failed).into()))
        })
    }

    fn renew<'a>(
        &'a self,
        space: &'a SpaceName,
        node: AuthorId,
        epoch: Epoch,
        ttl: Duration,
    ) -> Answer<'a, Result<(), RenewError>> {
        let request = Request::Renew { space: space.clone(), node, epoch, ttl };
        Box::pin(async move {
            self.ask(request).await.unwrap_or_else(|failed| Err(self.registry_failed(failed).into()))
        })
    }

    fn release<'a>(
        &'a self,
        space: &'a SpaceName,
        node: AuthorId,
        epoch: Epoch,
    ) -> Answer<'a, Result<(), RegistryError>> {
        let request = Request::Release { space: space.clone(), node, epoch };
        Box::pin(
            async move { self.ask(request).await.unwrap_or_else(|failed| Err(self.registry_failed(failed))) },
        )
    }

    fn lease<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Lease>, RegistryError>> {
        let request = Request::Lease { space: space.clone() };
        Box::pin(
            async move { self.ask(request).await.unwrap_or_else(|failed| Err(self.registry_failed(failed))) },
        )
    }
}

impl fmt::Debug for RemoteLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteLog").field("place", &self.place()).finish_non_exhaustive()
    }
}

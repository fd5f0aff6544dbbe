//! Logs with leases in memory: a real event store and a real registry, which just do not outlive their process.

use std::{
    collections::BTreeMap,
    fmt,
    future::ready,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bft_json_crdt::AuthorId;
use gangline_lease::{
    Access, AcquireError, AdoptError, Answer, AppendFailed, Ask, Batch, Clock, Epoch, Event, EventStore,
    Head, Incarnation, IntentId, Lease, LeaseRegistry, LeaseRow, Misfit, Part, Placed, ReadLimit,
    RegistryError, RenewError, SealError, Seq, SpaceName, SpaceState, StoreError, Verdict, Written, rules,
};

/// Keeps events in memory. Clones are handles on the same logs.
#[derive(Clone, Default)]
pub struct MemoryEventStore {
    spaces: Arc<Mutex<BTreeMap<SpaceName, Log>>>,
}

struct Log {
    state: SpaceState,
    access: Access,
    events: Vec<Event>,
    intents: BTreeMap<IntentId, Placed>,
}

impl Log {
    fn new(state: SpaceState) -> Self {
        Self { state, access: Access::Open, events: Vec::new(), intents: BTreeMap::new() }
    }

    fn copy(state: SpaceState) -> Self {
        Self { access: Access::Copy, ..Self::new(state) }
    }

    fn push(&mut self, event: &Event, placed: Placed) {
        self.intents.insert(event.id.clone(), placed);
        self.events.push(event.clone());
    }
}

impl MemoryEventStore {
    /// Returns a store without spaces.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn spaces(&self) -> MutexGuard<'_, BTreeMap<SpaceName, Log>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seal_now(
        &self,
        space: &SpaceName,
        epoch: Epoch,
        wanted: Option<Access>,
        first: Incarnation,
    ) -> Result<SpaceState, SealError> {
        let mut spaces = self.spaces();
        let begin = || SpaceState { incarnation: first, epoch: Epoch::NONE, head: Head::start(space, first) };
        let found = spaces.get(space).map(|log| (&log.state, &log.access));
        let (state, access) =
            rules::seal_for(found, epoch, wanted, begin).map_err(|refusal| SealError::of(refusal, epoch))?;
        let log = spaces.entry(space.clone()).or_insert_with(|| Log::new(state));
        (log.state, log.access) = (state, access);
        Ok(state)
    }

    fn adopt_now(&self, part: &Part) -> Result<SpaceState, Misfit> {
        let mut spaces = self.spaces();
        let found = spaces.get(part.space());
        let known = found.and_then(|log| {
            part.events().iter().find_map(|event| log.intents.get(&event.id)).map(|placed| placed.seq)
        });
        let state = rules::adopt(found.map(|log| (&log.state, &log.access)), part, known)?;
        let log = match part.replaces() {
            None => spaces.entry(part.space().clone()).or_insert_with(|| Log::copy(state)),
            Some(_) => spaces.entry(part.space().clone()).insert_entry(Log::copy(state)).into_mut(),
        };
        log.state = state;
        part.events().iter().for_each(|event| log.push(event, event.placed()));
        Ok(state)
    }

    fn append_now(&self, batch: &Batch) -> Result<Written, AppendFailed> {
        let mut spaces = self.spaces();
        let mut log = spaces.get_mut(batch.space());
        let known: Vec<(usize, Placed)> = match &log {
            Some(log) => {
                let find = |event: &Event| log.intents.get(&event.id).copied();
                batch.events().iter().enumerate().filter_map(|(at, event)| Some((at, find(event)?))).collect()
            }
            None => Vec::new(),
        };
        let verdict = rules::judge(log.as_ref().map(|log| &log.state), &batch.bid(), !known.is_empty());
        if let Some(refusal) = AppendFailed::of(verdict, batch) {
            return Err(refusal);
        }
        if verdict == Verdict::Duplicate {
            return Ok(Written::Duplicate(known));
        }
        if let Some(log) = &mut log {
            batch.events().iter().zip(batch.placed()).for_each(|(event, placed)| log.push(event, *placed));
            log.state.head = batch.end();
        }
        Ok(Written::Done(batch.end()))
    }

    fn read_now(&self, space: &SpaceName, from: Seq, limit: ReadLimit) -> Vec<Event> {
        let limit = limit.cut();
        let spaces = self.spaces();
        let Some(log) = spaces.get(space) else { return Vec::new() };
        let Ok(from) = usize::try_from(from.0) else { return Vec::new() };
        let mut bytes = 0_usize;
        let mut found = Vec::new();
        for event in log.events.iter().skip(from).take(limit.count) {
            bytes = bytes.saturating_add(event.payload.bytes().len());
            if bytes > limit.bytes && !found.is_empty() {
                break;
            }
            found.push(event.clone());
        }
        found
    }
}

impl EventStore for MemoryEventStore {
    fn seal<'a>(
        &'a self,
        space: &'a SpaceName,
        epoch: Epoch,
        first: Incarnation,
    ) -> Answer<'a, Result<SpaceState, SealError>> {
        Box::pin(ready(self.seal_now(space, epoch, None, first)))
    }

    fn set_access<'a>(
        &'a self,
        space: &'a SpaceName,
        epoch: Epoch,
        access: Access,
    ) -> Answer<'a, Result<SpaceState, SealError>> {
        Box::pin(ready(self.seal_now(space, epoch, Some(access), Incarnation([0; 16]))))
    }

    fn access<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Access>, StoreError>> {
        Box::pin(ready(Ok(self.spaces().get(space).map(|log| log.access.clone()))))
    }

    fn adopt<'a>(&'a self, part: &'a Part) -> Answer<'a, Result<SpaceState, AdoptError>> {
        Box::pin(ready(self.adopt_now(part).map_err(AdoptError::from)))
    }

    fn append<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Result<Written, AppendFailed>> {
        Box::pin(ready(self.append_now(batch)))
    }

    fn state<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<SpaceState>, StoreError>> {
        Box::pin(ready(Ok(self.spaces().get(space).map(|log| log.state))))
    }

    fn read<'a>(
        &'a self,
        space: &'a SpaceName,
        from: Seq,
        limit: ReadLimit,
    ) -> Answer<'a, Result<Vec<Event>, StoreError>> {
        Box::pin(ready(Ok(self.read_now(space, from, limit))))
    }

    fn find<'a>(
        &'a self,
        space: &'a SpaceName,
        id: &'a IntentId,
    ) -> Answer<'a, Result<Option<Placed>, StoreError>> {
        Box::pin(ready(Ok(self.spaces().get(space).and_then(|log| log.intents.get(id).copied()))))
    }

    fn spaces<'a>(
        &'a self,
        after: Option<&'a SpaceName>,
        count: usize,
    ) -> Answer<'a, Result<Vec<SpaceName>, StoreError>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let spaces = self.spaces();
        let found =
            spaces.range((from, Bound::Unbounded)).take(count).map(|(name, _)| name.clone()).collect();
        Box::pin(ready(Ok(found)))
    }
}

impl fmt::Debug for MemoryEventStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryEventStore").field("spaces", &self.spaces().len()).finish()
    }
}

/// Keeps leases in memory, on one clock. Clones are handles on the same leases.
#[derive(Clone)]
pub struct MemoryLeaseRegistry {
    clock: Arc<dyn Clock>,
    rows: Arc<Mutex<BTreeMap<SpaceName, LeaseRow>>>,
}

impl MemoryLeaseRegistry {
    /// Returns a registry without leases.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, rows: Arc::default() }
    }

    /// Forgets every lease and every epoch, as a registry may that is restarted.
    pub fn forget(&self) {
        self.rows().clear();
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<SpaceName, LeaseRow>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acquire_now(&self, space: &SpaceName, ask: &Ask) -> Result<Lease, AcquireError> {
        let mut rows = self.rows();
        let now = self.clock.now();
        let row = LeaseRow::grant(rows.get(space), ask.holder.clone(), ask.ttl, ask.above, now)
            .map_err(AcquireError::Held)?;
        let lease = Lease { holder: row.holder.clone(), epoch: row.epoch, left: now.until(row.ends) };
        rows.insert(space.clone(), row);
        Ok(lease)
    }

    /// Changes a row, if there is one and `change` makes another of it; returns whether it did.
    fn change(&self, space: &SpaceName, change: impl FnOnce(&LeaseRow) -> Option<LeaseRow>) -> bool {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(space) else { return false };
        let changed = change(row);
        let is_changed = changed.is_some();
        *row = changed.unwrap_or_else(|| row.clone());
        is_changed
    }
}

impl LeaseRegistry for MemoryLeaseRegistry {
    fn acquire<'a>(&'a self, space: &'a SpaceName, ask: &'a Ask) -> Answer<'a, Result<Lease, AcquireError>> {
        Box::pin(ready(self.acquire_now(space, ask)))
    }

    fn renew<'a>(
        &'a self,
        space: &'a SpaceName,
        node: AuthorId,
        epoch: Epoch,
        ttl: Duration,
    ) -> Answer<'a, Result<(), RenewError>> {
        let is_renewed = self.change(space, |row| row.renew(node, epoch, ttl, self.clock.now()));
        Box::pin(ready(if is_renewed { Ok(()) } else { Err(RenewError::Lost { epoch }) }))
    }

    fn release<'a>(
        &'a self,
        space: &'a SpaceName,
        node: AuthorId,
        epoch: Epoch,
    ) -> Answer<'a, Result<(), RegistryError>> {
        self.change(space, |row| row.release(node, epoch, self.clock.now()));
        Box::pin(ready(Ok(())))
    }

    fn lease<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Lease>, RegistryError>> {
        let now = self.clock.now();
        Box::pin(ready(Ok(self.rows().get(space).and_then(|row| row.lease(now)))))
    }
}

impl fmt::Debug for MemoryLeaseRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLeaseRegistry").field("leases", &self.rows().len()).finish_non_exhaustive()
    }
}

//! Logs with leases in one SQLite file, which several processes of a machine may share.
//!
//! Two threads, each with a connection of its own: one writes, one reads. Every write is a transaction that begins
//! `IMMEDIATE`, so that no other process writes between what it compares and what it inserts; the head's row is
//! changed only where epoch, incarnation, position and hash are those of the batch. The file is in WAL mode with
//! `synchronous=FULL`: what was acknowledged survives the loss of power.
//!
//! Leases live beside the events. They end by the machine's boot clock, which is the same for all its processes and
//! goes on in sleep; a lease of an earlier boot has ended. See `schema.rs` for what is in the file.

mod boot;
mod event_row;
mod file;
mod lease_row;
mod leases;
pub(crate) mod open;
mod schema;

use std::{path::Path, sync::Arc, time::Duration};

use bft_json_crdt::AuthorId;
use gangline_lease::{
    Access, AcquireError, AdoptError, Answer, AppendFailed, Ask, Batch, Epoch, Event, EventStore,
    Incarnation, IntentId, Lease, LeaseRegistry, Part, Placed, ReadLimit, RegistryError, RenewError,
    SealError, Seq, SpaceName, SpaceState, StoreError, Written,
};

pub(crate) use self::leases::SqliteLeases;
pub use self::{
    boot::{BootClock, BootClockError},
    open::OpenLogError,
};
use self::{file::SqliteFile, open::Kind};

/// Keeps logs and leases in an SQLite file. Dropping it finishes what was asked for, then closes the file.
#[derive(Debug)]
pub struct SqliteLog {
    file: Arc<SqliteFile>,
    leases: SqliteLeases,
}

impl SqliteLog {
    /// Opens the file in `dir`, or makes one. Other processes of this machine may have it open, on a local disk.
    ///
    /// # Errors
    /// See [`OpenLogError`]: each names the file and what to do.
    pub fn open(dir: &Path, clock: BootClock) -> Result<Self, OpenLogError> {
        let file = Arc::new(SqliteFile::open(dir, &Kind::LOG)?);
        Ok(Self { leases: SqliteLeases::new(Arc::clone(&file), clock), file })
    }

    /// Returns the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

impl EventStore for SqliteLog {
    fn seal<'a>(
        &'a self,
        space: &'a SpaceName,
        epoch: Epoch,
        first: Incarnation,
    ) -> Answer<'a, Result<SpaceState, SealError>> {
        let name = space.clone();
        let sealed =
            self.file.write(move |transaction| event_row::seal(transaction, &name, epoch, None, first));
        Box::pin(async move {
            let sealed = sealed.await.map_err(|failure| self.file.store_error(failure))?;
            sealed.map_err(|refusal| SealError::of(refusal, epoch))
        })
    }

    fn set_access<'a>(
        &'a self,
        space: &'a SpaceName,
        epoch: Epoch,
        access: Access,
    ) -> Answer<'a, Result<SpaceState, SealError>> {
        let name = space.clone();
        let unused = Incarnation([0; 16]);
        let sealed = self
            .file
            .write(move |transaction| event_row::seal(transaction, &name, epoch, Some(access), unused));
        Box::pin(async move {
            let sealed = sealed.await.map_err(|failure| self.file.store_error(failure))?;
            sealed.map_err(|refusal| SealError::of(refusal, epoch))
        })
    }

    fn access<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Access>, StoreError>> {
        let name = space.clone();
        let found = self.file.read(move |connection| event_row::space_row(connection, &name));
        Box::pin(async move {
            let found = found.await.map_err(|failure| self.file.store_error(failure))?;
            Ok(found.map(|row| row.access))
        })
    }

    fn adopt<'a>(&'a self, part: &'a Part) -> Answer<'a, Result<SpaceState, AdoptError>> {
        let whole = part.clone();
        let adopted = self.file.write(move |transaction| event_row::adopt(transaction, &whole));
        Box::pin(async move {
            let adopted = adopted.await.map_err(|failure| self.file.store_error(failure))?;
            adopted.map_err(AdoptError::from)
        })
    }

    fn append<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Result<Written, AppendFailed>> {
        let whole = batch.clone();
        let appended = self.file.write(move |transaction| event_row::append(transaction, &whole));
        Box::pin(async move {
            let (verdict, written) = appended.await.map_err(|failure| self.file.store_error(failure))?;
            match AppendFailed::of(verdict, batch) {
                Some(refusal) => Err(refusal),
                None => Ok(written),
            }
        })
    }

    fn state<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<SpaceState>, StoreError>> {
        let name = space.clone();
        let found = self.file.read(move |connection| event_row::space_row(connection, &name));
        Box::pin(async move {
            let found = found.await.map_err(|failure| self.file.store_error(failure))?;
            Ok(found.map(|row| row.state))
        })
    }

    fn read<'a>(
        &'a self,
        space: &'a SpaceName,
        from: Seq,
        limit: ReadLimit,
    ) -> Answer<'a, Result<Vec<Event>, StoreError>> {
        let name = space.clone();
        let found = self.file.read(move |connection| event_row::read(connection, &name, from, limit.cut()));
        Box::pin(async move { found.await.map_err(|failure| self.file.store_error(failure)) })
    }

    fn find<'a>(
        &'a self,
        space: &'a SpaceName,
        id: &'a IntentId,
    ) -> Answer<'a, Result<Option<Placed>, StoreError>> {
        let (name, id) = (space.clone(), id.clone());
        let found = self.file.read(move |connection| event_row::find(connection, &name, &id));
        Box::pin(async move { found.await.map_err(|failure| self.file.store_error(failure)) })
    }

    fn spaces<'a>(
        &'a self,
        after: Option<&'a SpaceName>,
        count: usize,
    ) -> Answer<'a, Result<Vec<SpaceName>, StoreError>> {
        let after = after.cloned();
        let found = self.file.read(move |connection| event_row::spaces(connection, after.as_ref(), count));
        Box::pin(async move { found.await.map_err(|failure| self.file.store_error(failure)) })
    }
}

impl LeaseRegistry for SqliteLog {
    fn acquire<'a>(&'a self, space: &'a SpaceName, ask: &'a Ask) -> Answer<'a, Result<Lease, AcquireError>> {
        self.leases.acquire(space, ask)
    }

    fn renew<'a>(
        &'a self,
        space: &'a SpaceName,
        node: AuthorId,
        epoch: Epoch,
        ttl: Duration,
    ) -> Answer<'a, Result<(), RenewError>> {
        self.leases.renew(space, node, epoch, ttl)
    }

    fn release<'a>(
        &'a self,
        space: &'a SpaceName,
        node: AuthorId,
        epoch: Epoch,
    ) -> Answer<'a, Result<(), RegistryError>> {
        self.leases.release(space, node, epoch)
    }

    fn lease<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Lease>, RegistryError>> {
        self.leases.lease(space)
    }
}

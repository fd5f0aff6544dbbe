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
mod lease_row;
mod open;
mod schema;
mod worker;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bft_json_crdt::AuthorId;
use gangline_lease::{
    Access, AcquireError, AdoptError, Answer, AppendFailed, Ask, Batch, Epoch, Event, EventStore,
    Incarnation, IntentId, Lease, LeaseRegistry, Part, Placed, ReadLimit, RegistryError, RenewError,
    SealError, Seq, SpaceName, SpaceState, StoreError, Written,
};

use self::worker::{Failure, Worker};
pub use self::{
    boot::{BootClock, BootClockError},
    open::OpenLogError,
};

/// Keeps logs and leases in an SQLite file. Dropping it finishes what was asked for, then closes the file.
#[derive(Debug)]
pub struct SqliteLog {
    path: PathBuf,
    clock: BootClock,
    writer: Worker,
    reader: Worker,
}

impl SqliteLog {
    /// Opens the file in `dir`, or makes one. Other processes of this machine may have it open, on a local disk.
    ///
    /// # Errors
    /// See [`OpenLogError`]: each names the file and what to do.
    pub fn open(dir: &Path, clock: BootClock) -> Result<Self, OpenLogError> {
        let opened = open::open(dir)?;
        let spawn = |name, connection| {
            Worker::spawn(name, connection)
                .map_err(|source| OpenLogError::Io { path: opened.path.clone(), source })
        };
        let writer = spawn("log-writer", opened.writer)?;
        let reader = spawn("log-reader", opened.reader)?;
        Ok(Self { path: opened.path, clock, writer, reader })
    }

    /// Returns the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn store_error(&self, failure: Failure) -> StoreError {
        let place = self.path.display().to_string();
        match failure {
            Failure::Refused(source) => StoreError::Refused { place, source },
            Failure::Unknown(source) => StoreError::Unknown { place, source },
            Failure::Damaged(what) => StoreError::Damaged { place, what },
        }
    }

    fn registry_error(&self, failure: Failure) -> RegistryError {
        let source = Arc::new(self.store_error(failure));
        RegistryError { place: self.path.display().to_string(), source }
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
            self.writer.write(move |transaction| event_row::seal(transaction, &name, epoch, None, first));
        Box::pin(async move {
            let sealed = sealed.await.map_err(|failure| self.store_error(failure))?;
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
            .writer
            .write(move |transaction| event_row::seal(transaction, &name, epoch, Some(access), unused));
        Box::pin(async move {
            let sealed = sealed.await.map_err(|failure| self.store_error(failure))?;
            sealed.map_err(|refusal| SealError::of(refusal, epoch))
        })
    }

    fn access<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Access>, StoreError>> {
        let name = space.clone();
        let found = self.reader.read(move |connection| event_row::space_row(connection, &name));
        Box::pin(async move {
            let found = found.await.map_err(|failure| self.store_error(failure))?;
            Ok(found.map(|row| row.access))
        })
    }

    fn adopt<'a>(&'a self, part: &'a Part) -> Answer<'a, Result<SpaceState, AdoptError>> {
        let whole = part.clone();
        let adopted = self.writer.write(move |transaction| event_row::adopt(transaction, &whole));
        Box::pin(async move {
            let adopted = adopted.await.map_err(|failure| self.store_error(failure))?;
            adopted.map_err(AdoptError::from)
        })
    }

    fn append<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Result<Written, AppendFailed>> {
        let whole = batch.clone();
        let appended = self.writer.write(move |transaction| event_row::append(transaction, &whole));
        Box::pin(async move {
            let (verdict, written) = appended.await.map_err(|failure| self.store_error(failure))?;
            match AppendFailed::of(verdict, batch) {
                Some(refusal) => Err(refusal),
                None => Ok(written),
            }
        })
    }

    fn state<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<SpaceState>, StoreError>> {
        let name = space.clone();
        let found = self.reader.read(move |connection| event_row::space_row(connection, &name));
        Box::pin(async move {
            let found = found.await.map_err(|failure| self.store_error(failure))?;
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
        let found = self.reader.read(move |connection| event_row::read(connection, &name, from, limit.cut()));
        Box::pin(async move { found.await.map_err(|failure| self.store_error(failure)) })
    }

    fn find<'a>(
        &'a self,
        space: &'a SpaceName,
        id: &'a IntentId,
    ) -> Answer<'a, Result<Option<Placed>, StoreError>> {
        let (name, id) = (space.clone(), id.clone());
        let found = self.reader.read(move |connection| event_row::find(connection, &name, &id));
        Box::pin(async move { found.await.map_err(|failure| self.store_error(failure)) })
    }

    fn spaces<'a>(
        &'a self,
        after: Option<&'a SpaceName>,
        count: usize,
    ) -> Answer<'a, Result<Vec<SpaceName>, StoreError>> {
        let after = after.cloned();
        let found = self.reader.read(move |connection| event_row::spaces(connection, after.as_ref(), count));
        Box::pin(async move { found.await.map_err(|failure| self.store_error(failure)) })
    }
}

impl LeaseRegistry for SqliteLog {
    fn acquire<'a>(&'a self, space: &'a SpaceName, ask: &'a Ask) -> Answer<'a, Result<Lease, AcquireError>> {
        let (name, ask, clock) = (space.clone(), ask.clone(), self.clock.clone());
        let granted = self.writer.write(move |transaction| lease_row::grant(transaction, &name, ask, &clock));
        Box::pin(async move {
            let granted = granted.await.map_err(|failure| self.registry_error(failure))?;
            granted.map_err(AcquireError::Held)
        })
    }

    fn renew<'a>(
        &'a self,
        space: &'a SpaceName,
        node: AuthorId,
        epoch: Epoch,
        ttl: Duration,
    ) -> Answer<'a, Result<(), RenewError>> {
        let (name, clock) = (space.clone(), self.clock.clone());
        let renewed = self.writer.write(move |transaction| {
            lease_row::change(transaction, &name, &clock, |row, now| row.renew(node, epoch, ttl, now))
        });
        Box::pin(async move {
            let is_renewed = renewed.await.map_err(|failure| self.registry_error(failure))?;
            if is_renewed { Ok(()) } else { Err(RenewError::Lost { epoch }) }
        })
    }

    fn release<'a>(
        &'a self,
        space: &'a SpaceName,
        node: AuthorId,
        epoch: Epoch,
    ) -> Answer<'a, Result<(), RegistryError>> {
        let (name, clock) = (space.clone(), self.clock.clone());
        let released = self.writer.write(move |transaction| {
            lease_row::change(transaction, &name, &clock, |row, now| row.release(node, epoch, now))
        });
        Box::pin(async move {
            let _was_its_own: bool = released.await.map_err(|failure| self.registry_error(failure))?;
            Ok(())
        })
    }

    fn lease<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Lease>, RegistryError>> {
        let (name, clock) = (space.clone(), self.clock.clone());
        let found = self.reader.read(move |connection| lease_row::lease(connection, &name, &clock));
        Box::pin(async move { found.await.map_err(|failure| self.registry_error(failure)) })
    }
}

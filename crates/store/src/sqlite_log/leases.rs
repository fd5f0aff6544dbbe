//! Leases in an SQLite file, for every process of the machine: beside a log's events, or in a file of their own.

use std::{path::Path, sync::Arc, time::Duration};

use bft_json_crdt::AuthorId;
use gangline_lease::{
    AcquireError, Answer, Ask, Epoch, Lease, LeaseRegistry, RegistryError, RenewError, SpaceName,
};

use super::{
    boot::BootClock,
    file::SqliteFile,
    lease_row,
    open::{Kind, OpenLogError},
};
use crate::worker::Failure;

/// A registry in a file.
#[derive(Debug)]
pub(crate) struct SqliteLeases {
    file: Arc<SqliteFile>,
    clock: BootClock,
}

impl SqliteLeases {
    pub(super) fn new(file: Arc<SqliteFile>, clock: BootClock) -> Self {
        Self { file, clock }
    }

    /// Opens a file that has leases only, or makes one in `dir`.
    pub(crate) fn open(dir: &Path, clock: BootClock) -> Result<Self, OpenLogError> {
        Ok(Self::new(Arc::new(SqliteFile::open(dir, &Kind::LEASES)?), clock))
    }

    fn registry_error(&self, failure: Failure) -> RegistryError {
        let source = Arc::new(self.file.store_error(failure));
        RegistryError { place: self.file.path().display().to_string(), source }
    }
}

impl LeaseRegistry for SqliteLeases {
    fn acquire<'a>(&'a self, space: &'a SpaceName, ask: &'a Ask) -> Answer<'a, Result<Lease, AcquireError>> {
        let (name, ask, clock) = (space.clone(), ask.clone(), self.clock.clone());
        let granted = self.file.write(move |transaction| lease_row::grant(transaction, &name, ask, &clock));
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
        let renewed = self.file.write(move |transaction| {
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
        let released = self.file.write(move |transaction| {
            lease_row::change(transaction, &name, &clock, |row, now| row.release(node, epoch, now))
        });
        Box::pin(async move {
            let _was_its_own: bool = released.await.map_err(|failure| self.registry_error(failure))?;
            Ok(())
        })
    }

    fn lease<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Lease>, RegistryError>> {
        let (name, clock) = (space.clone(), self.clock.clone());
        let found = self.file.read(move |connection| lease_row::lease(connection, &name, &clock));
        Box::pin(async move { found.await.map_err(|failure| self.registry_error(failure)) })
    }
}

//! Logs with leases in a local git repository, which several processes of a machine may share: history that people
//! read with `git log`, and copy with `git clone`.
//!
//! Each space has a branch, `refs/heads/gangline/log/<space>`, so that a plain `git clone --bare` has all logs. Each
//! batch is one commit, each seal another (a *claim*). A commit's text has the events, one line of JSON each, and
//! says how the space stands afterwards, so a log's tip is all that an append needs to know; trees are empty, and
//! what an append costs does not grow with the log. `record.rs` has the form of a commit, `ref_name.rs` that of a
//! branch's name. Dates are the wall clock's, for people; nothing goes by them.
//!
//! ```text
//! lock       every change is judged under one lock of the operating system for the repository; a branch's lock
//!            that a killed process has left behind is taken away
//! fence      the branch is moved from the very tip that was judged, or not at all
//! durable    objects, branches and their directories are synced before anything is acknowledged
//! index      where intents and events are; a cache, see `index.rs`
//! leases     in a file of their own: a renewal is no commit
//! packs      loose objects are packed beside the appends, see `pack.rs`
//! ```
//!
//! A log that takes another's place ([`gangline_lease::Part::replaces`]) leaves that one under
//! `refs/heads/gangline/aside/<space>/<commit>`; the branch for that is made before the log's own is moved, so that
//! whoever is killed in between has one branch too many and no log too few.
//!
//! Beside git's own files, the repository's directory has `gangline/`: the lock, the leases, the indexes, a setting of
//! libgit2's (what is written is synced), and the former files of branches until the next packing.

mod index;
mod loose;
mod open;
mod pack;
mod reader;
mod record;
mod ref_name;
mod repo;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bft_json_crdt::AuthorId;
use gangline_lease::{
    Access, AcquireError, AdoptError, Answer, AppendFailed, Ask, Batch, Epoch, Event, EventStore,
    Incarnation, IntentId, Lease, LeaseRegistry, Part, Placed, ReadLimit, RegistryError, RenewError,
    SealError, Seq, SpaceName, SpaceState, StoreError, Written,
};

pub use self::open::OpenGitLogError;
use self::{index::Index, pack::Packer, reader::Reader, repo::Repo, writer::Writer};
use crate::{
    BootClock, OpenLogError,
    sqlite_log::SqliteLeases,
    worker::{Failure, Worker},
};

/// Keeps logs and leases in a git repository. Dropping it finishes what was asked for.
pub struct GitLog {
    path: PathBuf,
    reader: Worker<Reader>,
    /// None in what is only read.
    writing: Option<Writing>,
}

struct Writing {
    writer: Worker<Writer>,
    leases: SqliteLeases,
    is_closing: Arc<AtomicBool>,
}

impl GitLog {
    /// Opens a bare repository that this program has made, or makes one. Other processes of this machine may have it
    /// open, on a local disk.
    ///
    /// An empty bare repository that somebody else has made is taken too.
    ///
    /// # Errors
    /// See [`OpenGitLogError`]: each names the repository and what to do.
    pub fn open(path: &Path, clock: BootClock) -> Result<Self, OpenGitLogError> {
        let opened = open::open(path)?;
        let leases = SqliteLeases::open(&opened.side, clock)?;
        let index = Index::open(&opened.side).map_err(|error| no_index(path, error))?;
        let index = Arc::new(Mutex::new(index));
        let io_error = |source| OpenGitLogError::Io { path: path.to_owned(), source };
        let is_closing = Arc::new(AtomicBool::new(false));
        let packer = Packer::new(path, &opened.side, Arc::clone(&is_closing)).map_err(io_error)?;
        let packer = Worker::spawn("log-packer", packer).map_err(io_error)?;
        let writer = Writer::new(opened.writer, opened.lock, Arc::clone(&index), packer);
        let writer = Worker::spawn("log-writer", writer).map_err(io_error)?;
        let reader = Worker::spawn("log-reader", Reader { repo: opened.reader, index }).map_err(io_error)?;
        Ok(Self { path: path.to_owned(), reader, writing: Some(Writing { writer, leases, is_closing }) })
    }

    /// Opens any repository that has logs, as a clone, to read them. Nothing is written to its directory; the index
    /// is kept in memory, and made by reading each log once. Whatever would change a log or a lease is refused.
    ///
    /// # Errors
    /// See [`OpenGitLogError`].
    pub fn open_readonly(path: &Path) -> Result<Self, OpenGitLogError> {
        let git_error = |source| OpenGitLogError::Git { path: path.to_owned(), source };
        let repo = Repo::open(path).map_err(git_error)?;
        let index = Index::in_memory().map_err(|error| no_index(path, error))?;
        let reader = Reader { repo, index: Arc::new(Mutex::new(index)) };
        let reader = Worker::spawn("log-reader", reader)
            .map_err(|source| OpenGitLogError::Io { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), reader, writing: None })
    }

    /// Returns the repository's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn store_error(&self, failure: Failure) -> StoreError {
        failure.at(self.path.display().to_string())
    }

    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let failed = |failure| self.store_error(failure);
        match &self.writing {
            Some(writing) => writing.writer.ask(job).await.map_err(failed),
            None => Err(failed(Failure::refused(READ_ONLY))),
        }
    }

    async fn read_with<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Reader) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.reader.ask(job).await.map_err(|failure| self.store_error(failure))
    }

    fn leases(&self) -> Result<&SqliteLeases, RegistryError> {
        self.writing.as_ref().map(|writing| &writing.leases).ok_or_else(|| RegistryError {
            place: self.path.display().to_string(),
            source: Arc::new(std::io::Error::other(READ_ONLY)),
        })
    }

    async fn seal_with(
        &self,
        space: &SpaceName,
        epoch: Epoch,
        wanted: Option<Access>,
        first: Incarnation,
    ) -> Result<SpaceState, SealError> {
        // Who has the lease is told in the claim, where that is known.
        let lease = match self.leases() {
            Ok(leases) => leases.lease(space).await.ok().flatten(),
            Err(_) => None,
        };
        let by = lease.filter(|lease| lease.epoch == epoch).map(|lease| lease.holder);
        let space = space.clone();
        let sealed =
            self.write(move |writer| writer.seal(&space, epoch, wanted.as_ref(), first, by.as_ref())).await?;
        sealed.map_err(|refusal| SealError::of(refusal, epoch))
    }
}

const READ_ONLY: &str = "the repository was opened to be read only";

fn no_index(path: &Path, source: rusqlite::Error) -> OpenGitLogError {
    OpenLogError::Sqlite { path: path.to_owned(), source }.into()
}

impl EventStore for GitLog {
    fn seal<'a>(
        &'a self,
        space: &'a SpaceName,
        epoch: Epoch,
        first: Incarnation,
    ) -> Answer<'a, Result<SpaceState, SealError>> {
        Box::pin(self.seal_with(space, epoch, None, first))
    }

    fn set_access<'a>(
        &'a self,
        space: &'a SpaceName,
        epoch: Epoch,
        access: Access,
    ) -> Answer<'a, Result<SpaceState, SealError>> {
        let unused = Incarnation([0; 16]);
        Box::pin(self.seal_with(space, epoch, Some(access), unused))
    }

    fn access<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Access>, StoreError>> {
        let name = space.clone();
        Box::pin(async move {
            let found = self.read_with(move |reader| reader.standing(&name)).await?;
            Ok(found.map(|standing| standing.access))
        })
    }

    fn append<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Result<Written, AppendFailed>> {
        let whole = batch.clone();
        Box::pin(async move {
            let (verdict, written) = self.write(move |writer| writer.append(&whole)).await?;
            match AppendFailed::of(verdict, batch) {
                Some(refusal) => Err(refusal),
                None => Ok(written),
            }
        })
    }

    fn adopt<'a>(&'a self, part: &'a Part) -> Answer<'a, Result<SpaceState, AdoptError>> {
        let whole = part.clone();
        Box::pin(async move {
            let adopted = self.write(move |writer| writer.adopt(&whole)).await?;
            adopted.map_err(AdoptError::from)
        })
    }

    fn state<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<SpaceState>, StoreError>> {
        let name = space.clone();
        Box::pin(async move {
            let found = self.read_with(move |reader| reader.standing(&name)).await?;
            Ok(found.map(|standing| standing.state))
        })
    }

    fn read<'a>(
        &'a self,
        space: &'a SpaceName,
        from: Seq,
        limit: ReadLimit,
    ) -> Answer<'a, Result<Vec<Event>, StoreError>> {
        let name = space.clone();
        Box::pin(self.read_with(move |reader| reader.read(&name, from, limit.cut())))
    }

    fn find<'a>(
        &'a self,
        space: &'a SpaceName,
        id: &'a IntentId,
    ) -> Answer<'a, Result<Option<Placed>, StoreError>> {
        let (name, id) = (space.clone(), id.clone());
        Box::pin(self.read_with(move |reader| reader.find(&name, &id)))
    }

    fn spaces<'a>(
        &'a self,
        after: Option<&'a SpaceName>,
        count: usize,
    ) -> Answer<'a, Result<Vec<SpaceName>, StoreError>> {
        let after = after.cloned();
        Box::pin(self.read_with(move |reader| reader.spaces(after.as_ref(), count)))
    }
}

impl LeaseRegistry for GitLog {
    fn acquire<'a>(&'a self, space: &'a SpaceName, ask: &'a Ask) -> Answer<'a, Result<Lease, AcquireError>> {
        Box::pin(async move { self.leases()?.acquire(space, ask).await })
    }

    fn renew<'a>(
        &'a self,
        space: &'a SpaceName,
        node: AuthorId,
        epoch: Epoch,
        ttl: Duration,
    ) -> Answer<'a, Result<(), RenewError>> {
        Box::pin(async move { self.leases()?.renew(space, node, epoch, ttl).await })
    }

    fn release<'a>(
        &'a self,
        space: &'a SpaceName,
        node: AuthorId,
        epoch: Epoch,
    ) -> Answer<'a, Result<(), RegistryError>> {
        Box::pin(async move { self.leases()?.release(space, node, epoch).await })
    }

    fn lease<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Lease>, RegistryError>> {
        Box::pin(async move { self.leases()?.lease(space).await })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // Packing can wait until the next time.
        self.is_closing.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for GitLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitLog")
            .field("path", &self.path)
            .field("is_readonly", &self.writing.is_none())
            .finish_non_exhaustive()
    }
}

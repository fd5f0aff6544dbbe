//! Logs and leases of this node: from settings to a store, a registry and a forwarder, and the authority over them.
//!
//! The one place that picks backends. [`open`] opens what lives on disk, with the data directory; [`Logs::of`] puts
//! the authority together once the node knows where it is reached.

mod clock;
mod ids;
pub(crate) mod lines;
mod shelf;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bft_json_crdt::keypair::Keypair;
use gangline_lease::authority::Parts;
use gangline_lease::{
    AppendAuthority, Clock, EventStore, Forwarder, LeaseRegistry, LocalForwarder, Moment, Reach,
};
use gangline_store::{BootClock, GitLog, MemoryEventStore, MemoryLeaseRegistry, SqliteLog};
use tokio_util::sync::CancellationToken;

use self::clock::NodeClock;
pub(crate) use self::ids::new_id;
use self::shelf::FileShelf;
use crate::config::{LeaseKeeper, LogBackend, LogSettings, Mistake, Settings};
use crate::failure::{Exit, Failure};

/// The file of logs in SQLite, in the folder of logs.
pub(crate) const SQLITE_FILE: &str = "log.db";
/// The repository of logs in git, in the data directory.
pub(crate) const GIT_DIR: &str = "log.git";
/// How long a stopping node takes at most to give its leases back. They run out by themselves otherwise.
const RELEASE_WITHIN: Duration = Duration::from_secs(5);
/// How often a node looks whether it holds anything, in parts of the ttl. Renewals are due after a quarter of it at
/// the earliest.
const LOOKS_PER_TTL: u32 = 8;

/// Where logs and leases are kept.
#[derive(Clone)]
pub(crate) struct Opened {
    /// The data directory, of a node that has one.
    dir: Option<PathBuf>,
    backend: LogBackend,
    store: Arc<dyn EventStore>,
    registry: Arc<dyn LeaseRegistry>,
    clock: Arc<dyn Clock>,
}

/// Returns what these settings ask for and this version cannot do.
pub(crate) fn unsupported(settings: &LogSettings) -> Vec<Mistake> {
    let version = env!("CARGO_PKG_VERSION");
    let missing = |origin: &crate::config::Origin, what: &str, instead: &str| Mistake {
        origin: origin.clone(),
        message: format!("{what} is not supported by this version of gangline ({version})"),
        hint: Some(format!("write {instead}, or take it out")),
    };
    let mut mistakes = Vec::new();
    if settings.registry.value == LeaseKeeper::Node {
        let origin = &settings.registry.origin;
        mistakes.push(missing(origin, "`lease.registry` = \"node\"", "registry = \"store\""));
    }
    mistakes
}

/// Opens what lives on disk.
///
/// # Errors
/// When it cannot be used; each says what to do.
pub(crate) fn open(settings: &Settings) -> Result<Opened, Failure> {
    let boot = BootClock::system();
    let clock: Arc<dyn Clock> = Arc::new(NodeClock::new(boot.as_ref().ok().cloned()));
    let in_memory = || Arc::new(MemoryLeaseRegistry::new(clock.clone())) as Arc<dyn LeaseRegistry>;
    let boot = boot.map_err(|error| {
        Failure::new(Exit::Failed, "no_boot_clock", chain(&error))
            .hint("write backend = \"memory\" below [log_store]")
    });
    let unusable =
        |error: &dyn std::error::Error| Failure::new(Exit::Failed, "log_store_unusable", chain(error));
    let (path, dir) = (settings.logs.path.value.as_deref(), settings.data_dir.value.as_path());
    let (store, leases): (Arc<dyn EventStore>, Arc<dyn LeaseRegistry>) = match settings.logs.backend.value {
        LogBackend::Memory => (Arc::new(MemoryEventStore::new()), in_memory()),
        LogBackend::Sqlite => {
            let log = SqliteLog::open(path.unwrap_or(dir), boot?).map_err(|error| unusable(&error))?;
            let log = Arc::new(log);
            (log.clone(), log)
        }
        LogBackend::Git => {
            let path = path.map_or_else(|| dir.join(GIT_DIR), Path::to_path_buf);
            let log = Arc::new(GitLog::open(&path, boot?).map_err(|error| unusable(&error))?);
            (log.clone(), log)
        }
    };
    let registry = match settings.logs.registry.value {
        LeaseKeeper::Store => leases,
        LeaseKeeper::Memory => in_memory(),
        LeaseKeeper::Node => return Err(Failure::settings(&unsupported(&settings.logs))),
    };
    let dir = Some(settings.data_dir.value.clone());
    Ok(Opened { dir, backend: settings.logs.backend.value, store, registry, clock })
}

impl Opened {
    /// Logs that end with the process, for nodes that keep nothing.
    pub(crate) fn memory() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(NodeClock::new(None));
        Self {
            dir: None,
            backend: LogBackend::Memory,
            store: Arc::new(MemoryEventStore::new()),
            registry: Arc::new(MemoryLeaseRegistry::new(clock.clone())),
            clock,
        }
    }
}

/// A node's logs.
pub(crate) struct Logs {
    /// Appends, reads, acquires.
    pub(crate) authority: AppendAuthority,
    /// Whom to ask what is there.
    pub(crate) store: Arc<dyn EventStore>,
    /// Whom to ask who holds what.
    pub(crate) registry: Arc<dyn LeaseRegistry>,
    /// Where they live.
    pub(crate) backend: LogBackend,
    /// Who grants leases.
    pub(crate) keeper: LeaseKeeper,
    clock: Arc<dyn Clock>,
    ttl: Duration,
    dir: Option<PathBuf>,
}

/// A store for a while, for what is not trusted yet.
pub(crate) struct Scratch {
    pub(crate) store: Arc<dyn EventStore>,
    dir: PathBuf,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!(event = "scratch_left", dir = %self.dir.display(), "{error}");
        }
    }
}

impl Logs {
    /// Puts the node's authority together. `url`: where other nodes reach it, unless the settings say so.
    ///
    /// # Errors
    /// When the settings are not safe.
    pub(crate) fn of(
        settings: &LogSettings,
        opened: Opened,
        key: Keypair,
        url: Option<String>,
    ) -> Result<Self, Failure> {
        let Opened { dir, backend, store, registry, clock } = opened;
        let url = settings.advertise.value.clone().or(url);
        // Nodes of one machine may share a store; each reaches only itself until one calls the other.
        let forwarder: Arc<dyn Forwarder> = Arc::new(LocalForwarder::new());
        let parts = Parts {
            reach: Reach { node: key.author(), url },
            key,
            store: store.clone(),
            registry: registry.clone(),
            forwarder,
            clock: clock.clone(),
            random: Arc::new(ids::random),
        };
        let lease = settings.lease();
        let ttl = lease.ttl;
        let authority = AppendAuthority::new(parts, lease).map_err(|error| {
            Failure::settings(&[Mistake {
                origin: settings.ttl.origin.clone(),
                message: error.to_string(),
                hint: None,
            }])
        })?;
        Ok(Self { authority, store, registry, backend, keeper: settings.registry.value, clock, ttl, dir })
    }

    /// Makes room for a log that is looked at, and finds where one is kept that is set aside.
    ///
    /// # Errors
    /// When the node keeps nothing, or the disk does not take it.
    pub(crate) fn scratch(&self) -> Result<(Scratch, FileShelf), Failure> {
        let failed = |message: String| Failure::new(Exit::Failed, "no_scratch", message);
        let data = self.dir.as_deref().ok_or_else(|| failed("this node keeps nothing on disk".into()))?;
        let boot = BootClock::system().map_err(|error| failed(chain(&error)))?;
        let dir = data.join(format!("scratch-{:016x}", ids::random()));
        let log = SqliteLog::open(&dir, boot).map_err(|error| failed(chain(&error)))?;
        Ok((Scratch { store: Arc::new(log), dir }, FileShelf::new(data)))
    }

    /// Keeps the leases of the spaces that are used, until `stop`. One timer, whatever the number of spaces.
    pub(crate) async fn keep(&self, stop: &CancellationToken) {
        let look = self.ttl / LOOKS_PER_TTL;
        loop {
            let due = |at: Moment| self.clock.now().until(at);
            let wait = self.authority.next_renewal().map_or(look, |at| due(at).min(look));
            tokio::select! {
                () = self.clock.sleep(wait) => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = self.authority.renew_due() => {}
                // A registry that does not answer keeps no node from stopping.
                () = stop.cancelled() => return,
            }
        }
    }

    /// Gives all leases back, so that other nodes need not wait for them to run out.
    pub(crate) async fn release(&self) {
        match tokio::time::timeout(RELEASE_WITHIN, self.authority.release_all()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(event = "lease_not_released", "it runs out by itself: {}", chain(&error));
            }
            Err(_) => tracing::warn!(event = "lease_not_released", "took too long; they run out"),
        }
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").field("backend", &self.backend).finish_non_exhaustive()
    }
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // A cause may say nothing but what it was caused by.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

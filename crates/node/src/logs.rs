//! Logs and leases of this node: from settings to a store, a registry and a forwarder, and the authority over them.
//!
//! The one place that picks backends. [`open`] opens what lives on disk, with the data directory; [`Logs::of`] puts
//! the authority together once the node knows where it is reached.

mod clock;
mod ids;
pub(crate) mod lines;
mod shelf;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bft_json_crdt::keypair::Keypair;
use gangline_lease::authority::Parts;
use gangline_lease::follow::Pass;
use gangline_lease::remote::Backend;
use gangline_lease::{
    AppendAuthority, Clock, Desk, EventStore, Follower, Follows, LeaseRegistry, Moment, Reach, SpaceName,
    StoreError,
};
use gangline_store::{BootClock, GitLog, MemoryEventStore, MemoryLeaseRegistry, SqliteLog};
use gangline_transport::logs::{LogCaller, LogCalls, Member, admits_as};
use gangline_transport::{Gate, PeerUrl};
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
    /// What is kept here; with a coordinator, copies.
    store: Arc<dyn EventStore>,
    registry: Arc<dyn LeaseRegistry>,
    clock: Arc<dyn Clock>,
    caller: Arc<LogCaller>,
    coordinator: Option<Away>,
}

/// Logs that are at another node.
#[derive(Clone)]
struct Away {
    url: PeerUrl,
    member: Member,
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
        LeaseKeeper::Node => leases,
    };
    let dir = Some(settings.data_dir.value.clone());
    let caller = LogCaller::new();
    let url = settings.logs.coordinator.value.as_deref();
    let url = url.filter(|_| settings.logs.registry.value == LeaseKeeper::Node).map(PeerUrl::of_node);
    let url =
        url.transpose().map_err(|error| Failure::new(Exit::Settings, "bad_coordinator", chain(&error)))?;
    let coordinator = url.map(|url| Away { member: caller.member_of(url.clone()), url });
    Ok(Opened { dir, backend: settings.logs.backend.value, store, registry, clock, caller, coordinator })
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
            caller: LogCaller::new(),
            coordinator: None,
        }
    }
}

/// A node's logs.
pub(crate) struct Logs {
    /// Appends, reads, acquires.
    pub(crate) authority: AppendAuthority,
    /// Whom to ask what is there.
    pub(crate) store: Arc<dyn EventStore>,
    /// What this node itself has: with a coordinator, its copies.
    pub(crate) kept: Arc<dyn EventStore>,
    /// Whom to ask who holds what.
    pub(crate) registry: Arc<dyn LeaseRegistry>,
    /// Where they live.
    pub(crate) backend: LogBackend,
    /// Who grants leases.
    pub(crate) keeper: LeaseKeeper,
    /// What is copied of the coordinator's logs.
    pub(crate) follower: Option<Follower>,
    /// Reaches other nodes, once there are links.
    pub(crate) caller: Arc<LogCaller>,
    coordinator: Option<Away>,
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
        let Opened { dir, backend, store: kept, registry, clock, caller, coordinator } = opened;
        let url = settings.advertise.value.clone().or(url);
        let (store, registry, forwarder) = match &coordinator {
            None => (kept.clone(), registry, caller.forwarder()),
            Some(Away { member, .. }) => {
                let log = Arc::new(member.log.clone());
                (log.clone() as Arc<dyn EventStore>, log as Arc<dyn LeaseRegistry>, member.forwarder.clone())
            }
        };
        let parts = Parts {
            reach: Reach { node: key.author(), url },
            key,
            store: store.clone(),
            registry: registry.clone(),
            forwarder: Arc::new(forwarder),
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
        // Names that are none were refused with the settings.
        let follows = Follows::new(settings.follow.value.iter().map(String::as_str)).unwrap_or_default();
        let follower = coordinator.as_ref().filter(|_| !follows.is_empty()).map(|_| {
            Follower::new(store.clone(), kept.clone(), follows, clock.clone())
                .with_authority(authority.clone())
        });
        // Whoever reads may read from a copy; whoever writes goes by the store alone.
        let store = follower.as_ref().map_or(store, |follower| Arc::new(follower.log()));
        let keeper = settings.registry.value;
        Ok(Self {
            authority,
            store,
            kept,
            registry,
            backend,
            keeper,
            follower,
            caller,
            coordinator,
            clock,
            ttl,
            dir,
        })
    }

    /// What answers other nodes' calls.
    pub(crate) fn desk(&self, gate: Arc<dyn Gate>) -> LogCalls {
        let (authority, admits) = (self.authority.clone(), admits_as(gate));
        LogCalls(match &self.coordinator {
            Some(Away { member, .. }) => Desk::of_member(authority, member.coordinator.clone(), admits),
            None => {
                let backend = Backend { store: self.store.clone(), registry: self.registry.clone() };
                Desk::of_coordinator(authority, backend, admits)
            }
        })
    }

    /// Where the coordinator is, if there is one.
    pub(crate) fn coordinator(&self) -> Option<PeerUrl> {
        self.coordinator.as_ref().map(|away| away.url.clone())
    }

    /// Since when what is read is a copy's, in milliseconds; none while it is not.
    pub(crate) fn stale_ms(&self) -> Option<u64> {
        let stale = self.follower.as_ref()?.log().stale()?;
        Some(u64::try_from(stale.as_millis()).unwrap_or(u64::MAX))
    }

    /// Keeps copies of what is followed, until `stop`.
    pub(crate) async fn follow(&self, stop: &CancellationToken) {
        let Some(follower) = &self.follower else { return };
        let told = Mutex::new(BTreeSet::new());
        let look = |_: &Result<Pass, StoreError>| {
            let stopped = follower.stopped();
            let Ok(mut told) = told.lock() else { return };
            for (space, why) in &stopped {
                if told.insert(space.clone()) {
                    tracing::error!(event = "log_diverged", space = space.as_str(), "not followed: {why}");
                }
            }
            told.retain(|space: &SpaceName| {
                let is_stopped = stopped.contains_key(space);
                if !is_stopped {
                    tracing::info!(event = "log_agrees_again", space = space.as_str(), "followed again");
                }
                is_stopped
            });
        };
        tokio::select! {
            () = follower.run(&look) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Where logs are set aside, on a node that keeps anything.
    pub(crate) fn shelf(&self) -> Option<FileShelf> {
        self.dir.as_deref().map(FileShelf::new)
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
        let says = next.strip_prefix("Error code ").and_then(|rest| rest.split_once(": "));
        let says = says.map_or(&*next, |(_, says)| says);
        if !text.ends_with(&next) && !text.contains(says) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

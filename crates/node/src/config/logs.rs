//! `[log_store]` and `[lease]`: where logs live, who grants leases, and where other nodes reach this one.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use gangline_lease::{Follows, LeaseSettings};
use gangline_transport::PeerUrl;

use super::{Mistake, Origin, Sourced, limits::Unit};

/// Where logs live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogBackend {
    /// A file `log.db`.
    Sqlite,
    /// A git repository.
    Git,
    /// Nowhere: they end with the process.
    Memory,
}

impl LogBackend {
    /// As they are written.
    pub(crate) const NAMES: [(&'static str, Self); 3] =
        [("sqlite", Self::Sqlite), ("git", Self::Git), ("memory", Self::Memory)];

    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Git => "git",
            Self::Memory => "memory",
        }
    }
}

/// Who grants leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseKeeper {
    /// The leases live where the logs live.
    Store,
    /// Another node, the coordinator, which keeps the logs too.
    Node,
    /// This process alone.
    Memory,
}

impl LeaseKeeper {
    /// As they are written.
    pub(crate) const NAMES: [(&'static str, Self); 3] =
        [("store", Self::Store), ("node", Self::Node), ("memory", Self::Memory)];

    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Node => "node",
            Self::Memory => "memory",
        }
    }
}

/// `[log_store]` and `[lease]`.
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    /// Where logs live.
    pub(crate) backend: Sourced<LogBackend>,
    /// The folder of the logs; none: in the data directory.
    pub(crate) path: Sourced<Option<PathBuf>>,
    /// Who grants leases.
    pub(crate) registry: Sourced<LeaseKeeper>,
    /// How long a lease lasts without being renewed, in milliseconds.
    pub(crate) ttl: Sourced<u64>,
    /// The node that grants leases, `http://host:port`.
    pub(crate) coordinator: Sourced<Option<String>>,
    /// Where other nodes reach this one, `http://host:port`; none: the address that it listens on.
    pub(crate) advertise: Sourced<Option<String>>,
    /// Spaces of the coordinator's of which this node keeps a copy; `*` is all.
    pub(crate) follow: Sourced<Vec<String>>,
}

/// What a file says of them.
#[derive(Debug, Default)]
pub(super) struct LogLayer {
    pub(super) backend: Option<Sourced<LogBackend>>,
    pub(super) path: Option<Sourced<String>>,
    pub(super) registry: Option<Sourced<LeaseKeeper>>,
    pub(super) ttl: Option<Sourced<u64>>,
    pub(super) coordinator: Option<Sourced<String>>,
    pub(super) advertise: Option<Sourced<String>>,
    pub(super) follow: Option<Sourced<Vec<String>>>,
}

/// For how many ttls a space may be unused before its lease is left to run out.
const IDLE_TTLS: u32 = 3;
/// Of a lease, what its holder stops earlier than the registry lets go.
const MARGIN_PART: u32 = 20;

impl LogSettings {
    pub(super) fn of(layer: LogLayer) -> Self {
        let whole = Duration::as_millis(&LeaseSettings::default().ttl);
        Self {
            backend: Sourced::pick(None, None, layer.backend, LogBackend::Sqlite),
            path: optional(layer.path, PathBuf::from),
            registry: Sourced::pick(None, None, layer.registry, LeaseKeeper::Store),
            ttl: Sourced::pick(None, None, layer.ttl, u64::try_from(whole).unwrap_or(u64::MAX)),
            coordinator: optional(layer.coordinator, trimmed),
            advertise: optional(layer.advertise, trimmed),
            follow: Sourced::pick(None, None, layer.follow, Vec::new()),
        }
    }

    /// How leases are kept. The margin is a twentieth of the ttl.
    pub(crate) fn lease(&self) -> LeaseSettings {
        let ttl = Duration::from_millis(self.ttl.value);
        let (margin, idle_after) = (ttl / MARGIN_PART, ttl * IDLE_TTLS);
        LeaseSettings { ttl, margin, idle_after, ..LeaseSettings::default() }
    }

    /// Whether other nodes may come upon this one as the holder of a space.
    fn is_shared(&self) -> bool {
        self.registry.value == LeaseKeeper::Node || self.path.value.is_some()
    }

    /// Says what is wrong; `is_everywhere`: the node listens on an address that stands for all of the machine's.
    pub(super) fn check(&self, is_everywhere: bool, mistakes: &mut Vec<Mistake>) {
        let mut wrong = |origin: &Origin, message: String, hint: &str| {
            mistakes.push(Mistake { origin: origin.clone(), message, hint: Some(hint.to_owned()) });
        };
        if let Err(error) = self.lease().check() {
            let message = format!("`lease.ttl` = {} is not safe: {error}", Unit::Time.show(self.ttl.value));
            wrong(&self.ttl.origin, message, "write for example ttl = \"10s\"");
        }
        if let Some(path) = &self.path.value {
            if path.as_os_str().is_empty() {
                wrong(
                    &self.path.origin,
                    "`log_store.path` is empty".into(),
                    "write a folder, or take it out",
                );
            } else if self.backend.value == LogBackend::Memory {
                let message = "`log_store.path` means nothing with backend = \"memory\"".into();
                wrong(&self.path.origin, message, "take it out, or write backend = \"sqlite\"");
            }
        }
        match (&self.coordinator.value, self.registry.value) {
            (None, LeaseKeeper::Node) => {
                let message =
                    "`lease.registry` = \"node\" wants to know which: `lease.coordinator` is missing";
                let hint = "write coordinator = \"http://other:3001\" below [lease]";
                wrong(&self.registry.origin, message.into(), hint);
            }
            (Some(_), LeaseKeeper::Store | LeaseKeeper::Memory) => {
                let message = "`lease.coordinator` means nothing without registry = \"node\"".into();
                wrong(&self.coordinator.origin, message, "write registry = \"node\", or take it out");
            }
            (None, LeaseKeeper::Store | LeaseKeeper::Memory) | (Some(_), LeaseKeeper::Node) => {}
        }
        for (name, url) in [("coordinator", &self.coordinator), ("advertise", &self.advertise)] {
            let Some(text) = &url.value else { continue };
            if let Err(reason) = check_url(text) {
                let message = format!("`lease.{name}` = \"{text}\" {reason}");
                wrong(&url.origin, message, "write http://host:port, as other nodes reach it");
            }
        }
        if is_everywhere && self.is_shared() && self.advertise.value.is_none() {
            let message = "this node listens on all addresses, so other nodes cannot know where to reach it";
            let hint = "write advertise = \"http://this-machine:3001\" below [lease]";
            let origin = match self.registry.value {
                LeaseKeeper::Node => &self.registry.origin,
                LeaseKeeper::Store | LeaseKeeper::Memory => &self.path.origin,
            };
            wrong(origin, message.into(), hint);
        }
        for name in &self.follow.value {
            if let Err(error) = Follows::new([name.as_str()]) {
                let message = format!("`lease.follow` has \"{name}\": {error}");
                wrong(
                    &self.follow.origin,
                    message,
                    "write names of spaces, beginnings such as \"team/*\", or \"*\" for all",
                );
            }
        }
        if !self.follow.value.is_empty() && self.registry.value != LeaseKeeper::Node {
            let message = "`lease.follow` means nothing without registry = \"node\"".into();
            wrong(&self.follow.origin, message, "write registry = \"node\", or take it out");
        }
    }
}

fn optional<T>(found: Option<Sourced<String>>, make: impl Fn(String) -> T) -> Sourced<Option<T>> {
    match found {
        Some(found) => Sourced { value: Some(make(found.value)), origin: found.origin },
        None => Sourced::default(None),
    }
}

fn trimmed(url: String) -> String {
    url.trim_end_matches('/').to_owned()
}

/// A node's URL is `http://host[:port]` or `https://host[:port]`, the latter perhaps with the pin of a certificate.
fn check_url(text: &str) -> Result<(), String> {
    let rest = text.strip_prefix("http").filter(|rest| rest.starts_with("://") || rest.starts_with("s://"));
    let Some(rest) = rest else { return Err("does not begin with http:// or https://".into()) };
    let address = rest.trim_start_matches("s").trim_start_matches("://");
    let address = address.split('#').next().unwrap_or_default();
    if address.contains(['/', '?']) {
        return Err("goes on behind the port".into());
    }
    // Nodes are reached where they sync, so what is no such address is none.
    let url: PeerUrl = format!("ws{rest}").parse().map_err(|_| "is not the URL of a node".to_owned())?;
    match url.host().parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Err("is no address that can be reached".into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

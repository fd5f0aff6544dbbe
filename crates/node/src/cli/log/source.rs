//! Where a log is read from to be verified: a running node, or what a node keeps on disk.

use std::path::Path;
use std::sync::Arc;

use bft_json_crdt::Digest;
use bytes::Bytes;
use gangline_lease::{
    Epoch, Event, EventStore, Head, Incarnation, ReadLimit, Seq, SpaceName, SpaceState, StoreError,
};
use gangline_store::{BootClock, GitLog, OpenLogError, SqliteLog};
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::place;
use super::read::not_events;
use crate::cli::client::Client;
use crate::failure::{Exit, Failure};
use crate::logs::lines::{self, bytes};
use crate::logs::{GIT_DIR, SQLITE_FILE, chain};

/// Where a log is read from.
pub(super) enum Source {
    /// A node answers.
    Node(Client),
    /// A node tells what it has itself, whatever its coordinator has.
    Copy(Client),
    /// A store of a node's.
    Store(Arc<dyn EventStore>),
}

impl Source {
    /// What a node keeps in a folder. The node may run: its log is shared.
    ///
    /// # Errors
    /// When there is no log, or it cannot be used.
    pub(super) fn data_dir(dir: &Path) -> Result<Self, Failure> {
        let (file, repository) = (dir.join(SQLITE_FILE), dir.join(GIT_DIR));
        if !file.is_file() && repository.is_dir() {
            return Self::git(&repository);
        }
        if !file.is_file() {
            let message = format!("there is no {}", file.display());
            return Err(Failure::new(Exit::NotFound, "no_log", message)
                .hint("name the folder of the node's data, or that of `log_store.path` in its settings"));
        }
        let boot = BootClock::system()
            .map_err(|error| Failure::new(Exit::Failed, "no_boot_clock", chain(&error)))?;
        let log = SqliteLog::open(dir, boot).map_err(|error| {
            let is_damaged = matches!(error, OpenLogError::Damaged { .. });
            let exit = if is_damaged { Exit::Refused } else { Exit::Failed };
            Failure::new(exit, "log_store_unusable", chain(&error))
        })?;
        Ok(Self::Store(Arc::new(log)))
    }

    /// A git repository that has logs, also a clone.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn git(path: &Path) -> Result<Self, Failure> {
        let log = GitLog::open_readonly(path)
            .map_err(|error| Failure::new(Exit::NotFound, "no_log", chain(&error)))?;
        Ok(Self::Store(Arc::new(log)))
    }

    /// The state of a space.
    ///
    /// # Errors
    /// When there is no such space, or it cannot be read.
    pub(super) async fn state(&self, space: &SpaceName) -> Result<SpaceState, Failure> {
        match self {
            Self::Node(client) | Self::Copy(client) => {
                let query = if matches!(self, Self::Copy(_)) { "?copy=true" } else { "" };
                let answer = client.send_bytes(Method::GET, &place(space, query), None).await?;
                let shown: ShownState = serde_json::from_slice(&answer).map_err(|_| not_events(client))?;
                shown.state().ok_or_else(|| not_events(client))
            }
            Self::Store(store) => {
                store.state(space).await.map_err(|error| unreadable(&error))?.ok_or_else(|| {
                    Failure::new(Exit::NotFound, "no_such_space", format!("there is no space `{space}`"))
                })
            }
        }
    }

    /// Events from `from` on, at most `count` and at least one if there is any.
    ///
    /// # Errors
    /// When they cannot be read, or what is there are no events.
    pub(super) async fn events(
        &self,
        space: &SpaceName,
        from: Seq,
        count: usize,
    ) -> Result<Vec<Event>, Failure> {
        match self {
            Self::Node(client) | Self::Copy(client) => {
                let query = if matches!(self, Self::Copy(_)) { "&copy=true" } else { "" };
                match ask(client, space, from, count, query).await {
                    // It broke off in the middle; by itself the first says why, or the next does.
                    Err(failure) if failure.exit == Exit::Unreachable && count > 1 => {
                        ask(client, space, from, 1, query).await
                    }
                    answered => answered,
                }
            }
            Self::Store(store) => {
                let limit = ReadLimit { count, ..ReadLimit::default() };
                store.read(space, from, limit).await.map_err(|error| unreadable(&error))
            }
        }
    }
}

async fn ask(
    client: &Client,
    space: &SpaceName,
    from: Seq,
    count: usize,
    query: &str,
) -> Result<Vec<Event>, Failure> {
    let path = place(space, &format!("/events?from={from}&limit={count}&signatures=true{query}"));
    let answer: Bytes = client.send_bytes(Method::GET, &path, None).await.map_err(damaged_there)?;
    let shown: Vec<&RawValue> = serde_json::from_slice(&answer).map_err(|_| not_events(client))?;
    let events: Option<Vec<Event>> = shown.iter().map(|event| lines::read(event.get().as_bytes())).collect();
    events.ok_or_else(|| {
        Failure::new(Exit::Refused, "log_offends", format!("an event from {from} on is none at all"))
    })
}

/// A node that finds its own log damaged has found the offender.
fn damaged_there(failure: Failure) -> Failure {
    if failure.code == "log_damaged" { Failure { exit: Exit::Refused, ..failure } } else { failure }
}

fn unreadable(error: &StoreError) -> Failure {
    match error {
        StoreError::Damaged { what, .. } => Failure::new(Exit::Refused, "log_damaged", what.clone())
            .hint("restore a backup, or recover the space from a copy"),
        other @ (StoreError::Refused { .. } | StoreError::Unknown { .. } | _) => {
            Failure::new(Exit::Failed, "log_unreadable", chain(other))
        }
    }
}

#[derive(Deserialize)]
struct ShownState {
    next: u64,
    hash: String,
    epoch: u64,
    incarnation: String,
}

impl ShownState {
    fn state(&self) -> Option<SpaceState> {
        Some(SpaceState {
            incarnation: Incarnation(bytes(&self.incarnation)?),
            epoch: Epoch(self.epoch),
            head: Head { next: Seq(self.next), hash: Digest(bytes(&self.hash)?) },
        })
    }
}

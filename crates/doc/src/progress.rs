//! What is durable, and who waits for it: the part of a replica that the log's answers drive.
//!
//! It has a lock of its own, held for moments only and never while anybody is called. So answers of the log
//! need nothing of the document, and a log may answer from inside `append`.

mod in_flight;
mod origins;
mod recent;
mod ticket;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

pub use ticket::{NotDurable, Ticket};

use self::{
    in_flight::{Groups, InFlight},
    origins::Origins,
    recent::Recent,
    ticket::Waiters,
};
use crate::{
    entry::{Entry, OriginId},
    op_log::{LogSeq, OpLogError, ReadLimit},
};

/// Called with the number of durable entries when it has grown, or when the replica has stopped.
type Subscriber = Arc<dyn Fn(LogSeq) + Send + Sync>;

/// The durable side of a replica.
pub(crate) struct Progress {
    state: Mutex<State>,
    subscribers: Mutex<Subscribers>,
}

struct State {
    durable: LogSeq,
    failure: Option<Arc<str>>,
    in_flight: Groups,
    recent: Recent,
    origins: Origins,
    waiters: Waiters,
}

#[derive(Default)]
struct Subscribers {
    next_id: u64,
    by_id: BTreeMap<u64, Subscriber>,
}

/// Counters for `status` and metrics.
pub(crate) struct ProgressStats {
    pub(crate) durable: LogSeq,
    pub(crate) in_flight_count: usize,
    pub(crate) in_flight_bytes: usize,
    pub(crate) recent_count: usize,
    pub(crate) recent_bytes: usize,
}

impl Progress {
    pub(crate) fn new(durable: LogSeq, recent_max_count: usize, recent_max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                durable,
                failure: None,
                in_flight: Groups::default(),
                recent: Recent::new(recent_max_count, recent_max_bytes),
                origins: Origins::default(),
                waiters: Waiters::default(),
            }),
            subscribers: Mutex::default(),
        })
    }

    /// Registers entries that are about to be appended, in the order of the appends.
    ///
    /// What is returned has to be answered; dropped without an answer it counts as a failure.
    pub(crate) fn begin(self: &Arc<Self>, entries: Vec<Arc<Entry>>) -> InFlight {
        let id = self.lock().in_flight.push(entries);
        InFlight::new(Arc::clone(self), id)
    }

    /// Takes the log's answer to one append, then tells everyone whom it concerns, outside of all locks.
    fn answer(&self, id: u64, answer: Result<(), OpLogError>) {
        let mut state = self.lock();
        if state.failure.is_some() {
            return; // What came after a failure was answered with it.
        }
        let before = state.durable;
        let failed = match answer {
            Ok(()) => {
                for entries in state.in_flight.settle(id) {
                    state.keep(entries);
                }
                state.durable == before
            }
            Err(error) => {
                state.stop(with_sources(&error));
                true
            }
        };
        self.tell(state, failed);
    }

    /// Stops the replica for a reason that is not the log's.
    pub(crate) fn stop(&self, reason: &str) {
        let mut state = self.lock();
        if state.failure.is_none() {
            state.stop(reason.to_owned());
            self.tell(state, true);
        }
    }

    /// Calls the tickets and subscribers concerned.
    fn tell(&self, mut state: MutexGuard<'_, State>, nothing_new: bool) {
        let durable = state.durable;
        let failure = state.failure.clone();
        let due = state.waiters.due(durable, failure.as_ref());
        drop(state);
        for (f, result) in due {
            f(result);
        }
        if nothing_new && failure.is_none() {
            return;
        }
        let subscribers: Vec<Subscriber> =
            self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).by_id.values().cloned().collect();
        for f in subscribers {
            f(durable);
        }
    }

    pub(crate) fn durable(&self) -> LogSeq {
        self.lock().durable
    }

    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.lock().failure.clone()
    }

    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.lock().in_flight.bytes()
    }

    /// Returns recent entries from `from` on, if the ring reaches back that far, and how many are durable.
    pub(crate) fn recent(&self, from: LogSeq, limit: ReadLimit) -> (Option<Vec<Arc<Entry>>>, LogSeq) {
        let state = self.lock();
        let entries = if from >= state.durable { Some(Vec::new()) } else { state.recent.read(from, limit) };
        (entries, state.durable)
    }

    /// Returns who brought the entries from `from` on.
    pub(crate) fn origins(&self, from: LogSeq, count: usize) -> Vec<Option<OriginId>> {
        let state = self.lock();
        (0..count).map(|n| state.origins.of(from.plus(n))).collect()
    }

    pub(crate) fn stats(&self) -> ProgressStats {
        let state = self.lock();
        ProgressStats {
            durable: state.durable,
            in_flight_count: state.in_flight.count(),
            in_flight_bytes: state.in_flight.bytes(),
            recent_count: state.recent.count(),
            recent_bytes: state.recent.bytes(),
        }
    }

    pub(crate) fn subscribe(self: &Arc<Self>, f: Box<dyn Fn(LogSeq) + Send + Sync>) -> Subscription {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        let id = subscribers.next_id;
        subscribers.next_id += 1;
        subscribers.by_id.insert(id, Arc::from(f));
        Subscription { progress: Arc::downgrade(self), id }
    }

    /// Every change of the state is complete before anything that may panic runs, so a poisoned lock is fine.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep(&mut self, entries: Vec<Arc<Entry>>) {
        self.durable = self.durable.plus(entries.len());
        for entry in entries {
            self.origins.push(entry.seq(), entry.origin());
            self.recent.push(entry);
        }
    }

    fn stop(&mut self, reason: String) {
        self.failure = Some(reason.into());
        self.in_flight.clear();
    }
}

/// Keeps a subscriber; dropping it unsubscribes.
///
/// A call that is under way in another thread at that moment still finishes.
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    progress: Weak<Progress>,
    id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(progress) = self.progress.upgrade() {
            let removed =
                progress.subscribers.lock().unwrap_or_else(PoisonError::into_inner).by_id.remove(&self.id);
            drop(removed); // Outside the lock: the subscriber may own anything.
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Renders an error with everything that caused it.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

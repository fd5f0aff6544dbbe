//! A ticket: the promise to say when something is durable, or that it never will be.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::Progress;
use crate::op_log::LogSeq;

/// The replica stopped before what was asked about became durable.
///
/// Do not acknowledge it. It may or may not turn out to be there when the log is opened again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not durable: {reason}")]
pub struct NotDurable {
    /// Why the replica stopped.
    pub reason: Arc<str>,
}

type OnDone = Box<dyn FnOnce(Result<(), NotDurable>) + Send>;

/// Says when everything up to a position of the log is durable.
///
/// Nothing that a ticket stands for may be told to anybody before it is done.
#[must_use = "nothing may be acknowledged before its ticket is done"]
pub struct Ticket {
    progress: Arc<Progress>,
    end: LogSeq,
}

impl Ticket {
    pub(crate) fn new(progress: Arc<Progress>, end: LogSeq) -> Self {
        Self { progress, end }
    }

    /// Returns how it ended, or `None` while it is open.
    pub fn is_done(&self) -> Option<Result<(), NotDurable>> {
        let state = self.progress.lock();
        result(self.end, state.durable, state.failure.as_ref())
    }

    /// Calls `f` once when it is done: at once if it is, else from wherever the log answers.
    ///
    /// `f` should be short, and may use the replica.
    pub fn on_done(self, f: OnDone) {
        let mut state = self.progress.lock();
        match result(self.end, state.durable, state.failure.as_ref()) {
            None => state.waiters.push(self.end, f),
            Some(result) => {
                drop(state);
                f(result);
            }
        }
    }

    /// Returns the number of entries that have to be durable.
    pub fn end(&self) -> LogSeq {
        self.end
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("end", &self.end).field("is_done", &self.is_done()).finish()
    }
}

fn result(end: LogSeq, durable: LogSeq, failure: Option<&Arc<str>>) -> Option<Result<(), NotDurable>> {
    if end <= durable {
        return Some(Ok(()));
    }
    failure.map(|reason| Err(NotDurable { reason: Arc::clone(reason) }))
}

/// Whom to call, by what they wait for.
#[derive(Default)]
pub(super) struct Waiters {
    next_id: u64,
    by_end: BTreeMap<(LogSeq, u64), OnDone>,
}

impl Waiters {
    fn push(&mut self, end: LogSeq, f: OnDone) {
        self.by_end.insert((end, self.next_id), f);
        self.next_id += 1;
    }

    /// Takes out everyone who can be told, in the order of what they wait for.
    pub(super) fn due(
        &mut self,
        durable: LogSeq,
        failure: Option<&Arc<str>>,
    ) -> Vec<(OnDone, Result<(), NotDurable>)> {
        let later = match failure {
            Some(_) => BTreeMap::new(),
            None => self.by_end.split_off(&(durable.plus(1), 0)),
        };
        let due = std::mem::replace(&mut self.by_end, later);
        due.into_iter().filter_map(|((end, _), f)| Some((f, result(end, durable, failure)?))).collect()
    }
}

//! Hands appends to the log in the order in which the document took them in, without holding its lock.
//!
//! Whoever comes while another thread is handing over leaves its append to that thread. So a log may answer
//! from inside `append`, and an answer may lead to the next edit, without a deadlock and without recursion.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::op_log::{Done, OpLog, Record};

#[derive(Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    appends: VecDeque<(Vec<Record>, Done)>,
    is_pumping: bool,
}

impl Outbox {
    /// Queues an append. Called under the document's lock, which fixes the order.
    pub(super) fn push(&self, records: Vec<Record>, done: Done) {
        self.lock().appends.push_back((records, done));
    }

    /// Hands over what is queued, unless another thread is doing so.
    pub(super) fn pump(&self, log: &dyn OpLog) {
        loop {
            let (records, done) = {
                let mut queue = self.lock();
                if queue.is_pumping {
                    return;
                }
                let Some(append) = queue.appends.pop_front() else { return };
                queue.is_pumping = true;
                append
            };
            let _pumping = Pumping(self);
            log.append(records, done);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets others pump again, also after a panic in the log or in one of its answers.
struct Pumping<'a>(&'a Outbox);

impl Drop for Pumping<'_> {
    fn drop(&mut self) {
        self.0.lock().is_pumping = false;
    }
}

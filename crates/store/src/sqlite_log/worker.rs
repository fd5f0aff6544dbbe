//! A thread with a connection: jobs in, answers out, nobody's executor waits for the disk.

use std::{
    collections::VecDeque,
    error::Error,
    fmt,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread::{self, JoinHandle},
};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

/// Jobs that may wait for one thread.
const JOBS_MAX: usize = 65_536;

/// Why a job has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was changed.
    Refused(Arc<dyn Error + Send + Sync>),
    /// It may have happened.
    Unknown(Arc<dyn Error + Send + Sync>),
    /// A row is not what was written.
    Damaged(String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            _ => Self::Refused(Arc::new(error)),
        }
    }
}

fn refused(reason: &'static str) -> Failure {
    Failure::Refused(Arc::new(io::Error::other(reason)))
}

/// Whether a commit that failed has left nothing behind: it waited for another process in vain, or what it writes did
/// not fit, so that the file has no whole commit of it. After any other failure (of fsync above all) nobody knows.
fn certainly_not_committed(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(failure, _) = error else { return false };
    matches!(failure.code, ErrorCode::DatabaseBusy | ErrorCode::DiskFull)
        || failure.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

pub(super) struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_closed: bool,
    /// A commit failed: what the disk holds is not known before the file is opened again.
    has_failed: bool,
}

impl Worker {
    pub(super) fn spawn(name: &str, mut connection: Connection) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let queue = Arc::clone(&shared);
        let run = move || {
            while let Some(job) = queue.take() {
                if catch_unwind(AssertUnwindSafe(|| job(&mut connection))).is_err() {
                    tracing::error!("a job of the log ended in a panic");
                }
            }
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has a transaction run that holds the file against all other writers. It is committed if the job returns
    /// `Ok`, and the answer comes when that is durable.
    pub(super) fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Asked<T> {
        let shared = Arc::clone(&self.shared);
        self.ask(move |connection| {
            if shared.queue().has_failed {
                return Err(refused("an earlier commit failed; open the file again"));
            }
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = job(&transaction)?;
            match transaction.commit() {
                Ok(()) => Ok(value),
                Err(error) if certainly_not_committed(&error) => Err(error.into()),
                Err(error) => {
                    shared.queue().has_failed = true;
                    tracing::error!(error = &error as &dyn Error, "the log has stopped");
                    Err(Failure::Unknown(Arc::new(error)))
                }
            }
        })
    }

    /// Has a read run.
    pub(super) fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Asked<T> {
        self.ask(move |connection| job(connection))
    }

    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Asked<T> {
        let slot = Arc::new(Mutex::new(Slot { value: None, waker: None }));
        let promise = Promise { slot: Arc::clone(&slot) };
        let mut queue = self.shared.queue();
        if queue.jobs.len() >= JOBS_MAX {
            drop(queue);
            promise.keep(Err(refused("too many jobs wait for the disk")));
            return Asked { slot };
        }
        queue.jobs.push_back(Box::new(move |connection| promise.keep(job(connection))));
        drop(queue);
        self.shared.changed.notify_one();
        Asked { slot }
    }
}

impl Shared {
    fn take(&self) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.is_closed {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.queue().is_closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("a thread of the log ended in a panic");
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("waiting", &self.shared.queue().jobs.len()).finish_non_exhaustive()
    }
}

struct Slot<T> {
    value: Option<Result<T, Failure>>,
    waker: Option<Waker>,
}

/// The worker's end of an answer. Dropped without a value, as by a panic, it says that nothing is known.
struct Promise<T> {
    slot: Arc<Mutex<Slot<T>>>,
}

impl<T> Promise<T> {
    fn keep(self, value: Result<T, Failure>) {
        self.set(value);
    }

    fn set(&self, value: Result<T, Failure>) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.value.is_none() {
            slot.value = Some(value);
        }
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        // Whoever has taken the value by then does not look again.
        self.set(Err(Failure::Unknown(Arc::new(io::Error::other("the thread of the log gave no answer")))));
    }
}

/// An answer that comes.
pub(super) struct Asked<T> {
    slot: Arc<Mutex<Slot<T>>>,
}

impl<T> Future for Asked<T> {
    type Output = Result<T, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

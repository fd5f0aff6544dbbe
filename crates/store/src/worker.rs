//! A thread with a resource, as a connection or a repository: jobs in, answers out, nobody's executor waits for the
//! disk.

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

use gangline_lease::StoreError;
use rusqlite::ErrorCode;

/// Jobs that may wait for one thread.
const JOBS_MAX: usize = 65_536;

/// Why a job has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing was changed.
    Refused(Arc<dyn Error + Send + Sync>),
    /// It may have happened.
    Unknown(Arc<dyn Error + Send + Sync>),
    /// What is stored is not what was written.
    Damaged(String),
}

impl Failure {
    /// Says that nothing was changed, and why.
    pub(crate) fn refused(reason: &'static str) -> Self {
        Self::Refused(Arc::new(io::Error::other(reason)))
    }

    /// Says where it happened.
    pub(crate) fn at(self, place: String) -> StoreError {
        match self {
            Self::Refused(source) => StoreError::Refused { place, source },
            Self::Unknown(source) => StoreError::Unknown { place, source },
            Self::Damaged(what) => StoreError::Damaged { place, what },
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            _ => Self::Refused(Arc::new(error)),
        }
    }
}

type Job<R> = Box<dyn FnOnce(&mut R) + Send>;

pub(crate) struct Worker<R> {
    shared: Arc<Shared<R>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared<R> {
    queue: Mutex<Queue<R>>,
    changed: Condvar,
}

struct Queue<R> {
    jobs: VecDeque<Job<R>>,
    is_closed: bool,
}

impl<R: Send + 'static> Worker<R> {
    pub(crate) fn spawn(name: &str, mut resource: R) -> io::Result<Self> {
        let queue = Mutex::new(Queue { jobs: VecDeque::new(), is_closed: false });
        let shared = Arc::new(Shared { queue, changed: Condvar::new() });
        let queue = Arc::clone(&shared);
        let run = move || {
            while let Some(job) = queue.take() {
                if catch_unwind(AssertUnwindSafe(|| job(&mut resource))).is_err() {
                    tracing::error!("a job of the log ended in a panic");
                }
            }
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has a job run after those that wait. It runs even if nobody waits for the answer.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut R) -> Result<T, Failure> + Send + 'static,
    ) -> Asked<T> {
        let slot = Arc::new(Mutex::new(Slot { value: None, waker: None }));
        let promise = Promise { slot: Arc::clone(&slot) };
        let mut queue = self.shared.queue();
        if queue.jobs.len() >= JOBS_MAX {
            drop(queue);
            promise.keep(Err(Failure::refused("too many jobs wait for the disk")));
            return Asked { slot };
        }
        queue.jobs.push_back(Box::new(move |resource| promise.keep(job(resource))));
        drop(queue);
        self.shared.changed.notify_one();
        Asked { slot }
    }
}

impl<R> Shared<R> {
    fn take(&self) -> Option<Job<R>> {
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

    fn queue(&self) -> MutexGuard<'_, Queue<R>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Drop for Worker<R> {
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

impl<R> fmt::Debug for Worker<R> {
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
pub(crate) struct Asked<T> {
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

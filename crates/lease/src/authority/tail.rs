//! Following a log: a cursor that waits.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use super::{AppendAuthority, space::Space};
use crate::{
    event::{Event, Seq},
    event_store::{ReadLimit, StoreError},
    name::SpaceName,
};

/// How soon an event is seen that another node has appended; its own a node sees at once.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A reader of one log with a cursor: without gaps, without repeats.
#[derive(Debug)]
pub struct Tail {
    authority: AppendAuthority,
    space: SpaceName,
    next: Seq,
}

impl Tail {
    pub(super) fn new(authority: AppendAuthority, space: SpaceName, next: Seq) -> Self {
        Self { authority, space, next }
    }

    /// Returns the position of the next event.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.next
    }

    /// Waits for events and returns them, at least one.
    ///
    /// # Errors
    /// If the store cannot be read. The tail stays where it was, and can be asked again.
    pub async fn next(&mut self, limit: ReadLimit) -> Result<Vec<Event>, StoreError> {
        loop {
            // Before the read: what is appended after it ends the wait.
            let space = self.authority.space(&self.space).ok().map(|space| (space.landed_count(), space));
            let events = self.authority.read(&self.space, self.next, limit).await?;
            for (n, event) in events.iter().enumerate() {
                let expected = self.next.plus(n);
                if event.seq != expected {
                    let what = format!("event {} stands where event {expected} belongs", event.seq);
                    return Err(StoreError::Damaged { place: self.space.to_string(), what });
                }
            }
            if !events.is_empty() {
                self.next = self.next.plus(events.len());
                return Ok(events);
            }
            self.wait(space.as_ref()).await;
        }
    }

    /// Waits until this node has appended more, or some time has passed. Whoever polls it in between waits on.
    async fn wait(&self, space: Option<&(u64, Arc<Space>)>) {
        let mut sleep = self.authority.inner.parts.clock.sleep(LOOK_EVERY);
        poll_fn(|context| {
            let is_over = sleep.as_mut().poll(context).is_ready();
            let has_changed =
                space.is_some_and(|(landed, space)| space.wake_on_change(*landed, context.waker()));
            if is_over || has_changed { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

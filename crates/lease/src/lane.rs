//! A space's lane: one thing at a time, and what arrives meanwhile goes together next (group commit).
//!
//! There is no task: whoever waits at the front takes the turn and works for all whose intents stand in a row with
//! its own. A turn that is dropped half-way goes to the next in line, who tries the same intents again; their ids
//! keep them from landing twice. An idle lane gives the turn at once.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bft_json_crdt::AuthorId;

use crate::{
    event::Intent,
    limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, LANE_BYTES_MAX, LANE_INTENTS_MAX},
};

/// The lane has no room. Come again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) waiting: usize,
}

/// Those who wait, in the order in which they came. `F` is what an intent is answered.
#[derive(Debug)]
pub(crate) struct Lane<F> {
    state: Mutex<State<F>>,
}

#[derive(Debug)]
struct State<F> {
    is_busy: bool,
    tickets: VecDeque<Arc<Ticket<F>>>,
    bytes: usize,
}

/// A place in the line; without an intent it asks for a turn of its own.
#[derive(Debug)]
pub(crate) struct Ticket<F> {
    work: Option<(Intent, AuthorId)>,
    slot: Mutex<Slot<F>>,
}

#[derive(Debug)]
struct Slot<F> {
    answer: Option<F>,
    is_answered: bool,
    waker: Option<Waker>,
}

impl<F> Ticket<F> {
    pub(crate) fn work(&self) -> Option<&(Intent, AuthorId)> {
        self.work.as_ref()
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.slot().is_answered
    }

    fn bytes(&self) -> usize {
        self.work.as_ref().map_or(0, |(intent, _)| intent.payload.bytes().len())
    }

    fn slot(&self) -> MutexGuard<'_, Slot<F>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Lane<F> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { is_busy: false, tickets: VecDeque::new(), bytes: 0 }) }
    }

    /// Goes to the end of the line.
    pub(crate) fn join(&self, work: Option<(Intent, AuthorId)>) -> Result<Waiting<'_, F>, Full> {
        let slot = Mutex::new(Slot { answer: None, is_answered: false, waker: None });
        let ticket = Arc::new(Ticket { work, slot });
        let mut state = self.lock();
        let bytes = state.bytes.saturating_add(ticket.bytes());
        let waiting = state.tickets.len();
        if waiting >= LANE_INTENTS_MAX || (bytes > LANE_BYTES_MAX && waiting > 0) {
            return Err(Full { waiting });
        }
        state.bytes = bytes;
        state.tickets.push_back(Arc::clone(&ticket));
        drop(state);
        Ok(Waiting { lane: self, ticket })
    }

    /// Returns whether nobody waits or works.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        !state.is_busy && state.tickets.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(state: &mut State<F>, ticket: &Arc<Ticket<F>>) {
        if let Some(at) = state.tickets.iter().position(|other| Arc::ptr_eq(other, ticket)) {
            state.tickets.remove(at);
            state.bytes = state.bytes.saturating_sub(ticket.bytes());
        }
    }

    fn wake_front(state: MutexGuard<'_, State<F>>) {
        let waker = match state.tickets.front() {
            Some(front) if !state.is_busy => front.slot().waker.take(),
            _ => None,
        };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Somebody in the line. Dropped, it leaves the line.
#[derive(Debug)]
pub(crate) struct Waiting<'a, F> {
    lane: &'a Lane<F>,
    ticket: Arc<Ticket<F>>,
}

/// What ends the waiting.
#[derive(Debug)]
pub(crate) enum Came<'a, F> {
    /// Another has done the work.
    Answer(F),
    /// It is one's own turn.
    Turn(Turn<'a, F>),
}

impl<'a, F> Waiting<'a, F> {
    pub(crate) async fn come(&self) -> Came<'a, F> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Came<'a, F>> {
        let mut state = self.lane.lock();
        let mut slot = self.ticket.slot();
        if let Some(answer) = slot.answer.take() {
            return Poll::Ready(Came::Answer(answer));
        }
        let is_first = state.tickets.front().is_some_and(|front| Arc::ptr_eq(front, &self.ticket));
        if is_first && !state.is_busy {
            state.is_busy = true;
            return Poll::Ready(Came::Turn(Turn { lane: self.lane }));
        }
        slot.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<F> Drop for Waiting<'_, F> {
    fn drop(&mut self) {
        let mut state = self.lane.lock();
        Lane::remove(&mut state, &self.ticket);
        Lane::wake_front(state);
    }
}

/// The right to work for the lane. Dropped, it goes to the next in line.
#[derive(Debug)]
pub(crate) struct Turn<'a, F> {
    lane: &'a Lane<F>,
}

impl<F> Turn<'_, F> {
    /// Returns the intents at the front that go together: as many as a batch takes, up to the first who wants a turn
    /// of its own.
    pub(crate) fn batch(&self) -> Vec<Arc<Ticket<F>>> {
        let state = self.lane.lock();
        let mut bytes = 0_usize;
        let with_work = state.tickets.iter().take_while(|ticket| ticket.work.is_some());
        let fits = |ticket: &&Arc<Ticket<F>>| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(ticket.bytes());
            is_first || bytes <= BATCH_BYTES_MAX
        };
        with_work.take(BATCH_EVENTS_MAX).take_while(fits).cloned().collect()
    }

    /// Answers an intent. Only the first answer counts.
    pub(crate) fn answer(&self, ticket: &Arc<Ticket<F>>, answer: F) {
        let mut state = self.lane.lock();
        Lane::remove(&mut state, ticket);
        let mut slot = ticket.slot();
        if slot.is_answered {
            return;
        }
        slot.is_answered = true;
        slot.answer = Some(answer);
        let waker = slot.waker.take();
        drop(slot);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<F> Drop for Turn<'_, F> {
    fn drop(&mut self) {
        let mut state = self.lane.lock();
        state.is_busy = false;
        Lane::wake_front(state);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;
    use crate::{EventType, IntentId, Payload};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn work(n: usize) -> Option<(Intent, AuthorId)> {
        let id = IntentId::new(&n.to_string()).unwrap();
        let payload = Payload::parse(b"{}").unwrap();
        Some((Intent { id, kind: EventType::new("T").unwrap(), payload }, AuthorId([1; 32])))
    }

    fn poll<'a>(waiting: &Waiting<'a, usize>, wakes: &Arc<Count>) -> Option<Came<'a, usize>> {
        let waker = Arc::clone(wakes).into();
        match pin!(waiting.come()).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(came) => Some(came),
            Poll::Pending => None,
        }
    }

    #[test]
    fn an_idle_lane_gives_the_turn_at_once_and_what_gathers_goes_together() {
        let lane = Lane::new();
        let wakes = Arc::new(Count::default());
        let first = lane.join(work(0)).unwrap();
        let Some(Came::Turn(turn)) = poll(&first, &wakes) else { panic!("an idle lane never waits") };
        assert_eq!(turn.batch().len(), 1);
        let others: Vec<_> = (1..=150).map(|n| lane.join(work(n)).unwrap()).collect();
        assert!(others.iter().all(|other| poll(other, &wakes).is_none()));
        turn.answer(&turn.batch()[0], 0);
        drop(turn);
        assert!(matches!(poll(&first, &wakes), Some(Came::Answer(0))));

        let Some(Came::Turn(turn)) = poll(&others[0], &wakes) else { panic!("the next has the turn") };
        assert!(poll(&others[1], &wakes).is_none());
        let batch = turn.batch();
        assert_eq!(batch.len(), BATCH_EVENTS_MAX);
        batch.iter().enumerate().for_each(|(n, ticket)| turn.answer(ticket, n));
        drop(turn);
        assert!(matches!(poll(&others[99], &wakes), Some(Came::Answer(99))));
        assert!(matches!(poll(&others[100], &wakes), Some(Came::Turn(_))));
    }

    #[test]
    fn a_turn_that_is_dropped_goes_to_the_next() {
        let lane: Lane<usize> = Lane::new();
        let wakes = Arc::new(Count::default());
        let first = lane.join(work(0)).unwrap();
        let second = lane.join(work(1)).unwrap();
        let turn = poll(&first, &wakes).unwrap();
        assert!(poll(&second, &wakes).is_none());
        drop(turn);
        drop(first);
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1, "it is woken");
        let Some(Came::Turn(turn)) = poll(&second, &wakes) else { panic!("it has the turn") };
        assert_eq!(turn.batch().len(), 1, "who left the line has no work in it");
    }

    #[test]
    fn a_turn_of_ones_own_waits_for_those_before_and_holds_up_those_behind() {
        let lane: Lane<usize> = Lane::new();
        let wakes = Arc::new(Count::default());
        let before = lane.join(work(0)).unwrap();
        let alone = lane.join(None).unwrap();
        let behind = lane.join(work(1)).unwrap();
        assert!(poll(&alone, &wakes).is_none());
        let Some(Came::Turn(turn)) = poll(&before, &wakes) else { panic!("it was first") };
        assert_eq!(turn.batch().len(), 1);
        turn.answer(&turn.batch()[0], 0);
        drop(turn);
        assert!(poll(&behind, &wakes).is_none());
        let Some(Came::Turn(turn)) = poll(&alone, &wakes) else { panic!("it is next") };
        assert!(turn.batch().is_empty());
        drop(turn);
        drop(alone);
        assert!(matches!(poll(&behind, &wakes), Some(Came::Turn(_))));
    }

    #[test]
    fn a_full_lane_refuses() {
        let lane: Lane<usize> = Lane::new();
        let all: Vec<_> = (0..LANE_INTENTS_MAX).map(|n| lane.join(work(n)).unwrap()).collect();
        assert_eq!(lane.join(work(0)).unwrap_err(), Full { waiting: LANE_INTENTS_MAX });
        drop(all);
        lane.join(work(0)).unwrap();
    }
}

//! A tail that waits asks its store once, however often it is polled, and sees its own node's appends at once.
#![allow(clippy::unwrap_used, reason = "a test that fails shall say so loudly")]

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bft_json_crdt::Keypair;
use gangline_lease::{
    Answer, AppendAuthority, Clock, EventType, LeaseSettings, LocalForwarder, Moment, Parts, Payload, Reach,
    ReadLimit, Seq, SpaceName,
};
use gangline_store::{MemoryEventStore, MemoryLeaseRegistry};

/// Time stands still; counts those who wait for it.
#[derive(Default)]
struct Still(AtomicU64);

impl Clock for Still {
    fn now(&self) -> Moment {
        Moment(0)
    }

    fn sleep(&self, _: Duration) -> Answer<'static, ()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::pending())
    }
}

#[test]
fn a_tail_that_is_polled_in_between_waits_on() {
    let (key, clock) = (Keypair::from_seed(&[7; 32]), Arc::new(Still::default()));
    let parts = Parts {
        reach: Reach { node: key.author(), url: None },
        key,
        store: Arc::new(MemoryEventStore::new()),
        registry: Arc::new(MemoryLeaseRegistry::new(clock.clone())),
        forwarder: Arc::new(LocalForwarder::new()),
        clock: clock.clone(),
        random: Arc::new(|| 4),
    };
    let authority = AppendAuthority::new(parts, LeaseSettings::default()).unwrap();
    let space = SpaceName::new("s").unwrap();
    let mut tail = authority.tail(&space, Seq::START);
    let mut next = pin!(tail.next(ReadLimit::default()));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..100 {
        assert!(next.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(clock.0.load(Ordering::Relaxed), 1, "one look, one wait");

    let kind = EventType::new("T").unwrap();
    let payload = Payload::parse(b"{}").unwrap();
    let mut append = pin!(authority.append(&space, kind, payload));
    assert!(append.as_mut().poll(&mut context).is_ready());
    let Poll::Ready(Ok(events)) = next.as_mut().poll(&mut context) else {
        panic!("the append ends the wait")
    };
    assert_eq!(events.len(), 1);
}

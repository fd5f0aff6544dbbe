//! What processes said, held against the log.

use std::{path::Path, time::Duration};

use gangline_lease::{Event, ReadLimit, Seq, Verifier, conformance::block_on};
use gangline_tests::history::Acknowledged;

use crate::storm::{Backend, space};

/// Reads the whole log and verifies it.
pub(crate) fn events(backend: Backend, dir: &Path) -> Vec<Event> {
    let log = backend.open(dir, Duration::ZERO);
    let state = block_on(log.store.state(&space())).unwrap().unwrap();
    let mut verifier = Verifier::new(space(), state.incarnation);
    let mut events = Vec::new();
    loop {
        let limit = ReadLimit { count: 500, bytes: usize::MAX };
        let more = block_on(log.store.read(&space(), Seq(events.len() as u64), limit)).unwrap();
        if more.is_empty() {
            break;
        }
        more.iter().for_each(|event| verifier.push(event).unwrap());
        events.extend(more);
    }
    // Another process may have appended since.
    assert!(verifier.end().unwrap().next >= state.head.next);
    events
}

/// Holds what was acknowledged against the log, as it is.
pub(crate) fn check(backend: Backend, dir: &Path, acknowledged: &[Acknowledged]) {
    let events = events(backend, dir);
    let ids = events.iter().map(|event| event.id.as_str());
    gangline_tests::history::check(&format!("{backend:?}"), ids, acknowledged);
}

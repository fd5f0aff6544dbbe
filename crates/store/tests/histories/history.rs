//! What processes said, held against the log: in one pass.

use std::{collections::BTreeMap, path::Path, time::Duration};

use gangline_lease::{Event, ReadLimit, Seq, Verifier, conformance::block_on};

use crate::storm::{Backend, space};

/// An append that a process was told of: which, where, and between which moments (microseconds of the machine).
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) id: String,
    pub(crate) seq: u64,
    pub(crate) began: u64,
    pub(crate) ended: u64,
}

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

/// Acknowledged is a part of the log, each once, where it was said to be, and in an order that real time allows: what
/// was over before another began stands before it. O(n).
pub(crate) fn check(backend: Backend, dir: &Path, acknowledged: &[Acknowledged]) {
    let events = events(backend, dir);
    let by_id: BTreeMap<&str, u64> = events.iter().map(|event| (event.id.as_str(), event.seq.0)).collect();
    assert_eq!(by_id.len(), events.len(), "{backend:?}: each intent once");
    let mut by_seq = BTreeMap::new();
    for said in acknowledged {
        assert_eq!(by_id.get(said.id.as_str()), Some(&said.seq), "{backend:?}: {said:?}");
        assert!(by_seq.insert(said.seq, said).is_none(), "{backend:?}: {said:?} stands where another stands");
    }
    let mut latest_begin: Option<&Acknowledged> = None;
    for said in by_seq.into_values() {
        if let Some(before) = latest_begin {
            assert!(said.ended >= before.began, "{backend:?}: {said:?} was over before {before:?} began");
        }
        if latest_begin.is_none_or(|before| before.began < said.began) {
            latest_begin = Some(said);
        }
    }
}

//! Histories of real processes on one store: killed, stopped and woken, with clocks that differ, with a full disk.
//! Whatever happens, what they said that they appended is in the log, each once, in an order that real time allows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and these run against the machine's clock"
)]

mod history;
mod storm;

use std::{path::Path, thread, time::Duration};

use gangline_lease::conformance::{block_on, intent};
use history::{check, events};
use storm::{Backend, Storm, TTL, space};

/// Not a test by itself: what the others run in processes of their own.
#[test]
fn storm() {
    storm::run_if_asked();
}

fn on_each(test: impl Fn(Backend, &Path)) {
    for backend in Backend::ALL {
        let dir = tempfile::tempdir().unwrap();
        test(backend, dir.path());
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    on_each(|backend, dir| {
        let mut all = Vec::new();
        for (node, kill_after) in [(1, 1), (1, 80), (2, 40)] {
            let mut storm = Storm::start(backend, dir, node, Duration::ZERO);
            storm.wait_for(kill_after);
            all.extend(storm.kill());
            check(backend, dir, &all);
        }
        assert!(all.len() >= 121, "what was waited for was said");
    });
}

#[test]
fn one_process_takes_over_from_another() {
    on_each(|backend, dir| {
        let mut one = Storm::start(backend, dir, 1, Duration::ZERO);
        one.wait_for(40);
        let mut two = Storm::start(backend, dir, 2, Duration::ZERO);
        one.wait_for(40);
        let mut all = one.kill();
        two.wait_for(40);
        all.extend(two.kill());
        check(backend, dir, &all);
        let epochs: Vec<u64> = events(backend, dir).iter().map(|event| event.epoch.0).collect();
        assert!(epochs.first() < epochs.last(), "the second has taken over");
    });
}

#[test]
fn a_holder_that_is_stopped_and_wakes_up_is_fenced() {
    on_each(|backend, dir| {
        let mut one = Storm::start(backend, dir, 1, Duration::ZERO);
        one.wait_for(30);
        one.stop_between_writes(backend, dir);
        let log = backend.open(dir, Duration::ZERO);
        let before = block_on(log.store.state(&space())).unwrap().unwrap();
        let mut two = Storm::start(backend, dir, 2, Duration::ZERO);
        two.wait_for(30);
        one.wake();
        // It was in the middle of appends, and believes that it holds the space.
        two.wait_for(60);
        let after = block_on(log.store.state(&space())).unwrap().unwrap();
        assert!(after.epoch > before.epoch, "another has sealed");
        // Then the second dies, and the first has to be let in again.
        let mut all = two.kill();
        one.wait_for(60);
        all.extend(one.kill());
        check(backend, dir, &all);
        let fenced = events(backend, dir).into_iter().skip_while(|event| event.epoch <= before.epoch);
        assert!(fenced.clone().count() > 0 && fenced.clone().all(|event| event.epoch > before.epoch));
    });
}

/// The file is locked until it wakes up: nobody gets on, and nothing is lost or forked.
#[test]
fn a_holder_that_is_stopped_in_the_middle_of_a_write_holds_up_the_others() {
    on_each(|backend, dir| {
        let mut one = Storm::start(backend, dir, 1, Duration::ZERO);
        one.wait_for(30);
        one.stop_in_a_write(backend, dir);
        let mut two = Storm::start(backend, dir, 2, Duration::ZERO);
        // Longer than the lease: it would have taken the space over, if it could.
        thread::sleep(2 * TTL);
        // Either may have the space now.
        one.wake_until_either_gets_on(&mut two);
        let mut all = one.kill();
        two.wait_for(30);
        all.extend(two.kill());
        check(backend, dir, &all);
    });
}

#[test]
fn clocks_that_differ_cost_hand_overs_and_nothing_else() {
    on_each(|backend, dir| {
        let mut storms = vec![Storm::start(backend, dir, 1, Duration::ZERO)];
        storms[0].wait_for(20);
        // For each that comes, the leases of those before have ended already.
        for ahead in 1..4 {
            let mut next = Storm::start(backend, dir, 1 + ahead, 5 * TTL * u32::from(ahead));
            next.wait_for(20);
            storms.push(next);
        }
        let all: Vec<_> = storms.into_iter().flat_map(Storm::kill).collect();
        check(backend, dir, &all);
    });
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    on_each(|backend, dir| {
        let mut storm = Storm::start_with_little_room(backend, dir, 1);
        if backend == Backend::Git {
            // Its commits are small files; what does not fit is the index, which is none of the log.
            storm.wait_for(400);
        } else {
            assert!(!storm.wait_for_refusal().is_empty());
            assert_eq!(storm.wait_for_read(), "read", "what is there can be read");
        }
        let all = storm.kill();
        assert!(!all.is_empty(), "there was room for some");
        check(backend, dir, &all);
        // With room again, the same store goes on.
        let mut storm = Storm::start(backend, dir, 1, Duration::ZERO);
        storm.wait_for(20);
        let more: Vec<_> = all.into_iter().chain(storm.kill()).collect();
        check(backend, dir, &more);
    });
}

#[test]
fn what_gathers_is_appended_together() {
    on_each(|backend, dir| {
        let authority = storm::authority(backend, dir, 1, Duration::ZERO);
        thread::scope(|scope| {
            for client in 0..32 {
                let authority = &authority;
                scope.spawn(move || {
                    for n in 0..20 {
                        block_on(authority.submit(&space(), intent(&format!("{client}-{n}")))).unwrap();
                    }
                });
            }
        });
        drop(authority);
        let events = events(backend, dir);
        assert_eq!(events.len(), 640);
        let batches = events.iter().filter(|event| event.signature.is_some()).count();
        assert!(batches < 320, "{backend:?}: {batches} batches for 640 events of 32 clients");
    });
}

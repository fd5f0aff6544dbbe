//! The doors of documents and the follower of a source, driven without clocks and sockets: each phase, and whatever order.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use std::collections::{BTreeMap, BTreeSet};

use gangline_reconcile::{
    DoorEffect, DoorError, DoorInput, DoorSettings, Doors, FollowEffect, FollowInput, FollowSettings,
    Follower, Generation, Role, Standing, Visitor,
};
use proptest::prelude::*;

type Effect = DoorEffect<u8>;

fn doors() -> Doors<u8> {
    Doors::new(DoorSettings { linger_ms: 100, close_ms: 10_000, open_max: 2, waiting_max: 4, place_ms: 10 })
}

fn play(doors: &mut Doors<u8>, now: u64, input: DoorInput<u8>) -> Vec<Effect> {
    doors.handle(now, input);
    std::iter::from_fn(|| doors.poll_effect()).collect()
}

#[test]
fn all_who_come_share_one_opening() {
    let mut doors = doors();
    assert_eq!(
        play(&mut doors, 0, DoorInput::Enter(7, Visitor(1), Role::Person)),
        [Effect::Open(7, Generation(1))]
    );
    assert_eq!(play(&mut doors, 1, DoorInput::Enter(7, Visitor(2), Role::Person)), []);
    let admitted = play(&mut doors, 2, DoorInput::Opened(7, Generation(1)));
    let admit = |visitor| Effect::Admit(Visitor(visitor), 7, Generation(1));
    assert_eq!(admitted, [admit(1), admit(2)]);
    assert_eq!(play(&mut doors, 3, DoorInput::Enter(7, Visitor(3), Role::Person)), [admit(3)]);
}

#[test]
fn a_load_error_is_an_error_and_never_an_empty_document() {
    let mut doors = doors();
    play(&mut doors, 0, DoorInput::Enter(7, Visitor(1), Role::Person));
    let refused = play(&mut doors, 1, DoorInput::Failed(7, Generation(1), "damaged".to_owned()));
    assert_eq!(refused, [Effect::Refuse(Visitor(1), DoorError::Failed("damaged".to_owned()))]);
    // The next one tries anew.
    assert_eq!(
        play(&mut doors, 2, DoorInput::Enter(7, Visitor(2), Role::Person)),
        [Effect::Open(7, Generation(2))]
    );
}

#[test]
fn whoever_comes_while_a_document_closes_waits_for_the_end_and_a_new_opening() {
    let mut doors = doors();
    play(&mut doors, 0, DoorInput::Enter(7, Visitor(1), Role::Person));
    play(&mut doors, 0, DoorInput::Opened(7, Generation(1)));
    assert_eq!(play(&mut doors, 10, DoorInput::Leave(7, Visitor(1))), []);
    assert_eq!(doors.next_deadline(), Some(110));
    assert_eq!(play(&mut doors, 109, DoorInput::Tick), []);
    assert_eq!(play(&mut doors, 110, DoorInput::Tick), [Effect::Close(7, Generation(1))]);
    assert!(!doors.is_open(&7, Generation(1)), "a handle of the old opening reaches nothing");
    assert_eq!(play(&mut doors, 111, DoorInput::Enter(7, Visitor(2), Role::Person)), []);
    assert_eq!(play(&mut doors, 112, DoorInput::Closed(7, Generation(1))), [Effect::Open(7, Generation(2))]);
    let admitted = play(&mut doors, 113, DoorInput::Opened(7, Generation(2)));
    assert_eq!(admitted, [Effect::Admit(Visitor(2), 7, Generation(2))]);
    // Word of the first opening says nothing of the second.
    play(&mut doors, 114, DoorInput::Closed(7, Generation(1)));
    assert!(doors.is_open(&7, Generation(2)));
}

#[test]
fn closing_that_does_not_end_is_reported_and_never_gives_a_second_instance() {
    let mut doors = doors();
    play(&mut doors, 0, DoorInput::Enter(7, Visitor(1), Role::Person));
    play(&mut doors, 0, DoorInput::Opened(7, Generation(1)));
    play(&mut doors, 0, DoorInput::Leave(7, Visitor(1)));
    play(&mut doors, 100, DoorInput::Tick);
    play(&mut doors, 200, DoorInput::Enter(7, Visitor(2), Role::Person));
    let stuck = DoorError::Stuck { ms: 10_000 };
    assert_eq!(
        play(&mut doors, 10_100, DoorInput::Tick),
        [Effect::Stuck(7, Generation(1)), Effect::Refuse(Visitor(2), stuck.clone())]
    );
    assert_eq!(
        play(&mut doors, 20_000, DoorInput::Enter(7, Visitor(3), Role::Person)),
        [Effect::Refuse(Visitor(3), stuck)]
    );
    // When it ends after all, it opens again.
    play(&mut doors, 30_000, DoorInput::Closed(7, Generation(1)));
    assert_eq!(
        play(&mut doors, 30_001, DoorInput::Enter(7, Visitor(4), Role::Person)),
        [Effect::Open(7, Generation(2))]
    );
}

#[test]
fn whoever_would_open_more_documents_than_may_be_waits_for_a_place_for_a_while() {
    let mut doors = doors();
    for id in [1, 2] {
        play(&mut doors, 0, DoorInput::Enter(id, Visitor(id.into()), Role::Person));
        play(&mut doors, 0, DoorInput::Opened(id, Generation(id.into())));
    }
    assert_eq!(play(&mut doors, 1, DoorInput::Enter(3, Visitor(3), Role::Person)), []);
    assert_eq!(doors.next_deadline(), Some(11));
    let too_many = |visitor| Effect::Refuse(Visitor(visitor), DoorError::TooMany { open_max: 2 });
    assert_eq!(play(&mut doors, 11, DoorInput::Tick), [too_many(3)]);
    // One that is open is entered past those who wait.
    assert_eq!(play(&mut doors, 12, DoorInput::Enter(3, Visitor(4), Role::Person)), []);
    let admitted = play(&mut doors, 12, DoorInput::Enter(1, Visitor(5), Role::Person));
    assert_eq!(admitted, [Effect::Admit(Visitor(5), 1, Generation(1))]);
    // What nobody uses makes room, and that when it is closed: no more are ever open.
    assert_eq!(play(&mut doors, 13, DoorInput::Leave(2, Visitor(2))), [Effect::Close(2, Generation(2))]);
    assert_eq!(play(&mut doors, 14, DoorInput::Enter(4, Visitor(6), Role::System)), []);
    let opened = play(&mut doors, 15, DoorInput::Closed(2, Generation(2)));
    assert_eq!((opened, doors.len()), (vec![Effect::Open(3, Generation(3))], 2));
    // Whoever goes away no longer waits, nor does anybody when the node stops.
    assert_eq!(play(&mut doors, 16, DoorInput::Leave(4, Visitor(6))), []);
    assert_eq!(play(&mut doors, 17, DoorInput::Enter(4, Visitor(7), Role::System)), []);
    let stopping = Effect::Refuse(Visitor(7), DoorError::Stopping);
    assert_eq!(play(&mut doors, 18, DoorInput::Stop), [stopping]);
}

#[test]
fn a_document_that_only_a_run_was_in_is_closed_behind_it() {
    let mut doors = doors();
    play(&mut doors, 0, DoorInput::Enter(7, Visitor(1), Role::System));
    play(&mut doors, 0, DoorInput::Opened(7, Generation(1)));
    assert_eq!(play(&mut doors, 1, DoorInput::Leave(7, Visitor(1))), [Effect::Close(7, Generation(1))]);
    // A person who has come meanwhile, at whatever moment, has it stay.
    play(&mut doors, 2, DoorInput::Enter(7, Visitor(2), Role::System));
    play(&mut doors, 2, DoorInput::Enter(7, Visitor(3), Role::Person));
    play(&mut doors, 3, DoorInput::Closed(7, Generation(1)));
    play(&mut doors, 4, DoorInput::Opened(7, Generation(2)));
    assert_eq!(play(&mut doors, 5, DoorInput::Leave(7, Visitor(3))), []);
    assert_eq!(play(&mut doors, 6, DoorInput::Leave(7, Visitor(2))), []);
    assert_eq!(doors.next_deadline(), Some(106));
    assert_eq!(play(&mut doors, 106, DoorInput::Tick), [Effect::Close(7, Generation(2))]);
}

#[derive(Clone, Debug)]
enum Step {
    Enter(u8, bool),
    Leave(usize),
    Finish(usize, bool),
    Wait(u64),
}

proptest! {
    #[test]
    fn there_is_one_instance_and_everybody_gets_one_answer(
        steps in prop::collection::vec(
            prop_oneof![
                3 => (0u8..3, any::<bool>()).prop_map(|(id, stays)| Step::Enter(id, stays)),
                2 => any::<usize>().prop_map(Step::Leave),
                3 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(at, ok)| Step::Finish(at, ok)),
                1 => (1u64..200).prop_map(Step::Wait),
            ],
            1..80,
        ),
    ) {
        let mut doors = doors();
        let (mut now, mut visitors) = (0, 0);
        // What the world does: instances that exist, work that is under way, visitors without an answer, and inside.
        let mut alive: BTreeMap<u8, Generation> = BTreeMap::new();
        let mut work: Vec<(bool, u8, Generation)> = Vec::new();
        let mut waiting: BTreeSet<u64> = BTreeSet::new();
        let mut inside: Vec<(u8, Visitor)> = Vec::new();
        let finish = (0..20).flat_map(|_| [Step::Finish(0, true), Step::Wait(1)]);
        for step in steps.into_iter().chain(finish) {
            let input = match step {
                Step::Enter(id, stays) => {
                    visitors += 1;
                    waiting.insert(visitors);
                    DoorInput::Enter(id, Visitor(visitors), if stays { Role::Person } else { Role::System })
                }
                Step::Leave(at) if !inside.is_empty() => {
                    let (id, visitor) = inside.remove(at % inside.len());
                    DoorInput::Leave(id, visitor)
                }
                Step::Finish(at, ok) if !work.is_empty() => {
                    let (opens, id, generation) = work.remove(at % work.len());
                    if opens && ok {
                        DoorInput::Opened(id, generation)
                    } else {
                        alive.remove(&id);
                        match opens {
                            true => DoorInput::Failed(id, generation, "no".to_owned()),
                            false => DoorInput::Closed(id, generation),
                        }
                    }
                }
                Step::Wait(ms) => {
                    now += ms;
                    DoorInput::Tick
                }
                Step::Leave(_) | Step::Finish(..) => continue,
            };
            for effect in play(&mut doors, now, input) {
                match effect {
                    Effect::Open(id, generation) => {
                        prop_assert!(alive.insert(id, generation).is_none(), "two instances of {id}");
                        prop_assert!(alive.len() <= 2);
                        work.push((true, id, generation));
                    }
                    Effect::Close(id, generation) => {
                        prop_assert!(inside.iter().all(|(in_it, _)| *in_it != id), "somebody is in {id}");
                        work.push((false, id, generation));
                    }
                    Effect::Admit(visitor, id, generation) => {
                        prop_assert!(waiting.remove(&visitor.0));
                        prop_assert_eq!(alive.get(&id), Some(&generation));
                        prop_assert!(doors.is_open(&id, generation));
                        inside.push((id, visitor));
                    }
                    Effect::Refuse(visitor, _) => prop_assert!(waiting.remove(&visitor.0)),
                    Effect::Stuck(..) => prop_assert!(false, "nothing takes that long here"),
                }
            }
        }
        prop_assert!(waiting.is_empty(), "{waiting:?} wait for ever");
    }
}

fn follower() -> Follower {
    Follower::new(FollowSettings { runs_max: 2, waiting_max: 4, ..FollowSettings::default() })
}

fn follow(follower: &mut Follower, now: u64, input: FollowInput) -> Vec<FollowEffect> {
    follower.handle(now, input);
    std::iter::from_fn(|| follower.poll_effect()).collect()
}

fn dirty(root: &str) -> FollowInput {
    FollowInput::Dirty(root.to_owned(), Standing::Stored)
}

fn run(root: &str) -> FollowEffect {
    FollowEffect::Run(root.to_owned())
}

#[test]
fn words_that_come_together_are_one_run_and_wait_no_longer_than_they_may() {
    let mut one = follower();
    assert_eq!(follow(&mut one, 0, dirty("a")), []);
    assert_eq!(follow(&mut one, 10, dirty("a")), []);
    assert_eq!(one.next_deadline(), Some(30));
    assert_eq!(follow(&mut one, 29, FollowInput::Tick), []);
    assert_eq!(follow(&mut one, 30, FollowInput::Tick), [run("a")]);
    let mut busy = follower();
    let mut ran_at = None;
    for now in (0..400).step_by(5) {
        if !follow(&mut busy, now, dirty("a")).is_empty() {
            ran_at = Some(now);
            break;
        }
    }
    assert_eq!(ran_at, Some(250));
}

#[test]
fn the_first_word_of_what_is_open_is_run_at_once_and_those_upon_it_are_gathered() {
    let mut one = follower();
    let named = |root: &str| FollowInput::Dirty(root.to_owned(), Standing::Open);
    let done = |root: &str| FollowInput::Done(root.to_owned());
    assert_eq!(follow(&mut one, 0, named("a")), [run("a")]);
    assert_eq!(follow(&mut one, 5, done("a")), []);
    // A writer that goes on is gathered for as long as it does, whenever the feed looks.
    let mut ran_at = Vec::new();
    for now in (20..=1_000).step_by(20) {
        let effects = follow(&mut one, now, named("a"));
        if !effects.is_empty() {
            assert_eq!(effects, [run("a")]);
            ran_at.push(now);
            follow(&mut one, now + 5, done("a"));
        }
    }
    assert_eq!(ran_at, [280, 560, 840]);
    // Others are not held up by it, and it is not held up once it has rested.
    assert_eq!(follow(&mut one, 1_000, named("b")), [run("b")]);
    assert_eq!(follow(&mut one, 1_250, FollowInput::Tick), [run("a")]);
    follow(&mut one, 1_255, done("a"));
    assert_eq!(follow(&mut one, 1_294, named("a")), []);
    assert_eq!(follow(&mut one, 1_314, FollowInput::Tick), [run("a")]);
    follow(&mut one, 1_320, done("a"));
    assert_eq!(follow(&mut one, 1_360, named("a")), [run("a")]);
}

#[test]
fn a_root_that_is_named_while_it_runs_is_run_again() {
    let mut one = follower();
    follow(&mut one, 0, dirty("a"));
    assert_eq!(follow(&mut one, 20, FollowInput::Tick), [run("a")]);
    assert_eq!(follow(&mut one, 21, dirty("a")), []);
    assert_eq!(follow(&mut one, 30, FollowInput::Done("a".to_owned())), []);
    assert_eq!(follow(&mut one, 50, FollowInput::Tick), [run("a")]);
    assert_eq!(follow(&mut one, 60, FollowInput::Done("a".to_owned())), []);
    assert_eq!((one.pending(), one.next_deadline(), one.lag_ms(99)), (0, None, 0));
}

#[test]
fn what_failed_is_tried_again_later_and_later() {
    let mut one = follower();
    follow(&mut one, 0, dirty("a"));
    follow(&mut one, 20, FollowInput::Tick);
    let mut now = 20;
    for expected in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        let failed = follow(&mut one, now, FollowInput::Failed("a".to_owned()));
        assert_eq!(failed, [FollowEffect::RetryIn("a".to_owned(), expected)]);
        assert_eq!(one.failing(), 1);
        assert_eq!(follow(&mut one, now + expected - 1, dirty("a")), [], "a feed does not hurry it");
        now += expected;
        assert_eq!(follow(&mut one, now, FollowInput::Tick), [run("a")]);
    }
    assert_eq!(one.lag_ms(now), now);
    follow(&mut one, now, FollowInput::Done("a".to_owned()));
    assert_eq!((one.failing(), one.pending()), (0, 0));
}

#[test]
fn runs_and_waiting_roots_are_bounded_and_nothing_is_forgotten() {
    let mut one = follower();
    for root in ["a", "b", "c", "d"] {
        assert!(one.has_room());
        assert_eq!(follow(&mut one, 0, dirty(root)), []);
    }
    assert!(!one.has_room());
    assert_eq!(follow(&mut one, 0, dirty("e")), [FollowEffect::Scan]);
    assert_eq!(follow(&mut one, 0, dirty("d")), [], "one that waits needs no room");
    assert_eq!(follow(&mut one, 20, FollowInput::Tick), [run("a"), run("b")]);
    assert_eq!(follow(&mut one, 21, FollowInput::Done("b".to_owned())), [run("c")]);
    assert!(one.has_room());
    assert_eq!(follow(&mut one, 22, FollowInput::GaveUp("a".to_owned())), [run("d")]);
}

#[test]
fn what_is_open_is_run_first_and_does_not_wait_for_the_runs_of_others() {
    let settings = FollowSettings { runs_max: 2, open_runs: 1, waiting_max: 4, ..FollowSettings::default() };
    let mut one = Follower::new(settings);
    let named = |root: &str, standing| FollowInput::Dirty(root.to_owned(), standing);
    follow(&mut one, 0, named("a", Standing::Unborn));
    for root in ["b", "c", "d"] {
        follow(&mut one, 0, dirty(root));
    }
    assert_eq!(follow(&mut one, 20, FollowInput::Tick), [run("b"), run("c")]);
    assert_eq!(one.next_deadline(), None, "what is stored waits for a run to end");
    // There is no room, and both runs are taken: one that is open is taken in all the same, and run.
    assert!(!one.has_room());
    assert_eq!(follow(&mut one, 41, named("z", Standing::Open)), [run("z")]);
    assert_eq!(follow(&mut one, 42, named("y", Standing::Open)), []);
    assert_eq!(follow(&mut one, 62, FollowInput::Tick), []);
    // One that was stored when it was named, and has been opened since.
    assert_eq!(follow(&mut one, 63, named("d", Standing::Open)), []);
    assert_eq!(follow(&mut one, 83, FollowInput::Done("b".to_owned())), [run("y")]);
    assert_eq!(follow(&mut one, 84, FollowInput::Done("y".to_owned())), [run("d")]);
    assert_eq!(follow(&mut one, 85, FollowInput::Done("z".to_owned())), []);
    assert_eq!(follow(&mut one, 86, FollowInput::Done("d".to_owned())), [run("a")]);
    follow(&mut one, 87, FollowInput::Done("a".to_owned()));
    follow(&mut one, 88, FollowInput::Done("c".to_owned()));
    assert_eq!((one.pending(), one.next_deadline()), (0, None));
}

#[test]
fn of_roots_that_nobody_has_opened_a_few_wait_and_the_others_are_left_out() {
    let mut one = Follower::new(FollowSettings { births_max: 2, ..FollowSettings::default() });
    let unborn = |root: &str| FollowInput::Dirty(root.to_owned(), Standing::Unborn);
    assert_eq!(follow(&mut one, 0, unborn("a")), []);
    assert_eq!(follow(&mut one, 0, unborn("b")), []);
    assert_eq!(follow(&mut one, 0, unborn("a")), [], "one that waits needs no room");
    assert_eq!((one.births_left(), one.left_out()), (0, 0));
    assert_eq!(follow(&mut one, 0, unborn("c")), [FollowEffect::LeaveOut]);
    assert_eq!(follow(&mut one, 0, unborn("d")), [], "it is said once");
    assert_eq!((one.pending(), one.left_out()), (2, 2));
    assert_eq!(follow(&mut one, 0, dirty("e")), [], "there is room for what is stored");
    // One that is opened while it waits makes room.
    follow(&mut one, 0, FollowInput::Dirty("b".to_owned(), Standing::Open));
    assert_eq!(one.births_left(), 1);
    assert_eq!(follow(&mut one, 20, FollowInput::Tick), [run("b"), run("e"), run("a")]);
    for root in ["a", "b", "e"] {
        follow(&mut one, 21, FollowInput::Done(root.to_owned()));
    }
    assert_eq!((one.births_left(), one.pending()), (2, 0));
    // The next bulk is said anew.
    follow(&mut one, 30, unborn("a"));
    follow(&mut one, 30, unborn("b"));
    assert_eq!(follow(&mut one, 30, unborn("c")), [FollowEffect::LeaveOut]);
}

#[test]
fn a_pause_runs_nothing_and_forgets_nothing() {
    let mut one = follower();
    follow(&mut one, 0, FollowInput::Pause);
    follow(&mut one, 0, dirty("a"));
    assert_eq!(follow(&mut one, 1_000, FollowInput::Tick), []);
    assert!(one.is_paused() && one.next_deadline().is_none());
    assert_eq!(follow(&mut one, 1_001, FollowInput::Resume), [run("a")]);
}

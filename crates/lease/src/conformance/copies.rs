//! Closed spaces, and logs that go from one store to another.

use std::sync::Mutex;

use super::{Member, Team, block_on, ids, named, ttl};
use crate::{
    Access, AdoptError, Answer, AppendError, CopyError, Divergence, Epoch, Event, EventStore, Importer,
    Incarnation, LeaseError, Misfit, Offence, ReadLimit, SealError, Seq, SpaceName, StoreError, Verifier,
    copying::{Recovered, Relation, Shelf, copy, recover, relate},
    name::Place,
};

/// A check over two backends.
type Check = fn(&Team, &Team);

pub(super) fn check(run: &dyn Fn(&str, Check)) {
    run("a_closed_space_takes_no_appends", a_closed_space_takes_no_appends);
    run("a_log_moves_with_the_same_head", a_log_moves_with_the_same_head);
    run("a_copy_goes_on_where_it_ended", a_copy_goes_on_where_it_ended);
    run("a_part_that_does_not_fit_changes_nothing", a_part_that_does_not_fit_changes_nothing);
    run("only_the_expected_log_is_replaced", only_the_expected_log_is_replaced);
    run("an_import_takes_what_the_store_lacks", an_import_takes_what_the_store_lacks);
    run("logs_are_related", logs_are_related);
    run("the_longer_branch_is_gone_on_from", the_longer_branch_is_gone_on_from);
}

fn append_all(member: &Member, space: &SpaceName, names: &[&str]) {
    for name in names {
        member.append(space, name).unwrap();
    }
}

fn copied(from: &Team, to: &Team, space: &SpaceName) -> Result<crate::SpaceState, CopyError> {
    let (from, to) = (from.backend().0, to.backend().0);
    block_on(copy(from.as_ref(), to.as_ref(), space, None, &mut |_, _| {}))
}

fn events_of(team: &Team, space: &SpaceName) -> Vec<Event> {
    block_on(team.backend().0.read(space, Seq::START, ReadLimit { count: 10_000, bytes: usize::MAX }))
        .unwrap()
}

fn a_closed_space_takes_no_appends(team: &Team, _: &Team) {
    let (alice, bob) = (team.member(1), team.member(2));
    let space = named("s");
    assert!(matches!(
        block_on(alice.authority.set_access(&space, Access::Copy)),
        Err(LeaseError::Absent { .. })
    ));
    let first = alice.append(&space, "a").unwrap();
    assert!(matches!(block_on(bob.authority.set_access(&space, Access::Copy)), Err(LeaseError::Held { .. })));
    let moved = Access::Moved { to: Place::new("http://other:3001").unwrap() };
    for access in [Access::Copy, moved] {
        let closed = block_on(alice.authority.set_access(&space, access.clone())).unwrap();
        assert!(closed.epoch > first.epoch, "whoever held it is fenced");
        assert_eq!(block_on(team.backend().0.access(&space)).unwrap(), Some(access.clone()));
        for node in [&alice, &bob] {
            match node.append(&space, "b") {
                Err(AppendError::NotAppended {
                    source: LeaseError::Closed { access: found, .. }, ..
                }) => {
                    assert_eq!(found, access);
                }
                other => panic!("closed, but: {other:?}"),
            }
            assert_eq!(node.append(&space, "a").unwrap(), first, "what is there is told all the same");
        }
        let (store, registry) = team.backend();
        match block_on(store.seal(&space, Epoch(99), Incarnation([9; 16]))) {
            Err(SealError::Closed { access: found }) => assert_eq!(found, access),
            other => panic!("closed, but: {other:?}"),
        }
        assert_eq!(block_on(registry.lease(&space)).unwrap(), None, "nobody waits for a lease to run out");
    }
    let stale = block_on(team.backend().0.set_access(&space, Epoch(1), Access::Open));
    assert!(matches!(stale, Err(SealError::NotAbove { .. })));
    block_on(bob.authority.set_access(&space, Access::Open)).unwrap();
    assert_eq!(bob.append(&space, "b").unwrap().seq, Seq(1));
    assert_eq!(ids(&team.verified(&space)), ["a", "b"]);
}

fn a_log_moves_with_the_same_head(here: &Team, there: &Team) {
    let (alice, carol) = (here.member(1), there.member(3));
    let space = named("team/a:1");
    append_all(&alice, &space, &["a", "b", "c"]);
    here.clock.advance(ttl());
    append_all(&here.member(2), &space, &["d"]);
    here.clock.advance(ttl());
    let place = Place::new("there").unwrap();
    let closed = block_on(alice.authority.set_access(&space, Access::Moved { to: place })).unwrap();
    let state = copied(here, there, &space).unwrap();
    assert_eq!((state.head, state.incarnation), (closed.head, closed.incarnation));
    assert_eq!(there.verified(&space), here.verified(&space), "event for event");
    assert!(matches!(
        carol.append(&space, "e"),
        Err(AppendError::NotAppended { source: LeaseError::Closed { access: Access::Copy, .. }, .. })
    ));
    let opened = block_on(carol.authority.set_access(&space, Access::Open)).unwrap();
    assert_eq!(opened.head, closed.head);
    assert_eq!(carol.append(&space, "a").unwrap().seq, Seq(0), "intents have moved too");
    let placed = carol.append(&space, "e").unwrap();
    assert_eq!(placed.seq, Seq(4));
    assert!(placed.epoch > there.verified(&space)[3].epoch);
    assert_eq!(ids(&there.verified(&space)), ["a", "b", "c", "d", "e"]);
}

fn a_copy_goes_on_where_it_ended(here: &Team, there: &Team) {
    let alice = here.member(1);
    let space = named("s");
    assert!(matches!(copied(here, there, &space), Err(CopyError::Absent(_))));
    block_on(alice.authority.acquire(&space)).unwrap();
    assert_eq!(copied(here, there, &space).unwrap().head.next, Seq(0), "an empty log is one too");
    for n in 0..3 {
        append_all(&alice, &space, &[&format!("a{n}"), &format!("b{n}")]);
        let state = copied(here, there, &space).unwrap();
        assert_eq!(state.head.next, Seq(2 * n + 2));
        assert_eq!(copied(here, there, &space).unwrap(), state, "again changes nothing");
    }
    assert_eq!(there.verified(&space), here.verified(&space));
    assert_eq!(block_on(there.backend().0.access(&space)).unwrap(), Some(Access::Copy));

    // The source has lost its end, and gone another way: that is not followed.
    let elsewhere = named("t");
    append_all(&alice, &elsewhere, &["a", "b"]);
    append_all(&there.member(3), &elsewhere, &["x"]);
    let before = there.verified(&elsewhere);
    match copied(here, there, &elsewhere) {
        Err(CopyError::Diverged { divergence: Divergence::OtherLife { .. }, .. }) => {}
        other => panic!("another log, but: {other:?}"),
    }
    match copied(there, here, &space) {
        Ok(_) => {}
        other => panic!("the same log, but: {other:?}"),
    }
    append_all(&alice, &space, &["c"]);
    match copied(there, here, &space) {
        Err(CopyError::Diverged { divergence: Divergence::Shorter { .. }, .. }) => {}
        other => panic!("it goes less far, but: {other:?}"),
    }
    assert_eq!(there.verified(&elsewhere), before);
}

fn a_part_that_does_not_fit_changes_nothing(here: &Team, there: &Team) {
    let alice = here.member(1);
    let space = named("s");
    append_all(&alice, &space, &["a", "b", "c"]);
    let state = block_on(here.backend().0.state(&space)).unwrap().unwrap();
    let events = events_of(here, &space);
    let verifier = || Verifier::new(space.clone(), state.incarnation);
    let adopt = |part: &crate::Part| block_on(there.backend().0.adopt(part));
    let misfit = |part: &crate::Part| match adopt(part) {
        Err(AdoptError::Misfit(misfit)) => misfit,
        other => panic!("it does not fit, but: {other:?}"),
    };

    for change in 0..3 {
        let mut forged = events.clone();
        match change {
            0 => forged[1].epoch = Epoch(7),
            1 => forged[1].id = forged[0].id.clone(),
            _ => drop(forged.remove(1)),
        }
        verifier().part(forged).unwrap_err();
    }
    let unsigned = events.iter().cloned().map(|event| Event { signature: None, ..event }).collect();
    assert_eq!(verifier().part(unsigned), Err(Offence::Unsigned { seq: Seq(0) }));

    let later = Verifier::resume(space.clone(), state.incarnation, &events[0]).part(events[1..].to_vec());
    assert!(matches!(misfit(&later.clone().unwrap()), Misfit::Moved { .. }), "a log begins at its beginning");
    assert_eq!(block_on(there.backend().0.state(&space)).unwrap(), None);
    let first = verifier().part(events[..1].to_vec()).unwrap();
    adopt(&first).unwrap();
    assert!(matches!(misfit(&first), Misfit::Moved { .. }));
    let other_life = Verifier::new(space.clone(), Incarnation([0xee; 16])).part(Vec::new()).unwrap();
    assert!(matches!(misfit(&other_life), Misfit::OtherLife { .. }));
    adopt(&later.clone().unwrap()).unwrap();
    assert_eq!(there.verified(&space), events);

    // A space that takes appends is no copy.
    match block_on(here.backend().0.adopt(&first)) {
        Err(AdoptError::Misfit(Misfit::Open)) => {}
        other => panic!("it is open, but: {other:?}"),
    }
}

fn only_the_expected_log_is_replaced(here: &Team, there: &Team) {
    let (alice, carol) = (here.member(1), there.member(3));
    let space = named("s");
    append_all(&alice, &space, &["a", "b"]);
    append_all(&carol, &space, &["x"]);
    let (from, to) = (here.backend().0, there.backend().0);
    let replace = |state| block_on(copy(from.as_ref(), to.as_ref(), &space, Some(state), &mut |_, _| {}));
    let before = block_on(to.state(&space)).unwrap().unwrap();
    append_all(&carol, &space, &["y"]);
    match replace(before) {
        Err(CopyError::Adopt(AdoptError::Misfit(Misfit::Changed))) => {}
        other => panic!("it has grown, but: {other:?}"),
    }
    assert_eq!(ids(&there.verified(&space)), ["x", "y"]);
    let closed = block_on(carol.authority.set_access(&space, Access::Copy)).unwrap();
    let replaced = replace(closed).unwrap();
    assert!(replaced.epoch >= closed.epoch, "a writer of the log of before stays fenced");
    assert_eq!(there.verified(&space), here.verified(&space));
    assert_eq!(block_on(to.access(&space)).unwrap(), Some(Access::Copy));
}

fn an_import_takes_what_the_store_lacks(here: &Team, there: &Team) {
    let alice = here.member(1);
    let space = named("s");
    append_all(&alice, &space, &["a", "b", "c", "d"]);
    copied(here, there, &space).unwrap();
    append_all(&alice, &space, &["e", "f", "g", "h", "i"]);
    let (events, state) =
        (events_of(here, &space), block_on(here.backend().0.state(&space)).unwrap().unwrap());
    let to = there.backend().0;
    let import = |events: &[Event], expected| {
        let kept = block_on(to.state(&space)).unwrap();
        let mut importer = Importer::new(space.clone(), state.incarnation, kept.as_ref())?;
        for event in events {
            if let Some(part) = importer.push(event.clone())? {
                block_on(to.adopt(&part))?;
            }
        }
        importer.finish(expected)?.map_or(Ok(()), |part| Ok(block_on(to.adopt(&part)).map(drop)?))
    };
    let torn = import(&events[..6], state.head);
    assert!(matches!(torn, Err(CopyError::Offence(Offence::OtherEnd { .. }))), "{torn:?}");
    assert_eq!(there.verified(&space).len(), 4);
    import(&events, state.head).unwrap();
    assert_eq!(there.verified(&space), events);
    import(&events, state.head).unwrap();
    assert_eq!(there.verified(&space), events, "again changes nothing");
    let short = block_on(to.state(&space)).unwrap().unwrap().head;
    assert_eq!(short, state.head);
    let less = crate::Head { next: Seq(6), hash: events[5].hash };
    assert!(matches!(
        import(&events[..6], less),
        Err(CopyError::Diverged { divergence: Divergence::Shorter { .. }, .. })
    ));
    let mut forged = events.clone();
    forged[7].author = crate::Reach { node: alice.node(), url: None }.node;
    forged[7].signature = forged[6].signature;
    assert!(matches!(import(&forged, state.head), Err(CopyError::Offence(Offence::Forged { .. }))));
}

fn logs_are_related(here: &Team, there: &Team) {
    let (alice, carol) = (here.member(1), there.member(3));
    let space = named("s");
    let related = |ours: &Team, theirs: &Team| {
        block_on(relate(ours.backend().0.as_ref(), theirs.backend().0.as_ref(), &space))
    };
    assert!(matches!(related(here, there), Err(CopyError::Absent(_))));
    append_all(&alice, &space, &["a", "b", "c", "d", "e"]);
    assert_eq!(related(there, here).unwrap(), Relation::TheirsGoesOn);
    copied(here, there, &space).unwrap();
    assert_eq!(related(there, here).unwrap(), Relation::Same);
    block_on(carol.authority.set_access(&space, Access::Open)).unwrap();
    for n in 0..7 {
        carol.append(&space, &format!("x{n}")).unwrap();
        let expected = if n < 1 { Relation::OursGoesOn } else { Relation::Forked { at: Seq(5) } };
        assert_eq!(related(there, here).unwrap(), expected);
        if n == 0 {
            assert_eq!(related(here, there).unwrap(), Relation::TheirsGoesOn);
            append_all(&alice, &space, &["f", "g", "h"]);
        }
        assert_eq!(related(here, there).unwrap(), Relation::Forked { at: Seq(5) });
    }
}

/// Keeps the ids of what was set aside.
#[derive(Default)]
struct Ids(Mutex<Vec<Vec<String>>>);

impl Shelf for Ids {
    fn keep<'a>(
        &'a self,
        space: &'a SpaceName,
        log: &'a dyn EventStore,
    ) -> Answer<'a, Result<String, StoreError>> {
        Box::pin(async move {
            let events = log.read(space, Seq::START, ReadLimit::default()).await?;
            let ids = events.iter().map(|event| event.id.to_string()).collect();
            let mut kept = self.0.lock().unwrap();
            kept.push(ids);
            Ok(format!("branch-{}", kept.len()))
        })
    }
}

fn the_longer_branch_is_gone_on_from(here: &Team, there: &Team) {
    let (alice, carol) = (here.member(1), there.member(3));
    let shelf = Ids::default();
    let recovered = |space: &SpaceName| -> Recovered {
        let (store, from) = (here.backend().0, there.backend().0);
        block_on(recover(&alice.authority, store.as_ref(), from.as_ref(), space, &shelf)).unwrap()
    };
    let begin = |name: &str| {
        let space = named(name);
        append_all(&alice, &space, &["a", "b"]);
        copied(here, there, &space).unwrap();
        block_on(carol.authority.set_access(&space, Access::Open)).unwrap();
        space
    };

    let longer = begin("longer");
    append_all(&carol, &longer, &["c", "d"]);
    let before = block_on(here.backend().0.state(&longer)).unwrap().unwrap().epoch;
    let done = recovered(&longer);
    assert_eq!((done.relation, done.kept, done.state.head.next), (Relation::TheirsGoesOn, None, Seq(4)));
    assert!(done.state.epoch > before, "a new epoch");
    assert_eq!(alice.append(&longer, "e").unwrap().seq, Seq(4));
    assert_eq!(ids(&here.verified(&longer)), ["a", "b", "c", "d", "e"]);

    let forked = begin("forked");
    append_all(&carol, &forked, &["x", "y"]);
    append_all(&alice, &forked, &["c"]);
    let done = recovered(&forked);
    assert_eq!((done.relation, done.kept.as_deref()), (Relation::Forked { at: Seq(2) }, Some("branch-1")));
    assert_eq!(ids(&here.verified(&forked)), ["a", "b", "x", "y"]);
    assert_eq!(alice.append(&forked, "z").unwrap().seq, Seq(4));

    let shorter = begin("shorter");
    append_all(&carol, &shorter, &["x"]);
    append_all(&alice, &shorter, &["c", "d"]);
    assert_eq!(recovered(&shorter).kept.as_deref(), Some("branch-2"));
    assert_eq!(ids(&here.verified(&shorter)), ["a", "b", "c", "d"]);
    let kept: Vec<Vec<String>> = shelf.0.lock().unwrap().clone();
    assert_eq!(kept, [["a", "b", "c"], ["a", "b", "x"]], "what is not gone on from is kept");
}

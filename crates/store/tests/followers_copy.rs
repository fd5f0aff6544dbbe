//! Followers copy what they have verified, answer from the copy while the source is away, and never follow a second
//! history.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::{sync::Arc, time::Duration};

use bft_json_crdt::Keypair;
use gangline_lease::{
    Access, AppendAuthority, AppendError, Divergence, Event, EventStore, Follower, Follows, Head, LeaseError,
    LeaseSettings, LocalForwarder, ReadLimit, Seen, Seq, SpaceName, SpaceState, Stopped, StoreError,
    Verifier,
    conformance::{ManualClock, Network, Open, Outcome, Team, block_on, over_calls, parts},
    copying,
};
use gangline_store::{BootClock, MemoryEventStore, MemoryLeaseRegistry, SqliteLog};
use proptest::prelude::*;

fn named(name: &str) -> SpaceName {
    SpaceName::new(name).unwrap()
}

fn all() -> Follows {
    Follows::new(["*"]).unwrap()
}

/// A coordinator, whose logs are appended to directly, and a store elsewhere that gets copies over calls.
struct Ground {
    clock: Arc<ManualClock>,
    network: Network,
    team: Team,
    /// The coordinator's logs, over calls.
    source: Arc<dyn EventStore>,
    copies: Arc<dyn EventStore>,
}

impl Ground {
    fn new(copies: Arc<dyn EventStore>) -> Self {
        let clock = ManualClock::new();
        Self::with(&clock, &MemoryEventStore::new(), copies)
    }

    fn with(clock: &Arc<ManualClock>, store: &MemoryEventStore, copies: Arc<dyn EventStore>) -> Self {
        let registry = MemoryLeaseRegistry::new(Arc::clone(clock) as _);
        let (network, store) = (Network::default(), store.clone());
        let open = move || -> Open {
            let (store, registry) = (store.clone(), registry.clone());
            Box::new(move || (Arc::new(store.clone()), Arc::new(registry.clone())))
        };
        let (source, _) = over_calls(&network, clock, open())();
        Self { clock: Arc::clone(clock), network, team: Team::new(Arc::clone(clock), open()), source, copies }
    }

    fn follower(&self, follows: Follows) -> Follower {
        let (source, copies) = (Arc::clone(&self.source), Arc::clone(&self.copies));
        Follower::new(source, copies, follows, Arc::clone(&self.clock) as _)
    }

    fn append(&self, space: &SpaceName, ids: &[&str]) {
        self.append_by(1, space, ids);
    }

    /// Another member begins another life of a log.
    fn append_by(&self, member: u8, space: &SpaceName, ids: &[&str]) {
        let member = self.team.member(member);
        for id in ids {
            member.append(space, id).unwrap();
        }
    }
}

fn events(store: &dyn EventStore, space: &SpaceName) -> Vec<Event> {
    block_on(store.read(space, Seq::START, ReadLimit { count: 10_000, bytes: usize::MAX })).unwrap()
}

fn state(store: &dyn EventStore, space: &SpaceName) -> SpaceState {
    block_on(store.state(space)).unwrap().unwrap()
}

fn sqlite(dir: &std::path::Path, clock: &Arc<ManualClock>) -> Arc<dyn EventStore> {
    Arc::new(SqliteLog::open(dir, BootClock::of("boot", Arc::clone(clock) as _)).unwrap())
}

#[test]
fn copies_go_on_where_they_ended() {
    let dir = tempfile::tempdir().unwrap();
    let ground = Ground::new(sqlite(dir.path(), &ManualClock::new()));
    let follower = ground.follower(all());
    assert_eq!(block_on(follower.pass()).unwrap().spaces, 0);
    ground.append(&named("s"), &["a", "b"]);
    ground.append(&named("t"), &["a"]);
    assert_eq!(block_on(follower.pass()).unwrap().events, 3);
    ground.append(&named("s"), &["c"]);
    let _before = ground.network.calls();
    assert_eq!(block_on(follower.pass()).unwrap().events, 1);
    assert_eq!(block_on(follower.pass()).unwrap().events, 0);
    let idle = ground.network.calls();
    assert!(idle.len() <= 6, "a look costs one call, and what is new of a space a few: {}", idle.len());
    // Another process goes on with the same copies, and this one after it.
    let another = ground.follower(all());
    ground.append(&named("s"), &["d"]);
    assert_eq!(block_on(another.pass()).unwrap().events, 1);
    block_on(follower.pass()).unwrap();
    assert!(another.stopped().is_empty());
    for space in [named("s"), named("t")] {
        assert_eq!(events(ground.copies.as_ref(), &space), events(ground.source.as_ref(), &space));
        assert_eq!(block_on(ground.copies.access(&space)).unwrap(), Some(Access::Copy));
    }
    assert!(follower.stopped().is_empty());
}

#[test]
fn only_what_is_named_is_followed() {
    let ground = Ground::new(Arc::new(MemoryEventStore::new()));
    let follower = ground.follower(Follows::new(["team/*", "pages"]).unwrap());
    for name in ["team/a", "team/b", "pages", "pages2"] {
        ground.append(&named(name), &["a"]);
    }
    assert_eq!(block_on(follower.pass()).unwrap().spaces, 3);
    let copied = block_on(ground.copies.spaces(None, 10)).unwrap();
    assert_eq!(copied, [named("pages"), named("team/a"), named("team/b")]);
}

#[test]
fn the_copy_answers_while_the_source_is_away_and_says_so() {
    let ground = Ground::new(Arc::new(MemoryEventStore::new()));
    let follower = ground.follower(all());
    let (log, space) = (follower.log(), named("s"));
    ground.append(&space, &["a", "b"]);
    block_on(follower.pass()).unwrap();
    ground.append(&space, &["c"]);
    let read = || block_on(log.read(&space, Seq::START, ReadLimit::default())).unwrap();
    assert_eq!((read().found.len(), read().stale), (3, None), "the source knows more, and answers");
    ground.clock.advance(Duration::from_millis(700));
    ground.network.next([Outcome::Unreachable]);
    let first = read();
    assert_eq!((first.found.len(), first.stale), (2, Some(Duration::from_millis(700))));
    let _before = ground.network.calls();
    ground.clock.advance(Duration::from_millis(300));
    assert_eq!(read().stale, Some(Duration::from_secs(1)));
    assert!(ground.network.calls().is_empty(), "it is left alone for a while");
    ground.network.next([Outcome::Unreachable]);
    ground.clock.advance(Duration::from_secs(1));
    let unknown = block_on(log.read(&named("t"), Seq::START, ReadLimit::default()));
    assert!(
        matches!(unknown, Err(StoreError::Refused { .. })),
        "what was never copied is nobody's to answer"
    );
    ground.clock.advance(Duration::from_secs(1));
    assert_eq!((read().found.len(), read().stale), (3, None), "it is back");
}

#[test]
fn a_second_history_is_not_followed() {
    let (clock, copies) = (ManualClock::new(), Arc::new(MemoryEventStore::new()));
    let before = Ground::with(&clock, &MemoryEventStore::new(), Arc::clone(&copies) as _);
    let (space, gone, other) = (named("s"), named("gone"), named("other"));
    before.append(&space, &["a", "b"]);
    before.append(&gone, &["a"]);
    block_on(before.follower(all()).pass()).unwrap();
    let kept = events(copies.as_ref(), &space);

    // The coordinator has begun anew.
    let after = Ground::with(&clock, &MemoryEventStore::new(), Arc::clone(&copies) as _);
    after.append_by(2, &space, &["x", "y", "z"]);
    after.append(&other, &["a"]);
    let authority = authority_of(&after, &clock);
    let follower = after.follower(all()).with_authority(authority.clone());
    assert_eq!(block_on(follower.pass()).unwrap().events, 1, "other spaces are followed");
    let stopped = follower.stopped();
    assert!(matches!(stopped[&space], Stopped::Diverged(Divergence::OtherLife { .. })), "{stopped:?}");
    assert_eq!(stopped[&gone], Stopped::Diverged(Divergence::Gone { seen: Seq(1) }));
    assert_eq!(stopped.len(), 2);
    block_on(follower.pass()).unwrap();
    assert_eq!(events(copies.as_ref(), &space), kept, "the copy is as it was");
    // Nor does this node append to it, or have another append for it.
    assert!(authority.divergence(&space).is_some() && authority.divergence(&gone).is_some());
    let appended = block_on(authority.submit(&space, gangline_lease::conformance::intent("b2")));
    assert!(
        matches!(appended, Err(AppendError::NotAppended { source: LeaseError::Diverged { .. }, .. })),
        "{appended:?}"
    );
}

/// Somebody has recovered the space at the source: from what the copy has, or from what it has not.
#[test]
fn a_recovered_source_is_followed_again() {
    let (clock, copies) = (ManualClock::new(), Arc::new(MemoryEventStore::new()));
    let before = Ground::with(&clock, &MemoryEventStore::new(), Arc::clone(&copies) as _);
    let (space, lost) = (named("s"), named("lost"));
    before.append(&space, &["a", "b"]);
    before.append(&lost, &["a", "b"]);
    block_on(before.follower(all()).pass()).unwrap();
    let anew = MemoryEventStore::new();
    let after = Ground::with(&clock, &anew, Arc::clone(&copies) as _);
    after.append_by(2, &space, &["x"]);
    after.append_by(2, &lost, &["x"]);
    let key = Keypair::from_seed(&[9; 32]);
    let made = parts(
        &key,
        &clock,
        Arc::clone(&after.source),
        after.team.backend().1,
        Arc::new(LocalForwarder::new()),
    );
    let authority = AppendAuthority::new(made, LeaseSettings::default()).unwrap();
    let follower = after.follower(all()).with_authority(authority.clone());
    block_on(follower.pass()).unwrap();
    assert_eq!(follower.stopped().len(), 2);
    let append = |space: &SpaceName| {
        clock.advance(Duration::from_secs(60));
        block_on(authority.submit(space, gangline_lease::conformance::intent("c")))
    };
    assert!(append(&space).is_err() && append(&lost).is_err());

    // The longer log of one is put in place: it has all that the copy has.
    let shorter = state(&anew, &space);
    let epoch = gangline_lease::Epoch(shorter.epoch.0 + 5);
    let closed = block_on(anew.set_access(&space, epoch, Access::Copy)).unwrap();
    block_on(copying::copy(copies.as_ref(), &anew, &space, Some(closed), &mut |_, _| ())).unwrap();
    let epoch = gangline_lease::Epoch(epoch.0 + 1);
    block_on(anew.set_access(&space, epoch, Access::Open)).unwrap();
    block_on(follower.pass()).unwrap();
    assert_eq!(follower.stopped().keys().collect::<Vec<_>>(), [&lost], "the other stays as it is");
    assert_eq!(append(&space).unwrap().seq, Seq(2));
    assert!(append(&lost).is_err());

    // Of the other the new log counts, says somebody.
    let shelf = Ids::default();
    assert_eq!(block_on(follower.accept(&lost, &shelf)).unwrap().as_deref(), Some("aside"));
    assert_eq!(*shelf.0.lock().unwrap(), [["a", "b"]], "what the copy had is set aside");
    assert_eq!(append(&lost).unwrap().seq, Seq(1));
    block_on(follower.pass()).unwrap();
    assert!(follower.stopped().is_empty());
    assert_eq!(events(copies.as_ref(), &lost), events(&anew, &lost));
}

/// Keeps the ids of what is set aside.
#[derive(Default)]
struct Ids(std::sync::Mutex<Vec<Vec<String>>>);

impl copying::Shelf for Ids {
    fn keep<'a>(
        &'a self,
        space: &'a SpaceName,
        log: &'a dyn EventStore,
    ) -> gangline_lease::Answer<'a, Result<String, StoreError>> {
        Box::pin(async move {
            let events = log.read(space, Seq::START, ReadLimit::default()).await?;
            self.0.lock().unwrap().push(events.iter().map(|event| event.id.to_string()).collect());
            Ok("aside".to_owned())
        })
    }
}

/// A backup was put back: the same log, with less in it, and then it goes on otherwise.
#[test]
fn a_source_that_has_lost_its_end_is_not_followed() {
    let (clock, copies) = (ManualClock::new(), Arc::new(MemoryEventStore::new()));
    let (store, backup) = (MemoryEventStore::new(), MemoryEventStore::new());
    let before = Ground::with(&clock, &store, Arc::clone(&copies) as _);
    let space = named("s");
    before.append(&space, &["a"]);
    block_on(copying::copy(&store, &backup, &space, None, &mut |_, _| ())).unwrap();
    before.append(&space, &["b", "c"]);
    block_on(before.follower(all()).pass()).unwrap();

    let after = Ground::with(&clock, &backup, Arc::clone(&copies) as _);
    let follower = after.follower(all());
    block_on(follower.pass()).unwrap();
    let expected = Divergence::Shorter { seen: Seq(3), found: Seq(1) };
    assert_eq!(follower.why_stopped(&space), Some(Stopped::Diverged(expected)));
    let epoch = gangline_lease::Epoch(state(&backup, &space).epoch.0 + 1);
    block_on(backup.set_access(&space, epoch, Access::Open)).unwrap();
    after.append(&space, &["x", "y", "z"]);
    let follower = after.follower(all());
    block_on(follower.pass()).unwrap();
    assert!(matches!(
        follower.why_stopped(&space),
        Some(Stopped::Diverged(Divergence::OtherHash { next: Seq(3), .. }))
    ));
    assert_eq!(events(copies.as_ref(), &space).len(), 3);
}

/// Recovery makes a log longer again. It is followed and served once it has all that was seen, and not before.
#[test]
fn a_source_that_has_its_end_again_is_followed_again() {
    let (clock, copies) = (ManualClock::new(), Arc::new(MemoryEventStore::new()));
    let (store, backup) = (MemoryEventStore::new(), MemoryEventStore::new());
    let before = Ground::with(&clock, &store, Arc::clone(&copies) as _);
    let space = named("s");
    before.append(&space, &["a"]);
    block_on(copying::copy(&store, &backup, &space, None, &mut |_, _| ())).unwrap();
    before.append(&space, &["b", "c"]);
    block_on(before.follower(all()).pass()).unwrap();
    before.append(&space, &["d"]);

    let after = Ground::with(&clock, &backup, Arc::clone(&copies) as _);
    let authority = authority_of(&after, &clock);
    let SpaceState { incarnation, head, .. } = state(&store, &space);
    authority.remember(&space, Seen { incarnation, head }).unwrap();
    let follower = after.follower(all()).with_authority(authority.clone());
    let refused = |id: &str| {
        let appended = block_on(authority.submit(&space, gangline_lease::conformance::intent(id)));
        let is_refused =
            matches!(appended, Err(AppendError::NotAppended { source: LeaseError::Diverged { .. }, .. }));
        assert!(is_refused, "{appended:?}");
    };
    block_on(follower.pass()).unwrap();
    assert!(follower.why_stopped(&space).is_some());
    refused("x");
    let _before = after.network.calls();
    block_on(follower.pass()).unwrap();
    assert_eq!(after.network.calls().len(), 1, "what has not changed is not looked at again");

    // It has what was copied; what this node has seen itself is missing.
    block_on(copying::copy(copies.as_ref(), &backup, &space, None, &mut |_, _| ())).unwrap();
    block_on(follower.pass()).unwrap();
    assert_eq!(follower.why_stopped(&space), None);
    refused("x");
    block_on(copying::copy(&store, &backup, &space, None, &mut |_, _| ())).unwrap();
    let epoch = gangline_lease::Epoch(state(&backup, &space).epoch.0 + 1);
    block_on(backup.set_access(&space, epoch, Access::Open)).unwrap();
    let placed = block_on(authority.submit(&space, gangline_lease::conformance::intent("x"))).unwrap();
    assert_eq!((placed.seq, authority.divergence(&space)), (Seq(4), None));
    block_on(follower.pass()).unwrap();
    assert_eq!(events(copies.as_ref(), &space), events(&backup, &space));
}

fn authority_of(ground: &Ground, clock: &Arc<ManualClock>) -> AppendAuthority {
    let key = Keypair::from_seed(&[9; 32]);
    let (_, registry) = ground.team.backend();
    let made = parts(&key, clock, Arc::clone(&ground.source), registry, Arc::new(LocalForwarder::new()));
    AppendAuthority::new(made, LeaseSettings::default()).unwrap()
}

/// A source that gives out altered events.
struct Liar(Arc<dyn EventStore>);

macro_rules! as_it_is {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name<'a>(&'a self, $($arg: $type),*) -> gangline_lease::Answer<'a, $answer> {
            self.0.$name($($arg),*)
        })*
    };
}

impl EventStore for Liar {
    as_it_is! {
        seal(space: &'a SpaceName, epoch: gangline_lease::Epoch, first: gangline_lease::Incarnation)
            -> Result<SpaceState, gangline_lease::SealError>;
        append(batch: &'a gangline_lease::Batch)
            -> Result<gangline_lease::Written, gangline_lease::AppendFailed>;
        set_access(space: &'a SpaceName, epoch: gangline_lease::Epoch, access: Access)
            -> Result<SpaceState, gangline_lease::SealError>;
        access(space: &'a SpaceName) -> Result<Option<Access>, StoreError>;
        adopt(part: &'a gangline_lease::Part) -> Result<SpaceState, gangline_lease::AdoptError>;
        state(space: &'a SpaceName) -> Result<Option<SpaceState>, StoreError>;
        find(space: &'a SpaceName, id: &'a gangline_lease::IntentId)
            -> Result<Option<gangline_lease::Placed>, StoreError>;
        spaces(after: Option<&'a SpaceName>, count: usize) -> Result<Vec<SpaceName>, StoreError>;
    }

    fn read<'a>(
        &'a self,
        space: &'a SpaceName,
        from: Seq,
        limit: ReadLimit,
    ) -> gangline_lease::Answer<'a, Result<Vec<Event>, StoreError>> {
        Box::pin(async move {
            let mut events = self.0.read(space, from, limit).await?;
            for event in events.iter_mut().filter(|event| event.seq == Seq(2)) {
                // With hashes that fit: only the signature is missing.
                event.author = event.holder;
                event.payload = gangline_lease::Payload::parse(b"{\"altered\":true}").unwrap();
                event.hash = event.compute_hash(space);
            }
            Ok(events)
        })
    }
}

#[test]
fn nothing_is_copied_that_its_holder_has_not_signed() {
    let ground = Ground::new(Arc::new(MemoryEventStore::new()));
    let space = named("s");
    ground.append(&space, &["a", "b"]);
    let liar = Arc::new(Liar(Arc::clone(&ground.source)));
    let follower = Follower::new(liar, Arc::clone(&ground.copies), all(), Arc::clone(&ground.clock) as _);
    assert_eq!(block_on(follower.pass()).unwrap().events, 2);
    ground.append(&space, &["c"]);
    assert_eq!(block_on(follower.pass()).unwrap().events, 0);
    assert!(matches!(follower.why_stopped(&space), Some(Stopped::Broken(_))));
    assert_eq!(events(ground.copies.as_ref(), &space).len(), 2);
}

#[test]
fn a_log_of_ones_own_is_no_copy() {
    let ground = Ground::new(Arc::new(MemoryEventStore::new()));
    let space = named("s");
    ground.append(&space, &["a"]);
    let own = gangline_lease::Incarnation([9; 16]);
    block_on(ground.copies.seal(&space, gangline_lease::Epoch(1), own)).unwrap();
    let follower = ground.follower(all());
    block_on(follower.pass()).unwrap();
    assert!(follower.why_stopped(&space).is_some());
    assert_eq!(state(ground.copies.as_ref(), &space).head, Head::start(&space, own));
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Answered),
        1 => Just(Outcome::Unreachable),
        1 => Just(Outcome::LoseAnswer),
        1 => Just(Outcome::Garble),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever gets lost, the copy is a verified beginning of the log, and in the end all of it.
    #[test]
    fn a_copy_is_a_beginning_of_the_log(
        rounds in proptest::collection::vec((0..3_usize, 0..4_usize, proptest::collection::vec(outcome(), 0..6)), 1..12),
    ) {
        let ground = Ground::new(Arc::new(MemoryEventStore::new()));
        let follower = ground.follower(all());
        let spaces = [named("a"), named("b"), named("c")];
        let mut count = 0;
        for (which, appends, outcomes) in rounds {
            for _ in 0..appends {
                ground.append(&spaces[which], &[&format!("i{count}")]);
                count += 1;
            }
            ground.network.next(outcomes);
            let _may_fail = block_on(follower.pass());
            for space in &spaces {
                let copied = events(ground.copies.as_ref(), space);
                let (store, _) = ground.team.backend();
                let whole = events(store.as_ref(), space);
                prop_assert!(whole.starts_with(&copied));
                if let Some(state) = block_on(ground.copies.state(space)).unwrap() {
                    let mut verifier = Verifier::new(space.clone(), state.incarnation);
                    copied.iter().for_each(|event| verifier.push(event).unwrap());
                    prop_assert_eq!(verifier.end().unwrap(), state.head);
                }
            }
        }
        ground.network.next([]);
        for _ in 0..100 {
            if block_on(follower.pass()).is_ok() {
                break;
            }
        }
        for space in &spaces {
            prop_assert_eq!(events(ground.copies.as_ref(), space), events(ground.team.backend().0.as_ref(), space));
        }
        prop_assert!(follower.stopped().is_empty());
    }
}

//! Several nodes on one store, under any schedule of pauses, lost answers, retries, restarts, expiry and forgetting:
//! one log, nothing acknowledged is missing, nothing is there twice, and epochs never fall.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::{
    collections::BTreeMap,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gangline_lease::{
    AppendError, Event, Placed, SpaceName,
    conformance::{Fault, ManualClock, Member, Network, Open, Outcome, Team, block_on, intent, over_calls},
};
use gangline_store::{BootClock, GitLog, MemoryEventStore, MemoryLeaseRegistry, SqliteLog};
use proptest::prelude::*;

const NODES: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// A new intent at a node.
    Append(usize),
    /// An intent that was tried before, at any node.
    Retry(usize, usize),
    LoseAnswer(usize),
    LoseRequest(usize),
    /// In the middle of the node's next append, time passes and another node appends.
    Pause(usize, usize, u64),
    Advance(u64),
    Renew(usize),
    Acquire(usize),
    Release(usize),
    Restart(usize),
    Cut(usize),
    Heal,
    ForgetLeases,
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 0..NODES;
    prop_oneof![
        8 => node().prop_map(Step::Append),
        4 => (node(), any::<usize>()).prop_map(|(node, which)| Step::Retry(node, which)),
        2 => node().prop_map(Step::LoseAnswer),
        2 => node().prop_map(Step::LoseRequest),
        3 => (node(), node(), 0..25_000_u64).prop_map(|(node, other, ms)| Step::Pause(node, other, ms)),
        3 => (0..15_000_u64).prop_map(Step::Advance),
        2 => node().prop_map(Step::Renew),
        1 => node().prop_map(Step::Acquire),
        1 => node().prop_map(Step::Release),
        1 => node().prop_map(Step::Restart),
        1 => node().prop_map(Step::Cut),
        1 => Just(Step::Heal),
        1 => Just(Step::ForgetLeases),
    ]
}

/// What callers were told: of each id, the first result.
#[derive(Default)]
struct Told {
    tried: Vec<String>,
    placed: BTreeMap<String, Placed>,
    /// Of each that was called not appended, or of unknown fate, whether it may still be there.
    may_be_there: BTreeMap<String, bool>,
}

impl Told {
    fn append(&mut self, member: &Member, space: &SpaceName, id: &str) {
        match member.append(space, id) {
            Ok(placed) => {
                let first = *self.placed.entry(id.to_owned()).or_insert(placed);
                assert_eq!(first, placed, "{id}: the same id again returns the first result");
            }
            Err(AppendError::Unknown { .. }) => drop(self.may_be_there.insert(id.to_owned(), true)),
            Err(AppendError::NotAppended { .. }) => {
                assert!(!self.placed.contains_key(id), "{id} was acknowledged");
                self.may_be_there.entry(id.to_owned()).or_insert(false);
            }
            Err(other) => panic!("{id}: {other}"),
        }
    }
}

fn run(steps: &[Step], open: Open, clock: &Arc<ManualClock>, forget: &dyn Fn()) -> Vec<Event> {
    let open = Rc::new(open);
    let again = Rc::clone(&open);
    run_watched(steps, Box::new(move || open()), Box::new(move || again()), clock, forget)
}

/// Runs the steps on one way to the backend, and looks at it by another, on which nothing is lost.
fn run_watched(
    steps: &[Step],
    open: Open,
    watch: Open,
    clock: &Arc<ManualClock>,
    forget: &dyn Fn(),
) -> Vec<Event> {
    let team = Team::new(Arc::clone(clock), open);
    let watch = Team::new(Arc::clone(clock), watch);
    let space = SpaceName::new("s").unwrap();
    let mut nodes: Vec<Member> = (0..NODES).map(|n| team.member(n as u8 + 1)).collect();
    let mut told = Told::default();
    let is_paused = Arc::new(AtomicBool::new(false));
    for (n, step) in steps.iter().enumerate() {
        match step {
            Step::Append(node) => {
                let id = format!("i{n}");
                told.tried.push(id.clone());
                told.append(&nodes[*node], &space, &id);
            }
            Step::Retry(node, which) => {
                if !told.tried.is_empty() {
                    let id = told.tried[which % told.tried.len()].clone();
                    told.append(&nodes[*node], &space, &id);
                }
            }
            Step::LoseAnswer(node) => nodes[*node].store.fail_next(Fault::LoseAnswer),
            Step::LoseRequest(node) => nodes[*node].store.fail_next(Fault::LoseRequest),
            Step::Pause(node, other, ms) if node != other => {
                let (clock, ms) = (Arc::clone(clock), Duration::from_millis(*ms));
                let (authority, space) = (nodes[*other].authority.clone(), space.clone());
                let meanwhile = intent(&format!("meanwhile{n}"));
                let is_paused = Arc::clone(&is_paused);
                let (forwarder, asleep) = (team.forwarder.clone(), nodes[*node].authority.downgrade());
                nodes[*node].store.fail_next(Fault::Pause(Box::new(move || {
                    clock.advance(ms);
                    // A node that is paused cannot be waited for, and here is only one thread.
                    if is_paused.swap(true, Ordering::SeqCst) {
                        return;
                    }
                    let asleep = asleep.upgrade();
                    asleep.iter().for_each(|asleep| forwarder.leave(asleep.node()));
                    // It may take the space, or fail to: the paused node may even be the holder.
                    if block_on(authority.acquire(&space)).is_ok() {
                        block_on(authority.submit(&space, meanwhile)).ok();
                    }
                    asleep.iter().for_each(|asleep| forwarder.join(asleep));
                    is_paused.store(false, Ordering::SeqCst);
                })));
            }
            Step::Pause(..) => {}
            Step::Advance(ms) => clock.advance(Duration::from_millis(*ms)),
            Step::Renew(node) => block_on(nodes[*node].authority.renew_due()),
            Step::Acquire(node) => drop(block_on(nodes[*node].authority.acquire(&space))),
            // What the registry does not hear runs out.
            Step::Release(node) => drop(block_on(nodes[*node].authority.release(&space))),
            Step::Restart(node) => nodes[*node] = team.member(*node as u8 + 1),
            Step::Cut(node) => team.forwarder.leave(nodes[*node].node()),
            Step::Heal => nodes.iter().for_each(|node| team.forwarder.join(&node.authority)),
            Step::ForgetLeases => forget(),
        }
        acknowledged_is_there(&watch, &space, &told);
    }
    // Faults end; then whoever asks gets to know.
    team.clock.advance(Duration::from_secs(60));
    let nodes: Vec<Member> = (0..NODES).map(|n| watch.member(n as u8 + 1)).collect();
    for (n, id) in told.tried.clone().iter().enumerate() {
        told.append(&nodes[n % NODES], &space, id);
        assert!(told.placed.contains_key(id), "{id} is resolved when nothing is broken");
    }
    check(&watch, &space, &told);
    watch.verified(&space)
}

/// What was acknowledged can be found, wherever the log stands; what was called not appended cannot.
fn acknowledged_is_there(team: &Team, space: &SpaceName, told: &Told) {
    let (store, _) = team.backend();
    for (id, placed) in &told.placed {
        assert_eq!(block_on(store.find(space, &intent(id).id)).unwrap(), Some(*placed), "{id}");
    }
    for (id, _) in told.may_be_there.iter().filter(|(id, may)| !**may && !told.placed.contains_key(*id)) {
        assert_eq!(block_on(store.find(space, &intent(id).id)).unwrap(), None, "{id} was not appended");
    }
}

/// The log verifies (contiguous, chained, signed, epochs never fall, each intent once) and has all that was told.
fn check(team: &Team, space: &SpaceName, told: &Told) {
    let events = team.verified(space);
    for (id, placed) in &told.placed {
        let event = &events[usize::try_from(placed.seq.0).unwrap()];
        assert_eq!((event.id.as_str(), event.placed()), (id.as_str(), *placed), "acknowledged, so readable");
    }
}

fn in_memory(steps: &[Step]) -> Vec<Event> {
    let clock = ManualClock::new();
    let store = MemoryEventStore::new();
    let registry = MemoryLeaseRegistry::new(Arc::clone(&clock) as _);
    let forgetful = registry.clone();
    let open: Open = Box::new(move || (Arc::new(store.clone()), Arc::new(registry.clone())));
    run(steps, open, &clock, &move || forgetful.forget())
}

/// At another node, with calls that get lost in any way.
fn over_lossy_calls(steps: &[Step], outcomes: &[Outcome]) -> Vec<Event> {
    let clock = ManualClock::new();
    let store = MemoryEventStore::new();
    let registry = MemoryLeaseRegistry::new(Arc::clone(&clock) as _);
    let forgetful = registry.clone();
    let watch: Open = Box::new(move || (Arc::new(store.clone()), Arc::new(registry.clone())));
    let (network, (store, there)) = (Network::default(), watch());
    let open = over_calls(&network, &clock, Box::new(move || (Arc::clone(&store), Arc::clone(&there))));
    network.next(outcomes.iter().copied());
    run_watched(steps, open, watch, &clock, &move || forgetful.forget())
}

fn in_sqlite(steps: &[Step]) -> Vec<Event> {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let (path, boot) = (dir.path().to_owned(), BootClock::of("boot", Arc::clone(&clock) as _));
    let file = SqliteLog::open(&path, boot.clone()).unwrap().path().to_owned();
    let open: Open = Box::new(move || {
        let log = Arc::new(SqliteLog::open(&path, boot.clone()).unwrap());
        (Arc::clone(&log) as _, log as _)
    });
    let forget = move || {
        rusqlite::Connection::open(&file).unwrap().execute("DELETE FROM lease", []).unwrap();
    };
    run(steps, open, &clock, &forget)
}

fn in_git(steps: &[Step]) -> Vec<Event> {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let (path, boot) = (dir.path().join("log.git"), BootClock::of("boot", Arc::clone(&clock) as _));
    let leases = path.join("gangline/leases.db");
    let open: Open = Box::new(move || {
        let log = Arc::new(GitLog::open(&path, boot.clone()).unwrap());
        (Arc::clone(&log) as _, log as _)
    });
    let forget = move || {
        // There is none before the first node.
        if leases.exists() {
            rusqlite::Connection::open(&leases).unwrap().execute("DELETE FROM lease", []).unwrap();
        }
    };
    run(steps, open, &clock, &forget)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_log_in_memory_never_forks(steps in proptest::collection::vec(step(), 1..40)) {
        in_memory(&steps);
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Answered),
        1 => Just(Outcome::Unreachable),
        1 => Just(Outcome::LoseRequest),
        1 => Just(Outcome::LoseAnswer),
        1 => Just(Outcome::Late),
        1 => Just(Outcome::Garble),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_log_over_lossy_calls_never_forks(
        steps in proptest::collection::vec(step(), 1..40),
        outcomes in proptest::collection::vec(outcome(), 0..400),
    ) {
        over_lossy_calls(&steps, &outcomes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn all_backends_have_the_same_log(steps in proptest::collection::vec(step(), 1..25)) {
        let expected = in_memory(&steps);
        prop_assert_eq!(&expected, &in_sqlite(&steps), "byte for byte");
        prop_assert_eq!(&expected, &in_git(&steps), "byte for byte");
        prop_assert_eq!(&expected, &over_lossy_calls(&steps, &[]), "also at another node");
    }
}

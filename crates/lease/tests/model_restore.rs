//! A store that comes back with less than it had, checked in every order that two nodes and an operator can bring
//! about: a backup is put in its place, with a new incarnation (as a restore does it) or with the old one (as a copied
//! file does); nodes that have seen more must notice, and never write to a second history. Then the space is recovered
//! from a copy.
//!
//! The same world whose nodes do not compare must fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use bft_json_crdt::{AuthorId, Digest};
use gangline_lease::{
    Bid, Epoch, Head, Incarnation, Lost, Seen, SpaceName, SpaceState, Verdict, Writer,
    conformance::writer,
    rules::{self, Agreement},
};
use stateright::{Checker as _, HasDiscoveries, Model, Property};

const NODES: usize = 2;

struct World {
    compares: bool,
    appends: usize,
    epochs: u64,
    restores: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    store: Option<Log>,
    /// The backup that somebody made once.
    backup: Option<Log>,
    /// A copy that a follower keeps, verified.
    copy: Option<Log>,
    nodes: Vec<Node>,
    holder: Option<usize>,
    appended: usize,
    restores: u8,
    /// A node has written behind a history that lacks what it had acknowledged itself.
    has_forked: bool,
    /// What a recovery set aside.
    aside: Vec<Log>,
}

/// A log: its state, and of each event which append it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Log {
    state: SpaceState,
    events: Vec<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Node {
    writer: Option<Writer>,
    seen: Option<Seen>,
    /// What it has told its users that it appended, and no operator has set aside.
    told: Vec<usize>,
    is_diverged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Take(usize),
    Expire,
    Append(usize),
    BackUp,
    Follow,
    /// The backup is put in place, with a new incarnation and a jump of the epoch, or as it was.
    Restore {
        anew: bool,
    },
    /// An operator goes on from the longer one of the store's log and the copy.
    Recover,
}

fn space() -> SpaceName {
    SpaceName::new("s").unwrap()
}

fn life(n: u8) -> Incarnation {
    Incarnation([n; 16])
}

fn hash_after(incarnation: Incarnation, events: &[usize]) -> Head {
    let mut head = Head::start(&space(), incarnation);
    for event in events {
        let hash = Digest::of(&[&head.hash.0, &u64::try_from(*event).unwrap().to_le_bytes()]);
        head = Head { next: head.next.plus(1), hash };
    }
    head
}

impl World {
    /// Compares what a node has seen with what the store has, as a node does before it serves.
    fn agrees(&self, node: &mut Node, log: &Log) -> bool {
        let Some(seen) = node.seen.filter(|_| self.compares) else {
            node.seen = Some(Seen { incarnation: log.state.incarnation, head: log.state.head });
            return true;
        };
        let agrees = match seen.compare(Some(&log.state)) {
            Agreement::Agrees => true,
            Agreement::Diverged(_) => false,
            Agreement::AskHash => {
                let there = usize::try_from(seen.head.next.0).unwrap();
                let found = hash_after(log.state.incarnation, &log.events[..there]);
                seen.compare_hash(found.hash).is_none()
            }
        };
        if agrees {
            node.seen = Some(Seen { incarnation: log.state.incarnation, head: log.state.head });
        } else {
            node.is_diverged = true;
            node.writer = None;
        }
        agrees
    }

    fn append(&self, state: &mut State, n: usize) -> Option<()> {
        let appended = state.appended;
        let node = &mut state.nodes[n];
        let log = state.store.as_mut()?;
        let found = node.writer.as_mut()?;
        if found.head().is_none() {
            if let Err(Lost::Fenced { .. } | Lost::OtherLife { .. }) = found.check(Some(&log.state)) {
                node.writer = None;
                return Some(());
            }
            if !self.agrees(node, log) {
                return Some(());
            }
        }
        let found = node.writer.as_mut()?;
        let head = found.head()?;
        let (incarnation, epoch) = (found.grant().incarnation(), found.grant().epoch());
        match rules::judge(Some(&log.state), &Bid { incarnation, epoch, head }, false) {
            Verdict::Take => {
                log.events.push(appended);
                log.state.head = hash_after(incarnation, &log.events);
                found.landed(log.state.head);
                node.seen = Some(Seen { incarnation, head: log.state.head });
                state.has_forked |= !node.told.iter().all(|told| log.events.contains(told));
                node.told.push(appended);
                state.appended += 1;
            }
            Verdict::Moved { .. } => found.doubt(),
            Verdict::Fenced { .. } | Verdict::OtherLife { .. } => node.writer = None,
            Verdict::Duplicate => unreachable!("each append is a new intent"),
        }
        Some(())
    }

    fn recover(state: &mut State) -> Option<()> {
        let (store, copy) = (state.store.clone()?, state.copy.clone()?);
        let same = store.events.iter().zip(&copy.events).take_while(|(a, b)| a == b).count();
        let is_other_life = store.state.incarnation != copy.state.incarnation;
        let is_forked = is_other_life || same < store.events.len().min(copy.events.len());
        let goes_on_from_copy = copy.events.len() > store.events.len();
        if is_forked {
            state.aside.push(if goes_on_from_copy { store.clone() } else { copy.clone() });
        }
        let mut log = if goes_on_from_copy { copy } else { store.clone() };
        log.state.epoch = log.state.epoch.max(store.state.epoch).next();
        for node in &mut state.nodes {
            // Every node that had noticed is told to look again; what was set aside is there by name.
            *node = Node { told: node.told.clone(), ..Node::default() };
            node.told.retain(|told| log.events.contains(told));
        }
        state.copy = Some(log.clone());
        state.store = Some(log);
        state.holder = None;
        Some(())
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            store: None,
            backup: None,
            copy: None,
            nodes: vec![Node::default(); NODES],
            holder: None,
            appended: 0,
            restores: 0,
            has_forked: false,
            aside: Vec::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let epoch = state.store.as_ref().map_or(0, |log| log.state.epoch.0);
        for (n, node) in state.nodes.iter().enumerate() {
            if state.holder.is_none() && !node.is_diverged && epoch < self.epochs {
                actions.push(Action::Take(n));
            }
            if node.writer.is_some() && state.appended < self.appends {
                actions.push(Action::Append(n));
            }
        }
        if state.holder.is_some() {
            actions.push(Action::Expire);
        }
        if state.backup.is_none() && state.store.is_some() {
            actions.push(Action::BackUp);
        }
        if state.store.is_some() {
            actions.push(Action::Follow);
        }
        if state.backup.is_some() && state.restores < self.restores {
            actions.extend([Action::Restore { anew: true }, Action::Restore { anew: false }]);
        }
        if state.nodes.iter().any(|node| node.is_diverged) && state.copy.is_some() {
            actions.push(Action::Recover);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Take(n) => {
                let found = state.store.clone();
                let epoch = found.as_ref().map_or(Epoch::NONE, |log| log.state.epoch).next();
                let first = || SpaceState {
                    incarnation: life(0),
                    epoch: Epoch::NONE,
                    head: Head::start(&space(), life(0)),
                };
                let sealed = rules::seal(found.as_ref().map(|log| &log.state), epoch, first).unwrap();
                let log = Log { state: sealed, events: found.map_or_else(Vec::new, |log| log.events) };
                state.store = Some(log.clone());
                if self.agrees(&mut state.nodes[n], &log) {
                    let holder = AuthorId([u8::try_from(n).unwrap(); 32]);
                    state.nodes[n].writer = Some(writer(&space(), &sealed, holder));
                    state.holder = Some(n);
                }
            }
            Action::Expire => state.holder = None,
            Action::Append(n) => self.append(&mut state, n)?,
            Action::BackUp => state.backup = state.store.clone(),
            Action::Follow => {
                let log = state.store.as_ref()?;
                let goes_on = state.copy.as_ref().is_none_or(|copy| {
                    copy.state.incarnation == log.state.incarnation && log.events.starts_with(&copy.events)
                });
                if goes_on {
                    state.copy = Some(log.clone());
                }
            }
            Action::Restore { anew } => {
                state.restores += 1;
                let mut log = state.backup.clone()?;
                if anew {
                    log.state.incarnation = life(state.restores);
                    log.state.epoch = Epoch(log.state.epoch.0 + 1);
                    log.state.head = hash_after(log.state.incarnation, &log.events);
                }
                state.store = Some(log);
            }
            Action::Recover => Self::recover(&mut state)?,
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no second history is written to", |_, state: &State| !state.has_forked),
            Property::always("events stand once", |_, state: &State| {
                state.store.as_ref().is_none_or(|log| log.events.is_sorted_by(|a, b| a < b))
            }),
            Property::sometimes("a lost history is noticed", |_, state: &State| {
                state.nodes.iter().any(|node| node.is_diverged)
            }),
            Property::sometimes("a recovered space is written to", |_, state: &State| {
                !state.aside.is_empty()
                    && state
                        .store
                        .as_ref()
                        .is_some_and(|log| log.events.last().is_some_and(|last| *last + 1 == state.appended))
            }),
        ]
    }
}

#[test]
fn a_store_that_lost_events_is_never_written_to_by_who_has_seen_them() {
    let world = World { compares: true, appends: 4, epochs: 4, restores: 1 };
    let checker = world.checker().threads(2).spawn_bfs().join();
    println!("restore: {} states, {} of them different", checker.state_count(), checker.unique_state_count());
    assert!(checker.is_done());
    checker.assert_properties();
}

#[test]
fn without_comparing_a_second_history_is_written_to() {
    let world = World { compares: false, appends: 3, epochs: 3, restores: 1 };
    let broken = "no second history is written to";
    let found = HasDiscoveries::AnyOf([broken].into());
    let checker = world.checker().finish_when(found).spawn_bfs().join();
    assert!(checker.discovery(broken).is_some());
}

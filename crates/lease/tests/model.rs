//! The rules that nodes and stores run ([`gangline_lease::rules`]), checked in every order that two nodes (or three,
//! with at most two faults), one store and one registry can bring about: a node pauses anywhere, answers and requests get lost or arrive late, intents
//! are retried at both nodes, acquiring and sealing are two steps, leases end at any time, nodes restart, and the
//! registry forgets.
//!
//! The same world with a rule taken away is a model that must fail: so the checker can see each of these faults.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use bft_json_crdt::{AuthorId, Digest};
use gangline_lease::{
    Bid, Epoch, Head, Incarnation, Lost, Seq, SpaceName, SpaceState, Verdict, Writer, conformance::writer,
    rules,
};
use stateright::{Checker as _, HasDiscoveries, Model, Property};

const LIFE: Incarnation = Incarnation([7; 16]);

/// What the store compares, and what the writer checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Nothing.
    None,
    /// The position alone.
    Seq,
    /// Position and epoch, in one transaction, and intent ids: what the product does.
    SeqAndEpoch,
    /// As before, without intent ids.
    NoIntentIds,
    /// The head alone, with a record of each claim in the log; a writer whose head moved takes the new one.
    Claim,
    /// As before, but the writer checks first that the last claim is its own.
    ClaimChecked,
}

/// How much may happen.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    nodes: usize,
    intents: u8,
    epochs: u64,
    restarts: u8,
    forgets: u8,
    timeouts: u8,
    /// Restarts, losses of memory and timeouts together.
    faults: u8,
}

struct World {
    rule: Rule,
    bounds: Bounds,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    store: Option<SpaceState>,
    log: Vec<Entry>,
    registry: Row,
    nodes: Vec<Node>,
    /// Of each intent, what its user was told.
    told: Vec<Option<Seq>>,
    /// Something landed under an epoch below the last that was sealed.
    has_superseded: bool,
    /// Somebody was told two different results for one intent.
    has_contradiction: bool,
    restarts: u8,
    forgets: u8,
    timeouts: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Entry {
    seq: Seq,
    epoch: Epoch,
    /// None is the record of a claim.
    intent: Option<u8>,
}

/// What the registry knows of the lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Row {
    holder: Option<usize>,
    epoch: Epoch,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Node {
    phase: Phase,
    /// What it knows to be sealed.
    above: Epoch,
    /// On its way to the store, and waited for.
    sent: Option<(Bid, u8)>,
    /// On its way to the store, and given up.
    late: Option<(Bid, u8)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
enum Phase {
    #[default]
    Idle,
    /// Granted, not sealed.
    Granted(Epoch),
    Holds(Writer),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Acquire(usize),
    Seal(usize),
    Send(usize, u8),
    /// The store gets it and the node gets the answer.
    Arrive(usize),
    /// The node stops waiting.
    TimeOut(usize),
    /// The store gets it after all; nobody waits for the answer.
    ArriveLate(usize),
    /// It never arrives.
    Vanish(usize),
    Check(usize),
    Restart(usize),
    Expire,
    Forget,
}

fn space() -> SpaceName {
    SpaceName::new("s").unwrap()
}

fn key(node: usize) -> AuthorId {
    AuthorId([u8::try_from(node).unwrap(); 32])
}

fn follow(head: Head, epoch: Epoch, intent: Option<u8>) -> Head {
    let words = [epoch.0.to_le_bytes(), u64::from(intent.map_or(99, |n| n)).to_le_bytes()].concat();
    Head { next: head.next.plus(1), hash: Digest::of(&[&head.hash.0, &words]) }
}

impl World {
    /// Seals as the product does; where claims are records, the claim is one.
    fn seal(&self, state: &mut State, node: usize, epoch: Epoch) {
        let first =
            || SpaceState { incarnation: LIFE, epoch: Epoch::NONE, head: Head::start(&space(), LIFE) };
        match rules::seal(state.store.as_ref(), epoch, first) {
            Ok(mut sealed) => {
                if matches!(self.rule, Rule::Claim | Rule::ClaimChecked) {
                    state.log.push(Entry { seq: sealed.head.next, epoch, intent: None });
                    sealed.head = follow(sealed.head, epoch, None);
                }
                state.store = Some(sealed);
                state.nodes[node].phase = Phase::Holds(writer(&space(), &sealed, key(node)));
            }
            Err(current) => {
                state.nodes[node].above = current;
                state.nodes[node].phase = Phase::Idle;
            }
        }
    }

    /// The store's side of an append.
    fn arrive(&self, state: &mut State, bid: &Bid, intent: u8) -> (Verdict, Option<Seq>) {
        let known = state.log.iter().find(|entry| entry.intent == Some(intent)).map(|entry| entry.seq);
        let has_known = known.is_some() && self.rule != Rule::NoIntentIds;
        let store = state.store.expect("a bid comes after a seal");
        let verdict = match self.rule {
            Rule::SeqAndEpoch | Rule::NoIntentIds => rules::judge(Some(&store), bid, has_known),
            Rule::None if has_known => Verdict::Duplicate,
            Rule::None => Verdict::Take,
            // The epoch is not compared.
            Rule::Seq | Rule::Claim | Rule::ClaimChecked => {
                rules::judge(Some(&store), &Bid { epoch: store.epoch, ..*bid }, has_known)
            }
        };
        match verdict {
            Verdict::Take => {
                state.has_superseded |= bid.epoch < store.epoch;
                state.log.push(Entry { seq: bid.head.next, epoch: bid.epoch, intent: Some(intent) });
                state.store = Some(SpaceState { head: follow(bid.head, bid.epoch, Some(intent)), ..store });
                (verdict, Some(bid.head.next))
            }
            Verdict::Duplicate => (verdict, known),
            Verdict::Fenced { .. } | Verdict::Moved { .. } | Verdict::OtherLife { .. } => (verdict, None),
        }
    }

    /// The node's side of an answer.
    fn hear(state: &mut State, node: usize, bid: &Bid, intent: u8, verdict: Verdict, seq: Option<Seq>) {
        let Phase::Holds(writer) = &mut state.nodes[node].phase else { return };
        match verdict {
            Verdict::Take => writer.landed(follow(bid.head, bid.epoch, Some(intent))),
            Verdict::Duplicate | Verdict::Moved { .. } => writer.doubt(),
            Verdict::Fenced { current } => {
                state.nodes[node].above = current;
                state.nodes[node].phase = Phase::Idle;
            }
            Verdict::OtherLife { .. } => unreachable!("there is one life"),
        }
        if let Some(seq) = seq {
            let told = &mut state.told[usize::from(intent)];
            state.has_contradiction |= told.is_some_and(|told| told != seq);
            *told = Some(seq);
        }
    }

    /// What a writer does whose head is in doubt.
    fn check(&self, state: &mut State, node: usize) {
        let store = state.store;
        let Phase::Holds(found) = &mut state.nodes[node].phase else { return };
        let mut store = store.expect("it was sealed");
        if self.rule == Rule::Claim || self.rule == Rule::Seq {
            // It takes the head, whoever claimed last.
            store.epoch = found.grant().epoch();
        }
        match found.check(Some(&store)) {
            Ok(_) => {}
            Err(Lost::Fenced { current }) => {
                state.nodes[node].above = current;
                state.nodes[node].phase = Phase::Idle;
            }
            Err(Lost::OtherLife { .. }) => unreachable!("there is one life"),
        }
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            store: None,
            log: Vec::new(),
            registry: Row::default(),
            nodes: vec![Node::default(); self.bounds.nodes],
            told: vec![None; usize::from(self.bounds.intents)],
            has_superseded: false,
            has_contradiction: false,
            restarts: 0,
            forgets: 0,
            timeouts: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let may_fail = state.restarts + state.forgets + state.timeouts < self.bounds.faults;
        for (n, node) in state.nodes.iter().enumerate() {
            match &node.phase {
                Phase::Idle => {
                    let is_free = state.registry.holder.is_none_or(|holder| holder == n);
                    let epoch = state.registry.epoch.max(node.above).next();
                    if is_free && epoch.0 <= self.bounds.epochs {
                        actions.push(Action::Acquire(n));
                    }
                }
                Phase::Granted(_) => actions.push(Action::Seal(n)),
                Phase::Holds(writer) => {
                    if writer.head().is_some() && node.sent.is_none() {
                        actions.extend((0..self.bounds.intents).map(|intent| Action::Send(n, intent)));
                    }
                    if writer.head().is_none() {
                        actions.push(Action::Check(n));
                    }
                }
            }
            if node.sent.is_some() {
                actions.push(Action::Arrive(n));
                if may_fail && node.late.is_none() && state.timeouts < self.bounds.timeouts {
                    actions.push(Action::TimeOut(n));
                }
            }
            if node.late.is_some() {
                actions.extend([Action::ArriveLate(n), Action::Vanish(n)]);
            }
            if may_fail && state.restarts < self.bounds.restarts && node.phase != Phase::Idle {
                actions.push(Action::Restart(n));
            }
        }
        if state.registry.holder.is_some() {
            actions.push(Action::Expire);
        }
        if may_fail && state.forgets < self.bounds.forgets && state.registry != Row::default() {
            actions.push(Action::Forget);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Acquire(n) => {
                let epoch = state.registry.epoch.max(state.nodes[n].above).next();
                state.registry = Row { holder: Some(n), epoch };
                state.nodes[n].phase = Phase::Granted(epoch);
            }
            Action::Seal(n) => {
                let Phase::Granted(epoch) = state.nodes[n].phase else { return None };
                self.seal(&mut state, n, epoch);
            }
            Action::Send(n, intent) => {
                let Phase::Holds(writer) = &state.nodes[n].phase else { return None };
                let (grant, head) = (writer.grant(), writer.head()?);
                let bid = Bid { incarnation: grant.incarnation(), epoch: grant.epoch(), head };
                state.nodes[n].sent = Some((bid, intent));
            }
            Action::Arrive(n) => {
                let (bid, intent) = state.nodes[n].sent.take()?;
                let (verdict, seq) = self.arrive(&mut state, &bid, intent);
                Self::hear(&mut state, n, &bid, intent, verdict, seq);
            }
            Action::TimeOut(n) => {
                state.timeouts += 1;
                state.nodes[n].late = state.nodes[n].sent.take();
                if let Phase::Holds(writer) = &mut state.nodes[n].phase {
                    writer.doubt();
                }
            }
            Action::ArriveLate(n) => {
                let (bid, intent) = state.nodes[n].late.take()?;
                self.arrive(&mut state, &bid, intent);
            }
            Action::Vanish(n) => state.nodes[n].late = None,
            Action::Check(n) => self.check(&mut state, n),
            Action::Restart(n) => {
                state.restarts += 1;
                let late = state.nodes[n].sent.or(state.nodes[n].late);
                state.nodes[n] = Node { late, ..Node::default() };
            }
            Action::Expire => state.registry.holder = None,
            Action::Forget => {
                state.forgets += 1;
                state.registry = Row::default();
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no fork", |_, state: &State| {
                state.log.iter().enumerate().all(|(n, entry)| entry.seq == Seq(n as u64))
            }),
            Property::always("nothing from a superseded epoch", |_, state: &State| {
                !state.has_superseded && state.log.is_sorted_by(|a, b| a.epoch <= b.epoch)
            }),
            Property::always("at most once", |_, state: &State| {
                let mut intents: Vec<u8> = state.log.iter().filter_map(|entry| entry.intent).collect();
                let all = intents.len();
                intents.sort_unstable();
                intents.dedup();
                intents.len() == all
            }),
            Property::always("acknowledged means readable", |_, state: &State| {
                let is_there = |(n, seq): (usize, &Option<Seq>)| {
                    seq.is_none_or(|seq| {
                        let is_it =
                            |entry: &Entry| entry.seq == seq && entry.intent.map(usize::from) == Some(n);
                        state.log.iter().any(is_it)
                    })
                };
                state.told.iter().enumerate().all(is_there)
            }),
            Property::always("one result for an intent", |_, state: &State| !state.has_contradiction),
            Property::sometimes("a later holder has appended all", |world: &World, state: &State| {
                let epochs: Vec<_> = state
                    .log
                    .iter()
                    .filter(|entry| entry.intent.is_some())
                    .map(|entry| entry.epoch)
                    .collect();
                let is_later = epochs.last().is_some_and(|last| *last > Epoch(1));
                epochs.len() >= usize::from(world.bounds.intents) && is_later
            }),
        ]
    }

    /// What is reached beyond this adds no new kind of state, only more of the same.
    fn within_boundary(&self, state: &State) -> bool {
        state.log.len() <= usize::from(self.bounds.intents) + 3
    }
}

const BOUNDS: Bounds =
    Bounds { nodes: 2, intents: 2, epochs: 3, restarts: 1, forgets: 1, timeouts: 2, faults: u8::MAX };

/// The rule holds in every state that can be reached.
fn holds(rule: Rule, bounds: Bounds) {
    let checker = World { rule, bounds }.checker().threads(2).spawn_bfs().join();
    println!(
        "{rule:?}: {} states, {} of them different",
        checker.state_count(),
        checker.unique_state_count()
    );
    assert!(checker.is_done());
    checker.assert_properties();
}

/// The rule is broken, in this property and within these bounds; the others are no concern.
fn breaks(rule: Rule, property: &'static str) {
    let found = HasDiscoveries::AnyOf([property].into());
    let checker = World { rule, bounds: BOUNDS }.checker().threads(2).finish_when(found).spawn_bfs().join();
    let path = checker.discovery(property).unwrap_or_else(|| panic!("{rule:?} keeps `{property}`"));
    println!("{rule:?} breaks `{property}` after {:?}", path.into_actions());
}

#[test]
fn what_the_product_does_holds_with_lost_answers_and_a_registry_that_forgets() {
    holds(Rule::SeqAndEpoch, Bounds { restarts: 0, timeouts: 1, ..BOUNDS });
}

#[test]
fn what_the_product_does_holds_with_restarts() {
    holds(Rule::SeqAndEpoch, Bounds { restarts: 1, timeouts: 1, forgets: 0, ..BOUNDS });
}

#[test]
fn what_the_product_does_holds_with_three_nodes_and_two_faults() {
    holds(Rule::SeqAndEpoch, Bounds { nodes: 3, intents: 1, faults: 2, timeouts: 1, ..BOUNDS });
}

#[test]
fn claims_in_the_log_hold_if_the_writer_checks_them() {
    holds(Rule::ClaimChecked, Bounds { restarts: 0, timeouts: 1, ..BOUNDS });
}

#[test]
fn without_any_rule_a_log_forks() {
    breaks(Rule::None, "no fork");
    breaks(Rule::None, "nothing from a superseded epoch");
}

#[test]
fn comparing_positions_alone_lets_a_superseded_holder_write() {
    breaks(Rule::Seq, "nothing from a superseded epoch");
}

#[test]
fn claims_without_a_check_let_a_superseded_holder_write() {
    breaks(Rule::Claim, "nothing from a superseded epoch");
}

#[test]
fn without_intent_ids_an_append_lands_twice() {
    breaks(Rule::NoIntentIds, "at most once");
}

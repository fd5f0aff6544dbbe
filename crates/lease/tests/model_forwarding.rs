//! Forwarding, checked in every order that two nodes, their messages and one store can bring about: an intent is
//! submitted at either node, goes to the holder, is retried when nobody answers, and the space changes hands
//! meanwhile. Requests and replies get lost or arrive late, also twice; each intent lands once, and its user gets one
//! result.
//!
//! The same world whose retries have a new id each time must fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use bft_json_crdt::{AuthorId, Digest};
use gangline_lease::{
    Bid, Epoch, Head, Incarnation, Seq, SpaceName, SpaceState, Verdict, Writer, conformance::writer, rules,
};
use stateright::{Checker as _, HasDiscoveries, Model, Property};

const NODES: usize = 2;
const LIFE: Incarnation = Incarnation([7; 16]);

struct World {
    keeps_ids: bool,
    epochs: u64,
    losses: u8,
    intents: u8,
    tries: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    store: Option<SpaceState>,
    log: Vec<Entry>,
    holder: Option<usize>,
    writers: Vec<Option<Writer>>,
    /// On their way, in no order.
    requests: Vec<Request>,
    replies: Vec<Reply>,
    users: Vec<User>,
    losses: u8,
    has_contradiction: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Entry {
    epoch: Epoch,
    intent: u8,
    /// Which try: part of the id where ids are not kept.
    try_: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Request {
    to: usize,
    intent: u8,
    try_: u8,
    epoch: Epoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Reply {
    intent: u8,
    try_: u8,
    seq: Option<Seq>,
}

/// Somebody with one intent at one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct User {
    at: usize,
    try_: u8,
    /// The node waits for the holder's reply.
    waits: bool,
    told: Option<Seq>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The node takes the space up: acquire and seal.
    Take(usize),
    /// The lease ends; its holder may not know.
    Expire,
    /// A node handles its user's intent itself, as it believes that it holds the space.
    Here(u8),
    /// A node forwards its user's intent to whom the registry names.
    Forward(u8),
    Arrive(usize),
    Lose(usize),
    /// The network brings a request, and will bring it again.
    ArriveTwice(usize),
    Answer(usize),
    LoseAnswer(usize),
    /// The node stops waiting, and will try again.
    GiveUp(u8),
}

fn space() -> SpaceName {
    SpaceName::new("s").unwrap()
}

fn follow(head: Head, epoch: Epoch, intent: u8, try_: u8) -> Head {
    let words = [epoch.0.to_le_bytes(), u64::from(intent).to_le_bytes(), u64::from(try_).to_le_bytes()];
    Head { next: head.next.plus(1), hash: Digest::of(&[&head.hash.0, &words.concat()]) }
}

impl World {
    fn is_same(&self, entry: &Entry, intent: u8, try_: u8) -> bool {
        entry.intent == intent && (self.keeps_ids || entry.try_ == try_)
    }

    /// A node that has a writer appends; returns where the intent is, or that it is to be asked again.
    fn append(&self, state: &mut State, node: usize, intent: u8, try_: u8) -> Option<Seq> {
        let found = state.writers[node].as_mut()?;
        let store = state.store;
        if found.head().is_none() && found.check(store.as_ref()).is_err() {
            state.writers[node] = None;
            return None;
        }
        let (grant, head) = (found.grant(), found.head()?);
        let bid = Bid { incarnation: grant.incarnation(), epoch: grant.epoch(), head };
        let known = state.log.iter().position(|entry| self.is_same(entry, intent, try_));
        match rules::judge(store.as_ref(), &bid, known.is_some()) {
            Verdict::Take => {
                let end = follow(head, bid.epoch, intent, try_);
                state.log.push(Entry { epoch: bid.epoch, intent, try_ });
                state.store = store.map(|store| SpaceState { head: end, ..store });
                found.landed(end);
                Some(head.next)
            }
            Verdict::Duplicate => known.map(|at| Seq(at as u64)),
            Verdict::Moved { .. } => {
                found.doubt();
                None
            }
            Verdict::Fenced { .. } | Verdict::OtherLife { .. } => {
                state.writers[node] = None;
                None
            }
        }
    }

    fn tell(state: &mut State, intent: u8, seq: Seq) {
        let user = &mut state.users[usize::from(intent)];
        state.has_contradiction |= user.told.is_some_and(|told| told != seq);
        user.told = Some(seq);
        user.waits = false;
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let user = |n| User { at: usize::from(n) % NODES, try_: 0, waits: false, told: None };
        vec![State {
            store: None,
            log: Vec::new(),
            holder: None,
            writers: vec![None; NODES],
            requests: Vec::new(),
            replies: Vec::new(),
            users: (0..self.intents).map(user).collect(),
            losses: 0,
            has_contradiction: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let epoch = state.store.map_or(Epoch::NONE, |store| store.epoch);
        if state.holder.is_none() && epoch.0 < self.epochs {
            actions.extend((0..NODES).map(Action::Take));
        }
        if state.holder.is_some() {
            actions.push(Action::Expire);
        }
        for (intent, user) in (0..).zip(&state.users) {
            if user.told.is_some() {
                continue;
            }
            if user.waits {
                actions.push(Action::GiveUp(intent));
            } else if state.writers[user.at].is_some() {
                actions.push(Action::Here(intent));
            } else if state.holder.is_some_and(|holder| holder != user.at) {
                actions.push(Action::Forward(intent));
            }
        }
        let may_lose = state.losses < self.losses;
        for n in 0..state.requests.len() {
            actions.push(Action::Arrive(n));
            if may_lose {
                actions.extend([Action::Lose(n), Action::ArriveTwice(n)]);
            }
        }
        for n in 0..state.replies.len() {
            actions.push(Action::Answer(n));
            if may_lose {
                actions.push(Action::LoseAnswer(n));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Take(node) => {
                let epoch = state.store.map_or(Epoch::NONE, |store| store.epoch).next();
                let first = || SpaceState {
                    incarnation: LIFE,
                    epoch: Epoch::NONE,
                    head: Head::start(&space(), LIFE),
                };
                let sealed = rules::seal(state.store.as_ref(), epoch, first).unwrap();
                state.store = Some(sealed);
                state.holder = Some(node);
                let holder = AuthorId([u8::try_from(node).unwrap(); 32]);
                state.writers[node] = Some(writer(&space(), &sealed, holder));
            }
            Action::Expire => state.holder = None,
            Action::Here(intent) => {
                let (at, try_) = (state.users[usize::from(intent)].at, state.users[usize::from(intent)].try_);
                if let Some(seq) = self.append(&mut state, at, intent, try_) {
                    Self::tell(&mut state, intent, seq);
                }
            }
            Action::Forward(intent) => {
                let to = state.holder?;
                let epoch = state.store?.epoch;
                let user = &mut state.users[usize::from(intent)];
                user.waits = true;
                let request = Request { to, intent, try_: user.try_, epoch };
                state.requests.push(request);
            }
            Action::Arrive(n) | Action::ArriveTwice(n) => {
                let request = state.requests.remove(n);
                if matches!(action, Action::ArriveTwice(_)) {
                    state.losses += 1;
                    state.requests.push(request);
                }
                let Request { to, intent, try_, epoch } = request;
                // A sender that has heard of a later epoch makes the holder look before it writes.
                let held = state.writers[to].as_ref().map(|writer| writer.grant().epoch());
                if let Some(found) =
                    state.writers[to].as_mut().filter(|_| held.is_some_and(|held| held < epoch))
                {
                    found.doubt();
                }
                let seq = self.append(&mut state, to, intent, try_);
                state.replies.push(Reply { intent, try_, seq });
            }
            Action::Lose(n) => {
                state.losses += 1;
                state.requests.remove(n);
            }
            Action::Answer(n) => {
                let Reply { intent, try_, seq } = state.replies.remove(n);
                let user = &mut state.users[usize::from(intent)];
                // What comes for a call that was given up is heard by nobody.
                if user.waits && user.try_ == try_ {
                    user.waits = false;
                    if let Some(seq) = seq {
                        Self::tell(&mut state, intent, seq);
                    }
                }
            }
            Action::LoseAnswer(n) => {
                state.losses += 1;
                state.replies.remove(n);
            }
            Action::GiveUp(intent) => {
                let user = &mut state.users[usize::from(intent)];
                user.waits = false;
                user.try_ += 1;
            }
        }
        state.requests.sort_unstable();
        state.replies.sort_unstable();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("each intent once", |_, state: &State| {
                let mut intents: Vec<u8> = state.log.iter().map(|entry| entry.intent).collect();
                let all = intents.len();
                intents.sort_unstable();
                intents.dedup();
                intents.len() == all
            }),
            Property::always("told what is in the log", |_, state: &State| {
                (0..).zip(&state.users).all(|(intent, user)| {
                    user.told.is_none_or(|seq| {
                        usize::try_from(seq.0).is_ok_and(|at| state.log[at].intent == intent)
                    })
                })
            }),
            Property::always("one result for an intent", |_, state: &State| !state.has_contradiction),
            Property::always("epochs never fall along the log", |_, state: &State| {
                state.log.is_sorted_by(|a, b| a.epoch <= b.epoch)
            }),
            Property::sometimes("a forwarded intent is answered", |_, state: &State| {
                state.users.iter().all(|user| user.told.is_some()) && state.log.len() == state.users.len()
            }),
            Property::sometimes("a later holder has appended", |_, state: &State| {
                state.log.last().is_some_and(|entry| entry.epoch > Epoch(1))
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.users.iter().all(|user| user.try_ < self.tries)
            && state.requests.len() + state.replies.len() <= 3
    }
}

fn holds(world: World) {
    let checker = world.checker().threads(2).spawn_bfs().join();
    println!(
        "forwarding: {} states, {} of them different",
        checker.state_count(),
        checker.unique_state_count()
    );
    assert!(checker.is_done());
    checker.assert_properties();
}

#[test]
fn an_intent_lands_once_and_its_user_gets_one_result() {
    holds(World { keeps_ids: true, epochs: 3, losses: 1, intents: 2, tries: 2 });
}

#[test]
fn however_often_it_is_tried() {
    holds(World { keeps_ids: true, epochs: 4, losses: 3, intents: 1, tries: 3 });
}

#[test]
fn with_a_new_id_for_each_try_an_intent_lands_twice() {
    let world = World { keeps_ids: false, epochs: 2, losses: 1, intents: 1, tries: 3 };
    let found = HasDiscoveries::AnyOf(["each intent once"].into());
    let checker = world.checker().finish_when(found).spawn_bfs().join();
    assert!(checker.discovery("each intent once").is_some());
}

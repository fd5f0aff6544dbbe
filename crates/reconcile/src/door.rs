//! The only way to a document: it is opened for the first who asks, shared by all who come, and closed behind the last.
//!
//! A machine without IO: [`Doors::handle`] takes what happened, [`Doors::poll_effect`] says what is to be done. Each
//! opening has a generation; there are never two instances of one document.
//!
//! ```text
//!            enter                opened
//! (closed) ───────► opening ───────────────► open ◄──── enter
//!    ▲                 │ failed                │ the last leaves, and nobody comes for a while
//!    │                 ▼                       ▼
//!    └──────────── (refused)   closed ◄──── closing ──── enter: waits for the end, then opens anew
//! ```
//!
//! A document that only [`Role::System`] was in is closed at once, so that work on many documents does not keep them open.
//! No more documents than a bound are not closed; whoever would open one more waits for a place, for some time.

use std::collections::{BTreeMap, VecDeque};

/// Names somebody who wants to enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Visitor(pub u64);

/// As what somebody enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Somebody who may come back soon: behind the last the document stays open for a while.
    Person,
    /// A run, or a look, that is over when it is over.
    System,
}

/// How often a document has been opened; a handle of an earlier opening reaches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// Bounds of the doors. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorSettings {
    /// How long a document stays open when nobody is in it.
    pub linger_ms: u64,
    /// How long closing may take before the document is reported as stuck.
    pub close_ms: u64,
    /// Most documents at a time that are not closed.
    pub open_max: usize,
    /// Most visitors that wait for one document to open, and for a place.
    pub waiting_max: usize,
    /// How long they wait for a place, where so many documents are open as may be.
    pub place_ms: u64,
}

impl Default for DoorSettings {
    fn default() -> Self {
        Self { linger_ms: 5_000, close_ms: 10_000, open_max: 1_024, waiting_max: 1_024, place_ms: 5_000 }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoorInput<Id> {
    /// Somebody wants to enter.
    Enter(Id, Visitor, Role),
    /// Somebody no longer waits, or leaves.
    Leave(Id, Visitor),
    /// The document has been opened.
    Opened(Id, Generation),
    /// It could not be opened.
    Failed(Id, Generation, String),
    /// It has been closed.
    Closed(Id, Generation),
    /// Time has passed.
    Tick,
    /// All documents are to be closed; nobody enters any more.
    Stop,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoorEffect<Id> {
    /// Open the document.
    Open(Id, Generation),
    /// Close it. Nobody is in it.
    Close(Id, Generation),
    /// Let somebody in.
    Admit(Visitor, Id, Generation),
    /// Tell somebody why not.
    Refuse(Visitor, DoorError),
    /// Report that closing does not end.
    Stuck(Id, Generation),
}

/// Why somebody may not enter. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// The document could not be opened; it is not empty, it is not known.
    #[error("the document cannot be opened: {0}")]
    Failed(String),
    /// An earlier opening does not end. Restart the node.
    #[error("the document has been closing for more than {ms} ms and is stuck; restart the node")]
    Stuck {
        /// How long it may take.
        ms: u64,
    },
    /// Too many documents are open, all of them in use. Try again later.
    #[error("{open_max} documents are open, and all are in use; try again later")]
    TooMany {
        /// How many may be.
        open_max: usize,
    },
    /// Too many wait for this document. Try again later.
    #[error("{waiting_max} others wait for this document to open; try again later")]
    Crowded {
        /// How many may wait.
        waiting_max: usize,
    },
    /// The node stops.
    #[error("the node stops")]
    Stopping,
}

#[derive(Debug)]
enum Door {
    /// Those who came as [`Role::Person`] have it linger.
    Opening {
        generation: Generation,
        waiting: Vec<Visitor>,
        lingers: bool,
    },
    Open {
        generation: Generation,
        inside: Vec<Visitor>,
        empty_since: u64,
        lingers: bool,
    },
    Closing {
        generation: Generation,
        since: u64,
        waiting: Vec<Visitor>,
        lingers: bool,
        is_stuck: bool,
    },
}

/// Somebody who waits for a place.
#[derive(Debug)]
struct Queued<Id> {
    id: Id,
    visitor: Visitor,
    role: Role,
    until: u64,
}

/// The doors of all documents of a node.
#[derive(Debug)]
pub struct Doors<Id> {
    settings: DoorSettings,
    doors: BTreeMap<Id, Door>,
    /// The first has waited longest.
    queue: VecDeque<Queued<Id>>,
    generations: u64,
    is_stopping: bool,
    effects: VecDeque<DoorEffect<Id>>,
}

impl<Id: Clone + Ord> Doors<Id> {
    /// Returns doors that are all closed.
    #[must_use]
    pub fn new(settings: DoorSettings) -> Self {
        Self {
            settings,
            doors: BTreeMap::new(),
            queue: VecDeque::new(),
            generations: 0,
            is_stopping: false,
            effects: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now_ms: u64, input: DoorInput<Id>) {
        match input {
            DoorInput::Enter(id, visitor, role) => self.come(now_ms, id, visitor, role),
            DoorInput::Leave(id, visitor) => self.leave(now_ms, &id, visitor),
            DoorInput::Opened(id, generation) => self.opened(now_ms, id, generation),
            DoorInput::Failed(id, generation, reason) => self.failed(&id, generation, &reason),
            DoorInput::Closed(id, generation) => self.closed(id, generation),
            DoorInput::Tick => {}
            DoorInput::Stop => self.is_stopping = true,
        }
        self.tick(now_ms);
        self.give_places(now_ms);
    }

    /// Returns what is to be done next.
    pub fn poll_effect(&mut self) -> Option<DoorEffect<Id>> {
        self.effects.pop_front()
    }

    /// Returns when [`DoorInput::Tick`] is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let due = |door: &Door| match door {
            Door::Open { inside, empty_since, lingers, .. } if inside.is_empty() => {
                Some(empty_since + self.linger_ms(*lingers))
            }
            Door::Closing { since, is_stuck: false, .. } => Some(since + self.settings.close_ms),
            Door::Opening { .. } | Door::Open { .. } | Door::Closing { .. } => None,
        };
        let queued = self.queue.front().map(|queued| queued.until);
        self.doors.values().filter_map(due).chain(queued).min()
    }

    /// Returns whether a handle of some opening still reaches the document.
    #[must_use]
    pub fn is_open(&self, id: &Id, generation: Generation) -> bool {
        matches!(self.doors.get(id), Some(Door::Open { generation: current, .. }) if *current == generation)
    }

    /// Returns how many documents are not closed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.doors.len()
    }

    /// Returns whether all documents are closed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.doors.is_empty()
    }

    fn linger_ms(&self, lingers: bool) -> u64 {
        if lingers { self.settings.linger_ms } else { 0 }
    }

    fn come(&mut self, now_ms: u64, id: Id, visitor: Visitor, role: Role) {
        if self.is_stopping {
            return self.refuse(visitor, DoorError::Stopping);
        }
        if self.doors.contains_key(&id) || (self.queue.is_empty() && self.has_place()) {
            return self.enter(id, visitor, role);
        }
        if self.queue.len() >= self.settings.waiting_max {
            return self.refuse(visitor, DoorError::TooMany { open_max: self.settings.open_max });
        }
        self.queue.push_back(Queued { id, visitor, role, until: now_ms + self.settings.place_ms });
    }

    fn has_place(&self) -> bool {
        self.doors.len() < self.settings.open_max
    }

    fn enter(&mut self, id: Id, visitor: Visitor, role: Role) {
        let (waiting_max, close_ms) = (self.settings.waiting_max, self.settings.close_ms);
        let stays = role == Role::Person;
        let refusal = match self.doors.get_mut(&id) {
            Some(Door::Open { generation, inside, lingers, .. }) => {
                inside.push(visitor);
                *lingers |= stays;
                let generation = *generation;
                return self.effects.push_back(DoorEffect::Admit(visitor, id, generation));
            }
            Some(Door::Closing { is_stuck: true, .. }) => DoorError::Stuck { ms: close_ms },
            Some(Door::Opening { waiting, lingers, .. } | Door::Closing { waiting, lingers, .. }) => {
                if waiting.len() < waiting_max {
                    *lingers |= stays;
                    return waiting.push(visitor);
                }
                DoorError::Crowded { waiting_max }
            }
            None => return self.open(id, vec![visitor], stays),
        };
        self.refuse(visitor, refusal);
    }

    fn open(&mut self, id: Id, waiting: Vec<Visitor>, lingers: bool) {
        self.generations += 1;
        let generation = Generation(self.generations);
        self.doors.insert(id.clone(), Door::Opening { generation, waiting, lingers });
        self.effects.push_back(DoorEffect::Open(id, generation));
    }

    /// Lets in who waits for a place, as far as there are any, closes what nobody uses for the others, and tells those that
    /// have waited long enough.
    fn give_places(&mut self, now_ms: u64) {
        let open_max = self.settings.open_max;
        while let Some(first) = self.queue.front() {
            let is_late = now_ms >= first.until;
            if !self.is_stopping && !is_late && !self.has_place() && !self.doors.contains_key(&first.id) {
                break;
            }
            let Some(Queued { id, visitor, role, .. }) = self.queue.pop_front() else { break };
            if self.is_stopping {
                self.refuse(visitor, DoorError::Stopping);
            } else if self.has_place() || self.doors.contains_key(&id) {
                self.enter(id, visitor, role);
            } else {
                self.refuse(visitor, DoorError::TooMany { open_max });
            }
        }
        if self.queue.is_empty() {
            return;
        }
        let leaves = |door: &&Door| matches!(door, Door::Closing { waiting, is_stuck: false, .. } if waiting.is_empty());
        let leaving = self.doors.values().filter(leaves).count();
        for _ in leaving..self.queue.len() {
            if !self.close_idle(now_ms) {
                break;
            }
        }
    }

    /// Closes the document that nobody has been in for the longest time; returns whether there is one.
    fn close_idle(&mut self, now_ms: u64) -> bool {
        let empty = self.doors.iter().filter_map(|(id, door)| match door {
            Door::Open { inside, empty_since, .. } if inside.is_empty() => Some((*empty_since, id.clone())),
            Door::Opening { .. } | Door::Open { .. } | Door::Closing { .. } => None,
        });
        let Some((_, id)) = empty.min() else { return false };
        self.close(now_ms, &id);
        true
    }

    fn close(&mut self, now_ms: u64, id: &Id) {
        let Some(Door::Open { generation, .. }) = self.doors.get(id) else { return };
        let generation = *generation;
        let waiting = Vec::new();
        let closing = Door::Closing { generation, since: now_ms, waiting, lingers: false, is_stuck: false };
        self.doors.insert(id.clone(), closing);
        self.effects.push_back(DoorEffect::Close(id.clone(), generation));
    }

    fn leave(&mut self, now_ms: u64, id: &Id, visitor: Visitor) {
        self.queue.retain(|queued| queued.visitor != visitor);
        match self.doors.get_mut(id) {
            Some(Door::Opening { waiting, .. } | Door::Closing { waiting, .. }) => {
                waiting.retain(|other| *other != visitor);
            }
            Some(Door::Open { inside, empty_since, .. }) => {
                inside.retain(|other| *other != visitor);
                if inside.is_empty() {
                    *empty_since = now_ms;
                }
            }
            None => {}
        }
    }

    fn opened(&mut self, now_ms: u64, id: Id, opened: Generation) {
        let Some(Door::Opening { generation, waiting, lingers }) = self.doors.get_mut(&id) else { return };
        let lingers = *lingers;
        if *generation != opened {
            return;
        }
        let inside = std::mem::take(waiting);
        for visitor in &inside {
            self.effects.push_back(DoorEffect::Admit(*visitor, id.clone(), opened));
        }
        self.doors.insert(id, Door::Open { generation: opened, inside, empty_since: now_ms, lingers });
    }

    fn failed(&mut self, id: &Id, failed: Generation, reason: &str) {
        let Some(Door::Opening { generation, waiting, .. }) = self.doors.get_mut(id) else { return };
        if *generation != failed {
            return;
        }
        for visitor in std::mem::take(waiting) {
            self.effects.push_back(DoorEffect::Refuse(visitor, DoorError::Failed(reason.to_owned())));
        }
        self.doors.remove(id);
    }

    fn closed(&mut self, id: Id, closed: Generation) {
        let Some(Door::Closing { generation, waiting, lingers, .. }) = self.doors.get_mut(&id) else {
            return;
        };
        if *generation != closed {
            return;
        }
        let lingers = *lingers;
        let waiting = std::mem::take(waiting);
        self.doors.remove(&id);
        if self.is_stopping {
            waiting.into_iter().for_each(|visitor| self.refuse(visitor, DoorError::Stopping));
        } else if !waiting.is_empty() {
            self.open(id, waiting, lingers);
        }
    }

    fn tick(&mut self, now_ms: u64) {
        let (is_stopping, close_ms) = (self.is_stopping, self.settings.close_ms);
        let is_due = |door: &Door| match door {
            Door::Open { inside, empty_since, lingers, .. } => {
                inside.is_empty() && (is_stopping || now_ms >= empty_since + self.linger_ms(*lingers))
            }
            Door::Opening { .. } | Door::Closing { .. } => false,
        };
        let due: Vec<Id> =
            self.doors.iter().filter(|(_, door)| is_due(door)).map(|(id, _)| id.clone()).collect();
        due.iter().for_each(|id| self.close(now_ms, id));
        let mut refused = Vec::new();
        for (id, door) in &mut self.doors {
            if let Door::Closing { generation, since, waiting, is_stuck, .. } = door
                && !*is_stuck
                && now_ms >= *since + close_ms
            {
                *is_stuck = true;
                refused.append(waiting);
                self.effects.push_back(DoorEffect::Stuck(id.clone(), *generation));
            }
        }
        refused.into_iter().for_each(|visitor| self.refuse(visitor, DoorError::Stuck { ms: close_ms }));
    }

    fn refuse(&mut self, visitor: Visitor, error: DoorError) {
        self.effects.push_back(DoorEffect::Refuse(visitor, error));
    }
}

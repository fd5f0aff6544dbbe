//! One document of a link: who lacks what, and how far it has been told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bft_json_crdt::json_crdt::{Holdings, VersionVector};
use bft_json_crdt::{AuthorId, Change, Digest, DocumentId};
use gangline_doc::LogSeq;

use super::effect::Exchange;
use super::search::Search;
use crate::session::Millis;

/// A document of this node, as one link sees it. Small: what only a conversation needs is in [`Talk`].
pub(super) struct Document {
    pub(super) id: DocumentId,
    /// This side's number of it, once that was said.
    pub(super) number: Option<u32>,
    /// The other side's number of it: the two share the document until one of them closes its number.
    pub(super) theirs: Option<u32>,
    pub(super) saying: Saying,
    /// The other side is to hear that it can be had here, although it has not grown.
    pub(super) is_unheard: bool,
    /// When the other side was last told of it, who did not serve it.
    pub(super) offered_at: Option<Millis>,
    /// What the replica held when it was last looked at.
    pub(super) root: Digest,
    pub(super) durable: LogSeq,
    /// The length of the log with what the replica held then.
    pub(super) end: LogSeq,
    /// The next entry that is to be told. Of a document that is not shared: up to where the other side has heard of it.
    pub(super) cursor: LogSeq,
    pub(super) step: Step,
    /// A query or a read is under way.
    pub(super) is_busy: bool,
    pub(super) question: Question,
    /// The other side has said its first end, and all before that is taken in.
    pub(super) has_their_end: bool,
    pub(super) has_their_final_end: bool,
    /// This side has asked for what is missing once more.
    pub(super) has_asked_again: bool,
    /// Its replica does not take everybody's changes.
    pub(super) is_choosy: bool,
    /// Something came that builds on what did not: the other side is to be asked for that.
    pub(super) wants_past: bool,
    pub(super) wanted_past_at: Option<Millis>,
    /// A batch of the other side was not taken in any more: the document is about to be closed.
    pub(super) is_cut_short: bool,
    /// This side has found nothing to ask for. If the other side has, it wants to be asked as well.
    pub(super) owes_vector: bool,
    /// None while there is nothing to talk about.
    pub(super) talk: Option<Box<Talk>>,
    /// As it went into the sums of [`Documents`](super::documents::Documents).
    pub(super) counted: Counted,
    /// How it stands, as was reported last.
    pub(super) reported: Option<Exchange>,
    pub(super) lists: Lists,
}

/// What two sides have to say about a document that they share.
#[derive(Default)]
pub(super) struct Talk {
    /// What the replica held when it was last looked at.
    pub(super) vector: VersionVector,
    /// Whose changes it took then.
    pub(super) accepts: Option<BTreeSet<AuthorId>>,
    /// What it held when the two were compared: what is given reaches as far, at least.
    pub(super) promise: VersionVector,
    pub(super) theirs: VersionVector,
    /// Whose changes the other side takes.
    pub(super) takes: Option<Arc<BTreeSet<AuthorId>>>,
    /// Authors whose changes the other side said it holds back.
    pub(super) not_taken: BTreeSet<AuthorId>,
    pub(super) holdings: Option<Box<Holdings>>,
    pub(super) settled: BTreeSet<AuthorId>,
    pub(super) common: Vec<Digest>,
    pub(super) searches: VecDeque<Search>,
    /// Changes that the other side does not take, left out; those that build on them bring them.
    pub(super) left_out: BTreeSet<Digest>,
    /// What is durable of what the other side sent, to be acknowledged.
    pub(super) acks: BTreeMap<AuthorId, (u64, Digest)>,
    /// As before, and not durable yet.
    pub(super) taken: BTreeMap<AuthorId, (u64, Digest)>,
    /// Questions of the other side: which changes are held here.
    pub(super) asked: VecDeque<(AuthorId, Vec<Digest>)>,
    /// The two begin to share the document: this side looks what it holds.
    pub(super) must_meet: bool,
    /// The other side's vector came, or must be looked at again.
    pub(super) must_compare: bool,
    pub(super) must_ask_again: bool,
    /// This side's vector is to be said, once it is durable.
    pub(super) must_say_vector: bool,
    /// What the other side says it gave.
    pub(super) to_check: Option<Vec<(AuthorId, Digest)>>,
    /// An ask waits for its answer.
    pub(super) is_asking: bool,
    /// Authors whose last change told is not vouched for by a signature yet, and what waits with them.
    pub(super) open: BTreeSet<AuthorId>,
    pub(super) carried: Vec<Change>,
    /// The last that was told of each author, where the other side does not take everybody's.
    pub(super) told: BTreeMap<AuthorId, (u64, Digest)>,
}

/// Whether the other side is to be told that this side serves a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saying {
    /// It was, or has no use for it.
    Nothing,
    /// It is, as soon as it may be.
    Due,
    /// The replica is looked at, to say what it holds.
    Looking,
    /// That is known, and must be on disk.
    Ready,
}

/// What this side is doing about the other side's lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: not shared, or the hellos are under way.
    Apart,
    /// Looks what it holds itself.
    Meeting,
    /// Waits for the other side's vector.
    Comparing,
    /// Waits until what is to be given is durable.
    Waiting,
    /// Gives.
    Giving,
    /// Has given what it is sure of; waits for the other side's end, which may settle the rest.
    Given,
    /// Searches where chains part.
    Searching,
    /// Tells what is new.
    Live,
}

/// What the query under way is for.
#[derive(Debug, Default)]
pub(super) enum Question {
    #[default]
    None,
    /// For the hello.
    Survey,
    /// To say that it is served.
    Say,
    /// To say that it has grown.
    News,
    /// To compare what both say they hold.
    Meet,
    Again,
    Holdings,
    Learn,
    Give,
    Points,
    Have(AuthorId),
    Check(Vec<(AuthorId, Digest)>),
    Entries,
}

/// What a document adds to sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) behind: u64,
    pub(super) is_unlevel: bool,
    pub(super) is_unready: bool,
}

/// The lists of [`Documents`](super::documents::Documents) that a document is in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lists {
    pub(super) is_touched: bool,
    pub(super) is_uncounted: bool,
    pub(super) is_unreported: bool,
    pub(super) is_hungry: bool,
}

impl Document {
    pub(super) fn new(id: DocumentId, durable: LogSeq) -> Self {
        Self {
            id,
            number: None,
            theirs: None,
            saying: Saying::Nothing,
            is_unheard: false,
            offered_at: None,
            root: Digest([0; 32]),
            durable,
            end: LogSeq::START,
            cursor: LogSeq::START,
            step: Step::Apart,
            is_busy: false,
            question: Question::None,
            has_their_end: false,
            has_their_final_end: false,
            has_asked_again: false,
            is_choosy: false,
            wants_past: false,
            wanted_past_at: None,
            is_cut_short: false,
            owes_vector: false,
            talk: None,
            counted: Counted::default(),
            reported: None,
            lists: Lists::default(),
        }
    }

    /// What is talked about, from here on at the latest.
    pub(super) fn talk(&mut self) -> &mut Talk {
        self.talk.get_or_insert_default()
    }

    /// Whether the other side serves it as well, and both know.
    pub(super) fn is_shared(&self) -> bool {
        self.theirs.is_some()
    }

    /// Whether both sides have told each other all that they held when they met.
    pub(super) fn is_level(&self) -> bool {
        !self.is_shared() || self.step == Step::Live && self.has_their_final_end
    }

    /// Whether the other side was told all that is durable here.
    pub(super) fn is_told(&self) -> bool {
        let is_carrying = self.talk.as_ref().is_some_and(|talk| !talk.carried.is_empty());
        self.step == Step::Live && self.cursor >= self.durable && !is_carrying
    }

    /// Whether there is something of it that the other side has neither been told nor heard of.
    pub(super) fn is_news(&self) -> bool {
        match self.is_shared() {
            true => !self.is_told(),
            false => self.is_unheard || self.durable > self.cursor,
        }
    }

    /// How many entries of the log the other side has not been told.
    pub(super) fn behind(&self) -> u64 {
        match self.step {
            Step::Apart => 0,
            Step::Live => self.durable.0.saturating_sub(self.cursor.0),
            Step::Meeting
            | Step::Comparing
            | Step::Waiting
            | Step::Giving
            | Step::Given
            | Step::Searching => self.durable.0.saturating_sub(self.end.0).max(1),
        }
    }

    /// Whether it waits for its replica or the disk before it can stand in a hello.
    fn is_unready(&self) -> bool {
        matches!(self.question, Question::Survey) || self.durable < self.end
    }

    pub(super) fn count(&self) -> Counted {
        Counted { behind: self.behind(), is_unlevel: !self.is_level(), is_unready: self.is_unready() }
    }

    /// Ends what the two had to say about it. The number is over as well.
    pub(super) fn part(&mut self) {
        *self = Self {
            saying: self.saying,
            is_unheard: self.is_unheard,
            offered_at: self.offered_at,
            root: self.root,
            end: self.end,
            cursor: self.cursor,
            is_busy: self.is_busy,
            counted: self.counted,
            reported: self.reported,
            lists: self.lists,
            ..Self::new(self.id, self.durable)
        };
    }

    /// Frees what is not needed until something happens.
    pub(super) fn rest(&mut self) {
        let is_quiet = match self.step {
            Step::Live => self.has_their_final_end,
            Step::Apart => matches!(self.saying, Saying::Nothing | Saying::Due),
            Step::Meeting
            | Step::Comparing
            | Step::Waiting
            | Step::Giving
            | Step::Given
            | Step::Searching => false,
        };
        if is_quiet && !self.is_busy && self.talk.as_mut().is_some_and(|talk| talk.rest()) {
            self.talk = None;
        }
    }
}

impl Talk {
    /// Whether the other side takes an author's changes by themselves.
    pub(super) fn is_taken(&self, author: &AuthorId) -> bool {
        !self.not_taken.contains(author) && self.takes.as_ref().is_none_or(|takes| takes.contains(author))
    }

    /// Whether the other side takes everybody's changes, as far as it has said.
    pub(super) fn takes_all(&self) -> bool {
        self.takes.is_none() && self.not_taken.is_empty()
    }

    /// What the other side must hold once all is given: all that was compared, of authors that it takes.
    pub(super) fn promised(&self) -> VersionVector {
        let mut vector = self.promise.clone();
        if let Some(takes) = &self.takes {
            vector.retain(|author, _| takes.contains(author));
        }
        vector
    }

    /// Notes a change of the other side that is part of the document now.
    pub(super) fn take(&mut self, author: AuthorId, seq: u64, digest: Digest) {
        raise(&mut self.taken, author, (seq, digest));
    }

    /// What was taken is durable.
    pub(super) fn stored(&mut self) {
        for (author, tip) in std::mem::take(&mut self.taken) {
            raise(&mut self.acks, author, tip);
        }
    }

    /// Frees what the comparison needed, and tells whether nothing else is left.
    ///
    /// What the other side holds is kept where it does not take everybody's changes: what it does not take may yet
    /// have to be given to it, and then the two are compared again.
    fn rest(&mut self) -> bool {
        if self.must_meet
            || self.must_compare
            || self.must_ask_again
            || self.must_say_vector
            || self.is_asking
            || self.to_check.is_some()
            || !self.asked.is_empty()
        {
            return false;
        }
        self.vector.clear();
        self.accepts = None;
        self.promise.clear();
        self.holdings = None;
        self.settled.clear();
        self.common = Vec::new();
        self.searches = VecDeque::new();
        if self.takes_all() {
            self.theirs.clear();
            self.told.clear();
        }
        self.takes_all()
            && self.left_out.is_empty()
            && self.acks.is_empty()
            && self.taken.is_empty()
            && self.open.is_empty()
            && self.carried.is_empty()
    }
}

fn raise(vector: &mut BTreeMap<AuthorId, (u64, Digest)>, author: AuthorId, tip: (u64, Digest)) {
    let known = vector.entry(author).or_insert(tip);
    *known = tip.max(*known);
}

//! One document of a link: who lacks what, and how far it has been told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bft_json_crdt::json_crdt::{Holdings, VersionVector};
use bft_json_crdt::{AuthorId, Change, Digest, DocumentId};
use gangline_doc::LogSeq;

use super::search::Search;

/// A document of this node, as one link sees it.
pub(super) struct Document {
    pub(super) id: DocumentId,
    pub(super) root: Digest,
    pub(super) vector: VersionVector,
    /// The vector when the two were compared: what is given reaches as far, at least.
    pub(super) promise: VersionVector,
    /// Whose changes this node takes.
    pub(super) accepts: Option<BTreeSet<AuthorId>>,
    /// The other side has it as well, and may read it.
    pub(super) is_shared: bool,
    pub(super) durable: LogSeq,
    /// What the log held when the two were compared.
    pub(super) end: LogSeq,
    /// The next entry that is to be told.
    pub(super) cursor: LogSeq,
    pub(super) theirs: VersionVector,
    /// Whose changes the other side takes.
    pub(super) takes: Option<BTreeSet<AuthorId>>,
    /// Authors whose changes the other side said it holds back.
    pub(super) not_taken: BTreeSet<AuthorId>,
    pub(super) step: Step,
    /// A query or a read is under way.
    pub(super) is_busy: bool,
    pub(super) holdings: Option<Box<Holdings>>,
    pub(super) settled: BTreeSet<AuthorId>,
    pub(super) common: Vec<Digest>,
    pub(super) searches: VecDeque<Search>,
    /// The other side has said its first end, and all before that is taken in.
    pub(super) has_their_end: bool,
    pub(super) has_their_final_end: bool,
    /// This side has asked for what is missing once more.
    pub(super) has_asked_again: bool,
    /// Changes that the other side does not take, left out; those that build on them bring them.
    pub(super) left_out: BTreeSet<Digest>,
    /// What is durable of what the other side sent, to be acknowledged.
    pub(super) acks: BTreeMap<AuthorId, (u64, Digest)>,
    /// As before, and not durable yet.
    pub(super) taken: BTreeMap<AuthorId, (u64, Digest)>,
    /// Questions of the other side: which changes are held here.
    pub(super) asked: VecDeque<(AuthorId, Vec<Digest>)>,
    pub(super) question: Question,
    /// The other side's vector came, or must be looked at again.
    pub(super) must_compare: bool,
    pub(super) must_ask_again: bool,
    /// This side's vector is to be said again, once it is durable.
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

/// What this side is doing about the other side's lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: not shared, or the hellos are under way.
    Apart,
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
    Survey,
    Again,
    Holdings,
    Learn,
    Give,
    Points,
    Have(AuthorId),
    Check(Vec<(AuthorId, Digest)>),
    Entries,
}

impl Document {
    pub(super) fn new(id: DocumentId, durable: LogSeq) -> Self {
        Self {
            id,
            root: Digest([0; 32]),
            vector: VersionVector::new(),
            promise: VersionVector::new(),
            accepts: None,
            is_shared: false,
            durable,
            end: LogSeq::START,
            cursor: LogSeq::START,
            theirs: VersionVector::new(),
            takes: None,
            not_taken: BTreeSet::new(),
            step: Step::Apart,
            is_busy: false,
            holdings: None,
            settled: BTreeSet::new(),
            common: Vec::new(),
            searches: VecDeque::new(),
            has_their_end: false,
            has_their_final_end: false,
            has_asked_again: false,
            left_out: BTreeSet::new(),
            acks: BTreeMap::new(),
            taken: BTreeMap::new(),
            asked: VecDeque::new(),
            question: Question::None,
            must_compare: false,
            must_ask_again: false,
            must_say_vector: false,
            to_check: None,
            is_asking: false,
            open: BTreeSet::new(),
            carried: Vec::new(),
            told: BTreeMap::new(),
        }
    }

    /// Whether both sides have told each other all that they held when they met.
    pub(super) fn is_level(&self) -> bool {
        !self.is_shared || self.step == Step::Live && self.has_their_final_end
    }

    /// How many entries of the log the other side has not been told.
    pub(super) fn behind(&self) -> u64 {
        match self.step {
            Step::Apart => 0,
            Step::Live => self.durable.0.saturating_sub(self.cursor.0),
            Step::Comparing | Step::Waiting | Step::Giving | Step::Given | Step::Searching => {
                self.durable.0.saturating_sub(self.end.0).max(1)
            }
        }
    }

    /// Whether the other side takes an author's changes by themselves.
    pub(super) fn is_taken(&self, author: &AuthorId) -> bool {
        !self.not_taken.contains(author) && self.takes.as_ref().is_none_or(|takes| takes.contains(author))
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
}

fn raise(vector: &mut BTreeMap<AuthorId, (u64, Digest)>, author: AuthorId, tip: (u64, Digest)) {
    let known = vector.entry(author).or_insert(tip);
    *known = tip.max(*known);
}

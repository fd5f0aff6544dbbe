//! The giving half of a link: what the other side lacks when the two meet, and what is new from then on.

use std::sync::Arc;

use bft_json_crdt::json_crdt::{Holdings, VersionVector};
use bft_json_crdt::{AuthorId, Change, Digest};
use gangline_doc::{Entry, LogSeq, ReadLimit};
use gangline_wire::limits::ASK_DIGESTS_MAX;
use gangline_wire::v2::{Accepts, Frame};

use super::document::{Document, Question, Step};
use super::query::{BUNDLE_NEWS_MIN, frame_of};
use super::search::Search;
use super::{Answer, Link, LinkEffect, Query};
use crate::session::CloseReason;

/// Most asks of the other side that wait for an answer. It asks one at a time.
const ASKS_MAX: usize = 4;
/// Most changes that are remembered as left out, for a change that builds on one.
const LEFT_OUT_MAX: usize = 65_536;

impl Link {
    pub(super) fn say_vector(&mut self, at: usize) {
        let Some(document) = self.documents.get(at) else { return };
        let accepts = document.accepts.clone().map_or(Accepts::All, Accepts::Only);
        let vector = document.vector.clone();
        self.say(&Frame::Vector { document: at as u32, vector, accepts });
    }

    /// The other side says what it holds, and so asks for the rest.
    pub(super) fn vector(&mut self, number: u32, vector: VersionVector, accepts: Accepts) {
        let Some(at) = self.shared(number) else { return self.broken("the vector of what is not shared") };
        let may_read = self.rights.read;
        let Some(document) = self.documents.get_mut(at) else { return };
        document.takes = match accepts {
            Accepts::All => None,
            Accepts::Only(authors) => Some(authors),
        };
        document.theirs.clone_from(&vector);
        document.settled.clear();
        document.common.clear();
        document.left_out.clear();
        document.told.clear();
        document.searches.clear();
        document.holdings = None;
        self.effects.push_back(LinkEffect::Notice(super::LinkNotice::Acked { document: at, vector }));
        let Some(document) = self.documents.get_mut(at) else { return };
        if may_read {
            document.step = Step::Comparing;
            document.must_compare = true;
        } else {
            document.step = Step::Live;
            self.say(&Frame::End { document: at as u32, is_final: true, vector: VersionVector::new() });
        }
    }

    /// The other side has given what it knows this one to lack.
    pub(super) fn their_end(&mut self, number: u32, is_final: bool, vector: &VersionVector) {
        let Some(at) = self.shared(number) else { return self.broken("the end of what is not shared") };
        let Some(document) = self.documents.get_mut(at) else { return };
        document.has_their_end = true;
        if !is_final {
            return;
        }
        let tips = vector.iter().flat_map(|(author, tips)| tips.iter().map(|(_, tip)| (*author, *tip)));
        document.to_check = Some(tips.collect());
    }

    /// The other side asks which of some changes are held here.
    pub(super) fn asked(&mut self, number: u32, author: AuthorId, digests: Vec<Digest>) {
        let Some(at) = self.shared(number) else { return self.broken("an ask about what is not shared") };
        match self.documents.get_mut(at) {
            Some(document) if document.asked.len() < ASKS_MAX => document.asked.push_back((author, digests)),
            Some(_) | None => self.broken("more asks than answers"),
        }
    }

    /// The other side answers an ask.
    pub(super) fn have(&mut self, number: u32, author: AuthorId, held: &[bool]) {
        let Some(at) = self.shared(number) else { return self.broken("an answer about what is not shared") };
        let search = self.documents.get_mut(at).and_then(|document| {
            document.is_asking.then_some(())?;
            document.is_asking = false;
            document.searches.front_mut().filter(|search| search.author == author)
        });
        if !search.is_some_and(|search| search.answered(held)) {
            self.broken("an answer to no ask");
        }
    }

    /// Begins what is next for each document, in turn.
    pub(super) fn give(&mut self) {
        let count = self.documents.len();
        for n in 0..count {
            let at = (self.turn + n) % count;
            self.give_of(at);
        }
        self.turn = (self.turn + 1) % count.max(1);
    }

    fn give_of(&mut self, at: usize) {
        // What is given waits for the socket, so that one frame at a time is in memory.
        let has_room = self.outbox.is_empty() && !self.is_sending;
        let Some(document) = self.documents.get_mut(at) else { return };
        if document.is_busy || !document.is_shared {
            return;
        }
        if let Some((author, digests)) = document.asked.pop_front() {
            return self.ask(at, Question::Have(author), Query::Contains(digests));
        }
        if let Some(tips) = document.to_check.take() {
            let digests = tips.iter().map(|(_, tip)| *tip).collect();
            return self.ask(at, Question::Check(tips), Query::Contains(digests));
        }
        if std::mem::take(&mut document.must_ask_again) {
            return self.ask(at, Question::Again, Query::Survey);
        }
        // What it says counts as acknowledged, so it waits for the disk.
        if document.must_say_vector && document.durable >= document.end {
            document.must_say_vector = false;
            self.say_vector(at);
            return self.give_of(at);
        }
        if std::mem::take(&mut document.must_compare) {
            let (theirs, accepts) = (document.theirs.clone(), document.takes.clone());
            let common = document.told.values().map(|(_, digest)| *digest).collect();
            return self.ask(at, Question::Holdings, Query::Holdings { theirs, common, accepts });
        }
        match document.step {
            Step::Waiting if document.durable >= document.end => {
                document.step = Step::Giving;
                self.give_of(at);
            }
            Step::Giving if has_room => {
                let Some(holdings) = document.holdings.take() else { return };
                let limit =
                    ReadLimit { count: self.settings.give_ops_max, bytes: self.settings.give_bytes_max };
                self.ask(at, Question::Give, Query::Give { holdings, number: at as u32, limit });
            }
            Step::Given if document.has_their_end => self.learn(at),
            Step::Searching if !document.is_asking => self.search(at),
            Step::Live if self.rights.read && has_room && document.durable > document.cursor => {
                document.is_busy = true;
                document.question = Question::Entries;
                let limit =
                    ReadLimit { count: self.settings.send_ops_max, bytes: self.settings.send_bytes_max };
                self.effects.push_back(LinkEffect::Read { document: at, from: document.cursor, limit });
            }
            Step::Apart
            | Step::Comparing
            | Step::Waiting
            | Step::Giving
            | Step::Given
            | Step::Searching
            | Step::Live => {}
        }
    }

    fn learn(&mut self, at: usize) {
        let Some(document) = self.documents.get_mut(at) else { return };
        let Some(holdings) = document.holdings.take() else { return };
        let (theirs, common) = (document.theirs.clone(), document.common.clone());
        let settled = document.settled.clone();
        self.ask(at, Question::Learn, Query::Learn { holdings, theirs, common, settled });
    }

    /// Goes on with the search, or with giving when it is over.
    fn search(&mut self, at: usize) {
        let Some(document) = self.documents.get_mut(at) else { return };
        let Some(search) = document.searches.front() else { return self.learn(at) };
        let points = search.points();
        if points.is_empty() {
            let Some(search) = document.searches.pop_front() else { return };
            document.settled.insert(search.author);
            document.common.extend(search.common());
            return self.search(at);
        }
        self.ask(at, Question::Points, Query::OnChains(points));
    }

    /// A replica answers.
    pub(super) fn answered(&mut self, at: usize, answer: Answer) {
        let Some(document) = self.documents.get_mut(at) else { return };
        document.is_busy = false;
        let question = std::mem::take(&mut document.question);
        // A vector that came meanwhile begins anew: what was asked before it is void.
        let is_void = document.must_compare;
        match (question, answer) {
            (Question::Survey, Answer::Survey { vector, end, accepts }) => {
                document.surveyed(vector, end, accepts);
            }
            (Question::Again, Answer::Survey { vector, end, accepts }) => {
                document.surveyed(vector, end, accepts);
                document.must_say_vector = true;
            }
            (Question::Holdings, Answer::Holdings { holdings, end }) if !is_void => {
                document.holdings = Some(holdings);
                document.promise = document.vector.clone();
                document.end = end;
                document.cursor = end;
                document.step = Step::Waiting;
            }
            (Question::Learn, Answer::Learned(holdings)) if !is_void => self.learned(at, holdings),
            (Question::Give, Answer::Given { holdings, frame, changes }) if !is_void => {
                self.stats.sent_ops += changes as u64;
                match frame {
                    Some(frame) => {
                        document.holdings = Some(holdings);
                        self.outbox.push_back(frame);
                    }
                    None => self.gave(at, holdings),
                }
            }
            (Question::Points, Answer::OnChains(digests)) if !is_void => {
                let Some(search) = document.searches.front_mut() else { return };
                let author = search.author;
                let digests = search.ask(digests);
                if digests.is_empty() {
                    search.answered(&[]);
                    return;
                }
                debug_assert!(digests.len() <= ASK_DIGESTS_MAX);
                document.is_asking = true;
                self.say(&Frame::Ask { document: at as u32, author, digests });
            }
            (Question::Have(author), Answer::Contains(held)) => {
                self.say(&Frame::Have { document: at as u32, author, held });
            }
            (Question::Check(tips), Answer::Contains(held)) => self.checked(at, &tips, &held),
            _ => {}
        }
    }

    fn learned(&mut self, at: usize, holdings: Box<Holdings>) {
        let Some(document) = self.documents.get_mut(at) else { return };
        let unsure: Vec<AuthorId> = holdings.unsure().iter().copied().collect();
        document.holdings = Some(holdings);
        if unsure.is_empty() {
            document.step = Step::Giving;
            return;
        }
        for author in unsure {
            match document.vector.get(&author) {
                Some(tips) => document.searches.push_back(Search::new(author, tips.clone())),
                // Nothing to give of it.
                None => {
                    document.settled.insert(author);
                }
            }
        }
        document.step = Step::Searching;
    }

    /// All was given that the other side is known to lack.
    fn gave(&mut self, at: usize, holdings: Box<Holdings>) {
        let Some(document) = self.documents.get_mut(at) else { return };
        let is_final = holdings.unsure().is_empty();
        let vector = if is_final { document.promised() } else { VersionVector::new() };
        document.step = if is_final { Step::Live } else { Step::Given };
        document.holdings = Some(holdings);
        self.say(&Frame::End { document: at as u32, is_final, vector });
    }

    /// Whether what the other side says it gave is here.
    fn checked(&mut self, at: usize, tips: &[(AuthorId, Digest)], held: &[bool]) {
        let Some(document) = self.documents.get_mut(at) else { return };
        let is_held_back = |author: &AuthorId, tip: &Digest| {
            self.pending.is_held(tip)
                || document.accepts.as_ref().is_some_and(|accepts| !accepts.contains(author))
        };
        let missing =
            tips.iter().zip(held).filter(|((author, tip), held)| !**held && !is_held_back(author, tip));
        let missing = missing.count();
        if missing == 0 {
            document.has_their_final_end = true;
        } else if document.has_asked_again {
            self.close(CloseReason::Incomplete { changes: missing });
        } else {
            document.has_asked_again = true;
            document.must_ask_again = true;
        }
    }

    /// Tells what is new.
    pub(super) fn entries(&mut self, at: usize, entries: Vec<Arc<Entry>>) {
        let origin = self.start.origin;
        let Some(document) = self.documents.get_mut(at) else { return };
        document.is_busy = false;
        document.question = Question::None;
        if document.step != Step::Live {
            return;
        }
        if entries.is_empty() {
            // Nothing where something was promised: wait for the log to grow instead of asking at once.
            document.durable = document.cursor;
            return;
        }
        let mut changes: Vec<Change> = std::mem::take(&mut document.carried);
        for entry in entries {
            let change = entry.change();
            if !document.is_taken(&change.author()) {
                document.leave_out(change.digest());
            } else if change.deps().iter().any(|dep| document.left_out.contains(dep)) {
                // It builds on what the other side does not take by itself: compare again, and give both.
                document.must_compare = true;
                document.left_out.clear();
                document.step = Step::Comparing;
                break;
            } else if entry.origin() != Some(origin) {
                let is_vouched = entry.was_vouched();
                document.tell(change, is_vouched);
                changes.push(if is_vouched { change.clone() } else { change.with_signature([0; 64]) });
            }
            document.cursor = LogSeq(entry.seq().0.saturating_add(1));
        }
        // One that nobody has vouched for travels with the later one that does.
        if !document.open.is_empty() && document.durable > document.cursor && document.step == Step::Live {
            document.carried = changes;
            return;
        }
        document.open.clear();
        if !changes.is_empty() {
            self.stats.sent_ops += changes.len() as u64;
            self.outbox.push_back(frame_of(at as u32, &changes, BUNDLE_NEWS_MIN).into());
        }
    }
}

impl Document {
    fn surveyed(
        &mut self,
        vector: VersionVector,
        end: LogSeq,
        accepts: Option<std::collections::BTreeSet<AuthorId>>,
    ) {
        self.root = gangline_wire::v2::root(&vector);
        self.vector = vector;
        self.end = end;
        self.accepts = accepts;
    }

    fn leave_out(&mut self, digest: Digest) {
        if self.left_out.len() >= LEFT_OUT_MAX {
            // Comparing again finds all of them, from the vector.
            self.left_out.pop_first();
        }
        self.left_out.insert(digest);
    }

    /// Notes a change that the other side is told.
    fn tell(&mut self, change: &Change, is_vouched: bool) {
        if is_vouched {
            self.open.remove(&change.author());
        } else {
            self.open.insert(change.author());
        }
        if self.takes.is_some() || !self.not_taken.is_empty() {
            self.told.insert(change.author(), (change.seq(), change.digest()));
        }
    }
}

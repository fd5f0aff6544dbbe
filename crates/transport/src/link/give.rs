//! The giving half of a link: what the other side lacks when the two meet, and what is new from then on.

use std::collections::BTreeSet;
use std::sync::Arc;

use bft_json_crdt::json_crdt::{Holdings, VersionVector};
use bft_json_crdt::{AuthorId, Change, Digest};
use gangline_doc::{Entry, LogSeq, ReadLimit};
use gangline_wire::limits::ASK_DIGESTS_MAX;
use gangline_wire::v2::{Accepts, Frame};

use super::document::{Document, Question, Saying, Step, Talk};
use super::query::{BUNDLE_NEWS_MIN, frame_of};
use super::search::Search;
use super::{Answer, Link, LinkEffect, Query};
use crate::session::{CloseReason, Millis};

/// Most asks of the other side that wait for an answer. It asks one at a time.
const ASKS_MAX: usize = 4;
/// Most changes that are remembered as left out, for a change that builds on one.
const LEFT_OUT_MAX: usize = 65_536;

/// How often the other side is asked for what its changes build on, at most.
const WANT_PAST_MS: u64 = 1_000;
/// Most documents that are read for the other side at a time: each may bring a frame of some megabytes.
const GIVING_MAX: usize = 4;

impl Link {
    fn say_vector(&mut self, at: usize) {
        let Some(document) = self.documents.get_mut(at) else { return };
        let Some(number) = document.number else { return };
        let talk = document.talk();
        let vector = std::mem::take(&mut talk.vector);
        let accepts = talk.accepts.take().map_or(Accepts::All, Accepts::Only);
        self.say(&Frame::Vector { document: number, vector, accepts });
    }

    /// The other side says what it holds, and so asks for the rest.
    pub(super) fn vector(&mut self, at: usize, vector: VersionVector, accepts: Accepts) {
        let takes = self.takes_of(accepts);
        let may_read = self.rights.read;
        let Some(document) = self.documents.get_mut(at) else { return };
        let must_ask_back = std::mem::take(&mut document.owes_vector);
        let talk = document.talk();
        talk.takes = takes;
        talk.theirs.clone_from(&vector);
        talk.settled.clear();
        talk.common.clear();
        talk.left_out.clear();
        talk.told.clear();
        talk.searches.clear();
        talk.holdings = None;
        talk.must_ask_again |= must_ask_back;
        self.effects.push_back(LinkEffect::Notice(super::LinkNotice::Acked { document: at, vector }));
        let Some(document) = self.documents.get_mut(at) else { return };
        if may_read {
            document.step = Step::Comparing;
            document.talk().must_compare = true;
            return;
        }
        document.step = Step::Live;
        if let Some(number) = document.number {
            self.say(&Frame::End { document: number, is_final: true, vector: VersionVector::new() });
        }
    }

    /// Whose changes the other side takes. It says the same for most documents, so that is kept once.
    fn takes_of(&mut self, accepts: Accepts) -> Option<Arc<BTreeSet<AuthorId>>> {
        let Accepts::Only(authors) = accepts else { return None };
        match &self.takes {
            Some(known) if **known == authors => Some(Arc::clone(known)),
            Some(_) | None => Some(Arc::clone(self.takes.insert(Arc::new(authors)))),
        }
    }

    /// The other side has given what it knows this one to lack.
    pub(super) fn their_end(&mut self, at: usize, is_final: bool, vector: &VersionVector) {
        let Some(document) = self.documents.get_mut(at) else { return };
        document.has_their_end = true;
        if !is_final {
            return;
        }
        let tips = vector.iter().flat_map(|(author, tips)| tips.iter().map(|(_, tip)| (*author, *tip)));
        document.talk().to_check = Some(tips.collect());
    }

    /// The other side asks which of some changes are held here.
    pub(super) fn asked(&mut self, at: usize, author: AuthorId, digests: Vec<Digest>) {
        match self.documents.get_mut(at).map(Document::talk) {
            Some(talk) if talk.asked.len() < ASKS_MAX => talk.asked.push_back((author, digests)),
            Some(_) | None => self.broken("more asks than answers"),
        }
    }

    /// The other side answers an ask.
    pub(super) fn have(&mut self, at: usize, author: AuthorId, held: &[bool]) {
        let search = self.documents.get_mut(at).map(Document::talk).and_then(|talk| {
            talk.is_asking.then_some(())?;
            talk.is_asking = false;
            talk.searches.front_mut().filter(|search| search.author == author)
        });
        if !search.is_some_and(|search| search.answered(held)) {
            self.broken("an answer to no ask");
        }
    }

    /// Begins what is next for each document that something has happened to, and for those whose turn it is to have the
    /// socket.
    pub(super) fn give(&mut self, now: Millis) {
        loop {
            let touched = self.documents.take_touched();
            let is_quiet = touched.is_empty();
            for at in touched {
                self.give_of(now, at, false);
                self.documents.settled(at);
            }
            let has_room = self.outbox.is_empty() && !self.is_sending && self.giving.len() < GIVING_MAX;
            let next = if has_room { self.documents.next_hungry() } else { None };
            if let Some(at) = next {
                self.give_of(now, at, true);
                self.documents.settled(at);
            } else if is_quiet {
                return;
            }
        }
    }

    /// Begins what is next for a document. What is given waits for the socket, so that few frames are in memory.
    fn give_of(&mut self, now: Millis, at: usize, has_room: bool) {
        let Some(document) = self.documents.get_mut(at) else { return };
        if document.is_busy {
            return;
        }
        if !document.is_shared() {
            return self.serve(now, at);
        }
        if document.wants_past {
            let due = document.wanted_past_at.map_or(now, |at| at.plus(WANT_PAST_MS));
            if due <= now {
                document.wants_past = false;
                document.wanted_past_at = Some(now);
                document.talk().must_ask_again = true;
            } else {
                self.serving.look_again(due, at);
            }
        }
        if let Some(talk) = &mut document.talk {
            if let Some((author, digests)) = talk.asked.pop_front() {
                return self.ask(at, Question::Have(author), Query::Contains(digests));
            }
            if let Some(tips) = talk.to_check.take() {
                let digests = tips.iter().map(|(_, tip)| *tip).collect();
                return self.ask(at, Question::Check(tips), Query::Check(digests));
            }
            if std::mem::take(&mut talk.must_meet) {
                return self.ask(at, Question::Meet, Query::Survey);
            }
            if std::mem::take(&mut talk.must_ask_again) {
                return self.ask(at, Question::Again, Query::Survey);
            }
            // What it says counts as acknowledged, so it waits for the disk.
            if talk.must_say_vector && document.durable >= document.end {
                talk.must_say_vector = false;
                self.say_vector(at);
                return self.give_of(now, at, has_room);
            }
            if std::mem::take(&mut talk.must_compare) {
                let (theirs, accepts) = (talk.theirs.clone(), talk.takes.clone());
                let common = talk.told.values().map(|(_, digest)| *digest).collect();
                return self.ask(at, Question::Holdings, Query::Holdings { theirs, common, accepts });
            }
        }
        let may_read = self.rights.read;
        let is_asking = document.talk.as_ref().is_some_and(|talk| talk.is_asking);
        match document.step {
            Step::Waiting if document.durable >= document.end => {
                document.step = Step::Giving;
                self.give_of(now, at, has_room);
            }
            Step::Giving if !has_room => self.documents.wait_for_room(at),
            Step::Giving => {
                let Some(number) = document.number else { return };
                let Some(holdings) = document.talk().holdings.take() else { return };
                let limit =
                    ReadLimit { count: self.settings.give_ops_max, bytes: self.settings.give_bytes_max };
                self.giving.insert(at);
                self.ask(at, Question::Give, Query::Give { holdings, number, limit });
            }
            Step::Given if document.has_their_end => self.learn(at),
            Step::Searching if !is_asking => self.search(at),
            Step::Live if may_read && document.durable > document.cursor && !has_room => {
                self.documents.wait_for_room(at);
            }
            Step::Live if may_read && document.durable > document.cursor => {
                document.is_busy = true;
                document.question = Question::Entries;
                let limit =
                    ReadLimit { count: self.settings.send_ops_max, bytes: self.settings.send_bytes_max };
                self.giving.insert(at);
                self.effects.push_back(LinkEffect::Read { document: at, from: document.cursor, limit });
            }
            Step::Apart
            | Step::Meeting
            | Step::Comparing
            | Step::Waiting
            | Step::Given
            | Step::Searching
            | Step::Live => {}
        }
    }

    fn learn(&mut self, at: usize) {
        let Some(talk) = self.documents.get_mut(at).map(Document::talk) else { return };
        let Some(holdings) = talk.holdings.take() else { return };
        let (theirs, common) = (talk.theirs.clone(), talk.common.clone());
        let settled = talk.settled.clone();
        self.ask(at, Question::Learn, Query::Learn { holdings, theirs, common, settled });
    }

    /// Goes on with the search, or with giving when it is over.
    fn search(&mut self, at: usize) {
        let Some(talk) = self.documents.get_mut(at).map(Document::talk) else { return };
        let Some(search) = talk.searches.front() else { return self.learn(at) };
        let points = search.points();
        if points.is_empty() {
            let Some(search) = talk.searches.pop_front() else { return };
            talk.settled.insert(search.author);
            talk.common.extend(search.common());
            return self.search(at);
        }
        self.ask(at, Question::Points, Query::OnChains(points));
    }

    /// A replica answers.
    pub(super) fn answered(&mut self, now: Millis, at: usize, answer: Answer) {
        self.giving.remove(&at);
        let Some(document) = self.documents.get_mut(at) else { return };
        document.is_busy = false;
        let question = std::mem::take(&mut document.question);
        // A vector that came meanwhile begins anew: what was asked before it is void.
        let is_void = document.talk.as_ref().is_some_and(|talk| talk.must_compare);
        match (question, answer) {
            (Question::Survey, Answer::Survey { vector, end, accepts }) => {
                document.surveyed(vector, end, accepts);
            }
            (Question::Say, Answer::Survey { vector, end, accepts }) => {
                document.surveyed(vector, end, accepts);
                document.saying = Saying::Ready;
            }
            (Question::News, Answer::Survey { vector, end, .. }) if !document.is_shared() => {
                document.root = gangline_wire::v2::root(&vector);
                document.end = end;
                self.say_news(now, at);
            }
            (Question::Meet, Answer::Survey { vector, end, accepts }) => {
                document.surveyed(vector, end, accepts);
                self.meet(at, false);
            }
            (Question::Again, Answer::Survey { vector, end, accepts }) => {
                document.surveyed(vector, end, accepts);
                document.talk().must_say_vector = true;
            }
            (Question::Holdings, Answer::Holdings { holdings, vector, end }) if !is_void => {
                let talk = document.talk();
                talk.holdings = Some(holdings);
                talk.promise = vector;
                document.end = end;
                document.cursor = end;
                document.step = Step::Waiting;
            }
            (Question::Learn, Answer::Learned(holdings)) if !is_void => self.learned(at, holdings),
            (Question::Give, Answer::Given { holdings, frame, changes }) if !is_void => {
                self.stats.sent_ops += changes as u64;
                match frame {
                    Some(frame) => {
                        document.talk().holdings = Some(holdings);
                        self.outbox.push_back(frame);
                    }
                    None => self.gave(at, holdings),
                }
            }
            (Question::Points, Answer::OnChains(digests)) if !is_void => {
                let Some(number) = document.number else { return };
                let talk = document.talk();
                let Some(search) = talk.searches.front_mut() else { return };
                let author = search.author;
                let digests = search.ask(digests);
                if digests.is_empty() {
                    search.answered(&[]);
                    return;
                }
                debug_assert!(digests.len() <= ASK_DIGESTS_MAX);
                talk.is_asking = true;
                self.say(&Frame::Ask { document: number, author, digests });
            }
            (Question::Have(author), Answer::Contains(held)) => {
                let Some(number) = document.number else { return };
                self.say(&Frame::Have { document: number, author, held });
            }
            (Question::Check(tips), Answer::Checked { held, accepts }) => {
                self.checked(at, &tips, &held, accepts.as_ref());
            }
            _ => {}
        }
    }

    /// A document was closed before it could be asked or read.
    pub(super) fn gone(&mut self, now: Millis, at: usize) {
        self.giving.remove(&at);
        if self.taking.is_of(at) {
            self.untaken(now);
        }
    }

    fn learned(&mut self, at: usize, holdings: Box<Holdings>) {
        let Some(document) = self.documents.get_mut(at) else { return };
        let unsure: Vec<AuthorId> = holdings.unsure().iter().copied().collect();
        let is_sure = unsure.is_empty();
        let talk = document.talk();
        talk.holdings = Some(holdings);
        for author in unsure {
            match talk.promise.get(&author) {
                Some(tips) => talk.searches.push_back(Search::new(author, tips.clone())),
                // Nothing to give of it.
                None => {
                    talk.settled.insert(author);
                }
            }
        }
        document.step = if is_sure { Step::Giving } else { Step::Searching };
    }

    /// All was given that the other side is known to lack.
    fn gave(&mut self, at: usize, holdings: Box<Holdings>) {
        let Some(document) = self.documents.get_mut(at) else { return };
        let Some(number) = document.number else { return };
        let is_final = holdings.unsure().is_empty();
        let talk = document.talk();
        let vector = if is_final { talk.promised() } else { VersionVector::new() };
        talk.holdings = Some(holdings);
        document.step = if is_final { Step::Live } else { Step::Given };
        self.say(&Frame::End { document: number, is_final, vector });
    }

    /// Whether what the other side says it gave is here.
    fn checked(
        &mut self,
        at: usize,
        tips: &[(AuthorId, Digest)],
        held: &[bool],
        accepts: Option<&BTreeSet<AuthorId>>,
    ) {
        let Some(document) = self.documents.get_mut(at) else { return };
        let is_held_back = |author: &AuthorId, tip: &Digest| {
            self.pending.is_held(tip) || accepts.is_some_and(|accepts| !accepts.contains(author))
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
            document.talk().must_ask_again = true;
        }
    }

    /// Tells what is new.
    pub(super) fn entries(&mut self, at: usize, entries: Vec<Arc<Entry>>) {
        let origin = self.start.origin;
        self.giving.remove(&at);
        let Some(document) = self.documents.get_mut(at) else { return };
        document.is_busy = false;
        // The two may have ceased to share it since, and begun again.
        let is_asked = matches!(std::mem::take(&mut document.question), Question::Entries);
        let Some(number) = document.number.filter(|_| is_asked && document.step == Step::Live) else {
            return;
        };
        if entries.is_empty() {
            // Nothing where something was promised: wait for the log to grow instead of asking at once.
            document.durable = document.cursor;
            return;
        }
        let talk = document.talk.get_or_insert_default();
        let mut changes: Vec<Change> = std::mem::take(&mut talk.carried);
        for entry in entries {
            let change = entry.change();
            if !talk.is_taken(&change.author()) {
                talk.leave_out(change.digest());
            } else if change.deps().iter().any(|dep| talk.left_out.contains(dep)) {
                // It builds on what the other side does not take by itself: compare again, and give both.
                talk.must_compare = true;
                talk.left_out.clear();
                document.step = Step::Comparing;
                break;
            } else if entry.origin() != Some(origin) {
                let is_vouched = entry.was_vouched();
                talk.tell(change, is_vouched);
                changes.push(if is_vouched { change.clone() } else { change.with_signature([0; 64]) });
            }
            document.cursor = LogSeq(entry.seq().0.saturating_add(1));
        }
        if !talk.open.is_empty() && document.step != Step::Live {
            // What vouches for these is given when the two are compared again, and so must these be: from what the
            // other side said itself.
            talk.told.clear();
            changes.clear();
        }
        // One that nobody has vouched for travels with the later one that does. That is in the log, too, whether or not
        // this side has heard that the log is so long.
        if !talk.open.is_empty() && document.step == Step::Live {
            talk.carried = changes;
            return;
        }
        talk.open.clear();
        if !changes.is_empty() {
            self.stats.sent_ops += changes.len() as u64;
            self.outbox.push_back(frame_of(number, &changes, BUNDLE_NEWS_MIN).into());
        }
    }
}

impl Document {
    fn surveyed(&mut self, vector: VersionVector, end: LogSeq, accepts: Option<BTreeSet<AuthorId>>) {
        self.root = gangline_wire::v2::root(&vector);
        self.end = end;
        self.is_choosy = accepts.is_some();
        let talk = self.talk();
        talk.vector = vector;
        talk.accepts = accepts;
    }
}

impl Talk {
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
        if !self.takes_all() {
            self.told.insert(change.author(), (change.seq(), change.digest()));
        }
    }
}

//! Which documents the two sides serve, while the link is up: opening, closing, sharing, and news of what is not shared.
//!
//! Each side numbers what it serves, and no number is used twice. Two numbers of one document become a pair, which
//! shares it, when an `open` names the number of the other side that it answers; or when both stand in the hellos. The
//! pair ends when either side closes its number: then the other number is over as well, and its side closes it, too.
//! So every frame belongs to one pair, and what is still on its way when a pair ends is known to be late.
//!
//! Where both sides open a document at the same time, neither answers the other. Then the side that dialled stands by
//! its number, and the other closes its own and answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bft_json_crdt::{Digest, DocumentId};
use gangline_doc::LogSeq;
use gangline_wire::limits::{DOCUMENT_NUMBERS_MAX, DOCUMENTS_MAX};
use gangline_wire::v2::{Frame, HeldDocument};

use super::document::{Document, Question, Saying, Step};
use super::{Exchange, Link, LinkEffect, LinkNotice, OUTBOX_FRAMES_MAX, Query};
use crate::session::Millis;

/// What the other side serves, and what this side has to say about its own documents.
#[derive(Default)]
pub(super) struct Serving {
    /// This side's next number.
    next: u32,
    /// The other side's next number.
    their_next: u32,
    /// By the other side's numbers, while they are open.
    theirs: BTreeMap<u32, Theirs>,
    /// The other side's number of a document, unless it is over.
    by_id: BTreeMap<DocumentId, u32>,
    /// This side's numbers that are to be closed.
    to_close: VecDeque<u32>,
    /// Documents that may be opened, and wait for the socket.
    to_open: BTreeSet<usize>,
    /// Documents that were closed before the other side had heard all of them.
    news: BTreeMap<DocumentId, Digest>,
    /// Documents that are to be looked at, and when.
    due: BTreeSet<(Millis, usize)>,
}

/// A document that the other side serves.
struct Theirs {
    id: DocumentId,
    root: Digest,
    /// It belongs to a pair that has ended, or answers a number that has: its side will close it.
    is_over: bool,
}

/// What a number of the other side stands for.
pub(super) enum Named {
    /// A document that both share, by its place.
    Shared(usize),
    /// A document that this side has ceased to share.
    Over(DocumentId),
    /// Nothing that the other side may speak about.
    Nothing,
}

impl Serving {
    /// The documents that the other side serves and this side may answer.
    pub(super) fn open_there(&self) -> impl Iterator<Item = (DocumentId, Digest)> {
        let live = self.by_id.iter().filter_map(|(id, number)| Some((*id, self.theirs.get(number)?)));
        live.map(|(id, theirs)| (id, theirs.root))
    }

    /// Takes the next number of the other side. None if it has no more to give, or serves too many.
    fn number(&mut self) -> Option<u32> {
        let number = self.their_next;
        self.their_next = self.their_next.saturating_add(1);
        (number < DOCUMENT_NUMBERS_MAX && self.theirs.len() < DOCUMENTS_MAX).then_some(number)
    }

    /// The other side's number of a document that this side may answer.
    pub(super) fn live(&self, id: &DocumentId) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// Frames of the other side about this number are late from here on.
    fn is_over(&mut self, number: u32) {
        let Some(theirs) = self.theirs.get_mut(&number) else { return };
        theirs.is_over = true;
        if self.by_id.get(&theirs.id) == Some(&number) {
            self.by_id.remove(&theirs.id);
        }
    }

    /// Has a document looked at when the time has come.
    pub(super) fn look_again(&mut self, due: Millis, place: usize) {
        self.due.insert((due, place));
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        self.due.first().map(|(due, _)| *due)
    }
}

impl Link {
    /// Numbers the documents of this side's hello, and returns them.
    pub(super) fn number_all(&mut self) -> Vec<HeldDocument> {
        let places: Vec<usize> = self.documents.iter().map(|(place, _)| place).collect();
        let mut held = Vec::new();
        for place in places {
            let Some(document) = self.documents.get_mut(place) else { continue };
            // One less than fit into a hello: the abilities stand there, too.
            if held.len() + 1 < DOCUMENTS_MAX {
                document.number = Some(self.serving.next);
                self.serving.next += 1;
                document.cursor = document.end;
                held.push(HeldDocument { id: document.id, root: document.root });
            } else {
                document.saying = Saying::Due;
            }
        }
        held
    }

    /// The other side has proved who it is: what both said in their hellos is shared.
    pub(super) fn share_all(&mut self, theirs: Vec<HeldDocument>) {
        for held in theirs {
            let Some(number) = self.serving.number() else { continue };
            if self.serving.live(&held.id).is_some() {
                continue; // Twice the same.
            }
            self.serving.theirs.insert(number, Theirs { id: held.id, root: held.root, is_over: false });
            let own = self.documents.place_of(&held.id);
            let is_in_hello =
                |link: &Self, place| link.documents.get(place).is_some_and(|it| it.number.is_some());
            match own {
                Some(place) if is_in_hello(self, place) => {
                    self.serving.by_id.insert(held.id, number);
                    self.pair(place, number);
                    self.meet(place, true);
                }
                _ if self.was_in_hello(&held.id) => self.serving.is_over(number),
                _ => {
                    self.serving.by_id.insert(held.id, number);
                    self.answer_or_offer(held);
                }
            }
        }
        self.greeting.closed_early.clear();
        self.look_at_all();
    }

    /// Looks at all documents: the other side may have another right to them.
    pub(super) fn look_at_all(&mut self) {
        let places: Vec<usize> = self.documents.iter().map(|(place, _)| place).collect();
        places.into_iter().for_each(|place| self.documents.touch(place));
    }

    /// Whether this side's hello had a document that it has closed since.
    fn was_in_hello(&self, id: &DocumentId) -> bool {
        self.greeting.closed_early.contains(id)
    }

    /// This side serves another document.
    pub(super) fn opened(&mut self, place: usize, id: DocumentId, durable: LogSeq) {
        let mut document = Document::new(id, durable);
        let is_greeting = self.greeting.said.is_none();
        document.saying = if is_greeting { Saying::Nothing } else { Saying::Due };
        if !self.documents.insert(place, document) {
            return;
        }
        self.serving.news.remove(&id);
        self.offers.forget(&id);
        if is_greeting {
            self.ask(place, Question::Survey, Query::Survey);
        }
    }

    /// This side serves a document no longer.
    pub(super) fn closed_here(&mut self, now: Millis, place: usize, held: HeldDocument, durable: LogSeq) {
        // One that was closed before this link has heard that it was open.
        let Some(mut document) = self.documents.remove(place) else { return self.tell_of(held) };
        document.durable = document.durable.max(durable);
        self.serving.to_open.remove(&place);
        if let Some(number) = document.number {
            self.serving.to_close.push_back(number);
            if self.greeting.peer.is_none() {
                self.greeting.closed_early.insert(document.id);
            }
        }
        if let Some(number) = document.theirs {
            self.serving.is_over(number);
        }
        // What the replica had waiting for other changes is lost with it.
        if self.pending.forget(place) | document.is_cut_short {
            self.offer(document.id, None);
        }
        if self.taking.is_waiting_for(place) {
            self.untaken(now);
        }
        if document.is_news() {
            self.tell_of(held);
        }
    }

    /// Notes that the other side is to hear of a document which this side does not serve.
    pub(super) fn tell_of(&mut self, held: HeldDocument) {
        if !self.may_open() || !self.rights.read || self.documents.place_of(&held.id).is_some() {
            return;
        }
        if self.serving.news.len() < self.settings.news_max || self.serving.news.contains_key(&held.id) {
            self.serving.news.insert(held.id, held.root);
        } else {
            // Too many to name: the other side finds them in the catalog.
            self.serving.news.clear();
            self.show_catalog();
        }
    }

    /// The other side serves another document.
    pub(super) fn open(&mut self, now: Millis, held: HeldDocument, answers: Option<u32>) {
        let Some(number) = self.serving.number() else {
            return self.count_bad(now, format!("more than {DOCUMENTS_MAX} documents are open"));
        };
        if answers.is_some_and(|own| own >= self.serving.next) {
            return self.broken("an answer to a document that was never opened");
        }
        let is_twice = self.serving.live(&held.id).is_some();
        let theirs = Theirs { id: held.id, root: held.root, is_over: is_twice };
        self.serving.theirs.insert(number, theirs);
        if is_twice {
            return self.count_bad(now, format!("document {} is open already", held.id));
        }
        let place = self.documents.place_of(&held.id);
        let own = place.and_then(|place| Some((place, self.documents.get(place)?)));
        let own = own.map(|(place, document)| (place, document.number, document.is_shared()));
        match (own, answers) {
            (Some((place, Some(own), false)), Some(answered)) if own == answered => {
                self.serving.by_id.insert(held.id, number);
                self.pair(place, number);
                let Some(document) = self.documents.get_mut(place) else { return };
                document.talk().must_meet = true;
            }
            // What it answers was closed meanwhile: it will hear of that, and close this one. Until then it is a reason
            // to open the document here.
            (_, Some(_)) => {
                self.serving.is_over(number);
                self.offer(held.id, Some(held.root));
            }
            (_, None) => {
                self.serving.by_id.insert(held.id, number);
                self.answer_or_offer(held);
            }
        }
    }

    /// The other side serves a document which it opened of its own accord.
    fn answer_or_offer(&mut self, held: HeldDocument) {
        let Some(place) = self.documents.place_of(&held.id) else {
            return self.offer(held.id, Some(held.root));
        };
        let is_dialer = self.start.is_dialer;
        let Some(document) = self.documents.get_mut(place) else { return };
        match document.number {
            // Both have opened it at the same time: the other side will answer.
            Some(_) if is_dialer => {}
            Some(own) => {
                document.part();
                document.saying = Saying::Due;
                self.serving.to_close.push_back(own);
            }
            None if document.saying == Saying::Nothing => document.saying = Saying::Due,
            None => {}
        }
    }

    /// The other side serves a document no longer.
    pub(super) fn close_number(&mut self, now: Millis, number: u32) {
        let Some(theirs) = self.serving.theirs.remove(&number) else {
            return self.count_bad(now, format!("document {number} is not open"));
        };
        if self.serving.by_id.get(&theirs.id) == Some(&number) {
            self.serving.by_id.remove(&theirs.id);
        }
        let Some(place) = self.documents.place_of(&theirs.id) else { return };
        let may_read = self.rights.read;
        let Some(document) = self.documents.get_mut(place) else { return };
        if document.theirs != Some(number) {
            return;
        }
        let is_told = document.is_told();
        let own = document.number;
        document.part();
        document.saying = Saying::Nothing;
        // What it has not heard is a reason to open the document again; else only what comes.
        if !is_told && may_read {
            document.saying = Saying::Due;
            document.is_unheard = true;
        }
        self.serving.to_close.extend(own);
    }

    /// The other side holds more of a document than it has said before.
    pub(super) fn news(&mut self, now: Millis, held: HeldDocument) {
        let Some(place) = self.documents.place_of(&held.id) else {
            return self.offer(held.id, Some(held.root));
        };
        let Some(document) = self.documents.get_mut(place) else { return };
        // It has closed the document, and this side has not: it shall hear that it can be had here.
        if !document.is_shared() && document.root != held.root {
            document.is_unheard = true;
            self.plan(now, place);
        }
    }

    /// What a frame about a number of the other side is about.
    pub(super) fn named(&self, number: u32) -> Named {
        let Some(theirs) = self.serving.theirs.get(&number) else { return Named::Nothing };
        if theirs.is_over {
            return Named::Over(theirs.id);
        }
        let place = self.documents.place_of(&theirs.id);
        match place.filter(|place| self.documents.get(*place).is_some_and(|it| it.theirs == Some(number))) {
            Some(place) => Named::Shared(place),
            None => Named::Nothing,
        }
    }

    /// The two share a document from here on.
    fn pair(&mut self, place: usize, number: u32) {
        let Some(document) = self.documents.get_mut(place) else { return };
        document.theirs = Some(number);
        document.saying = Saying::Nothing;
        document.step = Step::Meeting;
        // Before anything of the other side is taken in.
        if document.reported.replace(Exchange::Meeting) != Some(Exchange::Meeting) {
            let notice = LinkNotice::Exchange { document: place, exchange: Exchange::Meeting };
            self.effects.push_back(LinkEffect::Notice(notice));
        }
    }

    /// Compares what both say they hold: what this side holds was looked at.
    pub(super) fn meet(&mut self, place: usize, is_in_hellos: bool) {
        let Some(document) = self.documents.get_mut(place) else { return };
        let theirs = document.theirs.and_then(|number| self.serving.theirs.get(&number));
        let Some(root) = theirs.map(|theirs| theirs.root) else { return };
        // Its vector may have come before.
        let is_meeting = document.step == Step::Meeting;
        if is_meeting && document.root == root {
            document.step = Step::Live;
            document.cursor = document.end;
            document.has_their_end = true;
            document.has_their_final_end = true;
            document.owes_vector = !is_in_hellos;
            let talk = document.talk();
            let vector = std::mem::take(&mut talk.vector);
            if !talk.takes_all() {
                talk.theirs.clone_from(&vector);
            }
            self.effects.push_back(LinkEffect::Notice(LinkNotice::Acked { document: place, vector }));
            return;
        }
        if is_meeting {
            document.step = Step::Comparing;
        }
        document.talk().must_say_vector = true;
    }

    /// Whether the other side knows that documents come and go, and has proved who it is.
    pub(super) fn may_open(&self) -> bool {
        self.greeting.peer.is_some() && self.greeting.may_open
    }

    /// Begins what is next for a document that is not shared.
    pub(super) fn serve(&mut self, now: Millis, place: usize) {
        if !self.may_open() {
            return;
        }
        let may_read = self.rights.read;
        let Some(document) = self.documents.get_mut(place) else { return };
        let is_answer = self.serving.live(&document.id).is_some();
        let due = document.offered_at.map_or(now, |at| at.plus(self.settings.news_ms));
        match document.saying {
            // Who may not read hears of what it serves itself, and of nothing else.
            Saying::Due if !is_answer && !may_read => {}
            Saying::Due if !is_answer && due > now => self.plan(now, place),
            Saying::Due => {
                document.saying = Saying::Looking;
                self.ask(place, Question::Say, Query::Survey);
            }
            Saying::Ready if document.durable >= document.end => {
                self.serving.to_open.insert(place);
            }
            Saying::Nothing if document.is_news() && may_read => {
                if document.number.is_none() {
                    document.saying = Saying::Due;
                    self.serve(now, place);
                } else if due > now {
                    self.plan(now, place);
                } else {
                    self.ask(place, Question::News, Query::Survey);
                }
            }
            Saying::Nothing | Saying::Looking | Saying::Ready => {}
        }
    }

    /// Has a document looked at when it may be offered again.
    fn plan(&mut self, now: Millis, place: usize) {
        let Some(document) = self.documents.get(place) else { return };
        let due = document.offered_at.map_or(now, |at| at.plus(self.settings.news_ms));
        self.serving.look_again(due, place);
    }

    /// Looks at documents whose time has come.
    pub(super) fn tick_serving(&mut self, now: Millis) {
        while let Some((due, place)) = self.serving.due.first().copied()
            && due <= now
        {
            self.serving.due.pop_first();
            self.documents.touch(place);
        }
    }

    /// Says what changed about what this side serves, as far as the outbox has room.
    pub(super) fn say_serving(&mut self, now: Millis) {
        if self.greeting.peer.is_none() {
            return;
        }
        if !self.greeting.may_open {
            self.serving.to_close.clear();
            return;
        }
        while self.outbox.len() < OUTBOX_FRAMES_MAX {
            if let Some(document) = self.serving.to_close.pop_front() {
                self.say(&Frame::Close { document });
            } else if let Some(place) = self.serving.to_open.pop_first() {
                self.say_open(now, place);
            } else if let Some((id, root)) = self.serving.news.pop_first() {
                self.say(&Frame::News(HeldDocument { id, root }));
            } else {
                return;
            }
        }
    }

    fn say_open(&mut self, now: Millis, place: usize) {
        let number = self.serving.next;
        let Some(document) = self.documents.get_mut(place) else { return };
        // A connection on which numbers have run out goes on with what is open.
        if document.saying != Saying::Ready || number >= DOCUMENT_NUMBERS_MAX {
            return;
        }
        self.serving.next += 1;
        document.saying = Saying::Nothing;
        document.number = Some(number);
        document.cursor = document.end;
        document.is_unheard = false;
        document.offered_at = Some(now);
        let held = HeldDocument { id: document.id, root: document.root };
        let answers = self.serving.live(&held.id);
        self.say(&Frame::Open { document: held, answers });
        if let Some(number) = answers {
            self.pair(place, number);
            self.meet(place, false);
        }
    }

    /// Says that a document has grown which the other side does not serve.
    pub(super) fn say_news(&mut self, now: Millis, place: usize) {
        let Some(document) = self.documents.get_mut(place) else { return };
        document.cursor = document.end;
        document.is_unheard = false;
        document.offered_at = Some(now);
        let held = HeldDocument { id: document.id, root: document.root };
        self.say(&Frame::News(held));
    }
}

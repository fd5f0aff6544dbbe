//! What the two keep beside the documents that one of them serves: compared when they meet, and when either side has
//! lost count. Each side looks for what it lacks itself, bucket by bucket, one page at a time, and no faster than its
//! host takes what is found.

use std::collections::{BTreeSet, VecDeque};

use bft_json_crdt::DocumentId;
use gangline_wire::limits::PAGE_DOCUMENTS_MAX;
use gangline_wire::v2::{
    BUCKETS, BucketHashes, Catalog, Frame, HeldDocument, bucket_hash, bucket_of, summary_of,
};

use super::{Link, LinkEffect};
use crate::session::Millis;

/// Most pages of one bucket that are asked for: enough for 16 million documents in all.
const PAGES_MAX: usize = 64;

/// A question about what this node keeps and does not serve.
#[derive(Clone, Debug)]
pub enum CatalogQuery {
    /// What stands for each bucket?
    Buckets {
        /// Leaves these out.
        except: BTreeSet<DocumentId>,
    },
    /// What is in a bucket?
    Page {
        /// The bucket.
        bucket: u8,
        /// From behind this id on.
        after: Option<DocumentId>,
        /// Leaves these out.
        except: BTreeSet<DocumentId>,
    },
    /// Which of these documents of one bucket does this node not keep, or keep otherwise?
    Compare {
        /// The bucket.
        bucket: u8,
        /// What the peer keeps.
        documents: Vec<HeldDocument>,
    },
}

/// What a node answers.
#[derive(Clone, Debug)]
pub enum CatalogAnswer {
    /// To [`CatalogQuery::Buckets`].
    Buckets(Box<BucketHashes>),
    /// To [`CatalogQuery::Page`].
    Page {
        /// Documents of the bucket, by their ids.
        documents: Vec<HeldDocument>,
        /// Nothing of the bucket comes behind them.
        is_last: bool,
    },
    /// To [`CatalogQuery::Compare`].
    Differing(Vec<HeldDocument>),
}

/// Answers a question, by what a node keeps of a bucket, in any order.
#[must_use]
pub fn look_up(stored: impl Fn(u8) -> Vec<HeldDocument>, query: CatalogQuery) -> CatalogAnswer {
    match query {
        CatalogQuery::Buckets { except } => {
            let mut hashes = Box::new([[0; 8]; BUCKETS]);
            for (bucket, hash) in (0..=u8::MAX).zip(hashes.iter_mut()) {
                *hash = bucket_hash(&sorted(stored(bucket), &except));
            }
            CatalogAnswer::Buckets(hashes)
        }
        CatalogQuery::Page { bucket, after, except } => {
            let mut documents = sorted(stored(bucket), &except);
            documents.retain(|it| bucket_of(&it.id) == bucket && after.is_none_or(|after| it.id > after));
            let is_last = documents.len() <= PAGE_DOCUMENTS_MAX;
            documents.truncate(PAGE_DOCUMENTS_MAX);
            CatalogAnswer::Page { documents, is_last }
        }
        CatalogQuery::Compare { bucket, mut documents } => {
            let own = sorted(stored(bucket), &BTreeSet::new());
            let keeps = |it: &HeldDocument| {
                let found = own.binary_search_by_key(&it.id, |own| own.id);
                found.ok().and_then(|at| own.get(at)).is_some_and(|own| own.root == it.root)
            };
            documents.retain(|it| !keeps(it));
            CatalogAnswer::Differing(documents)
        }
    }
}

/// By ascending id, each once, without some.
pub(crate) fn sorted(mut documents: Vec<HeldDocument>, except: &BTreeSet<DocumentId>) -> Vec<HeldDocument> {
    documents.retain(|it| !except.contains(&it.id));
    documents.sort_unstable_by_key(|it| it.id);
    documents.dedup_by_key(|it| it.id);
    documents
}

/// How far the two have compared what they keep.
#[derive(Default)]
pub(super) struct Comparing {
    /// This side's summary is to be said.
    must_summarise: bool,
    /// This side's buckets are to be said, as soon as it is not too soon.
    must_show: bool,
    shown_at: Option<Millis>,
    /// The summary that was said last.
    said: Option<[u8; 16]>,
    their_summary: Option<[u8; 16]>,
    their_buckets: Option<Box<BucketHashes>>,
    /// Buckets of the other side that differ.
    to_ask: VecDeque<u8>,
    /// The bucket that is gone through, where its next page begins, and how many there were.
    at: Option<(u8, Option<DocumentId>, usize)>,
    /// A page of it is on its way.
    is_asking: bool,
    /// What the other side asks for.
    asked: Option<(u8, Option<DocumentId>)>,
    /// Pages of the other side, to be compared.
    page: Option<(u8, Vec<HeldDocument>)>,
    question: Question,
    /// When this side said its summary last.
    summarised_at: Option<Millis>,
    /// When the other side's summary, and its buckets, were last heeded.
    heeded: [Option<Millis>; 2],
}

/// What this node is looking up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Question {
    #[default]
    None,
    Buckets,
    Page(u8),
    Compare,
}

impl Link {
    /// The two have met.
    pub(super) fn begin_catalog(&mut self, now: Millis) {
        self.catalog.must_summarise = self.start.hosts && self.may_open();
        self.catalog.summarised_at = Some(now);
    }

    /// This side has more news than it can name.
    pub(super) fn show_catalog(&mut self) {
        self.catalog.must_show = self.start.hosts && self.may_open();
    }

    /// Looks for what was missed, if that was not done just now.
    pub(super) fn compare_again(&mut self, now: Millis) -> bool {
        let is_due = self.compares_at().is_none_or(|due| now >= due);
        if is_due {
            self.catalog.summarised_at = Some(now);
            self.catalog.must_summarise = true;
        }
        is_due
    }

    /// When what was missed may be looked for.
    pub(super) fn compares_at(&self) -> Option<Millis> {
        self.catalog.summarised_at.map(|at| at.plus(self.settings.catalog_ms))
    }

    /// When the buckets may be said again.
    fn shows_at(&self) -> Option<Millis> {
        self.catalog.shown_at.map(|at| at.plus(self.settings.catalog_ms))
    }

    pub(super) fn catalog_deadline(&self) -> Option<Millis> {
        self.shows_at().filter(|_| self.catalog.must_show)
    }

    /// The other side speaks about what it keeps.
    pub(super) fn catalog(&mut self, now: Millis, catalog: Catalog) {
        match catalog {
            Catalog::Summary(_) | Catalog::Buckets(_) if !self.start.hosts => {}
            Catalog::Summary(summary) => {
                // When the two have just met, this side knows its own summary as well.
                let is_same =
                    self.catalog.heeded.first() == Some(&None) && self.catalog.said == Some(summary);
                if self.heeds(now, 0) && !is_same {
                    self.catalog.their_summary = Some(summary);
                }
            }
            Catalog::Buckets(hashes) => {
                if self.heeds(now, 1) && self.takes_offers() {
                    self.catalog.their_buckets = Some(hashes);
                }
            }
            Catalog::Ask { .. } if self.catalog.asked.is_some() => self.broken("more asks than answers"),
            Catalog::Ask { bucket, after } => self.catalog.asked = Some((bucket, after)),
            Catalog::Page { bucket, is_last, documents } => {
                let Some((at, after, pages)) = self.catalog.at.filter(|_| self.catalog.is_asking) else {
                    return self.broken("a page that nobody asked for");
                };
                let first = documents.first().map(|it| it.id);
                if at != bucket || first.is_some_and(|first| after.is_some_and(|after| first <= after)) {
                    return self.broken("another page than was asked for");
                }
                self.catalog.is_asking = false;
                let next = documents.last().map(|it| it.id).filter(|_| !is_last && pages < PAGES_MAX);
                self.catalog.at = next.map(|id| (bucket, Some(id), pages + 1));
                self.catalog.page = Some((bucket, documents));
            }
        }
    }

    /// Whether it is not too soon for the other side's word. At first and then now and then is often enough.
    fn heeds(&mut self, now: Millis, which: usize) -> bool {
        let pause = self.settings.catalog_ms / 2;
        let Some(heeded) = self.catalog.heeded.get_mut(which) else { return false };
        if heeded.is_some_and(|at| now < at.plus(pause)) {
            self.count_bad(now, "a catalog so soon after the last".to_owned());
            return false;
        }
        *heeded = Some(now);
        true
    }

    /// Looks up what is needed next, one thing at a time, and asks for the next page.
    pub(super) fn go_through_catalog(&mut self, now: Millis) {
        if !self.may_open() {
            return;
        }
        if self.catalog.question == Question::None
            && let Some((question, query)) = self.next_question(now)
        {
            self.catalog.question = question;
            self.effects.push_back(LinkEffect::Catalog(query));
        }
        let has_room = self.offers.len() + PAGE_DOCUMENTS_MAX <= self.settings.offers_max;
        let catalog = &mut self.catalog;
        if catalog.is_asking || catalog.page.is_some() || catalog.question == Question::Compare || !has_room {
            return;
        }
        if catalog.at.is_none() {
            catalog.at = catalog.to_ask.pop_front().map(|bucket| (bucket, None, 1));
        }
        if let Some((bucket, after, _)) = catalog.at {
            catalog.is_asking = true;
            self.say(&Frame::Catalog(Catalog::Ask { bucket, after }));
        }
    }

    fn next_question(&mut self, now: Millis) -> Option<(Question, CatalogQuery)> {
        let may_show = self.shows_at().is_none_or(|due| now >= due);
        let catalog = &mut self.catalog;
        if let Some((bucket, documents)) = catalog.page.take() {
            return Some((Question::Compare, CatalogQuery::Compare { bucket, documents }));
        }
        if catalog.must_summarise
            || (catalog.must_show && may_show)
            || catalog.their_summary.is_some()
            || catalog.their_buckets.is_some()
        {
            return Some((Question::Buckets, CatalogQuery::Buckets { except: self.served_there() }));
        }
        // Answers wait for the socket, as everything does that takes room.
        let (bucket, after) = catalog.asked.filter(|_| self.outbox.is_empty() && !self.is_sending)?;
        if !self.rights.read || !self.start.hosts {
            self.catalog.asked = None;
            self.say(&Frame::Catalog(Catalog::Page { bucket, is_last: true, documents: Vec::new() }));
            return None;
        }
        Some((Question::Page(bucket), CatalogQuery::Page { bucket, after, except: self.served_there() }))
    }

    /// What the other side serves and this side does not: that is talked about by itself.
    fn served_there(&self) -> BTreeSet<DocumentId> {
        let there = self.serving.open_there().map(|(id, _)| id);
        there.filter(|id| self.documents.place_of(id).is_none()).collect()
    }

    /// What this node keeps was looked up.
    pub(super) fn looked_up(&mut self, now: Millis, answer: CatalogAnswer) {
        match (std::mem::take(&mut self.catalog.question), answer) {
            (Question::Buckets, CatalogAnswer::Buckets(own)) => self.compare_buckets(now, own),
            (Question::Page(bucket), CatalogAnswer::Page { documents, is_last }) => {
                self.catalog.asked = None;
                self.say(&Frame::Catalog(Catalog::Page { bucket, is_last, documents }));
            }
            (Question::Compare, CatalogAnswer::Differing(documents)) => {
                documents.into_iter().for_each(|it| self.offer(it.id, Some(it.root)));
            }
            _ => {}
        }
    }

    fn compare_buckets(&mut self, now: Millis, own: Box<BucketHashes>) {
        let may_show = self.shows_at().is_none_or(|due| now >= due);
        let catalog = &mut self.catalog;
        if let Some(theirs) = catalog.their_buckets.take() {
            let both = theirs.iter().zip(own.iter()).zip(0..=u8::MAX);
            let differing = both.filter(|((theirs, own), _)| theirs != own).map(|(_, bucket)| bucket);
            catalog.to_ask = differing.collect();
        }
        // Whoever may not read is shown nothing.
        let shown = if self.rights.read { own } else { Box::new([bucket_hash([]); BUCKETS]) };
        let summary = summary_of(&shown);
        let catalog = &mut self.catalog;
        catalog.must_show |= catalog.their_summary.take().is_some_and(|theirs| theirs != summary);
        let must_summarise = std::mem::take(&mut catalog.must_summarise);
        let must_show = may_show && std::mem::take(&mut catalog.must_show);
        if must_summarise {
            self.catalog.said = Some(summary);
            self.say(&Frame::Catalog(Catalog::Summary(summary)));
        }
        if must_show {
            self.catalog.shown_at = Some(now);
            self.say(&Frame::Catalog(Catalog::Buckets(shown)));
        }
    }
}

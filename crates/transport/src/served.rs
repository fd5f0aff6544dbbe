//! The documents that a node serves at this moment, and what sessions are told about them.
//!
//! Each session has one mailbox for all documents: what happens to a document many times before the session looks is
//! told once. So an idle document costs a session nothing but its place in the list.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bft_json_crdt::{Change, Digest, DocumentId};
use gangline_doc::{ApplyError, LogSeq, OriginId, Subscription, SyncSource};
use gangline_wire::v2::{HeldDocument, root};
use tokio::sync::Notify;

use crate::hub::Verdict;
use crate::session::{Applied, Evicted};

/// Most evicted changes that are told one by one. With more, whoever has changes waiting begins anew.
const EVICTED_MAX: usize = 4_096;

/// A document that is served, as all sessions share it.
pub(crate) struct Document {
    /// What it goes by in this node. No other document ever has the same.
    pub(crate) place: usize,
    pub(crate) id: DocumentId,
    pub(crate) source: Arc<dyn SyncSource>,
    /// Held while a batch is being applied.
    is_closed: RwLock<bool>,
    mailboxes: Arc<Mailboxes>,
    _subscription: Subscription,
}

impl Document {
    fn new(place: usize, source: Arc<dyn SyncSource>, mailboxes: &Arc<Mailboxes>) -> Self {
        let subscription = source.subscribe(Box::new({
            let mailboxes = Arc::clone(mailboxes);
            move |durable| mailboxes.tell(|news| news.grew(place, durable))
        }));
        let (id, mailboxes) = (source.document(), Arc::clone(mailboxes));
        Self { place, id, source, is_closed: RwLock::new(false), mailboxes, _subscription: subscription }
    }

    /// Applies a batch, and tells all sessions of what the causal queue evicted for it.
    pub(crate) fn apply(&self, now_ms: u64, origin: OriginId, changes: Vec<Change>) -> Verdict {
        let is_closed = self.is_closed.read().unwrap_or_else(PoisonError::into_inner);
        if *is_closed {
            return Verdict::Gone;
        }
        let (batch, ticket) = match self.source.apply(now_ms, origin, changes.clone()) {
            Ok(both) => both,
            Err(ApplyError::Busy { .. }) => return Verdict::Busy(changes),
            Err(error) => return Verdict::Failed(error.to_string()),
        };
        if !batch.evicted.is_empty() {
            self.mailboxes.tell(|news| news.lost(&batch.evicted));
        }
        Verdict::Taken(Applied { states: batch.states, evicted: batch.evicted }, ticket)
    }
}

/// The documents that a node serves.
#[derive(Default)]
pub(crate) struct Served {
    inner: RwLock<Inner>,
    mailboxes: Arc<Mailboxes>,
}

#[derive(Default)]
struct Inner {
    by_place: BTreeMap<usize, Arc<Document>>,
    by_id: BTreeMap<DocumentId, usize>,
    next: usize,
}

/// Why a document cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenDocumentError {
    /// It is served already: a node has one replica of a document.
    #[error("document {0} is open already")]
    AlreadyOpen(DocumentId),
    /// Close one first, or try again later.
    #[error("{max} documents are open, which is the limit")]
    TooMany {
        /// The limit.
        max: usize,
    },
}

impl Served {
    pub(crate) fn open(&self, source: Arc<dyn SyncSource>, max: usize) -> Result<usize, OpenDocumentError> {
        let id = source.document();
        let mut inner = self.write();
        if inner.by_id.contains_key(&id) {
            return Err(OpenDocumentError::AlreadyOpen(id));
        }
        if inner.by_place.len() >= max {
            return Err(OpenDocumentError::TooMany { max });
        }
        let place = inner.next;
        inner.next += 1;
        inner.by_id.insert(id, place);
        inner.by_place.insert(place, Arc::new(Document::new(place, source, &self.mailboxes)));
        // Under the lock: whoever begins to listen has either seen the document, or hears of it.
        self.mailboxes.tell(|news| news.opened(place));
        Ok(place)
    }

    /// Returns the document. Waits for a batch that is being applied; then `keep` is told what it held at last, before
    /// anybody hears that it is closed, and `gone` that it is not served any more.
    pub(crate) fn close(
        &self,
        id: &DocumentId,
        many: usize,
        keep: impl FnOnce(HeldDocument),
        gone: impl FnOnce(),
    ) -> Option<Arc<Document>> {
        let document = self.document(self.place_of(id)?)?;
        *document.is_closed.write().unwrap_or_else(PoisonError::into_inner) = true;
        let held = HeldDocument { id: *id, root: root(&document.source.survey().0) };
        keep(held);
        let mut inner = self.write();
        // Of two that close it at once, one finds it here.
        let document = inner.by_place.remove(&document.place)?;
        inner.by_id.remove(id);
        gone();
        let closed = Closed { held, durable: document.source.durable() };
        self.mailboxes.tell(|news| news.closed(document.place, closed, many));
        drop(inner);
        Some(document)
    }

    /// A document by its place.
    pub(crate) fn document(&self, place: usize) -> Option<Arc<Document>> {
        self.read().by_place.get(&place).cloned()
    }

    pub(crate) fn place_of(&self, id: &DocumentId) -> Option<usize> {
        self.read().by_id.get(id).copied()
    }

    /// Tells sessions that a document which is not served has grown.
    pub(crate) fn tell_stored(&self, held: HeldDocument, many: usize) {
        self.mailboxes.tell(|news| news.stored(held, many));
    }

    /// Begins to listen. Returns the documents as they are; what happens from here on is in the mailbox.
    pub(crate) fn listen(&self) -> (Listener, Vec<Arc<Document>>) {
        let inner = self.read();
        let listener = self.mailboxes.add();
        (listener, inner.by_place.values().cloned().collect())
    }

    /// Nothing that holds the lock can fail half-way.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mailboxes of all sessions.
#[derive(Default)]
struct Mailboxes {
    by_session: Mutex<BTreeMap<u64, Arc<Mailbox>>>,
    next: AtomicU64,
}

/// What a session has not heard yet.
#[derive(Default)]
struct Mailbox {
    news: Mutex<News>,
    wake: Notify,
}

impl Mailboxes {
    fn add(self: &Arc<Self>) -> Listener {
        let (id, mailbox) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::<Mailbox>::default());
        self.lock().insert(id, Arc::clone(&mailbox));
        Listener { id, mailbox, mailboxes: Arc::clone(self) }
    }

    fn tell(&self, put: impl Fn(&mut News)) {
        for mailbox in self.lock().values() {
            put(&mut mailbox.lock());
            mailbox.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Mailbox>>> {
        self.by_session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's ear. Dropping it ends the listening.
pub(crate) struct Listener {
    id: u64,
    mailbox: Arc<Mailbox>,
    mailboxes: Arc<Mailboxes>,
}

impl Listener {
    /// Waits until there is something to hear. Nothing is lost if the wait is given up.
    pub(crate) async fn news(&self) -> News {
        self.mailbox.wake.notified().await;
        std::mem::take(&mut *self.mailbox.lock())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.mailboxes.lock().remove(&self.id);
    }
}

/// What has happened to documents since a session looked last.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Goes before what was opened: the same document may have been closed and opened again.
    pub(crate) closed: BTreeMap<usize, Closed>,
    pub(crate) opened: Vec<usize>,
    pub(crate) durable: BTreeMap<usize, LogSeq>,
    /// Documents that are not served, and that were told to have grown.
    pub(crate) stored: BTreeMap<DocumentId, Digest>,
    /// As before, and they were too many to be kept.
    pub(crate) has_many: bool,
    pub(crate) evicted: Option<Evicted>,
}

/// A document that was closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closed {
    pub(crate) held: HeldDocument,
    pub(crate) durable: LogSeq,
}

impl News {
    fn grew(&mut self, place: usize, durable: LogSeq) {
        let known = self.durable.entry(place).or_insert(durable);
        *known = durable.max(*known);
    }

    fn opened(&mut self, place: usize) {
        self.opened.push(place);
    }

    fn closed(&mut self, place: usize, closed: Closed, many: usize) {
        self.durable.remove(&place);
        if let Some(at) = self.opened.iter().position(|opened| *opened == place) {
            // The session has never heard of it; what grew while it was open is news all the same.
            self.opened.remove(at);
            self.stored(closed.held, many);
        } else {
            self.closed.insert(place, closed);
        }
    }

    fn stored(&mut self, held: HeldDocument, many: usize) {
        if self.has_many || self.stored.len() >= many && !self.stored.contains_key(&held.id) {
            self.stored.clear();
            self.has_many = true;
        } else {
            self.stored.insert(held.id, held.root);
        }
    }

    fn lost(&mut self, digests: &[Digest]) {
        self.evicted = Some(match self.evicted.take() {
            None => Evicted::Changes(digests.into()),
            Some(Evicted::Changes(known)) if known.len() + digests.len() <= EVICTED_MAX => {
                Evicted::Changes(known.iter().chain(digests).copied().collect())
            }
            Some(_) => Evicted::Unknown,
        });
    }
}

//! A document that is open, and what it shows.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use bft_json_crdt::json_crdt::JsonCrdt;
use bft_json_crdt::{AuthorId, Digest, DocumentId};
use gangline_doc::{LogSeq, Replica, Subscription, Ticket};
use gangline_reconcile::Generation;
use tokio::sync::watch;

use super::present::Present;
use super::source::SourceRuntime;
use super::views::{Shown, Views};
use crate::api::blocking;
use crate::clock;
use crate::links::Links;

/// Most batches of which it is remembered who asked for them.
const ACTORS_MAX: usize = 256;
/// How long nodes that are being linked are let say what they have done, before rows are taken for news, in milliseconds.
const MEETING_MS: u64 = 1_000;
/// How long a node that was linked is let come back, in milliseconds: it dials again after one second, and then after two.
const RETURN_MS: u64 = 2_000;
/// How long what another node has done is let come, where the rows may have it already, in milliseconds.
const OTHERS_MS: u64 = 150;

/// The links to other nodes, from when there are any.
#[derive(Clone, Default)]
pub(super) struct LinksHandle(Arc<RwLock<Weak<Links>>>);

impl LinksHandle {
    pub(super) fn set(&self, links: &Arc<Links>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(links);
    }

    pub(super) fn get(&self) -> Option<Arc<Links>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).upgrade()
    }
}

/// An open document. There is never a second one of it.
pub(crate) struct LiveDocument {
    pub(crate) id: DocumentId,
    pub(crate) generation: Generation,
    pub(crate) replica: Replica<JsonCrdt>,
    /// Whose rows it follows, where this node can reconcile them, from when it can.
    source: OnceLock<Arc<SourceRuntime>>,
    /// Reconciling and saving take turns.
    pub(crate) turn: tokio::sync::Mutex<()>,
    pub(crate) present: Present,
    /// Wakes watchers; the truth is `replica.durable()`.
    pub(crate) durable: watch::Receiver<LogSeq>,
    /// Why it does not follow at present.
    trouble: watch::Sender<Option<Trouble>>,
    /// Rows that it cannot have, as they were when it last followed.
    skipped: watch::Sender<Arc<[String]>>,
    pub(crate) views: Arc<Views>,
    actors: Mutex<VecDeque<(Digest, String)>>,
    /// It has followed its rows when it was opened.
    has_followed: AtomicBool,
    /// Other nodes sign in the source's name, or save.
    has_others: AtomicBool,
    /// How much of it there was when it was opened.
    pub(super) opened_at: LogSeq,
    links: LinksHandle,
    _subscription: Subscription,
}

/// Why a document does not follow its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// What is wrong.
    pub(crate) reason: String,
    /// When it is tried again, in milliseconds from when this was said; none where it waits for a person.
    pub(crate) retry_in: Option<u64>,
}

impl LiveDocument {
    /// A document that has just been opened.
    pub(super) fn new(
        id: DocumentId,
        generation: Generation,
        replica: Replica<JsonCrdt>,
        links: LinksHandle,
    ) -> Self {
        let (wake, durable) = watch::channel(LogSeq::START);
        let subscription = replica.subscribe(Box::new(move |seq| {
            let _ = wake.send_replace(seq);
        }));
        Self {
            opened_at: replica.durable(),
            id,
            generation,
            replica,
            source: OnceLock::new(),
            turn: tokio::sync::Mutex::default(),
            present: Present::new(),
            durable,
            trouble: watch::Sender::new(None),
            skipped: watch::Sender::new(Arc::new([])),
            views: Arc::default(),
            actors: Mutex::default(),
            has_followed: AtomicBool::new(false),
            has_others: AtomicBool::new(false),
            links,
            _subscription: subscription,
        }
    }

    /// Says whose rows it follows. Returns whether that is news; there is one source that makes documents of this id.
    pub(super) fn adopt(&self, source: &Arc<SourceRuntime>) -> bool {
        self.source.set(Arc::clone(source)).is_ok()
    }

    /// Whose rows it follows, where this node can reconcile them.
    pub(crate) fn source(&self) -> Option<&Arc<SourceRuntime>> {
        self.source.get()
    }

    /// Takes changes of these authors from now on. May block.
    pub(super) fn set_trust(&self, trust: Option<BTreeSet<AuthorId>>) {
        if let Err(error) = self.replica.set_trust(clock::now_ms(), trust) {
            tracing::warn!(event = "trust_not_changed", document = %self.id, "{error}");
        }
    }

    /// What it shows; wait for the ticket before telling anybody. O(document) when it has changed. May block.
    pub(crate) fn shown(&self) -> (Arc<Shown>, Ticket) {
        self.replica.read(|base| self.views.shown(base))
    }

    /// Says why it does not follow, or that it does.
    pub(crate) fn set_trouble(&self, trouble: Option<Trouble>) {
        self.trouble.send_if_modified(|known| {
            let is_new = *known != trouble;
            *known = trouble;
            is_new
        });
    }

    /// Notes who asked for a batch, by its last change: for the notices of this node.
    pub(crate) fn note_actor(&self, change: Digest, actor: &str) {
        let mut actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        if actors.len() >= ACTORS_MAX {
            actors.pop_front();
        }
        actors.push_back((change, actor.to_owned()));
    }

    /// Who asked for a batch; none where a feed did.
    pub(crate) fn actor_of(&self, change: &Digest) -> Option<String> {
        let actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        actors.iter().rev().find(|(known, _)| known == change).map(|(_, actor)| actor.clone())
    }

    /// Notes that it has followed its rows when it was opened.
    pub(super) fn note_followed(&self) {
        self.has_followed.store(true, Ordering::Relaxed);
    }

    /// Whether it has followed its rows when it was opened.
    pub(super) fn has_followed(&self) -> bool {
        self.has_followed.load(Ordering::Relaxed)
    }

    /// Waits until what other nodes had of it when they were linked is here, for a second at most.
    pub(super) async fn until_met(&self) {
        if let Some(links) = self.links.get() {
            links.until_met(self.id, MEETING_MS).await;
        }
    }

    /// Whether what is here may lack something of what another node had of it when they were linked.
    pub(super) fn is_meeting(&self) -> bool {
        self.links.get().is_some_and(|links| links.is_meeting(self.id, MEETING_MS))
    }

    /// Waits until the nodes with which it is exchanged have on disk what this node has signed in it, but not long.
    pub(super) async fn until_told(&self) {
        let Some(links) = self.links.get() else { return };
        let replica = self.replica.clone();
        let tip = blocking(move || replica.read(|base| base.tip_of(&base.author())).0).await;
        if let Ok(Some(tip)) = tip {
            links.held_by_all(self.id, tip, OTHERS_MS).await;
        }
    }

    /// Waits until nothing comes into it any more, but not long.
    pub(super) async fn until_quiet(&self) {
        let mut durable = self.durable.clone();
        let until = clock::now_ms() + 3 * OTHERS_MS;
        while clock::now_ms() < until {
            durable.mark_unchanged();
            tokio::select! {
                _ = durable.changed() => {}
                () = clock::pause(Duration::from_millis(OTHERS_MS)) => return,
            }
        }
    }

    /// Notes that other nodes follow and save the same rows.
    pub(super) fn note_others(&self) {
        self.has_others.store(true, Ordering::Relaxed);
    }

    /// Whether other nodes follow and save the same rows, as far as this one has heard.
    pub(super) fn has_others(&self) -> bool {
        self.has_others.load(Ordering::Relaxed)
    }

    /// Whether there are such, and one of them may be heard now.
    pub(super) fn hears_others(&self) -> bool {
        self.has_others() && self.links.get().is_some_and(|links| links.is_shared(self.id))
    }

    /// How long one of them may be heard yet of what it has done, where the wait began so long ago, in milliseconds.
    pub(super) fn others_left_ms(&self, waited_ms: u64) -> u64 {
        if self.hears_others() {
            return OTHERS_MS.saturating_sub(waited_ms);
        }
        let links = self.links.get().filter(|_| self.has_others());
        links.and_then(|links| links.returns_within(RETURN_MS)).unwrap_or(0)
    }

    /// Why it does not follow.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.trouble.borrow().clone()
    }

    /// Says which rows it cannot have. Returns whether that is news.
    pub(super) fn set_skipped(&self, skipped: Vec<String>) -> bool {
        self.skipped.send_if_modified(|known| {
            let is_new = **known != *skipped;
            if is_new {
                *known = skipped.into();
            }
            is_new
        })
    }

    /// Rows that it cannot have: table, key, column and what is wrong, without values.
    pub(crate) fn skipped(&self) -> Arc<[String]> {
        self.skipped.borrow().clone()
    }

    /// Tells when other rows are skipped.
    pub(crate) fn skips(&self) -> watch::Receiver<Arc<[String]>> {
        self.skipped.subscribe()
    }

    /// Tells when it begins or ceases to follow.
    pub(crate) fn troubles(&self) -> watch::Receiver<Option<Trouble>> {
        self.trouble.subscribe()
    }
}

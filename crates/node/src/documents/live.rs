//! A document that is open, and what it shows.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bft_json_crdt::json_crdt::JsonCrdt;
use bft_json_crdt::{AuthorId, BaseCrdt, Digest, DocumentId, JsonValue};
use gangline_doc::{LogSeq, Replica, Subscription, Ticket};
use gangline_reconcile::{Conflict, Generation, Layout, Reading, Unsaved, conflicts};
use tokio::sync::watch;

use super::present::Present;
use super::source::SourceRuntime;
use crate::clock;

/// Most batches of which it is remembered who asked for them.
const ACTORS_MAX: usize = 256;

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
    shown: Mutex<Option<Arc<Shown>>>,
    actors: Mutex<VecDeque<(Digest, String)>>,
    /// What the source had signed last when the rows were followed here last.
    equal_at: Mutex<Vec<Digest>>,
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

/// What a document shows at some heads.
pub(crate) struct Shown {
    pub(crate) heads: Vec<Digest>,
    /// Its name; none before its first change has come.
    pub(crate) name: Option<String>,
    pub(crate) author: Option<AuthorId>,
    pub(crate) layout: Layout,
    /// What it is now.
    pub(crate) content: JsonValue,
    /// What it was when it last equalled the rows.
    pub(crate) base: JsonValue,
    /// Where that was.
    pub(crate) tracked: Vec<Digest>,
    pub(crate) version: Option<i64>,
    pub(crate) unsaved: Vec<Unsaved>,
    pub(crate) conflicts: Vec<Conflict>,
}

impl LiveDocument {
    /// A document that has just been opened.
    pub(crate) fn new(id: DocumentId, generation: Generation, replica: Replica<JsonCrdt>) -> Self {
        let (wake, durable) = watch::channel(LogSeq::START);
        let subscription = replica.subscribe(Box::new(move |seq| {
            let _ = wake.send_replace(seq);
        }));
        Self {
            id,
            generation,
            replica,
            source: OnceLock::new(),
            turn: tokio::sync::Mutex::default(),
            present: Present::new(),
            durable,
            trouble: watch::Sender::new(None),
            shown: Mutex::default(),
            actors: Mutex::default(),
            equal_at: Mutex::default(),
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
        self.replica.read(|base| {
            let mut kept = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(kept) = kept.as_ref().filter(|kept| kept.heads == base.heads()) {
                return Arc::clone(kept);
            }
            let shown = Arc::new(Shown::of(base));
            *kept = Some(Arc::clone(&shown));
            shown
        })
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

    /// Notes where it equals the rows that this node has read.
    pub(super) fn set_equal_at(&self, tracked: Vec<Digest>) {
        *self.equal_at.lock().unwrap_or_else(PoisonError::into_inner) = tracked;
    }

    /// Whether it equals there the rows that this node has read.
    pub(super) fn equals_rows_at(&self, tracked: &[Digest]) -> bool {
        *self.equal_at.lock().unwrap_or_else(PoisonError::into_inner) == tracked
    }

    /// Why it does not follow.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.trouble.borrow().clone()
    }

    /// Tells when it begins or ceases to follow.
    pub(crate) fn troubles(&self) -> watch::Receiver<Option<Trouble>> {
        self.trouble.subscribe()
    }
}

impl Shown {
    fn of(base: &BaseCrdt<JsonCrdt>) -> Self {
        let reading = Reading::of(base);
        Self {
            heads: base.heads(),
            name: base.source_name(),
            author: base.source(),
            unsaved: reading.unsaved(),
            conflicts: conflicts(base),
            version: reading.version(),
            layout: reading.layout,
            content: reading.content,
            base: reading.base,
            tracked: reading.tracked,
        }
    }

    /// Whether the root row is gone or counts as deleted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.layout.is_deleted(&self.base)
    }
}

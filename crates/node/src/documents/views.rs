//! What an open document shows, and what is kept at hand so that it is not read as a whole again and again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bft_json_crdt::json_crdt::JsonCrdt;
use bft_json_crdt::{AuthorId, BaseCrdt, Change, Digest, JsonValue};
use gangline_reconcile::{Conflict, Layout, Notice, Tracker, Unsaved};

type Told = (Digest, Vec<Digest>, Option<Arc<Notice>>);

/// The views of one document. To be asked while its replica is read or written: never the other way round.
#[derive(Default)]
pub(crate) struct Views {
    shown: Mutex<Option<Arc<Shown>>>,
    tracker: Mutex<Tracker>,
    /// What was told last, of which change, and beside which heads.
    told: Mutex<Option<Told>>,
    /// What the source had signed last when the rows were followed here last.
    equal_at: Mutex<Vec<Digest>>,
}

/// What a document shows at some heads.
pub(crate) struct Shown {
    pub(crate) heads: Vec<Digest>,
    /// Its name; none before its first change has come.
    pub(crate) name: Option<String>,
    pub(crate) author: Option<AuthorId>,
    pub(crate) layout: Layout,
    /// What it is now.
    pub(crate) content: Arc<JsonValue>,
    /// What it was when it last equalled the rows.
    pub(crate) base: Arc<JsonValue>,
    /// Where that was.
    pub(crate) tracked: Vec<Digest>,
    pub(crate) version: Option<i64>,
    pub(crate) unsaved: Vec<Unsaved>,
    pub(crate) conflicts: Arc<[Conflict]>,
}

impl Views {
    /// What the document shows. O(document) when it has changed.
    pub(super) fn shown(&self, base: &BaseCrdt<JsonCrdt>) -> Arc<Shown> {
        let heads = base.heads();
        let mut kept = lock(&self.shown);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.heads == heads) {
            return Arc::clone(kept);
        }
        // It holds what is to be changed now.
        *kept = None;
        let shown = Arc::new(Shown::of(base, heads, &mut lock(&self.tracker)));
        *kept = Some(Arc::clone(&shown));
        shown
    }

    /// Uses what is known of the document's past.
    pub(crate) fn track<R>(&self, base: &BaseCrdt<JsonCrdt>, work: impl FnOnce(&mut Tracker) -> R) -> R {
        let heads = base.heads();
        let _ = lock(&self.shown).take_if(|shown| shown.heads != heads);
        work(&mut lock(&self.tracker))
    }

    /// Notes where the document equals the rows that this node has read: before anybody can hear of it.
    pub(super) fn set_equal_at(&self, tracked: Vec<Digest>) {
        *lock(&self.equal_at) = tracked;
    }

    /// Where the document equals the rows that this node has read.
    pub(super) fn equal_at(&self) -> Vec<Digest> {
        lock(&self.equal_at).clone()
    }

    /// What is to be told of a change, by all who watch.
    pub(crate) fn notice(&self, base: &BaseCrdt<JsonCrdt>, change: &Change) -> Option<Arc<Notice>> {
        if Some(change.author()) != base.source() {
            return None;
        }
        let (digest, heads) = (change.digest(), base.heads());
        let mut told = lock(&self.told);
        if let Some((.., notice)) = told.as_ref().filter(|(of, at, _)| *of == digest && *at == heads) {
            return notice.clone();
        }
        let notice = self.track(base, |tracker| tracker.notice(base, change)).map(Arc::new);
        *told = Some((digest, heads, notice.clone()));
        notice
    }
}

impl Shown {
    fn of(base: &BaseCrdt<JsonCrdt>, heads: Vec<Digest>, tracker: &mut Tracker) -> Self {
        let reading = tracker.reading(base);
        Self {
            heads,
            name: base.source_name(),
            author: base.source(),
            layout: reading.layout.clone(),
            content: Arc::clone(&reading.content),
            base: Arc::clone(&reading.base),
            tracked: reading.tracked.clone(),
            version: reading.version(),
            unsaved: reading.unsaved(),
            conflicts: tracker.conflicts(base),
        }
    }

    /// Whether the root row is gone or counts as deleted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.layout.is_deleted(&self.base)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

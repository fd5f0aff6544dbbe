//! One source at this node: its tables, its key, its rows, and how its documents follow them and are saved.

mod hold;
mod listed;
mod notes;
mod save;
mod skipped;
mod unborn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bft_json_crdt::json_crdt::JsonCrdt;
use bft_json_crdt::{AuthorId, BaseCrdt, DocumentId, Keypair};
use gangline_doc::{Authored, EditFailed};
use gangline_reconcile::{
    Conflict, FollowInput, FollowOptions, FollowSettings, Follower, Mode, Plan, ReconcileError, Reconciled,
    RowSource, Rows, Shape, Source, SourceError,
};
use tokio::sync::Notify;

pub(crate) use self::hold::Hold;
pub(crate) use self::notes::{Audit, digest_text};
pub(crate) use self::save::SaveFailed;
use self::skipped::Skipped;
use super::feed::FeedState;
use super::live::LiveDocument;
use super::names::Named;
use super::store::DocumentStore;
use crate::api::{blocking, durable};
use crate::clock;
use crate::identity::show_key;
use crate::logs::chain;

/// How often it is looked whether other nodes are there, in milliseconds.
const LOOK_MS: u64 = 100;

/// A source that this node has the mapping of.
pub(crate) struct SourceRuntime {
    pub(crate) name: String,
    pub(crate) shape: Arc<Shape>,
    pub(crate) rows: Arc<dyn RowSource>,
    /// Where this node can reconcile.
    pub(crate) keypair: Keypair,
    pub(crate) store: Arc<dyn DocumentStore>,
    /// Decides when which root is run.
    pub(crate) follower: Mutex<Follower>,
    /// Wakes whoever runs what the follower says.
    pub(crate) wake: Notify,
    pub(crate) counters: Counters,
    /// What the feed remembers.
    pub(super) feed: Mutex<FeedState>,
    /// The feed does not say everything: all rows are to be looked at.
    pub(super) must_scan: AtomicBool,
    /// An outbox names what changed, as far as the feed has looked.
    pub(super) has_outbox: AtomicBool,
    /// How often the database is asked whether anybody has written, in milliseconds.
    pub(super) poll_ms: u64,
    /// How often all rows are compared, in milliseconds.
    pub(super) sweep_ms: u64,
    /// What there are rows of, for those who list it.
    listed: listed::Listed,
    /// Why the feed does not work.
    failure: Mutex<Option<String>>,
    /// Why a run failed last, and of which document.
    run_failure: Mutex<String>,
    /// Roots whose documents wait for a person, as far as was found out since the node was started.
    held: Mutex<BTreeMap<String, Hold>>,
    /// Other keys by which documents of this source's names were signed.
    rivals: Mutex<BTreeSet<AuthorId>>,
    /// Keys of sources that this node has or had, with their names.
    own_keys: Arc<BTreeMap<AuthorId, String>>,
    /// Rows that no document can have.
    skipped: Mutex<Skipped>,
}

/// What has happened since the node was started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Batches that were signed.
    pub(crate) batches: AtomicU64,
    /// Their ops.
    pub(crate) ops: AtomicU64,
    /// Edits of people that a batch met.
    pub(crate) conflicts: AtomicU64,
    /// Roots that a sweep found and no feed had named.
    pub(crate) missed: AtomicU64,
    /// Runs that failed.
    pub(crate) failures: AtomicU64,
    /// Saves that were committed.
    pub(crate) saves: AtomicU64,
    /// Batches of rows that had changed while their version stood still.
    pub(crate) stood_still: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// A document has followed its rows.
#[derive(Debug)]
pub(crate) struct Followed {
    /// The version before.
    pub(crate) from: Option<i64>,
    /// The version of the rows.
    pub(crate) to: Option<i64>,
    /// What was signed.
    pub(crate) reconciled: Reconciled,
    /// What is open now.
    pub(crate) conflicts: Arc<[Conflict]>,
    /// Rows that a document cannot have.
    pub(crate) bad: Vec<gangline_reconcile::BadRow>,
    /// Whether rows had changed while their version stood still.
    pub(crate) version_stood_still: bool,
}

/// Why a document does not follow its rows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowFailed {
    /// The database does not answer.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The rows cannot be followed.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// The rows come from a backup.
    #[error(
        "the database was put back from a backup, and these rows are not those that the document has followed"
    )]
    Restored,
    /// The node's own store does not take it.
    #[error("{0}")]
    Store(String),
}

impl FollowFailed {
    /// Why a batch was not taken into its document.
    fn of(failed: EditFailed<ReconcileError>) -> Self {
        match failed {
            EditFailed::Refused(error) => Self::Reconcile(error),
            EditFailed::Unsignable(_) | EditFailed::Failed { .. } | EditFailed::Busy { .. } => {
                Self::Store(chain(&failed))
            }
        }
    }

    /// Whether trying again may mend it.
    pub(crate) fn may_pass(&self) -> bool {
        self.hold().is_none()
    }

    /// All of it in one line.
    pub(crate) fn reason(&self) -> String {
        chain(self)
    }
}

impl From<crate::api::Problem> for FollowFailed {
    fn from(problem: crate::api::Problem) -> Self {
        Self::Store(problem.detail().to_owned())
    }
}

impl SourceRuntime {
    /// A source that has not begun to follow.
    pub(crate) fn new(
        shape: Shape,
        rows: Arc<dyn RowSource>,
        keypair: Keypair,
        store: Arc<dyn DocumentStore>,
        (poll_ms, sweep_ms): (u64, u64),
    ) -> Self {
        Self {
            name: shape.mapping.name.clone(),
            shape: Arc::new(shape),
            rows,
            keypair,
            store,
            follower: Mutex::new(Follower::new(FollowSettings::default())),
            wake: Notify::new(),
            counters: Counters::default(),
            feed: Mutex::default(),
            must_scan: AtomicBool::new(false),
            has_outbox: AtomicBool::new(false),
            poll_ms,
            sweep_ms,
            listed: listed::Listed::default(),
            failure: Mutex::default(),
            run_failure: Mutex::default(),
            held: Mutex::default(),
            rivals: Mutex::default(),
            own_keys: Arc::default(),
            skipped: Mutex::default(),
        }
    }

    /// As it is, with the keys of all sources that this node has or had, and their names.
    pub(crate) fn with_own_keys(self, own_keys: Arc<BTreeMap<AuthorId, String>>) -> Self {
        Self { own_keys, ..self }
    }

    /// Whether nothing is run.
    pub(crate) fn is_paused(&self) -> bool {
        self.follower.lock().unwrap_or_else(PoisonError::into_inner).is_paused()
    }

    /// Why the feed does not work.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why a run failed last, and of which document.
    pub(crate) fn run_failure(&self) -> String {
        self.run_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says why a run failed.
    pub(super) fn set_run_failure(&self, reason: String) {
        *self.run_failure.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Says why the feed does not work, or that it does.
    pub(super) fn set_failure(&self, reason: Option<String>) {
        let mut known = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != reason {
            match &reason {
                Some(reason) => tracing::warn!(event = "feed_failed", source = self.name, "{reason}"),
                None => {
                    tracing::info!(event = "feed_works", source = self.name, "the database answers again")
                }
            }
        }
        *known = reason;
    }

    /// How long the oldest word of the feed has waited, how many roots wait, how many of them since a run failed, and
    /// whether nothing is run.
    pub(crate) fn follower_state(&self, now_ms: u64) -> (u64, usize, usize, bool) {
        let follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        (follower.lag_ms(now_ms), follower.pending(), follower.failing(), follower.is_paused())
    }

    /// How changes of the database are found.
    pub(crate) fn feed_name(&self) -> &'static str {
        if self.has_outbox.load(Ordering::Relaxed) { "outbox" } else { "scan" }
    }

    /// Whose signature its batches carry.
    pub(crate) fn author(&self) -> AuthorId {
        self.keypair.author()
    }

    /// The document of a root.
    pub(crate) fn document_of(&self, root: &str) -> (String, DocumentId) {
        let name = self.shape.mapping.root.document.of(root);
        let id = DocumentId::of_source(&self.author(), &name);
        (name, id)
    }

    /// The root that a document follows, by its name.
    pub(crate) fn root_of(&self, document: &str) -> Option<String> {
        self.shape.mapping.root.document.root_of(document).map(str::to_owned)
    }

    /// The root that a document follows, if it is this source's own.
    pub(crate) fn own_root(&self, named: &Named) -> Option<String> {
        let root = self.root_of(named.name.as_ref()?)?;
        (self.document_of(&root).1 == named.id).then_some(root)
    }

    /// Looks whether a document has a name of this source and was signed by another key: then two nodes have made one each,
    /// and two documents follow each row.
    pub(crate) fn meet(&self, named: &Named) {
        let Some(author) = named.author.filter(|author| *author != self.author()) else { return };
        if named.name.as_ref().and_then(|name| self.root_of(name)).is_none() {
            return;
        }
        let is_new = self.rivals.lock().unwrap_or_else(PoisonError::into_inner).insert(author);
        if is_new {
            tracing::error!(event = "two_source_keys", source = self.name, "{}", self.rivalry(&author));
        }
    }

    /// What is wrong with a key that signs documents of this source's names, and what to do.
    pub(crate) fn rivalry(&self, author: &AuthorId) -> String {
        if let Some(name) = self.own_keys.get(author) {
            let key = show_key(author);
            return format!(
                "this node has followed these rows as {name}, {key}, so that there are two documents of each row: call the \
                 source {name} again; or stop the node and copy sources/{name}.key over sources/{0}.key",
                self.name,
            );
        }
        format!(
            "another node has made a key of its own for {0}, {1}, so that there are two documents of each row: take the key \
             of one node to the other, with `gangline reconcile key export` there and `gangline reconcile key import` here, \
             and say `key = \"import\"` here",
            self.name,
            show_key(author)
        )
    }

    /// Other keys by which documents of this source's names were signed.
    pub(crate) fn rivals(&self) -> Vec<AuthorId> {
        self.rivals.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// Names a root that may have changed.
    pub(crate) fn tell(&self, input: FollowInput) {
        let now = clock::now_ms();
        self.follower.lock().unwrap_or_else(PoisonError::into_inner).handle(now, input);
        self.wake.notify_one();
    }

    /// Reads a root's rows.
    pub(crate) async fn read(self: &Arc<Self>, root: &str) -> Result<Rows, FollowFailed> {
        let (this, root) = (Arc::clone(self), root.to_owned());
        Ok(blocking(move || this.rows.read(&this.shape, &root)).await??)
    }

    /// Lets a document follow its rows, as they are now.
    pub(crate) async fn follow(
        self: &Arc<Self>,
        document: &LiveDocument,
        root: &str,
        actor: Option<&str>,
        accepts_older: bool,
    ) -> Result<Followed, FollowFailed> {
        let _turn = document.turn.lock().await;
        document.until_met().await;
        self.recover(document, root).await?;
        // Before the rows: those of a later backup are not among what is accepted.
        let accepted = if accepts_older { Some(self.era_now().await?) } else { None };
        let rows = self.read_beside_others(document, root).await?;
        self.take_over(document, root, rows, actor, accepted).await.map(|(followed, _)| followed)
    }

    /// Reads a root's rows. Where they have changed what people have changed too, another node may have saved it: what was
    /// done there is let come for a moment, and the node itself where it was there a moment ago.
    async fn read_beside_others(
        self: &Arc<Self>,
        document: &LiveDocument,
        root: &str,
    ) -> Result<Arc<Rows>, FollowFailed> {
        let (name, _) = self.document_of(root);
        let began = clock::now_ms();
        let mut durable = document.durable.clone();
        loop {
            document.until_met().await;
            durable.mark_unchanged();
            let rows = Arc::new(self.read(root).await?);
            let left = document.others_left_ms(clock::now_ms().saturating_sub(began));
            if left == 0 {
                return Ok(rows);
            }
            let (this, replica, views) =
                (Arc::clone(self), document.replica.clone(), Arc::clone(&document.views));
            let name = name.clone();
            let looked = blocking(move || {
                let source = Source { keypair: &this.keypair, shape: &this.shape, document: &name };
                let look = |base: &BaseCrdt<JsonCrdt>| {
                    views.track(base, |tracker| tracker.is_beside_edits(base, source, &rows))
                };
                (replica.read(look).0, rows)
            });
            let (is_beside, rows) = looked.await?;
            if !is_beside {
                return Ok(rows);
            }
            // Not all at once: somebody may come who has nothing new.
            tokio::select! {
                _ = durable.changed() => {}
                () = clock::pause(Duration::from_millis(left.min(LOOK_MS))) => {}
            }
        }
    }

    /// As [`Self::follow`], with rows that were read already, by whoever has the turn; `accepted` is the last era whose
    /// backups somebody accepts. Returns the rows that were followed: later ones, where another node's word of a newer version
    /// has come since they were read.
    async fn take_over(
        self: &Arc<Self>,
        document: &LiveDocument,
        root: &str,
        mut rows: Arc<Rows>,
        actor: Option<&str>,
        accepted: Option<u64>,
    ) -> Result<(Followed, Arc<Rows>), FollowFailed> {
        let mut followed = self.sign_over(document, root, &rows, actor, accepted).await;
        while let Err(FollowFailed::Reconcile(ReconcileError::Older { .. })) = &followed {
            let now = Arc::new(self.read(root).await?);
            if now.version <= rows.version {
                break;
            }
            followed = self.sign_over(document, root, &now, actor, accepted).await;
            rows = now;
        }
        self.remember_hold(root, &followed);
        if let Ok(followed) = &followed {
            self.remember_skipped(document, root, &followed.bad);
        }
        followed.map(|followed| (followed, rows))
    }

    async fn sign_over(
        self: &Arc<Self>,
        document: &LiveDocument,
        root: &str,
        rows: &Arc<Rows>,
        actor: Option<&str>,
        accepted: Option<u64>,
    ) -> Result<Followed, FollowFailed> {
        let (name, _) = self.document_of(root);
        let (this, replica, key) = (Arc::clone(self), document.replica.clone(), root.to_owned());
        let (views, seen) = (Arc::clone(&document.views), Arc::clone(rows));
        let options = FollowOptions { accepts_older: accepted.is_some(), has_others: document.has_others() };
        let (digest, authored, open, from, version_stood_still) = blocking(move || {
            let (rows, digest) = (&*seen, seen.digest());
            if accepted.is_none() && this.is_restored(&key, digest)? {
                return Err(FollowFailed::Restored);
            }
            let mut from = None;
            let authored = replica.author_as(clock::now_ms(), |base| {
                let source = Source { keypair: &this.keypair, shape: &this.shape, document: &name };
                let reconciled = views.track(base, |tracker| {
                    from = tracker.version(base);
                    tracker.follow(base, source, rows, options)
                })?;
                views.set_equal_at(reconciled.heads.clone());
                let changes = reconciled.changes.clone();
                Ok::<_, ReconcileError>((reconciled, changes))
            });
            let open = match &authored {
                Ok(authored) if !authored.changes.is_empty() => {
                    replica.read(|base| views.track(base, |tracker| tracker.conflicts(base))).0
                }
                Ok(_) | Err(_) => Arc::default(),
            };
            let last = authored.as_ref().ok().and_then(|authored| authored.result.changes.last().cloned());
            // Most batches have a version of their own.
            let last =
                last.filter(|_| from.is_some() && rows.version.is_none_or(|version| from == Some(version)));
            let stood_still = last.is_some_and(|last| {
                let notice = replica.read(|base| views.notice(base, &last)).0;
                notice.is_some_and(|notice| notice.version_stood_still)
            });
            Ok((digest, authored, open, from, stood_still))
        })
        .await??;
        let Authored { result: reconciled, ticket, .. } = authored.map_err(FollowFailed::of)?;
        if let (Some(actor), Some(last)) = (actor, reconciled.changes.last()) {
            document.note_actor(last.digest(), actor);
        }
        durable(ticket).await?;
        let followed = Followed {
            from,
            to: rows.version,
            reconciled,
            conflicts: open,
            bad: rows.bad.clone(),
            version_stood_still,
        };
        self.note_followed(document.id, root, digest, &followed, (actor, accepted)).await?;
        Ok(followed)
    }

    /// What following would do, the rows, and what somebody has to accept first.
    pub(crate) async fn plan(
        self: &Arc<Self>,
        document: &LiveDocument,
        root: &str,
    ) -> Result<(Plan, Rows, Option<Hold>), FollowFailed> {
        let rows = self.read(root).await?;
        let (name, _) = self.document_of(root);
        let (this, replica, key) = (Arc::clone(self), document.replica.clone(), root.to_owned());
        let views = Arc::clone(&document.views);
        let work = move || {
            let source = Source { keypair: &this.keypair, shape: &this.shape, document: &name };
            let plan = |base: &BaseCrdt<JsonCrdt>| {
                views.track(base, |tracker| match tracker.plan(base, source, &rows, false) {
                    Err(ReconcileError::Older { .. }) => (tracker.plan(base, source, &rows, true), true),
                    planned => (planned, false),
                })
            };
            let ((planned, is_older), _) = replica.read(plan);
            let hold = match this.is_restored(&key, rows.digest())? {
                true => Some(Hold::Restored),
                false => is_older.then_some(Hold::Older),
            };
            Ok((planned?, rows, hold))
        };
        blocking(work).await?
    }

    /// Whether edits that are not in the database are dropped.
    pub(crate) fn mode(&self) -> Mode {
        self.shape.mapping.mode
    }
}

//! Documents that follow databases, as this node has them: opened when somebody asks, a feed names them or a peer has
//! something new, shared by all who come, closed behind the last.
//!
//! The rules are `gangline_reconcile`'s: [`Doors`] says when a document is opened and closed, `Follower` when which root is
//! run. Here are the tasks, the store and the links that carry them out.

mod assemble;
mod feed;
mod host;
pub(crate) mod live;
mod names;
mod others;
pub(crate) mod present;
pub(crate) mod source;
pub(crate) mod sources;
mod store;
pub(crate) mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use bft_json_crdt::{AuthorId, DocumentId, Keypair};
use gangline_doc::{LogSeq, Replica, ReplicaSettings};
use gangline_reconcile::{
    DoorEffect, DoorError, DoorInput, DoorSettings, Doors, FollowInput, Generation, Role, Standing, Visitor,
};
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::assemble::{Opened, open};
pub(crate) use self::host::Hosting;
use self::live::{LinksHandle, LiveDocument, Trouble};
pub(crate) use self::names::Named;
use self::names::Names;
use self::source::SourceRuntime;
use self::sources::Sources;
pub(crate) use self::store::{DiskDocuments, DocumentStore, MemoryDocuments};
use crate::api::{blocking, durable};
use crate::clock;
use crate::descriptors;
use crate::links::Links;
use crate::logs::chain;

/// The documents of a node. Clones are handles to the same.
#[derive(Clone)]
pub(crate) struct Documents {
    inner: Arc<Inner>,
}

struct Inner {
    keypair: Keypair,
    store: Arc<dyn DocumentStore>,
    settings: ReplicaSettings,
    /// Whose changes documents take; none: everybody's.
    trust: RwLock<Option<BTreeSet<AuthorId>>>,
    /// The keys of this node's sources, whom it trusts whatever its list says.
    own: Vec<AuthorId>,
    sources: Sources,
    /// Sources whose database could not be read, until the node runs.
    unread: Mutex<Vec<assemble::Unread>>,
    names: Names,
    doors: Mutex<Doors<DocumentId>>,
    waiting: Mutex<BTreeMap<Visitor, oneshot::Sender<Admission>>>,
    live: Mutex<BTreeMap<DocumentId, Arc<LiveDocument>>>,
    /// Those whose closing does not end.
    stuck: Mutex<BTreeSet<DocumentId>>,
    visitors: AtomicU64,
    /// Wakes the task that keeps the doors' deadlines.
    wake: Notify,
    links: LinksHandle,
    tasks: TaskTracker,
    stop: CancellationToken,
}

type Admission = Result<Arc<LiveDocument>, DoorError>;

/// Somebody in a document, who leaves when this is dropped.
pub(crate) struct Guest {
    documents: Documents,
    visitor: Visitor,
    document: Arc<LiveDocument>,
}

impl std::ops::Deref for Guest {
    type Target = LiveDocument;

    fn deref(&self) -> &LiveDocument {
        &self.document
    }
}

impl Guest {
    /// The document, for work that outlives a borrow of the guest; it must not outlive the guest.
    pub(crate) fn document(&self) -> Arc<LiveDocument> {
        Arc::clone(&self.document)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.documents.handle(DoorInput::Leave(self.document.id, self.visitor));
    }
}

/// Which document is meant, and whether it is there yet.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) id: DocumentId,
    pub(crate) name: String,
    /// Where this node can reconcile it: by which source, and which root.
    pub(crate) root: Option<(Arc<SourceRuntime>, String)>,
    /// It has been opened before, here or at a peer.
    pub(crate) is_stored: bool,
}

impl Documents {
    /// The documents in a store. Reads the names of all of them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn new(
        keypair: Keypair,
        store: Arc<dyn DocumentStore>,
        settings: ReplicaSettings,
        sources: Opened,
        stop: CancellationToken,
    ) -> Result<Self, String> {
        let names = Names::read(Arc::clone(&store))?;
        let own = sources.authors();
        let doors = DoorSettings { open_max: descriptors::documents_max(), ..DoorSettings::default() };
        let trust = with_own(settings.trust.clone(), &own);
        let inner = Inner {
            keypair,
            store,
            settings,
            trust: RwLock::new(trust),
            own,
            sources: Sources::new(sources.held, sources.without),
            unread: Mutex::new(sources.unread),
            names,
            doors: Mutex::new(Doors::new(doors)),
            waiting: Mutex::default(),
            live: Mutex::default(),
            stuck: Mutex::default(),
            visitors: AtomicU64::new(1),
            wake: Notify::new(),
            links: LinksHandle::default(),
            tasks: TaskTracker::new(),
            stop,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Gives the documents their links to other nodes.
    pub(crate) fn attach(&self, links: &Arc<Links>) {
        self.inner.links.set(links);
    }

    /// Has documents take changes of others than before, those that are open and those that will be. May block.
    pub(crate) fn set_trust(&self, trust: Option<BTreeSet<AuthorId>>) {
        let trust = with_own(trust, &self.inner.own);
        self.inner.trust.write().unwrap_or_else(PoisonError::into_inner).clone_from(&trust);
        self.live().iter().for_each(|document| document.set_trust(trust.clone()));
    }

    fn trust(&self) -> Option<BTreeSet<AuthorId>> {
        self.inner.trust.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps deadlines and feeds until the node stops; then closes all documents.
    pub(crate) async fn run(self) {
        self.inner.tasks.spawn(learn_names(self.clone()));
        for source in self.inner.sources.held() {
            self.names().iter().for_each(|named| source.meet(named));
            self.inner.tasks.spawn(feed::run(self.clone(), source));
        }
        for unread in lock(&self.inner.unread).drain(..) {
            self.inner.tasks.spawn(assemble::await_database(self.clone(), unread));
        }
        loop {
            let due = lock(&self.inner.doors).next_deadline();
            let wait = due.map_or(u64::MAX, |due| due.saturating_sub(clock::now_ms()));
            tokio::select! {
                () = self.inner.wake.notified() => {}
                () = clock::pause(std::time::Duration::from_millis(wait.min(60_000))) => {}
                () = self.inner.stop.cancelled() => break,
            }
            // Not by way of the wake, which this waits for.
            self.act(DoorInput::Tick);
        }
        self.handle(DoorInput::Stop);
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// The databases that documents follow.
    pub(crate) fn sources(&self) -> &Sources {
        &self.inner.sources
    }

    /// Follows a source whose database can be read from now on.
    fn take_up(&self, source: Arc<SourceRuntime>) {
        self.inner.sources.take_up(Arc::clone(&source));
        for document in self.live() {
            let this = self.clone();
            self.inner.tasks.spawn(async move { this.follow_from_now_on(&document).await });
        }
        self.names().iter().for_each(|named| source.meet(named));
        self.inner.tasks.spawn(feed::run(self.clone(), source));
    }

    /// Looks whether a document was signed by another key than this node has for its source.
    fn meet(&self, named: &Named) {
        self.inner.sources.held().iter().for_each(|source| source.meet(named));
    }

    /// Learns how an open document is called once its first change is there. Returns whether it is known.
    fn learn(&self, document: &LiveDocument) -> bool {
        if document.replica.durable() == LogSeq::START {
            return false;
        }
        let (name, author) = document.replica.read(|base| (base.source_name(), base.source())).0;
        if author.is_some() {
            let named = Named { id: document.id, name, author, source: None, root: None };
            self.meet(&named);
            self.inner.names.learn(named);
        }
        author.is_some()
    }

    /// Has an open document follow its rows, where this node can reconcile it.
    async fn follow_from_now_on(&self, document: &Arc<LiveDocument>) {
        let named = document.replica.read(|base| (base.source_name(), base.source())).0;
        let name = named.0.or_else(|| self.inner.names.wanted(&document.id));
        let named = Named { id: document.id, name, author: named.1, source: None, root: None };
        let Some((source, root)) = self.root_of(&named) else { return };
        if document.adopt(&source) {
            self.catch_up(&source, document, &root).await;
        }
    }

    /// What is kept, by name.
    pub(crate) fn names(&self) -> Vec<Named> {
        self.inner.names.all()
    }

    /// Visits all that are kept, by id, each with that which is found by its name. What visits must not ask for names.
    pub(crate) fn each_name(&self, visit: impl FnMut(&Named, Option<DocumentId>)) {
        self.inner.names.each(visit);
    }

    /// The documents that are open.
    pub(crate) fn live(&self) -> Vec<Arc<LiveDocument>> {
        lock(&self.inner.live).values().cloned().collect()
    }

    /// How many documents are open, and of how many the closing does not end.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (lock(&self.inner.live).len(), lock(&self.inner.stuck).len())
    }

    /// A document that is open, without entering it.
    pub(crate) fn live_one(&self, id: &DocumentId) -> Option<Arc<LiveDocument>> {
        lock(&self.inner.live).get(id).cloned()
    }

    /// Finds a document by its name, or by its id in hex. Of several with one name that which this node can reconcile.
    pub(crate) fn find(&self, wanted: &str) -> Option<Found> {
        if let Some((source, root)) = self.inner.sources.root_of(wanted) {
            let (name, id) = source.document_of(&root);
            let is_stored = self.inner.names.has(&id);
            return Some(Found { id, name, root: Some((source, root)), is_stored });
        }
        let named = self.inner.names.find(wanted)?;
        let root = self.root_of(&named);
        Some(Found { id: named.id, name: named.name.unwrap_or_default(), root, is_stored: true })
    }

    /// The source and the root of a document, if this node reconciles it: a document of this name may be another key's.
    pub(crate) fn root_of(&self, named: &Named) -> Option<(Arc<SourceRuntime>, String)> {
        let (source, root) = self.inner.sources.root_of(named.name.as_ref()?)?;
        (source.document_of(&root).1 == named.id).then_some((source, root))
    }

    /// Remembers by which name a document was asked for, before it is entered.
    pub(crate) fn want(&self, found: &Found) {
        self.inner.names.want(found.id, &found.name);
    }

    /// Enters a document: opens it, or joins those who are in it, also while it is being closed.
    ///
    /// # Errors
    /// [`DoorError`]: the document is as it was.
    pub(crate) async fn enter(&self, id: DocumentId, role: Role) -> Result<Guest, DoorError> {
        let visitor = Visitor(self.inner.visitors.fetch_add(1, Ordering::Relaxed));
        let (tell, told) = oneshot::channel();
        lock(&self.inner.waiting).insert(visitor, tell);
        // Whoever gives up while it waits is taken out again.
        let waiting = Waiting { documents: self.clone(), id, visitor };
        self.handle(DoorInput::Enter(id, visitor, role));
        let document = told.await.map_err(|_| DoorError::Stopping)??;
        std::mem::forget(waiting);
        Ok(Guest { documents: self.clone(), visitor, document })
    }

    /// Tells the doors what happened, does what they say, and has their deadlines looked at anew.
    fn handle(&self, input: DoorInput<DocumentId>) {
        self.act(input);
        self.inner.wake.notify_one();
    }

    fn act(&self, input: DoorInput<DocumentId>) {
        let mut effects = Vec::new();
        {
            let mut doors = lock(&self.inner.doors);
            doors.handle(clock::now_ms(), input);
            while let Some(effect) = doors.poll_effect() {
                effects.push(effect);
            }
        }
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&self, effect: DoorEffect<DocumentId>) {
        match effect {
            DoorEffect::Open(id, generation) => {
                let this = self.clone();
                self.inner.tasks.spawn(async move {
                    let opened = this.open(id, generation).await;
                    this.handle(match opened {
                        Ok(()) => DoorInput::Opened(id, generation),
                        Err(reason) => {
                            tracing::error!(event = "document_not_opened", document = %id, "{reason}");
                            DoorInput::Failed(id, generation, reason)
                        }
                    });
                });
            }
            DoorEffect::Close(id, generation) => {
                let this = self.clone();
                self.inner.tasks.spawn(async move {
                    this.close(id).await;
                    lock(&this.inner.stuck).remove(&id);
                    this.handle(DoorInput::Closed(id, generation));
                });
            }
            DoorEffect::Admit(visitor, id, generation) => {
                let document = lock(&self.inner.live).get(&id).cloned();
                let document = document.filter(|document| document.generation == generation);
                let missing = || DoorError::Failed("it was closed again".to_owned());
                self.answer(visitor, document.ok_or_else(missing), id);
            }
            DoorEffect::Refuse(visitor, error) => {
                let tell = lock(&self.inner.waiting).remove(&visitor);
                tell.map(|tell| tell.send(Err(error)));
            }
            DoorEffect::Stuck(id, _) => {
                lock(&self.inner.stuck).insert(id);
                tracing::error!(event = "document_stuck", document = %id, "closing the document does not end");
            }
        }
    }

    fn answer(&self, visitor: Visitor, admission: Admission, id: DocumentId) {
        let tell = lock(&self.inner.waiting).remove(&visitor);
        let is_told = tell.is_some_and(|tell| tell.send(admission).is_ok());
        if !is_told {
            // It went away while it waited.
            let this = self.clone();
            self.inner.tasks.spawn(async move { this.handle(DoorInput::Leave(id, visitor)) });
        }
    }

    async fn open(&self, id: DocumentId, generation: Generation) -> Result<(), String> {
        if id == DocumentId::DEFAULT {
            return Err("this is the board: it follows no database, and is open already".to_owned());
        }
        let this = self.clone();
        let replica = tokio::task::spawn_blocking(move || {
            let settings =
                ReplicaSettings { document: id, trust: this.trust(), ..this.inner.settings.clone() };
            let log = this.inner.store.log(id)?;
            Replica::open(this.inner.keypair.clone(), log, settings).map_err(|error| chain(&error))
        });
        let replica = replica.await.map_err(|error| error.to_string())??;
        // Its first change says how it is called; before there is one, whoever asked for it knew.
        let (name, author) = replica.read(|base| (base.source_name(), base.source())).0;
        let name = name.or_else(|| self.inner.names.wanted(&id));
        let named = Named { id, name, author, source: None, root: None };
        let is_known = named.author.is_some();
        if is_known {
            self.meet(&named);
            self.inner.names.learn(named);
        }
        let document = Arc::new(LiveDocument::new(id, generation, replica, self.inner.links.clone()));
        lock(&self.inner.live).insert(id, Arc::clone(&document));
        // What has changed while it was opened.
        let (this, opened) = (self.clone(), Arc::clone(&document));
        let trusting = blocking(move || {
            let trust = this.trust();
            if opened.replica.accepts() != trust {
                opened.set_trust(trust);
            }
        });
        trusting.await.map_err(|problem| problem.detail().to_owned())?;
        // Before it follows its rows: others may have saved them, and say so. One that has nothing yet is filled first, or
        // peers would be offered nothing.
        if is_known {
            self.link(&document);
        }
        // When it can be found: a source that is taken up at this moment has it, or is seen here.
        self.follow_from_now_on(&document).await;
        if !is_known && !self.learn(&document) {
            let durable = document.durable.clone();
            self.inner.tasks.spawn(learn_name(self.clone(), Arc::downgrade(&document), durable));
        }
        if !is_known {
            self.link(&document);
        }
        Ok(())
    }

    /// Exchanges an open document with peers from here on.
    fn link(&self, document: &LiveDocument) {
        if let Some(links) = self.inner.links.get() {
            links.open_document(Arc::new(document.replica.clone()));
        }
    }

    /// Lets a document that was just opened follow its rows, before anybody sees it. A database that does not answer keeps
    /// nobody out: the document is as it was, and says so.
    async fn catch_up(&self, source: &Arc<SourceRuntime>, document: &Arc<LiveDocument>, root: &str) {
        others::heed(self, source, document, root);
        if source.is_paused() {
            // Nobody else may know of what was written while this node was down.
            source.tell(FollowInput::Dirty(root.to_owned(), Standing::Open));
            return;
        }
        match source.follow(document, root, None, false).await {
            Ok(_) => document.note_followed(),
            Err(failed) => {
                let retry_in = failed.may_pass().then_some(0);
                document.set_trouble(Some(Trouble {
                    reason: failed.reason_for(&source.document_of(root).0),
                    retry_in,
                }));
                source.tell(FollowInput::Dirty(root.to_owned(), Standing::Open));
            }
        }
    }

    async fn close(&self, id: DocumentId) {
        let document = lock(&self.inner.live).remove(&id);
        let Some(document) = document else { return };
        let links = self.inner.links.get();
        let this = self.clone();
        let shut = blocking(move || {
            let mut kept = None;
            // Peers hear that it is closed when its note is written: from then on they ask what is kept.
            let mut keep = |root| {
                let (shown, ticket) = document.shown();
                let named = Named {
                    id,
                    name: shown.name.clone(),
                    author: shown.author,
                    source: shown.layout.source.clone(),
                    root: Some(root),
                };
                this.meet(&named);
                kept = Some((this.inner.names.keep(named, shown.heads.is_empty()), ticket));
            };
            let is_linked = links.is_some_and(|links| links.close_document(id, |held| keep(held.root)));
            if !is_linked {
                keep(held_root(&document));
            }
            kept.unwrap_or_else(|| (Ok(()), document.shown().1))
        });
        match shut.await {
            Ok((kept, ticket)) => {
                if let Err(problem) = durable(ticket).await {
                    tracing::error!(event = "document_not_durable", document = %id, "{}", problem.detail());
                }
                if let Err(error) = kept {
                    tracing::error!(event = "document_not_noted", document = %id, "{error}");
                }
            }
            Err(problem) => {
                tracing::error!(event = "document_not_closed", document = %id, "{}", problem.detail());
            }
        }
    }
}

/// Opens documents that were not closed in order, one after the other, to learn what they are.
async fn learn_names(documents: Documents) {
    for named in documents.names().into_iter().filter(|named| named.root.is_none()) {
        if documents.inner.stop.is_cancelled() {
            return;
        }
        // One that cannot be opened says so in the log.
        let _ = documents.enter(named.id, Role::System).await;
    }
}

/// Learns how a document is called when its first change comes, while it is open. From then on it can be asked for, and, where
/// this node has the mapping, follows its rows.
async fn learn_name(
    documents: Documents,
    document: Weak<LiveDocument>,
    mut durable: watch::Receiver<LogSeq>,
) {
    loop {
        let Some(document) = document.upgrade() else { return };
        if documents.learn(&document) {
            return documents.follow_from_now_on(&document).await;
        }
        drop(document);
        tokio::select! {
            changed = durable.changed() => if changed.is_err() { return },
            () = documents.inner.stop.cancelled() => return,
        }
    }
}

/// What a replica holds, as peers compare it.
fn held_root(document: &LiveDocument) -> bft_json_crdt::Digest {
    gangline_transport::root(&document.replica.version_vector())
}

/// Somebody who waits to be let in.
struct Waiting {
    documents: Documents,
    id: DocumentId,
    visitor: Visitor,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.documents.inner.waiting).remove(&self.visitor);
        self.documents.handle(DoorInput::Leave(self.id, self.visitor));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whose changes a document takes besides those that the node trusts: its source's.
fn with_own(trust: Option<BTreeSet<AuthorId>>, own: &[AuthorId]) -> Option<BTreeSet<AuthorId>> {
    trust.map(|trust| trust.into_iter().chain(own.iter().copied()).collect())
}

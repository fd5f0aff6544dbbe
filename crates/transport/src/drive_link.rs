//! Drives one link over one socket. Like `drive.rs`, which does so for version 1: small work is done at once, heavy
//! work on a thread of its own.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bft_json_crdt::{AuthorId, Change, Digest};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use gangline_doc::{Entry, LogSeq, OriginId, ReadLimit};
use gangline_wire::v2::HeldDocument;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::calls::{CallResult, PING};
use crate::drive::{Connection, NEAR_ENTRIES, Outcome, heavy};
use crate::gate::Gate;
use crate::host::{Offer, Offered};
use crate::hub::{Hub, Identity, Verdict};
use crate::link::{
    Answer, CatalogQuery, Incoming, Link, LinkDocument, LinkEffect, LinkInput, LinkNotice, LinkStart, Query,
    answer, understand,
};
use crate::links::{COMMANDS_MAX, Command};
use crate::metered::Traffic;
use crate::peers::PeerHandle;
use crate::served::{Closed, Listener, News};
use crate::session::{CloseReason, Millis, RawFrame};
use crate::socket::{Socket, SocketEvent};

/// Runs a link to its end.
pub(crate) async fn run<S>(
    hub: &Arc<Hub>,
    peer: &PeerHandle,
    label: &str,
    connection: Connection<S>,
) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let identity = hub.identity.as_ref();
    let Some((identity, nonce)) = identity.and_then(|it| Some((it, (it.nonce)()?))) else {
        let reason = CloseReason::Lost { error: "this system gives no random bytes".to_owned() };
        return Outcome { reason, was_established: false };
    };
    let Connection { stream, traffic, is_dialer, channel, stop, .. } = connection;
    peer.begin_session(Arc::clone(&traffic), hub.now_ms());
    let settings = &hub.settings.session;
    let origin = hub.origin();
    let (listener, documents) = hub.served.listen();
    let documents =
        documents.iter().map(|it| LinkDocument { place: it.place, id: it.id, durable: it.source.durable() });
    let start = LinkStart {
        origin,
        is_dialer,
        nonce,
        channel,
        documents: documents.collect(),
        opens_documents: true,
        hosts: identity.host.hosts(),
        credentials: identity.gate.credentials().into_iter().map(Bytes::from).collect(),
        records: identity.gate.records().into_iter().map(Bytes::from).collect(),
    };
    let link = Link::new(Millis(0), identity.keypair.clone(), start, settings.clone());
    let (commands, told) = mpsc::channel(COMMANDS_MAX);
    let driver = Box::new(Driver {
        link,
        hub,
        identity,
        peer,
        label,
        origin,
        socket: Socket::new(stream, settings),
        listener,
        applying: None,
        traffic,
        start: Instant::now(),
        stop,
        is_receiving: false,
        raw: VecDeque::new(),
        shown: Vec::new(),
        jobs: FuturesUnordered::new(),
        served: FuturesUnordered::new(),
        commands,
        calls: BTreeMap::new(),
        next_call: 0,
    });
    let outcome = Box::pin(driver.run(told)).await;
    hub.links.end(peer.id());
    peer.end_session(&outcome.reason);
    outcome
}

/// Work under way whose end is an input.
type Job = Pin<Box<dyn Future<Output = Done> + Send>>;
/// A call of the peer that is being carried out.
type Serving = Pin<Box<dyn Future<Output = (u64, CallResult)> + Send>>;

/// What a job brings.
enum Done {
    Understood(Vec<Incoming>, VecDeque<RawFrame>),
    Applied(Verdict),
    Stored(Result<(), String>),
    Entries(usize, Result<Vec<Arc<Entry>>, String>),
    Input(LinkInput),
}

enum Event {
    Socket(SocketEvent),
    Done(Done),
    Served(u64, CallResult),
    News(News),
    Input(LinkInput),
    Command(Command),
}

struct Driver<'a, S> {
    link: Link,
    hub: &'a Arc<Hub>,
    identity: &'a Identity,
    peer: &'a PeerHandle,
    label: &'a str,
    origin: OriginId,
    socket: Socket<S>,
    listener: Listener,
    /// The place of the document whose batch is being applied, or stored.
    applying: Option<usize>,
    traffic: Arc<Traffic>,
    start: Instant,
    stop: CancellationToken,
    is_receiving: bool,
    /// Frames that were received and not decoded yet.
    raw: VecDeque<RawFrame>,
    /// Grants that came before the peer had proved its key.
    shown: Vec<Bytes>,
    jobs: FuturesUnordered<Job>,
    served: FuturesUnordered<Serving>,
    /// For the list of links that are up.
    commands: mpsc::Sender<Command>,
    calls: BTreeMap<u64, oneshot::Sender<CallResult>>,
    next_call: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<'_, S> {
    async fn run(mut self: Box<Self>, mut told: mpsc::Receiver<Command>) -> Outcome {
        let mut is_stopping = false;
        let mut timer = std::pin::pin!(sleep_until(self.start));
        loop {
            if let Some(reason) = self.perform() {
                self.peer.show_link(&self.link, || self.hub.now_ms());
                let was_established = self.link.peer().is_some();
                if let (CloseReason::TooManyBadFrames { .. } | CloseReason::Protocol { .. }, Some(key)) =
                    (&reason, self.link.peer())
                {
                    self.hub.penalties.add(key, self.hub.now_ms(), self.hub.settings.penalty_ms);
                }
                let goodbye = self.socket.close(&reason);
                let _ = timeout(Duration::from_millis(self.hub.settings.close_ms), goodbye).await;
                return Outcome { reason, was_established };
            }
            self.peer.show_link(&self.link, || self.hub.now_ms());
            let due = self.link.next_deadline().map(|due| self.start + Duration::from_millis(due.0));
            if let Some(due) = due
                && due != timer.deadline()
            {
                timer.as_mut().reset(due);
            }
            let event = tokio::select! {
                event = self.socket.next(self.is_receiving) => Event::Socket(event),
                Some(done) = self.jobs.next() => Event::Done(done),
                Some((id, result)) = self.served.next() => Event::Served(id, result),
                news = self.listener.news() => Event::News(news),
                Some(command) = told.recv() => Event::Command(command),
                () = self.stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    self.is_receiving = false;
                    Event::Input(LinkInput::Stop)
                }
                () = timer.as_mut(), if due.is_some() => Event::Input(LinkInput::Tick),
            };
            match event {
                Event::Input(LinkInput::Tick) => self.tick(),
                Event::Input(input) => self.feed(input),
                Event::Socket(SocketEvent::Frames(frames)) => {
                    self.is_receiving = false;
                    self.raw.extend(frames);
                    self.understand();
                }
                Event::Socket(SocketEvent::Sent) => self.feed(LinkInput::Sent),
                Event::Socket(SocketEvent::Ended(reason)) => self.feed(LinkInput::Ended(reason)),
                Event::Done(Done::Understood(incoming, rest)) => {
                    self.raw = rest;
                    self.feed(LinkInput::Received(incoming));
                }
                Event::Done(Done::Applied(verdict)) => self.applied(verdict),
                Event::Done(Done::Stored(Err(error))) => {
                    self.feed_failure(LinkInput::Stored(Err(error)));
                }
                Event::Done(Done::Stored(Ok(()))) => self.feed(LinkInput::Stored(Ok(()))),
                Event::Done(Done::Entries(at, entries)) => self.read_out(at, entries),
                Event::Done(Done::Input(input)) => self.feed(input),
                Event::Served(id, result) => self.feed(LinkInput::Served { id, result }),
                Event::Command(command) => self.command(command),
                Event::News(news) => self.hear(news),
            }
        }
    }

    /// What has happened to documents.
    fn hear(&mut self, news: News) {
        for (document, Closed { held, durable }) in news.closed {
            self.feed(LinkInput::Closed { document, held, durable });
        }
        for place in news.opened {
            // It may be closed again: then the link will hear of that, and of nothing before.
            let document = self.hub.document(place);
            let opened = document.map(|it| LinkDocument { place, id: it.id, durable: it.source.durable() });
            if let Some(opened) = opened {
                self.feed(LinkInput::Opened(opened));
            }
        }
        for (place, durable) in news.durable {
            self.feed(LinkInput::Durable(place, durable));
        }
        if !news.stored.is_empty() {
            let stored = news.stored.into_iter().map(|(id, root)| HeldDocument { id, root });
            self.feed(LinkInput::News(stored.collect()));
        }
        if news.has_many {
            self.feed(LinkInput::ManyNews);
        }
        if let Some(evicted) = news.evicted {
            self.feed(LinkInput::Evicted(evicted));
        }
    }

    fn feed(&mut self, input: LinkInput) {
        let now = Millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX));
        self.link.handle(now, input);
    }

    fn tick(&mut self) {
        let (received, written) = (self.traffic.received(), self.traffic.written());
        self.feed(LinkInput::Traffic { received, written });
        self.feed(LinkInput::Tick);
    }

    /// Does what the link wants, until it wants nothing more or the end.
    fn perform(&mut self) -> Option<CloseReason> {
        while let Some(effect) = self.link.poll_effect() {
            match effect {
                LinkEffect::Receive if self.raw.is_empty() => self.is_receiving = true,
                LinkEffect::Receive => self.understand(),
                LinkEffect::Query(at, query) => self.query(at, query),
                LinkEffect::Apply(at, changes) => self.apply(at, changes),
                LinkEffect::Read { document, from, limit } => self.read(document, from, limit),
                LinkEffect::Send(frames) => self.socket.send_frames(frames),
                LinkEffect::Admit(key) => self.admit(key),
                LinkEffect::Learn(records) if self.link.peer().is_none() => self.shown = records,
                LinkEffect::Learn(records) => self.learn(records),
                LinkEffect::Serve { id, method, body } => self.serve(id, method, body),
                LinkEffect::Replied { id, result } => {
                    if let Some(reply) = self.calls.remove(&id) {
                        // Whoever asked may have gone.
                        let _ = reply.send(result);
                    }
                }
                LinkEffect::CheckPending(waiting) => {
                    let waits = |(at, digest): &(usize, Digest)| {
                        self.hub.document(*at).is_some_and(|it| it.source.is_pending(digest))
                    };
                    let released = waiting.into_iter().filter(|it| !waits(it)).map(|(_, digest)| digest);
                    let released = released.collect();
                    self.feed(LinkInput::Released(released));
                }
                LinkEffect::Offer(offers) => self.offer(offers),
                LinkEffect::Catalog(query) => self.look_up(query),
                LinkEffect::Ping => self.socket.ping(),
                LinkEffect::Notice(notice) => self.notice(notice),
                LinkEffect::Close(reason) => return Some(reason),
            }
        }
        None
    }

    fn understand(&mut self) {
        let mut raw = std::mem::take(&mut self.raw);
        let bytes: usize = raw.iter().map(RawFrame::bytes).sum();
        if bytes <= self.hub.settings.heavy_bytes / 8 {
            let incoming = understand(&mut raw);
            self.raw = raw;
            self.feed(LinkInput::Received(incoming));
            return;
        }
        let job = heavy(self.hub, move |_| {
            let incoming = understand(&mut raw);
            (incoming, raw)
        });
        self.job(async move {
            match job.await {
                Ok((incoming, rest)) => Done::Understood(incoming, rest),
                Err(error) => Done::Input(LinkInput::Applied(Err(error))),
            }
        });
    }

    fn query(&mut self, at: usize, query: Query) {
        let Some(document) = self.hub.document(at) else { return self.feed(LinkInput::Gone(at)) };
        let source = Arc::clone(&document.source);
        let is_heavy = matches!(query, Query::Give { .. });
        if !is_heavy && !self.is_replica_busy() {
            let answer = answer(source.as_ref(), query);
            self.feed(LinkInput::Answered(at, answer));
            return;
        }
        let job = heavy(self.hub, move |_| -> Answer { answer(source.as_ref(), query) });
        self.job(async move {
            Done::Input(match job.await {
                Ok(answer) => LinkInput::Answered(at, answer),
                Err(error) => LinkInput::Ended(CloseReason::StoreFailed { error }),
            })
        });
    }

    fn apply(&mut self, at: usize, changes: Vec<Change>) {
        self.applying = Some(at);
        let origin = self.origin;
        let bytes: usize = changes.iter().map(|change| change.bytes().len()).sum();
        let settings = &self.hub.settings;
        let is_light = changes.len() <= settings.heavy_ops && bytes <= settings.heavy_bytes;
        if is_light && !self.is_replica_busy() {
            let verdict = self.hub.apply(at, origin, changes);
            return self.applied(verdict);
        }
        let job = heavy(self.hub, move |hub| hub.apply(at, origin, changes));
        self.job(async move { Done::Applied(job.await.unwrap_or_else(Verdict::Failed)) });
    }

    fn applied(&mut self, verdict: Verdict) {
        let (applied, ticket) = match verdict {
            Verdict::Taken(applied, ticket) => (applied, ticket),
            Verdict::Busy(changes) => return self.feed(LinkInput::Busy(changes)),
            Verdict::Failed(error) => return self.feed_failure(LinkInput::Applied(Err(error))),
            Verdict::Gone => {
                let Some(at) = self.applying else { return };
                return self.feed(LinkInput::Gone(at));
            }
        };
        self.feed(LinkInput::Applied(Ok(applied)));
        let (tell, told) = oneshot::channel();
        ticket.on_done(Box::new(move |result| {
            // The link may be gone: then nobody waits.
            let _ = tell.send(result.map_err(|error| error.to_string()));
        }));
        self.job(async move {
            Done::Stored(told.await.unwrap_or_else(|_| Err("the log never answered".to_owned())))
        });
    }

    /// Reports that a batch failed; unless its document was closed, and its log with it.
    fn feed_failure(&mut self, failure: LinkInput) {
        match self.applying.filter(|at| self.hub.document(*at).is_none()) {
            Some(at) => self.feed(LinkInput::Gone(at)),
            None => self.feed(failure),
        }
    }

    /// Asks the host, on a thread where that may take a while.
    fn offer(&mut self, offers: Vec<Offer>) {
        let (host, gate) = (Arc::clone(&self.identity.host), Arc::clone(&self.identity.gate));
        let Some(peer) = self.link.peer() else { return };
        let work = tokio::task::spawn_blocking(move || {
            let Ok(rights) = gate.admit(&peer) else { return Vec::new() };
            let is_late =
                |offer: &Offer| rights.write && host.offered(peer, &rights, offer) == Offered::Later;
            offers.into_iter().filter(is_late).map(|offer| offer.id).collect()
        });
        // A host that panics is not asked again.
        self.job(async move { Done::Input(LinkInput::Offered { later: work.await.unwrap_or_default() }) });
    }

    fn look_up(&mut self, query: CatalogQuery) {
        let (host, hub) = (Arc::clone(&self.identity.host), Arc::clone(self.hub));
        let work = tokio::task::spawn_blocking(move || hub.look_up(host.as_ref(), query));
        self.job(async move {
            Done::Input(match work.await {
                Ok(answer) => LinkInput::LookedUp(answer),
                Err(error) => LinkInput::Ended(CloseReason::StoreFailed { error: error.to_string() }),
            })
        });
    }

    fn read(&mut self, at: usize, from: LogSeq, limit: ReadLimit) {
        let Some(document) = self.hub.document(at) else { return self.feed(LinkInput::Gone(at)) };
        let behind = document.source.durable().0.saturating_sub(from.0);
        if behind <= NEAR_ENTRIES {
            let entries = document.source.entries(from, limit).map_err(|error| error.to_string());
            return self.read_out(at, entries);
        }
        let source = Arc::clone(&document.source);
        let job = tokio::task::spawn_blocking(move || source.entries(from, limit));
        self.job(async move {
            let entries = match job.await {
                Ok(entries) => entries.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            Done::Entries(at, entries)
        });
    }

    fn read_out(&mut self, at: usize, entries: Result<Vec<Arc<Entry>>, String>) {
        match self.hub.document(at).is_none() {
            true => self.feed(LinkInput::Gone(at)),
            false => self.feed(LinkInput::Entries(at, entries)),
        }
    }

    /// Judges a key that was proved, by the grants that it has shown too: looking at those and keeping them is work.
    fn admit(&mut self, key: AuthorId) {
        if let Some(left) = self.hub.penalties.left_ms(&key, self.hub.now_ms()) {
            let verdict = Err(format!(
                "the key ed25519:{key} broke its last session here; it may come back in {} s",
                left.div_ceil(1000)
            ));
            return self.feed(LinkInput::Admitted(verdict));
        }
        let (gate, hub) = (Arc::clone(&self.identity.gate), Arc::clone(self.hub));
        let shown = std::mem::take(&mut self.shown);
        let work = tokio::task::spawn_blocking(move || {
            learn(gate.as_ref(), &hub, &shown);
            gate.admit(&key)
        });
        self.job(async move {
            let verdict = work.await.unwrap_or_else(|error| Err(error.to_string()));
            Done::Input(LinkInput::Admitted(verdict))
        });
    }

    fn learn(&mut self, records: Vec<Bytes>) {
        let gate = Arc::clone(&self.identity.gate);
        let hub = Arc::clone(self.hub);
        // Keeping them is IO.
        tokio::task::spawn_blocking(move || learn(gate.as_ref(), &hub, &records));
    }

    fn serve(&mut self, id: u64, method: u32, body: Bytes) {
        if method == PING {
            self.feed(LinkInput::Served { id, result: Ok(body) });
            return;
        }
        let Some(peer) = self.link.peer() else { return };
        let reply = self.identity.calls.serve(peer, method, body);
        self.served.push(Box::pin(async move { (id, reply.await) }));
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Call { method, body, reply } => {
                // Those that nobody waits for any more still count: the peer may answer yet.
                let id = self.next_call;
                self.next_call += 1;
                self.calls.insert(id, reply);
                self.feed(LinkInput::Call { id, method, body });
            }
            Command::Presence(presence) => self.feed(LinkInput::Presence(presence)),
            Command::Records(records) => self.feed(LinkInput::Records(records)),
            Command::AskAgain => self.feed(LinkInput::AskAgain),
        }
    }

    fn job(&mut self, job: impl Future<Output = Done> + Send + 'static) {
        self.jobs.push(Box::pin(job));
    }

    /// Tells whether a heavy batch holds the replica, or will in a moment.
    fn is_replica_busy(&self) -> bool {
        self.hub.heavy.available_permits() < self.hub.settings.heavy_jobs_max.max(1)
    }

    fn notice(&self, notice: LinkNotice) {
        let label = self.label;
        match notice {
            LinkNotice::Established { peer, name } => {
                self.hub.links.begin(self.peer.id(), peer, self.commands.clone());
                self.peer.proved(peer, name.as_deref());
                info!(peer = label, key = %peer, name, "session of version 2 established");
            }
            LinkNotice::CaughtUp => debug!(peer = label, "peer caught up"),
            LinkNotice::BadFrame { reason } => {
                self.peer.bad_frame(&reason);
                warn!(peer = label, reason, "bad frame skipped");
            }
            LinkNotice::HeldBack { count } => {
                debug!(peer = label, count, "changes held back by the trust list");
            }
            LinkNotice::HeldThere { document: _, authors } => {
                let names: Vec<String> = authors.iter().map(AuthorId::to_string).collect();
                warn!(peer = label, authors = names.join(" "), "the peer's trust list holds back changes");
                self.peer.held_there(&authors);
            }
            LinkNotice::Acked { document, vector } => {
                let own = self.identity.keypair.author();
                self.hub.acked(self.peer.id(), document, &own, &vector);
            }
            LinkNotice::Exchange { document, exchange } => {
                self.hub.stands(self.peer.id(), document, exchange);
            }
            LinkNotice::Presence(presence) => self.hub.links.present(self.peer.id(), presence),
        }
    }
}

/// Takes in what a peer tells of grants, and tells the others what is new.
fn learn(gate: &dyn Gate, hub: &Hub, records: &[Bytes]) {
    let records: Vec<Vec<u8>> = records.iter().map(|record| record.to_vec()).collect();
    if gate.learn(&records) > 0 {
        let all: Vec<Bytes> = gate.records().into_iter().map(Bytes::from).collect();
        hub.tell_records(&all);
    }
}

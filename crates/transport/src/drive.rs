//! Drives one session over one socket: the only place where the machine meets tokio.
//!
//! Small batches are applied at once. Large ones go to a thread of their own, and so does everything while
//! such a one is in work: it holds the replica, and waiting for it here would hold up all other tasks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bft_json_crdt::Change;
use gangline_doc::{LogSeq, OpLogError, OriginId, ReadLimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::drive_link;
use crate::hub::{Hub, Verdict};
use crate::metered::{Metered, Traffic};
use crate::peers::PeerHandle;
use crate::served::{Document, Listener, News};
use crate::session::{CloseReason, Effect, Input, Millis, Notice, RawFrame, Received, Session};
use crate::socket::{Socket, SocketEvent};

/// Entries this near to the end of the log are in memory, and read at once.
pub(crate) const NEAR_ENTRIES: u64 = 64;

/// How a session ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) reason: CloseReason,
    pub(crate) was_established: bool,
}

/// A WebSocket whose handshake is done, and the counters of its bytes.
pub(crate) struct Connection<S> {
    pub(crate) stream: WebSocketStream<Metered<S>>,
    pub(crate) traffic: Arc<Traffic>,
    /// Version 2 was agreed upon.
    pub(crate) is_v2: bool,
    /// This node dialled.
    pub(crate) is_dialer: bool,
    /// The encrypted channel's name, if it ends in this program.
    pub(crate) channel: Option<[u8; 32]>,
    /// Ends the session in an orderly way.
    pub(crate) stop: CancellationToken,
}

/// Runs a session to its end.
pub(crate) async fn run<S>(
    hub: &Arc<Hub>,
    peer: &PeerHandle,
    label: &str,
    connection: Connection<S>,
) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if connection.is_v2 && hub.identity.is_some() {
        return Box::pin(drive_link::run(hub, peer, label, connection)).await;
    }
    if !hub.settings.speaks_v1 {
        let reason = "it speaks version 1 of the sync, in which nobody can prove a key; bring it up to date"
            .to_owned();
        return Outcome { reason: CloseReason::Refused { reason }, was_established: false };
    }
    let Connection { stream, traffic, stop, .. } = connection;
    peer.begin_session(Arc::clone(&traffic), hub.now_ms());
    let settings = &hub.settings.session;
    let socket = Socket::new(stream, settings);
    let start = Instant::now();
    let origin = hub.origin();
    let (listener, _) = hub.served.listen();
    let Some(document) = hub.board() else {
        let reason = CloseReason::Protocol { what: "version 1 carries the board, which this node lacks" };
        peer.end_session(&reason);
        return Outcome { reason, was_established: false };
    };
    let known = document.source.durable();
    // On the heap once, instead of in each of the futures that hold one another.
    let driver = Box::new(Driver {
        session: Session::new(Millis(0), origin, known, settings.clone()),
        hub,
        document,
        listener,
        peer,
        label,
        origin,
        socket,
        traffic,
        start,
        stop,
        is_receiving: false,
        work: None,
        reading: None,
    });
    let outcome = Box::pin(driver.run()).await;
    peer.end_session(&outcome.reason);
    outcome
}

/// Work under way whose end is an input.
type Job = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What a job brings.
enum Done {
    Received(Received),
    Applied(Verdict),
    Input(Input),
}

struct Driver<'a, S> {
    hub: &'a Arc<Hub>,
    document: Arc<Document>,
    listener: Listener,
    peer: &'a PeerHandle,
    label: &'a str,
    origin: OriginId,
    session: Session,
    socket: Socket<S>,
    traffic: Arc<Traffic>,
    start: Instant,
    stop: CancellationToken,
    is_receiving: bool,
    /// Decoding, applying or storing a batch.
    work: Option<Job>,
    /// Reading the log.
    reading: Option<Job>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<'_, S> {
    async fn run(mut self: Box<Self>) -> Outcome {
        let mut is_stopping = false;
        let mut timer = std::pin::pin!(sleep_until(self.start));
        loop {
            if let Some(reason) = self.perform() {
                self.peer.show(&self.session, || self.hub.now_ms());
                let was_established = self.session.is_established();
                let goodbye = self.socket.close(&reason);
                let _ = timeout(Duration::from_millis(self.hub.settings.close_ms), goodbye).await;
                return Outcome { reason, was_established };
            }
            self.peer.show(&self.session, || self.hub.now_ms());
            let due = self.session.next_deadline().map(|due| self.start + Duration::from_millis(due.0));
            if let Some(due) = due
                && due != timer.deadline()
            {
                timer.as_mut().reset(due);
            }
            let event = tokio::select! {
                event = self.socket.next(self.is_receiving) => Event::Socket(event),
                done = finished(&mut self.work) => { self.work = None; Event::Done(done) }
                done = finished(&mut self.reading) => { self.reading = None; Event::Done(done) }
                news = self.listener.news() => Event::News(news),
                () = self.stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    self.is_receiving = false;
                    Event::Input(Input::Stop)
                }
                () = timer.as_mut(), if due.is_some() => Event::Input(Input::Tick),
            };
            match event {
                Event::Input(Input::Tick) => self.tick(),
                Event::Input(input) => self.feed(input),
                Event::Socket(SocketEvent::Frames(frames)) => self.decode(frames),
                Event::Socket(SocketEvent::Sent) => self.feed(Input::Sent),
                Event::Socket(SocketEvent::Ended(reason)) => self.feed(Input::Ended(reason)),
                Event::Done(Done::Received(received)) => self.feed(Input::Received(received)),
                Event::Done(Done::Applied(verdict)) => self.applied(verdict),
                Event::Done(Done::Input(input)) => self.feed(input),
                Event::News(news) => self.hear(news),
            }
        }
    }

    /// What has happened to the board.
    fn hear(&mut self, news: News) {
        let board = self.document.place;
        if let Some(durable) = news.durable.get(&board) {
            self.feed(Input::Durable(*durable));
        }
        if let Some(evicted) = news.evicted {
            self.feed(Input::Evicted(evicted));
        }
        if news.closed.contains_key(&board) {
            self.feed(Input::Stop);
        }
    }

    fn feed(&mut self, input: Input) {
        let now = Millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX));
        self.session.handle(now, input);
    }

    fn tick(&mut self) {
        let (received, written) = (self.traffic.received(), self.traffic.written());
        self.feed(Input::Traffic { received, written });
        self.feed(Input::Tick);
    }

    /// Does what the session wants, until it wants nothing more or the end.
    fn perform(&mut self) -> Option<CloseReason> {
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::Receive => self.is_receiving = true,
                Effect::Apply(changes) => self.apply(changes),
                Effect::Read { from, limit, alone } => self.read(from, limit, alone),
                Effect::Send(frames) => self.socket.send(frames),
                Effect::Ping => self.socket.ping(),
                Effect::CheckPending(digests) => {
                    let released = digests
                        .into_iter()
                        .filter(|digest| !self.document.source.is_pending(digest))
                        .collect();
                    self.feed(Input::Released(released));
                }
                Effect::Notice(notice) => self.notice(notice),
                Effect::Close(reason) => return Some(reason),
            }
        }
        None
    }

    fn decode(&mut self, frames: Vec<RawFrame>) {
        self.is_receiving = false;
        let bytes: usize = frames.iter().map(RawFrame::bytes).sum();
        if bytes <= self.hub.settings.heavy_bytes {
            self.feed(Input::Received(Received::decode(frames)));
            return;
        }
        let job = heavy(self.hub, move |_| Received::decode(frames));
        self.work = Some(Box::pin(async move {
            match job.await {
                Ok(received) => Done::Received(received),
                Err(error) => Done::Input(Input::Applied(Err(error))),
            }
        }));
    }

    fn apply(&mut self, changes: Vec<Change>) {
        let origin = self.origin;
        let bytes: usize = changes.iter().map(|change| change.bytes().len()).sum();
        let settings = &self.hub.settings;
        let is_light = changes.len() <= settings.heavy_ops && bytes <= settings.heavy_bytes;
        if is_light && !self.is_replica_busy() {
            let verdict = self.hub.apply(self.document.place, origin, changes);
            self.applied(verdict);
            return;
        }
        let board = self.document.place;
        let job = heavy(self.hub, move |hub| hub.apply(board, origin, changes));
        self.work = Some(Box::pin(async move { Done::Applied(job.await.unwrap_or_else(Verdict::Failed)) }));
    }

    fn applied(&mut self, verdict: Verdict) {
        let (applied, ticket) = match verdict {
            Verdict::Taken(applied, ticket) => (applied, ticket),
            Verdict::Busy(changes) => return self.feed(Input::Busy(changes)),
            Verdict::Failed(error) => return self.feed(Input::Applied(Err(error))),
            Verdict::Gone => {
                return self.feed(Input::Ended(CloseReason::Protocol {
                    what: "version 1 carries the board, which this node has closed",
                }));
            }
        };
        self.feed(Input::Applied(Ok(applied)));
        let (tell, told) = oneshot::channel();
        ticket.on_done(Box::new(move |result| {
            // The session may be gone: then nobody waits.
            let _ = tell.send(result.map_err(|error| error.to_string()));
        }));
        self.work = Some(Box::pin(async move {
            let result = told.await.unwrap_or_else(|_| Err("the log never answered".to_owned()));
            Done::Input(Input::Stored(result))
        }));
    }

    fn read(&mut self, from: LogSeq, limit: ReadLimit, alone: bool) {
        let behind = self.document.source.durable().0.saturating_sub(from.0);
        if behind <= NEAR_ENTRIES {
            let entries = self.document.source.entries(from, limit).map_err(|error| error.to_string());
            self.feed(Input::Entries(entries));
            return;
        }
        let source = Arc::clone(&self.document.source);
        let job = tokio::task::spawn_blocking(move || {
            let entries = source.entries(from, limit)?;
            for entry in &entries {
                // Both are kept in the entry: what is costly about sending it is done here.
                let _ = (entry.v1(), alone && entry.is_vouched());
            }
            Ok::<_, OpLogError>(entries)
        });
        self.reading = Some(Box::pin(async move {
            let entries = match job.await {
                Ok(entries) => entries.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            Done::Input(Input::Entries(entries))
        }));
    }

    /// Tells whether a heavy batch holds the replica, or will in a moment.
    fn is_replica_busy(&self) -> bool {
        self.hub.heavy.available_permits() < self.hub.settings.heavy_jobs_max.max(1)
    }

    fn notice(&self, notice: Notice) {
        let peer = self.label;
        match notice {
            Notice::Established => info!(peer, "session established"),
            Notice::CaughtUp => debug!(peer, ops = self.session.stats().sent_ops, "peer caught up"),
            Notice::BadFrame { reason } => {
                self.peer.bad_frame(&reason);
                warn!(peer, reason, "bad frame skipped");
            }
            Notice::HeldBack { count } => debug!(peer, count, "changes held back by the trust list"),
            Notice::Withheld { digest, reason } => warn!(peer, %digest, %reason, "change not sent"),
        }
    }
}

/// What the driver waits for.
enum Event {
    Socket(SocketEvent),
    Done(Done),
    Input(Input),
    News(News),
}

/// Waits for a job; for ever if there is none.
async fn finished(job: &mut Option<Job>) -> Done {
    match job {
        Some(job) => job.await,
        None => std::future::pending().await,
    }
}

/// Runs heavy work on a thread of its own, a few at a time: what they allocate is bounded with them.
pub(crate) fn heavy<R: Send + 'static>(
    hub: &Arc<Hub>,
    work: impl FnOnce(&Hub) -> R + Send + 'static,
) -> impl Future<Output = Result<R, String>> + Send + 'static {
    let hub = Arc::clone(hub);
    async move {
        let permit = Arc::clone(&hub.heavy).acquire_owned().await.map_err(|error| error.to_string())?;
        let job = tokio::task::spawn_blocking(move || {
            let result = work(&hub);
            drop(permit);
            result
        });
        job.await.map_err(|error| error.to_string())
    }
}

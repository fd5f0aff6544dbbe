//! Logs between nodes, over sessions: the port that calls coordinators and holders, and what answers peers.
//!
//! [`LogCaller`] is a [`Caller`] over a [`Transport`], which is attached once it is there: whoever keeps logs is put
//! together before it. [`LogCalls`] hands what peers call to a [`Desk`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bft_json_crdt::AuthorId;
use bytes::Bytes;
use gangline_lease::remote::{Admits, METHODS, Right};
use gangline_lease::{Answer, CallFailed, Caller, Coordinator, Desk, Reach, RemoteForwarder, RemoteLog};
use tokio::sync::Semaphore;

use crate::backoff::BackoffSettings;
use crate::calls::{CallError, CallFuture, CallHandler};
use crate::gate::Gate;
use crate::hub::Transport;
use crate::rendezvous::Jitter;
use crate::url::PeerUrl;

/// Forwards to one node at a time: less than the calls that a session takes, so that a lease is renewed however much
/// is appended.
const FORWARDS_MAX: usize = 48;
/// Nodes to which forwards are counted, before those are forgotten that have none.
const COUNTED_MAX: usize = 1_024;
/// How soon a coordinator is dialled again.
const BACKOFF: BackoffSettings = BackoffSettings { first_ms: 250, max_ms: 4_000 };
/// How long a call may take.
pub const CALL_MS: u64 = 5_000;

/// Calls nodes about logs. Reaches nobody until a transport is attached.
#[derive(Default)]
pub struct LogCaller {
    transport: RwLock<Option<Transport>>,
    forwards: Mutex<BTreeMap<AuthorId, Arc<Semaphore>>>,
}

impl LogCaller {
    /// Makes a caller that reaches nobody yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Calls over this transport from here on; over none, if there is none.
    pub fn attach(&self, transport: Option<Transport>) {
        *self.transport.write().unwrap_or_else(PoisonError::into_inner) = transport;
    }

    /// Makes a log at the node at `url`, and what goes with it.
    #[must_use]
    pub fn member_of(self: &Arc<Self>, url: PeerUrl) -> Member {
        let coordinator = self.coordinator(url);
        let caller: Arc<dyn Caller> = Arc::clone(self) as _;
        let log = RemoteLog::new(Arc::clone(&caller), Arc::clone(&coordinator));
        let forwarder = RemoteForwarder::new(caller, Some(Arc::clone(&coordinator)));
        Member { coordinator, log, forwarder }
    }

    /// Makes the forwarder of a node that coordinates itself.
    #[must_use]
    pub fn forwarder(self: &Arc<Self>) -> RemoteForwarder {
        RemoteForwarder::new(Arc::clone(self) as _, None)
    }

    /// Says who coordinates: the node at `url`, as soon as it has proved its key. Somebody has to keep a session with
    /// it ([`keep_coordinator`]). While that is down, the last key is said.
    #[must_use]
    pub fn coordinator(self: &Arc<Self>, url: PeerUrl) -> Coordinator {
        let (caller, known) = (Arc::clone(self), Mutex::new(None::<AuthorId>));
        let shown = url.to_string();
        Arc::new(move || {
            let found = caller.transport().and_then(|transport| transport.key_at(&url));
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            if let (Some(found), Some(before)) = (found, *known)
                && found != before
            {
                tracing::warn!(event = "coordinator_changed", %before, now = %found, url = shown, "the coordinator has another key");
            }
            *known = found.or(*known);
            // Without a URL: the session that is kept is made again by itself.
            (*known).map(|node| Reach { node, url: None })
        })
    }

    fn transport(&self) -> Option<Transport> {
        self.transport.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forwards(&self) -> MutexGuard<'_, BTreeMap<AuthorId, Arc<Semaphore>>> {
        self.forwards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forwards_to(&self, node: AuthorId) -> Arc<Semaphore> {
        let mut forwards = self.forwards();
        if forwards.len() >= COUNTED_MAX {
            forwards.retain(|_, places| Arc::strong_count(places) > 1);
        }
        Arc::clone(forwards.entry(node).or_insert_with(|| Arc::new(Semaphore::new(FORWARDS_MAX))))
    }

    async fn send(&self, to: &Reach, method: u32, body: Vec<u8>) -> Result<Vec<u8>, CallFailed> {
        let transport = self.transport().ok_or(CallFailed::Unreachable)?;
        let url = to.url.as_deref().and_then(|url| PeerUrl::of_node(url).ok());
        let is_forward = method == *METHODS.start();
        let places = is_forward.then(|| self.forwards_to(to.node));
        let _place = match &places {
            Some(places) => Some(places.acquire().await.map_err(|_| CallFailed::Unreachable)?),
            None => None,
        };
        match transport.call_at(to.node, url.as_ref(), method, Bytes::from(body), CALL_MS).await {
            Ok(reply) => Ok(Vec::from(reply)),
            Err(CallError::NotConnected(_)) => Err(CallFailed::Unreachable),
            Err(CallError::Refused(why)) => Err(CallFailed::Refused(why)),
            Err(CallError::Lost | CallError::Timeout(_)) => Err(CallFailed::Silent),
        }
    }
}

/// What a node works with whose logs are at a coordinator. For its authority `log` is store and registry.
#[derive(Clone)]
pub struct Member {
    /// Who coordinates; its desk wants to know too.
    pub coordinator: Coordinator,
    /// The store and the registry.
    pub log: RemoteLog,
    /// Brings intents to holders.
    pub forwarder: RemoteForwarder,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("log", &self.log).finish_non_exhaustive()
    }
}

/// Admits to logs whom a gate admits to documents: whoever reads those may read logs, whoever writes may append.
#[must_use]
pub fn admits_as(gate: Arc<dyn Gate>) -> Admits {
    Arc::new(move |peer, right| {
        gate.admit(peer).is_ok_and(|rights| match right {
            Right::Read => rights.read,
            Right::Write => rights.write,
        })
    })
}

/// Keeps a session with the coordinator, from now on and however often it ends.
pub fn keep_coordinator(transport: &Transport, url: &PeerUrl, jitter: Jitter) {
    transport.dial_with(url.clone(), BACKOFF, jitter);
}

impl Caller for LogCaller {
    fn call<'a>(
        &'a self,
        to: &'a Reach,
        method: u32,
        body: Vec<u8>,
    ) -> Answer<'a, Result<Vec<u8>, CallFailed>> {
        Box::pin(self.send(to, method, body))
    }
}

impl fmt::Debug for LogCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogCaller").field("is_attached", &self.transport().is_some()).finish_non_exhaustive()
    }
}

/// Answers what peers call about logs.
#[derive(Clone, Debug)]
pub struct LogCalls(pub Desk);

impl LogCalls {
    /// Whether a method is about logs.
    #[must_use]
    pub fn takes(method: u32) -> bool {
        METHODS.contains(&method)
    }
}

impl CallHandler for LogCalls {
    fn serve(&self, peer: AuthorId, method: u32, body: Bytes) -> CallFuture {
        if !Self::takes(method) {
            return Box::pin(std::future::ready(Err(format!("this node has no method {method}"))));
        }
        let reply = self.0.serve(peer, method, Vec::from(body));
        Box::pin(async move { reply.await.map(Bytes::from) })
    }
}

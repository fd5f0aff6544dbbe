//! A node that speaks version 2 and keeps documents: its host opens what peers offer, and closes what is idle.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use bft_json_crdt::json_crdt::{CrdtNode, VersionVector, add_crdt_fields};
use bft_json_crdt::keypair::{Keypair, make_keypair};
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::{AuthorId, Digest, DocumentId};
use gangline_doc::{LogSeq, Replica, ReplicaSettings};
use gangline_store::MemoryOpLog;
use gangline_transport::{
    DocumentHost, Identity, NoCalls, Offer, Offered, OpenGate, PeerRights, Transport, TransportSettings,
};
use gangline_wire::v2::{HeldDocument, root};
use tokio::net::TcpListener;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::harness::{accept_all, until};

/// A document is idle when nothing has happened to it for so many looks.
const IDLE_LOOKS: u32 = 6;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
pub(crate) struct Notes {
    notes: MapCrdt<LwwRegisterCrdt<String>>,
}

pub(crate) fn document(n: usize) -> DocumentId {
    DocumentId(Digest::of(&[b"a document", &n.to_le_bytes()]).0)
}

pub(crate) struct Keeper {
    key: Keypair,
    pub(crate) transport: OnceLock<Transport>,
    /// What the host wants; everything, if there is no list.
    wants: Option<BTreeSet<DocumentId>>,
    /// How many documents the host keeps open.
    rooms: usize,
    store: Mutex<Store>,
    /// Documents that the host has opened.
    pub(crate) hosted: AtomicUsize,
}

#[derive(Default)]
struct Store {
    logs: BTreeMap<DocumentId, Arc<MemoryOpLog>>,
    roots: BTreeMap<DocumentId, Digest>,
    open: BTreeMap<DocumentId, Open>,
}

struct Open {
    replica: Replica<Notes>,
    by_user: bool,
    seen: LogSeq,
    looks: u32,
}

/// A node that is up.
pub(crate) struct Node {
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) addr: SocketAddr,
    stop: CancellationToken,
}

impl Keeper {
    pub(crate) fn new(wants: Option<BTreeSet<DocumentId>>, rooms: usize) -> Arc<Self> {
        Arc::new(Self {
            key: make_keypair(),
            transport: OnceLock::new(),
            wants,
            rooms,
            store: Mutex::default(),
            hosted: AtomicUsize::new(0),
        })
    }

    fn transport(&self) -> &Transport {
        self.transport.get().unwrap()
    }

    /// Opens a document; returns its place.
    pub(crate) fn open(&self, id: DocumentId, by_user: bool) -> usize {
        let mut store = self.store.lock().unwrap();
        if let Some(open) = store.open.get_mut(&id) {
            open.by_user |= by_user;
            return self.transport().place_of(&id).unwrap();
        }
        let log = Arc::clone(store.logs.entry(id).or_default());
        let settings = ReplicaSettings { document: id, ..ReplicaSettings::default() };
        let replica: Replica<Notes> = Replica::open(self.key.clone(), log, settings).unwrap();
        store.roots.remove(&id);
        let seen = replica.durable();
        store.open.insert(id, Open { replica: replica.clone(), by_user, seen, looks: 0 });
        self.transport().open_document(Arc::new(replica)).unwrap()
    }

    /// Closes a document.
    pub(crate) fn close(&self, id: DocumentId) {
        let mut store = self.store.lock().unwrap();
        let was_open = self.transport().close_document(id, |held| {
            store.roots.insert(id, held.root);
        });
        assert!(was_open);
        store.open.remove(&id).unwrap();
    }

    /// Makes an edit of an open document; returns its seq and digest.
    pub(crate) fn edit(&self, id: DocumentId, value: &str) -> (u64, Digest) {
        let store = self.store.lock().unwrap();
        let replica = &store.open[&id].replica;
        let result = replica.edit(0, |editor| {
            let op = editor.base().doc.notes.put("last", value);
            editor.record(op);
            Ok::<_, Infallible>(())
        });
        drop(result.unwrap());
        *replica.version_vector()[&self.key.author()].last().unwrap()
    }

    /// What the node has of a document.
    pub(crate) fn vector(&self, id: DocumentId) -> VersionVector {
        let store = self.store.lock().unwrap();
        if let Some(open) = store.open.get(&id) {
            return open.replica.version_vector();
        }
        let Some(log) = store.logs.get(&id) else { return VersionVector::new() };
        let settings = ReplicaSettings { document: id, ..ReplicaSettings::default() };
        let replica: Replica<Notes> =
            Replica::open(self.key.clone(), Arc::clone(log) as _, settings).unwrap();
        replica.version_vector()
    }

    /// The root of what is stored and not open.
    pub(crate) fn stored_root(&self, id: DocumentId) -> Option<Digest> {
        self.store.lock().unwrap().roots.get(&id).copied()
    }

    pub(crate) fn open_count(&self) -> usize {
        self.store.lock().unwrap().open.len()
    }

    pub(crate) fn has(&self, id: DocumentId) -> bool {
        self.store.lock().unwrap().logs.contains_key(&id)
    }

    /// Closes what has been idle for a while.
    fn look(&self) {
        let mut idle = Vec::new();
        for (id, open) in &mut self.store.lock().unwrap().open {
            let durable = open.replica.durable();
            open.looks = if durable == open.seen { open.looks + 1 } else { 0 };
            open.seen = durable;
            if !open.by_user && open.looks > IDLE_LOOKS {
                idle.push(*id);
            }
        }
        idle.into_iter().for_each(|id| self.close(id));
    }
}

/// The host, which its transport has and which has its transport.
struct Host(Weak<Keeper>);

impl DocumentHost for Host {
    fn offered(&self, _peer: AuthorId, rights: &PeerRights, offer: &Offer) -> Offered {
        assert!(rights.write);
        let Some(keeper) = self.0.upgrade() else { return Offered::Declined };
        {
            let store = keeper.store.lock().unwrap();
            let is_known = offer.root.is_some() && store.roots.get(&offer.id) == offer.root.as_ref();
            let is_wanted = keeper.wants.as_ref().is_none_or(|wants| wants.contains(&offer.id));
            if is_known || !is_wanted || store.open.contains_key(&offer.id) {
                return Offered::Declined;
            }
            if store.open.values().filter(|open| !open.by_user).count() >= keeper.rooms {
                return Offered::Later;
            }
        }
        keeper.hosted.fetch_add(1, Ordering::Relaxed);
        keeper.open(offer.id, false);
        Offered::Taken
    }

    fn stored(&self, bucket: u8) -> Vec<HeldDocument> {
        let Some(keeper) = self.0.upgrade() else { return Vec::new() };
        let store = keeper.store.lock().unwrap();
        let stored = store.roots.iter().filter(|(id, _)| id.0[0] == bucket);
        stored.map(|(id, root)| HeldDocument { id: *id, root: *root }).collect()
    }
}

impl Node {
    pub(crate) async fn start(keeper: Arc<Keeper>, settings: TransportSettings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let nonces = AtomicU64::new(1);
        let nonce = move || {
            let mut nonce = [0; 32];
            nonce[..8].copy_from_slice(&nonces.fetch_add(1, Ordering::Relaxed).to_le_bytes());
            Some(nonce)
        };
        let identity = Identity {
            keypair: keeper.key.clone(),
            nonce: Arc::new(nonce),
            gate: Arc::new(OpenGate),
            calls: Arc::new(NoCalls),
            host: Arc::new(Host(Arc::downgrade(&keeper))),
        };
        let stop = CancellationToken::new();
        let transport =
            Transport::new(Vec::new(), Some(identity), Arc::new(|| 1_000), settings, stop.clone());
        assert!(keeper.transport.set(transport.clone()).is_ok(), "a keeper has one transport");
        tokio::spawn(accept_all(listener, transport, stop.clone()));
        let (weak, over) = (Arc::downgrade(&keeper), stop.clone());
        tokio::spawn(async move {
            let mut looks = interval(Duration::from_millis(50));
            while let (Some(keeper), false) = (weak.upgrade(), over.is_cancelled()) {
                tokio::task::spawn_blocking(move || keeper.look()).await.unwrap();
                looks.tick().await;
            }
        });
        Self { keeper, addr, stop }
    }

    pub(crate) async fn new() -> Self {
        Self::start(Keeper::new(None, usize::MAX), TransportSettings::default()).await
    }

    pub(crate) fn dial(&self, other: &Self) {
        let url = format!("ws://{}/crdt-sync", other.addr);
        self.keeper.transport().dial(url.parse().unwrap(), Box::new(|| 0.0));
    }

    pub(crate) async fn met(&self, count: usize) {
        let peers = || self.keeper.transport().peers().peers;
        until("the nodes have met", || peers().iter().filter(|peer| peer.key.is_some()).count() == count)
            .await;
    }

    /// Waits until both have the same, and that is something.
    pub(crate) async fn agrees_with(&self, other: &Self, id: DocumentId) {
        until("both agree", || {
            let vector = self.keeper.vector(id);
            !vector.is_empty() && vector == other.keeper.vector(id)
        })
        .await;
    }

    pub(crate) async fn closes_all(&self) {
        until("all is closed", || self.keeper.open_count() == 0).await;
    }

    /// No session has ended, and nothing bad was said.
    pub(crate) fn assert_good(&self) {
        let peers = self.keeper.transport().peers();
        assert_eq!((peers.totals.bad_frames, &peers.closed), (0, &BTreeMap::new()), "{:?}", peers.peers);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What a replica of nothing has.
pub(crate) fn root_of_nothing() -> Digest {
    root(&VersionVector::new())
}

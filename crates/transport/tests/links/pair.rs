//! Two nodes, and the wire between them, on which a test may lay its hands.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bft_json_crdt::json_crdt::{BaseCrdt, Change, CrdtNode, DocumentId, VersionVector, add_crdt_fields};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::{AuthorId, Digest};
use bytes::Bytes;
use gangline_doc::{LogSeq, OriginId, Replica, ReplicaSettings, SyncSource};
use gangline_store::MemoryOpLog;
use gangline_transport::link::{
    Exchange, Link, LinkDocument, LinkEffect, LinkInput, LinkNotice, LinkStart, answer, look_up, understand,
};
use gangline_transport::session::{Applied, CloseReason, Millis, RawFrame, SessionSettings};
use gangline_transport::{Offer, PeerRights};
use gangline_wire::v2::{Frame, HeldDocument, decode, encode};

/// A document whose changes may hold several ops.
#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
pub(crate) struct Notes {
    pub(crate) notes: MapCrdt<LwwRegisterCrdt<String>>,
}

pub(crate) const DOCUMENT: DocumentId = DocumentId([5; 32]);

pub(crate) fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

/// An author who works somewhere else: its changes are brought to replicas by tests.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) key: Keypair,
    pub(crate) base: BaseCrdt<Notes>,
    edits: u64,
}

impl Writer {
    pub(crate) fn new(n: u8) -> Self {
        let key = key(n);
        let base = BaseCrdt::with_document(&key, DOCUMENT);
        Self { key, base, edits: 0 }
    }

    /// Signs a change of two ops, on all that it has seen.
    pub(crate) fn write(&mut self, what: &str) -> Change {
        self.edits += 1;
        let (name, key) = (format!("{}", self.edits % 7), self.key.clone());
        self.base.begin();
        self.base.doc.notes.put(&name, what).keep().unwrap();
        self.base.doc.notes.put("last", what).keep().unwrap();
        self.base.commit(&key).unwrap().remove(0)
    }

    pub(crate) fn see(&mut self, changes: &[Change]) {
        assert!(!self.base.apply_changes(changes.to_vec()).states.iter().any(|state| state.is_refused()));
    }
}

pub(crate) struct Side {
    pub(crate) replica: Replica<Notes>,
    pub(crate) link: Link,
    pub(crate) inbox: VecDeque<Bytes>,
    pub(crate) rights: Result<PeerRights, String>,
    /// Frames that this side sent.
    pub(crate) sent: Vec<Bytes>,
    pub(crate) notices: Vec<LinkNotice>,
    /// How it stood with the exchange of the document, and what this side held when that was said.
    pub(crate) stood: Vec<(Exchange, VersionVector)>,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) now: Millis,
    /// Documents that the host was asked about. It wants none of them.
    pub(crate) offered: Vec<Offer>,
    /// What is kept and not served.
    pub(crate) stored: Vec<HeldDocument>,
    is_receiving: bool,
}

pub(crate) fn all_rights() -> Result<PeerRights, String> {
    Ok(PeerRights { read: true, write: true, name: None })
}

pub(crate) fn replica(n: u8, trust: Option<BTreeSet<AuthorId>>, changes: &[Change]) -> Replica<Notes> {
    let settings = ReplicaSettings { document: DOCUMENT, trust, ..ReplicaSettings::default() };
    let replica = Replica::open(key(n), Arc::new(MemoryOpLog::new()), settings).unwrap();
    bring(&replica, changes);
    replica
}

/// Lets a replica take in changes, as if another peer had sent them.
pub(crate) fn bring(replica: &Replica<Notes>, changes: &[Change]) {
    let (batch, _) = replica.apply(0, OriginId(99), changes.to_vec()).unwrap();
    assert!(!batch.states.iter().any(|state| state.is_refused()), "{:?}", batch.states);
}

fn start(
    n: u8,
    is_dialer: bool,
    channel: Option<[u8; 32]>,
    document: LinkDocument,
    hosts: bool,
) -> LinkStart {
    LinkStart {
        origin: OriginId(1),
        is_dialer,
        nonce: [n; 32],
        channel,
        documents: vec![document],
        opens_documents: true,
        hosts,
        credentials: Vec::new(),
        records: Vec::new(),
    }
}

impl Side {
    pub(crate) fn new(n: u8, is_dialer: bool, replica: Replica<Notes>, channel: Option<[u8; 32]>) -> Self {
        let settings = SessionSettings { give_ops_max: 100, ..SessionSettings::default() };
        Self::with(n, is_dialer, replica, channel, settings, false)
    }

    /// A node from before documents came and went.
    pub(crate) fn old(n: u8, is_dialer: bool, replica: Replica<Notes>) -> Self {
        let settings = SessionSettings::default();
        let mut side = Self::with(n, is_dialer, replica, None, settings.clone(), false);
        let document = LinkDocument { place: 0, id: DOCUMENT, durable: side.replica.durable() };
        let start = LinkStart { opens_documents: false, ..start(n, is_dialer, None, document, false) };
        side.link = Link::new(Millis(0), key(n), start, settings);
        side
    }

    /// With a host, if it has one.
    pub(crate) fn with(
        n: u8,
        is_dialer: bool,
        replica: Replica<Notes>,
        channel: Option<[u8; 32]>,
        settings: SessionSettings,
        hosts: bool,
    ) -> Self {
        let document = LinkDocument { place: 0, id: DOCUMENT, durable: replica.durable() };
        let start = start(n, is_dialer, channel, document, hosts);
        Self {
            link: Link::new(Millis(0), key(n), start, settings),
            replica,
            inbox: VecDeque::new(),
            rights: all_rights(),
            sent: Vec::new(),
            notices: Vec::new(),
            stood: Vec::new(),
            closed: None,
            now: Millis(0),
            offered: Vec::new(),
            stored: Vec::new(),
            is_receiving: false,
        }
    }

    pub(crate) fn feed(&mut self, input: LinkInput) {
        self.link.handle(self.now, input);
    }

    /// Edits here, and tells the link that the log has grown.
    pub(crate) fn bring(&mut self, changes: &[Change]) {
        bring(&self.replica, changes);
        let durable = self.replica.durable();
        self.feed(LinkInput::Durable(0, durable));
    }

    pub(crate) fn sent_bytes(&self) -> usize {
        self.sent.iter().map(Bytes::len).sum()
    }

    /// The changes that this side sent.
    pub(crate) fn given(&self) -> Vec<Digest> {
        let frames = self.sent.iter().map(|bytes| decode(bytes).unwrap());
        let changes = frames.filter_map(|frame| match frame {
            Frame::Changes { changes, .. } => Some(changes),
            _ => None,
        });
        changes.flatten().map(|change| change.digest()).collect()
    }

    pub(crate) fn frames(&self, wanted: impl Fn(&Frame) -> bool) -> usize {
        self.sent.iter().filter(|bytes| wanted(&decode(bytes).unwrap())).count()
    }

    /// A frame comes, whoever sent it.
    pub(crate) fn hear(&mut self, frame: &Frame) {
        self.inbox.push_back(encode(frame).into());
    }

    /// Does what the link wants; returns what it sends.
    fn pump(&mut self) -> Vec<Bytes> {
        let mut out = Vec::new();
        loop {
            if self.is_receiving && !self.inbox.is_empty() {
                self.is_receiving = false;
                let mut frames: VecDeque<RawFrame> = self.inbox.drain(..).map(RawFrame::Binary).collect();
                let understood = understand(&mut frames);
                assert!(frames.is_empty());
                self.feed(LinkInput::Received(understood));
            }
            let Some(effect) = self.link.poll_effect() else { return out };
            match effect {
                LinkEffect::Receive => self.is_receiving = true,
                LinkEffect::Query(at, query) => {
                    let answer = answer(&self.replica as &dyn SyncSource, query);
                    self.feed(LinkInput::Answered(at, answer));
                }
                LinkEffect::Apply(_, changes) => {
                    let (batch, _) = self.replica.apply(0, OriginId(1), changes).unwrap();
                    let applied = Applied { states: batch.states, evicted: batch.evicted };
                    self.feed(LinkInput::Applied(Ok(applied)));
                    let durable = self.replica.durable();
                    self.feed(LinkInput::Durable(0, durable));
                    self.feed(LinkInput::Stored(Ok(())));
                }
                LinkEffect::Read { document, from, limit } => {
                    let entries = self.replica.entries(from, limit).unwrap();
                    self.feed(LinkInput::Entries(document, Ok(entries)));
                }
                LinkEffect::Send(frames) => {
                    out.extend(frames);
                    self.feed(LinkInput::Sent);
                }
                LinkEffect::Admit(_) => {
                    let rights = self.rights.clone();
                    self.feed(LinkInput::Admitted(rights));
                }
                LinkEffect::Serve { id, method, body } => {
                    let result = if method == 7 { Ok(body) } else { Err(format!("no method {method}")) };
                    self.feed(LinkInput::Served { id, result });
                }
                LinkEffect::CheckPending(digests) => {
                    let released = digests.into_iter().map(|(_, digest)| digest);
                    let released = released.filter(|it| !self.replica.is_pending(it)).collect();
                    self.feed(LinkInput::Released(released));
                }
                LinkEffect::Notice(LinkNotice::Exchange { document: 0, exchange }) => {
                    self.stood.push((exchange, self.replica.version_vector()));
                }
                LinkEffect::Notice(notice) => self.notices.push(notice),
                LinkEffect::Close(reason) => self.closed = Some(reason),
                LinkEffect::Offer(offers) => {
                    self.offered.extend(offers);
                    self.feed(LinkInput::Offered { later: Vec::new() });
                }
                LinkEffect::Catalog(query) => {
                    let of =
                        |bucket| self.stored.iter().filter(move |it| it.id.0[0] == bucket).copied().collect();
                    let answer = look_up(of, query);
                    self.feed(LinkInput::LookedUp(answer));
                }
                LinkEffect::Learn(_) | LinkEffect::Replied { .. } | LinkEffect::Ping => {}
            }
        }
    }
}

/// The dialer and the other side.
pub(crate) struct Pair {
    pub(crate) sides: [Side; 2],
}

impl Pair {
    pub(crate) fn new(a: Replica<Notes>, b: Replica<Notes>) -> Self {
        Self { sides: [Side::new(1, true, a, None), Side::new(2, false, b, None)] }
    }

    /// As before, and both have a host.
    pub(crate) fn hosting(a: Replica<Notes>, b: Replica<Notes>) -> Self {
        let settings = SessionSettings::default;
        Self {
            sides: [
                Side::with(1, true, a, None, settings(), true),
                Side::with(2, false, b, None, settings(), true),
            ],
        }
    }

    /// Lets the two talk until they have nothing to say. `on_wire` may change what goes over it: who sends, and
    /// what.
    pub(crate) fn talk_over(&mut self, mut on_wire: impl FnMut(usize, Bytes) -> Vec<Bytes>) {
        for _ in 0..10_000 {
            let mut is_quiet = true;
            for n in 0..2 {
                let sent = self.sides[n].pump();
                is_quiet &= sent.is_empty();
                for bytes in sent {
                    self.sides[n].sent.push(bytes.clone());
                    let arrives = on_wire(n, bytes);
                    self.sides[1 - n].inbox.extend(arrives);
                }
            }
            if is_quiet && self.sides.iter().all(|side| side.inbox.is_empty() || side.closed.is_some()) {
                return;
            }
        }
        panic!("they talk for ever");
    }

    pub(crate) fn talk(&mut self) {
        self.talk_over(|_, bytes| vec![bytes]);
    }

    #[track_caller]
    pub(crate) fn assert_level(&self) {
        let [a, b] = &self.sides;
        assert_eq!((&a.closed, &b.closed), (&None, &None));
        assert!(a.link.is_caught_up() && b.link.is_caught_up(), "{:?} {:?}", a.link, b.link);
        assert_eq!(a.replica.version_vector(), b.replica.version_vector());
        let view = |side: &Side| side.replica.read(|base| CrdtNode::view(&base.doc).to_string()).0;
        assert_eq!(view(a), view(b));
        assert_eq!((a.link.behind(), b.link.behind()), (0, 0));
    }

    pub(crate) fn durable(&self) -> [LogSeq; 2] {
        [self.sides[0].replica.durable(), self.sides[1].replica.durable()]
    }
}

//! A node: logs that survive it, replicas of what is open, and a host that is willing to open some documents.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use bft_json_crdt::json_crdt::{CrdtNode, VersionVector, add_crdt_fields};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::{AuthorId, Digest, DocumentId};
use gangline_doc::{OpLog, Replica, ReplicaSettings};
use gangline_transport::{Offer, Offered};
use gangline_wire::v2::{HeldDocument, root};

use crate::log::SimLog;

/// What is in a document.
#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
pub(crate) struct Notes {
    pub(crate) notes: MapCrdt<LwwRegisterCrdt<String>>,
}

/// The nth document of a test: the board, and others, some of which share a bucket.
pub(crate) fn document(n: usize) -> DocumentId {
    if n == 0 {
        return DocumentId::DEFAULT;
    }
    let mut id = [7; 32];
    id[0] = (n / 3) as u8;
    id[31] = n as u8;
    DocumentId(id)
}

pub(crate) struct Node {
    pub(crate) key: Keypair,
    /// What its host is willing to open.
    pub(crate) wants: BTreeSet<DocumentId>,
    /// How many documents its host keeps open at a time.
    pub(crate) rooms: usize,
    pub(crate) is_up: bool,
    pub(crate) logs: BTreeMap<DocumentId, Arc<SimLog>>,
    /// Documents that a user has opened.
    pub(crate) used: BTreeSet<DocumentId>,
    /// What is stored and not open.
    roots: BTreeMap<DocumentId, Digest>,
    /// More of that, by bucket, which is nowhere but in the catalog.
    pub(crate) on_paper: BTreeMap<u8, Vec<HeldDocument>>,
    /// Whose changes it takes; everybody's, if there is no list.
    pub(crate) trust: Option<BTreeSet<AuthorId>>,
    /// Documents that its host was asked about.
    pub(crate) asked: Vec<DocumentId>,
    pub(crate) open: BTreeMap<usize, Open>,
    next_place: usize,
    edits: u64,
}

pub(crate) struct Open {
    pub(crate) id: DocumentId,
    pub(crate) replica: Replica<Notes>,
    /// Somebody works with it; else the host keeps it open while something happens.
    pub(crate) by_user: bool,
    pub(crate) quiet_since: u64,
}

impl Node {
    pub(crate) fn new(n: u8) -> Self {
        Self {
            key: Keypair::from_seed(&[n + 1; 32]),
            wants: BTreeSet::new(),
            rooms: usize::MAX,
            is_up: true,
            logs: BTreeMap::new(),
            used: BTreeSet::new(),
            roots: BTreeMap::new(),
            on_paper: BTreeMap::new(),
            trust: None,
            asked: Vec::new(),
            open: BTreeMap::new(),
            next_place: 0,
            edits: 0,
        }
    }

    pub(crate) fn place_of(&self, id: &DocumentId) -> Option<usize> {
        self.open.iter().find(|(_, open)| open.id == *id).map(|(place, _)| *place)
    }

    fn replica(&self, id: DocumentId, log: &Arc<SimLog>) -> Replica<Notes> {
        let trust = self.trust.clone();
        let settings = ReplicaSettings { document: id, trust, ..ReplicaSettings::default() };
        let log: Arc<SimLog> = Arc::clone(log);
        Replica::open(self.key.clone(), log, settings).unwrap()
    }

    /// Opens a document, which nobody else has open. Returns its place.
    pub(crate) fn open(&mut self, now: u64, id: DocumentId, by_user: bool) -> usize {
        if by_user {
            self.used.insert(id);
        }
        let log = Arc::clone(self.logs.entry(id).or_default());
        let replica = self.replica(id, &log);
        self.roots.remove(&id);
        let place = self.next_place;
        self.next_place += 1;
        self.open.insert(place, Open { id, replica, by_user, quiet_since: now });
        place
    }

    /// Closes a document, once all of it is on disk. Returns what it held.
    pub(crate) fn close(&mut self, place: usize) -> HeldDocument {
        let open = self.open.remove(&place).unwrap();
        self.logs[&open.id].flush(usize::MAX);
        let root = root(&open.replica.survey().0);
        self.roots.insert(open.id, root);
        HeldDocument { id: open.id, root }
    }

    /// Power fails.
    pub(crate) fn crash(&mut self) {
        self.is_up = false;
        self.logs.values().for_each(|log| log.crash());
        self.open.clear();
        self.roots.clear();
    }

    pub(crate) fn restart(&mut self) {
        self.is_up = true;
        let stored: Vec<_> = self.logs.iter().map(|(id, log)| (*id, Arc::clone(log))).collect();
        for (id, log) in stored.into_iter().filter(|(_, log)| log.len().unwrap() > 0) {
            let root = root(&self.replica(id, &log).survey().0);
            self.roots.insert(id, root);
        }
    }

    /// Makes an edit of an open document.
    pub(crate) fn edit(&mut self, place: usize) {
        self.edits += 1;
        let value = format!("{} {}", self.key.author(), self.edits);
        let key = format!("{}", self.edits % 5);
        let result = self.open[&place].replica.edit(0, |editor| {
            let op = editor.base().doc.notes.put(&key, value.as_str());
            editor.record(op);
            Ok::<_, Infallible>(())
        });
        drop(result.unwrap());
    }

    pub(crate) fn stored(&self, bucket: u8) -> Vec<HeldDocument> {
        let stored = self.roots.iter().filter(|(id, _)| id.0[0] == bucket);
        let stored = stored.map(|(id, root)| HeldDocument { id: *id, root: *root });
        stored.chain(self.on_paper.get(&bucket).into_iter().flatten().copied()).collect()
    }

    /// What its host says to an offer, before it opens anything.
    pub(crate) fn judge(&mut self, offer: &Offer) -> Offered {
        self.asked.push(offer.id);
        let is_known = offer.root.is_some() && self.roots.get(&offer.id) == offer.root.as_ref();
        if !self.wants.contains(&offer.id) || is_known || self.place_of(&offer.id).is_some() {
            Offered::Declined
        } else if self.open.values().filter(|open| !open.by_user).count() >= self.rooms {
            Offered::Later
        } else {
            Offered::Taken
        }
    }

    /// What it has on disk of a document.
    pub(crate) fn vector(&self, id: &DocumentId) -> VersionVector {
        let Some(log) = self.logs.get(id) else { return VersionVector::new() };
        self.replica(*id, log).survey().0
    }
}

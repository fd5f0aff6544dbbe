//! A node: a key, a clock, a disk, and real replicas of two documents over logs that can crash.

use std::collections::BTreeSet;
use std::sync::Arc;

use bft_json_crdt::json_crdt::{BaseCrdt, CrdtNode, EditError, Equivocation, SignError, add_crdt_fields};
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::text_crdt::TextCrdt;
use bft_json_crdt::{AuthorId, Change, Digest, DocumentId, Keypair};
use gangline_doc::{
    ApplyError, BoardError, EditFailed, LogSeq, NewItem, OpLogError, OpenError, OriginId, Patch, PipelineDoc,
    ReadLimit, Replica, ReplicaSettings, ReplicaStats, SyncSource, Ticket, board,
};

use crate::clock::Clock;
use crate::log::SimLog;
use crate::rng::Rng;
use crate::scenario::Hostile;

/// The documents of every node: the board, and notes, whose changes hold several ops.
pub(crate) const DOCUMENTS: [DocumentId; 2] = [DocumentId::DEFAULT, DocumentId([7; 32])];
/// The place of the board.
pub(crate) const BOARD: usize = 0;

/// Stands for this node's own edits where a change needs an origin.
const OWN: OriginId = OriginId(0);

/// The second document.
#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
pub(crate) struct Notes {
    pub(crate) text: TextCrdt,
    pub(crate) lines: ListCrdt<LwwRegisterCrdt<String>>,
}

/// Why a node could not do what every node can.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error("a log could not be opened again: {0}")]
    Open(#[from] OpenError),
    #[error("an edit of the board failed: {0}")]
    Board(#[from] EditFailed<BoardError>),
    #[error("an edit of the notes could not be signed: {0}")]
    Sign(#[from] SignError),
    #[error("an edit of the notes was refused: {0}")]
    Apply(#[from] ApplyError),
    #[error("a log could not be read: {0}")]
    Read(#[from] OpLogError),
    #[error("an own change was not taken in: {0}")]
    NotTaken(String),
    #[error("the node is down")]
    Down,
    #[error("an item does not read: {0}")]
    Item(String),
}

/// One node. An honest one has one face; an equivocator one for every other peer.
pub(crate) struct Node {
    pub(crate) keypair: Keypair,
    pub(crate) hostile: Option<Hostile>,
    pub(crate) clock: Clock,
    /// How long a write takes.
    pub(crate) disk_ms: (u64, u64),
    pub(crate) faces: Vec<Face>,
    pub(crate) rng: Rng,
    origins: u64,
}

/// What some peers of a node see: logs, and replicas of them.
pub(crate) struct Face {
    logs: [Arc<SimLog>; 2],
    in_flight_bytes_max: usize,
    /// None while the node is down.
    pub(crate) open: Option<Open>,
    pub(crate) is_flush_due: bool,
    /// What this node signed, acknowledged or not, also what a crash took.
    pub(crate) signed: BTreeSet<Digest>,
    /// What was acknowledged to whoever made it, by document.
    pub(crate) acked: Vec<(usize, Digest)>,
    edits: u64,
}

/// The replicas of a node that is up.
pub(crate) struct Open {
    pub(crate) board: Replica<PipelineDoc>,
    pub(crate) notes: Replica<Notes>,
    owed: Vec<Owed>,
}

/// An edit that is not durable yet.
struct Owed {
    document: usize,
    digests: Vec<Digest>,
    ticket: Ticket,
}

impl Node {
    pub(crate) fn new(keypair: Keypair, hostile: Option<Hostile>, rng: &mut Rng) -> Self {
        let clock = Clock::new(rng.between(0, 1 << 40), rng.between(950_000, 1_050_000));
        let is_slow = rng.chance(150_000);
        let disk_ms = if is_slow { (50, 800) } else { (0, 15) };
        let faces = if hostile == Some(Hostile::Equivocator) { 2 } else { 1 };
        Self {
            keypair,
            hostile,
            clock,
            disk_ms,
            faces: (0..faces).map(|_| Face::new(is_slow)).collect(),
            rng: rng.fork(),
            origins: 0,
        }
    }

    pub(crate) fn author(&self) -> AuthorId {
        self.keypair.author()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.faces.iter().all(|face| face.open.is_some())
    }

    pub(crate) fn origin(&mut self) -> OriginId {
        self.origins += 1;
        OriginId(self.origins)
    }

    pub(crate) fn start(&mut self) -> Result<(), NodeError> {
        let keypair = &self.keypair;
        self.faces.iter_mut().try_for_each(|face| face.start(keypair))
    }

    pub(crate) fn crash(&mut self) {
        let rng = &mut self.rng;
        self.faces.iter_mut().for_each(|face| face.crash(rng));
    }

    /// Makes an edit on every face: the same seq, another content.
    pub(crate) fn edit(&mut self) -> Result<(), NodeError> {
        let (keypair, rng) = (&self.keypair, &mut self.rng);
        self.faces.iter_mut().try_for_each(|face| match rng.chance(600_000) {
            true => face.edit_board(keypair, rng),
            false => face.edit_notes(keypair, rng),
        })
    }
}

impl Face {
    fn new(is_slow: bool) -> Self {
        Self {
            in_flight_bytes_max: if is_slow { IN_FLIGHT_BYTES_FEW } else { IN_FLIGHT_BYTES_MAX },
            logs: Default::default(),
            open: None,
            is_flush_due: false,
            signed: BTreeSet::new(),
            acked: Vec::new(),
            edits: 0,
        }
    }

    fn start(&mut self, keypair: &Keypair) -> Result<(), NodeError> {
        let [board_log, notes_log] = &self.logs;
        let [board_id, notes_id] = DOCUMENTS;
        let settings = |document| ReplicaSettings {
            document,
            recent_max_count: RECENT_COUNT_MAX,
            recent_max_bytes: RECENT_BYTES_MAX,
            in_flight_bytes_max: self.in_flight_bytes_max,
            ..ReplicaSettings::default()
        };
        let board: Arc<SimLog> = Arc::clone(board_log);
        let notes: Arc<SimLog> = Arc::clone(notes_log);
        self.open = Some(Open {
            board: Replica::open(keypair.clone(), board, settings(board_id))?,
            notes: Replica::open(keypair.clone(), notes, settings(notes_id))?,
            owed: Vec::new(),
        });
        Ok(())
    }

    fn crash(&mut self, rng: &mut Rng) {
        let owed: Vec<_> = self.logs.iter().map(|log| log.crash(rng.below(3))).collect();
        self.open = None;
        self.is_flush_due = false;
        drop(owed);
    }

    /// Puts an old disk back, as no honest node does.
    pub(crate) fn roll_back(&mut self, keypair: &Keypair, rng: &mut Rng) -> Result<(), NodeError> {
        self.crash(rng);
        for log in &self.logs {
            let length = gangline_doc::OpLog::len(log.as_ref())? as usize;
            log.roll_back(length - rng.below(length / 2 + 1).min(length));
        }
        self.start(keypair)
    }

    /// Tells whether a change is on this node's disk.
    pub(crate) fn holds(&self, document: usize, digest: &Digest) -> bool {
        self.logs.get(document).is_some_and(|log| log.holds(digest))
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.logs.iter().any(|log| log.is_dirty())
    }

    /// Writes some of what waits for the disk.
    pub(crate) fn flush(&mut self, rng: &mut Rng) {
        for log in &self.logs {
            log.flush(1 + rng.below(8));
        }
        let Some(open) = &mut self.open else { return };
        for owed in std::mem::take(&mut open.owed) {
            match owed.ticket.is_done() {
                None => open.owed.push(owed),
                Some(Ok(())) => self.acked.extend(owed.digests.into_iter().map(|it| (owed.document, it))),
                Some(Err(_)) => {}
            }
        }
    }

    fn edit_board(&mut self, keypair: &Keypair, rng: &mut Rng) -> Result<(), NodeError> {
        self.edits += 1;
        let author = keypair.author();
        let name = author.to_string().chars().take(6).collect::<String>();
        let n = self.edits + rng.below(1 << 20) as u64 * 1_000;
        let open = self.open.as_ref().ok_or(NodeError::Down)?;
        let items = open.board.read(board::items).0;
        let ticket = match items.get(rng.below(items.len() + 2)) {
            Some(item) => {
                let patch = serde_json::json!({ "stage": format!("{name}-{n}"), "retry_count": n });
                let patch = Patch::from_json(patch).map_err(|error| NodeError::Item(error.to_string()))?;
                open.board.edit(0, |editor| board::patch(editor, &item.story_id, &patch))?.1
            }
            None => open.board.edit(0, |editor| board::add(editor, NewItem::new(format!("{name}-{n}"))))?.1,
        };
        let digests = open.board.read(|base| own_changes(base, &author, &self.signed)).0;
        self.note(BOARD, digests, ticket);
        Ok(())
    }

    fn edit_notes(&mut self, keypair: &Keypair, rng: &mut Rng) -> Result<(), NodeError> {
        self.edits += 1;
        let n = self.edits;
        let open = self.open.as_ref().ok_or(NodeError::Down)?;
        // A copy with all that the replica holds, durable or not: an edit that the replica does not take was never made.
        let mut pen = open.notes.read(BaseCrdt::clone).0;
        // Some edits are several changes, which then travel as a chain with one signature.
        let mut changes = Vec::new();
        for _ in 0..1 + rng.below(3) {
            changes.extend(pen.transact(keypair, |doc| scribble(doc, rng, n))?);
        }
        let digests = changes.iter().map(Change::digest).collect();
        let (batch, ticket) = open.notes.apply(0, OWN, changes)?;
        if let Some(state) = batch.states.iter().find(|state| !state.is_applied()) {
            return Err(NodeError::NotTaken(format!("{state:?}")));
        }
        self.note(1, digests, ticket);
        Ok(())
    }

    fn note(&mut self, document: usize, digests: Vec<Digest>, ticket: Ticket) {
        self.signed.extend(digests.iter().copied());
        if let Some(open) = &mut self.open {
            open.owed.push(Owed { document, digests, ticket });
        }
    }
}

/// Entries that a replica of the simulation keeps for live readers.
const RECENT_COUNT_MAX: usize = 256;
/// Bytes of those entries.
const RECENT_BYTES_MAX: usize = 256 << 10;
/// Bytes that may wait for the disk before a replica is busy.
pub(crate) const IN_FLIGHT_BYTES_MAX: usize = 1 << 20;
/// As before, on a slow disk.
const IN_FLIGHT_BYTES_FEW: usize = 1 << 10;

impl Open {
    /// A replica, as links see it.
    pub(crate) fn source(&self, document: usize) -> &dyn SyncSource {
        match document {
            BOARD => &self.board,
            _ => &self.notes,
        }
    }

    pub(crate) fn stats(&self) -> [ReplicaStats; 2] {
        [self.board.stats(), self.notes.stats()]
    }

    pub(crate) fn equivocations(&self) -> Vec<Equivocation> {
        [self.board.equivocations(), self.notes.equivocations()].concat()
    }

    /// Everything of a document that must be the same everywhere.
    pub(crate) fn picture(&self, document: usize) -> String {
        match document {
            BOARD => picture(&self.board),
            _ => picture(&self.notes),
        }
    }

    /// All changes of a document.
    pub(crate) fn changes(&self, document: usize) -> Result<Vec<Change>, NodeError> {
        let (source, mut changes, mut from) = (self.source(document), Vec::new(), LogSeq::START);
        loop {
            let entries = source.entries(from, ReadLimit::default())?;
            let Some(last) = entries.last() else { return Ok(changes) };
            from = last.seq().plus(1);
            changes.extend(entries.iter().map(|entry| entry.change().clone()));
        }
    }
}

fn picture<T: CrdtNode>(replica: &Replica<T>) -> String {
    let view = replica.read(|base| CrdtNode::view(&base.doc)).0;
    format!("{:?} {view}", replica.version_vector())
}

/// The author's changes that are not in `known`, from its tip back.
fn own_changes<T: CrdtNode>(base: &BaseCrdt<T>, author: &AuthorId, known: &BTreeSet<Digest>) -> Vec<Digest> {
    let mut found = Vec::new();
    let mut next = base.tip_of(author).map(|(_, digest)| digest);
    while let Some(digest) = next.filter(|digest| !known.contains(digest)) {
        found.push(digest);
        next = base.change(&digest).and_then(|change| change.prev());
    }
    found
}

/// Some edits of the notes.
pub(crate) fn scribble(doc: &Notes, rng: &mut Rng, n: u64) -> Result<(), EditError> {
    let at = rng.below(doc.text.len() + 1);
    doc.text.try_insert(at, &format!("<{n}>"))?.keep()?;
    if doc.text.len() > 40 && rng.chance(300_000) {
        doc.text.try_cut(rng.below(20), 1 + rng.below(10))?.keep()?;
    }
    doc.lines.try_push(format!("line {n}"))?.keep()
}

/// Some edit of the board, made without its rules.
pub(crate) fn scrawl(doc: &PipelineDoc, n: u64) -> Result<(), EditError> {
    doc.items.try_push(serde_json::json!({ "story_id": format!("forged-{n}") }))?.keep()
}

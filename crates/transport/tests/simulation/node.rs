//! A node of the simulation: a real replica over a log that can crash.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bft_json_crdt::Digest;
use bft_json_crdt::keypair::Keypair;
use gangline_doc::{
    BoardError, NewItem, OriginId, Patch, PipelineDoc, Replica, ReplicaSettings, Ticket, board,
};
use gangline_doc::{EditFailed, Item};

use crate::log::SimLog;

pub(crate) struct Node {
    pub(crate) keypair: Keypair,
    pub(crate) log: Arc<SimLog>,
    /// None while the node is down.
    pub(crate) replica: Option<Replica<PipelineDoc>>,
    pub(crate) settings: ReplicaSettings,
    pub(crate) is_flush_due: bool,
    origins: u64,
    edits: u64,
    acked: Arc<Mutex<Vec<Digest>>>,
}

impl Node {
    pub(crate) fn new(name: u8, settings: ReplicaSettings) -> Self {
        let mut node = Self {
            keypair: Keypair::from_seed(&[name; 32]),
            log: Arc::default(),
            replica: None,
            settings,
            is_flush_due: false,
            origins: 0,
            edits: 0,
            acked: Arc::default(),
        };
        node.open();
        node
    }

    pub(crate) fn open(&mut self) {
        let log = Arc::clone(&self.log);
        let replica = Replica::open(self.keypair.clone(), log, self.settings.clone());
        self.replica = Some(replica.expect("what a node wrote it can open"));
    }

    pub(crate) fn crash(&mut self) {
        self.log.crash();
        self.replica = None;
        self.is_flush_due = false;
    }

    pub(crate) fn replica(&self) -> &Replica<PipelineDoc> {
        self.replica.as_ref().expect("the node is up")
    }

    pub(crate) fn origin(&mut self) -> OriginId {
        self.origins += 1;
        OriginId(self.origins)
    }

    /// Adds an item, or moves one.
    pub(crate) fn edit(&mut self, choice: u64) {
        self.edits += 1;
        let items = self.items();
        let n = self.edits;
        let author = self.keypair.author().to_string();
        let result = match items.get(choice as usize % (items.len() + 2)) {
            Some(Item { story_id, .. }) => {
                let stage = format!("{}-{n}", &author[..4]);
                let patch = Patch::from_json(serde_json::json!({ "stage": stage })).unwrap();
                self.replica().edit(0, |editor| board::patch(editor, story_id, &patch))
            }
            None => {
                let new = NewItem::new(format!("{}-{n}", &author[..4]));
                self.replica().edit(0, |editor| board::add(editor, new))
            }
        };
        self.note(result);
    }

    /// Adds an item with a name of that length.
    pub(crate) fn add_item(&mut self, length: usize) {
        self.edits += 1;
        let item =
            serde_json::json!({"story_id": format!("item-{}", self.edits), "name": "x".repeat(length)});
        let new = NewItem::from_json(item).unwrap();
        let result = self.replica().edit(0, |editor| board::add(editor, new));
        self.note(result);
    }

    fn note(&self, result: Result<(Item, Ticket), EditFailed<BoardError>>) {
        let (_, ticket) = result.expect("the edit is good");
        let tip = self.replica().version_vector()[&self.keypair.author()].last().expect("a tip").1;
        let acked = Arc::clone(&self.acked);
        ticket.on_done(Box::new(move |result| {
            if result.is_ok() {
                acked.lock().unwrap().push(tip);
            }
        }));
    }

    /// The changes of this node that were acknowledged to whoever made them.
    pub(crate) fn acked(&self) -> Vec<Digest> {
        self.acked.lock().unwrap().clone()
    }

    pub(crate) fn items(&self) -> Vec<Item> {
        self.replica().read(board::items).0
    }

    /// Tells whether a change is in the document or waits for it.
    pub(crate) fn knows(&self, digest: &Digest) -> bool {
        self.replica().read(|base| base.contains(digest) || base.is_pending(digest)).0
    }

    /// What helps to see why nodes differ.
    pub(crate) fn summary(&self) -> String {
        let stats = self.replica().stats();
        format!("{:?}, dirty: {}, {stats:?}", self.replica().version_vector(), self.log.is_dirty())
    }

    /// Everything of the document that must be the same everywhere.
    pub(crate) fn picture(&self) -> String {
        let view = self.replica().read(|base| bft_json_crdt::CrdtNode::view(&base.doc)).0;
        format!("{:?} {view}", self.replica().version_vector())
    }
}

/// A ticket that is looked at instead of waited for.
pub(crate) struct Promise(Arc<AtomicBool>);

impl Promise {
    pub(crate) fn new(ticket: Ticket) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&done);
        ticket.on_done(Box::new(move |result| set.store(result.is_ok(), Ordering::Relaxed)));
        Self(done)
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

//! A document's state: its history, its nodes, and what waits to become part of them.
//!
//! Everything that the handles in a user's struct show or do happens here, under one lock. Read
//! [`history`] first (changes and their pasts), then [`nodes`] and [`list`] (what they made), then
//! [`integrate`] (an op's effect), [`local`] (edits made here), [`admit`] and [`queue`] (changes from elsewhere).

pub(crate) mod admit;
pub(crate) mod field_index;
pub(crate) mod history;
pub(crate) mod integrate;
pub(crate) mod list;
pub(crate) mod local;
pub(crate) mod nodes;
pub(crate) mod past;
pub(crate) mod queue;
pub(crate) mod sequence;
pub(crate) mod view;

use std::collections::{BTreeSet, HashMap};

use crate::change::DocumentId;
use crate::keypair::AuthorId;
use crate::op::OpId;
use crate::schema::{TypeIx, TypeTable};
use field_index::FieldIndexes;
use history::History;
use local::Unsigned;
use nodes::{NO_NODE, NodeIx, Nodes};
use queue::Queue;

/// See the module.
#[derive(Clone)]
pub(crate) struct State {
    types: TypeTable,
    history: History,
    nodes: Nodes,
    /// Who edits here.
    author: u32,
    author_id: AuthorId,
    /// Edits made here that are not signed yet, in the order in which they were made.
    unsigned: Vec<Unsigned>,
    queue: Queue,
    /// Whose changes are let in; `None` for everybody's.
    trust: Option<BTreeSet<AuthorId>>,
    /// The nodes of all list elements ever made, and how many of them `by_id` knows.
    elements: Vec<NodeIx>,
    indexed: usize,
    by_id: HashMap<OpId, Vec<NodeIx>>,
    fields: FieldIndexes,
}

impl State {
    pub(crate) fn new(
        document: DocumentId,
        author_id: AuthorId,
        describe: impl FnOnce(&mut TypeTable) -> TypeIx,
    ) -> Self {
        let mut types = TypeTable::default();
        let root = describe(&mut types);
        let mut nodes = Nodes::default();
        nodes.make(&types, root, NO_NODE, 0);
        let mut history = History::new(document);
        let author = history.author(author_id);
        Self {
            types,
            history,
            nodes,
            author,
            author_id,
            unsigned: Vec::new(),
            queue: Queue::default(),
            trust: None,
            elements: Vec::new(),
            indexed: 0,
            by_id: HashMap::new(),
            fields: FieldIndexes::default(),
        }
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(crate) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    pub(crate) fn author_id(&self) -> AuthorId {
        self.author_id
    }
}

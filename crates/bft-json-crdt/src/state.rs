//! A document's state: its history, its nodes, and what waits to become part of them.
//!
//! Everything that the handles in a user's struct show or do happens here, under one lock. Read
//! [`history`] first (changes and their pasts), then [`nodes`] and [`list`] (what they made), then
//! [`integrate`] (an op's effect), [`local`] (edits made here), [`admit`] and [`queue`] (changes from elsewhere).

pub(crate) mod admit;
pub(crate) mod at;
pub(crate) mod branch;
pub(crate) mod compare;
pub(crate) mod digest_index;
pub(crate) mod disputes;
pub(crate) mod entries;
pub(crate) mod few;
pub(crate) mod field_index;
pub(crate) mod history;
pub(crate) mod ids;
pub(crate) mod integrate;
pub(crate) mod list;
pub(crate) mod literal;
pub(crate) mod local;
pub(crate) mod local_text;
pub(crate) mod log;
pub(crate) mod map;
pub(crate) mod memory;
pub(crate) mod missing;
pub(crate) mod nodes;
pub(crate) mod past;
pub(crate) mod patches;
pub(crate) mod proof;
pub(crate) mod queue;
pub(crate) mod sequence;
pub(crate) mod signing;
pub(crate) mod snapshot;
pub(crate) mod text;
pub(crate) mod typing;
pub(crate) mod undo;
pub(crate) mod view;

use std::collections::BTreeSet;

use crate::change::{Body, DocumentId};
use crate::keypair::AuthorId;
use crate::op::OpKind;
use crate::schema::{TypeIx, TypeTable};
use at::Kept;
use field_index::FieldIndexes;
use history::{ChangeIx, History};
use ids::ElementIds;
use local::Unsigned;
use nodes::{NO_NODE, Nodes};
use patches::Patches;
use queue::Queue;
use signing::Open;

/// See the module.
#[derive(Clone)]
pub(crate) struct State {
    types: TypeTable,
    history: History,
    nodes: Nodes,
    /// The values of registers, encoded, in the order in which they were written.
    values: Vec<u8>,
    /// Who edits here.
    author: u32,
    author_id: AuthorId,
    /// Edits made here that are not signed yet, in the order in which they were made.
    unsigned: Vec<Unsigned>,
    /// The transaction that has begun.
    open: Option<Open>,
    /// Where values are encoded.
    scratch: Vec<u8>,
    /// How many changes came from elsewhere.
    arrivals: u64,
    /// The changes that declare the source, but for those with an earlier one in their past: ranks count from
    /// there on.
    sources: Vec<ChangeIx>,
    patches: Option<Patches>,
    /// It shows the document at past heads, and its author's chain may have gone on elsewhere.
    is_past: bool,
    kept: Kept,
    queue: Queue,
    /// Whose changes are let in; `None` for everybody's.
    trust: Option<BTreeSet<AuthorId>>,
    /// Whose changes are not let in all the same.
    distrust: BTreeSet<AuthorId>,
    ids: ElementIds,
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
        Self::with_types(document, author_id, types, root)
    }

    fn with_types(document: DocumentId, author_id: AuthorId, types: TypeTable, root: TypeIx) -> Self {
        let mut nodes = Nodes::default();
        nodes.make(&types, root, NO_NODE, 0);
        let mut history = History::new(document);
        let author = history.author(author_id);
        Self {
            types,
            history,
            nodes,
            values: Vec::new(),
            author,
            author_id,
            unsigned: Vec::new(),
            open: None,
            scratch: Vec::new(),
            arrivals: 0,
            sources: Vec::new(),
            patches: None,
            is_past: false,
            kept: Kept::default(),
            queue: Queue::default(),
            trust: None,
            distrust: BTreeSet::new(),
            ids: ElementIds::default(),
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

    pub(crate) fn nodes_mut(&mut self) -> &mut Nodes {
        &mut self.nodes
    }

    pub(crate) fn source(&self) -> Option<AuthorId> {
        self.sources.first().map(|declared| self.history.author_of(*declared))
    }

    /// The name in the declaration of the source.
    pub(crate) fn source_name(&self) -> Option<String> {
        let Body { ops, .. } = Body::decode(self.history.body(*self.sources.first()?)).ok()?;
        ops.into_iter().find_map(|op| if let OpKind::Source { name } = op.kind { Some(name) } else { None })
    }

    pub(crate) fn author_id(&self) -> AuthorId {
        self.author_id
    }
}

//! The board's document: a list of work items. Its shape is what v1 peers exchange, so it stays as it is.

use bft_json_crdt::{
    json_crdt::{CrdtNode, add_crdt_fields},
    list_crdt::ListCrdt,
    lww_crdt::LwwRegisterCrdt,
};

/// The board.
#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
pub struct PipelineDoc {
    /// The items, in document order.
    pub items: ListCrdt<PipelineItem>,
}

/// One work item, a register per field.
#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
pub struct PipelineItem {
    /// Names the item; never empty when made here.
    pub story_id: LwwRegisterCrdt<String>,
    /// The column: `1_backlog`, `2_current` and so on.
    pub stage: LwwRegisterCrdt<String>,
    /// The title.
    pub name: LwwRegisterCrdt<String>,
    /// Who works on it.
    pub agent: LwwRegisterCrdt<String>,
    /// How often it was tried again.
    pub retry_count: LwwRegisterCrdt<f64>,
    /// Whether it waits for something.
    pub blocked: LwwRegisterCrdt<bool>,
    /// What it waits for.
    pub depends_on: LwwRegisterCrdt<String>,
    /// Who has claimed it; empty when unclaimed.
    pub claimed_by: LwwRegisterCrdt<String>,
    /// When, in seconds since 1970; 0 when unclaimed.
    pub claimed_at: LwwRegisterCrdt<f64>,
}
